"""Along which fields gradients flow through a kernel, where they are cut, and which fields reach a cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from diffsim.compiler.autodiff.rules import differentiable
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Call,
    For,
    If,
    Let,
    Load,
    Operand,
    Stage,
    Store,
    Value,
    accesses_in,
    is_float,
    walk,
)

__all__ = ["Flow", "Slot", "flow_of", "group_flow", "live_fields"]

Slot = tuple[Buffer, "int | None"]  # a field at a time relative to the step
_Slots = frozenset[Slot]
_NONE: _Slots = frozenset()


@dataclass
class Flow:
    """What gradients do in a kernel.

    Attributes:
        through: For what it writes, which of the fields it reads a gradient flows back to.
        cuts: For fields that none flows back to though it could, why.
        stops: Where `stop_gradient` cuts something, whether it flows beside that or not.
    """

    through: dict[Slot, set[Slot]] = field(default_factory=dict)
    cuts: dict[Slot, list[str]] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)

    @property
    def sources(self) -> set[Slot]:
        """What gradients flow back to."""
        return set().union(*self.through.values())

    @property
    def targets(self) -> set[Slot]:
        """What they come from."""
        return {slot for slot, sources in self.through.items() if sources}


def flow_of(stage: Stage, primals: dict[Buffer, Buffer]) -> Flow:
    """Return what gradients do in a kernel: as its adjoint has it where a user gave one.

    Args:
        stage: The kernel.
        primals: Which field each adjoint is of.
    """
    return _Taint(stage).flow() if stage.adjoint is None else group_flow([stage.adjoint()], primals)


def group_flow(adjoints: Iterable[Stage], primals: dict[Buffer, Buffer]) -> Flow:
    """Return what gradients do in kernels with one adjoint that a user wrote: all come from all.

    Args:
        adjoints: Its stages.
        primals: Which field each adjoint is of.
    """
    into: set[Slot] = set()
    out: set[Slot] = set()
    for stage in adjoints:
        for op in accesses_in(stage.body):
            if op.ref.buffer in primals:
                slot = (primals[op.ref.buffer], op.ref.time)
                (into if isinstance(op, Accumulate) else out).add(slot)
    return Flow({slot: set(into) for slot in out})


def live_fields(flows: Iterable[Flow], costs: Iterable[Buffer]) -> set[Buffer]:
    """Return the fields from which gradients are asked, from step to step: those that reach a cost.

    Args:
        flows: Of all kernels of the program.
        costs: Where costs are added up.
    """
    pairs = {(s, t) for flow in flows for (t, _), sources in flow.through.items() for s, _ in sources}
    live = set(costs)
    while True:
        more = {source for source, target in pairs if target in live} - live
        if not more:
            return live
        live |= more


class _Taint:
    """Which fields the values of a kernel depend on, along operations that have a derivative."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.found: dict[Value, _Slots] = {}
        self.written: dict[Slot, _Slots] = {}

    def flow(self) -> Flow:
        """Go through the kernel until nothing new is found: loops carry values back."""
        while True:
            before = sum(map(len, (*self.found.values(), *self.written.values())))
            self._block(self.stage.body)
            if sum(map(len, (*self.found.values(), *self.written.values()))) == before:
                break
        through = {
            slot: set(sources)
            for slot, sources in self.written.items()
            if slot[0].adjoint is not None or slot[0].kind == "cost"
        }
        flow = Flow(through)
        reads = {(op.ref.buffer, op.ref.time) for op in walk(self.stage.body) if isinstance(op, Load)}
        for slot in reads - flow.sources:
            if slot[0].adjoint is not None and slot not in self.written:
                flow.cuts[slot] = self._reasons(slot)
        stops = [op for op in walk(self.stage.body) if isinstance(op, Let) and op.fn == "stop"]
        cut = [op.where for op in stops if any(self._of(a) for a in op.args)]
        lines = [f"stop_gradient in line {w.line}" if w is not None else "stop_gradient" for w in cut]
        flow.stops = list(dict.fromkeys(lines))
        return flow

    def _of(self, operand: Operand) -> _Slots:
        return self.found.get(operand, _NONE) if isinstance(operand, Value) else _NONE

    def _add(self, value: Value, slots: _Slots) -> None:
        if slots:
            self.found[value] = self.found.get(value, _NONE) | slots

    def _block(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, Load):
                slot = (op.ref.buffer, op.ref.time)
                if op.ref.buffer.adjoint is not None and is_float(op.result.dtype):
                    self._add(op.result, frozenset([slot]))
            elif isinstance(op, Store | Accumulate):
                slot = (op.ref.buffer, op.ref.time)
                self.written[slot] = self.written.get(slot, _NONE) | self._of(op.value)
            elif isinstance(op, Let):
                if differentiable(op.fn, op.result.dtype):
                    self._add(op.result, _NONE.union(*(self._of(a) for a in op.args)))
            elif isinstance(op, Call):
                for param, arg in zip(op.params, op.args, strict=True):
                    self._add(param, self._of(arg))
                for result in op.results:
                    self._add(result, _NONE.union(*(self._of(a) for a in op.args)))
            elif isinstance(op, For):
                for param, init, end in zip(op.params, op.inits, op.body.yields, strict=True):
                    self._add(param, self._of(init) | self._of(end))
                self._block(op.body)
                for result, init, end in zip(op.results, op.inits, op.body.yields, strict=True):
                    self._add(result, self._of(init) | self._of(end))
            elif isinstance(op, If):
                self._block(op.then)
                self._block(op.orelse)
                for result, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
                    self._add(result, self._of(a) | self._of(b))

    def _reasons(self, slot: Slot) -> list[str]:
        """Tell what ends the gradient of a field on its way."""
        said = []
        for op in walk(self.stage.body):
            if isinstance(op, Let) and any(slot in self._of(a) for a in op.args):
                if op.fn == "stop":
                    why = "stop_gradient"
                elif op.fn.startswith("cast_") and not is_float(op.result.dtype):
                    why = "a cast to an integer"
                elif not differentiable(op.fn, op.result.dtype):
                    why = f"{op.fn}, which has no slope"
                else:
                    continue
                said.append(f"{why} in line {op.where.line}" if op.where is not None else why)
            elif isinstance(op, If) and slot in self._of(op.cond):
                said.append("it is only compared")
        return list(dict.fromkeys(said)) or ["it moves nothing that gradients flow through"]
