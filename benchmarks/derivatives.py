"""``python -m benchmarks.derivatives``: Jacobians, sparse Hessians and products with Hessians.

Each is printed beside what it is compared with, and the ratio of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

import tracegrad as tg

from .numba_limit import FLAGS, cos, limit, sin
from .workloads import bundle
from .workloads.logistic import logistic_loss
from .workloads.rosenbrock import rosenbrock

# --- bundle adjustment: 2 × 15 derivatives of each observation ---------------------------------


def residual(camera, point, weight, seen):
    u, v = bundle.project(camera, point)
    return np.array([weight * (u - seen[0]), weight * (v - seen[1])])


def observations(cameras, points, weights, camera_of, point_of, seen):
    """The derivatives of each observation in its camera (11), its point (3) and its weight."""
    each = tg.vmap(tg.jacobian(residual, argnums=(0, 1, 2)))
    return each(cameras[:, :11][camera_of], points[point_of], weights, seen)


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def observation_row(forward, focal, slope, u_seed, v_seed, u_or_v, w):
    """One row of the Jacobian; ``u_or_v`` is what the scale is multiplied with in it."""
    u, v, square, bent, turned, crossed = forward
    scale_bar = w * u_or_v
    square_bar = 2.0 * scale_bar * slope
    scale = w * focal * bent
    u_bar = u_seed * scale + square_bar * u
    v_bar = v_seed * scale + square_bar * v
    a0_bar, b0_bar, c0_bar, x0_bar, y0_bar, z0_bar = bundle.observation_reverse(
        u, v, turned, crossed, u_bar, v_bar
    )
    bent_bar = scale_bar * focal
    return (
        a0_bar,
        b0_bar,
        c0_bar,
        x0_bar,
        y0_bar,
        z0_bar,
        scale_bar * bent,
        bent_bar * square,
        bent_bar * square * square,
    )


LANES = bundle.LANES


@limit
def block_jacobian(p, rows):
    """LANES observations; row r of ``p`` and ``rows`` starts at r · LANES."""
    for i in range(LANES):
        focal = p[6 * LANES + i]
        w = p[14 * LANES + i]
        k1 = p[9 * LANES + i]
        k2 = p[10 * LANES + i]
        forward = bundle.observation_forward(
            p[i],
            p[1 * LANES + i],
            p[2 * LANES + i],
            p[3 * LANES + i],
            p[4 * LANES + i],
            p[5 * LANES + i],
            k1,
            k2,
            p[11 * LANES + i],
            p[12 * LANES + i],
            p[13 * LANES + i],
        )
        u, v, square, bent = forward[:4]
        scale = focal * bent
        slope = focal * (k1 + 2.0 * k2 * square)
        (
            rows[i],
            rows[1 * LANES + i],
            rows[2 * LANES + i],
            rows[3 * LANES + i],
            rows[4 * LANES + i],
            rows[5 * LANES + i],
            rows[6 * LANES + i],
            rows[7 * LANES + i],
            rows[8 * LANES + i],
        ) = observation_row(forward, focal, slope, 1.0, 0.0, u, w)
        (
            rows[9 * LANES + i],
            rows[10 * LANES + i],
            rows[11 * LANES + i],
            rows[12 * LANES + i],
            rows[13 * LANES + i],
            rows[14 * LANES + i],
            rows[15 * LANES + i],
            rows[16 * LANES + i],
            rows[17 * LANES + i],
        ) = observation_row(forward, focal, slope, 0.0, 1.0, v, w)
        rows[18 * LANES + i] = p[7 * LANES + i] + scale * u - p[15 * LANES + i]
        rows[19 * LANES + i] = p[8 * LANES + i] + scale * v - p[16 * LANES + i]


@limit
def observations_by_hand(cameras, points, weights, camera_of, point_of, seen):
    """Blocks of observations in lanes, then row by row into the results."""
    count = seen.shape[0]
    in_camera = np.empty((count, 2, 11))
    in_point = np.empty((count, 2, 3))
    in_weight = np.empty((count, 2))
    p = np.empty(17 * LANES)
    rows = np.empty(20 * LANES)
    for block in range((count + LANES - 1) // LANES):
        first = block * LANES
        size = min(LANES, count - first)
        for i in range(LANES):
            k = first + min(i, size - 1)
            m = camera_of[k]
            n = point_of[k]
            if not (0 <= m < cameras.shape[0] and 0 <= n < points.shape[0]):
                raise IndexError
            for j in range(11):
                p[j * LANES + i] = cameras[m, j]
            for j in range(3):
                p[(11 + j) * LANES + i] = points[n, j]
            p[14 * LANES + i] = weights[k]
            p[15 * LANES + i] = seen[k, 0]
            p[16 * LANES + i] = seen[k, 1]
        block_jacobian(p, rows)
        for i in range(size):
            k = first + i
            for e in range(2):
                start = 9 * e * LANES + i
                for j in range(3):
                    in_camera[k, e, j] = rows[start + j * LANES]
                    in_camera[k, e, 3 + j] = -rows[start + (3 + j) * LANES]
                    in_point[k, e, j] = rows[start + (3 + j) * LANES]
                in_camera[k, e, 6] = rows[start + 6 * LANES]
                in_camera[k, e, 7 + e] = weights[k]
                in_camera[k, e, 8 - e] = 0.0
                in_camera[k, e, 9] = rows[start + 7 * LANES]
                in_camera[k, e, 10] = rows[start + 8 * LANES]
                in_weight[k, e] = rows[(18 + e) * LANES + i]
    return in_camera, in_point, in_weight


def residuals(cameras, points, weights, camera_of, point_of, seen):
    """All residuals, in one loop: the whole problem."""
    found = np.zeros(2 * seen.shape[0])
    for k in range(seen.shape[0]):
        u, v = bundle.project(cameras[camera_of[k]], points[point_of[k]])
        found[2 * k] = weights[k] * (u - seen[k, 0])
        found[2 * k + 1] = weights[k] * (v - seen[k, 1])
    return found


# --- a scan of twenty inputs -------------------------------------------------------------------


def scan(w):
    s = 0.1
    sums = np.zeros(3)
    for t in range(1000):
        a = 0.0
        for j in range(w.shape[0]):
            a += w[j] * np.sin(s + j)
        s = np.tanh(a)
        sums[t % 3] += s
    return sums


@limit
def scan_by_hand(w):
    """The tangents in all directions beside the primal."""
    n = w.shape[0]
    s = 0.1
    s_dot = np.zeros(n)
    jacobian = np.zeros((3, n))
    for t in range(1000):
        a = 0.0
        slope = 0.0
        for j in range(n):
            a += w[j] * sin(s + j)
            slope += w[j] * cos(s + j)
        tilt = 1.0 - np.tanh(a) ** 2
        for j in range(n):
            s_dot[j] = tilt * (slope * s_dot[j] + sin(s + j))
            jacobian[t % 3, j] += s_dot[j]
        s = np.tanh(a)
    return jacobian


# --- functions of a thousand parameters --------------------------------------------------------


def rosenbrock_loop(x):
    total = 0.0
    for i in range(len(x) - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def network(parameters, x, y):
    w, b, v = parameters
    return np.mean((np.tanh(x @ w + b) @ v - y) ** 2)


def products() -> list[tuple[str, Callable[..., Any], Any, tuple[Any, ...]]]:
    """(name, function, its thousand parameters, further arguments)."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, 1000)
    parameters = (0.2 * rng.normal(size=(20, 45)), np.zeros(45), 0.2 * rng.normal(size=45))
    data, wanted = rng.normal(size=(64, 20)), rng.normal(size=64)
    rows, labels = rng.normal(size=(500, 1000)), np.sign(rng.normal(size=500))
    return [
        ("Rosenbrock", rosenbrock, x, ()),
        ("Rosenbrock, a loop", rosenbrock_loop, x, ()),
        ("a network of 990 weights", network, parameters, (data, wanted)),
        ("logistic regression", logistic_loss, 0.03 * x, (rows, labels)),
    ]


