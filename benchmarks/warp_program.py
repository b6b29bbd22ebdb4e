"""What the yardsticks in NVIDIA Warp share: its start, and programs captured once and then replayed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Both = Callable[[], tuple[float, dict[str, NDArray[Any]]]]
LEAST = (1, 15)  # the first Warp that captures graphs on the CPU, too


def start_warp(device: str, cache: bool = True) -> Any:
    """Import Warp, start it without its greeting, and return it.

    Args:
        device: `cpu` or `cuda`; on the CPU Warp does not tell either that it finds no GPU.
        cache: Take compiled kernels from Warp's cache on disk; False compiles all anew.

    Raises:
        RuntimeError: Warp is too old, or finds no GPU.
    """
    import warp as wp

    if tuple(int(part) for part in wp.__version__.split(".")[:2]) < LEAST:
        least = ".".join(map(str, LEAST))
        raise RuntimeError(
            f"warp-lang must be {least} or newer, got {wp.__version__}; pip install -U warp-lang"
        )
    wp.config.log_level = wp.LOG_ERROR
    wp.config.cache_kernels = cache
    with _no_errors() if device == "cpu" else contextlib.nullcontext():
        wp.init()
    if device != "cpu" and not wp.is_cuda_available():
        raise RuntimeError(f"Warp must find a CUDA GPU to run on {device}, got none; use cpu")
    return wp


def make_module(wp: Any, name: str, real: Any, *sizes: int, most: int = 16) -> Any:
    """Make the module of a program's kernels, which are compiled together.

    Warp's adjoint of a loop that is not unrolled does not know what the loop left in a variable: it derives
    tanh of a sum at what the sum began with, silently.

    Args:
        wp: Warp.
        name: The program's.
        real: The type of a number.
        sizes: What else its kernels depend on.
        most: How many turns the longest loop takes that has to be unrolled.
    """
    module = wp.get_module("_".join(["diffsim", name, real.__name__, *map(str, sizes)]))
    module.options["max_unroll"] = most
    return module


@contextlib.contextmanager
def _no_errors() -> Iterator[None]:
    """Drop what the process writes to its standard error, from C++ too."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def program(
    forward: Callable[[], None], cost: Any, leaves: dict[str, Any], device: str
) -> tuple[Callable[[], float], Both]:
    """Return functions for the cost, and for the cost with its gradient, that replay captured graphs.

    The forward launches are recorded once on a `wp.Tape`; forward, and forward with backward, are each
    captured once with `wp.ScopedCapture` and replayed from then on: a CUDA graph on a GPU, a list of launches
    that runs without Python on the CPU. Adjoints are cleared within the graph.

    Args:
        forward: Launches everything from the first kernel to the cost.
        cost: The array of one element that it writes.
        leaves: The arrays that gradients are taken of, by name.
        device: `cpu` or `cuda`.
    """
    import warp as wp

    with wp.Tape() as tape:
        forward()
    tape.backward(cost)  # compiles, and tells the tape which adjoints there are to be cleared
    with wp.ScopedCapture(device) as once:
        forward()
    with wp.ScopedCapture(device) as both:
        forward()
        tape.zero()
        tape.backward(cost)

    def value() -> float:
        wp.capture_launch(once.graph)
        return float(cost.numpy()[0])

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        wp.capture_launch(both.graph)
        return float(cost.numpy()[0]), {name: np.array(leaf.grad.numpy()) for name, leaf in leaves.items()}

    return value, value_and_grad
