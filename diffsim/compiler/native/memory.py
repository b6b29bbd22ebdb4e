"""Reading and writing memory: one number, a row of neighbours, or one for each world wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from diffsim.compiler.native.arithmetic import Arithmetic, Unsupported
from diffsim.compiler.native.values import LLVM, SIZE, Number, kind_of, literal
from diffsim.language.arrangement import Arrangement, steps_of

__all__ = ["Memory", "Place", "Row", "Spot", "laid", "lanes_of", "placed"]


@dataclass(frozen=True)
class Place:
    """An array that a kernel names.

    Attributes:
        dtype: The type of its elements.
        strides: How many elements apart neighbours along each axis are; of the axis of worlds, its blocks.
        length: Elements from the first to the last one.
        shared: Another name may stand for the same memory.
        axis: The axis whose neighbours lie beside each other in blocks, with all other axes around; -1 for
            none.
        block: How many do.
        shape: The lengths of the axes, where they are known.
    """

    dtype: str
    strides: tuple[int, ...]
    length: int
    shared: bool = False
    axis: int = -1
    block: int = 1
    shape: tuple[int, ...] = ()


def laid(shape: Sequence[int], axis: int, block: int) -> list[int]:
    """Return the lengths of axes as they lie in memory: blocks in the place of one axis, theirs last."""
    if axis < 0:
        return list(shape)
    return [*shape[:axis], shape[axis] // block, *shape[axis + 1 :], block]


def placed(
    dtype: str,
    shape: Sequence[int],
    axis: int = -1,
    block: int = 1,
    space: int = 0,
    arrangement: Arrangement | None = None,
) -> Place:
    """Return what is known of an array of a rollout.

    Args:
        dtype: The type of its elements.
        shape: The lengths of its axes.
        axis: The one whose neighbours lie beside each other, in blocks; -1 for none.
        block: How many do.
        space: The first axis of space.
        arrangement: How the axes of space lie; None for the order of the indices.
    """
    there = laid(shape, axis, block)
    strides = list(steps_of(there, space, arrangement).strides)
    length = 1 + sum((n - 1) * step for n, step in zip(there, strides, strict=True))
    if axis >= 0:
        strides.pop()
        if block == shape[axis]:
            strides[axis], block = 1, 1
    return Place(dtype, tuple(strides), length, False, axis, block, tuple(shape))


class Row(NamedTuple):
    """Indices of neighbours, one for each world of a register.

    Attributes:
        start: The first, a multiple of their number.
        shared: Other registers of worlds have the same.
    """

    start: Number
    shared: bool = False


class Spot(NamedTuple):
    """Where numbers are in memory.

    Attributes:
        place: The array.
        address: The register of the address, or that of all addresses.
        width: How many numbers.
        scattered: Each has an address of its own; else they are neighbours.
        shared: Other registers of worlds have the same, whose worlds may be there where these are not.
    """

    place: Place
    address: str
    width: int = 1
    scattered: bool = False
    shared: bool = False


class Memory:
    """Append loads and stores.

    Args:
        do: Appends arithmetic.

    Attributes:
        width: How many worlds a register holds, in a loop over worlds; else 1.
        live: Which of them are there, where their number is no multiple of that; None for all.
        mask: Which of them a branch is for; None where there is none.
        group: That of accesses in a loop whose iterations are independent.
    """

    def __init__(self, do: Arithmetic) -> None:
        self._do, self.code = do, do.code
        self.width = 1
        self.group = ""
        self.live: Number | None = None
        self.mask: Number | None = None

    @property
    def active(self) -> Number | None:
        """Which worlds take part here; None for all."""
        return self.live if self.mask is None else self.mask

    # ---- addresses ----

    def spot(self, name: str, place: Place, indices: Sequence[Number | Row]) -> Spot:
        """Return where the numbers at some indices of an array are."""
        fixed, row, shared = 0, False, False
        one: list[Number] = []
        many: list[Number] = []
        for axis, (index, stride) in enumerate(zip(indices, place.strides, strict=True)):
            blocked = axis == place.axis and place.block > 1
            if isinstance(index, Row):
                shared = index.shared
                row, index = True, self._block_of(index.start, place) if blocked else index.start
            elif blocked:
                beside = self._do.binary("&", index, literal(index.dtype, place.block - 1))
                (one if index.width == 1 else many).append(self._scaled(beside, 1))
                index = self._block_of(index, place)
            if index.constant and index.width == 1:
                fixed += int(index.text) * stride
            else:
                (one if index.width == 1 else many).append(self._scaled(index, stride))
        base = self._pointer(name, place.dtype, fixed, one)
        if not many:
            return Spot(place, base, self.width if row else 1, shared=shared)
        if row:
            many.append(lanes_of("i64", self.width))
        offsets = reduce(lambda a, b: self._do.binary("+", a, b), many)
        step = f"getelementptr inbounds {_stored(place.dtype)}, ptr {base}, {offsets.kind} {offsets.text}"
        return Spot(place, self.code.result("u64", step).text, self.width, scattered=True)

    def _block_of(self, index: Number, place: Place) -> Number:
        return self._do.binary(">>", index, literal(index.dtype, place.block.bit_length() - 1))

    def _scaled(self, index: Number, stride: int) -> Number:
        """Return an index in elements, in 64 bits."""
        offset = self._do.cast(index, "i64")
        return offset if stride == 1 else self._do.binary("*", offset, literal("i64", stride))

    def _pointer(self, name: str, dtype: str, fixed: int, moving: Sequence[Number]) -> str:
        address = f"%{name}"
        offset = reduce(lambda a, b: self._do.binary("+", a, b), moving).text if moving else ""
        for part in (offset, str(fixed) if fixed else ""):
            if part:
                step = f"getelementptr inbounds {_stored(dtype)}, ptr {address}, i64 {part}"
                address = self.code.result("u64", step).text
        return address

    # ---- loads and stores ----

    def read(self, spot: Spot) -> Number:
        """Append a load."""
        place, width = spot.place, spot.width
        kind, size = _stored(place.dtype, width), SIZE[place.dtype]
        if spot.scattered:
            text = self._masked(spot, "gather")
        elif width > 1 and not self._whole(spot):
            text = self._masked(spot, "load", mask=self.live)
        else:
            text = f"load {kind}, ptr {spot.address}, align {size}{self._grouped}"
        loaded = self.code.result(place.dtype, text, width)
        if place.dtype != "u1":
            return loaded
        return self.code.result("u1", f"trunc {kind} {loaded.text} to {kind_of('u1', width)}", width)

    def write(self, spot: Spot, value: Number) -> None:
        """Append a store.

        Raises:
            Unsupported: Worlds store different numbers at one place.
        """
        place, width = spot.place, spot.width
        if value.width > width:
            raise Unsupported("a place that worlds share")
        value = self._do.wide(self._do.cast(value, place.dtype), width)
        kind, size, text = _stored(place.dtype, width), SIZE[place.dtype], value.text
        if width > 1 and not spot.scattered and self.mask is not None and self._whole(spot):
            value = self._do.select(self.mask, value, self.read(spot))
            text = value.text
        if place.dtype == "u1":
            text = self.code.result("u8", f"zext {value.kind} {text} to {kind}", width).text
        if spot.scattered:
            self.code.line(self._masked(spot, "scatter", text))
        elif width > 1 and not self._whole(spot):
            self.code.line(self._masked(spot, "store", text, self.active))
        else:
            self.code.line(f"store {kind} {text}, ptr {spot.address}, align {size}{self._grouped}")

    @property
    def _grouped(self) -> str:
        return f", !llvm.access.group {self.group}" if self.group else ""

    def _whole(self, spot: Spot) -> bool:
        """Tell whether a row may be read and written beyond the worlds that are there."""
        return self.live is None or (spot.place.block > 1 and not spot.shared)

    def _masked(self, spot: Spot, what: str, value: str = "", mask: Number | None = None) -> str:
        """Return the call of one of LLVM's masked loads and stores, and declare it."""
        width, size = spot.width, SIZE[spot.place.dtype]
        one, kind = _stored(spot.place.dtype), _stored(spot.place.dtype, width)
        mask = mask if mask is not None else self.active
        mask = self._do.wide(literal("u1", 1) if mask is None else mask, width)
        pointer = f"<{width} x ptr>" if spot.scattered else "ptr"
        given = [(pointer, spot.address), ("i32", f"{size}"), (mask.kind, mask.text)]
        given = [(kind, value), *given] if value else [*given, (kind, "poison")]
        returns = "void" if value else kind
        named = {"float": "f32", "double": "f64"}.get(one, one)
        name = f"llvm.masked.{what}.v{width}{named}.{f'v{width}p0' if spot.scattered else 'p0'}"
        self.code.declare(f"{returns} @{name}({', '.join(k for k, _ in given)})")
        return f"call {returns} @{name}({', '.join(f'{k} {text}' for k, text in given)})"


def lanes_of(dtype: str, width: int) -> Number:
    """Return 0, 1, 2, ... for the worlds of a register."""
    return Number(dtype, "<" + ", ".join(f"{LLVM[dtype]} {k}" for k in range(width)) + ">", width)


def _stored(dtype: str, width: int = 1) -> str:
    """Return LLVM's type of numbers in memory, where a condition takes a byte."""
    return kind_of("u8" if dtype == "u1" else dtype, width)
