"""What is exported, read again by others' readers: the numbers, not only that it opens."""

import base64
import csv
import importlib.util
import os
import sys
import xml.etree.ElementTree as ET
import zlib

import meshio
import numpy as np
import pytest
import trimesh

import diffsim as ds
from diffsim.errors import ConfigError, MissingExtraError
from diffsim.view.timed import Label
from diffsim.view.trajectory import Trajectory, labelled

FRAMES, DT, N = 4, 0.25, 5
PAIRS, FACES = np.array([[0, 1], [1, 4], [2, 3]]), np.array([[0, 1, 2], [2, 3, 4]])


def made():
    """Points, lines, triangles, boxes, a grid, arrows and signals; one array ends early."""
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(FRAMES, N, 3)),
        "v": rng.normal(size=(FRAMES, N, 3)),
        "pull": rng.normal(size=(FRAMES - 1, len(PAIRS))),
        "angle": rng.normal(size=(FRAMES, 2)),
        "center": rng.normal(size=(FRAMES, 2, 2)),
        "heat": rng.normal(size=(FRAMES, 3, 6)),
        "energy": rng.normal(size=FRAMES).astype(np.float32),
    }
    scene = ds.Scene(
        (
            ds.scene.Points("x", radius="size", values="v", label="bällchen <1>", limits=(0.0, 3.0)),
            ds.scene.Lines("x", "pairs", values="pull", center=0.0, limits=(-2.0, 2.0)),
            ds.scene.Triangles("x", "faces", color="#ff0000"),
            ds.scene.Boxes("center", "sizes", angles="angle"),
            ds.scene.Grid("heat", origin=(1.0, 2.0), spacing=0.5, limits=(-2.0, 2.0)),
            ds.scene.Vectors("v", "x", scale=2.0),
            ds.scene.Text("words"),
            ds.scene.Curves("energy"),
        ),
        camera=ds.scene.Camera(up=(0.0, 0.0, 1.0)),
    )
    stills = {"pairs": PAIRS, "faces": FACES, "size": np.full(N, 0.1), "sizes": np.array([0.4, 0.2])}
    units = {"x": "cm", "v": "cm/s", "energy": "J"}
    return Trajectory(
        arrays, DT * np.arange(FRAMES), units=units, stills=stills, scene=scene, title="all of it"
    )


@pytest.fixture(scope="module")
def whole():
    return made()


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def box_corners(t, k):
    """The corners of the boxes in the plane, by hand."""
    found = []
    for (cx, cy), a in zip(t["center"][k], t["angle"][k], strict=True):
        for u, w in [(-0.2, -0.1), (0.2, -0.1), (0.2, 0.1), (-0.2, 0.1)]:
            found.append([cx + np.cos(a) * u - np.sin(a) * w, cy + np.sin(a) * u + np.cos(a) * w, 0.0])
    return np.array(found)


# ---- VTK ----


def unpacked(node):
    """An array of VTK's XML, by its description: base64 of a header of UInt64, then of zlib."""
    text = node.text.strip()
    sizes = np.frombuffer(base64.b64decode(text[:44]), "<u8")
    assert sizes[0] == 1
    raw = zlib.decompress(base64.b64decode(text[44:]))
    assert len(raw) == sizes[1]
    kinds = {"Float64": "<f8", "Float32": "<f4", "Int64": "<i8", "UInt8": "u1"}
    return np.frombuffer(raw, kinds[node.get("type")])


