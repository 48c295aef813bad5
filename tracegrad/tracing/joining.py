"""Values that come from two sides: the arms of a branch, or before a loop and after a trip.

What both sides hold alike stays as it is. Numbers and arrays that differ become one value of the
IR; tuples, lists and dicts are joined element by element. The *spec* of such a value says which
leaves it has and of what types, so that a loop can carry it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from tracegrad.errors import UnsupportedError, user_place
from tracegrad.ir.core import Region, Value
from tracegrad.ir.sizes import type_symbols
from tracegrad.ir.types import ArrayType, Shape
from tracegrad.ops import access
from tracegrad.staging import UNBOUND
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.memory import Memory
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, common_dtype, ir_dtype, lift, to_shape, wrap

__all__ = [
    "Clash", "Const", "Leaf", "Maybe", "Node", "Nothing", "Perhaps", "Spec", "Torn", "Unset",
    "converted", "is_clash", "join", "leaf_types", "local_size", "paired", "rebuilt", "same",
    "spec_of", "stale",
]  # fmt: skip


class Unset:
    """Stands for a name without a value at the beginning of a trip of a loop.

    Whether it has one in later trips shows only when the body has been traced: see `rolled`.
    """

    __slots__ = ("loop", "position")

    def __init__(self, loop: Any, position: int) -> None:
        self.loop = loop
        self.position = position


class Maybe:
    """The value of a name that may have none: ``bound`` tells at run time."""

    __slots__ = ("bound", "value")

    def __init__(self, value: Any, bound: Tracer) -> None:
        self.value = value
        self.bound = bound

    def settled_value(self) -> Any:
        """The value, with a check at run time that there is one."""
        from tracegrad.tracing.raising import settled

        return settled(self, "the value")


class Torn:
    """What a name holds that two sides left with values that can't be one."""

    def __init__(self, message: str, way_out: str = "") -> None:
        self.__dict__["message"] = message
        self.__dict__["way_out"] = way_out or "give it the same kind of value on both sides"
        self.__dict__["place"] = user_place()

    def settled_value(self) -> NoReturn:
        self.refuse()

    def refuse(self) -> NoReturn:
        raise UnsupportedError(
            self.__dict__["message"],
            way_out=self.__dict__["way_out"],
            place=self.__dict__["place"],
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__array"):
            raise AttributeError(name)
        self.refuse()

    def _used(self, *others: Any) -> Any:
        self.refuse()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _used
    __rtruediv__ = __matmul__ = __rmatmul__ = __pow__ = __rpow__ = __neg__ = __abs__ = _used
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __int__ = __index__ = _used
    __getitem__ = __iter__ = __call__ = __len__ = _used


# --- specs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """A number or array."""

    dtype: np.dtype
    shape: Shape
    weak: bool


@dataclass(frozen=True, eq=False)
class Const:
    """An object that is the same on both sides; no value of the IR."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and _equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))


@dataclass(frozen=True)
class Node:
    """A tuple, list or dict."""

    kind: type
    keys: tuple[Any, ...]
    children: tuple[Spec, ...]


@dataclass(frozen=True)
class Perhaps:
    """A value that a name may not have."""

    child: Spec


@dataclass(frozen=True)
class Nothing:
    """No value."""


@dataclass(frozen=True)
class Clash:
    """Two values that can't be one, and why."""

    why: str


Spec = Leaf | Const | Node | Perhaps | Nothing | Clash
_NUMBERS = bool | int | float | np.generic


def is_gone(value: Any) -> bool:
    """Whether a value belongs to a region that was left: no code reads a name that holds it."""
    if isinstance(value, Tracer):
        return not current_trace().is_visible(value._region)
    if isinstance(value, tuple | list):
        return any(map(is_gone, value))
    return isinstance(value, Maybe) and is_gone(value.bound)


def spec_of(value: Any) -> Spec:
    """What ``value`` is made of."""
    if is_gone(value):
        return Nothing()
    if isinstance(value, Tracer):
        dtype, shape = _type_of(value)
        return Leaf(dtype, current_trace().sizes.shape(shape), value.weak)
    if isinstance(value, TracedInt):
        return Leaf(np.dtype(np.int64), (), True)
    if isinstance(value, np.ndarray):
        return spec_of(lift(value))
    if value is UNBOUND or isinstance(value, Unset):
        return Nothing()
    if isinstance(value, Maybe):
        return Perhaps(spec_of(value.value))
    if isinstance(value, Torn):
        return Clash(value.__dict__["message"])
    if isinstance(value, tuple | list):
        return Node(type(value), (len(value),), tuple(map(spec_of, value)))
    if type(value) is dict:
        return Node(dict, tuple(value), tuple(map(spec_of, value.values())))
    return Const(value)


def _type_of(value: Tracer) -> tuple[np.dtype, Shape]:
    """Of what dtype and shape it is; this is not to read it."""
    if value.memory is None:
        return value.dtype, ()
    whole = value.memory.variable.type
    return whole.dtype.numpy, value.stages[-1].shape if value.stages else whole.shape


def stale(value: Any) -> str | None:
    """Why an array, or one among the leaves of a value, can't be used any more."""
    memories = [array.memory for array in arrays_in(value)]
    return next((m.stale for m in memories if m is not None and m.stale is not None), None)


def join(one: Spec, other: Spec) -> Spec:
    """The spec of a value that is one or the other."""
    if one == other:
        return one
    for a, b in ((one, other), (other, one)):
        if isinstance(a, Clash):
            return a
        if isinstance(a, Nothing):
            return b if isinstance(b, Perhaps) else Perhaps(b)
    if isinstance(one, Perhaps) or isinstance(other, Perhaps):
        children = [s.child if isinstance(s, Perhaps) else s for s in (one, other)]
        child = join(*children)
        return child if isinstance(child, Clash) else Perhaps(child)
    if isinstance(one, Node) and isinstance(other, Node):
        if one.kind is not other.kind or one.keys != other.keys:
            return Clash(f"{_words(one)} on one side and {_words(other)} on the other")
        children = [join(a, b) for a, b in zip(one.children, other.children, strict=True)]
        clash = next((child for child in children if isinstance(child, Clash)), None)
        return clash or Node(one.kind, one.keys, tuple(children))
    leaves = [as_leaf(spec) for spec in (one, other)]
    if leaves[0] is None or leaves[1] is None:
        return Clash(f"{_words(one)} on one side and {_words(other)} on the other")
    return _joined(leaves[0], leaves[1])


def _joined(one: Leaf, other: Leaf) -> Leaf | Clash:
    sizes = current_trace().sizes
    fits = len(one.shape) == len(other.shape) and all(
        sizes.equal(a, b) for a, b in zip(one.shape, other.shape, strict=True)
    )
    if not fits:
        return Clash(f"{_words(one)} on one side and {_words(other)} on the other")
    dtype = common_dtype([_example(one), _example(other)])
    return Leaf(dtype, sizes.shape(one.shape), one.weak and other.weak)


def _example(leaf: Leaf) -> Any:
    if leaf.weak:
        return {"f": 0.0, "i": 0, "b": False}[leaf.dtype.kind]
    return leaf.dtype.type(0)


def as_leaf(spec: Spec) -> Leaf | None:
    if isinstance(spec, Leaf):
        return spec
    if isinstance(spec, Const) and isinstance(spec.value, _NUMBERS):
        value = spec.value
        weak = not isinstance(value, np.generic)
        dtype = value.dtype if isinstance(value, np.generic) else np.result_type(type(value))
        return Leaf(dtype, (), weak) if dtype.kind in "fiub" else None
    return None


def _words(spec: Spec) -> str:
    if isinstance(spec, Leaf):
        if not spec.shape:
            return f"a number ({spec.dtype})"
        return f"an array of shape ({', '.join(map(str, spec.shape))})"
    if isinstance(spec, Node):
        return f"a {spec.kind.__name__} of {len(spec.children)}"
    if isinstance(spec, Const):
        if isinstance(spec.value, _NUMBERS | str | None):
            return repr(spec.value)
        return f"an object of type {type(spec.value).__name__}"
    return "something"


def local_size(spec: Spec, outside: Region | None = None) -> Clash | None:
    """Why a value can't leave the region it is from: an array of a length known only there."""
    trace = current_trace()
    for type in leaf_types(spec):
        for name in type_symbols(type):
            if not trace.is_bound(name, outside=outside):
                return Clash("an array whose length is known only in there")
    return None


def is_clash(spec: Spec) -> bool:
    return isinstance(spec, Clash)


_COMPARED = (str, bytes, bool, int, float, complex, np.generic, range, slice, type(None))


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b) or not isinstance(a, _COMPARED):
        return False
    if isinstance(a, float | np.floating):
        return bool(a == b and np.signbit(a) == np.signbit(b)) or bool(a != a and b != b)
    return bool(a == b)


