"""`pure_callback`: a call of a Python function from within a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad import ops, tracing, tree
from tracegrad.arguments import Binder
from tracegrad.errors import ArgumentError, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim, DType, f64, i64, product
from tracegrad.ops.callbacks import Callback, number_of
from tracegrad.ops.constants import dim_value
from tracegrad.staging import unstaged
from tracegrad.tracing.integers import TracedInt, as_dim
from tracegrad.tracing.values import ir_dtype

Fun = Callable[..., Any]


class ShapeDtypeStruct:
    """A shape and a dtype, in the place of an array that is not there yet.

    >>> import numpy as np, tracegrad as tg
    >>> tg.ShapeDtypeStruct((3,), np.float32)
    ShapeDtypeStruct((3,), float32)
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self.shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        self.dtype = np.dtype(dtype)

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct({self.shape}, {self.dtype})"


def pure_callback(fun: Fun, results: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """See `tracegrad.pure_callback`."""
    if not callable(fun):
        raise ArgumentError(f"pure_callback takes a function, not {type(fun).__name__}")
    declared, structure = tree.flatten(results)
    if not declared:
        raise ArgumentError("pure_callback needs a declaration of at least one result")
    wanted = [_declared(each) for each in declared]
    name = str(getattr(fun, "__name__", fun))
    if not tracing.active():
        callback = Callback(fun, name)
        found = _leaves(callback, fun(*args, **kwargs), structure)
        shapes = [tuple(int(size) for size in shape) for shape, _ in wanted]
        dtypes = [dtype for _, dtype in wanted]
        return tree.unflatten(structure, _fitting(callback, found, shapes, dtypes))
    return _traced(fun, name, wanted, structure, args, kwargs)


def _traced(
    fun: Fun,
    name: str,
    wanted: Sequence[tuple[tuple[Any, ...], np.dtype[Any]]],
    structure: tree.Structure,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """One operation, whose result has those of the function side by side."""
    _refuse_traced_cells(fun, name)
    fun = unstaged(fun)
    shape, leaves, kinds = Binder(lambda *args, **kwargs: None, (), ()).bind(args, kwargs)
    moving = [k for k, kind in enumerate(kinds) if kind.kind != "static"]
    dtypes = [dtype for _, dtype in wanted]
    ranks = [len(each) for each, _ in wanted]
    dtype = _common(dtypes)

    def call(*given: Any) -> np.ndarray:
        values = list(leaves)
        for k, value in zip(moving, given, strict=False):
            values[k] = value
        sizes = iter(given[len(moving) :])
        shapes = [tuple(int(next(sizes)) for _ in range(rank)) for rank in ranks]
        inner_args, inner_kwargs = shape.rebuild(values)
        found = _leaves(callback, fun(*inner_args, **inner_kwargs), structure)
        pieces = _fitting(callback, found, shapes, dtypes)
        return np.concatenate([np.ravel(p).astype(dtype.numpy) for p in pieces])

    callback = Callback(call, name)
    for k in moving:  # the values of the trace are not to be kept
        leaves = [*leaves[:k], None, *leaves[k + 1 :]]
    statics = tuple(leaves[k] for k in range(len(leaves)) if k not in moving)
    number = number_of(callback, _key(fun, statics, tuple(moving), shape, structure, wanted))
    dims = [tuple(as_dim(size) for size in each) for each, _ in wanted]
    counts = [product(each) for each in dims]
    total: Dim = sum(counts[1:], start=counts[0])
    inputs = [tracing.lifted(leaf) for leaf in _bound(args, kwargs, moving)]

    def made(values: list[Value]) -> list[Value]:
        sizes = [dim_value(size) for each in dims for size in each]
        return [ops.callback(*values, *sizes, number=number, shape=(total,), dtype=dtype)]

    (flat,) = tracing.append(made, inputs)
    found, start = [], 0
    for (each, leaf_dtype), count in zip(wanted, counts, strict=True):
        size = tracing.size_of(count)
        piece = flat[start : start + size] if len(wanted) > 1 else flat
        start = start + size
        piece = np.reshape(piece, each) if each else piece[0]
        found.append(piece if piece.dtype == leaf_dtype else piece.astype(leaf_dtype))
    return tree.unflatten(structure, found)


def _refuse_traced_cells(fun: Fun, name: str) -> None:
    code = getattr(fun, "__code__", None)
    for variable, cell in zip(
        () if code is None else code.co_freevars, getattr(fun, "__closure__", ()) or (), strict=True
    ):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if any(map(tracing.is_tracer, tree.flatten(value)[0])):
            raise ArgumentError(
                f"the callback {name} uses {variable!r}, which is only known when the kernel runs",
                way_out="pass it as an argument: pure_callback(f, like, *args)",
            )


def _bound(args: tuple[Any, ...], kwargs: dict[str, Any], moving: Sequence[int]) -> list[Any]:
    _, leaves, _ = Binder(lambda *args, **kwargs: None, (), ()).bind(args, kwargs)
    return [leaves[k] for k in moving]


def _key(fun: Fun, statics: tuple[Any, ...], *rest: Any) -> Any:
    """What makes two calls the same; an object of its own where that can't be told."""
    key = (fun, tuple((type(each), each) for each in statics), repr(rest))
    try:
        hash(key)
    except TypeError:
        return object()
    return key


def _declared(spec: Any) -> tuple[tuple[Any, ...], np.dtype[Any]]:
    """Shape and dtype of something like a result."""
    if isinstance(spec, bool | int | float):
        return (), np.dtype(type(spec))
    if isinstance(spec, TracedInt):
        return (), np.dtype(int)
    shape, dtype = getattr(spec, "shape", None), getattr(spec, "dtype", None)
    if shape is None or dtype is None:
        raise ArgumentError(
            f"pure_callback can't take {spec!r} for the declaration of a result",
            way_out="give an array or number like it, or tracegrad.ShapeDtypeStruct(shape, dtype)",
        )
    if any(isinstance(size, int) and size < 0 for size in shape):
        raise ArgumentError(f"pure_callback is given a shape with a negative size: {tuple(shape)}")
    return tuple(shape), np.dtype(dtype)


def _common(dtypes: Sequence[np.dtype[Any]]) -> DType:
    """The dtype in which the results stand side by side."""
    if len(set(dtypes)) == 1:
        return ir_dtype(dtypes[0])
    if np.dtype(np.int64) not in dtypes:
        return f64
    if all(dtype.kind in "ib" for dtype in dtypes):
        return i64
    raise UnsupportedError(
        "pure_callback with results of 64-bit integers beside floats",
        way_out="use two callbacks, or declare the integers as int32",
    )


def _leaves(callback: Callback, found: Any, structure: tree.Structure) -> list[Any]:
    leaves, given = tree.flatten(found)
    if given != structure:
        callback.refuse(f"returned the structure {given}; {structure} was declared")
    return leaves


def _fitting(
    callback: Callback,
    found: Sequence[Any],
    shapes: Sequence[tuple[int, ...]],
    dtypes: Sequence[np.dtype[Any]],
) -> list[Any]:
    """The results as arrays (numbers for no dimensions) of the declared shapes and dtypes."""
    made = []
    for each, shape, dtype in zip(found, shapes, dtypes, strict=True):
        array = np.asarray(each)
        if array.shape != shape:
            callback.refuse(f"returned an array of shape {array.shape}; {shape} was declared")
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            callback.refuse(f"returned {array.dtype}; {dtype} was declared")
        made.append(array.astype(dtype)[()])
    return made
