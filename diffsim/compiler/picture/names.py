"""How fields, operations and numbers are written in pictures."""

from __future__ import annotations

from collections.abc import Sequence

from diffsim.compiler.buffer import Buffer

__all__ = ["Names", "extent", "field_name", "number", "time_text"]

_INFIX = {
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "÷",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "powi": "**",
    "lt": "<",
    "le": "≤",
    "gt": ">",
    "ge": "≥",
    "eq": "==",
    "ne": "≠",
    "and": "and",
    "or": "or",
    "bit_and": "&",
    "bit_or": "|",
    "bit_xor": "^",
    "shl": "<<",
    "shr": ">>",
}
_WRITTEN = {
    "sub": "-",
    "mul": "*",
    "div": "/",
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
}  # in indices
_LOOSE = frozenset(("if", "and", "or", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "<<", ">>"))
_OPERATORS = _LOOSE | frozenset(("+", "-", "*", "/", "//", "%", "**"))
_EITHER_WAY = ("add", "mul", "eq", "ne", "and", "or", "min", "max", "bit_and", "bit_or", "bit_xor")
_CALLED = {"stop": "stop_gradient", "philox0": "random bits", "philox1": "random bits"}
_INDICES = "ijklmnpq"


class Names:
    """Names for what has none in the intermediate form."""

    def __init__(self) -> None:
        self._indices = 0
        self._integers = 0

    def index(self) -> str:
        """Return the name of a loop's index."""
        k = self._indices
        self._indices += 1
        return _INDICES[k % len(_INDICES)] + (str(k // len(_INDICES)) if k >= len(_INDICES) else "")

    def computed(self) -> str:
        """Return the name of an integer that is computed from real numbers."""
        self._integers += 1
        return f"n{self._integers}"

    def integer(self, fn: str, texts: Sequence[str]) -> str:
        """Write an operation inside another's text."""
        if fn in _INFIX and len(texts) == 2:
            tight = fn not in ("add", "and", "or")
            first = _inner(texts[0], tight and fn != "sub")
            return f"{first} {_WRITTEN.get(fn, _INFIX[fn])} {_inner(texts[1], tight)}"
        if fn == "neg":
            return f"-{_inner(texts[0], True)}"
        if fn.startswith("cast_"):
            return texts[0]
        if fn == "select":
            return f"{texts[1]} if {texts[0]} else {texts[2]}"
        return f"{_CALLED.get(fn, fn)}({', '.join(texts)})"

    def label(self, fn: str, texts: Sequence[str | None]) -> tuple[str, list[str]]:
        """Return what is written into an operation, and beside the lines to it.

        Args:
            fn: The operation.
            texts: Its arguments, None for those that have a line of their own.
        """
        count = texts.count(None)
        plain = [""] * len(texts)
        if fn.startswith("cast_"):
            return {"i": "int", "u": "int"}.get(fn[5], fn[5:]) + "( )", plain
        if fn in _INFIX and len(texts) == 2:
            sign = _INFIX[fn]
            if count == 2 and fn in _EITHER_WAY:
                return sign, plain
            if fn in ("pow", "powi") and texts[0] is None and texts[1] is not None:
                return "square" if texts[1] == "2" else f"{sign} {texts[1]}", plain
            if count == 2:
                return f"a {sign} b", ["a", "b"]
            if texts[0] is None and (fn in _EITHER_WAY or fn in ("sub", "div")):
                return f"{sign} {texts[1]}", plain
            if texts[1] is None and fn in _EITHER_WAY:
                return f"{sign} {texts[0]}", plain
            first, second = ("·" if text is None else text for text in texts)
            return f"{first} {sign} {second}", plain
        if fn == "neg":
            return "− ·", plain
        if fn == "select":
            marks = ["if", "then", "else"]
            fixed = [f"{mark} {text}" for mark, text in zip(marks, texts, strict=True) if text is not None]
            return "\n".join(["either", *fixed]), marks
        if count == len(texts) and (count < 2 or fn in _EITHER_WAY):
            return _CALLED.get(fn, fn), plain
        if count == len(texts):
            letters = ["a", "b", "c", "d"][:count]
            return f"{_CALLED.get(fn, fn)}({', '.join(letters)})", letters
        return f"{_CALLED.get(fn, fn)}({', '.join('·' if text is None else text for text in texts)})", plain

    def component(self, buffer: Buffer, component: int) -> str:
        """Write which component of an element is meant."""
        shape: tuple[int, ...] = getattr(getattr(buffer.source, "type", None), "shape", ())
        if len(shape) == 1:
            return "." + "xyzw"[component] if shape[0] <= 4 else f"[{component}]"
        if len(shape) == 2:
            return f"[{component // shape[1]}, {component % shape[1]}]"
        return f"[{component}]" if buffer.components > 1 else ""


def _inner(text: str, tight: bool) -> str:
    """Return a text as an operand: in parentheses where what is around it would bind stronger."""
    depth, word = 0, ""
    for char in f"{text} ":
        depth += (char in "([") - (char in ")]")
        if depth > 0 or char != " ":
            word += char
            continue
        if word in _OPERATORS if tight else word in _LOOSE:
            return f"({text})"
        word = ""
    return text


def number(value: float | bool) -> str:
    """Write a number, shortened."""
    if isinstance(value, bool | int):
        return str(value)
    return f"{value:.4g}"


def field_name(buffer: Buffer) -> str:
    """Return what a field is called: its key."""
    return str(getattr(buffer.source, "key", "") or buffer.name.removeprefix("f_"))


def time_text(buffer: Buffer, time: int | None) -> str:
    """Write the time of an access, as kernels do; empty where a field has none that matters."""
    if buffer.kind != "state" or time is None:
        return ""
    return "t" if time == 0 else f"t {'+' if time > 0 else '-'} {abs(time)}"


def extent(buffer: Buffer) -> str:
    """Write the element type, the shape and the unit of a field."""
    source = buffer.source
    name = getattr(getattr(source, "type", None), "name", buffer.dtype)
    name = "i32" if buffer.dtype == "i32" and name == "real" else name
    shape = buffer.shape if buffer.place is None else buffer.place.shape
    text = " × ".join([name, *map(str, shape)]) + (", sparse" if buffer.place is not None else "")
    unit = getattr(source, "unit", "")
    text += f", {unit}" if unit else ""
    return text + (", per world" if buffer.per_world else "")
