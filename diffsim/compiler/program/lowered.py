"""What a program is once it is lowered: its stages, its memory, and what must be zeroed before they run."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from diffsim.compiler.checks.alarms import Alarms
from diffsim.compiler.checks.touching import Box
from diffsim.compiler.ir import Buffer, Stage, is_float
from diffsim.compiler.program.topology import Topology
from diffsim.compiler.reading.buffers import Buffers
from diffsim.language.trace import Program

__all__ = ["Clearing", "LoweredProgram"]


@dataclass(frozen=True)
class Clearing:
    """A buffer to zero at one time.

    Attributes:
        buffer: The buffer.
        time: Relative to the step; None for a buffer without a time axis.
        stored: By component, where kernels certainly store a value before anything else touches it, so that
            there is nothing to zero.
    """

    buffer: Buffer
    time: int | None
    stored: dict[int, Box] = field(default_factory=dict)


@dataclass
class LoweredProgram:
    """A program in the intermediate form.

    Attributes:
        program: The trace it came from.
        buffers: All memory, the initial values of States included.
        initial: For each State, the buffer of its initial value.
        begin: Stages before step 0: Scratches are zeroed, initial values are copied in, then `reset`.
        step, running, terminal: The stages of each.
        carried: For each State of real numbers, the buffer that carries its adjoint between segments.
        kept: For each State, the buffer of its checkpoints.
        whole: For each State and Scratch, the buffer that whole windows of it can be kept in.
        clear: What to zero before each step; `clear_terminal` before the terminal cost.
        alarms: What kernels look at while they run.
        history: Past steps that are readable, the largest of all States.
        ended: For each world the first step that it does not run; None where no kernel ends worlds.
        backward: It runs backward too; a tangent program does not.
        topologies: The sparse layouts of its fields.
        frozen: What a step does to a world that has ended: its States stay, its Scratches are zero.
    """

    program: Program
    buffers: Buffers
    initial: dict[str, Buffer]
    begin: list[Stage]
    step: list[Stage]
    running: list[Stage]
    terminal: list[Stage]
    history: int
    carried: dict[Buffer, Buffer] = field(default_factory=dict)
    kept: dict[Buffer, Buffer] = field(default_factory=dict)
    whole: dict[Buffer, Buffer] = field(default_factory=dict)
    clear: list[Clearing] = field(default_factory=list)
    clear_terminal: list[Clearing] = field(default_factory=list)
    alarms: Alarms = field(default_factory=Alarms)
    clear_adjoint: list[Clearing] = field(default_factory=list)
    ended: Buffer | None = None
    frozen: list[Stage] = field(default_factory=list)
    backward: bool = True
    topologies: list[Topology] = field(default_factory=list)

    @property
    def states(self) -> list[Buffer]:
        """The buffers of the States that steps write."""
        return [b for b in self.buffers.by_field.values() if b.kind == "state"]

    @property
    def constant_states(self) -> list[Buffer]:
        """The buffers of the States that no step writes, which are stored once."""
        derived = (b for b in self.buffers.by_field.values() if b.kind == "derived")
        return [b for b in derived if b.source.kind == "state"]

    @property
    def all_states(self) -> list[Buffer]:
        """The buffers of all States; those that no step writes come first."""
        return [*self.constant_states, *self.states]

    @property
    def reals(self) -> list[Buffer]:
        """The buffers of the States of real numbers that steps write."""
        return [b for b in self.states if is_float(b.dtype)]

    @property
    def constant_reals(self) -> list[Buffer]:
        """The buffers of the States of real numbers that no step writes."""
        return [b for b in self.constant_states if is_float(b.dtype)]

    @property
    def passing(self) -> list[Buffer]:
        """The buffers of the States that gradients flow through: of real numbers, where it runs backward."""
        return [b for b in self.states if b.adjoint is not None]

    @property
    def costs(self) -> list[Buffer]:
        """The buffer of the cost; a tangent program has another, of the cost's derivative."""
        return [b for b in self.buffers.by_field.values() if b.kind == "cost"]

    @functools.cached_property
    def cost_parts(self) -> dict[Buffer, Buffer]:
        """Where the lanes of a GPU add to costs, each to a copy of its own."""
        return {b: Buffer(f"{b.name}_parts", "parts", b.dtype, ()) for b in self.costs}
