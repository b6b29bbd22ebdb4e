"""Seeing gradients: the derivative of a cost by what moves, beside the motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.default import default_scene, kind_of
from diffsim.view.scene import Boxes, Curves, Grid, Lines, Part, Points, Scene, Triangles, Vectors
from diffsim.view.trajectory import Signal, Trajectory, labelled

__all__ = ["adjoint_name", "adjoint_unit", "norms", "with_adjoints"]

_PLACES: dict[type[Part], str] = {
    Points: "positions",
    Lines: "positions",
    Triangles: "positions",
    Boxes: "centers",
}
_QUANTILE = 0.95  # of the arrows' lengths: that one has the usual length, and none more than twice that
_LENGTH, _SHORTEST = 0.08, 0.02  # of an arrow of the usual length, as a share of what is seen of space
_GAPS = 2.5  # of the gap between points, that is no more than it
_DECADES = 1.0  # that a norm spans before its logarithm is drawn, and each frame has a scale of its own
_COLOR = "#a02c82"
_ASIDE = 0.06  # of a grid's width: the gap to the one beside it
_ROOM = 1.2  # times what most numbers are below: the end of a colour map


def adjoint_name(name: str) -> str:
    """Return what the adjoint of an array is called."""
    return f"d cost / d {name}"


def adjoint_unit(unit: str) -> str:
    """Return the unit of an adjoint: that of the cost, which is a plain number, over the array's."""
    if not unit or "or" in unit.split():  # one for each element
        return ""
    return f"1/({unit})" if any(mark in unit for mark in " */·") else f"1/{unit}"


def norms(adjoint: Signal) -> Signal:
    """Return the length of an adjoint in each frame, (frames,); of several worlds (frames, worlds).

    Args:
        adjoint: What `rollout.adjoints` returned for one field.
    """
    array = np.asarray(adjoint, dtype=np.float64)
    kept = 2 if adjoint.worlds else 1
    length = _lengths(array.reshape(*array.shape[:kept], -1))
    name = f"|{adjoint.name}|"
    return labelled(length, dataclasses.replace(adjoint.label, name=name, components=()))


def with_adjoints(motion: Trajectory, adjoints: Mapping[str, Signal]) -> Trajectory:
    """Put adjoints beside the motion, and into its scene.

    Points get arrows that show the way in which pushing them lowers the cost: against the adjoint. A few are
    much longer than most, and are drawn at twice the usual length at most. A grid gets one beside it,
    coloured by the adjoint, white where that is zero; numbers along one axis get it as a curve below. What is
    none of these is drawn over time. The length of the
    adjoint over time is below. Where that spans more than a decade it is drawn as a logarithm, and arrows and
    colours are those of each frame by itself: they would hardly be seen in most.

    Args:
        motion: What moved, with its scene, or without one.
        adjoints: By the name of what they are the adjoint of, as `rollout.adjoints` returns them.

    Returns:
        All arrays of the motion, and the adjoints as `d cost / d x`, with what is drawn of one of them.
    """
    arrays: dict[str, Any] = dict(motion.items())
    arrays |= {adjoint_name(name): signal for name, signal in adjoints.items()}
    known = {name: signal for name, signal in adjoints.items() if name in motion and signal.size}
    name = _shown(motion.scene, motion, known)
    if name is None:
        return Trajectory(arrays, stills=motion.stills, scene=motion.scene, title=motion.title)
    scene = motion.scene or default_scene(Trajectory({name: motion[name]}))
    level = norms(known[name])
    wide = _decades(level) >= _DECADES
    parts, drawn = _parts(scene, motion, known[name], name, wide)
    curve = _logarithm(level) if wide else level
    whole = dataclasses.replace(scene, parts=(*parts, Curves(curve.name)))
    return Trajectory(
        arrays | drawn | {curve.name: curve}, stills=motion.stills, scene=whole, title=motion.title
    )


