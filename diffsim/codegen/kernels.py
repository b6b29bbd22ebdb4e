"""Assembling whole kernels: segments of steps in one launch (`fused`), or one launch per stage (`step`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffsim.analysis.program import LoweredProgram, clear_stage
from diffsim.codegen.layout import Layout
from diffsim.codegen.motion import hoisted
from diffsim.codegen.printer import Lane, Printer
from diffsim.ir import Block, Buffer, Const, For, Load, Op, Stage, Store, Value, walk

__all__ = ["KernelText", "KernelWriter", "StageSet", "fused_backward", "fused_forward", "step_kernels"]

_PARALLEL_TAPE_BYTES = 64 << 20  # above it a stage with tapes runs its loops one by one
_SERIAL_WORK = 128  # iterations below which waking the thread pool costs more than the loop


@dataclass
class StageSet:
    """The stages of a program and their adjoints.

    Attributes:
        lowered: The forward stages.
        begin_adj, step_adj, running_adj, terminal_adj: Their adjoints, in the order of the forward stages.
    """

    lowered: LoweredProgram
    begin_adj: list[Stage]
    step_adj: list[Stage]
    running_adj: list[Stage]
    terminal_adj: list[Stage]


@dataclass
class KernelText:
    """The source of a Taichi kernel and the memory that it names.

    Attributes:
        name: The function's name.
        source: Its text.
        used: Names of fields in the text: the buffer and the component of each.
        tapes: Lanes that each tape needs.
    """

    name: str
    source: str
    used: dict[str, tuple[Buffer, int]]
    tapes: dict[Buffer, int] = field(default_factory=dict)


class KernelWriter(Printer):
    """A printer of whole kernels."""

    def __init__(self, name: str, arguments: Sequence[str], layout: Layout, real: str) -> None:
        super().__init__(layout, real)
        self.kernel_name = name
        self.tapes: dict[Buffer, int] = {}
        self.lines.append(f"def {name}({', '.join(f'{a}: ti.i32' for a in arguments)}):")

    def finish(self) -> KernelText:
        return KernelText(self.kernel_name, "\n".join(self.lines) + "\n", dict(self.used), dict(self.tapes))

    @contextmanager
    def inside(self, head: str) -> Iterator[None]:
        self.line(head)
        self.indent += 1
        yield
        self.indent -= 1

    def need_tapes(self, stage: Stage, lanes: int) -> None:
        for buffer in tapes_of(stage):
            self.tapes[buffer] = max(lanes, self.tapes.get(buffer, 1))

    def stage(self, stage: Stage, lane: Lane) -> None:
        """Print a stage with serial loops."""
        self.name(stage.t, lane.t)
        self.need_tapes(stage, self.layout.groups)
        self.block(hoisted(stage, outermost=True).body, lane)

    def zero(self, buffer: Buffer, leading: Sequence[str]) -> None:
        """Print loops that zero all elements of a buffer at given leading indices."""
        self.elements(buffer, lambda place: [f"{place(c, leading)} = {self._zero_of(buffer)}" for c in range(buffer.components)])

    def _zero_of(self, buffer: Buffer) -> str:
        return self.constant(Const(0.0, buffer.dtype))

    def elements(self, buffer: Buffer, body: Callable[[Callable[[int, Sequence[str]], str]], list[str]]) -> None:
        """Print serial loops over the spatial elements of a buffer around lines made by `body`."""
        depth = self.indent
        indices = []
        for n in buffer.shape:
            index = self.fresh("e")
            self.line(f"for {index} in range({n}):")
            self.indent += 1
            indices.append(index)

        def place(component: int, leading: Sequence[str], of: Buffer = buffer) -> str:
            return self.at(of, component, [*leading, *indices])

        for text in body(place):
            self.line(text)
        self.indent = depth

    def at(self, buffer: Buffer, component: int, indices: Sequence[str]) -> str:
        """Return a place by the texts of all its indices, world first."""
        name = f"{buffer.name}_{component}"
        self.used[name] = (buffer, component)
        ordered = self.layout.order(buffer, tuple(indices))
        return f"{name}[{', '.join(ordered) or 'None'}]"


def tapes_of(stage: Stage) -> set[Buffer]:
    """Return the tapes that a stage uses."""
    return {op.ref.buffer for op in walk(stage.body) if isinstance(op, Load | Store) and op.ref.buffer.kind == "tape"}


def _uses_t(stages: Sequence[Stage]) -> bool:
    controls = any(
        getattr(op, "ref", None) is not None and op.ref.buffer.kind == "control"  # type: ignore[union-attr]
        for s in stages
        for op in walk(s.body)
    )
    return controls or any(s.t in _read_values(s.body) for s in stages)


def _read_values(block: Block) -> set[Value]:
    from diffsim.ir import blocks_of, operands_of

    read = {o for op in walk(block) for o in operands_of(op) if isinstance(o, Value)}
    return read | {y for op in walk(block) for b in blocks_of(op) for y in b.yields if isinstance(y, Value)}


# -- fused ----------------------------------------------------------------------------------------------------------


@contextmanager
def _lanes(w: KernelWriter) -> Iterator[Lane]:
    """Print the loop over lanes (groups of worlds); yield how it is called."""
    groups, worlds = w.layout.groups, w.layout.worlds
    if groups == 1:
        w.line("ti.loop_config(serialize=True)")
    elif not w.layout.world_last:  # else Taichi gives several lanes to one thread
        w.line("ti.loop_config(block_dim=1)")
    with w.inside(f"for g in range({groups}):"):
        group = "g" if groups > 1 else "0"
        yield Lane(world="g" if groups == worlds > 1 else "w" if worlds > 1 else "0", group=group, lane=group)


@contextmanager
def _worlds(w: KernelWriter, lane: Lane) -> Iterator[None]:
    groups, worlds = w.layout.groups, w.layout.worlds
    if lane.world != "w":
        yield
        return
    with w.inside(f"for w in range(g * {worlds} // {groups}, (g + 1) * {worlds} // {groups}):"):
        yield


@contextmanager
def _time(w: KernelWriter, heads: Sequence[str], stages: Sequence[Stage]) -> Iterator[None]:
    """Print the loops that name the step's slots `s0`, `s1`, ... as bare loop variables, and the global time."""
    depth = w.indent
    for head in heads:
        w.line(head)
        w.indent += 1
    for k in range(1, w.layout.history + 1):
        w.line(f"for s{k} in range(s0 + {k}, s0 + {k + 1}):")
        w.indent += 1
    if _uses_t(stages):
        w.line("t = t0 + s0")
    yield
    w.indent = depth


