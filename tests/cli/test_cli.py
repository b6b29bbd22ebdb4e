"""The command line as a newcomer meets it, misuse first."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sweeps import FULL

from diffsim.cli import app as cli
from diffsim.progress import Bar, Lines, Progress, format_seconds, make_progress
from diffsim.tasks import runs
from diffsim.tasks.registry import load_task

PLUGIN = Path(__file__).parents[1] / "plugin"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in an empty folder, with tests/plugin installed: (status, out, err)."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.import_module("diffsim_fake")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        return status, *capfd.readouterr()

    return call


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])),
    }
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


# --------------------------------------------------------------------------------------------------- misuse

MISUSE = [
    ("trian", "No such command 'trian'; .*train.*; see diffsim --help"),
    (
        "measure",
        "No such command 'measure'; the commands are list, new, .*, check.*; see diffsim --help",
    ),
    ("list surplus", "unexpected extra argument .surplus.; see diffsim list --help"),
    ("--quiet list", "No such option '?--quiet"),
    ("--frobnicate", "No such option"),
    ("train", "NAME must be one of .*fake, .*mass_spring, .*, got nothing; diffsim list shows the tasks"),
    ("train fkae", r"NAME must be one of .*got 'fkae'; did you mean fake\?"),
    ("train --steps 3 fkae", r"got 'fkae'; did you mean fake\?"),
    ("train zzz --steps 3", "got 'zzz'; diffsim list shows the tasks"),
    ("train fake_broken", "task fake_broken must be importable"),
    ("train fake_wrong", "task fake_wrong must be a subclass of"),
    ("train fake_clash", "task fake_clash must not have an option steps, which all tasks have"),
    ("train fake --steps", "Option '--steps' requires an argument; see diffsim train --help"),
    ("train fake --no-pictures=1", "'--no-pictures' does not take a value; see diffsim train --help"),
    ("train fake --all", "NAME must be left out with --all, got fake"),
    ("train --all --jobs 0", "--jobs must be a whole number from 1 to 256, got '0'"),
    ("train --all --out file", "--out must be a folder, got file, which is a file"),
    ("train fake --jobs 2", "--jobs must come with --all, got 2"),
    ("train fake --steps 0", "--steps must be a whole number from 1 to 2147483646, got '0'"),
    ("train fake --steps -3", "--steps must be a whole number from 1 to 2147483646, got '-3'"),
    ("train fake --steps 1.5", "--steps must be a whole number from 1 to 2147483646, got '1.5'"),
    ("train fake --steps many", "got 'many'"),
    ("train fake --iterations 0", "--iterations must be a whole number from 1 to 2147483646, got '0'"),
    (
        "train fake --seed -1",
        "--seed must be a whole number from 0 to 2147483647, got '-1'; the default is 0",
    ),
    ("train fake --seed 9999999999", "--seed must be"),
    ("train fake --worlds 0", "--worlds must be"),
    ("train fake --lr 0", "--lr must be a number above 0, got '0'"),
    ("train fake --lr nan", "--lr must be a number above 0, got 'nan'"),
    ("train fake --momentum 2", "--momentum must be a number from 0 to 1, got '2'"),
    ("train fake --optimizer sdg", "--optimizer must be one of sgd, adam, got 'sdg'"),
    (
        "train fake --optimizer adam --momentum 0.5",
        "--momentum must be left out with the optimizer adam, got 0.5",
    ),
    ("train mass_spring --robot 7", "robot must be a number from 0 to 4, .*, got 7"),
    ("train mass_spring --robot=-1", "error: --robot must be a number from 0 to 4, .*, got -1"),
    (
        "train mass_spring --hidden 1000000000000",
        "--hidden must be a whole number from 1 to 65536, got '1000000000000'",
    ),
    ("train mass_spring --robot none.toml", "none.toml: robot file must exist"),
    ("train mass_spring --robot full", "full: robot file must be a file"),
    (
        "train mass_spring --optimizer adam --normalize",
        "--normalize must be left out with the optimizer adam",
    ),
    ("train fake --optimizer adam --lr 0", "--lr must be a number above 0"),
    ("train fake --momentum 1", "momentum must be"),
    ("train fake --steps 99999999999999999999", "--steps must be a whole number from 1 to 2147483646"),
    (
        "train fake --mode fast",
        "--mode must be one of auto, step, chunk, fused, got 'fast'; the default is auto",
    ),
    ("train fake --arch tpu", "--arch must be one of auto, cpu, cuda, vulkan, metal, got 'tpu'"),
    ("train fake --precision 16", "--precision must be one of 32, 64, got '16'"),
    ("train fake --threads 0", "--threads must be a whole number from 1 to 1024, got '0'"),
    ("train fake --shape flat", "--shape must be one of round, square, got 'flat'"),
    ("train fake --bent=yes", "'--bent' does not take a value"),
    ("train fake --colour red", "No such option.*--colour"),
    ("train fake --robot 1", "No such option.*--robot"),
    ("train fake surplus", "unexpected extra argument"),
    ("train fake --file missing.txt", "missing.txt: file must exist"),
    ("train fake --out file", "--out must be a folder, got file, which is a file"),
    ("train fake --out file/x", "--out must be"),
    ("train fake --out full", "--out must be a new or empty folder, got full, .*files; choose another$"),
    ("train fake --out run", "got run, which holds a run; go on with it .diffsim resume run. or choose"),
    ("train fake --out=", "--out must name a folder, got ''"),
    ("train fake --out /dev/null/x", "--out must be"),
    ("resume", "Missing argument 'FOLDER'"),
    ("resume nowhere", "run folder must exist, got nowhere; make one with: diffsim train NAME --out nowhere"),
    ("resume file", "run folder must exist, got file"),
    ("resume full", "run folder must hold config.toml, got full"),
    ("resume full --iterations 0", "--iterations must be a whole number from 1 to 2147483646, got '0'"),
    ("resume full --iterations 3", "run folder must hold config.toml, got full"),
    ("resume run --steps 3", "No such option.*--steps"),
    ("resume run --iterations five", "--iterations must be a whole number .*, got 'five'"),
    ("resume run surplus", "unexpected extra argument .surplus.; see diffsim resume --help"),
    ("render nowhere", "run folder must exist"),
    ("render full --no-pictures", "No such option '?--no-pictures"),
    ("explain nothing", "NAME must be one of .*, got 'nothing'"),
    ("explain RACES", r"NAME must be a task or a rule, got 'RACES'; did you mean RACE\?"),
    ("explain RULE", "got 'RULE'; diffsim explain --help lists the rules"),
    (
        "explain RACE --steps 3",
        "a rule must be explained alone, got RACE --steps 3; write diffsim explain RACE",
    ),
    ("check --all --steps 0", "--steps must be a whole number"),
    ("plan", "NAME must be one of"),
    ("plan mass_spring --steps 0", "--steps must be"),
    ("check mass_sprig", "did you mean mass_spring"),
    ("check mass_spring --directions 0", "--directions must be a whole number of at least 1"),
    ("check mass_spring --components=-1", "--components must be a whole number of at least 0"),
]


@pytest.mark.parametrize(("words", "message"), MISUSE, ids=[words for words, _ in MISUSE])
def test_misuse_is_one_line_and_writes_nothing(run: Run, tmp_path: Path, words: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    before = sorted(tmp_path.rglob("*"))
    status, out, err = run(*words.split())
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*\n", err)
    assert re.search(message, err), err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_goes_wrong_is_one_line_and_status_1(run: Run) -> None:
    status, out, err = run("train", "fake", "--fail-at", "3", "--out", "x", "--quiet")
    assert (status, out) == (1, "")
    assert err == "error: cost must be finite, got nan; the first step at which x is not finite is 3\n"


def test_sizes_beyond_memory_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 495. TiB")

    monkeypatch.setattr(runs, "train", huge)
    status, out, err = run("train", "fake", "--out", "x")
    assert (status, out) == (1, "")
    assert err == "error: sizes must fit into memory, got: Unable to allocate 495. TiB; choose smaller ones\n"


def test_an_unwritable_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    status, out, err = run("train", "fake", "--out", "closed/x")
    assert (status, out) == (2, "")
    assert (
        err == "error: --out must be a folder that can be made, got closed/x (Permission denied); "
        "choose another\n"
    )


# ----------------------------------------------------------------------------------------------- what works


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_the_commands(run: Run, words: list[str]) -> None:
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    for name in ("list", "train", "resume", "render", "plan", "check"):
        assert re.search(rf"^  {name} ", out, re.M)


def test_help_of_a_task_shows_its_own_options_and_defaults(run: Run) -> None:
    for words in (["train", "fake", "--help"], ["train", "--help", "fake"]):
        status, out, err = run(*words)
        assert (status, err) == (0, "")
        assert "--shape round|square" in out
        assert re.search(r"--steps INT +time steps of a rollout \[10\]", out)
        assert re.search(r"--lr FLOAT .*", out)
    status, out, _ = run("train", "--help")
    assert status == 0
    assert "--steps" in out
    assert "--shape" not in out


def test_version(run: Run) -> None:
    status, out, err = run("--version")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"diffsim \d+\.\d+\.\d+\n", out)


def test_list_shows_tasks_and_simulators_also_broken_ones(run: Run) -> None:
    status, out, err = run("list")
    assert (status, err) == (0, "")
    assert re.search(r"^  mass_spring +\S.*walk", out, re.M)
    assert re.search(r"^  fake_broken +\[task fake_broken must be importable", out, re.M)
    assert re.search(r"^  mass_spring +diffsim.kernels.mass_spring:MassSpring$", out, re.M)


def test_list_and_help_import_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from diffsim.cli import main
main(sys.argv[1:])
print(*[name for name in ("matplotlib", "PIL", "diffsim.kernels") if name in sys.modules])
"""
    for words in (["list"], ["train", "mass_spring", "--help"]):
        done = python("-c", code, *words, cwd=tmp_path)
        assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "")


