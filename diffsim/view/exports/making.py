"""The parts of a scene as points, lines, triangles and grids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view import scene as parts
from diffsim.view.exports.colors import Colors
from diffsim.view.exports.frames import Frames
from diffsim.view.exports.pieces import Attribute, Lattice, Piece, samples_at
from diffsim.view.exports.solids import boxes
from diffsim.view.named import names_in
from diffsim.view.scene import Part, Scene

__all__ = ["pieces_of", "shown_in_space", "unplaced"]

_PLACES = ("positions", "centers", "vectors")
_STRUCTURE = ("positions", "pairs", "faces", "centers", "sizes", "angles", "rotations")


def pieces_of(frames: Frames) -> list[Piece | Lattice]:
    """List what there is in space; signals that are nowhere are left out."""
    scene = frames.scene
    named: dict[str, int] = {}
    structure = _refs(scene, _STRUCTURE)
    used = set(names_in(scene))
    found: list[Piece | Lattice] = []
    for number, part in enumerate(scene.parts):
        made = _Maker(frames, part, number, structure, used).make()
        if made is not None:
            count = named[made[0]] = named.get(made[0], 0) + 1
            found.append(made[1](made[0] if count == 1 else f"{made[0]}_{count}"))
    return found


def shown_in_space(frames: Frames) -> list[Piece | Lattice]:
    """List what there is in space, for formats that hold nothing else.

    Raises:
        ConfigError: There is nothing.
    """
    found = pieces_of(frames)
    if not found:
        raise ConfigError(
            "the trajectory must have something in space, as rows of vectors or a grid, got "
            f"{', '.join(frames.labels)}; export x.csv, or give it a scene"
        )
    return found


def unplaced(frames: Frames, pieces: list[Piece | Lattice]) -> list[str]:
    """List the arrays over time that are nowhere in space."""
    placed = {a.name for piece in pieces for a in piece.attributes} | _refs(frames.scene, _PLACES)
    return [name for name in frames.labels if name not in placed]


def _refs(scene: Scene, attributes: tuple[str, ...]) -> set[str]:
    """Return the names that parts refer to in some of their attributes."""
    found = (getattr(part, name, None) for part in scene.parts for name in attributes)
    return {ref for ref in found if isinstance(ref, str)}


class _Maker:
    """Makes a piece of a part.

    Args:
        frames: Where its arrays are.
        part: The part.
        number: Its place in the scene.
        structure: The names of what is no number of an element, but tells where elements are.
        used: The names of all that the scene refers to.
    """

    def __init__(self, frames: Frames, part: Part, number: int, structure: set[str], used: set[str]) -> None:
        self._frames, self._part, self._number = frames, part, number
        self._structure, self._used = structure, used

    def make(self) -> tuple[str, Callable[[str], Piece | Lattice]] | None:
        part, name = self._part, self._name()
        if isinstance(part, parts.Grid):
            return name, lambda unique: self._grid(part, unique)
        if isinstance(part, parts.Vectors):
            return name, lambda unique: self._arrows(part, unique)
        if isinstance(part, parts.Boxes):
            return name, lambda unique: self._solids(part, unique)
        if isinstance(part, parts.Points | parts.Lines | parts.Triangles):
            return name, lambda unique: self._mesh(part, unique)
        return None

    def _name(self) -> str:
        """Return what the piece is called: its label, or its kind and what it shows."""
        part = self._part
        shown = (
            ("vectors", "values")
            if isinstance(part, parts.Grid | parts.Vectors)
            else ("positions", "centers")
        )
        ref = next((found for name in shown if (found := getattr(part, name, None)) is not None), None)
        known = isinstance(ref, str) and ref in self._frames.labels
        usual = f"{type(part).__name__.lower()}_{ref if known else self._number}"
        words = (re.sub(r"[^\w-]+", "_", text).strip("_") for text in (part.label, usual))
        return next(filter(None, words))  # a label may be signs alone

    # ---- points, lines, triangles ----

    def _mesh(self, part: Any, name: str) -> Piece:
        only = getattr(part, "only", None)
        chosen: Any = slice(None) if only is None else np.asarray(only, dtype=np.int64)
        points = self._places(part.positions, chosen)
        count = len(points(0))
        cells, kind = self._cells(part, count)
        attributes = self._attributes(part.positions, len(self._rows(part.positions, 0)), chosen, cells)
        of_cells = (
            cells is not None and part.values is not None and self._belongs(part.values, len(cells(0)), count)
        )
        shades = Colors(self._frames, part, self._number)
        pick: Any = chosen if not of_cells else slice(None)

        def colors(k: int) -> NDArray[np.uint8]:
            found = shades.of(k, len(cells(k)) if of_cells and cells is not None else None)
            if of_cells and cells is not None:
                return _spread(found, cells(k), count)
            return found[pick] if len(found) != count and len(found) > 1 else _many(found, count)

        radius = self._radius(part, chosen, count) if isinstance(part, parts.Points) else None
        return Piece(name, kind, points, colors, cells, attributes, radius)

    def _rows(self, ref: Any, k: int) -> NDArray[np.float64]:
        """Return places or vectors as rows."""
        values = np.asarray(self._frames.array(ref, k), dtype=np.float64)
        return values.reshape(-1, values.shape[-1] if values.ndim else 1)

    def _places(self, ref: Any, chosen: Any) -> Callable[[int], NDArray[np.float64]]:
        return lambda k: in_space(self._rows(ref, k)[chosen])

    def _cells(self, part: Any, count: int) -> tuple[Callable[[int], NDArray[np.int64]] | None, str]:
        if isinstance(part, parts.Points):
            return None, "points"
        if isinstance(part, parts.Triangles):
            return lambda k: self._indices(part.faces, k, 3), "triangles"
        if part.pairs is not None:
            return lambda k: self._indices(part.pairs, k, 2), "lines"
        ends = np.arange(count)
        chain = np.stack([ends, np.roll(ends, -1)], axis=1)
        whole = chain if part.closed else chain[:-1]
        return lambda k: whole, "lines"

    def _indices(self, ref: Any, k: int, corners: int) -> NDArray[np.int64]:
        return np.asarray(self._frames.array(ref, k)).reshape(-1, corners).astype(np.int64)

    def _belongs(self, ref: Any, cells: int, points: int) -> bool:
        """Tell whether numbers belong to lines or triangles rather than to points."""
        count = int(np.prod(self._frames.lead(ref) if isinstance(ref, str) else np.shape(ref), dtype=int))
        return count == cells and count != points

    def _radius(self, part: Any, chosen: Any, count: int) -> Callable[[int], NDArray[np.float64]] | None:
        if part.radius is None:
            return None

        def radius(k: int) -> NDArray[np.float64]:
            values = np.asarray(self._frames.array(part.radius, k), dtype=np.float64).reshape(-1)
            return np.broadcast_to(
                values[chosen] if len(values) > 1 and len(values) != count else values, (count,)
            )

        return radius

    # ---- what else is known ----

    def _attributes(
        self, ref: Any, points: int, chosen: Any, cells: Callable[[int], NDArray[np.int64]] | None
    ) -> tuple[Attribute, ...]:
        """List the arrays with a number or vector for each point, or for each line or triangle."""
        count = len(cells(0)) if cells is not None else -1
        found = []
        for name in [*self._frames.labels, *self._frames.stills]:
            if name in self._structure:
                continue
            still = name in self._frames.stills
            if still and name in self._used and name != self._part.values:
                continue  # edges, faces, sizes of other parts
            size = int(np.prod(self._frames.lead(name), dtype=int))
            if still and self._frames.shape(name)[:1] in ((points,), (count,)):
                size = self._frames.shape(name)[0]
            if size == points:
                found.append(self._attribute(name, points, chosen, False))
            elif size == count:
                found.append(self._attribute(name, count, slice(None), True))
        return tuple(found)

    def _attribute(self, name: str, count: int, chosen: Any, of_cells: bool) -> Attribute:
        def read(k: int) -> NDArray[Any]:
            values = np.asarray(self._frames.array(name, k))
            rows = values.reshape(count, -1)[chosen]
            return rows[:, 0] if rows.shape[1] == 1 else rows

        return Attribute(name, self._frames.unit(name), of_cells, read)

    # ---- boxes, arrows, grids ----

    def _solids(self, part: parts.Boxes, name: str) -> Piece:
        read = self._frames.array

        def shape(k: int) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
            angles, rotations = (None if r is None else read(r, k) for r in (part.angles, part.rotations))
            return boxes(self._rows(part.centers, k), read(part.sizes, k), angles, rotations, part.round)

        corners, faces, each = shape(0)
        count = len(corners) // each
        shades = Colors(self._frames, part, self._number)
        found = []
        for known in self._attributes(part.centers, count, slice(None), None):
            found.append(Attribute(known.name, known.unit, False, _repeated(known.read, each)))
        return Piece(
            name,
            "triangles",
            lambda k: shape(k)[0],
            lambda k: np.repeat(_many(shades.of(k), count), each, axis=0),
            lambda k: faces,
            tuple(found),
        )

    def _arrows(self, part: parts.Vectors, name: str) -> Piece:
        vectors = self._rows(part.vectors, 0)
        if part.positions is not None:
            points = self._places(part.positions, slice(None))
        else:
            shape = self._frames.array(part.vectors, 0).shape[:-1]
            start = _three(part.origin, 0.0, len(shape), 0.0)
            fixed = samples_at((*shape, 1, 1)[:3], start, _three(part.spacing, 1.0, len(shape), 1.0))

            def points(k: int) -> NDArray[np.float64]:
                return fixed

        scale = part.scale
        if scale is None:
            longest = max(
                float(np.nanmax(np.linalg.norm(self._rows(part.vectors, k), axis=1), initial=0.0))
                for k in range(len(self._frames))
            )
            extent = float(np.max(np.ptp(points(0), axis=0), initial=0.0)) or 1.0
            scale = 0.1 * extent / longest if longest > 0.0 else 1.0
        shades = Colors(self._frames, part, self._number)
        return Piece(
            name,
            "points",
            points,
            lambda k: _many(shades.of(k), len(vectors)),
            None,
            self._attributes(part.positions, len(vectors), slice(None), None),
            None,
            lambda k: in_space(self._rows(part.vectors, k)),
            scale,
        )

    def _grid(self, part: parts.Grid, name: str) -> Lattice:
        frames, ref = self._frames, part.values
        whole = np.shape(frames.array(ref, 0))
        lead = whole[:-1] if part.rgb else whole
        dims = (*lead, 1, 1)[:3]
        count = int(np.prod(lead, dtype=int))
        shades = Colors(frames, part, self._number)
        first = _flat(frames, ref, count, ref if isinstance(ref, str) else "values")
        others = [
            _flat(frames, known, count, known)
            for known in frames.labels
            if known != ref and frames.lead(known) == lead
        ]
        return Lattice(
            name,
            (dims[0], dims[1], dims[2]),
            _three(part.origin, 0.0, len(lead), 0.0),
            _three(part.spacing, 1.0, len(lead), 1.0),
            (first, *others),
            lambda k: _many(shades.of(k), count),
        )


def _flat(frames: Frames, ref: Any, count: int, name: str) -> Attribute:
    def read(k: int) -> NDArray[Any]:
        rows = np.asarray(frames.array(ref, k)).reshape(count, -1)
        return rows[:, 0] if rows.shape[1] == 1 else rows

    return Attribute(name, frames.unit(ref), False, read)


def in_space(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give places and vectors of the plane a third number, 0."""
    missing = 3 - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing))) if missing > 0 else rows[:, :3]


def _three(value: Any, usual: float, axes: int, rest: float) -> tuple[float, float, float]:
    given = np.broadcast_to(usual if value is None else np.asarray(value, dtype=np.float64), (axes,))
    padded = [*map(float, given), rest, rest, rest]
    return padded[0], padded[1], padded[2]


def _many(colors: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    return np.broadcast_to(colors, (count, 3)) if len(colors) == 1 else colors


def _repeated(read: Callable[[int], NDArray[Any]], each: int) -> Callable[[int], NDArray[Any]]:
    return lambda k: np.repeat(read(k), each, axis=0)


def _spread(colors: NDArray[np.uint8], cells: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Give points the colour of a line or triangle that they are an end of."""
    found = np.full((count, 3), 128, dtype=np.uint8)
    for column in cells.T:
        found[column] = colors
    return found
