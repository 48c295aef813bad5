"""The user's side of the golden sources: their comments quote these lines."""

import numpy as np


def loss(x, w):
    s = np.sin(x)
    return np.sum(s * w)


def clipped(x, limit):
    total = 0.0
    for v in x:
        total += v if v < limit else limit
    return total


def gathered(x, at):
    return np.sum(x[at])
