"""Ground that is not flat: a height above the last axis' zero, and what may move at places below it."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike

import diffsim as ds
from diffsim.errors import ConfigError

__all__ = ["FRICTION", "SEPARATE", "SLIP", "STICKY", "Terrain"]

SEPARATE, SLIP, STICKY, FRICTION = range(4)  # the rules of walls, by their place in `mpm.WALLS`


@ti.data_oriented
class Terrain:
    """Rolling ground: a sum of waves, infinitely often differentiable.

    With places `x` along all axes but the last, which points up::

        h(x) = base + sum over k of height_k sin(2 pi x . ways_k + phase_k)      n ~ (-grad h, 1)

    Args:
        base: mean height [m].
        heights: of the waves [m], shape (waves,).
        ways: wave vectors [1/m], shape (waves, D - 1): one over the wave length, along its direction.
        phases: of the waves, shape (waves,); zero unless given.

    Raises:
        ConfigError: the arrays do not go together, or hold something else than finite numbers.
    """

    def __init__(
        self, base: float, heights: ArrayLike, ways: ArrayLike, phases: ArrayLike | None = None
    ) -> None:
        """Keep the waves."""
        tall, ways = np.atleast_1d(np.asarray(heights, float)), np.asarray(ways, float)
        late = np.zeros(len(tall)) if phases is None else np.atleast_1d(np.asarray(phases, float))
        ways = ways[:, None] if ways.ndim == 1 else ways
        if tall.ndim != 1 or ways.ndim != 2 or len(ways) != len(tall) or late.shape != tall.shape:
            raise ConfigError(
                "Terrain waves must have a height, a way and a phase each, got shapes "
                f"{tall.shape}, {ways.shape} and {late.shape}; pass as many of each"
            )
        if not all(np.isfinite(a).all() for a in (np.float64(base), tall, ways, late)):
            raise ConfigError(
                "Terrain must be made of finite numbers, got others; correct what computed them"
            )
        self.base, self.count, self.axes = float(base), len(tall), ways.shape[1]
        self.heights, self.phases = tuple(tall.tolist()), tuple(late.tolist())
        self.ways = tuple(tuple(2.0 * np.pi * a for a in way) for way in ways.tolist())

    def moved(self, way: ArrayLike) -> "Terrain":
        """Return the same ground somewhere else.

        Args:
            way: how far [m], D numbers, the last of them upward.

        Raises:
            ConfigError: the ground has waves along another number of axes.
        """
        way = np.asarray(way, float)
        self.require(len(way))
        late = np.array(self.phases) - np.array(self.ways) @ way[:-1]
        return Terrain(self.base + way[-1], self.heights, np.array(self.ways) / (2.0 * np.pi), late)

    def require(self, dim: int) -> None:
        """Refuse to be the ground of a space of another dimension.

        Args:
            dim: of the space.

        Raises:
            ConfigError: the waves do not have one axis less.
        """
        if self.axes != dim - 1:
            raise ConfigError(
                f"Terrain ways must have {dim - 1} number(s) each in {dim} dimensions, got {self.axes}; "
                "pass one for each axis but the last"
            )

    def at(self, x: ArrayLike) -> Any:
        """Return the height at places, shape (..., D - 1): an array of shape (...)."""
        x = np.asarray(x, float)
        angle = x @ np.array(self.ways).T + np.array(self.phases)
        return self.base + np.sin(angle) @ np.array(self.heights)

    @ti.func
    def height(self, x):
        """Return the height at a place, of which the last number does not count."""
        h = ti.cast(self.base, ds.real)
        for k in ti.static(range(self.count)):
            h += self.heights[k] * ti.sin(self._angle(x, k))
        return h

    @ti.func
    def normal(self, x):
        """Return the unit vector that is upright on the ground at a place."""
        n = 0.0 * x
        n[x.n - 1] = 1.0
        for k in ti.static(range(self.count)):
            slope = self.heights[k] * ti.cos(self._angle(x, k))
            for d in ti.static(range(self.axes)):
                n[d] -= slope * self.ways[k][d]
        return n / ti.sqrt(n.dot(n))

    @ti.func
    def _angle(self, x, k: ti.template()):  # type: ignore[valid-type]
        angle = ti.cast(self.phases[k], ds.real)
        for d in ti.static(range(self.axes)):
            angle += self.ways[k][d] * x[d]
        return angle

    @ti.func
    def stopped(self, v, x, rule: ti.template(), friction: ti.template()):  # type: ignore[valid-type]
        """Return the velocity that the ground allows at a place, by a wall's rule; above it, any.

        Differentiability: with respect to the velocity; touching the ground or not is a kink.
        """
        u = v
        if x[x.n - 1] <= self.height(x):
            n = self.normal(x)
            into = v.dot(n)
            if ti.static(rule == STICKY):
                u = 0.0 * v
            elif ti.static(rule == SLIP):
                u = v - into * n
            elif into < 0.0:
                u = v - into * n
                if ti.static(rule == FRICTION):
                    lost = ds.math.safe_div(friction * ti.abs(into), ds.math.norm(u))
                    u *= ti.max(1.0 - lost, 0.0)
        return u
