"""`vjp` and `linearize`: a kernel that keeps what the second, linear one needs.

The second takes cotangents of the results (`Pullback`) or tangents of the primals (`Linear`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad import pipeline, tracing, tree
from tracegrad.arguments import Leaf, Shape, kernel_array
from tracegrad.compiled import Compiled
from tracegrad.errors import ArgumentError
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function
from tracegrad.options import verb_options
from tracegrad.outputs import KernelCallee, run_into
from tracegrad.passes import open_loops, optimize, shared_factors
from tracegrad.transforms.cut import cut
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import vjp
from tracegrad.verbs import Recipe, Verb, gradient_verb


@dataclass(eq=False)
class Pullback:
    """Pulls a cotangent of the result back to the primals. Calling it twice is allowed.

    Attributes
    ----------
    residuals : the values kept from the forward sweep; arrays of the caller are copied, so that
        later writes to them change nothing here.
    """

    residuals: tuple[Any, ...]
    outputs: Sequence[Any]
    """One array, number or tracer per result of the function."""
    _call: Callable[..., Any]
    _flatten: Callable[[Any], list[Any]]
    _rebuild: Callable[[Sequence[Any]], tuple[Any, ...]]
    source: str = ""
    """The generated source of the pullback kernel."""
    _callee: KernelCallee | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays kept from the forward sweep."""
        return sum(r.nbytes for r in self.residuals if isinstance(r, np.ndarray))

    def __call__(self, out_bar: Any) -> tuple[Any, ...]:
        return self._rebuild(self._call(*self.residuals, *self._flatten(out_bar)))

    def into(self, out_bar: Any, *, out: Any) -> tuple[Any, ...]:
        """The same with the cotangents written to arrays: ``out`` is a tuple like the primals.

        As for `Compiled.into`: None or a number in the place of each number.
        """
        if self._callee is None:
            raise ArgumentError(
                "a pullback can't write to given arrays within a trace",
                way_out="call it without out= there",
            )
        arguments = [*self.residuals, *self._flatten(out_bar)]
        result: tuple[Any, ...] = run_into(self._callee, arguments, out, None)
        return result


@dataclass(eq=False)
class Linear:
    """Gives the tangent of the result for tangents of the primals, at one point.

    Attributes
    ----------
    residuals : the values kept from the first kernel; arrays of the caller are copied.
    """

    residuals: tuple[Any, ...]
    _call: Callable[..., Any]
    _rebuild: Callable[[Any], Any]
    _structure: tree.Structure
    _dtypes: Sequence[np.dtype]
    source: str = ""
    """The generated source of the linear kernel."""
    primals: Sequence[Any] = ()
    """The shape of each leaf of the primals; within a trace, the leaf."""

    def __call__(self, *tangents: Any) -> Any:
        leaves, structure = tree.flatten(tangents)
        if structure != self._structure:
            raise ArgumentError(
                f"the tangents have the structure {structure}, the primals have {self._structure}",
                way_out="pass one tangent per primal, a tree like it",
            )
        dots = [
            tracing.as_tangent(dot, primal, "primal")
            if tracing.is_tracer(primal)
            else _checked(dot, primal, dtype, "tangent", "primal")
            for dot, primal, dtype in zip(leaves, self.primals, self._dtypes, strict=True)
        ]
        return self._rebuild(self._call(*self.residuals, *dots))


