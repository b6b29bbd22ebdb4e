"""A plan as a graph: the horizon in segments, forward and back, with the checkpoints between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from diffsim.plan.report import Plan
from diffsim.plan.schedule import TIERS, Schedule, operations
from diffsim.sizes import show_bytes
from diffsim.view.graph import Edge, Graph, Line, Node, Scale, Style
from diffsim.view.graph.model import Paint

__all__ = ["time_graph"]

_MOST_ROWS = 16  # of a picture; the middle of a longer one is summed up
_MANY = 4  # times, at which the colours end at the earliest
_ALL_ROWS = 12  # segments up to which none are drawn together


def _style(label: str, light: str, dark: str, shape: str = "box") -> Style:
    return Style(label, Paint(*light.split()), Paint(*dark.split()), shape)


_STYLES = {
    "forward": _style("steps forward", "#d6e6f7 #2b6cb0 #12314f", "#173653 #63a4e0 #dcebfa"),
    "backward": _style("their adjoints, backward", "#243b53 #243b53 #ffffff", "#d9e2ec #d9e2ec #102a43"),
    "device": _style(
        "checkpoint beside the fields", "#e5f4ec #1f7a4d #0c3b24", "#153d2a #4fc48a #d3f5e3", "pill"
    ),
    "host": _style(
        "checkpoint in the host's memory", "#fde8b8 #b7791f #4a3005", "#4a3710 #e0a93b #fdf0d0", "pill"
    ),
    "disk": _style("checkpoint on the disk", "#f9dcea #b83280 #521238", "#4b1f38 #e58abb #fbe3ef", "pill"),
    "edge": _style("", "#ffffff #9aa5b1 #52606d", "#14181d #7b8794 #cbd2d9", "round"),
}
_LINES = {
    "states": Line("States go on", "#2b6cb0", "#63a4e0", False, 1.8),
    "adjoints": Line("adjoints go back", "#243b53", "#d9e2ec", False, 1.8),
    "save": Line("saved", "#627d98", "#829ab1", True, 1.4),
    "restore": Line("restored", "#627d98", "#829ab1", False, 1.4),
    "values": Line("values in memory", "#9aa5b1", "#616e7c", True, 1.2),
}


@dataclass
class _Counts:
    """What a schedule does, counted.

    Attributes:
        runs: How often each segment is run forward.
        saved, restored: How often the States before a segment are, by tier.
        kept, loaded: How often all values of a segment are, by tier.
    """

    runs: Counter[int] = field(default_factory=Counter)
    saved: Counter[tuple[int, str]] = field(default_factory=Counter)
    restored: Counter[tuple[int, str]] = field(default_factory=Counter)
    kept: Counter[tuple[int, str]] = field(default_factory=Counter)
    loaded: Counter[tuple[int, str]] = field(default_factory=Counter)

    @classmethod
    def of(cls, schedule: Schedule) -> _Counts:
        """Count the operations of a schedule."""
        found = cls()
        by = {"save": found.saved, "restore": found.restored, "keep": found.kept, "load": found.loaded}
        for op in operations(schedule):
            if op.what == "forward":
                found.runs[op.k] += 1
            elif op.what in by:
                by[op.what][op.k, op.tier] += 1
        return found


@dataclass(frozen=True)
class _Row:
    """Segments that are drawn together: `first` to `last`; `some` where they are summed up."""

    first: int
    last: int
    some: bool = False


def time_graph(plan: Plan) -> Graph:
    """Draw how a horizon is run: its segments, what is kept where, and how often each is run again.

    Args:
        plan: Of a rollout.
    """
    counts = _Counts.of(plan.schedule)
    rows = list(_rows(plan.segments, counts))
    most = max(counts.runs.values())
    nodes = [
        Node("initial", "initial values", "edge", "t = 0", rank=0),
        Node("gradient", "gradient", "edge", "of Params, Controls, States", rank=0),
    ]
    edges: list[Edge] = []
    before, back, at = "initial", "gradient", 0
    for row in rows:
        states, values = _kept(row, counts)
        at += 2 if states else 1
        nodes += _checkpoints(row, at, states, values, edges, before)
        runs = [counts.runs[s] for s in range(row.first, row.last + 1)]
        heat = (sum(runs) / len(runs) - 1.0) / (max(most, _MANY) - 1.0) if most > 1 else None
        forward, backward = f"forward {row.first}", f"backward {row.first}"
        nodes.append(Node(forward, _steps(plan, row), "forward", _said(row, runs), "", "", heat, at))
        nodes.append(Node(backward, _steps(plan, row), "backward", "adjoints", rank=at))
        edges.append(Edge(before, forward, "states"))
        edges += [] if values else [Edge(forward, backward, "values")]
        edges.append(Edge(backward, back, "adjoints"))
        before, back = forward, backward
    nodes.append(Node("cost", "cost", "edge", f"t = {plan.steps:,}", rank=at + 1))
    edges += [Edge(before, "cost", "states"), Edge("cost", back, "adjoints")]
    many = f"{max(most, _MANY)} times"
    scale = Scale("how often steps are run forward for one gradient", "once", many) if most > 1 else None
    return Graph(_title(plan), tuple(nodes), tuple(edges), (), _STYLES, _LINES, scale, "TB", _caption(plan))


def _rows(segments: int, counts: _Counts) -> Iterator[_Row]:
    """Yield the rows; of many segments, those without a checkpoint before them go with the one before."""
    held = {k for k, _ in (*counts.saved, *counts.kept)}
    rows: list[_Row] = []
    for k in range(segments):
        alike = rows and k not in held and k - 1 not in {s for s, _ in counts.kept}
        if segments > _ALL_ROWS and alike and rows[-1].first > 0:
            rows[-1] = _Row(rows[-1].first, k)
        else:
            rows.append(_Row(k, k))
    if len(rows) > _MOST_ROWS:
        part = _MOST_ROWS // 2
        rows = [*rows[:part], _Row(rows[part].first, rows[-part - 1].last, True), *rows[-part:]]
    yield from rows


_Kept = list[tuple[str, int, int, int]]  # the tier, its checkpoints, how often they are saved and restored


def _kept(row: _Row, counts: _Counts) -> tuple[_Kept, _Kept]:
    """Return what is kept of the States before segments of a row, and of all values of them."""
    inside = range(row.first, row.last + 1)
    found: tuple[_Kept, _Kept] = ([], [])
    for which, saved, used in ((0, counts.saved, counts.restored), (1, counts.kept, counts.loaded)):
        for tier in TIERS:
            n, m = sum(saved[k, tier] for k in inside), sum(used[k, tier] for k in inside)
            if n:
                found[which].append((tier, sum(1 for k in inside if saved[k, tier]), n, m))
    return found


def _checkpoints(
    row: _Row, at: int, states: _Kept, values: _Kept, edges: list[Edge], before: str
) -> Iterator[Node]:
    """Yield what is kept before a segment, or of it, and draw the lines to it."""
    for what, kept in (("States", states), ("all values", values)):
        for tier, places, saved, restored in kept:
            key = f"{what} {tier} {row.first}"
            many = f"{places} checkpoints" if places > 1 else what
            detail = f"{tier}: saved {_times(saved)}, restored {_times(restored)}"
            if kept is states:
                yield Node(key, many, tier, detail, rank=at - 1)
                edges += [Edge(before, key, "save"), Edge(key, f"forward {row.first}", "restore")]
            else:
                yield Node(key, many, tier, detail, rank=at)
                edges += [
                    Edge(f"forward {row.first}", key, "save"),
                    Edge(key, f"backward {row.first}", "restore"),
                ]


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _said(row: _Row, runs: list[int]) -> str:
    low, high = min(runs), max(runs)
    often = f"run {_times(low)}" if low == high else f"run {low} to {high} times"
    count = row.last - row.first + 1
    return f"{count} segments, {often}" if count > 1 else often


def _steps(plan: Plan, row: _Row) -> str:
    """Write which steps a row is; the first segment alone may be shorter than a window."""
    first = plan.steps - (plan.segments - 1) * plan.window
    start = 0 if row.first == 0 else first + (row.first - 1) * plan.window
    stop = first + row.last * plan.window
    dots = "… " if row.some else ""
    return f"{dots}step {start:,}" if stop - start == 1 else f"{dots}steps {start:,} – {stop - 1:,}"


def _title(plan: Plan) -> str:
    if plan.segments == 1:
        return f"Time: {plan.steps:,} steps in one segment, all of them in memory"
    return f"Time: {plan.steps:,} steps in {plan.segments:,} segments of {plan.window:,}"


def _caption(plan: Plan) -> str:
    used = f"Fields take {show_bytes(plan.total_bytes)} of {show_bytes(plan.budget)}"
    if plan.segments == 1 and not plan.layout.held:
        return f"Each step is run once more, before its adjoint. {used}; mode {plan.mode}."
    if plan.segments == 1:
        return f"Nothing is recomputed. {used}; mode {plan.mode}."
    return (
        f"{plan.recomputation:.2f} forward steps per step of the gradient. {used}; "
        f"schedule {plan.schedule.kind}, mode {plan.mode}."
    )
