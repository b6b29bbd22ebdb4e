"""Films: any picture that changes with time, as an animation and as a strip of stills to compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing, require_writable
from diffsim.options import plain_number
from diffsim.view.gif import write_gif
from diffsim.view.reel import BAR_NAME, ONCE, Reel, color_bar, dress
from diffsim.view.style import INK, heading, new_figure
from diffsim.view.video import write_video
from diffsim.view.writer import VIDEOS, check_film_path, is_gif, write_film

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Film",
    "color_bar",
    "compare_png",
    "film_file",
    "film_frames",
    "film_gif",
    "film_video",
    "frame_drawer",
    "time_labels",
]

# [inch] around axes: room for their numbers and label on the left and below, for a heading above.
_LEFT, _RIGHT, _BELOW, _ABOVE, _GAP = 0.66, 0.22, 0.52, 0.62, 0.3
_BAR = 0.72  # [inch] for a colour bar
_WIDE = 5.2  # [inch] an animation's axes
_STILL = 2.35  # [inch] a still's axes
_STILLS = 4
_DPI, _VIDEO_DPI = 84, 126  # of a GIF, and of a video, which stays small with more


@dataclass(frozen=True, eq=False)
class Film:
    """A picture for each moment, drawn when it is asked for.

    Attributes:
        draw: Called with empty Matplotlib axes and the number of a frame; draws all of it, limits and axis
            labels included. Ticks, scales and spines that it sets stay for the next frame.
        labels: A few words for each frame, such as its time (`time_labels`).
        fps: Frames per second of an animation.
        aspect: Height of the axes over their width.
        stills: The frames to show where there is room for a few; None for four, spread evenly.
        bar: Whether there must be room for a `color_bar` on the right.
        caption: A few words for all of it, such as "before training".

    Raises:
        ConfigError: There is no frame, a still is not one of the frames, or a number is not positive.
    """

    draw: Callable[[Axes, int], None]
    labels: Sequence[str]
    fps: float = 20.0
    aspect: float = 1.0
    stills: Sequence[int] | None = None
    bar: bool = False
    caption: str = ""

    def __post_init__(self) -> None:
        """Check the numbers."""
        count = len(self.labels)
        if count == 0:
            raise ConfigError("labels must name one frame or more, got none; pass one text per frame")
        for name in ("fps", "aspect"):
            given = plain_number(getattr(self, name))
            if not isinstance(given, int | float) or not (np.isfinite(given) and given > 0.0):
                raise ConfigError(
                    f"{name} must be a positive number, got {given!r}; leave it out where unsure"
                )
        for frame in self.stills or ():
            if not isinstance(frame, int | np.integer) or not 0 <= frame < count:
                raise ConfigError(
                    f"stills must be frames from 0 to {count - 1}, got {frame}; leave them out where unsure"
                )

    @property
    def shown(self) -> list[int]:
        """List the frames to show where there is room for a few."""
        if self.stills is not None:
            return list(self.stills)
        last = len(self.labels) - 1
        return sorted({round(k) for k in np.linspace(0, last, _STILLS)})


def time_labels(times: ArrayLike, unit: str = "s") -> list[str]:
    """Write the times of frames as labels, all with the decimals that tell neighbours apart.

    Args:
        times: Shape (frames,).
        unit: Its unit.

    Returns:
        One label per frame, such as "t = 0.25 s".
    """
    array = np.asarray(times, dtype=np.float64).reshape(-1)
    gaps = np.diff(array)
    least = float(np.min(np.abs(gaps))) if gaps.size and np.abs(gaps).min() > 0.0 else 1.0
    off = [float(np.abs(np.round(array, k) - array).max()) for k in range(7)]
    decimals = next((k for k, error in enumerate(off) if error < 0.02 * least), 6)
    return [f"t = {value:.{decimals}f} {unit}" for value in array]


def film_file(
    path: str | os.PathLike[str],
    film: Film,
    title: str = "",
    *,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Animate a film as what its file's name ends in: .gif, .mp4 or .webm.

    Args:
        path: The file to write; replaced only when it is complete.
        film: What to draw.
        title: Heading; the caption and the label of the frame are set below it.
        progress: Called after each frame with the frames drawn and those of the film; None for nobody.

    Raises:
        ConfigError: The name ends in something else, or its folder can't be written to; nothing was drawn.
        MissingExtraError: A video is asked for, and what encodes it is not installed; nothing was drawn.
        OSError: The file can't be written.
    """
    check_film_path(path)
    dpi = _DPI if is_gif(path) else _VIDEO_DPI
    write_film(path, film_frames(film, title, dpi=dpi, progress=progress), film.fps)


