"""Rigid boxes against conservation, closed forms, and gradients whose sign the moment of impact decides."""

import math
from typing import Any

import numpy as np
import pytest
import taichi as ti
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.rigid_body import Assembly, Box, RigidBody, RigidBodyConfig, Spring, load_robot, robots

Array = NDArray[np.float64]
DT, G = 1e-3, 9.8
HALF = (0.1, 0.06)
SQUARE = (0.1, 0.1)


class Watched(RigidBody):
    """Its cost is the first box's height at the end, plus its way and its angle with small weights."""

    aside = 0.0

    @ti.kernel
    def height(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t, 0][1] + self.aside * (self.x[t, 0][0] + 0.3 * self.angle[t, 0])

    def terminal_cost(self, t: int) -> None:
        self.height(t)


def world(**changes: Any) -> RigidBodyConfig:
    return RigidBodyConfig(**{"dt": DT, "gravity": G, "damping": 0.0, "friction": 0.0, **changes})


def alone(half: tuple[float, float] = HALF) -> Assembly:
    return Assembly("box", [Box((0.0, 1.0), half)])


def made(assembly: Assembly, steps: int, aside: float = 0.0, **changes: Any) -> ds.Rollout:
    sim = Watched(assembly, world(**changes))
    sim.aside = aside
    return ds.Rollout(sim, steps, mode="fused")


def play(
    rollout: ds.Rollout, x: Any, angle: Any = 0.0, v: Any = 0.0, spin: Any = 0.0
) -> tuple[Array, Array, Array, Array]:
    """Start so, and return centres, angles, velocities and spins over time."""
    sim = rollout.sim
    for field, value in ((sim.x, x), (sim.angle, angle), (sim.v, v), (sim.spin, spin)):
        field.set(np.broadcast_to(np.asarray(value, dtype=float), field.element_shape))
    found = rollout.trajectories({"x": sim.x, "angle": sim.angle, "v": sim.v, "spin": sim.spin})
    return found["x"], found["angle"], found["v"], found["spin"]


# ---- free motion ----

STIFF = 40.0


@pytest.fixture(scope="module")
def pair(runtime: Any) -> Any:
    """Two boxes joined by a spring far from the ground, without gravity."""
    boxes = [Box((0.0, 5.0), HALF), Box((0.5, 5.0), SQUARE)]
    spring = Spring((0, 1), ((0.1, 0.02), (-0.1, 0.05)), STIFF, rest=0.3)
    rollout = made(Assembly("pair", boxes, [spring]), 1500, gravity=0.0)
    yield rollout
    rollout.close()


def test_a_spring_keeps_momentum_and_angular_momentum(pair: ds.Rollout) -> None:
    boxes = pair.sim.assembly.boxes
    mass, inertia = np.array([b.mass for b in boxes]), np.array([b.inertia for b in boxes])
    x, _, v, spin = play(pair, [[0.0, 5.0], [0.6, 5.1]], [0.3, -0.2], [[0.5, -0.3], [-0.1, 0.4]], [1.0, -2.0])
    turned = mass * (x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]) + inertia * spin
    kept = np.column_stack([(mass[:, None] * v).sum(axis=1), turned.sum(axis=1)])
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), rtol=0, atol=1e-12)
    assert np.abs(spin - spin[0]).max() > 0.5, "though they turned each other"


def test_boxes_on_a_spring_swing_with_their_period(pair: ds.Rollout) -> None:
    """`T = 2 pi sqrt(m1 m2 / (m1 + m2) / k)` when the spring pulls along the line of centres."""
    first, second = pair.sim.assembly.boxes
    # Turned so that both anchors lie on the line of centres, the boxes do not turn.
    angles = [-math.atan2(0.02, 0.1), -math.atan2(0.05, -0.1) + math.pi]
    x, _, _, spin = play(pair, [[0.0, 5.0], [0.55, 5.0]], angles)
    apart = x[:, 1, 0] - x[:, 0, 0]
    assert np.abs(spin).max() < 1e-12
    middle = 0.3 + math.hypot(0.1, 0.02) + math.hypot(0.1, 0.05)
    crossings = np.flatnonzero(np.diff(np.sign(apart - middle)))
    reduced = first.mass * second.mass / (first.mass + second.mass)
    period = 2 * DT * np.diff(crossings).mean()
    assert period == pytest.approx(2 * math.pi * math.sqrt(reduced / STIFF), rel=5e-3)


