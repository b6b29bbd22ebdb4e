"""How many lanes run in parallel, add to copies of what they share, and record for the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from diffsim.compiler.autodiff import expanded
from diffsim.compiler.codegen.layout import TAPE_BYTES, Layout
from diffsim.compiler.codegen.sharing import Axis, Deal, Sums, deal, sums_in, tape_bytes
from diffsim.compiler.codegen.sinking import sunk
from diffsim.compiler.codegen.stages import StageSet, all_adjoints, parameter_adjoints, tapes_of
from diffsim.compiler.codegen.stepwise import PHASES, bounds_of, groups_of, nests_of
from diffsim.compiler.ir import Block, Buffer, Stage, Value
from diffsim.plan.request import Request
from diffsim.runtime import RuntimeInfo

__all__ = ["Lanes", "lanes_of"]

_MOST_GROUPS = 1 << 16  # threads of a fused launch that fill any GPU; each runs several worlds beyond it
_FEWEST_GROUPS = 32  # a GPU's smallest unit, whatever memory that takes
_MOST_LANES = 1 << 14  # threads that add to one place, each to a copy of its own
_LITTLE = 1 << 20  # bytes that are no matter
_SHARE = 256 << 20  # bytes of all copies, or an eighth of the budget where that is less


@dataclass(frozen=True)
class Lanes:
    """The lanes of a rollout; see `Layout` for those that modes `step` and `chunk` have on a GPU.

    Attributes:
        groups: Lanes of mode `fused`.
        lanes: Threads that add to the same place of a shared Param's gradient.
        parts: Threads that add to the same cost.
        alone: Gradients of which no thread meets another.
        tape_bytes: What the threads of a stage may record together.
        tapes: The threads that record in each tape, where they are more than the groups.
    """

    groups: int
    lanes: int = 1
    parts: int = 1
    alone: frozenset[str] = frozenset()
    tape_bytes: int = TAPE_BYTES
    tapes: dict[Buffer, int] = field(default_factory=dict)


def lanes_of(stages: StageSet, info: RuntimeInfo, request: Request, block: int = 1) -> Lanes:
    """Return how many lanes there are: a few per thread on a CPU, on a GPU as many as memory is worth.

    Args:
        stages: The program and its adjoints.
        info: How the runtime was started.
        request: What is asked for.
        block: How many worlds run in one register.
    """
    worlds = request.worlds
    if info.on_cpu:
        taped = request.mode == "tape"  # Taichi adds to one gradient of each field
        groups = 1 if taped else min(-(-worlds // block), info.threads)
        return Lanes(groups, tapes={tape: worlds for s in all_adjoints(stages) for tape in tapes_of(s)})
    return _on_device(stages, info.real, request)


def _on_device(stages: StageSet, real: str, request: Request) -> Lanes:
    worlds, budget = request.worlds, request.device_bytes
    share, recording = min(_SHARE, max(_LITTLE, budget // 8)), min(TAPE_BYTES, max(_LITTLE, budget // 4))
    plain = Layout(request.steps, worlds, 1, 1, stages.lowered.history, 0, True, tape_bytes=recording)
    needed, parts, per_lane = 1, 1, 0
    meeting: set[Buffer] = set()
    tapes: dict[Buffer, int] = {}
    for stage, made, sums in _deals(stages, real, plain):
        for tape in tapes_of(stage):
            tapes[tape] = max(made.threads, tapes.get(tape, 1))
        per_lane += tape_bytes(stage)
        if sums.shared and (made.rounds > 1 or worlds > 1):
            needed = max(needed, made.rounds)
            meeting |= sums.shared
        elif sums.cost:
            parts = max(parts, made.rounds)
    shared = [b for b in parameter_adjoints(stages.lowered) if plain.is_shared(b)]
    alone = frozenset(b.name for b in shared if worlds == 1 and b not in meeting)
    copy = sum(plain.bytes(b) for b in shared if b.name not in alone)
    fitting = _power(share // max(1, copy))
    groups = min(worlds, _MOST_GROUPS, max(_FEWEST_GROUPS, _power(share // max(1, copy + per_lane))))
    lanes = min(_power(2 * needed - 1), _MOST_LANES, fitting)
    return Lanes(groups, lanes, min(parts, max(1, _MOST_LANES // worlds)), alone, recording, tapes)


def _power(count: int) -> int:
    """Return the largest power of two that is not more, at least 1."""
    return 1 << (max(1, count).bit_length() - 1)


def _deals(stages: StageSet, real: str, layout: Layout) -> Iterator[tuple[Stage, Deal, Sums]]:
    """Yield each nest of each stage, as mode `step` deals it out if as many lanes as it wants are there."""
    world = (Axis("w", 0, layout.worlds),) if layout.worlds > 1 else ()
    for stage in (s for phase in PHASES for group in groups_of(stages, phase, real) for s in group):
        ready = sunk(expanded(stage))
        for body, loops in _parts(ready):
            axes: dict[Value, Axis] = {index: Axis("", low, high) for index, (low, high) in loops.items()}
            sums = sums_in(body, list(axes), layout)
            yield ready, deal(axes, world, sums, layout, tape_bytes(ready), wanted=True), sums


def _parts(stage: Stage) -> Iterator[tuple[Block, dict[Value, tuple[int, int]]]]:
    """Yield what is shared between threads: the nests of a stage, or the whole in each world."""
    nests = nests_of(stage, on_cpu=False)
    if not nests:
        yield stage.body, {}
    for nest in nests:
        yield nest[-1].body, {loop.index: bounds_of(loop) for loop in nest}
