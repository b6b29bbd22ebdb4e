"""Pages in a browser: views show what the data say, move together, and nothing complains."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Browser, opened, why_no_browser

import diffsim as ds
from diffsim.tasks.serving import Server
from diffsim.view import scene
from diffsim.view.page import (
    Course,
    Health,
    Motion,
    Parameter,
    Report,
    comparison_page,
    live_page,
    packed_live,
    packed_stage,
    report_page,
)
from diffsim.view.page.pack import json_for_html

pytestmark = pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())

RED, GREEN = "#e00000", "#00a000"
FRAMES = 11
LIMITS = ((0.0, 2.0), (0.0, 1.0))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_complaints(browser: Browser) -> Iterator[None]:
    browser.complaints()
    yield
    assert browser.complaints() == []


def put(folder: Path, page: str, name: str = "a page – β.html") -> str:
    path = folder / name
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


def planar(speed: float) -> ds.Trajectory:
    """A red point goes to the right, one rod of green stands still."""
    t = np.arange(FRAMES)
    x = np.stack([0.2 + speed * t, np.full(FRAMES, 0.5)], axis=1)
    rod = np.array([[0.3, 0.1], [1.7, 0.1]])
    parts = (
        scene.Points(positions="x", color=RED, radius=0.05),
        scene.Lines(positions="rod", color=GREEN, width=4.0),
        scene.Curves(values="x", label="place", names=("x", "y")),
    )
    return ds.Trajectory(
        {"x": x}, 0.1 * t, units={"x": "m"}, stills={"rod": rod}, scene=scene.Scene(parts, limits=LIMITS)
    )


SPEEDS = {"before": 0.05, "best": 0.1, "last": 0.15}


def full_report(name: str = "run") -> Report:
    costs = 3.0 * np.exp(-0.1 * np.arange(40))
    weights = np.random.default_rng(0).normal(size=(30, 12))
    return Report(
        name,
        title="a point <goes>",
        status="finished",
        course=Course(costs, costs, np.arange(40.0), (39, float(costs[-1])), "miss [m]"),
        motions=[Motion(n, "", planar(v)) for n, v in SPEEDS.items()],
        parameters=[
            Parameter("k", np.zeros(4), np.arange(4.0), "N/m"),
            Parameter("w", weights, weights + 0.1),
            Parameter("u", np.zeros((50, 2)), np.ones((50, 2)), kind="Control"),
        ],
        health=[Health("best", 10.0 ** np.linspace(-3, 2, 60), "it shrinks")],
        plan={"memory": {"states": 1 << 20, "scratch": 300}, "text": "mode fused", "facts": {"steps": 5}},
        tables={"Run": {"seed": 1}, "Versions": {"diffsim": "0"}},
        figures={"before": {"way [m]": 0.1}, "after": {"way [m]": 0.2}},
        warnings=["gradients explode"],
        graphs=[("one step", "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")],
    )


def places(picture: np.ndarray, color: str) -> np.ndarray:
    """Return where a colour is, shape (n, 2): x and y in pixels."""
    wanted = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    near = np.abs(picture[:, :, :3].astype(int) - wanted).max(axis=2) < 12
    y, x = np.nonzero(near)
    return np.stack([x, y], axis=1)


def expected(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return where a place must be: the frame begins 46 pixels from the left, 2 from the top."""
    width, height = picture.shape[1] - 50, picture.shape[0] - 24
    scale = min(width / 2.0, height / 1.0)
    return np.array([46 + width / 2 + scale * (x - 1.0), 2 + height / 2 - scale * (y - 0.5)])


def check_views(browser: Browser, k: int, factor: float = 1.0) -> None:
    pictures = browser.pixels(".view canvas")
    assert len(pictures) == 3
    for picture, speed in zip(pictures, SPEEDS.values(), strict=True):
        found = places(picture, RED).mean(axis=0)
        assert np.allclose(found, expected(picture, 0.2 + factor * speed * k, 0.5), atol=1.0)
        rod = places(picture, GREEN)
        assert np.allclose(rod.mean(axis=0), expected(picture, 1.0, 0.1), atol=1.0)
        ends = expected(picture, 0.3, 0.1)[0], expected(picture, 1.7, 0.1)[0]
        assert np.allclose((rod[:, 0].min(), rod[:, 0].max()), ends, atol=3.0)


