"""Texts of Python expressions that know how tightly they bind.

Parentheses are put where Python's grammar needs them and nowhere else. A template of an op
(``"exp({0})"``, ``"{1} if {0} else {2}"``) is parsed once, which tells for each of its places how
tightly an operand must bind there.
"""

from __future__ import annotations

import ast
import functools
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad.ir.types import Dim, DType, Extremum, FloorDiv, Size

# Python's precedence levels, loosest first.
CONDITIONAL, OR, AND, NOT, COMPARE, BIT_OR, BIT_XOR, BIT_AND, SHIFT, SUM, PRODUCT = range(1, 12)
UNARY, POWER, ATOM = 12, 13, 14

_BINARY = {
    "or": OR,
    "and": AND,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), COMPARE),
    "|": BIT_OR,
    "^": BIT_XOR,
    "&": BIT_AND,
    "<<": SHIFT,
    ">>": SHIFT,
    "+": SUM,
    "-": SUM,
    **dict.fromkeys(("*", "/", "//", "%", "@"), PRODUCT),
    "**": POWER,
}
_UNARY = {"-": UNARY, "+": UNARY, "~": UNARY, "not": NOT}


@dataclass(frozen=True)
class Text:
    """An expression: its text, how tightly it binds, and how it may be split.

    ``update`` is ``(operator, left, right)`` of a binary expression, for ``left += right``;
    ``opposite`` is the expression that has a minus sign before it here.
    """

    text: str
    level: int = ATOM
    update: tuple[str, str, str] | None = None
    opposite: Text | None = None

    def at(self, level: int) -> str:
        """The text for a place that needs at least ``level``."""
        return self.text if self.level >= level else f"({self.text})"

    def __str__(self) -> str:
        return self.text


def binary(operator: str, left: Text, right: Text) -> Text:
    level = _BINARY[operator]
    if operator == "**":
        # Binds to the right, and less tightly than a sign on its right: 2 ** -x.
        return Text(f"{left.at(ATOM)} ** {right.at(UNARY)}", level)
    # A chain of comparisons would mean something else; the rest binds to the left, and a
    # floating-point sum must keep the order that the program gave it.
    text = f"{left.at(level + (level == COMPARE))} {operator} {right.at(level + 1)}"
    return Text(text, level, (operator, left.text, right.text))


def unary(operator: str, operand: Text) -> Text:
    level = _UNARY[operator]
    # "--x" is right but reads like another language's operator.
    inner = operand.at(ATOM if operand.text.startswith(operator) else level)
    if operator == "-":
        return Text(f"-{inner}", level, opposite=operand)
    return Text(f"not {inner}" if operator == "not" else f"{operator}{inner}", level)


def infix(operator: str, operands: Sequence[Text]) -> Text:
    """An op whose declaration names a Python operator."""
    if len(operands) == 1:
        return unary(operator, operands[0])
    left, right = operands
    if operator in ("+", "-") and right.opposite is not None:
        operator, right = "-" if operator == "+" else "+", right.opposite
    return binary(operator, left, right)


# --- texts made elsewhere ---------------------------------------------------------------------


def _level(node: ast.AST) -> int:
    if isinstance(node, (ast.Name, ast.Call, ast.Subscript, ast.Attribute, ast.List)):
        return ATOM
    if isinstance(node, ast.Constant):
        return ATOM
    if isinstance(node, ast.BinOp):
        return _BINARY[_OPERATORS[type(node.op)]]
    if isinstance(node, ast.UnaryOp):
        return NOT if isinstance(node.op, ast.Not) else UNARY
    if isinstance(node, ast.Compare):
        return COMPARE
    if isinstance(node, ast.BoolOp):
        return OR if isinstance(node.op, ast.Or) else AND
    if isinstance(node, ast.Tuple):
        return ATOM  # Its text has its own parentheses.
    return CONDITIONAL


_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.Pow: "**",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.BitAnd: "&",
    ast.LShift: "<<",
    ast.RShift: ">>",
}


