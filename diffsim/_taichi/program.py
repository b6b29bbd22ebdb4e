"""Taichi's program: started with the options that right gradients need, and ended."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

from diffsim import files
from diffsim._taichi.cuda import memory_options
from diffsim._taichi.deferred import deferred, initialise_deferred, started
from diffsim._taichi.objects import dtype_name
from diffsim._taichi.packages import HOME, running, take_real
from diffsim._taichi.trees import begin_program

__all__ = ["current_program", "default_real", "finish", "has_arch", "initialise", "wait"]

_LOCKED = 600.0  # seconds; Taichi locks its cache for as long as it takes to write a few files


def has_arch(arch: str) -> bool:
    """Tell whether this machine and this build of Taichi can run `cuda`, `x64`, ..."""
    ti = HOME.ti
    ti.set_logging_level(ti.ERROR)  # looking for CUDA warns where there is none
    return bool(ti.lang.misc.is_arch_supported(getattr(ti, arch)))


def initialise(
    arch: str, precision: int, seed: int, threads: int | None, cache: bool, defer: bool = False
) -> tuple[str, tuple[str, str]]:
    """Start Taichi with the options that diffsim relies on.

    `force_scalarize_matrix` cures values that Taichi's defaults miscompile.
    `cache_loop_invariant_global_vars` keeps a place in memory in a register across a loop even where the loop
    writes it through another index, and is off. The fallback to another backend is off, so that a missing one
    is an error. The line that Taichi prints at every start is kept from the user.

    Taichi makes the folder of its cache also where it keeps nothing there, and the process dies at its end
    where that can't be done: then it is given a folder that exists.

    Returns:
        The name of the backend that came up; the folder of the cache, and why nothing can be kept there.
    """
    begin_program()
    options: dict[str, Any] = {"cpu_max_num_threads": threads} if threads else {}
    options |= memory_options() if arch == "cuda" else {}
    ti, impl = running.ti, running.impl
    real = ti.f64 if precision == 64 else ti.f32
    ti.reset()  # the folder's default is that of the environment as it is now
    folder = os.environ.get("TI_OFFLINE_CACHE_FILE_PATH") or impl.default_cfg().offline_cache_file_path
    if running.is_forge:  # one removes what it does not know from the folder of the other
        folder = os.path.join(folder, "forge")
    trouble = files.why_not_writable(folder)
    if not trouble:
        files.remove_stale(f"{folder}/ticache.lock", _LOCKED)
    with _without_environment_overrides(), contextlib.redirect_stdout(io.StringIO()):
        (initialise_deferred if defer else ti.init)(
            arch=getattr(ti, arch),
            default_fp=real,
            default_ip=ti.i32,
            random_seed=seed,
            log_level=ti.ERROR,
            force_scalarize_matrix=True,
            cache_loop_invariant_global_vars=False,
            offline_cache=cache and not trouble,
            offline_cache_file_path=os.path.dirname(os.path.abspath(__file__)) if trouble else folder,
            enable_fallback=False,
            num_compile_threads=0,  # a process that was forked off has none, and can compile all the same
            **options,
            **running.options,
        )
    take_real(f"f{precision}")
    return str(impl.default_cfg().arch).rsplit(".", 1)[-1], (folder, trouble)


def finish() -> None:
    """End Taichi's program; only then does it write what it compiled to its cache on disk."""
    if started():
        running.ti.reset()


@contextlib.contextmanager
def _without_environment_overrides() -> Iterator[None]:
    """Hide TI_* variables that would override an option that our results depend on."""
    names = (
        "FORCE_SCALARIZE_MATRIX DEFAULT_FP DEFAULT_IP ARCH OFFLINE_CACHE_FILE_PATH COMPILE_TIER "
        "ADVANCED_OPTIMIZATION KERNEL_SPECIALIZATION_LIMIT"
    ).split()
    saved = {f"TI_{name}": os.environ.pop(f"TI_{name}") for name in names if f"TI_{name}" in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)


@contextlib.contextmanager
def default_real(real: str) -> Iterator[None]:
    """While active, lower and compile as if Taichi had been started with this precision, `f32` or `f64`.

    Literals take their type from the Python side's default when a kernel is compiled, arithmetic on integers
    from that of the compiler's options; a program to come takes it from the options of `ti.init`.
    """
    saved = dtype_name(float)
    _set_real(real)
    try:
        yield
    finally:
        _set_real(saved or "f32")


def _set_real(real: str) -> None:
    take_real(real)
    if started():
        running.impl.current_cfg().default_fp = running.dtypes[real]


def current_program() -> Any:
    """Return the object that stands for the running Taichi program: another one after each `ti.init`.

    It is there from `ti.init` on, also where the program itself is made later; None before.
    """
    runtime = running.impl.get_runtime()
    return runtime if deferred() or started() else None


def wait() -> None:
    """Wait until all that was launched is done.

    `ti.sync` also looks for fields that were declared and not placed, which takes longer than a short run.
    """
    if started():
        running.impl.get_runtime().prog.synchronize()
