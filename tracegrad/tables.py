"""The direct way of a call as a table, which machine code follows without a frame of Python.

It takes what `calls.direct_call` takes most often: arrays and numbers, in dicts, lists and tuples.
What it does not expect it leaves to that function, which is made for the same version.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tracegrad.arguments import Leaf
from tracegrad.backend.native.caller import POSSIBLE, Step, Table
from tracegrad.calls import REFUSALS, Unfit, compares_plainly, width_of
from tracegrad.tracing.captures import Captures, Path
from tracegrad.verbs import Recipe

if TYPE_CHECKING:
    from tracegrad.versions import Version


def table_call(
    version: Version, otherwise: Callable[..., Any], names: Sequence[str] | None
) -> Callable[..., Any] | None:
    """What is called in the stead of ``otherwise``, which `direct_call` made; None for nothing."""
    return _table(version, otherwise, names, into=False)


def table_into(
    version: Version, otherwise: Callable[..., Any], names: Sequence[str] | None
) -> Callable[..., Any] | None:
    """The same for `direct_into`, without a workspace."""
    return None if names is None else _table(version, otherwise, names, into=True)


def _table(
    version: Version, otherwise: Callable[..., Any], names: Sequence[str] | None, into: bool
) -> Callable[..., Any] | None:
    traced, recipe, structure = version.traced, version.recipe, version.shape.structure
    given = version.given(scratch=False) if into else None
    compiled = version.kernel.compiled if given is None else given.compiled
    if not POSSIBLE or not compiled.native or traced.written:
        return None
    width = width_of(version.shape)
    if names is not None and len(names) != width:
        names = None
    if into:
        if names is None or "out" in names:
            return None
        names = (*names, "out")
    table = Table(
        kernel=compiled.entry_point,
        names=names,
        width=width + into,
        positional=width,
        otherwise=otherwise,
        refusals=REFUSALS,
    )
    try:
        leaves: list[int] = []
        if structure.spec is None:
            leaves += range(width)
        else:
            for argument, child in enumerate(structure.spec.children()):
                _descend(table, argument, child, leaves)
        passed = [
            leaf
            for i, (leaf, kind) in enumerate(zip(leaves, version.kinds, strict=True))
            if _passes(table, leaf, kind, traced.leaf_types[i])
        ]
        passed += _captured(table, traced.captures)
        places: Sequence[int | None] = (None,) * len(recipe.converters)
        outputs: dict[int, int] = {}
        if given is not None:
            places = given.form.results
            outputs = _outputs(table, width, version, places)
            nothing = table.value()
            table.add(Step.HAVE, 0, nothing, None)
            passed += given.passed(outputs, nothing)
        for leaf in passed:
            table.add(Step.PASS, leaf)
        table.passed = len(passed)
        returned = list(range(len(places))) if given is None else given.returned
        table.add(Step.RUN, len(returned))
        _put_together(table, recipe, outputs, returned)
    except Unfit:
        return None
    return table.function(getattr(otherwise, "__name__", "call")) if table.fits() else None


# --- arguments --------------------------------------------------------------------------------


def _descend(table: Table, value: int, spec: Any, found: list[int]) -> None:
    """Rows that take one container apart: exactly the type and the keys that were traced."""
    if spec.is_leaf():
        found.append(value)
        return
    kind = spec.type
    children = spec.children()
    table.add(Step.KIND, value, p=kind)
    if kind is type(None):
        return
    parts = [table.value() for _ in children]
    if kind is dict:
        table.add(Step.KEYS, value, len(children))
        for part, key in zip(parts, spec.entries(), strict=True):
            if type(key) not in (str, int):  # others may run code of the user's
                raise Unfit
            table.add(Step.KEY, value, part, key)
    elif kind is list or issubclass(kind, tuple):
        table.add(Step.LENGTH, value, len(children))
        step = Step.LISTED if kind is list else Step.ITEM
        for place, part in enumerate(parts):
            table.add(step, value, part, place)
    elif dataclasses.is_dataclass(kind):
        for part, key in zip(parts, spec.entries(), strict=True):
            table.add(Step.ATTRIBUTE, value, part, key)
    else:
        raise Unfit
    for part, child in zip(parts, children, strict=True):
        _descend(table, part, child, found)


def _passes(table: Table, leaf: int, kind: Leaf, given: type) -> bool:
    """Rows that look at one leaf; whether the kernel gets it."""
    if kind.kind == "static":
        if not compares_plainly(kind.static_value):
            raise Unfit
        table.add(Step.SAME, leaf, p=kind.static_value)
        return False
    if kind.kind == "array" and kind.rank:
        return True  # the kernel looks at it
    if kind.kind == "array":
        assert kind.dtype is not None
        given = kind.dtype.type
    table.add(Step.KIND, leaf, p=given)
    return True


def _captured(table: Table, captures: Captures) -> list[int]:
    """Rows that look at what was captured; the values of the captured arrays."""
    for check in captures.checks.values():
        if not check.known:
            raise Unfit
        table.add(Step.SAME, _fetch(table, check.path), p=check.known[0])
    if not all(captured.rank for captured in captures.arrays.values()):
        raise Unfit  # the kernel looks at arrays that have axes, and takes others as numbers
    return [_fetch(table, captured.path) for captured in captures.arrays.values()]


def _fetch(table: Table, path: Path) -> int:
    """Rows that go where a path leads; the value there."""
    if path.place is None:
        raise Unfit
    kind, home = path.place
    value = table.value()
    if kind == "global":
        namespace, name = home
        if type(namespace) is not dict:
            raise Unfit
        table.add(Step.HAVE, 0, value, namespace)
        table.add(Step.KEY, value, value, sys.intern(name))
    else:
        table.add(Step.HAVE, 0, value, home)
        if kind == "cell":
            table.add(Step.CELL, value, value)
    for step, name in path.steps:
        if step != ".":
            raise Unfit
        table.add(Step.ATTRIBUTE, value, value, name)
    return value


def _outputs(
    table: Table, out: int, version: Version, places: Sequence[int | None]
) -> dict[int, int]:
    """Rows that take ``out`` apart, and the value of each array of it, by its result."""
    outputs, function = version.outputs, version.recipe.function
    results = [r for r in outputs.results if r is not None]
    late = any(places[r] is None and function.results[r].rank for r in results)
    if late or len(set(results)) != len(results):
        raise Unfit
    leaves: list[int] = []
    structure = outputs.structure
    if structure.spec is not None:
        _descend(table, out, structure.spec, leaves)
    elif structure.width is None:
        leaves.append(out)
    else:
        table.add(Step.KIND, out, p=tuple)
        table.add(Step.LENGTH, out, structure.width)
        for place in range(structure.width):
            leaves.append(table.value())
            table.add(Step.ITEM, out, leaves[-1], place)
    found = {}
    for leaf, result in zip(leaves, outputs.results, strict=True):
        if result is None or places[result] is None:
            table.add(Step.KIND, leaf, p=type(None))
        else:
            table.add(Step.KIND, leaf, p=np.ndarray)
            found[result] = leaf
    return found


# --- the result -------------------------------------------------------------------------------


def _put_together(
    table: Table, recipe: Recipe, outputs: dict[int, int], returned: Sequence[int]
) -> None:
    """Rows that make the user's result of the kernel's, and of the arrays that it wrote to.

    Parameters
    ----------
    returned : the results that the kernel returns, those that it was given arrays for included
        or not.
    """
    places = {result: place for place, result in enumerate(returned)}
    sources = [
        (Step.RESULT, places[r]) if r in places else (Step.VALUE, outputs[r])
        for r in range(len(recipe.converters))
    ]
    markers = [object() for _ in sources]
    numbers = {id(marker): number for number, marker in enumerate(markers)}
    used: list[int] = []

    def result(number: int) -> None:
        used.append(number)
        step, place = sources[number]
        table.add(step, place)
        convert = recipe.converters[number]
        if convert is not None and step is Step.RESULT:
            table.add(Step.APPLY, p=convert)

    def build(tree: Any) -> None:
        if id(tree) in numbers:
            result(numbers[id(tree)])
            return
        kind = type(tree)
        if kind is dict or kind is list or isinstance(tree, tuple):
            for each in tree.values() if kind is dict else tree:
                build(each)
            if kind is dict:
                if any(type(key) not in (str, int) for key in tree):
                    raise Unfit
                table.add(Step.DICT, len(tree), p=(dict.fromkeys(tree), *tree))
                return
            table.add(Step.LIST if kind is list else Step.TUPLE, len(tree))
            if kind not in (list, tuple):
                if not hasattr(kind, "_make"):
                    raise Unfit
                table.add(Step.APPLY, p=kind._make)
        elif tree is None or type(tree) in (bool, int, float, str, bytes):
            table.add(Step.CONSTANT, p=tree)
        else:  # it may hold kernel values where nobody sees them
            raise Unfit

    if recipe.rearranges_only:
        build(recipe.arrange(markers))
    else:
        for number in range(len(sources)):
            result(number)
        table.add(Step.TUPLE, len(sources))
        table.add(Step.APPLY, p=recipe.arrange)
    if sorted(used) != list(range(len(sources))):
        raise Unfit
    table.add(Step.RETURN)
