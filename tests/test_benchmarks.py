"""The benchmarks run, and the yardstick computes what it claims. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


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
    assert set(checks) == {"cost", "tolerance", "agree", "step", "fused"}
    for kind in ("step", "fused"):
        assert checks[kind]["gradient_error"] < 1e-10
    assert set(data["contenders"]) == {"plain", "step", "fused"}
    for numbers in data["contenders"].values():
        assert numbers["value_and_grad_s"] > 0
        assert len(numbers["times"]["value_and_grad"]) == 1


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


def test_a_wrong_command_line_is_refused() -> None:
    done = bench("mass_sprung")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "NAME must be one of mass_spring, training, long, analysis, got mass_sprung"
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
