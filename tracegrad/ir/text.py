"""The text of the IR: how a function is printed. `tracegrad.ir.parser` reads it back.

::

    func @f(%x: f64[n], %count: i64) -> (f64[n - 1], f64)
      sizes m = %count
      guards n == 2*m
    {
      %half: f64 = 0.5
      %right: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0 + 1]}
      %0: f64[n - 1] = multiply(%right, %half)
      %zero: i64 = 0
      %n: i64 = dim() {size=n}
      %one: i64 = 1
      %total: f64 = for(%zero, %n, %one, %half) (%i: i64, %t: f64) {
        %item: f64 = index(%x, %i)
        %next: f64 = add(%t, %item)  !reverse
        yield %next
      }
      return %0, %total
    }

- ``%name`` is a value. The name is the value's hint; a second value of the same hint is
  ``%name.1``; a value without a hint is a number.
- ``%half: f64 = 0.5`` is the operation ``const``.
- ``map=[#0 + 1, 3]`` is the attribute of ``view`` and ``pad``: for each dimension, the index as
  offset + step · ``#k``, where ``#k`` is output axis k.
- A region is ``(params) { operations; yield values }``; empty parts are left out.
- ``!reverse`` is the part, where it is not ``forward``; ``loc(...)`` the location, when asked for.
- Between header and body may stand ``sizes`` (a symbol given by an int argument), ``guards``,
  ``hints`` (sizes seen), ``names`` (of results), ``title`` and ``origin``.
- A semicolon starts a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tracegrad.ir.core import Function, Location, Operation, Region, Value
from tracegrad.ir.types import Dim, DType, Size

if TYPE_CHECKING:
    from tracegrad.ops.registry import OpDef

OPS: Mapping[str, OpDef] = {}
"""The op definitions by name, for the parser; the registry installs itself here."""

SEPARATORS = {"if": " else", "while": " do"}
"""The word before the second region, for the reader's eye."""


def print_function(function: Function, *, locations: bool = False) -> str:
    """The text of ``function``; with ``locations``, `parse` gives those back as well.

    The functions that its ``parallel`` operations run follow it.
    """
    printed = (function, *function.parts.values())
    return "\n\n".join(Printer(f, locations=locations).function_text() for f in printed)


def canonical(function: Function, *, parts: bool = False) -> str:
    """A text that is equal for functions equal up to names, locations, size hints and titles.

    Parameters
    ----------
    parts : whether operations must also belong to the same sweep.
    """
    printer = Printer(function, names=False, parts=parts)
    lines = [printer.signature("f"), *printer.clauses(("sizes", "guards"))]
    lines += ["{", *printer.region_lines(function.body, "  ", "return"), "}"]
    return "\n".join([*lines, *(canonical(f, parts=parts) for f in function.parts.values())])


def same(left: Function, right: Function, *, parts: bool = False) -> bool:
    """Whether two functions are structurally equal, up to renaming of values."""
    return canonical(left, parts=parts) == canonical(right, parts=parts)


