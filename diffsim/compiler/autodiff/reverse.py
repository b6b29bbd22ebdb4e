"""The adjoint of a stage: its values are recomputed, then its operations are visited backward.

The adjoint of a block recomputes the block's pure operations and loads (memory still holds what they read,
or it was kept elsewhere, since a kernel writes the place again), then adds up the adjoint of each value from
its uses. A loop that carries values records them on a tape while it is recomputed and reads them back while
it runs backward.
"""

from __future__ import annotations

from dataclasses import replace

from diffsim.compiler.autodiff.activity import active_values, free_values, touches
from diffsim.compiler.autodiff.calls import call_again
from diffsim.compiler.autodiff.expand import expanded
from diffsim.compiler.autodiff.flow import Adjoints, Flow, Scope
from diffsim.compiler.autodiff.given import check_stores, check_zeroing
from diffsim.compiler.autodiff.masks import all_zero, hazards, masked, nothing_there
from diffsim.compiler.autodiff.renaming import again, renamed, renamed_ref
from diffsim.compiler.autodiff.rules import contributions, differentiable
from diffsim.compiler.autodiff.simplify import simplify
from diffsim.compiler.autodiff.stored import Kept
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
    in_groups,
    is_float,
    walk,
)
from diffsim.errors import GradientError

__all__ = ["Reverser", "adjoint", "adjoints", "needed_loads"]


def adjoint(stage: Stage, real: str, name: str, kept: Kept | None = None) -> Stage:
    """Return the stage that takes the adjoints of what `stage` writes to the adjoints of what it reads.

    Args:
        stage: What to differentiate.
        real: The working precision, `f32` or `f64`.
        name: A prefix for the names of tapes, unique in the program.
        kept: Results that memory holds then; None for none.

    Raises:
        GradientError: A function has no known derivative.
    """
    if stage.adjoint is not None:
        return _with_given_adjoint(stage, stage.adjoint(), real, name)
    reverser = Reverser(stage, Builder(real), name, active_values(stage.body), kept)
    reverser.run()
    simplify(reverser.builder.block)
    return Stage(stage.name, stage.t, reverser.builder.block, stage.where, call=stage.call)


def needed_loads(stage: Stage, real: str) -> set[int]:
    """Return the identities of the loads of a stage whose values its adjoint needs.

    Args:
        stage: What is differentiated.
        real: The working precision, `f32` or `f64`.

    Raises:
        GradientError: A function has no known derivative.
    """
    if stage.adjoint is not None or stage.group is not None:
        return set()  # it has an adjoint of its own, which says what it needs
    reverser = Reverser(stage, Builder(real), "", active_values(stage.body))
    reverser.run()
    simplify(reverser.builder.block)
    left = (op.result for op in walk(reverser.builder.block) if isinstance(op, Load))
    return {id(load) for result in left for load in reverser.origins.get(result, [])}


def adjoints(stages: list[Stage], real: str, name: str, kept: Kept | None = None) -> list[Stage]:
    """Return the adjoints of stages; they run from the last to the first.

    The stages of a group have one adjoint together: what the user wrote, and behind it the zeroing of the
    adjoints of what they store.

    Args:
        stages: What to differentiate, in the order in which it runs.
        real: The working precision, `f32` or `f64`.
        name: A prefix for the names of tapes, unique in the program.
        kept: Results that memory holds then; see `kept_results`.

    Raises:
        GradientError: A function has no known derivative.
    """
    found: list[Stage] = []
    for group, members in in_groups(stages):
        if group is None:
            start = len(found)
            found += [adjoint(s, real, f"{name}{start + k}", kept) for k, s in enumerate(members)]
            continue
        check_stores(members, group.name)
        zeroing = [zero for zero in (_zeroing(stage, real, name) for stage in members) if _stores(zero)]
        check_zeroing(zeroing, group.name)
        made = [*zeroing, *reversed(group.adjoint())]
        found += [replace(stage, group=group) for stage in made]
    return found


