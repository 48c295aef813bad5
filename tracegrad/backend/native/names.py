"""What can be said of the names of a function before it is compiled."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from tracegrad.backend.native.lapack import RANKS
from tracegrad.backend.native.types import COUNTED, Unsupported, bits_of, natural_bits

Given = Mapping[str, Sequence["ast.expr | None"]]
"""What names are given; None: unknown."""


class Names:
    """The names of one function.

    Arrays that may be the same memory are of one class: names that are assigned to one another.

    Parameters
    ----------
    ranks : of those parameters that are arrays.
    parts : the other functions of the text, which this one may call.

    Attributes
    ----------
    natural : integers that can't be negative, and how many bits they have at most: loop variables,
        sizes, and what is made of them.
    written : parameters whose memory the function may write to.
    once : names that are no parameters and that one statement assigns.
    near : arrays of which elements are read beside each other, as in a stencil.
    counts : numbers of chunks, which are never many.
    told : parameters that are only once given a value, which says that they are not negative.
    """

    def __init__(
        self,
        function: ast.FunctionDef,
        ranks: Mapping[str, int],
        parts: Mapping[str, ast.FunctionDef] | None = None,
    ) -> None:
        self._ranks = dict(ranks)
        self._parts = dict(parts or {})
        self._same: dict[str, str] = {}
        self._returned: set[str] = set()
        self._views: set[str] = set()
        self._parameters = {each.arg for each in function.args.args}
        counted: dict[str, list[ast.expr | None]] = {}
        for node in _in_order(function.body):
            if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                name = node.target.id
                counted.setdefault(name, []).append(_least(node.iter))
            elif isinstance(node, ast.Assign):
                self._assigned(node)
            elif isinstance(node, ast.Return) and node.value is not None:
                given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                self._returned |= {each.id for each in given if isinstance(each, ast.Name)}
        stored = {self._root(name) for name in self._stored_to(function)}
        self.written = {name for name in self._parameters if self._root(name) in stored}
        self.counts = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and _calls(node.value, "chunk_count")
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self.told = _told(function)
        self.once = _stored_once(function)
        self.near = _read_beside(function)
        self.natural = _natural(function, counted, self.told)

    def _assigned(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise Unsupported(ast.unparse(node))
        target = node.targets[0]
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        elif isinstance(target, ast.Tuple):
            pairs = [(each, node.value) for each in target.elts]
        for left, right in pairs:
            if isinstance(left, ast.Name):
                rank = self._rank(right)
                if rank is None:
                    continue
                self._ranks.setdefault(left.id, rank)
                for name, view in self._same_memory(right):
                    self._join(left.id, name)
                    if view:
                        self._views.add(left.id)

    def _rank(self, node: ast.expr) -> int | None:
        """The rank of an array; None for a number, and for what is not known here."""
        if isinstance(node, ast.Name):
            return self._ranks.get(node.id)
        if isinstance(node, ast.IfExp):
            return self._rank(node.body)
        if isinstance(node, ast.Attribute) and node.attr == "T":
            return self._rank(node.value)
        if isinstance(node, ast.Subscript):
            base = self._rank(node.value)
            given = len(node.slice.elts) if isinstance(node.slice, ast.Tuple) else 1
            return base - given if base is not None and base > given else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            shape = node.args[0]
            made = node.func.id == "large_empty"
            return (len(shape.elts) if isinstance(shape, ast.Tuple) else 1) if made else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr in ("empty", "zeros", "reshape"):
                shape = node.args[0]
                return len(shape.elts) if isinstance(shape, ast.Tuple) else 1
            if node.func.attr == "ensure":
                return self._rank(node.args[0])
            if node.func.attr == "flatnonzero":
                return 1
            if node.func.attr in RANKS:
                rank = RANKS[node.func.attr]
                return self._rank(node.args[1]) if rank is None else rank
            if node.func.attr in ("sort", "argsort"):
                return self._rank(node.args[0])
            if node.func.attr in ("argmax", "argmin"):
                return (self._rank(node.args[0]) or 1) - 1 or None
            if node.func.attr == "searchsorted":
                return self._rank(node.args[1])
        return None

    def _same_memory(self, node: ast.expr) -> Iterator[tuple[str, bool]]:
        """The arrays that an array may be; whether as part of it or in another shape."""
        if isinstance(node, ast.Name):
            yield node.id, False
        elif isinstance(node, ast.IfExp):
            yield from self._same_memory(node.body)
            yield from self._same_memory(node.orelse)
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            yield from ((name, True) for name, _ in self._same_memory(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "reshape":
                yield from ((name, True) for name, _ in self._same_memory(node.func.value))
            elif node.func.attr == "ensure":
                yield from self._same_memory(node.args[0])

    def _root(self, name: str) -> str:
        while name in self._same:
            name = self._same[name]
        return name

    def _join(self, one: str, other: str) -> None:
        first, second = self._root(one), self._root(other)
        if first != second:
            self._same[first] = second

    def _stored_to(self, function: ast.FunctionDef) -> Iterator[str]:
        """The arrays that elements are stored to, or that a product is written to."""
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                part, given = _call_of_part(node)
                if part in self._parts:
                    yield from self._stored_by(self._parts[part], given)
            elif isinstance(node, ast.Subscript):
                if isinstance(node.ctx, ast.Store):
                    yield from _names_in(node.value)
            elif isinstance(node, ast.Expr) and not self._calls_part(node.value):
                yield from _names_in(node.value)

    def _calls_part(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and _call_of_part(node)[0] in self._parts

    def _stored_by(self, part: ast.FunctionDef, given: Sequence[ast.expr]) -> Iterator[str]:
        """Of what a part is given, the arrays that it stores to."""
        names = [each.arg for each in part.args.args][-len(given) :] if given else []
        ranks = {}
        for name, value in zip(names, given, strict=True):
            rank = self._rank(value.elts[0] if isinstance(value, ast.Tuple) else value)
            if rank is not None:
                ranks[name] = rank
        written = Names(part, ranks).written
        for name, value in zip(names, given, strict=True):
            if name in written:
                yield from _names_in(value)

    def class_of(self, name: str) -> str:
        return self._root(name)

    def is_returned(self, name: str) -> bool:
        """Whether the array ``name`` may become a result as it stands."""
        root = self._root(name)
        return any(self._root(each) == root for each in self._returned)

    def is_fresh(self, name: str) -> bool:
        """Whether ``name`` is always the whole of an array that the function made."""
        root = self._root(name)
        return not any(self._root(each) == root for each in self._views | self._parameters)


def _call_of_part(node: ast.Call) -> tuple[str, Sequence[ast.expr]]:
    """The function that a call names, or that it runs in chunks, and what that is given."""
    if not isinstance(node.func, ast.Name):
        return "", ()
    if node.func.id != "in_parallel" or len(node.args) != 6:
        return node.func.id, node.args
    part, given = node.args[0], node.args[4]
    if not isinstance(part, ast.Name) or not isinstance(given, ast.Tuple):
        return "", ()
    return part.id, given.elts


def _names_in(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _in_order(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements in the order of the text."""
    for statement in statements:
        yield statement
        for field in ("body", "orelse"):
            yield from _in_order(getattr(statement, field, ()))


