"""Random small programs with nested loops, branches, reads and writes.

A program has scalar variables and array variables of one size, which its statements change one
after the other. A loop or branch changes some of them and reads all. What decides about branches
and the ends of loops stays away from its threshold, so that differences can be taken.
"""

import random

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import at, flip, slice_
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant

n = symbol("n")
VECTOR, SCALAR = ArrayType(f64, (n,)), ArrayType(f64)
SCALARS, ARRAYS = ("s", "t", "u"), ("a", "b", "c")


class Maker:
    """Draws the statements of one program."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.room = self.random.choice([6, 12, 20, 30])
        self.ints = []

    def function(self, seed):
        with Builder() as build:
            self.switch = build.param(VECTOR, "switch")
            self.places = build.param(ArrayType(i64, (n,)), "places")
            state = {name: build.param(VECTOR, name) for name in ARRAYS}
            state.update((name, build.param(SCALAR, name)) for name in SCALARS)
            self.ints = [constant(0, i64), dim_value(n) - 1]
            names = list(state)
            state = self.block(state, names, 0, self.random.randint(2, 6))
            kept = self.random.sample(names, self.random.choice([1, 2, 6]))
            results = [state[name] for name in kept]
            return verify(build.function(f"seed_{seed}", results))

    def block(self, state, names, depth, count):
        """Some statements; only the variables ``names`` may be changed."""
        ints = list(self.ints)
        for _ in range(count):
            if self.room <= 0:
                break
            self.room -= 1
            state = self.statement(dict(state), names, depth)
        self.ints = ints
        return state

    def statement(self, state, names, depth):
        scalars = [v for v in names if v in SCALARS]
        arrays = [v for v in names if v in ARRAYS]
        kinds = ["exchange"]
        if scalars:
            kinds += ["scalar"] * 4 + ["copy"]
        if arrays:
            kinds += ["write"] * 4 + ["whole", "alias"]
        if depth < 3:
            kinds += ["for"] * 3 + ["while"] + ["if"] * 3
        kind = self.random.choice(kinds)
        if kind == "scalar":
            state[self.random.choice(scalars)] = self.scalar(state)
        elif kind == "copy":
            state[self.random.choice(scalars)] = state[self.random.choice(SCALARS)]
        elif kind == "write":
            self.write(state, self.random.choice(arrays))
        elif kind == "whole":
            x, y = (state[self.random.choice(ARRAYS)] for _ in range(2))
            name = self.random.choice(arrays)
            state[name] = self.random.choice(
                [
                    lambda: ops.sin(x),
                    lambda: x * y * 0.5,
                    lambda: flip(x) * 0.7 + self.scalar(state),
                ]
            )()
        elif kind == "alias":
            state[self.random.choice(arrays)] = state[self.random.choice(ARRAYS)]
        elif kind == "exchange":
            group = self.random.choice([scalars, arrays])
            if len(group) > 1:
                order = group[1:] + group[:1]
                state.update(zip(group, [state[v] for v in order], strict=True))
        else:
            self.control(kind, state, names, depth)
        return state

    # --- expressions

    def place(self):
        i = self.random.choice(self.ints[-3:])
        kind = self.random.randint(0, 4)
        if kind == 0:
            return ops.remainder(i + self.random.randint(0, 2), dim_value(n))
        if kind == 1:
            return ops.index(self.places, i)
        if kind == 2 and len(self.ints) > 2:
            return i - 1
        return i

    def atom(self, state):
        kind = self.random.randint(0, 6)
        if kind == 0:
            return constant(0.6)
        if kind == 1:
            return at(state[self.random.choice(ARRAYS)], 0, self.random.choice([0, -1]))
        if kind <= 3:
            return ops.index(state[self.random.choice(ARRAYS)], self.place())
        if kind == 4 and self.random.random() < 0.3:
            x = state[self.random.choice(ARRAYS)]
            return ops.sum(ops.sin(slice_(x, 0, 1, None)), axes=(0,))
        return state[self.random.choice(SCALARS)]

    def scalar(self, state):
        x, y = self.atom(state), self.atom(state)
        return self.random.choice(
            [
                lambda: ops.sin(x) * y,
                lambda: ops.tanh(x + y),
                lambda: x * y * 0.8,
                lambda: x * 0.5 - y,
                lambda: ops.exp(ops.sin(x)) * 0.5,
                lambda: REGISTRY["cos"](x) + y * 0.5,
            ]
        )()

    def write(self, state, name):
        v, x = self.scalar(state), state[name]
        if self.random.random() < 0.2:
            where = ops.iota(size=2, dtype=i64) * self.random.randint(0, 1) + self.place() * 0
            values = ops.sin(slice_(x, 0, 0, 2)) * v
            state[name] = REGISTRY[self.random.choice(["update", "accumulate"])](x, values, where)
            return
        op = REGISTRY[self.random.choice(["update", "update", "accumulate"])]
        state[name] = op(x, v, self.place())

    # --- control flow

    def control(self, kind, state, names, depth):
        changed = self.random.sample(names, self.random.randint(1, len(names)))
        count = self.random.randint(1, 4)
        if kind == "if":
            i = self.place()

            def arm():
                inner = self.block(state, changed, depth + 1, self.random.randint(0, count))
                return [inner[v] for v in changed]

            results = branch(ops.index(self.switch, i) > 0.0, arm, arm)
        elif kind == "for":
            results = self.loop(state, changed, depth, count)
        else:
            results = self.while_(state, changed, depth, count)
        state.update(zip(changed, results, strict=True))

    def loop(self, state, changed, depth, count):
        last = dim_value(n) - 1
        i = self.random.choice(self.ints)
        lo, hi, step = self.random.choice(
            [(0, n, 1), (1, n, 1), (n - 1, -1, -1), (0, n, 2), (i, n, 1), (0, i, 1), (last, i, -2)]
        )

        def trip(i, *values):
            self.ints.append(i)
            inner = {**state, **dict(zip(changed, values, strict=True))}
            inner = self.block(inner, changed, depth + 1, count)
            self.ints.pop()
            return [inner[v] for v in changed]

        return for_loop(lo, hi, [state[v] for v in changed], trip, step=step)

    def while_(self, state, changed, depth, count):
        limit = dim_value(n)

        def going(k, *values):
            place = ops.remainder(k, limit)
            return ops.logical_and(k < limit, ops.index(self.switch, place) > -1.0)

        def trip(k, *values):
            self.ints.append(k)
            inner = {**state, **dict(zip(changed, values, strict=True))}
            inner = self.block(inner, changed, depth + 1, count)
            self.ints.pop()
            return [k + 1, *[inner[v] for v in changed]]

        start = self.random.choice(self.ints)
        return while_loop([start, *[state[v] for v in changed]], going, trip)[1:]


def random_program(seed):
    return Maker(seed).function(seed)


def arguments(seed, size=3):
    rng = np.random.default_rng(seed)
    switch = rng.choice([-1.4, -0.6, 0.4, 0.8, 1.2], size) + rng.uniform(-0.05, 0.05, size)
    arrays = [rng.uniform(-1.0, 1.0, size) for _ in ARRAYS]
    scalars = [np.asarray(v) for v in rng.uniform(-1.0, 1.0, len(SCALARS))]
    return [switch, rng.integers(0, size, size), *arrays, *scalars]


def random_table(seed):
    """A loop, or two nested ones, that fill a table from places near by, in any order."""
    chance = random.Random(seed)
    rank = chance.choice([1, 1, 2])
    kind = chance.choice(["up", "down", "while"])

    def place(indices):
        return [i + chance.choice([0, 0, -1, 1, -2, 2]) for i in indices]

    def statement(table, x, v, indices):
        reads = [ops.index(table, *place(indices)) for _ in range(chance.randint(1, 2))]
        found = reads[0] * reads[-1] * 0.5 + ops.tanh(v) * ops.index(x, indices[0])
        write = chance.choice([ops.update, ops.update, ops.update, ops.accumulate])
        kept = chance.random() < 0.5
        where = place(indices) if chance.random() < 0.3 else indices
        value = ops.exp(found * 0.3) if kept else found

        def arm():
            return [write(table, value, *where), value]

        if chance.random() < 0.3:
            return branch(ops.index(x, indices[0]) > 0.0, arm, lambda: [table, v])
        return arm()

    def body(table, x, v, indices):
        for _ in range(chance.randint(1, 2)):
            table, v = statement(table, x, v, indices)
        return [table, v]

    def inner(table, x, v, indices):
        if rank == 1:
            return body(table, x, v, indices)
        step = chance.choice([1, -1])
        bounds = (2, n - 2) if step == 1 else (n - 3, 1)
        return for_loop(
            *bounds, [table, v], lambda j, t, v: body(t, x, v, [*indices, j]), step=step
        )

    with Builder() as build:
        x = build.param(VECTOR, "x")
        table = build.param(ArrayType(f64, (n,) * rank), "table")
        v = build.param(SCALAR, "v")
        low = chance.choice([2, 2, 1])  # from 1, places at -1 count from the end
        if kind == "up":
            results = for_loop(low, n - 2, [table, v], lambda i, t, v: inner(t, x, v, [i]))
        elif kind == "down":
            results = for_loop(
                n - 3, low - 1, [table, v], lambda i, t, v: inner(t, x, v, [i]), step=-1
            )
        else:
            _, *results = while_loop(
                [constant(low, i64), table, v],
                lambda i, t, v: i < dim_value(n - 2),
                lambda i, t, v: [i + 1, *inner(t, x, v, [i])],
            )
        return verify(build.function(f"table_{seed}", results))


def table_arguments(function, seed, size=7):
    rng = np.random.default_rng(seed)
    x = rng.choice([-0.9, -0.4, 0.3, 0.8], size) + rng.uniform(-0.05, 0.05, size)
    table = rng.uniform(-1.0, 1.0, [size] * function.params[1].rank)
    return [x, table, np.asarray(0.4)]
