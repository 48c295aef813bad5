"""Python source to staged function: the hooks a tracer needs, and nothing else.

Staging knows no IR. It rewrites a function so that an object given to it (the hooks) is
asked about every call, name, item and in-place operator, and decides what each branch, loop
and choosing operator does. ``tracegrad.tracing`` brings the hooks; `PlainControl` has those
of control flow as plain Python answers them.
"""

from tracegrad.staging.plain import (
    IN_PLACE,
    PlainBranch,
    PlainControl,
    PlainFold,
    PlainLogic,
    PlainLoop,
    PlainScope,
    PlainStep,
    PlainTernary,
    PlainTrying,
    PlainWhile,
)
from tracegrad.staging.sites import UNBOUND, Site, Unbound, cell_of
from tracegrad.staging.stage import (
    Hooks,
    Scope,
    is_staged,
    stage,
    unstaged,
    why_native,
    why_unseen,
    why_unstaged,
)

__all__ = [
    "IN_PLACE",
    "UNBOUND",
    "Hooks",
    "PlainBranch",
    "PlainControl",
    "PlainFold",
    "PlainLogic",
    "PlainLoop",
    "PlainScope",
    "PlainStep",
    "PlainTernary",
    "PlainTrying",
    "PlainWhile",
    "Scope",
    "Site",
    "Unbound",
    "cell_of",
    "is_staged",
    "stage",
    "unstaged",
    "why_native",
    "why_unseen",
    "why_unstaged",
]
