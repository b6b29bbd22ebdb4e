"""Constitutive models against energies, rotations, linear elasticity and closed forms, in 2D and 3D."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.

from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common.materials import (
    fixed_corotated,
    fixed_corotated_energy,
    lame,
    liquid_pressure,
    muscle,
    muscle_energy,
    pressure_wave_modulus,
    viscous,
)

Array = NDArray[np.float64]

MU, LA, TENSION = 3.0, 2.0, 0.7  # [Pa]


class Sample(ds.Simulator):
    """Many deformation gradients and what is made of each; the cost is the energy of all."""

    def __init__(self, F: Array, fibre: Array) -> None:
        self.n, self.dim = F.shape[:2]
        matrix = ds.mat(self.dim)
        self.F = ds.Param(matrix, self.n, init=F)
        self.fibre = ds.Constant(ds.vec(self.dim), self.n, init=fibre)
        self.solid, self.pull, self.liquid = (ds.Scratch(matrix, self.n) for _ in range(3))
        self.pressure = ds.Scratch(ds.real, self.n)

    @ti.kernel
    def evaluate(self, t: ti.i32):
        for p in range(self.n):
            F = self.F[p]
            self.solid[t, p] = fixed_corotated(F, MU, LA)
            self.pull[t, p] = muscle(F, self.fibre[p], TENSION)
            self.liquid[t, p] = viscous(F, 0.3)
            self.pressure[t, p] = liquid_pressure(F.determinant(), 5.0, 7.0)

    @ti.kernel
    def energy(self, t: ti.i32):
        for p in range(self.n):
            F = self.F[p]
            self.cost[None] += fixed_corotated_energy(F, MU, LA) + muscle_energy(F, self.fibre[p], TENSION)

    def step(self, t: int) -> None:
        self.evaluate(t)

    def terminal_cost(self, t: int) -> None:
        self.energy(t)


def rotations(rng: np.random.Generator, dim: int, count: int) -> Array:
    Q = np.linalg.qr(rng.normal(size=(count, dim, dim)))[0]
    Q[..., 0] *= np.sign(np.linalg.det(Q))[:, None]
    return Q


def draw(dim: int) -> dict[str, Array]:
    """Groups of four deformation gradients each, and the fibres."""
    rng = np.random.default_rng(dim)
    free = np.eye(dim) + 0.3 * rng.normal(size=(4, dim, dim))
    free[np.linalg.det(free) < 0.2] = np.diag([1.3, *[0.8] * (dim - 1)])
    turn = rotations(rng, dim, 4)
    fibre = rng.normal(size=(4, dim))
    return {
        "free": free,
        "turned": turn @ free,
        "turn": turn,
        "small": np.eye(dim) + 1e-6 * rng.normal(size=(4, dim, dim)),
        "fibre": fibre / np.linalg.norm(fibre, axis=1, keepdims=True),
    }


def psi(F: Array, f: Array) -> float:
    """The energy from singular values, as NumPy finds them."""
    s = np.linalg.svd(F)[1]
    pull = 0.5 * TENSION * (np.sum((F @ f) ** 2) - 1.0)
    return float(MU * np.sum((s - 1.0) ** 2) + 0.5 * LA * (np.linalg.det(F) - 1.0) ** 2 + pull)


GROUPS = ("free", "turned", "turn", "small")


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def sample(request: pytest.FixtureRequest, runtime: Any) -> dict[str, Any]:
    """Inputs, stresses by group, and the gradient of the energy."""
    given = draw(request.param)
    fibre = np.tile(given["fibre"], (4, 1))
    sim = Sample(np.concatenate([given[group] for group in GROUPS]), fibre)
    rollout = ds.Rollout(sim, steps=1, mode="step")
    fields = {"solid": sim.solid, "pull": sim.pull, "liquid": sim.liquid, "pressure": sim.pressure}
    found = {
        key: array[0].reshape(4, 4, *array.shape[2:]) for key, array in rollout.trajectories(fields).items()
    }
    stresses = {key: dict(zip(GROUPS, array, strict=True)) for key, array in found.items()}
    cost, grads = rollout.value_and_grad(wrt=[sim.F])
    slopes = grads["F"].reshape(4, 4, *grads["F"].shape[1:])
    return {
        "dim": request.param,
        "F": given,
        "cost": cost,
        "P": dict(zip(GROUPS, slopes, strict=True)),
        **stresses,
    }


def test_stress_is_the_slope_of_the_energy(sample: Any) -> None:
    """tau = (d psi / d F) F^T, by differences of NumPy's energy, and P by the gradient of the kernel's."""
    h = 1e-6
    for group in ("free", "turned"):
        for p, F in enumerate(sample["F"][group]):
            f = sample["F"]["fibre"][p]
            P = np.zeros_like(F)
            for place in np.ndindex(F.shape):
                way = np.zeros_like(F)
                way[place] = h
                P[place] = (psi(F + way, f) - psi(F - way, f)) / (2 * h)
            tau = sample["solid"][group][p] + sample["pull"][group][p]
            np.testing.assert_allclose(tau, P @ F.T, rtol=0, atol=1e-8)
            np.testing.assert_allclose(sample["P"][group][p], P, rtol=0, atol=1e-8)


def test_energy_is_numpys(sample: Any) -> None:
    wanted = sum(
        psi(F, f) for group in GROUPS for F, f in zip(sample["F"][group], sample["F"]["fibre"], strict=True)
    )
    assert sample["cost"] == pytest.approx(wanted, rel=1e-12)


def test_a_rotation_costs_nothing(sample: Any) -> None:
    np.testing.assert_allclose(sample["solid"]["turn"], 0.0, atol=1e-13)


def test_stress_turns_with_the_body(sample: Any) -> None:
    """Frame indifference: tau(Q F) = Q tau(F) Q^T."""
    Q = sample["F"]["turn"]
    for key in ("solid", "pull"):
        wanted = Q @ sample[key]["free"] @ Q.swapaxes(1, 2)
        np.testing.assert_allclose(sample[key]["turned"], wanted, rtol=0, atol=1e-12)
        assert np.abs(wanted).max() > 0.1


def test_stresses_are_symmetric(sample: Any) -> None:
    for key in ("solid", "pull", "liquid"):
        found = sample[key]["free"]
        np.testing.assert_allclose(found, found.swapaxes(1, 2), rtol=0, atol=1e-13)


def test_small_strains_are_linear(sample: Any) -> None:
    """Hooke: 2 mu e + la tr e I, with an error of the strain squared."""
    one = np.eye(sample["dim"])
    strain = sample["F"]["small"] - one
    e = 0.5 * (strain + strain.swapaxes(1, 2))
    wanted = 2.0 * MU * e + LA * np.trace(e, axis1=1, axis2=2)[:, None, None] * one
    np.testing.assert_allclose(sample["solid"]["small"], wanted, rtol=0, atol=1e-9)
    assert np.abs(wanted).max() > 1e-6


def test_a_muscle_pulls_along_its_fibre(sample: Any) -> None:
    F, f = sample["F"]["free"], sample["F"]["fibre"]
    along = np.einsum("pij,pj->pi", F, f)
    wanted = TENSION * along[:, :, None] * along[:, None, :]
    np.testing.assert_allclose(sample["pull"]["free"], wanted, rtol=0, atol=1e-14)


def test_liquid(sample: Any) -> None:
    """Pressure by Cole's equation; friction feels neither spin nor swelling."""
    G, J = sample["F"]["free"], np.linalg.det(sample["F"]["free"])
    np.testing.assert_allclose(sample["pressure"]["free"], 5.0 / 7.0 * (J**-7.0 - 1.0), rtol=1e-12)
    np.testing.assert_allclose(np.trace(sample["liquid"]["free"], axis1=1, axis2=2), 0.0, atol=1e-14)
    swelling = np.trace(G, axis1=1, axis2=2)[:, None, None] * np.eye(sample["dim"]) / sample["dim"]
    wanted = 0.3 * (G + G.swapaxes(1, 2) - 2.0 * swelling)
    np.testing.assert_allclose(sample["liquid"]["free"], wanted, rtol=0, atol=1e-14)


def test_moduli() -> None:
    """Without Poisson's ratio a bar is as stiff as its modulus; else E and nu come back from mu and la."""
    assert lame(8.0, 0.0) == (4.0, 0.0)
    assert pressure_wave_modulus(8.0, 0.0) == 8.0
    mu, la = lame(8.0, 0.3)
    assert mu * (3 * la + 2 * mu) / (la + mu) == pytest.approx(8.0)
    assert la / (2 * (la + mu)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("young", "poisson", "rule"),
    [
        (0.0, 0.2, "young must be a number above 0, got 0.0"),
        (float("nan"), 0.2, "young must be a number above 0"),
        (1.0, 0.5, "poisson must lie between -1 and 0.5, got 0.5"),
    ],
)
def test_moduli_refuse(young: float, poisson: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        lame(young, poisson)