def test_a_box_on_a_joint_is_a_compound_pendulum(runtime: Any) -> None:
    """`T = 2 pi sqrt((I + m d²) / (m g d))`, and the joint holds."""
    half, amplitude = (0.05, 0.2), 0.05
    d = half[1]
    hung = Box((d * math.sin(amplitude), 1.0 - d * math.cos(amplitude)), half, angle=amplitude)
    boxes = [hung, Box((0.0, 1.0), (0.02, 0.02), fixed=True)]
    joint = Spring((0, 1), ((0.0, d), (0.0, 0.0)), stiffness=1e5, damping=50.0, rest=0.0)
    rollout = made(Assembly("pendulum", boxes, [joint]), 2500)
    found = rollout.trajectories({"x": rollout.sim.x, "angle": rollout.sim.angle})
    rollout.close()
    angle = found["angle"][:, 0]
    crossings = np.flatnonzero(np.diff(np.sign(angle)))
    period = 2 * DT * (crossings[-1] - crossings[0]) / (len(crossings) - 1)
    exact = 2 * math.pi * math.sqrt((hung.inertia / hung.mass + d * d) / (G * d))
    assert period == pytest.approx(exact * (1 + amplitude**2 / 16), rel=3e-3)
    assert np.abs(angle).max() == pytest.approx(amplitude, rel=5e-3), "nothing is lost or gained"
    top = found["x"][:, 0] + d * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    np.testing.assert_allclose(top, np.broadcast_to([0.0, 1.0], top.shape), atol=1e-3)
    np.testing.assert_array_equal(found["x"][:, 1], found["x"][:1, 1].repeat(len(top), axis=0))


# ---- impacts ----


def test_an_elastic_impact_of_a_corner(runtime: Any) -> None:
    """`J = -2 u / (1/m + r_x² / I)` at the corner; energy and the momentum along the ground are kept."""
    rollout = made(alone(), 300, gravity=0.0, restitution=1.0)
    turn, v0, spin0 = 0.4, np.array([0.3, -2.0]), 1.5
    _, angle, v, spin = play(rollout, [[0.0, 0.3]], turn, v0, spin0)
    rollout.close()
    box = alone().boxes[0]
    hit = int(np.argmax(v[:, 0, 1] > -1.999))
    at = float(angle[hit - 1, 0])
    corners = np.array([[sx * HALF[0], sy * HALF[1]] for sx in (-1, 1) for sy in (-1, 1)])
    turned = corners @ np.array([[math.cos(at), math.sin(at)], [-math.sin(at), math.cos(at)]])
    arm = turned[turned[:, 1].argmin()]
    impulse = -2.0 * (v0[1] + spin0 * arm[0]) / (1.0 / box.mass + arm[0] ** 2 / box.inertia)
    np.testing.assert_allclose(v[hit, 0], v0 + np.array([0.0, impulse / box.mass]), rtol=1e-12)
    assert spin[hit, 0] == pytest.approx(spin0 + arm[0] * impulse / box.inertia, rel=1e-12)
    energy = box.mass * np.sum(v[:, 0] ** 2, axis=1) + box.inertia * spin[:, 0] ** 2
    np.testing.assert_allclose(energy, energy[0], rtol=1e-13)
    np.testing.assert_allclose(v[:, 0, 0], 0.3, rtol=1e-13)


E, DROP = 0.6, 0.5
# It stands on a corner, right below the centre, so that it bounces without turning.
LEVEL = 0.1 * math.sqrt(2.0)


@pytest.fixture(scope="module", params=[True, False], ids=["moment", "naive"])
def bouncing(request: pytest.FixtureRequest, runtime: Any) -> Any:
    """Drop a square box onto a corner."""
    rollout = made(alone(SQUARE), 370, restitution=E, time_of_impact=request.param)
    yield rollout
    rollout.close()


