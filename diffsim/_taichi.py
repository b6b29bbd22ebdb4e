"""All contact with Taichi's internals and its quirks; `tests/ground/test_taichi.py` pins each use.

Importing this module imports Taichi with its banner and its version check silenced.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "False")
os.environ.setdefault("TI_SKIP_VERSION_CHECK", "ON")

import numpy as np

# Taichi logs a line and wraps launches where stdout is another
with contextlib.redirect_stdout(sys.__stdout__):
    import taichi as ti
    from taichi.lang import impl, kernel_impl
    from taichi.lang.ast import ast_transformer_utils

__all__ = [
    "DTYPES",
    "NUMPY",
    "address_views",
    "brief_positions",
    "build_kernel",
    "compile_kernel",
    "current_program",
    "default_real",
    "destroy_tree",
    "direct_launch",
    "dtype_name",
    "finish",
    "forget_kernel",
    "has_arch",
    "initialise",
    "is_initialised",
    "is_real_function",
    "is_scalar_type",
    "is_vector_type",
    "kernel_function",
    "outside_tables",
    "recording",
    "release_source",
    "struct_members",
    "struct_methods",
    "taichi_function",
    "ti",
]

DTYPES = {
    "f32": ti.f32,
    "f64": ti.f64,
    "i32": ti.i32,
    "i64": ti.i64,
    "u8": ti.u8,
    "u32": ti.u32,
    "u64": ti.u64,
    "i8": ti.i8,
    "i16": ti.i16,
    "u16": ti.u16,
    "u1": ti.u1,
}
NUMPY: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}


_MAX_SNODES = 1024  # taichi_max_num_snodes in its C++ source
_DENSE = ("SNodeType.root", "SNodeType.dense", "SNodeType.place")


def dtype_name(dtype: Any) -> str | None:
    """Return our name for a Taichi (or Python) scalar type, or None where it is not one."""
    if dtype is float or dtype is int:
        config = impl.current_cfg()
        dtype = config.default_fp if dtype is float else config.default_ip
    for name, known in DTYPES.items():
        if dtype is known or dtype == known:
            return name
    return None


def is_scalar_type(obj: Any) -> bool:
    """Tell whether an object is one of Taichi's scalar types, such as `ti.f32`."""
    return type(obj).__name__ == "DataTypeCxx" or type(obj).__module__.startswith("taichi._lib")


def is_vector_type(obj: Any) -> bool:
    """Tell whether an object is a type of vectors or matrices, such as `ti.math.vec3`."""
    return isinstance(obj, ti.lang.matrix.MatrixType)


def struct_members(obj: Any) -> dict[str, Any]:
    """Return the names and types of the parts of a struct type, such as a `@ti.dataclass`; {} for others."""
    return dict(obj.members) if isinstance(obj, ti.lang.struct.StructType) else {}


def struct_methods(obj: Any) -> dict[str, Any]:
    """Return the Taichi functions that a struct type has as methods."""
    return dict(obj.methods)


def outside_tables(field: Any) -> bool:
    """Tell whether a field has a sparse SNode that Taichi's runtime keeps no room for.

    Its tables have 1024 entries and SNodes are numbered without end: the first access would end the process.
    """
    node = field.snode.ptr
    while node is not None:
        if str(node.type) not in _DENSE and node.id >= _MAX_SNODES:
            return True
        node = node.parent
    return False


def has_arch(arch: str) -> bool:
    """Tell whether this machine and this build of Taichi can run `cuda`, `x64`, ..."""
    ti.set_logging_level(ti.ERROR)  # looking for CUDA warns where there is none
    return bool(ti.lang.misc.is_arch_supported(getattr(ti, arch)))


