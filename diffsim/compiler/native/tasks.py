"""Splitting a kernel into tasks: what runs in order, and loops whose iterations threads share.

A loop at the top level is shared unless the text says `ti.loop_config(serialize=True)` before it. Its
iterations are numbered, and a task does those from `item.first` on, up to `item.last`. (Names with a dot are
those of no text.)

Iterations that add to the same place (`+=`; other changes are of places that an iteration has to itself) add
to zeros of each part's own instead, which are added to the place afterwards in the order of the parts: so
sums round alike however the threads take turns. Where that costs more than it wins, the loop runs in order.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from diffsim.compiler.codegen.writer import PER_THREAD
from diffsim.compiler.native.estimate import operations, surely_differ
from diffsim.compiler.native.expressions import called
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.values import SIZE

__all__ = ["COPIES", "FIRST", "LAST", "PART", "PARTS", "Private", "Task", "candidates", "split"]

FIRST, LAST = "item.first", "item.last"  # arguments of a task
PART, PARTS, COPIES = "item.part", "item.parts", "item.copies"  # of what adds up
_ROWS = 64  # iterations to share, from which on those of an inner loop need not be shared too
_SHORTEST = 16  # iterations of an inner loop that are done together
_EACH = 8  # operations that win what one private element costs
_MOST = 8 << 20  # bytes of private elements of one part
_PADDED = 64  # bytes: parts have lines of the processor's cache to themselves


@dataclass(frozen=True)
class Private:
    """Zeros of each part's own, for additions to a place.

    Attributes:
        target: The name of the place.
        name: What the task adds to.
        place: How it is indexed: as the place, but for indices that are the same in all iterations.
        length: Elements from one part to the next.
    """

    target: str
    name: str
    place: Place
    length: int

    @property
    def bytes(self) -> int:
        """Those of one part."""
        return self.length * SIZE[self.place.dtype]


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


@dataclass
class _Sum:
    """Additions to one place, at indices of which some are the same in all iterations."""

    target: str
    indices: list[ast.expr]  # of one of them
    fixed: tuple[bool, ...]
    nodes: list[ast.Subscript] = field(default_factory=list)


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
    privates = _privates(loop, arguments, places)
    if privates is None:
        return None
    if privates:
        work = math.prod(axis.length for axis in axes) * operations(loop.body)
        elements = sum(private.length for private, _ in privates)
        if work < _EACH * elements or sum(private.bytes for private, _ in privates) > _MOST:
            return None
        for private, sums in privates:
            for node in sums.nodes:
                node.value = _name(private.name)
    if lanes > 1 and _counts_worlds(axes[0], loop, places):
        items, body = _cut_worlds(axes, loop.body, lanes)
    else:
        items, body = _cut(axes, loop.body)
    gathers = [_gather(private, sums) for private, sums in privates]
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
            return ast.For(name, _range(0, count // PER_THREAD), body or [ast.Pass()], [])
    return loop


def _axes(loop: ast.For) -> list[_Axis] | None:
    """Return the names and bounds of a loop's indices, None where the text does not tell them."""
    targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
    call = loop.iter
    if not isinstance(call, ast.Call):
        return None
    bounds = (
        call.args
        if ast.unparse(call.func) != "range"
        else [ast.Tuple([*_zero(call.args), *call.args], ast.Load())]
    )
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
        return inner.length, [_loop(inner.name, low, high, body)]
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
        statements.append(_assign(axis.name, f"{axis.low} + {index}"))
    loop = _loop(inner.name, low, high, body)
    return rows * blocks, [_loop("item.index", FIRST, LAST, [*statements, loop])]


