"""Reading and writing at index values: repeats, overwritten values, positions of masks."""

import numpy as np
import pytest

from tests.ops.building import built, names_of
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, boolean, f32, f64, i32, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import broadcast_to, expand_dims, flip, view_of
from tracegrad.ops.indexing import distinct, grid, take_along
from tracegrad.ops.registry import constant
from tracegrad.testing.ir import assert_same
from tracegrad.transforms.vjp import vjp

n, m, count = symbol("n"), symbol("m"), symbol("count")
INDICES = ArrayType(i64, (m,))


def assert_vjp(make, types, text):
    """Only the rule of the one operation that ``make`` builds: (operands, out_bar) → bars."""

    def rule(*values):
        *operands, out_bar = values
        op = make(*operands).op
        bars = op.opdef.vjp(out_bar, op.result, *op.operands, **op.attributes)
        return [bar for bar in bars if bar is not None]

    assert_same(verify(built(rule, *types, names=("x", "y", "z", "out_bar"))), parse(text))


def test_the_transpose_of_index_is_accumulate():
    assert_vjp(
        ops.index,
        [(n,), INDICES, (m,)],
        """
        func @f(%x: f64[n], %i: i64[m], %out_bar: f64[m]) -> (f64[n]) {
          %zero: f64 = 0.0
          %zeros: f64[n] = view(%zero) {shape=(n,), map=[]}
          %x_bar: f64[n] = accumulate(%zeros, %out_bar, %i)
          return %x_bar
        }""",
    )


def test_the_transpose_of_accumulate_is_index():
    assert_vjp(
        ops.accumulate,
        [(n,), (m,), INDICES, (n,)],
        """
        func @f(%x: f64[n], %v: f64[m], %i: i64[m], %out_bar: f64[n]) -> (f64[n], f64[m]) {
          %v_bar: f64[m] = index(%out_bar, %i)
          return %out_bar, %v_bar
        }""",
    )


def test_a_write_of_one_element_clears_its_cotangent_and_asks_nothing_else():
    assert_vjp(
        ops.update,
        [(n,), (), ArrayType(i64), (n,)],
        """
        func @f(%x: f64[n], %v: f64, %i: i64, %out_bar: f64[n]) -> (f64[n], f64) {
          %v_bar: f64 = index(%out_bar, %i)
          %zero: f64 = 0.0
          %x_bar: f64[n] = update(%out_bar, %zero, %i)
          return %x_bar, %v_bar
        }""",
    )


@pytest.mark.parametrize("indices", [[2, 0, 2, 2, 0], [3, -1, 1, -4, 0], [[0, 1], [1, 1]]])
def test_an_overwritten_value_has_no_cotangent(indices):
    indices = np.array(indices)
    x, v = np.zeros(4), np.ones(indices.shape)
    out_bar = np.array([10.0, 20.0, 30.0, 40.0])
    f = vjp(built(ops.update, (4,), indices.shape, ArrayType(i64, indices.shape)), [0, 1])
    _, x_bar, v_bar = evaluate(f, x, v, indices, out_bar)
    last = {int(i) % 4: place for place, i in np.ndenumerate(indices)}
    expected = np.zeros(indices.shape)
    for i, place in last.items():
        expected[place] = out_bar[i]
    np.testing.assert_array_equal(v_bar, expected)
    np.testing.assert_array_equal(x_bar, np.where(np.isin(np.arange(4), list(last)), 0.0, out_bar))


DISTINCT = {
    "a range": lambda: [ops.iota(size=n, dtype=i64)],
    "a range that starts later": lambda: [ops.iota(size=n, dtype=i64) + 2],
    "every third": lambda: [ops.iota(size=n, dtype=i64) * 3 + 1],
    "from the back": lambda: [flip(ops.iota(size=n, dtype=i64))],
    "a grid": lambda: grid((n, m)),
    "a range beside one column": lambda: [
        ops.iota(size=n, dtype=i64),
        broadcast_to(constant(3, i64), (n,)),
    ],
    "a range with an axis of size one": lambda: [expand_dims(ops.iota(size=n, dtype=i64), 1)],
}

REPEATING = {
    "a range from below zero": lambda: [ops.iota(size=n, dtype=i64) + (-2)],
    "a range, every element twice": lambda: [
        view_of(ops.iota(size=n, dtype=i64), (n, 2), [(0, 0, 1)])
    ],
    "a range times zero": lambda: [ops.iota(size=n, dtype=i64) * 0],
    "one row of a grid": lambda: grid((n, m))[:1],
}


@pytest.mark.parametrize("make", DISTINCT.values(), ids=DISTINCT)
def test_places_known_to_be_distinct(make):
    known = []
    built(lambda x: known.append(distinct(make())) or x, (n, m))
    assert known == [True]


@pytest.mark.parametrize("make", REPEATING.values(), ids=REPEATING)
def test_places_that_may_repeat(make):
    known = []
    built(lambda x: known.append(distinct(make())) or x, (n, m))
    assert known == [False]


def test_a_write_through_a_mask_asks_for_no_repeats():
    def rule(x, mask, v, out_bar):
        op = ops.update(x, v, *ops.nonzero(mask, size=count)).op
        return op.opdef.vjp(out_bar, op.result, *op.operands)[:2]

    mask = ArrayType(boolean, (n, m))
    f = built(rule, (n, m), mask, (count,), (n, m))
    assert names_of(f) == ["nonzero", "index", "const", "view", "update"]


def test_take_along_reads_at_positions_of_one_axis():
    x = np.random.default_rng(0).normal(size=(3, 4))
    positions = np.argsort(x, axis=1)
    f = verify(built(lambda v, p: take_along(v, p, 1), (n, m), ArrayType(i64, (n, m))))
    np.testing.assert_array_equal(evaluate(f, x, positions)[0], np.sort(x, axis=1))


@pytest.mark.parametrize("index", [4, -5])
@pytest.mark.parametrize("name", ["index", "update", "accumulate"])
def test_an_index_outside_raises_as_in_numpy(name, index):
    operands = [np.zeros(4), np.zeros(2), np.array([0, index])]
    if name == "index":
        del operands[1]
    with pytest.raises(IndexError, match="out of bounds"):
        getattr(ops, name).reference(*operands)


X = ArrayType(f64, (4, 3))
I = ArrayType(i64, (5,))

REFUSED = {
    "takes 1 to 2 indices, not 0": lambda: ops.index.infer(X),
    "takes 1 to 2 indices, not 3": lambda: ops.index.infer(X, I, I, I),
    "must be of integers": lambda: ops.index.infer(X, ArrayType(f64, (5,))),
    "different shapes": lambda: ops.index.infer(X, I, ArrayType(i64, (4,))),
    r"takes f64\[5, 3\] at these indices": lambda: ops.update.infer(X, ArrayType(f64, (5,)), I),
    "takes f64 at these": lambda: ops.update.infer(X, ArrayType(f32), *[ArrayType(i32)] * 2),
    "not bool": lambda: ops.accumulate.infer(*[X.with_dtype(boolean)] * 2, I),
    "rank ≥ 1": lambda: ops.nonzero.infer(ArrayType(boolean), size=count),
    "symbol of its own": lambda: ops.nonzero.infer(ArrayType(boolean, (3,)), size=3),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items(), ids=REFUSED)
def test_what_does_not_fit_is_refused(message, make):
    with pytest.raises(TypeError, match=message):
        make()
