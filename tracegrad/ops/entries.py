"""Declaring an op that is one of SciPy's Cython functions; see `tracegrad.backend.special`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.types import ArrayType, Dim, f32
from tracegrad.ops.registry import Contribution, OpDef, Samples, elementwise, float_type

NO_CLOSED_FORM = "it has no closed form"
POINTS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-310, 40.0, -700.0)


def scipy_function(
    name: str,
    *,
    doc: str,
    samples: Samples,
    source: str,
    operands: int = 1,
    local: Callable[..., tuple[Contribution, ...]] | None = None,
    fixed: Mapping[int, str] | None = None,
    once: tuple[int, ...] = (),
    nondifferentiable: str | None = None,
    function: str = "",
    result: int | None = None,
    cost: float = 100.0,
) -> OpDef:
    """Declare the op ``name``: it computes in f64, and rounds where its operands are f32.

    Parameters
    ----------
    function, result : SciPy's ufunc and which of its results it is, where ``name`` is not itself
        the ufunc.
    """
    ufunc = function or name
    picked = "" if result is None else f"[{result}]"

    def reference(*given: Any) -> Any:
        import scipy.special

        found = getattr(scipy.special, ufunc)(*(np.asarray(x, np.float64) for x in given))
        found = found if result is None else found[result]
        return np.asarray(found, np.asarray(given[0]).dtype)

    def scalar(
        texts: Sequence[str],
        type: ArrayType,
        attributes: Mapping[str, Any],
        dims: Callable[[Dim], str],
    ) -> str:
        text = f"{name}({', '.join(texts)})"
        return f"np.float32({text})" if type.dtype is f32 else text

    def array(
        texts: Sequence[str],
        type: ArrayType,
        attributes: Mapping[str, Any],
        dims: Callable[[Dim], str],
    ) -> str:
        # SciPy's loops of float32 may compute in it.
        single = type.dtype is f32
        given = ", ".join(f"np.float64({x})" if single else x for x in texts)
        return f"scipy.special.{ufunc}({given}){picked}{'.astype(np.float32)' if single else ''}"

    return elementwise(
        name,
        doc=doc,
        reference=reference,
        scalar=scalar,
        special=(name,),
        array=array,
        infer=_of_count(operands),
        cost=cost,
        local=local,
        fixed=fixed,
        once=once,
        nondifferentiable=nondifferentiable,
        samples=samples,
        source=source,
    )


def _of_count(count: int) -> Callable[..., ArrayType]:
    def infer(*types: ArrayType, **attributes: Any) -> ArrayType:
        if len(types) != count:
            raise TypeError(f"{count} operands are expected, not {len(types)}")
        return float_type(*types)

    return infer
