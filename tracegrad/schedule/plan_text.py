"""The loop tree as text, with the storage of each value: the scheduler's own debugger."""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.schedule.pipeline import Plan
from tracegrad.schedule.statements import Stmt
from tracegrad.schedule.storage import Storage
from tracegrad.schedule.tree import Item, Loop


def explain_plan(decided: Plan) -> str:
    """One line per loop and per statement."""
    lines: list[str] = []

    def write(items: Sequence[Item], indent: int) -> None:
        for item in items:
            pad = "  " * indent
            if isinstance(item, Loop):
                name = decided.names.get(item.key.axis, "?")
                part = {"full": "", "o": " in blocks", "b": " within the block"}[item.key.part]
                kind = "" if item.kind in ("plain", "block") else f" ({item.kind})"
                lines.append(f"{pad}for {name}{part}{kind}:")
                write(item.items, indent + 1)
            else:
                lines.append(pad + _statement(decided, item))

    write(decided.tree, 0)
    return "\n".join(lines) + "\n"


def _statement(decided: Plan, stmt: Stmt) -> str:
    node = stmt.node
    name = node.hint or f"t{node.number}"
    axes = ", ".join(decided.names.get(a, f"{stmt.node.shape[d]}") for d, a in enumerate(stmt.out))
    target = f"{name}[{axes}]" if node.rank else name
    made = node.name
    if stmt.is_reduce:
        over = ", ".join(decided.names.get(a, "unrolled") for a in sorted(stmt.reduced))
        made = f"{node.name} over {over}"
    return f"{target} = {made}: {_kept(stmt, decided.storage[stmt])}"


def _kept(stmt: Stmt, storage: Storage) -> str:
    if stmt.whole:
        return "whole array"
    if storage.dims is None:
        return "register"
    shape = ", ".join(map(str, storage.shape))
    what = "result or operand" if stmt.keep else "buffer"
    added = ", summed in memory" if storage.memory else ""
    return f"{what} ({shape}){added}"
