"""Rows of the catalogue of traps as kernels: their values against plain Python, their gradients against both
modes and central differences.

A row is the body of a loop over `i` (or a whole kernel) that computes the Scratch `f` from Params and States
that all rows share. Rows are compiled together, one kernel each, and measured apart: `only` weighs the cost
down to one row, so its gradient is that row's alone, and differences are taken of each row's own `f`.
"""

import dataclasses
import importlib.util
import itertools
import os
import re
import textwrap

import numpy as np
import pytest
import sweeps
from traps import plain

import diffsim as ds

N, STEPS = 4, 2
GROUP = 8  # rows compiled together
FULL = sweeps.FULL or os.environ.get("DIFFSIM_TRAPS") == "full"  # both modes; else groups take turns
DIRECTIONS = 3
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the catalogue.

    Attributes:
        name: Table letter, number, short name.
        body: Statements inside `for i in range(N)`; a kernel's whole body where `whole`.
        plain: What the body means, where plain Python reads it otherwise; "" where it has no such reading.
        whole: The body is a whole kernel.
        tolerance: Of the gradient against differences.
        cut: What the row stops the gradient to, which must be zero.
    """

    name: str
    body: str
    plain: str | None = None
    whole: bool = False
    tolerance: float = TOLERANCE
    cut: tuple[str, ...] = ()

    def text(self, body):
        body = textwrap.dedent(body).strip("\n")
        return body if self.whole else "for i in range(N):\n" + textwrap.indent(body, "    ")


def row(name, body, **options):
    return Row(name, body, **options)


# Rows that wait for something: name -> what they need.
PENDING: dict[str, str] = {}
WAITS = os.environ.get("DIFFSIM_PENDING") is None


def params(rows):
    """Return the rows as parameters of a test, those that wait marked as skipped."""
    return [pytest.param(one, id=one.name, marks=waiting(one.name)) for one in rows]


def names(tests):
    """Return the names of tests as parameters, those that wait marked as skipped."""
    return [pytest.param(name, marks=waiting(name)) for name in tests]


def waiting(name):
    return [pytest.mark.skip(reason=f"waits for {PENDING[name]}")] if WAITS and name in PENDING else []


SHARED = {  # name: declaration in terms of rng; what is positive says so
    "x": "ds.State(ds.real, N, init=rng.normal(size=N))",
    "w": "ds.Param(rng.uniform(0.4, 1.6, size=(N, N)))",
    "a": "ds.Param(rng.normal(size=N))",
    "b": "ds.Param(rng.uniform(0.4, 1.6, size=N))",
    "v": "ds.Param(ds.vec3, N, init=rng.normal(size=(N, 3)))",
    "q": "ds.Param(ds.vec2, N, init=rng.normal(size=(N, 2)))",
    "m": "ds.Param(ds.mat3, N, init=0.4 * rng.normal(size=(N, 3, 3)) + 2.0 * np.eye(3))",
    "h": "ds.Param(ds.mat2, N, init=0.4 * rng.normal(size=(N, 2, 2)) + 1.5 * np.eye(2))",
    "z": "ds.Param(0.7)",
    "u": "ds.Control(ds.real, N, init=rng.normal(size=(STEPS, N)))",
    "ids": "ds.Constant(np.array([3, 0, 1, 2]))",
    "pairs": "ds.Constant(np.array([[0, 3], [2, 1], [1, 1], [3, 0]]))",
    "counts": "ds.Constant(np.array([2, 0, 3, 1]))",
    "table": "ds.Constant(rng.normal(size=(N, N)))",
}
OWN = {  # one for each row that names it
    "f": "ds.Scratch(ds.real, N)",
    "g": "ds.Scratch(ds.real, N, N)",
    "k": "ds.Scratch(ds.vec3, N)",
    "s": "ds.State(ds.real, N, init=rng.normal(size=N), keep=False)",
    "o": "ds.State(ds.vec2, N, init=rng.normal(size=(N, 2)), keep=False)",
    "r": "ds.State(ds.real, N, init=rng.normal(size=N), history=2)",
}
NAMES = re.compile(r"self\.([a-z]+)\[")

HEAD = """
import math

import numpy as np
import taichi as ti
import diffsim as ds
from diffsim import Simulator

N, STEPS = {n}, {steps}

{helpers}


class Program(Simulator):
    def __init__(self):
        rng = np.random.default_rng(11)
{fields}
        self.only = ds.Constant(np.ones({rows}))
        self.weights = ds.Constant(np.array({weights}))

{kernels}

    @ti.kernel
    def advance(self, t: ti.i32):
        for i in range(N):
            self.x[t + 1, i] = 0.8 * self.x[t, i] + 0.5 * ti.sin(self.x[t, i]) + 0.1

    @ti.kernel
    def total(self, t: ti.i32):
{costs}

    def step(self, t):
{calls}
        self.advance(t)
        self.total(t)
