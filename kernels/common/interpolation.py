"""Values of grid fields between the points of the grid: multilinear interpolation in any dimension.

A grid has `n` points along an axis; a place is told in units of the grid's spacing. Where the points lie is
told by `origin`: 0.5, the default, for values at the centres of cells (cell `i` reaches from `i` to `i + 1`),
0.0 for values at nodes, a vector for staggered grids, whose components differ.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import taichi as ti

__all__ = ["bracket", "locate", "sample"]


@ti.func
def locate(shape: ti.template(), place, periodic: ti.template()):
    """Return the lower and the upper grid points around a place, and where in between it lies.

    Args:
        shape: How many points the grid has along each axis, known when the kernel compiles.
        place: A vector as long as `shape`: the place, in spacings from the first point.
        periodic: Whether point `n` is point 0 again; if not, places beyond the border count as on it.

    Returns:
        Two vectors of integers, which are indices of the grid, and one of numbers in 0 .. 1.

    Differentiability: the fraction has slope 1 in `place` and, beyond a border that is not periodic, slope 0.
    """
    low = ti.Vector.zero(ti.i32, ti.static(len(shape)))
    high = ti.Vector.zero(ti.i32, ti.static(len(shape)))
    fraction = 0.0 * place
    for d in ti.static(range(len(shape))):
        x = place[d]
        if ti.static(not periodic):
            x = ti.min(ti.max(x, 0.0), shape[d] - 1.0)
        cell = ti.cast(ti.floor(x), ti.i32)
        if ti.static(not periodic):
            cell = ti.max(ti.min(cell, shape[d] - 2), 0)
        fraction[d] = x - cell
        low[d] = cell % shape[d] if ti.static(periodic) else cell
        high[d] = (cell + 1) % shape[d] if ti.static(periodic) else ti.min(cell + 1, shape[d] - 1)
    return low, high, fraction


@ti.func
def _corner(k: ti.template(), low, high, fraction):
    """Return index and weight of corner `k`; its bit `d` says whether it is the upper one along axis `d`."""
    index = low
    weight = 1.0
    for d in ti.static(range(low.n)):
        if ti.static((k >> d) & 1):
            index[d] = high[d]
            weight *= fraction[d]
        else:
            weight *= 1.0 - fraction[d]
    return index, weight


@ti.func
def sample(
    field: ti.template(),
    t: ti.template(),
    place: ti.template(),
    origin: ti.template() = 0.5,
    periodic: ti.template() = False,
):
    """Return a grid field's value at a place, by multilinear interpolation: exact for linear fields.

    `f(x) = sum over corners c of prod_d (1 - |x_d - c_d|) f_c`. Beyond the border the value is that of the
    nearest place on the border, or with `periodic` that of the grid repeated without end.

    Args:
        field: A State, Scratch, Param, Control or Constant of numbers or vectors, one axis per dimension.
        t: The time to read it at, `t` or `t + 1`; None for a field that has no time (Param, Constant).
        place: A vector with one number per axis, in grid spacings.
        origin: Where the grid's first point lies: a number or a vector, in grid spacings.
        periodic: Whether the grid repeats; known when the kernel compiles.

    Returns:
        A number, or a vector for a field of vectors.

    Differentiability: with respect to the field and the place. At a grid point the slope in the place jumps;
    it is that of the cell above. Beyond a border that is not periodic the slope in the place is 0.
    """
    low, high, fraction = locate(field.shape, place - origin, periodic)
    first, share = _corner(0, low, high, fraction)
    value = share * field[t, first]
    for k in ti.static(range(1, 2 ** len(field.shape))):
        index, weight = _corner(k, low, high, fraction)
        value += weight * field[t, index]
    return value


@ti.func
def bracket(
    field: ti.template(),
    t: ti.template(),
    place: ti.template(),
    origin: ti.template() = 0.5,
    periodic: ti.template() = False,
):
    """Return the least and the greatest of the values that `sample` blends: the limits of a limiter.

    Args:
        field: As in `sample`.
        t: As in `sample`.
        place: As in `sample`.
        origin: As in `sample`.
        periodic: As in `sample`.

    Returns:
        Two numbers, or two vectors, component by component.

    Differentiability: with respect to the field, through the corner that holds the value; none in the place.
    """
    low, high, fraction = locate(field.shape, place - origin, periodic)
    first, _ = _corner(0, low, high, fraction)
    least = field[t, first]
    greatest = least
    for k in ti.static(range(1, 2 ** len(field.shape))):
        index, _ = _corner(k, low, high, fraction)
        least = ti.min(least, field[t, index])
        greatest = ti.max(greatest, field[t, index])
    return least, greatest
