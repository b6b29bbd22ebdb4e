"""Numbers that are looked up before each run: which cells of Taichi fields made by hand are active."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.language.fields import Constant
from diffsim.language.types import i32

__all__ = ["Followed"]


class Followed(Constant):
    """What is looked up before each run, since Python may have changed it.

    Args:
        label: What to call it in messages.
        shape: Of the numbers.
        limits: What they never go beyond.
        look: Returns them.
    """

    def __init__(
        self, label: str, shape: tuple[int, ...], limits: tuple[int, int], look: Callable[[], NDArray[Any]]
    ) -> None:
        super().__init__(i32, *shape)
        self.made_for(label)
        self.limits, self._look = limits, look

    @property
    def label(self) -> str:
        """Name it in messages."""
        return f"the {self.key}"

    def refresh(self) -> None:
        """Look again; what is as it was is not brought to the device again."""
        values = self._look()
        if not np.array_equal(values, self.host_values()):
            self.set(values)
