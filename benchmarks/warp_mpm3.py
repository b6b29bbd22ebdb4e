"""The flying block of `sparse_problem` in NVIDIA Warp: as `warp_mpm`, in space, on a dense grid."""

# No `from __future__ import annotations` here: Warp reads kernel annotations as objects, not as text.
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sparse_problem import DT, DX, GRAVITY, MASS, POISSON, RIM, VOLUME, YOUNG
from benchmarks.warp_program import Both, make_module, program, start_warp

MU, LAMBDA = YOUNG / (2.0 * (1.0 + POISSON)), YOUNG * POISSON / ((1.0 + POISSON) * (1.0 - 2.0 * POISSON))
LEAST_MASS = 1e-12 * MASS  # a cell with less is empty
TURNS = 6  # of Newton's iteration for the rotation: to rounding where nothing is stretched beyond twofold


def _rotation(wp: Any, module: Any, real: Any) -> Any:
    """Write the rotation of a deformation (Higham 1986), with its adjoint in closed form."""
    mat3, vec3 = wp.types.matrix((3, 3), real), wp.types.vector(3, real)

    @wp.func(module=module)
    def rotation(F: mat3) -> mat3:
        R = F
        for _turn in range(TURNS):
            R = real(0.5) * (R + wp.transpose(wp.inverse(R)))
        return R

    @wp.func_grad(rotation)
    def adj_rotation(F: mat3, adj_ret: mat3):
        R = rotation(F)
        S = wp.transpose(R) * F
        M = wp.transpose(R) * adj_ret
        K = wp.trace(S) * wp.identity(n=3, dtype=real) - S
        twist = vec3(M[2, 1] - M[1, 2], M[0, 2] - M[2, 0], M[1, 0] - M[0, 1])
        wp.adjoint[F] += R * wp.skew(wp.inverse(K) * twist)

    return rotation


def _spline(wp: Any, module: Any, real: Any) -> Any:
    """Write the share of a particle that a node gets, `way` cells from it."""
    vec3 = wp.types.vector(3, real)

    @wp.func(module=module)
    def one(way: real) -> real:
        far = wp.abs(way)
        if far < real(0.5):
            return real(0.75) - way * way
        return real(0.5) * (real(1.5) - far) * (real(1.5) - far)

    @wp.func(module=module)
    def spline(way: vec3) -> real:
        return one(way[0]) * one(way[1]) * one(way[2])

    return spline


def _scatter(wp: Any, module: Any, real: Any) -> Any:
    """Write the kernel that strains the block and scatters mass and momentum to the grid."""
    vec3, mat3 = wp.types.vector(3, real), wp.types.matrix((3, 3), real)
    rotation, spline = _rotation(wp, module, real), _spline(wp, module, real)
    dt, mu, la, inv_dx, dx = real(DT), real(MU), real(LAMBDA), real(1.0 / DX), real(DX)
    own, pressing = real(MASS), real(4.0 * DT * VOLUME / DX**2)

    @wp.kernel(module=module)
    def p2g(
        x: wp.array2d(dtype=vec3),
        v: wp.array2d(dtype=vec3),
        C: wp.array2d(dtype=mat3),
        F: wp.array2d(dtype=mat3),
        momentum: wp.array4d(dtype=vec3),
        weight: wp.array4d(dtype=real),
        t: int,
    ):
        p = wp.tid()
        at = x[t, p] * inv_dx
        bent = F[t, p] + dt * C[t, p] * F[t, p]
        F[t + 1, p] = bent
        size = wp.determinant(bent)
        tau = real(2.0) * mu * (bent - rotation(bent)) * wp.transpose(bent)
        tau += la * size * (size - real(1.0)) * wp.identity(n=3, dtype=real)
        affine = own * C[t, p] - pressing * tau
        carried = own * v[t, p]
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    a = int(at[0] - real(0.5)) + i
                    b = int(at[1] - real(0.5)) + j
                    c = int(at[2] - real(0.5)) + k
                    way = vec3(real(a), real(b), real(c)) - at
                    share = spline(way)
                    wp.atomic_add(momentum, t, a, b, c, share * (carried + dx * (affine * way)))
                    wp.atomic_add(weight, t, a, b, c, share * own)

    return p2g


