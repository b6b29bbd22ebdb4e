"""What of space, and of the colour map's numbers, is shown: the same for all motions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.calm import beyond, calm_frames, calm_limits
from diffsim.view.page.channels import Channel, Drawn
from diffsim.view.paint.scale import Scale, scale_of
from diffsim.view.scene import Scene
from diffsim.view.trajectory import Trajectory

__all__ = ["Taken", "arrow_scale", "color_scale", "kept", "number_limits", "space_limits", "taken"]

_MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class Taken:
    """From where to where an array reaches that a page draws.

    Attributes:
        low: The least of each column, shape (d,).
        high: The largest.
        beyond: What is beyond, and from when on; empty where all is within.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    beyond: str = ""


def taken(channel: Channel, trajectory: Trajectory, columns: int = 1) -> Taken | None:
    """Find from where to where an array reaches, but for a run that leaves all bounds.

    Args:
        channel: The array.
        trajectory: Where it is.
        columns: Of how many numbers a row consists; one with a number that is not finite is left out.

    Returns:
        None where there is none, or nothing finite.
    """
    array = _read(channel, trajectory)
    if array is None or not array.size:
        return None
    rows = np.asarray(array, dtype=np.float64).reshape(len(array), -1, columns)
    finite = np.isfinite(rows).all(axis=2, keepdims=True)
    low, high = (np.where(finite, rows, end) for end in (np.inf, -np.inf))
    found = calm_limits(low.min(axis=1), high.max(axis=1))
    if found is None:
        return None
    least, largest, frame = found
    if frame is None:
        return Taken(least, largest)
    times = trajectory.times
    return Taken(least, largest, beyond(channel.source, times, frame, trajectory.time_unit))


def number_limits(channel: Channel, trajectories: Sequence[Trajectory]) -> tuple[float, float] | None:
    """Return from where to where the numbers of an array reach in all motions."""
    found = [t for trajectory in trajectories if (t := taken(channel, trajectory)) is not None]
    if not found:
        return None
    return min(float(t.low[0]) for t in found), max(float(t.high[0]) for t in found)


def kept(channel: Channel, trajectories: Sequence[Trajectory]) -> tuple[float, float]:
    """Return the numbers between which those of an array are kept in the page."""
    if channel.ends is not None:
        return channel.ends
    found = [t for trajectory in trajectories if (t := taken(channel, trajectory)) is not None]
    if not found:
        return 0.0, 0.0
    low, high = min(float(t.low[0]) for t in found), max(float(t.high[0]) for t in found)
    room = (high - low or abs(high) or 1.0) if any(t.beyond for t in found) else 0.0
    return low - room, high + room  # what is beyond the picture must stay beyond it


def space_limits(
    scene: Scene, parts: Sequence[Drawn], trajectories: Sequence[Trajectory]
) -> list[tuple[float, float]] | None:
    """Return a pair for each axis of space: the scene's, or what all positions reach; None without space."""
    found = [box for drawn in parts for box in _boxes(drawn, trajectories)]
    if not found:
        return None
    axes = max(len(low) for low, _ in found)
    if scene.limits is not None and len(scene.limits) == axes:
        return [(float(low), float(high)) for low, high in scene.limits]
    wide = [(_padded(low, axes), _padded(high, axes)) for low, high in found]
    low = np.min([low for low, _ in wide], axis=0)
    high = np.max([high for _, high in wide], axis=0)
    if scene.ground is not None and axes == 2:
        low[1], high[1] = min(low[1], scene.ground), max(high[1], scene.ground)
    around = _MARGIN * max(float(np.max(high - low)), 1e-12)
    flat = (high - low) < 2.0 * around  # a line of points has room around it
    low, high = low - np.where(flat, 3.0, 1.0) * around, high + np.where(flat, 3.0, 1.0) * around
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _padded(corner: NDArray[np.float64], axes: int) -> NDArray[np.float64]:
    return np.concatenate([corner, np.zeros(axes - len(corner))])


