"""Random programs of reads and writes at arrays of indices: every form agrees, adjoints too.

Rows of additions, with readers in between or none; to zeros, to what was computed, to arguments,
to what a loop carries; of what was read from the same array before. Indices repeat and count from
the end.
"""

import os
import random

import numpy as np
import pytest

from tests.schedule.region_programs import assert_all_forms_agree, compiled_results, lowered
from tests.schedule.support import assert_same_results
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import broadcast_to, expand_dims, full
from tracegrad.ops.control import branch, for_loop
from tracegrad.passes import optimize
from tracegrad.transforms.vjp import vjp

n, m = symbol("n"), symbol("m")
NODE, EDGE, ROWS, EDGES = (ArrayType(f64, shape) for shape in ((n,), (m,), (n, 3), (m, 3)))
GATHERED = {NODE: EDGE, ROWS: EDGES}
INDICES = ArrayType(i64, (m,))


class Program:
    """Writes one random function of arrays over nodes and edges, and arrays of indices."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.budget = 22

    def function(self):
        with Builder() as build:
            given = [
                build.param(t, name)
                for t, name in ((NODE, "t"), (EDGE, "w"), (ROWS, "x"), (EDGES, "a"))
            ]
            self.indices = [build.param(INDICES, name) for name in "ij"]
            pool = self.statements(2, [*given, full((n,), 0.0), full((n, 3), 0.0)])
            results = [self.pick(pool, t) for t in (NODE, ROWS, EDGE)]
            return verify(build.function("program", results))

    def pick(self, pool, type):
        found = [v for v in pool if v.type == type]
        return self.random.choice(found[-2:] if self.random.random() < 0.8 else found)

    def at(self):
        return self.random.choice(self.indices)

    def statements(self, depth, pool):
        pool = list(pool)
        for _ in range(self.random.randint(2, 7)):
            if self.budget <= 0:
                break
            self.budget -= 1
            kinds = (
                ["gather"] * 4
                + ["add"] * 6
                + ["row"] * 3
                + ["update"]
                + ["edge"] * 4
                + ["node"] * 2
            )
            if depth:
                kinds += ["loop"] * 2 + ["choice"]
            pool += getattr(self, self.random.choice(kinds))(depth, pool)
        return pool

    def gather(self, depth, pool):
        return [ops.index(self.pick(pool, self.random.choice([NODE, ROWS])), self.at())]

    def target(self, pool):
        type = self.random.choice([NODE, ROWS])
        if self.random.random() < 0.4:
            return full(type.shape, self.random.choice([0.0, 0.0, 0.5]))
        return self.pick(pool, type)

    def value(self, pool, type):
        v = self.pick(pool, GATHERED[type])
        kind = self.random.choice(["same", "negative", "computed", "filled"])
        if kind == "negative":
            return -v
        if kind == "computed":
            return ops.tanh(v) * 0.5
        return full(v.shape, 0.25) if kind == "filled" else v

    def add(self, depth, pool):
        base = self.target(pool)
        return [ops.accumulate(base, self.value(pool, base.type), self.at())]

    def row(self, depth, pool):
        """Several additions, mostly with no reader in between."""
        base = self.target(pool)
        made = []
        for _ in range(self.random.randint(2, 3)):
            base = ops.accumulate(base, self.value([*pool, *made], base.type), self.at())
            if self.random.random() < 0.15:
                made.append(ops.index(base, self.at()))
        return [*made, base * 0.5]

    def update(self, depth, pool):
        base = self.target(pool)
        return [ops.update(base, self.value(pool, base.type), self.at())]

    def edge(self, depth, pool):
        kind = self.random.choice(["norm", "scale", "combine", "light"])
        a, w = self.pick(pool, EDGES), self.pick(pool, EDGE)
        if kind == "norm":
            return [ops.sqrt(ops.sum(a * a, axes=(1,)) + 1.0)]
        if kind == "scale":
            return [broadcast_to(expand_dims(w, 1), (m, 3)) * a]
        if kind == "combine":
            return [a - self.pick(pool, EDGES) * 0.5]
        return [w * 0.5 - self.pick(pool, EDGE)]

    def node(self, depth, pool):
        x, t = self.pick(pool, ROWS), self.pick(pool, NODE)
        kind = self.random.choice(["sum", "combine", "scale"])
        if kind == "sum":
            return [ops.tanh(ops.sum(x, axes=(1,)))]
        if kind == "combine":
            return [x * 0.5 + self.pick(pool, ROWS)]
        return [broadcast_to(expand_dims(t, 1), (n, 3)) * x]

    def loop(self, depth, pool):
        types = self.random.choices([NODE, ROWS, ROWS, EDGE], k=self.random.randint(1, 3))

        def body(k, *params):
            inner = self.statements(depth - 1, [*pool, *params])
            return [ops.tanh(self.pick(inner, p.type)) for p in params]

        return list(for_loop(0, 2, [self.pick(pool, t) for t in types], body))

    def choice(self, depth, pool):
        types = self.random.choices([NODE, ROWS, EDGE], k=2)

        def arm():
            inner = self.statements(depth - 1, pool)
            return [self.pick(inner, t) for t in types]

        return list(branch(ops.sum(self.pick(pool, EDGE), axes=(0,)) < 0.1, arm, arm))


def arguments(seed, nodes, edges):
    rng = np.random.default_rng(seed)
    shapes = (nodes,), (edges,), (nodes, 3), (edges, 3)
    return [
        *(rng.uniform(-1, 1, shape) for shape in shapes),
        *(rng.integers(-nodes, nodes, edges) for _ in "ij"),
    ]


def adjoint(function, given, seed):
    """The adjoint of ``function``, and arguments of it."""
    made = optimize(vjp(optimize(function), (0, 1, 2, 3)))
    rng = np.random.default_rng(seed)
    sizes = {n: given[0].size, m: given[1].size}
    bars = [
        rng.uniform(-1, 1, tuple(sizes.get(d, d) for d in p.shape))
        for p in made.params[len(given) :]
    ]
    return made, [*given, *bars]


PROGRAMS = int(os.environ.get("TRACEGRAD_PROGRAMS", "200"))


@pytest.mark.parametrize("part", range(4))
def test_random_programs_agree_in_every_form(part):
    for seed in range(part * PROGRAMS // 4, (part + 1) * PROGRAMS // 4):
        function = Program(seed).function()
        given = arguments(seed, 1 + seed % 4, seed % 6)
        assert_all_forms_agree(function, *given, rtol=1e-9)
        assert_same_results(function, *given)
        if seed % 4 == 0:
            function, given = adjoint(function, given, seed)
            assert_all_forms_agree(function, *given, rtol=1e-9)
            assert_same_results(function, *given)


@pytest.mark.parametrize("seed", range(10_000, 10_004))
def test_random_kernels_agree(seed):
    function, given = adjoint(Program(seed).function(), arguments(seed, 3, 5), seed)
    expected = evaluate(function, *given)
    for e, r in zip(expected, compiled_results(lowered(function), given), strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-9, atol=1e-12)
