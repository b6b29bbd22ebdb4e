"""The memory of Taichi's fields, as the host sees it."""

from __future__ import annotations

import ctypes
import itertools
import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffsim._taichi.kernels import build_kernel, forget_kernel, release_source
from diffsim._taichi.objects import NUMPY, dtype_name
from diffsim._taichi.packages import is_a, running
from diffsim._taichi.spirv import MOST_ITERATIONS, on_spirv

__all__ = ["address_views", "field_rows", "read_field", "write_field"]

# Where fields are: they stay there, and every kernel that names one asks.
_found: weakref.WeakKeyDictionary[Any, list[tuple[int, tuple[int, ...]]] | None] = weakref.WeakKeyDictionary()


def address_views(
    fields: Sequence[Any],
    shapes: Sequence[tuple[int, ...]],
    dtypes: Sequence[str],
    outer: int = 0,
    steps: Sequence[Sequence[int]] | None = None,
) -> list[np.ndarray]:
    """Return NumPy arrays that share the memory of dense scalar fields. CPU backends only.

    Each view is valid as long as its field's tree is.

    Args:
        fields: The fields.
        shapes: The shapes of the arrays.
        dtypes: Their scalar types.
        outer: Leading axes along which other fields may lie between the elements.
        steps: How many elements apart neighbours along each axis are, but for those; None where there are no
            gaps.
    """
    # an element, and its neighbour along each outer axis
    elements = [[(0,) * len(field.shape), *_beside(field.shape)[:outer]] for field in fields]
    addresses = _addresses(fields, elements)
    if steps is None:
        steps = [[math.prod(shape[a + 1 :]) for a in range(len(shape))] for shape in shapes]
    views = []
    for (first, *others), shape, dtype, apart in zip(addresses.tolist(), shapes, dtypes, steps, strict=True):
        item = np.dtype(NUMPY[dtype]).itemsize
        strides = [item * step for step in apart]
        strides[: len(others)] = [other - first for other in others]
        size = item + sum(stride * (n - 1) for stride, n in zip(strides, shape, strict=True))
        memory = (ctypes.c_char * size).from_address(first)
        views.append(np.ndarray(shape, NUMPY[dtype], memory, strides=strides))
    return views


def field_rows(field: Any) -> list[tuple[int, tuple[int, ...]]] | None:
    """Return where a dense field's memory is. CPU backends only.

    Args:
        field: A scalar field, or one of vectors or matrices.

    Returns:
        For each component, in the order of rows, the address of its first element and how many bytes apart
        neighbours along each axis are; None where that is not the same everywhere, as in blocks of blocks.
    """
    if field not in _found:
        _found[field] = _rows(field)
    return _found[field]


def read_field(field: Any) -> np.ndarray:
    """Return a copy of a scalar field; on Vulkan also one that Taichi's own kernel can't be launched for."""
    if not _too_large(field):
        found: np.ndarray = field.to_numpy()
        return found
    out = np.empty(field.shape, NUMPY[dtype_name(field.dtype) or "f32"])
    _copy(field, out, "out[{at}] = field[{at}]")
    return out


def write_field(field: Any, values: np.ndarray) -> None:
    """Overwrite a scalar field; on Vulkan also one that Taichi's own kernel can't be launched for."""
    if not _too_large(field):
        field.from_numpy(values)
        return
    _copy(field, np.ascontiguousarray(values), "field[{at}] = out[{at}]")


def _too_large(field: Any) -> bool:
    return on_spirv() and math.prod(field.shape) > MOST_ITERATIONS


def _copy(field: Any, out: np.ndarray, line: str) -> None:
    at = ", ".join(f"i{axis}" for axis in range(len(field.shape)))
    lengths = ", ".join(map(str, field.shape))
    head = f"for {at} in {'ti.ndrange' if len(field.shape) > 1 else 'range'}({lengths}):"
    source = f"def copy(out: ti.types.ndarray()):\n    {head}\n        {line.format(at=at)}\n"
    kernel = build_kernel(source, "copy", {"field": field})
    kernel(out)
    release_source(kernel)
    forget_kernel(kernel)


def _rows(field: Any) -> list[tuple[int, tuple[int, ...]]] | None:
    """Ask where a dense field's memory is; see `field_rows`."""
    parts = [field]
    if is_a(field, "MatrixField"):
        indices = [[i] if field.ndim == 1 else [i, j] for i in range(field.n) for j in range(field.m)]
        parts = [field.get_scalar_field(*index) for index in indices]
    # its corners, and the neighbours of the first element: those are in rows if all are
    corners = list(itertools.product(*((0, n - 1) for n in field.shape)))
    rows = []
    for first, *others in _addresses(parts, [[*corners, *_beside(field.shape)]] * len(parts)).tolist():
        at = [first, *others[: len(corners) - 1]]
        strides = tuple(address - first for address in others[len(corners) - 1 :])
        distance = [sum(i * s for i, s in zip(corner, strides, strict=True)) for corner in corners]
        if any(address != first + d for address, d in zip(at, distance, strict=True)):
            return None
        rows.append((first, strides))
    return rows


def _beside(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the neighbours of the first element along each axis; itself where an axis has no other."""
    return [tuple(int(a == axis and n > 1) for a, n in enumerate(shape)) for axis in range(len(shape))]


def _addresses(
    fields: Sequence[Any], elements: Sequence[Sequence[tuple[int, ...]]]
) -> npt.NDArray[np.uint64]:
    """Return the addresses of elements of scalar fields, as many of each.

    Args:
        fields: The fields.
        elements: The indices of those of each field.
    """
    found = np.zeros((len(fields), len(elements[0]) if fields else 0), dtype=np.uint64)
    for start in range(0, len(fields), 64):  # a bounded number of statements a kernel compiles fast
        part = fields[start : start + 64]
        lines = [
            f"    out[{start + k}, {j}] = ti.get_addr(f{k}, [{', '.join(map(str, element))}])"
            for k in range(len(part))
            for j, element in enumerate(elements[start + k])
        ]
        source = "def addresses(out: ti.types.ndarray()):\n" + "\n".join(lines) + "\n"
        kernel = build_kernel(source, "addresses", {f"f{k}": f for k, f in enumerate(part)})
        kernel(found)
        release_source(kernel)
        forget_kernel(kernel)
    running.ti.sync()
    return found
