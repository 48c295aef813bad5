"""Kernels of the circular functions and their inverses; conventions as in `kernels`."""

from __future__ import annotations

import math

from tracegrad.backend.vecmath import coefficients as c
from tracegrad.backend.vecmath.emit import (
    F64,
    Value,
    absolute,
    bits,
    copysign,
    fma,
    from_bits,
    poly,
    where,
)
from tracegrad.backend.vecmath.kernels import PARAMETERS, fast_two_sum, quotient


def reduce_quarter_turns(x: Value) -> tuple[Value, Value, Value]:
    """n, r, r_lo with x = n pi/2 + r + r_lo and |r| <= pi/4, for |x| < 2**30.

    Source: Cody & Waite, ch. 8, with fma: x - n HALF_PI[0] is exact, and three parts of pi/2
    leave r + r_lo correct to 2**-100, where no double comes nearer to n pi/2 than 2**-62.
    """
    magic = PARAMETERS[F64].magic
    shifted = fma(x, c.TWO_OVER_PI64, magic)
    n = shifted - magic
    high = fma(n, -c.HALF_PI64[0], x)
    middle = n * c.HALF_PI64[1]
    r = high - middle
    middle_lo = fma(n, c.HALF_PI64[1], -middle)
    r_lo = ((high - r) - middle) - fma(n, c.HALF_PI64[2], middle_lo)
    return bits(shifted), r, r_lo


def sin_parts(r: Value, r_lo: Value) -> tuple[Value, Value]:
    """sin(r + r_lo) as a leading part and a small one."""
    z = r * r
    return r, fma(r * z, poly(z, c.SIN64), r_lo)


def cos_parts(r: Value, r_lo: Value) -> tuple[Value, Value]:
    """cos(r + r_lo) as a leading part and a small one."""
    z = r * r
    w = fma(z, -0.5, 1.0)
    return w, fma(z, -0.5, 1.0 - w) + fma(z * z, poly(z, c.COS64), -(r * r_lo))


def circular(x: Value, name: str, shift: int) -> Value:
    """sin(x + shift pi/2): sine or cosine of r by the parity of n, the sign by its next bit."""
    n, r, r_lo = reduce_quarter_turns(x)
    s, s_lo = sin_parts(r, r_lo)
    w, w_lo = cos_parts(r, r_lo)
    turns = n + shift
    y = where((turns & 1).differs(0), w + w_lo, s + s_lo)
    y = from_bits(bits(y) ^ ((turns & 2) << 62))
    return y.text.call_large(name, x, y)


def sin(x: Value) -> Value:
    """Minimax polynomials after a three-part reduction; libm beyond 2**30."""
    return where(absolute(x) < 2.0**-27, x, circular(x, "sin", 0))


def cos(x: Value) -> Value:
    """Minimax polynomials after a three-part reduction; libm beyond 2**30."""
    return circular(x, "cos", 1)


def tan(x: Value) -> Value:
    """sin/cos, or -cos/sin in odd quarters, both kept with their rounding errors."""
    n, r, r_lo = reduce_quarter_turns(x)
    s, s_lo = fast_two_sum(*sin_parts(r, r_lo))
    w, w_lo = fast_two_sum(*cos_parts(r, r_lo))
    odd = (n & 1).differs(0)
    y = quotient(
        where(odd, -w, s), where(odd, -w_lo, s_lo), where(odd, s, w), where(odd, s_lo, w_lo)
    )
    return where(absolute(x) < 2.0**-27, x, y.text.call_large("tan", x, y))


def arctan(x: Value) -> Value:
    """base + atan(t): t = a, (a - 1)/(a + 1) or -1/a for base 0, pi/4 or pi/2; a = |x|."""
    a = absolute(x)
    middle, far = a > math.tan(math.pi / 8), a > math.tan(3 * math.pi / 8)
    num = where(far, -1.0, where(middle, a - 1.0, a))
    den = where(far, a, where(middle, a + 1.0, num.constant(1.0)))
    t = num / den
    base = where(far, c.HALF_PI64[0], where(middle, num.constant(c.HALF_PI64[0] / 2), 0.0))
    base_lo = where(far, c.HALF_PI64[1], where(middle, num.constant(c.HALF_PI64[1] / 2), 0.0))
    z = t * t
    return copysign(base + (t + fma(t * z, poly(z, c.ATAN64), base_lo)), x)


