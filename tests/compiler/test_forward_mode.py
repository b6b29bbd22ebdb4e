"""Forward mode: against known derivatives, against reverse mode, in every mode, window and world."""

import math
import re

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.autodiff import rules
from diffsim.rollout.grad.tangent import Tangents


def tangents_of(rollout):
    engine = rollout._engine
    return Tangents(rollout._program, rollout._info, engine.plan, engine.mode)


def slopes(rollout, direction):
    """Derivatives of each world's cost along a direction, at the values as they are."""
    values = {leaf.key: leaf.numpy() for leaf in rollout.leaves(list(direction))}
    forward = tangents_of(rollout)
    try:
        return forward.slopes(values, direction)
    finally:
        forward.close()


class Power(ds.Simulator):
    """x[t + 1] = a x[t], with the cost x[steps]: everything is known."""

    def __init__(self, per_world=False):
        self.x = ds.State(ds.real, init=1.25, per_world=per_world)
        self.a = ds.Param(0.9, per_world=per_world)

    @ti.kernel
    def grow(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.a[None] * self.x[t]

    def step(self, t):
        self.grow(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t]

    def terminal_cost(self, t):
        self.end(t)


def test_a_known_derivative(runtime):
    rollout = ds.Rollout(Power(), steps=9)
    assert slopes(rollout, {"a": np.array(1.0)}) == pytest.approx(9 * 0.9**8 * 1.25, rel=1e-14)
    assert slopes(rollout, {"x": np.array(2.0)}) == pytest.approx(2 * 0.9**9, rel=1e-14)
    both = slopes(rollout, {"a": np.array(1.0), "x": np.array(2.0)})
    assert both == pytest.approx(9 * 0.9**8 * 1.25 + 2 * 0.9**9, rel=1e-14)


def test_each_world_has_a_derivative(runtime):
    simulator = Power(per_world=True)
    rollout = ds.Rollout(simulator, steps=5, worlds=3)
    a, x, d = np.array([0.9, 1.1, -0.3]), np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, -2.0])
    simulator.a.set(a)
    simulator.x.set(x)
    np.testing.assert_allclose(slopes(rollout, {"a": d}), 5 * a**4 * x * d, rtol=1e-13, atol=0)


def test_a_later_direction_forgets_the_earlier(runtime):
    rollout = ds.Rollout(Power(), steps=3)
    forward = tangents_of(rollout)
    values = {"a": np.array(0.9), "x": np.array(1.25)}
    first = forward.slopes(values, {"a": np.array(1.0)})
    forward.slopes(values, {"x": np.array(1.0)})
    np.testing.assert_array_equal(forward.slopes(values, {"a": np.array(1.0)}), first)
    forward.close()


