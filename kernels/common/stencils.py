"""Differences on a regular grid in any number of dimensions, with the rules of its boundary.

All are *undivided*: divide by the spacing h (`gradient`) or its square (`laplacian`). A caller folds that
into a constant of its own, which keeps a division out of the innermost loop::

    for i, j in ti.ndrange((1, n - 1), (1, n - 1)):
        self.u[t + 1, i, j] = self.u[t, i, j] + rate * laplacian(self.u, t, ti.Vector([i, j]))

Where a kernel has the middle value at hand, `around` saves the second look at it, which shows in the time
of a wave equation.

Boundaries, for points 0 .. n - 1 along an axis:

| boundary | what lies beyond the outermost points | where the wall is |
| --- | --- | --- |
| `"interior"` | nothing is looked up: the caller keeps away from them | |
| `"fixed"` | zero | a spacing beyond the outermost points |
| `"reflecting"` | their mirror image, `f[-1] = f[0]` | half a spacing beyond them |
| `"periodic"` | the other side, `f[-1] = f[n - 1]` | none |

With each of the last three the Laplacian is a symmetric matrix without positive eigenvalues, so that schemes
built on it keep a discrete energy. Loops with `"interior"` are computed several points at once; the others
select an index for each neighbour and are not: give them the rim alone where speed matters.
"""

# No `from __future__ import annotations` here: Taichi reads the annotations as objects, not as text.
import taichi as ti

__all__ = [
    "BOUNDARIES",
    "around",
    "beside",
    "central_difference",
    "gradient",
    "laplacian",
    "second_difference",
]

BOUNDARIES = ("fixed", "reflecting", "periodic")


@ti.func
def central_difference(below, above):
    """Return (f[i + 1] - f[i - 1]) / 2, that is h f' + O(h^3).

    Args:
        below: the value at i - 1, a number or a vector.
        above: the value at i + 1.
    """
    return 0.5 * (above - below)


@ti.func
def second_difference(below, here, above):
    """Return f[i - 1] - 2 f[i] + f[i + 1], that is h^2 f'' + O(h^4).

    Args:
        below: the value at i - 1, a number or a vector.
        here: the value at i.
        above: the value at i + 1.
    """
    return below - 2.0 * here + above


@ti.func
def beside(
    field: ti.template(),
    t: ti.template(),
    at,
    axis: ti.template(),
    by: ti.template(),
    boundary: ti.template() = "interior",
):
    """Return a field's value at the neighbour `by` points further along an axis, as the boundary has it.

    Args:
        field: a State, Scratch, Control, Param or Constant with D axes in space, of numbers or vectors.
        t: the time, `t` or `t + 1`; None for a field without time (Param, Constant).
        at: the point, D integers.
        axis: 0 .. D - 1.
        by: how far, -1 or 1.
        boundary: "interior", or one of `BOUNDARIES`.

    Differentiability: linear in the field.
    """
    size = ti.static(field.shape[axis])
    to = at
    inside = True
    if ti.static(boundary == "interior"):
        to[axis] = at[axis] + by
    elif ti.static(boundary == "periodic"):
        to[axis] = (at[axis] + by + size) % size
    else:
        to[axis] = ti.min(ti.max(at[axis] + by, 0), size - 1)
        if ti.static(boundary == "fixed"):
            inside = to[axis] == at[axis] + by
    value = field[t, to]
    if ti.static(boundary == "fixed"):
        value = ti.select(inside, value, 0.0 * value)
    return value


@ti.func
def around(field: ti.template(), t: ti.template(), at, boundary: ti.template() = "interior"):
    """Return the sum of the 2 D neighbours along the axes: `laplacian` without its middle, for who has that.

    Args:
        field: a State, Scratch, Control, Param or Constant with D axes in space, of numbers or vectors.
        t: the time, `t` or `t + 1`; None for a field without time (Param, Constant).
        at: the point, D integers.
        boundary: "interior", or one of `BOUNDARIES`.

    Differentiability: linear in the field.
    """
    total = beside(field, t, at, 0, -1, boundary) + beside(field, t, at, 0, 1, boundary)
    for axis in ti.static(range(1, len(field.shape))):
        total += beside(field, t, at, axis, -1, boundary) + beside(field, t, at, axis, 1, boundary)
    return total


@ti.func
def laplacian(field: ti.template(), t: ti.template(), at, boundary: ti.template() = "interior"):
    """Return h^2 times the Laplacian, second order, from the 2 D neighbours along the axes.

    Args:
        field: a State, Scratch, Control, Param or Constant with D axes in space, of numbers or vectors.
        t: the time, `t` or `t + 1`; None for a field without time (Param, Constant).
        at: the point, D integers.
        boundary: "interior", or one of `BOUNDARIES`.

    Differentiability: linear in the field.
    """
    return around(field, t, at, boundary) - 2.0 * len(field.shape) * field[t, at]


@ti.func
def gradient(field: ti.template(), t: ti.template(), at, boundary: ti.template() = "interior"):
    """Return h times the gradient of a field of numbers, a vector of D, by central differences.

    Args:
        field: a State, Scratch, Control, Param or Constant of numbers with D axes in space.
        t: the time, `t` or `t + 1`; None for a field without time (Param, Constant).
        at: the point, D integers.
        boundary: "interior", or one of `BOUNDARIES`.

    Differentiability: linear in the field.
    """
    slope = ti.Vector([0.0 for _ in range(len(field.shape))])
    for axis in ti.static(range(len(field.shape))):
        below = beside(field, t, at, axis, -1, boundary)
        above = beside(field, t, at, axis, 1, boundary)
        slope[axis] = central_difference(below, above)
    return slope
