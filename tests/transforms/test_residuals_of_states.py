"""An outer loop's state is stored, not what inner loops read of it, where that is less."""

import numpy as np

import tracegrad as tg
from tracegrad.testing.numerics import assert_close, numerical_jvp


def assert_right(g, x, p, *rest):
    """Value and gradient in a vector and a number, against the function itself."""
    x_dot = np.cos(np.arange(x.size) * 3.0).reshape(x.shape)
    value, (x_bar, p_bar) = g(x, p, *rest)
    assert_close(value, g.py_func(x, p, *rest), 1e-12, "value")
    expected = numerical_jvp(lambda x, p: g.py_func(x, p, *rest), (x, p), (x_dot, 0.7))
    assert_close(np.sum(x_bar * x_dot) + 0.7 * p_bar, expected, 1e-6, "gradient")


def tapes(g):
    return [str(row.shape) for row in g.memory_report().tapes]


def test_rows_of_a_sparse_matrix_read_a_state():
    """How many elements a row has only data know; the rows are there anyway."""

    @tg.value_and_grad(argnums=(0, 1))
    def f(x, p, data, ends, places):
        for _ in range(4):
            y = np.zeros(len(x))
            for i in range(len(x)):
                s = 0.0
                for k in range(ends[i], ends[i + 1]):
                    s += data[k] * x[places[k]]
                y[i] = np.tanh(p * s)
            x = y
        return np.sum(x * x)

    rng = np.random.default_rng(0)
    for counts in ([2, 0, 3, 1], [0, 0, 0], [4, 4]):
        ends = np.concatenate([[0], np.cumsum(counts)])
        places = rng.integers(0, len(counts), ends[-1])
        rest = rng.normal(size=ends[-1]), ends, places
        assert_right(f, rng.normal(size=len(counts)), 0.8, *rest)
    assert all("tape_length" not in shape and "len(" not in shape for shape in tapes(f)), tapes(f)


def test_pairs_in_a_branch_read_a_state_that_is_computed_as_a_whole():
    @tg.value_and_grad(argnums=(0, 1))
    def f(x, p, steps):
        n = len(x)
        for _ in range(steps):
            x = x + 0.1 * np.sin(x)
            force = np.zeros((n, 2))
            for i in range(n):
                for j in range(n):
                    if i != j:
                        d = x[j] - x[i]
                        force[i] += p * d / (np.sum(d * d) + 0.3)
            x = x + 0.2 * force
        return np.sum(x**2)

    rng = np.random.default_rng(1)
    for n, steps in ((4, 3), (1, 2), (3, 0)):
        assert_right(f, rng.normal(size=(n, 2)), 0.5, steps)
    # No tape has an element for each pair.
    assert all(len(row.shape) <= 3 for row in f.memory_report().tapes), tapes(f)


def test_what_a_short_inner_loop_reads_is_stored_itself():
    """All of the state in each step would be quadratic: the inner loop may have a single trip."""

    @tg.value_and_grad(argnums=(0, 1))
    def f(x, p, low, high):
        x = x.copy()
        for t in range(len(low)):
            for k in range(low[t], high[t]):
                x[k] = np.sin(p * x[k]) * x[k - 1]
        return np.sum(x)

    for size in (50, 800):
        low = np.arange(1, size)
        assert_right(f, np.linspace(0.2, 1.4, size), 0.9, low, low + 1)
        report = f.memory_report(np.linspace(0.2, 1.4, size), 0.9, low, low + 1, run=True)
        assert report.tape_bytes < 8 * 10 * size
