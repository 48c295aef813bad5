"""What the tests of the scheduler share: running, counting, and random programs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.types import evaluate as dim_value
from tracegrad.ir.verifier import verify
from tracegrad.ops import access
from tracegrad.schedule import schedule


def scheduled(text: str) -> Function:
    """Loop form of the function that ``text`` prints, verified."""
    return verify(schedule(parse(text)), form="loop")


def counts(function: Function) -> Counter[str]:
    """How many operations of each name the function has, loops and buffers among them."""
    return Counter(op.name for op in function.walk())


def assert_same_results(
    function: Function, *arguments: Any, run: Callable[..., Any] | None = None
) -> None:
    """The schedule of ``function`` gives what the function gives; inputs stay as they are."""
    expected = evaluate(function, *arguments)
    before = [np.array(a) for a in arguments]
    loops = verify(schedule(function), form="loop")
    found = evaluate(loops, *arguments) if run is None else run(loops, *arguments)
    for old, now in zip(before, arguments, strict=True):
        np.testing.assert_array_equal(old, now)
    for e, f in zip(expected, found, strict=True):
        f = np.asarray(f)
        assert (e.shape, e.dtype) == (f.shape, f.dtype)
        np.testing.assert_allclose(f, e, rtol=1e-9, atol=1e-9)
        for a in arguments:
            assert not (f.ndim and np.shares_memory(f, a))
    arrays = [np.asarray(f) for f in found if np.ndim(f)]
    for k, first in enumerate(arrays):
        for second in arrays[k + 1 :]:
            assert not np.shares_memory(first, second)


# --- random programs --------------------------------------------------------------------------

N, M = symbol("n"), symbol("m")
Make = Callable[[random.Random, Value, list[Value]], "Value | None"]


def _along(x: Value, axis: int, entry: Any) -> tuple[Any, ...]:
    return tuple(entry if p == axis else (p, 0, 1) for p in range(x.rank))


def _with_size(x: Value, axis: int, size: Any) -> tuple[Any, ...]:
    return tuple(size if p == axis else d for p, d in enumerate(x.shape))


def _binary(draw: random.Random, x: Value, pool: list[Value]) -> Value:
    other = draw.choice([z for z in pool if z.shape == x.shape or not z.rank])
    return getattr(ops, draw.choice(["add", "subtract", "multiply", "maximum"]))(x, other)


def _heavy(draw: random.Random, x: Value, pool: list[Value]) -> Value:
    return getattr(ops, draw.choice(["tanh", "exp"]))(x * 0.1)


def _cheap(draw: random.Random, x: Value, pool: list[Value]) -> Value:
    return x * 0.5 + 1.0


def _reduction(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    axes = tuple(sorted(draw.sample(range(x.rank), draw.randint(1, x.rank))))
    result = getattr(ops, draw.choice(["sum", "sum", "sum", "max", "min"]))(x, axes=axes)
    return result * 0.1


def _broadcast(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if x.rank > 2:
        return None
    return access.broadcast_to(x, (draw.choice([N, M, 3]), *x.shape))


def _transpose(draw: random.Random, x: Value, pool: list[Value]) -> Value:
    return access.transpose(x, tuple(draw.sample(range(x.rank), x.rank)))


def _slice(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    axis = draw.randrange(x.rank)
    first = draw.choice([0, 1])
    shape = _with_size(x, axis, x.shape[axis] - 1)
    return ops.view(x, shape=shape, map=_along(x, axis, (axis, first, 1)))


def _pad(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    axis = draw.randrange(x.rank)
    first, more = draw.choice([0, 1, 2]), draw.choice([0, 1])
    shape = _with_size(x, axis, x.shape[axis] + first + more)
    return ops.pad(x, shape=shape, map=_along(x, axis, (axis, first, 1)))


def _strided_pad(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    axis = draw.randrange(x.rank)
    entry = (axis, draw.choice([0, 1]), 2)
    return ops.pad(x, shape=_with_size(x, axis, x.shape[axis] * 2), map=_along(x, axis, entry))


def _flip(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    axis = draw.randrange(x.rank)
    return ops.view(x, shape=x.shape, map=_along(x, axis, (axis, x.shape[axis] - 1, -1)))


def _one_row(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    """A static index, and sometimes its transpose: the rest is zeros."""
    if not x.rank:
        return None
    axis = draw.randrange(x.rank)
    at = draw.choice([0, x.shape[axis] - 1])
    map = tuple((None, at, 1) if p == axis else (p - (p > axis), 0, 1) for p in range(x.rank))
    row = ops.view(x, shape=x.shape[:axis] + x.shape[axis + 1 :], map=map)
    return row if draw.random() < 0.5 else ops.pad(row, shape=x.shape, map=map)


def _outer(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    z = draw.choice(pool)
    if not x.rank or not z.rank or x.rank + z.rank > 3:
        return None
    shape = x.shape + z.shape
    left = ops.view(x, shape=shape, map=tuple((p, 0, 1) for p in range(x.rank)))
    right = ops.view(z, shape=shape, map=tuple((x.rank + p, 0, 1) for p in range(z.rank)))
    return left * right


def _dot(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    fitting = [
        z for z in pool if z.rank in (1, 2) and x.rank in (1, 2) if z.shape[0] == x.shape[-1]
    ]
    return ops.dot(x, draw.choice(fitting)) * 0.1 if fitting else None


def _concatenate(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    return ops.concatenate(x, x * 2.0, axis=draw.randrange(x.rank)) if x.rank else None


def _at_indices(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank or x.shape[0] != N:
        return None
    indices = pool[0].op.operands[0] if pool[0].op else None
    assert indices is not None
    kind = draw.choice(["index", "accumulate", "update"])
    if kind == "index":
        return ops.index(x, indices)
    return getattr(ops, kind)(x * 1.0, x * 3.0, indices)


def _scan(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    if not x.rank:
        return None
    return ops.cumsum(x * 0.1, axis=draw.randrange(x.rank), reverse=draw.random() < 0.5)


def _reshape(draw: random.Random, x: Value, pool: list[Value]) -> Value | None:
    return ops.reshape(x, shape=(x.shape[0] * x.shape[1],)) if x.rank == 2 else None


MAKERS: tuple[Make, ...] = (
    *(_binary, _binary, _heavy, _cheap, _reduction, _reduction, _broadcast, _transpose, _slice),
    *(_slice, _pad, _strided_pad, _flip, _one_row, _outer, _dot, _concatenate, _at_indices),
    *(_scan, _reshape),
)


def random_program(seed: int) -> Function:
    """A program of up to 14 array operations on inputs of symbolic and static sizes."""
    draw = random.Random(seed)
    with Builder() as build:
        indices = build.param(ArrayType(i64, (N,)), "indices")
        pool = [ops.cast(indices, dtype=f64)]
        for k in range(draw.randint(1, 3)):
            shape = tuple(draw.choice([N, M, 3, 12]) for _ in range(draw.choice([1, 1, 2, 2, 3])))
            pool.append(build.param(ArrayType(f64, shape), f"x{k}"))
        build.param(ArrayType(f64, (M,)), "unused")
        for _ in range(draw.randint(3, 14)):
            x = draw.choice(pool[-5:])
            try:
                made = draw.choice(MAKERS)(draw, x, pool)
            except TypeError:
                continue  # an axis of size 0 or 1 where the operation needs more
            if made is not None:
                pool.append(made)
        results = draw.sample(pool, min(len(pool), draw.randint(1, 4)))
        if pool[-1] not in results:
            results.append(pool[-1])
        hints = {"n": draw.choice([5, 1000]), "m": draw.choice([6, 300, 20000])}
        return build.function("f", results, hints=hints)


def random_arguments(function: Function, sizes: dict[str, int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    arguments = []
    for p in function.params:
        shape = tuple(dim_value(d, sizes) for d in p.shape)
        if p.dtype is i64:
            arguments.append(
                rng.integers(-shape[0], shape[0], shape) if shape[0] else np.zeros(0, int)
            )
        else:
            arguments.append(rng.normal(size=shape))
    return arguments
