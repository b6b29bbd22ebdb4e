"""Optimizers against NumPy, exact resuming, and the loop around them.

No `from __future__ import annotations`: Taichi reads the annotations of the kernels below.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import diffsim as ds
from diffsim._taichi import ti
from diffsim.errors import ConfigError, GradientError, StateError
from diffsim.optim import SGD, Adam, HostMemory, Memory, Optimizer, OptimizerRun

Arrays = dict[str, NDArray[Any]]
BOTH = pytest.mark.parametrize("precision", [32, 64], scope="module")


# ---- a rollout in NumPy, with real fields ----


class HostField:
    """A NumPy array with as much of a field's manner as a leaf here needs."""

    def __init__(self, dtype: Any, shape: tuple[int, ...]) -> None:
        self.dtype, self.array = dtype, np.zeros(shape, np.float64 if dtype == ti.f64 else np.float32)

    def from_numpy(self, array: NDArray[Any]) -> None:
        self.array[...] = array

    def to_numpy(self) -> NDArray[Any]:
        return self.array.copy()


class BowlLeaf:
    """Values and gradients in fields or arrays, one per component, as a rollout has them."""

    def __init__(self, key: str, start: NDArray[Any], components: int, dtype: Any, memory: str) -> None:
        self.key, self.shape, self.world_axis, self.home = key, start.shape, None, self
        self.field = SimpleNamespace(version=0, set=self.set, sparse=None)
        self.lengths = inner = start.shape if components == 1 else start.shape[:-1]
        make: Any = ti.field if memory == "fields" else HostField
        self.values = tuple(make(dtype, shape=inner) for _ in range(components))
        self.grads = tuple(make(dtype, shape=inner) for _ in range(components))
        self.arrays = None
        if memory == "arrays":
            self.arrays = [f.array for f in self.values], [f.array for f in self.grads]
        self.set(start)

    def _write(self, fields: tuple[Any, ...], array: NDArray[Any]) -> None:
        parts = [array] if len(fields) == 1 else [array[..., c] for c in range(len(fields))]
        real = np.float64 if fields[0].dtype == ti.f64 else np.float32
        for field, part in zip(fields, parts, strict=True):
            field.from_numpy(np.array(part, dtype=real))

    def _read(self, fields: tuple[Any, ...]) -> NDArray[Any]:
        parts = [field.to_numpy() for field in fields]
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)

    def numpy(self) -> NDArray[Any]:
        return self._read(self.values)

    def set(self, array: NDArray[Any]) -> None:
        self._write(self.values, np.asarray(array))
        self.field.version += 1

    def gradient(self) -> NDArray[Any]:
        return self._read(self.grads)

    def set_gradient(self, array: NDArray[Any]) -> None:
        self._write(self.grads, array)


class Bowl:
    """The cost sum(p^2 / 2 + p^4 / 8) over all parameters, or any gradient on demand."""

    shapes: ClassVar[dict[str, tuple[tuple[int, ...], int]]] = {
        "scalar": ((), 1),
        "grid": ((3, 2, 4), 1),
        "vectors": ((5, 2), 2),
    }

    def __init__(self, dtype: Any, memory: str, shapes: Any = None) -> None:
        rng = np.random.default_rng(1)
        self.items = [
            BowlLeaf(key, rng.normal(size=shape), components, dtype, memory)
            for key, (shape, components) in (shapes or self.shapes).items()
        ]
        self.first = self.params()
        self.reset()

    def reset(self) -> None:
        self.closed, self.touched = False, 0
        self.gradient: Callable[[str, NDArray[Any]], NDArray[Any]] = lambda _, p: p + 0.5 * p**3
        for leaf in self.items:
            leaf.set(self.first[leaf.key])

    def leaves(self, wrt: Any = None) -> list[BowlLeaf]:
        return [leaf for leaf in self.items if wrt is None or leaf.key in wrt]

    def params(self) -> Arrays:
        return {leaf.key: leaf.numpy() for leaf in self.items}

    def evaluate(self, wrt: Any = None) -> float:
        cost = 0.0
        for leaf in self.leaves(wrt):
            p = leaf.numpy().astype(np.float64)
            cost += float(np.sum(p**2 / 2 + p**4 / 8))
            leaf.set_gradient(self.gradient(leaf.key, p))
        return cost

    def touch(self, leaves: Any) -> None:
        self.touched += len(list(leaves))


