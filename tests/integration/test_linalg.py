"""Derivatives through linear algebra: compiled, in both modes, against differences."""

import numpy as np
import pytest
import scipy.linalg

import tracegrad as tg
from tests.integration.stages import Stages, same
from tracegrad.testing.numerics import assert_close, numerical_jvp

rng = np.random.default_rng(11)
n = 4
S = rng.normal(size=(n, n))
V = S @ S.T + n * np.eye(n)
B = rng.normal(size=(n, 2))
T = rng.normal(size=(5, 3))
BATCH = np.stack([V, V + np.eye(n), 2.0 * V])
WEIGHTS = np.cos(np.arange(16.0))


def mixed(x):
    """A number that depends on every element in its own way."""
    flat = np.ravel(x)
    return np.sum(flat * np.cos(np.arange(flat.shape[0]) * 1.0) + flat**2)


def gp(x, scale, noise):
    """The log-likelihood of a Gaussian process with a squared-exponential kernel."""
    gaps = x[:, None] - x[None, :]
    K = scale * np.exp(-0.5 * gaps**2) + noise * np.eye(x.shape[0])
    L = np.linalg.cholesky(K)
    half = scipy.linalg.solve_triangular(L, np.sin(x), lower=True)
    return -0.5 * np.sum(half**2) - np.sum(np.log(np.diag(L)))


def symmetric(f):
    return lambda x: f((x + x.T) * 0.5)


