"""Gradients: against finite differences and known answers, mode against mode, stored against checkpointed."""

import warnings

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import rules
from diffsim.compiler.codegen import printer
from diffsim.kernels.mass_spring import MassSpring

STEPS = 40


def relative(a, b):
    scale = max(np.max(np.abs(a)), np.max(np.abs(b)))
    return 0.0 if scale == 0 else float(np.max(np.abs(a - b)) / scale)


def assert_close(got, want, tolerance):
    assert got.keys() == want.keys()
    for key in want:
        assert relative(got[key], want[key]) <= tolerance, key


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for key in want:
        np.testing.assert_array_equal(got[key], want[key], err_msg=key)


def slopes(rollout, key, directions=5, h=1e-6, seed=3):
    """Yield slopes along random directions: by the gradient, and by our own central differences."""
    leaf = rollout.leaves([key])[0]
    values = leaf.numpy()
    gradient = rollout.value_and_grad([key])[1][key]
    rng = np.random.default_rng(seed)
    size = np.sqrt(np.mean(values**2)) or 1.0
    for _ in range(directions):
        d = rng.normal(size=values.shape) * size
        costs = []
        for sign in (1, -1):
            leaf.set(values + sign * h * d)
            costs.append(np.sum(rollout.value()))
        leaf.set(values)
        yield float(np.sum(gradient * d)), (costs[0] - costs[1]) / (2 * h)


