"""The code blocks of the pages: found, and run as a reader would, one after the other.

Blocks of one page share their names, as the cells of a notebook do; one that is marked `.alone` is a program
of its own. A block of text behind a block of code is what it prints, but for the digits.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Block", "blocks", "pages", "run", "same"]

HERE = Path(__file__).parent
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[-+]?\b\d[\d,]*(\.\d+)?(e[-+]?\d+)?\b")


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        kind: `python`, `sh`, `text`, ...
        alone: Whether it is a program of its own.
        code: The text.
        line: Where the code begins in its page.
        prints: What it prints; None where the page does not say.
    """

    kind: str
    alone: bool
    code: str
    line: int
    prints: str | None = None


def pages() -> list[Path]:
    """List the README and the pages of this folder."""
    return [HERE.parent / "README.md", *sorted(HERE.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Return the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    for number, match in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        words = re.findall(r"[\w-]+", match[1])
        behind = after is not None and not text[match.end() : after.start()].strip()
        prints = after[2] if behind and after[1] == "text" else None
        kind = words[0] if words else ""
        yield Block(kind, "alone" in words, match[2], text[: match.start(2)].count("\n") + 1, prints)


def run(page: Path, folder: Path) -> Iterator[tuple[Block, str]]:
    """Run the Python of a page in a folder, and return each block with what it printed.

    Args:
        page: The page.
        folder: Where programs are written to, and what they write goes.
    """
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks(page)):
        if block.kind != "python":
            continue
        program = folder / f"{page.stem}_{number}.py"
        program.write_text(block.code, encoding="utf-8")
        if block.alone:
            done = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{page.name}:{block.line}: {done.stderr}")
            yield block, done.stdout
            continue
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            exec(compile(block.code, program, "exec", dont_inherit=True), names)
        yield block, told.getvalue()


def same(one: str, other: str) -> bool:
    """Tell whether two texts say the same, whatever their numbers and spaces."""
    return plain(one) == plain(other)


def plain(text: str) -> str:
    """Return a text without its numbers and line ends."""
    return " ".join(_NUMBER.sub("#", text).split())
