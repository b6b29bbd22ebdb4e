"""Muscles as they are seen, in all robots alike."""

from __future__ import annotations

from typing import Any

import diffsim as ds

__all__ = ["muscle_lines"]


def muscle_lines(ends: Any, pairs: Any, commands: Any) -> list[ds.scene.Part]:
    """Describe muscles along lines, coloured by their commands, for `Simulator.scene`.

    Args:
        ends: Where they end, as `ds.scene.Lines` takes positions.
        pairs: The two ends that each joins, shape (m, 2).
        commands: From -1 to 1, one for each, as a part takes its values.

    Returns:
        The muscles, and behind them a rim around what may be white.
    """
    rim = ds.scene.Lines(ends, pairs, color=ds.scene.INK, width=5.0)
    inner = ds.scene.Lines(
        ends, pairs, values=commands, center=0.0, limits=(-1.0, 1.0), width=3.0, label="muscles' commands"
    )
    return [rim, inner]
