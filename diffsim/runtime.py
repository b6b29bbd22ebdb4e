"""The one place that starts Taichi, and what the rest of the library may ask about it."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffsim import _backends, _llvm, _outlived, _taichi, _vulkan
from diffsim.errors import ConfigError, StateError
from diffsim.options import plain_number

__all__ = ["RuntimeInfo", "info", "init"]

# The largest programs known compile in half a minute, on a busy machine in a few times that.
GUARD_SECONDS = 300.0


@dataclass(frozen=True)
class RuntimeInfo:
    """Say how Taichi was started.

    Attributes:
        arch: The backend that came up: `x64` (or `arm64`), `cuda`, `vulkan`.
        precision: 32 or 64, the bits of `ds.real`.
        seed: What random numbers start from.
        threads: CPU threads that parallel loops may use.
        guard: Seconds that a new kernel may take in the guard's process; 0 where there is no guard.
        unguarded: Why there is none although it was asked for.
        tune: Mode `auto` may weigh the time to compile, and measure.
        cache: Compiled kernels are kept on disk.
        device_layout: Memory, copies and rules are those of a GPU although the CPU computes: for tests.
        compiler: What makes machine code of kernels: `native` (LLVM at once), `taichi` or `forge`.
    """

    arch: str
    precision: int
    seed: int
    threads: int
    guard: float = 0.0
    unguarded: str = ""
    tune: bool = False
    cache: bool = True
    device_layout: bool = False
    compiler: str = "taichi"

    @property
    def native(self) -> bool:
        """Tell whether kernels are compiled without Taichi, which then runs only what that cannot do."""
        return self.compiler == "native"

    @property
    def real(self) -> str:
        """Name the scalar type of `ds.real`: `f32` or `f64`."""
        return f"f{self.precision}"

    @property
    def on_cpu(self) -> bool:
        """Tell whether the fields live in host memory, and NumPy may reach into them."""
        return self.arch not in _backends.GPUS and not self.device_layout

    @property
    def software(self) -> bool:
        """Tell whether a GPU's driver computes on the CPU, and compiles for it."""
        device = _vulkan.device() if self.arch == "vulkan" else None
        return device is not None and device.software

    def in_double(self) -> RuntimeInfo:
        """Return what runs a program of this backend in 64 bits: it, or the CPU beside where it has 32 alone.

        Raises:
            ConfigError: The CPU is needed, and llvmlite is not there: Taichi is busy with the other backend.
        """
        if self.arch != "vulkan":
            return replace(self, precision=64)
        if missing := _llvm.why_missing():
            raise ConfigError(
                f"a look in 64 bits beside Vulkan must have llvmlite, to run on the CPU, got {missing}; pip "
                "install llvmlite, or use arch='cpu'"
            )
        return replace(self, arch="cpu", precision=64, compiler="native", guard=0.0)


class _Runtime:
    """What is running: the settings, Taichi's program, and who lives on it."""

    def __init__(self) -> None:
        self.info: RuntimeInfo | None = None
        self.settings: dict[str, Any] = {}
        self.program: Any = None
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        self.told: dict[Any, Any] = {}

    @property
    def running(self) -> bool:
        """Tell whether Taichi still runs the program that diffsim started."""
        return self.program is not None and self.program is _taichi.current_program()


_runtime = _Runtime()


def init(
    arch: str = "auto",
    precision: int = 32,
    seed: int = 0,
    threads: int | None = None,
    cache: bool = True,
    guard: bool | float = False,
    tune: bool | None = None,
    reset: bool = False,
    compiler: str = "auto",
) -> RuntimeInfo:
    """Start the runtime: choose the backend, the precision of `ds.real` and the random seed.

    Memory can be made in the thread that calls it alone; what has run there once runs in other threads too.

    Called again with settings that mean the same, it does nothing: rollouts and fields live on, and the first
    cell of a notebook can be run again. With others it starts Taichi anew, which ends every Taichi field; a
    warning says where users' own were made.

    Args:
        arch: `auto` (CUDA where there is a GPU, else the CPU), `cpu`, `cuda`, or `vulkan`: GPUs of AMD, Intel
            and NVIDIA by their Vulkan drivers, or Mesa's driver, which computes on the CPU. It has 32 bits
            alone, in which `sin` and the like may be off by thousands of last bits, as drivers may; checks in
            64 bits run on the CPU beside it, which needs llvmlite. `metal` has no 64 bits at all, and is
            refused.
        precision: 32 or 64 bits for `ds.real`.
        seed: A non-negative integer from which parts draw their initial weights.
        threads: CPU threads for parallel loops; None for all cores. Runs in one mode repeat bit for bit where
            there is one, and with the native compiler whatever their number, as long as it is the same.
        cache: Keep compiled kernels on disk, so that the next run of the same program starts at once. Where
            no folder can be written to, a warning says so and nothing is kept.
        guard: Compile and run each new kernel in a child process first, so that one that would kill or hang
            Python becomes a `GradientError`. A number is the seconds that one compilation, and one first run,
            may take; True allows 300. Kernels that passed are remembered in `~/.cache/diffsim/guard` and cost
            nothing later. CPU only: a child would need the memory of a GPU once more, so there
            `info().unguarded` says why there is none.
        tune: Let mode `auto` weigh the time to compile against what it wins, and time modes against each
            other at the first gradient. False: it follows from the program, the worlds and the threads alone,
            so that runs repeat. None: as the environment variable `DIFFSIM_TUNE` says (`0` or `1`), or True.
        reset: Close the rollouts that are open, with what optimizers keep on the device, and start anew
            whatever the settings. The values of their parameters stay.
        compiler: What makes machine code of kernels on a CPU. `native`: LLVM at once, in milliseconds, by the
            package llvmlite; kernels that it does not do are left to Taichi, and `explain` names them.
            `taichi`: Taichi, in seconds. `forge`: its fork Taichi Forge, of the extra `forge`. `auto`: as the
            environment variable `DIFFSIM_COMPILER` says, or native where llvmlite is installed, or Taichi.

    Returns:
        What came up.

    Raises:
        ConfigError: An argument is not allowed, or the backend or compiler asked for is not on this machine.
        StateError: Rollouts of an `init` with other settings are still alive, or one is running.
    """
    precision, seed, threads, guard = map(plain_number, (precision, seed, threads, guard))
    _check_arguments(arch, precision, seed, threads, cache, reset)
    limit, tuned, as_device = _guard_seconds(guard), _tuned(tune), _backends.as_device()
    settings: dict[str, Any] = {
        "arch": _backends.chosen_arch(arch, precision),
        "precision": int(precision),
        "seed": int(seed),
        "threads": int(threads or os.cpu_count() or 1),
        "cache": bool(cache),
        "guard": limit,
        "tune": tuned,
        "device_layout": as_device,
    }
    settings["compiler"] = _backends.chosen_compiler(
        compiler, settings["arch"] in _backends.GPUS or as_device
    )
    if _runtime.running and _runtime.info is not None:
        if settings == _runtime.settings and not reset:
            return _runtime.info
        _close_users(settings, reset)
    _runtime.users.clear()  # what is left lived on a program that Taichi ended behind our back
    _end_fields()
    if _runtime.info is None:
        atexit.register(_taichi.finish)  # a script that closes nothing has its kernels cached as well
    _taichi.use(_taichi.FORGE if settings["compiler"] == "forge" else _taichi.HOME.name)
    name, (folder, trouble) = _taichi.initialise(
        settings["arch"], precision, seed, threads, cache, settings["compiler"] == "native"
    )
    unguarded = _backends.why_unguarded(name, as_device) if limit else ""
    guarded = 0.0 if unguarded else limit
    kept = cache and not trouble
    _runtime.info = RuntimeInfo(
        name,
        precision,
        seed,
        settings["threads"],
        guarded,
        unguarded,
        tuned,
        kept,
        as_device,
        settings["compiler"],
    )
    _runtime.program, _runtime.settings = _taichi.current_program(), settings
    if cache:
        _tell_of_cache(folder, trouble)
    return _runtime.info


