"""The layout of a graph: layers, few crossings, straight lines; a cluster is laid out as a graph inside."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from diffsim.view.graph.levels import BOTTOM, TOP, Item, Level, Net, levels_of, upper_end
from diffsim.view.graph.measure import node_size, text_width
from diffsim.view.graph.model import Content, Edge
from diffsim.view.graph.order import ordered
from diffsim.view.graph.straight import placed

__all__ = ["Box", "Layout", "Route", "lay_out"]

GAP, LINE_GAP = 18.0, 9.0  # between nodes, and between lines
ROW = 30.0  # between layers, and more where many lines turn
PAD, HEAD = 14.0, 24.0  # inside a cluster, and where its label is
Point = tuple[float, float]


@dataclass
class Box:
    """Where a node or a cluster is: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Route:
    """Where a line runs: points from the edge's source to its target, joined by curves along the layers."""

    edge: Edge
    points: list[Point]
    flat: bool = False


@dataclass
class Layout:
    """Where everything is, in pixels.

    Attributes:
        width, height: Of the whole.
        nodes, clusters: By key.
        routes: Lines in the order of the edges.
        upright: Whether layers run from top to bottom.
    """

    width: float
    height: float
    nodes: dict[str, Box] = field(default_factory=dict)
    clusters: dict[str, Box] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    upright: bool = True


@dataclass
class _Inside:
    """A level that is laid out, in coordinates of its own.

    Attributes:
        x, top, bottom: Of each place: its middle across the layers, and where it begins and ends along them.
        ports: Where a net crosses the upper and the lower border, across the layers.
        trunk: The places of a net in the layers that it passes.
    """

    width: float
    height: float
    x: dict[Hashable, float]
    top: dict[Hashable, float]
    bottom: dict[Hashable, float]
    ports: dict[tuple[Item, Net], float]
    trunk: dict[Net, dict[int, Hashable]]


def lay_out(graph: Content) -> Layout:
    """Return where everything of a graph is."""
    return _Work(graph).layout()


