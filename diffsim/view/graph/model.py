"""What a graph is made of; it knows nothing of simulators, and draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from diffsim.errors import ConfigError

__all__ = ["Cluster", "Content", "Edge", "Line", "Node", "Paint", "Scale", "Style"]

SHAPES = ("box", "round", "pill", "hexagon")
MOST_NODES = 1500


@dataclass(frozen=True)
class Paint:
    """Colours of a shape, as `#rrggbb`.

    Attributes:
        fill, line, text: These.
    """

    fill: str
    line: str
    text: str


@dataclass(frozen=True)
class Style:
    """How nodes of one kind look.

    Attributes:
        label: What the kind is called in the legend; empty for no entry.
        light, dark: Colours on a light page and on a dark one.
        shape: `box`, `round`, `pill` or `hexagon`.
        dashed: Whether the outline is.
    """

    label: str
    light: Paint
    dark: Paint
    shape: str = "box"
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """How edges of one kind look.

    Attributes:
        label: What the kind is called in the legend; empty for no entry.
        light, dark: Colours on a light page and on a dark one, as `#rrggbb`.
        dashed: Whether the line is.
        width: In pixels.
    """

    label: str
    light: str
    dark: str
    dashed: bool = False
    width: float = 1.6


@dataclass(frozen=True)
class Scale:
    """What the heat of nodes means.

    Attributes:
        label: The quantity.
        low, high: The texts at heat 0 and 1.
    """

    label: str
    low: str
    high: str


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        key: Unique in its graph; any text.
        label: What is written into it, in lines.
        style: Of which kind it is.
        detail: Smaller text below, in lines.
        tip: What a pointer that rests on it is told.
        cluster: The key of the cluster that it is in; empty for none.
        heat: 0 to 1, a colour of the graph's scale in place of the style's; None for the style's.
        rank: Its layer inside its cluster, where that is wished; None leaves it to the layout.
    """

    key: str
    label: str
    style: str
    detail: str = ""
    tip: str = ""
    cluster: str = ""
    heat: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Edge:
    """An edge.

    Attributes:
        source, target: Keys of nodes.
        style: Of which kind it is.
        label: What is written beside it.
        tip: What a pointer that rests on it is told.
        back: It leads back: the layout puts its target before its source.
    """

    source: str
    target: str
    style: str
    label: str = ""
    tip: str = ""
    back: bool = False


@dataclass(frozen=True)
class Cluster:
    """A box around nodes and other clusters.

    Attributes:
        key: Unique among the clusters.
        label: What is written at its top.
        parent: The key of the cluster that it is in; empty for none.
    """

    key: str
    label: str
    parent: str = ""


@dataclass(frozen=True, eq=False)
class Content:
    """All that a graph holds. Edges of one kind between the same nodes are merged, and so are their labels.

    Attributes:
        title: What it is called.
        nodes, edges, clusters: These, in an order that layouts keep to where nothing else decides.
        styles, lines: What kinds of nodes and of edges look like, by name.
        scale: What the heat of nodes means; None where no node has any.
        direction: `TB` from top to bottom, `LR` from left to right.
        caption: A sentence or two below the picture.

    Raises:
        ConfigError: A key is used twice or names nothing, a style or a shape is unknown, a heat is not in
            0 .. 1, clusters are inside themselves, or there are more than 1500 nodes.
    """

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    styles: Mapping[str, Style] = field(default_factory=dict)
    lines: Mapping[str, Line] = field(default_factory=dict)
    scale: Scale | None = None
    direction: str = "TB"
    caption: str = ""

    def __post_init__(self) -> None:
        for name in ("nodes", "edges", "clusters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        nodes, clusters = [n.key for n in self.nodes], [c.key for c in self.clusters]
        if len(nodes) > MOST_NODES:
            raise ConfigError(
                f"a graph must have at most {MOST_NODES} nodes to be drawn, got {len(nodes)}; draw a part"
            )
        _unique("nodes", nodes)
        _unique("clusters", clusters)
        _known("the cluster of a node", (n.cluster for n in self.nodes), ["", *clusters])
        _known("the parent of a cluster", (c.parent for c in self.clusters), ["", *clusters])
        _known("the end of an edge", (k for e in self.edges for k in (e.source, e.target)), nodes)
        _known("the style of a node", (n.style for n in self.nodes), self.styles)
        _known("the style of an edge", (e.style for e in self.edges), self.lines)
        _known("the shape of a style", (s.shape for s in self.styles.values()), SHAPES)
        _known("the direction of a graph", [self.direction], ("TB", "LR"))
        for node in self.nodes:
            if node.heat is not None and not 0.0 <= node.heat <= 1.0:
                raise ConfigError(f"the heat of {node.key} must be in 0 .. 1, got {node.heat}; scale it")
        self._check_nesting()
        object.__setattr__(self, "edges", _merged(self.edges))

    def _check_nesting(self) -> None:
        parents = {c.key: c.parent for c in self.clusters}
        for key in parents:
            seen, at = {key}, parents[key]
            while at:
                if at in seen:
                    raise ConfigError(f"clusters must not hold themselves, got {key!r}; mend its parent")
                seen.add(at)
                at = parents[at]


def _unique(what: str, keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ConfigError(f"keys of {what} must be unique, got {key!r} twice; rename one")
        seen.add(key)


def _known(what: str, keys: Iterable[str], known: Iterable[str]) -> None:
    allowed = set(known)
    for key in keys:
        if key not in allowed:
            raise ConfigError(f"{what} must be one that is there, got {key!r}; add it or mend the name")


def _merged(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """Return edges with those between the same nodes drawn once, in the order of the first of each."""
    found: dict[tuple[str, str, str], Edge] = {}
    for edge in edges:
        key = (edge.source, edge.target, edge.style)
        if key not in found:
            found[key] = edge
            continue
        first = found[key]
        found[key] = replace(
            first,
            label=_joined(first.label, edge.label, ", "),
            tip=_joined(first.tip, edge.tip, "\n"),
            back=first.back and edge.back,
        )
    return tuple(found.values())


def _joined(a: str, b: str, between: str) -> str:
    parts = [part for part in (*a.split(between), *b.split(between)) if part]
    return between.join(dict.fromkeys(parts))
