"""What a notebook shows of a trajectory: its arrays, how they go, and its last frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffsim.errors import DiffsimError
from diffsim.view.cards import card, paragraph, table
from diffsim.view.sketches import spark
from diffsim.view.stored import Stored

__all__ = ["html_of"]

_FRAMES = 50  # in which the ends of colour maps are looked for
_LARGE = 1 << 25  # numbers beyond which nobody looks at all of them to draw a line


def html_of(trajectory: Any) -> str:
    """Show a trajectory as HTML: what is in memory with its range, what is in a file by its shape alone."""
    lines = []
    in_memory = True
    for name in trajectory.names:
        part = trajectory._parts()[name]
        reach, curve = "in its file", ""
        if isinstance(part, Stored):
            in_memory = False
        elif part.size and part.size <= _LARGE:
            reach, curve = _reach(np.asarray(part)), spark(_rows(np.asarray(part)))
        elif part.size:
            reach = ""
        shape = " × ".join(map(str, part.shape[1:])) or "1"
        lines.append((name, f"{part.shape[0]}", shape, part.label.unit or "", reach, curve))
    times = trajectory.times
    span = f"{len(times)} frames"
    if len(times):
        span += f", t = {times[0]:g} to {times[-1]:g} {trajectory.time_unit}"
    if trajectory.worlds:
        span += f", {trajectory.worlds} worlds"
    head = ("array", "frames", "of each", "unit", "range", "over time")
    alone = isinstance(trajectory, np.ndarray)  # whose shape does not tell whether it is of places
    title = f"Trajectory of {trajectory.title}" if trajectory.title else "Trajectory"
    if alone:
        title = f"Signal {lines[0][0]}"
    picture = _picture(trajectory) if in_memory and len(times) and not alone else ""
    return card(title, paragraph(span, quiet=True), table(head, lines, safe=5) if lines else "", picture)


def _picture(trajectory: Any) -> str:
    from diffsim.view.exports.thumbnail import thumbnail

    size = sum(part.size for part in trajectory._parts().values())
    if size > _LARGE:
        return ""
    try:
        return thumbnail(trajectory.world(0).every(1 + len(trajectory.times) // _FRAMES))
    except DiffsimError:  # a scene that draws nothing is told of by show and animate
        return ""


def _rows(array: Any) -> Any:
    return array.reshape(len(array), -1)


def _reach(array: Any) -> str:
    values = array.astype(np.float64).reshape(-1)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "not finite"
    text = f"{finite.min():.4g} … {finite.max():.4g}"
    missing = values.size - finite.size
    return f"{text}, {missing} not finite" if missing else text
