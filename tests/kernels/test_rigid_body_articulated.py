"""Articulated bodies against Lagrange's equations, textbooks, conservation laws and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.rigid_body_articulated import (
    Articulated,
    ArticulatedConfig,
    FollowPath,
    Link,
    Mechanism,
    PostureConfig,
    ReachPosture,
    acrobot,
    cart_pole,
    chain,
    two_link_arm,
)

Array = NDArray[np.float64]

G = 9.81
TREE = Mechanism(
    "tree",
    (
        Link(mass=1.2, inertia=0.1, center=(0.3, 0.1), limit=2.0),
        Link(
            "prismatic",
            parent=0,
            anchor=(0.5, 0.2),
            axis=(1.0, 2.0),
            mass=0.7,
            inertia=0.05,
            center=(0.1, -0.2),
        ),
        Link(parent=1, anchor=(0.2, 0.1), mass=0.4, center=(0.3, 0.0), damping=0.3),
        Link(parent=1, anchor=(-0.1, 0.3), mass=0.9, inertia=0.2, limit=3.0),  # a branch
        Link("prismatic", axis=(0.0, 1.0), mass=0.5, damping=0.2),  # a second root
    ),
)


def accelerations(rollout: ds.Rollout, q: Array, v: Array, command: Any = 0.0) -> Array:
    """Take q'' from one step of semi-implicit Euler."""
    sim = rollout.sim
    sim.q.set(q)
    sim.v.set(v)
    sim.command.set(command)
    return (rollout.trajectory(sim.v, every=1)[1] - v) / sim.dt


def one_step(mechanism: Mechanism) -> ds.Rollout:
    return ds.Rollout(Articulated(mechanism, ArticulatedConfig(dt=1e-3, integrator="semi-implicit")), steps=1)


# ---- the equations ----


def energies(mechanism: Mechanism, q: Any) -> tuple[Array, float]:
    """Return the mass matrix, from Jacobians by complex steps, and the potential energy."""
    n = mechanism.size

    def bodies(q: Any) -> tuple[list[Any], list[Any]]:
        angles, origins, centers = [], [], []
        for link, x in zip(mechanism.links, q, strict=True):
            a, o = (angles[link.parent], origins[link.parent]) if link.parent >= 0 else (0.0, np.zeros(2))
            turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
            way = np.array(link.axis) / np.hypot(*link.axis)
            o = o + turn @ (np.array(link.anchor) + (0.0 if link.turns else x * way))
            a = a + (x if link.turns else 0.0)
            turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
            angles.append(a)
            origins.append(o)
            centers.append(o + turn @ np.array(link.center))
        return angles, centers

    matrix, h = np.zeros((n, n)), 1e-30
    columns = [bodies(np.asarray(q) + 1j * h * np.eye(n)[k]) for k in range(n)]
    for b, link in enumerate(mechanism.links):
        jacobian = (
            np.array([[angles[b].imag if link else 0, *centers[b].imag] for angles, centers in columns]) / h
        )
        matrix += jacobian @ np.diag([link.inertia, link.mass, link.mass]) @ jacobian.T
    heights = [c[1] for c in bodies(q)[1]]
    return matrix, sum(link.mass * G * y for link, y in zip(mechanism.links, heights, strict=True))


def lagrange(mechanism: Mechanism, q: Array, v: Array, effort: Array) -> Array:
    """Solve d/dt dT/dv - dT/dq + dV/dq = effort - damping v for q'', derivatives by differences."""
    n, h = mechanism.size, 1e-5
    matrix = energies(mechanism, q)[0]
    ends = [[energies(mechanism, q + s * h * np.eye(n)[k]) for s in (1, -1)] for k in range(n)]
    slopes = np.array([(up[0] - down[0]) / (2 * h) for up, down in ends])  # dM / dq_k
    pulls = np.array([(up[1] - down[1]) / (2 * h) for up, down in ends])
    inertial = np.einsum("kij,k,j->i", slopes, v, v) - 0.5 * np.einsum("ijk,j,k->i", slopes, v, v)
    friction = np.array([link.damping for link in mechanism.links]) * v
    return np.linalg.solve(matrix, effort - friction - inertial - pulls)


@pytest.fixture(scope="module")
def tree(runtime: Any) -> ds.Rollout:
    return one_step(TREE)


def test_a_branched_tree_obeys_lagrange(tree: ds.Rollout) -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        q, v, u = rng.normal(size=5), 2.0 * rng.normal(size=5), rng.normal(size=(1, 2))
        effort = np.zeros(5)
        effort[[0, 3]] = np.array([2.0, 3.0]) * np.tanh(u[0])
        np.testing.assert_allclose(
            accelerations(tree, q, v, u), lagrange(TREE, q, v, effort), rtol=1e-7, atol=1e-7
        )


def test_cart_pole_is_the_textbooks(runtime: Any) -> None:
    """The two coupled equations of a cart and a rod (Barto et al. 1983), angle from hanging down."""
    big, small, half, limit = 1.3, 0.4, 0.35, 6.0
    rollout = one_step(cart_pole(big, small, 2 * half, limit))
    rng = np.random.default_rng(1)
    for far in (0.0, 1e4):  # the place of the cart is of no importance, to rounding either
        (x, angle), (speed, rate), u = rng.normal(size=2), rng.normal(size=2), rng.normal()
        force, inertia = limit * np.tanh(u), small * (2 * half) ** 2 / 3
        matrix = [[big + small, small * half * np.cos(angle)], [small * half * np.cos(angle), inertia]]
        right = [force + small * half * np.sin(angle) * rate**2, -small * G * half * np.sin(angle)]
        found = accelerations(rollout, np.array([x + far, angle]), np.array([speed, rate]), [[u]])
        np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-9)


def test_acrobot_is_the_textbooks(runtime: Any) -> None:
    """The equations of Spong (1995) with angles from hanging down; the torque acts at the elbow alone."""
    (l1, l2), (m1, m2) = (1.1, 0.8), (0.9, 0.6)
    rollout = one_step(acrobot((l1, l2), (m1, m2), limit=3.0))
    i1, i2, c1, c2 = m1 * l1**2 / 12, m2 * l2**2 / 12, l1 / 2, l2 / 2
    rng = np.random.default_rng(2)
    for _ in range(2):
        (a, b), (da, db), u = rng.normal(size=2), rng.normal(size=2), rng.normal()
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * np.cos(b)) + i1 + i2
        d2 = m2 * (c2**2 + l1 * c2 * np.cos(b)) + i2
        p2 = m2 * c2 * G * np.sin(a + b)
        p1 = -m2 * l1 * c2 * np.sin(b) * (db**2 + 2 * da * db) + (m1 * c1 + m2 * l1) * G * np.sin(a) + p2
        right = [-p1, 3.0 * np.tanh(u) - p2 - m2 * l1 * c2 * np.sin(b) * da**2]
        want = np.linalg.solve([[d1, d2], [d2, m2 * c2**2 + i2]], right)
        found = accelerations(rollout, np.array([a, b]), np.array([da, db]), [[u]])
        np.testing.assert_allclose(found, want, rtol=1e-9)


def test_arm_is_held_by_the_torque_of_gravity(runtime: Any) -> None:
    (l1, l2), (m1, m2), limits = (0.5, 0.4), (1.0, 0.8), np.array([15.0, 5.0])
    rollout = one_step(two_link_arm((l1, l2), (m1, m2), (15.0, 5.0)))
    a, b = 0.6, -1.1
    fore = m2 * G * l2 / 2 * np.cos(a + b)
    torque = np.array([m1 * G * l1 / 2 * np.cos(a) + m2 * G * l1 * np.cos(a) + fore, fore])
    np.testing.assert_allclose(rollout.sim.mechanism.holding([a, b], -G), torque, rtol=1e-12)
    held = accelerations(rollout, np.array([a, b]), np.zeros(2), np.arctanh(torque / limits)[None])
    np.testing.assert_allclose(held, 0.0, atol=1e-10)
    assert np.abs(accelerations(rollout, np.array([a, b]), np.zeros(2))).max() > 1.0, "and falls without"


def test_a_tree_is_held_too() -> None:
    """Efforts that hold are the slopes of the potential energy, on slides and branches too."""
    q, h = np.random.default_rng(4).normal(size=5), 1e-6
    slopes = [(energies(TREE, q + d)[1] - energies(TREE, q - d)[1]) / (2 * h) for d in h * np.eye(5)]
    np.testing.assert_allclose(TREE.holding(q, -G), slopes, atol=1e-7)


def test_motors_keep_to_their_limits(tree: ds.Rollout) -> None:
    accelerations(tree, np.zeros(5), np.zeros(5), np.array([[50.0, -50.0]]))
    effort = tree.trajectory(tree.sim.effort, every=1)[0]
    np.testing.assert_allclose(effort, [2.0, 0.0, 0.0, -3.0, 0.0], rtol=1e-12)


# ---- motion ----

STEPS = 320
DOUBLE = chain(2, 0.8, 0.5)


def swing(dt: float, integrator: str = "rk4", mechanism: Mechanism = DOUBLE) -> ds.Rollout:
    config = ArticulatedConfig(dt=dt, integrator=integrator)
    return ds.Rollout(Articulated(mechanism, config), steps=round(STEPS * 0.01 / dt))


@pytest.fixture(scope="module")
def fine(runtime: Any) -> ds.Rollout:
    return swing(0.01)


def energy(mechanism: Mechanism, q: Array, v: Array) -> Array:
    parts = [energies(mechanism, x) for x in q]
    return np.array([0.5 * w @ m @ w + p for w, (m, p) in zip(v, parts, strict=True)])


def run(rollout: ds.Rollout, q: Any, v: Any, every: int = 1) -> tuple[Array, Array]:
    sim = rollout.sim
    sim.q.set(q)
    sim.v.set(v)
    found = rollout.trajectories({"q": sim.q, "v": sim.v}, every=every)
    return found["q"], found["v"]


def test_runge_kutta_is_of_fourth_order(fine: ds.Rollout) -> None:
    """A double pendulum that swings far: halving the step takes the error down sixteenfold."""
    ways = []
    for rollout, every in ((swing(0.02), 8), (fine, 16), (swing(0.005), 32)):
        q, v = run(rollout, [1.2, -0.5], [0.0, 1.0], every)
        ways.append(q)
    ratio = np.linalg.norm(ways[0] - ways[1]) / np.linalg.norm(ways[1] - ways[2])
    assert math.log2(ratio) == pytest.approx(4.0, abs=0.3)
    e = energy(DOUBLE, q, v)
    assert np.abs(e - e[0]).max() < 1e-5 * (e[0] - energies(DOUBLE, [0.0, 0.0])[1])


def test_semi_implicit_energy_stays_bounded(runtime: Any) -> None:
    """A rod that swings far: the energy oscillates with the step's size but does not drift."""
    rod = chain(1)
    rollout = swing(0.002, "semi-implicit", rod)
    q, v = run(rollout, [2.0], [0.0], every=8)
    e = energy(rod, q, v) - energies(rod, [0.0])[1]
    wave = np.abs(e / e[0] - 1.0)
    half = len(wave) // 2
    assert 1e-4 < wave.max() < 1e-2
    assert wave[half:].max() < 1.05 * wave[:half].max()


