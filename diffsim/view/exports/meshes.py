"""Series of PLY and OBJ files, which Blender, MeshLab and others read: one for each frame, with all parts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diffsim.files import replacing
from diffsim.view.exports.frames import Frames
from diffsim.view.exports.making import shown_in_space
from diffsim.view.exports.merged import Merged, merged
from diffsim.view.exports.pieces import words_for
from diffsim.view.exports.series import folder_of, list_frames, numbered, series

__all__ = ["write_obj", "write_ply"]


def write_ply(frames: Frames, path: Path) -> Path:
    """Write points with colours and values, edges and triangles, in binary."""
    return _write(frames, path, _ply)


def write_obj(frames: Frames, path: Path) -> Path:
    """Write points with colours, lines and triangles, as text, with an object for each part."""
    return _write(frames, path, _obj)


def _write(frames: Frames, path: Path, form: Callable[[Merged, str], bytes]) -> Path:
    """Write one file for one frame, else a folder of numbered ones; return which."""
    pieces, count = shown_in_space(frames), len(frames)
    if count == 1:
        with replacing(path) as temporary:
            temporary.write_bytes(form(merged(pieces, 0), _about(frames, 0)))
        return path
    folder, names = folder_of(path), []
    with series(folder, (path.suffix,)) as beside:
        for k in range(count):
            names.append(numbered(path.stem, k, count, path.suffix))
            (beside / names[-1]).write_bytes(form(merged(pieces, k), _about(frames, k)))
        list_frames(beside, names, frames.times.tolist(), frames.time_unit)
    return folder


def _about(frames: Frames, k: int) -> str:
    title = re.sub(r"\s+", " ", frames.title or "trajectory").encode("ascii", "replace").decode()
    return f"{title}, t = {frames.times[k]:.9g} {frames.time_unit}"


def _ply(mesh: Merged, about: str) -> bytes:
    words = words_for(mesh.columns, _word)
    columns = {words[name]: values for name, values in mesh.columns.items()}
    kind = np.dtype(
        [(axis, "<f4") for axis in "xyz"]
        + [(color, "u1") for color in ("red", "green", "blue")]
        + [(name, "<f4") for name in columns]
    )
    rows = np.zeros(len(mesh.points), kind)
    for c, (axis, color) in enumerate(zip("xyz", ("red", "green", "blue"), strict=True)):
        rows[axis], rows[color] = mesh.points[:, c], mesh.colors[:, c]
    for name, values in columns.items():
        rows[name] = values
    faces = np.zeros(len(mesh.faces), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    faces["n"], faces["corners"] = 3, mesh.faces
    head = ["ply", "format binary_little_endian 1.0", f"comment {about}", f"element vertex {len(rows)}"]
    head += [f"property {'uchar' if kind[name] == np.uint8 else 'float'} {name}" for name in kind.names or ()]
    if len(faces):
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    if len(mesh.edges):
        head += [f"element edge {len(mesh.edges)}", "property int vertex1", "property int vertex2"]
    text = "\n".join([*head, "end_header", ""]).encode("ascii")
    return text + rows.tobytes() + faces.tobytes() + mesh.edges.astype("<i4").tobytes()


def _word(name: str) -> str:
    """Return a name of letters, digits and underscores that is none of PLY's own."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{word}" if word in ("x", "y", "z", "red", "green", "blue") else word


def _obj(mesh: Merged, about: str) -> bytes:
    text = io.StringIO()
    text.write(f"# {about}\n")
    shades = mesh.colors / 255.0
    for name, points, cells in mesh.groups:
        text.write(f"o {name}\n")
        rows = np.column_stack([mesh.points[points.start : points.stop], shades[points.start : points.stop]])
        np.savetxt(text, rows, fmt="v %.9g %.9g %.9g %.4g %.4g %.4g")
        if cells.shape[1] == 1:
            np.savetxt(text, np.asarray(points)[:, None] + 1, fmt="p %d")
        else:
            letter = "l" if cells.shape[1] == 2 else "f"
            np.savetxt(text, cells + 1, fmt=f"{letter} " + " ".join(["%d"] * cells.shape[1]))
    return text.getvalue().encode("utf-8")