class PendulumChain(ds.Simulator):
    """Pendulums coupled by springs, torques from a network; locals, branches and loops of several kinds."""

    def __init__(self, n=4, dt=0.05):
        rng = np.random.default_rng(0)
        self.n, self.dt = n, dt
        self.angle = ds.State(ds.real, n, init=rng.normal(size=n), history=2)
        self.speed = ds.State(ds.real, n)
        self.torque = ds.Scratch(ds.real, n)
        self.length = ds.Param(rng.uniform(0.8, 1.2, size=n))
        self.stiffness = ds.Param(0.7)
        self.push = ds.Control(ds.real, n, init=0.1)
        self.policy = ds.control.MLP(self.angle, self.torque, hidden=(5, 3), seed=1)

    @ti.kernel
    def swing(self, t: ti.i32):
        for i in range(self.n):
            pull = -9.8 / self.length[i] * ti.sin(self.angle[t, i])
            for j in range(self.n):  # a carried local, and a value from outside the loop
                pull += self.stiffness[None] * ti.tanh(self.angle[t, j] - self.angle[t, i]) * pull * 0.1
            pull += self.torque[t, i] + self.push[t, i]  # statements after an inner loop
            if pull > 1.0:
                pull = 1.0 + 0.5 * (pull - 1.0)
            drag = 0.1 * (self.angle[t, i] - self.angle[t - 1, i]) / self.dt
            self.speed[t + 1, i] = self.speed[t, i] + self.dt * (pull - drag)
            self.angle[t + 1, i] = self.angle[t, i] + self.dt * self.speed[t + 1, i]

    def step(self, t):
        self.policy(t)
        self.swing(t)

    @ti.kernel
    def effort(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += 0.01 * self.push[t, i] ** 2 + 0.1 * self.angle[t + 1, i] ** 2

    def running_cost(self, t):
        self.effort(t)

    @ti.kernel
    def height(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += ti.cos(self.angle[t, i])

    def terminal_cost(self, t):
        self.height(t)


KEYS = ["length", "stiffness", "push", "angle", "speed", "policy"]


@pytest.fixture(scope="module")
def chain(runtime):
    return PendulumChain()


@pytest.fixture(scope="module")
def reference(chain):
    """The gradients of `step` mode with everything in memory."""
    with_all = [getattr(chain, key) for key in KEYS]
    return ds.Rollout(chain, steps=STEPS, mode="step").value_and_grad(with_all)


def gradients(chain, **options):
    return ds.Rollout(chain, steps=STEPS, **options).value_and_grad([getattr(chain, key) for key in KEYS])


def test_chain_step_against_differences(chain, reference):
    rollout = ds.Rollout(chain, steps=STEPS, mode="step")
    for key in ("length", "stiffness", "push", "angle", "speed", "policy.w0", "policy.b1", "policy.w2"):
        for adjoint, difference in slopes(
            rollout, key, directions=5 if key in ("length", "policy.w0") else 2
        ):
            assert adjoint == pytest.approx(difference, rel=1e-6, abs=1e-9), key


def test_chain_fused_against_step(chain, reference):
    cost, grads = gradients(chain, mode="fused")
    assert cost == pytest.approx(reference[0], rel=1e-12)
    assert_close(grads, reference[1], 1e-10)


@pytest.mark.parametrize("mode", ["step", "fused"])
@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::diffsim.errors.PlanWarning")  # windows of one step, on purpose
def test_chain_windows_and_checkpoints_are_bit_equal(chain, mode):
    want = gradients(chain, mode=mode)
    budget = ds.plan(chain, steps=STEPS).smallest
    for options in ({"window": 7}, {"window": 1}, {"memory": budget}, {"memory": 2 * budget}):
        rollout = ds.Rollout(chain, steps=STEPS, mode=mode, **options)
        assert rollout.plan.segments > 1
        assert rollout.plan.checkpoints >= 1 or rollout.plan.segments == 2
        cost, grads = rollout.value_and_grad([getattr(chain, key) for key in KEYS])
        assert cost == want[0]
        assert_equal(grads, want[1])
        assert rollout.value() == want[0]


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_chain_worlds(chain, reference, mode):
    cost, grads = gradients(chain, mode=mode, worlds=3, window=16)
    np.testing.assert_allclose(cost, [reference[0]] * 3, rtol=1e-12)
    assert_close(grads, {k: 3 * g for k, g in reference[1].items()}, 1e-10)


class Oscillators(ds.Simulator):
    """Linear: `x[t + 1] = A x[t] + b u[t]`, so every gradient has a closed form; everything per world."""

    def __init__(self, per_world):
        rng = np.random.default_rng(2)
        self.a = ds.Param(rng.normal(size=(3, 3)) * 0.5, per_world=per_world)
        self.u = ds.Control(ds.real, 2, init=rng.normal(size=(6, 2)), per_world=per_world)
        self.b = ds.Constant(rng.normal(size=(3, 2)), per_world=per_world)
        self.x = ds.State(ds.vec3, init=rng.normal(size=3), per_world=per_world)
        self.next = ds.Scratch(ds.real, 3)

    @ti.kernel
    def multiply(self, t: ti.i32):
        for i in range(3):
            for j in ti.static(range(3)):
                self.next[t, i] += self.a[i, j] * self.x[t][j]
            for k in range(2):
                self.next[t, i] += self.b[i, k] * self.u[t, k]

    @ti.kernel
    def move(self, t: ti.i32):
        self.x[t + 1] = ti.Vector([self.next[t, i] for i in range(3)])

    def step(self, t):
        self.multiply(t)
        self.move(t)

    @ti.kernel
    def square(self, t: ti.i32):
        self.cost[None] += 0.5 * self.x[t].norm_sqr()

    def terminal_cost(self, t):
        self.square(t)


def closed_form(a, b, u, x):
    """Return cost and gradients of the linear system by hand."""
    path = [x]
    for t in range(len(u)):
        path.append(a @ path[-1] + b @ u[t])
    adjoint, da, du = path[-1], np.zeros_like(a), np.zeros_like(u)
    for t in reversed(range(len(u))):
        da += np.outer(adjoint, path[t])
        du[t] = b.T @ adjoint
        adjoint = a.T @ adjoint
    return 0.5 * np.sum(path[-1] ** 2), {"a": da, "u": du, "x": adjoint}


@pytest.mark.compilers
@pytest.mark.parametrize("mode", ["step", "fused"])
def test_linear_system_in_closed_form(runtime, mode):
    sim = Oscillators(per_world=False)
    cost, grads = ds.Rollout(sim, steps=6, mode=mode).value_and_grad(["a", "u", "x"])
    want = closed_form(sim.a.numpy(), sim.b.numpy(), sim.u.numpy(), sim.x.numpy())
    assert cost == pytest.approx(want[0], rel=1e-13)
    assert_close(grads, want[1], 1e-13)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_each_world_has_its_own(runtime, mode):
    sim = Oscillators(per_world=True)
    rollout = ds.Rollout(sim, steps=6, worlds=4, mode=mode, window=2)
    rng = np.random.default_rng(5)
    values = {"a": (4, 3, 3), "u": (4, 6, 2), "b": (4, 3, 2), "x": (4, 3)}
    for key, shape in values.items():
        values[key] = rng.normal(size=shape) * 0.5
        getattr(sim, key).set(values[key])
    cost, grads = rollout.value_and_grad(["a", "u", "x"])
    for w in range(4):
        want = closed_form(*(values[key][w] for key in ("a", "b", "u", "x")))
        assert cost[w] == pytest.approx(want[0], rel=1e-12)
        assert_close({k: g[w] for k, g in grads.items()}, want[1], 1e-12)
    path = rollout.trajectory(sim.x)
    assert path.shape == (7, 4, 3)
    np.testing.assert_allclose(
        path[1, 2], values["a"][2] @ values["x"][2] + values["b"][2] @ values["u"][2, 0]
    )


class Throw(ds.Simulator):
    """Free fall from where `reset` puts the ball, at a height that depends on a Param."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 1)
        self.v = ds.State(ds.vec2, 1)
        self.start = ds.Param([0.5, 2.0])

    @ti.kernel
    def place(self):
        for i in range(1):
            self.x[0, i] = ds.vec2(0.0, self.start[0] ** 2)
            self.v[0, i] = ds.vec2(self.start[1], 0.0)

    def reset(self):
        self.place()

    @ti.kernel
    def fall(self, t: ti.i32):
        for i in range(1):
            self.v[t + 1, i] = self.v[t, i] - 0.01 * ti.Vector([0.0, 9.8])
            self.x[t + 1, i] = self.x[t, i] + 0.01 * self.v[t + 1, i]

    def step(self, t):
        self.fall(t)

    @ti.kernel
    def area(self, t: ti.i32):
        self.cost[None] += self.x[t, 0].x * self.x[t, 0].y

    def terminal_cost(self, t):
        self.area(t)


def test_reset_from_params(runtime):
    sim = Throw()
    cost, grads = ds.Rollout(sim, steps=30, window=8).value_and_grad()
    far, drop = 30 * 0.01 * 2.0, 9.8 * 0.01**2 * 30 * 31 / 2
    assert cost == pytest.approx(far * (0.25 - drop), rel=1e-12)
    np.testing.assert_allclose(grads["start"], [far * 2 * 0.5, 0.3 * (0.25 - drop)], rtol=1e-12)


class Wave(ds.Simulator):
    """The wave equation on a ring, second order in time; one mode turns by a known angle per step."""

    def __init__(self, n=16):
        self.n, self.c2 = n, 0.3
        self.amplitude = ds.Param(1.5)
        self.u = ds.State(ds.real, n, history=2)
        self.shape = ds.Constant(np.cos(2 * np.pi * 3 * np.arange(n) / n))

    @ti.kernel
    def pluck(self):
        for i in range(self.n):
            self.u[0, i] = self.amplitude[None] * self.shape[i]
            self.u[-1, i] = self.amplitude[None] * self.shape[i]

    def reset(self):
        self.pluck()

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            laplacian = self.u[t, (i + 1) % self.n] + self.u[t, (i - 1) % self.n] - 2.0 * self.u[t, i]
            self.u[t + 1, i] = 2.0 * self.u[t, i] - self.u[t - 1, i] + self.c2 * laplacian

    def step(self, t):
        self.move(t)

    @ti.kernel
    def energy(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.u[t, i] ** 2

    def terminal_cost(self, t):
        self.energy(t)


@pytest.mark.compilers
@pytest.mark.parametrize("window", [None, 5, 1])
def test_wave_with_history(runtime, window):
    sim = Wave()
    rollout = ds.Rollout(sim, steps=25, window=window)
    cost, grads = rollout.value_and_grad()
    before, now = 1.0, 1.0  # of the mode, by its own recurrence
    slow = 2.0 - 4.0 * sim.c2 * np.sin(np.pi * 3 / sim.n) ** 2
    for _ in range(25):
        before, now = now, slow * now - before
    assert cost == pytest.approx(1.5**2 * now**2 * 8, rel=1e-10)
    assert grads["amplitude"] == pytest.approx(2 * 1.5 * now**2 * 8, rel=1e-10)
    assert rollout.trajectory(sim.u, every=5).shape == (6, 16)


class History(ds.Simulator):
    """What is rare, in one program: three past steps, statements outside loops, a State that no kernel writes
    and one written in part and at some steps only, costs in every phase, a Scratch in the terminal cost."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = ds.State(ds.real, 3, init=rng.normal(size=3), history=3)
        self.v = ds.State(ds.mat2, 3, init=rng.normal(size=(3, 2, 2)), history=2)
        self.kept = ds.State(ds.real, 2, init=rng.normal(size=2))
        self.z = ds.State(ds.real, 3, keep=False)
        self.s = ds.Param(0.3)
        self.f = ds.Scratch(ds.real, 3)
        self.u = ds.Control(ds.vec2, 3, init=rng.normal(size=(7, 3, 2)))
        self.next = ds.Constant([1, 2, 0])

    @ti.kernel
    def push(self, t: ti.i32):
        a = self.x[t, 0] * self.s[None]
        self.f[t, 1] = ti.sin(a)
        b = a * self.x[t - 2, 2]
        if b > 0:
            self.f[t, 2] += b
        else:
            self.f[t, 0] -= b

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            old = 0.3 * ti.sin(self.x[t - 1, i]) + 0.2 * self.x[t - 2, i] * self.f[t, i]
            self.x[t + 1, i] = 0.5 * self.x[t, i] - old + self.kept[t, i % 2] * 0.1
            turn = self.u[t, i].outer_product(self.u[t, (i + 1) % 3])
            self.v[t + 1, i] = self.v[t, i] @ self.v[t - 1, i] * 0.2 + 0.1 * turn
            if t % 2 == 0:
                self.z[t + 1, self.next[i]] = self.x[t, i] * self.z[t, i] + self.x[t + 1, i]
            self.cost[None] += 0.1 * self.z[t, i] ** 2

    def step(self, t):
        self.push(t)
        self.move(t)

    @ti.kernel
    def running(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.f[t, i] * self.x[t + 1, i] * self.z[t + 1, i]
            self.cost[None] += self.x[t - 1, i] * self.u[t, i].sum()

    def running_cost(self, t):
        self.running(t)

    @ti.kernel
    def gather(self, t: ti.i32):
        for i in range(3):
            self.f[t, self.next[i]] += self.x[t - 2, i] * self.z[t, i]

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i] ** 2 + self.x[t - 2, i] * self.f[t, i] + self.v[t - 1, i].sum()

    def terminal_cost(self, t):
        self.gather(t)
        self.end(t)

    def by_hand(self, steps):
        """Return the cost from the same equations in NumPy."""
        x, v = [self.x.numpy()] * 3, [self.v.numpy()] * 2  # the times before the first are like it
        z, u, kept, nxt = np.zeros(3), self.u.numpy(), self.kept.numpy(), np.array([1, 2, 0])
        cost = 0.0
        for t in range(steps):
            f = np.zeros(3)
            a = x[-1][0] * float(self.s.numpy())
            f[1] = np.sin(a)
            b = a * x[-3][2]
            f[2 if b > 0 else 0] += abs(b)
            old = 0.3 * np.sin(x[-2]) + 0.2 * x[-3] * f
            new = 0.5 * x[-1] - old + kept[np.arange(3) % 2] * 0.1
            v.append(v[-1] @ v[-2] * 0.2 + 0.1 * u[t][:, :, None] * u[t][nxt][:, None, :])
            cost += 0.1 * np.sum(z**2)
            later = np.zeros(3)
            if t % 2 == 0:
                later[nxt] = x[-1] * z + new
            cost += np.sum(f * new * later) + np.sum(x[-2] * u[t].sum(axis=1))
            x.append(new)
            z = later
        f = np.zeros(3)
        f[nxt] += x[-3] * z
        return cost + np.sum(x[-1] ** 2) + np.sum(x[-3] * f) + np.sum(v[-2])


@pytest.fixture(scope="module")
def rare(runtime):
    """Return the program `History` and its cost and gradients in `step` mode, checked against differences."""
    sim = History()
    rollout = ds.Rollout(sim, steps=7, mode="step")
    assert rollout.value() == pytest.approx(sim.by_hand(7), rel=1e-12)
    for key in RARE:
        for adjoint, difference in slopes(rollout, key):
            assert adjoint == pytest.approx(difference, rel=1e-6, abs=1e-9), key
    return sim, rollout.value_and_grad(RARE)


RARE = ["x", "v", "kept", "z", "s", "u"]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fused"},
        {"mode": "step", "window": 1},
        {"mode": "fused", "window": 2},
        {"mode": "fused", "window": 2, "worlds": 2},
    ],
    ids=str,
)
def test_rare_programs(rare, options):
    sim, (cost, want) = rare
    found, grads = ds.Rollout(sim, steps=7, **options).value_and_grad(RARE)
    np.testing.assert_allclose(found, cost, rtol=1e-13)
    assert_close(grads, {k: options.get("worlds", 1) * g for k, g in want.items()}, 1e-10)


