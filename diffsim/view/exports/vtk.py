"""VTK's XML files, which ParaView reads: `.vtu` and `.vti` for each part and frame, a `.pvd` with times."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from diffsim.files import replacing
from diffsim.view.exports.frames import Frames
from diffsim.view.exports.making import shown_in_space, unplaced
from diffsim.view.exports.pieces import Attribute, Lattice, Piece
from diffsim.view.exports.series import folder_of, numbered, series

__all__ = ["write"]

_CELLS = {"points": 1, "lines": 3, "triangles": 5}  # VTK_VERTEX, VTK_LINE, VTK_TRIANGLE
_KINDS = {"f": "Float", "i": "Int", "u": "UInt", "b": "UInt"}
_AXES = "xyz"


def write(frames: Frames, path: Path) -> None:
    """Write all frames: `x.pvd`, and the folder `x_pvd` that it refers to."""
    pieces, folder = shown_in_space(frames), folder_of(path)
    others = unplaced(frames, pieces)
    rows = []
    with series(folder, (".vtu", ".vti")) as temporary:
        for k in range(len(frames)):
            for number, piece in enumerate(pieces):
                data = _field_data(frames, [] if number else others, k)  # once is enough
                suffix, text = _grid(piece, k, data) if isinstance(piece, Lattice) else _mesh(piece, k, data)
                name = numbered(piece.name, k, len(frames), suffix)
                (temporary / name).write_text(text, encoding="utf-8")
                rows.append(
                    f'<DataSet timestep="{frames.times[k]:.17g}" part="{number}" '
                    f"name={quoteattr(piece.name)} file={quoteattr(f'{folder.name}/{name}')}/>"
                )
    with replacing(path) as beside:
        beside.write_text(
            _file("Collection", "<Collection>\n" + "\n".join(rows) + "\n</Collection>"), "utf-8"
        )


def _file(kind: str, body: str) -> str:
    packed = "" if kind == "Collection" else ' header_type="UInt64" compressor="vtkZLibDataCompressor"'
    return (
        f'<?xml version="1.0"?>\n<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian"{packed}>\n'
        f"{body}\n</VTKFile>\n"
    )


def _mesh(piece: Piece, k: int, data: str) -> tuple[str, str]:
    points = piece.points(k)
    cells = np.arange(len(points))[:, None] if piece.cells is None else piece.cells(k)
    ends = cells.shape[1] * np.arange(1, len(cells) + 1)
    kinds = np.full(len(cells), _CELLS[piece.kind], dtype=np.uint8)
    at_points = [_attribute(a, k) for a in piece.attributes if not a.of_cells]
    if piece.radius is not None:
        at_points.append(_array("radius", np.array(piece.radius(k))))
    if piece.vectors is not None:
        at_points.append(_array("vectors", piece.vectors(k)))
    at_points.append(_array("color", piece.colors(k)))
    at_cells = [_attribute(a, k) for a in piece.attributes if a.of_cells]
    body = [
        "<UnstructuredGrid>",
        data,
        f'<Piece NumberOfPoints="{len(points)}" NumberOfCells="{len(cells)}">',
        _block("PointData", at_points),
        _block("CellData", at_cells),
        _block("Points", [_array("Points", points)]),
        _block(
            "Cells",
            [
                _array("connectivity", cells.reshape(-1).astype(np.int64)),
                _array("offsets", ends.astype(np.int64)),
                _array("types", kinds),
            ],
        ),
        "</Piece>",
        "</UnstructuredGrid>",
    ]
    return ".vtu", _file("UnstructuredGrid", "\n".join(body))


def _grid(grid: Lattice, k: int, data: str) -> tuple[str, str]:
    extent = " ".join(f"0 {n - 1}" for n in grid.shape)
    told = " ".join(
        f'{name}="{" ".join(f"{v:.17g}" for v in values)}"'
        for name, values in (("Origin", grid.origin), ("Spacing", grid.spacing))
    )

    def swapped(values: NDArray[Any]) -> NDArray[Any]:  # VTK's first index is the fastest
        shaped = values.reshape(*grid.shape, -1).transpose(2, 1, 0, 3).reshape(values.shape[0], -1)
        return shaped if values.ndim > 1 else shaped[:, 0]

    arrays = [_array(a.name, swapped(_spatial(a.read(k))), a.unit) for a in grid.attributes]
    body = [
        f'<ImageData WholeExtent="{extent}" {told}>',
        data,
        f'<Piece Extent="{extent}">',
        _block("PointData", arrays),
        "</Piece>",
        "</ImageData>",
    ]
    return ".vti", _file("ImageData", "\n".join(body))


def _field_data(frames: Frames, names: Iterable[str], k: int) -> str:
    """Write the time and the arrays that belong to no part."""
    arrays = [_array("TimeValue", frames.times[k : k + 1], frames.time_unit, whole=True)]
    for name in names:
        values = np.asarray(frames.array(name, k))
        count = len(frames.labels[name].components)
        lead = values.shape[: values.ndim - count]
        rows = values.reshape(int(np.prod(lead, dtype=int)), -1)
        arrays.append(_array(name, rows if count else rows.reshape(-1), frames.unit(name), whole=True))
    return _block("FieldData", arrays)


def _block(name: str, arrays: list[str]) -> str:
    return "\n".join([f"<{name}>", *arrays, f"</{name}>"])


def _attribute(attribute: Attribute, k: int) -> str:
    return _array(attribute.name, _spatial(attribute.read(k)), attribute.unit)


def _spatial(values: NDArray[Any]) -> NDArray[Any]:
    """Give vectors of the plane a third component: ParaView knows vectors of space."""
    return np.pad(values, ((0, 0), (0, 1))) if values.ndim == 2 and values.shape[1] == 2 else values


def _array(name: str, values: NDArray[Any], unit: str = "", whole: bool = False) -> str:
    """Write an array of rows, packed, with its unit where VTK looks for it."""
    array = np.ascontiguousarray(values)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.itemsize < 4 and array.dtype.kind == "f":
        array = array.astype(np.float32)
    kind = f"{_KINDS[array.dtype.kind]}{8 * array.dtype.itemsize}"
    told = [f'type="{kind}"', f"Name={quoteattr(name)}", 'format="binary"']
    if array.ndim > 1:
        told.append(f'NumberOfComponents="{array.shape[1]}"')
        if array.shape[1] == 3 and array.dtype.kind == "f":
            told += [f'ComponentName{i}="{axis}"' for i, axis in enumerate(_AXES)]
    if whole:
        told.append(f'NumberOfTuples="{len(array)}"')
    units = ""
    if unit:
        units = (
            f'<InformationKey name="UNITS_LABEL" location="vtkDataArray">{_escaped(unit)}</InformationKey>'
        )
    return f"<DataArray {' '.join(told)}>{_packed(array)}{units}</DataArray>"


def _escaped(text: str) -> str:
    return quoteattr(text)[1:-1]


def _packed(array: NDArray[Any]) -> str:
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    packed = zlib.compress(raw, 1)
    if not raw:
        return base64.b64encode(struct.pack("<3Q", 0, 0, 0)).decode()
    header = struct.pack("<4Q", 1, len(raw), 0, len(packed))
    return (base64.b64encode(header) + base64.b64encode(packed)).decode()
