"""Arrays of the caller: what `Compiled.into` writes to, and `Workspace`, what it works in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tracegrad import tree
from tracegrad.backend.emit import allocations
from tracegrad.errors import ArgumentError
from tracegrad.ir.core import Function
from tracegrad.ir.sizes import type_symbols
from tracegrad.ir.types import evaluate
from tracegrad.verbs import Recipe

if TYPE_CHECKING:
    from tracegrad.pipeline import GivenKernel, Kernel
    from tracegrad.versions import Version

__all__ = ["Callee", "KernelCallee", "Outputs", "Workspace", "run_into"]


class Callee(Protocol):
    """What can be called into given arrays: a version of a compiled object, or a pullback."""

    recipe: Recipe

    @property
    def outputs(self) -> Outputs: ...

    def given(self, *, scratch: bool) -> GivenKernel: ...

    def call(self, *arguments: Any) -> Any: ...


@dataclass(eq=False)
class KernelCallee:
    """A kernel and what is made of its results."""

    kernel: Kernel
    recipe: Recipe

    @cached_property
    def outputs(self) -> Outputs:
        return Outputs.of(self.recipe)

    def given(self, *, scratch: bool) -> GivenKernel:
        return self.kernel.given(self.outputs.wanted(), scratch)

    def call(self, *arguments: Any) -> Any:
        return self.kernel.entry_point(*arguments)


@dataclass(frozen=True, eq=False)
class Outputs:
    """The tree of ``out``, and which result of the kernel each of its leaves is.

    Attributes
    ----------
    results : for each leaf, the result of the kernel; None for a leaf that is no result.
    names : what a message calls each leaf.
    """

    structure: tree.Structure
    results: tuple[int | None, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> Outputs:
        markers = [_Marker(number) for number in range(len(recipe.function.results))]
        arranged = recipe.arrange(markers)
        leaves, structure = tree.flatten(arranged if recipe.part is None else arranged[recipe.part])
        results = tuple(each.number if type(each) is _Marker else None for each in leaves)
        return cls(structure, results, tuple(tree.names(structure, "out")))

    def wanted(self) -> frozenset[int]:
        """The results of the kernel that ``out`` is for."""
        return frozenset(result for result in self.results if result is not None)

    def leaves(self, out: Any) -> list[Any]:
        """The leaves of ``out``; whatever stands in the place of a number is one leaf."""
        try:
            return tree.flatten_up_to(self.structure, out)
        except ValueError as error:
            raise ArgumentError(
                f"out has not the structure of the result, which is {self.structure}: {error}",
                way_out="pass a tree like the result (for value_and_grad: like the gradient), "
                "with an array in the place of each array and None in that of each number",
            ) from None


class _Marker:
    """Stands for one result of the kernel."""

    def __init__(self, number: int) -> None:
        self.number = number


class Workspace:
    """The arrays that a kernel works in besides its results, made once for many calls.

    Made by ``f.workspace(*args)`` for the types and sizes of these arguments; used as
    ``f.into(*args, out=..., workspace=workspace)``, by one call at a time.

    Attributes
    ----------
    free : holds the arrays while no call uses them: one tuple, scratch arrays and tapes.
        Taking it out is one step, so that no second thread can.
    nbytes : the bytes of all arrays.
    made : the arrays that can't be held here and that each call still makes, as texts: those
        whose sizes show at run time only, such as the tape of a ``while``.
    """

    def __init__(self, version: Version, sizes: Mapping[str, int]) -> None:
        self.version = version
        kernel = version.given(scratch=True)
        function = kernel.form.function
        params = [function.params[p] for p in kernel.form.scratch]
        self.shapes = [_shape(p.shape, sizes) for p in params]
        arrays = tuple(
            np.empty(shape, p.dtype.numpy) for shape, p in zip(self.shapes, params, strict=True)
        )
        self.nbytes = sum(array.nbytes for array in arrays)
        self.free = [arrays]
        self.made = tuple(
            f"{each.name}: {each.dtype.name}[{', '.join(each.texts)}]"
            for each in allocations(function)
            if each.role != "result"
        )

    def __repr__(self) -> str:
        more = f", without {', '.join(self.made)}" if self.made else ""
        return (
            f"<Workspace of {len(self.shapes)} arrays, {self.nbytes:,} bytes, "
            f"for ({self.version.title}){more}>"
        )


def sizes_of(function: Function, arguments: Sequence[Any]) -> dict[str, int]:
    """The sizes that the arguments of a kernel give its symbols."""
    return {
        name: int(arguments[index]) if axis is None else arguments[index].shape[axis]
        for name, (index, axis) in function.size_sources().items()
    }


def _shape(shape: Sequence[Any], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(dim, sizes) for dim in shape)


def run_into(version: Callee, arguments: list[Any], out: Any, workspace: Workspace | None) -> Any:
    """Call the kernel of ``version`` on its arguments, with its results written to ``out``.

    Everything is checked here; the direct way leaves to this one what it does not expect.
    """
    recipe, outputs = version.recipe, version.outputs
    sizes = sizes_of(recipe.function, arguments)
    buffers: dict[int, np.ndarray] = {}
    again: list[tuple[int, np.ndarray]] = []
    late: set[int] = set()
    for leaf, result, name in zip(outputs.leaves(out), outputs.results, outputs.names, strict=True):
        value = None if result is None else recipe.function.results[result]
        if result is None or value is None or not value.rank:
            _check_number(leaf, name)
            continue
        known = sizes.keys() >= set(type_symbols(value.type))
        shape = _shape(value.shape, sizes) if known else None
        _check_buffer(leaf, name, value.dtype.numpy, value.rank, shape)
        if not known:
            late.add(result)
        if buffers.setdefault(result, leaf) is not leaf:
            again.append((result, leaf))
    everything = [*buffers.values(), *(leaf for _, leaf in again)]
    _check_apart(everything)
    if workspace is not None:
        _check_workspace(version, workspace, sizes)
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    if any(np.may_share_memory(b, a) for b in everything for a in arrays):
        # As with NumPy's ``out=``: the result is that of arrays that are apart.
        values = _several(version.call(*arguments), len(recipe.converters))
        late |= buffers.keys()
    else:
        values = _call(version, arguments, buffers, workspace)
    for result in late:
        found, leaf = values[result], buffers[result]
        if leaf.shape != found.shape:
            raise ArgumentError(
                f"an array of out has shape {leaf.shape}, the result has {found.shape}",
                way_out="pass an array of the result's shape; here it depends on values",
            )
        np.copyto(leaf, found)
        values[result] = leaf
    for result, leaf in again:
        np.copyto(leaf, values[result])
    return recipe.assemble(tuple(values) if len(values) != 1 else values[0])


def _several(raw: Any, count: int) -> list[Any]:
    """What a kernel with ``count`` results returned, one by one."""
    return [raw] if count == 1 else list(raw) if count else []


def _call(
    version: Callee,
    arguments: list[Any],
    buffers: Mapping[int, np.ndarray],
    workspace: Workspace | None,
) -> list[Any]:
    """One value per result: numbers, and the arrays that were given."""
    kernel = version.given(scratch=workspace is not None)
    form = kernel.form
    values: list[Any] = [buffers.get(result) for result in range(len(form.results))]
    given: list[Any] = kernel.passed({r: np.asarray(a) for r, a in buffers.items()}, None)
    if workspace is None:
        raw = kernel.compiled.entry_point(*arguments, *given)
    else:
        try:
            arrays = workspace.free.pop()
        except IndexError:
            raise ArgumentError(
                "the workspace is in use by another thread",
                way_out="make a workspace for each thread",
            ) from None
        try:
            raw = kernel.compiled.entry_point(*arguments, *given, *arrays)
        finally:
            workspace.free.append(arrays)
    returned = kernel.returned
    for result, value in zip(returned, _several(raw, len(returned)), strict=True):
        if form.results[result] is None:
            values[result] = value
    return values


# --- checks -----------------------------------------------------------------------------------


def _check_number(leaf: Any, name: str) -> None:
    if isinstance(leaf, np.ndarray):
        raise ArgumentError(
            f"{name} is an array, the result there is a number",
            way_out="put None there; the number is returned",
        )


def _check_buffer(
    leaf: Any, name: str, dtype: np.dtype, rank: int, shape: tuple[int, ...] | None
) -> None:
    if type(leaf) not in (np.ndarray, np.memmap):
        raise ArgumentError(
            f"{name} is {'missing' if leaf is None else f'a {type(leaf).__name__}'}, the result "
            f"there is an array of {dtype} with {rank} dimensions",
            way_out="pass a NumPy array of the result's shape and dtype",
        )
    wrong = ""
    if leaf.dtype != dtype:
        wrong = f"has dtype {leaf.dtype}, the result has {dtype}"
    elif leaf.ndim != rank or (shape is not None and leaf.shape != shape):
        wrong = f"has shape {leaf.shape}, the result has {shape or f'{rank} dimensions'}"
    elif not leaf.flags.writeable:
        wrong = "is read-only"
    elif not leaf.flags.carray:
        wrong = "is not C-contiguous and aligned"
    if wrong:
        raise ArgumentError(
            f"{name} {wrong}",
            way_out="pass a writeable C-contiguous array, such as np.empty_like(result)",
        )


def _check_apart(arrays: list[np.ndarray]) -> None:
    for number, one in enumerate(arrays):
        for other in arrays[number + 1 :]:
            if np.may_share_memory(one, other):
                raise ArgumentError(
                    "two arrays of out share memory: one result would overwrite the other",
                    way_out="pass an array of its own for each result",
                )


def _check_workspace(version: Callee, workspace: Any, sizes: Mapping[str, int]) -> None:
    if not isinstance(workspace, Workspace):
        raise ArgumentError(
            f"workspace is a {type(workspace).__name__}",
            way_out="pass what f.workspace(*args) gives",
        )
    made_for = workspace.version
    fits = made_for is version
    if fits:
        kernel = version.given(scratch=True)
        params = [kernel.form.function.params[p] for p in kernel.form.scratch]
        shapes = [_shape(p.shape, sizes) for p in params]
        fits = workspace.shapes == shapes
    if not fits:
        raise ArgumentError(
            "the workspace was made for other arguments: their types or sizes differ",
            way_out="make one for these with f.workspace(*args)",
        )
