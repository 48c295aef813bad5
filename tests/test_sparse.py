"""`jacobian` and `hessian` with sparse results are what the dense ones are."""

import numpy as np
import pytest
import scipy.sparse

import tracegrad as tg
from tracegrad.errors import ArgumentError

rng = np.random.default_rng(0)
X = rng.normal(size=12)


def same(sparse, dense):
    dense = np.asarray(dense)
    assert isinstance(sparse, scipy.sparse.csr_array)
    assert sparse.has_canonical_format
    np.testing.assert_allclose(sparse.toarray(), dense.reshape(sparse.shape), rtol=1e-12)


def products(x):
    return x[1:] ** 2 * np.sin(x[:-1])


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


@pytest.mark.parametrize("verb", [tg.jacfwd, tg.jacrev, tg.jacobian])
def test_a_band(verb):
    found, dense = verb(products, sparse=True), verb(products)
    for n in (12, 7, 2):
        same(found(X[:n]), dense(X[:n]))
    assert found.colours(X) == 2


def test_a_hessian():
    found, dense = tg.hessian(rosenbrock, sparse=True), tg.hessian(rosenbrock)
    same(found(X), dense(X))
    assert found.colours(X) == 3
    same(found(X[:5]), dense(X[:5]))


def test_a_hessian_of_a_loop_that_becomes_no_array():
    def value(x):
        y = np.zeros(len(x) + 2)
        total = 0.0
        for i in range(len(x)):
            y[i + 1] = np.sin(x[i]) * (y[i] if i % 3 else 1.0)
            total += y[i + 1] ** 2
        return total

    same(tg.hessian(value, sparse=True)(X), tg.hessian(value)(X))


def test_an_arrow_is_read_from_its_mirror_image():
    def value(x):
        return np.sum(x[:-1] ** 2) * x[-1] + np.sum(np.sin(x[:-1]))

    found = tg.hessian(value, sparse=True)
    same(found(X), tg.hessian(value)(X))
    assert found.colours(X) == 2


def test_trees_of_arguments_and_results():
    def f(p, y, at):
        return {"r": p["w"][at] * y, "s": np.array([np.sum(y), p["b"] * y[0]])}

    found, dense = (tg.jacobian(f, (0, 1), sparse=s) for s in (True, False))
    p, y, at = {"w": X, "b": 0.7}, X[:4], np.array([0, 5, 2, 2])
    for where in (at, at[::-1].copy(), np.full(4, 3)):
        a, b = found(p, y, where), dense(p, y, where)
        for k in ("r", "s"):
            same(a[k][0]["w"], b[k][0]["w"])
            same(a[k][0]["b"], b[k][0]["b"])
            same(a[k][1], b[k][1])


def test_integers_that_change_in_place():
    found = tg.jacobian(lambda x, at: x[at] ** 2, sparse=True)
    at = np.array([0, 3, 3])
    for place in (5, 1):
        same(found(X, at), tg.jacobian(lambda x, at: x[at] ** 2)(X, at))
        at[1] = place


def test_a_captured_array_of_integers_that_changes():
    at = np.array([0, 3, 3])

    def picked(x):
        return x[at] ** 2

    found = tg.jacobian(picked, sparse=True)
    for place in (5, 1):
        assert found(X).toarray()[1, at[1]] == 2 * X[at[1]]
        at[1] = place
    assert found(X).toarray()[1, 1] == 2 * X[1]


def test_numbers_and_static_arguments():
    def lagged(x, k, how):
        y = np.zeros(len(x))
        for i in range(k, len(x)):
            y[i] = x[i] * x[i - k] if how == "product" else x[i] + x[i - k]
        return y

    found, dense = (tg.jacobian(lagged, sparse=s, static_argnums=2) for s in (True, False))
    for k in (1, 3):
        for how in ("product", "sum"):
            same(found(X, k, how), dense(X, k, how))


def test_blocks_of_a_hessian():
    def value(p, y):
        return (
            np.sum(np.sin(p["w"][1:] * p["w"][:-1])) + p["b"] ** 2 * y[0] + np.sum(y[1:] * y[:-1])
        )

    p, y = {"w": X[:6], "b": 0.7}, X[6:10]
    a, b = (tg.hessian(value, (0, 1), sparse=s)(p, y) for s in (True, False))
    for left in ("w", "b"):
        for right in ("w", "b"):
            same(a[0][left][0][right], b[0][left][0][right])
        same(a[0][left][1], b[0][left][1])
        same(a[1][0][left], b[1][0][left])
    same(a[1][1], b[1][1])


