"""Building a region: append operations one after the other.

Rules of operations are plain functions that call op definitions on values; the calls append
to the *current* builder of the thread, which `Builder` installs as a context manager.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tracegrad.ir.core import Function, Guard, Location, Operation, Region, Value
from tracegrad.ir.types import ArrayType

if TYPE_CHECKING:
    from tracegrad.ops.registry import OpDef

_local = threading.local()


def current() -> Builder:
    """The innermost active builder of this thread."""
    stack: list[Builder] = getattr(_local, "stack", [])
    if not stack:
        raise RuntimeError("no builder is active: use `with Builder() as build:`")
    return stack[-1]


class Builder:
    """Appends operations to a stack of open regions.

    Examples
    --------
    >>> with Builder() as build:
    ...     x = build.param(ArrayType(f64, (symbol("n"),)), "x")
    ...     f = build.function("f", [ops.sum(ops.sin(x), axes=(0,))])
    """

    def __init__(self) -> None:
        self._regions: list[Region] = [Region()]
        self._location: Location | None = None
        self._part = "forward"
        self.appended = 0
        """How many operations were appended so far, in all regions."""

    def __enter__(self) -> Builder:
        if not hasattr(_local, "stack"):
            _local.stack = []
        _local.stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _local.stack.pop()

    @property
    def region(self) -> Region:
        """The region that operations are appended to now."""
        return self._regions[-1]

    def param(self, type: ArrayType, hint: str = "") -> Value:
        """A new parameter of the open region."""
        value = Value(type, hint)
        self.region.params = (*self.region.params, value)
        return value

    def emit(
        self,
        opdef: OpDef,
        operands: Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        regions: Sequence[Region] = (),
        result_types: Sequence[ArrayType] | None = None,
    ) -> Operation:
        """Append an operation; result types are inferred unless given."""
        attributes = {} if attributes is None else attributes
        if result_types is None:
            inferred = opdef.infer(*[v.type for v in operands], **attributes)
            result_types = inferred if isinstance(inferred, tuple) else (inferred,)
        op = Operation(
            opdef,
            tuple(operands),
            attributes,
            tuple(regions),
            tuple(result_types),
            self._location,
            self._part,
        )
        self.region.ops.append(op)
        self.appended += 1
        return op

    def copy(
        self,
        op: Operation,
        env: Mapping[Value, Value],
        *,
        operands: Sequence[Value] | None = None,
        attributes: Mapping[str, Any] | None = None,
        regions: Sequence[Region] | None = None,
        result_types: Sequence[ArrayType] | None = None,
    ) -> Operation:
        """Append ``op`` with operands mapped through ``env``; location, part and names kept.

        Regions are copied too, with ``env`` extended inside, unless given.
        """
        if operands is None:
            operands = [env.get(v, v) for v in op.operands]
        if regions is None:
            regions = [self._copy_region(r, env) for r in op.regions]
        if result_types is None:
            result_types = [r.type for r in op.results]
        with self.at(op.location, op.part):
            new = self.emit(op.opdef, operands, attributes or op.attributes, regions, result_types)
        for old, result in zip(op.results, new.results, strict=True):
            result.hint = old.hint
        return new

    def _copy_region(self, region: Region, env: Mapping[Value, Value]) -> Region:
        inner = dict(env)
        with self.open() as new:
            for p in region.params:
                inner[p] = self.param(p.type, p.hint)
            for op in region.ops:
                copied = self.copy(op, inner)
                inner.update(zip(op.results, copied.results, strict=True))
            new.yields = tuple(inner.get(v, v) for v in region.yields)
        return new

    @contextmanager
    def open(self) -> Iterator[Region]:
        """A new region: operations go there until the block ends; set its ``yields``."""
        region = Region()
        self._regions.append(region)
        try:
            yield region
        finally:
            self._regions.pop()

    @contextmanager
    def at(self, location: Location | None, part: str | None = None) -> Iterator[None]:
        """Give the operations of the block this location (and part)."""
        saved = self._location, self._part
        self._location = location
        if part is not None:
            self._part = part
        try:
            yield
        finally:
            self._location, self._part = saved

    def function(
        self,
        name: str,
        results: Sequence[Value],
        *,
        like: Function | None = None,
        size_params: Mapping[str, int] | None = None,
        guards: Sequence[Guard] | None = None,
        hints: Mapping[str, int] | None = None,
        origin: Location | None = None,
        result_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> Function:
        """Close the outermost region; whatever is not given is taken from ``like``."""
        (region,) = self._regions
        region.yields = tuple(results)
        base = like if like is not None else Function(name, region)
        return Function(
            name,
            region,
            size_params=base.size_params if size_params is None else dict(size_params),
            guards=base.guards if guards is None else tuple(guards),
            hints=base.hints if hints is None else dict(hints),
            origin=base.origin if origin is None else origin,
            result_names=base.result_names if result_names is None else tuple(result_names),
            title=base.title if title is None else title,
            parts=base.parts,
        )
