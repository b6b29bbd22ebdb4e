"""Writing a function of LLVM's textual form: registers, labels, instructions, and what it calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from diffsim.compiler.native.functions import Function
from diffsim.compiler.native.values import Number, kind_of

__all__ = ["FLAGS", "SUMS", "Assembly"]

# Products may be fused with sums, and zero has no sign. Not more of "fast math": a number that is not finite
# stays one, so that the checks which look for it mean something.
FLAGS = "nsz contract"
# What a loop carries may be added up in another order, too, for several iterations at once. Nothing else:
# `x * 1e300 * 1e300` would become `x` times infinity, and constants drawn together round alike in each step.
SUMS = f"reassoc {FLAGS}"


class Assembly:
    """The lines of a function, and the declarations of what it calls.

    Args:
        notes: Numbers for its notes (LLVM's metadata), which no other function of the module gets.

    Attributes:
        lines: The body, without its first block's variables.
        variables: Instructions that make the function's variables.
        declarations: Of functions that are called.
        definitions: Of functions that come with the module, by name.
        metadata: Its notes.
        kept: Those of them that nobody calls before loops are turned into vectors.
    """

    def __init__(self, notes: Iterator[int] | None = None) -> None:
        self.lines: list[str] = []
        self.variables: list[str] = []
        self.declarations: dict[str, None] = {}
        self.definitions: dict[str, str] = {}
        self.kept: dict[str, None] = {}
        self.metadata: list[str] = []
        self._count, self._notes = 0, itertools.count() if notes is None else notes

    def number(self) -> int:
        """Return an unused number for registers and labels."""
        self._count += 1
        return self._count

    def line(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")

    def result(self, dtype: str, text: str, width: int = 1) -> Number:
        """Append an instruction and return its result."""
        self._count += 1
        register = f"%r{self._count}"
        self.lines.append(f"  {register} = {text}")
        return Number(dtype, register, width)

    def group(self) -> str:
        """Make a group of accesses to memory, of which no two in different iterations of a loop meet."""
        return self._note("distinct !{}")

    def parallel(self, group: str) -> str:
        """Return what is said of the loop of such a group."""
        accesses = self._note(f'!{{!"llvm.loop.parallel_accesses", {group}}}')
        return f", !llvm.loop {self._note(f'distinct !{{SELF, {accesses}}}')}"

    def _note(self, text: str) -> str:
        name = f"!{next(self._notes)}"
        self.metadata.append(f"{name} = {text.replace('SELF', name)}")
        return name

    def variable(self, kind: str) -> str:
        """Make a variable of the function of one of LLVM's types; it is found in a register later."""
        self._count += 1
        self.variables.append(f"  %m{self._count} = alloca {kind}")
        return f"%m{self._count}"

    def call(
        self, dtype: str, function: str, *args: Number, flags: bool = True, outside: bool = False
    ) -> Number:
        """Append a call of a function of numbers.

        Args:
            dtype: Of the result, of which there are as many as of the first number.
            function: Its name.
            args: Numbers.
            flags: Fast-math flags are allowed on it.
            outside: It is a function of the C library, not an intrinsic.
        """
        width = args[0].width
        kind = kind_of(dtype, width)
        kinds = ", ".join(a.kind for a in args)
        given = ", ".join(f"{a.kind} {a.text}" for a in args)
        if function not in self.definitions:
            self.declarations[f"declare {kind} @{function}({kinds}){' #1' if outside else ''}"] = None
        return self.result(dtype, f"call {FLAGS + ' ' if flags else ''}{kind} @{function}({given})", width)

    def include(self, made: Function) -> None:
        """Let an elementary function come with the module."""
        self.definitions.update(made.definitions)
        self.declarations.update(dict.fromkeys(made.declares))
        self.kept.update(dict.fromkeys(made.kept))

    def declare(self, text: str) -> None:
        """Note the declaration of a function."""
        self.declarations[f"declare {text}"] = None
