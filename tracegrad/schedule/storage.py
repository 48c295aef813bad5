"""Storage, read off the loop tree: a register, an accumulator or a buffer for each statement.

What statements keep follows from where they stand. A value whose readers stand in the same
innermost loop lives in a register. Otherwise it gets a buffer with the dimensions that are not
bound where its loops and those of its readers part. A reduction whose reduced loops are its
innermost ones sums in a register; else it sums in memory, over the dimensions that are not bound
at its first reduced loop, and is set to zero just before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracegrad.ir.types import Dim
from tracegrad.schedule.margins import Margins
from tracegrad.schedule.statements import Program, Stmt
from tracegrad.schedule.tree import Item, Key, Loop


@dataclass(eq=False)
class Storage:
    """Where a statement's value is kept.

    Attributes
    ----------
    path : the loops around the statement.
    dims : dimensions of the result that its buffer has, in buffer order; None: no buffer.
    shape : the buffer's shape; a block's dimension has the block's size.
    margins : zeros before and after the elements, by dimension of the result.
    blocked : dimensions indexed by the place within the block.
    first : depth of the first reduced loop, for reductions.
    register : depth from which all loops are reduced: the register is set up there.
    memory : whether (partial) sums are added up in the buffer.
    home : depth of the loop outside of which the buffer is whole.
    """

    path: tuple[Loop, ...]
    dims: tuple[int, ...] | None = None
    shape: tuple[Dim, ...] = ()
    margins: Margins | None = None
    blocked: frozenset[int] = frozenset()
    first: int = 0
    register: int = 0
    memory: bool = False
    home: int = 0


def plan(program: Program, tree: Sequence[Item]) -> dict[Stmt, Storage]:
    """The storage of each statement."""
    paths: dict[Stmt, tuple[Loop, ...]] = {}

    def visit(items: Sequence[Item], path: tuple[Loop, ...]) -> None:
        for item in items:
            if isinstance(item, Stmt):
                paths[item] = path
            else:
                visit(item.items, (*path, item))

    visit(tree, ())
    common: dict[Stmt, int] = {
        t: 0 if t.keep else len(paths[t]) if not t.whole else 0 for t in program.statements
    }
    data_read: set[tuple[Stmt, int]] = set()  # at a position that no unrolling makes a number
    for reader in program.statements:
        for dep in reader.deps:
            shared = 0
            for mine, theirs in zip(paths[reader], paths[dep], strict=False):
                if mine is not theirs:
                    break
                shared += 1
            common[dep] = min(common[dep], shared)
        for node, index in reader.reads:
            other = program.of_node.get(node)
            if other is not None:
                for d, e in enumerate(index):
                    moving = e.axis is not None and e.axis not in program.unrolled
                    if moving or not isinstance(e.offset, int):
                        data_read.add((other, d))
    orders = {t: paths[_longest_path(program, t, paths)] for t in program.statements}
    return {
        t: _storage(program, t, paths[t], common[t], data_read, orders[t])
        for t in program.statements
    }


def _longest_path(program: Program, stmt: Stmt, paths: dict[Stmt, tuple[Loop, ...]]) -> Stmt:
    """In whose loops' order a buffer is kept: of a product in strips, a reader's."""
    if stmt.strip is None:
        return stmt
    readers = [t for t in program.statements if stmt in t.deps]
    return max([stmt, *readers], key=lambda t: len(paths[t]))


def _storage(
    program: Program,
    stmt: Stmt,
    path: tuple[Loop, ...],
    common: int,
    data_read: set[tuple[Stmt, int]],
    loops: tuple[Loop, ...],
) -> Storage:
    storage = Storage(path)
    if stmt.whole:
        return storage
    home = common
    if stmt.is_reduce:
        reduced = [loop.key.axis in stmt.reduced for loop in path]
        register = len(path)
        while register > 0 and reduced[register - 1]:
            register -= 1
        storage.register = register
        storage.memory = any(reduced[:register])
        storage.first = reduced.index(True) if True in reduced else len(path)
        if storage.memory:
            home = min(home, storage.first)
        else:
            home = min(home, register)
    elif stmt.strip is not None:
        storage.register = len(path)
        storage.memory = stmt.strip in stmt.reduced
        storage.first = 0
        if storage.memory:
            home = 0
    elif stmt.node.kind == "scatter":
        home = 0
    storage.home = home
    if not stmt.node.rank:
        if storage.memory:
            raise AssertionError("a full reduction always ends in a register")
        return storage
    bound = {loop.key for loop in path[:home]}
    dims: list[int] = []
    blocked: set[int] = set()
    must = stmt.keep or stmt.strip is not None
    for d, axis in enumerate(stmt.out):
        if stmt.keep:
            dims.append(d)
            continue
        if axis in program.unrolled:
            dims.append(d)
            must = must or (stmt, d) in data_read
            continue
        if Key(axis) in bound or Key(axis, "b") in bound:
            continue
        dims.append(d)
        must = True
        if Key(axis, "o") in bound:
            blocked.add(d)
    if not must:
        assert stmt.node not in program.margins, "margins are nowhere"
        return storage
    if not stmt.keep:
        # Buffers of our own take the order of the loops, unrolled dimensions outermost: what
        # neighbouring iterations read lies together.
        order = {loop.key.axis: depth for depth, loop in enumerate(loops)}
        dims.sort(key=lambda d: order.get(stmt.out[d], -1))
    storage.dims = tuple(dims)
    storage.blocked = frozenset(blocked)
    storage.margins = program.margins.get(stmt.node)
    sizes = {loop.key.axis: loop.block for loop in path if loop.key.part == "o"}
    storage.shape = tuple(sizes[stmt.out[d]] if d in blocked else stmt.node.shape[d] for d in dims)
    if storage.margins is not None:
        around = [sum(sides) for sides in storage.margins]
        assert all(not width or d in dims for d, width in enumerate(around)), "margins are nowhere"
        assert all(not around[d] for d in blocked), "margins in a block"
        storage.shape = tuple(size + around[d] for d, size in zip(dims, storage.shape, strict=True))
    return storage