# ---- Taichi's own tape ----


@ti.data_oriented
class LatticeKernels:
    """Masses on a ring with nonlinear springs: perfect nests, on which Taichi's own reverse mode is right."""

    @ti.kernel
    def springs(self, t: ti.i32):
        for i in range(self.n):
            for s in ti.static(range(2)):
                j = (i + s + 1) % self.n
                gap = self.x[t, j] - self.x[t, i]
                pull = self.k[i, s] * ti.tanh(gap.norm(1e-2)) * gap
                self.force[t, i] += pull
                self.force[t, j] -= ti.max(pull, -0.5)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.v[t + 1, i] = 0.99 * self.v[t, i] + 0.1 * self.force[t, i]
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t, i]

    @ti.kernel
    def spread(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i].norm_sqr() * ti.exp(-0.1 * self.v[t, i][0])


class Lattice(LatticeKernels, ds.Simulator):
    """The kernels as a simulator."""

    def __init__(self, n=8):
        rng = np.random.default_rng(1)
        self.n = n
        self.x = ds.State(ds.vec2, n, init=rng.normal(size=(n, 2)))
        self.v = ds.State(ds.vec2, n, init=rng.normal(size=(n, 2)))
        self.k = ds.Param(rng.uniform(0.5, 1.5, size=(n, 2)))
        self.force = ds.Scratch(ds.vec2, n)

    def step(self, t):
        self.springs(t)
        self.move(t)

    def terminal_cost(self, t):
        self.spread(t)