def film_gif(
    path: str | os.PathLike[str],
    film: Film,
    title: str = "",
    *,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Animate a film as a GIF, whatever the file's name ends in; otherwise as `film_file`.

    Raises:
        ConfigError: The folder can't be written to; nothing was drawn.
        OSError: The file can't be written.
    """
    require_writable(path)
    write_gif(path, film_frames(film, title, progress=progress), film.fps)


def film_video(
    path: str | os.PathLike[str],
    film: Film,
    title: str = "",
    *,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Animate a film as a video, .mp4 (H.264) or .webm (VP9); otherwise as `film_file`.

    Raises:
        ConfigError: The name ends in something else, or its folder can't be written to; nothing was drawn.
        MissingExtraError: What encodes it is not installed; nothing was drawn.
        OSError: The file can't be written.
    """
    check_film_path(path, VIDEOS)
    write_video(path, film_frames(film, title, dpi=_VIDEO_DPI, progress=progress), film.fps)


def film_frames(
    film: Film,
    title: str = "",
    *,
    dpi: int = _DPI,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of a film, one when it is asked for.

    Args:
        film: What to draw.
        title: Heading.
        dpi: Pixels per inch; axes are 5.2 inches wide.
        progress: Called after each frame with the frames drawn and those of the film; None for nobody.

    Yields:
        RGBA, shape (height, width, 4).
    """
    draw = frame_drawer(film, title, dpi=dpi)
    for frame in range(len(film.labels)):
        yield draw(frame)
        if progress is not None:
            progress(frame + 1, len(film.labels))


def frame_drawer(film: Film, title: str = "", *, dpi: int = _DPI) -> Callable[[int], NDArray[np.uint8]]:
    """Make a function that draws the frame of a number, shape (height, width, 4); see `film_frames`."""
    tall = _WIDE * film.aspect
    wide, high = _WIDE + _LEFT + _RIGHT + film.bar * _BAR, tall + _BELOW + _ABOVE
    figure = new_figure(round(wide * dpi) / dpi, round(high * dpi) / dpi, dpi)
    axes = figure.add_axes((_LEFT / wide, _BELOW / high, _WIDE / wide, tall / high))
    heading(figure, _LEFT / wide, 1 - 0.1 / high, title, 12)
    edge = (_LEFT + _WIDE) / wide
    figure.text(edge, 1 - 0.53 / high, film.caption, fontsize=10, color=INK, ha="right", parse_math=False)
    clock = figure.text(_LEFT / wide, 1 - 0.53 / high, "", fontsize=10, color=INK, family="monospace")
    reel = Reel(figure, axes, clock)
    return lambda number: reel.frame(film.draw, number, film.labels[number])


def compare_png(path: str | os.PathLike[str], films: Sequence[Film], title: str = "") -> None:
    """Show stills of films, one row each: before and after at a glance.

    Args:
        path: The PNG to write; replaced only when it is complete.
        films: The rows from the top; their captions are set above them.
        title: Heading.

    Raises:
        ConfigError: There is no film, or the folder can't be written to; nothing was drawn.
        OSError: The file can't be written.
    """
    if not films:
        raise ConfigError("compare_png must get one film or more, got none; pass [before, after]")
    require_writable(path)
    columns = max(len(film.shown) for film in films)
    gap, room = _LEFT, 0.55  # [inch] left of a still; above a row
    heights = [_STILL * film.aspect for film in films]
    wide = columns * (_STILL + gap) + _RIGHT + any(film.bar for film in films) * _BAR
    high = 0.35 + sum(heights) + len(films) * (room + _BELOW)
    figure = new_figure(wide, high, dpi=110)
    heading(figure, gap / wide, 1 - 0.12 / high, title, 13)
    bottom = high - 0.35
    for film, tall in zip(films, heights, strict=True):
        bottom -= room + tall
        height = ""
        first = columns - len(film.shown)  # a film of one still, such as a target, stands below the last ones
        edge, line = (first * (_STILL + gap) + gap) / wide, (bottom + tall + 0.27) / high
        figure.text(edge, line, film.caption, fontsize=11, color=INK, parse_math=False)
        for column, frame in enumerate(film.shown, first):
            left = column * (_STILL + gap) + gap
            axes = figure.add_axes((left / wide, bottom / high, _STILL / wide, tall / high))
            film.draw(axes, frame)
            dress(axes, small=True)
            _thin_out(axes, height if column > first else "", column == first, last=column == columns - 1)
            height = axes.get_ylabel() or height
            axes.set_title(film.labels[frame], fontsize=9, color=INK, pad=4, loc="right", parse_math=False)
        bottom -= _BELOW
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _thin_out(axes: Axes, height: str, first: bool, last: bool) -> None:
    """Leave out what a still of the row says already: labels of heights, legends, notes, colour bars."""
    if axes.get_ylabel() == height:
        axes.set_ylabel("")
    for words in [axes.get_legend(), *axes.texts]:
        if words is not None and words.get_gid() == ONCE and not first:
            words.remove()
    for child in list(axes.child_axes):
        if child.get_label() == BAR_NAME and not last:
            child.remove()
