"""Python source to staged function: the hooks a tracer needs, and nothing else.

Staging knows no IR. It rewrites a function so that an object given to it (the hooks) is
asked about every call, every name and every in-place operator, and leaves the rest of the
function alone. ``tracegrad.tracing`` brings the hooks.
"""

from tracegrad.staging.stage import Hooks, Scope, is_staged, stage, why_unstaged

__all__ = ["Hooks", "Scope", "is_staged", "stage", "why_unstaged"]
