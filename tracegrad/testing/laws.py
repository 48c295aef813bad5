"""Laws: what holds for every op of the registry, on all of its samples, in f64 and f32.

A law takes an `OpDef` and raises `AssertionError` with the sample that breaks it. Derivatives
are never compared with a formula typed a second time: the vjp and jvp rules are built into
functions of the IR, evaluated with the ops' references, and compared with differences of the
op's own reference, with each other, and with themselves one order higher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracegrad.backend import runtime
from tracegrad.backend.expression import Text, attribute_text, dims_as_atoms, infix, template
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import DTYPES, ArrayType, Dim, dtype_of, f32, f64, i64
from tracegrad.ops.registry import Emit, OpDef, OperandText, Sample, expand_to, zeros_like
from tracegrad.testing.numerics import STEP, assert_close, numerical_jvp
from tracegrad.transforms.vjp import vjp

# Of values: libraries differ by some units in the last place.
VALUE_TOLERANCE = {"f64": 1e-14, "f32": 2e-6}
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
        return [k for k, x in enumerate(self.sample.operands) if x.dtype.kind == "f"]

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
                x if x.dtype.kind in _KEPT[op.kind] else np.ones(x.shape, dtype.numpy)
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
        wrt = [k for k, p in enumerate(function.params) if p.dtype.is_float]
        first = len(case.inferred())
        seeded = list(range(first, len(function.results)))
        second = vjp(function, wrt, seeded)
        bars = _random(rng, second.params[len(primals) :])
        results = run(second, *primals, *bars)[len(function.results) :]
        tangents = _random_like(rng, [primals[k] for k in wrt])
        given = dict(zip(wrt, tangents, strict=True))
        along = [given.get(k) for k in range(len(primals))]
        expected = numerical_jvp(lambda *x: run(function, *x)[first:], primals, along)  # noqa: B023
        _same_product(
            case,
            zip(bars, expected, strict=True),
            zip(results, tangents, strict=True),
            DIFFERENCE_TOLERANCE,
        )


def rules_keep_float32(op: OpDef) -> None:
    """The vjp in f32 gives f32 and agrees with f64 at the same points."""
    rng = np.random.default_rng(4)
    for case in smooth_cases(op, "f32"):
        function = vjp_of(case)
        arguments = [*case.sample.operands]
        arguments += _random(rng, function.params[len(arguments) :])
        results = run(function, *arguments)
        for result, k in zip(results[len(case.inferred()) :], case.moved, strict=True):
            assert result.dtype == case.sample.operands[k].dtype, f"{case}: {result.dtype}"
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


# --- emitted code -----------------------------------------------------------------------------


def array_text(case: Case) -> str:
    """The op as a NumPy expression of the names x0, x1, …"""
    operands = [OperandText(f"x{k}", t) for k, t in enumerate(case.types)]
    return _filled(case.op.array, operands, case)


def scalar_text(case: Case, names: Sequence[str]) -> str:
    """One element of an elementwise op, as a Python expression of ``names``."""
    if case.op.infix is not None:
        return infix(case.op.infix, [Text(n) for n in names]).text
    return _filled(case.op.scalar, names, case)


def _filled(emit: Emit | None, operands: Sequence[str], case: Case) -> str:
    assert emit is not None
    attributes = case.sample.attributes
    if isinstance(emit, str):
        texts = {name: attribute_text(value) for name, value in attributes.items()}
        return template(emit, texts).fill([Text(o) for o in operands]).text
    return emit(list(operands), case.inferred()[0], attributes, dims_as_atoms)


def array_text_means_the_reference(op: OpDef) -> None:
    """The array template, executed, gives the reference's results and changes no operand."""
    import scipy.special

    for case in cases(op):
        copies = [x.copy() for x in case.sample.operands]
        # A scalar in the printed program is a NumPy scalar, not an array of rank 0.
        names = {f"x{k}": x[()] for k, x in enumerate(copies)}
        text = array_text(case)
        with np.errstate(all="ignore"):
            found = eval(text, {"np": np, "scipy": scipy, "runtime": runtime, **names})
            expected = case.reference(*case.sample.operands)
        actual = found if isinstance(found, tuple) else (found,)
        for a, e in zip(actual, expected, strict=True):
            assert np.asarray(a).dtype == e.dtype, f"{case}: {text} gives {np.asarray(a).dtype}"
            _same_values(a, e, case, text)
        for x, before in zip(copies, case.sample.operands, strict=True):
            assert x.tobytes() == before.tobytes(), f"{case}: {text} changed an operand"


