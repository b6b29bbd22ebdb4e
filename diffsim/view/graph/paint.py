"""Graphs as SVG by our own layout, light and dark: one element that a page takes in as it is."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator

from diffsim.view.graph.heat import heat_paint, heat_stops
from diffsim.view.graph.layout import Box, Layout, Route, lay_out
from diffsim.view.graph.measure import LABEL, LINE, SMALL, SMALL_LINE, text_width
from diffsim.view.graph.model import Content, Node, Paint

__all__ = ["page", "svg_text"]

MARGIN, TITLE = 14.0, 30.0
_SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace'


def svg_text(graph: Content, title: bool = True) -> str:
    """Return an `<svg>` element without a background, to be put into a page.

    Its colours follow `data-theme="light"` or `"dark"` of an element around it, else what the reader's system
    prefers; its rules hold for itself alone, and its ids are its own.

    Args:
        graph: What to draw.
        title: Write the title above.
    """
    layout = lay_out(graph)
    mark = "g" + hashlib.sha256(repr((graph.title, graph.nodes, graph.edges)).encode()).hexdigest()[:10]
    key = list(_legend(graph, max(layout.width, 320.0)))
    rows = max((row for *_, row in key), default=-1) + 1
    head = TITLE if title and graph.title else 0.0
    shown = graph.title if head else ""
    wide = max([layout.width, 1.12 * text_width(shown, 15.0), *(x + w for _, x, w, _ in key)])
    captions = _wrapped(graph.caption, wide)
    width = wide + 2.0 * MARGIN
    below = head + MARGIN + layout.height + 18.0
    height = below + 22.0 * rows + (52.0 if graph.scale else 0.0) + 15.0 * len(captions) + MARGIN
    parts = [
        f'<svg class="{mark}" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}" '
        f'style="max-width:100%;min-width:{_n(0.7 * width)}px;height:auto">',
        f"<title>{_text(graph.title)}</title>",
        f"<style>{_rules(graph, mark)}</style>",
        _markers(graph, mark),
    ]
    if head:
        parts.append(f'<text class="head" x="{_n(MARGIN)}" y="{_n(MARGIN + 10)}">{_text(shown)}</text>')
    left = MARGIN + (wide - layout.width) / 2.0
    parts.append(f'<g transform="translate({_n(left)} {_n(head + MARGIN)})">')
    parts += _clusters(graph, layout)
    parts += [_line(graph, layout, route, mark) for route in layout.routes]
    parts += [_node(graph, node, layout.nodes[node.key]) for node in graph.nodes]
    parts += [_label(route, layout.upright) for route in layout.routes if route.edge.label]
    parts += _cluster_labels(graph, layout)
    parts.append("</g>")
    parts.append(f'<g transform="translate({_n(MARGIN)} {_n(below)})">')
    parts += [f'<g transform="translate({_n(x)} {_n(22.0 * row)})">{piece}</g>' for piece, x, _, row in key]
    at = 22.0 * rows
    if graph.scale:
        parts.append(_scale(graph, at, mark))
        at += 52.0
    parts += [
        f'<text class="small" y="{_n(at + 11 + 15 * k)}">{_text(t)}</text>' for k, t in enumerate(captions)
    ]
    return "\n".join([*parts, "</g>", "</svg>"])


def page(graph: Content) -> str:
    """Return an HTML page with the graph alone, which needs nothing else."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(graph.title)}</title>",
            "<style>body{margin:0;padding:12px;background:#fff;overflow-x:auto}",
            "@media (prefers-color-scheme:dark){body{background:#14181d}}</style>",
            f"</head><body>{svg_text(graph)}</body></html>\n",
        ]
    )


# ---- rules ----


def _rules(graph: Content, mark: str) -> str:
    """Return the rules of the picture, which hold for itself alone."""
    base = f"svg.{mark}"
    plain = [
        f"{base} text{{font-family:{_SANS};font-size:{SMALL}px}}",
        f"{base} .name{{font-family:{_MONO};font-size:{LABEL}px;font-weight:600}}",
        f"{base} .head{{font-size:15px;font-weight:600}}",
        f"{base} .box{{stroke-width:1.3}} {base} .dash{{stroke-dasharray:5 3}}",
        f"{base} .line{{fill:none;stroke-linecap:round}} {base} .line.dash{{stroke-dasharray:5 4}}",
        f"{base} .group{{stroke-width:1}} {base} .said{{font-size:11px;font-weight:600}}",
        f"{base} .halo{{paint-order:stroke;stroke-width:3.5px;stroke-linejoin:round}}",
    ]
    light, dark = _colors(graph, False), _colors(graph, True)

    def written(rules: dict[str, str], scope: str) -> str:
        return "".join(f"{scope}{base} {selector}{{{body}}}" for selector, body in rules.items())

    return "".join(
        [
            *plain,
            written(light, ""),
            f"@media (prefers-color-scheme:dark){{{written(dark, '')}}}",
            written(light, '[data-theme="light"] '),
            written(dark, '[data-theme="dark"] '),
        ]
    )