def same(a: Any, b: Any) -> bool:
    """Whether two values are one already."""
    if a is b:
        return True
    if isinstance(a, Tracer) and isinstance(b, Tracer):
        if a.memory is not None:
            return a.memory is b.memory and a.stages == b.stages
        return b.memory is None and a._value is b._value and a.weak == b.weak
    if isinstance(a, TracedInt) and isinstance(b, TracedInt):
        resolve = current_trace().sizes.resolve
        return resolve(a.dim) == resolve(b.dim)
    if type(a) is not type(b):
        return (isinstance(a, Unset) and b is UNBOUND) or (a is UNBOUND and isinstance(b, Unset))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return tuple(a) == tuple(b) and all(same(a[key], b[key]) for key in a)
    return not isinstance(a, Tracer | np.ndarray) and _equal(a, b)


# --- to the IR and back -----------------------------------------------------------------------


def leaf_types(spec: Spec) -> list[ArrayType]:
    """The types of the values that a value of this spec is made of."""
    if isinstance(spec, Leaf):
        return [ArrayType(ir_dtype(spec.dtype), current_trace().sizes.shape(spec.shape))]
    if isinstance(spec, Perhaps):
        return [*leaf_types(spec.child), ArrayType(ir_dtype(np.bool_))]
    if isinstance(spec, Node):
        return [type for child in spec.children for type in leaf_types(child)]
    return []


