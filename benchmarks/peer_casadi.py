"""CasADi as a contestant: the workload's text on its matrix symbols, compiled by gcc through C.

CasADi has matrices only and does not broadcast; `Array` gives them NumPy's ranks and rules, as
far as the workloads need them, so that all peers run one text. What has more than two axes is out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import optree

from .case import Case
from .rebind import rebind

__all__ = ["Array", "prepare"]

SMALL = 600
"""Inputs with no more elements than this are taken apart into scalars: straight C, no loops."""
LONGEST = 200_000
"""Bytes of C that gcc is given; what is longer runs on CasADi's own machine."""
PATIENCE = 15.0
"""Seconds that gcc is given; after that, too."""


def prepare(case: Case, args: tuple[Any, ...]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Compile value and gradient for the shapes and integers in ``args``; a call and a reader.

    The call evaluates from the arguments' buffers into buffers of its own: no allocation, no
    copies, nothing checked. It is the fastest way CasADi offers from Python.
    """
    import casadi

    found, tree = optree.tree_flatten(args)
    floats: list[np.ndarray[Any, Any]] = []
    leaves: list[Any] = []
    for position, leaf in enumerate(found):
        array = np.asarray(leaf)
        if array.dtype.kind != "f":
            leaves.append(leaf)  # indices shape the expression
            continue
        shape = array.shape
        if array.ndim == 3:  # rows hold the matrices of a stack
            array = array.reshape(shape[0], -1)
        floats.append(array)
        matrix = casadi.MX.sym(f"x{position}", *(*array.shape, 1, 1)[:2])
        leaves.append(Array(matrix, shape) if len(shape) < 3 else Stack(matrix, shape))
    symbolic = optree.tree_unflatten(tree, leaves)
    text = rebind(case.text("casadi"), _Names(), _Names(), SimpleNamespace(scan=_scan))
    value = _array(text(*symbolic)).matrix
    argnums = (case.argnums,) if isinstance(case.argnums, int) else case.argnums
    wanted = optree.tree_leaves(tuple(symbolic[position] for position in argnums))
    symbols = [leaf.matrix for leaf in leaves if isinstance(leaf, (Array, Stack))]
    (bars,) = casadi.reverse([value], [leaf.matrix for leaf in wanted], [[casadi.MX(1)]], {})
    outputs = [casadi.densify(out) for out in (value, *bars)]
    compute = casadi.Function("value_and_grad", symbols, outputs)
    if sum(array.size for array in floats) <= SMALL and case.group != "loop":
        symbols = [casadi.SX.sym(f"x{i}", *symbol.shape) for i, symbol in enumerate(symbols)]
        outputs = compute.call(symbols)
    compute = _compiled(symbols, outputs)
    shapes = [(), *(leaf.shape for leaf in wanted)]
    buffer, trigger = compute.buffer()
    # Matrices lie column by column.
    inputs = [np.array(array, dtype=np.float64, order="F") for array in floats]
    results = [
        np.zeros(
            (*shape[:1], np.prod(shape[1:], dtype=int)) if len(shape) == 3 else shape, order="F"
        )
        for shape in shapes
    ]
    for position, array in enumerate(inputs):
        buffer.set_arg(position, memoryview(array.reshape(-1, order="F")))
    for position, array in enumerate(results):
        buffer.set_res(position, memoryview(array.reshape(-1, order="F")))

    def read() -> list[np.ndarray[Any, Any]]:
        return [array.reshape(shape) for array, shape in zip(results, shapes, strict=True)]

    # CasADi holds the addresses only: the call keeps inputs and results alive.
    read.buffers = buffer, inputs  # type: ignore[attr-defined]  # kept alive with it
    return trigger, read


def _compiled(symbols: list[Any], outputs: list[Any]) -> Any:
    """The function through gcc, where that is to be had in time; else as CasADi's machine runs it.

    CasADi writes C into the current directory.
    """
    import casadi

    name = "value_and_grad"
    function = casadi.Function(name, symbols, outputs)
    if not shutil.which("gcc"):
        return function
    here = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        os.chdir(directory)
        try:
            function.generate(f"{name}.c")
            if os.path.getsize(f"{name}.c") > LONGEST:
                return function
            flags = ["-O2", "-ftree-vectorize", "-march=native", "-fPIC", "-shared"]
            command = ["gcc", *flags, f"{name}.c", "-o", f"{name}.so", "-lm"]
            subprocess.run(command, check=True, timeout=PATIENCE)
            return casadi.external(name, f"{directory}/{name}.so")
        except subprocess.TimeoutExpired:
            return function
        finally:
            os.chdir(here)


class Stack:
    """Matrices in a row, each one a row of CasADi's; all that can be done is to take one."""

    def __init__(self, matrix: Any, shape: tuple[int, ...]) -> None:
        self.matrix = matrix
        self.shape = shape

    def __getitem__(self, position: int) -> Array:
        import casadi

        _, rows, columns = self.shape
        return Array(casadi.reshape(self.matrix[position, :], columns, rows).T, (rows, columns))


class Array:
    """A CasADi matrix with NumPy's shape: a vector is a column, a scalar has one element."""

    def __init__(self, matrix: Any, shape: tuple[int, ...]) -> None:
        if len(shape) > 2:
            raise NotImplementedError("CasADi's arrays have two axes")
        self.matrix = matrix
        self.shape = shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Array:
        return Array(self.matrix.T, self.shape[::-1]) if self.ndim == 2 else self

    def as_shape(self, shape: tuple[int, ...]) -> Any:
        """The matrix of this array broadcast to ``shape``."""
        import casadi

        if self.shape == shape:
            return self.matrix
        matrix = self.matrix
        if self.ndim == 1 and len(shape) == 2:
            matrix = matrix.T
        rows, columns = (*shape, 1, 1)[:2]
        if matrix.shape == (1, 1) and (rows, columns) != (1, 1):
            return casadi.repmat(matrix, rows, columns)
        return casadi.repmat(matrix, rows // matrix.shape[0], columns // matrix.shape[1])

    def __getitem__(self, key: Any) -> Array:
        keys = list(key) if isinstance(key, tuple) else [key]
        if None in [k if k is None else 0 for k in keys]:
            if self.ndim == 2:
                raise NotImplementedError("CasADi's arrays have two axes")
            row = keys[0] is None
            return Array(self.matrix.T, (1, self.shape[0])) if row else Array(
                self.matrix, (self.shape[0], 1)
            )  # fmt: skip
        keys += [slice(None)] * (self.ndim - len(keys))
        if self.ndim == 2 and all(isinstance(k, np.ndarray) for k in keys):
            flat = [int(i + self.shape[0] * j) for i, j in zip(*keys, strict=True)]
            return Array(self.matrix[flat], (len(flat),))
        sizes, picks = [], []
        for k, size in zip(keys, self.shape, strict=True):
            if isinstance(k, slice):
                picks.append(k)
                sizes.append(len(range(*k.indices(size))))
            elif isinstance(k, Array):
                picks.append(k.matrix)
            elif np.ndim(k) == 1:
                picks.append([int(i) for i in k])
                sizes.append(len(k))
            else:
                picks.append(int(k) % size)
        shape = tuple(sizes)
        found = self.matrix[picks[0], picks[1]] if self.ndim == 2 else self.matrix[picks[0]]
        if len(shape) == 1 and found.shape != (shape[0], 1):
            found = found.T
        return Array(found, shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: Any) -> Array:
        raise NotImplementedError("matrices lie column by column")

    def __matmul__(self, other: Any) -> Array:
        import casadi

        other = _array(other)
        left = self.matrix.T if self.ndim == 1 else self.matrix
        product = casadi.mtimes(left, other.matrix)
        shape = self.shape[:-1] + other.shape[1:]
        return Array(product.T if self.ndim == 1 and other.ndim == 2 else product, shape)

    def __neg__(self) -> Array:
        return Array(-self.matrix, self.shape)

    def __invert__(self) -> Array:
        import casadi

        return Array(casadi.logic_not(self.matrix), self.shape)

    def __pow__(self, power: Any) -> Array:
        return self * self if power == 2 else _pair(lambda a, b: a**b, self, power)


def _array(value: Any) -> Array:
    import casadi

    if isinstance(value, Array):
        return value
    constant = np.asarray(value, dtype=np.float64)
    return Array(casadi.MX(casadi.DM(constant)), constant.shape)


def _pair(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Array:
    a, b = _array(a), _array(b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    # CasADi spreads a scalar by itself.
    left, right = (x.matrix if x.matrix.is_scalar() else x.as_shape(shape) for x in (a, b))
    out = function(left, right)
    rows, columns = (*shape, 1, 1)[:2]
    return Array(out, shape) if out.shape == (rows, columns) else Array(
        Array(out, ()).as_shape(shape), shape
    )  # fmt: skip


def _operators() -> None:
    def methods(name: str, function: Callable[[Any, Any], Any]) -> None:
        setattr(Array, f"__{name}__", lambda a, b: _pair(function, a, b))
        setattr(Array, f"__r{name}__", lambda a, b: _pair(function, b, a))

    methods("add", lambda a, b: a + b)
    methods("sub", lambda a, b: a - b)
    methods("mul", lambda a, b: a * b)
    methods("truediv", lambda a, b: a / b)
    methods("lt", lambda a, b: a < b)
    methods("gt", lambda a, b: a > b)
    methods("le", lambda a, b: a <= b)
    methods("ge", lambda a, b: a >= b)
    methods("and", _logic("logic_and"))
    methods("or", _logic("logic_or"))


def _logic(name: str) -> Callable[[Any, Any], Any]:
    def function(a: Any, b: Any) -> Any:
        import casadi

        return getattr(casadi, name)(a, b)

    return function


_operators()
Array.__array_ufunc__ = None  # type: ignore[attr-defined]  # NumPy leaves operators to us


class _Names:
    """NumPy's functions on `Array`; on anything else they are NumPy's own."""

    ELEMENTWISE = (
        "exp", "log", "sin", "cos", "tan", "tanh", "sqrt", "erf", "log1p", "fabs",
    )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        def function(*args: Any, **options: Any) -> Any:
            if not any(isinstance(leaf, Array) for leaf in optree.tree_leaves((args, options))):
                return getattr(np, name)(*args, **options)
            if name in self.ELEMENTWISE:
                import casadi

                (x,) = args
                return Array(getattr(casadi, name)(x.matrix), x.shape)
            return getattr(_Functions, name)(*args, **options)

        return getattr(np, name) if name in ("pi", "inf", "newaxis") else function


class _Functions:
    """What is not elementwise, or goes by another name."""

    @staticmethod
    def sum(x: Any, axis: int | None = None, keepdims: bool = False) -> Array:
        import casadi

        if axis is None or x.ndim < 2:
            return Array(casadi.sum1(casadi.sum2(x.matrix)), ())
        axis %= 2
        total = casadi.sum1(x.matrix) if axis == 0 else casadi.sum2(x.matrix)
        if keepdims:
            return Array(total, (1, x.shape[1]) if axis == 0 else (x.shape[0], 1))
        return Array(total.T if axis == 0 else total, (x.shape[1 - axis],))

    @staticmethod
    def mean(x: Any) -> Array:
        total: Array = _Functions.sum(x) * (1.0 / np.prod(x.shape))
        return total

    @staticmethod
    def max(x: Any, axis: int, keepdims: bool = False) -> Array:
        import casadi

        if axis % x.ndim != x.ndim - 1:
            raise NotImplementedError("largest of a column")
        columns = casadi.horzsplit(x.matrix) if x.ndim == 2 else casadi.vertsplit(x.matrix)
        top = columns[0]
        for column in columns[1:]:
            top = casadi.fmax(top, column)
        shape = x.shape[:-1] + ((1,) if keepdims else ())
        return Array(top, shape)

    @staticmethod
    def abs(x: Array) -> Array:
        import casadi

        return Array(casadi.fabs(x.matrix), x.shape)

    @staticmethod
    def expit(x: Array) -> Any:
        import casadi

        return 1.0 / (1.0 + Array(casadi.exp(-x.matrix), x.shape))

    @staticmethod
    def where(condition: Any, a: Any, b: Any) -> Array:
        import casadi

        condition, a, b = map(_array, (condition, a, b))
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
        return Array(casadi.if_else(*(x.as_shape(shape) for x in (condition, a, b))), shape)

    @staticmethod
    def concatenate(parts: list[Any]) -> Array:
        import casadi

        arrays = [_array(part) for part in parts]
        if any(array.ndim != 1 for array in arrays):
            raise NotImplementedError("vectors only")
        joined = casadi.vertcat(*(array.matrix for array in arrays))
        return Array(joined, (joined.shape[0],))

    @staticmethod
    def stack(arrays: list[Any], axis: int) -> Array:
        import casadi

        if axis != 1 or any(array.ndim != 1 for array in arrays):
            raise NotImplementedError("vectors, side by side")
        joined = casadi.horzcat(*(array.matrix for array in arrays))
        return Array(joined, joined.shape)

    @staticmethod
    def array(values: list[Any]) -> Array:
        import casadi

        if isinstance(values, Array):
            return values
        joined = casadi.vertcat(*(_array(value).matrix for value in values))
        return Array(joined, (joined.shape[0],))

    @staticmethod
    def zeros_like(x: Array) -> Any:
        return np.zeros(x.shape)

    @staticmethod
    def ones_like(x: Array) -> Any:
        return np.ones(x.shape)


def _scan(
    step: Callable[..., Any], init: Any, xs: Any, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """``jax.lax.scan`` in terms of ``mapaccum``; what the step reads from outside is carried."""
    import casadi

    carry, carry_tree = optree.tree_flatten(init)
    carry = [_array(leaf) for leaf in carry]
    sequences, x_tree = optree.tree_flatten(xs)
    sequences = [_array(leaf) for leaf in sequences]
    steps = length if not sequences else len(sequences[0])
    before = [_symbol("carry", array.shape) for array in carry]
    each = [_symbol("x", array.shape[1:]) for array in sequences]
    after, out = step(
        optree.tree_unflatten(carry_tree, before), optree.tree_unflatten(x_tree, each)
    )
    outputs, out_tree = optree.tree_flatten(out)
    results = [_array(leaf) for leaf in (*optree.tree_leaves(after), *outputs)]
    own = [array.matrix for array in (*before, *each)]
    names = {symbol.__hash__() for symbol in own}
    used = casadi.symvar(casadi.veccat(*(array.matrix for array in results)))
    outer = [symbol for symbol in used if symbol.__hash__() not in names]
    body = casadi.Function(
        "body",
        [*(a.matrix for a in before), *outer, *(a.matrix for a in each)],
        [
            *(casadi.densify(a.matrix) for a in results[: len(carry)]),
            *outer,
            *(casadi.densify(a.matrix) for a in results[len(carry) :]),
        ],
    )
    lanes = [array.matrix.T for array in sequences]
    backwards = list(range(steps - 1, -1, -1))
    if reverse:
        lanes = [lane[:, backwards] for lane in lanes]
    count = len(carry) + len(outer)
    loop = body.mapaccum("loop", steps, list(range(count)), list(range(count)), {})
    found = loop.call([*(a.matrix for a in carry), *outer, *lanes])
    final = [
        Array(stack[:, -a.as_shape(a.shape).shape[1] :], a.shape)
        for stack, a in zip(found, carry, strict=False)
    ]
    stacked = []
    for stack, a in zip(found[count:], results[len(carry) :], strict=True):
        stacked.append(Array((stack[:, backwards] if reverse else stack).T, (steps, *a.shape)))
    return (
        optree.tree_unflatten(carry_tree, final),
        optree.tree_unflatten(out_tree, stacked),
    )


def _symbol(name: str, shape: tuple[int, ...]) -> Array:
    import casadi

    return Array(casadi.MX.sym(name, *(*shape, 1, 1)[:2]), shape)
