"""Adjoints of strided reads: parts that are apart are written to one array."""

import random

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f64, symbol
from tracegrad.passes import simplify

TWO = """
    func @f(%x: f64[n], %y: f64[n]) -> (f64[2*n]) {{
      %p: f64[2*n] = pad(%x) {{shape=(2*n,), map=[{one}]}}
      %q: f64[2*n] = pad(%y) {{shape=(2*n,), map=[{other}]}}
      %s: f64[2*n] = add(%p, %q)
      return %s
    }}"""


@pytest.mark.parametrize(
    ("one", "other", "buffers"),
    [
        ("2*#0", "2*#0 + 1", 1),
        ("2*#0 + 1", "2*#0", 1),
        ("-2*#0 + 2*n - 2", "2*#0 + 1", 3),  # how far they are apart depends on a size
        ("2*#0", "2*#0", 3),
        ("2*#0", "#0 + 1", 2),
    ],
)
def test_parts_that_are_apart_go_to_one_array(one, other, buffers):
    text = TWO.format(one=one, other=other)
    assert counts(scheduled(text))["alloc"] == buffers
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 5):
        assert_same_results(parse(text), rng.normal(size=n), rng.normal(size=n))


def test_a_part_that_is_read_alone_as_well():
    text = TWO.format(one="2*#0", other="2*#0 + 1")
    text = text.replace("(f64[2*n])", "(f64[2*n], f64[2*n])").replace("return %s", "return %s, %p")
    rng = np.random.default_rng(0)
    for n in (0, 1, 4):
        assert_same_results(parse(text), rng.normal(size=n), rng.normal(size=n))


def random_sum(seed):
    """A sum, in any order, of strided pads of one shape or two, and of other terms."""
    draw = random.Random(seed)
    n = symbol("n")
    with Builder() as build:
        small = [build.param(ArrayType(f64, (n, 3)), f"x{k}") for k in range(4)]
        large = [build.param(ArrayType(f64, (6 * n, 9)), f"y{k}") for k in range(2)]
        for _ in range(draw.randint(2, 9)):
            base = draw.choice(small)
            a, b = draw.choice([1, 2, 3, -2]), draw.choice([1, 2, 3, -3])
            map = [
                (d, draw.choice([0, 1]) + (0 if s > 0 else -s * (base.shape[d] - 1)), s)
                for d, s in enumerate((a, b))
            ]
            large.append(ops.pad(base, shape=(6 * n, 9), map=tuple(map)))
        while len(large) > 1:
            x, y = draw.sample(large, 2)
            large = [z for z in large if z is not x and z is not y]
            large.append(x + y if draw.random() < 0.8 else x - y)
            if draw.random() < 0.2:
                large.append(x)
        return build.function("f", large, hints={"n": 5})


@pytest.mark.parametrize("seed", range(60))
def test_random_sums_of_strided_pads(seed):
    function = random_sum(seed)
    simplified = simplify(function)
    rng = np.random.default_rng(seed)
    for n in (1, 2):
        arguments = [
            rng.normal(size=(n, 3) if p.hint.startswith("x") else (6 * n, 9))
            for p in function.params
        ]
        assert_same_results(function, *arguments)
        assert_same_results(simplified, *arguments)
        for one, other in zip(
            evaluate(function, *arguments), evaluate(simplified, *arguments), strict=True
        ):
            np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def wavelet(x, y):
    total = 0.0
    for _ in range(3):
        s, d = x[::2] + x[1::2], x[::2] - x[1::2]
        total = total + np.sum(np.sqrt(d * d + 0.01))
        x = s
    return total + np.sum(x * y[: x.shape[0]])


def by_colours(x, y):
    red = x[0::3] * y[0::3]
    return np.sum(np.tanh(red + x[1::3] ** 2)) + np.sum(x[2::3] * x[0::3]) + np.sum(x * y)


def backwards(x, y):
    return np.sum(x[::-2] * np.exp(y[::2])) + np.sum(x[1::2] * x[::2] ** 2)


def overlapping(x, y):
    return np.sum(x[::2] * y[::2] * x[1::2]) + np.sum(x[::4] * x[3::4]) + np.sum(x[:-1:3] * x[1::3])


def blocks(x, y):
    a = x.reshape(6, 4)
    return np.sum(a[::2, ::2] * a[1::2, 1::2] * a[::2, 1::2] + a[1::2, ::2] ** 2)


@pytest.mark.parametrize(
    "function", [wavelet, by_colours, backwards, overlapping, blocks], ids=lambda f: f.__name__
)
def test_gradients_of_strided_reads(function):
    rng = np.random.default_rng(3)
    arguments = rng.normal(size=24), rng.normal(size=24)
    tg.check_grads(function, arguments, order=2)


def test_each_level_of_a_wavelet_writes_its_cotangent_once():
    gradient = tg.grad(wavelet)
    gradient(*np.random.default_rng(3).normal(size=(2, 64)))
    assert gradient.inspect_source().count("np.zeros(") == 3
