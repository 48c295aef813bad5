"""Programs of the catalogue: models as people write them."""

import math

import numpy as np

from tests.integration.loop_programs_base import (
    always,
    flags,
    following,
    order,
    pairs,
    program,
    scalar,
    signed,
    signed_square,
    small,
    small_square,
    square,
    three,
    triples,
    vector,
)

# --- recursions -------------------------------------------------------------------------------


@program(small_square, triples, compiled=True)
def hidden_markov_model(transition, emission):
    """The forward recursion, in the space of logarithms by scaling."""
    T, S = emission.shape
    A = np.exp(transition)
    alpha = np.zeros((T, S))
    log_likelihood = 0.0
    for s in range(S):
        alpha[0, s] = np.exp(emission[0, s]) / S
    for t in range(1, T):
        scale = 0.0
        for s in range(S):
            acc = 0.0
            for r in range(S):
                acc += alpha[t - 1, r] * A[r, s]
            alpha[t, s] = acc * np.exp(emission[t, s])
            scale += alpha[t, s]
        for s in range(S):
            alpha[t, s] /= scale
        log_likelihood += np.log(scale)
    return log_likelihood


def lotka_volterra_rates(u, v, p):
    return p[0] * u - p[1] * u * v, p[2] * u * v - p[3] * v


@program(small, vector, compiled=True)
def lotka_volterra(p, data):
    p = np.abs(p) + 0.5
    u, v, h = 1.0, 0.5, 0.05
    loss = 0.0
    for t in range(len(data)):
        a1, b1 = lotka_volterra_rates(u, v, p)
        a2, b2 = lotka_volterra_rates(u + 0.5 * h * a1, v + 0.5 * h * b1, p)
        a3, b3 = lotka_volterra_rates(u + 0.5 * h * a2, v + 0.5 * h * b2, p)
        a4, b4 = lotka_volterra_rates(u + h * a3, v + h * b3, p)
        u = u + h / 6.0 * (a1 + 2.0 * a2 + 2.0 * a3 + a4)
        v = v + h / 6.0 * (b1 + 2.0 * b2 + 2.0 * b3 + b4)
        loss += (u - data[t]) ** 2
    return loss


@program(signed, three)
def burgers(u0, steps):
    u = u0 * 1.0
    new = np.zeros(len(u0))
    for _ in range(steps):
        for i in range(1, len(u) - 1):
            advection = u[i] * (u[i + 1] - u[i - 1]) * 0.5
            diffusion = u[i + 1] - 2.0 * u[i] + u[i - 1]
            new[i] = u[i] - 0.1 * advection + 0.05 * diffusion
        new[0] = new[1]
        new[-1] = new[-2]
        u, new = new, u
    return np.sum(u * u)


@program(small_square, small_square, triples, compiled=True)
def recurrent_network(W, U, inputs):
    h = np.zeros(3)
    loss = 0.0
    for t in range(inputs.shape[0]):
        h = np.tanh(W @ h + U @ inputs[t])
        loss += np.sum(h * h)
    return loss


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


@program(small_square, small_square, triples)
def long_short_term_memory(W, U, inputs):
    h, c = np.zeros(3), np.zeros(3)
    for x in inputs:
        z = W @ h + U @ x
        forget, write, read = sigmoid(z + 1.0), sigmoid(z), sigmoid(-z)
        c = forget * c + write * np.tanh(z)
        h = read * np.tanh(c)
    return np.sum(h) + np.sum(c * c)


@program(triples, triples, pairs, order)
def bundle_adjustment(cameras, points, observed, which):
    error = 0.0
    for k in range(observed.shape[0]):
        camera = cameras[which[k]]
        X = points[k] - camera
        depth = X[2] + 3.0
        u, v = X[0] / depth, X[1] / depth
        r2 = u * u + v * v
        distortion = 1.0 + camera[0] * r2
        error += (u * distortion - observed[k, 0]) ** 2
        error += (v * distortion - observed[k, 1]) ** 2
    return error


@program(signed_square, scalar, work=2)
def soft_alignment(scores, gap):
    """Needleman and Wunsch's table, with a soft maximum."""
    n, m = scores.shape
    H = np.zeros((n + 1, m + 1))
    for i in range(1, n + 1):
        H[i, 0] = -i * gap
    for j in range(1, m + 1):
        H[0, j] = -j * gap
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            a = H[i - 1, j - 1] + scores[i - 1, j - 1]
            b = H[i - 1, j] - gap
            c = H[i, j - 1] - gap
            top = max(a, b, c)
            H[i, j] = top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))
    return H[n, m]


def soft_maximum(a, b, c):
    top = max(a, b, c)
    return top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))


