"""The contestants: how each computes a case's value and gradient."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .case import Case
from .numba_limit import compiled_text
from .rebind import rebind

__all__ = ["PEERS", "PRIMALS", "Contestant", "Peer", "contestants", "flat"]


@dataclass(frozen=True)
class Contestant:
    """A callable with the arguments it is timed on; a call returns when its result is there.

    ``read`` fetches what a call without a result has left in its buffers; ``seconds`` is what
    making the contestant took.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[], Any] | None = None
    seconds: float = 0.0

    def __call__(self) -> Any:
        result = self.call(*self.args, **self.options)
        return result if self.read is None else self.read()


@dataclass(frozen=True)
class Peer:
    """A column of the table.

    Parameters
    ----------
    name : what the table and the command line call it.
    modules : imported before the clock of a first call starts; the first one's version is shown.
    prepare : gives the function of a case, or a contestant where it takes arguments of its own;
        what it does counts as part of the first call. It may look at the kinds of the arguments.
    place : brings the arguments to where the peer wants them; does not count.
    gradient : whether it computes value and gradient, or only the value.
    fresh : whether its first call is measured in fresh processes; a gradient's, as a rule.
    groups : the groups of cases it takes part in; empty for all.
    usable : raises ImportError, which says why, when it can't take part in this run.
    """

    name: str
    modules: tuple[str, ...]
    prepare: Callable[[Case, tuple[Any, ...]], Callable[..., Any]]
    place: Callable[[tuple[Any, ...]], tuple[Any, ...]] = tuple
    gradient: bool = True
    fresh: bool = False
    groups: tuple[str, ...] = ()
    usable: Callable[[], None] = lambda: None

    def takes(self, case: Case) -> bool:
        """Whether it has a column entry for ``case`` at all."""
        return case.text(self.name) is not None and case.group in (self.groups or (case.group,))

    def version(self) -> str:
        """The version of the library. Raises ImportError when it is not installed."""
        for module in self.modules:
            importlib.import_module(module)
        self.usable()
        return importlib.metadata.version(self.modules[0])

    def contestant(self, case: Case, args: tuple[Any, ...]) -> Contestant:
        """The contestant for ``case`` on ``args``."""
        placed = self.place(args)
        start = time.perf_counter()
        made = self.prepare(case, args)
        seconds = time.perf_counter() - start
        if isinstance(made, Contestant):
            return replace(made, seconds=seconds)
        return Contestant(made, placed, seconds=seconds)


def _tracegrad(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    from tracegrad import value_and_grad

    return value_and_grad(case.function, argnums=case.argnums)


def _tracegrad_primal(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    from tracegrad import jit

    return jit(case.function)


def _entry(case: Case, args: tuple[Any, ...]) -> Contestant:
    """The compiled function itself, called without any of tracegrad's checks."""
    from tracegrad import value_and_grad

    kernel = value_and_grad(case.function, argnums=case.argnums).lower(*args)
    return Contestant(kernel.entry_point, args)


def _buffers(gradient: Any) -> Any:
    import optree

    return optree.tree_map(
        lambda leaf: np.empty_like(leaf) if isinstance(leaf, np.ndarray) else leaf, gradient
    )


#: So many calls, and what a call goes through is what it stays.
FIRST_CALLS = 20


def _into(case: Case, args: tuple[Any, ...]) -> Contestant:
    compiled: Any = _tracegrad(case, args)
    options = {"out": _buffers(compiled(*args)[1])}
    # What stands for `into` from then on is made at the first calls.
    for _ in range(FIRST_CALLS):
        compiled.into(*args, **options)
    return Contestant(compiled.into, args, options)


def _into_entry(case: Case, args: tuple[Any, ...]) -> Contestant:
    """The compiled function that writes to given arrays, called without any checks."""
    compiled: Any = _tracegrad(case, args)
    out = _buffers(compiled(*args)[1])
    version = compiled.workspace(*args).version
    given = version.given(scratch=False)
    places = zip(version.outputs.results, flat(out), strict=True)
    arrays = {result: leaf for result, leaf in places if result is not None and leaf.ndim}
    return Contestant(given.compiled.entry_point, (*args, *given.passed(arrays, None)))


def _parallel(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    from tracegrad import value_and_grad

    return value_and_grad(case.function, argnums=case.argnums, parallel=True)


def _parallel_usable() -> None:
    import numba

    from tracegrad import value_and_grad
    from tracegrad.errors import TracegradError

    if numba.get_num_threads() < 2:
        raise ImportError("one thread only")
    try:
        value_and_grad(abs, parallel=True)
    except TracegradError as error:
        raise ImportError(str(error).splitlines()[0]) from error


def _jax(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    import jax
    import jax.numpy
    import jax.scipy.linalg
    import jax.scipy.special

    function = rebind(
        case.text("jax"), jax.numpy, jax.scipy.special, jax.lax, linalg=jax.scipy.linalg
    )
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


def _autograd(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    import autograd
    import autograd.numpy
    import autograd.scipy.linalg
    import autograd.scipy.special

    names = autograd.scipy
    function = rebind(case.text("autograd"), autograd.numpy, names.special, linalg=names.linalg)
    compute: Callable[..., Any] = autograd.value_and_grad(function, case.argnums)
    return compute


def _pytensor(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    from . import peer_pytensor

    return peer_pytensor.prepare(case, args)


def _pytensor_place(args: tuple[Any, ...]) -> tuple[Any, ...]:
    from . import peer_pytensor

    return peer_pytensor.leaves(args)


def _casadi(case: Case, args: tuple[Any, ...]) -> Any:
    from . import peer_casadi

    call, read = peer_casadi.prepare(case, args)
    return Contestant(call, (), read=read)


_OURS = ("tracegrad", "tracegrad.api")

PEERS = {
    peer.name: peer
    for peer in (
        Peer("numpy", ("numpy",), lambda case, args: case.function, gradient=False),
        Peer(
            "numba primal",
            ("numba",),
            lambda case, args: compiled_text(case.function),
            gradient=False,
            groups=("loop",),
        ),
        Peer("tracegrad primal", _OURS, _tracegrad_primal, gradient=False),
        Peer("tracegrad", _OURS, _tracegrad, fresh=True),
        Peer("tracegrad entry", _OURS, _entry, groups=("call",)),
        Peer("tracegrad into", _OURS, _into, groups=("call",)),
        Peer("tracegrad into entry", _OURS, _into_entry, groups=("call",)),
        Peer(
            "tracegrad, parallel",
            _OURS,
            _parallel,
            groups=("workload", "loop"),
            usable=_parallel_usable,
        ),
        Peer("limit", ("numba",), lambda case, args: case.limit, fresh=True),
        Peer("jax", ("jax", "jax.numpy", "jax.scipy.special"), _jax, _jax_place, fresh=True),
        Peer("autograd", ("autograd", "autograd.numpy", "autograd.scipy.special"), _autograd),
        Peer("pytensor", ("pytensor", "pytensor.tensor"), _pytensor, _pytensor_place),
        Peer("casadi", ("casadi",), _casadi),
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
