"""Several worlds in one register: loops over worlds in which each operation is done for all of them at once.

What differs from world to world is a register of numbers, everything else one number as ever. Where worlds
take different branches, each branch is taken for those that it is for, by a mask: they alone assign to names,
store, and are asked for their indices. A loop whose bounds differ runs until the last world has left it.
(Pharr and Mark 2012, "ispc: a SPMD compiler for high-performance CPU programming".)
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from diffsim.compiler.native.arithmetic import Unsupported
from diffsim.compiler.native.assembly import Assembly
from diffsim.compiler.native.expressions import FIRST, Expressions
from diffsim.compiler.native.memory import Place, lanes_of
from diffsim.compiler.native.scopes import varying
from diffsim.compiler.native.values import Number, literal

__all__ = ["Worlds", "added_to", "left_early"]

_SHORT = 8  # statements of a branch without loads, which cost less than a jump


class Worlds(Expressions):
    """The translation of loops over worlds.

    Args:
        code: What is translated goes there.
        real: The type of float literals.
        places: The arrays that the text names.
        shared: Several threads run it at the same time.
        lanes: How many worlds a register holds; 1 for one after the other.
        worlds: How many there are.
    """

    def __init__(
        self,
        code: Assembly,
        real: str,
        places: Mapping[str, Place],
        shared: bool,
        lanes: int,
        worlds: int,
    ) -> None:
        super().__init__(code, real, places, shared)
        self._lanes, self._worlds = lanes, worlds

    def statements(self, nodes: Sequence[ast.stmt]) -> None:
        """Translate statements in order."""
        raise NotImplementedError

    # ---- loops over worlds ----

    def _counts_worlds(self, name: str, bounds: ast.expr, body: Sequence[ast.stmt]) -> bool:
        """Tell whether a loop counts worlds, from a place on where a register begins."""
        if self._lanes == 1 or self._lane:
            return False
        if isinstance(bounds, ast.Call):
            start = bounds.args[0] if len(bounds.args) == 2 else None
        else:
            start = bounds.elts[0] if isinstance(bounds, ast.Tuple) else None
        return (start is None or _multiple(start, self._lanes)) and any(
            self._is_row(node, name)
            for part in body
            for node in ast.walk(part)
            if isinstance(node, ast.Subscript)
        )

    def _is_row(self, node: ast.Subscript, name: str) -> bool:
        """Tell whether a loop's name is the index of an axis whose neighbours lie beside each other."""
        array, items = self._named(node)
        place = self._places.get(array)
        if place is None or place.axis < 0 or len(items) != len(place.strides):
            return False
        return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(items[place.axis]))

    def _together(
        self, name: str, bounds: tuple[Number, Number], body: Sequence[ast.stmt], inside: Callable[[], None]
    ) -> None:
        """Translate a loop over worlds, several at once."""
        start, stop = bounds
        code, do, memory, k = self.code, self._do, self._memory, self.code.number()
        self._set(FIRST, start)
        code.line(f"br label %H{k}")
        code.label(f"H{k}")
        first = self._get(FIRST)
        code.line(f"br i1 {do.compare('<', first, stop).text}, label %B{k}, label %E{k}")
        code.label(f"B{k}")
        self._lane, self._varying, memory.width = name, varying(name, body), self._lanes
        if self._worlds % self._lanes:
            memory.live = do.active = do.compare(
                "<", lanes_of("i32", self._lanes), do.binary("-", stop, first)
            )
        inside()
        self._lane, self._varying, memory.width = "", set(), 1
        memory.live = do.active = None
        self._set(FIRST, do.binary("+", first, literal("i32", self._lanes)))
        code.line(f"br label %H{k}")
        code.label(f"E{k}")

    # ---- some of the worlds ----

    @contextmanager
    def _under(self, mask: Number) -> Iterator[None]:
        """Translate what is for some worlds only."""
        memory, outer = self._memory, self._memory.mask
        memory.mask = self._do.active = mask
        yield
        memory.mask = outer
        self._do.active = memory.active

    def _branch(self, condition: Number, node: ast.If) -> None:
        """Translate a branch that worlds take or not."""
        do, active = self._do, self._memory.active
        masks = [do.within(active, condition)]
        if node.orelse:
            masks.append(do.within(active, do.compare("==", condition, literal("u1", 0))))
        for mask, part in zip(masks, (node.body, node.orelse), strict=False):
            if _short(part):
                with self._under(mask):
                    self.statements(part)
            elif not all(isinstance(statement, ast.Pass) for statement in part):
                self._where_any(mask, part)

    def _where_any(self, mask: Number, part: Sequence[ast.stmt]) -> None:
        code, k = self.code, self.code.number()
        code.line(f"br i1 {self._do.any(mask).text}, label %T{k}, label %J{k}")
        code.label(f"T{k}")
        with self._under(mask):
            self.statements(part)
        code.line(f"br label %J{k}")
        code.label(f"J{k}")

    def _some(
        self, name: str, start: Number, stop: Number, inside: Callable[[], None], leave: ast.expr | None
    ) -> None:
        """Translate a loop whose bounds differ from world to world."""
        code, do, k = self.code, self._do, self.code.number()
        self._set(name, start)
        code.line(f"br label %H{k}")
        code.label(f"H{k}")
        mask = do.within(self._memory.active, do.compare("<", self._get(name), stop))
        code.line(f"br i1 {do.any(mask).text}, label %B{k}, label %E{k}")
        code.label(f"B{k}")
        with self._under(mask):
            self._leave(leave, k)
            inside()
        self._set(name, do.binary("+", self._get(name), literal("i32", 1)))
        code.line(f"br label %H{k}")
        code.label(f"E{k}")

    def _leave(self, condition: ast.expr | None, k: int) -> None:
        """Leave the loop of number `k` where a condition holds in all worlds that are still in it.

        The others pass the remaining iterations without effect: what they do is for those that stay.
        """
        if condition is None:
            return
        code, do = self.code, self._do
        over = do.cast(self._value(condition), "u1")
        if over.width > 1:
            stay = do.within(self._memory.active, do.compare("==", over, literal("u1", 0)))
            code.line(f"br i1 {do.any(stay).text}, label %S{k}, label %E{k}")
        else:
            code.line(f"br i1 {over.text}, label %E{k}, label %S{k}")
        code.label(f"S{k}")

    # ---- places that worlds share ----

    def _shared(self, node: ast.Subscript) -> bool:
        """Tell whether worlds may meet at a place: none of its indices tells them apart."""
        if not self._lane:
            return False
        place = self._places.get(self._named(node)[0])
        return place is None or place.axis < 0 or not self._is_row(node, self._lane)

    def _add_together(self, target: ast.Subscript, node: ast.expr) -> None:
        """Translate an addition of all worlds to a place that they share, in their order."""
        value, memory, do = self._value(node), self._memory, self._do
        spot = self._spot(target)
        if spot.scattered:
            raise Unsupported(f"additions to {ast.unparse(target)} that may meet")
        value = do.wide(do.cast(value, spot.place.dtype), self._width)
        memory.write(spot, do.binary("+", memory.read(spot), do.total(value)))


