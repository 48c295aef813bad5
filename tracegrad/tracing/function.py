"""``trace``: run a user's function on tracers and keep what it did as a `Function`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tracegrad import tree
from tracegrad.errors import (
    ArgumentError,
    NeedsValue,
    Place,
    TracegradError,
    UnsupportedError,
    place_in_traceback,
)
from tracegrad.ir.builder import current
from tracegrad.ir.core import Function, Location, Region, Value
from tracegrad.ir.types import ArrayType, Dim, Size, f64, i64, is_symbol, symbol, symbols
from tracegrad.tracing.captures import Captures, is_library
from tracegrad.tracing.hooks import TraceHooks
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.iteration import Items
from tracegrad.tracing.joining import Maybe, Torn
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.memory import Memory
from tracegrad.tracing.raising import settled
from tracegrad.tracing.sizes import shape_text
from tracegrad.tracing.state import Trace, current_trace, substitute_sizes
from tracegrad.tracing.traced import OutputLeaf, Traced, require_results
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, ir_dtype, lift

__all__ = [
    "append",
    "appended",
    "as_tangent",
    "inline",
    "same_length",
    "share_returned",
    "staged",
    "stop_gradient",
    "subtrace",
    "trace",
]

Rebuild = Callable[[Sequence[Any]], tuple[tuple[Any, ...], dict[str, Any]]]

_SMALLEST_STATIC, _LARGEST_STATIC = 2, 8


def trace(
    fun: Callable[..., Any],
    rebuild: Rebuild,
    leaves: Sequence[Any],
    *,
    static: frozenset[int] = frozenset(),
    varying: frozenset[tuple[int, int]] = frozenset(),
    names: Sequence[str] = (),
) -> Traced:
    """Run ``fun`` on tracers of ``leaves`` and keep what it did.

    Parameters
    ----------
    fun : the user's function; it runs staged.
    rebuild : leaves → (args, kwargs) of the call.
    leaves : arrays, NumPy scalars, Python floats and ints; static ones may be anything.
    static : indices of the leaves that are passed as they are.
    varying : (leaf, axis) of small dimensions that must stay symbolic.
    names : a readable name per leaf (``w``, ``params['w']``), for messages and the source.

    Raises
    ------
    TraceError : the construct can't be traced; names file, line and a way out.
    """
    captures = Captures()
    context = Trace(captures)
    region = context.build.region
    arguments = _Arguments(context, region, varying, _inner_sizes(leaves, static, varying))

    def new_param(type: ArrayType, name: str) -> Value:
        value = Value(type, arguments.unique(name))
        region.params = (*region.params, value)
        return value

    captures.new_param = new_param
    captures.new_shape = arguments.array_type
    try:
        with context.running():
            values = list(leaves)
            param_of: dict[int, int] = {}
            memories: dict[int, Memory] = {}
            for leaf, given in enumerate(leaves):
                if leaf in static:
                    # What its attributes hold may change from call to call.
                    captures.hold(given, names[leaf] if leaf < len(names) else "argument")
                    continue
                name = names[leaf] if leaf < len(names) else f"x{leaf}"
                param_of[leaf] = len(region.params)
                values[leaf] = arguments.tracer(leaf, given, name)
                memory = getattr(values[leaf], "memory", None)
                if memory is not None:
                    memories[param_of[leaf]] = memory
            args, kwargs = rebuild(values)
            out = TraceHooks(captures).entry(fun)(*args, **kwargs)
            require_results(out, fun)
            results, rebuild_outputs, outputs, structure = _outputs(out)
        _check_effects(captures)
    except TracegradError as error:
        raise error.at(place_in_traceback(error.__traceback__)) from error.__cause__
    except (ValueError, TypeError) as error:
        # NumPy asked a traced value for its number: a write into an array that is not traced.
        cause = error.__cause__
        if isinstance(cause, NeedsValue):
            cause.message += f"; NumPy says: {error}"
            raise cause.at(place_in_traceback(error.__traceback__)) from None
        raise
    _check_scopes(region, results)
    origin = _origin(fun)
    function = _finish(context, fun, results, arguments.size_params, origin)
    return Traced(
        function=function,
        params=param_of,
        outputs=outputs,
        output_structure=structure,
        rebuild_outputs=rebuild_outputs,
        captures=captures,
        arguments=(),
        place=None if origin is None else Place(origin.file, origin.line, origin.function),
        leaf_types=tuple(type(leaf) for leaf in leaves),
        written=tuple(index for index, memory in memories.items() if memory.written),
    )


def _inner_sizes(
    leaves: Sequence[Any], static: frozenset[int], varying: frozenset[tuple[int, int]]
) -> frozenset[int]:
    """The small sizes of inner dimensions, which become static.

    An outer dimension of such a size becomes static, too: five states have a matrix of 5 by 5.
    """
    return frozenset(
        size
        for leaf, array in enumerate(leaves)
        if leaf not in static and isinstance(array, np.ndarray)
        for axis, size in enumerate(array.shape)
        if axis > 0 and _is_small(size) and (leaf, axis) not in varying
    )


def _is_small(size: int) -> bool:
    return _SMALLEST_STATIC <= size <= _LARGEST_STATIC


class _Arguments:
    """Makes the parameters of a trace: types, symbols, names."""

    def __init__(
        self,
        context: Trace,
        region: Region,
        varying: frozenset[tuple[int, int]],
        inner_sizes: frozenset[int] = frozenset(),
    ) -> None:
        self.context = context
        self.region = region
        self.varying = varying
        self.inner_sizes = inner_sizes
        self.size_params: dict[str, int] = {}
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """An identifier like ``name`` that no other parameter has."""
        base = re.sub(r"\W+", "_", name).strip("_") or "x"
        if base[0].isdigit() or keyword.iskeyword(base):
            base = f"x{base}" if base[0].isdigit() else f"{base}_"
        found, suffix = base, 2
        while found in self._names:
            found = f"{base}_{suffix}"
            suffix += 1
        self._names.add(found)
        return found

    def array_type(self, array: Any, name: str, leaf: int = -1) -> ArrayType:
        shape: list[Dim] = []
        for axis, size in enumerate(array.shape):
            small = size in self.inner_sizes if leaf >= 0 and axis == 0 else axis > 0
            if small and _is_small(size) and (leaf, axis) not in self.varying:
                shape.append(size)
            else:
                base = re.sub(r"\W+", "_", name).strip("_") or "x"
                shape.append(self.context.sizes.new(f"{base}_{axis}", size))
        return ArrayType(ir_dtype(array.dtype), tuple(shape))

    def tracer(self, leaf: int, given: Any, name: str) -> Any:
        hint = self.unique(name)
        if isinstance(given, np.ndarray | np.generic):
            param = self.context.build.param(self.array_type(given, name, leaf), hint)
            return Tracer(param)
        if isinstance(given, float):
            return Tracer(self.context.build.param(ArrayType(f64), hint), weak=True)
        if isinstance(given, int) and not isinstance(given, bool):
            size = self.context.sizes.new(hint, given, length=False)
            self.size_params[str(size)] = len(self.region.params)
            self.context.build.param(ArrayType(i64), hint)
            return TracedInt(size)
        raise UnsupportedError(
            f"the argument {name!r} of type {type(given).__name__} can't be traced",
            way_out="make it static (static_argnames)",
        )


def subtrace(
    fun: Callable[..., Any],
    rebuild: Rebuild,
    leaves: Sequence[Any],
    *,
    static: frozenset[int] = frozenset(),
    names: Sequence[str] = (),
    types: Mapping[int, ArrayType] = MappingProxyType({}),
) -> Traced:
    """`trace` within the active trace: the inner function may use the outer one's values.

    Parameters
    ----------
    types : leaves whose parameter is of another type than the outer value: a part of it.

    Returns
    -------
    Traced : its ``arguments`` are the outer values for the parameters of ``function``.
    """
    context = current_trace()
    values = list(leaves)
    arguments: list[Tracer] = []
    param_of: dict[int, int] = {}
    for leaf, given in enumerate(leaves):
        if leaf not in static:
            param_of[leaf] = len(arguments)
            arguments.append(lift(given))
    namer = _Arguments(context, context.build.region, frozenset())
    memories: dict[int, Memory] = {}
    with context.inner() as build:
        for leaf in param_of:
            given = leaves[leaf]
            outer = arguments[param_of[leaf]]
            name = names[leaf] if leaf < len(names) else f"x{leaf}"
            param = build.param(types.get(leaf, outer.value.type), namer.unique(name))
            if leaf in types or (not isinstance(given, TracedInt) and type(given) is not int):
                weak = outer.weak or type(given) is float
                made = values[leaf] = Tracer(param, weak)
                if made.memory is not None:
                    memories[param_of[leaf]] = made.memory
        args, kwargs = rebuild(values)
        out = TraceHooks(context.captures).entry(fun)(*args, **kwargs)
        results, rebuild_outputs, outputs, structure = _outputs(out)
        returned = tuple(getattr(leaf, "memory", None) for leaf in tree.flatten(out)[0])
        region = build.region
    origin = _origin(fun)
    region.yields = tuple(results)
    function = Function(
        _function_name(fun),
        region,
        hints=dict(context.sizes.hints),
        origin=origin,
        result_names=tuple(value.hint for value in results),
        title=_function_name(fun),
    )
    return Traced(
        function=function,
        params=param_of,
        outputs=outputs,
        output_structure=structure,
        rebuild_outputs=rebuild_outputs,
        captures=context.captures,
        arguments=tuple(arguments),
        place=None if origin is None else Place(origin.file, origin.line, origin.function),
        leaf_types=tuple(type(leaf) for leaf in leaves),
        written=tuple(index for index, memory in memories.items() if memory.written),
        memories=memories,
        returned=returned if len(returned) == len(outputs) else (),
    )


def staged(fun: Callable[..., Any]) -> Callable[..., Any]:
    """What to call in place of a user's function within the active trace."""
    found: Callable[..., Any] = TraceHooks(current_trace().captures).entry(fun)
    return found


