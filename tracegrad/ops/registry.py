"""What an operation is: one declaration, with every part that the compiler and the tests need.

An op is declared through one of four functions, after the kind of its derivative:

`elementwise` : declares the local partials; vjp and jvp follow.
`linear`      : declares its transpose; jvp is the op itself.
`general`     : declares vjp and jvp as named functions.
`structural`  : ``for``, ``while``, ``if`` (reversed by `tracegrad.transforms`) and the operations
                of loop form, which are only made after differentiation.

An op without a derivative says why (``nondifferentiable="..."``). Registration refuses a
declaration with a part missing. An `OpDef` is callable on values and numbers: it appends itself
to the current builder, so rules are written like ordinary arithmetic.

Conventions of rules: cotangents and tangents have exactly the shape and dtype of their value.
The driver of the transform, never a rule, handles scalars used beside arrays (their contribution
is summed), inactive operands, absent cotangents and accumulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tracegrad.ir import text as ir_text
from tracegrad.ir.builder import current
from tracegrad.ir.core import Value
from tracegrad.ir.types import DTYPES, ArrayType, DType, boolean

Contribution: TypeAlias = "Value | float | None"
Infer: TypeAlias = Callable[..., "ArrayType | tuple[ArrayType, ...]"]
Emit: TypeAlias = "str | Callable[..., str]"
"""How an op is printed: a template, or a function that makes the text.

A template has ``{0}``, ``{1}`` for operands and attribute names in braces. A function is called
as ``emit(operands: list[str], result: ArrayType, attributes: Mapping[str, Any],
dims: Callable[[Dim], str])`` and gives an expression. Operand texts are atoms: a name, a number,
or in parentheses. For ``array`` they are `OperandText`, so that a view can print ``x[1:]``.
"""


class OperandText(str):
    """The text of an operand that knows the operand's type."""

    type: ArrayType | None = None

    def __new__(cls, text: str, type: ArrayType | None = None) -> OperandText:
        self = super().__new__(cls, text)
        self.type = type
        return self


@dataclass(frozen=True, eq=False)
class Sample:
    """One input of an op for the law tests."""

    operands: tuple[np.ndarray, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    differentiable: bool = True
    """False where the value laws hold but differences can't be taken (a kink, an overflow)."""


Samples: TypeAlias = Callable[[np.random.Generator], Sequence[Sample]]


@dataclass(frozen=True, eq=False)
class OpDef:
    """The declaration of an operation. Build it with the functions of this module.

    Attributes
    ----------
    name : unique; NumPy's name where there is one.
    doc : one sentence, then what a reader of the rule must know.
    kind : "elementwise", "linear", "general" or "structural".
    infer : (operand types..., **attributes) → result type, or a tuple of them; raises
        `TypeError` with a clear text for operands that the op does not take.
    reference : (arrays..., **attributes) → array (or tuple): the NumPy meaning.
    scalar : how one element is printed, for elementwise ops (and what stands in expressions:
        ``const``, ``dim``); see `Emit`.
    serial : the same where the next trip of a loop waits for it, if another function has less
        latency there.
    infix : the Python operator when ``scalar`` is one (the printer places parentheses).
    array : how the whole op is printed as NumPy; same forms as ``scalar``.
    vector_maths : names that ``scalar`` takes from `tracegrad.backend.vecmath`.
    special : names that ``scalar`` takes from `tracegrad.backend.special`.
    cost : rough cost of one element in multiplications; ops with ``heavy`` cost (≥ 8) are
        computed once and placed, cheap ones may be computed again.
    local, transpose, vjp, jvp : the derivative, after the kind.
    nondifferentiable : the reason when there is no derivative.
    fixed : operand number → the reason why there is no derivative with respect to it.
    once : the operands by which there is a first derivative only.
    samples : inputs for the law tests.
    stands_for : the NumPy/SciPy/math functions that it implements elementwise as they are.
    source : where the formula comes from.
    effects : True for operations that must stay in order and must not be removed (stores).
    """

    name: str
    doc: str
    kind: str
    infer: Infer
    reference: Callable[..., Any]
    scalar: Emit | None = None
    infix: str | None = None
    array: Emit | None = None
    vector_maths: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    serial: Emit | None = None
    cost: float = 1.0
    local: Callable[..., tuple[Contribution, ...]] | None = None
    transpose: Callable[..., Any] | None = None
    vjp_rule: Callable[..., tuple[Contribution, ...]] | None = None
    jvp_rule: Callable[..., Value | None] | None = None
    nondifferentiable: str | None = None
    fixed: Mapping[int, str] = field(default_factory=dict)
    once: tuple[int, ...] = ()
    samples: Samples | None = None
    stands_for: tuple[Any, ...] = ()
    source: str = ""
    effects: bool = False

    @property
    def heavy(self) -> bool:
        return self.cost >= 8.0

    @property
    def imported(self) -> tuple[str, ...]:
        """The names that ``scalar`` needs an import for."""
        return self.vector_maths + self.special

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *operands: Value | float, **attributes: Any) -> Any:
        """Append this op to the current builder; a single result is returned bare."""
        values = as_values(operands)
        op = current().emit(self, values, attributes)
        return op.results[0] if len(op.results) == 1 else op.results

    def vjp(
        self, out_bar: Value, out: Value, *operands: Value, **attributes: Any
    ) -> tuple[Contribution, ...]:
        """Downstream contributions, one per operand: downstream = local × upstream."""
        if self.kind == "elementwise" and self.vjp_rule is None:
            assert self.local is not None
            locals_ = self.local(out, *operands, **attributes)
            return tuple(scaled(out_bar, partial) for partial in locals_)
        if self.kind == "linear":
            assert self.transpose is not None
            result = self.transpose(out_bar, *operands, **attributes)
            return result if isinstance(result, tuple) else (result,)
        assert self.vjp_rule is not None, f"{self.name} has no vjp"
        return self.vjp_rule(out_bar, out, *operands, **attributes)

    def jvp(
        self, tangents: Sequence[Value | None], out: Value, *operands: Value, **attributes: Any
    ) -> Value | None:
        """The tangent of the result; an absent tangent (None) is a symbolic zero."""
        if self.kind == "elementwise" and self.jvp_rule is None:
            assert self.local is not None
            locals_ = self.local(out, *operands, **attributes)
            total: Value | None = None
            for partial, tangent in zip(locals_, tangents, strict=True):
                if tangent is None:
                    continue
                term = scaled(tangent, partial)
                if term is not None:
                    total = term if total is None else total + term
            return total
        if self.kind == "linear":
            if all(t is None for t in tangents):
                return None
            filled = [
                zeros_like(x) if t is None else t for t, x in zip(tangents, operands, strict=True)
            ]
            result: Value = self(*filled, **attributes)
            return result
        assert self.jvp_rule is not None, f"{self.name} has no jvp"
        return self.jvp_rule(tangents, out, *operands, **attributes)