def _with_given_adjoint(stage: Stage, given: Stage, real: str, name: str) -> Stage:
    """Return the adjoint that the user wrote, followed by zeroing the adjoints of what the kernel stores."""
    zeroing = _zeroing(stage, real, name)
    body = Block([*expanded(given).body.ops, *_renamed(zeroing, given.t).body.ops])
    return Stage(stage.name, given.t, body, given.where)


def _zeroing(stage: Stage, real: str, name: str) -> Stage:
    """Return the stage that zeroes the adjoints of what a stage stores."""
    reverser = Reverser(stage, Builder(real), name, set())
    reverser.run()
    simplify(reverser.builder.block)
    return expanded(Stage(stage.name, stage.t, reverser.builder.block, stage.where))


def _stores(stage: Stage) -> bool:
    return any(isinstance(op, Store) for op in walk(stage.body))


def _renamed(stage: Stage, t: Value) -> Stage:
    """Return a stage in terms of another name for the time."""
    call = Call("", [t], [stage.t], stage.body, [], lambda *_: ())
    return expanded(Stage(stage.name, t, Block([call])))


class Reverser:
    """Builds the adjoint of a stage.

    Args:
        stage: What to differentiate.
        b: Where the adjoint goes.
        name: A prefix for the names of tapes.
        active: The values that adjoints flow to.
        kept: Results that memory holds then.
        flow: Where adjoints of memory are.
    """

    def __init__(
        self,
        stage: Stage,
        b: Builder,
        name: str,
        active: set[Value],
        kept: Kept | None = None,
        flow: Flow | None = None,
    ) -> None:
        self.stage, self.name, self.active = stage, name, active
        self.builder, self.flow = b, flow or Flow()
        self.hazards = hazards(stage.body) if active else set()
        self.kept = kept or {}
        self.origins: dict[Operand, list[Load]] = {}
        self.tapes = 0

    def run(self) -> None:
        """Build the adjoint of the whole stage."""
        self.block(self.stage.body, Scope({self.stage.t: self.stage.t}), {})

    def block(self, block: Block, scope: Scope, seeds: Adjoints) -> None:
        """Build the adjoint of a block; `seeds` are the adjoints of some of its values."""
        self._recompute(block, scope)
        scope.adjoints.update(seeds)
        self._reverse(block, scope)

    # ---- the forward part ----

    def _recompute(self, block: Block, scope: Scope) -> None:
        for op in block.ops:
            self._recompute_op(op, scope)

    def _recompute_op(self, op: Op, scope: Scope) -> None:
        b, values = self.builder, scope.values
        if isinstance(op, Let):
            ref = self.kept.get(id(op))
            if ref is not None and all(i in values for i in ref.indices if isinstance(i, Value)):
                values[op.result] = b.load(renamed_ref(values, ref))
            else:
                values[op.result] = again(b, op, [renamed(values, a) for a in op.args], self.flow.twice)
        elif isinstance(op, Load):
            b.where = op.where
            found = b.load(renamed_ref(values, op.ref if op.kept is None else op.kept))
            values[op.result] = found
            self.origins.setdefault(found, []).append(op)
        elif isinstance(op, If):
            then, orelse = Block(), Block()
            for old, new in ((op.then, then), (op.orelse, orelse)):
                inner = Scope(dict(values))
                with b.inside(new):
                    self._recompute(old, inner)
                new.yields = [renamed(inner.values, y) for y in old.yields]
            for old_result, result in zip(
                op.results, b.branch(renamed(values, op.cond), then, orelse), strict=True
            ):
                values[old_result] = result
        elif isinstance(op, For):
            self._recompute_loop(op, scope)
        elif isinstance(op, Call) and self.flow.twice:
            call_again(b, op, values, scope.apart, lambda names: self._recompute(op.body, Scope(names)))
        elif isinstance(op, Call):
            inner = Scope(
                {**values, **dict(zip(op.params, (renamed(values, a) for a in op.args), strict=True))}
            )
            self._recompute(op.body, inner)
            for old_result, y in zip(op.results, op.body.yields, strict=True):
                values[old_result] = renamed(inner.values, y)

    def _recompute_loop(self, op: For, scope: Scope) -> None:
        """Recompute a loop; of one that may be left early, the iterations that it ran are counted."""
        b, values = self.builder, scope.values
        loop = self._loop_like(op, values)
        inner = Scope({**values, op.index: loop.index, **dict(zip(op.params, loop.params, strict=True))})
        with b.inside(loop.body, loop=True):
            self._recompute(op.body, inner)
            loop.body.yields = [renamed(inner.values, y) for y in op.body.yields]
            if op.early is not None:
                loop.left, count = loop.params[op.early], Value("i32")
                loop.inits.append(b.const(0))
                loop.params.append(count)
                loop.body.yields.append(b.op("add", count, b.const(1)))
        results = b.loop(loop)
        values.update(zip(op.results, results, strict=False))
        scope.loops[id(op)] = loop
        if op.early is not None:
            scope.counts[id(op)] = results[-1]

    def _loop_like(self, op: For, values: dict[Value, Operand]) -> For:
        inits = [renamed(values, i) for i in op.inits]
        loop = For(Value("i32"), renamed(values, op.start), renamed(values, op.stop), Block(), inits)
        loop.params = [Value(p.dtype) for p in op.params]
        loop.parallel, loop.descending, loop.where = op.parallel, op.descending, op.where
        return loop

    # ---- the backward part ----

    def _reverse(self, block: Block, scope: Scope) -> None:
        for op in reversed(block.ops):
            self.builder.where = getattr(op, "where", None)
            if isinstance(op, Let):
                self._reverse_let(op, scope)
            elif isinstance(op, Load):
                g = scope.adjoints.get(op.result)
                place = self._place(scope.values, op.ref) if g is not None else None
                if g is not None and place is not None:
                    self.builder.accumulate(place, g)
            elif isinstance(op, Store | Accumulate):
                self._reverse_write(op, scope)
            elif isinstance(op, If):
                self._reverse_if(op, scope)
            elif isinstance(op, Call):
                self._reverse_call(op, scope)
            else:
                self._reverse_for(op, scope)

    def _place(self, values: dict[Value, Operand], ref: Ref) -> Ref | None:
        target = self.flow.place(ref)
        return None if target is None else renamed_ref(values, target)

    def _add(self, adjoints: Adjoints, value: Operand, amount: Operand) -> None:
        if not isinstance(value, Value) or value not in self.active:
            return
        known = adjoints.get(value)
        amount = self.builder.cast(amount, value.dtype)
        adjoints[value] = amount if known is None else self.builder.op("add", known, amount)

    def _reverse_let(self, op: Let, scope: Scope) -> None:
        g = scope.adjoints.get(op.result)
        if g is None or not differentiable(op.fn, op.result.dtype):
            return
        args = tuple(renamed(scope.values, a) for a in op.args)
        try:
            shares = contributions(self.builder, op.fn, args, scope.values[op.result], g)
        except KeyError as error:
            raise GradientError(
                f"{op.where or self.stage.where}: function {op.fn} has no known derivative; write an adjoint "
                "of your own for it (ds.adjoint_of) [FUNCTION]"
            ) from error
        for argument, share in zip(op.args, shares, strict=True):
            if share is not None and isinstance(argument, Value) and argument in self.active:
                amount = share()
                if op.result in self.hazards:
                    amount = masked(self.builder, op.fn, g, amount, self.flow.twice)
                self._add(scope.adjoints, argument, amount)

    def _reverse_call(self, op: Call, scope: Scope) -> None:
        if not any(r in scope.adjoints for r in op.results):
            return
        b, values = self.builder, scope.values
        incoming = [
            scope.adjoints.get(r, b.const(0.0, r.dtype)) if is_float(r.dtype) else None for r in op.results
        ]
        args, results = ([renamed(values, v) for v in group] for group in (op.args, op.results))
        results = [scope.apart.get(r, known) for r, known in zip(op.results, results, strict=True)]
        amounts = [g for g in incoming if g is not None]
        risky = not self.hazards.isdisjoint(op.results)
        nothing = all_zero(b, amounts) if risky else None
        for argument, share in zip(op.args, op.adjoint(b, args, results, incoming), strict=True):
            if share is not None and argument in self.active:
                if nothing is not None:
                    share = nothing_there(b, nothing, share, self.flow.twice)
                self._add(scope.adjoints, argument, share)

    def _reverse_write(self, op: Store | Accumulate, scope: Scope) -> None:
        seed = self.flow.seeds.get(op.ref.buffer, 1.0 if op.ref.buffer.kind == "cost" else None)
        if seed is not None:
            self._add(scope.adjoints, op.value, self.builder.const(seed, op.value.dtype))
            return
        ref = self._place(scope.values, op.ref)
        if ref is None:
            return
        if isinstance(op.value, Value) and op.value in self.active:
            self._add(scope.adjoints, op.value, self.builder.load(ref))
        if isinstance(op, Store) and (not self.flow.twice or op.ref.buffer in self.flow.zeroed):
            self.builder.store(ref, self.builder.const(0.0, ref.buffer.dtype))

    def _reverse_if(self, op: If, scope: Scope) -> None:
        g = {k: scope.adjoints[r] for k, r in enumerate(op.results) if r in scope.adjoints}
        if not g and not touches(op):
            return
        b = self.builder
        free = [v for v in free_values(op) if v in self.active]
        blocks = []
        for old in (op.then, op.orelse):
            new = Block()
            with b.inside(new):
                inner = Scope(
                    dict(scope.values), {}, {v: scope.adjoints[v] for v in free if v in scope.adjoints}
                )
                self._recompute(old, inner)
                for k, amount in g.items():
                    self._add(inner.adjoints, old.yields[k], amount)
                self._reverse(old, inner)
                new.yields = [inner.adjoints.get(v, b.const(0.0, v.dtype)) for v in free]
            blocks.append(new)
        results = b.branch(renamed(scope.values, op.cond), *blocks)
        for value, result in zip(free, results, strict=True):
            scope.adjoints[value] = result

    def _reverse_for(self, op: For, scope: Scope) -> None:
        b = self.builder
        carried = [k for k, r in enumerate(op.results) if op.params[k] in self.active]
        if not touches(op) and not any(op.results[k] in scope.adjoints for k in carried):
            return
        free = [v for v in free_values(op) if v in self.active]
        loop = self._loop_like(op, scope.values)
        if id(op) in scope.counts:
            ran = b.op("add", loop.start, scope.counts[id(op)])
            loop.stop = b.op("min", loop.stop, ran) if self.flow.twice else ran  # a bound to be seen
        kept: list[Value] = [op.results[k] for k in carried] + free
        loop.inits = [scope.adjoints.get(v, b.const(0.0, v.dtype)) for v in kept]
        loop.params = [Value(v.dtype) for v in kept]
        loop.descending = not op.descending
        inner = Scope({**scope.values, op.index: loop.index})
        with b.inside(loop.body, loop=True):
            self._read_tape(op, scope, loop, inner)
            self._recompute(op.body, inner)
            inner.adjoints = dict(zip(free, loop.params[len(carried) :], strict=True))
            for k, g in zip(carried, loop.params, strict=False):
                self._add(inner.adjoints, op.body.yields[k], g)
            self._reverse(op.body, inner)
            ends = [op.params[k] for k in carried]
            loop.body.yields = [inner.adjoints.get(v, b.const(0.0, v.dtype)) for v in ends + free]
        results = b.loop(loop)
        for value, result in zip(free, results[len(carried) :], strict=True):
            scope.adjoints[value] = result
        for k, result in zip(carried, results, strict=False):
            self._add(scope.adjoints, op.inits[k], result)

    def _read_tape(self, op: For, scope: Scope, loop: For, inner: Scope) -> None:
        """Let the recomputed loop record what it carries and the backward loop read it."""
        b, forward = self.builder, scope.loops[id(op)]
        for param, taped in zip(op.params, forward.params, strict=False):
            self.tapes += 1
            tape = Buffer(f"tape_{self.name}_{self.tapes}", "tape", param.dtype, (0,), source=forward)
            recording = Builder(b.real)
            recording.store(Ref(tape, (recording.op("sub", forward.index, forward.start),)), taped)
            forward.body.ops[:0] = recording.block.ops
            inner.values[param] = b.load(Ref(tape, (b.op("sub", loop.index, loop.start),)))
