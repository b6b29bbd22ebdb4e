"""Gradients of what sparse States begin with: they are of the cells that are there, and say so."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.rollout.leaves import Leaf

N = 12
CELLS = ds.Cells([[1, 2], [6, 6], [9, 3]], [1.0, 2.0, -1.5])


class Spread(ds.Simulator):
    """Values drift along a diagonal and are paid for, with a slope where they are zero too."""

    def __init__(self, layout: Any = None, n: int = N, per_world: bool = False, full: bool = False) -> None:
        self.n = n
        init: Any = CELLS if layout else 1.0 if full else CELLS.dense((n, n))
        self.u = ds.State(ds.real, n, n, layout=layout, keep=True, per_world=per_world, init=init)
        self.p = ds.Param(0.7)

    @ti.kernel
    def go(self, t: ti.i32):
        for i, j in self.u:
            if self.u[t, i, j] != 0.0 and i + 1 < self.n and j + 1 < self.n:
                self.u[t + 1, i + 1, j + 1] += self.p[None] * self.u[t, i, j] ** 2

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in self.u:
            self.cost[None] += self.u[t, i, j] * (1.0 + i) + self.u[t, i, j] ** 2

    def step(self, t):
        self.go(t)

    def terminal_cost(self, t):
        self.pay(t)


@pytest.fixture(scope="module")
def made(runtime):
    """The dense program, and the sparse one."""
    return ds.Rollout(Spread(), 3), ds.Rollout(Spread(ds.sparse(block=2)), 3)


def test_the_gradient_is_of_the_cells_that_are_there(made):
    exact = made[0].value_and_grad(["u", "p"])[1]
    found = made[1].value_and_grad(["u", "p"])[1]
    cells = found["u"]
    assert len(cells) == 3 * 4
    np.testing.assert_allclose(cells.values, exact["u"][tuple(cells.indices.T)], rtol=1e-12)
    np.testing.assert_allclose(found["p"], exact["p"], rtol=1e-12)
    u = made[1].sim.u.cells()
    np.testing.assert_allclose(cells.values[cells.find(u.indices)], exact["u"][tuple(u.indices.T)])
    assert exact["u"][0, 0] != 0.0
    with pytest.raises(ds.ConfigError, match=r"indices must be of these 12 cells, got \(0, 0\)"):
        cells.find([[1, 2], [0, 0]])
    for use in (lambda: cells[1, 2], lambda: np.linalg.norm(cells), lambda: list(cells)):
        with pytest.raises(ds.StateError, match=r"cells must be made an array by .* got <Cells: 12"):
            use()


def test_it_is_checked_cell_by_cell(made, monkeypatch):
    rollout = made[1]
    report = rollout.check_grad(["u", "p"], 2, components=True)
    assert report.passed, str(report)
    assert report.forward_error is not None
    assert ("u", (6, 6)) in report.places
    assert ("u", (7, 7)) in report.places  # in a block that is there
    assert rollout.health("u").gradient_norms["u"] > 0.0
    true = Leaf.gradient

    def wrong(leaf: Leaf, *rest: Any) -> Any:
        found = true(leaf, *rest)
        if isinstance(found, ds.Cells):
            found.values[found.find([[9, 3]])] += 0.5
        return found

    monkeypatch.setattr(Leaf, "gradient", wrong)
    report = rollout.check_grad(["u", "p"], 2)
    assert report.verdict == "wrong"
    assert (report.worst.key, report.worst.index) == ("u", (9, 3))


def test_it_takes_no_memory_where_nothing_is(runtime):
    """An array of the domain takes 8 GiB."""
    sim = Spread(ds.sparse(block=16), 1 << 15)
    rollout = ds.Rollout(sim, 3)
    cells = rollout.value_and_grad(["u"])[1]["u"]
    assert len(cells) == 16 * 16
    assert rollout.check_grad("u", 1, modes=False).passed
    sim.u.set(ds.Cells([[9, 9]], [0.0]))  # what is told is there, though it is zero
    assert len(rollout.value_and_grad(["u"])[1]["u"]) == 16 * 16
    for use in (lambda: rollout.trajectory(), lambda: rollout.animate("no.gif")):
        with pytest.raises(ds.ConfigError, match=r"named fields where .* State u, got 1,073,741,824 cells"):
            use()
    for name in ("p", "x", 3):
        with pytest.raises(ds.ConfigError, match="cells must be of a State or Scratch of Spread"):
            rollout.cells(name)
    with pytest.raises(ds.ConfigError, match=r"raise the budget, or declare State u with layout=ds.sparse\("):
        ds.Rollout(Spread(n=1 << 15, full=True), 3)  # nothing is allocated for it
    sim.u.set(0.0)
    assert len(rollout.value_and_grad(["u"])[1]["u"]) == 0
    with pytest.raises(ds.ConfigError, match=r"wrt must name States with active cells .* got u"):
        rollout.check_grad("u")


def test_worlds_have_cells_of_their_own_and_go_on_with_them(runtime):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3, N, N)) * (rng.uniform(size=(3, N, N)) < 0.05)
    dense, sparse = Spread(per_world=True), Spread(ds.sparse(block=2), per_world=True)
    found = []
    for sim in (dense, sparse):
        sim.u.set(values)
        rollout = ds.Rollout(sim, 3, worlds=3)
        grads = [rollout.value_and_grad(["u"])[1]["u"]]
        sim.u.set(rollout.final("u"))
        found.append([*grads, rollout.final("u"), rollout.value()])
    exact, (cells, last, cost) = found[0], found[1]
    assert cells.values.shape == (3, len(cells))
    np.testing.assert_allclose(cells.values, exact[0][(slice(None), *cells.indices.T)], rtol=1e-12)
    np.testing.assert_allclose(last.dense((N, N)), exact[1], rtol=1e-12, atol=0.0)
    np.testing.assert_allclose(cost, exact[2], rtol=1e-12)
    sparse.u.set(values[:2])
    with pytest.raises(ds.ConfigError, match=r"cells of State u must be for 3 world\(s\) .* got 2"):
        rollout.value()