"""

_counter = itertools.count()


def program(rows, helpers=""):
    """Return a simulator's text with one kernel for each row."""
    rng = np.random.default_rng(5)
    fields = [f"self.{name} = {text}" for name, text in SHARED.items()]
    kernels, costs, calls = [], [], []
    for number, one in enumerate(rows):
        used = [name for name in OWN if re.search(rf"self\.{name}\b", one.body)]
        fields += [f"self.{name}_{number} = {OWN[name]}" for name in used]
        body = renamed(one.text(one.body), number)
        kernels.append(f"@ti.kernel\ndef row_{number}(self, t: ti.i32):\n" + textwrap.indent(body, "    "))
        amount = f"self.only[{number}] * self.weights[{number}, i] * self.f_{number}[t, i]"
        costs.append(f"for i in range(N):\n    self.cost[None] += {amount}")
        calls.append(f"self.row_{number}(t)")
    weights = rng.uniform(0.5, 1.5, size=(len(rows), N)) * rng.choice([-1.0, 1.0], size=(len(rows), N))
    return HEAD.format(
        n=N,
        steps=STEPS,
        rows=len(rows),
        helpers=textwrap.dedent(helpers),
        weights=weights.tolist(),
        fields=textwrap.indent("\n".join(fields), " " * 8),
        kernels="\n\n".join(textwrap.indent(text, "    ") for text in kernels),
        costs=textwrap.indent("\n".join(costs), " " * 8),
        calls=textwrap.indent("\n".join(calls), " " * 8),
    )


def renamed(body, number):
    return re.sub(rf"self\.({'|'.join(OWN)})\b", rf"self.\1_{number}", body)


def load(source, folder):
    """Write a module, import it and return it."""
    name = f"rows_{next(_counter)}"
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass
class Measured:
    """What was found out about a row."""

    values: np.ndarray
    expected: np.ndarray | None
    gradients: dict
    other_gradients: dict  # in the other mode
    slopes: list  # (key, slope by the gradient, its scale, slopes by differences)


class Rows:
    """Measure rows, group by group, when the first row of a group is asked for.

    Args:
        rows: The rows.
        folder: Where their modules go.
        helpers: Text of functions that they call.
    """

    def __init__(self, rows, folder, helpers=""):
        assert len({one.name for one in rows}) == len(rows), "names of rows must differ"
        self.rows = [one for one in rows if one.name not in PENDING] + [r for r in rows if r.name in PENDING]
        self.folder, self.helpers = folder, helpers
        self.done, self.broken = {}, set()

    def of(self, one):
        if one.name not in self.done:
            number = self.rows.index(one) // GROUP
            group = [r for r in self.rows[number * GROUP : (number + 1) * GROUP] if r.name not in PENDING]
            if one.name in PENDING or number in self.broken:
                group = [one]
            modes = ("step", "fused") if number % 2 else ("fused", "step")
            try:
                self.done.update(self._measured(group, modes))
            except Exception:
                if len(group) == 1:
                    raise
                self.broken.add(number)  # which one was it?
                self.done.update(self._measured([one], modes))
        return self.done[one.name]

    def _measured(self, group, modes):
        return measure(group, self.folder, self.helpers, modes if FULL else modes[:1])


def measure(rows, folder, helpers="", modes=("fused", "step")):
    """Compile rows together; return what each is worth and how its gradients compare."""
    simulator = load(program(rows, helpers), folder).Program()
    rollout = ds.Rollout(simulator, steps=STEPS, mode=modes[0])
    if len(modes) == 1:
        rollout._engine._verified = 2  # no comparison with mode `step`, which would compile everything twice
    fields = {one.name: getattr(simulator, f"f_{k}") for k, one in enumerate(rows)}
    states = [f"{n}_{k}" for k in range(len(rows)) for n in ("s", "o", "r") if hasattr(simulator, f"{n}_{k}")]
    params = [name for name, text in SHARED.items() if "Constant" not in text]
    keys = [*params, *states]
    values = rollout.trajectories(fields)
    gradients = gradients_of(rollout, simulator, rows, keys)
    weights = simulator.weights.numpy()
    slopes = {one.name: [] for one in rows}
    rng = np.random.default_rng(2)
    for together in [[key] for key in params] + [states] * bool(states):
        for _ in range(DIRECTIONS):
            direction = {key: rng.normal(size=gradients[0][key].shape) for key in together}
            raw = differences(rollout, simulator, fields, direction)
            for k, one in enumerate(rows):
                parts = [gradients[k][key] * d for key, d in direction.items()]
                adjoint = float(sum(np.sum(p) for p in parts))
                scale = float(np.sqrt(sum(np.sum(p * p) for p in parts)))
                finite = [float(np.sum(weights[k] * d[one.name])) for d in raw]
                slopes[one.name].append((together[0], adjoint, scale, finite))
    assert rollout.plan.mode == modes[0], rollout.plan.reason
    rollout.close()
    others = gradients
    if len(modes) > 1:
        other = ds.Rollout(simulator, steps=STEPS, mode=modes[1])
        other._engine._verified = 2
        others = gradients_of(other, simulator, rows, keys)
        other.close()
    return {
        one.name: Measured(
            values[one.name],
            None if one.plain == "" else plain_values(one, simulator, k, helpers),
            gradients[k],
            others[k],
            slopes[one.name],
        )
        for k, one in enumerate(rows)
    }


