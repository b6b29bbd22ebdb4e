"""What modes were found to cost, remembered on disk: the next run of a program knows its mode at once."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffsim import _taichi, _vulkan
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.ir import Value
from diffsim.files import cache_folder, write_atomically
from diffsim.plan.fingerprint import lines
from diffsim.plan.modes import Timing
from diffsim.plan.report import Plan
from diffsim.plan.request import MODES
from diffsim.runtime import RuntimeInfo

__all__ = ["Memo", "key_of"]

_FORMAT = 1
_MOST = 512  # programs; the oldest are forgotten
_LARGEST = 1 << 20  # bytes of a file that is read
_LONGEST = 1e9  # seconds or steps that an entry can speak of


class Memo:
    """Timings by key in a file that processes share.

    A file that can't be read, or an entry that makes no sense, counts for nothing. Where the file can't be
    written, nothing is remembered.

    Args:
        path: The file; None for the user's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        folder = cache_folder()
        self.path = path or (folder.parent / "tuning.json" if folder else None)

    def get(self, key: str) -> tuple[Timing, ...]:
        """Return what is known of a program; nothing where nothing is."""
        return _timings(self._load().get(key))

    def put(self, key: str, timings: Sequence[Timing]) -> None:
        """Remember what was measured of a program."""
        if self.path is None:
            return
        known = self._load()
        known.pop(key, None)
        known[key] = [[t.mode, t.chunk, t.compile_seconds, t.seconds] for t in timings]
        kept = dict(list(known.items())[-_MOST:])
        with contextlib.suppress(OSError):
            write_atomically(self.path, json.dumps({"format": _FORMAT, "timings": kept}) + "\n")

    def _load(self) -> dict[str, Any]:
        try:
            if self.path is None or self.path.stat().st_size > _LARGEST:
                return {}
            table = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(table, dict) or table.get("format") != _FORMAT:
            return {}
        timings = table.get("timings")
        return timings if isinstance(timings, dict) else {}


def _timings(entry: Any) -> tuple[Timing, ...]:
    """Read an entry; nothing where a part of it is not what was written."""
    found = []
    for row in entry if isinstance(entry, list) else []:
        if not isinstance(row, list) or len(row) != 4 or row[0] not in MODES[1:]:
            return ()
        numbers = row[1:]
        if not all(isinstance(x, int | float) and 0 <= x <= _LONGEST for x in numbers):
            return ()
        if not isinstance(row[1], int) or row[3] == 0 or (row[0] == "chunk") != (row[1] > 0):
            return ()
        found.append(Timing(row[0], row[1], float(row[2]), float(row[3])))
    return tuple(found)


def key_of(stages: StageSet, info: RuntimeInfo, plan: Plan) -> str:
    """Return a fingerprint of all that decides how fast each mode is.

    Horizon, window and iterations count by their order of magnitude.

    Args:
        stages: The program and its adjoints.
        info: How the runtime was started.
        plan: What was planned.
    """
    layout = plan.layout
    sizes = [n.bit_length() for n in (layout.steps, layout.window, layout.checkpoints, plan.iterations)]
    machine = (info.arch, info.precision, info.threads, info.compiler, _device(info.arch))
    versions = (_FORMAT, sys.modules["diffsim"].__version__, _taichi.running.ti.__version__)
    order = (layout.worlds, layout.groups, layout.block, layout.history, layout.world_last, layout.held)
    parts = (sizes, *order, machine, versions)
    digest = hashlib.sha256(repr(parts).encode())
    numbers: dict[Value, int] = {}
    for phase, group in stages.in_order().items():
        for stage in group if phase != "again" else ():
            numbers[stage.t] = len(numbers)
            loop = "" if stage.loop is None else f" {stage.loop.count} {stage.loop.until}"
            digest.update(f"{phase} {numbers[stage.t]}{loop}".encode())
            for line in lines(stage.body, numbers):
                digest.update(line.encode())
    return digest.hexdigest()[:32]


@functools.cache
def _device(arch: str) -> str:
    """Name the processor that kernels run on; empty where the system does not tell."""
    if arch == "cuda":
        return _cuda_device()
    if arch == "vulkan":
        found = _vulkan.device()
        return found.name if found else ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cuda_device() -> str:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    text, device = ctypes.create_string_buffer(256), ctypes.c_int(0)
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(text, 256, device):
        return ""
    return text.value.decode(errors="replace")
