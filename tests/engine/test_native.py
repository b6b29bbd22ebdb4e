"""Kernels as machine code: shared between rollouts, kept on disk, and left to Taichi one by one."""

import ast
import ctypes
import dataclasses
import gc
import os
import threading
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import taichi as ti
from compilers import compiled_by
from fuzz.machine import machine

import diffsim as ds
from diffsim import _llvm
from diffsim._taichi import memory
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.native import dispatch
from diffsim.compiler.native.memory import Place
from diffsim.engine import launch, native
from diffsim.engine.native import Library, Unsupported
from diffsim.engine.objects import ObjectCache
from diffsim.engine.pool import the_pool
from diffsim.errors import StateNotFiniteError

pytestmark = [pytest.mark.cpu, pytest.mark.native]

N, STEPS = 3, 12


class Springs(ds.Simulator):
    """Masses on springs to their neighbours, with drag: nothing that grows."""

    def __init__(self):
        self.x = ds.State(ds.real, N, init=[0.5, -0.25, 1.0])
        self.v = ds.State(ds.vec2, N, init=[[0.1, 0.0], [0.0, 0.3], [-0.2, 0.1]])
        self.f = ds.Scratch(ds.real, N)
        self.k = ds.Param([1.0, 1.5, 0.5])
        self.u = ds.Control(ds.real, init=0.1)

    @ti.kernel
    def force(self, t: ti.i32):
        for i in range(N):
            s = 0.0
            for j in range(N):
                if j != i:
                    s += ti.sin(self.x[t, j] - self.x[t, i])
            self.f[t, i] = s * self.k[i] + self.u[t] * ti.max(self.v[t, i].x, -0.1)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            v = 0.9 * self.v[t, i] + 0.1 * ti.Vector([self.f[t, i], -self.x[t, (i + 1) % N]])
            self.v[t + 1, i] = v
            self.x[t + 1, i] = self.x[t, i] + 0.1 * v.norm(1e-9) * ti.tanh(v.x)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i] ** 2 + 0.1 * self.v[t, i].y

    def step(self, t):
        self.force(t)
        self.move(t)

    def running_cost(self, t):
        self.pay(t)

    def terminal_cost(self, t):
        self.pay(t)


def outcome(simulator, **options):
    rollout = ds.Rollout(simulator, steps=STEPS, **options)
    try:
        cost, gradients = rollout.value_and_grad()
        return {"cost": np.asarray(cost), **gradients}, str(rollout.explain())
    finally:
        rollout.close()


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        largest = np.abs(values).max()
        assert largest > 0.0, key
        np.testing.assert_allclose(found[key], values, rtol=0, atol=1e-12 * largest, err_msg=key)


@pytest.fixture(scope="module")
def by_taichi(runtime):
    """What Taichi makes of the springs, in mode `step`."""
    with compiled_by("taichi"):
        return outcome(Springs(), mode="step")[0]


@pytest.fixture
def library(monkeypatch, tmp_path, runtime):
    """A library of its own, with an empty cache; no kernel is compiled yet."""
    the_pool().release()
    made = Library(ObjectCache(tmp_path / "objects"))
    monkeypatch.setattr(native, "the_library", lambda: made)
    return made


# ---- both compilers ----


@pytest.mark.parametrize(
    "options",
    [{"mode": "step"}, {"mode": "fused"}, {"mode": "chunk"}, {"mode": "fused", "window": 5}],
    ids=lambda o: " ".join(map(str, o.values())),
)
def test_both_compilers_agree(by_taichi, options):
    """Over more steps than the few that a rollout compares by itself."""
    assert_same(outcome(Springs(), **options)[0], by_taichi)


def test_kernels_are_left_to_taichi_one_by_one(by_taichi, monkeypatch):
    """Their memory moves into fields, and machine code goes on there."""
    bind = native.bind

    def refuse(text, *rest):
        if any(origin.startswith("Springs.move ") for origin in text.origins):
            raise Unsupported("a word")
        return bind(text, *rest)

    monkeypatch.setattr(launch, "bind", refuse)
    the_pool().release()
    found, story = outcome(Springs(), mode="step", window=5)
    assert_same(found, by_taichi)
    stories = dict(part.split(" (", 1) for part in story.split("\n\n"))
    left = "left to Taichi, since machine code is not made of a word"
    assert [name for name, text in stories.items() if left in text] == ["Springs.move"]
    the_pool().release()


def blocked():
    field = ti.field(ti.f64)
    ti.root.dense(ti.ij, (2, 2)).dense(ti.ij, (2, 2)).place(field)
    return field


