"""Types of the IR: a dtype and a symbolic shape.

A dimension (`Dim`) is a plain ``int`` or a `Size`: a polynomial with integer coefficients over
*atoms*. An atom is a symbol (a string such as ``"n"``) or a rounded or clipped expression
(`FloorDiv`, `Extremum`) that no polynomial can express. `Size` is canonical, so two equal
expressions compare equal: ``n + n == 2*n``. A constant expression is always an ``int``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


@dataclass(frozen=True, eq=False)
class DType:
    """A scalar type: ``f64``, ``f32``, ``i64`` … with its NumPy dtype.

    There is one object of each.
    """

    name: str
    numpy: np.dtype

    def __reduce__(self) -> str:
        return "boolean" if self.name == "bool" else self.name

    @property
    def is_float(self) -> bool:
        return self.numpy.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.numpy.kind in "iu"

    @property
    def is_bool(self) -> bool:
        return self.numpy.kind == "b"

    def __repr__(self) -> str:
        return self.name


def _dtype(name: str, numpy_name: str) -> DType:
    return DType(name, np.dtype(numpy_name))


f64 = _dtype("f64", "float64")
f32 = _dtype("f32", "float32")
i64 = _dtype("i64", "int64")
i32 = _dtype("i32", "int32")
i16 = _dtype("i16", "int16")
i8 = _dtype("i8", "int8")
u64 = _dtype("u64", "uint64")
u32 = _dtype("u32", "uint32")
u16 = _dtype("u16", "uint16")
u8 = _dtype("u8", "uint8")
boolean = _dtype("bool", "bool")

DTYPES: dict[str, DType] = {
    d.name: d for d in (f64, f32, i64, i32, i16, i8, u64, u32, u16, u8, boolean)
}
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}


def dtype_of(numpy_dtype: DTypeLike) -> DType:
    """The IR dtype of a NumPy dtype; raises `KeyError` for a dtype the IR does not have."""
    return _BY_NUMPY[np.dtype(numpy_dtype).newbyteorder("=")]


# --- dimensions ---------------------------------------------------------------------------


@dataclass(frozen=True)
class FloorDiv:
    """The atom ``numerator // denominator`` that does not divide exactly."""

    numerator: Dim
    denominator: Dim

    def __str__(self) -> str:
        return f"({self.numerator})//{_tight(self.denominator)}"


@dataclass(frozen=True)
class Extremum:
    """The atom ``max(left, right)`` or ``min(left, right)``."""

    kind: str
    left: Dim
    right: Dim

    def __str__(self) -> str:
        return f"{self.kind}({self.left}, {self.right})"


Atom: TypeAlias = str | FloorDiv | Extremum
Monomial: TypeAlias = tuple[Atom, ...]


def _tight(dim: Dim) -> str:
    text = str(dim)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


