"""Control flow: ``for``, ``while`` and ``if`` hold regions, ``raise`` ends the run of a function.

`tracegrad.transforms` reverses the three. The functions here build them from Python functions that
append to the regions, and check what the regions take and yield. ``stop_gradient`` cuts a
derivative.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tracegrad.ir.builder import current
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import ArrayType, Dim, boolean, i64, scalar
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import Sample, elementwise, structural


def _listed(types: Sequence[ArrayType]) -> str:
    return f"({', '.join(map(str, types))})"


def _matching(
    name: str, what: str, found: Sequence[ArrayType], wanted: Sequence[ArrayType]
) -> None:
    if list(found) != list(wanted):
        raise TypeError(f"{name}: {what} have types {_listed(found)}, not {_listed(wanted)}")


def _no_reference(*operands: Any, **attributes: Any) -> NoReturn:
    raise TypeError("control flow has regions: it is run by the interpreter, not by a reference")


# --- for --------------------------------------------------------------------------------------

ROOT, EACH_TRIP = 0, -1
"""Values of ``segments``: about as many as the root of the trips; each trip is one."""


def _check_segments(name: str, segments: Any) -> None:
    if segments is not None and (not isinstance(segments, int) or segments < EACH_TRIP):
        raise TypeError(f"{name}: segments must be a number of segments, not {segments!r}")


def _for_type(
    *types: ArrayType, kind: Any = "plain", segments: Any = None
) -> tuple[ArrayType, ...]:
    if len(types) < 3:
        raise TypeError(f"for: lo, hi and step are needed before the carried values, not {types}")
    _matching("for", "lo, hi and step", types[:3], [scalar(i64)] * 3)
    if not isinstance(kind, str):
        raise TypeError(f"for: kind must be a string, not {kind!r}")
    _check_segments("for", segments)
    return types[3:]


for_ = structural(
    "for",
    doc="""Counted loop: ``for i in range(lo, hi, step)`` with carried values.

    The region takes the index and the carried values and yields the next ones; the results are
    the last ones. ``kind`` says what the loop is to the scheduler's reader; ``segments``, that the
    way back is to compute the trips again, segment by segment.""",
    infer=_for_type,
    reference=_no_reference,
)


def for_loop(
    lo: Value | Dim,
    hi: Value | Dim,
    inits: Sequence[Value],
    body: Callable[..., Sequence[Value]],
    *,
    step: Value | Dim = 1,
) -> tuple[Value, ...]:
    """A ``for`` operation; ``body(i, *carried)`` appends one trip and gives the next values.

    Returns
    -------
    The carried values after the last trip (``inits`` when there is none).
    """
    build = current()
    bounds = [b if isinstance(b, Value) else dim_value(b) for b in (lo, hi, step)]
    carried = list(_for_type(*[v.type for v in (*bounds, *inits)]))
    with build.open() as region:
        index = build.param(scalar(i64), "i")
        params = [build.param(v.type, v.hint) for v in inits]
        region.yields = tuple(body(index, *params))
    _matching("for", "the values of a trip", [v.type for v in region.yields], carried)
    return build.emit(for_, [*bounds, *inits], {}, [region], carried).results


# --- while ------------------------------------------------------------------------------------


def _while_type(*types: ArrayType, segments: Any = None) -> tuple[ArrayType, ...]:
    _check_segments("while", segments)
    return types


while_ = structural(
    "while",
    doc="""Loop as long as a condition holds.

    The first region takes the carried values and yields one bool, the second takes them and
    yields the next ones. ``segments`` as for ``for``.""",
    infer=_while_type,
    reference=_no_reference,
)


def while_loop(
    inits: Sequence[Value],
    condition: Callable[..., Value],
    body: Callable[..., Sequence[Value]],
) -> tuple[Value, ...]:
    """A ``while`` operation; ``condition(*carried)`` and ``body(*carried)`` append its regions."""
    build = current()
    carried = [v.type for v in inits]
    regions: list[Region] = []
    for make in (lambda *params: (condition(*params),), body):
        with build.open() as region:
            params = [build.param(v.type, v.hint) for v in inits]
            region.yields = tuple(make(*params))
        regions.append(region)
    _matching("while", "conditions", [v.type for v in regions[0].yields], [scalar(boolean)])
    _matching("while", "the values of a trip", [v.type for v in regions[1].yields], carried)
    return build.emit(while_, inits, {}, regions, carried).results


# --- if ---------------------------------------------------------------------------------------


def _if_type(*types: ArrayType) -> NoReturn:
    raise TypeError("if: the result types are those that its regions yield; give result_types")


if_ = structural(
    "if",
    doc="""Choice: the values that the first region yields if the predicate holds, or the second's.

    The regions take nothing and yield values of the same types.""",
    infer=_if_type,
    reference=_no_reference,
)


def branch(
    predicate: Value,
    then: Callable[[], Sequence[Value]],
    otherwise: Callable[[], Sequence[Value]],
) -> tuple[Value, ...]:
    """An ``if`` operation; ``then()`` and ``otherwise()`` append its regions."""
    _matching("if", "predicates", [predicate.type], [scalar(boolean)])
    build = current()
    regions: list[Region] = []
    for make in (then, otherwise):
        with build.open() as region:
            region.yields = tuple(make())
        regions.append(region)
    wanted = [v.type for v in regions[0].yields]
    _matching("if", "the other branch's values", [v.type for v in regions[1].yields], wanted)
    return build.emit(if_, [predicate], {}, regions, wanted).results


# --- custom -----------------------------------------------------------------------------------


def _custom_type(
    *types: ArrayType, outs: Any, inputs: Any, rule: Any, deepest: Any = 0
) -> tuple[ArrayType, ...]:
    if not 0 <= outs + inputs <= len(types):
        raise TypeError(f"custom: {outs} outs and {inputs} inputs of {len(types)} operands")
    if not isinstance(deepest, int):
        raise TypeError(f"custom: deepest must be a number of levels, not {deepest!r}")
    return types[:outs]


custom = structural(
    "custom",
    doc="""The first ``outs`` operands, which were computed from the ``inputs`` operands after them,
    with a derivative that the user gives.

    The region of the rule "vjp" takes the cotangents of the results and yields those of the
    inputs; the region of the rule "jvp" takes the tangents of the inputs and yields those of the
    results. It is linear in what it takes. The operands that follow the inputs are the other
    values that the results were computed from: no derivative flows to them, so they must not
    need one. ``deepest`` is not zero where that is so because a rule would call its own function
    more often than that within itself.""",
    infer=_custom_type,
    reference=_no_reference,
)


def inputs_of(op: Operation) -> tuple[Value, ...]:
    """The operands of a ``custom`` operation that a derivative flows to."""
    outs, inputs = op.attributes["outs"], op.attributes["inputs"]
    return op.operands[outs : outs + inputs]


def with_rule(
    outs: Sequence[Value],
    inputs: Sequence[Value],
    closed: Sequence[Value],
    rule: str,
    region: Region,
    deepest: int = 0,
) -> tuple[Value, ...]:
    """A ``custom`` operation; ``outs`` as values with the derivative that ``region`` gives."""
    attributes = {"outs": len(outs), "inputs": len(inputs), "rule": rule}
    if deepest:
        attributes["deepest"] = deepest
    operands = [*outs, *inputs, *closed]
    types = [v.type for v in outs]
    return current().emit(custom, operands, attributes, [region], types).results


# --- raise ------------------------------------------------------------------------------------


NUMPYS_EXCEPTIONS = {"np.linalg.LinAlgError": np.linalg.LinAlgError}
"""By the name that a printed text has for them."""


def exception_class(kind: object) -> type[Exception] | None:
    """The exception of this name, built-in or NumPy's, if it can be made from one text."""
    found = None
    if isinstance(kind, str):
        found = NUMPYS_EXCEPTIONS.get(kind) or getattr(builtins, kind, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    try:
        found("")
    except TypeError:  # those of Unicode want the place in the text
        return None
    return found


def _raise_type(*, kind: Any, message: Any = None) -> tuple[()]:
    if exception_class(kind) is None:
        raise TypeError(
            f"raise: kind must name a LinAlgError or a built-in exception, not {kind!r}"
        )
    if message is not None and not isinstance(message, str):
        raise TypeError(f"raise: message must be a text or None, not {message!r}")
    return ()


def _raise(*, kind: str, message: str | None = None) -> NoReturn:
    found = exception_class(kind)
    assert found is not None
    raise found() if message is None else found(message)


raise_ = structural(
    "raise",
    doc="""Raise the exception ``kind``, built-in or NumPy's, with this message, or with none.

    What follows it in its region is not run. Where it stands in an arm of an ``if`` that has
    results, the arm yields values that nobody sees. Reads and writes that are found to be out of
    range raise where their array is used, which may be after a ``raise`` that follows them.""",
    infer=_raise_type,
    reference=_raise,
    effects=True,
)


def raises(region: Region) -> int | None:
    """Where in a region that surely raises the ``raise`` stands: nothing after it is run."""
    return next((k for k, op in enumerate(region.ops) if op.opdef is raise_), None)


# --- stop_gradient ----------------------------------------------------------------------------


def _stop_samples(rng: np.random.Generator) -> list[Sample]:
    # The derivative is zero on purpose, so differences say something else.
    shapes: tuple[tuple[int, ...], ...] = ((), (3,), (2, 0))
    return [Sample((np.asarray(rng.normal(size=s)),), differentiable=False) for s in shapes]


stop_gradient = elementwise(
    "stop_gradient",
    doc="The operand itself, through which no derivative passes.",
    infer=lambda x: x,
    reference=lambda x: np.asarray(x).copy(),
    scalar="{0}",
    array="{0}",
    vjp=lambda out_bar, out, x: (None,),
    jvp=lambda tangents, out, x: None,
    local=lambda out, x: (None,),
    samples=_stop_samples,
    cost=0.0,
)
