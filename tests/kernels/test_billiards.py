"""Billiards against conservation, closed forms, and gradients whose sign the moment of impact decides."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulator_checks import assert_gradient, assert_modes_agree, assert_same_when_checkpointed

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.billiards import Billiards, BilliardsConfig, Table, rack

Array = NDArray[np.float64]
DT, STEPS, R, SIDE = 4e-3, 250, 0.05, 4.0
TIME = DT * STEPS
IDEAL = {"dt": DT, "radius": R, "width": SIDE, "height": SIDE, "restitution": 1.0, "cushion": 1.0}
# Far from each other and at rest: a test moves those that it is about.
APART = np.array([[0.5, 0.5], [0.5, 3.5], [3.5, 0.5], [3.5, 3.5], [2.0, 3.5], [3.5, 2.0]])


def made(count: int = 6, target: int = 0, **changes: Any) -> ds.Rollout:
    config = BilliardsConfig(**{**IDEAL, "deceleration": 0.0, **changes})
    return ds.Rollout(Billiards(Table(APART[:count], target, (2.0, 2.0)), config), STEPS, mode="fused")


@pytest.fixture(scope="module")
def ideal(runtime: Any) -> Any:
    """Keep all energy, forever."""
    rollout = made()
    yield rollout
    rollout.close()


@pytest.fixture(scope="module")
def naive(runtime: Any) -> Any:
    """Do the same without the moment of impact."""
    rollout = made(time_of_impact=False)
    yield rollout
    rollout.close()


@pytest.fixture(scope="module")
def real(runtime: Any) -> Any:
    """Lose energy at balls and cushions, and by rolling."""
    rollout = made(2, restitution=0.6, cushion=0.5, deceleration=0.4)
    yield rollout
    rollout.close()


def play(rollout: ds.Rollout, x: Any, v: Any) -> tuple[Array, Array]:
    """Return positions and velocities over time of balls that start so; the others rest in their corners."""
    sim = rollout.sim
    first, speed = APART[: sim.n_balls].copy(), np.zeros((sim.n_balls, 2))
    first[: len(x)], speed[: len(v)] = x, v
    sim.x.set(first)
    sim.v.set(speed)
    sim.speed.set(0.0)
    found = rollout.trajectories({"x": sim.x, "v": sim.v})
    return found["x"], found["v"]


# ---- conservation ----

CLUSTER = [[1.2, 2.03], [2.0, 2.0], [2.1, 2.06], [2.1, 1.94], [2.19, 2.0], [2.3, 2.05]]


def invariants(x: Array, v: Array) -> Array:
    """Return momentum, angular momentum and twice the energy of unit masses over time."""
    spin = np.sum(x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0], axis=1)
    return np.column_stack([v.sum(axis=1), spin, np.sum(v * v, axis=(1, 2))])


def test_a_break_keeps_momentum_angular_momentum_and_energy(ideal: ds.Rollout) -> None:
    x, v = play(ideal, CLUSTER, [[3.0, 0.0]])
    kept = invariants(x, v)
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), rtol=0, atol=1e-13)
    assert (np.linalg.norm(v[-1], axis=1) > 0.1).sum() >= 5, "though they were scattered"


def test_no_ball_is_left_inside_another(ideal: ds.Rollout) -> None:
    """Impacts that have to wait are made up for: what overlaps for a step is apart after the next ones."""
    x, _ = play(ideal, CLUSTER, [[3.0, 0.0]])
    apart = np.linalg.norm(x[:, :, None] - x[:, None], axis=3) + 9.0 * np.eye(6)
    assert apart.min() > 2 * R - 3.0 * DT, "one step's way at most"
    assert (apart.min(axis=(1, 2)) < 2 * R - 1e-12).sum() <= 8


# ---- closed forms ----


OBLIQUE = [[1.0, 2.0], [1.5, 1.94]]


def test_an_oblique_collision(ideal: ds.Rollout, naive: ds.Rollout) -> None:
    """The struck ball leaves along the line of centres, the other one at a right angle to it."""
    (start, _), (_, low), speed = *OBLIQUE, 1.3
    offset = 2.0 - low
    x, v = play(ideal, OBLIQUE, [[speed, 0.0]])
    along = math.sqrt((2 * R) ** 2 - offset**2)
    n = np.array([along, -offset]) / (2 * R)
    when = (0.5 - along) / speed
    struck = speed * n[0] * n
    left = np.array([speed, 0.0]) - struck
    meeting = np.array([start + speed * when, 2.0])
    np.testing.assert_allclose(v[-1, :2], [left, struck], atol=1e-13)
    np.testing.assert_allclose(x[-1, 0], meeting + (TIME - when) * left, atol=1e-12)
    np.testing.assert_allclose(x[-1, 1], [1.5, 2.0 - offset] + (TIME - when) * struck, atol=1e-12)
    assert abs(left @ struck) < 1e-13
    _, v = play(naive, OBLIQUE, [[speed, 0.0]])
    assert np.abs(v[-1, 1] - struck).max() > 1e-3, "found overlapping, the line of centres is another one"


@pytest.mark.parametrize("gap", [0.0, 1e-4])
def test_newtons_cradle(ideal: ds.Rollout, gap: float) -> None:
    """Of a row of balls the last one leaves, as if there had been nothing between: not a step is lost."""
    speed, pitch = 2.0, 2 * R + gap
    row = 1.5 + pitch * np.arange(5)
    x, v = play(ideal, [[1.0, 2.0], *([a, 2.0] for a in row)], [[speed, 0.0]])
    expected = np.zeros((6, 2))
    expected[5, 0] = speed
    np.testing.assert_allclose(v[-1], expected, atol=1e-12)
    # The motion jumps ahead by a diameter at each of the five impacts.
    np.testing.assert_allclose(x[-1, 5], [1.0 + speed * TIME + 5 * 2 * R, 2.0], atol=1e-12)
    np.testing.assert_allclose(x[-1, 4, 0], row[3] + gap, atol=1e-12)


def test_a_ball_folds_at_the_cushions(ideal: ds.Rollout) -> None:
    """Between mirrors a straight path is folded, corners included."""
    start, speed = np.array([0.3, 0.4]), np.array([-9.0, 5.5])
    x, v = play(ideal, [start], [speed])
    room = SIDE - 2 * R
    way = start + speed * TIME - R
    folded = room - np.abs(np.mod(way, 2 * room) - room)
    np.testing.assert_allclose(x[-1, 0], R + folded, atol=1e-12)
    np.testing.assert_allclose(np.abs(v[-1, 0]), np.abs(speed), atol=1e-13)


def test_restitution_of_balls(real: ds.Rollout) -> None:
    """Head on, (1 - e) / 2 of the speed stays and (1 + e) / 2 goes on, momentum is kept."""
    _, v = play(real, [[1.0, 1.0], [1.2, 1.0]], [[2.0, 0.0]])
    hit = int(np.argmax(v[:, 1, 0] > 0.0))
    before = np.linalg.norm(v[hit - 1, 0])
    lost = 0.4 * DT
    assert v[hit, 0, 0] == pytest.approx(0.2 * before - lost, rel=1e-12)
    assert v[hit, 1, 0] == pytest.approx(0.8 * before - lost, rel=1e-12)


def test_restitution_of_a_cushion(real: ds.Rollout) -> None:
    _, v = play(real, [[0.2, 1.0], [3.5, 3.5]], [[-1.0, 0.3]])
    hit = int(np.argmax(v[:, 0, 0] > 0.0))
    before = v[hit - 1, 0] * [-0.5, 1.0]
    after = before * (1.0 - 0.4 * DT / np.linalg.norm(before))
    np.testing.assert_allclose(v[hit, 0], after, rtol=1e-12)


def test_rolling_ends_after_its_way(real: ds.Rollout) -> None:
    """With deceleration a the way is v² / (2 a), and half a step's way, as a step moves before it slows."""
    x, v = play(real, [[1.0, 1.0]], [[0.3, 0.0]])
    np.testing.assert_array_equal(v[-1, 0], 0.0)
    assert x[-1, 0, 0] - 1.0 == pytest.approx(0.3**2 / 0.8 + 0.5 * DT * 0.3, rel=1e-4)


