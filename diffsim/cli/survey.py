"""Train or check all tasks, each in a process of its own, and tell of them in one table."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from diffsim.cli.resolve import resolve
from diffsim.errors import DiffsimError, MissingExtraError

__all__ = ["Row", "metric_lines", "survey", "train_task"]

Work = Callable[[str, dict[str, Any]], "Row"]


@dataclass(frozen=True)
class Row:
    """What there is to say of one task.

    Attributes:
        name: The task.
        passed: Whether all went as it should; None where an optional package is missing.
        cells: The columns of the table, in order.
        notes: What does not fit into a table, one line each.
        seconds: Wall time, starting Python included.
    """

    name: str
    passed: bool | None
    cells: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


def survey(work: Work, requests: Sequence[tuple[str, dict[str, Any]]], jobs: int) -> Iterator[Row]:
    """Do the work for each task, `jobs` at a time, and yield the rows in the order of the requests.

    A process that dies, or an error, is a row that did not pass; the others go on.

    Args:
        work: A function of a module, so that another process finds it: of a task's name and its options.
        requests: The tasks and their options.
        jobs: How many processes run at a time.

    Yields:
        One row for each request.
    """
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(lambda request: _apart(work, *request), requests)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def train_task(name: str, given: dict[str, Any]) -> Row:
    """Train a task; its columns are iterations, first cost and best cost.

    Raises:
        DiffsimError: The task can't be built, or its rollout failed.
    """
    from diffsim.progress import Progress
    from diffsim.tasks.runs import History, train
    from diffsim.tasks.runs.folder import RunFolder

    options = dict(given)
    path, draw = Path(options.pop("out")), not options.pop("no_pictures", False)
    settings, _ = resolve(name, options)
    outcome = train(settings, path, Progress(), draw)
    with RunFolder(path) as folder:
        snapshot = folder.load()
    costs = (snapshot.history if snapshot else History()).costs
    best = outcome.best[1] if outcome.best else float("nan")
    notes = tuple(metric_lines(outcome.metrics))
    cells = (str(outcome.iterations), f"{float(costs[0].sum()):.4g}", f"{best:.4g}")
    return Row(name, outcome.status == "finished", cells, notes)


def metric_lines(metrics: dict[str, dict[str, float]]) -> list[str]:
    """Write figures of merit, before and after, one line each."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    return [f"{name}: {before.get(name, float('nan')):.4g} -> {value:.4g}" for name, value in after.items()]


def _apart(work: Work, name: str, given: dict[str, Any]) -> Row:
    """Do the work in a process of its own."""
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, name, given, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        row: Row = ours.recv()
    except EOFError:  # it died without a word
        process.join()
        row = Row(name, False, (), (f"its process ended with exit status {process.exitcode}",))
    process.join()
    return Row(row.name, row.passed, row.cells, row.notes, time.perf_counter() - began)


def _child(work: Work, name: str, given: dict[str, Any], answer: Connection) -> None:
    """Send a row; an error that users are meant to read is one too."""
    try:
        row = work(name, given)
    except MissingExtraError as error:
        row = Row(name, None, (), (" ".join(str(error).split()),))
    except DiffsimError as error:
        row = Row(name, False, (), (" ".join(str(error).split()),))
    except KeyboardInterrupt:
        os._exit(130)  # the parent was interrupted too, and says so
    answer.send(row)
    answer.close()
