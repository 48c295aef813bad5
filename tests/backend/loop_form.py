"""Building functions in loop form by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Location, Region, Value
from tracegrad.ir.types import ArrayType, Dim, DType, boolean, f64, i64, scalar
from tracegrad.ops.registry import REGISTRY

SCALAR, INDEX = scalar(f64), scalar(i64)


class Loops:
    """A builder with a method for each operation of loop form."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        self.zero, self.one = self.int(0), self.int(1)

    def int(self, value: int) -> Value:
        return ops.const(value=value, dtype=i64)

    def num(self, value: float, dtype: DType = f64) -> Value:
        return ops.const(value=value, dtype=dtype)

    def dim(self, size: Dim) -> Value:
        return ops.dim(size=size)

    def op(
        self,
        name: str,
        *operands: Value,
        attributes: Mapping[str, Any] | None = None,
        type: ArrayType | None = None,
        hint: str = "",
    ) -> Value:
        """An operation with one result of the given type, or none."""
        types = () if type is None else (type,)
        op = self.build.emit(REGISTRY[name], operands, attributes or {}, (), types)
        for result in op.results:
            result.hint = hint
        return op.results[0] if op.results else operands[0]

    def alloc(
        self, *shape: Dim, hint: str = "", fill: float | None = None, dtype: DType = f64
    ) -> Value:
        return self.op(
            "alloc",
            attributes={"shape": shape, "dtype": dtype, "fill": fill},
            type=ArrayType(dtype, shape),
            hint=hint,
        )

    def load(self, buffer: Value, *indices: Value, hint: str = "") -> Value:
        return self.op("load", buffer, *indices, type=scalar(buffer.dtype), hint=hint)

    def store(self, value: Value, buffer: Value, *indices: Value) -> None:
        self.op("store", value, buffer, *indices)

    def add_store(self, value: Value, buffer: Value, *indices: Value) -> None:
        self.op("add_store", value, buffer, *indices)

    def check_index(self, index: Value, size: Value, axis: int = 0, hint: str = "") -> Value:
        return self.op("check_index", index, size, attributes={"axis": axis}, type=INDEX, hint=hint)

    def loop(
        self,
        hi: Value,
        body: Callable[..., Sequence[Value]],
        *inits: Value,
        lo: Value | None = None,
        step: Value | None = None,
        hints: Sequence[str] = (),
        index: str = "",
        kind: str = "plain",
    ) -> tuple[Value, ...]:
        """``for index in range(lo, hi, step)``; ``body(index, *carries)`` gives the next ones."""
        hints = [*hints, *[""] * len(inits)]
        with self.build.open() as region:
            params = [self.build.param(INDEX, index)]
            params += [self.build.param(v.type, h) for v, h in zip(inits, hints, strict=False)]
            region.yields = tuple(body(*params))
        op = self.build.emit(
            REGISTRY["for"],
            [lo or self.zero, hi, step or self.one, *inits],
            {"kind": kind},
            [region],
            [v.type for v in inits],
        )
        for result, hint in zip(op.results, hints, strict=False):
            result.hint = hint
        return op.results

    def when(
        self,
        predicate: Value,
        then: Callable[[], Sequence[Value]],
        otherwise: Callable[[], Sequence[Value]] = tuple,
        hints: Sequence[str] = (),
    ) -> tuple[Value, ...]:
        regions: list[Region] = []
        for arm in (then, otherwise):
            with self.build.open() as region:
                region.yields = tuple(arm())
            regions.append(region)
        types = [v.type for v in regions[0].yields]
        op = self.build.emit(REGISTRY["if"], [predicate], {}, regions, types)
        for result, hint in zip(op.results, hints, strict=False):
            result.hint = hint
        return op.results

    def until_done(
        self,
        condition: Callable[..., Value],
        body: Callable[..., Sequence[Value]],
        *inits: Value,
    ) -> tuple[Value, ...]:
        """``while condition(*carries)``."""
        regions: list[Region] = []
        for make in (lambda *p: (condition(*p),), body):
            with self.build.open() as region:
                params = [self.build.param(v.type) for v in inits]
                region.yields = tuple(make(*params))
            regions.append(region)
        op = self.build.emit(REGISTRY["while"], inits, {}, regions, [v.type for v in inits])
        return op.results

    @contextmanager
    def at(self, file: str, line: int, part: str = "forward"):
        with self.build.at(Location(file, line), part):
            yield


def less(x: Value, y: Value) -> Value:
    found: Value = REGISTRY["less"](x, y)
    assert found.dtype is boolean
    return found


def array(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-1.0, 1.0, shape)