def test_rods_swing_in_their_normal_modes(fine: ds.Rollout) -> None:
    """Two equal uniform rods: omega^2 = (3 -+ 6 / sqrt(7)) g / length, each with its own shape."""
    times = 0.01 * np.arange(STEPS + 1)
    for sign in (-1.0, 1.0):
        square = (3.0 + sign * 6.0 / math.sqrt(7.0)) * G / 0.8
        # From the lower rod's equation: theta_1 square / 2 = theta_2 (g / (2 length) - square / 3).
        first = 1e-5
        second = first * 0.5 * square / (0.5 * G / 0.8 - square / 3.0)
        q, _ = run(fine, [first, second - first], [0.0, 0.0])
        want = np.array([first, second - first]) * np.cos(math.sqrt(square) * times)[:, None]
        np.testing.assert_allclose(q, want, rtol=0, atol=2e-3 * first)


def test_a_rod_swings_in_its_period(runtime: Any) -> None:
    length = 0.7
    period = 2.0 * math.pi * math.sqrt(2.0 * length / (3.0 * G))
    rollout = swing(period / 200, mechanism=chain(1, length))
    q, _ = run(rollout, [1e-4], [0.0])
    np.testing.assert_allclose(q[[100, 200], 0], [-1e-4, 1e-4], rtol=1e-6)


