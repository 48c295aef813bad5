"""The loop tree: which statements share which loops.

Statements share a loop over an axis when each value that flows between them is complete at the
axis' current index and is read at exactly that index. This one rule fuses producers with
consumers, neighbours that read the same data, and the forward with the reverse sweep. The tree
is grown greedily, one group of statements at a time; see docs/decisions/0002-schedule.md.

An outermost loop may be split into blocks: *lanes* put the block's loop innermost of all (short
inner extents, much reuse), *rows* put it right below the block loop, which is then shared by row
loops and by vector loops over the block. A loop that is not split, and in which heavy values stand
beside row loops, becomes several: an inner loop would keep the heavy values from being vectorised.

What is computed of pairs has loops of its own, since the inner one ends at the index of the outer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tracegrad.schedule.statements import Data, Index, Program, Stmt
from tracegrad.schedule.strips import STRIP, NotInStrips

BLOCK = 128
SHORT = 32
REUSE = 4
REUSE_STRIDED = 3
LEAST_VECTOR = 4
MOST_JAMMED = 3


class Key(NamedTuple):
    """A loop of the tree: an axis class, in full or as the blocks ("o") or lanes ("b") of it."""

    axis: int
    part: str = "full"


@dataclass(eq=False)
class Loop:
    """A loop and what it holds, in order. ``kind`` is for the printer and for lowering; ``block``
    is how many trips one block of it has."""

    key: Key
    kind: str
    items: list[Item] = field(default_factory=list)
    block: int = BLOCK


Item: TypeAlias = "Loop | Stmt"


def statements_in(items: Sequence[Item]) -> Iterator[Stmt]:
    for item in items:
        if isinstance(item, Stmt):
            yield item
        else:
            yield from statements_in(item.items)


def _depend(some: Sequence[Stmt], others: Sequence[Stmt]) -> bool:
    """Whether some statements wait for one of the others, or for what waits for one."""
    return any(not t.deps.isdisjoint(others) for t in some)


def _add_to_one(source: Stmt, reader: Stmt) -> bool:
    """Whether two statements do nothing but add to one memory, in any order."""
    adds = source.node.name == reader.node.name == "accumulate"
    return adds and reader.node.kind == "scatter" and reader.node.operands[0] is source.node


class Candidate(NamedTuple):
    key: Key
    type: str


class TreeBuilder:
    """Grows the tree of one program."""

    def __init__(self, program: Program, position: dict[int, int]) -> None:
        self.program = program
        self.position = position
        self.reads: dict[Stmt, dict[Stmt, list[Index]]] = {}
        self.vectors: set[Stmt] = set()
        """Statements that stand apart from the row loops over their axis."""
        for stmt in program.statements:
            found = self.reads[stmt] = {}
            for node, index in stmt.reads:
                other = program.of_node.get(node)
                if other is not None:
                    found.setdefault(other, []).append(index)

    def build(self) -> list[Item]:
        return self._build(list(self.program.statements), {})

    # --- one level ---------------------------------------------------------------------

    def _build(self, stmts: list[Stmt], bound: dict[int, str]) -> list[Item]:
        """Items that run ``stmts`` (in topological order) below the loops in ``bound``.

        ``bound`` maps an axis to "full", or for a split one to "rows" or "lanes" while only its
        block loop is open, or "apart" while the loop becomes several; then to "full".
        """
        items: list[Item] = []
        waiting = list(stmts)
        first = {t: found for t in stmts if (found := self._first(t, bound)) is not None}
        while waiting:
            waiting = self._place_ready(waiting, first, items)
            if not waiting:
                break
            group, candidate = self._choose(waiting, first)
            chosen = set(group)
            waiting = [t for t in waiting if t not in chosen]
            items += self._open(candidate, group, bound)
        return items

    def _place_ready(
        self, waiting: list[Stmt], first: dict[Stmt, Candidate], items: list[Item]
    ) -> list[Stmt]:
        left: list[Stmt] = []
        unplaced = set(waiting)
        for t in waiting:
            if t not in first and t.deps.isdisjoint(unplaced):
                items.append(t)
                unplaced.discard(t)
            else:
                left.append(t)
        return left

    def _open(self, candidate: Candidate, group: list[Stmt], bound: dict[int, str]) -> list[Item]:
        axis, part = candidate.key
        if part == "full" and axis not in bound:
            split = None if bound else self._split(axis, group)
            if split is not None:
                body = self._build(group, {**bound, axis: split})
                strips = any(t.strip is not None for t in group)
                return [Loop(Key(axis, "o"), "block", body, STRIP if strips else BLOCK)]
            if any(t.strip is not None for t in group):
                raise NotInStrips
            vectors = self._apart(axis, group, bound)
            if vectors:
                self.vectors |= vectors
                return self._build(group, {**bound, axis: "apart"})
        products = self._products(group, bound)
        if products:
            rest = [t for t in group if t not in products]
            parts = [rest, products] if _depend(products, rest) else [products, rest]
            return [item for part in parts for item in self._open(candidate, part, bound)]
        body = self._build(group, {**bound, axis: "full"})
        return [Loop(candidate.key, candidate.type, body)]

    # --- which loop next ---------------------------------------------------------------

    def _unbound(self, stmt: Stmt, bound: dict[int, str]) -> list[Key]:
        """The loops that ``stmt`` still needs, outermost first."""
        if stmt.strip is not None:
            return [] if stmt.strip in bound else [Key(stmt.strip)]
        keys: list[Key] = []
        last: list[Key] = []
        for axis in stmt.loops:
            state = bound.get(axis)
            if state is None:
                keys.append(Key(axis))
            elif state == "rows":
                keys.insert(0, Key(axis, "b"))
            elif state == "apart":
                keys.insert(0, Key(axis))
            elif state == "lanes":
                last.append(Key(axis, "b"))
        return keys + last

    def _type(self, stmt: Stmt, unbound: list[Key], bound: dict[int, str]) -> str:
        key = unbound[0]
        if stmt.pair is not None and stmt.pair[1] == key.axis and stmt.pair[0] in bound:
            return "pairs"
        if stmt.node.kind == "scan":
            axis = stmt.domain[stmt.node.attributes["axis"]]
            if key.axis == axis:
                return "reverse" if stmt.node.attributes.get("reverse") else "plain"
        if key.part == "b" and (stmt.apart or stmt.node.kind == "scatter"):
            return "picks"
        if key.part == "b" and bound.get(key.axis) == "rows":
            return "lanes" if len(unbound) == 1 else "rows"
        if bound.get(key.axis) == "apart":
            return "lanes" if stmt in self.vectors else "rows" if len(unbound) > 1 else "plain"
        if (
            stmt.is_reduce
            and stmt.node.name in ("max", "min")
            and len(unbound) == 1
            and key.part == "full"
            and key.axis in stmt.reduced
            and self.program.size(stmt.extents[key.axis]) >= SHORT
        ):
            return "max"
        return "plain"

    def _first(self, stmt: Stmt, bound: dict[int, str]) -> Candidate | None:
        """The outermost loop that ``stmt`` still needs."""
        unbound = self._unbound(stmt, bound)
        return Candidate(unbound[0], self._type(stmt, unbound, bound)) if unbound else None

    def _choose(
        self, waiting: list[Stmt], first: dict[Stmt, Candidate]
    ) -> tuple[list[Stmt], Candidate]:
        candidates = dict.fromkeys(first[t] for t in waiting if t in first)
        groups = {c: self._group(c, waiting, first) for c in candidates}
        groups = {c: g for c, g in groups.items() if g}
        best: tuple[bool, int, int] | None = None
        choice: Candidate | None = None
        for number, (c, group) in enumerate(groups.items()):
            delayed = len(groups) > 1 and self._delayed(c, group, waiting, first)
            cost = sum(self.program.domain_size(t) for t in group)
            rank = (delayed, cost, number)
            if best is None or rank < best:
                best, choice = rank, c
        assert choice is not None, "statements that wait for each other"
        return groups[choice], choice

    def _group(
        self, candidate: Candidate, waiting: Sequence[Stmt], first: dict[Stmt, Candidate]
    ) -> list[Stmt]:
        """The statements of ``waiting`` that can share the candidate's loop now."""
        unplaced = set(waiting)
        group: dict[Stmt, None] = {}
        for t in waiting:
            if first.get(t) == candidate and all(
                d not in unplaced or (d in group and self._flows(d, t, candidate.key.axis))
                for d in t.deps
            ):
                group[t] = None
        return list(group)

    def _flows(self, source: Stmt, reader: Stmt, axis: int) -> bool:
        """Whether ``reader`` may stand in the loop over ``axis`` that computes ``source``."""
        indices = self.reads[reader].get(source)
        if not indices and _add_to_one(source, reader):
            return True
        if axis in source.reduced or axis not in source.out:
            return False
        if not indices:
            return False  # an ordering that is no read of elements
        dimension = source.out.index(axis)
        if source.node in reader.margined and self.program.margins[source.node][dimension] != (
            0,
            0,
        ):
            return False  # the zeros around it are elsewhere
        exact = (axis, 1, 0)
        if not reader.apart and any(isinstance(e.axis, Data) for i in indices for e in i):
            return False  # picked elements would keep what computes them from being vectorised
        return all(tuple(index[dimension]) == exact for index in indices)

    def _delayed(
        self,
        candidate: Candidate,
        group: list[Stmt],
        waiting: list[Stmt],
        first: dict[Stmt, Candidate],
    ) -> bool:
        """Whether the group grows when all that does not depend on it is done before."""
        after: set[Stmt] = set(group)
        for t in waiting:
            if t not in after and not t.deps.isdisjoint(after):
                after.add(t)
        left = [t for t in waiting if t in after]
        return len(left) < len(waiting) and len(self._group(candidate, left, first)) > len(group)

    # --- splitting ---------------------------------------------------------------------

    def _split(self, axis: int, group: list[Stmt]) -> str | None:
        """How the outermost loop over ``axis`` is split: "rows", "lanes" or not at all."""
        program = self.program
        extents = {t.extents[axis] for t in group}
        if len(extents) != 1 or program.size(next(iter(extents))) < 2 * BLOCK:
            return None
        if any(g.axis == axis for t in group for g in t.guards):
            return None
        if any(t.guarded or t.pair or t.node.kind == "scan" for t in group):
            return None
        strips = any(t.strip is not None for t in group)
        scatters = [t for t in group if t.node.kind == "scatter"]
        if scatters and (strips or any(t.loops != (axis,) for t in scatters)):
            return None
        inner = [a for t in group for a in t.loops if a != axis]
        if not inner and not strips:
            return None
        longest = max(
            (program.size(t.extents[a]) for t in group for a in t.loops if a != axis), default=0
        )
        if longest < SHORT and not scatters and (strips or self._reuse(axis, group) >= REUSE):
            return "lanes"
        if strips:
            return "rows"
        if any(t.node.heavy and t.loops == (axis,) for t in group) or self._rows_again(axis, group):
            return "rows"
        return None

    def _rows_again(self, axis: int, group: list[Stmt]) -> bool:
        """Whether rows are summed, and what is made of the sums multiplies the same rows.

        Either is done several rows at a time, and in a block rows are near for the second.
        """
        long = [t for t in group if t.is_reduce and len(t.loops) == 2 and t.loops[0] == axis]
        sums = [t for t in long if axis in t.out]
        adds = [t for t in long if axis in t.reduced]
        if not sums or not adds or max(len(sums), len(adds)) > MOST_JAMMED:
            return False
        if any(t.loops != (axis,) for t in group if t not in long) or any(t.guards for t in long):
            return False
        summed = {leaf for t in sums for leaf in t.reads if len(leaf[1]) > 1}
        return all(not summed.isdisjoint(t.reads) for t in adds)

    def _apart(self, axis: int, group: list[Stmt], bound: dict[int, str]) -> set[Stmt]:
        """What has a loop over ``axis`` of its own: heavy values, and what is made of them.

        They are kept from being vectorised by row loops, and by scans along the axis. Nothing if
        all rows end up in one loop only when the heavy values stay among them: rows that are read
        for one product and again for the next should be read once.
        """
        scans = {t for t in group if t.node.kind == "scan"}
        if any(t.pair or t.node.kind == "scatter" for t in group):
            return set()
        if any(self._unbound(t, bound) != [Key(axis)] or t.out != t.domain for t in scans):
            return set()
        if any(t.domain[t.node.attributes["axis"]] != axis for t in scans):
            return set()
        if self.program.size(group[0].extents[axis]) < LEAST_VECTOR:
            return set()
        rows = {t for t in group if len(self._unbound(t, bound)) > 1}
        heavy = {t for t in group if t.node.heavy and t not in rows | scans}
        if not (rows or scans) or not (heavy or (not scans and self._sums_rows(axis, rows))):
            return set()
        if not heavy:
            # Row sums that stand alone are computed four at a time.
            heavy = set(group) - rows
        vectors: set[Stmt] = set()
        after_rows: set[Stmt] = set()
        for t in group:  # in topological order
            if t in rows:
                if not t.deps.isdisjoint(after_rows):
                    return set()
            elif t not in scans and (t in heavy or not t.deps.isdisjoint(vectors)):
                vectors.add(t)
                if not t.deps.isdisjoint(rows | after_rows):
                    after_rows.add(t)
        return vectors

    def _products(self, group: list[Stmt], bound: dict[int, str]) -> list[Stmt]:
        """The products of ``group`` that are better off in a loop of their own, outside of lanes.

        What has two loops and the lanes left is computed several rows and columns at a time, if
        nothing else stands between the two loops.
        """
        if "lanes" not in bound.values():
            return []
        left = {t: self._unbound(t, bound) for t in group}
        if any(len(keys) > 3 or keys[-1].part != "b" for keys in left.values()):
            return []
        products = [t for t in group if len(left[t]) == 3 and t.is_reduce and t.node.name == "sum"]
        rest = [t for t in group if t not in products]
        if not products or not rest or any(len(left[t]) == 3 for t in rest):
            return []
        if len({left[t][1] for t in products}) > 1:
            return []
        crossed = _depend(products, rest) and _depend(rest, products)
        return [] if crossed else products

    def _sums_rows(self, axis: int, rows: set[Stmt]) -> bool:
        """Whether each of ``rows`` is the sum of a long row, over the same axis."""
        program = self.program
        return (
            len(rows) <= MOST_JAMMED
            and len({t.loops for t in rows}) == 1
            and all(
                t.is_reduce
                and not t.guarded
                and not t.guards
                and len(t.loops) == 2
                and axis in t.out
                and program.size(t.extents[t.loops[1]]) >= SHORT
                for t in rows
            )
        )

    def _reuse(self, axis: int, group: list[Stmt]) -> float:
        """How often an element is read again, where lanes over ``axis`` are worth it.

        Lanes read rows across. Where an array is read so, all that is read so must be read
        again and again, or row loops are better: they are for a product of a matrix and a vector.
        """
        most = 0.0
        read, volumes = 0, {}
        copies = set(self.program.packed.values())
        for t in group:
            if t.node in copies:
                continue
            places = {
                e.axis.node for _, index in t.reads for e in index if isinstance(e.axis, Data)
            }
            for node, index in t.reads:
                if len(t.loops) < 2 or not any(e.axis == axis for e in index) or node in places:
                    continue
                volume = max(self.program.volume(node.shape), 1)
                most = max(most, self.program.domain_size(t) / volume)
                made = self.program.of_node.get(node)
                fixed = node.kind == "input" or node in copies or (made is not None and made.whole)
                if fixed and any(e.axis == axis for e in index[:-1]):
                    read += self.program.domain_size(t)
                    volumes[node] = volume
        if volumes:
            heavy = any(t.node.heavy and len(t.loops) > 1 for t in group)
            enough = 1 if heavy else REUSE_STRIDED  # short rows of heavy values are slow
            return REUSE * read / (enough * sum(volumes.values()))
        return most
