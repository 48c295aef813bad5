"""Programs of the catalogue: ``while``, ``break``, ``continue``, ``else``."""

import numpy as np

from tests.integration.loop_programs_base import (
    always,
    counts,
    program,
    scalar,
    signed,
    small,
    three,
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
