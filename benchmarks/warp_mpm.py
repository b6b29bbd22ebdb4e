"""The elastic block in NVIDIA Warp: all steps in memory, grids too, three launches a step, a graph."""

# No `from __future__ import annotations` here: Warp reads kernel annotations as objects, not as text.
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mpm_problem import DT, GOAL, GRAVITY, LAMBDA, LEAST_MASS, MU, RIM
from benchmarks.warp_program import Both, make_module, program, start_warp


def _scatter(wp: Any, module: Any, real: Any, mass: float, grid: int) -> Any:
    """Write the kernel that scatters mass and momentum to the grid."""
    vec2, mat2 = wp.types.vector(2, real), wp.types.matrix((2, 2), real)
    dt, mu, la, inv_dx, dx = real(DT), real(MU), real(LAMBDA), real(grid), real(1.0 / grid)
    spline = _spline(wp, module, real)
    own, pressing = real(mass), real(DT * mass * 4.0 * grid**2)  # the volume of a particle is its mass

    @wp.kernel(module=module)
    def p2g(
        x: wp.array2d(dtype=vec2),
        v: wp.array2d(dtype=vec2),
        C: wp.array2d(dtype=mat2),
        F: wp.array2d(dtype=mat2),
        momentum: wp.array3d(dtype=vec2),
        weight: wp.array3d(dtype=real),
        t: int,
    ):
        p = wp.tid()
        at = x[t, p] * inv_dx
        i0 = int(at[0] - real(0.5))
        j0 = int(at[1] - real(0.5))
        fx = at - vec2(real(i0), real(j0))
        one = wp.identity(n=2, dtype=real)
        bent = (one + dt * C[t, p]) * F[t, p]
        F[t + 1, p] = bent
        tau = mu * (bent * wp.transpose(bent) - one) + la * wp.log(wp.determinant(bent)) * one
        affine = own * C[t, p] - pressing * tau
        carried = own * v[t, p]
        for i in range(3):
            for j in range(3):
                a = i0 + i
                b = j0 + j
                share = spline(fx[0], i) * spline(fx[1], j)
                away = (vec2(real(a), real(b)) - at) * dx
                wp.atomic_add(momentum, t, a, b, share * (carried + affine * away))
                wp.atomic_add(weight, t, a, b, share * own)

    return p2g


def _spline(wp: Any, module: Any, real: Any) -> Any:
    """Write the share of a particle that a neighbour along one axis gets."""

    @wp.func(module=module)
    def spline(f: real, k: int) -> real:
        if k == 0:
            return real(0.5) * (real(1.5) - f) * (real(1.5) - f)
        if k == 1:
            return real(0.75) - (f - real(1.0)) * (f - real(1.0))
        return real(0.5) * (f - real(0.5)) * (f - real(0.5))

    return spline


def _move(wp: Any, module: Any, real: Any, grid: int) -> Any:
    """Write the kernel that turns momentum into velocity; walls stop what runs into them."""
    vec2, fall, least, zero = wp.types.vector(2, real), real(DT * GRAVITY), real(LEAST_MASS), real(0.0)

    @wp.kernel(module=module)
    def move_grid(
        momentum: wp.array3d(dtype=vec2),
        weight: wp.array3d(dtype=real),
        speed: wp.array3d(dtype=vec2),
        t: int,
    ):
        i, j = wp.tid()
        m = weight[t, i, j]
        if m > least:
            moved = momentum[t, i, j] / m
            a = moved[0]
            b = moved[1] + fall
            if (i < RIM and a < zero) or (i > grid - RIM and a > zero):
                a = zero
            if (j < RIM and b < zero) or (j > grid - RIM and b > zero):
                b = zero
            speed[t, i, j] = vec2(a, b)

    return move_grid