def _step_lane(lane: Lane, history: int) -> Lane:
    return Lane("t", lambda o: f"s{o + history - 1}", "s0", lane.world, lane.group, lane.lane)


def _begin_lane(lane: Lane, history: int) -> Lane:
    return Lane("t0", lambda o: str(o + history - 1), "0", lane.world, lane.group, lane.lane)


def fused_forward(lowered: LoweredProgram, layout: Layout, real: str) -> KernelText:
    """Print `forward(t0, n, last)`: steps `t0 .. t0 + n - 1` of every world in one launch."""
    w = KernelWriter("forward", ("t0", "n", "last"), layout, real)
    cost = lowered.buffers.by_field[id(lowered.program.simulator.cost)]
    clears = [clear_stage(b, time, real) for b, time in lowered.clear]
    stages = clears + lowered.step + lowered.running
    ending = [clear_stage(b, time, real) for b, time in lowered.clear_terminal] + lowered.terminal
    with _lanes(w) as lane, _worlds(w, lane):
        with w.inside("if t0 == 0:"):
            w.line(f"{w.at(cost, 0, [lane.world])} = {w._zero_of(cost)}")
            for stage in lowered.begin:
                w.stage(stage, _begin_lane(lane, layout.history))
        with _time(w, ["for s0 in range(n):"], stages):
            for stage in stages:
                w.stage(stage, _step_lane(lane, layout.history))
        if ending:
            with w.inside("if last == 1:"), _time(w, ["for s0 in range(n, n + 1):"], ending):
                for stage in ending:
                    w.stage(stage, _step_lane(lane, layout.history))
    return w.finish()


def fused_backward(stages: StageSet, layout: Layout, real: str) -> KernelText:
    """Print `backward(t0, n, last)`: the adjoints of those steps, from the last to the first, in one launch."""
    lowered = stages.lowered
    w = KernelWriter("backward", ("t0", "n", "last"), layout, real)
    clears = [clear_stage(b, time, real) for b, time in lowered.clear_adjoint]
    body = clears + stages.running_adj[::-1] + stages.step_adj[::-1]
    ending = clears + stages.terminal_adj[::-1]
    with _lanes(w) as lane:
        with w.inside("if last == 1:"):
            for buffer in parameter_adjoints(lowered):
                if not buffer.per_world:
                    _zero_parameter(w, buffer, lane)
            w.line("pass")
        with _worlds(w, lane):
            _seed_window(w, lowered, lane)
            with w.inside("if last == 1:"):
                for buffer in parameter_adjoints(lowered):
                    if buffer.per_world:
                        _zero_parameter(w, buffer, lane)
                with _time(w, ["for s0 in range(n, n + 1):"], ending):
                    for stage in ending:
                        w.stage(stage, _step_lane(lane, layout.history))
                    w.line("pass")
            with _time(w, ["for r in range(n):", "for s0 in range(n - 1 - r, n - r):"], body):
                for stage in body:
                    w.stage(stage, _step_lane(lane, layout.history))
            _save_carry(w, lowered, lane)
            with w.inside("if t0 == 0:"):
                for stage in stages.begin_adj[::-1]:
                    w.stage(stage, _begin_lane(lane, layout.history))
                w.line("pass")
    return w.finish()


