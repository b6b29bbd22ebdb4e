"""What a fuzzer found about methods with adjoints of their own: each was silently wrong, or unclear."""

from typing import Any

import numpy as np
import pytest
import taichi as ti
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.errors import ConfigError, GradientError, StateError, TraceError

N, STEPS = 4, 3


class Base(ds.Simulator):
    """Squares of `x`, which a method makes out of `w x`."""

    def __init__(self) -> None:
        self.n = N
        self.x = ds.State(ds.real, N, init=[0.5, 1.0, 1.5, 2.0])
        self.w = ds.Param([1.1, 1.2, 0.9, 1.05])
        self.a = ds.Workspace(ds.real, N)
        self.z = ds.Workspace(ds.real, N)
        self.over = ds.Workspace(ds.real)

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(self.n):
            self.a[i] = self.w[i] * self.x[t, i]

    @ti.kernel
    def root(self):
        for i in range(self.n):
            self.z[i] = ti.sqrt(self.a[i])

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.z[i]

    @ti.kernel
    def back(self, t: ti.i32):
        for i in range(self.n):
            share = self.x.grad[t + 1, i] / (2.0 * self.x[t + 1, i])
            self.w.grad[i] += share * self.x[t, i]
            self.x.grad[t, i] += share * self.w[i]

    @ti.kernel
    def judge(self):
        for _ in range(1):
            if self.a[0] < 0.72:
                self.over[None] = 1.0

    def solve(self, t: Any) -> None:
        self.load(t)
        self.root()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)

    def step(self, t: Any) -> None:
        self.solve(t)

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t: Any) -> None:
        self.measure(t)


# ---- right ----


