"""Value and gradient of a simulation that diffsim has exported: needs NumPy, and neither diffsim nor Taichi.

from NAME import Simulation
simulation = Simulation()
simulation["torque"] = 0.1
cost, gradients = simulation.value_and_grad()
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

FACTS: dict[str, Any] = {}


class Simulation:
    """One block of memory, and functions that run the simulation in it; make one for each thread.

    Inputs are read and set like the entries of a dict; they begin with the values that they had at export.

    Args:
        library: The shared library; None for the one beside this file, which is linked by `cc` where it is
            missing.

    Raises:
        OSError: The library does not load, or cannot be linked.
    """

    def __init__(self, library: str | Path | None = None) -> None:
        self.library = ctypes.CDLL(str(_linked() if library is None else library))
        for function in ("init", "value", *(["gradient"] if FACTS["gradients"] else [])):
            self._function(function).argtypes = [ctypes.c_void_p]
            self._function(function).restype = None if function == "init" else ctypes.c_double
        size = self._function("bytes")
        size.restype = ctypes.c_int64
        line = 64
        memory = np.zeros(size() + line, np.uint8)
        skipped = -memory.ctypes.data % line
        self._memory = memory[skipped : skipped + size()]
        self._function("init")(self._memory.ctypes.data)

    def _function(self, name: str) -> Any:
        return getattr(self.library, f"{FACTS['name']}_{name}")

    def keys(self) -> list[str]:
        """Return the names of the inputs."""
        return list(FACTS["inputs"])

    def __getitem__(self, key: str) -> np.ndarray:
        """Return a copy of an input."""
        return self._read(FACTS["inputs"][key])

    def __setitem__(self, key: str, values: Any) -> None:
        """Set an input; one number fills it."""
        entry = FACTS["inputs"][key]
        shape = tuple(entry["shape"])
        whole = np.broadcast_to(np.asarray(values).astype(entry["dtype"], casting="same_kind"), shape)
        parts = whole.reshape(*shape[: len(shape) - len(entry["element"])], -1)
        for k, view in enumerate(self._views(entry)):
            view[...] = parts[..., k]

    def value(self) -> float:
        """Run the steps and return the cost.

        Raises:
            RuntimeError: An index left its field, a number its range, or an assert failed, while it ran.
        """
        return self._run("value")

    def value_and_grad(self) -> tuple[float, dict[str, np.ndarray]]:
        """Run the steps forward and backward; return the cost and the gradient of each input that has one.

        Raises:
            RuntimeError: An index left its field, a number its range, or an assert failed, while it ran.
        """
        cost = self._run("gradient")
        return cost, {key: self._read(entry) for key, entry in FACTS["gradients"].items()}

    def _run(self, name: str) -> float:
        cost = self._function(name)(self._memory.ctypes.data)
        alarms = FACTS["alarms"]
        if alarms["rules"]:
            [board] = self._views(alarms)
            raised = [(int(row[2]), k) for k, row in enumerate(board) if row[0]]
            board[...] = 0
            if raised:
                step, k = min(raised)
                raise RuntimeError(f"{alarms['rules'][k]}, at step {step}")
        return float(cost)

    def _views(self, entry: dict[str, Any]) -> list[np.ndarray]:
        """Return what memory holds of an entry, an array per component."""
        element = tuple(entry["element"])
        shape = tuple(entry["shape"])[: len(entry["shape"]) - len(element)]
        dtype = np.dtype(entry["dtype"])
        length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return [self._memory[k : k + length].view(dtype).reshape(shape) for k in entry["places"]]

    def _read(self, entry: dict[str, Any]) -> np.ndarray:
        return np.stack(self._views(entry), axis=-1).reshape(entry["shape"])


def _linked() -> Path:
    """Return the shared library beside this file, linked where it is missing."""
    here = Path(__file__).resolve().parent
    library, source = here / f"lib{FACTS['name']}.so", here / f"{FACTS['name']}.o"
    if not library.exists():
        try:
            subprocess.run(["cc", "-shared", str(source), "-lm", "-o", str(library)], check=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise OSError(
                f"{source.name} must be linked by a C compiler, got {error}; install one"
            ) from error
    return library