class _Work:
    """One layout on its way."""

    def __init__(self, graph: Content) -> None:
        self.graph, self.upright = graph, graph.direction == "TB"
        self.levels, self.turned = levels_of(graph)
        self.sizes: dict[Item, tuple[float, float]] = {}
        wanted = _label_room(graph)
        for node in graph.nodes:
            width, height = node_size(node, graph.styles[node.style].shape)
            width = max(width, wanted.get(node.key, 0.0)) if self.upright else width
            self.sizes["node", node.key] = (width, height) if self.upright else (height, width)
        self.labels = {c.key: c.label for c in graph.clusters}
        self.insides: dict[str, _Inside] = {}

    def layout(self) -> Layout:
        """Lay out from the innermost clusters outward, then place all of it."""
        self._arrange("")
        whole = self.insides[""]
        found = Layout(whole.width, whole.height, upright=self.upright)
        origins: dict[str, Point] = {}
        self._place("", 0.0, 0.0, found, origins)
        self._route(found, origins)
        if not self.upright:
            found.width, found.height = found.height, found.width
            for box in [*found.nodes.values(), *found.clusters.values()]:
                box.x, box.y, box.width, box.height = box.y, box.x, box.height, box.width
            for route in found.routes:
                route.points = [(y, x) for x, y in route.points]
        return found

    # ---- one level ----

    def _arrange(self, key: str) -> None:
        level = self.levels[key]
        for kind, inner in level.items:
            if kind == "cluster":
                self._arrange(inner)
                inside = self.insides[inner]
                self.sizes[kind, inner] = (inside.width, inside.height)
        layers, trunk, segments = _with_lines(level)
        down: dict[Hashable, list[Hashable]] = {}
        up: dict[Hashable, list[Hashable]] = {}
        for a, b, _ in segments:
            down.setdefault(a, []).append(b)
            up.setdefault(b, []).append(a)
        layers = ordered(layers, down, up)
        widths, gap = {}, {}
        for layer in layers:
            for place in layer:
                is_item = place in self.sizes
                widths[place] = self.sizes[place][0] if is_item else 0.0  # type: ignore[index]
                gap[place] = GAP if is_item else LINE_GAP
        links = [
            (a, self._at(a, BOTTOM, net), b, self._at(b, TOP, net), _weight(a, b, self.sizes))
            for a, b, net in segments
        ]
        x = placed(layers, widths, links, gap, _passes(layers, trunk))
        self.insides[key] = self._measured(level, layers, x, trunk)

    def _at(self, place: Hashable, side: Item, net: Net) -> float:
        """Return where on an item a net ends, from its middle: at a cluster's port."""
        if isinstance(place, tuple) and place[0] == "cluster" and place in self.sizes:
            inside = self.insides[place[1]]
            return inside.ports[side, net] - inside.width / 2.0
        return 0.0

    def _measured(
        self,
        level: Level,
        layers: list[list[Hashable]],
        x: dict[Hashable, float],
        trunk: dict[Net, dict[int, Hashable]],
    ) -> _Inside:
        """Add what lies along the layers, and room for the border."""
        pad = PAD if level.key else 0.0
        head = HEAD if level.key and self.labels[level.key] else pad
        before, left = (head, pad) if self.upright else (pad, head)
        top: dict[Hashable, float] = {}
        bottom: dict[Hashable, float] = {}
        at = before
        right = 0.0
        for k, layer in enumerate(layers):
            height = max((self.sizes[p][1] for p in layer if p in self.sizes), default=0.0)  # type: ignore[index]
            for place in layer:
                is_item = place in self.sizes
                own = self.sizes[place][1] if is_item else height  # type: ignore[index]
                top[place], bottom[place] = at + (height - own) / 2.0, at + (height + own) / 2.0
                right = max(right, x[place] + (self.sizes[place][0] / 2.0 if is_item else 0.0))  # type: ignore[index]
            inner = 0 < k + 1 < len(layers) and height > 0.0
            at += height + (_room(layers, k) if inner or k + 1 < len(layers) else 0.0)
        width, height = right + 2.0 * pad, at + pad
        if not self.upright:
            width = right + pad + head
        label = text_width(self.labels.get(level.key, ""), 11.0) + 2.0 * pad if level.key else 0.0
        if self.upright and label > width:
            left += (label - width) / 2.0
            width = label
        elif not self.upright:
            height = max(height, label)
        x = {place: value + left for place, value in x.items()}
        ports = {
            (p[1], p[2]): x[p] for layer in layers for p in layer if isinstance(p, tuple) and p[0] == "at"
        }
        return _Inside(width, height, x, top, bottom, ports, trunk)

    # ---- all levels ----

    def _place(self, key: str, x: float, y: float, found: Layout, origins: dict[str, Point]) -> None:
        origins[key] = (x, y)
        inside = self.insides[key]
        for item in self.levels[key].items:
            width, height = self.sizes[item]
            left, top = x + inside.x[item] - width / 2.0, y + inside.top[item]
            box = Box(left, top, width, height)
            if item[0] == "node":
                found.nodes[item[1]] = box
            else:
                found.clusters[item[1]] = box
                self._place(item[1], left, top, found, origins)

    def _route(self, found: Layout, origins: dict[str, Point]) -> None:
        parents = {c.key: c.parent for c in self.graph.clusters}
        cluster_of = {n.key: n.cluster for n in self.graph.nodes}
        ends: list[tuple[int, list[Point], Net]] = []
        flat = {id(edge) for level in self.levels.values() for edge in level.flat}
        for k, edge in enumerate(self.graph.edges):
            if edge.source == edge.target or id(edge) in flat:
                found.routes.append(Route(edge, _beside(found, edge), flat=True))
                continue
            upper, lower = upper_end(edge, self.turned[k])
            net = (upper, edge.style, self.turned[k])
            points = self._points(net, upper, lower, cluster_of, parents, origins)
            ends.append((k, points, net))
            found.routes.append(Route(edge, points))
        _spread_ends(found, ends, self.graph, self.turned)
        for k, _, _ in ends:
            if self.turned[k]:
                found.routes[k].points.reverse()

    def _points(
        self,
        net: Net,
        upper: str,
        lower: str,
        cluster_of: dict[str, str],
        parents: dict[str, str],
        origins: dict[str, Point],
    ) -> list[Point]:
        """Return the points of a line from its upper to its lower node; both ends are at nodes' middles."""
        out, into = _chain(upper, cluster_of, parents), _chain(lower, cluster_of, parents)
        while len(out) > 1 and len(into) > 1 and out[-2] == into[-2]:
            out.pop(), into.pop()
        points: list[Point] = []
        start: Item = ("node", upper)
        for key in out[:-1]:
            points += self._through(key, net, start, BOTTOM, origins)
            start = ("cluster", key)
        inner: list[Item] = [*(("cluster", key) for key in into[-2::-1]), ("node", lower)]
        points += self._through(out[-1], net, start, inner[0], origins)
        for key, end in zip(into[:-1][::-1], inner[1:], strict=True):
            points += self._through(key, net, TOP, end, origins)
        return points

    def _through(self, key: str, net: Net, start: Item, end: Item, origins: dict[str, Point]) -> list[Point]:
        """Return the points of a line inside one level."""
        level, inside, (ox, oy) = self.levels[key], self.insides[key], origins[key]
        layers = level.depth
        begin = -1 if start == TOP else level.layer[start]
        stop = layers if end == BOTTOM else level.layer[end]
        points = []
        if start[0] == "node":
            points.append((ox + inside.x[start], oy + inside.bottom[start]))
        elif start == TOP:
            points.append((ox + inside.ports[TOP, net], oy))
        for k in range(begin + 1, stop):
            place = inside.trunk[net][k]
            points += [(ox + inside.x[place], oy + edge[place]) for edge in (inside.top, inside.bottom)]
        if end == BOTTOM:
            points.append((ox + inside.ports[BOTTOM, net], oy + inside.height))
        elif end[0] == "node":
            points.append((ox + inside.x[end], oy + inside.top[end]))
        return points


