"""What is to be known of each rule: the sections of rules.md, which the documentation shows as a page."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["PAGE", "section_of", "sections"]

PAGE = Path(__file__).with_name("rules.md")
_HEADING = re.compile(r"^(#{2,3}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_FENCED = re.compile(r"^```\w*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@cache
def sections() -> dict[str, str]:
    """Return the text of each rule by its code, as Markdown without the heading."""
    text = PAGE.read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {
        heading[2]: text[heading.end() : end].strip()
        for heading, end in zip(headings, ends, strict=True)
        if heading[1] == "###"
    }


def section_of(rule: str) -> str:
    """Return what to know of a rule, to be read in a terminal: code is indented, links are their words.

    Args:
        rule: Its code, `RACE` for example.

    Raises:
        KeyError: There is no such rule.
    """
    text = _LINK.sub(r"\1", sections()[rule] + "\n")
    return _FENCED.sub(lambda found: _indented(found[1]), f"{rule}\n\n{text}").rstrip()


def _indented(code: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in code.splitlines(keepends=True))