def converted(spec: Spec, value: Any) -> list[Value]:
    """``value`` as values of the IR, computed here; zeros where it has none."""
    if is_gone(value):
        value = UNBOUND
    if isinstance(spec, Perhaps):
        if isinstance(value, Maybe):
            return [*converted(spec.child, value.value), lift(value.bound).value]
        missing = value is UNBOUND or isinstance(value, Unset)
        return [*converted(spec.child, value), lift(not missing).value]
    if isinstance(value, Maybe):
        value = value.value
    if isinstance(spec, Leaf):
        (type,) = leaf_types(spec)
        if value is UNBOUND or isinstance(value, Unset):
            filled: Value = current_trace().run(access.zeros, type.shape, type.dtype)
            return [filled]
        return [to_shape(cast(lift(value), spec.dtype).value, type.shape)]
    if isinstance(spec, Node):
        parts: Sequence[Any]
        if value is UNBOUND or isinstance(value, Unset):
            parts = [UNBOUND] * len(spec.children)
        else:
            parts = list(value.values()) if spec.kind is dict else list(value)
        return [
            each
            for child, part in zip(spec.children, parts, strict=True)
            for each in converted(child, part)
        ]
    return []


def rebuilt(spec: Spec, values: Iterator[Value]) -> Any:
    """The user's value from values of the IR; the reverse of `converted`."""
    if isinstance(spec, Leaf):
        return wrap(next(values), spec.weak)
    if isinstance(spec, Perhaps):
        child = rebuilt(spec.child, values)
        return Maybe(child, wrap(next(values)))
    if isinstance(spec, Node):
        parts = [rebuilt(child, values) for child in spec.children]
        if spec.kind is dict:
            return dict(zip(spec.keys, parts, strict=True))
        if hasattr(spec.kind, "_make"):
            return spec.kind._make(parts)
        return spec.kind(parts)
    if isinstance(spec, Const):
        return spec.value
    if isinstance(spec, Clash):
        return Torn(spec.why)
    return UNBOUND


def arrays_in(value: Any) -> Iterator[Tracer]:
    """The arrays among the leaves of a value, in the order of `converted`."""
    if isinstance(value, Tracer):
        if value.memory is not None:
            yield value
    elif isinstance(value, Maybe):
        yield from arrays_in(value.value)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from arrays_in(each)
    elif type(value) is dict:
        for each in value.values():
            yield from arrays_in(each)


def paired(value: Any, other: Any) -> list[tuple[Memory, Memory]]:
    """The memories of the leaves of two values that were joined, side by side."""
    one, two = ([a.memory for a in arrays_in(each) if a.memory] for each in (value, other))
    if len(one) == len(two):
        return list(zip(one, two, strict=True))
    return [(a, b) for a in one for b in two]