def share_returned(traced: Traced, leaves: Sequence[Any]) -> None:
    """Let what a function returned be the arguments that it returned, or views of them.

    ``leaves`` are arrays of the active trace that stand for the leaves of the output. What is
    written to afterwards may be one of the others, which then can't be used any more.
    """
    trace = current_trace()
    places: list[tuple[Memory, Memory]] = []  # within the function, outside of it
    for index, inner in traced.memories.items():
        given = traced.arguments[index].memory
        if given is not None:
            places.append((inner, given))
    for leaf, memory in zip(leaves, traced.returned, strict=False):
        outer: Memory | None = getattr(leaf, "memory", None)
        if memory is None or outer is None:
            continue
        for within, other in places:
            if memory.may_be(within) and outer is not other:
                outer.share_with(trace, other)
        if memory.build is trace.build and memory is not outer:
            outer.share_with(trace, memory)  # an array of the enclosing function
        places.append((memory, outer))


def inline(function: Function, values: Sequence[Any]) -> Any:
    """Append the operations of ``function`` to the active trace.

    Returns
    -------
    A tracer, or a tuple of tracers if ``function`` does not have exactly one result.
    """
    # Sizes may have been found equal since the function was made.
    substitute_sizes(function.body, current_trace().sizes.replaced)
    results = tuple(append(lambda given: appended(function, given), values))
    return results[0] if len(results) == 1 else results


