"""Which elements of a State a step stores for certain, to tell of those that it may leave at zero.

Loops are run with all their indices at once, as arrays: what depends on indices and numbers alone is known
exactly, so that an `if` at a boundary, `i // 3` or an unrolled loop is followed. What depends on values is
not known; of such a branch only what both sides store counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.checks.ranges import values_at
from diffsim.compiler.interpret import FUNCTIONS
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Stage,
    Store,
    Value,
    blocks_of,
    operands_of,
    results_of,
    walk,
)
from diffsim.compiler.program.clearing import box_of
from diffsim.errors import Diagnostic

__all__ = ["partly_stored", "unstored"]

Box = tuple[tuple[int, int], ...]  # by axis: from where to where
Known = dict[Value, NDArray[Any]]
Codes = dict[int, NDArray[np.int64]]  # by component: iteration * elements + element, where one stores there

_MOST = 1 << 22  # iterations of a loop that are looked at
_MOST_ELEMENTS = 1 << 28  # of a State that are looked at one by one


def partly_stored(buffer: Buffer, stages: list[Stage]) -> list[Diagnostic]:
    """Return a warning where stages store a State at `t + 1` in part, and it does not say what that means."""
    stores = [op for s in stages for op in walk(s.body) if isinstance(op, Store) and _meant(op, buffer)]
    if not stores or math.prod(buffer.shape) > _MOST_ELEMENTS or _whole(buffer, stages):
        return []
    missing = unstored(buffer, stages)
    if not missing.any():
        return []
    index = np.argwhere(missing)[0]
    place = ", ".join(["t + 1", *map(str, index[:-1])])
    component = f"[{index[-1]}]" if buffer.components > 1 else ""
    first = next((op for op in stores if op.ref.component == index[-1]), stores[0])
    message = (
        f"{buffer.label} should be stored as a whole at t + 1, or say what becomes of the rest, got "
        f"{int(missing.any(axis=-1).sum())} of {max(1, math.prod(buffer.shape))} element(s) that a step may "
        f"leave out, [{place}]{component} the first, which are zero then; declare it with keep=True to hand "
        "them on from t, or with keep=False where zero is meant"
    )
    return [Diagnostic("PARTIAL", str(first.where), message)]


def unstored(buffer: Buffer, stages: list[Stage]) -> NDArray[np.bool_]:
    """Return which scalars of a State no stage stores for certain, components last; sums count as stores."""
    missing = np.ones((*buffer.shape, buffer.components), bool)
    for component, box in _filled(buffer, stages):
        place: tuple[Any, ...] = (*(slice(low, high) for low, high in box), component)
        missing[place] = False
    for stage in _certain(stages) if missing.any() else []:
        for component, codes in _Coverage(buffer, stage).run().items():
            flat = missing[..., component].reshape(-1).copy()
            flat[codes] = False
            missing[..., component] = flat.reshape(buffer.shape)
    return missing


def _certain(stages: list[Stage]) -> list[Stage]:
    """Return the stages that store what they store; others may end before."""
    return [s for s in stages if s.loop is None or s.loop.until is None]


def _filled(buffer: Buffer, stages: list[Stage]) -> Iterator[tuple[int, Box]]:
    """Yield the component and the box of what is plainly stored as a whole, or summed up."""
    for op in (op for s in stages for op in walk(s.body)):
        if isinstance(op, Accumulate) and _meant(op, buffer):
            yield op.ref.component, tuple((0, n) for n in buffer.shape)
    for stage in _certain(stages):
        yield from _boxes(stage.body.ops, buffer, [])


def _whole(buffer: Buffer, stages: list[Stage]) -> bool:
    """Tell whether each component is plainly stored in one piece, without looking at each element."""
    all_of_it = tuple((0, n) for n in buffer.shape)
    found = {component for component, box in _filled(buffer, stages) if tuple(box) == all_of_it}
    return len(found) == buffer.components


def _meant(op: Store | Accumulate, buffer: Buffer) -> bool:
    return op.ref.buffer is buffer and op.ref.time == 1


def _boxes(ops: Iterable[Op], buffer: Buffer, loops: list[For]) -> Iterator[tuple[int, Box]]:
    """Yield the component and the box of each store that plain loops fill."""
    for op in ops:
        if isinstance(op, Store) and _meant(op, buffer):
            box = box_of(op.ref, buffer, loops)
            if box is not None:
                yield op.ref.component, box
        elif isinstance(op, For) and isinstance(op.start, Const) and isinstance(op.stop, Const):
            if op.stop.value > op.start.value:
                yield from _boxes(op.body.ops, buffer, [*loops, op])


class _Coverage:
    """Runs the loops of a stage with all indices at once."""

    def __init__(self, buffer: Buffer, stage: Stage) -> None:
        self.buffer, self.body = buffer, stage.body
        self.size = max(1, math.prod(buffer.shape))
        self.needed = _needed(stage.body, buffer)

    def run(self) -> Codes:
        with np.errstate(all="ignore"):
            return self._ops(self.body.ops, {}, np.ones(1, bool))

    def _ops(self, ops: list[Op], known: Known, live: NDArray[np.bool_]) -> Codes:
        """Return what operations store in iterations that are run for certain."""
        found: Codes = {}
        for op in ops:
            if isinstance(op, Store):
                if _meant(op, self.buffer):
                    _add(found, op.ref.component, self._store(op, known, live))
            elif isinstance(op, Let | Load):
                value = self._computed(op, known) if op.result in self.needed else None
                if value is not None:
                    known[op.result] = value
            elif isinstance(op, If | For) and (
                self._stores(op) or not self.needed.isdisjoint(results_of(op))
            ):
                inner = self._if(op, known, live) if isinstance(op, If) else self._for(op, known, live)
                for component, codes in inner.items():
                    _add(found, component, codes)
        return found

    def _stores(self, op: Op) -> bool:
        inner = (o for block in blocks_of(op) for o in walk(block))
        return any(isinstance(o, Store) and _meant(o, self.buffer) for o in inner)

    def _value(self, operand: Operand, known: Known) -> NDArray[Any] | None:
        return np.asarray(operand.value) if isinstance(operand, Const) else known.get(operand)

    def _computed(self, op: Let | Load, known: Known) -> NDArray[Any] | None:
        if isinstance(op, Load):
            return self._looked_up(op, known)
        args = [self._value(a, known) for a in op.args]
        if op.fn in ("inside", "at_most"):
            args = args[:1] if op.fn == "inside" else args
        if any(a is None for a in args):
            return None
        if op.fn == "inside":
            return args[0]
        if op.fn.startswith("cast_"):
            kind = op.fn[5:]
            return np.asarray(args[0]).astype(bool if kind == "u1" else float if kind[0] == "f" else np.int64)
        function = FUNCTIONS.get("min" if op.fn == "at_most" else op.fn)
        return None if function is None else np.asarray(function(*args))

    def _looked_up(self, op: Load, known: Known) -> NDArray[Any] | None:
        """Return what an integer Constant holds that is a permutation, and note that it must stay one."""
        buffer = op.ref.buffer
        if buffer.kind != "constant" or buffer.dtype != "i32" or buffer.source.limits is not None:
            return None
        literal = tuple(int(i.value) if isinstance(i, Const) else None for i in op.ref.indices)
        running = [i for i in op.ref.indices if isinstance(i, Value)]
        values = values_at(buffer.source.numpy(), literal)
        index = known.get(running[0]) if len(running) == 1 else None
        if index is None or values.ndim != 1 or np.any(np.sort(values) != np.arange(len(values))):
            return None
        low, high = float(values.min()), float(values.max())
        buffer.distinct.add(literal)
        buffer.bounds[literal] = (low, high)
        return np.asarray(values[np.clip(index, 0, len(values) - 1)])

    def _store(self, op: Store, known: Known, live: NDArray[np.bool_]) -> NDArray[np.int64]:
        element: NDArray[Any] = np.zeros(len(live), np.int64)
        for operand, n in zip(op.ref.indices, self.buffer.shape, strict=True):
            index = self._value(operand, known)
            if index is None:
                return np.empty(0, np.int64)
            live = live & (index >= 0) & (index < n)
            element = element * n + index
        return (np.arange(len(live)) * self.size + element)[live]

    def _if(self, op: If, known: Known, live: NDArray[np.bool_]) -> Codes:
        cond = self._value(op.cond, known)
        truth = None if cond is None else np.broadcast_to(cond.astype(bool), live.shape)
        inner = [dict(known), dict(known)]
        lives = [live, live] if truth is None else [live & truth, live & ~truth]
        then, orelse = (
            self._ops(block.ops, names, runs)
            for block, names, runs in zip(blocks_of(op), inner, lives, strict=True)
        )
        if truth is None:  # whichever side is taken
            return {c: np.intersect1d(then[c], orelse[c]) for c in then.keys() & orelse.keys()}
        for result, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
            x, y = self._value(a, inner[0]), self._value(b, inner[1])
            if x is not None and y is not None:
                known[result] = np.where(truth, x, y)
        for component, codes in orelse.items():
            _add(then, component, codes)
        return then

    def _for(self, op: For, known: Known, live: NDArray[np.bool_]) -> Codes:
        start, stop = self._value(op.start, known), self._value(op.stop, known)
        if start is None or stop is None or not live.any():
            return {}
        starts, stops = (np.broadcast_to(bound, live.shape) for bound in (start, stop))
        low, high = int(starts[live].min()), int(stops[live].max())
        count = high - low
        if count <= 0 or count * len(live) > _MOST:
            return {}
        index = np.tile(np.arange(low, high), len(live))
        inner = {v: np.repeat(a, count) if a.ndim else a for v, a in known.items()}
        inner[op.index] = index
        runs = (
            np.repeat(live, count) & (index >= np.repeat(starts, count)) & (index < np.repeat(stops, count))
        )
        found = self._ops(op.body.ops, inner, runs)
        return {
            component: np.unique(codes // self.size // count * self.size + codes % self.size)
            for component, codes in found.items()
        }


def _add(found: Codes, component: int, codes: NDArray[np.int64]) -> None:
    found[component] = np.union1d(found[component], codes) if component in found else np.unique(codes)


def _needed(body: Block, buffer: Buffer) -> set[Value]:
    """Return the values that decide where a stage stores a buffer."""
    made: dict[Value, list[Operand]] = {}
    queue: list[Operand] = []
    for op in walk(body):
        for k, result in enumerate(results_of(op)):
            yields = [block.yields[k] for block in blocks_of(op)]
            made[result] = [*operands_of(op), *yields]
        if isinstance(op, Store) and _meant(op, buffer):
            queue += op.ref.indices
        elif isinstance(op, For | If) and any(
            isinstance(o, Store) and _meant(o, buffer) for b in blocks_of(op) for o in walk(b)
        ):
            queue += [op.cond] if isinstance(op, If) else [op.start, op.stop]
    needed: set[Value] = set()
    while queue:
        operand = queue.pop()
        if isinstance(operand, Value) and operand not in needed:
            needed.add(operand)
            queue += made.get(operand, [])
    return needed