class TapedLattice(LatticeKernels):
    """The kernels on Taichi's fields with a time axis, as a DiffTaichi program has them."""

    def __init__(self, sim, steps):
        self.n = sim.n
        self.x, self.v, self.force = (
            ti.Vector.field(2, ti.f64, shape=(steps + 1, sim.n), needs_grad=True) for _ in range(3)
        )
        self.k = ti.field(ti.f64, shape=(sim.n, 2), needs_grad=True)
        self.cost = ti.field(ti.f64, shape=(), needs_grad=True)
        self.k.from_numpy(sim.k.numpy())
        for i in range(sim.n):
            self.x[0, i], self.v[0, i] = sim.x.numpy()[i].tolist(), sim.v.numpy()[i].tolist()


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_same_as_taichis_tape(runtime, mode):
    steps = 9
    sim = Lattice()
    cost, grads = ds.Rollout(sim, steps=steps, mode=mode).value_and_grad(["k", "x", "v"])
    taped = TapedLattice(sim, steps)
    with ti.ad.Tape(taped.cost):
        for t in range(steps):
            taped.springs(t)
            taped.move(t)
        taped.spread(steps)
    assert cost == pytest.approx(taped.cost[None], rel=1e-13)
    want = {"k": taped.k.grad.to_numpy(), "x": taped.x.grad.to_numpy()[0], "v": taped.v.grad.to_numpy()[0]}
    assert_close(grads, want, 1e-12)


