"""Stages that add the gradient of an energy to fields: what `ds.gradient_of` puts into a step.

The kernel of the energy is differentiated as the kernels of a rollout are, with 1 as the adjoint of the
energy and the user's field in place of the adjoint of what it is differentiated by. The result is a stage
like any other, so that the rollout differentiates it in turn. What the kernel writes on its way to the energy
is written to hidden Scratches, and has its adjoint in others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.autodiff.flow import Flow
from diffsim.compiler.autodiff.liveness import drop_unused
from diffsim.compiler.autodiff.reverse import Reverser
from diffsim.compiler.autodiff.simplify import simplify
from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.diagnostics import raise_all, refuse
from diffsim.compiler.checks.findings import told
from diffsim.compiler.checks.ranges import Times
from diffsim.compiler.checks.touching import Access, accesses_of, may_follow
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Load,
    Location,
    Memory,
    Ref,
    Stage,
    Store,
    accesses_in,
    blocks_of,
)
from diffsim.compiler.program.dependence import Dependence, Slot
from diffsim.compiler.program.keeping import keep_overwritten
from diffsim.compiler.program.records import record_tapes
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic
from diffsim.language.derivatives import EnergyGradient
from diffsim.language.fields import Field, Scratch

__all__ = ["Setting", "energy_stages"]


@dataclass(frozen=True)
class Setting:
    """What is around the call of a gradient.

    Attributes:
        buffers: The program's memory.
        phase: Where it is called.
        before: The stages that run before it.
        times: The steps that it runs for.
    """

    buffers: Buffers
    phase: str
    before: Sequence[Stage]
    times: Times


def energy_stages(stages: list[Stage], gradient: EnergyGradient, setting: Setting) -> list[Stage]:
    """Return the stages that add the gradient of an energy.

    Args:
        stages: The kernels that compute the energy, in order; they are changed.
        gradient: What the user asks for.
        setting: What is around.

    Raises:
        TraceError: There is no such energy, the kernels do more than compute it, or its derivative would not
            be the whole one.
        GradientError: A function has no known derivative, or a loop no known bound.
    """
    energy = _Energy(stages, gradient, setting)
    energy.check_stages()
    energy.find()
    energy.check_held()
    energy.separate()
    return energy.differentiated()


class _Energy:
    """One energy: where it is added up, what it is differentiated by, what is stored on the way."""

    def __init__(self, stages: list[Stage], gradient: EnergyGradient, setting: Setting) -> None:
        self.stages, self.gradient, self.setting = stages, gradient, setting
        self.buffers = setting.buffers
        self.targets: dict[Slot, Ref] = {}
        self.buffer: Buffer | None = None
        self.inner: list[Buffer] = []  # Scratches that the kernels write and read
        self.adjoints: dict[Buffer, Buffer] = {}
        self.hidden: set[Buffer] = set()
        self.zeroed: set[Buffer] = set()  # those of them that are stored more than once

    # ---- what is asked for ----

    def check_stages(self) -> None:
        """Refuse kernels that do more than add up an energy."""
        if self.setting.phase == "reset":
            self._refuse(
                None, "must be called in step or in costs, got reset; use ds.grad of a function there"
            )
        for stage in self.stages:
            if stage.adjoint is not None:
                self._refuse(
                    stage.where,
                    f"must differentiate the kernel, got {stage.name} with an adjoint of its own, which is "
                    "not differentiated again; take a kernel without one",
                )
            for op in accesses_in(stage.body):
                if isinstance(op, Load):
                    if op.claim:
                        self._refuse(
                            op.where,
                            "must get kernels that leave done alone, got one that sets it; set it in another",
                        )
                    continue
                allowed = op.ref.buffer.kind == "scratch" or op.ref.buffer is self._of()
                if not allowed or op.ref.buffer.is_adjoint:
                    self._refuse(
                        op.where,
                        f"must get kernels that write Scratches only, got a write to {op.ref.buffer.label}; "
                        "move it to another kernel",
                    )

    def _of(self) -> Buffer | None:
        wanted = self.gradient.of
        if wanted is not None and wanted.kind == "cost":
            return next(b for b in self.buffers.by_field.values() if b.kind == "cost")
        return None if wanted is None else self._buffer(wanted)

    def find(self) -> None:
        """Find the energy among what the kernels write, and what it is differentiated by."""
        ops = [op for stage in self.stages for op in accesses_in(stage.body)]
        written = {op.ref.buffer: op.where for op in ops if not isinstance(op, Load)}
        read = {op.ref.buffer: op.where for op in ops if isinstance(op, Load)}
        wanted = self._of()
        found = [b for b in written if _is_number(b) and b not in read] if wanted is None else [wanted]
        if len(found) != 1 or found[0] not in written:
            names = ", ".join(b.label for b in found) if wanted is None else "none"
            self._refuse(
                self.stages[0].where,
                f"must get a kernel that adds to one Scratch of one number, got {names or 'none'}; write "
                "self.energy[t] += ..., or name the Scratch with of=...",
            )
        self.buffer = found[0]
        if self.buffer in read:
            self._refuse(
                read[self.buffer],
                f"must get kernels that only add to {self.buffer.label}, got a read; move it to another one",
            )
        self.inner = [b for b in written if b in read and b is not self.buffer]
        for source, into in zip(self.gradient.wrt, self.gradient.into, strict=True):
            target = self._buffer(into)
            if target in written:
                self._refuse(
                    written[target],
                    f"must add to {target.label} alone, got a kernel that writes it; name another into=",
                )
            if target.kind == "state" and self.setting.phase != "step":
                self._refuse(
                    None, f"must add to a Scratch in {self.setting.phase}, got {target.label}; declare one"
                )
            time = 1 if target.kind == "state" else 0
            slot = self._slot(self._buffer(source), {op.ref.time for op in ops if self._reads(op, source)})
            if slot[0] in written:
                self._refuse(
                    written[slot[0]],
                    f"must get kernels that leave alone what it differentiates by, got a write to "
                    f"{slot[0].label}; move it to another kernel",
                )
            if slot[0].kind == "control":
                self._check_control(slot[0])
            self.targets[slot] = Ref(target, (), 0, time)

    def _check_control(self, source: Buffer) -> None:
        """Refuse a Control that is read at other steps: the derivative of those would be missing."""
        for stage in self.stages:
            for op in accesses_in(stage.body):
                if op.ref.buffer is source and op.ref.indices[0] is not stage.t:
                    self._refuse(
                        op.where,
                        f"must get an energy that reads {source.label} at t to be differentiated by it, got "
                        "another step; take the derivative by a Scratch that the Control is copied to",
                    )

    def _reads(self, op: Memory, source: Field) -> bool:
        return isinstance(op, Load) and op.ref.buffer is self._buffer(source)

    def _slot(self, source: Buffer, times: set[int | None]) -> Slot:
        """Return a field to differentiate by, and the time that is meant."""
        wanted = {self.gradient.at} if self.gradient.at is not None and source.kind == "state" else times
        if not times & wanted:
            got = f"none at the time at={self.gradient.at}" if times else "none"
            self._refuse(
                self.stages[0].where,
                f"must get an energy that reads what it is differentiated by, {source.label}, got {got}, so "
                "that its gradient would be 0; name what it reads",
            )
        if len(wanted) > 1:
            self._refuse(
                self.stages[0].where,
                f"must know which {source.label} is meant, got an energy that reads it at several times; "
                "name one by at=0 for t, or at=1 for t + 1",
            )
        return source, wanted.pop()

    def _buffer(self, declared: Field) -> Buffer:
        buffer = self.buffers.by_field.get(id(declared))
        if buffer is None:
            self._refuse(
                None,
                f"must get fields of the simulator or of its parts, got {declared!r}, which no attribute "
                "path from the simulator leads to; assign it to an attribute",
            )
        return buffer

    def check_held(self) -> None:
        """Refuse an energy that reads what other kernels have made of what it is differentiated by."""
        dependence = Dependence(self.setting.before, self.targets)
        own = {stage.where for stage in self.stages}
        held = {self._buffer(declared) for declared in self.gradient.hold}
        held |= {buffer for buffer, _ in self.targets if self.gradient.at is not None}
        loads = [op for stage in self.stages for op in accesses_in(stage.body) if isinstance(op, Load)]
        for load in loads:
            buffer = load.ref.buffer
            if (buffer, load.ref.time) in self.targets or buffer in [*held, *self.inner]:
                continue
            if dependence.reaches(load):
                self._refuse(
                    load.where,
                    f"must see all that the energy is made of, got a read of {buffer.label}, which "
                    "another kernel of the step makes of what it is differentiated by; give that kernel too, "
                    "gradient_of((first, energy), ...), or let the field count as constant by hold=...",
                )
        for stage in self.setting.before:
            for op in accesses_in(stage.body):
                if not isinstance(op, Load) and op.ref.buffer in self.inner and stage.where not in own:
                    self._refuse(
                        op.where,
                        f"must get kernels with Scratches of their own, got {op.ref.buffer.label}, which "
                        f"{stage.name} writes too; declare another Scratch for one of them",
                    )

    # ---- its gradient ----

    def separate(self) -> None:
        """Let the kernels write hidden Scratches in place of those that they read again."""
        copies = {buffer: self._hidden(buffer, "copy") for buffer in self.inner}
        self.hidden = set(copies.values())
        for op in (op for stage in self.stages for op in accesses_in(stage.body)):
            if op.ref.buffer in copies:
                op.ref = replace(op.ref, buffer=copies[op.ref.buffer])
        for (buffer, _, _), accesses in accesses_of(self.stages).items():
            again = _stored_again(accesses)
            if buffer is self.buffer and again is not None:
                self._refuse(
                    again.op.where,
                    f"must get kernels that add to {buffer.label}, got a store that may come after another "
                    "write there; add with +=",
                )
            if buffer in self.hidden and isinstance(accesses[0].op, Load):
                self._refuse(
                    accesses[0].op.where,
                    f"must get kernels that write {buffer.label} before they read it, got a read of what "
                    "another call has left there; declare another Scratch",
                )
            if buffer in self.hidden and again is not None:
                self.zeroed.add(buffer)
        self.stages, seen = keep_overwritten(self.stages, self.buffers, self.setting.times)
        raise_all(told([finding for finding in seen.findings if finding.buffer in self.hidden]))
        for access in (op for stage in self.stages for op in accesses_in(stage.body)):
            if isinstance(access, Load) and access.kept is not None:
                self.buffers.differentiate(access.kept.buffer)
                self.hidden.add(access.kept.buffer)

    def differentiated(self) -> list[Stage]:
        """Return the kernels as far as the gradient needs what they store, and the gradient behind them."""
        active = self._active_inner()
        seeds = {self._energy_buffer: self.gradient.scale}
        flow = Flow(lambda ref: self._place(ref, active), seeds, twice=True, zeroed=self.zeroed)
        backward: list[Stage] = []
        for stage in reversed(self.stages):
            values = active_values(stage.body, lambda op: self._place(op.ref, active) is not None)
            b = Builder(self.buffers.real)
            Reverser(stage, b, f"energy{len(self.buffers.by_field)}", values, flow=flow).run()
            name, note = f"{stage.name} gradient", self._note(stage.name)
            backward.append(replace(stage, name=name, body=b.block, notes=(*stage.notes, note)))
        self._drop_unread(backward)
        for stage in backward:
            simplify(stage.body)
            record_tapes(stage, self.buffers, self.setting.times)
        for stage in self.stages:
            _strip(stage.body, self.hidden)
            drop_unused(stage.body)
        return [stage for stage in [*self.stages, *backward] if stage.body.ops]

    @property
    def _energy_buffer(self) -> Buffer:
        assert self.buffer is not None  # noqa: S101  (see `find`)
        return self.buffer

    def _note(self, name: str) -> str:
        by = ", ".join(source.label for source in self.gradient.wrt)
        into = ", ".join(target.label for target in self.gradient.into)
        return f"{name} is differentiated: the gradient of {self._energy_buffer.label} by {by} goes to {into}"

    def _place(self, ref: Ref, active: set[Buffer]) -> Ref | None:
        target = self.targets.get((ref.buffer, ref.time))
        if target is not None:
            indices = ref.indices[ref.buffer.kind == "control" :]  # whose first index is the step
            return replace(ref, buffer=target.buffer, indices=indices, time=target.time)
        if ref.buffer not in active:
            return None
        if ref.buffer not in self.adjoints:
            self.adjoints[ref.buffer] = self._hidden(ref.buffer, "adjoint")
        return replace(ref, buffer=self.adjoints[ref.buffer])

    def _active_inner(self) -> set[Buffer]:
        """Return the hidden Scratches that depend on what is differentiated by."""
        active: set[Buffer] = set()

        def begins(op: Load) -> bool:
            return (op.ref.buffer, op.ref.time) in self.targets or op.ref.buffer in active

        while True:
            before = len(active)
            for stage in self.stages:
                values = active_values(stage.body, begins)
                active |= {
                    op.ref.buffer
                    for op in accesses_in(stage.body)
                    if not isinstance(op, Load) and op.ref.buffer in self.hidden and op.value in values
                }
            if len(active) == before:
                return active

    def _hidden(self, like: Buffer, what: str) -> Buffer:
        field = Scratch(like.source.type, *like.shape)
        field.key = like.source.key  # what messages call it
        return self.buffers.add(field, f"{field.key} {what}")

    def _drop_unread(self, stages: list[Stage]) -> None:
        """Drop what is added to adjoints that nothing reads, with the adjoints."""
        while True:
            read = {op.ref.buffer for s in stages for op in accesses_in(s.body) if isinstance(op, Load)}
            unread = {key: b for key, b in self.adjoints.items() if b not in read}
            if not unread:
                return
            for key, buffer in unread.items():
                del self.adjoints[key]
                del self.buffers.by_field[id(buffer.source)]
            for stage in stages:
                _strip(stage.body, set(), set(unread.values()))
                drop_unused(stage.body)

    def _refuse(self, where: Location | None, message: str) -> NoReturn:
        place = where or self.stages[0].where
        refuse(Diagnostic("ENERGY", str(place), f"gradient_of {message}"))


def _stored_again(accesses: list[Access]) -> Access | None:
    """Return a store that may come after another write of the same place."""
    writes = [a for a in accesses if not isinstance(a.op, Load)]
    stores = (a for a in writes if isinstance(a.op, Store))
    return next((a for a in stores if any(may_follow(first, a, again=True) for first in writes)), None)


def _is_number(buffer: Buffer) -> bool:
    return buffer.kind == "scratch" and buffer.shape == () and buffer.components == 1


def _strip(block: Block, kept: set[Buffer], dropped: set[Buffer] | None = None) -> None:
    """Drop writes, in place: those to other buffers than some, or those to some."""
    block.ops = [
        op
        for op in block.ops
        if not isinstance(op, Store | Accumulate)
        or (op.ref.buffer in kept if dropped is None else op.ref.buffer not in dropped)
    ]
    for op in block.ops:
        for inner in blocks_of(op):
            _strip(inner, kept, dropped)
