"""x to the power y for f32, without branches, computed in f64."""

from __future__ import annotations

import math

from diffsim.compiler.native.functions.exponential import exp_single, log_quotient
from diffsim.compiler.native.functions.text import Text, Val

__all__ = ["power"]


def power(t: Text, x: Val, y: Val) -> Val:
    """Append |x|^y = exp(y log |x|), with the sign and the special cases of C's `pow`."""
    a, exponent = t.widened(t.call("llvm.fabs", x)), t.widened(y)
    log = t.select(t.compare("olt", a, math.inf), log_quotient(t, a), a)
    log = t.select(t.compare("oeq", a, 0.0), -math.inf, log)
    size = exp_single(t, t.mul(exponent, log))
    # 1 to any power, and anything to the power 0, even where the other is no number
    sure = t.binary("or", t.compare("oeq", y, 0.0), t.compare("oeq", x, 1.0))
    unit = t.binary("and", t.compare("oeq", a, 1.0), t.compare("ord", y, 0.0))  # -1 to an infinite power
    size = t.select(t.binary("or", sure, unit), 1.0, size)
    half = t.mul(exponent, 0.5)
    broken = t.compare("une", t.call("llvm.trunc", exponent), exponent)
    even = t.compare("oeq", t.call("llvm.trunc", half), half)
    negative = t.compare("slt", t.bits(t.widened(x)), 0)
    odd = t.select(t.binary("or", broken, even), 0, negative)
    signed = t.select(odd, t.mul(size, -1.0), size)
    finite = t.binary("and", t.compare("olt", x, 0.0), t.compare("ogt", x, -math.inf))
    return t.select(t.binary("and", finite, broken), math.nan, signed)
