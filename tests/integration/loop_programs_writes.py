"""Programs of the catalogue: writes to elements, slices, views; arrays under several names."""

import numpy as np

from tests.integration.loop_programs_base import (
    count,
    counts,
    flags,
    order,
    pairs,
    places,
    program,
    scalar,
    signed,
    signed_square,
    single,
    small,
    small_square,
    triples,
    vector,
)

# --- elements ---------------------------------------------------------------------------------


@program(signed, scalar, compiled=True)
def tanh_recurrence(x, w):
    y = np.zeros(len(x))
    y[0] = np.tanh(x[0])
    for i in range(1, len(x)):
        y[i] = np.tanh(w * y[i - 1] + x[i])
    return np.sum(y * y)


@program(vector, compiled=True)
def augmented_elements(x):
    y = x.copy()
    for i in range(1, len(x)):
        y[i] += y[i - 1] * 0.5
        y[i] *= x[i]
        y[i - 1] -= y[i]
        y[i] /= 1.0 + x[i - 1]
        y[i] **= 2
    return np.sum(np.sin(y))


@program(signed)
def negative_indices_written(x):
    y = np.zeros(len(x) + 2)
    for i in range(len(x)):
        y[-1 - i] = x[i] * y[-i]
        y[i - 1] += x[i]
    return np.sum(y**2)


@program(signed, scalar)
def one_element_written_many_times(x, s):
    y = np.zeros(3)
    for v in x:
        y[1] = y[1] * 0.5 + v
        y[1] += s * y[0]
        y[0] = y[1] * v
    return y[0] * y[1]


@program(signed, places)
def elements_at_given_places(x, places):
    y = np.ones(len(x))
    for i in range(len(x)):
        y[places[i]] = x[i] * y[i]
        y[places[i - 1]] += x[i] ** 2
    return np.sum(y * x)


@program(vector, compiled=True)
def values_overwritten_after_use(x):
    y = np.zeros(len(x))
    t = 1.0
    for i in range(len(x)):
        y[i] = np.exp(x[i] * t)
        t = y[i] * 0.3
        y[i] = np.sin(y[i])
        t = t * y[i]
        y[i] = 0.1
    return t + np.sum(y)


@program(vector)
def an_argument_overwritten_then_read(x):
    for i in range(1, len(x)):
        x[i] = np.sin(x[i]) * x[i - 1]
    total = 0.0
    for v in x:
        total += v * v
    return total


@program(vector, signed)
def an_argument_as_work_space(x, y):
    total = 0.0
    for i in range(len(x)):
        total += y[i] * x[i]
        y[i] = 0.0
        y[i - 1] = x[i]
    y *= 2.0
    return total * np.sum(y * y)


@program(vector)
def an_old_version_read_after_its_update(x):
    y = x * 1.0
    total = 0.0
    for i in range(len(x)):
        old = y[i]
        y[i] = y[i - 1] * 0.5
        total += old * y[i]
    return total


@program(vector, refusal="copy", work=2, copies=True)
def a_whole_old_version_kept(x):
    y = x * 1.0
    total = 0.0
    for i in range(len(x)):
        old = y.copy()
        y[i] = np.sin(y[i])
        total += old[i] * y[i] + old[i - 1]
    return total


@program(vector)
def a_copied_argument(x):
    y = x.copy()
    z = np.array(x)
    w = x + 0.0
    for i in range(1, len(x)):
        y[i] = y[i - 1] * x[i]
        z[-i] -= y[i]
        w[i] = z[i] * w[i - 1]
    return np.sum(y) + np.sum(z * z) + np.sum(w * x)


@program(signed)
def arrays_of_many_makers(x):
    n = len(x)
    a, b, c = np.empty(n), np.ones(n), np.full(n, 0.5)
    d, e = np.zeros_like(x), np.full_like(x, 2.0)
    for i in range(n):
        a[i] = x[i]
        b[i] += a[i] * c[i - 1]
        c[i] *= b[i]
        d[i] = a[i] - c[i]
        e[i] -= d[i]
    return np.sum(a + b) + np.sum(c * d * e)


