"""Programs as a DiffTaichi user writes them: locals summed in inner loops, branches, decompositions.

Each runs in both modes; its gradients are compared between them and with central differences, its values with
plain NumPy.
"""

import numpy as np
import pytest
import taichi as ti
from traps.harness import assert_slopes

import diffsim as ds


def assert_right(simulator, steps, keys, expected, window=None, rounding=1e-11):
    """Compare cost, modes and slopes; `expected` is the cost by NumPy."""
    step = ds.Rollout(simulator, steps=steps, mode="step")
    fused = ds.Rollout(simulator, steps=steps, mode="fused", window=window)
    cost, grads = step.value_and_grad(keys)
    other, fused_grads = fused.value_and_grad(keys)
    assert fused.plan.mode == "fused", fused.plan.reason
    assert other == pytest.approx(cost, rel=1e-12)
    assert cost == pytest.approx(expected, rel=1e-10)
    for key, want in grads.items():
        assert np.any(want != 0.0)
        size = np.max(np.abs(want))
        np.testing.assert_allclose(fused_grads[key], want, rtol=1e-9, atol=rounding * size)
    assert_slopes(fused, keys)
    step.close(), fused.close()


# ---- n bodies ----


class NBody(ds.Simulator):
    """Gravity between all pairs, the force summed in a local vector."""

    def __init__(self, n=5, dt=0.02, softening=0.1):
        rng = np.random.default_rng(0)
        self.n, self.dt, self.softening = n, dt, softening
        self.x = ds.State(ds.vec2, n, init=rng.normal(size=(n, 2)))
        self.v = ds.State(ds.vec2, n, init=0.3 * rng.normal(size=(n, 2)))
        self.mass = ds.Param(rng.uniform(0.5, 1.5, size=n))
        self.goal = ds.Constant(ds.vec2, n, init=rng.normal(size=(n, 2)))

    @ti.kernel
    def advance(self, t: ti.i32):
        for i in range(self.n):
            force = ti.Vector([0.0, 0.0])
            for j in range(self.n):
                if i != j:
                    d = self.x[t, j] - self.x[t, i]
                    r = d.norm(self.softening)
                    force += self.mass[i] * self.mass[j] * d / r**3
            self.v[t + 1, i] = self.v[t, i] + self.dt * force / self.mass[i]
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]

    @ti.kernel
    def distance(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += (self.x[t, i] - self.goal[i]).norm_sqr()

    def step(self, t):
        self.advance(t)

    def terminal_cost(self, t):
        self.distance(t)


def test_n_bodies(runtime):
    simulator = NBody()
    x, v, mass = simulator.x.numpy(), simulator.v.numpy(), simulator.mass.numpy()
    for _ in range(40):
        d = x[None] - x[:, None]
        r = np.sqrt(np.sum(d**2, axis=2) + simulator.softening)
        v = v + simulator.dt * np.sum(mass[None, :, None] * d / r[..., None] ** 3, axis=1)
        x = x + simulator.dt * v
    expected = np.sum((x - simulator.goal.numpy()) ** 2)
    assert_right(simulator, 40, ["mass", "x", "v"], expected, window=16)


# ---- springs and a floor ----


class Springs(ds.Simulator):
    """Masses and springs in 2D over a floor: `dist.norm()`, actuation, collisions with friction."""

    def __init__(self, dt=0.01, ground=0.1):
        self.dt, self.ground = dt, ground
        points = np.array([[0.2, 0.12], [0.5, 0.15], [0.8, 0.13], [0.35, 0.45], [0.65, 0.4]])
        edges = np.array([[0, 1], [1, 2], [0, 3], [1, 3], [1, 4], [2, 4], [3, 4]])
        self.n_objects, self.n_springs = len(points), len(edges)
        self.anchor_a, self.anchor_b = ds.Constant(edges[:, 0]), ds.Constant(edges[:, 1])
        self.x = ds.State(ds.vec2, len(points), init=points)
        self.v = ds.State(ds.vec2, len(points), init=np.tile([0.4, -0.6], (len(points), 1)))
        self.force = ds.Scratch(ds.vec2, len(points))
        self.length = ds.Param(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1) * 0.97)
        self.stiffness = ds.Param(np.linspace(30.0, 60.0, len(edges)))
        self.phase = ds.Param(np.linspace(0.0, 2.0, len(edges)))

    @ti.kernel
    def apply_spring_force(self, t: ti.i32):
        for i in range(self.n_springs):
            a, b = self.anchor_a[i], self.anchor_b[i]
            pos_a, pos_b = self.x[t, a], self.x[t, b]
            dist = pos_a - pos_b
            length = dist.norm() + 1e-4
            target_length = self.length[i] * (1.0 + 0.1 * ti.sin(10.0 * t * self.dt + self.phase[i]))
            impulse = self.dt * (length - target_length) * self.stiffness[i] / length * dist
            ti.atomic_add(self.force[t, a], -impulse)
            ti.atomic_add(self.force[t, b], impulse)

    @ti.kernel
    def advance(self, t: ti.i32):
        for i in range(self.n_objects):
            s = ti.exp(-self.dt * 2.0)
            old_v = s * self.v[t, i] + self.force[t, i] + self.dt * ti.Vector([0.0, -1.8])
            old_x = self.x[t, i]
            new_v = old_v
            toi = 0.0
            if old_x[1] + self.dt * old_v[1] < self.ground and old_v[1] < -1e-4:
                toi = -(old_x[1] - self.ground) / old_v[1]
                new_v = ti.Vector([0.5 * old_v[0], -0.3 * old_v[1]])
            self.v[t + 1, i] = new_v
            self.x[t + 1, i] = old_x + toi * old_v + (self.dt - toi) * new_v

    @ti.kernel
    def head(self, t: ti.i32):
        self.cost[None] += -self.x[t, 3][0] + 0.1 * self.v[t, 0].norm_sqr()

    def step(self, t):
        self.apply_spring_force(t)
        self.advance(t)

    def terminal_cost(self, t):
        self.head(t)


