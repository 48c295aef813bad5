"""Derivatives through convolutions, differences, polynomials and statistics, not compiled."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.stages import Stages, same
from tracegrad.testing.numerics import assert_close, numerical_jvp

rng = np.random.default_rng(4)
X, Y, A = rng.normal(size=7), rng.normal(size=3), rng.normal(size=(4, 6))
HOLES = np.where(rng.random((4, 6)) > 0.7, np.nan, A)
LABELS = np.array([0, 2, 1, 0, 2, 1, 1])

PROGRAMS = {
    "convolve": (lambda x, y: np.sum(np.convolve(x, y) ** 2), (X, Y)),
    "convolve the same": (lambda x, y: np.sum(np.convolve(x, y, "same") ** 2), (X, Y)),
    "correlate": (lambda x, y: np.sum(np.correlate(x, y, "full") ** 3), (X, Y)),
    "gradient": (lambda x, h: np.sum(np.gradient(x, np.cumsum(h**2)) ** 2), (X, X + 3.0)),
    "gradients": (lambda a: np.sum(np.gradient(a)[0] * np.gradient(a)[1]), (A,)),
    "unwrap": (lambda x: np.sum(np.unwrap(9.0 * x) ** 2), (X,)),
    "polynomial": (lambda p, x: np.sum(np.polyval(p, x) ** 2), (X, Y)),
    "polynomials": (
        lambda p, q: np.sum(np.polyder(np.polymul(p, q)) ** 2) + np.polyval(np.polyint(p), 0.5),
        (X, Y),
    ),
    "covariance": (lambda a: np.sum(np.cov(a) ** 2) + np.sum(np.corrcoef(a)[0]), (A,)),
    "quantiles": (
        lambda a: np.sum(np.nanquantile(np.where(np.isnan(HOLES), np.nan, a), 0.3, axis=1) ** 2),
        (A,),
    ),
    "weighted histogram": (lambda w: np.sum(np.histogram(X, 3, weights=w)[0] ** 2), (X,)),
    "choices": (lambda x: np.sum(np.choose(LABELS, [x, x**2, np.sin(x)]) ** 2), (X,)),
    "spaces": (lambda a, b: np.sum(np.geomspace(a, b, 5) ** 2 + np.logspace(a, b, 5)), (0.5, 2.0)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_those_of_differences(name):
    function, args = PROGRAMS[name]
    stages = Stages(function, args)
    value, *bars = stages.transformed()
    assert_close(value, function(*args), 1e-10)
    same(stages.optimized(), (value, *bars), 1e-10, "optimized")
    dots = [np.asarray(rng.normal(size=np.shape(a)))[()] for a in args]
    slope = numerical_jvp(function, args, dots)
    found = sum(np.sum(b * d) for b, d in zip(bars, dots, strict=True))
    assert_close(found, slope, 1e-7)


@pytest.mark.filterwarnings("ignore")
def test_compiled():
    def everything(x, y, a):
        return (
            np.sum(np.convolve(x, y, "same") ** 2)
            + np.sum(np.gradient(x) ** 2)
            + np.sum(np.polyval(x, y))
            + np.sum(np.cov(a) ** 2)
            + np.sum(np.histogram(x, 3, weights=x)[0] ** 2)
        )

    tg.check_grads(everything, (X, Y, A), modes=["rev"])


def test_a_choice_out_of_range_raises():
    with pytest.raises(IndexError):
        tg.grad(lambda x: np.sum(np.choose(LABELS, [x, x**2])))(X)