def parameter_adjoints(lowered: LoweredProgram) -> list[Buffer]:
    """Return the adjoint buffers of Params, Controls and initial values."""
    buffers = [b for b in lowered.buffers.by_field.values() if b.kind in ("param", "control")]
    return [b.adjoint for b in [*buffers, *lowered.initial.values()] if b.adjoint is not None]


def carry_of(buffer: Buffer) -> Buffer:
    """Return the buffer that carries a State's adjoint from segment to segment."""
    known = getattr(buffer, "_carry", None)
    if known is None:
        known = Buffer(buffer.name + "_carry", "carry", buffer.dtype, buffer.shape, buffer.components)
        buffer._carry = known  # type: ignore[attr-defined]
    carry: Buffer = known
    return carry


def checkpoint_of(buffer: Buffer) -> Buffer:
    """Return the buffer that keeps checkpoints of a State."""
    known = getattr(buffer, "_checkpoint", None)
    if known is None:
        known = Buffer(buffer.name + "_kept", "checkpoint", buffer.dtype, buffer.shape, buffer.components)
        buffer._checkpoint = known  # type: ignore[attr-defined]
    kept: Buffer = known
    return kept


def _zero_parameter(w: KernelWriter, buffer: Buffer, lane: Lane) -> None:
    names = {"world": lane.world, "group": lane.group, "time": "z"}
    leading = [names[axis] for axis in w.layout.axes(buffer)]
    if "z" in leading:
        with w.inside(f"for z in range({w.layout.steps}):"):
            w.zero(buffer, leading)
    else:
        w.zero(buffer, leading)


