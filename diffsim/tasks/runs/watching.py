"""What may look at a run while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffsim.tasks.runs.folder import RunFolder
    from diffsim.tasks.runs.problem import Problem
    from diffsim.tasks.runs.state import Snapshot

__all__ = ["Watcher"]


class Watcher:
    """Looks at nothing; the base of those that do. All methods are called by the thread that trains."""

    def begin(self, folder: RunFolder, problem: Problem, snapshot: Snapshot) -> None:
        """Start to look.

        Args:
            folder: The run's folder.
            problem: Its live half, which may be used between iterations.
            snapshot: How far it is; its history grows from now on.
        """

    def look(self) -> float:
        """Look between two iterations; return the seconds that took, which are not those of training."""
        return 0.0

    def draw(self) -> None:
        """Note that the iterations are done, and pictures are made."""

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop to look, however the run ends."""

    def end(self, status: str, page: Path | None) -> None:
        """Note that the run has ended.

        Args:
            status: `finished` or `stopped`.
            page: Its report, where one was written.
        """
