"""Seeing gradients: the derivative of a cost by what moves, beside the motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.scene import Boxes, Curves, Grid, Lines, Part, Points, Scene, Triangles, Vectors
from diffsim.view.trajectory import Signal, Trajectory, labelled

__all__ = ["adjoint_name", "adjoint_unit", "norms", "with_adjoints"]

_USUAL = ("x", "pos", "position", "positions", "q", "u", "v")  # what people call what they want to see
_PLACES = {Points: "positions", Lines: "positions", Triangles: "positions", Boxes: "centers"}
_QUANTILE = 0.98  # of the arrows' lengths: that one has the usual length, and none more than twice that
_LENGTH = 0.08  # of an arrow of the usual length, as a share of what the motion reaches
_LEAST_DECADES = 2.0  # that a norm spans before its logarithm is drawn
_COLOR = "#d55e00"


def adjoint_name(name: str) -> str:
    """Return what the adjoint of an array is called."""
    return f"d cost / d {name}"


def adjoint_unit(unit: str) -> str:
    """Return the unit of an adjoint: that of the cost, which is a plain number, over the array's."""
    if not unit:
        return ""
    return f"1/({unit})" if any(mark in unit for mark in " */·") else f"1/{unit}"


def norms(adjoint: Signal) -> Signal:
    """Return the length of an adjoint in each frame, (frames,); of several worlds (frames, worlds).

    Args:
        adjoint: What `rollout.adjoints` returned for one field.
    """
    array = np.asarray(adjoint, dtype=np.float64)
    kept = 2 if adjoint.worlds else 1
    flat = array.reshape(*array.shape[:kept], -1)
    with np.errstate(over="ignore", invalid="ignore"):
        most = np.max(np.abs(flat), axis=-1, initial=0.0, keepdims=True)
        scale = np.where(np.isfinite(most) & (most > 0.0), most, 1.0)  # squares keep their range
        length = np.sqrt(np.sum((flat / scale) ** 2, axis=-1)) * scale[..., 0]
    name = f"|{adjoint.name}|"
    return labelled(length, dataclasses.replace(adjoint.label, name=name, components=()))


def with_adjoints(motion: Trajectory, adjoints: Mapping[str, Signal]) -> Trajectory:
    """Put adjoints beside the motion, and into its scene.

    Points get arrows that show the way in which pushing them lowers the cost: against the adjoint. A few are
    much longer than most, and are drawn at twice the usual length at most; the legend has the longest. A grid
    is coloured by the adjoint instead of its values, white where it is zero. What is neither is drawn as
    curves. The length of the adjoint over time is below, as a logarithm where it spans decades.

    Args:
        motion: What moved, with its scene, or without one.
        adjoints: By the name of what they are the adjoint of, as `rollout.adjoints` returns them.

    Returns:
        All arrays of the motion, and the adjoints as `d cost / d x`, with what is drawn of one of them.
    """
    arrays: dict[str, Any] = dict(motion.items())
    arrays |= {adjoint_name(name): signal for name, signal in adjoints.items()}
    known = {name: signal for name, signal in adjoints.items() if name in motion and signal.size}
    scene = motion.scene
    name = _shown(scene, motion, known)
    if name is None:
        return Trajectory(arrays, stills=motion.stills, scene=scene, title=motion.title)
    parts, drawn = _parts(scene, motion[name], known[name], name)
    curve, level = _norm_curve(known[name])
    arrays |= drawn | {curve: level}
    parts += [Curves(curve)]
    whole = Scene(tuple(parts)) if scene is None else dataclasses.replace(scene, parts=tuple(parts))
    return Trajectory(arrays, stills=motion.stills, scene=whole, title=motion.title)


def _shown(scene: Scene | None, motion: Trajectory, adjoints: Mapping[str, Signal]) -> str | None:
    """Return the array whose adjoint is drawn: one that the scene shows, else one that looks like places."""
    if scene is not None:
        for part in scene.parts:
            place = _PLACES.get(type(part), "values" if isinstance(part, Grid) else "")
            if place and getattr(part, place) in adjoints:
                return str(getattr(part, place))
    return min(adjoints, key=lambda name: _rank(name, motion[name]), default=None)


