"""Graphs as text: Mermaid for Markdown pages, DOT for graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from diffsim.view.graph.heat import heat_paint
from diffsim.view.graph.model import Content, Node, Paint

__all__ = ["dot_text", "mermaid_text"]

_MERMAID_SHAPES = {
    "box": ('["', '"]'),
    "round": ('("', '")'),
    "pill": ('(["', '"])'),
    "hexagon": ('{{"', '"}}'),
}
_DOT_SHAPES = {
    "box": 'shape=box, style="filled{}"',
    "round": 'shape=box, style="rounded,filled{}"',
    "pill": 'shape=box, style="rounded,filled{}"',
    "hexagon": 'shape=hexagon, margin="0,0", style="filled{}"',
}


def mermaid_text(graph: Content) -> str:
    """Return a graph in Mermaid's language, as Markdown pages take it in a block ` ```mermaid `."""
    names = {node.key: f"n{k}" for k, node in enumerate(graph.nodes)}
    lines = ["---", f"title: {_yaml(graph.title)}", "---"] if graph.title else []
    lines.append(f"flowchart {graph.direction}")

    def node_lines(cluster: str, indent: str) -> Iterator[str]:
        for node in graph.nodes:
            if node.cluster == cluster:
                opening, closing = _MERMAID_SHAPES[graph.styles[node.style].shape]
                yield f"{indent}{names[node.key]}{opening}{_mermaid_label(node)}{closing}"
        for k, inner in enumerate(graph.clusters):
            if inner.parent == cluster:
                yield f'{indent}subgraph c{k}["{_mermaid(inner.label) or " "}"]'
                yield from node_lines(inner.key, indent + "    ")
                yield f"{indent}end"

    lines += node_lines("", "    ")
    for edge in graph.edges:
        arrow = "-.->" if graph.lines[edge.style].dashed else "-->"
        label = f'|"{_mermaid(edge.label)}"|' if edge.label else ""
        lines.append(f"    {names[edge.source]} {arrow}{label} {names[edge.target]}")
    lines += _mermaid_styles(graph, names)
    return "\n".join(lines) + "\n"


def _mermaid_styles(graph: Content, names: dict[str, str]) -> Iterator[str]:
    """Yield what colours nodes and edges."""
    for k, (name, style) in enumerate(graph.styles.items()):
        members = [names[n.key] for n in graph.nodes if n.style == name and n.heat is None]
        if members:
            yield f"    classDef s{k} {_mermaid_paint(style.light, style.dashed)}"
            yield f"    class {','.join(members)} s{k}"
    for node in graph.nodes:
        if node.heat is not None:
            paint = _mermaid_paint(heat_paint(node.heat), graph.styles[node.style].dashed)
            yield f"    style {names[node.key]} {paint}"
    for name, line in graph.lines.items():
        members = [str(k) for k, edge in enumerate(graph.edges) if edge.style == name]
        if members:
            yield f"    linkStyle {','.join(members)} stroke:{line.light}"


def _mermaid_paint(paint: Paint, dashed: bool) -> str:
    dashes = ",stroke-dasharray:5 3" if dashed else ""
    return f"fill:{paint.fill},stroke:{paint.line},color:{paint.text}{dashes}"


def _mermaid_label(node: Node) -> str:
    label = _mermaid(node.label) or " "
    return f"{label}<br/><small>{_mermaid(node.detail)}</small>" if node.detail else label


def _mermaid(text: str) -> str:
    """Write a text into quotes: whatever Mermaid, Markdown or HTML would read is a character code."""
    lines = text.split("\n")
    plain = " .,:/+-=()[]_'?!×÷−·…≤≥≠–"
    return "<br/>".join(
        "".join(c if c.isalnum() or c in plain else f"#{ord(c)};" for c in line) for line in lines
    )


