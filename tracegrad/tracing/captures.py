"""What a traced function uses besides its arguments: arrays by reference, the rest by value.

An array that a global, a closure or an object holds becomes a kernel input, fetched anew at
each call *along the path by which the function reached it*: changed in place or bound anew,
the kernel sees it. Numbers, strings, functions and the build of containers are part of the
trace; each call checks that the names still hold them, and traces again if not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from tracegrad.errors import DTypeError
from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType
from tracegrad.same import same_value
from tracegrad.tracing.tracer import Tracer

__all__ = ["Captures", "Path", "cell_path", "global_path", "held_path"]

_LOOK_AT_MOST = 20_000
_DEEPEST = 6
_SMALL_CONSTANT = 16


@dataclass(frozen=True, eq=False)
class Path:
    """How Python reaches a value: a root that is looked up, then attributes and items."""

    key: tuple[Any, ...]
    root: Callable[[], Any]
    text: str
    steps: tuple[tuple[str, Any], ...] = ()
    place: tuple[str, Any] | None = None
    """Where the root looks, for who looks there himself: an item ``name`` of a "global"
    namespace, a "cell", or an object that is "held"."""

    def fetch(self) -> Any:
        """What is there now; any lookup error if there is nothing."""
        value = self.root()
        for kind, name in self.steps:
            value = getattr(value, name) if kind == "." else value[name]
        return value

    def then(self, kind: str, name: Any) -> Path:
        text = f"{self.text}.{name}" if kind == "." else f"{self.text}[{name!r}]"
        return Path(
            (*self.key, kind, type(name), name),
            self.root,
            text,
            (*self.steps, (kind, name)),
            self.place,
        )


def global_path(namespace: dict[str, Any], name: str) -> Path:
    place = ("global", (namespace, name))
    return Path(("global", id(namespace), name), lambda: namespace[name], name, place=place)


def cell_path(cell: CellType, name: str) -> Path:
    return Path(("cell", id(cell), name), lambda: cell.cell_contents, name, place=("cell", cell))


def default_path(function: FunctionType, name: str) -> Path:
    """The default of a parameter."""
    return Path(("default", id(function), name), lambda: _defaults(function)[name], name)


def _defaults(function: FunctionType) -> dict[str, Any]:
    given = function.__defaults__ or ()
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    found = dict(zip(names[len(names) - len(given) :], given, strict=True))
    return {**found, **(function.__kwdefaults__ or {})}


def held_path(value: Any, name: str) -> Path:
    return Path(("held", id(value)), lambda: value, name, place=("held", value))


@dataclass(frozen=True, eq=False)
class Check:
    """An assumption about what a path holds."""

    path: Path
    holds_for: Callable[[Any], bool]
    known: tuple[Any, ...] = ()
    """An object that it holds for, whatever its state; there may be others."""

    def holds(self) -> bool:
        try:
            return self.holds_for(self.path.fetch())
        except Exception:  # the name is gone, or a property failed: not what was assumed
            return False


@dataclass(eq=False)
class CapturedArray:
    path: Path
    tracer: Tracer
    param: Value
    dtype: np.dtype
    rank: int

    def fetch(self) -> np.ndarray:
        array: np.ndarray = self.path.fetch()
        return array

    def holds(self) -> bool:
        try:
            now = self.path.fetch()
        except Exception:  # as in Check
            return False
        return isinstance(now, np.ndarray) and now.dtype == self.dtype and now.ndim == self.rank


_SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
_CODE = (FunctionType, BuiltinFunctionType, type, np.ufunc, ModuleType)
_LIBRARIES = (
    frozenset({"numpy", "scipy", "numba", "tracegrad", "builtins"}) | sys.stdlib_module_names
) - {"test"}  # a name that users give their own files


def is_library(name: str | None) -> bool:
    """Whether a module is not the user's: nobody rebinds names in it."""
    return (name or "").partition(".")[0] in _LIBRARIES


