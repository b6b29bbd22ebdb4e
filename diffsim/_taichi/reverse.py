"""A user's kernel as it stands, over memory of ours, with the adjoint that Taichi's reverse mode makes of it.

Declared fields are no fields of Taichi's. While a kernel compiles, Taichi asks for each subscript and each loop
over a field; here those of declared fields are answered with fields and indices of the caller's. Three integers
are added to a kernel's arguments, for indices that change from launch to launch.
"""

from __future__ import annotations

import ast
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import taichi as ti
from taichi.lang import expr, impl, kernel_arguments, kernel_impl, matrix
from taichi.lang.ast import ast_transformer
from taichi.lang.enums import AutodiffMode

__all__ = ["Places", "UserKernel", "stack_size"]

_EXTRA = ("diffsim_lag", "diffsim_slot", "diffsim_world")
Places = Callable[[Any, Sequence[Any], Sequence[Any]], "tuple[Any, tuple[Any, ...]] | None"]
_tree_of = kernel_impl._get_tree_and_ctx
_turn = threading.RLock()  # what is replaced while a kernel compiles is that of all threads


class _Kernel(kernel_impl.Kernel):  # type: ignore[misc]
    """A kernel with three integers more; what its syntax tree goes through before it is compiled may be given."""

    change: Callable[[ast.AST], ast.AST] | None = None

    def extract_arguments(self) -> None:
        """Add the three."""
        super().extract_arguments()
        self.arguments += [kernel_arguments.KernelArgument(ti.i32, name) for name in _EXTRA]


def _tree_with_more(self: Any, *args: Any, **options: Any) -> Any:
    tree, ctx = _tree_of(self, *args, **options)
    if isinstance(self, _Kernel):
        if self.change is not None:
            tree = self.change(tree)
        tree.body[0].args.args += [ast.arg(arg=name) for name in _EXTRA]
    return tree, ctx


kernel_impl._get_tree_and_ctx = _tree_with_more


class UserKernel:
    """A kernel of the user's and the adjoint that Taichi makes of it, for one list of arguments.

    Args:
        function: The kernel's Python function.
        owner: What it is a method of; None for a function.
        args: Its other arguments; integers may change from launch to launch.
        places: Called with what a kernel indexes, its indices and the three integers as expressions: the field
            and the indices that are meant, None where it is no declared field.
        domain: Called with what a kernel loops over: a field of that shape, None where it is no declared one.
        swaps: What kernels find in the place of some functions, by id.
        serial: Outermost loops run in order, on the thread that launches: others may not be there.
        change: What the syntax tree goes through first.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        owner: Any,
        args: Sequence[Any],
        places: Places,
        domain: Callable[[Any], Any],
        swaps: Mapping[int, Any],
        serial: bool = False,
        change: Callable[[ast.AST], ast.AST] | None = None,
    ) -> None:
        self._own = [] if owner is None else [owner]
        self._args, self._places, self._domain, self._swaps = list(args), places, domain, swaps
        self._serial = serial
        self._kernels = {}
        for mode in (AutodiffMode.NONE, AutodiffMode.REVERSE):
            self._kernels[mode] = made = _Kernel(function, mode, _classkernel=owner is not None)
            made.change = change
        self._compiled: dict[Any, Any] = {}

    def compile(self, reverse: bool) -> None:
        """Let Taichi compile the kernel, or its adjoint.

        Raises:
            Exception: Whatever Taichi raises.
        """
        mode = AutodiffMode.REVERSE if reverse else AutodiffMode.NONE
        if mode in self._compiled:
            return
        kernel = self._kernels[mode]
        every = [*self._own, *self._args, *[0] * len(_EXTRA)]
        features = [
            None if k < len(self._own) else kernel.mapper.extract_arg(value, argument.annotation, argument.name)
            for k, (value, argument) in enumerate(zip(every, kernel.arguments, strict=True))
        ]
        key = (kernel.func, 0, mode)
        with self._asking():
            kernel.materialize(key=key, args=every, arg_features=features)
        program = impl.get_runtime().prog
        made = kernel.compiled_kernels[key]
        program.compile_kernel(program.config(), program.get_device_caps(), made)
        self._compiled[mode] = made

    def __call__(self, args: Sequence[Any], more: Sequence[int], reverse: bool = False) -> None:
        """Launch the kernel or its adjoint.

        Args:
            args: Its arguments, without the owner.
            more: The three integers.
            reverse: Launch the adjoint.
        """
        self.compile(reverse)
        mode = AutodiffMode.REVERSE if reverse else AutodiffMode.NONE
        self._kernels[mode].launch_kernel(self._compiled[mode], *self._own, *args, *more)

    def forget(self) -> None:
        """Let go of it; Taichi's runtime would keep it for ever."""
        kernels = impl.get_runtime().kernels
        for kernel in self._kernels.values():
            for position, known in enumerate(kernels):
                if known is kernel:
                    del kernels[position]
                    break

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """While active, answer what Taichi asks of declared fields."""
        subscript, loop = impl.subscript, impl.begin_frontend_struct_for
        declare = kernel_arguments.decl_scalar_arg
        builder = ast_transformer.ASTTransformer
        more: list[Any] = []

        def declaring(annotation: Any, name: str, *rest: Any) -> Any:
            made = declare(annotation, name, *rest)
            if name in _EXTRA:
                more.append(made)
            return made

        def finding(ast_builder: Any, value: Any, *indices: Any, **options: Any) -> Any:
            if not isinstance(value, expr.Expr | matrix.Matrix):
                found = self._places(value, _flat(subscript, ast_builder, indices), more)
                if found is not None:
                    value, indices = found
            return subscript(ast_builder, value, *(indices or (None,)), **options)

        def looping(ast_builder: Any, group: Any, loop_range: Any) -> Any:
            found = self._domain(loop_range)
            return loop(ast_builder, group, loop_range if found is None else found)

        with _turn, _swapped(builder, self._swaps), _serial_loops(builder, self._serial):
            impl.subscript, impl.begin_frontend_struct_for = finding, looping
            kernel_arguments.decl_scalar_arg = declaring
            try:
                yield
            finally:
                impl.subscript, impl.begin_frontend_struct_for = subscript, loop
                kernel_arguments.decl_scalar_arg = declare