# pi/4 in two parts; the first leaves room for a factor of up to 4.
EIGHTH = math.pi / 4 - math.fmod(math.pi / 4, 2.0**-50)
EIGHTH_LO = (c.HALF_PI64[0] / 2 - EIGHTH) + c.HALF_PI64[1] / 2


def arctan2(y: Value, x: Value) -> Value:
    """Of |y| and |x| the smaller over the larger, reduced at tan(pi/8), then put in its octant.

    The angle is k pi/4 plus or minus atan(t). Both parts of the quotient (a - b)/(a + b) keep
    their rounding errors, so that t does, which `arctan` gives in the same way.
    """
    a, b = absolute(y), absolute(x)
    steep = a > b
    small, large = where(steep, b, a), where(steep, a, b)
    # Between the ends of the range: sums stay finite, and what is lost counts for nothing.
    factor = where(large > 2.0**1000, y.constant(2.0**-100), 1.0)
    factor = where(large < 2.0**-800, y.constant(2.0**200), factor)
    endless, nothing = large.equals(math.inf), large.equals(0.0)
    small = where(endless, where(small.equals(math.inf), 1.0, small * 0.0), small * factor)
    large = where(endless, 1.0, where(nothing, 1.0, large * factor))
    middle = small > large * math.tan(math.pi / 8)
    less, less_lo = fast_two_sum(large, -small)
    more, more_lo = fast_two_sum(large, small)
    num, num_lo = where(middle, -less, small), where(middle, -less_lo, 0.0)
    den, den_lo = where(middle, more, large), where(middle, more_lo, 0.0)
    inverse = 1.0 / den
    t = num * inverse
    t_lo = (fma(-t, den, num) + fma(-t, den_lo, num_lo)) * inverse
    t, t_lo = fast_two_sum(t, t_lo)
    z = t * t
    tail = fma(t * z, poly(z, c.ATAN64), t_lo)
    # bits of x as an integer: negative zero counts as negative
    left = (bits(x) >> x.format.sign_bit).differs(0)
    k = where(middle, y.constant(1.0), 0.0)
    k = where(steep, 2.0 - k, k)
    k = where(left, 4.0 - k, k)
    turned = where(left, where(steep, t, -t), where(steep, -t, t))
    tail = where(left, where(steep, tail, -tail), where(steep, -tail, tail))
    return copysign(k * EIGHTH + (turned + fma(k, EIGHTH_LO, tail)), y)


def arcsin(x: Value) -> Value:
    """x + x^3 P(x^2) up to 1/2; pi/2 - 2 asin(sqrt((1 - a)/2)) beyond, a = |x|."""
    a = absolute(x)
    far = a > 0.5
    z = where(far, fma(a, -0.5, 0.5), a * a)
    s = where(far, z.intrinsic("sqrt"), a)
    cubic = s * z * poly(z, c.ASIN64)
    complement = fma(s, -2.0, c.HALF_PI64[0]) + fma(cubic, -2.0, c.HALF_PI64[1])
    return copysign(where(far, complement, s + cubic), x)


def arccos(x: Value) -> Value:
    """pi/2 - asin(x) up to 1/2 in size; 2 asin(sqrt((1 - a)/2)) beyond, or pi less that."""
    a = absolute(x)
    far = a > 0.5
    z = where(far, fma(a, -0.5, 0.5), a * a)
    root = z.intrinsic("sqrt") * 2.0
    s = where(far, copysign(root, -x), x)
    multiple = where(far, where(x < 0.0, x.constant(2.0), 0.0), 1.0)
    base_lo = multiple * c.HALF_PI64[1]
    return multiple * c.HALF_PI64[0] - (s - (base_lo - s * z * poly(z, c.ASIN64)))
