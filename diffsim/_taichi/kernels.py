"""Kernels made of text, launched, recorded and forgotten."""

from __future__ import annotations

import contextlib
import itertools
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import taichi as ti
from taichi._snode.fields_builder import FieldsBuilder
from taichi.lang import impl, kernel_impl
from taichi.lang.ast import ast_transformer_utils

from diffsim._taichi.objects import kernel_function
from diffsim._taichi.spirv import spoken

__all__ = [
    "brief_positions",
    "build_kernel",
    "compile_kernel",
    "direct_launch",
    "forget_arguments",
    "forget_kernel",
    "recording",
    "release_source",
    "unrecorded",
]

_PLACING = ("dense", "pointer", "dynamic", "bitmasked", "quant_array", "place", "deactivate_all")
_ONCE = "an assignment to an element of a Taichi field, which would be done only once"
_PLACED = "a Taichi field made or placed (ti.root), where fields are declared in __init__"
_finds_class = kernel_impl._inside_class


def _inside_class(level_of_class_stackframe: int) -> bool:
    """Tell whether a kernel or function is being defined in the body of a class.

    Taichi looks for the word `class` in the text of a frame. Where the text is in no file (`python -c`, a
    heredoc, a shell) it takes every method for a plain function, and refuses `self` for having no type.
    """
    names = sys._getframe(level_of_class_stackframe - 1).f_locals
    return bool(_finds_class(level_of_class_stackframe + 1)) or {"__module__", "__qualname__"} <= set(names)


kernel_impl._inside_class = _inside_class
_recording_turn = threading.RLock()  # the method that is replaced is that of all threads
_aside = threading.local()
_sources = itertools.count()  # each text needs a file name of its own


