"""Refusals: each names the user's line, points at it, and gives a way out."""

import numpy as np
import pytest

from tests.tracing.conftest import trace
from tracegrad import errors

x = np.arange(1.0, 6.0)
A = np.ones((4, 5))


def branch(x):
    return x.sum() if x[0] > 0 else x  # here


def to_float(x):
    return float(x)  # here


def sized_by_a_value(x):
    return np.zeros(int(x[0]))  # here


def unsupported(x):
    return np.lexsort(x)  # here


def misspelt_form(x):
    return np.sum(x, axes=0)  # here


def shapes(x):
    return A @ x[:3]  # here


def broadcast(x):
    return x[1:] + A  # here


def index(x):
    return x[7]  # here


def negative_index(x):
    return x[-6]  # here


def too_many(x):
    return x[0, 0]  # here


def axis(x):
    return np.sum(x, axis=3)  # here


def complex_number(x):
    return x * 1j  # here


def none(x):
    return x + None  # here


def half(x):
    return x.astype(np.float16)  # here


def mask(x):
    return x[np.array([True, False])]  # here


def float_index(x):
    return x[x]  # here


def concatenated(x):
    return np.concatenate([x, A])  # here


def c_function(x):
    return np.array(x).tobytes()  # here


def where_without_out(x):
    return np.exp(x, where=x > 0)  # here


def memory_order(x):
    return np.outer(x, x).ravel("K")  # here


def inserted_outside(x):
    return np.insert(x, 7, 1.0)  # here


def deleted_outside(x):
    return np.delete(x, [0, 5])  # here


CASES = [
    (branch, errors.UnsupportedError, "same kind of value", NotImplementedError),
    (to_float, errors.NeedsValue, "", TypeError),
    (sized_by_a_value, errors.NeedsValue, "static_argnames", TypeError),
    (unsupported, errors.UnsupportedError, "np.lexsort", NotImplementedError),
    (misspelt_form, errors.UnsupportedError, "np.sum(a", NotImplementedError),
    (shapes, errors.ShapeError, "(size 3 is different from 5)", ValueError),
    (broadcast, errors.ShapeError, "with shapes (4,) (4,5)", ValueError),
    (index, errors.IndexOutOfRange, "index 7 is out of bounds for axis 0 with size 5", IndexError),
    (negative_index, errors.IndexOutOfRange, "index -6 is out of bounds", IndexError),
    (too_many, errors.IndexOutOfRange, "too many indices", IndexError),
    (axis, errors.AxisError, "axis 3 is out of bounds for array of dimension 1", ValueError),
    (complex_number, errors.DTypeError, "complex", TypeError),
    (none, errors.DTypeError, "NoneType", TypeError),
    (half, errors.DTypeError, "float16", TypeError),
    (mask, errors.IndexOutOfRange, "corresponding boolean axis is 2", IndexError),
    (float_index, errors.IndexOutOfRange, "integer or boolean arrays", IndexError),
    (concatenated, errors.ShapeError, "the array at index 1 has 2 dimension(s)", ValueError),
    (where_without_out, errors.UnsupportedError, "give out=", NotImplementedError),
    (memory_order, errors.UnsupportedError, "how an array lies in memory", NotImplementedError),
    (inserted_outside, errors.IndexOutOfRange, "index 7 is out of bounds", IndexError),
    (deleted_outside, errors.IndexOutOfRange, "index 5 is out of bounds", IndexError),
    (c_function, errors.UnsupportedError, "tobytes", NotImplementedError),
]


@pytest.mark.parametrize(
    ("f", "kind", "text", "builtin"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_refusal_names_the_line_and_a_way_out(f, kind, text, builtin):
    with pytest.raises(kind) as caught:
        trace(f, x)
    error = caught.value
    assert isinstance(error, builtin)
    assert text in str(error)
    assert error.file == __file__
    assert error.place.text.rstrip().endswith("# here")
    if error.place.column is not None:
        assert "^" in str(error)


def test_forms_of_vectorize_that_are_refused():
    for made in (
        np.vectorize(lambda v, w: v @ w, signature="(n),(n)->()"),
        np.vectorize(lambda v, k: v**k, excluded=["k"]),
        np.vectorize(lambda v: (v, v), otypes=[float, float]),
    ):
        with pytest.raises(errors.UnsupportedError):
            trace(lambda x, f=made: f(x), x)


def test_the_line_is_the_helpers_when_the_helper_is_at_fault():
    def f(x):
        return index(x)

    with pytest.raises(errors.IndexOutOfRange) as caught:
        trace(f, x)
    assert caught.value.place.function == "index"


def test_a_value_of_another_trace_is_refused():
    kept = []

    def leaks(x):
        kept.append(x * 2)
        return x

    def uses(x):
        return x + kept[0]

    with pytest.raises(errors.UnsupportedError, match="changes 'kept'"):
        trace(leaks, x)
    with pytest.raises(errors.UnsupportedError, match="earlier call"):
        trace(uses, x)


def test_user_errors_pass_through_unchanged():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace(f, x)
