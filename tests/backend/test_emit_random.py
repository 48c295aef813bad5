"""Random programs of control flow, carried values and stores: printed and run, against the
interpreter. This is where a variable assigned too early, or an expression read too late, shows.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.backend.loop_form import SCALAR, Loops, less
from tracegrad.backend.compile import compile_kernel, run_plain
from tracegrad.backend.emit import emit_array_form, emit_loop_form
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64
from tracegrad.ops.registry import REGISTRY

SIZE = 4
HINTS = ("", "", "", "a", "out", "x", "t1")


class Program:
    """Writes one random program.

    Parameters
    ----------
    memory : whether it may allocate, load and store (loop form).
    """

    def __init__(self, seed: int, memory: bool) -> None:
        self.random = random.Random(seed)
        self.memory = memory
        self.budget = 24

    def function(self) -> Function:
        with Builder() as build:
            self.make = Loops(build)
            self.buffers: list[Value] = []
            values = [build.param(SCALAR, hint) for hint in ("x", "y")]
            if self.memory:
                self.inputs = [build.param(ArrayType(f64, (SIZE,)), "data")]
                self.buffers = [self.make.alloc(SIZE, hint=h, fill=0) for h in ("", "out")]
            indices = [self.make.int(k) for k in range(SIZE)]
            values, _ = self.statements(4, values, indices)
            results = self.random.choices(values, k=2) + self.buffers
            return build.function(
                "program", results, result_names=["", "out", *["buf"] * 2][: len(results)]
            )

    def statements(
        self, depth: int, values: list[Value], indices: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Some statements; the values visible after them, of which the last few are new."""
        values, indices = list(values), list(indices)
        for _ in range(self.random.randint(1, 5)):
            if self.budget <= 0:
                break
            self.budget -= 1
            kinds = ["arithmetic"] * 4 + (["store", "load"] * 2 if self.memory else [])
            if depth:
                kinds += ["loop", "loop", "when", "when", "repeat"]
            kind = self.random.choice(kinds)
            new = getattr(self, kind)(depth, values, indices)
            for value in new:
                value.hint = self.random.choice(HINTS)
            values += new
        return values, indices

    def pick(self, values: list[Value]) -> Value:
        # The newest values, mostly: chains of single use are what gets inlined.
        near = values[-3:] if self.random.random() < 0.7 else values
        return self.random.choice(near)

    def arithmetic(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        name = self.random.choice(["add", "subtract", "multiply", "negative", "tanh", "maximum"])
        opdef = REGISTRY[name]
        if name in ("negative", "tanh"):
            return [opdef(self.pick(values))]
        other = self.pick(values) if self.random.random() < 0.8 else self.make.num(-0.5)
        return [opdef(self.pick(values), other)]

    def load(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        buffer = self.random.choice(self.buffers + self.inputs)
        return [self.make.load(buffer, self.random.choice(indices))]

    def store(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        make = self.random.choice([self.make.store, self.make.add_store])
        make(self.pick(values), self.random.choice(self.buffers), self.random.choice(indices))
        return []

    def carried(self, values: list[Value]) -> list[Value]:
        return [self.pick(values) for _ in range(self.random.randint(0, 3))]

    def loop(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        inits = self.carried(values)

        def body(index: Value, *carries: Value) -> list[Value]:
            inner, _ = self.statements(depth - 1, [*values, *carries], [*indices, index])
            return [self.pick([*carries, *inner]) for _ in carries]

        count = self.make.int(self.random.randint(0, SIZE))
        return list(self.make.loop(count, body, *inits))

    def when(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        count = self.random.randint(0, 2)

        def arm() -> list[Value]:
            inner, _ = self.statements(depth - 1, values, indices)
            return [self.pick(inner) for _ in range(count)]

        return list(self.make.when(less(self.pick(values), self.pick(values)), arm, arm))

    def repeat(self, depth: int, values: list[Value], indices: list[Value]) -> list[Value]:
        limit = self.make.num(float(self.random.randint(0, 3)))

        def condition(count: Value, *carries: Value) -> Value:
            inner, _ = self.statements(0, [*values, *carries], indices)
            return REGISTRY["logical_and"](
                less(count, limit), less(self.pick(inner), self.make.num(0.9))
            )

        def body(count: Value, *carries: Value) -> list[Value]:
            inner, _ = self.statements(depth - 1, [*values, *carries], indices)
            return [count + 1.0, *(self.pick([*carries, *inner]) for _ in carries)]

        return list(
            self.make.until_done(condition, body, self.make.num(0.0), *self.carried(values))
        )


def check(seed: int, memory: bool) -> tuple[Function, str, list[np.ndarray]]:
    function = Program(seed, memory).function()
    rng = np.random.default_rng(seed)
    arguments = [rng.uniform(-1, 1) for _ in range(2)]
    if memory:
        arguments.append(rng.uniform(-1, 1, SIZE))
    expected = evaluate(function, *arguments)
    source = emit_loop_form(function) if memory else emit_array_form(function)
    found = run_plain(source, "program")(*arguments)
    for result, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result, reference, err_msg=f"\n{function}\n{source}")
    return function, source, arguments


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("memory", [True, False], ids=["loop form", "array form"])
def test_random_programs_compute_what_the_interpreter_does(memory, part):
    with np.errstate(all="ignore"):
        for seed in range(part * 100, part * 100 + 100):
            check(seed, memory)


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_random_kernels_compile_and_agree(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path))
    function, source, arguments = check(seed, True)
    kernel = compile_kernel(source, "program", ["float64", "float64", "float64[::1]"])
    for result, reference in zip(
        kernel.entry_point(*arguments), evaluate(function, *arguments), strict=True
    ):
        np.testing.assert_allclose(result, reference, rtol=1e-12, atol=1e-12)