class Table(ds.Simulator):
    """Adds up what lies in a field of the user's own."""

    def __init__(self, kind, field):
        self.kind, self.table = kind, field
        self.x = ds.State(ds.real, N, init=1.0)
        self.k = ds.Param(1.0)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(N):
            if ti.static(self.kind == "scalar"):
                self.x[t + 1, i] = self.k[None] * self.table[i]
            if ti.static(self.kind in ("vector", "columns")):
                self.x[t + 1, i] = self.k[None] * self.table[i][1]
            if ti.static(self.kind == "matrix"):
                self.x[t + 1, i] = self.k[None] * self.table[i, 1][1, 2]
            if ti.static(self.kind == "blocks"):
                self.x[t + 1, i] = self.k[None] * self.table[i, 1]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += (i + 1) * self.x[t, i]

    def terminal_cost(self, t):
        self.pay(t)


FIELDS = {
    "scalar": lambda: ti.field(ti.f64, N),
    "vector": lambda: ti.Vector.field(2, ti.f64, N),
    "columns": lambda: ti.Vector.field(2, ti.f64, N, layout=ti.Layout.SOA),
    "matrix": lambda: ti.Matrix.field(2, 3, ti.f64, (N, 2)),
    "blocks": blocked,
}
READ = {"scalar": (), "vector": (1,), "columns": (1,), "matrix": (1, 1, 2), "blocks": (1,)}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_of_the_users(runtime, kind, monkeypatch):
    """Machine code reads those whose elements are in rows, looked up once; the others are left to Taichi."""
    looked_up = Mock(wraps=memory._rows)
    monkeypatch.setattr(memory, "_rows", looked_up)
    field = FIELDS[kind]()
    values = np.arange(1.0, 1.0 + np.prod(field.to_numpy().shape)).reshape(field.to_numpy().shape)
    field.from_numpy(values)
    read = values[(slice(N), *READ[kind])]
    rollout = ds.Rollout(Table(kind, field), steps=1, mode="step")
    cost, gradients = rollout.value_and_grad()
    wanted = float(np.arange(1, N + 1) @ read)
    assert cost == pytest.approx(wanted, rel=1e-14)
    assert gradients["k"] == pytest.approx(wanted, rel=1e-14)
    story = str(rollout.explain())
    assert ("left to Taichi, since machine code is not made of " in story) == (kind == "blocks")
    assert ("whose elements are not in rows" in story) == (kind == "blocks")
    looked_up.assert_called_once_with(field)
    rollout.close()


class Late(ds.Simulator):
    """Reads what Taichi has to read at the end alone, when States have long been saved and looked at."""

    def __init__(self, table):
        self.table = table
        self.x = ds.State(ds.real, (64, 64), init=np.linspace(0.1, 1.0, 4096).reshape(64, 64))
        self.k = ds.Param(0.9)

    @ti.kernel
    def move(self, t: ti.i32):
        for i, j in ti.ndrange(64, 64):
            self.x[t + 1, i, j] = ti.sin(self.x[t, i, j] * self.k[None])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for i, j in ti.ndrange(64, 64):
            self.cost[None] += self.x[t, i, j] ** 2 * self.table[0, 1]

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.parametrize(
    "options",
    [{}, {"memory": 900_000, "host_memory": "1GiB"}],
    ids=["in memory", "on the host"],
)
def test_memory_that_moves_late_is_found(runtime, options):
    """A kernel that is left to Taichi takes States along, of which checkpoints were made before."""
    table = blocked()
    table.fill(1.0)
    rollout = ds.Rollout(Late(table), steps=10, mode="step", window=3, **options)
    found = [rollout.value_and_grad()[1]["k"] for _ in range(2)]
    assert (rollout.plan.schedule.places["host"] > 0) == bool(options)
    k, x, slope = 0.9, np.linspace(0.1, 1.0, 4096), np.zeros(4096)
    for _ in range(10):
        x, slope = np.sin(k * x), np.cos(k * x) * (x + k * slope)
    np.testing.assert_allclose(found, 2 * float(x @ slope), rtol=1e-12)
    assert "left to Taichi" in str(rollout.explain())
    rollout.close()


class Large(ds.Simulator):
    """Numbers far apart, multiplied in the order in which they stand."""

    def __init__(self, start):
        self.x = ds.State(ds.real, init=start)
        self.bound = ds.Param(1e301)

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = ti.min(self.x[t] * 1e300 * 1e300, self.bound[None])

    def step(self, t):
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32):
        for _ in range(1):
            self.cost[None] += self.x[t] * 1e-300

    def terminal_cost(self, t):
        self.pay(t)


