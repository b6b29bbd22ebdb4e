"""Positions across the layers: each near what it is joined to, in order, none on top of another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

__all__ = ["placed"]

_ROUNDS = 36
_FAR = 1e9
Place = Hashable
Near = list[tuple[Hashable, float, float, bool]]  # what it is joined to, how far off, weight, whether below


def placed(
    layers: Sequence[Sequence[Place]],
    widths: Mapping[Place, float],
    links: Sequence[tuple[Place, float, Place, float, float]],
    gap: Mapping[Place, float],
    trunks: Sequence[Sequence[Place]],
) -> dict[Place, float]:
    """Return the middle of each place across the layers; the leftmost border is at 0.

    Args:
        layers: The places of each, in order.
        widths: Of the places.
        links: An upper place, where on it the line ends (from its middle), a lower place, where on that, and
            how much it matters that the line is straight.
        gap: The least distance on either side of a place.
        trunks: The places that each line passes, from layer to layer.
    """
    x: dict[Place, float] = {}
    for layer in layers:
        at = 0.0
        for k, place in enumerate(layer):
            at += _distance(layer[k - 1], place, widths, gap) if k else 0.0
            x[place] = at
        middle = (x[layer[0]] + x[layer[-1]]) / 2.0 if layer else 0.0
        for place in layer:
            x[place] -= middle
    near: dict[Place, Near] = {place: [] for place in x}
    for a, at_a, b, at_b, weight in links:
        near[a].append((b, at_b - at_a, weight, True))
        near[b].append((a, at_a - at_b, weight, False))
    last = len(layers) - 1
    for sweep in range(_ROUNDS):
        forward = sweep % 2 == 0
        both = sweep >= _ROUNDS // 3
        order = range(1, last + 1) if forward else range(last - 1, -1, -1)
        for k in range(last + 1) if both else order:
            _settle(layers[k], x, widths, gap, near, None if both else forward)
        if sweep % 4 == 3:
            _straighten(x, layers, widths, gap, trunks, near)
    left = min((x[p] - widths[p] / 2.0 for p in x), default=0.0)
    return {place: at - left for place, at in x.items()}


def _distance(a: Place, b: Place, widths: Mapping[Place, float], gap: Mapping[Place, float]) -> float:
    return (widths[a] + widths[b]) / 2.0 + max(gap[a], gap[b])


def _settle(
    layer: Sequence[Place],
    x: dict[Place, float],
    widths: Mapping[Place, float],
    gap: Mapping[Place, float],
    near: Mapping[Place, Near],
    forward: bool | None,
) -> None:
    """Move the places of one layer to where they want to be, as far as their order and widths allow.

    That is the nearest such arrangement in the sense of weighted squares: pools of neighbours that would
    overlap move as one (pool adjacent violators).
    """
    shift = 0.0
    pools: list[list[float]] = []  # weight, weighted sum of wishes, members
    shifts = []
    for k, place in enumerate(layer):
        shift += _distance(layer[k - 1], place, widths, gap) if k else 0.0
        shifts.append(shift)
        wishes = [(x[o] + off, w) for o, off, w, down in near[place] if forward is None or down != forward]
        weight = sum(w for _, w in wishes)
        wish = sum(at * w for at, w in wishes) / weight if weight else x[place]
        weight = weight or 0.05
        pools.append([weight, weight * (wish - shift), 1.0])
        while len(pools) > 1 and pools[-2][1] / pools[-2][0] > pools[-1][1] / pools[-1][0]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    k = 0
    for weight, total, members in pools:
        for _ in range(int(members)):
            x[layer[k]] = total / weight + shifts[k]
            k += 1


def _straighten(
    x: dict[Place, float],
    layers: Sequence[Sequence[Place]],
    widths: Mapping[Place, float],
    gap: Mapping[Place, float],
    trunks: Sequence[Sequence[Place]],
    near: Mapping[Place, Near],
) -> None:
    """Make lines that pass several layers vertical, near their ends, as far as what is beside them allows."""
    beside: dict[Place, tuple[Place | None, Place | None]] = {}
    for layer in layers:
        for k, place in enumerate(layer):
            beside[place] = layer[k - 1] if k else None, layer[k + 1] if k + 1 < len(layer) else None

    def bounds(place: Place) -> tuple[float, float]:
        left, right = beside[place]
        low = -_FAR if left is None else x[left] + _distance(left, place, widths, gap)
        high = _FAR if right is None else x[right] - _distance(place, right, widths, gap)
        return min(low, x[place]), max(high, x[place])

    def wished(run: list[Place]) -> float:
        """Return where the ends of a line would have it."""
        inside = set(run)
        ends = [x[o] + off for place in run for o, off, _, _ in near[place] if o not in inside]
        return sum(ends) / len(ends) if ends else sum(x[place] for place in run) / len(run)

    for trunk in sorted(trunks, key=len, reverse=True):
        run: list[Place] = []
        low, high = -_FAR, _FAR
        for place in [*trunk, None]:
            own = bounds(place) if place is not None else (_FAR, -_FAR)
            if run and (place is None or max(low, own[0]) > min(high, own[1]) + 1e-6):
                at = min(high, max(low, wished(run)))
                x.update(dict.fromkeys(run, at))
                run, low, high = [], -_FAR, _FAR
            if place is not None:
                run.append(place)
                low, high = max(low, own[0]), min(high, own[1])
