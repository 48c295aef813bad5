"""A portfolio of European calls: elementwise transcendentals, two array and one scalar gradient."""

from functools import partial

import numpy as np
from scipy.special import erf

from .. import numba_limit as maths
from ..case import Case
from ..numba_limit import limit


def normal_cdf(x):
    return 0.5 * (1.0 + erf(x / np.sqrt(2.0)))


def portfolio(spot, vol, rate, strike, expiry):
    spread = vol * np.sqrt(expiry)
    d1 = (np.log(spot / strike) + (rate + 0.5 * vol**2) * expiry) / spread
    d2 = d1 - spread
    discount = np.exp(-rate * expiry)
    return np.sum(spot * normal_cdf(d1) - strike * discount * normal_cdf(d2))


exp, log, erf_ = maths.exp, maths.log, maths.erf
SQRT_HALF = 0.7071067811865476
DENSITY = 0.3989422804014327  # 1 / sqrt(2 pi)


@limit
def portfolio_kernel(spot, vol, rate, strike, expiry, spot_bar, vol_bar):
    n = spot.shape[0]
    rate_bar = 0.0
    value = 0.0
    for i in range(n):
        s = spot[i]
        v = vol[i]
        k = strike[i]
        t = expiry[i]
        root = np.sqrt(t)
        spread = v * root
        inverse = 1.0 / spread
        d1 = (log(s / k) + (rate + 0.5 * v * v) * t) * inverse
        d2 = d1 - spread
        discounted = k * exp(-rate * t)
        n1 = 0.5 + 0.5 * erf_(d1 * SQRT_HALF)
        n2 = 0.5 + 0.5 * erf_(d2 * SQRT_HALF)
        value += s * n1 - discounted * n2
        # reverse
        d2_bar = -discounted * DENSITY * exp(-0.5 * d2 * d2)
        d1_bar = s * DENSITY * exp(-0.5 * d1 * d1) + d2_bar
        top_bar = d1_bar * inverse
        spread_bar = -d2_bar - top_bar * d1
        spot_bar[i] = n1 + top_bar / s
        vol_bar[i] = top_bar * t * v + spread_bar * root
        rate_bar += top_bar * t + discounted * n2 * t
    return value, rate_bar


def portfolio_adjoint(spot, vol, rate, strike, expiry):
    spot_bar = np.empty(spot.shape)
    vol_bar = np.empty(vol.shape)
    value, rate_bar = portfolio_kernel(spot, vol, rate, strike, expiry, spot_bar, vol_bar)
    return value, (spot_bar, vol_bar, rate_bar)


def inputs(n):
    rng = np.random.default_rng(3)
    spot = rng.uniform(50.0, 150.0, n)
    strike = rng.uniform(50.0, 150.0, n)
    return spot, rng.uniform(0.1, 0.5, n), 0.03, strike, rng.uniform(0.1, 2.0, n)


CASES = [
    Case(
        name=f"black-scholes n={label}",
        function=portfolio,
        argnums=(0, 1, 2),
        inputs=partial(inputs, n),
        limit=portfolio_adjoint,
        tiny=partial(inputs, 13),
        sized=(lambda extra: inputs(9 + extra)) if label == "1e3" else None,
    )
    for label, n in (("1e3", 1000), ("1e6", 1_000_000))
]
