"""`ds.gradient_of`: forces from an energy, held to differences of it and to forces written by hand."""

import warnings
from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

TRIANGLES = np.array([[0, 3, 4], [0, 4, 1], [1, 4, 5], [1, 5, 2]])
POINTS = np.array([[i / 2, j / 2] for j in range(2) for i in range(3)]) @ np.array([[1.0, 0.1], [0.0, 1.2]])
BENT = POINTS + 0.06 * np.sin(7.0 * np.arange(12)).reshape(6, 2)


class Membrane(ds.Simulator):
    """Six points, four triangles; `energy` names the kernel, or a force written by hand."""

    def __init__(self, energy: str, dt: float = 0.02, into: str = "force") -> None:
        shape = np.stack([POINTS[TRIANGLES[:, k]] - POINTS[TRIANGLES[:, 2]] for k in (0, 1)], -1)
        self.count, self.dt, self.energy = len(TRIANGLES), dt, energy
        self.corner = ds.Constant(TRIANGLES)
        self.inverse = ds.Constant(ds.mat2, self.count, init=np.linalg.inv(shape))
        self.x = ds.State(ds.vec2, 6, init=BENT)
        self.v = ds.State(ds.vec2, 6)
        self.force = ds.Scratch(ds.vec2, 6)
        self.F, self.area = ds.Scratch(ds.mat2, self.count), ds.Scratch(ds.real, self.count)
        self.U = ds.Scratch(ds.real)
        self.mu, self.lam = ds.Param(np.array([0.9])), ds.Param(np.array([0.7]))
        self.into = into

    @ti.func
    def deformation(self, t, e):
        a, b, c = (self.x[t, self.corner[e, k]] for k in range(3))
        return ti.Matrix.cols([a - c, b - c]) @ self.inverse[e]

    @ti.kernel
    def neo(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            log_J = ti.log(F.determinant())
            self.U[t] += 0.5 * self.mu[0] * ((F.transpose() @ F).trace() - 2.0 - 2.0 * log_J)
            self.U[t] += 0.5 * self.lam[0] * log_J**2

    @ti.kernel
    def neo_force(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            G = F.inverse().transpose()
            P = self.mu[0] * (F - G) + self.lam[0] * ti.log(F.determinant()) * G
            H = -P @ self.inverse[e].transpose()
            for k in ti.static(range(2)):
                self.force[t, self.corner[e, k]] += ti.Vector([H[0, k], H[1, k]])
                self.force[t, self.corner[e, 2]] -= ti.Vector([H[0, k], H[1, k]])

    @ti.kernel
    def stored(self, t: ti.i32):  # as programs with a tape write it: one loop stores what the next one reads
        for e in range(self.count):
            self.F[t, e] = self.deformation(t, e)
            self.area[t, e] = 1.0
            if self.F[t, e][0, 1] > 0.1:
                self.area[t, e] += self.F[t, e][0, 0] ** 2
        for e in range(self.count):
            F = self.F[t, e]
            density = 0.5 * self.mu[0] * (F.transpose() @ F).trace() - self.mu[0] * ti.log(F.determinant())
            self.U[t] += density * self.area[t, e] * self.area[t, (e + 1) % self.count]

    @ti.kernel
    def singular(self, t: ti.i32):
        for e in range(self.count):
            _U, S, _V = ti.svd(self.deformation(t, e))
            R, _P = ti.polar_decompose(self.deformation(t, e))
            self.U[t] += (
                self.mu[0] * ((S[0, 0] - 1.0) ** 2 + (S[1, 1] - 1.0) ** 4) + self.lam[0] * R[0, 1] ** 2
            )

    @ti.kernel
    def carried(self, t: ti.i32):  # loops in loops that carry what their adjoints need, a counter too
        for e in range(self.count):
            y, turns = (self.x[t, self.corner[e, 0]] - self.x[t, self.corner[e, 1]]).norm(), 0
            for k in range(1, 4):
                z = 0.1 * k
                for _ in range(k + 1):
                    z = ti.sin(z * y) + 0.3 * self.mu[0]
                if turns % 2 == 0:
                    turns += 3
                else:
                    turns += 2
                y = 0.5 * y * y * turns / (1.0 + k) + ti.cos(y) * z + self.x[t, self.corner[e, 2]][0]
            if y > 0.8:
                self.U[t] += y * y * self.lam[0]
            else:
                self.U[t] += y

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(6):
            self.v[t + 1, i] = 0.99 * self.v[t, i] + self.dt * self.force[t, i]
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]

    @ti.kernel
    def drift(self, t: ti.i32):
        for i in range(6):
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]

    @ti.kernel
    def keep_on(self, t: ti.i32):
        for i in range(6):
            self.v[t + 1, i] += 0.99 * self.v[t, i]

    def step(self, t: Any) -> None:
        if self.energy == "neo_force":
            self.neo_force(t)
            return self.move(t)
        if self.energy == "all":
            for kernel in (self.stored, self.singular, self.carried):
                kernel(t)  # the energy itself, to be looked at
                ds.gradient_of(kernel, wrt=self.x, into=self.force, scale=-1.0)(t)
            return self.move(t)
        kernel = self.neo
        if self.into == "v":  # into a State, at t + 1
            ds.gradient_of(kernel, wrt=self.x, into=self.v, scale=-self.dt)(t)
            self.keep_on(t)
            return self.drift(t)
        ds.gradient_of(kernel, wrt=self.x, into=self.force, scale=-1.0)(t)
        return self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(6):
            self.cost[None] += (self.x[t, i] * self.x[t, i]).sum() + 0.3 * self.v[t, i][0]

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