# ---- mass-spring robots ----


@pytest.fixture(scope="module")
def robot(runtime):
    sim = MassSpring(1)
    rng = np.random.default_rng(0)
    sim.v.set(rng.normal(size=(14, 2)) * 0.1)
    return sim


WRT = ["policy", "x", "v", "stiffness"]


def robot_gradients(robot, **options):
    wrt = [getattr(robot, key) for key in WRT]
    return ds.Rollout(robot, **options).value_and_grad(wrt)


@pytest.mark.parametrize("steps", [60, 682])
def test_robot_fused_against_step(robot, steps):
    want = robot_gradients(robot, steps=steps, mode="step")
    got = robot_gradients(robot, steps=steps, mode="fused")
    assert got[0] == pytest.approx(want[0], rel=1e-12)
    assert_close(got[1], want[1], 1e-10)


@pytest.mark.cpu
@pytest.mark.parametrize("mode", ["step", "fused"])
def test_robot_checkpoints_are_bit_equal(robot, mode):
    want = robot_gradients(robot, steps=60, mode=mode)
    got = robot_gradients(robot, steps=60, mode=mode, window=8)
    assert got[0] == want[0]
    assert_equal(got[1], want[1])


def test_robot_worlds(robot):
    want = robot_gradients(robot, steps=30, mode="fused")
    got = robot_gradients(robot, steps=30, mode="fused", worlds=5, window=11)
    np.testing.assert_allclose(got[0], [want[0]] * 5, rtol=1e-12)
    assert_close(got[1], {k: 5 * g for k, g in want[1].items()}, 1e-10)


