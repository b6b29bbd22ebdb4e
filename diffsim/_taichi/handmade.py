"""What Taichi's fields are that users made by hand, and which of their cells are active."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffsim._taichi.kernels import build_kernel, forget_kernel, release_source, unrecorded
from diffsim._taichi.objects import NUMPY, dtype_name
from diffsim._taichi.packages import is_a
from diffsim._taichi.spirv import on_spirv

__all__ = ["Facts", "Look", "field_facts", "is_dynamic", "node_facts", "outside_tables", "place_id"]

MAX_SNODES = 1024  # taichi_max_num_snodes in its C++ source
_DENSE = ("root", "dense", "place")
_PACKED = ("bit_struct", "quant_array")  # of which a struct-for visits every cell


class Facts(NamedTuple):
    """What decides how kernels may use a field or an SNode.

    Attributes:
        sparse: The kind of a sparse SNode that decides which cells a loop visits; "" where it visits all.
        offset: Where its indices begin.
        adjoint: It has an adjoint, or is one.
        scattered: Its numbers are not all in memory of their own: some are packed into bits, or under a
            sparse SNode.
        uneven: It is sparse, and an SNode below the topmost one splits an axis by no power of two: Taichi's
            loops may pass active cells over then.
        overlaps: Its tree has numbers of other sizes too, and on Vulkan those lie in the same memory.
    """

    sparse: str
    offset: tuple[int, ...]
    adjoint: bool
    scattered: bool
    uneven: bool
    overlaps: bool = False


def field_facts(field: Any) -> Facts | None:
    """Return what decides how kernels may use a field; None where it has not been placed."""
    places = [variable.ptr.snode() for variable in field.vars]
    if any(place is None for place in places):
        return None
    sparse = [_sparse(place) for place in places]
    offsets = [tuple(place.offset) for place in places]
    return Facts(
        sparse[0],
        next((offset for offset in offsets if any(offset)), offsets[0]),
        any(place.has_adjoint() or not place.is_primal() for place in places),
        any(sparse) or any(_kind(node) in _PACKED for place in places for node in _path(place)),
        bool(sparse[0]) and _uneven(places[0]),
        on_spirv() and len(_sizes(list(_path(places[0]))[-1])) > 1,
    )


def node_facts(node: Any) -> Facts:
    """Return what decides how kernels may loop over an SNode."""
    sparse = _sparse(node.ptr)
    return Facts(sparse, (), False, bool(sparse), bool(sparse) and _uneven(node.ptr))


def place_id(thing: Any) -> int:
    """Return a number for a field or an SNode that no other one of the program has."""
    return int(thing.vars[0].ptr.snode().id if is_a(thing, "Field") else thing.ptr.id)


def is_dynamic(node: Any) -> bool:
    """Tell whether an SNode is a list."""
    return _kind(node.ptr) == "dynamic"


def outside_tables(field: Any) -> bool:
    """Tell whether a field has a sparse SNode that Taichi's runtime keeps no room for.

    Its tables have 1024 entries and SNodes are numbered without end: the first access would end the process.
    """
    return any(_kind(node) not in _DENSE and node.id >= MAX_SNODES for node in _path(field.snode.ptr))


def _kind(node: Any) -> str:
    return str(node.type).rpartition(".")[2]


def _path(node: Any) -> Iterator[Any]:
    """Yield an SNode and those above it."""
    while node is not None:
        yield node
        node = node.parent


def _sparse(node: Any) -> str:
    """Return the kind of the lowest sparse SNode from one on upward, "" where there is none."""
    return next((kind for kind in map(_kind, _path(node)) if kind not in (*_DENSE, *_PACKED)), "")


def _uneven(node: Any) -> bool:
    """Tell whether an SNode below the topmost one splits an axis by another number than a power of two."""
    extents = [_extents(one) for one in _path(node)][:-1]  # the last is that of the root
    ratios = [
        extent // upper.get(axis, 1)
        for lower, upper in itertools.pairwise(extents)
        for axis, extent in lower.items()
    ]
    return any(ratio & (ratio - 1) for ratio in ratios)


def _sizes(node: Any) -> set[int]:
    """Return the bytes of the numbers below an SNode."""
    if _kind(node) == "place":
        name = dtype_name(node.data_type())
        return {np.dtype(NUMPY[name]).itemsize} if name in NUMPY else {0}
    return {size for k in range(node.get_num_ch()) for size in _sizes(node.get_ch(k))}


def _extents(node: Any) -> dict[int, int]:
    """Return how many cells an SNode has along each axis, those of the SNodes above it included."""
    axes = node.get_physical_index_position()
    return {axes[i]: node.get_shape_along_axis(i) for i in range(node.num_active_indices())}


class Look:
    """Looks which cells of a sparse field or SNode are active now, or how long its lists are.

    Args:
        thing: The field or SNode; for lengths, a dynamic SNode.
        shape: Of the answer: the thing's own, or for lengths that of the SNode above it.
        lengths: Ask for lengths.
    """

    def __init__(self, thing: Any, shape: tuple[int, ...], lengths: bool = False) -> None:
        self._shape = shape
        if lengths:
            names = [f"i{axis}" for axis in range(len(shape))]
            at = " + ".join(f"{name} * {prod(shape[a + 1 :])}" for a, name in enumerate(names)) or "0"
            head = f"{', '.join(names) or '_'} in ti.ndrange({', '.join(map(str, shape)) or '1'})"
            line = f"out[{at}] = ti.length(thing, [{', '.join(names)}])"
        else:
            at = " + ".join(f"cell[{axis}] * {prod(shape[axis + 1 :])}" for axis in range(len(shape))) or "0"
            head, line = "cell in ti.grouped(thing)", f"out[{at}] = 1"
        source = f"def look(out: ti.types.ndarray(ndim=1)):\n    for {head}:\n        {line}\n"
        self._kernel = build_kernel(source, "look", {"thing": thing})
        weakref.finalize(self, _forget, self._kernel).atexit = False

    def __call__(self) -> npt.NDArray[np.int32]:
        """Return 1 for each active cell and 0 for the others; or the lengths."""
        found = np.zeros(prod(self._shape), np.int32)
        with unrecorded():
            self._kernel(found)
        return found.reshape(self._shape)


def _forget(kernel: Any) -> None:
    forget_kernel(kernel)
    release_source(kernel)
