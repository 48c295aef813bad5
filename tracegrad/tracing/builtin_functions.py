"""Python's built-ins and the ``math`` module on traced values.

``math`` works on scalars and gives Python floats (weak in promotion). Where Python would
raise for a bad number (``math.sqrt(-1)``), a kernel gives NaN, as NumPy does.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tracegrad.errors import NeedsValue, UnsupportedError
from tracegrad.ops.registry import REGISTRY
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import TracedInt, dim_or_int, is_integer, largest, smallest
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, elementwise, is_traced, lift


def _scalar(x: Any, name: str) -> Tracer:
    value = lift(x)
    if value.ndim:
        raise NeedsValue(
            f"only 0-dimensional arrays can be converted to Python scalars (in {name})",
            way_out=f"use np.{name.removeprefix('math.')} for arrays"
            if name.startswith("math.")
            else "use .astype for arrays, or reduce the array to a scalar first",
        )
    return value


def _weak(x: Tracer) -> Tracer:
    return Tracer(x.value, weak=x.dtype.kind in "fi")


# --- math -------------------------------------------------------------------------------------


def _op_of_math(name: str, op: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        operands = [cast(_scalar(x, f"math.{name}"), np.float64) for x in args]
        return _weak(elementwise(op, operands))

    call.__name__ = name
    return call


for _opdef in list(REGISTRY.values()):
    for _function in _opdef.stands_for:
        if getattr(_function, "__module__", None) == "math":
            implements(_function)(_op_of_math(_function.__name__, _opdef.name))


@implements(math.log)
def log(x: Any, base: Any = None) -> Any:
    value = _op_of_math("log", "log")(x)
    return value if base is None else value / _op_of_math("log", "log")(base)


def _rounded(op: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        if is_integer(x):
            return x
        value = _scalar(x, f"math.{op}")
        if value.dtype.kind == "f":
            value = elementwise(op, [value])
        return _weak(cast(value, np.int64))

    return call


implements(math.floor)(_rounded("floor"))
implements(math.ceil)(_rounded("ceil"))
implements(math.trunc)(_rounded("trunc"))


@implements(math.cbrt if hasattr(math, "cbrt") else np.cbrt)
def cbrt(x: Any) -> Any:
    return _op_of_math("cbrt", "cbrt")(x)


@implements(math.exp2 if hasattr(math, "exp2") else np.exp2)
def exp2(x: Any) -> Any:
    return _op_of_math("exp2", "exp2")(x)


@implements(math.radians)
def radians(x: Any) -> Any:
    return _weak(cast(_scalar(x, "math.radians"), np.float64)) * (math.pi / 180.0)


@implements(math.degrees)
def degrees(x: Any) -> Any:
    return _weak(cast(_scalar(x, "math.degrees"), np.float64)) * (180.0 / math.pi)


@implements(math.hypot)
def hypot(*coordinates: Any) -> Any:
    if not coordinates:
        return 0.0
    return functools.reduce(_op_of_math("hypot", "hypot"), coordinates, 0.0)


@implements(math.dist)
def dist(p: Iterable[Any], q: Iterable[Any], /) -> Any:
    return hypot(*(a - b for a, b in zip(p, q, strict=True)))


@implements(math.fsum)
def fsum(seq: Iterable[Any], /) -> Any:
    numbers = seq if isinstance(seq, Tracer) else list(seq)
    return _weak(np.sum(cast(lift(numbers), np.float64)))


@implements(math.prod)
def prod(iterable: Iterable[Any], /, *, start: Any = 1) -> Any:
    if isinstance(iterable, Tracer) and iterable.ndim == 1:
        return np.prod(iterable) * start
    return functools.reduce(lambda a, b: a * b, iterable, start)


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of integers: for sizes it is computed now, and the sizes are fixed."""

    def call(*args: Any) -> Any:
        if not all(map(is_integer, args)):
            raise NeedsValue(
                f"math.{function.__name__} needs integers that are known while tracing",
                way_out="make the arguments static (static_argnames)",
            )
        return function(*map(builtins.int, args))

    call.__name__ = function.__name__
    return call


for _function in (math.comb, math.perm, math.gcd, math.lcm, math.factorial, math.isqrt):
    implements(_function)(_exact(_function))


@implements(math.modf)
def modf(x: Any, /) -> Any:
    part, whole = np.modf(cast(_scalar(x, "math.modf"), np.float64))
    return _weak(lift(part)), _weak(lift(whole))


