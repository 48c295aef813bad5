"""Functions that move elements: reshape, transpose, join, split, repeat, pad."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.ir.types import Dim, Shape, floor_div, product
from tracegrad.ops import access
from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.indexing import take_along
from tracegrad.tracing.integers import as_dim, dim_or_int, is_integer
from tracegrad.tracing.sizes import shape_text
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer, view_from
from tracegrad.tracing.values import cast, common_dtype, fresh, operand, to_shape, wrap

__all__ = ["as_shape", "joined"]


def as_shape(shape: Any) -> Shape:
    """A shape argument (an integer or a sequence of them) as dimensions."""
    if is_integer(shape):
        return (as_dim(shape),)
    return tuple(as_dim(each) for each in shape)


def as_user_shape(shape: Iterable[Dim]) -> Any:
    """Dimensions as the user sees them."""
    return [dim_or_int(dim) for dim in shape]


def _viewed(x: Tracer, make: Any, *args: Any) -> Tracer:
    return view_from(x, current_trace().run(make, x.value, *args))


# --- shape ------------------------------------------------------------------------------------


@implements(np.reshape)
def reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    x = operand(a)
    wanted: Any = as_shape(newshape if shape is None else shape)
    if order == "F":
        return np.transpose(np.reshape(np.transpose(x), wanted[::-1]))
    if order not in ("C", "A"):
        raise refuse("np.reshape", f"with order={order!r}")
    return _viewed(x, access.reshaped, _reshaped_shape(x, wanted))


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
    return np.reshape(operand(a), -1, order="F" if order == "F" else "C")


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    x = operand(a)
    if axes is None:
        return _viewed(x, access.transpose)
    order = [normal_axis(axis, x.ndim) for axis in axes]
    if sorted(order) != list(range(x.ndim)):
        raise ValueError("axes don't match array")
    return _viewed(x, access.transpose, order)


@implements(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    x = operand(a)
    return _viewed(x, access.swapaxes, normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim))


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


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    x = operand(a)
    new = [axis] if is_integer(axis) else list(axis)
    places = [normal_axis(each, x.ndim + len(new)) for each in new]
    if len(set(places)) != len(places):
        raise ValueError("repeated axis")
    return _viewed(x, access.expand_dims, places)


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
    return _viewed(x, access.squeeze, axes)


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
    return view_from(x, to_shape(x.value, sizes.shape(wanted)))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    xs = [operand(each) for each in args]
    shape = current_trace().sizes.broadcast([x.value.shape for x in xs])
    return tuple(view_from(x, to_shape(x.value, shape)) for x in xs)


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


def joined(arrays: Sequence[Any], axis: Any, dtype: Any = None) -> Tracer:
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
    values = [cast(x, common).value for x in xs]
    if len(values) == 1:
        return wrap(values[0])
    return wrap(current_trace().emit("concatenate", *values, axis=which))


@implements(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: None = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> Any:  # fmt: skip
    no_out(out, "np.concatenate")
    return joined(arrays, axis, dtype)


@implements(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    no_out(out, "np.stack")
    xs = [operand(x) for x in arrays]
    if not xs:
        raise ValueError("need at least one array to stack")
    sizes = current_trace().sizes
    for x in xs[1:]:
        same = x.ndim == xs[0].ndim and all(map(sizes.equal, x.value.shape, xs[0].value.shape))
        if not same:
            raise ShapeError("all input arrays must have the same shape")
    which = normal_axis(axis, xs[0].ndim + 1)
    return joined([np.expand_dims(x, which) for x in xs], which, dtype)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    xs = [np.atleast_1d(operand(x)) for x in tup]
    return joined(xs, 0 if xs and xs[0].ndim == 1 else 1, dtype)


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return joined([np.atleast_2d(operand(x)) for x in tup], 0, dtype)


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


# --- turning and repeating --------------------------------------------------------------------


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    x = operand(m)
    return _viewed(x, access.flip, normal_axes(axis, x.ndim))


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    return np.flip(operand(m), 1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    return np.flip(operand(m), 0)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    x = operand(m)
    first, second = (normal_axis(axis, x.ndim) for axis in axes)
    if first == second:
        raise ValueError("Axes must be different.")
    turns = k % 4
    if turns == 0:
        return x[...]
    if turns == 2:
        return np.flip(np.flip(x, first), second)
    if turns == 1:
        return np.swapaxes(np.flip(x, second), first, second)
    return np.flip(np.swapaxes(x, first, second), second)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = operand(a)
    if axis is None:
        return np.roll(np.ravel(x), shift, 0).reshape(x.shape)
    shifts = list(shift) if isinstance(shift, tuple | list) else [shift]
    axes = list(axis) if isinstance(axis, tuple | list) else [axis]
    count = max(len(shifts), len(axes))
    shifts, axes = (each * count if len(each) == 1 else each for each in (shifts, axes))
    for by, which in zip(shifts, axes, strict=True):
        d = normal_axis(which, x.ndim)
        size = x.shape[d]
        if size == 0:
            continue
        back = -(by % size)
        if back == 0:
            continue
        head = (slice(None),) * d
        x = joined([x[(*head, slice(back, None))], x[(*head, slice(None, back))]], d)
    return fresh(x)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    x = operand(A)
    times = as_shape(reps)
    rank = max(x.ndim, len(times))
    x = x[(None,) * (rank - x.ndim)] if rank > x.ndim else x
    times = (1,) * (rank - len(times)) + times
    paired: list[Dim] = []
    for count, size in zip(times, x.value.shape, strict=True):
        paired += [count, size]
    spread = x[tuple(part for _ in range(rank) for part in (None, slice(None)))]
    wide = np.broadcast_to(spread, as_user_shape(paired))
    final: Any = [dim_or_int(c * s) for c, s in zip(times, x.value.shape, strict=True)]
    return fresh(np.reshape(wide, final))


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    x = operand(a)
    if axis is None:
        x = np.ravel(x)
    which = normal_axis(0 if axis is None else axis, x.ndim)
    if isinstance(repeats, list | tuple | np.ndarray) and np.size(repeats) == 1:
        repeats = int(np.reshape(repeats, ())[()])
    if not is_integer(repeats):
        if isinstance(repeats, list | tuple | np.ndarray):
            size = current_trace().sizes.concrete(x.value.shape[which])
            return np.take(x, np.repeat(np.arange(size), repeats), axis=which)
        raise refuse("np.repeat", "with traced counts", "give one count, or make them static")
    x = np.expand_dims(x, which + 1)
    shape = list(x.shape)
    shape[which + 1] = repeats
    final = [*shape[:which], shape[which] * repeats, *shape[which + 2 :]]
    return fresh(np.reshape(np.broadcast_to(x, shape), final))


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    x = operand(array)
    widths = _pairs(pad_width, x.ndim)
    if mode == "constant":
        values = _pairs(kwargs.pop("constant_values", 0), x.ndim)
        if kwargs:
            raise refuse("np.pad", f"with {', '.join(kwargs)}")
        return _pad_constant(x, widths, values)
    if kwargs:
        raise refuse("np.pad", f"with {', '.join(kwargs)}")
    for axis, (before, after) in enumerate(widths):
        head = (slice(None),) * axis
        if mode == "edge":
            size = x.shape[axis]
            picks = [np.repeat(x[(*head, slice(0, 1))], before, axis), x]
            picks.append(np.repeat(x[(*head, slice(size - 1, None))], after, axis))
        elif mode == "wrap":
            size = x.shape[axis]
            _short(before <= size and after <= size, mode)
            picks = [x[(*head, slice(size - before, None))], x, x[(*head, slice(0, after))]]
        elif mode in ("reflect", "symmetric"):
            skip = 1 if mode == "reflect" else 0
            size = x.shape[axis]
            _short(before + skip <= size and after + skip <= size, mode)
            low = x[(*head, slice(skip, before + skip))]
            high = x[(*head, slice(size - after - skip, size - skip))]
            picks = [np.flip(low, axis), x, np.flip(high, axis)]
        else:
            raise refuse("np.pad", f"with mode={mode!r}", "use constant, edge, wrap or reflect")
        x = joined(picks, axis)
    return fresh(x)


def _short(fits: Any, mode: str) -> None:
    if not fits:
        raise refuse("np.pad", f"with mode={mode!r} wider than the array")


def _pairs(given: Any, rank: int) -> list[tuple[Any, Any]]:
    """NumPy's shorthand for a pair per axis: one number, one pair, or all pairs."""
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, list | tuple):
        return [(given, given)] * rank
    rows = [tuple(row) if isinstance(row, list | tuple) else row for row in given]
    if not any(isinstance(row, tuple) for row in rows):
        if len(rows) == 1:
            return [(rows[0], rows[0])] * rank
        return [(rows[0], rows[1])] * rank
    pairs = [(row[0], row[-1]) if isinstance(row, tuple) else (row, row) for row in rows]
    return pairs * rank if len(pairs) == 1 else pairs


