"""What the random numbers of a rollout's kernels start from."""

from __future__ import annotations

from abc import ABC, abstractmethod

from diffsim.language.seeds import checked_seed
from diffsim.language.trace import Program

__all__ = ["Seeded"]


class Seeded(ABC):
    """The part of `Rollout` that has a seed."""

    _program: Program

    @abstractmethod
    def _require_idle(self) -> None:
        """Refuse to touch memory that a run is using."""

    def _begin_with(self, seed: int) -> None:
        self._program.seeds.run = checked_seed(seed)

    @property
    def seed(self) -> int:
        """The seed of the random numbers that kernels draw (`ds.random`), in effect at the next run.

        Another seed gives other draws, without compiling anything; the same one gives the same draws in every
        run, mode and window. The seed of `ds.init` counts too, and each world has draws of its own.

        Raises:
            ConfigError: It is set to something else than an integer from 0 to 2**64 - 1.
            StateError: It is set while the rollout runs.
        """
        return self._program.seeds.run

    @seed.setter
    def seed(self, value: int) -> None:
        self._require_idle()
        self._begin_with(value)