@pytest.fixture(params=["fields", "arrays"])
def memory(request: Any) -> Any:
    """Where parameters are: Taichi's kernels work on fields, NumPy on arrays."""
    return request.param


@pytest.fixture(scope="module")
def bowls(runtime: Any) -> dict[str, Bowl]:
    dtype = ti.f64 if runtime.precision == 64 else ti.f32
    return {memory: Bowl(dtype, memory) for memory in ("fields", "arrays")}


@pytest.fixture
def bowl(bowls: dict[str, Bowl], memory: str) -> Bowl:
    """The bowl with its first values; it is shared, because every new field costs some compiling."""
    bowls[memory].reset()
    return bowls[memory]


def norm(gradients: Arrays) -> float:
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))


def rounded(array: NDArray[Any], precision: int) -> NDArray[np.float64]:
    """What is left of an f64 array after it was stored at a precision."""
    return array.astype(np.float32 if precision == 32 else np.float64).astype(np.float64)


def reference(bowl: Bowl, optimizer: Any, steps: int, precision: int) -> tuple[Arrays, list[float]]:
    """The same optimization in NumPy, written from the papers' formulas."""
    p = {key: array.astype(np.float64) for key, array in bowl.params().items()}
    first = {key: np.zeros_like(array) for key, array in p.items()}
    second = {key: np.zeros_like(array) for key, array in p.items()}
    norms = []
    for k in range(1, steps + 1):
        g = {key: rounded(bowl.gradient(key, array), precision) for key, array in p.items()}
        norms.append(norm(g))
        factor = 1.0
        if getattr(optimizer, "normalize", False):
            factor = 1.0 / norms[-1]
        if optimizer.clip_norm is not None and factor * norms[-1] > optimizer.clip_norm:
            factor = optimizer.clip_norm / norms[-1]
        for key in p:
            h = factor * g[key]
            if isinstance(optimizer, SGD):
                first[key] = optimizer.momentum * first[key] + h
                change = optimizer.lr * first[key]
            else:
                b1, b2 = optimizer.betas
                first[key] = b1 * first[key] + (1 - b1) * h
                second[key] = b2 * second[key] + (1 - b2) * h**2
                mean, square = first[key] / (1 - b1**k), second[key] / (1 - b2**k)
                change = optimizer.lr * mean / (np.sqrt(square) + optimizer.eps)
            p[key] = rounded(p[key] - change, precision)
    return p, norms


RULES = [
    SGD(lr=0.1),
    SGD(lr=0.05, momentum=0.9),
    SGD(lr=0.2, normalize=True),
    SGD(lr=0.2, momentum=0.5, normalize=True, clip_norm=0.3),
    SGD(lr=0.1, clip_norm=0.7),
    SGD(lr=0.1, clip_norm=1e6),
    Adam(lr=0.1),
    Adam(lr=0.05, betas=(0.5, 0.9), eps=1e-3, clip_norm=0.7),
    Adam(lr=0.05, betas=(0.0, 0.0)),
]


@BOTH
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rule_is_its_formula(bowl: Bowl, rule: Any, precision: int) -> None:
    want, norms = reference(bowl, rule, 12, precision)
    with rule.start(bowl) as run:
        infos = [run.step() for _ in range(12)]
    # In f32 the running means are rounded too when they are stored, which the reference leaves out.
    tolerance = 1e-12 if precision == 64 else 3e-6
    np.testing.assert_allclose([info.grad_norm for info in infos], norms, rtol=tolerance)
    for key, got in bowl.params().items():
        np.testing.assert_allclose(got, want[key], rtol=tolerance, atol=tolerance)
    assert bowl.touched >= 12 * 3  # each time, the host's copies of all three


@pytest.mark.parametrize(
    "rule", [SGD(lr=0.2, normalize=True), SGD(lr=1.0, momentum=0.9), Adam(lr=0.1)], ids=str
)
def test_a_gradient_of_zero_changes_nothing(bowl: Bowl, rule: Any) -> None:
    before = bowl.params()
    bowl.gradient = lambda _, p: np.zeros_like(p)
    with rule.start(bowl) as run:
        assert [run.step().grad_norm for _ in range(3)] == [0.0, 0.0, 0.0]
    for key, array in bowl.params().items():
        np.testing.assert_array_equal(array, before[key])


