"""The keyword options that every verb takes, and their defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from tracegrad.backend.compile import DEFAULT_FASTMATH, KernelOptions
from tracegrad.errors import ArgumentError


class JitOptions(TypedDict, total=False):
    """What `jit` takes, as `value_and_grad` documents it."""

    static_argnums: int | Sequence[int]
    static_argnames: str | Sequence[str]
    cache: bool
    parallel: bool
    fastmath: bool | Iterable[str] | None
    nogil: bool
    boundscheck: bool
    tier: Literal["kernel", "background"]


class GradOptions(JitOptions, total=False):
    """What `grad` takes besides."""

    argnum: int | Sequence[int] | None
    argnames: str | Sequence[str] | None


@dataclass(frozen=True)
class Options:
    """The options of one compiled object."""

    static_argnums: int | Sequence[int] = ()
    static_argnames: str | Sequence[str] = ()
    kernel: KernelOptions = field(default_factory=KernelOptions)
    background: bool = False
    """Whether NumPy answers as long as a kernel is being compiled."""


DEFAULT_OPTIONS = Options()


def verb_options(
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    cache: bool = True,
    parallel: bool = False,
    fastmath: bool | Iterable[str] | None = None,
    nogil: bool = False,
    boundscheck: bool = False,
    tier: Literal["kernel", "background"] = "kernel",
) -> Options:
    """The options as given by keywords; `ArgumentError` for a tier that doesn't exist."""
    if tier not in ("kernel", "background"):
        raise ArgumentError(
            f"tier is 'kernel' or 'background', not {tier!r}", way_out="leave tier out"
        )
    if fastmath is None:
        flags = DEFAULT_FASTMATH
    elif isinstance(fastmath, bool):
        flags = frozenset({"fast"}) if fastmath else frozenset()
    else:
        flags = frozenset(fastmath)
    try:
        kernel = KernelOptions(
            fastmath=flags, parallel=parallel, boundscheck=boundscheck, nogil=nogil, cache=cache
        )
    except ValueError as error:
        raise ArgumentError(
            str(error), way_out="give fastmath True, False or LLVM's names of flags"
        ) from None
    return Options(static_argnums, static_argnames, kernel, tier == "background")
