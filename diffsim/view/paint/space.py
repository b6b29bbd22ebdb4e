"""Looking at space: an orthographic camera, and what is drawn through it with what is near in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.raster import Raster
from diffsim.view.scene import Camera

__all__ = ["Eye", "Space", "eye_of"]

Floats = NDArray[np.floating]

_NEAR = 0.004  # of the picture's width lines are drawn in front of the faces that they lie in


@dataclass(frozen=True, eq=False)
class Eye:
    """How places in space become places in a picture.

    Attributes:
        right: The direction of the picture's x, shape (3,).
        up: Of its y.
        toward: Of looking.
    """

    right: NDArray[np.float64]
    up: NDArray[np.float64]
    toward: NDArray[np.float64]

    def seen(self, places: Floats) -> NDArray[np.float64]:
        """Return right, up and depth of places, shape (..., 3)."""
        with np.errstate(invalid="ignore"):  # what is not finite stays so, and is left out later
            return np.asarray(places @ np.stack([self.right, self.up, self.toward], axis=1))

    @property
    def tallest(self) -> int:
        """Return the axis that is up in the picture."""
        return int(np.argmax(np.abs(self.up)))


def eye_of(camera: Camera | None) -> Eye:
    """Make the eye of a camera.

    Raises:
        ConfigError: It looks along what is up, or nowhere.
    """
    view = camera or Camera()
    toward, up = (np.asarray(v, dtype=np.float64) for v in (view.toward, view.up))
    right = np.cross(toward, up) if toward.shape == up.shape == (3,) else np.zeros(3)
    length = float(np.linalg.norm(right))
    if not (np.isfinite(length) and length > 1e-9):
        raise ConfigError(
            f"camera must look in a direction that is not its up, got toward={view.toward}, up={view.up}; "
            "for a view from above pass another up"
        )
    toward = toward / np.linalg.norm(toward)
    right = right / length
    return Eye(right, np.cross(right, toward), toward)


class Space:
    """A picture of space, that parts are drawn into.

    Args:
        eye: From where it is looked at.
        width: [pixels].
        height: [pixels].
        left: What the picture's left edge is, in the unit of space.
        bottom: What its lower edge is.
        scale: Pixels for one unit of space.
        point: Pixels for one point of a line's width.
    """

    def __init__(
        self, eye: Eye, width: int, height: int, left: float, bottom: float, scale: float, point: float
    ) -> None:
        self.eye, self._scale, self._point = eye, scale, point
        self._corner = np.array([left, bottom, 0.0])
        self._raster = Raster(width, height)
        self._lift = _NEAR * width
        light = self._raster.light
        self._light = light[0] * eye.right + light[1] * eye.up - light[2] * eye.toward

    def _pixels(self, places: Floats) -> Any:
        return (self.eye.seen(places) - self._corner) * self._scale

    def lit(self, colors: Floats, normals: Floats) -> NDArray[np.float64]:
        """Return colours as light falls on surfaces, from both of their sides."""
        facing = np.abs(normals @ self._light)
        return np.asarray(colors * (0.5 + 0.5 * facing)[..., None] + 0.06 * (facing**12)[..., None])

    def balls(self, centers: Floats, radii: Floats, colors: Floats) -> None:
        """Draw balls: centres (n, 3), radii (n,), colours (n, 3)."""
        places = self._pixels(centers)
        finite = np.isfinite(places).all(axis=1)
        sizes = np.broadcast_to(radii, len(places))[finite] * self._scale
        where = np.clip(places[finite], -1e6, 1e6)
        self._raster.balls(where[:, :2], where[:, 2], sizes, colors[finite])

    def lines(self, ends: Floats, width: float, colors: Floats, lift: float = 1.0) -> None:
        """Draw lines, a little in front of where they are: ends (n, 2, 3), width [points], colours (n, 3)."""
        places = self._pixels(ends)
        finite = np.isfinite(places).all(axis=(1, 2))
        where = places[finite]
        depth = where[..., 2] - lift * self._lift
        self._raster.lines(where[..., :2], depth, width * self._point, colors[finite])

    def triangles(self, corners: Floats, colors: Floats, normals: Floats | None = None) -> None:
        """Fill triangles.

        Args:
            corners: Shape (n, 3, 3).
            colors: Of each, (n, 3), or of its corners, (n, 3, 3).
            normals: Of the corners, (n, 3, 3), for surfaces that are round; None for flat ones.
        """
        places = self._pixels(corners)
        finite = np.isfinite(places).all(axis=(1, 2))
        where, shown = places[finite], corners[finite]
        if not len(where):
            return
        tones = np.broadcast_to(colors[finite].reshape(len(where), -1, 3), (len(where), 3, 3))
        if normals is None:
            across = np.cross(shown[:, 1] - shown[:, 0], shown[:, 2] - shown[:, 0])
            across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
            slopes = np.broadcast_to(across[:, None], shown.shape)
        else:
            slopes = normals[finite]
        self._raster.triangles(where[..., :2], where[..., 2], self.lit(tones, slopes))

    def sheet(
        self,
        corner: Floats,
        first: Floats,
        second: Floats,
        picture: NDArray[np.uint8],
    ) -> None:
        """Draw a flat picture: from a corner along two sides; see `Raster.sheet`."""
        start = self._pixels(corner)
        along, across = (self.eye.seen(side) * self._scale for side in (first, second))
        self._raster.sheet(start, along, across, picture)

    def arrows(self, starts: Floats, vectors: Floats, width: float, colors: Floats) -> None:
        """Draw arrows: starts (n, 3), vectors (n, 3), width [points], colours (n, 3)."""
        tips = starts + vectors
        across = np.cross(vectors, self.eye.toward)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        head = np.minimum(0.35 * length, 12.0 * self._point / self._scale)
        across = 0.4 * head * across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        neck = tips - head * vectors / np.maximum(length, 1e-300)
        self.lines(np.stack([starts, neck], axis=1), width, colors)
        heads = np.stack([tips, neck + across, neck - across], axis=1)
        places = self._pixels(heads)
        finite = np.isfinite(places).all(axis=(1, 2))
        where = places[finite]
        tones = np.repeat(colors[finite][:, None], 3, axis=1)
        self._raster.triangles(where[..., :2], where[..., 2] - self._lift, tones)

    def picture(self) -> NDArray[np.uint8]:
        """Return what was drawn; see `Raster.picture`."""
        return self._raster.picture()