def _calls(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _stored_once(function: ast.FunctionDef) -> set[str]:
    stores = Counter(
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    parameters = {each.arg for each in function.args.args}
    return {name for name, count in stores.items() if count == 1} - parameters


def _read_beside(function: ast.FunctionDef) -> set[str]:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            last = indices[-1] if indices else None
            if isinstance(last, ast.BinOp) and isinstance(last.op, (ast.Add, ast.Sub)):
                found.add(node.value.id)
    return found


def _told(function: ast.FunctionDef) -> set[str]:
    """Parameters with one assignment, by a statement such as ``k = natural(k)``."""
    parameters = {each.arg for each in function.args.args}
    found = {
        node.targets[0].id
        for node in function.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and _bits(node.value, {}, {})
    }
    stores = [
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return {name for name in found & parameters if stores.count(name) == 1}


def _natural(
    function: ast.FunctionDef,
    counted: Mapping[str, Sequence[ast.expr | None]],
    told: Collection[str],
) -> dict[str, int]:
    """The names that only non-negative integers are given to, and how many bits these have at most.

    Parameters
    ----------
    counted : loop variables, and the least numbers of the ranges they run over; None: unknown.
    told : parameters that the function says are natural.

    Notes
    -----
    Begins with all that are assigned to, and leaves out those that are given anything else until
    nothing changes. What a loop adds to may have nearly all bits, if it adds nothing else that
    grows: a name that is added to itself doubles, and after 63 trips it is negative.
    """
    given: dict[str, list[ast.expr | None]] = {}
    refused = {each.arg for each in function.args.args if each.arg not in told}
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            refused.add(node.target.id)
        elif isinstance(node, ast.Assign):
            (target,) = node.targets
            if isinstance(target, ast.Name):
                given.setdefault(target.id, []).append(node.value)
            elif isinstance(target, ast.Tuple):
                values: list[ast.expr | None] = [None] * len(target.elts)
                if isinstance(node.value, ast.Tuple):
                    values = list(node.value.elts)
                elif isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
                    values = [ast.Constant(0)] * len(target.elts)
                for each, value in zip(target.elts, values, strict=True):
                    if isinstance(each, ast.Name):
                        given.setdefault(each.id, []).append(value)
    for name, least in counted.items():
        given.setdefault(name, []).extend(least)
    growing = _growing(given)
    for name in growing:
        if any(v is None or _summands(v, growing) > 1 for v in given[name]):
            refused.add(name)
    found = {name: _SUM if name in growing else COUNTED for name in set(given) - refused}
    signed = {
        name: values
        for name, values in given.items()
        if name not in growing and name not in refused and name not in counted
    }
    while True:
        kept = {}
        for name, bits in found.items():
            wanted = [0 if v is None else _bits(v, found, signed) for v in given[name]]
            if all(wanted):
                kept[name] = _SUM if name in growing else max(bits, *wanted)
        if kept == found:
            return found
        found = kept


_SUM = 60
"""Bits of what a loop adds to: a trip adds some numbers of 31."""


def _growing(given: Mapping[str, Sequence[ast.expr | None]]) -> set[str]:
    """The names whose value depends on a value that they had before."""
    reads = {
        name: {
            node.id
            for value in values
            if value is not None
            for node in ast.walk(value)
            if isinstance(node, ast.Name) and node.id in given
        }
        for name, values in given.items()
    }
    found = set()
    for name in given:
        seen: set[str] = set()
        waiting = list(reads[name])
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting.extend(reads[each])
        if name in seen:
            found.add(name)
    return found


def _summands(node: ast.expr, names: Collection[str]) -> int:
    """How often the names stand in an expression, but for the dividend of a remainder."""
    if isinstance(node, ast.Name):
        return int(node.id in names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _summands(node.right, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return max((_summands(each, names) for each in node.args), default=0)
    return sum(
        _summands(each, names) for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)
    )


def _bits(node: ast.expr, names: Mapping[str, int], signed: Given) -> int:
    """How many bits an expression has at most that can't be negative, if ``names`` have so many.

    0 if it may be negative, as a sum may that does not fit into 63 bits. What ``signed`` names are
    given is known, but not its sign.
    """
    if isinstance(node, ast.Constant):
        return bits_of(node.value) if type(node.value) is int else 0
    if isinstance(node, ast.Name):
        return names.get(node.id, 0)
    if isinstance(node, ast.Subscript):  # a size
        is_size = isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
        return COUNTED if is_size else 0
    if isinstance(node, ast.BinOp):
        # Not a product: repeated ones, as of a generator of random numbers, run over 64 bits.
        if not isinstance(node.op, ast.Add | ast.FloorDiv | ast.Mod):
            return 0
        operands = (_bits(each, names, signed) for each in (node.left, node.right))
        return natural_bits(type(node.op).__name__, *operands)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id in ("natural", "chunk_count"):
            return COUNTED
        found = [_bits(each, names, signed) for each in node.args]
        if node.func.id == "max" and any(found):
            return max(_most_bits(each, names, signed) for each in node.args)
        return min(found) if node.func.id == "min" else 0
    return 0


def _most_bits(node: ast.expr, names: Mapping[str, int], signed: Given) -> int:
    """How many bits an expression has at most where it is not negative."""
    bits = _bits(node, names, signed)
    if bits:
        return bits
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and _bits(node.right, names, signed)
    ):
        return _most_bits(node.left, names, signed)
    return _size(node, names, signed) or 63


def _size(node: ast.expr, names: Mapping[str, int], signed: Given) -> int:
    """How many bits the absolute value of an expression has at most; 0 if that is not known."""
    bits = _bits(node, names, signed)
    if bits:
        return bits
    if isinstance(node, ast.Name):
        values = signed.get(node.id, ())
        sizes = [0 if v is None else _size(v, names, signed) for v in values]
        return max(sizes) if all(sizes) and sizes else 0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _size(node.operand, names, signed)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.FloorDiv):
        left = _size(node.left, names, signed)
        if isinstance(node.op, ast.FloorDiv):
            return left if _bits(node.right, names, signed) else 0
        right = _size(node.right, names, signed)
        return max(left, right) + 1 if left and right and max(left, right) < 62 else 0
    return 0


def _least(node: ast.expr) -> ast.expr | None:
    """What nothing that ``range(…)`` gives is below; None if that is not to be seen."""
    if not isinstance(node, ast.Call) or node.keywords:
        return None
    if len(node.args) == 1:
        return ast.Constant(0)
    start, stop = node.args[:2]
    step = _integer(node.args[2]) if len(node.args) == 3 else 1
    if step is None or step == 0:
        return None
    if step > 0:
        return start
    # It counts down to what is above ``stop``.
    return ast.Constant(0) if _integer(stop) == -1 else stop


def _integer(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _integer(node.operand)
        return None if inner is None else -inner
    return None
