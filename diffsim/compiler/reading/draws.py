"""Random numbers in kernels: calls of `ds.random` and `ds.randn`, and what to write for those of others."""

from __future__ import annotations

import ast
import random as standard
from collections.abc import Callable
from typing import Any

import numpy as np

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Buffer, Const, Operand, Ref, is_float
from diffsim.compiler.reading.buffers import Buffers
from diffsim.compiler.reading.constructors import Evaluate, arguments_of
from diffsim.compiler.reading.context import Context
from diffsim.compiler.reading.sites import place_of
from diffsim.compiler.reading.values import Abstract, Matrix, TimeIndex
from diffsim.language import draws
from diffsim.language.outcome import Key
from diffsim.language.philox import COUNTERS

__all__ = ["DRAWS", "refuse_foreign"]

_GENERATORS = (standard.Random, np.random.Generator, np.random.RandomState)
_NORMAL = ("randn", "normal", "gauss", "standard_normal", "normalvariate")


def _uniform(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    given = _given(ctx, node, evaluate, draws.UNIFORM)
    return _unit(ctx.builder, ctx.builder.op("philox0", *given))


def _normal(ctx: Context, node: ast.Call, evaluate: Evaluate) -> Abstract:
    """Make a normal number of two uniform ones, by Box and Muller."""
    given, b = _given(ctx, node, evaluate, draws.NORMAL), ctx.builder
    left = b.op("sub", b.const(1.0), _unit(b, b.op("philox0", *given)))  # exact, and never zero
    size = b.op("sqrt", b.op("mul", b.const(-2.0), b.op("log", left)))
    angle = b.op("mul", b.const(2.0 * np.pi), _unit(b, b.op("philox1", *given)))
    return b.op("mul", size, b.op("cos", angle))


DRAWS: dict[int, Callable[[Context, ast.Call, Evaluate], Abstract]] = {
    id(draws.random): _uniform,
    id(draws.randn): _normal,
}


def _unit(b: Builder, words: Operand) -> Operand:
    """Return two words as a number from 0 to 1: 27 and 26 bits of them, in single precision the first 24."""

    def part(first: int, bits: int) -> Operand:  # signed integers become floats faster
        moved = b.op("shr", words, b.const(64 - first - bits, "u64"))
        return b.cast(b.cast(b.op("bit_and", moved, b.const((1 << bits) - 1, "u64")), "i32"), b.real)

    if b.real == "f32":
        return b.op("mul", part(0, 24), b.const(2.0**-24))
    whole = b.op("add", b.op("mul", part(0, 27), b.const(2.0**26)), part(32, 26))
    return b.op("mul", whole, b.const(2.0**-53))


def _given(ctx: Context, node: ast.Call, evaluate: Evaluate, kind: int) -> list[Operand]:
    """Return the four counters and the key of two words that a call draws by."""
    ctx.builder.where = ctx.at(node)
    b, name = ctx.builder, ctx.text(node.func)
    if ctx.given:
        ctx.error(
            node,
            f"{name} must stay outside of functions with an adjoint of their own, got {ctx.text(node)}; draw "
            "before and pass the number",
            rule="RANDOM",
        )
    counters: list[Operand] = []
    for argument in arguments_of(ctx, node, evaluate):
        value = ctx.runtime(argument, node)
        entries = value.entries if isinstance(value, Matrix) else (ctx.number(value, node),)
        counters += [_word(ctx, node, entry, "counters") for entry in entries]
    if not 1 <= len(counters) <= COUNTERS:
        ctx.error(
            node,
            f"{name} must get 1 to {COUNTERS} counters, got {len(counters)} in {ctx.text(node)}; "
            f"tell draws apart by what is around, as in {_example(ctx, node, name)}",
            rule="RANDOM",
        )
    stream = _stream(ctx, node, evaluate, name)
    key = _key(ctx.buffers)
    first, second = (b.cast(b.load(Ref(key, (b.const(k),))), "u32") for k in range(2))
    counters += [b.const(0, "u32")] * (COUNTERS - len(counters))
    return [*counters, b.op("add", first, stream), b.op("add", second, b.const(kind, "u32"))]


def _word(ctx: Context, node: ast.Call, entry: Operand, what: str) -> Operand:
    if is_float(entry.dtype):
        ctx.error(
            node,
            f"{what} of a random number must be integers, got a float in {ctx.text(node)}; cast it, as in "
            "ti.cast(x, ti.i32), or count with t and loop indices",
            rule="RANDOM",
        )
    return ctx.builder.cast(entry, "u32")


def _stream(ctx: Context, node: ast.Call, evaluate: Evaluate, name: str) -> Operand:
    """Return the number of the stream that is named, or of the call's own."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if set(given) - {"stream"}:
        ctx.error(
            node,
            f"{name} must get counters and stream= in a kernel, got {ctx.text(node)}; the seed is that of "
            "ds.init and of the rollout, and each world has numbers of its own",
            rule="RANDOM",
        )
    if "stream" in given:
        number = ctx.number(evaluate(ctx, given["stream"]), node)
        if isinstance(number, Const) and not 0 <= number.value < draws.STREAMS:
            ctx.error(
                node,
                f"stream must lie in 0 .. 2**31 - 1, got {number.value} in {ctx.text(node)}; use another",
                rule="RANDOM",
            )
        word = _word(ctx, node, number, "the stream")
        # streams of calls that name none have the highest bit
        return ctx.builder.op("bit_and", word, ctx.builder.const(draws.STREAMS - 1, "u32"))
    if ctx.in_adjoint:
        ctx.error(
            node,
            f"{name} must name its stream in an adjoint, got {ctx.text(node)}; name it in the kernel too, so "
            "that both draw the same numbers, as in stream=1",
            rule="RANDOM",
        )
    place = place_of(ctx.site, ctx.frames, node)
    return ctx.builder.const(draws.STREAMS + ctx.buffers.sites.stream(place), "u32")


def _key(buffers: Buffers) -> Buffer:
    """Return where each world's key is, made where it is first asked for."""
    if buffers.key is None:
        buffers.key = buffers.add(Key(), "random key")
    return buffers.key


def refuse_foreign(ctx: Context, node: ast.Call, obj: Any, name: str) -> None:
    """Refuse random numbers of Taichi, NumPy and Python, if a call asks for some.

    Raises:
        TraceError: It does.
    """
    if not (isinstance(getattr(obj, "__self__", None), _GENERATORS) or name in ("random", "randn")):
        return
    ours = "ds.randn" if name in _NORMAL else "ds.random"
    ctx.error(
        node,
        f"kernels must not draw by {ctx.text(node.func)}, whose numbers would be others on the way back; "
        f"write {_example(ctx, node, ours)}, which draws the same again, or draw with NumPy and pass the "
        "numbers in as ds.Constant or ds.Control",
        rule="RANDOM",
    )


def _example(ctx: Context, node: ast.Call, name: str) -> str:
    """Return a call with what counts at a place: the time, and the indices of the loops around."""
    times = [n for n, v in ctx.frame.variables.items() if isinstance(v.current, TimeIndex)]
    counters = [*times[:1], *_targets(ctx.frame.source.node, node)][:COUNTERS]
    return f"{name}({', '.join(counters) or ('0' if ctx.in_reset else 't')})"


def _targets(tree: ast.AST, node: ast.AST) -> list[str]:
    """Return the names that the loops around a node bind, the outermost first."""
    for child in ast.iter_child_nodes(tree):
        if any(inner is node for inner in ast.walk(child)):
            bound = ast.walk(tree.target) if isinstance(tree, ast.For) and child is not tree.iter else ()
            names = [n.id for n in bound if isinstance(n, ast.Name) and n.id != "_"]
            return names + _targets(child, node)
    return []
