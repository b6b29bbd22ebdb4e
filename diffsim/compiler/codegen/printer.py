"""Printing operations of the intermediate form as lines of a Taichi kernel."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from diffsim.compiler.codegen.layout import Layout
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
    Store,
    Value,
    blocks_of,
    operands_of,
    walk,
)

__all__ = ["Lane", "Printer", "Slot", "slot_of"]

_DEEPEST = 24  # nested parentheses; Python gives up at 200

INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "powi": "**",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "&",
    "or": "|",
    "bit_and": "&",
    "bit_or": "|",
    "bit_xor": "^",
    "shl": "<<",
    "shr": ">>",
}


Slot = tuple[Buffer, "int | None", int]


def slot_of(ref: Ref) -> Slot:
    """Return what tells places apart that can never overlap: the buffer, the time, the component."""
    return ref.buffer, ref.time, ref.component


@dataclass
class Lane:
    """How the code being printed names its place: the world, the time, the lane of parallel work.

    Attributes:
        t: The global step index.
        slot: Gives the index of `x[t + offset]` among the slots of a State.
        scratch: The index of this step among the slots of a Scratch.
        world, group, lane, part: The other indices.
        exclusive: Places that each iteration of the parallel loop has to itself.
        atomic: Additions elsewhere may meet those of other iterations.
        ring: Gives the index of the adjoint of `x[t + offset]`; None to compute it from the slot.
        once: It runs once in a rollout, so that compiling counts for more than running.
    """

    t: str = "t"
    slot: Callable[[int], str] = field(default=lambda offset: f"s{offset}")
    scratch: str = "s0"
    world: str = "0"
    group: str = "0"
    lane: str = "0"
    part: str = "0"
    exclusive: frozenset[Slot] = frozenset()
    atomic: bool = False
    ring: Callable[[int], str] | None = None
    once: bool = False


class Printer:
    """Turn blocks into indented lines.

    Args:
        layout: The axes of the buffers.
        real: The type of float literals.
    """

    def __init__(self, layout: Layout, real: str) -> None:
        self.layout, self.real = layout, real
        self.lines: list[str] = []
        self.indent = 1
        self.used: dict[str, tuple[Buffer, int]] = {}
        self._names: dict[Value, str] = {}
        self._inline: dict[Value, Let] = {}
        self._count = 0

    def line(self, text: str) -> None:
        """Append a line at the present depth."""
        self.lines.append("    " * self.indent + text)

    def fresh(self, prefix: str = "v") -> str:
        """Return an unused name; names are numbered in order, so that equal programs print equally."""
        self._count += 1
        return f"{prefix}{self._count}"

    def name(self, value: Value, text: str) -> None:
        """Say what a value is called."""
        self._names[value] = text

    # ---- operations ----

    def block(self, block: Block, lane: Lane) -> None:
        """Print the operations of a block."""
        self.plan_inlining(block)
        self.operations(block.ops, lane)

    def plan_inlining(self, block: Block) -> None:
        """Find pure operations used once, in the block that defines them: they are printed in place."""
        uses: Counter[Value] = Counter()
        owner: dict[Value, int] = {}
        for inner in _all_blocks(block):
            for op in inner.ops:
                for operand in operands_of(op):
                    if isinstance(operand, Value):
                        uses[operand] += 1
                        owner[operand] = id(inner)
            for y in inner.yields:
                if isinstance(y, Value):
                    uses[y] += 1
                    owner[y] = id(inner)
        depth: Counter[Value] = Counter()
        for inner in _all_blocks(block):
            for op in inner.ops:
                if isinstance(op, Let) and uses[op.result] == 1 and owner[op.result] == id(inner):
                    depth[op.result] = 1 + max((depth[a] for a in op.args if isinstance(a, Value)), default=0)
                    if depth[op.result] > _DEEPEST:
                        depth[op.result] = 0
                    else:
                        self._inline[op.result] = op

    def operations(self, ops: list[Op], lane: Lane) -> None:
        """Print operations in order."""
        for op in ops:
            self.op(op, lane)

    def op(self, op: Op, lane: Lane) -> None:
        """Print one operation.

        Raises:
            TypeError: It is a call, which should have been expanded.
        """
        if isinstance(op, Let):
            if op.result not in self._inline:
                self._define(op.result, self.expression(op, lane))
        elif isinstance(op, Load):
            place = self.place(op.ref, lane)
            self._define(op.result, f"ti.atomic_max({place}, 1)" if op.claim else place)
        elif isinstance(op, Store):
            self.line(f"{self.place(op.ref, lane)} = {self.text(op.value, lane)}")
        elif isinstance(op, Accumulate):
            self._accumulate(op, lane)
        elif isinstance(op, For):
            self.loop(op, lane)
        elif isinstance(op, If):
            self._branch(op, lane)
        else:
            raise TypeError(op.name)  # calls are expanded before they are printed

    def _define(self, value: Value, text: str) -> None:
        name = self.fresh()
        self.line(f"{name} = {text}")
        self._names[value] = name

    def _accumulate(self, op: Accumulate, lane: Lane) -> None:
        place, value = self.place(op.ref, lane), self.text(op.value, lane)
        if lane.atomic and slot_of(op.ref) not in lane.exclusive:
            self.line(f"{place} += {value}")
        else:  # Taichi would make `+=` atomic in every parallel loop
            self.line(f"{place} = {place} + {value}")

    def loop(self, op: For, lane: Lane) -> None:
        """Print a serial loop with its carried values.

        The index of one whose iterations are independent is called `p1`, `p2`, ..., of others `i1`, ...: a
        compiler that reads the text need not find out itself which loops it may vectorise.
        """
        names = []
        for param, init in zip(op.params, op.inits, strict=True):
            name = self.fresh("c")
            self.line(f"{name} = {self.text(init, lane)}")
            self._names[param] = name
            names.append(name)
        start, stop = self.text(op.start, lane), self.text(op.stop, lane)
        index = self.fresh("p" if op.independent else "i")
        depth = self.indent
        if op.descending and (names or not op.independent):  # what is carried goes from one to the next
            # an index in a loop of one iteration is a bare loop variable to the compiler: it vectorises
            down = self.fresh("r")
            last = f"{stop} - 1 - {down}" if start == "0" else f"{stop} - 1 + {start} - {down}"
            self.line(f"for {down} in range({start}, {stop}):")
            self.indent += 1
            self.line(f"for {index} in range({last}, {last} + 1):")
        else:
            self.line(f"for {index} in range({start}, {stop}):")
        self._names[op.index] = index
        self.indent += 1
        if op.early is not None:
            self.line(f"if {names[op.early]} != 0:")
            self.line("    break")
        self._body(op.body.ops, names, lane)
        self._update(names, op.body.yields, lane)
        self.indent = depth
        for result, name in zip(op.results, names, strict=True):
            self._names[result] = name

    def _body(self, ops: list[Op], names: list[str], lane: Lane) -> None:
        """Print what is in a loop or a branch that assigns `names` at its end."""
        before = len(self.lines)
        self.operations(ops, lane)
        if not names and len(self.lines) == before:  # branches without anything in them leave no line
            self.line("pass")

    def _update(self, names: list[str], yields: list[Operand], lane: Lane) -> None:
        """Assign the values of the next iteration, all at once."""
        texts = [self.text(y, lane) for y in yields]
        if len(names) == 1:
            self.line(f"{names[0]} = {texts[0]}")
            return
        fresh = [self.fresh("n") for _ in names]
        for new, text in zip(fresh, texts, strict=True):
            self.line(f"{new} = {text}")
        for name, new in zip(names, fresh, strict=True):
            self.line(f"{name} = {new}")

    def _branch(self, op: If, lane: Lane) -> None:
        names = []
        for result in op.results:
            name = self.fresh("b")
            self.line(f"{name} = {self.constant(_zero(result))}")
            names.append(name)
        cond = self.text(op.cond, lane)
        blocks = [(f"if {cond}:", op.then), ("else:", op.orelse)]
        if not op.then.ops and not op.then.yields:
            blocks = [(f"if not ({cond}):", op.orelse)]
        for head, block in blocks:
            if not block.ops and not block.yields:
                continue
            self.line(head)
            self.indent += 1
            self._body(block.ops, names, lane)
            for name, y in zip(names, block.yields, strict=True):
                self.line(f"{name} = {self.text(y, lane)}")
            self.indent -= 1
        for result, name in zip(op.results, names, strict=True):
            self._names[result] = name

    # ---- expressions ----

    def text(self, operand: Operand, lane: Lane) -> str:
        """Return the expression of an operand."""
        if isinstance(operand, Const):
            return self.constant(operand)
        let = self._inline.get(operand)
        if let is not None:
            return self.expression(let, lane)
        return self._names[operand]

    def constant(self, const: Const) -> str:
        """Return a literal."""
        value = const.value
        if const.dtype == "u1":
            return f"ti.cast({int(value)}, ti.u1)"
        if const.dtype.startswith("f"):
            if math.isfinite(value):
                text = repr(float(value))
            else:
                text = (
                    "ti.math.nan" if math.isnan(value) else "ti.math.inf" if value > 0 else "(-ti.math.inf)"
                )
            text = f"({text})" if text.startswith("-") else text
            if const.dtype == self.real:
                return text
            # Taichi gives a literal alone the working precision, whatever it is cast to then
            known = const.dtype == "f64" and math.isfinite(value)
            return f"ti.f64({text})" if known else f"ti.cast({text}, ti.{const.dtype})"
        if not -(2**31) <= value < 2**31:
            return f"ti.{const.dtype}({int(value)})"
        text = str(int(value)) if value >= 0 else f"({int(value)})"
        return text if const.dtype == "i32" else f"ti.cast({text}, ti.{const.dtype})"

    def expression(self, op: Let, lane: Lane) -> str:
        """Return the expression of a pure operation."""
        args = [self.text(a, lane) for a in op.args]
        if op.fn in INFIX:
            return f"({args[0]} {INFIX[op.fn]} {args[1]})"
        if op.fn == "neg":
            return f"(-{args[0]})"
        if op.fn in ("isnan", "isinf", "popcnt"):
            return f"ti.math.{op.fn}({args[0]})"
        if op.fn.startswith("philox"):
            return f"{op.fn}({', '.join(args)})"
        if op.fn in ("stop", "replay", "inside"):
            return args[0]
        if op.fn == "at_most":
            return f"ti.min({args[0]}, {args[1]})"
        if op.fn == "not":
            return f"({args[0]} == 0)"
        if op.fn.startswith("cast_"):
            return f"ti.cast({args[0]}, ti.{op.fn[5:]})"
        return f"ti.{op.fn}({', '.join(args)})"

    def place(self, ref: Ref, lane: Lane) -> str:
        """Return the expression of a place in memory."""
        buffer = ref.buffer
        indices = [self.text(i, lane) for i in ref.indices]
        if buffer.kind == "external":
            self.used[buffer.name] = (buffer, 0)
            component = (
                f"[{self._external_component(buffer, ref.component)}]" if buffer.components > 1 else ""
            )
            return f"{buffer.name}[{', '.join(indices) or 'None'}]{component}"
        names = {"world": lane.world, "group": lane.group, "lane": lane.lane, "part": lane.part}
        leading = []
        for axis in self.layout.axes(buffer):
            if axis == "slot":
                leading.append(lane.slot(ref.time or 0) if buffer.kind == "state" else lane.scratch)
            elif axis == "ring":
                own, offset = lane.ring, ref.time or 0
                leading.append(own(offset) if own else self.layout.ring_of(lane.slot(offset)))
            elif axis != "time":  # which is the first index of the reference
                leading.append(names[axis])
        every = self.layout.order(buffer, tuple(leading + indices))
        name = f"{buffer.name}_{ref.component}"
        self.used[name] = (buffer, ref.component)
        return f"{name}[{', '.join(every) or 'None'}]"

    @staticmethod
    def _external_component(buffer: Buffer, component: int) -> str:
        columns = getattr(buffer.source, "m", 1)
        if getattr(buffer.source, "ndim", 1) == 1:
            return str(component)
        return f"{component // columns}, {component % columns}"


def _zero(value: Value) -> Const:
    return Const(0.0 if value.dtype.startswith("f") else 0, value.dtype)


def _all_blocks(block: Block) -> list[Block]:
    return [block, *(inner for op in walk(block) for inner in blocks_of(op))]
