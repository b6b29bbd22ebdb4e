"""Stencils against NumPy on a padded grid and against their closed forms, in two and three dimensions."""

# No `from __future__ import annotations`: Taichi reads the annotations of kernels.
from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.kernels.common.stencils import (
    BOUNDARIES,
    central_difference,
    gradient,
    laplacian,
    second_difference,
)

PADDING = {"fixed": "constant", "reflecting": "symmetric", "periodic": "wrap"}  # np.pad's names for them
SHAPES = [(7, 5), (4, 3, 6)]


class Differences(ds.Simulator):
    """Writes the differences of `f` (carried over the step) and of the Param `p` under every boundary."""

    def __init__(self, shape):
        rng = np.random.default_rng(len(shape))
        self.p = ds.Param(rng.normal(size=shape))
        self.f = ds.State(ds.real, shape, init=rng.normal(size=shape))
        vector = ds.vec2 if len(shape) == 2 else ds.vec3
        self.v = ds.State(vector, shape, init=rng.normal(size=(*shape, len(shape))))
        for boundary in BOUNDARIES:
            setattr(self, f"slope_{boundary}", ds.Scratch(vector, shape))
            setattr(self, f"curve_{boundary}", ds.Scratch(ds.real, shape))
            setattr(self, f"curve_of_v_{boundary}", ds.Scratch(vector, shape))
        self.curve_of_p = ds.Scratch(ds.real, shape)

    @ti.kernel
    def differences(self, t: ti.i32):
        for at in ti.grouped(self.p):
            self.slope_fixed[t, at] = gradient(self.f, t, at, "fixed")
            self.slope_reflecting[t, at] = gradient(self.f, t, at, "reflecting")
            self.slope_periodic[t, at] = gradient(self.f, t, at, "periodic")
            self.curve_fixed[t, at] = laplacian(self.f, t, at, "fixed")
            self.curve_reflecting[t, at] = laplacian(self.f, t, at, "reflecting")
            self.curve_periodic[t, at] = laplacian(self.f, t, at, "periodic")
            self.curve_of_v_fixed[t, at] = laplacian(self.v, t, at, "fixed")
            self.curve_of_v_reflecting[t, at] = laplacian(self.v, t, at, "reflecting")
            self.curve_of_v_periodic[t, at] = laplacian(self.v, t, at, "periodic")
            self.curve_of_p[t, at] = laplacian(self.p, None, at, "reflecting")

    def step(self, t):
        self.differences(t)

    @ti.kernel
    def energy(self, t: ti.i32):
        for at in ti.grouped(self.p):
            self.cost[None] += 0.5 * self.f[t, at] * (self.curve_fixed[t, at] + self.curve_periodic[t, at])
            self.cost[None] += 0.5 * self.f[t, at] * self.curve_reflecting[t, at]
            self.cost[None] += self.slope_fixed[t, at][0] * self.p[at]

    def running_cost(self, t):
        self.energy(t)


def numpy_laplacian(f: NDArray[Any], boundary: str) -> NDArray[Any]:
    """Sum the second differences along each of the axes, from a padded copy."""
    padded = np.pad(f, 1, mode=PADDING[boundary])  # type: ignore[call-overload]
    inner = tuple(slice(1, -1) for _ in f.shape)
    return sum(np.roll(padded, s, axis)[inner] - f for axis in range(f.ndim) for s in (1, -1))  # type: ignore[return-value]


def numpy_gradient(f: NDArray[Any], boundary: str) -> NDArray[Any]:
    padded = np.pad(f, 1, mode=PADDING[boundary])  # type: ignore[call-overload]
    inner = tuple(slice(1, -1) for _ in f.shape)
    each = [0.5 * (np.roll(padded, -1, axis) - np.roll(padded, 1, axis))[inner] for axis in range(f.ndim)]
    return np.stack(each, axis=-1)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"{len(shape)}d")
