"""Counting what passes between the host and a device: launches, reads, writes and their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Tally"]


@dataclass
class Tally:
    """What passed between the host and a device since the last `clear`; nothing is counted on a CPU.

    Attributes:
        launches: Kernels that were started.
        reads: Times that the host waited for the device, to look at what it has computed.
        bytes_read: What it looked at.
        writes: Arrays that were sent to the device.
        bytes_written: Their size.
    """

    launches: int = 0
    reads: int = 0
    bytes_read: int = 0
    writes: int = 0
    bytes_written: int = 0

    def clear(self) -> None:
        """Begin anew."""
        self.launches = self.reads = self.bytes_read = self.writes = self.bytes_written = 0

    def counted(self, launch: Callable[..., None]) -> Callable[..., None]:
        """Return what launches a kernel and counts it."""

        def counting(*args: int) -> None:
            self.launches += 1
            launch(*args)

        return counting

    def read(self, size: int) -> None:
        """Count one copy to the host of so many bytes."""
        self.reads += 1
        self.bytes_read += size

    def written(self, size: int) -> None:
        """Count one copy to the device of so many bytes."""
        self.writes += 1
        self.bytes_written += size
