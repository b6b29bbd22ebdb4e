"""Random small simulators: right values and gradients in every mode, or an error that names the rule.

Each example is a program as source text (Taichi reads kernels from files), made from a seed by the modules in
`tests/fuzz`. The same text is also run by plain Python with a stand-in for Taichi, since finite differences
cannot see a wrong value.

A few programs are tried by default; ``DIFFSIM_FUZZ=400 pytest tests/compiler/test_random_programs.py`` tries
that many others of each kind (a program has five kernels or six), from the seed in ``DIFFSIM_FUZZ_SEED`` on
(0 where left out), and fails with a list of seeds. ``DIFFSIM_FUZZ_PRECISION=32`` compares them in 32 bits
with plain Python in 64, loosely.
"""

import os

import pytest
from compilers import compiled_by
from fuzz import checks, plain
from fuzz.checks import check, load
from fuzz.hostile import BREAKS, Hostile
from fuzz.places import Places
from fuzz.programs import STEPS, Writer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import diffsim as ds

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
FIRST = int(os.environ.get("DIFFSIM_FUZZ_SEED", "0"))
PRECISION = int(os.environ.get("DIFFSIM_FUZZ_PRECISION", "64"))
MANY = pytest.mark.skipif(FUZZ == 0, reason="DIFFSIM_FUZZ says how many")
FEW = pytest.mark.skipif(FUZZ > 0, reason="many programs are tried")


@pytest.fixture(scope="module")
def precision():
    return PRECISION


@pytest.fixture(scope="module")
def guard():
    """Nobody has seen the many programs: try them in a child process first."""
    return FUZZ > 0


def written(seed):
    """Return a program and how it is to be checked."""
    writer = Writer(seed, size=9 if seed % 8 == 0 else 4)
    modes = {0: "fused windows", 2: "fused", 5: "step windows"}.get(seed % 8, "step")
    return writer.program(), modes + " worlds" * writer.worlds


@FEW
@pytest.mark.compilers
@settings(max_examples=2, phases=[Phase.generate])  # shrinking would compile for minutes
@given(seed=st.integers(0, 2**31))
def test_random_programs(runtime, tmp_path_factory, seed):
    source = Writer(seed, size=3).program()
    mode = "step windows" if seed % 2 else "fused"
    check(source, tmp_path_factory.mktemp("programs"), f"program_{seed}", seed, mode)


@MANY
def test_many_random_programs(runtime, tmp_path):
    failed = {}
    for seed in range(FIRST, FIRST + FUZZ):
        source, modes = written(seed)
        modes = "single" if PRECISION == 32 else modes
        try:
            check(source, tmp_path, f"program_{seed}", seed, modes)
        except Exception as error:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            failed[seed] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not failed


@FEW
@settings(max_examples=1, phases=[Phase.generate])
@given(seed=st.integers(0, 2**31))
def test_random_programs_in_place(runtime, tmp_path_factory, seed):
    source = Places(seed, size=2).program()
    check(source, tmp_path_factory.mktemp("places"), f"places_{seed}", seed, "fused" if seed % 2 else "step")


@MANY
def test_many_random_programs_in_place(runtime, tmp_path):
    failed = {}
    for seed in range(FIRST, FIRST + FUZZ):
        modes = {0: "fused windows", 2: "fused step", 5: "step windows"}.get(seed % 8, "step")
        writer = Places(seed, size=9 if seed % 8 == 0 else 4)
        source = writer.program()
        modes = "single" if PRECISION == 32 else modes + " worlds" * writer.worlds
        try:
            check(source, tmp_path, f"places_{seed}", seed, modes)
        except Exception as error:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            failed[seed] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not failed


