"""Symbolic sizes: one trace for all sizes, and the guards that say where it does not hold."""

import numpy as np
import pytest

from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tracegrad.errors import GuardFailed, ShapeError


def types_of(traced):
    return [str(param.type) for param in traced.function.params]


def guards_of(traced):
    return [str(guard) for guard in traced.function.guards]


def test_each_dimension_has_its_own_symbol_until_they_meet():
    traced = check(lambda x, y: (x.sum(), y.sum()), np.ones(5), np.ones(5))
    assert types_of(traced) == ["f64[n]", "f64[m]"]
    traced = check(lambda x, y: x + y, np.ones(5), np.ones(5))
    assert types_of(traced) == ["f64[n]", "f64[n]"]
    with pytest.raises(GuardFailed):
        run(traced, np.ones(5), np.ones(1))


def test_hints_are_the_sizes_of_this_trace():
    traced = trace(lambda X, w: X @ w, np.ones((30, 20)), np.ones(20))
    assert types_of(traced) == ["f64[n, m]", "f64[m]"]
    assert traced.function.hints == {"n": 30, "m": 20}


def test_a_size_of_one_that_broadcasts_is_fixed():
    traced = check(lambda x, y: x + y, np.ones((12, 1)), np.ones((12, 20)))
    assert types_of(traced) == ["f64[n, 1]", "f64[n, m]"]
    with pytest.raises(GuardFailed):
        run(traced, np.ones((12, 20)), np.ones((12, 20)))


def test_small_inner_dimensions_are_static_unless_they_vary():
    f = lambda x: x.sum()  # noqa: E731  # short
    assert types_of(trace(f, np.ones((2, 3)))) == ["f64[n, 3]"]
    assert types_of(trace(f, np.ones((2, 9)))) == ["f64[n, m]"]
    assert types_of(trace(f, np.ones((2, 3)), varying=frozenset({(0, 1)}))) == ["f64[n, m]"]


def test_an_outer_dimension_is_static_where_an_inner_one_has_its_small_size():
    f = lambda w, x: w @ x  # noqa: E731  # short
    assert types_of(trace(f, np.ones((5, 5)), np.ones(5))) == ["f64[5, 5]", "f64[5]"]
    assert types_of(trace(f, np.ones((4, 5)), np.ones(5))) == ["f64[n, 5]", "f64[5]"]
    assert types_of(trace(lambda x: x.sum(), np.ones(5))) == ["f64[n]"]
    assert types_of(trace(lambda w: w.sum(), np.ones((9, 9)))) == ["f64[n, m]"]
    traced = trace(lambda w: w.sum(), np.ones((5, 5)))
    assert traced.differing_dims([np.ones((7, 5))]) == {(0, 0)}
    varying = frozenset({(0, 0)})
    assert types_of(trace(lambda w: w.sum(), np.ones((5, 5)), varying=varying)) == ["f64[n, 5]"]
    varying = frozenset({(0, 1)})
    assert types_of(trace(lambda w: w.sum(), np.ones((5, 5)), varying=varying)) == ["f64[n, m]"]


def test_differing_sizes_name_the_dimension_to_leave_open():
    traced = trace(lambda x: x.sum(), np.ones((2, 3)))
    assert traced.differing_dims([np.ones((7, 4))]) == {(0, 1)}
    assert traced.guards_hold([np.ones((7, 3))])
    assert not traced.guards_hold([np.ones((7, 4))])


def test_slices_say_how_long_the_array_must_be():
    traced = check(lambda x: x[1:] - x[:-1], np.ones(10))
    assert guards_of(traced) == ["n >= 1"]
    assert_like_numpy(run(traced, np.arange(4.0)), np.ones(3))
    with pytest.raises(GuardFailed):
        run(traced, np.ones(0))


def test_arrays_of_related_sizes_are_written_in_one_symbol():
    traced = check(lambda x, d: np.diff(x) * d, np.arange(10.0), np.ones(9))
    assert types_of(traced) == ["f64[n]", "f64[n - 1]"]


def test_a_comparison_of_sizes_is_a_guard():
    def f(x):
        return x * 2 if x.shape[0] > 3 else x

    traced = check(f, np.ones(5))
    assert guards_of(traced) == ["n >= 4"]
    assert_like_numpy(run(traced, np.ones(4)), f(np.ones(4)))
    with pytest.raises(GuardFailed):
        run(traced, np.ones(3))
    assert guards_of(trace(f, np.ones(2))) == ["n <= 3"]


def test_the_strongest_of_several_guards_is_kept():
    traced = check(lambda x: x[0] + x[1] + x[2] + x[-1], np.ones(5))
    assert guards_of(traced) == ["n >= 3"]


