"""Who is told of kernel calls while a method of a simulator is traced."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

__all__ = ["Recorder", "current"]

Recorder = Callable[[Callable[..., Any], Any, tuple[Any, ...]], Any]
current: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("diffsim_recorder", default=None)
