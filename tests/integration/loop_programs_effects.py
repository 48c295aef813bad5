"""Programs of the catalogue: state outside local names, first written in loops and arms.

Where a loop can't be rolled because of it, its trips are few and known. A program marked with
``refusal`` is either right or refused.
"""

from types import SimpleNamespace

import numpy as np

from tests.integration.loop_programs_base import negative, program, scalar, signed

# --- closures and globals ---------------------------------------------------------------------


@program(signed, refusal="total")
def a_nonlocal_written_by_a_closure_in_a_loop(x):
    total = 0.0

    def add(v):
        nonlocal total
        total = 0.9 * total + v * v

    for v in x:
        add(v)
    return total


@program(signed, refusal="count")
def a_nonlocal_written_in_an_arm(x):
    total, count = 0.0, 0

    def positive(v):
        nonlocal count
        if v > 0.0:
            count += 1
            return True
        return False

    for v in x:
        if positive(v):
            total += v
    return total * count


@program(signed, scalar, work=None)
def a_nonlocal_written_outside_of_loops(x, s):
    state = s

    def shift(by):
        nonlocal state
        state = state * by
        return state

    shift(2.0)
    shift(s)
    return state * np.sum(x)


level = 0.0


@program(signed, refusal="level")
def a_global_written_in_a_loop(x):
    global level
    level = 0.0
    for v in x:
        level = 0.9 * level + v
    result = level * level
    level = 0.0
    return result


# --- attributes and items ---------------------------------------------------------------------


class Accumulator:
    def __init__(self):
        self.total = 0.0
        self.count = 0

    def add(self, v):
        self.total += v
        if v > 0.0:
            self.count += 1


@program(signed, refusal="total")
def an_attribute_written_in_a_loop(x):
    state = SimpleNamespace(total=0.0)
    for v in x:
        state.total = state.total * 0.9 + v * v
    return state.total


@program(signed, refusal="total")
def a_method_that_accumulates(x):
    accumulator = Accumulator()
    for v in x:
        accumulator.add(v * v if v > 0.0 else v)
    return accumulator.total * accumulator.count


@program(signed, negative, work=None, refusal="total")
def an_attribute_written_in_an_arm(x, s):
    state = SimpleNamespace(total=s)
    if s > 0.0:
        state.total = s * s
    else:
        state.total = s * 3.0
    return state.total * np.sum(x)


@program(signed, refusal="sum")
def a_dictionary_written_in_a_loop(x):
    found = {"sum": 0.0, "count": 0}
    for v in x:
        found["sum"] += v * v
        if v > 0.0:
            found["count"] += 1
    return found["sum"] * found["count"]


@program(signed, negative, work=None, refusal="sign")
def a_dictionary_written_in_an_arm(x, s):
    found = {"sign": 1.0}
    if s < 0.0:
        found["sign"] = s
    return found["sign"] * np.sum(x)


@program(signed, refusal="best")
def a_list_written_in_a_loop(x):
    best = [0.0, 0]
    for i in range(len(x)):
        best[0] = 0.5 * best[0] + x[i]
        best[1] = i
    return best[0] * best[1]


# --- loops that have to be unrolled -----------------------------------------------------------


@program(signed, rolled=False)
def appending_in_a_concrete_loop(x):
    seen = []
    for k in range(4):
        seen.append(x[k] * 2.0)
        if k > 1:
            seen[0] = seen[0] + seen[k]
    return sum(seen) * len(seen)


@program(signed, rolled=False)
def a_dictionary_that_grows(x):
    table = {}
    for k in range(4):
        table[k] = np.sin(x[k])
    table.update({9: x[0]})
    return sum(table.values()) + table[9] * table.setdefault(3, 0.0)


@program(signed, rolled=False)
def a_write_before_the_loop_turns_out_unrollable(x):
    y = np.zeros(4)
    weights = (1.0, 2.0, 0.5, 3.0)
    total = 0.0
    for k in range(4):
        y[k] += x[k]
        total += y[k]
        total *= weights[k]
    return total * np.sum(y)


@program(signed, rolled=False)
def objects_in_a_list_written_in_turn(x):
    parts = [SimpleNamespace(v=x[k]) for k in range(3)]
    for k in range(3):
        parts[k].v = parts[k].v * parts[k - 1].v
    return parts[0].v + parts[1].v * parts[2].v


@program(signed, rolled=False)
def shapes_that_change(x):
    y = x[:2]
    for _ in range(3):
        y = np.concatenate([y, y[:1] * 2.0])
    return np.sum(y * y)


@program(signed, rolled=False)
def a_rolled_loop_in_an_unrolled_one(x):
    results = []
    for power in range(1, 4):
        total = 0.0
        for v in x:
            total = 0.9 * total + v**power
        results.append(total)
    return results[0] * results[1] + results[2]


# --- names ------------------------------------------------------------------------------------


@program(signed)
def an_array_renamed_in_a_loop(x):
    b = x * 2.0
    a = np.zeros(len(x))
    for i in range(len(x)):
        a = b
        a[i] = a[i - 1] * x[i]
    return np.sum(a) + np.sum(b * b)


@program(signed)
def two_names_of_one_array(x):
    a = x * 1.0
    b = a
    for i in range(1, len(x)):
        a[i] = a[i] * b[i - 1]
        b[i] += x[i]
    return np.sum(a * x) + np.sum(b)


@program(signed, work=2, copies=True, refusal="array")
def one_name_leaves_the_other(x):
    a = x * 1.0
    b = a
    for i in range(len(x)):
        a = a * 1.0
        a[i] = b[i] * x[i]
        b[i] += 0.5
    return np.sum(a) * np.sum(b)


@program(signed, work=2, copies=True, refusal="array")
def both_names_become_one_array(x):
    a, b = x * 1.0, x * 2.0
    for i in range(len(x)):
        b = a
        b[i] = 0.5 * (a[i] * x[i] + a[i - 1])
    return np.sum(a) * np.sum(b)


@program(signed, scalar)
def an_integer_that_becomes_a_float(x, s):
    total, last, k = 0, 1, 0
    for v in x:
        total += v * last
        last = k
        k = s if v > 0.0 else k
    return total * last + k


@program(signed)
def none_before_the_loop(x):
    best = None
    for k in (0, 1, 2):
        if best is None:
            best = x[k] ** 2
        else:
            best = best + x[k]
    return best


@program(signed)
def a_scalar_that_becomes_an_array(x):
    y = 0.0
    for k in (1.0, 2.0):
        y = y + k * x
    return np.sum(y * y)
