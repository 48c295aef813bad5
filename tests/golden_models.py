"""Small programs whose generated gradients are kept as reviewed texts in tests/golden/."""

import numpy as np


def chain(x):
    a = x**3
    b = np.sin(a)
    return np.log(b**2)


def rosenbrock(x):
    ahead = x[1:] - x[:-1] ** 2
    return np.sum(100.0 * ahead**2 + (1.0 - x[:-1]) ** 2)


def logistic(w, X, y):
    z = X @ w
    return np.mean(np.log1p(np.exp(-y * z))) + 0.05 * np.sum(w * w)


def network(params, X, target):
    hidden = np.tanh(X @ params["W1"] + params["b1"])
    prediction = hidden @ params["W2"]
    return np.mean((prediction - target) ** 2)


def gathered(table, i):
    rows = table[i]
    return np.sum(np.where(rows > 0, np.sqrt(rows), 0.0))