@pytest.mark.parametrize("mode", ["step", "fused"])
def test_products_keep_their_order(runtime, mode):
    """Fast math made infinity of `x * 1e300 * 1e300`, and NaN where x is zero."""
    sim = Large(1e-300)
    rollout = ds.Rollout(sim, steps=1, mode=mode)
    cost, _ = rollout.value_and_grad([sim.x])
    assert cost == pytest.approx(1.0, rel=1e-14)
    sim.x.set(0.0)
    assert rollout.value() == 0.0
    rollout.close()


class Bounded(Large):
    """The root of a negative number, between bounds that are numbers."""

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = ti.max(self.bound[None], ti.min(ti.sqrt(self.x[t]), self.bound[None]))


def test_a_bound_hides_no_nan(runtime):
    rollout = ds.Rollout(Bounded(-1.0), steps=2, mode="step")
    with pytest.raises(StateNotFiniteError):
        rollout.value()
    with pytest.raises(StateNotFiniteError, match=r"Bounded\.move"):
        rollout.value_and_grad(debug="nan")
    rollout.close()


# ---- what is known of memory ----


SHARED = """def kernel(n: ti.i32, t: ti.i32):
    b_f64[0] = 1.0
    a_f64[0] = 2.0
    o_f64[0] = b_f64[0]
"""
STATES = """def kernel(n: ti.i32, t: ti.i32):
    for s in range(64):
        b_f64[s + 1] = a_f64[s] * 0.5 + 1.0
"""


def test_places_that_may_be_one_are_told(monkeypatch):
    """Fields of the user's may share memory; a wrong scope is found."""

    def last(shared):
        memory = np.zeros(8)
        arrays = {"a_f64": memory, "b_f64": memory, "o_f64": np.zeros(1)}
        machine(SHARED, arrays, level=2, shared=shared)(arrays)
        return arrays["o_f64"][0]

    assert last(shared=True) == 2.0
    facts = dispatch._facts
    monkeypatch.setattr(dispatch, "_facts", lambda place: facts(dataclasses.replace(place, shared=False)))
    assert last(shared=True) != 2.0, "each place with a scope of its own"


def test_a_scope_for_each_time_would_be_wrong():
    """`x[t + 1]` of one step is `x[t]` of the next: one name for a State, whatever the time, is right."""
    wanted = [0.0]
    for _ in range(64):
        wanted.append(wanted[-1] * 0.5 + 1.0)

    def states(source):
        memory = np.zeros(65)
        arrays = {"a_f64": memory, "b_f64": memory}
        machine(source, arrays, level=2)(arrays)
        return memory.tolist()

    assert states(STATES.replace("b_f64", "a_f64")) == wanted
    assert states(STATES) != wanted, "two names without a common scope"


# ---- the library ----


def test_rollouts_of_one_program_share_machine_code(library):
    rollouts = [ds.Rollout(Springs(), steps=STEPS, mode="fused") for _ in range(10)]
    costs, counts = [], []
    for rollout in rollouts:
        costs.append(rollout.value())
        counts.append(library.compiled)
    assert len(set(costs)) == 1
    assert len(set(counts)) == 1 < counts[0]
    for rollout in rollouts:
        rollout.close()


def test_a_later_process_loads_and_does_not_compile(library, by_taichi, monkeypatch):
    first, _ = outcome(Springs(), mode="fused")
    later = Library(library._cache)
    monkeypatch.setattr(native, "the_library", lambda: later)
    the_pool().release()
    again, _ = outcome(Springs(), mode="fused")
    assert (later.compiled, later.loaded) == (0, library.compiled)
    assert all(np.array_equal(again[key], first[key]) for key in first)
    for path in library._cache.folder.glob("*.o"):  # damaged: compiled again, and right
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    last = Library(library._cache)
    monkeypatch.setattr(native, "the_library", lambda: last)
    the_pool().release()
    assert_same(outcome(Springs(), mode="fused")[0], by_taichi)
    assert (last.compiled, last.loaded) == (library.compiled, 0)
    the_pool().release()


