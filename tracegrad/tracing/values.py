"""From anything the user's code holds to IR values: lifting, promotion, broadcasting.

NumPy itself is asked for dtypes (`ufunc.resolve_dtypes`), with Python numbers as the *weak*
types NEP 50 makes them, so promotion is right for every ufunc without a table of our own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, InternalError, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import DType, Shape, dtype_of
from tracegrad.ops import access
from tracegrad.ops.access_samples import Entry
from tracegrad.ops.registry import REGISTRY, OpDef, constant
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer

__all__ = [
    "broadcast_together",
    "broadcast_value",
    "cast",
    "elementwise",
    "fresh",
    "ir_dtype",
    "is_number",
    "is_traced",
    "lift",
    "loose",
    "operand",
    "require_cast",
    "wrap",
]

Number = bool | int | float


def is_number(x: object) -> bool:
    """A Python number: weak in promotion."""
    return isinstance(x, bool | int | float) and not isinstance(x, np.generic)


def is_traced(x: object) -> bool:
    """Whether ``x`` is a tracer or a list or tuple that holds one."""
    if isinstance(x, Tracer | TracedInt | RolledList):
        return True
    return isinstance(x, list | tuple) and any(map(is_traced, x))


def ir_dtype(dtype: Any) -> DType:
    """The IR's dtype for anything NumPy takes as a dtype."""
    try:
        numpy_dtype = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(str(error)) from error
    try:
        return dtype_of(numpy_dtype)
    except KeyError:
        raise DTypeError(
            f"dtype {numpy_dtype} has no kernel",
            way_out="use float64, float32, integers or booleans; cast with .astype",
        ) from None


def wrap(value: Value, weak: bool = False) -> Tracer:
    return Tracer(value, weak)


def lift(x: Any, dtype: Any = None) -> Tracer:
    """``x`` as a tracer: numbers become constants, arrays captures, lists are stacked."""
    if isinstance(x, Tracer):
        if x.context is not current_trace():
            raise UnsupportedError(
                "a traced value of an earlier call is used: it was stored outside the function",
                way_out="return values from the function instead of storing them outside",
            )
        return x
    if isinstance(x, TracedInt):
        return wrap(current_trace().size_value(x.dim), weak=True)
    if isinstance(x, bool | int | float) or (isinstance(x, np.generic) and x.dtype.kind in "fiub"):
        weak = not isinstance(x, np.generic | bool)
        kind = ir_dtype(x.dtype if isinstance(x, np.generic) else np.result_type(type(x)))
        return wrap(current_trace().run(constant, x, kind), weak)
    if isinstance(x, np.ndarray):
        return current_trace().captures.array(x)
    if isinstance(x, list | tuple):
        return _stacked(x)
    settle = getattr(type(x), "settled_value", None)
    if settle is not None:  # a name that a branch or a loop may have left without a value
        return lift(settle(x))
    if hasattr(x, "__array__") and not callable(x):
        return lift(np.asarray(x))
    if isinstance(x, np.generic | complex):
        raise DTypeError(
            f"{type(x).__name__} values have no kernel", way_out="use float64 or integers"
        )
    raise DTypeError(
        f"an object of type {type(x).__name__} can't take part in array arithmetic",
        way_out="use arrays, numbers, or lists of these",
    )


def operand(x: Any) -> Any:
    """`lift`, for functions written in NumPy's own words: their types know no tracers."""
    return lift(x)


def loose(x: Any) -> Any:
    """`lift`, but Python numbers stay, which are weak in promotion."""
    return x if is_number(x) or isinstance(x, TracedInt) else lift(x)


def fresh(x: Any) -> Tracer:
    """``x`` (a tracer) as an array with memory of its own: a copy, in NumPy's terms."""
    return lift(x).copy()


def _stacked(xs: Sequence[Any]) -> Tracer:
    if not is_traced(xs):
        return lift(np.asarray(xs))
    parts = [lift(x) for x in xs]
    dtype = np.result_type(*(part.dtype for part in parts))  # in a list no number is weak
    shape = parts[0].value.shape
    sizes = current_trace().sizes
    for part in parts[1:]:
        fits = len(part.value.shape) == len(shape) and all(
            sizes.equal(a, b) for a, b in zip(part.value.shape, shape, strict=True)
        )
        if not fits:
            raise UnsupportedError(
                "a list of arrays of different shapes is no array",
                way_out="give all elements one shape, or use np.concatenate",
            )
    values = [to_shape(cast(part, dtype).value, shape) for part in parts]
    return wrap(current_trace().run(access.stack, values, 0))


