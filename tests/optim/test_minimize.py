"""What minimize leaves where it ends early: the best parameters, all numbers up to there, a state to go on.

No `from __future__ import annotations`: Taichi reads the annotations of the kernels below.
"""

import functools
import math
import os
import pickle
import signal
from typing import Any

import numpy as np
import pytest

import diffsim as ds
from diffsim._taichi import ti
from diffsim.errors import (
    ConfigError,
    GradientNotFiniteError,
    NotFiniteError,
    StateError,
    StateNotFiniteError,
)
from diffsim.optim import SGD, Adam, HostMemory, OptimizerRun, Result

START = 0.9


class Dome(ds.Simulator):
    """The cost -sqrt(1 - p^2), whose minimum is at 0 and which nobody can compute beyond 1."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real, 1)
        self.p = ds.Param(np.array(START))
        self.scale = 1.0

    @ti.kernel
    def keep(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(1):
            self.x[t + 1, i] = self.x[t, i] + self.p[None] * self.scale

    @ti.kernel
    def dome(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(1):
            self.cost[None] += -ti.sqrt(1.0 - self.x[t, i] ** 2)

    def step(self, t: Any) -> None:
        self.keep(t)

    def terminal_cost(self, t: Any) -> None:
        self.dome(t)


def cost(p: float) -> float:
    return -math.sqrt(1.0 - p**2)


def descended(lr: float, count: int) -> list[float]:
    """The parameters before each iteration of plain descent with halvings, by the rule's own words."""
    p, seen, best = START, [], START
    while len(seen) < count:
        if abs(p) > 1.0:
            lr, p = lr / 2, best
        seen.append(p)
        best = min(best, p, key=cost)
        p -= lr * p / math.sqrt(1.0 - p**2)
    return seen


@pytest.fixture(scope="module")
def dome(runtime: Any) -> Any:
    rollout = ds.Rollout(Dome(), steps=1)
    yield rollout
    rollout.close()


@pytest.fixture(autouse=True)
def start(dome: Any) -> None:
    dome.sim.p.set(START)


def assert_same(a: Result, b: Result) -> None:
    """Two results end at the same place, to the last bit."""
    assert a.state.keys() == b.state.keys()
    for key, array in a.state.items():
        np.testing.assert_array_equal(array, b.state[key], err_msg=key)


# ---- what is not finite ----


def test_an_error_carries_what_was_found(dome: Any) -> None:
    with pytest.raises(StateNotFiniteError, match="the cost must be finite") as caught:
        ds.minimize(dome, optimizer=SGD(lr=1.0), iterations=9)
    result = caught.value.result  # type: ignore[attr-defined]
    assert isinstance(caught.value, (StateError, NotFiniteError))
    assert result.costs.tolist() == pytest.approx([cost(START)])
    assert (result.best_iteration, float(result.best["p"])) == (0, START)
    assert result.last["p"] == pytest.approx(START - START / math.sqrt(1 - START**2))
    assert dome.sim.p.numpy() == START
    assert result.ended.startswith("StateNotFiniteError: ")
    assert (
        repr(result) == f"<Result: cost -0.4359 -> -0.4359 in 1 iterations, {result.seconds[-1]:.2g} s, "
        f"ended by {result.ended}>"
    )


def test_stop_returns_it(dome: Any) -> None:
    result = ds.minimize(dome, optimizer=SGD(lr=1.0), iterations=9, on_nonfinite="stop")
    assert len(result.costs) == len(result.grad_norms) == len(result.seconds) == 1
    assert dome.sim.p.numpy() == START
    assert "StateNotFiniteError" in result.ended


def test_nothing_found_is_a_result_too(dome: Any) -> None:
    dome.sim.p.set(2.0)
    for answer in ("raise", "halve"):
        with pytest.raises(StateError, match="the cost must be finite") as caught:
            ds.minimize(dome, on_nonfinite=answer)
        assert caught.value.result.best_iteration == -1  # type: ignore[attr-defined]
    result = ds.minimize(dome, on_nonfinite="stop")
    assert (len(result.costs), result.best_cost, result.best_iteration) == (0, math.inf, -1)
    assert result.best["p"] == result.last["p"] == dome.sim.p.numpy() == 2.0
    assert "no iterations" in repr(result)


