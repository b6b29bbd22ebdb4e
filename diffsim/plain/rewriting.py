"""Rewriting a kernel's syntax tree into plain Python that means what the kernel means.

What Python has already stays as it stands, on the lines where it stands: loops, branches, calls, `print`,
`breakpoint()`. What it lacks becomes calls of `__plain__`: assignments copy vectors and keep the type of a
variable, operators promote as Taichi's do, elements of fields are places in memory, functions of Taichi have
stand-ins, `ti.atomic_*` change a place and return what was there.
"""

from __future__ import annotations

import ast
import copy

from diffsim.plain.expressions import BINARY, ROUNDS, SITE, Asked, Expressions, load
from diffsim.plain.reads import reads_of

__all__ = ["rewritten"]


def rewritten(node: ast.FunctionDef, asked: Asked) -> ast.FunctionDef:
    """Return the definition of the same function in plain Python, by the same lines.

    Args:
        node: The definition, which is changed.
        asked: What is known of its names.
    """
    calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    calls.sort(key=lambda n: (n.lineno, n.col_offset))
    asked.numbers = {id(call): k for k, call in enumerate(calls)}
    return _Rewriter(node, asked).function()


class _Rewriter(Expressions):
    """Rewrites one function."""

    def function(self) -> ast.FunctionDef:
        """Rewrite the definition."""
        node, asked = self._node, self._asked
        start: list[ast.stmt] = [
            self._set(name, self._plain("taken", load(name))) for name in asked.by_value if asked.typed
        ]
        if asked.tracked:
            start.insert(0, self._set(ROUNDS, ast.List([], ast.Load())))
            node.args.kwonlyargs.append(ast.arg(SITE))
            node.args.kw_defaults.append(ast.Constant(""))
        text = ast.get_docstring(node, clean=False) is not None
        body = self._body(node.body[1:] if text else node.body)
        if asked.given_back:
            body.append(ast.Return(self._answer(ast.Constant(None))))
        first = node.body[0]
        for statement in start:
            ast.copy_location(statement, first)
        node.body = [*start, *body]
        node.decorator_list, node.returns = [], None
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            argument.annotation = None
        return node

    # ---- statements ----

    def _body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        done: list[ast.stmt] = []
        for statement in statements:
            handler = getattr(self, f"_{type(statement).__name__.lower()}", None)
            made = [statement] if handler is None else handler(statement)
            for part in made:
                if part is not statement:
                    ast.copy_location(part, statement)
            done += made
        return done or [ast.Pass()]

    def _inner(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        with self._scopes.inner():
            return self._body(statements) if statements else []

    def _assign(self, node: ast.Assign) -> list[ast.stmt]:
        value = self.value(node.value)
        if self._is_static(node.value) and all(isinstance(t, ast.Name) for t in node.targets):
            self._scopes.bind(*(t.id for t in node.targets if isinstance(t, ast.Name)))
            node.value = value
            return [node]
        if len(node.targets) == 1:
            return self._assigned(node.targets[0], value)
        name = self._name()
        made: list[ast.stmt] = [self._set(name, value)]
        for target in node.targets:
            made += self._assigned(target, load(name))
        return made

    def _assigned(self, target: ast.expr, value: ast.expr) -> list[ast.stmt]:
        if isinstance(target, ast.Name):
            return [self._set(target.id, self._kept(target.id, value))]
        if isinstance(target, ast.Tuple | ast.List):
            name = self._name()
            made: list[ast.stmt] = [
                self._set(name, self._plain("unpacked", value, ast.Constant(len(target.elts))))
            ]
            for k, element in enumerate(target.elts):
                made += self._assigned(element, ast.Subscript(load(name), ast.Constant(k), ast.Load()))
            return made
        if isinstance(target, ast.Subscript):
            given = self._view(target.value), self._index(target.slice), value
            return [ast.Expr(self._plain("put", *given))]
        assert isinstance(target, ast.Attribute)  # noqa: S101  (Python has no other targets)
        return [ast.Expr(self._plain("put_part", self._view(target.value), ast.Constant(target.attr), value))]

    def _annassign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        if node.value is None:
            return [ast.Pass()]
        kind = self.value(node.annotation)
        return self._assigned(node.target, self._plain("annotated", kind, self.value(node.value)))

    def _augassign(self, node: ast.AugAssign) -> list[ast.stmt]:
        name, value = ast.Constant(BINARY[type(node.op)]), self.value(node.value)
        target = node.target
        if isinstance(target, ast.Name):
            found = self._plain("apply", name, load(target.id), value)
            return [self._set(target.id, self._kept(target.id, found))]
        if isinstance(target, ast.Subscript):
            changed = self._plain("change", name, self._view(target.value), self._index(target.slice), value)
        else:
            part = ast.Constant(target.attr)
            changed = self._plain("change_part", name, self._view(target.value), part, value)
        return [ast.Expr(changed)]

    def _expr(self, node: ast.Expr) -> list[ast.stmt]:
        if not isinstance(node.value, ast.Constant):
            node.value = self.value(node.value)
        return [node]

    def _return(self, node: ast.Return) -> list[ast.stmt]:
        value = ast.Constant(None) if node.value is None else self.value(node.value)
        node.value = self._answer(value if node.value is None else self._plain("given", value))
        return [node]

    def _answer(self, value: ast.expr) -> ast.expr:
        if not self._asked.given_back:
            return value
        names: list[ast.expr] = [load(name) for name in self._asked.given_back]
        return ast.Tuple([value, ast.Tuple(names, ast.Load())], ast.Load())

    def _if(self, node: ast.If) -> list[ast.stmt]:
        known = any(self._is_static(inner) for inner in ast.walk(node.test))
        node.test = self.value(node.test)
        if known:  # names of the side that is taken go on
            node.body, node.orelse = self._scopes.sides(
                lambda: self._body(node.body), lambda: self._body(node.orelse) if node.orelse else []
            )
        else:
            node.body, node.orelse = self._inner(node.body), self._inner(node.orelse)
        return [node]

    def _for(self, node: ast.For) -> list[ast.stmt]:
        unrolled = isinstance(node.iter, ast.Call) and self._asked.unrolls(
            self._asked.resolve(node.iter.func)
        )
        single = ast.Constant(isinstance(node.target, ast.Name))
        over = node.iter.args[0] if isinstance(node.iter, ast.Call) and node.iter.args else node.iter
        reads = self._reads(node) if isinstance(over, ast.Name | ast.Attribute) else []
        node.iter = self._counted(unrolled, self._plain("items", self.value(node.iter), single, *reads))
        with self._scopes.inner():
            self._scopes.bind(*(n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)))
            self._rounds += unrolled
            node.body = self._body(node.body)
            self._rounds -= unrolled
        node.orelse = self._inner(node.orelse)
        return [node]

    def _reads(self, node: ast.For) -> list[ast.expr]:
        """Return what the body of a loop reads, as a function that is called where the field is sparse."""
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        rows: list[ast.expr] = []
        for base, first, count, own in copy.deepcopy(reads_of(node)):
            used = {n.id for part in (base, first) for n in ast.walk(part) if isinstance(n, ast.Name)}
            if not used & bound:
                row: list[ast.expr] = [base, first, ast.Constant(count), ast.Constant(own)]
                rows.append(ast.Tuple(row, ast.Load()))
        if not rows:
            return []
        nothing = ast.arguments([], [], None, [], [], None, [])
        return [ast.Lambda(nothing, ast.Tuple(rows, ast.Load()))]

    def _while(self, node: ast.While) -> list[ast.stmt]:
        node.test = self.value(node.test)
        node.body, node.orelse = self._inner(node.body), self._inner(node.orelse)
        return [node]

    def _assert(self, node: ast.Assert) -> list[ast.stmt]:
        node.test = self.value(node.test)
        node.msg = None if node.msg is None else self.value(node.msg)
        return [node]
