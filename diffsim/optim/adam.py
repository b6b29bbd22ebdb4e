"""Adam.

Taichi reads the annotations of kernels, so this module does not postpone them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim._taichi import ti
from diffsim.errors import ConfigError
from diffsim.optim.base import Optimizer
from diffsim.optim.host import HostMemory
from diffsim.optim.memory import Memory
from diffsim.optim.rule import check_positive, check_share, clipped, store

__all__ = ["Adam"]

Array = NDArray[np.float64]


class _AdamHost(HostMemory):
    """The same in NumPy."""

    def change(self, place: slice, g: Array, numbers: Sequence[float]) -> Array:
        rate, beta1, beta2, eps = numbers
        square = beta2 * self.kept[2, place].astype(np.float64)
        square += (1.0 - beta2) * g * g
        mean = beta1 * self.kept[1, place].astype(np.float64)
        mean += (1.0 - beta1) * g
        self.kept[1, place], self.kept[2, place] = mean, square
        mean *= -rate
        np.sqrt(square, out=square)
        square += eps
        mean /= square
        return mean


@ti.data_oriented
class _AdamMemory(Memory):
    """Slots for the mean of the gradient and the mean of its square."""

    host: ClassVar[type[HostMemory] | None] = _AdamHost

    @ti.func
    def change(self, place, g, numbers):
        mean = numbers[1] * ti.cast(self.kept[1, place], ti.f64) + (1.0 - numbers[1]) * g
        square = numbers[2] * ti.cast(self.kept[2, place], ti.f64) + (1.0 - numbers[2]) * g * g
        self.kept[1, place] = ti.cast(mean, self.kept.dtype)
        self.kept[2, place] = ti.cast(square, self.kept.dtype)
        return -numbers[0] * mean / (ti.sqrt(square) + numbers[3])


@dataclass(frozen=True)
class Adam(Optimizer):
    """Scale steps element by element with bias-corrected running means (Adam).

    In iteration `k = 1, 2, ...`::

        m <- beta1 m + (1 - beta1) g
        s <- beta2 s + (1 - beta2) g^2
        p <- p - lr m / (1 - beta1^k) / (sqrt(s / (1 - beta2^k)) + eps)

    where `g` is the gradient of all parameters together, shortened to at most `clip_norm`.

    Args:
        lr: The learning rate, above 0: about the largest change of a parameter in one iteration.
        betas: What is kept of the two means in an iteration, both from 0 up to, not including, 1.
        eps: What keeps the divisor from 0, above 0.
        clip_norm: The largest length of the gradient, above 0; None for no limit.

    Raises:
        ConfigError: A hyperparameter is out of its range.

    Reference: Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float | None = None

    memory: ClassVar[type[Memory]] = _AdamMemory

    def __post_init__(self) -> None:
        """Check every hyperparameter and store it as a plain Python number."""
        if not isinstance(self.betas, (tuple, list)) or len(self.betas) != 2:
            raise ConfigError(f"Adam.betas must be two numbers, got {self.betas!r}; use (0.9, 0.999)")
        first, second = (
            check_share(f"Adam.betas[{k}]", beta, "use (0.9, 0.999)") for k, beta in enumerate(self.betas)
        )
        store(
            self,
            lr=check_positive("Adam.lr", self.lr, "use 1e-2 where unsure"),
            betas=(first, second),
            eps=check_positive("Adam.eps", self.eps, "use 1e-8"),
        )
        if self.clip_norm is not None:
            store(self, clip_norm=check_positive("Adam.clip_norm", self.clip_norm, "use None for no limit"))

    def slots(self) -> tuple[str, ...]:
        return ("mean", "square")

    def numbers(self, iteration: int) -> tuple[float, ...]:
        # With c = sqrt(1 - beta2^k): m / (sqrt(s) / c + eps) = c m / (sqrt(s) + c eps), one division less.
        beta1, beta2 = self.betas
        c = math.sqrt(1.0 - beta2 ** (iteration + 1))
        return (self.lr * c / (1.0 - beta1 ** (iteration + 1)), beta1, beta2, self.eps * c)

    def scale(self, norm: float) -> float:
        return clipped(norm, self.clip_norm)
