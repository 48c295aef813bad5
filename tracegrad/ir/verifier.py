"""The invariants of the IR, and a check of all of them.

Values and scope
 1. Every operand and every yielded value is visible: a parameter of this region or of one around
    it, or a result of an earlier operation of these. Scoping is dominance.
 2. A value is defined once: no value is a parameter twice, or a result of two operations; no
    operation and no region appears twice. ``result.op`` is the operation, ``param.op`` is None.

Types and attributes
 3. Result types are what the op definition infers from operand types and attributes. Thereby
    elementwise operands have one shape (or are scalars) and dtypes fit, axes are sorted, and the
    map of a view or pad fits its shapes, with steps that are non-zero ints, no axis named twice.
 4. An attribute is a number, string, bool, None, dtype, dimension, or a tuple of these.
 5. A map entry with one index (no axis, or an axis of size 1) has step 1: equal views are equal.

Control flow
 6. ``for`` and ``custom`` have one region, ``while`` and ``if`` have two, other operations none.
 7. ``for(lo, hi, step, *inits)``: i64 scalars, then the carried values; the region takes an i64
    scalar and the carried values and yields them; results, too, have the types of ``inits``.
 8. ``while(*inits)``: both regions take the carried values; the first yields one bool scalar, the
    second the carried values; results have the types of ``inits``.
 9. ``if(predicate)``: a bool scalar; the regions take nothing and yield values of the result types.

Symbols
10. Every symbol in a type or attribute is bound where it is used: by an int argument
    (``size_params``), by a parameter dimension that is the bare symbol, or, opaque, by an earlier
    visible result with such a dimension, or by ``bind``. Parameters and guards use symbols of the
    first two kinds.
11. ``size_params`` name i64 scalar parameters; guards have a known relation; hints are ints.

Forms
12. Operations that write memory stand in loop form only: in array form there is no ``alloc``,
    ``load``, ``store``, ``add_store``, ``gemm``, ``gemm_part``, ``alias``, ``check_index`` or
    ``in_advance``.
13. In loop form memory is written only where it was allocated: the buffer of ``store``,
    ``add_store``, ``gemm`` and ``gemm_part`` is made by an operation, never a parameter of the
    function, unless it is one that was given to be written, or the function is the part of
    another. A ``parallel`` names a part; that takes i64 scalars as the ends of a chunk, what is
    captured after them, and gives the results; parts keep all invariants.

Names
14. The part is ``forward``, ``reverse`` or ``tangent``. ``result_names`` are none, or one per
    result.

Derivatives of the user's
15. ``custom(*outs, *inputs, *closed)``: the results have the types of the ``outs`` first operands;
    the region of the rule "vjp" takes values of these types and yields values of those of the
    ``inputs`` operands that follow, that of the rule "jvp" the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from tracegrad.errors import InternalError
from tracegrad.ir.core import RELATIONS, Function, Operation, Region, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols
from tracegrad.ir.text import Printer
from tracegrad.ir.types import ArrayType, DType, Size, boolean, i64, is_symbol, scalar, symbols

PARTS = ("forward", "reverse", "tangent")
REGIONS = {"for": 1, "while": 2, "if": 2, "custom": 1}
BUFFER_OPERAND = {"store": 1, "add_store": 1, "gemm": 2, "gemm_part": 2}
LOOP_FORM = frozenset(
    (
        *("alloc", "load", "store", "add_store", "gemm", "gemm_part", "alias", "check_index"),
        *("in_advance", "parallel"),
    )
)


class VerificationError(InternalError):
    """A function breaks an invariant of the IR.

    Attributes
    ----------
    number : which invariant of `tracegrad.ir.verifier`.
    ir_line : the printed line (from 1) of the operation at fault; None for the function itself.
    """

    def __init__(self, number: int, message: str, ir_line: int | None, shown: str) -> None:
        where = f"line {ir_line}" if ir_line is not None else "function"
        super().__init__(f"{message} (IR invariant {number}, {where})\n{shown}")
        self.number = number
        self.ir_line = ir_line


def verify(function: Function, *, form: str | None = None, given: Iterable[int] = ()) -> Function:
    """``function``, after a check of every invariant.

    Parameters
    ----------
    form : "array" or "loop" when the function must be in this form.
    given : positions of the parameters that it may write to.

    Raises
    ------
    VerificationError : naming the invariant, with the printed line of the operation at fault.
    """
    _Verifier(function, form, frozenset(given)).check()
    for part in function.parts.values():
        _Verifier(part, form, frozenset(range(len(part.params)))).check()
    return function


class _Verifier:
    def __init__(self, function: Function, form: str | None, given: frozenset[int]) -> None:
        self.function = function
        self.form = form
        self.read_only = {p for i, p in enumerate(function.params) if i not in given}
        self.visible: set[Value] = set()
        self.defined: set[Value] = set()
        self.seen: set[int] = set()
        self.symbols: set[str] = set()
        self.op: Operation | None = None

    def fail(self, number: int, message: str) -> NoReturn:
        printer = Printer(self.function)
        lines = printer.lines()
        for index, (text, op) in enumerate(lines):
            if op is self.op and op is not None:
                width = max(1, len(text.strip()))
                marker = " " * (len(text) - len(text.lstrip())) + "^" * width
                raise VerificationError(number, message, index + 1, f"  {text}\n  {marker}")
        raise VerificationError(number, message, None, f"  {lines[0][0]}")

    # --- the function

    def check(self) -> None:
        f = self.function
        for param in f.params:
            self.define(param)
            if param.op is not None:
                self.fail(2, f"parameter {param!r} is the result of an operation")
        for symbol, index in f.size_params.items():
            if index not in range(len(f.params)) or f.params[index].type != scalar(i64):
                self.fail(11, f"size parameter {symbol} is not an i64 scalar parameter")
        self.symbols = set(f.size_sources())
        for param in f.params:
            self.check_symbols(param.type, "parameter types")
        for guard in f.guards:
            if guard.relation not in RELATIONS:
                self.fail(11, f"guard {guard} has no known relation")
            for name in (*symbols(guard.left), *symbols(guard.right)):
                if name not in self.symbols:
                    self.fail(10, f"guard {guard} has the unbound symbol {name}")
        if not all(isinstance(seen, int) for seen in f.hints.values()):
            self.fail(11, f"a size hint is not an int: {dict(f.hints)}")
        if f.result_names and len(f.result_names) != len(f.results):
            self.fail(14, f"{len(f.result_names)} result names for {len(f.results)} results")
        self.region(f.body)

    # --- regions

    def define(self, value: Value) -> None:
        if value in self.defined:
            self.fail(2, f"{value!r} is defined twice")
        self.defined.add(value)
        self.visible.add(value)

    def region(self, region: Region) -> None:
        if id(region) in self.seen:
            self.fail(2, "a region appears twice")
        self.seen.add(id(region))
        for op in region.ops:
            self.op = op
            self.operation(op)
        self.op = None
        for value in region.yields:
            self.check_visible(value)

    def inner_region(self, holder: Operation, region: Region) -> None:
        """A region of ``holder``: what it defines is visible in it only."""
        visible, bound = set(self.visible), set(self.symbols)
        for param in region.params:
            self.define(param)
            self.check_symbols(param.type, "a region parameter")
            if param.op is not None:
                self.fail(2, f"region parameter {param!r} is the result of an operation")
        self.region(region)
        self.op = holder
        self.visible, self.symbols = visible, bound

    def check_visible(self, value: Value) -> None:
        if value in self.visible:
            return
        known = value in self.defined
        self.fail(1, f"{value!r} is {'defined in another region' if known else 'not defined here'}")

    # --- operations

    def operation(self, op: Operation) -> None:
        if id(op) in self.seen:
            self.fail(2, f"the operation {op.name} appears twice")
        self.seen.add(id(op))
        if op.part not in PARTS:
            self.fail(14, f"{op.part!r} is not a part")
        for operand in op.operands:
            self.check_visible(operand)
        for name, value in op.attributes.items():
            if not _is_attribute(value):
                self.fail(4, f"attribute {name} of {op.name} can't be {value!r}")
            if op.name not in BINDING or name != "size":
                self.check_bound(attribute_symbols(value), f"attribute {name}")
        if len(op.regions) != REGIONS.get(op.name, 0):
            self.fail(6, f"{op.name} has {len(op.regions)} regions")
        if op.regions:
            self.control(op)
        else:
            self.inferred(op)
        self.check_map(op)
        self.check_form(op)
        if op.name == "bind":
            self.symbols.update(attribute_symbols(op.attributes["size"]))
        for result in op.results:
            if result.op is not op:
                self.fail(2, f"{result!r} does not know its operation")
            self.define(result)
            for dim in result.shape:
                name_ = is_symbol(dim)
                if name_ is not None:
                    self.symbols.add(name_)
            self.check_symbols(result.type, "a result type")

    def inferred(self, op: Operation) -> None:
        try:
            found = op.opdef.infer(*[v.type for v in op.operands], **op.attributes)
        except (TypeError, ValueError, KeyError) as error:
            self.fail(3, str(error))
        types = found if isinstance(found, tuple) else (found,)
        self.check_types(3, "results", op.results, types)

    def check_types(
        self, number: int, what: str, values: Sequence[Value], types: Sequence[ArrayType]
    ) -> None:
        have = [v.type for v in values]
        if have != list(types):
            self.fail(number, f"{what} have types {_listed(have)}, not {_listed(types)}")

    def check_map(self, op: Operation) -> None:
        if op.name not in ("view", "pad"):
            return
        small = op.result if op.name == "view" else op.operands[0]
        for axis, _, step in op.attributes["map"]:
            if step != 1 and (axis is None or small.shape[axis] == 1):
                self.fail(5, f"a map entry with one index has the step {step}")

    # --- control flow

    def control(self, op: Operation) -> None:
        check = {"for": self.for_, "while": self.while_, "if": self.if_, "custom": self.custom}
        check[op.name](op)

    def for_(self, op: Operation) -> None:
        (body,) = op.regions
        bounds, inits = op.operands[:3], op.operands[3:]
        carried = [v.type for v in inits]
        self.check_types(7, "the bounds of for", bounds, [scalar(i64)] * 3)
        self.check_types(7, "region parameters", body.params, [scalar(i64), *carried])
        self.check_types(7, "results", op.results, carried)
        self.inner_region(op, body)
        self.check_types(7, "yielded values", body.yields, carried)

    def while_(self, op: Operation) -> None:
        condition, body = op.regions
        carried = [v.type for v in op.operands]
        for region, yields in ((condition, [scalar(boolean)]), (body, carried)):
            self.check_types(8, "region parameters", region.params, carried)
            self.inner_region(op, region)
            self.check_types(8, "yielded values", region.yields, yields)
        self.check_types(8, "results", op.results, carried)

    def if_(self, op: Operation) -> None:
        self.check_types(9, "operands", op.operands, [scalar(boolean)])
        wanted = [r.type for r in op.results]
        for region in op.regions:
            self.check_types(9, "region parameters", region.params, [])
            self.inner_region(op, region)
            self.check_types(9, "yielded values", region.yields, wanted)

    def custom(self, op: Operation) -> None:
        (region,) = op.regions
        outs, inputs = op.attributes["outs"], op.attributes["inputs"]
        made = [v.type for v in op.operands[:outs]]
        given = [v.type for v in op.operands[outs : outs + inputs]]
        if op.attributes["rule"] not in ("vjp", "jvp"):
            self.fail(15, f"{op.attributes['rule']!r} is not a rule")
        takes, gives = (made, given) if op.attributes["rule"] == "vjp" else (given, made)
        self.check_types(15, "results", op.results, made)
        self.check_types(15, "region parameters", region.params, takes)
        self.inner_region(op, region)
        self.check_types(15, "yielded values", region.yields, gives)

    # --- symbols and forms

    def check_symbols(self, type: ArrayType, where: str) -> None:
        self.check_bound(type_symbols(type), where)

    def check_bound(self, names: Iterable[str], where: str) -> None:
        for name in names:
            if name not in self.symbols:
                self.fail(10, f"the symbol {name} in {where} is not bound here")

    def check_form(self, op: Operation) -> None:
        if op.name in LOOP_FORM and self.form == "array":
            self.fail(12, f"{op.name} is an operation of loop form")
        position = BUFFER_OPERAND.get(op.name)
        if position is not None and op.operands[position] in self.read_only:
            self.fail(13, f"{op.name} writes to a parameter of the function")
        if op.name == "parallel":
            part = self.function.parts.get(op.attributes["part"])
            if part is None:
                self.fail(13, f"there is no part {op.attributes['part']!r}")
            assert part is not None
            self.check_types(13, "the parameters", part.params, [v.type for v in op.operands])
            self.check_types(13, "the results", part.results, [v.type for v in op.results])


def _listed(types: Iterable[ArrayType]) -> str:
    return f"({', '.join(map(str, types))})"


def _is_attribute(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_attribute(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str, DType, Size))
