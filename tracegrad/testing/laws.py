"""Laws: what holds for every op of the registry, on all of its samples, in f64 and f32.

A law takes an `OpDef` and raises `AssertionError` with the sample that breaks it. Derivatives
are never compared with a formula typed a second time: the vjp and jvp rules are built into
functions of the IR, evaluated with the ops' references, and compared with differences of the
op's own reference, with each other, and with themselves one order higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import DTYPES, ArrayType, Dim, dtype_of, f32, f64, i64
from tracegrad.ops.registry import OpDef, Sample, expand_to, zeros_like
from tracegrad.testing.numerics import STEP, assert_close, numerical_jvp
from tracegrad.transforms.vjp import vjp

# Of derivatives in f64 against differences, and between rules.
DIFFERENCE_TOLERANCE = 1e-8
RULE_TOLERANCE = 1e-11
# Of f32 rules against the same rules in f64, at points that f32 holds exactly.
FLOAT32_TOLERANCE = 2e-5


@dataclass(frozen=True)
class Case:
    """One op on one sample, in one dtype."""

    op: OpDef
    sample: Sample
    index: int
    dtype: str

    @property
    def types(self) -> list[ArrayType]:
        return [type_of(x) for x in self.sample.operands]

    @property
    def moved(self) -> list[int]:
        """The operands that can have a tangent."""
        floats = [k for k, x in enumerate(self.sample.operands) if x.dtype.kind == "f"]
        return [k for k in floats if k not in self.op.fixed]

    def reference(self, *operands: Any) -> tuple[np.ndarray, ...]:
        result = self.op.reference(*operands, **self.sample.attributes)
        return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))

    def inferred(self) -> tuple[ArrayType, ...]:
        result = self.op.infer(*self.types, **self.sample.attributes)
        return result if isinstance(result, tuple) else (result,)

    @property
    def mixed(self) -> bool:
        """Whether an f64 case has an f32 result: a cast. Differences are then as coarse as f32."""
        return self.dtype == "f64" and any(t.dtype is f32 for t in self.inferred())

    def __str__(self) -> str:
        shown = {k: str(v) for k, v in self.sample.attributes.items()}
        return f"{self.op.name} {self.dtype}, sample {self.index} {self.sample.note} {shown or ''}"


def type_of(array: np.ndarray) -> ArrayType:
    return ArrayType(dtype_of(array.dtype), array.shape)


def cases(op: OpDef, seed: int = 0) -> Iterator[Case]:
    """The samples of ``op``; those with f64 operands are given in f32 too."""
    assert op.samples is not None, f"{op.name} has no samples"
    for index, sample in enumerate(op.samples(np.random.default_rng(seed))):
        kinds = {str(x.dtype) for x in sample.operands}
        yield Case(op, sample, index, "f32" if kinds == {"float32"} else "f64")
        if "float64" in kinds:
            yield Case(op, in_float32(sample), index, "f32")


def in_float32(sample: Sample) -> Sample:
    """``sample`` with its f64 operands rounded to f32."""
    return replace(sample, operands=tuple(map(_to_float32, sample.operands)))


def _to_float32(x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return x.astype(np.float32) if x.dtype == np.float64 else x


def _to_float64(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype == np.float32 else x


# --- functions of one op ----------------------------------------------------------------------


def function_of(case: Case) -> Function:
    """The function that applies the op to its operands."""
    with Builder() as build:
        operands = [build.param(t, f"x{k}") for k, t in enumerate(case.types)]
        op = build.emit(case.op, operands, case.sample.attributes)
        return build.function(case.op.name, op.results)


def vjp_of(case: Case) -> Function:
    """``(*operands, *result cotangents) -> (*results, *cotangents of moved)``, by the vjp rule."""
    return vjp(function_of(case), case.moved)


def jvp_of(case: Case, moved: Sequence[int]) -> Function:
    """``(*operands, *tangents of moved) -> float result tangents``, by the jvp rule."""
    with Builder() as build:
        operands = [build.param(t, f"x{k}") for k, t in enumerate(case.types)]
        given = {k: build.param(case.types[k], f"x{k}_dot") for k in moved}
        tangents = [given.get(k) for k in range(len(operands))]
        op = build.emit(case.op, operands, case.sample.attributes)
        rule: Any = case.op.jvp
        several = len(op.results) > 1
        outs = op.results if several else op.result
        found = rule(tangents, outs, *operands, **case.sample.attributes)
        out_dots = found if several else (found,)
        results = [
            zeros_like(out) if out_dot is None else expand_to(out_dot, out.shape)
            for out, out_dot in zip(op.results, out_dots, strict=True)
            if out.dtype.is_float
        ]
        return build.function(f"{case.op.name}_jvp", results)


def run(function: Function, *arrays: Any) -> tuple[np.ndarray, ...]:
    """Evaluate without NumPy's warnings: samples hold infinities on purpose."""
    with np.errstate(all="ignore"):
        return evaluate(function, *arrays)