def test_springs_and_a_floor(runtime):
    sim, steps = Springs(), 60
    a, b = sim.anchor_a.numpy(), sim.anchor_b.numpy()
    x, v, bounces = sim.x.numpy(), sim.v.numpy(), 0
    for t in range(steps):
        d = x[a] - x[b]
        length = np.sqrt(np.sum(d**2, axis=1)) + 1e-4
        target = sim.length.numpy() * (1.0 + 0.1 * np.sin(10.0 * t * sim.dt + sim.phase.numpy()))
        impulse = (sim.dt * (length - target) * sim.stiffness.numpy() / length)[:, None] * d
        v = np.exp(-sim.dt * 2.0) * v + sim.dt * np.array([0.0, -1.8])
        np.add.at(v, a, -impulse)
        np.add.at(v, b, impulse)
        hit = (x[:, 1] + sim.dt * v[:, 1] < sim.ground) & (v[:, 1] < -1e-4)
        toi = np.where(hit, -(x[:, 1] - sim.ground) / v[:, 1], 0.0)[:, None]
        new = np.where(hit[:, None], v * np.array([0.5, -0.3]), v)
        x, v = x + toi * v + (sim.dt - toi) * new, new
        bounces += hit.sum()
    assert bounces > 3
    assert_right(sim, steps, ["stiffness", "length", "phase", "x", "v"], -x[3, 0] + 0.1 * np.sum(v[0] ** 2))


# ---- a network ----


class Network(ds.Simulator):
    """A pendulum driven by a network of two layers, written as loops over neurons."""

    def __init__(self, hidden=6, dt=0.05):
        rng = np.random.default_rng(3)
        self.n_hidden, self.n_in, self.dt = hidden, 3, dt
        self.angle = ds.State(ds.real, 1, init=[0.8])
        self.rate = ds.State(ds.real, 1, init=[-0.2])
        self.inputs = ds.Scratch(ds.real, 3)
        self.hidden = ds.Scratch(ds.real, hidden)
        self.torque = ds.Scratch(ds.real, 1)
        self.w1 = ds.Param(rng.normal(size=(hidden, 3)))
        self.b1 = ds.Param(rng.normal(size=hidden))
        self.w2 = ds.Param(rng.normal(size=(1, hidden)))
        self.b2 = ds.Param([0.1])

    @ti.kernel
    def observe(self, t: ti.i32):
        self.inputs[t, 0] = ti.sin(self.angle[t, 0])
        self.inputs[t, 1] = ti.cos(self.angle[t, 0])
        self.inputs[t, 2] = self.rate[t, 0]

    @ti.kernel
    def first_layer(self, t: ti.i32):
        for j in range(self.n_hidden):
            act = 0.0
            for k in range(self.n_in):
                act += self.w1[j, k] * self.inputs[t, k]
            act += self.b1[j]
            self.hidden[t, j] = ti.tanh(act)

    @ti.kernel
    def second_layer(self, t: ti.i32):
        for j in range(1):
            act = self.b2[j]
            for k in range(self.n_hidden):
                act += self.w2[j, k] * self.hidden[t, k]
            self.torque[t, j] = ti.tanh(act)

    @ti.kernel
    def swing(self, t: ti.i32):
        for i in range(1):
            acceleration = -ti.sin(self.angle[t, i]) + ti.max(-0.9, ti.min(0.9, self.torque[t, i]))
            self.rate[t + 1, i] = 0.99 * self.rate[t, i] + self.dt * acceleration
            self.angle[t + 1, i] = self.angle[t, i] + self.dt * self.rate[t + 1, i]

    @ti.kernel
    def compute_loss(self, t: ti.i32):
        for i in range(1):
            self.cost[None] += (self.angle[t, i] - 1.0) ** 2 + 0.01 * self.torque[t, i] ** 2

    def step(self, t):
        self.observe(t)
        self.first_layer(t)
        self.second_layer(t)
        self.swing(t)

    def running_cost(self, t):
        self.compute_loss(t)


