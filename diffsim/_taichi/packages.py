"""The packages that speak Taichi's language: the one diffsim is written in, and the one that runs.

Taichi Forge (`taichi_forge`) is a living fork of Taichi (`taichi`) with its language and its rooms inside.
Kernels of simulators are only read, so that either is their spelling, whichever of the two runs. What runs
makes fields and machine code; where both are installed, each `ds.init` chooses.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeGuard

from diffsim import files
from diffsim._taichi import alias
from diffsim._taichi.idle import rest
from diffsim.errors import MissingExtraError

__all__ = ["FORGE", "HOME", "HOMELESS", "Package", "is_a", "loaded", "package", "running", "take_real", "use"]

FORGE = "taichi_forge"
_DTYPES = "f32 f64 i32 i64 u8 u32 u64 i8 i16 u16 u1".split()
_OPTIONS: dict[str, dict[str, Any]] = {
    FORGE: {
        # its default compiles fast what runs many times slower
        "compile_tier": "full",
        "advanced_optimization": True,
        # it counts compiled kernels, since many programs never let go of any; diffsim does
        "kernel_specialization_limit": 1 << 20,
    }
}


class Package:
    """The rooms of one package that diffsim reaches into.

    Attributes:
        name: `taichi` or `taichi_forge`.
        ti: The package itself.
        dtypes: Its scalar types by our names.
        options: What its `init` is told beside what both are.
    """

    name: str
    ti: Any
    impl: Any
    kernel_impl: Any
    snode: Any
    snode_tree: Any
    builders: Any
    syntax: Any
    dtypes: dict[str, Any]
    options: dict[str, Any]

    @property
    def is_forge(self) -> bool:
        """Tell whether this is Taichi Forge."""
        return self.name == FORGE


def _inside_class(finds_class: Callable[[int], bool]) -> Callable[[int], bool]:
    @functools.wraps(finds_class)
    def inside_class(level_of_class_stackframe: int) -> bool:
        """Tell whether a kernel or function is being defined in the body of a class.

        Taichi looks for the word `class` in the text of a frame. Where the text is in no file (`python -c`,
        a heredoc, a shell) it takes every method for a plain function, and refuses `self` for having no type.
        """
        names = sys._getframe(level_of_class_stackframe - 1).f_locals
        in_class = {"__module__", "__qualname__"} <= set(names)
        return bool(finds_class(level_of_class_stackframe + 1)) or in_class

    return inside_class


_real: list[str] = []  # what Python's floats are for Taichi, once somebody has said so


def _take_real(found: Package) -> None:
    for real in _real:
        found.impl.get_runtime().set_default_fp(found.dtypes[real])


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except OSError as error:
        raise MissingExtraError(
            f"{name} must find the system's libraries that it is linked with, got {error}; install them "
            "(libX11.so.6 is Debian's libx11-6)"
        ) from error


@functools.cache
def package(name: str) -> Package:
    """Import a package with its banner and its version check silenced, and return its rooms.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")
    os.environ.setdefault("TI_SKIP_VERSION_CHECK", "ON")
    found = Package()
    # Taichi logs a line and wraps launches where stdout is another; Forge uses names that Python will drop
    with contextlib.redirect_stdout(sys.__stdout__), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found.name, found.ti = name, _imported(name)
        found.impl = importlib.import_module(f"{name}.lang.impl")
        found.kernel_impl = importlib.import_module(f"{name}.lang.kernel_impl")
        found.snode = importlib.import_module(f"{name}.lang.snode")
        found.snode_tree = importlib.import_module(f"{name}._snode.snode_tree")
        found.builders = importlib.import_module(f"{name}._snode.fields_builder")
        found.syntax = importlib.import_module(f"{name}.lang.ast.ast_transformer_utils")
    found.dtypes = {dtype: getattr(found.ti, dtype) for dtype in _DTYPES}
    found.options = _OPTIONS.get(name, {})
    found.kernel_impl._inside_class = _inside_class(found.kernel_impl._inside_class)
    _take_real(found)
    return found


HOMELESS = files.provide_home()  # Taichi looks for a home when it is imported
HOME = package(alias.home())
running = Package()  # becomes one of them, in place: who holds it need not ask again
running.__dict__.update(HOME.__dict__)


def loaded() -> tuple[Package, ...]:
    """Return the packages that somebody has imported, whose kernels and types may come by."""
    return (HOME, package(FORGE)) if sys.modules.get(FORGE) and not HOME.is_forge else (HOME,)


def use(name: str) -> None:
    """Let a package run from now on; the program of the other one ends.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    wanted = package(name)
    if wanted.name != running.name:
        running.ti.reset()
        running.__dict__.update(wanted.__dict__)
    for other in loaded():
        if other.name != name:
            rest(other.impl, functools.partial(_told, other.name))


def _told(name: str) -> str:
    compiler, other = ("forge" if name == FORGE else "taichi"), running.name
    return (
        f"a field, or a kernel that is launched by hand, must be of the Taichi that runs, got one of {name} "
        f"where {other} does; write `import {other} as ti` there, or ds.init(compiler={compiler!r})"
    )


def take_real(real: str) -> None:
    """Let types and literals of Python's floats, of whatever package, be `f32` or `f64`."""
    _real[:] = [real]
    for found in loaded():
        _take_real(found)


def is_a(obj: Any, *kinds: str) -> TypeGuard[Any]:
    """Tell whether an object is of a kind of either package, such as `Field` or `lang.struct.StructType`."""
    return isinstance(obj, _kinds(kinds, len(loaded())))


@functools.cache
def _kinds(kinds: tuple[str, ...], count: int) -> tuple[type, ...]:
    return tuple(functools.reduce(getattr, kind.split("."), p.ti) for p in loaded()[:count] for kind in kinds)