class Printer:
    """Prints one function and its pieces; values keep their names through its life.

    Parameters
    ----------
    names : whether hints are used; without them all values are numbers in textual order.
    """

    def __init__(
        self,
        function: Function,
        *,
        names: bool = True,
        parts: bool = True,
        locations: bool = False,
    ) -> None:
        self.function = function
        self.names = names
        self.parts = parts
        self.locations = locations
        self._value_names: dict[Value, str] = {}
        self._taken: dict[str, int] = {}
        self._unnamed = 0
        self._name_region(function.body)

    # --- names

    def _name_region(self, region: Region) -> None:
        for param in region.params:
            self._name_value(param)
        for op in region.ops:
            for result in op.results:
                self._name_value(result)
            for inner in op.regions:
                self._name_region(inner)

    def _name_value(self, value: Value) -> None:
        if value in self._value_names:
            return
        hint = re.sub(r"\W", "_", value.hint) if self.names else ""
        if not hint or hint[0].isdigit():
            self._value_names[value] = f"%{self._unnamed}"
            self._unnamed += 1
            return
        count = self._taken.get(hint, 0)
        self._taken[hint] = count + 1
        self._value_names[value] = f"%{hint}.{count}" if count else f"%{hint}"

    def name(self, value: Value) -> str:
        """``%name``; a value that nothing in the function defines prints as ``%?hint``."""
        return self._value_names.get(value) or f"%?{value.hint}"

    def _list(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.name, values))

    def _typed(self, values: Iterable[Value]) -> str:
        return ", ".join(f"{self.name(v)}: {v.type}" for v in values)

    # --- the whole function

    def function_text(self) -> str:
        return "\n".join(text for text, _ in self.lines())

    def lines(self) -> list[tuple[str, Operation | None]]:
        """Every line, with the operation whose first line it is."""
        lines: list[tuple[str, Operation | None]] = []
        head = self.signature(self.function.name)
        clauses = self.clauses()
        if clauses:
            lines += [(text, None) for text in (head, *clauses, "{")]
        else:
            lines.append((head + " {", None))
        lines += self._region_lines(self.function.body, "  ", "return")
        lines.append(("}", None))
        return lines

    def signature(self, name: str) -> str:
        f = self.function
        shown = name if name.isidentifier() else quoted(name)
        types = ", ".join(str(r.type) for r in f.results)
        return f"func @{shown}({self._typed(f.params)}) -> ({types})"

    def clauses(self, only: tuple[str, ...] | None = None) -> list[str]:
        f = self.function
        found: dict[str, str] = {}
        if f.size_params:
            found["sizes"] = ", ".join(
                f"{s} = {self.name(f.params[i]) if i < len(f.params) else '%?'}"
                for s, i in f.size_params.items()
            )
        if f.guards:
            found["guards"] = ", ".join(map(str, f.guards))
        if f.hints:
            found["hints"] = ", ".join(f"{s} = {seen}" for s, seen in f.hints.items())
        if f.result_names:
            found["names"] = ", ".join(map(quoted, f.result_names))
        if f.title:
            found["title"] = quoted(f.title)
        if f.origin is not None and self.locations:
            found["origin"] = location_text(f.origin)
        return [f"  {k} {text}" for k, text in found.items() if only is None or k in only]

    def region_lines(self, region: Region, indent: str, word: str) -> list[str]:
        return [text for text, _ in self._region_lines(region, indent, word)]

    def _region_lines(
        self, region: Region, indent: str, word: str
    ) -> list[tuple[str, Operation | None]]:
        lines: list[tuple[str, Operation | None]] = []
        for op in region.ops:
            lines += self.op_lines(op, indent)
        if region.yields:
            lines.append((f"{indent}{word} {self._list(region.yields)}", None))
        return lines

    # --- one operation

    def op_lines(self, op: Operation, indent: str) -> list[tuple[str, Operation | None]]:
        """The lines of ``op``; the first carries it."""
        head = f"{indent}{self._typed(op.results)} = " if op.results else indent
        tail = self._tail(op)
        if op.name == "const" and _is_plain_const(op):
            return [(f"{head}{attribute_text('value', op.attributes['value'])}{tail}", op)]
        head += f"{op.name}({self._list(op.operands)}){self._attributes(op)}"
        if not op.regions:
            return [(head + tail, op)]
        lines: list[tuple[str, Operation | None]] = []
        for k, region in enumerate(op.regions):
            if k:
                head = f"{indent}}}{SEPARATORS.get(op.name, '')}"
            params = f" ({self._typed(region.params)})" if region.params else ""
            lines.append((f"{head}{params} {{", None if k else op))
            lines += self._region_lines(region, indent + "  ", "yield")
        lines.append((f"{indent}}}{tail}", None))
        return lines

    def _attributes(self, op: Operation) -> str:
        if not op.attributes:
            return ""
        # Without names the text is for comparison, where the order must not matter.
        items = op.attributes.items() if self.names else sorted(op.attributes.items())
        return f" {{{', '.join(f'{k}={attribute_text(k, v)}' for k, v in items)}}}"

    def _tail(self, op: Operation) -> str:
        tail = f"  !{op.part}" if self.parts and op.part != "forward" else ""
        if self.locations and op.location is not None:
            tail += f"  {location_text(op.location)}"
        return tail


def _is_plain_const(op: Operation) -> bool:
    return (
        len(op.results) == 1
        and not op.operands
        and set(op.attributes) == {"value", "dtype"}
        and op.attributes["dtype"] is op.result.dtype
    )


def quoted(text: str) -> str:
    """``text`` as a string literal in double quotes, on one line."""
    return json.dumps(text, ensure_ascii=False)


def location_text(location: Location) -> str:
    columns = (location.column, location.end_column, location.end_line)
    rest = ", ".join(map(str, columns))
    return f"loc({quoted(location.file)}, {location.line}, {rest}, {quoted(location.function)})"


def attribute_text(name: str, value: Any) -> str:
    """One attribute value; what is no attribute prints as ``<repr>``, which can't be parsed."""
    if name == "map" and isinstance(value, tuple):
        return f"[{', '.join(_map_entry(e) for e in value)}]"
    if isinstance(value, tuple):
        items = [attribute_text("", v) for v in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (bool, int, float, DType, Size)) or value is None:
        return repr(value)
    return f"<{value!r}>"


def _map_entry(entry: Any) -> str:
    if not (isinstance(entry, tuple) and len(entry) == 3):
        return f"<{entry!r}>"
    axis, offset, step = entry
    if axis is None:
        return str(offset)
    text = f"#{axis}" if step == 1 else f"-#{axis}" if step == -1 else f"{step}*#{axis}"
    return text + _signed(offset)


def _signed(offset: Dim) -> str:
    if isinstance(offset, int) and offset == 0:
        return ""
    text = str(offset)
    return f" - {text[1:]}" if text.startswith("-") else f" + {text}"


def parse(text: str) -> Function:
    """The function that ``text`` describes; see `tracegrad.ir.parser`."""
    from tracegrad.ir.parser import parse as read

    return read(text)
