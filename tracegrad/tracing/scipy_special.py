"""Functions of scipy.special that are SciPy's own in compiled loops, and what is made of them.

`tracegrad.ops.bessel`, `tracegrad.ops.integrals`, `tracegrad.ops.incomplete` and
`tracegrad.ops.hypergeometric` declare them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import implements, implements_by_name, refuse
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import BY_NAME, OPS_BY_NAME
from tracegrad.tracing.values import cast, common_dtype, elementwise, operand

__all__ = ["floats", "special_op"]

_ONE_OP = (
    *("j0", "j1", "y0", "y1", "i0", "i1", "i0e", "i1e", "k0", "k1", "k0e", "k1e"),
    *("jv", "yv", "iv", "kv", "ive", "kve", "struve", "modstruve"),
    *("ber", "bei", "ker", "kei", "berp", "beip", "kerp", "keip"),
    *("erfinv", "erfcinv", "ndtri", "ndtri_exp", "erfcx", "erfi", "dawsn", "owens_t"),
    *("expi", "exp1", "spence", "zetac", "wrightomega"),
    *("ellipk", "ellipkm1", "ellipe", "ellipkinc", "ellipeinc"),
    *("gammainc", "gammaincc", "gammaincinv", "gammainccinv"),
    *("betainc", "betaincc", "betaincinv", "betainccinv"),
    *(
        "stdtr",
        "stdtrit",
        "beta",
        "betaln",
        "poch",
        "binom",
        "hyp0f1",
        "hyp1f1",
        "hyperu",
        "hyp2f1",
    ),
)
OPS_BY_NAME.update({name: name for name in _ONE_OP})
# SciPy's other name for it.
OPS_BY_NAME["jn"] = "jv"

_SEVERAL = {
    "airy": ("airy_ai", "airy_aip", "airy_bi", "airy_bip"),
    "sici": ("sici_si", "sici_ci"),
    "shichi": ("shichi_shi", "shichi_chi"),
    "fresnel": ("fresnel_s", "fresnel_c"),
}


def floats(*given: Any) -> list[Tracer]:
    """Operands in the one float dtype that they promote to."""
    values = [operand(x) for x in given]
    dtype = common_dtype(values)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    return [cast(x, dtype) for x in values]


def special_op(name: str, *given: Any) -> Any:
    """The op of a special function, of operands that promote to floats."""
    return elementwise(name, floats(*given))


def _several(*names: str) -> Any:
    return lambda x: tuple(special_op(name, x) for name in names)


def _with_order(name: str) -> Any:
    """A function whose first operand SciPy takes as an integer too."""
    return lambda n, x: special_op(name, n, x)


def _within(inside: Any, found: Any) -> Any:
    """NaN outside of a domain."""
    return np.where(inside, found, np.nan)


def _poisson(name: str, k: Tracer, m: Tracer) -> Any:
    return _within((k >= 0.0) & (m >= 0.0), special_op(name, np.floor(k) + 1.0, m))


def _fdtr(n: Tracer, d: Tracer, x: Tracer) -> Any:
    return _variance_ratio(n, d, x, "betainc")


def _fdtrc(n: Tracer, d: Tracer, x: Tracer) -> Any:
    return _variance_ratio(n, d, x, "betaincc")


def _variance_ratio(n: Tracer, d: Tracer, x: Tracer, name: str) -> Any:
    vast = x == np.inf
    finite = np.isfinite(n) & np.isfinite(d)
    inside = (n > 0.0) & (d > 0.0) & (x >= 0.0) & (finite | vast)
    ratio = n * np.where(vast, 1.0, x)
    share = np.where(vast, 1.0, ratio / (d + ratio))
    return _within(inside, special_op(name, n / 2.0, d / 2.0, share))


BY_NAME.update({name: _several(*ops) for name, ops in _SEVERAL.items()})
BY_NAME.update(
    {
        "expn": _with_order("expn"),
        "kn": _with_order("kv"),
        "yn": _with_order("yv"),
        # Distribution functions in the words of Cephes.
        "chdtr": lambda v, x: special_op("gammainc", v / 2.0, x / 2.0),
        "chdtrc": lambda v, x: special_op("gammaincc", v / 2.0, x / 2.0),
        "chdtri": lambda v, p: _within(
            (p >= 0.0) & (p <= 1.0), 2.0 * special_op("gammainccinv", v / 2.0, p)
        ),
        "gdtr": lambda a, b, x: _within(x >= 0.0, special_op("gammainc", b, a * x)),
        "gdtrc": lambda a, b, x: _within(x >= 0.0, special_op("gammaincc", b, a * x)),
        "pdtr": lambda k, m: _poisson("gammaincc", k, m),
        "pdtrc": lambda k, m: _poisson("gammainc", k, m),
        "fdtr": _fdtr,
        "fdtrc": _fdtrc,
    }
)


@implements_by_name("scipy.special.comb")
def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    if exact:
        raise refuse("scipy.special.comb", "with exact=True", "leave it out: floats are given")
    n, k = floats(N, k)
    if repetition:
        none = (k == 0) & (n >= 0)
        return np.where(none, 1.0, special_op("binom", np.where(none, 1.0, n + k - 1.0), k))
    inside = (k <= n) & (n >= 0) & (k >= 0)
    found = special_op("binom", np.where(inside, n, 1.0), np.where(inside, k, 0.0))
    return np.where(inside, found, 0.0)


@implements_by_name("scipy.special.factorial")
def factorial(n: Any, exact: bool = False, extend: str = "zero") -> Any:
    if exact or extend != "zero":
        raise refuse("scipy.special.factorial", "with exact= or extend=")
    (x,) = floats(n)
    found = elementwise("gamma", [operand(np.where(x >= 0, x, 0.0) + 1.0)])
    return np.where(x < 0, 0.0, np.where(np.isnan(x), x, found))


@implements(np.i0)
def i0(x: Any) -> Any:
    return special_op("i0", x)


@implements_by_name("scipy.special.zeta")
def zeta(x: Any, q: Any = None, out: None = None) -> Any:
    if q is not None:
        return special_op("hurwitz", x, q)
    return 1.0 + special_op("zetac", x)
