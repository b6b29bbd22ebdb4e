"""Rows of the traps that are refused: each with its rule, the line, the name of what is meant, and a remedy.

Nothing is compiled for them: a rollout is refused when it is made.
"""

import re
import textwrap

import pytest
from traps.harness import load, names, program, row

import diffsim as ds
from diffsim.errors import GradientError, GradientWarning, TraceError

HELPERS = """
@ti.func
def from_a_loop(x):
    for j in range(3):
        if x > j:
            return x * j


@ti.real_func
def opaque(x: ti.f64) -> ti.f64:
    return x * x
"""


OUTPUT = "\nself.f[t, i] += 0.0"  # what every row has

REFUSED = [  # name, body, the code at the end of the message, what the message says
    (
        "A2-recurrence-by-a-parallel-loop",
        "if i > 0:\n    self.g[t, 0, i] = ti.sin(self.g[t, 0, i - 1])",
        "RACE",
        "Scratch g_0 .*serialize",
    ),
    (
        "A12-coefficient-overwritten",
        "self.table[0, i] = 2.0\nself.f[t, i] = self.x[t, i]",
        "READ-ONLY",
        "Constant table",
    ),
    (
        "A12-slot-from-a-counter",
        "k = ti.atomic_add(self.counts[0], 1)\nself.f[t, i] = self.x[t, k]",
        "READ-ONLY",
        "counts",
    ),
    (
        "A18-index-out-of-range",
        "self.f[t, i] = self.x[t, i + 1]",
        "INDEX",
        r"State x must lie in 0 \.\. 3, got 1 \.\. 4",
    ),
    (
        "B-neighbour-overwritten",
        "self.g[t, 0, i] += self.x[t, i] * self.g[t, 0, (i + 1) % N]",
        "RACE",
        "Scratch g_0",
    ),
    ("B-param-overwritten", "self.f[t, i] = self.a[i]\nself.a[i] = self.x[t, i]", "READ-ONLY", "Param a"),
    (
        "B-state-written-now",
        "self.s[t, i] = self.s[t, i] ** 2\nself.f[t, i] = self.s[t, i]",
        "WRITE-TIME",
        r"t \+ 1",
    ),
    (
        "B-state-read-ahead",
        "self.f[t, i] = self.s[t + 1, i]\nself.s[t + 1, i] = self.x[t, i]",
        "READ-AHEAD",
        "State s_0",
    ),
    (
        "C-while-else",
        "s = self.x[t, i]\nwhile s < 1.0:\n    s += 0.1\nelse:\n    s = 1.0\nself.f[t, i] = s",
        "CONTROL-FLOW",
        "behind the loop",
    ),
    ("C-return-from-a-loop", "self.f[t, i] = from_a_loop(self.x[t, i])", "SHAPE", "return"),
    ("C-random", "self.f[t, i] = self.x[t, i] * ti.random()", "RANDOM", "ds.Constant or ds.Control"),
    ("C-real-function", "self.f[t, i] = opaque(self.x[t, i])", "FUNCTION", "opaque"),
    (
        "D-bit-cast",
        "self.f[t, i] = ti.bit_cast(ti.bit_cast(self.x[t, i], ti.i64), ti.f64)",
        "FUNCTION",
        "bit_cast",
    ),
]


@pytest.mark.parametrize("name", names([one[0] for one in REFUSED]))
def test_refused(runtime, tmp_path, name):
    _, body, rule, words = next(one for one in REFUSED if one[0] == name)
    text = program([row(name, textwrap.dedent(body) + OUTPUT)], HELPERS)
    simulator = load(text, tmp_path).Program()
    with pytest.raises((TraceError, GradientError)) as caught:
        ds.plan(simulator, steps=2)
    message = str(caught.value)
    assert caught.value.diagnostics[0].rule == rule, message
    assert f"[{rule}]" in message
    assert re.search(words, message), message
    line = int(re.search(r"rows_\d+\.py:(\d+):\d+ in ", message)[1])
    lines = text.splitlines()
    kernel = next(k for k, found in enumerate(lines) if "def row_0" in found)
    function = next(k for k, found in enumerate(lines) if "def from_a_loop" in found)
    first = function if "from_a_loop" in body else kernel
    assert first < line <= first + 2 + len(body.strip().splitlines()) + 3, message


def test_all_faults_of_a_kernel_at_once(runtime, tmp_path):
    body = """
    self.f[t, i] = ti.random() + self.x[t, i]
    self.a[i] = opaque(self.x[t, i])
    ti.atomic_max(self.x[t, i] + 1.0, 1.0)
    """
    simulator = load(program([row("all", body)], HELPERS), tmp_path).Program()
    with pytest.raises(TraceError) as caught:
        ds.plan(simulator, steps=2)
    assert {found.rule for found in caught.value.diagnostics} >= {"RANDOM", "FUNCTION", "ATOMIC"}, str(
        caught.value
    )


WARNED = {
    "D-cut-by-a-cast": ("self.f[t, i] = ti.cast(ti.cast(self.x[t, i], ti.i32), ti.f64) * self.a[i]", "CUT"),
    "D-cut-by-int": ("k = int(self.x[t, i] * 3.0)\nself.f[t, i] = k * self.b[i]", "CUT"),
    "C-print": ("print(self.x[t, i])\nself.f[t, i] = self.x[t, i]", "PRINT"),
}


@pytest.mark.parametrize("name", names(WARNED))
def test_warned(runtime, tmp_path, name):
    body, rule = WARNED[name]
    simulator = load(program([row(name, body)]), tmp_path).Program()
    with pytest.warns(GradientWarning, match=rf"rows_\d+\.py:\d+.*\[{rule}\]"):
        ds.Rollout(simulator, steps=2).close()


ALLOWED = {
    "D-cut-by-a-cast-allowed": "self.f[t, i] = int(self.x[t, i]) * self.a[i]  # diffsim: allow CUT",
    "D-cut-acknowledged": "self.f[t, i] = ti.cast(ds.stop_gradient(self.x[t, i]), ti.i32) * self.a[i]",
    "D-cast-for-an-index": "self.f[t, i] = self.w[i, ti.cast(ti.abs(ti.sin(self.x[t, i])) * 3.0, ti.i32)]",
}


@pytest.mark.parametrize("name", names(ALLOWED))
def test_not_warned(runtime, tmp_path, name):
    simulator = load(program([row(name, ALLOWED[name])]), tmp_path).Program()
    ds.Rollout(simulator, steps=2).close()  # a warning would be an error here
