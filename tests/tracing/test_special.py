"""scipy.special: values, dtypes and derivatives of every function that can be traced."""

import numpy as np
import pytest
import scipy.special as sp

import tracegrad as tg
from tests.tracing.conftest import run, trace
from tracegrad import ops
from tracegrad.backend import special
from tracegrad.errors import NotDifferentiable, UnsupportedError
from tracegrad.tracing.ufuncs import BY_NAME, OPS_BY_NAME

UFUNCS = sorted(name for name in {*OPS_BY_NAME, *BY_NAME} if hasattr(sp, name))
X = np.array([0.21, 0.37, 0.5, 0.74])
# Points of functions that X is no good for, one per operand.
OPERANDS = {
    "expn": (np.array([0, 1, 2, 3]), X),
    "kn": (np.array([0, 1, 2, 3]), X),
    "yn": (np.array([0, 1, 2, 3]), X),
    "ndtri_exp": (-X,),
    "huber": (X, 2.0 * X[::-1]),
    "pseudo_huber": (X, 2.0 * X[::-1]),
    "radian": (np.array([1.0, 20.0, 300.0, 4.0]), X, 2.0 * X),
}


def operands_of(name, dtype=np.float64):
    ufunc = getattr(sp, name)
    given = OPERANDS.get(name) or tuple(X + 0.05 * k for k in range(ufunc.nin))
    return ufunc, tuple(x.astype(dtype) if x.dtype.kind == "f" else x for x in given)


def assert_same(found, expected, tolerance):
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert np.asarray(a).dtype == b.dtype
        assert np.shape(a) == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 1e-2)


@pytest.mark.parametrize("name", UFUNCS)
def test_values_and_dtypes_are_those_of_scipy(name):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        ufunc, given = operands_of(name, dtype)
        assert_same(run(trace(ufunc, *given), *given), ufunc(*given), tolerance)


@pytest.mark.parametrize("name", UFUNCS)
def test_integers_are_promoted_as_scipy_does(name):
    ufunc, _ = operands_of(name)
    given = tuple(np.array([2, 3]) + k for k in range(ufunc.nin))
    with np.errstate(all="ignore"):
        try:
            expected = ufunc(*given)
        except TypeError:
            pytest.skip("SciPy takes no integers")
        kept = np.all([np.isfinite(x) for x in np.atleast_1d(expected)], axis=0)
        if np.all(kept):
            assert_same(run(trace(ufunc, *given), *given), expected, 1e-12)
        mixed = tuple(x.astype(np.float32) if k else x for k, x in enumerate(given))
        if len(mixed) > 1:
            found = np.asarray(run(trace(ufunc, *mixed), *mixed))
            assert found.dtype == ufunc(*mixed).dtype


def test_every_entry_has_an_op_and_an_address():
    used = {name for op in ops.REGISTRY.values() for name in op.special}
    assert used == special.NAMES
    assert all(special.address(name) for name in special.ENTRIES)


@pytest.mark.parametrize(
    "function",
    [
        lambda v, x: sp.jv(v, x),
        lambda v, x: sp.kve(v, x),
        lambda v, x: sp.hyp1f1(v, 2.0, x),
        lambda v, x: sp.zeta(v + 1.0, x),
        lambda v, x: sp.ellipeinc(x, v),
        lambda v, x: sp.struve(v, x),
    ],
)
def test_an_operand_without_a_derivative_is_refused_by_both_modes(function):
    v, x = 0.5, np.array([0.3, 0.7])
    total = lambda v, x: np.sum(function(v, x))  # noqa: E731  # short
    assert np.all(np.isfinite(tg.grad(total, argnums=1)(v, x)))
    with pytest.raises(NotDifferentiable, match="with respect to operand"):
        tg.grad(total)(v, x)
    with pytest.raises(NotDifferentiable, match="with respect to operand"):
        tg.jvp(total, (v, x), (1.0, np.ones(2)))
    still = lambda v, x: total(tg.stop_gradient(v), x)  # noqa: E731  # short
    assert tg.grad(still)(v, x) == 0.0