def test_python_m_is_the_same(tmp_path: Path) -> None:
    done = python("-m", "diffsim", "train", "fake", "--steps", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "error: --steps must be a whole number from 1 to 2147483646, got '0'; leave it out where unsure\n"
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    line = f"{sys.executable} -m diffsim list | true"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_options_reach_the_run(run: Run, tmp_path: Path) -> None:
    words = "train --steps 7 --shape square fake --out x --bent --lr 0.01 --seed 5 --quiet"
    words += " --iterations 3 --threads 1"
    assert run(*words.split()) == (0, "", "")
    settings = runs.RunFolder(tmp_path / "x").settings
    assert settings.options == {"delay": 0.0, "fail_at": -1, "shape": "square", "bent": True}
    assert (settings.run.steps, settings.run.iterations, settings.run.seed, settings.run.threads) == (
        7,
        3,
        5,
        1,
    )
    # The task's own optimizer, but for what was given.
    assert settings.optimizer == {"name": "sgd", "lr": 0.01, "momentum": 0.5, "normalize": False}


def test_another_optimizer_has_its_own_defaults(run: Run, tmp_path: Path) -> None:
    assert run(*"train fake --out x --optimizer adam --smoke --quiet".split()) == (0, "", "")
    settings = runs.RunFolder(tmp_path / "x").settings
    assert settings.optimizer["name"] == "adam"
    assert "momentum" not in settings.optimizer
    assert (settings.run.steps, settings.run.iterations) == (10, 2)


def test_smoke_gives_way_to_what_is_asked_for(run: Run, tmp_path: Path) -> None:
    assert run(*"train fake --out x --smoke --quiet --iterations 4".split())[0] == 0
    assert runs.RunFolder(tmp_path / "x").settings.run.iterations == 4


def test_a_run_without_a_folder_chooses_one(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        assert run("train", "fake", "--smoke", "--quiet")[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["fake", "fake-2"]


def test_a_file_that_an_option_names_may_vanish(run: Run, tmp_path: Path) -> None:
    (tmp_path / "robot.txt").write_text("three legs")
    assert run("train", "fake", "--file", "robot.txt", "--out", "x", "--quiet", "--iterations", "3")[0] == 0
    (tmp_path / "robot.txt").unlink()
    with runs.RunFolder(tmp_path / "x") as folder:
        assert folder.settings.data == {"text": "three legs"}
    (tmp_path / "x" / "manifest.json").unlink()
    assert run("resume", "x", "--quiet") == (0, "", "")


def test_train_resume_and_render_say_what_they_did(run: Run) -> None:
    status, out, err = run("train", "fake", "--out", "x", "--iterations", "5")
    assert (status, err) == (0, "")
    assert re.search(r"^best cost \S+ in iteration \d of 5$", out, re.M)
    assert re.search(r"^compiled in \S+ s, ran in \S+ s \(\S+ it/s\)$", out, re.M)
    assert out.splitlines()[-1] == "results are in x"
    status, out, err = run("resume", "x")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "nothing to do: all 5 iterations were done before"
    status, out, err = run("render", "x")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "pictures are in x"


# ------------------------------------------------------------------------------------------------- progress


def feed(progress: Progress, total: int) -> None:
    with progress:
        progress.begin(total)
        for k in range(total):
            progress.update(k + 1, 1.0 / (k + 1), 1.0 / (k + 1), 0.25)


def test_plain_lines_are_few_and_tell_all() -> None:
    stream = io.StringIO()
    feed(Lines(stream), 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    pattern = r"iteration  100/1000  cost 0.01  best 0.01  gradient 0.25  \S+ it/s  \S+ s left"
    assert re.fullmatch(pattern, lines[0])


def test_plain_lines_come_every_second_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(k) for k in range(100))
    monkeypatch.setattr("diffsim.progress.time.perf_counter", lambda: next(clock))
    stream = io.StringIO()
    feed(Lines(stream), 20)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 20
    assert lines[4].endswith("1 it/s  15 s left")


def test_plain_lines_show_figures_compiling_and_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure stands in the line of its cost only; compiling and drawing are told every other second."""
    now = [0.0]
    monkeypatch.setattr("diffsim.progress.time.perf_counter", lambda: now[0])
    stream = io.StringIO()
    lines = Lines(stream)
    for k in range(1, 6):
        now[0] += 1.5
        lines.compiling(k, 5, f"Walker.part{k}")
    for k in range(1, 31):
        now[0] += 0.25
        lines.drawing("a.gif", k, 30)
    lines.begin(100)
    shown = []
    for k in range(1, 21):
        now[0] += 0.001
        shown.append(lines.due(k))
        if k in (10, 15):
            lines.measured(f"way {k} m")
        lines.update(k, -1.0, -2.0, 0.5)
    assert [k for k, due in enumerate(shown, 1) if due] == [10, 20]
    text = [line.partition("  gradient")[0] for line in stream.getvalue().splitlines()]
    assert text == [
        *(f"compiling {k} of 5: Walker.part{k}" for k in (2, 4)),
        *(f"drawing a.gif: {k} of 30 frames" for k in (9, 17, 25)),
        "iteration  10/100  cost -1  way 10 m  best -2",
        "iteration  20/100  cost -1  best -2",
    ]


def test_a_terminal_shows_figures_compiling_and_films_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with Bar(stream) as progress:
        progress.compiling(3, 11, "Walker.springs[0], adjoint")
        progress.begin(50)
        progress.measured("way 0.41 m")
        progress.update(1, -0.25, -0.5, 0.125)
        progress._bar.refresh()
        progress.drawing("a.gif", 1, 30)
        progress.drawing("a.gif", 12, 30)
        progress._bar.refresh()
    for part in ("compiling 3 of 11: Walker.springs[0], adjoint", "cost -0.25  way 0.41 m", "drawing a.gif"):
        assert part in stream.getvalue()
    assert "12/30" in stream.getvalue()
    assert progress._bar is progress._busy is None


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    progress = make_progress(False, stream)
    assert isinstance(progress, Bar)
    with progress:
        progress.begin(50, 10)
        progress.update(20, -0.25, -0.5, 0.125)
        progress._bar.refresh()
    for part in ("20/50", "cost -0.25", "gradient 0.125", "it/s", "left"):
        assert part in stream.getvalue()
    progress.say("[done] in runs/x")
    assert "[done] in runs/x" in stream.getvalue()


def test_quiet_is_quiet_and_pipes_get_lines() -> None:
    stream = io.StringIO()
    assert isinstance(make_progress(False, stream), Lines)
    quiet = make_progress(True, stream)
    feed(quiet, 3)
    quiet.say("nothing")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1:00"), (185, "3:05"), (7800, "2:10:00")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


# ------------------------------------------------------------------------------------- the task that ships


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, arch: str) -> Path:
    """A short run of the robot, as a user makes it."""
    folder = tmp_path_factory.mktemp("demo")
    words = ["--steps", "40", "--iterations", "3", "--threads", "1", "--arch", arch, "--out", "run"]
    done = python("-m", "diffsim", "train", "mass_spring", *words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^iteration 3/3  cost ", done.stdout, re.M)
    # neither Taichi's banner nor its log lines; a unit is all that stands in brackets
    assert "[" not in done.stdout.replace("way of the head to the right [m]:", "")
    return folder / "run"


def test_the_demo_leaves_a_folder_with_pictures(trained: Path) -> None:
    from PIL import Image

    assert {path.name for path in trained.iterdir()} == {
        *("config.toml", "history.csv", "params.npz", "state.npz", "manifest.json", "compare.png"),
        *("before.npz", "best.npz", "last.npz", "adjoints.npz", "report.json"),
        *runs.PICTURES,
    }
    sizes = set()
    for name in ("before.gif", "after.gif"):
        with Image.open(trained / name) as image:
            assert image.n_frames == 41
            sizes.add(image.size)
    assert len(sizes) == 1  # both at one scale
    with Image.open(trained / "cost.png") as image:
        assert min(image.size) > 300
    with np.load(trained / "params.npz") as params:
        parts = {f"policy.{name}" for name in ("w0", "b0", "w1", "b1")}
        assert set(params.files) == {f"{kind}/{key}" for kind in ("best", "last") for key in parts}
        assert not np.array_equal(params["best/policy.w1"], params["last/policy.w1"])


def test_the_report_of_the_demo_shows_its_program(trained: Path) -> None:
    graphs = json.loads((trained / "report.json").read_text(encoding="utf-8"))["graphs"]
    step, time = graphs.values()
    assert "MassSpring.advance" in step
    assert "steps 0 – 39" in time
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("MassSpring.advance", *graphs))


def test_the_demo_says_what_it_ran_on(trained: Path) -> None:
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["plan"]["mode"] in ("step", "fused")
    assert manifest["backend"]["precision"] == 32
    assert manifest["versions"]["taichi"].startswith("1.7")
    settings = runs.RunFolder(trained).settings
    assert settings.data["robot"]["name"] == "b"
    assert settings.optimizer == load_task("mass_spring").optimizer


UNDRAWN = """
from diffsim.cli import main
from diffsim.tasks.runs import pictures
pictures.draw = lambda *_: None
raise SystemExit(main())
"""


@pytest.mark.cpu
def test_a_robot_killed_and_resumed_learns_the_same(trained: Path, tmp_path: Path) -> None:
    """The run of `trained`, cut before its first save and after each of its first two iterations."""
    whole = numbers(trained)
    for count in (0, 1, 2) if FULL else (0, 2):  # a task that costs nothing is cut everywhere in test_runs.py
        folder = tmp_path / f"cut{count}"
        code = f"""
import os
from pathlib import Path
from diffsim.tasks import runs
from diffsim.progress import Progress

class Kill(Progress):
    def update(self, done, cost, best, grad_norm):
        if done == {count}:
            os.kill(os.getpid(), 9)

runs.training._SAVE_SECONDS, runs.training._SAVE_SHARE = 0.0, 1e9
if {count} == 0:
    runs.training._iterate = lambda *_: os.kill(os.getpid(), 9)
settings = runs.Settings.from_toml(Path({str(trained / "config.toml")!r}).read_text(), "config.toml")
runs.train(settings, Path({str(folder)!r}), Kill())
"""
        assert python("-c", code, cwd=tmp_path).returncode == -9
        command = ["-m", "diffsim"] if count == 2 else ["-c", UNDRAWN]
        done = python(*command, "resume", str(folder), "--quiet", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert numbers(folder) == whole
    assert set(runs.PICTURES) <= {path.name for path in folder.iterdir()}


def numbers(folder: Path) -> tuple[list[str], dict[str, bytes]]:
    """History without wall time, and parameters."""
    rows = [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
    with np.load(folder / "params.npz") as params:
        return rows, {key: params[key].tobytes() for key in params.files}


def test_plan_answers_at_once_for_a_million_steps(tmp_path: Path) -> None:
    words = ["plan", "mass_spring", "--steps", "1000000", "--memory", "256MiB"]
    done = python("-m", "diffsim", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,000,000" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_check_passes_for_the_robot(tmp_path: Path, arch: str) -> None:
    words = ["check", "mass_spring", "--steps", "8", "--directions", "2", "--components", "3", "--arch", arch]
    done = python("-m", "diffsim", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the worst of 3 components" in done.stdout
    assert "passed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("right: the gradient agrees with central differences")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    ["--memory 1KiB", "--memory much", "--memory=-1GiB", "--chunk 4 --mode fused", "--spill /no/such"],
)
def test_what_only_the_engine_can_refuse_writes_nothing_either(tmp_path: Path, words: str, arch: str) -> None:
    done = python("-m", "diffsim", "train", "mass_spring", "--arch", arch, *words.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: --(memory|chunk|spill) must .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