@program(signed_square, scalar, scalar, work=2)
def alignment_with_gap_states(scores, start, extend):
    """Gotoh's three tables: a match, a gap in one sequence, a gap in the other."""
    n, m = scores.shape
    M = np.full((n + 1, m + 1), -30.0)
    X = np.full((n + 1, m + 1), -30.0)
    Y = np.full((n + 1, m + 1), -30.0)
    M[0, 0] = 0.0
    for i in range(1, n + 1):
        X[i, 0] = -start - (i - 1) * extend
    for j in range(1, m + 1):
        Y[0, j] = -start - (j - 1) * extend
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            s = scores[i - 1, j - 1]
            M[i, j] = s + soft_maximum(M[i - 1, j - 1], X[i - 1, j - 1], Y[i - 1, j - 1])
            X[i, j] = soft_maximum(M[i - 1, j] - start, X[i - 1, j] - extend, Y[i - 1, j] - start)
            Y[i, j] = soft_maximum(M[i, j - 1] - start, Y[i, j - 1] - extend, X[i, j - 1] - start)
    return soft_maximum(M[n, m], X[n, m], Y[n, m])


@program(vector, signed, scalar, work=2)
def soft_time_warping(x, y, gamma):
    """Two series by a smooth minimum over the ways to pair them."""
    n, m = len(x), len(y)
    cost = np.full((n + 1, m + 1), 1e6)
    cost[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            best = -gamma * soft_maximum(
                -cost[i - 1, j - 1] / gamma, -cost[i - 1, j] / gamma, -cost[i, j - 1] / gamma
            )
            cost[i, j] = (x[i - 1] - y[j - 1]) ** 2 + best
    return cost[n, m]


@program(square, always((0.3, 0.2, 0.1)), work=2)
def image_filter(image, weights):
    """A recursive filter in two dimensions, with a bend."""
    n, m = image.shape
    y = np.zeros((n + 1, m + 1))
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            before = weights[0] * y[i - 1, j] + weights[1] * y[i, j - 1]
            y[i, j] = np.tanh(before + weights[2] * y[i - 1, j - 1]) + image[i - 1, j - 1]
    return np.sum(y**2)


@program(vector, signed, compiled=True)
def tridiagonal_solve(d, b):
    """Thomas's algorithm, with off-diagonals of -1."""
    n = len(d)
    c = np.zeros(n)
    y = np.zeros(n)
    x = np.zeros(n)
    c[0] = -1.0 / (d[0] + 2.0)
    y[0] = b[0] / (d[0] + 2.0)
    for i in range(1, n):
        pivot = d[i] + 2.0 + c[i - 1]
        c[i] = -1.0 / pivot
        y[i] = (b[i] + y[i - 1]) / pivot
    x[n - 1] = y[n - 1]
    for i in range(n - 2, -1, -1):
        x[i] = y[i] - c[i] * x[i + 1]
    return np.sum(x * x)


# --- linear algebra by hand -------------------------------------------------------------------


@program(signed_square, work=3)
def cholesky(A):
    n = A.shape[0]
    S = A @ A.T + n * np.eye(n)
    L = np.zeros((n, n))
    for j in range(n):
        for i in range(j, n):
            acc = S[i, j]
            for k in range(j):
                acc -= L[i, k] * L[j, k]
            if i == j:
                L[j, j] = math.sqrt(acc)
            else:
                L[i, j] = acc / L[j, j]
    total = 0.0
    for i in range(n):
        total += math.log(L[i, i])
    return total + L[n - 1, 0]


@program(signed_square, vector, work=3)
def gaussian_elimination(A, b):
    n = len(b)
    M = A + n * np.eye(n)
    x = b.copy()
    for k in range(n):
        for i in range(k + 1, n):
            factor = M[i, k] / M[k, k]
            M[i, k:] -= factor * M[k, k:]
            x[i] -= factor * x[k]
    for i in range(n - 1, -1, -1):
        x[i] = (x[i] - M[i, i + 1 :] @ x[i + 1 :]) / M[i, i]
    return np.sum(x * x)


@program(square, vector, work=2)
def gauss_seidel(A, b):
    n = len(b)
    x = np.zeros(n)
    for _ in range(3):
        for i in range(n):
            acc = b[i]
            for j in range(n):
                if j != i:
                    acc -= A[i, j] * x[j]
            x[i] = acc / (n + A[i, i])
    return np.sum(x * b)


@program(small_square, vector)
def power_iteration(A, x):
    v = np.ones(3)
    eigenvalue = 0.0
    for _ in range(len(x)):
        w = A.T @ (A @ v) + 0.1 * v
        eigenvalue = math.sqrt(np.sum(w * w))
        v = w / eigenvalue
    return eigenvalue * v[0] + np.sum(x)


# --- dynamics ---------------------------------------------------------------------------------


@program(signed, scalar)
def bouncing_ball(push, height):
    y, v, h = height, 0.0, 0.05
    for p in push:
        v = v - 9.81 * h + 0.1 * p
        y = y + h * v
        if y < 0.0:
            y = -0.8 * y
            v = -0.8 * v
    return y * y + v


@program(vector, always((0.05, 0.1, 0.8)), compiled=True)
def volatility(returns, parameters):
    """A GARCH(1, 1) likelihood."""
    omega, alpha, beta = parameters
    variance = np.empty(len(returns))
    variance[0] = np.mean(returns * returns)
    for t in range(1, len(returns)):
        variance[t] = omega + alpha * returns[t - 1] ** 2 + beta * variance[t - 1]
    return 0.5 * np.sum(np.log(variance) + returns**2 / variance)


@program(triples, scalar, work=2)
def many_bodies(start, mass):
    n = start.shape[0]
    force = np.zeros((n, 3))
    for i in range(n):
        for j in range(i):
            d = start[j] - start[i]
            r = np.sqrt(np.sum(d * d) + 0.1)
            f = mass * d / (r * r * r)
            force[i] += f
            force[j] -= f
    return np.sum(force**2)


@program(signed, signed, scalar)
def kalman_filter(observed, control, noise):
    mean, variance = 0.0, 1.0
    loss = 0.0
    for z, u in zip(observed, control, strict=True):
        mean, variance = 0.9 * mean + u, 0.81 * variance + noise
        gain = variance / (variance + 0.5)
        residual = z - mean
        loss += residual * residual / (variance + 0.5) + math.log(variance + 0.5)
        mean += gain * residual
        variance *= 1.0 - gain
    return loss


# --- counting, choosing, sorting --------------------------------------------------------------


@program(signed_square, signed, work=2)
def best_path(scores, start):
    """Viterbi's table with hard maxima and the way back."""
    T, S = scores.shape
    best = start.copy()
    back = np.zeros((T, S), dtype=np.int64)
    for t in range(1, T):
        new = np.empty(S)
        for s in range(S):
            k = (s + 1) % S
            if best[s] + 0.1 > best[k]:
                new[s] = best[s] + 0.1 + scores[t, s]
                back[t, s] = s
            else:
                new[s] = best[k] + scores[t, s]
                back[t, s] = k
        best = new
    s = np.argmax(best)
    total = best[s]
    for t in range(T - 1, 0, -1):
        s = back[t, s]
        total += 0.1 * scores[t, s]
    return total


@program(vector, work=2)
def bubble_sort(x):
    y = x.copy()
    n = len(y)
    for i in range(n):
        swapped = False
        for j in range(n - 1 - i):
            if y[j] > y[j + 1]:
                y[j], y[j + 1] = y[j + 1], y[j]
                swapped = True
        if not swapped:
            break
    total = 0.0
    for i in range(n):
        total += y[i] ** 2 * (i + 1)
    return total


@program(pairs, pairs)
def nearest_centre(points, centres):
    total = 0.0
    sums = np.zeros((2, 2))
    sizes = np.zeros(2)
    for p in points:
        distances = np.empty(2)
        for k in range(2):
            d = p - centres[k]
            distances[k] = d @ d
        k = 0 if distances[0] < distances[1] else 1
        sums[k] += p
        sizes[k] += 1
        total += distances[k]
    return total + np.sum(sums**2) / (1.0 + sizes[0])


@program(vector, following, flags)
def a_graph_walk(weights, links, marked):
    total = 0.0
    at = 0
    for _ in range(len(links)):
        total = 0.9 * total + weights[at] * (2.0 if marked[at] else 1.0)
        at = links[at]
        if at == 0:
            break
    return total * weights[at]


@program(scalar, scalar, work=None)
def escape_time(re, im):
    a, b = 0.0, 0.0
    for k in range(50):  # noqa: B007  # read after the loop
        a, b = a * a - b * b + re, 2.0 * a * b + im
        if a * a + b * b > 4.0:
            break
    return (a * a + b * b) * k


@program(always(0.2), always(2.0), vector)
def root_by_bisection(lower, upper, x):
    low, high = lower, upper
    for _ in range(6):
        middle = 0.5 * (low + high)
        if middle * middle < 1.7:
            low = middle
        else:
            high = middle
    return (low + high) * np.sum(x)


@program(vector, compiled=True)
def horner_and_simpson(c):
    def polynomial(t):
        value = 0.0
        for k in range(len(c) - 1, -1, -1):
            value = value * t + c[k]
        return value

    steps = 4
    total = polynomial(0.0) + polynomial(1.0)
    for i in range(1, steps):
        total += (4.0 if i % 2 == 1 else 2.0) * polynomial(i / steps)
    return total / (3.0 * steps)