def _counts_worlds(axis: _Axis, loop: ast.For, places: Mapping[str, Place]) -> bool:
    """Tell whether an axis is one of worlds that lie beside each other in memory."""
    for node in _inside(loop):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            place, indices = places.get(node.value.id), _indices(node)
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
    target = ast.Tuple([_name(axis.name, True) for axis in axes], ast.Store())
    loop = ast.For(target, _expression(f"ti.ndrange({', '.join(bounds)})"), body, [])
    return -(-worlds.length // lanes), [loop]


# ---- sums ----


def _privates(
    loop: ast.For, arguments: set[str], places: Mapping[str, Place]
) -> list[tuple[Private, _Sum]] | None:
    """Return what additions of a loop need of their own; None where it has to run in order."""
    sums, others = _accesses(loop, arguments)
    if any(_is_odd(node) for node in _inside(loop)):
        return None
    found = []
    for count, one in enumerate(sums):
        place = places.get(one.target)
        if place is None or place.shared or place.dtype == "u1" or len(place.shape) != len(one.indices):
            return None
        if any(not _apart(one, other) for other in others if other.value.id == one.target):  # type: ignore[attr-defined]
            return None
        sizes = [1 if fixed else n for fixed, n in zip(one.fixed, place.shape, strict=True)]
        strides = [0 if f else math.prod(sizes[k + 1 :]) for k, f in enumerate(one.fixed)]
        length = math.prod(sizes)
        padding = _PADDED // SIZE[place.dtype]
        own = Place(place.dtype, tuple(strides), length)
        found.append(
            (Private(one.target, f"sum{count}.{one.target}", own, -(-length // padding) * padding), one)
        )
    return found


def _accesses(loop: ast.For, arguments: set[str]) -> tuple[list[_Sum], list[ast.Subscript]]:
    """Return the additions of a loop that may meet, and all other places that it names."""
    sums: dict[tuple[str, ...], _Sum] = {}
    targets: set[ast.AST] = set()
    for node in _inside(loop):
        if not isinstance(node, ast.AugAssign) or not isinstance(node.target, ast.Subscript):
            continue
        if not isinstance(node.target.value, ast.Name):
            continue
        targets.add(node.target)
        indices = _indices(node.target)
        fixed = tuple(_is_fixed(index, arguments) for index in indices)
        texts = (ast.unparse(index) if f else "" for index, f in zip(indices, fixed, strict=True))
        one = _Sum(node.target.value.id, indices, fixed)
        sums.setdefault((one.target, *texts), one).nodes.append(node.target)
    others = [
        node
        for node in _inside(loop)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node not in targets
    ]
    return list(sums.values()), others


def _is_odd(node: ast.AST) -> bool:
    """Tell whether threads may not share a loop because of something in it."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
        return not isinstance(node.op, ast.Add) or not isinstance(node.target.value, ast.Name)
    return isinstance(node, ast.Call) and called(node) == "atomic_add"


def _inside(loop: ast.For) -> Iterator[ast.AST]:
    return (node for statement in loop.body for node in ast.walk(statement))


def _indices(node: ast.Subscript) -> list[ast.expr]:
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    none = len(items) == 1 and isinstance(items[0], ast.Constant) and items[0].value is None
    return [] if none else items


def _is_fixed(index: ast.expr, arguments: set[str]) -> bool:
    """Tell whether an index is the same in all iterations: it is made of arguments and literals."""
    return all(
        isinstance(node, ast.Constant | ast.BinOp | ast.operator | ast.expr_context)
        or (isinstance(node, ast.Name) and node.id in arguments)
        for node in ast.walk(index)
    )


def _apart(one: _Sum, other: ast.Subscript) -> bool:
    """Tell whether additions never reach what another access does: an index of theirs always differs."""
    return any(
        fixed and surely_differ(a, b)
        for fixed, a, b in zip(one.fixed, one.indices, _indices(other), strict=True)
    )


def _gather(private: Private, one: _Sum) -> tuple[int, list[ast.stmt]]:
    """Return what adds private elements to their place and zeros them, and in how many parts that can be done.

    Each element is added part by part in a statement of its own, so that no compiler changes the order.
    """
    extents = _extents_of(private, one)
    longest = max(range(len(extents)), key=extents.__getitem__, default=-1)
    names = [f"item.e{k}" for k in range(len(extents))]
    there, own = list(one.indices), [*names]
    moving = [k for k, fixed in enumerate(one.fixed) if not fixed]
    for name, k in zip(names, moving, strict=True):
        there[k] = _name(name)
    mine = [_name("item.copy"), *map(_name, own)]
    total = ast.BinOp(_place(private.target, there), ast.Add(), _place(private.name, mine))
    body: list[ast.stmt] = [
        ast.Assign([_place(private.target, there, True)], total),
        ast.Assign([_place(private.name, mine, True)], ast.Constant(0)),
    ]
    for k, (name, n) in reversed(list(enumerate(zip(names, extents, strict=True)))):
        low, high = ("0", str(n)) if k != longest else _slice(n)
        body = [_loop(name, low, high, body)]
    body = [_loop("item.copy", "0", COPIES, body)]
    if longest < 0:
        body = [_loop("item.once", *_slice(1), body)]
    return max(extents, default=1), body


def _slice(n: int) -> tuple[str, str]:
    return f"{n} * {PART} // {PARTS}", f"{n} * ({PART} + 1) // {PARTS}"


def _extents_of(private: Private, one: _Sum) -> list[int]:
    """Return the lengths of the axes of private elements."""
    strides = [s for s, fixed in zip(private.place.strides, one.fixed, strict=True) if not fixed]
    return [a // b for a, b in zip([private.place.length, *strides], strides, strict=False)]


# ---- text ----


def _range(low: int, high: int) -> ast.Call:
    return ast.Call(_name("range"), [ast.Constant(low), ast.Constant(high)], [])


def _expression(text: str) -> ast.expr:
    """Parse an expression whose names may have dots."""
    tree = ast.parse(text, mode="eval").body
    return _Dotted().visit(tree)


class _Dotted(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        text = ast.unparse(node)
        return _name(text) if text.startswith("item.") else node


def _loop(name: str, low: str, high: str, body: list[ast.stmt]) -> ast.For:
    return ast.For(
        _name(name, True), ast.Call(_name("range"), [_expression(low), _expression(high)], []), body, []
    )


def _assign(name: str, text: str) -> ast.stmt:
    return ast.Assign([_name(name, True)], _expression(text))


def _name(text: str, store: bool = False) -> ast.Name:
    return ast.Name(text, ast.Store() if store else ast.Load())


def _place(name: str, indices: Sequence[ast.expr], store: bool = False) -> ast.Subscript:
    index = ast.Tuple(list(indices), ast.Load()) if indices else ast.Constant(None)
    return ast.Subscript(_name(name), index, ast.Store() if store else ast.Load())
