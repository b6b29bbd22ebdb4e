"""Ways to write a kernel that Taichi's reverse mode gets right: what one of them cures, it names."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable

from diffsim.rollout.audit.traps import called_name, is_loop

__all__ = ["read_again", "with_safe_operations"]

Change = Callable[[ast.AST], ast.AST]
_E = "2.718281828459045"
_SAFE = {
    ("max", 2): "ti.select(({0}) > ({1}), {0}, {1})",
    ("min", 2): "ti.select(({0}) < ({1}), {0}, {1})",
    ("exp", 1): f"ti.pow({_E}, {{0}})",
    ("tanh", 1): f"(1.0 - 2.0 / (ti.pow({_E}, 2.0 * ({{0}})) + 1.0))",
    ("rsqrt", 1): "(1.0 / ti.sqrt({0}))",
    ("clamp", 3): "ti.select(({0}) < ({1}), {1}, ti.select(({0}) > ({2}), {2}, {0}))",
}


class _Safe(ast.NodeTransformer):
    """Write operations that need no value of their own on the way back."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Write a call in other words."""
        self.generic_visit(node)
        text = _SAFE.get((called_name(node), len(node.args)))
        if text is None:
            return node
        made = ast.parse(
            text.replace("ti.", self._prefix).format(*map(ast.unparse, node.args)), mode="eval"
        ).body
        return ast.copy_location(made, node)


def with_safe_operations(prefix: str) -> Change:
    """Return a change of a kernel's tree that writes max, exp, ... in other words (A4).

    Args:
        prefix: What the kernel calls Taichi, with a dot.
    """

    def change(tree: ast.AST) -> ast.AST:
        return _located(_Safe(prefix).visit(tree))

    return change


def read_again(tree: ast.AST) -> ast.AST:
    """Compute what is computed before a loop and read in it again in each iteration (A3)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While | ast.FunctionDef):
            _again(node.body, isinstance(node, ast.FunctionDef))
    return _located(tree)


def _again(body: list[ast.stmt], outermost: bool) -> None:
    values: list[ast.Assign] = []
    for statement in body:
        if is_loop(statement) and values and not outermost:
            assert isinstance(statement, ast.For | ast.While)  # noqa: S101  (which loops are)
            changed = {
                n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            kept = [
                v for v in values if isinstance(v.targets[0], ast.Name) and v.targets[0].id not in changed
            ]
            kept = [
                v for v in kept if not changed & {n.id for n in ast.walk(v.value) if isinstance(n, ast.Name)}
            ]
            _into_innermost(statement, kept)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values.append(statement)


def _into_innermost(loop: ast.For | ast.While, values: list[ast.Assign]) -> None:
    inner = [s for s in loop.body if is_loop(s)]
    if inner:
        for one in inner:
            assert isinstance(one, ast.For | ast.While)  # noqa: S101  (which loops are)
            _into_innermost(one, values)
        return
    names = {
        v.targets[0].id: f"{v.targets[0].id}_again" for v in values if isinstance(v.targets[0], ast.Name)
    }
    for node in [n for s in loop.body for n in ast.walk(s)]:
        if isinstance(node, ast.Name) and node.id in names:
            node.id = names[node.id]
    again = []
    for value in values:
        one = copy.deepcopy(value)
        for node in ast.walk(one):
            if isinstance(node, ast.Name) and node.id in names:
                node.id = names[node.id]
        again.append(one)
    loop.body[:0] = again


def _located(tree: ast.AST) -> ast.AST:
    return ast.fix_missing_locations(tree)
