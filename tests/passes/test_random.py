"""Random functions mean the same before and after the standard pipeline.

Functions are made of what rules look at: elementwise operations on arrays and scalars, constants
with meaning (0, 1, -1, 2, ½), views of every kind, pads, reshapes, reductions, products, gathers
and writes, loops and branches.
"""

import random
from collections import Counter

import numpy as np
import pytest

from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse, print_function, same
from tracegrad.ir.types import ArrayType, f64, symbol
from tracegrad.ir.types import evaluate as dim_size
from tracegrad.ir.verifier import verify
from tracegrad.ops import access
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant, expand_to
from tracegrad.passes import optimize, simplify
from tracegrad.passes.table import EXACT
from tracegrad.transforms.vjp import vjp

n, m = symbol("n"), symbol("m")
SIZES = {"n": 3, "m": 4}
UNARY = ["negative", "square", "sin", "cos", "tanh", "absolute", "reciprocal", "sqrt", "exp"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 10.0]


class Maker:
    """Draws one operation after the other onto values made before."""

    def __init__(self, seed, steps):
        self.random = random.Random(seed)
        self.steps = steps
        self.values = []
        self.masks = []

    def pick(self, wanted=lambda v: True):
        found = [v for v in self.values if wanted(v)]
        return self.random.choice(found[-5:] * 2 + found) if found else None

    def partner(self, x):
        """An operand beside x: of its shape, a scalar, a number, or broadcast to its shape."""
        kind = self.random.choice(["same", "scalar", "number", "broadcast", "full"])
        if kind == "same":
            return self.pick(lambda v: v.shape == x.shape)
        if kind == "number":
            return constant(self.random.choice(NUMBERS))
        scalar = self.pick(lambda v: not v.rank)
        if kind == "full" and scalar is not None:
            return expand_to(scalar, x.shape)
        if kind == "broadcast":
            y = self.pick(lambda v: v.rank and v.rank < x.rank and self.fits(v, x))
            return None if y is None else access.broadcast_to(y, x.shape)
        return scalar

    def fits(self, v, x):
        return v.shape == x.shape[x.rank - v.rank :]

    def step(self):
        x = self.pick()
        new = getattr(self, self.random.choice(self.steps))(x)
        if new is not None:
            self.values.append(new)

    def unary(self, x):
        return REGISTRY[self.random.choice(UNARY)](x)

    def binary(self, x):
        y = self.partner(x)
        if y is None:
            return None
        operands = (x, y) if self.random.random() < 0.5 else (y, x)
        return REGISTRY[self.random.choice(BINARY)](*operands)

    def power(self, x):
        exponent = self.random.choice([-2.0, -1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
        return REGISTRY["power"](x, constant(exponent))

    def choice(self, x):
        y, z = self.partner(x), self.pick(lambda v: v.shape == x.shape)
        if y is None:
            return None
        mask = self.random.choice([*self.masks, None])
        if mask is None or (mask.rank and mask.shape != x.shape):
            mask = REGISTRY["less"](x, z)
            self.masks.append(mask)
        if self.random.random() < 0.5:
            mask = REGISTRY["logical_not"](mask)
        arms = (x, y) if self.random.random() < 0.5 else (y, x)
        return REGISTRY["select"](mask, *arms)

    def view(self, x):
        kind = self.random.choice(["flip", "transpose", "new", "slice", "at", "copies"])
        if kind == "copies":
            size = self.random.choice([n, m])
            axis = self.random.randint(0, x.rank) if x.rank < 3 else None
            if axis is None:
                return None
            shape = (*x.shape[:axis], size, *x.shape[axis:])
            return access.view_of(x, shape, [(a + (a >= axis), 0, 1) for a in range(x.rank)])
        if not x.rank:
            return None
        axis = self.random.randint(0, x.rank - 1)
        if kind == "flip":
            return access.flip(x, axis)
        if kind == "transpose":
            return access.transpose(x)
        if kind == "new":
            return access.expand_dims(x, axis) if x.rank < 3 else None
        if x.shape[axis] not in (n, m):
            return None
        if kind == "at":
            return access.at(x, axis, self.random.choice([0, 1, -1]))
        return access.slice_(x, axis, 1, x.shape[axis])

    def pad(self, x):
        if not x.rank or x.rank > 2 or any(d not in (n - 1, m - 1) for d in x.shape):
            return None
        map = [(a, self.random.randint(0, 1), 1) for a in range(x.rank)]
        return access.pad_into(x, [d + 1 for d in x.shape], map)

    def reduction(self, x):
        axes = tuple(a for a in range(x.rank) if self.random.random() < 0.5)
        name = self.random.choice(["sum", "sum", "sum", "max"])
        return REGISTRY[name](x, axes=axes)

    def reshape(self, x):
        return access.reshaped(x, (x.type.size,))

    def product(self, x):
        y = self.pick(lambda v: 0 < v.rank < 3 and x.rank and x.shape[-1] == v.shape[0])
        return None if y is None or x.rank > 2 else REGISTRY["dot"](x, y)

    def join(self, x):
        y = self.pick(lambda v: v.rank == x.rank and v.shape[1:] == x.shape[1:])
        return REGISTRY["concatenate"](x, y, axis=0) if x.rank and y is not None else None

    def difference(self, x):
        if x.rank != 1:
            return None
        shape = (*x.shape, *x.shape)
        return access.view_of(x, shape, [(0, 0, 1)]) - access.view_of(x, shape, [(1, 0, 1)])

    def write(self, x):
        if not x.rank or x.shape[0] not in (n, m):
            return None
        i = constant(self.random.randint(0, 1))
        v = self.pick(lambda v: v.shape == x.shape[1:])
        if v is None:
            return None
        name = self.random.choice(["update", "accumulate", "index"])
        return REGISTRY[name](x, i) if name == "index" else REGISTRY[name](x, v, i)

    def loop(self, x):
        y = self.partner(x)
        if y is None:
            return None
        trips = dim_value(self.random.choice([0, 1, 2, n]))

        def body(i, s, t):
            return s * 0.5 + (y if self.random.random() < 0.5 else t), t

        return for_loop(0, trips, [x, x], body)[0]

    def fork(self, x):
        scalar = self.pick(lambda v: not v.rank)
        y = self.pick(lambda v: v.shape == x.shape)
        if scalar is None:
            return None
        return branch(scalar < 0.5, lambda: [-x], lambda: [y if self.random.random() < 0.5 else x])[
            0
        ]


STEPS = [
    *["unary", "binary", "binary", "binary", "view", "view", "reduction", "choice", "power"],
    *["pad", "reshape", "product", "difference", "join", "write", "loop", "fork"],
]
STRAIGHT = [name for name in STEPS if name not in ("loop", "fork")]


def random_function(seed, steps=tuple(STEPS)):
    maker = Maker(seed, steps)
    with Builder() as build:
        for name, shape in (("s", ()), ("x", (n,)), ("y", (m,)), ("a", (n, m)), ("q", (n, n))):
            maker.values.append(build.param(ArrayType(f64, shape), name))
        for _ in range(maker.random.choice([3, 6, 12, 25])):
            maker.step()
        results = maker.values[5:][-6:] or maker.values[:1]
        return verify(build.function(f"seed {seed}", results))


def arguments(function, seed, lo=0.5, hi=1.5):
    rng = np.random.default_rng(seed)
    return [rng.uniform(lo, hi, [dim_size(d, SIZES) for d in p.shape]) for p in function.params]


def evaluated(function, given):
    with np.errstate(all="ignore"):
        return evaluate(function, *given)


def assert_same_values(function, after, seed):
    given = arguments(function, seed)
    expected, found = evaluated(function, given), evaluated(after, given)
    # What overflows on the way, or is amplified, may differ.
    if all(np.all(np.abs(e) < 1e6) for e in expected):
        for e, f in zip(expected, found, strict=True):
            np.testing.assert_allclose(
                f,
                e,
                rtol=1e-8,
                atol=1e-8 * np.max(np.abs(e), initial=1.0),
                err_msg=print_function(function),
            )


@pytest.mark.parametrize("block", range(8))
def test_optimize_keeps_the_meaning(block):
    for seed in range(40 * block, 40 * block + 40):
        function = random_function(seed)
        after = verify(optimize(function))
        assert_same_values(function, after, seed)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e300, 1e-300, 0.1])


