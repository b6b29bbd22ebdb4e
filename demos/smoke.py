"""Find the gust that blows a puff of smoke into the shape of a picture: `diffsim train smoke`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.smoke import Smoke, SmokeConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["SmokeTask"]

_FRAMES = 40  # of a film, from the first step to the last
_HOLD = 10  # frames for which the last one stays
_ARROWS = 11  # along each axis
_BREATH, _SWIRLS = 5e-3, 4  # [m/s] the search begins with a breath of as many random swirls along each axis
_PUFF, _AIM = (0.5, 0.4), (0.5, 0.55)  # centres of the first and of the wanted smoke, in sides of the box


class SmokeTask(Task):
    """Find the velocity of the air at the start from which a round puff of smoke becomes a picture.

    Optimised are the velocities of all faces between cells. The projection takes away what of them is no
    flow, and its adjoint what of their gradient is none, so that no other rule is needed to keep them sound.

    Args:
        config: The options.
        data: Unused.
    """

    name = "smoke"
    summary = "a gust that blows smoke into the shape of a picture"
    steps = 100
    iterations = 60
    check_steps = 6
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 6, "iterations": 2, "n": 16}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 5e-3}
    cost_label = "cost: mean squared distance of the density from the target"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(110, "cells along each axis", minimum=8)
        shape: str = option("star", "what to form", choices=("star", "heart", "moon"))
        advection: str = option("semi-lagrangian", "scheme", choices=("semi-lagrangian", "maccormack"))
        pressure: str = option("multigrid", "solver", choices=("multigrid", "jacobi"))

    def title(self) -> str:
        return f"a gust that blows smoke into a {self.config.shape}"

    def _physics(self) -> SmokeConfig:
        from diffsim.kernels.smoke import SmokeConfig

        config = self.config
        return SmokeConfig(n=config.n, dt=0.1, advection=config.advection, pressure=config.pressure)

    def build(self) -> Smoke:
        from diffsim import runtime
        from diffsim.kernels.smoke import Smoke, picture, swirl

        physics = self._physics()
        share = np.random.default_rng(runtime.seed()).normal(size=(_SWIRLS, _SWIRLS))
        waves = np.sin(np.pi * np.outer(np.arange(physics.n + 1) / physics.n, 1 + np.arange(_SWIRLS)))
        u, v = swirl(waves @ share @ waves.T, physics.dx)
        slow = _BREATH / max(np.abs(u).max(), np.abs(v).max())
        first = picture(physics, "disc", center=_PUFF)
        target = picture(physics, self.config.shape, center=_AIM)
        return Smoke(physics, (slow * u, slow * v), first, target)

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.u, simulator.v]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        from diffsim.kernels.smoke import divergence

        sim: Any = rollout.sim
        every = max(1, rollout.steps // _FRAMES)
        found = rollout.trajectories({"d": sim.density, "u": sim.u_free, "v": sim.v_free})
        if rollout.worlds > 1:  # they differ in nothing
            found = {key: array[:, 0] for key, array in found.items()}
        u, v = found["u"], found["v"]
        left = [np.abs(divergence(*both, sim.dx)).max() for both in zip(u, v, strict=True)]
        shown = np.unique([*range(0, rollout.steps, every), rollout.steps])
        moving = np.minimum(shown, rollout.steps - 1)  # the air that carries from there on
        wind = 0.5 * np.stack([u[moving, 1:] + u[moving, :-1], v[moving, :, 1:] + v[moving, :, :-1]], axis=-1)
        return {
            "density": found["d"][shown].astype(np.float32),
            "wind": wind[:, _where(sim.n)][:, :, _where(sim.n)].astype(np.float32),
            "times": sim.dt * shown,
            "target": sim.target.numpy(),
            "divergence": np.array(left),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        target, density = arrays["target"], arrays["density"]
        start = np.mean((density[0] - target) ** 2)
        return {
            "mean squared error at the end [% of that of the unmoved puff]": float(
                100.0 * np.mean((density[-1] - target) ** 2) / start
            ),
            "largest divergence after projection [1/s]": float(arrays["divergence"].max()),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        fastest = max(float(np.linalg.norm(r.arrays["wind"], axis=-1).max()) for r in recordings)
        return [self._film(r.arrays, max(fastest, 1e-6)) for r in recordings]

    def _film(self, arrays: Mapping[str, NDArray[Any]], fastest: float) -> Film:
        """Draw the density as a map, the air as arrows, and the target's outline on it."""
        from diffsim.view import KEY, Film, time_labels

        density, wind, target = (arrays[key] for key in ("density", "wind", "target"))
        physics = self._physics()
        last = len(density) - 1

        def draw(axes: Axes, k: int) -> None:
            k = min(k, last)
            draw_density(axes, density[k], physics.size)
            at = physics.dx * (_where(physics.n) + 0.5)
            axes.quiver(
                *np.meshgrid(at, at, indexing="ij"),
                wind[k, ..., 0],
                wind[k, ..., 1],
                color="white",
                alpha=0.75,
                width=0.004,
                scale=8.0 * fastest / physics.size,
                scale_units="xy",
            )
            outline(axes, target, physics.size, fastest)

        labels = time_labels(arrays["times"])
        return Film(
            draw,
            labels + [labels[-1]] * (_HOLD if last else 0),
            fps=12.0,
            aspect=1.0 + KEY,
            bar=True,
            stills=_stills(last),
        )

    def target_film(self, recordings: Sequence[Recording]) -> Film | None:
        from diffsim.view import Film, time_labels

        target, size = recordings[0].arrays["target"], self._physics().size

        def draw(axes: Axes, k: int) -> None:
            draw_density(axes, target, size)

        return Film(draw, time_labels(recordings[0].arrays["times"])[-1:], bar=True, caption="target")


