"""What callers may pass, in every form, and which gradients they ask for."""

import functools
from collections import namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import ArgumentError, TracegradError

X = np.array([0.5, -1.5, 2.0])
Y = np.array([2.0, 1.0, -3.0])
RAMP = np.array([1.0, 2.0, 3.0])


def product(x, y, scale=1.0):
    return scale * np.sum(x * x * y)


def test_argnums_in_every_form():
    x_bar, y_bar = 2 * X * Y, X * X
    np.testing.assert_allclose(tg.grad(product)(X, Y), x_bar)
    np.testing.assert_allclose(tg.grad(product, argnums=1)(X, Y), y_bar)
    np.testing.assert_allclose(tg.grad(product, argnums=-1)(X, Y), y_bar)
    (only,) = tg.grad(product, argnums=(1,))(X, Y)
    np.testing.assert_allclose(only, y_bar)
    second, first = tg.grad(product, argnums=[1, 0])(X, Y)
    np.testing.assert_allclose(first, x_bar)
    np.testing.assert_allclose(second, y_bar)
    value, (first, second) = tg.value_and_grad(product, (0, 1))(X, Y)
    assert value == pytest.approx(product(X, Y))
    np.testing.assert_allclose(first, x_bar)
    np.testing.assert_allclose(second, y_bar)


def test_argnames_and_keywords_mean_the_same_argument():
    for f in (tg.grad(product, argnames="y"), tg.grad(product, argnames=("y",), argnums=None)):
        for found in (f(X, Y), f(X, y=Y), f(x=X, y=Y), f(y=Y, x=X)):
            np.testing.assert_allclose(found[0] if isinstance(found, tuple) else found, X * X)
    scale_bar = tg.grad(product, argnames="scale")(X, Y, scale=2.0)
    assert scale_bar == pytest.approx(np.sum(X * X * Y))
    x_bar, scale_bar = tg.grad(product, argnums=0, argnames=["scale"])(X, Y, scale=2.0)
    np.testing.assert_allclose(x_bar, 4 * X * Y)
    assert scale_bar == pytest.approx(np.sum(X * X * Y))
    x_bar, scale_bar = tg.grad(product, argnums=(0, 2))(X, scale=2.0, y=Y)
    np.testing.assert_allclose(x_bar, 4 * X * Y)
    assert scale_bar == pytest.approx(np.sum(X * X * Y))


def test_a_default_is_part_of_the_program():
    f = tg.grad(product)
    np.testing.assert_allclose(f(X, Y), 2 * X * Y)
    np.testing.assert_allclose(f(X, Y, 3.0), 6 * X * Y)
    np.testing.assert_allclose(f(X, Y, scale=5.0), 10 * X * Y)
    np.testing.assert_allclose(f(X, Y), 2 * X * Y)


def test_an_array_default_is_used_and_stays_constant():
    def f(x, weights=RAMP):
        return np.sum(weights * x * x)

    np.testing.assert_allclose(tg.grad(f)(X), 2 * X * [1.0, 2.0, 3.0])
    np.testing.assert_allclose(tg.grad(f)(X, Y), 2 * X * Y)


def test_variadic_arguments():
    def total(*arrays, **named):
        return sum(np.sum(a * a) for a in arrays) + sum(np.sum(named[k] ** 3) for k in named)

    np.testing.assert_allclose(tg.grad(total, argnums=1)(X, Y), 2 * Y)
    np.testing.assert_allclose(tg.grad(total, argnames="z")(X, z=Y), 3 * Y * Y)
    np.testing.assert_allclose(tg.grad(total)(X), 2 * X)


def test_aux_of_any_tree_comes_back():
    def f(x):
        squares = x * x
        return np.sum(squares), {
            "squares": squares,
            "x": x,
            "name": "f",
            "n": 3,
            "pair": (x[0], 2.5),
        }

    (value, aux), x_bar = tg.value_and_grad(f, has_aux=True)(X)
    gradient, again = tg.grad(f, has_aux=True)(X)
    assert value == pytest.approx(np.sum(X * X))
    for found in (aux, again):
        assert list(found) == ["squares", "x", "name", "n", "pair"]
        np.testing.assert_allclose(found["squares"], X * X)
        np.testing.assert_array_equal(found["x"], X)
        assert found["x"] is not X
        assert (found["name"], found["n"], found["pair"]) == ("f", 3, (0.5, 2.5))
    np.testing.assert_allclose(x_bar, 2 * X)
    np.testing.assert_allclose(gradient, 2 * X)


