"""Triangle meshes: made as a grid, or read from a Wavefront OBJ file; their edges, hinges and rest shape."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing

__all__ = ["Mesh", "grid_mesh", "load_obj", "save_obj"]

_SHIPPED = Path(__file__).parent / "meshes"
_THIN = 1e-10  # a triangle whose area is this part of its longest side's square has no rest shape to speak of


@dataclass(frozen=True, eq=False)
class Mesh:
    """Vertices joined by triangles, at rest.

    Args:
        vertices: Places [m], `(n, 3)`.
        triangles: Vertex indices, `(m, 3)`; two triangles with a common edge turn the same way around.

    Raises:
        ConfigError: An array has another shape, an index is out of range, a vertex belongs to no triangle, a
            triangle has no area, an edge belongs to three triangles or to two that turn against each other.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check both arrays and store copies of them."""
        vertices = _table("vertices", self.vertices)
        triangles = _table("triangles", self.triangles)
        used, n = np.unique(triangles), len(vertices)
        if used[0] < 0 or used[-1] >= n or (triangles != np.round(triangles)).any():
            raise ConfigError(
                f"Mesh.triangles must be whole numbers from 0 to {n - 1}, got {used[0]:g} to {used[-1]:g}; "
                "they count vertices from 0"
            )
        if len(used) < n:
            lonely = int(np.setdiff1d(np.arange(n), used)[0])
            raise ConfigError(
                f"Mesh.vertices must each belong to a triangle, got vertex {lonely} alone; leave it out"
            )
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "triangles", triangles.astype(np.int32))
        sides = vertices[self.triangles] - vertices[np.roll(self.triangles, 1, axis=1)]
        thin = np.flatnonzero(self.areas <= _THIN * (sides**2).sum(axis=-1).max(axis=1))
        if thin.size:
            raise ConfigError(
                f"Mesh.triangles must have an area, got none for triangle {thin[0]}, "
                f"{self.triangles[thin[0]].tolist()}; leave it out"
            )
        self.hinges  # noqa: B018  (its checks are part of these)

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """The triangles' areas [m^2], `(m,)`."""
        a, b, c = self.vertices[self.triangles].transpose(1, 0, 2)
        return np.asarray(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1))

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """The area that each vertex stands for [m^2], `(n,)`: a third of each triangle around it."""
        weights = np.repeat(self.areas / 3.0, 3)
        found = np.bincount(self.triangles.reshape(-1), weights, minlength=len(self.vertices))
        return np.asarray(found, dtype=np.float64)

    @cached_property
    def inverse_frames(self) -> NDArray[np.float64]:
        """For each triangle the inverse of the matrix whose columns are its sides from vertex 0 [1/m].

        Measured in an orthonormal frame of the triangle's own plane, `(m, 2, 2)`.
        """
        a, b, c = self.vertices[self.triangles].transpose(1, 0, 2)
        along = np.linalg.norm(b - a, axis=-1)
        x = (b - a) / along[:, None]
        reach = ((c - a) * x).sum(axis=-1)
        sides = np.stack([np.stack([along, reach], -1), np.stack([0 * along, 2 * self.areas / along], -1)], 1)
        return np.linalg.inv(sides)

    @cached_property
    def rim(self) -> NDArray[np.int32]:
        """The edges that belong to one triangle, `(k, 2)`."""
        sides = self.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        edges, counts = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
        return np.asarray(edges[counts == 1], dtype=np.int32)

    @cached_property
    def hinges(self) -> NDArray[np.int32]:
        """The inner edges, `(h, 4)`: both ends of an edge `a, b`, then the far corners of its triangles.

        The first triangle holds `a -> b -> c`, the second one `b -> a -> d`.

        Raises:
            ConfigError: An edge belongs to three triangles, or to two that turn against each other.
        """
        tri = self.triangles
        ways = np.concatenate([tri[:, [0, 1, 2]], tri[:, [1, 2, 0]], tri[:, [2, 0, 1]]])
        corner = {}
        for a, b, c in ways.tolist():
            if (a, b) in corner:
                raise ConfigError(
                    f"Mesh.triangles must turn the same way around and meet in pairs, got the edge {a}, {b} "
                    "twice in one direction; swap two corners of one triangle, or leave it out"
                )
            corner[a, b] = c
        pairs = [(a, b, c, corner[b, a]) for (a, b), c in corner.items() if a < b and (b, a) in corner]
        return np.array(pairs, dtype=np.int32).reshape(-1, 4)

    @cached_property
    def edges(self) -> NDArray[np.int32]:
        """All edges, `(e, 2)`, each once."""
        pairs = np.concatenate(
            [self.triangles[:, [0, 1]], self.triangles[:, [1, 2]], self.triangles[:, [2, 0]]]
        )
        return np.unique(np.sort(pairs, axis=1), axis=0)

    def folds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each hinge's angle [rad] at rest, 0 where flat, and its weight: length^2 over both areas."""
        a, b, c, d = self.vertices[self.hinges].transpose(1, 0, 2)
        e = b - a
        one, other = np.cross(e, c - a), np.cross(d - a, e)
        length = np.linalg.norm(e, axis=-1)
        sine = (np.cross(one, other) * e).sum(axis=-1) / length
        angles = np.arctan2(sine, (one * other).sum(axis=-1))
        areas = 0.5 * (np.linalg.norm(one, axis=-1) + np.linalg.norm(other, axis=-1))
        return angles, length**2 / areas

    def nearest(self, places: ArrayLike) -> NDArray[np.int64]:
        """Return the vertices that are nearest to places [m], `(k, 3)`: what to pin there."""
        gaps = self.vertices[None] - np.asarray(places, dtype=np.float64).reshape(-1, 1, 3)
        return np.asarray(np.linalg.norm(gaps, axis=-1).argmin(axis=1))


