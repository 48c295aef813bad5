"""``raise`` in functions and their adjoints, up to the kernel."""

import numpy as np
import pytest

from tests.ops.building import built, names_of
from tests.schedule.region_programs import called, compiled_kernel
from tests.transforms.reversal import adjoint, check_first, second
from tracegrad import ops
from tracegrad.backend.emit import emit_array_form, emit_loop_form, entry_name
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import i64, scalar, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import zeros
from tracegrad.ops.control import branch, for_loop, raise_, while_loop
from tracegrad.ops.registry import constant
from tracegrad.passes import optimize
from tracegrad.schedule import schedule

n = symbol("n")


def raising(kind, message=None, *poison):
    """An arm that raises; what it yields nobody sees."""

    def arm():
        raise_(kind=kind, message=message)
        return [zeros(p) if p else constant(0.0) for p in poison]

    return arm


def logarithms(x, k):
    """A product of logarithms in place: a raise in the loop, and one after it."""

    def trip(i, s, y):
        v = ops.index(x, i)
        return branch(
            v < 0.0,
            raising("ValueError", "x is negative", (), (n,)),
            lambda: [s + ops.log(v + 1.0), ops.update(y, v * s, i)],
        )

    s, y = for_loop(0, n, [constant(0.0), x], trip)
    (z,) = branch(k < 0, raising("KeyError", None, ()), lambda: [ops.index(y, k)])
    return s * z


def every_form(function):
    """The function interpreted and printed in array form, and its kernel, optimised and not."""
    yield lambda *given: evaluate(function, *given)
    source = emit_array_form(function)
    yield lambda *given: called(source, entry_name(function), [np.asarray(g) for g in given])
    for f in (function, optimize(function)):
        loops = verify(schedule(f), form="loop")
        source = emit_loop_form(loops)
        yield lambda *given, loops=loops: evaluate(loops, *given)
        yield lambda *given, source=source: called(
            source, entry_name(function), [np.asarray(g) for g in given]
        )
        yield compiled_kernel(loops)


good, bad = np.array([0.3, 0.5, 0.2]), np.array([0.3, -0.5, 0.2])


def test_every_form_raises_what_is_said():
    function = verify(built(logarithms, (n,), scalar(i64)))
    (expected,) = evaluate(function, good, np.int64(1))
    for run in every_form(function):
        np.testing.assert_allclose(np.ravel(run(good, np.int64(1)))[0], expected)
        with pytest.raises(ValueError, match=r"^x is negative$"):
            run(bad, np.int64(-1))
        with pytest.raises(KeyError) as caught:
            run(good, np.int64(-1))
        assert caught.value.args == ()
        with pytest.raises(IndexError):
            run(good, np.int64(3))


def test_the_primal_of_an_adjoint_raises_and_its_way_back_does_not():
    function = built(logarithms, (n,), scalar(i64))
    for optimized in (False, True):
        first = adjoint(function, optimized=optimized)
        twice = second(function, first)
        for f in (first, twice):
            found = [op for op in f.walk() if op.name == "raise"]
            assert [op.attributes["kind"] for op in found] == ["ValueError", "KeyError"]
            assert {op.part for op in found} == {"forward"}
    check_first(function, [good, np.int64(1)])
    given = (np.float64(1.0),)
    kernel = compiled_kernel(schedule(first))
    np.testing.assert_allclose(
        kernel(good, 1, *given)[1], evaluate(first, good, np.int64(1), *given)[1]
    )
    with pytest.raises(ValueError, match="x is negative"):
        kernel(bad, 1, *given)


def test_an_arm_that_raises_prints_as_a_plain_statement():
    source = emit_loop_form(schedule(optimize(built(logarithms, (n,), scalar(i64)))))
    assert 'if t2 < 0.0:\n                raise ValueError("x is negative")\n ' in source
    assert "\n    if y < 0:\n        raise KeyError\n    at = y" in source
    assert "else" not in source


def test_a_raise_that_always_comes():
    def never(x):
        y = ops.update(x, constant(1.0), constant(0, i64))
        raise_(kind="NotImplementedError", message="later")
        return y, ops.sum(y, axes=(0,))

    function = built(never, (n,))
    for run in every_form(function):
        with pytest.raises(NotImplementedError, match="later"):
            run(good)


def test_a_raise_in_the_condition_of_a_loop():
    def going(k, s):
        branch(s > 1e3, raising("OverflowError", "s is too large"), list)
        return k < 9

    def trip(k, s):
        return k + 1, s * s

    function = built(
        lambda s: while_loop([constant(0, i64), s], going, trip)[1],
        (),
    )
    for run in every_form(function):
        assert np.ravel(run(np.float64(0.5)))[0] == 0.5**512
        with pytest.raises(OverflowError, match="s is too large"):
            run(np.float64(2.0))


def test_a_read_of_an_old_version_does_not_go_above_a_raise():
    """Which says that the read would be out of range."""

    def guarded(x, k):
        y = x * 2.0
        z = ops.update(y, constant(1.0), constant(0, i64))
        branch(k > 2, raising("ValueError", "k is too large"), list)
        return z, ops.index(y, k)

    function = built(guarded, (n,), scalar(i64))
    for f in (function, adjoint(function)):
        rest = [np.ones(3), np.float64(1.0)][: len(f.params) - 2]
        with pytest.raises(ValueError, match="k is too large"):
            evaluate(schedule(f), good, np.int64(5), *rest)


def test_an_assertion_between_the_statements_of_a_loop():
    """A trip that raises under a condition changes nothing else about the loop."""

    def checked(x):
        def trip(i, y):
            v = ops.index(y, i - 1) * ops.index(x, i)
            branch(v > 1.0, raising("AssertionError"), list)
            return [ops.update(y, v, i)]

        return ops.sum(for_loop(1, n, [x], trip)[0], axes=(0,))

    function = built(checked, (n,))
    check_first(function, [good])
    loops = schedule(adjoint(function, optimized=True))
    assert names_of(loops).count("raise") == 1
