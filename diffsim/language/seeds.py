"""What random numbers in kernels start from: the seed of `init`, that of a rollout, and the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.language.philox import philox
from diffsim.options import plain_number

__all__ = ["Seeds", "checked_seed", "keys", "world_keys"]

_SEEDS = 2**64


@dataclass
class Seeds:
    """What the random numbers of a rollout's next run start from.

    Attributes:
        run: The rollout's seed.
    """

    run: int = 0


def checked_seed(seed: Any) -> int:
    """Return a seed of a run as Python's own number.

    Raises:
        ConfigError: It is not one.
    """
    number = plain_number(seed)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _SEEDS:
        raise ConfigError(
            f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}; use 0, 1, 2, ... for other draws"
        )
    return number


def keys(worlds: NDArray[np.int64], start: int, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the two words of the key that each world has.

    Args:
        worlds: Their numbers.
        start: The seed of `init`.
        run: The seed of the rollout.
    """
    made = philox([worlds, run >> 32, 0, 0], [start, run & 0xFFFFFFFF])
    return made[0].astype(np.int64), made[1].astype(np.int64)


def world_keys(count: int, start: int, run: int) -> NDArray[np.int32]:
    """Return the bits of the keys of so many worlds, shape (count, 2); see `keys`."""
    bits = np.stack(keys(np.arange(count), start, run), axis=-1)
    return np.ascontiguousarray(bits.astype(np.uint32)).view(np.int32)
