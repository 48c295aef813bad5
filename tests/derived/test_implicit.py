"""Derivatives of solutions that are trees of arrays."""

import numpy as np
import pytest

import tracegrad as tg

M = np.array([[4.0, 1.0, 0.5], [0.3, 5.0, 0.2], [0.1, 0.7, 3.0]])
B = np.array([1.0, 2.0, -0.5])


def residual(solution, m, b):
    x, extra = solution["x"], solution["pair"]
    return {"x": m @ x + x**3 - b * extra[0], "pair": (extra[0] - b[0] ** 2, extra[1] - x + b)}


@tg.implicit_root(residual)
def solved(m, b):
    x, scale = np.zeros(3), b[0] ** 2
    for _ in range(30):
        x = x - np.linalg.solve(m + 3.0 * np.diag(x**2), m @ x + x**3 - b * scale)
    return {"x": x, "pair": (scale, x - b)}


def plain(m, b):
    return solved.py_func(m, b)


def total(solution):
    return np.sum(np.sin(solution["x"])) + solution["pair"][0] ** 2 * solution["pair"][1][1]


def test_a_solution_that_is_a_tree():
    found = tg.grad(lambda m, b: total(solved(m, b)), (0, 1))(M, B)
    wanted = tg.grad(lambda m, b: total(plain(m, b)), (0, 1))(M, B)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_its_second_derivatives():
    found = tg.hessian(lambda b: total(solved(M, b)))(B)
    np.testing.assert_allclose(found, tg.hessian(lambda b: total(plain(M, b)))(B), rtol=1e-8)


def test_its_jacobian_in_a_batch():
    batch = np.stack([B, 0.5 * B])
    found = tg.vmap(tg.jacobian(lambda b: solved(M, b)))(batch)
    one = tg.jacobian(lambda b: plain(M, b))(B)
    np.testing.assert_allclose(found["x"][0], one["x"], rtol=1e-9)
    np.testing.assert_allclose(found["pair"][1][0], one["pair"][1], rtol=1e-9)


def test_numbers():
    roots = tg.implicit_root(lambda z, a: (z[0] - a, z[1] - z[0] ** 2), lambda a: (a, a * a))
    assert np.isclose(tg.grad(lambda a: roots(a)[1])(3.0), 6.0)


def test_a_residual_of_another_structure_is_refused():
    bad = tg.implicit_root(lambda z, a: z[0] + z[1] - a, lambda a: (a, a * a))
    with pytest.raises(tg.ArgumentError, match="one equation per unknown"):
        tg.grad(lambda a: bad(a)[1])(3.0)
