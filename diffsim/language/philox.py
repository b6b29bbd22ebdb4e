"""Philox 4x32-10: random bits as a function of what is counted and of a key, in NumPy and as a recipe.

Source: John K. Salmon, Mark A. Moraes, Ron O. Dror and David E. Shaw, Parallel Random Numbers: As Easy as 1,
2, 3 (2011). Nothing is kept from one number to the next: the same counters and key give the same bits, in
whatever order, by whichever thread and however often they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["ADDED", "COUNTERS", "FACTORS", "ROUNDS", "Words", "mixed", "philox"]

COUNTERS = 4
ROUNDS = 10
FACTORS = (0xD2511F53, 0xCD9E8D57)
ADDED = (0x9E3779B9, 0xBB67AE85)

Word = TypeVar("Word")


class Words(Protocol[Word]):
    """Arithmetic with words of 32 bits."""

    def product(self, a: Word, factor: int) -> tuple[Word, Word]:
        """Return the high and the low word of a product."""

    def xor(self, a: Word, b: Word) -> Word:
        """Return the bits that two words do not share."""

    def add(self, a: Word, number: int) -> Word:
        """Return a sum, without what is carried beyond the word."""


def mixed(counters: Sequence[Word], key: Sequence[Word], words: Words[Word]) -> list[Word]:
    """Return four words of random bits.

    Args:
        counters: Four words.
        key: Two words.
        words: How to compute with them.
    """
    a, b, c, d = counters
    k, m = key
    for done in range(ROUNDS):
        if done:
            k, m = words.add(k, ADDED[0]), words.add(m, ADDED[1])
        high, low = words.product(a, FACTORS[0])
        other_high, other_low = words.product(c, FACTORS[1])
        a, b = words.xor(words.xor(other_high, b), k), other_low
        c, d = words.xor(words.xor(high, d), m), low
    return [a, b, c, d]


class _Arrays:
    """Words in arrays of u64, which have room for products."""

    _low = np.uint64(0xFFFFFFFF)

    def product(self, a: NDArray[Any], factor: int) -> tuple[NDArray[Any], NDArray[Any]]:
        whole = a * np.uint64(factor)
        return whole >> np.uint64(32), whole & self._low

    def xor(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return a ^ b

    def add(self, a: NDArray[Any], number: int) -> NDArray[Any]:
        return (a + np.uint64(number)) & self._low


def philox(counters: Sequence[Any], key: Sequence[Any]) -> list[NDArray[np.uint64]]:
    """Return four words of random bits for each element of arrays.

    Args:
        counters: Four integers, or arrays of integers that broadcast; the low 32 bits count.
        key: Two of these.
    """

    def word(given: Any) -> NDArray[np.uint64]:
        return np.asarray(given).astype(np.int64).astype(np.uint64) & np.uint64(0xFFFFFFFF)

    found = mixed([word(c) for c in counters], [word(k) for k in key], _Arrays())
    return [np.asarray(x) for x in np.broadcast_arrays(*found)]
