"""Deciding where time lives: the mode, the window of steps in memory, the checkpoints and their schedule."""

from diffsim.plan.making import make_plan
from diffsim.plan.report import Plan
from diffsim.plan.request import MODES, SCHEDULES, Request
from diffsim.plan.schedule import Operation, Schedule, operations, recomputation
from diffsim.plan.sizes import size_tapes
from diffsim.sizes import parse_bytes, show_bytes

__all__ = [
    "MODES",
    "SCHEDULES",
    "Operation",
    "Plan",
    "Request",
    "Schedule",
    "make_plan",
    "operations",
    "parse_bytes",
    "recomputation",
    "show_bytes",
    "size_tapes",
]
