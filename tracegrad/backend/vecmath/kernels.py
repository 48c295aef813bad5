"""The kernels: straight-line descriptions of the elementary functions.

Each function takes and returns `Value`; it runs once per compiled module, to write LLVM text.
float64 and float32 share a kernel wherever `PARAMETERS` holds constants of both; the others
compute a float32 in double, which costs as much as float64 but needs no compensation.

Naming: ``n`` the reduction count, ``r`` the reduced argument, ``s`` a power of two or the log
ratio f/(2+f), ``z`` a square, ``*_lo`` the part of a value that its double can't hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tracegrad.backend.vecmath import coefficients as c
from tracegrad.backend.vecmath.emit import (
    F32,
    F64,
    Format,
    Value,
    absolute,
    bits,
    copysign,
    fma,
    from_bits,
    maximum,
    minimum,
    poly,
    where,
)

NAN = math.nan
INF = math.inf


@dataclass(frozen=True)
class Parameters:
    """Constants and tables of one format."""

    format: Format
    magic: float  # 1.5 * 2**mantissa: adding it rounds to an integer in the low bits
    log2e: float
    ln2: tuple[float, float]
    exp_low: float  # below: exp is 0; above exp_high: inf
    exp_high: float
    tiny: float  # below: f(x) == x for expm1, log1p, ... to working precision
    saturated: float  # above: tanh is 1
    subnormal_shift: int
    exp: tuple[float, ...]
    log: tuple[float, ...]
    erf: tuple[float, ...]
    erf_log: tuple[float, ...]


PARAMETERS = {
    F64: Parameters(
        F64, 1.5 * 2.0**52, c.LOG2E64[0], c.LN264, -750.0, 710.0, 2.0**-54, 22.0, 54,
        c.EXP64, c.LOG64, c.ERF64, c.ERF_LOG64,
    ),
    F32: Parameters(
        F32, 1.5 * 2.0**23, c.LOG2E32[0], c.LN232, -106.0, 89.0, 2.0**-25, 10.0, 25,
        c.EXP32, c.LOG32, c.ERF32, c.ERF_LOG32,
    ),
}  # fmt: skip


# --- exp and what is made of it -------------------------------------------------------------


def reduce_exp(x: Value) -> tuple[Value, Value, Value]:
    """n, r, r_lo with x = n ln 2 + r + r_lo and |r| <= ln(2)/2; n as an integer.

    Source: Cody & Waite, *Software Manual for the Elementary Functions*, ch. 6; the product
    n * LN2_HI is exact.
    """
    p = PARAMETERS[x.format]
    shifted = fma(x, p.log2e, p.magic)
    n = shifted - p.magic
    high = fma(n, -p.ln2[0], x)
    r = fma(n, -p.ln2[1], high)
    r_lo = fma(n, -p.ln2[1], high - r)
    return bits(shifted) - x.format.bits(p.magic), r, r_lo


def exp_tail(r: Value, r_lo: Value | float = 0.0) -> tuple[Value, Value]:
    """exp(r + r_lo) - 1 and its rounding error; r_lo at most half a unit of r's last place."""
    p = PARAMETERS[r.format]
    tail = fma(r * r, poly(r, p.exp), r_lo)
    e = r + tail
    return e, (r - e) + tail


def power_of_two(n: Value) -> Value:
    """2**n for n in the format's normal range."""
    return from_bits((n + n.format.bias) << n.format.mantissa)


def scale(y: Value, n: Value) -> Value:
    """y * 2**n in two steps, so that n may pass either end of the exponent range."""
    half = n.binary("ashr", 1)
    return y * power_of_two(half) * power_of_two(n - half)


def exp(x: Value) -> Value:
    """2**n (1 + r + r^2 q(r)); Muller, *Elementary Functions*, section 11.2."""
    p = PARAMETERS[x.format]
    n, r, r_lo = reduce_exp(maximum(minimum(x, p.exp_high), p.exp_low))
    e = r + fma(r * r, poly(r, p.exp), r_lo)
    return scale(1.0 + e, n)


def expm1(x: Value) -> Value:
    """2 (2**(n-1) e + (2**(n-1) - 1/2)) with e = exp(r) - 1; Muller, section 11.2."""
    p = PARAMETERS[x.format]
    n, r, r_lo = reduce_exp(maximum(minimum(x, p.exp_high), -2.0 * p.saturated))
    e, e_lo = exp_tail(r, r_lo)
    s = power_of_two(n - 1)
    base = s - 0.5
    y = fma(s, e, base)
    y_lo = fma(s, e, base - y) + s * e_lo
    return where(absolute(x) < p.tiny, x, (y + y_lo) * 2.0)


