"""Compile a small C file of this folder and load it, where there is a C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-associative-math", "-shared", "-fPIC")


def compiler() -> str | None:
    """Return the C compiler of this machine, None where there is none."""
    return shutil.which("cc")


def load(name: str, precision: int) -> ctypes.CDLL:
    """Compile `name` and load it.

    Args:
        name: A file of this folder; its numbers are of the type `REAL`.
        precision: 32 or 64 bits of a real number.
    """
    found = compiler()
    if found is None:
        raise RuntimeError("a C compiler named cc must be on the path, got none; leave the contender c out")
    source = Path(__file__).with_name(name)
    real = "double" if precision == 64 else "float"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{source.stem}.so"
        subprocess.run([found, *FLAGS, f"-DREAL={real}", str(source), "-o", str(target)], check=True)
        return ctypes.CDLL(str(target))  # the file may go, what is mapped stays
