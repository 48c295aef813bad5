"""Elementwise functions that are combinations: where, clip, rounding, and ufuncs without an op."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.axes import no_out
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.indexing import nonzero
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import COMPOSED, truth
from tracegrad.tracing.values import (
    as_operand,
    cast,
    common_dtype,
    elementwise,
    is_number,
    loose,
    operand,
)

# --- ufuncs written as combinations -----------------------------------------------------------


def _same(x: Tracer) -> Tracer:
    return Tracer(x.value)


def _either(name: str) -> Any:
    """fmax and fmin: the other operand where one is NaN."""

    def pick(x: Tracer, y: Tracer) -> Any:
        chosen = elementwise(name, [x, y])
        if x.dtype.kind != "f":
            return chosen
        return np.where(np.isnan(x), y, np.where(np.isnan(y), x, chosen))

    return pick


def _heaviside(x: Tracer, h0: Tracer) -> Any:
    step: Any = np.where(x < 0, 0.0, np.where(x == 0, h0, 1.0))
    return cast(operand(np.where(np.isnan(x), x, step)), x.dtype)


def _logaddexp2(x: Tracer, y: Tracer) -> Any:
    ln2 = math.log(2.0)
    return np.logaddexp(x * ln2, y * ln2) / ln2


def _absolute(x: Tracer) -> Tracer:
    return _same(x) if x.dtype.kind in "ub" else elementwise("absolute", [x])


def _sign(x: Tracer) -> Tracer:
    return cast(x != 0, x.dtype) if x.dtype.kind == "u" else elementwise("sign", [x])


def _fmod(x: Tracer, y: Tracer) -> Any:
    """The remainder with the sign of ``x``."""
    if x.dtype.kind == "f":
        return elementwise("fmod", [x, y])
    rest = np.remainder(x, y)
    other_side = (rest != 0) & ((rest < 0) != (x < 0))
    return np.where(other_side, rest - y, rest)


def _reciprocal(x: Tracer) -> Any:
    if x.dtype.kind != "f":
        raise UnsupportedError(
            "np.reciprocal of integers rounds towards zero", way_out="write 1.0 / x"
        )
    return 1 / x


def _modf(x: Tracer) -> Any:
    whole = np.trunc(x)
    return np.copysign(np.where(np.isinf(x), 0.0, x - whole), x), whole


COMPOSED.update(
    {
        np.divmod: lambda x, y: (np.floor_divide(x, y), np.remainder(x, y)),
        np.modf: _modf,
        np.absolute: _absolute,
        np.sign: _sign,
        np.fmod: _fmod,
        np.positive: _same,
        np.conjugate: _same,
        np.fmax: _either("maximum"),
        np.fmin: _either("minimum"),
        np.deg2rad: lambda x: x * (math.pi / 180.0),
        np.radians: lambda x: x * (math.pi / 180.0),
        np.rad2deg: lambda x: x * (180.0 / math.pi),
        np.degrees: lambda x: x * (180.0 / math.pi),
        np.float_power: lambda x, y: elementwise("power", [x, y]),
        np.heaviside: _heaviside,
        np.logaddexp2: _logaddexp2,
        np.reciprocal: _reciprocal,
        np.signbit: lambda x: np.copysign(1.0, x) < 0 if x.dtype.kind == "f" else x < 0,
    }
)


# --- choosing ---------------------------------------------------------------------------------


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    chosen = truth(condition)
    if x is None and y is None:
        return nonzero(chosen)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    arms = [loose(arm) for arm in (x, y)]
    dtype = common_dtype(arms)
    return elementwise("select", [chosen, *(as_operand(arm, dtype) for arm in arms)])


@implements(np.nonzero)
def nonzero_(a: Any) -> Any:
    return nonzero(truth(a))


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Any:
    return nonzero(truth(np.ravel(operand(a))))[0]


@implements(np.clip)
def clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None,
    max: Any = None, dtype: Any = None, casting: str = "same_kind", order: str = "K",
    subok: bool = True,
) -> Any:  # fmt: skip
    no_out(out, "np.clip")
    loop: dict[str, Any] = {"dtype": dtype, "casting": casting}
    low = min if a_min is None else a_min
    high = max if a_max is None else a_max
    result: Any = operand(a)
    if result.dtype.kind in "iu":  # bounds that the dtype can't pass are none
        limits = np.iinfo(result.dtype)
        low = None if type(low) is int and low <= limits.min else low
        high = None if type(high) is int and high >= limits.max else high
    if low is not None:
        result = np.maximum(result, low, **loop)
    if high is not None:
        result = np.minimum(result, high, **loop)
    if low is None and high is None and dtype is not None:
        return np.positive(result, **loop)
    return Tracer(result.value) if result is a else result


@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    arms = [loose(arm) for arm in (*choicelist, default)]
    dtype = common_dtype(arms)
    result: Any = as_operand(arms.pop(), dtype)
    for condition, choice in zip(reversed(condlist), reversed(arms), strict=True):
        result = np.where(operand(condition), as_operand(choice, dtype), result)
    return result


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    x = operand(x)
    conditions = condlist if isinstance(condlist, list | tuple) else [condlist]
    rest: Any = 0
    pieces = list(funclist)
    if len(pieces) == len(conditions) + 1:
        rest = pieces.pop()
    if len(pieces) != len(conditions):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or "
            f"{len(conditions) + 1} functions are expected"
        )

    def arm(piece: Any) -> Any:
        return piece(x, *args, **kw) if callable(piece) else piece

    result = arm(rest)
    # A later condition wins where several hold.
    for condition, piece in zip(conditions, pieces, strict=True):
        result = np.where(operand(condition), arm(piece), result)
    return cast(operand(result), x.dtype)


# --- numbers ----------------------------------------------------------------------------------


@implements(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: None = None) -> Any:
    no_out(out, "np.round")
    x = operand(a)
    if x.dtype.kind in "iu":
        if decimals >= 0:
            return Tracer(x.value)
        tens: Any = 10.0**-decimals
        return cast(operand(np.rint(x / tens) * tens), x.dtype)
    if decimals == 0:
        return np.rint(x)
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


@implements(np.fix)
def fix(x: Any, out: None = None) -> Any:
    no_out(out, "np.fix")
    return np.trunc(operand(x))


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    x = operand(x)
    if x.dtype.kind != "f":
        return Tracer(x.value) if copy else x
    limits = np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    result = np.where(np.isnan(x), nan, x)
    result = np.where(x == np.inf, high, result)
    result = np.where(x == -np.inf, low, result)
    if copy or not x.ndim:
        return result
    x[...] = result
    return x


@implements(np.sinc)
def sinc(x: Any) -> Any:
    x = operand(x)
    if x.dtype.kind != "f":
        x = cast(x, np.float64)
    # As NumPy does it: a tiny angle in place of 0.
    angle = np.pi * np.where(x == 0, 1.0e-20, x)
    return np.sin(angle) / angle


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    a, b = operand(a), operand(b)
    close = (np.abs(a - b) <= atol + rtol * np.abs(b)) & np.isfinite(b) | (a == b)
    return close | (np.isnan(a) & np.isnan(b)) if equal_nan else close


@implements(np.real)
def real(val: Any) -> Any:
    return val


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return False


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    return True


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    given = [
        x if isinstance(x, Tracer | TracedInt | np.ndarray | np.generic) or is_number(x)
        else np.empty(0, np.dtype(x))
        for x in arrays_and_dtypes
    ]  # fmt: skip
    return common_dtype(given)