class Marching(Base):
    """Every iteration of a parallel loop runs, though one of them says that the loop is over."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 20000
        self.x = ds.State(ds.real, self.n, init=1.0)
        self.w = ds.Param(ds.real, self.n, init=1.0)
        self.a, self.z = ds.Workspace(ds.real, self.n), ds.Workspace(ds.real, self.n)

    @ti.kernel
    def root(self):
        for i in range(self.n):
            self.z[i] = ti.sqrt(self.a[i])
            if i == 0:
                self.over[None] = 1.0

    def solve(self, t: Any) -> None:
        self.load(t)
        for _ in ds.repeat(5, until=self.over):
            self.root()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


@pytest.mark.parametrize("mode", ["step", "fused", "chunk"])
def test_the_kernel_that_ends_a_loop_runs_to_its_end(runtime: Any, mode: str) -> None:
    rollout = ds.Rollout(Marching(), steps=1, worlds=2, mode=mode)
    np.testing.assert_array_equal(rollout.value(), 20000.0)
    rollout.close()


class Skipped(Base):
    """A loop that is over in its first round leaves what it would have stored at zero, not as it was."""

    @ti.kernel
    def sweep(self):
        for i in range(self.n):
            self.z[i] = 0.8 * self.a[i]

    @ti.kernel
    def combine(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = 0.9 * self.a[i] + 0.05 * self.z[i]

    @ti.kernel
    def combine_back(self, t: ti.i32):
        for i in range(self.n):
            factor = ti.select(self.w[0] * self.x[t, 0] < 0.72, 0.9, 0.94)
            self.x.grad[t, i] += factor * self.w[i] * self.x.grad[t + 1, i]
            self.w.grad[i] += factor * self.x[t, i] * self.x.grad[t + 1, i]

    def solve(self, t: Any) -> None:
        self.load(t)
        for _ in ds.repeat(3, until=self.over):
            self.judge()
            self.sweep()
        self.combine(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.combine_back(t)


def test_what_a_loop_did_not_store_is_zero(runtime: Any) -> None:
    sim = Skipped()
    sim.x.set([0.78, 1.0, 1.5, 2.0])
    sim.w.set([0.99, 1.0, 1.0, 1.0])
    rollout = ds.Rollout(sim, steps=STEPS)
    x = np.array([0.78, 1.0, 1.5, 2.0])
    for _ in range(STEPS):
        a = x * [0.99, 1.0, 1.0, 1.0]
        x = (0.9 if a[0] < 0.72 else 0.94) * a
    np.testing.assert_allclose(rollout.trajectory(sim.x)[-1], x, rtol=1e-13)
    assert_gradient(rollout, [sim.w, sim.x])
    rollout.close()


class Named(Base):
    """Arguments by name, with defaults."""

    def solve(self, t: Any, power: int = 1, more: int = 0) -> None:
        self.load(t)
        for _ in range(power + more):
            self.root()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any, power: int = 1, more: int = 0) -> None:
        self.seen = (power, more)
        self.back(t)

    def step(self, t: Any) -> None:
        self.solve(t, more=3)


class Overridden(Base):
    """A subclass gives an adjoint of its own, by its name."""

    @ti.kernel
    def twice(self, t: ti.i32):
        for i in range(self.n):
            self.w.grad[i] += 2.0 * self.x.grad[t + 1, i]

    def solve_adjoint(self, t: Any) -> None:
        self.twice(t)


class Rooting:
    """A mixin that is no Part: its method has its adjoint all the same."""

    def solve(self, t: Any) -> None:
        self.load(t)
        for _ in ds.repeat(1):
            self.root()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


class Mixed(Rooting, Base):
    """Takes the method of the mixin, not that of the base."""


def test_a_method_of_a_mixin(runtime: Any) -> None:
    rollout = ds.Rollout(Mixed(), steps=STEPS)
    assert_gradient(rollout)
    rollout.close()


def test_arguments_and_overridden_adjoints(runtime: Any) -> None:
    sim = Named()
    ds.plan(sim, steps=1)
    assert sim.seen == (1, 3)
    rollout = ds.Rollout(Overridden(), steps=1, mode="step")
    _, grads = rollout.value_and_grad()
    np.testing.assert_allclose(grads["w"], 4.0 * rollout.trajectory(rollout.sim.x)[-1], rtol=1e-13)
    rollout.close()


# ---- refused ----


class LateWrite(Base):
    @ti.kernel
    def kick(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] += 1.5

    def step(self, t: Any) -> None:
        self.solve(t)
        self.kick(t)


class StoresInLoop(Base):
    def solve(self, t: Any) -> None:
        self.load(t)
        for _ in ds.repeat(3, until=self.over):
            self.judge()
            self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


class SameFlag(Base):
    def one(self) -> None:
        for _ in ds.repeat(3, until=self.over):
            self.root()

    def solve(self, t: Any) -> None:
        self.load(t)
        self.one()
        self.one()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


class Inside(Base):
    def outer(self, t: Any) -> None:
        self.solve(t)

    @ds.adjoint_of(outer)
    def outer_adjoint(self, t: Any) -> None:
        self.back(t)

    def step(self, t: Any) -> None:
        self.outer(t)


class Unknown(Named):
    def step(self, t: Any) -> None:
        self.solve(t, less=3)


class EmptyLoop(Base):
    def solve(self, t: Any) -> None:
        list(ds.repeat(3))
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


class OpenLoop(Base):
    def solve(self, t: Any) -> None:
        self.kept = ds.repeat(3)
        next(self.kept)
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (
            LateWrite,
            GradientError,
            r"State x \[t \+ 1, ...\] must not be written after it was read .* in back",
        ),
        (StoresInLoop, GradientError, r"StoresInLoop.solve must store fields outside of repeat\(until"),
        (SameFlag, TraceError, r"repeat until must be a Workspace of one loop, got .* two loops of SameFlag"),
        (Inside, TraceError, r"Inside.outer must not call another method .* got Inside.solve; move"),
        (Unknown, TraceError, r"Unknown.solve must be called with its own arguments, got: .*'less'"),
        (EmptyLoop, TraceError, r"the body of repeat must call a kernel, got none in EmptyLoop.solve"),
        (OpenLoop, TraceError, r"repeat must stand in a `for`, got one that OpenLoop.solve has not run"),
    ],
)
def test_what_is_refused(runtime: Any, kind: type[Base], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ds.plan(kind(), steps=2)


def test_rounds_are_counted_within_reason() -> None:
    with pytest.raises(
        ConfigError, match="repeat count must be an integer from 1 to 100000, got 10000000000"
    ):
        list(ds.repeat(10**10))


class BadIndex(Base):
    """An adjoint that reads past the end."""

    def __init__(self) -> None:
        super().__init__()
        self.at = ds.Constant([1, 2, 3, 4])

    @ti.kernel
    def back(self, t: ti.i32):
        for i in range(self.n):
            self.w.grad[i] += self.x.grad[t + 1, self.at[i]]

    def solve(self, t: Any) -> None:
        self.load(t)
        self.root()
        self.store(t)

    @ds.adjoint_of(solve)
    def solve_adjoint(self, t: Any) -> None:
        self.back(t)


def test_an_index_that_leaves_its_field_in_an_adjoint_is_told(runtime: Any) -> None:
    with pytest.raises((StateError, TraceError), match=r"indices of .* must lie in 0 .. 3, got"):
        ds.Rollout(BadIndex(), steps=2).value_and_grad()
