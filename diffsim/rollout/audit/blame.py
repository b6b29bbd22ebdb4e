"""Why Taichi's adjoint of a kernel is wrong: the family of the trap, and the line."""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.errors import TraceError
from diffsim.language.sources import source_of
from diffsim.language.trace import KernelCall
from diffsim.rollout.audit.cures import read_again, with_safe_operations
from diffsim.rollout.audit.traps import Suspect, suspects

__all__ = ["STACK", "Kernel"]

STACK = 4096  # places: more than any loop here fills
_CURED = ("A6", "A4", "A3")


class Kernel:
    """A kernel's definition, and what in it may be to blame.

    Args:
        call: What the trace recorded.
    """

    def __init__(self, call: KernelCall) -> None:
        self._call = call
        self._tree, self.where = _parsed(call.function)
        self._suspects = suspects(self._tree, self._inlined)

    def blame(self, replayed: tuple[tuple[str, bool], ...], cured: Callable[..., bool]) -> tuple[str, str]:
        """Return the family of the trap and its place; empty where none is known.

        Args:
            replayed: Fields that Taichi's adjoint changed, and whether these are of integers.
            cured: Tells whether the kernel, changed by `change=` or compiled with a larger `stack=`, comes
                out right.
        """
        if any(integers for _, integers in replayed):
            return "A12", self._place(self._of("A12") or self._counter())
        if replayed and self._of("A11"):
            return "A11", self._place(self._of("A11"))
        ways: dict[str, dict[str, Any]] = {
            "A6": {"stack": STACK},
            "A4": {"change": with_safe_operations(self._prefix())},
            "A3": {"change": read_again},
        }
        for family in _CURED:
            if self._of(family) and cured(**ways[family]):
                return family, self._place(self._of(family))
        both = _both(with_safe_operations(self._prefix()), read_again)
        if self._of("A4") and self._of("A3") and cured(change=both):
            return "A3 and A4", self._place(self._of("A3"))
        # what a cure would have told of is innocent; that of A3 knows nothing of arguments
        others = [s for s in self._suspects if s.family not in _CURED or (s.function and s.family == "A3")]
        found = others[0] if others else next(iter(self._suspects), None)
        return ("", self.where) if found is None else (found.family, self._place(found))

    def overflow(self) -> str:
        """Return the place of the loop whose locals fill the stack."""
        return self._place(self._of("A6"))

    def has(self, family: str) -> bool:
        """Tell whether there is a place that may be of a family."""
        return self._of(family) is not None

    def _of(self, family: str) -> Suspect | None:
        return next((s for s in self._suspects if s.family == family), None)

    def _counter(self) -> Suspect | None:
        """Return an atomic whose result is used, or an update of what is counted."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].startswith("atomic_"):
                return Suspect("A12", node)
        return next((Suspect("A12", n) for n in ast.walk(self._tree) if isinstance(n, ast.AugAssign)), None)

    def _place(self, suspect: Suspect | None) -> str:
        if suspect is None:
            return self.where
        function = suspect.function or self._call.function
        _, start, file = source_of(function)
        return f"{_shown(file)}:{start - 1 + getattr(suspect.node, 'lineno', 1)}"

    def _prefix(self) -> str:
        """Return what the kernel calls Taichi, with a dot."""
        seen = self._call.function.__globals__
        return next((f"{name}." for name, value in seen.items() if value is _taichi.ti), "ti.")

    def _inlined(self, call: ast.Call) -> tuple[ast.FunctionDef, Any] | None:
        found = _taichi.taichi_function(_resolved(call.func, self._call))
        if found is None:
            return None
        try:
            return _parsed(found[0])[0], found[0]
        except TraceError:
            return None


def _both(first: Callable[[ast.AST], ast.AST], second: Callable[[ast.AST], ast.AST]) -> Any:
    return lambda tree: second(first(tree))


def _parsed(function: Callable[..., Any]) -> tuple[ast.FunctionDef, str]:
    """Return the definition of a function, and where it is."""
    lines, start, file = source_of(function)
    node = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TraceError(f"{function.__name__} must be a plain function definition, got another statement")
    return node, f"{_shown(file)}:{start - 1 + node.lineno}"


def _resolved(node: ast.expr, call: KernelCall) -> Any:
    """Return what a name, or a dotted one, stands for in a kernel; None where it is not known."""
    if isinstance(node, ast.Name):
        if node.id == "self":
            return call.owner
        free = call.function.__code__.co_freevars
        if node.id in free and call.function.__closure__:
            return call.function.__closure__[free.index(node.id)].cell_contents
        return call.function.__globals__.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolved(node.value, call), node.attr, None)
    return None


def _shown(file: str) -> str:
    relative = os.path.relpath(file) if os.path.isabs(file) else file
    return file if relative.startswith("..") else relative