def _pad_constant(x: Tracer, widths: Any, values: Any) -> Any:
    zero = all(isinstance(v, int | float) and v == 0 for pair in values for v in pair)
    if zero and x.dtype.kind == "f":
        shape = [
            as_dim(low) + size + as_dim(high)
            for (low, high), size in zip(widths, x.value.shape, strict=True)
        ]
        entries = tuple((axis, as_dim(low), 1) for axis, (low, _) in enumerate(widths))
        return wrap(current_trace().run(access.pad_into, x.value, tuple(shape), entries))
    for axis, ((low, high), (first, last)) in enumerate(zip(widths, values, strict=True)):
        shape_low, shape_high = list(x.shape), list(x.shape)
        shape_low[axis], shape_high[axis] = low, high
        edges = [
            cast(operand(np.broadcast_to(operand(value), shape)), x.dtype)
            for value, shape in ((first, shape_low), (last, shape_high))
        ]
        x = joined([edges[0], x, edges[1]], axis)
    return x


# --- picking ----------------------------------------------------------------------------------


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Any:
    no_out(out, "np.take")
    if mode != "raise":
        raise refuse("np.take", f"with mode={mode!r}", "clip or wrap the indices yourself")
    x = operand(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    if is_integer(indices):
        return x[(*(slice(None),) * which, indices)]
    index = operand(indices)
    if index.dtype.kind not in "iu":
        raise TypeError(
            f"Cannot cast array data from {index.dtype!r} to {np.dtype(np.int64)!r} according to "
            "the rule 'safe'"
        )
    return take_along(x, index, which)


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    x, index = operand(arr), operand(indices)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    if index.ndim != x.ndim:
        raise ShapeError("`indices` and `arr` must have the same number of dimensions")
    key: list[Any] = []
    for d in range(x.ndim):
        if d == which:
            key.append(index)
        else:
            shape = [1] * x.ndim
            shape[d] = -1
            key.append(operand(_positions(x.shape[d])).reshape(shape))
    return x[tuple(key)]


def _positions(size: Any) -> Tracer:
    from tracegrad.ir.types import i64

    return wrap(current_trace().emit("iota", size=as_dim(size), dtype=i64))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: None = None) -> Any:
    no_out(out, "np.compress")
    x = operand(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    return x[(*(slice(None),) * which, operand(condition))]


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return np.ravel(operand(arr))[np.ravel(operand(condition)) != 0]


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = operand(a)
    if x.ndim < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    first, second = normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim)
    if first == second:
        raise ValueError("axis1 and axis2 cannot be the same")
    x = np.moveaxis(x, (first, second), (-2, -1))
    rows, columns = x.shape[-2:]
    down, right = max(-offset, 0), max(offset, 0)
    from tracegrad.tracing.integers import smallest

    length = smallest(rows - down, columns - right)
    if length < 0:
        length = 0
    steps = _positions(length)
    rank = x.ndim - 2
    return x[(*(slice(None),) * rank, steps + down, steps + right)]


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    x = operand(v)
    if x.ndim == 2:
        return np.diagonal(x, k)
    if x.ndim != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = x.shape[0] + abs(k)
    rows, columns = _positions(size)[:, None], _positions(size)[None, :]
    # Row i of the result holds v[i - down] at the diagonal; elsewhere 0.
    down = max(-k, 0)
    spread = np.pad(x, (down, abs(k) - down))
    zero = np.zeros((), x.dtype)
    return np.where(columns - rows == k, spread[:, None], zero)


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return np.diag(np.ravel(operand(v)), k)


