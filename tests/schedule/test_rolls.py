"""Rolls are read where they are: no copy, no element of an index that is looked up."""

import numpy as np
import pytest

import tracegrad as tg


def laplacian(u):
    return (
        np.roll(u, 1, axis=0)
        + np.roll(u, -1, axis=0)
        + np.roll(u, 1, axis=1)
        + np.roll(u, -1, axis=1)
        - 4.0 * u
    )


def smoothness(u):
    return np.sum(laplacian(u) ** 2)


def of_what_is_computed(u):
    return np.sum(np.roll(np.sin(u) * u, 2, axis=1) * np.roll(u**2, -1, axis=0))


def of_a_roll(u):
    v = np.roll(np.roll(u, 1, axis=0), 2, axis=1)
    return np.sum(v * np.roll(v, -3, axis=0) ** 2 * u)


def flat(u):
    return np.sum(np.roll(u, 5) * u**2)


def of_rows_and_sums(u):
    return np.sum(np.roll(u, 1, axis=1)[1] * np.roll(np.sum(u, axis=0), 3))


def two_axes(u):
    return np.sum(np.roll(u, (1, -2), axis=(0, 1)) * u**3)


def along_one_axis_twice(u):
    return np.sum(np.roll(u, (1, 1), axis=(0, 0)) * u**3)


def of_slices(u):
    return np.sum(np.roll(u[1:], 1, axis=0)[:, ::2] * u[:-1, ::2] ** 2)


def beyond_one_turn(u):
    return np.sum(np.roll(u, 13, axis=0) * u**2) + np.sum(np.roll(u, -25, axis=1) * u**2)


def of_the_transposed(u):
    return np.sum(np.roll(u.T, 2, axis=0) * u.T**2)


def repeated(u):
    return np.sum(np.roll(np.broadcast_to(u[0], u.shape) * u, 1, axis=0) ** 2)


def written_as_a_concatenation(u):
    before = np.concatenate([u[-1:], u[:-1]])
    after = np.concatenate([u[:, 2:], u[:, :2]], axis=1)
    return np.sum(before * after**2)


def not_quite_a_roll(u):
    return np.sum(np.concatenate([u[1:], u[1:2]]) * np.concatenate([u[-1:], u[1:]]) ** 2)


def in_a_loop(u):
    for t in range(4):
        u = u + 0.1 * laplacian(u) * np.sin(t + u)
    return np.sum(u**2)


def in_a_loop_over_a_tape(u):
    total = 0.0
    for _ in range(3):
        u = np.tanh(u + np.roll(u, 1, axis=1) * np.roll(u, -2, axis=0))
        total += np.sum(u[0] * np.roll(u[1], 2))
    return total


PROGRAMS = [
    smoothness,
    of_what_is_computed,
    of_a_roll,
    flat,
    of_rows_and_sums,
    two_axes,
    along_one_axis_twice,
    of_slices,
    beyond_one_turn,
    of_the_transposed,
    repeated,
    written_as_a_concatenation,
    not_quite_a_roll,
    in_a_loop,
    in_a_loop_over_a_tape,
]
SHAPES = [(5, 6), (4, 9), (12, 13), (13, 26), (33, 3)]


def differences(function, u, h=1e-6):
    found = np.empty_like(u)
    for at in np.ndindex(u.shape):
        more, less = u.copy(), u.copy()
        more[at] += h
        less[at] -= h
        found[at] = (function(more) - function(less)) / (2.0 * h)
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients_at_many_sizes(program):
    gradient = tg.value_and_grad(program)
    for shape in SHAPES:
        u = np.random.default_rng(3).normal(size=shape)
        value, u_bar = gradient(u)
        np.testing.assert_allclose(value, program(u), rtol=1e-12)
        np.testing.assert_allclose(u_bar, differences(program, u), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_other_modes_and_the_second_order(program):
    tg.check_grads(program, (np.random.default_rng(5).normal(size=(10, 11)),), order=2)


def test_no_copy_is_made_of_what_is_rolled():
    gradient = tg.grad(in_a_loop)
    gradient(np.ones((20, 30)))
    source = gradient.inspect_source()
    assert "np.roll" not in source.split("# forward")[0].replace("np.roll(u", "")
    assert source.count("np.empty((n, m))") <= 3


def test_threads_and_single_precision():
    u = np.random.default_rng(6).normal(size=(60, 70))
    serial = tg.grad(smoothness)(u)
    np.testing.assert_allclose(tg.grad(smoothness, parallel=True)(u), serial, rtol=1e-13)
    single = tg.grad(smoothness)(u.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, serial, rtol=1e-4, atol=1e-3)


def test_integers_and_booleans():
    def moved(k, b):
        return np.roll(k, 1, axis=1), np.roll(b, -2, axis=0)

    k = np.arange(110).reshape(10, 11)
    for ours, theirs in zip(tg.jit(moved)(k, k % 3 == 0), moved(k, k % 3 == 0), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_the_sign_of_zero_and_what_is_no_number_move_too():
    x = np.array([-0.0, np.inf, np.nan, 1.0, 0.0, 2.0, -np.inf, 3.0, 4.0, -0.0])
    rolled = tg.jit(lambda x: np.roll(x, 3))(x)
    np.testing.assert_array_equal(rolled, np.roll(x, 3))
    np.testing.assert_array_equal(np.signbit(rolled), np.signbit(np.roll(x, 3)))


def test_the_array_form_says_roll():
    gradient = tg.grad(smoothness)
    assert "np.roll(u, -1, axis=0)" in gradient.inspect_source(np.ones((9, 9)), form="array")


def of_picked_rows(u, k):
    return np.sum(np.roll(u[k], 1, axis=0) * u**2) + np.sum(np.roll(u[k], -1, axis=1) * u**2)


def added_to_picked_rows(u, k):
    v = u * 1.0
    np.subtract.at(v, k, np.roll(v, 1, axis=0))
    return np.sum(v + u)


@pytest.mark.parametrize("f", [of_picked_rows, added_to_picked_rows])
def test_an_index_is_read_only_where_its_element_counts(f):
    f_grad = tg.grad(f)
    for n, m in ((3, 20), (5, 30), (12, 41)):
        around = np.full(n + 2, 10**6)
        k = around[1:-1]  # what stands beside it would be out of bounds
        k[:] = np.arange(n) * 2 % n
        u = np.cos(np.arange(1.0 * n * m)).reshape(n, m)
        dot = np.sin(np.arange(1.0 * n * m)).reshape(n, m)
        slope = (f(u + 1e-6 * dot, k) - f(u - 1e-6 * dot, k)) / 2e-6
        assert np.isclose(np.sum(f_grad(u, k) * dot), slope, rtol=1e-6)
