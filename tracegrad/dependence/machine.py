"""Running the text of `tracegrad.dependence.program`: loops, branches, and whole arrays.

What integers decide is run as it is. Where floats decide (a branch on a float, a loop until
convergence) both arms are taken and united, and a loop is run once for all of its trips: what it
carries is a set that holds what the loop starts with and what a trip makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.dependence.graph import NOTHING, Graph
from tracegrad.dependence.rules import RULES, Step, elementwise
from tracegrad.errors import UnsupportedError
from tracegrad.ir.core import Operation, Value
from tracegrad.ir.sizes import BINDING, operation_symbols, type_symbols
from tracegrad.ir.types import Dim, Size, evaluate, symbols

State = tuple[Any, ...]

LONG = 10_000
"""Trips after which a loop that may not run at all counts as one of unknown length."""

_HALF, _ALL = 1 << 63, (1 << 64) - 1


class Summary:
    """A float array whose size floats decide: one set for all of its elements."""

    def __init__(self, held: int) -> None:
        self.held = held

    def item(self, *place: Any) -> int:
        return self.held


class Unknown(Exception):
    """A size that floats decide."""


class Machine:
    """The state of one abstract run.

    Attributes
    ----------
    sizes : of symbols; None where floats decide.
    """

    def __init__(self, graph: Graph, sizes: dict[str, int | None], ops: Sequence[Operation]):
        self.graph = graph
        self.sizes = sizes
        self._ops = ops
        self._steps: dict[int, Step] = {}
        self._fixed = frozenset(sizes)
        self._lost: set[str] = set()
        """Sizes that differ from trip to trip of a loop whose trips nobody knows."""
        self._uncertain = 0
        """How many branches around are taken only because nobody knows whether they are."""

    # --- operations on whole arrays

    def apply(self, number: int, *given: Any) -> Any:
        """What operation ``number`` makes of its operands."""
        op = self._ops[number]
        try:
            step = self._steps.get(number) or self._step(number, op)
        except Unknown:
            return self._anything(op, given, None)
        if not any(r.dtype.is_float for r in op.results):
            return self._exact(op, step, given)
        if any(isinstance(x, Summary) for x in given):
            return self._anything(op, given, step)
        rule = RULES.get(op.name) or (elementwise if op.opdef.kind == "elementwise" else None)
        if rule is None or any(0 in shape for shape in step.shapes):
            return self._anything(op, given, step)
        if op.name in ("tape", "ensure"):
            return self._tape(op, step, given)
        arrays = [
            np.asarray(x) if v.dtype.is_float else x
            for v, x in zip(op.operands, given, strict=True)
        ]
        found = rule(self.graph, step, arrays)
        return found if op.result.rank else int(found)

    def _tape(self, op: Operation, step: Step, given: Sequence[Any]) -> Any:
        """An array that grows; a `Summary` where nobody knows how much."""
        name = str(op.result.shape[0])
        if given[-1] is None or name in self._lost:
            self.sizes[name] = None
            return Summary(self.held(given[0]) if op.name == "ensure" else NOTHING)
        found = np.array(
            op.opdef.reference(*given, **step.attributes)
            if op.name == "ensure"
            else np.zeros((given[0], *step.attributes["shape"])),
            np.int64,
        )
        if (self.sizes.get(name) or 0) < len(found) or name not in self.sizes:
            self.sizes[name] = len(found)
        return found

    def _step(self, number: int, op: Operation) -> Step:
        attributes = {
            k: v if k == "size" and op.name in BINDING else self.concrete(v)
            for k, v in op.attributes.items()
        }
        binds = op.name in BINDING or op.name == "ensure"
        if binds:
            return Step(op, attributes, tuple(() for _ in op.results))
        shapes = tuple(tuple(self.concrete(d) for d in r.shape) for r in op.results)
        step = Step(op, attributes, shapes)
        if self._fixed.issuperset(operation_symbols(op)):
            self._steps[number] = step
        return step

    def concrete(self, value: Any) -> Any:
        """An attribute with numbers for its dimensions; raises `Unknown` if floats decide one."""
        if isinstance(value, Size):
            return self.size(value)
        if isinstance(value, tuple):
            return tuple(self.concrete(v) for v in value)
        return value

    def size(self, dim: Dim) -> int:
        """The number that a dimension stands for."""
        if any(self.sizes.get(name) is None for name in symbols(dim)):
            raise Unknown
        return evaluate(dim, self.sizes)  # type: ignore[arg-type]  # none of these is None

    def dim(self, number: int) -> int | None:
        """What operation ``number`` gives: a size, or None where floats decide it."""
        try:
            return self.size(self._ops[number].attributes["size"])
        except Unknown:
            return None

    def bind(self, name: str, value: int | None) -> int | None:
        self.sizes[name] = value
        return value

    def _exact(self, op: Operation, step: Step, given: Sequence[Any]) -> Any:
        """Integers and booleans as they are; None if floats have a part in them."""
        if any(v.dtype.is_float or x is None for v, x in zip(op.operands, given, strict=True)):
            if op.name == "nonzero":
                self.sizes[str(op.attributes["size"])] = None
            found = (None,) * len(op.results)
            return found if len(found) > 1 else None
        typed = [np.asarray(x, v.dtype.numpy) for v, x in zip(op.operands, given, strict=True)]
        with np.errstate(all="ignore"):
            made = op.opdef.reference(*typed, **step.attributes)
        made = made if isinstance(made, tuple) else (made,)
        if op.name == "nonzero":
            self.sizes[str(op.attributes["size"])] = len(made[0])
        values = [
            np.array(x) if r.rank else np.asarray(x).item()
            for r, x in zip(op.results, made, strict=True)
        ]
        return values[0] if len(values) == 1 else tuple(values)

    def _anything(self, op: Operation, given: Sequence[Any], step: Step | None) -> Any:
        """Every element of the results depends on every element of the operands."""
        held = NOTHING
        for value, x in zip(op.operands, given, strict=True):
            if value.dtype.is_float:
                held = self.graph.join(held, self.held(x))
        found = tuple(
            None if not r.dtype.is_float else self.full(r.shape, held) for r in op.results
        )
        if op.name == "nonzero" or op.name == "tape":
            self.sizes[str(op.attributes["size"])] = None
        return found if len(found) > 1 else found[0]

    def full(self, shape: tuple[Dim, ...], held: int) -> Any:
        """An array, or one number, of one set everywhere."""
        if not shape:
            return held
        try:
            return np.full(tuple(self.size(d) for d in shape), held, np.int64)
        except Unknown:
            return Summary(held)

    def held(self, x: Any) -> int:
        """All that a float value depends on."""
        if isinstance(x, Summary):
            return x.held
        return x if isinstance(x, int) else self.graph.whole(x)

    def all_of(self, value: Value, x: Any) -> Any:
        """The sets of a result, one per element; its size must not depend on floats."""
        if isinstance(x, Summary):
            raise UnsupportedError(
                "a result has a size that depends on the values of floats",
                way_out="return an array whose size follows from sizes and integers",
            )
        return np.asarray(x)

    # --- single elements

    def item(self, x: Any, *place: int | None) -> int:
        """An element at a place that floats decide: any element."""
        if isinstance(x, Summary):
            return x.held
        known = tuple(slice(None) if i is None else i for i in place)
        return self.graph.whole(x[known])

    def write(self, x: Any, v: int, *place: int | None) -> Any:
        """``x``, which nobody else has, with ``v`` written at a place."""
        if isinstance(x, Summary):
            return Summary(self.graph.join(x.held, v))
        if None in place:
            return self._added(x, v, place)
        x[place] = v
        return x

    def add(self, x: Any, v: int, *place: int | None) -> Any:
        """As `write`, with ``v`` added to what is there."""
        if isinstance(x, Summary) or None in place:
            return self.write(x, v, *place)
        x[place] = self.graph.join(x.item(*place), v)
        return x

    def _added(self, x: Any, v: int, place: tuple[int | None, ...]) -> Any:
        some = tuple(slice(None) if i is None else i for i in place)
        x[some] = self.graph.joined(x[some], v)
        return x

    def put(self, x: Any, v: Any, *place: int | None) -> Any:
        """As `write`, for integers and booleans: None where floats decide any of it."""
        if x is None or v is None or None in place:
            return None
        x[place] = v
        return x

    # --- control flow

    def for_(self, number: int, bounds: Sequence[Any], state: State, body: Any) -> State:
        """Operation ``number``, a loop from its initial state."""
        op = self._ops[number]
        if None in bounds:
            return self._any_trips(op, state, lambda *carried: body(None, *carried))
        trips = range(*bounds)
        if self._uncertain and len(trips) > LONG:
            return self._any_trips(op, state, lambda *carried: body(None, *carried))
        for i in trips:
            state = body(i, *state)
        return state

    def while_(self, number: int, state: State, condition: Any, body: Any) -> State:
        """As `for_`; ``condition`` takes the state and gives one boolean."""
        op = self._ops[number]
        trips = 0
        while True:
            (goes_on,) = condition(*state)
            trips += 1
            if goes_on is None or (self._uncertain and trips > LONG):
                return self._any_trips(op, state, body)
            if not goes_on:
                return state
            state = body(*state)

    def _any_trips(self, op: Operation, state: State, body: Callable[..., State]) -> State:
        """A loop of nobody knows how many trips, all of them in one."""
        known = list(state)
        floats = [r.dtype.is_float for r in op.results]
        carried = {name for r in op.results for name in type_symbols(r.type)} - self._fixed
        while True:
            sets = [self._later(x) if f else x for x, f in zip(known, floats, strict=True)]
            sizes = {name: self.sizes.get(name) for name in carried}
            self._uncertain += 1
            try:
                made = body(*[own(x) for x in sets])
            except (IndexError, _Raised):
                return tuple(known)  # no trip comes to its end
            finally:
                self._uncertain -= 1
            again = False
            for name in carried:
                if self.sizes.get(name) != sizes[name]:
                    self._lost.add(name)
                    self.sizes[name] = None
                    again = True
            for k, f in enumerate(floats):
                if f and isinstance(made[k], Summary) and not isinstance(known[k], Summary):
                    known[k] = Summary(self.held(known[k]))
                    again = True
                elif not f and known[k] is not None and not _same(known[k], made[k]):
                    known[k] = None
                    again = True
            if not again:
                break
        for k, f in enumerate(floats):
            if f:
                self._link(sets[k], known[k])
                self._link(sets[k], made[k])
        return tuple(sets)

    def _later(self, x: Any) -> Any:
        if isinstance(x, Summary):
            return Summary(int(self.graph.later(())))
        if isinstance(x, int):
            return int(self.graph.later(()))
        return self.graph.later(x.shape)

    def _link(self, sets: Any, held: Any) -> None:
        if isinstance(sets, Summary):
            self.graph.link(sets.held, self.held(held))
        else:
            self.graph.link(sets, held)

    def if_(self, number: int, holds: bool | None, moved: State, then: Any, other: Any) -> State:
        """One arm, or both united; ``moved`` are arrays that the arms may write to."""
        if holds is not None:
            return (then if holds else other)(*moved)  # type: ignore[no-any-return]  # made text
        arms = []
        for arm in (then, other):
            self._uncertain += 1
            try:
                arms.append(arm(*[own(x) for x in moved]))
            except (IndexError, _Raised):
                pass  # who takes this arm gets an exception, no result
            finally:
                self._uncertain -= 1
        if not arms:
            if self._uncertain:
                raise _Raised
            raise IndexError("index is out of bounds in both arms of a branch")
        if len(arms) == 1:
            return tuple(own(x) for x in arms[0])
        return tuple(
            self._either(r, a, b) for r, a, b in zip(self._ops[number].results, *arms, strict=True)
        )

    def _either(self, value: Value, a: Any, b: Any) -> Any:
        """What one of two arms yields."""
        if not value.dtype.is_float:
            return a if _same(a, b) else None
        if not value.rank:
            return self.graph.join(a, b)
        if isinstance(a, Summary) or isinstance(b, Summary) or a.shape != b.shape:
            for name in set(type_symbols(value.type)) - self._fixed:
                self._lost.add(name)
                self.sizes[name] = None
            return Summary(self.graph.join(self.held(a), self.held(b)))
        return self.graph.joined(a, b)

    def raises(self, number: int) -> None:
        """The exception of a ``raise``; in a branch that may not be taken, the end of it."""
        if self._uncertain:
            raise _Raised
        op = self._ops[number]
        op.opdef.reference(**op.attributes)


class _Raised(Exception):
    """A ``raise`` in a branch that nobody knows to be taken."""


def own(x: Any) -> Any:
    """A copy of an array, other values as they are."""
    return x.copy() if isinstance(x, np.ndarray) else x


def wrapped(x: int) -> int:
    """An integer in 64 bits."""
    return x if -_HALF <= x < _HALF else ((x + _HALF) & _ALL) - _HALF


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))
