"""Programs as graphs: what a picture says, against what the program and its adjoint do."""

from collections.abc import Iterator

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.compiler.ir import Accumulate, Const, Load, accesses_in
from diffsim.compiler.picture.calls import calls_of, primals_of
from diffsim.errors import ConfigError, StateError
from diffsim.kernels.billiards import Billiards
from diffsim.view.graph import Graph
from diffsim.view.graph.layout import lay_out

STEPS = 12


class Known(ds.Simulator):
    """Two points that a Param pulls, one behind a stop, one that reaches no cost, a counter."""

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, 2, init=[[1.0, 0.0], [0.0, 1.0]], unit="m")
        self.v = ds.State(ds.vec2, 2, unit="m/s")
        self.seen = ds.State(ds.i32, 1)
        self.shadow = ds.State(ds.real)
        self.force = ds.Scratch(ds.vec2, 2)
        self.pull = ds.Param([0.5])
        self.stopped = ds.Param([2.0])
        self.lost = ds.Param([3.0])
        self.never = ds.Param([4.0])
        self.push = ds.Control(ds.real)
        self.mass = ds.Constant([1.0, 2.0])
        self.drag = ds.Constant([0.1])

    @ti.kernel
    def feel(self, t: ti.i32):
        for i in range(2):
            factor = ds.stop_gradient(self.stopped[0]) * self.pull[0]
            self.force[t, i] += -factor * self.x[t, i] / self.mass[i] - self.drag[0] * self.v[t, i]

    @ti.kernel
    def kick(self, t: ti.i32):
        for i in range(2):
            self.force[t, i] += self.push[t] * ti.Vector([1.0, 0.0])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.v[t + 1, i] = self.v[t, i] + 0.1 * self.force[t, i]
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t + 1, i]

    @ti.kernel
    def count(self, t: ti.i32):
        for i in range(1):
            self.seen[t + 1, i] = self.seen[t, i] + ti.cast(self.x[t + 1, 0].x > 0.5, ti.i32)

    @ti.kernel
    def follow(self, t: ti.i32):
        for _ in range(1):
            self.shadow[t + 1] = self.shadow[t] * self.lost[0]

    def step(self, t):
        self.feel(t)
        self.kick(t)
        self.move(t)
        self.count(t)
        self.follow(t)

    @ti.kernel
    def effort(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += 0.01 * self.push[t] ** 2

    def running_cost(self, t):
        self.effort(t)

    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i].norm_sqr()

    def terminal_cost(self, t):
        self.miss(t)


@pytest.fixture(scope="module")
def rollout(runtime) -> Iterator[ds.Rollout]:
    sim = Known()
    sim.push.set(0.3)
    with ds.Rollout(sim, STEPS) as made:
        yield made


def told(graph: Graph) -> tuple[dict[str, str], set[tuple[str, str, str]]]:
    """Return the styles of nodes by their labels, and the edges between labels."""
    labels = {node.key: " ".join(node.label.split()) for node in graph.nodes}
    edges = {(labels[e.source], e.style, labels[e.target]) for e in graph.edges}
    return {labels[node.key]: node.style for node in graph.nodes}, edges


def test_a_step_has_its_kernels_and_fields_and_no_other(rollout) -> None:
    graph = rollout.graph()
    styles, edges = told(graph)
    kernels = ["1 Known.feel", "2 Known.kick", "3 Known.move", "4 Known.count", "5 Known.follow"]
    assert styles == {
        **dict.fromkeys(kernels, "kernel"),
        **dict.fromkeys(["6 Known.effort", "7 Known.miss"], "cost kernel"),
        **dict.fromkeys(["x[t]", "x[t + 1]", "v[t]", "v[t + 1]"], "state"),
        **dict.fromkeys(["seen[t]", "seen[t + 1]"], "integer"),
        **dict.fromkeys(["shadow[t]", "shadow[t + 1]", "lost", "stopped", "never"], "dead"),
        "force": "scratch",
        "pull": "param",
        "push[t]": "control",
        "mass drag": "constant",
        "cost": "cost",
    }
    feel, kick, move, count, follow = kernels
    assert edges == {
        ("x[t]", "read", feel),
        ("v[t]", "read", feel),
        ("pull", "read", feel),
        ("stopped", "cut", feel),
        ("mass drag", "flat", feel),
        (feel, "add", "force"),
        ("push[t]", "read", kick),
        (kick, "add", "force"),
        ("x[t]", "read", move),
        ("v[t]", "read", move),
        ("force", "read", move),
        (move, "write", "x[t + 1]"),
        (move, "write", "v[t + 1]"),
        ("x[t + 1]", "cut", count),
        ("seen[t]", "flat", count),
        (count, "flat", "seen[t + 1]"),
        ("shadow[t]", "read", follow),
        ("lost", "read", follow),
        (follow, "write", "shadow[t + 1]"),
        ("push[t]", "read", "6 Known.effort"),
        ("6 Known.effort", "add", "cost"),
        ("x[t + 1]", "read", "7 Known.miss"),
        ("7 Known.miss", "add", "cost"),
    }
    nodes = {node.label: node for node in graph.nodes}
    assert nodes["1  Known.feel"].detail.startswith("stop_gradient in line ")
    assert [nodes["x[t]"].detail, nodes["seen[t]"].detail] == ["vec2 × 2, m", "i32 × 1"]
    assert nodes["never"].detail.endswith("no kernel reads it")
    assert nodes["7  Known.miss"].cluster == "terminal_cost"
    cut = {e.tip for e in graph.edges if e.style == "cut"}
    assert any("stop_gradient in line" in tip for tip in cut)
    assert any("gt, which has no slope in line" in tip or "compared" in tip for tip in cut)


