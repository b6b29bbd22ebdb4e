"""One part of a program, `reset`, `step` or `terminal_cost`, while its accesses go to pools."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from diffsim.compiler.checks.alarms import Alarms
from diffsim.compiler.checks.diagnostics import refuse
from diffsim.compiler.ir import Block, Buffer, Const, Group, Load, Memory, Ref, Stage, accesses_in
from diffsim.compiler.program.sparse.marks import Marker
from diffsim.compiler.program.sparse.placing import Moments, Placer
from diffsim.compiler.program.sparse.stages import closing, opening, slots_stage, zero_first, zero_stage
from diffsim.compiler.program.topology import Topology, Version, hidden_scratch
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import Diagnostic

__all__ = ["Known", "Phase"]


@dataclass
class Known:
    """What the phases of a program share.

    Attributes:
        buffers: The program's memory.
        all: The layouts.
        by_buffer: By field and adjoint, its layout.
        activities: By the buffer that kernels read activity from, its layout.
        real: The working precision.
        alarms: Where alarms are added.
        groups: Methods with adjoints of their own, by what they were before.
    """

    buffers: Buffers
    all: list[Topology]
    by_buffer: dict[Buffer, Topology]
    activities: dict[Buffer, Topology]
    real: str
    alarms: Alarms
    groups: dict[Group, Group] = field(default_factory=dict)

    @classmethod
    def of(cls, buffers: Buffers, found: list[Topology], real: str, alarms: Alarms) -> Known:
        """Return what is known of the layouts of a program."""
        by_buffer = {one: t for t in found for b in t.fields for one in (b, b.adjoint) if one is not None}
        by_layout = {t.layout: t for t in found}
        activities = {buffer: by_layout[buffer.source] for buffer in buffers.activities.values()}
        return cls(buffers, found, by_buffer, activities, real, alarms)

    def placer(self, adjoint: bool = False) -> Placer:
        """Return what places the accesses of a stage."""
        return Placer(self.by_buffer, self.activities, self.real, adjoint)

    def adjoints(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return stages of an adjoint that the user wrote, placed."""
        return [self.placer(adjoint=True).stage(stage) for stage in stages]

    def group(self, group: Group | None) -> Group | None:
        """Return a group whose adjoint is placed."""
        if group is not None and group not in self.groups:
            self.groups[group] = Group(group.name, cache(lambda: self.adjoints(group.adjoint())))
        return None if group is None else self.groups[group]


