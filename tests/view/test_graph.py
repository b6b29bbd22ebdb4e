"""Graphs by themselves: what is written can be read again, and what is drawn lies where it must."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from diffsim.errors import ConfigError, MissingExtraError
from diffsim.view.graph import Cluster, Edge, Graph, Line, Node, Paint, Scale, Style
from diffsim.view.graph.heat import heat_paint
from diffsim.view.graph.layout import Box, Layout, lay_out
from diffsim.view.graph.order import crossings, ordered

PAINT = Paint("#ffffff", "#000000", "#000000")
STYLES = {
    name: Style(name, PAINT, PAINT, shape, name == "odd")
    for name, shape in {"k": "box", "f": "pill", "p": "hexagon", "odd": "round"}.items()
}
LINES = {"r": Line("read", "#112233", "#445566"), "cut": Line("cut", "#aa0000", "#ff8888", True)}
NAMES = [
    'a"b',
    "f.g[0]",
    "<b>&amp;",
    "größe",
    "漢字",
    "end",
    "x--y;",
    "`tick` #1",
    "back\\slash",
    "two\nlines",
    "",
]
NEEDS_DOT = pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")


def graph(
    nodes: list[Node], edges: list[Edge], clusters: list[Cluster] | None = None, **options: object
) -> Graph:
    return Graph(str(options.pop("title", "a graph")), nodes, edges, clusters or [], STYLES, LINES, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nested() -> Graph:
    """Twelve layers and more, three clusters, one inside another, lines that go back, odd names."""
    places = ["", "outer", "inner", "other"]
    nodes = [
        Node(f"n{k}", f"node {k}", list(STYLES)[k % 4], "a line" * (k % 3), cluster=places[k * 7 % 4])
        for k in range(40)
    ]
    nodes += [Node(name or "empty", name, "f", name, name, heat=k / 10) for k, name in enumerate(NAMES)]
    edges = [Edge(f"n{k}", f"n{min(39, k + 1 + k * k % 9)}", "r", "+" * (k % 5 == 0)) for k in range(39)]
    edges += [Edge("n30", "n2", "cut", back=True), Edge("n9", "n9", "r"), Edge("n20", "n3", "r")]
    edges += [Edge(a or "empty", b or "empty", "cut", a) for a, b in itertools.pairwise(NAMES)]
    clusters = [
        Cluster("outer", 'the "outer" <one>'),
        Cluster("inner", "in it", "outer"),
        Cluster("other", "é"),
    ]
    return graph(nodes, edges, clusters, scale=Scale("size", "0", "1"), caption="Of " + "many words " * 30)


# ---- what it is made of ----


def test_edges_between_the_same_nodes_are_drawn_once() -> None:
    nodes = [Node(key, key, "k") for key in "ab"]
    edges = [
        Edge("a", "b", "r", "+"),
        Edge("a", "b", "cut"),
        Edge("a", "b", "r", "="),
        Edge("a", "b", "r", "+"),
    ]
    drawn = graph(nodes, edges).edges
    assert [(e.style, e.label) for e in drawn] == [("r", "+, ="), ("cut", "")]


MISUSE = [
    (
        lambda: graph([Node("a", "a", "k"), Node("a", "b", "k")], []),
        "keys of nodes must be unique, got 'a' twice",
    ),
    (lambda: graph([Node("a", "a", "k")], [Edge("a", "b", "r")]), "the end of an edge must be .* got 'b'"),
    (lambda: graph([Node("a", "a", "z")], []), "the style of a node must be .* got 'z'"),
    (lambda: graph([Node("a", "a", "k", cluster="c")], []), "the cluster of a node must be .* got 'c'"),
    (
        lambda: graph([Node("a", "a", "k", heat=float("nan"))], []),
        r"the heat of a must be in 0 .. 1, got nan",
    ),
    (
        lambda: graph([], [], [Cluster("a", "", "b"), Cluster("b", "", "a")]),
        "clusters must not hold themselves",
    ),
    (lambda: graph([], [], direction="UP"), "the direction of a graph must be .* got 'UP'"),
    (
        lambda: graph([Node(str(k), "", "k") for k in range(1501)], []),
        "at most 1500 nodes to be drawn, got 1501",
    ),
]


@pytest.mark.parametrize(("make", "message"), MISUSE)
def test_what_makes_no_sense_is_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# ---- text ----

MERMAID = [
    r'(subgraph c\d+\[".*"\]|end)',
    r'n\d+(\["LABEL"\]|\("LABEL"\)|\(\["LABEL"\]\)|\{\{"LABEL"\}\})'.replace(
        "LABEL", r'([^"<>&`#]|#\d+;|</?(br/|small)>)*'
    ),
    r'n\d+ (-->|-\.->)(\|"([^"<>&`#|]|#\d+;|<br/>)*"\|)? n\d+',
    r"classDef s\d+ fill:#\w{6},stroke:#\w{6},color:#\w{6}(,stroke-dasharray:5 3)?",
    r"class n\d+(,n\d+)* s\d+",
    r"style n\d+ fill:#\w{6},stroke:#\w{6},color:#\w{6}(,stroke-dasharray:5 3)?",
    r"linkStyle \d+(,\d+)* stroke:#\w{6}",
]


def mermaid_faults(text: str) -> list[str]:
    """Return the lines that are not of the part of Mermaid's language that is used here."""
    head, _, body = text.partition("---\nflowchart TB\n")
    faults = [] if re.fullmatch(r'---\ntitle: "(?:[^"\\\n]|\\.)*"\n', head) else [head]
    depth = 0
    for line in body.splitlines():
        faults += [] if any(re.fullmatch(rule, line.strip()) for rule in MERMAID) else [line]
        depth += line.strip().startswith("subgraph") - (line.strip() == "end")
    return faults + (["subgraph"] if depth else [])


