"""What notebooks show of an object: a title, rows and tables, as HTML for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["card", "details", "list_of", "paragraph", "rows", "table"]

# Colours come from the page, lines are grey that is seen on white and on black.
_LINE = "1px solid rgba(127,127,127,.35)"
_CARD = f"border:{_LINE};border-radius:6px;padding:.6em .9em;margin:.3em 0;max-width:60em;overflow-x:auto"
_CELL = "padding:.15em 1.2em .15em 0;text-align:left;vertical-align:top;background:none;border:0"
_NAME = f"{_CELL};opacity:.7;white-space:nowrap;font-weight:normal"
_NUMBER = "font-variant-numeric:tabular-nums"
_TABLE = "border-collapse:collapse;margin:.3em 0;background:none;border:0;color:inherit;font-size:inherit"


def card(title: str, *blocks: str) -> str:
    """Put blocks of HTML under a title, which is plain text."""
    body = "".join(block for block in blocks if block)
    return f'<div class="diffsim-card" style="{_CARD}"><strong>{escape(title)}</strong>{body}</div>'


def paragraph(text: str, quiet: bool = False) -> str:
    """Write plain text as a paragraph; nothing where there is none."""
    style = f"margin:.3em 0{';opacity:.7' if quiet else ''}"
    return f'<p style="{style}">{escape(text)}</p>' if text else ""


def rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Write names with texts; names that begin with a space stand further in."""
    cells = []
    for name, text in pairs:
        inward = f";padding-left:{0.6 * (len(name) - len(name.lstrip())):.1f}em" if name[:1] == " " else ""
        cells.append(
            f'<tr style="background:none"><th scope="row" style="{_NAME}{inward}">{escape(name.strip())}</th>'
            f'<td style="{_CELL}">{escape(text)}</td></tr>'
        )
    return f'<table style="{_TABLE}">{"".join(cells)}</table>' if cells else ""


def table(head: Sequence[str], lines: Iterable[Sequence[str]], safe: int = -1) -> str:
    """Write a table.

    Args:
        head: Its columns' names.
        lines: Its cells.
        safe: The column that is HTML already; -1 for none.
    """
    tops = "".join(f'<th scope="col" style="{_NAME}">{escape(name)}</th>' for name in head)
    body = []
    for line in lines:
        cells = (text if column == safe else escape(text) for column, text in enumerate(line))
        written = "".join(f'<td style="{_CELL};{_NUMBER}">{cell}</td>' for cell in cells)
        body.append(f'<tr style="background:none;border-top:{_LINE}">{written}</tr>')
    return (
        f'<table style="{_TABLE}"><thead><tr style="background:none">{tops}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def list_of(texts: Iterable[str]) -> str:
    """Write a list; nothing where there is none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul style="margin:.2em 0 .2em 1.2em;padding:0">{items}</ul>' if items else ""


def details(title: str, *blocks: str) -> str:
    """Put blocks of HTML behind a line that opens them."""
    return (
        f'<details style="margin:.3em 0"><summary style="cursor:pointer">'
        f"{escape(title)}</summary>{''.join(blocks)}</details>"
    )