REGISTRY: dict[str, OpDef] = {}
ir_text.OPS = REGISTRY


def register(opdef: OpDef) -> OpDef:
    """Enter ``opdef`` into the registry; refuse one with a part missing."""
    missing = [
        part
        for part, absent in {
            "doc": not opdef.doc.strip(),
            "samples": opdef.samples is None and opdef.kind != "structural",
            "array": opdef.array is None and opdef.kind != "structural",
            "scalar": opdef.kind == "elementwise" and opdef.scalar is None and opdef.infix is None,
            "derivative, or nondifferentiable=why": opdef.kind != "structural"
            and opdef.nondifferentiable is None
            and opdef.local is None
            and opdef.transpose is None
            and (opdef.vjp_rule is None or opdef.jvp_rule is None),
        }.items()
        if absent
    ]
    if missing:
        raise ValueError(f"op {opdef.name!r} can't be registered without: {', '.join(missing)}")
    if opdef.name in REGISTRY:
        raise ValueError(f"op {opdef.name!r} is registered twice")
    REGISTRY[opdef.name] = opdef
    return opdef


# --- declaring ------------------------------------------------------------------------------


def same_type(*types: ArrayType, **attributes: Any) -> ArrayType:
    """Shape/dtype rule of most elementwise ops: one dtype, one shape; scalars go with arrays."""
    dtypes = {t.dtype for t in types}
    if len(dtypes) != 1:
        raise TypeError(f"operands of different dtypes: {', '.join(map(str, types))}")
    return ArrayType(types[0].dtype, common_shape(*types))


def float_type(*types: ArrayType, **attributes: Any) -> ArrayType:
    """As `same_type`, for floating dtypes only."""
    result = same_type(*types)
    if not result.dtype.is_float:
        raise TypeError(f"a floating dtype is needed, not {result.dtype}")
    return result


def predicate_type(*types: ArrayType, **attributes: Any) -> ArrayType:
    """As `same_type`, with a boolean result: comparisons and tests."""
    return same_type(*types).with_dtype(boolean)


def common_shape(*types: ArrayType) -> tuple[Any, ...]:
    """The one shape of operands of rank > 0; scalars (rank 0) go with every shape.

    Broadcasting between arrays is written out as `view` operations before.
    """
    shapes = {t.shape for t in types if t.rank}
    if len(shapes) > 1:
        raise TypeError(f"operands of different shapes: {', '.join(map(str, types))}")
    return shapes.pop() if shapes else ()


