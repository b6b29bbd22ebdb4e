"""A step as a graph: its kernels in order, and the fields that they read, write and add to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from diffsim.compiler.ir import Buffer
from diffsim.compiler.picture.calls import Call, calls_of, flows_of
from diffsim.compiler.picture.flow import Slot, live_fields
from diffsim.compiler.picture.names import extent, field_name, time_text
from diffsim.compiler.picture.styles import LINES, STYLES, style_of
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError
from diffsim.view.graph import Cluster, Edge, Graph, Node, Scale

__all__ = ["Heat", "step_graph"]

_MOST = 400  # nodes that a person can find anything in
_DECADES = 6.0  # of adjoints that the colours tell apart
_CLUSTERS = {
    "reset": "reset: once, before the first step",
    "step": "step: from t to t + 1",
    "terminal_cost": "terminal_cost: once, after the last step",
}
_PART = {"reset": "reset", "step": "step", "running_cost": "step", "terminal_cost": "terminal_cost"}
_CAPTION = "Kernels run in the order of their numbers; what is [t + 1] in one step is [t] in the next."
_LISTED = 6  # names of Constants that one node has


@dataclass(frozen=True)
class Heat:
    """How large adjoints are.

    Attributes:
        norms: Of fields at a time relative to the step: the length of the derivative of the cost.
        zero: Fields whose gradient was exactly zero in every element.
        label: What the colours mean.
    """

    norms: Mapping[Slot, float]
    zero: frozenset[Buffer] = frozenset()
    label: str = "length of the adjoint, d cost / d field"

    def scaled(self) -> tuple[dict[Slot, float], Scale | None]:
        """Return heats in 0 .. 1, logarithmic, and the scale; none where no adjoint is other than zero."""
        logs = {s: math.log10(n) for s, n in self.norms.items() if n > 0.0 and math.isfinite(n)}
        if not logs:
            return {}, None
        high = max(logs.values())
        low = max(min(logs.values()), high - _DECADES)
        low = min(low, high - 1.0)
        heats = {slot: min(1.0, max(0.0, (x - low) / (high - low))) for slot, x in logs.items()}
        return heats, Scale(self.label, f"{10.0**low:.1g}", f"{10.0**high:.1g}")


def step_graph(lowered: LoweredProgram, heat: Heat | None = None) -> Graph:
    """Draw a step, with what runs before the first and after the last.

    Args:
        lowered: The program.
        heat: Colours fields by the size of their adjoints.

    Raises:
        ConfigError: There are more kernels and fields than a picture can show.
    """
    return _Drawing(lowered, heat).graph()


@dataclass
class _Version:
    """A field at a time, from one write that others have not seen to the next.

    Attributes:
        key: Of its node.
        number: 0 for the first.
        read: Some kernel has read it.
        parts: In which phases it is used.
        written: In which it is written.
    """

    key: str
    number: int
    read: bool = False
    parts: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


class _Drawing:
    def __init__(self, lowered: LoweredProgram, heat: Heat | None) -> None:
        self.lowered = lowered
        self.calls = calls_of(lowered)
        flows = list(flows_of(lowered))
        costs = lowered.costs
        reached = any(t[0] in costs for flow in flows for t in flow.targets)
        self.live = live_fields(flows, costs) if reached else None
        self.heat, self.scale = heat, None
        self.heats: dict[Slot, float] = {}
        if heat is not None:
            self.heats, self.scale = heat.scaled()
        self.versions: dict[tuple[Slot, str], list[_Version]] = {}
        self.slots: dict[str, tuple[Slot, _Version]] = {}
        self.kernels: list[Node] = []
        self.edges: list[Edge] = []
        self.numbers = {id(call): 0 for call in self.calls}

    def graph(self) -> Graph:
        """Draw calls in order, then the fields that they met."""
        number = 0
        for call in self.calls:
            if call.handed:
                self._hand_on(call)
                continue
            number += 1
            self._draw(call, number)
        fields = [self._field(slot, version) for slot, version in self.slots.values()]
        nodes = [*self._in_order(self._together(fields)), *self._unread()]
        if len(nodes) > _MOST:
            raise ConfigError(
                f"a step must have at most {_MOST} kernels and fields to be drawn, got {len(nodes)}; draw "
                "one kernel, graph(kernel=...)"
            )
        used = {node.cluster for node in nodes}
        clusters = [Cluster(key, label) for key, label in _CLUSTERS.items() if key in used]
        name = type(self.lowered.program.simulator).__name__
        return Graph(
            f"{name}: one step",
            tuple(nodes),
            tuple(self.edges),
            tuple(clusters),
            STYLES,
            LINES,
            self.scale,
            "TB",
            _CAPTION,
        )

    def _in_order(self, fields: list[Node]) -> list[Node]:
        """Return nodes in the order in which they are met: fields before their kernel, or behind it."""
        known = {node.key: node for node in [*fields, *self.kernels]}
        order = dict.fromkeys(
            key
            for kernel in self.kernels
            for key in (
                *(e.source for e in self.edges if e.target == kernel.key),
                kernel.key,
                *(e.target for e in self.edges if e.source == kernel.key),
            )
        )
        order.update(dict.fromkeys(known))
        return [known[key] for key in order]

    def _together(self, fields: list[Node]) -> list[Node]:
        """Draw Constants that the same kernels read as one."""
        readers: dict[str, list[str]] = {}
        for edge in self.edges:
            readers.setdefault(edge.source, []).append(edge.target)
        written = {edge.target for edge in self.edges}
        groups: dict[tuple[str, ...], list[Node]] = {}
        for node in fields:
            if node.style == "constant" and node.key not in written:
                groups.setdefault((node.cluster, *sorted(readers[node.key])), []).append(node)
        gone: dict[str, str] = {}
        found = {node.key: node for node in fields}
        for members in groups.values():
            if len(members) > 1:
                names = [node.label for node in members]
                named = (
                    names
                    if len(names) <= _LISTED
                    else [*names[: _LISTED - 1], f"{len(names) - _LISTED + 1} more"]
                )
                tip = "\n".join(f"{node.label}: {node.detail}" for node in members)
                found[members[0].key] = replace(members[0], label="\n".join(named), detail="", tip=tip)
                gone.update({node.key: members[0].key for node in members[1:]})
        self.edges = [replace(edge, source=gone.get(edge.source, edge.source)) for edge in self.edges]
        return [node for key, node in found.items() if key not in gone]

    def _unread(self) -> Iterator[Node]:
        """Yield what gradients are asked for, and no kernel reads."""
        seen = {slot[0] for slot, _ in self.slots.values()}
        for buffer in self.lowered.buffers.by_field.values():
            if buffer.kind in ("param", "control") and buffer not in seen:
                detail = f"{extent(buffer)}\nno kernel reads it"
                yield Node(
                    f"{buffer.name} unread",
                    field_name(buffer) + _time(buffer, None),
                    "dead",
                    detail,
                    buffer.label,
                )

    # ---- kernels and lines ----

    def _draw(self, call: Call, number: int) -> None:
        key, part = f"kernel {number}", _PART[call.phase]
        before = {slot: self._now(slot, call.phase) for slot in call.reads}
        for slot, version in before.items():
            style, tip = self._reading(call, slot)
            version.read = True
            version.parts.add(part)
            self.edges.append(Edge(version.key, key, style, "", tip))
        for slot, kinds in call.writes.items():
            version = self._next(slot, call.phase)
            version.parts.add(part)
            version.written.add(part)
            gradient = slot[0].adjoint is not None or slot[0].kind == "cost"
            style = "flat" if not gradient else "add" if kinds == ("add",) else "write"
            label = {"add": "+", "write": "", "flat": "+" if kinds == ("add",) else ""}[style]
            self.edges.append(Edge(key, version.key, style, "=, +" if len(kinds) > 1 else label))
        self.kernels.append(self._kernel(call, key, part, number))

    def _kernel(self, call: Call, key: str, part: str, number: int) -> Node:
        details = []
        if call.group is not None:
            counts = [stage.loop.count for stage in call.stages if stage.loop is not None]
            rounds = f", up to {max(counts)} rounds" if counts else ""
            details.append(f"{len(call.stages)} kernels{rounds}; adjoint given")
        elif call.stages and call.stages[0].adjoint is not None:
            details.append("adjoint given")
        details += ["draws random numbers"] if call.random else []
        details += call.flow.stops
        label = f"{number}  {call.name}" + (f"  × {call.rounds}" if call.rounds > 1 else "")
        where = call.stages[0].where if call.stages else None
        tip = [call.phase, f"{call.operations} operations"]
        tip += [f"{where.file}:{where.line}"] if where is not None else []
        style = "group" if call.group is not None else "kernel"
        style = "cost kernel" if call.phase.endswith("cost") and style == "kernel" else style
        return Node(key, label, style, "\n".join(details), "\n".join(tip), part)

    def _reading(self, call: Call, slot: Slot) -> tuple[str, str]:
        """Return how the line from a field to a kernel looks, and why."""
        buffer = slot[0]
        if slot in call.flow.sources:
            return "read", ""
        if buffer.adjoint is None:
            return "flat", f"{buffer.label} has no gradient"
        why = call.flow.cuts.get(slot, ["the adjoint that was given adds nothing to it"])
        return "cut", "no gradient flows back: " + "; ".join(why)

    def _hand_on(self, call: Call) -> None:
        [source], [target] = call.reads, call.writes
        before, after = self._now(source, call.phase), self._now(target, call.phase)
        before.parts.add("step")
        after.parts.add("step")
        before.read = True
        self.edges.append(Edge(before.key, after.key, "keep" if source[0].adjoint else "flat"))

    # ---- fields ----

    def _kept(self, slot: Slot, phase: str) -> tuple[Slot, str]:
        """Return a slot as the step has it: the end of the horizon is `t + 1` of the last step."""
        buffer, time = slot
        if phase == "terminal_cost" and buffer.kind == "state":
            return (buffer, (time or 0) + 1), ""
        return slot, "terminal" if phase == "terminal_cost" and buffer.kind == "scratch" else ""

    def _now(self, slot: Slot, phase: str) -> _Version:
        """Return what a field is at this point."""
        kept = self._kept(slot, phase)
        versions = self.versions.setdefault(kept, [])
        return versions[-1] if versions else self._new(kept)

    def _next(self, slot: Slot, phase: str) -> _Version:
        """Return what a field is once it is written: something new where others have read it."""
        now = self._now(slot, phase)
        return self._new(self._kept(slot, phase)) if now.read and slot[0].kind != "cost" else now

    def _new(self, kept: tuple[Slot, str]) -> _Version:
        (buffer, time), own = kept
        versions = self.versions.setdefault(kept, [])
        version = _Version(f"{buffer.name} {time} {own} {len(versions)}", len(versions))
        versions.append(version)
        self.slots[version.key] = kept[0], version
        return version

    def _field(self, slot: Slot, version: _Version) -> Node:
        buffer, time = slot
        differentiable = buffer.adjoint is not None
        kind = getattr(buffer.source, "kind", buffer.kind) if buffer.kind == "derived" else buffer.kind
        style = style_of(kind, differentiable or kind == "cost")
        details = [extent(buffer)]
        if buffer.kind == "derived" and kind == "state":
            details.append("no step changes it")
        if version.number:
            details.append(f"value no. {version.number + 1}")
        heat = None
        if self.live is not None and differentiable and buffer not in self.live:
            style = "dead"
            details.append("no gradient arrives")
        elif self.heat is not None and differentiable:
            norm = self.heat.norms.get(slot)
            heat = self.heats.get(slot)
            details += [f"adjoint {norm:.2g}"] if norm is not None else []
            if buffer in self.heat.zero:
                style = "dead"
        parts = version.written or version.parts
        part = next(iter(parts)) if len(parts) == 1 else ""
        if (
            buffer.kind == "state"
            and "step" in version.parts
            and "reset" not in version.parts - version.written
        ):
            part = "step"
        label = field_name(buffer) + _time(buffer, time)
        return Node(version.key, label, style, "\n".join(details), buffer.label, part, heat)


def _time(buffer: Buffer, time: int | None) -> str:
    if buffer.kind == "control":
        return "[t]"
    text = time_text(buffer, time)
    return f"[{text}]" if text else ""
