"""What the operations of loop form mean when the interpreter runs them."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.ir.types import ArrayType, boolean, f32, f64, i32, i64, symbol

n = symbol("n")
BUFFER = ArrayType(f64, (n, 3))
INDEX = ArrayType(i64)


def test_what_was_not_written_shows():
    assert np.isnan(ops.alloc.reference(shape=(2,), dtype=f64)).all()
    np.testing.assert_array_equal(ops.alloc.reference(shape=(2,), dtype=f64, fill=0), [0.0, 0.0])


def test_stores_write_the_buffer_they_are_given():
    buffer = np.zeros((2, 2))
    ops.store.reference(3.0, buffer, 1, 0)
    ops.add_store.reference(0.5, buffer, 1, 0)
    assert ops.load.reference(buffer, np.int64(1), np.int64(0)) == 3.5


@pytest.mark.parametrize("place", [(2, 0), (0, -1)])
def test_a_buffer_is_never_touched_outside(place):
    buffer = np.zeros((2, 2))
    for touch in (
        lambda: ops.load.reference(buffer, *place),
        lambda: ops.store.reference(1.0, buffer, *place),
        lambda: ops.add_store.reference(1.0, buffer, *place),
    ):
        with pytest.raises(IndexError, match="out of bounds"):
            touch()
    assert not buffer.any()


@pytest.mark.parametrize(("index", "place"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_check_index_counts_negative_ones_from_the_end(index, place):
    assert ops.check_index.reference(index, 3, axis=0) == place


@pytest.mark.parametrize("index", [3, -4])
def test_check_index_raises_outside(index):
    with pytest.raises(IndexError, match=f"index {index} is out of bounds for axis 1 with size 3"):
        ops.check_index.reference(index, 3, axis=1)


def test_an_alias_is_the_same_memory():
    buffer = np.zeros((2, 3))
    ops.store.reference(1.0, ops.alias.reference(buffer, shape=(6,)), 4)
    assert buffer[1, 1] == 1.0


def test_an_alias_of_what_is_not_contiguous_is_refused():
    with pytest.raises(ValueError, match="strides"):
        ops.alias.reference(np.zeros((2, 3)).T, shape=(6,))


@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_gemm_writes_the_product(turn_a, turn_b):
    rng = np.random.default_rng(0)
    a, b, out = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), np.full((2, 4), np.nan)
    ops.gemm.reference(
        a.T if turn_a else a, b.T if turn_b else b, out, transpose_a=turn_a, transpose_b=turn_b
    )
    np.testing.assert_allclose(out, a @ b)


def test_what_must_stay_in_order_says_so():
    ordered = {"alloc", "load", "store", "add_store", "check_index", "raise", "parallel"}
    ordered |= {"gemm", "gemm_part"}
    assert {op.name for op in ops.REGISTRY.values() if op.effects} == ordered


A, B = ArrayType(f64, (2, 3)), ArrayType(f64, (3, 4))

REFUSED = {
    "fill must be": lambda: ops.alloc.infer(shape=(2,), dtype=f64, fill=1),
    "dtype must be": lambda: ops.alloc.infer(shape=(2,), dtype="f64"),
    "has not the size": lambda: ops.alias.infer(A, shape=(5,)),
    "needs 2 indices": lambda: ops.load.infer(BUFFER, INDEX),
    "must be an i64 scalar": lambda: ops.load.infer(BUFFER, INDEX, ArrayType(i32)),
    "a scalar f64 is needed": lambda: ops.store.infer(ArrayType(f32), BUFFER, INDEX, INDEX),
    "add_store: a scalar": lambda: ops.add_store.infer(ArrayType(boolean), BUFFER, INDEX, INDEX),
    "i64 scalars": lambda: ops.check_index.infer(INDEX, ArrayType(i32), axis=0),
    "axis must be": lambda: ops.check_index.infer(INDEX, INDEX, axis=-1),
    "can't be multiplied": lambda: ops.gemm.infer(A, B, ArrayType(f64, (2, 4)), transpose_a=True),
    r"is f64\[2, 4\]": lambda: ops.gemm.infer(A, B, ArrayType(f32, (2, 4))),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items(), ids=REFUSED)
def test_what_does_not_fit_is_refused(message, make):
    with pytest.raises(TypeError, match=message):
        make()