def append(make: Callable[[list[Value]], Sequence[Value]], values: Sequence[Any]) -> list[Tracer]:
    """Append to the active trace what ``make`` builds from the IR values of ``values``."""
    context = current_trace()
    made: Sequence[Value] = context.run(make, [lift(value).value for value in values])
    return [Tracer(value) for value in made]


def appended(function: Function, values: Sequence[Value]) -> list[Value]:
    """Append the operations of ``function``, applied to ``values``, to the current builder."""
    env: dict[Value, Value] = dict(zip(function.params, values, strict=True))
    for op in function.body.ops:
        env.update(zip(op.results, current().copy(op, env).results, strict=True))
    return [env.get(value, value) for value in function.results]


def as_tangent(tangent: Any, primal: Any, name: str, what: str = "tangent") -> Tracer:
    """``tangent`` in the dtype of ``primal``; their shapes are equal from here on.

    Raises
    ------
    ArgumentError : the shapes differ, or the tangent has a dtype that can't be brought to it.
    """
    x, dot = lift(primal), lift(tangent)
    sizes = current_trace().sizes
    if len(x.value.shape) != len(dot.value.shape) or not all(
        sizes.equal(a, b) for a, b in zip(x.value.shape, dot.value.shape, strict=True)
    ):
        raise ArgumentError(
            f"the {what} of {name!r} has shape {shape_text(sizes, dot.value.shape)}, {name!r} has "
            f"{shape_text(sizes, x.value.shape)}",
            way_out=f"give a {what} of the same shape",
        )
    return cast(dot, x.dtype)


