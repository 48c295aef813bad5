"""A gradient costs a small constant times its function, whatever the number of trips.

What the loop form of a kernel does is counted, not seconds: each operation that runs, and each
element of the buffers it makes. A cotangent that is copied in each trip is right, and seen nowhere
else. Tapes and the size of the traced program are counted too.
"""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs import PROGRAMS
from tests.integration.loop_programs_checks import Call, Checked, contracted_gradient
from tests.transforms.reversal import tape_elements
from tracegrad.ir.interpreter import evaluate
from tracegrad.passes import optimize
from tracegrad.schedule import schedule

SIZES = {1: (96, 480), 2: (66, 132), 3: (4, 16)}
"""For programs whose work grows like n, n² and n³. From 64 trips on recurrences go in strips: both
sizes are beyond that."""

LOOPS = [p.name for p in PROGRAMS.values() if p.work is not None and p.refusal is None]


class Steps:
    """Operations that run, and elements of what they make."""

    def __init__(self):
        self.total = 0

    def __call__(self, op, operands, results):
        if op.name not in ("const", "dim"):
            self.total += 1
        if op.name == "gemm":
            self.total += operands[0].size * max(1, operands[1].size // max(1, len(operands[1])))
        elif op.name == "ensure":
            self.total += results[0].size * (results[0].size > operands[0].size)
        elif op.name not in ("alias", "view", "for", "while", "if"):
            self.total += sum(r.size for r in results if r.ndim)


def steps(array_form, arguments):
    counted = Steps()
    evaluate(schedule(array_form), *[np.copy(a) for a in arguments], observer=counted)
    return 1 + counted.total


def counted(program, fun, size):
    """Steps of the primal and of the gradient; elements of the tapes."""
    stages = Checked(fun, program.arguments(size)).stages
    function = optimize(stages.recipe.function)
    return (
        steps(optimize(stages.traced.function), stages.arguments),
        steps(function, stages.arguments),
        tape_elements(function, *stages.arguments),
    )


def grows_like_the_primal(program, fun):
    small, large = SIZES[program.work]
    first, second = (counted(program, fun, size) for size in (small, large))
    allowed = 1.3 * (large / small) ** program.work
    figures = f"{program.name}: {first}, {second}"
    assert second[0] <= allowed * first[0] + 400, f"the primal: {figures}"
    assert second[1] <= allowed * first[1] + 400, f"the gradient: {figures}"
    assert second[2] <= second[0] + 100, f"the tapes: {figures}"


@pytest.mark.parametrize("name", LOOPS)
def test_first_order(name):
    program = PROGRAMS[name]
    grows_like_the_primal(program, program.function)


@pytest.mark.parametrize("name", [n for n in LOOPS if PROGRAMS[n].work == 1 and PROGRAMS[n].second])
def test_second_order(name):
    program = PROGRAMS[name]
    argnums = Call(program.function, program.arguments(10)).argnums
    grows_like_the_primal(program, contracted_gradient(program.function, argnums))


def operations(fun, args):
    return [op.name for op in Checked(fun, args).stages.traced.function.walk()]


@pytest.mark.parametrize("name", [n for n in LOOPS if PROGRAMS[n].rolled])
def test_the_traced_program_has_one_size(name):
    program = PROGRAMS[name]
    few, many = 10, 1000 if program.work == 1 else 40
    assert operations(program.function, program.arguments(few)) == operations(
        program.function, program.arguments(many)
    )


def recurrence_over_steps(x, steps):
    state, total = x[0], 0.0
    for t in range(steps):
        state = np.tanh(state + x[t % 3])
        if state > 0.9:
            state = state * 0.5
        total += state * state
    return total


def recurrence_in_an_array(x):
    y = np.zeros(len(x))
    for t in range(1, len(x)):
        y[t] = np.tanh(y[t - 1]) * 0.9 + x[t]
    return np.sum(y * y)


@pytest.mark.parametrize("whole", [False, True], ids=["an argument", "a length"])
def test_one_kernel_for_all_trip_counts(whole):
    fun = recurrence_in_an_array if whole else recurrence_over_steps
    compiled = tg.value_and_grad(fun)
    for trips in (100, 10_000, 1_000_000):
        args = (np.full(trips, 0.1),) if whole else (np.array([0.3, 0.2, 0.1]), trips)
        value, _ = compiled(*args)
        assert np.isfinite(value)
    assert len(compiled.signatures) == 1


def concrete(trips):
    def f(x):
        total = 0.0
        for i in range(trips):
            total = total * 0.9 + x * i
        return total

    return f


def concrete_with_writes(trips):
    def f(x):
        y = [0.0] * 3
        z = make_ones(trips)
        for i in range(1, trips):
            if i % 2:
                z[i] = z[i - 1] * x
            for k in (0, 1, 2):
                y[k] = y[k] * 0.5 + z[i]
        return y[0] + y[1] * y[2]

    return f


def make_ones(size):
    import numpy as np

    return np.ones(size)


def descending(trips):
    def f(x):
        total = 1.0
        for i in range(trips, 0, -3):
            total = total * x + i
            j = 0
            while j < 2:
                total = total * 0.5
                j += 1
        return total

    return f


def enumerated(trips):
    def f(x):
        total = 0.0
        for k, i in enumerate(range(trips)):
            if total > 5.0:
                continue
            total += x * k * i
        return total

    return f


@pytest.mark.parametrize("make", [concrete, concrete_with_writes, descending, enumerated])
def test_concrete_trip_counts_are_rolled_too(make):
    counts = [operations(make(trips), [0.5]) for trips in (10, 1000)]
    assert counts[0] == counts[1]
    assert "for" in counts[0]
