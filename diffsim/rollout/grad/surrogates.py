"""Checking programs with surrogate gradients, which are meant to be other ones than those of the values.

Differences cannot confirm such a gradient. What can be confirmed:

- everything else: the same program without its surrogates, in which their functions are differentiated like
  all others, against differences and forward mode;
- the whole gradient against forward mode, which takes the surrogates for the derivatives of their functions,
  and against another mode and another precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from diffsim import runtime
from diffsim.compiler.autodiff.linearity import is_linear
from diffsim.compiler.ir import Call, walk
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import GradientError, StateError
from diffsim.language.fields import Valued
from diffsim.rollout.grad.case import Case
from diffsim.rollout.grad.probe import Arrays, Probe, other_precision
from diffsim.rollout.grad.report import GradientReport
from diffsim.rollout.grad.tangent import Tangents

__all__ = ["bare_probe", "compared_in_single", "with_surrogates"]

_TOLERANCE = 1e-9  # forward and reverse mode are both exact


def bare_probe(rollout: Any, info: runtime.RuntimeInfo, fields: Sequence[Valued], stack: ExitStack) -> Probe:
    """Make a probe of a rollout's program without its surrogates, which is closed when the stack is.

    Args:
        rollout: The rollout.
        info: Its runtime, with the precision to compute in.
        fields: What to vary.
        stack: What closes it.
    """
    engine = rollout._engine
    probe = other_precision(rollout._program, info, engine.plan, engine.mode, fields, bare=True)
    stack.callback(probe.close)
    return probe


def with_surrogates(
    report: GradientReport, rollout: Any, info: runtime.RuntimeInfo, case: Case, drawn: list[Arrays]
) -> GradientReport:
    """Add to what was found without surrogates how the gradient with them compares with forward mode.

    Args:
        report: What was found.
        rollout: The rollout.
        info: Its runtime, with f64.
        case: The program without surrogates, and the gradient with them.
        drawn: Directions to compare along; none to leave forward mode out.
    """
    found = rollout._engine.lowered.buffers.surrogates
    names = ", ".join(found)
    told = f"the surrogate gradient of {names}, which is meant, by differences"
    report = dataclasses.replace(report, surrogates=tuple(found), notes=(*report.notes, told))
    if not drawn:
        return report
    kernels = [name for name, kind in found.items() if kind == "kernel"]
    if kernels:
        told = f"the surrogate of kernel {kernels[0]} by forward mode, which there is of functions alone"
        return dataclasses.replace(report, notes=(*report.notes, told))
    engine = rollout._engine
    bent = next((call.name for call in _calls(engine.lowered, found) if not is_linear(call, info.real)), None)
    if bent is not None:
        told = f"the surrogate gradient of {bent} by forward mode: it is not linear in what comes back"
        return dataclasses.replace(report, notes=(*report.notes, told))
    try:
        tangents = Tangents(rollout._program, info, engine.plan, engine.mode)
    except GradientError as failed:
        return dataclasses.replace(report, notes=(*report.notes, f"surrogates by forward mode ({failed})"))
    try:
        error = max(_distance(tangents, case, direction) for direction in drawn)
    finally:
        tangents.close()
    verdict = "unsure" if report.verdict == "right" and not error <= _TOLERANCE else report.verdict
    return dataclasses.replace(report, verdict=verdict, forward_error=max(error, report.forward_error or 0.0))


def _calls(lowered: LoweredProgram, names: Container[str]) -> Iterator[Call]:
    for stage in lowered.begin + lowered.step + lowered.running + lowered.terminal:
        yield from (op for op in walk(stage.body) if isinstance(op, Call) and op.name in names)


def _distance(tangents: Tangents, case: Case, direction: Arrays) -> float:
    """Return how far forward and reverse mode are apart, both with surrogates, along a direction."""
    terms = np.concatenate([np.ravel(case.meant[key] * d) for key, d in direction.items()])
    reverse = float(np.sum(terms))
    try:
        forward = case.slope(tangents, direction)
    except StateError:  # a derivative that is not finite
        return float("inf")
    scale = max(abs(reverse), abs(forward), float(np.linalg.norm(terms)))
    return abs(reverse - forward) / scale if scale > 0 else 0.0


def compared_in_single(
    report: GradientReport, meant: Arrays, single: Arrays, allowed: float
) -> GradientReport:
    """Compare a gradient with surrogates in f32 with that in f64.

    Args:
        report: What was found without surrogates, in f32.
        meant: The gradient in f64.
        single: That in f32.
        allowed: The largest distance on the scale of each field.
    """
    off = 0.0
    for key, exact in meant.items():
        scale = float(np.max(np.abs(exact), initial=0.0)) or 1.0
        off = max(off, float(np.max(np.abs(single[key] - exact), initial=0.0)) / scale)
    passed = not report.passed or off <= allowed
    return report if passed else dataclasses.replace(report, verdict="rounding")