def _shown(scene: Scene | None, motion: Trajectory, adjoints: Mapping[str, Signal]) -> str | None:
    """Return the array whose adjoint is drawn: the first that the scene shows, else one that could be."""
    if not adjoints:
        return None
    parts = scene.parts if scene is not None else default_scene(motion).parts[::-1]  # the main one comes last
    first: dict[Any, str] = {**_PLACES, Grid: "values", Vectors: "vectors"}
    second: dict[Any, str] = {Curves: "values"}
    for kinds in (first, second):
        for part in parts:
            name = getattr(part, kinds[type(part)]) if type(part) in kinds else None
            if name in adjoints:
                return str(name)
    order = {"points": 0, "map": 1}
    return min(adjoints, key=lambda name: order.get(kind_of(motion[name]), 2))


def _parts(
    scene: Scene, motion: Trajectory, adjoint: Signal, name: str, wide: bool
) -> tuple[list[Part], dict[str, Signal]]:
    """Return the parts of the scene with those of the adjoint, and the arrays that only these need."""
    signal, parts = motion[name], list(scene.parts)
    kind, called = kind_of(signal), adjoint_name(name)
    if kind == "map":
        grid, drawn = _colored(adjoint, wide)
        return _beside(parts, name, signal, grid), drawn
    if kind == "points":
        seen = _seen(scene, motion)
        length = min(_LENGTH * seen, max(_GAPS * _gap(signal), _SHORTEST * seen))
        vectors, drawn = _arrows(length, adjoint, name, wide)
        return [*parts, vectors], drawn
    if kind == "arrows":
        own = next((p for p in parts if isinstance(p, Vectors) and p.vectors == name), None)
        vectors, drawn = _arrows(1.0, adjoint, name, wide)
        origin, spacing = (None, 1.0) if own is None else (own.origin, own.spacing)
        free = dataclasses.replace(vectors, positions=None, scale=None, origin=origin, spacing=spacing)
        return [*parts, free], drawn
    if kind == "profile":
        at = next((p for p in parts if isinstance(p, Grid) and p.values == name), Grid(name))
        curve, drawn = _colored(adjoint, wide)
        curve = dataclasses.replace(curve, center=None, limits=None, origin=at.origin, spacing=at.spacing)
        return [*parts, curve], drawn
    return [*parts, Curves(called)], {}


def _seen(scene: Scene, motion: Trajectory) -> float:
    """Return how far that reaches which is seen of space, along its longest axis."""
    if scene.limits is not None:
        return max(high - low for low, high in scene.limits) or 1.0
    low, high = np.inf, -np.inf
    for part in scene.parts:
        name = getattr(part, _PLACES.get(type(part), ""), None) if type(part) in _PLACES else None
        array = motion[name] if name in motion else motion.stills.get(str(name))
        if array is None or not np.size(array):
            continue
        rows = np.asarray(array, dtype=np.float64).reshape(-1, np.shape(array)[-1])
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows):
            low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    return float(np.max(high - low)) if np.all(np.isfinite(high)) and np.max(high - low) > 0.0 else 1.0


def _usual(sizes: NDArray[np.float64], frames: bool) -> NDArray[np.float64]:
    """Return what most sizes are below: in all frames together, or frame by frame, for `sizes` to divide by.

    Args:
        sizes: Not negative, time first; those that are zero or not finite count for nothing.
        frames: Whether each frame has its own.
    """

    def one(array: NDArray[np.float64]) -> float:
        known = array[np.isfinite(array) & (array > 0.0)]
        return float(np.quantile(known, _QUANTILE)) if known.size else 1.0

    if not frames:
        return np.array(one(sizes))
    return np.array([one(frame) for frame in sizes]).reshape(-1, *[1] * (sizes.ndim - 1))


