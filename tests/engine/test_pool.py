"""Memory and compiled kernels go from rollout to rollout: one compiles, later ones find all there is.

(Taichi reads the annotations of kernels, so this module does not postpone them.)
"""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import taichi as ti
from sweeps import rest

import diffsim as ds
from diffsim import _taichi
from diffsim.compiler.codegen.layout import Layout, rounded
from diffsim.compiler.ir import Buffer
from diffsim.engine import launch
from diffsim.engine import pool as pools
from diffsim.engine.pool import the_pool
from diffsim.engine.storage import Storage
from diffsim.errors import StateError

N = 3

both = pytest.mark.compilers  # each has its own kind of memory


class Springs(ds.Simulator):
    """Masses on springs, pushed: `v' = v - k x + u`, `x' = x + v' / 8`."""

    def __init__(self, n: int = N) -> None:
        self.n = n
        self.x = ds.State(ds.real, n, init=np.arange(1.0, n + 1.0))
        self.v = ds.State(ds.real, n)
        self.k = ds.Param(np.linspace(0.1, 0.3, n))
        self.u = ds.Control(ds.real, n)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.v[t + 1, i] = self.v[t, i] - self.k[i] * self.x[t, i] + self.u[t, i]
            self.x[t + 1, i] = self.x[t, i] + 0.125 * self.v[t + 1, i]

    @ti.kernel
    def distance(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t: Any) -> None:
        self.move(t)

    def terminal_cost(self, t: Any) -> None:
        self.distance(t)


