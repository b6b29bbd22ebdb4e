"""What a rollout in mode `python` tells of itself, and what it refuses: it has values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from diffsim.errors import ConfigError
from diffsim.plan.modes import show_seconds
from diffsim.sizes import show_bytes

__all__ = ["PlainPlan", "ValuesOnly"]


@dataclass(frozen=True)
class PlainPlan:
    """The plan of a rollout in mode `python`; print it.

    Attributes:
        steps, worlds: What is run.
        bytes: Memory of the fields of one world.
        seconds: That a step took in the last run; 0 before the first one.
    """

    steps: int
    worlds: int
    bytes: int
    seconds: float = 0.0
    mode: str = "python"

    def __str__(self) -> str:
        took = f", {show_seconds(self.seconds)} per step" if self.seconds else ""
        return (
            "mode       python (asked for: kernels run as plain Python on NumPy, a thousand times slower "
            f"than machine code{took}; values only)\n"
            f"steps      {self.steps:,} in {self.worlds:,} world(s), one after the other\n"
            f"memory     {show_bytes(self.bytes)} for the fields of a world"
        )


class ValuesOnly:
    """What a rollout in mode `python` has not: gradients, and what is known from reading kernels alone."""

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"{what} must be asked of a rollout in another mode, got mode 'python', which runs kernels as "
            "plain Python and has values only; make ds.Rollout(simulator, steps, mode='step')"
        )

    def value_and_grad(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: this mode has no gradients.

        Raises:
            ConfigError: Always, as do the other methods that need more than values.
        """
        self._refuse("a gradient")

    audit = evaluate = adjoints = adjoint_norms = gradient_warning = leaves = touch = value_and_grad

    def check_grad(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse; see `value_and_grad`."""
        self._refuse("a check of the gradient")

    def health(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse; see `value_and_grad`."""
        self._refuse("the health of a gradient")

    def graph(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse; see `value_and_grad`."""
        self._refuse("a graph")

    def explain(self) -> NoReturn:
        """Refuse; see `value_and_grad`."""
        self._refuse("what was made of kernels")

    def export(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse; see `value_and_grad`."""
        self._refuse("machine code")

    occupancy = memory_of = export