def scrub(browser: Browser, k: int) -> None:
    find = "const range = document.querySelector('.scrubber');"
    browser.run(f"{find} range.value = arguments[0]; range.dispatchEvent(new Event('input'))", k)
    browser.settle()


def test_one_scrubber_moves_all_views(browser: Browser, tmp_path: Path) -> None:
    browser.open(put(tmp_path, report_page(full_report())))
    check_views(browser, 0)
    scrub(browser, 6)
    check_views(browser, 6)
    assert browser.run("return document.querySelector('.time').textContent") == "t = 0.600 of 1 s"
    cursor = (
        "return Array.from(document.querySelectorAll('.group .cursor'), (c) => Number(c.getAttribute('x1')))"
    )
    assert len(set(browser.run(cursor))) == 1 < len(browser.run(cursor))
    browser.keys("\ue014")  # right
    check_views(browser, 7)
    browser.keys("\ue010")  # end
    check_views(browser, 10)
    browser.keys("\ue012", "\ue012")  # left
    check_views(browser, 8)
    browser.keys("\ue011")  # home
    check_views(browser, 0)
    playing = "return document.querySelector('.play').getAttribute('aria-label')"
    assert browser.run(playing) == "play"
    browser.keys(" ")
    assert browser.run(playing) == "pause"
    browser.keys(" ")
    assert browser.run(playing) == "play"
    browser.keys("\ue011")
    browser.drag(".view canvas", 40, 0)
    moved = [places(picture, RED).mean(axis=0) for picture in browser.pixels(".view canvas")]
    start = expected(browser.pixels(".view canvas")[0], 0.2, 0.5)
    assert np.allclose([place - start for place in moved], [(40, 0)] * 3, atol=3.0), "all shift together"


def test_the_log_switch_and_the_read_out(browser: Browser, tmp_path: Path) -> None:
    """An exponential decay is a straight line in a logarithmic plot only; the pointer tells numbers."""
    browser.open(put(tmp_path, report_page(full_report())))

    def bend() -> float:
        path = browser.run("return document.querySelector('#cost .line').getAttribute('d')")
        points = np.array([[float(v) for v in piece.split()] for piece in path[1:].split("L")])
        assert len(points) == 40
        x, y = points.T
        straight = np.interp(x, x[[0, -1]], y[[0, -1]])
        return float(np.abs(y - straight).max() / np.ptp(y))

    assert bend() > 0.3
    browser.run("document.querySelector('#cost .log').click()")
    assert bend() < 0.01
    hover = """
    const box = document.querySelector('#cost .chart-box'), at = box.getBoundingClientRect();
    const x = document.querySelector('#cost .best').getAttribute('cx');
    const place = { clientX: at.left + Number(x), clientY: at.top + 40 };
    box.dispatchEvent(new PointerEvent('pointermove', place));
    return document.querySelector('#cost .tip').textContent"""
    assert browser.run(hover) == "iteration 39cost: 0.06073"


