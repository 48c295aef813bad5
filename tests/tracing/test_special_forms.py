"""scipy.special and scipy.stats: forms of calls and layouts of arrays, in both floating dtypes.

Forms are run by the interpreter, layouts by a compiled kernel for a dozen functions at a time.
"""

import numpy as np
import pytest
import scipy.special as sp
import scipy.stats

import tracegrad as tg
from tests.tracing.conftest import run, trace
from tests.tracing.test_special import UFUNCS, X, operands_of
from tracegrad.errors import UnsupportedError
from tracegrad.tracing.scipy_distributions import DISTRIBUTIONS
from tracegrad.tracing.ufuncs import BY_NAME

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}
SEVERAL = ("airy", "sici", "shichi", "fresnel")


def assert_same(found, expected, dtype):
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=1e-2 * TOLERANCE[dtype])


def forms_of(name, dtype):
    """(form, arguments) of one ufunc: 0-d, empty, broadcast, keywords, out, where."""
    ufunc, given = operands_of(name, dtype)
    columns = tuple(x.reshape(-1, 1) if k else x for k, x in enumerate(given))
    yield ufunc, given
    yield ufunc, tuple(x[1] for x in given)
    yield ufunc, tuple(np.array(x[1]) for x in given)
    yield ufunc, tuple(x[:0] for x in given)
    yield ufunc, tuple(np.broadcast_to(x[:0], (3, 0)) for x in given)
    yield ufunc, columns
    for k in range(len(given) if len(given) > 1 else 0):
        yield ufunc, tuple(x[2] if i == k else x for i, x in enumerate(given))
    yield lambda *x: ufunc(*x, dtype=np.float64), given
    if name in SEVERAL:
        return

    def into(*x):
        out = np.zeros(4, dtype)
        found = ufunc(*x, out=out)
        return out * 2.0, found

    def into_by_position(*x):
        out = np.zeros((2, 4), dtype)
        ufunc(*x, out[1])
        return out

    yield into, given
    yield into_by_position, given


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", UFUNCS)
def test_every_form_of_a_call(name, dtype):
    for form, given in forms_of(name, dtype):
        given = tuple(np.copy(x)[()] if np.ndim(x) else x for x in given)
        assert_same(run(trace(form, *given), *given), form(*given), dtype)
    if name in SEVERAL:
        return
    ufunc, given = operands_of(name, dtype)
    chosen = np.array([True, False, True, False])

    def into_some(*x):
        out = np.full(4, -1.0, dtype)
        ufunc(*x, out=out, where=chosen)
        return out

    # SciPy 1.17 itself writes to other elements than these: its loops move NumPy's pointers.
    expected = np.where(chosen, ufunc(*given), -1.0).astype(dtype)
    assert_same(run(trace(into_some, *given), *given), expected, dtype)


def test_where_without_out_is_refused():
    with pytest.raises(UnsupportedError, match="undefined"):
        trace(lambda x: sp.erfinv(x, where=x > 0.3), X)


# --- layouts ------------------------------------------------------------------------------------


def layouts(x):
    """Arrays of one shape and rank that lie in memory in different ways."""
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, 1::3] = x
    yield "strided", wide[::2, 1::3]
    yield "columns first", np.asfortranarray(x)
    yield "backwards", x[::-1, ::-1].copy()[::-1, ::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "one row seen many times", np.broadcast_to(x[0], x.shape)
    yield (
        "not aligned",
        np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    )


def together(functions):
    """The sum of what several functions give, and each of them."""

    def program(*x):
        found = [function(*x) for function in functions]
        parts = [each[0] if isinstance(each, tuple) else each for each in found]
        total = 0.0
        for part in parts:
            total = total + np.sum(part)
        return total, tuple(parts)

    return program


def check_layouts(functions, given, argnums, dtype):
    program = together(functions)
    compiled = tg.value_and_grad(program, argnums=argnums, has_aux=True)
    given = [np.stack([x, x[::-1]]) for x in given]
    for forms in zip(*map(layouts, given), strict=True):
        arrays = [array for _, array in forms]
        before = [array.copy() for array in arrays]
        (_, parts), bars = compiled(*arrays)
        assert_same(tuple(parts), tuple(map(np.asarray, program(*arrays)[1])), dtype)
        _, expected = compiled(*(np.ascontiguousarray(array) for array in arrays))
        for bar, other in zip(bars, expected, strict=True):
            np.testing.assert_array_equal(bar, other, err_msg=forms[0][0])
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)


ALIKE = [
    name
    for name in UFUNCS
    if name not in (*SEVERAL, "ndtri_exp", "zetac", "expn", "kn", "yn", "huber", "pseudo_huber")
]
UNARY = [name for name in ALIKE if getattr(sp, name).nin == 1]
BINARY = [name for name in ALIKE if getattr(sp, name).nin == 2]
# By their first operand these have no derivative.
FIXED = {"jv", "jn", "yv", "iv", "kv", "ive", "kve", "struve", "modstruve", "hyp0f1", "pdtr"}
FIXED |= {"pdtrc", "ellipkinc", "ellipeinc"}
CHUNKS = [
    *(UNARY[k : k + 12] for k in range(0, len(UNARY), 12)),
    [name for name in BINARY if name not in FIXED],
    [name for name in BINARY if name in FIXED and "inc" not in name],
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("names", CHUNKS, ids=lambda names: f"{names[0]}-{names[-1]}")
def test_layouts_of_special_functions(names, dtype):
    count = getattr(sp, names[0]).nin
    given = [(X + 0.05 * k).astype(dtype) for k in range(count)]
    argnums = (count - 1,) if set(names) & FIXED else tuple(range(count))
    check_layouts([getattr(sp, name) for name in names], given, argnums, dtype)


LOCATED = ["norm", "logistic", "cauchy", "laplace", "gumbel_r", "hypsecant"]


def test_layouts_of_distributions():
    functions = []
    for name in LOCATED:
        distribution = getattr(scipy.stats, name)
        assert not DISTRIBUTIONS[name].shapes
        functions += [distribution.logpdf, distribution.cdf, distribution.logsf]
    given = [X - 0.3, 0.2 * X, 1.0 + X]
    check_layouts(functions, given, (0, 1, 2), np.float64)


def test_forms_of_distributions():
    normal, gamma = scipy.stats.norm, scipy.stats.gamma
    x, m, s = X, X[::-1].copy(), 1.0 + X
    forms = [
        lambda x, m, s: normal.logpdf(x, loc=m, scale=s),
        lambda x, m, s: normal.logpdf(x, scale=s),
        lambda x, m, s: normal.logpdf(x=x[:, None], loc=m),
        lambda x, m, s: normal(m).cdf(x[:, None]),
        lambda x, m, s: gamma.sf(x, a=s, scale=2.0),
        lambda x, m, s: gamma.logpdf(x, s, m[0], s[0]),
        lambda x, m, s: gamma.logcdf(x[:0], s[:0]),
        lambda x, m, s: gamma.ppf(q=x[1], a=2),
        lambda x, m, s: scipy.stats.poisson.pmf(k=[0, 1, 2], mu=s[0]),
        lambda x, m, s: scipy.stats.binom(4, x[:, None]).cdf(np.array([0, 2, 4])),
    ]
    for form in forms:
        assert_same(run(trace(form, x, m, s), x, m, s), form(x, m, s), np.float64)


def test_every_composition_is_a_function_of_scipy():
    assert all(hasattr(sp, name) or hasattr(np, name) for name in BY_NAME)
