"""What counts as equal when two modes are compared: rounding does, anything larger does not."""

from typing import Any

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.engine import engine as engines
from diffsim.engine import executors
from diffsim.engine.trust import furthest, rounding


class Cancelling(ds.Simulator):
    """A State that is zero in truth, and computed as what is left when 64 products cancel."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        a = rng.normal(size=32)
        self.n = 64
        self.weight = ds.Constant(np.concatenate([a, -a]))
        self.x = ds.State(ds.real, self.n, init=np.concatenate([[0.3] * 32, [0.3] * 32]))
        self.left = ds.State(ds.real)

    @ti.kernel
    def keep(self, t: ti.i32):
        for i in range(self.n):
            self.x[t + 1, i] = 1.1 * self.x[t, i] * (1.0 + self.x[t, i])

    @ti.kernel
    def cancel(self, t: ti.i32):
        for _ in range(1):
            total = 0.0
            for i in range(self.n):
                total += self.weight[i] * ti.sin(self.x[t, i])
            self.left[t + 1] = total

    def step(self, t: int) -> None:
        self.keep(t)
        self.cancel(t)

    @ti.kernel
    def end(self, t: ti.i32):
        for i in range(self.n):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t: int) -> None:
        self.end(t)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_bit_is_that_of_the_precision(dtype: Any) -> None:
    """Steps of 64 bits are none in 32, and what rounding does would be measured as nothing."""
    values = np.array([1.0, -0.3, 1e-6, 4e5] * 8, dtype)
    memory = {"x": [values.copy()]}
    seen = []

    class Storage:
        arrays = staticmethod(memory.__getitem__)

        @staticmethod
        def put(key: str, arrays: Any) -> None:
            memory[key][0][...] = next(arrays)

    def run() -> dict[str, Any]:
        seen.append(memory["x"][0].copy())
        return {"x": seen[0]}

    noise = rounding(Storage(), ["x"], run, {"x": values})  # type: ignore[arg-type, list-item]
    steps = np.abs(seen[0] - values) / np.spacing(np.abs(values))
    assert set(steps.tolist()) <= {0.5, 1.0}  # half as far below a power of two
    assert 0.0 < noise["x"] < 1.0
    np.testing.assert_array_equal(memory["x"][0], values)


@pytest.fixture(scope="module")
def engine(runtime: Any) -> Any:
    rollout = ds.Rollout(Cancelling(), steps=3, mode="step")
    rollout.value()
    yield rollout._engine
    rollout.close()


def _noise(engine: Any) -> tuple[dict[str, Any], dict[str, float]]:
    wanted = engine._first_steps("step", 3, False)
    initial = list(engine.lowered.initial.values())
    before = [a.copy() for buffer in initial for a in engine.storage.arrays(buffer)]
    noise = rounding(engine.storage, initial, lambda: engine._first_steps("step", 3, False), wanted)
    after = [a for buffer in initial for a in engine.storage.arrays(buffer)]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="first values must be put back")
    return wanted, noise


def test_what_cancels_is_equal_to_its_rounding(engine: Any) -> None:
    wanted, noise = _noise(engine)
    assert 0.0 < noise["left"] < 1e-14
    found = wanted | {"left": -3.0 * wanted["left"] + noise["left"]}
    assert furthest(found, wanted)[0] > 0.5, "on its own scale it is all wrong"
    assert furthest(found, wanted, noise) == (0.0, "")


def test_a_wrong_value_is_not_taken_for_rounding(engine: Any) -> None:
    wanted, noise = _noise(engine)
    found = wanted | {"x": wanted["x"] * (1.0 + 1e-10)}
    error, name = furthest(found, wanted, noise)
    assert name == "x"
    assert error == pytest.approx(1e-10, rel=1e-3)
    found = wanted | {"left": wanted["left"] + 1e-9}
    assert furthest(found, wanted, noise)[1] == "left"
    found = wanted | {"x": np.full_like(wanted["x"], np.nan)}
    assert furthest(found, wanted, noise) == (np.inf, "x")


class Sum(ds.Simulator):
    """x[t + 1] = x[t] + k: after 20 steps from 0 the cost 400 k^2 is 1600, with slope 1600."""

    def __init__(self) -> None:
        self.x = ds.State(ds.real)
        self.k = ds.Param(2.0)

    @ti.kernel
    def add(self, t: ti.i32):
        self.x[t + 1] = self.x[t] + self.k[None]

    @ti.kernel
    def end(self, t: ti.i32):
        self.cost[None] += self.x[t] ** 2

    def step(self, t: int) -> None:
        self.add(t)

    def terminal_cost(self, t: int) -> None:
        self.end(t)


@pytest.fixture
def late_fault(runtime: Any, monkeypatch: Any) -> None:
    """Code that is wrong from the ninth step on, as of a loop that is unrolled eight times."""
    if not runtime.native:
        pytest.skip("more than three steps are compared where compiling them takes no time")
    right = executors.fused_forward

    def wrong(*args: Any) -> Any:
        text = right(*args)
        assert "= s0 + 1\n" in text.source
        text.source = text.source.replace("= s0 + 1\n", "= s0 + 1 - s0 // 8\n")
        return text

    monkeypatch.setattr(executors, "fused_forward", wrong)


def test_a_fault_that_shows_late_is_found(late_fault: None) -> None:
    with ds.Rollout(Sum(), steps=20) as rollout:
        with pytest.warns(UserWarning, match="gave other results than 'step' on the first 20 steps"):
            cost, grads = rollout.value_and_grad()
        assert (cost, grads["k"]) == pytest.approx((1600.0, 1600.0))


def test_three_steps_would_not_find_it(late_fault: None, monkeypatch: Any) -> None:
    """If this fails, the fault above is none that shows late."""
    monkeypatch.setattr(engines, "_MOST_VERIFIED", 3)
    with ds.Rollout(Sum(), steps=20) as rollout:
        assert rollout.value() < 1000.0


def test_what_is_compared_with_is_compiled_briefly(runtime: Any) -> None:
    if not runtime.native:
        pytest.skip("Taichi has one way to compile")
    with ds.Rollout(Sum(), steps=20) as rollout:
        rollout.value_and_grad()
        engine = rollout._engine
        assert set(engine._executors) == {"fused", "check"}
        assert engine.backward("step") == pytest.approx(1600.0)  # asked for: as it should be
        assert set(engine._executors) == {"fused", "check", "step"}
        brief, whole = (len(engine._executors[mode]._launchers) for mode in ("check", "step"))
        assert brief == whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_moves_the_last_bit_of_either_precision(dtype: Any) -> None:
    class Memory:
        held = np.array([0.3, -2.0, 0.0], dtype)

        def arrays(self, buffer: Any) -> list[Any]:
            return [self.held]

        def put(self, buffer: Any, arrays: Any) -> None:
            self.held[...] = next(arrays)

    memory = Memory()
    before = memory.held.copy()
    noise = rounding(memory, ["x"], lambda: {"x": memory.held.copy()}, {"x": before})  # type: ignore[arg-type]
    assert noise["x"] == np.spacing(dtype(2.0))
    np.testing.assert_array_equal(memory.held, before)
