"""Taichi fields that the user made by hand: what kernels may read of them, and which cells a loop visits.

Kernels read such a field where it lies, as it is at each run: values that Python changes between runs take
effect. Which cells of a sparse one are active is looked up before each run (`followed.py`); a loop over it is
one over all cells whose body is in an `if`. What a declared field has and this one cannot have here is
refused: writes, gradients, indices that do not begin at zero.
"""

from __future__ import annotations

import ast
from math import prod
from typing import Any, NoReturn

from diffsim import _taichi
from diffsim.compiler.ir import Buffer, Operand, Ref
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.followed import Followed
from diffsim.compiler.reading.values import Abstract, Matrix, Object, Sequence
from diffsim.language.fields import Field

__all__ = ["SPARSE_FUNCTIONS", "foreign_cells", "foreign_place", "names_a_node", "sparse_call"]

ti = _taichi.ti
MOST_CELLS = 1 << 24  # of a field whose active cells are followed: 64 MiB
SPARSE_FUNCTIONS = (
    ti.is_active,
    ti.activate,
    ti.deactivate,
    ti.append,
    ti.length,
    ti.get_addr,
)


def foreign_place(ctx: Context, node: ast.Subscript, base: Any) -> tuple[Buffer, tuple[int, ...]]:
    """Return the read-only buffer of a Taichi field that the user made, and the shape of its elements.

    Raises:
        TraceError: The field is one that kernels cannot read rightly.
    """
    name = ctx.text(node.value)
    _check(ctx, node, name, base)
    shape: tuple[int, ...] = (base.n, base.m)[: base.ndim] if _taichi.is_a(base, "MatrixField") else ()
    dtype = _taichi.dtype_name(base.dtype)
    if dtype is None:
        ctx.error(
            node,
            f"{name} must hold floats of 32 or 64 bits, or integers of 8 to 64, got a Taichi field of "
            f"{base.dtype}; make it of another type, or copy it into a ds.Constant before the run",
            rule="PYTHON",
        )
    if _taichi.outside_tables(base):
        ctx.error(
            node,
            f"{name} must be a dense field, got a sparse one made after more than a thousand others, which "
            "Taichi cannot read; copy it into a ds.Constant, or call ds.init() anew",
            rule="PYTHON",
        )
    return ctx.buffers.add_external(base, name, tuple(base.shape), prod(shape), dtype), shape


def foreign_cells(ctx: Context, node: ast.AST, name: str, base: Any) -> tuple[tuple[int, ...], Buffer | None]:
    """Return which cells a loop over a Taichi field or SNode that the user made visits.

    Returns:
        How many there are along each axis; and the buffer that tells which are active, None where all are.

    Raises:
        TraceError: They do not begin at zero, are too many to follow, or Taichi itself would miss some.
    """
    first = base
    while _taichi.is_a(first, "StructField"):
        first = next(iter(first.field_dict.values()))
    _check_package(ctx, node, name, first)
    if _taichi.is_a(first, "SNode"):
        facts = _taichi.node_facts(first)
    else:
        facts = _facts(ctx, node, name, first)
        _check_offset(ctx, node, name, facts)
    shape = tuple(first.shape)
    return shape, _active(ctx, node, name, first, facts) if facts.sparse else None


def _active(ctx: Context, node: ast.AST, name: str, thing: Any, facts: _taichi.Facts) -> Buffer:
    """Return the buffer that tells which cells of a sparse field or SNode are active."""
    shape = tuple(thing.shape)
    if facts.uneven:
        ctx.error(
            node,
            f"the SNodes of {name} must have powers of two along each axis, but for the one under ti.root, "
            f"got others, and {facts.sparse}, where Taichi's own loops pass active cells over; make them so, "
            "or declare the field as ds.Constant(..., layout=ds.sparse(...))",
            rule="CONTROL-FLOW",
        )
    if prod(shape) > MOST_CELLS:
        ctx.error(
            node,
            f"a Taichi field whose active cells are followed must have up to {MOST_CELLS} cells, got {name} "
            f"of shape {shape}; declare it as ds.Constant(..., layout=ds.sparse(...)), or loop over a list "
            "of the indices of its cells, a ds.Constant too",
            rule="TOO-LARGE",
        )
    ctx.note(node, f"which cells of {name} are active is looked up before each run; loops look at all cells")
    return _followed(ctx, "active cells", name, thing, shape, (0, 1))


def _followed(
    ctx: Context, what: str, name: str, thing: Any, shape: tuple[int, ...], limits: tuple[int, int]
) -> Buffer:
    def make() -> Followed:
        look = _taichi.Look(thing, shape, lengths=what == "lengths")
        return Followed(f"{what} of {name}", shape, limits, look)

    return ctx.buffers.follow(what, thing, name, make)


def _check(ctx: Context, node: ast.AST, name: str, base: Any) -> None:
    _check_package(ctx, node, name, base)
    facts = _facts(ctx, node, name, base)
    _check_offset(ctx, node, name, facts)
    if facts.adjoint:
        ctx.error(
            node,
            f"{name} must be a declared field to have a gradient, got a Taichi field with needs_grad=True, "
            "whose gradient would stay zero; declare it as ds.Param(...), or make it without needs_grad",
            rule="PYTHON",
        )


