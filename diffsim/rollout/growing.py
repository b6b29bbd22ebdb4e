"""Recording into a file that grows while the rollout runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from diffsim.rollout.collecting import Collecting
from diffsim.rollout.seen import Seen
from diffsim.view.chunked import Writer
from diffsim.view.named import to_plain
from diffsim.view.timed import Label
from diffsim.view.trajectory import labelled

__all__ = ["grow"]

_BLOCK = 1 << 21  # bytes that are read back at a time, about


def grow(writer: Writer, collecting: Collecting, labels: Mapping[str, Label], seen: Seen, every: int) -> None:
    """Run a rollout forward and write what fields hold, then what is derived of them.

    Args:
        writer: Of the file.
        collecting: What runs.
        labels: Of the fields' arrays, by name.
        seen: The scene, and what is derived for it.
        every: Steps between frames.
    """
    for name, label in labels.items():
        writer.begin(label, collecting.shapes[name], collecting.dtypes[name])
    collecting.run(writer.put)
    if seen.derived or seen.per_world:
        _complete(writer, collecting, labels, seen, every)
    for name, array in seen.stills.items():
        writer.still(name, array)
    writer.scene = None if seen.scene is None else to_plain(seen.scene)


def _complete(
    writer: Writer, collecting: Collecting, labels: Mapping[str, Label], seen: Seen, every: int
) -> None:
    lengths = {name: shape[0] for name, shape in collecting.shapes.items()}
    if not lengths:
        return
    frames = max(lengths.values())
    times = next(label.times for name, label in labels.items() if lengths[name] == frames)
    one = sum(
        math.prod(shape[1:]) * collecting.dtypes[name].itemsize for name, shape in collecting.shapes.items()
    )
    count, first = max(2, _BLOCK // max(1, one)), 0
    while first < frames:
        stop = first + count if first + count < frames - 1 else frames  # no block is the last frame alone
        found: dict[str, Any] = {
            name: labelled(
                writer.read(name, first, stop), dataclasses.replace(label, times=label.times[first:stop])
            )
            for name, label in labels.items()
        }
        for name, made in seen.complete(found, every, first).items():
            if name in labels:
                continue
            if first == 0:
                total = seen.frames_of(name, lengths)
                whole = dataclasses.replace(made.label, times=times[:total])
                writer.begin(whole, (total, *made.shape[1:]), made.dtype)
            writer.put(name, made)
        first = stop