def test_moment_of_impact_decides_the_sign(bouncing: ds.Rollout) -> None:
    """The height a short while after a bounce: dropped from higher, or thrown up, the box hits later.

    `y(T) = e w τ - g τ² / 2` with `w = sqrt(2 g h)` and `τ = T - w / g`, so that
    `dy/dh = (1 + e) g τ / w - e` and, by the first velocity, `dy/dv = τ - e w / g`: both negative here.
    Turned around in a step that does not change with h, `dy/dh = 1` and `dy/dv = (T - τ) - e τ`.
    """
    y, _, _, _ = play(bouncing, [[0.0, LEVEL + DROP]], math.pi / 4)
    _, grads = bouncing.value_and_grad(wrt=[bouncing.sim.x, bouncing.sim.v])
    by_height, by_velocity = grads["x"][0, 1], grads["v"][0, 1]
    impact = math.sqrt(2 * G * DROP)
    after = bouncing.steps * DT - impact / G
    assert 0.03 < after < 0.08
    exact_height = (1 + E) * G * after / impact - E
    exact_velocity = after - E * impact / G
    assert exact_height < -0.3
    assert exact_velocity < -0.1
    if bouncing.sim.time_of_impact:
        assert y[-1, 0, 1] - LEVEL == pytest.approx(E * impact * after - G * after**2 / 2, rel=1e-10)
        assert by_height == pytest.approx(exact_height, rel=1e-9)
        assert by_velocity == pytest.approx(exact_velocity, rel=1e-9)
    else:
        assert by_height == pytest.approx(1.0, rel=1e-9)
        assert by_velocity == pytest.approx((bouncing.steps * DT - after) - E * after, rel=0.03)
        assert by_velocity > 0.2


def test_bounce_height(runtime: Any) -> None:
    """Of each bounce e² of the height is left, to rounding."""
    rollout = made(alone(SQUARE), 1400, restitution=E)
    x, angle, v, _ = play(rollout, [[0.0, LEVEL + DROP]], math.pi / 4)
    rollout.close()
    y = x[:, 0, 1] - LEVEL
    tops = y + v[:, 0, 1] ** 2 / (2 * G)  # how high it would get from where it is
    falls = np.concatenate([[0], np.flatnonzero(np.diff(v[:, 0, 1]) > 0.0) + 1])
    assert len(falls) >= 4
    np.testing.assert_allclose(tops[falls[:4]], [DROP * E ** (2 * k) for k in range(4)], rtol=1e-10)
    assert y.min() > -1e-12, "it is never below the ground"
    np.testing.assert_allclose(angle, math.pi / 4, rtol=1e-12)


def test_friction_slides_a_box_to_a_halt(runtime: Any) -> None:
    """It stops after `v² / (2 friction g)` and lies still on the ground."""
    rollout = made(alone(), 700, friction=0.3)
    speed = 1.2
    x, angle, v, _ = play(rollout, [[0.0, HALF[1]]], 0.0, [[speed, 0.0]])
    rollout.close()
    assert x[-1, 0, 0] == pytest.approx(speed**2 / (2 * 0.3 * G), rel=5e-3)
    stop = int(np.argmax(v[:, 0, 0] < 1e-3)) * DT
    assert stop == pytest.approx(speed / (0.3 * G), rel=0.01)
    assert np.abs(v[-1]).max() < 1e-3
    np.testing.assert_allclose(x[:, 0, 1], HALF[1], atol=2e-5)
    assert np.abs(angle).max() < 1e-3


# ---- gradients ----


@pytest.fixture(scope="module")
def tumbling(runtime: Any) -> Any:
    """A box that hits, slides, sticks and turns."""
    rollout = made(alone(), 240, aside=0.5, friction=0.5, restitution=0.3)
    yield rollout
    rollout.close()


def test_gradient_across_contact(tumbling: ds.Rollout) -> None:
    _, _, v, _ = play(tumbling, [[0.0, 0.14]], 0.5, [[0.8, -1.0]], -2.0)
    assert (np.diff(v[:, 0, 1]) > 0.05).sum() >= 2, "it hits more than once"
    assert_gradient(tumbling, wrt=["x", "angle", "v", "spin"], tolerance=5e-3)


def actuated(height: float = 0.0) -> Watched:
    """A small machine on the ground: two boxes, a joint and a muscle between them."""
    boxes = [Box((0.0, height + 0.16), HALF), Box((0.05, height + 0.05), (0.03, 0.05))]
    springs = [
        Spring((0, 1), ((0.05, -0.06), (0.0, 0.05)), 2e3, 5.0, rest=0.0),
        Spring((0, 1), ((-0.05, 0.0), (0.0, 0.0)), 500.0, 2.0, actuation=0.2),
    ]
    sim = Watched(Assembly("machine", boxes, springs), world(friction=0.6, hidden=2, sines=2, sweeps=2))
    sim.aside = 0.5
    return sim


