"""What the parts of a scene need of a trajectory, as plain arrays over time that a page can draw."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.scene import Boxes, Curves, Grid, Lines, Part, Points, Scene, Text, Triangles, Vectors
from diffsim.view.trajectory import Trajectory

__all__ = ["Channel", "Drawn", "Limits", "drawn_parts"]

_LINE = 4  # times as many samples of a grid of one axis are kept as along one of several
_CURVES = 8  # numbers of an array that are drawn over time


@dataclass(frozen=True)
class Limits:
    """How much of a frame is kept.

    Attributes:
        points: Of particles that nothing joins.
        cells: Samples of a grid along an axis.
        arrows: Along an axis of a grid, and the square root of how many there are elsewhere.
    """

    points: int = 20000
    cells: int = 256
    arrows: int = 24


@dataclass(frozen=True, eq=False)
class Channel:
    """An array over time that a part needs.

    Attributes:
        name: What it is called in the page; channels of one name are the same.
        source: The name of the signal or still.
        still: Whether it has no time.
        change: Makes it of the source, whose first axis is time (of a still one frame).
        bits: Of a number, 8 or 16; 0 for whole numbers as they are.
    """

    name: str
    source: str
    still: bool
    change: Callable[[NDArray[Any]], NDArray[Any]]
    bits: int = 16


@dataclass
class Drawn:
    """A part that a page draws.

    Attributes:
        part: The part.
        kind: Its kind, for the page.
        channels: What it needs, by the attribute of the page's part.
        more: Further attributes of the page's part.
        notes: What was left out of it.
    """

    part: Part
    kind: str
    channels: dict[str, Channel] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def drawn_parts(scene: Scene, example: Trajectory, keep: Limits) -> tuple[list[Drawn], list[str]]:
    """List the parts that can be drawn, and say what can't.

    Args:
        scene: Whose parts they are.
        example: A trajectory with the arrays that they name, without worlds.
        keep: How much of a frame is kept.
    """
    found, notes = [], []
    for part in scene.parts:
        maker = _MAKERS.get(type(part))
        if maker is None:
            notes.append(f"{type(part).__name__} can't be drawn in a page")
            continue
        try:
            drawn = maker(part, _Reader(example), keep)
        except _NotDrawable as reason:
            notes.append(f"{part.label or type(part).__name__} is not drawn: {reason}")
            continue
        found.append(drawn)
        notes += drawn.notes
    return found, notes


class _NotDrawable(Exception):
    """A part does not fit the arrays."""


@dataclass(frozen=True, eq=False)
class _Reader:
    """Looks up what parts refer to."""

    trajectory: Trajectory

    def array(self, name: str) -> NDArray[Any]:
        """Return an array with time in front; a still has one frame.

        Raises:
            _NotDrawable: There is none of the name.
        """
        if name in self.trajectory:
            return np.asarray(self.trajectory[name])
        if name in self.trajectory.stills:
            return np.asarray(self.trajectory.stills[name])[None]
        raise _NotDrawable(f"there is no array {name}")

    def channel(
        self, name: str, change: Callable[[NDArray[Any]], NDArray[Any]], tag: str = "", bits: int = 16
    ) -> Channel:
        """Make the channel of an array, of which `tag` says how it was changed."""
        still = name not in self.trajectory
        return Channel(f"{name}|{tag}", name, still, change, bits)

    def places(self, name: str) -> tuple[int, int]:
        """Return how many places an array of positions has in a frame, and of how many coordinates.

        Raises:
            _NotDrawable: It has no coordinates of space.
        """
        shape = self.array(name).shape[1:]
        if not shape or shape[-1] not in (2, 3):
            raise _NotDrawable(f"positions must end in an axis of 2 or 3, and {name} has shape {shape}")
        return int(np.prod(shape[:-1])), int(shape[-1])


def _rows(width: int, chosen: NDArray[Any] | None = None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the change to shape (frames, rows, width), with some of the rows."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        rows = array.reshape(len(array), -1, width)
        return rows if chosen is None else rows[:, chosen]

    return change


def _numbers(count: int, chosen: NDArray[Any] | None = None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the change to one number for each of so many elements: of vectors their length."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        rows = array.reshape(len(array), count, -1)
        one = rows[:, :, 0] if rows.shape[2] == 1 else np.linalg.norm(rows.astype(np.float64), axis=2)
        return one if chosen is None else one[:, chosen]

    return change


def _colored(
    drawn: Drawn, reader: _Reader, count: int, chosen: NDArray[Any] | None = None, tag: str = ""
) -> None:
    """Add the numbers that colour a part, where there are as many as elements."""
    name = drawn.part.values
    if name is None:
        return
    size = reader.array(name)[0:1].size
    if chosen is not None and size == len(chosen) != count:  # one for each of those that are shown
        count, chosen = len(chosen), None
    if len(reader.array(name)) == 0 or size == 0 or size % count:
        drawn.notes.append(f"{name} has not one number for each of {count} elements, and colours nothing")
        return
    drawn.channels["values"] = reader.channel(name, _numbers(count, chosen), f"numbers{tag}")


def _points(part: Points, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "points")
    count, width = reader.places(part.positions)
    chosen = None if part.only is None else np.asarray(part.only, dtype=np.int64)
    if chosen is not None and chosen.size and not (-count <= chosen.min() and chosen.max() < count):
        raise _NotDrawable(f"only must name some of {count} positions")
    shown = count if chosen is None else len(chosen)
    if shown > keep.points:
        every = (np.arange(keep.points) * (shown / keep.points)).astype(np.int64)
        chosen = every if chosen is None else chosen[every]
        drawn.notes.append(f"{keep.points:,} of {shown:,} points are shown")
    tag = "" if chosen is None else f" {zlib.crc32(chosen.tobytes())}"
    drawn.channels["positions"] = reader.channel(part.positions, _rows(width, chosen), f"rows{tag}")
    _colored(drawn, reader, count, chosen, tag)
    if isinstance(part.radius, str):
        size = reader.array(part.radius)[0:1].size
        if size == 1:
            drawn.channels["radius"] = reader.channel(part.radius, _numbers(1), "numbers")
        elif size == count:
            drawn.channels["radius"] = reader.channel(part.radius, _numbers(count, chosen), f"numbers{tag}")
    drawn.more = {"trail": part.trail}
    return drawn


def _lines(part: Lines, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "lines")
    count, width = reader.places(part.positions)
    drawn.channels["positions"] = reader.channel(part.positions, _rows(width), "rows")
    joined = count if part.closed else max(1, count - 1)
    if part.pairs is not None:
        joined = _corners(drawn, reader, "pairs", part.pairs, 2, count)
    _colored(drawn, reader, joined)
    drawn.more = {"closed": part.closed, "width": part.width}
    return drawn


def _triangles(part: Triangles, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "triangles")
    count, width = reader.places(part.positions)
    drawn.channels["positions"] = reader.channel(part.positions, _rows(width), "rows")
    faces = _corners(drawn, reader, "faces", part.faces, 3, count)
    given = None if part.values is None else reader.array(part.values)[0:1].size
    at_corners = given is not None and given != faces and given % count == 0
    _colored(drawn, reader, count if at_corners else faces)
    drawn.more = {"edges": part.edges, "smooth": at_corners}
    return drawn


def _corners(drawn: Drawn, reader: _Reader, attribute: str, name: str, width: int, count: int) -> int:
    """Add whole numbers that point to positions; return how many rows of them there are."""
    array = reader.array(name)
    if (
        array[0:1].size % width
        or array.dtype.kind == "f"
        or (array.size and not 0 <= array.min() <= array.max() < count)
    ):
        raise _NotDrawable(f"{name} must be rows of {width} numbers of positions below {count}")
    drawn.channels[attribute] = reader.channel(name, _rows(width), "corners", bits=0)
    return array[0:1].size // width


def _boxes(part: Boxes, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "boxes")
    count, width = reader.places(part.centers)
    drawn.channels["centers"] = reader.channel(part.centers, _rows(width), "rows")
    drawn.channels["sizes"] = reader.channel(part.sizes, _rows(width), "rows")
    if part.angles is not None:
        drawn.channels["angles"] = reader.channel(part.angles, _numbers(count), "numbers")
    if part.rotations is not None:
        size = reader.array(part.rotations)[0:1].size // count
        if size not in (4, 9):
            raise _NotDrawable(f"rotations must be quaternions or matrices, and {part.rotations} is neither")
        drawn.channels["rotations"] = reader.channel(part.rotations, _rows(size), "rows")
    _colored(drawn, reader, count)
    drawn.more = {"round": part.round}
    return drawn


def _grid(part: Grid, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "grid")
    shape = reader.array(part.values).shape[1:]
    rgb = bool(getattr(part, "rgb", False))
    parts = tuple(reader.trajectory[part.values].components) if part.values in reader.trajectory else ()
    if len(shape) == 1 + len(parts) and shape[0] > 1 and len(parts) < 2 and not rgb:
        return _profile(part, reader, keep)
    axes = len(shape) - (1 if rgb or len(shape) > 3 else 0)
    if axes not in (2, 3) or min(shape) < 1:
        raise _NotDrawable(f"a grid must have 1, 2 or 3 axes, and {part.values} has shape {shape}")
    strides = tuple(max(1, -(-n // keep.cells)) for n in shape[:axes])
    if max(strides) > 1:
        drawn.notes.append(f"grids of {' × '.join(map(str, shape[:axes]))} samples are shown with fewer")
    spacing = np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (axes,)) * strides
    origin = np.zeros(axes) if part.origin is None else np.asarray(part.origin, dtype=np.float64)
    kept = tuple(-(-n // s) for n, s in zip(shape, strides, strict=False))
    drawn.more = {
        "shape": kept,
        "spacing": spacing,
        "origin": origin,
        "contours": part.contours,
        "level": part.level,
        "rgb": rgb,
    }
    where = (slice(None), *(slice(None, None, stride) for stride in strides))

    def samples(array: NDArray[Any]) -> NDArray[Any]:
        some = array[where]
        if rgb:
            return np.clip(some, 0.0, 1.0)
        return some if some.ndim == axes + 1 else np.linalg.norm(some.astype(np.float64), axis=-1)

    tag = f"grid{strides}"
    if axes == 2 or part.level is not None:
        bits = 16 if part.contours or part.level is not None else 8
        drawn.channels["values"] = reader.channel(part.values, samples, tag, bits)
        return drawn
    for axis in range(3):
        middle = kept[axis] // 2

        def slice_of(array: NDArray[Any], axis: int = axis, middle: int = middle) -> NDArray[Any]:
            return np.take(samples(array), middle, axis=axis + 1)

        drawn.channels[f"slice{axis}"] = reader.channel(part.values, slice_of, f"{tag} {axis}", 8)
    return drawn


def _profile(part: Grid, reader: _Reader, keep: Limits) -> Drawn:
    """Draw numbers along one axis as a curve over places."""
    drawn = Drawn(part, "profile")
    count = reader.array(part.values).shape[1]
    stride = max(1, -(-count // (_LINE * keep.cells)))
    if stride > 1:
        drawn.notes.append(f"{-(-count // stride):,} of {count:,} samples of {part.values} are shown")
    spacing = float(np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (1,))[0])
    origin = 0.0 if part.origin is None else float(part.origin[0])
    drawn.more = {
        "places": origin + spacing * np.arange(0, count, stride),
        "counted": part.origin is None and spacing == 1.0,
        "source": part.values,
    }
    numbers = _numbers(count)
    drawn.channels["values"] = reader.channel(
        part.values, lambda array: numbers(array)[:, ::stride], f"profile{stride}"
    )
    return drawn


def _vectors(part: Vectors, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "vectors")
    shape = reader.array(part.vectors).shape[1:]
    if not shape or shape[-1] not in (2, 3):
        raise _NotDrawable(f"vectors must end in an axis of 2 or 3, and {part.vectors} has shape {shape}")
    width = shape[-1]
    if part.positions is not None:
        count, _ = reader.places(part.positions)
        if int(np.prod(shape[:-1])) != count:
            raise _NotDrawable(f"{part.vectors} must have a vector for each of {count} positions")
        most = keep.arrows**2
        chosen = None if count <= most else (np.arange(most) * (count / most)).astype(np.int64)
        if chosen is not None:
            drawn.notes.append(f"{most:,} of {count:,} arrows are shown")
        tag = "" if chosen is None else f" {most}"
        drawn.channels["positions"] = reader.channel(part.positions, _rows(width, chosen), f"rows{tag}")
        drawn.channels["vectors"] = reader.channel(part.vectors, _rows(width, chosen), f"rows{tag}")
        drawn.more = {"scale": part.scale}
        return drawn
    axes = len(shape) - 1
    if axes != width:
        raise _NotDrawable(
            f"vectors on a grid must have as many axes as coordinates, and {part.vectors} has shape {shape}"
        )
    strides = tuple(max(1, -(-n // keep.arrows)) for n in shape[:-1])
    spacing = np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (axes,))
    origin = np.zeros(axes) if part.origin is None else np.asarray(part.origin, dtype=np.float64)
    firsts = [(n - 1) % s // 2 for n, s in zip(shape, strides, strict=False)]
    where = tuple(slice(first, None, s) for first, s in zip(firsts, strides, strict=False))
    picked = np.stack(
        np.meshgrid(*(np.arange(n)[w] for n, w in zip(shape, where, strict=False)), indexing="ij"), -1
    )
    drawn.more = {"starts": (origin + picked * spacing).reshape(-1, axes), "scale": part.scale}
    drawn.more["gap"] = float(min(np.abs(spacing * strides)))
    drawn.channels["vectors"] = reader.channel(
        part.vectors, lambda a: a[(slice(None), *where)].reshape(len(a), -1, width), f"arrows{strides}"
    )
    return drawn


def _text(part: Text, reader: _Reader, keep: Limits) -> Drawn:
    return Drawn(part, "text", more={"at": part.at})


def _curves(part: Curves, reader: _Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "curves")
    size = reader.array(part.values)[0:1].size
    if size == 0:
        raise _NotDrawable(f"{part.values} is empty")
    if size > _CURVES:
        drawn.notes.append(f"{_CURVES} of {size:,} curves of {part.label or part.values} are shown")
    most = min(size, _CURVES)
    drawn.channels["values"] = reader.channel(
        part.values, lambda a: a.reshape(len(a), -1)[:, :most], "curves"
    )
    names = [str(name) for name in part.names][:most]
    drawn.more = {
        "names": names or ([] if most == 1 else [str(k) for k in range(most)]),
        "source": part.values,
    }
    return drawn


_MAKERS: dict[type[Part], Callable[[Any, _Reader, Limits], Drawn]] = {
    Points: _points,
    Lines: _lines,
    Triangles: _triangles,
    Boxes: _boxes,
    Grid: _grid,
    Vectors: _vectors,
    Text: _text,
    Curves: _curves,
}
