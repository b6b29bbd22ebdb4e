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
from diffsim.language.fields import Valued
from diffsim.language.trace import Program
from diffsim.plan import Plan
from diffsim.plan.planning import adjoint_stages
from diffsim.rollout.inputs import Inputs
from diffsim.runtime import RuntimeInfo

__all__ = ["Arrays", "Probe", "other_precision"]

Arrays = dict[str, NDArray[Any]]


class Probe:
    """Run a program at any values of some fields, written to its memory and nowhere else.

    Args:
        engine: What runs; every other field has the value it was set to.
        inputs: Its inputs, up to date.
        fields: What to vary.
    """

    def __init__(self, engine: Engine, inputs: Inputs, fields: Sequence[Valued]) -> None:
        self.engine = engine
        self._buffers = {field.key: (inputs.buffer(field), field.type.shape) for field in fields}

    def values(self) -> Arrays:
        """Return the values in memory, worlds first where each world has its own."""
        read = self.engine.storage.read
        return {key: read(buffer, shape) for key, (buffer, shape) in self._buffers.items()}

    def write(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Put values into memory."""
        for key, array in values.items():
            buffer, shape = self._buffers[key]
            self.engine.storage.write(buffer, array, shape)

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
        found = {}
        for key, (buffer, shape) in self._buffers.items():
            gradient = self.engine.storage.read(self.engine.gradient_buffer(buffer), shape)
            found[key] = np.asarray(gradient, dtype=np.float64)
        return found

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
    engine = Engine(lowered, stages, dataclasses.replace(plan, mode=mode), info, verify=False)
    inputs = Inputs(engine)
    inputs.upload()
    return Probe(engine, inputs, fields)