@pytest.fixture(scope="module")
def machine(runtime: Any) -> Any:
    rollout = ds.Rollout(actuated(), 60, mode="fused")
    yield rollout
    rollout.close()


def test_gradient_away_from_contact(machine: ds.Rollout) -> None:
    sim = machine.sim
    centers = np.array([box.center for box in sim.assembly.boxes])
    sim.x.set(centers + np.array([0.0, 1.0]))
    assert_gradient(machine, wrt=[sim.policy, sim.x, sim.angle, sim.v, sim.spin], tolerance=1e-6)
    sim.x.set(centers)


def test_gradient_of_the_controller_in_contact(machine: ds.Rollout) -> None:
    """Central differences along random directions of the weights."""
    policy, rng = machine.sim.policy, np.random.default_rng(5)
    _, grads = machine.value_and_grad(wrt=[policy])
    first = {key: getattr(policy, key.split(".")[1]).numpy() for key in grads}
    for _ in range(3):
        along = {key: rng.normal(size=np.shape(w)) for key, w in first.items()}

        def cost(s: float, along: dict[str, Array] = along) -> float:
            for key, w in first.items():
                getattr(policy, key.split(".")[1]).set(w + s * along[key])
            return float(machine.value())

        slope = (cost(1e-5) - cost(-1e-5)) / 2e-5
        cost(0.0)
        assert abs(slope) > 1e-4
        assert sum((grads[key] * d).sum() for key, d in along.items()) == pytest.approx(slope, rel=5e-3)


def test_checkpointed_equals_stored(runtime: Any) -> None:
    assert_same_when_checkpointed(actuated, 8)


def thrown() -> Watched:
    sim = Watched(alone(), world(friction=0.5, restitution=0.3, sweeps=2))
    sim.aside = 0.5
    sim.x.set([[0.0, HALF[1] + 1e-3]])
    sim.v.set([[0.5, -1.0]])
    sim.spin.set([0.4])
    return sim


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(thrown, 4, wrt=lambda sim: [sim.x, sim.angle, sim.v, sim.spin])


# ---- arguments ----


def test_robots_stand_on_the_ground() -> None:
    for number, name in enumerate(robots()):
        robot = load_robot(number)
        assert robot.name == load_robot(name).name == name
        lowest = min(box.center[1] - box.half[1] for box in robot.boxes)
        assert lowest == pytest.approx(0.0, abs=1e-12)
        joints = [spring for spring in robot.springs if spring.rest == 0.0]
        assert len(joints) == len(robot.boxes) - 1
        for joint in joints:
            ends = [robot.boxes[e].place(a) for e, a in zip(joint.ends, joint.anchors, strict=True)]
            np.testing.assert_allclose(ends[0], ends[1], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RigidBodyConfig(dt=-1.0), r"RigidBodyConfig\.dt must be a number above 0"),
        (lambda: RigidBodyConfig(sweeps=0), r"RigidBodyConfig\.sweeps must be a whole number of at least 1"),
        (lambda: Box((0.0, 0.0), (0.1, 0.0)), r"Box\.half must be positive, got \(0\.1, 0\.0\)"),
        (lambda: Box((0.0, math.nan), (0.1, 0.1)), r"Box\.center must be finite"),
        (lambda: Spring((0, 0), ((0, 0), (0, 0)), 1.0), r"Spring\.ends must be two boxes, got \(0, 0\)"),
        (lambda: Spring((0, 1), ((0, 0), (0, 0)), -1.0), r"Spring\.stiffness must be a number of at least 0"),
        (lambda: Assembly("empty", []), r"Assembly\.boxes of 'empty' must be one or more"),
        (
            lambda: Assembly("loose", [Box((0, 0), (1, 1))], [Spring((0, 1), ((0, 0), (0, 0)), 1.0)]),
            r"Assembly\.springs of 'loose' must end at boxes, got \(0, 1\) for spring 0; there are 1",
        ),
        (lambda: RigidBody("nobody"), r"robot must be one of 0 \(strider\), 1 \(hound\), got 'nobody'"),
    ],
)
def test_refuses(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
