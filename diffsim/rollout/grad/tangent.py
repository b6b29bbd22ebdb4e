"""Forward mode of a whole rollout: the derivative of the cost along one direction, exact to rounding.

The program is lowered once more and each of its stages becomes its tangent (`compiler.autodiff.forward`).
Beside each buffer that gradients flow through stands another of the same kind, so that windows, worlds,
history and modes work on tangents as they do on values; it runs forward only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.autodiff.forward import tangent
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.compiler.program.program import lower_program
from diffsim.engine.engine import Engine
from diffsim.errors import GradientError
from diffsim.language.cells import Cells
from diffsim.language.trace import Program
from diffsim.plan import Plan
from diffsim.rollout.inputs import Inputs
from diffsim.runtime import RuntimeInfo

__all__ = ["Tangents", "tangent_program"]


@dataclasses.dataclass(frozen=True)
class _Beside:
    """What stands for the declaration of a tangent's buffer."""

    key: str
    label: str
    per_world: bool
    kind: str
    every: int


def tangent_program(lowered: LoweredProgram, real: str) -> tuple[LoweredProgram, dict[Buffer, Buffer]]:
    """Return the program that computes values and tangents together, and the tangent of each buffer.

    Args:
        lowered: The program; its buffers are taken over and lose their adjoints.
        real: The working precision, `f32` or `f64`.

    Raises:
        GradientError: A function has no known derivative, or a method has an adjoint of its own.
    """
    stages = lowered.begin + lowered.step + lowered.running + lowered.terminal
    given = next((stage.group.name for stage in stages if stage.group is not None), None)
    if given is not None:
        raise GradientError(f"{given} has an adjoint of its own, from which no tangent can be derived")
    originals = [*lowered.buffers.by_field.values(), *lowered.initial.values()]
    beside = {b: _beside(b) for b in originals if b.adjoint is not None}
    changes: dict[str, Any] = {
        name: [tangent(stage, real, beside) for stage in getattr(lowered, name)]
        for name in ("begin", "step", "running", "terminal", "frozen")
    }
    for name in ("clear", "clear_terminal"):
        cleared = getattr(lowered, name)
        changes[name] = [
            dataclasses.replace(c, buffer=b) for c in cleared for b in (c.buffer, beside.get(c.buffer)) if b
        ]
    for buffer in beside:
        buffer.adjoint = None
    for buffer in list(lowered.buffers.by_field.values()):
        if buffer in beside:
            lowered.buffers.by_field[id(beside[buffer])] = beside[buffer]
    initial = dict(lowered.initial)
    initial.update(
        {f"{key} (tangent)": beside[buffer] for key, buffer in lowered.initial.items() if buffer in beside}
    )
    changes |= {"initial": initial, "carried": {}, "kept": {}, "clear_adjoint": [], "backward": False}
    return dataclasses.replace(lowered, **changes), beside


def _beside(buffer: Buffer) -> Buffer:
    key, label = f"{buffer.source.key} (tangent)", f"the tangent of {buffer.label}"
    source = _Beside(key, label, buffer.per_world, buffer.source.kind, buffer.every)
    dot = Buffer(buffer.name + "_dot", buffer.kind, buffer.dtype, buffer.shape, buffer.components, source)
    dot.place, dot.arrangement = buffer.place, buffer.arrangement
    return dot


class Tangents:
    """Directional derivatives of the cost of a traced program.

    Args:
        program: The trace.
        info: How the runtime was started, with the precision to compute in.
        plan: How the rollout is run; its window and layout are kept.
        mode: `step` or `fused`.
        bare: Pass over surrogate adjoints.

    Raises:
        GradientError: A function has no known derivative.
    """

    def __init__(
        self, program: Program, info: RuntimeInfo, plan: Plan, mode: str, bare: bool = False
    ) -> None:
        with _taichi.default_real(info.real):
            lowered = lower_program(program, info.real, plan.steps, bare)
        made, self._beside = tangent_program(lowered, info.real)
        plan = plan.on(info)
        mode = "step" if mode == "tape" else mode  # Taichi's kernels know of no tangents
        layout = dataclasses.replace(plan.layout, checkpoints=0, windows=0, taped=False)
        chosen = dataclasses.replace(plan, mode=mode, layout=layout)
        self._engine = Engine(made, StageSet(made, [], [], [], []), chosen, info, verify=False)
        self._inputs = Inputs(self._engine)
        self._fields = program.fields
        self._cost = self._beside[made.buffers.by_field[id(program.simulator.cost)]]

    def slopes(
        self, values: Mapping[str, NDArray[Any] | Cells], direction: Mapping[str, NDArray[Any] | Cells]
    ) -> NDArray[np.float64]:
        """Return the derivative of each world's cost along a direction.

        Args:
            values: By field key, where to differentiate; other fields have the values they were set to. Of
                sparse layouts they are `Cells`.
            direction: By field key; zero for fields that are left out.

        Raises:
            StateError: A value or a derivative stops being finite on the way.
        """
        self._inputs.upload()
        storage = self._engine.storage
        for key, buffer in ((k, self._inputs.buffer(self._fields[k])) for k in values):
            storage.write(buffer, values[key], self._fields[key].type.shape)
        seeds = {self._inputs.buffer(self._fields[k]): k for k in direction}
        for buffer, dot in self._beside.items():
            if buffer in seeds:
                field = self._fields[seeds[buffer]]
                storage.write(dot, direction[field.key], field.type.shape)
            elif buffer.kind in ("param", "control"):
                storage.write(dot, np.zeros(()), (dot.components,))
        self._engine.forward()
        return np.array(storage.arrays(self._cost)[0], dtype=np.float64)

    def close(self) -> None:
        """Free all memory."""
        self._engine.close()
