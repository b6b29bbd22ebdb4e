"""The face of the library: what goes in, what comes out, and every misuse as a clear error."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, StateError, TraceError


class Spring(ds.Simulator):
    """A damped spring in one dimension with a push per step."""

    def __init__(self, n=2, dt=0.1):
        self.n, self.dt = n, dt
        self.x = ds.State(ds.real, n, init=np.arange(1.0, n + 1))
        self.v = ds.State(ds.vec2, n)
        self.pull = ds.Scratch(ds.real, n)
        self.k = ds.Param(np.full(n, 2.0))
        self.u = ds.Control(ds.real, n)
        self.mass = ds.Constant(np.full(n, 0.5))

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(self.n):
            self.pull[t, i] = self.u[t, i] - self.k[i] * self.x[t, i]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.v[t + 1, i] = self.v[t, i] + self.dt * self.pull[t, i] / self.mass[i] * ti.Vector([1.0, 0.0])
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i][0]

    def step(self, t):
        self.force(t)
        self.move(t)

    @ti.kernel
    def distance(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.distance(t)


def reference(sim, steps, x=None, k=None, u=None):
    """The same in NumPy."""
    x = sim.x.numpy() if x is None else x
    k = sim.k.numpy() if k is None else k
    u = np.zeros((steps, sim.n)) if u is None else u
    v, path = np.zeros(sim.n), [x]
    for t in range(steps):
        v = v + sim.dt * (u[t] - k * x) / 0.5
        x = x + sim.dt * v
        path.append(x)
    return np.sum(x**2), np.array(path)


@pytest.fixture(scope="module")
def rollout(runtime):
    return ds.Rollout(Spring(), steps=12)


@pytest.fixture(scope="module")
def worlds(runtime):
    return ds.Rollout(Spring(), steps=12, worlds=3, mode="step")


@pytest.mark.layouts
def test_value_and_shapes(rollout):
    want, _ = reference(rollout.sim, 12)
    assert rollout.value() == pytest.approx(want, rel=1e-12)
    cost, grads = rollout.value_and_grad()
    assert isinstance(cost, float)
    assert cost == pytest.approx(want, rel=1e-12)
    assert {k: g.shape for k, g in grads.items()} == {"k": (2,), "u": (12, 2)}
    _, grads = rollout.value_and_grad(wrt=[rollout.sim.x, "v", rollout.sim.k])
    assert {k: g.shape for k, g in grads.items()} == {"x": (2,), "v": (2, 2), "k": (2,)}


@pytest.mark.layouts
def test_set_takes_effect_without_compiling(rollout):
    sim = rollout.sim
    before = rollout.compile_seconds
    u = np.linspace(-1, 1, 24).reshape(12, 2)
    sim.u.set(u), sim.k.set([1.0, 3.0]), sim.x.set([0.5, -0.5])
    try:
        want, path = reference(sim, 12, np.array([0.5, -0.5]), np.array([1.0, 3.0]), u)
        assert rollout.value() == pytest.approx(want, rel=1e-12)
        np.testing.assert_allclose(rollout.trajectory(sim.x), path, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(sim.u.numpy(), u)
        np.testing.assert_array_equal(rollout.trajectory(sim.u, every=5), u[::5])
    finally:
        sim.u.set(0.0), sim.k.set(2.0), sim.x.set([1.0, 2.0])
    assert rollout.compile_seconds == before


@pytest.mark.layouts
def test_trajectory_frames(rollout):
    sim = rollout.sim
    assert rollout.trajectory(sim.x, every=4).shape == (4, 2)  # t = 0, 4, 8, 12
    assert rollout.trajectory(sim.x, every=5).shape == (3, 2)
    assert rollout.trajectory(sim.v).shape == (13, 2, 2)
    assert rollout.trajectory(sim.pull, every=4).shape == (3, 2)  # t = 0, 4, 8


@pytest.mark.layouts
def test_worlds(worlds, rollout):
    cost, grads = worlds.value_and_grad(["k", "u"])
    one, alone = rollout.value_and_grad(["k", "u"])
    assert cost.shape == (3,)
    np.testing.assert_allclose(cost, one, rtol=1e-12)
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, 3 * alone[key], rtol=1e-12)
    assert worlds.trajectory(worlds.sim.v, every=6).shape == (3, 3, 2, 2)
    assert worlds.trajectory(worlds.sim.u, every=6).shape == (2, 3, 2)


@pytest.mark.layouts
def test_params_are_shared_by_rollouts(rollout):
    sim = rollout.sim
    other = ds.Rollout(sim, steps=12, mode="step")
    leaves = other.leaves(["k"])
    leaves[0].values[0][0] = 3.5
    other.touch(leaves)
    try:
        assert sim.k.numpy()[0] == 3.5
        assert rollout.value() == pytest.approx(other.value(), rel=1e-12)
        leaves[0].values[0][0] = 4.0
        other.touch(leaves)
        other.close()  # the newest values stay on the host
        np.testing.assert_array_equal(sim.k.numpy(), [4.0, 2.0])
    finally:
        sim.k.set(2.0)


def test_plan_says_what_was_decided(rollout):
    text = str(rollout.plan)
    for word in ("mode", "fused", "segment", "checkpoints", "recomputation", "memory"):
        assert word in text
    assert rollout.plan.recomputation == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be a positive integer of 31 bits, got 0"),
        ({"steps": 2.5}, "steps must be a positive integer of 31 bits, got 2.5"),
        ({"steps": True}, "steps must be"),
        ({"steps": 3, "worlds": 0}, "worlds must be"),
        ({"steps": 3, "mode": "fast"}, "mode must be one of"),
        ({"steps": 3, "memory": "lots"}, "memory must be"),
        ({"steps": 3, "memory": -1}, "memory must be"),
        ({"steps": 3, "memory": "10B"}, r"memory must hold at least one step and one checkpoint, \d+ bytes"),
    ],
)
def test_bad_arguments(runtime, arguments, words):
    with pytest.raises(ConfigError, match=words):
        ds.Rollout(Spring(), **arguments)


@pytest.mark.layouts
def test_smallest_budget_is_enough(runtime):
    sim = Spring()
    with pytest.raises(ConfigError) as caught:
        ds.plan(sim, steps=12, memory="10B")
    needed = int("".join(c for c in str(caught.value).split(" bytes")[0] if c.isdigit()))
    with pytest.warns(ds.PlanWarning, match="one step only"):
        rollout = ds.Rollout(sim, steps=12, memory=needed, mode="step")
    assert rollout.plan.total_bytes <= needed
    assert rollout.plan.window == 1
    assert rollout.plan.checkpoints == 1
    want = ds.Rollout(sim, steps=12, mode="step").value_and_grad()
    got = rollout.value_and_grad()
    assert got[0] == want[0]
    for key in want[1]:
        np.testing.assert_array_equal(got[1][key], want[1][key])


def test_bad_wrt(rollout):
    for wrt in ("mass", rollout.sim.mass, rollout.sim.pull, 3, [], Spring().k):
        with pytest.raises(ConfigError, match="wrt must name"):
            rollout.value_and_grad(wrt)


def test_bad_trajectory(rollout):
    with pytest.raises(ConfigError, match="trajectory must be of a State"):
        rollout.trajectory(rollout.sim.k)
    with pytest.raises(ConfigError, match="every must be"):
        rollout.trajectory(rollout.sim.x, every=0)


def test_bad_values(rollout):
    sim = rollout.sim
    with pytest.raises(ConfigError, match=r"Param k must have shape \(2,\), got \(3,\)"):
        sim.k.set([1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="must be set to numbers"):
        sim.k.set(["a", "b"])
    sim.u.set(np.zeros((5, 2)))
    try:
        with pytest.raises(
            ConfigError, match=r"Control u must have shape \(12, 2\) in this rollout, got \(5, 2\)"
        ):
            rollout.value()
    finally:
        sim.u.set(0.0)


def test_not_finite_is_located(rollout):
    sim = rollout.sim
    u = np.zeros((12, 2))
    u[7, 1] = np.inf
    sim.u.set(u)
    try:
        with pytest.raises(StateError, match=r"State (x|v) is first not finite at step 8"):
            rollout.value()
        with pytest.raises(StateError, match="must be finite"):
            rollout.value_and_grad()
    finally:
        sim.u.set(0.0)
    assert np.isfinite(rollout.value())  # and the rollout is whole again
    assert all(np.all(np.isfinite(g)) for g in rollout.value_and_grad()[1].values())


def test_attributes_are_frozen(runtime):
    sim = Spring()
    rollout = ds.Rollout(sim, steps=3, mode="step")
    rollout.value()
    sim.dt = 0.2
    with pytest.raises(StateError, match=r"Spring.dt must stay as kernels saw it .*\(0.1\), got 0.2"):
        rollout.value()


def test_fields_before_a_rollout(runtime):
    sim = Spring()
    with pytest.raises(StateError, match="inside a kernel"):
        sim.x[0, 0]
    with pytest.raises(StateError, match="inside a kernel"):
        sim.k[0] = 1.0
    with pytest.raises(StateError, match="must be called from step"):
        sim.force(0)
    with pytest.raises(StateError, match="number of steps"):
        sim.u.numpy()
    with pytest.raises(StateError, match="trajectory"):
        sim.pull.numpy()
    np.testing.assert_array_equal(sim.k.numpy(), [2.0, 2.0])  # declared values are known


def test_closed_rollout(runtime):
    rollout = ds.Rollout(Spring(), steps=3, mode="step")
    rollout.close()
    rollout.close()
    with pytest.raises(StateError, match="closed"):
        rollout.value()


def test_no_cost(runtime):
    class Free(Spring):
        terminal_cost = None

    rollout = ds.Rollout(Free(), steps=3, mode="step")
    assert rollout.trajectory(rollout.sim.x).shape == (4, 2)
    with pytest.raises(StateError, match="must have a cost"):
        rollout.value_and_grad()


def test_second_init_with_live_rollouts(rollout):
    with pytest.raises(StateError, match="live rollout"):
        ds.init(arch="cpu")
    assert np.isfinite(rollout.value())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arch": "tpu"}, "arch must be one of"),
        ({"precision": 16}, "precision must be 32 or 64"),
        ({"seed": -1}, "seed must be"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_bad_init(arguments, words):
    with pytest.raises(ConfigError, match=words):
        ds.init(**arguments)


@pytest.mark.cpu
def test_missing_backend():
    from diffsim import _taichi

    if _taichi.has_arch("cuda"):
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(ConfigError, match="arch must name a backend of this machine"):
        ds.init(arch="cuda")


def test_not_a_simulator(runtime):
    with pytest.raises(TraceError, match=r"must be a ds\.Simulator"):
        ds.Rollout(object(), steps=3)


class Indexed(Spring):
    """Reads through an index array and loops to a count, both of which could lead outside."""

    def __init__(self):
        super().__init__()
        self.ids = ds.Constant([1, 0])

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(self.n):
            s = self.x[t, self.ids[i]]
            for _ in range(self.ids[i]):
                s = ti.sin(s)
            self.pull[t, i] = s * self.k[i] + self.u[t, i]


def test_integers_stay_where_they_were_checked(runtime):
    sim = Indexed()
    rollout = ds.Rollout(sim, steps=3, mode="step")
    rollout.value_and_grad()
    sim.ids.set([0, 0])
    rollout.value_and_grad()
    for bad in ([0, 2], [-1, 0], 7):
        sim.ids.set(bad)
        with pytest.raises(ConfigError, match=r"Constant ids must stay within 0 .. 1"):
            rollout.value_and_grad()


def test_sums_of_the_terminal_cost_do_not_leak_into_the_last_step(runtime):
    class Shared(Spring):
        @ti.kernel
        def distance(self, t: ti.i32):
            for i in range(self.n):
                self.pull[t, 0] += self.x[t, i]

        @ti.kernel
        def square(self, t: ti.i32):
            self.cost[None] += self.pull[t, 0] ** 2

        def terminal_cost(self, t):
            self.distance(t)
            self.square(t)

    for mode in ("step", "fused"):
        assert ds.Rollout(Shared(), steps=4, mode=mode).check_grad(["k", "x", "u"]).passed


def test_check_grad_leaves_values_as_they_were(rollout):
    sim = rollout.sim
    rollout.check_grad(["u", "k"], directions=1)
    assert ds.Rollout(sim, steps=5, mode="step").value() > 0  # the control still fits any horizon
