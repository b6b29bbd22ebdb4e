"""One kernel as a graph: its operations, or its lines where those are too many."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Call,
    Const,
    For,
    If,
    Let,
    Load,
    Location,
    Op,
    Operand,
    Stage,
    Store,
    Value,
    is_float,
    walk,
)
from diffsim.compiler.picture.calls import calls_of
from diffsim.compiler.picture.names import Names, field_name, number, time_text
from diffsim.compiler.picture.styles import LINES, STYLES, style_of
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.errors import ConfigError
from diffsim.options import unknown_name
from diffsim.view.graph import Cluster, Edge, Graph, Node

__all__ = ["kernel_graph", "kernel_stages"]

_MOST = 120  # operations that a person can follow
_MOST_LINES = 90
_WIDEST = 58  # characters of a line of source
_PASSED = ("at_most",)  # hand on their first argument
_UNSEEN = ("alarm", "tape")


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
    """Draw the operations of one kernel; its lines where there are more than 120.

    Args:
        lowered: The program.
        kernel: Its name, with or without its class, or its number in the picture of the step.

    Raises:
        ConfigError: There is no such kernel, or it has more lines than a picture can show.
    """
    stages = kernel_stages(lowered)
    stage = stages.get(str(kernel)) if isinstance(kernel, str | int) and not isinstance(kernel, bool) else None
    if stage is None:
        names = list(dict.fromkeys(s.name for s in stages.values()))
        raise ConfigError(
            unknown_name("kernel", str(kernel), names, "a kernel of the program", "explain() tells of each")
        )
    drawn = _Operations(stage)
    title, count = f"{stage.name}: operations", len(drawn.nodes)
    if count > _MOST:
        drawn, title = _Lines(stage), f"{stage.name}: lines, for it has {count:,} operations"
        if len(drawn.nodes) > _MOST_LINES:
            raise ConfigError(
                f"a kernel must have at most {_MOST} operations or {_MOST_LINES} lines to be drawn, got {count:,} "
                f"and {len(drawn.nodes):,} in {stage.name}; explain() tells of it in words"
            )
    where = f" {Path(stage.where.file).name}, line {stage.where.line}." if stage.where is not None else ""
    caption = f"What gradients flow through is solid; they run against the arrows.{where}"
    used = _used(drawn)
    clusters = tuple(c for c in drawn.clusters if c.key in used)
    return Graph(
        title, tuple(drawn.nodes.values()), tuple(drawn.edges), clusters, STYLES, LINES, None, "TB", caption
    )


def _used(drawn: _Operations) -> set[str]:
    """Return the clusters that hold something."""
    parents = {c.key: c.parent for c in drawn.clusters}
    used = set()
    for node in drawn.nodes.values():
        at = node.cluster
        while at:
            used.add(at)
            at = parents[at]
    return used


@dataclass
class _End:
    """What a value is in the picture.

    Attributes:
        node: The node that it comes from; empty where it is only text.
        text: How it is written inside others.
    """

    node: str = ""
    text: str = ""


@dataclass
class _Place:
    """Where operations are met.

    Attributes:
        cluster: The cluster around them.
        conditions: Nodes that decide whether they are run.
    """

    cluster: str = ""
    conditions: tuple[str, ...] = field(default=())


class _Operations:
    """Draws each operation on numbers as a node; integers that count or index are text."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.active = active_values(stage.body)
        self.names = Names()
        self.ends: dict[Value, _End] = {stage.t: _End(text="t")}
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.clusters: list[Cluster] = []
        self.values: dict[str, bool] = {}  # by node, whether gradients flow through it
        self.stored: dict[str, None] = {}
        self._block(stage.body, _Place())
        self._prune()

    # ---- operations ----

    def _block(self, block: Block, place: _Place) -> None:
        for op in block.ops:
            self._op(op, place)

    def _op(self, op: Op, place: _Place) -> None:
        if isinstance(op, Load):
            self._load(op, place)
        elif isinstance(op, Store | Accumulate):
            self._store(op, place)
        elif isinstance(op, Let):
            self._let(op, place)
        elif isinstance(op, Call):
            key = self._node(op.name.lstrip("_"), op.results[0], place, op.where)
            for arg in op.args:
                self._join(arg, key)
            for result in op.results:
                self.ends[result] = _End(key)
        elif isinstance(op, For):
            self._loop(op, place)
        else:
            self._branch(op, place)

    def _load(self, op: Load, place: _Place) -> None:
        buffer = op.ref.buffer
        if buffer.kind in _UNSEEN:
            self.ends[op.result] = _End(text="")
            return
        text = self._place_text(op)
        if not is_float(op.result.dtype):
            self.ends[op.result] = _End(text=text)
            return
        style = style_of(buffer.kind, op.result in self.active)
        key = self._node(text, op.result, place, op.where, style if style != "integer" else "constant")
        self.ends[op.result] = _End(key)

    def _store(self, op: Store | Accumulate, place: _Place) -> None:
        buffer = op.ref.buffer
        if buffer.kind in _UNSEEN:
            return
        gradient = buffer.adjoint is not None or buffer.kind == "cost"
        label, end = self._place_text(op), self._end(op.value)
        added = isinstance(op, Accumulate)
        detail = "" if end.node else f"{'+' if added else ''}= {end.text}"
        key = self._new(label, style_of(buffer.kind, gradient), place, op.where, detail)
        self.stored[key] = None
        self.values[key] = gradient
        if end.node:
            style = ("add" if added else "write") if gradient and self.values[end.node] else "flat"
            self.edges.append(Edge(end.node, key, style, "+" if added else ""))
        for condition in place.conditions:
            self.edges.append(Edge(condition, key, "flat", "if"))

    def _let(self, op: Let, place: _Place) -> None:
        ends = [self._end(a) for a in op.args]
        if op.fn in _PASSED or (op.fn.startswith("cast_f") and len(ends) == 1):
            self.ends[op.result] = ends[0]
            return
        if op.fn == "inside" or (not is_float(op.result.dtype) and not any(end.node for end in ends)):
            self.ends[op.result] = _End(text=self.names.integer(op.fn, [end.text for end in ends]))
            return
        style = "stop" if op.fn == "stop" else None
        if op.fn.startswith("cast_") and any(isinstance(a, Value) and a in self.active for a in op.args):
            style = "stop"
        label, marks = self.names.label(op.fn, [end.text if not end.node else None for end in ends])
        if len(ends) == 2 and ends[0].node and ends[0].node == ends[1].node:
            label, marks = ("square" if op.fn == "mul" else label), ["", ""]
        key = self._node(label, op.result, place, op.where, style)
        for arg, mark in zip(op.args, marks, strict=True):
            self._join(arg, key, mark, cut=style == "stop")
        self.ends[op.result] = _End(key)

    def _loop(self, op: For, place: _Place) -> None:
        index = self.names.index()
        start, stop = self._end(op.start), self._end(op.stop)
        low, high = start.text or "…", stop.text or "…"
        text = f"for {index} < {high}" if low == "0" else f"for {index} in {low} … {high}"
        text += ", downward" if op.descending else ""
        inner = self._cluster(text, place, op)
        self.ends[op.index] = _End(text=index)
        params = []
        for param, init in zip(op.params, op.inits, strict=True):
            end = self._end(init)
            detail = "" if end.node else f"begins at {end.text}"
            key = self._node("carried", param, inner, op.where, None, detail)
            self._join(init, key)
            self.ends[param] = _End(key)
            params.append(key)
        self._block(op.body, inner)
        for key, end, result in zip(params, op.body.yields, op.results, strict=True):
            last = self._end(end)
            if last.node and last.node != key:
                self.edges.append(Edge(last.node, key, "next", back=True))
            self.ends[result] = _End(last.node or key)

    def _branch(self, op: If, place: _Place) -> None:
        condition = self._end(op.cond)
        text = condition.text or self.nodes[condition.node].label if condition.node or condition.text else "…"
        conditions = (*place.conditions, *([condition.node] if condition.node else []))
        sides = [("if " + text, op.then), ("else", op.orelse)]
        for label, block in sides:
            if block.ops:
                inner = self._cluster(label, place, None)
                self._block(block, replace(inner, conditions=conditions))
        for result, then, orelse in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
            ends = [self._end(then), self._end(orelse)]
            texts = [f"{word} {end.text}" for word, end in zip(("then", "else"), ends, strict=True) if not end.node]
            key = self._node("either", result, place, None, None, ", ".join(texts) or f"if {text}")
            self._join(op.cond, key, "if")
            self._join(then, key, "then")
            self._join(orelse, key, "else")
            self.ends[result] = _End(key)

    # ---- nodes ----

    def _end(self, operand: Operand) -> _End:
        if isinstance(operand, Const):
            return _End(text=number(operand.value))
        return self.ends.get(operand, _End(text="…"))

    def _node(
        self,
        label: str,
        value: Value,
        place: _Place,
        where: Location | None,
        style: str | None = None,
        detail: str = "",
    ) -> str:
        """Add a node for a value; what no gradient flows through looks so."""
        active = value in self.active
        key = self._new(label, style or ("operation" if active else "flat"), place, where, detail)
        self.values[key] = active
        return key

    def _new(self, label: str, style: str, place: _Place, where: Location | None, detail: str = "") -> str:
        key = f"{len(self.nodes)}"
        self.nodes[key] = Node(key, label, style, detail, _source(where), place.cluster)
        return key

    def _join(self, operand: Operand, key: str, mark: str = "", cut: bool = False) -> None:
        """Draw a line from what computes an operand."""
        end = self._end(operand)
        if end.node:
            active = self.values[end.node]
            flows = active and (self.values[key] and mark != "if")
            style = "read" if flows else "cut" if active and cut else "flat"
            self.edges.append(Edge(end.node, key, style, mark))

    def _cluster(self, label: str, place: _Place, loop: For | None) -> _Place:
        """Open a cluster; loops with nothing but a loop inside share one."""
        key = f"c{len(self.clusters)}"
        outer = self.clusters[-1] if self.clusters else None
        if loop is not None and outer is not None and outer.key == place.cluster and self._nested is loop:
            self.clusters[-1] = replace(outer, label=f"{outer.label}, {label.removeprefix('for ')}")
            key = outer.key
        else:
            self.clusters.append(Cluster(key, label, place.cluster))
        inside = [op for op in loop.body.ops if isinstance(op, For)] if loop is not None else []
        self._nested = inside[0] if loop is not None and not loop.params and len(loop.body.ops) == 1 and inside else None
        return _Place(key, place.conditions)

    _nested: For | None = None

    def _place_text(self, op: Load | Store | Accumulate) -> str:
        """Write what an access names: `x[t + 1, i].y`."""
        ref = op.ref
        texts = [end.text or "…" for end in map(self._end, ref.indices)]
        time = time_text(ref.buffer, ref.time)
        inside = ", ".join([*([time] if time else []), *texts])
        text = field_name(ref.buffer) + (f"[{inside}]" if inside else "") + self.names.component(ref.buffer, ref.component)
        return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"

    def _prune(self) -> None:
        """Leave out what nothing that is stored depends on."""
        sources: dict[str, set[str]] = {}
        for edge in self.edges:
            sources.setdefault(edge.target, set()).add(edge.source)
        live = set(self.stored)
        queue = list(live)
        while queue:
            for key in sources.get(queue.pop(), ()):
                if key not in live:
                    live.add(key)
                    queue.append(key)
        self.nodes = {key: node for key, node in self.nodes.items() if key in live}
        self.edges = [e for e in self.edges if e.source in live and e.target in live]


