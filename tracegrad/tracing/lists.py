"""The list that a comprehension makes whose trips are traced as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.tracer import Tracer

__all__ = ["RolledList"]


class RolledList:
    """A list whose items are the elements of an array, or its rows.

    NumPy functions take it as the array; it is indexed, sliced, iterated over, counted as a list
    is. What would change its length is refused: that is known at run time only.
    """

    __slots__ = ("array", "depth")

    def __init__(self, array: Tracer, depth: int = 1) -> None:
        self.array = array
        self.depth = depth  # that of a list of lists is 2

    def items(self) -> list[Any]:
        """A list of Python's own; the number of items is then one that the kernel is made for."""
        return [each.items() if isinstance(each, RolledList) else each for each in self]

    def settled_value(self) -> Tracer:
        """What takes part in array arithmetic."""
        return self.array

    def __iter__(self) -> Iterator[Any]:
        return map(self._item, self.array)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> Any:
        part = self.array[key]
        return RolledList(part.copy(), self.depth) if isinstance(key, slice) else self._item(part)

    def _item(self, part: Tracer) -> Any:
        return part if self.depth == 1 else RolledList(part, self.depth - 1)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice) or self.array.ndim > 1:
            self._refuse("assigned to by items")
        self.array[key] = value

    def copy(self) -> RolledList:
        return RolledList(self.array.copy(), self.depth)

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            "the list of a comprehension whose number of items is known only at run time "
            f"can't be {what}",
            way_out="make it an array, np.array([...]), and use np.concatenate and the like",
        )

    def append(self, item: Any) -> NoReturn:
        self._refuse("appended to")

    def extend(self, items: Any) -> NoReturn:
        self._refuse("extended")

    def insert(self, index: Any, item: Any) -> NoReturn:
        self._refuse("inserted into")

    def pop(self, index: Any = -1) -> NoReturn:
        self._refuse("popped from")

    def remove(self, item: Any) -> NoReturn:
        self._refuse("removed from")

    def clear(self) -> NoReturn:
        self._refuse("cleared")

    def reverse(self) -> None:
        self.array = self.array[::-1].copy()

    def sort(self, *, key: Any = None, reverse: bool = False) -> NoReturn:
        self._refuse("sorted in place")

    def __add__(self, other: Any) -> NoReturn:
        self._refuse("joined with another")

    __radd__ = __iadd__ = __mul__ = __rmul__ = __imul__ = __add__