def _flat(subscript: Callable[..., Any], ast_builder: Any, indices: Sequence[Any]) -> list[Any]:
    """Return indices one by one, those in vectors too; none for `[None]`."""
    found: list[Any] = []
    for index in indices:
        if isinstance(index, matrix.Matrix):
            found += index.to_list()
        elif isinstance(index, expr.Expr) and index.is_tensor():
            found += [subscript(ast_builder, index, k) for k in range(index.get_shape()[0])]
        elif isinstance(index, list | tuple):
            found += index
        elif index is not None:
            found.append(index)
    return found


@contextlib.contextmanager
def _swapped(builder: Any, swaps: Mapping[int, Any]) -> Iterator[None]:
    """While active, let kernels find other functions in the place of some."""
    names = ("build_Name", "build_Attribute")
    known = {name: vars(builder)[name] for name in names}

    def swapping(build: Callable[..., Any]) -> Any:
        def built(ctx: Any, node: Any) -> Any:
            found = build(ctx, node)
            if id(found) in swaps:
                node.ptr = found = swaps[id(found)]
            return found

        return staticmethod(built)

    try:
        for name, build in known.items():
            setattr(builder, name, swapping(build.__func__))
        yield
    finally:
        for name, build in known.items():
            setattr(builder, name, build)


@contextlib.contextmanager
def _serial_loops(builder: Any, serial: bool) -> Iterator[None]:
    """While active, let outermost loops run in order, if that is asked for."""
    if not serial:
        yield
        return
    names = ("build_range_for", "build_ndrange_for", "build_grouped_ndrange_for", "build_struct_for")
    known = {name: vars(builder)[name] for name in names}
    depth = [0]

    def counting(build: Callable[..., Any]) -> Any:
        def built(ctx: Any, *args: Any, **options: Any) -> Any:
            if depth[0] == 0:
                ctx.ast_builder.strictly_serialize()
            depth[0] += 1
            try:
                return build(ctx, *args, **options)
            finally:
                depth[0] -= 1

        return staticmethod(built)

    try:
        for name, build in known.items():
            setattr(builder, name, counting(build.__func__))
        yield
    finally:
        for name, build in known.items():
            setattr(builder, name, build)


@contextlib.contextmanager
def stack_size(size: int | None) -> Iterator[None]:
    """While active, kernels compile with so many places on the stack of a local in a loop; None for the usual.

    Args:
        size: How many.
    """
    config = impl.current_cfg()
    before = config.ad_stack_size
    if size is not None:
        config.ad_stack_size = size
    try:
        yield
    finally:
        config.ad_stack_size = before
