"""The direct way of a call: a Python function, made for one version, from arguments to result.

It looks at types only as far as the kernel doesn't (a Python float would be taken for an int's
place), takes trees apart by their keys, fetches captured arrays, and builds the result by an
expression. Whatever it did not expect, it leaves to the general way. Its text holds no value of the
user's: those enter as constants. Parameters are called as the user's function calls them, where no
argument may be left out: so Python itself brings arguments given by name into order.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import operator
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tracegrad.arguments import Leaf, Shape, kernel_array
from tracegrad.backend.compile import CompiledKernel
from tracegrad.errors import GuardFailed
from tracegrad.outputs import Outputs, Workspace
from tracegrad.same import same_value
from tracegrad.tracing.traced import Traced
from tracegrad.verbs import Recipe

if TYPE_CHECKING:
    from tracegrad.versions import Version

__all__ = [
    "CALLS_BEFORE",
    "MISS",
    "REFUSALS",
    "Tables",
    "Unfit",
    "after_some_calls",
    "compares_plainly",
    "direct_call",
    "direct_into",
    "width_of",
]


CALLS_BEFORE = 8
"""Calls of a version by its function of Python before there is a table: a call or two are not
worth reading the code for it."""


class _Miss:
    """Stands for an argument that was not given, and for a result that there is none of."""


MISS = _Miss()

General: TypeAlias = Callable[..., Any]

_COMPARED = (bool, int, float, complex, str, bytes)
"""Static values of these types are equal when they compare equal; others are by identity."""


class Unfit(Exception):
    """There is no direct way for such a version."""


@dataclasses.dataclass(eq=False)
class _Text:
    """The text of a function under construction, with the constants it names."""

    miss: str = ""
    """The line that leaves the call to the general way."""
    trusting: bool = False
    """Whether the kernel refuses by itself what is no array: our compiler's does."""
    names: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[str] = dataclasses.field(default_factory=list)
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
        self.add(self.miss, level + 1)

    def function(self, name: str, parameters: str) -> Callable[..., Any]:
        source = "\n".join([f"def {name}({parameters}):", *self.lines])
        exec(compile(source, "<tracegrad direct call>", "exec", dont_inherit=True), self.names)
        made: Callable[..., Any] = self.names[name]
        return made


def direct_call(
    version: Version, general: General, *, names: Sequence[str] | None, careful: bool = False
) -> Callable[..., Any] | None:
    """What is called in the stead of a compiled object; None if there is no direct way.

    Parameters
    ----------
    general : the general way: takes the positional and the keyword arguments.
    names : those of the parameters, if each call gives them all and may do so by name; else None.
    careful : bring arrays into the form that kernels take and check them here, where the
        kernel would refuse them (strided or read-only ones, other byte orders).
    """
    recipe, shape = version.recipe, version.shape
    if shape.keywords:
        return None
    text = _Text()
    arguments, head = _parameters(text, general, shape, names, "")
    _name_kernel(text, version.kernel.compiled, careful)
    try:
        inputs = _inputs(text, arguments, version, careful)
    except Unfit:
        return None
    text.add("try:")
    text.add(f"raw = kernel({', '.join(inputs)})", 2)
    count = len(recipe.converters)
    values = ["raw"] if count == 1 else [f"raw[{i}]" for i in range(count)]
    _return_or_miss(text, _result(text, recipe, values))
    return text.function("direct", head)


class Tables:
    """Whether tables may be made, which reads code, or makes it, for the first one.

    Not in a forked child, if its parent had made none: a thread of the parent may have been about
    to, and what it had locked stays locked in the child.
    """

    made = False
    forked = False

    @classmethod
    def possible(cls) -> bool:
        return cls.made or not cls.forked

    @classmethod
    def _note_fork(cls) -> None:
        cls.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Tables._note_fork)


def after_some_calls(
    direct: Callable[..., Any], tabulate: Callable[[], Callable[..., Any] | None]
) -> Callable[..., Any]:
    """``direct``; after `CALLS_BEFORE` calls what ``tabulate`` makes, if it makes anything.

    A caller may keep what is returned here: it goes on to be quick.
    """
    left, quickest = CALLS_BEFORE, direct

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left, quickest
        if left >= 0:
            left -= 1
            if left < 0:
                quickest = tabulate() or direct
        return quickest(*args, **kwargs)

    return call


