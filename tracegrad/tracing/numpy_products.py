"""Products: dot, matmul, inner, outer, einsum, tensordot, trace, and their relatives."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.ir.types import Dim, i64, product
from tracegrad.tracing.axes import no_out, normal_axis
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import dim_or_int, is_integer
from tracegrad.tracing.sizes import shape_text
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import (
    cast,
    common_dtype,
    operand,
    require_cast,
    to_shape,
    wrap,
)


def _pair(a: Any, b: Any) -> tuple[Any, Any]:
    x, y = operand(a), operand(b)
    dtype = common_dtype([x, y])
    return cast(x, dtype), cast(y, dtype)


def _dot(x: Any, y: Any) -> Any:
    """x's last with y's first axis, ranks 1 and 2; integers without BLAS."""
    if x.dtype.kind == "f":
        y = wrap(to_shape(y.value, (x.value.shape[-1], *y.value.shape[1:])))
        return wrap(current_trace().emit("dot", x.value, y.value))
    if x.dtype.kind == "b":
        return _dot(cast(x, np.int64), cast(y, np.int64)) > 0
    if y.ndim == 1:
        return np.sum(x * y, axis=-1, dtype=x.dtype)
    return np.sum(x[..., :, None] * y, axis=-2, dtype=x.dtype)


@implements(np.dot)
def dot(a: Any, b: Any, out: None = None) -> Any:
    no_out(out, "np.dot")
    x, y = _pair(a, b)
    if not x.ndim or not y.ndim:
        return x * y
    contracted = 0 if y.ndim == 1 else y.ndim - 2
    sizes = current_trace().sizes
    k, l = x.value.shape[-1], y.value.shape[contracted]
    y = _of_length(y, contracted, k)
    if not sizes.equal(k, y.value.shape[contracted]):
        raise ShapeError(
            f"shapes {shape_text(sizes, x.value.shape)} and {shape_text(sizes, y.value.shape)} "
            f"not aligned: {sizes.number(k)} (dim {x.ndim - 1}) != {sizes.number(l)} "
            f"(dim {contracted})"
        )
    if x.ndim <= 2 and y.ndim <= 2:
        return _dot(x, y)
    return np.tensordot(x, y, axes=((-1,), (contracted,)))


def _of_length(y: Tracer, axis: int, size: Dim) -> Tracer:
    """``y``; of ``size`` along the axis if that is to be checked at run time."""
    sizes, shape = current_trace().sizes, y.value.shape
    if sizes.equal(size, shape[axis]) or not sizes.same_at_run_time(size, shape[axis]):
        return y
    return wrap(to_shape(y.value, (*shape[:axis], size, *shape[axis + 1 :])))


@implements(np.matmul)
def matmul(
    x1: Any, x2: Any, /, out: None = None, *, axes: Any = None, dtype: Any = None,
    casting: Any = "same_kind", order: Any = "K", subok: bool = True,
) -> Any:  # fmt: skip
    no_out(out, "np.matmul")
    if axes is not None:
        first, second, last = axes
        found: Any = matmul(_last_axes(x1, first), _last_axes(x2, second), dtype=dtype)
        return _placed(found, last)
    x, y = _pair(x1, x2)
    if dtype is not None:
        for each in (x, y):
            require_cast(each.dtype, dtype, casting)
        x, y = cast(x, dtype), cast(y, dtype)
    for position, each in enumerate((x, y)):
        if not each.ndim:
            raise ValueError(
                f"matmul: Input operand {position} does not have enough dimensions (has 0, "
                "gufunc core with signature (n?,k),(k,m?)->(n?,m?) requires 1)"
            )
    sizes = current_trace().sizes
    contracted = 0 if y.ndim == 1 else y.ndim - 2
    k, l = x.value.shape[-1], y.value.shape[contracted]
    y = _of_length(y, contracted, k)
    if not sizes.equal(k, y.value.shape[contracted]):
        raise ShapeError(
            f"matmul: Input operand 1 has a mismatch in its core dimension "
            f"0, with gufunc signature (n?,k),(k,m?)->(n?,m?) (size {sizes.number(l)} "
            f"is different from {sizes.number(k)})"
        )
    if x.ndim <= 2 and y.ndim <= 2:
        return _dot(x, y)
    if y.ndim <= 2:
        return _rows_dot(x, y)
    if x.ndim == 1:
        return np.squeeze(_batched(x[None, :], y), -2)
    return _batched(x, y)


def _rows_dot(x: Tracer, y: Tracer) -> Any:
    """A batch of matrices times one matrix or vector: one product of all rows."""
    lead = x.shape[:-1]
    rows = np.reshape(x, (dim_or_int(product(x.value.shape[:-1])), x.shape[-1]))
    result = _dot(rows, y)
    return np.reshape(result, (*lead, *result.shape[1:]))


def _batched(x: Tracer, y: Tracer) -> Any:
    sizes = current_trace().sizes
    batch = sizes.broadcast([x.value.shape[:-2], y.value.shape[:-2]])
    if x.dtype.kind != "f":
        return np.sum(x[..., :, :, None] * y[..., None, :, :], axis=-2, dtype=x.dtype)
    left = to_shape(x.value, (*batch, *x.value.shape[-2:]))
    right = to_shape(y.value, (*batch, x.value.shape[-1], y.value.shape[-1]))
    return wrap(current_trace().emit("matmul", left, right))


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    x, y = _pair(a, b)
    if not x.ndim or not y.ndim:
        return x * y
    return np.tensordot(x, y, axes=((-1,), (-1,)))


@implements(np.outer)
def outer(a: Any, b: Any, out: None = None) -> Any:
    no_out(out, "np.outer")
    x, y = np.ravel(operand(a)), np.ravel(operand(b))
    return x[:, None] * y[None, :]


@implements(np.linalg.matmul)
def linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(operand(x1), operand(x2))


@implements(np.linalg.outer)
def linalg_outer(x1: Any, x2: Any, /) -> Any:
    return outer(x1, x2)


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return np.dot(np.ravel(operand(a)), np.ravel(operand(b)))


def _last_axes(x: Any, axes: Any) -> Any:
    """``axes`` of an operand, as ``axes=`` names them, moved behind the others."""
    given = (axes,) if is_integer(axes) else tuple(axes)
    return np.moveaxis(operand(x), given, range(-len(given), 0))


def _placed(result: Any, axes: Any) -> Any:
    """The last axes of a result at the places that ``axes=`` names."""
    given = (axes,) if is_integer(axes) else tuple(axes)
    return np.moveaxis(result, range(-len(given), 0), given) if given else result


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(
    x1: Any, x2: Any, /, *, axis: int = -1, axes: Any = None, keepdims: bool = False,
    dtype: Any = None,
) -> Any:  # fmt: skip
    if axes is not None:
        x1, x2 = _last_axes(x1, axes[0]), _last_axes(x2, axes[1])
    terms: Any = operand(x1) * operand(x2)
    return np.sum(terms, axis=axis, dtype=dtype or terms.dtype, keepdims=keepdims)


for _name in ("matvec", "vecmat"):
    if hasattr(np, _name):  # from NumPy 2.2 on

        @implements(getattr(np, _name))
        def matrix_and_vector(x1: Any, x2: Any, /, *, _first: bool = _name == "vecmat") -> Any:
            if _first:
                return (operand(x1)[..., None, :] @ operand(x2))[..., 0, :]
            return (operand(x1) @ operand(x2)[..., None])[..., 0]


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y = _pair(a, b)
    if is_integer(axes):
        count = int(axes)
        left, right = list(range(x.ndim - count, x.ndim)), list(range(count))
    else:
        given = [[each] if is_integer(each) else list(each) for each in axes]
        left = [normal_axis(axis, x.ndim) for axis in given[0]]
        right = [normal_axis(axis, y.ndim) for axis in given[1]]
    sizes = current_trace().sizes
    fits = len(left) == len(right) and all(
        sizes.equal(x.value.shape[i], y.value.shape[j]) for i, j in zip(left, right, strict=False)
    )
    if not fits:
        raise ShapeError("shape-mismatch for sum")
    if not left:
        return x[(..., *(None,) * y.ndim)] * y
    keep_x = [axis for axis in range(x.ndim) if axis not in left]
    keep_y = [axis for axis in range(y.ndim) if axis not in right]
    x = np.transpose(x, [*keep_x, *left])
    y = np.transpose(y, [*right, *keep_y])
    rows = x.shape[: len(keep_x)]
    columns = y.shape[len(right) :]
    return np.reshape(
        _dot(_flat(x, len(keep_x), True), _flat(y, len(right), False)), (*rows, *columns)
    )


def _flat(x: Any, split: int, left: bool) -> Any:
    """``x`` with its first ``split`` and its other axes made one each (or none, if none)."""
    first, rest = x.value.shape[:split], x.value.shape[split:]
    dims = [product(first)] if first or not left else []
    if rest or left:
        dims.append(product(rest))
    return np.reshape(x, [dim_or_int(d) for d in dims])


@implements(np.linalg.trace)
def matrix_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(operand(x), offset, -2, -1, dtype)


@implements(np.trace)
def trace(
    a: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Any:
    no_out(out, "np.trace")
    return np.sum(np.diagonal(operand(a), offset, axis1, axis2), axis=-1, dtype=dtype)


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    x, y = operand(a), operand(b)
    rank = max(x.ndim, y.ndim)
    x = x[(None,) * (rank - x.ndim)] if x.ndim < rank else x
    y = y[(None,) * (rank - y.ndim)] if y.ndim < rank else y
    wide_x = x[tuple(part for _ in range(rank) for part in (slice(None), None))]
    wide_y = y[tuple(part for _ in range(rank) for part in (None, slice(None)))]
    shape = [p * q for p, q in zip(x.shape, y.shape, strict=True)]
    return np.reshape(wide_x * wide_y, shape)


@implements(np.cross, np.linalg.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = np.moveaxis(operand(a), axisa, -1), np.moveaxis(operand(b), axisb, -1)
    lengths = [each.shape[-1] for each in (x, y)]
    if any(length != 2 and length != 3 for length in lengths):
        raise ValueError("incompatible dimensions for cross product (dimension must be 2 or 3)")
    if lengths[0] == 2 and lengths[1] == 2:
        return x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]
    around = [(0, 0)]
    if lengths[0] == 2:
        x = np.pad(x, [*around * (x.ndim - 1), (0, 1)])
    if lengths[1] == 2:
        y = np.pad(y, [*around * (y.ndim - 1), (0, 1)])
    x0, x1, x2 = (x[..., k] for k in range(3))
    y0, y1, y2 = (y[..., k] for k in range(3))
    parts = [x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0]
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any], *, out: None = None) -> Any:
    no_out(out, "np.linalg.multi_dot")
    xs = [operand(x) for x in arrays]
    if len(xs) < 2:
        raise ValueError("Expecting at least two arrays.")
    # From the side that is a vector, if one is: then no product is of two matrices.
    if xs[-1].ndim == 1:
        result = xs[-1]
        for x in reversed(xs[:-1]):
            result = np.dot(x, result)
        return result
    result = xs[0]
    for x in xs[1:]:
        result = np.dot(result, x)
    return result


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: Any) -> Any:
    x = operand(a)
    power = int(n)
    if power < 0:
        return matrix_power(np.linalg.inv(x), -power)
    result = None
    while power:
        if power & 1:
            result = x if result is None else np.matmul(result, x)
        power >>= 1
        x = np.matmul(x, x) if power else x
    if result is None:
        size = x.value.shape[-1]
        steps = operand(wrap(current_trace().emit("iota", size=size, dtype=i64)))
        same = cast(steps[:, None] == steps[None, :], x.dtype)
        return Tracer(operand(np.broadcast_to(operand(same), x.shape)).value)
    return result


# --- einsum -----------------------------------------------------------------------------------


@implements(np.einsum)
def einsum(
    *operands: Any, out: None = None, optimize: Any = False, dtype: Any = None, order: str = "K",
    casting: str = "safe",
) -> Any:  # fmt: skip
    no_out(out, "np.einsum")
    if not operands or not isinstance(operands[0], str):
        operands = _with_subscripts(operands)
    xs = [operand(x) for x in operands[1:]]
    if dtype is not None:
        xs = [cast(x, dtype) for x in xs]
    inputs, result = _subscripts(operands[0], xs)
    terms = [_single(labels, x) for labels, x in zip(inputs, xs, strict=True)]
    while len(terms) > 1:
        (labels_x, x), (labels_y, y) = terms[:2]
        needed = set(result).union(*(labels for labels, _ in terms[2:]))
        terms[:2] = [_contracted(labels_x, x, labels_y, y, needed)]
    ((labels, x),) = terms
    gone = tuple(axis for axis, label in enumerate(labels) if label not in result)
    x = np.sum(x, axis=gone, dtype=x.dtype) if gone else x
    labels = [label for label in labels if label in result]
    return Tracer(operand(np.transpose(x, [labels.index(label) for label in result])).value)


def _with_subscripts(given: Sequence[Any]) -> tuple[Any, ...]:
    """``einsum``'s other form, ``(x, [0, 1], y, [1, 2], [0, 2])``, with a string of subscripts."""

    def text(labels: Sequence[Any]) -> str:
        return "".join("..." if k is ... else string.ascii_letters[int(k)] for k in labels)

    pairs, result = list(zip(given[::2], given[1::2], strict=False)), given[len(given) // 2 * 2 :]
    left = ",".join(text(labels) for _, labels in pairs)
    return (f"{left}->{text(result[0])}" if result else left, *(x for x, _ in pairs))


def _subscripts(text: str, xs: Sequence[Tracer]) -> tuple[list[list[str]], list[str]]:
    """Labels of each operand and of the result; an ellipsis becomes labels of its own."""
    text = text.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(xs):
        raise ValueError(
            f"{'fewer' if len(parts) > len(xs) else 'more'} operands provided to einstein sum "
            "function than specified in the subscripts string"
        )
    spare = [label for label in string.ascii_letters if label not in text]
    width = max(
        (x.ndim - len(part.replace("...", "")) for part, x in zip(parts, xs, strict=True)
         if "..." in part), default=0,
    )  # fmt: skip
    extra = spare[:width]
    inputs: list[list[str]] = []
    for part, x in zip(parts, xs, strict=True):
        own = x.ndim - len(part.replace("...", "")) if "..." in part else 0
        labels = list(part.replace("...", "".join(extra[width - own :])))
        if len(labels) != x.ndim:
            raise ValueError(
                f"einstein sum subscripts string {part!r} does not fit an operand of "
                f"{x.ndim} dimensions"
            )
        inputs.append(labels)
    if arrow:
        result = list(right.replace("...", "".join(extra)))
    else:
        everything = [label for labels in inputs for label in labels]
        once = sorted({la for la in everything if everything.count(la) == 1} - set(extra))
        result = [*extra, *once]
    if len(set(result)) != len(result) or not set(result) <= set().union(*inputs):
        raise ValueError("einstein sum subscripts string has an output label that is not an input")
    return inputs, result


def _single(labels: Sequence[str], x: Any) -> tuple[list[str], Any]:
    """One operand with repeated labels replaced by the diagonal."""
    found = list(labels)
    while len(set(found)) < len(found):
        label = next(each for each in found if found.count(each) > 1)
        first = found.index(label)
        second = found.index(label, first + 1)
        sizes = current_trace().sizes
        if not sizes.equal(x.value.shape[first], x.value.shape[second]):
            raise ShapeError(f"dimensions in operand for collapsing index '{label}' don't match")
        x = np.diagonal(x, 0, first, second)
        found = [la for axis, la in enumerate(found) if axis not in (first, second)] + [label]
    return found, x


def _contracted(
    labels_x: list[str], x: Any, labels_y: list[str], y: Any, needed: set[str]
) -> tuple[list[str], Any]:
    """The product of two operands, summed over what nothing else needs."""
    x, labels_x = _summed(x, labels_x, needed.union(labels_y))
    y, labels_y = _summed(y, labels_y, needed.union(labels_x))
    sizes = current_trace().sizes
    shared = [label for label in labels_x if label in labels_y]
    for label in shared:
        a = x.value.shape[labels_x.index(label)]
        b = y.value.shape[labels_y.index(label)]
        sizes.broadcast(
            [(a,), (b,)],
            f"operands could not be broadcast together with remapped shapes: label '{label}' "
            f"has sizes {sizes.number(a)} and {sizes.number(b)}",
        )
    summed = [label for label in shared if label not in needed]
    batch = [label for label in shared if label in needed]
    only_x = [label for label in labels_x if label not in shared]
    only_y = [label for label in labels_y if label not in shared]
    repeated = any(
        x.value.shape[labels_x.index(la)] != y.value.shape[labels_y.index(la)] for la in shared
    )
    if summed and not repeated and not batch:
        left, right = ([labels.index(la) for la in summed] for labels in (labels_x, labels_y))
        return [*only_x, *only_y], np.tensordot(x, y, axes=(left, right))
    if summed and only_x and only_y and not repeated and len(summed) == 1:
        return _as_matmul(x, labels_x, y, labels_y, batch, only_x, summed, only_y)
    order = [*batch, *only_x, *only_y, *summed]
    both = _aligned(x, labels_x, order) * _aligned(y, labels_y, order)
    if summed:
        both = np.sum(
            both, axis=tuple(range(len(order) - len(summed), len(order))), dtype=both.dtype
        )
    return [*batch, *only_x, *only_y], both


def _summed(x: Any, labels: list[str], needed: set[str]) -> tuple[Any, list[str]]:
    gone = tuple(axis for axis, label in enumerate(labels) if label not in needed)
    if not gone:
        return x, labels
    return np.sum(x, axis=gone, dtype=x.dtype), [la for la in labels if la in needed]


def _aligned(x: Any, labels: list[str], order: Sequence[str]) -> Any:
    moved = np.transpose(x, [labels.index(label) for label in order if label in labels])
    return moved[tuple(slice(None) if label in labels else None for label in order)]


def _as_matmul(
    x: Any, labels_x: list[str], y: Any, labels_y: list[str], batch: list[str],
    rows: list[str], summed: list[str], columns: list[str],
) -> tuple[list[str], Any]:  # fmt: skip
    x = np.transpose(x, [labels_x.index(label) for label in (*batch, *rows, *summed)])
    y = np.transpose(y, [labels_y.index(label) for label in (*batch, *summed, *columns)])
    b = len(batch)
    lead, inner = x.shape[:b], x.shape[-1]
    row_shape, column_shape = x.shape[b:-1], y.shape[b + 1 :]

    def total(shape: Sequence[Any]) -> Any:
        result: Any = 1
        for each in shape:
            result = result * each
        return result

    left = np.reshape(x, (*lead, total(row_shape), inner))
    right = np.reshape(y, (*lead, inner, total(column_shape)))
    result = np.reshape(np.matmul(left, right), (*lead, *row_shape, *column_shape))
    return [*batch, *rows, *columns], result
