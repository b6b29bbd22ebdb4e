"""The benchmarks run, and the yardstick computes what it claims. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def results(path: Path, *words: str) -> dict[str, Any]:
    """Run a benchmark that must succeed without a word on standard error, and read the file it writes."""
    done = bench(*words, "--json", str(path))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"written: {path}" in done.stdout
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    data: dict[str, Any] = json.loads(path.read_text())
    assert data["machine"]["taichi"]
    return data


def test_all_ways_to_run_the_robot_agree(arch: str, tmp_path: Path) -> None:
    words = f"mass_spring --robot 0 --steps 12 --rounds 1 --precision 64 --arch {arch}".split()
    data = results(tmp_path / "out.json", *words)
    checks = data["agreement"]["f64"]
    assert checks["agree"]
    kinds = {"step", "fused", *(["c"] if shutil.which("cc") else [])}
    assert set(checks) == {"cost", "tolerance", "agree", *kinds}
    for kind in kinds:
        assert checks[kind]["gradient_error"] < 1e-10
    assert set(data["contenders"]) == {"plain", *kinds}
    for numbers in data["contenders"].values():
        assert numbers["value_and_grad_s"] > 0
        assert len(numbers["times"]["value_and_grad"]) == 1


@pytest.mark.cpu
def test_estimates_are_reported(tmp_path: Path) -> None:
    words = "estimates --compilers native --programs planets --modes fused"
    data = results(tmp_path / "out.json", *words.split())
    assert [(row["program"], row["mode"]) for row in data["rows"]] == [("planets", "fused")]
    assert data["rows"][0]["measured"] > 0
    assert data["summary"]["native"]["rows"] == 1


def test_training_is_reported(arch: str, tmp_path: Path) -> None:
    words = f"training --robots 0 --seeds 0 3 --iterations 2 --steps 8 --arch {arch}".split()
    data = results(tmp_path / "out.json", *words)
    assert [run["seed"] for run in data["runs"]] == [0, 3]
    for run in data["runs"]:
        assert len(run["costs"]) == 2
        assert run["best_cost"] == min(run["costs"])
    best = [run["best_cost"] for run in data["runs"]]
    assert data["medians"]["0"]["best_cost"] == pytest.approx(sum(best) / 2)


def test_long_rollouts_are_reported(arch: str, tmp_path: Path) -> None:
    words = f"long --robot 0 --steps 300 --plan-steps 2000 --memory 256KiB --repeat 1 --arch {arch}".split()
    data = results(tmp_path / "out.json", *words)
    assert data["memory_peak_mib"] >= data["memory_before_mib"] > 0
    assert len(data["seconds"]) == 1
    assert np.isfinite(data["cost"])
    assert "2,000" in data["plan"]


def test_all_who_solve_the_wave_equation_agree(arch: str, tmp_path: Path) -> None:
    kinds = ["plain", "fused", "step", *(["c"] if shutil.which("cc") else [])]
    words = f"wave --grid 12 --steps 7 --repeat 1 --precision 64 --arch {arch} --contenders".split()
    data = results(tmp_path / "out.json", *words, *kinds)
    for kind in kinds[1:]:
        assert data["agreement"][kind]["gradient_error"] < 1e-12
    assert list(data["contenders"]) == kinds
    for numbers in data["contenders"].values():
        assert numbers["value_and_grad_s"] > 0


def test_all_who_simulate_the_particles_agree(arch: str, tmp_path: Path) -> None:
    words = f"mpm --particles 30 --grid 12 --steps 5 --repeat 1 --precision 64 --arch {arch}".split()
    data = results(tmp_path / "out.json", *words, "--contenders", "plain", "fused")
    assert data["agreement"]["fused"]["gradient_error"] < 1e-12
    assert data["contenders"]["fused"]["value_and_grad_faster"] > 0


@pytest.mark.cpu
def test_all_who_are_compared_as_compilers_agree(tmp_path: Path) -> None:
    mine = "native" if find_spec("llvmlite") else "taichi"
    kinds = [mine, "plain", *(["c"] if shutil.which("cc") else [])]
    words = "compilers --small --warm --rounds 1 --precision 64 --mode step --rows smoke chain".split()
    data = results(tmp_path / "out.json", *words, "--contenders", *kinds)
    assert list(data["results"]["smoke"]["contenders"]) == [mine, "plain"]
    assert data["results"]["smoke"]["agreement"]["plain"]["gradient_error"] < 1e-12
    chain = data["results"]["chain"]
    if shutil.which("cc"):
        assert chain["agreement"]["c"]["gradient_error"] < 1e-12
    for numbers in chain["contenders"].values():
        assert numbers["first_call_s"] > numbers["value_and_grad_s"] > 0


@pytest.mark.cpu
@pytest.mark.skipif(find_spec("warp") is None, reason="warp-lang is not installed: pip install warp-lang")
def test_the_yardsticks_in_warp_agree(tmp_path: Path) -> None:
    mine = "native" if find_spec("llvmlite") else "taichi"
    rows = ["worlds16", "wave", "mpm"]
    words = f"compilers --small --warm --rounds 1 --precision 64 --contenders {mine} warp --rows".split()
    data = results(tmp_path / "out.json", *words, *rows)
    assert list(data["results"]) == rows
    for row in data["results"].values():
        assert row["agreement"]["warp"]["gradient_error"] < 1e-12
        assert row["agreement"]["warp"]["cost_error"] < 1e-12


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_robots_in_c_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.c_mass_spring import make_program
    from benchmarks.mass_spring_problem import draw_starts, draw_weights
    from diffsim.kernels.mass_spring import load_robot

    robot, h = load_robot(0), 1e-6
    weights = draw_weights(len(robot.points), len(robot.springs))
    value, value_and_grad = make_program(robot, weights, 40, draw_starts(robot.points, 3))
    cost, grads = value_and_grad()
    assert value() == cost
    rng = np.random.default_rng(3)
    for name, array in weights.items():  # which the program reads at each call
        direction, values = rng.normal(size=array.shape), []
        for step in (h, -2.0 * h):
            array += step * direction
            values.append(value())
        array += h * direction
        assert (values[0] - values[1]) / (2 * h) == pytest.approx(
            float(np.sum(grads[name] * direction)), rel=1e-6
        )


def test_compilers_are_held_to_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.compilers import judge
    from benchmarks.compilers_rows import ROWS

    def found(seconds: list[float], first: float) -> dict[str, Any]:
        return {"times": dict.fromkeys(("value", "value_and_grad"), seconds), "first_call_s": first}

    # the machine is half as fast in some rounds, and busy in single turns: ratios of medians would be others
    judged = judge(
        ROWS["robot"],
        {
            "native": found([1.0, 1.0, 2.0, 2.0, 2.0], 0.5),
            "c": found([0.6, 0.6, 1.2, 1.2, 9.0], 0.1),
            "jax": found([1.6, 1.6, 3.2, 3.2, 2.0], 0.4),
        },
    )
    assert judged["c"]["value_and_grad_ratio"] == pytest.approx(0.6)
    assert (judged["c"]["held"], judged["jax"]["held"]) == (False, True)
    assert judged["jax"]["value_and_grad_ratio"] == pytest.approx(1.6)
    assert judged["jax"]["first_call_held"] is False
    assert "held" not in judged["native"]
    other = judge(ROWS["robot"], {"taichi": found([1.0], 1.0), "c": found([0.9], 1.0)})
    assert "held" not in other["c"]


@pytest.mark.cpu
def test_first_gradients_are_waited_for(tmp_path: Path) -> None:
    data = results(tmp_path / "out.json", *"first --programs pendulum --rounds 1".split())
    pendulum = data["results"]["pendulum"]
    assert pendulum["agree"]
    for state in ("cold", "warm"):
        assert len(pendulum["runs"][state]) == 1
        assert pendulum[f"{state}_seconds"] > 0


def test_caches_are_empty_and_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.common import empty_caches

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TI_OFFLINE_CACHE_FILE_PATH", raising=False)
    with empty_caches():
        assert os.environ["XDG_CACHE_HOME"] != str(tmp_path)
        assert not Path(os.environ["TI_OFFLINE_CACHE_FILE_PATH"]).exists()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path)
    assert "TI_OFFLINE_CACHE_FILE_PATH" not in os.environ


def test_contenders_that_disagree_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.contest import compare

    def contender(kind: str, cost: float, slope: float) -> Any:
        grads = {"u": np.array([1.0, slope])}
        return SimpleNamespace(setup=SimpleNamespace(kind=kind), cost=cost, grads=grads)

    first = contender("plain", 2.0, 3.0)
    assert compare([first, contender("fused", 2.0, 3.0)], 1e-9)["agree"]
    for cost, slope in ((2.1, 3.0), (2.0, 3.1), (np.nan, 3.0), (2.0, np.nan)):
        assert not compare([first, contender("fused", cost, slope)], 1e-3)["agree"]
    assert "DISAGREE by more than 1e-03" in capsys.readouterr().out


def test_many_worlds_are_measured(tmp_path: Path) -> None:
    words = "worlds --robot 0 --steps 9 --worlds 2 --threads 2 --repeat 1".split()
    data = results(tmp_path / "out.json", *words)
    assert set(data["results"]) == {"value", "backward", "value_and_grad"}
    assert data["gradient_difference"] < 1e-3
    both = data["results"]["value_and_grad"]
    bar = both["one_s"] / both["scaling"]
    for way in ("process", "pool"):
        assert both[f"{way}_against_bar"] == pytest.approx(both[f"{way}_s"] / 2 / bar)


def test_memory_over_the_horizon_is_measured(tmp_path: Path) -> None:
    picture = tmp_path / "memory.png"
    folder = tmp_path / "out"
    folder.mkdir()
    words = f"memory --robot 0 --steps 200 1600 --worlds 1 --most-stored 1MiB --plot {picture}".split()
    data = results(folder / "out.json", *words)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [row["steps"] for row in data["rows"]] == [200, 1600]
    for row in data["rows"]:
        assert row["recomputation"] <= 2.0
        assert row["plan_bytes"] <= row["budget"] < row["store_all_bytes"]
        assert row["peak_mib"] > row["plan_bytes"] / 2**20
    assert ["store_all_peak_mib" in row for row in data["rows"]] == [True, False]
    assert data["slopes"]["plan_bytes"] < 0.55


def test_slopes_are_those_of_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.memory import slope

    steps = (10, 100, 3000)
    for power in (0.0, 0.5, 1.0):
        assert slope(steps, [7.0 * s**power for s in steps]) == pytest.approx(power)


def test_the_cost_of_windows_is_measured(tmp_path: Path) -> None:
    words = "overhead --grid 6 --wave-steps 48 --programs wave --repeat 2".split()
    data = results(tmp_path / "out.json", *words)
    plans = data["results"]["wave"]["plans"]
    assert [plan["window"] for plan in plans.values()] == [48, 12, 3, 12]
    assert [plan["recomputation"] for plan in plans.values()] == pytest.approx([1.0, 84 / 48, 93 / 48, 1.0])
    assert set(data["results"]["wave"]["figures"]) == {
        "forward, T/4",
        "both, T/4, less replay",
        "both, T/16",
        "both, T/4, kept",
    }


def test_a_matrix_made_once_takes_what_a_param_takes(tmp_path: Path) -> None:
    found = results(tmp_path / "out.json", *"once --size 12 --steps 40 --repeat 1".split())["results"][
        "bytes"
    ]
    assert (
        found["made"] == found["timeless"] == found["param"] + 8 * 12 * 12
    )  # the initial value, with adjoint


def test_overheads_are_ratios_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.overhead import judge

    times = {"value T": 1.0, "value T/4": 1.1, "both T": 4.0, "both T/4": 5.0, "both T/16": 6.0}
    times["both T/4, kept"] = 4.4
    plans = {"T/4": {"recomputation": 1.75}}
    found = judge({"plans": plans, "times": {key: [value, value] for key, value in times.items()}})
    medians = [figure["median"] for figure in found.values()]
    assert medians == pytest.approx([1.1, (5.0 - 0.75) / 4.0, 1.5, 1.1])


def test_the_report_of_a_gpu_can_be_rehearsed_on_the_processor(tmp_path: Path) -> None:
    """`make gpu` on a machine without one: parts, tables, the page, and what counts as wrong."""
    words = "gpu --arch cpu --small --parts robots programs --programs mpm --modes fused --repeat 1 --peers"
    done = bench(*words.split(), "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gpu_cpu.json", "gpu_cpu.md"]
    data = json.loads((tmp_path / "gpu_cpu.json").read_text())
    one, four = data["robots"]
    assert (one["ran"], one["worlds"], four["ran"], four["worlds"]) == ("fused", 1, "fused", 4)
    assert one["cost"] == pytest.approx(four["cost"], rel=1e-5)
    assert four["bytes"] > one["bytes"]
    native, fused = data["programs"]
    assert (native["kind"], fused["kind"]) == ("native", "cpu:fused")
    assert fused["agree"]
    page = (tmp_path / "gpu_cpu.md").read_text()
    assert "## Robot 0, 6 steps" in page
    assert page.count("\n| fused |") == 2
    assert "| mpm | cpu:fused |" in page
    assert "all is well" in done.stdout


def test_what_is_wrong_on_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu import verdict
    from benchmarks.gpu_report import ratios

    rows: list[dict[str, Any]] = [
        {"mode": "fused", "worlds": 256, "both_s": 1.0},
        {"mode": "fused", "worlds": 4096, "both_s": 12.0},
        {"mode": "chunk", "worlds": 256, "both_s": 2.0},
        {"mode": "chunk", "worlds": 4096, "both_s": 8.0},
    ]
    assert ratios(rows) == {"fused": 12.0, "chunk": 4.0, "fastest": 8.0}
    assert verdict({"robots": rows, "tests": {"status": 0}}) == []
    rows[3] |= {"both_s": 11.0}
    rows.append({"mode": "step", "worlds": 256, "error": "too slow"})
    found = verdict(
        {
            "robots": rows,
            "tests": {"status": 1},
            "programs": [{"program": "wave", "kind": "cuda:step", "agree": False}],
        }
    )
    assert found == [
        "tests failed or were not done in time",
        "step 256: too slow",
        "wave cuda:step: cost or gradient is not the CPU's",
        "sixteen times the robots take 11.0 times as long",
    ]


def test_backends_are_compared(tmp_path: Path) -> None:
    """Two that every machine has; one that is not there is left out with its reason."""
    words = "backends --small --rounds 1 --rows wave --contenders native cuda native:fused".split()
    data = results(tmp_path / "out.json", *words)
    row = data["results"]["wave"]
    assert row["agreement"]["agree"]
    assert {"native", "native:fused"} <= set(row["contenders"])
    assert "cuda" in row["contenders"] or "CUDA" in row["missing"]["cuda"]


def test_reading_kernels_is_measured(tmp_path: Path) -> None:
    data = results(tmp_path / "out.json", "analysis", "--repeat", "1")
    rows = [row for rows in data["results"].values() for row in rows]
    assert data["worst_ms"] == max(row["total_ms"] for row in rows) > 0
    assert {"TextbookMPM.p2g", "MassSpring.pull"} < {row["kernel"] for row in rows}


def test_the_benchmarks_particles_have_the_right_gradient(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    import diffsim as ds
    from benchmarks.textbook_mpm import TextbookMPM

    sim = TextbookMPM(particles=30, grid=12)
    rollout = ds.Rollout(sim, steps=6)
    report = rollout.check_grad(wrt=[sim.gravity, sim.x, sim.v])
    assert report.passed, report
    rollout.close()


def test_projections_are_compared(tmp_path: Path) -> None:
    data = results(tmp_path / "out.json", *"smoke --n 8 --steps 2 --sweeps 40 --rounds 1".split())
    multigrid, sweeps = data["rows"]
    assert multigrid["divergence"] < 1e-5 < sweeps["divergence"]
    assert multigrid["gradient_error"] < 1e-3 < sweeps["gradient_error"]


def test_bars_are_held_by_medians() -> None:
    from benchmarks.learning import BARS, Bar, judged, summary
    from diffsim.tasks.registry import load_task, task_names

    runs = [
        {"before": {"way [m]": 0.1, "miss [m]": 2.0}, "after": {"way [m]": way, "miss [m]": 0.3}}
        for way in (0.5, 0.1, 0.3)
    ]
    row = judged(Bar("way", 0.3, below=False), runs)
    assert row == ["way [m]", "0.5 0.1 0.3", "0.3", ">= 0.3", "reached"]
    assert judged(Bar("way", 0.31, below=False), runs)[-1] == "MISSED"
    assert judged(Bar("miss", 0.15, relative=True), runs)[2:] == ["0.15", "<= 0.15", "reached"]
    assert judged(Bar("miss", 0.29), runs)[-1] == "MISSED"
    failed = [{"task": "wave", "seconds": 1.0, "passed": False}]
    assert summary("wave", failed)[0][5] == "FAILED"
    assert set(BARS) == {
        name for name in task_names() if load_task(name).__module__.startswith("diffsim.demos.")
    }


def test_pictures_are_measured(tmp_path: Path) -> None:
    words = "pictures --tasks electric --smoke --kinds gif mp4 --particles 20 --frames 4 --repeat 1".split()
    data = results(tmp_path / "out.json", *words)
    colors = data["colors"]["electric"]
    assert 0.0 < colors["now"]["mean"] <= colors["now"]["max"]
    assert colors["now"]["mean"] < colors["one palette"]["mean"]
    assert [row["kind"] for row in data["films"]] == ["gif", "mp4"]
    assert min(row["bytes"] for row in data["films"]) > 1000


@pytest.mark.native
def test_layouts(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.layouts import TOGETHER, Cells, times_of

    row = times_of(Cells, 20, TOGETHER, 1)
    assert row["same bits"]
    assert [len(row[name]) for name in ("value", "both")] == [2, 2]


@pytest.mark.native
def test_scratch(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.scratch import measured
    from diffsim.kernels.elastic import Elastic, ElasticConfig, block

    sim = Elastic(block(ElasticConfig(cell=1.0 / 16.0, dt=2e-3)))
    rows = measured(sim, 12, "1MiB", 1)
    assert list(rows) == ["held", "recomputed", "auto"]
    assert all(row["same bits"] for row in rows.values())


def test_a_wrong_command_line_is_refused() -> None:
    done = bench("mass_sprung")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "NAME must be one of mass_spring, wave, mpm, training, long, memory, overhead, worlds, gpu, "
        "analysis, smoke, functions, compilers, first, versions, energies, once, language, estimates, "
        "pictures, layouts, scratch, backends, learning, sparse, got mass_sprung; leave it out for all but "
        "learning, sparse"
    )
    done = bench("mass_spring", "--steps", "0")
    assert done.returncode == 2
    assert "--steps must be at least 1, got 0" in done.stderr


def test_the_yardstick_has_the_right_gradient(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Central differences along random directions, over enough steps that a foot hits the ground."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.plain_taichi_mass_spring import PlainMassSpring, draw_weights
    from diffsim.kernels.mass_spring import load_robot

    robot, steps, h = load_robot(1), 30, 1e-6
    weights = draw_weights(len(robot.points), len(robot.springs), seed=2)
    program = PlainMassSpring(robot, weights, steps)
    cost, grads = program.value_and_grad()
    assert program.value() == pytest.approx(cost, rel=1e-14)
    speeds = program.v.to_numpy()
    assert np.any((speeds[1:] == 0.0).all(axis=-1)), "no point hit the ground"
    rng = np.random.default_rng(3)
    for _ in range(3):
        direction = {name: rng.normal(size=array.shape) for name, array in weights.items()}
        values = []
        for sign in (1.0, -1.0):
            program.set({name: array + sign * h * direction[name] for name, array in weights.items()})
            values.append(program.value())
        slope = sum(float(np.sum(grads[name] * direction[name])) for name in weights)
        assert (values[0] - values[1]) / (2 * h) == pytest.approx(slope, rel=1e-6)
