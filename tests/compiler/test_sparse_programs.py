"""What kernels do with sparse fields besides scattering, against the same programs with dense ones."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import dataclasses
import linecache
import re
import warnings
from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.ir import Block
from diffsim.compiler.program import moment, promotion
from diffsim.compiler.program.sparse import phases, stages
from diffsim.engine import lookout

SHAPE = (11, 9)  # no multiples of any block
STEPS = 5
HOW: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"block": 4}, {"mode": "fused", "window": 2}),
    ({"block": 2, "levels": 1}, {"mode": "step"}),
    ({"block": 8, "levels": 3}, {"mode": "chunk", "window": 3}),
)


def spots() -> np.ndarray:
    """Return three squares of random numbers, zero around them."""
    rng, found = np.random.default_rng(1), np.zeros(SHAPE)
    for _ in range(3):
        i, j = (int(rng.integers(1, n - 2)) for n in SHAPE)
        found[i : i + 2, j : j + 2] = rng.uniform(0.2, 1.0, (2, 2))
    return found


class Spots(ds.Simulator):
    """What others begin with: a State u, two numbers, and a cost of the cells where u is not zero."""

    keep: bool | None = None

    def __init__(self, layout: Any = None) -> None:
        self.layout = layout
        self.u = ds.State(ds.real, *SHAPE, layout=layout, keep=self.keep, init=spots())
        self.a = ds.Param(np.array([0.3, 0.7]))
        self.more()

    def more(self) -> None:
        """Declare more fields."""

    def other(self) -> Any:
        """Return another layout, where u has a sparse one."""
        return self.layout and ds.sparse(block=2, levels=1)

    @ti.kernel
    def pay(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.cost[None] += self.u[t, cell] ** 2 * (1 + cell[0] + 2 * cell[1]) * self.a[1]

    def step(self, t):
        self.go(t)

    def running_cost(self, t):
        self.pay(t)

    def terminal_cost(self, t):
        self.pay(t)


class Vanishing(Spots):
    """Blocks of t are not those of t + 1, and a sum over u[t] goes over those of t, before and behind."""

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(3):
            self.u[t + 1, i + 2, (4 + t) % 9] = self.u[t, i + 2, (3 + t) % 9] * self.a[0] + self.a[1]
        for cell in ti.grouped(self.u):
            self.u[t + 1, cell] += 0.5 * self.u[t, cell]


class InPlace(Spots):
    """u is written without the time, and read behind that."""

    @ti.kernel
    def go(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.u[cell] += self.a[0] * ti.sin(self.u[cell])
            self.u[cell] *= self.a[1]

    @ti.kernel
    def spread(self, t: ti.i32):
        for i, j in self.u:
            if self.u[t, i, j] > 0.1 and i + 1 < SHAPE[0]:
                self.u[i + 1, j] += 0.3 * self.u[t, i, j] ** 2

    def step(self, t):
        self.go(t)
        self.spread(t)


class Nests(Spots):
    """A kernel loops over cells that its own loops before have made active, and grows them further."""

    def more(self):
        self.s = ds.Scratch(ds.real, *SHAPE, layout=self.other())

    @ti.kernel
    def go(self, t: ti.i32):
        for i, j in self.u:
            self.s[t, i, j] += self.u[t, i, j] * self.a[0]
        for i, j in self.s:
            self.u[t + 1, i, j] += self.s[t, i, j]
        for i, j in self.u:
            if i + 3 < SHAPE[0]:
                self.s[t, i + 3, j] += self.u[t, i, j] ** 2 * self.a[1]
        for i, j in self.s:
            self.u[t + 1, i, j] += 0.1 * self.s[t, i, j] ** 2

    @ti.kernel
    def end(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.s[t, cell] += self.u[t, cell] ** 2
        for cell in ti.grouped(self.s):
            self.cost[None] += self.s[t, cell] * cell[0]

    def terminal_cost(self, t):
        self.end(t)


class Kept(Spots):
    """Places are written over after they were read: records and copies; matrices, two States."""

    keep = True

    def more(self):
        self.v = ds.State(ds.vec2, *SHAPE, layout=self.layout)
        self.s = ds.Scratch(ds.real, *SHAPE, layout=self.layout)
        self.q = ds.Scratch(ds.mat(2, 2), *SHAPE, layout=self.layout)

    @ti.kernel
    def travel(self, t: ti.i32):
        for i, j in self.u:
            u = self.u[t, i, j]
            if u > 1e-3:
                k = (i + 2) % SHAPE[0]
                self.u[t + 1, k, j] += u
                self.s[t, k, j] += u * u * self.a[0]
                self.q[t, k, j] += ti.Matrix([[u, -u], [0.1 * u, self.a[1] * u * u]])

    @ti.kernel
    def chew(self, t: ti.i32):
        for cell in ti.grouped(self.s):
            self.s[t, cell] = ti.sin(self.s[t, cell])
            self.q[t, cell] = self.q[t, cell] @ self.q[t, cell] * self.s[t, cell]
        for cell in ti.grouped(self.s):
            for _ in range(3):
                self.s[t, cell] = self.s[t, cell] * (1.1 - self.s[t, cell])
            self.u[t + 1, cell] -= 0.1 * self.s[t, cell] * self.u[t + 1, cell]

    @ti.kernel
    def follow(self, t: ti.i32):
        for cell in ti.grouped(self.v):
            last = 0.5 * self.v[t, cell]
            self.v[t + 1, cell] = last + self.q[t, cell] @ ti.Vector([self.s[t, cell], self.a[0]])

    @ti.kernel
    def pay(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.cost[None] += self.u[t, cell] ** 2 * (1 + cell[0]) + self.v[t, cell].sum() * cell[1]

    def step(self, t):
        self.travel(t)
        self.chew(t)
        self.follow(t)


class Carried(Spots):
    """Loops over active cells of two layouts, one in another, that carry numbers; counts; an early reset."""

    keep = True

    def more(self):
        self.w = ds.Scratch(ds.vec2, 7, layout=self.other())
        self.count = ds.State(ds.i32, *SHAPE, layout=self.other(), keep=True)
        self.k = ds.Constant(spots(), layout=self.other())
        self.x = ds.State(ds.real, 2, history=3, init=np.array([0.1, 0.5]))

    @ti.kernel
    def begin(self):
        for k in range(3):
            self.u[0, 2 * k + 1, k] = self.a[0] * k + 0.1
        for cell in ti.grouped(self.u):
            self.u[0, cell] *= 1.5

    @ti.kernel
    def fill(self, t: ti.i32):
        for k in range(2):
            self.w[t, 3 * k + 1] += ti.Vector([self.a[k], 1.0 * k])
            self.count[t + 1, 2 * k + t, 4] += 2

    @ti.kernel
    def go(self, t: ti.i32):
        for _ in range(1):
            total = 0.1 * self.x[t - 2, 0]
            most = 0.0  # in any order: sparse loops go block by block
            for cell in ti.grouped(self.u):
                if self.u[t, cell] > 0.0:
                    total += self.u[t, cell] * self.a[1] + self.k[cell]
                    most = ti.max(most, self.u[t, cell])
            self.x[t + 1, 0] = 0.1 * total * most
            self.x[t + 1, 1] = self.x[t, 1] + 0.01 * self.x[t, 0] * self.count[t, 2, 4]
        for i, j in self.u:
            for k in self.w:
                self.u[t + 1, i, j] += (
                    0.01 * self.u[t, i, j] * self.w[t, k][0] * (k + 1) * (1 + self.k[(i + 3) % 11, j])
                )

    @ti.kernel
    def pay(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.cost[None] += self.u[t, cell] ** 2 * (1 + cell[0])
        for i in range(2):
            self.cost[None] += self.x[t, i] * self.x[t - 1, i]

    def reset(self):
        self.begin()

    def step(self, t):
        self.fill(t)
        self.go(t)


class Forced(Spots):
    """Moves by the gradient of an energy, which goes to a sparse force field and to neighbours."""

    keep = True

    def more(self):
        self.energy = ds.Scratch(ds.real)
        self.force = ds.Scratch(ds.real, *SHAPE, layout=self.layout)

    @ti.kernel
    def stretch(self, t: ti.i32):
        for i, j in self.u:
            if i + 1 < SHAPE[0]:
                self.energy[t] += self.u[t, i, j] ** 2 * (self.u[t, i + 1, j] - self.a[0]) ** 2

    @ti.kernel
    def go(self, t: ti.i32):
        for cell in ti.grouped(self.u):
            self.u[t + 1, cell] = self.u[t, cell] + 0.1 * self.force[t, cell]

    def step(self, t):
        ds.gradient_of(self.stretch, wrt=self.u, into=self.force, scale=-1.0)(t)
        self.go(t)


class Fading(Spots):
    """Cells that are there are stored over, others are left alone: no effect that jumps, and no warning."""

    def more(self):
        self.v = ds.State(ds.vec2, *SHAPE, keep=False)

    @ti.kernel
    def go(self, t: ti.i32):
        for i, j in self.u:
            self.u[t + 1, i, j] = self.u[t, i, j] * self.a[0]
            if self.u[t, i, j] > 0.5:
                self.v[t + 1, i, j] = ti.Vector([0.1, 0.3]) * self.u[t, i, j]
            else:
                self.v[t + 1, i, j] = ti.Vector([self.u[t, i, j], 0.0])

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in self.u:
            self.cost[None] += self.u[t, i, j] ** 2 * self.a[1]
        for i, j in self.v:
            self.cost[None] += self.v[t, i, j].dot(self.v[t, i, j])


class Beside(Fading):
    """Here storing zero in a cell that comes along does have an effect: something else was written there."""

    @ti.kernel
    def shed(self, t: ti.i32):
        for i, j in self.u:
            if self.u[t, i, j] > 0.1 and i + 1 < SHAPE[0]:
                self.u[t + 1, i + 1, j] += self.u[t, i, j]

    def step(self, t):
        self.shed(t)
        self.go(t)


class Remembered(Fading):
    """And here it was there from the step before."""

    def more(self):
        self.v = ds.State(ds.vec2, *SHAPE, keep=True)


PROGRAMS = (Vanishing, InPlace, Nests, Kept, Carried, Forced, Fading)


@pytest.mark.parametrize(("program", "name"), [(Beside, "u"), (Remembered, "v")])
def test_stores_over_what_cells_may_hold_are_warned_of(runtime, program, name):
    with pytest.warns(ds.GradientWarning, match="ACTIVITY") as told:
        ds.Rollout(program(ds.sparse(block=2)), 1).close()
    lines = [linecache.getline(__file__, int(re.findall(r":(\d+):", str(w.message))[0])) for w in told]
    assert {re.findall(r"self\.(.)\[t \+ 1", line)[0] for line in lines} == {name}


def results(sim: Spots, **how: Any) -> dict[str, np.ndarray]:
    """Return a program's cost, gradients and frames; of a sparse State that of the cells that are there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ds.GradientWarning)  # a loop that jumps would be one
        rollout = ds.Rollout(sim, STEPS, **how)
    cost, grads = rollout.value_and_grad(wrt=["a", "u"])
    found = {"cost": np.asarray(cost), "a": grads["a"], "u": grads["u"]}
    found["frames"] = rollout.trajectory("u")
    if sim.layout is not None and sim.layout.block == 2:  # where nothing is, nothing becomes active
        sim.u.set(ds.Cells([[1, 1]], [0.5]))
        assert rollout.occupancy()["blocks of u"].max() < 12  # of 30
    rollout.close()
    return found


