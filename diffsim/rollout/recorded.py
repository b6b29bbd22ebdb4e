"""What a rollout held on its way, and at its end."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffsim.engine.engine import Engine
from diffsim.errors import ConfigError, StateError
from diffsim.language.fields import Field, State
from diffsim.language.trace import Program
from diffsim.rollout.collecting import Collecting
from diffsim.rollout.frames import Ending, Names, checked_every, named_buffers, states_of
from diffsim.rollout.growing import grow
from diffsim.rollout.growth import growing
from diffsim.rollout.seen import Seen, labels_of, scene_of
from diffsim.view import store
from diffsim.view.adjoints import with_adjoints
from diffsim.view.trajectory import Label, Trajectory, labelled

__all__ = ["Recorded"]

_MANY = 1 << 22  # cells of a sparse field, all of which a trajectory has


class Recorded(ABC):
    """The part of `Rollout` that tells what its fields held."""

    worlds: int
    _program: Program
    _engine: Engine
    _ending: Ending

    @abstractmethod
    def require_open(self) -> None:
        """Refuse what needs the memory of a rollout that has none any more."""

    @abstractmethod
    def _require_idle(self) -> None:
        """Refuse to touch memory that a run is using."""

    @abstractmethod
    def _prepare(self) -> None:
        """Check that the rollout can run, and bring changed values to the device."""

    @abstractmethod
    def _hold(self, scratches: bool) -> None:
        """Hold the Scratches of all steps for who wants to see them, or not any more."""

    @property
    def lengths(self) -> Any:
        """How many steps each world ran in the last run: an int, or an array of ints with many worlds.

        It is the horizon where no kernel set `self.done` (see `Simulator.done`), and 0 where `reset` did.

        Raises:
            StateError: Nothing ran yet.
        """
        lengths = self._engine.lengths
        if lengths is None:
            raise StateError("lengths must be read after a run, got none yet; call value() first")
        return int(lengths[0]) if self.worlds == 1 else lengths.copy()

    @abstractmethod
    def adjoints(self, fields: Field | str | Names | None = None, every: int = 1) -> Any:
        """Return d cost / d x[t]."""

    @growing
    def trajectory(
        self,
        field: Names | Field | str | None = None,
        every: int = 1,
        *,
        adjoints: bool = False,
        to: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Return what fields held over time.

        Args:
            field: A State, Scratch or Control of the simulator, or its key: `"x"`, `"policy.hidden"`. Several
                of them as `trajectories` takes them. None: all States, and what `Simulator.scene` names; of
                States with a sparse layout those of at most 4 million cells, empty ones included.
            every: Steps between frames.
            adjoints: Run a gradient too, and put d cost / d x[t] of those that are States of real numbers
                beside the motion and into its scene; see `adjoints`.
            to: A file, `x.h5` (extra `hdf5`) or `x.zarr` (extra `zarr`), that grows while the rollout runs,
                so that a long trajectory never is in memory whole. It takes its place when the run is over;
                what ends a run early leaves none. None to keep the frames in memory.

        Returns:
            For one field a `Signal`, an ndarray with its times and unit: frames at t = 0, every, 2 every, ...
            (a State up to and including `steps`, others below it), shape `(frames, *shape, *components)`;
            with worlds > 1 `(frames, worlds, ...)`. Behind its own end (see `lengths`) a world's States stay
            as they were then, and its Scratches are zero. Else, and with adjoints, a `Trajectory` of such
            arrays, by key; with `to` always, and it reads from the file what is asked for.

        Raises:
            ConfigError: A field has no time axis or is not of this simulator, `every` is not positive, or
                `to` is no file that can be written.
        """
        if adjoints and to is not None:
            raise ConfigError("to must be left out with adjoints, got both; record the adjoints apart")
        if adjoints:
            return self._with_adjoints([field] if isinstance(field, str | Field) else field, every)
        if isinstance(field, str | Field) and to is None:
            return next(iter(self.trajectories([field], every).values()))
        seen = Seen(None, self._program)
        chosen: Any = [field] if isinstance(field, str | Field) else field
        if field is None:
            seen = scene_of(self._program)
            states = [k for k, f in self._program.fields.items() if isinstance(f, State) and not _huge(f)]
            chosen = list(dict.fromkeys([*states, *seen.timed]))
            _require_seen(self._program, chosen)
        title = type(self._program.simulator).__name__
        if to is None:
            found = seen.complete(self.trajectories(chosen, every), every)
            return Trajectory(found, stills=seen.stills, scene=seen.scene, title=title)
        store.check_growing(to)
        collecting, labels = self._collecting(chosen, every)
        with store.growing(to, title) as writer, self._ending.run(at_end=True):
            grow(writer, collecting, labels, seen, checked_every(every))
        return Trajectory.load(to)

    def _with_adjoints(self, fields: Names | None, every: int) -> Trajectory:
        motion, known = self.trajectory(fields, every), self._program.fields
        given = fields if isinstance(fields, Mapping) else {name: name for name in motion}
        meant = {name: known.get(item) if isinstance(item, str) else item for name, item in given.items()}
        states = {
            name: f for name, f in meant.items() if isinstance(f, State) and not (f.integer or f.sparse)
        }
        return with_adjoints(motion, self.adjoints(states, every) if states else {})

    @growing
    def trajectories(self, fields: Names, every: int = 1) -> dict[str, Any]:
        """Return the trajectories of several fields from one run, as a dict; see `trajectory`.

        Args:
            fields: Fields or their keys, as a list, or as a dict under names of your own.
            every: Steps between frames.

        Returns:
            Signals under the fields' keys, or under the names of the dict.

        Raises:
            ConfigError: A field has no time axis or is not of this simulator, or `every` is not positive.
        """
        collecting, labels = self._collecting(fields, every)
        with self._ending.run(at_end=True):
            found = collecting.gathered()
        return {name: labelled(array, labels[name]) for name, array in found.items()}

    def _collecting(self, fields: Names, every: int) -> tuple[Collecting, dict[str, Label]]:
        """Prepare a run that records fields; return it, and what their arrays are."""
        every = checked_every(every)
        fields = list(fields) if isinstance(fields, Iterator) else fields
        found = named_buffers(self._program, self._engine.lowered, fields, "trajectory")
        self._hold(any(buffer.kind == "scratch" for buffer in found.values()))
        self._prepare()  # which may make the memory anew
        buffers = named_buffers(self._program, self._engine.lowered, fields, "trajectory")
        collecting = Collecting(self._engine, buffers, every)
        label = labels_of(self._program.simulator, every, self.worlds)
        shapes = collecting.shapes
        return collecting, {name: label(name, b.source, shapes[name][0]) for name, b in buffers.items()}

    @growing
    def final(self, field: State | str | None = None) -> Any:
        """Return what States hold at the end of the last run, in the form that `State.set` takes.

        So a rollout goes on where it ended: `for key, x in rollout.final().items(): states[key].set(x)`, and
        run it again. With several worlds the States must be declared with `per_world=True`. The next run
        counts `t` from 0 and begins with the first values of Controls; a State with `history` has its new
        initial value for its past, so that a scheme which reads `x[t - 1]` goes on exactly only where it
        keeps what it needs in a State of its own. A world that ended early (`lengths`) goes on from there.

        Args:
            field: A State or its key; None for all.

        Returns:
            An array `(*shape, *components)`, with worlds > 1 `(worlds, ...)`; for None a dict of these by
            key. After a gradient whose segments no longer hold the end, the run is repeated for it.

        Raises:
            ConfigError: It is not a State of this simulator.
            StateError: Nothing ran yet, or the last run failed; or the end is no longer in memory, and values
                were set since, or kernels read Taichi fields made by hand, of which nobody knows.
        """
        chosen = states_of(self._program, field)
        self.require_open()
        self._require_idle()
        found = self._ending.read()
        arrays = {s.key: found[s.key] if s.sparse else np.array(found[s.key]) for s in chosen}
        return arrays if field is None else arrays[chosen[0].key]


def _require_seen(program: Program, chosen: list[str]) -> None:
    """Refuse to record nothing, where there is something that is too large.

    Raises:
        ConfigError: All States are.
    """
    huge = [f for f in program.fields.values() if isinstance(f, State) and _huge(f)]
    if huge and not chosen:
        key, size = huge[0].key, math.prod(huge[0].shape)
        raise ConfigError(
            f"a trajectory must be of named fields where States are as large as {huge[0].label}, got "
            f"{size:,} cells, most of them empty; take its active cells by rollout.cells({key!r}), or name "
            "in scene(self) what there is to see"
        )


def _huge(field: Field) -> bool:
    """Tell whether most of a field is nothing that anybody wants to see unless they name it."""
    return field.sparse is not None and math.prod(field.shape) > _MANY
