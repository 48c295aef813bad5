"""Two reacting fields on a torus (Gray-Scott), with rolls."""

from functools import partial

import numpy as np
from numba import njit

from .. import lax
from ..case import Case
from ..numba_limit import FLAGS, limit


def laplacian(u):
    return (
        np.roll(u, 1, axis=0)
        + np.roll(u, -1, axis=0)
        + np.roll(u, 1, axis=1)
        + np.roll(u, -1, axis=1)
        - 4.0 * u
    )


def misfit(u, v, parameters, wanted, light):
    for t in range(light.shape[0]):
        feed = parameters[2] * light[t]
        eaten = u * v * v
        du = parameters[0] * laplacian(u) - eaten + feed * (1.0 - u)
        dv = parameters[1] * laplacian(v) + eaten - (feed + parameters[3]) * v
        u = u + du
        v = v + dv
    return np.mean((v - wanted) ** 2)


def misfit_scan(u, v, parameters, wanted, light):
    def step(state, shining):
        u, v = state
        feed = parameters[2] * shining
        eaten = u * v * v
        du = parameters[0] * laplacian(u) - eaten + feed * (1.0 - u)
        dv = parameters[1] * laplacian(v) + eaten - (feed + parameters[3]) * v
        return (u + du, v + dv), 0.0

    (_, v), _ = lax.scan(step, (u, v), light)
    return np.mean((v - wanted) ** 2)


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def around(u, i, out):
    """Row ``i`` of the sums of four neighbours, less four times the middle."""
    n, m = u.shape
    up = u[i - 1 if i > 0 else n - 1]
    row = u[i]
    down = u[i + 1 if i < n - 1 else 0]
    for j in range(1, m - 1):
        out[j] = up[j] + down[j] + row[j - 1] + row[j + 1] - 4.0 * row[j]
    out[0] = up[0] + down[0] + row[m - 1] + row[1] - 4.0 * row[0]
    last = m - 1
    out[last] = up[last] + down[last] + row[last - 1] + row[0] - 4.0 * row[last]


@limit
def misfit_kernel(parameters, wanted, light, us, vs, u_bar, v_bar, parameters_bar):
    """All fields on tapes; two pairs of cotangents change places."""
    steps = us.shape[0] - 1
    n, m = wanted.shape
    spread_u = parameters[0]
    spread_v = parameters[1]
    kill = parameters[3]
    u_around = np.empty(m)
    v_around = np.empty(m)
    for t in range(steps):
        feed = parameters[2] * light[t]
        for i in range(n):
            around(us[t], i, u_around)
            around(vs[t], i, v_around)
            u = us[t, i]
            v = vs[t, i]
            u_new = us[t + 1, i]
            v_new = vs[t + 1, i]
            for j in range(m):
                eaten = u[j] * v[j] * v[j]
                u_new[j] = u[j] + spread_u * u_around[j] - eaten + feed * (1.0 - u[j])
                v_new[j] = v[j] + spread_v * v_around[j] + eaten - (feed + kill) * v[j]
    value = 0.0
    size = n * m
    for i in range(n):
        for j in range(m):
            off = vs[steps, i, j] - wanted[i, j]
            value += off * off
            v_bar[0, i, j] = 2.0 * off / size
            u_bar[0, i, j] = 0.0
    # reverse
    in_u = 0.0
    in_v = 0.0
    in_feed = 0.0
    in_kill = 0.0
    a_around = np.empty(m)
    b_around = np.empty(m)
    for back in range(steps):
        t = steps - 1 - back
        now = back % 2
        feed = parameters[2] * light[t]
        into_feed = 0.0
        for i in range(n):
            around(us[t], i, u_around)
            around(vs[t], i, v_around)
            around(u_bar[now], i, a_around)
            around(v_bar[now], i, b_around)
            u = us[t, i]
            v = vs[t, i]
            a = u_bar[now, i]
            b = v_bar[now, i]
            a_new = u_bar[1 - now, i]
            b_new = v_bar[1 - now, i]
            for j in range(m):
                in_u += a[j] * u_around[j]
                in_v += b[j] * v_around[j]
                lost = b[j] * v[j]
                into_feed += a[j] * (1.0 - u[j]) - lost
                in_kill -= lost
                more = (b[j] - a[j]) * v[j]
                a_new[j] = a[j] + spread_u * a_around[j] - feed * a[j] + more * v[j]
                b_new[j] = b[j] + spread_v * b_around[j] - (feed + kill) * b[j] + 2.0 * more * u[j]
        in_feed += light[t] * into_feed
    parameters_bar[0] = in_u
    parameters_bar[1] = in_v
    parameters_bar[2] = in_feed
    parameters_bar[3] = in_kill
    return value / size


def misfit_adjoint(u, v, parameters, wanted, light):
    steps = light.shape[0]
    us = np.empty((steps + 1, *u.shape))
    vs = np.empty((steps + 1, *u.shape))
    us[0] = u
    vs[0] = v
    u_bar, v_bar, parameters_bar = np.empty((2, *u.shape)), np.empty((2, *u.shape)), np.empty(4)
    value = misfit_kernel(parameters, wanted, light, us, vs, u_bar, v_bar, parameters_bar)
    return value, (u_bar[steps % 2], v_bar[steps % 2], parameters_bar)


def inputs(n, m, steps):
    rng = np.random.default_rng(44)
    u = 1.0 - 0.1 * rng.random((n, m))
    v = 0.1 * rng.random((n, m))
    v[n // 3 : n // 2, m // 3 : m // 2] = 0.5
    return (
        u,
        v,
        np.array([0.16, 0.08, 0.035, 0.06]),
        0.3 * rng.random((n, m)),
        rng.uniform(0.5, 1.5, steps),
    )


CASES = [
    Case(
        name="reaction on a torus 48x48, 100 steps",
        function=misfit,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 48, 48, 100),
        memory=partial(inputs, 48, 48, 1000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 5, 6, 4),
        sized=lambda extra: inputs(6 + extra, 8 + 2 * extra, 5 + extra),
        group="loop",
        texts={
            "jax": misfit_scan,
            "numba primal": None,  # Numba's np.roll takes no axis
            "autograd": None,
            "pytensor": None,
            "casadi": None,
        },
        elements=230_400,
    ),
]
