"""Limits of a picture that a run which diverges does not blow up: the frames that tell most stay seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["HUGE", "beyond", "beyond_note", "calm_frames", "calm_limits"]

HUGE = 1e300  # numbers beyond are taken for it: their sums and differences must stay numbers
_WILD = 1e3  # times what is usual is no part of the picture
_ABSURD = 1e18  # times what is usual is none, even if it comes to rest there
_NEAR = 10.0  # times what is usual still is, where something wild is left out
_STEEP = 1.25  # times as far as the frame before, a frame is a part of what leaves all bounds
_LATE = 0.1  # of the frames: in so many at the end what diverges grows at least tenfold


def calm_frames(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which frames a picture's limits must hold: all, but for a run that leaves all bounds.

    That is one that still grows tenfold in the last tenth of its frames, or in which fewer than a tenth
    of the frames reach a thousand times as far as the others. What is far at the beginning, grows like a
    power of time or comes to rest in the end, is never left out.

    Args:
        low: The least of each column in each frame, shape (frames, d); not finite where nothing is.
        high: The largest.

    Returns:
        Shape (frames,); false also where nothing is finite.
    """
    there: NDArray[np.bool_] = np.asarray(np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1))
    shown = np.flatnonzero(there)
    if len(shown) < 3:
        return there
    low, high = 0.25 * low[shown], 0.25 * high[shown]  # whose differences are numbers
    middle = 0.5 * low[0] + 0.5 * high[0]
    far = np.maximum(np.abs(low - middle), np.abs(high - middle)).max(axis=1)
    moved = far[far > 0.0]
    if not len(moved):
        return there
    quiet = max(float(far[0]), float(np.quantile(moved, 0.25, method="lower")))
    usual = max(float(far[0]), float(np.quantile(moved, 0.9, method="lower")))
    most = float(far.max())
    earlier = float(far[: -max(1, round(_LATE * len(far)))].max())
    bound = np.inf
    if (far[-1] == most > max(_WILD * quiet, _NEAR * earlier)) or most > _ABSURD * quiet:
        bound = _NEAR * quiet
    elif most > _WILD * usual:
        bound = _NEAR * usual
    wild = far > bound
    if wild.any():
        onset = int(np.argmax(wild))
        while onset > 1 and far[onset - 1] > _STEEP * far[onset - 2]:
            onset -= 1
            wild[onset] = True
    there[shown[wild]] = False
    return there


def calm_limits(
    low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int | None] | None:
    """Return the limits of a picture, per column, and the first frame that leaves them.

    Args:
        low: As for `calm_frames`.
        high: As for `calm_frames`.

    Returns:
        The least and largest of each column, (d,), and the frame, None where all is within; None where
        nothing is finite.
    """
    kept = calm_frames(low, high)
    if not kept.any():
        return None
    least, largest = low[kept].min(axis=0), high[kept].max(axis=0)
    there = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    out = np.flatnonzero(there & ~kept)
    least, largest = np.clip(least, -HUGE, HUGE), np.clip(largest, -HUGE, HUGE)
    return least, largest, int(out[0]) if len(out) else None


def beyond(name: str, times: Sequence[float] | NDArray[np.float64], frame: int, unit: str) -> str:
    """Say from when on something is beyond the picture."""
    time = float(times[min(frame, len(times) - 1)])
    return f"{name} from step {time:g}" if unit == "step" else f"{name} from t = {time:.4g} {unit}".rstrip()


def beyond_note(found: Iterable[str]) -> list[str]:
    """Join what `beyond` said in one note; none where nothing is."""
    told = ", ".join(dict.fromkeys(found))
    return [f"beyond the picture: {told}"] if told else []
