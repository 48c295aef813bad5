"""Writing loop form: open regions, values that belong to one of them, registers carried through.

A *level* is an open region: the function's body, a loop, or the arm of an ``if``. An operation
is written into the outermost open level in which its operands are known; that is the hoisting of
loop-invariant code, which LLVM often can't do because of the stores in the loop.

A `Register` is a scalar that loops update. The loops it passes through get a carried value when
it is first touched in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracegrad.ir.core import Location, Operation, Region, Value
from tracegrad.ir.types import ArrayType, Dim, DType, i64, scalar
from tracegrad.ops.registry import REGISTRY


class Register:
    """A scalar updated in loops; ``values`` holds its value at each open level."""

    __slots__ = ("hint", "home", "values")

    def __init__(self, home: Level, start: Value, hint: str) -> None:
        self.home = home
        self.hint = hint
        self.values: dict[Level, Value] = {home: start}


class Level:
    """An open region."""

    __slots__ = ("depth", "index", "is_arm", "memo", "parent", "region", "threaded", "touched")

    def __init__(self, parent: Level | None, *, is_arm: bool = False) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.is_arm = is_arm
        self.region = Region()
        self.index: Value | None = None
        self.memo: list[Any] = []
        self.threaded: dict[Register, tuple[Value, Value]] = {}
        self.touched: dict[Register, None] = {}


class Writer:
    """Appends loop-form operations to a stack of open levels."""

    def __init__(self) -> None:
        self.levels = [Level(None)]
        self.depth_of: dict[Value, int] = {}
        self.memo: dict[Any, Value] = {}
        self.location: Location | None = None
        self.part = "forward"

    @property
    def level(self) -> Level:
        return self.levels[-1]

    @property
    def arm_depth(self) -> int:
        """The depth of the innermost open arm: reads must not be hoisted out of it."""
        for level in reversed(self.levels):
            if level.is_arm:
                return level.depth
        return 0

    # --- operations --------------------------------------------------------------------

    def emit(
        self,
        name: str,
        operands: Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        *,
        floor: int = 0,
        hint: str = "",
        type: ArrayType | None = None,
    ) -> Value:
        """Write a pure operation as far out as its operands (and ``floor``) allow."""
        if name == "add":
            # A pad outside of its segment is a zero; kernels do not keep the sign of one (nsz).
            for zero, other in (operands, reversed(operands)):
                if _is_zero(zero) and other.dtype.is_float:
                    return other
        depth = max([floor, *(self.depth_of.get(v, 0) for v in operands)])
        attributes = {} if attributes is None else attributes
        opdef = REGISTRY[name]
        if type is None:
            inferred = opdef.infer(*[v.type for v in operands], **attributes)
            assert isinstance(inferred, ArrayType)
            type = inferred
        op = Operation(opdef, tuple(operands), attributes, (), (type,), self.location, self.part)
        self.levels[depth].region.ops.append(op)
        (result,) = op.results
        result.hint = hint
        self.depth_of[result] = depth
        return result

    def effect(
        self, name: str, operands: Sequence[Value], attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Write a store (or another operation without a result) at the current place."""
        op = Operation(
            REGISTRY[name],
            tuple(operands),
            {} if attributes is None else attributes,
            (),
            (),
            self.location,
            self.part,
        )
        self.level.region.ops.append(op)

    def remember(self, key: Any, value: Value, depth: int | None = None) -> Value:
        """Keep ``value`` under ``key`` while the level of that depth is open."""
        level = self.levels[self.depth_of.get(value, 0) if depth is None else depth]
        if key not in self.memo:
            level.memo.append(key)
        self.memo[key] = value
        return value

    def constant(self, value: float, dtype: DType) -> Value:
        number = dtype.numpy.type(value).item()
        key = ("const", repr(number), dtype)
        found = self.memo.get(key)
        if found is None:
            saved, self.location = self.location, None
            found = self.emit("const", (), {"value": number, "dtype": dtype}, type=scalar(dtype))
            self.location = saved
            self.remember(key, found)
        return found

    def dim(self, size: Dim) -> Value:
        """A size as an i64 scalar."""
        if isinstance(size, int):
            return self.constant(size, i64)
        key = ("dim", size)
        found = self.memo.get(key)
        if found is None:
            saved, self.location = self.location, None
            found = self.emit("dim", (), {"size": size}, type=scalar(i64))
            self.location = saved
            self.remember(key, found)
        return found

    # --- levels ------------------------------------------------------------------------

    def open_loop(self, hint: str) -> Value:
        """Open the body of a loop; its index."""
        level = Level(self.level)
        index = Value(scalar(i64), hint)
        level.index = index
        self.levels.append(level)
        self.depth_of[index] = level.depth
        return index

    def close_loop(self, lo: Value, hi: Value, step: int = 1, kind: str = "plain") -> None:
        """Close the innermost loop and write it: ``for index in range(lo, hi, step)``."""
        level = self._close()
        assert level.index is not None
        carried = list(level.threaded.items())
        inits = [init for _, (init, _) in carried]
        level.region.params = (level.index, *(param for _, (_, param) in carried))
        level.region.yields = tuple(register.values.pop(level) for register, _ in carried)
        op = Operation(
            REGISTRY["for"],
            (lo, hi, self.constant(step, i64), *inits),
            {"kind": kind},
            (level.region,),
            tuple(v.type for v in inits),
            None,
            "forward",
        )
        self.level.region.ops.append(op)
        for (register, _), result in zip(carried, op.results, strict=True):
            result.hint = register.hint
            self.depth_of[result] = self.level.depth
            register.values[self.level] = result
            self.level.touched[register] = None

    def open_arm(self) -> None:
        """Open what is done only where a condition holds."""
        self.levels.append(Level(self.level, is_arm=True))

    def close_arm(
        self, condition: Value, results: Sequence[Value] = (), otherwise: Sequence[Value] = ()
    ) -> tuple[Value, ...]:
        """Close the arm and write ``if condition``; its results, ``otherwise`` where it fails."""
        level = self._close()
        touched = [r for r in level.touched if r.home is not level]
        level.region.yields = (*results, *(r.values.pop(level) for r in touched))
        other = Region((), [], (*otherwise, *(self.read(r) for r in touched)))
        op = Operation(
            REGISTRY["if"],
            (condition,),
            {},
            (level.region, other),
            tuple(v.type for v in level.region.yields),
            self.location,
            self.part,
        )
        self.level.region.ops.append(op)
        for value in op.results:
            self.depth_of[value] = self.level.depth
        for register, value in zip(touched, op.results[len(results) :], strict=True):
            value.hint = register.hint
            register.values[self.level] = value
            self.level.touched[register] = None
        return op.results[: len(results)]

    def close_certain(self) -> None:
        """Close the arm, of which it is known by now that it is taken: write what is in it."""
        level = self._close()
        self.level.region.ops += level.region.ops
        for op in level.region.ops:
            self.depth_of.update((value, self.level.depth) for value in op.results)
        for register in level.touched:
            if register.home is not level:
                self.write(register, register.values.pop(level))

    def _close(self) -> Level:
        level = self.levels.pop()
        for key in level.memo:
            self.memo.pop(key, None)
        return level

    # --- registers ---------------------------------------------------------------------

    def read(self, register: Register) -> Value:
        """The value of ``register`` here; loops between its home and here carry it."""
        start = max(k for k, level in enumerate(self.levels) if level in register.values)
        value = register.values[self.levels[start]]
        for level in self.levels[start + 1 :]:
            if not level.is_arm:
                param = Value(value.type, register.hint)
                self.depth_of[param] = level.depth
                level.threaded[register] = (value, param)
                value = param
                register.values[level] = value
        return value

    def write(self, register: Register, value: Value) -> None:
        register.values[self.level] = value
        self.level.touched[register] = None


def _is_zero(value: Value) -> bool:
    return value.op is not None and value.op.name == "const" and value.op.attributes["value"] == 0