def same_length(arrays: Sequence[Any]) -> Dim:
    """The length of the first dimension of arrays; they are equal from here on.

    Raises
    ------
    ArgumentError : the lengths differ.
    """
    sizes = current_trace().sizes
    lengths = [lift(x).value.shape[0] for x in arrays]
    for each in lengths[1:]:
        if not sizes.equal(lengths[0], each):
            shown = " and ".join(str(sizes.number(n) or n) for n in (lengths[0], each))
            raise ArgumentError(
                f"the batch dimensions have different lengths: {shown}",
                way_out="give arrays of one length along the mapped axes",
            )
    return sizes.resolve(lengths[0])


def stop_gradient(x: Any) -> Any:
    """``x`` as it is, and a constant for every derivative; trees leaf by leaf."""
    if isinstance(x, Tracer):
        return Tracer(current_trace().emit("stop_gradient", x.value), x.weak)
    if tree.is_plain(x) or isinstance(x, TracedInt):
        return x
    leaves, structure = tree.flatten(x)
    if structure == tree.LEAF:
        return x
    return tree.unflatten(structure, [stop_gradient(leaf) for leaf in leaves])


# --- results ----------------------------------------------------------------------------------


def _outputs(
    out: Any,
) -> tuple[list[Value], Callable[[Sequence[Any]], Any], tuple[OutputLeaf, ...], tree.Structure]:
    """The distinct result values, how to rebuild the user's tree from them, and its leaves."""
    # One traced value, the common case, does not need the tree library, whose import takes time.
    lone = isinstance(out, Tracer | TracedInt)
    leaves, structure = ([out], tree.LEAF) if lone else tree.flatten(out)
    if any(isinstance(leaf, RolledList) for leaf in leaves):
        listed = [leaf.items() if isinstance(leaf, RolledList) else leaf for leaf in leaves]
        return _outputs(tree.unflatten(structure, listed))
    results: list[Value] = []
    found: list[OutputLeaf] = []
    constants: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Maybe | Torn):
            leaf = settled(leaf, "the result")
        if isinstance(leaf, Items):
            raise NeedsValue(
                "the function returns a range whose bounds are only known at run time",
                way_out="return the bounds",
            )
        if isinstance(leaf, Tracer | TracedInt | np.ndarray | np.generic | float):
            value = lift(leaf).value
            if value not in results:
                results.append(value)
            found.append(OutputLeaf(value, results.index(value)))
            constants.append(None)
        else:
            known = isinstance(leaf, bool | int)
            dtype = ir_dtype(np.result_type(type(leaf))) if known else None
            found.append(OutputLeaf(None, None, None if dtype is None else ArrayType(dtype)))
            constants.append(leaf)
    picks = tuple(each.result for each in found)

    def rebuild(values: Sequence[Any]) -> Any:
        return tree.unflatten(
            structure,
            [
                constant if pick is None else values[pick]
                for pick, constant in zip(picks, constants, strict=True)
            ],
        )

    return results, rebuild, tuple(found), structure


def _check_effects(captures: Captures) -> None:
    """The function may not have changed what it read outside: it would not happen again."""
    changed = captures.changed()
    if changed is not None:
        raise UnsupportedError(
            f"the function changes {changed!r} while it runs; a compiled kernel would not",
            way_out="return what is to be kept instead of storing it outside",
        )