def _gather(wp: Any, module: Any, real: Any, grid: int) -> Any:
    """Write the kernel that gathers velocities and moves the particles."""
    vec2, mat2 = wp.types.vector(2, real), wp.types.matrix((2, 2), real)
    dt, inv_dx, spline = real(DT), real(grid), _spline(wp, module, real)

    @wp.kernel(module=module)
    def g2p(
        x: wp.array2d(dtype=vec2),
        v: wp.array2d(dtype=vec2),
        C: wp.array2d(dtype=mat2),
        speed: wp.array3d(dtype=vec2),
        t: int,
    ):
        p = wp.tid()
        at = x[t, p] * inv_dx
        i0 = int(at[0] - real(0.5))
        j0 = int(at[1] - real(0.5))
        fx = at - vec2(real(i0), real(j0))
        moved = vec2()
        turned = mat2()
        for i in range(3):
            for j in range(3):
                a = i0 + i
                b = j0 + j
                g = spline(fx[0], i) * spline(fx[1], j) * speed[t, a, b]
                moved += g
                turned += wp.outer(g, vec2(real(a), real(b)) - at)
        v[t + 1, p] = moved
        C[t + 1, p] = real(4.0) * inv_dx * turned
        x[t + 1, p] = x[t, p] + dt * moved

    return g2p


def _judge(wp: Any, module: Any, real: Any, particles: int) -> Any:
    """Write the kernel of the cost."""
    vec2, share = wp.types.vector(2, real), real(1.0 / particles)
    goal = vec2(*GOAL)

    @wp.kernel(module=module)
    def miss(x: wp.array2d(dtype=vec2), t: int, cost: wp.array(dtype=real)):
        p = wp.tid()
        away = x[t, p] - goal
        wp.atomic_add(cost, 0, share * wp.dot(away, away))

    return miss


def make_program(
    x: NDArray[Any],
    v: NDArray[Any],
    mass: float,
    grid: int,
    steps: int,
    device: str = "cpu",
    cache: bool = True,
) -> tuple[Callable[[], float], Both]:
    """Return functions for the cost, and for the cost with its gradient with respect to the velocities.

    Args:
        x: Where the particles are at first (n, 2); its type is the precision.
        v: Their velocities (n, 2).
        mass: That of a particle; its volume too.
        grid: Cells along each axis.
        steps: Time steps.
        device: `cpu` or `cuda`.
        cache: Take compiled kernels from Warp's cache on disk.
    """
    wp = start_warp(device, cache)
    real, n = wp.float64 if x.dtype == np.float64 else wp.float32, len(x)
    vec2, mat2 = wp.types.vector(2, real), wp.types.matrix((2, 2), real)
    given = wp, make_module(wp, "mpm", real, n, grid), real
    p2g, move_grid, g2p = _scatter(*given, mass, grid), _move(*given, grid), _gather(*given, grid)
    miss = _judge(*given, n)

    def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
        return wp.zeros(shape, dtype=dtype, device=device, requires_grad=True)

    at, going = zeros((steps + 1, n), vec2), zeros((steps + 1, n), vec2)
    C, F = zeros((steps + 1, n), mat2), zeros((steps + 1, n), mat2)
    momentum, speed = zeros((steps, grid, grid), vec2), zeros((steps, grid, grid), vec2)
    weight, cost = zeros((steps, grid, grid), real), zeros((1,), real)
    start = wp.array(v, dtype=vec2, device=device, requires_grad=True)
    first = going[0]
    at[0].assign(x)
    F[0].assign(np.tile(np.eye(2, dtype=x.dtype), (n, 1, 1)))

    def forward() -> None:
        for added in (momentum, weight, cost):
            added.zero_()
        wp.copy(first, start)
        for t in range(steps):
            wp.launch(p2g, n, inputs=[at, going, C, F, momentum, weight, t], device=device)
            wp.launch(move_grid, (grid, grid), inputs=[momentum, weight, speed, t], device=device)
            wp.launch(g2p, n, inputs=[at, going, C, speed, t], device=device)
        wp.launch(miss, n, inputs=[at, steps], outputs=[cost], device=device)

    return program(forward, cost, {"v": start}, device)
