"""Gradient descent, with momentum, normalisation and clipping.

Taichi reads the annotations of kernels, so this module does not postpone them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim._taichi import ti
from diffsim.optim.base import Optimizer
from diffsim.optim.host import HostMemory
from diffsim.optim.memory import Memory
from diffsim.optim.rule import check_flag, check_positive, check_share, clipped, store

__all__ = ["SGD"]

Array = NDArray[np.float64]


class _SGDHost(HostMemory):
    """The same in NumPy."""

    def change(self, place: slice, g: Array, numbers: Sequence[float]) -> Array:
        if len(self.kept) > 1:
            g += numbers[1] * self.kept[1, place].astype(np.float64)
            self.kept[1, place] = g
        return -numbers[0] * g


@ti.data_oriented
class _SGDMemory(Memory):
    """A slot for the velocity, where there is momentum."""

    host: ClassVar[type[HostMemory] | None] = _SGDHost

    @ti.func
    def change(self, place, g, numbers):
        step = g
        if ti.static(self.slots > 1):
            step += numbers[1] * ti.cast(self.kept[1, place], ti.f64)
            self.kept[1, place] = ti.cast(step, self.kept.dtype)
        return -numbers[0] * step


@dataclass(frozen=True)
class SGD(Optimizer):
    """Descend along the gradient, with momentum.

    In each iteration::

        v <- momentum v + g
        p <- p - lr v

    where `g` is the gradient of all parameters together, first brought to length 1 (`normalize`), then
    shortened to at most `clip_norm`. A gradient of length 0 stays 0. Without momentum, normalised steps have
    length `lr`, which suits costs with kinks: contacts, impacts.

    Args:
        lr: The learning rate, above 0.
        momentum: The share of the last step that is kept, from 0 up to, not including, 1.
        normalize: Bring the gradient to length 1.
        clip_norm: The largest length of the gradient, above 0; None for no limit.

    Raises:
        ConfigError: A hyperparameter is out of its range.

    Reference: Polyak (1964), "Some methods of speeding up the convergence of iteration methods".
    """

    lr: float
    momentum: float = 0.0
    normalize: bool = False
    clip_norm: float | None = None

    memory: ClassVar[type[Memory]] = _SGDMemory

    def __post_init__(self) -> None:
        """Check every hyperparameter and store it as a plain Python number."""
        store(
            self,
            lr=check_positive("SGD.lr", self.lr, "use 1e-2 where unsure"),
            momentum=check_share("SGD.momentum", self.momentum, "use 0.0 for none"),
            normalize=check_flag("SGD.normalize", self.normalize),
        )
        if self.clip_norm is not None:
            store(self, clip_norm=check_positive("SGD.clip_norm", self.clip_norm, "use None for no limit"))

    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum > 0 else ()

    def numbers(self, iteration: int) -> tuple[float, ...]:
        return (self.lr, self.momentum)

    def scale(self, norm: float) -> float:
        if not self.normalize:
            return clipped(norm, self.clip_norm)
        return clipped(1.0, self.clip_norm) / norm if norm > 0 else 0.0