class Everything(ds.Simulator):
    """Each operation of the intermediate form: carried loops, branches that yield, scatters, overwriting."""

    def __init__(self, n=5):
        rng = np.random.default_rng(3)
        self.n = n
        self.x = ds.State(ds.vec2, n, init=rng.normal(size=(n, 2)), history=2)
        self.y = ds.State(ds.real, n, init=rng.normal(size=n))
        self.sums = ds.Scratch(ds.real, n)
        self.p = ds.Param(rng.uniform(0.5, 1.5, size=n))
        self.start = ds.Param(rng.normal(size=2))
        self.u = ds.Control(ds.real, n, init=0.1)
        self.edges = ds.Constant(np.array([[0, 1], [1, 2], [2, 0], [3, 4]]))
        self.policy = ds.control.MLP(self.y, self.sums, hidden=(4,), seed=2)

    @ti.kernel
    def begin(self):
        for i in range(self.n):
            if i == 2:
                self.x[0, i] = self.start[0] * ti.Vector([1.0, 2.0]) + self.start[1]

    def reset(self):
        self.begin()

    @ti.kernel
    def scatter(self, t: ti.i32):
        for e in range(4):
            a, b = self.edges[e, 0], self.edges[e, 1]
            d = self.x[t, a] - self.x[t, b]
            self.sums[t, a] += d.norm() * self.p[a]
            self.sums[t, b] -= d[0] * d[1]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            z = self.sums[t, i]
            w = 1.0
            for k in range(4):  # two carried values, one of which only later depends on what is varied
                z = 0.5 * z + 0.1 * w * ti.sin(z + k)
                if k > 1:
                    w = w * 0.9 + 0.01 * z
            if z > 0.2:
                z = ti.min(z, 0.7)
            else:
                for _k in range(2):
                    z += 0.05 * self.u[t, i] * z
            old = self.x[t - 1, i]
            self.y[t + 1, i] = 0.0
            self.y[t + 1, i] += ti.tanh(z) * self.p[i] + float(ti.cast(3.7 * w, ti.i32)) * 0.1
            self.x[t + 1, i] = 0.7 * self.x[t, i] + 0.2 * old + 0.1 * ti.Vector([z, self.y[t + 1, i]])

    def step(self, t):
        self.policy(t)
        self.scatter(t)
        self.move(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += 0.1 * self.x[t + 1, i].dot(self.x[t, i]) + self.sums[t, i] * self.u[t, i]

    def running_cost(self, t):
        self.measure(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.y[t, i] ** 2

    def terminal_cost(self, t):
        self.end(t)


KEYS = ["x", "y", "p", "start", "u", "policy.w0", "policy.b0", "policy.w1"]


@pytest.fixture(scope="module")
def everything(runtime):
    with pytest.warns(ds.GradientWarning):  # the cast to an integer
        ds.Rollout(Everything(), steps=1)
    return Everything()


def drawn(rollout, seed):
    rng = np.random.default_rng(seed)
    return {leaf.key: rng.normal(size=leaf.numpy().shape) for leaf in rollout.leaves(KEYS)}


def matches_reverse(rollout, tolerance=1e-13):
    """The dot-product test: the slope by forward mode is the gradient times the direction."""
    gradient = rollout.value_and_grad(KEYS)[1]
    values = {leaf.key: leaf.numpy() for leaf in rollout.leaves(KEYS)}
    forward, directions = tangents_of(rollout), drawn(rollout, 1)
    for key in KEYS:  # one at a time, so that none hides behind another
        terms = gradient[key] * directions[key]
        found = np.sum(forward.slopes(values, {key: directions[key]}))
        assert abs(found - np.sum(terms)) <= tolerance * np.linalg.norm(terms), key
    forward.close()


@pytest.mark.filterwarnings("ignore::diffsim.errors.GradientWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "step"},
        {"mode": "fused"},
        {"mode": "fused", "window": 3},
        {"mode": "step", "window": 1},
        {"mode": "fused", "worlds": 2, "window": 4},
    ],
    ids=str,
)
def test_forward_against_reverse(everything, options):
    matches_reverse(ds.Rollout(everything, steps=8, **options))


@pytest.mark.filterwarnings("ignore::diffsim.errors.GradientWarning")
def test_windows_make_no_difference(everything):
    whole = ds.Rollout(everything, steps=8, mode="step")
    direction = drawn(whole, 5)
    want = slopes(whole, direction)
    for options in ({"window": 3, "mode": "step"}, {"mode": "fused"}):
        found = slopes(ds.Rollout(everything, steps=8, **options), direction)
        assert found == pytest.approx(want, rel=1e-13)


# ---- the table of derivatives ----

DERIVATIVES = {  # at x = 0.4, y = 0.7: by hand
    "x + y": (1.0, 1.0),
    "x - y": (1.0, -1.0),
    "x * y": (0.7, 0.4),
    "x / y": (1 / 0.7, -0.4 / 0.49),
    "-x": (-1.0, 0.0),
    "abs(x - y)": (-1.0, 1.0),
    "ti.sqrt(x)": (0.5 / math.sqrt(0.4), 0.0),
    "ti.rsqrt(x)": (-0.5 * 0.4**-1.5, 0.0),
    "ti.sin(x)": (math.cos(0.4), 0.0),
    "ti.cos(x)": (-math.sin(0.4), 0.0),
    "ti.tan(x)": (1 / math.cos(0.4) ** 2, 0.0),
    "ti.asin(x)": (1 / math.sqrt(1 - 0.16), 0.0),
    "ti.acos(x)": (-1 / math.sqrt(1 - 0.16), 0.0),
    "ti.tanh(x)": (1 / math.cosh(0.4) ** 2, 0.0),
    "ti.exp(x)": (math.exp(0.4), 0.0),
    "ti.log(x)": (1 / 0.4, 0.0),
    "x ** y": (0.7 * 0.4 ** (0.7 - 1), 0.4**0.7 * math.log(0.4)),
    "x ** 3": (3 * 0.16, 0.0),
    "x ** -2": (-2 * 0.4**-3, 0.0),
    "ti.atan2(x, y)": (0.7 / 0.65, -0.4 / 0.65),
    "ti.max(x, y)": (0.0, 1.0),
    "ti.min(x, y)": (1.0, 0.0),
    "ti.select(x < y, x * x, y)": (0.8, 0.0),
    "ti.floor(x) + y": (0.0, 1.0),
    "ti.cast(ti.cast(x, ti.f32), ti.f64) * y": (0.7, float(np.float32(0.4))),
}


def test_the_derivative_of_every_function(runtime, tmp_path, monkeypatch):
    """All in one kernel, one element of a Param each, against derivatives worked out by hand."""
    lines = [
        "import taichi as ti\nimport numpy as np\nimport diffsim as ds\n\n\nclass Table(ds.Simulator):",
        "    def __init__(self, n):",
        "        self.n = n",
        "        self.x = ds.State(ds.real, 1)",
        "        self.p = ds.Param(np.full(n, 0.4))",
        "        self.q = ds.Param(np.full(n, 0.7))",
        "    @ti.kernel",
        "    def keep(self, t: ti.i32):",
        "        for i in range(1):",
        "            self.x[t + 1, i] = self.x[t, i]",
        "    def step(self, t):",
        "        self.keep(t)",
        "    @ti.kernel",
        "    def table(self, t: ti.i32):",
        "        for _ in range(1):",
    ]
    for k, text in enumerate(DERIVATIVES):
        lines.append(f"            x{k}, y{k} = self.p[{k}], self.q[{k}]")
        own = re.sub(r"\b([xy])\b", rf"\g<1>{k}", text)
        lines.append(f"            self.cost[None] += {own}")
    source = "\n".join([*lines, "    def terminal_cost(self, t):", "        self.table(t)", ""])
    (tmp_path / "table_of_functions.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    from table_of_functions import Table

    rollout = ds.Rollout(Table(len(DERIVATIVES)), steps=1)
    used = {op.fn for stage in rollout._engine.lowered.terminal for op in walk_lets(stage)}
    assert set(rules._RULES) - {"replay"} <= used  # replay is not for users
    forward = tangents_of(rollout)
    values = {"p": np.full(len(DERIVATIVES), 0.4), "q": np.full(len(DERIVATIVES), 0.7)}
    for k, (text, want) in enumerate(DERIVATIVES.items()):
        for key, exact in zip(("p", "q"), want, strict=True):
            direction = np.zeros(len(DERIVATIVES))
            direction[k] = 1.0
            found = forward.slopes(values, {key: direction})[0]
            assert found == pytest.approx(exact, rel=2e-7 if "f32" in text else 1e-13, abs=1e-15), text
    forward.close()


def walk_lets(stage):
    from diffsim.compiler.ir import Let, walk

    return [op for op in walk(stage.body) if isinstance(op, Let)]