def test_mermaid_holds_every_name_and_can_be_read(nested: Graph) -> None:
    text = nested.mermaid()
    assert mermaid_faults(text) == []
    assert str(nested) == text
    assert mermaid_faults(text.replace("#34;", '"')), "the check sees a quote that is not escaped"
    read = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text)
    assert all(name.replace("\n", "<br/>") in read for name in NAMES)
    assert len(re.findall(r"-->|-\.->", text)) == len(nested.edges)
    [marked] = re.findall(rf"linkStyle ([\d,]+) stroke:{LINES['cut'].light}", text)
    assert [nested.edges[int(k)].style for k in marked.split(",")] == ["cut"] * len(marked.split(","))


@NEEDS_DOT
def test_dot_is_read_by_graphviz_as_it_was_meant(nested: Graph, tmp_path: Path) -> None:
    plain = subprocess.run(
        ["dot", "-Tplain"], input=nested.dot().encode(), capture_output=True, check=True, timeout=60
    )
    assert plain.stderr == b""
    kinds = [line.split(" ")[0] for line in plain.stdout.decode().splitlines()]
    assert kinds.count("node") == len(nested.nodes)
    assert kinds.count("edge") == len(nested.edges)
    written = "".join(ET.fromstring(nested.svg().encode()).itertext())
    assert all(part in written for name in NAMES for part in name.split("\n"))
    assert nested.save(tmp_path / "größe 1.png").read_bytes().startswith(b"\x89PNG")


# ---- our own layout ----


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def inside(a: Box, b: Box) -> bool:
    return b.x <= a.x and b.y <= a.y and a.x + a.width <= b.x + b.width and a.y + a.height <= b.y + b.height


def layout_faults(graph: Graph, found: Layout) -> list[str]:
    """Return what lies on top of something else, outside its cluster or of the page, or ends nowhere."""
    page = Box(0.0, 0.0, found.width + 1e-6, found.height + 1e-6)
    faults = [
        f"{a} on {b}"
        for a, b in itertools.combinations(found.nodes, 2)
        if overlap(found.nodes[a], found.nodes[b])
    ]
    for node in graph.nodes:
        box = found.nodes[node.key]
        faults += [] if inside(box, found.clusters.get(node.cluster, page)) else [f"{node.key} outside"]
        for cluster in found.clusters:
            held = [node.cluster, *(c.parent for c in graph.clusters if c.key == node.cluster)]
            faults += [f"{node.key} in {cluster}"] * (
                cluster not in held and overlap(box, found.clusters[cluster])
            )
    for edge, route in zip(graph.edges, found.routes, strict=True):
        for end, (x, y) in ((edge.source, route.points[0]), (edge.target, route.points[-1])):
            box = found.nodes[end]
            near = box.x - 1 <= x <= box.x + box.width + 1 and box.y - 1 <= y <= box.y + box.height + 1
            faults += [] if near else [f"{edge.source} -> {edge.target} ends at {x}, {y}"]
    return faults


@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_nodes_are_apart_in_their_clusters_and_lines_end_at_them(nested: Graph, direction: str) -> None:
    turned = graph(list(nested.nodes), list(nested.edges), list(nested.clusters), direction=direction)
    found = lay_out(turned)
    assert layout_faults(turned, found) == []
    first, second = list(found.nodes.values())[:2]
    first.x, first.y = second.x + 1.0, second.y  # a planted fault
    assert layout_faults(turned, found)


