"""`vjp`: a forward kernel that keeps what the way back needs, and a pullback kernel."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad import pipeline, tracing, tree
from tracegrad.arguments import Leaf, Shape, kernel_array
from tracegrad.compiled import Compiled
from tracegrad.errors import ArgumentError
from tracegrad.ir.core import Function
from tracegrad.passes import open_loops, optimize
from tracegrad.transforms.cut import cut
from tracegrad.transforms.vjp import vjp
from tracegrad.verbs import Recipe, Verb

_makers: OrderedDict[Any, PullbackMaker] = OrderedDict()
_makers_lock = threading.Lock()

KEPT_MAKERS = 256
"""How many functions `vjp` remembers; the one used longest ago is forgotten."""


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

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays kept from the forward sweep."""
        return sum(r.nbytes for r in self.residuals if isinstance(r, np.ndarray))

    def __call__(self, out_bar: Any) -> tuple[Any, ...]:
        return self._rebuild(self._call(*self.residuals, *self._flatten(out_bar)))


class PullbackMaker(Compiled):
    """`vjp` of one function: gives ``(out, pullback)`` at each call."""

    def __init__(self, fun: Callable[..., Any], has_aux: bool) -> None:
        super().__init__(fun, Verb("vjp", has_aux=has_aux))

    @classmethod
    def of(cls, fun: Callable[..., Any], has_aux: bool) -> PullbackMaker:
        """The maker kept for ``fun``; a new one if ``fun`` can't be remembered."""
        key = (fun, has_aux)
        try:
            hash(key)
        except TypeError:
            return cls(fun, has_aux)
        with _makers_lock:
            maker = _makers.get(key)
            if maker is None:
                maker = _makers[key] = cls(fun, has_aux)
            _makers.move_to_end(key)
            if len(_makers) > KEPT_MAKERS:
                _makers.popitem(last=False)
            return maker

    def _recipe(
        self, traced: tracing.Traced, shape: Shape, kinds: tuple[Leaf, ...], *, inlined: bool
    ) -> Recipe:
        selection = self._binder.selection(shape, kinds)
        for leaf in range(len(kinds)):
            self._verb.refuse_integer(selection, leaf)
        wrt = [traced.param_of(i) for i in range(len(kinds))]
        both = optimize(vjp(open_loops(traced.function), wrt, self._seeded(traced), apart=True))
        forward, back = cut(both, len(traced.function.params), len(traced.function.results))
        if inlined:

            def call_back(*values: Any) -> Any:
                return tracing.inline(back, values)

            return self._assembly(traced, forward, shape, call_back, "")
        kernel = pipeline.compile_function(back, self._options)
        return self._assembly(traced, forward, shape, kernel.entry_point, kernel.source)

    def _seeded(self, traced: tracing.Traced) -> list[int]:
        """The float results that take a cotangent: all, or those before ``aux``."""
        outputs = traced.output_types()
        if self._verb.has_aux:
            first = traced.first_of_pair()
            if first is None:
                raise ArgumentError(
                    "vjp with has_aux=True needs a function that returns (out, aux)",
                    way_out="return a pair, or leave out has_aux",
                    place=traced.place,
                )
            outputs = first
        found: list[int] = []
        for each in outputs:
            if each.result is not None and each.type.dtype.is_float and each.result not in found:
                found.append(each.result)
        return found

    def _assembly(
        self,
        traced: tracing.Traced,
        forward: Function,
        shape: Shape,
        call_back: Callable[..., Any],
        source: str,
    ) -> Recipe:
        results = len(traced.function.results)
        seeded = self._seeded(traced)
        has_aux = self._verb.has_aux
        outputs = traced.first_of_pair() if has_aux else traced.output_types()
        assert outputs is not None
        count = shape.structure.leaves

        def rebuild(bars: Any) -> tuple[Any, ...]:
            leaves = [bars] if count == 1 else list(bars)
            args, kwargs = shape.rebuild(leaves)
            return (*args, kwargs) if kwargs else args

        def arrange(values: Sequence[Any]) -> Any:
            primal = traced.rebuild_outputs(list(values[:results]))
            out, aux = primal if has_aux else (primal, None)
            _, structure = tree.flatten(out)

            def flatten(out_bar: Any) -> list[Any]:
                return _seeds(out_bar, out, structure, outputs, seeded)

            residuals = tuple(_kept(v) for v in values[results:])
            pullback = Pullback(residuals, values[:results], call_back, flatten, rebuild, source)
            return (out, pullback, aux) if has_aux else (out, pullback)

        return Recipe(forward, arrange, rearranges_only=False)


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
        if not tracing.is_tracer(bar):
            bar = _checked(bar, primal, output.type.dtype.numpy)
        total[output.result] = total[output.result] + bar if output.result in total else bar
    return [total[i] for i in seeded]


def _checked(bar: Any, primal: Any, dtype: np.dtype) -> Any:
    array = np.asarray(bar)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(
            f"a cotangent has dtype {array.dtype}, the result has {dtype}",
            way_out="pass floats of the result's shape",
        )
    if array.shape != np.shape(primal):
        raise ArgumentError(
            f"a cotangent has shape {array.shape}, the result has {np.shape(primal)}",
            way_out="pass an array of the result's shape",
        )
    return kernel_array(array.astype(dtype, copy=False))
