"""What the driver says of a CUDA GPU that Taichi does not."""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ["memory_options"]

_MEMORY_POOLS = 115  # CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED
_SHARE = 0.8  # of the memory of a GPU without pools


def memory_options() -> dict[str, Any]:
    """Return what `ti.init` must be told of memory, before any plan is made.

    Where the driver has pools of memory, Taichi allocates dense fields as they are made. Else it takes all it
    will ever have at its start, 1 GiB unless told: then a plan with a larger budget would find none.
    """
    try:
        driver = _driver()
    except OSError:
        return {}
    pools, device = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return {}
    if driver.cuDeviceGetAttribute(ctypes.byref(pools), _MEMORY_POOLS, device) or pools.value:
        return {}
    return {"device_memory_fraction": _SHARE}


def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")
