"""The derivative of the cost by what a rollout held on its way."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.engine.record import Recorder, measured_backward
from diffsim.errors import ConfigError
from diffsim.language.cells import numbers_in
from diffsim.language.controls import Control
from diffsim.language.fields import Field, Param, Scratch, State
from diffsim.language.trace import Program
from diffsim.rollout.diagnosis import sensitivity
from diffsim.rollout.frames import Names, checked_every
from diffsim.rollout.growth import growing
from diffsim.rollout.leaves import Leaf, Wrt
from diffsim.rollout.recorded import Recorded
from diffsim.rollout.seen import labels_of
from diffsim.sizes import show_bytes
from diffsim.view.adjoints import adjoint_name, adjoint_unit
from diffsim.view.trajectory import labelled

__all__ = ["Adjoints"]


class Adjoints(Recorded):
    """The part of `Rollout` that tells what its cost depends on, step by step."""

    steps: int

    @property
    @abstractmethod
    def _epsilon(self) -> float:
        """The distance from 1 to the next number of the working precision."""

    @abstractmethod
    def leaves(self, wrt: Any = None) -> list[Leaf]:
        """Return what `wrt` names, on the device and up to date."""

    @abstractmethod
    def _require_cost(self) -> None:
        """Refuse to differentiate what has no cost."""

    @abstractmethod
    def _cost(self, cost: NDArray[np.float64]) -> Any:
        """Return the cost as users get it, or refuse one that is not finite."""

    @growing
    def adjoints(self, fields: Field | str | Names | None = None, every: int = 1) -> Any:
        """Return d cost / d x[t]: how much the cost would change if a State were another in the midst of it.

        The adjoint of `x[t]` is the derivative of all that the cost gets from step `t` on, through all later
        steps. At t = 0 it is the gradient of the initial value, unless `reset` changes that or kernels read
        `x[t - 1]`, which is held fixed; at t = `steps` it is the derivative of the terminal cost alone. What
        step `t - 1` itself adds to the cost by reading `x[t]` belongs to that step. Of a State that no step
        writes it is what the steps from `t` on contribute. Of a Control it is its gradient, entry by entry.
        Numbers that are not finite are returned as they are: `health()` tells why.

        One gradient is run. Adjoints are copied within its launches, compiled for them at the first call,
        and go to the host segment by segment: a horizon of any length takes no more device memory than one
        window of it, a frame in each `every` steps, beside the budget of the rollout.

        Args:
            fields: A State or a Control, or its key; a list of these, or a dict of them under names of your
                own. None for all States of real numbers.
            every: Steps between frames.

        Returns:
            For one field a `Signal` of the shape of `trajectory(field, every)`: frames at t = 0, every, ...
            (a State up to and including `steps`, a Control below it), with worlds > 1 `(frames, worlds,
            ...)`, each the derivative of its world's own cost. For several a dict of these. From its own end
            on (see `lengths`) a world has the adjoint of its last State.

        Raises:
            ConfigError: A field has no adjoint (a Scratch, integers, a Control that worlds share), `every` is
                not positive, or so many frames need more memory than there is; the message has one that fits.
            StateError: The simulator has no cost, or the cost is not finite.
        """
        every = checked_every(every)
        chosen = _chosen(self._program, fields, self.worlds)
        controls = list({id(f): f for f in chosen.values() if isinstance(f, Control)}.values())
        leaves = self.leaves(controls) if controls else []
        self._prepare()  # which may make the memory anew
        by_field = self._engine.lowered.buffers.by_field
        states = {id(f): by_field[id(f)] for f in chosen.values() if not isinstance(f, Control)}
        self._require_cost()
        recorder = _recorder(self._engine, list(states.values()), every)
        with self._ending.run():
            cost, frames = recorder.run()
        self._cost(cost)
        found = {key: self._state(frames[buffer], buffer.source) for key, buffer in states.items()}
        found |= {id(leaf.field): self._control(leaf, every) for leaf in leaves}
        label = labels_of(self._program.simulator, every, self.worlds)
        signals = {}
        for name, field in chosen.items():
            told = label(adjoint_name(name), field, len(found[id(field)]))
            signals[name] = labelled(
                found[id(field)], dataclasses.replace(told, unit=adjoint_unit(told.unit))
            )
        return next(iter(signals.values())) if isinstance(fields, Field | str) else signals

    @growing
    def adjoint_norms(self) -> NDArray[np.float64]:
        """Return the length of the adjoint of all States together, after each step; see `adjoints`.

        It takes no memory to speak of, whatever the States: sums are made inside the backward pass.

        Returns:
            Shape (steps + 1,), for t = 0 .. `steps`; with worlds > 1 (steps + 1, worlds).

        Raises:
            StateError: The simulator has no cost, or the cost is not finite.
        """
        self._prepare()
        self._require_cost()
        norms = self._measured()[1].T.copy()
        lengths = self._engine.lengths
        assert lengths is not None  # noqa: S101  (there was a run)
        for world, length in enumerate(lengths):
            norms[length:, world] = norms[length, world]
        return norms if self.worlds > 1 else norms[:, 0].copy()

    def _measured(self) -> tuple[Any, NDArray[np.float64]]:
        """Run a gradient; return the cost and the norm of the adjoint, (worlds, steps + 1)."""
        cost, norms = measured_backward(self._engine)
        return self._cost(cost), norms

    def _state(self, frames: NDArray[Any], field: Field) -> NDArray[Any]:
        """Return frames with the axes of the declaration, worlds where there are many."""
        frames = frames.reshape(frames.shape[: 2 + len(field.shape)] + field.type.shape)
        return frames if self.worlds > 1 else frames[:, 0].copy()

    def _control(self, leaf: Leaf, every: int) -> NDArray[Any]:
        """Return the gradient of the entry that each frame's step is of, frames first."""
        assert isinstance(leaf.field, Control)  # noqa: S101  (only those are asked for)
        entries = np.arange(0, self.steps, every) // leaf.field.every
        gradient = numbers_in(leaf.gradient())
        return np.swapaxes(gradient, 0, 1)[entries] if self.worlds > 1 else gradient[entries]

    def gradient_warning(self, cost: Any, wrt: Wrt = None) -> str | None:
        """Judge the last gradient by what its run left behind, in one line; None where nothing looks bad.

        Runs nothing: it tells what is plain to see. `health` measures.

        Args:
            cost: What `evaluate` or `value_and_grad` returned.
            wrt: As for them.
        """
        from diffsim.rollout.grad.health import describe_last

        engine = self._engine
        gradients = {leaf.key: numbers_in(leaf.gradient()) for leaf in self.leaves(wrt)}
        rounding = self._epsilon * sensitivity(engine, np.atleast_1d(np.asarray(cost, dtype=np.float64)))
        return describe_last(gradients, engine.lookout.largest, rounding, self.steps, self._epsilon)


