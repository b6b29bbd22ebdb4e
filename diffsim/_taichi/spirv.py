"""What Taichi's SPIR-V, which Vulkan runs, does otherwise than its other backends."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from diffsim import _vulkan
from diffsim._taichi.packages import HOME, running
from diffsim.errors import StateError

__all__ = ["MOST_ITERATIONS", "largest_buffer", "on_spirv", "spoken"]

MOST_ITERATIONS = 65535 * 128  # of a parallel loop: groups that every driver can launch, of so many threads
_LOOP = re.compile(r"^(    for [^:]+ in (?:ti\.nd)?range)\((.*)\):$", re.MULTILINE)
_ARGUMENT = re.compile(r"^def \w+\((\w+): (ti\.i32|ti\.types\.ndarray)")


ti = HOME.ti


@ti.func
def _acos(x):  # type: ignore[no-untyped-def]
    """Compute the arc cosine by another function: drivers are off by thousands of last bits in theirs."""
    return ti.atan2(ti.sqrt((1.0 - x) * (1.0 + x)), x)


@ti.func
def _asin(x):  # type: ignore[no-untyped-def]
    """Compute the arc sine in the same way."""
    return ti.atan2(x, ti.sqrt((1.0 - x) * (1.0 + x)))


def on_spirv() -> bool:
    """Tell whether the running program is compiled to SPIR-V."""
    return bool(running.impl.default_cfg().arch == running.ti.vulkan)  # also before the program is there


def largest_buffer() -> int:
    """Return the bytes that a tree of fields may have, 0 for any number."""
    device = _vulkan.device() if on_spirv() else None
    return device.buffer if device else 0


def spoken(source: str, scope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text of a kernel, and the names in it, as the running backend can compile them.

    Args:
        source: The text.
        scope: What its names stand for.

    Raises:
        StateError: It can't.
    """
    if not on_spirv():
        return source, scope
    for name, function in (("acos", _acos), ("asin", _asin)):
        if f"ti.{name}(" in source:
            source = source.replace(f"ti.{name}(", f"spirv_{name}(")
            scope = {**scope, f"spirv_{name}": function}
    return _LOOP.sub(lambda found: _shortened(found, source), source), scope


def _shortened(found: re.Match[str], source: str) -> str:
    """Return the head of a parallel loop that has few enough iterations to launch.

    Taichi launches a thread for each iteration where it knows their number, and else lets each thread take
    several: with a bound that depends on an argument it does not know it.
    """
    first, *others = ast.parse(f"[{found[2]}]", mode="eval").body.elts  # type: ignore[attr-defined]
    is_range = not found[1].endswith("ti.ndrange")
    axes = [(first, others[0])] if is_range and others else [_axis(e) for e in (first, *others)]
    lengths = [_length(*axis) for axis in axes]
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths) or math.prod(known) <= MOST_ITERATIONS:
        return found[0]
    argument = _ARGUMENT.match(source)
    if argument is None:
        raise StateError(
            f"a loop on Vulkan must have at most {MOST_ITERATIONS:,} iterations, got {math.prod(known):,}; "
            "use arch='cpu' or 'cuda', or make fields smaller"
        )
    low, high = axes[0]
    stop = ast.unparse(high)
    number = argument[1] if argument[2] == "ti.i32" else f"{argument[1]}.shape[0]"
    unknown = f"ti.max({stop}, ti.min({number}, {stop} - 1))"  # which is what the bound was
    if is_range:
        return f"{found[1]}({'' if low is None else ast.unparse(low) + ', '}{unknown}):"
    head = unknown if low is None else f"({ast.unparse(low)}, {unknown})"
    return f"{found[1]}({', '.join([head, *map(ast.unparse, others)])}):"


def _axis(bounds: ast.expr) -> tuple[ast.expr | None, ast.expr]:
    """Return where an axis of `ti.ndrange` begins, None for 0, and where it ends."""
    return (bounds.elts[0], bounds.elts[1]) if isinstance(bounds, ast.Tuple) else (None, bounds)


def _length(low: ast.expr | None, high: ast.expr) -> int | None:
    """Return how many iterations a loop has, None where its bounds are computed."""
    try:
        return int(ast.literal_eval(high)) - (0 if low is None else int(ast.literal_eval(low)))
    except (ValueError, TypeError):
        return None
