"""What lies beside what: each cluster is a level of its own, whose inner clusters are boxes to it.

Lines with one upper end and one style are a *net*: they run as one trunk down the layers and branch off it.
Where a net enters a cluster or leaves it there is a port at the cluster's border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from diffsim.view.graph.model import Content, Edge

__all__ = ["Item", "Level", "Net", "levels_of", "upper_end"]

Item = tuple[str, str]  # "node" or "cluster", and its key
Net = tuple[str, str, bool]  # the upper node, the style, whether lines run upward
TOP: Item = ("port", "top")
BOTTOM: Item = ("port", "bottom")


@dataclass
class Level:
    """The inside of one cluster, or of the graph.

    Attributes:
        key: The cluster; empty for the graph.
        items: What lies in it.
        starts: Where each net comes from: an item, or `TOP` for from above.
        ends: Where it goes to: items, or `BOTTOM` for on downward.
        layer: The layer of each item.
        flat: Edges between items of one layer, which are drawn by themselves.
    """

    key: str
    items: list[Item] = field(default_factory=list)
    starts: dict[Net, Item] = field(default_factory=dict)
    ends: dict[Net, list[Item]] = field(default_factory=dict)
    layer: dict[Item, int] = field(default_factory=dict)
    flat: list[Edge] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return max(self.layer.values(), default=-1) + 1

    def add(self, net: Net, start: Item, end: Item) -> None:
        """Add a branch to a net."""
        self.starts[net] = start
        ends = self.ends.setdefault(net, [])
        if end not in ends:
            ends.append(end)


def upper_end(edge: Edge, turned: bool) -> tuple[str, str]:
    """Return the nodes at the upper and at the lower end of an edge."""
    return (edge.target, edge.source) if turned else (edge.source, edge.target)


def levels_of(graph: Content) -> tuple[dict[str, Level], dict[int, bool]]:
    """Return the levels by cluster, layered, and for each edge (by position) whether it runs upward."""
    levels = {key: Level(key) for key in ("", *(c.key for c in graph.clusters))}
    for node in graph.nodes:
        levels[node.cluster].items.append(("node", node.key))
    full = {c.key for c in graph.clusters if any(True for _ in _inside(graph, c.key))}
    for cluster in graph.clusters:
        if cluster.key in full:
            levels[cluster.parent].items.append(("cluster", cluster.key))
    paths = _paths(graph)
    met: dict[str, list[tuple[int, Item, Item]]] = {key: [] for key in levels}
    for k, edge in enumerate(graph.edges):
        if edge.source != edge.target:
            key, a, b = _meeting(paths[edge.source], paths[edge.target])
            met[key].append((k, a, b))
    turned = {k: edge.back for k, edge in enumerate(graph.edges)}
    ranks = {("node", n.key): n.rank for n in graph.nodes if n.rank is not None}
    for key, level in levels.items():
        _turn_back_edges(level, met[key], turned, ranks)
        level.layer = _layers(level, met[key], turned, ranks)
    for key, edges in met.items():
        for k, a, b in edges:
            _spread(graph.edges[k], turned[k], levels, key, paths, (a, b))
    return levels, turned


def _inside(graph: Content, key: str) -> Iterator[str]:
    yield from (n.key for n in graph.nodes if n.cluster == key)
    for inner in graph.clusters:
        if inner.parent == key:
            yield from _inside(graph, inner.key)


def _paths(graph: Content) -> dict[str, list[Item]]:
    """Return for each node the items that hold it, outermost first, itself last."""
    parents = {c.key: c.parent for c in graph.clusters}
    found = {}
    for node in graph.nodes:
        path: list[Item] = [("node", node.key)]
        at = node.cluster
        while at:
            path.append(("cluster", at))
            at = parents[at]
        found[node.key] = path[::-1]
    return found


def _meeting(a: list[Item], b: list[Item]) -> tuple[str, Item, Item]:
    """Return the innermost level that holds both nodes, and what holds each of them there."""
    k = 0
    while a[k] == b[k]:
        k += 1
    return (a[k - 1][1] if k else ""), a[k], b[k]


def _turn_back_edges(
    level: Level, edges: list[tuple[int, Item, Item]], turned: dict[int, bool], ranks: dict[Item, int]
) -> None:
    """Turn edges around until none closes a circle, beginning with those that go back in order."""
    out: dict[Item, list[tuple[int, Item]]] = {item: [] for item in level.items}
    for k, a, b in edges:
        if a in ranks and b in ranks:
            turned[k] = ranks[a] > ranks[b]
            continue
        a, b = (b, a) if turned[k] else (a, b)
        out[a].append((k, b))
    state: dict[Item, int] = {}
    for root in level.items:
        if root in state:
            continue
        stack: list[tuple[Item, int]] = [(root, 0)]
        state[root] = 1
        while stack:
            item, at = stack.pop()
            if at == len(out[item]):
                state[item] = 2
                continue
            stack.append((item, at + 1))
            k, other = out[item][at]
            if state.get(other) == 1:
                turned[k] = not turned[k]
            elif other not in state:
                state[other] = 1
                stack.append((other, 0))


def _layers(
    level: Level, edges: list[tuple[int, Item, Item]], turned: dict[int, bool], ranks: dict[Item, int]
) -> dict[Item, int]:
    """Return the layer of each item: as far up as what is above it allows, sources beside their use."""
    above: dict[Item, dict[Item, None]] = {item: {} for item in level.items}  # ordered sets: a layout is
    below: dict[Item, dict[Item, None]] = {item: {} for item in level.items}  # the same in every process
    for k, a, b in edges:
        a, b = (b, a) if turned[k] else (a, b)
        if not (a in ranks and b in ranks):
            above[b][a] = None
            below[a][b] = None
    layer: dict[Item, int] = {}
    waiting = {item: len(above[item]) for item in level.items}
    ready = [item for item in level.items if not waiting[item]]
    while ready:
        item = ready.pop(0)
        layer[item] = ranks.get(item, max((layer[a] + 1 for a in above[item]), default=0))
        for other in below[item]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    _pull_down(layer, above, below, ranks)
    return {item: layer[item] for item in level.items}


def _pull_down(
    layer: dict[Item, int],
    above: dict[Item, dict[Item, None]],
    below: dict[Item, dict[Item, None]],
    ranks: dict[Item, int],
) -> None:
    """Move what is there for one thing alone beside it: its lines become short, and none becomes long."""
    for _ in range(3):
        for item in sorted(layer, key=lambda item: -layer[item]):
            if item in ranks or not below[item]:
                continue
            # what is there for this item alone comes along
            held = sum(1 for a in above[item] if above[a] or len(below[a]) > 1)
            if held < len(below[item]):
                layer[item] = max(layer[item], min(layer[b] for b in below[item]) - 1)


def _spread(
    edge: Edge,
    turned: bool,
    levels: dict[str, Level],
    meeting: str,
    paths: dict[str, list[Item]],
    met: tuple[Item, Item],
) -> None:
    """Lay an edge through the levels from its upper end to its lower end."""
    upper, lower = upper_end(edge, turned)
    first, last = (met[1], met[0]) if turned else met
    level = levels[meeting]
    if level.layer[first] == level.layer[last]:
        level.flat.append(edge)
        return
    net = (upper, edge.style, turned)
    level.add(net, first, last)
    for path, item, going_out in ((paths[upper], first, True), (paths[lower], last, False)):
        at = path.index(item)
        for holder, inner in zip(path[at:], path[at + 1 :], strict=False):
            if going_out:
                levels[holder[1]].add(net, inner, BOTTOM)
            else:
                levels[holder[1]].add(net, TOP, inner)
