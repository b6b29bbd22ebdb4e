"""Contact: times of impact and impulses against what they must achieve, in the plane and in space."""

from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray
from simulator_checks import assert_gradient

import diffsim as ds
from diffsim.kernels.common import contact

Array = NDArray[np.float64]
DT = 0.25
CASES = 6


class Contacts(ds.Simulator):
    """Every function of the module on a few rows of Params; the cost is a weighted sum of the results."""

    def __init__(self, dim: int) -> None:
        self.dim, self.dt = dim, DT
        vector, matrix = ds.vec(dim), ds.mat(dim)
        self.gap, self.speed, self.pull = (ds.Param(ds.real, CASES) for _ in range(3))
        self.reach, self.rebound = ds.Param(ds.real, CASES), ds.Param(ds.real, CASES)
        self.friction = ds.Param(ds.real, CASES)
        self.offset, self.velocity, self.arm = (ds.Param(vector, CASES) for _ in range(3))
        self.spin = ds.Param(ds.real if dim == 2 else ds.vec3, CASES)
        self.inverse_inertia = ds.Param(ds.real if dim == 2 else ds.mat3, CASES)
        self.normal = ds.Constant(vector, CASES)
        self.times = ds.State(ds.vec2, CASES)
        self.numbers = ds.State(ds.real, CASES)
        self.turned, self.impulse, self.slow = (ds.State(vector, CASES) for _ in range(3))
        self.mobility = ds.State(matrix, CASES)
        self.weights = ds.Constant(np.random.default_rng(1).normal(size=(CASES, 3 + 4 * dim)))

    @ti.kernel
    def meet(self, t: ti.i32):
        for i in range(CASES):
            self.times[t + 1, i] = ti.Vector(
                [
                    contact.plane_impact(self.gap[i], self.speed[i], self.dt, self.pull[i]),
                    contact.spheres_impact(self.offset[i], self.velocity[i], self.reach[i], self.dt),
                ]
            )
            self.numbers[t + 1, i] = contact.rebound_impulse(self.reach[i], self.speed[i], self.rebound[i])
            self.slow[t + 1, i] = contact.slowed(self.velocity[i], self.friction[i])

    @ti.kernel
    def push(self, t: ti.i32):
        for i in range(CASES):
            self.turned[t + 1, i] = contact.turning(self.spin[i], self.arm[i])
            matrix = contact.point_mobility(0.5, self.inverse_inertia[i], self.arm[i])
            self.mobility[t + 1, i] = matrix
            self.impulse[t + 1, i] = contact.contact_impulse(
                matrix, self.velocity[i], self.normal[i], self.rebound[i], self.friction[i]
            )

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(CASES):
            self.cost[None] += (
                self.weights[i, 0] * self.times[t, i][0] + self.weights[i, 1] * self.times[t, i][1]
            )
            self.cost[None] += self.weights[i, 2] * self.numbers[t, i]
            for d in ti.static(range(self.dim)):
                self.cost[None] += self.weights[i, 3 + d] * self.turned[t, i][d]
                self.cost[None] += self.weights[i, 3 + self.dim + d] * self.impulse[t, i][d]
                self.cost[None] += self.weights[i, 3 + 2 * self.dim + d] * self.slow[t, i][d]

    def step(self, t: int) -> None:
        self.meet(t)
        self.push(t)

    def terminal_cost(self, t: int) -> None:
        self.add(t)


@pytest.fixture(scope="module", params=[2, 3], ids=["plane", "space"])
def rollout(request: pytest.FixtureRequest, runtime: Any) -> Any:
    made = ds.Rollout(Contacts(request.param), 1)
    yield made
    made.close()


