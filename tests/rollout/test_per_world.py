"""Values that each world has for itself: what `set` takes, and the shapes of all that comes back."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError

STEPS = 4

pytestmark = pytest.mark.layouts


class Pair(ds.Simulator):
    """Two points under a small network, with every kind of field per world."""

    def __init__(self):
        self.x = ds.State(ds.vec2, 2, init=[[1.0, 0.5], [-0.5, 0.2]], per_world=True)
        self.p = ds.Param(ds.real, 2, init=[0.9, 0.8], per_world=True)
        self.q = ds.Param(np.array(0.1), per_world=True)
        self.shared = ds.Param(np.array(0.3))
        self.c = ds.Constant(np.array([1.0, 2.0]), per_world=True)
        self.order = ds.Constant(np.array([0, 1]), per_world=True)
        self.u = ds.Control(ds.vec2, per_world=True)
        self.seen, self.said = ds.Scratch(ds.real, 2), ds.Scratch(ds.real, 1)
        self.policy = ds.control.MLP(inputs=self.seen, outputs=self.said, hidden=(3,), per_world=True)

    @ti.kernel
    def see(self, t: ti.i32):
        for i in range(2):
            self.seen[t, i] = self.x[t, i][0] * self.c[i]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            push = self.u[t] + self.q[None] + self.said[t, 0] * self.shared[None]
            self.x[t + 1, i] = self.x[t, i] * self.p[self.order[i]] + push

    def step(self, t):
        self.see(t)
        self.policy(t)
        self.move(t)

    @ti.kernel
    def size(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i].norm_sqr()

    def terminal_cost(self, t):
        self.size(t)


SHAPES = {
    "x": (2, 2),
    "p": (2,),
    "q": (),
    "u": (STEPS, 2),
    "policy.w0": (2, 3),
    "policy.b0": (3,),
    "policy.w1": (3, 1),
    "policy.b1": (1,),
}
WRT = [*SHAPES, "shared"]


def drawn(worlds):
    """Return values of every field for each world."""
    rng = np.random.default_rng(5)
    values = {key: rng.normal(size=(worlds, *shape)) for key, shape in SHAPES.items()}
    values["c"] = rng.normal(size=(worlds, 2))
    values["order"] = np.array([[0, 1], [1, 0], [1, 1]])[:worlds]
    return values


def give(sim, values):
    """Set values by key."""
    fields = {"policy." + name: getattr(sim.policy, name) for name in ("w0", "b0", "w1", "b1")}
    for key, value in values.items():
        (fields[key] if key in fields else getattr(sim, key)).set(value)


@pytest.fixture(scope="module")
def one(runtime):
    return ds.Rollout(Pair(), STEPS)


@pytest.fixture(scope="module", params=["fused", "step"])
def three(request, runtime):
    return ds.Rollout(Pair(), STEPS, worlds=3, mode=request.param)


def test_each_world_is_as_if_alone(one, three):
    values = drawn(3)
    give(three.sim, values)
    cost, grads = three.value_and_grad(WRT)
    assert {key: g.shape for key, g in grads.items()} == {
        **{key: (3, *shape) for key, shape in SHAPES.items()},
        "shared": (),
    }
    total = 0.0
    for w in range(3):
        give(one.sim, {key: value[w] for key, value in values.items()})
        alone, own = one.value_and_grad(WRT)
        np.testing.assert_allclose(cost[w], alone, rtol=1e-13)
        total += own.pop("shared")
        for key, grad in own.items():
            np.testing.assert_allclose(grads[key][w], grad, rtol=1e-12, atol=1e-14)
        for field, of in ((three.sim.x, one.sim.x), (three.sim.u, one.sim.u), (three.sim.said, one.sim.said)):
            np.testing.assert_allclose(three.trajectory(field)[:, w], one.trajectory(of), rtol=1e-13)
    np.testing.assert_allclose(grads["shared"], total, rtol=1e-12)


def test_one_value_for_all_worlds(three):
    values = {key: value[0] for key, value in drawn(3).items()}
    give(three.sim, values)
    cost, grads = three.value_and_grad(WRT)
    np.testing.assert_array_equal(cost, cost[0])
    for key in SHAPES:
        np.testing.assert_array_equal(grads[key], np.broadcast_to(grads[key][:1], grads[key].shape))
    np.testing.assert_array_equal(three.sim.p.numpy(), values["p"])
    leaves = {leaf.key: leaf for leaf in three.leaves(WRT)}
    for key, shape in SHAPES.items():
        assert leaves[key].numpy().shape == leaves[key].gradient().shape == (3, *shape)
        np.testing.assert_array_equal(leaves[key].numpy()[2], values[key])


def test_one_world_has_no_axis_of_worlds(one):
    give(one.sim, {key: value[:1] for key, value in drawn(3).items()})  # it may be given one
    cost, grads = one.value_and_grad(WRT)
    assert isinstance(cost, float)
    assert {key: g.shape for key, g in grads.items()} == {**SHAPES, "shared": ()}
    leaves = one.leaves(WRT)
    assert {leaf.key: leaf.numpy().shape for leaf in leaves} == {**SHAPES, "shared": ()}
    one.touch(leaves)
    assert one.sim.p.numpy().shape == (2,)
    assert one.sim.q.numpy().shape == ()
    assert one.sim.u.numpy().shape == (STEPS, 2)
    assert one.sim.x.numpy().shape == (2, 2)


def test_optimisers_see_each_world(three):
    values = drawn(3)
    give(three.sim, values)
    before = three.value()
    result = ds.minimize(three, wrt=["p", "u"], optimizer=ds.optim.Adam(lr=1e-2), iterations=3)
    assert result.best["p"].shape == (3, 2)
    assert result.best["u"].shape == (3, STEPS, 2)
    assert np.all(three.value() < before)
    assert three.sim.p.numpy().shape == (3, 2)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("p", (2, 2), r"Param p must have shape \(2,\) or \(3, 2\) in this rollout, got \(2, 2\)"),
        ("q", (1,), r"Param q must have shape \(\) or \(3,\) in this rollout, got \(1,\)"),
        ("u", (3, 5, 2), r"Control u must have shape \(4, 2\) or \(3, 4, 2\) in this rollout"),
        ("x", (4, 2, 2), r"State x must have shape \(2, 2\) or \(3, 2, 2\) in this rollout"),
    ],
)
def test_numbers_of_worlds_must_fit(three, key, shape, message):
    field, values = getattr(three.sim, key), drawn(3)
    try:
        field.set(np.zeros(shape))
        with pytest.raises(ConfigError, match=message):
            three.value()
    finally:
        field.set(values[key])


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        (ds.Param(ds.real, 2, per_world=True), (3,), r"\(2,\) or \(worlds, 2\), got \(3,\)"),
        (ds.Param(np.array(1.0), per_world=True), (3, 1), r"\(\) or \(worlds,\), got \(3, 1\)"),
        (ds.Param(ds.real, 2), (3, 2), r"shape \(2,\), got \(3, 2\)"),
        (ds.Control(ds.real, per_world=True), (2, 3, 4), r"\(steps,\) or \(worlds, steps\), got"),
        (ds.Control(ds.vec2, 3), (5, 3), r"shape \(steps, 3, 2\), got \(5, 3\)"),
    ],
    ids=["param", "number", "shared", "control", "vectors"],
)
def test_shapes_are_told_with_their_axes(field, shape, message):
    with pytest.raises(ConfigError, match=message):
        field.set(np.zeros(shape))


def test_per_world_is_yes_or_no():
    with pytest.raises(ConfigError, match="Param per_world must be True or False, got 4"):
        ds.Param(ds.real, 2, per_world=4)


@ti.func
def doubled(x):
    return 2.0 * x


@ds.adjoint_of(doubled)
@ti.func
def doubled_wrongly(x, y, y_adj):
    return 3.0 * y_adj


class Wrong(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 3, init=[0.5, 1.0, -0.7], per_world=True)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = doubled(self.x[t, i])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.measure(t)


@pytest.mark.parametrize("worlds", [1, 2])
def test_a_wrong_gradient_of_a_world_is_told(runtime, worlds):
    rollout = ds.Rollout(Wrong(), steps=1, worlds=worlds, mode="step")
    report = rollout.check_grad([rollout.sim.x], components=True)
    assert report.verdict == "wrong"
    assert report.worst.key == "x"
    assert report.worst.adjoint == pytest.approx(1.5 * report.worst.difference, rel=1e-6)