def initialise(arch: str, precision: int, seed: int, threads: int | None, cache: bool) -> str:
    """Start Taichi with the options that diffsim relies on and return the name of the backend that came up.

    `force_scalarize_matrix` cures values that Taichi's defaults miscompile.
    `cache_loop_invariant_global_vars` keeps a place in memory in a register across a loop even where the loop
    writes it through another index, and is off. The fallback to another backend is off, so that a missing one
    is an error. The line that Taichi prints at every start is kept from the user.
    """
    options: dict[str, Any] = {"cpu_max_num_threads": threads} if threads else {}
    real = ti.f64 if precision == 64 else ti.f32
    with _without_environment_overrides(), contextlib.redirect_stdout(io.StringIO()):
        ti.init(
            arch=getattr(ti, arch),
            default_fp=real,
            default_ip=ti.i32,
            random_seed=seed,
            log_level=ti.ERROR,
            force_scalarize_matrix=True,
            cache_loop_invariant_global_vars=False,
            offline_cache=cache,
            enable_fallback=False,
            **options,
        )
    return str(impl.current_cfg().arch).rsplit(".", 1)[-1]


def finish() -> None:
    """End Taichi's program; only then does it write what it compiled to its cache on disk."""
    if impl.get_runtime().prog is not None:
        ti.reset()


@contextlib.contextmanager
def _without_environment_overrides() -> Iterator[None]:
    """Hide TI_* variables that would override an option that our results depend on."""
    names = ("TI_FORCE_SCALARIZE_MATRIX", "TI_DEFAULT_FP", "TI_DEFAULT_IP", "TI_ARCH")
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)


@contextlib.contextmanager
def default_real(real: str) -> Iterator[None]:
    """While active, lower and compile as if Taichi had been started with this precision, `f32` or `f64`.

    Literals take their type from the Python side's default when a kernel is compiled, arithmetic on integers
    from that of the compiler's options.
    """
    runtime, config = impl.get_runtime(), impl.current_cfg()
    saved = runtime.default_fp  # the option would be a view of itself
    runtime.default_fp = config.default_fp = DTYPES[real]
    try:
        yield
    finally:
        runtime.default_fp = config.default_fp = saved


def is_initialised() -> bool:
    """Tell whether a Taichi program exists and has the options that diffsim relies on."""
    runtime = impl.get_runtime()
    return runtime.prog is not None and bool(impl.current_cfg().force_scalarize_matrix)


def current_program() -> Any:
    """Return the object that stands for the running Taichi program: another one after each `ti.init`."""
    return impl.get_runtime().prog


def kernel_function(obj: Any) -> Callable[..., Any] | None:
    """Return the Python function of a `@ti.kernel`, or None for anything else."""
    if getattr(obj, "_is_wrapped_kernel", False):
        function: Callable[..., Any] = obj._primal.func
        return function
    return None


def taichi_function(obj: Any) -> tuple[Callable[..., Any], Any] | None:
    """Return (Python function, bound owner or None) of a `@ti.func` or `@ti.pyfunc`, else None."""
    owner = getattr(obj, "__self__", None)
    inner = getattr(obj, "__func__", obj)
    if not getattr(inner, "_is_taichi_function", False) or not hasattr(inner, "func"):
        return None
    return inner.func.func, owner


def is_real_function(obj: Any) -> bool:
    """Tell whether an object is a `@ti.real_func`."""
    return bool(getattr(getattr(obj, "__func__", obj), "_is_real_function", False))


@contextlib.contextmanager
def recording(record: Callable[[Callable[..., Any], Any, tuple[Any, ...]], None]) -> Iterator[None]:
    """While active, hand each call of a Taichi kernel to `record(function, owner, args)`; launch nothing."""
    launch = kernel_impl.Kernel.__call__

    def intercept(self: Any, *args: Any, **kwargs: Any) -> None:
        owner = args[0] if self.classkernel else None
        names = [argument.name for argument in self.arguments]
        rest = list(args[1:] if self.classkernel else args)
        rest += [kwargs[name] for name in names[len(args) :] if name in kwargs]
        record(self.func, owner, tuple(rest))

    kernel_impl.Kernel.__call__ = intercept
    try:
        yield
    finally:
        kernel_impl.Kernel.__call__ = launch


