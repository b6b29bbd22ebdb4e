"""The memory of Taichi's fields, as the host sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import taichi as ti

from diffsim._taichi.kernels import build_kernel, forget_kernel, release_source
from diffsim._taichi.objects import NUMPY

__all__ = ["address_views"]


def address_views(
    fields: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str], outer: int = 0
) -> list[np.ndarray]:
    """Return NumPy arrays that share the memory of dense scalar fields. CPU backends only.

    Each view is valid as long as its field's tree is.

    Args:
        fields: The fields.
        shapes: Their shapes.
        dtypes: Their scalar types.
        outer: Leading axes along which other fields may lie between the elements.
    """
    addresses = np.zeros((len(fields), 1 + outer), dtype=np.uint64)
    for start in range(0, len(fields), 64):  # a bounded number of statements a kernel compiles fast
        part = fields[start : start + 64]
        lines = []
        for k in range(len(part)):
            shape = shapes[start + k]
            for axis in range(-1, outer):  # an element, and its neighbour along each outer axis
                place = ", ".join(str(int(a == axis and n > 1)) for a, n in enumerate(shape))
                lines.append(f"    out[{start + k}, {axis + 1}] = ti.get_addr(f{k}, [{place}])")
        source = "def addresses(out: ti.types.ndarray()):\n" + "\n".join(lines) + "\n"
        kernel = build_kernel(source, "addresses", {f"f{k}": f for k, f in enumerate(part)})
        kernel(addresses)
        release_source(kernel)
        forget_kernel(kernel)
    ti.sync()
    views = []
    for (first, *others), shape, dtype in zip(addresses.tolist(), shapes, dtypes, strict=True):
        item = np.dtype(NUMPY[dtype]).itemsize
        strides = [item * int(np.prod(shape[a + 1 :], dtype=np.int64)) for a in range(len(shape))]
        strides[: len(others)] = [other - first for other in others]
        size = item + sum(stride * (n - 1) for stride, n in zip(strides, shape, strict=True))
        memory = (ctypes.c_char * size).from_address(first)
        views.append(np.ndarray(shape, NUMPY[dtype], memory, strides=strides))
    return views
