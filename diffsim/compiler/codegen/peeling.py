"""Taking the first and the last iterations out of loops whose inside is simpler without them (loop peeling).

`(i + 1) % n` is `i + 1` but for the last `i`, and `if i > 0` holds but for the first. A loop over the others
has indices that follow one another and no branches, so that it can be vectorised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.autodiff.liveness import drop_unused
from diffsim.compiler.interpret import FUNCTIONS
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Const,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Ref,
    Stage,
    Store,
    Value,
    results_of,
    walk,
)

__all__ = ["peeled"]

Numbers = NDArray[np.int64]

_EDGE = 2  # iterations at each end that may be taken out
_LEAST, _LONGEST = 16, 1 << 20  # iterations of a loop
_MOST = 400  # operations of all copies together
_INTEGER = frozenset(
    "add sub mul mod floordiv min max neg abs lt le gt ge eq ne and or not select inside".split()
)
_AFFINE = frozenset("add sub inside".split())  # of what is affine these are as well


def peeled(stage: Stage) -> Stage:
    """Return a copy of a stage whose innermost loops are split where that makes their inside simpler."""
    return dataclasses.replace(stage, body=_block(stage.body))


def _block(block: Block) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, If):
            ops.append(dataclasses.replace(op, then=_block(op.then), orelse=_block(op.orelse)))
        elif not isinstance(op, For):
            ops.append(op)
        elif any(isinstance(inner, For) for inner in walk(op.body)):
            ops.append(dataclasses.replace(op, body=_block(op.body)))
        else:
            ops += _split(op)
    return Block(ops, list(block.yields))


def _split(loop: For) -> list[Op]:
    """Return the first iterations, a loop over the inside, and the last iterations."""
    if not isinstance(loop.start, Const) or not isinstance(loop.stop, Const):
        return [loop]
    start, stop = int(loop.start.value), int(loop.stop.value)
    if not _LEAST <= stop - start <= _LONGEST:
        return [loop]
    numbers = _known(loop, np.arange(start, stop))
    first, last = _inside(loop, numbers)
    copies = 1 + first + (stop - start - last)
    if copies == 1 or copies * sum(1 for _ in walk(loop.body)) > _MOST:
        return [loop]
    ends = [range(first), range(last, stop - start)]
    pieces = _Pieces(loop, numbers)
    if loop.descending:
        ends = [ends[1][::-1], ends[0][::-1]]
    for k in ends[0]:
        pieces.iteration(k)
    pieces.inside(first, last)
    for k in ends[1]:
        pieces.iteration(k)
    return pieces.finish()


def _known(loop: For, index: Numbers) -> dict[Value, Numbers]:
    """Return, for every iteration, the integers and conditions that depend on a loop's index alone."""
    known: dict[Value, Numbers] = {loop.index: index}

    def values(operands: Iterable[Operand]) -> list[Numbers] | None:
        found = [np.asarray(o.value) if isinstance(o, Const) else known.get(o) for o in operands]
        return None if any(f is None for f in found) else found  # type: ignore[return-value]

    for op in walk(loop.body):
        if isinstance(op, Let) and op.fn in _INTEGER and op.result.dtype in ("i32", "u1"):
            args = values(op.args)
            found = _computed(op.fn, args) if args is not None and any(a in known for a in op.args) else None
            if found is not None:
                known[op.result] = np.broadcast_to(found, index.shape)
    return known


def _computed(fn: str, args: list[Numbers]) -> Numbers | None:
    """Return the outcome of an operation; None where an integer of 32 bits does not hold it."""
    if fn == "inside":
        return args[0]
    if fn in ("mod", "floordiv") and not np.all(args[1]):
        return None
    found: Numbers = np.where(*args) if fn == "select" else FUNCTIONS[fn](*args)
    return found if np.all(np.abs(found.astype(np.int64)) < 2**31) else None


def _inside(loop: For, known: dict[Value, Numbers]) -> tuple[int, int]:
    """Return from which iteration to which all that can be is affine in the index, or always the same."""
    n = known[loop.index].size
    first, last = 0, n
    lets = {op.result: op for op in walk(loop.body) if isinstance(op, Let)}
    for value, numbers in known.items():
        if value is loop.index or lets[value].fn in _AFFINE:
            continue
        ranges = [
            (low, n - high)
            for low in range(_EDGE + 1)
            for high in range(_EDGE + 1)
            if _is_simple(numbers[low : n - high], known[loop.index][low : n - high])
        ]
        if ranges:
            low, high = max(ranges, key=lambda r: (r[1] - r[0], -r[0]))
            first, last = max(first, low), min(last, high)
    return first, last


