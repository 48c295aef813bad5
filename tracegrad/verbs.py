"""Verbs: which transform a traced function gets, and how kernel results become the user's.

A verb makes a `Recipe` for one trace: the transformed function, and the way from what its
kernel returns to the user's results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tracegrad import tracing, tree
from tracegrad.arguments import Selection
from tracegrad.errors import ArgumentError
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.passes import open_loops
from tracegrad.transforms.vjp import gradient, vjp

Arrange = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, eq=False)
class Recipe:
    """A transformed function and the way from its results to the user's.

    Attributes
    ----------
    function : in array form.
    arrange : one value per result of ``function`` → the user's result. Values may be numbers,
        arrays or, inside another trace, tracers.
    rearranges_only : whether ``arrange`` only puts the values into a tree, whatever they are.
    part : which element of the result the caller may give arrays for; None for the whole of it.
    """

    function: Function
    arrange: Arrange
    rearranges_only: bool = True
    part: int | None = None

    @cached_property
    def converters(self) -> tuple[Callable[[Any], Any] | None, ...]:
        """What gives a kernel's result the dtype that the IR gives it: a float32 scalar stays one.

        One for each result, None where the kernel's is right.
        """
        return tuple(
            r.dtype.numpy.type
            if r.rank == 0 and r.dtype.name not in ("f64", "i64", "bool")
            else None
            for r in self.function.results
        )

    def assemble(self, raw: Any) -> Any:
        """What the kernel returned (one value, or a tuple of several) → the user's result."""
        converters = self.converters
        values = (raw,) if len(converters) == 1 else tuple(raw) if converters else ()
        if any(converters):
            values = tuple(
                value if convert is None or tracing.is_tracer(value) else convert(value)
                for value, convert in zip(values, converters, strict=True)
            )
        return self.arrange(values)


_ORDERS = {
    **dict.fromkeys(("jit", "vmap", "custom_vjp", "custom_jvp", "checkpoint", "rule"), 0),
    **dict.fromkeys(("hessian", "hvp"), 2),
}
_traces = threading.local()


def order_of_trace() -> int:
    """How often what is traced now is differentiated by verbs within the outermost one."""
    order: int = getattr(_traces, "order", 0)
    return order


