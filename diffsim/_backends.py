"""What there is to compute with: backends and compilers, and which of them are on this machine."""

from __future__ import annotations

import importlib.util
import os

from diffsim import _llvm, _taichi, _vulkan
from diffsim.errors import ConfigError, MissingExtraError

__all__ = [
    "ARCHES",
    "COMPILERS",
    "GPUS",
    "as_device",
    "chosen_arch",
    "chosen_compiler",
    "why_unguarded",
    "would_be",
]

ARCHES = ("auto", "cpu", "cuda", "vulkan", "metal")
GPUS = ("cuda", "vulkan", "metal")
COMPILERS = ("auto", "native", "taichi", "forge")
_NO_METAL = "costs are added up in 64 bits, which Metal has not; use arch='cpu'"


def chosen_arch(arch: str, precision: int = 32) -> str:
    """Return the backend to start: `cpu`, `cuda` or `vulkan`.

    Args:
        arch: As `init` takes it.
        precision: Bits of `ds.real`.

    Raises:
        ConfigError: It is not on this machine, or can't do what is needed.
    """
    if arch == "auto":
        return "cuda" if _taichi.has_arch("cuda") else "cpu"
    if arch == "cuda" and not _taichi.has_arch("cuda"):
        raise ConfigError(
            "arch must name a backend of this machine, got 'cuda' where no CUDA GPU is found; use 'auto'"
        )
    why = {"vulkan": _why_no_vulkan, "metal": lambda precision: _NO_METAL}.get(arch)
    if why is not None and why(precision):
        raise ConfigError(f"arch must name a backend of this machine, got {arch!r} where {why(precision)}")
    return arch


def _why_no_vulkan(precision: int) -> str:
    """Say why Vulkan can't be used, and what to do; empty where it can."""
    missing, device = _vulkan.why_missing(), _vulkan.device()
    if missing or device is None:
        return (
            f"{missing}; install the driver of the GPU, or Mesa's (mesa-vulkan-drivers and libvulkan1 of "
            "Debian), or use arch='cpu'"
        )
    if precision == 64:
        return "functions as sin and exp have 32 bits alone; use precision=32, or arch='cpu'"
    if not (device.doubles and device.longs):
        return f"{device.name} has no numbers of 64 bits, in which costs are added up; use arch='cpu'"
    return "" if _taichi.has_arch("vulkan") else "Taichi was built without it; use arch='cpu'"


def chosen_compiler(asked: str, on_device: bool) -> str:
    """Return what makes machine code: `native`, `taichi` or `forge`.

    Raises:
        ConfigError: There is no such compiler, or it is not on this machine.
        MissingExtraError: It is Taichi Forge, which is not installed.
    """
    if asked not in COMPILERS:
        raise ConfigError(
            f"compiler must be one of {', '.join(COMPILERS)}, got {asked!r}; use 'auto' where unsure"
        )
    if asked == "auto":
        asked = os.environ.get("DIFFSIM_COMPILER", "auto")
        if asked not in COMPILERS:
            raise ConfigError(
                f"DIFFSIM_COMPILER must be one of {', '.join(COMPILERS)}, got {asked!r}; unset it"
            )
    missing = "a GPU's kernels are Taichi's" if on_device else _llvm.why_missing()
    if asked == "native" and missing:
        raise ConfigError(
            f"compiler must be one that works here, got 'native' where {missing}; use 'auto', or install "
            "llvmlite and compute on a CPU"
        )
    if asked == "forge" and importlib.util.find_spec(_taichi.FORGE) is None:
        raise MissingExtraError(
            "taichi_forge must be installed for compiler='forge', got no such module; "
            "pip install 'diffsim[forge]'"
        )
    if asked == "taichi" and _taichi.HOME.is_forge:
        raise ConfigError(
            "compiler must be one that works here, got 'taichi' where only Taichi Forge is; use 'forge' "
            "or 'auto'"
        )
    if asked == "auto":
        return "native" if not missing else "forge" if _taichi.HOME.is_forge else "taichi"
    return asked


def would_be(arch: str = "auto", compiler: str = "auto") -> tuple[str, str]:
    """Return the backend and the compiler that `init` would choose on this machine; nothing is started.

    Args:
        arch: As `init` takes it.
        compiler: As `init` takes it.

    Raises:
        ConfigError: They are not there.
    """
    chosen = chosen_arch(arch)
    return chosen, chosen_compiler(compiler, chosen in GPUS or as_device())


def as_device() -> bool:
    """Tell whether tests asked for a GPU's layout on the CPU, so that its branches run where no GPU is."""
    given = os.environ.get("DIFFSIM_LAYOUT", "host")
    if given not in ("host", "device"):
        raise ConfigError(f"DIFFSIM_LAYOUT must be host or device, got {given!r}; unset it")
    return given == "device"


def why_unguarded(arch: str, layout_only: bool = False) -> str:
    """Say why the guard's process can't be had with a backend; empty where it can."""
    if layout_only:
        return "the guard's process has the layout of a CPU, and DIFFSIM_LAYOUT asks for a GPU's"
    if arch in GPUS:
        return "on a GPU the guard's process would need the GPU's memory once more"
    if os.name != "posix":
        return "the guard needs the pipes and signals of a POSIX system"
    return ""
