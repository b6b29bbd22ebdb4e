"""Loops of machine code that threads share: kernels run as texts, against what NumPy says."""

import ast
import ctypes
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from diffsim import _llvm
from diffsim.compiler.native.estimate import surely_differ
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.tasks import candidates, split
from diffsim.compiler.native.translate import translate
from diffsim.engine import team as teams
from diffsim.engine.team import Team, the_team

pytestmark = [pytest.mark.cpu, pytest.mark.skipif(bool(_llvm.why_missing()), reason=_llvm.why_missing())]


@pytest.fixture(scope="module")
def threads():
    return 2


@pytest.fixture(scope="module")
def three(runtime):
    """Threads that are not those of the runtime."""
    team = Team(3)
    yield team
    team.stop()


class Kernel:
    """A kernel's text as a function of arrays, whose loops a team shares."""

    def __init__(self, source, **arrays):
        self.source = source
        self.places = {
            name: Place(
                {"d": "f64", "i": "i32"}[a.dtype.char],
                tuple(s // a.itemsize for s in a.strides),
                a.size,
                shape=a.shape,
            )
            for name, a in arrays.items()
        }
        [function] = ast.parse(source).body
        self.tasks = split(function, self.places)
        self.text = text = translate(source, "f64", self.places, "kernel", shared=True, triple=_llvm.triple())
        self.code = _llvm.load(_llvm.compile_object([text], 1), "kernel")
        numbers = [ctypes.c_int] * len(function.args.args)
        self.function = ctypes.CFUNCTYPE(None, *numbers, ctypes.c_void_p)(self.code.address)

    def __call__(self, team, *args, **arrays):
        addresses = [arrays[name].ctypes.data for name in self.places] + [team.address]
        self.function(*args, (ctypes.c_void_p * len(addresses))(*addresses))

    @property
    def items(self):
        return [task.items for task in self.tasks]


def interpreted(source, *args, **arrays):
    """Run a kernel's text as Python; loops in order."""

    class Ti:
        i32 = int

        @staticmethod
        def ndrange(*bounds):
            return itertools.product(*(range(*b) if isinstance(b, tuple) else range(b) for b in bounds))

        @staticmethod
        def loop_config(serialize):
            assert serialize

    scope = {"ti": Ti}
    exec(source, scope)
    scope.update(arrays)
    scope["kernel"](*args)


RNG = np.random.default_rng(3)
SCATTER = RNG.integers(0, 50, 3000).astype(np.int32)
CASES = {
    "range": (
        """def kernel(t: ti.i32):
    for i in range(7, 2990):
        y[i] = x[i] * 2.0 + t
""",
        {"x": RNG.normal(size=3000), "y": np.zeros(3000)},
        [2983],
    ),
    "few rows in blocks": (
        """def kernel(t: ti.i32):
    for w, i in ti.ndrange(2, (3, 1003)):
        y[w, i] = x[w, i] + w * 10 + t
""",
        {"x": RNG.normal(size=(2, 1010)), "y": np.zeros((2, 1010))},
        [64],
    ),
    "three axes": (
        """def kernel(t: ti.i32):
    for w, i, j in ti.ndrange(3, (1, 40), (2, 9)):
        y[w, i, j] = x[w, i, j] + w * 100 + i * 10 + j + t
""",
        {"x": RNG.normal(size=(3, 41, 9)), "y": np.zeros((3, 41, 9))},
        [117],
    ),
    "spread": (
        """def kernel(t: ti.i32):
    for item in range(2560):
        if item % 512 == 0:
            g = item // 512
            for i in range(20):
                y[g, i] = x[g, i] + g + t
""",
        {"x": RNG.normal(size=(5, 20)), "y": np.zeros((5, 20))},
        [5],
    ),
    "sums": (
        """def kernel(s: ti.i32):
    for i in range(3000):
        v = x[i] * x[i]
        total[0] += v
        y[s, at[i]] += v
        y[s, at[i]] += y[s + 1, at[i]]
        z[(s + 1) % 2, at[i]] += z[s % 2, at[i]]
""",
        {
            "x": RNG.normal(size=3000),
            "at": SCATTER,
            "total": np.ones(1),
            "y": RNG.normal(size=(4, 50)),
            "z": RNG.normal(size=(2, 50)),
        },
        [3000],
    ),
    "long sums": (
        """def kernel(t: ti.i32):
    for w, i in ti.ndrange(2, 3000):
        for k in range(40):
            y[w, t, (at[i] * 97 + k * k) % 5000] += x[i] * (k + 1)
""",
        {"x": RNG.normal(size=3000), "at": SCATTER, "y": RNG.normal(size=(2, 2, 5000))},
        [64],
    ),
    "tasks in order": (
        """def kernel(t: ti.i32):
    for i in range(3000):
        y[i] = x[i] + 1.0
    ti.loop_config(serialize=True)
    for i in range(1, 3000):
        y[i] = y[i] + 0.5 * y[i - 1]
    for i in range(3000):
        total[0] += y[2999 - i]
    pass
""",
        {"x": RNG.normal(size=3000), "y": np.zeros(3000), "total": np.zeros(1)},
        [3000, 0, 3000],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_shared_loops(three, case):
    source, arrays, items = CASES[case]
    kernel = Kernel(source, **arrays)
    assert kernel.items == items
    assert candidates(source)
    want = {name: a.copy() for name, a in arrays.items()}
    interpreted(source, 1, **want)
    results = []
    for again in range(4):
        if again == 1:
            three.start()
        got = {name: a.copy() for name, a in arrays.items()}
        kernel(three, 1, **got)
        results.append(got)
    for name in arrays:
        np.testing.assert_allclose(results[0][name], want[name], rtol=1e-11, atol=1e-12)
        for other in results[1:]:  # whoever did the parts
            np.testing.assert_array_equal(results[0][name], other[name])


def test_loops_that_run_in_order(runtime):
    """Threads would read what others add to, or win less than their own sums cost."""
    lines = {
        "y[s, at[i]] += y[s, i % 50]": 50,
        "y[s, at[i]] += x[i]": 100_000,
        "v = ti.atomic_add(y[s, at[i]], x[i])": 50,
    }
    for line, n in lines.items():
        arrays = {"x": np.ones(3000), "y": np.zeros((4, n)), "at": np.zeros(3000, np.int32)}
        kernel = Kernel(f"def kernel(s: ti.i32):\n    for i in range(3000):\n        {line}\n", **arrays)
        assert kernel.items == [0]
        if "x[i]" in line:
            kernel(the_team(), 2, **arrays)
            assert arrays["y"][2, 0] == 3000


def test_indices_that_differ():
    def differ(a, b):
        return surely_differ(ast.parse(a, mode="eval").body, ast.parse(b, mode="eval").body)

    assert differ("s + 1", "s")
    assert differ("(s + 2 - 1) % 2", "s % 2")
    assert differ("3", "4")
    for a, b in (("s", "t"), ("s", "3"), ("s", "s"), ("s * 2", "s"), ("(s + 2) % 2", "s % 2")):
        assert not differ(a, b)
    assert not differ("s % 2", "(s + 1) % 3")


def test_claims_of_several_threads(three):
    """Each row is claimed once, by an iteration that alone writes what belongs to it; the largest is kept."""
    source = """def kernel(t: ti.i32):
    for i in range(20000):
        ti.atomic_max(largest[None], ti.abs(x[i]))
        v1 = ti.atomic_max(raised[i % 3], 1)
        if v1 == 0:
            count[i % 3] = count[i % 3] + 1
            number[i % 3] = i
"""
    x = RNG.normal(size=20000)
    rows = {name: np.zeros(3, np.int32) for name in ("raised", "count", "number")}
    arrays = {"x": x, "largest": np.zeros(()), **rows}
    kernel = Kernel(source, **arrays)
    assert kernel.items == [20000]
    assert kernel.text.count("atomicrmw") == 2
    three.start()
    for _ in range(20):
        got = {name: a.copy() for name, a in arrays.items()}
        kernel(three, 0, **got)
        assert got["largest"] == np.abs(x).max()
        assert got["count"].tolist() == [1, 1, 1]
        assert (got["number"] % 3).tolist() == [0, 1, 2]


def test_the_smallest_numbers_are_zero_in_all_threads(three, usual_mode):
    """Results would depend on who did a part; and the thread that launches is left as it was."""
    source = """def kernel(t: ti.i32):
    for i in range(9000):
        for k in range(500):
            y[i] = y[i] * 0.5 + x[i]
"""
    usual_mode()
    arrays = {"x": np.full(9000, 1e-309), "y": np.zeros(9000)}
    kernel = Kernel(source, **arrays)
    three.start()
    for _ in range(10):
        kernel(three, 0, **arrays)
        assert not arrays["y"].any()
    assert (arrays["x"] * 0.5).all()


def test_launches_from_several_threads(three):
    """The team helps one of them; the others do their work alone, with the same bits."""
    source, arrays, _ = CASES["sums"]
    kernel = Kernel(source, **arrays)
    three.start()
    want = {name: a.copy() for name, a in arrays.items()}
    kernel(three, 1, **want)
    wrong = []

    def work():
        for _ in range(100):
            got = {name: a.copy() for name, a in arrays.items()}
            kernel(three, 1, **got)
            if any(not np.array_equal(got[name], want[name]) for name in want):
                wrong.append(got)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_more_threads_than_the_system_gives(runtime, monkeypatch):
    """What others would have done is done all the same."""

    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    team = Team(5)
    team.start()
    assert not team._helpers
    source, arrays, _ = CASES["range"]
    got = {name: a.copy() for name, a in arrays.items()}
    Kernel(source, **arrays)(team, 1, **got)
    np.testing.assert_array_equal(got["y"][7:2990], got["x"][7:2990] * 2 + 1)


def test_one_team_for_each_number_of_threads(runtime):
    assert the_team() is the_team()
    assert the_team().threads == runtime.threads == 2
    other = teams._of(4)
    assert other.threads == 4
    assert the_team().asleep  # those of another runtime ended
    assert teams.can_share()


_PROCESS = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
import numpy as np
import diffsim as ds
from test_team import CASES, Kernel
from diffsim.engine.team import the_team

ds.init(arch="cpu", precision=64, threads=3)
source, arrays, _ = CASES["sums"]
kernel, team = Kernel(source, **arrays), the_team()
team.start()

def run():
    got = {name: a.copy() for name, a in arrays.items()}
    kernel(team, 1, **got)
    return got

want = run()
assert len(team._helpers) == 2
child = os.fork()
if not child:
    fine = team.asleep and all(np.array_equal(a, want[n]) for n, a in run().items())
    team.start()
    fine = fine and len(team._helpers) == 2
    fine = fine and all(np.array_equal(a, want[n]) for n, a in run().items())
    os._exit(0 if fine else 7)
assert os.waitpid(child, 0)[1] == 0, "the child"
assert all(np.array_equal(a, want[n]) for n, a in run().items())
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    while True:
        run()
except KeyboardInterrupt:
    print("interrupted")
assert all(np.array_equal(a, want[n]) for n, a in run().items())
print("done")
"""


def test_forks_interrupts_and_the_end_of_a_process():
    words = [sys.executable, "-W", "ignore", "-c", _PROCESS, str(Path(__file__).parent)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.split()[-2:]) == (0, ["interrupted", "done"]), ended.stderr
