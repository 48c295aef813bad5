"""Scalar chains: what a call costs, and code with no loop in it."""

import math

import numpy as np

from ..case import Case
from ..numba_limit import limit


def log_sin_cube(x):
    return np.log(np.sin(x**3) ** 2)


def chain30(x):
    a = np.sin(x)
    b = np.exp(-0.5 * a)
    c = b * a + x
    d = np.tanh(c)
    e = d / (1.0 + b * b)
    f = np.log(e * e + 1.0)
    g = np.sqrt(f + 2.0)
    h = np.cos(g * x)
    i = h * d - 0.25 * e
    j = np.exp(i * 0.1)
    k = j**2 + a * f
    m = np.log1p(k * k)
    p = np.sin(m) * np.cos(k)
    return p + j


@limit
def log_sin_cube_adjoint(x):
    c = x * x * x
    s = math.sin(c)
    q = s * s
    c_bar = 2.0 * s / q * math.cos(c)
    return math.log(q), c_bar * 3.0 * x * x


@limit
def chain30_adjoint(x):
    a = math.sin(x)
    b = math.exp(-0.5 * a)
    c = b * a + x
    d = math.tanh(c)
    r = 1.0 / (1.0 + b * b)
    e = d * r
    u = e * e + 1.0
    f = math.log(u)
    g = math.sqrt(f + 2.0)
    v = g * x
    h = math.cos(v)
    i = h * d - 0.25 * e
    j = math.exp(i * 0.1)
    k = j * j + a * f
    w = k * k
    m = math.log1p(w)
    sin_m = math.sin(m)
    cos_k = math.cos(k)
    # reverse
    m_bar = math.cos(m) * cos_k
    k_bar = m_bar * 2.0 * k / (1.0 + w) - sin_m * math.sin(k)
    j_bar = 1.0 + k_bar * 2.0 * j
    i_bar = j_bar * 0.1 * j
    h_bar = i_bar * d
    v_bar = -h_bar * math.sin(v)
    g_bar = v_bar * x
    f_bar = k_bar * a + g_bar * 0.5 / g
    e_bar = f_bar * 2.0 * e / u - 0.25 * i_bar
    d_bar = i_bar * h + e_bar * r
    c_bar = d_bar * (1.0 - d * d)
    b_bar = c_bar * a - e_bar * e * r * 2.0 * b
    a_bar = k_bar * f + c_bar * b - 0.5 * b_bar * b
    return sin_m * cos_k + j, v_bar * g + c_bar + a_bar * math.cos(x)


CASES = [
    Case(
        name="scalar log(sin(x**3)**2)",
        function=log_sin_cube,
        argnums=0,
        inputs=lambda: (0.7,),
        limit=log_sin_cube_adjoint,
        tiny=lambda: (0.7,),
    ),
    Case(
        name="scalar 30 operations",
        function=chain30,
        argnums=0,
        inputs=lambda: (0.7,),
        limit=chain30_adjoint,
        tiny=lambda: (0.7,),
    ),
]
