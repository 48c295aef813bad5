"""Every rule does what its docstring shows: before → after.

A docstring holds lines ``x: f64[n], s: f64`` (parameters), ``d = expression`` (names), and
``before → after`` (or with the arrow on the next line), written as calls of ops.
"""

import re

import numpy as np
import pytest

from tracegrad import ops  # noqa: F401  # fills the registry
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import DTYPES, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops import access
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.ops.selection import choose
from tracegrad.passes import dce
from tracegrad.passes.engine import Simplifier
from tracegrad.passes.rules import symmetry  # noqa: F401  # fills the table
from tracegrad.passes.table import RULES, UNSAFE, rule_listing

SIZES = {"n": 6, "m": 8, "k": 12}
HELPERS = ("transpose", "flip", "slice_", "at", "broadcast_to", "expand_dims", "squeeze")


def examples(doc):
    """(parameters, names, before, after) of each example in a docstring."""
    params, names, found, pending = "", [], [], ""
    for line in (line.strip() for line in doc.split("\n")[1:]):
        if re.match(r"\w+: (f64|f32|i64|bool)\b", line):
            params, names = line, []
        elif re.match(r"\w+ = \w", line):
            names.append(line)
        elif "→" in line and params:
            before, after = (pending + line).split("→")
            found.append((params, tuple(names), before.strip(), after.strip()))
            pending = ""
        else:
            pending = line
    return found


def built(params, names, expression) -> Function:
    with Builder() as build:
        given = re.sub(r"(\w+):", r"%\1:", params)
        # The last parameter binds every symbol.
        header = parse(f"func @f({given}, %sizes: bool[{', '.join(SIZES)}]) -> () {{ }}")
        scope = {p.hint: build.param(p.type, p.hint) for p in header.params}
        scope |= {name: symbol(name) for name in SIZES if name not in scope}
        scope |= {name: opdef for name, opdef in REGISTRY.items() if name not in scope}
        scope |= {name: getattr(access, name) for name in HELPERS} | DTYPES
        scope |= {"select": choose, "constant": constant}
        for line in names:
            name, _, defined = line.partition(" = ")
            scope[name] = eval(defined, scope)
        result = eval(expression, scope)
        if not isinstance(result, Value):
            result = constant(result)
        return build.function("f", [result])


def expression(value: Value) -> str:
    """The value as nested calls: equal for equal expressions, in whatever order computed."""
    op = value.op
    if op is None:
        return value.hint
    operands = [expression(v) for v in op.operands]
    if op.name in ("add", "multiply"):
        operands.sort()
    attributes = sorted(f"{k}={v!r}" for k, v in op.attributes.items())
    return f"{op.name}({', '.join([*operands, *attributes])})"


CASES = [
    pytest.param(rule, *example, id=f"{rule.name}-{k}")
    for rule in RULES
    for k, example in enumerate(examples(rule.doc))
]


@pytest.mark.parametrize(("rule", "params", "names", "before", "after"), CASES)
def test_the_docstring_of_a_rule_shows_what_it_does(rule, params, names, before, after, rng):
    function = built(params, names, before)
    chosen = [r for r in RULES if r.mark is not UNSAFE or r is rule]
    engine = Simplifier(chosen, fold=True, share=True)
    result = verify(dce(engine.rewrite(function)))
    assert engine.fired[rule.name] >= 1, f"{rule.name} did not fire"
    assert expression(result.results[0]) == expression(built(params, names, after).results[0])
    assert result.results[0].type == function.results[0].type

    if rule.mark is not UNSAFE:
        arguments = [sample(p, rng) for p in function.params]
        (expected,) = evaluate(function, *arguments)
        (found,) = evaluate(result, *arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def sample(param, rng):
    shape = tuple(SIZES[str(d)] if not isinstance(d, int) else d for d in param.shape)
    if param.dtype.is_bool:
        return np.asarray(rng.random(shape) < 0.5)
    if param.dtype.is_integer:
        return np.asarray(rng.integers(0, 5, shape))
    return np.asarray(rng.uniform(0.5, 0.9, shape), dtype=param.dtype.numpy)


def test_every_rule_has_an_example():
    assert [r.name for r in RULES if not examples(r.doc)] == []


def test_the_listing_has_a_line_for_each_rule():
    assert len(rule_listing().split("\n")) == len(RULES)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
