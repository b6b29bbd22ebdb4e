"""Sums that iterations of a shared loop add to, each part of the loop to zeros of its own.

They are added to their place when all parts are done, in the order of the parts: so they round alike however
the threads take turns.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffsim.compiler.native.estimate import surely_differ
from diffsim.compiler.native.expressions import called
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.trees import indices_of, inside, loop_of, name_of, place_of
from diffsim.compiler.native.values import SIZE

__all__ = ["COPIES", "PART", "PARTS", "Private", "Sum", "gather_of", "privates_of"]

# arguments of what adds up: the part of it, how many there are, and how many parts had zeros
PART, PARTS, COPIES = "item.part", "item.parts", "item.copies"
_PADDED = 64  # bytes: parts have lines of the processor's cache to themselves


@dataclass(frozen=True)
class Private:
    """Zeros of each part's own, for additions to a place.

    Attributes:
        target: The name of the place.
        name: What the task adds to.
        place: How it is indexed: as the place, but for indices that are the same in all iterations.
        length: Elements from one part to the next.
    """

    target: str
    name: str
    place: Place
    length: int

    @property
    def bytes(self) -> int:
        """Those of one part."""
        return self.length * SIZE[self.place.dtype]


@dataclass
class Sum:
    """Additions to one place, at indices of which some are the same in all iterations."""

    target: str
    indices: list[ast.expr]  # of one of them
    fixed: tuple[bool, ...]
    nodes: list[ast.Subscript] = field(default_factory=list)


def privates_of(
    loop: ast.For, arguments: set[str], places: Mapping[str, Place]
) -> list[tuple[Private, Sum]] | None:
    """Return what additions of a loop need of their own; None where it has to run in order."""
    sums, others = _accesses(loop, arguments)
    if any(_is_odd(node) for node in inside(loop)):
        return None
    found = []
    for count, one in enumerate(sums):
        place = places.get(one.target)
        if place is None or place.shared or place.dtype == "u1" or len(place.shape) != len(one.indices):
            return None
        if any(not _apart(one, other) for other in others if other.value.id == one.target):  # type: ignore[attr-defined]
            return None
        sizes = [1 if fixed else n for fixed, n in zip(one.fixed, place.shape, strict=True)]
        strides = [0 if f else math.prod(sizes[k + 1 :]) for k, f in enumerate(one.fixed)]
        length = math.prod(sizes)
        padding = _PADDED // SIZE[place.dtype]
        own = Place(place.dtype, tuple(strides), length)
        found.append(
            (Private(one.target, f"sum{count}.{one.target}", own, -(-length // padding) * padding), one)
        )
    return found


def _accesses(loop: ast.For, arguments: set[str]) -> tuple[list[Sum], list[ast.Subscript]]:
    """Return the additions of a loop that may meet, and all other places that it names."""
    sums: dict[tuple[str, ...], Sum] = {}
    targets: set[ast.AST] = set()
    for node in inside(loop):
        if not isinstance(node, ast.AugAssign) or not isinstance(node.target, ast.Subscript):
            continue
        if not isinstance(node.target.value, ast.Name):
            continue
        targets.add(node.target)
        indices = indices_of(node.target)
        fixed = tuple(_is_fixed(index, arguments) for index in indices)
        texts = (ast.unparse(index) if f else "" for index, f in zip(indices, fixed, strict=True))
        one = Sum(node.target.value.id, indices, fixed)
        sums.setdefault((one.target, *texts), one).nodes.append(node.target)
    others = [
        node
        for node in inside(loop)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node not in targets
    ]
    return list(sums.values()), others


def _is_odd(node: ast.AST) -> bool:
    """Tell whether threads may not share a loop because of something in it."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
        return not isinstance(node.op, ast.Add) or not isinstance(node.target.value, ast.Name)
    return isinstance(node, ast.Call) and called(node) == "atomic_add"


def _is_fixed(index: ast.expr, arguments: set[str]) -> bool:
    """Tell whether an index is the same in all iterations: it is made of arguments and literals."""
    return all(
        isinstance(node, ast.Constant | ast.BinOp | ast.operator | ast.expr_context)
        or (isinstance(node, ast.Name) and node.id in arguments)
        for node in ast.walk(index)
    )


def _apart(one: Sum, other: ast.Subscript) -> bool:
    """Tell whether additions never reach what another access does: an index of theirs always differs."""
    return any(
        fixed and surely_differ(a, b)
        for fixed, a, b in zip(one.fixed, one.indices, indices_of(other), strict=True)
    )


def gather_of(private: Private, one: Sum) -> tuple[int, list[ast.stmt]]:
    """Return what adds private elements to their place and zeros them, and in how many parts it can be done.

    Each element is added part by part in a statement of its own, so that no compiler changes the order.
    """
    extents = _extents_of(private, one)
    longest = max(range(len(extents)), key=extents.__getitem__, default=-1)
    names = [f"item.e{k}" for k in range(len(extents))]
    there, own = list(one.indices), [*names]
    moving = [k for k, fixed in enumerate(one.fixed) if not fixed]
    for name, k in zip(names, moving, strict=True):
        there[k] = name_of(name)
    mine = [name_of("item.copy"), *map(name_of, own)]
    total = ast.BinOp(place_of(private.target, there), ast.Add(), place_of(private.name, mine))
    body: list[ast.stmt] = [
        ast.Assign([place_of(private.target, there, True)], total),
        ast.Assign([place_of(private.name, mine, True)], ast.Constant(0)),
    ]
    for k, (name, n) in reversed(list(enumerate(zip(names, extents, strict=True)))):
        low, high = ("0", str(n)) if k != longest else _slice(n)
        body = [loop_of(name, low, high, body)]
    body = [loop_of("item.copy", "0", COPIES, body)]
    if longest < 0:
        body = [loop_of("item.once", *_slice(1), body)]
    return max(extents, default=1), body


def _slice(n: int) -> tuple[str, str]:
    return f"{n} * {PART} // {PARTS}", f"{n} * ({PART} + 1) // {PARTS}"


def _extents_of(private: Private, one: Sum) -> list[int]:
    """Return the lengths of the axes of private elements."""
    strides = [s for s, fixed in zip(private.place.strides, one.fixed, strict=True) if not fixed]
    return [a // b for a, b in zip([private.place.length, *strides], strides, strict=False)]