@pytest.mark.parametrize("lr", [8.0, 1.0, 0.1])
def test_halving_finds_a_step_length_that_works(dome: Any, lr: float) -> None:
    want = descended(lr, 12)
    result = ds.minimize(dome, optimizer=SGD(lr=lr), iterations=12, on_nonfinite="halve")
    np.testing.assert_allclose(result.costs, [cost(p) for p in want], rtol=1e-12)
    assert result.halvings == {8.0: 4, 1.0: 1, 0.1: 0}[lr]
    assert result.best_cost < -0.97
    assert ("halved" in repr(result)) == (result.halvings > 0)


@pytest.mark.cpu  # bit-equality
@pytest.mark.parametrize("rule", [SGD(lr=4.0, momentum=0.5), Adam(lr=1.5)], ids=str)
def test_a_run_with_halvings_is_resumed_exactly(dome: Any, rule: Any) -> None:
    whole = ds.minimize(dome, optimizer=rule, iterations=10, on_nonfinite="halve")
    assert whole.halvings > 0
    for stop in (1, 2, 3, 5):
        dome.sim.p.set(START)
        first = ds.minimize(dome, optimizer=rule, iterations=stop, on_nonfinite="halve")
        dome.sim.p.set(0.1)
        second = ds.minimize(
            dome, optimizer=rule, iterations=10 - stop, state=first.state, on_nonfinite="halve"
        )
        np.testing.assert_array_equal(np.concatenate([first.costs, second.costs]), whole.costs)
        assert_same(second, whole)
    dome.sim.p.set(START)  # one that was stopped for it goes on where it failed
    first = ds.minimize(dome, optimizer=rule, iterations=10, on_nonfinite="stop")
    left = 10 - len(first.costs)
    second = ds.minimize(dome, optimizer=rule, iterations=left, state=first.state, on_nonfinite="halve")
    assert_same(second, whole)


def test_halving_forgets_the_velocity(dome: Any) -> None:
    """A velocity that led beyond the edge is not kept: the first step back is the gradient's alone."""
    with SGD(lr=0.5, momentum=0.95).start(dome) as run:
        run.step()
        run.step()
        with pytest.raises(NotFiniteError):
            run.step()
        best = float(run.best()["p"])
        run.halve()
        assert (float(run.last()["p"]), run.halvings) == (best, 1)
        run.step()
        assert run.last()["p"] == pytest.approx(best - 0.25 * best / math.sqrt(1.0 - best**2), rel=1e-12)


def test_halving_gives_up(dome: Any) -> None:
    """Steps that lead beyond the edge however short they are: 0.9 is best, and all else is refused."""
    dome.sim.p.set(START)

    def away(*_: object) -> None:
        dome.sim.p.set(2.0)

    with pytest.raises(StateError, match="halved 20 times must lead to finite numbers") as caught:
        ds.minimize(dome, iterations=99, callback=away, on_nonfinite="halve")
    result = caught.value.result  # type: ignore[attr-defined]
    assert (result.halvings, len(result.costs)) == (20, 21)
    assert dome.sim.p.numpy() == START


def test_a_gradient_that_is_not_finite_counts_too(dome: Any) -> None:
    dome.sim.p.set(1.0)  # the cost is 0, its slope infinite
    with pytest.raises(GradientNotFiniteError, match="the gradient of p must be finite"):
        ds.minimize(dome)
    assert ds.minimize(dome, on_nonfinite="stop").ended.startswith("GradientNotFiniteError")


def test_there_is_no_way_back_before_there_is_a_best(dome: Any) -> None:
    with SGD(lr=0.1).start(dome) as run:
        for call in (run.halve, run.go_back):
            with pytest.raises(StateError, match="must have a best iteration to go back to, got none"):
                call()


def test_other_answers_are_refused(dome: Any) -> None:
    with pytest.raises(ConfigError, match="on_nonfinite must be one of raise, stop, halve, got 'ignore'"):
        ds.minimize(dome, on_nonfinite="ignore")


# ---- Ctrl-C and callbacks that raise ----


class Own(Exception):
    """An error with an attribute of the same name."""

    result = "mine"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError, SystemExit, ConfigError, Own])