def test_network(runtime):
    sim, steps, cost = Network(), 50, 0.0
    angle, rate = 0.8, -0.2
    w1, b1, w2, b2 = (getattr(sim, name).numpy() for name in ("w1", "b1", "w2", "b2"))
    for _ in range(steps):
        torque = np.tanh(w2 @ np.tanh(w1 @ [np.sin(angle), np.cos(angle), rate] + b1) + b2)[0]
        cost += (angle - 1.0) ** 2 + 0.01 * torque**2
        rate = 0.99 * rate + sim.dt * (-np.sin(angle) + max(-0.9, min(0.9, torque)))
        angle += sim.dt * rate
    assert_right(sim, steps, ["w1", "b1", "w2", "b2", "angle", "rate"], cost)


# ---- the material point method ----


class MPM(ds.Simulator):
    """MLS-MPM in 2D: fixed corotated elastic particles, walls by branches on the grid (Hu et al., 2018)."""

    def __init__(self, n_particles=12, n_grid=8, dt=2e-3, decompose="polar"):
        rng = np.random.default_rng(1)
        self.n_particles, self.n_grid, self.dt, self.decompose = n_particles, n_grid, dt, decompose
        self.dx, self.inv_dx = 1.0 / n_grid, float(n_grid)
        self.p_vol, self.p_mass, self.gravity, self.bound = (0.5 / n_grid) ** 2, (0.5 / n_grid) ** 2, 9.8, 2
        self.x = ds.State(
            ds.vec2, n_particles, init=rng.uniform([0.3, 0.26], [0.6, 0.5], size=(n_particles, 2))
        )
        self.v = ds.State(ds.vec2, n_particles, init=np.tile([0.5, -1.5], (n_particles, 1)))
        self.C = ds.State(ds.mat2, n_particles)
        self.F = ds.State(ds.mat2, n_particles, init=np.tile(np.eye(2), (n_particles, 1, 1)))
        self.grid_v_in = ds.Scratch(ds.vec2, n_grid, n_grid)
        self.grid_m_in = ds.Scratch(ds.real, n_grid, n_grid)
        self.grid_v_out = ds.Scratch(ds.vec2, n_grid, n_grid)
        self.E = ds.Param(rng.uniform(40.0, 80.0, size=n_particles))

    @ti.kernel
    def p2g(self, t: ti.i32):
        for p in range(self.n_particles):
            base = (self.x[t, p] * self.inv_dx - 0.5).cast(int)
            fx = self.x[t, p] * self.inv_dx - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_F = (ti.Matrix.identity(ti.f64, 2) + self.dt * self.C[t, p]) @ self.F[t, p]
            self.F[t + 1, p] = new_F
            J = new_F.determinant()
            mu, la = self.E[p] / 2.4, self.E[p] / 3.0
            r = ti.Matrix.identity(ti.f64, 2)
            if ti.static(self.decompose == "polar"):
                r, _s = ti.polar_decompose(new_F)
            else:
                u, _sig, v = ti.svd(new_F)
                r = u @ v.transpose()
            cauchy = 2.0 * mu * (new_F - r) @ new_F.transpose()
            cauchy += ti.Matrix.identity(ti.f64, 2) * la * J * (J - 1.0)
            stress = -(self.dt * self.p_vol * 4.0 * self.inv_dx * self.inv_dx) * cauchy
            affine = stress + self.p_mass * self.C[t, p]
            for i in ti.static(range(3)):
                for j in ti.static(range(3)):
                    offset = ti.Vector([i, j])
                    dpos = (offset.cast(float) - fx) * self.dx
                    weight = w[i][0] * w[j][1]
                    self.grid_v_in[t, base + offset] += weight * (self.p_mass * self.v[t, p] + affine @ dpos)
                    self.grid_m_in[t, base + offset] += weight * self.p_mass

    @ti.kernel
    def grid_op(self, t: ti.i32):
        for i, j in ti.ndrange(self.n_grid, self.n_grid):
            if self.grid_m_in[t, i, j] > 1e-10:
                v_out = self.grid_v_in[t, i, j] / self.grid_m_in[t, i, j]
                v_out[1] -= self.dt * self.gravity
                if i < self.bound and v_out[0] < 0:
                    v_out[0] = 0
                if i > self.n_grid - self.bound and v_out[0] > 0:
                    v_out[0] = 0
                if j < self.bound and v_out[1] < 0:
                    v_out[0] *= 0.5
                    v_out[1] = 0
                if j > self.n_grid - self.bound and v_out[1] > 0:
                    v_out[1] = 0
                self.grid_v_out[t, i, j] = v_out

    @ti.kernel
    def g2p(self, t: ti.i32):
        for p in range(self.n_particles):
            base = (self.x[t, p] * self.inv_dx - 0.5).cast(int)
            fx = self.x[t, p] * self.inv_dx - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            new_v = ti.Vector([0.0, 0.0])
            new_C = ti.Matrix([[0.0, 0.0], [0.0, 0.0]])
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]).cast(float) - fx
                g_v = self.grid_v_out[t, base[0] + i, base[1] + j]
                weight = w[i][0] * w[j][1]
                new_v += weight * g_v
                new_C += 4.0 * weight * g_v.outer_product(dpos) * self.inv_dx
            self.v[t + 1, p] = new_v
            self.x[t + 1, p] = self.x[t, p] + self.dt * new_v
            self.C[t + 1, p] = new_C

    @ti.kernel
    def centre(self, t: ti.i32):
        for p in range(self.n_particles):
            self.cost[None] += (self.x[t, p][0] - 0.7) ** 2 / self.n_particles + 0.1 * self.v[t, p][1] ** 2

    def step(self, t):
        self.p2g(t)
        self.grid_op(t)
        self.g2p(t)

    def terminal_cost(self, t):
        self.centre(t)