def adjoint_faults(rollout) -> list[str]:
    """Return where the picture says other than the adjoints that were derived for the kernels.

    That a gradient flows back from a kernel to a field means that its adjoint adds to the field's.
    """
    lowered, stages = rollout._engine.lowered, rollout._engine.stages
    primals = primals_of(lowered)
    phases = [
        (lowered.begin, stages.begin_adj),
        (lowered.step, stages.step_adj),
        (lowered.running, stages.running_adj),
        (lowered.terminal, stages.terminal_adj),
    ]
    adjoints = {id(f): b for forward, backward in phases for f, b in zip(forward, backward, strict=True)}
    faults = []
    for call in calls_of(lowered):
        stage = call.stages[0]
        added = {
            (primals[op.ref.buffer], op.ref.time)
            for op in accesses_in(adjoints[id(stage)].body)
            if isinstance(op, Accumulate) and op.ref.buffer in primals and op.value != Const(0.0, "f64")
        }
        read = {(op.ref.buffer, op.ref.time) for op in accesses_in(stage.body) if isinstance(op, Load)}
        flows = call.flow.sources & set(call.reads)
        faults += [f"{call.name}: {slot}" for slot in (added & read & set(call.reads)) ^ flows]
        faults += [f"{call.name}: cut {slot}" for slot in flows & set(call.flow.cuts)]
    return faults


def test_what_is_cut_is_what_adjoints_do_not_add_to(rollout) -> None:
    assert adjoint_faults(rollout) == []
    with ds.Rollout(Billiards(), 4) as other:
        assert adjoint_faults(other) == []
        cut = [e for e in other.graph().edges if e.style == "cut"]
        assert len(cut) == 3  # the times order events, and the order chooses what to add
        stage = next(s for s in other._engine.stages.step_adj if "collide" in s.name)
        kept, stage.body = stage.body, type(stage.body)()
        assert adjoint_faults(other), "an adjoint that adds nothing is seen"
        stage.body = kept


def test_dead_fields_have_a_gradient_of_zero_and_others_have_not(rollout) -> None:
    graph = rollout.graph()
    _, gradients = rollout.value_and_grad(["pull", "stopped", "lost", "never", "push", "x", "v", "shadow"])
    dead = {node.label.removesuffix("[t]") for node in graph.nodes if node.style == "dead"}
    assert dead - {"shadow[t + 1]"} == {key for key, gradient in gradients.items() if not np.any(gradient)}


def test_colours_are_the_sizes_of_adjoints(rollout) -> None:
    before = rollout.value_and_grad()[1]
    graph = rollout.graph(health=True)
    nodes = {node.label: node for node in graph.nodes}

    def size(label: str) -> float:
        return float(nodes[label].detail.rpartition("adjoint ")[2])

    for key in ("pull", "push"):
        label = key if key == "pull" else "push[t]"
        assert size(label) == pytest.approx(np.linalg.norm(before[key]), rel=0.06)  # two digits are written
    norms = rollout.health().adjoint_norms[1:]
    both = np.hypot(size("x[t + 1]"), size("v[t + 1]"))
    assert both == pytest.approx(np.sqrt(np.mean(norms**2)), rel=0.06)
    # d cost / d force is 0.1 of d cost / d v[t + 1], and that has 0.1 of d cost / d x[t + 1] in it
    assert size("x[t + 1]") > size("v[t + 1]") > size("force")
    heats = {label: node.heat for label, node in nodes.items() if node.heat is not None}
    assert max(heats.values()) == heats["pull"] == 1.0
    assert heats["x[t]"] == heats["x[t + 1]"] > heats["v[t]"] > heats["force"]
    assert graph.scale is not None
    for key, value in rollout.value_and_grad()[1].items():
        np.testing.assert_array_equal(value, before[key])


