"""Running sums and products along an axis, and ``prod``, whose derivative is made of them.

Derivatives of products never divide: with zeros among the factors they would be wrong. The
product of all *other* elements is a running product from the front times one from the back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, product
from tracegrad.ops.access import concatenate, full, reshaped, slice_, transpose
from tracegrad.ops.constants import Dims, dtype_text
from tracegrad.ops.reductions import (
    number_reduction,
    reduction_samples,
    reduction_text,
    restored,
    sum_over,
)
from tracegrad.ops.registry import Emit, Sample, general, linear


def _scan_type(name: str) -> Callable[..., ArrayType]:
    def infer(x: ArrayType, *, axis: Any, reverse: Any = False) -> ArrayType:
        if x.dtype.is_bool:
            raise TypeError(f"{name}: numbers are needed, not bool: cast first")
        if not isinstance(axis, int) or not 0 <= axis < x.rank:
            raise TypeError(f"{name}: axis {axis!r} is not an axis of {x}")
        if not isinstance(reverse, bool):
            raise TypeError(f"{name}: reverse must be a bool, not {reverse!r}")
        return x

    return infer


def _scan_text(name: str) -> Emit:
    def text(
        operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
    ) -> str:
        axis, dtype = attributes["axis"], result.dtype
        turned = f"[{':, ' * axis}::-1]" if attributes.get("reverse", False) else ""
        along = f", axis={axis}" if result.rank > 1 else ""
        # NumPy adds up small integers in a larger dtype.
        widened = dtype.is_integer and dtype.numpy.itemsize < 8
        kind = f", dtype={dtype_text(dtype)}" if widened else ""
        return f"np.{name}({operands[0]}{turned}{along}{kind}){turned}"

    return text


def _scan_reference(scan: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, *, axis: int, reverse: bool = False) -> np.ndarray:
        x = np.asarray(x)
        if not reverse:
            return scan(x, axis=axis, dtype=x.dtype)
        return np.flip(scan(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)

    return reference


_SHAPES: tuple[tuple[int, ...], ...] = ((4,), (1,), (0,), (2, 3), (2, 0), (2, 1, 3))


def _scan_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((np.asarray(rng.normal(size=shape)),), {"axis": axis, "reverse": reverse})
        for shape in _SHAPES
        for axis in range(len(shape))
        for reverse in (False, True)
    ]


# --- cumsum -----------------------------------------------------------------------------------


def _cumsum_transpose(out_bar: Value, x: Value, *, axis: int, reverse: bool = False) -> Value:
    """Each element went into all later sums: their cotangents are summed from the other end."""
    result: Value = cumsum(out_bar, axis=axis, reverse=not reverse)
    return result


cumsum = linear(
    "cumsum",
    doc="Running sum along an axis, from the front or (``reverse``) from the back.",
    infer=_scan_type("cumsum"),
    reference=_scan_reference(np.cumsum),
    array=_scan_text("cumsum"),
    transpose=_cumsum_transpose,
    samples=_scan_samples,
)


# --- elements moved by one place --------------------------------------------------------------


def _slab(x: Value, axis: int, value: float) -> Value:
    """One slice of ``value``, to lengthen ``x`` with along ``axis``."""
    return full([1 if a == axis else size for a, size in enumerate(x.shape)], value, x.dtype)


def _shifted(x: Value, axis: int, reverse: bool, first: float) -> Value:
    """``x`` one place later in the order of the scan, ``first`` in the first place."""
    size = x.shape[axis]
    slab = _slab(x, axis, first)
    if reverse:
        return slice_(concatenate(x, slab, axis=axis), axis, 1, size + 1)
    return slice_(concatenate(slab, x, axis=axis), axis, 0, size)


# --- recurrence -------------------------------------------------------------------------------


def _recurrence_type(
    factors: ArrayType, terms: ArrayType, *, axis: Any, reverse: Any = False
) -> ArrayType:
    if factors != terms or not terms.dtype.is_float:
        raise TypeError(f"recurrence: one floating type is needed, not {factors} and {terms}")
    return _scan_type("recurrence")(terms, axis=axis, reverse=reverse)


def _recurrence_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    turned = ", reverse=True" if attributes.get("reverse", False) else ""
    return f"runtime.recurrence({operands[0]}, {operands[1]}, {attributes['axis']}{turned})"


def _recurrence_reference(
    factors: np.ndarray, terms: np.ndarray, *, axis: int, reverse: bool = False
) -> np.ndarray:
    out = np.array(terms)
    rows, f = np.moveaxis(out, axis, 0), np.moveaxis(np.asarray(factors), axis, 0)
    order = range(len(rows))[::-1] if reverse else range(len(rows))
    for last, here in pairwise(order):
        rows[here] += f[last] * rows[last]
    return out


def recurrence_vjp(
    out_bar: Value, out: Value, factors: Value, terms: Value, *, axis: int, reverse: bool = False
) -> tuple[Value, Value]:
    """The recurrence run backwards.

    terms_bar[i] = out_bar[i] + factors[i]·terms_bar[i + 1];
    factors_bar[i] = terms_bar[i + 1]·out[i].
    """
    used = _shifted(factors, axis, reverse, 0)
    terms_bar: Value = recurrence(used, out_bar, axis=axis, reverse=not reverse)
    return out * _shifted(terms_bar, axis, not reverse, 0), terms_bar


def recurrence_jvp(
    tangents: Sequence[Value | None],
    out: Value,
    factors: Value,
    terms: Value,
    *,
    axis: int,
    reverse: bool = False,
) -> Value | None:
    """The same recurrence for the tangents, with factors_dot[i - 1]·out[i - 1] among the terms."""
    factors_dot, total = tangents
    if factors_dot is not None:
        more = _shifted(factors_dot * out, axis, reverse, 0)
        total = more if total is None else total + more
    if total is None:
        return None
    out_dot: Value = recurrence(factors, total, axis=axis, reverse=reverse)
    return out_dot


def _recurrence_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((sample.operands[0], rng.normal(size=sample.operands[0].shape)), sample.attributes)
        for sample in _scan_samples(rng)
    ]


recurrence = general(
    "recurrence",
    doc="""Linear recurrence along an axis: out[i] = terms[i] + factors[i - 1]·out[i - 1].

    With ``reverse`` from the back. What derivatives of running products are made of.""",
    infer=_recurrence_type,
    reference=_recurrence_reference,
    array=_recurrence_text,
    vjp=recurrence_vjp,
    jvp=recurrence_jvp,
    samples=_recurrence_samples,
    source="Blelloch (1990), Prefix sums and their applications, 1.4",
)


# --- cumprod ----------------------------------------------------------------------------------


def _earlier(x: Value, axis: int, reverse: bool) -> Value:
    """For each element the product of those that come before it in the scan."""
    result: Value = cumprod(_shifted(x, axis, reverse, 1), axis=axis, reverse=reverse)
    return result


def cumprod_vjp(
    out_bar: Value, out: Value, x: Value, *, axis: int, reverse: bool = False
) -> tuple[Value]:
    """x_bar[i] = (product before i) · Σ_{k ≥ i} out_bar[k] · (product of x between i and k)."""
    sums = recurrence(x, out_bar, axis=axis, reverse=not reverse)
    return (_earlier(x, axis, reverse) * sums,)


def cumprod_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, *, axis: int, reverse: bool = False
) -> Value | None:
    """out_dot[k] = (product before k) · x_dot[k] + x[k] · out_dot[k - 1]."""
    (x_dot,) = tangents
    if x_dot is None:
        return None
    following = _shifted(x, axis, not reverse, 1)
    terms = _earlier(x, axis, reverse) * x_dot
    out_dot: Value = recurrence(following, terms, axis=axis, reverse=reverse)
    return out_dot


def _with_zeros(rng: np.random.Generator) -> list[np.ndarray]:
    """Factors with one, two and only zeros."""
    one, two = rng.normal(size=(4,)), rng.normal(size=(3, 4))
    one[1] = 0.0
    two[0, 2] = two[1, 0] = two[1, 3] = two[2, 0] = 0.0
    return [one, two, np.zeros(3)]


def _cumprod_samples(rng: np.random.Generator) -> list[Sample]:
    return _scan_samples(rng) + [
        Sample((x,), {"axis": x.ndim - 1, "reverse": reverse}, "zeros")
        for x in _with_zeros(rng)
        for reverse in (False, True)
    ]


cumprod = general(
    "cumprod",
    doc="Running product along an axis, from the front or (``reverse``) from the back.",
    infer=_scan_type("cumprod"),
    reference=_scan_reference(np.cumprod),
    array=_scan_text("cumprod"),
    vjp=cumprod_vjp,
    jvp=cumprod_jvp,
    samples=_cumprod_samples,
)


# --- prod -------------------------------------------------------------------------------------


def _others(x: Value, axes: tuple[int, ...]) -> Value:
    """For each element of ``x`` the product of all others that it is multiplied with."""
    kept = [axis for axis in range(x.rank) if axis not in axes]
    order = [*kept, *axes]
    last = len(kept)
    shape = [x.shape[axis] for axis in kept]
    rows = reshaped(transpose(x, order), [*shape, product(x.shape[axis] for axis in axes)])
    others = _earlier(rows, last, False) * _earlier(rows, last, True)
    others = reshaped(others, [x.shape[axis] for axis in order])
    return transpose(others, [order.index(axis) for axis in range(x.rank)])


def prod_vjp(out_bar: Value, out: Value, x: Value, *, axes: tuple[int, ...]) -> tuple[Value]:
    """x_bar = out_bar · product of the others."""
    return (restored(out_bar, x, axes) * _others(x, axes),)


def prod_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, *, axes: tuple[int, ...]
) -> Value | None:
    """out_dot = Σ x_dot · product of the others."""
    (x_dot,) = tangents
    return None if x_dot is None else sum_over(x_dot * _others(x, axes), axes)


def _prod_samples(rng: np.random.Generator) -> list[Sample]:
    return reduction_samples(rng) + [
        Sample((x,), {"axes": axes}, "zeros")
        for x in _with_zeros(rng)
        for axes in {(x.ndim - 1,), tuple(range(x.ndim))}
    ]


prod = general(
    "prod",
    doc="Product over axes, in the operand's dtype.",
    infer=number_reduction("prod"),
    reference=lambda x, *, axes: np.prod(x, axis=axes, dtype=np.asarray(x).dtype),
    array=reduction_text("prod"),
    vjp=prod_vjp,
    jvp=prod_jvp,
    samples=_prod_samples,
)