def test_paraview(whole, tmp_path):
    path = tmp_path / "ein Lauf ü.pvd"
    for _ in range(2):
        assert whole.export(path) == path
    rows = ET.parse(path).getroot().findall("Collection/DataSet")
    names = ["bällchen_1", "lines_x", "triangles_x", "boxes_center", "grid_heat", "vectors_v"]
    assert [row.get("name") for row in rows] == names * FRAMES
    assert [float(row.get("timestep")) for row in rows[:: len(names)]] == whole.times.tolist()
    k = FRAMES - 1
    files = {row.get("name"): tmp_path / row.get("file") for row in rows[-len(names) :]}
    read = {name: meshio.read(file) for name, file in files.items() if file.suffix == ".vtu"}
    points = read["bällchen_1"]
    assert np.array_equal(points.points, whole["x"][k])
    assert np.array_equal(points.point_data["v"], whole["v"][k])
    assert points.point_data["radius"].tolist() == [0.1] * N
    lines = read["lines_x"]
    assert np.array_equal(lines.cells_dict["line"], PAIRS)
    assert np.array_equal(lines.cell_data["pull"][0], whole["pull"][-1])  # it ended, and stays
    assert np.array_equal(read["triangles_x"].cells_dict["triangle"], FACES)
    assert (read["triangles_x"].point_data["color"] == [255, 0, 0]).all()
    assert np.allclose(read["boxes_center"].points, box_corners(whole, k), atol=1e-15)
    assert read["boxes_center"].cells_dict["triangle"].tolist() == [
        [0, 1, 2],
        [0, 2, 3],
        [4, 5, 6],
        [4, 6, 7],
    ]
    assert np.array_equal(read["vectors_v"].point_data["vectors"], whole["v"][k])
    assert points.field_data["TimeValue"][0] == whole.times[k]
    assert points.field_data["energy"][0] == whole["energy"][k]
    image = ET.parse(files["grid_heat"]).getroot().find("ImageData")
    assert image.get("WholeExtent") == "0 2 0 5 0 0"
    assert (image.get("Origin"), image.get("Spacing")) == ("1 2 0", "0.5 0.5 1")
    heat = next(a for a in image.iter("DataArray") if a.get("Name") == "heat")
    assert np.array_equal(unpacked(heat), whole["heat"][k].T.reshape(-1))  # x is the fastest
    v = next(a for a in ET.parse(files["bällchen_1"]).iter("DataArray") if a.get("Name") == "v")
    assert v.find("InformationKey").text == "cm/s"
    assert len(list((tmp_path / "ein Lauf ü_pvd").iterdir())) == len(rows)


def test_numbers_along_a_line_are_a_line_with_data(tmp_path):
    u = np.random.default_rng(0).normal(size=(2, 20))
    ds.Trajectory({"u": u}, units={"u": "K"}).export(tmp_path / "rod.pvd")
    image = ET.parse(tmp_path / "rod_pvd" / "grid_u_0001.vti").getroot().find("ImageData")
    assert image.get("WholeExtent") == "0 19 0 0 0 0"
    assert np.array_equal(unpacked(next(a for a in image.iter("DataArray") if a.get("Name") == "u")), u[1])


@pytest.mark.skipif(importlib.util.find_spec("vtkmodules") is None, reason="vtk is not installed")
def test_paraview_by_its_own_reader(whole, tmp_path):
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDataArray
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader, vtkXMLUnstructuredGridReader

    whole.export(tmp_path / "t.pvd")
    found, complaints = {}, []
    for row in ET.parse(tmp_path / "t.pvd").iter("DataSet"):
        file = tmp_path / row.get("file")
        reader = vtkXMLImageDataReader() if file.suffix == ".vti" else vtkXMLUnstructuredGridReader()
        reader.AddObserver("ErrorEvent", lambda *event: complaints.append(event))
        reader.AddObserver("WarningEvent", lambda *event: complaints.append(event))
        reader.SetFileName(str(file))
        reader.Update()
        assert complaints == []
        found[row.get("name")] = reader.GetOutput()
    points = found["bällchen_1"]
    assert np.array_equal(vtk_to_numpy(points.GetPoints().GetData()), whole["x"][-1])
    v = points.GetPointData().GetArray("v")
    assert np.array_equal(vtk_to_numpy(v), whole["v"][-1])
    assert (v.GetInformation().Get(vtkDataArray.UNITS_LABEL()), v.GetComponentName(1)) == ("cm/s", "y")
    assert vtk_to_numpy(points.GetFieldData().GetArray("TimeValue")) == whole.times[-1]
    grid = found["grid_heat"]
    heat = grid.GetPointData().GetArray("heat")
    for i, j in [(0, 0), (2, 0), (1, 4)]:
        number = grid.FindPoint(1.0 + 0.5 * i, 2.0 + 0.5 * j, 0.0)
        assert heat.GetValue(number) == whole["heat"][-1][i, j]
    cells = found["lines_x"]
    ids = cells.GetCell(1).GetPointIds()
    assert (cells.GetCellType(1), ids.GetId(0), ids.GetId(1)) == (3, 1, 4)


# ---- PLY, OBJ ----


