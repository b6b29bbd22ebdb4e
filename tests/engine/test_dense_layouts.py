"""Dense fields laid out in any way: the same bits, in memory of that order."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import sweeps
import taichi as ti

import diffsim as ds
from diffsim.compiler.native import memory
from diffsim.engine.arena import FieldArena, Spec
from diffsim.engine.blocks import BlockArena
from diffsim.engine.pool import the_pool
from diffsim.language.arrangement import Arrangement

N, M, STEPS = 5, 6, 5
ALL = ds.dense(order="ji", components="together", pad=1, multiple=(1, 4))
LAYOUTS = [ds.dense(order="ji"), ds.dense(components="together"), ds.dense(pad=(1, 3)), ALL]


class Mesh(ds.Simulator):
    """Has a field of each kind, written and read at its own places and at computed ones."""

    def __init__(self, layout=None):
        rng, lay = np.random.default_rng(3), {"layout": layout}
        self.x = ds.State(ds.vec2, N, M, init=rng.normal(size=(N, M, 2)), **lay)
        self.still = ds.State(ds.vec2, N, M, init=rng.normal(size=(N, M, 2)), **lay)
        self.hits = ds.State(ds.i32, N, M, **lay)
        self.force = ds.Scratch(ds.vec2, N, M, **lay)
        self.scale = ds.Param(rng.uniform(0.5, 1.0, (N, M)), per_world=True, **lay)
        self.stiff = ds.Param(ds.vec2, N, M, init=rng.uniform(0.5, 1.0, (N, M, 2)), **lay)
        self.push = ds.Control(ds.vec2, N, M, init=0.1, **lay)
        self.target = ds.Constant(rng.integers(0, N, (N, M)), **lay)

    @ti.kernel
    def pull(self, t: ti.i32):
        for i, j in self.force:
            k = self.target[i, j]
            d = self.x[t, k, (j + 1) % M] - self.x[t, i, j]
            f = self.stiff[i, j] * d * d + self.push[t, j % N, i] * self.still[t, i, j]
            self.force[t, i, j] += f
            self.force[t, k, j] -= 0.5 * f

    @ti.kernel
    def move(self, t: ti.i32):
        for cell in ti.grouped(self.x):
            self.x[t + 1, cell] = self.x[t, cell] + 0.01 * self.scale[cell] * self.force[t, cell]
            self.hits[t + 1, cell] = self.hits[t, cell] + ti.cast(self.x[t, cell][0] > 0.0, ti.i32)

    @ti.kernel
    def size(self, t: ti.i32):
        for i, j in self.x:
            self.cost[None] += self.x[t, i, j].dot(self.x[t, i, j]) * (1 + self.hits[t, i, j])

    def step(self, t):
        self.pull(t)
        self.move(t)

    def terminal_cost(self, t):
        self.size(t)


def results(layout, **options):
    simulator = Mesh(layout)
    rollout = ds.Rollout(simulator, steps=STEPS, **options)
    try:
        value, grads = rollout.value_and_grad()
        frames = {name: rollout.trajectory(getattr(simulator, name)) for name in ("x", "hits", "force")}
        return {"value": value, **grads, **frames}
    finally:
        rollout.close()


@functools.cache
def as_declared(options):
    return results(None, **dict(options))


def differing(layout, **options):
    """Return in what a layout differs from none, in the same mode."""
    wanted, found = as_declared(tuple(options.items())), results(layout, **options)
    assert wanted.keys() == found.keys()
    return [name for name in wanted if not np.array_equal(wanted[name], found[name])]


@pytest.mark.cpu
@pytest.mark.native
@pytest.mark.parametrize("which", [0, 1, sweeps.rest(2), sweeps.rest(3)])
def test_layouts_have_the_same_bits(runtime, which):
    assert differing(LAYOUTS[which], mode="fused", window=2) == []


@pytest.mark.cpu
@pytest.mark.native
@pytest.mark.parametrize(
    ("mode", "worlds"),
    [("fused", 9), ("step", 3), ("chunk", 1), sweeps.rest("step", 1), sweeps.rest("chunk", 9)],
)
def test_modes_and_worlds_have_the_same_bits(runtime, mode, worlds):
    assert differing(ALL, mode=mode, worlds=worlds, window=4) == []


@pytest.mark.cpu
@pytest.mark.native
def test_a_wrong_place_is_seen(runtime, monkeypatch):
    """Machine code that takes memory for ordered, or for another order, gives other numbers."""
    plain = memory.steps_of

    def swapped(shape, first, arrangement):
        return plain(shape, first, arrangement and dataclasses.replace(arrangement, order=(0, 1)))

    the_pool().release()  # kernels that were compiled for the right places
    monkeypatch.setattr(memory, "steps_of", swapped)
    assert {"value", "x", "force", "stiff"} <= set(differing(ALL, mode="fused", window=2))
    the_pool().release()


@pytest.mark.cpu
@pytest.mark.native
def test_memory_lies_as_told(runtime):
    """The first axis has the nearest neighbours, and room to spare, in whatever is kept of a field."""
    rollout, other = (ds.Rollout(Mesh(a), steps=STEPS, window=2) for a in (ALL, None))
    rollout.value_and_grad()
    engine, lowered = rollout._engine, rollout._engine.lowered
    found = [
        b for b in lowered.buffers.by_field.values() if b.kind in ("state", "scratch", "param", "control")
    ]
    found += [b.adjoint for b in found if b.adjoint is not None]
    found += [*lowered.kept.values(), *lowered.carried.values()]
    for buffer in found:
        if buffer.shape != (N, M):
            continue
        parts = engine.storage.memory(buffer)
        size, count = parts[0].itemsize, len(parts)
        assert [s // size for s in parts[0].strides[-2:]] == [count, count * (N + 1)], buffer
        assert {b.ctypes.data - a.ctypes.data for a, b in itertools.pairwise(parts)} <= {size}
    assert abs(engine.storage.arena.bytes - rollout.plan.total_bytes) <= 64
    assert rollout.plan.fields["x"] * N * M == other.plan.fields["x"] * (N + 1) * 8


def texts(spec, fields):
    """Return a kernel that stores at each place a number that tells it."""
    names = [f"i{k}" for k in range(len(spec.shape))]
    number = "+".join(f"{name}*{100 ** (k + 1)}" for k, name in enumerate(names))
    bounds = ", ".join(map(str, spec.shape))
    lines = [f"        f{c}[{', '.join(names)}] = {number} + {c}" for c in range(len(fields))]
    head = f"def number():\n    for {', '.join(names)} in ti.ndrange({bounds}):\n"
    return head + "\n".join(lines) + "\n"


@pytest.mark.cpu
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("beside", [1, 2])
def test_taichis_fields_lie_as_told(runtime, split, beside):
    """What Taichi's kernels store is where NumPy's views, and machine code, look for it."""
    from diffsim import _taichi

    lies = Arrangement((1, 0), (4, 4), beside)
    shape, space = ((2, 3, 3, 4), 2) if split else ((3, 3, 4, 2), 1)
    alone = Spec("a", "f64", shape, 2, 2, "windowed", space=space, arrangement=lies)
    arena = FieldArena([alone], True, split)
    moved = Spec("b", "f64", (4, 3, 3, 4), 2, 2, "windowed", 0, 2, 2, lies)
    blocks = BlockArena([moved])
    for one, spec in ((arena, alone), (blocks, moved)):
        one.allocate([spec])
        fields = one.fields(spec)
        kernel = _taichi.build_kernel(
            texts(spec, fields), "number", {f"f{c}": f for c, f in enumerate(fields)}
        )
        kernel()
        index = np.indices(spec.shape)
        wanted = sum(index[k] * 100.0 ** (k + 1) for k in range(4))
        for c, view in enumerate(one.views(spec)):
            np.testing.assert_array_equal(view, wanted + c)
        first, second = one.laid(spec)
        steps = spec.steps
        assert [s // 8 for s in first.strides[2 if split else 0 :]] == list(
            steps.strides[2 if split else 0 :]
        )
        if beside > 1:
            assert second.ctypes.data - first.ctypes.data == 8 * steps.component
        _taichi.forget_kernel(kernel)
        one.close()


@pytest.mark.compilers
@pytest.mark.layouts
@sweeps.full
def test_taichi_has_the_same_numbers(runtime):
    for options in ({"mode": "fused", "window": 2}, {"mode": "step", "worlds": 3}):
        wanted = as_declared(tuple(options.items()))
        for layout in LAYOUTS:
            for name, found in results(layout, **options).items():
                np.testing.assert_allclose(found, wanted[name], rtol=1e-13, err_msg=name)
