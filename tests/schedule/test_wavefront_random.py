"""Random nests over cells: loops by diagonals give what the loops as written give.

Cells read and write tables at random distances, many of which leave no order free, rows and
columns of other arrays, and places that all cells share. Whatever the pass makes of it, the
results and those of the derivative must be the same, for no trip and for one as well.
"""

import os
import random

import numpy as np
import pytest

from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import full
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import constant
from tracegrad.passes import finish, optimize
from tracegrad.schedule import wavefront
from tracegrad.transforms.vjp import gradient

n, m = symbol("n"), symbol("m")
ROOM = 3
SIZES = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (5, 1), (2, 2), (3, 5), (6, 4), (7, 7)]


class Program:
    """Writes one random function of tables x and z of ``n + 3`` by ``m + 3``, v and w."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.tame = self.random.random() < 0.7

    def function(self):
        with Builder() as build:
            shapes = [(n + ROOM, m + ROOM), (m + ROOM, n + ROOM), (n + ROOM,), (m + ROOM,)]
            given = [
                build.param(ArrayType(f64, s), name) for s, name in zip(shapes, "xzvw", strict=True)
            ]
            for size in (n, m):
                build.param(ArrayType(f64, (size,)), f"by_{size}")
            arrays = [
                self.start(given[0]),
                full((n + ROOM, m + ROOM), self.random.choice([0.0, 0.5])),
                full((m + ROOM, n + ROOM), 0.25),
                full((n + ROOM,), 0.0),
                full((m + ROOM,), 0.125),
                full((2,), 0.0),
            ]
            total = constant(0.0, f64)
            if self.random.random() < 0.5:
                arrays[0] = self.edge(arrays[0])
            for _ in range(self.random.choice([1, 1, 2])):
                *arrays, total = self.nests(given, arrays, total)
            out = total + sum(ops.sum(a * a, axes=tuple(range(a.rank))) for a in arrays)
            if self.random.random() < 0.3:
                return verify(build.function("program", [out, arrays[0]]))
            picked = ops.index(arrays[0], dim_value(n + 1), dim_value(m + 1))
            return verify(build.function("program", [out, picked]))

    def start(self, x):
        return x * 0.5 if self.random.random() < 0.5 else full((n + ROOM, m + ROOM), 0.0)

    def edge(self, a):
        """Some elements of the first rows, before the nest."""

        def trip(j, a):
            first = constant(0, i64)
            return [ops.update(a, ops.index(a, first, j - 1) * 0.5 + 0.1, first, j)]

        return for_loop(1, m + 2, [a], trip)[0]

    def bounds(self, size):
        low = self.random.choice([0, 1, 2, 2])
        high = self.random.choice([size + 1, size + 2, size + 2]) if low else size
        if low and self.random.random() < 0.4:
            return dim_value(high - 1), constant(low - 1, i64), constant(-1, i64), low, high
        return constant(low, i64), dim_value(high), constant(1, i64), low, high

    def nests(self, given, arrays, total):
        """A nest, or one in a loop over its sweeps."""
        if self.random.random() < 0.75:
            return self.nest(given, arrays, total)

        def sweep(p, *carried):
            return self.nest(given, carried[:-1], carried[-1])

        return for_loop(0, 2, [*arrays, total], sweep)

    def nest(self, given, arrays, total):
        lo, hi, step, *self.rows = self.bounds(n)
        lo2, hi2, step2, *self.columns = self.bounds(m)
        self.signs = [1 if s.op.attributes["value"] > 0 else -1 for s in (step, step2)]
        count = self.random.choice([1, 1, 2, 3])

        def row(i, *carried):
            def cell(j, *inner):
                *tables, total = inner
                for _ in range(count):
                    tables = self.statement(i, j, given, tables)
                if self.random.random() < 0.5:
                    total = total + self.value(i, j, given, tables) * 0.1
                return [*tables, total]

            return for_loop(lo2, hi2, list(carried), cell, step=step2)

        return for_loop(lo, hi, [*arrays, total], row, step=step)

    def offset(self, axis):
        """How far from the cell a place is, against the direction of the loop if tame."""
        low, high = (self.rows, self.columns)[axis]
        size = (n, m)[axis]
        least, most = -low, ROOM - (high - size)
        wanted = self.random.choice([0, -1, -1, -2])
        if not self.tame:
            wanted = self.random.choice([1, 0, 0, -1])
        wanted *= self.signs[axis]
        return max(least, min(most, wanted))

    def place(self, i, j, array, *, here=False):
        """Indices of an element of an array."""
        r, c = (0, 0) if here else (self.offset(0), self.offset(1))
        i, j = i + r if r else i, j + c if c else j
        if array in (0, 1):
            return (i, j)
        return {2: (j, i), 3: (i,), 4: (j,), 5: (constant(self.random.randint(0, 1), i64),)}[array]

    def read(self, i, j, given, tables):
        kind = self.random.choice(["table"] * 4 + ["given"] * 2 + ["line"])
        if kind == "table":
            array = self.random.choice([0, 0, 0, 1, 2])
            return ops.index(tables[array], *self.place(i, j, array))
        if kind == "line" and not self.tame:
            array = self.random.choice([3, 4])
            return ops.index(tables[array], *self.place(i, j, array))
        array = self.random.choice([0, 2, 3, 4])
        number = {0: 0, 2: 1, 3: 2, 4: 3}[array]
        return ops.index(given[number], *self.place(i, j, array))

    def value(self, i, j, given, tables):
        x, y = self.read(i, j, given, tables), self.read(i, j, given, tables)
        kind = self.random.choice(["tanh", "max", "sum", "branch"])
        if kind == "tanh":
            return ops.tanh(x + y * 0.5)
        if kind == "max":
            return ops.maximum(x, y * 0.7) * 0.9
        if kind == "sum":
            return x * 0.5 + y * 0.25
        return branch(
            x > 0.1,
            lambda: [ops.exp(x * -0.5) * self.read(i, j, given, tables)],
            lambda: [self.read(i, j, given, tables) * 0.5],
        )[0]

    def statement(self, i, j, given, tables):
        tables = list(tables)
        array = self.random.choice([0, 0, 0, 0, 1, 2, 3, 4, 5])
        value = self.value(i, j, given, tables) + self.value(i, j, given, tables) * 0.5
        if self.random.random() < 0.7:
            value = value + ops.index(tables[0], *self.place(i, j, 0)) * 0.25
        here = self.random.random() < 0.9
        at = self.place(i, j, array, here=here)
        add = array >= 3 and (self.tame or self.random.random() < 0.7)
        if add or self.random.random() < 0.2:
            tables[array] = ops.accumulate(tables[array], value * 0.1, *at)
        else:
            tables[array] = ops.update(tables[array], value, *at)
        return tables


@pytest.fixture(autouse=True)
def _whatever_it_costs(monkeypatch):
    monkeypatch.setattr(wavefront, "GAIN", 0.0)


def arguments(rows, columns, seed):
    rng = np.random.default_rng(seed)
    shapes = [(rows + ROOM, columns + ROOM), (columns + ROOM, rows + ROOM)]
    shapes += [(rows + ROOM,), (columns + ROOM,), (rows,), (columns,)]
    return [rng.normal(size=shape) for shape in shapes]


def diagonals(function):
    return sum(op.attributes.get("kind") == "diagonals" for op in lowered(function).walk())


SEEDS = range(int(os.environ.get("TRACEGRAD_SEEDS", "40")))


@pytest.mark.parametrize("seed", SEEDS)
def test_diagonals_give_what_rows_give(seed):
    function = optimize(Program(seed).function())
    function = finish(function) if seed % 2 else function
    for number, sizes in enumerate(SIZES):
        assert_all_forms_agree(function, *arguments(*sizes, number))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_way_back_too(seed):
    function = Program(seed).function()
    back = finish(optimize(gradient(optimize(function), [0, 1, 2, 3])))
    for number, sizes in enumerate(SIZES[::3]):
        assert_all_forms_agree(back, *arguments(*sizes, number), rtol=1e-9)


def test_many_of_these_programs_have_diagonals():
    found = [diagonals(finish(optimize(Program(seed).function()))) for seed in range(20)]
    assert sum(count > 0 for count in found) >= 5
    assert sum(count == 0 for count in found) >= 3
