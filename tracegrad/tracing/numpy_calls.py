"""What NumPy makes of functions: vectorize, fromfunction."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import dim_or_int
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import broadcast_together, cast, operand

__all__ = ["vectorized"]


def _elements(function: Any, columns: Any) -> Any:
    return np.array([function(*row) for row in zip(*columns, strict=True)])


def vectorized(made: np.vectorize, *args: Any, **kwargs: Any) -> Any:
    """A call of what ``np.vectorize`` gave: its function at each element, in one loop.

    Results have the dtype that all of them fit in, not that of the first.
    """
    from tracegrad.tracing.hooks import TraceHooks

    if made.signature is not None or made.excluded:
        raise refuse(
            "np.vectorize", "with signature= or excluded=", "use tracegrad.vmap with in_axes"
        )
    if kwargs:
        raise refuse("np.vectorize", "with arguments by name", "give them by position")
    kinds = [np.dtype(each) for each in made.otypes or ()]
    if len(kinds) > 1:
        raise refuse("np.vectorize", "of functions with several results")
    hooks = TraceHooks(current_trace().captures)
    function = hooks.call(made.pyfunc)
    xs = [operand(each) for each in args]
    shape: Any = tuple(map(dim_or_int, broadcast_together(xs)))
    if not shape:
        found = operand(function(*xs))
    else:
        columns = tuple(np.ravel(np.broadcast_to(x, shape)) for x in xs)
        listed = operand(hooks.staged(_elements)(function, columns))  # type: ignore[arg-type]
        if listed.ndim != 1:
            raise refuse("np.vectorize", "of functions that give more than one number")
        found = np.reshape(listed, shape)
    return cast(found, kinds[0]) if kinds else found


@implements(np.fromfunction)
def fromfunction(
    function: Any, shape: Any, *, dtype: Any = float, like: Any = None, **kw: Any
) -> Any:
    from tracegrad.tracing.hooks import TraceHooks

    places = np.indices(shape, dtype=dtype)
    call = TraceHooks(current_trace().captures).call(function)
    return call(*(places[k] for k in range(len(shape))), **kw)