def test_a_key_holds_all_that_decides(library, monkeypatch):
    """What was compiled otherwise is another object: no stale one is loaded."""
    seen = []
    function = Library.function
    monkeypatch.setattr(
        Library, "function", lambda self, *given: seen.append(given) or function(self, *given)
    )
    outcome(Springs(), mode="fused")
    text, places = next(given[:2] for given in seen if given[0].origins)
    name, place = next(iter(places.items()))
    others = [
        (dataclasses.replace(text, source=text.source + "    pass\n"), places, 2, False),
        (dataclasses.replace(text, real="f32"), places, 2, False),
        (text, places | {name: dataclasses.replace(place, dtype="f32")}, 2, False),
        (text, places | {name: dataclasses.replace(place, strides=(1, *place.strides))}, 2, False),
        (text, places | {name: dataclasses.replace(place, length=place.length + 1)}, 2, False),
        (text, places | {name: dataclasses.replace(place, shared=True)}, 2, False),
        (text, dict(reversed(places.items())), 2, False),
        (text, places, 1, False),
        (text, places, 2, True),
        (dataclasses.replace(text, lanes=8), places, 2, False),
        (dataclasses.replace(text, worlds=8), places, 2, False),
    ]
    keys = {native._key(*other) for other in others} | {native._key(text, places, 2, False)}
    renamed = dataclasses.replace(text, source=text.source.replace(f"def {text.name}(", "def other("))
    assert native._key(renamed, places, 2, False) in keys
    monkeypatch.setattr(_llvm, "fingerprint", lambda: ("another processor",))
    keys.add(native._key(text, places, 2, False))
    monkeypatch.setattr(native, "_translator", lambda: "another translation")
    keys.add(native._key(text, places, 2, False))
    assert len(keys) == len(others) + 3


# ---- objects on disk ----


def test_a_key_holds_all_that_the_translation_is_made_of():
    """An object that an earlier version left behind is not taken for this one's."""
    files = set(native._translator_files())
    root = Path(ds.__file__).parent
    for path in [*files]:
        if path.is_relative_to(root / "compiler/native"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffsim."):
                    file = root.joinpath(*node.module.split(".")[1:])
                    assert {file.with_suffix(".py"), file / "__init__.py"} & files, (path.name, node.module)
    assert Path(_llvm.__file__) in files


def test_objects_are_kept(tmp_path):
    cache = ObjectCache(tmp_path / "a" / "b")
    assert cache.get("key") is None
    cache.put("key", b"code")
    assert cache.get("key") == ObjectCache(cache.folder).get("key") == b"code"
    cache.put("key", b"other")
    assert cache.get("key") == b"other"
    assert len(list(cache.folder.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: c[:10], lambda c: b"", lambda c: c[:-1] + b"x", lambda c: b"x" + c[1:]],
    ids=["short", "shorter", "empty", "end", "digest"],
)
def test_a_damaged_object_is_missing(tmp_path, damage):
    cache = ObjectCache(tmp_path)
    cache.put("key", b"code")
    path = tmp_path / "key.o"
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("key") is None
    cache.put("key", b"code")
    assert cache.get("key") == b"code"


def test_objects_not_used_for_longest_go_first(tmp_path):
    cache = ObjectCache(tmp_path, limit=300)
    for k in range(3):
        cache.put(f"k{k}", bytes(60))  # and the digest
        os.utime(tmp_path / f"k{k}.o", (k, k))
    assert cache.get("k0") is not None, "used now"
    ObjectCache(tmp_path, limit=300).put("k3", bytes(60))
    assert [cache.get(f"k{k}") is not None for k in range(4)] == [True, False, True, True]


@pytest.mark.parametrize("folder", [None, "file"])
def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path, monkeypatch, folder):
    (tmp_path / "file").touch()
    monkeypatch.setattr("diffsim.engine.objects.cache_folder", lambda name: None)
    cache = ObjectCache(folder and tmp_path / folder)
    cache.put("key", b"code")
    assert cache.get("key") is None


def test_writers_do_not_meet(tmp_path):
    """Each object is whole, whoever writes at the same time."""
    images = [bytes([k]) * 5000 for k in range(4)]
    seen = set()

    def write(image):
        cache = ObjectCache(tmp_path)
        for _ in range(20):
            cache.put("key", image)
            seen.add(cache.get("key"))

    writers = [threading.Thread(target=write, args=(image,)) for image in images]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert seen <= set(images)
    assert [path.name for path in tmp_path.iterdir()] == ["key.o"]


def test_the_library_forgets_what_was_not_asked_for_longest(runtime, monkeypatch, tmp_path):
    monkeypatch.setattr(native, "_MOST", 2)
    library = Library(ObjectCache(tmp_path))
    texts = [KernelText("k", f"def k(n: ti.i32):\n    a[0] = n + {k}\n", {}) for k in range(4)]
    places = {"a": Place("i32", (1,), 1)}
    functions = [library.function(text, places) for text in texts]
    assert len(library._functions) == 2
    memory = np.zeros(1, np.int32)
    table = (ctypes.c_void_p * 1)(memory.ctypes.data)
    gc.collect()
    for k, function in enumerate(functions):  # who holds one may call it
        function(10, table)
        assert memory[0] == 10 + k