def _yaml(text: str) -> str:
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def dot_text(graph: Content) -> str:
    """Return a graph in graphviz's language."""
    names = {node.key: f"n{k}" for k, node in enumerate(graph.nodes)}
    lines = [
        "digraph {",
        f"    graph [rankdir={graph.direction}, label=<{_dot_label(graph)}>, labelloc=t, labeljust=l, "
        'fontname="Helvetica", fontsize=15, nodesep=0.28, ranksep=0.42, bgcolor="white", pad=0.2]',
        '    node [fontname="Helvetica", fontsize=11, penwidth=1.3, margin="0.12,0.06", height=0.3]',
        '    edge [fontname="Helvetica", fontsize=10, arrowsize=0.7]',
    ]

    def node_lines(cluster: str, indent: str) -> Iterator[str]:
        for node in graph.nodes:
            if node.cluster == cluster:
                yield f"{indent}{names[node.key]} [{_dot_node(graph, node)}]"
        for k, inner in enumerate(graph.clusters):
            if inner.parent == cluster:
                yield f"{indent}subgraph cluster_{k} {{"
                yield f'{indent}    graph [label={_quoted(inner.label)}, style="rounded,filled", '
                yield f'{indent}        fillcolor="#7b879414", color="#9aa5b1", '
                yield f'{indent}        fontcolor="#52606d", fontsize=11]'
                yield from node_lines(inner.key, indent + "    ")
                yield f"{indent}}}"

    lines += node_lines("", "    ")
    for edge in graph.edges:
        line = graph.lines[edge.style]
        shown = [f'color="{line.light}"', f"penwidth={line.width}", f'fontcolor="{line.light}"']
        shown += [f"label={_quoted(' ' + edge.label)}"] if edge.label else []
        shown += ["style=dashed"] if line.dashed else []
        shown += ["constraint=false"] if edge.back else []
        shown += [f"tooltip={_quoted(edge.tip)}"] if edge.tip else []
        lines.append(f"    {names[edge.source]} -> {names[edge.target]} [{', '.join(shown)}]")
    lines += _dot_ranks(graph, names)
    return "\n".join([*lines, "}"]) + "\n"


def _dot_label(graph: Content) -> str:
    """Return the title with the legend below it."""
    styles, kinds = {node.style for node in graph.nodes}, {edge.style for edge in graph.edges}
    marks = [("■", s.light.line, s.label) for name, s in graph.styles.items() if name in styles and s.label]
    lines = [("╌" if x.dashed else "━", x.light, x.label) for name, x in graph.lines.items() if name in kinds]
    rows = [marks[k : k + 5] for k in range(0, len(marks), 5)] + [
        lines[k : k + 4] for k in range(0, len(lines), 4)
    ]
    small = [
        "   ".join(f'<FONT COLOR="{color}">{mark}</FONT> {_html(text)}' for mark, color, text in row if text)
        for row in rows
    ]
    tall = '<FONT POINT-SIZE="15"> </FONT>'  # or Graphviz sets rows closer than browsers' fonts are high
    if graph.scale:
        small.append(
            _html(
                f"colours: {graph.scale.label}, from {graph.scale.low} (light) to {graph.scale.high} (dark)"
            )
        )
    text = "".join(f'{tall}{row}<BR ALIGN="LEFT"/>' for row in small if row)
    title = f'{_html(graph.title) or " "}<BR ALIGN="LEFT"/>'
    return f'{title}<FONT POINT-SIZE="10" COLOR="#52606d">{text}</FONT>' if text else title


def _dot_ranks(graph: Content, names: dict[str, str]) -> Iterator[str]:
    """Yield which nodes have one layer."""
    ranks: dict[tuple[str, int], list[str]] = {}
    for node in graph.nodes:
        if node.rank is not None and not node.cluster:  # dot mixes ranks and clusters badly
            ranks.setdefault((node.cluster, node.rank), []).append(names[node.key])
    for members in ranks.values():
        if len(members) > 1:
            yield f"    {{ rank=same; {'; '.join(members)} }}"


def _dot_node(graph: Content, node: Node) -> str:
    style = graph.styles[node.style]
    paint = heat_paint(node.heat) if node.heat is not None else style.light
    shape = _DOT_SHAPES[style.shape].format(",dashed" if style.dashed else "")
    label = _html(node.label) or " "
    if node.detail:
        label += f'<BR/><FONT POINT-SIZE="9">{_html(node.detail)}</FONT>'
    tip = f", tooltip={_quoted(node.tip)}" if node.tip else ""
    return (
        f'label=<{label}>, {shape}, fillcolor="{paint.fill}", color="{paint.line}", '
        f'fontcolor="{paint.text}"{tip}'
    )


def _html(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", "<BR/>")):
        text = text.replace(char, entity)
    return _printable(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_printable(escaped)}"'


def _printable(text: str) -> str:
    """Take out what no text format can hold: control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
