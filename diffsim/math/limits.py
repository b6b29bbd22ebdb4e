"""Minima, maxima, clamps and steps: hard ones with their slopes at ties, and smooth ones of a given width."""

from diffsim import _taichi

__all__ = ["clamp", "max", "min", "smooth_clamp", "smooth_max", "smooth_min", "smooth_step", "step"]

ti = _taichi.ti


@ti.func
def max(a, b):
    """Return the larger of two; of equal ones each gets half of the gradient.

    Args:
        a: A number, or a vector or matrix of them.
        b: The same.
    """
    return ti.select(a > b, a, ti.select(a == b, 0.5 * (a + b), b))


@ti.func
def min(a, b):
    """Return the smaller of two; of equal ones each gets half of the gradient.

    Args:
        a: A number, or a vector or matrix of them.
        b: The same.
    """
    return ti.select(a < b, a, ti.select(a == b, 0.5 * (a + b), b))


@ti.func
def clamp(x, low, high):
    """Return `x` kept in `low .. high`; at either end, where it equals `x`, `x` gets the gradient.

    Args:
        x: A number, or a vector or matrix of them.
        low: The lower end.
        high: The upper end, not below `low`.
    """
    return ti.select(x < low, low, ti.select(x > high, high, x))


@ti.func
def step(edge, x):
    """Return 0 where `x < edge` and 1 elsewhere; all slopes are 0.

    Args:
        edge: Where the step is.
        x: A number, or a vector or matrix of them.
    """
    return ti.select(x < edge, 0.0 * x, 1.0 + 0.0 * x)


@ti.func
def smooth_max(a, b, width):
    """Return the larger of two, rounded where they differ by less than `width`.

    There it is `(a + b) / 2 + (d² + width²) / (4 width)` with `d = a - b`: once continuously differentiable,
    and above the maximum by `width / 4` at most. `width = 0` gives `max`.

    Args:
        a: A number, or a vector or matrix of them.
        b: The same.
        width: A number, at least 0.
    """
    d = a - b
    near = ti.abs(d) < width
    safe = ti.select(width > 0.0, width, 1.0)
    return ti.select(near, 0.5 * (a + b) + (d * d + safe * safe) / (4.0 * safe), max(a, b))


@ti.func
def smooth_min(a, b, width):
    """Return the smaller of two, rounded where they differ by less than `width`.

    It is `-smooth_max(-a, -b, width)`.

    Args:
        a: A number, or a vector or matrix of them.
        b: The same.
        width: A number, at least 0.
    """
    return -smooth_max(-a, -b, width)


@ti.func
def smooth_clamp(x, low, high, width):
    """Return `x` kept near `low .. high`, with both corners rounded over `width`.

    Args:
        x: A number, or a vector or matrix of them.
        low: The lower end.
        high: The upper end, above `low` by `width` at least.
        width: A number, at least 0.
    """
    return smooth_min(smooth_max(x, low, width), high, width)


@ti.func
def smooth_step(low, high, x):
    """Return `3 s² - 2 s³` with `s = (x - low) / (high - low)` kept in 0 .. 1.

    It is once continuously differentiable. `low = high` gives `step(high, x)`.

    Args:
        low: Where it leaves 0.
        high: Where it reaches 1.
        x: A number, or a vector or matrix of them.
    """
    safe = ti.select(high > low, high - low, 1.0)
    s = ti.select(high > low, clamp((x - low) / safe, 0.0, 1.0), step(high, x))
    return s * s * (3.0 - 2.0 * s)
