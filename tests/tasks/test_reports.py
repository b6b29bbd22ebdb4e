"""Reports of run folders: from files alone, of what is there now; compared; served while they are made."""

from __future__ import annotations

import http.client
import importlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import diffsim as ds
import diffsim.tasks.runs.problem as problems
from diffsim.cli import main
from diffsim.errors import ConfigError
from diffsim.progress import Progress
from diffsim.tasks import runs
from diffsim.tasks.runs import reports
from diffsim.tasks.runs.motions import bounded
from diffsim.tasks.runs.stop import StopSignal
from diffsim.tasks.serving import Live, Server, Shelf, live

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.import_module("diffsim_fake")
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setenv("WAYLAND_DISPLAY", "")


def settings(iterations: int = 8, **options: Any) -> runs.Settings:
    run = runs.RunOptions(steps=5, iterations=iterations, seed=3)
    return runs.Settings("fake", run, {"name": "sgd", "lr": 0.05, "momentum": 0.5}, options, {"text": ""})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in a folder with an odd name, for tests that leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        importlib.import_module("diffsim_fake")
        path = tmp_path_factory.mktemp("odd name é") / "a run β"
        runs.train(settings(), path, Progress())
    return path


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def untouchable(*_: Any) -> None:
    raise AssertionError("nothing is to be simulated")


# ---- from a folder ----


def test_a_report_is_made_from_files_alone(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "Problem", untouchable)
    (made / "report.html").unlink()
    assert runs.report(made, Progress()) == made / "report.html"
    data = data_of((made / "report.html").read_text(encoding="utf-8"))
    run = data["runs"][0]
    manifest = json.loads((made / "manifest.json").read_text())
    assert (run["name"], run["title"], run["status"]) == ("a run β", "fake", "finished")
    assert run["course"]["best"] == manifest["best"]
    assert run["figures"] == manifest["metrics"]
    assert run["plan"]["text"] == "plan"
    assert run["tables"]["Run"]["seed"] == 3
    (parameter,) = run["parameters"]
    assert (parameter["key"], parameter["unit"]) == ("policy.w0", "N")
    assert [health["name"] for health in run["health"]] == ["before", "best"]
    stage, gradient = data["stages"]
    assert [motion["name"] for motion in gradient["motions"]] == ["best"]
    assert any(part["kind"] == "curves" and "cost" in part["source"] for part in gradient["parts"])
    assert [motion["name"] for motion in stage["motions"]] == ["before", "best", "last"]
    best = ds.Trajectory.load(made)
    with np.load(made / "params.npz") as params:
        assert np.array_equal(np.asarray(best["x"])[0], params["best/policy.w0"])
    assert best.units == {"x": "m"}


def test_what_is_missing_or_old_is_recorded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a run"
    runs.train(settings(), out, Progress(), draw=False)
    assert not (out / "report.html").exists()
    runs.report(out, Progress())
    first = {name: (out / f"{name}.npz").read_bytes() for name in ("before", "best", "last")}
    runs.resume(out, Progress(), iterations=9, draw=False)
    runs.report(out, Progress())
    changed = {name for name, content in first.items() if (out / f"{name}.npz").read_bytes() != content}
    assert "last" in changed
    assert "before" not in changed
    with np.load(out / "params.npz") as params:
        last = np.asarray(ds.Trajectory.load(out / "last.npz")["x"])[0]
        assert np.array_equal(last, params["last/policy.w0"])
    for name in ("best", "adjoints"):
        (out / f"{name}.npz").write_bytes(first["best"][:300])
    with pytest.raises(ConfigError, match=r"best.npz must hold a motion, .*; diffsim report '.*/a run' rec"):
        reports.read_report(out)
    runs.report(out, Progress())
    assert ds.Trajectory.load(out / "adjoints.npz").names
    monkeypatch.setattr(problems, "Problem", untouchable)
    runs.report(out, Progress())
    (out / "report.json").unlink()
    config = (out / "config.toml").read_text(encoding="utf-8")
    (out / "config.toml").write_text(config.replace('"fake"', '"/a b/é.py:Sim"', 1), encoding="utf-8")
    assert reports.read_report(out).title == "Sim"