@pytest.fixture
def given(rollout: ds.Rollout) -> dict[str, Array]:
    """Set ordinary values, among which all kinds of impacts and contacts are."""
    dim, rng = rollout.sim.dim, np.random.default_rng(3)
    e = np.eye(dim)
    normal = rng.normal(size=(CASES, dim))
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    tangent = rng.normal(size=(CASES, dim))
    root = rng.normal(size=(CASES, 3, 3))
    values = {
        "gap": np.array([0.1, 0.1, -0.02, 0.3, 0.2, 0.1]),
        "speed": np.array([-1.0, -0.2, -0.7, -2.0, 0.5, -3.0]),
        "pull": np.array([0.0, 0.3, 3.0, 2.0, 14.0, 0.0]),
        "offset": np.array([0.8, 0.8, 0.45, 0.7, 0.6, 0.9])[:, None] * e[0] + 0.1 * e[1],
        "velocity": -2.0 * normal + np.array([0.1, 8.0, 0.2, 6.0, 0.0, 1.0])[:, None] * tangent,
        "reach": np.full(CASES, 0.5),
        "rebound": np.array([0.0, 0.3, 1.0, 0.0, 0.5, -3.5]),
        "friction": np.array([2.0, 0.2, 8.0, 0.1, 0.0, 0.5]),
        "arm": rng.normal(size=(CASES, dim)),
        "spin": rng.normal(size=CASES if dim == 2 else (CASES, 3)),
        "inverse_inertia": rng.uniform(0.3, 2.0, CASES)
        if dim == 2
        else root @ root.transpose(0, 2, 1) + 0.2 * np.eye(3),
        "normal": normal,
    }
    values["velocity"][:, 0] -= 2.5
    for name, value in values.items():
        getattr(rollout.sim, name).set(value)
    return values


def found(rollout: ds.Rollout, name: str) -> Array:
    return np.array(rollout.trajectory(getattr(rollout.sim, name))[-1])