def _chosen(program: Program, fields: Any, worlds: int) -> dict[str, Field]:
    """Return the fields that a user names, under the user's names or their keys.

    Raises:
        ConfigError: One has no adjoint that is its own at each step.
    """
    known = program.fields
    if fields is None:
        states = {key: f for key, f in known.items() if isinstance(f, State) and not f.integer}
        return {key: f for key, f in states.items() if f.sparse is None}
    if isinstance(fields, Mapping):
        return {str(name): _differentiable(program, item, worlds) for name, item in fields.items()}
    single = isinstance(fields, str | Field) or not isinstance(fields, Iterable)
    found = [_differentiable(program, item, worlds) for item in ([fields] if single else fields)]
    if not found:
        raise ConfigError("adjoints must be of one field or more, got none; leave them out for all States")
    return {field.key: field for field in found}


def _differentiable(program: Program, item: Any, worlds: int) -> Field:
    """Return the State or Control that a user means."""
    known = program.fields
    field: Any = known.get(item) if isinstance(item, str) else item
    mine = isinstance(field, Field) and any(field is one for one in known.values())
    if mine and isinstance(field, State | Control) and not field.integer:
        if isinstance(field, Control) and worlds > 1 and not field.per_world:
            raise ConfigError(
                f"adjoints must be of a Control that each world has for itself, got {field.label}, which "
                f"{worlds} worlds share, and with it one sum; declare it with per_world=True, or ask "
                "value_and_grad for the sum"
            )
        if field.sparse is not None:
            raise ConfigError(
                f"adjoints must be of a field whose elements are the same in all steps, got {field.label}, "
                "whose layout is sparse; ask value_and_grad for the gradient of its first value"
            )
        return field
    listed = [k for k, f in known.items() if isinstance(f, State | Control) and not f.integer]
    got, remedy = repr(item), f"it has {', '.join(listed) or 'none'}"
    if mine and isinstance(field, Scratch):
        got = field.label
        remedy = "add a Control of zeros to it in the kernel, and ask for that Control's adjoint"
    elif mine and field.integer:
        got = f"{field.label}, which holds integers and has no adjoint"
    elif mine:
        got = f"{field.label}, which has no value for each step"
        remedy = "ask value_and_grad for its gradient" if isinstance(field, Param) else remedy
    raise ConfigError(
        f"adjoints must be of a State or Control of real numbers of {type(program.simulator).__name__}, got "
        f"{got}; {remedy}"
    )


def _recorder(engine: Engine, states: list[Buffer], every: int) -> Recorder:
    """Return what records so many frames.

    Raises:
        ConfigError: Those of one segment take more than the rollout's budget, or all more than the machine.
    """
    wanted = Recorder(engine, states, every)
    for what, most, size in (
        ("those of one segment on the device", engine.plan.budget, lambda r: r.bytes),
        ("all of them on the host", _memory_of_machine() // 2, lambda r: r.host_bytes),
    ):
        if size(wanted) > most:
            fits = every
            while fits <= engine.plan.steps and size(Recorder(engine, states, fits)) > most:
                fits *= 2
            remedy = f"use every={fits}, or name" if fits <= engine.plan.steps else "name"
            raise ConfigError(
                f"every must leave so few frames of adjoints that {what} fit in {show_bytes(most)}, got "
                f"{every}, for which they take {show_bytes(size(wanted))}; {remedy} fewer fields"
            )
    return wanted


def _memory_of_machine() -> int:
    """Return the bytes of memory that the machine has, or a great many where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 50
