"""Running passes one after the other, under the eyes of observers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, TextIO, TypeAlias

from tracegrad.errors import InternalError
from tracegrad.ir.core import Function
from tracegrad.ir.text import canonical, print_function
from tracegrad.ir.verifier import VerificationError, verify

Pass: TypeAlias = Callable[[Function], Function]


class Observer(Protocol):
    """Called after each pass."""

    def __call__(self, name: str, before: Function, after: Function, seconds: float) -> None: ...


@dataclass(frozen=True)
class Pipeline:
    """Passes with names, in order."""

    passes: tuple[tuple[str, Pass], ...]

    def __call__(self, function: Function, observers: Sequence[Observer] = ()) -> Function:
        """The function after every pass; each observer sees each step."""
        for name, transform in self.passes:
            start = perf_counter()
            after = transform(function)
            seconds = perf_counter() - start
            for observe in observers:
                observe(name, function, after, seconds)
            function = after
        return function


def verifying(name: str, before: Function, after: Function, seconds: float) -> None:
    """An observer that checks the invariants, and says which pass broke one."""
    try:
        verify(after)
    except VerificationError as error:
        raise InternalError(f"after the pass {name}: {error.message}") from error
    types = [[v.type for v in f.results] for f in (before, after)]
    if types[0] != types[1] or [p.type for p in before.params] != [p.type for p in after.params]:
        raise InternalError(f"the pass {name} changed the type of the function to {types[1]}")


@dataclass
class Printing:
    """An observer that prints the function after each pass that changed it."""

    out: TextIO = field(default_factory=lambda: sys.stderr)

    def __call__(self, name: str, before: Function, after: Function, seconds: float) -> None:
        if canonical(before) == canonical(after):
            print(f"; {name}: no change", file=self.out)
        else:
            print(f"; after {name}\n{print_function(after)}", file=self.out)


@dataclass
class Timings:
    """An observer that adds up the seconds of each pass."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, before: Function, after: Function, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
