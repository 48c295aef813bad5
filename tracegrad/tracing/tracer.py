"""`Tracer`: what stands for an array or a NumPy scalar while a function is traced.

It behaves as NumPy's array does (operators, methods, properties, ufuncs, array functions),
and every operation appends to the current trace. What needs the numbers themselves
(``float(x)`` outside staged code, ``if x > 0``, a C function) is refused with a way out.

A tracer of an array refers to a `Memory`, or to a part of one: what is written through one
name is seen through every other, as in NumPy. A scalar is a value and never changes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from tracegrad.errors import (
    InternalError,
    NeedsValue,
    ShapeError,
    UnsupportedError,
    user_frame,
)
from tracegrad.ir.core import Region, Value
from tracegrad.ir.types import Shape, product
from tracegrad.staging import why_unseen
from tracegrad.tracing.integers import dim_or_int
from tracegrad.tracing.memory import Memory, Reshape, Select, Stage, composed
from tracegrad.tracing.state import current_trace

__all__ = ["Tracer", "joined", "part_of", "view_by"]


UNSEEN = "the loops, branches and arrays of this function are not seen"


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
    memory : where the array lies; None for a scalar.
    stages : how a view leads into the memory; empty for the whole array.
    context : the trace it belongs to.
    """

    __slots__ = ("__weakref__", "_region", "_seen", "_value", "context", "memory", "stages", "weak")

    __array_priority__ = 1000.0

    def __init__(self, value: Value, weak: bool = False, outside: str | None = None) -> None:
        trace = current_trace()
        self.weak = weak
        self.context = trace
        self.stages: tuple[Stage, ...] = ()
        self._value: Value | None = None
        self._seen: tuple[Value, Value, Region] | None = None
        self.memory: Memory | None = None
        self._region: Region = trace.build.region if outside is None else trace.outermost_region
        if value.rank:
            self.memory = Memory(trace, value, outside)
        else:
            self._value = value

    @property
    def value(self) -> Value:
        trace = self.context
        if self.memory is None:
            trace.require_visible(self._region)
            assert self._value is not None
            return self._value
        base = self.memory.get(trace)
        if not self.stages:
            return base
        seen = self._seen
        if seen is not None and seen[0] is base and trace.is_visible(seen[2]):
            return seen[1]
        value = base
        for stage in self.stages:
            value = trace.run(stage.resolved(trace.sizes).read, value)
        self._seen = (base, value, trace.build.region)
        return value

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
        return self.transpose()  # type: ignore[no-any-return]  # a method set later

    @property
    def mT(self) -> Tracer:
        return self.swapaxes(-1, -2)  # type: ignore[no-any-return]  # a method set later

    @property
    def real(self) -> Tracer:
        return view_by(self, lambda value: value)

    @property
    def imag(self) -> Any:
        return self * 0

    @property
    def flat(self) -> Any:
        """All elements in C order, for reading and writing; a view of the array."""
        from tracegrad.ops import access

        size = product(self.value.shape)
        return view_by(self, lambda value: access.reshaped(value, (size,)))

    @flat.setter
    def flat(self, value: Any) -> None:
        from tracegrad.tracing.numpy_writing import fill_flat

        fill_flat(self, value)

    def strides_in_memory(self) -> tuple[int, ...] | None:
        """How many elements apart neighbours lie, at this trace; None if it isn't known."""
        trace = current_trace()
        if self.memory is None:
            return None

        def in_order(shape: Shape) -> tuple[int, ...] | None:
            sizes = trace.sizes.known_numbers(shape)
            if sizes is None:
                return None
            return tuple(math.prod(sizes[d + 1 :]) for d in range(len(sizes)))

        shape = self.memory.get(trace).shape
        apart = in_order(shape)
        for stage in self.stages:
            if apart is None or (isinstance(stage, Reshape) and apart != in_order(shape)):
                return None
            apart = in_order(stage.shape) if isinstance(stage, Reshape) else stage.strides(apart)
            shape = stage.shape
        return apart

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
        from tracegrad.tracing.writing import write

        write(self, key, value)

    # -- methods

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argpartition = _method("argpartition")
    argsort = _method("argsort")
    clip = _method("clip")
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
    put = _method("put")
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

    def compress(self, condition: Any, axis: Any = None, out: Any = None) -> Any:
        from tracegrad.tracing.dispatch import call_function

        return call_function(np.compress, (condition, self), {"axis": axis, "out": out})

    def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Any:
        from tracegrad.tracing.dispatch import call_function

        return call_function(np.choose, (self, choices), {"out": out, "mode": mode})

    def sort(
        self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None
    ) -> None:
        self[...] = np.sort(self, axis, kind, order)

    def partition(self, kth: Any, axis: int = -1, kind: str = "introselect") -> None:
        self[...] = np.partition(self, kth, axis)

    def view(self, dtype: Any = None) -> Any:
        if dtype is not None and np.dtype(dtype) != self.dtype:
            raise UnsupportedError(
                "x.view(dtype) reads the bytes of numbers", way_out="convert with x.astype(dtype)"
            )
        return self[...]

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Any:
        from tracegrad.tracing.dispatch import call_function

        target = shape[0] if len(shape) == 1 else shape
        return call_function(np.reshape, (self, target), {"order": order, "copy": copy})

    def transpose(self, *axes: Any) -> Any:
        from tracegrad.tracing.dispatch import call_function

        order = axes[0] if len(axes) == 1 else (axes or None)
        return call_function(np.transpose, (self, order), {})

    def flatten(self, order: str = "C") -> Tracer:
        return Tracer(self.reshape(-1, order=order).value)

    def copy(self, order: str = "C") -> Tracer:
        made = Tracer(self.value)
        if made.memory is not None:
            made.memory.rename("")  # the name is the original's
        return made

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self.copy()

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
        copy: bool = True,
    ) -> Tracer:  # fmt: skip
        from tracegrad.tracing.values import cast, require_cast

        if casting != "unsafe":
            require_cast(self.dtype, dtype, casting)
        changed = cast(self, dtype)
        if changed.value is not self.value:
            return Tracer(changed.value)
        return Tracer(self.value) if copy else self

    def item(self, *args: Any) -> Tracer:
        picked = self[args[0] if len(args) == 1 else args] if args else self
        if len(args) == 1 and self.ndim > 1 and not isinstance(args[0], tuple):
            picked = self.reshape(-1)[args[0]]  # counted in the flattened array
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
        frame = user_frame(sys._getframe(2))
        reason = None if frame is None else why_unseen(frame.f_code)
        unseen = "" if reason is None else f" ({UNSEEN}: {reason})"
        raise NeedsValue(
            f"{what}, but its value is only known at run time{unseen}", way_out=way_out
        )

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

    def __hash__(self) -> int:
        self._refuse(
            f"{self._name()} is used as a key of a dict, or in a set, which need its hash",
            "use a key that is no traced value, or a list in place of the set",
        )

    def __delitem__(self, key: Any) -> NoReturn:
        raise ValueError("cannot delete array elements")

    def is_integer(self) -> Any:
        if self.ndim:
            raise AttributeError("a traced array has no attribute 'is_integer'")
        return np.floor(self) == self

    def __contains__(self, item: Any) -> bool:
        self._refuse(f"`in` asks about {self._name()}", "use np.any(x == item)")

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _name(self) -> str:
        hint = self.value.hint
        return f"the traced {'array' if self.ndim else 'value'}" + (f" {hint!r}" if hint else "")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and not self.ndim and hasattr(np.float64, name):
            self._refuse(
                f"the method {name} of {self._name()} asks for its number",
                "compute it outside and pass the result, or write it with NumPy functions",
            )
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute {name!r}")
        raise UnsupportedError(
            f"the array attribute .{name} is not supported",
            way_out="use the NumPy functions on the whole array",
        )


