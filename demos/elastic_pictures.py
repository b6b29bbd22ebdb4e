"""Films of soft bodies: their muscles' commands in colour, the ground, the way they went, the target.

In the plane points are drawn as they lie. In space the picture is an orthographic projection of our own:
points from far to near, shaded by which way the body's surface faces, above a ground with a grid and the
body's shadow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.style import EARTH, GOAL, INK, QUIET, muscle_colors, word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.elastic import Scene
    from diffsim.view import Film

__all__ = ["film"]

Array = NDArray[Any]

_BODY = "#b8c1cc"  # matter without muscles
_OUTLINE = "#3e4c59"
_SHADOW = "#cfc5b2"
_PATH = "#c77d0a"
_AZIMUTH, _ELEVATION = np.radians(20.0), np.radians(24.0)
_LIGHT = np.array([-0.35, -0.55, 0.76])  # towards the light, of length 1
_PLAYBACK = 4.0  # how many times slower than life


def film(arrays: Mapping[str, Array], scene: Scene, cell: float) -> Film:
    """Make a film of a recording.

    Args:
        arrays: What the task recorded.
        scene: The body and its room.
        cell: Size of the grid's cells [m]; points lie half as far apart.
    """
    from diffsim.view import Film, time_labels

    times = arrays["times"]
    pause = float(np.diff(times[:2]).sum()) or 0.02
    picture = _Plane(arrays, scene, cell / 2) if scene.dim == 2 else _Space(arrays, scene, cell / 2)
    rate = min(max(1.0 / (_PLAYBACK * pause), 8.0), 25.0)
    return Film(
        picture.draw,
        time_labels(np.round(times, 3)),
        fps=rate,
        aspect=picture.aspect,
        bar="command" in arrays,
    )


_PAD = {
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.75,
    "pad": 0.6,
}  # so that text is read on a body


class _Picture:
    """What both kinds of picture share."""

    def __init__(self, arrays: Mapping[str, Array], scene: Scene, spacing: float) -> None:
        self.x, self.center, self.muscle = arrays["x"], arrays["center"], arrays["muscle"]
        self.command = arrays.get("command")
        self.scene, self.spacing = scene, spacing
        self.low, self.high = np.array(scene.room[0]), np.array(scene.room[1])

    def colors(self, k: int) -> Array:
        """Return the colour of each point, (n, 3): blue pulls, red pushes."""
        from matplotlib.colors import to_rgb

        found = np.tile(to_rgb(_BODY), (self.x.shape[1], 1))
        if self.command is not None:
            active = self.muscle >= 0
            found[active] = muscle_colors()(0.5 - 0.5 * self.command[k, self.muscle[active]])[:, :3]
        return found

    def dot(self, axes: Axes) -> float:
        """Return the area of a marker that is as wide as points lie apart [points^2]."""
        left, right = axes.get_xlim()
        width = axes.get_position().width * axes.figure.get_size_inches()[0] * 72.0
        return float((width * self.spacing / (right - left)) ** 2)

    def judge(self, axes: Axes, k: int) -> None:
        """Say in the last frame how far off the target the centre is."""
        if k == len(self.x) - 1:
            miss = float(np.linalg.norm(self.center[k] - np.array(self.scene.goal)))
            text = f"centre off by {miss:.3f} m"
            axes.text(0.93, 0.89, text, transform=axes.transAxes, color=INK, fontsize=8, ha="right", va="top")

    def explain(self, axes: Axes) -> None:
        """Add the bar of commands."""
        if self.command is None:
            return
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        from diffsim.view import color_bar

        bar = ScalarMappable(Normalize(-1.0, 1.0), muscle_colors().reversed())
        color_bar(axes, bar, "−1 push, +1 pull")


class _Plane(_Picture):
    """A body in the plane, seen from the side."""

    def __init__(self, arrays: Mapping[str, Array], scene: Scene, spacing: float) -> None:
        super().__init__(arrays, scene, spacing)
        self.border = 0.05
        wide, tall = self.high - self.low + 2 * self.border
        self.aspect = tall / wide

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        self._room(axes)
        size = self.dot(axes)
        x = self.x[k]
        axes.scatter(x[:, 0], x[:, 1], s=5.0 * size, color=_OUTLINE, linewidths=0, zorder=2)
        axes.scatter(x[:, 0], x[:, 1], s=2.6 * size, c=self.colors(k), linewidths=0, zorder=3)
        if self.scene.goal is None:
            self._way(axes, k)
        else:
            self._aim(axes, k)
        self.explain(axes)

    def _room(self, axes: Axes) -> None:
        (a, b), (c, d) = zip(self.low, self.high, strict=True)
        border = self.border
        axes.set_xlim(a - border, b + border)
        axes.set_ylim(c - border, d + border)
        axes.set_aspect("equal")
        axes.set_xlabel("x [m]")
        axes.set_ylabel("y [m]")
        for left, bottom, wide, tall in (
            (a - border, c - border, b - a + 2 * border, border),  # the ground
            (a - border, d, b - a + 2 * border, border),
            (a - border, c, border, d - c),
            (b, c, border, d - c),
        ):
            axes.add_patch(_rectangle(left, bottom, wide, tall))
        axes.plot([a, b, b, a, a], [c, c, d, d, c], color=QUIET, lw=0.8, zorder=1)

    def _way(self, axes: Axes, k: int) -> None:
        """Draw where the centre started, where it is, and how far that is."""
        start, now = self.center[0, 0], self.center[k, 0]
        height = self.high[1] - 0.24 * (self.high[1] - self.low[1])
        axes.plot([start] * 2, [self.low[1], height], color=GOAL, lw=1.0, ls=(0, (4, 3)), zorder=1)
        axes.plot([now] * 2, [self.center[k, 1], height], color=GOAL, lw=1.0, ls=(0, (1, 2)), zorder=4)
        axes.plot(now, self.center[k, 1], "o", ms=3.5, color=GOAL, zorder=5)
        if abs(now - start) > 0.02:
            axes.annotate("", (now, height), (start, height), arrowprops=_arrow(), zorder=4)
        text = f" {now - start:+.2f} m".replace("-", "−")
        axes.text(start, height + 0.012, text, color=GOAL, fontsize=8, va="bottom")

    def _aim(self, axes: Axes, k: int) -> None:
        """Draw the target, the path of the centre, and how far it is."""
        goal = self.scene.goal or ()
        path = self.center[: k + 1]
        axes.plot(self.center[0, 0], self.center[0, 1], "o", ms=4, mfc="none", color=_PATH, zorder=4)
        axes.plot(path[:, 0], path[:, 1], color=_PATH, lw=1.4, zorder=4)
        axes.plot(path[-1, 0], path[-1, 1], "o", ms=4, color=_PATH, zorder=5)
        axes.plot(*goal, "o", ms=15, mfc="none", mew=1.8, color=GOAL, zorder=5)
        axes.plot(*goal, "+", ms=15, mew=1.8, color=GOAL, zorder=5)
        axes.annotate(
            "target",
            goal,
            (0, 12),
            textcoords="offset points",
            color=GOAL,
            fontsize=8,
            ha="center",
            bbox=_PAD,
        )
        self.judge(axes, k)


class _Space(_Picture):
    """A body in space, seen from the front left and above."""

    def __init__(self, arrays: Mapping[str, Array], scene: Scene, spacing: float) -> None:
        super().__init__(arrays, scene, spacing)
        first = self.x[0].astype(np.float64)
        apart = np.linalg.norm(first[:, None] - first[None], axis=-1)
        near = (apart < 1.8 * spacing).astype(np.float64)
        self.near = near / near.sum(axis=1, keepdims=True)
        top = max(float(self.x[..., 2].max()), float(np.max((scene.goal or (0.0,))[-1:]))) + 0.04
        corners = [
            (x, y, z)
            for x in (self.low[0], self.high[0])
            for y in (self.low[1], self.high[1])
            for z in (0.0, top)
        ]
        seen = _project(np.array(corners))[:, :2]
        self.view_low, self.view_high = seen.min(axis=0) - (0.03, 0.06), seen.max(axis=0) + 0.02
        wide, tall = self.view_high - self.view_low
        self.aspect = float(tall / wide)

    def draw(self, axes: Axes, k: int) -> None:
        """Draw frame `k`."""
        axes.set_xlim(self.view_low[0], self.view_high[0])
        axes.set_ylim(self.view_low[1], self.view_high[1])
        axes.set_aspect("equal")
        axes.set_axis_off()
        self._ground(axes)
        x = self.x[k].astype(np.float64)
        size = self.dot(axes)
        shadow = x - np.outer(x[:, 2] / _LIGHT[2], _LIGHT)
        inside = np.all((shadow[:, :2] >= self.low[:2]) & (shadow[:, :2] <= self.high[:2]), axis=1)
        u, v, _ = _project(shadow[inside]).T
        axes.scatter(u, v, s=4.5 * size, color=_SHADOW, linewidths=0, zorder=1.5)
        u, v, depth = _project(x).T
        order = np.argsort(-depth)
        shaded = (self._shades(x)[:, None] * self.colors(k))[order]
        axes.scatter(u[order], v[order], s=3.2 * size, c=shaded, linewidths=0.0, zorder=3)
        self._way(axes, k)
        self.explain(axes)

    def _shades(self, x: Array) -> Array:
        """Return the brightness of points from which way the surface faces: away from their neighbours."""
        away = x - self.near @ x
        length = np.linalg.norm(away, axis=1)
        normal = away / np.maximum(length, 1e-12)[:, None]
        surface = np.clip(length / (0.2 * self.spacing), 0.0, 1.0)
        light = np.clip(normal @ _LIGHT, 0.0, 1.0)
        shades: Array = 0.62 + 0.38 * (surface * light + (1.0 - surface) * 0.4)
        return shades

    def _ground(self, axes: Axes) -> None:
        (a, b), (c, d) = (self.low[0], self.high[0]), (self.low[1], self.high[1])
        corners = np.array([(a, c, 0.0), (b, c, 0.0), (b, d, 0.0), (a, d, 0.0)])
        axes.fill(*_project(corners)[:, :2].T, color=EARTH, lw=0, zorder=0)
        for x in np.arange(a, b + 1e-9, 0.1):
            self._line(axes, (x, c, 0.0), (x, d, 0.0), color="white", lw=0.8, zorder=1)
        for y in np.arange(c, d + 1e-9, 0.1):
            self._line(axes, (a, y, 0.0), (b, y, 0.0), color="white", lw=0.8, zorder=1)
        for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            self._line(axes, start, stop, color=QUIET, lw=0.8, zorder=1)
        for x in np.arange(a, b + 1e-9, 0.2):
            u, v, _ = _project(np.array([x, c, 0.0]))
            axes.text(
                u, v - 0.012, f"{x:.1f}", color=INK, fontsize=word_size(axes), ha="center", va="top", zorder=2
            )
        axes.text(0.0, 0.01, "x [m]; lines 0.1 m apart", transform=axes.transAxes, color=INK, fontsize=8)

    def _line(self, axes: Axes, start: Any, stop: Any, **how: Any) -> None:
        axes.plot(*_project(np.array([start, stop]))[:, :2].T, **how)

    def _way(self, axes: Axes, k: int) -> None:
        """Draw where the centre started, where it is, and how far that is; or the target."""
        if self.scene.goal is not None:
            goal, (u, v, _) = np.array(self.scene.goal), _project(np.array(self.scene.goal))
            self._line(axes, goal, goal * (1.0, 1.0, 0.0), color=GOAL, lw=1.0, ls=":", zorder=4)
            axes.plot(u, v, "o", ms=15, mfc="none", mew=1.8, color=GOAL, zorder=5)
            axes.plot(*_project(self.center[: k + 1])[:, :2].T, color=_PATH, lw=1.4, zorder=5)
            axes.plot(*_project(self.center[k])[:2], "o", ms=4, color=_PATH, zorder=5)
            self.judge(axes, k)
            axes.annotate(
                "target",
                (u, v),
                (0, 12),
                textcoords="offset points",
                color=GOAL,
                fontsize=8,
                ha="center",
                bbox=_PAD,
            )
            return
        start, now, near = self.center[0, 0], self.center[k, 0], self.low[1]
        far = self.high[1]
        self._line(axes, (start, near, 0.0), (start, far, 0.0), color=GOAL, lw=1.2, ls=(0, (4, 3)), zorder=2)
        self._line(axes, (now, near, 0.0), (now, far, 0.0), color=GOAL, lw=1.2, zorder=2)
        if abs(now - start) > 0.02:
            tail, head = _project(np.array([(start, near + 0.03, 0.0), (now, near + 0.03, 0.0)]))[:, :2]
            axes.annotate("", head, tail, arrowprops=_arrow(), zorder=4)
        text = f"{now - start:+.2f} m from the start".replace("-", "−")
        axes.text(0.02, 0.97, text, transform=axes.transAxes, color=GOAL, fontsize=9, ha="left", va="top")


def _project(points: Array) -> Array:
    """Return places on the picture and the depth behind it, (..., 3), of places in space."""
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    right = x * np.cos(_AZIMUTH) + y * np.sin(_AZIMUTH)
    back = y * np.cos(_AZIMUTH) - x * np.sin(_AZIMUTH)
    up = z * np.cos(_ELEVATION) + back * np.sin(_ELEVATION)
    return np.stack([right, up, back * np.cos(_ELEVATION) - z * np.sin(_ELEVATION)], axis=-1)


def _arrow() -> dict[str, Any]:
    return {"arrowstyle": "-|>", "color": GOAL, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}


def _rectangle(left: float, bottom: float, wide: float, tall: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), wide, tall, facecolor=EARTH, lw=0, zorder=0)
