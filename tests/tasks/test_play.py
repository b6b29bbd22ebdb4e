"""Playing: sliders, the cost and the gradient that follow them, the way back; what a window shows of it."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.cli import main
from diffsim.errors import ConfigError, StateError
from diffsim.tasks.play import Session, player
from diffsim.tasks.play.opening import play
from diffsim.view import Film


class Bowl(ds.Simulator):
    """The cost is a quadratic bowl in a number, a pair and twenty numbers; it blows up where a > 5."""

    def __init__(self):
        self.x = ds.State(ds.real)
        self.a, self.b = ds.Param(np.array(2.0)), ds.Param(np.array([0.0, 3.0]))
        self.many = ds.Param(np.linspace(-1.0, 1.0, 20))

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.x[t] + ti.sqrt(5.0 - self.a[None]) * 0.0

    def step(self, t):
        self.move(t)

    @ti.kernel
    def last(self, t: ti.i32):
        self.cost[None] += 0.5 * (self.a[None] - 1.0) ** 2 + self.x[t]
        for i in range(2):
            self.cost[None] += self.b[i] ** 2
        for i in range(20):
            self.cost[None] += 0.5 * self.many[i] ** 2

    def terminal_cost(self, t):
        self.last(t)


@pytest.fixture(scope="module")
def bowl(runtime):
    return ds.Rollout(Bowl(), 4)


@pytest.fixture
def session(bowl):
    made = Session(bowl)
    yield made
    made.reset()


def cost_of(values):
    a, b, many = values["a"], values["b"], values["many"]
    return 0.5 * (a - 1.0) ** 2 + np.sum(b**2) + 0.5 * np.sum(many**2)


def test_sliders_are_for_small_arrays_and_along_gradients_of_large_ones(session, bowl):
    names = [handle.name for handle in session.handles]
    assert names == ["a", "b[0]", "b[1]", "many downhill", "downhill"]
    assert [(h.low, h.high) for h in session.handles[:3]] == [
        (0.0, 4.0),
        (-h, h) if (h := math.sqrt(4.5)) else 0,
        (0.0, 6.0),
    ]
    assert [h.name for h in Session(bowl, "a").handles] == ["a"]
    assert [h.name for h in Session(bowl, "many").handles] == ["downhill"]
    assert [h.name for h in Session(bowl, most=3).handles] == ["a", "b downhill", "downhill"]
    many = np.linspace(-1.0, 1.0, 20)
    slopes = [1.0, 0.0, 6.0, -np.linalg.norm(many), -math.hypot(1.0, 6.0, *many)]
    np.testing.assert_allclose([h.slope for h in session.handles], slopes, rtol=1e-12)
    assert session.last.cost == pytest.approx(cost_of(session.values()))
    assert session.last.norm == pytest.approx(-slopes[-1])
    assert session.last.seconds > 0.0


def test_dragging_moves_parameters_cost_and_slopes(session):
    assert session.move(0, 3.0) == 3.0
    assert session.look().cost == pytest.approx(cost_of(session.values()))
    assert session.handles[0].slope == pytest.approx(2.0)
    assert session.move(0, 9.0) == 4.0  # the slider's end
    start = session.values()
    far = session.handles[3].high
    session.move(3, far)  # lets go of the first one, from where this one begins
    many, ahead = start["many"], start["many"] / np.linalg.norm(start["many"])
    np.testing.assert_allclose(session.values()["many"], many - far * ahead, rtol=1e-12)
    session.look()
    assert session.handles[3].slope == pytest.approx(far - np.linalg.norm(many))
    session.settle()
    assert (session.handles[3].value, session.handles[0].value) == (0.0, 4.0)
    assert session.undo()
    np.testing.assert_array_equal(session.values()["many"], many)
    assert session.undo()
    assert session.values()["a"] == session.handles[0].value == 2.0
    assert not session.undo()
    session.widen(0, 0.5)
    assert (session.handles[0].low, session.handles[0].high) == (1.0, 3.0)


def test_steps_along_the_gradient_go_down(session):
    costs = [session.last.cost]
    for _ in range(30):
        if not session.descend():
            break
        costs.append(session.last.cost)
    assert np.all(np.diff(costs) < 0.0)
    assert costs[-1] < 1e-3 * costs[0]
    assert session.handles[2].value == session.values()["b"][1]


def test_a_rollout_that_blows_up_leaves_the_way_back(session):
    session.widen(0, 10.0)
    session.move(0, 6.0)
    look = session.look()
    assert math.isnan(look.cost)
    assert "finite" in look.trouble
    session.settle()
    assert math.isnan(session.handles[0].slope)
    assert not session.descend()
    assert session.undo()
    assert session.last.trouble == ""
    assert session.last.cost == pytest.approx(cost_of(session.values()))


def test_what_cannot_be_played_with_is_refused(session, bowl):
    with pytest.raises(ConfigError, match="slider must be a number from 0 to 4, got 5"):
        session.move(5, 1.0)
    with pytest.raises(ConfigError, match="moved to a number, got nan"):
        session.move(0, math.nan)
    with pytest.raises(ConfigError, match="wrt must name Params"):
        Session(bowl, "speed")
    with ds.Rollout(Bowl(), 2) as closed:
        pass
    with pytest.raises(StateError, match="must be open"):
        Session(closed)


class Paper:
    """A canvas that remembers."""

    def __init__(self):
        self.pictures, self.discs, self.words, self.ways = [], [], [], []

    def image(self, picture, top):
        self.pictures.append(picture)

    def line(self, x0, y0, x1, y1, color, width):
        assert 0 <= x0 <= x1

    def disc(self, x, y, radius, color):
        self.discs.append((x, y))

    def arrow(self, x, y, dx, color):
        self.ways.append(dx)

    def text(self, x, y, words, color, size):
        self.words.append(words)


@pytest.fixture
def made(session):
    """Return a player whose film shows a as the height of a bar, and the number of its frame beside it."""

    film = film_of(session.rollout.sim)
    return player.Player(session, {"bar": film, "again": film}, "a bowl")


def film_of(sim):
    def film():
        height = float(sim.a.numpy())

        def draw(axes, k):
            axes.bar([0, 1], [height, k])
            axes.set(xlim=(-1, 2), ylim=(0, 6))

        return Film(draw, ["t = 0", "t = 1", "t = 2"], fps=10.0, aspect=0.5)

    return film


def painted(made):
    paper = Paper()
    made.paint(paper)
    return paper


def test_a_window_shows_the_film_and_the_sliders(made, session):
    paper = painted(made)
    [picture] = paper.pictures
    assert picture.shape[1] == made.width - player._PANEL
    assert picture.shape[0] <= made.height
    assert len(paper.discs) == 5
    assert f"cost {session.last.cost:.6g}" in paper.words
    assert "a" in paper.words
    assert "many downhill" in paper.words
    assert np.sign(paper.ways).tolist() == [-1, -1, 1, 1]  # the way down; b[0] is at the bottom
    made.tick(0.0)
    assert made.frame == 1
    made.tick(0.05)
    assert made.frame == 1  # ten frames a second
    made.tick(0.11), made.tick(0.22)
    assert made.frame == 0
    np.testing.assert_array_equal(painted(made).pictures[0], picture)


def test_dragging_in_the_window_moves_the_slider_the_cost_and_the_picture(made, session):
    made.key("right")
    made.key("right")
    before = painted(made)
    x, y = before.discs[0]
    left, right, _ = made._place(0)
    made.press(x, y)
    made.drag(right)
    after = painted(made)
    assert after.discs[0][0] == pytest.approx(right)
    assert session.values()["a"] == 4.0
    assert f"cost {cost_of(session.values()):.6g}" in after.words
    assert made.frame == 2
    assert np.any(after.pictures[0] != before.pictures[0])
    made.tick(9.0)
    assert made.frame == 2  # still held
    made.release()
    made.drag(left)
    assert session.values()["a"] == 4.0
    made.press(x, y - 20.0)  # between two sliders
    made.drag(left)
    assert session.values()["a"] == 4.0
    assert made.key("u")
    np.testing.assert_array_equal(painted(made).pictures[0], before.pictures[0])


def test_keys(made, session):
    assert made.key("space")
    made.tick(1.0)
    assert made.frame == 0
    for name, frame in (("right", 1), ("left", 0), ("left", 2)):
        made.key(name)
        assert made.frame == frame
    width = session.handles[0].high - session.handles[0].low
    made.key("-")
    assert session.handles[0].high - session.handles[0].low == pytest.approx(width / 2)
    cost = session.last.cost
    made.key("d")
    assert session.last.cost < cost
    made.key("r")
    assert session.last.cost == pytest.approx(cost)
    made.key("v")
    assert "view: again" in painted(made).words
    assert made.key("x")
    assert not made.key("escape")


def test_what_blows_up_is_told_and_the_last_picture_stays(made, session):
    picture = painted(made).pictures[0]
    session.widen(0, 10.0)
    made.press(*made_at(made, 0))
    made.drag(made._place(0)[1])
    made.release()
    paper = painted(made)
    assert "cost nan" in paper.words
    assert any("finite" in words for words in paper.words)
    np.testing.assert_array_equal(paper.pictures[0], picture)
    made.key("u")
    assert "cost nan" not in painted(made).words


def made_at(made, number):
    return painted(made).discs[number]


def test_without_a_display_it_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["play", "mass_spring"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: play must have a display for its window, got none (DISPLAY is not set)")
    assert "use diffsim render RUN --adjoints" in error
    assert error.count("\n") == 1
    with pytest.raises(ConfigError, match="display"):
        play(None)


_SHOWN = """
import sys
import numpy as np
from PIL import Image
sys.path.insert(0, {tests!r})
import diffsim as ds
from test_play import Bowl, film_of
from diffsim.tasks.play import Session, player, window
ds.init(precision=64, threads=1)
sim = Bowl()
made = player.Player(Session(ds.Rollout(sim, 4)), {{"bar": film_of(sim)}}, "a bowl")
made.key("space")
window.open_window(made, "bowl", lambda count: {shot!r} if count == 1 else "" if count > 1 else None)
shown, wanted = np.asarray(Image.open({shot!r}).convert("RGB")), made.picture()[:, :, :3]
assert shown.shape == (made.height, made.width, 3), shown.shape
np.testing.assert_allclose(shown[: len(wanted), : wanted.shape[1]].astype(int), wanted, atol=1)
left, right, y = made._place(0)
dark = shown[made.height - 1 - int(y) - 3, int(0.5 * (left + right))]
assert dark.max() < 100, dark  # the disc of the first slider
"""


@pytest.mark.cpu
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_the_window_shows_what_the_player_has(tmp_path):
    script = _SHOWN.format(tests=str(Path(__file__).parent), shot=str(tmp_path / "shot.png"))
    done = subprocess.run(
        ["xvfb-run", "-a", sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
