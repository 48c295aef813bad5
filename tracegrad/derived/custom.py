"""Functions with derivatives of their own: `custom_vjp`, `custom_jvp`, `checkpoint`."""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad import tracing, tree
from tracegrad.arguments import Binder
from tracegrad.derived.forward import inlined
from tracegrad.derived.inner import Fun, Inner, traced_call
from tracegrad.derived.jacobians import jacobian
from tracegrad.errors import ArgumentError, UnsupportedError
from tracegrad.ir.builder import current
from tracegrad.ir.core import Region, Value
from tracegrad.ir.threads import free_values
from tracegrad.ops.access import zeros
from tracegrad.ops.control import ROOT, with_rule
from tracegrad.transforms.vjp import vjp
from tracegrad.verbs import Verb, order_of_trace

DEEPEST = 3
"""How often a rule may call its own function within itself, at least.

A rule is traced where its function is called, before it is known how often it will be
differentiated: once for each verb around the call, twice for a Hessian.
"""

_levels = threading.local()


class _Custom(ABC):
    """A function with a rule; called outside of a trace it is the function itself.

    Attributes
    ----------
    py_func : the user's function.
    """

    verb: Verb

    def __init__(
        self,
        fun: Fun,
        nondiff_argnums: int | Sequence[int] = (),
        nondiff_argnames: str | Sequence[str] = (),
    ) -> None:
        if not callable(fun):
            raise ArgumentError(f"{self.verb.name} takes a function, not {type(fun).__name__}")
        self.py_func = fun
        self._binder = Binder(fun, (), ())
        numbers = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else nondiff_argnums
        self.nondiff_argnums = (*numbers, *self._numbers_of(nondiff_argnames))
        functools.update_wrapper(self, fun, updated=())

    def _numbers_of(self, names: str | Sequence[str]) -> list[int]:
        positional = self._binder.positional
        found = []
        for name in (names,) if isinstance(names, str) else names:
            if name not in positional:
                raise ArgumentError(
                    f"nondiff_argnames has {name!r}, which is no positional parameter",
                    way_out=f"the parameters are {', '.join(positional)}",
                )
            found.append(positional.index(name))
        return found

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not tracing.active():
            return self.py_func(*args, **kwargs)
        args, kwargs = self._binder.with_defaults(*self._binder.normal(args, kwargs))
        if kwargs:
            raise ArgumentError(
                f"{self.verb.name}: {', '.join(kwargs)} can't be passed by position",
                way_out="pass all arguments by position",
            )
        levels: dict[int, tuple[int, int]] = getattr(_levels, "of", {})
        _levels.of = levels
        # What the rule differentiates is within the rule: it does not count.
        level, deepest = levels.get(id(self), (0, max(DEEPEST, 1 + order_of_trace())))
        if level >= deepest:
            return self._without_rule(args, deepest)
        levels[id(self)] = level + 1, deepest
        try:
            return self._traced(args)
        finally:
            if level:
                levels[id(self)] = level, deepest
            else:
                del levels[id(self)]

    def _without_rule(self, args: tuple[Any, ...], deepest: int) -> Any:
        """The function without a derivative: asking for one is refused."""
        inner = traced_call(self.py_func, self.verb, self._binder, args, {})
        out = inner.rebuild(inlined(inner.function, inner.traced.arguments))
        closed = [tracing.lifted(v).value for v in tree.flatten(args)[0] if _is_float(v)]

        def region(floats: list[int]) -> Region:
            outs = [tracing.lifted(tree.flatten(out)[0][k]).value for k in floats]
            with current().open() as empty:
                for value in outs:
                    current().param(value.type)
            return empty

        return self._wrapped(inner, out, [], "vjp", region, closed, deepest)

    @abstractmethod
    def _traced(self, args: tuple[Any, ...]) -> Any: ...

    def _split(self, args: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """The arguments that have no derivative, and the others."""
        at = {n % len(args) for n in self.nondiff_argnums if -len(args) <= n < len(args)}
        return [a for k, a in enumerate(args) if k in at], [
            a for k, a in enumerate(args) if k not in at
        ]

    def _wrapped(
        self,
        inner: Inner,
        out: Any,
        inputs: Sequence[Any],
        rule: str,
        region: Callable[[list[int]], Region],
        closed: Sequence[Value] = (),
        deepest: int = 0,
    ) -> Any:
        """``out`` with the derivative of ``region``, which is told where ``out`` has floats."""
        leaves, structure = tree.flatten(out)
        if inner.traced.written:
            name = inner.traced.function.params[inner.traced.written[0]].hint
            raise UnsupportedError(
                f"a function under {self.verb.name} writes to its argument {name!r}",
                way_out="write to a copy, and return it",
                place=inner.traced.place,
            )
        floats = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        free = [v for v in free_values(inner.function.body) if v.dtype.is_float]
        body = region(floats)
        outs = [leaves[k] for k in floats]

        def make(values: list[Value]) -> Sequence[Value]:
            given = values[: len(outs)], values[len(outs) :], [*closed, *free]
            return with_rule(*given, rule, body, deepest)

        made = tracing.append(make, [*outs, *inputs])
        for k, value in zip(floats, made, strict=True):
            leaves[k] = value
        tracing.share_returned(inner.traced, leaves)
        return tree.unflatten(structure, leaves)


class CustomVJP(_Custom):
    """See `tracegrad.custom_vjp`."""

    verb = Verb("custom_vjp")

    def __init__(
        self,
        fun: Fun,
        nondiff_argnums: int | Sequence[int] = (),
        nondiff_argnames: str | Sequence[str] = (),
    ) -> None:
        super().__init__(fun, nondiff_argnums, nondiff_argnames)
        self._fwd: Fun | None = None
        self._bwd: Fun | None = None

    def defvjp(self, fwd: Fun, bwd: Fun) -> None:
        """Give the rule.

        Parameters
        ----------
        fwd : takes what the function takes, gives ``(out, residuals)``.
        bwd : takes the arguments of ``nondiff_argnums``, ``residuals`` and the cotangent of
            ``out``; gives a tuple of one cotangent (or None for zero) per other argument.
        """
        self._fwd, self._bwd = fwd, bwd

    def _traced(self, args: tuple[Any, ...]) -> Any:
        fwd, bwd = self._fwd, self._bwd
        if fwd is None or bwd is None:
            raise ArgumentError(
                f"custom_vjp function {self._name} has no rule yet",
                way_out="give it one with f.defvjp(fwd, bwd)",
            )
        inner = traced_call(fwd, self.verb, Binder(fwd, (), ()), args, {})
        found = inner.rebuild(inlined(inner.function, inner.traced.arguments))
        if not isinstance(found, tuple) or len(found) != 2:
            raise ArgumentError(
                f"the forward rule of {self._name} returns no pair (out, residuals)",
                place=inner.traced.place,
            )
        out, residuals = found
        fixed, moved = self._split(args)
        leaves, _ = tree.flatten(tuple(moved))
        floats = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        inputs = [tracing.lifted(leaves[k]) for k in floats]
        counts = [len(tree.flatten(a)[0]) for a in moved]

        def region(float_outs: list[int]) -> Region:
            outs, out_structure = tree.flatten(out)

            def rule(*bars: Any) -> Any:
                given = dict(zip(float_outs, bars, strict=True))
                full = [given.get(k, 0.0) for k in range(len(outs))]
                cotangent = tree.unflatten(out_structure, full)
                gave = tracing.staged(bwd)(*fixed, residuals, cotangent)
                return self._cotangents(gave, moved, counts)

            return _region(rule, [outs[k] for k in float_outs], inputs, floats, "cotangent")

        return self._wrapped(inner, out, inputs, "vjp", region)

    @property
    def _name(self) -> str:
        return str(getattr(self.py_func, "__name__", self.py_func))

    def _cotangents(self, gave: Any, moved: list[Any], counts: list[int]) -> list[Any]:
        """One cotangent (or None) per leaf of the arguments."""
        if gave is None:
            raise ArgumentError(
                f"the backward rule of {self._name} returns None, as if it had no return",
                way_out="return a tuple with one cotangent (or None) per argument",
            )
        if isinstance(gave, list):
            gave = tuple(gave)
        if not isinstance(gave, tuple):
            gave = (gave,)
        if len(gave) != len(moved):
            raise ArgumentError(
                f"the backward rule of {self._name} gives {len(gave)} cotangents for {len(moved)} "
                "arguments",
                way_out="return a tuple with one cotangent (or None) per argument",
            )
        found: list[Any] = []
        for each, argument, count in zip(gave, moved, counts, strict=True):
            if each is None:
                found += [None] * count
                continue
            leaves, structure = tree.flatten(each)
            if structure != tree.flatten(argument)[1]:
                raise ArgumentError(
                    f"a cotangent of the backward rule of {self._name} has the structure "
                    f"{structure}, its argument has {tree.flatten(argument)[1]}",
                    way_out="return trees like the arguments",
                )
            found += leaves
        return found


class CustomJVP(_Custom):
    """See `tracegrad.custom_jvp`."""

    verb = Verb("custom_jvp")

    def __init__(
        self,
        fun: Fun,
        nondiff_argnums: int | Sequence[int] = (),
        nondiff_argnames: str | Sequence[str] = (),
    ) -> None:
        super().__init__(fun, nondiff_argnums, nondiff_argnames)
        self._jvp: Fun | None = None

    def defjvp(self, jvp: Fun) -> Fun:
        """Give the rule.

        Parameters
        ----------
        jvp : takes the arguments of ``nondiff_argnums``, the tuple of the other arguments and the
            tuple of their tangents; gives ``(out, out_dot)``. It must be linear in the tangents.
        """
        self._jvp = jvp
        return jvp

    def defjvps(self, *rules: Fun | None) -> None:
        """Give one rule per argument: ``rule(x_dot, out, *args)`` is its part of the tangent."""
        if self.nondiff_argnums:
            raise ArgumentError(
                "defjvps knows no nondiff_argnums", way_out="give the whole rule with defjvp"
            )

        def jvp(*given: Any) -> Any:
            primals, tangents = given
            out = tracing.staged(self.py_func)(*primals)
            parts = [
                tracing.staged(rule)(dot, out, *primals)
                for rule, dot in zip(rules, tangents, strict=True)
                if rule is not None
            ]
            return out, functools.reduce(lambda a, b: a + b, parts) if parts else out * 0.0

        jvp.__module__ = __name__
        self._jvp = jvp

    def _traced(self, args: tuple[Any, ...]) -> Any:
        jvp = self._jvp
        if jvp is None:
            raise ArgumentError(
                f"custom_jvp function {getattr(self.py_func, '__name__', '')} has no rule yet",
                way_out="give it one with @f.defjvp",
            )
        inner = traced_call(self.py_func, self.verb, self._binder, args, {})
        out = inner.rebuild(inlined(inner.function, inner.traced.arguments))
        fixed, moved = self._split(args)
        leaves, structure = tree.flatten(tuple(moved))
        floats = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        inputs = [tracing.lifted(leaves[k]) for k in floats]

        def region(float_outs: list[int]) -> Region:
            outs, out_structure = tree.flatten(out)

            def rule(*dots: Any) -> Any:
                given = dict(zip(floats, dots, strict=True))
                full = [given.get(k, 0.0) for k in range(len(leaves))]
                gave = tracing.staged(jvp)(*fixed, tuple(moved), tree.unflatten(structure, full))
                if not isinstance(gave, tuple) or len(gave) != 2:
                    raise ArgumentError("a jvp rule returns a pair (out, out_dot)")
                found, gave_structure = tree.flatten(gave[1])
                if gave_structure != out_structure:
                    raise ArgumentError(
                        f"a jvp rule gives a tangent with the structure {gave_structure}, the "
                        f"result has {out_structure}"
                    )
                return found

            wanted = [tracing.lifted(outs[k]) for k in float_outs]
            return _region(rule, inputs, wanted, float_outs, "tangent")

        return self._wrapped(inner, out, inputs, "jvp", region)


class Checkpoint(_Custom):
    """See `tracegrad.checkpoint`."""

    verb = Verb("checkpoint")

    def __init__(
        self,
        fun: Fun,
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
    ) -> None:
        super().__init__(fun)
        self._binder = Binder(fun, static_argnums, static_argnames)

    def _traced(self, args: tuple[Any, ...]) -> Any:
        inner = traced_call(self.py_func, self.verb, self._binder, args, {})
        out = inner.rebuild(inlined(inner.function, inner.traced.arguments))
        _, leaves, kinds = self._binder.bind(args, {})
        floats = [
            k
            for k, (leaf, kind) in enumerate(zip(leaves, kinds, strict=True))
            if kind.kind != "static" and _is_float(leaf)
        ]
        inputs = [tracing.lifted(leaves[k]) for k in floats]
        wrt = [inner.traced.param_of(k) for k in floats]

        def region(float_outs: list[int]) -> Region:
            outs, _ = tree.flatten(out)
            results = [inner.traced.outputs[k].result for k in float_outs]

            def rule(*bars: Any) -> Any:
                seeded = [k for k in dict.fromkeys(results) if k is not None]
                total = dict.fromkeys(seeded, 0.0)
                for k, bar in zip(results, bars, strict=True):
                    if k is not None:
                        total[k] = total[k] + bar
                derived = vjp(inner.function, wrt, seeded)
                values = inlined(derived, [*inner.traced.arguments, *total.values()])
                found: list[Any] = [None] * len(leaves)
                for k, value in zip(floats, values[inner.results :], strict=True):
                    found[k] = value
                return found

            return _region(rule, [outs[k] for k in float_outs], inputs, floats, "cotangent")

        return self._wrapped(inner, out, inputs, "vjp", region)


def checkpoint(
    fun: Any,
    segments: int | None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:
    """See `tracegrad.checkpoint`."""
    if callable(fun):
        if segments is not None:
            raise ArgumentError(
                "checkpoint of a function has no segments",
                way_out="give segments for a loop: for t in tracegrad.checkpoint(range(n), "
                "segments=k)",
            )
        return Checkpoint(fun, static_argnums, static_argnames)
    if segments is not None and (isinstance(segments, bool) or int(segments) < 1):
        raise ArgumentError(f"checkpoint with segments={segments!r}", way_out="give 1 or more")
    return tracing.in_segments(fun, ROOT if segments is None else int(segments))


class ImplicitRoot(_Custom):
    """See `tracegrad.implicit_root`."""

    verb = Verb("implicit_root")

    def __init__(self, residual: Fun, solver: Fun) -> None:
        super().__init__(solver)
        self._residual = residual

    def _traced(self, args: tuple[Any, ...]) -> Any:
        inner = traced_call(self.py_func, self.verb, self._binder, args, {})
        out = inner.rebuild(inlined(inner.function, inner.traced.arguments))
        unknowns, structure = tree.flatten(out)
        if not unknowns or not all(_is_float(x) for x in unknowns):
            raise ArgumentError(
                "implicit_root needs a solver that returns float arrays or numbers, not "
                f"{type(out).__name__}",
                way_out="return the solution alone: one array, or a tree of arrays",
                place=inner.traced.place,
            )
        unknowns = [tracing.lifted(x) for x in unknowns]
        leaves, _ = tree.flatten(args)
        floats = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]
        inputs = [tracing.lifted(leaves[k]) for k in floats]

        def region(float_outs: list[int]) -> Region:
            def rule(*bars: Any) -> Any:
                found: list[Any] = [None] * len(leaves)
                values = self._cotangents(unknowns, structure, bars, args, floats)
                for k, value in zip(floats, values, strict=True):
                    found[k] = value
                return found

            return _region(rule, unknowns, inputs, floats, "cotangent")

        return self._wrapped(inner, out, inputs, "vjp", region)

    def _cotangents(
        self,
        unknowns: list[Any],
        structure: tree.Structure,
        bars: Sequence[Any],
        args: tuple[Any, ...],
        floats: list[int],
    ) -> list[Any]:
        """-λ · ∂f/∂args with (∂f/∂x)ᵀ λ = x_bar, at the solution."""
        x = tree.unflatten(structure, unknowns)
        binder = Binder(self._residual, (), ())
        inner = traced_call(self._residual, self.verb, binder, (x, *args), {})
        seeded = inner.float_results()
        ranks = [inner.function.results[k].rank for k in seeded]
        same = inner.traced.output_structure == structure
        if not same or ranks != [u.ndim for u in unknowns]:
            raise ArgumentError(
                "implicit_root needs a residual of the shape of the solution, that depends on it",
                way_out="return one equation per unknown",
                place=inner.traced.place,
            )
        slope = jacobian(self._residual, Verb("jacfwd", 0), binder, (x, *args), {})
        sizes = [functools.reduce(lambda a, b: a * b, u.shape, 1) for u in unknowns]
        blocks = iter(tree.flatten(slope)[0])
        rows = [_joined([np.reshape(next(blocks), (m, n)) for n in sizes], 1) for m in sizes]
        matrix, bar = _joined(rows, 0), _joined([np.reshape(b, (-1,)) for b in bars], 0)
        flat = -np.linalg.solve(np.transpose(matrix), bar)
        seeds, first = [], 0
        for u, size in zip(unknowns, sizes, strict=True):
            seeds.append(np.reshape(flat[first : first + size], u.shape))
            first = first + size
        wrt = [inner.traced.param_of(k + len(unknowns)) for k in floats]
        derived = vjp(inner.function, wrt, seeded)
        return inlined(derived, [*inner.traced.arguments, *seeds])[inner.results :]


def _joined(parts: list[Any], axis: int) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def _is_float(leaf: Any) -> bool:
    if isinstance(leaf, float):
        return True
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and dtype.kind == "f"


def _region(
    rule: Callable[..., list[Any]],
    takes: Sequence[Any],
    gives: Sequence[Any],
    picked: Sequence[int],
    what: str,
) -> Region:
    """The region of a rule.

    Parameters
    ----------
    rule : from one value like each of ``takes``, one value or None per leaf.
    gives : values like what leaves ``picked`` of the rule are.
    """

    def checked(*given: Any) -> list[Any]:
        found = rule(*given)
        made: list[Any] = []
        for k, like in zip(picked, gives, strict=True):
            if found[k] is None:
                made += tracing.append(functools.partial(_zeros_like, like.value), [])
            else:
                made.append(tracing.as_tangent(found[k], like, f"leaf {k}", what))
        return made

    checked.__module__ = __name__
    binder = Binder(checked, (), ())
    verb = Verb("rule")
    inner = traced_call(checked, verb, binder, tuple(takes), {})
    outputs = inner.traced.outputs
    types = [p.type for p in inner.traced.function.params]
    (region,) = _built(inner, types, [leaf.value for leaf in outputs])
    return region


def _zeros_like(value: Value, _: Sequence[Value]) -> list[Value]:
    return [zeros(value.shape, value.dtype)]


def _built(inner: Inner, types: Sequence[Any], yields: Sequence[Value | None]) -> list[Region]:
    """The region of a traced function with one yield per leaf of its result."""
    function = inner.function
    with current().open() as region:
        params = [current().param(t) for t in types]
        results = tracing.appended(function, params)
        by_value = dict(zip(inner.traced.function.results, results, strict=True))
        region.yields = tuple(by_value[v] for v in yields if v is not None)
    return [region]
