"""Integers that steps compute, and atomics on them: counts, sorts, prefix sums, flags, machines of states.

One simulator sorts bodies on a ring into cells by counting, and moves them by what it finds there; a program
in plain Python does the same.
"""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, TraceError

N, CELLS, STEPS, K = 9, 5, 7, 0.7
RNG = np.random.default_rng(4)
START = RNG.uniform(0.0, CELLS, size=(3, N))
MODES = RNG.integers(0, 3, size=N)


class Ring(ds.Simulator):
    """Bodies on a ring of cells, each of which rests, runs or waits."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=START[0], per_world=True)
        self.mode = ds.State(ds.i32, N, init=MODES, history=2)
        self.tally = ds.State(ds.ivec2, CELLS, keep=True)  # most bodies so far, and those that waited there
        self.ticks = ds.State(int, init=3)
        self.count, self.first = ds.Scratch(ti.i32, CELLS), ds.Scratch(ds.i32, CELLS)
        self.cell, self.slot, self.order = (ds.Scratch(ds.i32, N) for _ in range(3))
        self.seen = ds.Scratch(ti.math.ivec2)
        self.k = ds.Param(np.array(K))

    @ti.kernel
    def sort(self, t: ti.i32):
        for i in range(N):
            c = ti.cast(ti.floor(self.x[t, i]), ti.i32) % CELLS
            self.cell[t, i] = c
            self.slot[t, i] = ti.atomic_add(self.count[t, c], 1)
            self.seen[t][0] |= 1 << c
            ti.atomic_xor(self.seen[t][1], 1 << c)
        ti.loop_config(serialize=True)
        for c in range(1, CELLS):
            self.first[t, c] = self.first[t, c - 1] + self.count[t, c - 1]
        for i in range(N):
            self.order[t, self.first[t, self.cell[t, i]] + self.slot[t, i]] = i

    @ti.kernel
    def tell(self, t: ti.i32):
        self.ticks[t + 1] = self.ticks[t] + ti.math.popcnt(self.seen[t][0])
        for c in range(CELLS):
            ti.atomic_max(self.tally[t + 1, c][0], self.count[t, c])
        for i in range(N):
            if self.mode[t, i] > 0:  # of a component that is computed
                ti.atomic_add(self.tally[t + 1, self.cell[t, i]][self.mode[t, i] - 1], self.mode[t, i] - 1)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            c, pull = self.cell[t, i], 0.0
            for q in range(self.first[t, c], self.first[t, c] + self.count[t, c]):
                j = self.order[t, q]
                pull += ti.sin(self.x[t, j] - self.x[t, i]) / (1 + self.slot[t, j])
            speed = 0.3 if self.mode[t, i] == 1 else self.k[None] ** 2
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.k[None] * pull + 0.2 * speed * (1 + self.slot[t, i])
            self.mode[t + 1, i] = (
                self.mode[t, i] + (self.mode[t - 1, i] == 0 or self.seen[t][1] % 2 == 1)
            ) % 3

    @ti.kernel
    def loss(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += ti.cos(self.x[t, i]) * (self.ticks[t] - 5 * self.tally[t, i % CELLS][0])

    def step(self, t):
        self.sort(t)
        self.tell(t)
        self.move(t)

    def terminal_cost(self, t):
        self.loss(t)


def plain(start, k=K):
    """Do the same without diffsim; return the cost and what the fields of integers held."""
    x, mode, before = start.copy(), MODES.copy(), MODES.copy()
    tally, ticks, held = np.zeros((CELLS, 2), int), 3, []
    for _ in range(STEPS):
        cell = np.floor(x).astype(int) % CELLS
        slot = np.array([np.sum(cell[:i] == cell[i]) for i in range(N)])
        count = np.bincount(cell, minlength=CELLS)
        held.append((mode, np.argsort(cell, kind="stable"), slot))
        odd = (count[0] % 2) == 1
        apart = np.sin(x[None] - x[:, None]) / (1 + slot[None])
        pull = np.where(cell[:, None] == cell[None], apart, 0.0).sum(axis=1)
        speed = np.where(mode == 1, 0.3, k**2)
        tally[:, 0] = np.maximum(tally[:, 0], count)
        np.add.at(tally[:, 1], cell[mode == 2], 1)
        ticks += np.count_nonzero(count)
        x = x + 0.1 * k * pull + 0.2 * speed * (1 + slot)
        mode, before = (mode + ((before == 0) | odd)) % 3, mode
    weights = ticks - 5 * tally[np.arange(N) % CELLS, 0]
    return np.sum(np.cos(x) * weights), held, (mode, tally, ticks)


def slope(start):
    return (plain(start, K + 1e-6)[0] - plain(start, K - 1e-6)[0]) / 2e-6


@pytest.mark.compilers
@pytest.mark.parametrize(("mode", "window"), [("step", None), ("chunk", 3), ("fused", None), ("fused", 2)])
def test_a_counting_sort_is_that_of_plain_python(runtime, mode, window):
    rollout = ds.Rollout(Ring(), steps=STEPS, mode=mode, window=window)
    cost, grads = rollout.value_and_grad()
    want, held, (modes, tally, ticks) = plain(START[0])
    assert cost == pytest.approx(want, rel=1e-12)
    assert grads["k"] == pytest.approx(slope(START[0]), rel=1e-7)
    found = rollout.trajectories(["mode", "order", "slot"])
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
    for t, step in enumerate(held):
        for key, array in zip(found, step, strict=True):
            np.testing.assert_array_equal(found[key][t], array, err_msg=f"{key} {t}")
    final = rollout.final()
    np.testing.assert_array_equal(final["mode"], modes)
    np.testing.assert_array_equal(final["tally"], tally)
    assert final["ticks"] == ticks
    rollout.close()


def test_worlds_have_integers_of_their_own(runtime):
    sim = Ring()
    sim.x.set(START)
    for mode, options in (("step", {}), ("fused", {"window": 2}), ("chunk", {"window": 4})):
        rollout = ds.Rollout(sim, steps=STEPS, worlds=3, mode=mode, **options)
        cost, grads = rollout.value_and_grad()
        np.testing.assert_allclose(cost, [plain(start)[0] for start in START], rtol=1e-12)
        assert grads["k"] == pytest.approx(sum(map(slope, START)), rel=1e-7)
        assert rollout.final("tally").shape == (3, CELLS, 2)
        rollout.close()


@pytest.mark.cpu
def test_checkpoints_anywhere_give_integers_back(runtime, tmp_path):
    want = ds.Rollout(Ring(), steps=STEPS).value_and_grad()
    for schedule, options in (("multistage", {"host_memory": "1MiB"}), ("mixed", {"spill": tmp_path})):
        roomy = ds.plan(Ring(), STEPS, window=2, schedule=schedule)
        memory = roomy.total_bytes - roomy.bytes["checkpoints"]  # nothing is kept beside the window
        rollout = ds.Rollout(Ring(), STEPS, memory=memory, window=2, schedule=schedule, **options)
        assert rollout.plan.schedule.places["disk" if "spill" in options else "host"]
        cost, grads = rollout.value_and_grad()
        assert (cost, grads["k"]) == (want[0], want[1]["k"])
        rollout.close()


def test_checks_of_gradients_look_past_integers(runtime):
    rollout = ds.Rollout(Ring(), steps=STEPS)
    report = rollout.check_grad(["k", "x"], 3)
    assert report.passed, str(report)
    assert rollout.value_and_grad(debug="nan")[0] == pytest.approx(plain(START[0])[0])
    rollout.health()
    story = next(k for k in rollout.explain().kernels if k.name.endswith("sort"))
    assert story.operations[1] == 0
    assert any("has no adjoint" in note for note in story.notes)
    assert any("run in order" in note for note in story.notes)
    with pytest.raises(ConfigError, match="State mode, which holds integers"):
        rollout.value_and_grad(wrt=["mode"])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ds.State(ds.i32, 2, init=0.5), "32-bit integers"),
        (lambda: ds.State(ds.i32, init=2**31), "32-bit integers"),
        (lambda: ds.State(ds.i32, init=float("inf")), "32-bit integers"),
        (lambda: ds.Constant(ds.i32, 2, init=[1.5, 2.0]), "32-bit integers"),
        (lambda: ds.Param(ds.i32, 3), "Param type must be one of real numbers.*ds.Constant"),
        (lambda: ds.Control(ti.i32), "Control type must be one of real numbers"),
        (lambda: ds.State(ti.u8, 3), "ds.i32 for integers and flags"),
        (lambda: ds.State(bool), "ds.i32 for integers and flags"),
    ],
)
def test_what_does_not_fit_an_integer(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


REFUSED = {
    "self.n[t + 1, 0] += self.x[t, i]": ("INTEGER", r"ti\.cast"),
    "self.n[t + 1, 0] = 0.5": ("INTEGER", "State n must take in integers, got a float"),
    "self.n[t + 1, 0] /= 2": ("INTEGER", r"ti\.cast"),
    "ti.atomic_or(self.n[t + 1, 0], 1.5)": ("INTEGER", r"ti\.cast"),
    "ti.atomic_max(self.n[t, 0], 1)": ("WRITE-TIME", r"t \+ 1"),
    "self.r[t, 0] |= 1": ("SHAPE", "bits must be those of integers"),
    "ti.atomic_max(self.k[None], 1.0)": ("READ-ONLY", "Param k"),
    "old = ti.atomic_add(self.cost[None], 1.0)": ("COST", r"cost\[None\] \+="),
    "ti.atomic_or(self.done[None], i > 3)": ("DONE", r"\|= a condition"),
    "ti.atomic_max(1.0 + self.x[t, i], 2.0)": ("ATOMIC", "an element of a field or a local variable"),
}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_integers_and_atomics_refuse(statement, tmp_path):
    path = tmp_path / "refused.py"
    path.write_text(
        "import taichi as ti\nimport diffsim as ds\n\n\nclass Refused(ds.Simulator):\n"
        "    def __init__(self):\n        self.x, self.k = ds.State(ds.real, 4), ds.Param(ds.real)\n"
        "        self.n, self.r = ds.State(ds.i32, 2), ds.Scratch(ds.real, 2)\n\n"
        "    @ti.kernel\n    def go(self, t: ti.i32):\n        for i in range(4):\n"
        f"            {statement}\n            self.x[t + 1, i] = self.x[t, i]\n\n"
        "    def step(self, t):\n        self.go(t)\n"
    )
    names = {"__name__": "refused", "__file__": str(path)}
    exec(compile(path.read_text(), path, "exec"), names)
    rule, match = REFUSED[statement]
    with pytest.raises(TraceError, match=match) as caught:
        ds.plan(names["Refused"](), steps=2)
    assert [d.rule for d in caught.value.diagnostics] == [rule]