def test_a_size_that_python_needs_is_fixed():
    def f(x):
        return sum(v * k for k, v in enumerate(tuple(x)))

    traced = check(f, np.ones(5))
    assert types_of(traced) == ["f64[5]"]


def test_reshape_asks_for_what_it_needs():
    traced = check(lambda x: x.reshape(-1, 3).sum(0), np.arange(12.0))
    assert_like_numpy(run(traced, np.arange(6.0)), np.arange(6.0).reshape(-1, 3).sum(0))
    with pytest.raises(GuardFailed):
        run(traced, np.arange(7.0))
    traced = check(lambda x, y: x.reshape(y.shape), np.arange(99.0), np.ones((11, 9)))
    assert_like_numpy(
        run(traced, np.arange(40.0), np.ones((4, 10))), np.arange(40.0).reshape(4, 10)
    )
    with pytest.raises(ShapeError, match="cannot reshape array of size 12 into shape"):
        trace(lambda x: x.reshape(5, 2), np.ones(12))


def test_integer_arguments_are_sizes_and_numbers():
    def f(x, n):
        return np.zeros(n).sum() + np.sum(x[:n]) * n + n / 2

    traced = check(f, np.arange(10.0), 3)
    assert traced.function.size_params == {"n": 1}
    assert_like_numpy(run(traced, np.arange(10.0), 7), f(np.arange(10.0), 7))
    with pytest.raises(GuardFailed):
        run(traced, np.arange(10.0), -1)


def test_an_integer_that_must_equal_a_size_is_checked():
    def f(x, n):
        return np.ones(n) * x

    traced = check(f, np.arange(12.0), 12)
    assert_like_numpy(run(traced, np.arange(14.0), 14), f(np.arange(14.0), 14))
    with pytest.raises(GuardFailed):
        run(traced, np.arange(14.0), 13)


def test_an_integer_that_python_needs_is_checked():
    def f(x, n):
        return x * [1, 2, 3, 4, 5][n]

    traced = check(f, np.ones(3), 4)
    with pytest.raises(GuardFailed):
        run(traced, np.ones(3), 3)


def test_integers_with_an_equal_value_may_differ_later():
    def f(x, n, m):
        return x[:n].sum() * m

    traced = check(f, np.arange(10.0), 3, 3)
    assert_like_numpy(run(traced, np.arange(10.0), 4, 2), f(np.arange(10.0), 4, 2))


def test_arithmetic_of_sizes_is_pythons():
    def f(x, n):
        return (
            x.sum() * (n // 2), n % 3, -n, abs(-n), n**2, n - 1, 10 - n, divmod(n, 4), n == 7,
            max(n, 3), min(n, 3), n * 0.5, float(n), 2**n, np.sqrt(n), round(n), int(n), n > 2.5,
        )  # fmt: skip

    check(f, np.ones(3), 7)


def test_division_by_a_zero_size_is_an_error():
    with pytest.raises(ZeroDivisionError):
        trace(lambda x, n: x // n * (5 // n), np.ones(3), 0)


def test_masks_give_sizes_known_at_run_time_only():
    def f(x, y):
        return np.sum(x[x > 0] * y[x > 0]) / (x[x > 0].size)

    rng = np.random.default_rng(0)
    traced = check(f, rng.normal(size=20), rng.normal(size=20))
    other = rng.normal(size=33), rng.normal(size=33)
    assert_like_numpy(run(traced, *other), f(*other))
    assert sum(op.name == "nonzero" for op in traced.function.walk()) == 1


def test_different_masks_do_not_mix():
    with pytest.raises(ShapeError, match="could not be broadcast"):
        trace(lambda x: x[x > 0] + x[x > 1], np.arange(5.0))


def test_empty_arrays_are_traced_too():
    check(lambda x: np.sum(x * 2), np.ones(0))
    with pytest.raises(ValueError, match="zero-size array to reduction operation maximum"):
        trace(lambda x: np.max(x), np.ones(0))
    traced = check(lambda x: np.max(x), np.ones(3))
    assert guards_of(traced) == ["n >= 1"]


def test_sizes_take_names_that_no_argument_has():
    traced = trace(lambda n, m: n.sum() + m.sum(), np.ones(3), np.ones((11, 12)))
    assert types_of(traced) == ["f64[k]", "f64[p, q]"]


def test_guards_read_as_one_would_write_them():
    traced = check(lambda x, n: x[:n].sum(), np.ones(10), 4)
    assert guards_of(traced) == ["n >= 0", "m >= n"]
    traced = check(lambda x, n: x[:n].sum(), np.ones(10), 14)
    assert guards_of(traced) == ["n >= 0", "m < n"]