def test_what_comes_first_is_drawn_first() -> None:
    nodes = [Node(str(k), str(k), "k") for k in range(30)]
    edges = [Edge(str(k), str(min(29, k + 1 + k * k % 5)), "r") for k in range(29)] + [
        Edge("20", "3", "r", back=True)
    ]
    for direction, axis in (("TB", 1), ("LR", 0)):
        for edge, route in zip(edges, lay_out(graph(nodes, edges, direction=direction)).routes, strict=True):
            assert (route.points[-1][axis] > route.points[0][axis]) is not edge.back


def test_lines_cross_as_little_as_they_can() -> None:
    down = {f"a{k}": [f"b{7 - k}", f"b{max(0, 6 - k)}"] for k in range(8)}
    up = {f"b{k}": [a for a, ends in down.items() if f"b{k}" in ends] for k in range(8)}
    layers = [[f"a{k}" for k in range(8)], [f"b{k}" for k in range(8)]]
    assert crossings(layers, down) > 20
    assert crossings(ordered(layers, down, up), down) == 0


def test_a_chain_is_straight_and_long_lines_are_vertical() -> None:
    chain = [Node(str(k), "node" * (1 + k % 3), "k") for k in range(9)]
    edges = [Edge(str(k), str(k + 1), "r") for k in range(8)] + [Edge("0", "8", "r")]
    found = lay_out(graph(chain, edges))
    middles = [box.x + box.width / 2 for box in found.nodes.values()]
    assert max(middles) - min(middles) < 30.0
    assert len({round(x, 3) for x, _ in found.routes[-1].points[1:-1]}) == 1


def test_inline_svg_is_one_element_with_rules_of_its_own(nested: Graph) -> None:
    svg = nested.inline_svg()
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert nested._repr_html_() == nested._repr_svg_() == svg
    assert svg in nested.html()
    space = {"s": "http://www.w3.org/2000/svg"}
    mark = root.get("class")
    rules = root.find("s:style", space).text
    selectors = re.findall(r"([^{}]+)\{[^{}]+\}", re.sub(r"@media[^{]*\{", "", rules).replace("}}", "}"))
    assert selectors
    assert all(f"svg.{mark}" in s for s in selectors)
    assert 'data-theme="dark"' in rules
    written = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(part in written for name in NAMES for part in name.split("\n"))
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    other = graph([Node("a", "a", "k")], []).inline_svg()
    assert ET.fromstring(other).get("class") != mark


def test_a_graph_of_nothing_and_of_one_node_are_drawn() -> None:
    for nodes in ([], [Node("a", "a", "k")], [Node("a", "a", "k", cluster="c")]):
        drawn = graph(nodes, [], [Cluster("c", "c"), Cluster("empty", "no one")])
        assert ET.fromstring(drawn.inline_svg()).tag.endswith("svg")
        assert mermaid_faults(drawn.mermaid()) == []


def test_heat_gets_darker_and_its_text_stays_readable() -> None:
    def light(color: str) -> float:
        return sum(w * int(color[k : k + 2], 16) for w, k in ((0.299, 1), (0.587, 3), (0.114, 5)))

    paints = [heat_paint(k / 50) for k in range(51)]
    assert all(light(a.fill) > light(b.fill) for a, b in itertools.pairwise(paints))
    assert all(abs(light(p.fill) - light(p.text)) > 80 for p in paints)


# ---- files ----


def test_files_are_written_whole_or_not_at_all(
    nested: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b é"
    folder.mkdir()
    for name, begins in (("x.MMD", "---"), ("x.dot", "digraph"), ("x.html", "<!DOCTYPE")):
        assert nested.save(folder / name).read_text(encoding="utf-8").startswith(begins)
    for wrong in ("x.jpg", "x", folder / "none" / "x.svg", folder):
        with pytest.raises(ConfigError, match="the file of a graph must"):
            nested.save(wrong)
    with pytest.raises(ConfigError, match="must be a path, got 3"):
        nested.save(3)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingExtraError, match="graphviz's program dot must be installed to draw PNG, got none"
    ):
        nested.save(folder / "x.png")
    assert nested.save(folder / "x.svg").read_text(encoding="utf-8") == nested.inline_svg()
    (tmp_path / "dot").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    (tmp_path / "dot").chmod(0o755)
    with pytest.raises(ConfigError, match="dot must draw the graph, got: broken"):
        nested.save(folder / "y.png")
    assert sorted(path.name for path in folder.iterdir()) == ["x.MMD", "x.dot", "x.html", "x.svg"]