def outcome(sim: Membrane, **options: Any) -> tuple[Any, dict[str, Any]]:
    return ds.Rollout(sim, steps=6, **options).value_and_grad(wrt=[sim.mu, sim.lam, sim.x])


def test_forces_are_those_written_by_hand(runtime: Any) -> None:
    """Neo-Hookean: H = -P Dm^-T, also straight into velocities; and a plain program's first force."""
    cost, grads = outcome(Membrane("neo_force"))
    for into in ("force", "v"):
        other, gradients = outcome(Membrane("neo", into=into))
        assert other == pytest.approx(cost, rel=1e-13)
        for key, gradient in grads.items():
            np.testing.assert_allclose(gradients[key], gradient, rtol=1e-11, atol=1e-13, err_msg=key)
    sim = Membrane("neo")
    rollout = ds.Rollout(sim, steps=1)
    rollout.value()
    want = np.zeros((6, 2))
    for corners, B in zip(TRIANGLES, sim.inverse.numpy(), strict=True):
        F = np.stack([BENT[corners[k]] - BENT[corners[2]] for k in (0, 1)], -1) @ B
        G = np.linalg.inv(F).T
        H = -(0.9 * (F - G) + 0.7 * np.log(np.linalg.det(F)) * G) @ B.T
        want[corners[0]] += H[:, 0]
        want[corners[1]] += H[:, 1]
        want[corners[2]] -= H.sum(1)
    np.testing.assert_allclose(rollout.trajectory(sim.force)[0], want, rtol=1e-12, atol=1e-14)


def test_forces_are_slopes_of_the_energy(runtime: Any) -> None:
    """The force against differences of the energy, its own derivative against differences of a cost."""
    for sim, sign in ((Membrane("all", dt=3e-3), -1.0), (Overwriting(), 1.0)):
        rollout = ds.Rollout(sim, steps=3, mode="step")
        report = rollout.check_grad(directions=2)
        assert report.passed, report
        assert report.verdict == "right", report
        force, start = rollout.trajectory(sim.force)[0], sim.x.numpy()
        slopes = np.zeros_like(start)
        for place in np.ndindex(start.shape):
            energies = []
            for h in (1e-5, -1e-5):
                moved = start.copy()
                moved[place] += h
                sim.x.set(moved)
                rollout.value()
                energies.append(rollout.trajectory(sim.U)[0])
            slopes[place] = (energies[0] - energies[1]) / 2e-5
        np.testing.assert_allclose(sign * force, slopes, rtol=1e-6, atol=1e-8)


