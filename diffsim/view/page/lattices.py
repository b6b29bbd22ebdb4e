"""What grids of numbers and of vectors need of a trajectory, for a page."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.calm import calm_frames
from diffsim.view.page.reading import Drawn, Limits, NotDrawable, Reader, numbers, rows
from diffsim.view.scene import Grid, Vectors
from diffsim.view.stream import LENGTH, STEPS, seeds, streamlines

__all__ = ["grid", "vectors"]

_EACH = 2  # of the points of a streamline one is kept
_LINE = 4  # times as many samples of a grid of one axis are kept as along one of several


def grid(part: Grid, reader: Reader, keep: Limits) -> Drawn:
    """Draw numbers on a grid: as a curve, an image, slices or a surface."""
    drawn = Drawn(part, "grid")
    shape = reader.array(part.values).shape[1:]
    rgb = bool(getattr(part, "rgb", False))
    parts = tuple(reader.trajectory[part.values].components) if part.values in reader.trajectory else ()
    if len(shape) == 1 + len(parts) and shape[0] > 1 and len(parts) < 2 and not rgb:
        return _profile(part, reader, keep)
    axes = len(shape) - (1 if rgb or len(shape) > 3 else 0)
    if axes not in (2, 3) or min(shape) < 1:
        raise NotDrawable(f"a grid must have 1, 2 or 3 axes, and {part.values} has shape {shape}")
    strides = tuple(max(1, -(-n // keep.cells)) for n in shape[:axes])
    if max(strides) > 1:
        drawn.notes.append(f"grids of {' × '.join(map(str, shape[:axes]))} samples are shown with fewer")
    spacing = np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (axes,)) * strides
    origin = np.zeros(axes) if part.origin is None else np.asarray(part.origin, dtype=np.float64)
    kept = tuple(-(-n // s) for n, s in zip(shape, strides, strict=False))
    drawn.more = {
        "shape": kept,
        "spacing": spacing,
        "origin": origin,
        "contours": part.contours,
        "level": part.level,
        "rgb": rgb,
    }
    where = (slice(None), *(slice(None, None, stride) for stride in strides))

    def samples(array: NDArray[Any]) -> NDArray[Any]:
        some = array[where]
        if rgb:
            return np.clip(some, 0.0, 1.0)
        return some if some.ndim == axes + 1 else np.linalg.norm(some.astype(np.float64), axis=-1)

    tag = f"grid{strides}"
    if axes == 2 or part.level is not None:
        bits = 16 if part.contours or part.level is not None else 8
        drawn.channels["values"] = reader.channel(part.values, samples, tag, bits)
        return drawn
    for axis in range(3):
        middle = kept[axis] // 2

        def slice_of(array: NDArray[Any], axis: int = axis, middle: int = middle) -> NDArray[Any]:
            return np.take(samples(array), middle, axis=axis + 1)

        drawn.channels[f"slice{axis}"] = reader.channel(part.values, slice_of, f"{tag} {axis}", 8)
    return drawn


def _profile(part: Grid, reader: Reader, keep: Limits) -> Drawn:
    """Draw numbers along one axis as a curve over places."""
    drawn = Drawn(part, "profile")
    count = reader.array(part.values).shape[1]
    stride = max(1, -(-count // (_LINE * keep.cells)))
    if stride > 1:
        drawn.notes.append(f"{-(-count // stride):,} of {count:,} samples of {part.values} are shown")
    spacing = float(np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (1,))[0])
    origin = 0.0 if part.origin is None else float(part.origin[0])
    drawn.more = {
        "places": origin + spacing * np.arange(0, count, stride),
        "counted": part.origin is None and spacing == 1.0,
        "source": part.values,
    }
    one = numbers(count)
    drawn.channels["values"] = reader.channel(
        part.values, lambda array: one(array)[:, ::stride], f"profile{stride}"
    )
    return drawn


def vectors(part: Vectors, reader: Reader, keep: Limits) -> Drawn:
    """Draw vectors as arrows or streamlines."""
    drawn = Drawn(part, "vectors")
    shape = reader.array(part.vectors).shape[1:]
    if not shape or shape[-1] not in (2, 3):
        raise NotDrawable(f"vectors must end in an axis of 2 or 3, and {part.vectors} has shape {shape}")
    width = shape[-1]
    if part.positions is not None:
        count, _ = reader.places(part.positions)
        if int(np.prod(shape[:-1])) != count:
            raise NotDrawable(f"{part.vectors} must have a vector for each of {count} positions")
        most = keep.arrows**2
        chosen = None if count <= most else (np.arange(most) * (count / most)).astype(np.int64)
        if chosen is not None:
            drawn.notes.append(f"{most:,} of {count:,} arrows are shown")
        tag = "" if chosen is None else f" {most}"
        drawn.channels["positions"] = reader.channel(part.positions, rows(width, chosen), f"rows{tag}")
        drawn.channels["vectors"] = reader.channel(part.vectors, rows(width, chosen), f"rows{tag}")
        drawn.more = {"scale": part.scale}
        return drawn
    axes = len(shape) - 1
    if axes != width:
        raise NotDrawable(
            f"vectors on a grid must have as many axes as coordinates, and {part.vectors} has shape {shape}"
        )
    strides = tuple(max(1, -(-n // keep.arrows)) for n in shape[:-1])
    spacing = np.broadcast_to(np.asarray(part.spacing, dtype=np.float64), (axes,))
    origin = np.zeros(axes) if part.origin is None else np.asarray(part.origin, dtype=np.float64)
    if part.lines:
        return _streams(part, reader, keep, (origin, spacing))
    firsts = [(n - 1) % s // 2 for n, s in zip(shape, strides, strict=False)]
    where = tuple(slice(first, None, s) for first, s in zip(firsts, strides, strict=False))
    picked = np.stack(
        np.meshgrid(*(np.arange(n)[w] for n, w in zip(shape, where, strict=False)), indexing="ij"), -1
    )
    drawn.more = {"starts": (origin + picked * spacing).reshape(-1, axes), "scale": part.scale}
    drawn.more["gap"] = float(min(np.abs(spacing * strides)))
    drawn.channels["vectors"] = reader.channel(
        part.vectors, lambda a: a[(slice(None), *where)].reshape(len(a), -1, width), f"arrows{strides}"
    )
    return drawn


def _streams(part: Vectors, reader: Reader, keep: Limits, place: tuple[Any, Any]) -> Drawn:
    """Draw streamlines, which are followed here: the page gets their points."""
    drawn = Drawn(part, "vectors")
    origin, spacing = place
    size = reader.array(part.vectors).shape[1:-1]
    flat = len(size) == 2
    along = min(max(size), max(4, 2 * keep.arrows // 3) if flat else max(3, keep.arrows // 4))
    starts, gap = seeds(size, along), max(1.0, (max(size) - 1) / max(1, along - 1))
    long = 0.0
    for trajectory in (reader.trajectory, *reader.others):
        if part.vectors in trajectory:
            lengths = np.linalg.norm(np.asarray(trajectory[part.vectors], dtype=np.float64), axis=-1)
            most = np.where(np.isfinite(lengths), lengths, 0.0).reshape(len(lengths), -1).max(axis=1)[:, None]
            long = max(long, float(most[calm_frames(0.0 * most, most)].max(initial=0.0)))
    reach = LENGTH * gap * float(spacing.min())
    pace = (part.scale or (reach / long if long > 0.0 else 0.0)) / spacing

    def ways(array: NDArray[Any]) -> NDArray[Any]:
        found = [streamlines(frame, starts, pace, LENGTH * gap)[:, ::_EACH] for frame in array]
        return origin + spacing * np.reshape(found, (len(array), -1, len(size)))

    last = origin + spacing * (np.array(size) - 1)
    ends = (float(origin.min()), float(last.max()))
    channel = reader.channel(part.vectors, ways, f"ways {along}")
    drawn.channels["positions"] = dataclasses.replace(channel, ends=ends)
    drawn.more = {"lines": 2 * STEPS // _EACH + 1, "box": (origin, last)}
    return drawn