def _chain(node: str, cluster_of: dict[str, str], parents: dict[str, str]) -> list[str]:
    """Return the levels that hold a node, the innermost first, the graph itself last."""
    found = [cluster_of[node]]
    while found[-1]:
        found.append(parents[found[-1]])
    return found


def _with_lines(
    level: Level,
) -> tuple[list[list[Hashable]], dict[Net, dict[int, Hashable]], list[tuple[Hashable, Hashable, Net]]]:
    """Return the layers with the places that nets pass, those places, and the lines between layers.

    The first layer and the last are those of ports, which may be empty.
    """
    depth = level.depth
    layers: list[list[Hashable]] = [[] for _ in range(depth + 2)]
    for item in level.items:
        layers[level.layer[item] + 1].append(item)
    trunk: dict[Net, dict[int, Hashable]] = {}
    segments: list[tuple[Hashable, Hashable, Net]] = []
    for net, start in level.starts.items():
        before: Hashable = start if start != TOP else ("at", TOP, net)
        begin = -1 if start == TOP else level.layer[start]
        if start == TOP:
            layers[0].append(before)
        stops = {end: depth if end == BOTTOM else level.layer[end] for end in level.ends[net]}
        trunk[net] = {}
        for k in range(begin + 1, max(stops.values()) + 1):
            for end, stop in stops.items():
                if stop == k:
                    place: Hashable = ("at", BOTTOM, net) if end == BOTTOM else end
                    segments.append((before, place, net))
                    if end == BOTTOM:
                        layers[depth + 1].append(place)
            if k < max(stops.values()):
                here = ("via", net, k)
                layers[k + 1].append(here)
                trunk[net][k] = here
                segments.append((before, here, net))
                before = here
    return layers, trunk, segments


