"""Mode `chunk`: several steps in one launch compute what single steps do."""

import numpy as np
import pytest
import taichi as ti
from chunk_programs import KEYS, Chain, assert_near

import diffsim as ds
from diffsim.compiler.codegen import stepwise
from diffsim.compiler.ir import Accumulate, Block, Buffer, Const, For, Let, Ref, Store, Value
from diffsim.engine import chunk as chunks
from diffsim.engine import launch
from diffsim.engine.pool import the_pool
from diffsim.errors import ConfigError, StateError
from diffsim.plan.costs import Costs
from diffsim.plan.modes import COMPILE_BUDGET


@pytest.fixture(scope="module")
def chain(runtime):
    return Chain()


def results(sim, steps, **options):
    rollout = ds.Rollout(sim, steps, **options)
    rollout._engine._verified = 2  # the comparison with single steps is what these tests do themselves
    found = rollout.value_and_grad(KEYS)
    rollout.close()
    return found


@pytest.fixture(scope="module")
def reference(chain):
    """Cost and gradients of single steps, by horizon."""
    known = {}

    def of(steps):
        if steps not in known:
            known[steps] = results(chain, steps, mode="step")
        return known[steps]

    return of


@pytest.mark.parametrize(
    ("steps", "window", "length"),
    [(7, None, 3), (7, None, 20), (10, 4, 3), (9, 2, 5), (8, 4, 2), (1, None, 4)],
)
def test_chunks_are_single_steps(chain, reference, steps, window, length):
    assert_near(results(chain, steps, mode="chunk", chunk=length, window=window), reference(steps))


def test_value_alone(chain, reference):
    rollout = ds.Rollout(chain, 7, chunk=3)
    assert rollout.plan.mode == "chunk"
    assert rollout.value() == pytest.approx(reference(7)[0], rel=1e-12)
    np.testing.assert_allclose(
        rollout.trajectory(chain.x), ds.Rollout(chain, 7, mode="step").trajectory(chain.x), rtol=1e-12
    )


def test_finite_differences_and_health(chain):
    rollout = ds.Rollout(chain, 7, mode="chunk", chunk=3, window=5)
    assert rollout.check_grad(KEYS, directions=2).passed
    single = ds.Rollout(chain, 7, mode="step").health(KEYS)
    np.testing.assert_allclose(rollout.health(KEYS).adjoint_norms, single.adjoint_norms, rtol=1e-10)


def test_nan_is_found_by_single_steps(chain):
    rollout = ds.Rollout(chain, 7, mode="chunk", chunk=3)
    assert_near(rollout.value_and_grad(KEYS, debug="nan"), rollout.value_and_grad(KEYS))


