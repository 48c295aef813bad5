"""Programs of the catalogue: branches, conditions, and arms that must not be evaluated."""

import math

import numpy as np

from tests.integration.loop_programs_base import (
    always,
    count,
    counts,
    flags,
    negative,
    places,
    program,
    scalar,
    signed,
    small,
    vector,
)


@program(vector, signed, scalar, compiled=True)
def branchy_recurrence(obs, drift, theta):
    alpha = np.zeros(obs.shape[0])
    alpha[0] = theta
    for t in range(1, obs.shape[0]):
        if drift[t] > 0.0:
            alpha[t] = np.tanh(alpha[t - 1]) * theta + obs[t]
        else:
            alpha[t] = alpha[t - 1]
    return np.sum(alpha**2)


@program(signed, compiled=True)
def if_elif_else(x):
    total = 0.0
    for v in x:
        if v > 0.5:
            total += v
        elif v > 0.0:
            total += np.sin(v)
        elif v > -0.5:
            total -= v * v
        else:
            total *= 0.9
    return total


@program(signed, scalar, work=None)
def if_outside_loops(x, s):
    if s < 0.0:
        y = np.exp(x)
    else:
        y = np.sin(x) * s
    if np.sum(x) > 100.0:
        y = y * 3.0
    return np.sum(y * y)


@program(signed, scalar)
def nested_ifs(x, s):
    total = 0.0
    for i in range(len(x)):
        if x[i] > 0.0:
            if x[i - 1] > 0.0:
                total += x[i] * x[i - 1]
                if i % 2 == 0:
                    total *= 0.9
            else:
                total -= s * x[i]
        elif i == 3:
            total = s
    return total


@program(signed)
def names_bound_in_arms(x):
    total = 0.0
    for v in x:
        if v > 0.0:
            w = v * v
            k = 2
        else:
            w = -v
            k = 1
        total += w * k
    return total


@program(signed)
def a_name_bound_in_one_arm_and_not_read(x):
    total = 0.0
    for v in x:
        if v > 0.0:
            unused = v * 3.0
            total += unused
        total += 0.1 * v
    return total


@program(signed)
def ternaries(x):
    total = 0.0
    for v in x:
        total += v * v if v > 0.0 else -0.5 * v
        total *= 1.01 if v > 0.5 else 0.99 if v > -0.5 else 0.9
        w = (v if v < 0.0 else 0.0) + (1.0 if total > 100.0 else 0.0)
        total += w**2
    return total


@program(signed, vector, compiled=True)
def conditions_of_and_or_not(x, y):
    total = 0.0
    for i in range(len(x)):
        if x[i] > 0.0 and y[i] > 0.5:
            total += x[i] * y[i]
        if x[i] < 0.0 or y[i] < 0.5:
            total += x[i] - y[i]
        if not x[i] > 0.0 and not (y[i] > 0.5 or i == 2):
            total *= 0.9
    return total


@program(signed, scalar)
def values_of_and_or(x, s):
    total = 0.0
    for v in x:
        total += (v > 0.0 and v * v) or s
    return total


@program(signed)
def chained_comparisons(x):
    total = 0.0
    for v in x:
        if -0.5 < v < 0.5:
            total += v**2
        elif -0.7 <= v <= 0.0 != 1.0:
            total -= v
        total += v if 0.0 < v < 0.5 < 1.0 else 0.1
    return total


def counted(log, v):
    log[0] += 1.0
    return v


@program(signed, scalar)
def operands_of_chains_are_evaluated_once(x, s):
    log = np.zeros(1)
    total = 0.0
    for v in x:
        if -0.5 < counted(log, v * s) < 0.3:
            total += v
    return total * log[0]


@program(signed)
def membership(x):
    total = 0.0
    for i in range(len(x)):
        if i in (1, 3, 4):
            total += x[i]
        if i not in [0, 2]:
            total *= 0.5 + x[i]
        if i in range(2, 5):
            total -= x[i]
    return total


@program(signed, counts, flags)
def conditions_on_integers_and_booleans(x, counts, flags):
    total = 0.0
    for i in range(len(x)):
        if flags[i]:
            total += x[i]
        if counts[i] % 2 == 0 and not flags[i]:
            total -= x[i] * counts[i]
        if counts[i] & 1:
            total *= 0.9
        if counts[i]:
            total += 0.1 * x[i]
    return total


@program(signed)
def booleans_that_are_kept(x):
    total = 0.0
    seen = False
    for v in x:
        large = v > 0.5
        if seen and not large:
            total += v * v
        seen = seen or large
        total += 0.5 * v if large else v
    return total if seen else -total


@program(signed, count, work=None)
def conditions_known_when_tracing(x, n):
    mode = "square"
    if mode == "square" and x.ndim == 1 and n is not None:
        y = x * x
    else:
        y = x.undefined
    if isinstance(x, list):
        y = None
    return np.sum(y) if len(x.shape) < 2 else 0.0


