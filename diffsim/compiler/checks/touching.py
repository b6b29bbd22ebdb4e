"""Which places stages touch, and in which order: whether one access meets what another one has left."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from diffsim.compiler.checks.indices import Affine, Indices, defined_in
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    If,
    Load,
    Loop,
    Operand,
    Stage,
    Store,
    Value,
    blocks_of,
)

__all__ = [
    "Access",
    "Box",
    "Key",
    "accesses_of",
    "apart",
    "inside",
    "joined",
    "may_follow",
    "shifts",
    "volume",
]

Box = tuple[tuple[int, int], ...]  # for each axis of space, the first index and the one behind the last
Key = tuple[Buffer, int, int]
Step = tuple[int, "For | If | Loop | object"]
_OTHERS = ("external", "control")  # what no step zeroes


@dataclass(frozen=True, eq=False)
class Access:
    """One operation that touches memory.

    Attributes:
        op: The operation.
        path: Where it stands: its position, and what it is in there, from the outermost to the innermost.
        indices: What each index is.
        region: A box that holds every place it can touch.
        box: The same where it touches all of it for certain, each place; None where that is not known.
        varying: For each loop around it, in order, whether an index depends on it.
    """

    op: Load | Store | Accumulate
    path: tuple[Step, ...]
    indices: tuple[Affine, ...]
    region: Box
    box: Box | None
    varying: frozenset[int]


def accesses_of(stages: Sequence[Stage]) -> dict[Key, list[Access]]:
    """Return what stages touch of the program's own, in order, by buffer, time and component.

    Args:
        stages: In the order in which they run, without calls.
    """
    found: dict[Key, list[Access]] = {}
    made = functools.cache(defined_in)  # asked of a loop for each access in it
    for number, stage in enumerate(stages):
        known = Indices(stage.body)
        start: list[Step] = [(number, stage)]
        if stage.loop is not None:
            first = next(k for k, other in enumerate(stages) if other.loop is stage.loop)
            start = [(first, stage.loop), (number, stage)]
        for op, path in _walk(stage.body, start):
            key = (op.ref.buffer, op.ref.time or 0, op.ref.component)
            found.setdefault(key, []).append(_access(op, tuple(path), known, made))
    return found


def _walk(block: Block, above: list[Step]) -> Iterator[tuple[Load | Store | Accumulate, list[Step]]]:
    for position, op in enumerate(block.ops):
        here = [*above, (position, op)]
        if isinstance(op, Load | Store | Accumulate) and op.ref.buffer.kind not in _OTHERS:
            yield op, here
        for branch, inner in enumerate(blocks_of(op)):
            yield from _walk(inner, [*here, (branch, inner)])


def _access(
    op: Load | Store | Accumulate,
    path: tuple[Step, ...],
    known: Indices,
    made: Callable[[For], set[Value]],
) -> Access:
    loops = [inner for _, inner in path if isinstance(inner, For)]
    indices = tuple(known.affine(i) for i in op.ref.indices)
    bases = [base for base, _ in indices if base is not None]
    varying = frozenset(id(loop) for loop in loops if not made(loop).isdisjoint(bases))
    region, exact = [], len(set(bases)) == len(bases) and all(_certain(inner) for _, inner in path)
    for (base, offset), n in zip(indices, op.ref.buffer.shape, strict=True):
        loop = next((loop for loop in loops if loop.index is base), None)
        if base is None:
            low, high = offset, offset + 1
        elif loop is not None and isinstance(loop.start, Const) and isinstance(loop.stop, Const):
            low, high = int(loop.start.value) + offset, int(loop.stop.value) + offset
        else:
            low, high, exact = 0, n, False
        exact = exact and 0 <= low < high <= n
        region.append((max(0, low), min(n, high)))
    box = tuple(region)
    return Access(op, path, indices, box, box if exact else None, varying)


def _certain(op: object) -> bool:
    """Tell whether what is in it runs for certain."""
    if isinstance(op, For):
        return isinstance(op.start, Const) and isinstance(op.stop, Const) and op.stop.value > op.start.value
    if isinstance(op, Loop):
        return op.until is None
    return not isinstance(op, If)


def _once(op: For) -> bool:
    return _certain(op) and _number(op.stop) - _number(op.start) == 1


def _number(operand: Operand) -> int:
    assert isinstance(operand, Const)  # noqa: S101  (see _certain)
    return int(operand.value)


def may_follow(first: Access, second: Access, again: bool = False) -> bool:
    """Tell whether `second` may touch a place that `first` touched before.

    Of a store that is repeated at the same place only the first time is looked at, unless told otherwise.

    Args:
        first: The one that must come first for that.
        second: Another access of the same buffer, time and component, or the same one.
        again: Look at each time of a store.
    """
    if apart(first, second):
        return False
    around: object = None
    for (here, op), (there, _) in zip(first.path, second.path, strict=False):
        if here != there:  # of two sides of a branch, an iteration takes one
            return here < there and not (again and isinstance(around, If))
        around = op
        if isinstance(op, Loop) or (isinstance(op, For) and not _once(op)):
            found = shifts(first, second, op.index) if isinstance(op, For) else set()
            if len(found) > 1:
                return False
            if not found:
                if isinstance(second.op, Store) and not again and id(op) not in second.varying:
                    continue
                return True
            [shift] = found
            if shift:
                return (shift > 0) is not (isinstance(op, For) and op.descending)
    return False


def apart(first: Access, second: Access) -> bool:
    """Tell whether two accesses never touch the same place, by the boxes that hold all their places."""
    return any(a[1] <= b[0] or b[1] <= a[0] for a, b in zip(first.region, second.region, strict=True))


def shifts(first: Access, second: Access, index: Value) -> set[int]:
    """Return how many iterations later the second access meets the places of the first, by axis."""
    pairs = zip(first.indices, second.indices, strict=True)
    return {a[1] - b[1] for a, b in pairs if a[0] is index and b[0] is index}


def joined(boxes: Sequence[Box]) -> list[Box]:
    """Return as few boxes that fill the same places, as far as they join side by side."""
    left = list(dict.fromkeys(boxes))
    while True:
        pair = next(((a, b, u) for a in left for b in left if a is not b and (u := _union(a, b))), None)
        if pair is None:
            return left
        left = [box for box in left if box not in pair[:2]] + [pair[2]]


def _union(a: Box, b: Box) -> Box | None:
    """Return the box that two boxes fill together, None where that is no box."""
    differing = [k for k in range(len(a)) if a[k] != b[k]]
    if len(differing) > 1 or not a:
        return a if inside(b, a) else b if inside(a, b) else None
    k = differing[0]
    if a[k][1] < b[k][0] or b[k][1] < a[k][0]:
        return None
    return (*a[:k], (min(a[k][0], b[k][0]), max(a[k][1], b[k][1])), *a[k + 1 :])


def inside(box: Box, other: Box) -> bool:
    """Tell whether a box lies in another one."""
    return all(b[0] <= a[0] and a[1] <= b[1] for a, b in zip(box, other, strict=True))


def volume(box: Box) -> int:
    """Count the elements of a box."""
    return math.prod(high - low for low, high in box)
