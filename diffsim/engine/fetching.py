"""Bringing what a device has computed to the host: any number of buffers in one launch, one copy, one wait.

Taichi's `to_numpy` is a launch, a copy and a wait for each scalar field. Here one kernel packs everything
that is asked for into one array of 32-bit words, whatever the types are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.engine.arena import Arena, Compiled, Spec
from diffsim.engine.tally import Tally

__all__ = ["fetch"]

_WORD = 4  # bytes
_MOST = 1 << 28  # words of one copy: indices have 32 bits


def fetch(
    arena: Arena, specs: Sequence[Spec], flags: Sequence[Spec], tally: Tally
) -> tuple[list[list[NDArray[Any]]], list[bool]]:
    """Return buffers of a device, an array per component, and whether others hold a number that is not zero.

    Args:
        arena: Where they are.
        specs: Of which all numbers are wanted.
        flags: Of whose first component it is only wanted whether any number is not zero.
        tally: Counts it.
    """
    words = [_whole(spec) for spec in specs]
    if sum(words) > _MOST and len(specs) + len(flags) > 1:
        parts = [fetch(arena, [spec], [], tally)[0][0] for spec in specs]
        return parts, [found for spec in flags for found in fetch(arena, [], [spec], tally)[1]]
    if sum(words) > _MOST:
        tally.read(_WORD * sum(words))
        return [arena.views(specs[0])], []
    packed = np.empty(sum(words) + len(flags), np.int32)
    with _taichi.unrecorded():
        _kernel(arena, tuple(specs), tuple(flags))(packed)
    tally.read(packed.nbytes)
    found, start = [], 0
    for spec, size in zip(specs, words, strict=True):
        part = packed[start : start + _words(spec) * spec.components]
        found.append(list(part.view(_taichi.NUMPY[spec.dtype]).reshape(spec.components, *spec.shape)))
        start += size
    return found, [bool(flag) for flag in packed[start:]]


def _words(spec: Spec) -> int:
    """Return how many words a component takes."""
    return math.prod(spec.shape) * spec.itemsize // _WORD


def _whole(spec: Spec) -> int:
    """Return how many words all components take, an even number, so that what follows is aligned."""
    return -(-_words(spec) * spec.components // 2) * 2


def _kernel(arena: Arena, specs: tuple[Spec, ...], flags: tuple[Spec, ...]) -> Any:
    key = ("fetch", specs, flags)
    compiled = arena.compiled(key)
    if compiled is None:
        start = time.perf_counter()
        source, scope = _text(arena, specs, flags)
        kernel = _taichi.build_kernel(source, "fetch", scope)
        compiled = Compiled(kernel, time.perf_counter() - start, kernel)
        arena.keep(key, compiled)
    return compiled.launch


def _text(arena: Arena, specs: Sequence[Spec], flags: Sequence[Spec]) -> tuple[str, dict[str, Any]]:
    """Return the text of the kernel, 8-byte numbers first low and then high, and what its names are."""
    lines = ["def fetch(out: ti.types.ndarray(dtype=ti.i32, ndim=1)):"]
    scope: dict[str, Any] = {}
    start = 0
    for k, spec in enumerate(specs):
        size, wide = _words(spec), spec.itemsize > _WORD
        head, at, flat = _loop(spec)
        lines.append(f"    {head}")
        for c, field in enumerate(arena.fields(spec)):
            name = f"f{k}_{c}"
            scope[name] = field
            bits = f"ti.bit_cast({name}[{at}], ti.{'i64' if wide else 'i32'})"
            if spec.dtype in ("i32", "i64"):
                bits = f"{name}[{at}]"
            if not wide:
                lines.append(f"        out[{start + c * size} + {flat}] = {bits}")
                continue
            lines.append(f"        b{c} = {bits}")
            lines.append(f"        out[{start + c * size} + 2 * ({flat})] = ti.cast(b{c}, ti.i32)")
            lines.append(f"        out[{start + c * size + 1} + 2 * ({flat})] = ti.cast(b{c} >> 32, ti.i32)")
        start += _whole(spec)
    for k, spec in enumerate(flags):
        scope[f"g{k}"] = arena.fields(spec)[0]
        head, at, _ = _loop(spec)
        lines += ["    for z in range(1):", f"        out[{start + k}] = 0", f"    {head}"]
        lines.append(f"        if g{k}[{at}] != 0:\n            out[{start + k}] = 1")
    return "\n".join(lines) + "\n", scope


def _loop(spec: Spec) -> tuple[str, str, str]:
    """Return the head of a loop over all elements, the index of one, and its number."""
    names = [f"a{axis}" for axis in range(len(spec.shape))]
    if not names:
        return "for a0 in range(1):", "None", "0"
    flat = "0"
    for name, length in zip(names, spec.shape, strict=True):
        flat = name if flat == "0" else f"({flat}) * {length} + {name}"
    lengths = ", ".join(str(length) for length in spec.shape)
    head = f"for {', '.join(names)} in ti.ndrange({lengths}):"
    return (f"for a0 in range({lengths}):" if len(names) == 1 else head), ", ".join(names), flat
