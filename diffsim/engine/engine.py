"""One compiled program with its memory: what a rollout drives."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.codegen.moves import reduce_kernel
from diffsim.compiler.codegen.stages import StageSet, all_adjoints, parameter_adjoints
from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.checkpoints import Observer, Segments, run_backward, run_forward
from diffsim.engine.executors import Executor, Step, Watch
from diffsim.engine.launch import Launcher
from diffsim.engine.lookout import Lookout
from diffsim.engine.memory import needed
from diffsim.engine.modes import CHECK, Extension, Measured, make_executor
from diffsim.engine.outcome import Outcome
from diffsim.engine.pace import Pace, Progress
from diffsim.engine.pools import clean
from diffsim.engine.storage import Storage
from diffsim.engine.tiers import Tiers
from diffsim.engine.trust import First, furthest, gradient_key, rounding
from diffsim.engine.tuning import EngineBench, contest, survey
from diffsim.errors import StateError
from diffsim.plan import Plan
from diffsim.plan.memo import Memo, key_of
from diffsim.plan.modes import Candidate
from diffsim.plan.planning import adjoint_stages
from diffsim.plan.verdict import Verdict, decided
from diffsim.runtime import RuntimeInfo

__all__ = ["Engine"]

_VERIFIED_STEPS = 3
# of machine code, if they take no longer than so many seconds: loops that LLVM runs many steps of at once
# begin to do so, and end within a round
_MOST_VERIFIED, _VERIFY_SECONDS = 67, 0.1
_UNOPTIMISED = 8.0  # times as long as optimised code
_TOLERANCE = {"f64": 1e-7, "f32": 1e-2}


class Engine:
    """Run a planned program forward and backward.

    Args:
        lowered: The program.
        stages: Its stages and their adjoints.
        plan: What was decided.
        info: How the runtime was started; another precision than its own makes a program of that precision.
        verify: Compare the first steps with mode `step` when it first runs.

    Attributes:
        lengths: How many steps each world ran, from the last run; None before the first.
        running: A run is under way; another one would overwrite its memory.
        stamp: Another number whenever memory may hold another run.
        first: Who looks at the first gradient.
    """

    def __init__(
        self,
        lowered: LoweredProgram,
        stages: StageSet,
        plan: Plan,
        info: RuntimeInfo,
        verify: bool = True,
    ) -> None:
        self.lowered, self.stages, self.plan, self.info = lowered, stages, plan, info
        self.storage = Storage(plan.layout, info.on_cpu, info.native and not plan.layout.taped)
        self.segments = Segments(plan.steps, plan.window)
        self.mode = plan.mode
        self.fallback, self.first = "", First()
        self._verified = 0 if verify else 2
        self._open = verify and plan.tunable
        self.lookout = Lookout(lowered, self.storage, plan.layout)
        self.progress: Progress | None = None
        self._tiers = Tiers(plan, lowered, self.storage, info.real)
        self._executors: dict[str, Executor] = {}
        self._outcome = Outcome(lowered, self.storage, self.lookout)
        self._extended: dict[tuple[str, object], Executor] = {}
        self._reduced: dict[Buffer, Buffer] = {}
        self._reduce: Launcher | None = None
        self.lengths: NDArray[np.int64] | None = None
        self.running = False
        self.stamp = 0
        self._spent = 0.0
        self._allocate()

    def _allocate(self) -> None:
        lowered, layout = self.lowered, self.plan.layout
        buffers = needed(lowered, layout)
        for shared in (b for b in parameter_adjoints(lowered) if "group" in layout.axes(b)):
            like = (shared.kind, shared.dtype, shared.shape, shared.components, shared.source)
            total = Buffer(shared.name + "_sum", *like)
            total.place = shared.place
            self._reduced[shared] = total
        buffers += self._reduced.values()
        self.storage.allocate(buffers)
        if self._reduced:
            text = reduce_kernel(layout, self.info.real, self._reduced, self.info.on_cpu)
            self._reduce = Launcher(text, self.storage)

    @property
    def executor(self) -> Executor:
        """What runs segments in the plan's mode."""
        return self._executor(self.mode)

    def _executor(self, mode: str, chunk: int = 0) -> Executor:
        if mode not in self._executors:
            stages = self.stages
            if self._executors and all_adjoints(stages):  # tapes are not shared between modes
                stages = adjoint_stages(self.lowered, self.info.real, self.plan.steps, mode)
            self._executors[mode] = self._make(mode, stages, chunk)
        return self._executors[mode]

    def _make(self, mode: str, stages: StageSet, chunk: int = 0) -> Executor:
        plan = self.plan
        return make_executor(mode, stages, plan.layout, self.info.real, self.storage, chunk or plan.chunk)

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling so far."""
        every = [*self._executors.values(), *self._extended.values()]
        return self._spent + sum(e.compile_seconds for e in every)

    @property
    def left_to_taichi(self) -> dict[str, str]:
        """The user's kernels that Taichi compiled so far where machine code was asked for, and why."""
        return {o: why for e in self._executors.values() for o, why in e.left_to_taichi.items()}

    def bytes_in(self, mode: str) -> int:
        """Return the memory of all fields with the tapes of one mode, which is prepared by this."""
        layout = self.plan.layout
        tapes = self._executor(mode).tapes
        others = sum(size for purpose, size in self.plan.bytes.items() if purpose != "tapes")
        return others + sum(layout.bytes(buffer, lanes) for buffer, lanes in tapes.items())

    # ---- running ----

    def forward(self, observe: Observer | None = None) -> NDArray[np.float64]:
        """Run the horizon forward; return the cost of each world."""
        self._verify(gradients=False)
        self._outcome.begin()
        # who observes wants to see what becomes of a State, NaN or not
        check = None if observe else self.lookout.states
        with self._run(self.plan.steps) as pace:
            run_forward(self.executor, self.segments, observe, check, pace.between)
        cost, self.lengths = self._outcome.forward()
        return cost

    @contextmanager
    def _run(self, total: int) -> Iterator[Pace]:
        """Make the context of a run of so many steps, forward and backward."""
        self.running = True
        self.stamp += 1
        try:
            with Pace(total, self.progress, self.segments.count) as pace:
                yield pace
        except StateError:
            clean(self.storage, self.lowered.topologies)
            self._outcome.check()  # an alarm tells why, where numbers that are not finite ended it
            raise
        finally:
            self.running = False

    def backward(self, mode: str | None = None) -> NDArray[np.float64]:
        """Run forward and backward as `gradients` does; return the cost of each world."""
        return self.gradients((), mode)[0]

    def gradients(
        self, wanted: Sequence[Buffer], mode: str | None = None
    ) -> tuple[NDArray[np.float64], dict[Buffer, list[NDArray[Any]]]]:
        """Run forward and backward; return the cost of each world, and the arrays of buffers but pools.

        Args:
            wanted: The buffers; where the cost is not finite they hold no gradients.
            mode: Run in this mode, for once.
        """
        self._verify(gradients=True)
        return self._backward(self._executor(mode or self.mode), wanted=wanted)

    def _backward(
        self,
        executor: Executor,
        adjoints: Callable[[int], object] | None = None,
        done: Callable[[], None] | None = None,
        wanted: Sequence[Buffer] = (),
    ) -> tuple[NDArray[np.float64], dict[Buffer, list[NDArray[Any]]]]:
        """Run forward and backward by an executor; a cost that is not finite has no gradient, and ends it."""
        cost: list[NDArray[np.float64]] = []

        def forward_done() -> bool:
            found, self.lengths = self._outcome.forward()
            cost.append(found)
            if done is not None:
                done()
            return not np.all(np.isfinite(cost[0]))

        lookout = self.lookout
        lookout.begin()
        self._outcome.begin()
        self._tiers.use(executor)
        again = 0.0 if self.plan.layout.held else 1.0  # run within the adjoints' launches
        steps = round(self.plan.steps * (1.0 + self.plan.recomputation - again))
        try:
            with self._run(steps) as pace:
                run_backward(
                    executor,
                    self.segments,
                    self.plan.schedule,
                    self._tiers,
                    forward_done,
                    lookout.states,
                    adjoints or lookout.adjoints,
                    pace.between,
                )
        finally:
            self._tiers.clear()
        self._sum_lanes(executor)
        return cost[0], self._outcome.backward(wanted)

    def _sum_lanes(self, executor: Executor) -> None:
        """Sum what lanes have added to gradients of shared Params, each to a copy of its own."""
        if self._reduce is not None:
            self._reduce(*([] if self.info.on_cpu else [executor.copies]))

    def watched_backward(self, watch: Watch, done: Callable[[], None]) -> NDArray[np.float64]:
        """Run forward and backward in mode `step` while somebody looks at what each kernel writes.

        Args:
            watch: Who looks.
            done: Called when the cost is complete and before anything is recomputed.
        """
        executor = self._executor("step")
        assert isinstance(executor, Step)  # noqa: S101  (its mode says so)
        executor.watch = watch
        try:
            return self._backward(executor, done=done)[0]
        finally:
            executor.watch = None

    def extended_backward(self, more: Extension, adjoints: Callable[[int], object]) -> NDArray[np.float64]:
        """Run forward and backward with stages of somebody else in the adjoints of each step.

        Gradients are left on the device, finite or not. Return the cost of each world.

        Args:
            more: The stages; the memory that they write is allocated.
            adjoints: Called as `adjoints(t0)` after the adjoints of each segment.
        """
        self._verify(gradients=True)
        key = self.mode, more.key
        if key not in self._extended:
            values = self._executor(self.mode)
            self._extended[key] = Measured(values, self._make(self.mode, more.stages(values.stages)))
        return self._backward(self._extended[key], adjoints)[0]

    def cost(self) -> NDArray[np.float64]:
        """Return the cost of each world, as memory holds it."""
        return self._outcome.cost()

    def gradient_buffer(self, value: Buffer) -> Buffer:
        """Return where the gradient of a Param, Control or initial value is found after `backward`."""
        assert value.adjoint is not None  # noqa: S101  (only differentiable buffers are asked for)
        return self._reduced.get(value.adjoint, value.adjoint)

    def seconds(self, mode: str) -> float:
        """Estimate the seconds of one gradient in a mode from its first steps, run twice."""
        executor, n = self._executor(mode), min(_VERIFIED_STEPS, self.plan.window, self.plan.steps)
        self.stamp += 1
        for _ in range(2):  # the first one compiles
            start = time.perf_counter()
            executor.gradient(0, n, True)
            self.cost()
        return (time.perf_counter() - start) / n * self.plan.steps * (1.0 + self.plan.recomputation) / 2.0

    def close(self) -> None:
        """Give all memory back, with the kernels compiled for it."""
        self._spent = self.compile_seconds
        for executor in [*self._executors.values(), *self._extended.values()]:
            executor.close()
        self.lookout.close()
        self._outcome.close()
        self._tiers.close()
        if self._reduce is not None:
            self._reduce.close()
        self._executors.clear()
        self._extended.clear()
        self.storage.close()

    # ---- trust ----

    def _verify(self, gradients: bool) -> None:
        """Compare values or gradients of the first steps with mode `step`; fall back where they differ."""
        if self.mode == "tape":
            self.first.look(gradients)
        elif self.mode != "step" and self._verified < 1 + gradients:
            self._verified = 1 + gradients
            worst, name, n = self._compare(self.mode, gradients)
            if worst > _TOLERANCE[self.info.real]:
                self.fallback = f"{self.mode} differed from step mode by {worst:.1e} in {name}"
                self.mode = "step"
                warnings.warn(
                    f"mode {self.plan.mode!r} gave other results than 'step' on the first {n} steps ("
                    f"{self.fallback}); running in mode 'step', which is slower; please report the simulator",
                    stacklevel=4,
                )
        if gradients and self._open:
            self._open = False
            if not self.fallback:
                self.tune()

    def _compare(self, mode: str, gradients: bool) -> tuple[float, str, int]:
        """Return how far a mode is off mode `step` on its first steps, where, and on how many steps."""
        executor, step = self._executor(mode), self._step_mode
        n = min(max(self._verified_steps, executor.stride + 1), self.plan.window, self.plan.steps)
        for one in (executor, self._executor(step)):
            one.announce(gradients)
        mine, reference = self._first_steps(mode, n, gradients), self._first_steps(step, n, gradients)
        found = furthest(mine, reference)
        if found[0] > _TOLERANCE[self.info.real]:
            again, initial = lambda: self._first_steps(step, n, gradients), self.lowered.initial.values()
            found = furthest(mine, reference, rounding(self.storage, initial, again, reference))
        if found[0] > _TOLERANCE[self.info.real] and step == CHECK:
            # code that is optimised rounds otherwise: what is run where modes differ has the last word
            self._executor("step")
            return self._compare(mode, gradients)
        return *found, n

    @property
    def _step_mode(self) -> str:
        """What other modes are compared with: mode `step`, as it is at hand or compiled in no time."""
        return CHECK if self.info.native and "step" not in self._executors else "step"

    @property
    def _verified_steps(self) -> int:
        """How many steps modes are compared on."""
        if not self.info.native:
            return _VERIFIED_STEPS
        [step] = (c.seconds for c in self.plan.candidates if c.mode == "step")
        affordable = _VERIFY_SECONDS * self.plan.steps / (_UNOPTIMISED * step)
        return int(min(max(_VERIFIED_STEPS, affordable), _MOST_VERIFIED))

    def tune(self, longest: float | None = None) -> Verdict:
        """Time the modes that may win, and go on in the fastest; remember what was found.

        Args:
            longest: Time every mode that is not expected to compile for more seconds than that.
        """
        self._open = False
        self.stamp += 1
        plan = self.plan

        def executor(candidate: Candidate) -> Executor:
            return self._executor(candidate.mode, candidate.chunk)

        def differs(mode: str) -> bool:
            return self._compare(mode, gradients=True)[0] > _TOLERANCE[self.info.real]

        compared = {"step", plan.mode} if self._verified == 2 else {"step"}
        bench = EngineBench(plan, executor, differs, compared)
        if longest is None:
            compiled = () if self.info.native else ("step",)
            verdict = contest(plan.mode, plan.candidates, bench, plan.iterations, compiled)
        else:
            verdict = survey(plan.candidates, bench, longest)
        if plan.tunable:
            Memo().put(key_of(self.stages, self.info, plan), verdict.timings)
            self.plan = decided(plan, verdict, None if longest is None else plan.iterations)
            self.mode = self.plan.mode
        return verdict

    def _first_steps(self, mode: str, n: int, gradients: bool) -> dict[str, NDArray[Any]]:
        """Run a few steps in a mode and return the cost, the States and, if asked for, all gradients."""
        executor = self._executor(mode)
        self.stamp += 1
        executor.forward(0, n, True)
        found: dict[str, NDArray[Any]] = {"cost": self.cost()}
        last = slice(self.plan.layout.history + n)
        for state in self.lowered.all_states:
            found[state.source.key] = np.stack(self.storage.arrays(state, last if state.timed else None))
        if not gradients:
            return found
        executor.backward(0, n, True)
        self._sum_lanes(executor)
        for value in parameter_adjoints(self.lowered):
            buffer = self._reduced.get(value, value)
            found[gradient_key(value.source.key)] = np.stack(
                [np.array(a) for a in self.storage.arrays(buffer)]
            )
        return found
