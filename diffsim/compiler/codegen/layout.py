"""Which axes a buffer has in memory, and their lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffsim.compiler.ir import Buffer

__all__ = ["TAPE_BYTES", "Layout", "rounded"]

TAPE_BYTES = 256 << 20


def rounded(count: int, least: int = 16) -> int:
    """Return the number of places to make for so many things: the next power of two, and at least `least`."""
    return max(least, 1 << max(0, count - 1).bit_length())


@dataclass(frozen=True)
class Layout:
    """The sizes that decide the memory of a rollout.

    Attributes:
        steps: The horizon.
        worlds: Copies that run in parallel.
        groups: Parallel lanes of `fused` mode; each accumulates gradients of shared Params on its own.
        window: Steps in memory.
        history: Past steps that are readable, the largest of all States.
        checkpoints: Copies of the States that can be kept.
        world_last: The axis of parallel work (worlds, lanes) is the fastest in memory (GPU) instead of the
            slowest (CPU): neighbouring threads touch neighbouring places.
        windows: Copies of all values of a window that can be kept.
        width: Steps of a window that there is room for; 0 for no more than the window.
        room: Steps of a Control that there is room for; 0 for no more than the horizon.
        block: Worlds beside each other in memory, which machine code runs in one register: what steps compute
            lies in blocks of so many worlds, inside of which the world axis is the fastest; 1 for none.
        held: Scratches are in memory for each step of the window; else for one step, and the steps of the
            window are run again on the way back, each before its adjoint.
        lanes: Threads of a GPU that add to the same place of a gradient of a shared Param in modes `step` and
            `chunk`, each to a copy of its own; on a CPU 1.
        parts: Those that add to the cost of the same world, likewise.
        alone: Names of such gradients of which no thread meets another: they have one copy.
        tape_bytes: What the threads of a GPU may record together in one stage.
        taped: Adjoints lie as values do, one for each: Taichi's own reverse mode finds them so.

    With room to spare rollouts of other horizons have the same memory, and so the same compiled kernels.
    """

    steps: int
    worlds: int
    groups: int
    window: int
    history: int
    checkpoints: int
    world_last: bool = False
    windows: int = 0
    width: int = 0
    room: int = 0
    block: int = 1
    held: bool = True
    lanes: int = 1
    parts: int = 1
    alone: frozenset[str] = frozenset()
    tape_bytes: int = TAPE_BYTES
    taped: bool = False

    @property
    def blocks(self) -> int:
        """Count the blocks of worlds; the last one may have room to spare."""
        return -(-self.worlds // self.block)

    @property
    def sums(self) -> int:
        """Count the places in which gradients of shared Params are added up, each by itself."""
        return max(self.groups * self.block, self.lanes)

    def copies(self, buffer: Buffer) -> int:
        """Count the copies of a gradient of what worlds share, which are summed behind the backward pass."""
        return 1 if buffer.name in self.alone else self.sums

    @property
    def slots(self) -> int:
        """Count the times at which States are in memory."""
        return (self.width or self.window) + self.history

    def times(self, control: Buffer) -> int:
        """Count the entries of a Control that there is room for."""
        return -(-(self.room or self.steps) // control.every)

    def entries(self, control: Buffer) -> int:
        """Count the entries of a Control that there are."""
        return -(-self.steps // control.every)

    @property
    def ring(self) -> int:
        """Count the times at which the adjoints of States are in memory: those that one step touches.

        The adjoint of `x[t + k]` is at the remainder of the slot of `x[t + k]` by this number.
        """
        return self.slots if self.taped else self.history + 1

    def ring_of(self, slot: str) -> str:
        """Return the text of where the adjoint of a State is whose slot has the given text."""
        return slot if self.taped else f"({slot}) % {self.ring}"

    @staticmethod
    def is_shared(buffer: Buffer) -> bool:
        """Tell whether a buffer is the gradient of what worlds share."""
        return buffer.is_adjoint and buffer.kind in ("param", "constant", "control") and not buffer.per_world

    def axes(self, buffer: Buffer) -> tuple[str, ...]:
        """Return the axes before the spatial ones, slowest first: `world`, `group`, `lane`, `slot`, ..."""
        kind = buffer.kind
        if kind == "state":
            return ("world", "ring") if buffer.is_adjoint and not self.taped else ("world", "slot")
        if kind == "scratch":
            alone = buffer.is_adjoint and not self.taped
            return ("world",) if alone or not self.held else ("world", "slot")
        if kind in ("param", "constant", "control"):
            time = ("time",) if kind == "control" else ()
            if buffer.per_world:
                return ("world", *time)
            return ("group", *time) if buffer.is_adjoint and self.copies(buffer) > 1 else time
        if kind in ("cost", "norms", "done", "workspace", "derived", "key", "table"):
            return ("world",)
        if kind == "alarm":
            return ("world",)
        if kind == "parts":
            return ("part", "world")
        if kind == "carry":
            return ("world", "history")
        if kind == "checkpoint":
            return ("checkpoint", "world", "history")
        if kind in ("whole state", "whole scratch"):
            return ("kept", "world", "slot")
        if kind == "tape":
            return ("lane",)
        return ()

    def beside(self, buffer: Buffer) -> int:
        """Return the axis whose neighbours lie beside each other in blocks, -1 for none."""
        return self._parallel(buffer) if self.block > 1 else -1

    def innermost(self, buffer: Buffer) -> int:
        """Return the axis that lies behind those of space though its index comes first, -1 for none."""
        return self._parallel(buffer) if self.world_last else -1

    def _parallel(self, buffer: Buffer) -> int:
        """Return the axis that tells threads apart, -1 for none."""
        axes = self.axes(buffer)
        return next((axes.index(axis) for axis in ("world", "group", "lane") if axis in axes), -1)

    def block_of(self, buffer: Buffer) -> int:
        """Return how many neighbours on that axis lie beside each other: a block of them, or all.

        What is set and read from outside has all worlds beside each other.
        """
        given = buffer.kind in ("param", "constant", "control") and buffer.per_world
        return self.worlds if given or buffer.kind == "cost" else self.block

    def shape(self, buffer: Buffer, lanes: int = 1) -> tuple[int, ...]:
        """Return the lengths of all axes, in the order of the indices; whole blocks of worlds."""
        block = self.block_of(buffer)
        sizes = {
            "world": -(-self.worlds // block) * block,
            "group": self.sums,
            "part": self.parts,
            "lane": -(-lanes // self.block) * self.block,
            "slot": self.slots,
            "ring": self.ring,
            "time": self.times(buffer),
            "history": self.history,
            "checkpoint": max(1, self.checkpoints),
            "kept": max(1, self.windows),
        }
        dims = tuple(sizes[axis] for axis in self.axes(buffer)) + buffer.shape
        return self.order(buffer, dims)

    def order(self, buffer: Buffer, items: tuple) -> tuple:
        """Put the items of the axes (lengths or indices), given world first, in memory order."""
        k = self.innermost(buffer)
        return items if k < 0 else (*items[:k], *items[k + 1 :], items[k])

    def bytes(self, buffer: Buffer, lanes: int = 1) -> int:
        """Return the memory of a buffer."""
        size = 8 if buffer.dtype in ("f64", "i64", "u64") else 4
        for n in self.shape(buffer, lanes):
            size *= n
        if buffer.arrangement is not None:  # with room to spare
            size = size // math.prod(buffer.shape) * math.prod(buffer.arrangement.lengths)
        return size * buffer.components
