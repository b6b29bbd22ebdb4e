"""The one place that starts Taichi, and what the rest of the library may ask about it."""

from __future__ import annotations

import atexit
import gc
import os
import weakref
from dataclasses import dataclass
from typing import Any

from diffsim import _taichi
from diffsim.errors import ConfigError, StateError
from diffsim.options import plain_number

__all__ = ["RuntimeInfo", "info", "init"]

ARCHES = ("auto", "cpu", "cuda")
# The largest programs known compile in half a minute, on a busy machine in a few times that.
GUARD_SECONDS = 300.0


@dataclass(frozen=True)
class RuntimeInfo:
    """Say how Taichi was started.

    Attributes:
        arch: The backend that came up: `x64` (or `arm64`), `cuda`.
        precision: 32 or 64, the bits of `ds.real`.
        seed: What random numbers start from.
        threads: CPU threads that parallel loops may use.
        guard: Seconds that a new kernel may take in the guard's process; 0 where there is no guard.
        unguarded: Why there is none although it was asked for.
        tune: Mode `auto` may weigh the time to compile, and measure.
        device_layout: Memory, copies and rules are those of a GPU although the CPU computes: for tests.
    """

    arch: str
    precision: int
    seed: int
    threads: int
    guard: float = 0.0
    unguarded: str = ""
    tune: bool = False
    device_layout: bool = False

    @property
    def real(self) -> str:
        """Name the scalar type of `ds.real`: `f32` or `f64`."""
        return f"f{self.precision}"

    @property
    def on_cpu(self) -> bool:
        """Tell whether the fields live in host memory, and NumPy may reach into them."""
        return self.arch != "cuda" and not self.device_layout


class _Runtime:
    """What is running: the settings, Taichi's program, and who lives on it."""

    def __init__(self) -> None:
        self.info: RuntimeInfo | None = None
        self.program: Any = None
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()


_runtime = _Runtime()


def init(
    arch: str = "auto",
    precision: int = 32,
    seed: int = 0,
    threads: int | None = None,
    cache: bool = True,
    guard: bool | float = False,
    tune: bool | None = None,
) -> RuntimeInfo:
    """Start the runtime: choose the backend, the precision of `ds.real` and the random seed.

    Args:
        arch: `auto` (CUDA where there is a GPU, else the CPU), `cpu` or `cuda`.
        precision: 32 or 64 bits for `ds.real`.
        seed: A non-negative integer from which parts draw their initial weights.
        threads: CPU threads for parallel loops; None for all cores. With one, runs in one mode repeat bit for
            bit.
        cache: Keep compiled kernels on disk, so that the next run of the same program starts at once.
        guard: Compile and run each new kernel in a child process first, so that one that would kill or hang
            Python becomes a `GradientError`. A number is the seconds that one compilation, and one first run,
            may take; True allows 300. Kernels that passed are remembered in `~/.cache/diffsim/guard` and cost
            nothing later. CPU only: on CUDA the child would need the memory of the GPU once more, so there
            `info().unguarded` says why there is none.
        tune: Let mode `auto` weigh the time to compile against what it wins, and time modes against each
            other at the first gradient. False: it follows from the program, the worlds and the threads alone,
            so that runs repeat. None: as the environment variable `DIFFSIM_TUNE` says (`0` or `1`), or True.

    Returns:
        What came up.

    Raises:
        ConfigError: An argument is not allowed, or the backend asked for is not on this machine.
        StateError: Rollouts of an earlier `init` are still alive; their memory would be lost.
    """
    precision, seed, threads, guard = map(plain_number, (precision, seed, threads, guard))
    _check_arguments(arch, precision, seed, threads)
    limit, tuned, as_device = _guard_seconds(guard), _tuned(tune), _as_device()
    chosen = arch
    if arch == "auto":
        chosen = "cuda" if _taichi.has_arch("cuda") else "cpu"
    elif arch == "cuda" and not _taichi.has_arch("cuda"):
        raise ConfigError(
            "arch must name a backend of this machine, got 'cuda' where no CUDA GPU is found; use 'auto'"
        )
    if _runtime.users:
        gc.collect()
    alive = [user for user in _runtime.users if not user.closed]
    if alive and _runtime.program is _taichi.current_program():
        raise StateError(
            f"init must come before any rollout, got {len(alive)} live rollout(s); "
            "close them (rollout.close()) or delete them first"
        )
    if _runtime.info is None:
        atexit.register(_taichi.finish)  # a script that closes nothing has its kernels cached as well
    name = _taichi.initialise(chosen, precision, seed, threads, cache)
    unguarded = _why_unguarded(name, as_device) if limit else ""
    _runtime.info = RuntimeInfo(
        name,
        precision,
        seed,
        threads or os.cpu_count() or 1,
        0.0 if unguarded else limit,
        unguarded,
        tuned,
        as_device,
    )
    _runtime.program = _taichi.current_program()
    return _runtime.info