def test_the_second_derivative_by_a_shape_is_refused_where_it_is_unknown():
    def loss(a):
        return sp.betainc(a, 1.5, 0.3)

    assert np.isfinite(tg.grad(loss)(0.7))
    with pytest.raises(NotDifferentiable, match="first order"):
        tg.hessian(loss)(0.7)

    def known(a):
        return sp.gammainc(a, 0.3)

    step = 1e-4
    expected = (known(0.7 + step) - 2 * known(0.7) + known(0.7 - step)) / step**2
    np.testing.assert_allclose(tg.hessian(known)(0.7), expected, rtol=1e-6)


def test_functions_of_python_are_traced_too():
    n, k = np.array([4.2, 5.0, 3.0, -1.0]), np.array([1.5, 2.0, 4.0, 1.0])
    forms = (
        lambda n, k: sp.comb(n, k),
        lambda n, k: sp.comb(n, k, repetition=True),
        lambda n, k: sp.factorial(k),
        lambda n, k: sp.zeta(k + 1.0),
        lambda n, k: sp.zeta(k + 1.0, np.abs(n)),
    )
    for form in forms:
        assert_same(run(trace(form, n, k), n, k), form(n, k), 1e-12)
    with pytest.raises(UnsupportedError, match="exact"):
        trace(lambda n, k: sp.comb(n, k, exact=True), n, k)


def test_derivatives_hold_where_a_quotient_would_lose_its_digits():
    """Against mpmath, to 1e-13: at removable singularities and far out."""
    import mpmath as mp

    cases = [
        (lambda x: sp.sici(x)[0], mp.si, [0.0, 1e-9, 0.3, 1.0, 1.7]),
        (lambda x: sp.shichi(x)[0], mp.shi, [0.0, 1e-9, 0.3, 1.0, 1.7]),
        (sp.spence, lambda z: mp.polylog(2, 1 - z), [0.97, 0.999999, 1.03, 1.2]),
        (sp.ellipk, mp.ellipk, [0.0, 1e-12, 1e-3, -0.2, 0.3, 0.9]),
        (sp.ellipe, mp.ellipe, [0.0, 1e-12, 1e-3, -0.2, 0.3, 0.9]),
        (sp.erfcx, lambda x: mp.exp(x * x) * mp.erfc(x), [0.5, 9.9, 10.1, 40.0, 1e4]),
    ]
    with mp.workdps(40):
        for function, exact, points in cases:
            slope = tg.grad(function)
            for x in points:
                expected = float(mp.re(mp.diff(exact, mp.mpf(x), h=mp.mpf(10) ** -15)))
                np.testing.assert_allclose(slope(x), expected, rtol=2e-12)


def test_logsumexp_with_weights_and_signs():
    x, b = np.array([[0.3, 1.2, np.inf], [0.1, -2.0, 3.0]]), np.array([1.0, -2.0, 0.0])
    forms = (
        lambda x, b: sp.logsumexp(x, axis=1, b=b, return_sign=True),
        lambda x, b: sp.logsumexp(x[1], b=b * b),
        lambda x, b: sp.logsumexp(x, axis=1, keepdims=True, b=-b, return_sign=True),
    )
    for form in forms:
        assert_same(run(trace(form, x, b), x, b), form(x, b), 1e-12)
    loss = lambda x: np.sum(sp.logsumexp(x, axis=1, b=b, return_sign=True)[0])  # noqa: E731  # short
    step = 1e-6
    for i, j in ((0, 0), (1, 1)):
        moved = x.copy()
        moved[i, j] += step
        np.testing.assert_allclose(tg.grad(loss)(x)[i, j], (loss(moved) - loss(x)) / step, 1e-5)


def test_powers_of_box_and_cox_have_their_limits():
    """At exponent 0 the value is the logarithm, and derivatives by the exponent are its limits."""
    for function, x in ((sp.boxcox, 1.7), (sp.inv_boxcox, 0.6), (sp.boxcox1p, 0.7)):
        f = lambda p: function(x, p)  # noqa: B023, E731  # short
        slope = tg.grad(f)
        np.testing.assert_allclose(slope(0.0), (f(1e-4) - f(-1e-4)) / 2e-4, rtol=1e-7)
        np.testing.assert_allclose(slope(0.0), slope(1e-9), rtol=1e-8)
        second = tg.hessian(f)(0.0)
        np.testing.assert_allclose(second, (slope(1e-4) - slope(-1e-4)) / 2e-4, rtol=1e-6)
    np.testing.assert_allclose(tg.grad(tg.grad(tg.grad(sp.exprel)))(0.0), 0.25, rtol=1e-14)
