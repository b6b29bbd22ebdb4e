"""`Rollout.export`: machine code that runs without diffsim, from C and from Python."""

import importlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError, StateError

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.native,
]
_NEEDS_CC = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


class Chain(ds.Simulator):
    """Masses on springs, pushed, with an index table, a rule, integers, draws and a place written over."""

    def __init__(self, n=5):
        self.n = n
        self.x = ds.State(ds.vec2, n)
        self.v = ds.State(ds.vec2, n)
        self.push = ds.Control(ds.vec2)
        self.stiffness = ds.Param(ds.real, n)
        self.after = ds.Constant(np.roll(np.arange(n), -1))
        self.count, self.slots = ds.Scratch(ds.i32), ds.Scratch(ds.i32, n)
        self.wear = ds.Scratch(ds.real, n)

    @ti.kernel
    def age(self, t: ti.i32):
        for i in range(self.n):
            self.slots[t, ti.atomic_add(self.count[t], 1) % self.n] = i
        for i in range(self.n):
            self.wear[t, i] = self.x[t, self.slots[t, i] % self.n].norm_sqr()
            for _ in range(2):
                self.wear[t, i] = ti.sin(self.wear[t, i]) * self.wear[t, i] + 0.1 * ds.random(t, i)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            d = self.x[t, self.after[i]] - self.x[t, i]
            assert d.norm() < 50.0, "torn"
            f = self.stiffness[i] * ti.tanh(d) * (1.0 - 0.1 * self.wear[t, i]) + self.push[t]
            self.v[t + 1, i] = 0.99 * self.v[t, i] + 0.05 * f
            self.x[t + 1, i] = self.x[t, i] + 0.05 * (0.99 * self.v[t, i] + 0.05 * f)

    def step(self, t):
        self.age(t)
        self.move(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i].norm_sqr()

    def terminal_cost(self, t):
        self.miss(t)


@pytest.fixture(scope="module")
def chain(runtime):
    simulator, rng = Chain(), np.random.default_rng(1)
    simulator.x.set(rng.standard_normal((5, 2)))
    simulator.stiffness.set(1.0 + rng.random(5))
    return simulator


def _steered(rollout):
    """Give a rollout's control values that no other has; its length follows the horizon."""
    rollout.sim.push.set(np.random.default_rng(2).standard_normal((rollout.steps, 2)))
    return rollout


_ALONE = """
import sys
sys.path.insert(0, {folder!r})
import chain as made
import numpy as np
s = made.Simulation()
cost, gradients = s.value_and_grad()
assert s.value() == cost and s.keys() == {keys!r}
s["push"] = s["push"] * 2.0
np.savez({found!r}, cost=cost, other=s.value(), **gradients)
s["v"] = 1e4 * np.arange(10).reshape(5, 2)
try:
    s.value()
except RuntimeError as error:
    assert "torn" in str(error) or "norm" in str(error), error
else:
    raise AssertionError("no alarm")
assert "diffsim" not in sys.modules and "taichi" not in sys.modules
"""


@_NEEDS_CC
@pytest.mark.parametrize("window", [None, 6], ids=["whole", "windows"])
def test_python_finds_the_same_cost_and_gradients_without_diffsim(chain, tmp_path, window):
    rollout = _steered(ds.Rollout(chain, steps=20, mode="fused", window=window))
    cost, gradients = rollout.value_and_grad([chain.x, chain.v, chain.push, chain.stiffness])
    assert rollout.export(tmp_path) == tmp_path
    found = str(tmp_path / "found.npz")
    code = _ALONE.format(folder=str(tmp_path), found=found, keys=["x", "v", "push", "stiffness", "after"])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with np.load(found) as alone:
        assert float(alone["cost"]) == pytest.approx(cost, rel=1e-14)
        for key, gradient in gradients.items():
            np.testing.assert_allclose(alone[key], gradient, rtol=1e-12, atol=1e-14 * np.abs(gradient).max())
        chain.push.set(2.0 * chain.push.numpy())
        assert float(alone["other"]) == pytest.approx(rollout.value(), rel=1e-14)