def test_modes_windows_and_worlds_agree(runtime: Any) -> None:
    cost, grads = outcome(Membrane("all", dt=3e-3), mode="step")
    for options in ({"mode": "fused", "window": 4, "worlds": 2}, {"mode": "chunk"}):
        worlds = options.get("worlds", 1)
        other, gradients = outcome(Membrane("all", dt=3e-3), **options)
        np.testing.assert_allclose(other, cost, rtol=1e-12)
        for key, gradient in grads.items():
            scale = np.abs(gradient).max()
            assert scale > 0.0, key
            np.testing.assert_allclose(gradients[key] / worlds, gradient, atol=1e-10 * scale, err_msg=key)


class Overwriting(ds.Simulator):
    """An energy that is made in place, in fields without the time, as plain Taichi has them."""

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, 4, init=BENT[:4] - 0.2)
        self.force, self.s = ds.Scratch(ds.vec2, 4), ds.Scratch(ds.real, 4)
        self.total, self.U, self.k = ds.Scratch(ds.real), ds.Scratch(ds.real), ds.Param(np.array([0.8]))

    @ti.kernel
    def energy(self):
        for i in range(4):
            self.s[i] = self.x[i][0] ** 2 * self.k[0]
            self.s[i] = ti.sin(self.s[i]) + self.s[i]
            for _ in range(2):
                self.s[i] *= 1.1 + self.x[i][1]
            if self.s[i] > 0.1:
                self.s[i] = ti.sqrt(self.s[i])
        for i in range(4):
            self.total[None] += self.s[i] ** 2 * self.s[(i + 1) % 4]
        ti.loop_config(serialize=True)
        for k in range(2):
            for i in range(1, 4):
                self.s[i] = 0.5 * self.s[i] * self.s[i - 1] + ti.sin(self.s[i]) * self.k[0] * (k + 1)
        for i in range(4):
            self.U[None] += self.s[i] * self.total[None]
        for i in range(4):
            self.s[i] += self.x[i][1]
        for i in range(4):
            self.U[None] += self.s[i] ** 3

    @ti.kernel
    def move(self):
        for i in self.x:
            self.x[i] -= 0.1 * self.force[i]

    @ti.kernel
    def measure(self):
        for i in self.x:
            self.cost[None] += self.x[i].dot(self.x[i])

    def step(self, t: Any) -> None:
        self.energy()
        ds.gradient_of(self.energy, wrt=self.x, into=self.force, of=self.U)()
        self.move()

    def terminal_cost(self, t: Any) -> None:
        self.measure()


# ---- springs at rest: no force, but a stiffness ----


