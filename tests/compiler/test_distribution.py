"""Loops that add to neighbours are split where that changes nothing, and know if they are independent."""

import re

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.builder import Builder
from diffsim.compiler.codegen import forms
from diffsim.compiler.codegen.distribution import distributed
from diffsim.compiler.codegen.fused import fused_backward
from diffsim.compiler.codegen.lanes import in_lanes
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.places import marked
from diffsim.compiler.ir import Accumulate, Block, Buffer, Const, For, Ref, Stage, Store, Value, walk
from diffsim.compiler.program.program import lower_program
from diffsim.language.trace import trace
from diffsim.plan.planning import adjoint_stages
from tests.interpreted import random_stage, run, same, slots
from tests.simulator_checks import assert_fused_is_step


def innermost(stage):
    """Return the loops without loops in them."""
    loops = [op for op in walk(stage.body) if isinstance(op, For)]
    return [op for op in loops if not any(isinstance(inner, For) for inner in walk(op.body))]


def with_order(memory):
    """Let index arrays hold places."""
    for (buffer, _, _), array in memory.items():
        if buffer.name == "order":
            array[:] = 1 + np.random.default_rng(1).integers(0, array.size - 2, array.shape)
    return memory


def test_no_pass_changes_what_random_loops_do():
    split = independent = 0
    for seed in range(120):
        stage = random_stage(seed)
        memory = with_order(slots([stage]))
        want = run(stage, memory)
        parts = distributed(stage)
        told = marked(parts)
        split += len(innermost(parts)) > 1
        independent += any(loop.independent for loop in innermost(told))
        same(run(parts, memory), want)
        same(run(in_lanes(parts), memory), want)
        same(run(told, memory, shuffled=True), want)
    assert split > 12
    assert independent > 12


def adding(build, length=40):
    """Return a loop along a row whose body `build` makes of a builder and the loop's index."""
    b = Builder("f64")
    loop = For(Value("i32"), Const(1, "i32"), Const(length, "i32"), Block())
    with b.inside(loop.body, loop=True):
        build(b, loop.index)
    b.loop(loop)
    return Stage("adding", Value("i32"), b.block)


@pytest.mark.parametrize(
    ("name", "loops"),
    [
        ("a stencil's adjoint", 3),
        ("what it read is stored before", 1),
        ("what it reads is stored by others", 1),
        ("the sums are read", 1),
        ("dear", 1),
        ("short", 1),
    ],
)
def test_sums_move_only_where_that_is_known_to_be_right(name, loops):
    x, y = (Buffer(n, "scratch", "f64", (42,)) for n in "xy")

    def build(b, i):
        here, after, before = i, b.op("add", i, b.const(1)), b.op("sub", i, b.const(1))
        if name == "what it read is stored before":
            b.append(Store(Ref(y, (here,), 0, 0), b.const(2.0)))  # the builder would read no memory behind it
        g = b.load(Ref(y, (here,), 0, 0))
        if name == "what it reads is stored by others":
            b.store(Ref(y, (before,), 0, 0), b.const(2.0))
        b.store(Ref(y, (here,), 0, 0), b.const(0.0))
        if name == "the sums are read":
            g = b.op("mul", g, b.load(Ref(x, (before,), 0, 0)))
        g = b.op("exp" if name == "dear" else "neg", g)
        for at in (before, here, after):
            b.accumulate(Ref(x, (at,), 0, 0), g)

    stage = adding(build, 12 if name == "short" else 40)
    found = distributed(stage)
    assert len(innermost(found)) == loops
    memory = slots([stage])
    same(run(found, memory), run(stage, memory))


class Stencil(ds.Simulator):
    """A stencil in two dimensions that is not linear."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.u = ds.State(ds.real, (6, 40), init=rng.normal(size=(6, 40)), keep=False)

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange((1, 5), (1, 39)):
            around = self.u[t, i - 1, j] + self.u[t, i + 1, j] + self.u[t, i, j - 1] * self.u[t, i, j + 1]
            self.u[t + 1, i, j] = self.u[t, i, j] + 0.1 * around

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in ti.ndrange(6, 40):
            self.cost[None] += self.u[t, i, j] ** 2

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.cpu
def test_the_gradient_of_a_stencil_is_that_of_mode_step(runtime, monkeypatch):
    made = []
    monkeypatch.setattr(forms, "distributed", lambda stage: made.append(distributed(stage)) or made[-1])
    simulator = Stencil()
    assert_fused_is_step(simulator, simulator.u, rtol=1e-13)
    *_, adjoint = [  # what is printed comes behind what is planned with
        s for s in made if s.name.endswith("move") and any(isinstance(o, Accumulate) for o in walk(s.body))
    ]
    assert len(innermost(adjoint)) == 3


def test_machine_code_is_told_which_loops_are_independent(runtime):
    lowered = lower_program(trace(Stencil()), "f64", 3)
    stages = adjoint_stages(lowered, "f64", 3, "")
    layout = Layout(steps=3, worlds=1, groups=1, window=3, history=1, checkpoints=0)
    plain, lanes = (fused_backward(stages, layout, "f64", native=told).source for told in (True, False))
    loops = re.findall(r"for (\w)\d+ in range\(1, 39\):", plain)
    assert loops == ["p", "p", "p"]  # of one row each: what is added beside, before and behind it
    assert "for p" not in lanes
    assert len(plain) < len(lanes) / 2


class Recurrence(ds.Simulator):
    """A number that three iterations change, each what the one before has left."""

    def __init__(self):
        self.x = ds.State(ds.real, 2, init=[0.7, -0.4])
        self.w = ds.Param([0.9, 1.3, 0.6])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            s = self.x[t, i]
            for j in range(3):
                s = s * self.w[j] + 0.3 * s * s
            self.x[t + 1, i] = s

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.total(t)


def test_a_loop_that_carries_runs_down_although_its_memory_is_independent(runtime):
    """Its adjoint reads a tape that nobody writes, and carries slopes from the last to the first."""
    sim = Recurrence()
    x, w = sim.x.numpy(), sim.w.numpy()
    of_x, of_w = np.ones(2), np.zeros((3, 2))
    for _ in range(2):
        for j in range(3):
            slope = w[j] + 0.6 * x
            of_x, of_w = of_x * slope, of_w * slope
            of_w[j] += x
            x = x * w[j] + 0.3 * x * x
    with ds.Rollout(sim, steps=2, mode="fused") as rollout:
        rollout._engine._verified = 2  # mode `step` would find it, and step in
        cost, grads = rollout.value_and_grad(["x", "w"])
    assert cost == pytest.approx(np.sum(x**2), rel=1e-12)
    np.testing.assert_allclose(grads["x"], 2.0 * x * of_x, rtol=1e-11)
    np.testing.assert_allclose(grads["w"], (2.0 * x * of_w).sum(axis=1), rtol=1e-11)
