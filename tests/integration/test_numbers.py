"""NaN, infinities, kinks and ties: what NumPy says, and the conventions at kinks."""

import math

import numpy as np
import pytest

import tracegrad as tg

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e300, -1e-300])


def test_an_untaken_arm_contributes_nothing():
    x = np.array([-1.0, 0.0, 4.0])
    cases = [
        (lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)), [0.0, 0.0, 0.25]),
        (lambda x: np.sum(np.where(x > 0, np.log(x), x)), [1.0, 1.0, 0.25]),
        (lambda x: np.sum(np.where(x == 0, 1.0, np.sin(x) / x)), None),
        (lambda x: np.sum(np.where(x <= 0, 0.0, 1 / x)), [0.0, 0.0, -1 / 16]),
        (lambda x: np.sum(np.where(x > 0, x**0.5 * np.log(x), 0.0)), None),
        (lambda x: np.sum(np.where(x > 0, np.sqrt(x + 0.0) * 2.0 + 1.0, 0.0) ** 2), None),
    ]
    for f, expected in cases:
        bar = tg.grad(f)(x)
        assert np.all(np.isfinite(bar))
        if expected is not None:
            np.testing.assert_allclose(bar, expected)


def test_a_taken_arm_keeps_its_nan():
    bar = tg.grad(lambda x: np.sum(np.where(x < 0, np.sqrt(x), x)))(np.array([-1.0, 2.0]))
    assert np.isnan(bar[0])
    assert bar[1] == 1.0


def test_values_at_special_numbers_are_numpys():
    def f(x):
        return (
            [x + 1, x * 0.0, 1 / x, x / x, x - x, np.exp(x), np.sqrt(x), np.abs(x), np.sign(x)],
            [np.maximum(x, 0.5), np.minimum(x, x[::-1]), np.floor(x), np.sin(x), np.tanh(x)],
            [np.isnan(x), np.isfinite(x), x > 0, x == x, x != x, np.where(x > 0, x, -x)],
            [x**2, x**0.5, x**-1, np.cbrt(x), np.log1p(x), np.arctan2(x, x[::-1]), x % 2.0],
            [np.sum(x), np.max(x), np.min(x), np.prod(x), np.mean(x[:4]), np.argmax(x)],
            [np.clip(x, -1, 1), np.logaddexp(x, x), np.hypot(x, x), np.cumsum(x), -x, np.exp(-x)],
        )

    with np.errstate(all="ignore"):
        expected = f(SPECIAL)
    found = tg.jit(f)(SPECIAL)
    for row, right in zip(found, expected, strict=True):
        for a, e in zip(row, right, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-13)


def test_the_sign_of_zero():
    out = tg.jit(lambda x: (1 / x, np.copysign(1.0, x), np.arctan2(x, -1.0), -x))(
        np.array([0.0, -0.0])
    )
    np.testing.assert_array_equal(out[0], [np.inf, -np.inf])
    np.testing.assert_array_equal(out[1], [1.0, -1.0])
    np.testing.assert_allclose(out[2], [np.pi, -np.pi])
    np.testing.assert_array_equal(np.signbit(out[3]), [True, False])


def test_constants_0_and_minus_0_are_two():
    out = tg.jit(lambda x: (np.copysign(x, 0.0), np.copysign(x, -0.0)))(np.array([2.0]))
    assert (out[0][0], out[1][0]) == (2.0, -2.0)


def test_ties_share_evenly():
    x = np.array([1.0, 3.0, 3.0, 2.0, 3.0])
    np.testing.assert_allclose(tg.grad(lambda x: np.max(x))(x), [0, 1 / 3, 1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(tg.grad(lambda x: np.min(-x))(x), [0, -1 / 3, -1 / 3, 0, -1 / 3])
    square = np.array([[1.0, 1.0], [0.0, 2.0]])
    np.testing.assert_allclose(
        tg.grad(lambda x: np.sum(np.max(x, axis=1)))(square), [[0.5, 0.5], [0.0, 1.0]]
    )
    first, second = tg.grad(lambda a, b: np.sum(np.maximum(a, b)), argnums=(0, 1))(x, x)
    np.testing.assert_allclose(first, np.full(5, 0.5))
    np.testing.assert_allclose(second, np.full(5, 0.5))
    np.testing.assert_allclose(
        tg.grad(lambda x: np.sum(np.clip(x, 1.0, 3.0)))(x), [0.5, 0.5, 0.5, 1.0, 0.5]
    )


def test_kinks():
    zero = np.zeros(3)
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(np.abs(x)))(zero), zero)
    np.testing.assert_array_equal(tg.grad(lambda x: np.linalg.norm(x))(zero), zero)
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(np.sign(x) + np.floor(x)))(zero), zero)
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(np.sqrt(x)))(zero), np.full(3, np.inf))
    assert tg.grad(lambda x: x**2)(0.0) == 0.0
    assert tg.grad(lambda x: x**1)(0.0) == 1.0
    assert tg.grad(lambda x: x**0)(0.0) == 0.0
    assert tg.grad(lambda x: x**3.0)(0.0) == 0.0
    assert tg.grad(lambda p: 0.0**p)(2.0) == 0.0