@program(signed, always("soft"), always(None), always(True), work=None)
def static_arguments(x, kind, weights, negate):
    total = 0.0
    for v in x[:4]:
        if kind == "soft":
            total += v * v
        else:
            total += abs(v)
        if weights is not None:
            total *= weights[0]
        if negate:
            total = -total
    return total


@program(signed)
def match_on_values(x):
    total = 0.0
    for i in range(len(x)):
        match i % 3:
            case 0:
                total += x[i]
            case 1 if x[i] > 0.0:
                total *= x[i]
            case _:
                total -= 0.5 * x[i]
    return total


@program(vector, signed)
def assertions(x, y):
    total = 0.0
    assert len(x) == len(y), "lengths"
    for v, w in zip(x, y, strict=True):
        assert v > 0.0, "a negative number"
        assert -1.0 < w < 1.0
        total += np.log(v) * w
    return total


@program(vector)
def raises_that_are_not_reached(x):
    total = 0.0
    for i in range(len(x)):
        if x[i] < 0.0:
            raise ValueError("negative")
        total += np.sqrt(x[i]) * total * 0.3 + 0.1
    if total < -1.0:
        raise ArithmeticError
    return total


# --- arms that are not taken ------------------------------------------------------------------


@program(signed, compiled=True)
def guarded_square_roots_and_logarithms(x):
    total = 0.0
    for v in x:
        total += np.sqrt(v) if v > 0.0 else 0.0
        if v > 0.0:
            total += math.log(v)
        if v != 0.0:
            total += 1.0 / v
    return total + np.sum(np.where(x > 0.0, np.sqrt(np.abs(x)), 0.0))


@program(signed, places)
def an_index_that_is_guarded(x, places):
    total = 0.0
    for i in range(len(x)):
        j = places[i] * 2
        if j < len(x):
            total += x[j] * x[i]
        total += x[i + 1] if i + 1 < len(x) else 1.0
        if i > 0 and x[i - 1] > 0.0:
            total *= 0.9
    return total


@program(signed)
def the_second_operand_is_not_evaluated(x):
    total = 0.0
    n = len(x)
    for i in range(n):
        if i + 1 < n and x[i + 1] > 0.0:
            total += x[i]
        if i + 2 >= n or x[i + 2] < 0.0:
            total -= x[i] * x[i]
    return total


@program(small, work=None)
def where_and_branches_together(x):
    y = np.where(x > 0.0, np.log(np.abs(x)), x)
    total = 0.0
    for i in range(len(x)):
        total += y[i] if x[i] > 0.0 else np.where(y[i] < -0.3, y[i] ** 2, y[i])
    return total


# --- arms and arrays --------------------------------------------------------------------------


@program(signed, compiled=True)
def both_arms_write_a_carried_array(x):
    y = np.zeros(len(x))
    y[0] = x[0]
    for i in range(1, len(x)):
        if x[i] > 0.0:
            y[i] = np.sin(y[i - 1]) + x[i]
        else:
            y[i] = y[i - 1] * x[i]
            y[i - 1] += 0.5
    return np.sum(y * y)


@program(signed, vector)
def arms_write_different_arrays(x, y):
    a = np.zeros(len(x))
    b = y * 1.0
    for i in range(len(x)):
        if x[i] > 0.0:
            a[i] = x[i] * b[i - 1]
        else:
            b[i] *= x[i]
    return np.sum(a) * np.sum(b * b)


@program(signed, scalar, work=None)
def an_arm_that_writes_outside_loops(x, s):
    y = x.copy()
    if s > 0.5:
        y[0] = s * s
        y[1:] *= 2.0
    elif s > 0.3:
        y[2] = 0.0
    return np.sum(y**2)


@program(signed, negative, refusal="may or may not be the same memory")
def an_array_chosen_by_an_arm_then_written(x, s):
    a = x * 1.0
    b = x * 2.0
    if s > 0.0:
        c = a
    else:
        c = b
    c[0] = s
    return np.sum(a * a) + np.sum(b) * 2.0


@program(signed, negative)
def an_array_chosen_by_an_arm_and_read(x, s):
    a = np.sin(x)
    c = a if s > 0.0 else x * 2.0
    total = 0.0
    for i in range(len(x)):
        d = a if x[i] > 0.0 else c
        total += d[i] * c[i - 1]
    return total


@program(signed, scalar)
def scalars_swapped_in_arms(x, s):
    a, b = s, 1.0
    for v in x:
        if v > 0.0:
            a, b = b, a
        else:
            a, b = a * 0.9 + v, b
    return a * 2.0 + b


@program(signed)
def integers_and_floats_from_arms(x):
    total = 0
    factor = 1
    for v in x:
        if v > 0.0:
            total = total + v
        else:
            factor = 2
        total = total * 1
    return total * factor
