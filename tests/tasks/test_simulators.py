"""Every task that ships: trained in its small size, and its gradient checked, as the command line does it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scene_checks import assert_drawable
from sweeps import FULL

from diffsim import runtime, view
from diffsim.cli.checking import check_task
from diffsim.cli.survey import train_task
from diffsim.errors import MissingExtraError
from diffsim.options import options_of
from diffsim.tasks.registry import load_simulator, load_task, simulator_names, task_names
from diffsim.tasks.runs import RunOptions
from diffsim.view import Film, film_file
from diffsim.view.trajectory import Trajectory

SHIPPED = [name for name in task_names() if load_task(name).__module__.startswith("diffsim.demos.")]
FRAMES = 4  # of a film, beside the second and the last but one
# what the command line hands over where nothing was given
GIVEN: dict[str, Any] = {info.name: None for info in options_of(RunOptions)}


def few_frames(path: Any, film: Film, *rest: Any, **options: Any) -> None:
    """Animate the first and the last frames of a film and some between them; `make test-full`: all."""
    last = len(film.labels) - 1
    chosen = sorted({round(k) for k in (0, 1, *np.linspace(0, last, FRAMES), max(0, last - 1))})
    if FULL or len(chosen) > last:
        film_file(path, film, *rest, **options)
        return
    short = dataclasses.replace(
        film,
        draw=lambda axes, frame: film.draw(axes, chosen[frame]),
        labels=[film.labels[k] for k in chosen],
        stills=None,
    )
    film_file(path, short, *rest, **options)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_smoke_run_leaves_a_whole_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "film_file", few_frames)
    given = GIVEN | {"smoke": True, "threads": 1, "guard": False, "out": str(tmp_path / "run")}
    try:
        row = train_task(name, given)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert row.passed
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    before, after = manifest["metrics"]["before"], manifest["metrics"]["after"]
    assert before.keys() == after.keys() != set()
    assert np.isfinite([*before.values(), *after.values()]).all()
    for picture in ("before.gif", "after.gif", "cost.png", "compare.png"):
        with Image.open(tmp_path / "run" / picture) as image:
            colours = image.convert("RGB").getcolors(image.width * image.height)
        assert colours is not None
        assert len(colours) > 8, f"{picture} shows something"
    assert_drawable(Trajectory.load(tmp_path / "run" / "best.npz"), tmp_path)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_gradient_is_right(name: str) -> None:
    given = GIVEN | {"precision": 64, "threads": 1, "guard": False, "directions": 3, "components": 0}
    try:
        row = check_task(name, given)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert row.passed, row.notes


@pytest.mark.parametrize("name", SHIPPED)
def test_a_task_says_what_it_is(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert 10 < len(task.summary) < 100
    assert task.smoke, "a small size for --smoke"
    own = {info.name for info in options_of(task.Config)}
    shared = {info.name for info in options_of(RunOptions)}
    assert set(task.smoke) <= own | shared
    assert set(task.run_options) | set(task.taichi_options) <= shared
    assert task.__doc__


@pytest.mark.parametrize(("native", "mode"), [(True, None), (False, "step")])
@pytest.mark.parametrize("name", ["elastic", "liquid"])
def test_what_taichi_compiles_for_minutes_is_run_step_by_step_there_alone(
    name: str, native: bool, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "would_be_native", lambda: native)
    assert load_task(name).suited().get("mode") == mode


@pytest.mark.parametrize("name", simulator_names())
def test_a_simulator_tells_its_physics(name: str) -> None:
    text = load_simulator(name).__doc__ or ""
    assert "Differentiability" in text
    assert "Reference" in text
