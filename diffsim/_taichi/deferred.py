"""Taichi's program made when it is first needed: it takes 0.2 s, and machine code needs none."""

from __future__ import annotations

import threading
from typing import Any, NoReturn

import taichi as ti
from taichi.lang import impl

from diffsim.errors import StateError

__all__ = ["deferred", "initialise_deferred", "started"]


class _Enough(Exception):
    """Taichi's options are set; its program comes later."""


class _Deferred(impl.PyTaichi):  # type: ignore[misc]
    """Taichi's runtime before its program is there.

    It becomes the usual one, in place, where anybody asks for the program: kernels hold on to this object.
    """

    _ready = False

    def create_program(self) -> NoReturn:
        """Leave `ti.init`, which would make the program now."""
        self._thread = threading.get_ident()
        self._ready = True
        raise _Enough

    @property
    def prog(self) -> Any:
        """Return Taichi's program, which is made by this."""
        if self._ready:
            self._start()
        return self.__dict__["prog"]

    @prog.setter
    def prog(self, program: Any) -> None:
        self.__dict__["prog"] = program

    def _start(self) -> None:
        """Do what `ti.init` has left out."""
        if threading.get_ident() != self._thread:
            raise StateError(
                "Taichi must be started in the thread that called diffsim.init, got its first use (a field, "
                "a kernel) in another one; make a field there first, or call init in the thread that works"
            )
        self.__class__ = impl.PyTaichi
        impl.PyTaichi.create_program(self)
        self.prog.materialize_runtime()
        impl._root_fb = impl.FieldsBuilder()

    def clear(self) -> None:
        """End it: nothing was started."""
        self.__class__ = impl.PyTaichi
        impl.PyTaichi.clear(self)


class _Root:
    """What `ti.root` stands for until the program is there."""

    def __getattr__(self, name: str) -> Any:
        impl.get_runtime().prog  # noqa: B018  (which puts the real one in our place)
        return getattr(impl._root_fb, name)


def initialise_deferred(**options: Any) -> None:
    """Do what `ti.init` does, and leave the program for when it is first needed.

    Args:
        options: What `ti.init` takes.
    """
    usual = impl.PyTaichi
    impl.PyTaichi = _Deferred
    try:
        ti.init(**options)
    except _Enough:
        impl._root_fb = _Root()
    finally:
        impl.PyTaichi = usual


def deferred() -> bool:
    """Tell whether Taichi's program is still to come."""
    return isinstance(impl.get_runtime(), _Deferred)


def started() -> bool:
    """Tell whether Taichi's program is there."""
    return not deferred() and impl.get_runtime().prog is not None
