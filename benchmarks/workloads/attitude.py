"""A gyroscope's bias from the attitude it leads to, in quaternions."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit

STEP = 0.005


def loss(bias, rates, seen):
    a, b, c, d = 1.0, 0.0, 0.0, 0.0
    total = 0.0
    for t in range(len(rates)):
        p, q, r = STEP * (rates[t] - bias)
        e = a - b * p - c * q - d * r
        f = b + a * p + c * r - d * q
        g = c + a * q - b * r + d * p
        h = d + a * r + b * q - c * p
        length = np.sqrt(e * e + f * f + g * g + h * h)
        a, b, c, d = e / length, f / length, g / length, h / length
        total += (b - seen[t, 0]) ** 2 + (c - seen[t, 1]) ** 2 + (d - seen[t, 2]) ** 2
    return total


def loss_scan(bias, rates, seen):
    def step(carry, now):
        a, b, c, d = carry
        rate, look = now
        turn = STEP * (rate - bias)
        p, q, r = turn[0], turn[1], turn[2]
        e = a - b * p - c * q - d * r
        f = b + a * p + c * r - d * q
        g = c + a * q - b * r + d * p
        h = d + a * r + b * q - c * p
        length = np.sqrt(e * e + f * f + g * g + h * h)
        a, b, c, d = e / length, f / length, g / length, h / length
        return (a, b, c, d), (b - look[0]) ** 2 + (c - look[1]) ** 2 + (d - look[2]) ** 2

    one, none = 1.0 + 0.0 * bias[0], 0.0 * bias[0]
    _, terms = lax.scan(step, (one, none, none, none), (rates, seen))
    return np.sum(terms)


@limit
def loss_adjoint(bias, rates, seen):
    """The attitudes and the inverse lengths are on a tape."""
    steps = rates.shape[0]
    tape = np.empty((steps + 1, 5))
    a = 1.0
    b = 0.0
    c = 0.0
    d = 0.0
    total = 0.0
    for t in range(steps):
        tape[t, 0] = a
        tape[t, 1] = b
        tape[t, 2] = c
        tape[t, 3] = d
        p = STEP * (rates[t, 0] - bias[0])
        q = STEP * (rates[t, 1] - bias[1])
        r = STEP * (rates[t, 2] - bias[2])
        e = a - b * p - c * q - d * r
        f = b + a * p + c * r - d * q
        g = c + a * q - b * r + d * p
        h = d + a * r + b * q - c * p
        inverse = 1.0 / np.sqrt(e * e + f * f + g * g + h * h)
        tape[t, 4] = inverse
        a = e * inverse
        b = f * inverse
        c = g * inverse
        d = h * inverse
        total += (b - seen[t, 0]) ** 2 + (c - seen[t, 1]) ** 2 + (d - seen[t, 2]) ** 2
    tape[steps, 0] = a
    tape[steps, 1] = b
    tape[steps, 2] = c
    tape[steps, 3] = d
    # reverse
    bias_bar = np.zeros(3)
    a_bar = 0.0
    b_bar = 0.0
    c_bar = 0.0
    d_bar = 0.0
    p_total = 0.0
    q_total = 0.0
    r_total = 0.0
    for back in range(steps):
        t = steps - 1 - back
        a = tape[t + 1, 0]
        b = tape[t + 1, 1]
        c = tape[t + 1, 2]
        d = tape[t + 1, 3]
        inverse = tape[t, 4]
        b_bar += 2.0 * (b - seen[t, 0])
        c_bar += 2.0 * (c - seen[t, 1])
        d_bar += 2.0 * (d - seen[t, 2])
        along = a * a_bar + b * b_bar + c * c_bar + d * d_bar
        e_bar = (a_bar - along * a) * inverse
        f_bar = (b_bar - along * b) * inverse
        g_bar = (c_bar - along * c) * inverse
        h_bar = (d_bar - along * d) * inverse
        a = tape[t, 0]
        b = tape[t, 1]
        c = tape[t, 2]
        d = tape[t, 3]
        p = STEP * (rates[t, 0] - bias[0])
        q = STEP * (rates[t, 1] - bias[1])
        r = STEP * (rates[t, 2] - bias[2])
        a_bar = e_bar + p * f_bar + q * g_bar + r * h_bar
        b_bar = f_bar - p * e_bar - r * g_bar + q * h_bar
        c_bar = g_bar - q * e_bar + r * f_bar - p * h_bar
        d_bar = h_bar - r * e_bar - q * f_bar + p * g_bar
        p_total += a * f_bar - b * e_bar + d * g_bar - c * h_bar
        q_total += a * g_bar - c * e_bar - d * f_bar + b * h_bar
        r_total += a * h_bar - d * e_bar + c * f_bar - b * g_bar
    bias_bar[0] = -STEP * p_total
    bias_bar[1] = -STEP * q_total
    bias_bar[2] = -STEP * r_total
    return total, bias_bar


def inputs(steps):
    rng = np.random.default_rng(64)
    rates = np.sin(np.linspace(0.0, 9.0, steps))[:, None] * np.array([1.0, 0.5, -0.7])
    return np.array([0.02, -0.01, 0.03]), rates, 0.3 * rng.standard_normal((steps, 3))


CASES = [
    Case(
        name="attitude from a gyroscope, 5000 steps",
        function=loss,
        argnums=0,
        inputs=partial(inputs, 5000),
        limit=loss_adjoint,
        tiny=partial(inputs, 9),
        sized=lambda extra: inputs(11 + extra),
        group="loop",
        texts={"jax": loss_scan, "autograd": None, "pytensor": None, "casadi": None},
        elements=5000,
    ),
]
