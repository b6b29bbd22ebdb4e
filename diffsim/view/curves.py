"""The course of an optimisation as a picture."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing, require_writable
from diffsim.view.style import GOAL, INK, QUIET, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cost_png"]

_LONG = 40  # letters of a label that fit beside an axis
_MANY_TIMES = 50.0  # as the best cost, and an axis is logarithmic
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def cost_png(
    path: str | os.PathLike[str],
    costs: ArrayLike,
    grad_norms: ArrayLike | None = None,
    title: str = "",
    *,
    ylabel: str = "cost",
) -> None:
    """Plot cost, best cost so far and gradient norm against the iteration.

    Args:
        path: the PNG to write; replaced only when the picture is complete.
        costs: shape (iterations,), or (iterations, worlds): then one faint line per world and their mean.
        grad_norms: shape (iterations,); a second panel with a logarithmic axis. Entries of 0 leave a gap.
            None: no panel.
        title: heading.
        ylabel: what the cost is, with its unit.

    Raises:
        ConfigError: `costs` is empty, has another shape or a value that is not finite, or `grad_norms` has
            another length.
        OSError: the file can't be written.
    """
    table = np.asarray(costs, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.size == 0:
        raise ConfigError(
            "costs must have the shape (iterations,) or (iterations, worlds), got "
            f"{np.shape(costs)}; pass one row or more"
        )
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise ConfigError(
            f"costs must be finite, got {table[row].tolist()} in iteration {row}; "
            "plot the iterations before it"
        )
    norms = None if grad_norms is None else np.asarray(grad_norms, dtype=np.float64)
    if norms is not None and norms.shape != (len(table),):
        raise ConfigError(
            f"grad_norms must have one value per iteration ({len(table)},), got {norms.shape}; "
            "pass the same iterations"
        )

    require_writable(path)
    figure = new_figure(7.2, 3.4 if norms is None else 5.0, dpi=110)
    rows = 1 if norms is None else 2
    grid = figure.add_gridspec(
        rows,
        1,
        height_ratios=[2, 1][:rows],
        left=0.12,
        right=0.97,
        top=0.89,
        bottom=0.17 if norms is None else 0.11,
        hspace=0.12,
    )
    top = figure.add_subplot(grid[0])
    long = len(ylabel) > _LONG
    _draw_costs(top, table, "cost" if long else ylabel)
    top.set_title(title, loc="left", color=INK, fontsize=12, parse_math=False, pad=20 if long else 6)
    if long:  # beside the axis there is room for so much only
        top.text(0, 1.02, ylabel, transform=top.transAxes, fontsize=9, color=QUIET, parse_math=False)
    last = top
    if norms is not None:
        last = figure.add_subplot(grid[1], sharex=top)
        last.semilogy(np.where(norms > 0.0, norms, np.nan), color="#8a63c4", lw=1.4)
        _tell_powers(last)
        last.set_ylabel("gradient norm", color=INK)
        top.tick_params(labelbottom=False)
        _tidy(last)
    last.set_xlabel("iteration", color=INK)
    figure.align_ylabels()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_costs(axes: Axes, table: NDArray[Any], ylabel: str) -> None:
    """Draw the costs, the best so far, and mark the best."""
    worlds = table.shape[1]
    mean = table.mean(axis=1)
    if worlds > 1:
        axes.plot(table, color="#1b5fc1", lw=0.7, alpha=max(0.08, 0.5 / worlds**0.5))
    axes.plot(
        mean,
        color="#1b5fc1",
        lw=1.6,
        label="cost" if worlds == 1 else f"mean of {worlds} worlds",
        marker="o" if len(mean) == 1 else None,
    )
    best = np.minimum.accumulate(mean)
    axes.plot(best, color=INK, lw=1.1, ls=(0, (4, 2)), label="best so far")
    k = int(mean.argmin())
    best_is = f"best{' mean' * (worlds > 1)}: {mean[k]:.4g} (iteration {k})".replace("-", "−")
    axes.plot([k], [mean[k]], "o", color=GOAL, ms=7, zorder=5, label=best_is)
    axes.set_ylabel(ylabel, color=INK, parse_math=False)
    if table.min() > 0.0 and mean.max() > _MANY_TIMES * mean.min():  # else most of the curve is flat
        axes.set_yscale("log")
        _tell_powers(axes)
    axes.legend(frameon=False, fontsize=9, loc="best", labelcolor=INK)
    _tidy(axes)


def _tell_powers(axes: Axes) -> None:
    """Number a logarithmic axis by powers of ten; between them only where there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_major_formatter(_power)
    low, high = axes.get_ylim()
    few = high < 20.0 * low
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if few else "auto"))
    axes.yaxis.set_minor_formatter(_power if few else NullFormatter())


def _power(value: float, position: int | None = None) -> str:
    """Write a power of ten without Matplotlib's layout of formulas, which takes long to get ready."""
    exponent = math.log10(value) if value > 0.0 else math.nan
    if not math.isclose(exponent, np.rint(exponent), abs_tol=1e-9):
        return f"{value:g}"
    return f"10{str(round(exponent)).translate(_RAISED)}"


def _tidy(axes: Axes) -> None:
    """Leave only the lines that carry information; iterations are whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=QUIET, alpha=0.18, lw=0.8)
    axes.tick_params(which="both", colors=QUIET, labelcolor=INK, labelsize=9)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True))
