"""exp, log and tanh, without branches.

f32 is computed in f64: that costs no more, whatever the width, needs neither compensation nor care for the
smallest numbers, and its results are rounded once. Coefficients: `python -m benchmarks.minimax`.
"""

from __future__ import annotations

import math

from diffsim.compiler.native.functions.text import LAYOUT, Text, Val
from diffsim.compiler.tanh import BELOW, END, OVER

__all__ = ["ROUNDER", "exp", "exp_single", "log", "log_quotient", "tanh"]

# 3/2 of the number whose last bit is 1: adding it leaves a whole number in the lowest bits
ROUNDER = 1.5 * 2**52
_ROUNDER_BITS = LAYOUT.power(52) + (1 << 51)
# log 2 in 42 and in 53 bits: whole numbers of up to 11 bits times the first are exact
_LOG_2 = (0.6931471805598903, 5.497923018708371e-14)

# exp(r) = p(r), |r| < 0.3466, to 2^-29.0
_EXP_SINGLE = (
    *(1.0000000005546938, 1.0000000363436992, 0.49999992076419525, 0.16666420083074054),
    *(0.041668225916242634, 0.008374822862467523, 0.0013836846431307139),
)
# exp(r) = 1 + r + r^2 p(r), to 2^-56.4
_EXP_REST = (
    *(0.5000000000000011, 0.16666666666666413, 0.04166666666653018, 0.008333333333494453),
    *(0.0013888888943622245, 0.0001984126950658483, 2.4801493107795656e-05, 2.7557586380632183e-06),
    *(2.763024496713683e-07, 2.5000055295534778e-08),
)
# beyond these exp is inf, or 0
_EXP_ENDS = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}

# log(1 + f) = f + f^2 p(f), 0.7071 < 1 + f < 1.4143, to 2^-27.8
_LOG_SINGLE = (
    *(-0.499999881454285, 0.3333332421748399, -0.2500160073379494, 0.20002090417493407),
    *(-0.16608737845622307, 0.1417916502282684, -0.1324314788831731, 0.12922742553373884),
    -0.07644877370026872,
)
# log(1 + f) = 2 s + s z p(z), s = f / (2 + f), z = s^2, on the same interval, to 2^-58.8
_LOG_QUOTIENT = (
    *(0.6666666666666735, 0.3999999999941313, 0.28571428742766636, 0.22222198531093337),
    *(0.18183566670357862, 0.15313986758811107, 0.14796624582280313),
)
_ROOT_OF_HALF = 0x3FE6A09E667F3BCD
_ZERO = 2.0**LAYOUT.digits + LAYOUT.bias  # the exponent of 1 as it is counted there

# tanh(a) = a + a z p(z), z = a^2, a < 0.55, to 2^-60.1
_TANH = (
    *(-0.333333333333333, 0.133333333333266, -0.053968253963748346, 0.021869488385494244),
    *(-0.008863232595343905, 0.0035920919671038843, -0.0014555424267638445, 0.0005884427164507007),
    *(-0.00023337694588245595, 8.33096602486624e-05, -1.9490395422235897e-05),
)
_TANH_NEAR = 0.55
_TANH_END = 40.0  # twice what is enough for 1 to be the nearest number


def exp(t: Text, x: Val) -> Val:
    """Append the exponential function of x = n log 2 + r."""
    if x.kind == "f32":
        return exp_single(t, t.widened(x))
    bottom, top = _EXP_ENDS["f64"]
    held = t.at_least(t.at_most(x, top), bottom)
    y, bits = _reduced_double(t, held)
    # 2^n in two factors, for results that have no exponent of their own
    both = t.binary("sub", bits, _ROUNDER_BITS - 2 * LAYOUT.bias)
    first = t.binary("lshr", both, 1)
    second = t.binary("sub", both, first)
    for exponent in (first, second):
        y = t.mul(y, t.number(t.binary("shl", exponent, LAYOUT.digits)))
    return y


def exp_single(t: Text, x: Val) -> Val:
    """Append the exponential function of a number of f64, in f32."""
    bottom, top = _EXP_ENDS["f32"]
    r, bits = _reduced_single(t, t.at_least(t.at_most(x, top), bottom))
    return t.convert("fptrunc", t.mul(t.polynomial(r, _EXP_SINGLE), _power_of_2(t, bits)), "f32")


def log(t: Text, x: Val) -> Val:
    """Append the natural logarithm of x = 2^k (1 + f)."""
    result = _log_single(t, x) if x.kind == "f32" else _log_double(t, x)
    result = t.select(t.compare("olt", x, math.inf), result, x)
    outside = t.select(t.compare("oeq", x, 0.0), -math.inf, math.nan, x.kind)
    return t.select(t.compare("ogt", x, 0.0), result, outside)


