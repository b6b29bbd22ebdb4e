"""Motions side by side, packed: one scene, one scale, as many frames as there is room for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.calm import beyond_note
from diffsim.view.default import default_scene
from diffsim.view.page.channels import Channel, Drawn, Limits, drawn_parts
from diffsim.view.page.extent import arrow_scale, color_scale, kept, number_limits, space_limits, taken
from diffsim.view.page.pack import exact, quantised
from diffsim.view.paint.panels import grouped
from diffsim.view.scene import Camera, Grid, Part, Scene, Text
from diffsim.view.trajectory import Trajectory

__all__ = ["Motion", "packed_stage", "packed_stages"]

_FRAMES = 240  # of a motion at most
_SMOOTH = 48  # frames that a motion should have before less is left out of each
_LEVELS = (
    Limits(),
    Limits(8000, 192, 20),
    Limits(4000, 128, 16),
    Limits(2000, 96, 14),
    Limits(1000, 64, 12),
    Limits(300, 32, 8),
)


@dataclass(frozen=True, eq=False)
class Motion:
    """A motion to look at.

    Attributes:
        name: What it is called: `before`, `best`, `last`, or that of its run.
        caption: A few words about it.
        trajectory: What was recorded.
    """

    name: str
    caption: str
    trajectory: Trajectory


def packed_stages(motions: Sequence[Motion], room: int, title: str = "") -> list[dict[str, Any]]:
    """Pack motions of one scene: of what is in space and what lies in the plane each a stage.

    Args:
        motions: As for `packed_stage`.
        room: As for `packed_stage`.
        title: As for `packed_stage`.
    """
    recorded = [motion.trajectory for motion in motions if len(motion.trajectory.times)]
    if not recorded:
        return []
    scene = recorded[0].scene or default_scene(recorded[0])
    kinds = [_dimensions(part, _one_world(recorded[0])) for part in scene.parts]
    drawn = zip(scene.parts, kinds, strict=True)
    flat = [part for part, axes in drawn if axes == 2 and isinstance(part, Grid)]
    if not flat or 3 not in kinds:
        scenes = [scene]
    else:
        deep = [part for part in scene.parts if not any(part is other for other in flat)]
        scenes = [dataclasses.replace(scene, parts=parts) for parts in (deep, flat)]
    packed = [packed_stage(motions, room // len(scenes), title, scene) for scene in scenes]
    return [stage for stage in packed if stage is not None]


def _dimensions(part: Part, example: Trajectory) -> int:
    """Return how many axes of space a part needs; 0 where that can't be told."""
    for attribute in ("positions", "centers", "vectors", "values"):
        name = str(getattr(part, attribute, None))
        if name not in example and name not in example.stills:
            continue
        shape: tuple[int, ...] = example[name].shape[1:] if name in example else example.stills[name].shape
        if attribute != "values":
            return int(shape[-1]) if shape else 0
        inner = len(example[name].components) if name in example else 0
        return len(shape) - max(inner, int(part.rgb)) if isinstance(part, Grid) else 0
    return 0


