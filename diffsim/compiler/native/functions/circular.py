"""sin, cos and tan, by reduction to a quarter turn around 0.

f32 is computed in f64 throughout: its results are rounded once. In f64 the remainder has two parts. Both hold
up to `BOUND`; beyond it the caller asks the system's library.
"""

from __future__ import annotations

import math

from diffsim.compiler.native.functions.exponential import ROUNDER
from diffsim.compiler.native.functions.text import Text, Val

__all__ = ["BOUND", "circular"]

BOUND = 2.0**26  # quarter turns are then counted in 26 bits

# pi / 2 in whole numbers of 2^-26, of 2^-53, in 27 bits and in 53: the products of the count with the first
# three are exact, and what is left of x after the first two is too
_HALF_PI = (1.570796325802803, 9.920935184482005e-10, 6.123233932053594e-17, 6.36831716351095e-25)
_HALF_PI_REST = 9.920935796805404e-10  # after the first part

# sin(r) = r + r z p(z), z = r^2, |r| < 0.7855, to 2^-28.0 and 2^-56.4
_SIN = {
    "f32": (-0.16666654600095918, 0.008332160151148038, -0.00019515198645736682),
    "f64": (
        *(-0.1666666666666663, 0.008333333333322104, -0.00019841269829577228),
        *(2.75573136169644e-06, -2.505074704858247e-08, 1.5896187544279698e-10),
    ),
}
# cos(r) = 1 - z / 2 + z^2 p(z), to 2^-33.0 and 2^-59.6
_COS = {
    "f32": (0.041666645666415605, -0.001388731542937762, 2.4433060796395517e-05),
    "f64": (
        *(0.041666666666666595, -0.0013888888888873036, 2.4801587288838507e-05),
        *(-2.755731417537841e-07, 2.087570029552562e-09, -1.13585075391497e-11),
    ),
}


def circular(t: Text, name: str, x: Val) -> Val:
    """Append sin(x), cos(x) or tan(x), for |x| up to `BOUND`."""
    a = t.call("llvm.fabs", x)
    wide = t.widened(a)
    shifted = t.mad(wide, 2 / math.pi, ROUNDER)
    n = t.sub(shifted, ROUNDER)
    quarter = t.bits(shifted)
    sine, cosine = (_single if x.kind == "f32" else _double)(t, wide, n)
    odd = t.compare("ne", t.binary("and", quarter, 1), 0)
    sign = t.binary("and", t.bits(t.widened(x)), -(2**63))
    if name == "tan":
        top = t.select(odd, cosine, sine)
        value = t.div(top, t.select(odd, sine, cosine))
        flip = t.binary("xor", sign, t.binary("shl", quarter, 63))
    else:
        cos = name == "cos"
        value = t.select(odd, sine, cosine) if cos else t.select(odd, cosine, sine)
        # a cosine is the sine a quarter later, and even
        turned = t.binary("shl", t.binary("lshr", t.binary("add", quarter, 1) if cos else quarter, 1), 63)
        flip = turned if cos else t.binary("xor", turned, sign)
    value = t.number(t.binary("xor", t.bits(value), flip))
    return t.convert("fptrunc", value, "f32") if x.kind == "f32" else value


def _single(t: Text, x: Val, n: Val) -> tuple[Val, Val]:
    """Append sine and cosine of what is left of x, good enough for f32."""
    r = t.mad(n, -_HALF_PI_REST, t.mad(n, -_HALF_PI[0], x))
    z = t.mul(r, r)
    sine = t.mad(t.mul(r, z), t.polynomial(z, _SIN["f32"]), r)
    cosine = t.mad(t.mul(z, z), t.polynomial(z, _COS["f32"]), t.mad(z, -0.5, 1.0))
    return sine, cosine


def _double(t: Text, x: Val, n: Val) -> tuple[Val, Val]:
    """Append sine and cosine of what is left of x, in two parts: r, and what its rounding lost."""
    left = t.mad(n, -_HALF_PI[1], t.mad(n, -_HALF_PI[0], x))
    third = t.mul(n, -_HALF_PI[2])
    r = t.add(left, third)
    back = t.sub(r, left)
    lost = t.add(t.sub(left, t.sub(r, back)), t.sub(third, back))
    low = t.mad(n, -_HALF_PI[3], lost)
    z = t.mul(r, r)
    half = t.mul(z, 0.5)
    near = t.mad(t.mul(r, z), t.polynomial(z, _SIN["f64"]), t.sub(low, t.mul(half, low)))
    sine = t.add(r, near)
    one = t.sub(1.0, half)
    rest = t.sub(t.mul(t.mul(z, z), t.polynomial(z, _COS["f64"])), t.mul(r, low))
    cosine = t.add(one, t.add(t.sub(t.sub(1.0, one), half), rest))
    return sine, cosine
