"""The chain of masses in C (`chain.c`): every position kept, and the way back written by hand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import compiled
from benchmarks.chain_problem import DT


def make_program(
    x: NDArray[Any], v: NDArray[Any], stiffness: NDArray[Any], target: NDArray[Any], steps: int
) -> tuple[Callable[[], float], Callable[[], tuple[float, dict[str, NDArray[Any]]]]]:
    """Return functions for the cost, and for the cost with its gradient; the arguments are as drawn."""
    library = compiled.load("chain.c", 8 * x.itemsize, {"MASSES": len(x), "DT": DT})
    kept = np.zeros((steps + 1, len(x) + 2), x.dtype)
    kept[0, 1:-1] = x
    grads = {name: np.zeros_like(array) for name, array in (("x", x), ("v", v), ("stiffness", stiffness))}
    given = [np.ctypeslib.as_ctypes(array.reshape(-1)) for array in (stiffness, kept, v, target)]
    found = [np.ctypeslib.as_ctypes(grads[name]) for name in ("x", "v", "stiffness")]
    for function in (library.value, library.value_and_grad):
        function.restype = ctypes.c_double

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        return float(library.value_and_grad(ctypes.c_int(steps), *given, *found)), grads

    return lambda: float(library.value(ctypes.c_int(steps), *given)), value_and_grad
