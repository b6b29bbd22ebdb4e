"""What notebooks show: the numbers, in well-formed and escaped HTML, quickly and without a flood."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import diffsim as ds
from diffsim import progress
from diffsim.compiler.explain import Explanation, KernelStory
from diffsim.extras import in_notebook
from diffsim.optim.result import Result
from diffsim.rollout.grad.health import make_health
from diffsim.rollout.grad.report import Direction, GradientReport, Worst
from diffsim.view.sketches import curves, spark
from diffsim.view.timed import Label
from diffsim.view.trajectory import Trajectory, labelled

EVIL = "<script>x & 'y' \"z\"</script>"


def parsed(thing):
    html = thing._repr_html_()
    assert "<script" not in html
    return ET.fromstring(html)


def text_of(node):
    return " ".join("".join(node.itertext()).split())


def points_of(path):
    return np.array([[float(n) for n in pair.split()] for pair in re.split("[ML]", path.get("d"))[1:]])


def test_curves_have_the_heights_of_the_numbers():
    x, y = np.arange(5.0), np.array([1.0, 10.0, np.nan, 1000.0, 0.0])
    svg = ET.fromstring(curves(x, [y], "a <b>", "step", log=True, mark=(3.0, "<here>")))
    path = svg.find("path")
    assert re.sub("[^ML]", "", path.get("d")) == "MLM"  # a gap at NaN, and nothing at what has no logarithm
    assert np.allclose(points_of(path), [[4.0, 116.0], [107.0, 116.0 - 112.0 / 3], [313.0, 4.0]], atol=0.1)
    assert [t.text for t in svg.findall("text")] == ["a <b> (log)", "1e+03", "1", "0", "step", "4", "<here>"]
    assert float(svg.find("line").get("x1")) == 313.0
    assert "from 1 to 1e+03" in svg.get("aria-label")
    assert curves([0.0], [[1.0]], "one", "step") == ""
    assert curves(x, [np.full(5, np.nan)], "none", "step") == ""
    flat = ET.fromstring(curves(x, [np.ones(5)], "flat", "step"))
    assert set(points_of(flat.find("path"))[:, 1]) == {60.0}
    many = ET.fromstring(spark(np.linspace(0.0, 1.0, 100_000)[:, None] * [1.0, -1.0]))
    up, down = (points_of(path) for path in many.findall("path"))
    assert len(up) == len(down) == 240
    assert (np.diff(up[:, 1]) <= 0.0).all()
    assert (np.diff(down[:, 1]) >= 0.0).all()
    assert spark(np.full((3, 2), np.nan)) == spark(np.ones((1, 2))) == ""


def test_a_trajectory():
    frames = 30
    x = np.zeros((frames, 3, 2))
    x[:, :, 0] = [0.0, 2.0, 4.0]
    x[-1, 2, 1] = 1.0
    broken = np.arange(float(frames))
    broken[3] = np.nan
    arrays = {"x": x, EVIL: broken, "short": np.ones(frames - 1)}
    scene = ds.Scene((ds.scene.Points("x", radius=0.1),))
    t = Trajectory(arrays, 0.5 * np.arange(frames), units={"x": "m"}, scene=scene, title=EVIL)
    card = parsed(t)
    assert text_of(card).startswith(f"Trajectory of {EVIL}30 frames, t = 0 to 14.5 s")
    rows = [[text_of(cell) for cell in row] for row in card.iter("tr")]
    assert rows[0] == ["array", "frames", "of each", "unit", "range", "over time"]
    assert rows[1] == ["x", "30", "3 × 2", "m", "0 … 4", ""]
    assert rows[2] == [EVIL, "30", "1", "", "0 … 29, 1 not finite", ""]
    still = [[float(c.get(k)) for k in ("cx", "cy", "r")] for c in card.iter("circle")]
    (ax, ay, r), (bx, by, _), (cx, cy, _) = still
    assert bx - ax == pytest.approx(cx - bx, abs=0.1)
    assert ay == by
    assert ay - cy == pytest.approx(0.5 * (bx - ax), abs=0.1)  # up is up, and space has one scale
    assert r == pytest.approx(0.05 * (bx - ax), abs=0.1)
    signal = parsed(t["x"])
    assert text_of(signal).startswith("Signal x30 frames")
    assert list(signal.iter("circle")) == []
    assert (t["x"] + 1.0).__class__ is np.ndarray
    assert "no frames" not in text_of(parsed(Trajectory({})))
    worlds = Trajectory({"q": labelled(np.zeros((4, 7, 2)), Label("q", np.arange(4.0), worlds=7))})
    assert "4 frames, t = 0 to 3 step, 7 worlds" in text_of(parsed(worlds))


def test_a_file_is_not_read_for_it(tmp_path, monkeypatch):
    from diffsim.view import chunked

    Trajectory({"x": np.zeros((9, 3, 2))}).save(tmp_path / "t.h5")
    found = Trajectory.load(tmp_path / "t.h5")
    monkeypatch.setattr(chunked._Place, "read", lambda *args: 1 / 0)
    assert "x93 × 2in its file" in text_of(parsed(found))


def test_results_and_reports():
    costs = np.array([100.0, 10.0, 1.0, 2.0])
    result = Result(
        costs, costs / 2, np.arange(4.0), 1.0, 2, {"k": np.float64(3.0)}, {"k": np.float64(4.0)}, {}
    )
    card = parsed(result)
    assert text_of(card).startswith("cost 100 -> 1 in 4 iterations, 3 scost (log)100")
    assert [text_of(cell) for cell in list(card.iter("tr"))[1]] == ["k", "1", "3", "4"]
    place = points_of(next(iter(card.iter("path"))))
    assert place[2, 0] == pytest.approx(float(next(iter(card.iter("line"))).get("x1")), abs=0.1)
    none = Result(np.zeros(0), np.zeros(0), np.zeros(0), np.inf, -1, {}, {}, {}, "callback")
    assert text_of(parsed(none)) == "no iterations, ended by callback"
    worlds = Result(np.ones((3, 2)), np.ones(3), np.ones(3), np.ones(2), np.zeros(2, int), {}, {}, {})
    assert "2 worlds" in text_of(parsed(worlds))

    worst = Worst(EVIL, (3,), 1.0, 2.0)
    ways = (Direction(1.0, 2.0, 1e-4, 0.5, "wrong"), Direction(1.0, 1.0, 1e-4, 0.0, forward=1.0))
    report = GradientReport((EVIL,), ways, 1e-6, "wrong", worst=worst, dead=("u",), notes=("all",))
    card = parsed(report)
    assert text_of(card).startswith("Gradient check failed: wrongthe gradient is wrong: differences settle")
    rows = [[text_of(cell) for cell in row] for row in card.iter("tr")]
    assert rows[1] == ["direction 0", "1.000000e+00", "", "2.000000e+00", "1e-04", "5.0e-01", "wrong"]
    assert rows[3:] == [
        ["worst at", str(worst)],
        ["no effect on the cost", "u"],
        ["not checked", "all"],
    ]

    norms = np.exp(0.5 * np.arange(201.0))[::-1][None]
    health = make_health(norms, {EVIL: np.ones(3), "dead": np.zeros(2)}, 1e-16)
    card = parsed(health)
    assert text_of(card).startswith("The gradient explodes and is zero for dead")
    line = points_of(next(iter(card.iter("path"))))
    assert np.allclose(np.diff(line[:, 1]) / np.diff(line[:, 0]), 112.0 / 412.0, atol=0.05)
    assert "half of its digits are left here" in text_of(card)
    assert [[text_of(c) for c in row] for row in card.iter("tr")][-1][0] == "dead"
    assert str(health).splitlines()[0] == "adjoint norm   1 at t = 200, 2.69e+43 at t = 0"

    story = KernelStory("Sim.push", "a.py:3", "step", ("x",), (), (3, 4), (EVIL,))
    card = parsed(Explanation((story, story)))
    assert [text_of(d.find("summary")) for d in card.iter("details")] == [
        "Sim.push, step: 3 operations, 4 in the adjoint"
    ] * 2
    assert [text_of(item) for item in card.iter("li")] == [EVIL] * 2


# ---- progress ----


class Pages:
    """What a notebook shows, and how often it was asked to."""

    def __init__(self):
        self.shown, self.updates = [], 0

    def display(self, data, raw, display_id=False):
        assert raw
        self.shown.append(data)
        return self if display_id else None

    def update(self, data, raw):
        self.updates += 1
        self.shown[-1] = data


def test_progress_in_a_notebook_is_one_line(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    pages = Pages()
    with progress.Notebook(pages.display) as bar:
        bar.begin(1000)
        for done in range(1, 1001):
            now[0] += 0.01
            bar.within(1, 2, "forward")
            bar.update(done, 2.0, 1.0, 0.5)
    assert len(pages.shown) == 1
    assert 45 < pages.updates < 60  # in ten seconds
    page = ET.fromstring(pages.shown[0]["text/html"])
    assert float(page.find("progress").get("value")) == 1.0
    assert text_of(page) == "1000 of 1000: cost 2, best 1, gradient 0.5, 100 it/s, 10 s"
    with progress.Notebook(pages.display) as bar:
        bar.begin(4)
        now[0] += 1.0
        bar.update(1, 2.0, 1.0, 0.5)
        bar.compiling(1, 2, EVIL)
        now[0] += 1.0
        bar.compiling(2, 2, EVIL)
        bar.say("done")
    assert EVIL in text_of(ET.fromstring(pages.shown[1]["text/html"]))
    assert float(ET.fromstring(pages.shown[1]["text/html"]).find("progress").get("value")) == 0.25
    assert pages.shown[2:] == [{"text/plain": "done"}]


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    IPython = pytest.importorskip("IPython")
    assert not in_notebook()
    assert type(progress.make_progress(True)) is progress.Progress
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    assert isinstance(progress.make_progress(False), progress.Notebook)