def differentiable(case: Case) -> bool:
    """Whether the derivative laws have something to say about this case."""
    return (
        case.op.nondifferentiable is None
        and case.op.kind != "structural"
        and bool(case.moved)
        and any(t.dtype.is_float for t in case.inferred())
    )


def smooth_cases(op: OpDef, dtype: str = "f64") -> Iterator[Case]:
    """The differentiable samples where differences can be taken."""
    return (
        c for c in cases(op) if c.dtype == dtype and c.sample.differentiable and differentiable(c)
    )


# --- the laws ---------------------------------------------------------------------------------


def inference_is_right(op: OpDef) -> None:
    """The inferred types are those of the reference's results; operands are left unchanged."""
    for case in cases(op):
        before = [x.copy() for x in case.sample.operands]
        with np.errstate(all="ignore"):
            results = case.reference(*case.sample.operands)
        inferred = case.inferred()
        assert len(results) == len(inferred), f"{case}: {len(results)} results"
        for result, type in zip(results, inferred, strict=True):
            assert result.dtype == type.dtype.numpy, f"{case}: {result.dtype}, inferred {type}"
            assert result.ndim == type.rank, f"{case}: rank {result.ndim}, inferred {type}"
            for size, dim in zip(result.shape, type.shape, strict=True):
                assert not isinstance(dim, int) or size == dim, f"{case}: {result.shape}, {type}"
        for x, copy in zip(case.sample.operands, before, strict=True):
            assert x.tobytes() == copy.tobytes(), f"{case}: the reference changed an operand"


def inference_refuses_what_the_reference_refuses(op: OpDef) -> None:
    """For operands of every dtype: a `TypeError`, or the dtype that the reference gives."""
    for case in cases(op):
        if not case.sample.operands:
            continue
        for dtype in DTYPES.values():
            operands = [
                x if x.dtype.kind in _KEPT[op.kind] else _plain(x.shape, dtype.numpy)
                for x in case.sample.operands
            ]
            changed = replace(case, sample=replace(case.sample, operands=tuple(operands)))
            try:
                inferred = changed.inferred()
            except TypeError:
                continue
            with np.errstate(all="ignore"):
                results = changed.reference(*operands)
            for result, type in zip(results, inferred, strict=True):
                assert result.dtype == type.dtype.numpy, (
                    f"{case} with {dtype}: {result.dtype}, inferred {type}"
                )


