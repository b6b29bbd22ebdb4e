"""Running one stage by hand, operation by operation, to find where a number stops being finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffsim.compiler.ir import (
    Accumulate,
    Block,
    Buffer,
    Call,
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
    accesses_in,
    blocks_of,
    is_float,
)
from diffsim.language.philox import philox

__all__ = ["FUNCTIONS", "Culprit", "Place", "Reader", "find_culprit", "rewrites"]

_BUDGET = 200_000  # operations, about half a second
_DTYPES = {"f32": np.float32, "f64": np.float64, "u1": np.bool_}
_UNSIGNED = {"u32": 32, "u64": 64}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "pow": np.power,
    "powi": lambda a, n: np.power(a, float(n)) if isinstance(a, np.floating) else np.power(a, n),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1.0 / np.sqrt(a),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan2": np.arctan2,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "floor": np.floor,
    "ceil": np.ceil,
    "min": np.minimum,
    "max": np.maximum,
    "round": np.round,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "popcnt": lambda a: int(a).bit_count() if a >= 0 else (int(a) % 2**32).bit_count(),
    "select": lambda c, a, b: a if c else b,
    "stop": lambda a: a,
    "replay": lambda a, b: a,
    "inside": lambda a, n: a,
    "at_most": np.minimum,
    "philox0": lambda *words: _bits(0, words),
    "philox1": lambda *words: _bits(1, words),
}


def _bits(half: int, words: Sequence[Any]) -> Any:
    high, low = philox(words[:4], words[4:])[2 * half : 2 * half + 2]
    return (high << np.uint64(32)) | low


Reader = Callable[[Ref, "tuple[int, ...]"], Any]
Origin = tuple["Let | Load", "tuple[float, ...]"]


@dataclass(frozen=True)
class Place:
    """One scalar in memory, in terms of a stage.

    Attributes:
        buffer: Where it is.
        time: Its time relative to the step.
        component: Of the element.
        indices: The spatial indices.
    """

    buffer: Buffer
    time: int
    component: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Culprit:
    """The write that put a number into memory that is not finite.

    Attributes:
        write: The operation.
        origin: The first operation behind it whose result is not finite, while what it is given is; a load
            that found such a number; None where the sum overflowed.
        arguments: What the origin was given.
    """

    write: Store | Accumulate
    origin: Let | Load | None
    arguments: tuple[float, ...] = ()


class _Found(Exception):
    def __init__(self, culprit: Culprit) -> None:
        super().__init__()
        self.culprit = culprit


class _Unknown(Exception):
    """The stage is too long, or uses a function that is not known here."""


def find_culprit(stage: Stage, t: int, place: Place, read: Reader, whole: bool) -> Culprit | None:
    """Return the first write to a place whose value is not finite, or None where it cannot be told.

    Where a stage overwrites nothing that it reads, memory as the stage left it gives every value, and loops
    whose index is the place's are run at that index alone. Others, among them adjoints, which take what they
    read away, are run whole, from memory as it was before.

    Args:
        stage: What ran.
        t: The step.
        place: Where the number was found.
        read: Memory: gives the number at a reference with its indices evaluated.
        whole: The stage overwrites what it reads.
    """
    writes = [path for path in _paths(stage.body, []) if _writes(path[-1], place)]
    plans: list[_Run] = [_Run(read, place, None, {})] if whole else []
    plans += [_Run(read, place, {id(op) for op in path}, _pins(path, place)) for path in writes]
    for run in plans:
        try:
            with np.errstate(all="ignore"):
                run.env[stage.t] = (np.int64(t), None)
                run.block(stage.body)
        except _Found as found:
            return found.culprit
        except _Unknown:
            continue
    return None


def rewrites(stage: Stage) -> bool:
    """Tell whether a stage writes what it reads, so that memory does not tell afterwards what it found."""
    accesses = list(accesses_in(stage.body))
    read = {(op.ref.buffer, op.ref.time) for op in accesses if isinstance(op, Load)}
    return any((op.ref.buffer, op.ref.time) in read for op in accesses if not isinstance(op, Load))


def _paths(block: Block, above: list[Op]) -> list[list[Op]]:
    """Return each operation of a block with those around it, outermost first."""
    found = []
    for op in block.ops:
        path = [*above, op]
        found.append(path)
        for inner in blocks_of(op):
            found += _paths(inner, path)
    return found


def _writes(op: Op, place: Place) -> bool:
    return (
        isinstance(op, Store | Accumulate)
        and op.ref.buffer is place.buffer
        and (op.ref.time or 0) == place.time
        and op.ref.component == place.component
    )


def _pins(path: list[Op], place: Place) -> dict[Value, int]:
    """Return the loop indices that the indices of a write are, at the place."""
    write = path[-1]
    assert isinstance(write, Store | Accumulate)  # noqa: S101  (see _writes)
    loops = {op.index for op in path if isinstance(op, For) and not op.params}
    pairs = zip(write.ref.indices, place.indices, strict=True)
    return {i: k for i, k in pairs if isinstance(i, Value) and i in loops}


@dataclass
class _Run:
    """One evaluation of a stage.

    Attributes:
        read: Memory.
        place: What is looked for.
        only: The operations to run of those that own blocks and give no values; None for all.
        pins: The one value that these loop indices take.
        written: What an evaluation of everything has written.
    """

    read: Reader
    place: Place
    only: set[int] | None
    pins: dict[Value, int]
    env: dict[Value, tuple[Any, Origin | None]] = field(default_factory=dict)
    written: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    done: int = 0

    def get(self, operand: Operand) -> tuple[Any, Origin | None]:
        if isinstance(operand, Const):
            return _typed(operand.value, operand.dtype), None
        return self.env[operand]

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.done += 1
            if self.done > _BUDGET:
                raise _Unknown
            self.op(op)

    def op(self, op: Op) -> None:
        if isinstance(op, Let):
            self._let(op)
        elif isinstance(op, Load):
            value = self._load(op.ref)
            bad = is_float(op.result.dtype) and not np.isfinite(value)
            self.env[op.result] = (value, (op, ()) if bad else None)
        elif isinstance(op, Store | Accumulate):
            self._write(op)
        elif isinstance(op, Call):
            self.env.update({p: self.get(a) for p, a in zip(op.params, op.args, strict=True)})
            self.block(op.body)
            self.env.update({r: self.get(y) for r, y in zip(op.results, op.body.yields, strict=True)})
        elif self.only is None or op.results or id(op) in self.only:
            self._loop(op) if isinstance(op, For) else self._branch(op)

    def _let(self, op: Let) -> None:
        pairs = [self.get(a) for a in op.args]
        values = [value for value, _ in pairs]
        if op.fn.startswith("cast_"):
            result = values[0]
        elif op.fn in FUNCTIONS:
            try:
                result = FUNCTIONS[op.fn](*values)
            except (ArithmeticError, ValueError, TypeError) as error:
                raise _Unknown from error
        else:
            raise _Unknown
        result = _typed(result, op.result.dtype)
        origin: Origin | None = None
        if is_float(op.result.dtype) and not np.isfinite(result):
            used = [pairs[1] if values[0] else pairs[2]] if op.fn == "select" else pairs
            origin = next((o for _, o in used if o is not None), None)
            origin = origin or (op, tuple(float(v) for v in values))
        self.env[op.result] = (result, origin)

    def _key(self, ref: Ref) -> tuple[Any, ...]:
        return (ref.buffer, ref.time or 0, ref.component, *(int(self.get(i)[0]) for i in ref.indices))

    def _load(self, ref: Ref) -> Any:
        key = self._key(ref)
        if key in self.written:
            return self.written[key]
        try:
            return _typed(self.read(ref, key[3:]), ref.buffer.dtype)
        except (IndexError, TypeError) as error:
            raise _Unknown from error

    def _write(self, op: Store | Accumulate) -> None:
        value, origin = self.get(op.value)
        key, wanted = self._key(op.ref), self.place
        if key == (wanted.buffer, wanted.time, wanted.component, *wanted.indices) and not np.isfinite(value):
            first, arguments = origin or (None, ())
            raise _Found(Culprit(op, first, arguments))
        if self.only is None:
            self.written[key] = self._load(op.ref) + value if isinstance(op, Accumulate) else value

    def _loop(self, op: For) -> None:
        start, stop = int(self.get(op.start)[0]), int(self.get(op.stop)[0])
        carried = [self.get(i) for i in op.inits]
        steps: Any = range(start, stop)
        if op.index in self.pins:
            steps = [k for k in (self.pins[op.index],) if start <= k < stop]
        for k in reversed(steps) if op.descending else steps:
            if op.early is not None and carried[op.early][0]:
                break
            self.env[op.index] = (np.int64(k), None)
            self.env.update(zip(op.params, carried, strict=True))
            self.block(op.body)
            carried = [self.get(y) for y in op.body.yields]
        self.env.update(zip(op.results, carried, strict=True))

    def _branch(self, op: If) -> None:
        taken = op.then if self.get(op.cond)[0] else op.orelse
        self.block(taken)
        self.env.update({r: self.get(y) for r, y in zip(op.results, taken.yields, strict=True)})


def _typed(value: Any, dtype: str) -> Any:
    """Return a number in the type of the working precision; integers with a sign are wide enough for all."""
    if dtype in _DTYPES:
        return _DTYPES[dtype](value)
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise _Unknown
    if dtype in _UNSIGNED:
        return np.uint64(int(value) % (1 << _UNSIGNED[dtype]))
    return np.int64(value)