def assert_alike(sim: Spots, wanted: dict[str, np.ndarray], **how: Any) -> None:
    found = results(sim, **how)
    cells = found["u"]
    assert set(map(tuple, np.argwhere(spots()))) <= set(map(tuple, cells.indices))
    wanted, found["u"] = {**wanted, "u": wanted["u"][tuple(cells.indices.T)]}, cells.values
    for key, array in wanted.items():
        np.testing.assert_allclose(
            found[key], array, rtol=1e-10, atol=1e-12, err_msg=f"{key} of {sim.layout}"
        )


def assert_plainly(program: Any) -> None:
    """Compare what mode python makes of a program, and of its active cells."""
    if program is Forced:  # by an energy, whose gradient is not there
        return
    sim = program(ds.sparse(block=2))
    with ds.Rollout(sim, STEPS, mode="step") as rollout:
        cost, cells = rollout.value(), rollout.final("u")
    plainly = ds.Rollout(sim, STEPS, mode="python")
    assert plainly.value() == pytest.approx(cost, rel=1e-12)
    found = plainly.final("u")
    assert sorted(map(tuple, found.indices.tolist())) == sorted(map(tuple, cells.indices.tolist()))
    np.testing.assert_allclose(found.dense(SHAPE), cells.dense(SHAPE), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_those_of_dense_fields(runtime, program):
    wanted = results(program())
    assert np.abs(wanted["u"]).max() > 0.0
    assert_plainly(program)
    number = PROGRAMS.index(program)
    for layout, how in (HOW[number % 3], HOW[(number + 1) % 3]):
        assert_alike(program(ds.sparse(**layout)), wanted, **how)


class Rooted(Spots):
    """Moves along, by a root that is not a number where a is negative."""

    @ti.kernel
    def go(self, t: ti.i32):
        for i, j in self.u:
            if self.u[t, i, j] > 1e-3 and i + 1 < SHAPE[0]:
                self.u[t + 1, i + 1, j] += ti.sqrt(self.u[t, i, j] * self.a[0])


def test_what_is_not_finite_is_told_by_its_cell_and_forgotten(runtime, monkeypatch):
    """Memory of blocks that are not active may hold anything, such as what an earlier run left there."""
    monkeypatch.setattr(lookout, "_APART", 1)
    sim, dense = Rooted(ds.sparse(block=2)), Rooted()
    rollout = ds.Rollout(sim, STEPS, window=1, mode="step")
    sim.a.set([-1.0, 1.0])
    with pytest.raises(ds.errors.StateNotFiniteError, match=r"State u must .* nan at index .* in step 1, so"):
        rollout.value()
    with pytest.raises(
        ds.errors.StateNotFiniteError, match=r"in step 0 \(at t = 1\): kernel Rooted.go"
    ) as told:
        rollout.value_and_grad(debug="nan")
    i, j = map(int, re.findall(r"index \[(\d+), (\d+)\]", str(told.value))[0])
    assert spots()[i - 1, j] > 0.0
    few = np.zeros(SHAPE)
    few[2, 3] = 0.5
    for one in (sim, dense):
        one.a.set([1.0, 1.0])
        one.u.set(few)
    cost, grads = rollout.value_and_grad(wrt=["a", "u"])
    wanted, exact = ds.Rollout(dense, STEPS).value_and_grad(wrt=["a", "u"])
    assert cost == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(grads["a"], exact["a"], rtol=1e-12)
    [found] = grads["u"].values[grads["u"].find([[2, 3]])]
    assert found == pytest.approx(exact["u"][2, 3], rel=1e-12)
    sim.u.set(ds.Cells([[2, 3]], [np.inf]))
    with pytest.raises(ds.errors.StateError, match=r"u must be finite .* at index \[2, 3\]"):
        rollout.value_and_grad(debug="nan")


def _never_emptied(*args: Any) -> Any:
    stage = stages.opening(*args)
    stage.adjoint = lambda: dataclasses.replace(stage, body=Block(), adjoint=None)
    return stage


@pytest.mark.parametrize(
    ("program", "place", "name", "fault"),
    [
        (Nests, phases.Phase, "_batches_of", lambda phase, stage: [range(len(stage.body.ops))]),
        (InPlace, promotion._Promotion, "_activates", lambda pass_, ref: False),
        (Vanishing, moment, "_read_at", lambda body, cell: set()),
        (Vanishing, phases, "opening", _never_emptied),
    ],
)
def test_planted_faults_are_seen(runtime, monkeypatch, program, place, name, fault):
    wanted = results(program())
    monkeypatch.setattr(place, name, fault)
    with pytest.raises((AssertionError, ds.GradientWarning)):
        assert_alike(program(ds.sparse(block=2)), wanted, mode="fused", window=2)


class Solver(ds.Part):
    """Solve `(1 + L(c)) y = b` on the active cells, by Jacobi's iteration."""

    def __init__(self, c: Any, layout: Any) -> None:
        self.c = c
        self.b, self.y, self.z = (ds.Workspace(ds.real, 23, layout=layout) for _ in range(3))
        self.done = ds.Workspace(ds.real)

    @ti.kernel
    def sweep(self):
        for i in self.b:  # diffsim: allow ACTIVITY
            if 8 <= i < 16:  # a block of 8, or two of 4
                total = self.b[i] + self.c[i - 1] * self.y[i - 1] + self.c[i] * self.y[i + 1]
                self.z[i] = total / (1.0 + self.c[i - 1] + self.c[i])

    @ti.kernel
    def look(self):
        for _ in range(1):
            worst = 0.0
            for i in self.b:
                worst = ti.max(worst, abs(self.z[i] - self.y[i]))
            if worst <= 1e-15:
                self.done[None] = 1.0

    @ti.kernel
    def advance(self):
        for i in self.b:
            self.y[i] = self.z[i]

    def iterate(self):
        for _ in ds.repeat(200, until=self.done):
            self.sweep()
            self.look()
            self.advance()


class Solved(ds.Simulator):
    """A linear solve with an adjoint of its own, all of it on sparse fields."""

    def __init__(self, layout: Any = None) -> None:
        self.x = ds.State(ds.real, 4, init=np.array([0.1, 0.2, 0.5, 0.9]))
        self.c = ds.Constant(np.linspace(0.1, 0.4, 22))
        self.f, self.y = (ds.Scratch(ds.real, 23, layout=layout) for _ in range(2))
        self.solver = Solver(self.c, layout and ds.sparse(block=8, levels=1))

    @ti.kernel
    def act(self, t: ti.i32):
        for k, j in ti.ndrange(4, 8):
            self.f[t, 8 + j] += ti.sin(self.x[t, k] + j)

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(8, 16):
            self.solver.b[i] = self.f[t, i]

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(8, 16):
            self.y[t, i] = self.solver.z[i]

    def solve(self, t):
        self.load(t)
        self.solver.iterate()
        self.store(t)

    @ti.kernel
    def load_adjoint(self, t: ti.i32):
        for i in range(8, 16):
            self.solver.b[i] = self.y.grad[t, i]

    @ti.kernel
    def add_adjoint(self, t: ti.i32):
        for i in range(8, 16):
            self.f.grad[t, i] += self.solver.z[i]

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t):
        self.load_adjoint(t)
        self.solver.iterate()
        self.add_adjoint(t)

    @ti.kernel
    def move(self, t: ti.i32):
        for k in range(4):
            self.x[t + 1, k] = 0.5 * self.x[t, k] + 0.1 * self.y[t, 8 + 2 * k]
            self.cost[None] += self.x[t, k] ** 2

    def step(self, t):
        self.act(t)
        self.solve(t)
        self.move(t)