def _rank(name: str, signal: Signal) -> tuple[int, int, int]:
    last = name.rpartition(".")[2]
    usual = _USUAL.index(last) if last in _USUAL else len(_USUAL)
    return ("points", "grid", "curves").index(_kind(signal)), usual, len(name)


def _spatial(signal: Signal) -> tuple[int, ...]:
    """Return the shape of an array without time, worlds and components."""
    first = 2 if signal.worlds else 1
    return signal.shape[first : signal.ndim - len(signal.components)]


def _kind(signal: Signal) -> str:
    space = _spatial(signal)
    if len(signal.components) == 1 and signal.components[0] in (2, 3):
        return "points"
    return "grid" if not signal.components and len(space) in (2, 3) else "curves"


def _parts(
    scene: Scene | None, signal: Signal, adjoint: Signal, name: str
) -> tuple[list[Part], dict[str, Signal]]:
    """Return the parts of the scene with those of the adjoint, and the arrays that only these need."""
    parts = [] if scene is None else list(scene.parts)
    kind, called = _kind(signal), adjoint_name(name)
    if kind == "grid":
        grids = [part for part in parts if isinstance(part, Grid) and part.values == name]
        usual = grids[0] if grids else Grid(name)
        colored = dataclasses.replace(
            usual, values=called, center=0.0, limits=_limits(adjoint), contours=0, level=None, label=called
        )
        return [colored, *(part for part in parts if part not in grids)], {}
    if kind == "points":
        vectors, drawn = _arrows(signal, adjoint, name)
        return [*(parts or [Points(name)]), vectors], drawn
    return [*parts, Curves(called)], {}


def _limits(adjoint: Signal) -> tuple[float, float]:
    """Return the ends of a colour map about zero that a few large numbers do not wash out."""
    sizes = np.abs(np.asarray(adjoint, dtype=np.float64))
    most = _quantile(sizes[np.isfinite(sizes)]) or 1.0
    return -most, most


def _quantile(sizes: NDArray[np.float64]) -> float:
    sizes = sizes[sizes > 0.0]
    return float(np.quantile(sizes, _QUANTILE)) if sizes.size else 0.0


def _arrows(signal: Signal, adjoint: Signal, name: str) -> tuple[Vectors, dict[str, Signal]]:
    """Return arrows on points that point downhill, none much longer than most."""
    ways = -np.asarray(adjoint, dtype=np.float64)
    lengths = np.linalg.norm(ways, axis=-1)
    finite = np.isfinite(lengths)
    usual = _quantile(lengths[finite]) or 1.0
    longest = float(lengths[finite].max(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        shorter = np.minimum(1.0, 2.0 * usual / np.maximum(lengths, np.finfo(float).tiny))
    ways = np.where(finite[..., None], ways * shorter[..., None], 0.0)
    called = f"down {adjoint.name}"
    unit = f" [{adjoint.unit}]" if adjoint.unit else ""
    label = f"−{adjoint.name}, the way down; longest {longest:.2g}{unit}"
    drawn = labelled(ways, dataclasses.replace(adjoint.label, name=called))
    scale = _LENGTH * _reach(signal) / usual
    return Vectors(called, positions=name, scale=scale, label=label, color=_COLOR), {called: drawn}


def _reach(signal: Signal) -> float:
    """Return how far places reach, along the longest axis of space."""
    rows = np.asarray(signal, dtype=np.float64).reshape(-1, signal.shape[-1])
    rows = rows[np.isfinite(rows).all(axis=1)]
    return float(np.ptp(rows, axis=0).max()) or 1.0 if len(rows) else 1.0


def _norm_curve(adjoint: Signal) -> tuple[str, Signal]:
    """Return the norm of an adjoint over time, or its logarithm, under a name that says which."""
    level = norms(adjoint)
    sizes = np.asarray(level)
    positive = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    decades = float(np.log10(positive.max() / positive.min())) if positive.size else 0.0
    if decades < _LEAST_DECADES:
        return level.name, level
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(sizes > 0.0, np.log10(sizes), np.nan)
    name = f"log10 {level.name}"
    return name, labelled(logs, dataclasses.replace(level.label, name=name, unit=""))