def mpm_in_numpy(sim, steps):
    x, v, C, F = (getattr(sim, name).numpy().copy() for name in "xvCF")
    E, dt, n = sim.E.numpy(), sim.dt, sim.n_grid
    offsets = np.array([[i, j] for i in range(3) for j in range(3)])
    for _ in range(steps):
        base = (x * sim.inv_dx - 0.5).astype(int)
        fx = x * sim.inv_dx - base
        w = np.stack([0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2])
        F = (np.eye(2) + dt * C) @ F
        J = np.linalg.det(F)
        U, _, Vt = np.linalg.svd(F)
        cauchy = 2.0 * (E / 2.4)[:, None, None] * (F - U @ Vt) @ F.transpose(0, 2, 1)
        cauchy += np.eye(2) * (E / 3.0 * J * (J - 1.0))[:, None, None]
        affine = -(dt * sim.p_vol * 4.0 * sim.inv_dx**2) * cauchy + sim.p_mass * C
        momentum, mass = np.zeros((n, n, 2)), np.zeros((n, n))
        weights = [w[i, :, 0] * w[j, :, 1] for i, j in offsets]
        for (i, j), weight in zip(offsets, weights, strict=True):
            dpos = ([i, j] - fx) * sim.dx
            node = tuple((base + np.array([i, j])).T)
            carried = sim.p_mass * v + np.einsum("pij,pj->pi", affine, dpos)
            np.add.at(momentum, node, weight[:, None] * carried)
            np.add.at(mass, node, weight * sim.p_mass)
        out = np.where(mass[..., None] > 1e-10, momentum / np.maximum(mass, 1e-300)[..., None], 0.0)
        out[..., 1] -= np.where(mass > 1e-10, dt * sim.gravity, 0.0)
        b = sim.bound
        out[:b, :, 0] = np.maximum(out[:b, :, 0], 0.0)
        out[n - b + 1 :, :, 0] = np.minimum(out[n - b + 1 :, :, 0], 0.0)
        down = out[:, :b, 1] < 0
        out[:, :b, 0] *= np.where(down, 0.5, 1.0)
        out[:, :b, 1] = np.maximum(out[:, :b, 1], 0.0)
        out[:, n - b + 1 :, 1] = np.minimum(out[:, n - b + 1 :, 1], 0.0)
        v, C = np.zeros_like(v), np.zeros_like(C)
        for (i, j), weight in zip(offsets, weights, strict=True):
            g = weight[:, None] * out[tuple((base + np.array([i, j])).T)]
            v += g
            C += 4.0 * sim.inv_dx * g[:, :, None] * ([i, j] - fx)[:, None, :]
        x = x + dt * v
    return np.mean((x[:, 0] - 0.7) ** 2) + 0.1 * np.sum(v[:, 1] ** 2)


@pytest.mark.parametrize("decompose", ["polar", "svd"])
def test_material_points(runtime, decompose):
    simulator, steps = MPM(decompose=decompose), 12
    expected = mpm_in_numpy(simulator, steps)
    # at F = I singular values are equal, where the adjoint of an SVD stands sqrt(eps) beside the point
    rounding = 1e-9 if decompose == "svd" else 1e-11
    assert_right(simulator, steps, ["E", "x", "v", "F"], expected, rounding=rounding)