@pytest.mark.parametrize("block", range(8))
def test_exact_rules_keep_every_bit_even_of_special_values(block):
    for seed in range(40 * block, 40 * block + 40):
        function = random_function(seed)
        after = verify(simplify(function, marks=[EXACT]))
        rng = np.random.default_rng(seed)
        given = [SPECIAL[rng.integers(0, 10, a.shape)] for a in arguments(function, seed)]
        for e, f in zip(evaluated(function, given), evaluated(after, given), strict=True):
            numbers = ~np.isnan(e)
            np.testing.assert_array_equal(f, e, err_msg=print_function(function))
            np.testing.assert_array_equal(
                np.signbit(f[numbers]), np.signbit(e[numbers]), err_msg=print_function(function)
            )


@pytest.mark.parametrize("block", range(4))
def test_optimize_keeps_the_meaning_of_adjoints(block):
    for seed in range(40 * block, 40 * block + 40):
        function = random_function(seed, STRAIGHT)
        adjoint = vjp(function, wrt=range(len(function.params)))
        once = simplify(adjoint)
        for after in (verify(once), verify(optimize(vjp(optimize(function), wrt=range(5))))):
            assert_same_values(adjoint, after, seed)


def test_optimize_is_done_after_one_run():
    for seed in range(200):
        function = random_function(seed)
        fired = Counter()
        once = simplify(function, fired=fired)
        assert same(optimize(once), once), print_function(once)
        assert not fired["too deep"]


def test_random_functions_survive_print_and_parse():
    for seed in range(100):
        text = print_function(random_function(seed))
        assert print_function(parse(text)) == text
