"""The arguments of a call, brought to one form: leaves, how each enters, and their structure."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad import tracing, tree
from tracegrad.errors import ArgumentError, DTypeError, TracegradError, user_place
from tracegrad.same import same_value


@dataclass(frozen=True)
class Leaf:
    """How one leaf of the arguments enters: part of the signature."""

    kind: str
    """"array", "float", "int" or "static"."""
    dtype: np.dtype | None = None
    rank: int = 0
    value: Any = None
    """The value of a static leaf; equal and hashable values share a version."""

    @property
    def static_value(self) -> Any:
        """The value of a static leaf, as the user's function gets it."""
        return self.value.value if isinstance(self.value, _Same) else self.value

    def __str__(self) -> str:
        if self.kind == "array":
            return f"{self.dtype}[{', '.join(':' * self.rank)}]" if self.rank else str(self.dtype)
        return repr(self.value) if self.kind == "static" else self.kind


_FLOAT = Leaf("float")
_INT = Leaf("int")


@functools.lru_cache(maxsize=256)
def _array_leaf(dtype: np.dtype, rank: int) -> Leaf:
    return Leaf("array", dtype.newbyteorder("="), rank)


@dataclass(frozen=True)
class Shape:
    """The structure of a call: its arguments as a tuple, keyword arguments as a dict at the end."""

    structure: tree.Structure
    keywords: bool = False

    def rebuild(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments that have these leaves."""
        args = tree.unflatten(self.structure, leaves)
        return (args[:-1], args[-1]) if self.keywords else (args, {})

    def paths(self, positional: Sequence[str]) -> list[tuple[int | str, str]]:
        """For each leaf, its argument (position or keyword) and its readable name."""
        found: list[tuple[int | str, str]] = []
        width = len(tree.unflatten(self.structure, range(self.structure.leaves)))
        for path in tree.names(self.structure):
            head, _, rest = path.removeprefix("[").partition("]")
            position = int(head)
            if self.keywords and position == width - 1:
                keyword, _, rest = rest.removeprefix("[").partition("]")
                keyword = keyword.strip("'\"")
                found.append((keyword, keyword + rest))
            else:
                name = positional[position] if position < len(positional) else f"arg{position}"
                found.append((position, name + rest))
        return found


def kernel_array(array: np.ndarray) -> Any:
    """An array as kernels take it: C-contiguous, aligned, native byte order; rank 0 a scalar."""
    if array.ndim == 0:
        return array[()]
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


class Binder:
    """Arguments of a call, brought to one form: a structure, its leaves, and their kinds."""

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: int | Sequence[int],
        static_argnames: str | Sequence[str],
    ) -> None:
        self.fun = fun
        try:
            self.signature: inspect.Signature | None = inspect.signature(fun)
        except (TypeError, ValueError):
            self.signature = None
        self.positional = self._positional_names()
        self._fewest, self._most = self._arity()
        self._never_keywords = frozenset(
            name
            for name, p in (self.signature.parameters if self.signature else {}).items()
            if p.kind is p.POSITIONAL_ONLY
        )
        self.static_argnums = _as_tuple(static_argnums)
        self.static_argnames = frozenset(_as_tuple(static_argnames))
        unknown = self.static_argnames - set(self.signature.parameters if self.signature else ())
        if unknown and not self._takes_any_keyword():
            raise ArgumentError(
                f"static_argnames names no parameter: {', '.join(sorted(unknown))}",
                way_out=f"the parameters are {', '.join(self.signature.parameters)}"
                if self.signature
                else "use static_argnums",
            )

    def _takes_any_keyword(self) -> bool:
        return self.signature is None or any(
            p.kind is p.VAR_KEYWORD for p in self.signature.parameters.values()
        )

    def _positional_names(self) -> tuple[str, ...]:
        if self.signature is None:
            return ()
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(n for n, p in self.signature.parameters.items() if p.kind in kinds)

    def plain_names(self) -> tuple[str, ...] | None:
        """The parameters, if every call gives them all and may do so by position or by name."""
        if self.signature is None:
            return None
        parameters = self.signature.parameters.values()
        plain = all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
        return self.positional if plain else None

    def _arity(self) -> tuple[int, float]:
        """How many positional arguments suffice without keywords, and how many there may be."""
        if self.signature is None:
            return 0, math.inf
        parameters = self.signature.parameters.values()
        if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            return 1, 0  # it never does without keywords
        most: float = len(self.positional)
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            most = math.inf
        needed = self.signature.parameters
        return sum(1 for n in self.positional if needed[n].default is inspect.Parameter.empty), most

    def bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Shape, list[Any], tuple[Leaf, ...]]:
        """The structure of the call, its leaves as kernels take them, and their kinds."""
        args, kwargs = self.normal(args, kwargs)
        if self.static_argnums or self.static_argnames:
            args, kwargs = self._mark_static(args, kwargs)
        leaves, structure = tree.flatten((*args, kwargs) if kwargs else args)
        shape = Shape(structure, bool(kwargs))
        kinds = []
        for i, value in enumerate(leaves):
            leaves[i], kind = self._leaf(value, shape, i)
            kinds.append(kind)
        return shape, leaves, tuple(kinds)

    def normal(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keyword arguments that continue the positional ones become positional."""
        rest, full = kwargs, args
        if kwargs:
            rest = dict(kwargs)
            more = []
            for name in self.positional[len(args) :]:
                if name not in rest or name in self._never_keywords:
                    break
                more.append(rest.pop(name))
            full = (*args, *more)
        if self.signature is not None and (rest or not self._fewest <= len(full) <= self._most):
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ArgumentError(
                    f"the call does not fit the function: {error}",
                    way_out=f"its parameters are {self.signature}",
                ) from None
        return full, rest

    def with_defaults(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments in normal form, with the defaults of positional ones that were left out."""
        rest, full = dict(kwargs), list(args)
        for name in self.positional[len(args) :]:
            assert self.signature is not None
            default = self.signature.parameters[name].default
            if name in rest and name not in self._never_keywords:
                full.append(rest.pop(name))
            elif default is not inspect.Parameter.empty:
                full.append(default)
            else:
                break
        return tuple(full), rest

    def _static_positions(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[Any]:
        names = self.static_argnames
        found: set[Any] = {
            i % len(args) for i in self.static_argnums if -len(args) <= i < len(args)
        }
        found |= {i for i, n in enumerate(self.positional[: len(args)]) if n in names}
        found |= {n for n in kwargs if n in names}
        return found

    def _mark_static(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        static = self._static_positions(args, kwargs)
        return (
            tuple(Static(a) if i in static else a for i, a in enumerate(args)),
            {k: Static(v) if k in static else v for k, v in kwargs.items()},
        )

    def _leaf(self, value: Any, shape: Shape, index: int) -> tuple[Any, Leaf]:
        if isinstance(value, Static):
            return value.value, self._static_leaf(value.value, shape, index)
        if tracing.is_tracer(value):
            return value, Leaf("tracer", value=value)
        if isinstance(value, np.ndarray):
            if (
                value.dtype.kind not in "fiub"
                or value.dtype.itemsize > 8
                or (value.dtype == np.float16)
            ):
                raise self._refuse_dtype(value.dtype, shape, index)
            plain = value if type(value) is np.ndarray else np.asarray(value)
            if isinstance(value, np.ma.MaskedArray):
                raise DTypeError(
                    f"argument {self._name(shape, index)} is a masked array",
                    way_out="pass its data and its mask as two arrays",
                )
            if isinstance(value, np.matrix):
                raise DTypeError(
                    f"argument {self._name(shape, index)} is a np.matrix, whose * is a product",
                    way_out="pass np.asarray(x), and write products with @",
                )
            return kernel_array(plain), _array_leaf(value.dtype, value.ndim)
        if isinstance(value, (bool, np.bool_)):
            return bool(value), Leaf("static", value=bool(value))
        if isinstance(value, np.generic):
            if (
                value.dtype.kind not in "fiu"
                or value.dtype.itemsize > 8
                or (value.dtype == np.float16)
            ):
                raise self._refuse_dtype(value.dtype, shape, index)
            return value, _array_leaf(value.dtype, 0)
        if isinstance(value, float):
            return float(value), _FLOAT
        if isinstance(value, int):
            return self._int_leaf(value, shape, index)
        if isinstance(value, complex):
            raise self._refuse_dtype(np.dtype(complex), shape, index)
        if hasattr(value, "__array__") and not callable(value):
            return self._leaf(np.asarray(value), shape, index)
        return value, self._static_leaf(value, shape, index)

    def _int_leaf(self, value: int, shape: Shape, index: int) -> tuple[Any, Leaf]:
        if not -(2**63) <= value < 2**63:
            raise DTypeError(
                f"argument {self._name(shape, index)} does not fit into 64 bits",
                way_out="pass it as a float, or make it static",
            )
        return int(value), _INT

    def _static_leaf(self, value: Any, shape: Shape, index: int) -> Leaf:
        try:
            hash(value)
        except (TypeError, ValueError):  # a memoryview that can be written to has no hash either
            raise ArgumentError(
                f"argument {self._name(shape, index)} of type {type(value).__name__} is "
                "neither a number, an array, nor hashable",
                way_out="pass a dict, list, tuple, NamedTuple or dataclass of arrays, or make the "
                "class hashable",
            ) from None
        return Leaf("static", value=_Same(value))

    def _refuse_dtype(self, dtype: np.dtype, shape: Shape, index: int) -> TracegradError:
        return DTypeError(
            f"argument {self._name(shape, index)} has dtype {dtype}, which has no kernel",
            way_out="pass float64, float32, integer or boolean arrays",
            place=user_place(),
        )

    def _name(self, shape: Shape, index: int) -> str:
        return repr(self.leaf_names(shape)[index])

    def leaf_names(self, shape: Shape) -> list[str]:
        """A readable name for each leaf: ``w``, ``params['w']``, …"""
        return [name for _, name in shape.paths(self.positional)]

    def selection(self, shape: Shape, kinds: Sequence[Leaf]) -> Selection:
        """The leaves of the call, by argument."""
        return Selection(tuple(shape.paths(self.positional)), self.positional, tuple(kinds), shape)


class Static:
    """Marks an argument whose value is part of the signature."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Same:
    """Compares a static value as `same_value` does: ``1`` and ``1.0`` and ``True`` differ."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and same_value(self.value, other.value)

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, eq=False)
class Selection:
    """The leaves of the arguments, by argument."""

    paths: tuple[tuple[int | str, str], ...]
    positional: tuple[str, ...]
    kinds: tuple[Leaf, ...]
    shape: Shape

    def leaves_of(self, argument: int | str) -> list[int]:
        """Indices of the leaves of a positional (int) or keyword (str) argument."""
        return [i for i, (owner, _) in enumerate(self.paths) if owner == argument]

    def name(self, leaf: int) -> str:
        return self.paths[leaf][1]


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, (int, str)) else tuple(value)
