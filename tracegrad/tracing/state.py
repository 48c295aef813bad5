"""One trace in progress: the builder, the sizes, and where in the user's code we are."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tracegrad.errors import UnsupportedError, user_frame
from tracegrad.ir.core import Location, Region, Value
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.threads import Scope, Threads
from tracegrad.ir.types import Dim, Size, is_symbol, substitute
from tracegrad.ops.access import simple_entry
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import REGISTRY, OpDef
from tracegrad.tracing.sizes import Sizes
from tracegrad.tracing.spans import Spans

if TYPE_CHECKING:
    from tracegrad.staging import Site
    from tracegrad.tracing.captures import Captures
    from tracegrad.tracing.effects import Slot
    from tracegrad.tracing.memory import Memory

__all__ = ["Opened", "Trace", "active", "current_trace", "user_location"]

_local = threading.local()
_DEEPEST_RECURSION = 30


def active() -> bool:
    """Whether this thread is tracing."""
    return bool(getattr(_local, "stack", ()))


def current_trace() -> Trace:
    """The trace of this thread that is in progress."""
    stack: list[Trace] = getattr(_local, "stack", [])
    if not stack:
        raise UnsupportedError(
            "a traced value was used after its trace had ended",
            way_out="return values from the function instead of storing them outside",
        )
    return stack[-1]


class Opened:
    """A region that operations go to: the arm of a branch, or the body of a loop.

    Attributes
    ----------
    site, frame, line : where the construct stands in the user's file.
    dead : an exception is raised in it at run time; control never comes to its end.
    touched, written, stale : the memories that were read, were written, or became stale while it
        was open.
    stores : places outside the frame (an item, an attribute, a cell) that were stored to, with
        what they held before; ``after`` has what they held when the region was closed.
    known : containers and objects that were there before the region was opened.
    """

    __slots__ = (
        "after", "dead", "frame", "known", "line", "mark", "rolled", "scope", "site",
        "stale", "stores", "touched", "written",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, mark: int, site: Site, rolled: bool, frame: FrameType | None
    ) -> None:
        self.scope = scope
        self.mark = mark
        self.site = site
        self.frame = frame
        self.line = site.line
        self.rolled = rolled
        self.dead = False
        self.touched: dict[Memory, None] = {}
        self.written: dict[Memory, None] = {}
        self.stale: dict[Memory, str] = {}
        self.stores: dict[Any, tuple[Slot, Any]] = {}
        self.after: dict[Any, Any] = {}
        self.known: dict[int, Any] = {}


class Trace:
    """What tracers share while a function runs on them.

    Attributes
    ----------
    build : receives the operations; a trace within a trace puts its own here for a while.
    sizes : symbols, hints, substitutions and guards.
    captures : arrays and values found outside the arguments.
    masks : positions whose number is known at run time only, with what they come from.
    spans : integers known at run time that are used as sizes.
    ranges : the least and the greatest value that a loop's index takes, where they are known.
    opened : the regions that are open now, outer before inner.
    journal : how to undo what was changed on Python's side, last change last.
    """

    def __init__(self, captures: Captures) -> None:
        self.build = self.outermost = Threads()
        self.sizes = Sizes(self._replaced)
        self.captures = captures
        self.masks: list[tuple[Value, tuple[Value, ...], Region]] = []
        self.spans = Spans(self)
        self.sizes.same_at_run_time = self.spans.compared
        self.ranges: dict[Value, tuple[Dim | None, Dim | None]] = {}
        self.opened: list[Opened] = []
        self.journal: list[Callable[[], Any]] = []
        self._regions: list[Region] = [self.build.region]  # whose types are still to be settled
        self._visible: set[Region] = {self.build.region}
        self._functions: set[Region] = {self.build.region}  # not those of arms and loops

    @contextmanager
    def running(self) -> Iterator[Trace]:
        """Make this the trace of the thread."""
        if not hasattr(_local, "stack"):
            _local.stack = []
        _local.stack.append(self)
        try:
            with self.build:
                yield self
        finally:
            _local.stack.pop()

    @contextmanager
    def inner(self) -> Iterator[Threads]:
        """A builder of its own for a function traced within this trace."""
        outer, self.build = self.build, Threads()
        region = self.build.region
        self._regions.append(region)
        self._visible.add(region)
        self._functions.add(region)
        try:
            with self.build:
                yield self.build
        finally:
            self._regions.remove(region)
            self._visible.discard(region)
            self.build = outer

    # -- regions

    def open(self, site: Site, *, loop: bool) -> Opened:
        """Begin an arm or a loop body: operations go there from now on."""
        if sum(each.site is site for each in self.opened) > _DEEPEST_RECURSION:
            raise UnsupportedError(
                "a function calls itself under a condition that is only known at run time: tracing "
                "would never end",
                way_out="write the recursion as a while loop",
            )
        frame = user_frame(sys._getframe(1))
        scope = self.build.open_scope(loops=loop)
        opened = Opened(scope, len(self.journal), site, loop, frame)
        opened.known = reachable(frame)
        self._regions.append(opened.scope.region)
        self._visible.add(opened.scope.region)
        self.opened.append(opened)
        return opened

    def close(self, opened: Opened) -> None:
        """Operations go to the region around again; what was stored to is as it was before."""
        self.abandon(self.opened.index(opened) + 1)
        self.opened.pop()
        for key, (slot, old) in opened.stores.items():
            opened.after[key] = slot.get()
            self._store(slot, old)
        self.build.close_scope(opened.scope)
        self._visible.discard(opened.scope.region)

    @contextmanager
    def reopened(self, opened: Opened) -> Iterator[None]:
        """Append to a closed region whose operation does not exist yet."""
        self.opened.append(opened)
        self._visible.add(opened.scope.region)
        try:
            with self.build.reopened(opened.scope):
                yield
        finally:
            self._visible.discard(opened.scope.region)
            self.opened.pop()

    @contextmanager
    def within(self) -> Iterator[None]:
        """In the body of a loop that is built by hand: what is computed in it is used in it."""
        region = self.build.region
        self._regions.append(region)
        self._visible.add(region)
        try:
            yield
        finally:
            self._regions.remove(region)
            self._visible.discard(region)

    def store(self, slot: Slot, value: Any) -> None:
        """Store to a place outside the frame, so that the open regions know of it."""
        for opened in self.opened:
            if slot.key not in opened.stores and not slot.is_name_of(opened):
                opened.stores[slot.key] = (slot, slot.get())
        self._store(slot, value)

    def _store(self, slot: Slot, value: Any) -> None:
        old = slot.get()
        self.journal.append(lambda: slot.set(old))
        slot.set(value)

    def settle(self, *regions: Opened) -> None:
        """These regions belong to an operation now, or to nothing."""
        for opened in regions:
            self._regions.remove(opened.scope.region)

    def abandon(self, depth: int) -> None:
        """Forget the regions beyond ``depth`` and whatever was done in them."""
        while len(self.opened) > depth:
            opened = self.opened.pop()
            self.undo(opened.mark)
            if opened.scope in self.build._scopes:
                self.build.close_scope(opened.scope)
            self._visible.discard(opened.scope.region)
            if opened.scope.region in self._regions:
                self._regions.remove(opened.scope.region)

    def undo(self, mark: int) -> None:
        """Take back what was changed on Python's side since the journal had this length."""
        while len(self.journal) > mark:
            self.journal.pop()()

    def require_visible(self, region: Region) -> None:
        """Raise if values of ``region`` can't be used here."""
        if region in self._visible:
            return
        if region in self._functions:
            raise UnsupportedError(
                "a traced value is used outside the function call it belongs to",
                way_out="return values from the function instead of storing them outside",
            )
        raise UnsupportedError(
            "a value computed in a branch or in a loop is used outside of it, in a way that "
            "was not seen",
            way_out="bind it to a local name, and use that name",
        )

    def is_bound(self, name: str, *, outside: Region | None = None) -> bool:
        """Whether a size symbol has a value here, or outside of a region that is open."""
        return name in self.sizes.hints or any(
            is_symbol(op.attributes["size"]) == name
            for region in self._visible - {outside}
            for op in region.ops
            if op.name in BINDING
        )

    def is_visible(self, region: Region) -> bool:
        return region in self._visible

    @property
    def outermost_region(self) -> Region:
        """The region of the traced function itself."""
        return self.outermost.outermost_scope.region

    def emit(self, name: str, *operands: Value, **attributes: Any) -> Value:
        """Append an operation with one result, at the user's line."""
        (result,) = self.emit_all(name, *operands, **attributes)
        return result

    def emit_all(self, name: str, *operands: Value, **attributes: Any) -> tuple[Value, ...]:
        with self.build.at(user_location()):
            return self.build.emit(_opdef(name), operands, attributes).results

    def run(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that appends operations by itself, at the user's line."""
        with self.build.at(user_location()):
            return make(*args, **kwargs)

    def size_value(self, dim: Dim) -> Value:
        """A dimension as an i64 scalar."""
        value: Value = self.run(dim_value, self.sizes.resolve(dim))
        return value

    def _replaced(self, replacement: Mapping[str, Dim]) -> None:
        """Two sizes were found equal: nothing built so far may go on saying otherwise."""
        for region in self._regions:
            substitute_sizes(region, replacement)


def _opdef(name: str) -> OpDef:
    opdef = REGISTRY.get(name)
    if opdef is None:
        raise UnsupportedError(f"the operation {name!r} is not supported yet")
    return opdef


def substitute_sizes(region: Region, replacement: Mapping[str, Dim]) -> None:
    """Replace size symbols in all types and attributes of a region that is being built."""
    for param in region.params:
        param.type = param.type.substitute(replacement)
    for op in region.walk():
        for inner in op.regions:
            for param in inner.params:
                param.type = param.type.substitute(replacement)
        for result in op.results:
            result.type = result.type.substitute(replacement)
        op.attributes = MappingProxyType(
            {name: _substituted(value, replacement) for name, value in op.attributes.items()}
        )
        if op.name in ("view", "pad"):
            part = (op.result if op.name == "view" else op.operands[0]).shape
            map = tuple(simple_entry(entry, part) for entry in op.attributes["map"])
            op.attributes = MappingProxyType({**op.attributes, "map": map})


def _substituted(attribute: Any, replacement: Mapping[str, Dim]) -> Any:
    if isinstance(attribute, Size):
        return substitute(attribute, replacement)
    if isinstance(attribute, tuple):
        return tuple(_substituted(part, replacement) for part in attribute)
    return attribute


_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None), np.ndarray, np.ufunc))
"""Types of objects that hold no others."""
_BUILTINS = vars(builtins)


