"""Rollouts: a simulator over a horizon, with its cost, its gradients and its trajectories."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import runtime
from diffsim.diagnosis import explain_not_finite
from diffsim.engine.engine import Engine, plan_program
from diffsim.errors import ConfigError, GradientError, StateError
from diffsim.fields import Control, Field, Scratch, State
from diffsim.frames import collect_frames
from diffsim.inputs import Inputs
from diffsim.ir import Accumulate, Buffer, walk
from diffsim.leaves import Leaf, Wrt, resolve
from diffsim.plan import MODES, Plan
from diffsim.simulator import Simulator
from diffsim.trace import Program, trace

__all__ = ["Rollout", "plan"]

Cost = Any  # a float, or an array with one number per world


def _checked(steps: Any, worlds: Any, mode: Any) -> None:
    for name, value in (("steps", steps), ("worlds", worlds)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value < 2**31 - 1:
            raise ConfigError(
                f"{name} must be a positive integer of 31 bits, got {value!r}; use {name}=1 at least"
            )
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}; use 'auto' where unsure")


def plan(
    simulator: Simulator, steps: int, worlds: int = 1, memory: int | str = "1GiB", mode: str = "auto"
) -> Plan:
    """Say how a rollout would be run, without allocating or compiling anything.

    Args:
        simulator: What to run.
        steps: The horizon.
        worlds: Copies that run in parallel.
        memory: The byte budget, a number or a size like `"512MiB"`.
        mode: `auto`, `step` or `fused`.

    Returns:
        The plan; print it.

    Raises:
        ConfigError: An argument is not allowed, or the budget is too small for one step.
        TraceError: The simulator cannot be traced.
        GradientError: A kernel cannot be differentiated.
        StateError: The runtime was not started.
    """
    _checked(steps, worlds, mode)
    info = runtime.info()
    return plan_program(trace(simulator), info, int(steps), int(worlds), memory, mode, None)[2]


class Rollout:
    """Run a simulator over a horizon: the cost, its gradients, and what happened on the way.

    The cost is differentiable with respect to Params, Controls and the initial values of States.

    Args:
        simulator: What to run. Its Python attributes are frozen here: kernels see them as they are now.
        steps: The horizon.
        worlds: Copies that run in parallel, each with a cost of its own.
        memory: The byte budget of all fields, a number or a size like `"512MiB"`. Where it is too small to
            keep every step, checkpoints are kept and steps are recomputed; the gradient is the same.
        mode: `step` launches every kernel of every step, `fused` whole segments of steps; `auto` chooses.
        window: Force so many steps in memory; for tests.

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
        memory: int | str = "1GiB",
        mode: str = "auto",
        *,
        window: int | None = None,
    ) -> None:
        self.closed = True
        _checked(steps, worlds, mode)
        if window is not None and (not isinstance(window, int) or window < 1):
            raise ConfigError(f"window must be a positive integer or None, got {window!r}; leave it out")
        info = runtime.info()
        self.sim, self.steps, self.worlds = simulator, int(steps), int(worlds)
        self._program: Program = trace(simulator)
        lowered, stages, chosen = plan_program(
            self._program, info, self.steps, self.worlds, memory, mode, window
        )
        self._info = info
        self._runtime_program = runtime.register(self)
        self._engine = Engine(lowered, stages, chosen, info)
        self._inputs = Inputs(self._engine)
        self.closed = False
        for field in self._program.fields.values():
            if isinstance(field, Control):
                field.steps = self.steps

    @property
    def plan(self) -> Plan:
        """What was decided and why; print it."""
        chosen = self._engine.plan
        if self._engine.fallback:
            return dataclasses.replace(chosen, mode="step", reason=self._engine.fallback)
        return chosen

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling kernels so far."""
        return self._engine.compile_seconds

    def close(self) -> None:
        """Free the memory; the newest parameter values are kept on the host."""
        if self.closed:
            return
        if self._runtime_program is runtime.current_program():
            self._inputs.bring_home()
            self._engine.close()
        self.closed = True

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending() and not getattr(self, "closed", True):
            self.close()

    # ---- results ----

    def value(self) -> Cost:
        """Return the cost: a float, or an array with one number per world where there is more than one.

        Raises:
            StateError: The cost is not finite; the message has the first step and State that is not.
        """
        self._prepare()
        self._engine.forward()
        return self._cost(self._engine.cost())

    def value_and_grad(self, wrt: Wrt = None) -> tuple[Cost, dict[str, NDArray[Any]]]:
        """Return the cost and its gradients.

        Args:
            wrt: Params, Controls, parts (all their Params and Controls) and States (their initial values), or
                their keys; one or a list. None: every Param and Control.

        Returns:
            The cost as `value` gives it, and a dict from attribute paths (`"policy.w0"`) to arrays of the
            shape of the declaration. The gradient of what worlds share is the sum over worlds.

        Raises:
            ConfigError: `wrt` names something without a gradient.
            StateError: The cost is not finite.
            GradientError: A gradient is not finite.
        """
        leaves = self.leaves(wrt)
        cost = self.evaluate(wrt)
        gradients = {leaf.key: leaf.gradient() for leaf in leaves}
        for key, gradient in gradients.items():
            if not np.all(np.isfinite(gradient)):
                index = np.argwhere(~np.isfinite(gradient))[0].tolist()
                raise GradientError(
                    f"the gradient of {key} must be finite, got {gradient[tuple(index)]} at index {index} "
                    "while the cost is finite; look for sqrt, norm, division, log or pow at a point where "
                    "their slope is infinite, or for growth"
                )
        return cost, gradients

    def evaluate(self, wrt: Wrt = None) -> Cost:
        """Run forward and backward and leave the gradients on the device, in `Leaf.grads`.

        Raises:
            StateError: The simulator has no cost, or the cost is not finite.
        """
        self._prepare()
        if not (self._program.running_cost or self._program.terminal_cost or self._adds_cost()):
            name = type(self.sim).__name__
            raise StateError(
                f"{name} must have a cost to differentiate, got none; define terminal_cost or running_cost"
            )
        return self._cost(self._engine.backward())

    def _adds_cost(self) -> bool:
        return any(
            isinstance(op, Accumulate) and op.ref.buffer.kind == "cost"
            for stage in self._engine.lowered.step
            for op in walk(stage.body)
        )

    def trajectory(self, field: Field, every: int = 1) -> NDArray[Any]:
        """Return what a field held over time.

        Args:
            field: A State, Scratch or Control of the simulator.
            every: Steps between frames.

        Returns:
            Frames at t = 0, every, 2 every, ... (a State up to and including `steps`, others below it), shape
            `(frames, *shape, *components)`; with worlds > 1 `(frames, worlds, ...)`.

        Raises:
            ConfigError: The field has no time axis or is not of this simulator.
        """
        return self.trajectories({"field": field}, every)["field"]

    def trajectories(self, fields: Mapping[str, Field], every: int = 1) -> dict[str, NDArray[Any]]:
        """Return the trajectories of several fields from one run; see `trajectory`.

        Raises:
            ConfigError: A field has no time axis or is not of this simulator, or `every` is not positive.
        """
        if not isinstance(every, int | np.integer) or isinstance(every, bool) or every < 1:
            raise ConfigError(f"every must be a positive integer, got {every!r}; use 1 for all frames")
        buffers = {name: self._timed_buffer(field) for name, field in fields.items()}
        self._prepare()
        return collect_frames(self._engine, buffers, int(every))

    def _timed_buffer(self, field: Field) -> Buffer:
        buffer = self._engine.lowered.buffers.by_field.get(id(field)) if isinstance(field, Field) else None
        if buffer is None or not isinstance(field, State | Scratch | Control):
            known = [k for k, f in self._program.fields.items() if isinstance(f, State | Scratch | Control)]
            raise ConfigError(
                f"trajectory must be of a State, Scratch or Control of {type(self.sim).__name__}, got "
                f"{field!r}; it has {', '.join(known)}"
            )
        return buffer

    def check_grad(
        self, wrt: Wrt = None, directions: int = 5, seed: int = 0, tolerance: float | None = None
    ) -> Any:
        """Compare gradients with central finite differences along random directions.

        Args:
            wrt: As for `value_and_grad`.
            directions: How many random directions.
            seed: Of the directions.
            tolerance: Largest relative error that passes; 1e-6 in f64 and 2e-2 in f32 where left out.

        Returns:
            A report with `.passed`, `.error` and a table as its text.

        Raises:
            ConfigError: An argument is not allowed.
            StateError: The cost is not finite.
        """
        from diffsim.grad.check import check_grad

        return check_grad(self, wrt, directions, seed, tolerance)

    # ---- parameters ----

    def leaves(self, wrt: Wrt = None) -> list[Leaf]:
        """Return what `wrt` names, on the device and up to date.

        Raises:
            ConfigError: `wrt` names something without a gradient.
        """
        fields = resolve(self._program, wrt)
        self._prepare()
        return [Leaf(self, self._engine, field, self._inputs.buffer(field)) for field in fields]

    def touch(self, leaves: Iterable[Leaf]) -> None:
        """Say that the device values of leaves were changed, so that the host's copies are old."""
        self._inputs.touch([(leaf.field, leaf.buffer) for leaf in leaves])

    def _prepare(self) -> None:
        """Check that the rollout can run, and bring changed values to the device."""
        if self.closed:
            raise StateError("the rollout must be open, got a closed one; make a new Rollout")
        if self._runtime_program is not runtime.current_program():
            raise StateError(
                "the rollout must live on the running Taichi program, got another ti.init since; make it anew"
            )
        self._inputs.upload()

    # ---- trouble ----

    def _cost(self, cost: NDArray[np.float64]) -> Cost:
        if not np.all(np.isfinite(cost)):
            raise StateError(explain_not_finite(self._engine, cost))
        return float(cost[0]) if self.worlds == 1 else cost
