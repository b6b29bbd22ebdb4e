"""What kernels tell of a run besides its fields: its cost, and that a world ends."""

from __future__ import annotations

from diffsim.language.fields import Field
from diffsim.language.types import i32, real

__all__ = ["Cost", "Done"]


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