def test_cart_pole_keeps_its_momentum_but_for_the_force(runtime: Any) -> None:
    big, small, length, limit = 1.0, 0.3, 1.0, 4.0
    rollout = swing(0.01, mechanism=cart_pole(big, small, length, limit))
    command = np.random.default_rng(5).normal(size=(STEPS, 1))
    for u in (np.zeros_like(command), command):
        rollout.sim.command.set(u)
        q, v = run(rollout, [0.0, 2.0], [0.5, -1.0])
        momentum = (big + small) * v[:, 0] + small * length / 2 * np.cos(q[:, 1]) * v[:, 1]
        impulse = np.concatenate([[0.0], np.cumsum(0.01 * limit * np.tanh(u[:, 0]))])
        np.testing.assert_allclose(momentum - momentum[0], impulse, rtol=0, atol=1e-5)


def test_worlds_with_opposite_commands_mirror_each_other(runtime: Any) -> None:
    sim = Articulated(acrobot(), per_world=True)
    rollout = ds.Rollout(sim, steps=40, worlds=2)
    command = np.random.default_rng(6).normal(size=(40, 1))
    sim.command.set(np.stack([command, -command]))
    q = rollout.trajectory(sim.q, every=1)
    np.testing.assert_allclose(q[:, 1], -q[:, 0], rtol=0, atol=1e-12)
    assert np.abs(q).max() > 0.1


