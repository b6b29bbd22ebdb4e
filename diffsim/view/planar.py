"""Planar robots as pictures: an animation of one motion, and a still that compares several."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing, require_writable
from diffsim.view.motion import Floats, Limits, Motion, Place, check_motion, robot_limits
from diffsim.view.robot import Stage
from diffsim.view.stage import (
    Layers,
    add_color_bar,
    add_springs,
    add_way,
    draw_place,
    fit,
    line_thickness,
    set_springs,
    set_way,
)
from diffsim.view.style import EARTH, HEAD, INK, heading, new_figure, palette
from diffsim.view.writer import check_film_path, write_film

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["robot_gif", "robot_limits", "robot_png"]


def robot_gif(
    path: str | os.PathLike[str],
    positions: ArrayLike,
    springs: ArrayLike,
    actuation: ArrayLike | None = None,
    head: int | None = None,
    goal: ArrayLike | None = None,
    ground: float | None = None,
    times: ArrayLike | None = None,
    title: str = "",
    fps: float | None = None,
    *,
    active: ArrayLike | None = None,
    limits: Limits | None = None,
    way: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Animate a planar robot in a fixed frame that shows the whole motion.

    Args:
        path: the file to write, .gif, .mp4 or .webm; replaced only when it is complete.
        positions: [m], shape (frames, n, 2). Points that are not finite are left out, and counted above.
        springs: the points each spring joins, shape (m, 2).
        actuation: muscle commands in [-1, 1], shape (frames, m), or (frames - 1, m): the last frame then
            repeats them. None: no muscles are shown.
        head: the point to mark; None: no mark.
        goal: (x, y) [m] to mark; None: no mark.
        ground: height of the ground [m]; None: no ground.
        times: the frames' times [s], shape (frames,); None: no clock.
        title: heading.
        fps: frames per second; None: as fast as `times` tells, or 30 without `times`.
        active: which springs are muscles, shape (m,), bool; the others are grey whatever their command. None:
            all, if there is an `actuation`.
        limits: left, right, bottom, top [m]; None: `robot_limits` of this motion.
        way: mark where the head starts, and show how far it has come.
        progress: called after each frame with the frames drawn and those of the picture; None for nobody.

    Raises:
        ConfigError: the path has another ending or its folder can't be written to, an argument has the wrong
            shape or an index out of range, or no position is finite.
        MissingExtraError: a video is asked for, and what encodes it is not installed.
        OSError: the file can't be written.
    """
    check_film_path(path)
    motion = check_motion(positions, springs, actuation, head, times, active)
    rate = _rate(fps, motion.times)
    place = _from_start(Place.around(motion.positions, goal, ground, limits), motion, way)
    scene = Stage.of(motion, place, title)
    write_film(path, scene.frames(motion, progress), rate, keep=palette())


def robot_png(
    path: str | os.PathLike[str],
    motions: Mapping[str, ArrayLike],
    springs: ArrayLike,
    actuations: Mapping[str, ArrayLike] | None = None,
    head: int | None = None,
    goal: ArrayLike | None = None,
    ground: float | None = None,
    times: ArrayLike | None = None,
    title: str = "",
    *,
    active: ArrayLike | None = None,
    poses: int = 5,
    width: float = 9.0,
    way: bool = False,
) -> None:
    """Show motions as strips below each other: poses that gain strength over time, and the head's path.

    Args:
        path: the PNG to write; replaced only when it is complete.
        motions: label -> positions [m], shape (frames, n, 2); for example before and after training.
        springs: the points each spring joins, shape (m, 2).
        actuations: label -> muscle commands in [-1, 1], shape (frames, m) or (frames - 1, m); a label may be
            missing.
        head: the point to mark and trace; None: none.
        goal: (x, y) [m] to mark; None: no mark.
        ground: height of the ground [m]; None: no ground.
        times: the frames' times [s], shape (frames,): poses are labelled with their times where there is
            room; None: no labels.
        title: heading.
        active: which springs are muscles, as in `robot_gif`.
        poses: poses per strip, at least 2, spread evenly in time.
        width: width of the picture [inch].
        way: mark where the head starts in the first motion, and show how far it has come in each.

    Raises:
        ConfigError: there is no motion, the folder can't be written to, an argument has the wrong shape or an
            index out of range, or no position of a motion is finite.
        OSError: the file can't be written.
    """
    if not motions or poses < 2:
        raise ConfigError(
            f"robot_png must get one motion and two poses or more, got {len(motions)} and {poses}; "
            "pass {'before': positions} and poses=5"
        )
    require_writable(path)
    commands = actuations or {}
    strips = {
        label: check_motion(positions, springs, commands.get(label), head, times, active)
        for label, positions in motions.items()
    }
    place = Place.around(np.concatenate([m.positions for m in strips.values()]), goal, ground)
    place = _from_start(place, next(iter(strips.values())), way)
    figure = _strips_figure(strips, place, title, poses, width)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _rate(fps: float | None, times: Floats | None) -> float:
    """Choose the frames per second: given, real time, or 30."""
    if fps is not None:
        if not (np.isfinite(fps) and fps > 0.0):
            raise ConfigError(f"fps must be positive, got {fps}; pass frames per second")
        return float(fps)
    if times is None or len(times) < 2 or times[-1] <= times[0]:
        return 30.0
    return float((len(times) - 1) / (times[-1] - times[0]))


