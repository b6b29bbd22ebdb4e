"""A running optimization: the optimizer's state on the device, and how to save and restore it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi, runtime
from diffsim.errors import ConfigError, GradientNotFiniteError, StateError
from diffsim.optim.host import HostMemory
from diffsim.optim.memory import NUMBERS, Memory
from diffsim.optim.rule import Rule, StepInfo
from diffsim.optim.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from diffsim.rollout import Rollout
    from diffsim.rollout.leaves import Leaf

__all__ = ["OptimizerRun"]

Arrays = dict[str, NDArray[Any]]

# Memory that runs have given back, by where the fields of the leaves are: the next run of the same kind, also
# of a later rollout with these fields, finds its kernels compiled.
_idle: weakref.WeakKeyDictionary[Any, list[Memory]] = weakref.WeakKeyDictionary()


class OptimizerRun:
    """Change the parameters of a rollout step by step, on the device. `Optimizer.start` makes one.

    Args:
        optimizer: The rule.
        rollout: What is minimised; with several worlds, the sum of their costs.
        wrt: What may change.

    Attributes:
        iteration: Iterations done.
        best_cost: The lowest cost so far, infinite before the first iteration. Where all that is optimised is
            `per_world` and there are several worlds, each world has its own: an array (worlds,). Else it is
            that of all worlds together, also where only some parameters are shared: what a world has for
            itself is at its best beside the shared values it was tried with.
        best_iteration: The iteration that found it, -1 before the first; an array as `best_cost` is.
        halvings: How often `halve` was called.

    Raises:
        ConfigError: `wrt` names nothing, or something that can't be optimised.
        StateError: The rollout was closed.
    """

    def __init__(self, optimizer: Rule, rollout: Rollout, wrt: Any = None) -> None:
        self._memory: Memory | HostMemory | None = None
        self.optimizer, self._rollout, self._wrt = optimizer, rollout, wrt
        self._leaves = rollout.leaves(wrt)
        if not self._leaves:
            raise ConfigError(
                "wrt must name something to optimise, got nothing: the simulator has no Param and no "
                "Control; declare one, or name a State (its initial value)"
            )
        for leaf in self._leaves:
            _require_dense(leaf.field)
        self._slots = ("best", *optimizer.slots())
        self._home = self._leaves[0].home
        self._memory = self._borrow(self._leaves)
        self._versions = self._now()
        self.iteration, self.halvings, self._since = 0, 0, 0
        self.best_cost: Any = math.inf
        self.best_iteration: Any = -1
        if self._memory.worlds:
            self.best_cost = np.full(self._memory.worlds, math.inf)
            self.best_iteration = np.full(self._memory.worlds, -1)

    def __repr__(self) -> str:
        state = "closed" if self._memory is None else f"best cost {float(np.sum(self.best_cost)):.6g}"
        return f"<run of {self.optimizer!r}: iteration {self.iteration}, {state}>"

    def _borrow(self, leaves: list[Leaf]) -> Memory | HostMemory:
        """Take memory that an earlier run gave back, or make some."""
        kind, slots = self.optimizer.memory, len(self._slots) - 1
        host = vars(kind).get("host")  # a subclass that changes the rule must say so of both
        if host is not None and host.suits(leaves):
            made: HostMemory = host(leaves, slots)
            return made
        kind = _taichi.carried_class(kind)  # what users wrote too
        idle = _idle.setdefault(self._home, [])
        for k, memory in enumerate(idle):
            if type(memory) is kind and memory.fits(leaves, slots):
                memory.clear(0)
                return idle.pop(k)
        memory = kind(leaves, slots)
        memory.clear(0)
        return memory

    def close(self) -> None:
        """Give the memory back; the parameters stay as they are."""
        memory, self._memory = self._memory, None
        if isinstance(memory, Memory):
            _idle.setdefault(self._home, []).append(memory)

    def __enter__(self) -> OptimizerRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, done: Callable[[StepInfo], object] | None = None) -> StepInfo:
        """Evaluate the cost and its gradient, then change the parameters.

        Ctrl-C ends the evaluation, with nothing changed; between the change and its bookkeeping it waits.

        Args:
            done: Called with what is returned, as part of the bookkeeping.

        Returns:
            Cost and gradient length at the parameters as they were before.

        Raises:
            GradientError: The gradient is not finite; the parameters have not been changed.
            StateError: The cost is not finite (the parameters have not been changed), or the run or its
                rollout was closed.
        """
        memory = self._open()
        cost = self._rollout.evaluate(self._wrt)
        if isinstance(memory, Memory) and self._leaves[0].home is not self._home:
            raise StateError(
                "the capacity of sparse layouts must stay while an optimizer works on the device, "
                "got a larger one on the way; run the rollout once before, or declare it"
            )
        squared = memory.norm_squared()
        if not math.isfinite(squared):
            raise self._not_finite()
        info = StepInfo(cost, math.sqrt(squared))
        with uninterrupted():
            self._change(memory, info)
            if done is not None:
                done(info)
        return info

    def _change(self, memory: Memory | HostMemory, info: StepInfo) -> None:
        """Keep the parameters that are best, change all of them, and note both."""
        objective = info.cost if memory.worlds else float(np.sum(info.cost))
        better = objective < self.best_cost
        numbers = self.optimizer.numbers(self.iteration - self._since)
        padded = [float(number) for number in numbers] + [0.0] * (NUMBERS - len(numbers))
        scale = self.optimizer.scale(info.grad_norm)
        if memory.worlds and np.any(better):
            memory.keep_worlds(np.ascontiguousarray(better, dtype=np.int32))
        keep = not memory.worlds and bool(better)
        memory.update(int(keep), scale, 0.5**self.halvings, padded)
        self._touch()
        if memory.worlds:
            self.best_cost = np.where(better, objective, self.best_cost)
            self.best_iteration = np.where(better, self.iteration, self.best_iteration)
        elif keep:
            self.best_cost, self.best_iteration = objective, self.iteration
        self.iteration += 1

    def halve(self) -> None:
        """Go back to the best parameters, with a rule that starts afresh there and half the step length.

        What the rule keeps is zeroed and its iterations count from 0 again: a velocity that led astray would
        do so again. From now on every change is multiplied by one half more.

        Raises:
            StateError: There are no best parameters yet, or the run or its rollout was closed.
        """
        with uninterrupted():
            self.go_back()
            self._open().clear(1)
            self.halvings, self._since = self.halvings + 1, self.iteration

    def go_back(self) -> None:
        """Set the parameters to the best ones.

        Raises:
            StateError: There are none yet, or the run or its rollout was closed.
        """
        memory = self._open()
        if not self.started:
            raise StateError(
                "the run must have a best iteration to go back to, got none yet; call step() first"
            )
        with uninterrupted():
            self._upload()
            memory.go_back()
            self._touch()

    @property
    def started(self) -> bool:
        """Tell whether there are best parameters, those of a finite cost."""
        return bool(np.all(np.asarray(self.best_iteration) >= 0))

    def fields(self) -> dict[str, Any]:
        """Return what is optimised, by key."""
        return {leaf.key: leaf.field for leaf in self._leaves}

    def best(self) -> Arrays:
        """Return a copy of the parameters of the lowest cost so far, or the present ones before any."""
        return self._read("best" if self.started else "value")

    def last(self) -> Arrays:
        """Return a copy of the present parameters."""
        return self._read("value")

    def state(self) -> Arrays:
        """Return a copy of all that a run needs to go on as if it had not been stopped.

        Returns:
            The parameters (`value.KEY`), the best ones so far (`best.KEY`), what the rule keeps
            (`velocity.KEY`, ...), `iteration`, `best_cost`, `best_iteration`, `halvings` and `since`, the
            iteration from which on the rule counts.
        """
        arrays: Arrays = {
            "iteration": np.array(self.iteration),
            "best_cost": np.array(self.best_cost, dtype=np.float64),
            "best_iteration": np.array(self.best_iteration),
            "halvings": np.array(self.halvings),
            "since": np.array(self._since),
        }
        for slot in ("value", *self._slots):
            arrays |= {f"{slot}.{key}": array for key, array in self._read(slot).items()}
        return arrays

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go to where `state` was taken; parameters included.

        Args:
            state: What `state` of a run of the same optimizer and the same `wrt` returned.

        Raises:
            ConfigError: An array is missing, unknown, or has another shape; nothing has been changed.
            StateError: The run or its rollout was closed.
        """
        early = {"halvings": np.array(0), "since": np.array(0)} if state else {}  # of before there were any
        found = _checked({**early, **state}, self.state())
        with uninterrupted():
            for slot in (*self._slots, "value"):
                for leaf in self._leaves:
                    leaf.set(found[f"{slot}.{leaf.key}"])
                if slot != "value":
                    self._swap(slot)
            self._upload()
            self.iteration = int(found["iteration"])
            self.halvings, self._since = int(found["halvings"]), int(found["since"])
            self.best_cost, self.best_iteration = found["best_cost"], found["best_iteration"]
            if not np.ndim(self.best_cost):
                self.best_cost, self.best_iteration = float(self.best_cost), int(self.best_iteration)

    def _open(self) -> Memory | HostMemory:
        """Return the memory, if it can still be used."""
        if self._memory is None:
            raise StateError(
                "the optimizer run must be open, got a closed one; start another: optimizer.start(rollout)"
            )
        if self._rollout.closed:
            raise StateError(
                "the rollout must be open while it is optimised, got a closed one; make a new Rollout"
            )
        if self._memory.program is not runtime.current_program():
            raise StateError(
                "the optimizer run must live on the running Taichi program, got another ti.init since; make "
                "its rollout anew"
            )
        return self._memory

    def _read(self, slot: str) -> Arrays:
        """Copy a slot to the host, in the shapes of the declarations.

        A slot has the layout of the parameters on the device, which the rollout alone can read: it takes
        their place for a moment.
        """
        if slot == "value":
            self._upload()
            self._touch()  # read from the device: worlds of their own have their axis there only
            return {leaf.key: leaf.numpy() for leaf in self._leaves}
        with uninterrupted():
            self._swap(slot)
            try:
                return {leaf.key: leaf.numpy() for leaf in self._leaves}
            finally:
                self._swap(slot)

    def _swap(self, slot: str) -> None:
        """Exchange the parameters and a slot."""
        self._upload()
        self._open().swap(self._slots.index(slot))
        self._touch()

    def _upload(self) -> None:
        """Bring to the device what was set on the host, and look at nothing else.

        What the rollout holds against its simulator (an attribute that was changed) must not keep anyone from
        reading what has been found.
        """
        self._open()
        if self._now() != self._versions:
            self._rollout.leaves(self._wrt)
            self._versions = self._now()

    def _touch(self) -> None:
        """Say that the device has the newest parameters."""
        self._rollout.touch(self._leaves)
        self._versions = self._now()

    def _now(self) -> list[int]:
        return [leaf.field.version for leaf in self._leaves]

    def _not_finite(self) -> GradientNotFiniteError:
        """Say which gradient is not finite."""
        bad = [leaf.key for leaf in self._leaves if not np.all(np.isfinite(leaf.gradient()))]
        where = f"of {', '.join(bad)}" if bad else "(its length overflows)"
        return GradientNotFiniteError(
            f"the gradient {where} must be finite, got infinity or NaN in iteration {self.iteration} (the "
            "parameters are as they were); look for a root or a division at zero, or shorten the horizon if "
            'the gradient grows with every step; rollout.value_and_grad(debug="nan") finds the place'
        )