# ---- places ----


def test_places_follow_the_joints() -> None:
    joints, tips = two_link_arm((0.5, 0.4)).places([[0.0, 0.0], [math.pi / 2, -math.pi / 2]])
    np.testing.assert_allclose(joints, [[[0, 0], [0.5, 0]], [[0, 0], [0, 0.5]]], atol=1e-15)
    np.testing.assert_allclose(tips, [[[0.5, 0], [0.9, 0]], [[0, 0.5], [0.4, 0.5]]], atol=1e-15)
    joints, tips = cart_pole(pole_length=2.0).places([0.3, math.pi / 2])
    np.testing.assert_allclose(joints, [[0.3, 0], [0.3, 0]], atol=1e-15)
    np.testing.assert_allclose(tips, [[0.3, 0], [2.3, 0]], atol=1e-15)


# ---- gradients ----

SHORT = 12


def pole() -> ReachPosture:
    sim = ReachPosture(cart_pole(damping=(0.1, 0.02)), ArticulatedConfig(dt=0.03), PostureConfig(track=0.2))
    sim.q.set([0.25, 1.0])  # beyond the track's end, which is felt
    sim.v.set([0.3, 2.0])
    sim.command.set(0.7 * np.random.default_rng(0).normal(size=(SHORT, 1)))
    return sim


def arm() -> FollowPath:
    sim = FollowPath(np.linspace([0.5, 0.5], [0.6, 0.2], SHORT), two_link_arm(), ArticulatedConfig(dt=0.02))
    sim.q.set([1.2, -0.9])
    sim.command.set(0.5)
    return sim


def everything(sim: Any) -> list[Any]:
    return [sim.command, sim.q, sim.v]


@pytest.mark.parametrize("make", [pole, arm])
def test_gradient(runtime: Any, make: Any) -> None:
    rollout = ds.Rollout(make(), steps=SHORT)
    assert_gradient(rollout, wrt=everything(rollout.sim))


def test_checkpoints_and_modes(runtime: Any) -> None:
    assert_same_when_checkpointed(pole, SHORT, wrt=everything)
    assert_modes_agree(pole, SHORT, wrt=everything)


def test_hand_is_the_last_tip(runtime: Any) -> None:
    sim = arm()
    found = ds.Rollout(sim, steps=3).trajectories({"q": sim.q, "hand": sim.hand}, every=1)
    np.testing.assert_allclose(
        found["hand"][:3, 0], sim.mechanism.places(found["q"][:3])[1][:, 1], atol=1e-14
    )


# ---- arguments ----


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Link("hinge"), r"^Link\.joint must be one of revolute, prismatic, got 'hinge'"),
        (lambda: Link(mass=0.0), r"^Link\.mass must be a number above 0"),
        (lambda: Link(), r"^Link\.inertia must be above 0 where the centre is the joint, got 0\.0"),
        (lambda: Link("prismatic", axis=(0.0, 0.0)), r"^Link\.axis must have a direction"),
        (lambda: Mechanism("none", ()), r"^Mechanism\.links must hold at least one link"),
        (lambda: Mechanism("knot", (Link(parent=0, inertia=1.0),)), r"^Mechanism\.links\[0\]\.parent must"),
        (lambda: ArticulatedConfig(dt=0.0), r"^ArticulatedConfig\.dt must be a number above 0"),
        (lambda: ArticulatedConfig(integrator="leap"), r"^ArticulatedConfig\.integrator must be one of rk4"),
        (lambda: ReachPosture(chain(3)), r"^PostureConfig\.posture must have 3 numbers"),
        (lambda: FollowPath([[0.0, 1.0, 2.0]]), r"^FollowPath path must have shape \(points, 2\)"),
        (lambda: Articulated(chain(17)), r"^Articulated mechanism must have at most 16 joints, got 17"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        make()
