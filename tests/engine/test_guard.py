"""Kernels that would kill or hang Python: planted ones die in the guard's process and become errors here."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim import _backends, _llvm
from diffsim import runtime as runtime_module
from diffsim.engine import child as child_module
from diffsim.engine import executors, launch
from diffsim.engine import guard as guard_module
from diffsim.engine.child import Child
from diffsim.engine.guard import Guard
from diffsim.engine.native import bind, level_of
from diffsim.engine.passed import PassedTexts
from diffsim.engine.pool import the_pool
from diffsim.engine.trials_native import NativeTrials
from diffsim.errors import ConfigError, GradientError
from diffsim.files import cache_folder

pytestmark = pytest.mark.cpu

# Marks at the end of a text, which the child's compiler stumbles over; here they are comments.
DIE_COMPILING, HANG_COMPILING = "\n# abort\n", "\n# hang\n"
STUMBLING = """
import ctypes, os
from diffsim.engine import trials_native
translate = trials_native.translate
def stumble(source, *rest):
    if "# abort" in source:
        os.abort()
    if "# segv" in source:
        ctypes.string_at(0)
    if "# exit" in source:
        os._exit(3)
    if "# hang" in source:  # it holds the interpreter's lock, as a compiler that hangs does
        ctypes.PyDLL(None).sleep(1000)
    if "# together" in source and rest[4] > 1:
        os.abort()
    if "# loud" in source:
        os.system("echo loud; echo loud >&2")
    if "# refuse" in source:
        raise ValueError("x")
    return translate(source, *rest)
trials_native.translate = stumble
from diffsim.engine.worker import main
"""
PROGRAM = child_module._PROGRAM.replace("from diffsim.engine.worker import main\n", STUMBLING)


class Spring(ds.Simulator):
    def __init__(self, n=2):
        self.n = n
        self.x = ds.State(ds.real, n, init=np.arange(1.0, n + 1))
        self.f = ds.Scratch(ds.real, n)
        self.k = ds.Param(np.full(n, 2.0))

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(self.n):
            self.f[t, i] = -self.k[i] * self.x[t, i]

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.f[t, i]

    @ti.kernel
    def stretch(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t):
        self.force(t)
        self.move(t)

    def terminal_cost(self, t):
        self.stretch(t)


LINES = {
    found[1]: k
    for k, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
    if (found := re.match(r"    def (force|move|stretch)\(", line)) and k < 90
}


@pytest.fixture(scope="module")
def guard():
    return True


@pytest.fixture
def mine(monkeypatch, tmp_path, runtime):
    """A guard with a memory of its own, in place of the one that all share; no kernel is compiled yet."""
    the_pool().release()
    made = Guard(tmp_path / "guard")
    monkeypatch.setattr(launch, "the_guard", lambda: made)
    monkeypatch.setattr(child_module, "_PROGRAM", PROGRAM)
    yield made
    made.close()


def gradient(n=2, mode="fused"):
    rollout = ds.Rollout(Spring(n), steps=4, mode=mode)
    try:
        return rollout.value_and_grad()
    finally:
        rollout.close()


def check_gradient(n=2):
    """The spring's cost is (1 - k / 10)^8 |x|^2."""
    cost, gradients = gradient(n)
    x = np.arange(1.0, n + 1)
    assert cost == pytest.approx(0.8**8 * np.sum(x**2), rel=1e-12)
    np.testing.assert_allclose(gradients["k"], -0.8 * 0.8**7 * x**2, rtol=1e-12)


def plant(monkeypatch, change, printer="fused_forward"):
    """Let a printer of kernels change its texts."""
    print_text = getattr(executors, printer)

    def planted(*args):
        texts = print_text(*args)
        if isinstance(texts, dict):
            return {group: [change(text) for text in some] for group, some in texts.items()}
        return change(texts)

    monkeypatch.setattr(executors, printer, planted)


def appended(code):
    return lambda text: dataclasses.replace(text, source=text.source + code)


def named(text, kind, dtype="f64"):
    """What a text calls its first field of a kind."""
    return min(n for n, (b, _) in text.used.items() if b.kind == kind and b.dtype == dtype)


