"""The scheduler's view of a region: a hash-consed graph of array nodes.

Reading array form, this module unites what the scheduler need not tell apart:

- views compose, and a view that changes nothing disappears;
- products that BLAS does not take (`dot` of low rank, `matmul`, tiny matrices) become a
  multiplication below a sum, so that they are fused like any other reduction;
- `concatenate` and a strided `pad` become *assemble*: a buffer written part by part;
- a `reshape` that only moves dimensions of size 1 is a view.

Node kinds: ``input const table size iota ew view pad reduce gemm gather place assemble part
scatter scan alias whole result``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log
from types import MappingProxyType
from typing import Any

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols
from tracegrad.ir.types import ArrayType, Dim, DType, Shape, boolean
from tracegrad.schedule.contractions import sum_of
from tracegrad.schedule.picked import added_to_rows, is_zero
from tracegrad.schedule.scatters import additions
from tracegrad.schedule.strided import interleaved, strided_pad

REDUCTIONS = frozenset({"sum", "prod", "max", "min", "any", "all"})
SCANS = frozenset({"cumsum", "cumprod", "recurrence"})
UNROLL_LIMIT = 8

ViewMap = tuple[tuple[int | None, Dim, int], ...]


class Node:
    """One array value: how it is made from other nodes.

    Attributes
    ----------
    kind : see the module docstring.
    op : the operation it comes from (its opdef, location, part), None for inputs.
    value : the IR value that it stands for, when there is one.
    """

    __slots__ = (
        "attributes",
        "hint",
        "kind",
        "location",
        "name",
        "number",
        "op",
        "operands",
        "part",
        "type",
        "value",
    )

    def __init__(
        self,
        number: int,
        kind: str,
        name: str,
        operands: tuple[Node, ...],
        type: ArrayType,
        attributes: Mapping[str, Any],
        op: Operation | None,
        value: Value | None,
    ) -> None:
        self.number = number
        self.kind = kind
        self.name = name
        self.operands = operands
        self.type = type
        self.attributes = attributes
        self.op = op
        self.value = value
        self.hint = value.hint if value is not None else ""
        self.location = op.location if op is not None else None
        self.part = op.part if op is not None else "forward"

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    def sizes(self) -> tuple[Any, ...]:
        """The attributes, which may mention sizes."""
        return tuple(self.attributes.values())

    @property
    def heavy(self) -> bool:
        """An elementwise op that is computed once and placed."""
        return self.kind == "ew" and self.op is not None and self.op.opdef.heavy

    def __repr__(self) -> str:
        return f"<{self.number} {self.kind} {self.name} {self.hint}: {self.type}>"


class Graph:
    """Nodes of one region, the results wanted, and the operations that must run."""

    def __init__(
        self, region: Region, in_place: Mapping[Operation, Value] = MappingProxyType({})
    ) -> None:
        self.nodes: list[Node] = []
        self.of_value: dict[Value, Node] = {}
        self.effects: list[Node] = []
        self.binders: dict[str, Node] = {}
        """What finds out a size that is known at run time only, by the symbol of the size."""
        self._consed: dict[Any, Node] = {}
        rows = additions(region.ops, region.users())
        self._goes_on = {op for op, first in rows.items() if op.operands[0] is not first}
        self._in_place = in_place
        for param in region.params:
            self.of_value[param] = self.input(param)
        for op in region.ops:
            self._add(op)
        self.results = [self.node(v) for v in region.yields]

    # --- making nodes ------------------------------------------------------------------

    def node(self, value: Value) -> Node:
        """The node of ``value``; a value from outside the region is an input."""
        found = self.of_value.get(value)
        if found is None:
            found = self.of_value[value] = self.input(value)
        return found

    def input(self, value: Value) -> Node:
        return self._new("input", "input", (), value.type, {}, None, value, key=("input", value))

    def make(
        self,
        kind: str,
        name: str,
        operands: Sequence[Node],
        type: ArrayType,
        attributes: Mapping[str, Any] | None = None,
        op: Operation | None = None,
        value: Value | None = None,
        *,
        unique: bool = False,
    ) -> Node:
        """A node, the existing one when an equal one was made before (unless ``unique``)."""
        attributes = {} if attributes is None else attributes
        key = None if unique else _key(kind, name, operands, type, attributes)
        return self._new(kind, name, tuple(operands), type, attributes, op, value, key=key)

    def known(
        self,
        kind: str,
        name: str,
        operands: Sequence[Node],
        type: ArrayType,
        attributes: Mapping[str, Any],
    ) -> bool:
        """Whether an equal node was made before."""
        return _key(kind, name, operands, type, attributes) in self._consed

    def _new(
        self,
        kind: str,
        name: str,
        operands: tuple[Node, ...],
        type: ArrayType,
        attributes: Mapping[str, Any],
        op: Operation | None,
        value: Value | None,
        *,
        key: Any,
    ) -> Node:
        if key is not None:
            known = self._consed.get(key)
            if known is not None:
                if value is not None and not known.hint:
                    known.hint = value.hint
                return known
        node = Node(len(self.nodes), kind, name, operands, type, attributes, op, value)
        self.nodes.append(node)
        if key is not None:
            self._consed[key] = node
        return node

    def view(
        self,
        base: Node,
        shape: Shape,
        map: ViewMap,
        op: Operation | None = None,
        value: Value | None = None,
    ) -> Node:
        """A view, composed with the view below it."""
        if base.kind == "view":
            map = compose_views(base.attributes["map"], map)
            base = base.operands[0]
        if shape == base.shape and is_identity(map):
            return base
        type = base.type.with_shape(shape)
        return self.make("view", "view", (base,), type, {"shape": shape, "map": map}, op, value)

    def needs(self, node: Node) -> list[Node]:
        """The nodes that must come before ``node``: its operands, and what its sizes wait for."""
        if not self.binders:
            return list(node.operands)
        owner = self._part_of().get(node, node) if node.kind == "part" else node
        names = dict.fromkeys([*type_symbols(owner.type), *attribute_symbols(owner.sizes())])
        names.update(dict.fromkeys([*type_symbols(node.type), *attribute_symbols(node.sizes())]))
        binders = [self.binders[name] for name in names if name in self.binders]
        return [*node.operands, *(b for b in binders if b is not node)]

    def _part_of(self) -> dict[Node, Node]:
        return {p: node for node in self.nodes if node.kind == "assemble" for p in node.operands}

    def copy(self, node: Node, value: Value | None = None) -> Node:
        """A node of its own that equals ``node``: it gets a buffer of its own."""
        new = self.make("ew", "copy", (node,), node.type, {}, None, value, unique=True)
        new.hint = node.hint
        new.location, new.part = node.location, node.part
        return new

    # --- reading operations ------------------------------------------------------------

    def _add(self, op: Operation) -> None:
        opdef = op.opdef
        operands = [self.node(v) for v in op.operands]
        if op.regions or opdef.effects or len(op.results) != 1:
            self._add_whole(op, operands)
            return
        value = op.result
        self.of_value[value] = self._read(op, operands, value)

    def _add_whole(self, op: Operation, operands: list[Node]) -> None:
        captured = [self.node(v) for v in captures(op)]
        whole = self.make(
            "whole",
            op.name,
            [*operands, *captured],
            op.results[0].type if op.results else ArrayType(boolean, ()),
            {},
            op,
            None,
            unique=True,
        )
        if op.has_effects:
            self.effects.append(whole)
        self._binds(op, whole)
        for position, result in enumerate(op.results):
            self.of_value[result] = self.make(
                "result", op.name, (whole,), result.type, {"position": position}, op, result
            )

    def _binds(self, op: Operation, whole: Node) -> None:
        if op.name in BINDING:
            self.binders.update((name, whole) for name in attribute_symbols(op.attributes["size"]))

    def _read(self, op: Operation, operands: list[Node], value: Value) -> Node:
        name, attributes, type = op.name, op.attributes, value.type
        if name == "stop_gradient":
            return operands[0]
        if name == "logaddexp" and all(x.type.dtype is type.dtype for x in operands):
            return self._log_of_sum(op, operands[0], operands[1], value)
        if name == "add" and (made := interleaved(self, operands, op, value)) is not None:
            return made
        if op.opdef.kind == "elementwise":
            return self.make("ew", name, operands, type, attributes, op, value)
        if name == "const":
            kind = "table" if type.rank else "const"
            return self.make(kind, name, (), type, attributes, op, value)
        if name == "dim":
            return self.make("size", name, (), type, attributes, op, value)
        if name == "iota":
            return self.make("iota", name, (), type, attributes, op, value)
        if name == "view":
            return self.view(operands[0], attributes["shape"], attributes["map"], op, value)
        if name == "pad":
            return self._pad(op, operands[0], value)
        if name in REDUCTIONS:
            if not attributes["axes"]:
                return operands[0]
            if name == "sum":
                return sum_of(self, operands[0], attributes["axes"], op, value)
            return self.make("reduce", name, operands, type, attributes, op, value)
        if name in ("dot", "matmul"):
            return self._product(op, operands[0], operands[1], value)
        if name == "reshape":
            return self._reshape(op, operands[0], value)
        if name == "concatenate":
            return self._concatenate(op, operands, value)
        if name == "roll":
            return self._roll(op, operands[0], value)
        if name == "index":
            return self.make("gather", name, operands, type, attributes, op, value)
        if name in ("update", "accumulate"):
            return self._scatter(op, operands, value)
        if name in SCANS:
            if name == "recurrence":
                operands = [self._factors_before(op, operands[0]), operands[1]]
            return self.make("scan", name, operands, type, attributes, op, value)
        whole = self.make("whole", name, operands, type, attributes, op, None)
        self._binds(op, whole)
        return self.make("result", name, (whole,), type, {"position": 0}, op, value)

    def _factors_before(self, op: Operation, factors: Node) -> Node:
        """For each element of a recurrence, the factor that stands at the element before it."""
        axis, reverse = op.attributes["axis"], op.attributes.get("reverse", False)
        if factors.shape[axis] == 0:
            return factors
        shape = (*factors.shape[:axis], factors.shape[axis] - 1, *factors.shape[axis + 1 :])

        def moved_by(offset: Dim) -> ViewMap:
            return tuple((d, offset if d == axis else 0, 1) for d in range(len(shape)))

        read = self.view(factors, shape, moved_by(1 if reverse else 0), op)
        attributes = {"shape": factors.shape, "map": moved_by(0 if reverse else 1)}
        return self.make("pad", "pad", (read,), factors.type, attributes, op)

    def _pad(self, op: Operation, base: Node, value: Value) -> Node:
        map: ViewMap = op.attributes["map"]
        if all(step in (1, -1) for axis, _, step in map if axis is not None):
            return self._scaled_pad(op, base, value)
        return strided_pad(self, [(base, map)], op, value)

    def _log_of_sum(self, op: Operation, x: Node, y: Node, value: Value) -> Node:
        """``max(x, y) + log1p(exp(-|x - y|))``, by functions that have vector code.

        Equal infinities have no difference; log 2 more than either is right for all equals.
        """
        type = value.type

        def ew(name: str, *operands: Node, dtype: DType = type.dtype) -> Node:
            made = stand_in(op, _registry(name))
            shape = next((x.shape for x in operands if x.rank), ())
            return self.make("ew", name, operands, ArrayType(dtype, shape), {}, made)

        log_2 = self.make(
            "const", "const", (), type.with_shape(()), {"value": log(2.0), "dtype": type.dtype}, op
        )
        less = ew("log1p", ew("exp", ew("negative", ew("absolute", ew("subtract", x, y)))))
        equal = ew("equal", x, y, dtype=boolean)
        two = ew("add", x, log_2)
        operands = (equal, two, ew("add", ew("maximum", x, y), less))
        made = stand_in(op, _registry("select"))
        return self.make("ew", "select", operands, type, {}, made, value)

    def _scaled_pad(self, op: Operation, base: Node, value: Value) -> Node:
        """A pad; a constant factor of what it holds is outside, so that pads share what they read.

        Only where there are several dimensions: the loop over a single one is peeled.
        """
        factor = _constant_factor(base) if base.rank > 1 else None
        if factor is None:
            return self.make("pad", "pad", (base,), value.type, op.attributes, op, value)
        inner = self._scaled_pad(op, base.operands[factor], value)
        operands = [inner if k == factor else x for k, x in enumerate(base.operands)]
        return self.make("ew", base.name, operands, value.type, base.attributes, base.op)

    def _product(self, op: Operation, a: Node, b: Node, value: Value) -> Node:
        if (
            op.name == "dot"
            and a.rank == b.rank == 2
            and value.dtype.is_float
            and not _tiny(a.shape[0], a.shape[1], b.shape[1])
        ):
            if _is_thin(b.shape[1]) and not _is_thin(a.shape[0]) and _as_it_is(a) and _as_it_is(b):
                return self._turned_product(op, a, b, value)
            return self.make("gemm", "dot", (a, b), value.type, {}, op, value)
        batch = a.rank - 2 if op.name == "matmul" else 0
        rows, contracted, columns = a.shape[batch:-1], a.shape[-1], b.shape[batch + 1 :]
        if b.rank == 1:
            columns = ()
        domain = (*a.shape[:batch], *rows, *columns, contracted)
        if b.rank == 2 and not rows:
            # A vector times a matrix reads the rows of the matrix: contract the outer axis.
            domain = (contracted, *columns)
        inner = domain.index(contracted) if b.rank == 2 and not rows else len(domain) - 1
        row_axes = tuple((batch + p, 0, 1) for p in range(len(rows)))
        column_axes = tuple(
            (inner + 1 + p if inner == 0 else batch + len(rows) + p, 0, 1)
            for p in range(len(columns))
        )
        batch_axes = tuple((p, 0, 1) for p in range(batch))
        left = self.view(a, domain, (*batch_axes, *row_axes, (inner, 0, 1)))
        right = self.view(b, domain, (*batch_axes, (inner, 0, 1), *column_axes))
        multiply = _registry("multiply")
        scaled = self.make("ew", "multiply", (left, right), ArrayType(value.dtype, domain))
        scaled.op = stand_in(op, multiply)
        scaled.location, scaled.part = op.location, op.part
        return self.make("reduce", "sum", (scaled,), value.type, {"axes": (inner,)}, op, value)

    def _turned_product(self, op: Operation, a: Node, b: Node, value: Value) -> Node:
        """The product of which each column lies together.

        BLAS is slow where a row has a few elements, and so are loops over them.
        """
        turned: ViewMap = ((1, 0, 1), (0, 0, 1))
        left, right = (self.view(x, x.shape[::-1], turned, op) for x in (b, a))
        type = value.type.with_shape(value.shape[::-1])
        product = self.make("gemm", "dot", (left, right), type, {}, op)
        product.hint = product.hint or value.hint
        return self.view(product, value.shape, turned, op, value)

    def _reshape(self, op: Operation, base: Node, value: Value) -> Node:
        shape = value.shape
        if base.shape == shape:
            return base
        kept = [d for d in base.shape if d != 1]
        if kept == [d for d in shape if d != 1]:
            axes = iter([p for p, d in enumerate(shape) if d != 1])
            map = tuple((None, 0, 1) if d == 1 else (next(axes), 0, 1) for d in base.shape)
            return self.view(base, shape, map, op, value)
        if base.kind == "alias":
            base = base.operands[0]
        return self.make("alias", "reshape", (base,), value.type, {}, op, value)

    def _concatenate(self, op: Operation, operands: list[Node], value: Value) -> Node:
        axis = op.attributes["axis"]
        parts: list[Node] = []
        start: Dim = 0
        for x in operands:
            map = tuple((p, start if p == axis else 0, 1) for p in range(x.rank))
            parts.append(
                self.make("part", "part", (x,), x.type, {"map": map}, op, None, unique=True)
            )
            start = start + x.shape[axis]
        return self.make(
            "assemble", "concatenate", parts, value.type, {"fill": None}, op, value, unique=True
        )

    def _roll(self, op: Operation, x: Node, value: Value) -> Node:
        """One of two pieces of ``x``, read where they are.

        ``joined`` says of a choice that what is elsewhere is read inside its pad, and only there.
        """
        shift, axis = op.attributes["shift"], op.attributes["axis"]
        rest = x.shape[axis] - shift

        def piece(of: Node, start: Dim, size: Dim, at: Dim) -> Node:
            """A part of ``of`` along the axis, put in at a place."""
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            reads: ViewMap = tuple((d, start if d == axis else 0, 1) for d in range(of.rank))
            puts: ViewMap = tuple((d, at if d == axis else 0, 1) for d in range(len(shape)))
            part = self.view(of, shape, reads, op)
            type = ArrayType(of.type.dtype, x.shape)
            given = {"shape": x.shape, "map": puts, "joined": True}
            return self.make("pad", "pad", (part,), type, given, op)

        true = self.make("const", "const", (), ArrayType(boolean, ()), {"value": True})
        operands = (piece(true, 0, shift, 0), piece(x, rest, shift, 0), piece(x, 0, rest, shift))
        chosen = stand_in(op, _registry("select"))
        return self.make("ew", "select", operands, value.type, {"joined": True}, chosen, value)

    def _scatter(self, op: Operation, operands: list[Node], value: Value) -> Node:
        chosen = added_to_rows(self, op, operands, value)
        if chosen is not None:
            return chosen
        base, v, *indices = operands
        if op in self._in_place:
            start = self.node(self._in_place[op])
        else:
            start = base if op in self._goes_on else self._start(op, base, value)
        return self.make(
            "scatter",
            op.name,
            (start, v, *indices),
            value.type,
            op.attributes,
            op,
            value,
            unique=True,
        )

    def _start(self, op: Operation, base: Node, value: Value) -> Node:
        """An array of its own that is ``base``, to be written to."""
        if is_zero(base):
            start = self.make(
                "assemble", "zeros", (), value.type, {"fill": 0}, op, None, unique=True
            )
            start.hint = value.hint
            return start
        start = self.copy(base)
        start.location, start.part = op.location, op.part
        return start


def captures(op: Operation) -> list[Value]:
    """Values that the regions of ``op`` read from outside, in order of first use."""
    found: dict[Value, None] = {}

    def visit(region: Region, inside: set[Value]) -> None:
        inside = inside | set(region.params)
        for inner in region.ops:
            for v in inner.operands:
                if v not in inside:
                    found.setdefault(v)
            for r in inner.regions:
                visit(r, inside)
            inside.update(inner.results)
        for v in region.yields:
            if v not in inside:
                found.setdefault(v)

    for region in op.regions:
        visit(region, set())
    return list(found)


def compose_views(inner: ViewMap, outer: ViewMap) -> ViewMap:
    """The map of ``outer`` applied to a view with map ``inner``."""
    composed: list[tuple[int | None, Dim, int]] = []
    for axis, offset, step in inner:
        if axis is None:
            composed.append((None, offset, 1))
            continue
        out, o, s = outer[axis]
        composed.append((out, offset + o * step, s * step if out is not None else 1))
    return tuple(composed)


def is_identity(map: ViewMap) -> bool:
    return all(entry == (p, 0, 1) for p, entry in enumerate(map))


def _constant_factor(node: Node) -> int | None:
    """Where the array stands in an array times a finite constant; None if it is nothing of it."""
    if node.kind != "ew" or not node.type.dtype.is_float:
        return None
    if node.name == "negative":
        return 0
    if node.name == "multiply":
        for k, x in enumerate(node.operands):
            if x.kind == "const" and isfinite(x.attributes["value"]) and node.operands[1 - k].rank:
                return 1 - k
    return None


def counts_along(index: Node, base: Node, dimension: int) -> bool:
    """Whether an index array is 0, 1, 2, ... to the end of a dimension: it needs no check."""
    return index.kind == "iota" and index.rank == 1 and index.shape[0] == base.shape[dimension]


def is_transpose(node: Node) -> bool:
    """Whether ``node`` is a matrix seen with its axes exchanged and nothing else."""
    if node.kind != "view" or node.rank != 2 or node.operands[0].rank != 2:
        return False
    base = node.operands[0]
    return node.attributes["map"] == ((1, 0, 1), (0, 0, 1)) and node.shape == base.shape[::-1]


def _is_thin(size: Dim) -> bool:
    return isinstance(size, int) and size <= UNROLL_LIMIT


def _as_it_is(node: Node) -> bool:
    """Whether BLAS can read a matrix, or its transpose, without a copy."""
    return node.kind != "view" or is_transpose(node)


def _tiny(rows: Dim, contracted: Dim, columns: Dim) -> bool:
    """A product that loops do better than BLAS, by static sizes alone."""
    static = [d for d in (rows, contracted, columns) if isinstance(d, int)]
    return len([d for d in static if d <= UNROLL_LIMIT]) >= 2 or 1 in static


def _key(
    kind: str,
    name: str,
    operands: Sequence[Node],
    type: ArrayType,
    attributes: Mapping[str, Any],
) -> Any:
    frozen = tuple(sorted((k, _frozen(v)) for k, v in attributes.items()))
    return kind, name, tuple(n.number for n in operands), type, frozen


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, float):
        return repr(value)  # keeps -0.0 and NaN apart from their equals
    if isinstance(value, tuple):
        return tuple(_frozen(v) for v in value)
    return value


def _registry(name: str) -> Any:
    from tracegrad.ops.registry import REGISTRY

    return REGISTRY[name]


def stand_in(op: Operation, opdef: Any) -> Operation:
    """A stand-in operation of another definition at the same place in the source."""
    return Operation(opdef, (), {}, (), (), op.location, op.part)
