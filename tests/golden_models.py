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


# --- loops ------------------------------------------------------------------------------------


def recurrence(x, a):
    y = np.zeros(len(x))
    y[0] = x[0]
    for t in range(1, len(x)):
        y[t] = a * np.tanh(y[t - 1]) + x[t]
    return np.sum(y**2)


def kepler(mean, e):
    anomaly = mean
    step = 1.0
    while abs(step) > 1e-12:
        step = (anomaly - e * np.sin(anomaly) - mean) / (1.0 - e * np.cos(anomaly))
        anomaly = anomaly - step
    return anomaly


def savings(rate, income, goal):
    wealth = 1.0
    for amount in income:
        if wealth > goal:
            break
        if amount > 0.0:
            wealth = wealth * rate + amount
        else:
            wealth = wealth + np.sin(amount)
    return wealth


def pairs(x):
    energy = 0.0
    for i in range(len(x)):
        for j in range(i):
            r = x[i] - x[j]
            energy += np.exp(-r * r)
    return energy


def advection(start, c, steps):
    u = start.copy()
    for _ in range(steps):
        new = u.copy()
        for i in range(1, len(u) - 1):
            new[i] = u[i] - c * u[i] * (u[i + 1] - u[i - 1])
        u = new
    return np.sum(u * u)