def gradients_of(rollout, simulator, rows, keys):
    """Return each row's own gradients."""
    found = []
    for k in range(len(rows)):
        simulator.only.set(np.eye(len(rows))[k])
        found.append(rollout.value_and_grad(keys)[1])
    simulator.only.set(np.ones(len(rows)))
    return found


def differences(rollout, simulator, fields, direction):
    """Return slopes of every row's `f` along a direction: extrapolated, and with two small steps."""
    leaves = {key: getattr(simulator, key) for key in direction}
    start = {key: leaf.numpy() for key, leaf in leaves.items()}

    def central(step):
        ends = []
        for sign in (1.0, -1.0):
            for key, leaf in leaves.items():
                leaf.set(start[key] + sign * step * direction[key])
            ends.append(rollout.trajectories(fields))
        return {name: (ends[0][name] - ends[1][name]) / (2.0 * step) for name in fields}

    wide, narrow, small = central(4e-4), central(2e-4), central(2e-6)
    for key, leaf in leaves.items():
        leaf.set(start[key])
    best = {name: (4.0 * narrow[name] - wide[name]) / 3.0 for name in fields}
    return best, small


def plain_values(one, simulator, number, helpers, changes=None):
    """Run a row's body as plain Python over all steps, its Params moved by `changes`; return its `f`."""
    names = plain.compiled(helpers, {"N": N, "STEPS": STEPS})
    body = one.text(one.body if one.plain is None else one.plain)
    text = "def kernel(self, t):\n" + textwrap.indent(body, "    ")
    kernel = plain.compiled(text, names)["kernel"]
    holder = Holder(simulator, number)
    for key, change in (changes or {}).items():
        getattr(holder, key).values += change
    for t in range(STEPS):
        kernel(holder, t)
    return holder.f.values


class Holder:
    """Stands for `self` when a row runs as plain Python."""

    def __init__(self, simulator, number):
        for name in SHARED:
            setattr(self, name, plain.Field(as_64_bits(getattr(simulator, name).numpy())))
        path = [as_64_bits(simulator.x.numpy())]
        for _ in range(STEPS):
            path.append(0.8 * path[-1] + 0.5 * np.sin(path[-1]) + 0.1)
        self.x = plain.Field(np.array(path))
        for name in OWN:
            declared = getattr(simulator, f"{name}_{number}", None)
            if declared is None:
                continue
            shape = declared.element_shape
            values = np.zeros((STEPS + 1, *shape))
            if name in ("s", "o", "r"):
                values[0] = declared.numpy()
            setattr(self, name, plain.Field(values[:STEPS] if name in ("f", "g", "k") else values))
        if hasattr(self, "r"):  # x[t - 1] at t = 0 is the initial value
            self.r = Past(self.r.values)


def as_64_bits(values):
    return values.astype(np.float64) if values.dtype.kind == "f" else values


class Past(plain.Field):
    """A State with history: time -1 is time 0."""

    def _key(self, index):
        return super()._key((max(index[0], 0), *index[1:]))


def assert_right(one, result):
    """Compare a row's values, modes and slopes."""
    if result.expected is not None:
        np.testing.assert_allclose(result.values, result.expected, rtol=1e-11, atol=1e-12)
    assert any(np.any(g != 0.0) for g in result.gradients.values()), "a row must depend on something"
    for key, want in result.other_gradients.items():
        size = np.max(np.abs(want), initial=0.0) + 1e-12
        np.testing.assert_allclose(result.gradients[key], want, rtol=1e-10, atol=1e-11 * size, err_msg=key)
    for key, adjoint, scale, finite in result.slopes:
        if key in one.cut:
            assert adjoint == 0.0, key
            assert any(abs(d) > 1e-3 for d in finite), key
            continue
        error = min(abs(adjoint - d) / max(abs(adjoint), abs(d), 1e-2 * scale, 1e-9) for d in finite)
        assert error <= one.tolerance, f"{key}: gradient {adjoint!r}, differences {finite}, error {error:.1e}"


def assert_slopes(rollout, keys):
    """Compare a whole rollout's gradients with central differences along random directions, key by key."""
    _, gradients = rollout.value_and_grad(keys)
    rng = np.random.default_rng(6)
    for leaf in rollout.leaves(keys):
        start = leaf.field.numpy()
        for _ in range(DIRECTIONS):
            direction = rng.normal(size=start.shape)
            finite = []
            for step in (4e-4, 2e-4, 2e-6):
                ends = []
                for sign in (1.0, -1.0):
                    leaf.field.set(start + sign * step * direction)
                    ends.append(rollout.value())
                finite.append((ends[0] - ends[1]) / (2.0 * step))
            adjoint = float(np.sum(gradients[leaf.key] * direction))
            slopes = ((4.0 * finite[1] - finite[0]) / 3.0, finite[2])
            error = min(abs(adjoint - d) / max(abs(adjoint), abs(d), 1e-5) for d in slopes)
            assert error <= TOLERANCE, f"{leaf.key}: gradient {adjoint!r}, differences {slopes}"
        leaf.field.set(start)