def _close_users(settings: Mapping[str, Any], reset: bool) -> None:
    """Close what lives on the running program, or refuse to end that."""
    if _runtime.users:
        gc.collect()
    alive = [user for user in _runtime.users if not user.closed]
    if alive and not reset:
        unlike = [
            f"{name}={value!r} instead of {_runtime.settings[name]!r}"
            for name, value in settings.items()
            if value != _runtime.settings[name]
        ]
        raise StateError(
            f"init must have the settings of the runtime that rollouts live on, got {', '.join(unlike)} and "
            f"{len(alive)} live rollout(s); close them (rollout.close()), or let reset=True close them"
        )
    for user in alive:
        user.close()


def _end_fields() -> None:
    """Warn of fields of users that end with the program, and make further uses of any field an error."""
    if not _taichi.started():
        return
    fields = _outlived.living()
    places = _outlived.made_by_hand(fields)
    if places:
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        warnings.warn(
            "Taichi fields must be made after ds.init, which starts Taichi anew, got fields made before it "
            f"({', '.join(places[:3])}{more}); they are gone: make them again after it",
            RuntimeWarning,
            stacklevel=3,
        )
    _outlived.retire(fields)


def _tell_of_cache(folder: str, trouble: str) -> None:
    """Say once that compiled kernels are not kept, or that they are where the user did not say."""
    if trouble:
        message = (
            f"compiled kernels must be kept in a folder that can be written to, got {folder} ({trouble}); "
            "each process compiles anew; set XDG_CACHE_HOME to another folder, or pass cache=False"
        )
        logging.getLogger("matplotlib").addFilter(_news)
    elif _taichi.HOMELESS:
        message = f"HOME must name a folder, got none; compiled kernels are kept in {folder}"
    else:
        return
    # it is about the process, not about a line of the program: one line without that of a source
    warnings.warn_explicit(message, RuntimeWarning, "diffsim.init", 1, registry=_runtime.told)


def _news(record: logging.LogRecord) -> bool:
    """Tell whether Matplotlib says more than that it can't keep files where nobody can, in two lines."""
    return not str(record.msg).startswith(("mkdir -p failed", "Matplotlib created a temporary cache"))


def _check_arguments(
    arch: str, precision: int, seed: int, threads: int | None, cache: bool, reset: bool
) -> None:
    if arch not in _backends.ARCHES:
        raise ConfigError(
            f"arch must be one of {', '.join(_backends.ARCHES)}, got {arch!r}; use 'auto' where unsure"
        )
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
    for name, value in (("cache", cache), ("reset", reset)):
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be True or False, got {value!r}; leave it out where unsure")


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


def would_be_native() -> bool:
    """Tell whether `init`, left to choose, compiles without Taichi on this machine; nothing is started."""
    return _backends.would_be()[1] == "native"


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
    if not _runtime.running:
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


def living() -> list[Any]:
    """List what lives on the running program."""
    return [user for user in _runtime.users if not user.closed]


def require_running(program: Any, what: str) -> None:
    """Refuse to read memory that ended with its program.

    Raises:
        StateError: Taichi was started again since.
    """
    if program is not _taichi.current_program():
        raise StateError(
            f"{what} must be read before Taichi is started again, got another ti.init since, which ended the "
            "memory; make a new Rollout and run it"
        )


def current_program() -> Any:
    """Return the object that stands for the running Taichi program."""
    return _taichi.current_program()