def _plain(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Ones, or a unit matrix: it has an inverse."""
    square = len(shape) == 2 and shape[0] == shape[1]
    return np.eye(shape[0], dtype=dtype) if square else np.ones(shape, dtype)


# Operands that keep their dtype when the others are changed: indices and masks of a general op,
# the condition of `select`.
_KEPT = {"elementwise": "b", "linear": "", "general": "biu"}


def inference_refuses_mixed_operands(op: OpDef) -> None:
    """An elementwise op takes neither two dtypes nor two shapes."""
    for case in cases(op):
        types = case.types
        for k, type in enumerate(types):
            others = [*types[:k], *types[k + 1 :]]
            if not others:
                continue
            wrong = [type.with_dtype(f64 if type.dtype is i64 else i64)]
            if any(t.rank for t in others):  # an array of any size goes with scalars
                wrong.append(type.with_shape((7,)))
            for each in wrong:
                _refused(op, [*types[:k], each, *types[k + 1 :]], case)


def _refused(op: OpDef, types: Sequence[ArrayType], case: Case) -> None:
    try:
        inferred = op.infer(*types, **case.sample.attributes)
    except TypeError:
        return
    raise AssertionError(f"{case}: operands {types} were taken, and give {inferred}")


def jvp_is_the_derivative(op: OpDef) -> None:
    """The jvp rule equals differences of the reference, along all operands and along each one."""
    rng = np.random.default_rng(1)
    for case in smooth_cases(op):
        subsets = [case.moved]
        if len(case.moved) > 1:
            subsets += [[k] for k in case.moved]
        floats = [t.dtype.is_float for t in case.inferred()]
        for moved in subsets:
            tangents = _random_like(rng, [case.sample.operands[k] for k in moved])
            actual = run(jvp_of(case, moved), *case.sample.operands, *tangents)
            given = dict(zip(moved, tangents, strict=True))
            along = [given.get(k) for k in range(len(case.sample.operands))]
            step, tolerance = (0.1, 1e-5) if case.mixed else (STEP, DIFFERENCE_TOLERANCE)
            expected = numerical_jvp(case.reference, case.sample.operands, along, step)
            kept = [e for e, is_float in zip(expected, floats, strict=True) if is_float]
            for a, e in zip(actual, kept, strict=True):
                assert_close(a, e, tolerance, f"{case}, moving {moved}", scale=1.0)


def vjp_is_the_transpose(op: OpDef) -> None:
    """⟨out_bar, jvp(x_dot)⟩ = ⟨vjp(out_bar), x_dot⟩."""
    rng = np.random.default_rng(2)
    for case in smooth_cases(op):
        operands = case.sample.operands
        outs = [t for t in case.inferred() if t.dtype.is_float]
        function = vjp_of(case)
        bars = _random(rng, function.params[len(operands) :])
        tangents = _random_like(rng, [operands[k] for k in case.moved])
        results = run(function, *operands, *bars)
        x_bars = results[len(case.inferred()) :]
        out_dots = run(jvp_of(case, case.moved), *operands, *tangents)
        assert len(outs) == len(bars) == len(out_dots)
        _same_product(
            case,
            zip(bars, out_dots, strict=True),
            zip(x_bars, tangents, strict=True),
            FLOAT32_TOLERANCE if case.mixed else RULE_TOLERANCE,
        )
        for x_bar, k in zip(x_bars, case.moved, strict=True):
            assert x_bar.shape == operands[k].shape, f"{case}: cotangent {k} is {x_bar.shape}"


def rules_are_differentiable(op: OpDef) -> None:
    """The vjp of the vjp is the transpose of differences of the vjp."""
    rng = np.random.default_rng(3)
    for case in smooth_cases(op):
        if case.mixed:
            continue
        function = vjp_of(case)
        primals = [*case.sample.operands]
        primals += _random(rng, function.params[len(primals) :])
        left_out = {*op.fixed, *op.once}
        floats = [k for k, p in enumerate(function.params) if p.dtype.is_float]
        wrt = [k for k in floats if k not in left_out]
        first = len(case.inferred())
        seeded = list(range(first, len(function.results)))
        second = vjp(function, wrt, seeded)
        bars = _random(rng, second.params[len(primals) :])
        results = run(second, *primals, *bars)[len(function.results) :]
        tangents = _random_like(rng, [primals[k] for k in wrt])
        given = dict(zip(wrt, tangents, strict=True))
        along = [given.get(k) for k in range(len(primals))]
        expected = numerical_jvp(lambda *x: run(function, *x)[first:], primals, along)  # noqa: B023  # called here
        _same_product(
            case,
            zip(bars, expected, strict=True),
            zip(results, tangents, strict=True),
            DIFFERENCE_TOLERANCE,
        )


def contributions_fit(op: OpDef) -> None:
    """What a vjp rule gives has the operand's dtype, and its shape unless it is a scalar.

    (The transform would repair it: an f32 gradient computed in f64 would go unnoticed.)
    """
    for case in cases(op):
        if not differentiable(case):
            continue
        with Builder() as build:
            operands = [build.param(t, f"x{k}") for k, t in enumerate(case.types)]
            outs = build.emit(case.op, operands, case.sample.attributes).results
            bars = tuple(build.param(out.type) if out.dtype.is_float else None for out in outs)
            rule: Any = case.op.vjp
            given = (bars[0], outs[0]) if len(outs) == 1 else (bars, outs)
            found = rule(*given, *operands, **case.sample.attributes)
        assert len(found) == len(operands), f"{case}: {len(found)} contributions"
        for k, (operand, contribution) in enumerate(zip(operands, found, strict=True)):
            if not (operand.dtype.is_float and isinstance(contribution, Value)):
                continue
            assert contribution.dtype == operand.dtype, (
                f"{case}: the contribution to operand {k} is {contribution.type}"
            )
            assert not operand.rank or contribution.shape == operand.shape, (
                f"{case}: the contribution to operand {k} is {contribution.type}"
            )


def rules_keep_float32(op: OpDef) -> None:
    """The vjp in f32 agrees with f64 at the same points."""
    rng = np.random.default_rng(4)
    for case in smooth_cases(op, "f32"):
        function = vjp_of(case)
        arguments = [*case.sample.operands]
        arguments += _random(rng, function.params[len(arguments) :])
        results = run(function, *arguments)
        if case.op.name == "cast":
            continue  # its result is of the dtype that it names, not of its operand's
        wide = replace(case.sample, operands=tuple(map(_to_float64, case.sample.operands)))
        expected = run(vjp_of(replace(case, sample=wide)), *map(_to_float64, arguments))
        for a, e in zip(results, expected, strict=True):
            assert_close(a, e, FLOAT32_TOLERANCE, f"{case} in f32", scale=1.0)


def _random(rng: np.random.Generator, params: Sequence[Value]) -> list[np.ndarray]:
    """Random arrays of the types of ``params``; a dimension known only at run time is refused."""
    shapes = [tuple(d if isinstance(d, int) else _unknown(d) for d in p.shape) for p in params]
    return [
        np.asarray(rng.normal(size=shape), p.dtype.numpy)
        for p, shape in zip(params, shapes, strict=True)
    ]


def _unknown(dim: Dim) -> int:
    raise NotImplementedError(f"a float result with the run-time dimension {dim}")


def _random_like(rng: np.random.Generator, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(rng.normal(size=np.shape(x)), np.asarray(x).dtype) for x in arrays]


def _same_product(
    case: Case,
    left: Iterable[tuple[np.ndarray, np.ndarray]],
    right: Iterable[tuple[np.ndarray, np.ndarray]],
    tolerance: float,
) -> None:
    totals = []
    scale = 1.0
    for pairs in (left, right):
        terms = [np.ravel(a * b) for a, b in pairs]
        totals.append(sum(float(np.sum(t)) for t in terms))
        scale += sum(float(np.sum(np.abs(t))) for t in terms)
    assert abs(totals[0] - totals[1]) <= tolerance * scale, (
        f"{case}: ⟨out_bar, out_dot⟩ = {totals[0]!r} but ⟨x_bar, x_dot⟩ = {totals[1]!r}"
    )
