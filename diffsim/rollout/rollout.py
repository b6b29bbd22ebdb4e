"""Rollouts: a simulator over a horizon, with its cost, its gradients and its trajectories."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi, runtime
from diffsim.compiler.explain import Explanation, explain
from diffsim.engine.pace import Progress
from diffsim.engine.pools import clean
from diffsim.errors import ConfigError, GradientNotFiniteError, StateError, StateNotFiniteError
from diffsim.language.cells import numbers_in
from diffsim.language.simulator import Simulator
from diffsim.language.trace import Program, trace
from diffsim.options import plain_number
from diffsim.plan import Plan, Request
from diffsim.plan.planning import warn_of
from diffsim.rollout.adjoints import Adjoints
from diffsim.rollout.audited import Audited
from diffsim.rollout.chosen import Chosen
from diffsim.rollout.diagnosis import NanWatch, explain_gradient, explain_not_finite
from diffsim.rollout.growth import Grown, growing
from diffsim.rollout.leaves import Leaf, Wrt, require_cost, resolve
from diffsim.rollout.occupancy import Occupied, seen_rooms
from diffsim.rollout.shown import Shown

__all__ = ["Rollout"]

Cost = Any  # a float, or an array with one number per world


class Rollout(Chosen, Grown, Adjoints, Shown, Audited, Occupied):
    """Run a simulator over a horizon: the cost, its gradients, and what happened on the way.

    The cost is differentiable with respect to Params, Controls and the initial values of States. In a `with`
    block its memory is freed at the end. What is known without memory (`plan`, `explain`, `graph`, `lengths`)
    can be asked of a closed rollout too; all else is an error then.

    Args:
        simulator: What to run. What its methods and kernels read from Python must stay as it is now: a run
            says so where it did not. Values of fields change by their `set`.
        steps: The horizon.
        worlds: Copies that run in parallel, each with a cost of its own.
        memory: The byte budget of all fields, a number or a size like `"512MiB"`. Where it is too small to
            keep every step, checkpoints are kept and steps are recomputed; the gradient is the same.
        mode: `step` launches every kernel of every step, `chunk` a few steps at a time, `fused` whole
            segments; `tape` leaves them to Taichi, `python` runs plain Python, for values; `auto` chooses.
        window: Force so many steps in memory; for tests.
        schedule: The checkpoint schedule: `multistage`, `mixed`, `two-level`; `auto` chooses.
        host_memory: The byte budget of checkpoints in the host's memory beside the fields; 0 for none.
        spill: A folder that checkpoints may be written to; none is left there when a gradient is done.
        disk_memory: The byte budget of that folder.
        chunk: Force so many steps into one launch of mode `chunk`.
        iterations: How many gradients the time to compile may be spread over.
        scratch: `held` keeps the Scratches of each step of a window, `recomputed` those of one step alone,
            and runs each step again before its adjoint; `auto` chooses.
        progress: Called as `progress(done, total, phase)` after each segment of a run that has several: the
            steps run so far, those of the whole run, forward and backward, and `forward` or `backward`. It
            may raise to end the run, and must not run or close the rollout itself.
        seed: What random numbers in kernels start from, as `seed` may be set to before each run.

    Raises:
        ConfigError: An argument is not allowed, or the budget is too small for one step.
        TraceError: A step or kernel cannot be traced.
        GradientError: A kernel cannot be differentiated rightly.
        StateError: The runtime was not started.
    """

    def __init__(
        self,
        simulator: Simulator,
        steps: int,
        worlds: int = 1,
        memory: float | str = "1GiB",
        mode: str = "auto",
        *,
        window: int | None = None,
        schedule: str = "auto",
        host_memory: float | str = 0,
        spill: str | os.PathLike[str] | None = None,
        disk_memory: float | str = "16GiB",
        chunk: int | None = None,
        iterations: int = 1000,
        scratch: str = "auto",
        progress: Progress | None = None,
        seed: int = 0,
    ) -> None:
        request = Request(
            *(steps, worlds, memory, mode, window, schedule, host_memory, spill, disk_memory),
            *(chunk, iterations, scratch),
        ).check()
        if progress is not None and not callable(progress):
            raise ConfigError(
                f"progress must be a function or None, got {progress!r}; it is called with done, total, phase"
            )
        info = runtime.info()
        self.sim, self.steps, self.worlds = simulator, int(steps), int(worlds)
        self._program: Program = trace(simulator)
        self._begin_with(seed)
        self._info, self._request, self._progress = info, request, progress
        self._make()
        warn_of(self._engine.lowered, self._engine.plan)
        self._runtime_program = runtime.register(self)
        self._has_cost = False  # as far as it was looked
        self._closed = False

    @property
    def plan(self) -> Plan:
        """What was decided and why; print it."""
        engine = self._engine
        rooms = engine.plan.rooms if self.closed else seen_rooms(engine)
        chosen = dataclasses.replace(engine.plan, compiled=engine.compile_seconds, rooms=rooms)
        if engine.fallback:
            return dataclasses.replace(chosen, mode="step", reason=engine.fallback, chunk=0)
        return chosen

    def explain(self) -> Explanation:
        """Say what was made of each kernel, and why, and which were left to Taichi once it ran; print it."""
        return explain(self._engine.lowered, self._engine.stages, self._engine.left_to_taichi)

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling kernels so far."""
        return self._engine.compile_seconds

    def close(self) -> None:
        """Give the memory back, for later rollouts; the newest parameter values are kept on the host."""
        if self.closed:
            return
        self._require_idle()
        if self._runtime_program is runtime.current_program():
            self._inputs.bring_home()
            self._engine.close()
        self._closed = True

    def __enter__(self) -> Rollout:
        self.require_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        known = vars(self)
        if "_ending" not in known:
            return "<Rollout that could not be made>"
        worlds = f"{self.worlds:,} worlds, " if self.worlds > 1 else ""
        state = "closed" if self.closed else self._engine.mode
        return f"<Rollout of {type(self.sim).__name__}: {self.steps:,} steps, {worlds}{state}>"

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending() and not self.closed:
            self.close()

    # ---- results ----

    @growing
    def value(self) -> Cost:
        """Return the cost: a float, or an array with one number per world where there is more than one.

        Raises:
            StateError: The cost is not finite; the message has the first step and State that is not.
        """
        self._prepare()
        with self._ending.run(at_end=True):
            cost = self._engine.forward()
        return self._cost(cost)

    @growing
    def value_and_grad(self, wrt: Wrt = None, *, debug: str | None = None) -> tuple[Cost, dict[str, Any]]:
        """Return the cost and its gradients.

        Args:
            wrt: Params, Controls, parts (all their Params and Controls) and States (their initial values), or
                their keys; one or a list. None: every Param and Control.
            debug: `"nan"` runs kernel by kernel and looks at every number that each of them writes: the first
                value or adjoint that is not finite becomes an error that names the kernel, the step, the
                field, the index and the statement. Slow. An infinity counts as not finite, also one that is
                stored on purpose.

        Returns:
            The cost as `value` gives it, and a dict from attribute paths (`"policy.w0"`) to arrays of the
            shape of the declaration, worlds first where there are many and the field is `per_world`. The
            gradient of what worlds share is the sum over worlds. That of a State with a sparse layout is
            `ds.Cells`: of those in blocks that are active at the beginning, and of no others.

        Raises:
            ConfigError: `wrt` names something without a gradient, or `debug` is not known.
            StateError: The cost is not finite; or a State that is carried on in a long run is NaN.
            GradientNotFiniteError: A gradient is not finite, or an adjoint on its way back in a long run.
        """
        if debug not in (None, "nan"):
            raise ConfigError(f"debug must be None or 'nan', got {debug!r}; use 'nan' to find a NaN")
        self._hold(scratches=False)
        leaves = self.leaves(wrt)
        self._require_cost()
        with self._ending.run():
            if debug is None:
                costs, known = self._engine.gradients([leaf.gradient_buffer for leaf in leaves])
            else:
                watch = NanWatch(self._engine)
                costs, known = self._engine.watched_backward(watch, watch.forward_done), {}
        cost = self._cost(costs)
        gradients = {leaf.key: leaf.gradient(known) for leaf in leaves}
        for leaf, gradient in zip(leaves, gradients.values(), strict=True):
            if not np.all(np.isfinite(numbers_in(gradient))):
                clean(self._engine.storage, self._engine.lowered.topologies)
                raise GradientNotFiniteError(explain_gradient(leaf.field, gradient))
        return cost, gradients

    @growing
    def evaluate(self, wrt: Wrt = None) -> Cost:
        """Run forward and backward and leave the gradients on the device, in `Leaf.grads`.

        Raises:
            StateError: The simulator has no cost, or the cost is not finite.
            GradientError: An adjoint that is carried back in a long run is not finite.
        """
        self._hold(scratches=False)
        self._prepare()
        self._require_cost()
        with self._ending.run():
            return self._cost(self._engine.backward())

    def _require_cost(self) -> None:
        if not self._has_cost:
            require_cost(self._program, self._engine.lowered)
            self._has_cost = True

    @growing
    def check_grad(
        self,
        wrt: Wrt = None,
        directions: int = 5,
        seed: int = 0,
        tolerance: float | None = None,
        *,
        components: bool | int = False,
        forward: bool = True,
        modes: bool = True,
        python: float | None = None,
    ) -> Any:
        """Compare gradients with finite differences, with other modes, and values with plain Python.

        A rollout in f32 is run once more in f64: the check passes where the gradient is right there, and the
        one in f32 is near it. Coarse differences tell what has no effect from a cost in jumps. Values,
        gradients and later runs stay as they are.

        Args:
            wrt: As for `value_and_grad`.
            directions: How many random directions.
            seed: Of the directions.
            tolerance: Largest relative error that passes; 1e-6 in f64 and 2e-2 in f32 where left out.
            components: Compare components one by one too: all of them (True), or so many drawn at random.
            forward: Compare with the derivative by forward mode.
            modes: Compare with the gradient in mode `step`, where that takes a few seconds at most.
            python: Seconds for the values of the first steps in mode `python`; 2 where left out, 0 for none.

        Returns:
            A report with `.passed`, `.error`, `.verdict` in one word, `.worst` and a table as its text that
            ends with the verdict in a sentence; see `diffsim.grad.GradientReport`.

        Raises:
            ConfigError: An argument is not allowed.
            StateError: The cost is not finite.
            GradientError: A gradient is not finite.
        """
        from diffsim.rollout.grad.check import check_grad

        self._hold(scratches=False)
        given = (directions, seed, tolerance, components, python)
        directions, seed, tolerance, components, python = map(plain_number, given)
        options: Any = {"components": components, "forward": forward, "modes": modes, "python": python}
        return check_grad(self, wrt, directions, seed, tolerance, **options)

    @growing
    def health(self, wrt: Wrt = None) -> Any:
        """Measure how the gradient fares on its way back through time; see `diffsim.grad.GradientHealth`.

        Compiles the backward pass once more, with sums over the adjoint of the States in it, and runs one
        gradient. The sums take `24 * (steps + 1) * worlds` bytes beside the budget. Where the gradient of a
        field is exactly zero in every element, the horizon is run forward at other values too, to tell what
        has no effect from a cost in jumps: 13 times, and up to 27 times more for each field that moves it.

        Args:
            wrt: As for `value_and_grad`.

        Returns:
            The adjoint norm of each step, its rate of growth, the horizon after which the gradient carries no
            information, a truncation to use, and what has no effect or one in jumps; print it.

        Raises:
            ConfigError: `wrt` names something without a gradient.
            StateError: The cost is not finite. A gradient that is not finite is no error here.
        """
        from diffsim.rollout.grad.health import make_health
        from diffsim.rollout.grad.probe import Probe
        from diffsim.rollout.grad.stairs import zeros_of

        leaves = self.leaves(wrt)
        self._require_cost()
        _, norms = self._measured()
        gradients = {leaf.key: numbers_in(leaf.gradient()) for leaf in leaves}
        probe = Probe(self._engine, self._inputs, [leaf.field for leaf in leaves])
        return make_health(norms, gradients, self._epsilon, zeros_of(probe, gradients, self._epsilon))

    @growing
    def export(
        self, folder: str | os.PathLike[str], name: str | None = None, *, portable: bool = False
    ) -> Path:
        """Write value and gradient as machine code that runs without diffsim, Taichi and, in C, Python.

        The folder gets an object file, a C header, a loader for Python that needs NumPy alone and, where
        there is a C compiler, a shared library. Inputs start as they are now, windows are those of the plan;
        what States and Constants with a sparse layout begin with stays as it is.

        Args:
            folder: Where to write; made where there is none. Files of the same names are replaced.
            name: What functions and files begin with; None for the simulator's class in lower case.
            portable: For any processor of this kind, instead of for this one.

        Returns:
            The folder.

        Raises:
            ConfigError: The name is not one of C, or the folder cannot be written to.
            StateError: No llvmlite, more than one world, a GPU, checkpoints outside of fields.
        """
        from diffsim.rollout.export import export

        self._prepare()
        return export(self._engine, self._inputs, folder, name or type(self.sim).__name__.lower(), portable)

    @property
    def _epsilon(self) -> float:
        return float(np.finfo(_taichi.NUMPY[self._info.real]).eps)

    @growing
    def leaves(self, wrt: Wrt = None) -> list[Leaf]:
        """Return what `wrt` names, on the device and up to date.

        Raises:
            ConfigError: `wrt` names something without a gradient.
        """
        fields = resolve(self._program, wrt)
        self._prepare()
        return [Leaf(self, field) for field in fields]

    def touch(self, leaves: Iterable[Leaf]) -> None:
        """Say that the device values of leaves were changed, so that the host's copies are old.

        Raises:
            StateError: The rollout was closed: its memory has no values any more.
        """
        self.require_open()
        self._inputs.touch([(leaf.field, leaf.buffer) for leaf in leaves])

    def _prepare(self) -> None:
        """Check that the rollout can run, and bring changed values to the device."""
        self.require_open()
        self._require_idle()
        self._fit()
        self._inputs.upload()

    # ---- trouble ----

    def require_open(self) -> None:
        """Refuse what needs the memory of a rollout that has none any more.

        Raises:
            StateError: It was closed, or the runtime was started again.
        """
        if self.closed:
            raise StateError("the rollout must be open, got a closed one; make a new Rollout")
        if self._runtime_program is not runtime.current_program():
            raise StateError(
                "the rollout must live on the running Taichi program, got another ti.init since; make it anew"
            )

    def _require_idle(self) -> None:
        if self._engine.running:
            raise StateError(
                "the rollout must be left alone while it runs, got a call from its progress or another "
                "thread; call it again when it has returned"
            )

    def _cost(self, cost: NDArray[np.float64]) -> Cost:
        if not np.all(np.isfinite(cost)):
            told = explain_not_finite(self._engine, cost)
            clean(self._engine.storage, self._engine.lowered.topologies)
            raise StateNotFiniteError(told)
        return float(cost[0]) if self.worlds == 1 else cost
