"""Boxes and balls as triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["boxes"]

_AROUND, _UPWARD = 24, 12  # corners of a ball


def boxes(
    centers: NDArray[np.float64], sizes: Any, angles: Any, rotations: Any, round_: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return corners, triangles, and how many corners each of some boxes or balls has.

    Args:
        centers: Shape (n, d).
        sizes: Whole lengths, shape (n, d) or (d,).
        angles: How far each is turned in the plane [rad], shape (n,), or None.
        rotations: Quaternions, real part first, (n, 4), or matrices, (n, 3, 3), or None.
        round_: Balls and ellipses instead.

    Returns:
        Shapes (n * each, 3) and (n * k, 3), and each.
    """
    n, d = centers.shape
    unit, faces = (_disc() if round_ else _square()) if d == 2 else (_ball() if round_ else _cube())
    lengths = np.broadcast_to(np.asarray(sizes, dtype=np.float64).reshape(-1, d), (n, d))
    corners = 0.5 * unit[None, :, :d] * lengths[:, None, :]
    turned = np.einsum("nij,nkj->nki", _matrices(n, d, angles, rotations), corners) + centers[:, None, :]
    each = len(unit)
    whole = np.zeros((n * each, 3))
    whole[:, :d] = turned.reshape(-1, d)
    shifted = faces[None] + each * np.arange(n)[:, None, None]
    return whole, shifted.reshape(-1, 3), each


def _matrices(n: int, d: int, angles: Any, rotations: Any) -> NDArray[np.float64]:
    if d == 2 and angles is not None:
        a = np.broadcast_to(np.asarray(angles, dtype=np.float64).reshape(-1), (n,))
        return np.stack([np.cos(a), -np.sin(a), np.sin(a), np.cos(a)], axis=-1).reshape(n, 2, 2)
    if d == 3 and rotations is not None:
        given = np.asarray(rotations, dtype=np.float64)
        if given.shape[-1] == 4:
            return _of_quaternions(np.broadcast_to(given.reshape(-1, 4), (n, 4)))
        return np.broadcast_to(given.reshape(-1, 3, 3), (n, 3, 3))
    return np.broadcast_to(np.eye(d), (n, d, d))


def _of_quaternions(q: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = (q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-300)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _square() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float), np.array([[0, 1, 2], [0, 2, 3]])


def _disc() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    a = 2.0 * np.pi * np.arange(_AROUND) / _AROUND
    rim = np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], axis=1)
    k = np.arange(_AROUND)
    faces = np.stack([np.zeros_like(k), 1 + k, 1 + (k + 1) % _AROUND], axis=1)
    return np.concatenate([np.zeros((1, 3)), rim]), faces


def _cube() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # outward
    return corners, np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])


def _ball() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    polar = np.pi * np.arange(1, _UPWARD) / _UPWARD
    around = 2.0 * np.pi * np.arange(_AROUND) / _AROUND
    ring = np.stack([np.cos(around), np.sin(around)], axis=1)
    rings = [np.column_stack([np.sin(p) * ring, np.full(_AROUND, np.cos(p))]) for p in polar]
    corners = np.concatenate([[[0.0, 0.0, 1.0]], *rings, [[0.0, 0.0, -1.0]]])
    k, following = np.arange(_AROUND), (np.arange(_AROUND) + 1) % _AROUND
    last = len(corners) - 1
    faces = [np.stack([np.zeros_like(k), 1 + k, 1 + following], axis=1)]
    for row in range(len(polar) - 1):
        a, b = 1 + row * _AROUND, 1 + (row + 1) * _AROUND
        faces += [np.stack([a + k, b + k, b + following], axis=1)]
        faces += [np.stack([a + k, b + following, a + following], axis=1)]
    a = 1 + (len(polar) - 1) * _AROUND
    faces.append(np.stack([a + k, np.full_like(k, last), a + following], axis=1))
    return corners, np.concatenate(faces)