def reachable(frame: FrameType | None) -> dict[int, Any]:
    """The containers and objects that the user's functions which run now can reach by name."""
    found: dict[int, Any] = {}

    def look(value: Any, depth: int) -> None:
        if type(value) in _PLAIN or id(value) in found or not depth or value is _BUILTINS:
            return
        inner: Any = ()
        if isinstance(value, list | tuple | set):
            inner = value
        elif isinstance(value, dict):
            inner = value.values()
        elif not isinstance(value, type | ModuleType | FunctionType):
            held = getattr(value, "__dict__", None)
            if not isinstance(held, dict):
                return
            inner = held.values()
        found[id(value)] = value
        for each in inner:
            look(each, depth - 1)

    while (frame := user_frame(frame)) is not None:
        for value in list(frame.f_locals.values()):
            look(value, 4)
        frame = frame.f_back
        while frame is not None and frame.f_globals.get("__name__", "").startswith("tracegrad."):
            if frame.f_code.co_name == "trace":
                return found  # what called the traced function is none of its business
            frame = frame.f_back
    return found


class _Places:
    """The locations of one code object, each made when it is first asked for."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self._spans = list(code.co_positions()) if hasattr(code, "co_positions") else []
        self._known: dict[int, Location] = {}

    def location(self, frame: FrameType) -> Location:
        """Where ``frame``, which runs this code, is now."""
        found = self._known.get(frame.f_lasti)
        if found is None:
            found = self._known[frame.f_lasti] = self._read(frame)
        return found

    def _read(self, frame: FrameType) -> Location:
        code = self.code
        if self._spans and frame.f_lasti >= 0:
            start, end_line, column, end_column = self._spans[frame.f_lasti // 2]
            if start is not None:
                return Location(code.co_filename, start, column, end_column, end_line, code.co_name)
        line = frame.f_lineno or code.co_firstlineno
        return Location(code.co_filename, line, function=code.co_name)


# The position table of a code object is read once. By identity: hashing code reads all of it.
_places: dict[int, _Places] = {}
_MAX_PLACES = 256


def user_location() -> Location | None:
    """Where the user's code is now, as operations carry it."""
    frame = user_frame(sys._getframe(1))
    if frame is None:
        return None
    code = frame.f_code
    found = _places.get(id(code))
    if found is None:
        if len(_places) >= _MAX_PLACES:
            _places.clear()
        found = _places[id(code)] = _Places(code)
    return found.location(frame)
