"""Names in inline code become links to the reference: `ds.Rollout`, `Rollout.health`, `ds.optim.Adam()`."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import griffe

import diffsim as ds

_CODE = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)(\([^`]*\))?`(?![`\]])")
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
MODULES = ("control", "errors", "grad", "math", "optim", "particles", "runtime", "scene", "tasks", "view")


def target(name: str) -> str | None:
    """Return the path of something public that inline code names; None where it names nothing public."""
    head, _, rest = name.partition(".")
    if head in ("ds", "diffsim"):
        path = rest
    elif head in ds.__all__ and rest and head[0].isupper():
        path = name
    else:
        return None
    return f"diffsim.{path}" if path and _exists(path) else None


def _exists(path: str) -> bool:
    first, *rest = path.split(".")
    if first not in ds.__all__ and first not in MODULES:
        return False
    thing: Any = ds
    for part in (first, *rest):
        hidden = (
            isinstance(thing, ModuleType) and thing is not ds and part not in getattr(thing, "__all__", ())
        )
        if part.startswith("_") or hidden:
            return False
        if not hasattr(thing, part):
            return part in getattr(thing, "__annotations__", {})
        thing = getattr(thing, part)
    return True


def linked(markdown: str) -> str:
    """Return a text whose inline code links to what it names; code blocks and headings stay as they are."""
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _linked(part) for part in parts)


def _linked(text: str) -> str:
    def link(found: re.Match[str]) -> str:
        path = target(found[1])
        return found[0] if path is None else f"[{found[0]}][{path}]"

    lines = (
        line if line.startswith("#") or ("](" in line and "`](" in line) else _CODE.sub(link, line)
        for line in text.split("\n")
    )
    return "\n".join(lines)


class Linked(griffe.Extension):
    """Link the names in docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = linked(obj.docstring.value)
