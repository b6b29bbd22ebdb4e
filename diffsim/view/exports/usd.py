"""USD: points, meshes and curves with time samples, which Blender, Houdini and Omniverse read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.extras import require
from diffsim.files import replacing
from diffsim.view.exports.frames import Frames
from diffsim.view.exports.making import pieces_of, unplaced
from diffsim.view.exports.merged import cells_of
from diffsim.view.exports.pieces import Lattice, Piece, words_for

__all__ = ["write"]

_METERS = {"": 1.0, "m": 1.0, "km": 1e3, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9}
_FILM = 24.0  # time codes per second where frames are not evenly spaced


def write(frames: Frames, path: Path) -> None:
    """Write a stage with a prim for each part; all signals are attributes with time samples.

    Raises:
        MissingExtraError: usd-core is not installed.
    """
    require("pxr", "usd", f"files that end in {path.suffix}")
    from pxr import Usd, UsdGeom

    pieces = pieces_of(frames)
    codes, rate = _codes(frames)
    with replacing(path) as temporary:
        temporary.unlink()  # USD makes it anew
        stage = Usd.Stage.CreateNew(str(temporary))
        root = UsdGeom.Xform.Define(stage, "/World")
        stage.SetDefaultPrim(root.GetPrim())
        camera = frames.scene.camera
        up = camera.up if camera is not None else (0.0, 1.0, 0.0)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if abs(up[2]) > abs(up[1]) else UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, _METERS.get(_unit(frames, pieces), 1.0))
        stage.SetTimeCodesPerSecond(rate)
        stage.SetFramesPerSecond(rate)
        stage.SetStartTimeCode(codes[0])
        stage.SetEndTimeCode(codes[-1])
        prims = words_for([piece.name for piece in pieces], _word)
        for piece in pieces:
            _write_piece(stage, piece, codes, prims[piece.name])
        _write_signals(root.GetPrim(), frames, unplaced(frames, pieces), codes)
        stage.GetRootLayer().documentation = f"{frames.title or 'trajectory'}, recorded by diffsim"
        stage.GetRootLayer().Save()
        del stage


def _codes(frames: Frames) -> tuple[list[float], float]:
    """Return the time code of each frame, and how many there are in a second: frames are whole numbers."""
    times = frames.times
    if frames.time_unit != "s" or len(times) < 2:
        return times.tolist(), _FILM
    spacing = float(times[-1] - times[0]) / (len(times) - 1)
    if np.allclose(np.diff(times), spacing, rtol=1e-6, atol=0.0):
        return (round(float(times[0]) / spacing, 6) + np.arange(len(times))).tolist(), 1.0 / spacing
    return (times * _FILM).tolist(), _FILM


def _unit(frames: Frames, pieces: list[Piece | Lattice]) -> str:
    scene = frames.scene
    if scene.unit:
        return str(scene.unit)
    refs = [getattr(part, a, None) for part in scene.parts for a in ("positions", "centers")]
    return next((frames.unit(ref) for ref in refs if frames.unit(ref)), "")


def _word(name: str) -> str:
    """Return a name that USD takes."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if word[:1].isalpha() or word[:1] == "_" else f"_{word}"


def _write_piece(stage: Any, piece: Piece | Lattice, codes: list[float], name: str) -> None:
    from pxr import Sdf, UsdGeom

    prim = _Prim(stage, f"/World/{name}", piece)
    for k, code in enumerate(codes):
        prim.add(k, code)
    primvars = UsdGeom.PrimvarsAPI(prim.shape)
    words = words_for([attribute.name for attribute in piece.attributes], _word)
    for attribute in piece.attributes:
        place = "uniform" if attribute.of_cells else "vertex"
        width = 1 if attribute.read(0).ndim == 1 else attribute.read(0).shape[1]
        kind = Sdf.ValueTypeNames.Float3Array if width in (2, 3) else Sdf.ValueTypeNames.FloatArray
        primvar = primvars.CreatePrimvar(words[attribute.name], kind, place)
        if width > 3:
            primvar.SetElementSize(width)
        if attribute.unit:
            primvar.GetAttr().SetCustomDataByKey("unit", attribute.unit)
        for k, code in enumerate(codes):
            primvar.Set(_floats(attribute.read(k), width), code)