@dataclass(frozen=True)
class Verb:
    """A verb with its options.

    Parameters
    ----------
    name : as users call it; for messages. "value_and_grad", "grad" and "vjp" are transformed
        here, every other verb is a function that is traced as it is (`tracegrad.derived`).
    argnums : positions of the arguments to differentiate; an int gives a bare gradient,
        a tuple a tuple.
    argnames : names of keyword arguments to differentiate, in the order of the result after
        those of ``argnums``; None for none.
    has_aux : whether the function returns ``(value, aux)``.
    """

    name: str
    argnums: int | tuple[int, ...] | None = None
    argnames: tuple[str, ...] = ()
    has_aux: bool = False
    single: bool = True

    @property
    def order(self) -> int:
        """How often it differentiates."""
        return _ORDERS.get(self.name, 1)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, what is traced is differentiated as often as the verb does."""
        before = order_of_trace()
        _traces.order = before + self.order
        try:
            yield
        finally:
            _traces.order = before

    def check_function(self, fun: object) -> None:
        """Raise ArgumentError where the verb was given a result instead of a function."""
        if not callable(fun):
            raise ArgumentError(
                f"{self.name} takes a function, not {type(fun).__name__}",
                way_out=f"write tracegrad.{self.name}(f)(x), not tracegrad.{self.name}(f(x))",
            )

    def describe(self) -> str:
        if self.argnums is None and not self.argnames:
            return self.name
        chosen = [str(n) for n in _ints(self.argnums)] + list(self.argnames)
        return f"{self.name} (argument {', '.join(chosen)})"

    def check(self, selection: Selection) -> None:
        """Raise `ArgumentError` for arguments that have no derivative, before they are used."""
        if self.name in ("vjp", "value_and_grad", "grad"):
            self.groups(selection)

    def recipe(self, traced: tracing.Traced, selection: Selection) -> Recipe:
        if self.name == "vjp":
            return _vjp(traced, self.groups(selection), selection)
        if self.name in ("value_and_grad", "grad"):
            return self._gradient(traced, self.groups(selection), selection)
        return _jit(traced)

    def groups(self, selection: Selection) -> list[list[int]]:
        """The leaves of each differentiated argument; raises `ArgumentError` for a wrong one."""
        return [self._leaves(selection, key) for key in self._keys(selection)]

    def arranged(self, selection: Selection, groups: Sequence[list[int]]) -> Arrange:
        """One value per leaf of ``groups`` → the trees of the arguments; bare if one was named."""
        structures = [_argument_structure(selection, group) for group in groups]

        def arrange(values: Sequence[Any]) -> Any:
            found: list[Any] = []
            start = 0
            for group, structure in zip(groups, structures, strict=True):
                found.append(structure(values[start : start + len(group)]))
                start += len(group)
            return found[0] if self.single else tuple(found)

        return arrange

    def _keys(self, selection: Selection) -> list[int | str]:
        """The differentiated arguments; a name may be given by position in the call."""
        count = sum(1 for _ in {o for o, _ in selection.paths if isinstance(o, int)})
        given = {owner for owner, _ in selection.paths}
        keys: list[int | str] = []
        for number in _ints(self.argnums):
            width = max((o for o in given if isinstance(o, int)), default=-1) + 1
            position = number + width if number < 0 else number
            key: int | str = position
            if position not in given and 0 <= position < len(selection.positional):
                key = selection.positional[position]
            if key not in given and 0 <= position < width:
                raise ArgumentError(
                    f"{self.name} is asked for the derivative in argument {number}, which holds no "
                    "array or number",
                    way_out="choose other arguments with argnums",
                )
            if key not in given or position < 0:
                raise ArgumentError(
                    f"argnums={number} but the call has {max(count, width)} positional arguments "
                    "with array or number leaves",
                    way_out="give argnums that count the arguments of this call",
                )
            keys.append(key)
        for name in self.argnames:
            key = name
            if name not in given and name in selection.positional:
                key = selection.positional.index(name)
            if key not in given:
                raise ArgumentError(
                    f"argnames names {name!r}, which this call does not pass",
                    way_out="pass it, or leave it out of argnames",
                )
            keys.append(key)
        return keys

    def _leaves(self, selection: Selection, key: int | str) -> list[int]:
        leaves = selection.leaves_of(key)
        for leaf in leaves:
            self.refuse_integer(selection, leaf)
        return leaves

    def refuse_integer(self, selection: Selection, leaf: int) -> None:
        """Raise `ArgumentError` unless the leaf is a float: others have no derivative."""
        kind = selection.kinds[leaf]
        dtype = getattr(kind.value, "dtype", None) if kind.kind == "tracer" else kind.dtype
        if kind.kind == "float" or (dtype is not None and dtype.kind == "f"):
            return
        if kind.kind == "static":
            what = f"a static value: {kind.value!r}"
        else:
            what = "a Python int" if kind.kind == "tracer" else f"a Python {kind}"
            what = what if dtype is None else f"of dtype {dtype}"
        raise ArgumentError(
            f"{self.name} is asked for the derivative in {selection.name(leaf)!r}, which is {what}",
            way_out="pass floats (for an integer array: x.astype(float)), or choose other "
            "arguments with argnums",
        )

    def _gradient(
        self, traced: tracing.Traced, wrt: list[list[int]], selection: Selection
    ) -> Recipe:
        value = self.scalar_result(traced)
        flat = [traced.param_of(leaf) for group in wrt for leaf in group]
        function = gradient(open_loops(traced.function), flat, of=value)
        primal_count = len(traced.function.results)
        in_aux = any(leaf.result == value for leaf in traced.output_types()[1:])
        drops_value = self.name == "grad" and self.has_aux and not in_aux
        if self.name == "grad" and not self.has_aux:
            keep = list(range(primal_count, len(function.results)))
            function = select_results(function, keep, f"gradient of {traced.function.name}")
        elif drops_value:
            keep = [i for i in range(len(function.results)) if i != value]
            function = select_results(function, keep, f"gradient of {traced.function.name}")
        arranged = self.arranged(selection, wrt)
        with_value = self.name == "value_and_grad"
        has_aux = self.has_aux

        def arrange(values: Sequence[Any]) -> Any:
            bars = values[len(values) - len(flat) :]
            primals = list(values[: len(values) - len(flat)])
            result = arranged(bars)
            if not with_value and not has_aux:
                return result
            if drops_value:
                primals.insert(value, None)
            out = traced.rebuild_outputs(primals)
            if not with_value:
                return result, out[1]
            return out, result

        part = 1 if with_value else 0 if has_aux else None
        return Recipe(function, arrange, part=part)

    def scalar_result(self, traced: tracing.Traced) -> int:
        """Which result of the function is differentiated; errors say what to use instead."""
        out = traced.output_types()
        if self.has_aux:
            first = traced.first_of_pair()
            if first is None:
                raise ArgumentError(
                    f"{self.name} with has_aux=True needs a function that returns (value, aux)",
                    way_out="return a pair, or leave out has_aux",
                    place=traced.place,
                )
            out = first
        known = [each.type for each in out if each.type is not None]
        scalar = len(out) == len(known) == 1 and known[0].rank == 0
        if not scalar or not known[0].dtype.is_float:
            shown = ", ".join(str(each.type or "no number") for each in out) or "nothing"
            if scalar:
                raise ArgumentError(
                    f"{self.name} needs a function with a float result; this one returns {shown}",
                    way_out="return a float: the derivative of an integer or boolean is zero",
                    place=traced.place,
                )
            raise ArgumentError(
                f"{self.name} needs a function with one scalar result; this one returns {shown}",
                way_out="return a scalar (for example the sum), use has_aux=True for further "
                "results, or tracegrad.vjp for a result of any shape",
                place=traced.place,
            )
        assert out[0].result is not None  # a float is one, also if it is constant
        return out[0].result


def gradient_verb(
    name: str,
    argnums: int | Sequence[int] | None,
    argnames: str | Sequence[str] | None = None,
    has_aux: bool = False,
    argnum: int | Sequence[int] | None = None,
) -> Verb:
    """The verb with its options checked; ``argnum`` is autograd's name of ``argnums``."""
    if argnum is not None:
        if argnums is not None:
            raise ArgumentError(
                f"argnums={argnums!r} and argnum={argnum!r} name the same", way_out="give argnums"
            )
        argnums = argnum
    names = (argnames,) if isinstance(argnames, str) else tuple(argnames or ())
    if argnums is None and not names:
        argnums = 0
    if argnums is not None and not isinstance(argnums, int):
        given = argnums if isinstance(argnums, tuple | list) else (argnums,)
        if not all(isinstance(n, int) for n in given):
            raise ArgumentError(
                f"argnums counts arguments, and takes an integer or several, not {argnums!r}",
                way_out="give argument names with argnames",
            )
        argnums = tuple(given)
    single = isinstance(argnums, int) and not names
    single = single or (argnums is None and isinstance(argnames, str))
    numbers = (argnums,) if isinstance(argnums, int) else argnums or ()
    repeated = len(set(numbers)) != len(numbers) or len(set(names)) != len(names)
    if repeated:
        raise ArgumentError(
            f"argnums={argnums!r}, argnames={names!r} name an argument twice",
            way_out="name each argument once",
        )
    return Verb(name, argnums, names, has_aux, single)


