"""Random functions mean the same before and after the standard pipeline.

Functions are made of what rules look at: elementwise operations on arrays and scalars, constants
with meaning (0, 1, -1, 2, ½), views of every kind, pads, reshapes, reductions, products, gathers
and writes, loops and branches.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse, print_function, same
from tracegrad.ir.types import ArrayType, f64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops import access
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant, expand_to
from tracegrad.passes import optimize, simplify
from tracegrad.passes.engine import Simplifier
from tracegrad.passes.table import EXACT, RULES, UNSAFE

n, m = symbol("n"), symbol("m")
SIZES = {"n": 3, "m": 4}
UNARY = ["negative", "square", "sin", "cos", "tanh", "absolute", "reciprocal", "sqrt", "exp"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 10.0]


class Maker:
    """Draws one operation after the other onto values made before."""

    def __init__(self, draw):
        self.draw = draw
        self.values = []
        self.masks = []

    def pick(self, wanted=lambda v: True):
        found = [v for v in self.values if wanted(v)]
        return self.draw(st.sampled_from(found)) if found else None

    def partner(self, x):
        """An operand beside x: of its shape, a scalar, a number, or broadcast to its shape."""
        kind = self.draw(st.sampled_from(["same", "scalar", "number", "broadcast", "full"]))
        if kind == "same":
            return self.pick(lambda v: v.shape == x.shape)
        if kind == "number":
            return constant(self.draw(st.sampled_from(NUMBERS)))
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
        new = getattr(self, self.draw(st.sampled_from(STEPS)))(x)
        if new is not None:
            self.values.append(new)

    def unary(self, x):
        return REGISTRY[self.draw(st.sampled_from(UNARY))](x)

    def binary(self, x):
        y = self.partner(x)
        if y is None:
            return None
        operands = (x, y) if self.draw(st.booleans()) else (y, x)
        return REGISTRY[self.draw(st.sampled_from(BINARY))](*operands)

    def power(self, x):
        exponent = self.draw(st.sampled_from([-2.0, -1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0]))
        return REGISTRY["power"](x, constant(exponent))

    def choice(self, x):
        y, z = self.partner(x), self.pick(lambda v: v.shape == x.shape)
        if y is None:
            return None
        mask = self.draw(st.sampled_from([*self.masks, None]))
        if mask is None or (mask.rank and mask.shape != x.shape):
            mask = REGISTRY["less"](x, z)
            self.masks.append(mask)
        if self.draw(st.booleans()):
            mask = REGISTRY["logical_not"](mask)
        arms = (x, y) if self.draw(st.booleans()) else (y, x)
        return REGISTRY["select"](mask, *arms)

    def view(self, x):
        kind = self.draw(st.sampled_from(["flip", "transpose", "new", "slice", "at", "copies"]))
        if kind == "copies":
            size = self.draw(st.sampled_from([n, m]))
            axis = self.draw(st.integers(0, x.rank)) if x.rank < 3 else None
            if axis is None:
                return None
            shape = (*x.shape[:axis], size, *x.shape[axis:])
            return access.view_of(x, shape, [(a + (a >= axis), 0, 1) for a in range(x.rank)])
        if not x.rank:
            return None
        axis = self.draw(st.integers(0, x.rank - 1))
        if kind == "flip":
            return access.flip(x, axis)
        if kind == "transpose":
            return access.transpose(x)
        if kind == "new":
            return access.expand_dims(x, axis) if x.rank < 3 else None
        if x.shape[axis] not in (n, m):
            return None
        if kind == "at":
            return access.at(x, axis, self.draw(st.sampled_from([0, 1, -1])))
        return access.slice_(x, axis, 1, x.shape[axis])

    def pad(self, x):
        if not x.rank or x.rank > 2 or any(d not in (n - 1, m - 1) for d in x.shape):
            return None
        map = [(a, self.draw(st.integers(0, 1)), 1) for a in range(x.rank)]
        return access.pad_into(x, [d + 1 for d in x.shape], map)

    def reduction(self, x):
        axes = tuple(a for a in range(x.rank) if self.draw(st.booleans()))
        name = self.draw(st.sampled_from(["sum", "sum", "sum", "max"]))
        return REGISTRY[name](x, axes=axes)

    def reshape(self, x):
        return access.reshaped(x, (x.type.size,))

    def product(self, x):
        y = self.pick(lambda v: 0 < v.rank < 3 and x.rank and x.shape[-1] == v.shape[0])
        return None if y is None or x.rank > 2 else REGISTRY["dot"](x, y)

    def difference(self, x):
        if x.rank != 1:
            return None
        shape = (*x.shape, *x.shape)
        return access.view_of(x, shape, [(0, 0, 1)]) - access.view_of(x, shape, [(1, 0, 1)])

    def write(self, x):
        if not x.rank:
            return None
        i = constant(self.draw(st.integers(0, 1)))
        v = self.pick(lambda v: v.shape == x.shape[1:])
        if v is None:
            return None
        name = self.draw(st.sampled_from(["update", "accumulate", "index"]))
        return REGISTRY[name](x, i) if name == "index" else REGISTRY[name](x, v, i)

    def loop(self, x):
        y = self.partner(x)
        if y is None:
            return None
        trips = dim_value(self.draw(st.sampled_from([0, 1, 2, n])))

        def body(i, s, t):
            return s * 0.5 + (y if self.draw(st.booleans()) else t), t

        return for_loop(0, trips, [x, x], body)[0]

    def fork(self, x):
        scalar = self.pick(lambda v: not v.rank)
        y = self.pick(lambda v: v.shape == x.shape)
        if scalar is None:
            return None
        return branch(scalar < 0.5, lambda: [-x], lambda: [y if self.draw(st.booleans()) else x])[0]


STEPS = [
    *["unary", "binary", "binary", "binary", "view", "view", "reduction", "choice", "power"],
    *["pad", "reshape", "product", "difference", "write", "loop", "fork"],
]


@st.composite
def functions(draw):
    maker = Maker(draw)
    with Builder() as build:
        for name, shape in (("s", ()), ("x", (n,)), ("y", (m,)), ("a", (n, m)), ("q", (n, n))):
            maker.values.append(build.param(ArrayType(f64, shape), name))
        for _ in range(draw(st.integers(1, 14))):
            maker.step()
        results = maker.values[5:][-4:] or maker.values[:1]
        return build.function("f", results)


def arguments(function, seed, lo=0.5, hi=1.5):
    rng = np.random.default_rng(seed)
    return [rng.uniform(lo, hi, [SIZES.get(str(d), d) for d in p.shape]) for p in function.params]


@settings(max_examples=250, deadline=None)
@given(functions(), st.integers(0, 3))
def test_optimize_keeps_the_meaning(function, seed):
    verify(function)
    after = verify(optimize(function))
    given = arguments(function, seed)
    with np.errstate(all="ignore"):
        expected = evaluate(function, *given)
        found = evaluate(after, *given)
    for e, f in zip(expected, found, strict=True):
        scale = np.max(np.abs(e), initial=1.0, where=np.isfinite(e))
        if scale > 1e100:
            continue  # what overflows on the way may differ
        np.testing.assert_allclose(f, e, rtol=1e-9, atol=1e-9 * scale)


@settings(max_examples=150, deadline=None)
@given(functions(), st.integers(0, 3))
def test_exact_rules_keep_every_bit_even_of_special_values(function, seed):
    rng = np.random.default_rng(seed)
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e300, 1e-300, 0.1])
    given = [special[rng.integers(0, len(special), a.shape)] for a in arguments(function, seed)]
    after = verify(simplify(function, marks=[EXACT]))
    with np.errstate(all="ignore"):
        expected = evaluate(function, *given)
        found = evaluate(after, *given)
    for e, f in zip(expected, found, strict=True):
        np.testing.assert_array_equal(f, e)
        np.testing.assert_array_equal(np.signbit(f[~np.isnan(f)]), np.signbit(e[~np.isnan(e)]))


@settings(max_examples=100, deadline=None)
@given(functions())
def test_optimize_is_done_after_one_run(function):
    once = optimize(function)
    assert same(optimize(once), once), print_function(once)
    engine = Simplifier([r for r in RULES if r.mark is not UNSAFE], fold=True, share=True)
    engine.rewrite(function)
    assert not engine.fired["too deep"]


@settings(max_examples=50, deadline=None)
@given(functions())
def test_random_functions_survive_print_and_parse(function):
    text = print_function(function)
    assert print_function(parse(text)) == text