class Swept(ds.Simulator):
    """A solver by sweeps in place, a method with an adjoint of its own, random numbers, and no cost."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real, 4, init=1.0)
        self.y = ds.State(ds.real, 4)
        self.kept = ds.State(ds.real, 4, init=2.0)
        self.w = ds.Workspace(ds.real, 4)

    @ti.kernel
    def begin(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = self.x[t, i]

    @ti.kernel
    def sweep(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = 0.5 * self.x[t + 1, i] + self.kept[t, i]

    @ti.kernel
    def load(self, t: ti.i32):
        for i in range(4):
            self.w[i] = self.x[t, i]

    @ti.kernel
    def store(self, t: ti.i32):
        for i in range(4):
            self.y[t + 1, i] = 3.0 * self.w[i]

    @ti.kernel
    def back(self, t: ti.i32):
        for i in range(4):
            self.x.grad[t, i] += 3.0 * self.y.grad[t + 1, i]

    def given(self, t):
        self.load(t)
        self.store(t)

    @ds.adjoint_of(given)
    def given_adjoint(self, t):
        self.back(t)

    def step(self, t):
        self.begin(t)
        for _ in range(30):
            self.sweep(t)
        self.given(t)


def test_rounds_and_groups_are_drawn_once(runtime) -> None:
    with ds.Rollout(Swept(), 3) as rollout:
        graph = rollout.graph()
        styles, edges = told(graph)
        assert styles["2 Swept.sweep × 30"] == "kernel"
        assert styles["3 Swept.given"] == "group"
        assert {("x[t]", "read", "3 Swept.given"), ("3 Swept.given", "write", "y[t + 1]")} <= edges
        assert "dead" not in styles.values()  # there is no cost that anything could reach
        details = [node.detail for node in graph.nodes if node.label == "x[t + 1]"]
        assert details == ["real × 4", "real × 4\nvalue no. 2"]
        assert "w" not in styles
        assert "no step changes it" in next(node.detail for node in graph.nodes if node.label == "kept")
        with pytest.raises(StateError, match="must have a cost"):
            rollout.graph(health=True)


# ---- one kernel ----


def test_a_kernel_has_its_operations(rollout) -> None:
    graph = rollout.graph(kernel="effort")
    styles, edges = told(graph)
    assert styles == {"push[t]": "control", "square": "operation", "× 0.01": "operation", "cost": "cost"}
    assert edges == {("push[t]", "read", "square"), ("square", "read", "× 0.01"), ("× 0.01", "add", "cost")}
    assert [c.label for c in graph.clusters] == ["for i < 1"]
    by_number = rollout.graph(kernel=6)
    assert by_number.mermaid() == graph.mermaid() == rollout.graph(kernel="Known.effort").mermaid()
    styles, edges = told(rollout.graph(kernel="feel"))
    assert ("stopped[0]", "cut", "stop_gradient") in edges
    assert styles["stop_gradient"] == "stop"
    assert styles["x[t, i].x"] == "state"
    assert styles["mass[i]"] == "constant"


class Branched(ds.Simulator):
    """A branch on a number, a loop that carries one, an index computed from one; and a long kernel."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real, 8, init=0.5)
        self.lag = ds.State(ds.real, 8)
        self.table = ds.Param(np.linspace(0.0, 1.0, 8))
        self.above = ds.Scratch(ds.i32, 1)
        self.place = ds.Scratch(ds.i32, 8)

    @ti.kernel
    def look(self, t: ti.i32):
        for i in range(8):
            place = ti.cast(ti.floor(self.x[t, i] * 7.0), ti.i32)
            found = self.table[ti.max(0, ti.min(place, 7))]
            total = 1.0
            for k in range(3):
                total = total * found + self.x[t, i]
            if total > 2.0:
                total = ti.sqrt(total)
            self.x[t + 1, i] = total

    @ti.kernel
    def long(self, t: ti.i32):
        for i in range(8):
            a = self.x[t + 1, i]
            for _ in ti.static(range(60)):
                a = a + 0.1 * ti.sin(a)
            self.cost[None] += a

    @ti.kernel
    def late(self, t: ti.i32):
        for i in range(8):
            last, now = 0.0, 0.0
            for _ in range(3):
                last = now  # what the table says comes here by way of `now` alone
                now = self.table[i]
            self.lag[t + 1, i] = last

    @ti.kernel
    def sort(self, t: ti.i32):
        for i in range(8):
            self.place[t, i] = ti.atomic_add(self.above[t, 0], ti.cast(self.x[t, i] > 0.2, ti.i32))

    def step(self, t):
        self.look(t)
        self.long(t)
        self.late(t)
        self.sort(t)


