"""Reading a kernel's source: its syntax tree, with positions in the user's file."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffsim.compiler.ir import Location
from diffsim.compiler.reading.flow import structured
from diffsim.errors import TraceError
from diffsim.language.snapshot import MISSING
from diffsim.language.sources import source_of

__all__ = ["Source", "read_source"]

_ALLOW = re.compile(r"#\s*diffsim:\s*allow\s+([A-Za-z,\- ]+)")


@dataclass(frozen=True)
class Source:
    """A function's definition and where it stands.

    Attributes:
        node: The function's syntax tree.
        file: The path shown in messages, relative to the working directory where it is below it.
        line: The line before the first of the tree.
        indent: Columns cut off before parsing.
        names: Globals, closure variables and builtins that the function sees.
        function: The function itself.
        allowed: Lines of the tree with a comment `# diffsim: allow RULE`, and the rules that each names.
    """

    node: ast.FunctionDef
    file: str
    line: int
    indent: int
    names: dict[str, Any]
    function: Callable[..., Any]
    allowed: dict[int, frozenset[str]]

    def at(self, node: ast.AST) -> Location:
        """Return the position of a node in the user's file."""
        line = self.line + getattr(node, "lineno", 1)
        return Location(self.file, line, self.indent + getattr(node, "col_offset", 0) + 1, self.node.name)

    def reader(self, name: str) -> tuple[Any, Callable[[Any], Any]]:
        """Return what holds a visible name, and what reads its value there as it is now."""
        free = self.function.__code__.co_freevars
        if name in free and self.function.__closure__:
            cell = self.function.__closure__[free.index(name)]
            return cell, lambda holder: holder.cell_contents
        hidden = vars(builtins).get(name, MISSING)  # so that a global that is gone is missed
        return self.function.__globals__, lambda holder: holder.get(name, hidden)

    def allows(self, node: ast.AST, rule: str) -> bool:
        """Tell whether a comment on a node's line, or on the line of the definition, allows what it does."""
        first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None) or 1
        lines = {*range(first, max(first, last) + 1), self.node.lineno}
        return any(rule in self.allowed.get(line, ()) for line in lines)


def read_source(function: Callable[..., Any]) -> Source:
    """Parse a function's definition.

    Raises:
        TraceError: Its source cannot be read (it came through a pipe, say).
    """
    node, file, line, indent, allowed = _parsed(function)
    return Source(node, file, line, indent, _visible_names(function), function, allowed)


@functools.lru_cache(maxsize=1024)
def _parsed(function: Callable[..., Any]) -> tuple[ast.FunctionDef, str, int, int, dict[int, frozenset[str]]]:
    lines, start, file = source_of(function)
    text = "".join(lines)
    tree = ast.parse(textwrap.dedent(text))
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TraceError(
            f"kernel {function.__name__} must be a plain function definition, got {type(node).__name__}"
        )
    node.body = structured(node.body)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute | ast.Subscript):
            vars(inner.value)["looked_into"] = True  # see Captures
    if os.path.isabs(file):
        relative = os.path.relpath(file)
        file = file if relative.startswith("..") else relative
    return node, file, start - 1, len(lines[0]) - len(lines[0].lstrip()), _allowances(lines)


def _allowances(lines: list[str]) -> dict[int, frozenset[str]]:
    found = ((k, _ALLOW.search(line)) for k, line in enumerate(lines, 1))
    return {k: frozenset(m[1].upper().replace(",", " ").split()) for k, m in found if m is not None}


def _visible_names(function: Callable[..., Any]) -> dict[str, Any]:
    closure = inspect.getclosurevars(function)
    names: dict[str, Any] = dict(vars(builtins))
    names.update(function.__globals__)
    names.update(closure.nonlocals)
    return names
