"""The memory of a rollout as a function of its window and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from diffsim.compiler.checks.lengths import bounded_lengths
from diffsim.compiler.codegen.layout import Layout, rounded
from diffsim.compiler.codegen.stages import StageSet, all_adjoints, parameter_adjoints, tapes_of
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.plan.lanes import Lanes

__all__ = ["Sizes", "size_tapes"]

_LITTLE = 1 << 20  # bytes of a window that are little, for each world
_FEWEST, _MANY = 16, 1024  # steps that there is room for at least, and at least where they take little
_SMALL_SPARE, _SPARE = 16 << 20, 64 << 20  # bytes of room to spare, for those many steps and for fewer


class Sizes:
    """The memory of a rollout as a function of its window and its checkpoints.

    Args:
        lowered: The program.
        stages: Its stages and their adjoints.
        steps: The horizon.
        worlds: Copies that run in parallel.
        lanes: Those that run in parallel.
        world_last: The world axis is the fastest in memory.
        block: Worlds beside each other in memory; 1 for none.
        held: Scratches are in memory for each step of a window.
        taped: Adjoints lie as values do.

    Attributes:
        steps: The horizon.
        per_step: What one more step in memory takes.
        per_checkpoint: What one more copy of the States takes.
        fixed: What is there whatever the window: parameters, tapes and so on.
    """

    def __init__(
        self,
        lowered: LoweredProgram,
        stages: StageSet,
        steps: int,
        worlds: int,
        lanes: Lanes,
        world_last: bool,
        block: int = 1,
        held: bool = True,
        taped: bool = False,
    ) -> None:
        self.lowered, self.stages = lowered, stages
        self.steps, self.worlds, self.lanes = steps, worlds, lanes
        self.world_last, self.block, self.held, self.taped = world_last, block, held, taped
        self.tapes = sorted({t for s in all_adjoints(stages) for t in tapes_of(s)}, key=lambda b: b.name)
        # short windows may hold things of fixed length whole: the slope is taken where windows are long
        near, far = self.total(1 << 20), self.total(1 << 21)
        self.per_step = max(1, (far - near) >> 20)
        self.fixed = near - (self.per_step << 20)
        self.per_checkpoint = sum(
            replace(self.layout(1), checkpoints=1).bytes(lowered.kept[b]) for b in lowered.states
        )

    @property
    def staging(self) -> int:
        """The bytes of fields that States go through on their way to the host; on the CPU there are none."""
        return self.per_checkpoint if self.world_last else 0

    def layout(self, window: int, checkpoints: int = 0, windows: int = 0) -> Layout:
        """Return the layout of a window, with so many copies of the States and of whole windows beside it."""
        return Layout(
            self.steps,
            self.worlds,
            self.lanes.groups,
            window,
            self.lowered.history,
            checkpoints,
            self.world_last,
            windows,
            block=self.block,
            held=self.held,
            lanes=self.lanes.lanes,
            parts=self.lanes.parts,
            alone=self.lanes.alone,
            tape_bytes=self.lanes.tape_bytes,
            taped=self.taped,
        )

    def roomy(self, layout: Layout, budget: int) -> Layout:
        """Return a layout with room to spare, so that other horizons find their kernels compiled.

        The room is a power of two, so that it is the same for many horizons; what takes little has more of
        it. Where it would take much, or more than the budget, there is none, and none where whole windows
        are kept, which would grow with it.

        Args:
            layout: As planned.
            budget: Bytes that all fields may take.
        """
        if layout.windows:
            return layout
        controls = any(b.kind == "control" for b in self.lowered.buffers.by_field.values())
        room = rounded(layout.steps, _FEWEST) if controls else 0
        little = 1 << (_LITTLE * self.worlds // self.per_step).bit_length() >> 1
        bare = sum(self.table(layout).values())
        for least, most in ((min(_MANY, little), _SMALL_SPARE), (_FEWEST, _SPARE)):
            made = replace(layout, width=rounded(layout.window, max(_FEWEST, least)), room=room)
            size = sum(self.table(made).values())
            if size <= budget and size - bare <= most:
                return made
        return layout

    def total(self, window: int, checkpoints: int = 0, windows: int = 0) -> int:
        """Return the bytes of all fields."""
        return sum(self.table(self.layout(window, checkpoints, windows)).values())

    def whole(self, window: int) -> int:
        """Return the bytes of all values of a window: what its adjoint needs to run without recomputation."""
        layout = self.layout(window)
        return sum(layout.bytes(b) for b in self.lowered.whole)

    def table(self, layout: Layout) -> dict[str, int]:
        """Return the bytes of each purpose."""
        lowered = self.lowered
        fields = list(lowered.buffers.by_field.values())
        with_adjoints = fields + [b.adjoint for b in fields if b.adjoint is not None]
        states = lowered.states

        def size(buffers: Iterable[Buffer | None]) -> int:
            return sum(layout.bytes(b) for b in buffers if b is not None)

        once = [b for b in with_adjoints if b.kind == "derived"]
        parameters = [b for b in with_adjoints if b.kind in ("param", "control", "constant", "key")]
        reduced = [b for b in parameter_adjoints(lowered) if "group" in layout.axes(b)]
        initial = list(lowered.initial.values())
        one_group = replace(layout, groups=1, block=1, lanes=1)
        parts = lowered.cost_parts.values() if layout.parts > 1 else []
        return {
            "states": size(b for b in with_adjoints if b.kind == "state"),
            "scratch": size(b for b in with_adjoints if b.kind in ("scratch", "workspace", "table")),
            "computed once": size(once),
            "parameters": size([*parameters, *initial, *(b.adjoint for b in initial)])
            + sum(one_group.bytes(b) for b in reduced),
            "checkpoints": (size(lowered.kept[b] for b in states) if layout.checkpoints else 0)
            + (size(lowered.whole.values()) if layout.windows else 0),
            "carried": size([*lowered.carried.values(), lowered.ended, *parts]) + 8 * layout.worlds,
            "tapes": sum(
                layout.bytes(b, lanes=max(layout.groups, self.lanes.tapes.get(b, 1))) for b in self.tapes
            ),
        }

    def by_field(self, layout: Layout) -> dict[str, int]:
        """Return the bytes of each field by the user's name, with its adjoint, largest first."""
        found: dict[str, int] = {}
        lowered = self.lowered
        initial = {id(b): key for key, b in lowered.initial.items()}
        for buffer in [*lowered.buffers.by_field.values(), *lowered.initial.values()]:
            key = initial.get(id(buffer), getattr(buffer.source, "key", buffer.name))
            adjoint = buffer.adjoint
            size = layout.bytes(buffer) + (layout.bytes(adjoint) if adjoint is not None else 0)
            found[key] = found.get(key, 0) + size
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def size_tapes(stages: StageSet, steps: int) -> None:
    """Give each tape the length of its loop, which may not take more than `MOST_ROUNDS` if none is known."""
    for stage in all_adjoints(stages):
        tapes = tapes_of(stage)
        if tapes:
            lengths = bounded_lengths(
                stage, {id(tape.source) for tape in tapes}, steps, stages.lowered.alarms
            )
            for tape in tapes:
                tape.shape = (max(1, lengths[id(tape.source)]),)
