"""What formats for meshes and grids know: points, lines, triangles and grids, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribute", "Lattice", "Piece", "samples_at", "words_for"]


@dataclass(frozen=True)
class Attribute:
    """Numbers that belong to the elements of a piece.

    Attributes:
        name: Of the array.
        unit: What they are in.
        of_cells: Whether they belong to lines or triangles, not to points.
        read: Returns them in a frame, shape (n,) or (n, components).
    """

    name: str
    unit: str
    of_cells: bool
    read: Callable[[int], NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """A part of the scene made of points.

    Attributes:
        name: What it is called, unlike all others.
        kind: `points`, `lines` or `triangles`.
        points: Returns the places of all points in a frame, shape (n, 3).
        cells: Returns the points that each line or triangle joins, shape (m, 2) or (m, 3); None for points.
        colors: Returns the colours of all points in a frame, shape (n, 3), u8.
        attributes: What else is known.
        radius: Returns the radius of each point, shape (n,); None where none is told.
        vectors: Returns an arrow for each point, shape (n, 3); None where there are none.
        scale: The length of an arrow for one unit of its vector.
    """

    name: str
    kind: str
    points: Callable[[int], NDArray[np.float64]]
    colors: Callable[[int], NDArray[np.uint8]]
    cells: Callable[[int], NDArray[np.int64]] | None = None
    attributes: tuple[Attribute, ...] = ()
    radius: Callable[[int], NDArray[np.float64]] | None = None
    vectors: Callable[[int], NDArray[np.float64]] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Lattice:
    """A part of the scene on a grid.

    Attributes:
        name: What it is called, unlike all others.
        shape: How many samples each axis has, three of them.
        origin: Where the first one is.
        spacing: From one to the next.
        attributes: The numbers of its samples; the last index is the fastest.
        colors: Returns the colours of all samples in a frame, shape (n, 3), u8.
    """

    name: str
    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    attributes: tuple[Attribute, ...]
    colors: Callable[[int], NDArray[np.uint8]]

    def points(self) -> NDArray[np.float64]:
        """Return where the samples are, shape (n, 3)."""
        return samples_at(self.shape, self.origin, self.spacing)


def words_for(names: Iterable[str], word: Callable[[str], str]) -> dict[str, str]:
    """Return for each name the word that a format takes for it, unlike all others: `θ` and `ω` may be one.

    Args:
        names: Each once.
        word: Makes a word of a name.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = made = word(name)
        number = 1
        while made in taken:
            number += 1
            made = f"{base}_{number}"
        taken.add(made)
        found[name] = made
    return found


def samples_at(dims: tuple[int, ...], origin: Any, spacing: Any) -> NDArray[np.float64]:
    """Return where the samples of a grid are, shape (n, 3)."""
    axes = [o + s * np.arange(n) for n, o, s in zip(dims, origin, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
