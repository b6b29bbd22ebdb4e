"""Find the waves that a picture of a pool was taken through: `diffsim train water_renderer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.water_renderer import WaterRenderer, WaterRendererConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film
    from diffsim.view.trajectory import Trajectory

__all__ = ["Panels", "WaterRendererTask", "shown_steps"]

_FRAMES = 32  # of a film, from the first step to the last
_HOLD = 10  # frames for which the last one stays
_GUESS = 0.2  # [mm] standard deviation of the control points that the search begins with


class WaterRendererTask(Task):
    """Find the height from which water, let go, makes the picture that hidden waves made.

    The hidden waves come from drops, drawn from the option `scene`, on a spline twice as fine as the one that
    is optimised. All that is known is one picture, taken after the last step. Waves that had no height just
    then cannot be seen in it, so the first height is found less well than the picture is explained. The
    search begins with nearly still water, drawn from the seed.

    Args:
        config: The options.
        data: Unused.
    """

    name = "water_renderer"
    summary = "the waves that explain a picture of a pool"
    steps = 64
    iterations = 240
    check_steps = 8
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "n": 16, "controls": 8}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 1.5}
    cost_label = "cost: mean squared difference of the pictures"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(128, "pixels along each axis", minimum=16)
        controls: int = option(32, "control points of the first height, along each axis", minimum=4)
        scene: int = option(0, "seed of the hidden waves", minimum=0)

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, data)
        self._camera: Rollout | None = None
        self._hidden: dict[str, NDArray[Any]] = {}

    def title(self) -> str:
        return "waves that explain a picture"

    def _physics(self) -> WaterRendererConfig:
        from diffsim.kernels.water_renderer import WaterRendererConfig

        return WaterRendererConfig(n=self.config.n, controls=self.config.controls)

    def build(self) -> WaterRenderer:
        from diffsim import runtime
        from diffsim.kernels.water_renderer import WaterRenderer

        physics = self._physics()
        guess = _GUESS * np.random.default_rng(runtime.seed()).normal(size=(physics.controls,) * 2)
        return WaterRenderer(physics, guess)

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.height]

    def prepare(self, rollout: Rollout) -> None:
        """Take the picture through the hidden waves, after as many steps as the rollout has."""
        from diffsim.kernels.water_renderer import drops

        sim: Any = rollout.sim
        self._hidden = self._shoot(drops(sim.config, seed=self.config.scene), rollout.steps)
        sim.target.set(self._hidden["picture"][-1])

    def _filmed(self, first: NDArray[Any], steps: int) -> Rollout:
        """Return a rollout of the water that begins with a height [mm] of shape (n, n), and is filmed."""
        from diffsim.kernels.water_renderer import WaterRenderer, fit_spline, refined
        from diffsim.rollout import Rollout

        physics = self._physics()
        fine = dataclasses.replace(physics, controls=refined(physics, physics.controls))
        if self._camera is None:
            self._camera = Rollout(WaterRenderer(fine, filmed=True), steps=steps + 1)
        sim: Any = self._camera.sim
        sim.height.set(fit_spline(fine, first, fine.controls))
        return self._camera

    def _shoot(self, first: NDArray[Any], steps: int) -> dict[str, NDArray[Any]]:
        """Film the water from a first height [mm] of shape (n, n) on."""
        camera = self._filmed(first, steps)
        sim: Any = camera.sim
        found = camera.trajectories({"u": sim.u, "picture": sim.picture})
        shown = shown_steps(steps, _FRAMES)
        return {name: frames[shown].astype(np.float32) for name, frames in found.items()}

    def trajectory(self, rollout: Rollout) -> Trajectory:
        from diffsim.kernels.water_renderer import evaluate_spline

        sim: Any = rollout.sim
        camera = self._filmed(evaluate_spline(sim.config, sim.height.numpy()), rollout.steps)
        pool: Any = camera.sim
        pool.target.set(sim.target.numpy())
        return super().trajectory(camera)

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        from diffsim.kernels.water_renderer import evaluate_spline

        sim: Any = rollout.sim
        found = self._shoot(evaluate_spline(sim.config, sim.height.numpy()), rollout.steps)
        return found | {
            "hidden": self._hidden["u"],
            "target": self._hidden["picture"][-1],
            "still": sim.still(sim.floor.numpy()),
            "times": sim.dt * shown_steps(rollout.steps, _FRAMES),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        u, hidden, target = arrays["u"], arrays["hidden"], arrays["target"]
        waves = np.linalg.norm(target - arrays["still"])
        return {
            "error of the picture [% of what the waves change]": float(
                100.0 * np.linalg.norm(arrays["picture"][-1] - target) / waves
            ),
            "error of the height then [%]": _percent(u[-1], hidden[-1]),
            "error of the first height [%]": _percent(u[0], hidden[0]),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        return [self._film(recording.arrays) for recording in recordings]

    def _film(self, arrays: Mapping[str, NDArray[Any]]) -> Film:
        """Draw the pool beside the picture to explain, and below them the heights found and hidden."""
        from diffsim.view import Film, color_bar

        last = len(arrays["times"]) - 1
        size = self._physics().size
        high = 0.6 * float(np.abs(arrays["hidden"]).max())
        labels = [f"t = {time:.2f} s" for time in arrays["times"]]

        def draw(axes: Axes, k: int) -> None:
            now = min(k, last)
            panels = Panels(axes, size, rows=2)
            panels.picture(0, 1, arrays["picture"][now], "picture")
            panels.picture(1, 1, arrays["target"], "to explain, " + labels[last])
            panels.heights(0, 0, arrays["u"][now], high, "waves found")
            shown = panels.heights(1, 0, arrays["hidden"][now], high, "waves hidden")
            color_bar(axes, shown, "height [mm]", extend="both")

        texts = labels + [labels[-1]] * (_HOLD if last else 0)
        stills = sorted({0, round(0.5 * last), last})
        return Film(draw, texts, fps=12.0, aspect=Panels.aspect(rows=2), stills=stills, bar=True)


def shown_steps(steps: int, frames: int) -> NDArray[np.int64]:
    """Choose the steps that a film shows, the first and the last among them."""
    return np.unique(np.rint(np.linspace(0, steps, frames)).astype(np.int64))


class Panels:
    """Maps of one square side by side, and above each other, on one pair of axes.

    Args:
        axes: What to draw on; ticks and limits are set.
        size: Side of the square [m].
        columns: How many maps are beside each other.
        rows: How many are above each other.
    """

    gap, head = 0.08, 0.13  # between maps, and for the heading above each, in sides

    def __init__(self, axes: Axes, size: float, columns: int = 2, rows: int = 1) -> None:
        self.axes, self.size = axes, size
        self.across, self.up = (1.0 + self.gap) * size, (1.0 + self.head) * size
        self.limits = (0.0, columns * self.across - self.gap * size), (0.0, rows * self.up)
        parts = (0.0, 0.5 * size, size)
        axes.set_xticks(*_ticks([(k * self.across, part) for k in range(columns) for part in parts]))
        axes.set_yticks(*_ticks([(k * self.up, part) for k in range(rows) for part in parts]))
        axes.set_xlabel("x [m]")
        axes.set_ylabel("y [m]")
        axes.spines[:].set_visible(False)

    @classmethod
    def aspect(cls, columns: int = 2, rows: int = 1) -> float:
        """Return the height over the width of all."""
        return rows * (1.0 + cls.head) / (columns * (1.0 + cls.gap) - cls.gap)

    def picture(self, column: int, row: int, picture: NDArray[Any], heading: str) -> Any:
        """Draw colours, shape (n, n, 3), first axis x; brighter than 1 is drawn as 1."""
        return self._show(column, row, np.clip(picture.transpose(1, 0, 2), 0.0, 1.0), heading)

    def heights(self, column: int, row: int, u: NDArray[Any], high: float, heading: str) -> Any:
        """Draw heights, shape (n, n), first axis x; the strongest colours stand for `high`."""
        from diffsim.view.style import signed_colors

        return self._show(column, row, u.T, heading, cmap=signed_colors(), vmin=-high, vmax=high)

    def _show(self, column: int, row: int, image: NDArray[Any], heading: str, **colours: Any) -> Any:
        from diffsim.view.style import INK

        x, y = column * self.across, row * self.up
        extent = (x, x + self.size, y, y + self.size)
        shown = self.axes.imshow(image, origin="lower", extent=extent, interpolation="bilinear", **colours)
        self.axes.set(xlim=self.limits[0], ylim=self.limits[1])  # imshow has made them its own
        self.axes.text(
            x, y + 1.03 * self.size, heading, fontsize=word_size(self.axes, 7.5), color=INK, va="bottom"
        )
        return shown


def _ticks(places: Sequence[tuple[float, float]]) -> tuple[list[float], list[str]]:
    """Return ticks for places given as (where a map begins, place on it), without those that would touch."""
    kept = [(begin + part, f"{part:g}") for begin, part in places if part > 0.0 or begin == 0.0]
    return [place for place, _ in kept], [label for _, label in kept]


def _percent(found: NDArray[Any], true: NDArray[Any]) -> float:
    return float(100.0 * np.linalg.norm(found - true) / np.linalg.norm(true))