def _floats(values: NDArray[Any], width: int) -> Any:
    from pxr import Vt

    rows = np.asarray(values, dtype=np.float32)
    if width == 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    if width in (2, 3):
        return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(rows))
    return Vt.FloatArray.FromNumpy(np.ascontiguousarray(rows.reshape(-1)))


class _Prim:
    """A prim of USD that is filled frame by frame.

    Args:
        stage: Where it is made.
        path: Its place.
        piece: What it shows.
    """

    def __init__(self, stage: Any, path: str, piece: Piece | Lattice) -> None:
        from pxr import UsdGeom

        self._piece = piece
        cells = cells_of(piece, 0)
        self._arrows = isinstance(piece, Piece) and piece.vectors is not None
        if self._arrows or cells.shape[1] == 2:
            self.shape = UsdGeom.BasisCurves.Define(stage, path)
            self.shape.CreateTypeAttr("linear")
            self._color = self.shape.CreateDisplayColorPrimvar("vertex")
        elif cells.shape[1] == 3:
            self.shape = UsdGeom.Mesh.Define(stage, path)
            self.shape.CreateSubdivisionSchemeAttr("none")
            self.shape.CreateDoubleSidedAttr(True)
            self._color = self.shape.CreateDisplayColorPrimvar("vertex")
        else:
            self.shape = UsdGeom.Points.Define(stage, path)
            self._color = self.shape.CreateDisplayColorPrimvar("vertex")
        self._last: NDArray[np.int64] | None = None

    def add(self, k: int, code: float) -> None:
        """Add a time sample."""
        from pxr import Vt

        piece = self._piece
        places = piece.points() if isinstance(piece, Lattice) else piece.points(k)
        cells, colors = cells_of(piece, k), piece.colors(k)
        if isinstance(piece, Piece) and piece.vectors is not None:
            ends = places + piece.scale * piece.vectors(k)
            places = np.stack([places, ends], axis=1).reshape(-1, 3)
            cells, colors = np.arange(len(places)).reshape(-1, 2), np.repeat(colors, 2, axis=0)
        elif cells.shape[1] == 2:  # curves have points of their own
            places, colors = places[cells.reshape(-1)], colors[cells.reshape(-1)]
        self.shape.GetPointsAttr().Set(Vt.Vec3fArray.FromNumpy(places.astype(np.float32)), code)
        shades = np.ascontiguousarray(colors, dtype=np.float32) / np.float32(255.0)
        self._color.Set(Vt.Vec3fArray.FromNumpy(shades), code)
        if len(places):
            extent = np.array([places.min(0), places.max(0)], np.float32)
            self.shape.GetExtentAttr().Set(Vt.Vec3fArray.FromNumpy(extent), code)
        self._connect(cells, len(places), k, code)

    def _connect(self, cells: NDArray[np.int64], points: int, k: int, code: float) -> None:
        from pxr import UsdGeom, Vt

        if isinstance(self.shape, UsdGeom.Points):
            radius = self._piece.radius if isinstance(self._piece, Piece) else None
            if radius is not None:
                self.shape.GetWidthsAttr().Set(
                    Vt.FloatArray.FromNumpy(np.ascontiguousarray(2.0 * radius(k), dtype=np.float32)), code
                )
            return
        if self._last is not None and np.array_equal(self._last, cells):
            return
        self._last = cells
        counts = Vt.IntArray.FromNumpy(np.full(len(cells), cells.shape[1], np.int32))
        if isinstance(self.shape, UsdGeom.Mesh):
            self.shape.GetFaceVertexCountsAttr().Set(counts, code)
            self.shape.GetFaceVertexIndicesAttr().Set(
                Vt.IntArray.FromNumpy(np.ascontiguousarray(cells.reshape(-1), dtype=np.int32)), code
            )
        else:
            self.shape.GetCurveVertexCountsAttr().Set(counts, code)


def _write_signals(prim: Any, frames: Frames, names: list[str], codes: list[float]) -> None:
    """Write signals that belong to no part."""
    from pxr import Sdf, Vt

    words = words_for(names, _word)
    for name in names:
        attribute = prim.CreateAttribute(f"signals:{words[name]}", Sdf.ValueTypeNames.DoubleArray, True)
        if frames.unit(name):
            attribute.SetCustomDataByKey("unit", frames.unit(name))
        for k, code in enumerate(codes):
            if frames.has(name, k):
                values = np.ascontiguousarray(frames.array(name, k), dtype=np.float64).reshape(-1)
                attribute.Set(Vt.DoubleArray.FromNumpy(values), code)
