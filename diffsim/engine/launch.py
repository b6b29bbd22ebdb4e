"""Compiling printed kernels against a storage, and launching them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.codegen.writer import KernelText
from diffsim.engine.guard import the_guard
from diffsim.engine.storage import Storage

__all__ = ["Launcher"]


class Launcher:
    """A kernel that compiles at its first call; the seconds that took are kept.

    Args:
        text: The printed kernel.
        storage: Where its fields live.
    """

    def __init__(self, text: KernelText, storage: Storage) -> None:
        self.text = text
        self.compile_seconds = 0.0
        self._storage = storage
        self._kernel: Callable[..., Any] | None = None
        self._launch: Callable[..., None] | None = None
        the_guard().announce(text, storage)

    def __call__(self, *args: int) -> None:
        """Launch the kernel."""
        if self._launch is None:
            self._compile(args)
            return
        self._launch(*args)

    def _compile(self, args: tuple[int, ...]) -> None:
        self._storage.allocate(self.text.tapes, self.text.tapes)
        scope: dict[str, Any] = {}
        for name, (buffer, component) in self.text.used.items():
            scope[name] = (
                buffer.source if buffer.kind == "external" else self._storage.fields(buffer)[component]
            )
        start = time.perf_counter()
        trial = the_guard().attempt(self.text, self._storage, args)
        kernel = _taichi.build_kernel(self.text.source, self.text.name, scope)
        with _taichi.default_real(self.text.real), _taichi.brief_positions():
            kernel(*args)
            launch = _taichi.direct_launch(kernel, len(args), reuse=self._storage.on_cpu)
        _taichi.ti.sync()
        the_guard().remember(trial)
        self.compile_seconds = time.perf_counter() - start
        _taichi.release_source(kernel)
        self._kernel, self._launch = kernel, launch

    def close(self) -> None:
        """Let go of the kernel, before its memory is freed."""
        if self._kernel is not None:
            _taichi.forget_kernel(self._kernel)
            self._kernel = self._launch = None
