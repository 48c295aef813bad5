"""Arithmetic of numbers: the instructions that Numba would use for the same expression.

Integers narrower than 64 bits are computed in 64. A float with an integer is a float64; float32
stays float32 among its own. Fast-math flags stand on the instructions that Numba puts them on:
arithmetic, comparisons and calls.
"""

from __future__ import annotations

import math

import llvmlite.binding as llvm

from tracegrad.backend.native.types import (
    BOOL,
    F32,
    F64,
    I64,
    U64,
    Number,
    Scalar,
    Unsupported,
    bits_of,
    natural_bits,
)
from tracegrad.backend.native.writer import Writer, real

_COMPARE = {
    "Lt": ("olt", "slt"),
    "LtE": ("ole", "sle"),
    "Gt": ("ogt", "sgt"),
    "GtE": ("oge", "sge"),
    "Eq": ("oeq", "eq"),
    "NotEq": ("une", "ne"),
}
_FLOAT = {"Add": "fadd", "Sub": "fsub", "Mult": "fmul", "Div": "fdiv"}
_INTEGER = {
    "Add": "add",
    "Sub": "sub",
    "Mult": "mul",
    "BitAnd": "and",
    "BitOr": "or",
    "BitXor": "xor",
    "LShift": "shl",
    "RShift": "ashr",
}

#: NumPy's functions of one float that LLVM has, and those of libm, by C's names.
_INTRINSICS = frozenset(
    ("sqrt", "exp", "exp2", "log", "log2", "log10", "sin", "cos", "floor", "ceil", "trunc", "rint")
)
_LIBM = {
    **{name: name for name in ("log1p", "expm1", "tanh", "sinh", "cosh", "tan", "cbrt")},
    **{f"arc{name}": f"a{name}" for name in ("tan", "sin", "cos", "tanh", "sinh", "cosh")},
    **{name: name for name in ("erf", "erfc", "lgamma")},
    "gamma": "tgamma",
}

#: Whether LLVM has machine code for its own maximum and minimum, in which a NaN wins.
_KNOWS_EXTREMES = llvm.llvm_version_info >= (17,)

_MATH = {
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "atan2": "arctan2",
    "pow": "power",
}
"""What NumPy calls functions of ``math``; the others have the same name."""