def _check_scopes(region: Region, results: Sequence[Value]) -> None:
    """No value of an inner trace or of another trace may have got in."""
    defined: set[Value] = set(region.params)

    def check(inner: Region) -> None:
        defined.update(inner.params)
        for op in inner.ops:
            if not defined.issuperset(op.operands):
                _escaped(op.location)
            for each in op.regions:
                check(each)
            defined.update(op.results)
        if not defined.issuperset(inner.yields):
            _escaped(None)

    check(region)
    if not defined.issuperset(results):
        _escaped(None)


def _escaped(location: Location | None) -> None:
    raise UnsupportedError(
        "a traced value is used outside the function call it belongs to",
        place=None if location is None else Place(location.file, location.line, location.function),
        way_out="return values from the function instead of storing them outside",
    )


def _function_name(fun: Any) -> str:
    name = getattr(fun, "__name__", type(fun).__name__)
    if name == "<lambda>" or not name.isidentifier() or keyword.iskeyword(name):
        return "function"
    return str(name)


def _origin(fun: Any) -> Location | None:
    seen = fun
    while hasattr(seen, "__wrapped__") and is_library(getattr(seen, "__module__", None)):
        seen = seen.__wrapped__  # a verb that is traced with the function it is applied to
    while not hasattr(seen, "__code__"):
        inner = getattr(seen, "__func__", None) or getattr(seen, "func", None)
        inner = inner or getattr(seen, "py_func", None) or getattr(type(seen), "__call__", None)  # noqa: B004  # the method itself
        if inner is None or inner is seen or isinstance(seen, type):
            return None
        seen = inner
    code = seen.__code__
    return Location(code.co_filename, code.co_firstlineno, function=code.co_name)


def _finish(
    context: Trace,
    fun: Any,
    results: Sequence[Value],
    size_params: Mapping[str, int],
    origin: Location | None,
) -> Function:
    """Close the function with its sizes under their final names."""
    region = context.build.region
    sizes = context.sizes
    region.yields = tuple(results)
    left = list(dict.fromkeys(_symbols_in(region)))
    taken = {param.hint for param in region.params} | set(size_params)
    taken.update(value.hint for op in region.walk() for value in op.results)
    fresh = _size_names(taken)
    renamed: dict[str, Dim] = {}
    for name in left:
        if name not in size_params:
            hinted = name in sizes.hints
            renamed[name] = symbol(next(fresh) if hinted else _count_name(renamed, taken))
    # Guards may mention sizes that no type has any more.
    for guard in sizes.guards:
        for name in (*symbols(sizes.resolve(guard.left)), *symbols(sizes.resolve(guard.right))):
            if name not in renamed and name not in size_params:
                renamed[name] = symbol(next(fresh))
    substitute_sizes(region, renamed)
    hints = {
        str(renamed.get(name, symbol(name))): hint
        for name, hint in sizes.hints.items()
        if name in renamed or name in size_params
    }
    return context.build.function(
        _function_name(fun),
        results,
        size_params=size_params,
        guards=sizes.final_guards(renamed),
        hints=hints,
        origin=origin,
        result_names=[value.hint for value in results],
        title=_function_name(fun),
    )


def _symbols_in(region: Region) -> Iterator[str]:
    for param in region.params:
        for dim in param.shape:
            yield from symbols(dim)
    for op in region.walk():
        for result in op.results:
            for dim in result.shape:
                yield from symbols(dim)
        for attribute in op.attributes.values():
            yield from _symbols_of(attribute)


def _symbols_of(attribute: Any) -> Iterator[str]:
    if isinstance(attribute, Size):
        yield from symbols(attribute)
    elif isinstance(attribute, tuple):
        for part in attribute:
            yield from _symbols_of(part)


def _size_names(taken: set[str]) -> Iterator[str]:
    for name in ("n", "m", "k", "p", "q", "r"):
        if name not in taken:
            yield name
    number = 1
    while True:
        if f"n{number}" not in taken:
            yield f"n{number}"
        number += 1


def _count_name(renamed: Mapping[str, Dim], taken: set[str]) -> str:
    used = {is_symbol(dim) for dim in renamed.values()} | taken
    number = 1
    while f"count{number if number > 1 else ''}" in used:
        number += 1
    return f"count{number if number > 1 else ''}"
