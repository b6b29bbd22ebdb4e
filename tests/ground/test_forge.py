"""What diffsim relies on in Taichi Forge, and two packages that spell one language."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import taichi as ti

import diffsim as ds
from diffsim import _taichi
from diffsim.errors import ConfigError, StateError
from diffsim.optim import Memory, Optimizer

MISSING = importlib.util.find_spec("taichi_forge") is None
pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(MISSING, reason="Taichi Forge is not installed: pip install 'diffsim[forge]'"),
    pytest.mark.skipif(_taichi.HOME.is_forge, reason="Taichi itself is not installed: there is one package"),
]


@pytest.fixture(scope="module")
def tf():
    """Taichi Forge, which takes a second to import."""
    return _taichi.package(_taichi.FORGE).ti


@pytest.fixture(scope="module")
def compiler():
    return "forge"


def spelled_by(ti):
    """A simulator that is written with one of the packages."""

    @ti.func
    def softened(x):
        return x / ti.sqrt(1.0 + x * x)

    class Swing(ds.Simulator):
        def __init__(self):
            self.x, self.v = ds.State(ds.vec2, init=[0.3, -0.2]), ds.State(ds.vec2)
            self.k, self.pull = ds.Param(2.0), ti.Vector([0.1, 0.2])

        @ti.kernel
        def move(self, t: ti.i32, by: ti.math.vec2):
            force = self.pull - self.k[None] * softened(self.x[t]) + by
            for axis in ti.static(range(2)):
                force[axis] += ti.math.clamp(self.x[t][axis], -1.0, 1.0) * ti.cast(axis, ti.f64)
            self.v[t + 1] = self.v[t] + 0.1 * force
            self.x[t + 1] = self.x[t] + 0.1 * self.v[t + 1]

        @ti.kernel
        def score(self, t: ti.i32):
            ti.atomic_add(self.cost[None], self.x[t].dot(ti.Vector.one(float, 2)))

        def step(self, t):
            self.move(t, ti.math.vec2(0.5, -0.5))

        def terminal_cost(self, t):
            self.score(t)

    return Swing()


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_both_packages_spell_the_same(runtime, tf, mode):
    """Equal bits: the names of either mean what they mean in the other, and so do its floats."""
    found = []
    for package in (ti, tf):
        with ds.Rollout(spelled_by(package), steps=12, mode=mode) as rollout:
            value, grads = rollout.value_and_grad()
            found.append((value, float(grads["k"])))
            assert rollout.check_grad(
                directions=2
            ).passed  # with plain Python's values, which it compares too
        with ds.Rollout(spelled_by(package), steps=12, mode="python") as rollout:
            assert abs(rollout.value() - value) <= 1e-14 * abs(value)
    assert found[0] == found[1]
    assert runtime.compiler == "forge"
    assert _taichi.running.ti is tf


def test_types_and_names_have_twins(tf):
    pairs = [
        (ti, tf),
        (ti.sin, tf.sin),
        (ti.f64, tf.f64),
        (ti.math.vec3, tf.math.vec3),
        (ti.Vector, tf.Vector),
    ]
    pairs += [(ti.types.vector, tf.types.vector), (ti.atomic_max, tf.atomic_max), (ti.svd, tf.svd)]
    for ours, theirs in pairs:
        assert ours is not theirs
        assert _taichi.at_home(theirs) is ours
    assert _taichi.at_home(abs) is abs
    assert [_taichi.dtype_name(dtype) for dtype in (tf.f32, tf.i64, tf.u1)] == ["f32", "i64", "u1"]
    assert _taichi.is_scalar_type(tf.f32)
    assert _taichi.is_vector_type(tf.math.ivec2)
    assert _taichi.is_a(tf.Vector([1.0]), "Matrix")
    assert _taichi.ndrange_bounds(tf.ndrange(3, (1, 4))) == [(0, 3), (1, 4)]
    assert list(_taichi.struct_members(tf.types.struct(r=tf.f32))) == ["r"]


def test_private_rooms_are_where_they_are_used(runtime, tf):
    """Kernels in a weak set, plans of executions, and the options of the compiler."""
    assert not isinstance(_taichi.running.impl.get_runtime().kernels, list)
    config = _taichi.running.impl.current_cfg()
    assert (config.compile_tier, config.advanced_optimization) == ("full", True)
    assert _taichi.running.impl.get_runtime().kernel_specialization_limit > 1 << 16
    field = tf.field(tf.i32, shape=4)
    kernel = _taichi.build_kernel(
        "def put(k: ti.i32):\n    for i in range(1):\n        f[k] += 7\n", "put", {"f": field}
    )
    kernel(1)
    launch = _taichi.direct_launch(kernel, 1)
    count = len(_taichi.running.impl.get_runtime().kernels)
    for k in (1, 3):
        launch(k)
    assert field.to_numpy().tolist() == [0, 14, 0, 7]
    _taichi.forget_kernel(kernel)
    assert len(_taichi.running.impl.get_runtime().kernels) == count - 2
    assert _taichi.running.impl.default_cfg().offline_cache_file_path.endswith("forge")


@ti.data_oriented
class SignMemory(Memory):
    @ti.func
    def change(self, place, g, numbers):
        return -numbers[0] * ti.math.sign(g) * ds.math.safe_div(g, g)


@dataclass(frozen=True)
class SignDescent(Optimizer):
    memory = SignMemory

    def numbers(self, iteration):
        return (0.25,)


def test_rules_that_the_other_package_spells_run(runtime):
    kind = _taichi.carried_class(SignMemory)
    assert issubclass(kind, SignMemory)
    assert kind is _taichi.carried_class(SignMemory)
    simulator = spelled_by(ti)
    with ds.Rollout(simulator, steps=3) as rollout, SignDescent().start(rollout, "k") as run:
        run.step()
        assert abs(float(simulator.k.numpy()) - 2.0) == 0.25


def test_reverse_mode_of_the_fork_is_refused(runtime):
    with pytest.raises(ConfigError, match="must be that of Taichi itself, got a runtime of Taichi Forge"):
        ds.Rollout(spelled_by(ti), steps=3, mode="tape").value_and_grad()


def test_what_is_of_the_package_that_rests_is_an_error(runtime):
    with pytest.raises(
        StateError, match="one of taichi where taichi_forge does; write `import taichi_forge as ti`"
    ):
        ti.field(ti.f64, shape=3)

    @ti.kernel
    def alone():
        pass

    with pytest.raises(
        StateError, match="a kernel that is launched by hand, must be of the Taichi that runs"
    ):
        alone()
    assert (ti.Vector([1.0, 2.0]) + ti.Vector([3.0, 4.0])).to_numpy().tolist() == [4.0, 6.0]


READY = """
import sys
import diffsim as ds
from diffsim.errors import DiffsimError
assert "taichi_forge" not in sys.modules  # a second, for who does not ask for it
if "missing" in sys.argv:
    import importlib.machinery
    usual = importlib.machinery.PathFinder.find_spec
    hide = lambda cls, name, *rest: None if name == "taichi_forge" else usual(name, *rest)
    importlib.machinery.PathFinder.find_spec = classmethod(hide)
