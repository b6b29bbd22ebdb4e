"""Computing several iterations of a loop together, so that the compiler makes vector instructions of them.

The compiler behind Taichi does not vectorise a loop that stores to memory which its loads might overlap, and
for all it knows all fields do. Where iterations are known to be independent, each operation is done for eight
neighbours before the next one: loads beside each other, then stores beside each other. That is the form in
which the compiler packs them (superword-level parallelism; Larsen and Amarasinghe 2000).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from diffsim.compiler.checks.indices import Indices, defined_in
from diffsim.compiler.codegen.places import Memory, meeting
from diffsim.compiler.codegen.printer import slot_of
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
    Ref,
    Stage,
    Store,
    Value,
    operands_of,
    results_of,
    walk,
)

__all__ = ["in_lanes"]

_BYTES = 32  # of a vector: eight numbers of 32 bits
_MOST = 640  # operations of a body, beyond which compiling takes longer than is won
_LEAST = 32  # iterations of a loop
_SHORT = 8  # places that a body reads or writes
_FEW = 4  # fields in a loop that the compiler vectorises by itself
_SIZE = {"f64": 8, "i64": 8, "u64": 8}


def in_lanes(stage: Stage) -> Stage:
    """Return a copy of a stage whose loops over neighbours in memory do several iterations at once."""
    return dataclasses.replace(stage, body=_block(stage.body, Indices(stage.body)))


def _block(block: Block, indices: Indices) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, For):
            ops += _loop(op, indices)
        elif isinstance(op, If):
            then, orelse = _block(op.then, indices), _block(op.orelse, indices)
            ops.append(dataclasses.replace(op, then=then, orelse=orelse))
        else:
            ops.append(op)
    return Block(ops, list(block.yields))


def _loop(op: For, indices: Indices) -> list[Op]:
    if not all(_plain(inner, op) for inner in op.body.ops):
        return [dataclasses.replace(op, body=_block(op.body, indices))]
    lanes = _lanes_of(op, indices)
    return [op] if lanes == 1 else _Lanes(op, lanes).split()


def _plain(op: Op, loop: For) -> bool:
    """Tell whether an operation can be done for several iterations: no loop, no branch but that of an assert.

    Such a branch writes nothing but what is told of where the assert fails, for one iteration alone.
    """
    if not isinstance(op, If):
        return not isinstance(op, For)
    inside = list(walk(Block([op])))
    known = {o for inner in inside for o in operands_of(inner)}
    return (
        not op.results
        and any(isinstance(inner, Load) and inner.claim for inner in inside)
        and all(isinstance(inner, Let | Load | Store | If) for inner in inside)
        and all(inner.ref.buffer.kind == "alarm" for inner in inside if isinstance(inner, Store))
        and not any(isinstance(inner, If) and inner.results for inner in inside)
        and known.isdisjoint(loop.params)
    )


def _lanes_of(op: For, indices: Indices) -> int:
    """Return how many iterations of a loop to do at once; 1 to leave it as it is."""
    memory = [inner for inner in op.body.ops if isinstance(inner, Load | Store | Accumulate)]
    known = isinstance(op.start, Const) and isinstance(op.stop, Const)
    if not known or not _independent(memory, indices, defined_in(op)):
        return 1
    offsets = _offsets(op)
    beside = [_beside(m.ref, offsets) for m in memory]
    fixed_loads = [isinstance(m, Load) and _fixed(m.ref, offsets) for m in memory]
    if not all(a or b for a, b in zip(beside, fixed_loads, strict=True)) or not _only_sums(op):
        return 1
    if not _worth(op, [m.ref for m, near in zip(memory, beside, strict=True) if near], offsets):
        return 1
    width = max(_SIZE.get(m.ref.buffer.dtype, 4) for m, near in zip(memory, beside, strict=True) if near)
    lanes = _BYTES // width
    while lanes > 1 and lanes * len(op.body.ops) > _MOST:
        lanes //= 2
    return lanes if lanes > 1 and _trips(op) >= lanes else 1


def _independent(memory: list[Memory], indices: Indices, inside: Collection[Value]) -> bool:
    """Tell whether no iteration of a loop meets what another one writes; sums may come in any order.

    Where an index has to tell rows apart, only short bodies count: of long ones the compiler makes worse code
    than of the loop as it is.
    """
    pairs = [
        (a, b)
        for a, b in meeting(memory)
        if not (isinstance(a, Accumulate) and isinstance(b, Accumulate)) and a.ref.indices != b.ref.indices
    ]
    return not pairs or (len(memory) <= _SHORT and all(indices.apart(a.ref, b.ref, inside) for a, b in pairs))


def _worth(op: For, refs: list[Ref], offsets: dict[Value, int | None]) -> bool:
    """Tell whether a loop is long, and meets more than the compiler can sort out.

    That is several places of one field, more than a few fields, or stores of a value from outside the loop:
    before each of those the compiler would look up anew where the field is.
    """
    if _trips(op) < _LEAST:
        return False
    places: dict[tuple[Buffer, int], set[tuple[int | Operand | None, ...]]] = {}
    for ref in refs:
        places.setdefault((ref.buffer, ref.component), set()).add((ref.time, *ref.indices))
    several = any(len(found) > 1 for found in places.values())
    filling = bool(refs) and all(
        inner.result.dtype == "i32"
        if isinstance(inner, Let)
        else isinstance(inner, Store) and inner.value not in offsets
        for inner in op.body.ops
    )
    return several or filling or len({slot_of(ref) for ref in refs}) > _FEW


def _trips(op: For) -> int:
    assert isinstance(op.start, Const) and isinstance(op.stop, Const)  # noqa: S101, PT018  (checked before)
    return max(0, int(op.stop.value) - int(op.start.value))


def _offsets(op: For) -> dict[Value, int | None]:
    """Return what depends on a loop's index: the distance from it, None where it is not one."""
    offsets: dict[Value, int | None] = {op.index: 0, **dict.fromkeys(op.params)}
    indices = Indices(op.body)
    for inner in op.body.ops:
        if any(isinstance(o, Value) and o in offsets for o in operands_of(inner)):
            for result in results_of(inner):
                base, distance = indices.affine(result)
                offsets[result] = distance if base is op.index else None
    return offsets


