"""Putting the fields of sparse layouts of a program into pools, with what keeps their tables in place."""

from __future__ import annotations

from diffsim.compiler.checks.diagnostics import refuse
from diffsim.compiler.ir import Location, Stage
from diffsim.compiler.program.clearing import clear_stage
from diffsim.compiler.program.copying import copy_stage
from diffsim.compiler.program.lowered import Clearing, LoweredProgram
from diffsim.compiler.program.sparse.phases import Known, Phase
from diffsim.compiler.program.topology import Topology, hidden_constant, topologies
from diffsim.errors import Diagnostic

__all__ = ["place_sparse"]


def place_sparse(lowered: LoweredProgram, real: str) -> None:
    """Place the fields of sparse layouts, in all stages of a program; nothing where there are none.

    Args:
        lowered: The program, changed in place.
        real: The working precision.

    Raises:
        ConfigError: Fields of one layout do not go together.
        TraceError: A kernel writes where nobody can know before.
    """
    found = topologies(lowered.buffers)
    if not found:
        return
    for topology in found:
        _check(topology, lowered)
        for buffer in topology.fields:
            topology.place(buffer)
    known = Known.of(lowered.buffers, found, real, lowered.alarms)
    begin, step, terminal = Phase(known, "begin"), Phase(known, "step"), Phase(known, "terminal")
    placed = [
        begin.placed(lowered.begin),
        step.placed(lowered.step),
        step.placed(lowered.running),
        terminal.placed(lowered.terminal),
    ]
    first = _initial(lowered, found, real)
    lowered.begin = [*first, *begin.opening(), *placed[0], *begin.closing()]
    lowered.step = [*step.opening(), *placed[1]]
    lowered.running = [*placed[2], *step.closing()]
    lowered.terminal = [*terminal.opening(), *placed[3], *terminal.closing()]
    lowered.topologies = found


def _check(topology: Topology, lowered: LoweredProgram) -> None:
    """Refuse fields whose blocks no step finds.

    Raises:
        TraceError: There is one.
    """
    for buffer in topology.fields:
        if buffer.kind == "derived":
            where = next((stage.where for stage in lowered.step if stage.where is not None), None)
            message = (
                f"{buffer.label} must be written by a step, since its layout is sparse, got a State that "
                "none writes; declare it as ds.Constant(..., layout=...), or without that layout"
            )
            refuse(Diagnostic("SPARSE", str(where or Location("", 0, 0, "step")), message))


def _initial(lowered: LoweredProgram, found: list[Topology], real: str) -> list[Stage]:
    """Return what stands before all else: tables are empty, States hold what they begin with."""
    stages: list[Stage] = []
    for topology in (t for t in found if not t.fixed):
        for table in [*topology.tables.values(), *topology.flags, *topology.peaks]:
            stages.append(clear_stage(Clearing(table, None), real))
        if not topology.carried:
            continue
        key = topology.name
        blocks = hidden_constant(lowered.buffers, f"{key} first blocks", topology.blocks.shape)
        total = hidden_constant(lowered.buffers, f"{key} first total", ())
        topology.first_blocks, topology.first_total = blocks, total
        stages.append(copy_stage(f"first blocks of {key}", blocks, None, topology.blocks, 0, real))
        stages.append(copy_stage(f"first total of {key}", total, None, topology.total, 0, real))
        for state in (b for b in topology.fields if b.kind == "state"):
            initial = lowered.initial[state.source.key]
            topology.place_first(initial)
            stages.append(copy_stage(f"initial {state.source.key}", initial, None, state, 0, real))
    return stages
