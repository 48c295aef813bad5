"""Stores outside the frame while an arm or a loop body is traced: items, attributes, cells.

Names come back through sites; what a function changes in a list, an object or an outer
function's variable has to be seen when it happens. Such a place is a `Slot`: the region notes
what it held before, so that a branch can choose and a loop can carry what it holds after.
Changes of the build of a container (``append``) can't be carried: loops that do it are unrolled.
"""

from __future__ import annotations

from types import CellType
from typing import Any

from tracegrad.errors import NeedsValue, UnsupportedError
from tracegrad.staging import UNBOUND
from tracegrad.tracing.state import Opened, Trace
from tracegrad.tracing.tracer import Tracer

__all__ = ["Slot", "attribute_proxy", "check_mutation", "item_proxy"]

_MUTATORS = frozenset({
    "append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update",
    "setdefault", "popitem", "add", "discard", "appendleft", "popleft", "extendleft", "rotate",
})  # fmt: skip


class Slot:
    """A place that holds a value: ``owner[key]``, ``owner.name`` or a cell."""

    __slots__ = ("key", "kind", "name", "owner", "words")

    def __init__(self, kind: str, owner: Any, name: Any, words: str) -> None:
        self.kind = kind
        self.owner = owner
        self.name = name
        self.words = words
        self.key = (kind, id(owner), type(name), name)

    def is_name_of(self, opened: Opened) -> bool:
        """Whether a region sees the place as one of its names: a cell of its own function."""
        if self.kind != "cell" or opened.frame is None or self.name not in opened.site.names:
            return False
        code = opened.frame.f_code
        mine = self.name in code.co_cellvars or self.name in code.co_freevars
        return mine and opened.frame.f_locals.get(self.name, UNBOUND) is self.get()

    def get(self) -> Any:
        """What it holds; `UNBOUND` for nothing."""
        try:
            if self.kind == "item":
                return self.owner[self.name]
            if self.kind == "attribute":
                return getattr(self.owner, self.name)
            return self.owner.cell_contents
        except (LookupError, AttributeError, ValueError):
            return UNBOUND

    def set(self, value: Any) -> None:
        if value is UNBOUND:
            try:
                if self.kind == "item":
                    del self.owner[self.name]
                elif self.kind == "attribute":
                    delattr(self.owner, self.name)
                else:
                    del self.owner.cell_contents
            except (LookupError, AttributeError, ValueError):
                pass
        elif self.kind == "item":
            self.owner[self.name] = value
        elif self.kind == "attribute":
            setattr(self.owner, self.name, value)
        else:
            self.owner.cell_contents = value


def cell_slot(cell: CellType, name: str) -> Slot:
    return Slot("cell", cell, name, f"the outer name {name!r}")


def _is_inner(trace: Trace, owner: Any) -> bool:
    """Whether the innermost region made ``owner`` itself, so that nobody else sees it."""
    return all(id(owner) not in opened.known for opened in trace.opened)


def item_proxy(trace: Trace, owner: Any) -> Any:
    """What ``owner[key] = value`` runs on, in an open region."""
    return _Items(trace, owner) if isinstance(owner, list | dict) else owner


def attribute_proxy(trace: Trace, owner: Any) -> Any:
    """What ``owner.name = value`` runs on, in an open region."""
    return owner if _is_inner(trace, owner) else _Attributes(trace, owner)


class _Items:
    """A list or dict, for one statement that stores to an item of it."""

    def __init__(self, trace: Trace, owner: Any) -> None:
        self.trace = trace
        self.owner = owner

    def __getitem__(self, key: Any) -> Any:
        return self.owner[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        owner = self.owner
        if isinstance(key, Tracer):
            raise NeedsValue(
                f"an item of a {type(owner).__name__} is stored under an index that is known only "
                "at run time",
                way_out="use an array in place of the container",
            )
        if _is_inner(self.trace, owner):
            owner[key] = value
            return
        if isinstance(key, slice) or (isinstance(owner, dict) and key not in owner):
            raise _changes_build(owner, "stores to a slice" if isinstance(key, slice) else "adds")
        if isinstance(owner, list):
            import operator

            key = range(len(owner))[operator.index(key)]
        self.trace.store(Slot("item", owner, key, f"the item [{key!r}]"), value)

    def __delitem__(self, key: Any) -> None:
        if _is_inner(self.trace, self.owner):
            del self.owner[key]
            return
        raise _changes_build(self.owner, "deletes from")


class _Attributes:
    """An object, for one statement that sets an attribute of it."""

    def __init__(self, trace: Trace, owner: Any) -> None:
        object.__setattr__(self, "_held", (trace, owner))

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_held")[1], name)

    def __setattr__(self, name: str, value: Any) -> None:
        trace, owner = object.__getattribute__(self, "_held")
        if isinstance(getattr(type(owner), name, None), property):
            setattr(owner, name, value)
            return
        trace.store(Slot("attribute", owner, name, f"the attribute .{name}"), value)

    def __delattr__(self, name: str) -> None:
        raise UnsupportedError(
            "an attribute is deleted in a branch or loop that is traced",
            way_out="set it to None instead",
        )


def check_mutation(trace: Trace, function: Any) -> None:
    """Refuse a method that changes the build of a container which was there before a region."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, list | dict | set) and type(owner).__name__ != "deque":
        return
    if getattr(function, "__name__", "") in _MUTATORS and not _is_inner(trace, owner):
        raise _changes_build(owner, f"calls .{function.__name__}() on")


def _changes_build(owner: Any, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the function {what} a {type(owner).__name__} in a branch on a traced value or in a loop "
        "that is traced once for all trips",
        way_out="write into an array made before it (y = np.zeros(n); y[i] = v)",
    )