def weak_kind(x: Any) -> Any:
    """What NumPy's promotion is told about ``x``: a dtype, or ``int``/``float`` if weak."""
    if isinstance(x, Tracer):
        if x.weak and x.value.rank == 0:
            return {"f": float, "i": int}.get(x.dtype.kind, x.dtype)
        return x.dtype
    if isinstance(x, TracedInt):
        return int
    if is_number(x):
        return np.dtype(bool) if isinstance(x, bool) else type(x)
    if isinstance(x, np.generic | np.ndarray):
        return x.dtype
    raise InternalError(f"no dtype for {type(x).__name__}")


def common_dtype(xs: Sequence[Any]) -> np.dtype:
    """NumPy's result_type of tracers and numbers, weak ones included."""
    strong = [kind for x in xs if isinstance(kind := weak_kind(x), np.dtype)]
    weak = [kind(0) for x in xs if not isinstance(kind := weak_kind(x), np.dtype)]
    return np.result_type(*strong, *weak)


def require_cast(source: np.dtype, target: Any, casting: Any) -> None:
    """Raise if NumPy does not cast so under a rule (``casting=``)."""
    if not np.can_cast(source, target, casting):
        raise DTypeError(
            f"Cannot cast array data from {source!r} to {np.dtype(target)!r} according to the "
            f"rule '{casting}'"
        )


def cast(x: Tracer, dtype: Any) -> Tracer:
    """``x`` in another dtype; ``x`` itself if it has it already."""
    target = ir_dtype(dtype)
    if x.value.dtype is target:
        return x
    op = x.value.op
    trace = current_trace()
    if op is not None and op.name == "const" and not isinstance(op.attributes["value"], tuple):
        known = np.asarray(op.attributes["value"], x.dtype).astype(target.numpy)
        return wrap(trace.run(constant, known.item(), target))
    return wrap(trace.emit("cast", x.value, dtype=target))


@functools.lru_cache(maxsize=4096)
def _loop(ufunc: np.ufunc, kinds: tuple[Any, ...]) -> tuple[np.dtype, ...]:
    return ufunc.resolve_dtypes(kinds + (None,) * ufunc.nout)


def loop_dtypes(ufunc: np.ufunc, operands: Sequence[Any]) -> tuple[np.dtype, ...]:
    """The dtypes of the loop NumPy would run: one per operand, then one per result."""
    kinds = tuple(weak_kind(x) for x in operands)
    if not any(isinstance(kind, np.dtype) for kind in kinds):
        # Python numbers alone: NumPy would compare ints of any length, as objects.
        kinds = tuple(np.dtype(np.float64 if kind is float else np.int64) for kind in kinds)
    try:
        return _loop(ufunc, kinds)
    except TypeError as error:
        raise DTypeError(str(error)) from error


def broadcast_together(xs: Sequence[Tracer], wording: str | None = None) -> Shape:
    """The common shape of tracers under NumPy's rules."""
    return current_trace().sizes.broadcast([x.value.shape for x in xs], wording)


def broadcast_value(value: Value, shape: Shape) -> Value:
    """An operand of an elementwise op at ``shape``: scalars stay scalars."""
    if value.rank == 0 or value.shape == shape:
        return value
    return to_shape(value, shape)


def to_shape(value: Value, shape: Shape) -> Value:
    """``value`` broadcast to ``shape``, which is known to be its broadcast."""
    trace = current_trace()
    shape = trace.sizes.shape(shape)
    lead = len(shape) - value.rank
    entries: list[Entry] = []
    for axis, size in enumerate(value.shape, lead):
        # A size like min(n, m) can be 1 by a guard and not say so.
        single = size == 1 or (trace.sizes.number(size) == 1 != trace.sizes.number(shape[axis]))
        entries.append((None if single and size != shape[axis] else axis, 0, 1))
    result: Value = trace.run(access.view_of, value, shape, tuple(entries))
    return result


def as_operand(x: Any, dtype: np.dtype) -> Tracer:
    """``x`` lifted in ``dtype``; a Python number directly as a constant of that dtype."""
    if is_number(x):
        target = ir_dtype(dtype)
        if target.is_integer:
            info = np.iinfo(dtype)
            if not info.min <= x <= info.max:
                raise OverflowError(f"Python integer {x} out of bounds for {dtype}")
        return wrap(current_trace().run(constant, x, target))
    return cast(lift(x), dtype)


def elementwise(opdef: OpDef | str, operands: Sequence[Tracer], weak: bool = False) -> Tracer:
    """Apply an elementwise op to operands that have their dtype already."""
    opdef = REGISTRY[opdef] if isinstance(opdef, str) else opdef
    shape = broadcast_together(operands)
    values = [broadcast_value(x.value, shape) for x in operands]
    return wrap(current_trace().emit(opdef.name, *values), weak)
