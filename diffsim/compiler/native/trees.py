"""Small trees of Python's grammar: parts of a kernel's text that nobody wrote."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

__all__ = ["assigned", "expression", "indices_of", "inside", "loop_of", "name_of", "place_of"]


def inside(loop: ast.For) -> Iterator[ast.AST]:
    """Return all that is in the body of a loop."""
    return (node for statement in loop.body for node in ast.walk(statement))


def indices_of(node: ast.Subscript) -> list[ast.expr]:
    """Return the indices of a place."""
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    none = len(items) == 1 and isinstance(items[0], ast.Constant) and items[0].value is None
    return [] if none else items


def expression(text: str) -> ast.expr:
    """Parse an expression whose names may have dots."""
    tree = ast.parse(text, mode="eval").body
    return _Dotted().visit(tree)


class _Dotted(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        text = ast.unparse(node)
        return name_of(text) if text.startswith("item.") else node


def loop_of(name: str, low: str, high: str, body: list[ast.stmt]) -> ast.For:
    """Return a loop over a range; its bounds are texts."""
    return ast.For(
        name_of(name, True), ast.Call(name_of("range"), [expression(low), expression(high)], []), body, []
    )


def assigned(name: str, text: str) -> ast.stmt:
    """Return an assignment of what a text says to a name."""
    return ast.Assign([name_of(name, True)], expression(text))


def name_of(text: str, store: bool = False) -> ast.Name:
    """Return a name, to be read or stored to."""
    return ast.Name(text, ast.Store() if store else ast.Load())


def place_of(name: str, indices: Sequence[ast.expr], store: bool = False) -> ast.Subscript:
    """Return a place in an array, to be read or stored to."""
    index = ast.Tuple(list(indices), ast.Load()) if indices else ast.Constant(None)
    return ast.Subscript(name_of(name), index, ast.Store() if store else ast.Load())
