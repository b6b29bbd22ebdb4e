"""What of a motion can be drawn: places that are finite; the others are counted, and a label tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError

__all__ = ["count_missing", "missing_labels", "words_for"]


def count_missing(positions: ArrayLike, name: str = "positions") -> NDArray[np.int64]:
    """Count in each frame the points with a component that is not finite.

    Args:
        positions: Shape (frames, ..., components).
        name: What it is called, for the message.

    Raises:
        ConfigError: There is no frame or no point, or none is finite in any frame.
    """
    array = np.asarray(positions, dtype=np.float64)
    if array.ndim < 2 or array.size == 0:
        raise ConfigError(
            f"{name} must hold one frame of one point or more, got shape {array.shape}; record a step"
        )
    lost = ~np.isfinite(array).all(axis=-1).reshape(len(array), -1)
    if lost.all():
        raise ConfigError(
            f"{name} must be finite, got nan or inf in all frames; look for what made the simulation diverge "
            'with value_and_grad(debug="nan")'
        )
    return np.asarray(lost.sum(axis=1))


def words_for(missing: int, what: str = "points") -> str:
    """Say how many things are not drawn; empty where all are."""
    return f"{missing} {what[:-1] if missing == 1 else what} not finite" if missing else ""


def missing_labels(labels: Sequence[str], positions: ArrayLike, what: str = "points") -> list[str]:
    """Add to the labels of a film's frames how many things are left out since they are not finite.

    Args:
        labels: One per frame.
        positions: Shape (frames, ..., components).
        what: What there are many of.

    Raises:
        ConfigError: None is finite in any frame.
    """
    counts = count_missing(positions)
    return [
        f"{label}   {words_for(int(count), what)}".strip()
        for label, count in zip(labels, counts, strict=True)
    ]
