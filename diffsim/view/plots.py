"""Signals over time as a figure: a panel for each, with units, and worlds as thin lines."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.calm import HUGE, beyond, beyond_note, calm_limits
from diffsim.view.default import kind_of
from diffsim.view.key import key_above
from diffsim.view.paint.scale import COLORS
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.reel import dress
from diffsim.view.spacetime import space_time
from diffsim.view.style import QUIET, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from diffsim.view.trajectory import Signal, Trajectory

__all__ = ["plotted"]

_WIDE, _TALL, _LEFT, _RIGHT, _BELOW, _ABOVE, _GAP = 7.2, 1.75, 0.85, 0.25, 0.55, 0.3, 0.42  # [inch]
_BAR = 0.75  # [inch] right of panels, where one has colours
_CURVES = 12  # of a panel
_PANELS = 12
_LINES = 64  # worlds of a panel
_SAMPLES = 6000  # of a curve
_AXES = "xyz"


def plotted(trajectory: Trajectory, names: Sequence[str] | None, title: str) -> Figure:
    """Draw signals over time: numbers along one axis as an image, others as curves.

    Args:
        trajectory: What is drawn.
        names: Which of its arrays; None for all.
        title: Heading; empty for none.

    Raises:
        ConfigError: A name is not known, or there is no number to draw.
    """
    chosen = _chosen(trajectory, names)
    shown, left_out = chosen[:_PANELS], chosen[_PANELS:]
    top = 0.45 if title else 0.12
    note = f"not drawn: {', '.join(signal.name for signal in left_out)}" if left_out else ""
    high = (
        top + len(shown) * (_ABOVE + _TALL) + (len(shown) - 1) * (_GAP - _ABOVE) + _BELOW + 0.22 * bool(note)
    )
    figure = _shows_itself(new_figure(_WIDE, high, dpi=110))
    heading(figure, _LEFT / _WIDE, 1.0 - 0.12 / high, title, 12)
    bottom = high - top
    right = _RIGHT + _BAR * any(kind_of(signal) == "profile" for signal in shown)
    whole = _span(np.concatenate([signal.times for signal in shown]))
    for number, signal in enumerate(shown):
        bottom -= _TALL + (_ABOVE if number == 0 else _GAP)
        place = (_LEFT / _WIDE, bottom / high, 1.0 - (_LEFT + right) / _WIDE, _TALL / high)
        _panel(figure.add_axes(place), signal, whole, last=number == len(shown) - 1)
    if note:
        figure.text(_LEFT / _WIDE, 0.06 / high, note, fontsize=8, color=QUIET, parse_math=False)
    return figure


def _chosen(trajectory: Trajectory, names: Sequence[str] | None) -> list[Signal]:
    wanted = trajectory.names if names is None else [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in trajectory.names:
            raise ConfigError(
                f"names must be of the trajectory's arrays, {', '.join(trajectory.names) or 'none'}, got "
                f"{name!r}; correct it"
            )
    chosen = [trajectory[name] for name in wanted if trajectory[name].size]
    if not chosen:
        raise ConfigError(
            f"what is plotted must have a number and a frame, got {trajectory!r}; record some steps"
        )
    if not any(np.isfinite(np.asarray(signal)).any() for signal in chosen):
        raise ConfigError(
            f"what is plotted must be finite somewhere, got nan or inf alone in {', '.join(wanted)}; look "
            'for what made the simulation diverge with value_and_grad(debug="nan")'
        )
    return chosen


def _panel(axes: Axes, signal: Signal, whole: tuple[float, float], last: bool) -> None:
    times, table, note = _table(signal)
    if kind_of(signal) == "profile":
        _image(axes, signal, whole, last)
        return
    which, labels, more = _some(signal, table.shape[2])
    notes = [text for text in (note, more) if text]
    shown = table[:, :, which]
    worlds = shown.shape[1]
    for column, label in enumerate(labels):
        color = COLORS[column % len(COLORS)]
        style = "-" if column < len(COLORS) else "--"
        for world in range(worlds):
            axes.plot(
                times,
                shown[:, world, column],
                style,
                color=color,
                lw=1.4 if worlds == 1 else 0.8,
                alpha=1.0 if worlds == 1 else 0.55,
                label=label if world == 0 else "",
                marker="o" if len(times) == 1 else None,
            )
    if not np.isfinite(shown).all():
        notes.append("gaps where it is not finite")
    low, high = _limits(shown, times, signal, notes)
    margin = 0.07 * (high - low) or 0.07 * abs(high) or 0.5
    _scaled(axes, signal, whole, (low - margin, high + margin), last)
    if len(labels) > 1:
        handles, names = axes.get_legend_handles_labels()
        key_above(axes, handles, names, 7.5 if len(labels) < 9 else 6.5, len(labels))
    _noted(axes, notes)


def _limits(
    shown: NDArray[np.float64], times: NDArray[np.float64], signal: Signal, notes: list[str]
) -> tuple[float, float]:
    """Return from where to where numbers reach; of what leaves all bounds a note tells."""
    rows = shown.reshape(len(shown), -1)
    finite = np.isfinite(rows)
    low, high = (np.where(finite, rows, end) for end in (np.inf, -np.inf))
    found = calm_limits(low.min(axis=1, keepdims=True), high.max(axis=1, keepdims=True))
    if found is None:
        return 0.0, 1.0
    if found[2] is not None:
        notes += beyond_note([beyond(signal.name, times, found[2], signal.time_unit)])
    return float(found[0][0]), float(found[1][0])


def _image(axes: Axes, signal: Signal, whole: tuple[float, float], last: bool) -> None:
    """Draw numbers along one axis as an image over time."""
    values = np.asarray(signal, dtype=np.float64)
    notes = [f"world 0 of {signal.worlds:,} drawn"] if signal.worlds > 1 else []
    values = np.clip(values[:, 0] if signal.worlds else values, -HUGE, HUGE)
    limits = _limits(values, signal.times, signal, notes)
    space_time(axes, signal.times, values, limits, (signal.name, signal.unit))
    axes.set_xlim(whole)
    _clock(axes, signal, whole, last)
    _noted(axes, notes)


def _noted(axes: Axes, notes: Sequence[str]) -> None:
    """Write what was left out into a corner."""
    if notes:
        axes.text(
            0.995,
            0.03,
            "; ".join(notes),
            transform=axes.transAxes,
            fontsize=7.5,
            color=QUIET,
            ha="right",
            parse_math=False,
            bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1.0},
        )


def _table(signal: Signal) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return times, values of shape (frames, worlds, numbers), and what was left out."""
    stride = max(1, len(signal) // _SAMPLES)
    values = np.asarray(signal)[::stride]
    worlds = values.shape[1] if signal.worlds else 1
    table = values.reshape(len(values), worlds, -1)
    note = f"{_LINES} of {worlds:,} worlds drawn" if worlds > _LINES else ""
    numbers = np.clip(np.asarray(table[:, :_LINES], dtype=np.float64), -HUGE, HUGE)
    return signal.times[::stride], numbers, note


def _some(signal: Signal, count: int) -> tuple[NDArray[np.int64], list[str], str]:
    """Choose the curves of a panel: their numbers, what they are called, and how many are left out."""
    which = np.arange(count)
    if count > _CURVES:
        which = np.linspace(0, count - 1, _CURVES).round().astype(np.int64)
    size = signal.shape[2 if signal.worlds else 1 :]
    if count == 1:
        return which, [""], ""
    labels = [_called(np.unravel_index(int(n), size), signal.components) for n in which]
    return which, labels, f"{len(which)} of {count:,} curves drawn" if count > len(which) else ""


def _called(index: Any, components: tuple[int, ...]) -> str:
    """Write an index: that of a vector's number as x, y or z."""
    numbers = [str(int(n)) for n in index]
    if components in ((2,), (3,)):
        numbers[-1] = _AXES[int(index[-1])]
    return " ".join(numbers)


def _scaled(
    axes: Axes, signal: Signal, whole: tuple[float, float], limits: tuple[float, float], last: bool
) -> None:
    axes.set(xlim=whole, ylim=limits)
    up = ticks(*limits, count=4)
    axes.set_yticks(up.places, up.texts)
    _clock(axes, signal, whole, last)
    axes.set_ylabel(named(signal.name, signal.unit, up), parse_math=False)
    axes.grid(color="#e4e7eb", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    dress(axes)


def _clock(axes: Axes, signal: Signal, whole: tuple[float, float], last: bool) -> None:
    """Write the times below."""
    across = ticks(*whole, count=7)
    axes.set_xticks(across.places, across.texts if last else [""] * len(across.places))
    if last:
        unit = "" if signal.time_unit == "step" else signal.time_unit
        axes.set_xlabel(named("t" if unit else "step", unit, across), parse_math=False)


def _span(times: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(times.min()), float(times.max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _shows_itself(figure: Figure) -> Figure:
    """Return a figure that notebooks show as it is, whether or not pyplot is there."""
    figure.__class__ = _figure_type()
    return figure


@functools.cache
def _figure_type() -> Any:
    import io

    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=self.dpi)
            return out.getvalue()

    return Shown