def packed_stage(
    motions: Sequence[Motion], room: int, title: str = "", scene: Scene | None = None
) -> dict[str, Any] | None:
    """Pack motions of one scene.

    Args:
        motions: In the order in which they stand side by side.
        room: Bytes of the arrays in the page, about.
        title: What they are of.
        scene: How they are drawn; None for the scene of the first one.

    Returns:
        What `js/stage.js` draws; None where nothing was recorded.
    """
    flat = [dataclasses.replace(m, trajectory=_one_world(m.trajectory)) for m in motions]
    shown = [m for m in flat if len(m.trajectory.times)]
    if not shown:
        return None
    example = shown[0].trajectory
    scene = scene or example.scene or default_scene(example)
    parts, notes, stride = _fitted(scene, shown, room)
    frames = max(len(m.trajectory.times) for m in shown)
    if stride > 1:
        notes.append(f"every {_th(stride)} of {frames} recorded frames is shown")
    worlds = motions[0].trajectory.worlds
    if worlds > 1:
        notes.append(f"world 0 of {worlds} is shown")
    limits = space_limits(scene, parts, [m.trajectory for m in shown])
    if limits is None and any(drawn.kind not in ("text", "curves", "profile") for drawn in parts):
        notes.append("no place is a finite number in any frame: nothing is drawn")
    notes += _beyond(parts, shown)
    read = [_Frames(m.trajectory, stride) for m in shown]
    stills, packs = _packed_arrays(parts, read)
    told = [_part(k, drawn, [m.trajectory for m in shown], parts, limits) for k, drawn in enumerate(parts)]
    _share_panels(told)
    return {
        "title": title,
        "dimensions": len(limits) if limits else 0,
        "limits": limits,
        "unit": scene.unit or _unit(parts, example),
        "ground": scene.ground,
        "camera": dataclasses.asdict(scene.camera or Camera()),
        "time_unit": "steps" if example.time_unit == "step" else example.time_unit,
        "parts": told,
        "stills": stills,
        "notes": list(dict.fromkeys(notes)),
        "motions": [
            {
                "name": motion.name,
                "caption": motion.caption,
                "times": exact(frames.times),
                "arrays": arrays,
                "texts": {
                    str(k): frames.texts(d.part.text) for k, d in enumerate(parts) if isinstance(d.part, Text)
                },
            }
            for motion, frames, arrays in zip(shown, read, packs, strict=True)
        ],
    }