def test_curves_over_places_move_with_the_scrubber(browser: Browser, tmp_path: Path) -> None:
    """A triangle falls to half its height in one motion, and explodes in the other: its start is seen."""
    shape = 1.0 - np.abs(np.linspace(-1.0, 1.0, 41))
    falls = np.linspace(1.0, 0.5, FRAMES)[:, None] * shape
    bursts = np.where(np.arange(FRAMES) < 6, 1.0, 10.0 ** (3.0 * (np.arange(FRAMES) - 5.0)))[:, None] * shape
    looked = scene.Scene([scene.Grid("u", origin=(1.0,), spacing=0.05, color=RED)], unit="m")
    pair = [ds.Trajectory({"u": u}, units={"u": "K"}, scene=looked) for u in (falls, bursts)]
    page = report_page(Report("x", motions=[Motion(n, "", t) for n, t in zip("ab", pair, strict=True)]))
    browser.open(put(tmp_path, page))

    def curves() -> list[np.ndarray]:
        script = "return Array.from(document.querySelectorAll('.views .line'), (p) => p.getAttribute('d'))"
        lines = [path[1:].split("L") for path in browser.run(script)]
        return [np.array([[float(v) for v in place.split()] for place in line]) for line in lines]

    start, now, *_ = curves()
    np.testing.assert_array_equal(start, now)
    assert now[20, 1] == now[:, 1].min()
    browser.keys(*["\ue014"] * (FRAMES - 1))
    still, now, other, burst = curves()
    np.testing.assert_array_equal(still, start)
    share = (now[0, 1] - now[:, 1]) / (start[0, 1] - start[20, 1])
    np.testing.assert_allclose(share, 0.5 * shape, atol=0.01)
    np.testing.assert_array_equal(other, start, "both at one scale")
    assert burst[20, 1] < 0.0, "above the plot"
    words = browser.run("return document.querySelector('.stages').textContent")
    assert "u [K]" in words
    assert "x [m]" in words
    assert "beyond the picture: u from step 6 (b)" in words


def balls_in(browser: Browser) -> np.ndarray:
    """Return how many pixels a red and a green ball have in each view, and where their middles are."""
    found = []
    for picture in browser.pixels(".view canvas"):
        red, green = picture[:, :, 0].astype(int), picture[:, :, 1].astype(int)
        for y, x in (np.nonzero(red > 2 * green + 60), np.nonzero(green > 2 * red + 60)):
            found.append((len(x), x.mean(), y.mean()) if len(x) else (0, np.nan, np.nan))
    return np.array(found).reshape(-1, 2, 3)