@implements(math.ldexp)
def ldexp(x: Any, i: Any, /) -> Any:
    power = elementwise("exp2", [cast(_scalar(i, "math.ldexp"), np.float64)])
    return _weak(cast(_scalar(x, "math.ldexp"), np.float64) * power)


@implements(math.isclose)
def isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> Any:
    a, b = _scalar(a, "math.isclose"), _scalar(b, "math.isclose")
    bound = np.maximum(rel_tol * np.maximum(np.abs(a), np.abs(b)), abs_tol)
    return np.abs(a - b) <= bound


# --- conversions ------------------------------------------------------------------------------


@implements(float)
def float_(x: Any = 0.0, /) -> Any:
    return Tracer(cast(_scalar(x, "float"), np.float64).value, weak=True)


def _number_of(kind: type[np.generic]) -> Callable[..., Any]:
    def call(x: Any = 0, /) -> Any:
        return Tracer(cast(lift(x), kind).value)

    call.__name__ = kind.__name__
    return call


for _kind in "?bhilqBHILQfd":
    implements(np.dtype(_kind).type)(_number_of(np.dtype(_kind).type))


@implements(bool)
def bool_(x: Any = False, /) -> Any:
    from tracegrad.tracing.branching import condition_of

    if isinstance(x, TracedInt):
        return builtins.bool(x)
    return Tracer(condition_of(x).value, weak=True)


@implements(int)
def int_(x: Any = 0, /) -> Any:
    if isinstance(x, TracedInt):
        return x
    value = _scalar(x, "int")
    if value.dtype.kind == "f":
        value = elementwise("trunc", [value])
    return _weak(cast(value, np.int64))


def _as_array(x: Any) -> Any:
    return x.array if isinstance(x, RolledList) else x


@implements(len)
def len_(obj: Any, /) -> Any:
    obj = _as_array(obj)
    if isinstance(obj, Tracer) and obj.ndim:
        return dim_or_int(obj.value.shape[0])
    return builtins.len(obj)


@implements(isinstance)
def isinstance_(obj: Any, class_or_tuple: Any, /) -> bool:
    if isinstance(obj, TracedInt):
        return builtins.isinstance(0, class_or_tuple)
    if isinstance(obj, RolledList):
        return builtins.isinstance([], class_or_tuple)
    if not isinstance(obj, Tracer):
        return builtins.isinstance(obj, class_or_tuple)
    if obj.ndim:
        stand_in: Any = np.empty((0,) * obj.ndim, obj.dtype)
    else:
        stand_in = obj.dtype.type(0)
        stand_in = stand_in.item() if obj.weak else stand_in
    return builtins.isinstance(stand_in, class_or_tuple)


@implements(np.isscalar)
def isscalar(element: Any) -> bool:
    return isinstance(element, TracedInt) or not lift(element).ndim


@implements(list)
def list_(iterable: Any = (), /) -> Any:
    """A list of more items than known stays an array."""
    return iterable.copy() if isinstance(iterable, RolledList) else builtins.list(iterable)


@implements(sorted, always=True)
def sorted_(iterable: Any, /, *, key: Any = None, reverse: bool = False) -> Any:
    """Numbers in order, by a sort of an array."""
    rolled = isinstance(iterable, RolledList) or (isinstance(iterable, Tracer) and iterable.ndim)
    items: Any = _as_array(iterable) if rolled else builtins.list(iterable)
    keys = None if key is None else [*map(_staged(key), items)]
    if not is_traced(items if keys is None else keys):
        return builtins.sorted(items, key=key, reverse=reverse)
    if keys is not None:
        return _sorted_by(builtins.list(items), keys, reverse)
    if not rolled and any(isinstance(each, tuple | list) for each in items):
        raise UnsupportedError(
            "sorted compares tuples or lists that hold traced values, whose order is only known at "
            "run time",
            way_out="sort one array of keys (order = np.argsort(keys)) and take the other columns "
            "in that order",
        )
    if (items.ndim if rolled else max(lift(each).ndim for each in items)) != int(bool(rolled)):
        raise ValueError(
            "The truth value of an array with more than one element is ambiguous. "
            "Use a.any() or a.all()"
        )
    array: Any = np.sort(lift(items))
    array = array[::-1] if reverse else array
    return RolledList(array) if rolled else [array[k] for k in range(len(items))]


def _staged(function: Any) -> Any:
    """What to call in place of a function that is given to one of these."""
    from tracegrad.tracing.hooks import TraceHooks

    return TraceHooks(current_trace().captures).call(function)