def _th(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _one_world(trajectory: Trajectory) -> Trajectory:
    return trajectory.world(0) if trajectory.worlds else trajectory


class _Frames:
    """Some frames of a trajectory."""

    def __init__(self, trajectory: Trajectory, stride: int) -> None:
        self.trajectory = trajectory
        self._chosen = np.arange(0, len(trajectory.times), stride)
        self.times = np.asarray(trajectory.times[self._chosen])

    def read(self, channel: Channel) -> NDArray[Any] | None:
        """Return a channel's array; None where the trajectory has none that fits."""
        if channel.still:
            still = self.trajectory.stills.get(channel.source)
            return None if still is None else channel.change(np.asarray(still)[None])
        if channel.source not in self.trajectory or not len(self.trajectory[channel.source]):
            return None
        array = np.asarray(self.trajectory[channel.source])
        return channel.change(array[np.minimum(self._chosen, len(array) - 1)])  # a Scratch has no last frame

    def texts(self, template: str) -> list[str]:
        """Fill a text with the numbers of each frame."""
        arrays = {name: np.asarray(signal) for name, signal in self.trajectory.items() if len(signal)}
        stills = self.trajectory.stills
        lines = []
        for k in self._chosen:
            now = {name: array[min(int(k), len(array) - 1)] for name, array in arrays.items()}
            try:
                lines.append(template.format(**stills, **now))
            except (KeyError, IndexError, ValueError, TypeError, AttributeError):
                lines.append(template)  # with its braces, so that the slip is seen
        return lines


def _fitted(scene: Scene, shown: Sequence[Motion], room: int) -> tuple[list[Drawn], list[str], int]:
    """Choose how much of a frame is kept, and each how many-th frame, so that all fits."""
    example = shown[0].trajectory
    most = max(len(m.trajectory.times) for m in shown)
    parts: list[Drawn] = []
    notes: list[str] = []
    per_frame = 1
    for keep in _LEVELS:
        parts, notes = drawn_parts(scene, example, keep, [m.trajectory for m in shown[1:]])
        per_frame = sum(_frame_bytes(parts, _Frames(m.trajectory, max(1, most))) for m in shown)
        if per_frame * min(most, _SMOOTH) <= room:
            break
    count = max(2, min(_FRAMES, room // max(1, per_frame)))
    return parts, notes, max(1, math.ceil((most - 1) / max(1, count - 1)))


def _channels(parts: Sequence[Drawn]) -> dict[str, Channel]:
    return {channel.name: channel for drawn in parts for channel in drawn.channels.values()}


def _frame_bytes(parts: Sequence[Drawn], first: _Frames) -> int:
    """Count what one frame takes in the page."""
    total = 0
    for channel in _channels(parts).values():
        array = None if channel.still else first.read(channel)
        if array is not None:
            total += array[0].size * (channel.bits or 16) // 6  # 8 bits a byte, 4 letters for 3 bytes
    return total


def _packed_arrays(
    parts: Sequence[Drawn], read: Sequence[_Frames]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Pack stills once and what moves for each motion, with the same steps in all of them."""
    stills: dict[str, Any] = {}
    packs: list[dict[str, Any]] = [{} for _ in read]
    for name, channel in _channels(parts).items():
        found = [frames.read(channel) for frames in read]
        there = [array for array in found if array is not None]
        if not there:
            continue
        pack = _packer(channel, [frames.trajectory for frames in read])
        if channel.still and all(np.array_equal(there[0], other, equal_nan=True) for other in there[1:]):
            stills[name] = pack(there[0])
            continue
        for arrays, array in zip(packs, found, strict=True):
            if array is not None:
                arrays[name] = pack(array)
    return stills, packs


def _packer(channel: Channel, trajectories: Sequence[Trajectory]) -> Callable[[NDArray[Any]], dict[str, Any]]:
    if channel.bits == 0:
        return exact
    limits = kept(channel, trajectories)
    return lambda array: quantised(array, channel.bits, limits)


def _beyond(parts: Sequence[Drawn], shown: Sequence[Motion]) -> list[str]:
    """Say what is beyond the picture, in which motions, and from when on."""
    told = []
    for channel in _channels(parts).values():
        for motion in shown:
            found = None if channel.bits == 0 or channel.ends else taken(channel, motion.trajectory)
            if found is not None and found.beyond:
                told.append(found.beyond + (f" ({motion.name})" if len(shown) > 1 else ""))
    return beyond_note(told)


def _share_panels(told: list[dict[str, Any]]) -> None:
    """Tell the curves over places which panel each is in, and give those of one the same limits."""
    parts = [part for part in told if part["kind"] == "profile"]
    axes = [(part["places"][0], part["places"][-1], part["counted"]) for part in parts]
    panels = grouped([(a, p["values_unit"], p["limits"]) for a, p in zip(axes, parts, strict=True)])
    for number, panel in enumerate(panels):
        low = min(parts[k]["limits"][0] for k in panel)
        high = max(parts[k]["limits"][1] for k in panel)
        for k in panel:
            parts[k].update(panel=number, limits=(low, high))


def _part(
    number: int, drawn: Drawn, trajectories: Sequence[Trajectory], parts: Sequence[Drawn], limits: Any
) -> dict[str, Any]:
    """Describe a part for the page."""
    part = drawn.part
    told = {"number": number, "kind": drawn.kind, "label": part.label, "color": part.color, **drawn.more}
    told["channels"] = {attribute: channel.name for attribute, channel in drawn.channels.items()}
    if drawn.kind == "vectors" and "lines" not in drawn.more:
        told["scale"] = arrow_scale(drawn, trajectories, limits)
    scale = color_scale(drawn, parts, trajectories)
    if scale is not None:
        told["low"], told["high"] = scale.low, scale.high
        told["map"] = "two" if scale.two else "full" if scale.full else "one"
        told["values_unit"] = _unit_of(str(getattr(part, "values", "")), trajectories[0])
    radius = getattr(part, "radius", None)
    if isinstance(radius, int | float) and not isinstance(radius, bool):
        told["radius"] = float(radius)
    if drawn.kind == "grid":
        told["many"] = sum(p.kind == "grid" and p.more["level"] is None for p in parts) > 1
    if drawn.kind in ("curves", "profile"):
        told["values_unit"] = _unit_of(drawn.more["source"], trajectories[0])
        found = number_limits(drawn.channels["values"], trajectories)
        given = part.limits if drawn.kind == "profile" else None
        told["limits"] = given or found or (0.0, 1.0)
    return told


def _unit_of(name: str, trajectory: Trajectory) -> str:
    return trajectory.units.get(name, "")


def _unit(parts: Sequence[Drawn], trajectory: Trajectory) -> str:
    """Find the unit of space: that of the first positions that have one."""
    for drawn in parts:
        for attribute in ("positions", "centers"):
            if attribute in drawn.channels:
                unit = _unit_of(drawn.channels[attribute].source, trajectory)
                if unit:
                    return unit
    return ""
