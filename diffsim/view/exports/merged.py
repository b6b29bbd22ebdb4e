"""All parts of a frame as one mesh, for formats that hold one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.exports.pieces import Lattice, Piece

__all__ = ["Merged", "cells_of", "merged"]


@dataclass(frozen=True)
class Merged:
    """A mesh of all parts.

    Attributes:
        points: Shape (n, 3).
        colors: Shape (n, 3), u8.
        edges: Shape (m, 2).
        faces: Shape (k, 3).
        columns: Further numbers of the points by name, shape (n,), NaN where a part has none.
        groups: Each part's name, with the range of its points and its cells as they are counted above.
    """

    points: NDArray[np.float64]
    colors: NDArray[np.uint8]
    edges: NDArray[np.int64]
    faces: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]
    groups: tuple[tuple[str, range, NDArray[np.int64]], ...]


def merged(pieces: list[Piece | Lattice], k: int) -> Merged:
    """Put all parts of a frame together; samples of a grid in the plane are joined by triangles."""
    points, colors = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
    edges, faces = [np.zeros((0, 2), np.int64)], [np.zeros((0, 3), np.int64)]
    groups, found, count = [], [], 0
    for piece in pieces:
        places = piece.points() if isinstance(piece, Lattice) else piece.points(k)
        cells = cells_of(piece, k) + count
        if cells.shape[1] > 1:
            (edges if cells.shape[1] == 2 else faces).append(cells)
        points.append(places)
        colors.append(piece.colors(k))
        groups.append((piece.name, range(count, count + len(places)), cells))
        found.append((count, len(places), _columns(piece, k)))
        count += len(places)
    columns: dict[str, NDArray[np.float64]] = {}
    for first, size, named in found:
        for name, values in named.items():
            column = columns.setdefault(name, np.full(count, np.nan))
            column[first : first + size] = values
    return Merged(
        np.concatenate(points),
        np.concatenate(colors),
        np.concatenate(edges),
        np.concatenate(faces),
        columns,
        tuple(groups),
    )


def cells_of(piece: Piece | Lattice, k: int) -> NDArray[np.int64]:
    """Return the points that lines or triangles join; shape (0, 1) where there are points alone."""
    if isinstance(piece, Piece):
        return np.zeros((0, 1), np.int64) if piece.cells is None else piece.cells(k)
    if piece.shape[2] > 1:
        return np.zeros((0, 1), np.int64)  # a cloud of samples
    number = np.arange(piece.shape[0] * piece.shape[1]).reshape(piece.shape[:2])
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    return np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)


def _columns(piece: Piece | Lattice, k: int) -> dict[str, NDArray[Any]]:
    """Return numbers of points, a column for each component."""
    known = {a.name: a.read(k) for a in piece.attributes if not a.of_cells}
    if isinstance(piece, Piece):
        if piece.radius is not None:
            known["radius"] = piece.radius(k)
        if piece.vectors is not None:
            known["vectors"] = piece.vectors(k)
    found = {}
    for name, values in known.items():
        if values.ndim == 1:
            found[name] = values
        else:
            ends = "xyz" if values.shape[1] <= 3 else [str(c) for c in range(values.shape[1])]
            found |= {f"{name}_{end}": values[:, c] for c, end in enumerate(ends[: values.shape[1]])}
    return found
