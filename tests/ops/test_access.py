"""Views compose when built, and view and pad are each other's transpose in simplest form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.building import built, names_of
from tracegrad import ops
from tracegrad.backend import runtime
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f32, f64, symbol
from tracegrad.ir.types import evaluate as size_of
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import (
    at,
    broadcast_to,
    expand_dims,
    flip,
    full,
    moveaxis,
    pad_into,
    reshaped,
    slice_,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from tracegrad.ops.reductions import mean, sum_to
from tracegrad.ops.registry import OperandText
from tracegrad.testing.ir import assert_same

n, m = symbol("n"), symbol("m")


def assert_built(make, shapes, text):
    assert_same(verify(built(make, *shapes)), parse(text))


def transposed(make, shape):
    """The transpose, out_bar → x_bar, of the one operation that ``make`` builds."""
    (op,) = built(make, shape).body.ops
    (x,) = op.operands
    back = built(
        lambda out_bar: op.opdef.vjp(out_bar, op.result, x, **op.attributes), op.result.type
    )
    return verify(back)


def assert_transposed(make, shape, text):
    assert_same(transposed(make, shape), parse(text))


# --- composing --------------------------------------------------------------------------------


def test_a_view_of_a_view_is_one_view():
    assert_built(
        lambda x: at(transpose(slice_(x, 0, 1, None)), 0, 2),
        [(n, m)],
        """
        func @f(%x: f64[n, m]) -> (f64[n - 1]) {
          %0: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0 + 1, 2]}
          return %0
        }""",
    )


def test_steps_multiply_and_offsets_add_up():
    assert_built(
        lambda x: flip(slice_(slice_(x, 0, 1, None), 0, 0, None, 2)),
        [(9,)],
        """
        func @f(%x: f64[9]) -> (f64[4]) {
          %0: f64[4] = view(%x) {shape=(4,), map=[-2*#0 + 7]}
          return %0
        }""",
    )


def test_a_broadcast_of_one_element_is_one_view():
    assert_built(
        lambda x: broadcast_to(at(x, 0, -1), (x.shape[0], 2)),
        [(n,)],
        """
        func @f(%x: f64[n]) -> (f64[n, 2]) {
          %0: f64[n, 2] = view(%x) {shape=(n, 2), map=[n - 1]}
          return %0
        }""",
    )


IDENTITIES = {
    "transposed twice": lambda x: transpose(transpose(x)),
    "flipped twice": lambda x: flip(flip(x, 1), 1),
    "expanded and squeezed": lambda x: squeeze(expand_dims(x, (0, 2))),
    "sliced from end to end": lambda x: slice_(x, 0, 0, None),
    "axes swapped and moved": lambda x: swapaxes(moveaxis(x, 0, 1), -1, -2),
    "broadcast to its shape": lambda x: broadcast_to(x, x.shape),
    "broadcast, then one of the copies": lambda x: at(broadcast_to(x, (5, *x.shape)), 0, 4),
    "reshaped there and back": lambda x: reshaped(reshaped(x, (n * m,)), (n, m)),
}


@pytest.mark.parametrize("make", IDENTITIES.values(), ids=IDENTITIES)
def test_an_identity_view_is_the_value_itself(make):
    f = built(make, (n, m))
    assert f.results == f.params


def test_a_reshape_that_only_moves_axes_of_size_one_is_a_view():
    assert names_of(built(lambda x: reshaped(x, (1, n, 1, m)), (n, 1, m))) == ["view"]


def test_the_reshape_of_a_reshape_is_one_reshape():
    assert names_of(built(lambda x: reshaped(reshaped(x, (6, n)), (n, 3, 2)), (2, 3, n))) == [
        "reshape"
    ]


# --- transposes -------------------------------------------------------------------------------


def test_the_transpose_of_a_permutation_is_a_view():
    assert_transposed(
        lambda x: transpose(x, (2, 0, 1)),
        (n, m, 3),
        """
        func @f(%out_bar: f64[3, n, m]) -> (f64[n, m, 3]) {
          %0: f64[n, m, 3] = view(%out_bar) {shape=(n, m, 3), map=[#2, #0, #1]}
          return %0
        }""",
    )


def test_the_transpose_of_a_flip_is_a_flip():
    assert_transposed(
        flip,
        (n,),
        """
        func @f(%out_bar: f64[n]) -> (f64[n]) {
          %0: f64[n] = view(%out_bar) {shape=(n,), map=[-#0 + n - 1]}
          return %0
        }""",
    )


def test_the_transpose_of_a_broadcast_is_a_sum():
    assert_transposed(
        lambda x: broadcast_to(x, (n, m)),
        (m,),
        """
        func @f(%out_bar: f64[n, m]) -> (f64[m]) {
          %0: f64[m] = sum(%out_bar) {axes=(0,)}
          return %0
        }""",
    )


def test_the_transpose_of_a_new_axis_drops_it_without_a_sum():
    assert_transposed(
        lambda x: expand_dims(x, 0),
        (n,),
        """
        func @f(%out_bar: f64[1, n]) -> (f64[n]) {
          %0: f64[n] = view(%out_bar) {shape=(n,), map=[0, #0]}
          return %0
        }""",
    )


def test_the_transpose_of_a_broadcast_axis_of_size_one_keeps_the_axis():
    assert_transposed(
        lambda x: broadcast_to(x, (n, m)),
        (n, 1),
        """
        func @f(%out_bar: f64[n, m]) -> (f64[n, 1]) {
          %0: f64[n] = sum(%out_bar) {axes=(1,)}
          %1: f64[n, 1] = view(%0) {shape=(n, 1), map=[#0]}
          return %1
        }""",
    )


def test_the_transpose_of_a_slice_is_a_pad():
    assert_transposed(
        lambda x: slice_(x, 0, 1, None),
        (n + 1, m),
        """
        func @f(%out_bar: f64[n, m]) -> (f64[n + 1, m]) {
          %0: f64[n + 1, m] = pad(%out_bar) {shape=(n + 1, m), map=[#0 + 1, #1]}
          return %0
        }""",
    )


def test_the_transpose_of_a_broadcast_slice_sums_then_pads():
    assert_transposed(
        lambda x: broadcast_to(slice_(x, 0, 1, None), (m, x.shape[0] - 1)),
        (n + 1,),
        """
        func @f(%out_bar: f64[m, n]) -> (f64[n + 1]) {
          %0: f64[n] = sum(%out_bar) {axes=(0,)}
          %1: f64[n + 1] = pad(%0) {shape=(n + 1,), map=[#0 + 1]}
          return %1
        }""",
    )


def test_the_transpose_of_a_pad_is_a_view():
    assert_transposed(
        lambda x: pad_into(x, (n, 5), [(0, 0, 1), (None, 2, 1)]),
        (n,),
        """
        func @f(%out_bar: f64[n, 5]) -> (f64[n]) {
          %0: f64[n] = view(%out_bar) {shape=(n,), map=[#0, 2]}
          return %0
        }""",
    )


def test_a_pad_of_a_pad_is_one_pad():
    assert_built(
        lambda x: pad_into(
            pad_into(x, (n + 1,), [(0, 1, 1)]), (2, 2 * n + 2), [(None, 1, 1), (0, 0, 2)]
        ),
        [(n,)],
        """
        func @f(%x: f64[n]) -> (f64[2, 2*n + 2]) {
          %0: f64[2, 2*n + 2] = pad(%x) {shape=(2, 2*n + 2), map=[1, 2*#0 + 2]}
          return %0
        }""",
    )


def test_a_pad_of_a_transpose_puts_the_value_in_from_where_it_is():
    assert_built(
        lambda x: pad_into(flip(transpose(x), 1), (n, m + 1), [(0, 0, 1), (1, 1, 1)]),
        [(m, n)],
        """
        func @f(%x: f64[m, n]) -> (f64[n, m + 1]) {
          %0: f64[n, m + 1] = pad(%x) {shape=(n, m + 1), map=[#1, -#0 + m]}
          return %0
        }""",
    )


def test_a_pad_of_a_broadcast_keeps_the_broadcast():
    f = built(lambda x: pad_into(broadcast_to(x, (3, n)), (4, n), [(0, 1, 1), (1, 0, 1)]), (n,))
    assert names_of(f) == ["view", "pad"]


# --- random chains against NumPy --------------------------------------------------------------


def draw_step(draw, shape):
    """One more function on arrays of ``shape``: (on values, on NumPy)."""
    rank = len(shape)
    kinds = ["expand", "broadcast"]
    if rank:
        kinds += ["transpose", "slice", "at", "flip"]
    kind = draw(st.sampled_from([k for k in kinds if k != "at" or any(shape)]))
    if kind == "expand":
        axis = draw(st.integers(0, rank))
        return lambda x: expand_dims(x, axis), lambda a: np.expand_dims(a, axis)
    if kind == "broadcast":
        wide = tuple(3 if d == 1 else d for d in shape)
        wide = (draw(st.integers(0, 2)), *wide) if rank < 3 else wide
        return lambda x: broadcast_to(x, wide), lambda a: np.broadcast_to(a, wide)
    if kind == "transpose":
        order = draw(st.permutations(range(rank)))
        return lambda x: transpose(x, order), lambda a: np.transpose(a, order)
    axis = draw(st.sampled_from([a for a in range(rank) if kind != "at" or shape[a]]))
    if kind == "flip":
        return lambda x: flip(x, axis), lambda a: np.flip(a, axis)
    if kind == "at":
        place = draw(st.integers(-shape[axis], shape[axis] - 1))
        return lambda x: at(x, axis, place), lambda a: np.take(a, place, axis)
    start, stop, step = draw(st.slices(shape[axis])).indices(shape[axis])
    count = len(range(start, stop, step))
    stop = start + count * step  # what slice_ wants: bounds that were clipped
    key = (slice(None),) * axis
    picked = np.arange(shape[axis])[slice(start, None if stop < 0 else stop, step)]
    return lambda x: slice_(x, axis, start, stop, step), lambda a: a[(*key, picked)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_chain_of_views_is_at_most_one_view_and_does_what_numpy_does(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    x = np.random.default_rng(0).normal(size=shape)
    expected, makers = x, []
    for _ in range(data.draw(st.integers(1, 5))):
        make, numpy = draw_step(data.draw, expected.shape)
        makers.append(make)
        expected = numpy(expected)

    def chain(value):
        for make in makers:
            value = make(value)
        return value

    f = verify(built(chain, shape))
    assert len(names_of(f)) <= 1
    np.testing.assert_array_equal(evaluate(f, x)[0], expected)
    if f.body.ops:
        out_bar = np.random.default_rng(1).normal(size=expected.shape)
        (x_bar,) = evaluate(transposed(chain, shape), out_bar)
        np.testing.assert_allclose(np.sum(x_bar * x), np.sum(out_bar * expected), atol=1e-12)
        text = view_text_of(f)
        shown = eval(text, {"np": np, "x": x[()]})
        np.testing.assert_array_equal(shown, expected, err_msg=text)


# --- printing ---------------------------------------------------------------------------------


def view_text_of(f):
    (op,) = f.body.ops
    (x,) = op.operands
    return op.opdef.array([OperandText("x", x.type)], op.result.type, op.attributes, str)


PRINTED = {
    "x[1:]": ((n,), lambda x: slice_(x, 0, 1, None)),
    "x[:-1]": ((n,), lambda x: slice_(x, 0, 0, n - 1)),
    "x[1:-1]": ((n,), lambda x: slice_(x, 0, 1, n - 1)),
    "x[::2]": ((n,), lambda x: slice_(x, 0, 0, None, 2)),
    "x[1::3]": ((n,), lambda x: slice_(x, 0, 1, None, 3)),
    "x[::-1]": ((n,), flip),
    "x[::-2]": ((n,), lambda x: slice_(x, 0, n - 1, None, -2)),
    "x[1:-1][::-1]": ((n,), lambda x: slice_(x, 0, n - 2, 0, -1)),
    "x[-1]": ((n,), lambda x: at(x, 0, -1)),
    "x[:, 0]": ((n, m), lambda x: at(x, 1, 0)),
    "x.T": ((n, m), transpose),
    "x[1:].T": ((n, m), lambda x: transpose(slice_(x, 0, 1, None))),
    "x.transpose(1, 2, 0)": ((n, m, 2), lambda x: transpose(x, (1, 2, 0))),
    "x[:, None]": ((n,), lambda x: expand_dims(x, 1)),
    "x.T[None]": ((n, m), lambda x: expand_dims(transpose(x), 0)),
    "np.broadcast_to(x, (m, n))": ((n,), lambda x: broadcast_to(x, (m, n))),
    "np.broadcast_to(x[:, None], (n, m))": (
        (n,),
        lambda x: broadcast_to(expand_dims(x, 1), (n, m)),
    ),
    "np.broadcast_to(x, (n, m))": ((n, 1), lambda x: broadcast_to(x, (n, m))),
    "np.broadcast_to(x[:2], (n, 2))": (
        (3,),
        lambda x: broadcast_to(slice_(x, 0, 0, 2), (n, 2)),
    ),
    "np.full((n, m), x)": ((), lambda x: broadcast_to(x, (n, m))),
    "np.full((n, m), x[0])": ((3,), lambda x: broadcast_to(at(x, 0, 0), (n, m))),
}


@pytest.mark.parametrize(("text", "case"), PRINTED.items(), ids=PRINTED)
def test_a_view_is_printed_in_its_simplest_form(text, case):
    shape, make = case
    f = built(make, shape)
    assert view_text_of(f) == text
    (op,) = f.body.ops
    for sizes in ({"n": 2, "m": 3}, {"n": 5, "m": 1}, {"n": 6, "m": 2}):
        x = np.random.default_rng(0).normal(size=tuple(size_of(d, sizes) for d in shape))
        wanted = tuple(size_of(d, sizes) for d in op.result.shape)
        map = tuple((a, size_of(o, sizes), s) for a, o, s in op.attributes["map"])
        expected = ops.view.reference(x, shape=wanted, map=map)
        shown = eval(text, {"np": np, "x": x[()], **sizes})
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("text", "shape", "whole", "map"),
    [
        ("np.pad(x, (1, 0))", (n - 1,), (n,), [(0, 1, 1)]),
        ("np.pad([x], (2, n - 3))", (), (n,), [(None, 2, 1)]),
        ("np.pad(x[:, None], ((0, 0), (0, 2)))", (n,), (n, 3), [(0, 0, 1), (None, 0, 1)]),
        ("runtime.pad(x, (2*n,), ((0, 0, 2),))", (n,), (2 * n,), [(0, 0, 2)]),
    ],
)
def test_a_pad_is_printed_as_numpy_where_numpy_has_it(text, shape, whole, map):
    f = built(lambda x: pad_into(x, whole, map), shape)
    assert view_text_of(f) == text
    (op,) = f.body.ops
    sizes = {"n": 4}
    x = np.random.default_rng(0).normal(size=tuple(size_of(d, sizes) for d in shape))
    expected = ops.pad.reference(x, shape=op.result.type.substitute(sizes).shape, map=tuple(map))
    shown = eval(text, {"np": np, "runtime": runtime, "x": x[()], **sizes})
    np.testing.assert_array_equal(shown, expected)


# --- other functions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "wide"),
    [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1), (2, 3)), ((1, 3), (4, 1, 3))],
)
def test_sum_to_is_the_transpose_of_broadcast_to(shape, wide):
    rng = np.random.default_rng(0)
    x, out_bar = rng.normal(size=shape), rng.normal(size=wide)
    (x_bar,) = evaluate(verify(built(lambda v: sum_to(v, shape), wide)), out_bar)
    assert x_bar.shape == shape
    np.testing.assert_allclose(np.sum(np.broadcast_to(x, wide) * out_bar), np.sum(x * x_bar))


def test_mean_divides_by_the_number_of_elements():
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    f = verify(built(lambda v: (mean(v), mean(v, (-1,))), ArrayType(f32, (n, 3))))
    whole, rows = evaluate(f, x)
    np.testing.assert_allclose(whole, x.mean(), rtol=1e-6)
    np.testing.assert_allclose(rows, x.mean(axis=1), rtol=1e-6)


def test_stack_joins_along_a_new_axis():
    x, y = np.arange(3.0), np.ones(3)
    f = verify(built(lambda a, b: stack([a, b], -1), (n,), (n,)))
    np.testing.assert_array_equal(evaluate(f, x, y)[0], np.stack([x, y], -1))


def test_full_is_a_constant_seen_through_a_view():
    f = built(lambda x: full((n, 2), 3, f32), (n,))
    assert names_of(f) == ["const", "view"]
    (result,) = evaluate(f, np.zeros(4))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.full((4, 2), 3.0))


# --- what is refused --------------------------------------------------------------------------

VECTOR = ArrayType(f64, (4,))

REFUSED = {
    "one entry per dimension": lambda: ops.view.infer(VECTOR, shape=(4,), map=()),
    "is not in 0..0": lambda: ops.view.infer(VECTOR, shape=(4,), map=((1, 0, 1),)),
    "named twice": lambda: ops.view.infer(
        ArrayType(f64, (4, 4)), shape=(4,), map=((0, 0, 1), (0, 0, 1))
    ),
    "step must be": lambda: ops.view.infer(VECTOR, shape=(4,), map=((0, 0, 0),)),
    "offset must be": lambda: ops.view.infer(VECTOR, shape=(4,), map=((0, 0.5, 1),)),
    "is read at 4": lambda: ops.view.infer(VECTOR, shape=(4,), map=((0, 1, 1),)),
    "is read at -1": lambda: ops.view.infer(VECTOR, shape=(3,), map=((0, 1, -1),)),
    "is read at n": lambda: ops.view.infer(ArrayType(f64, (n,)), shape=(n,), map=((0, 1, 1),)),
    "negative dimension": lambda: ops.view.infer(VECTOR, shape=(-1,), map=((0, 0, 1),)),
    "name every axis": lambda: ops.pad.infer(VECTOR, shape=(4,), map=((None, 0, 1),)),
    "cannot reshape": lambda: ops.reshape.infer(VECTOR, shape=(5,)),
    "along axis 0": lambda: ops.concatenate.infer(VECTOR, ArrayType(f32, (4,)), axis=0),
    "not an axis": lambda: ops.concatenate.infer(VECTOR, axis=1),
    "can't be broadcast": lambda: built(lambda x: broadcast_to(x, (3,)), (2,)),
    "has not size 1": lambda: built(lambda x: squeeze(x, 0), (n,)),
    "not a permutation": lambda: built(lambda x: transpose(x, (0, 0)), (n, m)),
    "out of bounds": lambda: built(lambda x: flip(x, 2), (n, m)),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items(), ids=REFUSED)
def test_what_does_not_fit_is_refused(message, make):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_reference_refuses_to_read_outside():
    with pytest.raises(IndexError, match="index 4 is out of bounds for an axis with size 4"):
        ops.view.reference(np.zeros(4), shape=(2,), map=((0, 3, 1),))


def test_a_part_that_may_be_empty_begins_at_the_end_but_does_not_reach_beyond():
    n, k = symbol("n"), symbol("k")
    x = ArrayType(f64, (n,))
    assert ops.view.infer(x, shape=(k,), map=((0, n, 1),)).shape == (k,)
    for shape, start in (((n,), 1), ((k,), n + 1), ((1,), n)):
        with pytest.raises(TypeError, match="is read at"):
            ops.view.infer(x, shape=shape, map=((0, start, 1),))