def elementwise(
    name: str,
    *,
    doc: str,
    reference: Callable[..., Any],
    array: Emit,
    scalar: Emit | None = None,
    infix: str | None = None,
    local: Callable[..., tuple[Contribution, ...]] | None = None,
    vjp: Callable[..., tuple[Contribution, ...]] | None = None,
    jvp: Callable[..., Value | None] | None = None,
    nondifferentiable: str | None = None,
    samples: Samples,
    infer: Infer = same_type,
    fixed: Mapping[int, str] | None = None,
    once: tuple[int, ...] = (),
    vector_maths: tuple[str, ...] = (),
    special: tuple[str, ...] = (),
    serial: Emit | None = None,
    cost: float = 1.0,
    stands_for: tuple[Any, ...] = (),
    source: str = "",
) -> OpDef:
    """Declare an elementwise op by its local partials.

    ``local(out, *operands)`` gives ∂out/∂operand for each operand: a value, a number, or None
    for a partial that is zero everywhere. Operands have one shape, or are scalars.

    An op that chooses (``select``, ``maximum``) or only changes the dtype gives ``vjp`` and
    ``jvp`` in place of partials: a choice masks, it never multiplies by zero.
    """
    return register(
        OpDef(
            name,
            doc,
            "elementwise",
            infer,
            reference,
            scalar=scalar,
            infix=infix,
            array=array,
            fixed=fixed or {},
            once=once,
            vector_maths=vector_maths,
            special=special,
            serial=serial,
            cost=cost,
            local=local,
            vjp_rule=vjp,
            jvp_rule=jvp,
            nondifferentiable=nondifferentiable,
            samples=samples,
            stands_for=stands_for,
            source=source,
        )
    )


def linear(
    name: str,
    *,
    doc: str,
    infer: Infer,
    reference: Callable[..., Any],
    array: Emit,
    transpose: Callable[..., Any],
    samples: Samples,
    stands_for: tuple[Any, ...] = (),
    source: str = "",
) -> OpDef:
    """Declare an op that is linear in all its operands together, by its transpose.

    ``transpose(out_bar, *operands, **attributes)`` gives one contribution per operand (a bare
    value for one operand); of the operands only the types may be used.
    """
    return register(
        OpDef(
            name,
            doc,
            "linear",
            infer,
            reference,
            array=array,
            transpose=transpose,
            samples=samples,
            stands_for=stands_for,
            source=source,
        )
    )


def general(
    name: str,
    *,
    doc: str,
    infer: Infer,
    reference: Callable[..., Any],
    array: Emit,
    vjp: Callable[..., tuple[Contribution, ...]] | None = None,
    jvp: Callable[..., Value | None] | None = None,
    nondifferentiable: str | None = None,
    samples: Samples,
    cost: float = 1.0,
    stands_for: tuple[Any, ...] = (),
    source: str = "",
) -> OpDef:
    """Declare an op by its own vjp and jvp rules, or as nondifferentiable with the reason.

    ``vjp(out_bar, out, *operands, **attributes)`` gives one contribution per operand.
    ``jvp(tangents, out, *operands, **attributes)`` gives the tangent of the result.
    """
    return register(
        OpDef(
            name,
            doc,
            "general",
            infer,
            reference,
            array=array,
            vjp_rule=vjp,
            jvp_rule=jvp,
            nondifferentiable=nondifferentiable,
            samples=samples,
            cost=cost,
            stands_for=stands_for,
            source=source,
        )
    )


def structural(
    name: str,
    *,
    doc: str,
    infer: Infer,
    reference: Callable[..., Any],
    scalar: Emit | None = None,
    effects: bool = False,
) -> OpDef:
    """Declare control flow or an operation of loop form; derivatives live in the transforms."""
    made = OpDef(name, doc, "structural", infer, reference, scalar=scalar, effects=effects)
    return register(made)


# --- values in rules ------------------------------------------------------------------------


def as_values(operands: Sequence[Value | float]) -> list[Value]:
    """Operands as values: a Python number takes the dtype of the first value beside it."""
    dtype = next((v.dtype for v in operands if isinstance(v, Value)), None)
    return [v if isinstance(v, Value) else constant(v, dtype) for v in operands]


def constant(value: float, dtype: DType | None = None) -> Value:
    """A scalar constant; the dtype defaults to that of the Python number."""
    if dtype is None:
        dtype = DTYPES[{bool: "bool", int: "i64"}.get(type(value), "f64")]
    result: Value = REGISTRY["const"](value=dtype.numpy.type(value).item(), dtype=dtype)
    return result


def full_like(x: Value, value: float) -> Value:
    """``value`` in the shape and dtype of ``x``: a scalar constant seen through a view."""
    result: Value = constant(value, x.dtype)
    return expand_to(result, x.shape)


def zeros_like(x: Value) -> Value:
    """Zeros in the shape and dtype of ``x``."""
    return full_like(x, 0)


def expand_to(x: Value, shape: tuple[Any, ...]) -> Value:
    """A scalar ``x`` seen as an array of ``shape``; an array must have the shape already."""
    if x.shape == tuple(shape):
        return x
    if x.rank:
        raise TypeError(f"{x.type} can't be expanded to {shape} without a broadcast view")
    result: Value = REGISTRY["view"](x, shape=tuple(shape), map=())
    return result


def scaled(upstream: Value, partial: Contribution) -> Value | None:
    """``upstream * partial``, with the trivial partials written as what they are."""
    if partial is None or isinstance(partial, Value):
        return None if partial is None else upstream * partial
    if partial == 0:
        return None
    if partial == 1:
        return upstream
    return -upstream if partial == -1 else upstream * partial


def _apply(name: str, *operands: Value | float) -> Value:
    result: Value = REGISTRY[name](*operands)
    return result


Value.apply = _apply
