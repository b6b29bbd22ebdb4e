"""What the parts of a scene need of a trajectory, as plain arrays over time that a page can draw."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.page.lattices import grid, vectors
from diffsim.view.page.reading import Channel, Drawn, Limits, NotDrawable, Reader, numbers, rows
from diffsim.view.scene import Boxes, Curves, Grid, Lines, Part, Points, Scene, Text, Triangles, Vectors
from diffsim.view.trajectory import Trajectory

__all__ = ["Channel", "Drawn", "Limits", "drawn_parts"]

_CURVES = 8  # numbers of an array that are drawn over time


def drawn_parts(
    scene: Scene, example: Trajectory, keep: Limits, others: Sequence[Trajectory] = ()
) -> tuple[list[Drawn], list[str]]:
    """List the parts that can be drawn, and say what can't.

    Args:
        scene: Whose parts they are.
        example: A trajectory with the arrays that they name, without worlds.
        keep: How much of a frame is kept.
        others: What is drawn beside it.
    """
    found, notes = [], []
    for part in scene.parts:
        maker = _MAKERS.get(type(part))
        if maker is None:
            notes.append(f"{type(part).__name__} can't be drawn in a page")
            continue
        try:
            drawn = maker(part, Reader(example, tuple(others)), keep)
        except NotDrawable as reason:
            notes.append(f"{part.label or type(part).__name__} is not drawn: {reason}")
            continue
        found.append(drawn)
        notes += drawn.notes
    return found, notes


def _colored(
    drawn: Drawn, reader: Reader, count: int, chosen: NDArray[Any] | None = None, tag: str = ""
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
    drawn.channels["values"] = reader.channel(name, numbers(count, chosen), f"numbers{tag}")


def _points(part: Points, reader: Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "points")
    count, width = reader.places(part.positions)
    chosen = None if part.only is None else np.asarray(part.only, dtype=np.int64)
    if chosen is not None and chosen.size and not (-count <= chosen.min() and chosen.max() < count):
        raise NotDrawable(f"only must name some of {count} positions")
    shown = count if chosen is None else len(chosen)
    if shown > keep.points:
        every = (np.arange(keep.points) * (shown / keep.points)).astype(np.int64)
        chosen = every if chosen is None else chosen[every]
        drawn.notes.append(f"{keep.points:,} of {shown:,} points are shown")
    tag = "" if chosen is None else f" {zlib.crc32(chosen.tobytes())}"
    drawn.channels["positions"] = reader.channel(part.positions, rows(width, chosen), f"rows{tag}")
    _colored(drawn, reader, count, chosen, tag)
    if isinstance(part.radius, str):
        size = reader.array(part.radius)[0:1].size
        if size == 1:
            drawn.channels["radius"] = reader.channel(part.radius, numbers(1), "numbers")
        elif size == count:
            drawn.channels["radius"] = reader.channel(part.radius, numbers(count, chosen), f"numbers{tag}")
    drawn.more = {"trail": part.trail}
    return drawn


def _lines(part: Lines, reader: Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "lines")
    count, width = reader.places(part.positions)
    drawn.channels["positions"] = reader.channel(part.positions, rows(width), "rows")
    joined = count if part.closed else max(1, count - 1)
    if part.pairs is not None:
        joined = _corners(drawn, reader, "pairs", part.pairs, 2, count)
    _colored(drawn, reader, joined)
    drawn.more = {"closed": part.closed, "width": part.width}
    return drawn


def _triangles(part: Triangles, reader: Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "triangles")
    count, width = reader.places(part.positions)
    drawn.channels["positions"] = reader.channel(part.positions, rows(width), "rows")
    faces = _corners(drawn, reader, "faces", part.faces, 3, count)
    given = None if part.values is None else reader.array(part.values)[0:1].size
    at_corners = given is not None and given != faces and given % count == 0
    _colored(drawn, reader, count if at_corners else faces)
    drawn.more = {"edges": part.edges, "smooth": at_corners}
    return drawn


def _corners(drawn: Drawn, reader: Reader, attribute: str, name: str, width: int, count: int) -> int:
    """Add whole numbers that point to positions; return how many rows of them there are."""
    array = reader.array(name)
    if (
        array[0:1].size % width
        or array.dtype.kind == "f"
        or (array.size and not 0 <= array.min() <= array.max() < count)
    ):
        raise NotDrawable(f"{name} must be rows of {width} numbers of positions below {count}")
    drawn.channels[attribute] = reader.channel(name, rows(width), "corners", bits=0)
    return array[0:1].size // width


def _boxes(part: Boxes, reader: Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "boxes")
    count, width = reader.places(part.centers)
    drawn.channels["centers"] = reader.channel(part.centers, rows(width), "rows")
    drawn.channels["sizes"] = reader.channel(part.sizes, rows(width), "rows")
    if part.angles is not None:
        drawn.channels["angles"] = reader.channel(part.angles, numbers(count), "numbers")
    if part.rotations is not None:
        size = reader.array(part.rotations)[0:1].size // count
        if size not in (4, 9):
            raise NotDrawable(f"rotations must be quaternions or matrices, and {part.rotations} is neither")
        drawn.channels["rotations"] = reader.channel(part.rotations, rows(size), "rows")
    _colored(drawn, reader, count)
    drawn.more = {"round": part.round}
    return drawn


def _text(part: Text, reader: Reader, keep: Limits) -> Drawn:
    return Drawn(part, "text", more={"at": part.at})


def _curves(part: Curves, reader: Reader, keep: Limits) -> Drawn:
    drawn = Drawn(part, "curves")
    size = reader.array(part.values)[0:1].size
    if size == 0:
        raise NotDrawable(f"{part.values} is empty")
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


_MAKERS: dict[type[Part], Callable[[Any, Reader, Limits], Drawn]] = {
    Points: _points,
    Lines: _lines,
    Triangles: _triangles,
    Boxes: _boxes,
    Grid: grid,
    Vectors: vectors,
    Text: _text,
    Curves: _curves,
}
