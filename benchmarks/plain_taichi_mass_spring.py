"""The yardstick: the mass-spring program in plain Taichi, as one writes it without diffsim.

All steps are in memory, a step is one launch per kernel, and `ti.ad.Tape` gives the gradient. The physics,
the controller and the cost are those of `diffsim.kernels.mass_spring`; this file uses nothing of diffsim. It
is written for speed within that form: inputs are assembled once per step, no kernel repeats another's work.

    program = PlainMassSpring(robot, weights, steps=682)    # after ti.init(force_scalarize_matrix=True)
    cost, gradients = program.value_and_grad()
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import math
from typing import Any

import numpy as np
import taichi as ti

from benchmarks.mass_spring_problem import (
    AT_REST,
    DAMPING,
    DT,
    GOAL,
    GRAVITY,
    GROUND,
    HIDDEN,
    INPUT_SCALE,
    OMEGA,
    SINES,
    Arrays,
    draw_weights,
)

__all__ = ["PARAMETERS", "PlainMassSpring", "draw_weights"]

PARAMETERS = ("w0", "b0", "w1", "b1")


@ti.data_oriented
class PlainMassSpring:
    """The program: fields, kernels, and the loop over time under a tape.

    Args:
        robot: `points` (n, 2), `springs` (m, 2), `rest_length`, `stiffness`, `actuation` (m,) and `head`.
        weights: `w0`, `b0`, `w1`, `b1` as `draw_weights` gives them.
        steps: Time steps.
    """

    def __init__(self, robot: Any, weights: Arrays, steps: int) -> None:
        self.steps, self.head = steps, int(robot.head)
        self.n, self.m = len(robot.points), len(robot.springs)
        self.inputs = SINES + 4 * self.n + 2
        self.decay, self.share = math.exp(-DAMPING * DT), 1.0 / self.n
        real = ti.f64 if np.asarray(weights["w0"]).dtype == np.float64 else ti.f32
        self._allocate(real)
        for name, array in (
            ("edges", robot.springs),
            ("rest", robot.rest_length),
            ("stiffness", robot.stiffness),
            ("limit", robot.actuation),
        ):
            field = getattr(self, name)
            field.from_numpy(
                np.asarray(array, dtype=np.int32 if field.dtype == ti.i32 else weights["w0"].dtype)
            )
        self.start.from_numpy(np.asarray(robot.points, dtype=weights["w0"].dtype))
        self.set(weights)
        self.place()

    def _allocate(self, real: Any) -> None:
        """Make the fields: whatever varies in time is there for every step."""
        n, m, steps = self.n, self.m, self.steps
        self.x = ti.Vector.field(2, real, shape=(steps + 1, n), needs_grad=True)
        self.v = ti.Vector.field(2, real, shape=(steps + 1, n), needs_grad=True)
        self.impulse = ti.Vector.field(2, real, shape=(steps, n), needs_grad=True)
        self.centroid = ti.Vector.field(2, real, shape=steps, needs_grad=True)
        self.seen = ti.field(real, shape=(steps, self.inputs), needs_grad=True)
        self.sum0 = ti.field(real, shape=(steps, HIDDEN), needs_grad=True)
        self.hidden = ti.field(real, shape=(steps, HIDDEN), needs_grad=True)
        self.sum1 = ti.field(real, shape=(steps, m), needs_grad=True)
        self.actuation = ti.field(real, shape=(steps, m), needs_grad=True)
        self.w0 = ti.field(real, shape=(self.inputs, HIDDEN), needs_grad=True)
        self.b0 = ti.field(real, shape=HIDDEN, needs_grad=True)
        self.w1 = ti.field(real, shape=(HIDDEN, m), needs_grad=True)
        self.b1 = ti.field(real, shape=m, needs_grad=True)
        self.loss = ti.field(real, shape=(), needs_grad=True)
        self.start = ti.Vector.field(2, real, shape=n)
        self.edges = ti.field(ti.i32, shape=(m, 2))
        self.rest, self.stiffness, self.limit = (ti.field(real, shape=m) for _ in range(3))

    def set(self, weights: Arrays) -> None:
        """Give the controller its weights."""
        for name in PARAMETERS:
            getattr(self, name).from_numpy(np.ascontiguousarray(weights[name]))

    @ti.kernel
    def place(self):
        """Put the robot where it starts."""
        for i in range(self.n):
            self.x[0, i] = self.start[i]

    @ti.kernel
    def clear(self):
        """Zero what kernels add to."""
        for t, i in self.impulse:
            self.impulse[t, i] = ti.Vector([0.0, 0.0])
        for t in self.centroid:
            self.centroid[t] = ti.Vector([0.0, 0.0])
        for t, i in self.sum0:
            self.sum0[t, i] = 0.0
        for t, s in self.sum1:
            self.sum1[t, s] = 0.0

    @ti.kernel
    def observe(self, t: ti.i32):
        """Assemble the controller's inputs."""
        for i in range(self.n):
            self.centroid[t] += self.share * self.x[t, i]
        for k in range(SINES):
            self.seen[t, k] = ti.sin(OMEGA * DT * t + 2.0 * math.pi / SINES * k)
        for i in range(self.n):
            offset = self.x[t, i] - self.centroid[t]
            self.seen[t, SINES + 4 * i] = INPUT_SCALE * offset[0]
            self.seen[t, SINES + 4 * i + 1] = INPUT_SCALE * offset[1]
            self.seen[t, SINES + 4 * i + 2] = INPUT_SCALE * self.v[t, i][0]
            self.seen[t, SINES + 4 * i + 3] = INPUT_SCALE * self.v[t, i][1]
        for _ in range(1):
            self.seen[t, SINES + 4 * self.n] = GOAL[0] - self.centroid[t][0]
            self.seen[t, SINES + 4 * self.n + 1] = GOAL[1] - self.centroid[t][1]

    @ti.kernel
    def think(self, t: ti.i32):
        """Compute the hidden layer."""
        for i in range(HIDDEN):
            for j in range(self.inputs):
                self.sum0[t, i] += self.w0[j, i] * self.seen[t, j]
        for i in range(HIDDEN):
            self.hidden[t, i] = ti.tanh(self.sum0[t, i] + self.b0[i])

    @ti.kernel
    def act(self, t: ti.i32):
        """Compute the muscles' commands."""
        for s in range(self.m):
            for i in range(HIDDEN):
                self.sum1[t, s] += self.w1[i, s] * self.hidden[t, i]
        for s in range(self.m):
            self.actuation[t, s] = ti.tanh(self.sum1[t, s] + self.b1[s])

    @ti.kernel
    def pull(self, t: ti.i32):
        """Add up the springs' impulses [kg m/s]."""
        for s in range(self.m):
            a, b = self.edges[s, 0], self.edges[s, 1]
            span = self.x[t, a] - self.x[t, b]
            length = span.norm()
            target = self.rest[s] * (1.0 + self.limit[s] * self.actuation[t, s])
            push = DT * self.stiffness[s] * (length - target) / length * span
            self.impulse[t, a] -= push
            self.impulse[t, b] += push

    @ti.kernel
    def advance(self, t: ti.i32):
        """Move the points; one that meets the ground on its way down stays where it meets it."""
        for i in range(self.n):
            v = self.decay * self.v[t, i] + self.impulse[t, i] + ti.Vector([0.0, DT * GRAVITY])
            height = self.x[t, i][1] - GROUND
            if v[1] < -AT_REST and height + DT * v[1] < 0.0:
                self.v[t + 1, i] = ti.Vector([0.0, 0.0])
                self.x[t + 1, i] = self.x[t, i] - height / v[1] * v
            else:
                self.v[t + 1, i] = v
                self.x[t + 1, i] = self.x[t, i] + DT * v

    @ti.kernel
    def judge(self):
        """Take minus the head's x [m] as the cost."""
        for _ in range(1):
            self.loss[None] = -self.x[self.steps, self.head][0]

    def forward(self) -> None:
        """Run all steps and the cost."""
        for t in range(self.steps):
            self.observe(t)
            self.think(t)
            self.act(t)
            self.pull(t)
            self.advance(t)
        self.judge()

    def value(self) -> float:
        """Return the cost."""
        self.clear()
        self.forward()
        return float(self.loss[None])

    def value_and_grad(self) -> tuple[float, Arrays]:
        """Return the cost and its gradient with respect to the weights."""
        self.clear()
        with ti.ad.Tape(loss=self.loss):
            self.forward()
        return float(self.loss[None]), {name: getattr(self, name).grad.to_numpy() for name in PARAMETERS}
