"""Telling places apart by remainders: where `(i + j) % 2 == 0`, neighbours of `x[i, j]` have another colour.

Red-black sweeps and the like write places of one colour and read those of others, in loops whose iterations
run side by side. With `I` and `J` the iterations that write and read, both with `a I = k (mod m)`, the places
`I + d` and `J + e` are one only if `a (e - d) = 0 (mod m)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffsim.compiler.ir import Const, If, Let, Operand, Value

__all__ = ["Colour", "Facts", "Residues"]

Linear = dict[Value, int]  # the factor of each value
Residues = Mapping["Colour", int]  # what a sum over the indices of a place leaves, for each way to colour


@dataclass(frozen=True)
class Colour:
    """A way to colour places: the remainder by `modulus` of a sum over indices, each with a factor."""

    factors: tuple[int, ...]
    modulus: int


@dataclass(frozen=True)
class _Fact:
    """The remainder of a sum by a number is known."""

    linear: tuple[tuple[Value, int], ...]
    modulus: int
    remainder: int


class Facts:
    """What is known of remainders where branches are taken.

    Args:
        lets: The operations so far.
    """

    def __init__(self, lets: Mapping[Value, Let]) -> None:
        self._lets = lets
        self._choices: dict[Value, tuple[Operand, Operand, Operand]] = {}
        self._known: list[list[_Fact]] = []

    def note(self, op: If) -> None:
        """Note a branch, whose result may be what `and` makes of two conditions."""
        for result, a, b in zip(op.results, op.then.yields, op.orelse.yields, strict=True):
            self._choices[result] = (op.cond, a, b)

    def enter(self, condition: Operand, holds: bool) -> None:
        """Take into account that a condition holds or does not, until `leave`."""
        self._known.append(self._learned(condition, holds))

    def leave(self) -> None:
        """Forget what the last condition told."""
        self._known.pop()

    def residues(self, indices: Sequence[Operand]) -> Residues:
        """Return what is known of the colours of a place."""
        found: dict[Colour, int] = {}
        for fact in (fact for facts in self._known for fact in facts):
            left, factors, total = dict(fact.linear), [], fact.remainder
            for index in indices:
                base, offset = self._shifted(index, left, fact.modulus)
                factor = left.pop(base, 0) if base is not None else 0
                factors.append(factor)
                total += factor * offset
            if not left:
                found[Colour(tuple(factors), fact.modulus)] = total % fact.modulus
        return found

    def _learned(self, condition: Operand, holds: bool) -> list[_Fact]:
        choice = self._choices.get(condition) if isinstance(condition, Value) else None
        if choice is not None:
            first, then, orelse = choice
            both = holds and isinstance(orelse, Const) and not orelse.value
            return self._learned(first, True) + self._learned(then, True) if both else []
        let = self._lets.get(condition) if isinstance(condition, Value) else None
        if let is None:
            return []
        if let.fn == "and" and holds:
            return [fact for part in let.args for fact in self._learned(part, True)]
        if let.fn == "not":
            return self._learned(let.args[0], not holds)
        if let.fn not in ("eq", "ne"):
            return []
        a, b = let.args if isinstance(let.args[1], Const) else reversed(let.args)
        remainder = self._lets.get(a) if isinstance(a, Value) else None
        if remainder is None or not isinstance(b, Const) or not isinstance(remainder.args[-1], Const):
            return []
        modulus = _modulus(remainder)
        linear = self._linear(remainder.args[0]) if modulus > 1 else None
        equal = (let.fn == "eq") is holds
        other = modulus == 2 and 0 <= b.value < 2  # then it is the one that is left
        if linear is None or not (equal or other):
            return []
        terms, constant = linear
        known = int(b.value) + (0 if equal else 1) - constant
        return [_Fact(tuple(terms.items()), modulus, known % modulus)]

    def _linear(self, operand: Operand, depth: int = 8) -> tuple[Linear, int] | None:
        """Return a sum as factors of values and a number; None for other integers."""
        if isinstance(operand, Const):
            return {}, int(operand.value)
        let = self._lets.get(operand)
        if let is None or not depth or let.fn not in ("add", "sub", "mul", "neg"):
            return {operand: 1}, 0
        parts = [self._linear(argument, depth - 1) for argument in let.args]
        if any(part is None for part in parts):
            return None
        (a, c), (b, d) = [*parts, ({}, 0)][:2]  # type: ignore[misc]
        if let.fn == "mul":
            if a and b:
                return {operand: 1}, 0
            factor, terms = (d, a) if a else (c, b)
            return {value: n * factor for value, n in terms.items()}, c * d
        if let.fn == "neg":
            return {value: -n for value, n in a.items()}, -c
        sign = 1 if let.fn == "add" else -1
        return {v: a.get(v, 0) + sign * b.get(v, 0) for v in {**a, **b}}, c + sign * d

    def _shifted(self, index: Operand, wanted: Linear, modulus: int) -> tuple[Value | None, int]:
        """Return the value, one of those that are wanted, that an index is a constant apart from, modulo."""
        offset = 0
        while isinstance(index, Value) and index not in wanted:
            let = self._lets.get(index)
            if let is None:
                return None, 0
            if let.fn == "mod" and isinstance(let.args[1], Const):
                if int(let.args[1].value) % modulus:  # going round changes the colour
                    return None, 0
                index = let.args[0]
            elif let.fn in ("add", "sub") and isinstance(let.args[1], Const):
                offset += int(let.args[1].value) * (1 if let.fn == "add" else -1)
                index = let.args[0]
            elif let.fn == "add" and isinstance(let.args[0], Const):
                offset += int(let.args[0].value)
                index = let.args[1]
            else:
                return None, 0
        return (index, offset) if isinstance(index, Value) else (None, 0)


def _modulus(let: Let) -> int:
    """Return the number that an operation takes the remainder by, 0 for other operations."""
    number = let.args[-1]
    assert isinstance(number, Const)  # noqa: S101  (the caller made sure)
    if let.fn == "mod":
        return int(number.value)
    mask = int(number.value)
    return mask + 1 if let.fn == "bit_and" and mask > 0 and mask & (mask + 1) == 0 else 0
