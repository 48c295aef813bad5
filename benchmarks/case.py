"""What a benchmark case is: a NumPy function, its inputs and its hand-written adjoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]
Inputs = Callable[[], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    name : what the table and the command line call it.
    function : the primal, as a NumPy user writes it; returns a scalar.
    argnums : the arguments it is differentiated in, as ``value_and_grad`` takes them.
    inputs : makes the arguments, the same ones at each call.
    limit : hand-written Numba adjoint; takes the same arguments, returns the value and the
        cotangents in the structure that ``argnums`` asks for.
    tiny : makes small arguments of the same ranks, for the tests.
    variants : adjoints that use more than the mechanical one may know (a symmetry, say),
        shown beside the limit; by name.
    sized : makes arguments of the same ranks, every size different for each number it is given;
        for the count of compilations. ``None`` where there is no size, or another case has them.
    memory : makes the arguments for the memory measurement; sizes at which a temporary that
        should not exist stands out. ``None`` means ``inputs``.
    temporary : bytes of the largest broadcast temporary that NumPy makes on the memory
        measurement's inputs and that no compiled gradient needs; 0 when there is none.
    group : ``"workload"``, ``"loop"`` (Python loops, tables of their own) or ``"call"`` (call
        overhead, kept out of the means).
    untuned : written when the compiler was done, in another shape than the others; a table of its
        own, and out of the means of the others.
    texts : by peer, the function it runs instead of ``function``, of the same arguments and value;
        ``None`` leaves the peer out. NumPy, Numba and tracegrad run ``function`` itself.
    elements : the table of times per element divides by it; 0 leaves the case out of that table.
    trips : makes arguments with a given trip count; for the table of compile times.
    """

    name: str
    function: Function
    argnums: int | tuple[int, ...]
    inputs: Inputs
    limit: Function
    tiny: Inputs
    variants: Mapping[str, Function] = field(default_factory=dict)
    sized: Callable[[int], tuple[Any, ...]] | None = None
    memory: Inputs | None = None
    temporary: int = 0
    group: str = "workload"
    untuned: bool = False
    texts: Mapping[str, Function | None] = field(default_factory=dict)
    elements: int = 0
    trips: Callable[[int], tuple[Any, ...]] | None = None

    def text(self, peer: str) -> Any:
        """The function that ``peer`` runs; ``None`` if it has none.

        PyTensor and CasADi run JAX's unless they have one of their own: loops have the form of
        ``lax.scan`` there too.
        """
        if peer in ("pytensor", "casadi") and peer not in self.texts:
            peer = "jax"
        return self.texts.get(peer, self.function)
