"""What of space, and of the colour map's numbers, is shown: the same for all motions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.page.channels import Channel, Drawn
from diffsim.view.paint.scale import Scale, scale_of
from diffsim.view.scene import Scene
from diffsim.view.trajectory import Trajectory

__all__ = ["arrow_scale", "color_scale", "space_limits"]

_MARGIN = 0.05


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
    if drawn.kind == "vectors" and "starts" in drawn.more:
        return [(drawn.more["starts"].min(axis=0), drawn.more["starts"].max(axis=0))]
    channel = drawn.channels.get("positions", drawn.channels.get("centers"))
    if channel is None:
        return []
    found = []
    for trajectory in trajectories:
        rows = _read(channel, trajectory)
        if rows is None:
            continue
        rows = rows.reshape(-1, rows.shape[-1])
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows):
            around = _reach(drawn, trajectory)
            found.append((rows.min(axis=0) - around, rows.max(axis=0) + around))
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
    if drawn.kind in ("curves", "text") or drawn.more.get("rgb"):
        return None
    if drawn.kind == "grid" and drawn.more["level"] is not None:
        return None
    channels = _colors(drawn)
    if not channels:
        return None
    if drawn.part.limits is not None:
        return scale_of(0.0, 0.0, drawn.part.center, drawn.part.limits, full=drawn.kind == "grid")
    if drawn.kind == "grid":
        unit = _unit(drawn, trajectories[0])
        alike = [p for p in parts if p.kind == "grid" and p.part.limits is None and _colors(p)]
        channels = [c for p in alike if _unit(p, trajectories[0]) == unit for c in _colors(p)]
    arrays = [a for c in channels for t in trajectories if (a := _read(c, t)) is not None]
    ends = [(float(a[f].min()), float(a[f].max())) for a in arrays if (f := np.isfinite(a)).any()]
    low = min((low for low, _ in ends), default=0.0)
    high = max((high for _, high in ends), default=0.0)
    return scale_of(low, high, drawn.part.center, full=drawn.kind == "grid")


def arrow_scale(drawn: Drawn, trajectories: Sequence[Trajectory], limits: Any) -> float:
    """Return the length of an arrow for one unit of its vector: long ones just keep clear of each other."""
    if drawn.more["scale"] is not None:
        return float(drawn.more["scale"])
    read = [a for t in trajectories if (a := _read(drawn.channels["vectors"], t)) is not None]
    lengths = [np.linalg.norm(a, axis=-1).ravel() for a in read]
    known = np.concatenate([a[np.isfinite(a)] for a in lengths]) if lengths else np.zeros(0)
    long = float(np.percentile(known, 98)) if known.size else 0.0
    gap = drawn.more.get("gap")
    if gap is None:
        sides = [high - low for low, high in limits]
        gap = float(np.prod(sides) / max(1, read[0].shape[1] if read else 1)) ** (1.0 / len(sides))
        gap = min(gap, 0.15 * max(sides))
    return gap / long if long > 0.0 else 0.0


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