def test_overflow_and_underflow_stay_where_numpy_has_them():
    f = tg.value_and_grad(lambda x: np.sum(np.log1p(np.exp(x))))
    value, bar = f(np.array([800.0, -800.0]))
    assert value == np.inf
    assert bar[1] == 0.0
    stable = tg.value_and_grad(lambda x: np.sum(np.logaddexp(0.0, x)))
    value, bar = stable(np.array([800.0, -800.0]))
    assert value == pytest.approx(800.0)
    np.testing.assert_allclose(bar, [1.0, 0.0])


def test_nan_goes_through_and_does_not_spread_to_others():
    x = np.array([1.0, np.nan, 2.0])
    bar = tg.grad(lambda x: np.sum(x * x))(x)
    np.testing.assert_array_equal(bar, [2.0, np.nan, 4.0])
    value, _ = tg.value_and_grad(lambda x: np.max(x))(x)
    assert np.isnan(value)


def test_scalars_of_math_and_numpy_together():
    def f(x):
        return math.sin(x) * np.exp(x) + math.sqrt(x) + math.pow(x, 3) + abs(x) + max(x, 2.0)

    value, bar = tg.value_and_grad(f)(1.5)
    assert value == pytest.approx(f(1.5))
    expected = (
        math.exp(1.5) * (math.sin(1.5) + math.cos(1.5)) + 0.5 / math.sqrt(1.5) + 3 * 1.5**2 + 1
    )
    assert bar == pytest.approx(expected)
    assert math.isnan(tg.grad(lambda x: x / x)(0.0))
    assert tg.jit(lambda x: 1.0 / x)(0.0) == math.inf


def test_integer_powers_and_divisions_are_exact():
    n = np.array([1, -2, 3, 7])
    found = tg.jit(lambda n: (n**3, n // 2, n % 3, n / 2, 2 ** np.abs(n), n**2.0, (-n) // 3))(n)
    expected = (n**3, n // 2, n % 3, n / 2, 2 ** np.abs(n), n**2.0, (-n) // 3)
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, e)
        assert a.dtype == e.dtype
    with np.errstate(all="ignore"):
        zero = np.zeros(2, dtype=int)
        np.testing.assert_array_equal(tg.jit(lambda n, d: n // d)(n[:2], zero), n[:2] // zero)
        np.testing.assert_array_equal(tg.jit(lambda n, d: n % d)(n[:2], zero), n[:2] % zero)


def test_int64_extremes_wrap_as_numpys():
    n = np.array([2**63 - 1, -(2**63), 5])
    with np.errstate(all="ignore"):
        expected = (n + 1, n * 2, -n, np.abs(n), n.sum(), n - 2**62)
    for a, e in zip(
        tg.jit(lambda n: (n + 1, n * 2, -n, np.abs(n), n.sum(), n - 2**62))(n),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(a, e)


def test_float32_rounds_as_float32():
    x = np.array([1e-3, 16777217.0, 3.0], dtype=np.float32)
    found = tg.jit(
        lambda x: (x + 1, x * np.float32(0.1), x * 0.1, x / 3, x**2, np.sum(x), x + np.float64(1))
    )(x)
    expected = (x + 1, x * np.float32(0.1), x * 0.1, x / 3, x**2, np.sum(x), x + np.float64(1))
    for a, e in zip(found, expected, strict=True):
        assert np.asarray(a).dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=2e-7)


def test_comparisons_and_rounding_have_no_derivative():
    x = np.array([0.3, 1.7, -2.5])
    bar = tg.grad(lambda x: np.sum((x > 0) * 2.0 + np.round(x) + np.floor(x) + x))(x)
    np.testing.assert_allclose(bar, np.ones(3))
    assert tg.grad(lambda x: np.sum(x > 0.0) * 1.0)(x) == pytest.approx(np.zeros(3))


def test_a_constant_function_or_an_unused_argument():
    x = np.array([1.0, 2.0])
    x_bar, y_bar = tg.grad(lambda x, y: np.sum(y * y), argnums=(0, 1))(x, x)
    np.testing.assert_array_equal(x_bar, np.zeros(2))
    np.testing.assert_array_equal(y_bar, 2 * x)


def test_stop_gradient():
    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(x * tg.stop_gradient(x)))(x), x)
    np.testing.assert_allclose(
        tg.grad(lambda x: np.sum(tg.stop_gradient({"a": x * x})["a"] * x))(x), x * x
    )
    assert tg.stop_gradient(3.0) == 3.0
    assert tg.stop_gradient(x) is x


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.uint64])
def test_integers_of_all_signs(dtype):
    limits = np.iinfo(dtype)
    few = np.array(
        [limits.min, limits.min + 1, 0, 1, 2, 3, 8, 63, limits.max - 1, limits.max], dtype
    )
    if limits.min < 0:
        few = np.append(few, np.array([-1, -2, -7], dtype))
    x, y = (each.ravel() for each in np.meshgrid(few, few))

    def f(x, y):
        return x // y, x % y, np.fmod(x, y), x << y, x >> y, np.abs(x), np.sign(x), x * y

    with np.errstate(all="ignore"):
        expected = f(x, y)
    for found, wanted in zip(tg.jit(f)(x, y), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_the_parts_of_infinity():
    x = np.array([np.inf, -np.inf, np.nan, -1.5, -0.0])
    for found, wanted in zip(tg.jit(np.modf)(x), np.modf(x), strict=True):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found)[:2], np.signbit(wanted)[:2])


def test_what_has_no_derivative_and_no_kernel_is_refused():
    with pytest.raises(tg.errors.UnsupportedError, match="frexp"):
        tg.jit(lambda x: np.frexp(x)[0])(SPECIAL)