try:
    print(ds.init(cache=False).compiler)
except DiffsimError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "forge"),
        (
            ["missing"],
            "MissingExtraError taichi_forge must be installed for compiler='forge', got no such module; "
            "pip install 'diffsim[forge]'",
        ),
    ],
)
def test_the_environment_asks_for_it(words, said):
    environment = {**os.environ, "DIFFSIM_COMPILER": "forge"}
    done = subprocess.run(
        [sys.executable, "-c", READY, *words], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")


ALONE = """
import diffsim as ds
import taichi as ti
import taichi.math as tm
import taichi_forge
from taichi.lang import impl
assert ti is taichi_forge and tm is taichi_forge.math and impl is taichi_forge.lang.impl
assert (ti.__spec__.name, tm.__spec__.name) == ("taichi_forge", "taichi_forge.math")
import diffsim.kernels.wave
from diffsim.errors import ConfigError
try:
    ds.init(compiler="taichi")
except ConfigError as error:
    print(error)
print(ds.init(compiler="forge", cache=False).compiler)
"""


def test_it_stands_for_taichi_where_that_is_not_installed():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "without_taichi")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    refused, started = done.stdout.splitlines()
    assert refused.endswith("got 'taichi' where only Taichi Forge is; use 'forge' or 'auto'")
    assert started == "forge"
