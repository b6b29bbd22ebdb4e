"""Gradients against finite differences, against forward mode, against another mode, against f64."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from diffsim import runtime
from diffsim.compiler.ir import Call, Let, walk
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError, GradientError
from diffsim.language.cells import numbers_in
from diffsim.language.trace import Program
from diffsim.rollout.grad import misread
from diffsim.rollout.grad.case import Case
from diffsim.rollout.grad.probe import Arrays, Place, Probe, other_precision
from diffsim.rollout.grad.report import Direction, GradientReport, Worst
from diffsim.rollout.grad.surrogates import bare_probe, compared_in_single, with_surrogates
from diffsim.rollout.grad.tangent import Tangents
from diffsim.rollout.grad.verdict import VERDICTS

__all__ = ["Direction", "GradientReport", "Worst", "check_grad"]

_TOLERANCE = {"f64": 1e-6, "f32": 2e-2}
_MODES_TOLERANCE = {"f64": 1e-6, "f32": 2e-2}
_FORWARD_TOLERANCE = 1e-9  # forward and reverse mode are both exact: measured, they differ by 1e-14
_REPLAY_TOLERANCE = 1e-6  # where both take equal singular values apart by 1e-8 and divide rounding by that
_FLOOR = {"f64": 1e-6, "f32": 1e-2}  # of the norm of a slope's terms
_MODES_SECONDS = 5.0  # that mode `step` may take for one gradient
_MOST_COMPONENTS = 4096


def check_grad(
    rollout: Any,
    wrt: Any = None,
    directions: int = 5,
    seed: int = 0,
    tolerance: float | None = None,
    *,
    components: bool | int = False,
    forward: bool = True,
    modes: bool = True,
    python: float | None = None,
) -> GradientReport:
    """Compare a rollout's gradients with finite differences and with other exact ways to compute them.

    The slope of the cost (summed over worlds) along a direction `d` is `g . d` by the gradient and
    `(c(p + h d) - c(p - h d)) / 2 h` by differences. Directions are normal random numbers scaled to the root
    mean square of each field; `h` is swept over up to 17 sizes from 1e-1 to 1e-9 where the first two do not
    agree, and the way in which differences depend on it gives the verdict (the module `verdict` beside this
    one). What is exactly zero is looked at with coarse steps too (the module `stairs`). A rollout in f32 is
    compared in f64, where the same program is planned and run once more, and its gradient is then compared
    with the one in f64.

    See `Rollout.check_grad` for the arguments.

    Raises:
        ConfigError: An argument is not allowed.
        StateError: The cost is not finite.
        GradientError: A gradient is not finite.
    """
    real = rollout._info.real
    allowed = _checked(real, directions, tolerance, components, python)
    leaves = rollout.leaves(wrt)
    if not leaves:
        raise ConfigError(
            "wrt must name something to differentiate for, got nothing: the simulator has no Param and no "
            "Control; declare one, or name a State (its initial value)"
        )
    engine = rollout._engine
    own = Probe(engine, rollout._inputs, [leaf.field for leaf in leaves])
    with own.preserved(), ExitStack() as stack:
        values = own.values()
        _require_cells(values)
        found = {key: numbers_in(a) for key, a in rollout.value_and_grad(wrt)[1].items()}
        # with an axis of worlds, if of one
        gradient = {k: np.asarray(a, np.float64).reshape(values[k].shape) for k, a in found.items()}
        places = _places(values, components, seed)
        notes: list[str] = []
        probe, info, exact = own, rollout._info, gradient
        fields = [leaf.field for leaf in leaves]
        if real == "f32":
            info = rollout._info.in_double()
            probe = other_precision(rollout._program, info, engine.plan, engine.mode, fields)
            stack.callback(probe.close)
            exact = probe.gradient(values)
        meant, single = exact, gradient
        surrogates = bool(engine.lowered.buffers.surrogates)
        if surrogates:  # differences know nothing of them
            probe = bare_probe(rollout, info, fields, stack)
            exact = single = probe.gradient(values)
            if real == "f32":
                single = bare_probe(rollout, rollout._info, fields, stack).gradient(values)
        tangents = stack.enter_context(_tangents(rollout, info, notes, surrogates)) if forward else None
        allowed_in_double = _TOLERANCE["f64"] if real == "f32" else allowed
        case = Case(probe, values, exact, allowed_in_double, tangents, meant)
        report = _report(case, directions, seed, places, notes, _features(probe.engine.lowered))
        if surrogates:
            rng = np.random.default_rng(seed)
            drawn = [case.random(rng) for _ in range(directions if forward else 0)]
            report = with_surrogates(report, rollout, info, case, drawn)
        if real == "f32":
            report = _single(report, case, single, directions, seed, allowed)
            report = compared_in_single(report, meant, gradient, allowed) if surrogates else report
        if modes:
            report = _with_modes(report, own, values, gradient, real)
        return _read_rightly(_named(report, own), probe, rollout._program, values, python)


def _require_cells(values: Arrays) -> None:
    """Refuse a State that begins without any cell, so that there is nothing to check.

    Raises:
        ConfigError: There is one.
    """
    empty = next((key for key, array in values.items() if not array.size), None)
    if empty is not None:
        raise ConfigError(
            f"wrt must name States with active cells at the beginning, got {empty}, which has none; set "
            "it to ds.Cells(indices, values), zeros too where its gradient is wanted"
        )


def _named(report: GradientReport, probe: Probe) -> GradientReport:
    """Name the places of a report as users know them."""
    worst, double = report.worst, report.double
    return dataclasses.replace(
        report,
        places=tuple(map(probe.named, report.places)),
        worst=worst and Worst(*probe.named((worst.key, worst.index)), worst.adjoint, worst.difference),
        double=double and _named(double, probe),
    )


def _checked(real: str, directions: Any, tolerance: Any, components: Any, python: Any) -> float:
    """Return the tolerance.

    Raises:
        ConfigError: An argument is not allowed.
    """
    if not isinstance(directions, int) or isinstance(directions, bool) or directions < 1:
        raise ConfigError(f"directions must be a positive integer, got {directions!r}; use 5")
    if not isinstance(components, bool | int) or (components is not True and components < 0):
        raise ConfigError(
            f"components must be True, False or a number of components, got {components!r}; use True for all"
        )
    if python is not None and not (isinstance(python, int | float) and python >= 0):
        raise ConfigError(f"python must be a number of seconds, got {python!r}; use 0 to leave it out")
    allowed = _TOLERANCE[real] if tolerance is None else tolerance
    if not allowed > 0:
        raise ConfigError(f"tolerance must be positive, got {tolerance!r}; use 1e-6 with precision 64")
    return float(allowed)


def _places(values: Arrays, components: bool | int, seed: int) -> list[Place]:
    """Choose the components to look at one by one.

    Raises:
        ConfigError: They are too many.
    """
    if components is False or components == 0:
        return []
    every = [(key, index) for key, v in values.items() for index in np.ndindex(v.shape)]
    wanted = len(every) if components is True else min(components, len(every))
    if wanted > _MOST_COMPONENTS:
        raise ConfigError(
            f"components must be at most {_MOST_COMPONENTS}, got {wanted}; pass a number, as in "
            "components=100, to draw so many at random"
        )
    if wanted == len(every):
        return every
    rng = np.random.default_rng([seed, 1])
    return [every[k] for k in sorted(rng.choice(len(every), wanted, replace=False))]


@contextmanager
def _tangents(
    rollout: Any, info: runtime.RuntimeInfo, notes: list[str], bare: bool
) -> Iterator[Tangents | None]:
    """Make forward mode, or note why there is none."""
    engine = rollout._engine
    try:
        made = Tangents(rollout._program, info, engine.plan, engine.mode, bare)
    except GradientError as error:
        notes.append(f"forward mode ({error})")
        yield None
        return
    try:
        yield made
    finally:
        made.close()


def _features(lowered: LoweredProgram) -> frozenset[str]:
    """Return what a program has that some checks do not see alike.

    `given`: adjoints that the user gave, of which forward mode knows nothing. `stop`: cuts of
    the gradient, of which differences know nothing. `replay`: values that a gradient is taken beside.
    """
    found = set()
    for stage in lowered.begin + lowered.step + lowered.running + lowered.terminal:
        if stage.adjoint is not None or stage.group is not None:
            found.add("given")
        for op in walk(stage.body):
            if isinstance(op, Call) and not op.primitive:
                found.add("given")
            elif isinstance(op, Let) and op.fn == "stop":
                found.add("stop")
            elif isinstance(op, Let) and op.fn == "replay":
                found.add("replay")
    return frozenset(found)


# ---- in f64 ----


def _report(
    case: Case, directions: int, seed: int, places: list[Place], notes: list[str], features: frozenset[str]
) -> GradientReport:
    """Compare along random directions and components, and with forward mode."""
    rng = np.random.default_rng(seed)
    drawn = [case.random(rng) for _ in range(directions)]
    found = [case.along(d) for d in drawn]
    singles = [case.component(place) for place in places]
    verdict = min((d.verdict for d in found + singles), key=VERDICTS.index)
    distance = _forward_error(case, drawn, found) if case.tangents is not None else None
    allowed = _REPLAY_TOLERANCE if "replay" in features else _FORWARD_TOLERANCE
    agrees = distance is not None and distance <= allowed
    if verdict == "wrong" and agrees and "stop" in features:
        verdict = "cut"
    if distance is not None and not agrees and verdict == "right":
        if "given" in features:
            notes = [
                *notes,
                f"forward mode, which does not know given adjoints and differs by {distance:.0e}",
            ]
            distance = None
        else:
            verdict = "unsure"
    effects = case.effects()
    stairs = tuple(key for key, word in effects.items() if word == "staircase")
    dead = (key for key, word in effects.items() if word == "dead" and not np.any(case.meant[key]))
    if stairs and verdict == "right":
        verdict = "staircase"
    report = GradientReport(
        tuple(case.values),
        tuple(found),
        case.tolerance,
        verdict,
        tuple(singles),
        tuple(places),
        forward_error=distance,
        notes=tuple(notes),
        stairs=stairs,
        dead=tuple(dead),
    )
    return report if report.passed else dataclasses.replace(report, worst=_worst(case, report, drawn))


def _forward_error(case: Case, drawn: list[Arrays], found: list[Direction]) -> float:
    """Return the largest distance of the two modes, relative to the norm of the terms of the slopes."""
    errors = []
    for direction, result in zip(drawn, found, strict=True):
        norm = np.sqrt(sum(np.sum(np.square(case.gradient[k] * d)) for k, d in direction.items()))
        forward = float("nan") if result.forward is None else result.forward
        scale = max(abs(result.adjoint), abs(forward), float(norm))
        errors.append(abs(result.adjoint - forward) / scale if scale > 0 else 0.0)
    return max(e if np.isfinite(e) else float("inf") for e in errors)


def _worst(case: Case, report: GradientReport, drawn: list[Arrays]) -> Worst | None:
    """Find the component that is furthest off, where differences are good enough to tell."""
    if report.verdict not in ("wrong", "kink", "jump"):
        return None
    singles = [k for k, d in enumerate(report.components) if d.verdict == report.verdict]
    if singles:
        k = max(singles, key=lambda k: report.components[k].error)
        return Worst(*report.places[k], report.components[k].adjoint, report.components[k].difference)
    guilty = [k for k, d in enumerate(report.directions) if d.verdict == report.verdict]
    k = max(guilty, key=lambda k: report.directions[k].error)
    return case.locate(drawn[k], report.directions[k].step)


# ---- in f32, and in another mode ----


def _single(
    double: GradientReport, case: Case, gradient: Arrays, directions: int, seed: int, allowed: float
) -> GradientReport:
    """Compare the gradient in f32 with that in f64, along the same directions and components."""
    rng = np.random.default_rng(seed)
    found = []
    for exact in double.directions:
        direction = case.random(rng)
        terms = np.concatenate([np.ravel(gradient[k] * d) for k, d in direction.items()])
        floor = _FLOOR["f32"] * float(np.linalg.norm(terms))
        found.append(_again(exact, float(np.sum(terms)), floor))
    singles = []
    for (key, index), exact in zip(double.places, double.components, strict=True):
        floor = _FLOOR["f32"] * float(np.max(np.abs(gradient[key])))
        singles.append(_again(exact, float(gradient[key][index]), floor))
    error = max(d.error for d in found + singles)
    verdict = double.verdict
    worst = double.worst
    if double.passed and error > allowed:
        verdict, worst = "rounding", _furthest(case, gradient)
    return dataclasses.replace(
        double,
        directions=tuple(found),
        tolerance=allowed,
        verdict=verdict,
        components=tuple(singles),
        worst=worst,
        double=double,
    )


def _again(exact: Direction, slope: float, floor: float) -> Direction:
    """Compare a slope in f32 with the difference in f64."""
    scale = max(abs(slope), abs(exact.difference), floor)
    error = abs(slope - exact.difference) / scale if scale > 0 else 0.0
    return dataclasses.replace(exact, adjoint=slope, error=error if np.isfinite(error) else float("inf"))


def _furthest(case: Case, gradient: Arrays) -> Worst:
    """Return the component whose f32 gradient is furthest from the one in f64, on the scale of its field."""
    found: tuple[float, Worst] | None = None
    for key, exact in case.gradient.items():
        scale = float(np.max(np.abs(exact), initial=0.0)) or 1.0
        off = np.abs(gradient[key] - exact) / scale
        index = tuple(int(k) for k in np.unravel_index(int(np.argmax(off)), off.shape))
        if found is None or off[index] > found[0]:
            found = (float(off[index]), Worst(key, index, float(gradient[key][index]), float(exact[index])))
    assert found is not None  # noqa: S101  (there is at least one field)
    return found[1]


def _read_rightly(
    report: GradientReport, probe: Probe, program: Program, values: Arrays, python: float | None
) -> GradientReport:
    """Compare values with plain Python, and fail where they are other ones."""
    seconds = misread.SECONDS if python is None else python
    if seconds <= 0:
        return report
    found = misread.compared(probe, program, values, seconds)
    notes = (*report.notes, *([found.lacking] if found.lacking else []))
    report = dataclasses.replace(
        report, notes=notes, misread=found.where, python_error=found.error, python=found.what
    )
    return dataclasses.replace(report, verdict="misread", worst=None) if found.where else report


def _with_modes(
    report: GradientReport, probe: Probe, values: Arrays, gradient: Arrays, real: str
) -> GradientReport:
    """Compare the gradient with that of mode `step` over the whole horizon, where that does not take long."""
    engine = probe.engine
    if engine.mode == "step":
        return report
    probe.write(values)
    seconds = engine.seconds("step")
    if seconds > _MODES_SECONDS:
        note = f"mode step over all {engine.plan.steps} steps, which would take about {seconds:.0f} s"
        return dataclasses.replace(report, notes=(*report.notes, note))
    other = probe.gradient(values, "step")
    scale = max(float(np.max(np.abs(g), initial=0.0)) for g in gradient.values()) or 1.0
    error = max(float(np.max(np.abs(other[key] - g), initial=0.0)) for key, g in gradient.items()) / scale
    verdict = report.verdict
    if verdict == "right" and not error <= _MODES_TOLERANCE[real]:
        verdict = "unsure"
    return dataclasses.replace(report, modes_error=error, verdict=verdict)
