"""Taichi's program made when it is first needed: it takes 0.2 s, and machine code needs none."""

from __future__ import annotations

import functools
import threading
from typing import Any, NoReturn

from diffsim._taichi.packages import running
from diffsim.errors import StateError

__all__ = ["deferred", "initialise_deferred", "started"]


class _Enough(Exception):
    """Taichi's options are set; its program comes later."""


class _Deferred:
    """Taichi's runtime before its program is there; the usual one is the second base, behind this.

    It becomes the usual one, in place, where anybody asks for the program: kernels hold on to this object.
    """

    _ready = False
    _usual: Any
    _impl: Any

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
        usual, impl = self._usual, self._impl
        self.__class__ = usual
        usual.create_program(self)
        self.prog.materialize_runtime()
        impl._root_fb = impl.FieldsBuilder()

    def clear(self) -> None:
        """End it: nothing was started."""
        usual = self._usual
        self.__class__ = usual
        usual.clear(self)


class _Root:
    """What `ti.root` stands for until the program is there."""

    def __init__(self, impl: Any) -> None:
        self._impl = impl

    def __getattr__(self, name: str) -> Any:
        self._impl.get_runtime().prog  # noqa: B018  (which puts the real one in our place)
        return getattr(self._impl._root_fb, name)


@functools.cache
def _deferred_kind(impl: Any) -> type:
    """Return the kind of runtime that waits, of a package."""
    usual = impl.PyTaichi
    return type("Deferred", (_Deferred, usual), {"_usual": usual, "_impl": impl})


def initialise_deferred(**options: Any) -> None:
    """Do what `ti.init` does, and leave the program for when it is first needed.

    Args:
        options: What `ti.init` takes.
    """
    impl = running.impl
    usual = impl.PyTaichi
    impl.PyTaichi = _deferred_kind(impl)
    try:
        running.ti.init(**options)
    except _Enough:
        impl._root_fb = _Root(impl)
    finally:
        impl.PyTaichi = usual


def deferred() -> bool:
    """Tell whether Taichi's program is still to come."""
    return isinstance(running.impl.get_runtime(), _Deferred)


def started() -> bool:
    """Tell whether Taichi's program is there."""
    return not deferred() and running.impl.get_runtime().prog is not None