def tanh(t: Text, x: Val) -> Val:
    """Append the hyperbolic tangent: a polynomial near 0, else 1 - 2 / (exp(2 |x|) + 1)."""
    if x.kind == "f32":
        return _tanh_single(t, x)
    a = t.call("llvm.fabs", x)
    y, bits = _reduced_double(t, t.at_most(t.add(a, a), _TANH_END))
    far = t.sub(1.0, t.div(2.0, t.mad(y, _power_of_2(t, bits), 1.0)))
    z = t.mul(a, a)
    near = t.mad(a, t.mul(z, t.polynomial(z, _TANH)), a)
    return t.call("llvm.copysign", t.select(t.compare("olt", a, _TANH_NEAR), near, far), x)


def _tanh_single(t: Text, x: Val) -> Val:
    """Append the hyperbolic tangent of a number of f32: a quotient of polynomials, up to where it is 1."""
    held = t.at_least(t.at_most(t.widened(x), END), -END)
    z = t.mul(held, held)
    quotient = t.div(t.mul(held, t.polynomial(z, OVER)), t.polynomial(z, BELOW))
    return t.convert("fptrunc", quotient, "f32")


def _reduced_single(t: Text, x: Val) -> tuple[Val, Val]:
    """Append r and a sum whose lowest bits are n, x = n log 2 + r, good enough for f32."""
    shifted = t.mad(x, 1 / math.log(2), ROUNDER)
    return t.mad(t.sub(shifted, ROUNDER), -math.log(2), x), t.bits(shifted)


def _reduced_double(t: Text, x: Val) -> tuple[Val, Val]:
    """Append exp(r) and a sum whose lowest bits are n, x = n log 2 + r."""
    high, low = _LOG_2
    shifted = t.mad(x, 1 / math.log(2), ROUNDER)
    n = t.sub(shifted, ROUNDER)
    r = t.mad(n, -low, t.mad(n, -high, x))
    tail = t.mad(t.mul(r, r), t.polynomial(r, _EXP_REST), r)
    return t.add(1.0, tail), t.bits(shifted)


def _power_of_2(t: Text, bits: Val) -> Val:
    """Append 2^n of an n in the lowest bits; a product with what is no number stays none."""
    return t.number(t.binary("shl", t.binary("add", bits, LAYOUT.bias), LAYOUT.digits))


def _exponent(t: Text, normal: Val, below: float | Val) -> tuple[Val, Val]:
    """Append k and f of a normal number 2^k (1 + f), with k counted from `below` on."""
    digits, bits = LAYOUT.digits, t.bits(normal)
    exponent = t.binary("lshr", t.binary("add", bits, LAYOUT.one - _ROOT_OF_HALF), digits)
    mantissa = t.binary("sub", bits, t.binary("shl", t.binary("sub", exponent, LAYOUT.bias), digits))
    k = t.sub(t.number(t.binary("or", exponent, LAYOUT.power(digits))), below)
    return k, t.sub(t.number(mantissa), 1.0)


def _log_single(t: Text, x: Val) -> Val:
    """Append log of a positive number of f32, all of which are normal in f64."""
    k, f = _exponent(t, t.widened(x), _ZERO)
    result = t.mad(t.mul(f, f), t.polynomial(f, _LOG_SINGLE), t.mad(k, math.log(2), f))
    return t.convert("fptrunc", result, "f32")


def log_quotient(t: Text, x: Val) -> Val:
    """Append the logarithm of a normal number of f64, right to a few units of its last place."""
    k, f = _exponent(t, x, _ZERO)
    s = t.div(f, t.add(f, 2.0))
    z = t.mul(s, s)
    return t.mad(k, math.log(2), t.mul(s, t.mad(z, t.polynomial(z, _LOG_QUOTIENT), 2.0)))


def _log_double(t: Text, x: Val) -> Val:
    """Append log of a positive number; k log 2 and f are added together with what their sum loses."""
    small = t.compare("olt", x, 2.0 ** (1 - LAYOUT.bias))
    below = t.select(small, _ZERO + LAYOUT.digits, _ZERO, "f64")
    k, f = _exponent(t, t.select(small, t.mul(x, 2.0**LAYOUT.digits), x), below)
    high, low = _LOG_2
    large = t.mul(k, high)
    total = t.add(large, f)
    lost = t.add(t.sub(large, total), f)
    half = t.mul(t.mul(f, f), 0.5)
    s = t.div(f, t.add(f, 2.0))
    z = t.mul(s, s)
    above = t.mad(z, t.polynomial(z, _LOG_QUOTIENT), half)
    rest = t.sub(t.mad(s, above, t.mul(k, low)), half)
    return t.add(total, t.add(lost, rest))
