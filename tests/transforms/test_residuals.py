"""What is stored, what is computed again, and where it is read."""

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS, SCALAR, VECTOR, n, total, zero
from tests.transforms.reversal import (
    adjoint,
    check_first,
    check_second,
    draw,
    run,
    stored_by,
)
from tests.transforms.test_vjp import function
from tests.transforms.test_vjp import no_derivative as no_derivative
from tracegrad import ops
from tracegrad.errors import NotDifferentiable
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Location, Region
from tracegrad.ir.types import ArrayType, f32, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import constant
from tracegrad.passes import optimize
from tracegrad.transforms.cut import cut
from tracegrad.transforms.vjp import gradient, vjp

X = np.array([0.3, 0.7, 0.2, 0.9, 0.5])


def tapes(function):
    """The types of the tapes that come out of the loops of the function, in order."""
    return [str(r.type) for op in function.body.ops for r in stored_by(op)]


# --- tapes -------------------------------------------------------------------------------------


def test_a_loop_stores_its_carried_state_and_computes_the_rest_again():
    """Lotka–Volterra by RK4: dozens of intermediates, two tapes."""

    def rule(p, q, a):
        def flow(p, q):
            return p * (a - q), q * (p * a - 1.0)

        def trip(i, p, q):
            h = 0.01
            k1p, k1q = flow(p, q)
            k2p, k2q = flow(p + k1p * (h / 2), q + k1q * (h / 2))
            k3p, k3q = flow(p + k2p * (h / 2), q + k2q * (h / 2))
            k4p, k4q = flow(p + k3p * h, q + k3q * h)
            p = p + (k1p + (k2p + k3p) * 2.0 + k4p) * (h / 6)
            return p, q + (k1q + (k2q + k3q) * 2.0 + k4q) * (h / 6)

        p, q = for_loop(0, 6, [p, q], trip)
        return p * q

    f = function([SCALAR] * 3, rule)
    assert tapes(adjoint(f)) == ["f64[6]"] * 2
    check_second(f, [np.float64(1.1), np.float64(0.4), np.float64(0.9)])


TAPES = {
    "scalar_carry": ["f64[n]", "f64[n]"],  # s and sin(s)
    "tanh_recurrence": [],  # what tanh gave stands in the array
    "likelihood": ["f64[max(0, n - 1)]"],
    "rectangular": ["f64[n, n]"],
    "recurrent_network": ["f64[n, m]", "f64[n, m]"],
    "dynamic_programming_table": ["f64[max(0, n - 1), 2]"] * 2,  # the logarithms
    "stepped_by_three": ["f64[max((n + 1)//3, 0)]"],
    "trips_known_at_run_time": ["f64[tape_x0_length]"],
    "newton": ["f64[tape_x0_length]"],
}


@pytest.mark.parametrize("name", TAPES)
def test_a_tape_has_an_element_for_each_trip(name):
    assert tapes(adjoint(PROGRAMS[name].function)) == TAPES[name]


def test_a_tape_of_a_while_loop_grows_geometrically():
    program = PROGRAMS["newton"]
    lengths = []

    def observer(op, operands, results):
        if op.name == "ensure" and len(results[0]) > len(operands[0]):
            lengths.append(len(results[0]))

    run(adjoint(program.function), 1e9, 1.0, observer=observer)
    assert lengths == [1, 2, 4, 8, 16, 32][: len(lengths)]
    assert len(lengths) > 3


def test_the_numbers_of_a_while_loop_stand_in_the_rows_of_one_tape():
    """Newton's method for Kepler's equation: sine, cosine and step, and x is not needed."""

    def rule(e, m):
        def trip(x, step):
            step = (x - e * ops.sin(x) - m) / (1.0 - e * ops.cos(x))
            return x - step, step

        x, _ = while_loop([m, constant(1.0)], lambda x, step: ops.absolute(step) > 1e-9, trip)
        return x * e

    f = function([SCALAR, SCALAR], rule)
    g = adjoint(f)
    assert tapes(g) == ["f64[tape_length, 3]"]
    assert [op.name for op in g.walk()].count("sin") == 1
    check_second(f, [0.4, 1.2])


def test_values_that_are_computed_at_once_share_a_tape():
    """Both results of a branch, and both carried values, are needed."""

    def rule(a, b):
        def trip(x, y, k):
            p, q = branch(
                x > y, lambda: (ops.exp(x * a), ops.sin(y)), lambda: (ops.cos(x), ops.exp(y * b))
            )
            return x * p * 0.3 + y * 0.1, y * q * 0.4 + x * y * 0.2, k + ops.absolute(p) + 0.3

        start = [a, b, constant(0.0)]
        x, y, _ = while_loop(start, lambda x, y, k: k < 6.0, trip)
        return x * y + x

    f = function([SCALAR, SCALAR], rule)
    assert sum(type.startswith("f64[") for type in tapes(adjoint(f))) == 1
    for x in ([0.4, 0.9], [0.9, 0.4]):
        check_second(f, x)


