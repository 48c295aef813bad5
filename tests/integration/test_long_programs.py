"""The way to source takes time in proportion to the length of the program.

What is counted is not seconds but the calls that Python makes on the way: the same number in every
run. A stage that looks through the whole function for each of its statements is found out.
"""

import sys

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.stages import load
from tracegrad.backend.emit import emit_loop_form
from tracegrad.passes import finish
from tracegrad.schedule import schedule

STEPS = ("a = np.sin(a) * b", "b = b + 0.3 * a", "a = a * X - b", "b = np.exp(-b * b) + a")
WRITES = (
    "z[i] = np.sin(z[i - 1]) * y[i]",
    "z[i] += x[i - 1] * z[i]",
    "a = z[i] * y[i]",
    "z[i] = z[i] + np.cos(a)",
)


def repeated(head, steps, count, last, indent=4):
    body = [f"{' ' * indent}{steps[k % len(steps)]}" for k in range(count)]
    return "\n".join([f"def program(x, y):\n    {head}", *body, f"    return {last}", ""])


def straight(count, last):
    return repeated("a, b = x, y", [s.replace("X", "x") for s in STEPS], count, last)


def body(count):
    head = "a, b = 0.1, 0.2\n    for i in range(len(x)):"
    return repeated(head, [s.replace("X", "x[i]") for s in STEPS], count, "a + b", 8)


def writes(count):
    head = "z = np.zeros(len(x))\n    for i in range(1, len(x)):"
    return repeated(head, WRITES, count, "np.sum(z)", 8)


PROGRAMS = {  # text by number of statements, rank of the arguments, a number of statements
    "scalars": (lambda n: straight(n, "a + b"), 0, 120),
    "arrays": (lambda n: straight(n, "np.sum(a + b)"), 1, 120),
    "loop body": (body, 1, 40),
    "writes": (writes, 1, 40),
}


def calls(text, rank, path):
    """How many functions are called from the user's function to the source of its gradient."""
    program = load(text, path)
    arguments = (np.ones(20), np.full(20, 0.5)) if rank else (0.3, 0.4)
    gradient = tg.value_and_grad(program, argnums=(0, 1))
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        source = emit_loop_form(schedule(finish(gradient.trace(*arguments))))
    finally:
        sys.setprofile(before)
    return count, len(source.splitlines())


@pytest.mark.parametrize("name", PROGRAMS)
def test_calls_grow_like_the_program(name, tmp_path):
    text, rank, count = PROGRAMS[name]
    calls(text(8), rank, tmp_path / "first.py")  # what is done once
    short, short_lines = calls(text(count), rank, tmp_path / "short.py")
    long, long_lines = calls(text(4 * count), rank, tmp_path / "long.py")
    assert long_lines > 3 * short_lines, "the program did not grow"
    assert long < 4.8 * short, f"{long} calls for {4 * count} statements, {short} for {count}"
