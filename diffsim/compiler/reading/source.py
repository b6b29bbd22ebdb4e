"""Reading a kernel's source: its syntax tree, with positions in the user's file."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import os
import re
import textwrap
import types
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
    if function.__name__ == "<lambda>":
        return _parsed_lambda(function)
    lines, start, file = source_of(function)
    text = "".join(lines)
    tree = ast.parse(textwrap.dedent(text))
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TraceError(
            f"kernel {function.__name__} must be a plain function definition, got {type(node).__name__}"
        )
    node.body = structured(node.body)
    _note_what_is_looked_into(node)
    return node, _shown(file), start - 1, len(lines[0]) - len(lines[0].lstrip()), _allowances(lines)


def _shown(file: str) -> str:
    relative = os.path.relpath(file) if os.path.isabs(file) else file
    return file if relative.startswith("..") else relative


def _parsed_lambda(
    function: Callable[..., Any],
) -> tuple[ast.FunctionDef, str, int, int, dict[int, frozenset[str]]]:
    """Return a lambda as the definition of a function, found in the text around it.

    Raises:
        TraceError: Several on one line look alike.
    """
    _, _, file = source_of(function)
    lines = inspect.findsource(function)[0]
    found = {ast.dump(n): n for n in _lambdas_at(lines, function)}
    if len(found) != 1:
        raise TraceError(
            f"a lambda must be told from others on its line to be inlined, got {len(found)} that may be "
            f"meant ({file}:{function.__code__.co_firstlineno}); write it as a def of its own"
        )
    given = next(iter(found.values()))
    body = ast.copy_location(ast.Return(given.body), given.body)
    node = ast.FunctionDef("lambda", given.args, [body], [])
    _note_what_is_looked_into(node)
    return ast.copy_location(node, given), _shown(file), 0, 0, _allowances(lines)


def _lambdas_at(lines: list[str], function: Callable[..., Any]) -> list[ast.Lambda]:
    """Return the lambdas that begin on a function's line and compile to what it is."""
    code = function.__code__
    tree = ast.parse("".join(lines))
    begun = (n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno)
    return [node for node in begun if _outline(_compiled(node, code.co_freevars)) == _outline(code)]


def _compiled(node: ast.Lambda, free: tuple[str, ...]) -> types.CodeType:
    """Return the code of a lambda that sees some names from a function around it."""
    around = ast.parse(f"def around({', '.join(free)}): return lambda: 0")
    around.body[0].body[0].value = node  # type: ignore[attr-defined]
    outer = next(c for c in compile(around, "text", "exec").co_consts if isinstance(c, types.CodeType))
    return next(c for c in outer.co_consts if isinstance(c, types.CodeType))


def _outline(code: types.CodeType) -> tuple[Any, ...]:
    known = tuple(repr(c) for c in code.co_consts if not isinstance(c, types.CodeType | str))
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, known


def _note_what_is_looked_into(node: ast.AST) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute | ast.Subscript):
            vars(inner.value)["looked_into"] = True  # see Captures


def _allowances(lines: list[str]) -> dict[int, frozenset[str]]:
    found = ((k, _ALLOW.search(line)) for k, line in enumerate(lines, 1))
    return {k: frozenset(m[1].upper().replace(",", " ").split()) for k, m in found if m is not None}


def _visible_names(function: Callable[..., Any]) -> dict[str, Any]:
    closure = inspect.getclosurevars(function)
    names: dict[str, Any] = dict(vars(builtins))
    names.update(function.__globals__)
    names.update(closure.nonlocals)
    return names
