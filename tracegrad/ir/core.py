"""The IR: structured SSA of functions, regions, operations and values.

A `Function` holds one `Region`. A region has parameters, operations in order, and yields. An
`Operation` applies an op definition to operands, may hold regions (``for``, ``while``, ``if``),
and defines its results. Values are compared by identity. A value is visible after its
definition in its own region and in the regions nested below: scoping is dominance.

Functions are not changed once built: a pass reads one and builds another.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from tracegrad.ir.types import ArrayType, Dim, DType, evaluate, is_symbol

if TYPE_CHECKING:
    from tracegrad.ops.registry import OpDef


@dataclass(frozen=True)
class Location:
    """A place in the user's source; columns are 0-based offsets as in ``co_positions``."""

    file: str
    line: int
    column: int | None = None
    end_column: int | None = None
    end_line: int | None = None
    function: str = ""

    @property
    def source_line(self) -> str:
        """The whole source line, stripped; empty when the source can't be read."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def segment(self) -> str:
        """The exact expression, when columns are known and it stands on one line."""
        if self.column is None or self.end_column is None:
            return ""
        if self.end_line not in (None, self.line):
            return ""
        raw = linecache.getline(self.file, self.line).encode()
        return raw[self.column : self.end_column].decode(errors="replace").strip()

    def __str__(self) -> str:
        return f"{self.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{self.line}"


class Value:
    """One SSA value: its type, the name the user gave it, and the operation that defines it."""

    __slots__ = ("hint", "op", "type")

    def __init__(self, type: ArrayType, hint: str = "", op: Operation | None = None) -> None:
        self.type = type
        self.hint = hint
        self.op = op

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"<Value {self.hint or '?'}: {self.type}>"

    # Arithmetic on values appends operations to the current builder: rules read like formulas.
    # The registry installs `apply`, so that the IR does not depend on the ops.
    apply: ClassVar[Callable[..., Value]]

    def __add__(self, other: Value | float) -> Value:
        return Value.apply("add", self, other)

    def __radd__(self, other: float) -> Value:
        return Value.apply("add", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return Value.apply("subtract", self, other)

    def __rsub__(self, other: float) -> Value:
        return Value.apply("subtract", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return Value.apply("multiply", self, other)

    def __rmul__(self, other: float) -> Value:
        return Value.apply("multiply", other, self)

    def __truediv__(self, other: Value | float) -> Value:
        return Value.apply("divide", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return Value.apply("divide", other, self)

    def __pow__(self, other: Value | float) -> Value:
        return Value.apply("power", self, other)

    def __lt__(self, other: Value | float) -> Value:
        return Value.apply("less", self, other)

    def __le__(self, other: Value | float) -> Value:
        return Value.apply("less_equal", self, other)

    def __gt__(self, other: Value | float) -> Value:
        return Value.apply("greater", self, other)

    def __ge__(self, other: Value | float) -> Value:
        return Value.apply("greater_equal", self, other)

    def __neg__(self) -> Value:
        return Value.apply("negative", self)


_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


class Operation:
    """``results = opdef(operands) {attributes} regions``.

    ``part`` says which sweep the operation belongs to: ``"forward"``, ``"reverse"`` or
    ``"tangent"``; for the last two, ``location`` is that of the primal statement it came from.
    """

    __slots__ = (
        "attributes",
        "location",
        "name",
        "opdef",
        "operands",
        "part",
        "regions",
        "results",
    )

    def __init__(
        self,
        opdef: OpDef,
        operands: tuple[Value, ...],
        attributes: Mapping[str, Any],
        regions: tuple[Region, ...],
        result_types: tuple[ArrayType, ...],
        location: Location | None = None,
        part: str = "forward",
    ) -> None:
        self.opdef = opdef
        self.name = opdef.name
        self.operands = operands
        # A proxy is that of another operation: what it shows is never changed.
        self.attributes: Mapping[str, Any] = (
            attributes
            if type(attributes) is MappingProxyType
            else MappingProxyType(dict(attributes))
            if attributes
            else _NO_ATTRIBUTES
        )
        self.regions = regions
        self.results = tuple([Value(t, "", self) for t in result_types])
        self.location = location
        self.part = part

    def rename(self, opdef: OpDef) -> None:
        """Make another operation of it, with the same operands and results."""
        self.opdef = opdef
        self.name = opdef.name

    @property
    def result(self) -> Value:
        """The result of an operation that has exactly one."""
        (result,) = self.results
        return result

    @property
    def has_effects(self) -> bool:
        """Whether it, or an operation in its regions, must stay in order and must not go."""
        return self.opdef.effects or any(
            inner.has_effects for region in self.regions for inner in region.ops
        )

    def __repr__(self) -> str:
        return f"<Operation {self.name}>"


@dataclass(eq=False)
class Region:
    """Parameters, operations in order, and the values handed back to the holder."""

    params: tuple[Value, ...] = ()
    ops: list[Operation] = field(default_factory=list)
    yields: tuple[Value, ...] = ()

    def walk(self) -> Iterator[Operation]:
        """Every operation, outer before inner, in program order."""
        open_ = [iter(self.ops)]
        while open_:
            for op in open_[-1]:
                yield op
                if op.regions:
                    open_ += [iter(region.ops) for region in reversed(op.regions)]
                    break
            else:
                open_.pop()

    def users(self) -> dict[Value, list[Operation | Region]]:
        """Who reads each value: operations, once per operand, and the regions that yield it.

        Values that are made here or within and that nobody reads have an empty list.
        """
        found: dict[Value, list[Operation | Region]] = {param: [] for param in self.params}
        for op in self.ops:
            for result in op.results:
                found.setdefault(result, [])
            for operand in op.operands:
                found.setdefault(operand, []).append(op)
            for region in op.regions:
                for value, users in region.users().items():
                    found.setdefault(value, []).extend(users)
        for value in self.yields:
            found.setdefault(value, []).append(self)
        return found


@dataclass(frozen=True)
class Guard:
    """An assumption of the trace on sizes: ``left relation right``.

    Equalities that parameter types state already (a symbol used twice, a static dimension)
    are not repeated as guards.
    """

    left: Dim
    relation: str
    right: Dim

    def holds(self, sizes: Mapping[str, int]) -> bool:
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        return bool(RELATIONS[self.relation](left, right))

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


RELATIONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(eq=False)
class Function:
    """A function of the IR.

    Attributes
    ----------
    name : identifier of the function.
    body : its region; the region's parameters and yields are the function's.
    size_params : symbol → index of the i64 scalar parameter that gives its value (an int
        argument used as a size). Every other symbol is bound by the first parameter dimension
        that is the bare symbol, or is *opaque*: bound by the first result that has it, or by
        ``bind``.
    guards : assumptions on sizes beyond those that the parameter types state.
    hints : symbol → size seen when the function was traced. For cost only, never correctness.
    origin : where the user's function is defined.
    result_names : one name per result for the printed source ("" for none).
    title : what the function is, for the header of printed source ("value and gradient of f").
    parts : in loop form, the functions that its ``parallel`` operations run, by name.
    """

    name: str
    body: Region
    size_params: Mapping[str, int] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    hints: Mapping[str, int] = field(default_factory=dict)
    origin: Location | None = None
    result_names: tuple[str, ...] = ()
    title: str = ""
    parts: Mapping[str, Function] = field(default_factory=dict)

    @property
    def params(self) -> tuple[Value, ...]:
        return self.body.params

    @property
    def results(self) -> tuple[Value, ...]:
        return self.body.yields

    def walk(self) -> Iterator[Operation]:
        return self.body.walk()

    def size_sources(self) -> dict[str, tuple[int, int | None]]:
        """Symbol → (parameter index, axis), or (parameter index, None) for an int argument."""
        sources: dict[str, tuple[int, int | None]] = {
            name: (index, None) for name, index in self.size_params.items()
        }
        for index, param in enumerate(self.params):
            for axis, dim in enumerate(param.shape):
                name = is_symbol(dim)
                if name is not None:
                    sources.setdefault(name, (index, axis))
        return sources

    def __str__(self) -> str:
        from tracegrad.ir.text import print_function

        return print_function(self)