def _triangle(m: Any, k: int, keep: Any) -> Any:
    x = operand(m)
    x = x if x.ndim > 1 else np.broadcast_to(x, (x.shape[0], x.shape[0]))
    rows, columns = _positions(x.shape[-2])[:, None], _positions(x.shape[-1])[None, :]
    return np.where(keep(columns - rows, k), x, np.zeros((), x.dtype))


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, lambda difference, limit: difference <= limit)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, lambda difference, limit: difference >= limit)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    xs = [np.ravel(operand(x)) for x in xi]
    rank = len(xs)
    places = list(range(rank))
    if indexing == "xy" and rank > 1:
        places[0], places[1] = 1, 0
    shaped = []
    for x, place in zip(xs, places, strict=True):
        shape = [1] * rank
        shape[place] = -1
        shaped.append(x.reshape(shape))
    grids: Any = shaped if sparse else np.broadcast_arrays(*shaped)
    return tuple(Tracer(grid.value) for grid in grids)


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return fresh(operand(a))


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return operand(x).astype(dtype, copy=copy)


@implements(np.ascontiguousarray, np.asfortranarray, np.require)
def contiguous(a: Any, dtype: Any = None, requirements: Any = None) -> Any:
    x = operand(a)
    return x if dtype is None else x.astype(dtype, copy=False)