def first(line):
    """Put a statement at the beginning of the kernel's body; X is the State, TABLE the user's own field."""

    def change(text):
        head, rest = text.source.split("\n", 1)
        body = line.replace("X", named(text, "state"))
        if "TABLE" in body:
            body = body.replace("TABLE", named(text, "external", "i32"))
        return dataclasses.replace(text, source=f"{head}\n    {body}\n{rest}")

    return change


def no_child(monkeypatch):
    def refuse():
        raise AssertionError("a child was started")

    monkeypatch.setattr(guard_module, "Child", refuse)


# ---- what passes ----


def test_texts_that_passed_are_remembered(mine, monkeypatch):
    check_gradient()
    keys = mine.folder.joinpath("passed.txt").read_text().split()
    assert len(keys) == len(set(keys)) >= 8  # two passes, three kernels in step mode and their adjoints
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    no_child(monkeypatch)
    check_gradient()  # by this guard
    later = Guard(mine.folder)
    monkeypatch.setattr(launch, "the_guard", lambda: later)
    check_gradient()  # by that of a later process
    with pytest.raises(AssertionError, match="a child was started"):
        gradient(3)  # other shapes


def test_other_options_and_versions_make_other_keys(mine, monkeypatch):
    texts = []
    plant(monkeypatch, lambda text: texts.append(text) or text)
    rollout = ds.Rollout(Spring(), steps=4, mode="fused")
    rollout.value()
    storage, text = rollout._engine.storage, texts[0]

    def key(native=True, brief=False, **change):
        return guard_module._made(dataclasses.replace(text, **change), storage, native, brief).key

    keys = {key(), key(brief=True)}
    assert key() in keys
    keys |= {key(source=text.source + "\n"), key(real="f32"), key(native=False)}
    info = runtime_module.info()
    monkeypatch.setattr(runtime_module, "info", lambda: dataclasses.replace(info, precision=32))
    keys.add(key())
    monkeypatch.setattr(guard_module, "_versions", lambda: (0,))
    keys.add(key())
    monkeypatch.setattr(_llvm, "fingerprint", lambda: ("another processor",))
    keys.add(key())
    assert len(keys) == 8
    rollout.close()


def test_the_child_optimises_as_far_as_this_process(mine, monkeypatch):
    """What is compiled for a moment only is not optimised there either, or all wait for it."""
    asked, here = {}, {}
    send = Child.send

    def sent(self, header, data=b""):
        asked.setdefault(header["source"], set()).add(header["level"])
        send(self, header, data)

    def bound(text, spec, arena, brief=False):
        here.setdefault(text.source, set()).add(level_of(text, brief))
        return bind(text, spec, arena, brief)

    monkeypatch.setattr(Child, "send", sent)
    monkeypatch.setattr(launch, "bind", bound)
    check_gradient()
    assert {0, 2} <= set().union(*here.values())
    for source, levels in asked.items():
        assert levels == here.get(source, levels)


def test_without_the_guard_no_child_is_started(mine, monkeypatch):
    monkeypatch.setattr(runtime_module, "guard_limit", lambda: 0.0)
    no_child(monkeypatch)
    check_gradient()
    assert not mine.folder.exists()


def test_the_child_says_nothing_here(mine, monkeypatch, capfd):
    plant(monkeypatch, appended("\n# loud\n"))
    monkeypatch.setattr(
        launch.Launcher, "_prepare", lambda self, args: mine.attempt(self.text, self._storage, args, True)
    )
    gradient()
    assert capfd.readouterr() == ("", "")


# ---- what dies ----


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (appended(DIE_COMPILING), "was killed by SIGABRT while compiling it; split or simplify"),
        (appended("\n# segv\n"), "was killed by SIGSEGV while compiling it"),
        (first("X[0, 1000000000, 0] = 1.0"), "was killed by SIG(SEGV|BUS) in its first run; look for ind"),
        (first("X[0, 0, 0] = ti.f64(n % t0)"), "was killed by SIGFPE in its first run"),
        (appended("\n# exit\n"), "ended with status 3 while compiling it"),
    ],
    ids=["abort", "segv", "far", "division", "exit"],
)
def test_a_death_is_an_error_with_the_kernels_names(mine, monkeypatch, change, how):
    with monkeypatch.context() as patch:
        plant(patch, change)
        with pytest.raises(GradientError, match=how) as error:
            gradient()
    message = str(error.value)
    assert message.startswith("the forward pass of Spring, made of Spring.force (")
    for name, line in LINES.items():
        assert re.search(rf"Spring\.{name} \(\S*test_guard\.py:{line}:5 in {name}\)", message)
    kept = Path(re.search(r"please report it with (\S+)$", message)[1])
    assert kept.parent == mine.folder / "failed"
    text = kept.read_text()
    assert "def forward(t0: ti.i32" in text
    assert "test_guard.py" in text
    check_gradient()  # the process lives on, and the text that is well passes
    assert mine.folder.joinpath("passed.txt").exists()