def _check_arguments(arch: str, precision: int, seed: int, threads: int | None) -> None:
    if arch not in ARCHES:
        raise ConfigError(f"arch must be one of {', '.join(ARCHES)}, got {arch!r}; use 'auto' where unsure")
    if precision not in (32, 64) or isinstance(precision, bool):
        raise ConfigError(f"precision must be 32 or 64, got {precision!r}; use 64 to check gradients")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise ConfigError(
            f"seed must be an integer from 0 to 2**31 - 1, got {seed!r}; use 0 where it does not matter"
        )
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ConfigError(
            f"threads must be a positive integer or None, got {threads!r}; use None for all cores"
        )


def _guard_seconds(guard: Any) -> float:
    if isinstance(guard, bool):
        return GUARD_SECONDS if guard else 0.0
    if not isinstance(guard, int | float) or not 0 < guard < 1e6:
        raise ConfigError(
            f"guard must be True, False or a number of seconds, got {guard!r}; use True where unsure"
        )
    return float(guard)


def _tuned(tune: Any) -> bool:
    if tune is None:
        given = os.environ.get("DIFFSIM_TUNE", "1")
        if given not in ("0", "1"):
            raise ConfigError(f"DIFFSIM_TUNE must be 0 or 1, got {given!r}; unset it where unsure")
        return given == "1"
    if not isinstance(tune, bool):
        raise ConfigError(f"tune must be True, False or None, got {tune!r}; use None where unsure")
    return tune


def _as_device() -> bool:
    """Tell whether tests asked for a GPU's layout on the CPU, so that its branches run where no GPU is."""
    given = os.environ.get("DIFFSIM_LAYOUT", "host")
    if given not in ("host", "device"):
        raise ConfigError(f"DIFFSIM_LAYOUT must be host or device, got {given!r}; unset it")
    return given == "device"


def _why_unguarded(arch: str, as_device: bool = False) -> str:
    """Say why the guard's process can't be had with a backend; empty where it can."""
    if as_device:
        return "the guard's process has the layout of a CPU, and DIFFSIM_LAYOUT asks for a GPU's"
    if arch == "cuda":
        return "on CUDA the guard's process would need the GPU's memory once more"
    if os.name != "posix":
        return "the guard needs the pipes and signals of a POSIX system"
    return ""


def guard_limit() -> float:
    """Return the seconds that a new kernel may take in the guard's process, 0 where there is no guard."""
    return _runtime.info.guard if _runtime.info else 0.0


def info() -> RuntimeInfo:
    """Return how Taichi was started.

    Raises:
        StateError: `init` was not called, or Taichi was started again behind its back.
    """
    if _runtime.info is None:
        if _taichi.current_program() is not None:
            raise StateError(
                "the runtime must be started by diffsim, got one started by ti.init; call diffsim.init() "
                "instead, which sets the options that right gradients need"
            )
        raise StateError("the runtime must be started first, got no call of init; call diffsim.init()")
    if _runtime.program is not _taichi.current_program():
        raise StateError(
            "the runtime must stay as diffsim started it, got another ti.init; call diffsim.init() again"
        )
    return _runtime.info


def seed() -> int:
    """Return the seed of `init`, or 0 where it was not called yet."""
    return _runtime.info.seed if _runtime.info else 0


def register(user: Any) -> Any:
    """Note that an object lives on the running program, and return the program."""
    _runtime.users.add(user)
    return _runtime.program


def current_program() -> Any:
    """Return the object that stands for the running Taichi program."""
    return _taichi.current_program()
