"""Numbers along one axis over time, as an image: time to the right, the axis upward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.paint.scale import Scale, scale_of
from diffsim.view.paint.ticks import named, ticks
from diffsim.view.reel import dress
from diffsim.view.style import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["space_time"]

_WIDE, _HIGH = 1600, 512  # samples along time and along the axis that are drawn


def space_time(
    axes: Axes,
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    limits: tuple[float, float],
    told: tuple[str, str],
) -> None:
    """Draw an image with its colour bar; the axes' limits along time stay.

    Args:
        axes: What is drawn on.
        times: Shape (frames,).
        values: Shape (frames, n).
        limits: The numbers at the ends of the colours, before both signs are given as much room.
        told: What the numbers are called, and their unit.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = scale_of(*limits, full=True)
    some = values[:: -(-len(times) // _WIDE), :: -(-values.shape[1] // _HIGH)]
    first, last, count = float(times[0]), float(times[-1]), values.shape[1]
    half = 0.5 * (last - first) / max(1, len(times) - 1) or 0.5
    axes.imshow(
        _colored(some.T, scale),
        origin="lower",
        extent=(first - half, last + half, -0.5, count - 0.5),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_ylim(-0.5, count - 0.5)
    found = ticks(0.0, count - 1.0, 4)
    whole = np.abs(found.places - np.round(found.places)) < 1e-9
    texts = [f"{place:.0f}" for place in found.places[whole] + 0.0]
    axes.set_yticks(found.places[whole], texts)
    axes.set_ylabel("index", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    dress(axes)
    place = axes.inset_axes((1.015, 0.0, 0.016, 1.0))
    bar: Any = axes.figure.colorbar(  # type: ignore[union-attr]
        ScalarMappable(Normalize(scale.low, scale.high), scale.colormap()), cax=place
    )
    numbers = ticks(scale.low, scale.high, 4)
    bar.set_ticks(numbers.places, labels=numbers.texts)
    bar.outline.set_linewidth(0.5)
    place.set_ylabel(named(*told, numbers), color=INK, parse_math=False)
    place.tick_params(labelsize=8, labelcolor=INK, colors=QUIET, length=2, pad=2)


def _colored(values: NDArray[np.float64], scale: Scale) -> NDArray[np.uint8]:
    """Return colours, see-through where numbers are not finite."""
    rgb = np.rint(255.0 * scale.rgb(values))
    there = 255.0 * np.isfinite(values)[..., None]
    return np.concatenate([rgb, there], axis=-1).astype(np.uint8)
