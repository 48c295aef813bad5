"""`Tracer`: what stands for an array or a NumPy scalar while a function is traced.

It behaves as NumPy's array does (operators, methods, properties, ufuncs, array functions),
and every operation appends to the current trace. What needs the numbers themselves
(``float(x)`` outside staged code, ``if x > 0``, a C function) is refused with a way out.

A tracer of an array is a *box*: ``x += y`` puts a new value into it, so that every name for
that array sees it, as in NumPy. That is only done where no memory but its own is concerned;
an argument, a captured array, a view or an array with views is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from tracegrad.errors import NeedsValue, ShapeError, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import product
from tracegrad.tracing.integers import dim_or_int
from tracegrad.tracing.state import current_trace

__all__ = ["Tracer", "view_from"]


def _operator(ufunc: np.ufunc) -> tuple[Any, Any, Any]:
    def forward(self: Tracer, other: Any) -> Any:
        return _binary(ufunc, self, other)

    def backward(self: Tracer, other: Any) -> Any:
        return _binary(ufunc, other, self)

    def inplace(self: Tracer, other: Any) -> Any:
        from tracegrad.tracing.ufuncs import inplace

        return inplace(ufunc, self, other)

    return forward, backward, inplace


def _binary(ufunc: np.ufunc, x: Any, y: Any) -> Any:
    from tracegrad.tracing.ufuncs import apply_operator

    return apply_operator(ufunc, x, y)


def _unary(ufunc: np.ufunc) -> Any:
    def operator(self: Tracer) -> Any:
        from tracegrad.tracing.ufuncs import apply_operator

        return apply_operator(ufunc, self)

    return operator


def _comparison(ufunc: np.ufunc) -> Any:
    def compare(self: Tracer, other: Any) -> Any:
        return _binary(ufunc, self, other)

    return compare


def _method(name: str, function: Callable[..., Any] | None = None) -> Any:
    """An array method that is the NumPy function of that name, the array first."""
    function = getattr(np, name) if function is None else function

    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        from tracegrad.tracing.dispatch import call_function

        return call_function(function, (self, *args), kwargs)

    method.__name__ = method.__qualname__ = name
    return method


class Tracer:
    """An array (rank 0: a scalar) that is being traced.

    Attributes
    ----------
    value : its present value in the IR.
    weak : a Python number: it takes the dtype of the array beside it.
    owner : what else holds this memory, in words ("the argument 'x'"); None for its own.
    base : the tracer this is a view of.
    context : the trace it belongs to.
    """

    __slots__ = ("__weakref__", "_views", "base", "context", "owner", "value", "weak")

    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]  # arrays are not hashable

    def __init__(self, value: Value, weak: bool = False, owner: str | None = None) -> None:
        self.value = value
        self.weak = weak
        self.owner = owner
        self.base: Tracer | None = None
        self.context = current_trace()
        self._views: list[weakref.ref[Tracer]] = []

    @property
    def viewed(self) -> bool:
        """Whether anything still holds a view of this array."""
        self._views = [view for view in self._views if view() is not None]
        return bool(self._views)

    # -- what an array says of itself

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype.numpy

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(dim_or_int(dim) for dim in self.value.shape)

    @property
    def ndim(self) -> int:
        return self.value.rank

    @property
    def size(self) -> Any:
        return dim_or_int(product(self.value.shape))

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        return self.size * self.itemsize

    @property
    def T(self) -> Tracer:
        return self.transpose()  # type: ignore[no-any-return]

    @property
    def mT(self) -> Tracer:
        return self.swapaxes(-1, -2)  # type: ignore[no-any-return]

    @property
    def real(self) -> Tracer:
        return view_from(self, self.value)

    @property
    def imag(self) -> Any:
        return self * 0

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("object of type 'numpy.float64' has no len()")
        return current_trace().sizes.concrete(self.value.shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return iter([self[i] for i in range(len(self))])

    def __repr__(self) -> str:
        return f"<traced {self.value.hint or 'value'}: {self.value.type}>"

    # -- operators

    __add__, __radd__, __iadd__ = _operator(np.add)
    __sub__, __rsub__, __isub__ = _operator(np.subtract)
    __mul__, __rmul__, __imul__ = _operator(np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = _operator(np.true_divide)
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operator(np.floor_divide)
    __mod__, __rmod__, __imod__ = _operator(np.remainder)
    __pow__, __rpow__, __ipow__ = _operator(np.power)
    __matmul__, __rmatmul__, __imatmul__ = _operator(np.matmul)
    __and__, __rand__, __iand__ = _operator(np.bitwise_and)
    __or__, __ror__, __ior__ = _operator(np.bitwise_or)
    __xor__, __rxor__, __ixor__ = _operator(np.bitwise_xor)
    __lshift__, __rlshift__, __ilshift__ = _operator(np.left_shift)
    __rshift__, __rrshift__, __irshift__ = _operator(np.right_shift)
    __neg__ = _unary(np.negative)
    __pos__ = _unary(np.positive)
    __abs__ = _unary(np.absolute)
    __invert__ = _unary(np.invert)
    __eq__ = _comparison(np.equal)
    __ne__ = _comparison(np.not_equal)
    __lt__ = _comparison(np.less)
    __le__ = _comparison(np.less_equal)
    __gt__ = _comparison(np.greater)
    __ge__ = _comparison(np.greater_equal)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Any:
        from tracegrad.tracing.dispatch import call_function

        rounded = call_function(np.round, (self, digits or 0), {})
        return rounded.astype(np.int64) if digits is None else rounded

    # -- reading and writing

    def __getitem__(self, key: Any) -> Any:
        from tracegrad.tracing.indexing import read

        return read(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise UnsupportedError(
            "writing into an array (x[i] = v) is not supported yet",
            way_out="build the array from its parts: np.where, np.concatenate, np.stack",
        )

    # -- methods

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argsort = _method("argsort")
    clip = _method("clip")
    compress = _method("compress")
    conj = conjugate = _method("conjugate")
    cumprod = _method("cumprod")
    cumsum = _method("cumsum")
    diagonal = _method("diagonal")
    dot = _method("dot")
    max = _method("max")
    mean = _method("mean")
    min = _method("min")
    nonzero = _method("nonzero")
    prod = _method("prod")
    ravel = _method("ravel")
    repeat = _method("repeat")
    round = _method("round")
    searchsorted = _method("searchsorted")
    squeeze = _method("squeeze")
    std = _method("std")
    sum = _method("sum")
    swapaxes = _method("swapaxes")
    take = _method("take")
    trace = _method("trace")
    var = _method("var")

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        from tracegrad.tracing.dispatch import call_function

        target = shape[0] if len(shape) == 1 else shape
        return call_function(np.reshape, (self, target), {"order": order})

    def transpose(self, *axes: Any) -> Any:
        from tracegrad.tracing.dispatch import call_function

        order = axes[0] if len(axes) == 1 else (axes or None)
        return call_function(np.transpose, (self, order), {})

    def flatten(self, order: str = "C") -> Tracer:
        return Tracer(self.reshape(-1, order=order).value)

    def copy(self, order: str = "C") -> Tracer:
        return Tracer(self.value)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self.copy()

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
        copy: bool = True,
    ) -> Tracer:  # fmt: skip
        from tracegrad.tracing.values import cast

        changed = cast(self, dtype)
        if changed.value is not self.value:
            return Tracer(changed.value)
        return Tracer(self.value) if copy else self

    def item(self, *args: Any) -> Tracer:
        picked = self[args[0] if len(args) == 1 else args] if args else self
        if picked.ndim:
            for size in picked.shape:
                if size != 1:
                    raise ShapeError("can only convert an array of size 1 to a Python scalar")
            picked = picked.reshape(())
        return Tracer(picked.value, weak=True)

    def fill(self, value: Any) -> None:
        self[...] = value

    def tolist(self) -> Any:
        return self.item() if not self.ndim else [part.tolist() for part in self]

    # -- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from tracegrad.tracing.ufuncs import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from tracegrad.tracing.dispatch import call_function

        return call_function(func, args, kwargs)

    # -- what only a number could answer

    def _refuse(self, what: str, way_out: str) -> NoReturn:
        raise NeedsValue(f"{what}, but its value is only known at run time", way_out=way_out)

    def __bool__(self) -> bool:
        if self.ndim:
            for size in self.shape:
                if size != 1:
                    raise ValueError(
                        "The truth value of an array with more than one element is ambiguous. "
                        "Use a.any() or a.all()"
                    )
        self._refuse(
            f"Python asks whether {self._name()} is true (if, while, and, or, not, assert)",
            "choose with np.where(condition, a, b), or make the deciding argument static "
            "(static_argnames)",
        )

    def __float__(self) -> float:
        if self.ndim:
            raise NeedsValue(
                "only 0-dimensional arrays can be converted to Python scalars",
                way_out="reduce the array to a scalar first, or leave float() out",
            )
        self._refuse(
            f"float() of {self._name()} is asked for",
            "leave float() out, or use the NumPy function in place of this one",
        )

    def __int__(self) -> int:
        self._refuse(
            f"int() of {self._name()} is asked for",
            "use .astype(int), or make the argument static (static_argnames)",
        )

    def __index__(self) -> int:
        self._refuse(
            f"{self._name()} is used where Python needs an integer (a size, range, a list index)",
            "make the argument static (static_argnames), or use a size such as x.shape[0]",
        )

    def __complex__(self) -> complex:
        self._refuse(f"complex() of {self._name()} is asked for", "keep to real numbers")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse(
            f"a function that tracegrad can't look into needs {self._name()} as a real array",
            "use a NumPy function it supports, or call this one outside",
        )

    def __contains__(self, item: Any) -> bool:
        self._refuse(f"`in` asks about {self._name()}", "use np.any(x == item)")

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _name(self) -> str:
        hint = self.value.hint
        return f"the traced {'array' if self.ndim else 'value'}" + (f" {hint!r}" if hint else "")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute {name!r}")
        raise UnsupportedError(
            f"the array attribute .{name} is not supported",
            way_out="use the NumPy functions on the whole array",
        )


def view_from(source: Tracer, value: Value) -> Tracer:
    """A tracer of ``value`` that shares ``source``'s memory in NumPy."""
    view = Tracer(value)
    root = source if source.base is None else source.base
    view.base = root
    root._views.append(weakref.ref(view))
    return view