def direct_into(
    version: Version, general: General, *, names: Sequence[str] | None, careful: bool, scratch: bool
) -> Callable[..., Any] | None:
    """The same for `Compiled.into`, whose general way takes ``out`` and ``workspace`` too.

    Parameters
    ----------
    scratch : whether it is for calls with a workspace or for those without.
    """
    recipe, shape, outputs = version.recipe, version.shape, version.outputs
    given = version.given(scratch=scratch)
    form = given.form
    results = [r for r in outputs.results if r is not None]
    late = any(form.results[r] is None and recipe.function.results[r].rank for r in results)
    # A result in two places, or one whose size shows at run time, is copied by the general way.
    if shape.keywords or late or len(set(results)) != len(results):
        return None
    text = _Text()
    arguments, head = _parameters(text, general, shape, names, ", out, workspace")
    _name_kernel(text, given.compiled, careful)
    try:
        inputs = _inputs(text, arguments, version, careful)
        leaves = _leaves_of_out(text, outputs, recipe, form.results, careful)
    except Unfit:
        return None
    returned = given.returned
    raw = ["raw"] if len(returned) == 1 else [f"raw[{i}]" for i in range(len(returned))]
    inputs += given.passed(leaves, "None")
    sources = dict(zip(returned, raw, strict=True)) | leaves
    values = [sources[r] for r in range(len(form.results))]
    if scratch:
        text.names["Workspace"] = Workspace
        mine = f"workspace.version is {text.constant(version)}"
        text.miss_unless(f"type(workspace) is Workspace and {mine}")
        text.add("free = workspace.free")
        text.add("try:")
        text.add("arrays = free.pop()", 2)
        text.add("except IndexError:")
        text.add(text.miss, 2)
        inputs.append("*arrays")
    else:
        text.miss_unless("workspace is None")
    text.add("try:")
    text.add(f"raw = kernel({', '.join(inputs)})", 2)
    # The workspace is not to be in use while the general way looks at it.
    after = "free.append(arrays)" if scratch else None
    _return_or_miss(text, _result(text, recipe, values), after)
    return text.function("into", head)


REFUSALS = (TypeError, ValueError, OverflowError, GuardFailed)
"""What comes of arguments that a kernel is not for; the general way finds out which."""


def _return_or_miss(text: _Text, result: str, after: str | None = None) -> None:
    """What follows the call of the kernel in a ``try``; the general way's errors are its own."""
    text.names["REFUSALS"] = REFUSALS
    text.add("except REFUSALS:")
    text.add("pass", 2)
    text.add("else:")
    text.add(f"return {result}", 2)
    if after is not None:
        text.add("finally:")
        text.add(after, 2)
    text.add(text.miss)


def _name_kernel(text: _Text, compiled: CompiledKernel, careful: bool) -> None:
    # Other ranks, dtypes or layouts must come back here, not be compiled behind our back.
    text.names["kernel"] = compiled.entry_point if careful else compiled.checked
    text.trusting = compiled.native and not careful
    text.names |= {"ndarray": np.ndarray, "kernel_array": kernel_array}


def _parameters(
    text: _Text, general: General, shape: Shape, names: Sequence[str] | None, more: str
) -> tuple[list[str], str]:
    """The local names of the arguments, and the parameters of the function.

    Parameters
    ----------
    more : what the general way gets after positional and keyword arguments.
    """
    text.names |= {"MISS": MISS, "general": general, "present": _present}
    width = width_of(shape)
    options = ", out=MISS, workspace=None" if more else ""
    if names is not None and len(names) == width and not any(map(_is_taken, names)):
        arguments = list(names)
        passed = "".join(f"{argument}, " for argument in arguments)
        text.miss = f"return general(({passed}), {{}}{more})"
        star = ", *" if options else ""
        return arguments, f"{', '.join(arguments)}{star}{options}".removeprefix(", ")
    arguments = [text.local() for _ in range(width)]
    passed = "".join(f"{argument}, " for argument in arguments)
    text.miss = f"return general(present(({passed}*rest)), keywords{more})"
    text.miss_unless("not (rest or keywords)")
    head = "".join(f"{argument}=MISS, " for argument in arguments) + ("/, " if arguments else "")
    return arguments, f"{head}*rest{options}, **keywords"


def _is_taken(name: str) -> bool:
    """Whether a name of the user's has a meaning in the text of a direct way."""
    return name in _WORDS or hasattr(builtins, name) or re.fullmatch(r"[vc]\d+", name) is not None


_WORDS = frozenset(
    {
        *("MISS", "REFUSALS", "LookFailed", "Workspace", "ndarray", "kernel", "kernel_array"),
        *("general", "present", "raw", "out", "workspace", "rest", "keywords", "free", "arrays"),
    }
)


