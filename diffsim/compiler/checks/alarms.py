"""Guarding what could leave its range while a kernel runs: indices, integer divisors, named maxima, asserts.

Where the analysis cannot prove that an index lies inside its field, the kernel looks: the index is kept
inside, so that no other memory is touched, and an alarm is raised, which makes the run an error afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from diffsim.compiler.checks.extents import of_indices
from diffsim.compiler.checks.ranges import Ranges, Times
from diffsim.compiler.ir import (
    Accumulate,
    Assert,
    Block,
    Buffer,
    Call,
    Const,
    For,
    If,
    Let,
    Load,
    Location,
    Op,
    Operand,
    Ref,
    Rounds,
    Stage,
    Store,
    Value,
    is_float,
)

__all__ = ["Alarm", "Alarms", "Assertion", "Slot", "guarded", "raised", "shortened"]

_LOWEST = -(2**31)
ENTRIES = 3  # of each alarm: raised, the number, the step


@dataclass(frozen=True)
class Slot:
    """Numbers in a message that are known only when it is told.

    Attributes:
        dtypes: The type of each.
        shape: () for one number, else the shape of the vector or matrix that they are.
        form: How Python is asked to write them, as in `{x:.3f}`.
    """

    dtypes: tuple[str, ...]
    shape: tuple[int, ...] = ()
    form: str = ""


@dataclass(frozen=True)
class Assertion:
    """What the message of an `assert` is made of: what was got, and what the user says to it."""

    got: tuple[str | Slot, ...]
    message: tuple[str | Slot, ...]


@dataclass(frozen=True)
class Alarm:
    """One thing that a kernel looks at while it runs.

    Attributes:
        where: The place in the user's file.
        rule: What must hold, as a sentence of which the number that broke it is the end.
        remedy: What to do about it.
        said: What is told besides of an `assert`, which keeps other numbers than that one.
        grows: The sparse layout that had no room for so many blocks as the number.
    """

    where: Location | None
    rule: str
    remedy: str
    said: Assertion | None = None
    grows: Any = None


class Alarms:
    """The alarms of a program, and the memory that kernels raise them in.

    Attributes:
        all: The alarms.
        buffer: Whether each was raised, by which number, in which step.
        numbers: What asserts tell of.
    """

    def __init__(self) -> None:
        self.all: list[Alarm] = []
        self.buffer = Buffer("alarms", "alarm", "i32", (0, ENTRIES))
        self.numbers = Buffer("asserted", "alarm", "f64", (0, 0))

    @property
    def buffers(self) -> list[Buffer]:
        """The memory that is needed."""
        used = [self.buffer] if self.all else []
        return used + ([self.numbers] if any(alarm.said is not None for alarm in self.all) else [])

    def add(self, alarm: Alarm) -> int:
        """Return the number of an alarm, a new one where it is not known yet."""
        if alarm in self.all:
            return self.all.index(alarm)
        self.all.append(alarm)
        self.buffer.shape = (len(self.all), ENTRIES)
        self.numbers.shape = (len(self.all), self.numbers.shape[1])
        return len(self.all) - 1


def guarded(stage: Stage, times: Times, alarms: Alarms) -> Stage:
    """Return a stage that keeps its indices and divisors in range, and raises an alarm where it had to.

    The steps that index Controls become their entries.

    Args:
        stage: The stage; it is left as it is.
        times: The steps that it runs for, for bounds of what depends on `t`.
        alarms: Where alarms are added.
    """
    guard = _Guard(stage, times.steps, Ranges(stage.body, stage.t, times), alarms)
    return replace(stage, body=guard.block(stage.body))


def raised(bad: Operand, number: Operand, alarm: Alarm, alarms: Alarms, t: Value) -> list[Op]:
    """Return what raises an alarm where a condition holds.

    Args:
        bad: The condition.
        number: What broke the rule.
        alarm: What to raise.
        alarms: Where it is added.
        t: The step.
    """
    guard = _Guard(Stage("", t, Block()), 0, Ranges(Block(), t, 0), alarms)
    guard._raise(bad, number, alarm)
    return guard.ops


def shortened(stage: Stage, loop: For, most: int, ranges: Ranges, alarms: Alarms) -> tuple[list[Op], Operand]:
    """Return what lets a loop end after so many iterations, with an alarm, and where it ends then.

    Args:
        stage: What the loop is in.
        loop: The loop, before which the operations belong.
        most: How many iterations there is room for.
        ranges: Bounds of the stage's integers.
        alarms: Where the alarm is added.
    """
    guard = _Guard(stage, 0, ranges, alarms)  # no step indexes anything here
    count = guard._make("sub", loop.stop, loop.start)
    rule = f"a loop whose values a gradient needs must take up to {most} iterations, got"
    remedy = "name the most that it can take, as in `for k in range(ds.at_most(n, 4096))`"
    guard._raise(guard._make("gt", count, _int(most)), count, Alarm(loop.where, rule, remedy))
    stop = guard._make("add", guard._make("min", count, _int(most)), loop.start)
    return guard.ops, stop


class _Guard:
    def __init__(self, stage: Stage, steps: int, ranges: Ranges, alarms: Alarms) -> None:
        self.t, self.steps, self.ranges, self.alarms = stage.t, steps, ranges, alarms
        self.ops: list[Op] = []
        self.safe: list[dict[tuple[Operand, int], Operand]] = []
        self.renamed: dict[Value, Operand] = {}

    def block(self, block: Block) -> Block:
        """Return a block with its operations guarded."""
        outer, self.ops = self.ops, []
        self.safe.append({})
        for op in block.ops:
            self._op(op)
        guarded_block = Block(self.ops, [self._new(y) for y in block.yields])
        self.safe.pop()
        self.ops = outer
        return guarded_block

    def _op(self, op: Op) -> None:
        if isinstance(op, Let) and op.fn == "inside":
            size = op.args[1]
            assert isinstance(size, Const)  # noqa: S101  (the length of a local vector is known)
            self.renamed[op.result] = self._inside(
                op.args[0], int(size.value), "indices of a local vector", op.where
            )
        elif isinstance(op, Assert):
            self._assert(op)
        elif isinstance(op, Rounds):
            self._rounds(op)
        elif isinstance(op, Let):
            self.ops.append(self._let(op))
        elif isinstance(op, Load):
            kept = None if op.kept is None else self._ref(op.kept, op.where)
            self.ops.append(replace(op, ref=self._ref(op.ref, op.where), kept=kept))
        elif isinstance(op, Store | Accumulate):
            self.ops.append(replace(op, ref=self._ref(op.ref, op.where), value=self._new(op.value)))
        elif isinstance(op, For):
            inits, body = [self._new(i) for i in op.inits], self.block(op.body)
            start, stop = self._new(op.start), self._new(op.stop)
            self.ops.append(replace(op, start=start, stop=stop, inits=inits, body=body))
        elif isinstance(op, Call):
            self.ops.append(replace(op, args=[self._new(a) for a in op.args], body=self.block(op.body)))
        else:
            with self.ranges.assuming(op.cond, True):
                then = self.block(op.then)
            with self.ranges.assuming(op.cond, False):
                orelse = self.block(op.orelse)
            self.ops.append(replace(op, cond=self._new(op.cond), then=then, orelse=orelse))

    def _new(self, operand: Operand) -> Operand:
        return self.renamed.get(operand, operand) if isinstance(operand, Value) else operand

    # ---- indices ----

    def _ref(self, ref: Ref, where: Location | None) -> Ref:
        indices = [self._inside(index, n, name, where) for index, n, name, _ in of_indices(ref, self.steps)]
        if ref.buffer.every > 1:
            indices[0] = self._make("floordiv", indices[0], Const(ref.buffer.every, indices[0].dtype))
        return replace(ref, indices=tuple(indices))

    def _inside(self, index: Operand, n: int, what: str, where: Location | None) -> Operand:
        low, high = self.ranges.of(index)
        index = self._new(index)
        if low >= 0 and high < n:
            return index
        for known in reversed(self.safe):
            if (index, n) in known:
                return known[index, n]
        alarm = Alarm(
            where,
            f"{what} must lie in 0 .. {n - 1}, got",
            "keep what they are computed from inside, or put the statement in an `if`",
        )
        below, above = self._make("lt", index, _int(0)), self._make("ge", index, _int(n))
        self._raise(self._make("or", below, above), index, alarm)
        inside = self._make("min", self._make("max", index, _int(0)), _int(n - 1))
        self.safe[-1][index, n] = inside
        return inside

    # ---- numbers ----

    def _let(self, op: Let) -> Let:
        args = tuple(self._new(a) for a in op.args)
        if op.fn == "at_most":
            maximum = args[1]
            alarm = Alarm(
                op.where, f"at_most must get a number up to {_text(maximum)}, got", "raise the maximum"
            )
            if self.ranges.of(op.args[0])[1] > self.ranges.of(maximum)[0]:
                self._raise(self._make("gt", args[0], maximum), args[0], alarm)
            return replace(op, fn="min", args=args)
        if op.fn in ("shl", "shr"):
            bits = 64 if op.result.dtype in ("i64", "u64") else 32
            args = (args[0], self._inside(op.args[1], bits, "counts of a shift", op.where))
        if op.fn == "pow" and not is_float(op.result.dtype) and self.ranges.of(op.args[1])[0] < 0:
            rule = "exponents of an integer must not be negative, got"
            alarm = Alarm(op.where, rule, "write a float as the base, as in 2.0 ** n")
            zero = Const(0, args[1].dtype)
            self._raise(self._make("lt", args[1], zero), args[1], alarm)
            args = (args[0], self._make("max", args[1], zero))
        if op.fn in ("floordiv", "mod") and not is_float(op.result.dtype):
            low, high = self.ranges.of(op.args[1])
            if low <= 0 <= high or low <= -1 <= high:
                args = (args[0], self._divisor(args[0], args[1], op.where))
            if op.result.dtype.startswith("i") and (low <= 0 or self.ranges.of(op.args[0])[0] < 0):
                return self._floored(op, args[0], args[1], low > 0)
        return replace(op, args=args)

    def _rounds(self, op: Rounds) -> None:
        """Raise the alarm of a `while` that goes on for too long."""
        count, most = (self._new(a) for a in op.args)
        instead = "ds.at_most(condition, 4096)"
        remedy = (
            "raise the maximum" if op.named else f"name the most that it can take, as in `while {instead}:`"
        )
        rule = f"a while loop must end after {_text(most)} iterations, got"
        self._raise(self._make("gt", count, most), count, Alarm(op.where, rule, remedy))

    def _floored(self, op: Let, a: Operand, b: Operand, positive: bool) -> Let:
        """Round down; constants that Taichi finds late, as in `i - i - 5`, it would round to zero."""
        zero, rest = Const(0, b.dtype), self._make("mod", a, b)
        off = self._make("lt", rest, zero)
        if not positive:
            below, above = self._make("lt", b, zero), self._make("gt", rest, zero)
            same = self._make("and", self._make("ge", b, zero), off)
            off = self._make("or", self._make("and", below, above), same)
        turned = self._make("add", rest, b)
        if op.fn == "mod":
            return replace(op, fn="select", args=(off, turned, rest))
        exact = self._make("sub", a, self._make("select", off, turned, rest))
        return replace(op, args=(exact, b))

    def _divisor(self, a: Operand, b: Operand, where: Location | None) -> Operand:
        """Return a divisor that the processor can divide by: neither 0 nor -1 of the lowest number."""
        bad = self._make("eq", b, Const(0, b.dtype))
        if b.dtype.startswith("i"):
            lowest = self._make("eq", a, Const(_LOWEST if a.dtype == "i32" else -(2**63), a.dtype))
            bad = self._make("or", bad, self._make("and", self._make("eq", b, Const(-1, b.dtype)), lowest))
        rule = "integers must be divided by numbers other than 0, got"
        self._raise(bad, b, Alarm(where, rule, "put the division in an `if`"))
        return self._make("select", bad, Const(1, b.dtype), b)

    # ---- raising ----

    def _make(self, fn: str, *args: Operand) -> Value:
        computes = fn in ("min", "max", "select", "mod", "floordiv", "add", "sub")
        dtype = args[-1].dtype if computes else "u1"
        result = Value(dtype)
        if fn in ("lt", "ge", "gt", "min", "max"):
            args = tuple(replace(a, dtype=args[0].dtype) if isinstance(a, Const) else a for a in args)
            result.dtype = args[0].dtype if fn in ("min", "max") else "u1"
        self.ops.append(Let(result, fn, args))
        return result

    def _raise(self, bad: Operand, number: Operand, alarm: Alarm) -> None:
        """Note the first number that broke a rule, and the step."""
        row = self.alarms.add(alarm)
        with self._into() as then, self._first(row):
            self.ops.append(Store(Ref(self.alarms.buffer, (_int(row), _int(1))), self._as(number, "i32")))
        self.ops.append(If(bad, then, Block()))

    @contextmanager
    def _first(self, row: int, claim: bool = False) -> Iterator[None]:
        """Do what is added while active where an alarm was not raised before; note that it is, and the step.

        Args:
            row: The number of the alarm.
            claim: Let one of several iterations through that come here at a time, since what is added notes
                more than one number, which must belong together.
        """
        raised, first = Value("i32"), Value("u1")
        places = [Ref(self.alarms.buffer, (_int(row), _int(k))) for k in range(ENTRIES)]
        self.ops += [Load(raised, places[0], None, claim), Let(first, "eq", (raised, _int(0)))]
        with self._into() as note:
            yield
            self.ops += [Store(places[2], self.t), Store(places[0], _int(1))]
        self.ops.append(If(first, note, Block()))

    def _assert(self, op: Assert) -> None:
        """Raise the alarm of an `assert`, which is reached only where it does not hold."""
        condition, said = op.said
        row = self.alarms.add(
            Alarm(
                op.where, f"assert {condition} must hold, got", "change what led there, or the assert", said
            )
        )
        numbers = self.alarms.numbers
        numbers.shape = (numbers.shape[0], max(numbers.shape[1], len(op.args), 1))
        with self._first(row, claim=True):
            for k, number in enumerate(op.args):
                self.ops.append(Store(Ref(numbers, (_int(row), _int(k))), self._as(self._new(number), "f64")))

    def _as(self, number: Operand, dtype: str) -> Operand:
        """Convert a number."""
        if number.dtype == dtype:
            return number
        entry = Value(dtype)
        self.ops.append(Let(entry, f"cast_{dtype}", (number,)))
        return entry

    @contextmanager
    def _into(self) -> Iterator[Block]:
        block = Block()
        outer, self.ops = self.ops, block.ops
        try:
            yield block
        finally:
            self.ops = outer


def _int(value: int) -> Const:
    return Const(value, "i32")


def _text(operand: Operand) -> str:
    return str(operand.value) if isinstance(operand, Const) else "its maximum"
