"""Vulkan: what its drivers are asked, what is refused there in one line, and the limits of Taichi's SPIR-V.

What it computes is in tests/engine/test_core.py.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import taichi as ti
from backends import Backend

import diffsim as ds
from diffsim import _backends, _llvm, _taichi, _vulkan
from diffsim._taichi import spirv
from diffsim.engine import device as device_memory
from diffsim.errors import ConfigError, StateError, TraceError
from diffsim.runtime import RuntimeInfo

DEVICE = _vulkan.Device("Some GPU", software=False, doubles=True, longs=True, buffer=1 << 30)


@pytest.fixture(scope="module")
def arch() -> str:
    Backend("vulkan", 32).require()
    return "vulkan"


@pytest.fixture(scope="module")
def precision() -> int:
    return 32


# ---- refused before anything is allocated ----


@pytest.mark.parametrize(
    ("arch", "precision", "asked", "words"),
    [
        (
            "metal",
            32,
            (DEVICE, ""),
            "where costs are added up in 64 bits, which Metal has not; use",
        ),
        ("vulkan", 64, (DEVICE, ""), "have 32 bits alone; use precision=32, or arch='cpu'"),
        ("vulkan", 32, (None, "no Vulkan driver is installed"), "no Vulkan driver is installed; install the"),
        (
            "vulkan",
            32,
            (dataclasses.replace(DEVICE, doubles=False), ""),
            "Some GPU has no numbers of 64 bits, in which costs are added up; use arch='cpu'",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    arch: str, precision: int, asked: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vulkan, "_asked", lambda: asked)
    with pytest.raises(ConfigError, match="arch must name a backend of this machine") as caught:
        ds.init(arch=arch, precision=precision)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_machine_without_loader_or_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        """A loader that finds no driver."""

        def vkCreateInstance(self, *_: Any) -> int:
            return -9

    for library, words in (
        (None, "no Vulkan loader (libvulkan) is installed"),
        (Loader(), "no Vulkan driver"),
    ):
        monkeypatch.setattr(_vulkan, "_library", lambda library=library: library)
        found, why = _vulkan._asked.__wrapped__()
        assert found is None
        assert words in why


def test_a_look_in_f64_needs_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    info = RuntimeInfo("vulkan", 32, 0, 2)
    if not _llvm.why_missing():
        assert info.in_double() == dataclasses.replace(info, arch="cpu", precision=64, compiler="native")
    monkeypatch.setattr(_llvm, "why_missing", lambda: "llvmlite is not installed")
    with pytest.raises(ConfigError, match="to run on the CPU, got llvmlite is not installed; pip"):
        info.in_double()
    assert "GPU" in _backends.why_unguarded("vulkan")


def test_memory_is_split_where_numbers_differ_in_size_or_buffers_are_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffsim.engine.arena import Spec

    def spec(name: str, dtype: str, count: int) -> Spec:
        return Spec(name, dtype, (count,), 0, 1, "lasting")

    specs = [spec("a", "f32", 8), spec("b", "f64", 2), spec("c", "i32", 4), spec("d", "f32", 1)]
    monkeypatch.setattr(_taichi, "largest_buffer", lambda: 48)
    names = [[one.name for one in part] for part in device_memory.apart(specs)]
    assert names == [["a", "c"], ["d"], ["b"]]
    with pytest.raises(StateError, match="big must fit into one buffer of the Vulkan device, 48 B, got 80 B"):
        device_memory.require_room([*specs, spec("big", "f32", 20)])
    monkeypatch.setattr(_taichi, "largest_buffer", lambda: 0)
    assert [len(part) for part in device_memory.apart(specs)] == [3, 1]


# ---- what Taichi's SPIR-V does ----


def placed(*fields: tuple[Any, int]) -> list[Any]:
    """Make fields in one tree, which lives as long as the program."""
    builder, made = ti.FieldsBuilder(), []
    for dtype, count in fields:
        made.append(ti.field(dtype))
        builder.dense(ti.i, count).place(made[-1])
    builder.finalize()
    return made


def test_numbers_of_other_sizes_in_one_tree_overlap_and_are_refused(runtime: RuntimeInfo) -> None:
    """If the first half fails, Taichi was cured: trees need not be split any more."""
    small, _, large = placed((ti.f32, 5), (ti.f64, 5), (ti.f32, 5))
    alone, beside = placed((ti.f32, 5), (ti.i32, 5))
    assert _taichi.field_facts(small).overlaps
    assert not _taichi.field_facts(alone).overlaps
    alone.fill(1.5)
    beside.fill(3)
    assert alone.to_numpy().tolist() == [1.5] * 5

    class Reads(ds.Simulator):
        def __init__(self, table: Any) -> None:
            self.x, self.table = ds.State(ds.real), table

        @ti.kernel
        def move(self, t: ti.i32):  # type: ignore[no-untyped-def]
            self.x[t + 1] = self.x[t] + self.table[t]

        def step(self, t: Any) -> None:
            self.move(t)

        @ti.kernel
        def end(self, t: ti.i32):  # type: ignore[no-untyped-def]
            self.cost[None] += self.x[t]

        def terminal_cost(self, t: Any) -> None:
            self.end(t)

    with pytest.raises(TraceError, match="must have numbers of one size in its tree of Taichi fields"):
        ds.Rollout(Reads(large), 2)
    with ds.Rollout(Reads(alone), 2, mode="step") as rollout:
        assert rollout.value() == 3.0
        with pytest.raises(ConfigError, match=r"must become machine code .* got .*made by hand; make"):
            rollout.check_grad(rollout.sim.x)


def test_sparse_fields_are_refused_where_they_are_made(runtime: RuntimeInfo) -> None:
    with pytest.raises(StateError, match=r"must be dense, got a pointer SNode.*ds\.sparse\(\)"):
        ti.root.pointer(ti.i, 4)


def test_loops_longer_than_a_launch_are_shared_out(
    runtime: RuntimeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that Taichi knows to be longer is not launched; one whose length it does not know is."""
    monkeypatch.setattr(spirv, "MOST_ITERATIONS", 10)
    monkeypatch.setattr("diffsim._taichi.memory.MOST_ITERATIONS", 10)
    (field,) = placed((ti.f32, 12))
    source = "def fill(n: ti.i32):\n    for i in range(12):\n        f[i] = i\n"
    told, _ = spirv.spoken(source, {})
    assert "range(ti.max(12, ti.min(n, 12 - 1)))" in told
    kernel = _taichi.build_kernel(source, "fill", {"f": field})
    for argument in (0, 100):
        kernel(argument)
        np.testing.assert_array_equal(_taichi.read_field(field), np.arange(12))
    _taichi.write_field(field, np.arange(12, dtype=np.float32)[::-1])
    np.testing.assert_array_equal(field.to_numpy(), np.arange(12)[::-1])
    nested = (
        "def f(out: ti.types.ndarray(), n: ti.i32):\n    for i, j in ti.ndrange((1, 5), 3):\n        pass\n"
    )
    assert "ti.ndrange((1, ti.max(5, ti.min(out.shape[0], 5 - 1))), 3)" in spirv.spoken(nested, {})[0]
    short = "def f(n: ti.i32):\n    for i in range(n):\n        for j in range(100):\n            pass\n"
    assert spirv.spoken(short, {})[0] == short
    with pytest.raises(StateError, match="a loop on Vulkan must have at most 10 iterations, got 12"):
        spirv.spoken("def f():\n    for i in range(12):\n        pass\n", {})


