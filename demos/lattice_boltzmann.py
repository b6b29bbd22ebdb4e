"""Find a body and an inflow from the wake behind it: `diffsim train lattice_boltzmann`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.lattice_boltzmann import Wake, WakeConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["LatticeBoltzmannTask"]

Array = NDArray[Any]

_FRAMES = 40
# The hidden body and inflow, as `StarBody.shape` and `Wake.profile` have them.
_BODY = (0.15, -0.2, 0.05, 0.12, 0.18, 0.10, -0.12)
_PROFILE = (1.0, 0.22, 0.15)
# Probes: columns at these distances behind the body's place [diameters], and rows across the channel.
_COLUMNS, _ROWS = (1.5, 3.0), 8
_BRIGHTEST = 4.0  # [U/D] the vorticity at the end of the colour scale
_ABOVE, _BELOW, _AHEAD = 0.25, 0.75, 1.0  # [D] drawn of the two walls, and of what is before the channel


class LatticeBoltzmannTask(Task):
    """A body that nobody sees stands in a channel; it is found from velocities at 16 probes in its wake.

    Sought are the body's place, size and outline (harmonics 2 and 3 of its radius) and the amplitudes of
    three sine waves that make the inflow's profile. The probes record, with noise, from the moment at which
    the flow meets the body. The first guess is a circle elsewhere, of another size, under a symmetric inflow
    of another strength, all drawn from the seed. The hidden flow is of the same simulator and grid. Lengths
    are told in diameters D of the circle with no growth, times in D/U.

    Args:
        config: The options.
        data: Not used.
    """

    name = "lattice_boltzmann"
    summary = "a hidden body and the inflow are found from probes in the wake"
    steps = 800
    iterations = 160
    check_steps = 16
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.02}
    cost_label = "squared error at the probes, summed over steps [U²]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 12, "iterations": 2, "cells": 24}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        cells: int = option(64, "cells across the channel; the body is a quarter of it", minimum=16)
        reynolds: float = option(100.0, "Reynolds number U D / viscosity", above=0.0, maximum=200.0)
        noise: float = option(0.01, "standard deviation of the probes' noise [U]", minimum=0.0)

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, data)
        self.truth: dict[str, Array] = {}

    def flow(self) -> WakeConfig:
        """Return the constants of the flow."""
        from diffsim.kernels.lattice_boltzmann import WakeConfig

        ny = self.config.cells
        radius, speed = ny / 8, 0.12
        return WakeConfig(
            nx=round(2.25 * ny),
            ny=ny,
            radius=radius,
            center=(0.5625 * ny, 0.5 * ny),
            speed=speed,
            viscosity=speed * 2 * radius / self.config.reynolds,
        )

    def title(self) -> str:
        return f"Body and inflow from the wake, Re = {self.config.reynolds:g}"

    def build(self) -> Wake:
        from diffsim.kernels.lattice_boltzmann import Wake

        flow = self.flow()
        columns = [flow.center[0] + 2 * flow.radius * behind for behind in _COLUMNS]
        rows = np.linspace(0, flow.ny, _ROWS + 2)[1:-1]
        places = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
        return Wake(flow, probes=places.astype(int))

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.body.shape, simulator.profile]

    def prepare(self, rollout: Rollout) -> None:
        from diffsim import runtime

        sim: Any = rollout.sim
        rng = np.random.default_rng([runtime.seed(), 5])
        sim.body.shape.set(np.array(_BODY))
        sim.profile.set(np.array(_PROFILE))
        hidden = self._run(rollout, 1)
        cells = sim.probes.numpy()
        seen = hidden["velocity"][:, cells[:, 0], cells[:, 1]]
        sim.readings.set(seen + self.config.noise * sim.speed * rng.normal(size=seen.shape))
        hidden["velocity"] = hidden["velocity"][:: self._every(rollout)]
        self.truth = {f"true_{key}": array for key, array in hidden.items()}
        guess = np.zeros(len(_BODY))
        guess[:3] = rng.uniform((-0.5, -0.5, -0.25), (0.5, 0.5, 0.25))
        sim.body.shape.set(guess)
        sim.profile.set(np.array([rng.uniform(0.85, 1.15), 0.0, 0.0]))

    def record(self, rollout: Rollout) -> dict[str, Array]:
        sim: Any = rollout.sim
        every = self._every(rollout)
        found = self._run(rollout, every)
        times = every * np.arange(len(found["velocity"])) * sim.speed / (2.0 * sim.config.radius)
        return {**found, **self.truth, "probes": sim.probes.numpy(), "times": times}

    def metrics(self, arrays: Mapping[str, Array]) -> dict[str, float]:
        flow = self.flow()
        behind = round(flow.center[0] + 2.0 * flow.radius)
        wake = (arrays["velocity"] - arrays["true_velocity"])[:, behind:]
        solid, inflow = arrays["true_solid"], arrays["true_inflow"]
        apart = np.hypot(*(arrays["shape"] - arrays["true_shape"])[:2])
        return {
            "body: area not in common [%]": 100.0
            * float(np.abs(arrays["solid"] - solid).sum() / solid.sum()),
            "body: distance of the centres [D]": 0.5 * float(apart),
            "inflow: error [%]": 100.0 * _rms(arrays["inflow"] - inflow) / _rms(inflow),
            "wake: error of the velocity [% of U]": 100.0 * _rms(wake) / flow.speed,
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        return [self._film(recording.arrays, "") for recording in recordings]

    def target_film(self, recordings: Sequence[Recording]) -> Film | None:
        return self._film(recordings[0].arrays, "true_")

    def _every(self, rollout: Rollout) -> int:
        """Return the number of steps between frames."""
        return max(1, round(rollout.steps / _FRAMES))

    def _run(self, rollout: Rollout, every: int) -> dict[str, Array]:
        """Run the flow of the parameters that are set; worlds are alike, so one of them is looked at."""
        sim: Any = rollout.sim
        fields = {"velocity": sim.velocity, "solid": sim.solid, "inflow": sim.inflow}
        found = rollout.trajectories(fields, every=every)
        if rollout.worlds > 1:
            found = {key: array[:, 0] for key, array in found.items()}
        shape = sim.body.shape.numpy()
        return {
            "velocity": found["velocity"],
            "solid": found["solid"][0],
            "inflow": found["inflow"][0],
            "shape": shape,
            "outline": sim.body.outline(shape),
        }

    def _film(self, arrays: Mapping[str, Array], which: str) -> Film:
        from diffsim.view import Film, time_labels
        from diffsim.view.style import GOAL, HEAD, INK

        flow = self.flow()
        size = 2.0 * flow.radius
        vorticity = _vorticity(arrays[f"{which}velocity"]) * size / flow.speed

        def draw(axes: Axes, k: int) -> None:
            _draw_flow(axes, vorticity[k], arrays[f"{which}solid"], size)
            if not which:
                _draw_inflow(axes, arrays["inflow"] / flow.speed, size, INK)
                axes.fill(*(arrays["outline"].T / size), color=INK, lw=0, label="assumed", zorder=4)
            _draw_inflow(axes, arrays["true_inflow"] / flow.speed, size, GOAL, arrows=bool(which))
            if which:
                axes.fill(*(arrays["true_outline"].T / size), color=GOAL, lw=0, label="hidden body", zorder=4)
            else:
                axes.plot(
                    *(arrays["true_outline"].T / size), "--", color=GOAL, lw=1.6, label="hidden", zorder=5
                )
            x, y = (arrays["probes"].T + 0.5) / size
            axes.plot(x, y, "o", ms=3.2, mfc=HEAD, mec=INK, mew=0.6, label="probes", zorder=5)
            axes.legend(
                loc="lower right",
                ncols=3,
                fontsize=word_size(axes, 6.5),
                frameon=False,
                borderpad=0.1,
                handlelength=1.4,
            )

        last = len(vorticity) - 1
        return Film(
            draw,
            time_labels(arrays["times"], "D/U"),
            fps=12.0,
            aspect=(flow.ny / size + _ABOVE + _BELOW) / (flow.nx / size + _AHEAD),
            stills=sorted({last // 2, last}),
            bar=True,
            caption="the hidden flow" if which else "",
        )


def _rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def _vorticity(velocity: Array) -> Array:
    """Return the curl of velocities, shape (frames, nx, ny), by central differences [1/dt]."""
    along_x = np.gradient(velocity[..., 1], axis=1)
    return np.asarray(along_x - np.gradient(velocity[..., 0], axis=2))


def _draw_flow(axes: Axes, vorticity: Array, solid: Array, size: float) -> None:
    """Draw the vorticity between the channel's walls, and what its colours mean."""
    from diffsim.view import color_bar
    from diffsim.view.style import EARTH, INK, signed_colors

    width, height = (n / size for n in vorticity.shape)
    image = axes.imshow(
        np.where(solid < 0.5, vorticity, 0.0).T,
        origin="lower",
        extent=(0.0, width, 0.0, height),
        cmap=signed_colors(),
        vmin=-_BRIGHTEST,
        vmax=_BRIGHTEST,
        interpolation="bilinear",
        interpolation_stage="data",
    )
    for low, high in ((-_BELOW, 0.0), (height, height + _ABOVE)):
        axes.axhspan(low, high, facecolor=EARTH, edgecolor="none", zorder=3)
    for wall in (0.0, height):
        axes.plot((0.0, width), (wall, wall), color=INK, lw=1.2, zorder=4)
    axes.set(xlim=(-_AHEAD, width), ylim=(-_BELOW, height + _ABOVE), xlabel="x [D]", ylabel="y [D]")
    axes.set_aspect("equal")
    color_bar(axes, image, "vorticity [U/D]", extend="both")


def _draw_inflow(axes: Axes, inflow: Array, size: float, color: str, arrows: bool = True) -> None:
    """Draw the profile of the inflow ahead of the channel's mouth, dashed where arrows would be too much.

    Args:
        axes: What is drawn on.
        inflow: Speeds [U], shape (ny,).
        size: D in cells.
        color: Of the profile and the arrows.
        arrows: Draw arrows that end on it.
    """
    y = (np.arange(len(inflow)) + 0.5) / size
    ends = 0.7 * _AHEAD * inflow - _AHEAD
    axes.plot(ends, y, "-" if arrows else "--", color=color, lw=1.2)
    if not arrows:
        return
    head = {"arrowstyle": "-|>", "color": color, "lw": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 5}
    for row in np.linspace(0, len(y) - 1, 9).round().astype(int)[1:-1]:
        axes.annotate("", (ends[row], y[row]), (-_AHEAD, y[row]), arrowprops=head)
    axes.text(
        -0.95 * _AHEAD,
        -0.5 * _BELOW,
        "inflow",
        fontsize=word_size(axes, 6.5),
        color=color,
        va="center",
        zorder=6,
    )
