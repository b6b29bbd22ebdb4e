"""Holding Taichi's own reverse mode against a rollout's adjoints."""

from __future__ import annotations

from typing import Any

from diffsim.language.seeds import checked_seed
from diffsim.rollout.seeded import Seeded
from diffsim.runtime import RuntimeInfo

__all__ = ["Audited"]


class Audited(Seeded):
    """The part of `Rollout` that looks at each kernel's adjoint alone."""

    _info: RuntimeInfo
    steps: int

    def audit(self, *, seed: int = 0) -> Any:
        """Compare, kernel by kernel, Taichi's reverse mode and our adjoint with central differences in f64.

        Each kernel of `reset`, `step` and the costs is run alone, where a step early in the rollout finds it,
        with every number of its memory moved a little, for random adjoints and along random directions.
        What Taichi gets wrong is told with the line and the family of the trap. Works from a rollout of any
        mode, in f32 too, on a CPU; kernels run in processes of their own, which Taichi may end.

        Args:
            seed: Of random numbers.

        Returns:
            A report with `.kernels`, `.wrong`, `.ours_wrong` and `.passed`; print it. See
            `diffsim.rollout.audit.AuditReport`.

        Raises:
            ConfigError: The seed is none.
            StateError: The runtime computes on a GPU, or fields have no values.
        """
        from diffsim.rollout.audit import audit

        return audit(self._program, self._info, self.steps, checked_seed(seed))
