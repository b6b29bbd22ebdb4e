"""The operations of a kernel as nodes; integers that count or index are text inside them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.ir import (
    Accumulate,
    Block,
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
)
from diffsim.compiler.picture.names import Names, field_name, number, time_text
from diffsim.compiler.picture.styles import style_of
from diffsim.view.graph import Cluster, Edge, Node

__all__ = ["UNSEEN", "Operations", "source_of"]

_WIDEST = 58  # characters of what an access names
_STEPS = ("floor", "ceil", "round", "floordiv", "mod")  # have no slope
_PASSED = ("at_most",)  # hand on their first argument
UNSEEN = ("alarm", "tape")


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


class Operations:
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
        self.truths: set[Value] = set()  # integers that are 0 or 1 for false or true
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
        if buffer.kind in UNSEEN:
            self.ends[op.result] = _End(text="")
            return
        text = self._place_text(op)
        if not is_float(op.result.dtype):
            self.ends[op.result] = _End(text=text)
            return
        style = style_of(buffer.kind, op.result in self.active)
        key = self._node(text, op.result, place, op.where, style if style != "integer" else "constant")
        self._point(op, key)
        self.ends[op.result] = _End(key)

    def _store(self, op: Store | Accumulate, place: _Place) -> None:
        buffer = op.ref.buffer
        if buffer.kind in UNSEEN:
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
        self._point(op, key)
        for condition in place.conditions:
            self.edges.append(Edge(condition, key, "flat", "if"))

    def _let(self, op: Let, place: _Place) -> None:
        ends = [self._end(a) for a in op.args]
        if self._handed_on(op):
            self.ends[op.result] = ends[0]
            return
        if op.fn == "inside" or not any(end.node for end in ends):
            self.ends[op.result] = _End(text=self.names.integer(op.fn, [end.text for end in ends]))
            return
        cast = op.fn.startswith("cast_")
        flat = op.fn in _STEPS or (cast and not is_float(op.result.dtype))
        cut = op.fn == "stop" or (flat and any(isinstance(a, Value) and a in self.active for a in op.args))
        fn = {"bit_and": "and", "bit_or": "or"}.get(op.fn, op.fn) if op.result in self.truths else op.fn
        label, marks = self.names.label(fn, [end.text if not end.node else None for end in ends])
        if len(ends) == 2 and ends[0].node and ends[0].node == ends[1].node:
            label, marks = ("square" if op.fn == "mul" else label), ["", ""]
        name = self.names.computed() if cast and not is_float(op.result.dtype) else ""
        label = f"{name} = {label}" if name else label
        key = self._node(label, op.result, place, op.where, "stop" if cut else None)
        for arg, mark in zip(op.args, marks, strict=True):
            self._join(arg, key, mark, cut=cut)
        self.ends[op.result] = _End(key, name)

    def _handed_on(self, op: Let) -> bool:
        """Tell whether an operation changes nothing but the type, and note what is only true or false."""
        true = [isinstance(a, Value) and (a.dtype == "u1" or a in self.truths) for a in op.args]
        if op.fn.startswith("cast_") and true[0]:
            self.truths.add(op.result)
            return True
        if op.fn in ("bit_and", "bit_or") and all(true):
            self.truths.add(op.result)
        if op.fn == "ne" and true[0] and isinstance(op.args[1], Const) and not op.args[1].value:
            return True
        return op.fn in _PASSED or op.fn.startswith("cast_f")

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
        for key, given, result in zip(params, op.body.yields, op.results, strict=True):
            last = self._end(given)
            if last.node and last.node != key:
                self.edges.append(Edge(last.node, key, "next", back=True))
            self.ends[result] = _End(last.node or key)

    def _branch(self, op: If, place: _Place) -> None:
        condition = self._end(op.cond)
        text = condition.text or "so"
        if condition.node and self.nodes[condition.node].label.split()[1:2] != []:
            text = self.nodes[condition.node].label.replace("\n", " ")
        conditions = (*place.conditions, *([condition.node] if condition.node else []))
        sides = [("if " + text, op.then), ("else", op.orelse)]
        for label, block in sides:
            if block.ops:
                inner = self._cluster(label, place, None)
                self._block(block, replace(inner, conditions=conditions))
        for result, then, orelse in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
            ends = [self._end(then), self._end(orelse)]
            texts = [
                f"{word} {end.text}" for word, end in zip(("then", "else"), ends, strict=True) if not end.node
            ]
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
        self.nodes[key] = Node(key, label, style, detail, source_of(where), place.cluster)
        return key

    def _join(self, operand: Operand, key: str, mark: str = "", cut: bool = False) -> None:
        """Draw a line from what computes an operand."""
        end = self._end(operand)
        if end.node:
            active = self.values[end.node]
            flows = active and (self.values[key] and mark != "if")
            style = "read" if flows else "cut" if active and cut else "flat"
            self.edges.append(Edge(end.node, key, style, mark))

    def _point(self, op: Load | Store | Accumulate, key: str) -> None:
        """Draw lines from computed indices."""
        for index in op.ref.indices:
            end = self._end(index)
            for node in [end.node] if end.node else self._behind(end.text):
                self.edges.append(Edge(node, key, "flat"))

    def _behind(self, text: str) -> list[str]:
        """Return the nodes of computed integers that a text names."""
        words = set(re.findall(r"\bn\d+\b", text))
        return [end.node for end in self.ends.values() if end.node and end.text in words]

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
        self._nested = (
            inside[0] if loop is not None and not loop.params and len(loop.body.ops) == 1 and inside else None
        )
        return _Place(key, place.conditions)

    _nested: For | None = None

    def _place_text(self, op: Load | Store | Accumulate) -> str:
        """Write what an access names: `x[t + 1, i].y`."""
        ref = op.ref
        texts = [end.text or "·" for end in map(self._end, ref.indices)]
        time = time_text(ref.buffer, ref.time)
        inside = ", ".join([*([time] if time else []), *texts])
        text = (
            field_name(ref.buffer)
            + (f"[{inside}]" if inside else "")
            + self.names.component(ref.buffer, ref.component)
        )
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


def source_of(where: Location | None) -> str:
    """Return a place in the source as text."""
    return f"{where.file}:{where.line}" if where is not None else "the library"
