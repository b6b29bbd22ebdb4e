"""The random numbers of kernels in plain Python: those that every other mode draws."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from diffsim.errors import ConfigError
from diffsim.language.draws import NORMAL, STREAMS
from diffsim.language.philox import COUNTERS, philox
from diffsim.language.seeds import keys
from diffsim.plain.scalars import TYPES, real

__all__ = ["Streams"]


class Streams:
    """What the random numbers of one world start from.

    Args:
        world: Which world.
        start: The seed of `init`.
        run: The seed of the rollout.
    """

    def __init__(self, world: int, start: int, run: int) -> None:
        first, second = keys(np.array([world]), start, run)
        self._key = int(first[0]), int(second[0])

    def draw(self, normal: int, site: str, counters: list[int], stream: Any) -> Any:
        """Draw a number.

        Args:
            normal: Whether it is a normal one.
            site: The place of the call, where no stream is named.
            counters: What is counted.
            stream: The stream that is named; None for none.

        Raises:
            ConfigError: There are too many counters.
        """
        if not 1 <= len(counters) <= COUNTERS:
            raise ConfigError(
                f"a random number must get 1 to {COUNTERS} counters, got {len(counters)}; tell draws apart "
                "by t and i"
            )
        number = _named(site) if stream is None else int(stream) & (STREAMS - 1)
        given = [*counters, *[0] * (COUNTERS - len(counters))]
        words = [int(w) for w in philox(given, [self._key[0] + number, self._key[1] + normal])]
        first = _unit(words[0], words[1])
        if normal != NORMAL:
            return first
        made = type(first)
        left = made(1.0) - first
        return np.sqrt(made(-2.0) * np.log(left)) * np.cos(made(2.0 * np.pi) * _unit(words[2], words[3]))


def _named(site: str) -> int:
    """Return the stream of a call that names none: it has the highest bit."""
    return (
        STREAMS + int.from_bytes(hashlib.blake2s(site.encode(), digest_size=4).digest(), "little") % STREAMS
    )


def _unit(high: int, low: int) -> Any:
    """Return two words as a number from 0 to 1; in single precision of the first 24 bits."""
    if real() == "f32":
        return TYPES["f32"]((high >> 8) * 2.0**-24)
    return np.float64((high >> 5) * 2.0**26 + (low >> 6)) * np.float64(2.0**-53)