@program(single)
def single_precision(x):
    y = np.zeros(len(x), dtype=np.float32)
    y[0] = 0.5
    for i in range(1, len(x)):
        y[i] = y[i - 1] * x[i] + x[i - 1]
    return np.sum(y)


@program(signed, scalar)
def converted_when_stored(x, s):
    y = np.zeros(len(x), dtype=np.float32)
    k = np.zeros(len(x), dtype=np.int64)
    for i in range(len(x)):
        y[i] = x[i] > 0.0
        k[i] = x[i] * 5.0
    return np.sum(x * y) * s + np.sum(k) * s


# --- slices, indices, masks -------------------------------------------------------------------


@program(signed, vector)
def slices_written(x, y):
    z = np.zeros(len(x) + 2)
    z[1:-1] = x
    z[2:-2] += y[1:-1]
    z[::2] *= 0.5
    z[-1:] = 1.0
    z[1:] -= z[:-1] * 0.1
    z[:] = np.sin(z)
    z[...] = z * 2.0
    return np.sum(z * z)


@program(small, signed, compiled=True)
def slices_written_in_a_loop(x, steps):
    u = x * 1.0
    for s in steps:
        u[1:-1] += 0.1 * s * (u[2:] - 2.0 * u[1:-1] + u[:-2])
        u[0] = u[1]
        u[-1] *= 0.5
    return np.sum(u**2)


@program(vector)
def slices_that_move(x):
    y = np.zeros(len(x) + 1)
    for i in range(len(x) - 1):
        y[i : i + 2] += x[i : i + 2] * x[i]
        y[i + 1 : i + 3] *= 0.9
    return np.sum(np.sin(y))


@program(signed)
def overlapping_slices(x):
    y = x * 1.0
    y[1:] = y[:-1]
    y[:-2] += y[2:]
    y[::-1] = y * 2.0
    return np.sum(y * x)


@program(signed, places, order)
def index_arrays_written(x, places, order):
    y = np.ones(len(x))
    y[order] = x
    y[order[:2]] *= 2.0
    y[places] = 0.5
    z = x * 1.0
    z[places] += 1.0
    z[order] = z * y
    return np.sum(y * x) + np.sum(z * z)


@program(signed, flags)
def masks_written(x, flags):
    y = x * 1.0
    y[x > 0.0] = 0.0
    y[flags] *= 2.0
    y[~flags] += x[~flags] ** 2
    z = np.zeros(len(x))
    z[x < 0.0] = np.sin(x[x < 0.0])
    z[flags] = 1.0
    return np.sum(y * y) + np.sum(z * x)


@program(signed, places)
def accumulation_with_repeats(x, places):
    y = np.zeros(len(x))
    np.add.at(y, places, x * x)
    np.subtract.at(y, places[1:], x[:-1])
    np.add.at(y, 0, x[1])
    for i in range(len(x)):
        np.add.at(y, places[i], x[i])
    return np.sum(y * y)


@program(signed, vector)
def results_written_to_out(x, y):
    z = np.empty(len(x))
    np.sin(x, out=z)
    np.add(z, y, out=z)
    np.multiply(z[1:], 2.0, out=z[1:])
    total = np.sum(z)
    for i in range(3):
        np.multiply(z, 0.3 * z, out=z)
        z += 0.1 * i
    return np.sum(z) * total


@program(signed, scalar)
def filled_arrays(x, s):
    y = np.empty(len(x))
    y.fill(s)
    y[0] = x[0]
    total = 0.0
    for i in range(len(x)):
        y[i] *= x[i - 1]
        total += y[i]
    y[1:3].fill(s * s)
    np.copyto(y[:1], x[:1])
    return total * np.sum(y)


# --- matrices, rows, views --------------------------------------------------------------------


