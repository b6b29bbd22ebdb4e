"""Mode `auto` by measuring: what is tried, what wins, and what is remembered; with made-up clocks."""

import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim.demos.mass_spring import MassSpringTask
from diffsim.engine import chunk as chunks
from diffsim.engine import tuning
from diffsim.engine.pool import the_pool
from diffsim.engine.tuning import contest, survey, time_steps
from diffsim.errors import ConfigError, GradientError
from diffsim.plan.costs import Costs
from diffsim.plan.memo import Memo, key_of
from diffsim.plan.modes import COMPILE_BUDGET, Candidate, Timing, pays, show_seconds
from diffsim.plan.verdict import Verdict, decide, decided
from diffsim.progress import Progress
from diffsim.tasks import runs
from diffsim.tasks.comparison import compare_modes

STEPS = 12


@pytest.fixture
def tuned(runtime, monkeypatch, tmp_path):
    """Measuring on, with a memory of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ds.runtime._runtime, "info", dataclasses.replace(runtime, tune=True))
    return tmp_path / "diffsim" / "tuning.json"


@pytest.fixture(scope="module")
def chain(runtime):
    return Chain()


# ---- the contest, on made-up machines ----


class Machine:
    """Modes that take given seconds to compile and to run."""

    def __init__(self, compile_seconds, seconds, wrong=()):
        self.compile_seconds, self.run, self.wrong = compile_seconds, seconds, wrong
        self.prepared = []

    def prepare(self, candidate):
        self.prepared.append(candidate.mode)
        return "it is wrong" if candidate.mode in self.wrong else self.compile_seconds[candidate.mode]

    def seconds(self, candidate, hopeless):
        return self.run[candidate.mode]


def expected(step, chunk, fused):
    """Return candidates from (seconds to compile, seconds of a gradient)."""
    return [
        Candidate("step", 0, *step),
        Candidate("chunk", 8, *chunk),
        Candidate("fused", 0, *fused),
    ]


def run_contest(planned, iterations, candidates, compile_seconds, seconds, wrong=()):
    machine = Machine(compile_seconds, seconds, wrong)
    verdict = contest(planned, candidates, machine, iterations)
    return decide(planned, verdict.timings).mode, machine.prepared, verdict


USUAL = {"step": 1.0, "chunk": 4.0, "fused": 2.0}


@pytest.mark.parametrize(
    ("seconds", "winner"),
    [
        ({"step": 1.0, "chunk": 0.3, "fused": 0.1}, "fused"),
        ({"step": 1.0, "chunk": 0.3, "fused": 0.9}, "chunk"),
        ({"step": 0.2, "chunk": 0.3, "fused": 0.9}, "step"),
        ({"step": 0.8, "chunk": 1.9, "fused": 0.9}, "fused"),  # not clearly faster
    ],
)
def test_the_fastest_wins_if_it_is_clear(seconds, winner):
    candidates = expected((1.0, seconds["step"]), (4.0, seconds["chunk"]), (2.0, seconds["fused"]))
    assert run_contest("fused", 1000, candidates, USUAL, seconds)[0] == winner


def test_what_cannot_win_is_not_compiled():
    seconds = {"step": 1.0, "chunk": 0.3, "fused": 0.1}
    candidates = expected((1.0, 1.0), (4.0, 0.3), (2.0, 0.1))
    winner, prepared, verdict = run_contest("fused", 1000, candidates, USUAL, seconds)
    assert (winner, prepared) == ("fused", ["fused", "step"])
    assert verdict.skipped == {"chunk of 8": "about 300 ms per gradient expected"}


@pytest.mark.parametrize(("iterations", "tried"), [(1, False), (5, False), (6, True), (1000, True)])
def test_compiling_must_be_won_back(iterations, tried):
    seconds = {"step": 1.0, "chunk": 0.3, "fused": 5.0}
    candidates = expected((1.0, 1.0), (4.0, 0.3), (2.0, 5.0))
    winner, prepared, _ = run_contest("step", iterations, candidates, USUAL, seconds)
    assert (winner, "chunk" in prepared) == (("chunk", True) if tried else ("step", False))
    assert "fused" not in prepared


def test_what_compiles_too_long_is_not_compiled_to_find_out():
    seconds = {"step": 1.0, "chunk": 0.3, "fused": 0.01}
    candidates = expected((1.0, 1.0), (4.0, 0.3), (COMPILE_BUDGET + 1, 0.01))
    winner, prepared, verdict = run_contest("step", 10**9, candidates, USUAL, seconds)
    assert (winner, prepared) == ("chunk", ["step", "chunk"])
    assert "to compile" in verdict.skipped["fused"]


def test_step_is_timed_where_it_may_win_if_it_was_not_compiled():
    machine = Machine(USUAL, {"step": 0.05, "chunk": 0.3, "fused": 0.1})
    verdict = contest("fused", expected((1.0, 0.5), (4.0, 0.3), (2.0, 0.1)), machine, 1000, ())
    assert machine.prepared == ["fused"]
    assert set(verdict.skipped) == {"step", "chunk of 8"}
    contest("fused", expected((1.0, 0.05), (4.0, 0.3), (2.0, 0.1)), machine, 1000, ())
    assert machine.prepared == ["fused", "fused", "step"]


def test_expectations_are_scaled_by_this_machine():
    """A machine on which single steps take ten times what was expected: a chunk is tried there."""
    candidates = expected((1.0, 0.1), (4.0, 0.03), (2.0, 9.0))
    assert "chunk" not in run_contest("step", 50, candidates, USUAL, {"step": 0.1})[1]
    slow = {"step": 1.0, "chunk": 0.3}
    assert run_contest("step", 50, candidates, USUAL, slow)[0] == "chunk"


def test_wrong_gradients_win_nothing():
    seconds = {"step": 1.0, "chunk": 0.01, "fused": 0.5}
    candidates = expected((1.0, 1.0), (4.0, 0.01), (2.0, 0.5))
    winner, _, verdict = run_contest("fused", 1000, candidates, USUAL, seconds, wrong=["chunk"])
    assert winner == "fused"
    assert verdict.skipped == {"chunk of 8": "it is wrong"}


def test_a_survey_times_all_but_the_slow_to_compile():
    machine = Machine(USUAL, {"step": 1.0, "chunk": 0.3, "fused": 0.1})
    verdict = survey(expected((1.0, 1.0), (4.0, 0.3), (70.0, 0.1)), machine, 60.0)
    assert [t.mode for t in verdict.timings] == machine.prepared == ["step", "chunk"]
    assert verdict.skipped == {"fused": "about 70 s to compile"}


def test_known_timings_count_compiling_again():
    timings = [Timing("step", 0, 1.0, 1.0), Timing("fused", 0, 50.0, 0.1)]
    assert decide("fused", timings, iterations=10).mode == "step"
    assert decide("fused", timings, iterations=14).mode == "fused"  # a quarter: the kernels are on disk
    assert decide("fused", timings, iterations=100).mode == "fused"
    assert decide("step", timings, iterations=100).mode == "fused"
    assert pays(9.0, 1.0, 0.1, 10)
    assert not pays(9.1, 1.0, 0.1, 10)


# ---- timing ----


class Clock:
    """Time that passes as steps are run."""

    def __init__(self, launch, step):
        self.now, self.launch, self.step, self.runs = 0.0, launch, step, []

    def __call__(self):
        return self.now

    def run(self, n):
        self.runs.append(n)
        self.now += self.launch + n * self.step


def test_time_is_that_of_many_steps():
    clock = Clock(1e-3, 1e-6)
    found = time_steps(clock.run, 3, 10_000, clock=clock)
    assert found == pytest.approx((1e-3 + 1e-2) / 10_000)
    assert clock.runs[:4] == [3, 12, 48, 192]


@pytest.mark.parametrize("step", [1e-7, 1e-4, 1e-2, 0.1])
def test_timing_takes_a_moment(step):
    clock = Clock(0.0, step)
    time_steps(clock.run, 3, 10**6, clock=clock)
    assert clock.now <= max(1.0, 3 * step)


def test_hopeless_modes_are_given_up():
    clock = Clock(0.0, 1e-2)
    time_steps(clock.run, 3, 10**6, hopeless=1e-3, clock=clock)
    assert clock.runs == [3]


def test_short_horizons():
    clock = Clock(0.0, 1e-3)
    assert time_steps(clock.run, 3, 2, clock=clock) == pytest.approx(1e-3)
    assert set(clock.runs) == {2}


# ---- predictions ----


def test_compiling_is_part_of_the_plan(tuned, chain, monkeypatch):
    plan = ds.plan(chain, 1000, iterations=1000)
    assert plan.mode == "fused"
    assert plan.compile_seconds > 0
    assert f"about {show_seconds(plan.compile_seconds)} expected" in str(plan)
    short = ds.plan(chain, 3, iterations=1)
    assert short.mode == "step"
    assert "more than it wins in 1 gradient(s)" in short.reason
    slow = Costs.compile_seconds
    monkeypatch.setattr(
        Costs, "compile_seconds", lambda *args: (1e6 if "fused" in args else 1.0) * slow(*args)
    )
    assert ds.plan(chain, 1000, iterations=1000).mode == "step"
    assert ds.plan(chain, 1000, mode="fused").mode == "fused"


def test_longer_texts_compile_longer(chain):
    costs = {c.mode: c for c in ds.plan(chain, 100, mode="chunk", chunk=16).candidates}
    short = {c.mode: c for c in ds.plan(chain, 100, mode="chunk", chunk=2).candidates}
    assert costs["chunk"].compile_seconds > 2 * short["chunk"].compile_seconds
    assert costs["chunk"].seconds < short["chunk"].seconds
    assert costs["fused"].seconds < costs["chunk"].seconds < costs["step"].seconds


# ---- in a rollout ----


@pytest.fixture
def made_up(monkeypatch):
    """Let rollouts find seconds that a test sets, by mode."""
    seconds = {"step": 1.0, "chunk": 0.5, "fused": 0.1}
    monkeypatch.setattr(
        tuning.EngineBench, "seconds", lambda self, candidate, hopeless: seconds[candidate.mode]
    )
    monkeypatch.setattr(Costs, "run_seconds", lambda self, mode, chunk=0: seconds[mode])
    return seconds


@pytest.mark.parametrize("winner", ["step", "chunk", "fused"])
def test_rollouts_go_on_in_the_fastest(tuned, chain, made_up, winner):
    made_up[winner] = 0.01
    rollout = ds.Rollout(chain, STEPS, iterations=10_000)
    first = rollout.value_and_grad(KEYS)
    assert rollout.plan.mode == rollout._engine.mode == winner
    assert "measured" in str(rollout.plan)
    assert_near(rollout.value_and_grad(KEYS), first)
    rollout.close()
    # the next one knows from the start, and measures nothing
    again = ds.Rollout(chain, STEPS, iterations=10_000)
    assert again.plan.mode == winner
    assert "measured" in again.plan.reason
    assert not again._engine._open
    assert ds.plan(chain, STEPS, mode="fused").mode == "fused"
    assert_near(again.value_and_grad(KEYS), first)
    again.close()


@pytest.mark.parametrize("fault", ["wrong", "deadly"])
def test_a_mode_that_is_only_tried_does_no_harm(tuned, chain, made_up, fault, monkeypatch):
    made_up["chunk"] = 0.01
    right = chunks.chunk_kernel

    def faulty(*args):
        if fault == "deadly":
            raise GradientError("kernel Chain.pull must compile and run, got a child process that died")
        text = right(*args)
        text.source = text.source.replace("s0 + 1", "s0 + 2")
        return text

    monkeypatch.setattr(chunks, "chunk_kernel", faulty)
    rollout = ds.Rollout(chain, STEPS, iterations=10_000)
    found = rollout.value_and_grad(KEYS)
    assert rollout.plan.mode == "fused"
    assert {"wrong": "gradients differ", "deadly": "a child process that died"}[fault] in rollout.plan.reason
    assert_near(found, ds.Rollout(chain, STEPS, mode="step").value_and_grad(KEYS))


def test_nothing_is_measured_without_need(tuned, chain, monkeypatch):
    monkeypatch.setattr(tuning.EngineBench, "seconds", None)
    for options in ({"mode": "fused"}, {"mode": "chunk", "chunk": 2}, {"mode": "step"}):
        assert not ds.plan(chain, STEPS, **options).tunable
    monkeypatch.setattr(ds.runtime._runtime, "info", dataclasses.replace(ds.runtime.info(), tune=False))
    rollout = ds.Rollout(chain, STEPS)
    rollout.value_and_grad(KEYS)
    assert rollout.plan.measured == ()
    assert not tuned.exists()


def test_real_measuring(tuned, chain):
    rollout = ds.Rollout(chain, STEPS, iterations=10**6)
    want = ds.Rollout(chain, STEPS, mode="step").value_and_grad(KEYS)
    the_pool().release()  # with the kernels of mode step
    assert_near(rollout.value_and_grad(KEYS), want)
    plan = rollout.plan
    # machine code of mode `step` is made to be timed where it may win, not only to be compared with
    assert ({"fused"} if ds.runtime.info().native else {"fused", "step"}) <= {t.mode for t in plan.measured}
    assert all(t.seconds > 0 and t.compile_seconds > 0 for t in plan.measured)
    assert plan.compiled >= sum(t.compile_seconds for t in plan.measured) * 0.9
    assert_near(rollout.value_and_grad(KEYS), want)
    assert json.loads(tuned.read_text())["timings"]


def test_the_table_of_all_modes(tuned, chain):
    rollout = ds.Rollout(chain, STEPS, iterations=10**6)
    table = compare_modes(rollout)
    assert [t.mode for t in table.timings] == ["step", "chunk", "fused"]
    text = str(table)
    assert text.splitlines()[0].split() == ["mode", "compile", "gradient", "ratio", "memory"]
    assert text.count("<- chosen") == 1
    assert table.plan.mode == decide("fused", table.timings, 10**6).mode
    assert all(size > 0 for size in table.bytes)
    want = ds.Rollout(chain, STEPS, mode="step").value_and_grad(KEYS)
    assert_near(rollout.value_and_grad(KEYS), want)
    forced = compare_modes(ds.Rollout(chain, STEPS, mode="step"))
    assert forced.plan.reason == "asked for"
    assert "step: asked for" in str(forced)


# ---- what is remembered ----


TIMINGS = (Timing("step", 0, 1.0, 0.5), Timing("chunk", 8, 2.0, 0.25))


def test_the_memory_outlives_the_process(tmp_path):
    file = tmp_path / "a" / "tuning.json"
    Memo(file).put("key", TIMINGS)
    assert Memo(file).get("key") == TIMINGS
    assert Memo(file).get("other") == ()
    assert [p.name for p in file.parent.iterdir()] == ["tuning.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 99, "timings": {"key": [["step", 0, 1.0, 0.5]]}}',
        '{"format": 1, "timings": []}',
        '{"format": 1, "timings": {"key": [["fast", 0, 1.0, 0.5]]}}',
        '{"format": 1, "timings": {"key": [["step", 0, 1.0, 0]]}}',
        '{"format": 1, "timings": {"key": [["step", 0, 1.0, NaN]]}}',
        '{"format": 1, "timings": {"key": [["step", 0, 1.0, 1' + "0" * 400 + "]]}}",
        '{"format": 1, "timings": {"key": [["step", 0, 1.0]]}}',
        '{"format": 1, "timings": {"key": [["chunk", 0, 1.0, 0.5]]}}',
        '{"format": 1, "timings": {"key": [["step", 0, 1.0, 0.5], 3]}}',
        '{"format": 1, "timings": {"key": {"step": 1}}}',
        "\x00\xff",
        "[" * 100_000,
    ],
)
def test_a_damaged_memory_is_ignored(tmp_path, text):
    file = tmp_path / "tuning.json"
    file.write_text(text, encoding="latin-1")
    assert Memo(file).get("key") == ()
    Memo(file).put("key", TIMINGS)
    assert Memo(file).get("key") == TIMINGS


def test_the_memory_is_bounded_and_may_be_read_only(tmp_path):
    file = tmp_path / "tuning.json"
    memo = Memo(file)
    memo.put("first", TIMINGS)
    known = json.loads(file.read_text())
    known["timings"] = {f"key {k}": known["timings"]["first"] for k in range(600)}
    file.write_text(json.dumps(known))
    memo.put("last", TIMINGS)
    kept = json.loads(file.read_text())["timings"]
    assert len(kept) == 512
    assert list(kept)[-1] == "last"
    folder = tmp_path / "tuning.json" / "inside a file"
    Memo(folder).put("key", TIMINGS)
    assert Memo(folder).get("key") == ()


def test_keys_tell_programs_and_sizes_apart(runtime, chain):
    def key(sim, steps, info=runtime, **options):
        rollout = ds.Rollout(sim, steps, **options)
        found = key_of(rollout._engine.stages, info, rollout._engine.plan)
        rollout.close()
        return found

    mine = key(chain, 100)
    assert mine == key(Chain(), 100) == key(chain, 101)
    others = [
        key(chain, 200),
        key(Chain(6), 100),
        key(chain, 100, worlds=2),
        key(chain, 100, window=10),
        key(chain, 100, iterations=10_000),
        key(chain, 100, dataclasses.replace(runtime, threads=7)),
        key(chain, 100, dataclasses.replace(runtime, precision=32)),
    ]
    assert mine not in others
    assert len(set(others)) == len(others)


def test_plans_of_known_programs_fit_their_window(tuned, chain):
    plan = ds.plan(chain, 4)
    known = decided(plan, Verdict((Timing("chunk", 64, 1.0, 0.1), Timing("step", 0, 1.0, 1.0))))
    assert (known.mode, known.chunk) == ("chunk", 4)


# ---- training runs ----


class Stop(Progress):
    """Press Ctrl-C in the second iteration."""

    def update(self, done, cost, best, grad_norm):
        if done == 2:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.cpu
def test_a_run_that_goes_on_keeps_its_mode(runtime, tuned, made_up, tmp_path, monkeypatch):
    """Another machine's timings, or another number of iterations, would choose another mode."""
    init = ds.runtime.init
    monkeypatch.setattr(ds.runtime, "init", lambda **options: init(**options, tune=True))
    made_up.update(step=1000.0, chunk=10.0, fused=100.0)
    run = runs.RunOptions(steps=4, iterations=3, precision=64, threads=1, guard=False)
    settings = runs.Settings("mass_spring", run, {"name": "sgd", "lr": 0.01}, MassSpringTask.Config().plain())
    monkeypatch.setattr(
        MassSpringTask, "animate", lambda *args: [one.path.write_bytes(b"") for one in args[1]]
    )
    assert runs.train(settings, tmp_path / "run", Stop()).status == "stopped"
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["plan"]["mode"] == "chunk"
    made_up.update(chunk=500.0, fused=1.0)
    tuned.unlink()
    assert runs.resume(tmp_path / "run", Progress()).status == "finished"
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())["plan"]
    assert plan["mode"] == "chunk"
    assert "asked for" in plan["text"]
    with np.load(tmp_path / "run" / "state.npz") as state:
        assert (str(state["mode"]), int(state["chunk"])) == ("chunk", plan["chunk"])


