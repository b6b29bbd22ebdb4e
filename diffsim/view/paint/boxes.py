"""Rigid boxes, and balls and ellipses that fill them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.paint.painter import Painter
from diffsim.view.paint.scale import rgb_of
from diffsim.view.paint.shot import Reach, Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["BoxesPainter", "quaternion_matrices"]

_CORNERS = {
    2: np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
    3: np.array(list(itertools.product((-1.0, 1.0), repeat=3))),
}
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b) in (1, 2, 4)]
_AROUND, _RINGS = 36, 14  # corners of an ellipse, rings of a ball


class BoxesPainter(Painter):
    """Draws `ds.scene.Boxes`."""

    place = "centers"

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        n, d = self._placed("centers")
        told = f"centers {part.centers!r} have shape {self.shape('centers')}"
        self._count, self.dimension = n, d
        if int(np.prod(self.shape("sizes"))) not in (d, n * d):
            raise self.wrong(
                "sizes",
                f"have shape ({n}, {d}) or ({d},), as {told}",
                "give a length for each axis",
            )
        if self.has("angles"):
            self.check_each("angles", self._count)
        if self.has("rotations"):
            found = int(np.prod(self.shape("rotations")))
            if self.dimension != 3 or found not in (4 * self._count, 9 * self._count):
                raise self.wrong(
                    "rotations",
                    f"have shape ({n}, 4) or ({n}, 3, 3), as {told}",
                    "give a quaternion or a matrix for each; in the plane use angles",
                )
        self.check_values(self._count)

    def reach(self) -> Reach | None:
        found = super().reach()
        size = self.shot.reach(self.name("sizes"), self.dimension or 1)
        if found is None or size is None:
            return found
        turned = self.has("angles") or self.has("rotations")
        half = 0.5 * size.high
        half = np.full_like(half, np.linalg.norm(half)) if turned and not self.part.round else half
        return Reach(found.low - half, found.high + half, found.missing)

    def _corners(self, unit: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        """Return points of a box of half lengths 1, (m, d), as points of all boxes, (n, m, d)."""
        d = self.dimension or 1
        sizes = np.broadcast_to(self.array("sizes", k).reshape(-1, d), (self._count, d))
        local = 0.5 * sizes[:, None] * unit[None]
        return self.places(k)[:, None] + np.einsum("nij,nmj->nmi", self._turns(k), local)

    def _turns(self, k: int) -> NDArray[np.float64]:
        """Return the matrices that turn the boxes, shape (n, d, d)."""
        d = self.dimension or 1
        if d == 2 and self.has("angles"):
            angle = self.of_each("angles", self._count, k)
            cos, sin = np.cos(angle), np.sin(angle)
            return np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
        if d == 3 and self.has("rotations"):
            given = self.array("rotations", k)
            if given.size == 9 * self._count:
                return given.reshape(-1, 3, 3)
            return quaternion_matrices(given.reshape(-1, 4))
        return np.broadcast_to(np.eye(d), (self._count, d, d))

    def _values(self, k: int) -> NDArray[np.float64] | None:
        return self.values(k) if self.has("values") else None

    def plane(self, brush: Brush, k: int) -> None:
        turn = np.linspace(0.0, 2.0 * np.pi, _AROUND, endpoint=False)
        circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        corners = self._corners(circle if self.part.round else _CORNERS[2], k)
        face: Any = self.shades(self._values(k), self._count)
        if isinstance(face, str):
            face = tuple(0.75 * rgb_of(face) + 0.25)
        brush.faces(corners, face, tuple(0.55 * rgb_of(self.color)), 0.8)
        if self.part.round and self.has("angles"):  # or nobody sees it turn
            spoke = self._corners(np.array([[0.0, 0.0], [1.0, 0.0]]), k)
            brush.lines(spoke, tuple(0.55 * rgb_of(self.color)), 0.9)

    def space(self, space: Space, k: int) -> None:
        colors = self.rgb(self._values(k), self._count)
        if self.part.round:
            self._balls(space, k, colors)
            return
        corners = self._corners(_CORNERS[3], k)
        for side in _SIDES:
            a, b, c, d = (corners[:, number] for number in side)
            for triangle in ((a, b, c), (a, c, d)):
                space.triangles(np.stack(triangle, axis=1), colors)
        ends = corners[:, _EDGES].reshape(-1, 2, 3)
        space.lines(ends, 0.7, 0.5 * np.repeat(colors, len(_EDGES), axis=0), lift=0.5)

    def _balls(self, space: Space, k: int, colors: NDArray[np.float64]) -> None:
        mesh = _ball()
        corners = self._corners(mesh.reshape(-1, 3), k).reshape(self._count, -1, 3, 3)
        d = self.dimension or 1
        sizes = np.broadcast_to(self.array("sizes", k).reshape(-1, d), (self._count, d))
        slopes = mesh[None] / np.maximum(sizes, 1e-300)[:, None, None]
        slopes = np.einsum("nij,nmcj->nmci", self._turns(k), slopes)
        slopes = slopes / np.maximum(np.linalg.norm(slopes, axis=3, keepdims=True), 1e-300)
        tones = np.repeat(colors[:, None], corners.shape[1], axis=1).reshape(-1, 3)
        space.triangles(corners.reshape(-1, 3, 3), tones, slopes.reshape(-1, 3, 3))

    def shadows(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what throws shadows: places (n, 3) and radii (n,)."""
        d = self.dimension or 1
        sizes = np.broadcast_to(self.array("sizes", k).reshape(-1, d), (self._count, d))
        return self.places(k), 0.4 * sizes.mean(axis=1)


def quaternion_matrices(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotations of quaternions of any length, real part first, shape (n, 3, 3)."""
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    w, x, y, z = (quaternions / np.where(length > 0.0, length, 1.0)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _ball() -> NDArray[np.float64]:
    """Return the triangles of a ball of radius 1, shape (m, 3, 3)."""
    polar = np.linspace(0.0, np.pi, _RINGS + 1)
    turn = np.linspace(0.0, 2.0 * np.pi, 2 * _RINGS + 1)
    p, t = np.meshgrid(polar, turn, indexing="ij")
    grid = np.stack([np.sin(p) * np.cos(t), np.cos(p), np.sin(p) * np.sin(t)], axis=2)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    return np.stack([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)]).reshape(-1, 3, 3)
