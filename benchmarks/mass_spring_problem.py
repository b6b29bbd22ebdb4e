"""The robots' world and controller that `mass_spring` runs: numbers only, shared by all who run it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

DT = 4e-3  # [s]
GRAVITY = -4.8  # [m/s^2]
DAMPING = 15.0  # [1/s]
GROUND = 0.1  # [m]
GOAL = (0.9, 0.2)  # [m]
SINES = 10
OMEGA = 10.0  # [rad/s]
HIDDEN = 32
INPUT_SCALE = 0.05
AT_REST = 1e-4  # [m/s] slower falls are not taken to hit the ground: 1 / speed stays bounded
LIFT = 0.02  # [m] how much higher than drawn a robot among many may start


def draw_weights(n_points: int, n_springs: int, seed: int = 0) -> Arrays:
    """Draw the controller's first weights from normals; biases are zero.

    Args:
        n_points: Points of the robot.
        n_springs: Springs of the robot.
        seed: What the random numbers start from.

    Returns:
        `w0` (inputs, hidden), `b0` (hidden,), `w1` (hidden, springs), `b1` (springs,), f64.
    """
    rng = np.random.default_rng(seed)
    inputs = SINES + 4 * n_points + 2
    return {
        "w0": rng.normal(size=(inputs, HIDDEN)) * 2.0 * math.sqrt(2.0 / (HIDDEN + inputs)),
        "b0": np.zeros(HIDDEN),
        "w1": rng.normal(size=(HIDDEN, n_springs)) * 3.0 * math.sqrt(2.0 / (HIDDEN + n_springs)),
        "b1": np.zeros(n_springs),
    }


def draw_starts(points: NDArray[Any], worlds: int, seed: int = 0) -> NDArray[np.float64]:
    """Return where the points of each world's robot start [m], shape (worlds, n, 2): some higher than others.

    Args:
        points: Where they are drawn (n, 2) [m].
        worlds: How many robots.
        seed: What the random numbers start from.
    """
    starts = np.repeat(np.asarray(points, dtype=np.float64)[None], worlds, axis=0)
    starts[..., 1] += np.random.default_rng(seed).uniform(0.0, LIFT, size=worlds)[:, None]
    return starts
