"""What the names in a function mean before anything runs."""

from __future__ import annotations

import ast
import builtins
import inspect
import types
from collections.abc import Callable
from typing import Any

from diffsim import _taichi

__all__ = ["ATOMICS", "MISSING", "Names", "by_reference", "is_template", "local_names"]

ti = _taichi.ti
MISSING: Any = object()
ATOMICS: dict[int, str] = {
    id(getattr(ti, f"atomic_{name}")): name
    for name in ("add", "sub", "mul", "max", "min", "and", "or", "xor")
    if hasattr(ti, f"atomic_{name}")
}


def local_names(node: ast.AST) -> frozenset[str]:
    """Return the names that a function binds: parameters, variables, targets of loops."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return frozenset(found | {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)})


def is_template(annotation: Any) -> bool:
    """Tell whether a parameter is passed by reference."""
    named = type(annotation).__name__.lower() in ("template", "template_type")
    return named or _taichi.at_home(annotation) is ti.template


class Names:
    """The names that a function sees from outside.

    Args:
        function: The function.
        node: Its definition.
        owner: The object that its first parameter is; None for none.
    """

    def __init__(self, function: Callable[..., Any], node: ast.FunctionDef, owner: Any) -> None:
        self._function, self._local = function, local_names(node)
        first = node.args.args[0].arg if node.args.args else None
        self._self = first if owner is not None else None
        self._kind = type(owner)

    def resolve(self, node: ast.expr) -> Any:
        """Return the object that a name, or a chain of attributes of modules and classes, means.

        Of an attribute of the owner only functions are told: all else may change between runs.
        """
        if isinstance(node, ast.Name):
            return MISSING if node.id in self._local else _taichi.at_home(self._outside(node.id))
        if not isinstance(node, ast.Attribute):
            return MISSING
        if isinstance(node.value, ast.Name) and node.value.id == self._self:
            found = inspect.getattr_static(self._kind, node.attr, MISSING)
            found = found.__func__ if isinstance(found, staticmethod) else found
            return found if _taichi.taichi_function(found) is not None else MISSING
        base = self.resolve(node.value)
        if isinstance(base, types.ModuleType | type) or base in (ti.Vector, ti.Matrix):
            return _taichi.at_home(getattr(base, node.attr, MISSING))
        return MISSING

    def _outside(self, name: str) -> Any:
        function = self._function
        free = function.__code__.co_freevars
        if name in free and function.__closure__:
            try:
                return function.__closure__[free.index(name)].cell_contents
            except ValueError:  # a name that is not bound yet
                return MISSING
        return function.__globals__.get(name, vars(builtins).get(name, MISSING))


def by_reference(function: Callable[..., Any], node: ast.FunctionDef) -> tuple[str, ...]:
    """Return the parameters that a function assigns to and passes by reference."""
    changed = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and len(n.args) == 2):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name.startswith("atomic_") and isinstance(call.args[0], ast.Name):
            changed.add(call.args[0].id)
    parameters = inspect.signature(function).parameters
    return tuple(name for name, p in parameters.items() if name in changed and is_template(p.annotation))