# ---- how it is turned off ----


@pytest.mark.parametrize(("given", "tune"), [("0", False), ("1", True), (None, True)])
def test_the_environment(monkeypatch, given, tune):
    if given is None:
        monkeypatch.delenv("DIFFSIM_TUNE")
    else:
        monkeypatch.setenv("DIFFSIM_TUNE", given)
    assert ds.runtime._tuned(None) is tune
    assert ds.runtime._tuned(not tune) is not tune


def test_bad_switches(monkeypatch):
    with pytest.raises(ConfigError, match="tune must be True, False or None, got 1"):
        ds.runtime._tuned(1)
    monkeypatch.setenv("DIFFSIM_TUNE", "yes")
    with pytest.raises(ConfigError, match="DIFFSIM_TUNE must be 0 or 1, got 'yes'"):
        ds.runtime._tuned(None)


# ---- the command line ----


def cli(*words):
    return subprocess.run(
        [sys.executable, "-m", "diffsim", *words], capture_output=True, text=True, check=False, timeout=250
    )


@pytest.mark.cpu
def test_measuring_from_the_command_line(tuned):
    words = "plan mass_spring --measure --steps 3 --no-guard --threads 1 --chunk 1 --worlds 2 --memory 64MiB"
    done = cli(*words.split())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["step", "chunk", "fused"]
    assert lines[2].endswith("<- chosen")
    assert lines[-1] == "chunk: asked for"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mode quick", "--mode must be one of auto, step, chunk, fused, got 'quick'"),
        ("--chunk 0", "--chunk must be"),
        ("--memory 10B", "memory must hold"),
    ],
)
def test_bad_words(words, message):
    done = cli("plan", "mass_spring", "--measure", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_numbers_of_text():
    times = {12.34: "12.3 s", 0.5: "500 ms", 7.1e-3: "7.1 ms", 2e-6: "2 us", 144.0: "2.4 min"}
    assert {s: show_seconds(s) for s in times} == times
