"""What programs do by mistake: each gets an error with the user's line and a way out."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import errors
from tracegrad.tracing import unrolled

x = np.arange(1.0, 4.0)


def square(x):
    return np.sum(x**2)


def sorted_pairs(x):
    return sorted([(x[0], 1), (x[1], 2)])[0][0]


def hashed(x):
    return hash(x[0]) * x[1]


def key(x):
    return {x[0]: 1.0}[x[0]]


def member(x):
    return x[1] if x[0] in {1.0, 2.0} else x[2]


def ratio(x):
    return x[0].as_integer_ratio()[0] * x[1]


def text(x):
    return np.sum(x) + "a"


def generator(x):
    yield np.sum(x)


async def coroutine(x):
    return np.sum(x)


IN_THE_FUNCTION = [
    (sorted_pairs, errors.UnsupportedError, "np.argsort"),
    (hashed, errors.NeedsValue, "hash"),
    (key, errors.NeedsValue, "key of a dict"),
    (member, errors.NeedsValue, "in a set"),
    (ratio, errors.NeedsValue, "as_integer_ratio"),
    (text, errors.DTypeError, "str"),
    (generator, errors.UnsupportedError, "generator"),
    (coroutine, errors.UnsupportedError, "async def"),
]


@pytest.mark.parametrize(("f", "kind", "words"), IN_THE_FUNCTION)
def test_a_function_that_does_what_no_kernel_can(f, kind, words):
    with pytest.raises(kind, match=words) as caught:
        tg.grad(f)(x)
    error = caught.value
    first = f.__code__.co_firstlineno
    assert error.file == __file__
    assert first <= error.line <= first + 1
    assert error.way_out


CALLS = [
    (lambda: tg.grad(square, 5)(x), "argnums=5"),
    (lambda: tg.grad(square, -5)(x), "argnums=-5"),
    (lambda: tg.grad(square, "x")(x), "argnames"),
    (lambda: tg.grad(square, 0.0)(x), "argnums counts arguments"),
    (lambda: tg.grad(square)(), "missing a required argument"),
    (lambda: tg.grad(square)(x, x), "too many positional"),
    (lambda: tg.grad(square)(x, z=1), "unexpected keyword"),
    (lambda: tg.grad(square)(memoryview(x)), "memoryview"),
    (lambda: tg.grad(square)(np.array([1.0, None])), "object"),
    (lambda: tg.grad(square)(x.astype(np.float16)), "float16"),
    (lambda: tg.grad(square, mistaken=1), "no option mistaken"),
    (lambda: tg.grad(square, fastmath={"mistaken"}), "fastmath flags"),
    (lambda: tg.grad(square, static_argnames="y")(x), "no parameter: y"),
]


@pytest.mark.parametrize(("call", "words"), CALLS)
def test_a_call_that_is_wrong(call, words):
    with pytest.raises(TypeError, match=words) as caught:
        call()
    error = caught.value
    assert isinstance(error, errors.TracegradError)
    assert (error.file, error.line) == (__file__, call.__code__.co_firstlineno)
    assert error.way_out


def test_integers_of_python_that_leave_64_bits_are_refused():
    with pytest.raises(errors.UnsupportedError, match="64 bits"):
        tg.grad(lambda x, n: x * (n + 2**63))(1.0, 2)
    with pytest.raises(errors.UnsupportedError, match="64 bits"):
        tg.grad(lambda x, n: x * (n * 2**40 * 2**40))(1.0, 2)


def test_an_integer_to_a_negative_power_is_a_float_as_in_python():
    assert tg.grad(lambda x, n: x * n**-2)(1.0, 4) == 4**-2


def test_is_integer_is_a_traced_truth():
    assert tg.grad(lambda x: x * 2 if x.is_integer() else x)(3.0) == 2.0


def test_a_long_loop_that_is_traced_trip_by_trip_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(unrolled, "MOST_STATEMENTS", 300)

    def f(x):
        made = {}
        for i in range(10_000):
            made[f"value {i}"] = np.sin(x[0]) * i
        return made["value 7"]

    def g(x):
        made, i = {}, 0
        while i < 10_000:
            made[f"value {i}"] = np.sin(x[0]) * i
            i += 1
        return made["value 7"]

    for long in (f, g):
        with pytest.raises(errors.TraceError, match="traced trip by trip") as caught:
            tg.grad(long)(x)
        error = caught.value
        assert error.file == __file__
        assert "statements" in error.message
        assert error.way_out


def writes_through(reshaped):
    """What a write into a reshaped view leaves in the array."""

    def f(x):
        q = x * 1.0
        r = reshaped(q)
        r[1] = 7.0
        return q

    return f


@pytest.mark.parametrize(
    "reshaped",
    [
        lambda q: q.T.reshape(-1),
        lambda q: q.T.ravel(),
        lambda q: q[:, :2].reshape(-1),
        lambda q: q[1:3].reshape(-1),
        lambda q: q[:, ::2].reshape(2, 2, 3),
        lambda q: q.T.reshape(5, 2, 2),
        lambda q: q[::-1].reshape(20),
        lambda q: q.reshape(2, 10).T.reshape(20),
        lambda q: q[2].reshape(5, 1),
        lambda q: q.flat,
        lambda q: q.T.flat,
    ],
)
def test_a_reshaped_view_is_a_copy_where_numpy_copies(reshaped):
    from tests.tracing.conftest import check

    check(writes_through(reshaped), np.arange(20.0).reshape(4, 5))