def _colors(graph: Content, dark: bool) -> dict[str, str]:
    ink, quiet, page_color = ("#e4e7eb", "#9aa5b1", "#14181d") if dark else ("#1f2933", "#616e7c", "#ffffff")
    found = {
        ".head": f"fill:{ink}",
        ".small": f"fill:{quiet}",
        ".halo": f"fill:{ink};stroke:{page_color}",
        ".said": f"fill:{quiet}",
        ".group": "fill:rgba(154,165,177,.09);stroke:#52606d"
        if dark
        else "fill:rgba(123,135,148,.08);stroke:#b8c2cc",
    }
    for k, style in enumerate(graph.styles.values()):
        paint = style.dark if dark else style.light
        found[f".s{k} .box"] = f"fill:{paint.fill};stroke:{paint.line}"
        found[f".s{k} text"] = f"fill:{paint.text}"
    for k, line in enumerate(graph.lines.values()):
        color = line.dark if dark else line.light
        found[f".l{k}"] = f"stroke:{color};stroke-width:{line.width}"
        found[f".m{k}"] = f"fill:{color}"
    return found


def _markers(graph: Content, mark: str) -> str:
    heads = "".join(
        f'<marker id="{mark}-{k}" viewBox="0 0 8 8" refX="7.4" refY="4" markerUnits="userSpaceOnUse" '
        f'markerWidth="9" markerHeight="9" orient="auto"><path class="m{k}" d="M0 .6 8 4 0 7.4z"/></marker>'
        for k in range(len(graph.lines))
    )
    stops = "".join(
        f'<stop offset="{_n(100.0 * k / (len(heat_stops()) - 1))}%" stop-color="{color}"/>'
        for k, color in enumerate(heat_stops())
    )
    ramp = f'<linearGradient id="{mark}-heat">{stops}</linearGradient>' if graph.scale else ""
    return f"<defs>{heads}{ramp}</defs>"


# ---- pieces ----


def _clusters(graph: Content, layout: Layout) -> Iterator[str]:
    for cluster in graph.clusters:
        box = layout.clusters.get(cluster.key)
        if box is not None:
            yield f'<rect class="group" {_rect(box)} rx="8"/>'


def _cluster_labels(graph: Content, layout: Layout) -> Iterator[str]:
    for cluster in graph.clusters:
        box = layout.clusters.get(cluster.key)
        if box is not None and cluster.label:
            place = f'x="{_n(box.x + 10)}" y="{_n(box.y + 16)}"'
            yield f'<text class="said halo" {place}>{_text(cluster.label)}</text>'


def _node(graph: Content, node: Node, box: Box) -> str:
    style = graph.styles[node.style]
    paint = heat_paint(node.heat) if node.heat is not None else None
    return _shape(
        list(graph.styles).index(node.style),
        style.shape,
        style.dashed,
        box,
        node.label,
        node.detail,
        node.tip,
        paint,
    )


def _shape(
    k: int, shape: str, dashed: bool, box: Box, label: str, detail: str, tip: str, paint: Paint | None = None
) -> str:
    """Return a node of style k."""
    given = f' style="fill:{paint.fill};stroke:{paint.line}"' if paint else ""
    color = f' style="fill:{paint.text}"' if paint else ""
    kind = f'class="box{" dash" if dashed else ""}"{given}'
    if shape == "hexagon":
        x, y, right, bottom, cut = box.x, box.y, box.x + box.width, box.y + box.height, 11.0
        middle = y + box.height / 2.0
        corners = [
            (x, middle),
            (x + cut, y),
            (right - cut, y),
            (right, middle),
            (right - cut, bottom),
            (x + cut, bottom),
        ]
        drawn = f'<polygon {kind} points="{" ".join(f"{_n(a)},{_n(b)}" for a, b in corners)}"/>'
    else:
        radius = {"pill": box.height / 2.0, "round": 7.0}.get(shape, 2.5)
        drawn = f'<rect {kind} {_rect(box)} rx="{_n(min(radius, 18.0))}"/>'
    lines, small = label.split("\n"), detail.split("\n") if detail else []
    at = box.y + (box.height - len(lines) * LINE - len(small) * SMALL_LINE) / 2.0
    center = f'text-anchor="middle" x="{_n(box.x + box.width / 2.0)}"'
    texts = []
    for text in lines:
        texts.append(f'<text class="name"{color} {center} y="{_n(at + 12.2)}">{_text(text)}</text>')
        at += LINE
    for text in small:
        texts.append(f'<text{color} {center} y="{_n(at + 9.8)}">{_text(text)}</text>')
        at += SMALL_LINE
    told = f"<title>{_text(tip)}</title>" if tip else ""
    return f'<g class="s{k}">{told}{drawn}{"".join(texts)}</g>'


