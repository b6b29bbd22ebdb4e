"""What a simulator tells about how it is looked at: the scene it describes, units, and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.language.controls import Control
from diffsim.language.fields import Constant, Field, Param, Scratch, State, Valued
from diffsim.language.trace import Program
from diffsim.view.scene import Scene, bound, names_in
from diffsim.view.trajectory import Label

__all__ = ["labels_of", "scene_of", "time_step"]


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


def scene_of(program: Program) -> tuple[Scene | None, dict[str, NDArray[Any]], list[str]]:
    """Ask a simulator for its scene.

    Returns:
        The scene in names, or None where the simulator describes none; the arrays that it refers to and that
        have no time, by name; and the keys of the fields that have.

    Raises:
        ConfigError: A part refers to something that is neither a field nor an array.
    """
    described = getattr(program.simulator, "scene", None)
    if not callable(described):
        return None, {}, []
    scene, stills = bound(described(), lambda ref: _name(program, ref))
    named = []
    for name in names_in(scene):
        field = program.fields.get(name)
        if isinstance(field, State | Scratch | Control):
            named.append(name)
        elif isinstance(field, Param | Constant):
            stills[name] = _first_world(field)
    return scene, stills, named


def _name(program: Program, ref: Any) -> str | None:
    """Return the key of a field that can be drawn."""
    field = program.fields.get(ref) if isinstance(ref, str) else ref
    if isinstance(field, State | Scratch | Control | Param | Constant) and any(
        field is known for known in program.fields.values()
    ):
        return field.key
    if isinstance(field, Field) or isinstance(ref, str):
        listed = ", ".join(program.fields) or "none"
        raise ConfigError(
            f"scene must name fields of {type(program.simulator).__name__}, got {ref!r}; it has {listed}"
        )
    return None


def _first_world(field: Valued) -> NDArray[Any]:
    values = field.numpy()
    return values[0] if values.ndim > len(field.element_shape) else values
