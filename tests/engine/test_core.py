"""What every backend must get right, with a GPU's memory, copies and rules: tests/backends.py lists them.

Values are compared with NumPy and derivatives with complex steps, both in f64, or with another way to compute
them; what rounding makes of it is the tolerance of the backend.
"""

import numpy as np
import pytest
import taichi as ti
from backends import core_backends
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim.errors import StateError

pytestmark = pytest.mark.core

STEPS, DT = 6, 0.1
MODES = {"step": {"mode": "step"}, "chunk": {"mode": "chunk", "chunk": 2}, "fused": {"mode": "fused"}}
START = {"x": 0.7, "k": 1.3, "q": 0.4, "u": np.linspace(-1.0, 1.0, STEPS), "c": 0.9, "end": 4}


@pytest.fixture(scope="module", params=core_backends(), ids=str)
def backend(request):
    request.param.require()
    return request.param


@pytest.fixture(scope="module")
def arch(backend):
    return backend.arch


@pytest.fixture(scope="module")
def precision(backend):
    return backend.precision


@pytest.fixture(scope="module")
def layout(backend):
    return backend.layout


class Numbers(ds.Simulator):
    """A number of each kind of field: carried, within a step, learned, per step, given, and when to end."""

    def __init__(self, per_world=False):
        self.x = ds.State(ds.real, per_world=per_world)
        self.f = ds.Scratch(ds.real)
        self.k = ds.Param(0.0)
        self.q = ds.Param(0.0, per_world=per_world)
        self.u = ds.Control(ds.real)
        self.c = ds.Constant(0.0)
        self.end = ds.Constant(np.array(0), per_world=per_world)

    @ti.kernel
    def move(self, t: ti.i32):
        self.f[t] = self.u[t] * self.k[None] - self.c[None] * self.q[None] * self.x[t] ** 2
        self.x[t + 1] = self.x[t] + DT * self.f[t]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def spend(self, t: ti.i32):
        self.cost[None] += self.f[t] ** 2
        if t + 1 == self.end[None]:
            self.done[None] = True

    def running_cost(self, t):
        self.spend(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        self.cost[None] += self.x[t] ** 3

    def terminal_cost(self, t):
        self.miss(t)


def reference(v):
    """Return the cost and the path in NumPy; complex numbers pass."""
    x, cost, path = v["x"], 0.0, [v["x"]]
    for t in range(v["end"]):
        f = v["u"][t] * v["k"] - v["c"] * v["q"] * x**2
        x = x + DT * f
        cost = cost + f**2
        path.append(x)
    return cost + x**3, path + [x] * (STEPS - v["end"])


def slopes(v, key):
    """Return the derivative of the cost by complex steps, exact to rounding."""
    found = np.zeros(np.shape(v[key]))
    for index in np.ndindex(found.shape):
        moved = np.array(v[key], dtype=complex)
        moved[index] += 1e-30j
        found[index] = reference({**v, key: moved})[0].imag / 1e-30
    return found


def worlds_of(worlds):
    """Return what each world has: x, q and the end differ."""
    return [{**START, "x": 0.7 - 0.2 * w, "q": 0.4 + 0.3 * w, "end": 4 + w % 3} for w in range(worlds)]


def given(sim, worlds):
    for key in START:
        field = getattr(sim, key)
        field.set(np.array([v[key] for v in worlds]) if field.per_world else worlds[0][key])


@pytest.mark.parametrize("worlds", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_every_kind(runtime, backend, mode, worlds):
    assert not runtime.on_cpu
    each, near = worlds_of(worlds), {"rtol": backend.tolerance, "atol": backend.tolerance}
    sim = Numbers(per_world=worlds > 1)
    given(sim, each)
    with ds.Rollout(sim, STEPS, worlds=worlds, **MODES[mode]) as rollout:
        assert rollout.plan.layout.world_last
        assert not rollout._engine.storage.on_cpu
        cost, grads = rollout.value_and_grad(["x", "k", "q", "u"])
        want = [reference(v) for v in each]
        np.testing.assert_allclose(cost, [c for c, _ in want] if worlds > 1 else want[0][0], **near)
        for key, grad in grads.items():
            own = np.array([slopes(v, key) for v in each])
            own = own if getattr(sim, key).per_world else own.sum(axis=0)
            np.testing.assert_allclose(grad, own, **near, err_msg=key)
        path = np.array([p for _, p in want]).T
        got = rollout.trajectories({"x": sim.x, "u": sim.u})
        np.testing.assert_allclose(got["x"], path if worlds > 1 else path[:, 0], **near)
        np.testing.assert_allclose(got["u"].T, np.broadcast_to(START["u"], got["u"].T.shape), rtol=1e-7)
        np.testing.assert_array_equal(rollout.lengths, [v["end"] for v in each][: worlds or 1])
        leaves = {leaf.key: leaf for leaf in rollout.leaves(["k", "q", "x"])}
        rollout.touch(leaves.values())  # only the device knows them now
        for key in ("k", "q", "x"):
            wanted = [v[key] for v in each] if getattr(sim, key).per_world else START[key]
            np.testing.assert_allclose(getattr(sim, key).numpy(), wanted, rtol=1e-7)


@pytest.fixture(scope="module")
def stored(runtime):
    """A chain of points, and its value and gradients with every step in memory."""
    sim = Chain(3)
    with ds.Rollout(sim, 11, mode="step") as rollout:
        return sim, rollout.value_and_grad(KEYS), rollout.trajectory(sim.x)


@pytest.mark.parametrize(
    ("tier", "schedule"), [("device", "multistage"), ("host", "mixed"), ("disk", "multistage")]
)
def test_checkpoints_in_every_tier(stored, backend, tmp_path, tier, schedule):
    sim, expected, path = stored
    chosen = {"mode": "step", "window": 2, "schedule": schedule}
    if tier != "device":
        plan = ds.plan(sim, 11, **chosen)
        one = ds.plan(sim, 11, window=2, schedule="multistage")
        room = one.bytes["checkpoints"] // one.tiers["device"]  # what States need on their way out
        chosen["memory"] = plan.total_bytes - plan.bytes["checkpoints"] + room
        chosen |= {"host_memory": "1MiB"} if tier == "host" else {"spill": tmp_path}
    with ds.Rollout(sim, 11, **chosen) as rollout:
        assert [name for name, count in rollout.plan.tiers.items() if count] == [tier]
        assert rollout.plan.schedule.kind == schedule
        assert_near(rollout.value_and_grad(KEYS), expected, backend.tolerance)
        np.testing.assert_allclose(rollout.trajectory(sim.x, every=3), path[::3], rtol=backend.tolerance)


def test_the_gradient_is_that_of_differences_in_f64(stored):
    """Which run on the CPU beside where the backend has 32 bits alone."""
    with ds.Rollout(stored[0], 5, mode="step") as rollout:
        report = rollout.check_grad(KEYS, directions=2)
        assert report.passed, str(report)
        assert report.forward_error < 1e-12
        assert (report.double is None) == (rollout._info.precision == 64)
        norms = rollout.health().adjoint_norms
        assert norms.shape == (6,)
        assert np.all(norms > 0.0)


class Drawn(ds.Simulator):
    """Noise that each world and step has of its own, in points of which few are active."""

    def __init__(self, layout=None):
        self.x = ds.State(ds.real, 4)
        self.scale = ds.Param(0.3)
        self.grid = ds.Scratch(ds.real, 32, **({} if layout is None else {"layout": layout}))

    @ti.kernel
    def scatter(self, t: ti.i32):
        for i in range(4):
            p = 3 * i + t
            self.grid[p] += self.x[t, i] * self.scale[None]
            self.grid[p + 1] += 0.5 * ds.randn(t, i) * self.scale[None]

    @ti.kernel
    def gather(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = 0.9 * self.x[t, i] + ti.sin(self.grid[3 * i + t] + self.grid[3 * i + t + 1])

    def step(self, t):
        self.scatter(t)
        self.gather(t)

    @ti.kernel
    def active(self, t: ti.i32):
        for p in self.grid:
            self.cost[None] += self.grid[p] ** 2 + 0.01 * self.grid[p] * p

    def running_cost(self, t):
        self.active(t)


def drawn(layout, **chosen):
    with ds.Rollout(Drawn(layout), 4, worlds=2, **chosen) as rollout:
        rollout.sim.x.set(np.linspace(0.2, 1.0, 4))
        return rollout.value_and_grad(["scale", "x"])


@pytest.fixture(scope="module")
def dense(runtime):
    return drawn(None, mode="step")


@pytest.mark.parametrize("mode", MODES)
def test_random_numbers_and_sparse_grids(dense, backend, mode):
    assert len(set(np.asarray(dense[0]))) == 2, "worlds draw numbers of their own"
    assert_near(drawn(ds.sparse(block=4), **MODES[mode]), dense, backend.tolerance)


def test_an_optimiser_works_on_the_device(stored, backend):
    """Beside the same rule in NumPy, in f64."""
    sim = stored[0]
    start = {key: getattr(sim, key).numpy().copy() for key in ("k", "damping")}
    with ds.Rollout(sim, 5, mode="step") as rollout:
        result = ds.minimize(rollout, ["k", "damping"], optimizer=ds.optim.Adam(lr=0.02), iterations=3)
        moment, square = ({key: np.zeros_like(v) for key, v in start.items()} for _ in range(2))
        found = {key: getattr(sim, key).numpy().copy() for key in start}
        now, costs = dict(start), []
        for step in range(1, 4):
            for key, v in now.items():
                getattr(sim, key).set(v)
            cost, grads = rollout.value_and_grad(["k", "damping"])
            costs.append(cost)
            for key, g in grads.items():
                moment[key] = 0.9 * moment[key] + 0.1 * g
                square[key] = 0.999 * square[key] + 0.001 * g * g
                rate = 0.02 / (1 - 0.9**step)
                now[key] = now[key] - rate * moment[key] / (np.sqrt(square[key] / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(result.costs, costs, rtol=10 * backend.tolerance)
        for key, v in now.items():
            np.testing.assert_allclose(found[key], v, rtol=30 * backend.tolerance, err_msg=key)
    for key, v in start.items():
        getattr(sim, key).set(v)


class Outside(ds.Simulator):
    """An index that is computed, and leaves its field in the second world's last step."""

    def __init__(self):
        self.x = ds.State(ds.real, 3, per_world=True)
        self.table = ds.Constant(np.array([1.0, 2.0, 4.0]))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i] + self.table[ti.cast(self.x[t, 0], ti.i32)]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def last(self, t: ti.i32):
        self.cost[None] += self.x[t, 0]

    def terminal_cost(self, t):
        self.last(t)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_an_index_that_leaves_its_field_is_told(runtime, mode):
    sim = Outside()
    with ds.Rollout(sim, 2, worlds=2, mode=mode) as rollout:
        sim.x.set(np.array([[0.2, 0, 0], [2.2, 0, 0]]))
        with pytest.raises(StateError, match="got 6 at step 1 of world 1"):
            rollout.value()
        sim.x.set(np.array([[0.2, 0, 0], [0.7, 0, 0]]))
        np.testing.assert_allclose(rollout.value(), [3.2, 3.7], rtol=1e-6)