def test_ply_and_obj(whole, tmp_path):
    one = whole.between(0.5, 0.5)
    k = 2
    for ending in ("ply", "obj"):
        folder = whole.export(tmp_path / f"t.{ending}")
        assert folder == tmp_path / f"t_{ending}"
        names = [f"t_{j:04d}.{ending}" for j in range(FRAMES)]
        assert sorted(os.listdir(folder)) == sorted([*names, "frames.csv"])
        rows = table(folder / "frames.csv")
        assert rows == [
            ["file", "time [s]"],
            *([n, f"{t:g}"] for n, t in zip(names, whole.times, strict=True)),
        ]
        single = tmp_path / f"one é.{ending}"
        assert one.export(single) == single
        assert single.read_bytes() == (folder / names[k]).read_bytes()
    x, v = whole["x"][k], whole["v"][k]
    mesh = trimesh.load(tmp_path / "t_ply" / "t_0002.ply", process=False)
    starts = np.cumsum([0, N, N, N, 8, 18])  # bällchen, lines, triangles, boxes, grid, vectors
    assert len(mesh.vertices) == starts[-1] + N
    assert np.allclose(mesh.vertices[:N], x, atol=1e-6)
    assert np.allclose(mesh.vertices[starts[3] : starts[4]], box_corners(whole, k), atol=1e-6)
    assert np.allclose(mesh.vertices[starts[4] :][:18:6], [[1, 2, 0], [1.5, 2, 0], [2, 2, 0]])
    assert np.array_equal(mesh.faces[:2], FACES + starts[2])
    assert len(mesh.faces) == 2 + 4 + 2 * 2 * 5
    assert (mesh.visual.vertex_colors[starts[2] : starts[3], :3] == [255, 0, 0]).all()
    data = mesh.metadata["_ply_raw"]
    assert np.allclose(data["vertex"]["data"]["v_y"][:N], v[:, 1], atol=1e-6)
    assert np.isnan(data["vertex"]["data"]["v_y"][starts[3] : starts[4]]).all()
    assert np.allclose(
        data["vertex"]["data"]["heat"][starts[4] : starts[5]], whole["heat"][k].reshape(-1), atol=1e-6
    )
    ends = data["edge"]["data"]
    assert np.array_equal(np.stack([ends["vertex1"], ends["vertex2"]], axis=1), PAIRS + starts[1])
    lines = [line.split() for line in (tmp_path / "t_obj" / "t_0002.obj").read_text("utf-8").splitlines()]
    assert [line[1] for line in lines if line[0] == "o"][:2] == ["bällchen_1", "lines_x"]
    assert [[int(n) - 1 - starts[1] for n in line[1:]] for line in lines if line[0] == "l"] == PAIRS.tolist()
    obj = meshio.read(tmp_path / "t_obj" / "t_0002.obj")
    assert np.allclose(obj.points[:, :3], mesh.vertices, atol=1e-6)
    assert np.array_equal(obj.cells_dict["triangle"], mesh.faces)


# ---- USD, Rerun ----


