"""Find out what a cloth is made of from a recording of its motion: `diffsim train cloth`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from diffsim.kernels.cloth import Cloth, ClothConfig, Mesh
    from diffsim.rollout import Rollout
    from diffsim.view import Film

__all__ = ["ClothTask"]

_CONSTANTS = ("stretch", "bend", "damping")
_UNITS = ("N/m", "N m", "s")
_SHOWN = ((1.0, "N/m"), (1e3, "mN m"), (1e3, "ms"))  # in pictures
_FACTORS = (1.5, 2.0)  # a hidden constant is the configured one, times or by a number between these
_RIPPLE = 0.03  # [m] depth of the folds that the curtain has when it is let go
_PINS = 4
_FRAMES = 50
_TURN, _LIFT = np.radians(-48.0), np.radians(16.0)  # of the camera: around the vertical, above the horizon
_WARM, _COLD, _BALL = (0.86, 0.33, 0.27), (0.95, 0.78, 0.55), (0.42, 0.50, 0.60)


class ClothTask(Task):
    """Stretch, bend and damping of a cloth are recovered from a recorded motion.

    A curtain is let go in folds, unstretched: it falls into its pins, billows in gusts and meets a ball.
    The recording is a simulation with other constants, drawn by the run's seed, and with noise. Optimised are
    the constants' logarithms; the cost is the mean squared distance of all vertices to the recording.

    Args:
        config: The options.
        data: The mesh that an option names, as `data()` gives it.

    Raises:
        ConfigError: The mesh can't be read, or breaks a rule of `Mesh`.
    """

    name = "cloth"
    summary = "stretch, bend and damping of a cloth are recovered from a recorded motion"
    steps = 2000
    iterations = 64
    check_steps = 16
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-12}
    cost_label = "mean squared distance to the recording [m²]"
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 24, "iterations": 3, "points": 5, "every": 4}

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        points: int = option(10, "vertices along an edge of the cloth", minimum=3)
        mesh: str = option(
            "", "OBJ file of another cloth, or the name of one that ships, instead of a square"
        )
        every: int = option(50, "steps between frames of the recording", minimum=1)
        frames: int = option(40, "frames of the recording", minimum=1)
        noise: float = option(1e-3, "standard deviation of the recording's noise [m]", minimum=0.0)
        ball: bool = option(True, "a ball is in the way")

    def title(self) -> str:
        return "a cloth, identified"

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        from diffsim.kernels.cloth import Mesh, grid_mesh, load_obj

        super().__init__(config, data)
        if data:
            self.mesh = Mesh(data.get("vertices", ()), data.get("triangles", ()))
        elif self.config.mesh:
            self.mesh = load_obj(self.config.mesh)
        else:
            self.mesh = grid_mesh(self.config.points, self.config.points)

    def data(self) -> dict[str, Any]:
        if not self.config.mesh:
            return {}
        return {"vertices": self.mesh.vertices.tolist(), "triangles": self.mesh.triangles.tolist()}

    def constants(self) -> ClothConfig:
        """Return what is known, and the guess that training begins with."""
        from diffsim.kernels.cloth import ClothConfig

        return ClothConfig(
            dt=4e-4,
            stretch=40.0,
            bend=1e-3,
            damping=3e-3,
            wind=(0.3, 2.0, 0.0),
            gust=0.6,
            gust_rate=1.5,
            sphere=(0.1, 0.45, -0.1),
            radius=0.22 if self.config.ball else 0.0,
            friction=0.0,  # with it the cost gets steps, at which gradients lead astray
        )

    def hidden(self) -> NDArray[np.float64]:
        """Return stretch, bend and damping of the recorded cloth."""
        from diffsim import runtime

        c = self.constants()
        rng = np.random.default_rng([runtime.seed(), 5])
        factors = rng.uniform(*_FACTORS, 3) ** rng.choice([-1.0, 1.0], 3)
        return np.array([c.stretch, c.bend, c.damping]) * factors

    def build(self) -> Cloth:
        from diffsim import Rollout, runtime
        from diffsim.kernels.cloth import Cloth

        mesh, config, o = self.mesh, self.constants(), self.config
        start = _hung(mesh.vertices)
        low, high = start.min(axis=0), start.max(axis=0)
        pins = mesh.nearest([(x, high[2], 0.0) for x in np.linspace(low[0], high[0], _PINS)])
        start[:, 1] += _RIPPLE * np.cos(3 * np.pi * (start[:, 0] - low[0]) / (high[0] - low[0]))
        blank = np.zeros((o.frames, *mesh.vertices.shape))
        simulator = Cloth(mesh, config, pins, start, blank, o.every)
        guess = simulator.logs.numpy()
        simulator.logs.set(np.log(self.hidden()))
        rollout = Rollout(simulator, steps=o.frames * o.every)
        recording = rollout.trajectory(simulator.x, every=o.every)[1:]
        rollout.close()
        noise = np.random.default_rng([runtime.seed(), 6]).normal(size=recording.shape)
        simulator.recording.set(recording + o.noise * noise)
        simulator.logs.set(guess)
        return simulator

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.logs]

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        sim: Any = rollout.sim
        every = self.config.every * max(1, round(rollout.steps / self.config.every / _FRAMES))
        x = rollout.trajectory(sim.x, every=every)
        if rollout.worlds > 1:  # they differ in nothing
            x = x[:, 0]
        x = x[: 1 + rollout.steps // every]
        shown = np.arange(1, len(x)) * every // self.config.every - 1
        recording = sim.recording.numpy()
        aim = np.concatenate([sim.x.numpy()[None], recording[np.minimum(shown, len(recording) - 1)]])
        return {
            "x": x.astype(np.float32),
            "aim": aim.astype(np.float32),
            "times": every * sim.dt * np.arange(len(x)),
            "found": np.exp(sim.logs.numpy()),
            "hidden": self.hidden(),
            "pins": np.flatnonzero(sim.pinned),
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        errors = 100.0 * np.abs(arrays["found"] / arrays["hidden"] - 1.0)
        named = {
            f"{name} [{unit}]": float(v)
            for name, unit, v in zip(_CONSTANTS, _UNITS, arrays["found"], strict=True)
        }
        return {"worst error of the three constants [%]": float(errors.max()), **named}

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        frame = self._frame(recordings)
        return [self._film(r.arrays, r.arrays["x"], frame, outlined=True) for r in recordings]

    def target_film(self, recordings: Sequence[Recording]) -> Film:
        arrays, frame = recordings[0].arrays, self._frame(recordings)
        hidden = {**arrays, "found": arrays["hidden"]}
        return self._film(hidden, arrays["aim"], frame, caption="the recorded cloth")

    def _frame(self, recordings: Sequence[Recording]) -> tuple[float, float, float, float]:
        """Return left, right, lower and upper limit of a square that holds all motions and the ball."""
        config = self.constants()
        places = [r.arrays[key].reshape(-1, 3) for r in recordings for key in ("x", "aim")]
        if config.radius > 0.0:
            places.append(_ball(np.array(config.sphere), config.radius).reshape(-1, 3))
        seen = _project(np.concatenate(places))[0]
        (left, low), (right, high) = seen.min(axis=0), seen.max(axis=0)
        low, high = low - 0.3, high + 0.2  # for the constants and the wind
        side = max(right - left + 0.1, high - low)
        middle = (left + right) / 2
        return middle - side / 2, middle + side / 2, high - side, high

    def _film(
        self,
        arrays: Mapping[str, NDArray[Any]],
        x: NDArray[Any],
        frame: tuple[float, float, float, float],
        outlined: bool = False,
        caption: str = "",
    ) -> Film:
        """Draw the cloth, and over it the edge of the recorded one."""
        from diffsim.view import Film, time_labels
        from diffsim.view.style import GOAL, INK

        mesh, config, times = self.mesh, self.constants(), arrays["times"]
        rim = mesh.rim
        left, right, low, high = frame
        scaled = zip(_CONSTANTS, arrays["found"], _SHOWN, strict=True)
        words = [f"{name} {factor * value:.3g} {unit}" for name, value, (factor, unit) in scaled]

        def draw(axes: Any, k: int) -> None:
            _draw_solids(axes, mesh, x[k], config)
            if outlined:
                _draw_lines(axes, arrays["aim"][k][rim])
                axes.text(
                    right - 0.03,
                    high - 0.03,
                    "recorded edge",
                    fontsize=word_size(axes),
                    color=GOAL,
                    ha="right",
                    va="top",
                )
            axes.text(left + 0.03, low + 0.03, "\n".join(words), fontsize=word_size(axes), color=INK)
            _draw_pins(axes, arrays["aim"][0][arrays["pins"]])
            _draw_wind(axes, config, times[k], np.array([left + 0.06, high - 0.2]), high - 0.03)
            axes.set(xlim=(left, right), ylim=(low, high), xlabel="across the picture [m]", ylabel="up [m]")
            axes.set_aspect("equal")

        return Film(draw, time_labels(times), caption=caption)


def _hung(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn what lies in the plane of x and y up, into that of x and z."""
    return vertices[:, [0, 2, 1]] * [1.0, -1.0, 1.0]


