"""Numbers along an axis that can be read in any unit: few, round, with the power of ten in the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ticks", "named", "ticks"]

_SMALL, _LARGE = -2, 5  # powers of ten that are written out
_FAR = 3000.0  # times the span away from zero, numbers are written from one of them on
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Ticks:
    """What stands along an axis.

    Attributes:
        places: Where, in the unit of the axis.
        texts: What is written there.
        power: The power of ten that the texts are multiples of.
        offset: The number that was taken from all of them.
    """

    places: NDArray[np.float64]
    texts: tuple[str, ...]
    power: int = 0
    offset: float = 0.0


def ticks(low: float, high: float, count: int = 5) -> Ticks:
    """Choose about so many round numbers from low to high."""
    span = high - low
    if not (np.isfinite(span) and span > 0.0):
        return Ticks(np.array([low]), (f"{low:g}",))
    base = 10.0 ** np.floor(np.log10(span / max(1, count)))
    steps = [base * f for f in (0.5, 1.0, 2.0, 5.0, 10.0)]
    many = [np.floor(high / s + 1e-9) - np.ceil(low / s - 1e-9) + 1 for s in steps]
    step = min(zip(steps, many, strict=True), key=lambda pair: (pair[1] < 2, abs(pair[1] - count)))[0]
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    places = step * np.arange(first, last + 1)
    largest = float(np.abs(places).max(initial=0.0)) or 1.0
    offset = 0.0
    if largest > _FAR * span:  # too many digits are the same
        offset = float(places[len(places) // 2])
        largest = float(np.abs(places - offset).max()) or 1.0
    power = int(np.floor(np.log10(largest) + 1e-9))
    power = power if power < _SMALL or power >= _LARGE else 0
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)) + power)
    texts = tuple(_minus(f"{value / 10.0**power:.{min(decimals, 12)}f}") for value in places - offset)
    return Ticks(places, texts, power, offset)


def _minus(text: str) -> str:
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "−")


def named(name: str, unit: str, found: Ticks | None = None) -> str:
    """Write the label of an axis: a name, and in brackets the power of ten of its numbers and the unit."""
    power, offset = (0, 0.0) if found is None else (found.power, found.offset)
    scale = f"10{str(power).translate(_RAISED)}" if power else ""
    inside = " ".join(part for part in (scale, unit) if part)
    away = "" if offset == 0.0 else f" {'−' if offset > 0.0 else '+'} {abs(offset):.12g}"
    return f"{name}{away} [{inside}]" if inside else f"{name}{away}"
