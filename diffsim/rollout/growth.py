"""Capacities of sparse layouts that change between runs: the rollout is planned and made anew for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.engine.pace import Progress
from diffsim.errors import CapacityError, ConfigError
from diffsim.language.fields import Valued
from diffsim.language.settled import Settled
from diffsim.language.simulator import Simulator
from diffsim.language.trace import Program
from diffsim.plan import Request
from diffsim.plan.planning import plan_program
from diffsim.rollout.frames import Ending
from diffsim.rollout.grad.first import judge_first, run_in_step
from diffsim.rollout.inputs import Inputs
from diffsim.runtime import RuntimeInfo

__all__ = ["Grown", "growing"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def growing(method: _Method) -> _Method:
    """Let a method begin again with more room where a layout whose capacity grows by itself was too small."""

    @functools.wraps(method)
    def begun_again(self: Grown, *args: Any, **options: Any) -> Any:
        if self._growing:  # who called this one begins again, with memory that is made anew
            return method(self, *args, **options)
        self._growing = True
        try:
            while True:
                try:
                    return method(self, *args, **options)
                except CapacityError as error:
                    if not getattr(error.layout, "automatic", False):
                        raise
                    error.layout.grow(error.needed)
        finally:
            self._growing = False

    return begun_again  # type: ignore[return-value]


class Grown(Settled):
    """The part of `Rollout` that plans it, and makes it anew where a sparse layout got another capacity."""

    sim: Simulator
    _movable = frozenset({"seed"})
    _remedy = "make a new Rollout"
    _program: Program
    _info: RuntimeInfo
    _engine: Engine
    _inputs: Inputs
    _ending: Ending
    _request: Request
    _progress: Progress | None
    _asked: Request | None = None
    _growing = False
    _closed = True

    @property
    def closed(self) -> bool:
        """Tell whether the memory was given back."""
        return self._closed

    def _make(self) -> None:
        """Plan the program, and make what runs it in the place of what ran it before, if anything did."""
        lowered, stages, chosen = plan_program(self._program, self._info, self._request)
        if hasattr(self, "_engine"):  # planned, so that a capacity beyond the budget leaves it as it was
            self._inputs.bring_home()
            self._engine.storage.reusable = False  # nobody will ask for memory of a size that was outgrown
            self._engine.close()
        self._engine = Engine(lowered, stages, chosen, self._info)
        self._engine.progress = self._progress
        self._inputs = Inputs(self._engine)
        if chosen.mode == "tape":
            self._engine.first.before = functools.partial(run_in_step, self)
            self._engine.first.judge = functools.partial(judge_first, self)
        self._ending = Ending(self._engine, self._inputs)

    def _hold(self, scratches: bool) -> None:
        """Hold the Scratches of all steps for who wants to see them, or compute them again as was planned.

        Args:
            scratches: Some are to be seen after a run.

        Raises:
            ConfigError: Held they do not fit the budget.
        """
        asked = self._asked or self._request
        if scratches and not self._engine.plan.layout.held:
            request, later = dataclasses.replace(asked, scratch="held"), asked
        elif not scratches and self._asked is not None:
            request, later = asked, None
        else:
            return
        before, self._request = self._request, request
        try:
            self._make()
        except ConfigError:  # held they do not fit: it stays as it was
            self._request = before
            raise
        self._asked = later

    def _fit(self) -> None:
        """Make the rollout anew where a layout has another capacity than it was made for."""
        if any(t.capacity != t.wanted for t in self._engine.lowered.topologies):
            self._make()

    def memory_of(self, field: Valued) -> tuple[Engine, Buffer]:
        """Return what runs now, and where it holds the values of a field: of a State, the first ones."""
        return self._engine, self._inputs.buffer(field)
