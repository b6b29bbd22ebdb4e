"""One HTML file from a style sheet, small JavaScript modules and data: nothing is loaded from anywhere."""

from __future__ import annotations

import functools
import html
import re
from importlib import resources
from typing import Any

from diffsim.view.page.pack import json_for_html

__all__ = ["page", "scripts", "style"]

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z_]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (function|const|class|let) (\w+)", re.MULTILINE)
_MARK = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath "
    "d='M1 13C5 13 6 3 8 3s3 6 7 6' fill='none' stroke='%231b5fc1' stroke-width='2.4'/%3E%3C/svg%3E"
)


def page(title: str, entry: str, data: Any) -> str:
    """Return a whole HTML page.

    Args:
        title: Of the page, for the browser.
        entry: The module whose function `main` is called with the data: `report`, `compare` ...
        data: What JSON can hold.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f'<link rel="icon" href="{_MARK}">',
            f"<style>\n{style()}</style>",
            "</head>",
            "<body>",
            '<main id="page"><p class="quiet">This page draws itself with JavaScript.</p></main>',
            f'<script type="application/json" id="data">{json_for_html(data)}</script>',
            f"<script>\n{scripts(entry)}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


@functools.lru_cache
def style() -> str:
    """Return the style sheet."""
    return _read("page.css")


@functools.lru_cache
def scripts(entry: str) -> str:
    """Put a module and what it imports into one script, each in a function of its own.

    The files are ordinary modules. Pages that are opened from a file may not load any, so what one imports
    becomes what the function of the other returned.
    """
    done: dict[str, str] = {}
    _add(entry, done)
    body = "\n".join(done.values())
    begin = f'${entry}.main(JSON.parse(document.getElementById("data").text));'
    return f'"use strict";\n(() => {{\n{body}\n{begin}\n}})();\n'


def _add(name: str, done: dict[str, str]) -> None:
    """Add a module behind those that it imports."""
    if name in done:
        return
    text = _read(f"js/{name}.js")
    for _, needed in _IMPORT.findall(text):
        _add(needed, done)
    exported = [found for _, found in _EXPORT.findall(text)]
    inside = _IMPORT.sub(lambda found: f"const {{{found[1]}}} = ${found[2]};\n", text)
    inside = _EXPORT.sub(r"\1 \2", inside)
    done[name] = f"const ${name} = (() => {{\n{inside}return {{ {', '.join(exported)} }};\n}})();\n"


def _read(name: str) -> str:
    return resources.files("diffsim.view.page").joinpath(name).read_text(encoding="utf-8")
