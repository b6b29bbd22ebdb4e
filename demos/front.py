"""Find where, and how much, bait keeps an invader out of a reserve: `diffsim train front`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.front import Front, FrontConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["FrontTask"]

_FRAMES = 24
_HOLD = 6  # frames for which the last one stays
_PLOT, _BLOCK = 8, 4  # cells along an edge; a plot has a few more where that does not go up
_DIFFUSION, _FASTEST, _SLOWEST = 1.5, 1.5, 0.6  # [km²/yr], [1/yr], [1/yr]
_VIEW, _RESERVE = 120, 30.0  # [km] from the middle to the edge of what is shown; radius of the reserve
# [km] from the middle: what threatens the reserve, with the radius of each; the others are far away
_NEAR = ((-58.0, 36.0, 20.0), (58.0, 44.0, 20.0), (12.0, -76.0, 24.0))
_FAR = 6
_FIRST_EFFORT = 0.02  # [1/sqrt(yr)], a dose too small to matter
_SHOWN = 0.05  # [1/yr] doses below are not drawn
_MAP = 128  # points along an axis of the small map, at most


class FrontTask(Task):
    """Find the doses of bait, plot by plot, that keep an invading population out of a reserve at least cost.

    The cost is the population inside the reserve at the end, with a price for all bait. Optimised is the
    effort of each plot of 8 km, whose square is the dose. The population has a sparse layout: most of the
    land has none of it, and no memory.

    Args:
        config: The options.
        data: Unused.
    """

    name = "front"
    summary = "bait that keeps an invader out of a reserve"
    steps = 450
    iterations = 60
    check_steps = 16
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "n": 64}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.03}
    cost_label = "cost: population in the reserve, and bait [km²]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(2048, "cells of a km along each axis", minimum=64)
        price: float = option(0.2, "of a dose of 1/yr, beside that of the population", above=0.0)
        land: int = option(0, "seed of the growth rates and of colonies far away", minimum=0)

    def title(self) -> str:
        return "bait that keeps an invader out of a reserve"

    def _physics(self) -> FrontConfig:
        from diffsim.kernels.front import FrontConfig

        n = self.config.n
        return FrontConfig(
            shape=(n, n), spacing=1.0, diffusion=_DIFFUSION, rate=_FASTEST, plots=n // _PLOT, least=1e-6
        )

    @property
    def _scale(self) -> float:
        """How much smaller than meant the scene is, on land that has no room for it."""
        return min(1.0, self.config.n / (2.0 * _VIEW))

    @property
    def _edge(self) -> float:
        """The edge of a plot [km]."""
        return self.config.n / (self.config.n // _PLOT)

    def build(self) -> Front:
        import diffsim as ds
        from diffsim.kernels.front import Front

        config, scale = self.config, self._scale
        rng = np.random.default_rng([config.land, 0xF407])
        middle = 0.5 * config.n
        near = np.array(_NEAR) * scale
        seeds, radius = middle + near[:, :2], near[:, 2]
        if config.n > 4 * _VIEW:
            angle = np.pi * (
                np.arange(_FAR) * 1.3 / (_FAR - 1) - 0.15
            )  # the bottom of the small map has words
            far = rng.uniform(0.4, 0.8, _FAR) * middle
            seeds = np.concatenate([seeds, middle + np.stack([far * np.cos(angle), far * np.sin(angle)], 1)])
            radius = np.concatenate([radius, rng.uniform(8.0, 16.0, _FAR)])
        return Front(
            self._physics(),
            seeds=seeds,
            radius=radius,
            worth=self._reserve(),
            rate=_growth(rng, config.n // _PLOT),
            effort=_FIRST_EFFORT,
            price=config.price,
            layout=ds.sparse(block=_BLOCK),
        )

    def _reserve(self) -> Any:
        """Return the cells whose middle is in the reserve."""
        import diffsim as ds

        radius = _RESERVE * self._scale
        reach = int(radius) + 1
        axis = np.arange(-reach, reach)
        at = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        at = at[np.hypot(*(at + 0.5).T) < radius] + self.config.n // 2
        return ds.Cells(at, np.ones(len(at)))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.effort]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = max(1, rollout.steps // _FRAMES)
        frames = rollout.cells(sim.u, every=every)
        if rollout.worlds > 1:  # they differ in nothing
            frames = [worlds[0] for worlds in frames]
        n = self.config.n
        reach = min(_VIEW, n // 2)
        step = -(-n // _MAP)
        u = np.zeros((len(frames), 2 * reach, 2 * reach), np.float32)
        land = np.zeros((len(frames), -(-n // step), -(-n // step)), bool)
        active, inside = np.zeros(len(frames)), self._reserve().indices - n // 2 + reach
        for k, cells in enumerate(frames):
            held = cells.values != 0.0
            at, values = cells.indices[held], cells.values[held]
            land[(k, *(at // step).T)] = True
            active[k] = len(np.unique((at // _BLOCK) @ (n, 1))) / (-(-n // _BLOCK)) ** 2
            shown = (np.abs(at + 0.5 - n // 2) < reach).all(axis=1)
            u[(k, *(at[shown] - n // 2 + reach).T)] = values[shown]
        return {
            "u": u,
            "land": land,
            "active": active,
            "reserve": u[:, inside[:, 0], inside[:, 1]].mean(axis=1),
            "dose": sim.effort.numpy() ** 2,
            "times": sim.dt * np.minimum(every * np.arange(len(u)), rollout.steps),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        return {
            "reserve taken at the end [% of its capacity]": float(100.0 * arrays["reserve"][-1]),
            "bait [km²/yr]": float(arrays["dose"].sum() * self._edge**2),
            "active at the end [% of blocks]": float(100.0 * arrays["active"][-1]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        most = max(float(r.arrays["dose"].max()) for r in recordings)
        return [self._film(r.arrays, max(most, 2.0 * _SHOWN)) for r in recordings]

    def _film(self, arrays: Mapping[str, NDArray[Any]], most: float) -> Film:
        """Draw the population as a map, the bait on it, and all of the land in a corner."""
        from diffsim.view import KEY, Film, time_labels

        u, last = arrays["u"], len(arrays["u"]) - 1

        def draw(axes: Axes, k: int) -> None:
            k = min(k, last)
            _draw_population(axes, u[k])
            _draw_bait(axes, arrays["dose"], self._edge, len(u[k]), most)
            _draw_land(axes, arrays["land"][k], len(u[k]) / self.config.n, self.config.n)
            _draw_active(axes, arrays["active"], k)
            _draw_reserve(axes, _RESERVE * self._scale)

        times = arrays["times"]
        labels = time_labels(np.rint(times) if last and times[1] > 1.0 else times, "yr")
        return Film(
            draw,
            labels + [labels[-1]] * (_HOLD if last else 0),
            fps=8.0,
            aspect=1.0 + KEY,
            bar=True,
            stills=sorted({0, round(0.4 * last), round(0.7 * last), last}),
        )


def _growth(rng: np.random.Generator, plots: int) -> NDArray[np.float64]:
    """Draw smooth growth rates of plots, shape (plots, plots) [1/yr]."""
    at = np.arange(plots) * _PLOT
    waves = np.zeros((plots, plots))
    for _ in range(24):
        angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
        number = 2.0 * np.pi / rng.uniform(45.0, 140.0)  # [1/km]
        waves += np.cos(number * (np.cos(angle) * at[:, None] + np.sin(angle) * at[None, :]) + phase)
    share = 0.5 + 0.5 * np.tanh(waves / 3.0)
    return np.asarray(_SLOWEST + (_FASTEST - _SLOWEST) * share)


def _draw_population(axes: Axes, u: NDArray[Any]) -> None:
    """Draw the density around the reserve, with a bar."""
    from matplotlib.colors import LinearSegmentedColormap

    from diffsim.view import color_bar

    reach = 0.5 * len(u)
    shown = axes.imshow(
        u.T,
        origin="lower",
        extent=(-reach, reach, -reach, reach),
        cmap=LinearSegmentedColormap.from_list("population", ["#ffffff", "#e8b56b", "#a8431a", "#5c1a10"]),
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    axes.set(xlabel="x [km]", ylabel="y [km]")
    color_bar(axes, shown, "share of the capacity")


def _draw_bait(axes: Axes, dose: NDArray[Any], edge: float, width: int, most: float) -> None:
    """Fill plots that get bait, the more the darker."""
    from diffsim.view.style import WATER

    first = -0.5 * edge * len(dose)
    for i, j in np.argwhere(dose > _SHOWN):
        x, y = first + edge * i, first + edge * j
        if max(abs(x + 0.5 * edge), abs(y + 0.5 * edge)) < 0.5 * width:
            alpha = 0.25 + 0.65 * min(1.0, float(dose[i, j]) / most)
            axes.fill([x, x + edge, x + edge, x], [y, y, y + edge, y + edge], color=WATER, alpha=alpha, lw=0)


def _draw_land(axes: Axes, land: NDArray[Any], share: float, length: int) -> None:
    """Draw where on all of the land anything is, in a corner, with a frame around what is shown large."""
    from diffsim.view.style import INK

    small = _corner(axes, 0.02, f"{length:,} km")
    extent = (-1.0, 1.0, -1.0, 1.0)
    small.imshow(land.T, origin="lower", extent=extent, cmap="Greys", vmin=0, vmax=1.6, aspect="auto")
    edge = share * np.array([-1.0, 1.0, 1.0, -1.0, -1.0])
    small.plot(edge, share * np.array([-1.0, -1.0, 1.0, 1.0, -1.0]), color=INK, lw=0.7)


def _draw_active(axes: Axes, active: NDArray[Any], k: int) -> None:
    """Draw in the other corner how many of the blocks there are, over time."""
    from diffsim.view.style import HEAD, INK

    small = _corner(axes, 0.71, f"{100.0 * active[k]:.1f} % active")
    small.plot(active, color=INK, lw=0.9)
    small.plot(k, active[k], "o", color=HEAD, mec=INK, mew=0.5, ms=4)
    most = max(float(active.max()), 1e-6)
    small.set(xlim=(-0.06 * len(active), 1.05 * len(active)), ylim=(-0.35 * most, 1.15 * most))


def _corner(axes: Axes, left: float, words: str) -> Axes:
    """Return small axes at the bottom, with a few words in them."""
    from diffsim.view.style import INK, word_size

    small = axes.inset_axes((left, 0.02, 0.27, 0.27 / 1.1))
    small.set(xticks=[], yticks=[])
    told = {"ha": "center", "va": "bottom", "color": INK, "fontsize": word_size(axes, 5.0)}
    small.text(0.5, 0.03, words, transform=small.transAxes, **told)
    return small


def _draw_reserve(axes: Axes, radius: float) -> None:
    """Draw the reserve's border, and say above the map what it and the bait are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from diffsim.view import add_key
    from diffsim.view.style import GOAL, WATER

    angle = np.linspace(0.0, 2.0 * np.pi, 73)
    axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=GOAL, lw=1.6)
    line = Line2D([], [], color=GOAL, lw=1.6, label="reserve")
    add_key(axes, [line, Patch(color=WATER, alpha=0.7, label="bait")])
