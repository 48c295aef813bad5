"""Arguments and results as trees: dicts, tuples, lists, NamedTuples, dataclasses and None.

optree does the work, imported at the first real tree: a call with plain arrays and
scalars, the common and the fast case, never touches it. Everything that is no container
is a leaf, strings and unknown objects included; None is structure, not a leaf.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["LEAF", "Structure", "flatten", "flatten_up_to", "is_plain", "names", "unflatten"]

_NAMESPACE = "tracegrad"

_PLAIN: frozenset[type] = frozenset(
    [np.ndarray, float, int, bool, complex] + [np.dtype(code).type for code in "?bhilqBHILQefdgFDG"]
)


def is_plain(value: object) -> bool:
    """Whether ``value`` is certainly an array or a number: no tree, nothing to look into."""
    return type(value) in _PLAIN


@dataclasses.dataclass(frozen=True)
class Structure:
    """What is left of a tree when its leaves are taken out. Hashable; equal for equal shapes.

    ``spec`` is optree's, or None for the two shapes that do without it: a lone leaf
    (``width`` None) and a flat tuple of ``width`` leaves.
    """

    width: int | None = None
    spec: Any = None

    @property
    def leaves(self) -> int:
        """How many leaves the tree has."""
        if self.spec is not None:
            return int(self.spec.num_leaves)
        return 1 if self.width is None else self.width

    def __str__(self) -> str:
        if self.spec is None:
            return "*" if self.width is None else f"({', '.join('*' * self.width)})"
        return str(self.spec).removeprefix("PyTreeSpec(").removesuffix(")")


LEAF = Structure()


@functools.cache
def _optree() -> ModuleType:
    import optree

    return optree


@functools.cache
def _register(cls: type) -> None:
    """Let optree look into a dataclass: its init fields, by name, in order."""
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    rest = [field.name for field in dataclasses.fields(cls) if not field.init]

    def take_apart(value: Any) -> tuple[Iterable[Any], None, tuple[str, ...]]:
        return [getattr(value, name) for name in fields], None, tuple(fields)

    def put_together(_: None, children: Iterable[Any]) -> Any:
        # Without __init__: a leaf may be a tracer or a cotangent, which the checks a user
        # wrote in __post_init__ need not accept.
        value: Any = object.__new__(cls)
        for name, child in zip(fields, children, strict=True):
            object.__setattr__(value, name, child)
        for name in rest:
            default = cls.__dataclass_fields__[name].default  # type: ignore[attr-defined]  # a dataclass
            if default is not dataclasses.MISSING:
                object.__setattr__(value, name, default)
        return value

    _optree().register_pytree_node(cls, take_apart, put_together, namespace=_NAMESPACE)


def _is_leaf(value: object) -> bool:
    cls = type(value)
    if dataclasses.is_dataclass(cls):
        _register(cls)
    return False


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of ``tree``, in a fixed order (dicts by sorted key), and its structure."""
    if type(tree) in _PLAIN:
        return [tree], LEAF
    if type(tree) is tuple and all(type(value) in _PLAIN for value in tree):
        return list(tree), Structure(len(tree))
    leaves, spec = _optree().tree_flatten(tree, _is_leaf, namespace=_NAMESPACE)
    return _normal(leaves, spec)


def _normal(leaves: list[Any], spec: Any) -> tuple[list[Any], Structure]:
    """One structure per shape of tree, whichever way it was found."""
    if spec.is_leaf():
        return leaves, LEAF
    if spec.type is tuple and spec.num_nodes == spec.num_leaves + 1:
        return leaves, Structure(spec.num_leaves)
    return leaves, Structure(None, spec)


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree of ``structure`` holding ``leaves``; the inverse of :func:`flatten`."""
    if structure.spec is not None:
        return _optree().tree_unflatten(structure.spec, leaves)
    if structure.width is None:
        (leaf,) = leaves
        return leaf
    return tuple(leaves)


def flatten_up_to(structure: Structure, tree: Any) -> list[Any]:
    """What stands in ``tree`` in the places of the leaves of ``structure``, trees included.

    Raises `ValueError` if ``tree`` has not that structure.
    """
    if structure.spec is not None:
        _is_leaf(tree)
        leaves: list[Any] = structure.spec.flatten_up_to(tree)
        return leaves
    if structure.width is None:
        return [tree]
    if type(tree) is not tuple or len(tree) != structure.width:
        raise ValueError(f"expected a tuple of {structure.width}, got {type(tree).__name__}")
    return list(tree)


def names(structure: Structure, root: str = "") -> list[str]:
    """How Python reaches each leaf, for messages and names: ``params['w'][0]``, ``p.mean``."""
    if structure.spec is None:
        if structure.width is None:
            return [root]
        return [f"{root}[{i}]" for i in range(structure.width)]
    return [accessor.codify(root) for accessor in structure.spec.accessors()]