def test_integers_that_count_are_computed_from_the_trip():
    def rule(x):
        def trip(k, at, s):
            return k + 1, at + 2, s + ops.sin(ops.index(x, ops.remainder(at, 5)))

        return while_loop([zero(), zero(), constant(0.0)], lambda k, at, s: k < 4, trip)[2]

    f = function([VECTOR], rule)
    assert tapes(adjoint(f)) == []
    check_second(f, [X])


def test_a_sum_needs_no_tape():
    def rule(x):
        return for_loop(0, n, [constant(0.0)], lambda i, s: [s + ops.index(x, i) * 2.0])

    assert tapes(adjoint(function([VECTOR], rule))) == []


def test_a_tape_that_nothing_reads_is_dead_code():
    """Without the cotangent of x, ``sin(s)`` is not stored; without any, no trips are counted."""
    for name, results, carried in (("scalar_carry", 2, [2, 1]), ("newton_in_a_loop", 1, [1])):
        whole = adjoint(PROGRAMS[name].function)
        body = Region(whole.params, whole.body.ops, whole.results[:results])
        less = verify(optimize(Function("f", body)))
        assert len(tapes(less)) == results - 1
        assert [len(op.results) for op in less.body.ops if op.name == "for"] == carried


def test_arms_share_their_residuals():
    """Each arm keeps one number: the branch has one more result, not two."""

    def rule(x, y):
        (z,) = branch(x < y, lambda: [ops.tanh(x)], lambda: [ops.exp(y)])
        return z

    f = function([SCALAR] * 2, rule)
    forward = next(op for op in adjoint(f).body.ops if op.name == "if")
    assert len(forward.results) == 2
    for point in ((0.1, 0.6), (0.6, 0.1)):
        check_second(f, [np.float64(v) for v in point])


# --- what a trip hands to the next -------------------------------------------------------------


def handing(trip, inits=2):
    def rule(x, *starts):
        return for_loop(0, n, [*starts, constant(0.0)], lambda i, *c: trip(x, i, *c))[-1]

    return function([VECTOR, *[SCALAR] * inits], rule)


def points(f):
    return [X, *[np.float64(0.3 + 0.2 * k) for k in range(len(f.params) - 1)]]


def test_the_state_after_a_trip_is_read_as_that_before_the_next():
    """A misfit of the new state: the tapes hold the state before each trip, nothing else."""

    def trip(x, i, p, q, s):
        p, q = p + ops.sin(q) * 0.1, q - p * p * 0.1
        return p, q, s + ops.square(p - ops.index(x, i)) + ops.square(q - 0.5)

    f = handing(trip)
    assert tapes(adjoint(f)) == ["f64[n]"] * 2
    check_second(f, points(f))
    check_second(f, points(f), optimized=True)
    for size in (0, 1):
        check_first(f, [X[:size], *points(f)[1:]])


def test_a_state_that_is_not_stored_hands_nothing_on():
    """Here the new state alone is read: it is stored itself."""

    def trip(x, i, p, s):
        p = p * 0.9 + ops.index(x, i)
        return p, s + ops.sin(p)

    f = handing(trip, 1)
    assert tapes(adjoint(f)) == ["f64[n]"]
    check_second(f, points(f))


def test_states_that_change_places_hand_on_what_they_are():
    def trip(x, i, p, q, s):
        new = p * q + ops.index(x, i)
        return q, new, s + ops.sin(new) + q * p * p

    f = handing(trip)
    check_second(f, points(f))
    check_second(f, points(f), optimized=True)


def test_a_state_is_handed_on_in_a_while_loop():
    def rule(s):
        def trip(k, p, t):
            p = p - ops.sin(p) * 0.4
            return k + 1, p, t + p * p * p

        return while_loop([zero(), s, constant(0.0)], lambda k, p, t: p > 0.05, trip)[2]

    f = function([SCALAR], rule)
    assert len(tapes(adjoint(f))) == 1
    check_second(f, [np.float64(0.9)])
    check_second(f, [np.float64(0.01)])


def test_a_state_is_handed_on_in_an_inner_loop():
    """Where the inner loop's last state is stored once per outer trip."""

    def rule(x, s):
        def outer(i, s, t):
            def inner(j, p, t):
                p = p + ops.sin(p) * ops.index(x, j)
                return p, t + ops.square(p - ops.index(x, i))

            p, t = for_loop(0, i + 1, [s, t], inner)
            return p * 0.5, t

        return for_loop(0, n, [s, constant(0.0)], outer)[1]

    f = function([VECTOR, SCALAR], rule)
    check_second(f, [X, np.float64(0.4)])
    check_second(f, [X, np.float64(0.4)], optimized=True)


