"""States that no step writes are stored once; and the past before step 0, which `reset` may write."""

import numpy as np
import pytest
import taichi as ti
from simulator_checks import differences

import diffsim as ds
from diffsim.errors import GradientNotFiniteError, StateNotFiniteError, TraceError

STEPS = 7


class Still(ds.Simulator):
    """No State that steps write: what they compute is a sum over time."""

    def __init__(self):
        self.p = ds.Param(np.array([0.5, 1.5]))
        self.k = ds.State(ds.real, 2, 2, init=0.25)
        self.u = ds.Control(ds.real, 2, init=np.linspace(0.1, 1.0, 2 * STEPS).reshape(STEPS, 2))
        self.f = ds.Scratch(ds.real, 2)

    @ti.kernel
    def make(self):
        for i, j in ti.ndrange(2, 2):
            self.k[0, i, j] += ti.sqrt(self.p[i]) * self.p[j]

    def reset(self):
        self.make()

    @ti.kernel
    def apply(self, t: ti.i32):
        for i in range(2):
            for j in range(2):
                self.f[t, i] += self.k[t, i, j] * self.u[t, j]
        for i in range(2):
            self.cost[None] += self.f[t, i] ** 2

    def step(self, t):
        self.apply(t)


@pytest.mark.parametrize("options", [{"mode": "step", "worlds": 2}, {"mode": "fused"}, {"mode": "chunk"}])
def test_no_state_need_change(runtime, options):
    sim = Still()
    rollout = ds.Rollout(sim, steps=STEPS, window=3, **options)
    worlds, (cost, gradients) = options.get("worlds", 1), rollout.value_and_grad(["p", "k"])
    p, u = sim.p.numpy(), sim.u.numpy()

    def energy(v):
        return np.sum((u @ (v["k"] + np.outer(np.sqrt(v["p"]), v["p"])).T) ** 2)

    values = {"p": p, "k": np.full((2, 2), 0.25)}
    np.testing.assert_allclose(cost, energy(values), rtol=1e-12)
    slopes = differences(energy, values)
    for key, slope in slopes.items():
        np.testing.assert_allclose(gradients[key], worlds * slope, rtol=1e-7, err_msg=key)
    sim.p.set([0.0, 1.0])
    with pytest.raises(GradientNotFiniteError, match=r"backward pass, before step 0: kernel Still\.make"):
        rollout.value_and_grad(["p", "k"], debug="nan")
    sim.p.set(p)  # what was left behind then is no part of another gradient
    np.testing.assert_allclose(rollout.value_and_grad(["p"])[1]["p"], worlds * slopes["p"], rtol=1e-7)
    sim.p.set([-1.0, 1.0])
    with pytest.raises(
        StateNotFiniteError, match=r"State k is first not finite at step 0 .index \[(0, )?0, 0\]"
    ):
        rollout.value_and_grad()
    with pytest.raises(StateNotFiniteError, match=r"before step 0: kernel Still\.make"):
        rollout.value_and_grad(debug="nan")
    rollout.close()


def test_they_are_stored_once(runtime):
    few, many = (ds.plan(Still(), steps, mode="fused") for steps in (30, 3000))
    assert few.fields["k"] == many.fields["k"] == 4 * 8 * 4  # the initial value, the State, two adjoints
    assert many.bytes["computed once"] == few.bytes["computed once"] == 2 * 8 * 4
    assert many.bytes["states"] == 0


# ---- the past ----


class Past(ds.Simulator):
    """A State whose past `reset` writes, or reads."""

    def __init__(self, text="", moves=True):
        self.text, self.moves = text, moves
        self.x = ds.State(ds.real, init=0.5, history=3)
        self.p, self.u, self.f = ds.Param(2.0), ds.Control(ds.real), ds.Scratch(ds.real, 2)

    @ti.kernel
    def begin(self):
        if ti.static(self.text == ""):
            self.x[0] = self.p[None]
            self.x[-1] = 3.0 * self.p[None]
        if ti.static(self.text == "early"):
            self.x[0] = self.p[None] * self.x[-1]
        if ti.static(self.text == "control"):
            self.f[0, 1] = self.u[0]
            self.x[0] = self.f[0, 1] * self.p[None]
        if ti.static(self.text == "late"):
            self.f[1, 0] = self.p[None]

    def reset(self):
        self.begin()

    @ti.kernel
    def move(self, t: ti.i32):
        if ti.static(self.moves):
            self.x[t + 1] = self.x[t - 2] + 2.0 * self.x[t - 1] + 5.0 * self.x[t]
        elif ti.static(self.text == "ahead"):
            self.f[t, 0] = self.x[t + 1]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        self.cost[None] += self.x[t] + 10.0 * self.x[t - 1]

    def running_cost(self, t):
        self.pay(t)


def test_reset_may_write_the_past(runtime):
    rollout = ds.Rollout(Past(), steps=2)
    cost, gradients = rollout.value_and_grad(["p", "x"])  # x[-2] = x[0] = p, x[-1] = 3 p, x[1] = 12 p
    assert (cost, gradients["p"], gradients["x"]) == (2.0 * (1 + 30 + 12 + 10), 53.0, 0.0)
    cost, gradients = ds.Rollout(Past(moves=False), steps=2).value_and_grad(["p"])
    assert (cost, gradients["p"]) == (2.0 * (1 + 30 + 1 + 10), 42.0)  # no step writes it, but it has a past


def test_reset_may_read_the_first_control(runtime):
    for mode in ("step", "fused"):
        sim = Past("control", moves=False)
        sim.u.set([3.0, 4.0])
        cost, gradients = ds.Rollout(sim, steps=2, mode=mode).value_and_grad(["p", "u"])  # x = u[0] p, always
        assert (cost, gradients["p"]) == (22.0 * 6.0, 66.0)
        np.testing.assert_array_equal(gradients["u"], [44.0, 0.0])


@pytest.mark.parametrize(
    ("text", "rule", "told"),
    [
        ("early", "TIME-INDEX", "State x must be read at 0 in reset, which writes it there"),
        ("late", "TIME-INDEX", r"Scratch f must be 0 in reset, got self.f\[1, 0\]; write self.f\[0, i\]"),
        ("ahead", "READ-AHEAD", r"State x \[t \+ 1, ...\] must be written before it is read"),
    ],
)
def test_what_reset_may_not_do(runtime, text, rule, told):
    with pytest.raises(TraceError, match=told) as caught:
        ds.Rollout(Past(text, moves=text != "ahead"), steps=2)
    assert [d.rule for d in caught.value.diagnostics] == [rule]
