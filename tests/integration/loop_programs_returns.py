"""Programs of the catalogue: ``return`` from within, and mixtures of all jumps."""

import numpy as np

from tests.integration.loop_programs_base import (
    count,
    counts,
    program,
    scalar,
    signed,
    signed_square,
    small,
    triples,
    vector,
)

# --- return -----------------------------------------------------------------------------------


@program(signed, scalar, work=None)
def return_from_an_arm(x, s):
    if s > 0.5:
        return np.sum(x) * s
    return np.sum(x * x)


@program(signed, scalar, work=None)
def return_from_a_chain(x, s):
    if s > 2.0:
        return x[0]
    elif s > 1.0:  # noqa: RET505  # the shape that is tested
        return x[1] * s
    elif s > 0.1:
        y = x * s
        if y[0] > 100.0:
            return 0.0
        return np.sum(y)
    else:
        return s


@program(vector, compiled=True)
def return_from_a_loop(x):
    total = 0.0
    for v in x:
        total += v * v
        if total > 0.1 * len(x):
            return total * v
    return -total


@program(vector)
def return_not_reached(x):
    total = 0.0
    for v in x:
        total += v * v
        if total > 100.0 * len(x):
            return 0.0
    return -total


@program(signed_square, work=None)
def return_from_nested_loops(A):
    total = 1.0
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            total = np.sin(total + A[i, j])
            if i * j > 6 and A[i, j] > 0.0:
                return total * A[i, j] * 2.0
    return total


@program(vector, compiled=True)
def return_from_a_while(x):
    i = 0
    while True:
        if x[i] * i > 0.3 * len(x):
            return x[i] ** 2 * i
        i += 1
        if i >= len(x):
            return np.sum(x)


@program(signed)
def return_in_every_arm_of_a_loop(x):
    for i in range(len(x)):
        if x[i] > 0.0:
            return x[i] ** 2 * i + x[-1]
        else:  # noqa: RET505  # the shape that is tested
            return x[i] ** 3 + np.sum(x)
    return 0.0


@program(vector, triples)
def return_from_the_else_of_a_loop(x, A):
    for i in range(len(x)):
        if x[i] > 50.0:
            break
    else:
        for row in A:
            if row[0] > 0.0:
                return row[1] * row[0] + x[0]
        return 1.0
    return x[i]


@program(signed)
def return_after_writes(x):
    y = np.zeros(len(x))
    for i in range(len(x)):
        y[i] = x[i] ** 2
        if y[i] > 0.3 and i > 2:
            y[0] = x[i]
            return np.sum(y)
        y[i] *= 2.0
    return np.sum(y * y)


@program(signed)
def return_of_a_loop_variable(x):
    for i, v in enumerate(x):
        if v < 0.0:
            return v * (i + 1)
    return 0.0


def first_positive(x, start):
    for i in range(start, len(x)):
        if x[i] > 0.0:
            return x[i] * 2.0
    return -1.0


def damped(v):
    if v < 0.0:
        return 0.5 * v
    if v > 0.5:
        return 0.25 + 0.5 * v
    return v * v


@program(signed, compiled=True)
def a_helper_with_early_returns_in_a_loop(x):
    total = 0.0
    for v in x:
        total = damped(total) + damped(v)
    return total


@program(signed, work=None)
def a_helper_that_returns_from_its_loop(x):
    total = 0.0
    for i in range(len(x)):
        total = 0.5 * total + first_positive(x, i)
    return total


@program(signed, work=None, rolled=False)
def return_from_an_unrolled_loop(x):
    total = 0.0
    for k in (0, 1, 2):
        total += x[k]
        if x[k] > 0.2:
            return total * total * k + x[3]
    return total


@program(small, work=None)
def return_in_try_and_with(x):
    with np.errstate(all="ignore"):
        for v in x:
            if v > 0.0:
                return v * x[0] * 3.0
    return x[1]


def two_results(v, limit):
    if v > limit:
        return v - limit, 1
    return v * v, 0


@program(signed, scalar)
def a_helper_that_returns_a_pair(x, s):
    total, above = 0.0, 0
    for v in x:
        part, one = two_results(v, s)
        total += part
        above += one
    return total * s + above


# --- mixtures ---------------------------------------------------------------------------------


@program(signed, count)
def if_for_if_for_without_trips(x, n):
    total = 0.0
    if x[0] < 5.0:
        for i in range(n - n):
            if x[i] > 0.0:
                for j in range(i):
                    total += x[j]
    if x[0] < 5.0:
        for i in range(n):
            if x[i] > 0.0:
                for j in range(i, i + 2):
                    total = 0.5 * total + x[j % n]
    return total + x[0]


@program(signed, counts)
def loops_in_arms(x, counts):
    total = 1.0
    for i in range(len(x)):
        if counts[i] > 1:
            for k in range(counts[i]):
                total = np.sin(total) + x[i] * k
        elif counts[i] == 1:
            j = 3
            while j > 0:
                total = total * 0.8 + x[i]
                j -= 1
        else:
            total -= x[i]
    return total


@program(signed, scalar)
def jumps_of_every_kind(x, s):
    total = s
    for i in range(len(x)):
        if x[i] > 0.7:
            continue
        k = 0
        while k < 4:
            k += 1
            if k == 2:
                continue
            if total * k > 5.0:
                break
            total += 0.1 * x[i]
        else:
            total *= 0.9
        if total > 100.0:
            return total
    return total * x[0]
