"""Write straight-line maths kernels as LLVM text.

A kernel is a Python function on `Value` objects: arithmetic operators, `fma`, `where`,
comparisons and bit casts, each of which appends one line of LLVM. There are no branches and no
memory, so a loop around an inlined kernel vectorises.

The lines carry no fast-math flags. Numba adds the flags of a ``fastmath`` function to the
instructions it builds itself, also to calls of ``llvm.fma``; text it can't see stays exact, and
LLVM keeps flags per instruction when it inlines. A compensated step ``(a - s) + b`` therefore
survives inside a caller compiled with ``reassoc``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Format:
    """A binary floating-point format and the integer of its width."""

    real: str
    integer: str
    suffix: str
    mantissa: int
    bias: int

    @property
    def sign_bit(self) -> int:
        """Position of the sign bit."""
        return 31 if self.real == "float" else 63

    def bits(self, value: float) -> int:
        """The bit pattern of ``value`` in this format."""
        kind = ("<f", "<i") if self.real == "float" else ("<d", "<q")
        return int(struct.unpack(kind[1], struct.pack(kind[0], value))[0])

    def round(self, value: float) -> float:
        """``value`` rounded to this format."""
        if self.real == "float":
            return float(struct.unpack("<f", struct.pack("<f", value))[0])
        return value


F64 = Format("double", "i64", "f64", 52, 1023)
F32 = Format("float", "i32", "f32", 23, 127)


@dataclass
class Text:
    """The lines of one kernel, the LLVM intrinsics they call, and definitions they need."""

    lines: list[str] = field(default_factory=list)
    callees: dict[str, tuple[str, int]] = field(default_factory=dict)
    companions: dict[str, str] = field(default_factory=dict)

    def add(self, type: str, format: Format, line: str) -> Value:
        """Append ``%n = line`` and return ``%n``."""
        name = f"%{len(self.lines) + 1}"
        self.lines.append(f"  {name} = {line}")
        return Value(self, type, format, name)

    def call(self, function: str, *operands: Value) -> Value:
        """Call the intrinsic ``double f(double, ...)`` of the operands' format."""
        format = operands[0].format
        self.callees[function] = (format.real, len(operands))
        arguments = ", ".join(f"{format.real} {v.name}" for v in operands)
        return self.add(format.real, format, f"call {format.real} @{function}({arguments})")

    def call_large(self, function: str, x: Value, y: Value) -> Value:
        """y, or libm's ``function`` of x where |x| >= 2**30 (float64)."""
        self.callees[f"llvm.{function}.f64"] = ("double", 1)
        name = f"tracegrad_{function}_large"
        self.companions[name] = large_text(name, function)
        variants = ",".join(f"_ZGV_LLVM_N{w}vv_{name}({name}_v{w})" for w in WIDTHS)
        line = (
            f"call double @{name}(double {x.name}, double {y.name}) nounwind readnone"
            f' "vector-function-abi-variant"="{variants}"'
        )
        return self.add("double", F64, line)


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value: a float, an integer of its width (``bits``) or a truth value."""

    text: Text
    type: str
    format: Format
    name: str

    def constant(self, number: float | int) -> Value:
        """``number`` as an operand of this value's type."""
        if self.type == self.format.real:
            pattern = struct.unpack("<Q", struct.pack("<d", self.format.round(number)))[0]
            name = f"0x{pattern:016X}"
        else:
            name = str(int(number))
        return Value(self.text, self.type, self.format, name)

    def operand(self, other: Value | float | int) -> Value:
        """``other`` as it is, or the constant it stands for."""
        return other if isinstance(other, Value) else self.constant(other)

    def binary(self, op: str, other: Value | float | int, swap: bool = False) -> Value:
        """``self op other``, or the other way round."""
        left, right = self, self.operand(other)
        if swap:
            left, right = right, left
        return self.text.add(self.type, self.format, f"{op} {self.type} {left.name}, {right.name}")

    def arithmetic(self, op: str, other: Value | float | int, swap: bool = False) -> Value:
        """A float or integer operation, by the type of ``self``."""
        prefix = "f" if self.type == self.format.real else ""
        return self.binary(prefix + op, other, swap)

    def __add__(self, other: Value | float | int) -> Value:
        return self.arithmetic("add", other)

    def __radd__(self, other: float | int) -> Value:
        return self.arithmetic("add", other, swap=True)

    def __sub__(self, other: Value | float | int) -> Value:
        return self.arithmetic("sub", other)

    def __rsub__(self, other: float | int) -> Value:
        return self.arithmetic("sub", other, swap=True)

    def __mul__(self, other: Value | float | int) -> Value:
        return self.arithmetic("mul", other)

    def __rmul__(self, other: float | int) -> Value:
        return self.arithmetic("mul", other, swap=True)

    def __truediv__(self, other: Value | float | int) -> Value:
        return self.binary("fdiv", other)

    def __rtruediv__(self, other: float | int) -> Value:
        return self.binary("fdiv", other, swap=True)

    def __neg__(self) -> Value:
        return self.text.add(self.type, self.format, f"fneg {self.type} {self.name}")

    def __and__(self, other: Value | int) -> Value:
        return self.binary("and", other)

    def __or__(self, other: Value | int) -> Value:
        return self.binary("or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self.binary("xor", other)

    def __lshift__(self, count: int) -> Value:
        return self.binary("shl", count)

    def __rshift__(self, count: int) -> Value:
        return self.binary("lshr", count)

    def compare(self, relation: str, other: Value | float | int) -> Value:
        """A truth value; a comparison with NaN is false, except ``une``."""
        right = self.operand(other)
        kind = "fcmp" if self.type == self.format.real else "icmp"
        line = f"{kind} {relation} {self.type} {self.name}, {right.name}"
        return self.text.add("i1", self.format, line)

    def __lt__(self, other: Value | float) -> Value:
        return self.compare("olt", other)

    def __gt__(self, other: Value | float) -> Value:
        return self.compare("ogt", other)

    def __le__(self, other: Value | float) -> Value:
        return self.compare("ole", other)

    def __ge__(self, other: Value | float) -> Value:
        return self.compare("oge", other)

    def equals(self, other: Value | float) -> Value:
        """True where equal (``==`` is left to Python)."""
        return self.compare("oeq" if self.type == self.format.real else "eq", other)

    def differs(self, other: Value | float) -> Value:
        """True where unequal or NaN."""
        return self.compare("une" if self.type == self.format.real else "ne", other)

    def intrinsic(self, name: str, *others: Value) -> Value:
        """``llvm.name`` of this value's format."""
        return self.text.call(f"llvm.{name}.{self.format.suffix}", self, *others)


def fma(a: Value, b: Value | float, c: Value | float) -> Value:
    """a * b + c with one rounding."""
    return a.intrinsic("fma", a.operand(b), a.operand(c))


def where(condition: Value, yes: Value | float, no: Value | float) -> Value:
    """``yes`` where the condition holds, else ``no``; one of the two must be a `Value`."""
    if isinstance(yes, Value):
        no = yes.operand(no)
    elif isinstance(no, Value):
        yes = no.operand(yes)
    else:
        raise TypeError("where needs a Value in one of its branches")
    line = f"select i1 {condition.name}, {yes.type} {yes.name}, {no.type} {no.name}"
    return yes.text.add(yes.type, yes.format, line)


def absolute(x: Value) -> Value:
    """|x|, keeping NaN."""
    return x.intrinsic("fabs")


def copysign(magnitude: Value, sign: Value) -> Value:
    """``magnitude`` with the sign of ``sign``."""
    return magnitude.intrinsic("copysign", sign)


def minimum(x: Value, bound: float) -> Value:
    """x, or the bound if x lies above it; NaN stays NaN."""
    return where(x > bound, bound, x)


def maximum(x: Value, bound: float) -> Value:
    """x, or the bound if x lies below it; NaN stays NaN."""
    return where(x < bound, bound, x)


def bits(x: Value) -> Value:
    """The bit pattern of a float as an integer."""
    line = f"bitcast {x.format.real} {x.name} to {x.format.integer}"
    return x.text.add(x.format.integer, x.format, line)


def from_bits(i: Value) -> Value:
    """The float with this bit pattern."""
    line = f"bitcast {i.format.integer} {i.name} to {i.format.real}"
    return i.text.add(i.format.real, i.format, line)


def widen(x: Value) -> Value:
    """A float32 as float64."""
    return x.text.add("double", F64, f"fpext float {x.name} to double")


def narrow(x: Value) -> Value:
    """A float64 rounded to float32."""
    return x.text.add("float", F32, f"fptrunc double {x.name} to float")


def poly(x: Value, coefficients: Sequence[float]) -> Value:
    """c[0] + c[1] x + ...: Estrin's scheme, but for the last step, whose rounding counts most.

    Source: Muller, *Elementary Functions*, section 5.1: pairs shorten the chain of dependent
    operations, which is what a scalar loop waits for.
    """
    terms: list[Value | float] = list(coefficients[1:])
    power = x
    while len(terms) > 1:
        pairs = [fma(power, b, a) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[len(terms) - len(terms) % 2 :]]
        if len(terms) > 1:
            power = power * power
    return fma(x, terms[0], coefficients[0])


WIDTHS = (2, 4, 8)  # vector lengths a loop over doubles may take: 128, 256, 512 bits


def large_text(name: str, function: str) -> str:
    """Definitions of ``name(x, y)``: y, or libm's function of x where |x| >= 2**30.

    A branch or a libm call in a loop keeps it scalar. This call does not: its site names vector
    versions (LLVM's "vector function ABI"), each of which looks whether any lane is large, and
    calls libm lane by lane only then.
    """
    limit = f"0x{struct.unpack('<Q', struct.pack('<d', 2.0**30))[0]:016X}"
    minus = f"0x{struct.unpack('<Q', struct.pack('<d', -(2.0**30)))[0]:016X}"
    texts = [
        f"""define linkonce_odr double @{name}(double %x, double %y) noinline nounwind readnone {{
  %above = fcmp oge double %x, {limit}
  %below = fcmp ole double %x, {minus}
  %large = or i1 %above, %below
  br i1 %large, label %slow, label %done
slow:
  %exact = call double @llvm.{function}.f64(double %x)
  ret double %exact
done:
  ret double %y
}}"""
    ]
    for w in WIDTHS:
        v = f"<{w} x double>"
        limits = ", ".join([f"double {limit}"] * w)
        minuses = ", ".join([f"double {minus}"] * w)
        texts.append(
            f"""define weak_odr {v} @{name}_v{w}({v} %x, {v} %y) noinline nounwind readnone {{
entry:
  %above = fcmp oge {v} %x, <{limits}>
  %below = fcmp ole {v} %x, <{minuses}>
  %large = or <{w} x i1> %above, %below
  %mask = bitcast <{w} x i1> %large to i{w}
  %any = icmp ne i{w} %mask, 0
  br i1 %any, label %lanes, label %done
lanes:
  %i = phi i32 [ 0, %entry ], [ %next, %lanes ]
  %old = phi {v} [ %y, %entry ], [ %new, %lanes ]
  %xi = extractelement {v} %x, i32 %i
  %yi = extractelement {v} %old, i32 %i
  %ri = call double @{name}(double %xi, double %yi)
  %new = insertelement {v} %old, double %ri, i32 %i
  %next = add i32 %i, 1
  %more = icmp ult i32 %next, {w}
  br i1 %more, label %lanes, label %done
done:
  %result = phi {v} [ %y, %entry ], [ %new, %lanes ]
  ret {v} %result
}}"""
        )
    return "\n".join(texts)


@dataclass(frozen=True)
class Kernel:
    """A kernel's definition, the intrinsics it calls and the definitions it needs."""

    definition: str
    callees: dict[str, tuple[str, int]]
    companions: dict[str, str]


def kernel_text(name: str, build: Callable[..., Value], format: Format, arity: int) -> Kernel:
    """Run ``build`` on ``arity`` operands and collect what it wrote."""
    text = Text()
    arguments = [Value(text, format.real, format, f"%a{i}") for i in range(arity)]
    result = build(*arguments)
    parameters = ", ".join(f"{format.real} {v.name}" for v in arguments)
    lines = [
        f"define internal {format.real} @{name}({parameters})"
        " alwaysinline nounwind readnone willreturn {",
        *text.lines,
        f"  ret {format.real} {result.name}",
        "}",
    ]
    return Kernel("\n".join(lines), text.callees, text.companions)
