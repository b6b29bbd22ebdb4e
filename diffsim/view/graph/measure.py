"""How large nodes and texts are, without a font at hand."""

from __future__ import annotations

import unicodedata

from diffsim.view.graph.model import Node

__all__ = ["LINE", "SMALL_LINE", "node_size", "text_width"]

LABEL, SMALL = 12.5, 10.5  # sizes of type in pixels
LINE, SMALL_LINE = 16.0, 13.5  # heights of lines
_MONO, _SANS = 0.602, 0.54  # mean widths of characters over the size of type


def text_width(text: str, size: float, mono: bool = False) -> float:
    """Return about how wide the longest line of a text is, in pixels."""
    per = size * (_MONO if mono else _SANS)
    return max((sum(map(_cells, line)) * per for line in text.split("\n")), default=0.0)


def _cells(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    return 1.7 if unicodedata.east_asian_width(char) in "WF" else 1.0


def node_size(node: Node, shape: str) -> tuple[float, float]:
    """Return the width and height of a node in pixels."""
    width = max(text_width(node.label, LABEL, mono=True), text_width(node.detail, SMALL))
    lines = node.label.count("\n") + 1
    small = node.detail.count("\n") + 1 if node.detail else 0
    margin = {"pill": 24.0, "hexagon": 32.0}.get(shape, 20.0)
    return max(width + margin, 34.0), lines * LINE + small * SMALL_LINE + 9.0