def by_hand(steps: int, k: np.ndarray, u: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The cost and its gradients for `k` and `u`, from the recursion and its adjoint."""
    x, v, path = np.arange(1.0, N + 1.0), np.zeros(N), []
    for t in range(steps):
        path.append(x)
        v = v - k * x + u[t]
        x = x + 0.125 * v
    ax, av, gk, gu = 2.0 * x, np.zeros(N), np.zeros(N), np.zeros((steps, N))
    for t in reversed(range(steps)):
        av = av + 0.125 * ax
        gk, gu[t] = gk - av * path[t], av
        ax = ax - av * k
    return float(np.sum(x**2)), gk, gu


@pytest.fixture
def built(runtime, monkeypatch) -> list[str]:
    """Count kernels: the names of those that are compiled in a test, which begins with an empty pool."""
    the_pool().release()
    names: list[str] = []
    build, bind = _taichi.build_kernel, launch.bind
    monkeypatch.setattr(_taichi, "build_kernel", lambda s, name, f: names.append(name) or build(s, name, f))
    monkeypatch.setattr(launch, "bind", lambda text, *rest: names.append(text.name) or bind(text, *rest))
    return names


def check(rollout: ds.Rollout, simulator: Springs, steps: int) -> None:
    rng = np.random.default_rng(steps)
    u = rng.normal(size=(steps, N))
    simulator.u.set(u)
    cost, gradient = rollout.value_and_grad()
    wanted, gk, gu = by_hand(steps, simulator.k.numpy(), u)
    assert cost == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gradient["k"], gk, rtol=1e-11)
    np.testing.assert_allclose(gradient["u"], gu, rtol=1e-11)
    assert gradient["u"].shape == rollout.trajectory(simulator.u).shape == (steps, N)
    np.testing.assert_array_equal(rollout.trajectory(simulator.u), u)


@both
@pytest.mark.parametrize(
    ("mode", "how"), [("fused", "rebound"), ("step", "rebound"), ("fused", "closed"), ("fused", "deleted")]
)
def test_ten_horizons_compile_once(built, mode, how):
    """A loop that makes a rollout for each horizon, its variable bound anew or the rollout closed before."""
    simulator = Springs()
    first = 0
    rollout = None
    for steps in range(5, 15):
        rollout = ds.Rollout(simulator, steps=steps, mode=mode)  # the one before is still alive, if rebound
        check(rollout, simulator, steps)
        first = first or len(built)
        if how == "closed":
            rollout.close()
        elif how == "deleted":
            del rollout
    assert len(built) == first > 0
    assert how == "deleted" or (rollout is not None and rollout.compile_seconds == 0.0)


@both
def test_other_values_worlds_and_simulators_are_told_apart(built):
    """What is not the same memory or the same text is compiled; what is, is not, whoever asks."""
    simulator = Springs()
    ds.Rollout(simulator, steps=6, mode="fused").value_and_grad()
    before = len(built)
    assert before > 0
    ds.Rollout(Springs(), steps=7, mode="fused").value_and_grad()  # another object of the same kind
    assert len(built) == before
    two = ds.Rollout(simulator, steps=6, mode="fused", worlds=2)
    assert np.ptp(two.value()) == 0.0
    assert len(built) > before

    class Stiffer(Springs):
        @ti.kernel
        def move(self, t: ti.i32):
            for i in range(self.n):
                self.v[t + 1, i] = self.v[t, i] - 2.0 * self.k[i] * self.x[t, i] + self.u[t, i]
                self.x[t + 1, i] = self.x[t, i] + 0.125 * self.v[t + 1, i]

    stiffer, u = Stiffer(), np.zeros((6, N))
    cost, gradient = ds.Rollout(stiffer, steps=6, mode="fused").value_and_grad()
    wanted, gk, _ = by_hand(6, 2.0 * stiffer.k.numpy(), u)
    assert cost == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gradient["k"], 2.0 * gk, rtol=1e-11)


@both
def test_rollouts_alive_together_do_not_meet(built):
    simulator = Springs()
    many = {steps: ds.Rollout(simulator, steps=steps, mode="fused") for steps in (5, 9)}
    for _ in range(2):
        for steps, rollout in many.items():
            check(rollout, simulator, steps)


@both
def test_borrowed_memory_is_new(built):
    """Nothing of an earlier rollout is seen: not its NaN, its Params, its gradients, its alarms."""
    simulator = Springs()
    ill = ds.Rollout(simulator, steps=14, mode="fused")
    simulator.u.set(np.full((14, N), 1e308))
    with pytest.raises(StateError, match="finite"):
        ill.value_and_grad()
    ill.close()
    simulator.u.set(0.0)
    well = ds.Rollout(simulator, steps=5, mode="fused")
    check(well, simulator, 5)
    arrays = [a for b in well._engine.lowered.states for a in well._engine.storage.memory(b)]
    assert all(np.isfinite(a).all() for a in arrays)


@both
def test_values_come_home_and_optimizers_find_their_kernels(built):
    """What a closed rollout has learned is not lost; the next one goes on with it and compiles nothing."""
    simulator, counts, ours = Springs(), [], []
    for steps in (6, 7, 8):
        before, u = simulator.k.numpy(), np.zeros((steps, N))
        simulator.u.set(u)
        rollout = ds.Rollout(simulator, steps=steps, mode="fused")
        run = ds.optim.SGD(lr=1e-3).start(rollout, [simulator.k])
        run.step()
        rollout.close()
        run.close()
        np.testing.assert_allclose(simulator.k.numpy(), before - 1e-3 * by_hand(steps, before, u)[1])
        counts.append(sum(len(kernel.compiled_kernels) for kernel in _taichi.impl.get_runtime().kernels))
        ours.append(len(built))
    assert counts[0] == counts[1] == counts[2]
    assert ours[0] == ours[1] == ours[2] > 0


def test_health_and_checks_of_other_horizons_compile_nothing(built):
    simulator, counts = Springs(), []
    for steps in (6, 9):
        rollout = ds.Rollout(simulator, steps=steps, mode="fused")
        assert rollout.check_grad().passed
        rollout.health()
        counts.append(len(built))
        rollout.close()
    assert counts[0] == counts[1] > 0


@both
def test_idle_memory_is_bounded(built, monkeypatch):
    """Closed and collected rollouts keep no more than the pool may have, and failed ones keep nothing."""
    monkeypatch.setattr(pools, "_MOST", 2)
    for n in range(1, 5):
        ds.Rollout(Springs(n), steps=4, mode="step").value()
    gc.collect()
    assert len(the_pool()._idle) == 2
    monkeypatch.setattr(pools, "_IDLE", 0)
    rollout = ds.Rollout(Springs(), steps=4, mode="step")
    rollout.value()
    rollout.close()
    assert the_pool().idle_bytes == 0
    with pytest.raises(StateError, match="the rollout must be open"):
        rollout._engine.storage.arena  # noqa: B018


def test_a_plan_with_room_keeps_to_its_budget(runtime):
    simulator = Springs()
    exact = ds.plan(simulator, steps=100, window=100)
    assert exact.layout.slots == 101
    roomy = ds.plan(simulator, steps=100)
    assert roomy.layout.slots > 128
    assert roomy.layout.room == 128
    assert roomy.total_bytes > exact.total_bytes
    for budget in (exact.total_bytes, exact.total_bytes + 4000, roomy.total_bytes - 1, roomy.total_bytes):
        made = ds.plan(simulator, steps=100, memory=budget)
        assert made.recomputation == 1.0
        assert made.total_bytes <= budget
    assert [rounded(n) for n in (1, 16, 17, 64, 65)] == [16, 16, 32, 64, 128]


TREES = """
import resource, sys
import numpy as np, taichi as ti
sys.path[:0] = {folders!r}
import diffsim as ds
from diffsim import _taichi
from test_pool import Springs, by_hand
ds.init(arch="cpu", precision=64, threads=1, tune=False, compiler="{compiler}")
for k in range(40):
    rollout = ds.Rollout(Springs(), steps=5 + k % 10, mode="fused")
    rollout.value_and_grad()
    if k % 3 == 0:
        rollout.close()
    if k == 20:
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024)
used = _taichi.snodes()
early = ti.field(ti.f64)
ti.root.bitmasked(ti.i, 4).place(early)
for n in range(4, 6):
    ds.Rollout(Springs(n), steps=5, mode="step").value()