def rollout(request: pytest.FixtureRequest, runtime: Any) -> ds.Rollout:
    return ds.Rollout(Differences(request.param), steps=1, mode="step")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_differences_are_numpys(rollout: ds.Rollout, boundary: str) -> None:
    sim = rollout.sim
    names = [f"slope_{boundary}", f"curve_{boundary}", f"curve_of_v_{boundary}", "curve_of_p"]
    found = rollout.trajectories({name: getattr(sim, name) for name in names}, every=1)
    f, v = sim.f.numpy(), sim.v.numpy()
    expected = {
        names[0]: numpy_gradient(f, boundary),
        names[1]: numpy_laplacian(f, boundary),
        names[2]: np.stack([numpy_laplacian(v[..., k], boundary) for k in range(f.ndim)], axis=-1),
        names[3]: numpy_laplacian(sim.p.numpy(), "reflecting"),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][0], values, rtol=0, atol=1e-13, err_msg=name)


def test_laplacian_is_symmetric(rollout: ds.Rollout) -> None:
    """The gradient of f·Lf/2 is (L + L^T) f/2: it is Lf only where L is symmetric under each boundary."""
    sim = rollout.sim
    _, grads = rollout.value_and_grad(wrt=[sim.f, sim.p])
    f, p = sim.f.numpy(), sim.p.numpy()
    of_slope = np.zeros_like(f)  # the transpose of the central difference along the first axis
    of_slope[1:] += 0.5 * p[:-1]
    of_slope[:-1] -= 0.5 * p[1:]
    expected = sum(numpy_laplacian(f, boundary) for boundary in BOUNDARIES) + of_slope
    np.testing.assert_allclose(grads["f"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(grads["p"], numpy_gradient(f, "fixed")[..., 0], rtol=0, atol=1e-12)


def test_gradient_agrees_with_differences(rollout: ds.Rollout) -> None:
    assert rollout.check_grad(wrt=[rollout.sim.f, rollout.sim.p], directions=3).passed


# ---- plane waves are eigenvectors: what the order of a stencil comes from ----


class PlaneWave(ds.Simulator):
    """Differences of a function of x on `n` x 3 points, inside, from the field and from its values."""

    def __init__(self, n):
        self.n = n
        self.f = ds.Constant(np.zeros((n, 3)))
        self.curve = ds.Scratch(ds.real, n)
        self.slope = ds.Scratch(ds.vec2, n)
        self.from_values = ds.Scratch(ds.vec2, n)

    @ti.kernel
    def differences(self, t: ti.i32):
        for i in range(1, self.n - 1):
            at = ti.Vector([i, 1])
            self.curve[t, i] = laplacian(self.f, None, at)
            self.slope[t, i] = gradient(self.f, None, at)
            below, here, above = self.f[i - 1, 1], self.f[i, 1], self.f[i + 1, 1]
            self.from_values[t, i] = ti.Vector(
                [second_difference(below, here, above), central_difference(below, above)]
            )

    def step(self, t):
        self.differences(t)


@pytest.fixture(scope="module")
def line(runtime: Any) -> ds.Rollout:
    return ds.Rollout(PlaneWave(24), steps=1, mode="step")


@pytest.mark.parametrize("phase", [0.05, 0.4, 2.0])
def test_plane_waves_have_the_known_factors(line: ds.Rollout, phase: float) -> None:
    """With f = sin(k x) and phase k h the Laplacian is -4 sin^2(k h / 2) f, the slope sin(k h) cos(k x)."""
    sim = line.sim
    x = phase * np.arange(sim.n)
    sim.f.set(np.repeat(np.sin(x)[:, None], 3, axis=1))
    names = ("curve", "slope", "from_values")
    curve, slope, values = line.trajectories({name: getattr(sim, name) for name in names}, every=1).values()
    inside = slice(1, -1)
    exact = np.stack([-4.0 * np.sin(phase / 2) ** 2 * np.sin(x), np.sin(phase) * np.cos(x)], axis=1)[inside]
    np.testing.assert_allclose(values[0, inside], exact, rtol=0, atol=1e-13)
    np.testing.assert_allclose(curve[0, inside], exact[:, 0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(slope[0, inside, 0], exact[:, 1], rtol=0, atol=1e-13)
    np.testing.assert_allclose(slope[0, inside, 1], 0.0, rtol=0, atol=1e-13)
