"""A function of the IR as Python text that works on sets of dependences.

A float is the number of a set, an integer itself, or None where floats decide it. Scalars are
Python numbers and handled by the text itself, so that a loop over elements runs at the speed of
Python; everything else is a call of the `Machine` (``m``). A region is a function within the
function. An ``update`` writes in place if nobody reads the old array any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tracegrad.dependence.rules import carriers
from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import leading
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import Dim, boolean, evaluate, i64, symbols

_INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_OVERFLOWING = frozenset(("multiply", "negative"))
_NARROW = 1 << 31
"""Constants up to this may be added to an index without a thought of overflow."""


class Program:
    """The text of a function.

    Attributes
    ----------
    ops : the operations that the text names by number.
    text : defines ``run(m, *params)``.
    """

    def __init__(self, function: Function, sizes: Mapping[str, int]) -> None:
        self.ops: list[Operation] = []
        self._sizes = dict(sizes)
        self._fixed = frozenset(sizes)
        self._names: dict[Value, str] = {}
        self._lines: list[str] = []
        self._near: set[Value] = set()
        """Integers that are an index, give or take a small number."""
        params = [self._name(p) for p in function.params]
        self._line(0, f"def run({', '.join(['m', *params])}):")
        self._line(1, "join = m.graph.join")
        self._block(function.body, 1, frozenset())
        self.text = "\n".join(self._lines) + "\n"

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("    " * depth + text)

    def _name(self, value: Value) -> str:
        found = self._names.get(value)
        if found is None:
            found = self._names[value] = f"v{len(self._names)}"
        return found

    def _number(self, op: Operation) -> int:
        self.ops.append(op)
        return len(self.ops) - 1

    # --- regions

    def _block(self, region: Region, depth: int, owned: frozenset[Value]) -> None:
        """The operations of a region and the return of what it yields.

        ``owned`` are arrays from around it that it may write to.
        """
        last: dict[Value, int] = {}
        for k, op in enumerate(region.ops):
            last.update(dict.fromkeys(_reads(op), k))
        last.update(dict.fromkeys(region.yields, len(region.ops)))
        mine = {*region.params, *owned}
        for k, op in enumerate(region.ops):
            free = {v for v in _reads(op) if v in mine and v.rank and last[v] == k}
            self._operation(op, depth, free)
            mine.update(op.results)
        handed: set[Value] = set()
        texts = []
        for v in region.yields:
            given = v.rank and (v not in mine or v in handed)
            texts.append(f"own({self._name(v)})" if given else self._name(v))
            handed.add(v)
        self._line(depth, f"return ({' '.join(t + ',' for t in texts)})")

    def _define(
        self,
        name: str,
        params: Sequence[Value],
        region: Region,
        depth: int,
        owned: frozenset[Value],
    ) -> None:
        self._line(depth, f"def {name}({', '.join(map(self._name, params))}):")
        self._block(region, depth + 1, owned)

    def _operation(self, op: Operation, depth: int, free: set[Value]) -> None:
        """One operation; ``free`` are its operands that nobody reads any more."""
        if op.name in ("for", "while"):
            self._loop(op, depth, free)
        elif op.name == "if":
            self._branch(op, depth, free)
        elif op.regions:
            raise InternalError(f"the dependences of {op.name} are not known")
        else:
            text = self._expression(op, free)
            results = ", ".join(map(self._name, op.results))
            self._line(depth, f"{results} = {text}" if results else text)

    def _loop(self, op: Operation, depth: int, free: set[Value]) -> None:
        number, first = self._number(op), leading(op)
        for k, region in enumerate(op.regions):
            if op.name == "for":
                self._near.add(region.params[0])
            self._define(f"r{number}_{k}", region.params, region, depth, frozenset())
        inits = op.operands[first:]
        inside = {v for region in op.regions for v in free_values(region)}
        alone = {v for v in free if inits.count(v) == 1 and v not in inside}
        state = self._tuple(self._name(v) if v in alone or not v.rank else f"own({self._name(v)})"
                            for v in inits)  # fmt: skip
        results = self._tuple(map(self._name, op.results))
        regions = ", ".join(f"r{number}_{k}" for k in range(len(op.regions)))
        if op.name == "for":
            bounds = self._tuple(map(self._name, op.operands[:3]))
            self._line(depth, f"{results} = m.for_({number}, {bounds}, {state}, {regions})")
        else:
            self._line(depth, f"{results} = m.while_({number}, {state}, {regions})")

    def _branch(self, op: Operation, depth: int, free: set[Value]) -> None:
        number = self._number(op)
        inside = {v for region in op.regions for v in (*free_values(region), *region.yields)}
        moved = [v for v in free if v in inside]
        for k, region in enumerate(op.regions):
            self._define(f"r{number}_{k}", moved, region, depth, frozenset(moved))
        given = self._tuple(map(self._name, moved))
        call = f"m.if_({number}, {self._name(op.operands[0])}, {given}, r{number}_0, r{number}_1)"
        results = self._tuple(map(self._name, op.results))
        self._line(depth, f"{results} = {call}" if op.results else call)

    @staticmethod
    def _tuple(texts: Iterable[str]) -> str:
        return f"({''.join(t + ', ' for t in texts)})"

    # --- operations

    def _expression(self, op: Operation, free: set[Value]) -> str:
        names = [self._name(v) for v in op.operands]
        if op.name == "raise":
            return f"m.raises({self._number(op)})"
        if op.name == "dim":
            return f"m.dim({self._number(op)})"
        if op.name == "bind":
            if op.operands[0] in self._near:
                self._near.add(op.result)
            return f"m.bind({str(op.attributes['size'])!r}, {names[0]})"
        if op.results and all(not r.rank for r in op.results):
            text = self._scalar(op, names)
            if text is not None:
                return text
        if op.name in ("update", "accumulate"):
            if op.operands[0] not in free or op.operands.count(op.operands[0]) > 1:
                names[0] = f"own({names[0]})"
            if self._one_place(op) and op.result.dtype.is_float:
                how = "write" if op.name == "update" else "add"
                return f"m.{how}({', '.join(names)})"
            if self._one_place(op) and op.name == "update":
                return f"m.put({', '.join(names)})"
        return f"m.apply({', '.join([str(self._number(op)), *names])})"

    def _known(self, dim: Dim) -> int | None:
        return evaluate(dim, self._sizes) if self._fixed.issuperset(symbols(dim)) else None

    def _one_place(self, op: Operation) -> bool:
        """Whether an operation reads or writes one element of an array."""
        first = 1 if op.name == "index" else 2
        indices = op.operands[first:]
        return len(indices) == op.operands[0].rank and not any(i.rank for i in indices)

    def _scalar(self, op: Operation, names: list[str]) -> str | None:
        """The text of an operation on scalars; None if the machine has to do it."""
        out = op.result
        if op.name == "const":
            value = op.attributes["value"]
            return "0" if out.dtype.is_float else repr(value)
        if op.name == "index" and out.dtype.is_float and self._one_place(op):
            x, *place = names
            known = " and ".join(f"{i} is not None" for i in place)
            at = ", ".join(place)
            return f"{x}.item({at}) if {known} else m.item({x}, {at})"
        if op.name == "index" and self._one_place(op):
            x, *place = names
            known = " and ".join(f"{i} is not None" for i in names)
            return f"{x}.item({', '.join(place)}) if {known} else None"
        if op.name == "view" and out.dtype.is_float and op.operands[0].rank:
            places = [self._known(offset) for _, offset, _ in op.attributes["map"]]
            if None not in places:
                return f"{names[0]}.item({', '.join(map(str, places))})"
            return None
        if op.opdef.kind != "elementwise":
            return None
        if out.dtype.is_float:
            return self._sets(op, names)
        if any(v.dtype.is_float for v in op.operands):
            return "None"
        return self._integers(op, names)

    def _sets(self, op: Operation, names: list[str]) -> str:
        """The union of the sets of a float's operands."""
        if op.name == "select":
            c, x, y = names
            return f"join({x}, {y}) if {c} is None else ({x} if {c} else {y})"
        held = list(dict.fromkeys(names[k] for k in carriers(op)))
        text = held[0] if held else "0"
        for more in held[1:]:
            text = f"join({text}, {more})"
        return text

    def _integers(self, op: Operation, names: list[str]) -> str | None:
        """Arithmetic of integers and booleans, None if one operand is."""
        kinds = {v.dtype for v in (*op.operands, op.result)}
        if not kinds <= {i64, boolean}:
            return None
        known = " and ".join(f"{n} is not None" for n in dict.fromkeys(names))
        a, *rest = names
        text: str | None = None
        if op.name in ("logical_and", "logical_or"):
            word, ends = op.name[8:], "False" if op.name == "logical_and" else "True"
            b = rest[0]
            return (
                f"({a} {word} {b}) if {known} else ({ends} if {a} is {ends} or {b} is {ends} "
                "else None)"
            )
        if op.name == "select":
            x, y = rest
            return f"({x} if {a} else {y}) if {a} is not None else ({x} if {x} == {y} else None)"
        if op.name in _INFIX and all(v.dtype is i64 for v in op.operands):
            text = f"{a} {_INFIX[op.name]} {rest[0]}"
            if op.name in ("add", "subtract"):
                if self._stays_near(op):
                    self._near.add(op.result)
                else:
                    text = f"wrapped({text})"
            elif op.name in _OVERFLOWING:
                text = f"wrapped({text})"
        elif op.name == "negative" and op.result.dtype is i64:
            text = f"wrapped(-{a})"
        elif op.name == "logical_not":
            text = f"not {a}"
        elif op.name in ("maximum", "minimum") and op.result.dtype is i64:
            text = f"{op.name[:3]}({a}, {rest[0]})"
        elif op.name == "cast" and op.result.dtype is i64:
            text = f"int({a})"
        elif op.name in ("floor_divide", "remainder") and _constant(op.operands[1]) > 0:
            text = f"{a} {'//' if op.name == 'floor_divide' else '%'} {rest[0]}"
        return None if text is None else f"({text}) if {known} else None"

    def _stays_near(self, op: Operation) -> bool:
        """Whether a sum is an index, give or take a small number."""
        near = [v in self._near or _is_size(v) or abs(_constant(v)) < _NARROW for v in op.operands]
        return all(near)


def _is_size(value: Value) -> bool:
    return value.op is not None and value.op.name == "dim"


def _constant(value: Value) -> int:
    """The number that a scalar is; one that is neither positive nor small if that is not known."""
    if value.op is None or value.op.name != "const" or value.rank:
        return -_NARROW
    return int(value.op.attributes["value"])


def _reads(op: Operation) -> set[Value]:
    """The values that an operation, or what it holds, reads."""
    found = set(op.operands)
    for region in op.regions:
        found.update(free_values(region))
        found.update(region.yields)
    return found
