"""What single constructs do to a pattern, exactly."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import UnsupportedError


def pattern(fun, *args, argnums=0):
    return tg.sparsity(fun, argnums)(*args).toarray().astype(int)


X = np.linspace(0.1, 1.0, 6)
EYE = np.eye(6, dtype=int)


def test_slices_strides_and_flips():
    assert np.array_equal(pattern(lambda x: x[1:5:2] * 2, X), EYE[1:5:2])
    assert np.array_equal(pattern(lambda x: x[::-1], X), EYE[::-1])
    assert np.array_equal(pattern(lambda x: x[1:] - x[:-1], X), EYE[1:] + EYE[:-1])


def test_transposes_and_reshapes():
    a = np.arange(6.0).reshape(2, 3)
    order = np.arange(6).reshape(2, 3).T.ravel()
    assert np.array_equal(pattern(lambda a: a.T * 1.0, a), EYE[order])
    assert np.array_equal(pattern(lambda a: a.reshape(3, 2) ** 2, a), EYE)


def test_gathers_and_scatters_hold_for_their_indices():
    def scattered(x, at):
        y = np.zeros(4)
        np.add.at(y, at, x)
        return y

    at = np.array([0, 3, 3, -1, 0, 2])
    expected = np.zeros((4, 6), int)
    expected[at, np.arange(6)] = 1
    assert np.array_equal(pattern(scattered, X, at), expected)
    assert np.array_equal(pattern(lambda x, at: x[at], X, at), EYE[at])
    assert np.array_equal(pattern(lambda x, at: x[at], X, at[::-1].copy()), EYE[at[::-1]])


def test_a_mask_of_integers_chooses_one_of_floats_both():
    mask = np.arange(6) % 2 == 0
    other = np.roll(EYE, 1, axis=1)
    found = pattern(lambda x, m: np.where(m, x, np.roll(x, -1)), X, mask)
    assert np.array_equal(found, np.where(mask[:, None], EYE, other))
    assert np.array_equal(pattern(lambda x: np.where(x > 0.5, x, np.roll(x, -1)), X), EYE | other)


def test_a_branch_on_a_float_takes_both_arms():
    def chosen(x):
        if x[0] > 0.0:
            return x[1] * np.ones(2)
        return x[2:4] * 1.0

    assert pattern(chosen, X).tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0]]


def test_a_branch_on_an_integer_takes_one():
    def chosen(x, k):
        if k > 2:
            return x[1] * np.ones(2)
        return x[2:4] * 1.0

    assert pattern(chosen, X, 3).sum(axis=0).tolist() == [0, 2, 0, 0, 0, 0]
    assert pattern(chosen, X, 1).sum(axis=0).tolist() == [0, 0, 1, 1, 0, 0]


def test_what_is_overwritten_is_gone():
    def written(x):
        y = x * x
        y[2:4] = 1.0
        for i in range(1, 6):
            if i % 2:
                y[i] = x[i - 1]
        return y

    expected = EYE.copy()
    expected[2:4] = 0
    expected[1::2] = EYE[0:5:2]
    assert np.array_equal(pattern(written, X), expected)


def test_an_old_version_of_an_array_stays_what_it_was():
    def versions(x):
        y = x * 1.0
        old = y.copy()
        for i in range(5):
            y[i + 1] = y[i] + old[i + 1]
        return y - 2.0 * old

    assert np.array_equal(pattern(versions, X), np.tri(6, dtype=int))


def test_products():
    a, v = np.ones((3, 2)), np.ones(2)
    found = pattern(lambda a, v: a @ v, a, v)
    assert np.array_equal(found, np.kron(np.eye(3, dtype=int), np.ones((1, 2), int)))
    assert pattern(lambda a, v: a @ v, a, v, argnums=1).all()


def test_reductions_and_scans():
    a = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(pattern(lambda a: a.sum(axis=0), a), np.hstack([np.eye(3)] * 2))
    assert np.array_equal(pattern(np.cumsum, X), np.tri(6, dtype=int))
    assert np.array_equal(pattern(np.cumprod, X), np.tri(6, dtype=int))
    assert pattern(np.sort, X).all()
    assert pattern(lambda x: x[np.argmax(x)] * 1.0, X).all()


def test_a_loop_until_convergence_keeps_elements_apart():
    def roots(x):
        y = np.ones(len(x))
        for i in range(len(x)):
            while abs(y[i] * y[i] - x[i]) > 1e-9:
                y[i] = 0.5 * (y[i] + x[i] / y[i])
        return y

    assert np.array_equal(pattern(roots, X), EYE)


def test_a_bound_that_a_float_decides():
    def counted(x):
        total = 0.0
        for i in range(int(x[0] * 10.0)):
            total += x[1] * i
        return np.array([total, x[2]])

    assert pattern(counted, X).tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]


def test_derivatives_that_are_zero_everywhere():
    assert pattern(lambda x: np.floor(x) * 2.0 + tg.stop_gradient(x), X).sum() == 0


def test_a_linear_term_has_no_second_derivative():
    def value(x):
        return np.sum(x[:3] * x[3:]) + 7.0 * np.sum(x)

    found = tg.sparsity(tg.grad(value))(X).toarray()
    assert np.array_equal(found, np.roll(np.eye(6, dtype=bool), 3, axis=1))


def test_a_gradient_that_adds_into_zeros_stays_sparse():
    def value(x, at):
        total = 0.0
        for k in range(len(at) - 1):
            total += np.exp(x[at[k]] * x[at[k + 1]])
        return total

    at = np.array([0, 2, 4, 1])
    expected = np.eye(6, dtype=bool)
    expected[[3, 5]] = False
    for i, j in ((0, 2), (2, 4), (4, 1)):
        expected[i, j] = expected[j, i] = True
    assert np.array_equal(tg.sparsity(tg.grad(value))(X, at).toarray(), expected)


def test_functions_with_rules_of_their_own():
    """The rule counts, not what the function computes; forward rules and transposed ones."""

    @tg.custom_vjp
    def soft(x):
        return np.log1p(np.exp(x)) + 0.0 * np.sum(x)

    soft.defvjp(lambda x: (soft(x), x), lambda x, bar: (bar / (1.0 + np.exp(-x)),))
    assert np.array_equal(pattern(lambda x: soft(x)[:2], X), EYE[:2])
    found = tg.sparsity(tg.grad(lambda x: np.sum(soft(x) ** 2)))(X).toarray()
    assert found[np.diag_indices(6)].all()

    @tg.custom_jvp
    def shifted(x):
        return np.roll(x, 1)

    @shifted.defjvp
    def rule(primals, tangents):
        (x,), (x_dot,) = primals, tangents
        return shifted(x), np.roll(x_dot, 1)

    assert np.array_equal(pattern(lambda x: shifted(x) * x, X), EYE | np.roll(EYE, 1, axis=0))


def test_a_batch_has_blocks():
    each = tg.vmap(lambda x: np.array([x[0] * x[1], x[1]]))
    found = pattern(each, np.ones((3, 2)))
    assert np.array_equal(found, np.kron(np.eye(3, dtype=int), np.array([[1, 1], [0, 1]])))


def test_a_size_that_floats_decide_is_refused():
    with pytest.raises(UnsupportedError, match="depends on the values of floats"):
        pattern(lambda x: x[x > 0.5] * 2.0, X)


def test_what_such_sizes_are_summed_to_is_not():
    assert pattern(lambda x: np.sum(x[x > 0.5]) * np.ones(2), X).all()


def test_trees_and_several_arguments():
    found = tg.sparsity(lambda p, y: {"r": p["w"] * y}, (0, 1))({"w": X}, X)
    assert np.array_equal(found["r"][0]["w"].toarray(), EYE)
    assert np.array_equal(found["r"][1].toarray(), EYE)


def test_time_grows_with_the_number_of_elements():
    def value(x):
        total = 0.0
        for i in range(1, len(x)):
            total += (x[i] * x[i - 1]) ** 2
        return total

    n = 20_000
    found = tg.sparsity(tg.grad(value))(np.ones(n))
    assert found.nnz == 3 * n - 2


def test_columns_of_a_solution_and_rows_from_the_right():
    import scipy.linalg

    a, b = np.tril(np.ones((3, 3))), np.arange(6.0).reshape(3, 2)
    column = np.kron(np.ones((3, 3), int), np.eye(2, dtype=int))
    found = pattern(lambda b: np.linalg.solve(a + np.eye(3), b), b)
    assert np.array_equal(found, column)
    found = pattern(lambda b: scipy.linalg.solve_triangular(a, b.T, lower=True).T, b.T.copy())
    row = np.kron(np.eye(2, dtype=int), np.ones((3, 3), int))
    assert np.array_equal(found, row)
