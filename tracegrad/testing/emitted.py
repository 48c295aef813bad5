"""Laws on printed code: an op's texts, executed, mean its reference.

The array text of every op runs with NumPy. The scalar texts of the elementwise ops stand in
loops over all samples, many ops in one function, which runs as plain Python and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.backend import runtime
from tracegrad.backend.expression import Text, attribute_text, dims_as_atoms, infix, template
from tracegrad.ir.types import dtype_of
from tracegrad.ops.registry import Emit, OpDef, OperandText
from tracegrad.testing.laws import Case, cases
from tracegrad.testing.numerics import assert_close

# Of values: libraries differ by some units in the last place.
VALUE_TOLERANCE = {"f64": 1e-14, "f32": 2e-6}


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
    lines = ["import math", "", "import numpy as np", ""]
    for module, names in (
        ("special", {name for loop in loops for name in loop.case.op.special}),
        ("vecmath", {name for loop in loops for name in loop.case.op.vector_maths}),
    ):
        if names:
            lines.append(f"from tracegrad.backend.{module} import {', '.join(sorted(names))}")
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