@contextlib.contextmanager
def recording(record: Callable[[Callable[..., Any], Any, tuple[Any, ...]], Any]) -> Iterator[None]:
    """While active, hand each call of a Taichi kernel to `record(function, owner, args)`; launch nothing.

    A call returns what `record` does.

    This thread's calls: other threads launch as ever, and wait with recordings of their own. Elements of
    Taichi fields are not assigned then either: that would happen once, not at each launch.
    """
    thread = threading.get_ident()
    kinds = (ti.ScalarField, ti.MatrixField, ti.StructField)
    with _recording_turn:
        launch, assigned = kernel_impl.Kernel.__call__, [kind.__setitem__ for kind in kinds]

        def intercept(self: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread or getattr(_aside, "depth", 0) > 0:
                return launch(self, *args, **kwargs)
            owner = args[0] if self.classkernel else None
            names = [argument.name for argument in self.arguments]
            rest = list(args[1:] if self.classkernel else args)
            rest += [kwargs[name] for name in names[len(args) :] if name in kwargs]
            return record(self.func, owner, tuple(rest))

        def refusing(act: Callable[..., Any], told: str) -> Callable[..., Any]:
            def act_or_refuse(*args: Any, **kwargs: Any) -> Any:
                if threading.get_ident() == thread and getattr(_aside, "depth", 0) == 0:
                    raise TypeError(told)
                return act(*args, **kwargs)

            return act_or_refuse

        placing = {name: getattr(FieldsBuilder, name) for name in _PLACING}
        made = impl.create_field_member
        try:
            kernel_impl.Kernel.__call__ = intercept
            for kind, assign in zip(kinds, assigned, strict=True):
                kind.__setitem__ = refusing(assign, _ONCE)
            for name, act in placing.items():
                setattr(FieldsBuilder, name, refusing(act, _PLACED))
            impl.create_field_member = refusing(made, _PLACED)
            yield
        finally:
            kernel_impl.Kernel.__call__ = launch
            for kind, assign in zip(kinds, assigned, strict=True):
                kind.__setitem__ = assign
            for name, act in placing.items():
                setattr(FieldsBuilder, name, act)
            impl.create_field_member = made


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Make a context in which kernels are launched whoever records: for those that Taichi copies memory with.

    A rollout that is collected while another one is traced brings its values home then, and a method that is
    traced may read a field's.
    """
    _aside.depth = getattr(_aside, "depth", 0) + 1
    try:
        yield
    finally:
        _aside.depth -= 1


def build_kernel(source: str, name: str, scope: dict[str, Any]) -> Callable[..., Any]:
    """Make a Taichi kernel of source text.

    Taichi reads a kernel's source from its file: `linecache` plays the file.
    """
    source, scope = spoken(source, scope)
    filename = f"<diffsim {name} {next(_sources)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    namespace = {"ti": ti, **scope}
    # our own generated text, never the user's input
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)
    kernel: Callable[..., Any] = ti.kernel(namespace[name])
    return kernel


def compile_kernel(kernel: Callable[..., Any], args: Sequence[int]) -> None:
    """Compile a kernel for arguments like these without launching it; its first launch finds it compiled."""
    primal = kernel._primal  # type: ignore[attr-defined]
    program = impl.get_runtime().prog
    program.compile_kernel(
        program.config(), program.get_device_caps(), primal.compiled_kernels[primal.ensure_compiled(*args)]
    )


def direct_launch(kernel: Callable[..., Any], count: int) -> Callable[..., None]:
    """Return a function that launches a compiled kernel of `count` integer arguments.

    Taichi's own call looks at the types of all arguments and for the kernel that was compiled for them, which
    takes ten times as long as the launch. Nor is the place for arguments made anew each time. On CUDA it must
    be, but for kernels without any: there a launch leaves in it where the device had its copy of them, which
    the next one would write to.

    Args:
        kernel: A kernel of `build_kernel` that was launched before.
        count: Its arguments.
    """
    primal = kernel._primal  # type: ignore[attr-defined]
    program = impl.get_runtime().prog
    made = primal.compiled_kernels[primal.ensure_compiled(*[0] * count)]
    compiled = program.compile_kernel(program.config(), program.get_device_caps(), made)
    start, places = program.launch_kernel, [(k,) for k in range(count)]
    lasting = impl.current_cfg().arch != ti.cuda or count == 0
    kept = made.make_launch_context() if lasting else None

    def launch(*args: int) -> None:
        context = kept if kept is not None else made.make_launch_context()
        put = context.set_arg_int
        for place, value in zip(places, args, strict=True):
            put(place, value)
        start(compiled, context)

    return launch


@contextlib.contextmanager
def brief_positions() -> Iterator[None]:
    """While active, keep Taichi from wrapping the source text of every statement it compiles.

    The text is for messages about a user's line; for generated kernels, whose lines are long, it takes more
    time than all other work on the syntax tree.
    """
    context = ast_transformer_utils.ASTTransformerContext
    detailed = context.get_pos_info
    context.get_pos_info = lambda self, node: f"{self.file}:{node.lineno + self.lineno_offset}\n"
    try:
        yield
    finally:
        context.get_pos_info = detailed


def release_source(kernel: Callable[..., Any]) -> None:
    """Forget the source text of a kernel that will not be compiled again."""
    function = kernel_function(kernel)
    if function is not None:
        linecache.cache.pop(function.__code__.co_filename, None)


def forget_arguments() -> None:
    """Let go of the fields that kernels were called with, which Taichi keeps; all will be compiled again."""
    for kernel in impl.get_runtime().kernels:
        kernel.mapper.mapping.clear()
        kernel.compiled_kernels.clear()


def forget_kernel(kernel: Callable[..., Any]) -> None:
    """Let go of a kernel that will not be launched again; Taichi's runtime would keep it for ever."""
    kernels = impl.get_runtime().kernels
    for part in (kernel._primal, kernel._adjoint):  # type: ignore[attr-defined]
        for position, known in enumerate(kernels):
            if known is part:
                del kernels[position]
                break
