"""The part of `Rollout` that draws its program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from diffsim.engine.engine import Engine
from diffsim.errors import ConfigError
from diffsim.language.cells import numbers_in
from diffsim.plan import Plan
from diffsim.rollout.leaves import Leaf, Wrt

if TYPE_CHECKING:
    from diffsim.view.graph import Graph

__all__ = ["Pictured"]

_KINDS = ("step", "time")


class Pictured(ABC):
    """Draw the step, one kernel, or the horizon of a rollout."""

    _engine: Engine

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """What was decided and why."""

    @abstractmethod
    def leaves(self, wrt: Wrt = None) -> list[Leaf]:
        """Return what `wrt` names, on the device and up to date."""

    @abstractmethod
    def _require_cost(self) -> None:
        """Refuse to differentiate what has no cost."""

    @abstractmethod
    def _cost(self, cost: Any) -> Any:
        """Return a cost as users get it; one that is not finite is an error."""

    def graph(self, what: str = "step", *, kernel: str | int | None = None, health: bool = False) -> Graph:
        """Draw the program; notebooks show what this returns, `print` writes it as Mermaid, `save` a picture.

        A step is drawn as its kernels, in order, with the fields that they read, write and add to. Along
        dashed lines no gradient flows; fields that none arrives at are grey.

        Args:
            what: `"step"`, or `"time"` for the horizon: segments, what is kept where, what is run again.
            kernel: Draw the operations of this kernel instead: its name (`"integrate"`, with its class where
                several have it), or its number in the picture of the step.
            health: Run one gradient, kernel by kernel, and colour the fields of a step by the size of their
                adjoints. Those whose gradient is exactly zero are grey.

        Returns:
            A graph with `.mermaid()`, `.dot()`, `.svg()`, `.png()`, `.inline_svg()` and `.save("x.svg")`.

        Raises:
            ConfigError: An argument is not allowed, there is no such kernel, or it is too large to be drawn.
            StateError: With `health`: the rollout is closed, has no cost, or one that is not finite.
        """
        if what not in _KINDS:
            raise ConfigError(
                f"what must be one of {', '.join(_KINDS)}, got {what!r}; kernel=... draws a kernel"
            )
        if kernel is not None and what != "step":
            raise ConfigError(f"kernel must be left out with {what!r}, got {kernel!r}; draw one or the other")
        if health and (kernel is not None or what != "step"):
            raise ConfigError("health must go with the picture of a step, got another one; leave it out")
        if what == "time":
            from diffsim.plan.timeline import time_graph

            return time_graph(self.plan)
        from diffsim.compiler.picture import kernel_graph, step_graph

        lowered = self._engine.lowered
        if kernel is not None:
            return kernel_graph(lowered, kernel)
        return step_graph(lowered, self._heat() if health else None)

    def _heat(self) -> Any:
        """Run one gradient and look at all adjoints."""
        from diffsim.rollout.grad.heat import AdjointWatch

        leaves = self.leaves()
        self._require_cost()
        watch = AdjointWatch(self._engine)
        self._cost(self._engine.watched_backward(watch, watch.forward_done))
        return watch.heat({leaf.buffer: numbers_in(leaf.gradient()) for leaf in leaves})
