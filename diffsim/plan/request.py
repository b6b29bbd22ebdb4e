"""What a user asks of a plan: the horizon, the worlds, and a budget for each place that holds memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from diffsim.errors import ConfigError
from diffsim.options import plain_number
from diffsim.sizes import parse_bytes

__all__ = ["MODES", "SCHEDULES", "SCRATCHES", "Request"]

MODES = ("auto", "step", "chunk", "fused", "tape", "python")
SCRATCHES = ("auto", "held", "recomputed")
SCHEDULES = ("auto", "multistage", "mixed", "two-level")
_MOST = 2**31 - 1  # kernels count in 32 bits, and write to slot t + 1


@dataclass(frozen=True)
class Request:
    """Everything that a plan is asked for, besides the program.

    Attributes:
        steps: The horizon.
        worlds: Copies that run in parallel.
        memory: The byte budget of all fields, a number or a size like `"512MiB"`.
        mode: One of `MODES`.
        window: Force so many steps in memory; None to choose.
        schedule: One of `SCHEDULES`: which checkpoint schedules may be chosen.
        host_memory: The byte budget of checkpoints in the host's memory beside the fields; 0 for none.
        spill: The folder that checkpoints may be written to; None for no such folder.
        disk_memory: The byte budget of that folder.
        chunk: Force so many steps into one launch of mode `chunk`; None to choose.
        iterations: How many gradients the time to compile may be spread over.
        scratch: One of `SCRATCHES`: whether Scratches are held for the whole window, or computed again.
    """

    steps: int
    worlds: int = 1
    memory: float | str = "1GiB"
    mode: str = "auto"
    window: int | None = None
    schedule: str = "auto"
    host_memory: float | str = 0
    spill: str | os.PathLike[str] | None = None
    disk_memory: float | str = "16GiB"
    chunk: int | None = None
    iterations: int = 1000
    scratch: str = "auto"

    def check(self) -> Request:
        """Return the request with Python's own numbers, if all of it is allowed.

        Raises:
            ConfigError: A part is not allowed.
        """
        plain = replace(self, **{name: plain_number(value) for name, value in vars(self).items()})
        plain._check()
        return plain

    def _check(self) -> None:
        for name in ("steps", "worlds"):
            value = getattr(self, name)
            if not _whole(value) or not 1 <= value < _MOST:
                raise ConfigError(
                    f"{name} must be a positive integer of 31 bits, got {value!r}; use {name}=1 at least"
                )
        for name in ("window", "chunk"):
            value = getattr(self, name)
            if value is not None and (not _whole(value) or value < 1):
                raise ConfigError(f"{name} must be a positive integer or None, got {value!r}; leave it out")
        if not _whole(self.iterations) or not 1 <= self.iterations < _MOST:
            raise ConfigError(
                f"iterations must be a positive integer of 31 bits, got {self.iterations!r}; "
                "leave it out where unsure"
            )
        for name, known in (("mode", MODES), ("schedule", SCHEDULES), ("scratch", SCRATCHES)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise ConfigError(
                    f"{name} must be one of {', '.join(known)}, got {value!r}; use 'auto' where unsure"
                )
        if self.chunk is not None and self.mode not in ("auto", "chunk"):
            raise ConfigError(
                f"chunk must be None in mode {self.mode!r}, got {self.chunk}; use mode='chunk', or no chunk"
            )
        if self.scratch == "recomputed" and (self.mode == "chunk" or self.chunk is not None):
            raise ConfigError(
                "scratch must be 'held' in mode 'chunk', whose launches are several steps each, got "
                "'recomputed'; use mode='step' or 'fused'"
            )
        if self.scratch == "recomputed" and self.mode == "tape":
            raise ConfigError(
                "scratch must be 'held' in mode 'tape', whose adjoints read what kernels have left, got "
                "'recomputed'; leave it out, or use mode='step'"
            )
        if self.scratch == "recomputed" and self.schedule == "mixed":
            raise ConfigError(
                "scratch must be 'held' in a mixed schedule, which keeps all values of windows, got "
                "'recomputed'; use schedule='auto'"
            )
        if self.spill is not None and not _names_folder(self.spill):
            raise ConfigError(
                f"spill must be a folder or None, got {self.spill!r}; leave it out where unsure"
            )
        _ = self.device_bytes, self.host_bytes, self.disk_bytes

    @cached_property
    def device_bytes(self) -> int:
        """The budget of all fields."""
        return parse_bytes(self.memory)

    @cached_property
    def host_bytes(self) -> int:
        """The budget of checkpoints in the host's memory."""
        return parse_bytes(self.host_memory, "host_memory", least=0)

    @cached_property
    def disk_bytes(self) -> int:
        """The budget of checkpoints on the disk; 0 without a folder for them."""
        size = parse_bytes(self.disk_memory, "disk_memory", least=0)
        return 0 if self.spill is None else size


def _names_folder(spill: Any) -> bool:
    name = os.fspath(spill) if isinstance(spill, str | os.PathLike) else b""
    return isinstance(name, str) and name != "" and "\0" not in name


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