def test_a_death_in_taichis_compiler(mine, monkeypatch):
    """Kernels that Taichi compiles are tried by Taichi, on fields."""
    info = dataclasses.replace(runtime_module.info(), compiler="taichi")
    monkeypatch.setattr(runtime_module, "info", lambda: info)
    with monkeypatch.context() as patch:
        plant(patch, appended("\nimport os\nos.abort()\n"))
        with pytest.raises(GradientError, match="was killed by SIGABRT while compiling it"):
            gradient()
    check_gradient()


def test_a_death_in_step_mode_names_one_kernel(mine, monkeypatch):
    def change(text):
        mine_too = any(origin.startswith("Spring.move ") for origin in text.origins)
        return appended(DIE_COMPILING)(text) if mine_too and "_adj" not in text.name else text

    plant(monkeypatch, change, "step_kernels")
    with pytest.raises(
        GradientError, match=r"^kernel Spring.move \(\S*test_guard.py:\d+:\d+ in \S+\) must compile"
    ):
        gradient()


def test_a_hang_is_an_error(mine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(runtime_module, "guard_limit", lambda: 3.0)
        plant(patch, appended(HANG_COMPILING))
        with pytest.raises(
            GradientError, match=r"took longer than 3 s while compiling it; .* allow more seconds"
        ):
            gradient()
    check_gradient()


def test_a_death_ahead_is_not_blamed_on_others(mine, monkeypatch):
    """A text that nobody runs kills the child, which compiles it ahead: the texts that run are well."""
    texts = []
    plant(monkeypatch, lambda text: texts.append(text) or text)
    rollout = ds.Rollout(Spring(), steps=4, mode="fused")
    rollout._engine.executor.announce(gradients=False)
    mine.announce(appended(DIE_COMPILING)(texts[0]), rollout._engine.storage)
    child = mine._child
    assert child._process.wait(60) == -signal.SIGABRT
    assert rollout.value() == pytest.approx(0.8**8 * 5.0)
    assert mine._child not in (None, child)
    rollout.close()


class Lookup(Spring):
    def __init__(self, table, weights):
        super().__init__()
        self.table, self.weights = table, weights

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(self.n):
            self.f[t, i] = -self.k[i] * self.x[t, i] * self.weights[self.table[i]]


def test_data_that_lead_astray_are_contained(mine, monkeypatch):
    """The child gets the numbers of the user's own fields: the same text is well, or dies of them."""
    table, weights = ti.field(ti.i32, 2), ti.field(ti.f64, 2)
    weights.fill(1.0)
    plant(monkeypatch, first("X[0, TABLE[1], 0] = 1.0"))  # an access without an alarm
    cost = value_of(Lookup(table, weights))
    assert cost == pytest.approx(0.8**4 * 5.0)
    table[1] = 1_000_000_000
    mine._passed = PassedTexts(None)
    the_pool().release()
    with pytest.raises(GradientError, match=r"Lookup, made of .*SIG(SEGV|BUS) in its first run"):
        value_of(Lookup(table, weights))


def test_the_childs_memory_is_like_ours():
    """Components of the user's fields have rows of their own there, filled by what is sent."""
    trials, rows = NativeTrials(), {"m.0.0": [8, 4], "m.0.1": [8, 4], "m.1.0": [8, 4], "m.1.1": [8, 4]}
    source = """def kernel(n: ti.i32):
    for i, j in ti.ndrange(3, 2):
        x[None] = x[None] + (i + 1) * (10 * m[i, j][0, 1] + m[i, j][1, 0]) + n * v[i][1]
"""
    fields = {
        "x": ["f64", [], None, None],
        "m": ["f64", [3, 2], [2, 2], rows],
        "v": ["f64", [3], [2], {"v.0": [2], "v.1": [2]}],
    }
    values = {"m": np.arange(24.0), "v": np.arange(6.0)}
    request = {"key": "k", "source": source, "real": "f64", "level": 1, "args": [1], "fields": fields}
    request |= {"lies": {}, "lanes": 1, "worlds": 1}
    m, v = values["m"].reshape(3, 2, 2, 2), values["v"].reshape(3, 2)
    weights = np.arange(1.0, 4.0)[:, None]
    wanted = np.sum(weights * (10 * m[:, :, 0, 1] + m[:, :, 1, 0]) + v[:, 1:])
    trials.prepare(request)
    trials.compile(request)
    assert trials.has("k")
    assert trials.idle_bytes == 0
    trials.fill(request, values)
    trials.run(request)
    assert not trials.has("k")
    assert trials._memory["x"][1]["x"] == wanted
    assert trials.idle_bytes == 8 * (1 + 24 + 6)
    trials.fill(request, {})
    assert not any(a.any() for _, arrays in trials._memory.values() for a in arrays.values())
    trials.free()
    assert trials.idle_bytes == 0


def test_the_child_runs_worlds_together():
    """Memory in blocks of worlds has the numbers of those worlds, and the text runs as it does here."""
    trials = NativeTrials()
    source = """def kernel(n: ti.i32):
    for w in range(0, 6):
        for i in range(3):
            y[w, i] = x[w, i] * c[w] + n
"""
    fields = {
        "x": ["f64", [8, 3], None, None],
        "y": ["f64", [8, 3], None, None],
        "c": ["f64", [6], None, None],
    }
    request = {"key": "k", "source": source, "real": "f64", "level": 1, "args": [2], "fields": fields}
    lies = {name: (0, n, 0, None) for name, n in {"x": 4, "y": 4, "c": 6}.items()}
    request |= {"lies": lies, "lanes": 4, "worlds": 6}
    x, c = np.arange(24.0).reshape(8, 3), np.arange(6.0)
    trials.prepare(request)
    trials.compile(request)
    trials.fill(request, {"x": x, "c": c})
    trials.run(request)
    found = np.moveaxis(trials._memory["y"][1]["y"], -1, 1).reshape(8, 3)
    np.testing.assert_array_equal(found[:6], x[:6] * c[:, None] + 2.0)


def test_what_dies_with_worlds_together_alone_is_found(mine, monkeypatch):
    plant(monkeypatch, appended("\n# together\n"))
    with pytest.raises(GradientError, match="SIGABRT"):
        value_of(Spring(), worlds=8)


def value_of(simulator, worlds=1):
    rollout = ds.Rollout(simulator, steps=2, mode="fused", worlds=worlds)
    try:
        return rollout.value()
    finally:
        rollout.close()


def test_errors_of_python_stay_what_they_are(mine, monkeypatch):
    plant(monkeypatch, first("X[0, 0, 0] = nobody"))
    with pytest.raises(ti.TaichiNameError, match="nobody"):
        gradient()


def test_what_only_the_child_cannot_do_is_told(mine, monkeypatch):
    plant(monkeypatch, appended("\n# refuse\n"))
    with pytest.warns(RuntimeWarning, match="the guard could not try a kernel that works: ValueError: x"):
        check_gradient()


# ---- the process ----


@pytest.mark.parametrize("program", ["no/such/python", "false"])
def test_a_child_that_cannot_start(mine, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    with pytest.warns(RuntimeWarning, match=r"could not be started \(.*\); kernels run unguarded"):
        check_gradient()


def test_a_program_that_is_too_large_to_have_twice(mine, monkeypatch):
    monkeypatch.setattr(guard_module, "_memory", lambda: 0.0)
    with pytest.warns(RuntimeWarning, match="the forward pass of Spring, made of .* run unguarded") as warned:
        check_gradient()
    assert len(warned) == 1


def test_data_above_the_limit_stay_at_home(mine, monkeypatch):
    monkeypatch.setattr(guard_module, "_SHIPPED", 20)
    sent = []
    send = Child.send
    monkeypatch.setattr(
        Child, "send", lambda self, head, data=b"": sent.append(head) or send(self, head, data)
    )
    check_gradient()
    sizes = [[8 * size for _, size in head["data"].values()] for head in sent if head["run"]]
    assert max(map(sum, sizes)) == 16
    assert any(sizes)


def test_a_forked_process_has_no_child(mine):
    check_gradient()
    child = mine._child
    assert child is not None
    mine.forked()
    assert mine._child is None
    pid = child._process.pid
    os.kill(pid, 0)  # it lives: it is the other process's
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    check_gradient(3)


PARENT = """
import sys
import numpy as np
import diffsim as ds
sys.path.insert(0, {tests!r})
import test_guard as t
from diffsim.engine import child, executors, launch
from diffsim.engine.guard import Guard
from diffsim.engine.native import bind, level_of
import dataclasses

child._PROGRAM = t.PROGRAM
start = child.Child.__init__
def tell(self):
    start(self)
    print(self._process.pid, flush=True)
child.Child.__init__ = tell
own = Guard(t.Path({folder!r}))
launch.the_guard = lambda: own
ds.init(arch="cpu", precision=64, threads=1, guard=True)
printer = executors.fused_forward
executors.fused_forward = lambda *args: t.appended(t.HANG_COMPILING)(printer(*args))
try:
    t.gradient()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def ends(pid):
    """Wait until a process is gone (or waits to be reaped), for a minute at most."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_child_amid_a_hang_ends_with_its_parent(tmp_path, number):
    program = PARENT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        pid = int(run.stdout.readline())
        time.sleep(2.0)  # it hangs by now; if not, it ends all the same
        os.killpg(run.pid, number)  # as a terminal does
        said, errors = run.communicate(timeout=60)
    assert ends(pid)
    if number == signal.SIGINT:
        assert said == "interrupted\n"
        assert errors == ""


# ---- memory ----


def test_passed_texts_outlive_the_process(tmp_path):
    path = tmp_path / "a" / "passed.txt"
    one, two = PassedTexts(path), PassedTexts(path)
    keys = [f"{k:032x}" for k in range(3)]
    assert keys[0] not in one
    one.add(keys[0])
    two.add(keys[1])
    assert keys[0] in one
    with path.open("a") as file:
        file.write("torn")
    assert [key in PassedTexts(path) for key in keys] == [True, True, False]
    assert path.read_text() == f"{keys[0]}\n{keys[1]}\ntorn"


@pytest.mark.parametrize("path", [None, "file/passed.txt", "file"])
def test_memory_that_cannot_be_written_lasts_as_long_as_the_process(tmp_path, path):
    (tmp_path / "file").mkdir() if path == "file" else (tmp_path / "file").touch()
    passed = PassedTexts(tmp_path / path if path else None)
    passed.add("0" * 32)
    assert "0" * 32 in passed
    assert "0" * 32 not in PassedTexts(passed.path)


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("diffsim.engine.passed._LARGEST", 100)
    path = tmp_path / "passed.txt"
    keys = [f"{k:032x}" for k in range(4)]
    path.write_text("".join(key + "\n" for key in keys))
    assert [key in PassedTexts(path) for key in keys] == [False, False, False, True]
    assert path.read_text() == keys[3] + "\n"


def test_where_memory_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "diffsim" / "guard"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "diffsim" / "guard"

    # as it is of a user whom the system does not know
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/diffsim"))
    assert cache_folder() is None
    Guard()._passed.add("0" * 32)


def test_a_failed_text_is_kept_elsewhere_without_a_folder(mine, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    mine.folder = tmp_path / "file"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(monkeypatch, appended(DIE_COMPILING))
    with pytest.raises(GradientError, match=re.escape(f"report it with {tmp_path}/diffsim-guard/forward-")):
        gradient()


# ---- settings ----


def test_the_setting(runtime):
    assert runtime.guard == runtime_module.guard_limit() == 300.0
    assert runtime.unguarded == ""
    assert runtime_module._guard_seconds(20) == 20.0
    assert runtime_module._guard_seconds(False) == 0.0
    assert "GPU" in _backends.why_unguarded("cuda")
    assert _backends.why_unguarded("x64") == ""


@pytest.mark.parametrize("value", ["yes", 0, -1.0, float("nan"), None])
def test_a_guard_that_is_none(value):
    with pytest.raises(ConfigError, match="guard must be True, False or a number of seconds, got"):
        ds.init(guard=value)
