"""What the pictures of water have in common: films of particles that are coloured by their speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.view import Film

__all__ = ["water_films"]


class Scene(Protocol):
    """What draws the frames of one recording."""

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""


def water_films(
    recordings: Sequence[Recording],
    scene: Callable[[Mapping[str, NDArray[Any]], float], Scene],
    playback: float,
    aspect: float,
) -> list[Film]:
    """Return a film for each recording, with one scale of colours for all.

    Args:
        recordings: Their arrays hold `speed` [m/s] and `times` [s], by frame.
        scene: Makes what draws a recording, from its arrays and the speed of the darkest colour [m/s].
        playback: How many times slower than life.
        aspect: Height of the picture by its width.
    """
    from diffsim.view import Film, time_labels

    speeds = np.concatenate([recording.arrays["speed"].ravel() for recording in recordings])
    top = max(float(np.percentile(speeds, 99.0)), 1e-6)
    films = []
    for recording in recordings:
        times = recording.arrays["times"]
        pause = float(np.diff(times[:2]).sum()) or 0.01
        rate = min(1.0 / (playback * pause), 25.0)
        draw = scene(recording.arrays, top).draw
        films.append(Film(draw, time_labels(times), fps=rate, aspect=aspect, bar=True))
    return films