def test_a_motion_that_cannot_be_recorded_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(problem: Any) -> None:
        raise ConfigError("scene must name fields, got 'y'; correct it")

    monkeypatch.setattr(importlib.import_module("diffsim_fake").FakeProblem, "motion", fail)
    assert runs.train(settings(), tmp_path / "run", Progress()).status == "finished"
    assert data_of((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))["stages"] == []


def test_motions_keep_a_size() -> None:
    many = ds.Trajectory({"x": np.zeros((200, 100_000, 3), dtype=np.float32)})
    assert len(bounded(many).times) == 14
    assert bounded(many.every(20)).shapes["x"][0] == 10


def test_the_command_line_reports_and_compares(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "Problem", untouchable)
    assert main(["report", str(made)]) == 0
    page = tmp_path / "side by side é.html"
    assert main(["compare", str(made), str(made), "--out", str(page), "--quiet"]) == 0
    data = data_of(page.read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == ["a run β (1)", "a run β (2)"]
    assert [motion["name"] for motion in data["stages"][0]["motions"]] == ["a run β (1)", "a run β (2)"]
    capsys.readouterr()
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.toml", "state.npz", "report.json", "before.npz", "best.npz", "last.npz"):
        (broken / name).write_bytes((made / name).read_bytes())
    (broken / "best.npz").write_bytes(b"PK rubbish")
    nowhere = tmp_path / "nowhere"
    cases = {
        ("report", str(nowhere)): "run folder must exist",
        ("report", str(tmp_path)): "must hold config.toml",
        ("compare", str(made)): "must get 2 to 4 run folders, got 1",
        ("compare", *[str(made)] * 5): "must get 2 to 4 run folders, got 5",
        ("compare", str(made), str(made), "--out", str(tmp_path)): "that is a folder",
        (
            "compare",
            str(made),
            str(made),
            "--out",
            str(nowhere / "x.html"),
        ): "--out must be a file in a folder that",
        ("compare", str(made), str(broken), "--out", str(tmp_path / "x.html")): "best.npz must hold",
        ("serve", str(nowhere)): "folder must exist",
        ("train", "--all", "--live"): "--live must come with one task",
    }
    for words, message in cases.items():
        assert main(words) == 2, words
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert not (broken / "report.html").exists()
    assert not (tmp_path / "x.html").exists()
    (broken / "state.npz").write_bytes(b"rubbish")
    assert main(["report", str(broken)]) == 2
    assert "must be a whole state" in capsys.readouterr().err


# ---- served ----


def ask(server: Server, path: str, method: str = "GET", host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content


@pytest.fixture
def shelf(made: Path) -> Iterator[Server]:
    with Server(Shelf(made.parent).answer) as server:
        yield server


def test_a_folder_is_listed_and_compared(made: Path, shelf: Server) -> None:
    status, page = ask(shelf, "/")
    assert status == 200
    assert data_of(page)["folder"] == made.parent.name
    (row,) = json.loads(ask(shelf, "/runs.json")[1])
    manifest = json.loads((made / "manifest.json").read_text())
    assert (row["name"], row["task"], row["status"]) == ("a run β", "fake", "finished")
    assert (row["iterations"], row["best"]) == (8, manifest["best"]["cost"])
    assert len(row["costs"]) == 8
    name = quote("a run β")
    status, page = ask(shelf, f"/run/{name}")
    assert (status, data_of(page)["runs"][0]["name"]) == (200, "a run β")
    status, page = ask(shelf, f"/compare?run={name}&run={name}")
    assert (status, len(data_of(page)["runs"])) == (200, 2)
    assert ask(shelf, f"/compare?run={name}")[0] == 409
    assert ask(shelf, f"/compare?run={name}&run=nothing")[0] == 409


def test_nothing_else_is_served(made: Path, shelf: Server) -> None:
    beside = made.parent.parent / "secret.txt"
    beside.write_text("secret")
    for path in (
        "/../secret.txt",
        "/run/../secret.txt",
        "/run/..%2Fsecret.txt",
        "/run/a%20run/../config.toml",
    ):
        assert ask(shelf, path)[0] == 404
    assert ask(shelf, f"/run/{quote('a run β')}/state.npz")[0] == 404
    assert ask(shelf, "/", host="example.com")[0] == 403
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert ask(shelf, "/", method)[0] == 501
    with pytest.raises(ConfigError, match=r"--port must be free, got"):
        Server(lambda path, query: None, shelf.port)


def test_a_damaged_run_is_listed_as_such(made: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "bad").mkdir(parents=True)
    (tmp_path / "deep" / "bad" / "config.toml").write_text("= rubbish")
    (row,) = json.loads(Shelf(tmp_path).answer("/runs.json", {})[1])  # type: ignore[index]
    assert (row["name"], row["status"]) == ("deep/bad", "damaged")
    assert "must be TOML" in row["note"]


def test_a_run_is_watched_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of an unwatched run; at its end the report is served, then nothing."""
    monkeypatch.setattr(live, "_PAUSE", 0.05)
    said: list[str] = []
    progress = Progress()
    progress.say = said.append  # type: ignore[method-assign]
    watcher = Live(progress)
    training = threading.Thread(
        target=runs.train, args=(settings(60, delay=0.02), tmp_path / "run", progress, True, watcher)
    )
    training.start()
    seen: list[dict[str, Any]] = []
    while not (address := [line for line in said if line.startswith("watch at")]):
        time.sleep(0.01)
    server: Any = watcher._server
    assert address == [f"watch at http://127.0.0.1:{server.port}/"]
    assert data_of(ask(server, "/")[1])["title"] == "fake"
    assert json.loads(ask(server, "/stage.json")[1])["motions"][0]["name"] == "before"
    while not seen or not seen[-1]["report"]:
        seen.append(json.loads(ask(server, "/state.json")[1]))
        if seen[-1]["stage"] and "now" not in seen[0]:
            stage = json.loads(ask(server, "/stage.json")[1])
            seen[0]["now"] = stage["motions"][-1]["caption"]
        time.sleep(0.02)
    assert ask(server, "/report.html")[1] == (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    training.join(10)
    assert not training.is_alive()
    counts = [state["course"]["iterations"] for state in seen]
    assert counts == sorted(counts)
    assert 0 < counts[len(counts) // 2] < counts[-1] == 60
    assert re.fullmatch(r"iteration \d+", seen[0]["now"])
    assert seen[-1]["status"] == "finished"
    with pytest.raises(ConnectionError):
        ask(server, "/")
    runs.train(settings(60), tmp_path / "alone", Progress(), draw=False)
    with np.load(tmp_path / "run" / "params.npz") as one, np.load(tmp_path / "alone" / "params.npz") as other:
        assert all(np.array_equal(one[key], other[key]) for key in one.files)


@pytest.mark.parametrize(("iterations", "draw"), [(2, True), (2, False), (None, True), (None, False)])
def test_who_looks_on_is_told_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iterations: int | None, draw: bool
) -> None:
    """Only a report that was written is told of; a run that Ctrl-C stopped has one too."""
    told: list[Any] = []
    watcher = runs.Watcher()
    watcher.end = lambda status, page: told.extend([status, page])  # type: ignore[method-assign]
    if iterations is None:
        monkeypatch.setattr(StopSignal, "__enter__", lambda stop: stop._note(2, None) or stop)
    runs.train(settings(iterations or 4), tmp_path / "run", Progress(), draw, watcher)
    page = tmp_path / "run" / "report.html"
    assert told == ["finished" if iterations else "stopped", page if page.exists() else None]
    assert page.exists() is draw


def test_nothing_is_recorded_where_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = importlib.import_module("diffsim_fake").FakeProblem
    calls: list[int] = []
    motion = fake.motion
    monkeypatch.setattr(fake, "motion", lambda problem: (calls.append(problem.k), motion(problem))[1])
    runs.train(settings(30), tmp_path / "run", Progress(), draw=False, watcher=Live(Progress()))
    assert calls == [0]
