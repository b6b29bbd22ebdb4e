"""How many blocks of sparse layouts are active, over time."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffsim.compiler.program.topology import Topology
from diffsim.engine.engine import Engine
from diffsim.errors import ConfigError
from diffsim.language.fields import Field, Scratch, State
from diffsim.language.trace import Program
from diffsim.plan.room import Room
from diffsim.rollout.collecting import Collecting
from diffsim.rollout.frames import Ending, checked_every, named_buffers
from diffsim.rollout.growth import growing
from diffsim.rollout.seen import labels_of
from diffsim.view.trajectory import labelled

__all__ = ["Occupancy", "Occupied", "seen_rooms"]


class Occupancy(Mapping[str, Any]):
    """The active blocks of sparse layouts over time: a mapping from layouts to signals.

    A layout has the name "blocks of " and its first field. Its signal counts blocks at each frame, shape
    `(frames,)`, with many worlds `(frames, worlds)`.

    Attributes:
        rooms: By the same names, the room of each layout, with the most blocks that were active at once.
    """

    def __init__(self, signals: Mapping[str, Any], rooms: Mapping[str, Room]) -> None:
        self._signals, self.rooms = dict(signals), dict(rooms)

    def __getitem__(self, name: str) -> Any:
        return self._signals[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._signals)

    def __len__(self) -> int:
        return len(self._signals)

    def __str__(self) -> str:
        return "\n".join(f"{name:24s} {room}" for name, room in self.rooms.items())


class Occupied(ABC):
    """The part of `Rollout` that tells how much of its sparse fields was active."""

    worlds: int
    _program: Program
    _engine: Engine
    _ending: Ending

    @abstractmethod
    def _prepare(self) -> None:
        """Check that the rollout can run, and bring changed values to the device."""

    @abstractmethod
    def _hold(self, scratches: bool) -> None:
        """Hold the Scratches of all steps for who wants to see them, or not any more."""

    @growing
    def occupancy(self, every: int = 1) -> Occupancy:
        """Run forward and return how many blocks of each sparse layout were active, over time.

        Args:
            every: Steps between frames.

        Returns:
            Counts by layout (of a State's at t = 0, every, ..., of others in each of these steps); print it
            for the room that there is, and the largest share that was seen.

        Raises:
            ConfigError: No field has a sparse layout, or `every` is not positive.
        """
        every = checked_every(every)
        self._hold(scratches=True)
        self._prepare()
        moving = [t for t in self._engine.lowered.topologies if not t.fixed]
        if not moving:
            name = type(self._program.simulator).__name__
            raise ConfigError(
                f"{name} must have fields with a sparse layout, got none; declare one with layout=ds.sparse()"
            )
        buffers = {t.name: t.total for t in moving}
        collecting = Collecting(self._engine, buffers, every)
        with self._ending.run(at_end=True):
            found = collecting.gathered()
        label = labels_of(self._program.simulator, every, self.worlds)
        signals = {
            t.name: labelled(found[t.name], label(t.name, _counted(t), len(found[t.name]))) for t in moving
        }
        return Occupancy(signals, {room.name: room for room in seen_rooms(self._engine)})

    @growing
    def cells(self, field: Field | str, every: int = 1) -> list[Any]:
        """Run forward and return the active cells of a field with a sparse layout, over time.

        For domains that no array could hold for each frame; `trajectory` gives arrays of the whole domain.

        Args:
            field: A State or Scratch with a sparse layout, or its key.
            every: Steps between frames.

        Returns:
            `ds.Cells` for each frame, as frames are counted by `trajectory`; with many worlds a list of them,
            one for each world.

        Raises:
            ConfigError: It is no such field of this simulator, or `every` is not positive.
        """
        every = checked_every(every)
        _require_sparse(self._program, field)
        self._hold(scratches=True)
        self._prepare()
        [buffer] = named_buffers(self._program, self._engine.lowered, [field], "cells").values()
        with self._ending.run(at_end=True):
            return Collecting(self._engine, {buffer.label: buffer}, every).cells(buffer)


def _require_sparse(program: Program, item: Any) -> None:
    """Refuse what has no active cells.

    Raises:
        ConfigError: It is no State or Scratch of the program with a sparse layout.
    """
    known = {k: f for k, f in program.fields.items() if isinstance(f, State | Scratch)}
    field = known.get(item) if isinstance(item, str) else next((f for f in known.values() if f is item), None)
    if field is None or field.sparse is None:
        sparse = ", ".join(key for key, one in known.items() if one.sparse is not None)
        remedy = "; use trajectory" if field is not None else ""
        raise ConfigError(
            f"cells must be of a State or Scratch of {type(program.simulator).__name__} with a sparse "
            f"layout, got {item!r}; it has {sparse or 'none'}{remedy}"
        )


def _counted(topology: Topology) -> Field:
    field: Field = topology.total.source
    return field


def seen_rooms(engine: Engine) -> tuple[Room, ...]:
    """Return the rooms of the layouts of what runs, with what was active in its last run."""
    found = []
    for room, topology in zip(engine.plan.rooms, engine.lowered.topologies, strict=True):
        most: int | None = None
        if engine.lengths is not None and not topology.fixed:
            most = max(int(np.max(engine.storage.arrays(peak)[0])) for peak in topology.peaks)
        found.append(dataclasses.replace(room, most=most))
    return tuple(found)
