"""Small drawings as SVG in a page: curves, and sparks that fit into a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["curves", "spark"]

# seen on white and on black (contrast of 3 or more with both)
_COLORS = ("#1f83d6", "#d9661f", "#1c9a6c", "#b65fb0")
_MOST = 240  # points of a curve


def spark(values: ArrayLike, width: int = 110, height: int = 22) -> str:
    """Draw how some numbers go over time, without axes.

    Args:
        values: Shape (frames, n); a few of them are drawn.
        width: In pixels.
        height: In pixels.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) < 2 or not np.isfinite(array).any():
        return ""
    shown = array[:, np.linspace(0, array.shape[1] - 1, min(3, array.shape[1])).astype(int)]
    paths = _paths(np.arange(len(shown), dtype=np.float64), shown.T, width, height, 2.0, 1.2)
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true" '
        f'style="vertical-align:middle">{paths}</svg>'
    )


def curves(
    x: ArrayLike,
    ys: Sequence[ArrayLike],
    title: str,
    across: str,
    *,
    log: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """Draw curves over one axis, with the numbers at the ends of both axes.

    Args:
        x: Shape (n,).
        ys: One of shape (n,) for each curve.
        title: What is drawn, above.
        across: What `x` is, below.
        log: Whether heights are logarithms; what is not positive is left out.
        mark: A place on `x` with what it is, drawn as a dashed line.
    """
    places, rows = np.asarray(x, dtype=np.float64), np.array([np.asarray(y, dtype=np.float64) for y in ys])
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.log10(rows) if log else rows
    finite = np.isfinite(heights)
    if len(places) < 2 or not finite.any():
        return ""
    width, height = 420, 120
    low, high = float(heights[finite].min()), float(heights[finite].max())
    ends = [10.0**low, 10.0**high] if log else [low, high]
    paths = _paths(places, heights, width, height, 4.0, 1.6)
    text = 'font-size="11" fill="currentColor" opacity=".75"'
    marked = ""
    if mark is not None and places[0] <= mark[0] <= places[-1]:
        at = 4.0 + (mark[0] - places[0]) / (places[-1] - places[0]) * (width - 8.0)
        side = "start" if at < 0.6 * width else "end"
        shift = 4 if side == "start" else -4
        marked = (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height}" stroke="currentColor" opacity=".6" '
            f'stroke-dasharray="4 3"/><text x="{at + shift:.1f}" y="12" text-anchor="{side}" {text}>'
            f"{escape(mark[1])}</text>"
        )
    label = f"{title}, {'logarithmic, ' if log else ''}from {ends[0]:.3g} to {ends[1]:.3g}"
    return (
        f'<svg width="{width + 64}" height="{height + 40}" viewBox="-60 -20 {width + 64} {height + 40}" '
        f'role="img" aria-label="{escape(label)}" style="max-width:100%;display:block;margin:.4em 0">'
        f'<text x="0" y="-8" {text}>{escape(title)}{" (log)" if log else ""}</text>'
        f'<rect width="{width}" height="{height}" fill="none" stroke="currentColor" opacity=".3"/>'
        f'<text x="-6" y="10" text-anchor="end" {text}>{ends[1]:.3g}</text>'
        f'<text x="-6" y="{height}" text-anchor="end" {text}>{ends[0]:.3g}</text>'
        f'<text x="0" y="{height + 14}" {text}>{places[0]:.4g}</text>'
        f'<text x="{width / 2}" y="{height + 14}" text-anchor="middle" {text}>{escape(across)}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end" {text}>{places[-1]:.4g}</text>'
        f"{paths}{marked}</svg>"
    )


def _paths(
    x: NDArray[np.float64], rows: NDArray[np.float64], width: float, height: float, rim: float, line: float
) -> str:
    """Write curves as paths that leave out what is not finite."""
    finite = rows[np.isfinite(rows)]
    low, high = float(finite.min()), float(finite.max())
    reach = (high - low) or 1.0
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST)).astype(int))
    span = float(x[-1] - x[0]) or 1.0
    across = rim + (x[chosen] - x[0]) / span * (width - 2 * rim)
    found = []
    for number, row in enumerate(rows):
        down = height - rim - (row[chosen] - low) / reach * (height - 2 * rim)
        if high == low:
            down = np.where(np.isfinite(down), height / 2, np.nan)
        steps, pen = [], "M"
        for a, b in zip(across.tolist(), down.tolist(), strict=True):
            if b == b and abs(b) != np.inf:
                steps.append(f"{pen}{a:.1f} {b:.1f}")
                pen = "L"
            else:
                pen = "M"
        found.append(
            f'<path d="{"".join(steps)}" fill="none" stroke="{_COLORS[number % len(_COLORS)]}" '
            f'stroke-width="{line}" stroke-linejoin="round"/>'
        )
    return "".join(found)
