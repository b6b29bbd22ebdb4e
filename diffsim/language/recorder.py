"""Who is told of kernel calls while a method of a simulator is traced, or run as plain Python."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Protocol

__all__ = ["Reader", "Recorder", "Rounds", "current", "reader", "rounds"]

Recorder = Callable[[Callable[..., Any], Any, tuple[Any, ...]], Any]
Rounds = Callable[[int, Any], Iterator[None]]
current: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("diffsim_recorder", default=None)
rounds: contextvars.ContextVar[Rounds | None] = contextvars.ContextVar("diffsim_rounds", default=None)


class Reader(Protocol):
    """What holds the elements of declared fields while kernels run as plain Python."""

    def load(self, field: Any, index: Any) -> Any:
        """Read an element."""

    def put(self, field: Any, index: Any, value: Any) -> None:
        """Store an element."""


reader: contextvars.ContextVar[Reader | None] = contextvars.ContextVar("diffsim_reader", default=None)
