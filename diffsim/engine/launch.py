"""Compiling printed kernels against a storage, and launching them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.codegen.philox import FUNCTIONS
from diffsim.compiler.codegen.writer import KernelText
from diffsim.engine import compiles
from diffsim.engine.arena import Compiled
from diffsim.engine.blocks import BlockArena
from diffsim.engine.guard import the_guard
from diffsim.engine.native import Unsupported, bind
from diffsim.engine.storage import Storage
from diffsim.errors import ConfigError

__all__ = ["Launcher", "brief_launcher"]


class Launcher:
    """A kernel that compiles at its first call, unless the memory comes with it; the seconds are kept.

    Args:
        text: The printed kernel.
        storage: Where its fields live.
        brief: It will run a few times only: machine code for it is made as fast as can be.

    Attributes:
        compile_seconds: What compiling it took here; 0 where it was compiled for an earlier rollout.
        cost_seconds: What compiling it took, here or earlier.
        reason: Why Taichi compiles it where machine code was asked for; empty where it does not.
    """

    def __init__(self, text: KernelText, storage: Storage, brief: bool = False) -> None:
        self.text, self._brief = text, brief
        self.compile_seconds = self.cost_seconds = 0.0
        self.reason = ""
        self._storage = storage
        self._launch: Callable[..., None] | None = None
        compiles.announce(text)
        the_guard().announce(text, storage, brief)

    def __call__(self, *args: int) -> None:
        """Launch the kernel."""
        if self._launch is None:
            self._prepare(args)
            return
        self._launch(*args)

    def _prepare(self, args: tuple[int, ...]) -> None:
        """Launch the kernel for the first time."""
        self._storage.allocate(self.text.tapes, self.text.tapes)
        arena, key = self._storage.arena, self._key()
        compiled = arena.compiled(key)
        if compiled is None and self._brief:
            compiled = arena.compiled(("brief", *key))
        if compiled is not None:
            compiles.spare(self.text)
            compiled.launch(*args)
        else:
            compiled = self._compile(args)
            # what Taichi has compiled is as good as it can be
            arena.keep(("brief", *key) if self._brief and compiled.kernel is None else key, compiled)
            self.compile_seconds = compiled.seconds
        self._launch, self.cost_seconds, self.reason = compiled.launch, compiled.seconds, compiled.reason
        if not self._storage.on_cpu:
            self._launch = self._storage.tally.counted(compiled.launch)

    def _key(self) -> tuple[Any, ...]:
        """Return what tells a compiled kernel from others: its text, and which memory its names stand for."""
        digest = hashlib.sha256(self.text.source.encode()).digest()
        names = ((name, c, self._place(b)) for name, (b, c) in self.text.used.items())
        return digest, self.text.real, *names

    def _place(self, buffer: Any) -> Any:
        return id(buffer.source) if buffer.kind == "external" else self._storage.spec(buffer)

    def _compile(self, args: tuple[int, ...]) -> Compiled:
        """Compile the kernel, and launch it for the first time."""
        compiles.begin(self.text)
        arena = self._storage.arena
        if isinstance(arena, BlockArena):
            try:
                return self._made_native(arena, args)
            except Unsupported as unsupported:
                if _taichi.on_spirv():
                    name = ", ".join(self.text.origins) or self.text.name
                    raise ConfigError(
                        f"{name} must become machine code for a look in 64 bits beside Vulkan, got "
                        f"{unsupported}; use arch='cpu'"
                    ) from None
                return self._made_by_taichi(args, str(unsupported))
        return self._made_by_taichi(args)

    def _made_native(self, arena: BlockArena, args: tuple[int, ...]) -> Compiled:
        trial = the_guard().attempt(self.text, self._storage, args, native=True, brief=self._brief)
        compiled = bind(self.text, self._storage.spec, arena, self._brief)
        compiled.launch(*args)
        the_guard().remember(trial)
        return compiled

    def _made_by_taichi(self, args: tuple[int, ...], reason: str = "") -> Compiled:
        """Compile the kernel by its first launch; the reason is why it is not machine code."""
        scope: dict[str, Any] = dict(FUNCTIONS)
        used = self.text.used
        for name, (buffer, component) in used.items():
            scope[name] = (
                buffer.source if buffer.kind == "external" else self._storage.fields(buffer)[component]
            )
        start = time.perf_counter()
        trial = the_guard().attempt(self.text, self._storage, args, native=False)
        kernel = _taichi.build_kernel(self.text.source, self.text.name, scope)
        with _taichi.default_real(self.text.real), _taichi.brief_positions():
            kernel(*args)
            launch = _taichi.direct_launch(kernel, len(args))
        _taichi.wait()
        the_guard().remember(trial)
        seconds = time.perf_counter() - start
        _taichi.release_source(kernel)
        theirs = tuple(b.source for b, _ in used.values() if b.kind == "external")
        return Compiled(launch, seconds, kernel, theirs, reason)

    def close(self) -> None:
        """Let go of the kernel, before its memory is given back."""
        self._launch = None


def brief_launcher(text: KernelText, storage: Storage) -> Launcher:
    """Return a launcher of a kernel that will run a few times only.

    Args:
        text: The printed kernel.
        storage: Where its fields live.
    """
    return Launcher(text, storage, brief=True)
