"""Distributions of scipy.stats: values as SciPy's, derivatives as differences see them."""

import numpy as np
import pytest
import scipy.stats

import tracegrad as tg
from tests.integration.stages import Stages, same
from tracegrad.errors import UnsupportedError
from tracegrad.testing.numerics import assert_close, numerical_jvp
from tracegrad.tracing.dispatch import METHODS
from tracegrad.tracing.scipy_distributions import DISTRIBUTIONS

X = np.array([-1.3, 0.2, 0.45, 0.9, 1.7, 4.1])
SHAPES = {"s": 0.7, "c": 1.8, "b": 2.3, "a": 1.6, "df": 3.4, "mu": 2.2, "n": 5.0, "p": 0.3}
COUNTS = np.array([0, 1, 2, 3, 5])


def call(name, method, x, shapes, loc, scale):
    distribution = getattr(scipy.stats, name)
    what = DISTRIBUTIONS[name]
    more = {} if what.discrete else {"scale": scale}
    return getattr(distribution, method)(x, *shapes, loc=loc, **more)


CASES = [
    (owner.removesuffix("_gen"), method)
    for owner, method in METHODS
    if owner.removesuffix("_gen") in DISTRIBUTIONS
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "method"), CASES)
def test_values_and_gradients(name, method):
    what = DISTRIBUTIONS[name]
    shapes = [SHAPES[each] for each in what.shapes]
    x = COUNTS if what.discrete else X
    weights = np.cos(np.arange(len(x)))

    def function(x, shapes, loc, scale):
        found = call(name, method, x, shapes, loc, scale)
        return np.sum(np.where(np.isfinite(found), found, 0.0) * weights)

    args = (x, np.array(shapes or [1.0]), 0.0 if what.discrete else 0.1, 1.4)
    unpacked = lambda x, s, loc, scale: function(  # noqa: E731  # short
        x, [s[k] for k in range(len(shapes))], loc, scale
    )
    values = lambda x, s, loc, scale: call(  # noqa: E731  # short
        name, method, x, [s[k] for k in range(len(shapes))], loc, scale
    )
    np.testing.assert_allclose(tg_values(values, args), values(*args), rtol=1e-10, atol=1e-13)
    argnums = (1,) if what.discrete else (0, 1, 2, 3)
    stages = Stages(unpacked, args, argnums)
    value, *bars = stages.transformed()
    assert_close(value, unpacked(*args), 1e-10)
    dots = [
        np.asarray(np.random.default_rng(k).normal(size=np.shape(args[k])))[()] for k in argnums
    ]

    def moved(*parts):
        full = list(args)
        for k, part in zip(argnums, parts, strict=True):
            full[k] = part
        return unpacked(*full)

    slope = numerical_jvp(moved, [args[k] for k in argnums], dots)
    if name == "binom":  # the number of trials is no place to take differences
        return
    assert_close(sum(np.sum(b * d) for b, d in zip(bars, dots, strict=True)), slope, 1e-6)
    same(stages.optimized(), (value, *bars), 1e-9, "optimized")


def tg_values(function, args):
    from tests.tracing.conftest import run, trace

    traced = trace(function, *args)
    found = run(traced, *args)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.filterwarnings("ignore")
def test_distributions_of_several_variables():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(3, 3))
    cov, points, mean = s @ s.T + np.eye(3), rng.normal(size=(4, 3)), rng.normal(size=3)
    weights = np.array([0.2, 0.3, 0.5])

    def function(points, mean, cov, alpha):
        normal = scipy.stats.multivariate_normal.logpdf(points, mean, (cov + cov.T) * 0.5)
        return np.sum(normal**2) + scipy.stats.dirichlet.logpdf(weights, alpha)

    args = (points, mean, cov, np.array([1.5, 2.0, 0.7]))
    stages = Stages(function, args)
    value, *bars = stages.transformed()
    assert_close(value, function(*args), 1e-10)
    dots = [rng.normal(size=a.shape) for a in args]
    dots[2] = dots[2] + dots[2].T
    slope = numerical_jvp(function, args, dots)
    assert_close(sum(np.sum(b * d) for b, d in zip(bars, dots, strict=True)), slope, 1e-6)


def test_compiled():
    data = np.array([0.3, 1.2, 0.8])
    f = lambda a, m: np.sum(  # noqa: E731  # short
        scipy.stats.gamma.logpdf(data, a, scale=m) + scipy.stats.norm.logpdf(data, m, a)
    )
    tg.check_grads(f, (1.5, 0.7), order=2, modes=["rev"])


def test_what_is_missing_is_refused_by_name():
    with pytest.raises(UnsupportedError, match=r"ppf of scipy.stats.gamma.*"):
        tg.grad(lambda x: scipy.stats.gamma.ppf(x, 2.0))(0.5)
    with pytest.raises(UnsupportedError, match="custom_vjp"):
        tg.grad(lambda x: scipy.stats.levy.pdf(x))(0.5)
