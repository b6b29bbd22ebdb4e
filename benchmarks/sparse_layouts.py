"""Layouts of a sparse grid by themselves, in plain Taichi: its SNodes against tables of blocks over a pool.

What a step does with a grid, and nothing else: clear it, activate what will be written, scatter to the 27
nodes around each point, visit the active cells, gather. A table tells the slot of each block of the room, or
-1; slots lie in a pool; a list names the active blocks in the order of their places, so that sums over them
are always in the same order. With two tables, the first tells the slot of 8^3 blocks in the second.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from typing import Any

import numpy as np
import taichi as ti

from benchmarks.sparse_problem import DX, MASS, VELOCITY, block

SNODES = {"pointer": 4, "two pointers": 4, "bitmasked": 4}
TABLES = {"table, 4^3": 4, "table, 8^3": 8, "two tables, 4^3": 4, "two tables, 8^3": 8}
LAYOUTS = {**SNODES, **TABLES}  # edge of a block in cells
ACTIVATIONS = ("marks", "on the fly")
_GROUP = 8  # blocks along each side of what an entry of the first of two tables stands for


def place(layout: str, room: tuple[int, int, int], fields: Any) -> Any:
    """Place fields of (momentum, mass) under SNodes that cover a room.

    Args:
        layout: A key of `SNODES`, or `dense`.
        room: Cells along each axis.
        fields: What to place.

    Returns:
        The topmost node, whose `deactivate_all` clears the grid.
    """
    blocks = [-(-cells // 4) for cells in room]
    if layout == "dense":
        top = cells = ti.root.dense(ti.ijk, room)
    elif layout == "pointer":
        top = ti.root.pointer(ti.ijk, blocks)
        cells = top.dense(ti.ijk, 4)
    elif layout == "two pointers":
        top = ti.root.pointer(ti.ijk, [-(-b // 8) for b in blocks])
        cells = top.pointer(ti.ijk, 8).dense(ti.ijk, 4)
    else:
        top = ti.root.pointer(ti.ijk, [-(-b // 4) for b in blocks])
        cells = top.bitmasked(ti.ijk, 4).dense(ti.ijk, 4)
    cells.place(*fields)
    return top


@ti.data_oriented
class Grid:
    """A grid of momentum and mass in a cubic room, and the points that use it.

    Args:
        particles: How many points.
        room: Cells along each axis, a multiple of 64.
        layout: A key of `LAYOUTS`.
        activation: Of tables, one of `ACTIVATIONS`.
    """

    def __init__(self, particles: int, room: int, layout: str, activation: str = "marks") -> None:
        self.n, self.room, self.inv_dx = particles, room, 1.0 / DX
        self.activation = activation
        self.edge, self.table = LAYOUTS[layout], layout in TABLES
        self.two = layout.startswith("two tables")
        self.x = ti.Vector.field(3, ti.f32, shape=self.n)
        self.v = ti.Vector.field(3, ti.f32, shape=self.n)
        x, _ = block(particles)
        self.momentum, self.mass = ti.Vector.field(3, ti.f32), ti.field(ti.f32)
        if self.table:
            self._tables(x)
        else:
            self.top = place(layout, (room,) * 3, (self.momentum, self.mass))
        self.x.from_numpy(x.astype(np.float32))

    def _tables(self, x: Any) -> None:
        """Allocate a pool, with room for twice the blocks that are touched first, and what leads there."""
        self.bits = self.edge.bit_length() - 1
        self.along, self.cells = self.room >> self.bits, self.edge**3
        self.groups = self.along // _GROUP
        corner = (x * self.inv_dx - 0.5).astype(int)
        touched = [(corner + 2 * np.array(c)) >> self.bits for c in np.ndindex(2, 2, 2)]
        self.capacity = 2 * len(np.unique(np.concatenate(touched), axis=0))
        ti.root.dense(ti.i, self.capacity).dense(ti.j, self.cells).place(self.momentum, self.mass)
        self.list, self.count = ti.field(ti.i32, self.capacity), ti.field(ti.i32, ())
        self.marks = ti.field(ti.u8, self.along**3)
        self.first = ti.field(ti.i32, self.groups**3 if self.two else self.along**3)
        self.first.fill(-1)
        self.second = ti.field(ti.i32, (self.capacity if self.two else 1, _GROUP**3))
        self.used = ti.field(ti.i32, ())  # entries of the second table
        self.second.fill(-1)

    @ti.func
    def corner(self, p):
        """Return the lowest of the nodes around a point, and where the point lies from there in cells."""
        base = ti.cast(self.x[p] * self.inv_dx - 0.5, ti.i32)
        return base, self.x[p] * self.inv_dx - ti.cast(base, float)

    @ti.func
    def flat(self, node):
        """Return the number of a node's block."""
        b = node >> self.bits
        return (b[0] * self.along + b[1]) * self.along + b[2]

    @ti.func
    def pair(self, number):
        """Return where a block's slot is told: an entry of the first table, and of the second."""
        i, j, k = number // self.along**2, number // self.along % self.along, number % self.along
        group = ((i // _GROUP) * self.groups + j // _GROUP) * self.groups + k // _GROUP
        return group, ((i % _GROUP) * _GROUP + j % _GROUP) * _GROUP + k % _GROUP

    @ti.func
    def where(self, node):
        """Return a node's index in the fields."""
        place = node
        if ti.static(self.table):
            slot = 0
            if ti.static(self.two):
                b = node >> self.bits
                g, c = b >> 3, b & 7
                group = self.first[(g[0] * self.groups + g[1]) * self.groups + g[2]]
                slot = self.second[group, (c[0] * _GROUP + c[1]) * _GROUP + c[2]]
            else:
                slot = self.first[self.flat(node)]
            inside = node & (self.edge - 1)
            cell = (inside[0] * self.edge + inside[1]) * self.edge + inside[2]
            place = ti.Vector([slot, cell, 0])
        return place

    @ti.func
    def enter(self, number, slot):
        """Tell a block its slot."""
        if ti.static(self.two):
            group, inside = self.pair(number)
            if self.first[group] < 0:
                self.first[group] = ti.atomic_add(self.used[None], 1)
            self.second[self.first[group], inside] = slot
        else:
            self.first[number] = slot

    @ti.kernel
    def mark(self):
        """Mark the blocks at the corners of what a point writes: no block lies between them."""
        for p in range(self.n):
            base, _ = self.corner(p)
            for i, j, k in ti.static(ti.ndrange(2, 2, 2)):
                self.marks[self.flat(base + 2 * ti.Vector([i, j, k]))] = ti.u8(1)

    @ti.kernel
    def scan(self):
        """Give slots to the marked blocks, in the order of their places."""
        ti.loop_config(serialize=True)
        for number in range(self.along**3):
            if self.marks[number] != 0:
                self.list[self.count[None]] = number
                self.enter(number, self.count[None])
                self.count[None] += 1

    @ti.kernel
    def seize(self):
        """Give a slot to each block that is met without one: in the order of the points, by one thread."""
        ti.loop_config(serialize=True)
        for p in range(self.n):
            base, _ = self.corner(p)
            for i, j, k in ti.static(ti.ndrange(2, 2, 2)):
                number = self.flat(base + 2 * ti.Vector([i, j, k]))
                if self.marks[number] == 0:
                    self.marks[number] = ti.u8(1)
                    self.list[ti.atomic_add(self.count[None], 1)] = number

    @ti.kernel
    def sort(self):
        """Order the list by insertion."""
        ti.loop_config(serialize=True)
        for a in range(self.count[None]):
            number, b = self.list[a], a - 1
            while b >= 0 and self.list[ti.max(b, 0)] > number:
                self.list[b + 1] = self.list[b]
                b -= 1
            self.list[b + 1] = number

    @ti.kernel
    def number(self):
        """Give slots in the order of the list."""
        ti.loop_config(serialize=True)
        for a in range(self.count[None]):
            self.enter(self.list[a], a)

    @ti.kernel
    def forget(self):
        """Empty the active blocks, and take back their slots."""
        for a, cell in ti.ndrange(self.count[None], self.cells):
            self.mass[a, cell] = 0.0
            self.momentum[a, cell] = ti.Vector([0.0, 0.0, 0.0])
        for a in range(self.count[None]):
            number = self.list[a]
            self.marks[number] = ti.u8(0)
            if ti.static(self.two):
                group, inside = self.pair(number)
                self.second[self.first[group], inside] = -1
            else:
                self.first[number] = -1
        if ti.static(self.two):
            for a in range(self.count[None]):
                group, _ = self.pair(self.list[a])
                self.first[group] = -1

    @ti.kernel
    def touch(self):
        """Let the SNodes activate the blocks at the corners of what a point writes."""
        for p in range(self.n):
            base, _ = self.corner(p)
            for i, j, k in ti.static(ti.ndrange(2, 2, 2)):
                self.mass[base + 2 * ti.Vector([i, j, k])] = 0.0

    def clear(self) -> None:
        """Empty the grid and its topology."""
        if not self.table:
            self.top.deactivate_all()
            return
        self.forget()
        self.count[None] = self.used[None] = 0

    def activate(self) -> None:
        """Make the blocks active that the scatter writes."""
        if not self.table:
            self.touch()
        elif self.activation == "marks":
            self.mark()
            self.scan()
        else:
            self.seize()
            self.sort()
            self.number()

    @ti.kernel
    def scatter(self):
        """Give mass and momentum to the nodes around each point."""
        for p in range(self.n):
            base, fx = self.corner(p)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                share = MASS * w[i][0] * w[j][1] * w[k][2]
                node = self.where(base + ti.Vector([i, j, k]))
                if ti.static(self.table):
                    self.mass[node[0], node[1]] += share
                    self.momentum[node[0], node[1]] += share * ti.Vector(ti.static(list(VELOCITY)))
                else:
                    self.mass[node] += share
                    self.momentum[node] += share * ti.Vector(ti.static(list(VELOCITY)))

    @ti.kernel
    def visit(self):
        """Turn momentum into velocity at the active cells."""
        if ti.static(self.table):
            for a, cell in ti.ndrange(self.count[None], self.cells):
                if self.mass[a, cell] > 0.0:
                    self.momentum[a, cell] /= self.mass[a, cell]
        else:
            for cell in ti.grouped(self.mass):
                if self.mass[cell] > 0.0:
                    self.momentum[cell] /= self.mass[cell]

    @ti.kernel
    def gather(self):
        """Take velocities from the nodes around each point."""
        for p in range(self.n):
            base, fx = self.corner(p)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            v = ti.Vector.zero(float, 3)
            for i, j, k in ti.static(ti.ndrange(3, 3, 3)):
                share = w[i][0] * w[j][1] * w[k][2]
                node = self.where(base + ti.Vector([i, j, k]))
                if ti.static(self.table):
                    v += share * self.momentum[node[0], node[1]]
                else:
                    v += share * self.momentum[node]
            self.v[p] = v