def test_loops_branches_and_computed_indices_are_drawn(runtime) -> None:
    rollout = ds.Rollout(Branched(), 2)
    assert adjoint_faults(rollout) == []
    edges = {edge for edge in told(rollout.graph())[1] if "4 Branched.sort" in edge}
    assert edges == {
        ("x[t]", "cut", "4 Branched.sort"),
        ("4 Branched.sort", "flat", "above"),  # it is added to; what an atomic finds there is no input
        ("4 Branched.sort", "flat", "place"),
    }
    graph = rollout.graph(kernel="look")
    styles, edges = told(graph)
    assert {"for i < 8", "for j < 3", "if · > 2"} <= {cluster.label for cluster in graph.clusters}
    assert [styles["floor"], styles["n1 = int( )"]] == ["stop", "flat"]
    assert ("carried", "read", "×") in edges
    assert any(source == "sqrt" and target == "either" for source, _, target in edges)
    [back] = [edge for edge in graph.edges if edge.back]
    assert back.style == "next"
    lines = rollout.graph(kernel="long")
    assert lines.title == "Branched.long: lines, for it has 182 operations"
    written = ["a = self.x[t + 1, i]", "a = a + 0.1 * ti.sin(a)", "self.cost[None] += a"]
    assert {node.label for node in lines.nodes} == {"x[t + 1]", *written, "cost"}
    rollout.close()
    assert rollout.graph(kernel="look").mermaid() == graph.mermaid()  # a closed one is drawn too
    assert rollout.graph().mermaid()
    with pytest.raises(StateError, match="open"):
        rollout.graph(health=True)


# ---- time ----


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"window": 4},
        {"window": 1, "memory": "3KiB"},
        {"window": 3, "schedule": "mixed", "host_memory": "1MiB"},
    ],
)
def test_time_has_the_segments_and_checkpoints_of_the_plan(rollout, asked, recwarn) -> None:
    made = ds.Rollout(rollout.sim, 40, **asked)
    plan, graph = made.plan, made.graph("time")
    forward = [node for node in graph.nodes if node.style == "forward"]
    runs = {}
    for node in forward:
        start, _, stop = node.label.removeprefix("… ").split(" ", 1)[1].partition(" – ")
        steps = int(stop or start) - int(start) + 1
        count = 1.0 if node.detail.endswith("once") else float(node.detail.split()[-2])
        runs[int(start)] = steps, count
    at = 0
    for start in sorted(runs):
        assert start == at
        at += runs[start][0]
    assert at == 40
    if len(forward) == plan.segments and "to" not in "".join(node.detail for node in forward):
        assert sum(steps * count for steps, count in runs.values()) == pytest.approx(40 * plan.recomputation)
    kept = {node.style for node in graph.nodes} & {"device", "host", "disk"}
    assert kept <= {tier for tier, places in plan.tiers.items() if places}
    assert bool(kept) == (plan.checkpoints > 0)
    assert len([n for n in graph.nodes if n.style == "backward"]) == len(forward)
    assert (graph.scale is None) == (plan.recomputation <= 1.0)
    boxes = list(lay_out(graph).nodes.values())
    assert len({(round(box.x), round(box.y)) for box in boxes}) == len(boxes)


def test_a_horizon_of_many_segments_is_summed_up(rollout) -> None:
    made = ds.Rollout(rollout.sim, 3000, window=10)
    graph = made.graph("time")
    assert made.plan.segments == 300
    assert len(graph.nodes) < 60


# ---- misuse ----


def test_what_cannot_be_drawn_is_refused(rollout) -> None:
    for arguments, message in (
        ({"what": "steps"}, "what must be one of step, time, got 'steps'"),
        ({"what": None}, "what must be one of step, time, got None"),
        ({"kernel": "feels"}, "kernel must be one of Known.feel, .*, got 'feels'"),
        ({"kernel": 8}, "kernel must be .*got '8'"),
        ({"kernel": True}, "kernel must be"),
        ({"what": "time", "kernel": "feel"}, "kernel must be left out with 'time'"),
        ({"what": "time", "health": True}, "health must go with the picture of a step"),
        ({"kernel": "feel", "health": True}, "health must go with the picture of a step"),
    ):
        with pytest.raises(ConfigError, match=message):
            rollout.graph(**arguments)
