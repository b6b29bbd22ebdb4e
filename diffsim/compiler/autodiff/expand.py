"""Replacing calls whose adjoint the user gave by their bodies, once nothing is left to differentiate."""

from __future__ import annotations

import dataclasses
from typing import Any

from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Call,
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
    walk,
)

__all__ = ["Copier", "Names", "Renamer", "called", "expanded"]

Names = dict[Value, Operand]


def expanded(stage: Stage, primitives: bool = True) -> Stage:
    """Return a stage that computes the same without calls; it is the stage itself where there are none.

    Args:
        stage: What to copy.
        primitives: Expand calls of primitives too.
    """
    if not any(isinstance(op, Call) for op in walk(stage.body)):
        return stage
    return dataclasses.replace(stage, body=_Expander(primitives).block(stage.body, {}))


class Copier:
    """Copies blocks, with other names for some of the values that they use."""

    def block(self, block: Block, names: Names) -> Block:
        """Return a copy of a block; `names` tells, and is told, what values are called in it."""
        ops = self.ops(block, names)
        return Block(ops, [called(y, names) for y in block.yields])

    def ops(self, block: Block, names: Names) -> list[Op]:
        """Return copies of the operations of a block."""
        return [self.copy(op, names) for op in block.ops]

    def copy(self, op: Op, names: Names) -> Op:
        """Return a copy of an operation, whose results keep their names."""
        changes: dict[str, Any] = {}
        if isinstance(op, Let):
            changes["args"] = tuple(called(a, names) for a in op.args)
        elif isinstance(op, Load):
            changes["ref"] = _called_ref(op.ref, names)
            changes["kept"] = None if op.kept is None else _called_ref(op.kept, names)
        elif isinstance(op, Store | Accumulate):
            changes.update(ref=_called_ref(op.ref, names), value=called(op.value, names))
        elif isinstance(op, For):
            changes.update(start=called(op.start, names), stop=called(op.stop, names))
            changes.update(inits=[called(i, names) for i in op.inits], body=self.block(op.body, names))
        elif isinstance(op, If):
            changes.update(cond=called(op.cond, names))
            changes.update(then=self.block(op.then, names), orelse=self.block(op.orelse, names))
        else:
            changes.update(args=[called(a, names) for a in op.args], body=self._body(op, names))
        return dataclasses.replace(op, **changes)

    def _body(self, op: Call, names: Names) -> Block:
        return self.block(op.body, names)


class Renamer(Copier):
    """Copies blocks as other values: what is copied and its copy can stand in one kernel."""

    def copy(self, op: Op, names: Names) -> Op:
        """Return a copy of an operation, with new results."""
        changes: dict[str, Any] = {}
        if isinstance(op, For):
            changes["index"] = self._new(op.index, names)
            changes["params"] = [self._new(p, names) for p in op.params]
            changes["left"] = None if op.left is None else names.get(op.left)
        elif isinstance(op, Call):
            changes["params"] = [self._new(p, names) for p in op.params]
        new = dataclasses.replace(super().copy(op, names), **changes)
        if isinstance(new, Let | Load):
            new.result = self._new(new.result, names)
        elif isinstance(new, For | If | Call):
            new.results = [self._new(r, names) for r in new.results]
        return new

    def _new(self, value: Value, names: Names) -> Value:
        names[value] = made = Value(value.dtype)
        return made


class _Expander(Copier):
    def __init__(self, primitives: bool) -> None:
        self.primitives = primitives

    def ops(self, block: Block, names: Names) -> list[Op]:
        ops: list[Op] = []
        for op in block.ops:
            if isinstance(op, Call) and (self.primitives or not op.primitive):
                names.update(zip(op.params, [called(a, names) for a in op.args], strict=True))
                ops += self.ops(op.body, names)
                names.update(zip(op.results, [called(y, names) for y in op.body.yields], strict=True))
            else:
                ops.append(self.copy(op, names))
        return ops

    def _body(self, op: Call, names: Names) -> Block:
        return _Expander(True).block(op.body, names)


def called(operand: Operand, names: Names) -> Operand:
    """Return what an operand is called in a copy, which may be what it is called already."""
    return names.get(operand, operand) if isinstance(operand, Value) else operand


def _called_ref(ref: Ref, names: Names) -> Ref:
    return dataclasses.replace(ref, indices=tuple(called(i, names) for i in ref.indices))
