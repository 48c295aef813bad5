"""Reading the text of the IR (the format is described in `tracegrad.ir.text`).

The parser checks the grammar and that names are defined before they are used, nothing else:
types are taken as written, so that a faulty function can be written down for the verifier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tracegrad.ir import text as ir_text
from tracegrad.ir.core import RELATIONS, Function, Guard, Location, Operation, Region, Value
from tracegrad.ir.types import DTYPES, ArrayType, Dim, DType, parse_dim

if TYPE_CHECKING:
    from tracegrad.ops.registry import OpDef

T = TypeVar("T")

_BLANK = re.compile(r"(?:\s+|;[^\n]*)+")
_WORD = re.compile(r"[^\W\d]\w*")
_VALUE_NAME = re.compile(r"%\w+(?:\.\d+)?")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"-?(?:inf|nan|\d+\.?\d*(?:e[-+]?\d+)?)")
_REGION = re.compile(r"(?:else\b|do\b)?\s*[({]")
_ATTRIBUTES = re.compile(r"\{\s*\w+=")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {"True": True, "False": False, "None": None}


class ParseError(ValueError):
    """The text is not IR; says the line and shows it."""


def parse(text: str) -> Function:
    """The function that ``text`` describes; what follows are its parts."""
    parser = _Parser(text)
    function = parser.function()
    parts: dict[str, Function] = {}
    while parser.function_follows():
        part = parser.function()
        parts[part.name] = part
    parser.skip()
    if parser.at < len(text):
        parser.fail("text after the function")
    return replace(function, parts=parts) if parts else function


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.values: dict[str, Value] = {}
        self.part = "forward"

    # --- characters and words

    def fail(self, message: str, at: int | None = None) -> None:
        at = self.at if at is None else at
        number = self.text.count("\n", 0, at) + 1
        line = self.text.split("\n")[number - 1]
        column = at - (self.text.rfind("\n", 0, at) + 1)
        raise ParseError(f"line {number}: {message}\n  {line}\n  {' ' * column}^")

    def skip(self) -> None:
        if found := _BLANK.match(self.text, self.at):
            self.at = found.end()

    def match(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def need(self, pattern: re.Pattern[str], what: str) -> str:
        found = self.match(pattern)
        if found is None:
            self.fail(f"expected {what}")
        assert found is not None
        return found

    def take(self, literal: str) -> bool:
        """Step over ``literal`` if it comes next."""
        self.skip()
        if not self.text.startswith(literal, self.at):
            return False
        end = self.at + len(literal)
        if literal[-1].isalnum() and end < len(self.text) and re.match(r"\w", self.text[end]):
            return False
        self.at = end
        return True

    def expect(self, literal: str) -> None:
        if not self.take(literal):
            self.fail(f"expected {literal!r}")

    def raw(self, stops: str) -> str:
        """The text up to one of the characters ``stops``, outside brackets and strings."""
        self.skip()
        start = self.at
        closers: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if not closers and char in stops:
                break
            if char == '"':
                self.need(_STRING, "the end of the string")
                continue
            if char in _CLOSING:
                closers.append(_CLOSING[char])
            elif closers and char == closers[-1]:
                closers.pop()
            self.at += 1
        return self.text[start : self.at].strip()

    def bracketed(self) -> str:
        """The text of one bracketed group, brackets included."""
        start = self.at
        self.at += 1
        self.raw(_CLOSING[self.text[start]])
        self.at += 1
        return self.text[start : self.at]

    def items(self, opening: str, closing: str, read: Callable[[], T]) -> list[T]:
        """``opening item, item closing``."""
        self.expect(opening)
        found: list[T] = []
        while not self.take(closing):
            if found:
                self.expect(",")
                if self.take(closing):
                    break
            found.append(read())
        return found

    # --- the function

    def function_follows(self) -> bool:
        self.values = {}
        return self._next("func @")

    def function(self) -> Function:
        self.expect("func")
        self.expect("@")
        name = self.string() if self._next('"') else self.need(_WORD, "a name")
        region = Region(tuple(self.items("(", ")", self.definition)))
        self.expect("->")
        # Result types follow from the values; they are printed for the reader.
        declared = self.items("(", ")", self.type)
        at = self.at
        clauses = self.clauses(region)
        self.expect("{")
        self.body(region, "return")
        if [str(v.type) for v in region.yields] != [str(t) for t in declared]:
            self.fail(f"returns {[v.type for v in region.yields]}, not as declared", at)
        return Function(name, region, **clauses)

    def clauses(self, region: Region) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._next("{"):
            word = self.need(_WORD, "a clause or '{'")
            if word == "sizes":
                found["size_params"] = dict(self.listed(lambda: self.size_param(region)))
            elif word == "guards":
                found["guards"] = tuple(self.listed(self.guard))
            elif word == "hints":
                found["hints"] = dict(self.listed(self.size_hint))
            elif word == "names":
                found["result_names"] = tuple(self.listed(self.string))
            elif word == "title":
                found["title"] = self.string()
            elif word == "origin":
                self.expect("loc")
                found["origin"] = self.location()
            else:
                self.fail(f"no clause {word!r}")
        return found

    def listed(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self.take(","):
            found.append(read())
        return found

    def size_param(self, region: Region) -> tuple[str, int]:
        symbol = self.need(_WORD, "a symbol")
        self.expect("=")
        return symbol, region.params.index(self.use())

    def size_hint(self) -> tuple[str, int]:
        symbol = self.need(_WORD, "a symbol")
        self.expect("=")
        return symbol, int(self.need(_NUMBER, "a number"))

    def guard(self) -> Guard:
        at = self.at
        # A guard ends at a comma outside brackets, or with its line.
        text = self.raw(",\n{")
        for relation in sorted(RELATIONS, key=len, reverse=True):
            left, found, right = text.partition(f" {relation} ")
            if found:
                return Guard(self.dim(left), relation, self.dim(right))
        self.fail("expected a relation", at)
        raise AssertionError

    # --- regions and operations

    def body(self, region: Region, word: str) -> None:
        while not self.take("}"):
            if self.take(word):
                region.yields = () if self._next("}") else tuple(self.listed(self.use))
                self.expect("}")
                return
            region.ops.append(self.operation())

    def operation(self) -> Operation:
        self.skip()
        start = self.at
        results: list[tuple[str, ArrayType]] = []
        if self._next("%"):
            results = self.listed(self.result)
            self.expect("=")
            constant = self.constant(results)
            if constant is not None:
                return constant
        name = self.need(_WORD, "an operation")
        opdef = self.opdef(name, start)
        operands = self.items("(", ")", self.use)
        attributes = self.attributes()
        regions: list[Region] = []
        while self._region_follows():
            self.match(_WORD)
            region = Region()
            if self._next("("):
                region.params = tuple(self.items("(", ")", self.definition))
            self.expect("{")
            self.body(region, "yield")
            regions.append(region)
        return self.made(opdef, operands, attributes, regions, results)

    def _next(self, literal: str) -> bool:
        self.skip()
        return self.text.startswith(literal, self.at)

    def _region_follows(self) -> bool:
        """``{``, ``(params) {``, or such after the word that separates regions."""
        self.skip()
        return _REGION.match(self.text, self.at) is not None

    def opdef(self, name: str, at: int) -> OpDef:
        found = ir_text.OPS.get(name)
        if found is None:
            self.fail(f"no operation is named {name!r}", at)
        assert found is not None
        return found

    def constant(self, results: list[tuple[str, ArrayType]]) -> Operation | None:
        """``= 0.5`` and ``= (1.0, 2.0)``: the short form of ``const``."""
        start = self.at
        if not (self._next("(") or self._next("True") or self._next("False")):
            if self.match(_NUMBER) is None:
                return None
            self.at = start
        self.skip()
        if self.text[self.at] == "(":
            text = self.bracketed()
        else:
            text = self.match(_NUMBER) or self.need(_WORD, "a number")
        value = self.value("value", text)
        dtype = results[0][1].dtype
        opdef = self.opdef("const", start)
        return self.made(opdef, [], {"value": value, "dtype": dtype}, [], results)

    def made(
        self,
        opdef: OpDef,
        operands: list[Value],
        attributes: Mapping[str, Any],
        regions: list[Region],
        results: list[tuple[str, ArrayType]],
    ) -> Operation:
        part = self.need(_WORD, "a part") if self.take("!") else "forward"
        location = self.location() if self.take("loc") else None
        types = tuple(t for _, t in results)
        op = Operation(opdef, tuple(operands), attributes, tuple(regions), types, location, part)
        for (name, _), result in zip(results, op.results, strict=True):
            self.define(name, result)
        return op

    def location(self) -> Location:
        file, line, column, end_column, end_line, function = self.items(
            "(", ")", lambda: self.value("", self.raw(",)"))
        )
        return Location(file, line, column, end_column, end_line, function)

    # --- values and types

    def result(self) -> tuple[str, ArrayType]:
        self.skip()
        at = self.at
        name = self.need(_VALUE_NAME, "a value")
        if name in self.values:
            self.fail(f"{name} is defined twice", at)
        self.expect(":")
        return name, self.type()

    def definition(self) -> Value:
        name, type = self.result()
        return self.define(name, Value(type))

    def define(self, name: str, value: Value) -> Value:
        self.values[name] = value
        hint = name[1:].partition(".")[0]
        value.hint = "" if hint.isdigit() else hint
        return value

    def use(self) -> Value:
        self.skip()
        at = self.at
        name = self.need(_VALUE_NAME, "a value")
        if name not in self.values:
            self.fail(f"{name} is not defined", at)
        return self.values[name]

    def type(self) -> ArrayType:
        word = self.need(_WORD, "a type")
        if word not in DTYPES:
            self.fail(f"no dtype {word!r}")
        shape: tuple[Dim, ...] = ()
        if self._next("["):
            shape = tuple(self.items("[", "]", lambda: self.dim(self.raw(",]"))))
        return ArrayType(DTYPES[word], shape)

    def string(self) -> str:
        text: str = json.loads(self.need(_STRING, "a string"))
        return text

    def dim(self, text: str) -> Dim:
        try:
            return parse_dim(text)
        except ValueError as error:
            self.fail(str(error))
            raise

    # --- attributes

    def attributes(self) -> dict[str, Any]:
        self.skip()
        # Attributes begin like "{name=", a region does not.
        if not _ATTRIBUTES.match(self.text, self.at):
            return {}
        return dict(self.items("{", "}", self.attribute))

    def attribute(self) -> tuple[str, Any]:
        name = self.need(_WORD, "an attribute")
        self.expect("=")
        return name, self.value(name, self.raw(",}"))

    def value(self, name: str, text: str) -> Any:
        if text.startswith('"'):
            return json.loads(text)
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text in DTYPES:
            dtype: DType = DTYPES[text]
            return dtype
        if name == "map" and text.startswith("["):
            return tuple(self.map_entry(e) for e in split(text[1:-1]))
        if text.startswith("(") and _is_tuple(text):
            return tuple(self.value("", item) for item in split(text[1:-1]))
        if re.fullmatch(r"-?(inf|nan|\d+\.\d*(e[-+]?\d+)?|\d+e[-+]?\d+)", text):
            return float(text)
        return self.dim(text)

    def map_entry(self, text: str) -> tuple[int | None, Dim, int]:
        """``#1``, ``-#0 + n - 1``, ``2*#0 + 1``, or a static index ``n - 1``."""
        found = re.fullmatch(r"(-?)(?:(\d+)\*)?#(\d+)\s*(?:\+|(?=-)|$)(.*)", text)
        if found is None:
            return None, self.dim(text), 1
        sign, step, axis, offset = found.groups()
        size = int(step or 1)
        return int(axis), self.dim(offset) if offset.strip() else 0, -size if sign else size


def split(text: str) -> list[str]:
    """The items of ``a, (b, c), "d, e"``, split at commas outside brackets and strings."""
    reader = _Parser(text)
    items: list[str] = []
    while reader.at < len(text):
        items.append(reader.raw(","))
        reader.take(",")
        reader.skip()
    return items


def _is_tuple(text: str) -> bool:
    """Whether the first bracket spans all of ``text`` and is no grouping of one dimension."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if depth == 0 and at < len(text) - 1:
            return False
    return text == "()" or len(split(text[1:-1])) != 1 or text[1:-1].rstrip().endswith(",")
