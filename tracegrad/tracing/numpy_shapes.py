"""Functions that see or join arrays in other shapes: reshape, transpose, concatenate, split."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tracegrad.errors import IndexOutOfRange, ShapeError
from tracegrad.ir.types import Dim, Shape, floor_div, product
from tracegrad.ops import access
from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim, dim_or_int, is_integer
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.sizes import shape_text
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer, view_by
from tracegrad.tracing.values import (
    cast,
    common_dtype,
    fresh,
    is_traced,
    operand,
    require_cast,
    to_shape,
    wrap,
)

__all__ = ["as_shape", "as_user_shape", "in_front", "joined", "viewed"]


def as_shape(shape: Any) -> Shape:
    """A shape argument (an integer or a sequence of them) as dimensions."""
    if is_integer(shape) or (isinstance(shape, Tracer) and not shape.ndim):
        return (as_dim(shape),)
    return tuple(as_dim(each) for each in shape)


def as_user_shape(shape: Iterable[Dim]) -> Any:
    """Dimensions as the user sees them."""
    return [dim_or_int(dim) for dim in shape]


def viewed(x: Tracer, make: Any, *args: Any) -> Tracer:
    """What a function of `tracegrad.ops.access` makes of ``x``: a view of it."""
    return view_by(x, lambda value: make(value, *args))


# --- shape ------------------------------------------------------------------------------------


@implements(np.reshape)
def reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    x = operand(a)
    if copy:
        x = fresh(x)
    wanted = as_shape(newshape if shape is None else shape)
    if order == "F":
        return np.transpose(_in_order(np.transpose(x), wanted[::-1]))
    if order != "C" and x.ndim > 1:
        raise refuse(
            "np.reshape",
            f"with order={order!r}, which depends on how an array lies in memory,",
            "write order='C' or order='F'",
        )
    return _in_order(x, wanted)


def _in_order(x: Any, wanted: Shape) -> Any:
    shape = _reshaped_shape(x, wanted)
    if x.stages and not _is_seen_as(x, shape):
        x = fresh(x)  # NumPy copies: what is written to the result does not reach ``x``
    return viewed(x, access.reshaped, shape)


def _is_seen_as(x: Tracer, shape: Shape) -> bool:
    """Whether the elements of a view lie so that NumPy can see them in another shape.

    Groups of axes, as many elements on either side, take each other's place if the old ones are
    apart like one axis.
    """
    sizes = current_trace().sizes
    steps = x.strides_in_memory()
    here, there = sizes.known_numbers(x.value.shape), sizes.known_numbers(shape)
    if steps is None or here is None or there is None or not all(there):
        return True
    old = [(size, step) for size, step in zip(here, steps, strict=True) if size != 1]
    new = [size for size in there if size != 1]
    at = k = 0
    while at < len(old):
        count, wanted = old[at][0], new[k]
        end, k = at + 1, k + 1
        while count != wanted:
            if count < wanted:
                count, end = count * old[end][0], end + 1
            else:
                wanted, k = wanted * new[k], k + 1
        for (_, step), (inner, inner_step) in itertools.pairwise(old[at:end]):
            if step != inner * inner_step:
                return False
        at = end
    return True


def _reshaped_shape(x: Tracer, wanted: Shape) -> Shape:
    """``wanted`` with -1 filled in, when ``x`` has as many elements."""
    sizes = current_trace().sizes
    total = product(x.value.shape)
    open_axes = [axis for axis, size in enumerate(wanted) if size == -1]
    if len(open_axes) > 1:
        raise ValueError("can only specify one unknown dimension")
    shape = wanted
    if open_axes:
        known = product(size for size in wanted if size != -1)
        if sizes.decide(known, "==", 0):
            raise _no_reshape(x, wanted)
        filled = floor_div(total, known)
        shape = tuple(filled if size == -1 else size for size in wanted)
    if not sizes.equal(product(shape), total):
        raise _no_reshape(x, wanted)
    return sizes.shape(shape)


def _no_reshape(x: Tracer, wanted: Shape) -> ShapeError:
    sizes = current_trace().sizes
    return ShapeError(
        f"cannot reshape array of size {sizes.number(product(x.value.shape))} into shape "
        f"{shape_text(sizes, wanted)}"
    )


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    return reshape(a, -1, order)


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    x = operand(a)
    if axes is None:
        return viewed(x, access.transpose)
    order = [normal_axis(axis, x.ndim) for axis in axes]
    if sorted(order) != list(range(x.ndim)):
        raise ValueError("axes don't match array")
    return viewed(x, access.transpose, order)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    x = operand(a)
    return viewed(x, access.swapaxes, normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim))


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    x = operand(a)
    sources = [source] if is_integer(source) else list(source)
    targets = [destination] if is_integer(destination) else list(destination)
    if len(sources) != len(targets):
        raise ValueError(
            "`source` and `destination` arguments must have the same number of elements"
        )
    sources = [normal_axis(axis, x.ndim) for axis in sources]
    targets = [normal_axis(axis, x.ndim) for axis in targets]
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return np.transpose(x, order)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    x = operand(a)
    moved = normal_axis(axis, x.ndim)
    to = start + x.ndim if start < 0 else start
    return np.moveaxis(x, moved, to - 1 if moved < to else to)


def in_front(x: Any, axes: Sequence[int]) -> Any:
    """``x`` with ``axes`` (from the front, in order) as one, the first; then the others."""
    if len(axes) == 1:
        return np.moveaxis(x, axes[0], 0) if axes[0] else x
    rest = [d for d in range(x.ndim) if d not in axes]
    count = functools.reduce(operator.mul, (x.shape[d] for d in axes), 1)
    return np.reshape(np.transpose(x, [*axes, *rest]), [count, *(x.shape[d] for d in rest)])


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    x = operand(a)
    new = [axis] if is_integer(axis) else list(axis)
    places = [normal_axis(each, x.ndim + len(new)) for each in new]
    if len(set(places)) != len(places):
        raise ValueError("repeated axis")
    return viewed(x, access.expand_dims, places)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    x = operand(a)
    sizes = current_trace().sizes
    if axis is None:
        # Whether an axis has size 1 is decided by this trace, and guarded.
        axes = [d for d, size in enumerate(x.value.shape) if sizes.equal(size, 1)]
    else:
        axes = list(normal_axes(axis, x.ndim))
        for d in axes:
            if not sizes.equal(x.value.shape[d], 1):
                raise ShapeError(
                    "cannot select an axis to squeeze out which has size not equal to one"
                )
    # Sizes that are 1 by a guard say so before they go.
    shape = [1 if d in axes else size for d, size in enumerate(x.value.shape)]
    return viewed(x, lambda value: access.squeeze(to_shape(value, tuple(shape)), axes))


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    x = operand(array)
    wanted = as_shape(shape)
    sizes = current_trace().sizes
    wording = (
        "operands could not be broadcast together with remapped shapes "
        f"[original->remapped]: {shape_text(sizes, x.value.shape)} and requested shape "
        f"{shape_text(sizes, wanted)}"
    )
    if x.ndim > len(wanted):
        raise ShapeError("input operand has more dimensions than allowed by the axis remapping")
    joined_shape = sizes.broadcast([wanted, x.value.shape], wording)
    if not all(map(sizes.equal, joined_shape, wanted)):
        raise ShapeError(wording)
    return view_by(x, lambda value: to_shape(value, sizes.shape(wanted)))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    xs = [operand(each) for each in args]
    shape = current_trace().sizes.broadcast([x.value.shape for x in xs])
    return tuple(view_by(x, lambda value: to_shape(value, shape)) for x in xs)


@implements(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    return _each(arys, lambda x: x.reshape(1) if not x.ndim else x)


@implements(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    return _each(arys, lambda x: x[(None,) * (2 - x.ndim)] if x.ndim < 2 else x)


@implements(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    def raised(x: Tracer) -> Any:
        if x.ndim >= 3:
            return x
        return x[:, :, None] if x.ndim == 2 else np.atleast_1d(x)[None, :, None]

    return _each(arys, raised)


def _each(arrays: Sequence[Any], change: Any) -> Any:
    results = tuple(change(operand(x)) for x in arrays)
    return results[0] if len(results) == 1 else results


@implements(np.shape)
def shape_(a: Any) -> Any:
    return operand(a).shape


@implements(np.ndim)
def ndim(a: Any) -> Any:
    return operand(a).ndim


@implements(np.size)
def size(a: Any, axis: Any = None) -> Any:
    x = operand(a)
    return x.size if axis is None else x.shape[normal_axis(axis, x.ndim)]


# --- joining ----------------------------------------------------------------------------------


def joined(
    arrays: Sequence[Any], axis: Any, dtype: Any = None, casting: Any = "same_kind"
) -> Tracer:
    """``np.concatenate``: one dtype, and all dimensions but ``axis`` equal."""
    if isinstance(arrays, Tracer):
        arrays = list(arrays)
    xs = [operand(x) for x in arrays]
    if not xs:
        raise ValueError("need at least one array to concatenate")
    if axis is None:
        xs, axis = [np.ravel(x) for x in xs], 0
    if not xs[0].ndim:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    which = normal_axis(axis, xs[0].ndim)
    sizes = current_trace().sizes
    for position, x in enumerate(xs[1:], 1):
        if x.ndim != xs[0].ndim:
            raise ShapeError(
                "all the input array dimensions except for the concatenation axis must match "
                f"exactly, but the array at index 0 has {xs[0].ndim} dimension(s) and the array "
                f"at index {position} has {x.ndim} dimension(s)"
            )
        for d in range(x.ndim):
            if d != which and not sizes.equal(x.value.shape[d], xs[0].value.shape[d]):
                raise ShapeError(
                    "all the input array dimensions except for the concatenation axis must match "
                    f"exactly, but along dimension {d}, the array at index 0 has size "
                    f"{sizes.number(xs[0].value.shape[d])} and the array at index {position} has "
                    f"size {sizes.number(x.value.shape[d])}"
                )
    common = common_dtype(xs) if dtype is None else dtype
    if dtype is not None or casting != "same_kind":
        for x in xs:
            require_cast(x.dtype, common, casting)
    values = [cast(x, common).value for x in xs]
    if len(values) == 1:
        return wrap(values[0])
    first = values[0].shape
    # Sizes found equal by a guard are written alike.
    values = [to_shape(v, (*first[:which], v.shape[which], *first[which + 1 :])) for v in values]
    return wrap(current_trace().emit("concatenate", *values, axis=which))


@implements(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: None = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    no_out(out, "np.concatenate")
    return joined(arrays, axis, dtype, casting)


@implements(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    no_out(out, "np.stack")
    if isinstance(arrays, RolledList):
        return np.moveaxis(operand(arrays), 0, axis)
    xs = [operand(x) for x in arrays]
    if not xs:
        raise ValueError("need at least one array to stack")
    sizes = current_trace().sizes
    for x in xs[1:]:
        same = x.ndim == xs[0].ndim and all(map(sizes.equal, x.value.shape, xs[0].value.shape))
        if not same:
            raise ShapeError("all input arrays must have the same shape")
    which = normal_axis(axis, xs[0].ndim + 1)
    return joined([np.expand_dims(x, which) for x in xs], which, dtype, casting)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    xs = [np.atleast_1d(operand(x)) for x in tup]
    return joined(xs, 0 if xs and xs[0].ndim == 1 else 1, dtype, casting)


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return joined([np.atleast_2d(operand(x)) for x in tup], 0, dtype, casting)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    return joined([np.atleast_3d(operand(x)) for x in tup], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    xs = [operand(x) for x in tup]
    return joined([np.atleast_2d(x).T if x.ndim < 2 else x for x in xs], 1)


@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    return joined([operand(arr), operand(values)], axis)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    x, which = _flat_or_axis(arr, axis)
    if isinstance(obj, list | tuple | np.ndarray | slice):
        return _inserted(x, which, obj, values)
    if not is_integer(obj):
        raise refuse(
            "np.insert", "at places that are known at run time only", "use np.concatenate of slices"
        )
    _check_place(obj, x, which, x.shape[which])
    new: Any = cast(operand(values), x.dtype)
    new = np.moveaxis(np.expand_dims(new, tuple(range(x.ndim - new.ndim))), 0, which)
    shape = [new.shape[d] if d == which else x.shape[d] for d in range(x.ndim)]
    head = (slice(None),) * which
    before, after = x[(*head, slice(None, obj))], x[(*head, slice(obj, None))]
    return joined([before, np.broadcast_to(new, shape), after], which)


def _inserted(x: Any, axis: int, places: Any, values: Any) -> Any:
    """``values``, one before each of the places, which are Python integers."""
    if isinstance(places, slice):
        places = range(*places.indices(current_trace().sizes.concrete(x.value.shape[axis])))
    if is_traced(places):
        raise refuse(
            "np.insert", "at places that are known at run time only", "use np.concatenate of slices"
        )
    given = np.asarray(places)
    given = np.flatnonzero(given) if given.dtype.kind == "b" else given.reshape(-1)
    spots = [int(k) for k in given]
    for spot in spots:
        _check_place(spot, x, axis, x.shape[axis])
    if any(spot < 0 for spot in spots):
        size = current_trace().sizes.concrete(x.value.shape[axis])
        spots = [spot % size if spot < 0 else spot for spot in spots]
    shape = [len(spots) if d == axis else x.shape[d] for d in range(x.ndim)]
    new: Any = np.broadcast_to(cast(operand(values), x.dtype), shape)
    head = (slice(None),) * axis
    pieces, start = [], 0
    for k in sorted(range(len(spots)), key=spots.__getitem__):
        pieces += [x[(*head, slice(start, spots[k]))], new[(*head, slice(k, k + 1))]]
        start = spots[k]
    return joined([*pieces, x[(*head, slice(start, None))]], axis)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    x, which = _flat_or_axis(arr, axis)
    if isinstance(obj, slice):
        gone = operand(np.zeros_like(x[(0,) * which + (slice(None),) + (0,) * (x.ndim - which - 1)],
                                     dtype=bool))  # fmt: skip
        gone[obj] = True
        return x[(*(slice(None),) * which, ~gone)]
    if isinstance(obj, np.ndarray | Tracer) and obj.dtype.kind == "b":
        return x[(*(slice(None),) * which, ~operand(obj))]
    places = [obj] if is_integer(obj) else obj
    known = isinstance(places, list | tuple | np.ndarray) and all(
        isinstance(k, int | np.integer) and not isinstance(k, bool) for k in places
    )
    if not known:
        raise refuse("np.delete", "at places that aren't given as integers", "use a boolean mask")
    gone = sorted({int(k) for k in places})
    if gone and gone[0] < 0 <= gone[-1]:
        raise refuse("np.delete", "at places from both ends", "count all places from one end")
    for k in gone:
        _check_place(k, x, which, x.shape[which] - 1)
    head = (slice(None),) * which
    starts = [None, *(k + 1 for k in gone)]
    if gone and gone[-1] == -1:
        starts.pop()
    stops = [*gone, None][: len(starts)]
    pieces = [
        x[(*head, slice(a, b))] for a, b in zip(starts, stops, strict=True) if a is None or a != b
    ]
    return joined(pieces, which)


def _flat_or_axis(arr: Any, axis: Any) -> tuple[Any, int]:
    x = operand(arr)
    if axis is None:
        return np.ravel(x), 0
    return x, normal_axis(axis, x.ndim)


def _check_place(place: Any, x: Any, axis: int, last: Any) -> None:
    if place > last or place < -x.shape[axis]:
        raise IndexOutOfRange(
            f"index {place} is out of bounds for axis {axis} with size {x.shape[axis]}"
        )


@implements(np.block)
def block(arrays: Any) -> Any:
    def depth(x: Any) -> int:
        return 1 + max(map(depth, x)) if isinstance(x, list) else 0

    def build(x: Any, axis: int, rank: int) -> Any:
        if not isinstance(x, list):
            found = operand(x)
            return found[(None,) * (rank - found.ndim)] if found.ndim < rank else found
        return joined([build(each, axis + 1, rank) for each in x], axis)

    levels = depth(arrays)

    def ranks(x: Any) -> int:
        return max(map(ranks, x)) if isinstance(x, list) else int(operand(x).ndim)

    rank = max(levels, ranks(arrays))
    return build(arrays, rank - levels, rank)


# --- splitting --------------------------------------------------------------------------------


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    x = operand(ary)
    if is_integer(indices_or_sections):
        size = x.shape[normal_axis(axis, x.ndim)]
        if size % indices_or_sections != 0:
            raise ValueError("array split does not result in an equal division")
    return np.array_split(x, indices_or_sections, axis)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    x = operand(ary)
    which = normal_axis(axis, x.ndim)
    if is_integer(indices_or_sections):
        count = int(indices_or_sections)
        if count <= 0:
            raise ValueError("number sections must be larger than 0.")
        size = x.shape[which]
        each, extra = size // count, int(size % count)
        bounds: list[Any] = [0]
        for k in range(count):
            bounds.append(bounds[-1] + each + (1 if k < extra else 0))
        bounds[-1] = size
    else:
        bounds = [0, *indices_or_sections, None]
    head = (slice(None),) * which
    return [x[(*head, slice(a, b))] for a, b in itertools.pairwise(bounds)]


@implements(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    return np.split(operand(ary), indices_or_sections, 0)


@implements(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    x = operand(ary)
    return np.split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


@implements(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    return np.split(operand(ary), indices_or_sections, 2)
