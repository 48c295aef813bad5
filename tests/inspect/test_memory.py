"""The memory report: names and sizes as in the source, bytes as they are."""

import re
import tracemalloc

import numpy as np
import pytest

import tracegrad as tg
from tests.eager_threads import eager_threads
from tracegrad.backend.compile import run_plain
from tracegrad.inspect.memory import MemoryReport

rng = np.random.default_rng(0)


def recurrence(x, a):
    y = np.zeros(len(x))
    y[0] = x[0]
    for t in range(1, len(x)):
        y[t] = np.tanh(y[t - 1]) * a + x[t]
    return np.sum(y**2)


def newton(x):
    y = x
    while abs(y * y - x) > 1e-12:
        y = 0.5 * (y + x / y)
    return y


def tower(x, steps):
    y = x
    for _ in range(steps):
        y = np.sin(y * x)
    return np.sum(y)


def triangle(x):
    total = 0.0
    for i in range(len(x)):
        s = 1.0
        for j in range(i):
            s = np.sin(s * x[j])
        total += s
    return total


def test_a_tape_is_told_by_name_type_formula_number_and_line():
    report = tg.value_and_grad(recurrence).memory_report(rng.normal(size=1000), 0.5)
    (tape,) = report.tapes
    assert (tape.name, tape.dtype, tape.shape) == ("tape", np.float64, ("n - 1",))
    assert tape.formula == report.tape_formula == "8 * (n - 1)"
    assert tape.nbytes == report.tape_bytes == 8 * 999
    assert re.match(r"residual of np.tanh\(y\[t - 1\]\)  test_memory.py:\d+$", tape.comment)
    assert report.sizes == {"n": 1000}
    assert report.result_bytes == 8000


def test_the_report_prints_as_a_table():
    gradient = tg.grad(tower)
    gradient(rng.normal(size=5), 3)
    text = str(gradient.memory_report(rng.normal(size=50), 30))
    lines = [line.split("  # ")[0].rstrip() for line in text.splitlines()]
    assert lines[0] == "memory of gradient of tower at steps = 30, n = 50"
    assert any(re.match(r"tapes +12,400 bytes = 8 \* \(steps \+ 1\) \* n$", line) for line in lines)
    assert any(re.match(r"  x_bar +float64\[n\] +400 bytes = 8 \* n$", line) for line in lines)
    assert "tape 12,400" in repr(gradient.memory_report(rng.normal(size=50), 30))


def test_without_arguments_there_are_formulas_only():
    gradient = tg.grad(recurrence)
    gradient(rng.normal(size=9), 0.5)
    report = gradient.memory_report()
    assert report.tape_formula == "8 * (n - 1)"
    assert report.tape_bytes is None
    assert "? bytes = 8 * (n - 1)" in str(report)


def test_a_length_that_is_found_at_run_time_has_a_number_after_a_run():
    gradient = tg.grad(newton)
    assert gradient.memory_report(9.0).tape_bytes is None
    report = gradient.memory_report(9.0, run=True)
    assert report.tape_formula == "8 * len(tape_y)"
    # Seven trips, room for eight.
    assert report.tape_bytes == 64


def test_a_tape_of_a_triangle_holds_one_of_its_rows():
    """The outer loop only adds: it is reversed trip by trip, with the memory of one trip."""
    x = rng.normal(size=20)
    report = tg.grad(triangle).memory_report(x, run=True)
    (tape,) = report.tapes
    assert 8 * 19 <= tape.nbytes < 2 * 8 * 19


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (recurrence, (rng.normal(size=20_000), 0.5)),
        (tower, (rng.normal(size=1000), 40)),
        (triangle, (rng.normal(size=100),)),
    ],
    ids=["recurrence", "tower", "triangle"],
)
def test_the_numbers_are_what_the_source_allocates(function, arguments):
    gradient = tg.value_and_grad(function)
    report = gradient.memory_report(*arguments, run=True)
    source = gradient.inspect_source(*arguments)
    plain = run_plain(source, source.split("\ndef ")[1].split("(")[0])
    tracemalloc.start()
    try:
        plain(*arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    total = sum(b.nbytes for b in report.buffers)
    # A tape that grows is copied; NumPy's scalars and the module take a little.
    growing = max([b.nbytes for b in report.tapes if "len" in b.formula], default=0)
    assert total <= peak <= total + growing / 2 + 50_000


def test_every_array_of_the_source_is_in_the_report():
    for function, arguments in ((recurrence, (np.ones(9), 0.5)), (tower, (np.ones(9), 4))):
        gradient = tg.value_and_grad(function)
        report = gradient.memory_report(*arguments)
        made = re.findall(r"(\w+) = np\.(?:empty|zeros)\(", gradient.inspect_source(*arguments))
        assert made == [b.name for b in report.buffers]


def test_a_result_that_is_an_argument_is_counted():
    report = tg.jit(lambda x: (x, 2.0 * x)).memory_report(np.ones(10))
    assert isinstance(report, MemoryReport)
    assert report.result_bytes == 160


def test_captured_arrays_give_sizes_too():
    weights = np.ones(7)
    report = tg.grad(lambda x: np.sum(weights * np.sin(x))).memory_report(2.0)
    assert report.tape_bytes == 0
    assert 7 in report.sizes.values()


def test_a_pullback_tells_what_it_keeps():
    _, pullback = tg.vjp(np.tanh, np.ones(100))
    assert pullback.nbytes == 800


def histogram(x, at):
    total = 0.0
    for i in range(len(at)):
        y = x[at[i]]
        while y * y > 2.0:
            y = 0.5 * y
        total += y
    return total


def test_arrays_that_each_chunk_has_of_its_own_count_once_per_chunk():
    x, at = 5.0 + rng.random(6), rng.integers(0, 6, 40)
    with eager_threads(4):
        gradient = tg.grad(histogram, parallel=True)
        gradient(x, at)
        report = gradient.memory_report(x, at, run=True)
        (copies,) = (b for b in report.scratch if b.name == "x_bar_parts")
        assert copies.formula == "8 * (chunks - 1) * n"
        assert copies.nbytes == 3 * 6 * 8
        own = [b for b in report.buffers if b.formula.startswith("8 * chunks")]
        assert all(b.nbytes % 4 == 0 for b in own)
        assert re.search(
            r"x_bar_parts .* 144 bytes = 8 \* \(chunks - 1\) \* n +# each", str(report)
        )
        assert not any(b.nbytes == 0 for b in report.tapes)
    assert not any("chunks" in b.formula for b in tg.grad(histogram).memory_report(x, at).buffers)
