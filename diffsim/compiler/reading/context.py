"""What lowering a kernel knows at any moment: the builder, the names in scope, the memory of the program."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from diffsim.compiler.builder import Builder
from diffsim.compiler.checks.diagnostics import refuse
from diffsim.compiler.ir import Block, Const, Location, Operand, Value, is_float
from diffsim.compiler.reading.buffers import Buffers
from diffsim.compiler.reading.known import matrix_entries
from diffsim.compiler.reading.quoting import indexed, quoted
from diffsim.compiler.reading.source import Source
from diffsim.compiler.reading.values import (
    POISON,
    Abstract,
    Matrix,
    Object,
    Poison,
    Poisoned,
    Ranges,
    Record,
    Sequence,
    TimeIndex,
    Unset,
    Variable,
)
from diffsim.errors import Diagnostic, GradientError, TraceError
from diffsim.language.fields import Field
from diffsim.options import plain_number

__all__ = ["Context", "Frame", "restore"]

_RANGES = "{} must have bounds known when the kernel compiles here; loop over it with `for`"
_ITERABLES = (tuple, list, range, np.ndarray, zip, enumerate)


@dataclass
class Frame:
    """One function being lowered: its source, its local variables, and the loops around the statement.

    Attributes:
        source, variables, loops: These.
        owner: The object that it is a method of.
        call: What it is called by; None for the kernel itself.
        rounds: Of each unrolled loop around the statement, which iteration is being lowered.
    """

    source: Source
    owner: Any
    variables: dict[str, Variable] = field(default_factory=dict)
    loops: int = 0
    call: ast.Call | None = None
    rounds: list[int] = field(default_factory=list)


@dataclass
class Trial:
    """Tells of something that was tried whether it can be lowered."""

    held: bool = False


@dataclass
class Context:
    """The state of lowering one kernel call.

    Attributes:
        builder: Where operations go.
        buffers: The program's memory.
        call: Lowers a call of a Taichi function.
        run: Lowers statements in order.
        phase: `reset`, `step`, `running_cost` or `terminal_cost`: what may be read and written; `adjoint` or
            `reset adjoint` in an adjoint that a user wrote.
        t: The step index as a number.
        frames: The kernel and the functions inlined into it, innermost last.
        depth: How many dynamic loops and branches surround the statement.
        loops: How many loops of any kind surround it.
        given: A function whose adjoint is given surrounds the statement, so nothing here is differentiated.
        grouped: The kernel is called by a method with an adjoint of its own, or by that adjoint.
        choices: Components that indices chose among so far which are known only when the kernel runs.
        returns: The kernel returns a value.
        checked: An `assert` is looked at while the statement runs.
        changed: The indices of the places that atomics of the outermost loop's body changed so far.
        ordered: They may be the same in several iterations, which must run in order therefore.
        bases: Components of singular vectors and eigenvectors.
        serial: `ti.loop_config(serialize=True)` asked for the next loop to run in order.
        found: What was found wrong so far.
        read: The statements that were read, by id.
        looked_at: The parts of refused statements that were read on their own, by id.
        notes: How the kernel was read, for `Rollout.explain`.
        site: Names the kernel's call in the program.
    """

    builder: Builder
    buffers: Buffers
    call: Callable[..., Abstract]
    run: Callable[[Context, list[ast.stmt]], None]
    phase: str
    t: Value
    frames: list[Frame] = field(default_factory=list)
    depth: int = 0
    loops: int = 0
    given: bool = False
    grouped: bool = False
    choices: int = 0
    returns: bool = False
    checked: bool = True
    changed: list[tuple[Operand, ...]] = field(default_factory=list)
    ordered: bool = False
    bases: set[Value] = field(default_factory=set)
    serial: bool = False
    found: list[Diagnostic] = field(default_factory=list)
    read: set[int] = field(default_factory=set)
    looked_at: set[int] = field(default_factory=set)
    notes: dict[str, None] = field(default_factory=dict)
    site: str = ""

    @property
    def in_reset(self) -> bool:
        """Tell whether this runs before step 0."""
        return self.phase.startswith("reset")

    @property
    def in_adjoint(self) -> bool:
        """Tell whether this is of an adjoint that a user wrote."""
        return self.phase.endswith("adjoint")

    @property
    def frame(self) -> Frame:
        """The function being lowered."""
        return self.frames[-1]

    def at(self, node: ast.AST) -> Location:
        """Return the position of a node in the user's file."""
        return self.frame.source.at(node)

    def error(self, node: ast.AST, message: str, rule: str = "SYNTAX") -> NoReturn:
        """Refuse a construct.

        Raises:
            TraceError: Always, with the position of the construct.
        """
        refuse(Diagnostic(rule, str(self.at(node)), message))

    def capture(
        self, node: ast.AST, owner: Any, name: Any, label: str, value: Any, read: Callable[[Any], Any]
    ) -> None:
        """Note what a kernel took from Python; see `Captures.add`."""
        self.buffers.captured.add(owner, name, label, value, read, getattr(node, "looked_into", False))

    def warn(self, node: ast.AST, message: str, rule: str) -> None:
        """Note what may be meant, unless a comment `# diffsim: allow RULE` says that it is."""
        if not self.frame.source.allows(node, rule):
            self.buffers.warnings.append(Diagnostic(rule, str(self.at(node)), message))

    def note(self, node: ast.AST, text: str) -> None:
        """Keep, once, how a construct was read."""
        self.notes[f"line {self.at(node).line}: {text}"] = None

    def poison(self, statement: ast.stmt) -> None:
        """Let every name that a refused statement assigns stand for nothing known."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.frame.variables[node.id] = Variable(POISON)

    def text(self, node: ast.AST) -> str:
        """Return the source of a node for a message, with the time as the step passes it."""
        return quoted(node, self.frame.variables)

    def variables(self) -> list[Variable]:
        """Return every local variable that a statement could change, each once."""
        unique = {id(v): v for frame in self.frames for v in frame.variables.values()}
        return list(unique.values())

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Let the names that are introduced while active end with it."""
        names = set(self.frame.variables)
        try:
            yield
        finally:
            for name in set(self.frame.variables) - names:
                del self.frame.variables[name]

    def unrolled(self, items: Iterable[Abstract]) -> Iterator[Abstract]:
        """Yield the items of a loop that is unrolled; while each is lowered, it is known which it is."""
        rounds = self.frame.rounds
        for number, item in enumerate(items):
            rounds.append(number)
            try:
                yield item
            finally:
                rounds.pop()

    @contextlib.contextmanager
    def deeper(self) -> Iterator[None]:
        """Count one more dynamic loop or branch while active."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    @contextlib.contextmanager
    def tried(self) -> Iterator[Trial]:
        """Lower something that may turn out to be wrong; where it does, it is as if it had not been tried."""
        trial, block, variables = Trial(), Block(), self.variables()
        before, names = [v.current for v in variables], [dict(frame.variables) for frame in self.frames]
        sets = [set(s) for s in (self.read, self.looked_at)]
        found, count, warned = len(self.found), self.builder.count, len(self.buffers.warnings)
        notes = dict(self.notes)
        try:
            with self.builder.inside(block):
                yield trial
            trial.held = len(self.found) == found
        except (TraceError, GradientError):
            trial.held = False
        if trial.held:
            self.builder.block.ops += block.ops
            return
        restore(variables, before)
        for frame, known in zip(self.frames, names, strict=True):
            frame.variables = known
        self.read, self.looked_at = sets
        del self.found[found:], self.buffers.warnings[warned:]
        self.builder.count, self.notes = count, notes

    @contextlib.contextmanager
    def undifferentiated(self) -> Iterator[None]:
        """Lower a function whose adjoint is given while active."""
        saved, self.given = self.given, True
        try:
            yield
        finally:
            self.given = saved

    # ---- turning what is known at compile time into operands ----

    def number(self, value: Abstract, node: ast.AST) -> Operand:
        """Return a scalar operand.

        Raises:
            TraceError: The value is not a number.
        """
        value = self.runtime(value, node)
        if isinstance(value, Value | Const):
            return value
        self.error(
            node,
            f"{self.text(node)} must be a number, got a vector or matrix; take one of its components",
            rule="SHAPE",
        )

    def integer(self, index: Abstract, node: ast.AST) -> Operand:
        """Return an index.

        Raises:
            TraceError: It is no integer.
        """
        operand = self.number(index, node)
        if is_float(operand.dtype):
            self.error(
                node,
                f"indices must be integers, got a float in {self.text(node)}; "
                "use ti.cast(..., ti.i32) or ti.floor",
                rule="INDEX",
            )
        if operand.dtype in ("i32", "i64"):
            return operand
        return self.builder.cast(operand, "i64" if operand.dtype in ("u32", "u64") else "i32")

    def runtime(self, value: Abstract, node: ast.AST) -> Abstract:
        """Return scalars for numbers, vectors and the time; refuse other Python objects.

        Raises:
            TraceError: The value is something that a kernel cannot compute with.
        """
        if isinstance(value, Value | Const | Matrix | Record):
            return value
        if isinstance(value, Poison | Unset):
            raise Poisoned
        if isinstance(value, TimeIndex):
            return self.builder.op("add", self.t, self.builder.const(value.offset))
        if isinstance(value, Ranges):
            self.error(node, _RANGES.format(self.text(node)), rule="PYTHON")
        if isinstance(value, Sequence):
            return self._stacked([self.runtime(item, node) for item in value.items], node)
        obj = plain_number(value.value)
        if isinstance(obj, bool | int | float):
            if isinstance(obj, int) and not isinstance(obj, bool) and not -(2**31) <= obj < 2**31:
                self.error(
                    node,
                    f"integers must fit 32 bits, got {obj} in {self.text(node)}; use a float",
                    rule="SHAPE",
                )
            return self.builder.const(obj)
        entries = matrix_entries(obj)
        if entries is not None:
            numbers, shape = entries
            return Matrix(tuple(self.builder.const(x) for x in numbers), shape)
        kind = type(obj).__name__
        if isinstance(obj, Field):
            self.error(
                node,
                f"{obj.label} must be indexed before it is computed with, as in {_example(obj)}",
                rule="PYTHON",
            )
        self.error(
            node,
            f"{self.text(node)} must be a number or a vector in a kernel, got a Python {kind}; index it or "
            "declare it as ds.Constant",
            rule="PYTHON",
        )

    def unpacked(self, value: Abstract, node: ast.AST) -> list[Abstract]:
        """Return the items of a tuple, list or vector.

        Raises:
            TraceError: The value has no items.
        """
        if isinstance(value, Sequence):
            return list(value.items)
        if isinstance(value, Matrix):
            if len(value.shape) == 1:
                return list(value.entries)
            return [Matrix(row, (len(row),)) for row in value.rows]
        if isinstance(value, Object) and isinstance(value.value, _ITERABLES):
            return [Object(item) for item in value.value]
        if isinstance(value, Ranges):
            self.error(node, _RANGES.format(self.text(node)), rule="PYTHON")
        self.error(node, f"{self.text(node)} must be a tuple or a vector to be unpacked", rule="SHAPE")

    def _stacked(self, rows: list[Abstract], node: ast.AST) -> Matrix:
        if rows and all(isinstance(row, Value | Const) for row in rows):
            return Matrix(tuple(rows), (len(rows),))  # type: ignore[arg-type]
        if rows and all(isinstance(row, Matrix) and len(row.shape) == 1 for row in rows):
            vectors = [row for row in rows if isinstance(row, Matrix)]
            if len({v.shape for v in vectors}) == 1:
                return Matrix(tuple(e for v in vectors for e in v.entries), (len(rows), vectors[0].shape[0]))
        self.error(node, f"{self.text(node)} must have rows of equal length made of numbers", rule="SHAPE")


def restore(variables: list[Variable], values: list[Abstract]) -> None:
    """Give variables the values that they had before."""
    for variable, value in zip(variables, values, strict=True):
        variable.current = value


def _example(declared: Field) -> str:
    timed = declared.kind in ("state", "scratch", "control")
    return indexed(f"self.{declared.key or 'field'}", len(declared.shape), "t" if timed else "")
