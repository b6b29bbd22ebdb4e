"""Random bits in LLVM's language, for one world or for several: Philox 4x32-10 without branches."""

from __future__ import annotations

from diffsim.compiler.native.values import kind_of
from diffsim.language.philox import mixed

__all__ = ["philox"]


class _Text:
    """Words as registers, and the lines that fill them."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.word, self.whole = kind_of("u32", width), kind_of("u64", width)
        self.lines: list[str] = []

    def line(self, text: str) -> str:
        register = f"%v{len(self.lines)}"
        self.lines.append(f"  {register} = {text}")
        return register

    def same(self, kind: str, number: int) -> str:
        """Return a number for each of the worlds."""
        if self._width == 1:
            return str(number)
        return f"<{', '.join([f'{kind} {number}'] * self._width)}>"

    def product(self, a: str, factor: int) -> tuple[str, str]:
        wide = self.line(f"zext {self.word} {a} to {self.whole}")
        found = self.line(f"mul {self.whole} {wide}, {self.same('i64', factor)}")
        high = self.line(f"lshr {self.whole} {found}, {self.same('i64', 32)}")
        return self._cut(high), self._cut(found)

    def _cut(self, a: str) -> str:
        return self.line(f"trunc {self.whole} {a} to {self.word}")

    def xor(self, a: str, b: str) -> str:
        return self.line(f"xor {self.word} {a}, {b}")

    def add(self, a: str, number: int) -> str:
        return self.line(f"add {self.word} {a}, {self.same('i32', number)}")


def philox(half: int, width: int) -> tuple[str, str]:
    """Return the symbol and the text of a function of six words, whose result is two words as one.

    Args:
        half: 0 for the first two of the four words that are made, 1 for the last two.
        width: For how many worlds at once.
    """
    t, names = _Text(width), [f"%{name}" for name in "abcdkm"]
    words = mixed(names[:4], names[4:], t)
    high, low = (t.line(f"zext {t.word} {word} to {t.whole}") for word in words[2 * half : 2 * half + 2])
    moved = t.line(f"shl {t.whole} {high}, {t.same('i64', 32)}")
    result = t.line(f"or {t.whole} {moved}, {low}")
    symbol = f"ds.philox{half}" + (f".v{width}" if width > 1 else "")
    given = ", ".join(f"{t.word} {name}" for name in names)
    head = f"define internal {t.whole} @{symbol}({given}) alwaysinline nounwind willreturn memory(none) {{"
    return symbol, "\n".join([head, *t.lines, f"  ret {t.whole} {result}", "}", ""])
