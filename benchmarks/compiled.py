"""Compile a small C file of this folder and load it, where there is a C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-associative-math", "-shared", "-fPIC")


def compiler() -> str | None:
    """Return the C compiler of this machine, None where there is none."""
    return shutil.which("cc")


def load(name: str, precision: int, constants: Mapping[str, float] | None = None) -> ctypes.CDLL:
    """Compile `name` and load it.

    Args:
        name: A file of this folder; its numbers are of the type `REAL`.
        precision: 32 or 64 bits of a real number.
        constants: Numbers that it knows when it compiles, by their names there.
    """
    found = compiler()
    if found is None:
        raise RuntimeError("a C compiler named cc must be on the path, got none; leave the contender c out")
    source = Path(__file__).with_name(name)
    real = "double" if precision == 64 else "float"
    known = [f"-D{key}={number!r}" for key, number in (constants or {}).items()]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{source.stem}.so"
        words = [found, *FLAGS, f"-DREAL={real}", *known, str(source), "-o", str(target), "-lm"]
        subprocess.run(words, check=True)
        return ctypes.CDLL(str(target))  # the file may go, what is mapped stays
