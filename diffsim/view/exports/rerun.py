"""Rerun's recordings: points, lines, meshes and arrows in space, tensors, and scalars, on one timeline."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.extras import require
from diffsim.files import replacing
from diffsim.view.exports.frames import Frames
from diffsim.view.exports.making import pieces_of, unplaced
from diffsim.view.exports.merged import cells_of
from diffsim.view.exports.pieces import Lattice, Piece

__all__ = ["write"]

_MOST = 64  # curves of one signal; larger ones are tensors


def write(frames: Frames, path: Path) -> None:
    """Write a recording: `space/...` for the parts, `signals/...` for what belongs to none.

    Raises:
        MissingExtraError: rerun-sdk is not installed.
    """
    rr = require("rerun", "rerun", f"files that end in {path.suffix}")
    pieces = pieces_of(frames)
    curves = [name for name in unplaced(frames, pieces) if _width(frames, name) <= _MOST]
    tensors = [name for name in unplaced(frames, pieces) if name not in curves]
    with replacing(path) as temporary:
        stream = rr.RecordingStream(f"diffsim {frames.title or 'trajectory'}")
        stream.set_log_time_enabled(False)  # one timeline: that of the trajectory
        stream.set_log_tick_enabled(False)
        stream.save(temporary)
        camera = frames.scene.camera
        upright = camera is not None and abs(camera.up[2]) > abs(camera.up[1])
        axes = rr.ViewCoordinates.RIGHT_HAND_Z_UP if upright else rr.ViewCoordinates.RIGHT_HAND_Y_UP
        stream.log("space", axes, static=True)
        for name in curves:
            _curves(rr, stream, frames, name)
        for k in range(len(frames)):
            _set_time(stream, frames, k)
            for piece in pieces:
                _log(rr, stream, piece, k)
            for name in tensors:
                if frames.has(name, k):
                    stream.log(f"signals/{_title(name)}", rr.Tensor(np.asarray(frames.array(name, k))))
        stream.flush()
        stream.disconnect()


def _set_time(stream: Any, frames: Frames, k: int) -> None:
    if frames.time_unit == "s":
        stream.set_time("time", duration=float(frames.times[k]))
    else:
        stream.set_time(frames.time_unit, sequence=round(float(frames.times[k])))


def _log(rr: ModuleType, stream: Any, piece: Piece | Lattice, k: int) -> None:
    """Log a part in one frame."""
    place, colors = f"space/{piece.name}", piece.colors(k)
    points = piece.points() if isinstance(piece, Lattice) else piece.points(k)
    cells = cells_of(piece, k)
    if isinstance(piece, Lattice):
        shape = tuple(n for n in piece.shape if n > 1) or (1,)
        for attribute in piece.attributes:
            values = attribute.read(k)
            tensor = rr.Tensor(values.reshape(*shape, *values.shape[1:]))
            stream.log(f"grids/{piece.name}/{attribute.name}", tensor)
    if isinstance(piece, Piece) and piece.vectors is not None:
        stream.log(place, rr.Arrows3D(vectors=piece.scale * piece.vectors(k), origins=points, colors=colors))
    elif cells.shape[1] == 3:
        stream.log(place, rr.Mesh3D(vertex_positions=points, triangle_indices=cells, vertex_colors=colors))
    elif cells.shape[1] == 2:
        stream.log(place, rr.LineStrips3D(points[cells], colors=colors[cells[:, 0]]))
    else:
        radius = piece.radius(k) if isinstance(piece, Piece) and piece.radius is not None else None
        stream.log(place, rr.Points3D(points, colors=colors, radii=radius))
    if isinstance(piece, Piece) and piece.attributes:
        values_of: dict[str, NDArray[Any]] = {a.name: a.read(k) for a in piece.attributes}
        stream.log(place, rr.AnyValues(**{name: v.reshape(-1) for name, v in values_of.items()}))


def _width(frames: Frames, name: str) -> int:
    return int(np.prod(frames.shape(name), dtype=int))


def _title(name: str) -> str:
    return name.replace("/", "_")


def _curves(rr: ModuleType, stream: Any, frames: Frames, name: str) -> None:
    """Log a signal of few numbers over all of its time at once."""
    count = sum(frames.has(name, k) for k in range(len(frames)))
    width = _width(frames, name)
    if not count or not width:
        return
    values = np.array([frames.array(name, k) for k in range(count)], dtype=np.float64).reshape(count, width)
    place, unit = f"signals/{_title(name)}", frames.unit(name)
    titles = [
        f"{name}{list(i) if i else ''}{f' [{unit}]' if unit else ''}" for i in np.ndindex(frames.shape(name))
    ]
    stream.log(place, rr.SeriesLines(names=titles), static=True)
    if frames.time_unit == "s":
        column = rr.TimeColumn("time", duration=frames.times[:count])
    else:
        column = rr.TimeColumn(frames.time_unit, sequence=np.rint(frames.times[:count]).astype(np.int64))
    columns = rr.Scalars.columns(scalars=values.reshape(-1))
    if width > 1:
        columns = columns.partition(np.full(count, width))
    stream.send_columns(place, indexes=[column], columns=columns)