def _check_package(ctx: Context, node: ast.AST, name: str, thing: Any) -> None:
    """Refuse what was made by the package that does not run, whose memory the other one knows nothing of."""
    runs = _taichi.running
    if not isinstance(thing, runs.ti.Field | runs.ti.SNode):
        other = type(thing).__module__.split(".")[0]
        ctx.error(
            node,
            f"{name} must be a field of the Taichi that runs, got one of {other} where {runs.name} does; "
            f"make it with {runs.name}, or declare it as ds.Constant(...)",
            rule="PYTHON",
        )


def _check_offset(ctx: Context, node: ast.AST, name: str, facts: _taichi.Facts) -> None:
    if any(facts.offset):
        ctx.error(
            node,
            f"indices of {name} must begin at 0, got a Taichi field with offset={facts.offset}; copy it into "
            "a ds.Constant, and subtract the offset from its indices",
            rule="INDEX",
        )


def _facts(ctx: Context, node: ast.AST, name: str, base: Any) -> _taichi.Facts:
    facts = _taichi.field_facts(base)
    if facts is None:
        ctx.error(
            node,
            f"{name} must have its place before a rollout is made, got a Taichi field without; give it a "
            "shape=, place it with ti.root, or declare it as ds.Constant(...)",
            rule="PYTHON",
        )
    if facts.overlaps:
        ctx.error(
            node,
            f"{name} must have numbers of one size in its tree of Taichi fields, got others there, which "
            "Vulkan keeps in the same memory; place each size in a ti.FieldsBuilder() of its own, or declare "
            "them as ds.Constant(...)",
            rule="PYTHON",
        )
    return facts


def names_a_node(function: Any) -> bool:
    """Tell whether a function is that of a Taichi field or SNode which returns an SNode above it."""
    owner = getattr(function, "__self__", None)
    return _taichi.is_a(owner, "Field", "SNode") and function.__name__ == "parent"


def sparse_call(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Evaluate what asks which cells of a sparse SNode are active, or how long its lists are.

    Raises:
        TraceError: It changes that, or asks for something else.
    """
    given = arguments_of(ctx, node, evaluate)
    thing = given[0].value if given and isinstance(given[0], Object) else None
    called = evaluate(ctx, node.func)
    function = called.value if isinstance(called, Object) else None
    asks = function in (ti.is_active, ti.length) and len(given) == 2
    if not asks or not _taichi.is_a(thing, "SNode"):
        _refuse_sparse(ctx, node, asks, thing)
    name, shape = ctx.text(node.args[0]), tuple(thing.shape)
    _check_package(ctx, node, name, thing)
    facts = _taichi.node_facts(thing)
    if function is ti.is_active:
        buffer = _active(ctx, node, name, thing, facts) if facts.sparse else None
    elif _taichi.is_dynamic(thing):
        most = shape[-1]
        shape = tuple(thing.parent().shape) if len(shape) > 1 else ()
        buffer = _followed(ctx, "lengths", name, thing, shape, (0, most))
    else:
        _refuse_sparse(ctx, node, asks, thing)
    cell = _cell(ctx, node, given[1], shape)
    ctx.builder.where = ctx.at(node)
    if buffer is None:
        return Object(True)
    found = ctx.builder.load(Ref(buffer, cell, 0, None))
    return ctx.builder.truth(found) if function is ti.is_active else found


def _cell(ctx: Context, node: ast.Call, given: Abstract, shape: tuple[int, ...]) -> tuple[Operand, ...]:
    items = ctx.unpacked(given, node) if isinstance(given, Matrix | Sequence | Object) else [given]
    if len(items) != len(shape):
        ctx.error(
            node,
            f"{ctx.text(node)} must get a cell of {len(shape)} index(es), got {len(items)}; write "
            f"[{', '.join('ijklmnop'[: len(shape)])}]",
            rule="INDEX",
        )
    return tuple(ctx.integer(item, node) for item in items)


def _refuse_sparse(ctx: Context, node: ast.Call, asks: bool, thing: Any) -> NoReturn:
    if asks:
        ctx.error(
            node,
            f"{ctx.text(node.func)} must get a sparse SNode, as ti.root.pointer(...) returns it, got "
            f"{ctx.text(node)}; give it the SNode, or a declared field to ti.is_active",
            rule="FUNCTION",
        )
    if isinstance(thing, Field) and thing.sparse is not None:
        ctx.error(
            node,
            f"{thing.label} must be given blocks by what is written to it, got {ctx.text(node)}; they are "
            "found anew in each step, so write where something is, and pass over the other cells",
            rule="SPARSE",
        )
    ctx.error(
        node,
        f"kernels must not change which cells of a Taichi field are active, got {ctx.text(node)}; do it "
        "in Python before a run, or declare the field as ds.Scratch(..., layout=ds.sparse(...)), of which "
        "writes activate cells",
        rule="FUNCTION",
    )
