"""The mass-spring program in NVIDIA Warp: robots are an axis of the launches, all steps in memory."""

# No `from __future__ import annotations` here: Warp reads kernel annotations as objects, not as text.
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mass_spring_problem import (
    AT_REST,
    DAMPING,
    DT,
    GOAL,
    GRAVITY,
    GROUND,
    HIDDEN,
    INPUT_SCALE,
    OMEGA,
    SINES,
    Arrays,
)
from benchmarks.warp_program import Both, make_module, program, start_warp


def _think(wp: Any, module: Any, real: Any, n: int) -> tuple[Any, Any]:
    """Write the kernels of the clock's sines, and of the hidden layer of each robot."""
    vec2, scale, tau = wp.types.vector(2, real), real(INPUT_SCALE), 2.0 * math.pi
    goal, turn, phase = vec2(*GOAL), real(OMEGA * DT), real(tau / SINES)

    @wp.kernel(module=module)
    def tick(sines: wp.array2d(dtype=real)):
        t, k = wp.tid()
        sines[t, k] = wp.sin(turn * real(t) + phase * real(k))

    @wp.kernel(module=module)
    def think(
        x: wp.array3d(dtype=vec2),
        v: wp.array3d(dtype=vec2),
        centroid: wp.array2d(dtype=vec2),
        sines: wp.array2d(dtype=real),
        w0: wp.array2d(dtype=real),
        b0: wp.array(dtype=real),
        hidden: wp.array3d(dtype=real),
        t: int,
    ):
        world, h = wp.tid()
        middle = centroid[t, world]
        total = b0[h]
        for k in range(SINES):
            total += w0[k, h] * sines[t, k]
        for i in range(n):
            row = SINES + 4 * i
            out = scale * (x[t, world, i] - middle)
            going = scale * v[t, world, i]
            total += w0[row, h] * out[0] + w0[row + 1, h] * out[1]
            total += w0[row + 2, h] * going[0] + w0[row + 3, h] * going[1]
        last = SINES + 4 * n
        total += w0[last, h] * (goal[0] - middle[0]) + w0[last + 1, h] * (goal[1] - middle[1])
        hidden[t, world, h] = wp.tanh(total)

    return tick, think


def _pull(wp: Any, module: Any, real: Any) -> Any:
    """Write the kernel of the muscles: what the controller commands, and the springs' impulses [kg m/s]."""
    vec2, dt = wp.types.vector(2, real), real(DT)

    @wp.kernel(module=module)
    def pull(
        x: wp.array3d(dtype=vec2),
        hidden: wp.array3d(dtype=real),
        w1: wp.array2d(dtype=real),
        b1: wp.array(dtype=real),
        edges: wp.array(dtype=wp.vec2i),
        rest: wp.array(dtype=real),
        stiffness: wp.array(dtype=real),
        limit: wp.array(dtype=real),
        impulse: wp.array3d(dtype=vec2),
        t: int,
    ):
        world, s = wp.tid()
        total = b1[s]
        for h in range(HIDDEN):
            total += w1[h, s] * hidden[t, world, h]
        ends = edges[s]
        span = x[t, world, ends[0]] - x[t, world, ends[1]]
        length = wp.length(span)
        target = rest[s] * (real(1.0) + limit[s] * wp.tanh(total))
        push = dt * stiffness[s] * (length - target) / length * span
        wp.atomic_add(impulse, t, world, ends[0], -push)
        wp.atomic_add(impulse, t, world, ends[1], push)

    return pull


def _advance(wp: Any, module: Any, real: Any, n: int) -> Any:
    """Write the kernel that moves the points; one that meets the ground stays where it meets it."""
    vec2, dt, decay = wp.types.vector(2, real), real(DT), real(math.exp(-DAMPING * DT))
    fall, ground, slow, zero = vec2(0.0, DT * GRAVITY), real(GROUND), real(-AT_REST), real(0.0)
    share = real(1.0 / n)

    @wp.kernel(module=module)
    def advance(
        x: wp.array3d(dtype=vec2),
        v: wp.array3d(dtype=vec2),
        impulse: wp.array3d(dtype=vec2),
        centroid: wp.array2d(dtype=vec2),
        t: int,
    ):
        world, i = wp.tid()
        moved = decay * v[t, world, i] + impulse[t, world, i] + fall
        height = x[t, world, i][1] - ground
        place = x[t, world, i]
        if moved[1] < slow and height + dt * moved[1] < zero:
            place += -height / moved[1] * moved
            v[t + 1, world, i] = vec2()
        else:
            place += dt * moved
            v[t + 1, world, i] = moved
        x[t + 1, world, i] = place
        wp.atomic_add(centroid, t + 1, world, share * place)

    return advance


