"""Splitting a kernel into tasks: what runs in order, and loops whose iterations threads share.

A loop at the top level is shared unless the text says `ti.loop_config(serialize=True)` before it. Its
iterations are numbered, and a task does those from `item.first` on, up to `item.last`. (Names with a dot are
those of no text.)

Iterations that add to the same place (`+=`; other changes are of places that an iteration has to itself) add
to sums of their part's own; where that costs more than it wins, the loop runs in order.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffsim.compiler.codegen.writer import PER_THREAD
from diffsim.compiler.native.estimate import operations
from diffsim.compiler.native.expressions import called
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.sums import Private, gather_of, privates_of
from diffsim.compiler.native.trees import (
    assigned,
    expression,
    indices_of,
    inside,
    loop_of,
    name_of,
)

__all__ = ["FIRST", "LAST", "Task", "candidates", "split"]

FIRST, LAST = "item.first", "item.last"  # arguments of a task
_ROWS = 64  # iterations to share, from which on those of an inner loop need not be shared too
_SHORTEST = 16  # iterations of an inner loop that are done together
_EACH = 8  # operations that win what one private element costs
_MOST = 8 << 20  # bytes of private elements of one part


@dataclass(frozen=True)
class Task:
    """A part of a kernel.

    Attributes:
        body: Its statements.
        items: Iterations to share; 0 where it runs in order.
        privates: What its parts have of their own.
        gather: Adds up what is private, and zeros it.
        cuts: Parts that this may be done in.
    """

    body: Sequence[ast.stmt]
    items: int = 0
    privates: tuple[Private, ...] = ()
    gather: Sequence[ast.stmt] = ()
    cuts: int = 0


@dataclass
class _Axis:
    name: str
    low: int
    high: int

    @property
    def length(self) -> int:
        return max(0, self.high - self.low)


def candidates(source: str) -> bool:
    """Tell from a kernel's text whether it may have loops to share."""
    lines = source.split("\n")
    heads = (k for k, line in enumerate(lines) if line.startswith("    for "))
    return any("serialize=True" not in lines[k - 1] for k in heads)


def split(function: ast.FunctionDef, places: Mapping[str, Place], lanes: int = 1) -> list[Task]:
    """Return the tasks of a kernel, in order.

    Args:
        function: The kernel.
        places: The arrays that it names.
        lanes: How many worlds a register holds, which stay together.
    """
    arguments = {a.arg for a in function.args.args}
    tasks: list[Task] = []
    ordered: list[ast.stmt] = []
    serial = False
    for node in function.body:
        if not isinstance(node, ast.For):
            serial = _serializes(node)
            if not serial and not isinstance(node, ast.Pass):
                return [Task(function.body)]  # names of the top level may be read anywhere
            continue
        task = None if serial else _shared(node, arguments, places, lanes)
        serial = False
        if task is None:
            ordered.append(node)
            continue
        if ordered:
            tasks.append(Task(ordered))
            ordered = []
        tasks.append(task)
    return [*tasks, Task(ordered)] if ordered or not tasks else tasks


