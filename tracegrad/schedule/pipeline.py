"""The passes of the scheduler, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.schedule.graph import Graph, Node
from tracegrad.schedule.lower import Lowering
from tracegrad.schedule.order import loop_order
from tracegrad.schedule.pairs import visit_pairs_once
from tracegrad.schedule.refine import refine
from tracegrad.schedule.statements import Program, Stmt
from tracegrad.schedule.storage import Storage, plan
from tracegrad.schedule.strips import NotInStrips, idle, products_in_strips
from tracegrad.schedule.tree import Item, TreeBuilder
from tracegrad.schedule.values import signs_of
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


def make_plan(
    region: Region,
    hints: Mapping[str, int],
    *,
    top: bool = True,
    in_place: Mapping[Operation, Value] = MappingProxyType({}),
) -> Plan:
    """Decide statements, loops and storage of ``region``.

    Results of a function (``top``) are arrays of their own. What an inner region yields may be
    an array that stands elsewhere too, because no array is changed once it is complete.
    """
    graph = Graph(region, in_place)
    if top:
        _separate_results(graph)
    visit_pairs_once(graph, hints)
    forced: set[Node] = set()
    checked: set[Node] = set()
    packed: dict[tuple[Node, Node], Node] = {}
    strips = products_in_strips(graph, hints)

    def decide() -> tuple[Program, dict[int, int], list[Item]]:
        while True:
            program = Program(graph, hints, forced, packed, strips, checked)
            forced.update(program.shifted)
            position = loop_order(program)
            try:
                tree = TreeBuilder(program, position).build()
            except NotInStrips:
                strips.clear()
                continue
            whole = idle(program, tree)
            if not whole:
                return program, position, tree
            for node in whole:
                del strips[node]

    for _ in range(ROUNDS):
        program, position, tree = decide()
        if not refine(program, tree, forced, checked, packed):
            break
    else:
        program, position, tree = decide()
    return Plan(program, tree, plan(program, tree), _names(position))


def schedule_straight(function: Function) -> Function:
    """Loop form of ``function``, straight-line code: fused loops over scalars, explicit buffers.

    Raises
    ------
    UnsupportedError : the function has an operation that can't be lowered yet.
    """
    with signs_of(function):
        region = lower_region(function.body, {}, function.hints, top=True)
    builder = Builder()
    builder.region.params = region.params
    builder.region.ops = region.ops
    return builder.function(function.name, region.yields, like=function)


def lower_region(
    region: Region,
    outer: Mapping[Value, Value],
    hints: Mapping[str, int],
    *,
    top: bool = False,
    in_place: Mapping[Operation, Value] = MappingProxyType({}),
) -> Region:
    """``region`` in loop form; ``outer`` maps the values it captures to those of loop form.

    ``in_place``: additions at arrays of indices → the buffer, of loop form, that they are made to
    instead of to a new array. Nothing else in the region reads it.
    """
    decided = make_plan(region, hints, top=top, in_place=in_place)
    graph = decided.program.graph
    params = tuple(Value(p.type, p.hint) for p in region.params)
    lowered = {**outer, **dict(zip(region.params, params, strict=True))}
    for node in graph.nodes:
        if node.kind == "input" and node.value is not None:
            node.value = lowered.get(node.value, node.value)

    def nested(inner: Region, captured: Mapping[Value, Value]) -> Region:
        return lower_region(inner, captured, hints)

    writer = Writer()
    lowering = Lowering(
        decided.program, decided.storage, writer, decided.tree, decided.names, nested
    )
    results = lowering.run()
    made = writer.levels[0].region
    return Region(params, made.ops, results)


def explain(function: Function) -> str:
    """The loop tree of ``function``, with the storage of each value."""
    from tracegrad.schedule.plan_text import explain_plan

    with signs_of(function):
        return explain_plan(make_plan(function.body, function.hints))


def _separate_results(graph: Graph) -> None:
    """Results are arrays of their own: no inputs, no array twice, no alias of either."""
    seen: set[Node] = set()
    for position, node in enumerate(graph.results):
        if not node.rank:
            continue
        base = node.operands[0] if node.kind == "alias" else node
        made_by = node.operands[0].op if node.kind == "result" else None
        passed = made_by is not None and bool(made_by.regions)
        if passed or node.kind in ("input", "alias") or base in seen:
            node = graph.results[position] = graph.copy(node)
        seen.add(node)


def _names(position: Mapping[int, int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for axis, number in sorted(position.items(), key=lambda item: item[1]):
        letter = LOOP_NAMES[number % len(LOOP_NAMES)]
        turn = number // len(LOOP_NAMES)
        names[axis] = letter if turn == 0 else f"{letter}{turn}"
    return names
