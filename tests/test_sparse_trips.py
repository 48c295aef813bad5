"""Sparse Jacobians of loops whose trips write rows: each trip is differentiated by itself."""

import numpy as np
import optree
import pytest

import tracegrad as tg
import tracegrad.sparse
from tracegrad.sparse import Plan, TripPlan
from tracegrad.transforms.trip_rows import trip_rows

from .staging.programs import define

rng = np.random.default_rng(0)
N = 12
X = rng.normal(size=N)
Y = rng.normal(size=(N, 3))
I = rng.integers(0, N, N)
J = rng.permutation(N)


def compared(function, *arguments, argnums=(0,), verb=tg.jacrev, plan=TripPlan):
    """How the sparse Jacobian is planned, after it was compared with the dense one."""
    sparse = verb(function, argnums, sparse=True)
    found = optree.tree_leaves(sparse(*arguments))
    dense = optree.tree_leaves(tg.jacfwd(function, argnums)(*arguments))
    for a, b in zip(found, dense, strict=True):
        assert a.has_canonical_format
        np.testing.assert_allclose(a.toarray(), b.reshape(a.shape), rtol=1e-11, atol=1e-13)
    made = sparse._planned(arguments, {})
    assert type(made) is plan
    assert plan is Plan or made.otherwise is None
    return made


@pytest.fixture
def always_by_trips(monkeypatch):
    monkeypatch.setattr(tracegrad.sparse, "trips_pay", lambda *_: True)


def kinds(made):
    return [block.kind for row in made.found.blocks for block in row]


def springs(x, y, i, j):
    out = np.zeros(2 * i.shape[0])
    for k in range(i.shape[0]):
        stretch = x[i[k]] - x[j[k]]
        out[2 * k] = np.sin(stretch) * y[i[k], 1]
        out[2 * k + 1] = stretch**2 + np.exp(y[j[k], 0])
    return out


def test_trips_that_read_what_others_read_too():
    hub = np.zeros(N, int)
    others = np.arange(1, N + 1) % N
    made = compared(springs, X, Y, others[:-1], hub[:-1], argnums=(0, 1))
    assert made.count == 2
    assert kinds(made) == ["whole", "whole"]
    blocks = tg.jacrev(springs, (0, 1), sparse=True)
    assert blocks.colours(X, Y, others[:-1], hub[:-1]) == 2


def test_one_element_read_twice_in_a_trip_is_added_up():
    apart = (J + 1) % N
    assert kinds(compared(springs, X, Y, apart, J, argnums=(0, 1))) == ["picked", "whole"]
    assert kinds(compared(springs, X, Y, I, I.copy(), argnums=(0, 1))) == ["added", "whole"]


def test_one_function_for_other_integers_and_sizes():
    found, dense = tg.jacrev(springs, 0, sparse=True), tg.jacfwd(springs, 0)
    for n, i, j in (
        (N, I, J),
        (N, I, I.copy()),
        (1, I[:3] * 0, J[:3] * 0),
        (5, I[:7] % 5, J[:7] % 5),
        (N, J, I),
    ):
        a = found(X[:n], Y[:n], i, j)
        np.testing.assert_allclose(a.toarray(), dense(X[:n], Y[:n], i, j), rtol=1e-12)


def observations(x, y, i):
    """Each trip writes a row, at once, and a number."""
    rows, sums = np.zeros((i.shape[0], 3)), np.zeros(i.shape[0])
    for k in range(i.shape[0]):
        rows[k] = y[i[k]] * np.tanh(x[k])
        sums[k] = np.dot(y[i[k]], y[i[k]]) * x[0]
    return {"rows": rows, "sums": sums}


def test_rows_trees_and_an_element_that_all_trips_read():
    made = compared(observations, X, Y, I, argnums=(0, 1))
    assert made.count == 4
    assert kinds(made) == ["whole", "whole", "whole", "whole"]


BOUNDS = [lambda n: range(1, n - 1), lambda n: range(n - 2, 0, -1),
          lambda n: range(1, n - 1, 3), lambda n: range(n - 2, 1, -2)]  # fmt: skip


