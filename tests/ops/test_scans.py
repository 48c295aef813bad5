"""Products with zeros among the factors, running sums and products, recurrences."""

import numpy as np
import pytest

from tests.ops.building import built, names_of
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64, i32, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.registry import OperandText
from tracegrad.transforms.vjp import gradient, vjp

n = symbol("n")


def total_of(make):
    def function(x):
        out = make(x)
        return ops.sum(out, axes=tuple(range(out.rank)))

    return function


def gradient_of(make, x):
    return evaluate(verify(gradient(built(make, x.shape), [0])), x)[1]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([2.0, 3.0, 4.0], [12.0, 8.0, 6.0]),
        ([2.0, 0.0, 4.0], [0.0, 8.0, 0.0]),
        ([0.0, 0.0, 4.0], [0.0, 0.0, 0.0]),
        ([0.0], [1.0]),
        ([], []),
    ],
)
def test_the_gradient_of_a_product_is_the_product_of_the_others(x, expected):
    x_bar = gradient_of(lambda x: ops.prod(x, axes=(0,)), np.array(x))
    np.testing.assert_array_equal(x_bar, expected)


def test_a_tiny_factor_does_not_spoil_the_others():
    x = np.array([1e-300, 1e-300, 2.0])
    x_bar = gradient_of(lambda x: ops.prod(x, axes=(0,)), x)
    np.testing.assert_array_equal(x_bar, [2e-300, 2e-300, 0.0])


def test_the_second_derivative_of_a_product_with_zeros():
    first = vjp(built(lambda x: ops.prod(x, axes=(0,)), (n,)), [0])
    second = vjp(first, [0], seeded=[1])
    x = np.array([0.0, 0.0, 5.0])
    rows = [evaluate(second, x, np.array(1.0), row)[-1] for row in np.eye(3)]
    np.testing.assert_array_equal(rows, [[0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_a_product_over_several_axes():
    x = np.random.default_rng(0).normal(size=(2, 3, 2))
    x[0, 1, 1] = 0.0
    x_bar = gradient_of(total_of(lambda x: ops.prod(x, axes=(0, 2))), x)
    expected = np.empty_like(x)
    for place in np.ndindex(x.shape):
        rest = x.copy()
        rest[place] = 1.0
        expected[place] = np.prod(rest[:, place[1], :])
    np.testing.assert_allclose(x_bar, expected, rtol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_gradient_of_a_running_product_with_a_zero(reverse):
    x = np.array([2.0, 0.0, 3.0, 5.0])
    x_bar = gradient_of(total_of(lambda x: ops.cumprod(x, axis=0, reverse=reverse)), x)
    # Of x0 + x0·x1 + x0·x1·x2 + x0·x1·x2·x3, or the same from the back.
    expected = [0.0, 45.0, 5.0, 4.0] if reverse else [1.0, 38.0, 0.0, 0.0]
    np.testing.assert_array_equal(x_bar, expected)


def test_the_transpose_of_a_running_sum_runs_the_other_way():
    f = gradient(built(total_of(lambda x: ops.cumsum(x, axis=0, reverse=False)), (n,)), [0])
    (running,) = [op for op in f.walk() if op.name == "cumsum" and op.part == "reverse"]
    assert running.attributes["reverse"] is True


def test_an_infinite_first_factor_leaves_the_next_sums_alone():
    out = ops.recurrence.reference(np.array([2.0, np.inf]), np.array([1.0, 1.0]), axis=0)
    np.testing.assert_array_equal(out, [1.0, 3.0])


@pytest.mark.parametrize(
    ("name", "type", "attributes", "text"),
    [
        ("cumsum", ArrayType(f64, (n,)), {"axis": 0, "reverse": False}, "np.cumsum(x)"),
        ("cumsum", ArrayType(f64, (n,)), {"axis": 0, "reverse": True}, "np.cumsum(x[::-1])[::-1]"),
        ("cumprod", ArrayType(f64, (n, 2)), {"axis": 0, "reverse": False}, "np.cumprod(x, axis=0)"),
        (
            "cumsum",
            ArrayType(f64, (n, 2)),
            {"axis": 1, "reverse": True},
            "np.cumsum(x[:, ::-1], axis=1)[:, ::-1]",
        ),
        (
            "cumsum",
            ArrayType(i32, (n,)),
            {"axis": 0, "reverse": False},
            "np.cumsum(x, dtype=np.int32)",
        ),
    ],
)
def test_scans_are_printed_as_numpy(name, type, attributes, text):
    op = getattr(ops, name)
    assert op.array([OperandText("x", type)], type, attributes, str) == text


def test_rules_of_products_are_made_of_scans_alone():
    f = gradient(built(lambda x: ops.prod(x, axes=(0,)), (n,)), [0])
    assert not {"divide", "for", "select"} & set(names_of(f))


@pytest.mark.parametrize("attributes", [{"axis": 1}, {"axis": -1}, {"axis": 0, "reverse": 1}])
def test_attributes_that_do_not_fit_are_refused(attributes):
    with pytest.raises(TypeError, match="cumsum: "):
        ops.cumsum.infer(ArrayType(f64, (n,)), **attributes)
