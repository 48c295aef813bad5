"""PyTensor as a contestant: the workload's text on symbols, compiled by its Numba backend."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import optree

from .case import Case
from .rebind import rebind

__all__ = ["leaves", "prepare"]


def leaves(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arrays that a compiled function takes: one for each leaf, scalars of rank zero."""
    return tuple(np.asarray(leaf) for leaf in optree.tree_leaves(args))


def prepare(case: Case, args: tuple[Any, ...]) -> Callable[..., Any]:
    """Value and gradient of ``case`` as a function of the leaves of ``args``.

    Only types are taken from ``args``: what is compiled serves every size.
    """
    import pytensor
    import pytensor.tensor as pt

    found, tree = optree.tree_flatten(args)
    kinds = [np.asarray(leaf) for leaf in found]
    symbols = [pt.tensor(dtype=leaf.dtype, shape=(None,) * leaf.ndim) for leaf in kinds]
    symbolic = optree.tree_unflatten(tree, symbols)
    text = rebind(case.text("pytensor"), _Names(pt), _Names(pt), _lax(), linalg=pt.linalg)
    value = text(*symbolic)
    argnums = (case.argnums,) if isinstance(case.argnums, int) else case.argnums
    wanted = optree.tree_leaves(tuple(symbolic[position] for position in argnums))
    outputs = [pytensor.Out(out, borrow=True) for out in (value, *pt.grad(value, wanted))]
    compute: Callable[..., Any] = pytensor.function(
        symbols, outputs, mode="NUMBA", trust_input=True
    )
    return compute


class _Names:
    """``pytensor.tensor`` under the names that NumPy has for the same functions."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def __getattr__(self, name: str) -> Any:
        symbolic = getattr(self.library, name)

        def function(*args: Any, **options: Any) -> Any:
            variable = self.library.TensorVariable
            found = optree.tree_leaves((args, options))
            if not any(isinstance(leaf, variable) for leaf in found):
                # PyTensor would take a Python number for a float32.
                return getattr(np, name)(*args, **options)
            return symbolic(*args, **options)

        return function if callable(symbolic) else symbolic

    def array(self, values: Any) -> Any:
        if not isinstance(values, list):
            return np.array(values)
        return self.library.stack([self.library.as_tensor_variable(value) for value in values])


def _lax() -> Any:
    from pytensor.gradient import zero_grad

    return SimpleNamespace(scan=_scan, stop_gradient=zero_grad)


def _scan(
    step: Callable[..., Any], init: Any, xs: Any, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """``jax.lax.scan`` in terms of ``pytensor.scan``."""
    import pytensor
    import pytensor.tensor as pt

    carry, carry_tree = optree.tree_flatten(init)
    carry = [pt.as_tensor_variable(leaf) for leaf in carry]
    sequences, x_tree = optree.tree_flatten(xs)
    output_tree = None

    def flat_step(*flat: Any) -> list[Any]:
        nonlocal output_tree
        x = optree.tree_unflatten(x_tree, flat[: len(sequences)])
        before = optree.tree_unflatten(carry_tree, flat[len(sequences) :])
        after, out = step(before, x)
        outputs, output_tree = optree.tree_flatten(out)
        # The carried types must not change: a Boolean stays one.
        kept = [
            pt.cast(leaf, old.dtype)
            for leaf, old in zip(optree.tree_leaves(after), carry, strict=True)
        ]
        return [*kept, *outputs]

    # Once by itself, to learn how many outputs there are.
    count = len(flat_step(*(sequence[0] for sequence in sequences), *carry)) - len(carry)
    results = pytensor.scan(
        flat_step,
        sequences=sequences,
        outputs_info=[*carry, *[None] * count],
        n_steps=length,
        go_backwards=reverse,
        return_list=True,
        return_updates=False,
    )
    final = [stacked[-1] for stacked in results[: len(carry)]]
    outputs = results[len(carry) :]
    if reverse:
        outputs = [stacked[::-1] for stacked in outputs]
    return (
        optree.tree_unflatten(carry_tree, final),
        optree.tree_unflatten(output_tree, outputs),
    )
