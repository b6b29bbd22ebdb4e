"""Runs: settings in, a folder of results out, that can be stopped at any moment and go on later."""

from diffsim.tasks.runs.folder import PICTURES, RunFolder, check_new, free_folder
from diffsim.tasks.runs.reports import read_report, write_comparison, write_report
from diffsim.tasks.runs.settings import (
    OptimizerOptions,
    RunOptions,
    Settings,
    make_optimizer,
    resolve_optimizer,
)
from diffsim.tasks.runs.state import History, Snapshot
from diffsim.tasks.runs.training import Outcome, render, report, resume, train
from diffsim.tasks.runs.watching import Watcher

__all__ = [
    "PICTURES",
    "History",
    "OptimizerOptions",
    "Outcome",
    "RunFolder",
    "RunOptions",
    "Settings",
    "Snapshot",
    "Watcher",
    "check_new",
    "free_folder",
    "make_optimizer",
    "read_report",
    "render",
    "report",
    "resolve_optimizer",
    "resume",
    "train",
    "write_comparison",
    "write_report",
]
