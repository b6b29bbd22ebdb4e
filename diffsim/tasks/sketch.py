"""Pictures of a simulator of which nothing is known but its States: points, a map, or curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.language.fields import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["record", "shown", "sketches"]

_FRAMES = 60  # of a film
_POINTS = 20_000  # that are drawn
_CURVES = 12  # that are drawn
_USUAL = ("x", "pos", "position", "positions", "q", "u")  # what people call what they want to see
_ASPECTS = 0.4, 1.4  # heights of a picture over its width
_RATE = 15.0  # frames per second
Arrays = Mapping[str, NDArray[Any]]


def shown(rollout: Rollout, show: str | None = None) -> State | None:
    """Return the State that is drawn; None where there is none.

    Args:
        rollout: Whose States they are.
        show: The key of one; None for the one that shows most.

    Raises:
        ConfigError: There is no such State.
    """
    fields: dict[str, Any] = rollout._program.fields
    states = {key: field for key, field in fields.items() if isinstance(field, State)}
    if show is not None and show not in states:
        raise ConfigError(
            f"--show must be one of {', '.join(states)}, got {show!r}; leave it out where unsure"
        )
    if not states:
        return None
    return states[show or min(states, key=lambda key: _rank(key, states[key]))]


def record(rollout: Rollout, show: str | None = None) -> dict[str, NDArray[Any]]:
    """Run a rollout and return a State over its steps; of several worlds, that of the first.

    Args:
        rollout: What to run.
        show: The key of a State; None for the one that shows most.

    Returns:
        The values under `points`, `map` or `curves`, and `times`.

    Raises:
        ConfigError: There is no such State.
    """
    state = shown(rollout, show)
    if state is None:
        return {}
    every = max(1, rollout.steps // _FRAMES)
    values = np.asarray(rollout.trajectory(state, every=every), dtype=np.float64)
    values = values[:, 0] if rollout.worlds > 1 else values
    dt = getattr(rollout.sim, "dt", None)
    unit = float(dt) if isinstance(dt, int | float) and dt > 0 else 0.0
    times = every * np.arange(len(values))
    return {
        _kind(state): _shaped(state, values),
        "times": times * (unit or 1.0),
        "seconds": np.array(unit > 0.0),
    }


def _kind(state: State) -> str:
    if len(state.type.shape) == 1 and state.type.shape[0] in (2, 3) and state.shape:
        return "points"
    return "map" if not state.type.shape and len(state.shape) in (2, 3) else "curves"


def _rank(key: str, state: State) -> tuple[int, int, int]:
    """Return what makes a State the one to draw: the smallest is."""
    name = key.rpartition(".")[2]
    usual = _USUAL.index(name) if name in _USUAL else len(_USUAL)
    return ("points", "map", "curves").index(_kind(state)), usual, len(key) if key.count(".") else 0


def _shaped(state: State, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points as (frames, n, 2), a map as (frames, n, m) and curves as (frames, n)."""
    kind, frames = _kind(state), len(values)
    if kind == "points":
        points = values.reshape(frames, -1, values.shape[-1])
        return points[:, :: -(-points.shape[1] // _POINTS), :2]
    if kind == "map":  # of a box the slice in its middle
        return values if values.ndim == 3 else values[..., values.shape[-1] // 2]
    flat = values.reshape(frames, -1)
    return flat[:, np.unique(np.linspace(0, flat.shape[1] - 1, _CURVES).round().astype(int))]


def sketches(recorded: Sequence[Arrays]) -> list[Film]:
    """Draw recordings, all at one scale.

    Args:
        recorded: What `record` returned, of one rollout with several values.
    """
    kinds = {"points": _points, "map": _map, "curves": _curves}
    for kind, film in kinds.items():
        if all(kind in arrays for arrays in recorded):
            everything = np.concatenate(
                [arrays[kind].reshape(-1, *arrays[kind].shape[2:]) for arrays in recorded]
            )
            return [film(arrays, arrays[kind], everything) for arrays in recorded]
    return [_nothing() for _ in recorded]


def _labels(arrays: Arrays) -> list[str]:
    from diffsim.view import time_labels

    if arrays["seconds"]:
        return time_labels(arrays["times"])
    return [f"step {int(t)}" for t in arrays["times"]]


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return what shows all finite values, with a margin."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _around(limits: tuple[float, float], length: float) -> tuple[float, float]:
    middle = 0.5 * (limits[0] + limits[1])
    return middle - 0.5 * length, middle + 0.5 * length


def _points(arrays: Arrays, points: NDArray[np.float64], every: NDArray[np.float64]) -> Film:
    from diffsim.view import Film

    wide, high = _limits(every[..., 0]), _limits(every[..., 1])
    size = float(np.clip(60.0 / np.sqrt(points.shape[1]), 1.0, 8.0))
    aspect = float(np.clip((high[1] - high[0]) / (wide[1] - wide[0]), *_ASPECTS))
    across = max(wide[1] - wide[0], (high[1] - high[0]) / aspect)  # one scale along both axes
    wide, high = _around(wide, across), _around(high, across * aspect)

    def draw(axes: Axes, k: int) -> None:
        from diffsim.view.style import INK

        axes.plot(points[k, :, 0], points[k, :, 1], "o", ms=size, color=INK, mew=0)
        axes.set(xlim=wide, ylim=high, xlabel="x", ylabel="y")

    return Film(draw, _labels(arrays), fps=_RATE, aspect=aspect)


def _map(arrays: Arrays, values: NDArray[np.float64], every: NDArray[np.float64]) -> Film:
    from diffsim.view import Film

    known = every[np.isfinite(every)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    n, m = values.shape[1:]

    def draw(axes: Axes, k: int) -> None:
        from diffsim.view import color_bar

        box = (-0.5, n - 0.5, -0.5, m - 0.5)
        shown = axes.imshow(
            values[k].T, origin="lower", extent=box, vmin=low, vmax=high if high > low else low + 1.0
        )
        axes.set(xlabel="i", ylabel="j")
        color_bar(axes, shown, "value")

    return Film(draw, _labels(arrays), fps=_RATE, aspect=float(np.clip(m / n, *_ASPECTS)), bar=True)


def _curves(arrays: Arrays, values: NDArray[np.float64], every: NDArray[np.float64]) -> Film:
    from diffsim.view import Film

    times, high = arrays["times"], _limits(every)
    wide = (float(times[0]), float(times[-1]) if times[-1] > times[0] else float(times[0]) + 1.0)

    def draw(axes: Axes, k: int) -> None:
        axes.plot(times[: k + 1], values[: k + 1], lw=1.2)
        axes.set(xlim=wide, ylim=high, xlabel="t [s]" if arrays["seconds"] else "step", ylabel="value")

    return Film(draw, _labels(arrays), fps=_RATE, aspect=0.6, stills=[len(values) - 1])


def _nothing() -> Film:
    from diffsim.view import Film

    return Film(lambda axes, k: axes.set_axis_off(), ["no State to draw"])
