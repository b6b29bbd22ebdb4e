"""Plans, and their text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from diffsim.compiler.codegen.layout import Layout
from diffsim.plan.modes import Candidate, Timing, mode_rows
from diffsim.plan.room import Room
from diffsim.plan.schedule import TIERS, Schedule
from diffsim.runtime import RuntimeInfo
from diffsim.sizes import show_bytes
from diffsim.view.cards import card, paragraph, rows

__all__ = ["Plan"]

_NAMED_FIELDS = 6  # fields that the text has by name; the others are summed up
_KINDS = {
    "store all": "everything is stored",
    "multistage": "multistage: States before a segment",
    "two-level": "two-level: States before a segment",
    "mixed": "mixed: States before a segment, or all values of one",
}


@dataclass(frozen=True)
class Plan:
    """What was decided for a rollout, and why.

    Attributes:
        mode: `step`, `chunk` or `fused`.
        reason: Why this mode.
        layout: The sizes of everything in memory.
        schedule: The checkpoint schedule, with its places in each tier.
        recomputation: Forward steps of one gradient, over the horizon.
        bytes: Memory of the fields by purpose.
        fields: Memory of the user's fields by name, adjoints included.
        tier_bytes: Memory of the checkpoints that are not fields, by tier.
        budget: The bytes of fields allowed.
        smallest: The smallest such budget that would do.
        larger: Larger budgets, each with the recomputation that it would leave.
        spill: The folder for checkpoints on the disk.
        forced: The window was asked for.
        chunk: Steps of one launch of mode `chunk`; 0 in other modes.
        compile_seconds: What compiling is expected to take, mode `step` included, which others are compared
            with.
        candidates: All modes, with what they are expected to cost.
        tunable: They may be measured, and another mode chosen.
        iterations: Gradients that the time to compile may be spread over.
        measured: What modes were found to cost, here or in an earlier run.
        compiled: Seconds spent on compiling so far.
        scratch: What became of Scratches, where there is something to say.
        rooms: Of sparse layouts, with the most blocks that were active in the last run.
        remedy: What would make it compile in less than a minute; empty where it does.
    """

    mode: str
    reason: str
    layout: Layout
    schedule: Schedule
    recomputation: float
    bytes: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    tier_bytes: dict[str, int] = field(default_factory=dict)
    budget: int = 0
    smallest: int = 0
    larger: tuple[tuple[int, float], ...] = ()
    spill: str | None = None
    forced: bool = False
    chunk: int = 0
    compile_seconds: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    tunable: bool = False
    iterations: int = 1000
    measured: tuple[Timing, ...] = ()
    compiled: float = 0.0
    remedy: str = ""
    rooms: tuple[Room, ...] = ()
    scratch: str = ""

    def on(self, info: RuntimeInfo) -> Plan:
        """Return the same plan with memory as it lies on a backend."""
        layout = replace(self.layout, world_last=not info.on_cpu)
        if info.on_cpu:  # where lanes of a GPU mean nothing
            layout = replace(layout, lanes=1, parts=1, alone=frozenset())
        return replace(self, layout=layout)

    @property
    def steps(self) -> int:
        """The horizon."""
        return self.layout.steps

    @property
    def worlds(self) -> int:
        """Copies that run in parallel."""
        return self.layout.worlds

    @property
    def window(self) -> int:
        """Steps in memory."""
        return self.layout.window

    @property
    def segments(self) -> int:
        """Windows that the horizon is cut into."""
        return self.schedule.segments

    @property
    def checkpoints(self) -> int:
        """Checkpoints that can be kept, in all tiers."""
        return self.schedule.total

    @property
    def tiers(self) -> dict[str, int]:
        """Checkpoints that can be kept, by tier: `device`, `host`, `disk`."""
        return self.schedule.places

    @property
    def total_bytes(self) -> int:
        """All memory of the rollout's fields."""
        return sum(self.bytes.values())

    @property
    def warning(self) -> str | None:
        """What is bad about the plan, in one line; None where nothing is."""
        if self.window > 1 or self.steps == 1 or self.forced:
            return None
        text = (
            f"memory of {show_bytes(self.budget)} holds a window of one step only: each step is launched by "
            f"itself, and {self.recomputation:.3g} forward steps are run per step of the gradient"
        )
        if self.larger:
            size, factor = self.larger[0]
            text += f"; {show_bytes(size)} would make that {max(1.0, factor):.3g}"
        return text

    def __str__(self) -> str:
        return "\n".join(f"{name:16s} {text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        title = f"Plan of {self.steps:,} steps" + (f", {self.worlds:,} worlds" if self.worlds > 1 else "")
        return card(title, rows(self._rows()), paragraph(self.warning or ""))

    def _rows(self) -> list[tuple[str, str]]:
        found = [
            *mode_rows(self),
            ("steps", f"{self.steps:,} in {self.segments:,} segment(s) of {self.window:,}"),
            ("worlds", self._worlds()),
            ("checkpoints", self._checkpoints()),
            ("recomputation", f"{self.recomputation:.2f} forward steps per step of the gradient"),
            *([("scratch", self.scratch)] if self.scratch else []),
            *self._larger(),
            (
                "memory",
                f"{show_bytes(self.total_bytes)} of {show_bytes(self.budget)}; at least "
                f"{show_bytes(self.smallest)}",
            ),
        ]
        found += [(f"  {name}", show_bytes(size)) for name, size in self.bytes.items() if size]
        found += [(name, f"{show_bytes(size)} beside") for name, size in self.tier_bytes.items() if size]
        found += [(room.name, str(room)) for room in self.rooms]
        found += [("by field", self._by_field())] if self.fields else []
        return found

    def _worlds(self) -> str:
        lanes = self.layout.groups
        text = f"{self.worlds:,} in {lanes:,} lane(s)"
        if self.layout.block > 1:
            text += f", {self.layout.block} at once in a register"
        if self.layout.world_last or lanes == 1:
            return text
        return f"{text}, a thread of this process each"

    def _checkpoints(self) -> str:
        kind = _KINDS[self.schedule.kind]
        if self.schedule.period:
            kind += f", every {self.schedule.period} for good"
        places = [f"{self.tiers[tier]:,} {tier}" for tier in TIERS if self.tiers[tier]]
        return f"{' + '.join(places) or '0'} ({kind})"

    def _larger(self) -> list[tuple[str, str]]:
        parts = [
            f"{show_bytes(size)}: " + ("nothing is recomputed" if factor <= 1.0 else f"{factor:.2f}")
            for size, factor in self.larger
        ]
        return [("  with memory", "; ".join(parts))] if parts else []

    def _by_field(self) -> str:
        named = [f"{name} {show_bytes(size)}" for name, size in list(self.fields.items())[:_NAMED_FIELDS]]
        others = list(self.fields.values())[_NAMED_FIELDS:]
        if others:
            named.append(f"{len(others)} others {show_bytes(sum(others))}")
        return ", ".join(named)