def _boxes(
    drawn: Drawn, trajectories: Sequence[Trajectory]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the boxes that hold a part in all frames."""
    if drawn.kind == "grid":
        origin, spacing = (np.asarray(drawn.more[key], dtype=np.float64) for key in ("origin", "spacing"))
        far = origin + spacing * np.asarray(drawn.more["shape"])
        return [(np.minimum(origin, far) - spacing / 2, np.maximum(origin, far) - spacing / 2)]
    if "box" in drawn.more:
        return [drawn.more["box"]]
    if drawn.kind == "vectors" and "starts" in drawn.more:
        return [(drawn.more["starts"].min(axis=0), drawn.more["starts"].max(axis=0))]
    channel = drawn.channels.get("positions", drawn.channels.get("centers"))
    if channel is None:
        return []
    found = []
    for trajectory in trajectories:
        rows = _read(channel, trajectory)
        box = None if rows is None else taken(channel, trajectory, rows.shape[-1])
        if box is not None:
            around = _reach(drawn, trajectory)
            found.append((box.low - around, box.high + around))
    return found


def _reach(drawn: Drawn, trajectory: Trajectory) -> float:
    """Return how far a part reaches beyond its positions."""
    radius = getattr(drawn.part, "radius", None)
    if isinstance(radius, int | float):
        return float(radius)
    channel = drawn.channels.get("radius") or drawn.channels.get("sizes")
    sizes = None if channel is None else _read(channel, trajectory)
    if sizes is None or not np.isfinite(sizes).any():
        return 0.0
    largest = float(np.nanmax(np.where(np.isfinite(sizes), sizes, np.nan)))
    return largest if drawn.kind == "points" else largest / 2.0


def color_scale(drawn: Drawn, parts: Sequence[Drawn], trajectories: Sequence[Trajectory]) -> Scale | None:
    """Return which colours a part's numbers have; None where they have none.

    Grids of one unit share them where none says its own.
    """
    if drawn.kind in ("curves", "profile", "text") or drawn.more.get("rgb"):
        return None
    if drawn.kind == "grid" and drawn.more["level"] is not None and _reached(drawn, trajectories):
        return None
    channels = _colors(drawn)
    if not channels:
        return None
    if drawn.part.limits is not None:
        return scale_of(0.0, 0.0, drawn.part.center, drawn.part.limits, full=drawn.kind == "grid")
    if drawn.kind == "grid":
        unit = _unit(drawn, trajectories[0])
        alike = [p for p in parts if p.kind == "grid" and p.part.limits is None and _colors(p)]
        alike = [p for p in alike if p is drawn or p.more["level"] is None]
        channels = [c for p in alike if _unit(p, trajectories[0]) == unit for c in _colors(p)]
    ends = [limits for c in channels if (limits := number_limits(c, trajectories)) is not None]
    low = min((low for low, _ in ends), default=0.0)
    high = max((high for _, high in ends), default=0.0)
    return scale_of(low, high, drawn.part.center, full=drawn.kind == "grid")


def _reached(drawn: Drawn, trajectories: Sequence[Trajectory]) -> bool:
    """Tell whether a surface of one level is there in all motions; where not, slices are drawn in space."""
    found = [taken(drawn.channels["values"], trajectory) for trajectory in trajectories]
    level = drawn.more["level"]
    flat = len(drawn.more["shape"]) == 2
    return flat or all(t is None or t.low[0] < level <= t.high[0] for t in found)


def arrow_scale(drawn: Drawn, trajectories: Sequence[Trajectory], limits: Any) -> float:
    """Return the length of an arrow for one unit of its vector: long ones just keep clear of each other."""
    if drawn.more["scale"] is not None:
        return float(drawn.more["scale"])
    read = [a for t in trajectories if (a := _read(drawn.channels["vectors"], t)) is not None]
    lengths = [_calm(np.linalg.norm(a, axis=-1)).ravel() for a in read]
    known = np.concatenate([a[np.isfinite(a)] for a in lengths]) if lengths else np.zeros(0)
    long = float(np.percentile(known, 98)) if known.size else 0.0
    gap = drawn.more.get("gap")
    if gap is None:
        sides = [high - low for low, high in limits]
        gap = float(np.prod(sides) / max(1, read[0].shape[1] if read else 1)) ** (1.0 / len(sides))
        gap = min(gap, 0.15 * max(sides))
    return gap / long if long > 0.0 else 0.0


def _calm(lengths: NDArray[Any]) -> NDArray[Any]:
    """Return lengths in the frames that tell something, shape (frames, n)."""
    finite = np.isfinite(lengths)
    most = np.where(finite, lengths, -np.inf).max(axis=1, initial=-np.inf)[:, None]
    return np.asarray(lengths[calm_frames(np.where(np.isfinite(most), 0.0, most), most)])


def _colors(drawn: Drawn) -> list[Channel]:
    return [c for key, c in drawn.channels.items() if key == "values" or key.startswith("slice")]


def _unit(drawn: Drawn, trajectory: Trajectory) -> str:
    return trajectory.units.get(str(getattr(drawn.part, "values", "")), "")


def _read(channel: Channel, trajectory: Trajectory) -> NDArray[Any] | None:
    if channel.still:
        still = trajectory.stills.get(channel.source)
        return None if still is None else channel.change(np.asarray(still)[None])
    if channel.source not in trajectory or not len(trajectory[channel.source]):
        return None
    return channel.change(np.asarray(trajectory[channel.source]))
