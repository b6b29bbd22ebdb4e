"""The order of what lies in each layer: barycentres, then exchanges of neighbours, for few crossings."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence

__all__ = ["crossings", "ordered"]

_SWEEPS = 12
_EXCHANGED = 600  # things up to which neighbours are exchanged too

Place = Hashable
Links = Mapping[Place, Sequence[Place]]


def ordered(layers: list[list[Place]], down: Links, up: Links) -> list[list[Place]]:
    """Return the layers in an order with few crossings.

    Args:
        layers: What lies in each, in an order to begin with.
        down: What each is joined to in the layer below.
        up: And in the layer above.
    """
    best, fewest = [list(layer) for layer in layers], crossings(layers, down)
    now = [list(layer) for layer in layers]
    small = sum(map(len, layers)) <= _EXCHANGED
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        if sweep % 2 == 0:
            for k in range(1, len(now)):
                now[k] = _by_barycentre(now[k], now[k - 1], up)
        else:
            for k in range(len(now) - 2, -1, -1):
                now[k] = _by_barycentre(now[k], now[k + 1], down)
        if small:
            _exchange(now, down, up)
        found = crossings(now, down)
        if found < fewest:
            best, fewest = [list(layer) for layer in now], found
    return best


def crossings(layers: Sequence[Sequence[Place]], down: Links) -> int:
    """Count how often lines between neighbouring layers cross."""
    total = 0
    for k in range(len(layers) - 1):
        position = {place: i for i, place in enumerate(layers[k + 1])}
        seen: list[int] = []
        for place in layers[k]:
            ends = sorted(position[other] for other in down.get(place, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _by_barycentre(layer: list[Place], fixed: list[Place], links: Links) -> list[Place]:
    """Sort a layer by the mean position of neighbours; what has none stays where it is."""
    position = {place: float(i) for i, place in enumerate(fixed)}
    scale = len(fixed) / max(1, len(layer))
    keys = {}
    for i, place in enumerate(layer):
        near = [position[other] for other in links.get(place, ()) if other in position]
        keys[place] = sum(near) / len(near) if near else i * scale
    return sorted(layer, key=lambda place: keys[place])


def _exchange(layers: list[list[Place]], down: Links, up: Links) -> None:
    """Exchange neighbours as long as that takes crossings away."""
    positions = [{place: i for i, place in enumerate(layer)} for layer in layers]
    for _ in range(4):
        better = False
        for k, layer in enumerate(layers):
            above = positions[k - 1] if k > 0 else {}
            below = positions[k + 1] if k + 1 < len(layers) else {}
            for i in range(len(layer) - 1):
                a, b = layer[i], layer[i + 1]
                saved = _gain(a, b, up, above) + _gain(a, b, down, below)
                if saved > 0:
                    layer[i], layer[i + 1] = b, a
                    positions[k][a], positions[k][b] = i + 1, i
                    better = True
        if not better:
            return


def _gain(a: Place, b: Place, links: Links, position: Mapping[Place, int]) -> int:
    """Return how many crossings go when b comes before a."""
    mine = [position[x] for x in links.get(a, ()) if x in position]
    other = [position[x] for x in links.get(b, ()) if x in position]
    return sum((p > q) - (p < q) for p in mine for q in other)
