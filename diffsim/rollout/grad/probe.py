"""Costs and gradients of a program at chosen values, beside what its user sees of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.codegen.stages import parameter_adjoints
from diffsim.compiler.program.program import lower_program
from diffsim.engine.engine import Engine
from diffsim.engine.pools import cells_together
from diffsim.language.cells import Cells, numbers_in, place_of
from diffsim.language.fields import Valued
from diffsim.language.trace import Program
from diffsim.plan import Plan
from diffsim.plan.planning import adjoint_stages
from diffsim.rollout.inputs import Inputs
from diffsim.runtime import RuntimeInfo

__all__ = ["Arrays", "Place", "Probe", "other_precision"]

Arrays = dict[str, NDArray[Any]]
Place = tuple[str, tuple[int, ...]]


class Probe:
    """Run a program at any values of some fields, written to its memory and nowhere else.

    A State with a sparse layout varies in the cells that are active at the beginning: its arrays are those of
    `Cells.values`, and have no other cells.

    Args:
        engine: What runs; every other field has the value it was set to.
        inputs: Its inputs, up to date.
        fields: What to vary.
    """

    def __init__(self, engine: Engine, inputs: Inputs, fields: Sequence[Valued]) -> None:
        self.engine = engine
        self._buffers = {field.key: (inputs.buffer(field), field.type.shape) for field in fields}
        self._cells = {field.key: self._read(field.key) for field in fields if field.sparse is not None}

    def _read(self, key: str, gradient: bool = False) -> Any:
        buffer, shape = self._buffers[key]
        buffer = self.engine.gradient_buffer(buffer) if gradient else buffer
        if buffer.place is not None:
            return cells_together(self.engine.storage, buffer, None, shape)
        return self.engine.storage.read(buffer, shape)

    def values(self) -> Arrays:
        """Return the values in memory, worlds first where each world has its own."""
        return {key: numbers_in(self._read(key)) for key in self._buffers}

    def formed(self, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return arrays in the form that memory is written in: `Cells` of sparse layouts."""
        cells = self._cells
        return {key: Cells(cells[key].indices, a) if key in cells else a for key, a in values.items()}

    def named(self, place: Place) -> Place:
        """Return a place as users know it: by its cell, where the layout is sparse."""
        key, index = place
        cells = self._cells.get(key)
        return place if cells is None else (key, place_of(cells, index, len(self._buffers[key][1])))

    def write(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Put values into memory."""
        for key, given in self.formed(values).items():
            buffer, shape = self._buffers[key]
            self.engine.storage.write(buffer, given, shape)

    def cost(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the cost at some values, summed over worlds."""
        self.write(values)
        self.engine.forward()
        return float(np.sum(self.engine.cost()))

    def gradient(self, values: Mapping[str, NDArray[Any]], mode: str | None = None) -> Arrays:
        """Return the gradients at some values, of the shape of the values and in f64.

        Args:
            values: Where.
            mode: Run in this mode instead of the engine's.
        """
        self.write(values)
        self.engine.backward(mode)
        found = {key: numbers_in(self._read(key, gradient=True)) for key in self._buffers}
        return {key: np.asarray(array, dtype=np.float64) for key, array in found.items()}

    @contextlib.contextmanager
    def preserved(self) -> Iterator[None]:
        """Put back the values and all gradients in memory afterwards, whatever happens."""
        storage, lowered = self.engine.storage, self.engine.lowered
        known = [*lowered.buffers.by_field.values(), *lowered.initial.values()]
        leaves = [b for b in known if b.kind in ("param", "control") and b.adjoint is not None]
        kept = [b for b, _ in self._buffers.values()] + parameter_adjoints(lowered)
        kept += [self.engine.gradient_buffer(b) for b in leaves]
        saved = {b: [np.array(a) for a in storage.arrays(b)] for b in dict.fromkeys(kept)}
        lengths = self.engine.lengths
        try:
            yield
        finally:
            for buffer, arrays in saved.items():
                storage.put(buffer, iter(arrays))
            self.engine.lengths = lengths

    def close(self) -> None:
        """Free all memory of the engine."""
        self.engine.close()


def other_precision(
    program: Program, info: RuntimeInfo, plan: Plan, mode: str, fields: Sequence[Valued], bare: bool = False
) -> Probe:
    """Make a probe of a program in another precision than the runtime's, with memory of its own.

    It may be another backend: `RuntimeInfo.in_double` is the CPU's beside one that has 32 bits alone.

    Args:
        program: The trace.
        info: The runtime, with the wanted precision.
        plan: How the program is run; its windows, lanes and checkpoints are kept.
        mode: `step` or `fused`.
        fields: What to vary.
        bare: Pass over surrogate adjoints.
    """
    with _taichi.default_real(info.real):
        lowered = lower_program(program, info.real, plan.steps, bare)
        stages = adjoint_stages(lowered, info.real, plan.steps, "")
    engine = Engine(lowered, stages, dataclasses.replace(plan.on(info), mode=mode), info, verify=False)
    inputs = Inputs(engine)
    inputs.upload()
    return Probe(engine, inputs, fields)
