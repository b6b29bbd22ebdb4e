"""Stages run operation by operation in NumPy, and random ones to run: what a pass must not change."""

import operator

import numpy as np

from diffsim.compiler.builder import Builder
from diffsim.compiler.interpret import FUNCTIONS
from diffsim.compiler.ir import Accumulate, Block, Buffer, Const, For, If, Let, Load, Ref, Stage, Store, Value

ROWS, LENGTH = 3, 35  # eight groups of four, and a rest
QUICK = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "min": min}


def slots(stages):
    """Return, for each buffer, time and component in stages, an array of random numbers."""
    from diffsim.compiler.ir import walk

    rng = np.random.default_rng(0)
    refs = [op.ref for s in stages for op in walk(s.body) if isinstance(op, Load | Store | Accumulate)]
    keys = dict.fromkeys((r.buffer, r.time, r.component) for r in refs)
    return {key: rng.uniform(0.5, 1.5, key[0].shape) for key in keys}


def run(stage, memory, shuffled=False):
    """Return what a stage makes of memory; with the iterations of loops that say they may in any order."""
    memory = {key: array.copy() for key, array in memory.items()}
    values = {stage.t: 3}

    def get(operand):
        return operand.value if isinstance(operand, Const) else values[operand]

    def place(ref):
        array = memory[ref.buffer, ref.time, ref.component]
        index = tuple(int(get(i)) for i in ref.indices)
        assert all(0 <= i < n for i, n in zip(index, array.shape, strict=True)), (ref, index)
        return array, index

    def compute(op):
        args = [get(a) for a in op.args]
        if op.fn == "select":
            return args[1] if args[0] else args[2]
        if op.fn in ("stop", "inside"):
            return args[0]
        return (QUICK.get(op.fn) or FUNCTIONS[op.fn])(*args)

    def block(ops):
        for op in ops.ops:
            if isinstance(op, Let):
                values[op.result] = compute(op)
            elif isinstance(op, Load):
                array, index = place(op.ref)
                values[op.result] = array[index].item()
            elif isinstance(op, Store | Accumulate):
                array, index = place(op.ref)
                array[index] = get(op.value) + (array[index] if isinstance(op, Accumulate) else 0)
            elif isinstance(op, If):
                taken = op.then if get(op.cond) else op.orelse
                block(taken)
                values.update(zip(op.results, [get(y) for y in taken.yields], strict=True))
            else:
                loop(op)
        return [get(y) for y in ops.yields]

    def loop(op):
        carried = [get(i) for i in op.inits]
        order = list(range(int(get(op.start)), int(get(op.stop))))
        order = order[::-1] if op.descending else order
        if shuffled and op.independent:
            np.random.default_rng(len(order)).shuffle(order)
        for index in order:
            values[op.index] = index
            values.update(zip(op.params, carried, strict=True))
            carried = block(op.body)
        values.update(zip(op.results, carried, strict=True))

    block(stage.body)
    return memory


def two_buffers():
    """Return what random stages work on."""
    return [Buffer(name, "scratch", "f64", (ROWS + 2, LENGTH + 2)) for name in "xy"]


def random_stage(seed, buffers=None):
    """Return a loop over rows and one along them, whose body reads, stores and adds here and there."""
    rng = np.random.default_rng(seed)
    b = Builder("f64")
    buffers = buffers or two_buffers()
    order = Buffer("order", "constant", "i32", (LENGTH + 2,))
    rows = For(Value("i32"), Const(1, "i32"), Const(ROWS + 1, "i32"), Block())
    rows.descending = bool(rng.random() < 0.3)
    along = For(Value("i32"), Const(1, "i32"), Const(LENGTH + 1, "i32"), Block())
    scattered = rng.random() < 0.1

    def beside(index, odds):
        by = int(rng.choice([0, 0, -1, 1])) if rng.random() < odds else 0
        return b.op("add", index, b.const(by))

    def somewhere():
        row = beside(rows.index, 0.15)
        last = b.load(Ref(order, (along.index,))) if scattered and rng.random() < 0.3 else None
        at = (row, last if last is not None else beside(along.index, 0.7))
        return Ref(buffers[rng.integers(2)], at, 0, int(rng.integers(2)))

    with b.inside(rows.body, loop=True), b.inside(along.body, loop=True):
        pool = [b.load(somewhere()), b.load(somewhere())]
        for _ in range(rng.integers(4, 10)):
            kind = rng.choice(["load", "op", "store", "add", "add", "add", "add"])
            first, second = (pool[k] for k in rng.integers(len(pool), size=2))
            if kind == "load":
                pool.append(b.load(somewhere()))
            elif kind == "op":
                small = b.op("mul", b.const(0.1), first)  # numbers shall not grow from iteration to iteration
                pool.append(b.op(str(rng.choice(["add", "min", "sub"])), small, second))
            elif kind == "store":
                zero = rng.random() < 0.5
                b.store(somewhere(), b.const(0.0) if zero else b.op("mul", b.const(0.5), first))
            else:
                b.accumulate(somewhere(), b.op("mul", b.const(0.01), first))
        if rng.random() < 0.3:
            along.inits, along.params = [b.const(0.0)], [Value("f64")]
            along.body.yields = [b.op("add", along.params[0], pool[-1])]
    with b.inside(rows.body, loop=True):
        for total in b.loop(along):
            b.store(Ref(Buffer("sums", "scratch", "f64", (ROWS + 2,)), (rows.index,), 0, 0), total)
    b.loop(rows)
    return Stage("random", Value("i32"), b.block)


def same(found, want):
    """Compare what two stages left in memory, to rounding."""
    for key, array in want.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-11, atol=1e-12, err_msg=str(key))
