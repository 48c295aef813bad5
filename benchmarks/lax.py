"""Stand-ins for ``jax.lax`` in the texts of array libraries; each peer puts its own in their place.

A loop that JAX can't trace has a text with ``scan`` beside it. The same text serves PyTensor and
CasADi, whose loops are given JAX's signature (`rebind` exchanges this module).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["scan", "stop_gradient"]


def scan(
    step: Callable[..., Any],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
) -> NoReturn:
    """``step(carry, x)`` returns the next carry and an output; outputs are stacked."""
    raise NotImplementedError("a peer's own loop stands here")


def stop_gradient(x: Any) -> NoReturn:
    """The value of ``x``, through which no derivative flows."""
    raise NotImplementedError("a peer's own function stands here")