@pytest.mark.parametrize("ending", [".usda", ".usdc"])
def test_usd(whole, tmp_path, ending):
    pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    path = tmp_path / f"t{ending}"
    for _ in range(2):
        whole.export(path)
    stage = Usd.Stage.Open(str(path))
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Z", 0.01)
    assert (stage.GetTimeCodesPerSecond(), stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (
        4.0,
        0.0,
        3.0,
    )
    k, names = 3, {prim.GetName(): prim for prim in stage.GetDefaultPrim().GetChildren()}
    points = UsdGeom.Points(names["b_llchen_1"])
    assert np.allclose(points.GetPointsAttr().Get(k), whole["x"][k], atol=1e-6)
    assert np.allclose(points.GetWidthsAttr().Get(k), 0.2)
    v = UsdGeom.PrimvarsAPI(points).GetPrimvar("v")
    assert np.allclose(v.Get(k), whole["v"][k], atol=1e-6)
    assert (v.GetInterpolation(), v.GetAttr().GetCustomDataByKey("unit")) == ("vertex", "cm/s")
    mesh = UsdGeom.Mesh(names["triangles_x"])
    assert list(mesh.GetFaceVertexIndicesAttr().Get(k)) == FACES.reshape(-1).tolist()
    assert np.allclose(mesh.GetDisplayColorAttr().Get(k)[0], (1.0, 0.0, 0.0))
    lines = UsdGeom.BasisCurves(names["lines_x"])
    assert list(lines.GetCurveVertexCountsAttr().Get(k)) == [2, 2, 2]
    assert np.allclose(lines.GetPointsAttr().Get(k), whole["x"][k][PAIRS.reshape(-1)], atol=1e-6)
    pull = UsdGeom.PrimvarsAPI(lines).GetPrimvar("pull")
    assert (pull.GetInterpolation(), len(pull.Get(k))) == ("uniform", 3)
    arrows = np.array(UsdGeom.BasisCurves(names["vectors_v"]).GetPointsAttr().Get(k)).reshape(N, 2, 3)
    assert np.allclose(arrows[:, 1] - arrows[:, 0], 2.0 * whole["v"][k], atol=1e-5)
    assert len(UsdGeom.Mesh(names["grid_heat"]).GetPointsAttr().Get(k)) == 18
    energy = stage.GetDefaultPrim().GetAttribute("signals:energy")
    assert [energy.Get(code)[0] for code in energy.GetTimeSamples()] == whole["energy"].tolist()


@pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed (extra rerun)"
)
def test_rerun(whole, tmp_path):
    chunk = pytest.importorskip("rerun.chunk", reason="this rerun-sdk has no reader")
    whole.export(tmp_path / "t.rrd")
    found = {}
    for one in chunk.RrdReader(tmp_path / "t.rrd").stream().collect().stream():
        batch = one.to_record_batch()
        for column in set(batch.schema.names) - {"rerun.controls.RowId", "RecordingInfo:start_time"}:
            values = batch.column(column)
            kept = values.cast("int64").to_pylist() if column == "time" else values.to_pylist()
            found.setdefault((one.entity_path, column), []).extend(kept)
    times = (1e9 * whole.times).tolist()
    for place, name, values in [
        ("space/bällchen_1", "Points3D:positions", whole["x"]),
        ("space/lines_x", "LineStrips3D:strips", whole["x"][:, PAIRS]),
        ("space/triangles_x", "Mesh3D:triangle_indices", np.array([FACES] * FRAMES)),
        ("space/boxes_center", "Mesh3D:vertex_positions", [box_corners(whole, k) for k in range(FRAMES)]),
        ("space/vectors_v", "Arrows3D:vectors", 2.0 * whole["v"]),
        ("space/bällchen_1", "v", whole["v"].reshape(FRAMES, -1)),
        ("signals/energy", "Scalars:scalars", whole["energy"][:, None]),
    ]:
        known = found[f"/{place}", name]
        order = np.argsort(found[f"/{place}", "time"][: len(known)])
        assert np.allclose(np.array([known[k] for k in order]), values, atol=1e-6), name
        assert sorted(set(found[f"/{place}", "time"])) == times
    assert found["/signals/energy", "SeriesLines:names"] == [["energy [J]"]]


# ---- CSV ----


def test_csv(whole, tmp_path):
    path = tmp_path / "t.csv"
    assert whole.export(path) == path
    head, *rows = table(path)
    assert head[:5] == ["time [s]", "x[0].x [cm]", "x[0].y [cm]", "x[0].z [cm]", "x[1].x [cm]"]
    assert (head[-1], "heat[2][5]" in head, len(rows)) == ("energy [J]", True, FRAMES)
    columns = {name: [row[j] for row in rows] for j, name in enumerate(head)}
    assert [float(v) for v in columns["x[3].y [cm]"]] == whole["x"][:, 3, 1].tolist()
    assert [np.float32(v) for v in columns["energy [J]"]] == whole["energy"].tolist()
    assert columns["pull[1]"][-1] == ""
    assert [float(v) for v in columns["pull[1]"][:-1]] == whole["pull"][:, 1].tolist()
    values = np.arange(FRAMES * 2).reshape(FRAMES, 2)
    worlds = Trajectory({"n": labelled(values, Label("n", np.arange(4.0), "step", "", (), 2))})
    worlds["n"].export(path)
    text = path.read_text("utf-8")
    assert text.startswith("time [step],world,n\n0.0,0,0\n0.0,1,1\n1.0,0,2\n")


# ---- what is asked for wrongly ----


