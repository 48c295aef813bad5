"""Linear algebra by LAPACK: what printed text means, its errors, and what it leaves behind."""

import itertools
import tracemalloc

import numpy as np
import pytest

from tracegrad.backend.compile import run_plain
from tracegrad.backend.native import externals, libraries
from tracegrad.backend.native.kernel import compile_native
from tracegrad.backend.native.types import Unsupported

rng = np.random.default_rng(5)
HEAD = "import numpy as np\n\nfrom tracegrad.backend import runtime\n\n\n"
SIZES = (0, 1, 2, 7, 19)


def text(body, parameters):
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{HEAD}def f({parameters}):\n{lines}\n"


def native(body, parameters, *arguments, stem=None):
    signature = [(a.dtype, a.ndim) for a in map(np.asarray, arguments)]
    return compile_native(text(body, parameters), "f", signature, [], stem, "<text>").call


def check(call, parameters, cases, tolerance=1e-10):
    """One kernel on many arguments, against the text as plain Python."""
    body = f"out = {call}\nreturn out"
    plain = run_plain(text(body, parameters), "f")
    kernels = {}
    for arguments in cases:
        before = [a.copy() for a in arguments]
        kinds = tuple((a.dtype, a.ndim) for a in arguments)
        if kinds not in kernels:
            kernels[kinds] = native(body, parameters, *arguments)
        found, expected = kernels[kinds](*arguments), plain(*arguments)
        single = arguments[0].dtype == np.float32
        limit = 2e-3 if single else tolerance
        np.testing.assert_allclose(found, expected, rtol=limit, atol=limit)
        assert np.shape(found) == np.shape(expected)
        assert np.asarray(found).dtype == arguments[0].dtype or not np.ndim(found)
        assert not np.ndim(found) or found.flags.c_contiguous
        for a, b in zip(arguments, before, strict=True):
            np.testing.assert_array_equal(a, b)


def general(n, dtype=np.float64):
    return (rng.normal(size=(n, n)) + 3.0 * np.eye(n)).astype(dtype)


def positive(n, dtype=np.float64):
    x = rng.normal(size=(n, n))
    return (x @ x.T + n * np.eye(n)).astype(dtype)


def sides(n, dtype=np.float64):
    return [rng.normal(size=s).astype(dtype) for s in ((n,), (n, 1), (n, 4), (n, 0))]