def _from_start(place: Place, motion: Motion, way: bool) -> Place:
    """Mark where the head of a motion starts, if its way is to be shown."""
    if not way or motion.head is None:
        return place
    start = float(motion.positions[0, motion.head, 0])
    return replace(place, start=start) if np.isfinite(start) else place


def _strips_figure(
    strips: Mapping[str, Motion],
    place: Place,
    title: str,
    poses: int,
    wide: float,
) -> Figure:
    """Lay the strips out below each other at one scale."""
    left, right, below, above, gap = 0.2, 0.2, 0.5, 0.75, 0.32  # [inch]
    stage = wide - left - right
    place, tall = fit(place, stage, 1.3, 3.5)
    height = below + above + len(strips) * tall + (len(strips) - 1) * gap
    figure = new_figure(wide, height, dpi=130)
    heading(figure, left / wide, 1 - 0.12 / height, title, 13)
    bar_done = False
    for row, (label, motion) in enumerate(strips.items()):
        bottom = below + (len(strips) - 1 - row) * (tall + gap)
        axes = figure.add_axes((left / wide, bottom / height, stage / wide, tall / height))
        thickness = line_thickness(motion, place, stage)
        draw_place(axes, place, 3.2 * thickness + 3)
        axes.set_yticks([])
        axes.set_title(label, loc="left", fontsize=11, color=INK, pad=4, parse_math=False)
        last = row == len(strips) - 1
        axes.tick_params(labelbottom=last)
        if last:
            axes.set_xlabel("x [m]", color=INK, fontsize=9)
        layers = _strip(axes, motion, poses, thickness, place)
        if motion.active.any() and not bar_done:
            add_color_bar(figure, layers[2], (1 - 3.1 / wide, 1 - 0.44 / height, 2.8 / wide, 0.09 / height))
            bar_done = True
    return figure


def _strip(axes: Axes, motion: Motion, poses: int, thickness: float, place: Place) -> Layers:
    """Draw one motion as poses over each other, the last one strongest; return the last pose's springs."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    frames = np.unique(np.linspace(0, len(motion.positions) - 1, poses).round().astype(int))
    for k, frame in enumerate(frames):
        strength = 1.0 if k == len(frames) - 1 else 0.25 + 0.35 * k / len(frames)
        floor = 3 + 8 * k
        # A white rim pushes earlier poses back, or the lattices would mix into one.
        rim = LineCollection(
            list(motion.segments(frame)),
            colors="white",
            linewidths=4.5 * thickness,
            alpha=0.6,
            zorder=floor,
            capstyle="round",
        )
        axes.add_collection(rim, autolim=False)
        if place.ground is not None:
            left, right, _, top = place.limits
            air = Rectangle((left, place.ground), right - left, top - place.ground, transform=axes.transData)
            rim.set_clip_path(air)
        layers = add_springs(axes, motion, thickness)
        set_springs(layers, motion, int(frame))
        for depth, layer in enumerate(layers):
            layer.set_alpha(strength)
            layer.set_zorder(floor + 1 + depth)
        x = motion.positions[frame]
        axes.plot(
            x[:, 0], x[:, 1], "o", color=INK, ms=1.1 * thickness, alpha=strength, zorder=floor + 4, mew=0
        )
        if motion.head is not None:
            axes.plot(
                *x[motion.head][:, None],
                "o",
                color=HEAD,
                mec=INK,
                mew=0.9,
                ms=2.8 * thickness,
                alpha=max(0.35, strength),
                zorder=floor + 5,
            )
    if motion.head is not None:
        path = motion.positions[:, motion.head]
        axes.plot(path[:, 0], path[:, 1], color=HEAD, lw=1.4, zorder=floor + 0.5)
        if place.start is not None and np.isfinite(path[-1, 0]):
            set_way(add_way(axes, place), place, float(path[-1, 0]))
    _label_times(axes, motion, frames, place.ground is not None)
    return layers


def _label_times(axes: Axes, motion: Motion, frames: NDArray[np.int64], on_ground: bool) -> None:
    """Write the poses' times below them; where they stand too close, the later one stays."""
    if motion.times is None:
        return
    left, right = axes.get_xlim()
    ground = {"facecolor": EARTH, "edgecolor": "none", "pad": 0.8}  # the mark of the start ends there
    taken: list[float] = []
    for frame in reversed(frames.tolist()):
        x = float(
            np.nanmean(motion.positions[frame, :, 0])
            if motion.head is None
            else motion.positions[frame, motion.head, 0]
        )
        if np.isfinite(x) and all(abs(x - other) > 0.055 * (right - left) for other in taken):
            taken.append(x)
            axes.annotate(
                f"{motion.times[frame]:.1f} s",
                (x, 0),
                (0, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=8.5,
                color=INK,
                ha="center",
                va="bottom",
                zorder=1000,
                bbox=ground if on_ground else None,
            )