@pytest.mark.parametrize("bounds", BOUNDS)
def test_bounds_of_all_kinds(bounds):
    def stencil(x):
        out = np.zeros(len(x))
        for k in bounds(len(x)):
            out[k] = x[k - 1] * np.sin(x[k]) * x[k + 1] + x[-k]
        return out

    compared(stencil, X, verb=tg.jacobian)
    found, dense = tg.jacrev(stencil, sparse=True), tg.jacfwd(stencil)
    for n in (5, 3, 4, 9):
        np.testing.assert_allclose(found(X[:n]).toarray(), dense(X[:n]), rtol=1e-12)


def test_no_trips():
    def nothing(x):
        out = np.zeros(3)
        for k in range(len(x)):
            out[k] = x[k] ** 2
        return out

    assert tg.jacrev(nothing, sparse=True)(X[:0]).shape == (3, 0)
    compared(nothing, X[:3])


def test_what_is_written_last_counts(always_by_trips):
    def overwritten(x, i):
        out = np.ones(len(x))
        for k in range(len(x)):
            out[0] = x[k] ** 2
            out[i[k]] = np.sin(x[k]) * x[0]
            out[3] = 2.0
        return out.reshape(3, 4)

    compared(overwritten, X, np.maximum(I, 1))
    compared(overwritten, X, np.zeros(N, int))


def test_values_that_do_not_depend_on_the_parameters_are_carried_along():
    def filled(x, c):
        out = np.zeros(len(x))
        n, decay = 0, 1.0
        for k in range(len(x)):
            if c[k] > 0.0:
                decay = decay * c[k]
                out[n] = x[k] ** 2 * decay
                n = n + 1
        return out

    def counted(x, c):
        out = np.zeros(2 * len(x))
        n, decay = 0, 1.0
        for k in range(len(x)):
            decay = decay * c[k]
            out[n] = x[k] ** 2 * decay
            n = n + 2
        return out

    compared(counted, X, Y[:, 0].copy())
    compared(filled, X, Y[:, 0].copy(), plan=Plan)


def test_loops_and_branches_within_a_trip():
    def inner(x, y, i):
        out = np.zeros(len(i))
        for k in range(len(i)):
            row = y[i[k]]
            s = x[k]
            for m in range(3):
                s = np.sin(s) + row[m]
            while s > 0.5:
                s = 0.5 * s
            out[k] = s**2 if s > 0.0 else s
        return out

    compared(inner, X, Y, I, argnums=(0, 1))


def test_captured_arrays_auxiliary_results_and_single_precision():
    weights = np.arange(1.0, N + 1.0)

    def function(x, i):
        out = np.zeros(len(i), dtype=x.dtype)
        for k in range(len(i)):
            out[k] = x[i[k]] * x[k] * weights[k]
        return out, {"sum": np.sum(out)}

    found, aux = tg.jacrev(function, has_aux=True, sparse=True)(X, J)
    dense, other = tg.jacfwd(function, has_aux=True)(X, J)
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-12)
    assert np.isclose(aux["sum"], other["sum"])
    single = X.astype(np.float32)
    found, _ = tg.jacrev(function, has_aux=True, sparse=True)(single, J)
    assert found.dtype == tg.jacrev(function, has_aux=True)(single, J)[0].dtype
    np.testing.assert_allclose(found.toarray(), dense, rtol=1e-5)


def test_an_index_beyond_the_end_is_an_error():
    def function(x, i):
        out = np.zeros(len(i))
        for k in range(len(i)):
            out[k] = x[i[k]] ** 2
        return out

    found = tg.jacrev(function, sparse=True)
    found(X, I)
    with pytest.raises(IndexError):
        found(X, I + N)


def handed_on(x):
    out, s = np.zeros(len(x)), 0.0
    for k in range(len(x)):
        s = 0.5 * s + x[k]
        out[k] = s * x[0]
    return out


def read_back(x):
    out = np.zeros(len(x))
    for k in range(1, len(x)):
        out[k] = 0.5 * out[k - 1] + x[k]
    return out


