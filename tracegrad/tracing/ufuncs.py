"""Ufuncs on tracers: ``__array_ufunc__`` and the operators.

A ufunc is an op of the registry (``stands_for``), or a written composition
(`tracegrad.tracing.numpy_elementwise`). Dtypes come from NumPy's own loops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, UnsupportedError
from tracegrad.ops.registry import REGISTRY, OpDef
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import (
    as_operand,
    cast,
    elementwise,
    is_number,
    lift,
    loop_dtypes,
    to_shape,
    weak_kind,
)

__all__ = ["COMPOSED", "apply_operator", "call_ufunc", "inplace", "op_for"]

COMPOSED: dict[np.ufunc, Callable[..., Any]] = {}
"""Ufuncs written as combinations of others; they take tracers of the loop's dtypes."""

OPS_BY_NAME: dict[str, str] = {}
"""Names of SciPy's ufuncs that are one op."""

BY_NAME: dict[str, Callable[..., Any]] = {}
"""Names of SciPy's ufuncs that are combinations."""

# On booleans NumPy's arithmetic means logic.
_ON_BOOLEANS: dict[np.ufunc, str] = {
    np.add: "logical_or",
    np.multiply: "logical_and",
    np.maximum: "logical_or",
    np.minimum: "logical_and",
    np.fmax: "logical_or",
    np.fmin: "logical_and",
    np.bitwise_or: "logical_or",
    np.bitwise_and: "logical_and",
    np.bitwise_xor: "logical_xor",
    np.invert: "logical_not",
    np.logical_or: "logical_or",
    np.logical_and: "logical_and",
    np.logical_xor: "logical_xor",
    np.logical_not: "logical_not",
}

_ON_INTEGERS_NOTHING = frozenset([np.floor, np.ceil, np.trunc, np.rint, np.positive, np.conjugate])
_ON_INTEGERS_KNOWN = {np.isfinite: True, np.isnan: False, np.isinf: False}


@functools.cache
def op_for(function: Any) -> OpDef | None:
    """The op of the registry that stands for a function."""
    for opdef in REGISTRY.values():
        if any(function is known for known in opdef.stands_for):
            return opdef
    return None


def apply_operator(ufunc: np.ufunc, *operands: Any) -> Any:
    """A Python operator: like the ufunc, but Python numbers give Python numbers."""
    for x in operands:
        if not _is_operand(x):
            if ufunc not in (np.equal, np.not_equal) and isinstance(x, Number | str | None):
                lift(x)  # says why not
            return NotImplemented
    if ufunc is np.matmul:
        return call_ufunc(ufunc, "__call__", operands, {})
    if ufunc not in _KEEPING_BOOLEANS:
        operands = tuple(map(_counted, operands))
    result = apply(ufunc, operands)
    if all(_is_pythons(x) for x in operands if not isinstance(x, list)):
        result.weak = result.dtype.kind in "fib"
    return result


def _is_pythons(x: Any) -> bool:
    return not isinstance(weak_kind(x), np.dtype) or isinstance(x, bool) or _is_truth(x)


def _is_truth(x: Any) -> bool:
    """Whether ``x`` is one of Python's booleans, which count as integers."""
    return isinstance(x, Tracer) and x.weak and x.dtype.kind == "b"


def _counted(x: Any) -> Any:
    return Tracer(cast(x, np.int64).value, weak=True) if _is_truth(x) else x


_KEEPING_BOOLEANS = frozenset([
    np.equal, np.not_equal, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.logical_not,
])  # fmt: skip


def _is_operand(x: Any) -> bool:
    from tracegrad.tracing.integers import TracedInt

    kinds = (Tracer, TracedInt, np.ndarray, np.generic, int, float, list, tuple)
    return isinstance(x, kinds)