def _line(graph: Content, layout: Layout, route: Route, mark: str) -> str:
    k = list(graph.lines).index(route.edge.style)
    dash = " dash" if graph.lines[route.edge.style].dashed else ""
    tip = f"<title>{_text(route.edge.tip)}</title>" if route.edge.tip else ""
    path = f'<path class="line l{k}{dash}" d="{_path(route, layout.upright)}" marker-end="url(#{mark}-{k})">'
    return f"{path}{tip}</path>"


def _path(route: Route, upright: bool) -> str:
    """Return curves that leave each layer straight."""
    points = [route.points[0]]
    for point in route.points[1:]:
        if abs(point[0] - points[-1][0]) + abs(point[1] - points[-1][1]) > 0.05:
            points.append(point)
    (x, y), rest = points[0], points[1:]
    parts = [f"M{_n(x)} {_n(y)}"]
    for a, b in rest:
        if route.flat or (a == x if upright else b == y):
            parts.append(f"L{_n(a)} {_n(b)}")
        elif upright:
            half = (y + b) / 2.0
            parts.append(f"C{_n(x)} {_n(half)} {_n(a)} {_n(half)} {_n(a)} {_n(b)}")
        else:
            half = (x + a) / 2.0
            parts.append(f"C{_n(half)} {_n(y)} {_n(half)} {_n(b)} {_n(a)} {_n(b)}")
        x, y = a, b
    return "".join(parts)


def _label(route: Route, upright: bool) -> str:
    """Write the label of a line beside its arrow."""
    (x, y), (a, b) = route.points[-1], route.points[-2]
    if route.flat:
        x, y = (x + a) / 2.0, (y + b) / 2.0
    elif upright:
        x, y = x + 5.0, y + (-5.0 if b < y else 12.0)
    else:
        x, y = x + (-14.0 if a < x else 6.0), y - 5.0
    return f'<text class="halo" x="{_n(x)}" y="{_n(y)}">{_text(route.edge.label)}</text>'


# ---- legend ----


def _legend(graph: Content, width: float) -> Iterator[tuple[str, float, float, int]]:
    """Yield the pieces of the legend: text, place, width and row."""
    used = {n.style for n in graph.nodes}, {e.style for e in graph.edges}
    x, row = 0.0, 0
    for k, (name, style) in enumerate(graph.styles.items()):
        if style.label and name in used[0]:
            wide = 34.0 + text_width(style.label, SMALL)
            x, row = (0.0, row + 1) if x + wide > width else (x, row)
            box = _shape(k, style.shape, style.dashed, Box(0.0, 2.0, 22.0, 12.0), "", "", "")
            yield f'{box}<text class="small" x="28" y="12">{_text(style.label)}</text>', x, wide, row
            x += wide + 12.0
    for k, (name, line) in enumerate(graph.lines.items()):
        if line.label and name in used[1]:
            wide = 34.0 + text_width(line.label, SMALL)
            x, row = (0.0, row + 1) if x + wide > width else (x, row)
            dash = " dash" if line.dashed else ""
            drawn = f'<path class="line l{k}{dash}" d="M0 8H22"/>'
            yield f'{drawn}<text class="small" x="28" y="12">{_text(line.label)}</text>', x, wide, row
            x += wide + 12.0


def _scale(graph: Content, y: float, mark: str) -> str:
    assert graph.scale is not None  # noqa: S101  (the caller looked)
    return (
        f'<text class="small" y="{_n(y + 12)}">{_text(graph.scale.label)}</text>'
        f'<rect x="0" y="{_n(y + 18)}" width="220" height="9" rx="2" fill="url(#{mark}-heat)"/>'
        f'<text class="small" y="{_n(y + 40)}">{_text(graph.scale.low)}</text>'
        f'<text class="small" x="220" y="{_n(y + 40)}" text-anchor="end">{_text(graph.scale.high)}</text>'
    )


def _wrapped(text: str, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", SMALL) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _rect(box: Box) -> str:
    return f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """Escape a text for XML, without characters that XML cannot hold."""
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in text))