def test_the_value_may_be_its_own_aux():
    def f(x):
        value = np.sum(x * x)
        return value, value

    gradient, aux = tg.grad(f, has_aux=True)(X)
    np.testing.assert_allclose(gradient, 2 * X)
    assert aux == pytest.approx(np.sum(X * X))


class Layer(NamedTuple):
    w: np.ndarray
    b: np.ndarray


@dataclass
class Model:
    layers: list
    scale: float


Pair = namedtuple("Pair", "first second")


def test_trees_of_parameters():
    rng = np.random.default_rng(0)
    params = {
        "model": Model([Layer(rng.normal(size=(3, 2)), rng.normal(size=2))], 1.5),
        "extra": [np.array([1.0, 2.0]), (np.float64(3.0), 4.0)],
    }

    def loss(p, x):
        layer = p["model"].layers[0]
        out = np.tanh(x @ layer.w + layer.b) * p["model"].scale
        a, (b, c) = p["extra"]
        return np.sum(out * a) * b + c * c

    value, bar = tg.value_and_grad(loss)(params, X)
    assert value == pytest.approx(loss(params, X))
    assert isinstance(bar["model"], Model)
    assert isinstance(bar["model"].layers[0], Layer)
    assert isinstance(bar["extra"], list)
    assert isinstance(bar["extra"][1], tuple)
    hidden = np.tanh(X @ params["model"].layers[0].w + params["model"].layers[0].b)
    a, (b, _) = params["extra"]
    np.testing.assert_allclose(bar["extra"][0], hidden * 1.5 * b)
    assert bar["extra"][1][0] == pytest.approx(np.sum(hidden * 1.5 * a))
    assert bar["extra"][1][1] == pytest.approx(8.0)
    assert bar["model"].scale == pytest.approx(np.sum(hidden * a) * b)
    pre = 1.5 * b * a * (1 - hidden**2)
    np.testing.assert_allclose(bar["model"].layers[0].b, pre)
    np.testing.assert_allclose(bar["model"].layers[0].w, np.outer(X, pre))


def test_the_keys_of_a_dict_are_matched_by_name():
    def f(p):
        return np.sum(p["a"] * 2.0) + np.sum(p["b"] * 3.0)

    g = tg.grad(f)
    for p in ({"a": X, "b": Y}, {"b": Y, "a": X}):
        bar = g(p)
        np.testing.assert_allclose(bar["a"], np.full(3, 2.0))
        np.testing.assert_allclose(bar["b"], np.full(3, 3.0))


def test_an_empty_tree_and_none_are_no_leaves():
    def f(x, options, nothing):
        assert nothing is None
        return np.sum(x * x) if not options else np.sum(x)

    np.testing.assert_allclose(tg.grad(f)(X, {}, None), 2 * X)
    np.testing.assert_allclose(tg.grad(f)(X, [1.0], None), np.ones(3))


def test_static_arguments_choose_the_program():
    def f(x, kind, power):
        return np.sum(np.sin(x)) if kind == "sin" else np.sum(x**power)

    for g in (tg.grad(f, static_argnums=(1, 2)), tg.grad(f, static_argnames=("kind", "power"))):
        np.testing.assert_allclose(g(X, "sin", 2), np.cos(X))
        np.testing.assert_allclose(g(X, "pow", 2), 2 * X)
        np.testing.assert_allclose(g(X, "pow", 3), 3 * X**2)
        np.testing.assert_allclose(g(X, "sin", 2), np.cos(X))
        assert len(g.signatures) == 3


def test_true_one_and_one_point_zero_are_three_static_values():
    def f(x, k):
        return np.sum(x) * {bool: 2.0, int: 3.0, float: 5.0}[type(k)]

    g = tg.grad(f, static_argnums=1)
    assert [g(X, k)[0] for k in (True, 1, 1.0, True)] == [2.0, 3.0, 5.0, 2.0]


def test_a_bool_is_static_and_an_int_is_not():
    def f(x, flag, n):
        return n * np.sum(x * x) if flag else np.sum(x)

    g = tg.grad(f)
    np.testing.assert_allclose(g(X, True, 3), 6 * X)
    np.testing.assert_allclose(g(X, False, 3), np.ones(3))
    for n in range(4, 10):
        np.testing.assert_allclose(g(X, True, n), 2 * n * X)
    assert len(g.signatures) == 2


def test_python_and_numpy_scalars_and_rank_0():
    def f(x):
        return x**3

    for x in (2.0, np.float64(2.0), np.array(2.0)):
        found = tg.grad(f)(x)
        assert found == pytest.approx(12.0)
        assert np.ndim(found) == 0
    found = tg.grad(f)(np.float32(2.0))
    assert found == pytest.approx(12.0)
    assert found.dtype == np.float32


