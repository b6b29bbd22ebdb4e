"""Scalar functions whose values and slopes stay finite where those of the plain ones do not."""

from diffsim import _taichi
from diffsim.language.adjoints import adjoint_of

__all__ = ["acos", "asin", "atan2", "pow", "safe_div", "sqrt"]

ti = _taichi.ti


@ti.func
def sqrt(x):
    """Return the square root of `x`, and 0 with slope 0 for `x <= 0`.

    Args:
        x: A number, or a vector or matrix of them.
    """
    return ti.select(x > 0.0, ti.sqrt(ti.max(x, 0.0)), 0.0 * x)


@adjoint_of(sqrt, primitive=True)
@ti.func
def _sqrt_adjoint(x, y, y_adj):
    return ti.select(y > 0.0, 0.5 * y_adj / y, 0.0 * y_adj)


@ti.func
def safe_div(a, b):
    """Return `a / b`, and 0 with slopes 0 where `b` is 0.

    Args:
        a: A number, or a vector or matrix of them.
        b: The same.
    """
    return ti.select(b == 0.0, 0.0 * a, a / ti.select(b == 0.0, 1.0, b))


@adjoint_of(safe_div, primitive=True)
@ti.func
def _safe_div_adjoint(a, b, y, y_adj):
    divisor = ti.select(b == 0.0, 1.0, b)
    share = ti.select(b == 0.0, 0.0 * y_adj, y_adj / divisor)
    return share, -y * share


@ti.func
def asin(x):
    """Return the arc sine of `x` clamped to -1 .. 1; its slope is 0 at and beyond both ends.

    Args:
        x: A number, or a vector or matrix of them.
    """
    return ti.asin(ti.min(ti.max(x, -1.0), 1.0))


@adjoint_of(asin, primitive=True)
@ti.func
def _asin_adjoint(x, y, y_adj):
    return y_adj * _slope(x)


@ti.func
def acos(x):
    """Return the arc cosine of `x` clamped to -1 .. 1; its slope is 0 at and beyond both ends.

    Args:
        x: A number, or a vector or matrix of them.
    """
    return ti.acos(ti.min(ti.max(x, -1.0), 1.0))


@adjoint_of(acos, primitive=True)
@ti.func
def _acos_adjoint(x, y, y_adj):
    return -y_adj * _slope(x)


@ti.func
def _slope(x):
    """Return the derivative of the arc sine."""
    square = (1.0 - x) * (1.0 + x)
    return ti.select(square > 0.0, 1.0 / ti.sqrt(ti.max(square, 1e-37)), 0.0 * x)


@ti.func
def atan2(y, x):
    """Return the angle of the point (x, y), from -pi to pi; both slopes are 0 at the origin.

    Args:
        y: A number, or a vector or matrix of them.
        x: The same.
    """
    return ti.atan2(y, x)


@adjoint_of(atan2, primitive=True)
@ti.func
def _atan2_adjoint(y, x, angle, angle_adj):
    size = ti.max(ti.abs(x), ti.abs(y))
    safe = ti.select(size > 0.0, size, 1.0)  # squares of small numbers would vanish
    p, q = x / safe, y / safe
    share = ti.select(size > 0.0, angle_adj / (safe * ti.select(size > 0.0, p * p + q * q, 1.0)), 0.0 * x)
    return p * share, -q * share


@ti.func
def pow(x, y):
    """Return `x` to the power `y`. At `x = 0` a slope that is infinite (`y < 1`) is 0, and so is that of `y`.

    For `x < 0` only whole `y` give numbers; the slope of `y` is 0 there.

    Args:
        x: A number, or a vector or matrix of them.
        y: The same.
    """
    return ti.pow(x, y)


@adjoint_of(pow, primitive=True)
@ti.func
def _pow_adjoint(x, y, power, power_adj):
    infinite = (x == 0.0) & (y < 1.0)
    slope = y * ti.pow(ti.select(infinite, 1.0, x), y - 1.0)
    log = ti.log(ti.select(x > 0.0, x, 1.0))
    return power_adj * ti.select(infinite, 0.0, slope), power_adj * ti.select(x > 0.0, power * log, 0.0)
