"""Removing what a block does not need: unused values, tapes that nobody reads, values carried for nothing."""

from __future__ import annotations

from diffsim.compiler.ir import (
    Block,
    Buffer,
    Call,
    For,
    If,
    Let,
    Load,
    Op,
    Operand,
    Store,
    Value,
    blocks_of,
    operands_of,
)

__all__ = ["drop_unused", "keep_carried", "keep_results"]


def drop_unused(block: Block) -> None:
    """Drop, in place, every operation, result and carried value that no write to memory needs."""
    needs = _Needs()
    needs.values.update(y for y in block.yields if isinstance(y, Value))
    needs.block(block)
    _sweep(block, needs)


class _Needs:
    """What is needed, found by going through operations from the last to the first."""

    def __init__(self) -> None:
        self.values: set[Value] = set()
        self.ops: set[int] = set()
        self.tapes: set[Buffer] = set()

    def block(self, block: Block) -> bool:
        """Mark what a block needs; tell whether any of it is needed."""
        found = False
        for op in reversed(block.ops):
            if self._op(op):
                self.ops.add(id(op))
                found = True
        return found

    def carried(self, op: For) -> list[int]:
        """Return the positions of the carried values of a loop that are needed."""
        pairs = enumerate(zip(op.params, op.results, strict=True))
        return [k for k, (param, result) in pairs if param in self.values or result in self.values]

    def results(self, op: If | Call) -> list[int]:
        """Return the positions of the results that are needed."""
        return [k for k, result in enumerate(op.results) if result in self.values]

    def _use(self, *operands: Operand) -> None:
        self.values.update(o for o in operands if isinstance(o, Value))

    def _op(self, op: Op) -> bool:
        if isinstance(op, Let | Load):
            if op.result not in self.values:
                return False
            if isinstance(op, Load) and op.ref.buffer.kind == "tape":
                self.tapes.add(op.ref.buffer)
        elif isinstance(op, Store) and op.ref.buffer.kind == "tape":
            if op.ref.buffer not in self.tapes:
                return False
        elif isinstance(op, For):
            return self._loop(op)
        elif isinstance(op, If | Call):
            return self._choice(op)
        self._use(*operands_of(op))
        return True

    def _loop(self, op: For) -> bool:
        kept = self.carried(op)
        while True:  # a carried value may be needed only by what another one needs in the next iteration
            self._use(*(op.body.yields[k] for k in kept))
            inside = self.block(op.body)
            if self.carried(op) == kept:
                break
            kept = self.carried(op)
        if not inside and not kept:
            return False
        if op.early is not None and op.early not in kept:  # what tells when it is over is needed with it
            self._use(op.params[op.early])
            return self._loop(op)
        self._use(op.start, op.stop, *(op.inits[k] for k in kept))
        return True

    def _choice(self, op: If | Call) -> bool:
        kept = self.results(op)
        if kept and isinstance(op, Call):  # its adjoint takes all of them
            kept = list(range(len(op.results)))
        for block in blocks_of(op):
            self._use(*(block.yields[k] for k in kept))
        inside = [self.block(block) for block in blocks_of(op)]
        if not any(inside) and not kept:
            return False
        self._use(*operands_of(op))
        return True


def _sweep(block: Block, needs: _Needs) -> None:
    block.ops = [op for op in block.ops if id(op) in needs.ops]
    for op in block.ops:
        if isinstance(op, For):
            keep_carried(op, needs.carried(op))
        elif isinstance(op, If):
            keep_results(op, needs.results(op))
        for inner in blocks_of(op):
            _sweep(inner, needs)


def keep_carried(op: For, kept: list[int]) -> None:
    """Drop the carried values of a loop but those at some positions."""
    op.params = [op.params[k] for k in kept]
    op.inits = [op.inits[k] for k in kept]
    op.results = [op.results[k] for k in kept]
    op.body.yields = [op.body.yields[k] for k in kept]


def keep_results(op: If, kept: list[int]) -> None:
    """Drop the results of a branch but those at some positions."""
    op.results = [op.results[k] for k in kept]
    for block in blocks_of(op):
        block.yields = [block.yields[k] for k in kept]