def parse(text: str) -> Text:
    """The expression that somebody else wrote as ``text``, with no needless parentheses."""
    node = ast.parse(text.strip(), mode="eval").body
    return Text(ast.unparse(node), _level(node))


def lazily(test: Text) -> Text:
    """A condition of scalars with ``and`` and ``or`` in the place of ``&`` and ``|``."""
    if test.update is None or test.update[0] not in ("&", "|"):
        return test
    return _lazily(ast.parse(test.text, mode="eval").body)


def _lazily(node: ast.expr) -> Text:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        word = "and" if isinstance(node.op, ast.BitAnd) else "or"
        return binary(word, _lazily(node.left), _lazily(node.right))
    return Text(ast.unparse(node), _level(node))


def numeral(text: str) -> Text:
    """A number, or a call that makes one."""
    return unary("-", Text(text[1:])) if text.startswith("-") else Text(text)


def _source(text: str, node: ast.expr) -> str:
    assert node.end_col_offset is not None
    # Columns count bytes.
    return text.encode()[node.col_offset : node.end_col_offset].decode()


@dataclass(frozen=True)
class _Place:
    """Where a template takes an operand: its number, the level needed, and whether that operand
    is evaluated only under a condition."""

    operand: int
    level: int
    conditional: bool


@dataclass(frozen=True)
class Template:
    """A parsed template: texts and places in turn."""

    pieces: tuple[str | _Place, ...]
    level: int

    def fill(self, operands: Sequence[Text]) -> Text:
        if len(self.pieces) == 1 and isinstance(self.pieces[0], _Place):
            return operands[self.pieces[0].operand]
        parts = [
            piece if isinstance(piece, str) else operands[piece.operand].at(piece.level)
            for piece in self.pieces
        ]
        return Text("".join(parts), self.level)

    @property
    def conditional(self) -> frozenset[int]:
        """The operands that are not always evaluated."""
        places = [piece for piece in self.pieces if isinstance(piece, _Place)]
        return frozenset(place.operand for place in places if place.conditional)

    @property
    def repeated(self) -> frozenset[int]:
        """The operands that stand in it more than once."""
        numbers = [piece.operand for piece in self.pieces if isinstance(piece, _Place)]
        return frozenset(number for number in numbers if numbers.count(number) > 1)


def template(text: str, attributes: Mapping[str, str]) -> Template:
    """The template ``text``: ``{0}`` for operands, ``{name}`` for the texts of attributes."""
    return _template(text, tuple(sorted(attributes.items())))


_OPERAND = "_operand_{}_"


@functools.cache
def _template(text: str, attributes: tuple[tuple[str, str], ...]) -> Template:
    known = dict(attributes)
    plain = ""
    for literal, name, _, _ in string.Formatter().parse(text):
        plain += literal
        if name is not None:
            plain += _OPERAND.format(name) if name.isdigit() else known[name]
    plain = plain.strip()
    root = ast.parse(plain, mode="eval").body
    found: list[tuple[int, int, _Place]] = []
    _find(root, CONDITIONAL, False, found)
    source = _source(plain, root)
    data, start = source.encode(), 0
    pieces: list[str | _Place] = []
    for begin, end, place in sorted(found, key=lambda each: each[0]):
        if begin - root.col_offset > start:
            pieces.append(data[start : begin - root.col_offset].decode())
        pieces.append(place)
        start = end - root.col_offset
    if start < len(data):
        pieces.append(data[start:].decode())
    return Template(tuple(pieces), _level(root))


def _find(
    node: ast.AST, level: int, conditional: bool, found: list[tuple[int, int, _Place]]
) -> None:
    """Collect the operands below ``node``, which stands where ``level`` is needed."""
    if isinstance(node, ast.Name):
        if node.id.startswith("_operand_"):
            assert node.end_col_offset is not None
            number = int(node.id.removeprefix("_operand_").removesuffix("_"))
            place = _Place(number, level, conditional)
            found.append((node.col_offset, node.end_col_offset, place))
        return
    for child, needed, guarded in _children(node):
        _find(child, needed, conditional or guarded, found)


