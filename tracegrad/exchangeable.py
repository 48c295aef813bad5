"""A callable whose function may be exchanged from call to call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tracegrad.errors import InternalError

if TYPE_CHECKING:
    from typing_extensions import Self

    _partial = functools.partial[Any]
else:
    _partial = functools.partial


class Exchangeable(_partial):
    """A callable that can be told, from call to call, which function it is.

    A method ``__call__`` would cost a frame of Python and a tuple of arguments at each call: more
    than a small kernel takes. `functools.partial` hands a call on at once, and its state may be
    set anew; nothing else of it is used (docs/decisions/0019-calls.md).
    """

    def __new__(cls, *args: Any, **options: Any) -> Self:
        return super().__new__(cls, _nothing)

    def _go_to(self, function: Callable[..., Any]) -> None:
        """Let ``function`` be what is called from now on."""
        state: Any = self  # typeshed does not know the method
        state.__setstate__((function, (), {}, self.__dict__))

    # As a function does: it is pickled by its name, and copies of what holds it hold it too.

    def __reduce__(self) -> str:
        return str(getattr(self, "__qualname__", type(self).__qualname__))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _nothing() -> None:
    raise InternalError("a callable was called before it was made")
