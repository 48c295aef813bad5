"""Running a function of the IR, one operation after the other, with NumPy.

It is the meaning of the IR in a form simple enough to be trusted: each operation is its
`OpDef.reference`. Array form and loop form both run. Slow; tests compare everything else with it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracegrad.errors import ArgumentError, GuardFailed, InternalError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.types import Dim, Size, is_symbol
from tracegrad.ir.types import evaluate as dim_value

Array = np.ndarray
Environment = dict[Value, Array]
Observer: TypeAlias = "Callable[[Operation, Sequence[Array], Sequence[Array]], None]"


def evaluate(
    function: Function, *arrays: Any, observer: Observer | None = None
) -> tuple[Array, ...]:
    """The results of ``function`` for these arguments; scalars are arrays of rank 0.

    Parameters
    ----------
    observer : called as ``observer(op, operands, results)`` each time an operation has run; one
        with regions has run after what is in them.

    Raises
    ------
    ArgumentError : an argument has another dtype or rank than its parameter.
    GuardFailed : the sizes are not those that the function was made for.
    IndexError : an index value is out of range.
    """
    if len(arrays) != len(function.params):
        raise ArgumentError(
            f"{function.name} takes {len(function.params)} arguments, not {len(arrays)}"
        )
    arguments = [_argument(p, a) for p, a in zip(function.params, arrays, strict=True)]
    sizes = bind_sizes(function, arguments)
    machine = _Machine(sizes, observer, function.parts)
    # Infinities and NaN are values like others here, as in a compiled kernel: no warnings.
    with np.errstate(all="ignore"):
        return machine.run(function.body, arguments)


def bind_sizes(function: Function, arguments: Sequence[Array]) -> dict[str, int]:
    """The value of every symbol that the arguments bind; parameter types and guards are checked."""
    sizes: dict[str, int] = {}
    for symbol, (index, axis) in function.size_sources().items():
        argument = arguments[index]
        sizes[symbol] = int(argument) if axis is None else argument.shape[axis]
    for param, argument in zip(function.params, arguments, strict=True):
        for axis, (dim, size) in enumerate(zip(param.shape, argument.shape, strict=True)):
            if dim_value(dim, sizes) != size:
                raise GuardFailed(f"{param.hint or 'x'}.shape[{axis}] == {dim}")
    for guard in function.guards:
        if not guard.holds(sizes):
            raise GuardFailed(str(guard))
    return sizes


def _argument(param: Value, given: Any) -> Array:
    array = np.asarray(given)
    if array.dtype != param.dtype.numpy or array.ndim != param.rank:
        raise ArgumentError(
            f"parameter {param.hint or '?'} is {param.type}; given: {array.dtype} of rank "
            f"{array.ndim}"
        )
    return array


def concrete(value: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute with its dimensions evaluated, tuples included."""
    if isinstance(value, Size):
        return dim_value(value, sizes)
    if isinstance(value, tuple):
        return tuple(concrete(v, sizes) for v in value)
    return value