def _axes() -> NDArray[np.float64]:
    """Return what is right, up and toward the viewer in the picture, as rows."""
    right = np.array([-np.sin(_TURN), np.cos(_TURN), 0.0])
    toward = np.array([np.cos(_LIFT) * np.cos(_TURN), np.cos(_LIFT) * np.sin(_TURN), np.sin(_LIFT)])
    return np.stack([right, np.cross(toward, right), toward])


def _project(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return places in the picture (parallel rays, so that lengths stay metres) and how near they are."""
    seen = np.asarray(points, dtype=np.float64) @ _axes().T
    return seen[..., :2], seen[..., 2]


def _ball(centre: NDArray[Any], radius: float) -> NDArray[Any]:
    """Return the faces of a sphere, `(k, 4, 3)`."""
    u, w = np.meshgrid(np.linspace(0, 2 * np.pi, 33), np.linspace(0, np.pi, 17), indexing="ij")
    x = centre + radius * np.stack([np.sin(w) * np.cos(u), np.sin(w) * np.sin(u), np.cos(w)], axis=-1)
    return np.stack([x[:-1, :-1], x[1:, :-1], x[1:, 1:], x[:-1, 1:]], axis=2).reshape(-1, 4, 3)


def _draw_solids(axes: Any, mesh: Mesh, x: NDArray[Any], config: ClothConfig) -> None:
    """Paint the faces of cloth and ball from far to near, lit from above; the cloth has two sides."""
    from matplotlib.collections import PolyCollection

    corners = x[mesh.triangles].astype(np.float64)
    faces = corners[:, [0, 1, 2, 2]]
    colours = _lit(corners, np.array(_WARM), np.array(_COLD))
    lines = 0.86 * colours
    depth = _project(corners)[1].mean(axis=1)
    if config.radius > 0.0:
        # Smaller and farther than it is: flat triangles whose corners rest on it cut off some of its curve.
        ball = _ball(np.array(config.sphere), 0.95 * config.radius)
        shades = _lit(ball, np.array(_BALL), np.array(_BALL))
        size = float(np.sqrt(mesh.areas.max()))
        depth = np.concatenate([depth, _project(ball)[1].mean(axis=1) - size])
        faces, colours, lines = (
            np.concatenate(pair) for pair in ((faces, ball), (colours, shades), (lines, shades))
        )
    order = np.argsort(depth)
    shown = _project(faces[order])[0]
    axes.add_collection(
        PolyCollection(shown, facecolors=colours[order], edgecolors=lines[order], linewidths=0.4)
    )


def _lit(faces: NDArray[Any], front: NDArray[Any], back: NDArray[Any]) -> NDArray[Any]:
    """Return the faces' colours, by how squarely the light meets them."""
    normal = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    normal += np.cross(faces[:, -1] - faces[:, -2], faces[:, 0] - faces[:, -2])  # for faces with a pole
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    toward = (normal @ _axes()[2])[:, None] > 0.0
    light = np.array([0.45, -0.5, 0.74])
    shade = 0.5 + 0.5 * np.clip(np.where(toward, normal, -normal) @ light, 0.0, 1.0)
    return np.clip(np.where(toward, front, back) * shade[:, None], 0.0, 1.0)


def _draw_lines(axes: Any, lines: NDArray[Any]) -> None:
    """Draw line segments over everything."""
    from matplotlib.collections import LineCollection

    from diffsim.view.style import GOAL

    axes.add_collection(LineCollection(list(_project(lines)[0]), colors=GOAL, linewidths=1.6))


def _draw_pins(axes: Any, pins: NDArray[Any]) -> None:
    """Mark what holds the cloth."""
    from diffsim.view.style import INK

    places = _project(pins)[0]
    axes.plot(*places.T, "o", color=INK, markersize=4.5, zorder=5)
    end = places[np.argmax(places[:, 0])]
    axes.annotate("pins", end, (6, 4), textcoords="offset points", fontsize=word_size(axes), color=INK)


def _draw_wind(axes: Any, config: ClothConfig, time: float, start: NDArray[Any], high: float) -> None:
    """Draw the wind as an arrow, as long as it blows in a tenth of a second."""
    from diffsim.view.style import QUIET

    wind = np.array(config.wind) * (1.0 + config.gust * np.sin(2 * np.pi * config.gust_rate * time))
    end = start + _project(0.1 * wind)[0]
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": QUIET, "lw": 1.5})
    axes.text(
        start[0],
        high,
        f"wind {np.linalg.norm(wind):.1f} m/s",
        fontsize=word_size(axes),
        color=QUIET,
        va="top",
    )
