"""The colours of heat: a ramp that survives greyscale and colour blindness."""

from __future__ import annotations

from diffsim.view.graph.model import Paint

__all__ = ["heat_paint", "heat_stops"]

# from pale yellow over orange and magenta to dark violet, lightness falling all the way
_STOPS = ("#fdf3c8", "#fbc878", "#f0905f", "#cf5470", "#8f2d7c", "#4a1a6b")


def heat_stops() -> tuple[str, ...]:
    """Return the colours at equal distances from heat 0 to heat 1, as `#rrggbb`."""
    return _STOPS


def heat_paint(heat: float) -> Paint:
    """Return the colours of a node of some heat, the text in what can be read on it."""
    at = heat * (len(_STOPS) - 1)
    k = min(int(at), len(_STOPS) - 2)
    low, high = _rgb(_STOPS[k]), _rgb(_STOPS[k + 1])
    mixed = [round(a + (b - a) * (at - k)) for a, b in zip(low, high, strict=True)]
    light = 0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2]
    line = [round(0.72 * c) for c in mixed]
    return Paint(_hex(mixed), _hex(line), "#1f2933" if light > 140 else "#ffffff")


def _rgb(color: str) -> list[int]:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]


def _hex(rgb: list[int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in rgb)
