"""Pages: what they hold is near the data, they need nothing beside them, and odd data are told of."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

import diffsim as ds
from diffsim.view import scene
from diffsim.view.page import Course, Health, Motion, Parameter, Report, comparison_page, report_page
from diffsim.view.page.bundle import scripts
from diffsim.view.page.compare import differences
from diffsim.view.page.motions import packed_stage
from diffsim.view.page.pack import exact, json_for_html, levels, quantised

TYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "f64": "<f8"}


def opened(told: dict[str, Any]) -> np.ndarray:
    """What a page makes of a packed array; written after js/unpack.js."""
    codes = np.frombuffer(base64.b64decode(told["data"]), TYPES[told["type"]]).reshape(told["shape"])
    if "step" not in told:
        return codes
    missing = 255 if told["type"] == "u8" else 65535
    return np.where(codes == missing, np.nan, told["low"] + codes * told["step"])


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def moving(frames: int = 5, n: int = 3, **more: Any) -> ds.Trajectory:
    t = np.arange(frames)[:, None, None]
    x = np.concatenate([0.1 * t + np.zeros((frames, n, 1)), np.arange(n)[None, :, None] + 0.0 * t], axis=2)
    return ds.Trajectory({"x": x}, 0.1 * np.arange(frames), units={"x": "m"}, **more)


# ---- arrays ----


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e300])
def test_packed_numbers_are_within_half_a_step(bits: int, scale: float) -> None:
    values = scale * np.random.default_rng(0).normal(size=(7, 40))
    values[2, 3:6] = np.nan, np.inf, -np.inf
    found = opened(quantised(values, bits))
    finite = np.isfinite(values)
    assert np.array_equal(np.isnan(found), ~finite)
    width = np.ptp(values[finite] / scale)
    error = np.abs(found[finite] / scale - values[finite] / scale).max()
    assert 0.2 * width / levels(bits) < error <= 0.5001 * width / levels(bits), (
        "not finer than it can be, either"
    )


def test_packed_ends_and_whole_numbers_are_exact() -> None:
    assert np.array_equal(opened(quantised([[2.5, 2.5]])), [[2.5, 2.5]])
    assert np.isnan(opened(quantised([np.nan]))).all()
    assert opened(quantised(np.zeros((0, 3)))).shape == (0, 3)
    for numbers in ([0, 255], [0, 256], [70000, 1], [True, False], [-1, 2], [1e-300, np.nan, 1e300]):
        assert np.array_equal(opened(exact(numbers)), np.asarray(numbers, dtype=float), equal_nan=True)


def test_names_cannot_end_the_data_or_run() -> None:
    name = '</script><script>alert(1)</script><!-- & "\u2028'
    page = report_page(Report(name, title=name, warnings=[name], tables={name: {name: name}}))
    assert page.count("</script>") == 2, "those of the page itself"
    assert data_of(page)["runs"][0]["name"] == name
    assert json.loads(json_for_html({"a": np.float32("nan"), "b": [np.int64(3)], "c": "\ud800"})) == {
        "a": None,
        "b": [3],
        "c": "?",
    }


# ---- pages ----


def test_a_page_needs_nothing_beside_it() -> None:
    """No address but the names of languages, no import that a page opened from a file could not follow."""
    motions = [Motion("before", "", moving()), Motion("best", "", moving())]
    report = Report("x", motions=motions, graphs=[("step", "<svg xmlns='http://www.w3.org/2000/svg'/>")])
    for page in (report_page(report), comparison_page([report, report])):
        shell = page.replace(json_for_html(data_of(page)), "")
        addresses = set(re.findall(r"[a-z]+://[^\s'\"]+", shell))
        assert addresses == {"http://www.w3.org/2000/svg"}
        assert not re.findall(r'(?:src|href)="(?!data:)', shell)
        assert not re.search(r"^\s*(import|export)\s|@import|url\(", shell, re.MULTILINE)
        assert len(page) < 200_000
    for entry in ("report", "compare"):
        text = scripts(entry)
        used = re.findall(r"^const \{([^}]*)\} = \$(\w+);$", text, re.MULTILINE)
        assert len(used) > 20
        for names, module in used:
            exported = re.search(
                rf"const \${module} = \(\(\) => {{.*?^return {{ ([^}}]*) }};", text, re.M | re.S
            )
            assert exported
            assert {n.strip() for n in names.split(",")} <= set(exported[1].split(", ")), module


def test_motions_share_one_scale_and_what_stands_still() -> None:
    edges = np.array([[0, 1], [1, 2]])
    drawn = scene.Scene(
        (
            scene.Lines(positions="x", pairs="edges", values="pull", center=0.0),
            scene.Points(positions="x", only=(2, 0), radius=0.1),
            scene.Text(text="at {x[0][0]:.1f}"),
            scene.Curves(values="pull", names=("a", "b")),
        ),
        ground=-1.0,
    )
    motions = []
    for k, name in enumerate(("before", "best")):
        arrays = {"x": np.asarray(moving()["x"]) * (1 + k), "pull": (k - 0.5) * np.ones((4, 2))}
        motion = ds.Trajectory(arrays, 0.1 * np.arange(5), stills={"edges": edges}, scene=drawn)
        motions.append(Motion(name, "", motion))
    stage = packed_stage(motions, 10**6)
    assert stage is not None
    assert (stage["dimensions"], stage["ground"], stage["notes"]) == (2, -1.0, [])
    (left, right), (bottom, top) = stage["limits"]
    assert left < 0.0 < 0.8 < right < 1.2
    assert bottom < -1.0 < 4.0 < top < 5.0
    lines, points, text, curves = stage["parts"]
    assert (lines["low"], lines["high"], lines["map"]) == (-0.5, 0.5, "two")
    assert np.array_equal(opened(stage["stills"][lines["channels"]["pairs"]])[0], edges)
    for k, motion in enumerate(stage["motions"]):
        whole = np.asarray(motions[k].trajectory["x"])
        step = 4.0 / levels(16)
        assert np.allclose(opened(motion["arrays"][lines["channels"]["positions"]]), whole, atol=step)
        chosen = opened(motion["arrays"][points["channels"]["positions"]])
        assert np.allclose(chosen, whole[:, [2, 0]], atol=step)
        assert motion["texts"][str(text["number"])] == [f"at {0.1 * (1 + k) * f:.1f}" for f in range(5)]
        pull = opened(motion["arrays"][curves["channels"]["values"]])
        assert pull.shape == (5, 2), "what has no last frame keeps its last but one"


def test_a_large_motion_is_thinned_and_says_so() -> None:
    many = np.random.default_rng(0).random((121, 20000, 2)).astype(np.float32)
    grid = many[:, :16384, 0].reshape(121, 128, 128)
    cloud = ds.Trajectory({"x": many}, np.arange(121.0))
    field = ds.Trajectory({"h": grid}, np.arange(121.0))
    for motion, least in ((cloud, 2000), (field, 64 * 64)):
        page = report_page(Report("x", motions=[Motion(name, "", motion) for name in ("a", "b", "c")]))
        assert 1_000_000 < len(page) <= 5_000_000
        stage = data_of(page)["stages"][0]
        assert any("are shown" in note or "is shown" in note for note in stage["notes"])
        array = max(stage["motions"][0]["arrays"].values(), key=lambda told: np.prod(told["shape"]))
        assert array["shape"][0] >= 24
        assert np.prod(array["shape"][1:]) >= least
        times = opened(stage["motions"][0]["times"])
        assert len(times) == array["shape"][0]
        assert times[-1] > 115.0


@pytest.mark.parametrize(
    ("trajectory", "dimensions", "note"),
    [
        (ds.Trajectory({"x": np.zeros((1, 3, 2))}), 2, ""),
        (ds.Trajectory({"x": np.full((3, 2, 2), np.nan)}), 0, "no place is a finite number"),
        (ds.Trajectory({"x": np.full((3, 5, 3), [1.0, np.inf, np.nan])}), 0, ""),
        (ds.Trajectory({"h": np.zeros((2, 5, 6, 7))}), 3, ""),
        (ds.Trajectory({"c": np.arange(6.0)}), 0, ""),
        (moving(scene=scene.Scene((scene.Points(positions="y"),))), 0, "there is no array y"),
        (moving(scene=scene.Scene((scene.Lines(positions="x", pairs="x"),))), 0, "must be rows of 2"),
        (moving(scene=scene.Scene((scene.Points(positions="x", values="x"),))), 2, ""),
        (moving(scene=scene.Scene((scene.Points(positions="x", only=(7,)),))), 0, "only must name"),
        (moving(scene=scene.Scene((scene.Text(text="{nothing} {x[99]}"),))), 0, ""),
    ],
)
def test_odd_motions_are_told_of(trajectory: ds.Trajectory, dimensions: int, note: str) -> None:
    stage = data_of(report_page(Report("x", motions=[Motion("before", "", trajectory)])))["stages"][0]
    assert stage["dimensions"] == dimensions
    assert note in " ".join(stage["notes"])


def test_nothing_to_show_is_a_page_too() -> None:
    empty = ds.Trajectory({"x": np.zeros((0, 3, 2))})
    data = data_of(report_page(Report("x", motions=[Motion("before", "", empty)])))
    assert data["stages"] == []
    assert data["runs"][0]["course"]["best"] is None


def test_long_curves_keep_their_extremes() -> None:
    costs = np.sin(np.arange(50_000) / 900.0)
    costs[[17, 31_234]] = 40.0, -50.0
    costs[600] = np.nan
    run = data_of(report_page(Report("x", course=Course(costs, np.abs(costs), costs))))["runs"][0]
    at, values = (opened(run["course"]["cost"][key]) for key in ("at", "values"))
    assert len(at) <= 2100
    assert {17, 600, 31_234} <= set(at.tolist())
    assert np.array_equal(values, costs[at], equal_nan=True)
    assert run["course"]["best"] == {"iteration": 31_234, "cost": -50.0}


def test_worlds_are_a_band_about_their_mean() -> None:
    costs = np.stack([np.arange(6.0), 2.0 * np.arange(6.0)], axis=1)
    page = report_page(Report("x", course=Course(costs, np.ones(6), np.ones(6))))
    course = data_of(page)["runs"][0]["course"]
    assert np.array_equal(opened(course["cost"]["values"]), 1.5 * np.arange(6.0))
    assert np.array_equal(opened(course["band"]["high"]["values"]), 2.0 * np.arange(6.0))


def test_parameters_are_shown_by_their_size() -> None:
    rng = np.random.default_rng(0)
    small, matrix = rng.normal(size=5), rng.normal(size=(300, 20))
    drive = rng.normal(size=(1000, 2))
    report = Report(
        "x",
        parameters=[
            Parameter("k", small, small + 1.0, "N/m", bounds=(None, float(small.max() + 1.0))),
            Parameter("w", matrix, 2.0 * matrix),
            Parameter("u", drive, drive, kind="Control"),
            Parameter("odd", np.array([np.nan]), np.array([np.nan])),
            Parameter("none", np.zeros(0), np.zeros(0)),
        ],
    )
    k, w, u, odd, none = data_of(report_page(report))["runs"][0]["parameters"]
    assert np.array_equal(opened(k["numbers"]["best"]), small + 1.0)
    assert (k["unit"], k["hit"]) == ("N/m", 1)
    assert k["change"] == pytest.approx(np.sqrt(5.0))
    assert sum(w["histogram"]["best"]) == matrix.size
    assert w["picture"]["best"]["shape"] == [150, 20]
    assert w["picture"]["most"] == np.abs(2.0 * matrix).max()
    assert u["lines"]["best"]["shape"] == [334, 2]
    assert odd["first"] == {} == none["best"]


def test_health_keeps_the_world_that_grows_most() -> None:
    norms = np.array([[1.0, 2.0, 3.0], [9.0, np.inf, 3.0]])
    run = data_of(report_page(Report("x", health=[Health("best", norms), Health("none", [])])))["runs"][0]
    assert np.array_equal(opened(run["health"][0]["norms"]["values"]), norms[1])


def test_a_comparison_tells_what_differs() -> None:
    tables = [{"Run": {"steps": 5, "seed": 1}, "A": {}}, {"Run": {"steps": 5, "seed": 2, "more": None}}]
    assert differences(tables) == {"Run": {"seed": [1, 2]}}
    reports = [Report(n, title=n[0], motions=[Motion(n, "", moving())]) for n in ("a1", "a2", "b1")]
    data = data_of(comparison_page(reports))
    assert [[m["name"] for m in stage["motions"]] for stage in data["stages"]] == [["a1", "a2"], ["b1"]]
