"""Random programs of nested loops, branches and writes to arrays: every form agrees.

Arrays are carried, captured, swapped, chosen by branches, yielded twice, read after they were
overwritten. What is lowered in place where it must not be shows here.
"""

import os
import random

import numpy as np
import pytest

from tests.schedule.region_programs import assert_all_forms_agree, compiled_results, lowered
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64, i64, scalar, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import broadcast_to, expand_dims, flip, full, transpose
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant

n = symbol("n")
TYPES = [scalar(f64), scalar(i64), ArrayType(f64, (n,)), ArrayType(f64, (n, n))]
SCALAR, INDEX, VECTOR, MATRIX = TYPES


class Program:
    """Writes one random function of (f64, f64[n], f64[n, n])."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.budget = 30
        # Values that are soon forgotten leave more memory to write to in place.
        self.memory = self.random.choice([1, 2, 2, 4])

    def function(self):
        with Builder() as build:
            given = [build.param(t, name) for t, name in ((SCALAR, "s"), (VECTOR, "x"))]
            given.append(build.param(MATRIX, "a"))
            start = [dim_value(n) - 1, constant(0, i64)]
            pool = self.statements(3, [*given, *start, full((n,), 0.0), full((n, n), 0.5)])
            results = [self.pick(pool, t) for t in (SCALAR, VECTOR, VECTOR, MATRIX)]
            return verify(build.function("program", results))

    def pick(self, pool, type):
        found = [v for v in pool if v.type == type]
        near = self.random.random() < (0.7 if self.memory == 4 else 0.95)
        return self.random.choice(found[-self.memory :] if near else found)

    def array(self, pool):
        return self.pick(pool, self.random.choice([VECTOR, VECTOR, MATRIX]))

    def statements(self, depth, pool):
        """``pool`` and the values of some statements more."""
        pool = list(pool)
        for _ in range(self.random.randint(2, 6)):
            if self.budget <= 0:
                break
            self.budget -= 1
            kinds = ["arithmetic"] * 2 + ["read"] * 3 + ["write"] * 6 + ["whole"] * 2 + ["place"]
            if depth:
                kinds += ["loop"] * 3 + ["choice"] * 2 + ["repeat"]
            pool += getattr(self, self.random.choice(kinds))(depth, pool)
        return pool

    # --- scalars and elements

    def arithmetic(self, depth, pool):
        x, y = self.pick(pool, SCALAR), self.pick(pool, SCALAR)
        return [ops.tanh(x + y * 0.5)]

    def place(self, depth, pool):
        """Another index in range, or in range from the end."""
        i = self.pick(pool, INDEX)
        kind = self.random.choice(["back", "next", "mirror"])
        if kind == "back":
            return [dim_value(n) - 1 - i]
        if kind == "next":
            return [REGISTRY["remainder"](i + 1, dim_value(n))]
        return [REGISTRY["remainder"](i * 2 + 1, dim_value(n))]

    def safe(self, pool):
        """An index in range: as it is, if it is that of a loop, or brought into range."""
        i = self.pick(pool, INDEX)
        if i.op is None and self.random.random() < 0.8:
            return i
        return REGISTRY["remainder"](i, dim_value(n))

    def read(self, depth, pool):
        x = self.array(pool)
        count = self.random.randint(1, x.rank)
        return [ops.index(x, *(self.safe(pool) for _ in range(count)))]

    def write(self, depth, pool):
        x = self.array(pool)
        write = self.random.choice([ops.update, ops.update, ops.accumulate])
        count = self.random.randint(1, x.rank)
        v = self.pick(pool, SCALAR if count == x.rank else VECTOR)
        if v.rank and self.random.random() < 0.3:
            v = ops.tanh(v) * 0.5
        if self.random.random() < 0.1:
            where = ops.iota(size=n, dtype=i64)
            if self.random.random() < 0.5:
                where = REGISTRY["floor_divide"](where, full((n,), 2, i64))
            v = self.pick(pool, VECTOR if x.rank == 1 else MATRIX)
            return [self.bounded(write(x, v, where))]
        return [self.bounded(write(x, v, *(self.safe(pool) for _ in range(count))))]

    def bounded(self, x):
        return x if self.random.random() < 0.9 else ops.tanh(x)

    # --- whole arrays

    def whole(self, depth, pool):
        x = self.array(pool)
        y = self.pick(pool, x.type)
        kind = self.random.choice(["add", "scale", "flip", "sum", "fill", "outer", "turn", "copy"])
        if kind == "add":
            return [ops.tanh(x - y)]
        if kind == "scale":
            return [x * self.pick(pool, SCALAR)]
        if kind == "flip":
            return [flip(x, 0)]
        if kind == "sum":
            return [ops.tanh(ops.sum(x, axes=(x.rank - 1,)))]
        if kind == "fill":
            return [full(x.shape, self.random.choice([0.0, 1.5]))]
        if kind == "outer":
            row = broadcast_to(expand_dims(self.pick(pool, VECTOR), 0), (n, n))
            return [row * self.pick(pool, MATRIX)]
        if kind == "turn":
            return [transpose(self.pick(pool, MATRIX))]
        return [REGISTRY["stop_gradient"](x)]

    # --- control flow

    def carried(self, pool):
        types = self.random.choices([SCALAR, VECTOR, VECTOR, MATRIX], k=self.random.randint(1, 4))
        return [self.pick(pool, t) for t in types]

    def next_values(self, pool, params):
        """What a body yields: mostly what became of a carried value, or another of its type."""
        return [self.pick(pool, p.type) for p in params]

    def loop(self, depth, pool):
        lo, hi, step = self.random.choice(
            [(0, n, 1), (1, n, 1), (n - 1, -1, -1), (0, n, 2), (self.safe(pool), n, 1)]
        )

        def body(i, *params):
            inner = self.statements(depth - 1, [*pool, *params, i])
            return self.next_values(inner, params)

        return list(for_loop(lo, hi, self.carried(pool), body, step=step))

    def repeat(self, depth, pool):
        def more(k, *params):
            return REGISTRY["less"](k, 3)

        def body(k, *params):
            inner = self.statements(depth - 1, [*pool, *params])
            return k + 1, *self.next_values(inner, params)

        return list(while_loop([constant(0, i64), *self.carried(pool)], more, body))[1:]

    def choice(self, depth, pool):
        types = [v.type for v in self.carried(pool)]

        def arm():
            inner = self.statements(depth - 1, pool)
            return [self.pick(inner, t) for t in types]

        return list(branch(self.pick(pool, SCALAR) < 0.1, arm, arm))


def arguments(seed, size):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1), rng.uniform(-1, 1, size), rng.uniform(-1, 1, (size, size))


PROGRAMS = int(os.environ.get("TRACEGRAD_PROGRAMS", "200"))


@pytest.mark.parametrize("part", range(4))
def test_random_programs_agree_in_every_form(part):
    for seed in range(part * PROGRAMS // 4, (part + 1) * PROGRAMS // 4):
        function = Program(seed).function()
        assert_all_forms_agree(function, *arguments(seed, 1 + seed % 4), rtol=1e-9)


@pytest.mark.parametrize("seed", range(10_000, 10_006))
def test_random_kernels_agree(seed):
    function = Program(seed).function()
    given = [np.asarray(g) for g in arguments(seed, 3)]
    expected = evaluate(function, *given)
    for e, r in zip(expected, compiled_results(lowered(function), given), strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-9, atol=1e-12)