def _sorted_by(items: list[Any], keys: list[Any], reverse: bool) -> list[Any]:
    """Items in the order of traced keys; equal ones stay in the order they have."""
    if any(isinstance(x, tuple | list | dict | str) for x in (*items, *keys)):
        raise UnsupportedError(
            "sorted with keys that are known only at run time takes numbers or arrays alone",
            way_out="sort each array by order = np.argsort(keys)",
        )
    if not items:
        return []
    values, order = np.stack([lift(x) for x in items]), np.stack([lift(x) for x in keys])
    places: Any = np.argsort(order[::-1] if reverse else order, kind="stable")
    places = (len(items) - 1 - places)[::-1] if reverse else places
    return [values[places[k]] for k in range(len(items))]


# --- sums and extremes ------------------------------------------------------------------------


@implements(sum)
def sum_(iterable: Iterable[Any], /, start: Any = 0) -> Any:
    iterable = _as_array(iterable)
    if isinstance(iterable, Tracer) and iterable.ndim:
        # Python adds in the dtype of the items; booleans are integers to it.
        kind = np.dtype(np.int64) if iterable.dtype.kind == "b" else iterable.dtype
        total = np.sum(iterable, axis=0, dtype=kind)
        return total if isinstance(start, int) and start == 0 else start + total
    total = start
    for each in iterable:
        total = total + each
    return total


def _extreme(name: str, args: tuple[Any, ...], key: Any, default: Any) -> Any:
    pick = np.maximum if name == "max" else np.minimum
    native = getattr(builtins, name)
    if len(args) == 1:
        only = _as_array(args[0])
        if isinstance(only, Tracer) and only.ndim == 1 and key is None:
            return getattr(np, name)(only)
        args = tuple(only)
        if not args and default is not _MISSING:
            return default
    if key is not None:
        keys = [*map(_staged(key), args)]
        if any(map(is_traced, keys)):
            return _first_best(name, args, keys)
        return native(args, key=key)
    if not any(map(is_traced, args)):
        return native(args)
    if all(map(is_integer, args)):
        return functools.reduce(largest if name == "max" else smallest, args)
    for each in args:
        if lift(each).ndim:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. "
                "Use a.any() or a.all()"
            )
    weak = all(isinstance(x, int | float | TracedInt) or (isinstance(x, Tracer) and x.weak)
               for x in args if not isinstance(x, np.generic))  # fmt: skip
    result = functools.reduce(pick, args)
    return Tracer(result.value, weak=True) if weak else result


def _first_best(name: str, items: tuple[Any, ...], keys: list[Any]) -> Any:
    """The first of the items with the largest (smallest) key, as comparisons find it."""
    if any(isinstance(x, tuple | list | dict | str) for x in (*items, *keys)):
        raise UnsupportedError(
            f"{name} with keys that are known only at run time takes numbers or arrays alone",
            way_out=f"use np.arg{name} of the keys, and arrays in place of tuples",
        )
    best: Any = items[0]
    best_key: Any = lift(keys[0])
    for item, key in zip(items[1:], keys[1:], strict=True):
        wins = np.greater(key, best_key) if name == "max" else np.less(key, best_key)
        best, best_key = np.where(wins, item, best), np.where(wins, key, best_key)
    if all(isinstance(x, int | float | TracedInt) and not isinstance(x, np.generic) for x in items):
        return Tracer(lift(best).value, weak=True)
    return best


_MISSING = object()


@implements(max, always=True)
def max_(*args: Any, key: Any = None, default: Any = _MISSING) -> Any:
    return _extreme("max", args, key, default)


@implements(min, always=True)
def min_(*args: Any, key: Any = None, default: Any = _MISSING) -> Any:
    return _extreme("min", args, key, default)


@implements(any, always=True)
def any_(iterable: Any, /) -> Any:
    iterable = _as_array(iterable)
    if isinstance(iterable, Tracer) and iterable.ndim == 1:
        return np.any(iterable)
    return _any_of(iterable, False)


@implements(all, always=True)
def all_(iterable: Any, /) -> Any:
    iterable = _as_array(iterable)
    if isinstance(iterable, Tracer) and iterable.ndim == 1:
        return np.all(iterable)
    return _any_of(iterable, True)


def _any_of(items: Iterable[Any], every: bool) -> Any:
    """``any`` or ``all`` of items of which some may be traced."""
    from tracegrad.tracing.branching import condition_of

    join = np.logical_and if every else np.logical_or
    found: Any = None
    for x in items:
        if isinstance(x, Tracer):
            found = condition_of(x) if found is None else join(found, condition_of(x))
        elif builtins.bool(x) is not every:
            return not every
    if found is None:
        return every
    return Tracer(lift(found).value, weak=True)
