"""In-place operators: what they do to names, and what is refused."""

import numpy as np
import pytest

from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tracegrad.errors import DTypeError, ShapeError, UnsupportedError

x = np.arange(1.0, 6.0)


def refused(f, *args, match=None):
    before = [np.copy(a) for a in args]
    with pytest.raises(UnsupportedError, match=match) as caught:
        trace(f, *args)
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)
    return caught.value


def test_an_array_of_the_functions_own_is_changed_under_all_its_names():
    def f(x):
        y = x * 2
        z = y
        kept = [y]
        z += 1
        z *= np.exp(z)
        z **= 2
        return y, z, kept[0]

    check(f, x)


def test_copies_are_their_own():
    def f(x):
        y = x.copy()
        z = np.array(y)
        y += 1
        z -= 1
        w = x.astype(float)
        w /= 2
        return x, y, z, w, np.where(True, y, z)

    check(f, x)


def test_scalars_and_tuples_are_bound_anew():
    def f(x, s):
        total = 0.0
        first = total
        t = s
        t += 1
        for v in x:
            total += v
        pair = (1,)
        pair += (2,)
        return total, first, s, t, pair

    check(f, x, 2.5)


def test_in_place_through_a_helper_is_seen_by_its_caller():
    def change(y):
        y += 10

    def f(x):
        y = x * 1
        change(y)
        return y

    check(f, x)


def test_an_argument_is_written_to_in_a_private_copy():
    def f(x, A):
        y = x
        y += 1
        A[1:, 0] = x[:2]
        A[0] *= 2
        return y * 2, A, x

    given = x.copy(), np.arange(9.0).reshape(3, 3)
    result = run(trace(f, *given), *given)
    np.testing.assert_array_equal(given[0], x)
    np.testing.assert_array_equal(given[1], np.arange(9.0).reshape(3, 3))
    assert_like_numpy(result, f(x.copy(), np.arange(9.0).reshape(3, 3)))


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y[1:],
        lambda y: y[...],
        lambda y: y.T,
        lambda y: y.reshape(1, -1),
        lambda y: y.ravel(),
        lambda y: y[None],
        lambda y: np.flip(y),
        lambda y: np.squeeze(y),
        lambda y: y.real,
    ],
)
def test_writes_are_seen_through_views_both_ways(view):
    def through(x):
        y = x * 2
        z = view(y)
        z += 1
        z[..., -1] = 7.0
        return y, z

    def under(x):
        y = x * 2
        z = view(y)
        y += 1
        y[1] = y[2] * y[3]
        return z

    check(through, x)
    check(under, x)


def test_a_broadcast_view_is_read_only():
    def f(x):
        z = np.broadcast_to(x * 2, (2, 5))
        z[0] = 1.0
        return z

    with pytest.raises(ValueError, match="read-only"):
        trace(f, x)


def test_reading_elements_makes_no_view():
    def f(x):
        y = x * 2
        first = y[0]
        some = y[[0, 1]]
        y += first
        return y, some

    check(f, x)


def test_a_view_that_is_gone_is_no_hindrance():
    def f(x):
        y = x * 2
        total = y[1:].sum() + y.T[0]
        z = y[::2]
        first = z.sum()
        del z
        y += total
        return y, first

    check(f, x)


def test_the_result_must_fit_into_the_array():
    def grows(x):
        y = x * 1
        y += np.ones((3, 5)) * x
        return y

    def loses(x):
        y = np.ones(5, dtype=np.int64) * x.astype(np.int64)
        y += 0.5
        return y

    with pytest.raises(ShapeError, match="non-broadcastable output operand"):
        trace(grows, x)
    with pytest.raises(DTypeError, match="Cannot cast ufunc"):
        trace(loses, x)


def test_float32_stays_float32():
    def f(x):
        y = x * 2
        y += np.ones(5)
        return y

    check(f, x.astype(np.float32))


def test_items_slices_masks_and_out():
    def f(x):
        y = x * 1
        y[0] = 1.0
        y[-1] += 1.0
        y[1:3] = y[2:4]
        y[::2] *= 2
        y[[0, 0, 3]] = np.array([5.0, 6.0, 7.0])
        y[y > 6.5] = 0.0
        np.add.at(y, [1, 1], x[:2])
        z = np.empty((2, 5))
        np.sin(x, out=z[0])
        np.sum(np.stack([x, y]), axis=0, out=z[1])
        w = np.zeros((3, 4))
        w[:, 1] = x[:3]
        w[1, 2:] -= x[3:]
        w[[0, 2], [3, 3]] += 1
        w[1:, None, 0] = x[:2, None]
        w.T[0] += 1
        w.reshape(2, 6)[:, 5] = 9.0
        w[w < -1] *= 2
        v = np.ones(4)
        v.fill(x[1])
        v[...] += 1
        return y, z, w, v

    check(f, x)


def test_an_array_of_constants_takes_no_traced_values():
    def f(x):
        y = np.arange(5)
        y[2] = x[0]
        return y

    error = refused(f, x, match="array of constants")
    assert "np.zeros" in str(error)

    def plain(x):
        y = np.arange(5)
        y += x.astype(np.int64)
        return y

    refused(plain, x)


def test_float_arrays_of_constants_can_be_written_to():
    def f(x):
        b = np.arange(1.0, 4.0)
        c = np.linspace(0.0, 1.0, 3)
        b[1] -= x[0]
        c[:] *= x[:3]
        return b @ c

    check(f, np.array([0.5, 2.0, 3.0]))
