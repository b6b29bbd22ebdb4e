"""Names of a kernel's text by their scopes, and which of them differ from world to world."""

from __future__ import annotations

import ast
from collections.abc import Sequence

__all__ = ["scoped", "varying"]


class _Scopes(ast.NodeTransformer):
    """Give each name of each block one of its own, as Taichi scopes them: a name lives in its block."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._scopes: list[dict[str, str]] = [{name: name for name in arguments}]
        self._taken: dict[str, int] = dict.fromkeys(arguments, 1)

    def block(self, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Return the statements of a block with scoped names."""
        return [self.visit(node) for node in nodes]

    def _inner(self, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
        self._scopes.append({})
        found = self.block(nodes)
        self._scopes.pop()
        return found

    def _declare(self, name: str) -> str:
        self._taken[name] = count = self._taken.get(name, 0) + 1
        self._scopes[-1][name] = full = name if count == 1 else f"{name}.{count}"
        return full

    def _known(self, name: str) -> str | None:
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), None)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        known = self._known(node.id)
        if isinstance(node.ctx, ast.Store) and known is None:
            known = self._declare(node.id)
        return ast.copy_location(ast.Name(known or node.id, node.ctx), node)

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        node.value = self.visit(node.value)
        node.targets = [self.visit(target) for target in node.targets]
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        node.iter = self.visit(node.iter)
        self._scopes.append({})
        for name in ast.walk(node.target):
            if isinstance(name, ast.Name):
                name.id = self._declare(name.id)
        node.body = self.block(node.body)
        self._scopes.pop()
        return node

    def visit_If(self, node: ast.If) -> ast.If:
        node.test = self.visit(node.test)
        node.body, node.orelse = self._inner(node.body), self._inner(node.orelse)
        return node


def scoped(arguments: Sequence[str], body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements in which each name stands for one variable.

    Args:
        arguments: Names that are known to them.
        body: The statements, which are changed.
    """
    return _Scopes(arguments).block(body)


class _Varying:
    """Find the names that differ from world to world, by going over the statements until none is added."""

    def __init__(self, lane: str) -> None:
        self.names = {lane}
        self._declared: dict[str, tuple[int, ...]] = {}

    def depends(self, *nodes: ast.expr) -> bool:
        """Tell whether an expression differs from world to world."""
        inside = (name for node in nodes for name in ast.walk(node) if isinstance(name, ast.Name))
        return any(name.id in self.names for name in inside)

    def settle(self, nodes: Sequence[ast.stmt]) -> set[str]:
        """Return the names."""
        before = 0
        while before < len(self.names):
            before = len(self.names)
            self._declared.clear()
            self._block(nodes, ())
        return self.names

    def _block(self, nodes: Sequence[ast.stmt], path: tuple[int, ...]) -> None:
        for node in nodes:
            if isinstance(node, ast.Assign):
                self._assign(node.targets[0], node.value, path)
            elif isinstance(node, ast.AugAssign):
                self._assign(node.target, node.value, path)
            elif isinstance(node, ast.If):
                inner = (*path, id(node)) if self.depends(node.test) else path
                self._block(node.body, inner)
                self._block(node.orelse, inner)
            elif isinstance(node, ast.For):
                self._loop(node, path)

    def _assign(self, target: ast.expr, value: ast.expr, path: tuple[int, ...]) -> None:
        """Note a name that gets another value in each world, or a value in some of them only."""
        if isinstance(target, ast.Name):
            declared = self._declared.setdefault(target.id, path)
            if declared != path or self.depends(value):
                self.names.add(target.id)

    def _loop(self, node: ast.For, path: tuple[int, ...]) -> None:
        ranges = list(node.iter.args) if isinstance(node.iter, ast.Call) else []
        starts = ranges[:1] if len(ranges) == 2 else [r.elts[0] for r in ranges if isinstance(r, ast.Tuple)]
        if self.depends(*starts):
            self.names.update(name.id for name in ast.walk(node.target) if isinstance(name, ast.Name))
        self._block(node.body, (*path, id(node)) if self.depends(*ranges) else path)


def varying(lane: str, body: Sequence[ast.stmt]) -> set[str]:
    """Return the names that differ from world to world in the body of a loop over worlds.

    Args:
        lane: The name that counts worlds.
        body: The statements, with scoped names.
    """
    return _Varying(lane).settle(body)
