"""Functions that mean something of their own in kernels: a cut of the gradient, a bound of a loop."""

from __future__ import annotations

from typing import TypeVar

from diffsim.errors import ConfigError

__all__ = ["MOST_ROUNDS", "at_most", "stop_gradient"]

MOST_ROUNDS = 1024  # iterations of a loop that names no maximum, where a tape or an end needs one

Number = TypeVar("Number")


def stop_gradient(x: Number) -> Number:
    """Return `x` without its gradient: nothing flows back through it.

    In a kernel it also says that a cut is meant, where a cast to an integer would be warned of.

    Args:
        x: A number, vector or matrix.

    Returns:
        The same value; its derivative is taken to be zero.
    """
    return x


def at_most(n: int, maximum: int) -> int:
    """Return `n` and promise that it is at most `maximum`, so that a loop to it has a known bound.

    A loop that carries differentiable values keeps them on a tape, whose length must be known before it runs:
    `for k in range(ds.at_most(self.count[i], 64))`. In a kernel a larger `n` counts as `maximum` and is an
    error after the run, with its place; tapes take memory for `maximum` iterations.

    As the test of a `while` it promises that the loop ends: `while ds.at_most(x > 0.1, 64):` runs while the
    condition holds, and going on after 64 iterations is an error. A `while` that promises nothing, and a
    `for` whose length is computed and whose values a gradient needs, may take 1024 iterations.

    Args:
        n: An integer that is known when the kernel runs, or the condition of a `while`.
        maximum: A positive integer that is known when the kernel compiles.

    Returns:
        `n`.

    Raises:
        ConfigError: `n` is larger, outside kernels.
    """
    if n > maximum:
        raise ConfigError(f"at_most must get a number up to {maximum}, got {n}; raise the maximum")
    return n
