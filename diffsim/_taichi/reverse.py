"""A user's kernel as it stands, over memory of ours, with the adjoint that Taichi's reverse mode makes of it.

Declared fields are no fields of Taichi's. While a kernel compiles, Taichi asks for each subscript and each
loop over a field; here those of declared fields are answered with fields and indices of the caller's. Three
integers are added to a kernel's arguments, for indices that change from launch to launch.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import taichi as ti
from taichi.lang import expr, impl, kernel_arguments, kernel_impl, matrix
from taichi.lang.ast import ast_transformer
from taichi.lang.ast.ast_transformer import build_stmt
from taichi.lang.enums import AutodiffMode

from diffsim._taichi.packages import running
from diffsim._taichi.program import default_real
from diffsim.errors import ConfigError

__all__ = ["Answers", "UserKernel", "require_reverse", "stack_size"]

_EXTRA = ("diffsim_lag", "diffsim_slot", "diffsim_world")
_tree_of = kernel_impl._get_tree_and_ctx
_changes: list[Callable[[ast.AST], Any]] = []  # of the kernel that compiles
_turn = threading.RLock()  # what is replaced while a kernel compiles is that of all threads


class _Kernel(kernel_impl.Kernel):  # type: ignore[misc]
    """A kernel with three integers more."""

    def __init__(self, function: Any, mode: Any, method: bool, known: frozenset[str]) -> None:
        self._known = known
        super().__init__(function, mode, _classkernel=method)

    def extract_arguments(self) -> None:
        """Add the three, and make constants of those that are known."""
        super().extract_arguments()
        for argument in self.arguments:
            if argument.name in self._known:
                argument.annotation = ti.template()
        self.arguments += [kernel_arguments.KernelArgument(ti.i32, name) for name in _EXTRA]


def _tree_with_more(self: Any, *args: Any, **options: Any) -> Any:
    tree, ctx = _tree_of(self, *args, **options)
    if _changes:
        tree = _changes[-1](tree)  # those of functions that the kernel calls too
    if isinstance(self, _Kernel):
        tree.body[0].args.args += [ast.arg(arg=name) for name in _EXTRA]
    return tree, ctx


kernel_impl._get_tree_and_ctx = _tree_with_more


def require_reverse() -> None:
    """Refuse to go on where Taichi's fork runs, of which nobody has looked how it compiles reverse mode.

    Raises:
        ConfigError: It runs.
    """
    if running.is_forge:
        raise ConfigError(
            "Taichi's reverse mode must be that of Taichi itself, got a runtime of Taichi Forge; start with "
            "ds.init(compiler='taichi'), or leave mode 'tape' and the audit out"
        )


class Answers(Protocol):
    """What Taichi gets told while it compiles a user's kernel."""

    @property
    def real(self) -> str:
        """The type of literals, `f32` or `f64`."""

    def place(
        self, value: Any, indices: Sequence[Any], more: Sequence[Any]
    ) -> tuple[Any, tuple[Any, ...]] | None:
        """Return the field and the indices that are meant where a kernel indexes a declared field, else None.

        Args:
            value: What is indexed.
            indices: How.
            more: The three integers, as expressions.
        """

    def domain(self, value: Any) -> Any:
        """Return a field of the shape of a declared one that a kernel loops over; None for all else."""

    def declared(self, value: Any) -> bool:
        """Tell whether something is a declared field."""

    def swap(self, value: Any) -> Any:
        """Return what a kernel finds in the place of something that it names, or that itself."""

    def source(self, function: Any) -> tuple[list[str], int, str]:
        """Return the lines of a function's text, the number of the first, and the file."""