def _children(node: ast.AST) -> list[tuple[ast.AST, int, bool]]:
    """The parts of an expression: the level each needs, whether it may go unevaluated."""
    if isinstance(node, ast.BinOp):
        level = _BINARY[_OPERATORS[type(node.op)]]
        if isinstance(node.op, ast.Pow):
            return [(node.left, ATOM, False), (node.right, UNARY, False)]
        return [(node.left, level, False), (node.right, level + 1, False)]
    if isinstance(node, ast.UnaryOp):
        return [(node.operand, _level(node), False)]
    if isinstance(node, ast.Compare):
        return [(each, COMPARE + 1, False) for each in (node.left, *node.comparators)]
    if isinstance(node, ast.BoolOp):
        level = _level(node) + 1
        return [(each, level, number > 0) for number, each in enumerate(node.values)]
    if isinstance(node, ast.IfExp):
        return [(node.test, OR, False), (node.body, OR, True), (node.orelse, CONDITIONAL, True)]
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        inside = [(node.slice, CONDITIONAL, False)] if isinstance(node, ast.Subscript) else []
        return [(node.value, ATOM, False), *inside]
    if isinstance(node, ast.Call):
        return [
            (node.func, ATOM, False),
            *((each, CONDITIONAL, False) for each in (*node.args, *node.keywords)),
        ]
    return [(each, CONDITIONAL, False) for each in ast.iter_child_nodes(node)]


# --- dimensions and attributes ----------------------------------------------------------------


def dim_text(dim: Dim) -> Text:
    """A dimension as Python source over its symbols: ``n``, ``n - 1``, ``2 * (n // 2)``."""
    if not isinstance(dim, Size):
        return Text(str(int(dim)), ATOM if dim >= 0 else UNARY)
    total: Text | None = None
    # n - i, not -i + n.
    for monomial, coefficient in sorted(dim.terms, key=lambda term: term[1] < 0 and term[0] != ()):
        factors = [_atom_text(atom) for atom in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, Text(str(abs(coefficient))))
        term = functools.reduce(functools.partial(binary, "*"), factors)
        if total is None:
            total = unary("-", term) if coefficient < 0 else term
        else:
            total = binary("-" if coefficient < 0 else "+", total, term)
    assert total is not None, "a Size has a term"
    return total


def _atom_text(atom: Any) -> Text:
    if isinstance(atom, FloorDiv):
        return binary("//", dim_text(atom.numerator), dim_text(atom.denominator))
    if isinstance(atom, Extremum):
        return Text(f"{atom.kind}({dim_text(atom.left)}, {dim_text(atom.right)})")
    return Text(str(atom))


def dims_text(dims: Sequence[Dim]) -> str:
    """A shape as a tuple."""
    inner = ", ".join(dim_text(dim).text for dim in dims)
    return f"({inner},)" if len(dims) == 1 else f"({inner})"


def dtype_text(dtype: DType) -> str:
    """``np.float64``."""
    return "np.bool_" if dtype.is_bool else f"np.{dtype.numpy.name}"


def literal(text: str) -> str:
    """A text of the user as a Python literal on one line."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in text else shown


def attribute_text(value: object) -> str:
    """An attribute as it stands in a template. Texts are never passed on: see style.md."""
    if isinstance(value, DType):
        return dtype_text(value)
    if isinstance(value, (bool, int, float)) or value is None:
        return repr(value)
    if isinstance(value, Size):
        return dim_text(value).text
    if isinstance(value, tuple):
        inner = ", ".join(attribute_text(each) for each in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise TypeError(f"an attribute of type {type(value).__name__} can't stand in source text")


#: How functions of op declarations are handed dimensions: as texts that bind tightly.
def dims_as_atoms(dim: Dim) -> str:
    return dim_text(dim).at(ATOM)


Dims = Callable[[Dim], str]
