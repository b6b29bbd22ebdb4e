"""Writing a function of LLVM's textual form: registers, labels, instructions, and what it calls."""

from __future__ import annotations

from diffsim.compiler.native.values import LLVM, Number

__all__ = ["FLAGS", "SUMS", "Assembly"]

# Products may be fused with sums, and zero has no sign. Not more of "fast math": a number that is not finite
# stays one, so that the checks which look for it mean something.
FLAGS = "nsz contract"
# Sums may be taken in another order, too. Not products: `x * 1e300 * 1e300` would become `x` times infinity.
SUMS = f"reassoc {FLAGS}"


class Assembly:
    """The lines of a function, and the declarations of what it calls.

    Attributes:
        lines: The body, without its first block's variables.
        variables: Instructions that make the function's variables.
        declarations: Of functions that are called.
        definitions: Of functions that come with the module, by name.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.variables: list[str] = []
        self.declarations: dict[str, None] = {}
        self.definitions: dict[str, str] = {}
        self._count = 0

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

    def result(self, dtype: str, text: str) -> Number:
        """Append an instruction and return its result."""
        self._count += 1
        register = f"%r{self._count}"
        self.lines.append(f"  {register} = {text}")
        return Number(dtype, register)

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
            dtype: Of the result.
            function: Its name.
            args: Numbers.
            flags: Fast-math flags are allowed on it.
            outside: It is a function of the C library, not an intrinsic.
        """
        kinds = ", ".join(LLVM[a.dtype] for a in args)
        given = ", ".join(f"{LLVM[a.dtype]} {a.text}" for a in args)
        if function not in self.definitions:
            self.declarations[f"declare {LLVM[dtype]} @{function}({kinds}){' #1' if outside else ''}"] = None
        return self.result(dtype, f"call {FLAGS + ' ' if flags else ''}{LLVM[dtype]} @{function}({given})")
