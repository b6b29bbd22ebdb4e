"""From trajectories to films: painters for all parts, at one scale, on one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim.errors import ConfigError
from diffsim.view.calm import beyond_note
from diffsim.view.default import default_scene
from diffsim.view.film import Film, time_labels
from diffsim.view.named import bound_to
from diffsim.view.paint.boxes import BoxesPainter
from diffsim.view.paint.curves import CurvesPainter
from diffsim.view.paint.grid import GridPainter
from diffsim.view.paint.lines import LinesPainter
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.panels import CurvesPanel, Panel, ProfilesPanel, grouped, with_margin
from diffsim.view.paint.points import PointsPainter
from diffsim.view.paint.profile import ProfilePainter, grid_painter
from diffsim.view.paint.scale import COLORS, Scale, scale_of
from diffsim.view.paint.sheet import Sheet, View
from diffsim.view.paint.shot import Reach, Shot, joined
from diffsim.view.paint.space import eye_of
from diffsim.view.paint.stage import Deep, Flat, Scenery
from diffsim.view.paint.text import TextPainter
from diffsim.view.paint.triangles import TrianglesPainter
from diffsim.view.paint.vectors import VectorsPainter
from diffsim.view.scene import Scene

if TYPE_CHECKING:
    from diffsim.view.trajectory import Trajectory

__all__ = ["films_of"]

_PAINTERS: dict[str, Callable[[Any, Shot], Painter]] = {
    "Points": PointsPainter,
    "Lines": LinesPainter,
    "Triangles": TrianglesPainter,
    "Boxes": BoxesPainter,
    "Grid": grid_painter,
    "Vectors": VectorsPainter,
    "Text": TextPainter,
    "Curves": CurvesPainter,
}
_WORLDS = 6  # that are drawn side by side
_PANELS = 4  # of curves
_SHORTEST, _LONGEST = 2.0, 12.0  # [s] a film at the pace of what it shows
_RATES = 2.0, 50.0  # frames per second of such a film
_RATE = 20.0

Bar = tuple[Scale, tuple[str, str]]  # a scale of colours, what it shows, and in which unit
Crew = list[Painter]  # of one world, a painter for each part
_Made = tuple[str, list[int], tuple[float, float]]  # a panel: its kind, the numbers of its parts, its limits


def films_of(
    trajectories: Sequence[Trajectory],
    scene: Scene | None = None,
    *,
    fps: float | None = None,
    captions: Sequence[str] = (),
) -> list[Film]:
    """Draw trajectories of one simulator, all at one scale and with the same colours.

    Args:
        trajectories: What is drawn; their arrays have the same names.
        scene: How; None for the scene of the first, or `default_scene`.
        fps: Frames per second; None for real time where times are in seconds, within 2 to 12 s, else 20.
        captions: A few words for each.

    Returns:
        A film for each trajectory, in their order.

    Raises:
        ConfigError: There is no trajectory or no frame, nothing is finite, or arrays do not fit the scene.
    """
    if not trajectories:
        raise ConfigError("films_of must get one trajectory or more, got none; pass a list")
    for trajectory in trajectories:
        if not len(trajectory.times):
            raise ConfigError(
                f"a trajectory must have a frame to be drawn, got {trajectory!r}; record some steps"
            )
    first = trajectories[0]
    whole, more = bound_to(first, scene or first.scene or default_scene(first))
    crews = [[_crew(whole, shot) for shot in _shots(trajectory, more)] for trajectory in trajectories]
    look = _Look(whole, [crew for some in crews for crew in some])
    films = []
    for number, (trajectory, some) in enumerate(zip(trajectories, crews, strict=True)):
        sheet = look.sheet(trajectory, some)
        times = trajectory.times
        films.append(
            Film(
                sheet.draw,
                _labels(times, trajectory.time_unit),
                fps=fps if fps is not None else _rate(times, trajectory.time_unit),
                aspect=sheet.aspect,
                bar=bool(sheet.bars),
                caption=captions[number] if number < len(captions) else "",
            )
        )
    return films


def _shots(trajectory: Trajectory, more: dict[str, Any]) -> list[Shot]:
    """Return the worlds that are drawn."""
    shots = []
    for world in range(min(_WORLDS, max(1, trajectory.worlds))):
        shot = Shot(trajectory.world(world) if trajectory.worlds else trajectory)
        shot.add(more)
        shots.append(shot)
    return shots


def _crew(scene: Scene, shot: Shot) -> Crew:
    """Make a painter for each part, with colours that tell apart those that have none of their own."""
    crew, used = [], 0
    for part in scene.parts:
        painter = _PAINTERS[type(part).__name__](part, shot)
        plain = not part.color and (part.values is None or type(part).__name__ == "Grid")
        drawn = painter.dimension is not None or isinstance(painter, ProfilePainter)
        if plain and drawn and not isinstance(painter, TextPainter):
            painter.color = COLORS[used % len(COLORS)]
            used += 1
        crew.append(painter)
    return crew


def _labels(times: Any, unit: str) -> list[str]:
    if unit == "s":
        least = float(np.abs(times).max())
        for prefix, size in (("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9), ("p", 1e-12), ("f", 1e-15)):
            if least >= 20.0 * size or least == 0.0 or (not prefix and least >= 0.02):
                return time_labels(times / size, f"{prefix}s")
    if unit != "step":
        return time_labels(times, unit)
    return [f"step {time:g}" for time in times]


def _rate(times: Any, unit: str) -> float:
    """Return frames per second: the pace of what is shown, where that makes a film of 2 to 12 s."""
    count = len(times)
    if unit != "s" or count < 2:
        return _RATE
    seconds = float(np.clip((times[-1] - times[0]) * count / (count - 1), _SHORTEST, _LONGEST))
    return float(np.clip(count / seconds, *_RATES))


class _Look:
    """What all that is drawn side by side shares: stages, scales of colour, and of curves."""

    def __init__(self, scene: Scene, crews: list[Crew]) -> None:
        self._scene = scene
        self._bars: list[tuple[Bar, list[Painter]]] = []
        self._stages: dict[int, Scenery] = {}
        self._reaches: dict[int, Reach] = {}
        for number in range(len(scene.parts)):
            self._tone([crew[number] for crew in crews])
        for dimension in (2, 3):
            stage = self._stage(dimension, [p for crew in crews for p in crew if p.dimension == dimension])
            if stage is not None:
                self._stages[dimension] = stage
        for crew in crews:
            for number, painter in enumerate(crew):
                painter.settle([other[number] for other in crews])
        self._panels = [*self._profiles(crews), *self._curves(crews)]
        self._check()

    def _tone(self, painters: list[Painter]) -> None:
        """Give one part its scale of colours in all worlds."""
        found = joined([tones for p in painters if (tones := p.tones()) is not None])
        part = painters[0].part
        if found is None or isinstance(painters[0], CurvesPainter):
            return
        full = isinstance(painters[0], GridPainter)
        scale = scale_of(
            float(found.low[0]), float(found.high[0]), part.center, part.limits, full, part.color
        )
        for painter in painters:
            painter.scale = scale
        barred = [painter for painter in painters if painter.barred]
        entry = (scale, painters[0].value_label())
        same = next((some for bar, some in self._bars if bar == entry), None)
        if same is not None:
            same += barred
        elif barred:
            self._bars.append((entry, barred))

    def _stage(self, dimension: int, painters: list[Painter]) -> Scenery | None:
        if not painters:
            return None
        found = joined([reach for p in painters if (reach := p.reach()) is not None])
        limits = self._scene.limits
        if limits is not None and len(limits) == dimension:
            low, high = np.asarray(limits, dtype=np.float64).T
            if not (np.isfinite(limits).all() and (high > low).all()):
                raise ConfigError(
                    f"limits must be a pair for each axis, the lower one first, got {limits}; leave them out "
                    "for all that there is"
                )
            found = Reach(low, high)
        if found is None:
            return None
        units = [unit for p in painters if (unit := self._unit_of(p))]
        unit = self._scene.unit or (units[0] if units else "")
        if dimension == 3:
            return Deep(found, unit, self._scene.ground, eye_of(self._scene.camera))
        filled = (isinstance(p, GridPainter) or getattr(p, "on_grid", False) for p in painters)
        tight = limits is not None or all(filled)
        return Flat(found, unit, self._scene.ground, tight)

    def _unit_of(self, painter: Painter) -> str:
        """Return the unit of places."""
        if isinstance(painter, GridPainter | TextPainter):
            return ""
        if isinstance(painter, VectorsPainter):
            return painter.shot.unit(painter.name("positions")) if painter.has("positions") else ""
        return painter.shot.unit(painter.name(painter.place))

    def _profiles(self, crews: list[Crew]) -> list[_Made]:
        """Tell which curves over places share a panel, and its limits."""
        numbers = [n for n, painter in enumerate(crews[0]) if isinstance(painter, ProfilePainter)]
        told = []
        for n in numbers:
            some: list[Any] = [crew[n] for crew in crews]
            told.append(((some[0].first, some[0].last, some[0].counted), some[0].unit, self._range(some)))
        made: list[_Made] = []
        for group in grouped(told):
            low = min(told[n][2][0] for n in group)
            high = max(told[n][2][1] for n in group)
            made.append(("profiles", [numbers[n] for n in group], with_margin(low, high)))
        return made

    def _curves(self, crews: list[Crew]) -> list[_Made]:
        """Return the limits of each panel of curves over time."""
        return [
            ("curves", [n], with_margin(*self._range([crew[n] for crew in crews])))
            for n, part in enumerate(self._scene.parts)
            if type(part).__name__ == "Curves"
        ]

    def _range(self, painters: list[Any]) -> tuple[float, float]:
        found = joined([reach for p in painters if (reach := p.range()) is not None])
        self._finite = getattr(self, "_finite", False) or found is not None
        return (0.0, 1.0) if found is None else (float(found.low[0]), float(found.high[0]))

    def _check(self) -> None:
        if self._stages or getattr(self, "_finite", False):
            return
        if all(type(part).__name__ == "Text" for part in self._scene.parts):
            raise ConfigError(
                "a scene must have a part that is drawn, got none; add one such as ds.scene.Points(self.x)"
            )
        named = (
            getattr(part, "positions", None) or getattr(part, "values", "") for part in self._scene.parts
        )
        raise ConfigError(
            f"what is drawn must be finite somewhere, got nan or inf alone in {', '.join(map(str, named))}; "
            'look for what made the simulation diverge with value_and_grad(debug="nan")'
        )

    def sheet(self, trajectory: Trajectory, crews: list[Crew]) -> Sheet:
        """Arrange what is drawn of one trajectory."""
        many = len(crews) > 1
        views = [
            View(stage, [p for p in crew if p.dimension == dimension], f"world {n}" if many else "")
            for dimension, stage in self._stages.items()
            for n, crew in enumerate(crews)
        ]
        panels: list[Panel] = []
        for kind, numbers, (low, high) in self._panels:
            parts: list[list[Any]] = [[crew[n] for crew in crews] for n in numbers]
            if kind == "profiles":
                panels.append(ProfilesPanel(parts, low, high, self._scene.unit))
            else:
                panels.append(CurvesPanel(parts[0], low, high, trajectory.times, trajectory.time_unit))
        notes = [note for crew in crews for p in crew for note in p.notes]
        notes += beyond_note(told for crew in crews for p in crew for told in p.shot.beyond.values())
        if trajectory.worlds > len(crews):
            notes.append(f"{len(crews)} of {trajectory.worlds} worlds drawn")
        if len(panels) > _PANELS:
            notes.append(f"{_PANELS} of {len(panels)} panels drawn")
        lines = [p for p in crews[0] if isinstance(p, TextPainter) and p.at is None]
        return Sheet(
            views,
            panels[:_PANELS],
            lines,
            list(dict.fromkeys(notes)),
            [bar for bar, of in self._bars if views and any(p in of for crew in crews for p in crew)],
        )