def _where(n: int) -> NDArray[np.int64]:
    """Return the cells along an axis that get an arrow."""
    count = min(n, _ARROWS)
    return np.asarray((np.arange(count) + 0.5) * n / count, dtype=np.int64)


def _stills(last: int) -> list[int]:
    return sorted({0, round(0.3 * last), round(0.6 * last), last})


def draw_density(axes: Axes, density: NDArray[Any], size: float) -> None:
    """Draw the density of smoke as a map, with a bar.

    Args:
        axes: What to draw on.
        density: Shape (n, n), first axis x.
        size: Side of the box [m].
    """
    from diffsim.view import color_bar

    shown = axes.imshow(
        density.T,
        origin="lower",
        extent=(0, size, 0, size),
        cmap="magma",
        vmin=0.0,
        vmax=1.0,
        interpolation="bilinear",
        interpolation_stage="data",
    )
    axes.set(xlabel="x [m]", ylabel="y [m]", yticks=np.linspace(0.0, size, 6))
    color_bar(axes, shown, "density of smoke")


def outline(axes: Axes, target: NDArray[Any], size: float, fastest: float) -> None:
    """Draw the line at half of a target's density, and say above the map what it and the arrows are.

    Args:
        axes: What to draw on.
        target: Its density, shape (n, n).
        size: Side of the box [m].
        fastest: Speed of the longest arrow [m/s].
    """
    from matplotlib.lines import Line2D

    from diffsim.view import add_key
    from diffsim.view.style import GOAL, QUIET

    at = size * (np.arange(len(target)) + 0.5) / len(target)
    axes.contour(at, at, target.T, levels=[0.5], colors=GOAL, linewidths=1.4)
    line = Line2D([], [], color=GOAL, linewidth=1.4, label="target")
    words = f"air, at most {fastest:.2g} m/s"
    air = Line2D([], [], color=QUIET, linewidth=0, marker=r"$\rightarrow$", ms=9, label=words)
    add_key(axes, [line, air])
