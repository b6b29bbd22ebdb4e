"""The pendulum of the README, whose first gradient `first` waits for."""

import taichi as ti

import diffsim as ds


class Pendulum(ds.Simulator):
    """A pendulum, hanging at rest, with a weak motor at its pivot."""

    def __init__(self, dt=0.02):
        self.dt = dt
        self.angle = ds.State(ds.real)  # from hanging down [rad]
        self.speed = ds.State(ds.real)  # [rad/s]
        self.torque = ds.Control(ds.real)  # one number per step

    @ti.kernel
    def swing(self, t: ti.i32):
        push = 4.0 * ti.tanh(self.torque[t])
        self.speed[t + 1] = self.speed[t] + self.dt * (push - 9.8 * ti.sin(self.angle[t]))
        self.angle[t + 1] = self.angle[t] + self.dt * self.speed[t + 1]

    @ti.kernel
    def miss(self, t: ti.i32):
        self.cost[None] += (self.angle[t] - 3.14159) ** 2 + 0.1 * self.speed[t] ** 2

    def step(self, t):
        """Swing."""
        self.swing(t)

    def terminal_cost(self, t):
        """Compare with standing upright."""
        self.miss(t)