# ---- gradients ----


def test_moment_of_impact_decides_the_sign(ideal: ds.Rollout, naive: ds.Rollout) -> None:
    """From `x0` with speed `-u` into a cushion at `c`: `x(T) = 2 c - x0 + u T`, so dx/dx0 = -1, dx/du = T.

    Found overlapping in some step and turned around, `x(T) = x0 + (N - 2 k) dt u`, where k does not change
    with x0: the derivative is +1, and by the speed (N - 2 k) dt.
    """
    start, speed = 0.3, 1.1
    goal = 2.0
    slopes = {}
    for name, rollout in (("moment", ideal), ("naive", naive)):
        x, _ = play(rollout, [[start, 2.0]], [[-speed, 0.0]])
        end = x[-1, 0, 0]
        _, grads = rollout.value_and_grad(wrt=[rollout.sim.x, rollout.sim.v])
        square, near = (end - goal) ** 2, 0.2**2
        by_end = 2.0 * (end - goal) * near / (square + near) ** 2  # of the cost
        slopes[name] = (grads["x"][0, 0] / by_end, -grads["v"][0, 0] / by_end)
    assert slopes["moment"] == pytest.approx((-1.0, TIME), rel=1e-9)
    behind = math.ceil((start - R) / (speed * DT))  # steps until it is found behind the cushion
    assert slopes["naive"] == pytest.approx((1.0, (STEPS - 2 * behind) * DT), rel=1e-9)


