"""Programs with slices whose bounds are known only at run time, each with arguments."""

import numpy as np

_RNG = np.random.default_rng(7)
PROGRAMS = {}


def _vector(n=6):
    return _RNG.normal(size=n)


def _definite(n=5):
    a = _RNG.normal(size=(n, n))
    return a @ a.T + n * np.eye(n)


def program(*args):
    def register(fun):
        PROGRAMS[fun.__name__] = (fun, args)
        return fun

    return register


# --- reading ----------------------------------------------------------------------------------


@program(_vector(), _vector())
def slices_that_grow(x, w):
    s = 0.0
    for i in range(x.shape[0]):
        s += np.sum(x[:i] ** 2) * w[i]
    return s


@program(_vector())
def slices_that_shrink(x):
    s = 0.0
    n = x.shape[0]
    for i in range(n):
        s += np.sum(np.tanh(x[i:])) * x[i] + np.sum(x[i + 1 : n] ** 3)
    return s


@program(_vector())
def slices_from_the_end(x):
    s = 0.0
    for i in range(1, x.shape[0]):
        s += np.sum(x[-i:] ** 2) * np.sum(x[:-i] ** 3)
    return s


@program(_vector())
def prefix_sums(x):
    y = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        y[i] = np.sum(x[: i + 1] ** 2)
    return np.sum(y * y)


@program(_vector())
def a_running_window(x):
    s = 0.0
    for i in range(x.shape[0]):
        s += np.max(x[max(0, i - 3) : i + 1]) * np.mean(x[max(0, i - 3) : i + 1])
    return s


@program(_vector(9), _vector(4))
def a_convolution(x, k):
    n, m = x.shape[0], k.shape[0]
    y = np.zeros(n)
    for i in range(m - 1, n):
        y[i] = np.dot(x[i - m + 1 : i + 1], k[::-1])
    return np.sum(y**2)


@program(_vector(), _vector())
def slices_of_one_length_at_both_ends(x, y):
    s = 0.0
    n = x.shape[0]
    for i in range(n):
        s += np.sum(x[:i] * y[n - i :]) + np.dot(x[: i + 1], y[i::-1])
    return s


@program(_vector(9), np.array([0, 3, 3, 7, 9]))
def bounds_from_an_array(x, ends):
    s = 0.0
    for g in range(ends.shape[0] - 1):
        part = x[ends[g] : ends[g + 1]]
        s += np.sum(part) ** 2
    return s


@program(_vector())
def the_length_of_a_slice(x):
    s = 0.0
    for i in range(1, x.shape[0]):
        part = x[:i]
        away = part - np.mean(part)
        s += np.sum(away * away) / part.shape[0]
    return s


@program(_vector())
def a_slice_in_a_branch(x):
    s = 0.0
    for i in range(x.shape[0]):
        if x[i] > 0.0:
            s += np.sum(x[:i] ** 2)
        else:
            s += np.sum(np.sin(x[i:]))
    return s


@program(_vector())
def a_slice_in_a_while(x):
    s = 0.0
    i = 0
    while i < x.shape[0] - 1:
        s += np.sum(x[:i] ** 2) * x[i]
        i += 2
    return s


@program(_definite())
def parts_of_rows_and_columns(a):
    s = 0.0
    for i in range(a.shape[0]):
        row = a[i]
        s += np.sum(row[:i] ** 2) + np.sum(a[i][i:]) * np.sum(a[:i, i])
    return s


@program(_vector())
def a_leading_block_times_a_slice(x):
    n = x.shape[0]
    a = np.outer(x, x)
    s = 0.0
    for i in range(1, n):
        s += np.sum(np.sin(a[:i, :i] @ x[:i]))
    return s


# --- writing ----------------------------------------------------------------------------------


@program(_vector())
def a_slice_moved_by_one(x):
    y = x.copy()
    for i in range(1, x.shape[0] - 1):
        y[1 : i + 1] = y[:i] * 1.1
        y[0] = x[i] * y[i]
    return np.sum(y**2)


@program(_vector())
def slices_written_over(x):
    y = np.zeros(x.shape[0])
    for i in range(x.shape[0]):
        y[:i] = y[:i] * 0.5 + x[:i] ** 2
        y[i:] += np.sin(x[i])
    return np.sum(y**2)


@program(_definite(), _vector(5))
def gaussian_elimination(a, b):
    a = a.copy()
    b = b.copy()
    n = a.shape[0]
    for i in range(n):
        for k in range(i + 1, n):
            f = a[k, i] / a[i, i]
            a[k, i:] -= f * a[i, i:]
            b[k] -= f * b[i]
    x = np.zeros(n)
    for i in range(n - 1, -1, -1):
        x[i] = (b[i] - np.dot(a[i, i + 1 :], x[i + 1 :])) / a[i, i]
    return np.sum(x**2)


@program(_definite())
def cholesky(a):
    n = a.shape[0]
    low = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            low[i, j] = (a[i, j] - np.dot(low[i, :j], low[j, :j])) / low[j, j]
        low[i, i] = np.sqrt(a[i, i] - np.dot(low[i, :i], low[i, :i]))
    return np.sum(low**3)


@program(np.tril(_definite()), _vector(5))
def a_triangular_solve(a, b):
    n = b.shape[0]
    x = np.zeros(n)
    for i in range(n):
        x[i] = (b[i] - a[i, :i] @ x[:i]) / a[i, i]
    return np.sum(x**2)


@program(_definite())
def blocks_minus_outer_products(a):
    a = a.copy()
    n = a.shape[0]
    for k in range(n - 1):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return np.sum(a**2)


@program(np.exp(_vector()))
def levinson(r):
    n = r.shape[0]
    a = np.zeros(n)
    e = r[0] + 5.0
    for k in range(1, n):
        c = -(r[k] + np.dot(a[1:k], r[k - 1 : 0 : -1])) / e
        a[1:k] = a[1:k] + c * a[k - 1 : 0 : -1]
        a[k] = c
        e = e * (1.0 - c * c)
    return np.sum(a**2) + e


# --- parts of slices --------------------------------------------------------------------------


@program(_vector())
def parts_of_slices(x):
    s = 0.0
    for i in range(1, x.shape[0]):
        part = x[: i + 1]
        s += part[0] * part[-1] + np.sum(part[1:] * part[:-1]) + np.sum(part[2:] ** 3)
        s += np.sum(part[: part.shape[0] - 1]) * part[i] * part[i - 1]
    return s


@program(_vector(9), _vector(9), np.array([0, 2, 3]), np.array([4, 1, 5]))
def slices_compared_at_run_time(x, y, first, second):
    x = x.copy()
    s = 0.0
    for g in range(first.shape[0]):
        i, j = first[g], second[g]
        s += np.sum(x[i : i + 3] * y[j:][:3]) + np.dot(x[: i + 1], y[j : j + i + 1])
        x[i : i + 2] = y[j : j + 2] + x[:2]
    return s + np.sum(x * y)
