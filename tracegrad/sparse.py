"""Sparse derivatives: `sparsity`, and `jacobian` and `hessian` with ``sparse=True``.

What a call needs besides a kernel is its *plan*: the pattern, the colours, where each nonzero
stands. It depends on integers, sizes and static values only, and is kept for them.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from tracegrad import tracing
from tracegrad.arguments import Binder, Leaf, Shape, kernel_array
from tracegrad.composed import Composed
from tracegrad.dependence import Pattern, colouring, dependence
from tracegrad.dependence.graph import stacked
from tracegrad.dependence.trips import Block, Found, along_trips
from tracegrad.derived.compressed import (
    Differentiated,
    TracedOtherwise,
    differentiated,
    nonzeros,
    nonzeros_of_trips,
    rows_of_trips,
)
from tracegrad.derived.inner import Inner
from tracegrad.errors import ArgumentError
from tracegrad.options import DEFAULT_OPTIONS, GradOptions, JitOptions, Options, verb_options
from tracegrad.transforms.jacobian import UNROLLED, WIDEST
from tracegrad.transforms.trip_rows import TripRows
from tracegrad.verbs import Verb, gradient_verb

if TYPE_CHECKING:
    from typing_extensions import Unpack

Fun = Callable[..., Any]

REVERSE = 2
"""So many directions forward, at least, are worth one row in reverse, trip by trip."""

FEW = 4
"""Directions of a Hessian that are not worth a star colouring."""

PLANS = 16
"""Plans kept per function: each holds the pattern."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a call asks for: the trace, and the patterns of its blocks.

    Attributes
    ----------
    patterns : per result (each once), across all parameters (each once).
    widths : the elements of each parameter.
    """

    inner: Inner
    what: Differentiated
    patterns: list[Pattern]
    widths: list[int]
    integers: list[np.ndarray]
    """Captured arrays of integers, as they were."""
    rows: TripRows | None = None
    found: Found | None = None
    """What the trips of a loop compute, if that is known."""

    def holds(self) -> bool:
        """Whether captured names have what the patterns were made for."""
        captures = self.inner.traced
        return captures.captures_hold() and all(
            np.array_equal(a, b)
            for a, b in zip(_integers(captures.captured_arrays()), self.integers, strict=True)
        )

    def width(self, directions: int) -> int:
        """How many of so many directions are to be taken at once: through a loop, not one by one.

        Rounded up: loops over them then need no remainder.
        """
        if not any(op.name in ("for", "while") for op in self.what.function.walk()):
            return 1
        return min(WIDEST, directions if directions <= 8 else -(-directions // 16) * 16)

    def blocks(self) -> list[list[Pattern]]:
        """Per result, per parameter."""
        ends = np.cumsum([0, *self.widths]).tolist()
        return [[whole.between(a, b) for a, b in pairwise(ends)] for whole in self.patterns]

    def arranged(self, blocks: Sequence[Sequence[Any]]) -> Any:
        """The tree that the user gets, from one thing per result and parameter."""
        inner, what = self.inner, self.what
        arrange = inner.verb.arranged(inner.selection, inner.verb.groups(inner.selection))
        column = {i: n for n, i in enumerate(what.params)}
        rows = [arrange([row[column[i]] for i in what.wrt]) for row in blocks]
        if inner.verb.name == "hessian":
            return arrange(rows)
        row_of: dict[int | None, Any] = dict(zip(what.of, rows, strict=True))
        return inner.like_output([row_of[leaf.result] for leaf in inner.outputs()])


@dataclass(frozen=True, eq=False)
class Plan:
    """How one call's nonzeros are computed.

    Attributes
    ----------
    blocks : the pattern of each block, result by result.
    joint, width, colours, directions, places : as `tracegrad.derived.compressed.nonzeros` takes
        them.
    """

    asked: Asked
    by_columns: bool
    joint: bool
    width: int
    blocks: list[list[Pattern]]
    colours: list[np.ndarray]
    directions: np.ndarray
    places: list[np.ndarray]

    @property
    def count(self) -> int:
        return 1 + max(int(colours.max(initial=0)) for colours in self.colours)

    @property
    def leading(self) -> tuple[Any, ...]:
        """The leading arguments of the kernel."""
        return tuple(self.colours), self.directions, tuple(self.places)

    @property
    def key(self) -> tuple[Any, ...]:
        """What the kernel is made for."""
        # As many blocks of directions, if these are few.
        known = self.directions.size if self.directions.size <= UNROLLED else 0
        return nonzeros, self.by_columns, self.joint, self.width, known


@dataclass(eq=False)
class TripPlan:
    """How one call's nonzeros are computed, trip by trip of a loop.

    Attributes
    ----------
    otherwise : the plan that takes its place, once a kernel can't be made for it.
    """

    asked: Asked
    found: Found
    otherwise: Plan | None = None

    @property
    def blocks(self) -> list[list[Pattern]]:
        return [[block.pattern for block in row] for row in self._rows]

    @property
    def _rows(self) -> list[list[Block]]:
        assert self.found.blocks is not None
        return self.found.blocks

    @property
    def count(self) -> int:
        """The rows of a trip, each of which is a direction."""
        rows = self.asked.rows
        assert rows is not None
        return sum(part.size for part in rows.writes)

    @property
    def leading(self) -> tuple[Any, ...]:
        return (), (), tuple(x for row in self._rows for block in row for x in block.given)

    @property
    def key(self) -> tuple[Any, ...]:
        rows = self.asked.rows
        assert rows is not None
        every = [block for row in self._rows for block in row]
        chosen = tuple(block.chosen for block in every)
        kinds = tuple(block.kind for block in every)
        return nonzeros_of_trips, chosen, kinds, rows.signature


class Sparse(ABC):
    """A function under a verb whose result is sparse.

    Attributes
    ----------
    py_func : the user's function, untouched.
    """

    def __init__(self, fun: Fun, verb: Verb, options: Options = DEFAULT_OPTIONS) -> None:
        verb.check_function(fun)
        self.py_func = fun
        self._verb = verb
        self._options = options
        self._binder = Binder(fun, options.static_argnums, options.static_argnames)
        self._known: OrderedDict[Any, list[tuple[list[np.ndarray], Any]]] = OrderedDict()
        self._lock = RLock()
        functools.update_wrapper(self, fun, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return type(self)(self.py_func.__get__(instance, owner), self._verb, self._options)

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def _plan(self, asked: Asked) -> Any:
        """What is kept for the integers and sizes of a call."""

    def _planned(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is kept for calls like this one; made if there is none."""
        if tracing.active():
            raise ArgumentError(
                f"{self._verb.name} with a sparse result can't be part of a trace",
                way_out="call it outside, or use the dense one there",
            )
        shape, leaves, kinds = self._binder.bind(args, kwargs)
        numbers = tuple(x for x, kind in zip(leaves, kinds, strict=True) if kind.kind == "int")
        key = shape, kinds, tuple(map(np.shape, leaves)), numbers
        given = _integers(leaves)
        with self._lock:
            for integers, kept in self._known.get(key, ()):
                if _equal(integers, given) and kept.asked.holds():
                    self._known.move_to_end(key)
                    return kept
            kept = self._plan(self._asked(shape, leaves, kinds))
            entries = self._known.setdefault(key, [])
            entries.insert(0, ([x.copy() for x in given], kept))
            del entries[PLANS:]
            self._known.move_to_end(key)
            if len(self._known) > PLANS:
                self._known.popitem(last=False)
            return kept

    def _asked(self, shape: Shape, leaves: list[Any], kinds: tuple[Leaf, ...]) -> Asked:
        binder, verb = self._binder, self._verb
        static = frozenset(i for i, leaf in enumerate(kinds) if leaf.kind == "static")
        traced = tracing.trace(
            self.py_func, shape.rebuild, leaves, static=static, names=binder.leaf_names(shape)
        )
        inner = Inner(verb, traced, binder.selection(shape, kinds), leaves)
        what = differentiated(inner, verb.name == "hessian")
        captured = [kernel_array(a) for a in traced.captured_arrays()]
        arguments = [*(x for i, x in enumerate(leaves) if i not in static), *captured]
        rows = self._rows(what)
        found = None if rows is None else along_trips(rows, arguments)
        patterns = (
            dependence(what.function, what.params, what.of, arguments)
            if found is None
            else found.patterns
        )
        widths = [int(np.size(arguments[i])) for i in what.params]
        kept = [x.copy() for x in _integers(captured)]
        return Asked(inner, what, patterns, widths, kept, rows, found)

    def _rows(self, what: Differentiated) -> TripRows | None:
        """The loop whose trips may be differentiated one by one."""
        return None


