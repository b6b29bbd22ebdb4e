"""What stands for what in the two packages of Taichi's language: functions, types, modules of one name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from diffsim._taichi.packages import FORGE, HOME, package

__all__ = ["at_home", "twin"]

_MODULES = ("", ".math", ".types", ".ad", ".simt", ".algorithms", ".lang", ".lang.ops", ".lang.impl")


class _Twins:
    """The pairs, found when the second package is met.

    Attributes:
        found: By the id of one, the other; both are held, so that ids stay theirs.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, Any]] | None = None

    def of(self, obj: Any) -> Any:
        """Return an object's twin; itself where it has none."""
        if self.found is None:
            self.found = {}
            for name in _MODULES:
                self._pair(_attribute(HOME.ti, name), _attribute(package(FORGE).ti, name))
        pair = self.found.get(id(obj))
        return obj if pair is None else pair[1] if pair[0] is obj else pair[0]

    def _pair(self, ours: Any, theirs: Any) -> None:
        self._note(ours, theirs)
        for name, value in vars(theirs).items():
            other = getattr(ours, name, None)
            if other is not None and other is not value and _is_forges(value):
                self._note(other, value)

    def _note(self, ours: Any, theirs: Any) -> None:
        found: dict[int, tuple[Any, Any]] = self.found if self.found is not None else {}
        found.setdefault(id(theirs), (ours, theirs))
        found.setdefault(id(ours), (ours, theirs))


def _attribute(ti: Any, name: str) -> Any:
    for part in name.split(".")[1:]:
        ti = getattr(ti, part)
    return ti


def _is_forges(value: Any) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(name).split(".")[0] == FORGE


_twins = _Twins()


def at_home(obj: Any) -> Any:
    """Return what has an object's name in the package that diffsim is written in.

    `taichi_forge.sin` is `taichi.sin` then, wherever a kernel has it from; other objects are themselves.
    """
    if FORGE not in sys.modules or HOME.is_forge or not _is_forges(obj):
        return obj
    return _twins.of(obj)


def twin(obj: Any) -> Any:
    """Return what has an object's name in the other one of the two packages; itself where there is none."""
    return _twins.of(obj)
