"""What becomes of a plan when modes have been timed, here or in an earlier process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from diffsim.plan.modes import PATIENCE, Timing, pays
from diffsim.plan.report import Plan

__all__ = ["MARGIN", "Verdict", "decide", "decided"]

MARGIN = 1.2  # a mode must be so much faster than the planned one to take its place
_AGAIN = 0.25  # of the seconds that compiling took, where Taichi finds the kernels in its cache on disk


@dataclass(frozen=True)
class Verdict:
    """What was measured.

    Attributes:
        timings: What modes were found to cost.
        skipped: Why others were not measured, by their names.
    """

    timings: tuple[Timing, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def decide(planned: str, timings: Sequence[Timing], iterations: int | None = None) -> Timing:
    """Return the fastest mode, or the planned one where no other is clearly faster.

    Args:
        planned: The mode that was planned.
        timings: What was measured.
        iterations: Gradients that the time to compile once more must be won back in; None where it is spent.
    """
    known = {t.mode: t for t in timings}
    step = known.get("step")
    if iterations is not None and step is not None:
        known = {
            mode: t
            for mode, t in known.items()
            if mode == "step" or pays(_AGAIN * t.compile_seconds, step.seconds, t.seconds, iterations)
        }
    fastest = min(known.values(), key=lambda t: t.seconds)
    mine = known.get(planned)
    return fastest if mine is None or mine.seconds >= MARGIN * fastest.seconds else mine


def decided(plan: Plan, verdict: Verdict, iterations: int | None = None) -> Plan:
    """Return a plan that keeps to what was measured, here or earlier.

    Args:
        plan: What was planned.
        verdict: What was measured.
        iterations: As for `decide`.
    """
    winner = decide(plan.mode, verdict.timings, iterations)
    reason = _reason(winner, verdict.timings)
    reason += "".join(f"; {name}: {why}" for name, why in verdict.skipped.items())
    return dataclasses.replace(
        plan,
        mode=winner.mode,
        chunk=min(winner.chunk, plan.window),
        reason=reason,
        measured=verdict.timings,
        tunable=False,
        remedy=plan.remedy if winner.compile_seconds > PATIENCE else "",
    )


def _reason(winner: Timing, timings: Iterable[Timing]) -> str:
    others = [t for t in timings if t.mode != winner.mode]
    if not others:
        return "measured; nothing else can win back its compilation"
    second = min(others, key=lambda t: t.seconds)
    factor = second.seconds / winner.seconds
    if factor >= 1.0:
        return f"measured, {factor:.3g} times as fast as {second.label}"
    what = "not clear enough to change" if factor * MARGIN > 1.0 else "less than it takes to compile"
    return f"measured; {second.label} would be {1 / factor:.3g} times as fast, {what}"
