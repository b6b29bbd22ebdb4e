"""The memory of a sparse layout: its tables, its lists of active blocks, and where a cell is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from diffsim.compiler.buffer import Place
from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Buffer, Location, Operand, Ref
from diffsim.compiler.reading.buffers import Buffers
from diffsim.errors import ConfigError
from diffsim.language.fields import Constant, Field, State
from diffsim.language.layouts import Sparse
from diffsim.language.types import i32

__all__ = ["RUN", "Topology", "Version", "hidden_constant", "hidden_scratch", "topologies"]

RUN = 256  # entries of a table that one entry of the table above it stands for


@dataclass(frozen=True)
class Version:
    """The active blocks of a layout at a time: those of this step's Scratches, or of a State at t or t + 1.

    Attributes:
        topology: Of which layout.
        time: The time of its list, None for what never changes.
        table: Where each block's slot is.
    """

    topology: Topology
    time: int | None
    table: Buffer

    def listed(self, slot: Operand) -> Ref:
        """Return where the block is told that has a slot."""
        return Ref(self.topology.blocks, (slot,), 0, self.time)

    @property
    def count(self) -> Ref:
        """Return where it is told how many blocks are active."""
        return Ref(self.topology.total, (), 0, self.time)


@dataclass(eq=False)
class Topology:
    """A layout of a program, with the fields that have it.

    Attributes:
        layout: What the user declared.
        name: What plans and messages call it, after its first field.
        shape: The lengths of the axes of space.
        capacity: Blocks that there is room for.
        fields: The pools, adjoints not included; a field's shape begins with that of the layout.
        carried: States have it: their blocks go from step to step.
        fixed: Constants have it: their blocks are known before a run.
        cell_bytes: What a cell of all fields takes.
        blocks, total: The list of active blocks by slot, from 1 on, and how many there are.
        tables: By time, where each block's slot is.
        flags: Of the tables above these, from the finest to the coarsest: where something was marked.
        peaks: The most blocks that were active at the end of a step; none where they are constant.
        first_blocks, first_total: The list of blocks of the States' first values, and how many there are.
        first: The first place where a kernel writes one of its fields.
    """

    layout: Sparse
    name: str
    shape: tuple[int, ...]
    capacity: int
    fields: list[Buffer]
    carried: bool
    fixed: bool
    blocks: Buffer
    total: Buffer
    cell_bytes: int
    tables: dict[int | None, Buffer] = field(default_factory=dict)
    flags: list[Buffer] = field(default_factory=list)
    peaks: list[Buffer] = field(default_factory=list)
    first_blocks: Buffer | None = None
    first_total: Buffer | None = None
    first: Location | None = None

    @property
    def wanted(self) -> int:
        """Return the blocks that the layout asks room for now."""
        return self.layout.blocks_within(self.cell_bytes, self.shape)

    @property
    def given(self) -> list[Buffer]:
        """Return what is known of its blocks before a run: lists, counts and tables."""
        if self.fixed:
            return [self.blocks, self.total, *self.tables.values()]
        return [b for b in (self.first_blocks, self.first_total) if b is not None]

    @property
    def dim(self) -> int:
        """Count the axes of space."""
        return len(self.shape)

    @property
    def shift(self) -> int:
        """Return the power of two that the edge of a block is."""
        return self.layout.block.bit_length() - 1

    @property
    def cells(self) -> int:
        """Count the cells of a block."""
        return self.layout.cells(self.dim)

    @property
    def coarse(self) -> tuple[int, ...]:
        """Return how many blocks the domain has along each axis."""
        return tuple(-(-n // self.layout.block) for n in self.shape)

    @property
    def whole(self) -> bool:
        """Tell whether the domain is made of whole blocks."""
        return all(n % self.layout.block == 0 for n in self.shape)

    def version(self, buffer: Buffer, time: int | None) -> Version:
        """Return which blocks a field's elements are found by.

        Args:
            buffer: A field with this layout, or its adjoint.
            time: Of the access.
        """
        if self.fixed:
            when: int | None = None
        elif self.carried:
            when = time or 0 if buffer.kind == "state" else 1
        else:
            when = 0
        return Version(self, when, self.tables[when])

    def at(self, time: int | None) -> Version:
        """Return the blocks at a time."""
        return Version(self, time, self.tables[time])

    def place(self, buffer: Buffer) -> None:
        """Make a field and its adjoint pools of blocks."""
        self._pool(buffer, self.blocks, self.total)

    def place_first(self, initial: Buffer) -> None:
        """Make the first values of a State a pool of the blocks that they are in."""
        assert self.first_blocks is not None and self.first_total is not None  # noqa: S101, PT018
        self._pool(initial, self.first_blocks, self.first_total)

    def _pool(self, buffer: Buffer, blocks: Buffer, total: Buffer) -> None:
        for one in (buffer, buffer.adjoint):
            if one is not None and one.place is None:
                one.place = Place(one.shape, self.layout.block, self.dim, blocks, total)
                one.shape = (self.capacity + 1, self.cells, *one.shape[self.dim :])

    # ---- where a cell is ----

    def block_of(self, b: Builder, cell: tuple[Operand, ...]) -> Operand:
        """Return the number of the block that a cell is in."""
        number: Operand = b.const(0)
        for index, n in zip(cell, self.coarse, strict=True):
            along = b.op("shr", index, b.const(self.shift))
            number = b.op("add", b.op("mul", number, b.const(n)), along)
        return number

    def within(self, b: Builder, cell: tuple[Operand, ...]) -> Operand:
        """Return the number of a cell in its block."""
        mask, number = b.const(self.layout.block - 1), None
        for index in cell:
            along = b.op("bit_and", index, mask)
            number = along if number is None else b.op("add", b.op("shl", number, b.const(self.shift)), along)
        assert number is not None  # noqa: S101  (a sparse field has axes)
        return number

    def corner(self, b: Builder, block: Operand) -> tuple[Operand, ...]:
        """Return the first cell of a block."""
        found: list[Operand] = []
        rest = block
        for n in reversed(self.coarse[1:]):
            found.append(b.op("mod", rest, b.const(n)))
            rest = b.op("floordiv", rest, b.const(n))
        found.append(rest)
        return tuple(b.op("shl", along, b.const(self.shift)) for along in reversed(found))

    def cell(self, b: Builder, corner: tuple[Operand, ...], number: Operand) -> tuple[Operand, ...]:
        """Return the cell of a block, of which the first cell is known, that has a number in there."""
        mask, found = b.const(self.layout.block - 1), []
        for axis, start in enumerate(corner):
            above = self.shift * (self.dim - 1 - axis)
            along = b.op("shr", number, b.const(above)) if above else number
            along = b.op("bit_and", along, mask) if axis else along
            found.append(b.op("add", start, along))
        return tuple(found)


def topologies(buffers: Buffers) -> list[Topology]:
    """Make the memory of the sparse layouts of a program; their fields are still as they were declared.

    Args:
        buffers: The program's memory.

    Raises:
        ConfigError: Fields of one layout differ in shape, or are both constant and not.
    """
    groups: dict[Sparse, list[Buffer]] = {}
    for buffer in buffers.by_field.values():
        layout = getattr(buffer.source, "layout", None)
        if isinstance(layout, Sparse):
            groups.setdefault(layout, []).append(buffer)
    return [_topology(buffers, layout, members) for layout, members in groups.items()]


def _topology(buffers: Buffers, layout: Sparse, members: list[Buffer]) -> Topology:
    shape, name = _shape_of(members), f"blocks of {members[0].source.key}"
    fixed, carried = _roles(layout, members)
    size = sum(b.components * (8 if b.dtype == "f64" else 4) for b in members)
    capacity = layout.blocks_within(size, shape)
    kind = "constant" if fixed else "state" if carried else "scratch"
    blocks = _hidden(buffers, f"list of {name}", (capacity + 1,), kind)
    total = _hidden(buffers, f"count of {name}", (), kind)
    made = Topology(layout, name, shape, capacity, members, carried, fixed, blocks, total, size)
    count = math.prod(made.coarse)
    times: list[int | None] = [None] if fixed else [0, 1] if carried else [0]
    padded = count if fixed or layout.levels == 1 else -(-count // RUN) * RUN
    for time in times:
        made.tables[time] = _hidden(
            buffers,
            f"table of {name}" + (" at t + 1" if time else ""),
            (padded,),
            "constant" if fixed else "table",
        )
    for level in range(1, 1 if fixed else layout.levels):
        padded = -(-padded // RUN)
        if level < layout.levels - 1:
            padded = -(-padded // RUN) * RUN
        made.flags.append(_hidden(buffers, f"table {level + 1} of {name}", (padded,), "table"))
    if not fixed:
        made.peaks.append(_hidden(buffers, f"most {name}", (), "table"))
    return made


def _shape_of(members: list[Buffer]) -> tuple[int, ...]:
    declared = [b for b in members if not b.hidden]
    first = declared[0]
    for other in declared[1:]:
        if other.shape != first.shape:
            raise ConfigError(
                f"fields of one sparse layout must have one shape, got {first.label} of {first.shape} and "
                f"{other.label} of {other.shape}; make a layout for each with ds.sparse(...)"
            )
    return first.shape


def _roles(layout: Sparse, members: list[Buffer]) -> tuple[bool, bool]:
    """Return whether a layout's blocks are constant, and whether they are carried from step to step."""
    constants = [b for b in members if b.kind == "constant"]
    others = [b for b in members if b.kind != "constant"]
    if constants and others:
        raise ConfigError(
            f"a sparse layout must be of Constants or of fields that steps write, got {constants[0].label} "
            f"and {others[0].label}; make another one with ds.sparse(...) for the Constant"
        )
    return bool(constants), any(isinstance(b.source, State) for b in others)


def _hidden(buffers: Buffers, key: str, shape: tuple[int, ...], kind: str) -> Buffer:
    """Make memory for integers that belong to a layout."""
    if kind in ("state", "constant"):
        declared: Field = State(i32, *shape, keep=False) if kind == "state" else Constant(i32, *shape)
        declared.made_for(key)
        return buffers.add(declared, key)
    return buffers.add_hidden(i32, shape, key, kind, gradient=False)


def hidden_scratch(buffers: Buffers, key: str, shape: tuple[int, ...], before: bool) -> Buffer:
    """Make memory for integers of a step, or of what runs before the first one."""
    return _hidden(buffers, key, shape, "derived" if before else "scratch")


def hidden_constant(buffers: Buffers, key: str, shape: tuple[int, ...]) -> Buffer:
    """Make memory for integers that are known before a run."""
    return _hidden(buffers, key, shape, "constant")
