"""Moving what stands beside loops into them, so that the threads of a GPU can share a stage.

`k = self.k[None]` before a loop, or the sum that the adjoint of such a line carries through the loop and adds
to the gradient of `k` behind it, would make the stage one thread's work. Values are computed again by each
iteration; what is done behind a loop to a sum that it carries is linear, so that each iteration can do it to
its own share, and add that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Const,
    For,
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

__all__ = ["sunk"]

Slot = tuple[Buffer, "int | None"]


class _Unlike(Exception):
    """The stage has another form."""


def sunk(stage: Stage) -> Stage:
    """Return a stage that consists of loops alone where it can; else the stage itself."""
    ops = stage.body.ops
    loops = [op for op in ops if isinstance(op, For)]
    if not loops or all(op in loops and not op.params for op in ops):
        return stage
    try:
        return replace(stage, body=Block(_Sinking(ops).loops()))
    except _Unlike:
        return stage


def _require(condition: bool) -> None:
    if not condition:
        raise _Unlike


class _Sinking:
    """The top level of a stage.

    Args:
        ops: Its operations.
    """

    def __init__(self, ops: list[Op]) -> None:
        self._ops = ops
        self._carried: set[Value] = set()  # what depends on what loops carry
        self._free: dict[Value, Op] = {}
        written = {_slot(o) for op in ops for o in walk(Block([op])) if isinstance(o, Store | Accumulate)}
        touched = {_slot(o) for op in ops for o in walk(Block([op])) if isinstance(o, Store | Load)}
        for op in ops:
            if isinstance(op, For):
                _require(op.parallel and op.left is None and _known_bounds(op))
                _require(all(_is_zero(init) or init in self._carried for init in op.inits))
                inside = (o for inner in walk(op.body) for o in operands_of(inner))
                _require(self._carried.isdisjoint([*_values(inside), *_values([op.start, op.stop])]))
                self._carried.update(op.results)
                continue
            depends = not self._carried.isdisjoint(_values(operands_of(op)))
            if isinstance(op, Accumulate):
                _require(depends and self._carried.isdisjoint(_values(op.ref.indices)))
                _require(_slot(op) not in touched)
                continue
            _require(isinstance(op, Let) or (isinstance(op, Load) and not op.claim))
            if isinstance(op, Load):
                _require(not depends and _slot(op) not in written)
            (result,) = results_of(op)
            if depends:
                self._carried.add(result)
            else:
                self._free[result] = op

    def loops(self) -> list[Op]:
        """Return the loops with all that stood beside them."""
        return [self._loop(k, op) for k, op in enumerate(self._ops) if isinstance(op, For)]

    def _loop(self, position: int, loop: For) -> For:
        nest, shares = [loop], dict(zip(loop.params, loop.results, strict=True))
        while len(nest[-1].body.ops) == 1 and isinstance(nest[-1].body.ops[0], For):
            inner = nest[-1].body.ops[0]
            if not inner.parallel or not _known_bounds(inner):  # what it depends on can go into it
                break
            _require(inner.left is None and inner.inits == nest[-1].params)
            _require(nest[-1].body.yields == inner.results)
            shares = dict(zip(inner.params, shares.values(), strict=True))
            nest.append(inner)
        body = _without_sums(nest[-1])
        share: dict[Operand, Operand] = dict(zip(shares.values(), nest[-1].body.yields, strict=True))
        body += self._behind(position, share)
        body = self._needed(Block(body)) + body
        made = loop
        for one in reversed(nest):
            made = replace(one, body=Block(body), inits=[], params=[], results=[])
            body = [made]
        return made

    def _behind(self, position: int, share: dict[Operand, Operand]) -> list[Op]:
        """Return what is done to the shares of an iteration behind the loop at a position."""
        made: list[Op] = []
        for op in self._ops[position + 1 :]:
            if isinstance(op, For):
                pairs = zip(op.inits, op.results, strict=True)
                share.update({result: share[init] for init, result in pairs if init in share})
            elif isinstance(op, Let) and any(a in share for a in op.args):
                own = self._share_of(op, share)
                made.append(own)
                share[op.result] = own.result
            elif isinstance(op, Accumulate) and op.value in share:
                made.append(replace(op, value=share[op.value]))
        return made

    def _share_of(self, op: Let, share: dict[Operand, Operand]) -> Let:
        """Return what a linear operation makes of an iteration's share; of others there is none."""
        zero = Const(0.0, op.result.dtype)
        carried = [isinstance(a, Value) and a in self._carried for a in op.args]
        shared = [known or _is_zero(a) for a, known in zip(op.args, carried, strict=True)]
        _require(
            (op.fn in ("add", "sub", "neg", "cast_f32", "cast_f64") and all(shared))
            or (op.fn == "mul" and sum(carried) == 1)
            or (op.fn == "div" and carried == [True, False])
            or (op.fn == "select" and not carried[0] and all(shared[1:]))
        )
        args = [share.get(a, zero) if known else a for a, known in zip(op.args, carried, strict=True)]
        return Let(Value(op.result.dtype), op.fn, tuple(args), op.where)

    def _needed(self, body: Block) -> list[Op]:
        """Return the values from beside the loops that a body uses, in order."""
        wanted = set(_values(o for op in walk(body) for o in operands_of(op)))
        wanted.update(_values(y for op in walk(body) for b in blocks_of(op) for y in b.yields))
        for result in reversed(self._free):
            if result in wanted:
                wanted.update(_values(operands_of(self._free[result])))
        return [op for result, op in self._free.items() if result in wanted]


def _without_sums(loop: For) -> list[Op]:
    """Return the body of a loop that carries sums alone, each begun anew in each iteration."""
    inside = list(walk(loop.body))
    uses = Counter(_values(o for op in inside for o in operands_of(op)))
    uses.update(_values(y for op in inside for b in blocks_of(op) for y in b.yields))
    uses.update(_values(loop.body.yields))
    made = list(loop.body.ops)
    place = {op.result: k for k, op in enumerate(made) if isinstance(op, Let)}
    for param, end in zip(loop.params, loop.body.yields, strict=True):
        chain = end
        while True:
            _require(isinstance(chain, Value) and chain in place and uses[chain] == 1)
            let = made[place[chain]]  # type: ignore[index]
            assert isinstance(let, Let)  # noqa: S101  (it was found among them)
            _require(let.fn == "add")
            if param in let.args:
                break
            chain = let.args[0]
        _require(uses[param] == 1)
        args = tuple(Const(0.0, param.dtype) if a is param else a for a in let.args)
        made[place[let.result]] = replace(let, args=args)
    return made


def _values(operands: Iterable[Operand]) -> list[Value]:
    return [o for o in operands if isinstance(o, Value)]


def _slot(op: Load | Store | Accumulate) -> Slot:
    return op.ref.buffer, op.ref.time


def _known_bounds(op: For) -> bool:
    return isinstance(op.start, Const) and isinstance(op.stop, Const)


def _is_zero(operand: Operand) -> bool:
    return isinstance(operand, Const) and operand.value == 0
