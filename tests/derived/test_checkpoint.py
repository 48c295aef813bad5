"""`checkpoint` of loops: the derivatives of plain loops, and what is kept of them."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import ArgumentError
from tracegrad.testing.numerics import assert_close

W = np.array([0.4, 1.3])


def branches_and_writes(w, over):
    u, s = np.ones(4) * w[1], w[0]
    for t in over(range(30, 2, -2)):
        if s > 0.5:
            u = np.roll(u, 1) * 0.9 + np.sin(u) * s
        else:
            u[t % 4] = u[(t + 1) % 4] * w[0] + 0.3
        s = np.cos(s) + u[t % 4]
    return s + np.sum(u)


def fills_a_table(w, over):
    y = np.zeros(50)
    y[0] = w[0]
    for t in over(range(1, 50)):
        y[t] = np.tanh(y[t - 1]) * w[1] + np.sin(y[t - 1])
    return np.sum(y**2)


def nested(w, over):
    s = w[0]
    for i in over(range(11)):
        q = s
        for j in over(range(i + 4)):
            q = np.sin(q * w[1]) + 0.1 * j
        while q < 1.5 + 0.1 * i:
            q = q * 1.2 + w[0]
        s = s * 0.5 + np.sin(q)
    return s


def breaks(w, over):
    total = 0.0
    for k in range(5):
        s = w[0] + k * 0.1
        for i in over(range(60)):
            s = np.sin(s * w[1]) + 0.3 * s
            if i > 3 * k + 17:
                break
        total = total + s * s
    return total


def returns(w, over):
    s = w[0]
    for i in over(range(100)):
        s = np.sin(s * w[1]) + 0.3 * s
        if i > 17 + s:
            return s * s
    return s


def over_an_array(w, over):
    s = w[0]
    for i, v in enumerate(over(np.linspace(0.0, 1.0, 23) * w[1])):
        s = np.sin(s * w[1]) + v * i
    return s


PROGRAMS = [branches_and_writes, fills_a_table, nested, breaks, returns, over_an_array]


def both(program):
    """The program plain, and in segments: as many as the root, or three."""
    yield lambda w: program(w, lambda over: over)
    yield lambda w: program(w, tg.checkpoint)
    yield lambda w: program(w, lambda over: tg.checkpoint(over, segments=3))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "verb",
    [
        tg.hessian,
        lambda f: tg.grad(lambda w: np.sum(tg.grad(f)(w) ** 2)),
        lambda f: lambda w: tg.vmap(tg.grad(f))(np.stack([w, 0.9 * w])),
        lambda f: lambda w: tg.grad(lambda w: np.sum(tg.vmap(f)(w)))(np.stack([w, 0.9 * w])),
    ],
    ids=["hessian", "grad of grad", "vmap of grad", "grad of vmap"],
)
def test_derivatives_are_those_of_the_plain_loop(program, verb):
    plain, kept = (verb(f)(W) for f in list(both(program))[:2])
    assert_close(kept, plain, 1e-9)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_are_those_of_the_plain_loop(program):
    (value, plain), *others = (tg.value_and_grad(f)(W) for f in both(program))
    for same, other in others:
        assert_close(same, value, 1e-12)
        assert_close(other, plain, 1e-11)


@pytest.mark.parametrize("program", PROGRAMS)
def test_outside_of_a_trace_the_loop_is_what_it_was(program):
    plain, *others = (f(W) for f in both(program))
    assert others == [plain, plain]


def state(w, n, over):
    u = np.ones(20) * w[0]
    for _ in over(range(n)):
        u = np.sin(u) + w[1] * np.roll(u, 1)
    return np.sum(u)


def test_the_memory_report_shows_the_root():
    sizes = {}
    for name, over in {"plain": lambda r: r, "kept": tg.checkpoint}.items():
        gradient = tg.grad(lambda w, n, over=over: state(w, n, over))
        for n in (400, 6400):
            gradient(W, n)
            sizes[name, n] = gradient.memory_report(W, n, run=True).tape_bytes
    assert sizes["plain", 6400] >= 8 * 20 * 6400
    # Twenty states of 20 numbers, and the tapes of twenty trips; then eighty.
    assert sizes["kept", 400] == 8 * 20 * 2 * 20
    assert sizes["kept", 6400] == 8 * 20 * 2 * 80


def test_no_trips_and_few_trips():
    """A kernel for any number of trips, and the loops that are unrolled."""
    gradients = [tg.grad(lambda w, n, o=o: state(w, n, o)) for o in (lambda r: r, tg.checkpoint)]
    for n in (7, 0, 1, 2, 3, 5):
        plain, kept = (g(W, n) for g in gradients)
        assert_close(kept, plain, 1e-12)
    assert tg.grad(lambda x: sum(x * k for k in tg.checkpoint(range(3))))(2.0) == 3.0


def test_pullbacks_and_linear_parts():
    plain, kept, _ = both(branches_and_writes)
    assert_close(tg.vjp(kept, W)[1](1.0)[0], tg.vjp(plain, W)[1](1.0)[0], 1e-12)
    assert_close(tg.linearize(kept, W)[1](W), tg.linearize(plain, W)[1](W), 1e-12)


@pytest.mark.parametrize(
    ("over", "options", "words"),
    [
        (3.0, {}, "can't run over float"),
        (range(5), {"segments": 0}, "segments=0"),
        (np.sin, {"segments": 4}, "a function has no segments"),
    ],
)
def test_what_is_refused(over, options, words):
    with pytest.raises(ArgumentError, match=words):
        tg.checkpoint(over, **options)


def test_what_is_refused_in_a_trace():
    with pytest.raises(ArgumentError, match="can't run over"):
        tg.grad(lambda x: sum(x * k for k in tg.checkpoint({1.0: 2.0})))(1.0)
