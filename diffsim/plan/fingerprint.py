"""A program's operations as text that is the same for equal programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    blocks_of,
)

__all__ = ["fingerprint", "lines"]


def fingerprint(stage: Stage) -> int:
    """Return a number that is the same for stages that do the same with the same memory."""
    return hash("".join(lines(stage.body, {stage.t: 0})))


def lines(block: Block, numbers: dict[Value, int]) -> Iterator[str]:
    """Tell a block's operations as text that is the same for equal programs.

    Args:
        block: The operations.
        numbers: What values are called; those that are new are added.
    """

    def name(operand: Operand) -> str:
        if isinstance(operand, Const):
            return f"{operand.value!r}:{operand.dtype}"
        return f"%{numbers.setdefault(operand, len(numbers))}:{operand.dtype}"

    def place(ref: Ref) -> str:
        return f"{_buffer(ref.buffer)}[{' '.join(map(name, ref.indices))}].{ref.component}@{ref.time}"

    def names(operands: Sequence[Operand]) -> str:
        return " ".join(map(name, operands))

    def line(op: Op) -> str:
        if isinstance(op, Let):
            return f"let {name(op.result)} {op.fn} {names(op.args)}"
        if isinstance(op, Load):
            return f"load {name(op.result)} {place(op.ref)}"
        if isinstance(op, Store | Accumulate):
            return f"{type(op).__name__} {place(op.ref)} {name(op.value)}"
        if isinstance(op, For):
            head = names([op.index, op.start, op.stop, *op.inits, *op.params, *op.results])
            return f"for {head} {op.parallel} {op.descending} {op.early}"
        if isinstance(op, If):
            return f"if {name(op.cond)} {names(op.results)}"
        return f"call {names([*op.args, *op.params, *op.results])}"

    for op in block.ops:
        yield line(op) + "\n"
        for inner in blocks_of(op):
            yield from lines(inner, numbers)
    yield f"yield {names(block.yields)}\n"


def _buffer(buffer: Buffer) -> str:
    laid = "" if buffer.arrangement is None else f" {buffer.arrangement}"
    return f"{buffer.name} {buffer.kind} {buffer.dtype} {buffer.shape} {buffer.per_world}{laid}"