def added(x):
    out = np.zeros(len(x))
    for k in range(len(x)):
        out[k // 2] += x[k] ** 2
    return out


def place_of_a_float(x):
    out = np.zeros(len(x))
    for k in range(len(x)):
        out[k] = x[np.argmax(x)] * x[k]
    return out


def started_from_the_parameter(x):
    out = x * 1.0
    for k in range(0, len(x), 2):
        out[k] = x[k] ** 2
    return out


def read_in_a_branch(x):
    out = np.zeros(len(x))
    for k in range(len(x)):
        if k > 0:
            out[k] = x[k - 1] * x[k]
    return out


def whole_array_in_each_trip(x):
    out = np.zeros(len(x))
    for k in range(len(x)):
        out[k] = np.sum(np.sin(x)) * x[k]
    return out


TOGETHER = [handed_on, read_back, added, place_of_a_float, started_from_the_parameter,
            read_in_a_branch, whole_array_in_each_trip]  # fmt: skip


@pytest.mark.parametrize("function", TOGETHER, ids=lambda f: f.__name__)
def test_trips_that_are_not_alone(function):
    compared(function, X, plan=Plan)
    compared(function, X, plan=Plan, verb=tg.jacobian)


def test_a_place_that_a_float_decides_is_found_when_the_integers_are_known():
    """The loop has the right form; that a row may be written by any trip shows later."""

    def function(x, y):
        out = np.zeros(len(x))
        for k in range(len(x)):
            out[int(y[k] > 0.0) + k // 2] = x[k] ** 2
        return out

    compared(function, X, Y[:, 0].copy(), plan=Plan)


def test_cheap_columns_are_taken_forward():
    def diagonal(x):
        out = np.zeros(len(x))
        for k in range(len(x)):
            out[k] = np.sin(x[k])
        return out

    compared(diagonal, X, verb=tg.jacobian, plan=Plan)
    compared(diagonal, X, verb=tg.jacfwd, plan=Plan)


def test_what_a_trip_reads_and_writes():
    function = tg.make_ir(springs)(X, Y, I, J)
    rows = trip_rows(function, [0, 1], [0])
    assert [(part.owner, part.first, part.size) for part in rows.reads] == [
        (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)
    ]  # fmt: skip
    assert [(part.owner, part.first) for part in rows.writes] == [(0, 0), (0, 1)]
    assert trip_rows(tg.make_ir(handed_on)(X), [0], [0]) is None


WRITTEN = ["out[2 * k] = {}", "out[2 * k + 1] = {}", "out[i[k]] = {}", "out[-k - 1] = {}",
           "tab[k] = y[j[k]] * {}", "tab[k, 1] = {}", "out[k // 2] = 1.5"]  # fmt: skip
READ = ["x[i[k]]", "x[j[k]]", "x[k]", "x[max(k - 1, 0)]", "x[-k - 1]", "x[1]", "c[k]",
        "y[i[k], 0]", "y[k, -1]", "y[(3 * k) % n, 2]", "np.sum(y[i[j[k]]])"]  # fmt: skip
FORMS = ["np.sin({})", "({} * {})", "({} - {})", "np.where({} > 0.1, {}, {})", "np.tanh({})"]


def text_of(form, random, depth=0):
    """A form filled with others."""
    count = form.count("{}")
    chosen = FORMS if depth < 2 and random.random() < 0.6 else READ
    filled = [text_of(random.choice(chosen), random, depth + 1) for _ in range(count)]
    return form.format(*filled)


@pytest.mark.parametrize("seed", range(8))
def test_random_trips(seed, always_by_trips):
    random = np.random.default_rng(seed)
    bounds = random.choice(["range(n)", "range(1, n)", "range(n - 1, 0, -2)"])
    lines = [text_of(random.choice(WRITTEN), random) for _ in range(random.integers(1, 4))]
    text = (
        "def f(x, y, c, i, j):\n    n = x.shape[0]\n    out = np.zeros(2 * n)\n"
        f"    tab = np.zeros((n, 3))\n    for k in {bounds}:\n        "
        + "\n        ".join([*lines, "tab[k, 2] = x[i[k]] * x[j[k]]", "out[1] = y[k, 0] * y[k, 1]"])
        + "\n    return out, tab\n"
    )
    function = define(text, f"<trips {seed}>", np=np)
    sparse = tg.jacrev(function, (0, 1), sparse=True)
    for n in (5, 8):
        given = X[:n], Y[:n], Y[:n, 2].copy(), I[:n] % n, J[:n] % n
        dense = optree.tree_leaves(tg.jacfwd(function, (0, 1))(*given))
        for a, b in zip(optree.tree_leaves(sparse(*given)), dense, strict=True):
            np.testing.assert_allclose(a.toarray(), b.reshape(a.shape), rtol=1e-10, atol=1e-12)
        assert type(sparse._planned(given, {})) is TripPlan
