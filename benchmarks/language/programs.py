"""The programs by name: each a plain Taichi class, and the simulator that inherits its kernels."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from benchmarks.language import (
    bodies,
    carried,
    discrete,
    grids,
    kinetic,
    mpm,
    neighbours,
    pictures,
    solids,
    waves,
)
from benchmarks.language.common import Port

__all__ = ["PROGRAMS", "Pair", "changed_lines", "kernels_of"]


@dataclass(frozen=True)
class Pair:
    """A program twice.

    Attributes:
        name: What it is called.
        plain: The class that runs under Taichi alone.
        port: The simulator; what it does not define itself is the plain class's.
    """

    name: str
    plain: type[Any]
    port: type[Port]


MODULES = (mpm, grids, kinetic, neighbours, carried, solids, bodies, waves, discrete, pictures)


def _pairs() -> dict[str, Pair]:
    found = {}
    for module in MODULES:
        for port in vars(module).values():
            if isinstance(port, type) and issubclass(port, Port) and port is not Port:
                plain = port.__mro__[1]
                name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", plain.__name__).lower()
                found[name] = Pair(name, plain, port)
    return found


PROGRAMS = _pairs()


def kernels_of(pair: Pair) -> dict[str, str]:
    """Return the kernels of a program's plain class by name, with their text."""
    return {
        node.name: ast.unparse(node)
        for node in _class(pair.plain).body
        if isinstance(node, ast.FunctionDef) and any("kernel" in ast.unparse(d) for d in node.decorator_list)
    }


def changed_lines(pair: Pair) -> tuple[int, int]:
    """Count the lines of kernels and functions that the simulator writes anew, and those of all.

    A line that differs by its time index alone (`x[t + 1, i]` for `x[i]`) counts as unchanged; whatever the
    simulator does not override is the same object, and unchanged.
    """
    own = {node.name: node for node in _class(pair.port).body if isinstance(node, ast.FunctionDef)}
    total = changed = 0
    for node in _class(pair.plain).body:
        if not isinstance(node, ast.FunctionDef) or not node.decorator_list:
            continue
        lines = _timeless(ast.unparse(node))
        total += len(lines)
        if node.name in own:
            matcher = SequenceMatcher(None, lines, _timeless(ast.unparse(own[node.name])), autojunk=False)
            changed += len(lines) - sum(block.size for block in matcher.get_matching_blocks())
    return changed, total


def _timeless(text: str) -> list[str]:
    """Return the lines of a text without the time, in subscripts and among arguments."""
    text = re.sub(r"\[t( [+-] 1)?, ", "[", text)
    text = re.sub(r"\[t( [+-] 1)?\]", "[None]", text)
    return re.sub(r"(, )?\bt: ti\.i32", "", text).splitlines()


def _class(cls: type[Any]) -> ast.ClassDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(node, ast.ClassDef)
    return node