@program(triples, scalar, compiled=True)
def rows_and_columns_written(A, s):
    B = np.zeros(A.shape)
    for i in range(A.shape[0]):
        B[i, :] = A[i] * s
        B[i] += B[i - 1] * 0.5
        B[i, 1:] -= A[i, :-1]
        B[i, 0] = B[i, 2] * A[i, 0]
    for j in range(3):
        B[:, j] *= 1.0 + j
        B[1:, j] += B[:-1, j]
    return np.sum(np.sin(B))


@program(triples, compiled=True)
def views_written(A):
    B = A * 1.0
    for i in range(A.shape[0]):
        row = B[i]
        row[0] = row[1] * row[2]
        row[1:] *= 2.0
        row += 0.1
        B[i][2] = A[i][0]
        tail = row[1:]
        tail[0] += row[0]
    return np.sum(B * B)


@program(signed)
def views_of_views(x):
    y = x * 1.0
    middle = y[1:-1]
    second = middle[::2]
    second[0] = 5.0 * x[0]
    second *= 0.5
    middle[-1] = second[0]
    backwards = y[::-1]
    backwards[0] = y[1]
    total = 0.0
    for i in range(len(middle)):
        middle[i] = middle[i - 1] * x[i]
        total += y[i] * backwards[i]
    return total


@program(signed)
def a_view_read_after_its_base_was_written(x):
    y = x * 1.0
    head = y[:3]
    y[1] = x[0] * x[1]
    total = np.sum(head**2)
    for i in range(len(x)):
        y[i] = np.sin(y[i])
        total += head[1]
    y *= 2.0
    return total * np.sum(head)


@program(triples, work=2)
def transposes_and_reshapes_written(A):
    B = A * 1.0
    for i in range(A.shape[0]):
        B.T[0, i] = A[i, 1]
        B.T[1] *= 0.9
        B[:, -1][i] = A[i, 0] * B[i, 0]
    C = B.reshape(-1)
    C[0] = 3.0 * A[0, 0]
    C[1:2] *= A[1, 1]
    return np.sum(B * B) + np.sum(np.sin(C))