class _Lines(_Operations):
    """Draws each line of source as a node, and each field that it touches."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        shown: dict[str, Node] = {}
        drawn = {key: node.tip for key, node in self.nodes.items()}
        order = {line: k for k, line in enumerate(dict.fromkeys(drawn.values()))}
        merged: list[Edge] = []
        for edge in self.edges:
            a, b = drawn[edge.source], drawn[edge.target]
            if a != b:
                flat = edge.style in ("flat", "cut")
                merged.append(Edge(a, b, edge.style if flat else "read", back=order[a] > order[b]))
        for key, node in self.nodes.items():
            line = drawn[key]
            flows = self.values[key] or (line in shown and shown[line].style == "operation")
            style = "stop" if node.style == "stop" else "operation" if flows else "flat"
            if line in shown and shown[line].style == "stop":
                style = "stop"
            shown[line] = Node(line, _text_of(node.tip), style, "", node.tip)
        self._add_fields(shown, merged)
        self.nodes, self.edges, self.clusters = shown, merged, []

    def _add_fields(self, shown: dict[str, Node], merged: list[Edge]) -> None:
        """Draw what lines read and write."""
        for op in walk(self.stage.body):
            if not isinstance(op, Load | Store | Accumulate) or op.ref.buffer.kind in _UNSEEN or op.ref.buffer.hidden:
                continue
            line = _source(op.where)
            if line not in shown:
                continue
            buffer = op.ref.buffer
            time = time_text(buffer, op.ref.time)
            label = field_name(buffer) + (f"[{time}]" if time else "")
            gradient = buffer.adjoint is not None or buffer.kind == "cost"
            side = "from" if isinstance(op, Load) else "to"
            key = f"{side} {label}"
            shown.setdefault(key, Node(key, label, style_of(buffer.kind, gradient)))
            if isinstance(op, Load):
                merged.append(Edge(key, line, "read" if op.result in self.active else "flat"))
            else:
                added = isinstance(op, Accumulate)
                style = "flat" if not gradient else "add" if added else "write"
                merged.append(Edge(line, key, style, "+" if added else ""))


def _source(where: Location | None) -> str:
    return f"{where.file}:{where.line}" if where is not None else "the library"


def _text_of(place: str) -> str:
    """Return a line of source, shortened."""
    file, _, line = place.rpartition(":")
    text = " ".join(linecache.getline(file, int(line)).split()) if file else place
    text = text.partition("  #")[0] or f"line {line}"
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