def test_only_what_is_asked_for_is_changed(bowl: Bowl) -> None:
    before = bowl.params()
    with SGD(lr=0.1).start(bowl, ["grid"]) as run:
        run.step()
    after = bowl.params()
    assert not np.array_equal(after["grid"], before["grid"])
    for key in ("scalar", "vectors"):
        np.testing.assert_array_equal(after[key], before[key])


@BOTH
@pytest.mark.parametrize("size", [1, 1023, 1025, 40_000])  # 40,000: added up and updated in parallel
def test_a_norm_is_accurate_at_any_size(runtime: Any, memory: str, size: int) -> None:
    dtype = ti.f64 if runtime.precision == 64 else ti.f32
    bowl = Bowl(dtype, memory, {"a": ((size,), 1), "b": ((2, 3), 1)})
    with SGD(lr=0.5).start(bowl) as run:
        before = bowl.params()
        got = [run.step().grad_norm, run._memory.norm_squared(), run._memory.norm_squared()]
    grads = [leaf.gradient().astype(np.float64).ravel() for leaf in bowl.items]
    want = math.fsum(float(g) ** 2 for g in np.concatenate(grads))
    assert got[1] == got[2]
    assert got[1] == pytest.approx(want, rel=1e-13)
    assert got[0] == math.sqrt(got[1])
    for leaf, grad in zip(bowl.items, grads, strict=True):
        moved = before[leaf.key] - 0.5 * grad.reshape(leaf.shape)
        np.testing.assert_allclose(leaf.numpy(), moved, rtol=1e-6, atol=1e-7)


# ---- best, state, resume ----


def test_the_best_parameters_are_kept(bowl: Bowl) -> None:
    start = bowl.params()
    with SGD(lr=0.2, momentum=0.9).start(bowl) as run:  # overshoots: the cost rises and falls
        for key, array in run.best().items():
            np.testing.assert_array_equal(array, start[key])
        seen, costs = [], []
        for _ in range(20):
            seen.append(bowl.params())
            costs.append(run.step().cost)
        now = bowl.params()
        best, k = run.best(), int(np.argmin(costs))
        assert 0 < k < 19
        assert (run.best_iteration, run.best_cost, run.iteration) == (k, costs[k], 20)
        for key, array in best.items():
            np.testing.assert_array_equal(array, seen[k][key])
            np.testing.assert_array_equal(bowl.params()[key], now[key])  # reading moved nothing
            np.testing.assert_array_equal(run.last()[key], now[key])


@pytest.mark.parametrize("axis", [0, 1])
def test_worlds_keep_their_own_wherever_their_axis_is(runtime: Any, memory: str, axis: int) -> None:
    """A GPU has the axis of worlds last in memory, a CPU first."""
    bowl = Bowl(ti.f64, memory, {"a": ((2, 2), 1), "b": ((2, 2, 2), 2)})
    for leaf in bowl.items:
        leaf.world_axis = axis  # type: ignore[assignment]
    costs = np.array([[3.0, 3.0], [2.0, 4.0], [5.0, 1.0], [4.0, 2.0]])
    gradients = bowl.evaluate
    with SGD(lr=0.1).start(bowl) as run:
        seen = []
        for row in costs:
            bowl.evaluate = lambda wrt=None, row=row: (gradients(wrt), row)[1]  # type: ignore[assignment]
            seen.append(bowl.params())
            run.step()
        assert run.best_cost.tolist() == [2.0, 1.0]
        assert run.best_iteration.tolist() == [1, 2]
        for key, array in run.best().items():
            for world, k in enumerate((1, 2)):
                want = np.take(seen[k][key], world, axis=axis)
                np.testing.assert_array_equal(np.take(array, world, axis=axis), want)


@BOTH
@pytest.mark.parametrize("rule", [SGD(lr=0.1), SGD(lr=0.2, momentum=0.9), Adam(lr=0.3)], ids=str)
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_resumed_run_has_the_same_numbers(bowl: Bowl, rule: Any, stop: int, tmp_path: Any) -> None:
    with rule.start(bowl) as run:
        costs = [run.step() for _ in range(10)]
        want = run.state()
    bowl.reset()
    with rule.start(bowl) as run:
        for _ in range(stop):
            run.step()
        np.savez(tmp_path / "state.npz", **run.state())
    bowl.items[0].set(np.array(123.0))  # is replaced by what was saved
    with rule.start(bowl) as run, np.load(tmp_path / "state.npz") as saved:
        run.load(saved)
        assert [run.step() for _ in range(10 - stop)] == costs[stop:]
        got = run.state()
    assert got.keys() == want.keys()
    for key, array in want.items():
        assert got[key].dtype == array.dtype
        np.testing.assert_array_equal(got[key], array, err_msg=key)


