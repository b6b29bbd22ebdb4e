"""Which stream each call of a random number draws from: one for each place in the program.

A place is told by how it is called, not by where it stands in a file: comments and lines may be added. It is
the same each time that it is read, which reading a loop does more than once.
"""

from __future__ import annotations

import ast
import hashlib
from typing import TYPE_CHECKING, Any

from diffsim.language.draws import STREAMS

if TYPE_CHECKING:
    from diffsim.compiler.reading.context import Frame

__all__ = ["Sites", "place_of"]


class Sites:
    """The kernel calls of a program, and the streams of calls in them."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[Any, str]] = {}
        self._streams: dict[int, str] = {}

    def name(self, call: Any, phase: str) -> str:
        """Name a recorded kernel call by what it calls, and how many calls of it came before."""
        if id(call) not in self._calls:
            before = sum(name.startswith(f"{phase} {call.name}#") for _, name in self._calls.values())
            self._calls[id(call)] = call, f"{phase} {call.name}#{before}"
        return self._calls[id(call)][1]

    def stream(self, place: str) -> int:
        """Return a number of 31 bits for a place, another one for each."""
        made = int.from_bytes(hashlib.blake2s(place.encode(), digest_size=4).digest(), "little") % STREAMS
        while self._streams.setdefault(made, place) != place:
            made = (made + 1) % STREAMS
        return made


def place_of(site: str, frames: list[Frame], node: ast.Call) -> str:
    """Name the place of a call: each inlined function and each iteration of an unrolled loop has its own.

    Args:
        site: The kernel's call.
        frames: The kernel, and the functions inlined into each other.
        node: The call, in the innermost.
    """
    path = [site]
    for frame, call in zip(frames, [*(f.call for f in frames[1:]), node], strict=True):
        calls = [n for n in ast.walk(frame.source.node) if isinstance(n, ast.Call)]
        calls.sort(key=lambda n: (n.lineno, n.col_offset))
        number = next((k for k, n in enumerate(calls) if n is call), -1)
        path.append(f"{frame.source.node.name}:{number}{frame.rounds}")
    return " ".join(path)
