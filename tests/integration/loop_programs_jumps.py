"""Programs of the catalogue: ``while``, ``break``, ``continue``, ``else``, ``return``."""

import numpy as np

from tests.integration.loop_programs_base import (
    always,
    count,
    counts,
    program,
    scalar,
    signed,
    signed_square,
    small,
    three,
    triples,
    vector,
)

# --- while ------------------------------------------------------------------------------------


@program(vector)
def while_counting(x):
    i = 0
    total = 0.0
    while i < len(x):
        total = np.sin(total + x[i])
        i += 1
    return total * i


@program(scalar, work=None, compiled=True)
def newton_iteration(a):
    t = 1.0
    while abs(t * t - a) > 1e-10:
        t = 0.5 * (t + a / t)
    return t * a


@program(vector, compiled=True)
def while_until_a_sum_is_large(x):
    total = 0.0
    i = 0
    while i < len(x) and total < 0.4 * len(x):
        total += x[i] * x[i] + 0.3
        i += 1
    return total * x[i - 1] + i


@program(vector)
def while_counting_down(x):
    i = len(x) - 1
    total = 0.0
    while i >= 0:
        total = total * x[i] + np.cos(x[i])
        i -= 2
    return total


@program(vector)
def while_without_trips(x):
    total = x[0]
    while total > 5.0:
        total *= 0.5
    i = 0
    while i > len(x):
        total = total * x[i]
        i += 1
    return total * total


@program(vector)
def while_true(x):
    i = 0
    total = 0.0
    while True:
        total += x[i] ** 2
        i += 1
        if i == len(x):
            break
    return total


@program(vector, always(11))
def power_by_squaring(x, k):
    base = x[0]
    result = 1.0
    while k > 0:
        if k % 2 == 1:
            result = result * base
        base = base * base
        k //= 2
    return result * np.sum(x)


@program(scalar, work=None)
def a_series_until_it_is_small(x):
    term = x
    total = x
    k = 1
    while abs(term) > 1e-9:
        term = -term * x * x / ((2 * k) * (2 * k + 1))
        total += term
        k += 1
    return total


@program(scalar, work=None, compiled=True)
def a_literal_in_a_while_body(x):
    k = 0
    y = x
    while k < 3:
        y = 0.5 * y * y + 0.25
        k = k + 1
    return y


@program(vector, scalar)
def while_with_a_walrus(x, s):
    i = 0
    total = s
    while (v := x[i] * total + 0.01) < 100.0 and i < len(x) - 1:
        total = total * 0.5 + v
        i += 1
    return total + v


@program(vector)
def while_with_or_and_not(x):
    i = 0
    total = 0.0
    while not (i >= len(x) or total > 0.3 * len(x) + 0.77):
        total += x[i]
        i += 1
    return total * x[0]


@program(vector, counts)
def while_in_for(x, counts):
    total = 0.0
    for i in range(len(x)):
        k = counts[i]
        t = x[i]
        while k > 0:
            t = np.sin(t) * 0.9 + 0.1 * x[i]
            k -= 1
        total += t
    return total


@program(vector, three)
def for_in_while(x, rounds):
    y = x * 1.0
    while rounds > 0:
        for i in range(1, len(x)):
            y[i] = 0.5 * (y[i] + y[i - 1] * y[i])
        rounds -= 1
    return np.sum(y)


@program(vector)
def while_in_while(x):
    i = 0
    total = 0.0
    while i < len(x):
        j = 0
        while j < 3:
            total = np.tanh(total + x[i] * (j + 1))
            j += 1
        i += j - 1
    return total


@program(vector)
def while_with_else(x):
    i = 0
    while i < len(x):
        if x[i] > 5.0:
            result = x[i]
            break
        i += 1
    else:
        result = np.sum(x * x)
    return result * i


