"""Checking the gradients of tasks: against differences on a CPU, against the CPU on other backends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffsim.cli.resolve import resolve, start
from diffsim.cli.survey import Row
from diffsim.tasks.registry import load_task

if TYPE_CHECKING:
    from diffsim.rollout.grad.report import GradientReport
    from diffsim.tasks.agreement import Agreement

__all__ = ["check_task", "checked", "columns", "gradient_report"]

_DIFFERENCES = ("steps", "difference", "forward", "modes", "verdict")
_BACKENDS = ("steps", "cost", "gradients", "rounding", "verdict")


def columns(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the heads of the columns of `check_task`.

    Args:
        given: Options by name, None where left out.

    Raises:
        ConfigError: The backend or the compiler asked for is not there.
    """
    return _DIFFERENCES if _usual(given) else _BACKENDS


def check_task(name: str, given: dict[str, Any]) -> Row:
    """Check the gradients of a task, in a row.

    Raises:
        DiffsimError: The task can't be built, or its rollout failed.
    """
    if not _usual(given):
        found = agreement(name, given)
        cells = [f"{e:.1e}" for e in (found.cost, found.gradient, found.rounding)]
        verdict = "agrees" if found.passed else "differs"
        notes = () if found.passed else (found.sentence,)
        return Row(name, found.passed, (str(found.steps), *cells, verdict), notes)
    report, steps = gradient_report(name, given)
    cells = [f"{report.error:.1e}"]
    cells += ["" if e is None else f"{e:.0e}" for e in (report.forward_error, report.modes_error)]
    notes = () if report.passed else (report.sentence,)
    return Row(name, report.passed, (str(steps), *cells, report.verdict), notes)


def checked(name: str, given: Mapping[str, Any]) -> tuple[str, bool]:
    """Check the gradients of a task; return what there is to say, and whether they are right.

    Raises:
        DiffsimError: The task can't be built, or its rollout failed.
    """
    if not _usual(given):
        found = agreement(name, given)
        return found.sentence, found.passed
    report, _ = gradient_report(name, given)
    return str(report), report.passed


def gradient_report(name: str, given: Mapping[str, Any]) -> tuple[GradientReport, int]:
    """Check the gradients of a task, in its small size unless its options say otherwise.

    Args:
        name: The task.
        given: Options by name, None where left out; `directions` and `components` as `check_grad` takes them.

    Returns:
        The report, and the steps of the rollout.

    Raises:
        DiffsimError: The task can't be built, or its rollout failed.
    """
    from diffsim.rollout import Rollout

    settings, task = resolve(name, _small(name, given), small=True)
    simulator = start(settings, task, given.get("compiler") or "auto")
    rollout = Rollout(simulator, **settings.run.planned())
    directions, components = given.get("directions") or 5, given.get("components") or 0
    try:
        task.prepare(rollout)
        report = rollout.check_grad(task.wrt(simulator), directions, components=components)
    finally:
        rollout.close()
    return report, settings.run.steps


def agreement(name: str, given: Mapping[str, Any]) -> Agreement:
    """Compare a task on a backend with the same on the CPU, in its small size unless told otherwise.

    Args:
        name: The task.
        given: Options by name, None where left out.

    Raises:
        DiffsimError: The task can't be built, or its rollout failed.
    """
    from diffsim.tasks.agreement import compare_backends

    settings, _ = resolve(name, _small(name, given), small=True)
    return compare_backends(settings, given.get("compiler") or "auto")


def _usual(given: Mapping[str, Any]) -> bool:
    """Tell whether the backend is what others are compared with."""
    from diffsim.tasks.agreement import is_reference

    return is_reference(given.get("arch") or "auto", given.get("compiler") or "auto")


def _small(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run, in f64 where there is, and a check's steps, unless they say otherwise."""
    own = ("directions", "components", "compiler")
    options = {key: value for key, value in given.items() if key not in own}
    options["precision"] = options.get("precision") or (32 if options.get("arch") == "vulkan" else 64)
    options["steps"] = options.get("steps") or load_task(name).check_steps
    return options
