"""Small arrays that a trip puts together of numbers, and takes apart again, are these numbers.

The derivatives of a trip's results come as rows: zeros with one number put in for each, added up
and stacked, then written to a table. In memory that is many passes over a few numbers; as numbers
they stay in registers, trips can stand in lanes, and the table gets each with one store::

    for k: row = pad(a) + pad(b); J = update(J, row, k)
                                  →  for k: J = update(J, a, k, 0); J = update(J, b, k, 1)

Done in a loop's body for arrays of known small shapes, if all that is made of them are other such
arrays, single elements, and rows of larger arrays; and only where an array is put together there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import i64
from tracegrad.ops.access import view_of
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.passes.dce import dce

LARGEST = 64
"""Elements of a small array."""

_MOVING = frozenset(("view", "reshape", "pad", "concatenate"))
_JOINING = frozenset(("pad", "concatenate"))
_WRITING = frozenset(("update", "accumulate"))


def elements(function: Function) -> Function:
    """Take small arrays in loops apart.

    Before::

        func @f(%x: f64[n], %y: f64[n, 2]) -> (f64[n, 2]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %r: f64[n, 2] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n, 2]) {
            %a: f64 = index(%x, %i)
            %b: f64 = sin(%a)
            %p: f64[2] = pad(%a) {shape=(2,), map=[0]}
            %q: f64[2] = pad(%b) {shape=(2,), map=[1]}
            %s: f64[2] = add(%p, %q)
            %d: f64[n, 2] = update(%c, %s, %i)
            yield %d
          }
          return %r
        }

    After::

        func @f(%x: f64[n], %y: f64[n, 2]) -> (f64[n, 2]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %r: f64[n, 2] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n, 2]) {
            %a: f64 = index(%x, %i)
            %b: f64 = sin(%a)
            %zero: i64 = 0
            %d: f64[n, 2] = update(%c, %a, %i, %zero)
            %one: i64 = 1
            %e: f64[n, 2] = update(%d, %b, %i, %one)
            yield %e
          }
          return %r
        }
    """
    found = _Found(function)
    if not found.apart:
        return function
    return dce(_Apart(found).rewrite(function))


def _is_small(value: Value) -> bool:
    return (
        value.rank > 0
        and all(isinstance(d, int) for d in value.shape)
        and 0 < math.prod(_shape(value)) <= LARGEST
    )


def _shape(value: Value) -> tuple[int, ...]:
    return tuple(d for d in value.shape if isinstance(d, int))


def _row_of(op: Operation, array: Value, count: int) -> bool:
    """Whether scalar indices leave a part of ``array`` of known shape."""
    indices = op.operands[len(op.operands) - count :]
    return not any(i.rank for i in indices) and all(isinstance(d, int) for d in array.shape[count:])


class _Found:
    """The values of loops that are taken apart.

    Attributes
    ----------
    apart : arrays that are not written down.
    through : gathers of rows that are read one by one, each of them apart.
    """

    def __init__(self, function: Function) -> None:
        self.apart: set[Value] = set()
        users = function.body.users()
        for op in function.walk():
            if op.name in ("for", "while"):
                self._loop(op.regions[-1], users)
        self.through = {
            op
            for op in function.walk()
            if op.name == "index" and self._is_gather(op, users[op.result])
        }

    def _is_gather(self, op: Operation, users: list[Operation | Region]) -> bool:
        """Whether each row of a gather is read by itself, in one loop, and taken apart."""
        rank = op.operands[1].rank
        return (
            rank > 0
            and len(users) == 1
            and all(
                isinstance(u, Operation)
                and u.name == "index"
                and u.result in self.apart
                and u.operands[0] is op.result
                and len(u.operands) - 1 == rank
                for u in users
            )
        )

    def _loop(self, body: Region, users: dict[Value, list[Operation | Region]]) -> None:
        made = [op for op in body.ops if len(op.results) == 1 and self._is_made(op)]
        some = {op.result for op in made}
        while True:
            bad = {
                v
                for v in some
                if not all(isinstance(u, Operation) and self._takes(u, v, some) for u in users[v])
            }
            # What reads them stays an array only if it can read them from memory.
            if not bad:
                break
            some -= bad
        joined = {op.result for op in made if op.name in _JOINING and op.result in some}
        if joined:
            self.apart |= some

    @staticmethod
    def _is_made(op: Operation) -> bool:
        """Whether each element of the result is a scalar expression."""
        if not _is_small(op.result):
            return False
        if op.name == "index":
            return _row_of(op, op.operands[0], len(op.operands) - 1)
        if op.name == "const" or op.opdef.kind == "elementwise":
            return True
        return op.name in _MOVING and all(
            _is_small(v) or not v.rank or op.name == "view" for v in op.operands
        )

    @staticmethod
    def _takes(user: Operation, value: Value, some: set[Value]) -> bool:
        """Whether an operation can take the elements of ``value`` instead."""
        if user.name in _WRITING:
            array, v, *indices = user.operands
            return v is value and array is not value and _row_of(user, array, len(indices))
        if user.name == "view" and not user.result.rank:
            return True
        return len(user.results) == 1 and user.result in some


class _Apart(Rewriter):
    def __init__(self, found: _Found) -> None:
        super().__init__()
        self._found = found
        self._parts: dict[Value, np.ndarray] = {}
        """Value of the old function → its elements (None for zero), as an array of objects."""

    def visit(self, op: Operation) -> Sequence[Value]:
        apart = self._found.apart
        if len(op.results) == 1 and op.result in apart:
            self._parts[op.result] = self._made(op)
            return [op.result]  # nobody asks for the array
        if op.name == "view" and op.operands[0] in apart:
            return [self._present(self._made(op)[()], op.result)]
        if op.name in _WRITING and op.operands[1] in apart:
            return [self._written(op)]
        return super().visit(op)

    def _elements(self, value: Value) -> np.ndarray:
        """The elements of an operand, in its shape; of one that stays an array they are read."""
        if value in self._parts:
            return self._parts[value]
        (new,) = self.mapped([value])
        found = np.empty(_shape(value), object)
        for place in np.ndindex(found.shape):
            found[place] = view_of(new, (), [(None, k, 1) for k in place]) if value.rank else new
        return found

    def _made(self, op: Operation) -> np.ndarray:
        result = op.result
        shape = _shape(result)
        if op.name == "const":
            values: Any = np.array(op.attributes["value"], object)
            found = np.empty(shape, object)
            for place in np.ndindex(shape):
                found[place] = constant(values[place], result.dtype)
            return found
        if op.name == "index":
            array, indices = self._source(op)
            return self._each(
                shape, lambda place: REGISTRY["index"](array, *indices, *_numbers(place))
            )
        if op.name == "view" and not _is_small(op.operands[0]) and op.operands[0].rank:
            (array,) = self.mapped(op.operands)
            return self._each(
                shape,
                lambda place: view_of(
                    array,
                    (),
                    [
                        (None, offset if axis is None else offset + step * place[axis], 1)
                        for axis, offset, step in op.attributes["map"]
                    ],
                ),
            )
        given = [self._elements(v) for v in op.operands]
        if op.name in _MOVING:
            return self._moved(op, given)
        return self._each(shape, lambda place: self._element(op, given, place))

    def _source(self, op: Operation) -> tuple[Value, list[Value]]:
        """The array that a row is read from, and where; read through a gather that only rows are
        read of: the gathered array is not needed then."""
        array, *indices = self.mapped(op.operands)
        gather = op.operands[0].op
        if gather in self._found.through:
            source, *places = self.mapped(gather.operands)
            return source, [REGISTRY["index"](p, *indices) for p in places]
        return array, indices

    @staticmethod
    def _each(shape: tuple[int, ...], make: Callable[[tuple[int, ...]], object]) -> np.ndarray:
        found = np.empty(shape, object)
        for place in np.ndindex(shape):
            found[place] = make(place)
        return found

    @staticmethod
    def _moved(op: Operation, given: list[np.ndarray]) -> np.ndarray:
        """Elements in other places: the operation on their numbers, 0 for what is new."""
        numbered, start = [], 1
        for each in given:
            numbered.append(np.arange(start, start + each.size).reshape(each.shape))
            start += each.size
        places = np.asarray(op.opdef.reference(*numbered, **op.attributes))
        flat = np.empty(start, object)
        flat[1:] = np.concatenate([each.ravel() for each in given]) if given else []
        found = np.empty(places.shape, object)
        found[...] = flat[places]
        return found

    def _element(self, op: Operation, given: list[np.ndarray], place: tuple[int, ...]) -> object:
        """One element of an elementwise operation; a sum with zero is the other term."""
        parts = [each[place] if each.ndim else each[()] for each in given]
        if op.name in ("add", "subtract") and None in parts:
            x, y = parts
            return x if y is None else y if op.name == "add" else -y
        values = [self._present(x, v) for x, v in zip(parts, op.operands, strict=True)]
        types = None if op.name != "cast" else [op.result.type.with_shape(())]
        return self.emit(op.opdef, values, op.attributes, (), types).result

    @staticmethod
    def _present(part: object, like: Value) -> Value:
        if part is None:
            return constant(0, like.dtype)
        assert isinstance(part, Value)
        return part

    def _written(self, op: Operation) -> Value:
        """One write for each element."""
        array, _, *indices = self.mapped([op.operands[0], op.operands[0], *op.operands[2:]])
        parts = self._parts[op.operands[1]]
        for place in np.ndindex(parts.shape):
            if parts[place] is None and op.name == "accumulate":
                continue
            value = self._present(parts[place], op.operands[1])
            array = REGISTRY[op.name](array, value, *indices, *_numbers(place))
        return array


def _numbers(place: tuple[int, ...]) -> list[Value]:
    return [constant(k, i64) for k in place]