_sources = itertools.count()  # each text needs a file name of its own


def build_kernel(source: str, name: str, scope: dict[str, Any]) -> Callable[..., Any]:
    """Make a Taichi kernel of source text.

    Taichi reads a kernel's source from its file: `linecache` plays the file.
    """
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


def direct_launch(kernel: Callable[..., Any], count: int, reuse: bool = True) -> Callable[..., None]:
    """Return a function that launches a compiled kernel of `count` integer arguments.

    Taichi's own call looks at the types of all arguments and for the kernel that was compiled for them, which
    takes ten times as long as the launch.

    Args:
        kernel: A kernel of `build_kernel` that was launched before.
        count: Its arguments.
        reuse: Hold arguments in the same place again, where a launch is over when it returns: on a CPU.
    """
    primal = kernel._primal  # type: ignore[attr-defined]
    program = impl.get_runtime().prog
    made = primal.compiled_kernels[primal.ensure_compiled(*[0] * count)]
    compiled = program.compile_kernel(program.config(), program.get_device_caps(), made)
    start, places = program.launch_kernel, [(k,) for k in range(count)]
    at_once = impl.current_cfg().arch in (ti.x64, ti.arm64)
    kept = made.make_launch_context() if reuse and at_once else None

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


def forget_kernel(kernel: Callable[..., Any]) -> None:
    """Let go of a kernel that will not be launched again; Taichi's runtime would keep it for ever."""
    kernels = impl.get_runtime().kernels
    for part in (kernel._primal, kernel._adjoint):  # type: ignore[attr-defined]
        for position, known in enumerate(kernels):
            if known is part:
                del kernels[position]
                break


def destroy_tree(tree: Any) -> None:
    """Free the memory of a field tree, which no kernel may touch any more.

    Taichi's own `destroy` makes every kernel of the program compile again, those of other rollouts too.
    """
    if not tree.destroyed and tree.prog is impl.get_runtime().prog:
        tree.ptr.destroy_snode_tree(tree.prog)
        tree.destroyed = True


def address_views(
    fields: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str], outer: int = 0
) -> list[np.ndarray]:
    """Return NumPy arrays that share the memory of dense scalar fields. CPU backends only.

    Each view is valid as long as its field's tree is.

    Args:
        fields: The fields.
        shapes: Their shapes.
        dtypes: Their scalar types.
        outer: Leading axes along which other fields may lie between the elements.
    """
    addresses = np.zeros((len(fields), 1 + outer), dtype=np.uint64)
    for start in range(0, len(fields), 64):  # a bounded number of statements a kernel compiles fast
        part = fields[start : start + 64]
        lines = []
        for k in range(len(part)):
            shape = shapes[start + k]
            for axis in range(-1, outer):  # an element, and its neighbour along each outer axis
                place = ", ".join(str(int(a == axis and n > 1)) for a, n in enumerate(shape))
                lines.append(f"    out[{start + k}, {axis + 1}] = ti.get_addr(f{k}, [{place}])")
        source = "def addresses(out: ti.types.ndarray()):\n" + "\n".join(lines) + "\n"
        kernel = build_kernel(source, "addresses", {f"f{k}": f for k, f in enumerate(part)})
        kernel(addresses)
        release_source(kernel)
        forget_kernel(kernel)
    ti.sync()
    views = []
    for (first, *others), shape, dtype in zip(addresses.tolist(), shapes, dtypes, strict=True):
        item = np.dtype(NUMPY[dtype]).itemsize
        strides = [item * int(np.prod(shape[a + 1 :], dtype=np.int64)) for a in range(len(shape))]
        strides[: len(others)] = [other - first for other in others]
        size = item + sum(stride * (n - 1) for stride, n in zip(strides, shape, strict=True))
        memory = (ctypes.c_char * size).from_address(first)
        views.append(np.ndarray(shape, NUMPY[dtype], memory, strides=strides))
    return views