def _ends(wp: Any, module: Any, real: Any, n: int) -> tuple[Any, Any]:
    """Write the kernels that place the robots' centres at first, and judge where they get to."""
    vec2, share = wp.types.vector(2, real), real(1.0 / n)

    @wp.kernel(module=module)
    def centre(x: wp.array3d(dtype=vec2), centroid: wp.array2d(dtype=vec2)):
        world, i = wp.tid()
        wp.atomic_add(centroid, 0, world, share * x[0, world, i])

    @wp.kernel(module=module)
    def judge(x: wp.array3d(dtype=vec2), head: int, t: int, cost: wp.array(dtype=real)):
        wp.atomic_add(cost, 0, -x[t, wp.tid(), head][0])

    return centre, judge


def make_program(
    robot: Any,
    weights: Arrays,
    steps: int,
    starts: NDArray[Any] | None = None,
    device: str = "cpu",
    cache: bool = True,
) -> tuple[Callable[[], float], Both]:
    """Return functions for the cost, and for the cost with its gradient with respect to the weights.

    Args:
        robot: As `PlainMassSpring` takes it.
        weights: `w0`, `b0`, `w1`, `b1`; their type is the precision.
        steps: Time steps.
        starts: Where the points of each world's robot start (worlds, n, 2): the robots run side by side, cost
            and gradient are sums. None for one robot, as it is drawn.
        device: `cpu` or `cuda`.
        cache: Take compiled kernels from Warp's cache on disk.
    """
    wp = start_warp(device, cache)
    dtype = weights["w0"].dtype
    real = wp.float64 if dtype == np.float64 else wp.float32
    vec2, n, m = wp.types.vector(2, real), len(robot.points), len(robot.springs)
    places = (np.asarray(robot.points)[None] if starts is None else starts).astype(dtype)
    worlds, head = len(places), int(robot.head)
    kind = wp, make_module(wp, "mass_spring", real, n, most=max(n, HIDDEN)), real
    (tick, think), pull, advance = _think(*kind, n), _pull(*kind), _advance(*kind, n)
    centre, judge = _ends(*kind, n)

    def zeros(*shape: int, dtype: Any = vec2) -> Any:
        return wp.zeros(shape, dtype=dtype, device=device, requires_grad=True)

    x, v, impulse = (zeros(steps + more, worlds, n) for more in (1, 1, 0))
    centroid, hidden = zeros(steps + 1, worlds), zeros(steps, worlds, HIDDEN, dtype=real)
    cost, sines = zeros(1, dtype=real), wp.zeros((steps, SINES), dtype=real, device=device)
    edges = wp.array(np.asarray(robot.springs, np.int32), dtype=wp.vec2i, device=device)
    springs = [
        wp.array(np.asarray(array, dtype), dtype=real, device=device)
        for array in (robot.rest_length, robot.stiffness, robot.actuation)
    ]
    given = {
        name: wp.array(array, dtype=real, device=device, requires_grad=True)
        for name, array in weights.items()
    }
    w0, b0, w1, b1 = (given[name] for name in ("w0", "b0", "w1", "b1"))
    x[0].assign(places)

    def forward() -> None:
        for added in (impulse, centroid, cost):
            added.zero_()
        wp.launch(tick, (steps, SINES), inputs=[sines], device=device)
        wp.launch(centre, (worlds, n), inputs=[x, centroid], device=device)
        for t in range(steps):
            inputs = [x, v, centroid, sines, w0, b0, hidden, t]
            wp.launch(think, (worlds, HIDDEN), inputs=inputs, device=device)
            inputs = [x, hidden, w1, b1, edges, *springs, impulse, t]
            wp.launch(pull, (worlds, m), inputs=inputs, device=device)
            wp.launch(advance, (worlds, n), inputs=[x, v, impulse, centroid, t], device=device)
        wp.launch(judge, worlds, inputs=[x, head, steps], outputs=[cost], device=device)

    return program(forward, cost, given, device)