def fast_two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b and its rounding error, for |a| >= |b| (Dekker 1971)."""
    total = a + b
    return total, (a - total) + b


def quotient(num: Value, num_lo: Value, den: Value, den_lo: Value) -> Value:
    """(num + num_lo) / (den + den_lo) with one division and one correction.

    Source: Muller et al., *Handbook of Floating-Point Arithmetic*, section 4.7.
    """
    inverse = 1.0 / den
    q = num * inverse
    remainder = fma(-q, den, num) + fma(-q, den_lo, num_lo)
    return fma(remainder, inverse, q)


def tanh(x: Value) -> Value:
    """(E - 1) / (E + 1) with E = exp(2|x|) = s (1 + e), both sums kept with their errors."""
    p = PARAMETERS[x.format]
    n, r, r_lo = reduce_exp(minimum(absolute(x), p.saturated) * 2.0)
    e, e_lo = exp_tail(r, r_lo)
    s = power_of_two(n)
    num_base, den_base = s - 1.0, s + 1.0
    num, den = fma(s, e, num_base), fma(s, e, den_base)
    num_lo = fma(s, e_lo, fma(s, e, num_base - num))
    den_lo = fma(s, e, den_base - den)
    return copysign(quotient(num, num_lo, den, den_lo), x)


def exp_of_minus(a: Value) -> tuple[Value, Value]:
    """exp(-a) for a >= 0 as a value and its error; 0 where the value is below normal range."""
    p = PARAMETERS[a.format]
    n, r, r_lo = reduce_exp(maximum(-a, p.exp_low))
    e, e_lo = exp_tail(r, r_lo)
    one = 1.0 + e
    one_lo = ((1.0 - one) + e) + e_lo
    return scale(one, n), scale(one_lo, n)


def sigmoid(x: Value) -> Value:
    """1 / (1 + w) for x >= 0 and w / (1 + w) below, with w = exp(-|x|) <= 1."""
    w, w_lo = exp_of_minus(absolute(x))
    den = 1.0 + w
    den_lo = ((1.0 - den) + w) + w_lo
    negative = x < 0.0
    return quotient(where(negative, w, 1.0), where(negative, w_lo, 0.0), den, den_lo)


def softplus(x: Value) -> Value:
    """max(x, 0) + log(1 + exp(-|x|))."""
    w, w_lo = exp_of_minus(absolute(x))
    u = 1.0 + w
    u_lo = (w - (u - 1.0)) + w_lo
    y = log_of_sum(u, u_lo, maximum(x, 0.0))
    return where(x < -PARAMETERS[x.format].saturated * 2.0, w, y)


# --- log and what is made of it -------------------------------------------------------------


def split_exponent(x: Value) -> tuple[Value, Value, Value]:
    """k, m, biased k with x = 2**k m and m in [sqrt(1/2), sqrt(2)); x positive and normal."""
    f = x.format
    offset = (f.bias << f.mantissa) - f.bits(math.sqrt(0.5))
    biased = (bits(x) + offset) >> f.mantissa
    m = from_bits(bits(x) - ((biased - f.bias) << f.mantissa))
    unit = 2.0**f.mantissa
    k = from_bits(biased | f.bits(unit)) - (unit + f.bias)
    return k, m, biased


def normalise(x: Value) -> tuple[Value, Value]:
    """k, m as in `split_exponent`, for positive x down to the smallest subnormal."""
    p = PARAMETERS[x.format]
    subnormal = x < 2.0 ** (1 - x.format.bias)
    k, m, _ = split_exponent(where(subnormal, x * 2.0**p.subnormal_shift, x))
    return where(subnormal, k - float(p.subnormal_shift), k), m


def log_parts(m: Value) -> tuple[Value, Value, Value]:
    """f, f^2/2 and t with log(m) = f - (f^2/2 - t).

    Source: the form log(1+f) = 2s + s^3 R(s^2), s = f/(2+f), of the Sun fdlibm method.
    """
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = 0.5 * f * f
    return f, half_square, s * fma(z, poly(z, PARAMETERS[m.format].log), half_square)


def log_limits(x: Value, y: Value, pole: float = 0.0) -> Value:
    """y for pole < x < inf; -inf at the pole, NaN below, and x itself for inf and NaN."""
    outside = where(x.equals(pole), -INF, where(x < pole, NAN, x))
    return where(x > pole, where(x < INF, y, outside), outside)


def log(x: Value) -> Value:
    """k ln 2 + log(m), summed from the small end."""
    p = PARAMETERS[x.format]
    k, m = normalise(x)
    f, half_square, t = log_parts(m)
    y = fma(k, p.ln2[0], f - (half_square - fma(k, p.ln2[1], t)))
    return log_limits(x, y)


def log_of_sum(u: Value, u_lo: Value, base: Value | None = None) -> Value:
    """log(u + u_lo), plus ``base`` if given; u_lo at most half a unit in the last place of u.

    The small part enters as u_lo / u, with 1 / (1 + f) as a short series: the division would
    cost more than the rest.
    """
    p = PARAMETERS[u.format]
    k, m, biased = split_exponent(u)
    f, half_square, t = log_parts(m)
    # Twice 2**-k, because 2**-k itself is below normal range for the largest u.
    inverse_power = from_bits((2 * u.format.bias + 1 - biased) << u.format.mantissa)
    small = u_lo * inverse_power * fma(f, fma(f, fma(f, -0.5, 0.5), -0.5), 0.5)
    rest = half_square - (fma(k, p.ln2[1], t) + small)
    if base is None:
        return fma(k, p.ln2[0], f - rest)
    return base + fma(k, p.ln2[0], f - rest)


def log1p(x: Value) -> Value:
    """log(u) + (1 + x - u) / u with u = 1 + x rounded; the error of u by the two-sum."""
    p = PARAMETERS[x.format]
    u = 1.0 + x
    back = u - 1.0
    u_lo = (1.0 - (u - back)) + (x - back)
    y = log_limits(x, log_of_sum(u, u_lo), pole=-1.0)
    return where(absolute(x) < p.tiny, x, y)


# --- erf and erfc ---------------------------------------------------------------------------


def erf(x: Value) -> Value:
    """x p(x^2) up to 1; beyond, 1 - exp(-G(x)) with G a minimax polynomial of -log(erfc)."""
    p = PARAMETERS[x.format]
    a = absolute(x)
    near = x * poly(x * x, p.erf)
    n, r, r_lo = reduce_exp(-poly(minimum(a, 6.0), p.erf_log))
    e = r + fma(r * r, poly(r, p.exp), r_lo)
    far = 1.0 - (1.0 + e) * power_of_two(n)
    return where(a < 1.0, near, copysign(far, x))


def erfc(x: Value) -> Value:
    """exp(-x^2) P(t) / (1 + 2x), t = (x - 4)/(x + 4); 1 - erf up to 1/2; 2 - erfc(-x) below 0.

    Source: Shepherd & Laframboise, Math. Comp. 36 (1981) 249; own minimax coefficients.
    """
    a = minimum(absolute(x), 28.0)
    square = a * a
    square_lo = fma(a, a, -square)
    n, r, r_lo = reduce_exp(-square)
    e, _ = exp_tail(r + (r_lo - square_lo))
    one = 1.0 + e
    sum_, twice = a + 4.0, fma(a, 2.0, 1.0)
    inverse = 1.0 / (sum_ * twice)
    p = poly((a - 4.0) * (twice * inverse), c.ERFCX64)
    inverse_twice = sum_ * inverse
    q = p * inverse_twice
    remainder = fma(-q, twice, p) - q * fma(a, 2.0, 1.0 - twice)
    far = scale(one * fma(remainder, inverse_twice, q), n)
    y = where(a < 0.5, 1.0 - a * poly(square, c.ERF64), far)
    return where(x < 0.0, 2.0 - y, y)


# --- logarithms to other bases, and powers --------------------------------------------------


def log_scaled(x: Value, octave: tuple[float, float], factor: tuple[float, float]) -> Value:
    """k * octave + factor * log(m), constants and log(m) as unevaluated sums of two."""
    k, m = normalise(x)
    f, half_square, t = log_parts(m)
    high = f - half_square
    low = ((f - high) - half_square) + t
    y = high * factor[0]
    y_lo = fma(low, factor[0], fma(high, factor[1], fma(high, factor[0], -y)))
    total, error = fast_two_sum(k * octave[0], y)
    return log_limits(x, total + (error + fma(k, octave[1], y_lo)))


def log2(x: Value) -> Value:
    """k + log(m) / ln 2."""
    return log_scaled(x, (1.0, 0.0), c.LOG2E64)


def log10(x: Value) -> Value:
    """k log10(2) + log(m) / ln 10."""
    return log_scaled(x, c.LOG10_264, c.LOG10E64)


def log_precise(a: Value) -> tuple[Value, Value]:
    """log(a) to about 2**-64 as a sum of two, for finite a > 0.

    log(m) = 2s + s^3 (2/3 + tail(s^2)): s, s^2 and the cube term are sums of two, the tail is
    small enough for one double. Source: Muller et al., *Handbook of Floating-Point
    Arithmetic*, ch. 5, for the products with fma.
    """
    k, m = normalise(a)
    f = m - 1.0
    den = f + 2.0
    inverse = 1.0 / den
    s = f * inverse
    s_lo = (fma(-s, den, f) - s * (f - (den - 2.0))) * inverse
    z = s * s
    z_lo = fma(s + s, s_lo, fma(s, s, -z))
    tail = z * poly(z, c.LOG_TAIL64)
    factor = c.TWO_THIRDS64[0] + tail
    factor_lo = ((c.TWO_THIRDS64[0] - factor) + tail) + c.TWO_THIRDS64[1]
    cube = s * z
    cube_lo = fma(s, z, -cube) + fma(s, z_lo, s_lo * z)
    term = cube * factor
    term_lo = fma(cube, factor, -term) + fma(cube, factor_lo, cube_lo * factor)
    y, y_lo = fast_two_sum(s + s, term)
    y_lo = y_lo + (term_lo + (s_lo + s_lo))
    total, total_lo = fast_two_sum(k * c.LN264[0], y)
    return fast_two_sum(total, total_lo + fma(k, c.LN264[1], y_lo))


def whole_and_odd(y: Value) -> tuple[Value, Value]:
    """Whether y is an integer, and an odd one; infinities are even integers."""
    half = y * 0.5
    whole = y.intrinsic("rint").equals(y)
    return whole, whole & half.intrinsic("rint").differs(half)


def power_base(x: Value, whole: Value) -> Value:
    """|x| where x**y is defined; a negative x otherwise, whose logarithm is NaN."""
    return where(whole | x.equals(-INF), absolute(x), x)


def power_exponent(y: Value, log_x: Value) -> Value:
    """y log|x|, or 0 where x**y is 1 whatever the other operand: y = 0, or |x| = 1."""
    return where(y.equals(0.0) | log_x.equals(0.0), 0.0, y * log_x)


def pow(x: Value, y: Value) -> Value:
    """exp(y log|x|) with the logarithm and the product as sums of two.

    Special cases: C11, annex F.9.4.4.
    """
    whole, odd = whole_and_odd(y)
    a = power_base(x, whole)
    high, low = log_precise(a)
    high = log_limits(a, high)
    product = power_exponent(y, high)
    product_lo = fma(y, high, -product) + y * low
    small = where(absolute(y * high) < 1000.0, product_lo, 0.0)
    n, r, r_lo = reduce_exp(maximum(minimum(product, 710.0), -750.0))
    e, _ = exp_tail(*fast_two_sum(r, r_lo + small))
    magnitude = scale(1.0 + e, n)
    return where(odd, copysign(magnitude, x), magnitude)


def pow_of_float32(x: Value, y: Value) -> Value:
    """exp(y log|x|): a double has bits enough for a float32."""
    whole, odd = whole_and_odd(y)
    magnitude = exp(power_exponent(y, log(power_base(x, whole))))
    return where(odd, copysign(magnitude, x), magnitude)


# --- sinh and cosh -------------------------------------------------------


def hyperbolic(x: Value, sign: float) -> Value:
    """(exp(a) + sign exp(-a)) / 2 for a = |x|, from sinh(r) and cosh(r) of the reduced a.

    With p = 2**n / 2 and q = 2**-n / 2: sinh(a) = (p - q) cosh r + (p + q) sinh r, and cosh(a)
    with p - q and p + q exchanged. Half of p and q are used, so that p does not overflow early.
    """
    n, r, r_lo = reduce_exp(minimum(absolute(x), 710.6))
    z = r * r
    p = power_of_two(n - 2)
    q = power_of_two(-2 - where(n.compare("sgt", 200), 200, n))
    even, odd = (p - q, p + q) if sign < 0 else (p + q, p - q)
    cosh_less_1 = z * fma(z, poly(z, c.COSH64), 0.5)
    sinh_less_r = fma(r * z, poly(z, c.SINH64), r_lo)
    return (even + fma(odd, r, fma(even, cosh_less_1, odd * sinh_less_r))) * 2.0


def sinh(x: Value) -> Value:
    """(exp(x) - exp(-x)) / 2 without cancellation."""
    return where(absolute(x) < 2.0**-27, x, copysign(hyperbolic(x, -1.0), x))


def cosh(x: Value) -> Value:
    """(exp(x) + exp(-x)) / 2."""
    return hyperbolic(x, 1.0)


# The kernels written for both formats; the others run in double for float32.
BOTH_FORMATS = {
    "exp", "expm1", "tanh", "sigmoid", "softplus", "log", "log1p", "erf",
}  # fmt: skip
# The kernels that float32 replaces by a shorter one, also run in double.
FLOAT32 = {"pow": "pow_of_float32"}