def _move(wp: Any, module: Any, real: Any, room: tuple[int, int, int]) -> Any:
    """Write the kernel that turns momentum into velocity; walls stop what runs into them."""
    vec3, fall = wp.types.vector(3, real), wp.types.vector(3, real)(*(DT * g for g in GRAVITY))
    vectors, reals = wp.array4d(dtype=vec3), wp.array4d(dtype=real)
    least, zero, (long, high, deep) = real(LEAST_MASS), real(0.0), room

    @wp.func(module=module)
    def stopped(v: real, at: int, cells: int) -> real:
        if (at <= RIM and v < zero) or (at >= cells - RIM and v > zero):
            return zero
        return v

    @wp.kernel(module=module)
    def move_grid(momentum: vectors, weight: reals, speed: vectors, t: int):
        i, j, k = wp.tid()
        m = weight[t, i, j, k]
        if m > least:
            v = momentum[t, i, j, k] / m + fall
            speed[t, i, j, k] = vec3(stopped(v[0], i, long), stopped(v[1], j, high), stopped(v[2], k, deep))

    return move_grid


def _gather(wp: Any, module: Any, real: Any) -> Any:
    """Write the kernel that gathers velocities and moves the particles."""
    vec3, mat3, spline = wp.types.vector(3, real), wp.types.matrix((3, 3), real), _spline(wp, module, real)
    dt, inv_dx = real(DT), real(1.0 / DX)

    @wp.kernel(module=module)
    def g2p(
        x: wp.array2d(dtype=vec3),
        v: wp.array2d(dtype=vec3),
        C: wp.array2d(dtype=mat3),
        speed: wp.array4d(dtype=vec3),
        t: int,
    ):
        p = wp.tid()
        at = x[t, p] * inv_dx
        moved = vec3()
        turned = mat3()
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    a = int(at[0] - real(0.5)) + i
                    b = int(at[1] - real(0.5)) + j
                    c = int(at[2] - real(0.5)) + k
                    way = vec3(real(a), real(b), real(c)) - at
                    g = spline(way) * speed[t, a, b, c]
                    moved += g
                    turned += wp.outer(g, way)
        v[t + 1, p] = moved
        C[t + 1, p] = real(4.0) * inv_dx * turned
        x[t + 1, p] = x[t, p] + dt * moved

    return g2p


def _judge(wp: Any, module: Any, real: Any, particles: int) -> Any:
    """Write the kernel of the cost."""
    vec3, share = wp.types.vector(3, real), real(1.0 / (particles * DX**2))

    @wp.kernel(module=module)
    def pay(x: wp.array2d(dtype=vec3), t: int, cost: wp.array(dtype=real)):
        at = x[t, wp.tid()]
        far = at[0] * at[0] + real(0.5) * at[1] * at[1] + real(0.25) * at[2] * at[2]
        wp.atomic_add(cost, 0, share * far)

    return pay


def make_program(
    x: NDArray[Any],
    v: NDArray[Any],
    room: tuple[int, int, int],
    steps: int,
    device: str = "cpu",
    cache: bool = True,
) -> tuple[Callable[[], float], Both]:
    """Return functions for the cost, and for the cost with its gradient with respect to the velocities.

    Args:
        x: Where the particles are at first (n, 3); its type is the precision.
        v: Their velocities (n, 3).
        room: Cells along each axis.
        steps: Time steps.
        device: `cpu` or `cuda`.
        cache: Take compiled kernels from Warp's cache on disk.
    """
    wp = start_warp(device, cache)
    real, n = wp.float64 if x.dtype == np.float64 else wp.float32, len(x)
    vec3, mat3 = wp.types.vector(3, real), wp.types.matrix((3, 3), real)
    given = wp, make_module(wp, "mpm3", real, n, *room, most=2), real
    p2g, move_grid, g2p = _scatter(*given), _move(*given, room), _gather(*given)
    pay = _judge(*given, n)

    def zeros(*shape: int, dtype: Any) -> Any:
        return wp.zeros(shape, dtype=dtype, device=device, requires_grad=True)

    at, going = (zeros(steps + 1, n, dtype=vec3) for _ in range(2))
    C, F = (zeros(steps + 1, n, dtype=mat3) for _ in range(2))
    momentum, speed = (zeros(steps, *room, dtype=vec3) for _ in range(2))
    weight, cost = zeros(steps, *room, dtype=real), zeros(1, dtype=real)
    start = wp.array(v, dtype=vec3, device=device, requires_grad=True)
    first = going[0]
    at[0].assign(x)
    F[0].assign(np.tile(np.eye(3, dtype=x.dtype), (n, 1, 1)))

    def forward() -> None:
        for added in (momentum, weight, cost):
            added.zero_()
        wp.copy(first, start)
        for t in range(steps):
            wp.launch(p2g, n, inputs=[at, going, C, F, momentum, weight, t], device=device)
            wp.launch(move_grid, room, inputs=[momentum, weight, speed, t], device=device)
            wp.launch(g2p, n, inputs=[at, going, C, speed, t], device=device)
        wp.launch(pay, n, inputs=[at, steps], outputs=[cost], device=device)

    return program(forward, cost, {"v": start}, device)