class _Halves(Compiled, ABC):
    """A verb of one function that gives ``(out, a linear function)`` at each call."""

    name: str

    def __init__(
        self,
        fun: Callable[..., Any],
        has_aux: bool,
        argnums: int | tuple[int, ...] | None = None,
        parallel: bool = False,
    ) -> None:
        verb = Verb(self.name, has_aux=has_aux)
        if argnums is not None:
            verb = gradient_verb(self.name, argnums, None, has_aux)
        super().__init__(fun, verb, verb_options(parallel=parallel))

    @abstractmethod
    def _derived(self, traced: tracing.Traced, wrt: list[int]) -> Function:
        """The function of primals and seeds that is cut in two."""

    def _recipe(
        self, traced: tracing.Traced, shape: Shape, kinds: tuple[Leaf, ...], *, inlined: bool
    ) -> Recipe:
        moved = self._moved(shape, kinds)
        wrt = [traced.param_of(leaf) for leaf in moved]
        both = optimize(self._derived(traced, wrt))
        if not inlined:  # no derivative is taken of the halves; the factors cross the cut
            both = shared_factors(both)
        first, second = cut(both, len(traced.function.params), len(traced.function.results))
        if inlined:

            def call(*values: Any) -> Any:
                return tracing.inline(second, values)

            make = self._second(traced, shape, kinds, call, None)
        else:
            kernel = pipeline.compile_function(second, self._options.kernel)
            make = self._second(traced, shape, kinds, kernel.entry_point, kernel)
        results, has_aux = len(traced.function.results), self._verb.has_aux

        def arrange(values: Sequence[Any]) -> Any:
            primal = traced.rebuild_outputs(list(values[:results]))
            out, aux = primal if has_aux else (primal, None)
            residuals = tuple(_kept(v) for v in values[results:])
            made = make(out, values[:results], residuals)
            return (out, made, aux) if has_aux else (out, made)

        return Recipe(first, arrange, rearranges_only=False)

    def _moved(self, shape: Shape, kinds: tuple[Leaf, ...]) -> list[int]:
        """The leaves that are differentiated: all, unless the verb names arguments."""
        selection = self._binder.selection(shape, kinds)
        if self._verb.argnums is not None:
            return [leaf for group in self._verb.groups(selection) for leaf in group]
        for leaf in range(len(kinds)):
            self._verb.refuse_integer(selection, leaf)
        return list(range(len(kinds)))

    def _outputs(self, traced: tracing.Traced) -> tuple[tracing.OutputLeaf, ...]:
        """The leaves of the result; with ``has_aux`` those before ``aux``."""
        if not self._verb.has_aux:
            return traced.output_types()
        first = traced.first_of_pair()
        if first is None:
            raise ArgumentError(
                f"{self.name} with has_aux=True needs a function that returns (out, aux)",
                way_out="return a pair, or leave out has_aux",
                place=traced.place,
            )
        return first

    def _seeded(self, traced: tracing.Traced) -> list[int]:
        """The float results among `_outputs`, each once."""
        found: list[int] = []
        for each in self._outputs(traced):
            if each.result is not None and each.type.dtype.is_float and each.result not in found:
                found.append(each.result)
        return found

    @abstractmethod
    def _second(
        self,
        traced: tracing.Traced,
        shape: Shape,
        kinds: tuple[Leaf, ...],
        call: Callable[..., Any],
        kernel: pipeline.Kernel | None,
    ) -> Callable[[Any, Sequence[Any], tuple[Any, ...]], Any]:
        """Makes the linear function of (out, the results, the residuals) of a call."""


class LinearizeMaker(_Halves):
    """`linearize` of one function: gives ``(out, f_jvp)`` at each call."""

    name = "linearize"

    def _derived(self, traced: tracing.Traced, wrt: list[int]) -> Function:
        return _apart(open_loops(traced.function), wrt, self._seeded(traced))

    def _second(
        self,
        traced: tracing.Traced,
        shape: Shape,
        kinds: tuple[Leaf, ...],
        call: Callable[..., Any],
        kernel: pipeline.Kernel | None,
    ) -> Callable[[Any, Sequence[Any], tuple[Any, ...]], Linear]:
        seeded, outputs = self._seeded(traced), self._outputs(traced)
        params = [traced.function.params[traced.param_of(i)] for i in range(len(traced.params))]
        dtypes = [p.dtype.numpy for p in params]
        source = "" if kernel is None else kernel.source

        def make(out: Any, results: Sequence[Any], residuals: tuple[Any, ...]) -> Linear:
            out_leaves, structure = tree.flatten(out)

            def rebuild(dots: Any) -> Any:
                found = [dots] if len(seeded) == 1 else list(dots or ())
                at = dict(zip(seeded, found, strict=True))
                leaves = [
                    at[each.result] if each.result in at else np.zeros(np.shape(leaf))[()]
                    for each, leaf in zip(outputs, out_leaves, strict=True)
                ]
                return tree.unflatten(structure, leaves)

            return Linear(residuals, call, rebuild, shape.structure, dtypes, source)

        return make

    def __call__(self, *primals: Any) -> Any:
        made = super().__call__(*primals)
        made[1].primals = [
            leaf if tracing.is_tracer(leaf) else np.shape(leaf) for leaf in tree.flatten(primals)[0]
        ]
        return made


