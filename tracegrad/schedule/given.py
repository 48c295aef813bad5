"""Arrays that the caller gives a kernel instead of what it would make itself.

`give` rewrites a function in loop form: its array results, and with ``scratch`` the arrays that it
uses on the way, become parameters that it writes to. A result that is one allocation from start to
end is written in place; one that is not (two buffers that a loop exchanges, what an ``if``
chooses, an argument handed back) is copied at the end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from tracegrad.ir.core import Function, Value
from tracegrad.ir.sizes import type_symbols
from tracegrad.schedule.buffers import zeroing
from tracegrad.schedule.memory import MemoryBuilder


@dataclass(frozen=True, eq=False)
class Given:
    """A function that is given arrays to write to, after its own parameters.

    Attributes
    ----------
    function : in loop form. It returns what is not given.
    results : for each result of the former function, the position of its parameter; None if it
        is returned.
    scratch : the positions of the parameters for scratch arrays and tapes.
    """

    function: Function
    results: tuple[int | None, ...]
    scratch: tuple[int, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The positions of the parameters that results are written to."""
        return tuple(position for position in self.results if position is not None)


def give(
    function: Function, wanted: Collection[int] | None = None, *, scratch: bool = False
) -> Given:
    """``function``, which is in loop form, with its array results as parameters.

    An array whose size shows at run time only can't be given: it is still made and returned.

    Parameters
    ----------
    wanted : the positions of the results that are given, if they are arrays; default: all.
    scratch : whether the arrays that it makes besides, tapes included, are parameters too.
    """
    known = function.size_sources()
    results: list[int | None] = []
    places: dict[Value, Value] = {}
    copied: list[tuple[Value, Value]] = []
    returned: set[Value] = set()
    build = MemoryBuilder()
    with build:
        env = {p: build.param(p.type, p.hint) for p in function.params}

        def new(value: Value, hint: str) -> Value:
            return build.param(value.type, hint)

        names = function.result_names or ("",) * len(function.results)
        for number, (value, name) in enumerate(zip(function.results, names, strict=True)):
            made = made_by(value)
            refused = wanted is not None and number not in wanted
            if refused or not value.rank or not known.keys() >= set(type_symbols(value.type)):
                results.append(None)
                returned |= {made} if made is not None else set()
                continue
            results.append(len(build.region.params))
            if made is not None and made.op in function.body.ops and made not in places:
                places[made] = new(made, name or made.hint)
            else:
                copied.append((value, new(value, name or value.hint)))
        first = len(build.region.params)
        if scratch:
            for op in function.body.ops:
                if op.name != "alloc" or op.result in places or op.result in returned:
                    continue
                if known.keys() >= set(type_symbols(op.result.type)):
                    places[op.result] = new(op.result, op.result.hint)
        for op in function.body.ops:
            given = places.get(op.result) if op.name == "alloc" else None
            if given is None:
                env.update(zip(op.results, build.copy(op, env).results, strict=True))
                continue
            env[op.result] = given
            if op.attributes["fill"] == 0:
                build.region.ops += zeroing(given)
        for value, place in copied:
            source = env.get(value, value)
            build.nest(
                value.shape,
                lambda at, a=source, b=place: build.store("store", build.load(a, at), b, at),  # type: ignore[misc]  # mypy can't infer the defaults
                "copy",
            )
        rest = [i for i, position in enumerate(results) if position is None]
        values = [env.get(function.results[i], function.results[i]) for i in rest]
        if scratch:
            # What is returned must be nobody else's, a workspace's least of all.
            values = [
                build.copied(value)
                if value.rank and made_by(function.results[i]) not in returned
                else value
                for i, value in zip(rest, values, strict=True)
            ]
        made_function = build.function(
            function.name,
            values,
            like=function,
            result_names=[names[i] for i in rest],
            title=f"{function.title or function.name}, into given arrays",
        )
    return Given(
        replace(made_function, name=f"{function.name}_into"),
        tuple(results),
        tuple(range(first, len(made_function.params))),
    )


def made_by(value: Value) -> Value | None:
    """The result of the ``alloc`` that made the memory of ``value``; None if there is none.

    Only what is certain counts: an array that a loop carries is its first value if the body
    hands the very memory on.
    """
    seen = value
    while True:
        op = seen.op
        if op is None:
            return None
        if op.name == "alloc":
            return seen
        source = _same_before(op.results.index(seen), seen)
        if source is None:
            return None
        seen = source


def _same_before(position: int, value: Value) -> Value | None:
    """The value that a loop or a branch got and hands on as its result ``position``."""
    op = value.op
    assert op is not None
    if op.name in ("for", "while"):
        body = op.regions[-1]
        first = len(body.params) - len(op.results)
        if _carried(body.yields[position]) is not body.params[first + position]:
            return None
        return op.operands[len(op.operands) - len(op.results) + position]
    if op.name == "if":
        found = set()
        for arm in op.regions:
            inner = _carried(arm.yields[position])
            if inner in arm.params:
                inner = op.operands[1 + arm.params.index(inner)]
            found.add(inner)
        return found.pop() if len(found) == 1 else None
    return None


def _carried(value: Value) -> Value | None:
    """The value of outside, or parameter of a region, that ``value`` is the memory of."""
    while value.op is not None and value.op.regions:
        source = _same_before(value.op.results.index(value), value)
        if source is None:
            return None
        value = source
    return value
