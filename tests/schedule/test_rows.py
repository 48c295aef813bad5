"""Rows that are picked: heavy functions between their loops, additions to each row, checks."""

import numpy as np
import pytest

import tracegrad as tg
from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered, numbers
from tracegrad import ops
from tracegrad.ir.core import Guard
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ops.access import zeros
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import REGISTRY, constant

n, m, k = symbol("n"), symbol("m"), symbol("k")
exp, tanh = REGISTRY["exp"], REGISTRY["tanh"]
ROWS, PLACES = ArrayType(f64, (k, m)), ArrayType(i64, (n,))


def kinds(function):
    return [
        op.attributes.get("kind", "plain") for op in lowered(function).walk() if op.name == "for"
    ]


def picked(x, *places):
    """Sums over products of rows, through something heavy, and their share of each row."""

    def trip(i, total, share):
        at = [ops.index(where, i) for where in places]

        def dot(j, s):
            product = ops.index(x, at[0], j)
            for place in at[1:]:
                product = product * ops.index(x, place, j)
            return (s + product,)

        v = exp(tanh(for_loop(0, m, [constant(0.0)], dot)[0]) * 0.3)
        w = exp(v) * tanh(v)

        def add(j, share):
            for number, place in enumerate(at):
                share = ops.accumulate(share, w * ops.index(x, at[number - 1], j), place, j)
            return (share,)

        return total + v, for_loop(0, m, [share], add)[0]

    return for_loop(0, n, [constant(0.0), zeros((k, m))], trip)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100])
def test_every_size_and_rows_that_are_one(count, size):
    f = built(picked, ROWS, *[PLACES] * count)
    f.guards = (Guard(m, ">=", 1),)
    assert kinds(f).count("lanes") == 1
    assert kinds(f).count("plain") == 2 + count  # blocks, products, and a loop for each row
    rng = np.random.default_rng(size)
    x = 0.3 * numbers(5, 3)
    for low, high in ((-5, 5), (2, 3)):
        where = [rng.integers(low, high, size) for _ in range(count)]
        assert_all_forms_agree(f, x, *where, compiled=size == 33 and low == 2)


def test_a_column_of_constant_rows_stays_one_loop():
    def f(x):
        def trip(j, out):
            for row in range(4):
                out = ops.accumulate(out, ops.index(x, j), constant(row, i64), j)
            return (out,)

        return for_loop(0, m, [zeros((4, m))], trip)

    assert kinds(built(f, (m,))).count("plain") == 1


def test_what_reads_the_rows_that_it_adds_to_keeps_its_order():
    def f(x, a, b, c):
        def trip(i, out):
            at = [ops.index(where, i) for where in (a, b, c)]

            def add(j, out):
                for number, place in enumerate(at):
                    out = ops.accumulate(out, ops.index(out, at[number - 1], j), place, j)
                return (out,)

            return for_loop(0, m, [out], add)

        return for_loop(0, n, [x], trip)

    g = built(f, ROWS, PLACES, PLACES, PLACES)
    rng = np.random.default_rng(0)
    assert_all_forms_agree(g, numbers(4, 3), *[rng.integers(-4, 4, 20) for _ in range(3)])


def test_rows_whose_place_follows_from_what_is_written_are_not_handed_ahead():
    def f(x, where):
        def trip(i, total, out):
            at = ops.index(where, i)

            def dot(j, s):
                return (s + ops.index(out, at, j),)

            v = exp(tanh(for_loop(0, m, [constant(0.0)], dot)[0])) * 0.1

            def add(j, out):
                return (ops.accumulate(out, v * ops.index(x, at, j), at, j),)

            return total + v, for_loop(0, m, [out], add)[0]

        return for_loop(0, n, [constant(0.0), zeros((k, m))], trip)

    g = built(f, ROWS, PLACES)
    assert "lanes" not in kinds(g)
    assert_all_forms_agree(g, numbers(4, 3), np.random.default_rng(0).integers(-4, 4, 70))


def contrast(words, contexts, word, others):
    w = words[word]
    apart = np.einsum("id,ikd->ik", w, contexts[others])
    return np.mean(np.sum(np.logaddexp(0.0, apart), axis=1) + np.log1p(np.sum(w * w, axis=1)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_of_picked_rows(dtype):
    f = tg.value_and_grad(contrast, argnums=(0, 1))
    rng = np.random.default_rng(1)
    for size, width, rows in ((70, 9, 6), (33, 64, 2), (1, 1, 1), (5, 12, 40)):
        words, contexts = (0.3 * rng.standard_normal((rows, width)).astype(dtype) for _ in "ab")
        word = rng.integers(-rows, rows, size)
        others = rng.integers(-rows, rows, (size, 4))
        _, (words_bar, contexts_bar) = f(words, contexts, word, others)
        assert words_bar.dtype == contexts_bar.dtype == dtype
        w, c = words[word].astype(float), contexts[others].astype(float)
        slope = 1 / (1 + np.exp(-np.einsum("id,ikd->ik", w, c))) / size
        expected = np.zeros(contexts.shape)
        np.add.at(expected, others, slope[..., None] * w[:, None])
        np.testing.assert_allclose(contexts_bar, expected, rtol=1e-4, atol=1e-5)
        expected = np.zeros(words.shape)
        norm = 2 * w / (1 + np.sum(w * w, axis=1))[:, None] / size
        np.add.at(expected, word, np.einsum("ik,ikd->id", slope, c) + norm)
        np.testing.assert_allclose(words_bar, expected, rtol=1e-4, atol=1e-5)
    for bad in (rows, -rows - 1):
        others[-1, 2] = bad
        with pytest.raises(IndexError, match="out of bounds"):
            f(words, contexts, word, others)
