"""Rewriting the expressions of a kernel into plain Python; see `rewriting`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diffsim.plain.naming import ATOMICS, MISSING, local_names
from diffsim.plain.scopes import Scopes

__all__ = ["BINARY", "PLAIN", "ROUNDS", "SITE", "Asked", "Expressions", "load"]

PLAIN = "__plain__"
SITE, ROUNDS = "__site__", "__rounds__"
BINARY = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "shr",
    ast.MatMult: "matmul",
}
_COMPARE = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Is: "is",
    ast.IsNot: "is_not",
    ast.In: "in",
    ast.NotIn: "not_in",
}


@dataclass
class Asked:
    """What rewriting a function asks about the names in it.

    Attributes:
        resolve: The object that a name, or a chain of attributes, means before anything runs, or `MISSING`.
        is_static: Tell whether an object is `ti.static`.
        unrolls: Tell whether a loop over what an object returns is unrolled.
        stand_in: The place in `__plain__.table` of what stands for an object; None for none.
        draws: Tell whether an object draws random numbers.
        references: Which parameters of a function it assigns to, by reference.
        typed: Its variables keep their type: it is Taichi's.
        by_value: Its parameters that are copies.
        given_back: Its own parameters that it assigns to, by reference.
        tracked: Calls note where they stand, since numbers are drawn below.
    """

    resolve: Callable[[ast.expr], Any]
    is_static: Callable[[Any], bool]
    unrolls: Callable[[Any], bool]
    stand_in: Callable[[Any], int | None]
    draws: Callable[[Any], bool]
    references: Callable[[Any], tuple[int, ...]]
    typed: bool = True
    by_value: tuple[str, ...] = ()
    given_back: tuple[str, ...] = ()
    tracked: bool = False
    numbers: dict[int, int] = field(default_factory=dict)


class Expressions:
    """Rewrites the expressions of one function.

    Args:
        node: Its definition.
        asked: What is known of its names.
    """

    def __init__(self, node: ast.FunctionDef, asked: Asked) -> None:
        self._node, self._asked = node, asked
        self._locals = local_names(node)
        self._scopes = Scopes(a.arg for a in node.args.args)
        self._made = 0
        self._rounds = 0  # unrolled loops around

    # ---- expressions ----

    def value(self, node: ast.expr) -> ast.expr:
        """Return what an expression means in plain Python."""
        handler = getattr(self, f"_{type(node).__name__.lower()}_value", None)
        made = self._generic(node) if handler is None else handler(node)
        if made is not node:
            ast.copy_location(made, node)
        return made

    def _generic(self, node: Any) -> Any:
        for name, old in ast.iter_fields(node):
            if isinstance(old, list):
                setattr(node, name, [self._part(item) for item in old])
            elif isinstance(old, ast.AST):
                setattr(node, name, self._part(old))
        return node

    def _part(self, item: Any) -> Any:
        if isinstance(item, ast.expr):
            return self.value(item)
        return self._generic(item) if isinstance(item, ast.keyword) else item

    def _name_value(self, node: ast.Name) -> ast.expr:
        if node.id in self._locals or not isinstance(node.ctx, ast.Load):
            return node
        found = self._asked.resolve(node)
        return node if found is MISSING or callable(found) else self._plain("seen", node)

    def _attribute_value(self, node: ast.Attribute) -> ast.expr:
        if not isinstance(node.ctx, ast.Load):
            return node
        found = self._asked.resolve(node)
        node.value = self._base(node.value)
        return node if found is not MISSING and callable(found) else self._plain("seen", node)

    def _base(self, node: ast.expr) -> ast.expr:
        """Return what is looked into, as it is."""
        if isinstance(node, ast.Name):
            return node
        if isinstance(node, ast.Attribute):
            node.value = self._base(node.value)
            return node
        return self.value(node)

    def _view(self, node: ast.expr) -> ast.expr:
        """Return what is written into: a place of memory itself, not a copy."""
        if isinstance(node, ast.Subscript):
            made = self._plain("view", self._view(node.value), self._index(node.slice))
            return ast.copy_location(made, node)
        if isinstance(node, ast.Attribute):
            node.value, node.ctx = self._view(node.value), ast.Load()
            return node
        return node if isinstance(node, ast.Name) else self.value(node)

    def _subscript_value(self, node: ast.Subscript) -> ast.expr:
        return self._plain("load", self._base(node.value), self._index(node.slice))

    def _index(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Tuple):
            made: ast.expr = ast.Tuple([self._index(e) for e in node.elts], ast.Load())
        elif isinstance(node, ast.Slice):
            bounds = [ast.Constant(None) if b is None else self.value(b) for b in _bounds(node)]
            made = self._plain("slice", *bounds)
        else:
            return self.value(node)
        return ast.copy_location(made, node)

    def _binop_value(self, node: ast.BinOp) -> ast.expr:
        chain = [node]  # a sum of many terms is deep on its left
        while isinstance(chain[-1].left, ast.BinOp):
            chain.append(chain[-1].left)
        chain.reverse()
        parts = [self._side(chain[0].left)]
        for part in chain:
            parts += [ast.Constant(BINARY[type(part.op)]), self._side(part.right)]
        if len(chain) == 1:
            return self._plain("apply", parts[1], parts[0], parts[2])
        return self._plain("folded", *parts)

    def _side(self, node: ast.expr) -> ast.expr:
        value = self.value(node)  # (1,) * 3 is longer, not a vector times three
        return ast.copy_location(self._plain("row", value), value) if isinstance(node, ast.Tuple) else value

    def _unaryop_value(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return node
        name = {ast.USub: "negated", ast.Not: "opposite", ast.Invert: "inverted"}.get(type(node.op))
        operand = self.value(node.operand)
        return operand if name is None else self._plain(name, operand)

    def _compare_value(self, node: ast.Compare) -> ast.expr:
        parts = [self.value(node.left)]
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            parts += [ast.Constant(_COMPARE[type(op)]), self.value(comparator)]
        return self._plain("chained", *parts)

    def _ifexp_value(self, node: ast.IfExp) -> ast.expr:
        if any(self._is_static(inner) for inner in ast.walk(node.test)):
            return self._generic(node)  # type: ignore[no-any-return]
        test, sides = self.value(node.test), [self.value(node.body), self.value(node.orelse)]
        made = [ast.Lambda(ast.arguments([], [], None, [], [], None, []), side) for side in sides]
        for part, side in zip(made, sides, strict=True):
            ast.copy_location(part, side)
        return self._plain("either", test, *made)

    def _list_value(self, node: ast.List) -> ast.expr:
        return self._plain("row", self._generic(node))

    def _listcomp_value(self, node: ast.ListComp) -> ast.expr:
        return self._plain("row", self._comprehension(node))

    def _generatorexp_value(self, node: ast.GeneratorExp) -> ast.expr:
        return self._comprehension(node)

    def _setcomp_value(self, node: ast.SetComp) -> ast.expr:
        return self._comprehension(node)

    def _dictcomp_value(self, node: ast.DictComp) -> ast.expr:
        return self._comprehension(node)

    def _comprehension(self, node: Any) -> Any:
        before = self._rounds
        for generator in node.generators:
            generator.iter = self._counted(
                True, self._plain("items", self.value(generator.iter), ast.Constant(True))
            )
            ast.copy_location(generator.iter, node)
            self._rounds += 1
            generator.ifs = [self.value(test) for test in generator.ifs]
        for name in ("elt", "key", "value"):
            if hasattr(node, name):
                setattr(node, name, self.value(getattr(node, name)))
        self._rounds = before
        return node

    def _lambda_value(self, node: ast.Lambda) -> ast.expr:
        node.body = self.value(node.body)
        return node

    def _namedexpr_value(self, node: ast.NamedExpr) -> ast.expr:
        node.value = self._kept(node.target.id, self.value(node.value))
        ast.copy_location(node.value, node)
        return node

    # ---- calls ----

    def _call_value(self, node: ast.Call) -> ast.expr:
        found = self._asked.resolve(node.func)
        number = self._asked.numbers.get(id(node), -1)
        atomic = ATOMICS.get(id(found))
        if atomic is not None and len(node.args) == 2:
            return self._atomic(atomic, node.args[0], self.value(node.args[1]))
        names = [a.id if isinstance(a, ast.Name) and a.id in self._locals else None for a in node.args]
        function = self._function(node.func, found, number)
        node.args = [self.value(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.value(keyword.value)
        if self._asked.draws(found):
            node.args.insert(0, self._here(number))
        node.func = function
        referred = [k for k in self._asked.references(found) if k < len(names)]
        if not self._asked.references(found):
            return node
        return self._given_back(node, [(j, names[k]) for j, k in enumerate(referred)])

    def _function(self, node: ast.expr, found: Any, number: int) -> ast.expr:
        place = None if found is MISSING else self._asked.stand_in(found)
        if place is not None:
            table = ast.Attribute(load(PLAIN), "table", ast.Load())
            return ast.copy_location(ast.Subscript(table, ast.Constant(place), ast.Load()), node)
        if isinstance(node, ast.Name) and type(found).__name__ == "builtin_function_or_method":
            return node  # print, len, breakpoint: Python's own, right here
        where = [self._here(number)] if self._asked.tracked else []
        name = "referring" if self._asked.references(found) else "fn"
        return ast.copy_location(self._plain(name, self._base(node), *where), node)

    def _here(self, number: int) -> ast.expr:
        """Name the place of a call, by which random numbers know their stream."""
        if not self._asked.tracked:
            return ast.Constant("")
        rounds = ast.Subscript(load(ROUNDS), ast.Slice(None, ast.Constant(self._rounds), None), ast.Load())
        return self._plain("here", load(SITE), ast.Constant(f"{self._node.name}:{number}"), rounds)

    def _given_back(self, call: ast.Call, targets: list[tuple[int, str | None]]) -> ast.expr:
        """Assign what a function has made of its parameters by reference, and return its value."""
        name = self._name()
        made: list[ast.expr] = [ast.NamedExpr(ast.Name(name, ast.Store()), call)]
        for place, target in targets:
            if target is not None:
                parts = ast.Subscript(load(name), ast.Constant(1), ast.Load())
                new = ast.Subscript(parts, ast.Constant(place), ast.Load())
                made.append(ast.NamedExpr(ast.Name(target, ast.Store()), self._kept(target, new)))
        answer = ast.Subscript(load(name), ast.Constant(0), ast.Load())
        return self._plain("last", *made, answer)

    def _atomic(self, name: str, target: ast.expr, value: ast.expr) -> ast.expr:
        if isinstance(target, ast.Name):
            found = self._plain("combined", ast.Constant(name), load(target.id), value)
            new = ast.NamedExpr(ast.Name(target.id, ast.Store()), self._kept(target.id, found))
            return self._plain("first", load(target.id), new)
        if isinstance(target, ast.Attribute):
            part = ast.Constant(target.attr)
            return self._plain("change_part", ast.Constant(name), self._view(target.value), part, value)
        assert isinstance(target, ast.Subscript)  # noqa: S101  (nothing else can be changed)
        given = self._view(target.value), self._index(target.slice), value
        return self._plain("change", ast.Constant(name), *given)

    # ---- parts ----

    def _kept(self, name: str, value: ast.expr) -> ast.expr:
        """Return what a name is assigned: a copy, in the type that the variable has if it has one."""
        known = self._scopes.declare(name)
        if known and self._asked.typed:
            return self._plain("again", load(name), value)
        return self._plain("new", value)

    def _counted(self, unrolled: bool, items: ast.expr) -> ast.expr:
        """Let a loop that is unrolled note which iteration runs."""
        if not (unrolled and self._asked.tracked):
            return items
        return self._plain("counted", load(ROUNDS), ast.Constant(self._rounds), items)

    def _is_static(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and self._asked.is_static(self._asked.resolve(node.func))

    def _plain(self, name: str, *arguments: ast.expr) -> ast.Call:
        function = ast.Attribute(load(PLAIN), name, ast.Load())
        return ast.Call(function, list(arguments), [])

    def _set(self, name: str, value: ast.expr) -> ast.Assign:
        return ast.Assign([ast.Name(name, ast.Store())], value)

    def _name(self) -> str:
        self._made += 1
        return f"__value{self._made}__"


def load(name: str) -> ast.Name:
    """Return a name that is read."""
    return ast.Name(name, ast.Load())


def _bounds(node: ast.Slice) -> tuple[ast.expr | None, ...]:
    return node.lower, node.upper, node.step