def test_a_point_meets_a_plane_where_its_gap_is_gone(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    times, pull = found(rollout, "times")[:, 0], given["pull"]
    np.testing.assert_array_equal(times < DT, [True, False, True, True, True, True])
    hits = times < DT
    at = given["gap"] + times * given["speed"] - 0.5 * pull * times**2
    np.testing.assert_allclose(at[hits], 0.0, atol=1e-15)
    assert (given["speed"] - pull * times < 0.0)[hits].all(), "on the way in"
    assert times[2] < 0.0, "it was behind the plane already"
    assert times[4] > given["speed"][4] / pull[4], "this one rises first"
    np.testing.assert_array_equal(times[~hits], DT)


def test_what_lies_on_a_plane_meets_it_at_once(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    """At rest under gravity there is an impact, at the step's start; without gravity there is none."""
    rollout.sim.gap.set(0.0)
    rollout.sim.speed.set(0.0)
    np.testing.assert_array_equal(found(rollout, "times")[:, 0], np.where(given["pull"] > 0.0, 0.0, DT))


def test_spheres_meet_where_their_distance_is_their_reach(
    rollout: ds.Rollout, given: dict[str, Array]
) -> None:
    times = found(rollout, "times")[:, 1]
    hits = times < DT
    assert hits.any()
    at = given["offset"] + times[:, None] * given["velocity"]
    np.testing.assert_allclose(np.linalg.norm(at, axis=1)[hits], given["reach"][hits], rtol=1e-14)
    assert (np.sum(at * given["velocity"], axis=1)[hits] < 0).all(), "on the way in, not out"
    assert times[2] < 0.0, "these overlap at the start"
    # Brute force tells which of them meet.
    moments = np.linspace(0.0, DT, 20001)[:, None, None]
    least = np.linalg.norm(given["offset"] + moments * given["velocity"], axis=2).min(axis=0)
    np.testing.assert_array_equal(hits, least < given["reach"])


def test_an_impulse_changes_the_velocity_of_the_point_as_told(
    rollout: ds.Rollout, given: dict[str, Array]
) -> None:
    """`K J` is the change of `v + spin x arm` when J acts on the body at the arm."""
    dim = rollout.sim.dim
    impulse, mobility = found(rollout, "impulse"), found(rollout, "mobility")
    for k in range(CASES):
        arm, J = given["arm"][k], impulse[k]
        if dim == 2:
            spin = given["inverse_inertia"][k] * (arm[0] * J[1] - arm[1] * J[0])
            turned = spin * np.array([-arm[1], arm[0]])
        else:
            turned = np.cross(given["inverse_inertia"][k] @ np.cross(arm, J), arm)
        np.testing.assert_allclose(mobility[k] @ J, 0.5 * J + turned, atol=1e-13)
    spins = given["spin"]
    if dim == 2:
        wanted = spins[:, None] * np.stack([-given["arm"][:, 1], given["arm"][:, 0]], axis=1)
    else:
        wanted = np.cross(spins, given["arm"])
    np.testing.assert_allclose(found(rollout, "turned"), wanted, atol=1e-14)


def test_a_contact_sticks_slips_or_parts(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    impulse, mobility, n = found(rollout, "impulse"), found(rollout, "mobility"), given["normal"]
    after = given["velocity"] + np.einsum("kij,kj->ki", mobility, impulse)
    kinds = set()
    for k in range(CASES):
        normal, before = n[k], given["velocity"][k] @ n[k]
        along = impulse[k] @ normal
        across = np.linalg.norm(impulse[k] - along * normal)
        if before >= given["rebound"][k]:
            kinds.add("parts")
            np.testing.assert_array_equal(impulse[k], 0.0)
            continue
        assert along > 0.0
        assert across <= given["friction"][k] * along + 1e-14, "inside the cone"
        assert after[k] @ normal == pytest.approx(given["rebound"][k], abs=1e-12)
        if across < given["friction"][k] * along * (1 - 1e-9):
            kinds.add("sticks")
            np.testing.assert_allclose(after[k], given["rebound"][k] * normal, atol=1e-12)
        else:
            kinds.add("slips")
    assert kinds == {"parts", "sticks", "slips"}


def test_friction_takes_off_speed_and_stops(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    rollout.sim.friction.set(np.array([0.1, 0.5, 1e9, 0.0, 0.2, 0.3]))
    slow, speed = found(rollout, "slow"), np.linalg.norm(given["velocity"], axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(slow, axis=1), np.maximum(0, speed - [0.1, 0.5, 1e9, 0.0, 0.2, 0.3]), atol=1e-14
    )
    np.testing.assert_array_equal(slow[2], 0.0)


def test_gradients(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    assert_gradient(rollout)


def test_gradients_are_finite_where_nothing_is_certain(rollout: ds.Rollout, given: dict[str, Array]) -> None:
    """Grazing, at rest, at the same place, on the plane, without friction: finite, and 0 for what misses."""
    sim, dim = rollout.sim, rollout.sim.dim
    e = np.eye(dim)
    zero = np.zeros((CASES, dim))
    grazing, moving = zero.copy(), zero.copy()
    grazing[:] = 0.6 * e[0] + 0.5 * e[1]
    moving[:] = -4.0 * e[0]
    for offset, velocity in [(grazing, moving), (grazing, zero), (zero, zero), (zero, moving)]:
        sim.offset.set(offset)
        sim.velocity.set(velocity)
        sim.gap.set(0.0)
        sim.speed.set(0.0)
        sim.friction.set(0.0)
        sim.rebound.set(0.0)
        sim.normal.set(np.broadcast_to(e[1], (CASES, dim)))
        _, grads = rollout.value_and_grad()
        assert all(np.isfinite(gradient).all() for gradient in grads.values())
        np.testing.assert_array_equal(grads["offset"], 0.0)
        np.testing.assert_array_equal(grads["gap"], 0.0)


def test_a_push_at_the_border_of_the_cone_is_the_same_from_both_sides(
    rollout: ds.Rollout, given: dict[str, Array]
) -> None:
    """Sticking and slipping meet there, also where the body's shape couples normal and tangent."""
    sim, n = rollout.sim, given["normal"]
    sim.friction.set(1e9)
    stick = found(rollout, "impulse")
    along = np.sum(stick * n, axis=1)
    lifts = (along > 0.0) & (np.linalg.norm(stick, axis=1) > 0.0)
    assert lifts.sum() > 2
    border = np.where(
        lifts, np.linalg.norm(stick - along[:, None] * n, axis=1) / np.where(lifts, along, 1.0), 1.0
    )
    for factor in (1 - 1e-9, 1 + 1e-9):
        sim.friction.set(factor * border)
        np.testing.assert_allclose(found(rollout, "impulse")[lifts], stick[lifts], rtol=1e-6, atol=1e-7)