def test_one_object_serves_all_kinds_of_scalars_and_arrays():
    g = tg.grad(lambda x: np.sum(np.sin(x)))
    for x in (0.5, np.float32(0.5), X, X.astype(np.float32), np.array(0.5), X[None], 0.25):
        found = g(x)
        np.testing.assert_allclose(found, np.cos(x), rtol=1e-6)
        assert np.shape(found) == np.shape(x)
        if isinstance(x, np.ndarray | np.generic):
            assert np.asarray(found).dtype == x.dtype


def test_an_int_given_where_a_float_was_is_refused_not_truncated():
    g = tg.grad(lambda x: x * x)
    assert g(2.5) == 5.0
    with pytest.raises(ArgumentError, match="'x'"):
        g(2)
    assert g(3.5) == 7.0


def test_float32_stays_float32():
    x = X.astype(np.float32)

    def f(x, w):
        return np.mean(np.log1p(np.exp(-x * w))) + 0.5 * np.sum(w**2) / 3

    value, (x_bar, w_bar) = tg.value_and_grad(f, (0, 1))(x, x)
    assert value.dtype == x_bar.dtype == w_bar.dtype == np.float32
    assert value == pytest.approx(f(x, x), rel=1e-6)
    exact = tg.grad(f)(X, X)
    np.testing.assert_allclose(x_bar, exact, rtol=1e-5)


def test_mixed_precision_follows_numpy():
    def f(x, y):
        return np.sum(x * y)

    x32 = X.astype(np.float32)
    value, (x_bar, y_bar) = tg.value_and_grad(f, (0, 1))(x32, Y)
    assert type(value) in (float, np.float64)
    assert x_bar.dtype == np.float32
    assert y_bar.dtype == np.float64
    np.testing.assert_allclose(x_bar, Y, rtol=1e-6)


def test_what_has_no_derivative_is_said_before_the_function_runs():
    f = tg.grad(lambda x, y: x * 2.0 + y)
    with pytest.raises(tg.errors.ArgumentError, match="derivative in 'x', which is a static"):
        f("abc", 1.0)
    with pytest.raises(tg.errors.ArgumentError, match="argument 0, which holds no array"):
        f(None, 1.0)


def test_integers_and_booleans_beside_floats():
    index = np.array([2, 0, 2, -1])
    mask = np.array([True, False, True])
    counts = np.array([1, 2, 3], dtype=np.int32)
    small = np.array([200, 100, 250], dtype=np.uint8)

    def f(x, index, mask, counts, small):
        wrapped = small + small  # wraps around as NumPy's does
        return (
            np.sum(x[index]) + np.sum(x[mask] ** 2) + np.sum(x * counts / 2) + np.sum(x * wrapped)
        )

    value, x_bar = tg.value_and_grad(f)(X, index, mask, counts, small)
    assert value == pytest.approx(f(X, index, mask, counts, small))
    expected = np.array([1.0, 0.0, 3.0]) + 2 * X * mask + counts / 2 + (small + small)
    np.testing.assert_allclose(x_bar, expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_results_of_integer_programs_are_numpys(dtype):
    values = np.array([7, 3, 100], dtype=dtype)

    def f(n, m):
        return n + m, n * m, n // m, n % m, n - m, n / m, n.sum(), -n, n**2, n > m

    found = tg.jit(f)(values, values[::-1])
    for a, e in zip(found, f(values, values[::-1]), strict=True):
        np.testing.assert_array_equal(a, e)
        assert np.asarray(a).dtype == e.dtype


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "unaligned": lambda a: _unaligned(a),
    "big endian": lambda a: a.astype(">f8"),
    "read-only": lambda a: _read_only(a),
    "subclass": lambda a: a.view(_Subclass),
    "contiguous": np.ascontiguousarray,
}


class _Subclass(np.ndarray):
    pass


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def test_memory_layout_does_not_matter():
    a = np.random.default_rng(1).normal(size=(10, 4))

    def f(a):
        return np.sum(np.sin(a) * np.arange(4.0)) + np.sum(a[0] * a[-1])

    g = tg.value_and_grad(f)
    value, bar = g(a)
    for _ in range(2):  # the second round takes the fast way through the last kernel
        for name, make in LAYOUTS.items():
            given = make(a)
            before = given.copy()
            found_value, found = g(given)
            assert found_value == pytest.approx(value), name
            np.testing.assert_allclose(found, bar, err_msg=name)
            np.testing.assert_array_equal(given, before)
            assert type(found) is np.ndarray
    assert len(g.signatures) == 1