@total_ordering
class Size:
    """A symbolic dimension in canonical form; build it with `symbol` and arithmetic."""

    __slots__ = ("_hash", "_symbols", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)
        self._symbols: tuple[str, ...] | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __lt__(self, other: Size) -> bool:
        """An arbitrary total order, for deterministic output only."""
        return str(self) < str(other)

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, int):
            return _sum(self.terms, terms_of(other))
        # The constant stands last, and there is another term before it.
        if not other:
            return self
        last, constant = self.terms[-1]
        rest = self.terms if last else self.terms[:-1]
        total = other if last else constant + other
        return Size((*rest, ((), int(total))) if total else rest)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        if isinstance(other, Size):
            return _sum(self.terms, ((m, -c) for m, c in other.terms))
        return self + -other

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int):
            if other == 1:
                return self
            return Size(tuple((m, c * int(other)) for m, c in self.terms)) if other else 0
        products = (
            (tuple(sorted(m + k, key=str)), c * d)
            for m, c in terms_of(self)
            for k, d in terms_of(other)
        )
        return _sum(products)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floor_div(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floor_div(other, self)

    def __str__(self) -> str:
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            factors = [str(a) for a in monomial]
            if len(factors) > 1 or coefficient not in (1, -1) or (coefficient < 0 and not parts):
                # Python and the parser read 2*(n)//2 from the left: a quotient needs its own.
                factors = [
                    f"({f})" if isinstance(a, FloorDiv) else f
                    for a, f in zip(monomial, factors, strict=True)
                ]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            text = "*".join(factors)
            if not parts:
                parts.append(f"-{text}" if coefficient < 0 else text)
            else:
                parts.append(f"- {text}" if coefficient < 0 else f"+ {text}")
        return " ".join(parts)

    __repr__ = __str__


Dim: TypeAlias = int | Size
Shape: TypeAlias = tuple[Dim, ...]


def terms_of(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, Size):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _sum(*groups: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for group in groups:
        for monomial, coefficient in group:
            total[monomial] = total.get(monomial, 0) + coefficient
    # The highest degree first and the constant last, as one would write it.
    kept = [(m, c) for m, c in total.items() if c]
    if not kept:
        return 0
    if len(kept) == 1:
        return kept[0][1] if kept[0][0] == () else Size(tuple(kept))
    kept.sort(key=_place)
    return Size(tuple(kept))


def _place(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """What terms are sorted by."""
    monomial = term[0]
    return -len(monomial), [a if isinstance(a, str) else str(a) for a in monomial]


def symbol(name: str) -> Size:
    """The dimension that is the symbol ``name``, an identifier."""
    if not name.isidentifier():
        raise ValueError(f"a size symbol must be an identifier, not {name!r}")
    return Size((((name,), 1),))


def floor_div(numerator: Dim, denominator: Dim) -> Dim:
    """``numerator // denominator``, divided term by term where that is exact."""
    if isinstance(numerator, int) and isinstance(denominator, int):
        return numerator // denominator
    if denominator == 1:
        return numerator
    if isinstance(denominator, int):
        whole: Dim = 0
        rest: Dim = 0
        for monomial, coefficient in terms_of(numerator):
            term = _sum(((monomial, 1),))
            if coefficient % denominator == 0:
                whole = whole + term * (coefficient // denominator)
            else:
                rest = rest + term * coefficient
        if rest == 0:
            return whole
        if isinstance(rest, int):
            return whole + rest // denominator
        return whole + Size((((FloorDiv(rest, denominator),), 1),))
    exact = _divide_by_monomial(numerator, denominator)
    if exact is not None:
        return exact
    return Size((((FloorDiv(numerator, denominator),), 1),))


def _divide_by_monomial(numerator: Dim, denominator: Size) -> Dim | None:
    """The exact quotient when ``denominator`` is one monomial that divides every term."""
    if numerator == denominator:
        return 1
    if len(denominator.terms) != 1:
        return None
    ((by, by_coefficient),) = denominator.terms
    quotient: list[tuple[Monomial, int]] = []
    for monomial, coefficient in terms_of(numerator):
        remaining = list(monomial)
        for atom in by:
            if atom not in remaining:
                return None
            remaining.remove(atom)
        if coefficient % by_coefficient:
            return None
        quotient.append((tuple(remaining), coefficient // by_coefficient))
    return _sum(quotient)


def _extremum(kind: str, left: Dim, right: Dim) -> Dim:
    difference = left - right
    if isinstance(difference, int):
        return left if (difference >= 0) == (kind == "max") else right
    if str(right) < str(left):
        left, right = right, left
    return Size((((Extremum(kind, left, right),), 1),))


def dim_max(left: Dim, right: Dim) -> Dim:
    """The larger of two dimensions."""
    return _extremum("max", left, right)


def dim_min(left: Dim, right: Dim) -> Dim:
    """The smaller of two dimensions."""
    return _extremum("min", left, right)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions: the number of elements of a shape."""
    total: Dim = 1
    for d in dims:
        total = total * d
    return total


def never_negative(dim: Dim) -> bool:
    """Whether a polynomial of sizes has no negative coefficient."""
    if not isinstance(dim, Size):
        return dim >= 0
    return all(c >= 0 and all(isinstance(a, str) for a in m) for m, c in dim.terms)


def symbols(dim: Dim) -> tuple[str, ...]:
    """The symbols in ``dim``, in order of appearance, repeats included."""
    if not isinstance(dim, Size):
        return ()
    if dim._symbols is None:
        found: list[str] = []
        for monomial, _ in dim.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.append(atom)
                elif isinstance(atom, FloorDiv):
                    found += (*symbols(atom.numerator), *symbols(atom.denominator))
                else:
                    found += (*symbols(atom.left), *symbols(atom.right))
        dim._symbols = tuple(found)
    return dim._symbols


def coefficient(value: Dim, name: str) -> int | None:
    """The factor of a symbol that stands alone in its terms; None where it does not."""
    if not isinstance(value, Size):
        return 0
    found = 0
    for monomial, factor in value.terms:
        if monomial == (name,):
            found = factor
        elif any(_mentions(atom, name) for atom in monomial):
            return None
    return found


def _mentions(atom: object, name: str) -> bool:
    if isinstance(atom, str):
        return atom == name
    return any(name in symbols(d) for d in vars(atom).values() if isinstance(d, Size))


def is_symbol(dim: Dim) -> str | None:
    """The name when ``dim`` is one bare symbol, else None."""
    if isinstance(dim, Size) and len(dim.terms) == 1:
        monomial, coefficient = dim.terms[0]
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], str):
            return monomial[0]
    return None


def substitute(dim: Dim, replacement: Mapping[str, Dim]) -> Dim:
    """``dim`` with symbols replaced; evaluates fully when every symbol maps to an int."""
    return _rebuild(dim, lambda name: replacement.get(name))


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The value of ``dim``; raises `KeyError` naming a symbol that has no value."""
    value = _rebuild(dim, lambda name: sizes[name])
    assert isinstance(value, int)
    return value


def _rebuild(dim: Dim, lookup: Callable[[str], Dim | None]) -> Dim:
    if not isinstance(dim, Size):
        return dim
    total: Dim = 0
    kept: list[tuple[Monomial, int]] = []
    for monomial, coefficient in dim.terms:
        if all(isinstance(atom, str) and lookup(atom) is None for atom in monomial):
            kept.append((monomial, coefficient))
            continue
        term: Dim = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                found = lookup(atom)
                term = term * (symbol(atom) if found is None else found)
            elif isinstance(atom, FloorDiv):
                term = term * floor_div(
                    _rebuild(atom.numerator, lookup), _rebuild(atom.denominator, lookup)
                )
            else:
                term = term * _extremum(
                    atom.kind, _rebuild(atom.left, lookup), _rebuild(atom.right, lookup)
                )
        total = total + term
    return dim if len(kept) == len(dim.terms) else _sum(terms_of(total), kept)


def affine(dim: Dim) -> tuple[str | None, int] | None:
    """``(symbol or None, constant)`` when ``dim`` is an int or one symbol plus an int."""
    if isinstance(dim, int):
        return (None, dim)
    rest = dim
    constant = 0
    if rest.terms[-1][0] == ():
        constant = rest.terms[-1][1]
    base = rest - constant
    name = is_symbol(base)
    return None if name is None else (name, constant)


def parse_dim(text: str) -> Dim:
    """The dimension that ``str(dim)`` printed as ``text``."""
    tokens = re.findall(r"\d+|[A-Za-z_]\w*|//|[-+*(),]", text)
    if "".join(tokens) != re.sub(r"\s+", "", text):
        raise ValueError(f"not a dimension: {text!r}")
    position = 0

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def take(expected: str | None = None) -> str:
        nonlocal position
        token = peek()
        if not token or (expected is not None and token != expected):
            raise ValueError(f"not a dimension: {text!r}")
        position += 1
        return token

    def total() -> Dim:
        value = factor_product()
        while peek() in ("+", "-"):
            sign = 1 if take() == "+" else -1
            value = value + factor_product() * sign
        return value

    def factor_product() -> Dim:
        if peek() == "-":
            take()
            return factor_product() * -1
        value = factor()
        while peek() in ("*", "//"):
            value = value * factor() if take() == "*" else floor_div(value, factor())
        return value

    def factor() -> Dim:
        token = take()
        if token.isdigit():
            return int(token)
        if token == "(":
            value = total()
            take(")")
            return value
        if token in ("max", "min") and peek() == "(":
            take("(")
            left = total()
            take(",")
            right = total()
            take(")")
            return _extremum(token, left, right)
        return symbol(token)

    value = total()
    if position != len(tokens):
        raise ValueError(f"not a dimension: {text!r}")
    return value


# --- array types --------------------------------------------------------------------------


@dataclass(frozen=True)
class ArrayType:
    """An array (rank 0: a scalar) of ``dtype`` with a symbolic ``shape``."""

    dtype: DType
    shape: Shape = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return product(self.shape)

    def with_shape(self, shape: Iterable[Dim]) -> ArrayType:
        return ArrayType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> ArrayType:
        return ArrayType(dtype, self.shape)

    def substitute(self, replacement: Mapping[str, Dim]) -> ArrayType:
        return ArrayType(self.dtype, tuple(substitute(d, replacement) for d in self.shape))

    def __str__(self) -> str:
        if not self.shape:
            return self.dtype.name
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__


def scalar(dtype: DType) -> ArrayType:
    return ArrayType(dtype, ())
