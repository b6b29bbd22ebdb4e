"""One kernel as a graph: its operations, or its lines where those are too many."""

from __future__ import annotations

from pathlib import Path

from diffsim.compiler.ir import Stage
from diffsim.compiler.picture.calls import calls_of
from diffsim.compiler.picture.lines import Lines
from diffsim.compiler.picture.operations import Operations
from diffsim.compiler.picture.styles import LINES, STYLES
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError
from diffsim.options import unknown_name
from diffsim.view.graph import Graph

__all__ = ["kernel_graph", "kernel_stages"]

_MOST = 100  # operations that a person can follow
_MOST_LINES = 90


def kernel_stages(lowered: LoweredProgram) -> dict[str, Stage]:
    """Return the kernels that the user wrote, by their numbers in the step's picture and by their names.

    Of kernels of one name the first has it; one without its class will do where no other has that name.
    """
    found: dict[str, Stage] = {}
    short: dict[str, list[Stage]] = {}
    calls = [call for call in calls_of(lowered) if not call.handed]
    for k, call in enumerate(calls, 1):
        if call.group is None:
            found[str(k)] = call.stages[0]
        for stage in call.stages:
            if found.setdefault(stage.name, stage) is stage:
                short.setdefault(stage.name.rpartition(".")[2], []).append(stage)
    for name, stages in short.items():
        if len(stages) == 1:
            found.setdefault(name, stages[0])
    return found


def kernel_graph(lowered: LoweredProgram, kernel: str | int) -> Graph:
    """Draw the operations of one kernel; its lines where there are more than 100.

    Args:
        lowered: The program.
        kernel: Its name, with or without its class, or its number in the picture of the step.

    Raises:
        ConfigError: There is no such kernel, or it has more lines than a picture can show.
    """
    stages = kernel_stages(lowered)
    stage = (
        stages.get(str(kernel)) if isinstance(kernel, str | int) and not isinstance(kernel, bool) else None
    )
    if stage is None:
        names = list(dict.fromkeys(s.name for s in stages.values()))
        raise ConfigError(
            unknown_name("kernel", str(kernel), names, "a kernel of the program", "explain() tells of each")
        )
    drawn = Operations(stage)
    title, count = f"{stage.name}: operations", len(drawn.nodes)
    if count > _MOST:
        drawn, title = Lines(stage), f"{stage.name}: lines, for it has {count:,} operations"
        if len(drawn.nodes) > _MOST_LINES:
            raise ConfigError(
                f"a kernel must have at most {_MOST} operations or {_MOST_LINES} lines to be drawn, "
                f"got {count:,} and {len(drawn.nodes):,} in {stage.name}; explain() tells of it in words"
            )
    where = f" {Path(stage.where.file).name}, line {stage.where.line}." if stage.where is not None else ""
    caption = f"What gradients flow through is solid; they run against the arrows.{where}"
    used = _used(drawn)
    clusters = tuple(c for c in drawn.clusters if c.key in used)
    return Graph(
        title, tuple(drawn.nodes.values()), tuple(drawn.edges), clusters, STYLES, LINES, None, "TB", caption
    )


def _used(drawn: Operations) -> set[str]:
    """Return the clusters that hold something."""
    parents = {c.key: c.parent for c in drawn.clusters}
    used = set()
    for node in drawn.nodes.values():
        at = node.cluster
        while at:
            used.add(at)
            at = parents[at]
    return used