def _passes(layers: list[list[Hashable]], trunk: dict[Net, dict[int, Hashable]]) -> list[list[Hashable]]:
    """Return the places that each net passes, in order, with its ports."""
    top = {place[2]: place for place in layers[0]}  # type: ignore[index]
    bottom = {place[2]: place for place in layers[-1]}  # type: ignore[index]
    found = []
    for net, places in trunk.items():
        inner = [places[k] for k in sorted(places)]
        found.append([*([top[net]] if net in top else []), *inner, *([bottom[net]] if net in bottom else [])])
    return found


def _weight(a: Hashable, b: Hashable, sizes: dict[Item, tuple[float, float]]) -> float:
    """Return how much it matters that a line between two places is straight: long ones must be."""
    return {0: 8.0, 1: 0.4, 2: 2.0}[(a in sizes) + (b in sizes)]


def _room(layers: list[list[Hashable]], k: int) -> float:
    """Return the distance to the next layer: more where many lines turn between the two."""
    if k == 0 or k + 2 == len(layers):
        return 10.0 if layers[0 if k == 0 else -1] else 0.0
    return ROW + min(36.0, 1.6 * max(len(layers[k]), len(layers[k + 1])))


def _beside(found: Layout, edge: Edge) -> list[Point]:
    """Return a straight line between nodes of one layer, or a loop at one node."""
    a, b = found.nodes[edge.source], found.nodes[edge.target]
    if a is b:
        right, middle = a.x + a.width, a.y + a.height / 2.0
        return [
            (right, middle - 6.0),
            (right + 22.0, middle - 6.0),
            (right + 22.0, middle + 6.0),
            (right, middle + 6.0),
        ]
    y = a.y + a.height / 2.0
    if a.x < b.x:
        return [(a.x + a.width, y), (b.x, b.y + b.height / 2.0)]
    return [(a.x, y), (b.x + b.width, b.y + b.height / 2.0)]


def _label_room(graph: Content) -> dict[str, float]:
    """Return how wide nodes must be for the labels of the lines that end there."""
    found: dict[str, list[float]] = {}
    for edge in graph.edges:
        if len(edge.label) > 1 and not edge.back:
            found.setdefault(edge.target, []).append(text_width(edge.label, 10.5) + 14.0)
    return {key: (len(widths) - 1) * max(widths) / 0.9 + 8.0 for key, widths in found.items()}


def _spread_ends(
    found: Layout, ends: list[tuple[int, list[Point], Net]], graph: Content, turned: dict[int, bool]
) -> None:
    """Move the ends of lines apart along the borders of nodes, in the order of where they go."""
    sides: dict[tuple[str, bool], dict[Hashable, list[int]]] = {}
    for position, (k, _, net) in enumerate(ends):
        upper, lower = upper_end(graph.edges[k], turned[k])
        sides.setdefault((upper, True), {}).setdefault(net, []).append(position)
        sides.setdefault((lower, False), {}).setdefault(position, []).append(position)
    for (key, starting), groups in sides.items():
        box = found.nodes[key]
        labels = [graph.edges[ends[m][0]].label for g in groups.values() for m in g] if not starting else []
        widest = max((text_width(label, 10.5) + 14.0 for label in labels if label), default=0.0)
        room = (0.9 if widest else 0.72) * box.width - 6.0
        step = min(max(widest, 13.0), room / max(1, len(groups) - 1))

        def goal(members: list[int], starting: bool = starting) -> float:
            places = [ends[m][1][1] if starting else ends[m][1][-2] for m in members]
            return sum(x for x, _ in places) / len(places)

        order = sorted(groups.values(), key=goal)
        for i, members in enumerate(order):
            x = box.x + box.width / 2.0 + (i - (len(order) - 1) / 2.0) * step
            for m in members:
                points = ends[m][1]
                at = 0 if starting else len(points) - 1
                points[at] = (x, points[at][1])
