"""Small vectors and matrices that were made in Python, as numbers that kernels compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.language.fields import Field

__all__ = ["matrix_entries"]


def matrix_entries(obj: Any) -> tuple[list[Any], tuple[int, ...]] | None:
    """Return the numbers and the shape of a small vector or matrix made in Python."""
    if _holds_fields(obj):  # which NumPy would read the values of
        return None
    sized = isinstance(obj, list | tuple) or (isinstance(obj, np.ndarray) and obj.ndim > 0)
    if _taichi.is_a(obj, "Matrix") or (sized and len(obj) <= 16):
        try:
            array = np.array(obj.to_numpy() if _taichi.is_a(obj, "Matrix") else obj)
        except ValueError:  # rows of different lengths: a plain tuple of tuples
            return None
        if array.dtype.kind in "iufb" and array.ndim in (1, 2) and array.size <= 64:
            return [x.item() for x in array.reshape(-1)], array.shape
    return None


def _holds_fields(obj: Any) -> bool:
    """Tell whether an object is a field, or a list or tuple with one in it, at any depth."""
    return isinstance(obj, Field) or (isinstance(obj, list | tuple) and any(map(_holds_fields, obj)))
