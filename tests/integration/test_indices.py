"""Programs of reads and additions at arrays of indices, as users write them."""

import numpy as np
import pytest

import tracegrad as tg
from tests.eager_threads import eager_threads

rng = np.random.default_rng(3)


def assert_close(found, expected, rtol=1e-10):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


NODES, EDGES = 7, 12
X = rng.normal(size=(NODES, 3))
START = rng.integers(0, NODES, EDGES)
END = (START + rng.integers(1, NODES, EDGES)) % NODES - NODES * rng.integers(0, 2, EDGES)
K = rng.uniform(0.5, 2.0, EDGES)
W = rng.normal(size=(4, 4))
H = rng.normal(size=(NODES, 4))


def springs(x, k, start, end):
    apart = x[end] - x[start]
    length = np.sqrt(np.sum(apart**2, axis=1))
    pull = (k * (length - 1.0) / length)[:, None] * apart
    net = np.zeros_like(x)
    np.add.at(net, start, pull)
    np.subtract.at(net, end, pull)
    return np.sum(net**2)


def moving(x, k, start, end):
    """Springs in time: the cotangents of the positions are added to in each step."""
    speed = np.zeros_like(x)
    for _ in range(4):
        apart = x[end] - x[start]
        pull = k[:, None] * apart * np.sum(apart**2, axis=1)[:, None]
        net = 0.1 * x
        np.add.at(net, start, pull)
        np.subtract.at(net, end, pull)
        speed = speed + 0.01 * net
        x = x + 0.01 * speed
    return np.sum(x**2) + np.sum(speed)


def in_place(x, k, start, end):
    """Each step adds to the array that it reads from."""
    x = x.copy()
    for _ in range(3):
        np.add.at(x, start, 0.1 * k[:, None] * x[end])
        x[end] = 0.5 * x[start]
    return np.sum(np.sin(x))


def attention(h, w, start, end):
    """Messages along edges, weighted by a softmax at each node."""
    weight = np.exp(np.sum(np.tanh(h[start] @ w) * h[end], axis=1))
    total = np.zeros(h.shape[0])
    np.add.at(total, end, weight)
    out = np.zeros_like(h)
    np.add.at(out, end, (weight / total[end])[:, None] * h[start])
    return np.sum(out**2)


def counted(x, k, start, end):
    """Weighted counts in columns, of numbers."""
    found = np.zeros(x.shape[0])
    np.add.at(found, start, k * x[end, 0])
    np.add.at(found, end, 1.0)
    return np.sum(found**2 * x[:, 1])


PROGRAMS = {
    springs: (X, K),
    moving: (X, K),
    in_place: (X, K),
    attention: (H, W),
    counted: (X, K),
}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_value_and_gradient(program):
    first, second = PROGRAMS[program]
    value, _ = tg.value_and_grad(program, argnums=(0, 1))(first, second, START, END)
    assert_close(value, program(first, second, START, END))
    tg.check_grads(lambda a, b: program(a, b, START, END), (first, second), modes=("rev",))


def test_second_order_and_forward():
    tg.check_grads(lambda x, k: springs(x, k, START, END), (X, K), order=2, directions=1)


@pytest.mark.parametrize("program", [springs, moving, counted], ids=lambda f: f.__name__)
def test_chunks_on_threads_add_to_what_is_theirs(program):
    expected = tg.grad(program, argnums=(0, 1))(X, K, START, END)
    with eager_threads():
        found = tg.grad(program, argnums=(0, 1), parallel=True)(X, K, START, END)
    for e, f in zip(expected, found, strict=True):
        assert_close(f, e)


def test_float32():
    given = X.astype(np.float32), K.astype(np.float32)
    found = tg.grad(springs, argnums=(0, 1))(*given, START, END)
    expected = tg.grad(springs, argnums=(0, 1))(X, K, START, END)
    for e, f in zip(expected, found, strict=True):
        assert f.dtype == np.float32
        assert_close(f, e, rtol=1e-3)


def test_a_batch_of_networks():
    batch = np.stack([X, 2.0 * X, X - 1.0])
    found = tg.vmap(tg.grad(springs), in_axes=(0, None, None, None))(batch, K, START, END)
    for each, x in zip(found, batch, strict=True):
        assert_close(each, tg.grad(springs)(x, K, START, END))


def test_no_edges():
    none = np.zeros(0, int)
    value, (x_bar, k_bar) = tg.value_and_grad(springs, argnums=(0, 1))(X, K[:0], none, none)
    assert value == 0
    assert not x_bar.any()
    assert k_bar.shape == (0,)


@pytest.mark.parametrize("at", [NODES, -NODES - 1])
@pytest.mark.parametrize("program", [springs, moving, counted], ids=lambda f: f.__name__)
def test_an_index_out_of_range_names_the_line(program, at):
    start = START.copy()
    start[-1] = at
    x, k = X.copy(), K.copy()
    with pytest.raises(IndexError, match=r"out of bounds for axis 0.*test_indices\.py:\d+"):
        tg.value_and_grad(program, argnums=(0, 1))(x, k, start, END)
    assert (x == X).all()
    assert (k == K).all()


def test_what_is_added_is_not_kept_and_indices_are_checked_once_a_sweep():
    gradient = tg.value_and_grad(springs, argnums=(0, 1))
    gradient(X, K, START, END)
    source = gradient.inspect_source()
    assert source.count("raise IndexError") == 4  # of two ends, in two sweeps
    assert source.count("    for i in range(m):") == 2
    assert "np.empty((m, 3))" not in source
