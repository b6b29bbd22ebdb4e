"""What lines and markers mean, told where no data is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffsim.view.style import INK, QUIET, word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["KEY", "add_key", "key_above"]

KEY = 0.1  # height of the strip over that of what it stands above


def add_key(axes: Axes, handles: Sequence[Any]) -> None:
    """Explain lines and markers in a strip above what axes show, which `Film.aspect` must have room for.

    That is, the aspect of what they show times `1 + KEY`.

    Args:
        axes: Axes whose limits and ticks along y are as they should be without the strip.
        handles: Artists with labels.
    """
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.set_ylim(low, high + KEY * (high - low))
    axes.axhline(high, color=QUIET, lw=0.8, zorder=4)
    axes.legend(
        handles=list(handles),
        loc="upper center",
        ncols=len(handles),
        fontsize=word_size(axes),
        frameon=False,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.2,
        borderpad=0.0,
        borderaxespad=0.35,
    )


def key_above(
    axes: Axes,
    handles: Sequence[Any],
    names: Sequence[str],
    size: float,
    columns: int,
    right: bool = False,
) -> None:
    """Explain curves in a line just above their axes, by names as they are: `$` and `_` are no mathematics.

    Args:
        axes: What the curves are on.
        handles: Artists, which may be faint; they are told in full colour.
        names: What they show.
        size: Of the letters.
        columns: How many stand side by side.
        right: Whether the line stands on the right, as where a title is on the left.
    """
    legend = axes.legend(
        handles,
        names,
        loc="lower right" if right else "lower left",
        bbox_to_anchor=(1.0 if right else -0.01, 0.98),
        ncols=columns,
        frameon=False,
        fontsize=size,
        borderpad=0.1,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.0,
        labelcolor=INK,
    )
    for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        text.set_parse_math(False)
        handle.set_alpha(1.0)  # type: ignore[union-attr]