# --- measuring ---------------------------------------------------------------------------------


def seconds(*calls: Callable[[], Any], rounds: int = 60, sample: float = 0.002) -> list[float]:
    """The least time of each, taken in turns."""
    best = [float("inf")] * len(calls)
    repeats = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, int(sample / max(1e-7, time.perf_counter() - start))))
    for _ in range(rounds):
        for k, (call, count) in enumerate(zip(calls, repeats, strict=True)):
            start = time.perf_counter()
            for _ in range(count):
                call()
            best[k] = min(best[k], (time.perf_counter() - start) / count)
    return best


def report(name: str, ours: float, other: float, what: str) -> None:
    print(f"{name:34} {1e6 * ours:10.2f} µs  {ours / other:6.2f} × {what}", flush=True)


def bundle_jacobian() -> None:
    arguments = bundle.inputs(10_000, 20, 2000)
    compiled = tg.jit(observations)
    for ours, hand in zip(compiled(*arguments), observations_by_hand(*arguments), strict=True):
        np.testing.assert_allclose(ours, hand, rtol=1e-7, atol=1e-9)
    whole = tg.jacobian(residuals, argnums=(0, 1, 2), sparse=True)
    ours, sparse, hand = seconds(
        lambda: compiled(*arguments),
        lambda: whole(*arguments),
        lambda: observations_by_hand(*arguments),
    )
    report("bundle adjustment, 10000 × (2×15)", ours, hand, "by hand")
    report("the same as one sparse Jacobian", sparse, hand, "by hand")


def scan_jacobian() -> None:
    w = 0.3 * np.random.default_rng(0).normal(size=20)
    compiled, primal = tg.jacfwd(scan), tg.jit(scan)
    np.testing.assert_allclose(compiled(w), scan_by_hand(w), rtol=1e-9)
    ours, hand, once = seconds(lambda: compiled(w), lambda: scan_by_hand(w), lambda: primal(w))
    report("a scan of 20 inputs", ours, hand, "by hand")
    report("", ours, once, "the function")


def sparse_hessians() -> None:
    hessian = tg.hessian(rosenbrock, sparse=True)
    for n in (1000, 10_000, 100_000):
        x = np.random.default_rng(0).uniform(-2.0, 2.0, n)
        start = time.perf_counter()
        hessian(x)
        first = time.perf_counter() - start
        (ours,) = seconds(lambda x=x: hessian(x))
        print(
            f"sparse Hessian, Rosenbrock n={n:<7} {1e6 * ours:9.2f} µs  "
            f"{1e9 * ours / n:6.2f} ns per parameter; the first call {first:.2f} s",
            flush=True,
        )


def hessian_products() -> None:
    for name, function, parameters, more in products():
        primal = tg.jit(function)

        def of_parameters(p, function=function, more=more):
            return function(p, *more)

        ones = _ones(parameters)
        ours, other = seconds(
            lambda p=parameters, v=ones, f=of_parameters: tg.hvp(f, (p,), (v,)),
            lambda p=parameters, f=primal, more=more: f(p, *more),
        )
        report(f"hvp, {name}", ours, other, "the function")


def _ones(parameters: Any) -> Any:
    if isinstance(parameters, tuple):
        return tuple(map(_ones, parameters))
    return np.ones_like(parameters)


if __name__ == "__main__":
    bundle_jacobian()
    scan_jacobian()
    sparse_hessians()
    hessian_products()
