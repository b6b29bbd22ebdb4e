"""What Taichi's objects are: types, kernels, functions, structs, ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim._taichi.packages import HOME, is_a, loaded, running

__all__ = [
    "DTYPES",
    "NUMPY",
    "dtype_name",
    "is_real_function",
    "is_scalar_type",
    "is_vector_type",
    "kernel_function",
    "ndrange_bounds",
    "struct_members",
    "struct_methods",
    "taichi_function",
]

DTYPES = HOME.dtypes
NUMPY: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}


def dtype_name(dtype: Any) -> str | None:
    """Return our name for a scalar type of Taichi, Python or NumPy, or None where it is not one."""
    if dtype is float or dtype is int:
        defaults = running.impl.get_runtime()
        dtype = defaults.default_fp if dtype is float else defaults.default_ip
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        return next((name for name, known in NUMPY.items() if known is dtype), None)
    for package in loaded():  # their types are no equals
        for name, known in package.dtypes.items():
            if dtype is known or dtype == known:
                return name
    return None


def is_scalar_type(obj: Any) -> bool:
    """Tell whether an object is one of Taichi's scalar types, such as `ti.f32`."""
    return type(obj).__name__ == "DataTypeCxx" or type(obj).__module__.startswith(
        ("taichi._lib", "taichi_forge._lib")
    )


def is_vector_type(obj: Any) -> bool:
    """Tell whether an object is a type of vectors or matrices, such as `ti.math.vec3`."""
    return is_a(obj, "lang.matrix.MatrixType")


def struct_members(obj: Any) -> dict[str, Any]:
    """Return the names and types of the parts of a struct type, such as a `@ti.dataclass`; {} for others."""
    return dict(obj.members) if is_a(obj, "lang.struct.StructType") else {}


def struct_methods(obj: Any) -> dict[str, Any]:
    """Return the Taichi functions that a struct type, or a field of structs, has as methods."""
    return dict(obj.struct_methods if is_a(obj, "StructField") else obj.methods)


def ndrange_bounds(obj: Any) -> list[tuple[int, int]] | None:
    """Return the start and stop of each axis of a `ti.ndrange` made in Python; None for anything else."""
    if not is_a(obj, "lang._ndrange._Ndrange"):
        return None
    return [(int(start), int(stop)) for start, stop in obj.bounds]


def kernel_function(obj: Any) -> Callable[..., Any] | None:
    """Return the Python function of a `@ti.kernel`, or None for anything else."""
    if getattr(obj, "_is_wrapped_kernel", False):
        function: Callable[..., Any] = obj._primal.func
        return function
    return None


def taichi_function(obj: Any) -> tuple[Callable[..., Any], Any] | None:
    """Return (Python function, bound owner or None) of a `@ti.func` or `@ti.pyfunc`, else None."""
    owner = getattr(obj, "__self__", None)
    inner = getattr(obj, "__func__", obj)
    if not getattr(inner, "_is_taichi_function", False) or not hasattr(inner, "func"):
        return None
    return inner.func.func, owner


def is_real_function(obj: Any) -> bool:
    """Tell whether an object is a `@ti.real_func`."""
    return bool(getattr(getattr(obj, "__func__", obj), "_is_real_function", False))
