"""Kernels made of text, launched, recorded and forgotten."""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from diffsim._taichi.carried import carried
from diffsim._taichi.objects import kernel_function
from diffsim._taichi.packages import Package, loaded, running
from diffsim._taichi.spirv import spoken
from diffsim.errors import StateError

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
    with _recording_turn, contextlib.ExitStack() as undone:
        for package in loaded():
            _record(package, record, undone)
        yield


def _record(package: Package, record: Callable[..., Any], undone: contextlib.ExitStack) -> None:
    """Let the calls of one package's kernels be recorded until the stack is undone."""
    thread = threading.get_ident()
    ti, impl, kernel = package.ti, package.impl, package.kernel_impl.Kernel
    launch = kernel.__call__

    def replace(owner: Any, name: str, by: Callable[..., Any]) -> None:
        undone.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, by)

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

    replace(kernel, "__call__", intercept)
    for kind in (ti.ScalarField, ti.MatrixField, ti.StructField):
        replace(kind, "__setitem__", refusing(kind.__setitem__, _ONCE))
    for name in _PLACING:
        builder = package.builders.FieldsBuilder
        replace(builder, name, refusing(getattr(builder, name), _PLACED))
    replace(impl, "create_field_member", refusing(impl.create_field_member, _PLACED))


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
    namespace = {"ti": running.ti, **{known: carried(value) for known, value in scope.items()}}
    # our own generated text, never the user's input
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)
    kernel: Callable[..., Any] = running.ti.kernel(namespace[name])
    return kernel


def compile_kernel(kernel: Callable[..., Any], args: Sequence[int]) -> None:
    """Compile a kernel for arguments like these without launching it; its first launch finds it compiled."""
    primal = kernel._primal  # type: ignore[attr-defined]
    program = running.impl.get_runtime().prog
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
    program = running.impl.get_runtime().prog
    made = primal.compiled_kernels[primal.ensure_compiled(*[0] * count)]
    start, places = _starter(program, made), [(k,) for k in range(count)]
    lasting = running.impl.current_cfg().arch != running.ti.cuda or count == 0
    kept = made.make_launch_context() if lasting else None

    def launch(*args: int) -> None:
        context = kept if kept is not None else made.make_launch_context()
        put = context.set_arg_int
        for place, value in zip(places, args, strict=True):
            put(place, value)
        start(context)

    return launch


def _starter(program: Any, made: Any) -> Callable[[Any], None]:
    """Return what launches a compiled kernel with arguments that are held in place."""
    config, features = program.config(), program.get_device_caps()
    if not running.is_forge:
        return functools.partial(program.launch_kernel, program.compile_kernel(config, features, made))
    # Its call compiles for the options of the moment, which may be of another precision, and looks up what it
    # has; a plan is what the last launch ran.
    plan = program._register_kernel_execution_plan(config, features, made, True)
    if plan is None:
        raise StateError("a kernel must be launched before its plan is asked for, got none from Taichi Forge")
    return functools.partial(plan.launch, program)


@contextlib.contextmanager
def brief_positions() -> Iterator[None]:
    """While active, keep Taichi from wrapping the source text of every statement it compiles.

    The text is for messages about a user's line; for generated kernels, whose lines are long, it takes more
    time than all other work on the syntax tree.
    """
    context = running.syntax.ASTTransformerContext
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
    for kernel in tuple(running.impl.get_runtime().kernels):
        kernel.mapper.mapping.clear()
        kernel.compiled_kernels.clear()


def forget_kernel(kernel: Callable[..., Any]) -> None:
    """Let go of a kernel that will not be launched again; Taichi's runtime would keep it for ever."""
    kernels = running.impl.get_runtime().kernels
    for part in (kernel._primal, kernel._adjoint):  # type: ignore[attr-defined]
        if running.is_forge:
            kernels.discard(part)
            continue
        for position, known in enumerate(kernels):
            if known is part:
                del kernels[position]
                break