@program(vector)
def while_with_continue(x):
    i = 0
    total = 0.0
    while i < len(x):
        i += 1
        if x[i - 1] < 0.5:
            continue
        total = total * 0.5 + x[i - 1] ** 2
    return total + x[0]


@program(always(27), vector)
def collatz(k, x):
    total = x[0]
    steps = 0
    while k != 1:
        if k % 2 == 0:
            k = k // 2
        else:
            k = 3 * k + 1
        total = np.sin(total) + x[1]
        steps += 1
    return total * steps


# --- break ------------------------------------------------------------------------------------


@program(vector, compiled=True)
def break_when_large(x):
    total = 0.0
    for i in range(len(x)):
        if total > 0.25 * len(x):
            break
        total += x[i] * x[i] + 0.1
    return total * total


@program(vector)
def break_after_a_write(x):
    y = np.zeros(len(x))
    for i in range(len(x)):
        y[i] = np.exp(x[i])
        if i > len(x) // 2 and x[i] > 0.5:
            break
        y[i] *= 2.0
    return np.sum(y) * i


@program(vector)
def break_in_the_first_trip(x):
    total = 1.0
    for v in x:
        total = total * v
        break
    return total


@program(vector, work=None)
def break_in_an_inner_loop(x):
    total = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            if j > i or x[j] * total > 3.0:
                break
            total = 0.9 * total + x[j] * 0.1
        total += x[i]
    return total


@program(signed, compiled=True)
def for_break_else(x):
    for i in range(len(x)):
        if x[i] < -5.0:
            result = x[i]
            break
    else:
        result = np.sum(x**2)
    for v in x:
        if v < 0.0:
            found = v * v
            break
    else:
        found = 1.0
    return result * found


@program(signed)
def a_search_in_each_trip(x):
    total = 0.0
    for i in range(len(x)):
        for j in (1, 2, 3):
            if x[i - j] > 0.0:
                total += x[i] * x[i - j]
                break
        else:
            total -= x[i]
    return total


@program(vector)
def break_in_both_arms(x):
    total = 0.0
    for v in x:
        if v > 0.5:
            if total > 0.3 * len(x):
                total = total * v
                break
            total += v
        else:
            if total > 0.2 * len(x):
                break
            total += 0.5
    return total


@program(small, work=None, rolled=False)
def break_from_an_unrolled_loop(x):
    total = 0.0
    for k in [1, 2, 3, 4]:
        total += x[k] ** k
        if total > 0.3:
            break
        total *= 2.0
    return total * k


# --- continue ---------------------------------------------------------------------------------


@program(signed, compiled=True)
def continue_on_the_sign(x):
    total = 0.0
    for v in x:
        if v < 0.0:
            continue
        total += np.sqrt(v)
    return total * x[0]


@program(signed)
def continue_before_a_first_bound_name(x):
    total = 0.0
    for i in range(len(x)):
        if i > 0 and x[i] < 0.0:
            continue
        last = x[i] * i + x[0]
        total += last
    return total * last


@program(signed)
def continue_and_break(x):
    total = 0.0
    n = 0
    for v in x:
        if v > 0.5:
            continue
        if v < 0.0 and total < -0.2 * len(x):
            break
        if v < 0.0:
            total += v
            continue
        total = total - v * v
        n += 1
    return total * (n + 1)


@program(signed, work=2)
def continue_in_nested_loops(x):
    total = 0.0
    for i in range(len(x)):
        if x[i] < 0.0:
            continue
        for j in range(len(x)):
            if i == j:
                continue
            total = 0.9 * total + x[i] * x[j]
        total += x[i]
    return total


@program(small, work=None, rolled=False)
def continue_in_an_unrolled_loop(x):
    total = 1.0
    for k, v in enumerate([x[0], x[1], x[2], 0.5]):
        if v < 0.1:
            continue
        total = total * v + k
    return total


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
    elif s > 1.0:  # noqa: RET505
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
        else:  # noqa: RET505
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
