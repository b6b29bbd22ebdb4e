"""Measuring the adjoint of the States in every step, inside the launches of the backward pass."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.builder import Builder
from diffsim.compiler.codegen.layout import rounded
from diffsim.compiler.codegen.stages import StageSet, adjoint_of
from diffsim.compiler.ir import Buffer, Operand, Ref, Stage, Value
from diffsim.compiler.program.copying import over_elements

__all__ = ["measuring", "norms_buffer", "norms_of"]

# Squares of very large and of very small numbers are summed apart, scaled, since they would leave the range
# of 64 bits (Blue 1978, "A portable Fortran program to find the Euclidean norm of a vector").
_LARGE, _SMALL = 1e100, 1e-100
_SCALE_LARGE, _SCALE_SMALL = 1e-160, 1e200


def norms_buffer(steps: int) -> Buffer:
    """Return where the sums of squared adjoints go, with room for other horizons, whose kernels are the same.

    Args:
        steps: The horizon.
    """
    return Buffer("adjoint_norms", "norms", "f64", (rounded(steps + 1),), 3)


def measuring(stages: StageSet, norms: Buffer) -> StageSet:
    """Return stages that also sum the squared adjoint of all States at each step.

    Behind the adjoints of step `t`, the adjoint of `x[t]` is the derivative of what the cost gets from step
    `t` on; behind those of the terminal cost, that of `x[steps]` is complete.

    Args:
        stages: A program and its adjoints.
        norms: Where the sums go.
    """
    # adjoint stages run last to first: what is first here runs behind the others
    extra = [_sum_stage(stages, norms), _zero_stage(norms)]
    return dataclasses.replace(
        stages, step_adj=[*extra, *stages.step_adj], terminal_adj=[*extra, *stages.terminal_adj]
    )


def norms_of(sums: list[NDArray[np.float64]], steps: int) -> NDArray[np.float64]:
    """Return the lengths from the three sums of squares: of small, ordinary and large numbers."""
    small, ordinary, large = (np.sqrt(part[:, : steps + 1]) for part in sums)
    with np.errstate(over="ignore"):  # infinity is what it is then
        length: NDArray[np.float64] = np.hypot(np.hypot(small / _SCALE_SMALL, ordinary), large / _SCALE_LARGE)
    return length


def _zero_stage(norms: Buffer) -> Stage:
    t, b = Value("i32"), Builder("f64")
    for k in range(norms.components):
        b.store(Ref(norms, (t,), k), b.const(0.0, "f64"))
    return Stage("zero the sum of squared adjoints", t, b.block)


def _sum_stage(stages: StageSet, norms: Buffer) -> Stage:
    t, b = Value("i32"), Builder("f64")
    zero = b.const(0.0, "f64")

    def scaled(a: Operand, factor: float) -> Operand:
        a = b.op("mul", a, b.const(factor, "f64"))
        return b.op("mul", a, a)

    states = [*stages.lowered.constant_reals, *stages.lowered.passing]
    wide = any(state.dtype == "f64" for state in states)  # squares of f32 fit as they are

    for state in states:
        adjoint = adjoint_of(state)

        def add(indices: tuple[Operand, ...], adjoint: Buffer = adjoint) -> None:
            for c in range(adjoint.components):
                a = b.cast(b.load(Ref(adjoint, indices, c, 0)), "f64")
                if not wide:
                    b.accumulate(Ref(norms, (t,), 1), b.op("mul", a, a))
                    continue
                size = b.op("abs", a)
                large = b.op("gt", size, b.const(_LARGE, "f64"))
                small = b.op("lt", size, b.const(_SMALL, "f64"))
                middle = b.op("select", b.op("or", large, small), zero, a)
                b.accumulate(Ref(norms, (t,), 0), scaled(b.op("select", small, a, zero), _SCALE_SMALL))
                b.accumulate(Ref(norms, (t,), 1), b.op("mul", middle, middle))
                b.accumulate(Ref(norms, (t,), 2), scaled(b.op("select", large, a, zero), _SCALE_LARGE))

        over_elements(b, adjoint.shape, add)
    return Stage("sum the squared adjoints", t, b.block)