early[2] = 3.0
mine = ti.field(ti.f64)
block = ti.root.pointer(ti.i, 4)
block.dense(ti.i, 4).place(mine)

@ti.kernel
def fill():
    for i in range(3):
        mine[5 * i] = 1.0

@ti.kernel
def count() -> ti.i32:
    n = 0
    for i in mine:
        n += 1
    return n

fill()
assert count() == 12
mine[1] = 2.0
assert mine.to_numpy().sum() == 5.0 and early.to_numpy().sum() == 3.0
cost = ds.Rollout(Springs(), steps=6, mode="fused").value()
assert abs(cost - by_hand(6, np.linspace(0.1, 0.3, 3), np.zeros((6, 3)))[0]) < 1e-9
print(used)
"""


@pytest.mark.cpu
@pytest.mark.parametrize("compiler", ["taichi", rest("native")], indirect=True)  # whose rollouts take SNodes
def test_sparse_fields_live_beside_rollouts_that_come_and_go(compiler, tmp_path):
    """40 rollouts and their ends take the memory and the SNodes of a few; a pointer field then works."""
    script = tmp_path / "script.py"  # Taichi reads the source of kernels from their file
    script.write_text(
        TREES.format(folders=[str(folder) for folder in Path(__file__).parents[:2]], compiler=compiler)
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    grown, used = map(float, done.stdout.split())
    assert grown < 40.0  # MiB
    assert used < 300.0


@pytest.mark.parametrize("world_last", [False, True])
def test_memory_off_the_cpu_is_written_read_and_zeroed(runtime, world_last):
    """The way that fields of a GPU are moved, which works on a CPU too: copies, and a kernel that zeroes."""
    layout = Layout(5, 2, 1, 5, 1, 0, world_last, width=8, room=16)
    control, cost = Buffer("u", "control", "f64", (3,)), Buffer("c", "found", "f64", ())
    values = np.arange(15.0).reshape(5, 3, 1)
    for _ in range(2):  # the second one finds the memory of the first
        storage = Storage(layout, on_cpu=False)
        storage.allocate([control, cost, Buffer("x", "state", "f64", (2,))])
        assert not np.any(storage.memory(control)[0])
        assert storage.arrays(cost)[0] == 0.0
        storage.write(control, values, (1,))
        storage.put(cost, iter([np.array(2.5)]))
        np.testing.assert_array_equal(storage.read(control, (1,)), values)
        assert storage.memory(control)[0].shape == (16, 3)
        assert storage.arrays(cost)[0] == 2.5
        arena = storage.arena
        storage.close()
    assert arena in the_pool()._idle
