"""The table of rewrite rules.

A rule is a function with the parameters of an op's other rules: operands, then attributes by
keyword. It is called before the operation is appended and returns the value that takes its
place, or None where it does not apply. Its docstring shows before → after, and runs as a test::

    @rule("multiply", mark=EXACT, commutes=True)
    def multiply_by_one(x: Value, y: Value) -> Value | None:
        \"\"\"A factor of one changes nothing.

            x: f64[n]
            multiply(x, 1.0) → x
        \"\"\"
        return x if number(y) == 1 else None

Marks
-----
EXACT    : the same bits for every input, infinities and signed zeros included (of a NaN, only
           that it is one).
ROUNDING : the same real number; results differ by rounding (a zero may lose its sign) as long as
           no intermediate value overflows or underflows. Where one does, infinities and NaN may
           differ: each such rule says where and why that is harmless.
UNSAFE   : loses a NaN, an infinity or the sign of a zero in ordinary use; only on request.

Why the rules come to an end
----------------------------
Rules apply when an operation is appended, to operands that are in normal form already, and what a
rule appends is simplified in turn. So it is enough that every rule's result is smaller than what
it replaces in the following order, of which the first difference decides:

1. the elements computed by operations other than ``view`` (rank by rank: a reduced domain counts
   less whatever the sizes are), with ``dot`` as one: rules over broadcasts, sums of products,
   pads, sums of invariants;
2. the price of the operations: power > divide > accumulate > multiply, add, select > square,
   cast, negative, view: rules for powers, quotients, doubled and squared terms;
3. the number of operations, and of view, pad and reshape among them: identities, compositions;
4. how far negations are from the results: signs move towards the results and merge on the way
   (``a + (-b)``, ``(-a)*b``, ``sum(-a)``, ``view(-a)``); only a broadcast stays outside of the
   negation it repeats (order 1), and rules look through it. A negation ends in a constant where
   it meets one;
5. the axis of a reduction of a symmetric operand, which only grows; the order of a difference that
   exists the other way round already;
6. the choices within an arm of a choice by the same condition;
7. how many additions stand between pads with strides that are terms of one sum.

No rule turns ``-(a - b)`` into ``b - a``: it would undo 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from tracegrad.ir.core import Value

Apply: TypeAlias = "Callable[..., Value | None]"


class Mark(Enum):
    """What a rule may change; see the module."""

    EXACT = "exact"
    ROUNDING = "rounding"
    UNSAFE = "unsafe"


EXACT, ROUNDING, UNSAFE = Mark


@dataclass(frozen=True, eq=False)
class Rule:
    """One rewrite rule.

    Attributes
    ----------
    ops : names of the ops that it rewrites; empty for every elementwise op.
    apply : (operands..., **attributes) → the replacement, or None. A rule for many ops is
        called with the op definition before the operands (``takes_op``).
    commutes : whether the two operands are also tried the other way round.
    """

    name: str
    ops: tuple[str, ...]
    mark: Mark
    apply: Apply
    commutes: bool = False
    takes_op: bool = False

    @property
    def doc(self) -> str:
        return self.apply.__doc__ or ""


RULES: list[Rule] = []
ELEMENTWISE = ("*elementwise",)
"""In place of names: every elementwise op."""


def rule(
    *ops: str, mark: Mark, commutes: bool = False, takes_op: bool = False
) -> Callable[[Apply], Apply]:
    """Enter a function into the table; rules for one op are tried in the order of the table."""

    def enter(apply: Apply) -> Apply:
        name = apply.__name__
        if not (apply.__doc__ or "").strip():
            raise ValueError(f"rule {name} does not show what it does")
        if any(r.name == name for r in RULES):
            raise ValueError(f"rule {name} is entered twice")
        RULES.append(Rule(name, ops, mark, apply, commutes, takes_op or ops == ELEMENTWISE))
        return apply

    return enter


def rule_listing() -> str:
    """The table as text: one line per rule."""
    width = max(len(r.name) for r in RULES)
    lines = []
    for r in RULES:
        arrow = next((line.strip() for line in r.doc.split("\n") if " → " in line), "")
        lines.append(f"{r.name:{width}}  {r.mark.value:8}  {arrow}")
    return "\n".join(lines)
