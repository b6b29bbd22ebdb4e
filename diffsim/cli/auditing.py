"""The command `audit`: Taichi's reverse mode held against ours and against differences."""

from __future__ import annotations

from typing import Any

import click

from diffsim.cli.resolve import resolve, start
from diffsim.tasks.registry import load_task

__all__ = ["audit"]


def audit(name: str, **given: Any) -> int:
    """Say of each kernel of NAME whether Taichi's own reverse mode gets its adjoint right, and why not.

    Each kernel is run alone, in f64: its adjoint by Taichi and by diffsim, and central differences. The exit
    status is 1 where diffsim's own adjoint disagrees with differences, else 0, whatever Taichi's does. A task
    is looked at in its small size (that of `diffsim train NAME --smoke`) unless its options say otherwise.
    """
    from diffsim.rollout import Rollout

    given["precision"] = given["precision"] or 64
    given["steps"] = given["steps"] or load_task(name).check_steps
    settings, task = resolve(name, given, small=True)
    rollout = Rollout(start(settings, task), **settings.run.planned())
    try:
        task.prepare(rollout)
        report = rollout.audit()
    finally:
        rollout.close()
    click.echo(str(report))
    return 0 if report.passed else 1
