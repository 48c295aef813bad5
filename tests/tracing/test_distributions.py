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

X = np.array([-1.2, 0.2, 0.45, 0.9, 1.7, 4.1])
SHAPES = {"s": 0.7, "c": 1.8, "b": 2.3, "a": 1.6, "df": 3.4, "mu": 2.2, "n": 5.0, "p": 0.3}
SHAPES |= {"d": 1.3, "nu": 1.2, "dfn": 4.2, "dfd": 6.1, "beta": 1.4, "K": 1.1, "kappa": 1.7}
SHAPES |= {"lambda_": 0.8, "M": 20.0, "N": 9.0}
OF = {("genextreme", "c"): 0.2, ("genpareto", "c"): -0.15, ("hypergeom", "n"): 7.0}
OF |= {("truncnorm", "a"): -0.8, ("truncnorm", "b"): 2.1}
COUNTS = np.array([0, 1, 2, 3, 5])
SHARES = np.array([0.07, 0.31, 0.47, 0.83])
NO_DIFFERENCES = ("binom", "betabinom", "hypergeom")
"""A number of trials is no place to take differences."""


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
    shapes = [OF.get((name, each), SHAPES[each]) for each in what.shapes]
    x = SHARES if method in ("ppf", "isf") else COUNTS if what.discrete else X
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
    if name in NO_DIFFERENCES:
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
    with pytest.raises(UnsupportedError, match=r"ppf of scipy.stats.levy.*"):
        tg.grad(lambda x: scipy.stats.levy.ppf(x))(0.5)
    with pytest.raises(UnsupportedError, match="custom_vjp"):
        tg.grad(lambda x: scipy.stats.moyal.pdf(x))(0.5)
    with pytest.raises(UnsupportedError, match=r"mean of scipy.stats.norm.*"):
        tg.grad(lambda m: scipy.stats.norm(m, 2.0).mean())(0.5)
    fixed = scipy.stats.norm(0.0, 2.0)
    with pytest.raises(UnsupportedError, match=r"expect of scipy.stats.norm.*"):
        tg.grad(lambda x: fixed.expect(x))(0.5)


FIXED = scipy.stats.norm(0.3, 2.0)


def test_distributions_with_their_parameters():
    """``norm(loc, scale)``, made inside with traced parameters or outside with known ones."""
    x, rates = np.array([0.4, 1.3, -0.2]), np.array([1.0, 2.0, 3.0])
    normal = scipy.stats.multivariate_normal([0.0, 1.0, 0.5], 1.5 * np.eye(3))

    def inside(x, m, s):
        one, other = scipy.stats.norm(m, scale=s), scipy.stats.poisson(np.exp(m))
        return np.sum(one.logpdf(x) * one.cdf(x)) + np.sum(other.logpmf([0, 2])) + one.isf(0.2)

    def outside(x, m, s):
        expon = scipy.stats.expon(scale=rates)
        return np.sum(FIXED.logcdf(x * m) + expon.logpdf(s + x * x)) + normal.logpdf(x)

    for form in (inside, outside):
        args = (x, 0.7, 1.3)
        value, bars = tg.value_and_grad(form, argnums=(0, 1, 2))(*args)
        assert_close(value, form(*args), 1e-12)
        dots = (np.array([0.3, -1.0, 0.6]), 0.8, -0.4)
        slope = numerical_jvp(form, args, dots)
        assert_close(sum(np.sum(b * d) for b, d in zip(bars, dots, strict=True)), slope, 1e-7)


def test_a_distribution_that_is_made_anew_is_seen():
    global FIXED
    kept = FIXED
    f = tg.value_and_grad(lambda x: FIXED.logpdf(x))
    try:
        assert_close(f(0.7)[0], FIXED.logpdf(0.7), 1e-12)
        FIXED = scipy.stats.norm(-1.0, 0.5)
        assert_close(f(0.7)[0], FIXED.logpdf(0.7), 1e-12)
    finally:
        FIXED = kept