def test_a_state_that_does_not_fit_is_refused(bowl: Bowl) -> None:
    with SGD(lr=0.1, momentum=0.5).start(bowl) as run:
        run.step()
        good, before = run.state(), bowl.params()
        missing = {key: array for key, array in good.items() if key != "velocity.grid"}
        for bad, words in (
            (missing, "must have an array 'velocity.grid'"),
            ({**good, "mean.grid": good["best.grid"]}, "must not have an array 'mean.grid'"),
            ({**good, "best.grid": np.zeros((3, 2))}, r"'best.grid' must be numbers of shape \(3, 2, 4\)"),
            ({**good, "iteration": np.array("one")}, "'iteration' must be numbers"),
            ({}, "got nothing"),
        ):
            with pytest.raises(ConfigError, match=words):
                run.load(bad)
        after = run.state()
        for key, array in good.items():
            np.testing.assert_array_equal(after[key], array)
        for key, array in bowl.params().items():
            np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("memory", ["fields"], indirect=True)
def test_memory_is_used_again(bowl: Bowl) -> None:
    rule = SGD(lr=0.1, momentum=0.9)
    with rule.start(bowl) as run:
        memory = run._memory
        want = [run.step() for _ in range(4)]
        with rule.start(bowl) as other:
            assert other._memory is not memory  # two runs at a time do not share
            second = other._memory
    bowl.reset()
    with Adam(lr=0.1).start(bowl) as other, rule.start(bowl) as run:
        assert type(other._memory) is not type(memory)
        assert run._memory in (memory, second)
        assert [run.step() for _ in range(4)] == want  # with a velocity of zero again
    with rule.start(bowl, ["grid"]) as run:
        assert run._memory not in (memory, second)


# ---- trouble ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_an_error(bowl: Bowl, bad: float) -> None:
    before = bowl.params()
    bowl.gradient = lambda key, p: np.full_like(p, bad if key == "grid" else 1.0)
    with SGD(lr=0.1, normalize=True).start(bowl) as run:
        with pytest.raises(
            GradientError, match=r"the gradient of grid must be finite, got .* in iteration 0"
        ):
            run.step()
        assert run.iteration == 0
    for key, array in bowl.params().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_gradient_whose_length_overflows_is_an_error(bowl: Bowl) -> None:
    bowl.gradient = lambda _, p: np.full_like(p, 1e200)
    with Adam(lr=0.1).start(bowl) as run, pytest.raises(GradientError, match="its length overflows"):
        run.step()


def test_what_was_closed_is_an_error(bowl: Bowl) -> None:
    with SGD(lr=0.1).start(bowl) as run:
        run.step()
    for call in (run.step, run.best, run.last, run.state):
        with pytest.raises(StateError, match="the optimizer run must be open, got a closed one"):
            call()
    run.close()
    run = SGD(lr=0.1).start(bowl)
    bowl.closed = True
    for call in (run.step, run.best, run.last, run.state):
        with pytest.raises(StateError, match="the rollout must be open while it is optimised"):
            call()
    run.close()


