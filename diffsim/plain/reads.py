"""What the body of a loop reads, by its text: it decides at which time a loop over active cells looks."""

from __future__ import annotations

import ast

__all__ = ["reads_of"]

Read = tuple[ast.expr, ast.expr, int, bool]


def reads_of(node: ast.For) -> list[Read]:
    """Return the elements that the body of a loop reads.

    Each is what is indexed, the first index where it may be a time (else None), how many indices there are,
    and whether the others are those of the loop.

    Args:
        node: The loop, as it is written.
    """
    targets = _names(node.target)
    if targets is None:
        return []
    found: list[Read] = []
    for statement in node.body:
        for inner in ast.walk(statement):
            if isinstance(inner, ast.Subscript) and _is_read(inner, statement):
                read = _read(inner, targets)
                found += [] if read is None else [read]
    return found


def _names(target: ast.expr) -> list[str] | None:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
        return [e.id for e in target.elts if isinstance(e, ast.Name)]
    return None


def _is_read(node: ast.Subscript, around: ast.stmt) -> bool:
    """Tell whether an element is read: sums in memory are not."""
    if isinstance(node.ctx, ast.Load):
        return True
    changed = (
        n
        for n in ast.walk(around)
        if isinstance(n, ast.AugAssign) and not isinstance(n.op, ast.Add | ast.Sub)
    )
    return any(node is n.target for n in changed)


def _read(node: ast.Subscript, targets: list[str]) -> Read | None:
    if not _plain(node.value):
        return None
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    own = _is_cell(items, targets) or _is_cell(items[1:], targets)
    outside = not any(isinstance(n, ast.Name) and n.id in targets for n in ast.walk(items[0]))
    simple = all(
        isinstance(n, ast.Name | ast.BinOp | ast.Constant | ast.operator | ast.expr_context)
        for n in ast.walk(items[0])
    )
    timed = outside and simple and not _is_cell(items, targets)
    return node.value, items[0] if timed else ast.Constant(None), len(items), own


def _plain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _is_cell(items: list[ast.expr], targets: list[str]) -> bool:
    return len(items) == len(targets) and all(
        isinstance(item, ast.Name) and item.id == name for item, name in zip(items, targets, strict=True)
    )