def _jit(traced: tracing.Traced) -> Recipe:
    function = open_loops(traced.function)
    return Recipe(function, lambda values: traced.rebuild_outputs(list(values)))


def _vjp(traced: tracing.Traced, wrt: list[list[int]], selection: Selection) -> Recipe:
    flat = [traced.param_of(leaf) for group in wrt for leaf in group]
    return Recipe(vjp(open_loops(traced.function), flat), tuple)


def select_results(function: Function, keep: Sequence[int], title: str) -> Function:
    """``function`` with only some of its results."""
    with Builder() as build:
        env: dict[Value, Value] = {p: build.param(p.type, p.hint) for p in function.params}
        for op in function.body.ops:
            env.update(zip(op.results, build.copy(op, env).results, strict=True))
        selected = build.function(
            function.name,
            [env.get(function.results[i], function.results[i]) for i in keep],
            like=function,
            result_names=[function.result_names[i] for i in keep],
            title=title,
        )
    return replace(selected, name=function.name.replace("_value_and_grad", "_grad"))


def _ints(argnums: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if argnums is None:
        return ()
    return (argnums,) if isinstance(argnums, int) else argnums


def _is_leaf_argument(selection: Selection, leaves: list[int]) -> bool:
    return len(leaves) == 1 and selection.name(leaves[0]).isidentifier()


def _argument_structure(selection: Selection, leaves: list[int]) -> Arrange:
    """Rebuilds one argument's tree around its gradient leaves."""
    owner = selection.paths[leaves[0]][0] if leaves else None
    if owner is None or _is_leaf_argument(selection, leaves):
        return lambda bars: bars[0]
    args, kwargs = selection.shape.rebuild(range(selection.shape.structure.leaves))
    argument = args[owner] if isinstance(owner, int) else kwargs[owner]
    _, structure = tree.flatten(argument)
    return lambda bars: tree.unflatten(structure, bars)
