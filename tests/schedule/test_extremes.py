"""What is compared with its own maximum is computed once, where it could be rounded otherwise."""

import numpy as np
import pytest

import tracegrad as tg


def source(function, *arguments):
    compiled = tg.value_and_grad(function)
    compiled(*arguments)
    return compiled.inspect_source()


def matrix():
    return np.random.default_rng(0).normal(size=(6, 17))


def test_products_and_sums_below_a_maximum_are_kept_for_the_comparison():
    text = source(lambda x, w, b: np.sum(np.max(x * w + b, axis=1)), matrix(), *matrix()[:2])
    assert text.count("* w[j] + b[j]") == 1


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, w, b: np.sum(np.max(x - w, axis=1) * b[0]), "x[i, j] - w[j]"),
        (lambda x, w, b: np.sum(np.min(np.abs(x), axis=1) * b[0]), "abs(x[i, j])"),
    ],
    ids=["difference", "absolute"],
)
def test_what_has_one_rounding_only_may_be_computed_again(function, text):
    assert source(function, matrix(), *matrix()[:2]).count(text) > 1


def rowwise(x, w, b):
    return np.sum(np.max(x * w + b, axis=1))


def columnwise(x, w, b):
    z = np.exp(x * w) * b - w * w / (2.0 + np.cos(x))
    return np.sum(np.max(z, axis=0) * w) + np.min(x * w - b * w + x)


def of_a_concatenation(x, w, b):
    moved = np.concatenate([x[1:], x])[: x.shape[0]]
    return np.sum(np.max(np.sin(x) / (1.0 + moved**2) + w * b, axis=1))


def compared_by_the_user(x, w, b):
    z = x * w + b
    return np.sum(np.where(z == z.max(axis=1, keepdims=True), z * w, 0.0))


def in_a_loop(x, w, b):
    z = x * w + b
    for _ in range(3):
        z = z * 0.5 + np.max(z * w - b * b / (1.0 + z * z), axis=1, keepdims=True)
    return np.sum(z)


@pytest.mark.parametrize(
    "function",
    [rowwise, columnwise, of_a_concatenation, compared_by_the_user, in_a_loop],
    ids=lambda f: f.__name__,
)
def test_every_maximum_is_found_among_its_elements(function):
    gradient = tg.value_and_grad(function, argnums=(0, 1, 2))
    rng = np.random.default_rng(1)
    for shape in [(6, 17), (2, 33), (7, 9), (13, 40)]:
        x, w, b = rng.normal(size=shape), *rng.normal(size=(2, shape[1]))
        value, bars = gradient(x, w, b)
        np.testing.assert_allclose(value, function(x, w, b), rtol=1e-12)
        dots = [rng.normal(size=a.shape) for a in (x, w, b)]
        h = 1e-6
        above, below = (
            function(*(a + s * d for a, d in zip((x, w, b), dots, strict=True))) for s in (h, -h)
        )
        along = sum(np.sum(bar * d) for bar, d in zip(bars, dots, strict=True))
        np.testing.assert_allclose(along, (above - below) / (2 * h), rtol=1e-5, atol=1e-6)
        _, out_dot = tg.jvp(function, (x, w, b), tuple(dots))
        np.testing.assert_allclose(out_dot, along, rtol=1e-9, atol=1e-12)
