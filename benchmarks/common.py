"""What the benchmarks share: where they ran, tables, and results that are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffsim.files import replacing

# where diffsim, Taichi and Warp keep what is compiled
_CACHES = ("XDG_CACHE_HOME", "TI_OFFLINE_CACHE_FILE_PATH", "WARP_CACHE_PATH")


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores, versions."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
    }
    for name in ("diffsim", "taichi", "llvmlite", "numpy", "jax", "warp-lang"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Name the processor, as well as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def print_machine(found: dict[str, Any]) -> None:
    """Print where a benchmark runs, with a warning where the machine is busy."""
    print(", ".join(f"{key} {value}" for key, value in found.items() if value is not None))
    if found["load"] is not None and found["load"] > 0.5:
        print(f"the machine is busy (load {found['load']:.1f}): compare ratios, not times")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head, the first column left, the others right."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def write_json(path: str | None, data: dict[str, Any]) -> None:
    """Write results to a file, if one was asked for; a reader never sees half of it."""
    if path is None:
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")


def peak_memory() -> float:
    """Return the largest amount of memory that this process has held so far [MiB]."""
    import resource

    known = _status("VmHWM")
    if known is not None:
        return known
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def memory_now() -> float:
    """Return the amount of memory that this process holds [MiB]; the largest so far where none is told."""
    known = _status("VmRSS")
    return peak_memory() if known is None else known


def _status(name: str) -> float | None:
    """Read a size that Linux tells of this process [MiB]; its peak does not count the parent's, others do."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return float(sizes[0]) / 2**10 if sizes else None


@contextlib.contextmanager
def empty_caches() -> Iterator[None]:
    """Let processes that are started here find nothing compiled, and keep nothing for others."""
    before = {name: os.environ.get(name) for name in (*_CACHES, "JAX_COMPILATION_CACHE_DIR")}
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.environ.update({name: os.path.join(folder, name.lower()) for name in _CACHES})
            os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
