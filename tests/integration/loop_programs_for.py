"""Programs of the catalogue: ``for`` over ranges, arrays and sequences."""

import numpy as np

from tests.integration.loop_programs_base import (
    always,
    count,
    counts,
    empty,
    order,
    pairs,
    places,
    program,
    scalar,
    signed,
    small,
    small_square,
    square,
    three,
    triples,
    vector,
)

# --- range: bounds and steps ------------------------------------------------------------------


@program(vector, compiled=True)
def range_of_a_shape(x):
    total = 0.0
    for i in range(x.shape[0]):
        total = total * 0.9 + np.sin(x[i])
    return total


@program(vector)
def range_of_len(x):
    total = 1.0
    for i in range(len(x)):
        total *= 1.0 - 0.3 * x[i]
    return total


@program(vector)
def range_of_size_in_arithmetic(x):
    total = 0.0
    for i in range(1, (x.size + 1) // 2):
        total += x[2 * i - 1] * x[i - 1]
    return total


@program(vector)
def range_with_a_start(x):
    total = x[0]
    for i in range(2, len(x) - 1):
        total = np.tanh(total + x[i] * x[i - 2])
    return total


@program(vector, compiled=True)
def range_with_a_step(x):
    even = odd = 1.0
    for i in range(0, len(x), 2):
        even *= np.cos(x[i])
    for i in range(1, len(x), 3):
        odd = odd + x[i] * even
    return even * odd


@program(vector)
def range_down(x):
    total = 0.0
    for i in range(len(x) - 1, -1, -1):
        total = total * x[i] + 1.0
    return total


@program(vector)
def range_down_in_steps(x):
    total = 0.0
    for i in range(len(x) - 2, 0, -2):
        total = total * x[i] + np.sqrt(x[i - 1])
    return total


@program(vector, count)
def range_of_an_argument(x, n):
    total = 0.0
    for i in range(n):
        total = 0.5 * total + x[i] ** 2
    return total


@program(vector, count, three, second=False)
def range_from_arguments(x, n, k):
    total = 0.0
    for i in range(k, n - k + 2, k - 1):
        total = 0.5 * total + x[i] * x[k]
    return total


@program(vector, always(-2))
def range_whose_step_has_any_sign(x, step):
    total = 0.0
    for i in range(len(x) - 1, 0, step):
        total = 0.5 * total + np.exp(-x[i])
    return total


@program(vector, three)
def range_of_a_minimum(x, k):
    total = 0.0
    for i in range(min(k, len(x))):
        total += x[i] ** 3
    for i in range(max(0, len(x) - k), len(x)):
        total *= x[i]
    return total


@program(small, work=None)
def concrete_ranges(x):
    total = 0.0
    for i in range(5):
        total = total * 0.5 + x[i]
    for i in range(1, 5, 2):
        total *= x[i] + 2.0
    for i in range(3, -1, -3):
        total -= x[i] * x[i]
    return total


@program(vector)
def range_evaluated_once(x):
    n = len(x)
    total = 0.0
    for i in range(n):
        n = n - 1
        total += x[i] * n
    return total + n


@program(vector, counts)
def range_of_an_element(x, counts):
    total = 0.0
    for i in range(len(x)):
        for _ in range(counts[i]):
            total = np.sin(total + x[i])
    return total


@program(vector, scalar, work=None)
def range_of_a_rounded_float(x, s):
    total = 0.0
    for i in range(int(4.0 * s)):
        total += x[i] * s
    for i in range(round(4.0 * s) + 1):
        total *= x[i] + s
    return total


@program(vector, three)
def index_arithmetic(x, k):
    n = len(x)
    total = 0.0
    for i in range(n):
        total += x[(i * k + 1) % n] * x[i // 2] + x[n - 1 - i] * x[-1 - i] + x[i - 1]
    return total


@program(vector)
def index_as_a_number(x):
    total = 0.0
    for i in range(len(x)):
        t = i / len(x)
        total += x[i] * np.sin(t) + i * x[i] ** 2 + float(i) * 0.1 + x[i] ** (i % 3)
    return total


# --- no trips, one trip, what is left after a loop --------------------------------------------


@program(empty, scalar, work=None)
def no_trips(x, s):
    total = s * s
    y = np.zeros(3)
    for i in range(len(x)):
        total = total * x[i]
        y[0] = total
    for v in x:
        total += v
    return total + np.sum(y) * s


@program(vector, scalar, work=None)
def ranges_that_are_empty(x, s):
    total = s
    for i in range(0):
        total *= x[i]
    for i in range(len(x), 1):
        total *= x[i]
    for i in range(3, 3):
        total *= x[i]
    for i in range(2, 5, -1):
        total *= x[i]
    for i in range(len(x), len(x) + 3, -1):
        total *= x[i]
    return total * s + x[0]


@program(vector, scalar, work=None)
def one_trip(x, s):
    for i in range(len(x) - 1, len(x)):
        s = s * x[i]
    return s


@program(vector)
def the_index_after_the_loop(x):
    i = 0
    total = 0.0
    for i in range(len(x) - 1):
        total += x[i]
    return total * x[i] * x[i + 1] * i


@program(vector)
def the_index_changed_in_the_body(x):
    total = 0.0
    for i in range(len(x)):
        v = x[i]
        i = i + 1
        total += v * i
        i *= 2
    return total + i


@program(vector)
def a_name_first_bound_in_the_loop(x):
    for i in range(len(x)):
        last = x[i] * x[i - 1]
        twice = 2.0 * last
    return last * twice


@program(vector)
def loops_in_a_row(x):
    y = np.zeros(len(x))
    total = 0.0
    for i in range(len(x)):
        y[i] = np.exp(-x[i])
    for i in range(len(x)):
        total += y[i] * x[i]
    for i in range(len(x)):
        y[i] = y[i] / total
    return np.sum(y * y)


# --- nested and triangular --------------------------------------------------------------------


@program(square, vector, work=2, compiled=True)
def matrix_times_vector(A, x):
    y = np.zeros(A.shape[0])
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            y[i] += A[i, j] * x[j]
    return np.sum(np.tanh(y))


@program(triples, triples)
def three_nested_loops(A, B):
    C = np.zeros((A.shape[0], 3))
    for i in range(A.shape[0]):
        for j in range(3):
            acc = 0.0
            for k in range(A.shape[1]):
                acc += A[i, k] * B[j, k]
            C[i, j] = np.sin(acc)
    return np.sum(C * C)


@program(vector, work=2)
def lower_triangle(x):
    total = 0.0
    for i in range(len(x)):
        for j in range(i):
            total += x[i] * np.cos(x[j])
    return total


@program(vector, work=2, compiled=True)
def upper_triangle(x):
    n = x.shape[0]
    total = 0.0
    for i in range(n):
        row = 0.0
        for j in range(i + 1, n):
            d = x[i] - x[j]
            row += np.exp(-d * d)
        total += row * x[i]
    return total


@program(vector, work=2)
def triangles_down_and_in_steps(x):
    n = len(x)
    total = 0.0
    for i in range(n):
        for j in range(i, -1, -1):
            total = 0.9 * total + x[j] * x[i]
        for j in range(i, n, 2):
            total -= 0.1 * x[j]
    return total


@program(square, work=2)
def inner_carry_starts_from_the_outer(A):
    total = 0.0
    running = 0.0
    for i in range(A.shape[0]):
        total += running
        for j in range(A.shape[1]):
            running = np.sin(running + A[i, j])
        running *= 0.5
    return total * running


# --- over arrays ------------------------------------------------------------------------------


@program(vector, compiled=True)
def elements_of_an_array(x):
    total = 1.0
    for v in x:
        total = total * 0.7 + v * v
    return total


@program(triples)
def rows_of_an_array(A):
    total = 0.0
    for row in A:
        total += np.sum(row * row) * row[0]
    return total


@program(pairs)
def rows_unpacked(P):
    total = 0.0
    for a, b in P:
        total = np.tanh(total + a * b) - b
    return total


@program(triples)
def columns_by_transposing(A):
    total = 0.0
    for column in A.T:
        total = np.cos(total + np.sum(column))
    for value in A[:, 1]:
        total += value * value
    return total


@program(vector)
def slices_of_an_array(x):
    total = 0.0
    for v in x[1:]:
        total = total * 0.5 + v
    for v in x[::-1]:
        total = total * 0.5 + v
    for v in x[:-1:2]:
        total *= 1.0 + 0.1 * v
    return total


@program(triples)
def elements_of_rows(A):
    total = 0.0
    for row in A:
        for value in row:
            total = np.sin(total * value + 0.3)
    return total


@program(vector, places)
def elements_of_an_index_array(x, places):
    y = np.zeros(len(x))
    for i in places:
        y[i] += x[i] * x[0]
    return np.sum(y**2)


@program(vector)
def elements_of_arange(x):
    total = 0.0
    for i in np.arange(len(x)):
        total += x[i] * i
    for t in np.linspace(0.0, 1.0, 4):
        total += np.sin(t * x[0])
    return total


@program(vector)
def elements_of_an_expression(x):
    total = 0.0
    for v in np.sqrt(x) * 2.0 - x:
        total = total * 0.5 + v**3
    return total


# --- over sequences ---------------------------------------------------------------------------


@program(vector, scalar, work=None)
def a_tuple_of_arrays_and_numbers(x, s):
    total = 0.0
    for array in (x, x * s, np.sin(x)):
        total += np.sum(array**2)
    for k in [0.5, s, 2, s * s]:
        total = total * k + 1.0
    return total


@program(vector, scalar, work=None)
def a_dictionary_of_numbers(x, s):
    parameters = {"a": s, "b": s * s, "c": 2.0}
    total = 0.0
    for key in parameters:
        total += parameters[key] * x[0]
    for key, value in parameters.items():
        total = total * value + (1.0 if key == "b" else x[1])
    for value in parameters.values():
        total -= value
    return total


@program(vector, pairs)
def a_list_of_arrays_inside_a_loop(x, P):
    total = 0.0
    for i in range(len(x)):
        for weights in [P[:, 0], P[:, 1]]:
            total = np.tanh(total + weights[i] * x[i])
    return total


@program(vector, scalar, rolled=False)
def a_loop_inside_a_list(x, s):
    total = 0.0
    for power in (1, 2, 3):
        for i in range(len(x)):
            total = 0.5 * total + s * x[i] ** power
    return total


@program(vector)
def enumerated(x):
    total = 0.0
    for i, v in enumerate(x):
        total += (i + 1) * v * x[i - 1]
    for i, v in enumerate(x, 1):
        total = 0.5 * total + v / i
    for i, v in enumerate(x[1:], start=2):
        total = 0.5 * total + v**i * 0.0 + v
    return total


@program(triples, scalar)
def enumerated_rows(A, s):
    y = np.zeros(A.shape[0])
    for i, row in enumerate(A):
        y[i] = row[0] * s + row[2]
    for i, factor in enumerate([s, 2.0 * s]):
        y[i] *= factor
    return np.sum(np.sin(y))


@program(vector, signed, compiled=True)
def zipped(x, y):
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total = np.tanh(total * a + b)
    return total


@program(vector, signed)
def zipped_of_many_kinds(x, y):
    total = 0.0
    for a, b, i in zip(x[:-1], x[1:], range(len(x)), strict=False):
        total = 0.5 * total + a * b * i
    for a, k in zip(y, [1.0, 2.0, 3.0], strict=False):
        total += a * k
    for (i, a), b in zip(enumerate(x), y, strict=False):
        total = 0.5 * total + a * b * i
    return total


@program(vector, scalar, work=None)
def zipped_lists(x, s):
    total = 0.0
    for a, name in zip([x, x * s], ("first", "second"), strict=True):
        total += np.sum(a) * (2.0 if name == "first" else s)
    return total


@program(vector, signed)
def zip_inside_enumerate(x, y):
    out = np.zeros(len(x))
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        out[i] = a * b + out[i - 1] * 0.5
    return np.sum(out * out)


@program(vector)
def the_shortest_of_a_zip_ends_it(x):
    total = 0.0
    for a, b in zip(x, x[2:], strict=False):
        total = 0.5 * total + a * np.exp(-b)
    return total


@program(vector)
def reversed_ranges_and_arrays(x):
    total = 0.0
    for i in reversed(range(len(x))):
        total = total * x[i] + 1.0
    for i in reversed(range(1, len(x), 2)):
        total = total * 0.5 + x[i]
    for v in reversed(x):
        total = total * 0.5 + v * v
    for k in reversed([1.0, 2.0, 3.0]):
        total = total * 0.5 + k
    for i, v in enumerate(reversed(x)):
        total += i * v
    return total


@program(small_square, small, work=None, rolled=False)
def layers(W, x):
    h = x[:3]
    for weights, bias in [(W, 0.1), (W.T, 0.2), (W @ W, 0.3)]:
        h = np.tanh(weights @ h + bias)
    return np.sum(h * h)


# --- bodies of whole arrays -------------------------------------------------------------------


@program(vector, small_square)
def matrix_products_in_a_loop(x, W):
    h = np.zeros(3)
    for i in range(len(x)):
        h = np.tanh(W @ h + x[i])
    return np.sum(h)


@program(vector, three, work=None)
def whole_arrays_in_a_loop(x, k):
    for _ in range(k):
        x = x + 0.1 * np.sin(x) * np.mean(x)
    return np.sum(x**2)


@program(triples)
def reductions_of_rows(A):
    total = 0.0
    for i in range(A.shape[0]):
        weights = np.exp(A[i] - np.max(A[i]))
        total += weights @ A[i] / np.sum(weights)
    return total


@program(vector, order)
def gathers_in_a_loop(x, order):
    total = 0.0
    for i in range(len(x)):
        total = 0.5 * total + x[order[i]] * x[order[order[i]]]
    return total


@program(vector, work=2)
def slices_that_grow(x):
    total = 0.0
    for i in range(1, len(x)):
        total += np.sum(x[:i]) * x[i] + np.sum(x[i:] ** 2)
    return total
