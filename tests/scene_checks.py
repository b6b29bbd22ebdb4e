"""That a trajectory can be drawn, and stays what it is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import diffsim as ds
from diffsim.view.named import names_in, to_plain

__all__ = ["assert_drawable"]


def assert_drawable(trajectory: ds.Trajectory, folder: Path) -> None:
    """Check that the scene fits the arrays, and that a file gives all back."""
    scene = trajectory.scene
    assert scene is not None
    assert scene.parts
    assert set(names_in(scene)) <= {*trajectory.names, *trajectory.stills}
    assert trajectory.worlds == 0
    for part in scene.parts:
        _assert_fits(trajectory, part)
    trajectory.save(folder / "motion.npz")
    again = ds.Trajectory.load(folder / "motion.npz")
    assert again.scene is not None
    assert to_plain(again.scene) == to_plain(scene)
    assert (again.units, again.title) == (trajectory.units, trajectory.title)
    for name, signal in trajectory.items():
        np.testing.assert_array_equal(again[name], signal)
        np.testing.assert_array_equal(again[name].times, signal.times)
    assert again.stills.keys() == trajectory.stills.keys()


def _assert_fits(trajectory: ds.Trajectory, part: ds.scene.Part) -> None:
    """Check that a part's arrays belong together, in the first frame and in the last."""
    for frame in (0, -1):
        held: dict[str, Any] = {}
        for attribute, name in vars(part).items():
            if isinstance(name, str) and name in trajectory:
                held[attribute] = np.asarray(trajectory[name])[frame]
            elif isinstance(name, str) and name in trajectory.stills:
                held[attribute] = trajectory.stills[name]
        assert held
        assert all(np.isfinite(array).all() for array in held.values())
        if isinstance(part, ds.scene.Grid):
            assert held["values"].ndim in (2, 3)
            assert held["values"].shape[-1] == 3 or not part.rgb
            continue
        places = held.get("positions", held.get("centers", held.get("vectors")))
        if isinstance(part, ds.scene.Curves) or places is None:
            continue
        assert places.shape[-1] in (2, 3)
        count = 1 if places.ndim == 1 else len(places)
        ends = held.get("pairs", held.get("faces"))
        assert ends is None or 0 <= ends.min() <= ends.max() < count
        only = getattr(part, "only", None)
        assert only is None or (len(only) and 0 <= min(only) <= max(only) < count)
        if "values" in held:
            assert len(held["values"]) == (count if ends is None else len(ends))
        for size in (held.get("radius"), held.get("angles")):
            assert size is None or np.shape(size) in ((), (count,))
