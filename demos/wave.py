"""Find the waves that meet to form a pattern: `diffsim train wave`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.wave import Wave, WaveConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["WaveTask"]

_FRAMES = 40  # of a film, from the first step to the last
_HOLD = 10  # frames for which the last one stays
_GUESS = 0.5  # [mm] height of the bumps that the search begins with
_SIGNS = {"partial": "∂", "ring": "ring", "heart": "heart"}


class WaveTask(Task):
    """Find the height from which a square of water, let go, forms a pattern after a number of steps.

    Optimised is the first height of every point. What the waves of one wave number have at the end is
    `cos(w T)` of what they had at first: those that happen to be at a zero then cannot be reached, which is
    what is left of the distance. The search begins with smooth random bumps, drawn from the seed.

    Args:
        config: The options.
        data: Unused.
    """

    name = "wave"
    summary = "ripples that meet to form a pattern"
    steps = 512
    iterations = 180
    check_steps = 16
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "n": 16}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "sgd", "lr": 0.3, "momentum": 0.9}
    cost_label = "cost: squared distance to the target, summed over points [mm²]"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(128, "points along each axis", minimum=8)
        pattern: str = option("partial", "what to form", choices=tuple(_SIGNS))
        damping: float = option(0.1, "twice the rate at which amplitudes decay [1/s]", minimum=0.0)

    def title(self) -> str:
        return f"ripples that meet to form a {_SIGNS[self.config.pattern]}"

    def _physics(self) -> WaveConfig:
        from diffsim.kernels.wave import WaveConfig

        return WaveConfig(n=self.config.n, damping=self.config.damping)

    def build(self) -> Wave:
        from diffsim import runtime
        from diffsim.kernels.wave import Wave, bumps, pattern

        physics = self._physics()
        first = bumps(physics, height=_GUESS, seed=runtime.seed())
        return Wave(physics, first, pattern(physics, self.config.pattern))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.height]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        shown = np.unique(np.rint(np.linspace(0, rollout.steps, _FRAMES)).astype(np.int64))
        u = rollout.trajectory(sim.u, every=1)
        if rollout.worlds > 1:  # they differ in nothing
            u = u[:, 0]
        return {
            "u": u[shown].astype(np.float32),
            "times": sim.dt * shown,
            "target": sim.target.numpy(),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        target = arrays["target"]
        miss = np.linalg.norm(arrays["u"][-1] - target) / np.linalg.norm(target)
        return {
            "distance to the target [% of it, root mean square]": float(100.0 * miss),
            "largest first height [mm]": float(np.abs(arrays["u"][0]).max()),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        return [self._film(r.arrays["u"], r.arrays["times"], r.arrays["target"]) for r in recordings]

    def _film(self, u: NDArray[Any], times: NDArray[Any], target: NDArray[Any]) -> Film:
        """Draw heights as a map, with the target's outline on it."""
        from diffsim.view import KEY, Film, color_bar, time_labels
        from diffsim.view.style import signed_colors

        last = len(u) - 1
        size = self._physics().size
        high = 1.2 * float(np.abs(target).max())

        def draw(axes: Axes, k: int) -> None:
            shown = axes.imshow(
                u[min(k, last)].T,
                origin="lower",
                extent=(0, size, 0, size),
                cmap=signed_colors(),
                vmin=-high,
                vmax=high,
                interpolation="bilinear",
                interpolation_stage="data",
            )
            color_bar(axes, shown, "height [mm]", extend="both")
            axes.set(xlabel="x [m]", ylabel="y [m]", yticks=np.linspace(0.0, size, 6))
            _outline(axes, target, size)

        labels = time_labels(times)
        labels += [labels[-1]] * (_HOLD if last else 0)
        # The pattern forms within the last steps, so stills are denser there.
        stills = sorted({0, round(0.5 * last), round(0.94 * last), last})
        return Film(draw, labels, fps=15.0, aspect=1.0 + KEY, stills=stills, bar=True)


def _outline(axes: Axes, target: NDArray[Any], size: float) -> None:
    """Draw the line at half of a target's height, and say above the map what it is."""
    from matplotlib.lines import Line2D

    from diffsim.view import add_key
    from diffsim.view.style import GOAL

    at = size * (np.arange(len(target)) + 0.5) / len(target)  # where imshow puts the points
    axes.contour(at, at, target.T, levels=[0.5 * target.max()], colors=GOAL, linewidths=1.1)
    line = Line2D([], [], color=GOAL, linewidth=1.1, label="target, at half height")
    add_key(axes, [line])
