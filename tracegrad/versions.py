"""What a compiled object keeps for one signature of its arguments: traces and their kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tracegrad import pipeline, tracing
from tracegrad.arguments import Leaf, Shape, kernel_array
from tracegrad.background import Pending
from tracegrad.errors import ArgumentError, GuardFailed
from tracegrad.outputs import Outputs, Workspace, run_into
from tracegrad.verbs import Recipe


@dataclass(eq=False)
class Version:
    """One trace and its kernel, for one signature and one case of the guards."""

    traced: tracing.Traced
    recipe: Recipe
    dynamic: tuple[int, ...]
    """Which leaves are kernel arguments, in order; captures follow."""
    kernel: pipeline.Kernel
    shape: Shape
    kinds: tuple[Leaf, ...]
    pending: Pending | None = None
    """There while the kernel is compiled in the background."""
    directs: dict[tuple[Any, ...], Callable[..., Any] | None] = field(default_factory=dict)
    """The direct ways made for this version, by what they are for."""
    tables: dict[tuple[Any, ...], Callable[..., Any]] = field(default_factory=dict)
    """What is called in their stead; see `tracegrad.tables`."""

    @property
    def title(self) -> str:
        return ", ".join(map(str, self.kinds))

    def run(self, leaves: Sequence[Any]) -> Any:
        """Call the kernel on checked leaves; raises `GuardFailed` if this is not its case."""
        if not self.traced.captures_hold():
            raise GuardFailed("a captured name was bound to something else")
        return self.recipe.assemble(self.call(*self.apart(leaves)))

    def call(self, *arguments: Any) -> Any:
        """What the kernel returns; as long as it is being compiled, NumPy answers."""
        pending = self.pending
        return self.kernel.entry_point(*arguments) if pending is None else pending(*arguments)

    def run_into(self, leaves: Sequence[Any], out: Any, workspace: Workspace | None) -> Any:
        """The same with results written to ``out``; leaves are of this version's case."""
        return run_into(self, self.apart(leaves), out, workspace)

    @cached_property
    def outputs(self) -> Outputs:
        """What ``out`` looks like."""
        return Outputs.of(self.recipe)

    def given(self, *, scratch: bool) -> pipeline.GivenKernel:
        """The kernel that writes to arrays of the caller, and to those of a workspace."""
        return self.kernel.given(self.outputs.wanted(), scratch)

    def apart(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments of the kernel, if no array that the function writes to is two of them."""
        traced = self.traced
        arguments = self.arguments(leaves)
        shared = traced.overlapping(arguments)
        if shared is not None:
            raise ArgumentError(
                f"{shared[0]!r} and {shared[1]!r} share memory, and the function writes to "
                f"{shared[0]!r}",
                way_out="pass a copy of one of them",
            )
        return arguments

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments of the kernel: checked leaves, then captured arrays."""
        captured = [kernel_array(a) for a in self.traced.captured_arrays()]
        return [*(leaves[i] for i in self.dynamic), *captured]


@dataclass(eq=False)
class Signature:
    """The versions compiled for one structure and one type of every leaf."""

    versions: list[Version] = field(default_factory=list)
    varying: set[tuple[int, int]] = field(default_factory=set)
    """(leaf, axis) of dimensions that were fixed once and then differed: symbolic from now on."""

    def holding(self, leaves: Sequence[Any]) -> Version | None:
        """The version whose captures and guards hold for ``leaves``."""
        for version in list(self.versions):
            if version.traced.captures_hold() and version.traced.guards_hold(leaves):
                return version
        return None
