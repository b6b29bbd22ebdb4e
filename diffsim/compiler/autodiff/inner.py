"""Derivatives that are part of a step: of a function of a kernel, built where the kernel asks for it.

What is built is differentiated again by the rollout, so it must not write memory, tapes included. Reverse
mode builds none where no loop carries what its adjoint needs; elsewhere forward mode takes one derivative
after another, which costs as many times the function as there are numbers to differentiate by.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffsim.compiler.autodiff.activity import active_values, free_values
from diffsim.compiler.autodiff.flow import Flow, Scope
from diffsim.compiler.autodiff.forward import Forward
from diffsim.compiler.autodiff.reverse import Reverser
from diffsim.compiler.autodiff.simplify import simplify
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Block, Const, If, Load, Operand, Stage, Store, Value, walk

__all__ = ["derivatives"]


def derivatives(b: Builder, stage: Stage, inputs: Sequence[Value], given: Sequence[Operand]) -> list[Operand]:
    """Build the derivatives of the number that a block yields, by each of its inputs.

    Args:
        b: Where they go.
        stage: Its body computes a number from the inputs and from values of the blocks around it; it reads
            memory, and writes none.
        inputs: What the body calls what it is differentiated by.
        given: What they are.

    Raises:
        GradientError: A function has no known derivative.
    """
    [result] = stage.body.yields
    if not isinstance(result, Value):
        return [b.const(0.0, v.dtype) for v in inputs]
    block = Block()
    for build in (_backward, _forward):
        block = Block()
        with b.inside(block, loop=True):
            block.yields = build(b, stage, inputs, given)
        simplify(block)
        if not any(isinstance(op, Store) for op in walk(block)):
            break
    for op in block.ops:
        b.append(op)
    return block.yields


def _names(stage: Stage, inputs: Sequence[Value], given: Sequence[Operand]) -> dict[Value, Operand]:
    outside = free_values(If(Const(True, "u1"), stage.body, Block()))
    return {**{v: v for v in outside}, **dict(zip(inputs, given, strict=True))}


def _nothing(op: Load) -> bool:
    return False


def _backward(b: Builder, stage: Stage, inputs: Sequence[Value], given: Sequence[Operand]) -> list[Operand]:
    [result] = stage.body.yields
    assert isinstance(result, Value)  # noqa: S101  (the caller looked)
    active = active_values(stage.body, _nothing, inputs)
    reverser = Reverser(stage, b, "", active, flow=Flow(lambda ref: None, twice=True))
    scope = Scope(_names(stage, inputs, given))
    reverser.block(stage.body, scope, {result: b.const(1.0, result.dtype)})
    return [scope.adjoints.get(v, b.const(0.0, v.dtype)) for v in inputs]


def _forward(b: Builder, stage: Stage, inputs: Sequence[Value], given: Sequence[Operand]) -> list[Operand]:
    [result] = stage.body.yields
    assert isinstance(result, Value)  # noqa: S101  (the caller looked)
    active = active_values(stage.body, _nothing, inputs)
    found: list[Operand] = []
    for one in inputs:
        dots: dict[Value, Operand] = {one: b.const(1.0, one.dtype)}
        Forward(stage, b, {}, active, twice=True).block(stage.body, _names(stage, inputs, given), dots)
        found.append(b.cast(dots.get(result, b.const(0.0, result.dtype)), one.dtype))
    return found
