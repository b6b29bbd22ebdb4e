"""Where checkpoints lie: in fields beside the window, in the host's memory, or in files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.codegen.keeping import staging_kernels
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.executors import Executor
from diffsim.engine.launch import Launcher
from diffsim.engine.spill import SpillFolder, remove_orphans
from diffsim.engine.storage import Storage
from diffsim.errors import StateError
from diffsim.plan import Plan

__all__ = ["DeviceTier", "DiskTier", "HostTier", "Tier", "Tiers"]


class Tier(Protocol):
    """A place with slots, each of which holds the States before a segment or all values of a window."""

    def save(self, slot: int) -> None:
        """Keep the States at the beginning of the window."""

    def restore(self, slot: int) -> None:
        """Bring kept States back to the beginning of the window."""

    def keep(self, slot: int) -> None:
        """Keep all values of the window."""

    def load(self, slot: int) -> None:
        """Bring all values of a window back."""

    def clear(self) -> None:
        """Forget what is kept; called when a gradient is done or failed."""

    def close(self) -> None:
        """Free everything."""


class DeviceTier(Tier):
    """Slots in fields: one launch copies to or from them.

    Args:
        executor: Launches the copies.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def save(self, slot: int) -> None:
        self._executor.save(slot)

    def restore(self, slot: int) -> None:
        self._executor.restore(slot)

    def keep(self, slot: int) -> None:
        self._executor.keep(slot)

    def load(self, slot: int) -> None:
        self._executor.load(slot)

    def clear(self) -> None:
        """Do nothing: what is in fields is overwritten."""

    def close(self) -> None:
        """Do nothing: the fields belong to the storage."""


class Traffic:
    """The arrays that a checkpoint is made of, as the host sees them.

    On the CPU fields are read and written in place. On a GPU the States at the beginning of the window go
    through fields of their size; whole windows are copied field by field.

    Args:
        lowered: The program.
        storage: Its memory.
        real: The type of float literals.
    """

    def __init__(self, lowered: LoweredProgram, storage: Storage, real: str) -> None:
        self._lowered, self._storage, self._real = lowered, storage, real
        self._staged: dict[Buffer, Buffer] = {}
        self._launchers: dict[str, Launcher] = {}

    def states(self) -> Iterator[NDArray[Any]]:
        """Yield the States at the beginning of the window, a component at a time."""
        if self._storage.on_cpu:
            yield from self._views()
            return
        self._stage("unload")
        for buffer in self._staged.values():
            yield from self._storage.arrays(buffer)

    def put_states(self, arrays: Iterator[NDArray[Any]]) -> None:
        """Write the States at the beginning of the window."""
        if self._storage.on_cpu:
            for view in self._views():
                view[...] = next(arrays)
            return
        self._allocate()
        for buffer in self._staged.values():
            self._storage.put(buffer, arrays)
        self._stage("reload")

    def windows(self) -> Iterator[NDArray[Any]]:
        """Yield all values of the window, a component at a time."""
        for buffer in self._lowered.whole:
            yield from self._storage.laid(buffer) if self._storage.on_cpu else self._storage.arrays(buffer)

    def put_windows(self, arrays: Iterator[NDArray[Any]]) -> None:
        """Write all values of the window."""
        for buffer in self._lowered.whole:
            if not self._storage.on_cpu:
                self._storage.put(buffer, arrays)
                continue
            for view in self._storage.laid(buffer):
                view[...] = next(arrays)

    def close(self) -> None:
        """Let go of the kernels."""
        for launcher in self._launchers.values():
            launcher.close()
        self._launchers.clear()

    def _views(self) -> list[NDArray[Any]]:
        """Return where the States are now: memory moves where a kernel is left to Taichi."""
        history, states = self._lowered.history, self._lowered.states
        return [a[:, :history] for b in states for a in self._storage.laid(b)]

    def _allocate(self) -> None:
        if self._staged:
            return
        for state in self._lowered.states:
            self._staged[state] = Buffer(
                f"{state.name}_staged", "carry", state.dtype, state.shape, state.components
            )
        self._storage.allocate(self._staged.values())
        for name, text in staging_kernels(
            self._staged, self._storage.layout, self._real, self._storage.on_cpu
        ).items():
            self._launchers[name] = Launcher(text, self._storage)

    def _stage(self, name: str) -> None:
        self._allocate()
        self._launchers[name](0, 0)