def left_early(body: Sequence[ast.stmt]) -> tuple[ast.expr | None, list[ast.stmt]]:
    """Return the condition that a loop is left by, which is the first thing in its body, and the rest."""
    first = body[0]
    if isinstance(first, ast.If) and isinstance(first.body[0], ast.Break):
        return first.test, list(body[1:])
    return None, list(body)


def added_to(target: ast.expr, value: ast.expr) -> ast.expr | None:
    """Return what a statement `place = place + value` adds; None for another one."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return value.right if ast.unparse(value.left) == ast.unparse(target) else None
    return None


def _multiple(node: ast.expr, lanes: int) -> bool:
    """Tell whether an expression is a multiple of the worlds in a register, whatever its names stand for."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int) and node.value % lanes == 0
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _multiple(node.right, lanes)


def _short(part: Sequence[ast.stmt]) -> bool:
    """Tell whether a branch costs less than a jump around it, and can be run for no world at all."""
    return len(part) <= _SHORT and all(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and not any(_looks(inner) for inner in ast.walk(node))
        for node in part
    )


def _looks(node: ast.AST) -> bool:
    """Tell whether a node needs a world: it reads memory, calls, or may divide by zero (a fatal trap)."""
    match node:
        case ast.BinOp(_, ast.FloorDiv() | ast.Mod(), divisor):
            return not isinstance(divisor, ast.Constant) or not divisor.value
    return isinstance(node, ast.Subscript | ast.Call)