@pytest.mark.filterwarnings("ignore")
def test_ends_of_quantiles_and_far_tails_are_those_of_scipy():
    q = np.array([0.0, 1.0, -0.1, 1.1, np.nan, 0.5])
    far = np.array([-900.0, -30.0, 40.0, 900.0, np.nan])
    for name in ("norm", "gamma", "beta", "expon", "t"):
        distribution, shapes = getattr(scipy.stats, name), DISTRIBUTIONS[name].shapes
        given = [SHAPES[each] for each in shapes]
        for method in ("ppf", "isf"):
            form = lambda q: getattr(distribution, method)(q, *given)  # noqa: B023, E731  # short
            np.testing.assert_allclose(tg_values(form, (q,)), form(q), rtol=1e-12)
    for name in ("norm", "logistic", "expon", "weibull_min", "gumbel_l"):
        distribution, shapes = getattr(scipy.stats, name), DISTRIBUTIONS[name].shapes
        given = [SHAPES[each] for each in shapes]
        for method in ("logcdf", "logsf"):
            form = lambda z: getattr(distribution, method)(z, *given)  # noqa: B023, E731  # short
            np.testing.assert_allclose(tg_values(form, (far,)), form(far), rtol=1e-11, atol=1e-300)


METHODS_AT_ENDS = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf")


@pytest.mark.filterwarnings("ignore")
def test_the_ends_of_supports_are_those_of_scipy():
    for name in ("lognorm", "invgamma", "levy", "invgauss", "invweibull", "fisk", "norm", "t"):
        distribution = getattr(scipy.stats, name)
        shapes = [1.0] * len(DISTRIBUTIONS[name].shapes)
        low, high = distribution.support(*shapes)
        points = np.array([low, high, -np.inf, np.inf, np.nan, low - 1.0, 0.5])
        for method in METHODS_AT_ENDS:
            of_scipy = getattr(distribution, method)
            found = tg_values(lambda x, f=of_scipy, s=shapes: f(x, *s), (points,))
            np.testing.assert_allclose(found, of_scipy(points, *shapes))


def test_a_normal_distribution_of_several_variables_takes_variances():
    normal = scipy.stats.multivariate_normal
    point = np.array([0.3, -0.7, 1.1])
    variances = np.array([0.5, 1.5, 2.5])
    forms = [
        lambda x, v: normal.logpdf(x, np.zeros(3), v),
        lambda x, v: normal.logpdf(x, v, v[0]),
        lambda x, v: normal.logpdf(x, cov=v[0]),
        lambda x, v: normal.logpdf(np.stack([x, v]), mean=v, cov=np.diag(v)),
        lambda x, v: normal.logpdf(np.stack([x, v])[None], v, 2),
        lambda x, v: normal.logpdf(x[0]),
        lambda x, v: normal(np.zeros(3), v).pdf(x),
    ]
    for form in forms:
        np.testing.assert_allclose(tg_values(form, (point, variances)), form(point, variances))
        tg.check_grads(lambda x, v, f=form: np.sum(f(x, v)), (point, variances), order=2)


def test_generalised_distributions_have_their_limits():
    """Where the shape is 0 the value is the limit, and so is the derivative by the shape."""
    for name in ("genpareto", "genextreme"):
        density = getattr(scipy.stats, name).logpdf
        f = lambda c: density(0.8, c)  # noqa: B023, E731  # short
        assert_close(tg.value_and_grad(f)(0.0)[0], f(1e-12), 1e-10)
        near = tg.grad(f)
        assert_close(near(0.0), (f(1e-4) - f(-1e-4)) / 2e-4, 1e-6)
        assert_close(near(0.0), near(1e-9), 1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "method"), CASES)
def test_float32_stays_float32(name, method):
    what = DISTRIBUTIONS[name]
    shapes = [np.float32(OF.get((name, each), SHAPES[each])) for each in what.shapes]
    x = SHARES if method in ("ppf", "isf") else COUNTS if what.discrete else X
    x = x.astype(np.float32)
    values = lambda x: getattr(getattr(scipy.stats, name), method)(x, *shapes)  # noqa: E731  # short
    found = np.asarray(tg_values(values, (x,)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values(x), rtol=2e-4, atol=1e-6)
