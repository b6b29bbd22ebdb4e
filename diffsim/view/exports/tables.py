"""CSV: a row for each frame, a column for each number."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing
from diffsim.view.stored import Stored, frames_at_once

__all__ = ["write"]

_MOST = 4096  # columns: what people and spreadsheets bear
_AXES = "xyz"


def write(trajectory: Any, path: Path) -> None:
    """Write all signals: time first, the number of the world second where there are several.

    Numbers have as many digits as bring them back; a cell is empty where an array ended earlier.

    Raises:
        ConfigError: There are too many numbers, or nothing.
    """
    parts = {name: trajectory._parts()[name] for name in trajectory.names}
    columns = [title for name, part in parts.items() for title in _titles(name, part)]
    if not columns or len(columns) > _MOST:
        names = ", ".join(parts) or "no arrays"
        raise ConfigError(
            f"a table must have 1 to {_MOST} columns, got {len(columns)} of {names}; choose some: "
            "trajectory[['a', 'b']].export(...), or write .npz"
        )
    worlds = trajectory.worlds
    head = [f"time [{trajectory.time_unit}]", *(["world"] if worlds else []), *columns]
    times = trajectory.times
    readers = [_rows(part, len(times), max(1, worlds)) for part in parts.values()]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        for time, *frame in zip(times.tolist(), *readers, strict=True):
            for world in range(max(1, worlds)):
                cells = itertools.chain.from_iterable(rows[world] for rows in frame)
                table.writerow([repr(time), *([world] if worlds else []), *cells])


def _titles(name: str, part: Any) -> Iterator[str]:
    """Name the columns of an array: `x[3].y [m]`."""
    label = part.label
    shape = part.shape[2 if label.worlds else 1 :]
    lead = shape[: len(shape) - len(label.components)]
    unit = f" [{label.unit}]" if label.unit else ""
    for index in np.ndindex(*lead):
        place = "".join(f"[{i}]" for i in index)
        for component in np.ndindex(*label.components):
            if len(component) == 1 and label.components[0] <= len(_AXES):
                yield f"{name}{place}.{_AXES[component[0]]}{unit}"
            else:
                yield f"{name}{place}{''.join(f'[{c}]' for c in component)}{unit}"


def _rows(part: Any, frames: int, worlds: int) -> Iterator[list[list[str]]]:
    """Give the cells of each frame, a row for each world."""
    count, width = frames_at_once(part.shape, part.dtype), int(np.prod(part.shape[1:], dtype=int)) // worlds
    for first in range(0, part.shape[0], count):
        block = part[first : first + count]
        values = block.read() if isinstance(block, Stored) else np.asarray(block)
        for frame in values.reshape(len(values), worlds, width):
            yield [_texts(row) for row in frame]
    yield from itertools.repeat([[""] * width] * worlds, frames - part.shape[0])


def _texts(row: NDArray[Any]) -> list[str]:
    """Write numbers with the fewest digits that bring them back."""
    if row.dtype == np.float64 or row.dtype.kind in "iub":
        return (
            [repr(value) for value in row.astype(int).tolist()]
            if row.dtype.kind == "b"
            else [repr(value) for value in row.tolist()]
        )
    return [str(value) for value in row]
