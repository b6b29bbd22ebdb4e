"""One frame in space as a small SVG, without axes: enough to see which trajectory it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.exports.frames import Frames
from diffsim.view.exports.making import pieces_of
from diffsim.view.exports.merged import cells_of
from diffsim.view.exports.pieces import Lattice, Piece

__all__ = ["thumbnail"]

_WIDE, _HIGH = 260.0, 160.0
_MOST = 1500  # things drawn of one part


def thumbnail(trajectory: Any) -> str:
    """Draw the last frame; empty where nothing is in space."""
    frames = Frames(trajectory)
    k = len(frames) - 1
    seen = [_flat(piece, frames, k) for piece in pieces_of(frames)]
    every = np.concatenate([_reach(*one[:2], k) for one in seen] or [np.zeros((0, 2))])
    every = every[np.isfinite(every).all(axis=1)]
    if not len(every):
        return ""
    low, high = every.min(axis=0), every.max(axis=0)
    extent = np.maximum(high - low, 0.02 * max(float((high - low).max()), 1e-12))
    scale = float(np.min(np.array([_WIDE, _HIGH]) / extent)) * 0.94
    middle = 0.5 * (low + high)
    drawn = []
    for piece, places, colors in seen:
        at = (places - middle) * scale * [1.0, -1.0] + [0.5 * _WIDE, 0.5 * _HIGH]
        drawn.append(_drawn(piece, at, colors, k, scale))
    label = f"the last frame, t = {frames.times[k]:.4g} {frames.time_unit}"
    return (
        f'<svg width="{_WIDE:g}" height="{_HIGH:g}" viewBox="0 0 {_WIDE:g} {_HIGH:g}" role="img" '
        f'aria-label="{label}" style="max-width:100%;display:block;margin:.4em 0">{"".join(drawn)}</svg>'
    )


def _flat(
    piece: Piece | Lattice, frames: Frames, k: int
) -> tuple[Any, NDArray[np.float64], NDArray[np.uint8]]:
    """Return places as they are seen, shape (n, 2), with their colours."""
    places = piece.points() if isinstance(piece, Lattice) else piece.points(k)
    if np.any(places[:, 2]):
        camera = frames.scene.camera
        toward = np.array(camera.toward if camera is not None else (-0.6, -0.45, -0.65), float)
        up = np.array(camera.up if camera is not None else (0.0, 1.0, 0.0), float)
        right = np.cross(toward, up)
        right /= np.linalg.norm(right) or 1.0
        above = np.cross(right, toward)
        above /= np.linalg.norm(above) or 1.0
        return piece, np.stack([places @ right, places @ above], axis=1), piece.colors(k)
    return piece, places[:, :2], piece.colors(k)


def _reach(piece: Piece | Lattice, places: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return places that have all of a piece between them."""
    if isinstance(piece, Lattice) or piece.radius is None:
        return places
    radius = piece.radius(k)[:, None]
    return np.concatenate([places - radius, places + radius])


def _drawn(
    piece: Piece | Lattice, at: NDArray[np.float64], colors: NDArray[np.uint8], k: int, scale: float
) -> str:
    shades = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colors.tolist()]
    cells = cells_of(piece, k)
    if isinstance(piece, Lattice):
        return _samples(piece, at, shades, scale)
    if isinstance(piece, Piece) and piece.vectors is not None:
        return ""
    chosen = range(0, len(at) if cells.shape[1] == 1 else len(cells), 1)
    step = max(1, -(-len(chosen) // _MOST))
    found = []
    for i in chosen[::step]:
        corners = at[i : i + 1] if cells.shape[1] == 1 else at[cells[i]]
        if not np.isfinite(corners).all():
            continue
        if len(corners) == 1:
            told = piece.radius(k)[i] * scale if piece.radius is not None else 0.0
            x, y = corners[0]
            radius = max(1.2, told or 2.5 / (1.0 + len(at) / 1000.0))
            found.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{shades[i]}"/>')
            continue
        d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
        shade = shades[cells[i][0]]
        fill = "none" if len(corners) == 2 else shade
        width = 1.6 if len(corners) == 2 else 0.4
        found.append(f'<path d="{d}" fill="{fill}" stroke="{shade}" stroke-width="{width}"/>')
    return "".join(found)


def _samples(grid: Lattice, at: NDArray[np.float64], shades: list[str], scale: float) -> str:
    """Draw a grid of the plane as tiles, the coarser the finer it is; of space nothing."""
    if grid.shape[2] > 1:
        return ""
    stride = max(1, -(-max(grid.shape) // 40))
    wide, high = (stride * spacing * scale for spacing in grid.spacing[:2])
    numbers = np.arange(len(at)).reshape(grid.shape[:2])[::stride, ::stride].reshape(-1)
    return "".join(
        f'<rect x="{at[i, 0] - 0.5 * wide:.1f}" y="{at[i, 1] - 0.5 * high:.1f}" width="{wide + 0.3:.1f}" '
        f'height="{high + 0.3:.1f}" fill="{shades[i]}"/>'
        for i in numbers.tolist()
    )
