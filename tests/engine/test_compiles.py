"""Telling which kernel is being compiled: all of a mode's are known before the first, and none is missed."""

import taichi as ti

import diffsim as ds
from diffsim.engine import compiles


class Slide(ds.Simulator):
    """One kernel a step, and a cost."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real, 1, init=1.0)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(1):
            self.x[t + 1, i] = 0.5 * self.x[t, i]

    @ti.kernel
    def measure(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t, 0]

    def step(self, t: int) -> None:
        self.move(t)

    def terminal_cost(self, t: int) -> None:
        self.measure(t)


def test_each_kernel_is_told_once_with_its_number(runtime: None) -> None:
    rollout = ds.Rollout(Slide(), 3, mode="step")
    told: list[tuple[int, int, str]] = []
    with compiles.watching(lambda *what: told.append(what)):
        rollout.value_and_grad()
        rollout.value_and_grad()
    names = [name for _, _, name in told]
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    assert {known for _, known, _ in told} == {len(told)}, "all are known before the first, and all come"
    for name in ("Slide.move", "Slide.measure", "Slide.move, adjoint", "Slide.measure, adjoint"):
        assert name in names
    rollout.value_and_grad()
    assert len(told) == len(names), "nobody is told any more"
    rollout.close()
