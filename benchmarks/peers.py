"""The contestants: how each computes a case's value and gradient."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .case import Case
from .numba_limit import compiled_text
from .rebind import rebind

__all__ = ["PEERS", "PRIMALS", "Contestant", "Peer", "contestants", "flat"]


@dataclass(frozen=True)
class Contestant:
    """A callable with the arguments it is timed on; a call returns when its result is there."""

    call: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self) -> Any:
        return self.call(*self.args)


@dataclass(frozen=True)
class Peer:
    """A column of the table.

    Parameters
    ----------
    name : what the table and the command line call it.
    modules : imported before the clock of a first call starts; the first one's version is shown.
    prepare : gives the contestant of a case; what it does counts as part of the first call, but
        for ``place``.
    place : brings the arguments to where the peer wants them.
    gradient : whether it computes value and gradient, or only the value.
    groups : the groups of cases it takes part in; empty for all.
    """

    name: str
    modules: tuple[str, ...]
    prepare: Callable[[Case], Callable[..., Any]]
    place: Callable[[tuple[Any, ...]], tuple[Any, ...]] = tuple
    gradient: bool = True
    groups: tuple[str, ...] = ()

    def takes(self, case: Case) -> bool:
        """Whether it has a column entry for ``case`` at all."""
        return case.text(self.name) is not None and case.group in (self.groups or (case.group,))

    def version(self) -> str:
        """The version of the library. Raises ImportError when it is not installed."""
        for module in self.modules:
            importlib.import_module(module)
        return importlib.metadata.version(self.modules[0])

    def contestant(self, case: Case, args: tuple[Any, ...]) -> Contestant:
        """The contestant for ``case`` on ``args``."""
        return Contestant(self.prepare(case), self.place(args))


def _tracegrad(case: Case) -> Callable[..., Any]:
    from tracegrad import value_and_grad

    return value_and_grad(case.function, argnums=case.argnums)


def _tracegrad_primal(case: Case) -> Callable[..., Any]:
    from tracegrad import jit

    return jit(case.function)


def _jax(case: Case) -> Callable[..., Any]:
    import jax
    import jax.numpy
    import jax.scipy.special

    function = rebind(case.text("jax"), jax.numpy, jax.scipy.special)
    compiled = jax.jit(jax.value_and_grad(function, argnums=case.argnums))

    def value_and_grad(*args: Any) -> Any:
        out = compiled(*args)
        # One executable computes everything: with the value, the gradient is there too.
        out[0].block_until_ready()
        return out

    return value_and_grad


def _jax_place(args: tuple[Any, ...]) -> tuple[Any, ...]:
    import jax

    jax.config.update("jax_enable_x64", True)
    return tuple(jax.block_until_ready(jax.tree.map(jax.numpy.asarray, args)))


def _autograd(case: Case) -> Callable[..., Any]:
    import autograd
    import autograd.numpy
    import autograd.scipy.special

    function = rebind(case.text("autograd"), autograd.numpy, autograd.scipy.special)
    compute: Callable[..., Any] = autograd.value_and_grad(function, case.argnums)
    return compute


PEERS = {
    peer.name: peer
    for peer in (
        Peer("numpy", ("numpy",), lambda case: case.function, gradient=False),
        Peer(
            "numba primal",
            ("numba",),
            lambda case: compiled_text(case.function),
            gradient=False,
            groups=("loop",),
        ),
        Peer("tracegrad primal", ("tracegrad", "tracegrad.api"), _tracegrad_primal, gradient=False),
        Peer("tracegrad", ("tracegrad", "tracegrad.api"), _tracegrad),
        Peer("limit", ("numba",), lambda case: case.limit),
        Peer("jax", ("jax", "jax.numpy", "jax.scipy.special"), _jax, _jax_place),
        Peer("autograd", ("autograd", "autograd.numpy", "autograd.scipy.special"), _autograd),
    )
}

PRIMALS = tuple(peer.name for peer in PEERS.values() if not peer.gradient)


def contestants(case: Case, peers: list[str], args: tuple[Any, ...]) -> dict[str, Any]:
    """A contestant, or the exception that stands in its way, by column name."""
    found: dict[str, Any] = {}
    for name in peers:
        if not PEERS[name].takes(case):
            continue
        try:
            PEERS[name].version()
            found[name] = PEERS[name].contestant(case, args)
        except Exception as error:
            found[name] = error
        if name == "limit":
            for variant, function in case.variants.items():
                found[f"limit, {variant}"] = Contestant(function, args)
    return found


def flat(tree: Any) -> list[np.ndarray[Any, Any]]:
    """The leaves of a value or gradient as NumPy arrays, in one order for all peers."""
    import optree

    return [np.asarray(leaf) for leaf in optree.tree_leaves(tree)]
