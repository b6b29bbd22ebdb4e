"""Colour maps as tables, so that pages and films have the same ones."""

from __future__ import annotations

import numpy as np

from diffsim.view.paint.scale import COLORS, Scale

__all__ = ["color_tables"]

_SHADES = 96


def color_tables() -> dict[str, list[int] | list[str]]:
    """Return red, green and blue of each shade in a row, 0 to 255, by kind of map, and plain colours."""
    places = np.linspace(0.0, 1.0, _SHADES)
    maps = {
        "one": Scale(0.0, 1.0),  # for things on paper, which it never is as bright as
        "full": Scale(0.0, 1.0, full=True),  # for what fills its place
        "two": Scale(0.0, 1.0, two=True),
    }
    tables: dict[str, list[int] | list[str]] = {
        name: np.rint(255.0 * np.asarray(scale.colormap()(places))[:, :3]).astype(int).ravel().tolist()
        for name, scale in maps.items()
    }
    tables["parts"] = list(COLORS)
    return tables
