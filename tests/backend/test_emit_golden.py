"""Whole printed sources, reviewed by people and run here.

``TRACEGRAD_REWRITE_GOLDEN=1 python -m pytest tests/backend/test_emit_golden.py`` writes them anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.backend import golden_model
from tests.backend.loop_form import INDEX, SCALAR, Loops, less
from tracegrad import ops
from tracegrad.backend.compile import KernelOptions, array_type, compile_kernel, run_plain
from tracegrad.backend.compile import scalar_type as scalar_kernel_type
from tracegrad.backend.emit import emit_array_form, emit_loop_form, entry_name
from tracegrad.errors import GuardFailed
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Guard, Location
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f32, f64, i64, symbol

GOLDEN = Path(__file__).parent.parent / "golden"
REWRITE = "TRACEGRAD_REWRITE_GOLDEN"
MODEL = golden_model.__file__
n, m = symbol("n"), symbol("m")
MATRIX, VECTOR = ArrayType(f64, (n, m)), ArrayType(f64, (m,))


def at(line: int) -> Location:
    return Location(MODEL, line)


def loss_value_and_grad() -> Function:
    """The example of the style guide, as the scheduler makes it."""
    with Builder() as build:
        x, w = build.param(MATRIX, "x"), build.param(VECTOR, "w")
        make = Loops(build)
        x_bar = make.alloc(n, m, hint="x_bar")
        w_bar = make.alloc(m, hint="w_bar", fill=0)

        def columns(i, j, out):
            item = make.load(x, i, j)
            with build.at(at(7)):
                s = ops.sin(item)
                s.hint = "s"
            with build.at(at(8)):
                term = s * make.load(w, j)
                out = out + term
            with build.at(at(8), "reverse"):
                make.add_store(s, w_bar, j)
                s_bar = make.load(w, j, hint="s_bar")
            with build.at(at(7), "reverse"):
                product = s_bar * ops.cos(item)
                product.hint = "x_bar"
                make.store(product, x_bar, i, j)
            return [out]

        def rows(i, out):
            return make.loop(
                make.dim(m), lambda j, out: columns(i, j, out), out, hints=["out"], index="j"
            )

        (out,) = make.loop(make.dim(n), rows, make.num(0.0), index="i")
        return build.function(
            "loss_value_and_grad",
            [out, x_bar, w_bar],
            guards=[Guard(n, ">=", 1)],
            hints={"n": 1000, "m": 50},
            origin=at(6),
            result_names=["out", "x_bar", "w_bar"],
            title="value and gradient of loss",
        )


def clipped() -> Function:
    """An accumulator over a branch; a guard on an int argument."""
    with Builder() as build:
        x = build.param(ArrayType(f64, (n,)), "x")
        limit = build.param(SCALAR, "limit")
        build.param(INDEX, "count")
        make = Loops(build)

        def body(i, total):
            with build.at(at(14)):
                v = make.load(x, i, hint="v")
                return make.when(less(v, limit), lambda: [total + v], lambda: [total + limit])

        (total,) = make.loop(make.dim(symbol("count")), body, make.num(0.0), hints=["total"])
        return build.function(
            "clipped",
            [total],
            size_params={"count": 2},
            guards=[Guard(symbol("count"), "<=", n)],
            origin=at(11),
        )


def gathered() -> Function:
    """Index checks, a scratch buffer of another dtype, a matrix product and an alias."""
    with Builder() as build:
        x = build.param(ArrayType(f64, (n,)), "x")
        where = build.param(ArrayType(i64, (m,)), "at")
        make = Loops(build)
        picked = make.alloc(m, hint="picked")
        small = make.alloc(m, dtype=f32)

        def body(k, total):
            index = make.check_index(make.load(where, k), make.dim(n))
            with build.at(at(19)):
                item = make.load(x, index)
                make.store(item, picked, k)
                make.store(ops.cast(item, dtype=f32), small, k)
            return [total + item]

        (total,) = make.loop(make.dim(m), body, make.num(0.0))
        column = make.op("alias", picked, attributes={"shape": (m, 1)}, type=ArrayType(f64, (m, 1)))
        square = make.alloc(1, 1, hint="square")
        build.emit(
            ops.gemm,
            [column, column, square],
            {"transpose_a": True, "transpose_b": False},
            (),
            (),
        )
        return build.function("gathered", [total, square, small], result_names=["", "", ""])


def array_loss() -> Function:
    """Array form: a NumPy statement per operation."""
    with Builder() as build:
        x, w = build.param(MATRIX, "x"), build.param(VECTOR, "w")
        with build.at(at(7)):
            s = ops.sin(x)
            s.hint = "s"
        with build.at(at(8)):
            wide = ops.view(w, shape=(n, m), map=((1, 0, 1),))
            out = ops.sum(s * wide, axes=(0, 1))
        with build.at(at(8), "reverse"):
            w_bar = ops.sum(s, axes=(0,))
            w_bar.hint = "w_bar"
        return build.function("array_loss", [out, w_bar], origin=at(6), title="loss and w_bar")


rng = np.random.default_rng(0)
CASES: dict[str, tuple[Callable[[], Function], tuple[object, ...]]] = {
    "loss_value_and_grad": (loss_value_and_grad, (rng.normal(size=(4, 3)), rng.normal(size=3))),
    "clipped": (clipped, (rng.normal(size=5), 0.1, 4)),
    "gathered": (gathered, (rng.normal(size=4), np.array([1, -1, 1, 0]))),
    "array_loss": (array_loss, (rng.normal(size=(4, 3)), rng.normal(size=3))),
}


def source_of(function: Function) -> str:
    loops = any(op.name in ("alloc", "for") for op in function.walk())
    return emit_loop_form(function) if loops else emit_array_form(function)


@pytest.mark.parametrize("name", CASES)
def test_source_is_the_golden_one(name):
    make, _ = CASES[name]
    path = GOLDEN / f"{name}.py.txt"
    source = source_of(make())
    assert source == source_of(make()), "printing is deterministic"
    if os.environ.get(REWRITE):
        path.write_text(source, encoding="utf-8")
    assert source == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_golden_source_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path))
    make, arguments = CASES[name]
    function = make()
    source = (GOLDEN / f"{name}.py.txt").read_text(encoding="utf-8")
    expected = evaluate(function, *arguments)
    runs = [run_plain(source, entry_name(function))]
    if not name.startswith("array"):
        signature = [
            array_type(p.dtype.numpy, p.rank) if p.rank else scalar_kernel_type(p.dtype.numpy)
            for p in function.params
        ]
        options = KernelOptions(cache=False)
        runs.append(compile_kernel(source, entry_name(function), signature, options=options))
    for run in runs:
        found = run(*arguments)
        found = found if isinstance(found, tuple) else (found,)
        for result, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(result, reference, rtol=1e-14)


def plain(name: str) -> Callable[..., object]:
    return run_plain((GOLDEN / f"{name}.py.txt").read_text(encoding="utf-8"), name)


def test_guards_are_checked_inside():
    with pytest.raises(GuardFailed, match=r"^w.shape\[0\] == x.shape\[1\]$"):
        plain("loss_value_and_grad")(np.ones((2, 3)), np.ones(4))
    with pytest.raises(GuardFailed, match=r"^n >= 1$"):
        plain("loss_value_and_grad")(np.ones((0, 3)), np.ones(3))
    with pytest.raises(GuardFailed, match=r"^count <= n$"):
        plain("clipped")(np.ones(3), 0.5, 4)


@pytest.mark.parametrize("index", [4, -5, 2**40])
def test_indices_are_checked_and_never_read_outside(index):
    with pytest.raises(IndexError, match="out of bounds for axis 0"):
        plain("gathered")(np.ones(4), np.array([0, index]))