def test_gradient_away_from_contact(ideal: ds.Rollout) -> None:
    play(ideal, [[1.0, 2.0]], [[0.2, 0.1]])
    ideal.sim.speed.set(0.7)
    ideal.sim.angle.set(0.2)
    assert_gradient(ideal, wrt=["angle", "speed"], tolerance=1e-6)


def test_gradient_across_a_break(ideal: ds.Rollout) -> None:
    """The cue ball itself is the target here; five impacts lie on its way and those of its partners."""
    play(ideal, CLUSTER, [[0.0, 0.0]])
    ideal.sim.speed.set(3.0)
    ideal.sim.angle.set(-0.01)
    assert_gradient(ideal, wrt=["angle", "speed", "x", "v"], tolerance=5e-3)


def test_gradient_with_all_losses(real: ds.Rollout) -> None:
    """A ball that hits a cushion and another ball, with friction."""
    play(real, [[0.5, 0.6], [1.0, 0.64]], [[0.0, 0.0]])
    real.sim.speed.set(2.5)
    real.sim.angle.set(math.pi - 0.05)
    assert_gradient(real, wrt=["angle", "speed", "x", "v"], tolerance=5e-3)


def broken() -> Billiards:
    sim = Billiards(rack(1, cue=(0.08, 0.06), tip=(0.2, 0.1)), BilliardsConfig())
    sim.angle.set(0.1)
    sim.speed.set(4.0)
    return sim


def test_checkpointed_equals_stored(runtime: Any) -> None:
    assert_same_when_checkpointed(broken, 40)


def test_modes_agree(runtime: Any) -> None:
    assert_modes_agree(broken, 20, wrt=lambda sim: [sim.v, sim.x])


# ---- arguments ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, r"BilliardsConfig\.dt must be a number above 0"),
        ({"restitution": 1.5}, r"BilliardsConfig\.restitution must be a number from 0(\.0)? to 1"),
        ({"radius": 0.5}, r"BilliardsConfig\.radius must leave room to roll, got 0\.5"),
    ],
)
def test_config_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BilliardsConfig(**changes)


@pytest.mark.parametrize(
    ("balls", "target", "message"),
    [
        ([[0.5, 0.5], [0.55, 0.5]], 0, "must not overlap, got balls 0 and 1 0.05 m apart"),
        ([[0.5, 1.5]], 0, "must lie between the cushions, got ball 0"),
        ([[0.5, 0.5]], 1, "Table.target must be a ball, got 1"),
        ([0.5, 0.5], 0, r"must be centres of shape \(n, 2\)"),
    ],
)
def test_table_refuses(balls: Any, target: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Billiards(Table(np.array(balls), target, (1.0, 0.5)))


def test_rack_has_rows() -> None:
    table = rack(4)
    assert table.balls.shape == (11, 2)
    assert table.target == 10
    apart = np.linalg.norm(table.balls[1:, None] - table.balls[1:], axis=2) + np.eye(10)
    assert apart.min() == pytest.approx(2 * 0.04 + 2e-3)
    with pytest.raises(ConfigError, match="rows must be 1 or more"):
        rack(0)
