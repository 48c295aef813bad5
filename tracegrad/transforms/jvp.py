"""Forward mode: beside each statement the statement of its tangent.

Names: ``x_dot`` is the tangent of ``x``, its derivative along the given direction. A tangent
is written only for values that depend on what is differentiated and that a result depends
on; for all others it is an absent, symbolic zero. A loop carries the tangent of what it carries, a
branch yields the tangents of what its arms yield.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ops.control import inputs_of
from tracegrad.ops.registry import expand_to
from tracegrad.transforms.activity import active_values, reach
from tracegrad.transforms.contributions import refuse_fixed, refuse_nondifferentiable, zero_of
from tracegrad.transforms.custom import forward_custom, refuse_closed
from tracegrad.transforms.masks import either, masked, support
from tracegrad.transforms.vjp import result_name


def jvp(function: Function, wrt: Sequence[int], seeded: Sequence[int] | None = None) -> Function:
    """The function of primals and their tangents that gives results and their tangents.

    Parameters
    ----------
    function : in array form.
    wrt : indices of the float parameters that have a tangent; the others are constants.
    seeded : indices of the results whose tangents are wanted; default: every float result.

    Returns
    -------
    Function ``(*params, *param_dots) -> (*results, *result_dots)``; each tangent has the shape
    and dtype of its value.

    Raises
    ------
    NotDifferentiable : an operation on the active path has no derivative; quotes its reason.

    Notes
    -----
    Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 3.1.
    """
    if seeded is None:
        seeded = [i for i, r in enumerate(function.results) if r.dtype.is_float]
    with Builder() as build:
        env: dict[Value, Value] = {p: build.param(p.type, p.hint) for p in function.params}
        dots: dict[Value, Value] = {}
        for i in wrt:
            p = function.params[i]
            dots[p] = build.param(p.type, f"{p.hint or f'x{i}'}_dot")
        tangents = Tangents(build, env, dots)
        tangents.block(function, [function.params[i] for i in wrt], seeded)
        with build.at(function.origin, "tangent"):
            ends = [tangents.present(function.results[i]) for i in seeded]
        names = [result_name(function, i) for i in range(len(function.results))]
        return build.function(
            f"{function.name}_jvp",
            [*(env.get(r, r) for r in function.results), *ends],
            like=function,
            result_names=[*names, *(f"{names[i]}_dot" for i in seeded)],
            title=f"value and jvp of {function.name}",
        )


class Tangents:
    """State of one forward sweep.

    Attributes
    ----------
    env : value of the function → its copy in what is being built.
    dots : value of the function → its tangent; none for a symbolic zero.
    wanted : the values of the function whose tangents are needed.
    """

    def __init__(self, build: Builder, env: dict[Value, Value], dots: dict[Value, Value]) -> None:
        self.build = build
        self.env = env
        self.dots = dots
        self.wanted: set[Value] = set()

    def block(self, function: Function, wrt: Sequence[Value], seeded: Sequence[int]) -> None:
        """Append the operations of ``function`` with the tangents that the results need."""
        active = active_values(function, wrt)
        self.wanted = {v for i in seeded if (v := function.results[i]) in active}
        reach(function.body, active, self.wanted)
        self._operations(function.body)

    def present(self, value: Value) -> Value:
        """The tangent of ``value``; zeros that are written down if it is absent."""
        dot = self.dots.get(value)
        return zero_of(value.type) if dot is None else dot

    def _operations(self, region: Region) -> None:
        for op in region.ops:
            if not op.regions:
                self._operation(op)
            elif op.name == "if":
                self._branch(op)
            elif op.name == "custom":
                self._custom(op)
            else:
                self._loop(op)

    def _operation(self, op: Operation) -> None:
        copied = self.build.copy(op, self.env)
        self.env.update(zip(op.results, copied.results, strict=True))
        if not any(r in self.wanted for r in op.results):
            return
        given = [self.dots.get(v) for v in op.operands]
        if all(dot is None for dot in given):
            return
        refuse_nondifferentiable(op)
        refuse_fixed(op, {v for v, d in zip(op.operands, given, strict=True) if d is not None})
        with self.build.at(op.location, "tangent"):
            dot = op.opdef.jvp(given, copied.result, *copied.operands, **op.attributes)
            if dot is None:
                return
            if dot.shape != op.result.shape:
                dot = expand_to(dot, op.result.shape)
            if op.opdef.kind == "elementwise":
                dot = _supported(dot, [d for d in given if d is not None])
        self._name(op.result, dot)
        self.dots[op.result] = dot

    def _custom(self, op: Operation) -> None:
        """The tangents that the user's rule gives."""
        copied = self.build.copy(op, self.env)
        self.env.update(zip(op.results, copied.results, strict=True))
        given = [self.dots.get(v) for v in inputs_of(op)]
        if any(r in self.wanted for r in op.results):
            refuse_closed(op, set(self.dots))
            if any(dot is not None for dot in given):
                with self.build.at(op.location, "tangent"):
                    dots = forward_custom(copied, {}, given)
                for result, dot in zip(op.results, dots, strict=True):
                    self._name(result, dot)
                    self.dots[result] = dot

    def _name(self, value: Value, dot: Value) -> None:
        if value.hint and not dot.hint and dot not in self.dots.values():
            dot.hint = f"{value.hint}_dot"

    def _loop(self, op: Operation) -> None:
        """A loop that carries the wanted tangents after everything else."""
        first, before = first_carried(op), leading(op)
        params = op.regions[-1].params[first:]
        carried = [
            k
            for k, (param, result) in enumerate(zip(params, op.results, strict=True))
            if param in self.wanted or result in self.wanted
        ]
        with self.build.at(op.location, "tangent"):
            inits = [self.present(op.operands[before + k]) for k in carried]
        regions = []
        for region in op.regions:
            condition = op.name == "while" and region is op.regions[0]
            with self.build.open() as new:
                for p in region.params:
                    self.env[p] = self.build.param(p.type, p.hint)
                for k, init in zip(carried, inits, strict=True):
                    p = region.params[first + k]
                    self.dots[p] = self.build.param(init.type, f"{p.hint}_dot" if p.hint else "")
                self._operations(region)
                new.yields = tuple(self.env.get(v, v) for v in region.yields)
                if not condition:
                    with self.build.at(op.location, "tangent"):
                        ends = [self.present(region.yields[k]) for k in carried]
                    new.yields = (*new.yields, *ends)
            regions.append(new)
        operands = [self.env.get(v, v) for v in op.operands]
        self._emit(op, [*operands, *inits], regions, carried)

    def _branch(self, op: Operation) -> None:
        """A branch that yields the wanted tangents after everything else."""
        wanted = [k for k, result in enumerate(op.results) if result in self.wanted]
        regions = []
        for region in op.regions:
            with self.build.open() as new:
                self._operations(region)
                with self.build.at(op.location, "tangent"):
                    ends = [self.present(region.yields[k]) for k in wanted]
                new.yields = (*(self.env.get(v, v) for v in region.yields), *ends)
            regions.append(new)
        self._emit(op, [self.env.get(v, v) for v in op.operands], regions, wanted)

    def _emit(
        self, op: Operation, operands: Sequence[Value], regions: Sequence[Region], also: list[int]
    ) -> None:
        """Append a structured operation whose last results are the tangents of results ``also``."""
        types = [r.type for r in op.results]
        with self.build.at(op.location, op.part):
            new = self.build.emit(
                op.opdef, operands, op.attributes, regions, [*types, *(types[k] for k in also)]
            )
        for old, result in zip(op.results, new.results, strict=False):
            result.hint = old.hint
            self.env[old] = result
        for k, dot in zip(also, new.results[len(types) :], strict=True):
            self._name(op.results[k], dot)
            self.dots[op.results[k]] = dot


def _supported(dot: Value, given: Sequence[Value]) -> Value:
    """``dot`` where one of the tangents it comes from may differ from zero, else zero."""
    mask: Value | bool = False
    for each in given:
        if each.shape != dot.shape:
            return dot
        mask = either(mask, support(each))
    if mask is True or dot in given:
        return dot
    return zero_of(dot.type) if mask is False else masked(dot, mask)
