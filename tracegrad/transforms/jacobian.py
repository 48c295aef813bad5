"""Jacobians: one derivative per direction, in a loop over the directions within one function.

What does not depend on the direction (the primal, its residuals, the local partials) is computed
once, before the loop. Forward mode takes a column of the Jacobian per trip, reverse mode a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import current
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.types import Dim, evaluate, floor_div, i64, product
from tracegrad.ops.access import (
    broadcast_to,
    expand_dims,
    moveaxis,
    reshaped,
    slice_,
    stack,
    view_of,
    zeros,
)
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant, expand_to
from tracegrad.transforms.cut import reads_of
from tracegrad.transforms.directions import Along, Spread, unit

UNROLLED = 4
"""Up to so many directions each has its own statements: their zeros are folded away."""

WIDEST = 64
"""So many directions are taken at once through a loop, at most."""
FEWEST = 4
"""With fewer at once, each has a loop of its own: so large are the values of a trip."""
CACHED = 2**17

"""Elements of the largest value that a trip computes for all directions that are taken at once."""
KEPT = 2**24
"""Elements of the largest array that holds something for each trip and direction."""


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
    (x,) = seeded.params[len(values) :]
    shapes = [(*r.shape, *x.shape) for r in seeded.results[results:]]
    primal, blocks = _in_unit_directions(seeded, values, results, last=True)
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
    (out,) = seeded.params[len(values) :]
    shapes = [(*out.shape, *r.shape) for r in seeded.results[results:]]
    primal, blocks = _in_unit_directions(seeded, values, results, last=False)
    return primal + [reshaped(b, shape) for b, shape in zip(blocks, shapes, strict=True)]


def _in_unit_directions(
    seeded: Function, values: Sequence[Value], results: int, *, last: bool
) -> tuple[list[Value], list[Value]]:
    """The primal results, and the others in all directions of the one seed, side by side.

    Parameters
    ----------
    last : whether the axis of the directions is the last or the first one.
    """
    split = Split(seeded, values)
    (seed,) = seeded.params[len(values) :]
    if seed.rank == 0:
        return split.early(results), split.late([constant(1.0, seed.dtype)])[results:]
    count = product(seed.shape)
    places = reshaped(ops.iota(size=count, dtype=i64), seed.shape)
    if split.widest:
        primal, tables = _beside(split, count, _width(split, count), [places], results)
        return primal, [_side_by_side(table, count, last=last) for table in tables]
    primal = split.early(results)
    if isinstance(count, int) and 0 < count <= UNROLLED:
        each = [split.late_at(k)[results:] for k in range(count)]
        return primal, [stack(found, axis=-1 if last else 0) for found in zip(*each, strict=True)]
    shapes = [(*r.shape, count) if last else (count, *r.shape) for r in seeded.results[results:]]
    inits = [zeros(s, r.dtype) for s, r in zip(shapes, seeded.results[results:], strict=True)]

    def trip(k: Value, *blocks: Value) -> list[Value]:
        found = split.late([unit(places, k, seed.dtype)])[results:]
        return [
            _with_column(b, v, k) if last else ops.update(b, v, k)
            for b, v in zip(blocks, found, strict=True)
        ]

    return primal, list(for_loop(0, count, inits, trip))


def compressed_blocks(
    seeded: Function,
    values: Sequence[Value],
    results: int,
    colours: Sequence[Value],
    number: Dim,
    width: int,
) -> tuple[list[Value], list[Value]]:
    """Append the derivatives along a number of directions.

    Parameters
    ----------
    seeded : as made by `jvp` or `vjp`.
    values : one per parameter of the primal.
    results : how many leading results are those of the primal.
    colours : of each parameter of ``seeded`` after the primal's, the direction in which an element
        is one; it is zero in the others.
    number : of directions, a multiple of ``width``.

    Returns
    -------
    The primal results, and for each further result an array of shape ``(blocks, *shape, width)``:
    direction k stands in block ``k // width``, at the place ``k % width`` of the last axis.
    """
    split = Split(seeded, values)
    types = [r.type for r in seeded.results[results:]]
    if split.widest and width > 1:
        return _beside(split, number, width, colours, results)

    def seeds(k: Value) -> list[Value]:
        return [
            unit(c, k, p.dtype) for c, p in zip(colours, seeded.params[len(values) :], strict=True)
        ]

    primal = split.early(results)
    if isinstance(number, int) and 0 < number <= UNROLLED:
        each = [split.late(seeds(constant(k, i64)))[results:] for k in range(number)]
        found = [stack(blocks) for blocks in zip(*each, strict=True)]
    else:
        inits = [zeros((number, *t.shape), t.dtype) for t in types]

        def trip(k: Value, *blocks: Value) -> list[Value]:
            found = split.late(seeds(k))[results:]
            return [ops.update(b, v, k) for b, v in zip(blocks, found, strict=True)]

        found = list(for_loop(0, number, inits, trip))
    if width == 1:
        return primal, [expand_dims(t, -1) for t in found]
    blocks = floor_div(number, width)
    tables = [reshaped(t, (blocks, width, *t.shape[1:])) for t in found]
    return primal, [moveaxis(t, 1, -1) for t in tables]


def _beside(
    split: Split, number: Dim, width: Dim, colours: Sequence[Value], results: int
) -> tuple[list[Value], list[Value]]:
    """As `compressed_blocks`; ``number`` need not be a multiple of ``width``."""
    if number == width:
        numbers = ops.iota(size=width, dtype=i64)
        primal, found = split.beside(numbers, colours, results)
        return primal, [expand_dims(v, 0) for v in found]
    assert isinstance(width, int)
    blocks = floor_div(number + (width - 1), width)
    inits = [zeros((blocks, *r.shape, width), r.dtype) for r in split.function.results[results:]]

    def trip(k: Value, *tables: Value) -> list[Value]:
        # Of the last block, those beyond the last direction are along zero and not looked at.
        numbers = ops.iota(size=width, dtype=i64) + k * width
        _, found = split.beside(numbers, colours, results)
        return [ops.update(table, v, k) for table, v in zip(tables, found, strict=True)]

    return split.early(results), list(for_loop(0, blocks, inits, trip))


def _width(split: Split, number: Dim) -> Dim:
    """How many of so many directions are taken at once: all, or blocks of a known width."""
    try:
        many = evaluate(number, split.function.hints)
    except KeyError:
        return split.widest
    if many <= split.widest:
        return number
    # Of a known number, as wide blocks as all of them need.
    return -(-many // (-(-many // split.widest))) if isinstance(number, int) else split.widest


def _side_by_side(table: Value, count: Dim, *, last: bool) -> Value:
    """One axis, the last or the first, of the directions of a table that `_beside` made."""
    if last:
        rows = moveaxis(table, 0, -2)
        rows = reshaped(rows, (*rows.shape[:-2], rows.shape[-2] * rows.shape[-1]))
        return slice_(rows, rows.rank - 1, 0, count)
    rows = moveaxis(table, -1, 1)
    rows = reshaped(rows, (rows.shape[0] * rows.shape[1], *rows.shape[2:]))
    return slice_(rows, 0, 0, count)


def _widest(late: Sequence[Operation], moving: Set[Value], hints: Mapping[str, int]) -> int:
    """How many directions the loops of the second part are to take at once."""
    inside = [op for each in late for r in each.regions for op in r.walk()]
    written = [_elements(v, hints) for op in inside for v in op.results if v in moving]
    computed = [
        _elements(v, hints)
        for op in inside
        if not op.regions and op.name not in _WRITING
        for v in op.results
        if v in moving
    ]
    most = min(WIDEST, CACHED // max(1, *computed, 1), KEPT // max(1, *written, 1))
    return most - most % FEWEST


def _elements(value: Value, hints: Mapping[str, int]) -> int:
    """As far as that is known."""
    try:
        return evaluate(product(value.shape), hints)
    except KeyError:
        return 1


_WRITING = frozenset(("update", "accumulate", "ensure"))


class Split:
    """A function in two parts: what depends on its seeds, and what is there before.

    Appends the first part when it is made; the seeds are the parameters without a value.

    Attributes
    ----------
    widest : how many directions the loops of the second part take at once; 0 if it has none.
    """

    def __init__(self, function: Function, values: Sequence[Value]) -> None:
        self._function = function
        self._seeds = function.params[len(values) :]
        self._env: dict[Value, Value] = dict(zip(function.params, values, strict=False))
        self._late: list[Operation] = []
        self.function = function
        depending = set(self._seeds)
        for op in function.body.ops:
            if reads_of(op) & depending:
                depending.update(op.results)
                self._late.append(op)
            else:
                append_copy(op, self._env)
        self._depending = depending
        self.widest = 0
        if any(_loops(op) for op in self._late):
            self._spread = spread = Spread(self._late, self._seeds)
            if spread.possible:
                self.widest = _widest(self._late, spread.moving, function.hints)

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
            append_copy(op, env)
        return [env.get(r, r) for r in self._function.results]

    def beside(
        self, numbers: Value, colours: Sequence[Value], results: int
    ) -> tuple[list[Value], list[Value]]:
        """Append the second part for the directions ``numbers`` beside each other.

        Returns
        -------
        The leading results, and the others, whose last axis counts the directions.
        """
        given = dict(zip(self._seeds, colours, strict=True))
        along = Along(self._late, self._spread, numbers, self._env, given)
        primal, rest = self.function.results[:results], self.function.results[results:]
        if self._spread.moving.isdisjoint(primal):
            return [along.env.get(r, r) for r in primal], [along.of(r) for r in rest]
        return self.early(results), [along.of(r) for r in rest]

    def late_at(self, k: int, which: int = 0) -> list[Value]:
        """As `late`, for seeds of zeros but for a one: element ``k`` of seed ``which``, in C order.

        The second part is linear in its seeds: what is made of zeros alone is not written down.
        """
        env, zero = dict(self._env), set[Value]()
        known: dict[Value, np.ndarray] = {}
        for n, seed in enumerate(self._seeds):
            if n != which:
                env[seed] = zeros(seed.shape, seed.dtype)
                zero.add(seed)
                continue
            if not seed.rank:
                env[seed] = constant(1.0, seed.dtype)
                continue
            shape = tuple(int(d) for d in seed.shape if isinstance(d, int))
            known[seed] = np.eye(1, math.prod(shape), k).reshape(shape)
            row = tuple(float(v) for v in known[seed].flat)
            env[seed] = reshaped(ops.const(value=row, dtype=seed.dtype), seed.shape)
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
                append_copy(op, env)
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


def append_copy(op: Operation, env: dict[Value, Value]) -> None:
    """Append a copy of an operation; ``env`` learns of its results."""
    env.update(zip(op.results, current().copy(op, env).results, strict=True))


def _loops(op: Operation) -> bool:
    """Whether an operation is a loop, or holds one."""
    return op.name in ("for", "while") or any(_loops(i) for r in op.regions for i in r.ops)


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