class Trail(ds.Simulator):
    """A sparse State that moves on, and is weighed by a sparse Constant."""

    def __init__(self):
        self.u = ds.State(ds.real, 9, layout=ds.sparse(block=2), init=ds.Cells([[1], [4]], [1.0, -2.0]))
        self.w = ds.Constant(ds.real, 9, layout=ds.sparse(block=2), init=ds.Cells([[3], [6]], [0.5, 3.0]))
        self.p = ds.Param(0.7)

    @ti.kernel
    def go(self, t: ti.i32):
        for i in self.u:
            if i < 8:
                self.u[t + 1, i + 1] += self.p[None] * self.u[t, i] ** 2
        for i in self.w:
            self.cost[None] += self.w[i] * self.u[t, i]

    def step(self, t):
        self.go(t)


@_NEEDS_CC
def test_blocks_that_are_given_go_along(runtime, tmp_path, monkeypatch):
    """What is sparse stays as it was: there is no array of it to read or write."""
    rollout = ds.Rollout(Trail(), steps=3)
    cost, gradients = rollout.value_and_grad()
    assert cost != 0.0
    monkeypatch.syspath_prepend(rollout.export(tmp_path))
    alone = importlib.import_module("trail").Simulation()
    assert alone.keys() == ["p"]
    assert alone.value_and_grad() == (pytest.approx(cost, rel=1e-14), {"p": pytest.approx(gradients["p"])})


_C = """
#include <stdio.h>
#include <stdlib.h>
#include "chain.h"
int main(void) {
  void *memory = aligned_alloc(64, (chain_bytes() + 63) / 64 * 64);
  chain_init(memory);
  double cost = chain_gradient(memory);
  printf("%.17g %.17g %.17g %d\\n", cost, chain_push_grad(memory, 1)[3], chain_x_grad(memory, 0)[2],
         chain_alarm(memory));
  chain_v(memory, 0)[0] = 1e5;
  chain_value(memory);
  printf("%d", chain_alarm(memory));
  chain_put_out(memory);
  printf(" %d\\n", chain_alarm(memory));
}
"""


@_NEEDS_CC
def test_c_finds_the_same_cost_and_gradients(chain, tmp_path):
    rollout = _steered(ds.Rollout(chain, steps=20, mode="fused"))
    cost, gradients = rollout.value_and_grad([chain.x, chain.push])
    rollout.export(tmp_path, portable=True)
    (tmp_path / "main.c").write_text(_C)
    command = ["cc", "-Wall", "-Werror", "-std=c11", "main.c", "chain.o", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    *numbers, alarm = first.split()
    expected = [cost, gradients["push"][3, 1], gradients["x"][2, 0]]
    np.testing.assert_allclose([float(n) for n in numbers], expected, rtol=1e-12)
    assert int(alarm) == 0
    assert second == "1 0"


def test_what_cannot_be_exported_is_told_and_writes_nothing(chain, tmp_path):
    chain.push.set(0.0)
    with pytest.raises(StateError, match="must have one world to be exported, got 2"):
        ds.Rollout(chain, steps=3, worlds=2).export(tmp_path / "a")
    rollout = ds.Rollout(chain, steps=3)
    with pytest.raises(ConfigError, match="name must be an identifier of C, got '2 fast'"):
        rollout.export(tmp_path / "a", name="2 fast")
    with pytest.raises(ConfigError, match="portable must be True or False, got 'yes'"):
        rollout.export(tmp_path / "a", portable="yes")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="folder must be one that can be written to"):
        rollout.export(tmp_path / "file")
    rollout.close()
    with pytest.raises(StateError, match="must be open"):
        rollout.export(tmp_path / "a")
