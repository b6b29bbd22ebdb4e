"""Several iterations of an outer loop inside one inner loop, so that what they share is loaded once.

A dense layer adds to each sum once for each input: with four inputs at a time a sum is loaded and stored a
fourth as often, and sums that a register holds do not wait for each other (unroll and jam; Callahan, Cocke
and Kennedy 1988).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator, Sequence

__all__ = ["ITERATIONS", "jammed", "renamed"]

ITERATIONS = 4  # together: more did not run faster
_MOST = 8  # statements of a body, beyond which registers run short
_LEAST = 4  # iterations of the inner loop


def renamed(name: str, k: int) -> str:
    """Return what a name of the k-th of several iterations is called."""
    return f"{name}~{k}"


def jammed(node: ast.For, known: Collection[str]) -> tuple[list[ast.For], set[str]] | None:
    """Return loops that do several iterations of a loop at a time, and the names that they have renamed.

    Args:
        node: A loop, with scoped names.
        known: Names from outside.

    Returns:
        None where iterations depend on each other, or nothing would be won.
    """
    bounds, nest = _constant(node), _nest(node)
    if bounds is None or nest is None or bounds[1] - bounds[0] < ITERATIONS:
        return None
    (start, stop), (before, inner, behind) = bounds, nest
    index = node.target.id if isinstance(node.target, ast.Name) else ""
    statements = [*before, *inner.body, *behind]
    names = (n for s in statements for n in ast.walk(s) if isinstance(n, ast.Name))
    own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    if own & set(known) or not _independent(statements, index):
        return None
    whole, rest = divmod(stop - start, ITERATIONS)
    made = _Group(index, own | {index}, nest)
    loops = [made.loop(start, ITERATIONS, whole)]
    if rest:
        loops.append(made.loop(start + whole * ITERATIONS, rest, 1))
    return loops, own | {index}


class _Group:
    """Copies of a nest's statements, for several iterations each."""

    def __init__(
        self, index: str, names: set[str], nest: tuple[list[ast.stmt], ast.For, list[ast.stmt]]
    ) -> None:
        self._index, self._names, self._nest = index, names, nest

    def loop(self, start: int, count: int, times: int) -> ast.For:
        """Return a loop that does `count` iterations together so many times, from a start on."""
        before, inner, behind = self._nest
        counter = f"{self._index}~"
        body = [self._number(counter, start, count, k) for k in range(count)]
        body += self._copies(before, count)
        body.append(ast.For(inner.target, inner.iter, self._copies(inner.body, count), []))
        body += self._copies(behind, count)
        return ast.For(ast.Name(counter, ast.Store()), _range(0, times), body, [])

    def _copies(self, part: Sequence[ast.stmt], count: int) -> list[ast.stmt]:
        return [_Renamer(self._names, k).visit(copy.deepcopy(s)) for s in part for k in range(count)]

    def _number(self, counter: str, start: int, count: int, k: int) -> ast.stmt:
        """Return the assignment of the index of one of the iterations."""
        number = ast.BinOp(ast.Name(counter, ast.Load()), ast.Mult(), ast.Constant(count))
        value = ast.BinOp(number, ast.Add(), ast.Constant(start + k))
        return ast.Assign([ast.Name(renamed(self._index, k), ast.Store())], value)


class _Renamer(ast.NodeTransformer):
    def __init__(self, names: Collection[str], k: int) -> None:
        self._names, self._k = names, k

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(renamed(node.id, self._k), node.ctx) if node.id in self._names else node


def _constant(node: ast.For) -> tuple[int, int] | None:
    """Return the bounds of a loop where they are literals."""
    match node.iter:
        case ast.Call(ast.Name("range"), [ast.Constant(int(start)), ast.Constant(int(stop))]):
            return start, stop
        case ast.Call(ast.Name("range"), [ast.Constant(int(stop))]):
            return 0, stop
    return None


def _range(start: int, stop: int) -> ast.Call:
    return ast.Call(ast.Name("range", ast.Load()), [ast.Constant(start), ast.Constant(stop)], [])


def _nest(node: ast.For) -> tuple[list[ast.stmt], ast.For, list[ast.stmt]] | None:
    """Return what comes before the inner loop, that loop, and what is behind it, all of it plain."""
    places = [k for k, statement in enumerate(node.body) if isinstance(statement, ast.For)]
    if len(places) != 1:
        return None
    inner = node.body[places[0]]
    assert isinstance(inner, ast.For)  # noqa: S101  (it was found as one)
    before, behind = node.body[: places[0]], node.body[places[0] + 1 :]
    plain = all(isinstance(s, ast.Assign) and not _changes(s) for s in [*before, *inner.body, *behind])
    bounds = _constant(inner)
    fits = len(before) + len(inner.body) + len(behind) <= _MOST
    return (before, inner, behind) if plain and fits and bounds and bounds[1] - bounds[0] >= _LEAST else None


def _changes(statement: ast.stmt) -> bool:
    """Tell whether a statement calls what changes memory."""
    return any(isinstance(n, ast.Attribute) and n.attr.startswith("atomic_") for n in ast.walk(statement))


def _independent(statements: Sequence[ast.stmt], index: str) -> bool:
    """Tell whether iterations may be taken together: what one writes no other reads, but where both add."""
    written = {_array(target) for s in statements for target in _targets(s)}
    for name in written:
        places = [
            n for s in statements for n in ast.walk(s) if isinstance(n, ast.Subscript) and _array(n) == name
        ]
        if not (_own_axis(places, index) or all(_adds(s, name) for s in statements if _mentions(s, name))):
            return False
    return True


def _targets(statement: ast.stmt) -> Iterator[ast.Subscript]:
    assert isinstance(statement, ast.Assign)  # noqa: S101  (the nest is plain)
    yield from (target for target in statement.targets if isinstance(target, ast.Subscript))


def _array(node: ast.Subscript) -> str:
    inner = node.value
    while isinstance(inner, ast.Subscript):
        inner = inner.value
    return ast.unparse(inner)


def _own_axis(places: Sequence[ast.Subscript], index: str) -> bool:
    """Tell whether all are at the loop's own index, on the same axis."""
    axes = None
    for place in places:
        items = place.slice.elts if isinstance(place.slice, ast.Tuple) else [place.slice]
        here = {k for k, item in enumerate(items) if isinstance(item, ast.Name) and item.id == index}
        axes = here if axes is None else axes & here
    return bool(axes)


def _mentions(statement: ast.stmt, name: str) -> bool:
    return any(isinstance(n, ast.Subscript) and _array(n) == name for n in ast.walk(statement))


def _adds(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement is `place = place + value`, where the value does not read that array."""
    match statement:
        case ast.Assign([ast.Subscript() as target], ast.BinOp(left, ast.Add(), right)):
            same = ast.unparse(left) == ast.unparse(target)
            return same and _array(target) == name and not _mentions(ast.Expr(right), name)
    return False