def test_space_can_be_turned(browser: Browser, tmp_path: Path) -> None:
    """A ball in the middle stays; one aside goes behind it when the scene is turned, and hides."""
    x = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]] * 2)
    balls = [scene.Points(positions="x", only=(k,), color=c, radius=0.2) for k, c in enumerate((RED, GREEN))]
    box = ((-1.2, 1.2),) * 3
    looked = scene.Scene(tuple(balls), limits=box, camera=scene.Camera((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    motion = ds.Trajectory({"x": x}, scene=looked)
    page = report_page(Report("x", motions=[Motion("before", "", motion), Motion("best", "", motion)]))
    browser.open(put(tmp_path, page))
    before = balls_in(browser)
    assert before.shape == (2, 2, 3)
    (red, green) = before[0]
    assert green[0] == pytest.approx(red[0], rel=0.1)
    assert green[1] - red[1] > 30, "z goes to the right where x goes away and y is up"
    assert green[2] == pytest.approx(red[2], abs=2.0)
    quarter = round(browser.pixels(".view canvas")[0].shape[1] * np.pi / 8)  # of a turn
    browser.drag(".view canvas", -quarter, 0)
    after = balls_in(browser)
    assert np.allclose(after[0], after[1], atol=2.0, equal_nan=True), "all views turn"
    hidden = after[0].argmin(axis=0)[0]
    assert np.isnan(after[0][hidden]).any() or after[0][hidden][0] < 0.1 * before[0][0][0]
    assert np.allclose(after[0][1 - hidden][1:], red[1:], atol=3.0)
    browser.run("document.querySelector('.view canvas').dispatchEvent(new Event('dblclick'))")
    browser.settle()
    assert np.allclose(balls_in(browser), before, atol=1.0)


def corner(browser: Browser) -> bool:
    """Tell whether the paper of a view is dark."""
    return bool(browser.pixels(".view canvas")[0][8, -12, :3].max() < 60)


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_phones_and_desks_by_day_and_night(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.open(put(tmp_path, report_page(full_report())), width, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    tops = "Array.from(document.querySelectorAll('.view canvas'), (c) => c.getBoundingClientRect().top)"
    assert browser.run(f"return new Set({tops}).size") == (3 if width == 390 else 1), "below each other"
    tone = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert (max(browser.run(tone)) < 60) is dark
    assert corner(browser) is dark
    assert not browser.run("""
        const all = document.querySelectorAll('canvas, button, input, select, svg.chart');
        const silent = Array.from(all).filter((e) => !e.getAttribute('aria-label') && !e.textContent);
        return silent.map((e) => e.outerHTML)""")
    browser.run("document.querySelector('header .switch').click()")
    browser.settle()
    assert (max(browser.run(tone)) < 60) is not dark
    assert corner(browser) is not dark


def nothing() -> Report:
    return Report("x")


def wild() -> Report:
    """NaN in everything that may hold it, one frame, one iteration, a text in HTML."""
    x = np.array([[[0.0, np.nan], [1.0, 1.0], [2.0, np.inf]]])
    motion = ds.Trajectory({"x": x, "n": np.full((1, 2), np.nan)})
    bad = np.array([np.nan, np.inf])
    return Report(
        "</script>",
        course=Course([np.nan], [np.nan], [0.0], None, "<b>cost</b>"),
        motions=[Motion("before", "", motion)],
        parameters=[Parameter("<i>p</i>", bad, bad), Parameter("one", np.ones(()), np.ones(()))],
        health=[Health("best", [np.nan, 0.0])],
    )


def every_part() -> Report:
    rng = np.random.default_rng(0)
    parts = [
        scene.Grid(values="h", spacing=0.1, contours=3, label="h"),
        scene.Grid(values="h", spacing=0.1, origin=(1.0, 0.0), level=0.5),
        scene.Grid(values="rgb", spacing=0.1, origin=(2.0, 0.0), rgb=True, label="colours"),
        scene.Vectors(vectors="flow", spacing=0.1),
        scene.Triangles(positions="x", faces="faces", values="x"),
        scene.Boxes(centers="x", sizes="size", angles="angle"),
        scene.Boxes(centers="x", sizes="size", round=True, values="angle"),
        scene.Lines(positions="x", closed=True, values="angle"),
        scene.Points(positions="x", trail=True, radius="angle"),
        scene.Vectors(vectors="x", positions="x", label="force"),
        scene.Text(text="{angle[0]:.2f}", at=(0.5, 0.5)),
        scene.Text(text="turned by {angle[0]:.2f}"),
    ]
    arrays = {
        "h": rng.random((3, 6, 5)),
        "rgb": rng.random((3, 6, 5, 3)),
        "flow": rng.normal(size=(3, 6, 5, 2)),
        "x": rng.random((3, 4, 2)),
        "angle": rng.random((3, 4)),
    }
    stills = {"faces": np.array([[0, 1, 2], [1, 2, 3]]), "size": np.array([0.2, 0.1])}
    motion = ds.Trajectory(arrays, stills=stills, scene=scene.Scene(tuple(parts), ground=0.0))
    return Report("parts", motions=[Motion("before", "", motion)])


def every_part_in_space() -> Report:
    rng = np.random.default_rng(0)
    parts = [
        scene.Grid(values="h", spacing=0.1),
        scene.Grid(values="h", spacing=0.1, level=0.5),
        scene.Triangles(positions="x", faces="faces"),
        scene.Boxes(centers="x", sizes="size", rotations="q"),
        scene.Boxes(centers="x", sizes="size", round=True, rotations="m"),
        scene.Lines(positions="x", values="q"),
        scene.Points(positions="x", trail=True),
        scene.Vectors(vectors="x", positions="x"),
        scene.Text(text="here", at=(0.5, 0.5, 0.5)),
    ]
    turns, _ = np.linalg.qr(rng.normal(size=(3, 4, 3, 3)))
    arrays = {
        "h": rng.random((3, 6, 5, 4)),
        "x": rng.random((3, 4, 3)),
        "q": rng.normal(size=(3, 4, 4)),
        "m": turns,
    }
    stills = {"faces": np.array([[0, 1, 2], [1, 2, 3]]), "size": np.array([0.2, 0.1, 0.3])}
    motion = ds.Trajectory(arrays, stills=stills, scene=scene.Scene(tuple(parts), ground=0.0))
    return Report("parts", motions=[Motion("before", "", motion)])


@pytest.mark.parametrize("report", [nothing, wild, every_part, every_part_in_space])
def test_odd_and_varied_data_are_drawn_without_a_complaint(
    browser: Browser, tmp_path: Path, report: Any
) -> None:
    told = report()
    browser.open(put(tmp_path, report_page(told)))
    assert browser.run("return document.querySelector('h1').textContent") == told.name
    foreign = "#page b:not(figcaption b), #page i:not([style]):not([class])"
    assert not browser.run("return document.querySelectorAll(arguments[0]).length", foreign)
    drawn = browser.pixels(".view canvas")
    for picture in drawn:
        assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 10
    if report is every_part:
        assert browser.run("return document.querySelector('.words').textContent").startswith("turned by 0.")
    if report is wild:
        assert browser.run("return document.querySelector('.words').textContent") == "2 not finite"
        browser.run("document.querySelector('#cost .log').click()")


def test_a_live_page_follows_a_run_and_becomes_its_report(browser: Browser) -> None:
    """Curves grow, a newer motion takes the place of the older one at the same time, and the end is kept."""
    pages = {"/": live_page("run", "a point").encode(), "/report.html": report_page(full_report()).encode()}
    state: dict[str, Any] = {"status": "training", "total": 40, "stage": 0, "report": False}
    done = 3

    def answer(path: str, query: Any) -> tuple[str, bytes] | None:
        if path == "/state.json":
            course = Course(np.arange(done, 0.0, -1.0), np.ones(done), np.arange(float(done)))
            return "application/json", json_for_html(state | packed_live(course)).encode()
        if path == "/stage.json":
            motions = [Motion(n, "", planar((1 + state["stage"]) * v)) for n, v in SPEEDS.items()]
            return "application/json", json_for_html(packed_stage(motions, 10**6)).encode()
        return ("text/html; charset=utf-8", pages[path]) if path in pages else None

    def until(script: str, wanted: Any) -> None:
        end = time.monotonic() + 20
        while (found := browser.run(script)) != wanted:
            assert time.monotonic() < end, found
            time.sleep(0.05)

    words = "return document.querySelector('header p').textContent"
    with Server(answer) as server:
        browser.open(server.address)
        until(words, "run: training, iteration 3 of 40")
        until("return document.querySelectorAll('.view canvas').length", 3)
        scrub(browser, 4)
        check_views(browser, 4)
        state["stage"], done = 1, 7
        until(words, "run: training, iteration 7 of 40")
        browser.settle()
        browser.settle()
        check_views(browser, 4, 2.0)
        state["report"] = True
        until("return document.querySelectorAll('#parameters article').length", 3)
    scrub(browser, 6)
    check_views(browser, 6)


def test_runs_are_compared_side_by_side(browser: Browser, tmp_path: Path) -> None:
    reports = []
    for name, speed in SPEEDS.items():
        tables = {"Run": {"speed": speed, "seed": 0}}
        motions = [Motion(name, "", planar(speed))]
        reports.append(
            Report(
                name, "a point", course=Course([speed, 0.1], [1, 1], [0, 1]), motions=motions, tables=tables
            )
        )
    browser.open(put(tmp_path, comparison_page(reports)))
    scrub(browser, 5)
    check_views(browser, 5)
    assert (
        browser.run(
            "return document.querySelectorAll('#cost .chart-box')[0].querySelectorAll('.line').length"
        )
        == 3
    )
    cells = browser.run(
        "return Array.from(document.querySelectorAll('#what-differs tbody tr'), (r) => r.innerText)"
    )
    assert [cell.split("\t") for cell in cells] == [["Run"], ["speed", "0.05", "0.1", "0.15"]]