def _table(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return an array of rows of three finite numbers."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Mesh.{name} must be numbers, got {error}; pass rows of three") from None
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or not np.isfinite(array).all():
        raise ConfigError(
            f"Mesh.{name} must be rows of three finite numbers, got shape {array.shape}; pass an array (n, 3)"
        )
    return array


def grid_mesh(columns: int, rows: int, width: float = 1.0, height: float = 1.0) -> Mesh:
    """Make a flat rectangle in the plane z = 0 around the origin; the diagonals of neighbours alternate.

    Vertex `columns * j + i` is the i-th along x in the j-th row along y.

    Args:
        columns: Vertices along x, at least 2.
        rows: Vertices along y, at least 2.
        width: Along x [m].
        height: Along y [m].

    Raises:
        ConfigError: There are fewer than 2 x 2 vertices, or it has no area.
    """
    if columns < 2 or rows < 2 or width <= 0.0 or height <= 0.0:
        raise ConfigError(
            f"grid_mesh must have 2 x 2 vertices or more and an area, got {columns} x {rows} on "
            f"{width} m x {height} m; pass larger ones"
        )
    x, y = np.meshgrid(
        np.linspace(-width / 2, width / 2, columns), np.linspace(-height / 2, height / 2, rows)
    )
    triangles = []
    for j in range(rows - 1):
        for i in range(columns - 1):
            a = columns * j + i
            b, c, d = a + 1, a + columns + 1, a + columns
            triangles += [(a, b, c), (a, c, d)] if (i + j) % 2 == 0 else [(a, b, d), (b, c, d)]
    return Mesh(np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3), np.array(triangles, dtype=np.int32))


def load_obj(path: str | os.PathLike[str]) -> Mesh:
    """Read the vertices and faces of a Wavefront OBJ file; faces with more corners are cut into triangles.

    Read are lines `v x y z` and `f a b c ...`, whose corners may be `a/b/c` and count from 1, or from the
    last vertex back if negative. Lines of other kinds (normals, textures, groups, materials) are passed over.

    Args:
        path: A file, or the name of one that ships (`tablecloth`).

    Raises:
        ConfigError: The file can't be read, a line does not say what it should, or the mesh breaks a rule of
            `Mesh`; the message names the file and the line.
    """
    found = _SHIPPED / f"{os.fspath(path)}.obj"
    file = found if found.is_file() else Path(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(entry.stem for entry in _SHIPPED.glob("*.obj")))
        raise ConfigError(
            f"mesh must be an OBJ file that can be read, got {os.fspath(path)!r} ({error}); "
            f"pass its path, or a name that ships: {names}"
        ) from None
    vertices: list[tuple[float, float, float]] = []
    triangles: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, 1):
        kind, *words = line.split("#")[0].split() or [""]
        where = f"{file.name}:{number}"
        if kind == "v":
            vertices.append(_vertex(words, where))
        elif kind == "f":
            corners = _corners(words, len(vertices), where)
            triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    if not triangles:
        raise ConfigError(f"{file.name} must have a face, got none; write lines such as f 1 2 3")
    try:
        return Mesh(np.array(vertices), np.array(triangles, dtype=np.int32))
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error}") from None


def _vertex(words: list[str], where: str) -> tuple[float, float, float]:
    """Read what follows `v`; a fourth number, a weight, is passed over."""
    try:
        x, y, z = (float(word) for word in words[:3])
    except ValueError:
        raise ConfigError(
            f"{where}: a vertex must be three numbers, got {' '.join(words)!r}; write v x y z"
        ) from None
    return x, y, z


def _corners(words: list[str], count: int, where: str) -> list[int]:
    """Read what follows `f`: indices from 0 of vertices that came before."""
    try:
        given = [int(word.split("/")[0]) for word in words]
    except ValueError:
        given = []
    corners = [k - 1 if k > 0 else count + k for k in given]
    if len(corners) < 3 or not all(0 <= k < count for k in corners) or 0 in given:
        raise ConfigError(
            f"{where}: a face must be three or more of the {count} vertices before it, "
            f"got {' '.join(words)!r}; write f a b c, counted from 1"
        )
    return corners


def save_obj(path: str | os.PathLike[str], mesh: Mesh, comment: str = "") -> None:
    """Write a mesh as a Wavefront OBJ file, to micrometres.

    Args:
        path: The file; replaced only when it is complete.
        mesh: What to write.
        comment: Its first line.

    Raises:
        OSError: The file can't be written.
    """
    lines = [f"# {comment}"] if comment else []
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices + 0.0]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.triangles + 1).tolist()]
    with replacing(path) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")
