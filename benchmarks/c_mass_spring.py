"""The mass-spring program in C (`mass_spring.c`): every step kept, and the way back written by hand."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import compiled
from benchmarks import mass_spring_problem as problem
from benchmarks.mass_spring_problem import Arrays

NAMES = ("w0", "b0", "w1", "b1")


def make_program(
    robot: Any, weights: Arrays, steps: int, starts: NDArray[Any] | None = None
) -> tuple[Callable[[], float], Callable[[], tuple[float, Arrays]]]:
    """Return functions for the cost, and for the cost with its gradient with respect to the weights.

    Args:
        robot: As `PlainMassSpring` takes it.
        weights: `w0`, `b0`, `w1`, `b1`; their type is the precision.
        steps: Time steps.
        starts: Where the points of each world's robot start (worlds, n, 2); the robots run one by one, cost
            and gradient are sums. None for one robot, as it is drawn.
    """
    real = weights["w0"].dtype
    library = compiled.load("mass_spring.c", 8 * real.itemsize, _constants(robot))
    library.bytes.restype = ctypes.c_long
    places = robot.points[None] if starts is None else starts
    counts = ctypes.c_int(steps), ctypes.c_int(len(places))
    held = [
        _parts(robot, real),
        *(np.ascontiguousarray(array, dtype=real) for array in (places, *(weights[n] for n in NAMES))),
        np.zeros(library.bytes(counts[0]), np.uint8),
    ]
    grads = {name: np.zeros_like(weights[name]) for name in NAMES}
    inputs, outputs = (
        [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]  # pointers that keep their arrays alive
        for arrays in (held, [grads[name] for name in NAMES])
    )
    for function in (library.value, library.value_and_grad):
        function.restype = ctypes.c_double

    def value_and_grad() -> tuple[float, Arrays]:
        return float(library.value_and_grad(*counts, *inputs, *outputs)), grads

    return lambda: float(library.value(*counts, *inputs)), value_and_grad


def _constants(robot: Any) -> dict[str, float]:
    """Return what the program knows when it compiles."""
    return {
        "POINTS": len(robot.points),
        "SPRINGS": len(robot.springs),
        "HEAD": int(robot.head),
        "SINES": problem.SINES,
        "HIDDEN": problem.HIDDEN,
        "OMEGA": problem.OMEGA,
        "DT": problem.DT,
        "GRAVITY": problem.GRAVITY,
        "DECAY": math.exp(-problem.DAMPING * problem.DT),
        "GROUND": problem.GROUND,
        "AT_REST": problem.AT_REST,
        "INPUT_SCALE": problem.INPUT_SCALE,
        "GOAL_X": problem.GOAL[0],
        "GOAL_Y": problem.GOAL[1],
    }


def _parts(robot: Any, real: np.dtype[Any]) -> NDArray[Any]:
    """Return the springs as the C structure that holds them."""
    m = len(robot.springs)
    columns: list[Any] = [("a", np.int32, m), ("b", np.int32, m)]
    columns += [(name, real, m) for name in ("rest", "gain", "limit")]
    parts = np.zeros((), np.dtype(columns, align=True))
    parts["a"], parts["b"] = robot.springs[:, 0], robot.springs[:, 1]
    parts["rest"], parts["limit"] = robot.rest_length, robot.actuation
    parts["gain"] = problem.DT * np.asarray(robot.stiffness)
    return parts