def test_solvers_with_adjoints_of_their_own_run_on_active_cells(runtime):
    dense, sparse = (
        ds.Rollout(Solved(layout), STEPS, mode="fused", window=window)
        for layout, window in ((None, None), (ds.sparse(block=4), 2))
    )
    (cost, exact), (found, grads) = (rollout.value_and_grad(wrt=["x"]) for rollout in (dense, sparse))
    assert found == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(grads["x"], exact["x"], rtol=1e-10)
    shifted = []
    for h in (1e-6, -1e-6):
        sparse.sim.x.set(np.array([0.1, 0.2 + h, 0.5, 0.9]))
        shifted.append(sparse.value())
    assert grads["x"][1] == pytest.approx((shifted[0] - shifted[1]) / 2e-6, rel=1e-7)


class Inside(Nests):
    """A loop over cells that are made active in the same loop, which would miss them."""

    @ti.kernel
    def go(self, t: ti.i32):
        for _ in range(1):
            for i, j in self.u:
                self.s[t, i, j] += self.u[t, i, j]
            for i, j in self.s:
                self.u[t + 1, i, j] += self.s[t, i, j]


def test_loops_that_would_miss_new_cells_are_refused(runtime):
    ds.plan(Inside(), steps=STEPS)
    with pytest.raises(ds.errors.TraceError, match=r"must not stand in another loop .* \[SPARSE\]"):
        ds.plan(Inside(ds.sparse()), steps=STEPS)


class Emptied(Nests):
    """What Taichi's sparse SNodes need, and blocks do not."""

    @ti.kernel
    def go(self, t: ti.i32):
        for i, j in self.u:
            ti.deactivate(self.s, [i, j])
            self.s[t, i, j] += self.u[t, i, j]


class Asked(Nests):
    """A place between cells."""

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(3):
            if ti.is_active(self.u, [i + 0.5, i]):
                self.s[t, i, i] += 1.0


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            Emptied,
            r"Scratch s must be given blocks by what is written to it, got ti.deactivate.* \[SPARSE\]",
        ),
        (Asked, r"indices must be integers, got a float in ti.is_active\(self.u, \[i \+ 0.5, i\]\)"),
    ],
)
def test_what_blocks_do_not_need_is_told(runtime, program, words):
    with pytest.raises(ds.errors.TraceError, match=words):
        ds.plan(program(ds.sparse()), steps=STEPS)