def _same_values(actual: Any, expected: np.ndarray, case: Case, text: str) -> None:
    what = f"{case}: {text}"
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
    else:
        assert_close(actual, expected, VALUE_TOLERANCE[dtype_of(expected.dtype).name], what)


@dataclass(frozen=True)
class ScalarLoop:
    """All samples of an elementwise op with one signature, as columns, and the loop over them."""

    case: Case
    columns: tuple[np.ndarray, ...]
    expected: np.ndarray

    def slack(self) -> np.ndarray:
        """What moving the operands by 8 units in the last place does to the result.

        Near a zero of a function two good libraries differ by as much. A jump is no slack.
        """
        if self.expected.dtype.kind != "f":
            return np.zeros(self.expected.shape)
        moved = [np.nextafter(c, np.inf) if c.dtype.kind == "f" else c for c in self.columns]
        with np.errstate(all="ignore"):
            change = np.abs(self.case.reference(*moved)[0] - self.expected)
            limit = np.maximum(1, np.abs(self.expected)) * np.finfo(self.expected.dtype).eps ** 0.5
            return np.where(change < limit, 8 * change, 0)


def scalar_loops(op: OpDef) -> list[ScalarLoop]:
    """The samples of an elementwise op, joined wherever dtypes and attributes are the same."""
    groups: dict[Any, list[tuple[Case, list[np.ndarray], np.ndarray]]] = {}
    for case in cases(op):
        with np.errstate(all="ignore"):
            (expected,) = case.reference(*case.sample.operands)
        columns = [np.broadcast_to(x, expected.shape).ravel() for x in case.sample.operands]
        key = (tuple(c.dtype.str for c in columns), tuple(case.sample.attributes.items()))
        groups.setdefault(key, []).append((case, columns, expected.ravel()))
    return [
        ScalarLoop(
            members[0][0],
            tuple(map(np.concatenate, zip(*(m[1] for m in members), strict=True))),
            np.concatenate([m[2] for m in members]),
        )
        for members in groups.values()
    ]


def loops_source(loops: Sequence[ScalarLoop]) -> str:
    """A module with one function ``run`` that fills the result of each loop in turn."""
    imports = sorted({name for loop in loops for name in loop.case.op.vector_maths})
    lines = ["import math", "", "import numpy as np", ""]
    if imports:
        lines.append(f"from tracegrad.backend.vecmath import {', '.join(imports)}")
    arguments = []
    body = []
    for number, loop in enumerate(loops):
        columns = [f"x{number}_{k}" for k in range(len(loop.columns))]
        arguments += [*columns, f"out{number}"]
        text = scalar_text(loop.case, [f"{c}[i]" for c in columns])
        body += [f"    for i in range(out{number}.size):", f"        out{number}[i] = {text}"]
    return "\n".join([*lines, "", "", f"def run({', '.join(arguments)}):", *body, ""])


def run_loops(function: Callable[..., Any], loops: Sequence[ScalarLoop]) -> None:
    """Call ``run`` of `loops_source`, and compare every result with the reference."""
    results = [np.full_like(loop.expected, 1) for loop in loops]
    arguments: list[np.ndarray] = []
    for loop, result in zip(loops, results, strict=True):
        arguments += [*loop.columns, result]
    function(*arguments)
    wrong = []
    for loop, result in zip(loops, results, strict=True):
        found = mismatches(result, loop.expected, loop.slack())
        text = scalar_text(loop.case, [f"x{k}" for k in range(len(loop.columns))])
        for at in found[:5]:
            operands = ", ".join(repr(column[at]) for column in loop.columns)
            wrong.append(f"{text} of {operands}: {result[at]!r}, not {loop.expected[at]!r}")
        if len(found) > 5:
            wrong.append(f"... and {len(found) - 5} more of {len(result)}")
    assert not wrong, "\n".join(wrong)


def mismatches(actual: np.ndarray, expected: np.ndarray, slack: np.ndarray) -> list[int]:
    """Positions where vectors differ by more than the tolerance of values and ``slack``."""
    if expected.dtype.kind != "f":
        return [int(k) for k in np.flatnonzero(actual != expected)]
    tolerance = VALUE_TOLERANCE[dtype_of(expected.dtype).name]
    with np.errstate(all="ignore"):
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        allowed = tolerance * np.abs(expected) + slack
        near = np.isfinite(expected) & (np.abs(actual - expected) <= allowed)
    return [int(k) for k in np.flatnonzero(~(same | near))]