class Resting(ds.Simulator):
    def __init__(self, means: str) -> None:
        self.x = ds.State(ds.vec2, 3, init=[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        self.force, self.U = ds.Scratch(ds.vec2, 3), ds.Scratch(ds.real)
        self.k = ds.Param(np.array([2.0, 3.0]))
        self.means = means

    @ti.kernel
    def springs(self, t: ti.i32):
        for s in range(2):
            d = self.x[t, s] - self.x[t, s + 1]
            square = d.dot(d)
            if ti.static(self.means == "if"):
                if square > 1e-12:
                    self.U[t] += 0.5 * self.k[s] * (d.norm() - 1.0) ** 2
            else:
                length = ti.select(square > 1e-12, ti.sqrt(square), 1.0)
                self.U[t] += 0.5 * self.k[s] * (length - 1.0) ** 2

    @ti.kernel
    def matrix(self, t: ti.i32):  # at the identity singular values are equal
        for _ in range(1):
            F = ti.Matrix.rows([self.x[t, 0] + ti.Vector([1.0, 0.0]), self.x[t, 1] + ti.Vector([-1.0, 1.0])])
            _U, S, _V = ti.svd(F)
            self.U[t] += self.k[0] * ((S[0, 0] - 1.0) ** 2 + (S[1, 1] - 1.0) ** 2)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i] - 0.1 * self.force[t, i]

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += (i + 1) * self.x[t, i][0] + (i + 2) * self.x[t, i][1]

    def step(self, t: Any) -> None:
        kernel = self.matrix if self.means == "svd" else self.springs
        ds.gradient_of(kernel, wrt=self.x, into=self.force)(t)
        self.move(t)

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


@pytest.mark.compilers
@pytest.mark.parametrize("means", ["if", "select", "svd"])
def test_a_force_of_zero_has_a_slope(runtime: Any, means: str) -> None:
    """What guards against the spring of no length must not take the stiffness of the one at rest."""
    sim = Resting(means)
    rollout = ds.Rollout(sim, steps=1)
    _, grads = rollout.value_and_grad(wrt=[sim.x])
    assert not rollout.trajectory(sim.force).any()
    lever = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    stiff = np.zeros((3, 2))
    if means == "svd":  # 2 k (F - R) by F at the identity: the symmetric part
        stiff[:2] = 2.0 * (lever[:2] + lever[:2].T)
    else:
        stiff[:2, 0] = 2.0 * np.array([1.0, -1.0]) * (lever[0, 0] - lever[1, 0])
    np.testing.assert_allclose(grads["x"], lever - 0.1 * stiff, rtol=1e-12)


# ---- what is refused, and what is meant ----


class Many(ds.Simulator):
    """Kernels to be differentiated in many ways; `call` says how."""

    def __init__(self, call: Any) -> None:
        self.x, self.v = ds.State(ds.vec2, 3, init=1.0), ds.State(ds.vec2, 3)
        self.f, self.U, self.W = ds.Scratch(ds.vec2, 3), ds.Scratch(ds.real), ds.Scratch(ds.real)
        self.s, self.wide = ds.Scratch(ds.real, 3), ds.Scratch(ds.vec3, 3)
        self.fixed, self.u = ds.Constant(ds.vec2, 3), ds.Control(ds.vec2, 3, init=0.5)
        self.call = call

    @ti.func
    def half_square(self, x):
        return 0.5 * x.dot(x)

    @ti.kernel
    def energy(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.half_square(self.x[t, i])

    @ti.kernel
    def first(self, t: ti.i32):
        for i in range(3):
            self.s[t, i] = self.x[t, i].dot(self.x[t, i])

    @ti.kernel
    def second(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.s[t, i] * self.x[t, i][0]

    @ti.kernel
    def two(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.x[t, i][0]
            self.W[t] += 0.5 * self.x[t, i][1] ** 2

    @ti.kernel
    def backward(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.s[t, i] * self.x[t, i][0]
        for i in range(3):
            self.s[t, i] = self.x[t, i][1]

    @ti.kernel
    def again(self, t: ti.i32):
        for i in range(3):
            for k in range(2):
                self.s[t, i] = self.x[t, i][0] * k

    @ti.kernel
    def unbounded(self, t: ti.i32):
        for i in range(3):
            y = self.x[t, i][0]
            for _ in range(ti.cast(3.0 * self.x[t, i][1], ti.i32)):
                y = ti.sin(y * y)
            self.U[t] += y

    @ti.kernel
    def driven(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.x[t, i].dot(self.u[t, i]) + self.half_square(self.u[t, i])

    @ti.kernel
    def ahead(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.x[t, i].dot(self.u[t, i]) * self.u[0, i][0]

    @ti.kernel
    def moving(self, t: ti.i32):
        for i in range(3):
            self.v[t + 1, i] = self.x[t, i]

    @ti.kernel
    def both(self, t: ti.i32):
        for i in range(3):
            self.U[t] += self.x[t, i].dot(self.x[t + 1, i])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i] - 0.1 * self.f[t, i]

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f[t, i][0] + 10.0 * self.f[t, i][1]

    def step(self, t: Any) -> None:
        self.call(self, t)
        self.move(t)

    def running_cost(self, t: Any) -> None:
        self.add(t)


G = ds.gradient_of


def _no_kernel(s: Many, t: Any) -> None:
    G(s.half_square, s.x, s.f)(t)


REFUSED = {
    "a @ti.func, ds.grad": (ds.ConfigError, _no_kernel),
    "have the type and shape": (ds.ConfigError, lambda s, t: G(s.energy, s.x, s.wide)(t)),
    "one field for each": (ds.ConfigError, lambda s, t: G(s.energy, (s.x, s.v), s.f)(t)),
    "another field than wrt": (ds.ConfigError, lambda s, t: G(s.energy, s.x, s.x)(t)),
    "wrt must be a State": (ds.ConfigError, lambda s, t: G(s.energy, s.fixed, s.f)(t)),
    "wrt must hold floats": (ds.ConfigError, lambda s, t: G(s.energy, ds.State(ds.i32), s.U)(t)),
    "scale must be a number": (ds.ConfigError, lambda s, t: G(s.energy, s.x, s.f, scale=float("nan"))(t)),
    "at must be 0": (ds.ConfigError, lambda s, t: G(s.energy, s.x, s.f, at=2)(t)),
    "its 1 argument": (ds.TraceError, lambda s, t: G(s.energy, s.x, s.f)(t, 3)),
    "no attribute path": (ds.TraceError, lambda s, t: G(s.energy, s.x, ds.Scratch(ds.vec2, 3))(t)),
    "would be 0": (ds.TraceError, lambda s, t: G(s.energy, s.v, s.f)(t)),
    "another kernel of the step makes": (
        ds.TraceError,
        lambda s, t: (s.first(t), G(s.second, s.x, s.f)(t)),
    ),
    "got Scratch U, Scratch W": (ds.TraceError, lambda s, t: G(s.two, s.x, s.f)(t)),
    "write Scratches only": (ds.TraceError, lambda s, t: G(s.moving, s.x, s.f)(t)),
    "at several times": (ds.TraceError, lambda s, t: G(s.both, s.x, s.f)(t)),
    "before they read it": (ds.TraceError, lambda s, t: G(s.backward, s.x, s.f)(t)),
    "got a store that may come after": (ds.TraceError, lambda s, t: G(s.again, s.x, s.f, of=s.s)(t)),
    "another step": (ds.TraceError, lambda s, t: G(s.ahead, s.u, s.f)(t)),
    "name a maximum": (ds.GradientError, lambda s, t: G(s.unbounded, s.x, s.f)(t)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_be_wrong_is_refused(runtime: Any, message: str) -> None:
    kind, call = REFUSED[message]
    with pytest.raises(kind, match=message):
        ds.Rollout(Many(call), steps=2)


def test_what_is_meant_can_be_said(runtime: Any) -> None:
    """Names of energies and times, fields held, several kernels: by the force of the first step, x = 1."""
    meant = {
        "plain": (lambda s, t: G(s.energy, wrt=[s.x], into=[s.f], scale=np.float32(2.0))(t=t), (2.0, 2.0)),
        "twice": (lambda s, t: [G(s.energy, s.x, s.f)(t) for _ in range(2)], (2.0, 2.0)),
        "of": (lambda s, t: G(s.two, s.x, s.f, of=s.W)(t), (0.0, 1.0)),
        "sum": (lambda s, t: G(s.first, s.x, s.f, of=s.s)(t), (2.0, 2.0)),
        "hold": (lambda s, t: (s.first(t), G(s.second, s.x, s.f, hold=s.s)(t)), (2.0, 0.0)),
        "control": (lambda s, t: G(s.driven, s.u, s.f)(t), (1.5, 1.5)),
        "chain": (lambda s, t: (s.first(t), G((s.first, s.second), s.x, s.f)(t)), (4.0, 2.0)),
    }
    for name, (call, force) in meant.items():
        sim = Many(call)
        rollout = ds.Rollout(sim, steps=1)
        assert rollout.value() == pytest.approx(3.0 * force[0] + 30.0 * force[1]), name
        rollout.close()


def test_a_gradient_by_hand_is_refused_and_a_changed_one_is_seen(runtime: Any) -> None:
    sim = Many(lambda s, t: G(s.energy, s.x, s.f, scale=s.scale)(t))
    with pytest.raises(ds.StateError, match="called from step"):
        G(sim.energy, sim.x, sim.f)(0)
    sim.scale = 1.0
    rollout = ds.Rollout(sim, steps=1)
    rollout.value()
    sim.scale = 2.0
    with warnings.catch_warnings(), pytest.raises(ds.StateError, match="than before"):
        rollout.value()
