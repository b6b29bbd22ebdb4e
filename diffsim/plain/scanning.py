"""What the text of a kernel says that it does: which States it writes, and whether it draws numbers.

A State that no kernel of a step writes keeps its value, whatever a run does, and so the text must tell. Only
that is read from it; what it cannot tell is learned while a program runs.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diffsim import _taichi
from diffsim.errors import TraceError
from diffsim.language import draws
from diffsim.language.fields import Field, State
from diffsim.language.filling import filled
from diffsim.plain.naming import ATOMICS, MISSING, Names

__all__ = ["Found", "scan"]

ti = _taichi.ti
_STEP = object()  # what stands for the time
Parse = Callable[[Any], ast.FunctionDef]


@dataclass
class Found:
    """What the text of a kernel says.

    Attributes:
        written: States that it writes, by id.
        timeless: Those that it writes without the time.
        draws: It draws random numbers.
    """

    written: dict[int, State] = field(default_factory=dict)
    timeless: set[int] = field(default_factory=set)
    draws: bool = False


def scan(function: Any, owner: Any, args: tuple[Any, ...], parse: Parse) -> Found:
    """Read a kernel.

    Args:
        function: Its Python function.
        owner: Whose method it is; None for none.
        args: Its other arguments.
        parse: Returns the definition of a function.
    """
    found = Found()
    if function is filled:
        if isinstance(args[0], State):
            found.written[id(args[0])] = args[0]
            found.timeless.add(id(args[0]))
        return found
    _Scan(found, parse, set()).read(function, owner, args, {})
    return found


class _Scan:
    """Reads functions that call each other.

    Args:
        found: What is told.
        parse: Returns the definition of a function.
        around: The functions that are being read.
    """

    def __init__(self, found: Found, parse: Parse, around: set[int]) -> None:
        self._found, self._parse, self._around = found, parse, around
        self._known: dict[str, Any] = {}
        self._names: Names | None = None

    def read(self, function: Any, owner: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Read a function, with what is known of its arguments."""
        try:
            node = self._parse(function)
        except (TraceError, SyntaxError, OSError):
            return
        given = args if owner is None else (owner, *args)
        parameters = list(inspect.signature(function).parameters)
        self._known = {**dict(zip(parameters, given, strict=False)), **named}
        for name, value in self._known.items():
            if type(value) is int and name == "t":
                self._known[name] = _STEP
        self._names = Names(function, node, owner)
        self._body(node.body)

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.If):
                self._branch(statement)
                continue
            if isinstance(statement, ast.For | ast.While):
                self._parts(statement)
                self._body(statement.body)
                continue
            self._parts(statement)

    def _branch(self, node: ast.If) -> None:
        self._calls(node.test)
        known = self._truth(node.test)
        if known is not False:
            self._body(node.body)
        if known is not True:
            self._body(node.orelse)

    def _truth(self, test: ast.expr) -> bool | None:
        """Return what a condition is that does not change, as far as that is plain."""
        if isinstance(test, ast.Call) and len(test.args) == 1 and self._object(test.func) is ti.static:
            return self._truth(test.args[0])
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.BoolOp):
            parts = [self._truth(v) for v in test.values]
            decides = isinstance(test.op, ast.Or)
            if decides in parts:
                return decides
            return None if None in parts else not decides
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._compared(test)
        found = self._object(test)
        plain = found is None or isinstance(found, bool | int | float | str)
        return bool(found) if plain else True if isinstance(found, Field) else None

    def _compared(self, test: ast.Compare) -> bool | None:
        a, b = self._object(test.left), self._object(test.comparators[0])
        if MISSING in (a, b) or _STEP in (a, b) or (isinstance(a, Field) and b is not None):
            return None
        checks: dict[type, Callable[[Any, Any], bool]] = {
            ast.Eq: lambda x, y: x == y,
            ast.NotEq: lambda x, y: x != y,
            ast.Lt: lambda x, y: x < y,
            ast.LtE: lambda x, y: x <= y,
            ast.Gt: lambda x, y: x > y,
            ast.GtE: lambda x, y: x >= y,
            ast.Is: lambda x, y: x is y,
            ast.IsNot: lambda x, y: x is not y,
        }
        check = checks.get(type(test.ops[0]))
        try:
            return None if check is None else bool(check(a, b))
        except (TypeError, ValueError):
            return None

    def _parts(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.For | ast.While):
            self._calls(statement.iter if isinstance(statement, ast.For) else statement.test)
            return
        self._calls(statement)
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                self._target(target)
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                self._known[target.id] = self._object(statement.value)
        elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
            self._target(statement.target)

    def _target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._target(element)
            return
        while isinstance(target, ast.Subscript | ast.Attribute):
            base = self._object(target.value)
            if isinstance(target, ast.Subscript) and isinstance(base, State):
                self._found.written[id(base)] = base
                if not self._names_time(target.slice):
                    self._found.timeless.add(id(base))
                return
            target = target.value

    def _names_time(self, index: ast.expr) -> bool:
        first = index.elts[0] if isinstance(index, ast.Tuple) and index.elts else index
        while isinstance(first, ast.BinOp):
            first = first.left if not isinstance(first.left, ast.Constant) else first.right
        return self._object(first) is _STEP

    def _calls(self, node: ast.AST) -> None:
        for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
            function = self._object(call.func)
            if function is draws.random or function is draws.randn:
                self._found.draws = True
            if id(function) in ATOMICS and call.args:
                self._target(call.args[0])
            if isinstance(call.func, ast.Attribute) and call.func.attr == "fill":
                base = self._object(call.func.value)
                if isinstance(base, State):
                    self._found.written[id(base)] = base
                    self._found.timeless.add(id(base))
            self._called(call, function)

    def _called(self, call: ast.Call, function: Any) -> None:
        taichi = None if function is MISSING else _taichi.taichi_function(function)
        plain, owner = taichi or (
            getattr(function, "__func__", function),
            getattr(function, "__self__", None),
        )
        if not isinstance(plain, types.FunctionType) or id(plain) in self._around:
            return
        if str(plain.__module__).split(".")[0] in ("taichi", "numpy"):
            return
        args = tuple(self._object(a) for a in call.args)
        named = {k.arg: self._object(k.value) for k in call.keywords if k.arg}
        _Scan(self._found, self._parse, {*self._around, id(plain)}).read(plain, owner, args, named)

    def _object(self, node: ast.AST) -> Any:
        """Return the Python object that an expression means, as far as that is plain."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self._known:
            return self._known[node.id]
        if isinstance(node, ast.Name):
            assert self._names is not None  # noqa: S101  (`read` set it)
            return self._names.resolve(node)
        if isinstance(node, ast.Attribute):
            base = self._object(node.value)
            return MISSING if base is MISSING or base is _STEP else getattr(base, node.attr, MISSING)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            base = self._object(node.value)
            if isinstance(base, list | tuple | dict):
                try:
                    return base[node.slice.value]  # type: ignore[index]
                except (LookupError, TypeError):
                    return MISSING
        if isinstance(node, ast.Call) and len(node.args) == 1 and self._object(node.func) is ti.static:
            return self._object(node.args[0])
        return MISSING