def _present(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments that were given: the first ones."""
    return tuple(argument for argument in arguments if argument is not MISS)


# --- arguments --------------------------------------------------------------------------------


def width_of(shape: Shape) -> int:
    """How many arguments the call has."""
    structure = shape.structure
    width = structure.width if structure.spec is None else len(structure.spec.children())
    assert width is not None  # the arguments are a tuple
    return width


def _inputs(text: _Text, arguments: Sequence[str], version: Version, careful: bool) -> list[str]:
    """Lines that check the arguments, and what the kernel gets for them."""
    traced, structure = version.traced, version.shape.structure
    leaves: list[str] = []
    if structure.spec is None:
        leaves += arguments
    else:
        for name, child in zip(arguments, structure.spec.children(), strict=True):
            _descend(text, name, child, leaves)
    taken = [
        _argument(text, leaf, kind, traced.leaf_types[i], careful)
        for i, (leaf, kind) in enumerate(zip(leaves, version.kinds, strict=True))
    ]
    inputs = [each for each in taken if each is not None] + _captured(text, traced, careful)
    if traced.written:
        overlapping = text.constant(traced.overlapping)
        text.miss_unless(f"{overlapping}(({', '.join(inputs)},)) is None")
    return inputs


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
            text.add(text.miss, 2)
    elif kind is list or issubclass(kind, tuple):
        parts = _unpack(text, name, len(children))
    elif dataclasses.is_dataclass(kind):
        text.names["getattr"] = getattr
        parts = [text.local() for _ in children]
        for part, key in zip(parts, spec.entries(), strict=True):
            text.add(f"{part} = getattr({name}, {text.constant(key)}, None)")
    else:
        raise Unfit
    for part, child in zip(parts, children, strict=True):
        _descend(text, part, child, found)


def _argument(text: _Text, leaf: str, kind: Leaf, given: type, careful: bool) -> str | None:
    """Lines that check one leaf, and what the kernel gets for it; None for a static leaf."""
    if kind.kind == "static":
        value = kind.static_value
        cls = type(value)
        fixed = text.constant(value)
        if cls is complex or (cls is float and value == 0):  # 0.0 == -0.0
            text.names["same_value"] = same_value
            same = f"same_value({leaf}, {fixed})"
        elif cls in _COMPARED:
            same = (
                f"{leaf} is {fixed} or type({leaf}) is {text.constant(cls)} and {leaf} == {fixed}"
            )
        elif compares_plainly(value):
            same = f"{leaf} is {fixed}"
        else:
            raise Unfit
        text.miss_unless(same)
        return None
    if kind.kind == "array":
        assert kind.dtype is not None
        return _array(text, leaf, kind.dtype, kind.rank, careful)
    text.miss_unless(f"type({leaf}) is {text.constant(given)}")
    return leaf


def compares_plainly(value: Any) -> bool:
    """Whether a static value that is the very object that was traced is the same value."""
    cls = type(value)
    plain = not any("__eq__" in vars(c) for c in cls.__mro__[:-1])
    return cls in _COMPARED or isinstance(value, type) or plain


def _array(
    text: _Text, name: str, dtype: np.dtype, rank: int, careful: bool, level: int = 1
) -> str:
    """Lines that bring an array to the kernel's form; the dispatcher checks what they don't."""
    if rank == 0:
        text.add(f"if type({name}) is ndarray:", level)
        text.add(f"{name} = {name}[()]", level + 1)
        text.miss_unless(f"type({name}) is {text.constant(dtype.type)}", level)
        return name
    if not text.trusting:
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
    text.add(text.miss, 2)
    return names


def _path(text: _Text, path: Any) -> str:
    found = f"{text.constant(path.root)}()"
    for kind, name in path.steps:
        step = text.constant(name)
        found = f"getattr({found}, {step})" if kind == "." else f"{found}[{step}]"
    return found


# --- the result -------------------------------------------------------------------------------


def _leaves_of_out(
    text: _Text,
    outputs: Outputs,
    recipe: Recipe,
    places: Sequence[int | None],
    careful: bool,
) -> dict[int, str]:
    """Lines that check the leaves of ``out``, and the local name of each array, by its result."""
    leaves: list[str] = []
    structure = outputs.structure
    if structure.spec is not None:
        _descend(text, "out", structure.spec, leaves)
    elif structure.width is None:
        leaves.append("out")
    else:
        text.miss_unless(f"type(out) is {text.constant(tuple)}")
        leaves += _unpack(text, "out", structure.width)
    found = {}
    for leaf, result in zip(leaves, outputs.results, strict=True):
        if result is None or places[result] is None:
            text.miss_unless(f"type({leaf}) is not ndarray")
            continue
        text.miss_unless(f"type({leaf}) is ndarray")
        if careful:
            value = recipe.function.results[result]
            dtype = text.constant(value.dtype.numpy)
            right = f"{leaf}.ndim == {value.rank} and {leaf}.dtype == {dtype}"
            text.miss_unless(f"{right} and {leaf}.flags.carray")
        found[result] = leaf
    return found


def _result(text: _Text, recipe: Recipe, values: Sequence[str]) -> str:
    """The expression that makes the user's result of ``values``, one text per kernel result."""
    markers = [object() for _ in values]
    if recipe.rearranges_only:
        arranged = recipe.arrange(markers)
        if not any(recipe.converters) and all(value.startswith("raw") for value in values):
            # What the kernel returns may be the result as it stands: one value, or a flat tuple.
            got = arranged if type(arranged) is tuple and len(values) != 1 else (arranged,)
            if len(got) == len(values) and all(map(operator.is_, got, markers)):
                return "raw"
    shown = [
        f"{text.constant(converter)}({value})" if converter and value.startswith("raw") else value
        for value, converter in zip(values, recipe.converters, strict=True)
    ]
    if recipe.rearranges_only:
        with contextlib.suppress(Unfit):
            return _build(text, arranged, dict(zip(map(id, markers), shown, strict=True)))
    return f"{text.constant(recipe.arrange)}(({''.join(f'{value}, ' for value in shown)}))"


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
    raise Unfit
