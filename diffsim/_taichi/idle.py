"""The package that does not run: what would need its program is an error that says so.

Types, vectors and functions of it are as good as ever, since kernels are only read. Fields, and kernels that
are launched by hand, need a program: Taichi would ask for a `ti.init`, which is diffsim's to call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from diffsim.errors import StateError

__all__ = ["rest"]


class _Idle:
    """A runtime without a program: the first base of a class whose second one is the usual runtime."""

    _usual: Any

    @property
    def prog(self) -> NoReturn:
        """Refuse to be asked for it."""
        raise StateError(self.__dict__["_told"]())

    def clear(self) -> None:
        """End it, as `ti.init` begins: there is nothing to end."""
        usual = self._usual
        self.__class__ = usual
        self.__dict__["prog"] = None
        usual.clear(self)


class _NoRoot:
    """What stands for `ti.root`."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return self._runtime.prog


@functools.cache
def _kind(impl: Any) -> type:
    return type("Idle", (_Idle, impl.PyTaichi), {"_usual": impl.PyTaichi})


def rest(impl: Any, told: Callable[[], str]) -> None:
    """Let a package say that it does not run, unless its user has started it.

    Args:
        impl: Its module of that name.
        told: Returns what to say.
    """
    runtime = impl.get_runtime()
    if type(runtime) is impl.PyTaichi and runtime.prog is None:
        del runtime.prog
        runtime._told = told
        runtime.__class__ = _kind(impl)
        impl._root_fb = _NoRoot(runtime)