def _seed_window(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    """Zero the adjoints of a window, and put those of the segment behind it at its end."""
    history = w.layout.history
    for state in lowered.states:
        assert state.adjoint is not None  # noqa: S101  (States are differentiable)
        adjoint, carry = state.adjoint, carry_of(state)
        with w.inside(f"for z in range(n + {history}):"):
            w.zero(adjoint, [lane.world, "z"])
        with w.inside("if last == 0:"), w.inside(f"for z in range({history}):"):
            _copy(w, carry, [lane.world, "z"], adjoint, [lane.world, "n + z"])


def _save_carry(w: KernelWriter, lowered: LoweredProgram, lane: Lane) -> None:
    for state in lowered.states:
        assert state.adjoint is not None  # noqa: S101  (States are differentiable)
        with w.inside(f"for z in range({w.layout.history}):"):
            _copy(w, state.adjoint, [lane.world, "z"], carry_of(state), [lane.world, "z"])


def _copy(w: KernelWriter, source: Buffer, source_at: Sequence[str], target: Buffer, target_at: Sequence[str]) -> None:
    def lines(place: Callable[..., str]) -> list[str]:
        return [
            f"{place(c, target_at, target)} = {place(c, source_at, source)}" for c in range(source.components)
        ]

    w.elements(source, lines)


# -- step by step ---------------------------------------------------------------------------------------------------


def step_kernels(stages: StageSet, layout: Layout, real: str, on_cpu: bool) -> dict[str, list[KernelText]]:
    """Print one kernel per stage: `begin`, `step`, `terminal` and their adjoints, each with arguments `(t, s0)`."""
    lowered = stages.lowered
    history = layout.history

    def kernel(name: str, parts: list[Stage], lane: Lane) -> KernelText:
        w = KernelWriter(name, ("t", "s0"), layout, real)
        for part in parts:
            _parallel_stage(w, part, lane, on_cpu)
        w.line("pass")
        return w.finish()

    def many(prefix: str, clears: list[tuple[Buffer, int]], parts: list[Stage], lane: Lane) -> list[KernelText]:
        zero = [clear_stage(b, time, real) for b, time in clears]
        groups = ([[*zero]] if zero else []) + [[p] for p in parts]
        return [kernel(f"{prefix}{k}", group, lane) for k, group in enumerate(groups)]

    here = Lane("t", lambda o: f"s0 + {o + history - 1}" if o + history - 1 else "s0", "s0")
    start = Lane("t", lambda o: str(o + history - 1), "0")
    return {
        "begin": many("begin", [], lowered.begin, start),
        "step": many("step", lowered.clear, lowered.step + lowered.running, here),
        "terminal": many("terminal", lowered.clear_terminal, lowered.terminal, here),
        "begin_adj": many("begin_adj", [], stages.begin_adj[::-1], start),
        "step_adj": many("step_adj", lowered.clear_adjoint, stages.running_adj[::-1] + stages.step_adj[::-1], here),
        "terminal_adj": many("terminal_adj", lowered.clear_adjoint, stages.terminal_adj[::-1], here),
    }


def _parallel_stage(w: KernelWriter, stage: Stage, lane: Lane, on_cpu: bool) -> None:
    """Print each top-level loop as a loop that Taichi runs in parallel, worlds included."""
    worlds = w.layout.worlds
    stage = hoisted(stage, outermost=False)
    nests = [_nest(op) for op in stage.body.ops]
    w.name(stage.t, lane.t)
    w._plan_inlining(stage.body)
    if not all(nests) or not _tapes_fit(stage, nests, worlds):
        _serial_worlds(w, stage, lane, on_cpu)
        return
    for nest in nests:
        assert nest is not None  # noqa: S101  (checked above)
        _parallel_nest(w, stage, nest, lane, on_cpu)


def _nest(op: Op) -> list[For] | None:
    """Return the perfect nest of parallel loops of known bounds that an operation begins with, or None."""
    nest: list[For] = []
    while isinstance(op, For) and op.parallel and not op.params and _known_bounds(op) and not op.descending:
        nest.append(op)
        if len(op.body.ops) != 1:
            break
        op = op.body.ops[0]
    return nest or None


def _known_bounds(op: For) -> bool:
    return isinstance(op.start, Const) and isinstance(op.stop, Const)


def _trips(loop: For) -> int:
    assert isinstance(loop.start, Const) and isinstance(loop.stop, Const)  # noqa: S101, PT018  (see _known_bounds)
    return max(0, int(loop.stop.value) - int(loop.start.value))


def _tapes_fit(stage: Stage, nests: Sequence[list[For] | None], worlds: int) -> bool:
    lanes = worlds * max((math.prod(_trips(f) for f in nest) for nest in nests if nest), default=1)
    return sum(8 * lanes * b.shape[0] for b in tapes_of(stage)) <= _PARALLEL_TAPE_BYTES


def _parallel_nest(w: KernelWriter, stage: Stage, nest: list[For], lane: Lane, on_cpu: bool) -> None:
    worlds = w.layout.worlds
    names = [w.fresh("i") for _ in nest]
    for loop, name in zip(nest, names, strict=True):
        w.name(loop.index, name)
    work = worlds * math.prod(_trips(f) for f in nest)
    serial = on_cpu and work <= _SERIAL_WORK
    if serial:
        w.line("ti.loop_config(serialize=True)")
    bounds = [(int(f.start.value), int(f.stop.value)) for f in nest]  # type: ignore[union-attr]
    targets = (["w"] if worlds > 1 else []) + names
    if len(targets) == 1:
        head = f"for {targets[0]} in range({bounds[0][0]}, {bounds[0][1]}):"
    else:
        axes = ([str(worlds)] if worlds > 1 else []) + [str(b) for b in bounds]
        head = f"for {', '.join(targets)} in ti.ndrange({', '.join(axes)}):"
    flat = "w" if worlds > 1 else "0"
    for name, (low, high) in zip(names, bounds, strict=True):
        flat = f"({flat}) * {high - low} + {name} - {low}"
    w.need_tapes(stage, work)
    inner = Lane(
        lane.t, lane.slot, lane.scratch, "w" if worlds > 1 else "0", "0", flat, tuple(targets), atomic=not serial
    )
    with w.inside(head):
        w._ops(nest[-1].body.ops, inner)
        w.line("pass")


def _serial_worlds(w: KernelWriter, stage: Stage, lane: Lane, on_cpu: bool) -> None:
    """Print a stage whose top level is more than independent loops: worlds in parallel, the rest in order."""
    worlds = w.layout.worlds
    serial = worlds == 1 or (on_cpu and worlds <= 2)
    if serial:
        w.line("ti.loop_config(serialize=True)")
    w.need_tapes(stage, worlds)
    name = "w" if worlds > 1 else "0"
    inner = Lane(lane.t, lane.slot, lane.scratch, name, "0", name, (name,) if worlds > 1 else (), atomic=not serial)
    with w.inside(f"for w in range({worlds}):"):
        w._ops(stage.body.ops, inner)
        w.line("pass")