def test_broadcast_inputs_of_stride_0():
    wide = np.broadcast_to(X, (10, 3))
    column = np.broadcast_to(X[:, None], (3, 10))
    g = tg.grad(lambda a, b: np.sum(a**2 @ b))
    np.testing.assert_allclose(g(wide, column), np.full((10, 3), 20.0) * X * X)
    assert g(wide, column).flags.writeable


def test_lists_of_numbers_are_trees_not_arrays():
    bar = tg.grad(lambda x: x[0] * x[1] + x[2])([1.0, 2.0, 3.0])
    assert bar == [2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.array([1, 2]), "int64"),
        (np.array([True]), "bool"),
        (3, "int"),
        (True, "True"),
        ("text", "text"),
        (np.array(["a"]), "<U1"),
        (np.array([1 + 2j]), "complex128"),
        (np.array([object()]), "object"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (np.ma.array([1.0], mask=[True]), "masked"),
        (np.array([1.0], dtype=np.float16), "float16"),
        (np.array([1.0], dtype=np.longdouble), "float128"),
        ({"a": np.array([1])}, r"x\['a'\]"),
        (2j, "complex"),
        (10**30, "64 bits"),
    ],
)
def test_what_has_no_gradient_is_refused_by_name(given, words):
    with pytest.raises(TracegradError, match=words) as caught:
        tg.grad(lambda x: np.sum(x) if not isinstance(x, str | dict) else 1.0)(given)
    assert "Way out" in str(caught.value)


def test_wrong_calls_raise_what_python_raises():
    with pytest.raises(TypeError, match="missing"):
        tg.grad(product)(X)
    with pytest.raises(TypeError, match="unexpected"):
        tg.grad(product)(X, Y, other=1.0)
    with pytest.raises(TypeError, match="multiple values"):
        tg.grad(product)(X, Y, x=X)


def test_unusable_argnums_are_refused_kindly():
    for options in ({"argnums": 5}, {"argnums": -4}, {"argnames": "nobody"}, {"argnums": (0, 0)}):
        with pytest.raises(TracegradError):
            tg.grad(product, **options)(X, Y)


def test_what_users_wrap():
    class Energy:
        def __init__(self, k):
            self.k = k

        def __call__(self, x):
            return self.k * np.sum(x * x)

        def energy(self, x):
            return self.k * np.sum(x**3)

        @tg.grad
        def force(self, x):
            return self.k * np.sum(x**4)

        @staticmethod
        def still(x):
            return np.sum(np.exp(x))

        @classmethod
        def of_class(cls, x):
            return np.sum(np.cos(x))

    energy, other = Energy(2.0), Energy(3.0)
    np.testing.assert_allclose(tg.grad(energy)(X), 4 * X)
    np.testing.assert_allclose(tg.grad(energy.energy)(X), 6 * X**2)
    np.testing.assert_allclose(energy.force(X), 8 * X**3)
    np.testing.assert_allclose(other.force(X), 12 * X**3)
    energy.k = 5.0
    np.testing.assert_allclose(energy.force(X), 20 * X**3)
    np.testing.assert_allclose(other.force(X), 12 * X**3)
    np.testing.assert_allclose(tg.grad(Energy.still)(X), np.exp(X))
    np.testing.assert_allclose(tg.grad(Energy.of_class)(X), -np.sin(X))
    partial = functools.partial(product, scale=3.0)
    np.testing.assert_allclose(tg.grad(partial)(X, Y), 6 * X * Y)
    np.testing.assert_allclose(tg.grad(functools.partial(product, X))(Y), X * X)
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(x * x))(X), 2 * X)
    np.testing.assert_allclose(tg.grad(np.sum)(X), np.ones(3))
    np.testing.assert_allclose(tg.grad(np.linalg.norm)(X), X / np.linalg.norm(X))


def test_functions_without_source():
    scope = {"np": np}
    exec("def f(x):\n    y = x * x\n    return np.sum(np.where(y > 1.0, y, 2 * x))", scope)
    f = scope["f"]
    np.testing.assert_allclose(tg.grad(f)(X), np.where(X * X > 1.0, 2 * X, 2.0))
    np.testing.assert_allclose(tg.grad(eval("lambda x: np.sum(x ** 3)", scope))(X), 3 * X**2)


def test_decorators_with_and_without_options():
    @tg.grad
    def a(x):
        """Doc."""
        return np.sum(x * x)

    @tg.value_and_grad(argnums=1)
    def b(x, y):
        return np.sum(x * y)

    np.testing.assert_allclose(a(X), 2 * X)
    assert (a.__name__, a.__doc__) == ("a", "Doc.")
    assert a.py_func(X) == pytest.approx(np.sum(X * X))
    np.testing.assert_allclose(b(X, Y)[1], X)
