"""Derivatives that the user gives: the ``custom`` operation under either mode, and without it.

Its region is linear in what it takes. The rule "vjp" is inlined in reverse mode and transposed in
forward mode, the rule "jvp" the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.errors import NotDifferentiable
from tracegrad.ir.builder import current
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.control import inputs_of
from tracegrad.transforms.contributions import place_of, zero_of


def closed_of(op: Operation) -> tuple[Value, ...]:
    """The operands that must not need a derivative."""
    return op.operands[op.attributes["outs"] + op.attributes["inputs"] :]


def refuse_closed(op: Operation, active: set[Value]) -> None:
    """Raise `NotDifferentiable` if a derivative would have to flow around the rule."""
    deepest = op.attributes.get("deepest", 0)
    for value in closed_of(op):
        if value in active and deepest:
            raise NotDifferentiable(
                "a derivative of higher order needs a rule that calls its own function within "
                f"itself, {deepest} levels deep; deeper it has no rule",
                way_out="compute the derivative in the rule without calling the function itself, "
                "or take fewer derivatives",
                place=place_of(op.location),
            )
        if value in active:
            name = f" {value.hint!r}" if value.hint else ""
            raise NotDifferentiable(
                f"a function with a derivative of its own uses{name}, a value that is "
                "differentiated and not among its arguments",
                way_out="pass it as an argument",
                place=place_of(op.location),
            )


def reverse_custom(
    op: Operation, env: dict[Value, Value], out_bars: Sequence[Value | None]
) -> list[Value]:
    """Append the cotangents of the inputs."""
    bars = [zero_of(r.type) if b is None else b for b, r in zip(out_bars, op.results, strict=True)]
    return _applied(op, env, bars, transposed=op.attributes["rule"] == "jvp")


def forward_custom(
    op: Operation, env: dict[Value, Value], dots: Sequence[Value | None]
) -> list[Value]:
    """Append the tangents of the results."""
    given = [zero_of(x.type) if d is None else d for d, x in zip(dots, inputs_of(op), strict=True)]
    return _applied(op, env, given, transposed=op.attributes["rule"] == "vjp")


def _applied(
    op: Operation, env: dict[Value, Value], given: Sequence[Value], *, transposed: bool
) -> list[Value]:
    (region,) = op.regions
    if not transposed:
        return _inlined(region, env, given)
    from tracegrad.transforms.vjp import vjp  # which reverses custom operations

    wrt = [k for k, p in enumerate(region.params) if p.dtype.is_float]
    _refuse_bent(op, Function("rule", region), wrt)
    back = vjp(Function("rule", region), wrt)
    # The rule is linear: where its derivative is taken does not matter.
    point = [zero_of(p.type) for p in region.params]
    return _inlined(back.body, env, [*point, *given])[len(region.yields) :]


def _refuse_bent(op: Operation, rule: Function, wrt: Sequence[int]) -> None:
    """Raise `NotDifferentiable` if a rule is not linear: its derivative depends on the point."""
    from tracegrad.transforms.directions import Spread
    from tracegrad.transforms.jvp import jvp

    ahead = jvp(rule, wrt)
    depends = Spread(ahead.body.ops, ahead.params[: len(rule.params)]).moving
    if depends.isdisjoint(ahead.results[len(rule.results) :]):
        return
    if op.attributes["rule"] == "vjp":
        raise NotDifferentiable(
            "the backward rule of a function is not linear in the cotangents it takes, and forward "
            "mode would need its transpose",
            way_out="differentiate in reverse mode, or give the function a custom_jvp",
            place=place_of(op.location),
        )
    raise NotDifferentiable(
        "the rule of a function is not linear in the tangents it takes, and reverse mode would "
        "need its transpose",
        way_out="make the rule linear in the tangents, or give the function a custom_vjp",
        place=place_of(op.location),
    )


def _inlined(region: Region, env: dict[Value, Value], given: Sequence[Value]) -> list[Value]:
    inner = {**env, **dict(zip(region.params, given, strict=True))}
    for op in region.ops:
        inner.update(zip(op.results, current().copy(op, inner).results, strict=True))
    return [inner.get(v, v) for v in region.yields]


def without_rules(function: Function) -> Function:
    """``function`` with every ``custom`` operation replaced by its operands, and plain loops.

    For what is not differentiated any more.
    """
    if not any(op.name == "custom" or "segments" in op.attributes for op in function.walk()):
        return function
    return _Dropper().rewrite(function)


class _Dropper(Rewriter):
    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name == "custom":
            return self.mapped(op.operands[: op.attributes["outs"]])
        new = self.rebuilt(op, range(len(op.results)))
        new.attributes = {k: v for k, v in op.attributes.items() if k != "segments"}
        return new.results
