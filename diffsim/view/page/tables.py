"""Colour maps as tables, so that pages and films have the same ones."""

from __future__ import annotations

import numpy as np

from diffsim.view.style import muscle_colors

__all__ = ["color_tables"]

_SHADES = 64


def color_tables() -> dict[str, list[int]]:
    """Return red, green and blue of each shade in a row, 0 to 255, by kind of map."""
    from matplotlib import colormaps

    places = np.linspace(0.0, 1.0, _SHADES)
    maps = {"sequential": colormaps["viridis"], "diverging": muscle_colors()}
    return {
        name: np.rint(255.0 * np.asarray(colors(places))[:, :3]).astype(int).ravel().tolist()
        for name, colors in maps.items()
    }
