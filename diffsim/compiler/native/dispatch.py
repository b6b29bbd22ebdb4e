"""Kernels of several tasks: the functions of each, and the one that runs them in order.

The context that threads get is an array of 64-bit numbers: the address of the zeros for their own sums, the
table, the parts of the task, those of what adds up, and the arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.sums import COPIES, PART, PARTS, Private
from diffsim.compiler.native.tasks import FIRST, LAST, Task
from diffsim.compiler.native.values import SIZE

__all__ = ["Piece", "function", "of_tasks", "used_places"]

_FACTOR = (
    4  # parts for each thread, so that all end at about the same time; one where parts have private sums
)
_LONG = 4096  # private elements from which on threads add them up together
_HEAD = 4  # numbers in the context before the arguments

_ENTER, _CUTS = "enter", "cut"
_TABLE = "ptr noalias readonly %table"


@dataclass(frozen=True)
class Piece:
    """A function of a kernel.

    Attributes:
        name: What LLVM calls it.
        numbers: Its arguments that are numbers of 32 bits.
        places: Those that are addresses.
        code: The body.
    """

    name: str
    numbers: Sequence[str]
    places: Mapping[str, Place]
    code: Assembly


def _facts(place: Place) -> str:
    """Return what LLVM may rely on of a place."""
    if place.shared:
        return ""
    return f"noalias align {SIZE[place.dtype]} dereferenceable({max(1, place.length) * SIZE[place.dtype]})"


def function(piece: Piece) -> list[str]:
    """Return the lines of a function."""
    given = [f"i32 %{name}" for name in piece.numbers]
    pointers = [f"ptr {_facts(place)} %{name}" for name, place in piece.places.items()]
    return [
        f"define internal void @{piece.name}({', '.join([*given, *pointers])}) #3 {{",
        "entry:",
        *piece.code.variables,
        *piece.code.lines,
        "  ret void",
        "}",
    ]


def _call(piece: Piece) -> str:
    """Return a call of a function, whose arguments are in registers of their names."""
    given = [f"i32 %{name}" for name in piece.numbers] + [f"ptr %{name}" for name in piece.places]
    return f"  call void @{piece.name}({', '.join(given)})"


def of_tasks(
    symbol: str,
    arguments: Sequence[str],
    places: Sequence[str],
    tasks: Sequence[Task],
    pieces: Sequence[tuple[Piece, Piece | None]],
) -> list[str]:
    """Return the functions that threads enter, and the one that runs all tasks.

    Args:
        symbol: What to call the function.
        arguments: Its arguments.
        places: The names of the arrays, in the order of the table; behind them is the team.
        tasks: What to run in order.
        pieces: The function of each task, and of what adds up its sums.
    """
    lines: list[str] = []
    body: list[str] = []
    for k, (task, (run, gather)) in enumerate(zip(tasks, pieces, strict=True)):
        if not task.items:
            body.append(_call(run))
            continue
        lines += _entrance(f"{_ENTER}{k}", arguments, places, task, run)
        if gather is not None:
            lines += _entrance(f"{_CUTS}{k}", arguments, places, task, gather)
        body += _shared(k, task, gather is not None)
    head = f"define internal void @{symbol}({', '.join([*(f'i32 %{a}' for a in arguments), _TABLE])}) #0 {{"
    if any(task.items for task in tasks):
        body = [*_prepared(arguments, len(places)), *body]
    return [*lines, head, *_loads(places), *body, "  ret void", "}"]


def _prepared(arguments: Sequence[str], count: int) -> list[str]:
    """Return what fills the context, and finds the team behind so many places."""
    kept = []
    for k, name in enumerate(arguments):
        kept += [
            f"  %context.{k} = getelementptr i64, ptr %context, i64 {_HEAD + k}",
            f"  store i32 %{name}, ptr %context.{k}",
        ]
    return [
        f"  %context = alloca [{_HEAD + len(arguments)} x i64]",
        *kept,
        *_slot("table", 1),
        "  store ptr %table, ptr %slot.table",
        *_slot("parts", 2),
        *_slot("cuts", 3),
        f"  %team.at = getelementptr ptr, ptr %table, i64 {count}",
        "  %team = load ptr, ptr %team.at",
        "  %threads.long = load i64, ptr %team",
        "  %threads = trunc i64 %threads.long to i32",
        "  %share.at = getelementptr ptr, ptr %team, i64 1",
        "  %share = load ptr, ptr %share.at",
    ]


def _loads(places: Sequence[str]) -> list[str]:
    """Return what loads the addresses of the table into registers."""
    return [line for k, name in enumerate(places) for line in _load(k, name)]


def used_places(nodes: Sequence[ast.stmt], places: Mapping[str, Place]) -> dict[str, Place]:
    """Return the places that statements name."""
    names = {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}
    return {name: place for name, place in places.items() if name in names or name.partition(".")[0] in names}


def _slot(name: str, k: int) -> list[str]:
    return [f"  %slot.{name} = getelementptr i64, ptr %context, i64 {k}"]


def _shared(k: int, task: Task, gathers: bool) -> list[str]:
    """Return what decides on parts, and lets the team do a task."""
    factor = 1 if task.privates else _FACTOR
    elements = max((private.place.length for private in task.privates), default=0)
    most_cuts = min(task.cuts, 1 << 16) if elements >= _LONG else 1
    bytes_each = sum(private.bytes for private in task.privates)
    return [
        f"  %wish.{k} = mul i32 %threads, {factor}",
        f"  %parts.{k} = call i32 @llvm.umin.i32(i32 %wish.{k}, i32 {task.items})",
        f"  %cuts.{k} = call i32 @llvm.umin.i32(i32 %threads, i32 {most_cuts if gathers else 0})",
        f"  store i32 %parts.{k}, ptr %slot.parts",
        f"  store i32 %cuts.{k}, ptr %slot.cuts",
        f"  %long.{k} = zext i32 %parts.{k} to i64",
        f"  %bytes.{k} = mul i64 %long.{k}, {bytes_each}",
        f"  call void %share(ptr %team, ptr @{_ENTER}{k}, ptr {f'@{_CUTS}{k}' if gathers else 'null'}, "
        f"ptr %context, i32 %parts.{k}, i32 %cuts.{k}, i64 %bytes.{k})",
    ]


def _entrance(
    name: str, arguments: Sequence[str], places: Sequence[str], task: Task, piece: Piece
) -> list[str]:
    """Return the function that a thread enters with the context and the number of a part."""
    lines = [f"define internal void @{name}(ptr %context, i32 %part) #0 {{"]
    for k, argument in enumerate(arguments):
        lines += [
            f"  %context.{k} = getelementptr i64, ptr %context, i64 {_HEAD + k}",
            f"  %{argument} = load i32, ptr %context.{k}",
        ]
    lines += [*_slot("table", 1), "  %table = load ptr, ptr %slot.table"]
    lines += [*_slot("parts", 2), "  %parts = load i32, ptr %slot.parts"]
    lines += ["  %spare = load ptr, ptr %context"]
    lines += [line for k, p in enumerate(places) if p in piece.places for line in _load(k, p)]
    own = name.startswith(_ENTER)
    lines += _range(task.items) if own else _numbers()
    offset = 0
    for private in task.privates:
        lines += _private(private, offset, own)
        offset += private.bytes
    return [*lines, _call(piece), "  ret void", "}"]


def _load(k: int, name: str) -> list[str]:
    return [f"  %a{k} = getelementptr ptr, ptr %table, i64 {k}", f"  %{name} = load ptr, ptr %a{k}"]


def _range(items: int) -> list[str]:
    """Return what computes the first and the last item of a part."""
    lines = ["  %parts.long = zext i32 %parts to i64", "  %part.long = zext i32 %part to i64"]
    for name, start in ((FIRST, "%part.long"), (LAST, "%next.long")):
        if name == LAST:
            lines.append("  %next.long = add i64 %part.long, 1")
        lines += [
            f"  %{name}.all = mul i64 {start}, {items}",
            f"  %{name}.long = udiv i64 %{name}.all, %parts.long",
            f"  %{name} = trunc i64 %{name}.long to i32",
        ]
    return lines


def _numbers() -> list[str]:
    """Return what names the numbers of a part of what adds up."""
    return [
        *_slot("cuts", 3),
        f"  %{PARTS} = load i32, ptr %slot.cuts",
        f"  %{PART} = add i32 %part, 0",
        f"  %{COPIES} = add i32 %parts, 0",
    ]


def _private(private: Private, offset: int, own: bool) -> list[str]:
    """Return what finds private elements: those of all parts of one sum lie side by side."""
    lines = [
        f"  %{private.name}.long = zext i32 %parts to i64",
        f"  %{private.name}.before = mul i64 %{private.name}.long, {offset}",
        f"  %{private.name}.all = getelementptr i8, ptr %spare, i64 %{private.name}.before",
    ]
    if not own:
        return [*lines, f"  %{private.name} = getelementptr i8, ptr %{private.name}.all, i64 0"]
    return [
        *lines,
        f"  %{private.name}.part = zext i32 %part to i64",
        f"  %{private.name}.skip = mul i64 %{private.name}.part, {private.bytes}",
        f"  %{private.name} = getelementptr i8, ptr %{private.name}.all, i64 %{private.name}.skip",
    ]
