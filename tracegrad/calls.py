"""The direct way of a call: a Python function, made for one version, from arguments to result.

It looks at types only as far as Numba doesn't (a Python float would be taken for an int's place),
takes trees apart by their keys, fetches captured arrays, and builds the result by an expression.
Whatever it did not expect, it leaves to the general way by returning `MISS`. Its text holds no
name or value of the user's: those enter as constants.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.arguments import Leaf, Shape, kernel_array
from tracegrad.errors import GuardFailed
from tracegrad.pipeline import Kernel
from tracegrad.tracing.traced import Traced
from tracegrad.tree import Structure
from tracegrad.verbs import Recipe

__all__ = ["MISS", "direct_call"]


class _Miss:
    """The direct way does not fit these arguments."""


MISS = _Miss()

_COMPARED = (bool, int, float, complex, str, bytes)
"""Static values of these types are equal when they compare equal; others are by identity."""


class _Unfit(Exception):
    """There is no direct way for such a version."""


@dataclasses.dataclass(eq=False)
class _Text:
    """The text of a function under construction, with the constants it names."""

    lines: list[str] = dataclasses.field(default_factory=list)
    names: dict[str, Any] = dataclasses.field(default_factory=dict)
    locals: int = 0

    def constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def local(self) -> str:
        self.locals += 1
        return f"v{self.locals}"

    def add(self, line: str, level: int = 1) -> None:
        self.lines.append("    " * level + line)

    def miss_unless(self, condition: str, level: int = 1) -> None:
        self.add(f"if not ({condition}):", level)
        self.add("return MISS", level + 1)


def direct_call(
    kernel: Kernel,
    traced: Traced,
    recipe: Recipe,
    shape: Shape,
    kinds: Sequence[Leaf],
    *,
    careful: bool = False,
) -> Callable[..., Any] | None:
    """A function of positional arguments that gives the result or `MISS`; None if there is none.

    Parameters
    ----------
    careful : bring arrays into the form that kernels take and check them here, where Numba's
        dispatcher would refuse them (strided or read-only ones, other byte orders).
    """
    if shape.keywords:
        return None
    text = _Text(names={"MISS": MISS, "GuardFailed": GuardFailed})
    if careful:
        text.names["kernel"] = kernel.entry_point
    else:
        # Other ranks, dtypes or layouts must come back here, not be compiled behind our back.
        kernel.dispatcher.disable_compile()
        text.names["kernel"] = kernel.dispatcher
    text.names |= {"ndarray": np.ndarray, "kernel_array": kernel_array}
    try:
        leaves = _take_apart(text, shape.structure)
        arguments = [
            _argument(text, leaf, kind, traced.leaf_types[i], careful)
            for i, (leaf, kind) in enumerate(zip(leaves, kinds, strict=True))
        ]
    except _Unfit:
        return None
    inputs = [a for a in arguments if a is not None] + _captured(text, traced, careful)
    if traced.written:
        overlapping = text.constant(traced.overlapping)
        text.miss_unless(f"{overlapping}(({', '.join(inputs)},)) is None")
    result = _result(text, recipe)
    text.add("try:")
    text.add(f"out = kernel({', '.join(inputs)})", 2)
    text.add("except (TypeError, ValueError, OverflowError, GuardFailed):")
    text.add("return MISS", 2)
    text.add(f"return {result}")
    source = "\n".join(["def direct(*args):", *text.lines])
    exec(compile(source, "<tracegrad direct call>", "exec", dont_inherit=True), text.names)
    direct: Callable[..., Any] = text.names["direct"]
    return direct


# --- arguments --------------------------------------------------------------------------------


def _take_apart(text: _Text, structure: Structure) -> list[str]:
    """Lines that give each leaf of the arguments a local name."""
    if structure.spec is None:
        assert structure.width is not None  # the arguments are a tuple
        return _unpack(text, "args", structure.width)
    children = structure.spec.children()
    found: list[str] = []
    for name, child in zip(_unpack(text, "args", len(children)), children, strict=True):
        _descend(text, name, child, found)
    return found


def _unpack(text: _Text, sequence: str, width: int) -> list[str]:
    names = [text.local() for _ in range(width)]
    text.miss_unless(f"len({sequence}) == {width}")
    if names:
        text.add(f"{', '.join(names)}, = {sequence}")
    return names


def _descend(text: _Text, name: str, spec: Any, found: list[str]) -> None:
    """The same for one container: exactly the type and the keys that were traced."""
    if spec.is_leaf():
        found.append(name)
        return
    kind = spec.type
    children = spec.children()
    text.miss_unless(f"type({name}) is {text.constant(kind)}")
    if kind is type(None):
        return
    if kind is dict:
        text.miss_unless(f"len({name}) == {len(children)}")
        parts = [text.local() for _ in children]
        if parts:
            text.add("try:")
            for part, key in zip(parts, spec.entries(), strict=True):
                text.add(f"{part} = {name}[{text.constant(key)}]", 2)
            text.add("except KeyError:")
            text.add("return MISS", 2)
    elif kind is list or issubclass(kind, tuple):
        parts = _unpack(text, name, len(children))
    elif dataclasses.is_dataclass(kind):
        text.names["getattr"] = getattr
        parts = [text.local() for _ in children]
        for part, key in zip(parts, spec.entries(), strict=True):
            text.add(f"{part} = getattr({name}, {text.constant(key)}, None)")
    else:
        raise _Unfit
    for part, child in zip(parts, children, strict=True):
        _descend(text, part, child, found)


def _argument(text: _Text, leaf: str, kind: Leaf, given: type, careful: bool) -> str | None:
    """Lines that check one leaf, and what the kernel gets for it; None for a static leaf."""
    if kind.kind == "static":
        value = kind.static_value
        cls = type(value)
        fixed = text.constant(value)
        if cls in _COMPARED:
            same = (
                f"{leaf} is {fixed} or type({leaf}) is {text.constant(cls)} and {leaf} == {fixed}"
            )
        elif isinstance(value, type) or not any("__eq__" in vars(c) for c in cls.__mro__[:-1]):
            same = f"{leaf} is {fixed}"
        else:
            raise _Unfit
        text.miss_unless(same)
        return None
    if kind.kind == "array":
        assert kind.dtype is not None
        return _array(text, leaf, kind.dtype, kind.rank, careful)
    text.miss_unless(f"type({leaf}) is {text.constant(given)}")
    return leaf


def _array(
    text: _Text, name: str, dtype: np.dtype, rank: int, careful: bool, level: int = 1
) -> str:
    """Lines that bring an array to the kernel's form; the dispatcher checks what they don't."""
    if rank == 0:
        text.add(f"if type({name}) is ndarray:", level)
        text.add(f"{name} = {name}[()]", level + 1)
        text.miss_unless(f"type({name}) is {text.constant(dtype.type)}", level)
        return name
    text.miss_unless(f"type({name}) is ndarray", level)
    if careful:
        text.add(f"{name} = kernel_array({name})", level)
        text.miss_unless(f"{name}.ndim == {rank} and {name}.dtype == {text.constant(dtype)}", level)
    return name


def _captured(text: _Text, traced: Traced, careful: bool) -> list[str]:
    """Lines that check what was captured, and the captured arrays as the kernel gets them."""
    captures = traced.captures
    if not captures.arrays and not captures.checks:
        return []
    names = []
    text.names["LookFailed"] = Exception
    text.add("try:")
    for check in captures.checks.values():
        now = _path(text, check.path)
        text.miss_unless(f"{text.constant(check.holds_for)}({now})", 2)
    for captured in captures.arrays.values():
        name = text.local()
        text.add(f"{name} = {_path(text, captured.path)}", 2)
        names.append(_array(text, name, captured.dtype, captured.rank, careful, level=2))
    # The name is gone, or a property failed: not what was assumed.
    text.add("except LookFailed:")
    text.add("return MISS", 2)
    return names


def _path(text: _Text, path: Any) -> str:
    found = f"{text.constant(path.root)}()"
    for kind, name in path.steps:
        step = text.constant(name)
        found = f"getattr({found}, {step})" if kind == "." else f"{found}[{step}]"
    return found


# --- the result -------------------------------------------------------------------------------


def _result(text: _Text, recipe: Recipe) -> str:
    """The expression that makes the user's result of ``out``, what the kernel returned."""
    converters = recipe.converters
    count = len(converters)
    markers = [object() for _ in range(count)]
    single = count == 1
    if recipe.rearranges_only:
        arranged = recipe.arrange(markers)
        if all(each is None for each in converters):
            # What the kernel returns may be the result as it stands: one value, or a flat tuple.
            got = arranged if type(arranged) is tuple and not single else (arranged,)
            if len(got) == count and all(map(operator.is_, got, markers)):
                return "out"
        shown = {}
        for i, (marker, converter) in enumerate(zip(markers, converters, strict=True)):
            value = "out" if single else f"out[{i}]"
            if converter is not None:
                value = f"{text.constant(converter)}({value})"
            shown[id(marker)] = value
        with contextlib.suppress(_Unfit):
            return _build(text, arranged, shown)
    return f"{text.constant(recipe.assemble)}(out)"


def _build(text: _Text, tree: Any, shown: dict[int, str]) -> str:
    """An expression for a result's tree, in which the kernel's values are known by identity."""
    if id(tree) in shown:
        return shown[id(tree)]
    kind = type(tree)
    if kind is dict:
        items = (f"{text.constant(k)}: {_build(text, v, shown)}" for k, v in tree.items())
        return f"{{{', '.join(items)}}}"
    if kind is list:
        return f"[{', '.join(_build(text, each, shown) for each in tree)}]"
    if isinstance(tree, tuple):
        parts = f"({''.join(_build(text, each, shown) + ', ' for each in tree)})"
        if kind is tuple:
            return parts
        if hasattr(kind, "_make"):
            return f"{text.constant(kind)}._make({parts})"
    if tree is None or kind in _COMPARED:
        return text.constant(tree)
    # It may hold kernel values where nobody sees them.
    raise _Unfit
