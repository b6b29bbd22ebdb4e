"""What the yardsticks in plain Taichi share: its start, and the gradient of a loop over time by its tape."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")
os.environ.setdefault("TI_SKIP_VERSION_CHECK", "ON")

import taichi as ti
from numpy.typing import NDArray

__all__ = ["PlainTaichi", "start_taichi"]


def start_taichi(arch: str, precision: int, threads: int | None = None, cache: bool = True) -> None:
    """Start Taichi with the options that make its gradients right.

    Args:
        arch: `cpu` or `cuda`.
        precision: 32 or 64.
        threads: CPU threads, None for all cores.
        cache: Whether compiled kernels are kept on disk.
    """
    options = {"cpu_max_num_threads": threads} if threads else {}
    with contextlib.redirect_stdout(io.StringIO()):  # a line that Taichi prints at every start
        ti.init(
            arch=getattr(ti, arch),
            default_fp=ti.f64 if precision == 64 else ti.f32,
            force_scalarize_matrix=True,
            offline_cache=cache,
            enable_fallback=False,
            log_level=ti.ERROR,
            **options,
        )


class PlainTaichi:
    """A program whose `forward` adds its cost to `loss`, a field of shape () with an adjoint."""

    loss: Any

    def forward(self) -> None:
        """Run all steps and the cost."""
        raise NotImplementedError

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Copy the adjoints of what the gradient is taken with respect to."""
        raise NotImplementedError

    def value(self) -> float:
        """Return the cost."""
        self.loss[None] = 0.0
        self.forward()
        return float(self.loss[None])

    def value_and_grad(self) -> tuple[float, dict[str, NDArray[Any]]]:
        """Return the cost and its gradient."""
        with ti.ad.Tape(loss=self.loss):  # sets the cost to zero, too
            self.forward()
        return float(self.loss[None]), self.gradients()
