"""The passes of the scheduler, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Region
from tracegrad.schedule.graph import Graph, Node
from tracegrad.schedule.lower import Lowering
from tracegrad.schedule.order import loop_order
from tracegrad.schedule.refine import refine
from tracegrad.schedule.statements import Program, Stmt
from tracegrad.schedule.storage import Storage, plan
from tracegrad.schedule.tree import Item, TreeBuilder
from tracegrad.schedule.writer import Writer

ROUNDS = 4
LOOP_NAMES = "ijklpqrs"


@dataclass
class Plan:
    """What the scheduler decided for one region."""

    program: Program
    tree: list[Item]
    storage: dict[Stmt, Storage]
    names: dict[int, str]


def make_plan(region: Region, hints: Mapping[str, int]) -> Plan:
    """Decide statements, loops and storage of ``region``."""
    graph = Graph(region)
    _separate_results(graph)
    forced: set[Node] = set()
    packed: dict[tuple[Node, Node], Node] = {}
    for _ in range(ROUNDS):
        program = Program(graph, hints, forced, packed)
        position = loop_order(program)
        tree = TreeBuilder(program, position).build()
        if not refine(program, tree, forced, packed):
            break
    else:
        program = Program(graph, hints, forced, packed)
        position = loop_order(program)
        tree = TreeBuilder(program, position).build()
    return Plan(program, tree, plan(program, tree), _names(position))


def schedule(function: Function) -> Function:
    """Loop form of ``function``: fused loops over scalars, explicit buffers."""
    decided = make_plan(function.body, function.hints)
    writer = Writer()
    lowering = Lowering(decided.program, decided.storage, writer, decided.tree, decided.names)
    results = lowering.run()
    region = writer.levels[0].region
    region.params = function.params
    builder = Builder()
    builder.region.params = region.params
    builder.region.ops = region.ops
    return builder.function(function.name, results, like=function)


def explain(function: Function) -> str:
    """The loop tree of ``function``, with the storage of each value."""
    from tracegrad.schedule.explain import explain_plan

    return explain_plan(make_plan(function.body, function.hints))


def _separate_results(graph: Graph) -> None:
    """Results are arrays of their own: no inputs, no array twice, no alias of either."""
    seen: set[Node] = set()
    for position, node in enumerate(graph.results):
        if not node.rank:
            continue
        base = node.operands[0] if node.kind == "alias" else node
        if node.kind in ("input", "alias") or base in seen:
            node = graph.results[position] = graph.copy(node)
        seen.add(node)


def _names(position: Mapping[int, int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for axis, number in sorted(position.items(), key=lambda item: item[1]):
        letter = LOOP_NAMES[number % len(LOOP_NAMES)]
        turn = number // len(LOOP_NAMES)
        names[axis] = letter if turn == 0 else f"{letter}{turn}"
    return names