def test_robot_against_differences(robot):
    rollout = ds.Rollout(robot, steps=60)
    assert rollout.check_grad([robot.policy]).passed
    for key in ("policy.w0", "policy.w1", "v"):
        for adjoint, difference in slopes(rollout, key):
            assert adjoint == pytest.approx(difference, rel=1e-6, abs=1e-9), key


# ---- the checks themselves ----


def test_a_planted_wrong_rule_fails_the_check(chain, monkeypatch):
    def slope_of_tanh(b, args, result, g):
        return (lambda: b.op("mul", g, b.op("sub", b.const(1.01), b.op("mul", result, result))),)

    monkeypatch.setitem(rules._RULES, "tanh", slope_of_tanh)
    report = ds.Rollout(chain, steps=STEPS, mode="step").check_grad(["policy.w1", "length"], directions=2)
    assert not report.passed
    assert report.error > 1e-5
    assert "FAILED" in str(report)


def test_a_planted_fault_in_fused_code_falls_back_to_step(chain, reference, monkeypatch):
    plain = printer.Printer.loop

    def lose_order(self, op, lane):  # backward loops that carry values must run downward
        if op.descending:
            op.descending = False
        plain(self, op, lane)

    monkeypatch.setattr(printer.Printer, "loop", lose_order)
    rollout = ds.Rollout(chain, steps=STEPS, mode="fused")
    monkeypatch.undo()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkeypatch.setattr(
            "diffsim.engine.executors.fused_backward", _with_fault(lose_order, plain, monkeypatch)
        )
        _, grads = rollout.value_and_grad([getattr(chain, key) for key in KEYS])
    assert any("gave other results than 'step'" in str(w.message) for w in caught)
    assert rollout.plan.mode == "step"
    assert "differed" in rollout.plan.reason
    assert_close(grads, reference[1], 1e-12)


def _with_fault(faulty, plain, monkeypatch):
    from diffsim.engine import executors

    original = executors.fused_backward

    def print_with_fault(*args):
        monkeypatch.setattr(printer.Printer, "loop", faulty)
        try:
            return original(*args)
        finally:
            monkeypatch.setattr(printer.Printer, "loop", plain)

    return print_with_fault


def test_a_gradient_that_is_not_finite_is_an_error(runtime):
    class Root(Throw):
        @ti.kernel
        def area(self, t: ti.i32):
            self.cost[None] += ti.sqrt(self.x[t, 0].x)

    sim = Root()
    sim.start.set([0.5, 0.0])  # the ball stays at x = 0, where the root is infinitely steep
    with pytest.raises(
        ds.GradientError, match=r"the gradient of start must be finite, got inf at index \[1\]"
    ):
        ds.Rollout(sim, steps=2, mode="step").value_and_grad()
