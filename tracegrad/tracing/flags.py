"""Flags of jumps: values that tell whether a loop was left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracegrad.ir.core import Value
from tracegrad.ops.registry import REGISTRY
from tracegrad.tracing.branching import condition_of
from tracegrad.tracing.state import Trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import wrap

__all__ = ["any_flag", "both", "clear", "negated", "replaced_flag"]


def replaced_flag(flag: Any, replaced: dict[Value, Value]) -> Any:
    if isinstance(flag, Tracer) and flag._value in replaced:
        flag._value = replaced[flag._value]
    return flag


def any_flag(flags: Sequence[Any]) -> Value:
    """Whether one of the flags is set, as a value."""
    result: Value | None = None
    for flag in flags:
        value = condition_of(flag).value
        result = value if result is None else REGISTRY["logical_or"](result, value)
    assert result is not None
    return result


def negated(value: Value) -> Value:
    result: Value = REGISTRY["logical_not"](value)
    return result


def both(one: Value, other: Value) -> Value:
    result: Value = REGISTRY["logical_and"](one, other)
    return result


def clear(trace: Trace, flags: Sequence[Any]) -> Tracer:
    """That no flag is set."""
    return wrap(trace.run(lambda: negated(any_flag(flags))))