def test_nothing_is_lost_where_a_callback_raises(dome: Any, kind: type[BaseException]) -> None:
    rule = SGD(lr=0.2, momentum=0.8)  # the third iteration is the best
    whole = ds.minimize(dome, optimizer=rule, iterations=8)
    assert whole.best_iteration == 2
    dome.sim.p.set(START)

    def callback(iteration: int) -> None:
        if iteration == 5:
            raise kind("enough")

    with pytest.raises(kind) as caught:
        ds.minimize(dome, optimizer=rule, iterations=8, callback=callback)
    assert dome.sim.p.numpy() == whole.best["p"]
    if kind is Own:
        assert caught.value.result == "mine"  # type: ignore[attr-defined]
        return
    result = caught.value.result  # type: ignore[attr-defined]
    np.testing.assert_array_equal(result.costs, whole.costs[:6])
    assert result.ended == f"{kind.__name__}: enough"
    second = ds.minimize(dome, optimizer=rule, iterations=2, state=result.state)
    assert_same(second, whole)


@pytest.mark.cpu
@pytest.mark.parametrize("place", ["forward", "backward", "update", "swap"])
def test_ctrl_c_at_any_moment_leaves_whole_iterations(dome: Any, place: str, monkeypatch: Any) -> None:
    """A signal in the middle of an evaluation ends it; in the middle of a change it waits for its end."""
    rule = Adam(lr=0.1)
    whole = ds.minimize(dome, optimizer=rule, iterations=6)
    dome.sim.p.set(START)
    with rule.start(dome) as run:
        memory = run._memory  # the next run makes its own, or borrows this one
        memory = type(memory) if isinstance(memory, HostMemory) else memory
    engine = dome._engine
    owner = {"forward": engine._outcome, "backward": engine}.get(place, memory)
    calls = [0]

    def interrupted(*arguments: Any) -> Any:
        found = real(*arguments)
        calls[0] += 1
        if calls[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    real = getattr(owner, place)
    monkeypatch.setattr(owner, place, interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        ds.minimize(dome, optimizer=rule, iterations=6)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = caught.value.result  # type: ignore[attr-defined]
    done = len(result.costs)
    assert done == {"forward": 2, "backward": 2, "update": 3, "swap": 6}[place]
    np.testing.assert_array_equal(result.costs, whole.costs[:done])
    assert dome.sim.p.numpy() == result.best["p"]
    if done < 6:
        assert_same(ds.minimize(dome, optimizer=rule, iterations=6 - done, state=result.state), whole)
    else:
        assert_same(result, whole)


def test_a_slip_in_the_callback_loses_nothing(dome: Any) -> None:
    """What the rollout holds against its simulator does not keep anyone from reading the result."""

    def callback(iteration: int) -> None:
        if iteration == 2:
            dome.sim.scale = 2.0

    try:
        with pytest.raises(StateError, match="must stay as kernels saw it") as caught:
            ds.minimize(dome, optimizer=SGD(lr=0.1), iterations=5, callback=callback)
    finally:
        dome.sim.scale = 1.0
    assert len(caught.value.result.costs) == 3  # type: ignore[attr-defined]
    assert dome.sim.p.numpy() == caught.value.result.best["p"]  # type: ignore[attr-defined]


def test_a_rollout_that_was_closed_keeps_its_parameters(runtime: Any) -> None:
    rollout = ds.Rollout(Dome(), steps=1)
    with pytest.raises(StateError, match="the rollout must be open") as caught:
        ds.minimize(rollout, callback=lambda: rollout.close())
    assert not hasattr(caught.value, "result")
    assert rollout.sim.p.numpy() == pytest.approx(START - 1e-2)


# ---- worlds with parameters of their own ----


class Domes(ds.Simulator):
    """Each world climbs its own dome, by a thrust of its own and a wind that is shared."""

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, 2)
        self.p = ds.Param(ds.vec2, 2, per_world=True)
        self.u = ds.Control(ds.real, per_world=True)
        self.wind = ds.Param(np.array(0.0))

    @ti.kernel
    def keep(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(2):
            self.x[t + 1, i] = self.x[t, i] + 0.5 * self.p[i] * (1.0 + self.u[t]) + self.wind[None]

    @ti.kernel
    def dome(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(2):
            self.cost[None] += -ti.sqrt(2.0 - self.x[t, i].norm_sqr())

    def step(self, t: Any) -> None:
        self.keep(t)

    def terminal_cost(self, t: Any) -> None:
        self.dome(t)


@pytest.fixture(scope="module")
def domes(runtime: Any) -> Any:
    rollout = ds.Rollout(Domes(), steps=2, worlds=3)
    yield rollout
    rollout.close()


def spread(sim: Domes) -> None:
    rng = np.random.default_rng(3)
    sim.p.set(np.array([0.9, 0.4, 0.05])[:, None, None] * rng.uniform(0.8, 1.0, (3, 2, 2)))
    sim.u.set(np.zeros((3, 2)))
    sim.wind.set(0.0)


def test_each_world_keeps_its_own_best(domes: Any) -> None:
    sim, seen = domes.sim, []
    spread(sim)
    rule = SGD(lr=0.1, momentum=0.8)
    with rule.start(domes, [sim.p, sim.u]) as run:
        for _ in range(12):
            seen.append(run.last())
            run.step()
        state = run.state()
    spread(sim)
    result = ds.minimize(domes, [sim.p, sim.u], rule, 12)
    best = np.argmin(result.costs, axis=0)
    assert len(set(best.tolist())) == 3  # or nothing is shown
    assert result.best_iteration.tolist() == best.tolist()
    np.testing.assert_array_equal(result.best_cost, result.costs.min(axis=0))
    for key in ("p", "u"):
        for world, k in enumerate(best):
            np.testing.assert_array_equal(result.best[key][world], seen[k][key][world], err_msg=key)
    result.restore()
    np.testing.assert_allclose(domes.value(), result.best_cost, rtol=1e-14)
    assert "-> " + f"{result.best_cost.sum():.4g}" in repr(result)
    assert "3 worlds" in repr(result)
    np.testing.assert_array_equal(result.state["best_iteration"], state["best_iteration"])
    spread(sim)
    first = ds.minimize(domes, [sim.p, sim.u], rule, 5)
    second = ds.minimize(domes, [sim.p, sim.u], rule, 7, state=first.state)
    np.testing.assert_allclose(second.best_cost, result.best_cost, rtol=1e-13)
    assert second.best_iteration.tolist() == result.best_iteration.tolist()


def test_worlds_that_share_a_parameter_have_one_best(domes: Any) -> None:
    """A thrust is at its best beside the wind that it was tried with."""
    spread(domes.sim)
    result = ds.minimize(domes, optimizer=SGD(lr=0.04, momentum=0.9), iterations=12)
    total = result.costs.sum(axis=1)
    assert (result.best_iteration, result.best_cost) == (total.argmin(), total.min())
    assert 0 < result.best_iteration < 11  # or nothing is shown
    assert isinstance(result.best_cost, float)
    result.restore()
    assert np.sum(domes.value()) == pytest.approx(result.best_cost, rel=1e-14)


def test_worlds_go_back_each_to_its_own(domes: Any) -> None:
    sim = domes.sim
    spread(sim)
    result = ds.minimize(domes, [sim.p], SGD(lr=1.5, momentum=0.9), 12, on_nonfinite="halve")
    assert result.halvings > 0
    assert np.all(result.best_cost <= result.costs[0])
    np.testing.assert_array_equal(result.best_cost, result.costs.min(axis=0))


def test_worlds_beside_each_other_are_optimised_as_others_are(runtime: Any) -> None:
    """Machine code of mode `fused` has the values of eight worlds beside each other in memory."""
    found = []
    for mode in ("fused", "step"):
        sim, rng = Domes(), np.random.default_rng(3)
        with ds.Rollout(sim, steps=2, worlds=8, mode=mode) as rollout:
            sim.p.set(np.linspace(0.05, 0.9, 8)[:, None, None] * rng.uniform(0.8, 1.0, (8, 2, 2)))
            with Adam(lr=0.3).start(rollout, [sim.p, sim.u]) as run:
                run.step()
                state = run.state()
            rest = ds.minimize(rollout, [sim.p, sim.u], Adam(lr=1.5), 7, state=state, on_nonfinite="halve")
            assert rest.halvings > 0
            rest.restore()
            found.append([rest.costs, rest.best_cost, rollout.value(), rest.last["p"], sim.p.numpy()])
    for fused, step in zip(*found, strict=True):
        np.testing.assert_allclose(fused, step, rtol=1e-12, atol=1e-13)


# ---- the way back ----


def test_restore(dome: Any) -> None:
    result = ds.minimize(dome, optimizer=SGD(lr=0.2, momentum=0.8), iterations=8)
    assert result.best["p"] != result.last["p"]
    assert dome.sim.p.numpy() == result.last["p"]
    result.restore()
    assert dome.sim.p.numpy() == result.best["p"]
    assert dome.value() == pytest.approx(result.best_cost, rel=1e-14)
    result.restore("last")
    assert dome.sim.p.numpy() == result.last["p"]
    with pytest.raises(ConfigError, match="restore must be told best or last, got 'first'"):
        result.restore("first")
    copy = pickle.loads(pickle.dumps(result))
    assert copy.best == result.best
    with pytest.raises(StateError, match="must come from a run of this process"):
        copy.restore()


# ---- callbacks ----


class Recorder:
    """Callbacks of all forms, which note what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def none(self) -> None:
        self.calls.append(())

    def one(self, iteration: int) -> None:
        self.calls.append((iteration,))

    def two(self, k: int, found: Any) -> None:
        self.calls.append((k, found))

    def three(self, k: int, found: Any = None, run: Any = None) -> None:
        self.calls.append((k, found, run))

    def four(self, a: Any, b: Any, c: Any, d: Any) -> None:
        raise AssertionError

    def keeps(self, k: int, info: Any = 7, scale: float = 2.0, *, loud: bool = False) -> None:
        self.calls.append((k, info, scale, loud))

    def __call__(self, *arguments: Any) -> None:
        self.calls.append(arguments)


FORMS: dict[str, tuple[Any, Any]] = {
    "none": (lambda r: r.none, lambda k, info: ()),
    "one": (lambda r: r.one, lambda k, info: (k,)),
    "two": (lambda r: r.two, lambda k, info: (k, info)),
    "three": (lambda r: r.three, lambda k, info: (k, info, OptimizerRun)),
    "defaults": (lambda r: r.keeps, lambda k, info: (k, info, float, bool)),
    "object": (lambda r: r, lambda k, info: (k, info, OptimizerRun)),
    "lambda": (lambda r: lambda *a: r.calls.append(a), lambda k, info: (k, info, OptimizerRun)),
    "lambda of its own": (lambda r: lambda k, r=r: r.calls.append((k,)), lambda k, info: (k,)),
    "partial": (lambda r: functools.partial(r.three, found=5), lambda k, info: (k, 5, type(None))),
    "partial first": (lambda r: functools.partial(r.two, "a"), lambda k, info: ("a", k)),
    "builtin": (lambda r: r.calls.append, lambda k, info: k),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_callback_takes_what_it_likes(dome: Any, form: str) -> None:
    recorder = Recorder()
    make, want = FORMS[form]
    with SGD(lr=0.1).start(dome) as run:
        infos = [run.step() for _ in range(2)]
    dome.sim.p.set(START)
    ds.minimize(dome, optimizer=SGD(lr=0.1), iterations=2, callback=make(recorder))
    got = [call if call in range(2) else call[:2] + tuple(map(type, call[2:])) for call in recorder.calls]
    assert got == [want(k, info) for k, info in enumerate(infos)]


async def later(iteration: int) -> None:
    """A body that never runs."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda r: r.four,
            "callback must be a function of .iteration, info, run. or of fewer of these, got <",
        ),
        (lambda r: lambda k, *, loud: None, "callback must be a function of"),
        (lambda r: 3, "callback must be a function of .* got 3; write def callback"),
        (lambda r: functools.partial(r.four), "callback must be a function of"),
        (lambda r: later, "callback must be an ordinary function, got .* without async and yield"),
    ],
)
def test_a_wrong_callback_is_refused_before_anything_runs(dome: Any, make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ds.minimize(dome, callback=make(Recorder()))
    assert dome.sim.p.numpy() == START


def test_a_run_tells_where_it_is(dome: Any) -> None:
    with SGD(lr=0.1).start(dome) as run:
        run.step()
        text = f"{run!r}"
    assert text.startswith("<run of SGD(lr=0.1, ")
    assert text.endswith("iteration 1, best cost -0.43589>")
    assert f"{run!r}".endswith("iteration 1, closed>")