@MANY
@pytest.mark.cpu
def test_many_random_programs_by_both_compilers(runtime, tmp_path):
    """A tenth as many, since Taichi compiles for seconds, over more steps than a rollout compares itself."""
    failed = {}
    for seed in range(FIRST, FIRST + max(1, FUZZ // 10)):
        sim = load(Writer(seed, size=4).program(), tmp_path, f"both_{seed}")
        mode = ("step", "fused", "chunk")[seed % 3]
        results = {}
        for compiler, options in (("taichi", {}), ("native", {}), ("native", {"window": checks.WINDOW})):
            with compiled_by(compiler):
                rollout = ds.Rollout(sim, steps=STEPS, mode=mode, **options)
                results[compiler, len(options)] = rollout.value_and_grad(checks.WRT)
                rollout.close()
        cost, gradients = results["taichi", 0]
        for key in (("native", 0), ("native", 1)):
            errors = {"cost": checks.relative(results[key][0], cost)}
            for name, values in gradients.items():
                errors[name] = abs(results[key][1][name] - values).max() / checks.largest(gradients)
            if not max(errors.values()) < 1e-11:
                failed[seed] = f"{mode} {key}: {errors}"
    assert not failed


# ---- programs that break a rule ----


@FEW
@pytest.mark.parametrize("name", [name for name, (rule, _) in BREAKS.items() if rule])
def test_hostile_programs(runtime, tmp_path, name):
    """What is refused before anything is compiled, with its rule and its line."""
    writer = Hostile(len(name), rule=name)
    sim = load(writer.program(), tmp_path, f"hostile_{name.replace('-', '_')}")
    with pytest.raises(ds.DiffsimError) as caught:
        ds.plan(sim, steps=STEPS)
    found = {d.rule: d.where for d in caught.value.diagnostics}
    assert BREAKS[name][0] in found, f"{writer.broken}: {caught.value}"
    assert "stage0" in found[BREAKS[name][0]]


@MANY
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::SyntaxWarning")
def test_many_hostile_programs(runtime, tmp_path):
    """An error of the library, or everything right: nothing else comes out."""
    if PRECISION == 32:
        pytest.skip("differences of 32 bits tell too little")
    failed = {}
    for seed in range(FIRST, FIRST + FUZZ):
        writer = Hostile(seed)
        mode = "fused" if seed % 3 == 0 else "step"
        try:
            check(writer.program(), tmp_path, f"hostile_{seed}", seed, f"{mode} singular")
        except ds.DiffsimError:
            continue
        except Exception as error:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            failed[seed] = f"{writer.broken!r}: {type(error).__name__}: {str(error)[:200]}"
    assert not failed


# ---- the checks themselves ----


FAULTS = {
    "value": (plain.DIFFSIM.math, "smooth_max", lambda a, b, width: a),
    "gradient": (checks, "slopes", lambda rollout, direction: [1.0, 1.0, 1.0, 1.0]),
}
PLAIN = """
import numpy as np
import taichi as ti
import diffsim as ds

class Program(ds.Simulator):
    def __init__(self):
        for name in ("y", "p", "u"):
            setattr(self, name, ds.Param([0.5, 1.5]))
        self.x = ds.State(ds.real, 2, init=[0.3, 0.4])
        self.v = ds.State(ds.vec2, 2)
        self.z = ds.State(ds.real, 2)
        self.q = ds.State(ds.vec2, 2)
        self.m = ds.State(ds.mat2, 2)
        self.w = ds.Param(np.ones((2, 2)))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(2):
            self.x[t + 1, i] = ti.sin(self.x[t, i]) * ds.math.smooth_max(self.p[i], self.y[i], 0.1)

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.x[t, i] * self.x[t, i]

    def running_cost(self, t):
        self.total(t)

    def terminal_cost(self, t):
        self.total(t)
"""


@FEW
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_planted_fault_is_found(runtime, tmp_path, monkeypatch, fault):
    if fault is None:
        assert check(PLAIN, tmp_path, "good", modes="step") == "sure"
        return
    owner, name, wrong = FAULTS[fault]
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError, match=fault):
        check(PLAIN, tmp_path, f"bad_{fault}", modes="step")
