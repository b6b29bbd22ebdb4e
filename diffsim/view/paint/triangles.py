"""Meshes of triangles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.paint.painter import Painter
from diffsim.view.paint.scale import rgb_of
from diffsim.view.paint.shot import Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["TrianglesPainter", "edges_of"]

_FINE = 5000  # triangles from which on edges would be all that is seen


class TrianglesPainter(Painter):
    """Draws `ds.scene.Triangles`."""

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        self._count, self.dimension = self._placed("positions")
        self._faces = self._numbers("faces", 3, self._count)
        self.check_values(len(self._faces), self._count)
        self._edges = edges_of(self._faces) if part.edges and len(self._faces) <= _FINE else None

    def _values(self, k: int) -> tuple[NDArray[np.float64] | None, bool]:
        """Return values, and whether they are those of corners."""
        if not self.has("values"):
            return None, False
        values = self.values(k)
        return values, len(values) == self._count and len(values) != len(self._faces)

    def plane(self, brush: Brush, k: int) -> None:
        places = self.places(k)
        values, of_corners = self._values(k)
        if of_corners and values is not None and self.scale is not None:
            colors = self.scale.rgb(values)[self._faces]
            solid = np.ones((*colors.shape[:2], 1))
            brush.smooth_faces(places[self._faces], np.concatenate([colors, solid], axis=2))
        else:
            face: Any = self.shades(values, len(self._faces))
            if isinstance(face, str):
                face = tuple(0.6 * rgb_of(face) + 0.4)
            brush.faces(places[self._faces], face)
        if self._edges is not None:
            brush.lines(places[self._edges], _dark(self.color, self.has("values")), 0.5)

    def space(self, space: Space, k: int) -> None:
        places = self.places(k)
        values, of_corners = self._values(k)
        if of_corners and values is not None:
            colors = self.rgb(values, self._count)[self._faces]
        else:
            colors = self.rgb(values, len(self._faces))
        space.triangles(places[self._faces], colors)
        if self._edges is not None:
            tone = np.array(_dark(self.color, self.has("values")))
            space.lines(places[self._edges], 0.5, np.broadcast_to(tone, (len(self._edges), 3)), lift=0.5)


def edges_of(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the edges of triangles, each once, shape (m, 2)."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.asarray(np.unique(np.sort(ends, axis=1), axis=0))


def _dark(color: str, valued: bool) -> tuple[float, ...]:
    return (0.2, 0.22, 0.25) if valued else tuple(0.6 * rgb_of(color))