class HostTier(Tier):
    """Slots in NumPy arrays, which are made when they are first needed and stay until the rollout is closed.

    Args:
        traffic: What is copied.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._slots: dict[int, list[NDArray[Any]]] = {}

    @property
    def bytes(self) -> int:
        """What the slots take."""
        return sum(a.nbytes for arrays in self._slots.values() for a in arrays)

    def save(self, slot: int) -> None:
        self._put(slot, self._traffic.states())

    def restore(self, slot: int) -> None:
        self._traffic.put_states(iter(self._slots[slot]))

    def keep(self, slot: int) -> None:
        self._put(slot, self._traffic.windows())

    def load(self, slot: int) -> None:
        self._traffic.put_windows(iter(self._slots[slot]))

    def clear(self) -> None:
        """Do nothing: the arrays are used again by the next gradient."""

    def close(self) -> None:
        self._slots.clear()

    def _put(self, slot: int, arrays: Iterator[NDArray[Any]]) -> None:
        kept = self._slots.get(slot)
        found = list(arrays)
        if kept is not None and [a.shape for a in kept] == [a.shape for a in found]:
            for old, new in zip(kept, found, strict=True):
                old[...] = new
        else:
            self._slots[slot] = [np.array(a, order="C") for a in found]


class DiskTier(Tier):
    """Slots in files of a folder of their own, which is removed with all in it.

    The folder is made with the first file. A file is the arrays' bytes, one after the other.

    Args:
        traffic: What is copied.
        folder: Where to make the folder.
    """

    def __init__(self, traffic: Traffic, folder: str) -> None:
        self._traffic, self._parent = traffic, folder
        self._folder: SpillFolder | None = None
        self._shapes: dict[int, list[tuple[tuple[int, ...], Any]]] = {}

    @property
    def bytes(self) -> int:
        """What the files take."""
        return sum(os.path.getsize(self._path(slot)) for slot in self._shapes)

    def save(self, slot: int) -> None:
        self._write(slot, self._traffic.states())

    def restore(self, slot: int) -> None:
        self._traffic.put_states(self._read(slot))

    def keep(self, slot: int) -> None:
        self._write(slot, self._traffic.windows())

    def load(self, slot: int) -> None:
        self._traffic.put_windows(self._read(slot))

    def clear(self) -> None:
        """Remove the files and their folder."""
        self._shapes.clear()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def close(self) -> None:
        self.clear()

    def _path(self, slot: int) -> str:
        assert self._folder is not None  # noqa: S101  (made by the first write)
        return self._folder.file(f"checkpoint-{slot}")

    def _write(self, slot: int, arrays: Iterator[NDArray[Any]]) -> None:
        shapes = []
        try:
            if self._folder is None:
                self._folder = SpillFolder(self._parent)
            with open(self._path(slot), "wb") as file:
                for array in arrays:
                    file.write(np.ascontiguousarray(array).data)
                    shapes.append((array.shape, array.dtype))
        except OSError as error:
            raise StateError(
                f"spill must take the rollout's checkpoints, got '{error.strerror or error}' in "
                f"{self._parent!r}; free some space, name another folder, or lower disk_memory"
            ) from error
        self._shapes[slot] = shapes

    def _read(self, slot: int) -> Iterator[NDArray[Any]]:
        try:
            with open(self._path(slot), "rb") as file:
                for shape, dtype in self._shapes[slot]:
                    array = np.empty(shape, dtype)
                    if file.readinto(array.data) != array.nbytes:
                        raise OSError(f"{os.path.basename(file.name)} too short")
                    yield array
        except OSError as error:
            raise StateError(
                f"spill must give back the checkpoint that was written, got {error} in {self._parent!r}; "
                "leave the files of a running rollout alone"
            ) from error


class Tiers:
    """The tiers of a plan, made when something is first kept in them.

    Args:
        plan: How much each may hold.
        lowered: The program.
        storage: Its memory.
        real: The type of float literals.
    """

    def __init__(self, plan: Plan, lowered: LoweredProgram, storage: Storage, real: str) -> None:
        self._traffic = Traffic(lowered, storage, real)
        self._spill = os.path.abspath(plan.spill or ".")  # whatever the working directory will be
        self._tiers: dict[str, Tier] = {}
        self._executor: Executor | None = None
        if plan.spill is not None:
            remove_orphans(self._spill)

    def use(self, executor: Executor) -> None:
        """Copy what is kept in fields by this executor's launches."""
        if self._executor is not executor:
            self._executor = executor
            self._tiers["device"] = DeviceTier(executor)

    def __call__(self, name: str) -> Tier:
        """Return the tier of a name: `device`, `host` or `disk`."""
        if name not in self._tiers:
            self._tiers[name] = (
                HostTier(self._traffic) if name == "host" else DiskTier(self._traffic, self._spill)
            )
        return self._tiers[name]

    def clear(self) -> None:
        """Forget what is kept."""
        for tier in self._tiers.values():
            tier.clear()

    def close(self) -> None:
        """Free everything."""
        for tier in self._tiers.values():
            tier.close()
        self._traffic.close()
        self._tiers.clear()