class Walk(ds.Simulator):
    """An index that leaves its field in step 5."""

    def __init__(self):
        self.x = ds.State(ds.real, 4, init=np.ones(4))
        self.k = ds.Param(np.array([0.5]))
        self.place = ds.Constant(np.array([0, 1, 2, 3, 0, 7, 1, 2]))

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            self.x[t + 1, i] = self.k[0] * self.x[t, i] + self.x[t, self.place[t * (self.k[0] > 0.0)]]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def last(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += self.x[t, i]

    def terminal_cost(self, t):
        self.last(t)


@pytest.mark.compilers
@pytest.mark.parametrize("worlds", [1, 2])
def test_alarms_tell_the_step(runtime, worlds):
    rollout = ds.Rollout(Walk(), 8, worlds=worlds, mode="chunk", chunk=3)
    with pytest.raises(StateError, match=r"must lie in 0 \.\. 3, got 7 at step 5"):
        rollout.value_and_grad()


# ---- what is printed, and how it is launched ----


class Watcher:
    """A guard that notes what it is told of."""

    def __init__(self):
        self.announced, self.tried = [], []

    def announce(self, text, storage, brief):
        self.announced.append(text)

    def attempt(self, text, storage, args, native, brief=False):
        self.tried.append(text.name)

    def remember(self, trial):
        pass


@pytest.mark.parametrize(("steps", "names"), [(6, {"3"}), (7, {"3", "1"})])
def test_the_guard_sees_each_text_before_it_runs(chain, monkeypatch, steps, names):
    watcher = Watcher()
    the_pool().release()  # with what earlier tests have compiled
    monkeypatch.setattr(launch, "the_guard", lambda: watcher)
    rollout = ds.Rollout(chain, steps, mode="chunk", chunk=3)
    rollout._engine._verified = 2
    rollout.value_and_grad(KEYS)
    tried = {name for name in watcher.tried if "chunk" in name}
    assert tried == {f"{phase}_chunk{n}" for phase in ("step", "step_adj") for n in names}
    assert tried <= {text.name for text in watcher.announced}
    text = next(t for t in watcher.announced if t.name == "step_chunk3")
    assert text.program == "Chain"
    assert [origin.split()[0] for origin in text.origins] == ["Chain.pull", "Chain.move", "Chain.along"]


def test_launches(chain, monkeypatch):
    rollout = ds.Rollout(chain, 11, mode="chunk", chunk=4)
    rollout.value_and_grad(KEYS)
    executor, calls = rollout._engine.executor, []
    for (phase, length), launcher in executor._chunks.items():
        monkeypatch.setitem(
            executor._chunks,
            (phase, length),
            lambda t, s, what=(phase, length): calls.append((*what, t, s)),
        )
        assert callable(launcher)
    executor.forward(0, 11, True)
    executor.backward(0, 11, True)
    starts = [(1, 0), (1, 1), (1, 2), (4, 3), (4, 7)]
    forward = [("step", length, t, t) for length, t in starts]
    assert calls == forward + [("step_adj", length, t, t) for length, t in starts[::-1]]


def test_windows_of_whole_chunks_launch_the_same(chain, monkeypatch):
    """So that a step rounds the same way however many windows there are."""

    def launches(**options):
        rollout, calls = ds.Rollout(chain, 11, mode="chunk", chunk=2, **options), set()
        executor = rollout._engine.executor
        executor.announce(gradients=True)
        for key in executor._chunks:
            monkeypatch.setitem(executor._chunks, key, lambda t, s, key=key: calls.add((*key, t)))
        rollout._engine._verified = 2
        rollout.value_and_grad(KEYS)
        rollout.close()
        return calls

    whole = launches()
    assert ("step", 1, 0) in whole
    assert ("step", 2, 1) in whole
    assert launches(window=4) == launches(window=8) == whole


def test_a_mistake_in_a_chunk_is_noticed(chain, monkeypatch, reference):
    right = chunks.chunk_kernel

    def forgetful(stages, layout, real, threads, phase, length, *more):
        text = right(stages, layout, real, threads, phase, length, *more)
        if phase == "step_adj" and length == 3:
            text.source = text.source.replace("s0 + 1", "s0 + 2")
        return text

    monkeypatch.setattr(chunks, "chunk_kernel", forgetful)
    rollout = ds.Rollout(chain, 7, mode="chunk", chunk=3)
    with pytest.warns(UserWarning, match="'chunk' gave other results than 'step' on the first [47] steps"):
        found = rollout.value_and_grad(KEYS)
    assert_near(found, reference(7))
    assert (rollout.plan.mode, rollout.plan.chunk) == ("step", 0)


# ---- how long a chunk is ----


def test_plans_say_the_length(chain):
    plan = ds.plan(chain, 100, mode="chunk", chunk=8)
    assert plan.chunk == 8
    assert "chunk of 8 step(s) a launch (asked for)" in str(plan)
    assert ds.plan(chain, 5, mode="chunk", chunk=8).chunk == 5
    assert ds.plan(chain, 5, chunk=2).mode == "chunk"


@pytest.mark.parametrize("length", [0, -1, 1.5, True, "4"])
def test_bad_lengths(chain, length):
    with pytest.raises(ConfigError, match="chunk must be"):
        ds.plan(chain, 5, mode="chunk", chunk=length)


def test_lengths_keep_to_the_compile_budget(chain, monkeypatch):
    lengths = [ds.plan(chain, 1000, mode="chunk", iterations=10**k).chunk for k in range(8)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 1
    longest = ds.plan(chain, 1000, mode="chunk", iterations=10**7)
    mine = next(c for c in longest.candidates if c.mode == "chunk")
    assert mine.compile_seconds <= COMPILE_BUDGET
    assert longest.chunk > 1
    slow = Costs.compile_seconds
    monkeypatch.setattr(Costs, "compile_seconds", lambda *args: 5 * slow(*args))
    assert ds.plan(chain, 1000, mode="chunk", iterations=10**7).chunk < longest.chunk
    monkeypatch.setattr(Costs, "compile_seconds", lambda *args: 1000 * slow(*args))
    assert ds.plan(chain, 1000, mode="chunk", iterations=10**7).chunk == 1


def test_windows_are_whole_chunks(chain):
    for window in (6, 7, 8):
        assert window % ds.plan(chain, 100, mode="chunk", iterations=10**6, window=window).chunk == 0


# ---- loops that threads share ----


@pytest.mark.parametrize("threads", [1, 2], scope="module")
@pytest.mark.parametrize("share", [True, False])
def test_shared_loops(runtime, threads, share, monkeypatch):
    monkeypatch.setattr(stepwise, "worth_sharing", lambda *args: share)
    sim = Chain(n=3000)
    want = results(sim, 5, mode="fused")
    assert_near(results(sim, 5, mode="chunk", chunk=2), want, 1e-10)
    assert_near(results(sim, 5, mode="step"), want, 1e-10)


def test_what_isworth_sharing():
    def loop(n, body):
        return For(Value("i32"), Const(0, "i32"), Const(n, "i32"), Block(body))

    cheap = [Store(None, None)] * 10
    sums = [Accumulate(None, None)] * 10
    worth = stepwise.worth_sharing
    assert not worth(Block([loop(1000, cheap)]), 1, stepwise.Threads(8))
    assert worth(Block([loop(10**6, cheap)]), 1, stepwise.Threads(8))
    assert not worth(Block([loop(10**6, sums)]), 1, stepwise.Threads(2))
    assert not worth(Block([loop(10**6, cheap)]), 1, stepwise.Threads(1))
    assert worth(Block([loop(1000, cheap)]), 1000, stepwise.Threads(8))


def test_what_threads_of_machine_code_share():
    """They wake ten times faster, and sums cost as much as the elements that are added to."""

    def loop(n, target, own):
        index, buffer = Value("i32"), Buffer("b", "scratch", "f64", (target,))
        body = [Let(Value("f64"), "add", ())] * 10
        place = Ref(buffer, (index if own else Value("i32"),))
        body += [Accumulate(place, Const(1.0, "f64"))]
        ends = Const(0, "i32"), Const(n, "i32")
        return Block([For(index, *ends, Block(body))])

    native, taichi = stepwise.Threads(2, native=True), stepwise.Threads(2)
    worth = stepwise.worth_sharing
    assert worth(loop(20_000, 10, False), 1, native)
    assert not worth(loop(20_000, 10, False), 1, taichi)
    assert not worth(loop(5000, 10, False), 1, native)
    assert not worth(loop(20_000, 20_000, False), 1, native)
    assert worth(loop(20_000, 20_000, True), 1, native)
    assert not worth(loop(20_000, 10, False), 1, stepwise.Threads(1, native=True))
