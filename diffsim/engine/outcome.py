"""What a run tells the host: its alarms, costs, lengths and gradients, from a device in two copies in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.alarms import AlarmBoard
from diffsim.engine.lookout import Lookout
from diffsim.engine.storage import Storage

__all__ = ["Outcome"]


class Outcome:
    """Look at what a run has left: once behind its forward pass, and once behind its backward pass.

    Args:
        lowered: The program.
        storage: Its memory.
        lookout: Who looks at what is carried from segment to segment.
    """

    def __init__(self, lowered: LoweredProgram, storage: Storage, lookout: Lookout) -> None:
        self._storage, self._ended, self._lookout = storage, lowered.ended, lookout
        self._cost = lowered.buffers.by_field[id(lowered.program.simulator.cost)]
        self._alarms = lowered.alarms
        self._board = AlarmBoard(lowered.alarms, storage)

    def begin(self) -> None:
        """Put out the alarms of an earlier run."""
        self._board.clear()

    def check(self) -> None:
        """Raise the alarm of the earliest step, if any; see `AlarmBoard.check`."""
        self._board.check()

    def cost(self) -> NDArray[np.float64]:
        """Return the cost of each world, as memory holds it."""
        return np.array(self._storage.arrays(self._cost)[0], dtype=np.float64)

    def forward(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the cost of each world, and how many steps it ran, behind a forward pass.

        Raises:
            StateError: An alarm was raised.
        """
        layout, buffers = self._storage.layout, [self._cost]
        if self._ended is not None:
            buffers.append(self._ended)
        found = self._together(buffers)
        cost = np.array(found[0][0], dtype=np.float64)
        if self._ended is None:
            return cost, np.full(layout.worlds, layout.steps, np.int64)
        return cost, np.minimum(found[1][0], layout.steps).astype(np.int64)

    def backward(self, wanted: Sequence[Buffer] = ()) -> dict[Buffer, list[NDArray[Any]]]:
        """Return the arrays of buffers behind a backward pass, of all but pools.

        Raises:
            StateError: An alarm was raised, by adjoints that users wrote.
        """
        buffers = [buffer for buffer in wanted if buffer.place is None]
        pending = self._lookout.pending
        found = self._together([*buffers, *pending])
        if pending:
            self._lookout.settle(found.pop())
        return dict(zip(buffers, found, strict=True))

    def close(self) -> None:
        """Let go of all kernels."""
        self._board.close()

    def _together(self, buffers: Sequence[Buffer]) -> list[list[NDArray[Any]]]:
        """Return the arrays of buffers, once it is known that no alarm was raised."""
        if self._storage.on_cpu:
            self._board.check()
        board = self._alarms.buffers[:1] if not self._storage.on_cpu else []
        if not buffers and not board:
            return []
        found, raised = self._storage.together(buffers, board)
        if any(raised):
            self._board.check()
        return found