class SparsityPattern(Sparse):
    """See `tracegrad.sparsity`."""

    def _plan(self, asked: Asked) -> _Kept:
        return _Kept(asked)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        asked = self._planned(args, kwargs).asked
        ones = [[_csr(p, np.ones(p.count, bool)) for p in row] for row in asked.blocks()]
        return asked.arranged(ones)


@dataclass(frozen=True, eq=False)
class _Kept:
    asked: Asked


class SparseDerivative(Sparse):
    """A Jacobian or Hessian as `scipy.sparse` arrays."""

    def __init__(self, fun: Fun, verb: Verb, options: Options = DEFAULT_OPTIONS) -> None:
        super().__init__(fun, verb, options)
        self._kernels: dict[tuple[Any, ...], Composed] = {}

    def __repr__(self) -> str:
        name = getattr(self.py_func, "__qualname__", repr(self.py_func))
        return f"<tracegrad sparse {self._verb.describe()} of {name}>"

    def pattern(self, *args: Any, **kwargs: Any) -> Any:
        """Where the result has nonzeros for these arguments: the same tree, of truth values."""
        plan = self._plan_of(args, kwargs)
        return plan.asked.arranged(
            [[_csr(p, np.ones(p.count, bool)) for p in row] for row in plan.blocks]
        )

    def colours(self, *args: Any, **kwargs: Any) -> int:
        """How many directions a call with these arguments takes."""
        return self._plan_of(args, kwargs).count

    def _plan_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | TripPlan:
        plan: Plan | TripPlan = self._planned(args, kwargs)
        return plan.otherwise or plan if isinstance(plan, TripPlan) else plan

    def inspect_source(self, *args: Any, **kwargs: Any) -> str:
        """The generated Python source of the kernel for these arguments."""
        plan = self._plan_of(args, kwargs)
        text: str = self._kernel(plan).inspect_source(*plan.leading, *args, **kwargs)
        return text

    def _rows(self, what: Differentiated) -> TripRows | None:
        if self._verb.name not in ("jacobian", "jacrev"):
            return None
        return rows_of_trips(what)

    def _plan(self, asked: Asked) -> Plan | TripPlan:
        whole = stacked(asked.patterns)
        if self._verb.name == "hessian":
            return _hessian_plan(asked, whole.symmetric())
        if asked.found is not None and asked.found.blocks is not None:
            plan = TripPlan(asked, asked.found)
            if trips_pay(plan.count, whole, self._verb.name):
                return plan
        return self._coloured(asked)

    def _coloured(self, asked: Asked) -> Plan:
        whole = stacked(asked.patterns)
        by_columns, colours = _chosen(whole, self._verb.name)
        return _plan(asked, by_columns, colours, asked.blocks())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plan = self._plan_of(args, kwargs)
        try:
            made = self._kernel(plan)(*plan.leading, *args, **kwargs)
        except TracedOtherwise:
            if not isinstance(plan, TripPlan):
                raise
            plan.otherwise = self._coloured(plan.asked)
            return self(*args, **kwargs)
        values, aux = made if self._verb.has_aux else (made, None)
        flat = iter(values)
        found = plan.asked.arranged([[_csr(p, next(flat)) for p in row] for row in plan.blocks])
        return (found, aux) if self._verb.has_aux else found

    def _kernel(self, plan: Plan | TripPlan) -> Composed:
        found = self._kernels.get(plan.key)
        if found is None:
            found = self._kernels[plan.key] = self._made(*plan.key)
        return found

    def _made(self, append: Callable[..., Any], *key: Any) -> Composed:
        """The verb that is compiled; it takes the plan's arrays before the user's arguments."""
        fun, binder, verb = self.py_func, self._binder, self._verb

        def applied(_: Fun, __: Binder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            *leading, rest = args[0], args[1], args[2], tuple(args[3:])
            return append(fun, verb, binder, rest, kwargs, leading, *key)

        def packed(colours: Any, directions: Any, places: Any, /, *args: Any, **kwargs: Any) -> Any:
            return fun(*args, **kwargs)

        functools.update_wrapper(packed, fun, updated=())
        _sign(packed, binder.signature)
        numbers = self._options.static_argnums
        numbers = (numbers,) if isinstance(numbers, int) else tuple(numbers)
        shifted = tuple(n + 3 if n >= 0 else n for n in numbers)
        return Composed(packed, verb, applied, replace(self._options, static_argnums=shifted))


def _sign(packed: Any, signature: inspect.Signature | None) -> None:
    """Give the function the signature of the user's with three parameters before."""
    if signature is None:
        packed.__signature__ = None
        return
    taken = set(signature.parameters)
    first = [
        inspect.Parameter(
            name if name not in taken else f"{name}_", inspect.Parameter.POSITIONAL_ONLY
        )
        for name in ("colours", "directions", "places")
    ]
    packed.__signature__ = inspect.Signature([*first, *signature.parameters.values()])


# --- plans ------------------------------------------------------------------------------------


def trips_pay(rows: int, whole: Pattern, name: str) -> bool:
    """Whether so many rows of each trip in reverse are worth more than colours of the whole."""
    if rows > colouring.least_colours(whole.transposed()):
        return False
    return name == "jacrev" or rows * REVERSE <= colouring.least_colours(whole)


def _chosen(whole: Pattern, name: str) -> tuple[bool, np.ndarray]:
    """Whether directions are columns, and the colours: the fewer, columns if as many."""
    turned = whole.transposed()
    if name == "jacfwd":
        return True, colouring.column_colours(whole)
    if name == "jacrev":
        return False, colouring.column_colours(turned)
    first, second = colouring.least_colours(whole), colouring.least_colours(turned)
    if first <= second:
        colours = colouring.column_colours(whole)
        if _number(colours) <= second or colouring.work(turned) > colouring.AFFORDABLE:
            return True, colours
        others = colouring.column_colours(turned)
        return (False, others) if _number(others) < _number(colours) else (True, colours)
    colours = colouring.column_colours(turned)
    if _number(colours) < first or colouring.work(whole) > colouring.AFFORDABLE:
        return False, colours
    others = colouring.column_colours(whole)
    return (True, others) if _number(others) <= _number(colours) else (False, colours)


def _plan(
    asked: Asked,
    by_columns: bool,
    colours: np.ndarray,
    blocks: list[list[Pattern]],
) -> Plan:
    """Each nonzero stands in its line at the colour of its column (or row)."""
    sizes = asked.widths if by_columns else [p.shape[0] for p in asked.patterns]
    lines = [p.shape[0] for p in asked.patterns] if by_columns else asked.widths
    parts = np.split(colours, np.cumsum(sizes)[:-1])
    width = asked.width(_number(colours))
    places = []
    for k, row in enumerate(blocks):
        for i, block in enumerate(row):
            if by_columns:
                at = _places(parts[i][block.columns], block.rows, lines[k], width)
            else:
                at = _places(parts[k][block.rows], block.columns, lines[i], width)
            places.append(at)
    return Plan(asked, by_columns, False, width, blocks, _shaped(asked, parts, by_columns),
                _directions(colours, width), places)  # fmt: skip


def _hessian_plan(asked: Asked, whole: Pattern) -> Plan:
    """Columns, or a star colouring: a nonzero is read where it, or its mirror image, is alone."""
    ends = np.cumsum([0, *asked.widths])
    blocks = [
        [_rows(whole, a, b).between(c, d) for c, d in pairwise(ends)] for a, b in pairwise(ends)
    ]
    least = colouring.least_colours(whole)
    dtypes = {asked.what.function.params[i].dtype for i in asked.what.params}
    star = colouring.star_colours(whole) if least > FEW and len(dtypes) == 1 else None
    if star is None or _number(star) >= least:
        colours = colouring.column_colours(whole)
        if star is None or _number(colours) <= _number(star):
            return _plan(asked, True, colours, blocks)
    assert star is not None
    alone = colouring.readable(whole, star)
    line, other = whole.rows, whole.columns
    direction, element = np.where(alone, (star[other], line), (star[line], other))
    width = asked.width(_number(star))
    places = _places(direction, element, whole.shape[0], width)
    kept = []
    for a, b in pairwise(ends):
        for c, d in pairwise(ends):
            here = slice(whole.starts[a], whole.starts[b])
            inside = (other[here] >= c) & (other[here] < d)
            kept.append(places[here][inside])
    parts = np.split(star, ends[1:-1])
    return Plan(asked, True, True, width, blocks, _shaped(asked, parts, True),
                _directions(star, width), kept)  # fmt: skip


def _rows(whole: Pattern, first: int, last: int) -> Pattern:
    starts = whole.starts[first : last + 1]
    return Pattern(
        (last - first, whole.shape[1]),
        starts - starts[0],
        whole.columns[starts[0] : starts[-1]],
    )


def _shaped(asked: Asked, parts: list[np.ndarray], by_columns: bool) -> list[np.ndarray]:
    """The colours as floats; those of parameters in their shapes."""
    if not by_columns:
        return [part.astype(np.float64) for part in parts]
    leaf_of = {p: leaf for leaf, p in asked.inner.traced.params.items()}
    shapes = [np.shape(asked.inner.leaves[leaf_of[i]]) for i in asked.what.params]
    return [part.astype(np.float64).reshape(s) for part, s in zip(parts, shapes, strict=True)]


def _places(direction: np.ndarray, element: np.ndarray, line: int, width: int) -> np.ndarray:
    """Where elements of a line of so many stand, in blocks of ``width`` directions."""
    block, within = np.divmod(direction, width)
    places: np.ndarray = (block * line + element) * width + within
    return places if places.max(initial=0) >= 2**31 else places.astype(np.int32)


def _directions(colours: np.ndarray, width: int) -> np.ndarray:
    return np.zeros(max(1, -(-_number(colours) // width)))


def _number(colours: np.ndarray) -> int:
    return int(colours.max(initial=-1)) + 1


def _integers(values: Sequence[Any]) -> list[Any]:
    """The arrays of integers and truth values."""
    return [x for x in values if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "iub"]


def _equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b) for a, b in zip(some, others, strict=True)
    )


def _csr(pattern: Pattern, values: np.ndarray) -> Any:
    """A `scipy.sparse` array that owns what it is made of."""
    from scipy.sparse import csr_array

    made = csr_array(pattern.shape, dtype=values.dtype)
    starts, columns = pattern.narrow
    made.data = values
    made.indices = columns.copy()
    made.indptr = starts.copy()
    made.has_sorted_indices = True
    made.has_canonical_format = True
    return made


# --- the verbs --------------------------------------------------------------------------------


def of_arguments(
    name: str,
    fun: Fun | None,
    argnums: int | Sequence[int] | None,
    has_aux: bool = False,
    argnames: str | Sequence[str] | None = None,
    argnum: int | Sequence[int] | None = None,
    **given: Unpack[JitOptions],
) -> Any:
    """A verb with the parameters of `grad` and a sparse result; without ``fun`` a decorator."""
    kind = SparsityPattern if name == "sparsity" else SparseDerivative
    verb = gradient_verb(name, argnums, argnames, has_aux, argnum)
    options = verb_options(**given)

    def decorate(function: Fun) -> Sparse:
        return kind(function, verb, options)

    return decorate if fun is None else decorate(fun)


def sparsity(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    **options: Unpack[GradOptions],
) -> Any:
    """Where the Jacobian of ``fun`` may have nonzeros, whatever the values of floats are.

    Parameters as for `jacobian`.

    Returns
    -------
    Called like ``fun``, gives a `scipy.sparse` array of truth values in CSR form, of shape
    ``(out.size, argument.size)``, elements in C order; a tree of them for trees.

    Raises
    ------
    UnsupportedError : the size of a result depends on the values of floats.

    Notes
    -----
    The traced program is run on sets of argument elements instead of numbers. Sizes and integers
    (index arrays, bounds, what they decide) are those of the call: the pattern holds for them, and
    for every value of the floats. Where floats decide, both arms of a branch count, a loop has any
    number of trips, and a position (`argsort`, `argmax`) is any position. So the pattern may have
    too much, never too little. ``sparsity(grad(f))`` is that of the Hessian.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.sparsity(np.diff)(np.ones(4)).toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    return of_arguments("sparsity", fun, argnums, **options)