@pytest.mark.output  # Taichi logs its refusal
def test_f64_has_sums_and_no_functions(runtime: RuntimeInfo) -> None:
    """If the second half fails, Taichi was cured: f64 may run there."""
    (wide,) = placed((ti.f64, 2))
    scope = {"f": wide}
    add = "def add(n: ti.i32):\n    for i in range(3000):\n        f[0] += ti.cast(1.0, ti.f64) / 3.0\n"
    kernel = _taichi.build_kernel(add, "add", scope)
    kernel(0)
    assert wide.to_numpy()[0] == pytest.approx(1000.0, rel=1e-7)  # 1.0 is an f32 here
    sine = "def sine(n: ti.i32):\n    for i in range(1):\n        f[1] = ti.sin(f[0])\n"
    with pytest.raises(RuntimeError, match="does not 64bits operation"), warnings.catch_warnings():
        _taichi.build_kernel(sine, "sine", scope)(0)


def test_functions_are_as_exact_as_f32(runtime: RuntimeInfo) -> None:
    """Drivers may be off by 4096 last bits in `acos` and `asin`, and Mesa's is: `atan2` stands for them."""
    x = np.linspace(-0.98, 0.98, 41).astype(np.float32)
    given, found = placed((ti.f32, 41), (ti.f32, 41))
    given.from_numpy(x)
    names = {"acos": "arccos", "asin": "arcsin", "atan2": "arctan2"}
    for name in (*names, "sin", "cos", "tan", "exp", "tanh"):
        call = f"ti.{name}(g[i], 0.3)" if name == "atan2" else f"ti.{name}(g[i])"
        source = f"def fill(n: ti.i32):\n    for i in range(41):\n        f[i] = {call}\n"
        _taichi.build_kernel(source, "fill", {"g": given, "f": found})(0)
        wide = x.astype(np.float64)
        want = (
            np.arctan2(wide, 0.3)
            if name == "atan2"
            else getattr(np, name.replace("a", "arc", name[0] == "a"))(wide)
        )
        np.testing.assert_allclose(found.to_numpy(), want, rtol=2e-6, atol=2e-6, err_msg=name)
