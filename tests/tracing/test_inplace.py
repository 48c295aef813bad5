"""In-place operators: what they do to names, and what is refused."""

import numpy as np
import pytest

from tests.tracing.conftest import check, trace
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


def test_an_argument_is_the_callers():
    def f(x):
        y = x
        y += 1
        return y

    error = refused(f, x, match="argument 'x'")
    assert "x = x + y" in str(error)


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y[1:],
        lambda y: y[...],
        lambda y: y.T,
        lambda y: y.reshape(1, -1),
        lambda y: y.ravel(),
        lambda y: y[None],
        lambda y: np.broadcast_to(y, (2, 5)),
        lambda y: np.flip(y),
        lambda y: np.squeeze(y),
        lambda y: y.real,
    ],
)
def test_views_share_memory_so_both_sides_are_refused(view):
    def through(x):
        y = x * 2
        z = view(y)
        z += 1
        return y

    def under(x):
        y = x * 2
        z = view(y)
        y += 1
        return z

    refused(through, x)
    refused(under, x)


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


def test_writes_are_refused_for_now():
    def item(x):
        y = x * 1
        y[0] = 1.0
        return y

    def augmented_item(x):
        y = x * 1
        y[0] += 1.0
        return y

    def out(x):
        y = np.empty(5)
        np.sin(x, out=y)
        return y

    def plain(x):
        y = np.arange(5)
        y += x.astype(np.int64)
        return y

    for f in (item, augmented_item, out, plain):
        refused(f, x)