def _serializes(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and "serialize=True" in ast.unparse(node)


# ---- loops ----


def _shared(loop: ast.For, arguments: set[str], places: Mapping[str, Place], lanes: int) -> Task | None:
    """Return the task of a loop, None where it runs in order."""
    loop = _unspread(loop)
    axes = _axes(loop)
    if axes is None or math.prod(axis.length for axis in axes) < 2:
        return None
    privates = privates_of(loop, arguments, places)
    if privates is None:
        return None
    if privates:
        work = math.prod(axis.length for axis in axes) * operations(loop.body)
        elements = sum(private.length for private, _ in privates)
        if work < _EACH * elements or sum(private.bytes for private, _ in privates) > _MOST:
            return None
        for private, sums in privates:
            for node in sums.nodes:
                node.value = name_of(private.name)
    if lanes > 1 and _counts_worlds(axes[0], loop, places):
        items, body = _cut_worlds(axes, loop.body, lanes)
    else:
        items, body = _cut(axes, loop.body)
    gathers = [gather_of(private, sums) for private, sums in privates]
    cuts = max((n for n, _ in gathers), default=0)
    return Task(
        body, items, tuple(p for p, _ in privates), [node for _, nodes in gathers for node in nodes], cuts
    )


def _unspread(loop: ast.For) -> ast.For:
    """Return the loop over what `spread` makes an item each of, of enough iterations for Taichi to share."""
    match loop:
        case ast.For(
            target=ast.Name(id="item"),
            iter=ast.Call(args=[ast.Constant(value=int(count))]),
            body=[ast.If(test, [ast.Assign(targets=[ast.Name() as name]), *body], [])],
        ) if ast.unparse(test) == f"item % {PER_THREAD} == 0":
            return loop_of(name.id, "0", str(count // PER_THREAD), body or [ast.Pass()])
    return loop


def _axes(loop: ast.For) -> list[_Axis] | None:
    """Return the names and bounds of a loop's indices, None where the text does not tell them."""
    targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
    call = loop.iter
    if not isinstance(call, ast.Call):
        return None
    bounds = call.args
    if called(call) == "range":
        bounds = [ast.Tuple([*_zero(call.args), *call.args], ast.Load())]
    axes = []
    for target, bound in zip(targets, bounds, strict=True):
        pair = bound.elts if isinstance(bound, ast.Tuple) else [ast.Constant(0), bound]
        if not isinstance(target, ast.Name) or not all(_is_number(b) for b in pair):
            return None
        axes.append(_Axis(target.id, *(ast.literal_eval(b) for b in pair)))
    return axes


def _zero(bounds: Sequence[ast.expr]) -> list[ast.expr]:
    return [ast.Constant(0)] if len(bounds) == 1 else []


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _cut(axes: Sequence[_Axis], body: list[ast.stmt]) -> tuple[int, list[ast.stmt]]:
    """Return how many items the iterations are, and the loops over those from the first to the last.

    An item is an iteration of the outer loops with all of the innermost one; where that makes few, with a
    block of the innermost one.
    """
    *outer, inner = axes
    if not outer:
        low = f"{FIRST} + {inner.low}" if inner.low else FIRST
        high = f"{LAST} + {inner.low}" if inner.low else LAST
        return inner.length, [loop_of(inner.name, low, high, body)]
    rows = math.prod(axis.length for axis in outer)
    blocks = max(1, min(-(-_ROWS // rows), inner.length // _SHORTEST))
    low, high = str(inner.low), str(inner.high)
    if blocks > 1:
        size = -(-inner.length // blocks)
        blocks = -(-inner.length // size)
        low = f"{inner.low} + item.index % {blocks} * {size}"
        high = f"ti.min({inner.low} + (item.index % {blocks} + 1) * {size}, {inner.high})"
    statements, rest = [], f"item.index // {blocks}" if blocks > 1 else "item.index"
    for k, axis in enumerate(outer):
        inside = math.prod(other.length for other in outer[k + 1 :])
        index = f"({rest}) // {inside}" if inside > 1 else f"({rest})"
        index += f" % {axis.length}" if k else ""
        statements.append(assigned(axis.name, f"{axis.low} + {index}"))
    loop = loop_of(inner.name, low, high, body)
    return rows * blocks, [loop_of("item.index", FIRST, LAST, [*statements, loop])]


def _counts_worlds(axis: _Axis, loop: ast.For, places: Mapping[str, Place]) -> bool:
    """Tell whether an axis is one of worlds that lie beside each other in memory."""
    for node in inside(loop):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            place, indices = places.get(node.value.id), indices_of(node)
            if place is not None and 0 <= place.axis < len(indices):
                index = indices[place.axis]
                if isinstance(index, ast.Name) and index.id == axis.name:
                    return axis.low == 0
    return False


def _cut_worlds(axes: Sequence[_Axis], body: list[ast.stmt], lanes: int) -> tuple[int, list[ast.stmt]]:
    """Return how many registers of worlds there are, and the loops over those from the first to the last."""
    worlds, *inner = axes
    low, high = f"{FIRST} * {lanes}", f"ti.min({LAST} * {lanes}, {worlds.high})"
    bounds = [f"({low}, {high})", *(f"({axis.low}, {axis.high})" for axis in inner)]
    target = ast.Tuple([name_of(axis.name, True) for axis in axes], ast.Store())
    loop = ast.For(target, expression(f"ti.ndrange({', '.join(bounds)})"), body, [])
    return -(-worlds.length // lanes), [loop]
