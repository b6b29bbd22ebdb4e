"""A scene for a trajectory that has none, from the shapes of its arrays."""

from __future__ import annotations

from diffsim.view.scene import Curves, Grid, Part, Points, Scene
from diffsim.view.trajectory import Trajectory

__all__ = ["usual_scene"]

_GRID = 4  # samples along each axis, from which on numbers on two axes are a map


def usual_scene(trajectory: Trajectory) -> Scene:
    """Return points for the first positions, else a map of the first grid; curves for small arrays."""
    space: list[Part] = []
    curves: list[Part] = []
    for name, signal in trajectory.items():
        shape = signal.shape[1:]
        if not space and signal.components in ((2,), (3,)):
            space.append(Points(positions=name, label=name))
        elif not space and not signal.components and len(shape) in (2, 3) and min(shape) >= _GRID:
            space.append(Grid(values=name, label=name))
        elif signal[0:1].size <= 8:
            curves.append(Curves(values=name, label=name))
    return Scene(tuple(space + curves))