def test_refusals(whole, tmp_path, monkeypatch):
    def wrong(message, path, of=whole):
        with pytest.raises(ConfigError, match=message):
            of.export(tmp_path / path)

    wrong(
        r"path must end in one of \.csv \(spreadsheets\), .*\.rrd \(Rerun\), got 't\.xyz'; choose one",
        "t.xyz",
    )
    wrong(r"got 't\.h5'; use trajectory\.save for that", "t.h5")
    wrong(r"got 't\.mp4'; use trajectory\.animate for that", "t.mp4")
    wrong("in a folder that can be written to, got .*: there is no such folder", "missing/t.pvd")
    values = np.zeros((FRAMES, 3, 5, 2))
    worlds = Trajectory({"x": labelled(values, Label("x", np.arange(4.0), "step", "", (2,), 3))})
    for ending in (".pvd", ".ply", ".usda"):
        wrong(
            r"of one world to be exported, got 3 worlds; export trajectory\.world\(0\)", f"t{ending}", worlds
        )
    wrong(
        "a table must have 1 to 4096 columns, got 5000 of x", "t.csv", Trajectory({"x": np.zeros((1, 5000))})
    )
    wrong("must have frames to be exported, got none", "t.pvd", Trajectory({"x": np.zeros((0, 2))}))
    numbers = Trajectory({"u": np.zeros(5)})
    for ending in (".pvd", ".ply", ".obj"):
        wrong(r"must have something in space, as .*, got u; export x\.csv", f"t{ending}", numbers)
    broken = Trajectory({"x": np.zeros((2, 3, 2))}, scene=ds.Scene((ds.scene.Points("y"),)))
    wrong("the scene must name arrays of the trajectory, got 'y'; it has x", "t.ply", broken)
    (tmp_path / "t_pvd").mkdir()
    (tmp_path / "t_pvd" / "thesis.txt").write_text("all of it")
    wrong(r"must be free or hold an earlier series, got one with thesis\.txt", "t.pvd")
    monkeypatch.setitem(sys.modules, "pxr", None)
    monkeypatch.setitem(sys.modules, "rerun", None)
    for ending, extra in ((".usdc", "usd"), (".rrd", "rerun")):
        with pytest.raises(MissingExtraError, match=rf"pip install 'diffsim\[{extra}\]'"):
            whole.export(tmp_path / f"t{ending}")
    assert [p.name for p in tmp_path.iterdir()] == ["t_pvd"]


def test_a_failure_leaves_the_older_export(whole, tmp_path, monkeypatch):
    from diffsim.view.exports.frames import Frames

    for ending in (".pvd", ".ply", ".csv", ".usda"):
        if ending == ".usda":
            pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
        whole.export(tmp_path / f"t{ending}")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    read = Frames.array
    monkeypatch.setattr(Frames, "array", lambda self, ref, k: 1 / 0 if k == 2 else read(self, ref, k))
    for ending in (".pvd", ".ply", ".usda"):
        with pytest.raises(ZeroDivisionError):
            whole.export(tmp_path / f"t{ending}")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_files_are_exported_as_memory_is(whole, tmp_path):
    """One world of a large file, and a trajectory without a scene; NaN is a number like others."""
    values = np.random.default_rng(0).normal(size=(3, 2, 6, 2))
    values[1, 1, 2] = np.nan
    arrays = {"p": labelled(values, Label("p", np.arange(3.0), "step", "m", (2,), 2))}
    Trajectory(arrays).save(tmp_path / "t.h5")
    folder = Trajectory.load(tmp_path / "t.h5").world(1).export(tmp_path / "t.ply")
    for k in range(3):
        vertices = meshio.read(folder / f"t_{k:04d}.ply").points
        assert np.allclose(vertices[:, :2], values[k, 1], atol=1e-6, equal_nan=True)
        assert (vertices[:, 2] == 0.0).all()


def test_names_that_formats_do_not_take_stay_apart(tmp_path):
    rows = np.arange(2 * FRAMES * N, dtype=np.float64).reshape(2, FRAMES, N)
    scene = [ds.scene.Points("x", label="→"), ds.scene.Points("y", label="±"), ds.scene.Lines("x", label="α")]
    arrays = {"x": np.zeros((FRAMES, N, 3)), "y": np.ones((FRAMES, N, 3)), "θ": rows[0], "ω": rows[1]}
    motion = Trajectory({**arrays, "φ": np.arange(FRAMES), "ψ": np.arange(FRAMES)}, scene=scene)
    columns = meshio.read(Trajectory(arrays)[-1:].export(tmp_path / "a.ply")).point_data
    assert [columns[name][0] for name in ("_", "__2")] == [rows[0, -1, 0], rows[1, -1, 0]]
    motion.export(tmp_path / "a.pvd")
    first = {path.name for path in (tmp_path / "a_pvd").glob("*_0000.vtu")}
    assert first == {"points_x_0000.vtu", "points_y_0000.vtu", "α_0000.vtu"}
    pxr = pytest.importorskip("pxr.Usd")
    stage = pxr.Stage.Open(str(motion.export(tmp_path / "a.usda")))
    root = stage.GetPrimAtPath("/World")
    assert [prim.GetName() for prim in root.GetChildren()] == ["points_x", "points_y", "_"]
    assert root.GetChildren()[0].GetAttribute("primvars:__2").Get(0.0)[1] == 21.0
    assert {name for name in root.GetPropertyNames() if "signals" in name} == {"signals:_", "signals:__2"}
