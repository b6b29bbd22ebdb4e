"""The first gradient of a rollout in mode `tape`, against differences: Taichi's adjoints may be wrong."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from diffsim.engine.engine import Engine
from diffsim.errors import GradientError, GradientWarning
from diffsim.language.fields import Valued
from diffsim.plan.planning import plan_program
from diffsim.rollout.grad.case import Case
from diffsim.rollout.grad.probe import Probe, other_precision
from diffsim.rollout.inputs import Inputs

__all__ = ["judge_first", "run_in_step"]

_TOLERANCE = 1e-6
_DIRECTIONS = 2


def run_in_step(rollout: Any) -> None:
    """Run a rollout in mode `step` once, which looks at indices, divisors and asserts: Taichi does not.

    Args:
        rollout: One in mode `tape`.

    Raises:
        StateError: Something is out of range.
    """
    request = dataclasses.replace(rollout._asked or rollout._request, mode="step")
    lowered, stages, plan = plan_program(rollout._program, rollout._info, request)
    engine = Engine(lowered, stages, plan, rollout._info, verify=False)
    try:
        Inputs(engine).upload()
        engine.forward()
    finally:
        engine.close()


def judge_first(rollout: Any) -> None:
    """Compare the gradient of a rollout with central differences of the same mode in f64.

    Along two random directions of all that gradients are for, and, where these disagree, field by field.

    Args:
        rollout: One in mode `tape`.

    Raises:
        GradientError: They differ.
    """
    engine = rollout._engine
    fields = [
        field
        for field in rollout._program.fields.values()
        if isinstance(field, Valued) and field.differentiable and field.kind in ("param", "control", "state")
    ]
    if not fields:
        return
    own = Probe(engine, rollout._inputs, fields)
    with own.preserved():
        probe, values = own, own.values()
        if rollout._info.real == "f32":
            info = dataclasses.replace(rollout._info, precision=64)
            probe = other_precision(rollout._program, info, engine.plan, "tape", fields)
        try:
            _judge(type(rollout.sim).__name__, probe, values)
        finally:
            if probe is not own:
                probe.close()


def _judge(name: str, probe: Probe, values: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    case = Case(probe, values, probe.gradient(values), _TOLERANCE, None)
    found = [case.along(case.random(rng)) for _ in range(_DIRECTIONS)]
    if all(one.verdict == "right" for one in found):
        return
    told: list[str] = []
    for key in values:
        one = case.along({key: case.random(rng)[key]})
        if one.verdict == "wrong":
            told.append(f"{key} (gradient {one.adjoint:.6g}, differences {one.difference:.6g})")
    if told or any(one.verdict == "wrong" for one in found):
        raise GradientError(
            f"the gradient of {name} by Taichi's reverse mode must agree with differences, got another slope "
            f"for {', '.join(told) or 'all together'}; rollout.audit() tells which kernel is to blame, "
            "and every other mode is right"
        )
    words = sorted({one.verdict for one in found} - {"right"})
    warnings.warn(
        f"the gradient of {name} by Taichi's reverse mode could not be confirmed by differences "
        f"({', '.join(words)}); rollout.audit() looks at each kernel alone",
        GradientWarning,
        stacklevel=6,
    )