def apply(
    ufunc: np.ufunc, operands: Sequence[Any], signature: Any = None, casting: str = "same_kind"
) -> Any:
    """``ufunc(*operands)`` with NumPy's promotion and broadcasting."""
    operands = [x if is_number(x) or isinstance(x, Tracer) else _lifted(x) for x in operands]
    wanted = loop_dtypes(ufunc, operands)
    if signature is not None or casting != "same_kind":
        wanted = _chosen_loop(ufunc, operands, signature, casting)
    inputs = wanted[: ufunc.nin]
    logic = _ON_BOOLEANS.get(ufunc)
    if logic is not None and all(kind.kind == "b" for kind in inputs):
        return elementwise(
            logic, [as_operand(x, kind) for x, kind in zip(operands, inputs, strict=True)]
        )
    if ufunc in _LOGICAL:
        return elementwise(ufunc.__name__, [truth(x) for x in operands])
    if ufunc in _COMPARISONS:
        beyond = _beyond(ufunc, operands, inputs)
        if beyond is not None:
            return beyond
    tracers = [as_operand(x, kind) for x, kind in zip(operands, inputs, strict=True)]
    if ufunc in _ON_INTEGERS_NOTHING and inputs[0].kind in "iub":
        return Tracer(tracers[0].value)
    if ufunc in _ON_INTEGERS_KNOWN and inputs[0].kind in "iub":
        answer = as_operand(_ON_INTEGERS_KNOWN[ufunc], np.dtype(bool))
        return Tracer(to_shape(answer.value, tracers[0].value.shape))
    if ufunc in _COMPARISONS and inputs[0] != inputs[1]:
        return _signs_apart(ufunc, *tracers)
    composed = COMPOSED.get(ufunc)
    if composed is not None:
        return composed(*tracers)
    opdef = op_for(ufunc)
    if opdef is None and getattr(np, ufunc.__name__, None) is not ufunc:
        composed = BY_NAME.get(ufunc.__name__)
        if composed is not None:
            return composed(*tracers)
        opdef = REGISTRY.get(OPS_BY_NAME.get(ufunc.__name__, ""))
    if opdef is None:
        raise unsupported_ufunc(ufunc)
    try:
        return elementwise(opdef, tracers)
    except TypeError as error:
        raise DTypeError(f"np.{ufunc.__name__}: {error}") from error


_COMPARISONS = frozenset([
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
])  # fmt: skip


def _beyond(ufunc: np.ufunc, operands: Sequence[Any], inputs: Sequence[np.dtype]) -> Any:
    """A comparison of an array with a Python integer that its dtype can't hold."""
    for place, (x, kind) in enumerate(zip(operands, inputs, strict=True)):
        if isinstance(x, int) and not isinstance(x, bool) and kind.kind in "iu":
            limits = np.iinfo(kind)
            if not limits.min <= x <= limits.max:
                sides = [0.0, 0.0]
                sides[place] = 1.0 if x > 0 else -1.0
                answer = as_operand(bool(ufunc(*sides)), np.dtype(bool))
                return Tracer(to_shape(answer.value, lift(operands[1 - place]).value.shape))
    return None


def _signs_apart(ufunc: np.ufunc, x: Tracer, y: Tracer) -> Any:
    """A comparison of uint64 with int64, which no integer dtype holds both."""
    signed_first = x.dtype.kind == "i"
    signed = x if signed_first else y
    answer = bool(ufunc(-1, 0) if signed_first else ufunc(0, -1))
    alike = elementwise(ufunc.__name__, [cast(x, np.uint64), cast(y, np.uint64)])
    return _function(np.where, signed < 0, answer, alike)


_LOGICAL = frozenset([np.logical_and, np.logical_or, np.logical_xor, np.logical_not])


def truth(given: Any) -> Tracer:
    """``given != 0`` as booleans."""
    x = lift(given)
    if x.dtype.kind == "b":
        return x
    return elementwise("not_equal", [x, as_operand(0, x.dtype)])


def _lifted(x: Any) -> Any:
    from tracegrad.tracing.integers import TracedInt

    return x if isinstance(x, TracedInt | np.generic) else lift(x)


def _chosen_loop(
    ufunc: np.ufunc, operands: Sequence[Any], signature: Any, casting: Any
) -> tuple[np.dtype, ...]:
    kinds = tuple(weak_kind(x) for x in operands) + (None,) * ufunc.nout
    signature = signature or (None,) * ufunc.nargs
    try:
        return ufunc.resolve_dtypes(kinds, signature=signature, casting=casting)
    except TypeError as error:
        raise DTypeError(str(error)) from error