def view_by(source: Tracer, make: Callable[[Value], Value]) -> Tracer:
    """What ``make`` makes of ``source``'s value with views and reshapes, in the same memory."""
    trace = current_trace()
    if source.memory is None:
        return Tracer(trace.run(make, source.value))
    here = source.value
    with trace.build.open():  # tried on a stand-in, which no view of a view can skip
        stand_in = Value(here.type)
        made = make(stand_in)
    if not made.rank:
        return Tracer(trace.run(make, here))
    stages = _stages(made, stand_in)
    base = source.memory.get(trace)
    return part_of(source.memory, joined((*source.stages, *stages), base.shape))


def part_of(memory: Memory, stages: tuple[Stage, ...]) -> Tracer:
    """The tracer of a view."""
    view = Tracer.__new__(Tracer)
    view.weak = False
    view.context = trace = current_trace()
    view._value = view._seen = None
    # Positions that are known only here are gone with this region.
    moving = any(isinstance(stage, Select) and stage.moves for stage in stages)
    view._region = trace.build.region if moving else memory.region
    view.memory = memory
    view.stages = stages
    return view


def _stages(value: Value, source: Value) -> tuple[Stage, ...]:
    """The way from ``source`` to ``value``: views and reshapes."""
    found: list[Stage] = []
    while value is not source:
        op = value.op
        if op is None or op.name not in ("view", "reshape"):
            raise InternalError("a view was made of something else than views")
        map = op.attributes.get("map")
        found.append(Reshape(value.shape) if map is None else Select(map, value.shape))
        value = op.operands[0]
    return tuple(reversed(found))


def joined(stages: tuple[Stage, ...], shape: Shape) -> tuple[Stage, ...]:
    """Stages without those that change nothing, and selections of selections as one."""
    found: list[Stage] = []
    shapes = [shape]
    sizes = current_trace().sizes
    for stage in (each.resolved(sizes) for each in stages):
        last = found[-1] if found else None
        if isinstance(stage, Select) and isinstance(last, Select):
            found.pop()
            shapes.pop()
            stage = composed(last, stage.places, stage.shape, shapes[-1])
        whole = stage.is_whole(shapes[-1]) if isinstance(stage, Select) else False
        if not whole:
            found.append(stage)
            shapes.append(stage.shape)
    return tuple(found)