def test_further_results():
    found, aux = tg.jacobian(lambda x: (products(x), np.sum(x)), has_aux=True, sparse=True)(X)
    same(found, tg.jacobian(products)(X))
    assert np.isclose(aux, X.sum())
    found, aux = tg.hessian(lambda x: (rosenbrock(x), x[0]), has_aux=True, sparse=True)(X)
    same(found, tg.hessian(rosenbrock)(X))
    assert aux == X[0]


def test_rows_where_they_need_fewer_directions():
    def sums(x):
        return np.array([np.sum(x[:5] ** 2), np.sum(x[5:] ** 3)])

    found = tg.jacobian(sums, sparse=True)
    same(found(X), tg.jacobian(sums)(X))
    assert found.colours(X) == 1


def test_many_directions():
    def windows(x):
        return sum(x[i : len(x) - 8 + i] ** 2 for i in range(9))

    found = tg.jacobian(windows, sparse=True)
    x = rng.normal(size=40)
    same(found(x), tg.jacobian(windows)(x))
    assert found.colours(x) == 9


def test_arrays_of_two_dimensions():
    def stencil(u):
        return u[1:-1, 1:-1] * u[:-2, 1:-1] - u[2:, 1:-1] - u[1:-1, :-2] * u[1:-1, 2:]

    u = rng.normal(size=(5, 6))
    same(tg.jacobian(stencil, sparse=True)(u), tg.jacobian(stencil)(u))


def test_dtypes_numbers_and_nothing():
    assert tg.jacobian(products, sparse=True)(X.astype(np.float32)).dtype == np.float32
    assert tg.jacobian(lambda x: x * x, sparse=True)(3.0).toarray().tolist() == [[6.0]]
    assert tg.jacobian(lambda x: x * x, sparse=True)(np.zeros(0)).shape == (0, 0)
    assert tg.jacobian(lambda x: 0.0 * np.floor(x), sparse=True)(X).nnz == 0


def test_a_method():
    class Model:
        def __init__(self, a):
            self.a = a

        @tg.jacobian(sparse=True)
        def steps(self, x):
            return np.diff(x) * self.a

    model = Model(3.0)
    same(model.steps(X), 3.0 * tg.jacobian(np.diff)(X))


def test_the_result_is_the_callers_own():
    found = tg.jacobian(products, sparse=True)
    first = found(X)
    first.indices[:] = 0
    first.data[:] = 0.0
    same(found(X), tg.jacobian(products)(X))


def test_the_pattern_of_a_call():
    found = tg.hessian(rosenbrock, sparse=True)
    assert found.pattern(X).nnz == found(X).nnz == 3 * len(X) - 2


def test_it_is_no_part_of_a_trace():
    found = tg.jacobian(products, sparse=True)
    with pytest.raises(ArgumentError, match="can't be part of a trace"):
        tg.jit(lambda x: found(x))(X)


def test_functions_with_rules_of_their_own():
    @tg.custom_vjp
    def soft(x):
        return np.log1p(np.exp(x))

    soft.defvjp(lambda x: (soft(x), x), lambda x, bar: (bar / (1.0 + np.exp(-x)),))

    def f(x):
        return soft(x[1:]) * x[:-1]

    found = tg.jacobian(f, sparse=True)
    same(found(X), tg.jacobian(f)(X))
    assert found.colours(X) == 2
    value = tg.hessian(lambda x: np.sum(f(x)), sparse=True)
    same(value(X), tg.hessian(lambda x: np.sum(f(x)))(X))


def test_mirror_images_in_other_blocks():
    def value(w, y):
        return np.sum(w**2) * y[1] + np.sum(np.sin(w[1:])) * y[0] ** 2 + y[0] * y[1]

    found = tg.hessian(value, (0, 1), sparse=True)
    for row, dense in zip(found(X, X[:2]), tg.hessian(value, (0, 1))(X, X[:2]), strict=True):
        for a, b in zip(row, dense, strict=True):
            same(a, b)
    assert found.colours(X, X[:2]) == 3


def test_few_directions_are_statements_of_one_loop():
    found = tg.hessian(rosenbrock, sparse=True)
    source = found.inspect_source(X)
    # The elements, for all three directions (twice if sizes are small); and the nonzeros.
    assert source.count("\n    for ") <= 3, source


def test_one_block_of_directions_is_not_copied():
    def running(x, at):
        y = np.zeros(len(x))
        for i in range(len(x)):
            y[i] = np.sin(x[i]) * x[at[i]] + (y[i - 1] if i % 12 else 0.0)
        return y

    x, at = rng.normal(size=40), rng.integers(0, 40, 40)
    found = tg.jacfwd(running, sparse=True)
    same(found(x, at), tg.jacrev(running)(x, at))
    assert 4 < found.colours(x, at) <= 64
    source = found.inspect_source(x, at)
    assert "range(1)" not in source
    assert source.count("large_empty((") <= 1, source
