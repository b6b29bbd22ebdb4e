"""Places that are written after they were read, in place and without the time: as plain Python has it."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import GradientError, TraceError

N, STEPS = 8, 5
RNG = np.random.default_rng(0)
START = {"x": RNG.normal(size=(N, 2)), "u": RNG.normal(size=(N, N))}
PARENT = np.array([-1, 0, 0, 1, 1, 2, 5, 3])


class InPlace(ds.Simulator):
    """Kernels as plain Taichi has them: chains, branches, sweeps, struct-fors, trees, none with a time."""

    def __init__(self):
        self.x = ds.State(ds.vec2, N, init=START["x"])
        self.v = ds.State(ds.vec2, N)
        self.u = ds.State(ds.real, N, N, init=START["u"])
        self.g, self.s = ds.Scratch(ds.real, N), ds.Scratch(ds.real, N)
        self.w, self.low = ds.Scratch(ds.real, N, N), ds.Scratch(ds.real, 4, 4)
        self.a = ds.Param(np.array(0.7))
        self.parent = ds.Constant(PARENT)

    @ti.kernel
    def chain(self):
        for i in self.g:
            self.g[i] += ti.sin(self.x[i][0]) * self.a[None]
        for i in self.g:
            if self.g[i] > 0.0:
                self.g[i] = self.g[i] * self.g[i] + 0.1
                self.g[i] *= self.a[None]
            if self.g[i] > 0.3:
                self.g[i] = ti.tanh(self.g[i])

    @ti.kernel
    def sweep(self):
        ti.loop_config(serialize=True)
        for k in range(3):
            for i in range(N):
                self.g[i] = 0.3 * self.g[i] * self.g[(i + 1) % N] + 0.5 * ti.cos(self.g[(i + N - 1) % N])
                if i == k:
                    self.g[i] -= self.a[None] * self.g[N - 1 - i]

    @ti.kernel
    def move(self):
        for i in self.x:
            self.v[i] += 0.1 * ti.Vector([self.g[i], -self.x[i][1]])
            self.x[i] += 0.1 * self.v[i]
            if self.x[i][0] > 0.5:
                self.x[i][0] *= 0.9

    @ti.kernel
    def normalize(self):
        for i in self.x:
            self.x[i] = self.x[i] / (1.0 + self.x[i].norm_sqr())

    @ti.kernel
    def stencil(self):
        for i, j in self.u:
            east, west = self.u[(i + 1) % N, j], self.u[(i + N - 1) % N, j]
            self.w[i, j] = self.u[i, j] * east + ti.sin(west) * self.u[i, (j + 1) % N]

    @ti.kernel
    def update(self):
        for at in ti.grouped(self.u):
            if at[0] < N - 1:
                self.u[at] = ti.tanh(self.u[at] + 0.1 * self.a[None] * self.w[at])

    @ti.kernel
    def tree(self):
        for _ in range(1):
            for i in range(N):
                p, value = self.parent[i], self.u[i, 0]
                if p >= 0:
                    value += 0.3 * ti.sin(self.s[p]) * self.s[p]
                self.s[i] = value
            for m in range(N):
                i = N - 1 - m
                if self.parent[i] >= 0:
                    self.s[self.parent[i]] += 0.2 * self.s[i] * self.s[i]

    @ti.kernel
    def cholesky(self):
        for _ in range(1):
            for i in range(4):
                for j in range(i + 1):
                    s = 0.1 * self.s[i] * self.s[j]
                    if i == j:
                        s += 2.0 + self.a[None]
                    for k in range(j):
                        s -= self.low[i, k] * self.low[j, k]
                    if i == j:
                        self.low[i, i] = ti.sqrt(s)
                    else:
                        self.low[i, j] = s / self.low[j, j]
        for i in range(4):
            self.u[i, 1] += 0.1 * self.low[i, i] + 0.05 * self.low[3, i]

    def step(self, t):
        self.chain()
        self.sweep()
        self.move()
        self.normalize()
        for _ in range(2):
            self.stencil()
            self.update()
        self.tree()
        self.cholesky()

    @ti.kernel
    def pay(self):
        total = 0.0
        for _ in range(1):
            for i in range(N):
                total += self.x[i].norm_sqr() + (i + 1.0) * self.u[i, 0] ** 2 + self.u[i, 1] * self.u[0, i]
        self.cost[None] = total

    def terminal_cost(self, t):
        self.pay()


def by_hand(x, u, a):
    """What the kernels say, line by line."""
    x, u, v, w = x.copy(), u.copy(), np.zeros((N, 2)), np.zeros((N, N))
    for _ in range(STEPS):
        g = np.sin(x[:, 0]) * a
        g = np.where(g > 0, (g * g + 0.1) * a, g)
        g = np.where(g > 0.3, np.tanh(g), g)
        for k in range(3):
            for i in range(N):
                g[i] = 0.3 * g[i] * g[(i + 1) % N] + 0.5 * np.cos(g[i - 1])
                g[i] -= a * g[N - 1 - i] if i == k else 0.0
        v += 0.1 * np.stack([g, -x[:, 1]], axis=1)
        x += 0.1 * v
        x[:, 0] *= np.where(x[:, 0] > 0.5, 0.9, 1.0)
        x /= (1.0 + (x**2).sum(1))[:, None]
        w = np.zeros((N, N))
        for _ in range(2):
            w = u * np.roll(u, -1, 0) + np.sin(np.roll(u, 1, 0)) * np.roll(u, -1, 1)
            u[:-1] = np.tanh(u + 0.1 * a * w)[:-1]
        s = np.zeros(N)
        for i in range(N):
            s[i] = u[i, 0] + (0.3 * np.sin(s[PARENT[i]]) * s[PARENT[i]] if PARENT[i] >= 0 else 0.0)
        for i in range(N - 1, 0, -1):
            s[PARENT[i]] += 0.2 * s[i] ** 2
        low = np.linalg.cholesky(0.1 * np.outer(s[:4], s[:4]) + (2.0 + a) * np.eye(4))
        u[:4, 1] += 0.1 * np.diag(low) + 0.05 * low[3]
    return (x**2).sum() + ((np.arange(N) + 1) * u[:, 0] ** 2 + u[:, 1] * u[0]).sum()


PLANS = [{"mode": "chunk"}, {"mode": "fused"}, {"window": 2}, {"worlds": 9}]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_kernels_in_place_are_what_they_say(runtime, plan):
    assert_right(plan)


@pytest.mark.compilers
def test_either_compiler_keeps_what_is_written_over(runtime):
    assert_right({"mode": "step"})


def assert_right(plan):
    """Compare the cost with Python's, and gradients with differences of that."""
    sim = InPlace()
    rollout = ds.Rollout(sim, steps=STEPS, **plan)
    cost, grads = rollout.value_and_grad(wrt=[sim.a, sim.x, sim.u])
    np.testing.assert_allclose(cost, by_hand(START["x"], START["u"], 0.7), rtol=1e-13)
    worlds, h = plan.get("worlds", 1), 1e-6
    for key, grad in grads.items():
        direction = RNG.normal(size=grad.shape)
        ends = []
        for shift in (h * direction, -h * direction):
            at = {"x": START["x"], "u": START["u"], "a": 0.7}
            at[key] = at[key] + shift
            ends.append(by_hand(**at))
        slope = worlds * (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose((grad * direction).sum(), slope, rtol=1e-7, err_msg=key)


def test_forward_mode_agrees_and_what_is_kept_is_told(runtime):
    rollout = ds.Rollout(InPlace(), steps=STEPS)
    report = rollout.check_grad()
    assert report.passed, str(report)
    told = str(rollout.explain())
    assert "what is read of u is copied as a whole, since line" in told
    assert "what is read of g is kept, 24 number(s) a step, since line" in told
    assert "without a time, x is read at t\n" in told
    assert "kept of u" in str(rollout.plan)


class Linear(ds.Simulator):
    """Nothing that is written over is needed: no adjoint of a sum asks for what was summed."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=START["x"][:, 0])

    @ti.kernel
    def relax(self, t: ti.i32):
        ti.loop_config(serialize=True)
        for k in range(20):
            for i in range(1, N - 1):
                self.x[i] = 0.5 * (self.x[i - 1] + self.x[i + 1])

    def step(self, t):
        self.relax(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.pay(t)


def test_what_no_adjoint_needs_is_not_kept(runtime):
    rollout = ds.Rollout(Linear(), steps=3)
    assert "kept of" not in str(rollout.plan)
    assert rollout.check_grad(["x"]).passed


class Refused(ds.Simulator):
    """One kernel that must not be, and what its message asks for instead."""

    def __init__(self, kind, mended=False):
        self.kind, self.mended = kind, mended
        keep = False if kind == "zeros" and not mended else None
        self.x = ds.State(ds.real, N, init=START["x"][:, 0], keep=keep)
        self.y = ds.Scratch(ds.real, N)

    @ti.kernel
    def race(self, t: ti.i32):
        if ti.static(self.mended):
            ti.loop_config(serialize=True)
        for i in range(N - 1):
            self.x[i] = ti.sin(self.x[i + 1])

    @ti.kernel
    def mixed(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.mended):
                self.x[i] = 2.0 * self.x[i]
            else:
                self.x[t + 1, i] = 2.0 * self.x[i]

    @ti.kernel
    def endless(self, t: ti.i32):
        for i in range(N):
            n = ti.cast(ds.stop_gradient(3.0 * ti.abs(self.x[t, i])), ti.i32)
            if ti.static(self.mended):
                n = ds.at_most(n, 20)
            self.y[i] = self.x[i]
            for _ in range(n):
                self.y[i] = ti.sin(self.y[i]) + 0.1
            self.x[i] = self.y[i]

    @ti.kernel
    def late(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.mended):
                self.cost[None] += self.x[t + 1, i]
            else:
                self.cost[None] += self.x[i]

    @ti.kernel
    def twice(self, t: ti.i32):
        if ti.static(self.mended):
            self.cost[None] += 2.0 * self.x[t, 0]
        else:
            self.cost[None] = self.x[t, 0]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            self.x[i] *= 0.9

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t):
        kernel = getattr(self, self.kind) if self.kind in ("race", "mixed", "endless") else self.move
        kernel(t)

    def running_cost(self, t):
        if self.kind == "late":
            self.late(t)

    def terminal_cost(self, t):
        self.pay(t)
        if self.kind == "twice":
            self.twice(t)


@pytest.mark.parametrize(
    ("kind", "rule", "told"),
    [
        ("race", "RACE", "put ti.loop_config\\(serialize=True\\) before it"),
        ("mixed", "TIME-INDEX", "indexed in one way in a kernel"),
        ("endless", "OVERWRITE", "bound the loop by range"),
        ("late", "TIME-INDEX", "be read in running_cost at t \\(before the step\\) or t \\+ 1"),
        ("zeros", "TIME-INDEX", "declared without keep=False"),
        ("twice", "COST", "stored only where nothing else adds to it"),
    ],
)
def test_what_is_refused_has_a_remedy_that_works(runtime, kind, rule, told):
    with pytest.raises((TraceError, GradientError), match=told) as caught:
        ds.plan(Refused(kind), steps=3)
    assert caught.value.diagnostics[0].rule == rule
    assert ds.Rollout(Refused(kind, mended=True), steps=3).check_grad(["x"]).passed


class Root(ds.Simulator):
    """A root of a number that is negative by then, in place."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[1.0, 2.0, 0.5])
        self.g = ds.Scratch(ds.real, 3)

    @ti.kernel
    def go(self):
        for i in self.x:
            self.g[i] = self.x[i] - 0.3
            self.g[i] = ti.sqrt(self.g[i])
            self.g[i] *= 0.8 * self.g[i]
            self.x[i] = self.g[i]

    @ti.kernel
    def pay(self):
        for i in self.x:
            self.cost[None] += self.x[i]

    def step(self, t):
        self.go()

    def terminal_cost(self, t):
        self.pay()


def test_a_number_that_is_not_finite_is_traced_to_its_statement(runtime):
    with pytest.raises(ds.errors.StateNotFiniteError, match=r"in step 1.*which computed sqrt\(-0.14"):
        ds.Rollout(Root(), steps=4).value_and_grad(["x"], debug="nan")


class Narrowed(ds.Simulator):
    """Reads of one loop that branches around them leave fewer iterations than others have."""

    def __init__(self):
        self.y = ds.State(ds.real, 128, init=np.linspace(-1.0, 1.0, 128))

    @ti.kernel
    def go(self):
        self.y[1] *= 0.9
        for i in range(4):
            for j in range(i, 4):
                a = 0.5
                if i > 2:
                    a = ti.sin(2.0 * self.y[i + j])
                elif i > 0:
                    a -= self.y[i + j] * self.y[i]
                if i == 0 or self.y[j] < 0.1 * j:
                    a += self.y[i + 1] ** 2
                self.y[127 - i] += ti.cos(a)
        for i in self.y:
            self.y[i] *= ti.cos(self.y[i])

    def step(self, t):
        self.go()

    @ti.kernel
    def pay(self):
        for i in self.y:
            self.cost[None] += (i + 1) * self.y[i]

    def terminal_cost(self, t):
        self.pay()


def test_branches_that_narrow_loops_keep_records_of_their_own(runtime):
    rollout = ds.Rollout(Narrowed(), steps=3)
    y = np.linspace(-1.0, 1.0, 128)
    for _ in range(3):
        y[1] *= 0.9
        for i, j in [(a, b) for a in range(4) for b in range(a, 4)]:
            a = np.sin(2.0 * y[i + j]) if i > 2 else 0.5 - (y[i + j] * y[i] if i > 0 else 0.0)
            a += y[i + 1] ** 2 if i == 0 or y[j] < 0.1 * j else 0.0
            y[127 - i] += np.cos(a)
        y *= np.cos(y)
    assert rollout.value() == pytest.approx(y @ np.arange(1, 129), rel=1e-12)
    assert rollout.check_grad(["y"]).passed
