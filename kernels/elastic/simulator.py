"""Soft bodies on the ground, in the plane and in space: fixed corotated matter, muscles on a clock."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.kernels.common.mpm import MPM
from diffsim.kernels.common.terrain import Terrain
from diffsim.kernels.elastic.pictures import active_blocks, ground
from diffsim.kernels.elastic.scenes import Scene, block
from diffsim.language.layouts import Sparse

__all__ = ["Elastic"]

_RIM = 3  # cells of wall around the room
_AROUND = 0.8  # [m] what is shown around the way over hills


class Elastic(ds.Simulator):
    """A soft body that is thrown at a goal, or that moves itself by its muscles.

    The matter is fixed corotated, with muscles that pull along their fibres f; per volume at rest::

        psi(F) = mu |F - R|^2 + la/2 (J - 1)^2 + T/2 (|F f|^2 - 1)        F = R S, J = det F
        T = strength tanh(b + sum over k of w_k sin(omega t + 2 pi k / waves))

    and moves by MLS-MPM (`diffsim.kernels.common.mpm`), in a room with frictionless walls and a ground with
    friction. Where the scene has a goal, the cost is the squared distance [m^2] of the centre of mass to it
    at the last step, and the body starts with the velocity `throw` and the scene's spin. Where it has none,
    the cost is minus the way [m] that the centre of mass went along the first axis.

    Args:
        scene: the body and its room; a block in the plane unless given.
        layout: how the grid lies in memory; with `ds.sparse()` the room may be as large as you like.

    Attributes:
        setup: the body and its room.
        mpm: the particles and their grid.
        x: positions [m], `State(vec, n)`; `origin` is what to subtract for the scene's coordinates.
        v: velocities [m/s], `State(vec, n)`.
        throw: velocity at the start [m/s], `Param(vec)` of shape (1, D), of a scene with a goal.
        policy: the muscles' weights, `policy.w0` of shape (waves, muscles) and `policy.b0`, of a scene with
            muscles.
        origin: where the room's lower corner lies on the grid [m].

    Raises:
        ConfigError: the time step is too long for the speed of sound.

    Differentiability: with respect to throw, weights, and first positions and velocities. Touching the ground
    or not, and sticking or sliding on it, are kinks.

    Reference: Hu et al. 2018 (MLS-MPM); Stomakhin et al. 2012 (fixed corotated); Hu et al., DiffTaichi, ICLR
    2020.
    """

    def __init__(self, scene: Scene | None = None, layout: Any = None) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        self.setup = scene or block()
        self.config = c = self.setup.config
        self.dim, self.n = self.setup.dim, self.setup.particles.count
        low, high = self.setup.room
        self.origin = tuple(_RIM * c.cell - a for a in low)
        cells = tuple(math.ceil((b - a) / c.cell - 1e-9) + 2 * _RIM for a, b in zip(low, high, strict=True))
        hills = self.setup.terrain
        self.mpm = MPM(
            self.setup.particles.moved(self.origin),
            cells,
            dx=c.cell,
            dt=c.dt,
            gravity=(*(0.0,) * (self.dim - 1), c.gravity),
            walls=[*["separate"] * (self.dim - 1), ("friction", "separate")],
            friction=c.friction,
            rim=_RIM,
            layout=layout,
            terrain=hills if hills is None else hills.moved(self.origin),
        )
        self.dt = c.dt
        self.x, self.v, self.C, self.F = self.mpm.x, self.mpm.v, self.mpm.C, self.mpm.F
        mass = self.setup.particles.mass
        self.share = ds.Constant(mass / mass.sum())
        start = self.share.numpy() @ self.mpm.particles.x
        self.start = tuple(float(a) for a in start)
        self.center = ds.Scratch(ds.vec(self.dim), 1, unit="m")
        self.has_goal, self.has_muscles = self.setup.goal is not None, self.mpm.actuation is not None
        if self.setup.goal is not None:
            self.goal = tuple(a + b for a, b in zip(self.setup.goal, self.origin, strict=True))
            self.spin = self.setup.spin
            self.throw = ds.Param(ds.vec(self.dim), 1, unit="m/s")
        if self.has_muscles:
            self.waves = ds.Scratch(ds.real, c.waves)
            self.clock = ds.control.Sinusoids(outputs=self.waves, count=c.waves, omega=c.omega, dt=c.dt)
            self.policy = ds.control.MLP(
                inputs=self.waves, outputs=self.mpm.actuation, hidden=(), gains=(c.gain,)
            )

    @ti.kernel
    def launch(self):
        """Give every point the velocity of a rigid body."""
        for p in range(self.n):
            v = self.throw[0]
            last = ti.static(self.dim - 1)
            v[0] -= self.spin * (self.x[0, p][last] - self.start[last])
            v[last] += self.spin * (self.x[0, p][0] - self.start[0])
            self.v[0, p] = v

    @ti.kernel
    def turn(self):
        """Give every point the velocity gradient that goes with the spin."""
        for p in range(self.n):
            self.C[0, p][0, self.dim - 1] = -self.spin
            self.C[0, p][self.dim - 1, 0] = self.spin

    @ti.kernel
    def locate(self, t: ti.i32):
        """Average the positions."""
        for p in range(self.n):
            self.center[t, 0] += self.share[p] * self.x[t, p]

    @ti.kernel
    def miss(self, t: ti.i32):
        """Add the squared distance to the goal."""
        for _ in range(1):
            for d in ti.static(range(self.dim)):
                self.cost[None] += (self.center[t, 0][d] - self.goal[d]) ** 2

    @ti.kernel
    def reach(self, t: ti.i32):
        """Subtract the way along the first axis."""
        for _ in range(1):
            self.cost[None] += self.start[0] - self.center[t, 0][0]

    def reset(self) -> None:
        """Throw the body."""
        if self.has_goal:
            self.launch()
            self.turn()

    def step(self, t: int) -> None:
        """Command the muscles and move."""
        if self.has_muscles:
            self.clock(t)
            self.policy(t)
        self.mpm(t)

    def terminal_cost(self, t: int) -> None:
        """Tell how far off the goal the body is, or how far it came."""
        self.locate(t)
        if self.has_goal:
            self.miss(t)
        else:
            self.reach(t)

    def scene(self) -> ds.Scene:
        """Describe the body, the way of its centre of mass, the goal and the room on the ground."""
        see = ds.scene

        def center_of_mass(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.einsum("p,...pd->...d", self.share.numpy(), x)

        center = see.Derived(center_of_mass, self.x, unit="m")
        size = 0.5 * self.config.cell
        parts = self.mpm.parts()
        parts.append(see.Points(center, radius=size, color=see.INK, trail=True, label="centre of mass"))
        if self.has_goal:
            parts.append(see.Points(np.array(self.goal), radius=2.0 * size, color=see.GOAL, label="goal"))
        camera = see.Camera(toward=(-0.4, 0.8, -0.4), up=(0.0, 0.0, 1.0)) if self.dim == 3 else None
        if self.mpm.terrain is not None:
            return self._on_hills(parts, self.mpm.terrain, camera)
        low, high = (np.array(corner) + self.origin for corner in self.setup.room)
        floor = float(low[-1])
        low[-1] -= 0.08 * (high[-1] - low[-1])  # for some of the ground
        room = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
        return ds.Scene(parts, camera=camera, limits=room, ground=floor)

    def _on_hills(
        self, parts: list[ds.scene.Part], terrain: Terrain, camera: ds.scene.Camera | None
    ) -> ds.Scene:
        """Describe what is around the way over hills, with the grid's active blocks if it is sparse."""
        see, layout = ds.scene, self.mpm.layout
        ends = np.array([self.start, self.goal if self.has_goal else self.start])
        low, high = ends.min(axis=0) - _AROUND, ends.max(axis=0) + _AROUND
        parts = [ground(terrain, low, high), *parts]
        if isinstance(layout, Sparse):
            edge = layout.block

            def blocks(x: NDArray[np.float64]) -> NDArray[np.float64]:
                return active_blocks(x, self.config.cell, edge)

            parts.append(see.Curves(see.Derived(blocks, self.x), names=("active blocks",)))
        room = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
        return ds.Scene(parts, camera=camera, limits=room)
