"""Vectors of words from pairs and random others: gathers, dots, sigmoids."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log1p


def loss(words, contexts, word, context, others):
    w = words[word]
    together = np.sum(w * contexts[context], axis=1)
    apart = np.einsum("id,ikd->ik", w, contexts[others])
    return np.mean(np.logaddexp(0.0, -together) + np.sum(np.logaddexp(0.0, apart), axis=1))


@limit
def loss_kernel(words, contexts, word, context, others, words_bar, contexts_bar):
    """A pair at a time; ``seen`` are its contexts, the true one first."""
    count, more = others.shape
    width = words.shape[1]
    seen = np.empty(more + 1, np.int64)
    value = 0.0
    share = 1.0 / count
    words_bar[:] = 0.0
    contexts_bar[:] = 0.0
    for i in range(count):
        a = word[i]
        seen[0] = context[i]
        for k in range(more):
            seen[k + 1] = others[i, k]
        if not 0 <= a < words.shape[0]:
            raise IndexError
        for k in range(more + 1):
            b = seen[k]
            if not 0 <= b < contexts.shape[0]:
                raise IndexError
            dot = 0.0
            for d in range(width):
                dot += words[a, d] * contexts[b, d]
            x = -dot if k == 0 else dot
            e = exp(-abs(x))
            value += max(x, 0.0) + log1p(e)
            slope = share * (1.0 if x > 0.0 else e) / (1.0 + e)
            slope = -slope if k == 0 else slope
            for d in range(width):
                words_bar[a, d] += slope * contexts[b, d]
                contexts_bar[b, d] += slope * words[a, d]
    return share * value


def loss_adjoint(words, contexts, word, context, others):
    bars = np.empty(words.shape), np.empty(contexts.shape)
    return loss_kernel(words, contexts, word, context, others, *bars), bars


def inputs(vocabulary, width, count, more):
    rng = np.random.default_rng(54)
    words, contexts = (0.3 * rng.standard_normal((vocabulary, width)) for _ in range(2))
    word, context = (rng.integers(0, vocabulary, count) for _ in range(2))
    return words, contexts, word, context, rng.integers(0, vocabulary, (count, more))


CASES = [
    Case(
        name="word pairs 2000x5, 64 wide",
        function=loss,
        argnums=(0, 1),
        inputs=partial(inputs, 1000, 64, 2000, 5),
        limit=loss_adjoint,
        tiny=partial(inputs, 6, 3, 8, 2),
        sized=lambda extra: inputs(9 + extra, 10 + extra, 30 + 2 * extra, 11 + extra),
        texts={"autograd": None, "pytensor": None, "casadi": None},
    ),
]