def _beside(ref: Ref, offsets: dict[Value, int | None]) -> bool:
    """Tell whether iterations that follow each other touch places that follow each other."""
    if not ref.indices or ref.buffer.kind == "external":
        return False
    *others, last = ref.indices
    return isinstance(last, Value) and offsets.get(last) is not None and not any(o in offsets for o in others)


def _fixed(ref: Ref, offsets: dict[Value, int | None]) -> bool:
    return not any(i in offsets for i in ref.indices)


def _only_sums(op: For) -> bool:
    """Tell whether the values that a loop carries are sums, of which nothing in the loop sees a part."""
    uses: dict[Value, int] = {}
    for operand in [o for inner in op.body.ops for o in operands_of(inner)] + list(op.body.yields):
        if isinstance(operand, Value):
            uses[operand] = uses.get(operand, 0) + 1
    by_result = {inner.result: inner for inner in op.body.ops if isinstance(inner, Let)}
    for param, end in zip(op.params, op.body.yields, strict=True):
        add = by_result.get(end) if isinstance(end, Value) else None
        if (
            add is None
            or add.fn != "add"
            or param not in add.args
            or uses.get(param) != 1
            or uses[add.result] != 1
        ):
            return False
    return True


class _Lanes:
    """One loop, split into a loop over groups of iterations and a loop over the few that are left."""

    def __init__(self, loop: For, lanes: int) -> None:
        self.loop, self.lanes = loop, lanes
        self.offsets = _offsets(loop)
        self.names: list[dict[Value, Operand]] = [{} for _ in range(lanes)]
        self.ops: list[Op] = []

    def split(self) -> list[Op]:
        loop = self.loop
        start, groups = int(loop.start.value), _trips(loop) // self.lanes  # type: ignore[union-attr]
        many = self._groups(start, groups)
        left = start + groups * self.lanes
        if left == int(loop.stop.value):  # type: ignore[union-attr]
            many.results = loop.results
            return [many]
        many.results = [Value(p.dtype) for p in loop.params]
        rest = dataclasses.replace(loop, start=Const(left, "i32"), inits=list(many.results), descending=False)
        return [many, rest]

    def _groups(self, start: int, groups: int) -> For:
        loop, group = self.loop, Value("i32")
        first = self._let("mul", group, Const(self.lanes, "i32"))
        for k, names in enumerate(self.names):
            names[loop.index] = self._let("add", first, Const(start + k, "i32"))
        params = [Value(p.dtype) for p in loop.params]
        sums = {
            end: (param, own) for end, param, own in zip(loop.body.yields, loop.params, params, strict=True)
        }
        ends: list[Operand] = []
        for op in loop.body.ops:
            if isinstance(op, Let) and op.result in sums:
                ends.append(self._sum(op, *sums[op.result]))
            else:
                self._copies(op)
        order = [op.result for op in loop.body.ops if isinstance(op, Let) and op.result in sums]
        by_end = dict(zip(order, ends, strict=True))
        yields = [by_end[y] for y in loop.body.yields]  # type: ignore[index]
        body = Block(self.ops, yields)
        bounds = Const(0, "i32"), Const(groups, "i32")
        return For(group, *bounds, body, list(loop.inits), params, where=loop.where)

    def _let(self, fn: str, *args: Operand) -> Value:
        result = Value(args[0].dtype)
        self.ops.append(Let(result, fn, args))
        return result

    def _sum(self, op: Let, param: Value, own: Value) -> Operand:
        """Add what the lanes have to a carried sum, in pairs."""
        [term] = [a for a in op.args if a is not param]
        terms: list[Operand] = [self._renamed(term, k) for k in range(self.lanes)]
        while len(terms) > 1:
            terms = [self._let("add", a, b) for a, b in zip(terms[::2], terms[1::2], strict=True)]
        return self._let("add", own, terms[0])

    def _copies(self, op: Op) -> None:
        if isinstance(op, Let):
            self._each(
                op, lambda k, to: Let(to, op.fn, tuple(self._renamed(a, k) for a in op.args), op.where)
            )
        elif isinstance(op, Load):
            self._each(op, lambda k, to: Load(to, self._place(op.ref, k), op.where))
        elif isinstance(op, Store):
            self.ops += [
                Store(self._place(op.ref, k), self._renamed(op.value, k), op.where) for k in range(self.lanes)
            ]
        elif isinstance(op, Accumulate):
            self._add(op)
        elif isinstance(op, If):
            self._assert(op)

    def _assert(self, op: If) -> None:
        """Look at an assert in each lane; in one branch for all, where nothing is done while it holds."""
        one_by_one: list[Op] = [self._copied(op, dict(names)) for names in self.names]
        if op.then.ops:
            self.ops += one_by_one
            return
        holds = self._renamed(op.cond, 0)
        for k in range(1, self.lanes):
            holds = self._let("and", holds, self._renamed(op.cond, k))
        self.ops.append(If(holds, Block(), Block(one_by_one)))

    def _copied(self, op: Op, names: dict[Value, Operand]) -> Op:
        """Copy an operation of a branch, which has no results, with what it computes under new names."""

        def new(operand: Operand) -> Operand:
            return names.get(operand, operand) if isinstance(operand, Value) else operand

        if isinstance(op, If):
            then, orelse = (
                Block([self._copied(inner, inside) for inner in block.ops])
                for block, inside in ((op.then, dict(names)), (op.orelse, dict(names)))
            )
            return If(new(op.cond), then, orelse)
        changes: dict[str, Any] = {}
        if isinstance(op, Load | Store):
            changes["ref"] = dataclasses.replace(op.ref, indices=tuple(map(new, op.ref.indices)))
        if isinstance(op, Let):
            changes["args"] = tuple(map(new, op.args))
        if isinstance(op, Store):
            changes["value"] = new(op.value)
        if isinstance(op, Let | Load):
            names[op.result] = changes["result"] = Value(op.result.dtype)
        return dataclasses.replace(op, **changes)

    def _each(self, op: Let | Load, make: Callable[[int, Value], Op]) -> None:
        count = self.lanes if op.result in self.offsets else 1  # else it is the same in all lanes
        for k in range(count):
            to = Value(op.result.dtype)
            self.ops.append(make(k, to))
            for names in self.names if count == 1 else [self.names[k]]:
                names[op.result] = to

    def _add(self, op: Accumulate) -> None:
        places = [self._place(op.ref, k) for k in range(self.lanes)]
        before = [Value(op.ref.buffer.dtype) for _ in places]
        self.ops += [Load(value, place) for value, place in zip(before, places, strict=True)]
        after = [self._let("add", value, self._renamed(op.value, k)) for k, value in enumerate(before)]
        self.ops += [Store(place, value, op.where) for place, value in zip(places, after, strict=True)]

    def _renamed(self, operand: Operand, k: int) -> Operand:
        return self.names[k].get(operand, operand) if isinstance(operand, Value) else operand

    def _place(self, ref: Ref, k: int) -> Ref:
        return dataclasses.replace(ref, indices=tuple(self._renamed(i, k) for i in ref.indices))
