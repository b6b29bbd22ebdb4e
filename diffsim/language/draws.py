"""Random numbers in kernels: functions of counters that the kernel names, drawn again on the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import runtime
from diffsim.errors import ConfigError
from diffsim.language.philox import COUNTERS, philox
from diffsim.language.seeds import checked_seed, keys
from diffsim.language.trace import Time

__all__ = ["NORMAL", "STREAMS", "UNIFORM", "randn", "random"]

UNIFORM, NORMAL = 0, 1  # added to the second word of the key
STREAMS = 2**31  # that a user can name; those of calls that name none lie above


def random(*counters: Any, stream: Any = None, seed: int = 0, world: Any = 0) -> Any:
    """Draw a uniform random number from 0 to 1, 1 excluded: `ds.random(t, i)` in a kernel.

    The number is a function of what is counted: the same counters give the same number, whenever it is asked
    for. So the way back and recomputed steps meet the numbers of the way forth, in every mode, window and
    compiler, and worlds, threads and order do not matter. Besides the counters it depends on the world, on
    the seed of `ds.init`, on `rollout.seed`, which can be set between runs, and on the stream. It has 53
    random bits, in `precision=32` the first 24 of these.

    Outside of kernels the same numbers are computed by NumPy, for any arrays of counters.

    Args:
        counters: One to four integers (or vectors of integers) that tell draws apart, `t` and loop indices
            say; of larger ones the low 32 bits count, and those left out are 0. What has the same counters in
            one call is the same number, also in all rounds of `ds.repeat`.
        stream: An integer from 0 to 2**31 - 1. Left out, each call in the program has a stream of its own, by
            its kernel and its place there: two calls with the same counters are independent. Calls that name
            the same stream draw the same numbers. Outside of kernels, and in adjoints of one's own, it must
            be named.
        seed: `rollout.seed`; outside of kernels only.
        world: Which world, or an array of these; outside of kernels only.

    Returns:
        A real number in a kernel; outside, a float, or an array of f64 of the shape that the arguments have
        when broadcast.

    Raises:
        ConfigError: Outside of kernels, an argument is not allowed.

    Differentiability:
        Draws are constants: gradients flow through what is computed from them (the pathwise derivative), and
        none to counters.

    Source:
        Philox 4x32-10, J. K. Salmon and others, Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
    """
    first, second, _, _ = _words(UNIFORM, counters, stream, seed, world)
    return _plain(_unit(first, second))


def randn(*counters: Any, stream: Any = None, seed: int = 0, world: Any = 0) -> Any:
    """Draw a normal random number of mean 0 and variance 1: `ds.randn(t, i)` in a kernel.

    See `random`, whose numbers are independent of these, whatever the stream. Made of two uniform numbers, so
    that the largest size is 8.6, in `precision=32` 5.8; since a logarithm and a cosine are in it, compilers
    agree to rounding, not to the last bit.

    Args:
        counters: As of `random`.
        stream: As of `random`.
        seed: As of `random`.
        world: As of `random`.

    Returns:
        As of `random`.

    Raises:
        ConfigError: As of `random`.

    Differentiability:
        As of `random`.

    Source:
        G. E. P. Box and M. E. Muller, A Note on the Generation of Random Normal Deviates (1958).
    """
    a, b, c, d = _words(NORMAL, counters, stream, seed, world)
    return _plain(np.sqrt(-2.0 * np.log1p(-_unit(a, b))) * np.cos(2.0 * np.pi * _unit(c, d)))


def _unit(high: NDArray[Any], low: NDArray[Any]) -> NDArray[np.float64]:
    """Return 53 bits as a number from 0 to 1."""
    bits = (high >> np.uint64(5)).astype(np.float64) * 2.0**26 + (low >> np.uint64(6)).astype(np.float64)
    return np.asarray(bits * 2.0**-53)


def _plain(values: NDArray[np.float64]) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def _words(
    kind: int, counters: tuple[Any, ...], stream: Any, seed: int, world: Any
) -> list[NDArray[np.uint64]]:
    name = "ds.randn" if kind == NORMAL else "ds.random"
    if any(isinstance(given, Time) for given in (*counters, stream, seed, world)):
        raise ConfigError(
            f"{name} must be called in a kernel, got the t of a step, which has no number while the step is "
            f"traced; move the call into the kernel"
        )
    if not 1 <= len(counters) <= COUNTERS:
        raise ConfigError(
            f"{name} must get 1 to {COUNTERS} counters, got {len(counters)}; tell draws apart by t and i, "
            f"as in {name}(t, i)"
        )
    if stream is None:
        raise ConfigError(
            f"{name} must get a stream outside of kernels, got none; name it in the kernel too, as in "
            f"{name}(t, i, stream=1)"
        )
    given = [_integers(name, "counters", counter) for counter in counters]
    streams, worlds = _integers(name, "stream", stream), _integers(name, "world", world)
    if np.any(streams < 0) or np.any(streams >= STREAMS):
        raise ConfigError(f"{name} stream must lie in 0 .. 2**31 - 1, got {stream!r}; use another number")
    if np.any(worlds < 0):
        raise ConfigError(f"{name} world must not be negative, got {world!r}; the first one is 0")
    first, second = keys(worlds, runtime.seed(), checked_seed(seed))
    return philox([*given, *[0] * (COUNTERS - len(given))], [first + streams, second + kind])


def _integers(name: str, what: str, given: Any) -> NDArray[np.int64]:
    array = np.asarray(given)
    if array.dtype.kind not in "iub":
        raise ConfigError(f"{name} {what} must be integers, got {given!r}; round it before")
    return array.astype(np.int64)
