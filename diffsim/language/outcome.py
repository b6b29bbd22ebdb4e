"""What a run has besides declared fields: its cost, that a world ends, where random numbers start."""

from __future__ import annotations

from diffsim.language.fields import Field
from diffsim.language.types import i32, real

__all__ = ["Cost", "Done", "Key"]


class Cost(Field):
    """The scalar that kernels add the cost to: `self.cost[None] += ...`. Every simulator has one."""

    kind = "cost"

    def __init__(self) -> None:
        super().__init__(real, ())
        self.key = "cost"


class Done(Field):
    """The flag that kernels set to end their world, `self.done[None] = True`. Every simulator has one."""

    kind = "done"

    def __init__(self) -> None:
        super().__init__(i32, ())
        self.key = "done"

    @property
    def label(self) -> str:
        """Name the field in messages."""
        return "self.done"


class Key(Field):
    """What random numbers of each world start from: two integers. Programs whose kernels draw have one."""

    kind = "key"

    def __init__(self) -> None:
        super().__init__(i32, (2,))
        self.key = "random numbers"

    @property
    def label(self) -> str:
        """Name the field in messages."""
        return "what random numbers start from"