PROGRAMS = {
    "solve": (lambda a, b: mixed(np.linalg.solve(a, b)), (V, B)),
    "solve a vector": (lambda a, b: mixed(np.linalg.solve(a, b[:, 0])), (V, B)),
    "solve a batch": (lambda a, b: mixed(np.linalg.solve(a, b)), (BATCH, B)),
    "inverse": (lambda a: mixed(np.linalg.inv(a)), (V + S,)),
    "determinant": (lambda a: np.linalg.det(a) ** 2, (V + S,)),
    "determinants": (lambda a: mixed(np.linalg.det(a)), (BATCH,)),
    "log-determinant": (lambda a: np.linalg.slogdet(a)[1] ** 2, (V + S,)),
    "cholesky": (symmetric(lambda a: mixed(np.linalg.cholesky(a))), (V,)),
    "cholesky of a batch": (
        lambda a: mixed(np.linalg.cholesky((a + np.swapaxes(a, -1, -2)) * 0.5)),
        (BATCH,),
    ),
    "triangular": (
        lambda a, b: mixed(scipy.linalg.solve_triangular(a, b, lower=True)),
        (np.tril(V), B),
    ),
    "eigenvalues": (symmetric(lambda a: mixed(np.linalg.eigvalsh(a))), (V,)),
    "eigenvectors": (symmetric(lambda a: mixed(np.linalg.eigh(a)[1] ** 2)), (V,)),
    "singular values": (lambda a: mixed(np.linalg.svd(a, compute_uv=False)), (T,)),
    "singular vectors": (
        lambda a: (
            mixed(np.linalg.svd(a, full_matrices=False)[0] ** 2)
            + mixed(np.linalg.svd(a, full_matrices=False)[2] ** 2)
        ),
        (T,),
    ),
    "singular vectors of a wide matrix": (
        lambda a: mixed(np.linalg.svd(a, full_matrices=False)[2] ** 2),
        (T.T,),
    ),
    "qr": (lambda a: mixed(np.linalg.qr(a)[0]) + mixed(np.linalg.qr(a)[1]), (T,)),
    "qr of a wide matrix": (lambda a: mixed(np.linalg.qr(a)[1]), (T.T,)),
    "pseudo-inverse": (lambda a: mixed(np.linalg.pinv(a)), (T,)),
    "pseudo-inverse of a unit matrix": (lambda a: mixed(np.linalg.pinv(a)), (np.eye(3),)),
    "least squares": (lambda a, b: mixed(np.linalg.lstsq(a, b, rcond=None)[0]), (T, T[:, 0])),
    "norms": (lambda a: np.linalg.norm(a, 2) * np.linalg.norm(a, "nuc"), (T,)),
    "exponential": (lambda a: mixed(scipy.linalg.expm(a)), (S,)),
    "logarithm": (lambda a: mixed(scipy.linalg.logm(a)), (scipy.linalg.expm(0.5 * S),)),
    "banded solution": (
        lambda a, b: mixed(scipy.linalg.solve_banded((2, 1), a, b)),
        (np.vstack([S[0], 5.0 + S[1], S[2], S[0]]), S),
    ),
    "gaussian process": (gp, (np.linspace(0.0, 2.0, 6), 1.3, 0.2)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_and_tangents_are_those_of_differences(name):
    function, args = PROGRAMS[name]
    stages = Stages(function, args)
    value, *bars = stages.transformed()
    assert_close(value, function(*args), 1e-9)
    same(stages.optimized(), (value, *bars), 1e-9, "optimized")
    dots = [np.asarray(rng.normal(size=np.shape(a)))[()] for a in args]
    slope = numerical_jvp(function, args, dots)
    found = sum(np.sum(b * d) for b, d in zip(bars, dots, strict=True))
    assert_close(found, slope, 1e-6)


@pytest.mark.filterwarnings("ignore")
def test_compiled_in_both_modes_and_twice():
    everything = lambda a, b: (  # noqa: E731  # one compilation for many
        mixed(np.linalg.solve(a, b))
        + np.linalg.slogdet(a)[1]
        + mixed(np.linalg.cholesky(a @ a.T))
        + mixed(np.linalg.eigvalsh(a @ a.T))
        + mixed(np.linalg.svd(b, compute_uv=False))
        + mixed(np.linalg.qr(b)[1])
        + mixed(np.linalg.pinv(b))
    )
    tg.check_grads(everything, (V / 4.0 + S / 8.0, B), order=1)
    plain = gp(np.linspace(0.0, 2.0, 6), 1.3, 0.2)
    f = tg.value_and_grad(gp, argnums=(0, 1, 2))
    assert_close(f(np.linspace(0.0, 2.0, 6), 1.3, 0.2)[0], plain, 1e-10)
    tg.check_grads(gp, (np.linspace(0.0, 2.0, 6), 1.3, 0.2), order=2, modes=["rev"])


def test_a_singular_matrix_raises_as_in_numpy():
    with pytest.raises(np.linalg.LinAlgError):
        tg.grad(lambda a: np.sum(np.linalg.inv(a)))(np.ones((2, 2)))
    with pytest.raises(np.linalg.LinAlgError):
        tg.grad(lambda a: np.sum(np.linalg.cholesky(a)))(-np.eye(2))


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="square"):
        tg.grad(lambda a: np.sum(np.linalg.inv(a)))(np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (5, 5)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_counts_as_rank_is_numpys(shape, dtype):
    """By default a singular value counts if it exceeds the longer side times epsilon."""
    few = min(shape)
    u, v = np.linalg.qr(rng.normal(size=shape))[0], np.linalg.qr(rng.normal(size=shape[::-1]))[0]
    for factor in (0.3, 4.0):
        s = np.ones(few)
        s[-1] = factor * max(shape) * np.finfo(dtype).eps
        a, b = ((u[:, :few] * s) @ v[:, :few].T).astype(dtype), np.ones(shape[0], dtype)
        rank = tg.jit(lambda a, b: np.linalg.lstsq(a, b)[2])(a, b)
        assert rank == few - (factor < 1.0)
        if dtype is np.float64:  # NumPy takes float32 for float64 here
            assert rank == np.linalg.lstsq(a, b)[2]
        p = tg.jit(lambda a: scipy.linalg.pinv(a))(a)
        assert (np.linalg.norm(p) > 100.0) == (factor > 1.0)
        assert (np.linalg.norm(scipy.linalg.pinv(a)) > 100.0) == (factor > 1.0)


def test_limits_of_rank_may_be_computed():
    a = np.diag([1.0, 0.1, 0.001])
    f = tg.value_and_grad(lambda a, limit: np.sum(np.linalg.pinv(a, limit)), argnums=(0, 1))
    for limit in (1e-6, 0.01, 0.5):
        value, (_, limit_bar) = f(a, limit)
        assert value == pytest.approx(np.sum(np.linalg.pinv(a, limit)))
        assert limit_bar == 0.0
    negative = tg.jit(lambda a: np.linalg.lstsq(a, np.ones(3), -1)[0])(a)
    assert_close(negative, np.linalg.lstsq(a, np.ones(3), -1)[0], 1e-10)


def test_transposes_are_flags_of_the_solution():
    A, b = V, B[:, 0].copy()
    programs = (
        lambda a, b: np.sum(np.linalg.solve(a.T, b) ** 2),
        lambda a, b: np.sum(scipy.linalg.solve_triangular(a.T, b, lower=False) ** 2),
        lambda a, b: np.sum(scipy.linalg.solve_triangular(a, b, trans=1, lower=True) ** 2),
        lambda a, b: np.sum(scipy.linalg.solve_triangular(a, np.outer(b, b).T, lower=True).T ** 3),
    )
    for program in programs:
        f = tg.value_and_grad(program, argnums=(0, 1))
        value, _ = f(A, b)
        assert value == pytest.approx(program(A, b))
        code = [line.partition("#")[0] for line in f.inspect_source().splitlines()]
        assert ".T" not in "".join(code)
        tg.check_grads(program, (A, b), order=1)


def test_batches_of_every_factorization():
    def program(a, b):
        even = (a + np.swapaxes(a, -1, -2)) * 0.5
        L = np.linalg.cholesky(even)
        w, v = np.linalg.eigh(even)
        return (
            mixed(L) + mixed(w) + mixed(v**2) + mixed(np.linalg.slogdet(a)[1])
            + mixed(np.linalg.solve(a, b)) + mixed(np.linalg.inv(a)) + mixed(np.linalg.qr(b)[0])
        )  # fmt: skip

    b = rng.normal(size=(3, n, 2))
    tg.check_grads(program, (BATCH, b), order=1, modes=["rev"])
    value = tg.jit(program)(BATCH, b)
    assert value == pytest.approx(program(BATCH, b))


def test_other_layouts_and_dtypes():
    f = tg.grad(lambda a, b: np.sum(np.linalg.solve(a, b) ** 2), argnums=(0, 1))
    expected = f(V, B)
    wide = np.repeat(V, 2, axis=1)
    for a in (np.asfortranarray(V), wide[:, ::2], V[::-1][::-1]):
        for found, right in zip(f(a, np.asfortranarray(B)), expected, strict=True):
            assert_close(found, right, 1e-9)
    single = f(V.astype(np.float32), B.astype(np.float32))
    for found, right in zip(single, expected, strict=True):
        assert found.dtype == np.float32
        assert_close(found, right, 1e-3)


def test_empty_matrices():
    f = tg.value_and_grad(lambda a, b: np.sum(np.linalg.solve(a, b)) + np.linalg.slogdet(a)[1])
    value, bar = f(np.zeros((0, 0)), np.zeros((0, 2)))
    assert value == 0.0
    assert bar.shape == (0, 0)


def test_a_pullback_has_the_factors_of_its_primal():
    a = V + S
    out, pullback = tg.vjp(np.linalg.solve, a, B)
    assert_close(out, np.linalg.solve(a, B), 1e-10)
    assert "lu_solve" in pullback.source
    assert "runtime.lu(" not in pullback.source
    out_bar = rng.normal(size=B.shape)
    a_bar, b_bar = pullback(out_bar)
    assert_close(b_bar, np.linalg.solve(a.T, out_bar), 1e-10)
    assert_close(a_bar, -b_bar @ out.T, 1e-10)


def test_a_loop_solves_with_the_factors_of_its_matrix():
    def steps(a, x):
        for _ in range(5):
            x = np.linalg.solve(a, x) + x / 2.0
        return np.sum(x**2)

    f = tg.value_and_grad(steps, argnums=(0, 1))
    value, _ = f(V, B[:, 0].copy())
    assert value == pytest.approx(steps(V, B[:, 0]))
    assert f.inspect_source().count("runtime.lu(") == 1
    tg.check_grads(steps, (V, B[:, 0].copy()), order=2, modes=["rev"])
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        f(np.ones((4, 4)), np.ones(4))


def a_logarithm_of_its_own(x):
    if not np.min(x) > 0.0:
        raise np.linalg.LinAlgError("a logarithm of what is not positive")
    return np.sum(np.log(x))


def test_a_function_raises_linalg_errors_of_its_own():
    f_grad = tg.grad(a_logarithm_of_its_own)
    assert np.array_equal(f_grad(np.array([1.0, 2.0])), [1.0, 0.5])
    with pytest.raises(np.linalg.LinAlgError, match="a logarithm of what is not positive"):
        f_grad(np.array([1.0, -2.0]))


@pytest.mark.parametrize(
    "a",
    [
        np.diag([2.0, -3.0]),
        np.array([[1.0, 2.0], [3.0, -7.0]]),
        np.array([[np.nan, 1.0], [1.0, 1.0]]),
    ],
)
def test_a_matrix_without_a_real_logarithm_is_refused(a):
    with pytest.raises(np.linalg.LinAlgError, match=r"no real logarithm|Singular"):
        tg.jit(lambda a: scipy.linalg.logm(a))(a)