def test_a_state_chosen_by_a_branch_is_handed_on():
    def trip(x, i, p, s):
        (p,) = branch(p < 0.6, lambda: [p * 1.5 + ops.sin(p)], lambda: [p * 0.4])
        return p, s + p * p * ops.index(x, i)

    f = handing(trip, 1)
    assert len(tapes(adjoint(f))) <= 2  # the state, and what the arm keeps
    check_second(f, points(f))


# --- arrays stored once for the trips of an inner loop --------------------------------------------


def stepping(reads, *, hi=n, before=0):
    """Steps over an array that each rebuild it: what ``reads`` make of the old one is needed."""

    def rule(x, s):
        def step(t, u):
            def trip(i, v):
                return [ops.update(v, reads(u, i, ops.index(x, i)), i)]

            return for_loop(before, hi, [u], trip)

        (u,) = for_loop(0, 3, [x * s], step)
        return total(u * u)

    return function([VECTOR, SCALAR], rule)


def checked(f, size=5):
    given = [X[:size], np.float64(0.6)]
    check_second(f, given)
    check_second(f, given, optimized=True)


def test_an_array_is_stored_where_several_values_of_each_trip_would_be():
    f = stepping(
        lambda u, i, x: ops.index(u, i) * ops.index(u, i - 1) * (ops.index(u, i) - x), before=1
    )
    assert tapes(adjoint(f)) == ["f64[3, n]"]
    checked(f)


def test_one_value_of_each_trip_is_stored_itself():
    f = stepping(lambda u, i, x: ops.square(ops.index(u, i)) + x)
    assert tapes(adjoint(f)) == ["f64[3, n]"]
    back = [op for op in adjoint(f).walk() if op.name == "index" and op.part == "reverse"]
    assert not any(r.rank for op in back for r in op.results)  # element by element
    checked(f)


def test_an_array_is_not_stored_for_a_few_of_its_elements():
    f = stepping(lambda u, i, x: ops.index(u, i) * ops.index(u, i + 1) * x, hi=2)
    assert all(t == "f64[3, 2]" for t in tapes(adjoint(f)))
    checked(f)


def test_an_array_is_not_stored_where_trips_are_not_known():
    """The length of the inner loop is that of the trip: it may be short."""

    def rule(x, s):
        def step(t, u):
            def trip(i, v):
                return [ops.update(v, ops.index(u, i) * ops.index(u, i + 1), i)]

            return for_loop(0, t, [u], trip)

        (u,) = for_loop(0, n, [x * s], step)
        return total(u * u)

    f = function([VECTOR, SCALAR], rule)
    assert not any("n, n" in t for t in tapes(adjoint(f)))
    checked(f)


def test_an_array_of_an_arm_is_not_stored_for_a_loop_in_it():
    def rule(x, s):
        def step(t, u):
            def arm():
                w = u * 1.5

                def trip(i, v):
                    a, b = ops.index(w, i), ops.index(u, i)
                    return [ops.update(v, a * b * ops.sin(a), i)]

                return for_loop(0, n, [u], trip)

            return branch(ops.index(x, t) > 0.4, arm, lambda: [u * 0.5])

        (u,) = for_loop(0, n, [x * s], step)
        return total(u * u)

    checked(function([VECTOR, SCALAR], rule))


# --- sizes known only at run time --------------------------------------------------------------


def test_a_mask_in_a_loop_is_evaluated_again():
    def rule(x):
        def trip(i, s):
            (where,) = [ops.nonzero(x > ops.index(x, i) * 0.9, size=symbol("count"))]
            return [s * 0.5 + total(ops.sin(ops.index(x, where)))]

        return for_loop(0, n, [constant(0.1)], trip)

    check_second(function([VECTOR], rule), [X])


def masked_inner_loop(x):
    def trip(i, s):
        where = ops.nonzero(x > 0.4, size=symbol("count"))
        (part,) = for_loop(0, 2, [ops.index(x, where)], lambda j, v: [ops.sin(v) * s])
        return [total(part * part)]

    return for_loop(0, n, [constant(0.1)], trip)


def test_what_has_another_size_each_trip_and_comes_out_of_a_loop_is_refused():
    with Builder() as build, build.at(Location("model.py", 7, function="loss")):
        x = build.param(VECTOR, "x")
        f = verify(build.function("f", masked_inner_loop(x)))
    with pytest.raises(NotDifferentiable, match="size is only known while it runs") as caught:
        gradient(f, [0])
    assert caught.value.line == 7
    assert "np.where" in caught.value.way_out


def test_a_gradient_within_a_loop_is_differentiated():
    def rule(x):
        def trip(i, s):
            inner = gradient(function([SCALAR], lambda v: for_loop(0, 3, [v], _bump)[0]), [0])
            return [s + _inlined(inner, ops.index(x, i))]

        return for_loop(0, n, [constant(0.0)], trip)

    check_second(function([VECTOR], rule), [X])


