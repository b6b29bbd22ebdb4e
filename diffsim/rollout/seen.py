"""What a simulator tells about how it is looked at: the scene it describes, units, and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.language.cells import Cells, numbers_in
from diffsim.language.controls import Control
from diffsim.language.fields import Constant, Field, Param, Scratch, State, Valued
from diffsim.language.trace import Program
from diffsim.view.named import bound, vectors_in
from diffsim.view.scene import Derived, Scene
from diffsim.view.trajectory import Label, Signal, labelled

__all__ = ["Seen", "labels_of", "scene_of", "time_step"]


def time_step(simulator: Any) -> float | None:
    """Return how long a step is [s], as the simulator's attribute `dt` tells; None where it does not."""
    dt = getattr(simulator, "dt", None)
    if isinstance(dt, bool) or not isinstance(dt, int | float | np.number):
        return None
    seconds = float(dt)
    return seconds if np.isfinite(seconds) and seconds > 0.0 else None


def labels_of(simulator: Any, every: int, worlds: int) -> Callable[[str, Field, int], Label]:
    """Make the function that says what an array is: its name, its field, and how many frames it has.

    Args:
        simulator: Whose fields they are.
        every: Steps between frames.
        worlds: How many there are.
    """
    dt = time_step(simulator)

    def label(name: str, field: Field, frames: int) -> Label:
        times = np.asarray(np.arange(frames) * (every * (dt or 1.0)), dtype=np.float64)
        many = worlds if worlds > 1 else 0
        return Label(name, times, "s" if dt else "step", field.unit, field.type.shape, many)

    return label


@dataclass
class Seen:
    """A simulator's scene, and what must be known to draw it.

    Attributes:
        scene: In names; None where the simulator describes none.
        stills: The arrays without time that it refers to, by name.
        timed: The keys of the fields to be recorded for it.
        per_world: The values of fields that do not change with time, but from world to world, by key.
        derived: What is computed of fields, by name.
    """

    scene: Scene | None
    program: Program
    stills: dict[str, NDArray[Any]] = field(default_factory=dict)
    timed: dict[str, None] = field(default_factory=dict)
    per_world: dict[str, Valued] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)

    def name(self, ref: Any) -> str | None:
        """Return what a part's reference is called, and note what it needs; None for an array.

        Raises:
            ConfigError: It names no field that can be drawn.
        """
        if isinstance(ref, Derived):
            known = next((name for name, one in self.derived.items() if one is ref), None)
            return known or self._derive(ref)
        found = self._field(ref)
        if isinstance(found, State | Scratch | Control):
            self.timed[found.key] = None
        elif isinstance(found, Valued) and _in_worlds(found):
            self.per_world[found.key] = found
        elif isinstance(found, Valued):
            self.stills[found.key] = found.numpy()
        return None if found is None else found.key

    def _derive(self, ref: Derived) -> str:
        for item in ref.fields:
            found = None if item == "t" else self._field(item)
            if found is None and item != "t":
                raise ConfigError(f"Derived must be of fields, got {item!r}; let the function read others")
            if isinstance(found, State | Scratch | Control):
                self.timed[found.key] = None
        name, number = ref.name, 2
        while name in self.program.fields or name in self.derived:
            name, number = f"{ref.name}_{number}", number + 1
        self.derived[name] = ref
        return name

    def _field(self, ref: Any) -> Field | None:
        fields = self.program.fields
        found = fields.get(ref) if isinstance(ref, str) else ref
        kinds = State | Scratch | Control | Param | Constant
        if isinstance(found, kinds) and any(found is known for known in fields.values()):
            return found
        if isinstance(found, Field) or isinstance(ref, str):
            owner = type(self.program.simulator).__name__
            listed = ", ".join(fields) or "none"
            raise ConfigError(f"scene must name fields of {owner}, got {ref!r}; it has {listed}")
        return None

    def complete(self, signals: dict[str, Any], every: int, first: int = 0) -> dict[str, Any]:
        """Return the recorded signals with those that are derived, and those that differ by world alone.

        Args:
            signals: What was recorded, by key.
            every: Steps between frames.
            first: The number of the first of these frames.

        Raises:
            ConfigError: A function returned something that is not over time as its fields are.
        """
        whole = dict(signals)
        longest: Signal | None = max(signals.values(), key=len, default=None)
        if longest is None:
            return whole
        told = longest.label
        for key, valued in self.per_world.items():
            values = valued.numpy()
            shown = np.broadcast_to(values, (len(longest), *values.shape))
            label = Label(key, told.times, told.time_unit, valued.unit, valued.type.shape, len(values))
            whole[key] = labelled(shown, label)
        vectors = set() if self.scene is None else vectors_in(self.scene)
        for name, one in self.derived.items():
            found = [None if item == "t" else self._field(item) for item in one.fields]
            over_time = [signals[f.key] for f in found if f is not None and f.key in signals]
            lead: Signal = min(over_time, key=len, default=longest)
            if first and not len(lead):  # all of its frames came before
                continue
            steps = every * np.arange(first, first + len(lead)).reshape(-1, *(1,) * bool(lead.worlds))
            arrays = [
                steps if f is None else signals[f.key][: len(lead)] if f.key in signals else f for f in found
            ]
            made = np.asarray(one.function(*(np.asarray(array) for array in arrays)))
            if not over_time and "t" not in one.fields:
                self.stills[name] = made
            else:
                whole[name] = _over_time(name, one, made, lead.label, name in vectors)
        return whole

    def frames_of(self, name: str, frames: Mapping[str, int]) -> int:
        """Return how many frames something that `complete` makes has, from those of all fields by key."""
        one = self.derived.get(name)
        found = [] if one is None else [self._field(item) for item in one.fields if item != "t"]
        return min(
            (frames[f.key] for f in found if f is not None and f.key in frames), default=max(frames.values())
        )


def scene_of(program: Program) -> Seen:
    """Ask a simulator for its scene.

    Raises:
        ConfigError: It returns nothing, or a part refers to something that is neither a field nor an array.
    """
    described = getattr(program.simulator, "scene", None)
    seen = Seen(None, program)
    if callable(described):
        told = described()
        if told is None:
            owner = type(program.simulator).__name__
            raise ConfigError(f"{owner}.scene must return parts, got None; end it with return")
        seen.scene, stills = bound(told, seen.name)
        seen.stills |= stills
    return seen


def _over_time(name: str, one: Derived, made: NDArray[Any], told: Label, vectors: bool) -> Signal:
    """Return what a function made as a signal with the times and worlds of its fields."""
    front = (len(told.times), told.worlds) if told.worlds else (len(told.times),)
    shape = made.shape[: len(front)]
    if (shape != front and shape != (*front[:-1], 1)) or made.dtype.kind not in "biuf":
        raise ConfigError(
            f"{one.name} must return numbers of shape {front} and more, got {made.dtype} of {made.shape}; "
            "write x[..., 0] for the first of each frame"
        )
    whole = np.broadcast_to(made, front + made.shape[len(front) :])
    components = made.shape[-1:] if vectors and made.ndim > len(front) else ()
    return labelled(whole, Label(name, told.times, told.time_unit, one.unit, components, told.worlds))


def _in_worlds(field: Valued) -> bool:
    """Tell whether a field has values for each world."""
    values = field.host_values()
    axes = 1 + len(field.type.shape) if isinstance(values, Cells) else len(field.element_shape)
    return numbers_in(values).ndim > axes
