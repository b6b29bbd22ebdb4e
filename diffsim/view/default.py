"""What to draw where a simulator describes nothing: chosen by shapes, components, names and units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffsim.errors import ConfigError
from diffsim.view.scene import Curves, Grid, Part, Points, Scene, Vectors

if TYPE_CHECKING:
    from diffsim.view.trajectory import Signal, Trajectory

__all__ = ["default_scene", "kind_of"]

# What people call what they want to see, and what colours it.
_PLACES = ("x", "pos", "position", "positions", "q", "p", "u")
_RATES = ("v", "vel", "velocity", "velocities", "speed")
_LENGTHS = ("m", "mm", "cm", "km", "nm", "um", "µm", "μm", "Å", "pm", "AU", "ft", "in")
_FEW = 12  # numbers in a row up to which each is a curve over time
_PROFILES = 3  # panels of curves over places
_TOGETHER = 4  # of them in one panel
_MOST = 4  # panels of curves where nothing is in space; below a picture half of them


def kind_of(signal: Signal) -> str:
    """Tell what an array over time is like.

    Returns:
        `points`: vectors of the plane or space, one after the other. `arrows`: such vectors on a grid.
        `map`: numbers on a grid. `profile`: many numbers along one axis. `curves`: anything else.
    """
    parts, size = _parted(signal)
    if parts in ((2,), (3,)):
        if len(size) == 1 or (len(size) < 3 and _last(signal) in _PLACES and size != ()):
            return "points"
        if len(size) == parts[0]:
            return "arrows"
        return "points" if not size and (_last(signal) in _PLACES or signal.unit in _LENGTHS) else "curves"
    if parts == () and len(size) == 1 and size[0] > _FEW:
        return "profile"
    return "map" if parts == () and len(size) in (2, 3) and min(size) > 0 else "curves"


def _parted(signal: Signal) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of an element, and that of the array of elements in one frame of one world."""
    shape = signal.shape[2 if signal.worlds else 1 :]
    parts = tuple(signal.components)
    return parts, shape[: len(shape) - len(parts)]


def _last(signal: Signal) -> str:
    return str(signal.name.rpartition(".")[2])


def _rank(signal: Signal) -> tuple[int, int, int]:
    """Return what makes an array the one to draw: the smallest is."""
    kinds = ("points", "map", "arrows", "profile", "curves")
    name = _last(signal)
    usual = _PLACES.index(name) if name in _PLACES else len(_PLACES)
    deep = signal.name.count(".")
    return kinds.index(kind_of(signal)), usual + (len(_PLACES) if name in _RATES else 0), deep


def default_scene(trajectory: Trajectory) -> Scene:
    """Choose what shows most of a trajectory.

    Particles where there are vectors in a row, coloured by their speed where that is recorded; maps and
    arrows where there are grids; curves over places where numbers stand along one axis; and the single
    numbers over time below.

    Args:
        trajectory: What is drawn.

    Raises:
        ConfigError: It has no array.
    """
    signals = [signal for signal in trajectory.values() if signal.size]
    if not signals:
        raise ConfigError(
            "a trajectory must have an array with a frame to be drawn, got "
            f"{', '.join(f'{n} {s}' for n, s in trajectory.shapes.items()) or 'none'}; record some steps"
        )
    first = min(signals, key=_rank)
    maker = {"points": _points, "map": _map, "arrows": _arrows, "profile": _profiles}.get(kind_of(first))
    parts = [] if maker is None else maker(first, signals)
    shown = {getattr(part, name, None) for part in parts for name in ("positions", "values", "vectors")}
    curves = [s for s in signals if s.name not in shown and _is_curve(s)]
    if not parts and not curves:
        curves = [first]
    parts += [Curves(signal.name) for signal in sorted(curves, key=_rank)[: _MOST // (2 if parts else 1)]]
    unit = {"points": first.unit, "map": "cells", "arrows": "cells"}.get(kind_of(first), "")
    return Scene(tuple(parts), unit=unit)


def _is_curve(signal: Signal) -> bool:
    """Tell whether an array is a few numbers over time."""
    numbers = int(np.prod(signal.shape[2 if signal.worlds else 1 :]))
    return kind_of(signal) == "curves" and 0 < numbers <= _FEW


def _points(first: Signal, signals: list[Signal]) -> list[Part]:
    alike = [s for s in signals if s is not first and _parted(s) == _parted(first)]
    rates = [s for s in alike if _last(s) in _RATES]
    many = int(np.prod(_parted(first)[1])) > 1
    parts: list[Part] = []
    others = [s for s in alike if first.unit and s.unit == first.unit]
    parts += [Points(s.name, label=s.name, color="#9aa5b1") for s in others[:2]]
    colored = rates[0].name if rates and many else None
    label = "speed" if colored else (first.name if others else "")
    trail = not many and not others
    return [*parts, Points(first.name, values=colored, label=label, trail=trail)]


def _map(first: Signal, signals: list[Signal]) -> list[Part]:
    flow = [s for s in signals if kind_of(s) == "arrows" and _parted(s)[1] == _parted(first)[1]]
    return [Grid(first.name), *(Vectors(s.name, label=s.name, color="#1f2933") for s in flow[:1])]


def _arrows(first: Signal, signals: list[Signal]) -> list[Part]:
    return [Vectors(first.name, values=first.name)]


def _profiles(first: Signal, signals: list[Signal]) -> list[Part]:
    """Draw the first arrays along one axis; which of them share a panel is found when they are drawn."""
    alike = sorted((s for s in signals if kind_of(s) == "profile"), key=_rank)
    chosen = [s for s in alike if s.unit and s.unit == first.unit][:_TOGETHER]
    others = [s for s in alike if not any(s is c for c in chosen)]
    return [Grid(s.name) for s in [*chosen, *others[: _PROFILES - bool(chosen)]]]
