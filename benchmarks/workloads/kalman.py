"""Likelihood of positions under a Kalman filter with a velocity."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, log

STEP = 0.1


def deviance(parameters, seen):
    drift, noise, place, speed = parameters
    a, b, c = 1.0, 0.0, 1.0
    total = 0.0
    for t in range(seen.shape[0]):
        # predict
        place = place + STEP * speed
        a = a + STEP * (2.0 * b + STEP * c) + drift * STEP**3 / 3.0
        b = b + STEP * c + drift * STEP**2 / 2.0
        c = c + drift * STEP
        # correct
        spread = a + noise
        off = seen[t] - place
        total += np.log(spread) + off * off / spread
        gain = a / spread
        turn = b / spread
        place = place + gain * off
        speed = speed + turn * off
        c = c - turn * b
        b = (1.0 - gain) * b
        a = (1.0 - gain) * a
    return total


def deviance_scan(parameters, seen):
    drift, noise = parameters[0], parameters[1]

    def step(state, y):
        place, speed, a, b, c = state
        place = place + STEP * speed
        a = a + STEP * (2.0 * b + STEP * c) + drift * STEP**3 / 3.0
        b = b + STEP * c + drift * STEP**2 / 2.0
        c = c + drift * STEP
        spread = a + noise
        off = y - place
        gain = a / spread
        turn = b / spread
        state = (
            place + gain * off,
            speed + turn * off,
            (1.0 - gain) * a,
            (1.0 - gain) * b,
            c - turn * b,
        )
        return state, np.log(spread) + off * off / spread

    one, none = 1.0 + 0.0 * drift, 0.0 * drift
    _, terms = lax.scan(step, (parameters[2], parameters[3], one, none, one), seen)
    return np.sum(terms)


@limit
def deviance_adjoint(parameters, seen):
    """What each step predicted is on a tape."""
    drift = parameters[0]
    noise = parameters[1]
    place = parameters[2]
    speed = parameters[3]
    steps = seen.shape[0]
    tape = np.empty((steps, 4))
    a = 1.0
    b = 0.0
    c = 1.0
    total = 0.0
    for t in range(steps):
        place += STEP * speed
        a += STEP * (2.0 * b + STEP * c) + drift * (STEP * STEP * STEP / 3.0)
        b += STEP * c + drift * (STEP * STEP / 2.0)
        c += drift * STEP
        tape[t, 0] = place
        tape[t, 1] = a
        tape[t, 2] = b
        inverse = 1.0 / (a + noise)
        off = seen[t] - place
        total += log(a + noise) + off * off * inverse
        gain = a * inverse
        turn = b * inverse
        place += gain * off
        speed += turn * off
        c -= turn * b
        b = (1.0 - gain) * b
        a = (1.0 - gain) * a
    # reverse
    drift_bar = 0.0
    noise_bar = 0.0
    place_bar = 0.0
    speed_bar = 0.0
    a_bar = 0.0
    b_bar = 0.0
    c_bar = 0.0
    for back in range(steps):
        t = steps - 1 - back
        place = tape[t, 0]
        a = tape[t, 1]
        b = tape[t, 2]
        inverse = 1.0 / (a + noise)
        off = seen[t] - place
        gain = a * inverse
        turn = b * inverse
        gain_bar = place_bar * off - b_bar * b - a_bar * a
        turn_bar = speed_bar * off - c_bar * b
        score = off * inverse
        off_bar = place_bar * gain + speed_bar * turn + 2.0 * score
        spread_bar = inverse - score * score - (gain_bar * gain + turn_bar * turn) * inverse
        noise_bar += spread_bar
        a_bar = a_bar * (1.0 - gain) + gain_bar * inverse + spread_bar
        b_bar = b_bar * (1.0 - gain) - c_bar * turn + turn_bar * inverse
        place_bar -= off_bar
        drift_bar += STEP * (c_bar + STEP * (b_bar / 2.0 + STEP * a_bar / 3.0))
        c_bar += STEP * (b_bar + STEP * a_bar)
        b_bar += 2.0 * STEP * a_bar
        speed_bar += STEP * place_bar
    parameters_bar = np.empty(4)
    parameters_bar[0] = drift_bar
    parameters_bar[1] = noise_bar
    parameters_bar[2] = place_bar
    parameters_bar[3] = speed_bar
    return total, parameters_bar


def inputs(steps):
    rng = np.random.default_rng(43)
    seen = np.cumsum(0.1 * rng.standard_normal(steps)) + 0.3 * rng.standard_normal(steps)
    return np.array([0.5, 0.2, 0.0, 0.1]), seen


CASES = [
    Case(
        name="kalman filter 2000 steps",
        function=deviance,
        argnums=0,
        inputs=partial(inputs, 2000),
        memory=partial(inputs, 200_000),
        limit=deviance_adjoint,
        tiny=partial(inputs, 9),
        sized=lambda extra: inputs(9 + extra),
        group="loop",
        texts={"jax": deviance_scan, "autograd": None},
        elements=2000,
    ),
]