class _Machine:
    def __init__(
        self,
        sizes: dict[str, int],
        observer: Observer | None,
        parts: Mapping[str, Function] | None = None,
    ) -> None:
        self.sizes: ChainMap[str, int] = ChainMap(sizes)
        self.parts = parts or {}
        self.growing: set[str] = set()
        self.env: Environment = {}
        self.observer = observer

    def run(self, region: Region, arguments: Iterable[Array]) -> tuple[Array, ...]:
        """The values that ``region`` yields; its own values stay in the environment."""
        for param, array in zip(region.params, arguments, strict=True):
            self.env[param] = array
        for op in region.ops:
            self.step(op)
        return tuple(self.env[v] for v in region.yields)

    def step(self, op: Operation) -> None:
        operands = [self.env[v] for v in op.operands]
        control = _CONTROL.get(op.name)
        if control is not None:
            results: Sequence[Any] = control(self, op, operands)
        else:
            # A size that the results bind is not known yet: the op finds it.
            attributes = {
                k: v if k == "size" and op.name in BINDING else concrete(v, self.sizes)
                for k, v in op.attributes.items()
            }
            found = op.opdef.reference(*operands, **attributes)
            results = found if isinstance(found, tuple) else (() if found is None else (found,))
        if len(results) != len(op.results):
            raise InternalError(f"{op.name} gave {len(results)} results, not {len(op.results)}")
        if op.name in ("tape", "ensure"):
            self.grow(op.result, len(results[0]))
        elif op.name == "bind":
            self.sizes[str(op.attributes["size"])] = int(results[0])
        for value, result in zip(op.results, results, strict=True):
            self.env[value] = self.checked(op, value, result)
        if self.observer is not None:
            self.observer(op, operands, [self.env[v] for v in op.results])

    def grow(self, value: Value, length: int) -> None:
        """The size of an array that can grow, wherever its symbol was bound."""
        name = is_symbol(value.shape[0])
        if name is None:
            return
        if name not in self.growing or all(name not in m for m in self.sizes.maps):
            self.growing.add(name)
            self.sizes[name] = length
        for bound in self.sizes.maps:
            if name in bound:
                bound[name] = max(bound[name], length)
                return

    def checked(self, op: Operation, value: Value, result: Any) -> Array:
        """``result`` as an array of the type of ``value``; an opaque dimension is bound by it."""
        array: Array = np.asarray(result)
        if array.dtype != value.dtype.numpy or array.ndim != value.rank:
            raise InternalError(
                f"{op.name}: the reference gave {array.dtype} of rank {array.ndim} for {value.type}"
            )
        for dim, size in zip(value.shape, array.shape, strict=True):
            if self.size(dim, size) != size and not (
                # An earlier version of an array that has grown since.
                is_symbol(dim) in self.growing and size < self.size(dim, size)
            ):
                raise InternalError(
                    f"{op.name}: the reference gave the shape {array.shape} for {value.type}"
                )
        return array

    def size(self, dim: Dim, seen: int) -> int:
        name = is_symbol(dim)
        if name is not None:
            return self.sizes.setdefault(name, seen)
        return dim_value(dim, self.sizes)

    # --- control flow

    def scoped(self, region: Region, arguments: Iterable[Array]) -> tuple[Array, ...]:
        """Run a region once; the opaque sizes it binds are its own."""
        outer = self.sizes
        self.sizes = outer.new_child()
        try:
            return self.run(region, arguments)
        finally:
            self.sizes = outer

    def for_(self, op: Operation, operands: list[Array]) -> tuple[Array, ...]:
        (body,) = op.regions
        lo, hi, step, *carried = operands
        state = tuple(carried)
        for i in range(int(lo), int(hi), int(step)):
            state = self.scoped(body, (np.asarray(i, dtype=np.int64), *state))
        return state

    def while_(self, op: Operation, operands: list[Array]) -> tuple[Array, ...]:
        condition, body = op.regions
        state = tuple(operands)
        while bool(self.scoped(condition, state)[0]):
            state = self.scoped(body, state)
        return state

    def if_(self, op: Operation, operands: list[Array]) -> tuple[Array, ...]:
        predicate, *arguments = operands
        then, otherwise = op.regions
        return self.scoped(then if bool(predicate) else otherwise, arguments)

    def custom(self, op: Operation, operands: list[Array]) -> tuple[Array, ...]:
        return tuple(operands[: op.attributes["outs"]])

    def parallel(self, op: Operation, operands: list[Array]) -> tuple[Array, ...]:
        """Three chunks, the last one first: their order must not matter."""
        part = self.parts[op.attributes["part"]]
        lo, hi, *given = operands
        trips = max(0, int(hi) - int(lo))
        chunks = min(CHUNKS, trips)
        ends = [int(lo) + trips * c // max(1, chunks) for c in range(chunks + 1)]
        own = [CHUNKS * [given[k]] for k in op.attributes["own"]]
        found: list[tuple[Array, ...]] = []
        for c in reversed(range(chunks)):
            arguments = [np.asarray(end, dtype=np.int64) for end in ends[c : c + 2]] + given
            for copies, k in zip(own, op.attributes["own"], strict=True):
                if c:
                    copies[c] = np.zeros_like(given[k])
                arguments[2 + k] = copies[c]
            inner = _Machine(bind_sizes(part, arguments), self.observer)
            found.insert(0, inner.run(part.body, arguments))
        for first, *others in own:
            for other in others[: max(0, chunks - 1)]:
                first += other
        results = []
        for k, name in enumerate(op.attributes["combine"]):
            total = start_of(name, op.attributes["dtypes"][k].numpy)
            for chunk in found:
                total = COMBINE[name](total, chunk[k])
            results.append(total)
        return tuple(results)


CHUNKS = 3


def start_of(name: str, dtype: np.dtype) -> Any:
    """What a sum of nothing is; the least and the greatest of nothing are no number."""
    if name in ("add", "multiply"):
        return dtype.type(name == "multiply")
    if dtype.kind == "f":
        return dtype.type(-np.inf if name == "maximum" else np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if name == "maximum" else limits.max)


COMBINE = {"add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum}

_CONTROL = {
    "for": _Machine.for_,
    "while": _Machine.while_,
    "if": _Machine.if_,
    "custom": _Machine.custom,
    "parallel": _Machine.parallel,
}
