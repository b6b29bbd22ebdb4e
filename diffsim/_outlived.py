"""Taichi fields that outlive the program they were made in: named before, an error instead of a crash after.

A Taichi program takes its memory along when it ends, and a tree of fields when its user destroys it, but the
Python objects stay. Taichi reads and writes through them all the same: other fields' values, or the end of
the process.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterable
from typing import Any, NoReturn

from diffsim import _taichi
from diffsim.errors import StateError

__all__ = ["living", "made_by_hand", "retire"]

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def living() -> list[Any]:
    """Return the fields and ndarrays that somebody still holds, beside Taichi's own kernels."""
    _taichi.forget_arguments()
    gc.collect()
    kinds = (_taichi.running.ti.Field, _taichi.running.ti.Ndarray)
    return [o for o in gc.get_objects() if issubclass(type(o), kinds) and not issubclass(type(o), _Gone)]


def made_by_hand(things: Iterable[Any]) -> list[str]:
    """Say where users made fields and ndarrays: `file.py:12`, each place once; ours are left out."""
    places: dict[str, None] = {}
    for thing in things:
        if _taichi.is_a(thing, "Ndarray"):
            places["a ti.ndarray"] = None
            continue
        found = _taichi.declared_at(thing)  # None of the adjoint that Taichi adds to a field
        if found and not os.path.abspath(found[0]).startswith(_OURS):
            places[f"{os.path.basename(found[0])}:{found[1]}"] = None
    return list(places)


def retire(things: Iterable[Any]) -> None:
    """Make every further use of fields and ndarrays an error."""
    for thing in things:
        thing.__class__ = _gone_kind(
            _taichi.running.ti.Ndarray if _taichi.is_a(thing, "Ndarray") else _taichi.running.ti.Field
        )


class _Gone:
    """Refuse to be read, written or asked for anything."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        _refuse()

    def __getitem__(self, key: Any) -> NoReturn:
        _refuse()

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        _refuse()

    def __repr__(self) -> str:
        return "<a Taichi field of a runtime that has ended>"

    __str__ = __repr__

    def __del__(self) -> None:
        """Leave the memory alone: Taichi would free that of the running program."""


@functools.cache
def _gone_kind(kind: type) -> type:
    """Return the class of fields, or of ndarrays, of a program that has ended."""
    return type(f"Gone{kind.__name__}", (_Gone, kind), {})


def _refuse() -> NoReturn:
    raise StateError(
        "a Taichi field must be used while its memory is there, got one of a runtime that has ended since "
        "(by ds.init), or whose tree was destroyed (SNodeTree.destroy); make the field anew"
    )


_taichi.when_destroyed(retire)
