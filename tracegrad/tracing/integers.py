"""Symbolic integers: sizes of arrays and int arguments, in Python's hands.

Arithmetic gives symbolic integers; a comparison answers with what holds at this trace and
leaves a guard; where Python must have the number itself (``range(n)``, ``list[n]``), the
trace becomes one for this number only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.ir.types import Dim, Size, dim_max, dim_min, floor_div
from tracegrad.tracing.state import current_trace

__all__ = ["TracedInt", "as_dim", "dim_or_int", "is_integer"]


def is_integer(x: object) -> bool:
    """A concrete or symbolic integer (booleans are not)."""
    return isinstance(x, int | np.integer | TracedInt) and not isinstance(x, bool)


def as_dim(x: Any) -> Dim:
    """The dimension that a concrete or symbolic integer is."""
    if isinstance(x, int) and not -(2**63) <= x < 2**63:
        raise _too_large()
    return current_trace().sizes.resolve(x.dim) if isinstance(x, TracedInt) else operator.index(x)


def _too_large() -> UnsupportedError:
    return UnsupportedError(
        "an integer leaves the 64 bits that a kernel's integers have",
        way_out="compute with floats (float(n)), or make the argument static (static_argnames)",
    )


def _within_64_bits(dim: Dim) -> Dim:
    """A dimension whose numbers can be written in a kernel."""
    if isinstance(dim, Size) and any(not -(2**63) <= c < 2**63 for _, c in dim.terms):
        raise _too_large()
    return dim


def dim_or_int(dim: Dim) -> int | TracedInt:
    """What the user sees of a dimension: an int if it is known, else a symbolic integer."""
    dim = current_trace().sizes.resolve(dim)
    return TracedInt(dim) if isinstance(dim, Size) else dim


def _arithmetic(function: Callable[[Dim, Dim], Dim], name: str) -> tuple[Any, Any]:
    def forward(self: TracedInt, other: Any) -> Any:
        if is_integer(other):
            return dim_or_int(_within_64_bits(function(as_dim(self), as_dim(other))))
        return self._as_number(name, self, other)

    def backward(self: TracedInt, other: Any) -> Any:
        if is_integer(other):
            return dim_or_int(_within_64_bits(function(as_dim(other), as_dim(self))))
        return self._as_number(name, other, self)

    return forward, backward


def _bitwise(name: str) -> tuple[Any, Any]:
    """Of bits a size knows nothing: the result is a number of the kernel."""

    def forward(self: TracedInt, other: Any) -> Any:
        return self._as_number(name, self, other)

    def backward(self: TracedInt, other: Any) -> Any:
        return self._as_number(name, other, self)

    return forward, backward


def _comparison(relation: str, name: str) -> Any:
    def compare(self: TracedInt, other: Any) -> Any:
        if is_integer(other):
            return current_trace().sizes.decide(as_dim(self), relation, as_dim(other))
        if isinstance(other, bool):
            return compare(self, int(other))
        if isinstance(other, float):
            number = current_trace().sizes.concrete(self.dim, "comparing a size with a float")
            return getattr(operator, name)(number, other)
        return self._as_number(name, self, other)

    return compare


def _positive_divisor(x: Dim) -> None:
    sizes = current_trace().sizes
    if sizes.equal(x, 0):
        raise ZeroDivisionError("integer division or modulo by zero")


def _floor_divide(x: Dim, y: Dim) -> Dim:
    _positive_divisor(y)
    return floor_div(x, y)


def _modulo(x: Dim, y: Dim) -> Dim:
    _positive_divisor(y)
    return x - floor_div(x, y) * y


class TracedInt:
    """An integer that is a symbolic size: ``x.shape[0]``, ``len(x)``, an int argument."""

    __slots__ = ("dim",)

    def __init__(self, dim: Dim) -> None:
        self.dim = dim

    # -- arithmetic

    __add__, __radd__ = _arithmetic(operator.add, "add")
    __sub__, __rsub__ = _arithmetic(operator.sub, "sub")
    __mul__, __rmul__ = _arithmetic(operator.mul, "mul")
    __floordiv__, __rfloordiv__ = _arithmetic(_floor_divide, "floordiv")
    __mod__, __rmod__ = _arithmetic(_modulo, "mod")

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __truediv__(self, other: Any) -> Any:
        return self._as_number("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._as_number("truediv", other, self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            return self**other % modulus
        if isinstance(other, int) and not isinstance(other, bool) and 0 <= other <= 8:
            power: Dim = 1
            for _ in range(other):
                power = power * as_dim(self)
            return dim_or_int(_within_64_bits(power))
        if isinstance(other, int) and other < 0:  # Python's integers give a float then
            return self._as_number("pow", self._as_number("mul", self, 1.0), float(other))
        return self._as_number("pow", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._as_number("pow", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._as_number("matmul", self, other)

    __rmatmul__ = __matmul__

    __and__, __rand__ = _bitwise("and_")
    __or__, __ror__ = _bitwise("or_")
    __xor__, __rxor__ = _bitwise("xor")
    __lshift__, __rlshift__ = _bitwise("lshift")
    __rshift__, __rrshift__ = _bitwise("rshift")

    def __invert__(self) -> Any:
        return -self - 1

    def __neg__(self) -> Any:
        return dim_or_int(as_dim(self) * -1)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def _as_number(self, name: str, left: Any, right: Any) -> Any:
        from tracegrad.tracing.tracer import Tracer
        from tracegrad.tracing.values import lift

        if isinstance(left, TracedInt):
            left = lift(left)
        if isinstance(right, TracedInt):
            right = lift(right)
        if not all(
            isinstance(x, Tracer | int | float | np.ndarray | np.generic) for x in (left, right)
        ):
            return NotImplemented
        return getattr(operator, name)(left, right)

    # -- comparisons become guards

    __eq__ = _comparison("==", "eq")
    __ne__ = _comparison("!=", "ne")
    __lt__ = _comparison("<", "lt")
    __le__ = _comparison("<=", "le")
    __gt__ = _comparison(">", "gt")
    __ge__ = _comparison(">=", "ge")

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return hash(self.__index__())

    # -- Python needs the number itself

    def __index__(self) -> int:
        return current_trace().sizes.concrete(self.dim)

    __int__ = __index__
    __trunc__ = __floor__ = __ceil__ = __index__

    def __round__(self, digits: int | None = None) -> Any:
        if digits is None or digits >= 0:
            return self
        return round(self.__index__(), digits)

    def __float__(self) -> float:
        return float(self.__index__())

    # -- what a Python int has besides

    def item(self) -> Any:
        return self

    @property
    def real(self) -> TracedInt:
        return self

    def __getattr__(self, name: str) -> Any:
        if hasattr(int, name) and not name.startswith("__"):
            return getattr(self.__index__(), name)
        raise AttributeError(name)

    def __repr__(self) -> str:
        return str(self.dim)

    def __format__(self, spec: str) -> str:
        return format(self.__index__(), spec) if spec else str(self.dim)

    # -- NumPy

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from tracegrad.tracing.ufuncs import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from tracegrad.tracing.dispatch import call_function

        return call_function(func, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            "a symbolic size was given to a function that needs a real array",
            way_out="use the size in arithmetic, or int(n) to trace for this size only",
        )


def smallest(x: Any, y: Any) -> Any:
    """``min`` of two integers, one of them symbolic: no guard, a symbolic result."""
    return dim_or_int(dim_min(as_dim(x), as_dim(y)))


def largest(x: Any, y: Any) -> Any:
    """``max`` of two integers, one of them symbolic."""
    return dim_or_int(dim_max(as_dim(x), as_dim(y)))