class Scalars:
    """Writes arithmetic.

    Parameters
    ----------
    flags : LLVM's fast-math flags, as they stand in its text.
    """

    def __init__(self, writer: Writer, flags: str) -> None:
        self.writer = writer
        self.flags = flags

    # --- numbers and types

    def constant(self, value: float | int | bool, type: Scalar | None = None) -> Number:
        if type is None:
            type = BOOL if isinstance(value, bool) else I64 if isinstance(value, int) else F64
        if type.is_float:
            return Number(type, real(float(value), type))
        if type.is_bool:
            return Number(type, "true" if value else "false")
        if not -(1 << 63) <= int(value) < 1 << 63:
            raise Unsupported(f"the integer {value}")
        return Number(type, str(int(value)), bits_of(int(value)))

    def cast(self, x: Number, type: Scalar) -> Number:
        """``x`` as a number of another type: NumPy's scalar type, called."""
        if x.type is type:
            return x
        old, new, source = x.type.llvm, type.llvm, x.type
        if type.is_bool:
            if source.is_float:
                return self._number(BOOL, f"fcmp{self.flags} une {old} {x.text}, {real(0, source)}")
            return self._number(BOOL, f"icmp ne {old} {x.text}, 0")
        if type.is_float:
            if source.is_float:
                how = "fpext" if type.size > source.size else "fptrunc"
            else:
                if source is I64 and x.text.lstrip("-").isdigit() and abs(int(x.text)) < 1 << 53:
                    return self.constant(float(int(x.text)), type)
                how = "sitofp" if source.kind == "i" else "uitofp"
            return self._number(type, f"{how} {old} {x.text} to {new}")
        if source.is_float:
            # Of NaN and of what is out of range LLVM may make a number that is another one at each
            # use: inside the bounds where that is checked, outside where it is an index.
            how = "fptosi" if type.kind == "i" else "fptoui"
            found = self.writer.op(f"{how} {old} {x.text} to {new}")
            return self._number(type, f"freeze {new} {found}")
        bits, wanted = (1 if source.is_bool else 8 * source.size), 8 * type.size
        if bits == wanted:
            return Number(type, x.text, x.natural if type.kind == "i" else 0)
        if bits > wanted:
            return self._number(type, f"trunc {old} {x.text} to {new}")
        if x.text.lstrip("-").isdigit():
            return Number(type, x.text, x.natural)
        if source.kind == "i":
            return Number(type, self.writer.op(f"sext {old} {x.text} to {new}"), x.natural)
        return Number(type, self.writer.op(f"zext {old} {x.text} to {new}"), bits)

    def _number(self, type: Scalar, instruction: str) -> Number:
        return Number(type, self.writer.op(instruction))

    def arithmetic_type(self, x: Scalar, y: Scalar) -> Scalar:
        """In what type numbers of two types meet."""
        if x.is_float or y.is_float:
            if x is y is F32:
                return F32
            for one, other in ((x, y), (y, x)):
                if one is F32 and not other.is_float and other.size < 4:
                    raise Unsupported("float32 with a small integer")
            return F64
        if x.kind == y.kind == "u":
            return U64
        if U64 in (x, y):
            raise Unsupported("uint64 with another integer")
        return I64

    def common(self, x: Number, y: Number) -> tuple[Number, Number]:
        type = self.arithmetic_type(x.type, y.type)
        return self.cast(x, type), self.cast(y, type)

    # --- operators

    def binary(self, operator: str, x: Number, y: Number) -> Number:
        if operator in ("BitAnd", "BitOr", "BitXor") and x.type is y.type is BOOL:
            return self._number(BOOL, f"{_INTEGER[operator]} i1 {x.text}, {y.text}")
        x, y = self.common(x, y)
        if operator == "Div" and not x.type.is_float:
            x, y = self.cast(x, F64), self.cast(y, F64)
        type = x.type
        if type.is_float:
            if operator in _FLOAT:
                return self.float_operation(_FLOAT[operator], x, y)
            if operator == "FloorDiv":
                return self._float_division(x, y)[0]
            if operator == "Mod":
                return self._float_division(x, y)[1]
            if operator == "Pow":
                return self._power(x, y)
            raise Unsupported(f"{operator} of floats")
        if operator in ("FloorDiv", "Mod"):
            return self._integer_division(x, y, operator == "Mod")
        if operator not in _INTEGER:
            raise Unsupported(f"{operator} of integers")
        folded = self._folded(operator, x, y) if type is I64 else None
        if folded is not None:
            return folded
        name = "lshr" if operator == "RShift" and type is U64 else _INTEGER[operator]
        natural = natural_bits(operator, x.natural, y.natural) if type is I64 else 0
        if natural and operator in ("Add", "Mult"):
            name += " nuw nsw"
        return Number(type, self.writer.op(f"{name} i64 {x.text}, {y.text}"), natural)

    def _folded(self, operator: str, x: Number, y: Number) -> Number | None:
        """Sums and products of small constants, so that their signs are known here."""
        if not (x.text.lstrip("-").isdigit() and y.text.lstrip("-").isdigit()):
            return None
        a, b = int(x.text), int(y.text)
        if max(abs(a), abs(b)) >= 1 << 31:
            return None
        known = {"Add": a + b, "Sub": a - b, "Mult": a * b}
        return self.constant(known[operator]) if operator in known else None

    def _power(self, x: Number, y: Number) -> Number:
        if y.text in (real(float(n), y.type) for n in (2, 3)):
            square = self.float_operation("fmul", x, x)
            twice = y.text == real(2.0, y.type)
            return square if twice else self.float_operation("fmul", square, x)
        return self.libm("pow", x, y)

    def float_operation(self, name: str, x: Number, y: Number) -> Number:
        return self._number(x.type, f"{name}{self.flags} {x.type.llvm} {x.text}, {y.text}")

    def _integer_division(self, x: Number, y: Number, remainder: bool) -> Number:
        """Rounded down; by zero it is 0, and the one quotient that overflows wraps around."""
        op = self.writer.op
        if x.type is U64:
            zero = op(f"icmp eq i64 {y.text}, 0")
            divisor = op(f"select i1 {zero}, i64 1, i64 {y.text}")
            found = op(f"{'urem' if remainder else 'udiv'} i64 {x.text}, {divisor}")
            return self._number(U64, f"select i1 {zero}, i64 0, i64 {found}")
        if y.text.isdigit() and int(y.text) > 0:
            divisor, zero = y.text, ""
        else:
            zero = op(f"icmp eq i64 {y.text}, 0")
            least = op(f"icmp eq i64 {x.text}, {-(1 << 63)}")
            minus = op(f"icmp eq i64 {y.text}, -1")
            over = op(f"and i1 {least}, {minus}")
            divisor = op(f"select i1 {op(f'or i1 {zero}, {over}')}, i64 1, i64 {y.text}")
        quotient = op(f"sdiv i64 {x.text}, {divisor}")
        rest = op(f"srem i64 {x.text}, {divisor}")
        natural = x.natural and y.natural
        if natural:
            found = rest if remainder else quotient
        else:
            signs = op(f"xor i64 {rest}, {divisor}")
            differ = op(f"icmp slt i64 {signs}, 0")
            some = op(f"icmp ne i64 {rest}, 0")
            down = op(f"and i1 {differ}, {some}")
            if remainder:
                moved = op(f"add i64 {rest}, {divisor}")
                found = op(f"select i1 {down}, i64 {moved}, i64 {rest}")
            else:
                moved = op(f"sub i64 {quotient}, 1")
                found = op(f"select i1 {down}, i64 {moved}, i64 {quotient}")
        if zero:
            found = op(f"select i1 {zero}, i64 0, i64 {found}")
        bits = natural_bits("Mod" if remainder else "FloorDiv", x.natural, y.natural)
        return Number(I64, found, bits)

    def _float_division(self, x: Number, y: Number) -> tuple[Number, Number]:
        """Python's quotient, rounded down, and remainder, as CPython's ``float_divmod``.

        By zero they are the IEEE quotient and remainder.
        """
        op, kind = self.writer.op, x.type.llvm
        zero, one = real(0.0, x.type), real(1.0, x.type)
        f = self.flags
        rest = op(f"frem{f} {kind} {x.text}, {y.text}")
        by_zero = op(f"fcmp{f} oeq {kind} {y.text}, {zero}")
        less = op(f"fsub{f} {kind} {x.text}, {rest}")
        quotient = op(f"fdiv{f} {kind} {less}, {y.text}")
        whole = op(f"fcmp{f} une {kind} {rest}, {zero}")
        negative = op(f"fcmp{f} olt {kind} {y.text}, {zero}")
        below = op(f"fcmp{f} olt {kind} {rest}, {zero}")
        differ = op(f"xor i1 {negative}, {below}")
        fix = op(f"and i1 {whole}, {differ}")
        lower = op(f"fsub{f} {kind} {quotient}, {one}")
        quotient = op(f"select i1 {fix}, {kind} {lower}, {kind} {quotient}")
        moved = op(f"fadd{f} {kind} {rest}, {y.text}")
        signed = self.intrinsic("copysign", Number(x.type, zero), y).text
        fixed = op(f"select i1 {fix}, {kind} {moved}, {kind} {rest}")
        remainder = op(f"select i1 {whole}, {kind} {fixed}, {kind} {signed}")
        rounded = self.intrinsic("floor", Number(x.type, quotient)).text
        far = op(f"fsub{f} {kind} {quotient}, {rounded}")
        half = op(f"fcmp{f} ogt {kind} {far}, {real(0.5, x.type)}")
        up = op(f"fadd{f} {kind} {rounded}, {one}")
        snapped = op(f"select i1 {half}, {kind} {up}, {kind} {rounded}")
        ratio = op(f"fdiv{f} {kind} {x.text}, {y.text}")
        nothing = self.intrinsic("copysign", Number(x.type, zero), Number(x.type, ratio)).text
        some = op(f"fcmp{f} une {kind} {quotient}, {zero}")
        found = op(f"select i1 {some}, {kind} {snapped}, {kind} {nothing}")
        found = op(f"select i1 {by_zero}, {kind} {ratio}, {kind} {found}")
        plain = op(f"frem{f} {kind} {x.text}, {y.text}")
        remainder = op(f"select i1 {by_zero}, {kind} {plain}, {kind} {remainder}")
        return Number(x.type, found), Number(x.type, remainder)

    def compare(self, relation: str, x: Number, y: Number) -> Number:
        x, y = self.common(x, y)
        real_one, integer_one = _COMPARE[relation]
        kind = x.type.llvm
        if x.type.is_float:
            return self._number(BOOL, f"fcmp{self.flags} {real_one} {kind} {x.text}, {y.text}")
        if x.type is U64:
            integer_one = integer_one.replace("s", "u", 1)
        return self._number(BOOL, f"icmp {integer_one} {kind} {x.text}, {y.text}")

    def negate(self, x: Number) -> Number:
        if x.type.is_float:
            if x.text.startswith("0x"):
                return Number(x.type, f"0x{int(x.text, 16) ^ (1 << 63):016X}")
            return self._number(x.type, f"fneg {x.type.llvm} {x.text}")
        if x.type.kind == "u":
            wide = self.cast(x, U64)
            return self._number(U64, f"sub i64 0, {wide.text}")
        return self.binary("Sub", self.constant(0), x)

    def invert(self, x: Number) -> Number:
        if x.type.is_bool:
            return self._number(BOOL, f"xor i1 {x.text}, true")
        if x.type.kind == "u":
            return self._number(x.type, f"xor {x.type.llvm} {x.text}, -1")
        return self._number(I64, f"xor i64 {self.cast(x, I64).text}, -1")

    def truth(self, x: Number) -> Number:
        return self.cast(x, BOOL)

    def negation(self, x: Number) -> Number:
        return self._number(BOOL, f"xor i1 {self.truth(x).text}, true")

    def select(self, condition: Number, yes: Number, no: Number) -> Number:
        kind = yes.type.llvm
        text = f"select i1 {condition.text}, {kind} {yes.text}, {kind} {no.text}"
        natural = yes.natural and no.natural and max(yes.natural, no.natural)
        return Number(yes.type, self.writer.op(text), natural)

    # --- functions

    def intrinsic(self, name: str, *operands: Number, flags: str | None = None) -> Number:
        """``llvm.name`` of floats of one type."""
        flags = self.flags if flags is None else flags
        type = operands[0].type
        suffix = "f32" if type.size == 4 else "f64"
        kinds = ", ".join([type.llvm] * len(operands))
        function = self.writer.module.declare(f"llvm.{name}.{suffix}", type.llvm, kinds)
        given = ", ".join(f"{type.llvm} {x.text}" for x in operands)
        return self._number(type, f"call{flags} {type.llvm} {function}({given})")

    def libm(self, name: str, *operands: Number) -> Number:
        type = operands[0].type
        name += "f" if type.size == 4 else ""
        kinds = ", ".join([type.llvm] * len(operands))
        function = self.writer.module.declare(name, type.llvm, kinds, "nounwind memory(none)")
        given = ", ".join(f"{type.llvm} {x.text}" for x in operands)
        return self._number(type, f"call{self.flags} {type.llvm} {function}({given})")

    def absolute(self, x: Number) -> Number:
        if x.type.is_float:
            return self.intrinsic("fabs", x)
        if x.type.kind == "u":
            return x
        if x.type.kind != "i":
            raise Unsupported(f"abs of {x.type.name}")
        op, kind = self.writer.op, x.type.llvm
        minus = op(f"sub {kind} 0, {x.text}")
        below = op(f"icmp slt {kind} {x.text}, 0")
        return Number(x.type, op(f"select i1 {below}, {kind} {minus}, {kind} {x.text}"))

    def extremum(self, name: str, x: Number, y: Number) -> Number:
        """Python's ``max`` or ``min`` of integers."""
        if x.type.is_float or y.type.is_float:
            raise Unsupported(f"{name} of floats")
        x, y = self.common(x, y)
        sign = "u" if x.type is U64 else "s"
        function = self.writer.module.declare(f"llvm.{sign}{name}.i64", "i64", "i64, i64")
        if x.type is U64:
            return self._number(U64, f"call i64 {function}(i64 {x.text}, i64 {y.text})")
        natural = natural_bits(name, x.natural, y.natural)
        found = self.writer.op(f"call i64 {function}(i64 {x.text}, i64 {y.text})")
        return Number(I64, found, natural)

    def function(self, name: str, operands: list[Number]) -> Number:
        """A function of NumPy on scalars."""
        if len(operands) == 1:
            return self._unary(name, operands[0])
        if len(operands) == 2:
            return self._binary_function(name, *operands)
        raise Unsupported(f"np.{name} of {len(operands)} numbers")

    def math(self, name: str, operands: list[Number]) -> Number:
        """A function of Python's ``math``, of floats, where IEEE's answer is no exception."""
        operands = [x if x.type is F32 else self.cast(x, F64) for x in operands]
        if len(operands) == 2:
            operands = list(self.common(*operands))
        if name in ("floor", "ceil", "trunc"):
            return self.cast(self.function(name, operands), I64)
        return self.function(_MATH.get(name, name), operands)

    def _unary(self, name: str, x: Number) -> Number:
        kept = x if x.type.is_float else None
        if name == "square":
            return self.binary("Mult", x, x)
        if name in ("abs", "absolute") and kept is None:
            return self.absolute(x)
        if name == "sign" and kept is None:
            above, below = (self.compare(r, x, self.constant(0)) for r in ("Gt", "Lt"))
            one, minus, zero = (self.cast(self.constant(n), x.type) for n in (1, -1, 0))
            return self.select(above, one, self.select(below, minus, zero))
        if name == "reciprocal" and kept is None:
            raise Unsupported("np.reciprocal of an integer")
        if name in ("isnan", "isinf", "isfinite") and kept is None:
            return self.constant(name == "isfinite")
        if kept is None and name in ("floor", "ceil", "trunc", "rint", "signbit"):
            raise Unsupported(f"np.{name} of an integer")
        if kept is None:
            if x.type is not I64:  # NumPy has narrower floats for narrower integers
                raise Unsupported(f"np.{name} of {x.type.name}")
            x = self.cast(x, F64)
        return self._unary_float(name, x)

    def _unary_float(self, name: str, x: Number) -> Number:
        kind, f = x.type.llvm, self.flags
        if name in _INTRINSICS:
            return self.intrinsic(name, x)
        if name in ("abs", "fabs"):
            return self.intrinsic("fabs", x)
        if name in _LIBM:
            return self.libm(_LIBM[name], x)
        if name == "reciprocal":
            return self.float_operation("fdiv", Number(x.type, real(1.0, x.type)), x)
        if name == "isnan":
            return self._number(BOOL, f"fcmp{f} uno {kind} {x.text}, {x.text}")
        if name in ("isinf", "isfinite"):
            relation = "oeq" if name == "isinf" else "olt"
            size = self.intrinsic("fabs", x).text
            return self._number(BOOL, f"fcmp{f} {relation} {kind} {size}, {real(math.inf, x.type)}")
        if name == "sign":
            zero = self.constant(0.0, x.type)
            above, below = (self.compare(r, x, zero) for r in ("Gt", "Lt"))
            one, minus = (self.constant(n, x.type) for n in (1.0, -1.0))
            equal = self.select(self.compare("Eq", x, zero), zero, x)
            return self.select(above, one, self.select(below, minus, equal))
        raise Unsupported(f"np.{name}")

    def _binary_function(self, name: str, x: Number, y: Number) -> Number:
        x, y = self.common(x, y)
        if not x.type.is_float:
            if name in ("maximum", "minimum"):
                return self.extremum(name[:3], x, y)
            raise Unsupported(f"np.{name} of integers")
        if name in ("maximum", "minimum"):
            return self._extreme(name, x, y)
        if name == "copysign":
            return self.intrinsic("copysign", x, y)
        if name == "fmod":
            return self.float_operation("frem", x, y)
        if name in ("hypot", "arctan2"):
            return self.libm("atan2" if name == "arctan2" else name, x, y)
        if name in ("power", "float_power"):
            return self._power(x, y)
        if name == "logaddexp":
            return self._logaddexp(x, y)
        raise Unsupported(f"np.{name}")

    def _extreme(self, name: str, x: Number, y: Number) -> Number:
        """NumPy's ``maximum`` or ``minimum`` of floats: a NaN wins."""
        kind, f, op = x.type.llvm, self.flags, self.writer.op
        if _KNOWS_EXTREMES:
            # NumPy leaves open which zero wins, and to tell them apart costs more than the rest.
            flags = f if {"nsz", "fast"} & set(f.split()) else f" nsz{f}"
            return self.intrinsic(name, x, y, flags=flags)
        relation = "oge" if name == "maximum" else "ole"
        first = op(f"fcmp{f} uno {kind} {x.text}, {x.text}")
        either = op(f"fcmp{f} uno {kind} {x.text}, {y.text}")
        lost = op(f"select i1 {first}, {kind} {x.text}, {kind} {y.text}")
        better = op(f"fcmp{f} {relation} {kind} {x.text}, {y.text}")
        chosen = op(f"select i1 {better}, {kind} {x.text}, {kind} {y.text}")
        return self._number(x.type, f"select i1 {either}, {kind} {lost}, {kind} {chosen}")

    def _logaddexp(self, x: Number, y: Number) -> Number:
        """log(exp(x) + exp(y)); equal infinities give themselves, NaN stays."""
        writer, f, kind = self.writer, self.flags, x.type.llvm
        low, high, same, end = (writer.label(n) for n in ("low", "high", "same", "end"))
        equal = writer.op(f"fcmp{f} oeq {kind} {x.text}, {y.text}")
        rest = writer.label("rest")
        writer.branch(equal, same, rest)
        writer.start(same)
        doubled = self.float_operation("fadd", x, self.constant(math.log(2.0), x.type))
        writer.jump(end)
        writer.start(rest)
        gap = self.float_operation("fsub", x, y)
        above = writer.op(f"fcmp{f} ogt {kind} {gap.text}, {real(0.0, x.type)}")
        writer.branch(above, high, low)
        found = []
        for label, base in ((high, x), (low, y)):
            writer.start(label)
            # Where y is larger the gap is its own opposite; with a NaN all of it is NaN.
            down = self.negate(gap) if label == high else gap
            tail = self.libm("log1p", self.intrinsic("exp", down))
            found.append((self.float_operation("fadd", base, tail).text, writer.block))
            writer.jump(end)
        writer.start(end)
        arms = "".join(f", [ {text}, %{block} ]" for text, block in found)
        return self._number(x.type, f"phi {kind} [ {doubled.text}, %{same} ]{arms}")