def _signature(ufunc: np.ufunc, dtype: Any, given: Any) -> Any:
    """The dtypes of the loop that ``dtype=`` or ``signature=`` asks for."""
    if given is None:
        return None if dtype is None else (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout
    if isinstance(given, str):
        given = tuple(given.replace("->", ""))
    if not isinstance(given, tuple):
        given = (*(None,) * ufunc.nin, *(given,) * ufunc.nout)
    return tuple(None if each is None else np.dtype(each) for each in given)


def unsupported_ufunc(ufunc: np.ufunc) -> UnsupportedError:
    from tracegrad.tracing.dispatch import nearest, qualified_name

    return UnsupportedError(f"{qualified_name(ufunc)} is not supported", way_out=nearest(ufunc))


def call_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What ``__array_ufunc__`` does: a call, a reduction, or an outer product."""
    from tracegrad.tracing.dispatch import qualified_name

    name = qualified_name(ufunc) + ("" if method == "__call__" else f".{method}")
    kwargs = {k: v for k, v in kwargs.items() if k == "axis" or not _is_default(k, v)}
    if "out" in kwargs:
        from tracegrad.tracing.writing import put_out

        out = kwargs.pop("out")
        chosen = kwargs.pop("where", None) if method == "__call__" else None
        result = call_ufunc(ufunc, method, inputs, kwargs)
        casting = kwargs.get("casting", "same_kind")
        if chosen is not None:
            result = _where(ufunc, chosen, result, out, casting)
        if method == "__call__":
            result = _spread(result, out)
        return put_out(out, result, ufunc.__name__, casting)
    if method == "at":
        return _at(ufunc, *inputs)
    if method == "__call__":
        return _call(ufunc, name, inputs, kwargs)
    if method == "outer":
        return _outer(ufunc, inputs, kwargs)
    if method in ("reduce", "accumulate", "reduceat") and ufunc.nin == 2 and ufunc.nout == 1:
        return _folded(ufunc, method, name, inputs, kwargs)
    raise UnsupportedError(
        f"{name} is not supported", way_out="use np.sum, np.prod, np.max, np.min or np.cumsum"
    )


def _folded(
    ufunc: np.ufunc, method: str, name: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from tracegrad.tracing import numpy_folding

    reduction = _REDUCTIONS.get(ufunc)
    running = _RUNNING.get(ufunc)
    names = _ARGUMENTS[method]
    given = dict(zip(names, inputs, strict=False)) | kwargs
    given = {key: value for key, value in given.items() if value is not np._NoValue}
    given.setdefault("axis", 0)
    if method == "reduce" and reduction is not None:
        if reduction in (np.all, np.any) and given.get("initial") is not None:
            start = truth(given.pop("initial"))
            return ufunc(_reduced_by(reduction, given.pop("array"), given), start)
        return _reduced_by(reduction, given.pop("array"), given)
    if method == "accumulate" and running is not None:
        return _function(running, given.pop("array"), **given)
    if given.pop("out", None) is not None:
        raise UnsupportedError(f"{name} with out= is not supported", way_out="use its result")
    array = given.pop("array")
    if method == "accumulate":
        return numpy_folding.accumulated(ufunc, array, **given)
    if method == "reduce":
        return numpy_folding.reduced(ufunc, array, **given)

    def reduce(part: Any, **options: Any) -> Any:
        if reduction is not None:
            return _reduced_by(reduction, part, options)
        return numpy_folding.reduced(ufunc, part, **options)

    return numpy_folding.reduced_at(ufunc, reduce, array, **given)


def _reduced_by(reduction: Callable[..., Any], array: Any, options: dict[str, Any]) -> Any:
    """A reduction that NumPy has a function for, of which only sum and prod take a dtype."""
    x = lift(array)
    if reduction not in (np.sum, np.prod):
        kind = options.pop("dtype", None)
        x = x if kind is None else cast(x, kind)
    return _function(reduction, x, **options)


_ARGUMENTS = {
    "reduce": ("array", "axis", "dtype", "out", "keepdims", "initial", "where"),
    "accumulate": ("array", "axis", "dtype", "out"),
    "reduceat": ("array", "indices", "axis", "dtype", "out"),
}


def _where(ufunc: np.ufunc, chosen: Any, result: Any, out: Any, casting: Any) -> Any:
    """``result`` where ``chosen`` is true; elsewhere ``out`` keeps what it has."""
    if isinstance(result, tuple):
        return tuple(
            made if each is None else _where(ufunc, chosen, made, each, casting)
            for made, each in zip(result, out, strict=True)
        )
    (kept,) = out if isinstance(out, tuple) else (out,)
    mask = lift(chosen)
    if mask.dtype.kind != "b":
        raise DTypeError(
            f"Cannot cast array data from {mask.dtype!r} to {np.dtype(bool)!r} according to the "
            "rule 'safe'"
        )
    kept, made = lift(kept), lift(result)
    if not np.can_cast(made.dtype, kept.dtype, casting):
        return made  # `put_out` says what does not fit
    return _function(np.where, mask, cast(made, kept.dtype), kept)


def _spread(result: Any, out: Any) -> Any:
    """``result`` at the shape of ``out``, to which NumPy broadcasts it."""
    if isinstance(out, tuple) and len(out) == 1:
        (out,) = out
    if isinstance(out, tuple) or isinstance(result, tuple) or not isinstance(out, Tracer):
        return result
    made = lift(result)
    sizes = current_trace().sizes
    shape = out.value.shape
    if len(shape) < made.ndim or all(map(sizes.equal, made.value.shape, shape)):
        return made
    lead = len(shape) - made.ndim
    fits = all(
        sizes.number(size) == 1 or sizes.equal(size, target)
        for size, target in zip(made.value.shape, shape[lead:], strict=True)
    )
    return Tracer(to_shape(made.value, shape)) if fits else made


def _at(ufunc: np.ufunc, x: Any, indices: Any, value: Any = None) -> None:
    from tracegrad.tracing.writing import add_at

    if not isinstance(x, Tracer):
        lift(x)[indices] = value  # says whose array it is
    if ufunc not in (np.add, np.subtract) or x.dtype.kind == "b":
        from tracegrad.tracing.numpy_folding import applied_at

        applied_at(ufunc, x, indices, value)
        return
    add_at(x, indices, value if ufunc is np.add else -lift(value))


_RUNNING: dict[np.ufunc, Callable[..., Any]] = {np.add: np.cumsum, np.multiply: np.cumprod}
_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}


def _is_default(key: str, value: Any) -> bool:
    defaults = {"out": None, "where": True, "casting": "same_kind", "order": "K", "subok": True}
    if key == "out" and isinstance(value, tuple):
        return all(each is None for each in value)
    return value is None or (key in defaults and value is defaults[key])


def _function(function: Any, *args: Any, **kwargs: Any) -> Any:
    from tracegrad.tracing.dispatch import call_function

    return call_function(function, args, kwargs)


def _call(ufunc: np.ufunc, name: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if ufunc in _PRODUCTS:
        return _function(ufunc, *inputs, **kwargs)
    signature = _signature(ufunc, kwargs.pop("dtype", None), kwargs.pop("signature", None))
    where = kwargs.pop("where", None)
    if where is not None:
        raise UnsupportedError(
            f"{name} with where= and without out= leaves the other elements undefined",
            way_out="give out=, or use np.where(condition, a, b)",
        )
    casting = kwargs.pop("casting", "same_kind")
    for harmless in ("order", "subok"):  # the values are the same in every order
        kwargs.pop(harmless, None)
    if kwargs:
        raise UnsupportedError(f"{name} with {', '.join(kwargs)} is not supported")
    return apply(ufunc, inputs, signature, casting)


_PRODUCTS = tuple(
    getattr(np, name) for name in ("matmul", "vecdot", "matvec", "vecmat") if hasattr(np, name)
)


def _outer(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, y = (lift(each) for each in inputs)
    for _ in range(y.ndim):
        x = x[..., None]
    return _call(ufunc, f"np.{ufunc.__name__}.outer", (x, y), kwargs)


def inplace(ufunc: np.ufunc, x: Tracer, y: Any) -> Any:
    """``x op= y`` as NumPy means it."""
    if not x.ndim:  # a scalar is immutable: the name is bound anew
        return apply_operator(ufunc, x, y)
    from tracegrad.tracing.writing import inplace

    result = call_ufunc(ufunc, "__call__", (x, y), {})
    return inplace(x, result, ufunc.__name__, _SYMBOLS[ufunc])


_SYMBOLS: dict[np.ufunc, str] = {
    np.add: "+",
    np.subtract: "-",
    np.multiply: "*",
    np.true_divide: "/",
    np.floor_divide: "//",
    np.remainder: "%",
    np.power: "**",
    np.matmul: "@",
    np.bitwise_and: "&",
    np.bitwise_or: "|",
    np.bitwise_xor: "^",
    np.left_shift: "<<",
    np.right_shift: ">>",
}