DTYPES = (np.float64, np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_and_inverses(dtype):
    square = [(general(n, dtype),) for n in SIZES]
    check("runtime.cholesky(a)", "a", [(positive(n, dtype),) for n in SIZES])
    check("runtime.inv(a)", "a", square)
    check("runtime.slogdet(a)", "a", square)
    check("np.linalg.det(a)", "a", square)


#: Blocks of 16 rows: one, just more than one, and several, taken apart more than once.
BLOCKS = (*SIZES, 16, 17, 33, 50, 75)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_and_their_cotangents_by_blocks(dtype):
    check("runtime.cholesky(a)", "a", [(positive(n, dtype),) for n in BLOCKS])
    lower = [np.linalg.cholesky(positive(n, dtype)) for n in BLOCKS if n]
    cases = [(a, rng.normal(size=a.shape).astype(dtype)) for a in lower]
    cases.append((np.empty((0, 0), dtype), np.empty((0, 0), dtype)))
    check("runtime.cholesky_cotangent(a, b)", "a, b", cases)


def test_a_cotangent_is_symmetric_and_reads_lower_triangles():
    f = native("out = runtime.cholesky_cotangent(a, b)\nreturn out", "a, b", *[np.ones((2, 2))] * 2)
    for n in BLOCKS[1:]:
        a, b = np.linalg.cholesky(positive(n)), rng.normal(size=(n, n))
        above = np.triu(np.full((n, n), np.nan), 1)
        found = f(a + above, b + above)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_array_equal(found, f(a, b))


@pytest.mark.parametrize("n", [3, 16, 40, 75])
def test_a_pivot_that_is_not_positive_is_found_wherever_it_stands(n):
    f = native("out = runtime.cholesky(a)\nreturn out", "a", np.ones((2, 2)))
    for k in range(n):
        for wrong in (0.0, -1e-300, np.nan):
            a = np.eye(n)
            a[k, k] = wrong
            with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
                f(a)
    assert np.isfinite(f(np.eye(n))).all()


def test_only_the_symmetric_part_counts():
    a = positive(9)
    uneven = a + np.triu(rng.normal(size=(9, 9)), 1) * 0.1
    check("runtime.cholesky(a)", "a", [(uneven,)])
    check("runtime.eigh(a)", "a", [(uneven,)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_decompositions_have_numpys_signs(dtype):
    # Signs depend on rounding, which is not the same in NumPy's library.
    shapes = [(5, 3), (1, 1), (4, 4), *([(30, 17)] if dtype is np.float64 else [])]
    tall = [(rng.normal(size=s).astype(dtype),) for s in shapes]
    sizes = SIZES if dtype is np.float64 else SIZES[:4]
    check("runtime.eigh(a)", "a", [(positive(n, dtype),) for n in sizes])
    check("runtime.orthonormal(a)", "a", tall)
    check("runtime.svd(a)", "a", tall)
    wide = [(rng.normal(size=s).astype(dtype),) for s in ((3, 5), (2, 2), (6, 2), (1, 4))]
    check("runtime.pinv(a, 1e-15)", "a", wide)


def test_small_singular_values_count_as_zero():
    a = np.outer(np.arange(1.0, 5.0), np.arange(1.0, 4.0)) + 1e-9 * rng.normal(size=(4, 3))
    check("runtime.pinv(a, 1e-6)", "a", [(a,), (np.zeros((3, 2)),)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_solutions(transposed, dtype):
    cases = [(general(n, dtype), b) for n in SIZES for b in sides(n, dtype)]
    flag = ", transposed=True" if transposed else ""
    check(f"runtime.solve(a, b{flag})", "a, b", cases, 1e-8)


@pytest.mark.parametrize(("lower", "transposed"), list(itertools.product([True, False], repeat=2)))
def test_triangular_solutions_read_one_triangle(lower, transposed):
    flags = f"lower={lower}, transposed={transposed}"
    cases = [(general(n), b) for n in SIZES for b in sides(n)]
    cases = [(a + n * np.eye(n), b) for a, b in cases for n in [len(a)]]
    check(f"runtime.solve_triangular(a, b, {flags})", "a, b", cases)
    turned = [(a, np.ascontiguousarray(b.T)) for a, b in cases if b.ndim == 2]
    check(f"runtime.solve_triangular(a, b, {flags}, right=True)", "a, b", turned)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (0, 2), (3, 1), (2, 0), (0, 0)])
def test_banded_solutions(lower, upper, dtype):
    cases = []
    for n in SIZES:
        # Small pivots, so that rows are exchanged; corners that no element stands in.
        band = (rng.normal(size=(lower + upper + 1, n)) + 0.5).astype(dtype)
        for r in range(upper):
            band[r, : upper - r] = np.nan
        for r in range(lower):
            band[upper + 1 + r, max(0, n - 1 - r) :] = np.nan
        cases += [(band, b) for b in sides(n, dtype)]
    for flag in ("", ", transposed=True"):
        check(f"runtime.solve_banded(a, b, {lower}, {upper}{flag})", "a, b", cases, 1e-8)


ERRORS = {
    "runtime.solve_banded(a, a, 1, 1)": ("singular", np.zeros((3, 3))),
    "runtime.cholesky(a)": ("not positive definite", -np.eye(3)),
    "runtime.inv(a)": ("Singular", np.ones((3, 3))),
    "runtime.solve(a, a)": ("Singular", np.zeros((2, 2))),
    "runtime.solve_triangular(a, a, lower=True)": ("Singular", np.diag([1.0, 0.0])),
    "runtime.svd(a)": ("converge", np.full((4, 3), np.nan)),
    "runtime.pinv(a, 1e-15)": ("converge", np.full((4, 3), np.nan)),
}


@pytest.mark.parametrize("call", ERRORS)
def test_what_lapack_refuses_raises_and_leaves_nothing_behind(call):
    message, a = ERRORS[call]
    f = native(f"out = {call}\nreturn out", "a", a)
    g = native(f"total = 0.0\nfor i in range(3):\n    out = {call}\n    total += out[0, 0]\n"
               "return total", "a", a)  # fmt: skip
    fine = np.tril(positive(40)) if "lower" in call else positive(40)

    def many(count):
        for _ in range(count):
            for each in (f, g):
                with pytest.raises(np.linalg.LinAlgError, match=message):
                    each(a)
                each(fine)

    many(3)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    many(20)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # A matrix of the larger size has 12,800 bytes.
    assert after - before < 12_000


def test_a_singular_matrix_has_a_determinant():
    a = np.zeros((3, 3))
    check("runtime.slogdet(a)", "a", [(a,), (np.diag([1.0, -2.0, 3.0]),)])
    check("np.linalg.det(a)", "a", [(a,), (np.diag([1.0, -2.0, 3.0]),)])


def test_nan_is_passed_on():
    a = np.array([[np.nan, 1.0], [1.0, 2.0]])
    f = native("out = runtime.solve(a, b)\nreturn out", "a, b", a, np.ones(2))
    assert np.isnan(f(a, np.ones(2))).any()


def test_in_loops_and_in_parts_of_arrays():
    body = """\
total = np.linalg.det(a[0])
for i in range(a.shape[0]):
    x = runtime.solve(a[i], b)
    row = x[0]
    total += row[0] * row[1]
    if i == 1:
        z = runtime.eigh(a[i])
        values = z[0]
        y = runtime.inv(a[0])
        total += values[2]
    else:
        y = runtime.inv(a[i])
return total, y"""
    a, b = np.stack([positive(3) for _ in range(3)]), rng.normal(size=(3, 2))
    found, expected = native(body, "a, b", a, b)(a, b), run_plain(text(body, "a, b"), "f")(a, b)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_a_part_of_a_result_is_no_result():
    a = positive(3)
    with pytest.raises(Unsupported):
        native("out = runtime.eigh(a)\nvalues = out[0]\nreturn values", "a", a)
    with pytest.raises(Unsupported):
        native("out = runtime.inv(a.T)\nreturn out", "a", a)


def test_kernels_come_back_from_disk(tmp_path):
    a, b = general(6), rng.normal(size=(6, 3))
    body = "out = runtime.solve(a, b)\nreturn out"
    made, again = (native(body, "a, b", a, b, stem=tmp_path / "f") for _ in range(2))
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(made(a, b), again(a, b))
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        again(0.0 * a, b)


@pytest.fixture
def other_library(monkeypatch):
    """NumPy's library, whose integers have another size than SciPy's."""
    files = [path for path in libraries._files() if "numpy" in str(path.parent)]
    if not files:
        pytest.skip("NumPy brings no library")
    monkeypatch.setattr(libraries, "_files", lambda: iter(files))
    libraries._library.cache_clear()
    externals.address.cache_clear()
    yield
    libraries._library.cache_clear()
    externals.address.cache_clear()


def test_integers_of_either_size(other_library):
    assert libraries.address("lapack.integer_size") == 8
    a, b = general(7), rng.normal(size=(7, 3))
    check("runtime.solve(a, b)", "a, b", [(a, b), (a, b[:, 0].copy())])
    check("runtime.slogdet(a)", "a", [(a,)])
    check("runtime.eigh(a)", "a", [(positive(7),)])
    check("runtime.svd(a)", "a", [(a,)])
    check("runtime.lu(a)", "a", [(a[::-1].copy(),)])
    factors = run_plain(text("return runtime.lu(a)", "a"), "f")(a[::-1].copy())
    check("runtime.lu_inv(a)", "a", [(factors,)])
    with pytest.raises(np.linalg.LinAlgError):
        native("out = runtime.inv(a)\nreturn out", "a", a)(np.zeros((3, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_that_are_used_several_times(dtype):
    exchanged = [general(n, dtype)[::-1].copy() for n in (*SIZES, 70)]
    check("runtime.lu(a)", "a", [(a,) for a in exchanged], 1e-9)
    factors = [run_plain(text("return runtime.lu(a)", "a"), "f")(a) for a in exchanged]
    pairs = [(f, b) for f in factors for b in sides(f.shape[1], dtype)]
    for more in ("", ", transposed=True"):
        check(f"runtime.lu_solve(a, b{more})", "a, b", pairs, 1e-9)
    for name in ("lu_inv", "lu_slogdet", "lu_det"):
        check(f"runtime.{name}(a)", "a", [(f,) for f in factors], 1e-9)
    for a, f in zip(exchanged, factors, strict=True):
        found = run_plain(text("return runtime.lu_solve(a, b)", "a, b"), "f")(f, a)
        np.testing.assert_allclose(
            found, np.eye(len(a)), atol=1e-3 if dtype is np.float32 else 1e-9
        )


def test_factors_of_a_singular_matrix():
    singular = [np.zeros((3, 3)), np.ones((3, 3)), np.diag([2.0, 0.0, 1.0])]
    factors = [(run_plain(text("return runtime.lu(a)", "a"), "f")(a),) for a in singular]
    check("runtime.lu(a)", "a", [(a,) for a in singular])
    check("runtime.lu_slogdet(a)", "a", factors)
    check("runtime.lu_det(a)", "a", factors)
    inverse = native("out = runtime.lu_inv(a)\nreturn out", "a", factors[0][0])
    solve = native("out = runtime.lu_solve(a, b)\nreturn out", "a, b", factors[0][0], np.ones(3))
    for (given,) in factors:
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            solve(given, np.ones(3))
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            inverse(given)
