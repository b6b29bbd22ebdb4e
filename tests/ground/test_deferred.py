"""Taichi's program is made when it is first needed, and nobody can tell but by the clock."""

import contextlib
import gc
import io
import threading
import warnings

import pytest
import taichi as ti

import diffsim as ds
from diffsim import _llvm, _taichi
from diffsim.errors import StateError

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(bool(_llvm.why_missing()), reason="Taichi compiles all kernels here"),
]


class Drift(ds.Simulator):
    """x[t + 1] = x[t] + k: the cost of three steps is 9 k^2, with slope 18 k."""

    def __init__(self):
        self.x = ds.State(ds.real)
        self.k = ds.Param(2.0)

    @ti.kernel
    def push(self, t: ti.i32):
        self.x[t + 1] = self.x[t] + self.k[None]

    @ti.kernel
    def square(self, t: ti.i32):
        self.cost[None] += self.x[t] * self.x[t]

    def step(self, t):
        self.push(t)

    def terminal_cost(self, t):
        self.square(t)


@pytest.fixture
def fresh(runtime):
    """A runtime on which nobody lives, with its program still to come."""
    gc.collect()
    with warnings.catch_warnings():  # kernels of other tests may hold fields
        warnings.filterwarnings("ignore", "Taichi fields must be made after", RuntimeWarning)
        ds.init(arch="cpu", precision=64, threads=1, compiler="native", reset=True)


def test_gradients_and_optimizers_do_without_taichi(fresh):
    with ds.Rollout(Drift(), steps=3) as rollout:
        cost, grads = rollout.value_and_grad()
        assert (cost, grads["k"]) == (36.0, 36.0)
        assert rollout.trajectory(rollout.sim.x)[-1] == 6.0
        for rule in (ds.optim.Adam(lr=0.1), ds.optim.SGD(lr=0.01, momentum=0.9)):
            assert ds.minimize(rollout, optimizer=rule, iterations=3).best_cost < 36.0
    assert not _taichi.started()


USES = {
    "a field": lambda: ti.field(ti.f32, 3),
    "the root": lambda: ti.root.dense(ti.i, 3),
    "a builder": ti.FieldsBuilder,
    "an ndarray": lambda: ti.ndarray(ti.f32, 3),
    "waiting": ti.sync,
    "the options": lambda: ti.lang.impl.current_cfg().arch,
}


@pytest.mark.parametrize("use", USES)
def test_the_first_use_starts_taichi_below_what_lives(fresh, use):
    with ds.Rollout(Drift(), steps=3) as rollout:
        rollout.value_and_grad()
        program = ds.runtime.current_program()
        USES[use]()
        assert _taichi.started()
        assert ds.runtime.current_program() is program
        assert rollout.value() == 36.0


def options():
    chosen = ti.lang.impl.current_cfg()
    names = {name for name in dir(chosen) if not name.startswith("_")}
    return {name: str(getattr(chosen, name)) for name in names - {"print_ir_dbg_info"}}  # of any value there


def test_what_starts_late_has_the_options_of_init(fresh):
    number = ti.field(float, shape=3)
    placed = ti.field(ti.f64)
    ti.root.dense(ti.i, 3).place(placed)

    @ti.kernel
    def third():
        for i in number:
            number[i] = 1.0 / 3.0
            placed[i] = number[i]

    third()
    assert placed.to_numpy().tolist() == [1.0 / 3.0] * 3  # literals of 64 bits
    late = options()
    by_taichi = "forge" if _taichi.HOME.is_forge else "taichi"
    with pytest.warns(RuntimeWarning, match="fields made before it"):
        ds.init(arch="cpu", precision=64, threads=1, compiler=by_taichi, reset=True)
    assert late == options()


def test_a_kernel_alone_starts_taichi(fresh):
    @ti.kernel
    def answer() -> ti.i32:
        return 42

    assert answer() == 42


def test_another_precision_than_that_of_init_is_over_when_taichi_starts(fresh):
    with _taichi.default_real("f32"):
        ti.sync()
    assert ti.lang.impl.current_cfg().default_fp == ti.f64


def test_another_start_before_the_first_use(fresh):
    rollout = ds.Rollout(Drift(), steps=3)
    assert rollout.value() == 36.0
    with contextlib.redirect_stdout(io.StringIO()):
        ti.init(arch=ti.cpu, log_level=ti.ERROR)
    assert _taichi.started()
    with pytest.raises(StateError, match="must live on the running Taichi program"):
        rollout.value()


def test_another_thread_cannot_start_taichi(fresh):
    caught = []

    def work():
        with pytest.raises(StateError, match="Taichi must be started in the thread that"):
            ti.field(ti.f32, 3)
        with ds.Rollout(Drift(), steps=3) as rollout:  # machine code needs no Taichi
            caught.append(rollout.value())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == [36.0]
    ti.field(ti.f32, 3).fill(1.0)
