"""The tangent of a stage: its values and their derivatives along one direction, computed together.

The derivative of `y = f(a, b)` along a direction is `f_a da + f_b db`. The rules of reverse mode give, from
the adjoint `g` of `y`, the shares `g f_a` and `g f_b`. They are linear in `g`, so the same rules with `da`
and `db` in its place give the terms of the sum: both modes share one table of partial derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffsim.compiler.autodiff.activity import active_values
from diffsim.compiler.autodiff.calls import call_again
from diffsim.compiler.autodiff.expand import expanded
from diffsim.compiler.autodiff.masks import masked
from diffsim.compiler.autodiff.renaming import again, renamed, renamed_ref
from diffsim.compiler.autodiff.rules import contributions
from diffsim.compiler.autodiff.simplify import simplify
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
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
)
from diffsim.errors import GradientError

__all__ = ["Forward", "tangent"]

Names = dict[Value, Operand]


def tangent(stage: Stage, real: str, tangents: Mapping[Buffer, Buffer]) -> Stage:
    """Return the stage that does what `stage` does, and the same to the tangents of what it reads and writes.

    Adjoints that a user gave are not looked at: their functions' own bodies are differentiated. Those of
    primitives, whose bodies have no derivative of use, give the derivative in forward mode too.

    Args:
        stage: What to differentiate.
        real: The working precision, `f32` or `f64`.
        tangents: The buffer beside each buffer that gradients flow through, the cost among them.

    Raises:
        GradientError: A function has no known derivative.
    """
    plain = expanded(stage, primitives=False)
    forward = Forward(plain, Builder(real), tangents, active_values(plain.body))
    forward.block(plain.body, {plain.t: plain.t}, {})
    simplify(forward.builder.block)
    return Stage(plain.name, plain.t, forward.builder.block, plain.where)


class Forward:
    """Builds values under their new names, and the tangents of those that depend on the direction.

    Args:
        stage: What to differentiate.
        b: Where it goes.
        tangents: The buffer beside each buffer that gradients flow through.
        active: The values that may depend on the direction.
        twice: What is built is part of a step, and is differentiated again.
    """

    def __init__(
        self,
        stage: Stage,
        b: Builder,
        tangents: Mapping[Buffer, Buffer],
        active: set[Value],
        twice: bool = False,
    ) -> None:
        self.stage, self.builder, self.tangents, self.active = stage, b, tangents, active
        self.twice = twice

    def block(self, block: Block, values: Names, dots: Names) -> None:
        """Build a block again, with tangents; `values` and `dots` are added to."""
        for op in block.ops:
            self.builder.where = getattr(op, "where", None)
            self._op(op, values, dots)

    def _op(self, op: Op, values: Names, dots: Names) -> None:
        if isinstance(op, Let):
            self._let(op, values, dots)
        elif isinstance(op, Load):
            ref = renamed_ref(values, op.ref)
            values[op.result] = self.builder.load(ref)
            beside = self._beside(ref)
            if op.result in self.active and beside is not None:
                dots[op.result] = self.builder.load(beside)
        elif isinstance(op, Store | Accumulate):
            self._write(op, values, dots)
        elif isinstance(op, If):
            self._if(op, values, dots)
        elif isinstance(op, For):
            self._for(op, values, dots)
        else:
            self._call(op, values, dots)

    def _let(self, op: Let, values: Names, dots: Names) -> None:
        b = self.builder
        args = tuple(renamed(values, a) for a in op.args)
        result = values[op.result] = again(b, op, list(args), self.twice)
        if op.result not in self.active:
            return
        total: Operand | None = None
        for k, argument in enumerate(op.args):
            dot = dots.get(argument) if isinstance(argument, Value) else None
            share = self._share(op, args, result, dot, k) if dot is not None else None
            if share is not None:
                total = share if total is None else b.op("add", total, share)
        if total is not None:
            dots[op.result] = total

    def _share(
        self, op: Let, args: tuple[Operand, ...], result: Operand, dot: Operand, k: int
    ) -> Operand | None:
        """Return the part of a result's tangent that comes from its argument `k`."""
        try:
            share = contributions(self.builder, op.fn, args, result, dot)[k]
        except KeyError as error:
            raise GradientError(
                f"{self.stage.where}: function {op.fn} has no known derivative; use others"
            ) from error
        if share is None:
            return None
        return self.builder.cast(masked(self.builder, op.fn, dot, share(), self.twice), op.result.dtype)

    def _write(self, op: Store | Accumulate, values: Names, dots: Names) -> None:
        b = self.builder
        ref = renamed_ref(values, op.ref)
        write = b.store if isinstance(op, Store) else b.accumulate
        write(ref, renamed(values, op.value))
        beside = self._beside(ref)
        dot = dots.get(op.value) if isinstance(op.value, Value) else None
        if beside is not None and (dot is not None or isinstance(op, Store)):
            write(beside, b.const(0.0, beside.buffer.dtype) if dot is None else dot)

    def _beside(self, ref: Ref) -> Ref | None:
        """Return the place of the tangent of what is at a place."""
        buffer = self.tangents.get(ref.buffer)
        return None if buffer is None else Ref(buffer, ref.indices, ref.component, ref.time)

    def _dots(self, dots: Names, of: list[Operand]) -> list[Operand]:
        """Return the tangents of some operands, zero where they do not depend on the direction."""
        found = [dots.get(o) if isinstance(o, Value) else None for o in of]
        return [
            self.builder.const(0.0, o.dtype) if dot is None else dot for o, dot in zip(of, found, strict=True)
        ]

    def _if(self, op: If, values: Names, dots: Names) -> None:
        b = self.builder
        active = [k for k, r in enumerate(op.results) if r in self.active]
        blocks = []
        for old in (op.then, op.orelse):
            new, inner_values, inner_dots = Block(), dict(values), dict(dots)
            with b.inside(new):
                self.block(old, inner_values, inner_dots)
                ends = self._dots(inner_dots, [old.yields[k] for k in active])
                new.yields = [renamed(inner_values, y) for y in old.yields] + ends
            blocks.append(new)
        results = b.branch(renamed(values, op.cond), *blocks)
        values.update(zip(op.results, results, strict=False))
        dots.update(zip((op.results[k] for k in active), results[len(op.results) :], strict=True))

    def _for(self, op: For, values: Names, dots: Names) -> None:
        b = self.builder
        active = [k for k, p in enumerate(op.params) if p in self.active]
        count = len(op.params)
        inits = [renamed(values, i) for i in op.inits] + self._dots(dots, [op.inits[k] for k in active])
        loop = For(Value("i32"), renamed(values, op.start), renamed(values, op.stop), Block(), inits)
        loop.params = [Value(p.dtype) for p in op.params] + [Value(op.params[k].dtype) for k in active]
        loop.parallel, loop.descending, loop.where = op.parallel, op.descending, op.where
        if op.early is not None:
            loop.left = loop.params[op.early]
        inner_values: Names = {**values, op.index: loop.index}
        inner_values.update(zip(op.params, loop.params, strict=False))
        inner_dots = {**dots, **dict(zip((op.params[k] for k in active), loop.params[count:], strict=True))}
        with b.inside(loop.body, loop=True):
            self.block(op.body, inner_values, inner_dots)
            ends = self._dots(inner_dots, [op.body.yields[k] for k in active])
            loop.body.yields = [renamed(inner_values, y) for y in op.body.yields] + ends
        results = b.loop(loop)
        values.update(zip(op.results, results, strict=False))
        dots.update(zip((op.results[k] for k in active), results[count:], strict=True))

    def _call(self, op: Call, values: Names, dots: Names) -> None:
        """Take the derivative of each result along the direction from the adjoint for that result alone.

        A loop over the results sums `argument adjoint * argument tangent` for one of them at a time.
        """
        b = self.builder
        args = [renamed(values, a) for a in op.args]
        apart: Names = {}
        if self.twice:
            call_again(b, op, values, apart, lambda names: self.block(op.body, names, {}))
        else:
            inner: Names = {**values, **dict(zip(op.params, args, strict=True))}
            self.block(op.body, inner, {})
            values.update({r: renamed(inner, y) for r, y in zip(op.results, op.body.yields, strict=True)})
        moving = {k: dots[a] for k, a in enumerate(op.args) if isinstance(a, Value) and a in dots}
        active = [r for r in op.results if r in self.active]
        if not moving or not active:
            return

        def derivative(chosen: dict[Value, Operand]) -> Operand:
            ones = [
                b.op("select", chosen[r], b.const(1.0, r.dtype), b.const(0.0, r.dtype))
                if r in chosen
                else None
                for r in op.results
            ]
            shares = op.adjoint(b, args, [apart.get(r, values[r]) for r in op.results], ones)
            total: Operand = b.const(0.0)
            for k, dot in moving.items():
                share = shares[k]
                total = total if share is None else b.op("add", total, b.op("mul", share, dot))
            return total

        if len(active) == 1:
            dots[active[0]] = b.cast(derivative({active[0]: b.const(True)}), active[0].dtype)
            return
        loop = For(Value("i32"), b.const(0), b.const(len(active)), Block())
        loop.inits = [b.const(0.0, r.dtype) for r in active]
        loop.params = [Value(r.dtype) for r in active]
        with b.inside(loop.body, loop=True):
            chosen = {r: b.op("eq", loop.index, b.const(k)) for k, r in enumerate(active)}
            total = derivative(chosen)
            loop.body.yields = [
                b.op("select", chosen[r], b.cast(total, r.dtype), p)
                for r, p in zip(active, loop.params, strict=True)
            ]
        dots.update(zip(active, b.loop(loop), strict=True))