@program(signed_square, signed, work=2)
def tables_written(A, x):
    n = len(x)
    B = np.zeros((n, n))
    B[0, :] = x
    B[:, 0] = x
    for i in range(1, n):
        for j in range(1, n):
            B[i, j] = np.tanh(B[i - 1, j] + B[i, j - 1] * A[i, j] + B[i - 1, j - 1])
    return np.sum(B[-1]) + B[n // 2, -1]


@program(signed_square, order, places, work=2)
def matrices_at_index_arrays(A, order, places):
    B = A * 1.0
    B[0, order] = A[1, :]
    B[order, 1] += A[0]
    B[order[:2], order[1:3]] = 5.0 * A[0, 0]
    B[:, places[:1]] *= 0.5
    B[A > 0.5] = 0.0
    B[1:, :-1] += A[:-1, 1:]
    B[..., -1] = 1.0
    return np.sum(B * B)


@program(signed, places)
def arrays_of_three_axes(x, places):
    B = np.zeros((len(x), 2, 3))
    for i in range(len(x)):
        B[i, 0, :] = x[i]
        B[i, :, 1] += x[i - 1]
        B[places[i], 1, 2] -= x[i]
        block = B[i]
        block[1] = block[0] * 2.0
        block[:, 0] *= x[i]
    return np.sum(B**3)


# --- names of arrays --------------------------------------------------------------------------


@program(vector, signed, compiled=True)
def arrays_swapped(x, y):
    a, b = x * 1.0, y * 1.0
    for i in range(len(x)):
        a[i] = np.sin(a[i] * b[i - 1])
        a, b = b, a
    return np.sum(a * a) + 2.0 * np.sum(b)


@program(vector, signed)
def three_arrays_rotated(x, y):
    a, b, c = x * 1.0, y * 1.0, np.zeros(len(x))
    for i in range(len(x)):
        a, b, c = b, c, a
        a[i] += b[i] * x[i]
        c[i - 1] *= 0.5
    return np.sum(a) + np.sum(b * b) - np.sum(c * x)


@program(signed, scalar)
def buffers_swapped_through_a_name(x, s):
    old = np.zeros(3)
    new = np.ones(3)
    for v in x:
        new[0] = old[1] + v
        new[1] = np.sin(old[0] * s)
        new[2] = new[0] * old[2] + 0.1
        spare = old
        old = new
        new = spare
    return np.sum(old) * new[0]


@program(signed)
def elements_swapped(x):
    y = x * 1.0
    n = len(x)
    for i in range(n // 2):
        y[i], y[n - 1 - i] = y[n - 1 - i], y[i]
    for i in range(1, n):
        if y[i] < y[i - 1]:
            y[i - 1], y[i] = y[i], y[i - 1] * 1.1
    return np.sum(y * x)


@program(triples)
def rows_swapped(A):
    B = A * 1.0
    for i in range(1, A.shape[0]):
        if A[i, 0] > 0.0:
            B[[i, i - 1]] = B[[i - 1, i]]
        saved = B[i].copy()
        B[i] = B[0]
        B[0] = saved * 0.9
    return np.sum(B * A)


@program(signed, scalar)
def an_array_made_in_each_trip(x, s):
    total = 0.0
    for v in x:
        y = np.zeros(3)
        y[0] = v
        for k in range(1, 3):
            y[k] = np.sin(y[k - 1] + s)
        total = 0.5 * total + np.sum(y * y)
    return total


@program(signed)
def an_array_rebound_in_each_trip(x):
    state = np.ones(3)
    for v in x:
        new = np.empty(3)
        new[0] = state[2] * v
        new[1:] = state[:2]
        state = new
    return np.sum(state * np.array([1.0, 2.0, 3.0]))


@program(vector)
def an_inner_loop_reads_the_outer_array(x):
    y = x * 1.0
    for i in range(1, len(x)):
        acc = 0.0
        for k in range(3):
            acc += y[i - 1] * y[i - k]
        y[i] = np.sin(acc)
    return np.sum(y)


@program(vector)
def descending_steps_with_repeats(x):
    y = np.zeros(len(x))
    for i in range(len(x) - 1, 0, -2):
        y[i // 2] += x[i] * x[i - 1]
        y[i // 2] += x[i]
        y[0] *= 0.9
    return np.sum(y * y)


# --- integers and booleans --------------------------------------------------------------------


@program(signed, counts)
def integer_and_boolean_arrays_written(x, counts):
    n = len(x)
    histogram = np.zeros(4, dtype=int)
    mask = np.zeros(n, dtype=bool)
    where = np.zeros(n, dtype=np.int64)
    k = 0
    for i in range(n):
        histogram[counts[i]] += 1
        mask[i] = x[i] > 0.0
        if mask[i]:
            where[k] = i
            k += 1
    total = np.sum(x[mask]) * histogram[1]
    for j in range(k):
        total += x[where[j]] ** 2 * j
    return total


@program(vector, count)
def indices_carried_through_loops(x, n):
    best = 0
    for i in range(1, n):
        if x[i] > x[best]:
            best = i
    links = np.zeros(n, dtype=np.int64)
    for i in range(1, n):
        links[i] = (links[i - 1] * 3 + i) % n
    total = x[best] ** 2
    j = best
    for _ in range(5):
        j = links[j]
        total = 0.5 * total + x[j]
    return total


@program(small_square, signed)
def whole_matrices_updated(W, x):
    P = np.eye(3)
    h = np.zeros(3)
    for v in x:
        h[:] = np.tanh(W @ h + v)
        P -= 0.1 * np.outer(h, h) @ P
        P[0] += h * 0.1
    return np.sum(P * P) + h[1]


@program(pairs, scalar)
def columns_of_pairs(P, s):
    Q = np.empty((2, P.shape[0]))
    for k in range(2):
        Q[k] = P[:, k] * s
        Q[k, 0] = P[1, k]
    a, b = Q
    a[1:] += b[:-1]
    return np.sum(Q**2) + np.sum(a * b)
