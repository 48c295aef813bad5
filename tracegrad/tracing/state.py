"""One trace in progress: the builder, the sizes, and where in the user's code we are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any

from tracegrad.errors import UnsupportedError, user_frame
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Location, Region, Value
from tracegrad.ir.types import Dim, Size, substitute
from tracegrad.ops.access import simple_entry
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import REGISTRY, OpDef
from tracegrad.tracing.sizes import Sizes

if TYPE_CHECKING:
    from tracegrad.tracing.captures import Captures

__all__ = ["Trace", "active", "current_trace", "user_location"]

_local = threading.local()


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


class Trace:
    """What tracers share while a function runs on them.

    Attributes
    ----------
    build : receives the operations; a trace within a trace puts its own here for a while.
    sizes : symbols, hints, substitutions and guards.
    captures : arrays and values found outside the arguments.
    """

    def __init__(self, captures: Captures) -> None:
        self.build = Builder()
        self.sizes = Sizes(self._replaced)
        self.captures = captures
        self.masks: list[tuple[Value, tuple[Value, ...]]] = []
        self._regions: list[Region] = [self.build.region]

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
    def inner(self) -> Iterator[Builder]:
        """A builder of its own for a function traced within this trace."""
        outer, self.build = self.build, Builder()
        self._regions.append(self.build.region)
        try:
            with self.build:
                yield self.build
        finally:
            self._regions.pop()
            self.build = outer

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


# Looking up columns walks the code's position table; a loop asks for the same line often.
_locations: dict[tuple[CodeType, str, int], Location] = {}


def user_location() -> Location | None:
    """Where the user's code is now, as operations carry it."""
    frame = user_frame(sys._getframe(1))
    return None if frame is None else _location_of(frame)


def _location_of(frame: FrameType) -> Location:
    code = frame.f_code
    key = (code, code.co_filename, frame.f_lasti)
    found = _locations.get(key)
    if found is None:
        found = _locations[key] = _read_location(frame)
    return found


def _read_location(frame: FrameType) -> Location:
    code = frame.f_code
    line = frame.f_lineno or code.co_firstlineno
    positions = getattr(code, "co_positions", None)
    if positions is not None and frame.f_lasti >= 0:
        spans: list[tuple[int | None, int | None, int | None, int | None]] = list(positions())
        start, end_line, column, end_column = spans[frame.f_lasti // 2]
        if start is not None:
            return Location(code.co_filename, start, column, end_column, end_line, code.co_name)
    return Location(code.co_filename, line, function=code.co_name)
