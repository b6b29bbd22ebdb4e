"""Reading the alarms that kernels raised: indices and divisors that left their range."""

from __future__ import annotations

import numpy as np

from diffsim.compiler.checks.alarms import Alarms
from diffsim.engine.storage import Storage
from diffsim.errors import StateError

__all__ = ["AlarmBoard"]


class AlarmBoard:
    """The alarms of a program in memory.

    Args:
        alarms: What kernels look at.
        storage: Where they raise them.
    """

    def __init__(self, alarms: Alarms, storage: Storage) -> None:
        self._alarms, self._storage = alarms, storage

    def clear(self) -> None:
        """Put out what an earlier run raised."""
        if self._alarms.all and np.any(self._storage.arrays(self._alarms.buffer)[0]):
            self._storage.write(self._alarms.buffer, np.zeros(()), ())

    def check(self) -> None:
        """Raise the alarm of the earliest step, if any.

        Raises:
            StateError: An index left its field, or a number its range, while the kernels ran.
        """
        if not self._alarms.all:
            return
        board = self._storage.arrays(self._alarms.buffer)[0]
        raised = np.argwhere(board[..., 0])
        if not len(raised):
            return
        world, row = min(raised.tolist(), key=lambda at: (board[at[0], at[1], 2], at[1], at[0]))
        number, step = int(board[world, row, 1]), int(board[world, row, 2])
        alarm = self._alarms.all[row]
        place = f"at step {step}" + (f" of world {world}" if len(board) > 1 else "")
        raise StateError(f"{alarm.where}: {alarm.rule} {number} {place}; {alarm.remedy}")
