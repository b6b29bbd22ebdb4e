"""Find a cloud from pictures taken around it: `diffsim train volume_renderer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option

if TYPE_CHECKING:
    from diffsim.kernels.volume_renderer import VolumeConfig, VolumeRenderer
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["VolumeRendererTask"]

_HAZE = 0.3  # [1/m] the density that all begins with
_ELEVATION = 15.0  # [degrees] of the cameras that films look from, between those that took the pictures
_SLICES = 20  # frames that go up through the cloud


class VolumeRendererTask(Task):
    """The density of a glowing cloud is recovered from its pictures; the cost is their mean squared error.

    Pictures of a cloud that the run's seed draws are taken with twice as fine a march, and with noise. The
    density begins as an even haze. A film goes once around, seen from cameras that took no picture, and then
    up through the density.

    Args:
        config: The options.
        data: Nothing.
    """

    name = "volume_renderer"
    summary = "a glowing cloud is recovered from 32 pictures taken around it"
    steps = 32
    iterations = 40
    check_steps = 4
    # Gradients of cells are tiny, and shrink a thousandfold as the haze clears: short means, small eps.
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.3, "betas": (0.8, 0.9), "eps": 1e-13}
    cost_label = "mean squared error of the pictures"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 4, "n": 10, "views": 8, "pixels": 12}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(64, "cells of the density grid along each axis", minimum=4)
        views: int = option(32, "pictures, from a circle of cameras; one step takes one", minimum=2)
        pixels: int = option(64, "height and width of a picture", minimum=4)
        pinhole: bool = option(True, "rays go through one point; otherwise they are parallel")
        noise: float = option(
            0.002, "standard deviation of the pictures' noise, of colours in 0 to 1", minimum=0.0
        )

    def title(self) -> str:
        return "a cloud from its pictures"

    def constants(self) -> VolumeConfig:
        """Return the cube and the cameras."""
        from diffsim.kernels.volume_renderer import VolumeConfig

        o = self.config
        return VolumeConfig(n=o.n, views=o.views, pixels=o.pixels, samples=o.n, pinhole=o.pinhole)

    def build(self) -> VolumeRenderer:
        from diffsim import runtime
        from diffsim.kernels.volume_renderer import VolumeRenderer, hidden_cloud, photograph

        config = self.constants()
        finer = dataclasses.replace(config, samples=2 * config.samples)
        pictures = photograph(finer, hidden_cloud(config, runtime.seed()))
        noise = np.random.default_rng(runtime.seed()).normal(size=pictures.shape)
        simulator = VolumeRenderer(config, pictures + self.config.noise * noise)
        simulator.set_density(_HAZE)
        return simulator

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.raw]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        from diffsim import runtime
        from diffsim.kernels.volume_renderer import hidden_cloud

        sim: Any = rollout.sim
        config, raw, cameras = sim.config, sim.raw.numpy(), sim.cameras.numpy()
        truth = hidden_cloud(config, runtime.seed())
        try:
            sim.cameras.set(dataclasses.replace(config, elevations=(_ELEVATION, _ELEVATION)).axes())
            seen, density = self._look(rollout)
            sim.set_density(truth)
            wanted, _ = self._look(rollout)
        finally:
            sim.raw.set(raw)
            sim.cameras.set(cameras)
        return {"pictures": seen, "density": density, "wanted": wanted, "truth": truth.astype(np.float32)}

    def _look(self, rollout: Rollout) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the pictures of all steps, and the density."""
        sim: Any = rollout.sim
        found = rollout.trajectories({"picture": sim.picture, "density": sim.density}, every=1)
        pictures, density = found["picture"], found["density"][-1]
        if rollout.worlds > 1:  # they differ in nothing
            pictures, density = pictures[:, 0], density[0]
        return pictures[: rollout.steps].astype(np.float32), density.astype(np.float32)

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        truth = arrays["truth"]
        missing = np.linalg.norm(arrays["density"] - truth) / np.linalg.norm(truth)
        unseen = np.sqrt(np.mean((arrays["pictures"] - arrays["wanted"]) ** 2))
        return {
            "density: error / norm [%]": 100.0 * float(missing),
            "new views: rms error [of colours in 0 to 1]": float(unseen),
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        top = float(recordings[0].arrays["truth"].max())
        return [self._film(r.arrays["pictures"], r.arrays["density"], top) for r in recordings]

    def target_film(self, recordings: Sequence[Recording]) -> Film:
        arrays = recordings[0].arrays
        return self._film(arrays["wanted"], arrays["truth"], float(arrays["truth"].max()), "the hidden cloud")

    def _film(self, pictures: NDArray[Any], density: NDArray[Any], top: float, caption: str = "") -> Film:
        """Go around the cloud, then up through it."""
        from diffsim.view import Film, color_bar

        config, views = self.constants(), len(pictures)
        reach, half = 0.5 * config.width, 0.5 * config.size
        layers = np.linspace(0.1, 0.9, _SLICES) * config.n
        turns = [f"seen from {360.0 * v / config.views:.0f}°" for v in range(views)]
        places = config.size * (layers / config.n - 0.5)
        heights = [f"cut at z = {place:+.2f} m".replace("-", "−") for place in places]

        def draw(axes: Any, frame: int) -> None:
            if frame < views:
                axes.imshow(
                    np.clip(pictures[frame].swapaxes(0, 1), 0.0, 1.0),
                    origin="lower",
                    extent=(-reach, reach, -reach, reach),
                    interpolation="bilinear",
                )
                axes.set(xlabel="across the picture [m]", ylabel="up the picture [m]")
                return
            layer = min(int(layers[frame - views]), config.n - 1)
            image = axes.imshow(
                density[:, :, layer].T,
                origin="lower",
                extent=(-half, half, -half, half),
                cmap="magma",
                vmin=0.0,
                vmax=top,
            )
            axes.set(xlabel="x [m]", ylabel="y [m]")
            color_bar(axes, image, "density [1/m]")

        stills = sorted({0, views // 3, views + round(0.4 * _SLICES), views + round(0.6 * _SLICES)})
        return Film(draw, turns + heights, fps=10.0, stills=stills, bar=True, caption=caption)
