"""The lines of a kernel as nodes: the picture of one with more operations than a person can follow."""

from __future__ import annotations

import linecache

from diffsim.compiler.ir import Accumulate, Load, Stage, Store, walk
from diffsim.compiler.picture.names import field_name, time_text
from diffsim.compiler.picture.operations import UNSEEN, Operations, source_of
from diffsim.compiler.picture.styles import style_of
from diffsim.view.graph import Edge, Node

__all__ = ["Lines"]

_WIDEST = 58  # characters of a line of source


class Lines(Operations):
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
            if (
                not isinstance(op, Load | Store | Accumulate)
                or op.ref.buffer.kind in UNSEEN
                or op.ref.buffer.hidden
            ):
                continue
            line = source_of(op.where)
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


def _text_of(place: str) -> str:
    """Return a line of source, shortened."""
    file, _, line = place.rpartition(":")
    text = " ".join(linecache.getline(file, int(line)).split()) if file else place
    text = text.partition("  #")[0] or f"line {line}"
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
