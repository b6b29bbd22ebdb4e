"""Which class a rollout is of: that depends on the mode that is asked for."""

from __future__ import annotations

from typing import Any

from diffsim.rollout.plainly import PlainRollout

__all__ = ["Chosen"]

_MODE = 4  # the place of `mode` among the arguments


class Chosen:
    """The part of `Rollout` that hands a mode which shares nothing with the others to a class of its own."""

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        return True if Chosen in cls.__bases__ and other is PlainRollout else NotImplemented

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Make a rollout of the class that runs its mode."""
        mode = options.get("mode", args[_MODE] if len(args) > _MODE else "auto")
        if isinstance(mode, str) and mode == "python":
            return PlainRollout(*args, **options)
        return super().__new__(cls)
