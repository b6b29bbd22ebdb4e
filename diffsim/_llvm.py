"""All contact with llvmlite: LLVM's textual form made into machine code, and machine code loaded.

llvmlite is imported when machine code is first made or loaded, not with this module.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Code", "compile_object", "fingerprint", "load", "triple", "why_missing"]

_names = itertools.count()
# LLVM's objects are made and linked by one thread at a time
_turn = threading.RLock()


@dataclass(frozen=True)
class Code:
    """Machine code in this process.

    Attributes:
        address: Where the function begins.
        owner: Keeps the code in memory while it is alive.
    """

    address: int
    owner: Any


@functools.cache
def why_missing() -> str:
    """Say why there is no machine code on this system; empty where there is."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    try:
        _llvm()
    except (ImportError, OSError, RuntimeError) as error:
        return f"llvmlite does not load here ({error})"
    return ""


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def _host() -> tuple[str, str]:
    """Return the processor's name and features as LLVM tells them."""
    llvm = _llvm()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@functools.cache
def triple() -> str:
    """Return what LLVM calls this system: `x86_64-unknown-linux-gnu`."""
    return str(_llvm().get_process_triple())


@functools.cache
def fingerprint() -> tuple[str, ...]:
    """Return what decides, beside the text and the level, what is compiled: versions and the processor."""
    import llvmlite

    return llvmlite.__version__, str(_llvm().llvm_version_info), triple(), *_host()


@functools.cache
def _machine(level: int, portable: bool) -> Any:
    llvm = _llvm()
    cpu, features = ("", "") if portable else _host()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=level, reloc="pic", codemodel="jitdefault", jit=True
    )


def compile_object(text: str | Sequence[str], level: int, portable: bool = False) -> bytes:
    """Compile a module of LLVM's textual form, or several to one object.

    Args:
        text: The module; or some that may call each other's functions.
        level: 0 for what is compiled fast, to 3; from 2 on loops are vectorised. (Packing neighbouring
            operations as well takes a tenth to a quarter of the time to compile, and makes nothing faster.)
        portable: For every processor of this kind, not for this one alone.

    Returns:
        An object file.

    Raises:
        RuntimeError: A text is not well formed.
    """
    llvm = _llvm()
    texts = [text] if isinstance(text, str) else text
    with _turn:
        module, *others = [llvm.parse_assembly(one) for one in texts]
        for other in others:
            module.link_in(other)
        machine = _machine(level, portable)
        module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
        if level:
            options = llvm.create_pipeline_tuning_options(speed_level=level)
            options.loop_vectorization, options.slp_vectorization = level > 1, False
            options.loop_unrolling = options.loop_interleaving = level > 1
            builder = llvm.create_pass_builder(machine, options)
            builder.getModulePassManager().run(module, builder)
        return bytes(machine.emit_object(module))


@functools.cache
def _linker() -> Any:
    return _llvm().create_lljit_compiler()


def load(image: bytes, symbol: str) -> Code:
    """Link an object file into this process.

    Args:
        image: The object file.
        symbol: A function of its.

    Raises:
        RuntimeError: It is no object file, has no such function, or misses one that this process has not.
    """
    llvm = _llvm()
    with _turn:
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol(symbol)
        library = builder.link(_linker(), f"diffsim{next(_names)}")
        return Code(int(library[symbol]), library)
