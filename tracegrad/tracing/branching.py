"""Branches on traced values: both arms are traced, and what differs afterwards is chosen.

`choose` closes a branch of the IR: names, stores and memories that the arms left different become
its results. The classes answer the hooks of staging for ``if``, ``a if c else b``, ``and``,
``or`` and chained comparisons (docs/decisions/0005-staging-control-flow.md).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tracegrad.ir.core import Region
from tracegrad.ops.control import if_
from tracegrad.staging import UNBOUND, Site
from tracegrad.tracing.joining import (
    Clash,
    Perhaps,
    Spec,
    Torn,
    converted,
    join,
    local_size,
    paired,
    rebuilt,
    same,
    spec_of,
    stale,
)
from tracegrad.tracing.memory import COPY, share_results
from tracegrad.tracing.state import Opened, Trace, user_location
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import lift, wrap

__all__ = ["Branch", "Logic", "Ternary", "choose", "condition_of"]

INTERNAL_VALUE = "__tracegrad_value__"


def condition_of(value: Any) -> Tracer:
    """The truth of a traced scalar, as Python asks for it."""
    from tracegrad.tracing.ufuncs import truth

    x = lift(value)
    if x.ndim:
        if all(size == 1 for size in x.shape):
            x = x.reshape(())
        else:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. "
                "Use a.any() or a.all()"
            )
    return truth(x)


def choose(
    trace: Trace,
    condition: Tracer,
    one: Opened,
    two: Opened,
    names: Sequence[str],
    first: Sequence[Any],
    second: Sequence[Any],
    before: Sequence[Any],
) -> list[Any]:
    """Close a branch whose arms left the names with these values; the values after it.

    Parameters
    ----------
    one, two : the arms, closed.
    before : what the names held before the branch.
    """
    first, second = list(first), list(second)
    left = [first, second]
    slots = {**one.stores, **two.stores}
    for slot, old in slots.values():
        first.append(one.after.get(slot.key, old))
        second.append(two.after.get(slot.key, old))
    before = [*before, *(old for _, old in slots.values())]
    words = [*names, *(slot.words for slot, _ in slots.values())]
    for arm, values in zip((one, two), left, strict=True):
        if arm.dead:
            values[:] = before
    specs: dict[int, Spec] = {}
    after: list[Any] = list(first)
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        if same(a, b) or (one.dead and two.dead):
            continue
        live = [v for arm, v in ((one, a), (two, b)) if not arm.dead]
        if any(map(stale, live)):
            after[k] = Torn(next(filter(None, map(stale, live))), COPY)
            continue
        # Control never comes out of a dead arm: it needs no value there, only a type.
        sides = [] if one.dead else [_spec_in(trace, one, a)]
        sides += [] if two.dead else [_spec_in(trace, two, b)]
        spec = sides[0] if len(sides) == 1 else join(*sides)
        if words[k] == INTERNAL_VALUE and isinstance(spec, Perhaps):
            spec = spec.child  # a flag of its own says whether it is there
        spec = local_size(spec) or spec
        if isinstance(spec, Clash):
            after[k] = Torn(
                f"after the branch of line {one.line}, {_subject(words[k])} is {spec.why}"
            )
            continue
        specs[k] = spec
    yields: list[list[Any]] = []
    for arm, values in zip((one, two), left, strict=True):
        with trace.reopened(arm):
            yields.append(
                [
                    leaf
                    for k, spec in specs.items()
                    for leaf in converted(spec, UNBOUND if arm.dead else values[k])
                ]
            )
    for arm, chosen in zip((one, two), yields, strict=True):
        arm.scope.region.yields = tuple(chosen)
    with trace.build.at(user_location()):
        op = trace.build.close_branch(if_, condition.value, [one.scope, two.scope], _no_value)
    trace.settle(one, two)
    if one.dead and two.dead and trace.opened:
        trace.opened[-1].dead = True
    results = iter(()) if op is None else iter(op.results)
    for k, spec in specs.items():
        after[k] = rebuilt(spec, results)
        named = words[k].isidentifier() and not words[k].startswith("__tracegrad")
        if named and isinstance(after[k], Tracer) and not after[k].value.hint:
            after[k].value.hint = words[k]
    _share(trace, specs, first, second, after, one, two)
    for k, (slot, _) in enumerate(slots.values(), len(names)):
        trace.store(slot, after[k])
    return after[: len(names)]


def _spec_in(trace: Trace, arm: Opened, value: Any) -> Spec:
    with trace.reopened(arm):
        return spec_of(value)


def _subject(words: str) -> str:
    if not words:
        return "the value"
    if words.startswith("__tracegrad"):
        return "what the function returns"
    return repr(words) if words.isidentifier() else words


def _no_value(variable: Any) -> Any:
    raise AssertionError("a memory without a value")


def _share(
    trace: Trace,
    specs: dict[int, Spec],
    first: Sequence[Any],
    second: Sequence[Any],
    after: Sequence[Any],
    one: Opened,
    two: Opened,
) -> None:
    """A chosen array is one of two memories: whoever else has these shares it."""
    for arm, values in ((one, first), (two, second)):
        if not arm.dead:
            share_results(trace, [pair for k in specs for pair in paired(values[k], after[k])])


class _Tracing:
    """What the objects below have in common."""

    unbound = UNBOUND
    env: tuple[Any, ...] | None = None

    def __init__(self, trace: Trace, site: Site) -> None:
        self.trace = trace
        self.site = site


class Branch(_Tracing):
    """An ``if`` on a traced condition."""

    def __init__(self, trace: Trace, condition: Tracer, site: Site) -> None:
        super().__init__(trace, site)
        self.condition = condition

    def first(self) -> bool:
        self.start = self.site.read(sys._getframe(1))
        self.one = self.trace.open(self.site, loop=False)
        return True

    def second(self) -> bool:
        self.after_first = self.site.read(sys._getframe(1))
        self.trace.close(self.one)
        self.two = self.trace.open(self.site, loop=False)
        self.env = self.start
        return True

    def merge(self) -> bool:
        self._merge(self.site.read(sys._getframe(1)), (), ())
        return True

    def _merge(
        self, after_second: Sequence[Any], first: Sequence[Any], second: Sequence[Any]
    ) -> list[Any]:
        self.trace.close(self.two)
        extra = len(first)
        names = [*self.site.names, *[""] * extra]
        found = choose(
            self.trace,
            self.condition,
            self.one,
            self.two,
            names,
            [*self.after_first, *first],
            [*after_second, *second],
            [*self.start, *[UNBOUND] * extra],
        )
        self.env = tuple(found[: len(self.site.names)])
        return found[len(self.site.names) :]


class Ternary(Branch):
    """``a if condition else b`` on a traced condition."""

    def result(self, first: Any, second: Any) -> Any:
        (value,) = self._merge(self.site.read(sys._getframe(1)), [first], [second])
        return value

    def changed(self, position: int) -> bool:
        """Whether a name that a walrus binds is to be taken from ``env``."""
        return True


class Logic(_Tracing):
    """``and``, ``or`` and chained comparisons: what follows a traced operand is an arm."""

    def __init__(self, trace: Trace, site: Site) -> None:
        super().__init__(trace, site)
        self.stops_at = site.kind == "or"
        self.steps: list[tuple[Any, Tracer, tuple[Any, ...], Opened]] = []
        self.value: Any = None
        self.kept: Any = None
        self.env = ()

    def operand(self, value: Any) -> bool:
        """Whether the next operand is evaluated."""
        if not isinstance(value, Tracer):
            truth = bool(value)
            self.value = truth if self.site.test else value
            return truth is not self.stops_at
        condition = condition_of(value)
        before = self.site.read(sys._getframe(1))
        opened = self.trace.open(self.site, loop=False)
        self.steps.append((condition if self.site.test else value, condition, before, opened))
        return True

    def last(self, value: Any) -> None:
        self.value = value

    def keep(self, value: Any) -> Any:
        """An operand between two comparisons, which ``kept`` gives to the second."""
        self.kept = value
        return value

    def result(self, _: Any) -> Any:
        value = self.value
        if self.site.test:
            value = condition_of(value) if isinstance(value, Tracer) else bool(value)
        state = self.site.read(sys._getframe(1))
        for given, condition, before, rest in reversed(self.steps):
            value, joint = self._joined(given, condition, before, rest, value, state)
            state = tuple(joint)
        self.env = state
        return value

    def _joined(
        self,
        given: Any,
        condition: Tracer,
        before: Sequence[Any],
        rest: Opened,
        value: Any,
        state: Sequence[Any],
    ) -> tuple[Any, Sequence[Any]]:
        trace = self.trace
        if self._is_plain(rest, value, before, state) and given.dtype.kind == "b":
            value = value.value if isinstance(value, Tracer) else value  # read while it is visible
            trace.close(rest)
            trace.build.region.ops.extend(rest.scope.region.ops)
            trace.settle(rest)
            name = "logical_or" if self.stops_at else "logical_and"
            other = lift(wrap(value) if not isinstance(value, bool) else value)
            return wrap(trace.emit(name, condition.value, other.value)), before
        trace.close(rest)
        short = trace.open(self.site, loop=False)
        trace.close(short)
        names = [*self.site.names, ""]
        stay, go = [*before, given], [*state, value]
        one, two = (short, rest) if self.stops_at else (rest, short)
        first, second = (stay, go) if self.stops_at else (go, stay)
        *after, chosen = choose(
            trace, condition, one, two, names, first, second, [*before, UNBOUND]
        )
        return chosen, after

    def _is_plain(
        self, rest: Opened, value: Any, before: Sequence[Any], state: Sequence[Any]
    ) -> bool:
        """Whether the second operand may as well be computed always."""
        known = isinstance(value, bool) or (isinstance(value, Tracer) and value.dtype.kind == "b")
        return (
            known
            and not rest.dead
            and not rest.written
            and not rest.stores
            and all(map(same, before, state))
            and is_harmless(rest.scope.region)
        )

    def changed(self, position: int) -> bool:
        """Whether a name that a walrus binds is to be taken from ``env``."""
        return bool(self.steps)


def is_harmless(region: Region) -> bool:
    """Whether all of a region can be computed where it isn't asked for: cheap, and no errors."""
    return len(region.ops) <= _FEW and all(
        not op.regions
        and not op.opdef.effects
        and not op.result.type.rank
        and (op.name in ("const", "dim") or op.opdef.kind == "elementwise")
        and op.name not in ("floor_divide", "remainder", "power")
        for op in region.ops
    )


_FEW = 8