class UserKernel:
    """A kernel of the user's and the adjoint that Taichi makes of it, for one list of arguments.

    Args:
        function: The kernel's Python function.
        owner: What it is a method of; None for a function.
        args: Its other arguments.
        constant: Of each, whether it is the same at each launch, and may be known when the kernel compiles.
        answers: What Taichi gets told.
        serial: Outermost loops run in order, on the thread that launches: others may not be there.
        change: What the syntax tree goes through first.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        owner: Any,
        args: Sequence[Any],
        constant: Sequence[bool],
        answers: Answers,
        serial: bool = False,
        change: Callable[[ast.AST], ast.AST] | None = None,
    ) -> None:
        self._own = [] if owner is None else [owner]
        self._args, self._answers, self._serial = list(args), answers, serial
        self._changes = [] if change is None else [change]
        self._kernels = {}
        names = list(inspect.signature(function).parameters)[len(self._own) :]
        known = frozenset(name for name, given in zip(names, constant, strict=False) if given)
        for mode in (AutodiffMode.NONE, AutodiffMode.REVERSE):
            self._kernels[mode] = _Kernel(function, mode, owner is not None, known)
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
            None
            if k < len(self._own)
            else kernel.mapper.extract_arg(value, argument.annotation, argument.name)
            for k, (value, argument) in enumerate(zip(every, kernel.arguments, strict=True))
        ]
        key = (kernel.func, 0, mode)
        with default_real(self._answers.real):
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
        answers, builder = self._answers, ast_transformer.ASTTransformer
        subscript, loop, begin = impl.subscript, impl.begin_frontend_struct_for, impl.expr_init
        declare = kernel_arguments.decl_scalar_arg
        lines, file = kernel_impl.getsourcelines, kernel_impl.getsourcefile
        more: list[Any] = []

        def declaring(annotation: Any, name: str, *rest: Any) -> Any:
            made = declare(annotation, name, *rest)
            if name in _EXTRA:
                more.append(made)
            return made

        def finding(ast_builder: Any, value: Any, *indices: Any, **options: Any) -> Any:
            if not isinstance(value, expr.Expr | matrix.Matrix):
                found = answers.place(value, _flat(subscript, ast_builder, indices), more)
                if found is not None:
                    value, indices = found
            return subscript(ast_builder, value, *(indices or (None,)), **options)

        def passing(value: Any) -> Any:
            return value if answers.declared(value) or _opaque(value) else begin(value)

        def looping(ast_builder: Any, group: Any, loop_range: Any) -> Any:
            found = answers.domain(loop_range)
            return loop(ast_builder, group, loop_range if found is None else found)

        with _turn, _swapped(builder, answers.swap, answers.declared), _serial_loops(builder, self._serial):
            impl.subscript, impl.begin_frontend_struct_for, impl.expr_init = finding, looping, passing
            kernel_arguments.decl_scalar_arg = declaring
            kernel_impl.getsourcelines = lambda function: answers.source(function)[:2]
            kernel_impl.getsourcefile = lambda function: answers.source(function)[2]
            _changes.extend(self._changes)
            try:
                yield
            finally:
                _changes.clear()
                impl.subscript, impl.begin_frontend_struct_for, impl.expr_init = subscript, loop, begin
                kernel_arguments.decl_scalar_arg = declare
                kernel_impl.getsourcelines, kernel_impl.getsourcefile = lines, file


def _opaque(value: Any) -> bool:
    """Tell whether an object of the user's is handed to a function, which reads its attributes."""
    module = type(value).__module__
    known = isinstance(value, np.ndarray | np.generic | list | tuple | dict) or callable(value)
    return not (known or module == "builtins" or module.startswith("taichi"))


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
def _swapped(builder: Any, swap: Callable[[Any], Any], declared: Callable[[Any], bool]) -> Iterator[None]:
    """While active, let kernels find other things in the place of some that they name."""
    names = ("build_Name", "build_Attribute")
    known = {name: vars(builder)[name] for name in names}

    def swapping(build: Callable[..., Any]) -> Any:
        def built(ctx: Any, node: Any) -> Any:
            found = build(ctx, node)
            owner = getattr(getattr(node, "value", None), "ptr", None)
            if not declared(owner):  # whose attributes are its own
                node.ptr = found = swap(found)
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
        def built(ctx: Any, node: Any, *grouped: bool, **options: Any) -> Any:
            outermost, act = depth[0] == 0, build
            if outermost and (grouped or options):
                node, act = _over_indices(ctx, node, known, *grouped, **options)
                grouped, options = (), {}
            if outermost:
                ctx.ast_builder.strictly_serialize()
            depth[0] += 1
            try:
                return act(ctx, node, *grouped, **options)
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


def _over_indices(ctx: Any, node: Any, known: Any, is_grouped: bool) -> tuple[Any, Callable[..., Any]]:
    """Return a loop over a field as one over its indices, which Taichi can run in order."""
    over = node.iter.args[0] if is_grouped else node.iter
    ctx.global_vars["diffsim_indices"] = ti.ndrange(*build_stmt(ctx, over).shape)
    indices = ast.copy_location(ast.Name("diffsim_indices", ast.Load()), over)
    if is_grouped:
        node.iter.args = [indices]
        return node, known["build_grouped_ndrange_for"].__func__
    node.iter = indices
    return node, known["build_ndrange_for"].__func__


@contextlib.contextmanager
def stack_size(size: int | None) -> Iterator[None]:
    """While active, compile kernels with so many places for each local that a loop changes; None: as usual.

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
