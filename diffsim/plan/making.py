"""Making a plan: from a program and a request to everything that decides where time lives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError
from diffsim.plan.choice import Budget, Choice
from diffsim.plan.lanes import lanes_of
from diffsim.plan.modes import block_of, choose_mode
from diffsim.plan.report import Plan
from diffsim.plan.request import Request
from diffsim.plan.room import rooms
from diffsim.plan.scratch import choose_scratch, smallest
from diffsim.plan.sizes import Sizes
from diffsim.runtime import RuntimeInfo

__all__ = ["make_plan"]


def make_plan(lowered: LoweredProgram, stages: StageSet, info: RuntimeInfo, request: Request) -> Plan:
    """Choose the mode, the window and the checkpoints of a rollout.

    Args:
        lowered: The program.
        stages: Its stages and their adjoints.
        info: How the runtime was started.
        request: What is asked for.

    Raises:
        ConfigError: A budget is too small, or the folder for checkpoints cannot be written to.
    """
    block = block_of(info, request.worlds, request.mode)
    plan = _made(lowered, stages, info, request, block)
    return plan if block == 1 or plan.mode == "fused" else _made(lowered, stages, info, request, 1)


def _made(lowered: LoweredProgram, stages: StageSet, info: RuntimeInfo, request: Request, block: int) -> Plan:
    """Make a plan for blocks of so many worlds."""
    steps, window, worlds = request.steps, request.window, request.worlds
    taped = request.mode == "tape"
    if taped and not info.on_cpu:
        raise ConfigError(
            f"mode must be another one than 'tape' on {info.arch}, got 'tape', which needs a CPU; call "
            "diffsim.init(arch='cpu'), or use mode='step'"
        )
    lanes = lanes_of(stages, info, request, block)

    def sized(held: bool) -> Sizes:
        return Sizes(lowered, stages, steps, worlds, lanes, not info.on_cpu, block, held, taped)

    budget = Budget(request.device_bytes, request.host_bytes, _room_on_disk(request))
    # then the same steps are in the same launches, whatever the window
    sizes, choice, why = choose_scratch(sized, budget, request)
    schedule = choice.schedule
    whole = schedule.kind == "mixed"
    layout = sizes.layout(choice.window, 0 if whole else schedule.device, schedule.device if whole else 0)
    launched = choose_mode(stages, info, request, layout, choice.forward / steps)
    outside = schedule.host + schedule.disk
    # mixed schedules with too few places keep States in some of them
    states = not whole or schedule.device + outside < schedule.segments - 1
    staged = sizes.staging if outside and states else 0
    staging = {"staging": staged} if outside and states else {}
    if not whole and window is None:
        layout = sizes.roomy(layout, budget.device - staged)
    size = sizes.whole(choice.window) if whole else sizes.per_checkpoint
    return Plan(
        mode=launched.mode,
        reason=launched.reason,
        layout=layout,
        schedule=schedule,
        recomputation=choice.forward / steps + (0.0 if layout.held else 1.0),
        scratch=why,
        bytes=sizes.table(layout) | staging,
        fields=sizes.by_field(layout),
        tier_bytes={"host": schedule.host * size, "disk": schedule.disk * size},
        budget=budget.device,
        smallest=smallest(sized, budget, request),
        larger=_larger(sized, budget, request, layout.held, choice),
        spill=None if request.spill is None else os.fspath(request.spill),
        forced=window is not None,
        chunk=launched.chunk,
        compile_seconds=launched.compile_seconds,
        candidates=launched.candidates,
        tunable=launched.tunable,
        iterations=int(request.iterations),
        remedy=launched.remedy,
        rooms=rooms(lowered.topologies),
    )


def _room_on_disk(request: Request) -> int:
    """Return what checkpoints on the disk may take: the budget, or what is free where that is less.

    Raises:
        ConfigError: The folder cannot be written to, or is to be made where no folder is.
    """
    if request.spill is None:
        return 0
    folder = os.fspath(request.spill)
    there = folder if os.path.exists(folder) else os.path.dirname(os.path.abspath(folder))
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"spill must be a folder that can be written to, got {folder!r}; name another one")
    return min(request.disk_bytes, shutil.disk_usage(there).free)


def _larger(
    sized: Callable[[bool], Sizes], budget: Budget, request: Request, held: bool, choice: Choice
) -> tuple[tuple[int, float], ...]:
    """Return what twice the memory would buy, and the memory with which nothing is recomputed."""
    steps = request.steps
    if (held and choice.window >= steps) or request.window is not None:
        return ()
    found = []
    everything = sized(True).total(steps)
    twice = 2 * budget.device
    if twice < everything:
        better = choose_scratch(sized, budget._replace(device=twice), request)
        again = 0.0 if better.sizes.held else 1.0
        found.append((twice, better.choice.forward / steps + again))
    if (choice.forward > steps or not held) and request.scratch != "recomputed":
        found.append((everything, 1.0))
    return tuple(found)