class Phase:
    """One part of a program.

    Args:
        known: What all parts share.
        name: `begin`, `step` or `terminal`.
    """

    def __init__(self, known: Known, name: str) -> None:
        self.known, self.name = known, name
        self._upto: dict[Topology, Buffer] = {}
        self._batches: dict[Topology, int] = {}
        self._used: dict[Topology, None] = {}
        if name == "step":
            self._used = {t: None for t in known.all if not t.fixed}

    def growing(self, topology: Topology) -> Version | None:
        """Return the blocks that kernels of this part add to; None where they add none."""
        if self.name == "step":
            return topology.at(1 if topology.carried else 0)
        if self.name == "begin":
            return topology.at(0) if topology.carried else None
        return None if topology.carried else topology.at(0)

    # ---- around the kernels ----

    def opening(self) -> list[Stage]:
        """Return what stands before the kernels of this part."""
        found: list[Stage] = []
        for topology in self._used:
            grows, real = self.growing(topology), self.known.real
            empty = grows is not None and self.name != "begin"  # reset adds to those of first values
            given = [topology.at(0)] if topology.carried else []
            note = self._noted(topology, 0) if grows is not None else None
            found.append(opening(topology, given, grows if empty else None, note, real))
            if empty and grows is not None:
                found.append(zero_first(grows, self._zeroed(topology), real))
        return found

    def closing(self) -> list[Stage]:
        """Return what stands behind the kernels of this part."""
        found = []
        for topology in self._used:
            grows = self.growing(topology)
            given = [topology.at(0)] if topology.carried and self.name != "begin" else []
            versions = [*given, *([grows] if grows is not None else [])]
            found.append(closing(topology, versions, self.known.real))
        return found

    # ---- kernels ----

    def placed(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return stages that access pools, each behind those that find the blocks that it will write."""
        return [new for stage in stages for new in self._placed(stage)]

    def _placed(self, stage: Stage) -> list[Stage]:
        used = self._layouts_of(stage)
        if not used and stage.group is None:
            return [stage]
        self._used.update(dict.fromkeys(t for t in used if not t.fixed))
        self._check_versions(stage)
        found: list[Stage] = []
        moments: list[Moments] = []
        for batch in self._batches_of(stage):
            moments += [self._moments()] * len(batch)
            found += self._marked(stage, batch, moments)
        new, given = self.known.placer().stage(stage, moments), stage.adjoint
        if found:
            note = (
                "its index computation alone is run before it, to find the blocks of cells that it will write"
            )
            new.notes = (*new.notes, note)
        if given is not None:
            new.adjoint = cache(lambda: self.known.adjoints([given()])[0])
        group = self.known.group(stage.group)
        return [replace(one, group=group, loop=stage.loop) for one in [*found, new]]

    def _marked(self, stage: Stage, batch: range, moments: list[Moments]) -> list[Stage]:
        """Return the stages that activate the blocks which some operations of a stage will write."""
        marker = Marker(self.known.by_buffer, self.known.activities, self.known.real)
        later = [self._moments()] * (len(stage.body.ops) - len(moments))
        marks, versions = marker.stage_of(stage, [*moments, *later], batch)
        if marks is None:
            return []
        _check_loop(stage)
        return [marks, *(made for version in versions for made in self._activated(version))]

    def _batches_of(self, stage: Stage) -> list[range]:
        """Return the operations of a stage that are looked at together for the blocks that they write.

        A loop over active cells that comes behind one that writes them goes over the new ones too: these must
        be there before it is known what it writes itself.
        """
        starts: list[int] = [0]
        written: set[tuple[Topology, int | None]] = set()
        for place, op in enumerate(stage.body.ops):
            accesses = list(accesses_in(Block([op])))
            if any(self._version_read(access) in written for access in accesses):
                starts.append(place)
                written.clear()
            written |= {self._version_of(access) for access in accesses if self._writes(access)}
        return [range(*bounds) for bounds in itertools.pairwise([*starts, len(stage.body.ops)])]

    def _version_read(self, op: Memory) -> tuple[Topology, int | None] | None:
        """Return the blocks that are asked for which of them are active; None for any other access."""
        topology = self.known.activities.get(op.ref.buffer)
        return None if topology is None else (topology, topology.at(op.ref.time).time)

    def _version_of(self, op: Memory) -> tuple[Topology, int | None]:
        topology = self.known.by_buffer[op.ref.buffer]
        return topology, topology.version(op.ref.buffer, op.ref.time).time

    def _activated(self, version: Version) -> list[Stage]:
        """Return the stages that give slots to marked blocks, and zero these."""
        topology, number = version.topology, self._batches.get(version.topology, 0)
        self._batches[topology] = number + 1
        before, upto = self._noted(topology, number), self._noted(topology, number + 1)
        return [
            slots_stage(version, upto, self.known.alarms, self.known.real),
            zero_stage(version, self._zeroed(topology), before, self.known.real),
        ]

    def _noted(self, topology: Topology, number: int) -> Ref:
        """Return where it is noted how many blocks were active after so many kernels that add some."""
        if topology not in self._upto:
            key = f"{topology.name} upto in {self.name}"
            self._upto[topology] = hidden_scratch(self.known.buffers, key, (1,), self.name == "begin")
        buffer = self._upto[topology]
        buffer.shape = (max(buffer.shape[0], number + 1),)
        return Ref(buffer, (Const(number, "i32"),), 0, None if self.name == "begin" else 0)

    def _zeroed(self, topology: Topology) -> list[Buffer]:
        """Return the pools in which blocks that become active are zeroed."""
        kinds = {"begin": ("state",), "step": ("state", "scratch", "workspace")}
        return [b for b in topology.fields if b.kind in kinds.get(self.name, ("scratch", "workspace"))]

    def _moments(self) -> Moments:
        """Return where it is told how many blocks are active now, of those that grow."""
        found: dict[tuple[Topology, int | None], Ref | None] = {}
        for topology in self._used:
            grows = self.growing(topology)
            if grows is not None:
                found[topology, grows.time] = self._noted(topology, self._batches.get(topology, 0))
        return found

    # ---- looking ----

    def _layouts_of(self, stage: Stage) -> list[Topology]:
        found: dict[Topology, None] = {}
        for op in accesses_in(stage.body):
            kept = op.kept.buffer if isinstance(op, Load) and op.kept is not None else None
            for buffer in (op.ref.buffer, kept):
                if buffer is None:
                    continue
                topology = self.known.by_buffer.get(buffer) or self.known.activities.get(buffer)
                if topology is not None:
                    found[topology] = None
        return list(found)

    def _writes(self, op: Memory) -> bool:
        return (
            not isinstance(op, Load)
            and op.ref.buffer in self.known.by_buffer
            and not op.ref.buffer.is_adjoint
        )

    def _check_versions(self, stage: Stage) -> None:
        """Refuse a Scratch that lives on the blocks of the next step where there is none.

        Raises:
            TraceError: There is one.
        """
        for op in accesses_in(stage.body):
            topology = self.known.by_buffer.get(op.ref.buffer)
            if (
                topology is None
                or not topology.carried
                or self.name == "step"
                or op.ref.buffer.kind == "state"
            ):
                continue
            message = (
                f"{op.ref.buffer.label} must not be used in terminal_cost, since it shares its layout with a "
                "State, got a use of it; give it one of its own with ds.sparse(...)"
            )
            refuse(Diagnostic("SPARSE", str(op.where or stage.where), message))


def _check_loop(stage: Stage) -> None:
    """Refuse a kernel that activates blocks in a loop that may end early.

    Raises:
        TraceError: It does.
    """
    if stage.loop is not None and stage.loop.until is not None:
        message = (
            f"{stage.name} must not activate blocks in repeat(until=...), got a write to another cell than "
            "its loop's own; write to these cells before, as in `w[cell] = 0.0`"
        )
        refuse(Diagnostic("SPARSE", str(stage.where), message))
