"""The name `taichi` where only its fork Taichi Forge is installed, as on Python 3.14.

Simulators, diffsim's own among them, say `import taichi as ti`. Where that is not installed and Taichi Forge
is, this name, and that of each module within (`taichi.math`), stand for the fork's: the same modules, not
copies of them. It holds from `import diffsim` on, and costs a place in the list of finders, which are asked
for names that are not imported yet; where Taichi is installed, nothing.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["home"]

_NAME = "taichi"
_FORGE = "taichi_forge"


def home() -> str:
    """Return the name of the package that diffsim is written in: `taichi`, or its fork if that is all.

    Raises:
        ModuleNotFoundError: Neither is installed.
    """
    if importlib.util.find_spec(_NAME) is not None:
        return _NAME
    if importlib.util.find_spec(_FORGE) is None:
        raise ModuleNotFoundError(
            "taichi or taichi_forge must be installed, got neither; pip install taichi, or where that has no "
            "wheel (Python 3.14) taichi-forge",
            name=_NAME,
        )
    sys.meta_path.insert(0, _Finder())  # before the one that would find the files of modules within, and copy
    return _FORGE


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the fork's modules under the name of Taichi."""

    def __init__(self) -> None:
        self._own: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to get at `taichi` or a module of it; None for other names."""
        if fullname != _NAME and not fullname.startswith(_NAME + "."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the fork's module of that name."""
        module = importlib.import_module(_FORGE + spec.name[len(_NAME) :])
        self._own[spec.name] = module.__spec__  # which importing it under another name replaces
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it has run. Give it its own spec back."""
        spec = module.__spec__
        if spec is not None and spec.name in self._own:
            module.__spec__ = self._own.pop(spec.name)
