"""Trials of kernel texts in the guard's process, as machine code on memory of its own."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _llvm
from diffsim.compiler.native.memory import Place, laid, placed
from diffsim.compiler.native.translate import translate
from diffsim.compiler.native.values import SIZE
from diffsim.language.arrangement import Arrangement, steps_of

__all__ = ["NativeTrials"]

_SYMBOL = "kernel"
_LINE = 64  # bytes; arrays begin at a multiple, as those of the process that asks do


class NativeTrials:
    """Translate, compile and run texts on memory like that of the process that asks."""

    def __init__(self) -> None:
        self._codes: dict[str, _llvm.Code] = {}
        self._memory: dict[str, tuple[Any, dict[str, NDArray[Any]]]] = {}

    def prepare(self, request: dict[str, Any]) -> None:
        """Make the arrays that are not there yet."""
        for name, field in request["fields"].items():
            spec = [*field, *_how(request, name)]
            if name not in self._memory or self._memory[name][0] != spec:
                self._memory[name] = spec, _arrays(name, spec)

    def has(self, key: str) -> bool:
        """Tell whether a text was compiled."""
        return key in self._codes

    def compile(self, request: dict[str, Any]) -> None:
        """Compile a text."""
        places = {}
        for name, (dtype, shape, _, rows) in request["fields"].items():
            if rows is None:
                places[name] = placed(dtype, shape, *_how(request, name))
            for part, strides in (rows or {}).items():
                places[part] = Place(dtype, tuple(strides), 1, shared=True)
        worlds = request["lanes"], request["worlds"]
        text = translate(request["source"], request["real"], places, _SYMBOL, False, *worlds)
        self._codes[request["key"]] = _llvm.load(_llvm.compile_object(text, request["level"]), _SYMBOL)

    def fill(self, request: dict[str, Any], values: dict[str, NDArray[Any]]) -> None:
        """Give the arrays of a text their numbers, zeros where none came."""
        for name, (_, shape, element, _) in request["fields"].items():
            arrays, given = self._memory[name][1].values(), values.get(name)
            axis, block, _, _ = _how(request, name)
            parts = None if given is None else given.reshape([*shape, math.prod(element or ())])
            for k, array in enumerate(arrays):
                if parts is None or axis < 0:
                    array[...] = 0 if parts is None else parts[..., k]
                else:
                    blocks = parts.reshape(*shape[:axis], -1, block, *shape[axis + 1 :])
                    array[...] = np.moveaxis(blocks, axis + 1, -1)

    def run(self, request: dict[str, Any]) -> None:
        """Run a text, and let go of it."""
        code, args = self._codes.pop(request["key"]), request["args"]
        arrays = [a for name in request["fields"] for a in self._memory[name][1].values()]
        table = (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))
        kinds = [ctypes.c_int] * len(args)
        ctypes.CFUNCTYPE(None, *kinds, ctypes.c_void_p)(code.address)(*args, table)

    @property
    def idle_bytes(self) -> int:
        """The memory of the arrays, where no compiled text waits to be run on them."""
        if self._codes:
            return 0
        return sum(a.nbytes for _, arrays in self._memory.values() for a in arrays.values())

    def free(self) -> None:
        """Free all memory, with what was compiled."""
        self._codes.clear()
        self._memory.clear()


def _how(request: dict[str, Any], name: str) -> tuple[int, int, int, Arrangement | None]:
    """Return how an array lies: its axis of worlds, their blocks, its first axis of space, how those lie."""
    axis, block, space, lies = request["lies"].get(name, (-1, 1, 0, None))
    return axis, block, space, None if lies is None else Arrangement(tuple(lies[0]), tuple(lies[1]), lies[2])


def _arrays(name: str, spec: list[Any]) -> dict[str, NDArray[Any]]:
    """Make the arrays of a name: one, or one for each component of a Taichi field of the user's."""
    dtype, shape, _, rows, axis, block, space, arrangement = spec
    kind = np.dtype({"u1": "u1"}.get(dtype, f"{dtype[0]}{SIZE[dtype]}"))
    shape = laid(shape, axis, block)
    plain = steps_of(shape, space, arrangement).strides
    made = {}
    for part, strides in ({name: plain} if rows is None else rows).items():
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        memory = np.zeros(extent * kind.itemsize + _LINE, np.uint8)
        first = -memory.ctypes.data % _LINE
        flat = memory[first : first + extent * kind.itemsize].view(kind)
        made[part] = np.lib.stride_tricks.as_strided(flat, shape, [s * kind.itemsize for s in strides])
    return made
