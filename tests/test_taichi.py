"""What diffsim relies on in Taichi, pinned: each test fails where a new Taichi behaves otherwise."""

import subprocess
import sys

import numpy as np
import pytest
import taichi as ti

from diffsim import _taichi
from diffsim.codegen.layout import Layout
from diffsim.engine.storage import Storage
from diffsim.ir import Buffer

MISCOMPILED = """
import sys, linecache
import diffsim
import taichi as ti
from diffsim import _taichi
if sys.argv[1] == "ours":
    diffsim.init(arch="cpu", precision=64, cache=False)
else:
    options = {"offline_cache": False, "force_scalarize_matrix": True, "log_level": ti.ERROR}
    ti.init(arch=ti.cpu, default_fp=ti.f64, **options)
a, b = ti.field(ti.f64, shape=(4, 1)), ti.field(ti.f64, shape=(4, 3))
kernel = _taichi.build_kernel('''
def sums(n: ti.i32):
    ti.loop_config(serialize=True)
    for g in range(1):
        for s0 in range(n):
            for s in range(s0 + 1, s0 + 2):
                for k in range(0, 1):
                    a[s0, k] = 0.0
                for i in range(3):
                    a[s0, 0] = a[s0, 0] + b[s0, i]
''', "sums", {"a": a, "b": b})
a.fill(7.0)
b.fill(1.0)
kernel(4)
assert abs(a[0, 0] - (3.0 if sys.argv[1] == "ours" else 10.0)) < 1e-12, a[0, 0]
"""


@pytest.mark.cpu
@pytest.mark.parametrize("options", ["ours", "defaults"])
def test_our_options_cure_a_miscompiled_sum(options, tmp_path):
    """Taichi's default pass loses the zeroing of `a`; with the options of `diffsim.init` the sum is right."""
    program = tmp_path / "program.py"
    program.write_text(MISCOMPILED)
    run = subprocess.run([sys.executable, program, options], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_options_of_init(runtime):
    config = _taichi.impl.current_cfg()
    assert config.force_scalarize_matrix
    assert not config.cache_loop_invariant_global_vars
    assert _taichi.is_initialised()


def test_dtype_names(runtime):
    assert _taichi.dtype_name(ti.f32) == "f32"
    assert _taichi.dtype_name(float) == "f64"
    assert _taichi.dtype_name(int) == "i32"
    assert _taichi.dtype_name("text") is None


def test_types_are_told_apart(runtime):
    assert _taichi.is_scalar_type(ti.f32)
    assert _taichi.is_vector_type(ti.math.vec3)
    assert _taichi.is_vector_type(ti.types.matrix(2, 2, ti.f32))
    assert not _taichi.is_scalar_type(ti.math.vec3)
    assert not _taichi.is_vector_type(ti.f32)


@ti.kernel
def plain_kernel(t: ti.i32):
    pass


@ti.func
def plain_function(x):
    return x


@ti.data_oriented
class Owner:
    @ti.kernel
    def method(self, t: ti.i32, k: ti.i32):
        pass

    @ti.func
    def helper(self, x):
        return x


def test_functions_behind_decorators():
    assert _taichi.kernel_function(plain_kernel).__name__ == "plain_kernel"
    assert _taichi.kernel_function(print) is None
    function, owner = _taichi.taichi_function(plain_function)
    assert function.__name__ == "plain_function"
    assert owner is None
    thing = Owner()
    function, owner = _taichi.taichi_function(thing.helper)
    assert function.__name__ == "helper"
    assert owner is thing
    assert _taichi.taichi_function(len) is None


def test_recording_catches_plain_kernels(runtime):
    calls = []
    thing = Owner()
    with _taichi.recording(lambda function, owner, args: calls.append((function.__name__, owner, args))):
        plain_kernel(3)
        thing.method(1, k=2)
    assert calls == [("plain_kernel", None, (3,)), ("method", thing, (1, 2))]
    plain_kernel(3)  # launched again, not recorded
    assert len(calls) == 2


@pytest.mark.cpu
@pytest.mark.parametrize("world_last", [False, True])
def test_views_share_memory_with_fields(runtime, world_last):
    layout = Layout(steps=4, worlds=3, groups=1, window=4, history=1, checkpoints=0, world_last=world_last)
    buffer = Buffer("x", "state", "f64", (5, 2), 2)
    storage = Storage(layout, on_cpu=True)
    storage.allocate([buffer])
    values = np.random.default_rng(0).normal(size=(3, 5, 5, 2, 2))  # worlds, slots, space, components
    storage.write(buffer, values, (2,))
    np.testing.assert_array_equal(storage.read(buffer, (2,)), values)
    field = storage.fields(buffer)[1]
    index = (4, 3, 1, 2) if world_last else (2, 4, 3, 1)
    assert field[index] == values[2, 4, 3, 1, 1]
    field[index] = 9.0
    assert storage.arrays(buffer)[1][2, 4, 3, 1] == 9.0
    storage.close()


def test_kernels_are_built_of_text(runtime):
    field = ti.field(ti.f64, shape=3)
    source = "def fill(n: ti.i32):\n    for i in range(3):\n        f[i] = n * 0.5\n"
    kernel = _taichi.build_kernel(source, "fill", {"f": field})
    kernel(4)
    _taichi.release_source(kernel)
    kernel(5)  # compiled kernels need no source
    assert field[2] == 2.5


def test_destroying_a_tree_leaves_other_kernels_compiled(runtime):
    kept, gone = ti.field(ti.f64), ti.field(ti.f64)
    builders = ti.FieldsBuilder(), ti.FieldsBuilder()
    trees = []
    for builder, field in zip(builders, (kept, gone), strict=True):
        builder.dense(ti.i, 3).place(field)
        trees.append(builder.finalize())
    source = "def fill(n: ti.i32):\n    for i in range(3):\n        f[i] = n * 0.5\n"
    kernels = [_taichi.build_kernel(source, "fill", {"f": f}) for f in (kept, gone)]
    for kernel in kernels:
        kernel(4)
        _taichi.release_source(kernel)
    count = len(_taichi.impl.get_runtime().kernels)
    _taichi.forget_kernel(kernels[1])
    assert len(_taichi.impl.get_runtime().kernels) == count - 2
    _taichi.destroy_tree(trees[1])
    kernels[0](6)
    assert kept[1] == 3.0
    _taichi.destroy_tree(trees[0])