def test_nothing_to_optimise_is_an_error(bowl: Bowl) -> None:
    with pytest.raises(ConfigError, match="wrt must name something to optimise"):
        SGD(lr=0.1).start(bowl, [])


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: SGD(lr=0.0), "SGD.lr must be a finite number above 0, got 0.0; use"),
    (lambda: SGD(lr=-1), "SGD.lr must be a finite number above 0, got -1"),
    (lambda: SGD(lr=math.nan), "SGD.lr must be a finite number above 0, got nan"),
    (lambda: SGD(lr=math.inf), "SGD.lr must be a finite number above 0, got inf"),
    (lambda: SGD(lr=10**400), "SGD.lr must be a finite number above 0, got 1000"),
    (lambda: SGD(lr="0.1"), "SGD.lr must be a finite number above 0, got '0.1'"),  # type: ignore[arg-type]
    (lambda: SGD(lr=True), "SGD.lr must be a finite number above 0, got True"),
    (
        lambda: SGD(lr=0.1, momentum=1.0),
        "SGD.momentum must be a number from 0 up to, not including, 1, got 1.0",
    ),
    (lambda: SGD(lr=0.1, momentum=-0.1), "SGD.momentum must be a number from 0"),
    (lambda: SGD(lr=0.1, normalize=1), "SGD.normalize must be True or False, got 1"),  # type: ignore[arg-type]
    (lambda: SGD(lr=0.1, clip_norm=0.0), "SGD.clip_norm must be a finite number above 0, got 0.0"),
    (lambda: Adam(lr=0), "Adam.lr must be a finite number above 0, got 0"),
    (lambda: Adam(lr=0.1, betas=(1.0, 0.9)), r"Adam.betas\[0\] must be a number from 0"),
    (lambda: Adam(lr=0.1, betas=(0.9, math.nan)), r"Adam.betas\[1\] must be a number from 0"),
    (lambda: Adam(lr=0.1, betas=0.9), "Adam.betas must be two numbers, got 0.9"),  # type: ignore[arg-type]
    (lambda: Adam(lr=0.1, eps=0.0), "Adam.eps must be a finite number above 0, got 0.0"),
    (lambda: Adam(lr=0.1, clip_norm=-1.0), "Adam.clip_norm must be a finite number above 0, got -1.0"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_hyperparameter_out_of_range_is_an_error(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_hyperparameters_become_plain_numbers() -> None:
    rule = Adam(lr=np.float32(0.5), betas=[0, np.float64(0.5)])  # type: ignore[arg-type]
    assert (type(rule.lr), rule.betas, type(rule.betas[1])) == (float, (0.0, 0.5), float)
    assert rule == Adam(lr=0.5, betas=(0.0, 0.5))
    with pytest.raises(AttributeError):
        rule.lr = 1.0  # type: ignore[misc]


# ---- a rule of one's own ----


class SignHost(HostMemory):
    def change(self, place: slice, g: Any, numbers: Any) -> Any:
        return -numbers[0] * np.sign(g)


@ti.data_oriented
class SignMemory(Memory):
    host = SignHost

    @ti.func
    def change(self, place, g, numbers):  # type: ignore[no-untyped-def]
        return -numbers[0] * ti.math.sign(g)


@dataclass(frozen=True)
class SignDescent(Optimizer):
    lr: float
    memory: ClassVar[type[Memory]] = SignMemory

    def numbers(self, iteration: int) -> tuple[float, ...]:
        return (self.lr / (iteration + 1),)


def test_a_rule_of_ones_own_needs_one_function(bowl: Bowl, memory: str) -> None:
    before = bowl.params()
    with SignDescent(lr=0.5).start(bowl) as run:
        run.step()
        assert isinstance(run._memory, SignHost if memory == "arrays" else SignMemory)
        for key, array in bowl.params().items():
            np.testing.assert_allclose(array, before[key] - 0.5 * np.sign(before[key]), rtol=1e-12)


@ti.data_oriented
class UphillMemory(SignMemory):
    """A rule of its own that says nothing of arrays: that of the class above it must not be taken."""

    @ti.func
    def change(self, place, g, numbers):  # type: ignore[no-untyped-def]
        return numbers[0] * ti.math.sign(g)


@dataclass(frozen=True)
class Uphill(SignDescent):
    memory: ClassVar[type[Memory]] = UphillMemory


def test_a_changed_rule_is_not_mistaken_for_its_base(drift: Any) -> None:
    put_back(drift.sim)
    before = drift.sim.wind.numpy()
    with Uphill(lr=0.5).start(drift.rollout, [drift.sim.wind]) as run:
        run.step()
        (leaf,) = drift.rollout.leaves([drift.sim.wind])
        sign = np.sign(leaf.gradient())
    assert np.all(sign != 0.0)
    np.testing.assert_allclose(drift.sim.wind.numpy(), before + 0.5 * sign, rtol=1e-6)


@pytest.mark.parametrize("rule", [SGD(lr=0.1, momentum=0.9), Adam(lr=0.1)], ids=str)
def test_many_parameters_are_worked_on_in_pieces(runtime: Any, rule: Any) -> None:
    """Parts that end within a piece, and pieces that end within a part."""
    bowl = Bowl(ti.f64, "arrays", {"a": ((3, 5000), 1), "b": ((2, 3), 1), "c": ((9001, 2), 2)})
    want, norms = reference(bowl, rule, 3, 64)
    with rule.start(bowl) as run:
        np.testing.assert_allclose([run.step().grad_norm for _ in range(3)], norms, rtol=1e-12)
    for key, got in bowl.params().items():
        np.testing.assert_allclose(got, want[key], rtol=1e-12, atol=1e-12)


def test_very_many_parameters_are_left_to_threads_where_there_are_some(monkeypatch: Any) -> None:
    leaf = SimpleNamespace(arrays=([np.zeros((1 << 20) + 1)], [np.zeros((1 << 20) + 1)]))
    for threads, suits in ((1, True), (2, False)):
        monkeypatch.setattr(ds.runtime, "info", lambda n=threads: SimpleNamespace(threads=n))
        assert HostMemory.suits([leaf]) is suits


# ---- the loop ----


def test_minimize_tells_what_it_did(bowl: Bowl) -> None:
    calls: list[tuple[int, float]] = []

    def callback(iteration: int, info: Any, run: OptimizerRun) -> None:
        calls.append((iteration, info.cost))
        assert run.iteration == iteration + 1

    result = ds.minimize(bowl, optimizer=SGD(lr=0.1), iterations=20, callback=callback)
    assert calls == list(enumerate(result.costs.tolist()))
    assert result.costs.shape == result.grad_norms.shape == result.seconds.shape == (20,)
    assert np.all(np.diff(result.costs) < 0)
    assert np.all(np.diff(result.seconds) > 0)
    assert (result.best_iteration, result.best_cost) == (19, result.costs[19])
    for key, array in bowl.params().items():
        np.testing.assert_array_equal(result.last[key], array)
        assert not np.array_equal(result.best[key], array)


def test_minimize_ends_when_the_callback_says_so_and_goes_on_from_a_state(bowl: Bowl) -> None:
    def stop(iteration: int, *_: object) -> None:
        if iteration == 4:
            raise StopIteration

    rule = Adam(lr=0.2)
    whole = ds.minimize(bowl, optimizer=rule, iterations=9)
    bowl.reset()
    first = ds.minimize(bowl, optimizer=rule, iterations=9, callback=stop)
    bowl.reset()
    assert len(first.costs) == 5
    numbers: list[int] = []
    second = ds.minimize(bowl, None, rule, 4, callback=lambda k, *_: numbers.append(k), state=first.state)
    assert numbers == [5, 6, 7, 8]
    np.testing.assert_array_equal(np.concatenate([first.costs, second.costs]), whole.costs)
    assert (second.best_iteration, second.best_cost) == (whole.best_iteration, whole.best_cost)
    for key, array in whole.last.items():
        np.testing.assert_array_equal(second.last[key], array)


def test_an_error_of_the_callback_is_not_swallowed(bowl: Bowl) -> None:
    def callback(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ds.minimize(bowl, iterations=2, callback=callback)


@pytest.mark.parametrize("iterations", [0, -1, 1.5, True, "3", None])
def test_minimize_needs_iterations(bowl: Bowl, iterations: Any) -> None:
    with pytest.raises(ConfigError, match="iterations must be a whole number of at least 1"):
        ds.minimize(bowl, iterations=iterations)


def test_minimize_needs_an_optimizer(bowl: Bowl) -> None:
    with pytest.raises(
        ConfigError, match=r"optimizer must be an Optimizer, got .*; use ds.optim.Adam\(lr=1e-2\)"
    ):
        ds.minimize(bowl, optimizer=Adam)  # type: ignore[arg-type]
    assert ds.minimize(bowl, iterations=np.int64(1)).costs.shape == (1,)


# ---- on a simulator ----


class Drift(ds.Simulator):
    """Points pushed by a shared wind, by each world's own thrust and by a control; they should end at 1."""

    def __init__(self) -> None:
        self.x = ds.State(ds.vec2, 3)
        self.wind = ds.Param(ds.vec2, 3, init=np.full((3, 2), 0.1))
        self.thrust = ds.Param(ds.real, 3, per_world=True)
        self.push = ds.Control(ds.real, 3)

    @ti.kernel
    def move(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(3):
            self.x[t + 1, i] = 0.9 * self.x[t, i] + self.wind[i] + self.thrust[i] + self.push[t, i]

    @ti.kernel
    def miss(self, t: ti.i32):  # type: ignore[no-untyped-def]
        for i in range(3):
            self.cost[None] += (self.x[t, i][0] - 1.0) ** 2 + (self.x[t, i][1] - 1.0) ** 2

    def step(self, t: Any) -> None:
        self.move(t)

    def terminal_cost(self, t: Any) -> None:
        self.miss(t)


@pytest.fixture(scope="module", params=[1, 2], ids=["one world", "two worlds"])
def drift(request: Any, runtime: Any) -> Any:
    made = SimpleNamespace(sim=Drift())
    made.rollout = ds.Rollout(made.sim, steps=4, worlds=request.param)
    yield made
    made.rollout.close()


def put_back(sim: Drift) -> None:
    sim.wind.set(np.full((3, 2), 0.1))
    sim.thrust.set(np.array([0.0, 0.1, -0.1]))
    sim.push.set(0.0)


def test_a_simulator_is_optimised(drift: Any) -> None:
    put_back(drift.sim)
    shape = (60,) if drift.rollout.worlds == 1 else (60, 2)
    result = ds.minimize(drift.rollout, optimizer=SGD(lr=0.008), iterations=60)
    assert result.costs.shape == shape
    objective = result.costs.reshape(60, -1).sum(axis=1)
    assert objective[-1] < 1e-3 * objective[0]
    assert result.best_cost == objective.min()
    assert set(result.best) == {"wind", "thrust", "push"}
    np.testing.assert_array_equal(drift.sim.wind.numpy(), result.last["wind"])
    for name in ("wind", "thrust", "push"):
        getattr(drift.sim, name).set(result.best[name])
    assert np.sum(drift.rollout.value()) == pytest.approx(result.best_cost, rel=1e-12)


@pytest.mark.cpu  # bit-equality
@pytest.mark.parametrize("rule", [SGD(lr=0.02, momentum=0.5), Adam(lr=0.05, clip_norm=1.0)], ids=str)
def test_a_simulator_s_run_is_resumed_exactly(drift: Any, rule: Any) -> None:
    rollout, sim = drift.rollout, drift.sim
    put_back(sim)
    with rule.start(rollout, [sim.wind, sim.thrust]) as run:
        states, infos = [run.state()], []
        for _ in range(6):
            infos.append(run.step())
            states.append(run.state())
    for stop in (0, 3):
        put_back(sim)
        with rule.start(rollout, [sim.wind, sim.thrust]) as run:
            run.load(states[stop])
            for info in infos[stop:]:
                got = run.step()
                np.testing.assert_array_equal(got.cost, info.cost)
                assert got.grad_norm == info.grad_norm
            for key, array in run.state().items():
                np.testing.assert_array_equal(array, states[-1][key], err_msg=key)


def test_values_set_between_steps_count(drift: Any) -> None:
    put_back(drift.sim)
    with SGD(lr=0.02).start(drift.rollout, [drift.sim.wind]) as run:
        run.step()
        drift.sim.wind.set(5.0)
        assert np.sum(run.step().cost) > 1e3
        assert run.best_iteration == 0
        np.testing.assert_array_equal(run.best()["wind"], np.full((3, 2), 0.1))
        assert np.abs(drift.sim.wind.numpy() - 5.0).max() < 5.0


def test_the_initial_value_of_a_state_is_optimised(drift: Any) -> None:
    put_back(drift.sim)
    before = drift.sim.x.numpy()
    try:
        result = ds.minimize(drift.rollout, drift.sim.x, SGD(lr=0.2), 40)
        assert set(result.best) == {"x"}
        assert result.best_cost < 1e-5
    finally:
        drift.sim.x.set(before)


def test_a_closed_rollout_is_an_error(runtime: Any) -> None:
    rollout = ds.Rollout(Drift(), steps=2)
    run = SGD(lr=0.1).start(rollout)
    rollout.close()
    with pytest.raises(StateError, match="the rollout must be open"):
        run.step()
    run.close()
    with pytest.raises(StateError):
        SGD(lr=0.1).start(rollout)
