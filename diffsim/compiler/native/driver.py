"""A whole rollout as functions of one block of memory: what calls its kernels, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Call", "Member", "driver"]

_TURN = -1  # in the place of a kernel
_DIGITS = [f"\\{byte:02X}" for byte in range(256)]


class Member(NamedTuple):
    """A kernel of a rollout.

    Attributes:
        symbol: The function, of a module of `translate`.
        arguments: How many integers it takes.
        offsets: Where its places are in the block [bytes].
    """

    symbol: str
    arguments: int
    offsets: tuple[int, ...]


class Call(NamedTuple):
    """A launch of a kernel.

    Attributes:
        kernel: Its position.
        arguments: Integers.
    """

    kernel: int
    arguments: tuple[int, ...]


def driver(
    name: str,
    kernels: Sequence[Member],
    scripts: Mapping[str, Sequence[Call | None]],
    size: int,
    first: Mapping[int, bytes],
    cost: tuple[int, int],
) -> str:
    """Return a module with `i64 NAME_bytes()`, `void NAME_init(ptr)` and `double NAME_SCRIPT(ptr)`.

    Args:
        name: What the functions' names begin with.
        kernels: What scripts call.
        scripts: Launches in order, by name; None where the cost is complete, before anything is recomputed.
        size: Bytes of the block.
        first: What `init` writes into the zeroed block, by place.
        cost: Where the cost is, and its size: both in bytes.
    """
    lines = [f"declare void @{k.symbol}({', '.join(['i32'] * k.arguments + ['ptr'])})" for k in kernels]
    lines += [f"define i64 @{name}_bytes() {{", f"  ret i64 {size}", "}"]
    lines += _init(name, size, first)
    for script, calls in scripts.items():
        lines += _script(f"{name}_{script}", kernels, calls, cost)
    return "\n".join(lines) + "\n"


def _init(name: str, size: int, first: Mapping[int, bytes]) -> list[str]:
    body, data = [f"  call void @llvm.memset.p0.i64(ptr %memory, i8 0, i64 {size}, i1 false)"], []
    for k, (place, content) in enumerate(first.items()):
        text = "".join(map(_DIGITS.__getitem__, content))
        data.append(f'@{name}_first{k} = internal constant [{len(content)} x i8] c"{text}"')
        sizes = f"i64 {len(content)}, i1 false"
        body += [
            f"  %p{k} = getelementptr i8, ptr %memory, i64 {place}",
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %p{k}, ptr @{name}_first{k}, {sizes})",
        ]
    return [
        *data,
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
        f"define void @{name}_init(ptr %memory) {{",
        *body,
        "  ret void",
        "}",
    ]


def _script(
    symbol: str, kernels: Sequence[Member], calls: Sequence[Call | None], cost: tuple[int, int]
) -> list[str]:
    """Return a function that goes through a table of launches; it returns the cost."""
    launches = [call for call in calls if call is not None]
    width = 1 + max((len(call.arguments) for call in launches), default=0)
    rows = [[_TURN] if call is None else [call.kernel, *call.arguments] for call in calls]
    rows = [row + [0] * (width - len(row)) for row in rows]
    row, used = f"[{width} x i32]", sorted({call.kernel for call in launches})
    real = "float" if cost[1] == 4 else "double"
    table = ", ".join(f"{row} [{', '.join(f'i32 {n}' for n in numbers)}]" for numbers in rows)
    kind = f"[{len(rows)} x {row}]"
    lines = [
        f"@{symbol}_calls = internal constant {kind} [{table}]",
        f"define double @{symbol}(ptr %memory) {{",
    ]
    lines += ["entry:", "  %kept = alloca double", f"  %cost = getelementptr i8, ptr %memory, i64 {cost[0]}"]
    for k in used:
        lines += _table(k, kernels[k].offsets)
    lines += [
        "  br label %next",
        "next:",
        "  %i = phi i64 [ 0, %entry ], [ %j, %done ]",
        f"  %row = getelementptr {kind}, ptr @{symbol}_calls, i64 0, i64 %i",
        "  %kernel = load i32, ptr %row",
    ]
    for k in range(1, width):
        lines += [f"  %q{k} = getelementptr i32, ptr %row, i64 {k}", f"  %n{k} = load i32, ptr %q{k}"]
    cases = " ".join(f"i32 {k}, label %call{k}" for k in used)
    lines.append(f"  switch i32 %kernel, label %turn [ {cases} ]")
    lines += ["turn:", f"  %now = load {real}, ptr %cost"]
    wide = "%now" if real == "double" else "%wide"
    lines += [] if real == "double" else ["  %wide = fpext float %now to double"]
    lines += [f"  store double {wide}, ptr %kept", "  br label %done"]
    for k in used:
        given = ", ".join([f"i32 %n{a + 1}" for a in range(kernels[k].arguments)] + [f"ptr %table{k}"])
        lines += [f"call{k}:", f"  call void @{kernels[k].symbol}({given})", "  br label %done"]
    lines += [
        "done:",
        "  %j = add i64 %i, 1",
        f"  %more = icmp slt i64 %j, {len(rows)}",
        "  br i1 %more, label %next, label %end",
        "end:",
        "  %found = load double, ptr %kept",
        "  ret double %found",
        "}",
    ]
    return lines


def _table(k: int, offsets: Sequence[int]) -> list[str]:
    """Return instructions that make the table of a kernel's addresses."""
    lines = [f"  %table{k} = alloca ptr, i64 {max(1, len(offsets))}"]
    for place, offset in enumerate(offsets):
        lines += [
            f"  %a{k}.{place} = getelementptr i8, ptr %memory, i64 {offset}",
            f"  %t{k}.{place} = getelementptr ptr, ptr %table{k}, i64 {place}",
            f"  store ptr %a{k}.{place}, ptr %t{k}.{place}",
        ]
    return lines
