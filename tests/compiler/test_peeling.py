"""First and last iterations are taken out of loops where that makes the inside simpler, and only there."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.builder import Builder
from diffsim.compiler.codegen import forms
from diffsim.compiler.codegen.distribution import distributed
from diffsim.compiler.codegen.lanes import in_lanes
from diffsim.compiler.codegen.peeling import peeled
from diffsim.compiler.codegen.places import marked
from diffsim.compiler.ir import Block, Buffer, Const, For, If, Let, Ref, Stage, Value, walk
from tests.interpreted import run, same, slots
from tests.simulator_checks import assert_fused_is_step

N = 37


def loops_of(stage):
    return [op for op in walk(stage.body) if isinstance(op, For)]


def loop_over(build, start=0, stop=N, carried=0.0, descending=False):
    """Return a loop whose body `build` makes of a builder, the index and a carried number."""
    b = Builder("f64")
    loop = For(Value("i32"), Const(start, "i32"), Const(stop, "i32"), Block(), descending=descending)
    loop.inits, loop.params = [b.const(carried)], [Value("f64")]
    with b.inside(loop.body, loop=True):
        loop.body.yields = [build(b, loop.index, loop.params[0])]
    [total] = b.loop(loop)
    b.store(Ref(Buffer("total", "scratch", "f64", (1,)), (b.const(0),), 0, 0), total)
    return Stage("loop", Value("i32"), b.block)


def wrapped(b, i, rng):
    """Return an index that is affine inside."""
    by, n = b.const(int(rng.integers(-2, 3))), b.const(N)
    to = b.op("add", i, by)
    kind = rng.integers(4)
    if kind == 0:
        return b.op("mod", b.op("add", to, n), n)
    if kind == 1:
        return b.op("min", b.op("max", to, b.const(0)), b.const(N - 1))
    if kind == 2:
        outside = b.op("or", b.op("lt", to, b.const(0)), b.op("ge", to, n))
        return b.op("select", outside, i, to)
    return i


def random_loop(seed):
    """Return a loop with wrapped indices, conditions on the index and a carried number."""
    rng = np.random.default_rng(seed)
    x, y = (Buffer(name, "scratch", "f64", (N,)) for name in "xy")

    def build(b, i, carried):
        pool = [b.load(Ref(x, (wrapped(b, i, rng),), 0, 0)), b.const(0.25)]
        for _ in range(rng.integers(2, 6)):
            first, second = (pool[k] for k in rng.integers(len(pool), size=2))
            kind, at = rng.integers(4), Ref(y, (wrapped(b, i, rng),), 0, 0)
            edge = b.const(int(rng.choice([0, 1, 1, 2, N - 2, N - 1, 9])))
            cond = b.op(str(rng.choice(["lt", "eq", "ge", "ne"])), i, edge)
            if kind == 0:
                pool.append(b.op("select", cond, first, b.op("mul", b.const(0.5), second)))
            elif kind == 1:
                b.accumulate(at, first)
            elif kind == 2:
                then, orelse = Block(), Block()
                with b.inside(then):
                    b.accumulate(at, first)
                    then.yields = [second]
                with b.inside(orelse):
                    orelse.yields = [b.op("add", first, b.const(1.0))]
                pool += b.branch(cond, then, orelse)
            else:
                pool.append(b.load(at))
        return b.op("add", b.op("mul", b.const(0.5), carried) if seed % 2 else carried, pool[-1])

    return loop_over(build, carried=0.7, descending=bool(seed % 3 == 0))


def test_random_loops_do_the_same():
    split = 0
    for seed in range(150):
        stage = random_loop(seed)
        memory = slots([stage])
        want = run(stage, memory)
        found = peeled(stage)
        split += found.body.ops[0] is not stage.body.ops[0]
        same(run(found, memory), want)
        further = distributed(found)
        same(run(in_lanes(further), memory), want)
        same(run(marked(further), memory, shuffled=seed % 2 == 0), want)
    assert split > 60


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("wrap", (1, N - 1)),
        ("first", (1, N)),
        ("always", (0, N)),  # nothing to take out
        ("middle", (0, N)),  # nothing that helps
        ("by value", (0, N)),
    ],
)
def test_the_inside_is_what_is_simple(name, bounds):
    x, y = (Buffer(n, "scratch", "f64", (N,)) for n in "xy")
    order = Buffer("order", "constant", "i32", (N,))

    def build(b, i, carried):
        n = b.const(N)
        here = b.load(Ref(x, (i,), 0, 0))
        if name == "wrap":
            right = b.op("mod", b.op("add", i, b.const(1)), n)
            left = b.op("mod", b.op("sub", b.op("add", i, n), b.const(1)), n)
            here = b.op("add", b.load(Ref(x, (left,), 0, 0)), b.load(Ref(x, (right,), 0, 0)))
        else:
            at = b.load(Ref(order, (i,))) if name == "by value" else i
            edge = {"first": 0, "always": -1, "middle": 9, "by value": 0}[name]
            here = b.op("select", b.op("gt", at, b.const(edge)), here, b.const(0.0))
        b.store(Ref(y, (i,), 0, 0), here)
        return b.op("add", carried, here)

    stage = loop_over(build)
    found = peeled(stage)
    [loop] = loops_of(found)
    assert (loop.start.value, loop.stop.value) == bounds
    inside = [op.fn for op in walk(loop.body) if isinstance(op, Let)]
    assert "mod" not in inside
    assert ("select" in inside) == (name in ("always", "middle", "by value"))
    told = loops_of(marked(found))
    assert told[0].independent


def test_what_does_not_fit_32_bits_is_left_alone():
    x = Buffer("x", "scratch", "f64", (N,))

    def build(b, i, carried):
        wide = b.op("mul", b.op("add", i, b.const(1)), b.const(2**30))  # negative for the second iteration
        here = b.load(Ref(x, (i,), 0, 0))
        return b.op("add", carried, b.op("select", b.op("lt", wide, b.const(2**30 + 1)), here, carried))

    stage = loop_over(build)
    assert loops_of(peeled(stage)) == loops_of(stage)


class Torus(ds.Simulator):
    """A stencil without edges, one with them, and a sum over a row that leaves out its first element."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.u = ds.State(ds.real, (5, N), init=rng.normal(size=(5, N)))
        self.rows = ds.Scratch(ds.real, 5)

    @ti.kernel
    def sum_up(self, t: ti.i32):
        for i in range(5):
            for j in range(N):
                if j > 0:
                    self.rows[t, i] += self.u[t, i, j] * self.u[t, i, j - 1]

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(5, N):
            near = self.u[t, (i + 1) % 5, j] + self.u[t, i, (j + 1) % N] * self.u[t, i, (j + N - 1) % N]
            edge = self.u[t, i, ti.max(j - 1, 0)]
            self.u[t + 1, i, j] = 0.5 * self.u[t, i, j] + 0.2 * near * edge + 0.01 * self.rows[t, i]

    def step(self, t):
        self.sum_up(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in ti.ndrange(5, N):
            self.cost[None] += self.u[t, i, j] ** 2

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.cpu
def test_gradients_are_those_of_mode_step(runtime, monkeypatch):
    made = []
    monkeypatch.setattr(forms, "peeled", lambda stage: made.append(peeled(stage)) or made[-1])
    simulator = Torus()
    assert_fused_is_step(simulator, simulator.u, rtol=1e-12)
    bounds = {(op.start.value, op.stop.value) for s in made for op in loops_of(s)}
    assert (1, N - 1) in bounds
    assert not any(isinstance(op, If) for s in made for op in walk(s.body))