def test_a_gradient_of_a_while_loop_within_a_loop_is_differentiated():
    """The length of the tape that a trip makes is stored for the way back."""

    def rule(x):
        def trip(i, s):
            inner = gradient(PROGRAMS["newton"].function, [0])
            return [s + _inlined(inner, ops.index(x, i) + 1.0)]

        return for_loop(0, n, [constant(0.0)], trip)

    f = function([VECTOR], rule)
    check_first(f, [X])
    check_second(f, [X])
    check_second(f, [X], optimized=True)


def _bump(i, v):
    return [ops.sin(v) * v]


def _inlined(inner, value):
    """The gradient that ``inner`` gives, its operations appended here."""
    from tracegrad.ir.builder import current

    env = {inner.params[0]: value}
    for op in inner.body.ops:
        env.update(zip(op.results, current().copy(op, env).results, strict=True))
    return env[inner.results[1]]


# --- the rest of the transform -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["likelihood", "newton_in_a_loop", "if_for_if_for", "triangular"])
def test_a_reversal_can_be_cut_in_two(name):
    program = PROGRAMS[name]
    whole = adjoint(program.function)
    primals, results = len(program.types), len(program.function.results)
    forward, pullback = cut(whole, primals, results)
    verify(forward)
    verify(pullback)
    given = program.arguments(4)
    values = run(forward, *given)
    bars = draw(np.random.default_rng(0), values[:results])
    expected = run(whole, *given, *bars)
    found = run(pullback, *values[results:], *bars)
    for a, b in zip(found, expected[results:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_guarded_arm_contributes_nothing():
    program = PROGRAMS["guarded_logarithm"]
    g = gradient(program.function, [0])
    assert np.all(np.isfinite(run(g, X)[1]))


def test_float32_stays_float32():
    def rule(x, w):
        def trip(i, s):
            return branch(s < 0.5, lambda: [ops.sin(s) * ops.index(x, i)], lambda: [s * w])

        return for_loop(0, n, [w], trip)

    f = function([ArrayType(f32, (n,)), ArrayType(f32)], rule)
    results = run(verify(gradient(f, [0, 1])), X.astype(np.float32), np.float32(0.3))
    assert {r.dtype for r in results} == {np.dtype(np.float32)}


def test_only_what_is_asked_for_is_carried_back():
    f = PROGRAMS["swapped_arrays"].function
    (loop,) = [op for op in vjp(f, [0], []).walk() if op.name == "for"]
    assert loop.part == "forward"  # no cotangent flows: there is nothing to reverse


def test_an_inactive_carry_has_no_cotangent():
    def rule(x, w):
        def trip(i, s, k):
            return s * ops.index(x, i), k * 0.5

        s, k = for_loop(0, n, [constant(1.0), w], trip)
        return s * k

    g = gradient(function([VECTOR, SCALAR], rule), [0])
    back = [op for op in g.body.ops if op.name == "for"][1]
    assert len(back.results) == 2  # those of s and of x
    check_first(function([VECTOR, SCALAR], rule), [X, np.float64(0.4)])


def test_an_operation_without_a_derivative_is_refused_with_its_line(no_derivative):
    with Builder() as build:
        x = build.param(VECTOR, "x")

        def trip(i, s):
            with build.at(Location("model.py", 12, function="loss")):
                return [s + no_derivative(ops.index(x, i))]

        f = build.function("f", for_loop(0, n, [constant(0.0)], trip))
    with pytest.raises(NotDifferentiable, match="made for a test") as caught:
        gradient(f, [0])
    assert caught.value.line == 12


def test_values_of_an_enclosing_trace_are_read_as_they_are():
    """A function may use values from outside; reversed loops may too."""
    with Builder() as outer:
        w = outer.param(SCALAR, "w")
        inner = function([SCALAR], lambda s: for_loop(0, 3, [s], lambda i, s: [ops.sin(s * w)])[0])
        g = gradient(inner, [0])
        s = outer.param(SCALAR, "s")
        env = {g.params[0]: s}
        for op in g.body.ops:
            env.update(zip(op.results, outer.copy(op, env).results, strict=True))
        whole = verify(outer.function("f", [env[r] for r in g.results]))
    check_first(whole, [np.float64(0.8), np.float64(0.5)])


def test_zero_trips_leave_the_tape_alone():
    f = PROGRAMS["tanh_recurrence"].function
    g = gradient(f, [0, 1])
    for size in (1, 2):
        value, w_bar, x_bar = run(g, 0.5, np.full(size, 0.3))
        assert np.isfinite(value)
        assert np.isfinite(w_bar)
        assert x_bar.shape == (size,)