def _is_simple(numbers: Numbers, index: Numbers) -> bool:
    return _is_one(numbers) or (numbers.dtype != np.bool_ and _is_one(numbers - index))


def _is_one(numbers: Numbers) -> bool:
    """Tell whether all numbers are the same."""
    return bool(np.all(numbers == numbers[0]))


class _Pieces:
    """Copies of a loop's body, one after the other."""

    def __init__(self, loop: For, known: dict[Value, Numbers]) -> None:
        self.loop, self.known = loop, known
        self.carried: list[Operand] = list(loop.inits)
        self.ops: list[Op] = []

    def iteration(self, k: int) -> None:
        """Append one iteration."""
        known: dict[Value, Operand] = {v: _const(numbers[k], v.dtype) for v, numbers in self.known.items()}
        names = {**known, **dict(zip(self.loop.params, self.carried, strict=True))}
        body = _copy(self.loop.body, names, known)
        self.ops += body.ops
        self.carried = body.yields

    def inside(self, first: int, last: int) -> None:
        """Append a loop over the iterations from `first` up to `last`."""
        loop, index = self.loop, Value("i32")
        numbers = self.known[loop.index]
        names: dict[Value, Operand] = {loop.index: index}
        head: list[Op] = []
        affine: dict[int, Value] = {0: index}
        for value, found in self.known.items():
            part, along = found[first:last], numbers[first:last]
            if _is_one(part):
                names[value] = _const(part[0], value.dtype)
            elif value.dtype == "i32" and _is_simple(part, along):
                shift = int(part[0] - along[0])
                if shift not in affine:
                    affine[shift] = Value("i32")
                    head.append(Let(affine[shift], "add", (index, Const(shift, "i32"))))
                names[value] = affine[shift]
        simple = dict(names)
        params = [Value(p.dtype) for p in loop.params]
        names.update(zip(loop.params, params, strict=True))
        body = _copy(loop.body, names, simple)
        body.ops[:0] = head
        results = [Value(p.dtype) for p in params]
        bounds = (Const(int(numbers[first]), "i32"), Const(int(numbers[last - 1]) + 1, "i32"))
        self.ops.append(
            dataclasses.replace(
                loop,
                index=index,
                start=bounds[0],
                stop=bounds[1],
                body=body,
                inits=list(self.carried),
                params=params,
                results=results,
            )
        )
        self.carried = list(results)

    def finish(self) -> list[Op]:
        """Return all pieces; what the loop carried is called as before."""
        ends = [
            Let(result, "inside", (end,)) for result, end in zip(self.loop.results, self.carried, strict=True)
        ]
        return [*self.ops, *ends]


def _const(number: np.int64, dtype: str) -> Const:
    return Const(bool(number) if dtype == "u1" else int(number), dtype)


def _copy(block: Block, names: dict[Value, Operand], simple: dict[Value, Operand]) -> Block:
    """Copy a block under new names, with what is known left out and only the side of a branch that is taken.

    Args:
        block: Operations without loops.
        names: What values are called; what is copied is added.
        simple: Values that need not be computed.
    """

    def new(operand: Operand) -> Operand:
        return names.get(operand, operand) if isinstance(operand, Value) else operand

    def place(ref: Ref) -> Ref:
        return dataclasses.replace(ref, indices=tuple(map(new, ref.indices)))

    def named(op: Let | Load | If) -> list[Value]:
        fresh = [Value(result.dtype) for result in results_of(op)]
        names.update(zip(results_of(op), fresh, strict=True))
        return fresh

    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, Let):
            args = tuple(map(new, op.args))
            if op.result in simple:
                continue
            if op.fn == "select" and isinstance(args[0], Const):
                names[op.result] = args[1] if args[0].value else args[2]
                continue
            ops.append(dataclasses.replace(op, args=args, result=named(op)[0]))
        elif isinstance(op, Load):
            ref = place(op.ref)
            ops.append(dataclasses.replace(op, ref=ref, result=named(op)[0]))
        elif isinstance(op, Store | Accumulate):
            ops.append(dataclasses.replace(op, ref=place(op.ref), value=new(op.value)))
        elif isinstance(op, If):
            cond = new(op.cond)
            if isinstance(cond, Const):
                taken = _copy(op.then if cond.value else op.orelse, names, simple)
                ops += taken.ops
                names.update(zip(op.results, taken.yields, strict=True))
                continue
            sides = [_copy(side, dict(names), simple) for side in (op.then, op.orelse)]
            ops.append(If(cond, sides[0], sides[1], named(op)))
        else:
            raise TypeError(type(op).__name__)  # calls were expanded, loops are not innermost
    copy = Block(ops, [new(y) for y in block.yields])
    drop_unused(copy)
    return copy