def _gap(signal: Signal) -> float:
    """Return about how far neighbours are apart in the midst of the motion."""
    rows = np.asarray(signal[len(signal) // 2], dtype=np.float64)
    rows = (rows[0] if signal.worlds else rows).reshape(-1, signal.shape[-1])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        return np.inf
    sides = np.ptp(rows, axis=0)
    sides = sides[sides > 0.1 * sides.max()]  # of what is flat, the plane that it lies in
    return float(np.prod(sides) / len(rows)) ** (1.0 / max(1, len(sides)))


def _beside(parts: list[Part], name: str, signal: Signal, grid: Grid) -> list[Part]:
    """Return parts with a grid beside those of the field, in the place of another one that is there."""
    size = _space(signal)
    # a picture in the plane may stand beside a cloud in space
    grids = [p for p in parts if isinstance(p, Grid) and (p.origin is None or len(p.origin) == len(size))]
    own = next((part for part in grids if part.values == name), grids[0] if grids else Grid(name))
    first = np.zeros(len(size)) if own.origin is None else np.asarray(own.origin, dtype=np.float64)
    others = [part for part in grids if part.origin is not None and np.any(np.asarray(part.origin) != first)]
    step = np.broadcast_to(np.asarray(own.spacing, dtype=np.float64), (len(size),))
    place = np.array(others[0].origin if others else first, dtype=np.float64)
    if not others:
        place[0] += (1.0 + _ASIDE) * step[0] * size[0]
    moved = dataclasses.replace(grid, origin=tuple(map(float, place)), spacing=own.spacing)
    kept = [part for part in parts if not any(part is other for other in others)]
    return [*([] if grids else [own]), *kept, moved]


def _space(signal: Signal) -> tuple[int, ...]:
    return signal.shape[2 if signal.worlds else 1 :]


def _colored(adjoint: Signal, wide: bool) -> tuple[Grid, dict[str, Signal]]:
    """Return a grid that is coloured by the adjoint about zero."""
    values = np.asarray(adjoint, dtype=np.float64)
    usual = _usual(np.abs(values), wide)
    if not wide:
        most = _ROOM * float(usual)
        return Grid(adjoint.name, center=0.0, limits=(-most, most), label=adjoint.name), {}
    name = f"{adjoint.name}, by frame"
    drawn = labelled(values / usual, dataclasses.replace(adjoint.label, name=name, unit="rel."))
    return Grid(name, center=0.0, limits=(-_ROOM, _ROOM), label=adjoint.name), {name: drawn}


def _arrows(length: float, adjoint: Signal, name: str, wide: bool) -> tuple[Vectors, dict[str, Signal]]:
    """Return arrows on points that point downhill, none much longer than most."""
    ways = -np.asarray(adjoint, dtype=np.float64)
    lengths = _lengths(ways)
    finite, usual = np.isfinite(lengths), _usual(lengths, wide)
    longest = float(lengths[finite].max(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        share = lengths / usual
        shorter = np.minimum(1.0, 2.0 / np.maximum(share, np.finfo(float).tiny)) / usual
        ways = np.where(finite[..., None], ways * shorter[..., None], 0.0)
    called = f"down {adjoint.name}"
    unit = f" [{adjoint.unit}]" if adjoint.unit else ""
    label = f"−{adjoint.name}, by frame" if wide else f"−{adjoint.name}, up to {longest:.3g}{unit}"
    drawn = labelled(ways, dataclasses.replace(adjoint.label, name=called, unit=""))
    return Vectors(called, positions=name, scale=length, label=label, color=_COLOR), {called: drawn}


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of vectors along the last axis, of very long and very short ones too."""
    with np.errstate(over="ignore", invalid="ignore"):
        most = np.max(np.abs(vectors), axis=-1, initial=0.0, keepdims=True)
        scale = np.where(np.isfinite(most) & (most > 0.0), most, 1.0)  # squares keep their range
        return np.asarray(np.sqrt(np.sum((vectors / scale) ** 2, axis=-1)) * scale[..., 0])


def _decades(level: Signal) -> float:
    """Return how many powers of ten a length spans that is not zero."""
    sizes = np.asarray(level)
    positive = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return float(np.log10(positive.max()) - np.log10(positive.min())) if positive.size else 0.0


def _logarithm(level: Signal) -> Signal:
    sizes = np.asarray(level)
    least = np.min(sizes[sizes > 0.0], initial=np.inf)  # zero, as often at the end, is drawn below all others
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.where(sizes == 0.0, 0.5 * least, sizes))
    return labelled(logs, dataclasses.replace(level.label, name=f"log10 {level.name}", unit=""))
