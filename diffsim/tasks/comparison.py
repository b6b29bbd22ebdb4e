"""A table of all modes of a rollout: what each takes to compile, to run and in memory."""

from __future__ import annotations

from dataclasses import dataclass

from diffsim.plan import Plan, show_bytes
from diffsim.plan.modes import Timing
from diffsim.rollout import Rollout

__all__ = ["ModeTable", "compare_modes"]

_LONGEST = 60.0  # seconds that a mode may be expected to compile


@dataclass(frozen=True)
class ModeTable:
    """What the modes of a rollout were found to cost; print it.

    Attributes:
        plan: The plan, with the mode that was chosen and why.
        timings: What was measured, in the order of the modes.
        bytes: Memory of the fields in each of these modes.
        skipped: Why other modes were not measured, by their names.
    """

    plan: Plan
    timings: tuple[Timing, ...]
    bytes: tuple[int, ...]
    skipped: dict[str, str]

    def __str__(self) -> str:
        best = min((t.seconds for t in self.timings), default=1.0)
        rows = [("mode", "compile", "gradient", "ratio", "memory", "")]
        for t, size in zip(self.timings, self.bytes, strict=True):
            ratio = f"{t.seconds / best:.3g}"
            mark = "<- chosen" if t.mode == self.plan.mode else ""
            compiled, seconds = f"{t.compile_seconds:.2f} s", f"{1e3 * t.seconds:.4g} ms"
            rows.append((t.label, compiled, seconds, ratio, show_bytes(size), mark))
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        lines = []
        for name, *numbers, mark in rows:
            cells = [f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True)]
            lines.append(f"{name:{widths[0]}}  {'  '.join(cells)}  {mark}".rstrip())
        lines += [f"{name} was not measured: {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, f"{self.plan.mode}: {self.plan.reason}"])


def compare_modes(rollout: Rollout, longest: float = _LONGEST) -> ModeTable:
    """Compile every mode of a rollout and time it on a few steps.

    A rollout in mode `auto` goes on in the mode that was chosen, which is remembered for the next one.

    Args:
        rollout: What to run.
        longest: Seconds that a mode may be expected to compile; one above it is left out.

    Raises:
        StateError: The simulator has no cost, or the rollout is closed.
    """
    rollout._require_cost()
    rollout._prepare()
    engine = rollout._engine
    verdict = engine.tune(longest)
    sizes = tuple(engine.bytes_in(t.mode) for t in verdict.timings)
    return ModeTable(rollout.plan, verdict.timings, sizes, verdict.skipped)
