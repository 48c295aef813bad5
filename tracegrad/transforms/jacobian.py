"""Jacobians: one derivative per direction, in a loop over the directions within one function.

What does not depend on the direction (the primal, its residuals, the local partials) is computed
once, before the loop. Forward mode takes a column of the Jacobian per trip, reverse mode a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import current
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.types import ArrayType, Dim, i64, product
from tracegrad.ops.access import broadcast_to, reshaped, stack, view_of, zeros
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant, expand_to
from tracegrad.transforms.cut import reads_of

UNROLLED = 4
"""Up to so many directions each has its own statements: their zeros are folded away."""


def forward_blocks(seeded: Function, values: Sequence[Value], results: int) -> list[Value]:
    """Append the derivatives of results in one parameter, column by column.

    Parameters
    ----------
    seeded : as made by `tracegrad.transforms.jvp.jvp` for one parameter; its operations are
        appended to the current builder.
    values : one per parameter of the primal.
    results : how many leading results are those of the primal.

    Returns
    -------
    The primal results, then one block per tangent, of its shape followed by the parameter's.
    """
    split = _Split(seeded, values)
    (x,) = seeded.params[len(values) :]
    types = [r.type for r in seeded.results[results:]]
    shapes = [(*t.shape, *x.shape) for t in types]
    primal = split.early(results)

    def columns(dot: Value) -> list[Value]:
        return split.late([dot])[results:]

    if x.rank == 0:
        return primal + columns(constant(1.0, x.dtype))
    count = product(x.shape)
    if isinstance(count, int) and 0 < count <= UNROLLED:
        each = [split.late_at(k)[results:] for k in range(count)]
        blocks = [stack(found, axis=-1) for found in zip(*each, strict=True)]
    else:
        inits = [zeros((*t.shape, count), t.dtype) for t in types]

        def trip(k: Value, *blocks: Value) -> list[Value]:
            found = columns(_one_hot(x.type, k))
            return [_with_column(b, column, k) for b, column in zip(blocks, found, strict=True)]

        blocks = list(for_loop(0, count, inits, trip))
    return primal + [reshaped(b, shape) for b, shape in zip(blocks, shapes, strict=True)]


def reverse_blocks(seeded: Function, values: Sequence[Value], results: int) -> list[Value]:
    """Append the derivatives of one result in parameters, row by row.

    Parameters
    ----------
    seeded : as made by `tracegrad.transforms.vjp.vjp` for one result; its operations are appended
        to the current builder.
    values : one per parameter of the primal.
    results : how many leading results are those of the primal.

    Returns
    -------
    The primal results, then one block per cotangent, of the result's shape followed by the
    cotangent's.
    """
    split = _Split(seeded, values)
    (out,) = seeded.params[len(values) :]
    types = [r.type for r in seeded.results[results:]]
    shapes = [(*out.shape, *t.shape) for t in types]
    primal = split.early(results)

    def rows(bar: Value) -> list[Value]:
        return split.late([bar])[results:]

    if out.rank == 0:
        return primal + rows(constant(1.0, out.dtype))
    count = product(out.shape)
    if isinstance(count, int) and 0 < count <= UNROLLED:
        each = [split.late_at(k)[results:] for k in range(count)]
        blocks = [stack(found) for found in zip(*each, strict=True)]
    else:
        inits = [zeros((count, *t.shape), t.dtype) for t in types]

        def trip(k: Value, *blocks: Value) -> list[Value]:
            found = rows(_one_hot(out.type, k))
            return [ops.update(b, row, k) for b, row in zip(blocks, found, strict=True)]

        blocks = list(for_loop(0, count, inits, trip))
    return primal + [reshaped(b, shape) for b, shape in zip(blocks, shapes, strict=True)]


def compressed_blocks(
    seeded: Function,
    values: Sequence[Value],
    results: int,
    seeds: Callable[[Value | int], list[Value]],
    number: Dim,
) -> tuple[list[Value], list[Value]]:
    """Append the derivatives along a number of directions.

    Parameters
    ----------
    seeded : as made by `jvp` or `vjp`.
    values : one per parameter of the primal.
    results : how many leading results are those of the primal.
    seeds : what appends direction k: one value per parameter of ``seeded`` after the primal's.

    Returns
    -------
    The primal results, and for each further result all directions, the direction first.
    """
    split = _Split(seeded, values)
    primal = split.early(results)
    types = [r.type for r in seeded.results[results:]]
    if isinstance(number, int) and 0 < number <= UNROLLED:
        each = [split.late(seeds(k))[results:] for k in range(number)]
        return primal, [stack(found) for found in zip(*each, strict=True)]
    inits = [zeros((number, *t.shape), t.dtype) for t in types]

    def trip(k: Value, *blocks: Value) -> list[Value]:
        found = split.late(seeds(k))[results:]
        return [ops.update(b, v, k) for b, v in zip(blocks, found, strict=True)]

    return primal, list(for_loop(0, number, inits, trip))


class _Split:
    """A function in two parts: what depends on its seeds, and what is there before.

    Appends the first part when it is made; the seeds are the parameters without a value.
    """

    def __init__(self, function: Function, values: Sequence[Value]) -> None:
        self._function = function
        self._seeds = function.params[len(values) :]
        self._env: dict[Value, Value] = dict(zip(function.params, values, strict=False))
        self._late: list[Operation] = []
        depending = set(self._seeds)
        for op in function.body.ops:
            if reads_of(op) & depending:
                depending.update(op.results)
                self._late.append(op)
            else:
                _append(op, self._env)
        self._depending = depending

    def early(self, results: int) -> list[Value]:
        """The leading results; those that stand in the second part are computed with zeros."""
        wanted = self._function.results[:results]
        if not any(r in self._depending for r in wanted):
            return [self._env.get(r, r) for r in wanted]
        return self.late([zeros(s.shape, s.dtype) for s in self._seeds])[:results]

    def late(self, seeds: Sequence[Value]) -> list[Value]:
        """Append the second part for these seeds; all results of the function."""
        env = {**self._env, **dict(zip(self._seeds, seeds, strict=True))}
        for op in self._late:
            _append(op, env)
        return [env.get(r, r) for r in self._function.results]

    def late_at(self, k: int) -> list[Value]:
        """As `late`, for the one seed: one at element ``k``, counted in C order, zero elsewhere.

        The second part is linear in its seed: what is made of zeros alone is not written down.
        """
        (seed,) = self._seeds
        shape = tuple(int(d) for d in seed.shape if isinstance(d, int))
        known = {seed: np.eye(1, math.prod(shape), k).reshape(shape)}
        env = {**self._env, seed: _one_hot(seed.type, k)}
        zero: set[Value] = set()
        for op in self._late:
            moving = [v for v in op.operands if v in self._depending]
            if op.name == "view" and moving[0] in known:
                numbers = (*op.result.shape, *(e[1] for e in op.attributes["map"]))
                if all(isinstance(n, int) for n in numbers):
                    array = op.opdef.reference(known[moving[0]], **op.attributes)
                    known[op.result] = array
                    if not array.any():
                        zero.add(op.result)
                    elif not array.ndim:
                        env[op.result] = constant(1.0, op.result.dtype)
                        continue
            elif _is_zero(op, moving, zero):
                zero.add(op.result)
            if op.results and op.results[0] in zero:
                env[op.result] = zeros(op.result.shape, op.result.dtype)
                continue
            left = _without_zeros(op, zero, env)
            if left is not None:
                env[op.result] = left
            else:
                _append(op, env)
        return [env.get(r, r) for r in self._function.results]


def _is_zero(op: Operation, moving: Sequence[Value], zero: set[Value]) -> bool:
    """Whether an operation makes zeros of operands that are zero: one factor, or all terms."""
    if op.regions or len(op.results) != 1 or not op.result.dtype.is_float:
        return False
    if op.name in _PRODUCTS:
        return any(v in zero for v in moving)
    if op.name == "divide":
        return op.operands[0] in zero
    if op.opdef.kind == "linear" or op.name in _SUMS:
        return zero.issuperset(v for v in op.operands if v.dtype.is_float)
    return False


_PRODUCTS = frozenset(("multiply", "dot", "matmul"))
_SUMS = frozenset(("add", "subtract", "negative", "select", "accumulate", "update", "index"))


def _without_zeros(op: Operation, zero: set[Value], env: dict[Value, Value]) -> Value | None:
    """The other term of a sum with zero; None for any other operation."""
    if op.name not in ("add", "subtract"):
        return None
    x, y = op.operands
    if y in zero:
        return expand_to(env.get(x, x), op.result.shape)
    if x in zero:
        other = env.get(y, y)
        return expand_to(other if op.name == "add" else -other, op.result.shape)
    return None


def _append(op: Operation, env: dict[Value, Value]) -> None:
    env.update(zip(op.results, current().copy(op, env).results, strict=True))


def _one_hot(type: ArrayType, k: Value | int) -> Value:
    """Element ``k``, counted in C order, is one and the others are zero."""
    count = product(type.shape)
    if isinstance(k, int):
        assert isinstance(count, int)
        row = tuple(float(j == k) for j in range(count))
        flat: Value = ops.const(value=row, dtype=type.dtype)
    else:
        here = ops.equal(ops.iota(size=count, dtype=i64), k)
        flat = ops.select(here, constant(1.0, type.dtype), constant(0.0, type.dtype))
    return reshaped(flat, type.shape)


def _with_column(block: Value, column: Value, k: Value) -> Value:
    """``block`` with its last dimension at ``k`` overwritten."""
    if not column.rank:
        result: Value = ops.update(block, column, k)
        return result
    shape = column.shape
    grid = [
        view_of(ops.iota(size=size, dtype=i64), shape, [(axis, 0, 1)])
        for axis, size in enumerate(shape)
    ]
    written: Value = ops.update(block, column, *grid, broadcast_to(k, shape))
    return written