def _require_dense(field: Any) -> None:
    """Refuse a State whose first values lie in blocks, which an optimizer would leave at zero elsewhere.

    Raises:
        ConfigError: It has a sparse layout.
    """
    if field.sparse is not None:
        raise ConfigError(
            f"wrt must name fields with all their elements in memory, got {field.label}, whose layout is "
            "sparse; optimise a Param that reset stores into it"
        )


def _checked(state: Mapping[str, NDArray[Any]], wanted: Arrays) -> Arrays:
    """Return the arrays of a saved state, which must have the keys and shapes of the present one."""
    unlike = sorted(set(state) ^ set(wanted))
    if unlike:
        verb = "have" if unlike[0] in wanted else "not have"
        raise ConfigError(
            f"the optimizer's state must {verb} an array {unlike[0]!r}, got "
            f"{', '.join(sorted(state)) or 'nothing'}; load it into a run with the same optimizer and wrt"
        )
    found = {key: np.asarray(array) for key, array in state.items()}
    for key, array in found.items():
        if array.shape != wanted[key].shape or array.dtype.kind not in "iuf":
            raise ConfigError(
                f"the optimizer's state {key!r} must be numbers of shape {wanted[key].shape}, got "
                f"{array.dtype} of shape {array.shape}; load it into a run of the same simulator"
            )
    return found