def _snapshot(value: Any, depth: int = 0) -> Any:
    """The build of a container: what may not change, arrays by their type only."""
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.ndim)
    if isinstance(value, _SCALARS):
        return (type(value), repr(value))
    if depth < _DEEPEST:
        if isinstance(value, list | tuple):
            return (type(value), tuple(_snapshot(each, depth + 1) for each in value))
        if isinstance(value, dict):
            pairs = ((_snapshot(k), _snapshot(v, depth + 1)) for k, v in value.items())
            return (type(value), tuple(pairs))
        if isinstance(value, set | frozenset):
            return (type(value), frozenset(_snapshot(each) for each in value))
    return ("object", id(value))


@dataclass(eq=False)
class Captures:
    """The captures of one trace.

    ``new_param`` makes an input of the kernel; it is set by the trace that owns these.
    """

    new_param: Callable[[ArrayType, str], Value] = field(init=False)
    new_shape: Callable[[np.ndarray, str], ArrayType] = field(init=False)
    arrays: dict[tuple[Any, ...], CapturedArray] = field(default_factory=dict)
    checks: dict[tuple[Any, ...], Check] = field(default_factory=dict)
    _known: dict[int, tuple[Any, Path]] = field(default_factory=dict)
    _functions: dict[int, FunctionType] = field(default_factory=dict)
    _fresh: dict[int, np.ndarray] = field(default_factory=dict)
    _elsewhere: dict[int, Any] = field(default_factory=dict)

    # -- told by the hooks

    def entered(self, function: FunctionType) -> None:
        """``function`` runs in this trace: its globals and cells are where arrays come from."""
        if id(function) not in self._functions:
            self._functions[id(function)] = function
            self._elsewhere.clear()

    def fresh(self, array: np.ndarray) -> np.ndarray:
        """``array`` was just made by the traced code, of constants only."""
        self._fresh[id(array)] = array
        return array

    def path_of(self, value: Any) -> Path | None:
        """How the function reached an object outside; None for one it made itself."""
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in self._elsewhere or isinstance(value, (*_CODE, *_SCALARS)):
            return None
        path = next(self._search(value), None)
        if path is None:
            self._elsewhere[id(value)] = value
        else:
            self._known[id(value)] = (value, path)
        return path

    def hold(self, value: Any, name: str) -> None:
        """``value`` is fixed for the life of the trace (the ``self`` of a bound method)."""
        self._known.setdefault(id(value), (value, held_path(value, name)))

    def read(self, value: Any, path: Path) -> Any:
        """``value`` was found at ``path``: what the traced code gets in its place."""
        if isinstance(value, np.ndarray):
            return self._array_at(value, path)
        if isinstance(value, ModuleType):
            self._known.setdefault(id(value), (value, held_path(value, value.__name__)))
            return value
        if path.key in self.checks:
            return value
        if isinstance(value, _SCALARS):
            self.checks[path.key] = Check(path, lambda now: same_value(now, value), (value,))
            return value
        if isinstance(value, list | tuple | dict | set | frozenset):
            snapshot = _snapshot(value)
            self.checks[path.key] = Check(path, lambda now: _snapshot(now) == snapshot)
        else:
            self.checks[path.key] = Check(path, lambda now: now is value, (value,))
        if not isinstance(value, _CODE):
            self._known.setdefault(id(value), (value, path))
        return value

    # -- arrays

    def array(self, array: np.ndarray) -> Tracer:
        """The tracer of an array that met a traced value."""
        found = self.find(array)
        if found is not None:
            return found
        if id(array) in self._fresh and array.size <= _SMALL_CONSTANT:
            return self._constant(array)
        return self._array_at(array, held_path(array, "constant"))

    def find(self, array: np.ndarray) -> Tracer | None:
        """The tracer of an array that a global, closure or known object holds, if one does."""
        if id(array) in self._fresh or id(array) in self._elsewhere:
            return None
        paths = list(self._search(array))
        if not paths:
            self._elsewhere[id(array)] = array
            return None
        first, *others = paths
        for other in others:
            # Two ways to one array: they must stay ways to one array.
            self.checks.setdefault(other.key, Check(other, lambda now: now is first.fetch()))
        return self._array_at(array, first)

    def _array_at(self, array: np.ndarray, path: Path) -> Tracer:
        known = self.arrays.get(path.key)
        if known is None:
            name = "".join(c if c.isalnum() else "_" for c in path.text).strip("_") or "constant"
            if isinstance(array, np.matrix | np.ma.MaskedArray):
                raise DTypeError(
                    f"the array {path.text!r} is a {type(array).__name__}",
                    way_out="use np.asarray of it, outside the function",
                )
            if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
                raise DTypeError(
                    f"the array {path.text!r} has dtype {array.dtype}, which has no kernel",
                    way_out="use float64, float32, integer or boolean arrays",
                )
            param = self.new_param(self.new_shape(array, name), name)
            tracer = Tracer(param, outside=f"the captured array {path.text!r}")
            known = CapturedArray(path, tracer, param, array.dtype, array.ndim)
            self.arrays[path.key] = known
        return known.tracer

    def _constant(self, array: np.ndarray) -> Tracer:
        from tracegrad.tracing.state import current_trace
        from tracegrad.tracing.values import ir_dtype

        nested = array.tolist()
        value = _as_tuples(nested)
        dtype = ir_dtype(array.dtype)
        return Tracer(current_trace().emit("const", value=value, dtype=dtype))

    def _search(self, wanted: Any) -> Iterator[Path]:
        """Paths from the roots to an array or object, by identity, nearest first."""
        level = list(self._roots())
        seen: set[int] = set()
        looked = 0
        for _ in range(_DEEPEST):
            following: list[tuple[Any, Path]] = []
            for value, path in level:
                looked += 1
                if looked > _LOOK_AT_MOST:
                    return
                if value is wanted:
                    yield path
                elif id(value) not in seen and not isinstance(value, np.ndarray):
                    seen.add(id(value))
                    following.extend(_inside(value, path))
            level = following

    def _roots(self) -> Iterator[tuple[Any, Path]]:
        for function in self._functions.values():
            code = function.__code__
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
                try:
                    yield cell.cell_contents, cell_path(cell, name)
                except ValueError:  # an empty cell
                    continue
            for name, value in _defaults(function).items():
                yield value, default_path(function, name)
            namespace = function.__globals__
            for name in _names(code):
                if name in namespace:
                    yield namespace[name], global_path(namespace, name)
        for value, path in list(self._known.values()):
            if not isinstance(value, ModuleType):
                yield value, path

    # -- at each call

    def changed(self) -> str | None:
        """The name of something that does not hold what the trace read there, if there is one."""
        for check in self.checks.values():
            if not check.holds():
                return check.path.text
        return None

    def hold_now(self) -> bool:
        """Whether every captured name still has what the trace assumed of it."""
        return all(check.holds() for check in self.checks.values()) and all(
            captured.holds() for captured in self.arrays.values()
        )


def _as_tuples(nested: Any) -> Any:
    return tuple(map(_as_tuples, nested)) if isinstance(nested, list) else nested


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _inside(value: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    if isinstance(value, (*_CODE, *_SCALARS, Tracer)):
        return
    if isinstance(value, list | tuple):
        for position, each in enumerate(value):
            yield each, path.then("[]", position)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(key, _SCALARS):
                yield each, path.then("[]", key)
    else:
        held = getattr(value, "__dict__", None)
        for name, each in held.items() if isinstance(held, dict) else ():
            yield each, path.then(".", name)
        for cls in type(value).__mro__:
            for name in getattr(cls, "__slots__", ()):
                if isinstance(name, str) and name in cls.__dict__ and hasattr(value, name):
                    yield getattr(value, name), path.then(".", name)
