"""Reading the adjoints of States on their way back through time: their norms, or the numbers themselves."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.builder import Builder
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet, adjoint_of
from diffsim.compiler.ir import Buffer, Operand, Ref, Stage, Value
from diffsim.compiler.program.copying import over_elements
from diffsim.engine.engine import Engine
from diffsim.engine.measure import measuring, norms_buffer, norms_of
from diffsim.engine.modes import Extension

__all__ = ["Recorder", "measured_backward"]


def measured_backward(engine: Engine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run forward and backward; return the costs and the adjoint norm per world and step, 0 .. steps.

    Gradients are left on the device, finite or not. Behind the end of a world that ends early are zeros.
    """
    steps, storage = engine.plan.steps, engine.storage
    norms = storage.once(norms_buffer(steps))
    storage.write(norms, np.zeros(()), (norms.components,))  # worlds that end early leave some out
    measure = Extension("norms", partial(measuring, norms=norms))
    cost = engine.extended_backward(measure, engine.lookout.measure)
    return cost, norms_of(storage.arrays(norms), steps)


class Recorder:
    """Copies the adjoints of States in some steps, inside the launches of the backward pass.

    Each step writes them over those of the step behind it, `every` steps to a place, so that the last one to
    write is the one that is wanted, `t % every == 0`: there is no branch. Places are used anew segment by
    segment, and what is in them goes to the host in between. What the terminal cost leaves has a place of its
    own: it is the adjoint of a world that has ended, from its end on.

    Args:
        engine: What runs.
        states: Buffers of States of real numbers.
        every: Steps between frames.

    Attributes:
        bytes: The memory of the places, beside the plan's.
        frames: Frames of each State: t = 0, every, 2 every, ... up to and including the horizon.
    """

    def __init__(self, engine: Engine, states: list[Buffer], every: int) -> None:
        self._engine, self._every = engine, every
        layout = engine.plan.layout
        self._places = places_for(layout, every)
        self._records = {state: self._buffer(state) for state in states}
        self.bytes = sum(layout.bytes(record) for record in self._records.values())
        self.frames = layout.steps // every + 1
        self._until = 0

    def _buffer(self, state: Buffer) -> Buffer:
        shape = (self._places + 1, *state.shape)
        return Buffer(f"{state.name}_adjoints", "norms", state.dtype, shape, state.components)

    @property
    def host_bytes(self) -> int:
        """The memory of all frames, on the host."""
        places = self._places + 1
        return self.bytes // places * self.frames

    def run(self) -> tuple[NDArray[np.float64], dict[Buffer, NDArray[Any]]]:
        """Run forward and backward.

        Returns:
            The costs, and for each State an array (frames, worlds, *shape, components). They are no more than
            begun where a cost is not finite.
        """
        engine = self._engine
        worlds = engine.plan.worlds
        self._records = {state: engine.storage.once(record) for state, record in self._records.items()}
        found = {
            state: np.zeros((self.frames, worlds, *state.shape, state.components), _taichi.NUMPY[state.dtype])
            for state in self._records
        }
        self._until = engine.plan.steps

        def fetch(t0: int) -> None:
            engine.lookout.measure(t0)
            for state, frames in found.items():
                self._fetch(t0, state, frames)
            self._until = t0

        key = "adjoints", self._every, *(state.name for state in self._records)
        cost = engine.extended_backward(Extension(key, self._recording), fetch)
        if np.all(np.isfinite(cost)):
            for state, frames in found.items():
                self._end(state, frames)
        return cost, found

    def _fetch(self, t0: int, state: Buffer, frames: NDArray[Any]) -> None:
        """Copy the frames of the steps from `t0` on, up to those fetched before, out of their places."""
        first, until = -(-t0 // self._every), -(-self._until // self._every)
        if first == until:
            return
        places = np.arange(first, until) % self._places
        for c, array in enumerate(self._engine.storage.arrays(self._records[state], places)):
            frames[first:until, ..., c] = np.swapaxes(array, 0, 1)

    def _end(self, state: Buffer, frames: NDArray[Any]) -> None:
        """Give each world, from its own end on, what the terminal cost has left."""
        lengths = self._engine.lengths
        assert lengths is not None  # noqa: S101  (the forward pass has told them)
        times = self._every * np.arange(self.frames)
        for c, array in enumerate(self._engine.storage.arrays(self._records[state], [self._places])):
            for world, length in enumerate(lengths):
                frames[times >= length, world, ..., c] = array[world, 0]

    def _recording(self, stages: StageSet) -> StageSet:
        """Return stages that copy as well; behind the adjoints of step `t` that of `x[t]` is complete."""
        step, terminal = self._copying(ending=False), self._copying(ending=True)
        return dataclasses.replace(
            stages, step_adj=[*step, *stages.step_adj], terminal_adj=[*terminal, *stages.terminal_adj]
        )

    def _copying(self, ending: bool) -> list[Stage]:
        return [self._copy_stage(state, record, ending) for state, record in self._records.items()]

    def _copy_stage(self, state: Buffer, record: Buffer, ending: bool) -> Stage:
        t, b, adjoint = Value("i32"), Builder(state.dtype), adjoint_of(state)

        def copy(indices: tuple[Operand, ...]) -> None:
            place: Operand = b.const(self._places)
            if not ending:
                number = b.op("floordiv", t, b.const(self._every))
                place = b.op("mod", number, b.const(self._places))
            for c in range(state.components):
                b.store(Ref(record, (place, *indices), c), b.load(Ref(adjoint, indices, c, 0)))

        over_elements(b, state.shape, copy)
        return Stage(f"copy the adjoint of {state.name}", t, b.block)


def places_for(layout: Layout, every: int) -> int:
    """Return how many places hold the frames of any one segment; equal for horizons of equal memory."""
    return ((layout.width or layout.window) - 1) // every + 2