def _apart(function: Function, wrt: list[int], seeded: list[int]) -> Function:
    """`jvp`, its primal results computed apart from the tangents, also where a loop has both."""
    both = jvp(function, wrt, seeded)
    with Builder() as build:
        params = [build.param(p.type, p.hint) for p in both.params]
        primal = tracing.appended(function, params[: len(function.params)])
        dots = tracing.appended(both, params)[len(primal) :]
        return build.function(
            both.name, [*primal, *dots], like=both, result_names=both.result_names
        )


class PullbackMaker(_Halves):
    """`vjp` of one function: gives ``(out, pullback)`` at each call."""

    name = "vjp"

    def _derived(self, traced: tracing.Traced, wrt: list[int]) -> Function:
        return vjp(open_loops(traced.function), wrt, self._seeded(traced), apart=True)

    def _second(
        self,
        traced: tracing.Traced,
        shape: Shape,
        kinds: tuple[Leaf, ...],
        call: Callable[..., Any],
        kernel: pipeline.Kernel | None,
    ) -> Callable[[Any, Sequence[Any], tuple[Any, ...]], Pullback]:
        seeded, outputs = self._seeded(traced), self._outputs(traced)
        arranged = self._arranged(shape, kinds)
        count = len(self._moved(shape, kinds))
        source = "" if kernel is None else kernel.source

        def rebuild(bars: Any) -> Any:
            return arranged([bars] if count == 1 else list(bars))

        callee = None
        if kernel is not None:
            recipe = Recipe(
                kernel.array_form, lambda bars: rebuild(bars[0] if count == 1 else bars)
            )
            callee = KernelCallee(kernel, recipe)

        def make(out: Any, results: Sequence[Any], residuals: tuple[Any, ...]) -> Pullback:
            _, structure = tree.flatten(out)

            def flatten(out_bar: Any) -> list[Any]:
                return _seeds(out_bar, out, structure, outputs, seeded)

            return Pullback(residuals, results, call, flatten, rebuild, source, callee)

        return make

    def _arranged(self, shape: Shape, kinds: tuple[Leaf, ...]) -> Callable[[Sequence[Any]], Any]:
        """Cotangents of leaves as a tuple of those of arguments; those that the verb names."""
        if self._verb.argnums is not None:
            selection = self._binder.selection(shape, kinds)
            return self._verb.arranged(selection, self._verb.groups(selection))

        def arranged(leaves: Sequence[Any]) -> tuple[Any, ...]:
            args, kwargs = shape.rebuild(leaves)
            return (*args, kwargs) if kwargs else args

        return arranged


def _kept(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _seeds(
    out_bar: Any,
    out: Any,
    structure: tree.Structure,
    outputs: Sequence[Any],
    seeded: Sequence[int],
) -> list[Any]:
    """One cotangent per seeded result; what goes to the same result twice adds up."""
    leaves, given = tree.flatten(out_bar)
    if given != structure:
        raise ArgumentError(
            f"the cotangent has the structure {given}, the result has {structure}",
            way_out="pass a tree like the result of the function",
        )
    out_leaves, _ = tree.flatten(out)
    total: dict[int, Any] = {}
    for bar, primal, output in zip(leaves, out_leaves, outputs, strict=True):
        if output.result not in seeded:
            continue
        if tracing.is_tracer(bar) or tracing.is_tracer(primal):
            bar = tracing.as_tangent(bar, primal, "the result", "cotangent")
        else:
            dtype = output.type.dtype.numpy
            bar = _checked(bar, np.shape(primal), dtype, "cotangent", "result")
        total[output.result] = total[output.result] + bar if output.result in total else bar
    return [total[i] for i in seeded]


def _checked(given: Any, shape: Any, dtype: np.dtype, what: str, of: str) -> Any:
    """A tangent or cotangent as the kernel takes it; raises `ArgumentError` if it does not fit."""
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(
            f"a {what} has dtype {array.dtype}, the {of} has {dtype}",
            way_out=f"pass floats of the {of}'s shape",
        )
    if array.shape != shape:
        raise ArgumentError(
            f"a {what} has shape {array.shape}, the {of} has {shape}",
            way_out=f"pass an array of the {of}'s shape",
        )
    return kernel_array(array.astype(dtype, copy=False))
