"""Lists of the neighbours of particles, made from cells into which the particles are sorted."""

# Taichi reads the annotations of kernels, so this module does not postpone them.
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffsim._taichi import ti
from diffsim.errors import ConfigError
from diffsim.language.fields import Field, Scratch, State
from diffsim.language.intrinsics import stop_gradient
from diffsim.language.simulator import Part
from diffsim.language.types import i32
from diffsim.options import plain_number

__all__ = ["Neighbors", "neighbors"]

_CELLS = 4  # of the grid for each particle, at most: an emptier one costs more to go through than it spares


class Neighbors(Part):
    """The particles that are nearer to each particle than a cutoff; see `diffsim.neighbors`.

    Args:
        positions: A State or Scratch of `vec2` or `vec3` with one axis.
        cutoff: How near a neighbour is, in the unit of the positions, positive.
        low: The lower corner of the box that is divided into cells, a number or one for each axis.
        high: The upper one.
        capacity: How many neighbours one particle has at most.
        skin: How much further apart listed neighbours may be, not negative.

    Attributes:
        counts: How many neighbours each particle has, `(n,)`.
        lists: Which ones, `(n, capacity)`.
        shape: The cells along each axis.

    Raises:
        ConfigError: A value is not one of those named above.
    """

    def __init__(
        self,
        positions: Any,
        cutoff: float,
        low: Any,
        high: Any,
        capacity: int = 64,
        skin: float = 0.0,
    ) -> None:
        fits = isinstance(positions, State | Scratch) and not positions.integer and len(positions.shape) == 1
        if not fits or positions.type.shape not in ((2,), (3,)):
            raise ConfigError(
                f"neighbors positions must be a State or Scratch of ds.vec2 or ds.vec3 with one axis, got "
                f"{positions!r}; declare it so"
            )
        self.positions, self.n, self.dim = positions, positions.shape[0], positions.type.shape[0]
        self._cutoff = _number("cutoff", cutoff, "positive", lambda x: x > 0.0)
        self._skin = _number("skin", skin, "zero or more", lambda x: x >= 0.0)
        self.capacity = _capacity(capacity)
        self.low, high = (_corner(name, c, self.dim) for name, c in (("low", low), ("high", high)))
        extent = np.subtract(high, self.low)
        if not np.all(extent > 0.0):
            raise ConfigError(f"neighbors high must lie above low, got {high} and {self.low}; exchange them")
        self.shape = _cells(extent, self.cutoff + self.skin, self.n)
        self.per = tuple(float(x) for x in np.divide(self.shape, extent))
        self.reach = (self.cutoff + self.skin) ** 2
        self.rows = list(itertools.product((-1, 0, 1), repeat=self.dim - 1))
        self.cells = math.prod(self.shape)
        self.sums, self.first = Scratch(i32, self.cells), Scratch(i32, self.cells)
        self.home, self.slot, self.order = (Scratch(i32, self.n) for _ in range(3))
        self.ahead = 1 if self.skin > 0.0 else 0  # lists that last are States
        self.counts: Field = State(i32, self.n, keep=True) if self.ahead else Scratch(i32, self.n)
        lists = (i32, self.n, self.capacity)
        self.lists: Field = State(*lists, keep=True) if self.ahead else Scratch(*lists)
        if self.ahead:
            self.stale, self.made = Scratch(i32), State(i32)
            self.since = State(positions.type, self.n, keep=True)

    def __call__(self, t: Any) -> None:
        """Make the lists of step `t`, from the positions at `t`."""
        if self.ahead:
            self.look(t)
        self.sort_in(t)
        self.add_up(t)
        self.put_in_order(t)
        if self.ahead:
            self.renew(t)
            self.note(t)
        else:
            self.collect(t)

    # what the cells are made for: it cannot be assigned

    @property
    def cutoff(self) -> float:
        """How near a neighbour is."""
        return self._cutoff

    @property
    def skin(self) -> float:
        """How much further apart listed neighbours may be."""
        return self._skin

    # ---- what kernels ask for ----

    @ti.func
    def count(self, t, i):
        """Return how many neighbours particle `i` has."""
        return ti.min(self.counts[t + self.ahead, i], self.capacity)

    @ti.func
    def at(self, t, i, k):
        """Return neighbour `k` of particle `i`."""
        return self.lists[t + self.ahead, i, k]

    # ---- cells ----

    @ti.func
    def along(self, x, axis: ti.template()):
        """Return the cell of a position along an axis; beyond the box it is the last one."""
        cell = ti.floor((x[axis] - self.low[axis]) * self.per[axis])
        return ti.cast(ti.max(ti.min(cell, self.shape[axis] - 1.0), 0.0), ti.i32)

    @ti.kernel
    def sort_in(self, t: ti.i32):
        """Count the particles of each cell, and number them."""
        for i in range(self.n):
            cell = 0
            for axis in ti.static(range(self.dim)):
                cell = cell * self.shape[axis] + self.along(self.positions[t, i], axis)
            self.home[t, i] = cell
            self.slot[t, i] = ti.atomic_add(self.sums[t, cell], 1)

    @ti.kernel
    def add_up(self, t: ti.i32):
        """Find where each cell's particles begin in the order of cells."""
        total = 0
        for cell in range(self.cells):
            self.first[t, cell] = total
            total += self.sums[t, cell]

    @ti.kernel
    def put_in_order(self, t: ti.i32):
        """Write the particles in the order of their cells."""
        for i in range(self.n):
            self.order[t, self.first[t, self.home[t, i]] + self.slot[t, i]] = i

    @ti.func
    def collected(self, t, i):
        """Write the neighbours of a particle, row of cells by row of cells, and return how many there are."""
        x = self.positions[t, i]
        found = 0
        for row in ti.static(self.rows):
            base, inside = 0, True
            for axis in ti.static(range(self.dim - 1)):
                cell = self.along(x, axis) + row[axis]
                inside = inside and cell >= 0 and cell < self.shape[axis]
                base = base * self.shape[axis] + cell
            if inside:
                last = self.along(x, self.dim - 1)
                row_length = self.shape[self.dim - 1]
                begin = base * row_length + ti.max(last - 1, 0)
                end = base * row_length + ti.min(last + 1, row_length - 1)
                for q in range(self.first[t, begin], self.first[t, end] + self.sums[t, end]):
                    j = self.order[t, q]
                    if j != i and (x - self.positions[t, j]).norm_sqr() < self.reach:
                        if found < self.capacity:
                            self.lists[t + self.ahead, i, found] = j
                        found += 1
        assert found <= self.capacity, f"particle {i} has {found} neighbours: raise capacity={self.capacity}"
        return found

    @ti.kernel
    def collect(self, t: ti.i32):
        """Make the lists anew."""
        for i in range(self.n):
            self.counts[t, i] = self.collected(t, i)

    # ---- lists that last ----

    @ti.kernel
    def look(self, t: ti.i32):
        """Count the particles that have moved so far that unlisted ones may be near."""
        for i in range(self.n):
            way = (self.positions[t, i] - self.since[t, i]).norm_sqr()
            if self.made[t] == 0 or 4.0 * way > self.skin * self.skin:
                self.stale[t] += 1

    @ti.kernel
    def renew(self, t: ti.i32):
        """Make the lists anew where one is too old."""
        for i in range(self.n):
            if self.stale[t] > 0:
                self.counts[t + 1, i] = self.collected(t, i)

    @ti.kernel
    def note(self, t: ti.i32):
        """Note where particles are as their lists are made."""
        self.made[t + 1] = 1
        for i in range(self.n):
            if self.stale[t] > 0:
                self.since[t + 1, i] = stop_gradient(self.positions[t, i])


def neighbors(
    positions: Any, cutoff: float, low: Any, high: Any, capacity: int = 64, skin: float = 0.0
) -> Neighbors:
    """Return a part that lists, in each step, the neighbours of each particle.

    Call it in `step` before the kernels that use it, and loop over neighbours in these::

        self.near = ds.neighbors(self.x, cutoff=0.1, low=0.0, high=1.0)  # in __init__

        def step(self, t):
            self.near(t)
            self.forces(t)

        @ti.kernel
        def forces(self, t: ti.i32):
            for i in range(self.n):
                for k in range(self.near.count(t, i)):
                    j = self.near.at(t, i, k)
                    d = self.x[t, i] - self.x[t, j]

    Each pair is listed twice, nobody is its own neighbour, and the order follows the cells: it is the same
    in each run. Particles outside of the box are found too, but more slowly. With a `skin`, listed are those
    within `cutoff + skin`, and the lists are used until a particle has moved by half of it: the kernels must
    look at the distance themselves.

    Args:
        positions: A State (its values at `t`) or a Scratch, of `ds.vec2` or `ds.vec3` with one axis.
        cutoff: How near a neighbour is, in the unit of the positions, positive.
        low: The lower corner of the box where particles usually are, a number or one for each axis.
        high: The upper one.
        capacity: How many neighbours one particle has at most; more are an error that names the particle.
        skin: How much further apart listed neighbours may be, not negative.

    Returns:
        The part, with `count(t, i)` and `at(t, i, k)` for kernels.

    Raises:
        ConfigError: A value is not one of those named above.

    Differentiability: which pairs are listed has no derivative. Gradients through positions are those of what
    kernels compute with the pairs, and are right where that goes to zero at the cutoff without a jump.

    Source: Allen, Tildesley, "Computer simulation of liquids" (1987), cells and lists; Verlet (1967).
    """
    return Neighbors(positions, cutoff, low, high, capacity, skin)


def _number(name: str, value: Any, rule: str, holds: Any) -> float:
    number = plain_number(value)
    plain = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    if not plain or not holds(number):
        raise ConfigError(f"neighbors {name} must be {rule}, got {value!r}; give a length")
    return float(number)


def _capacity(value: Any) -> int:
    number = plain_number(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ConfigError(f"neighbors capacity must be a positive integer, got {value!r}; 64 is common")
    return number


def _corner(name: str, value: Any, dim: int) -> tuple[float, ...]:
    try:
        numbers = np.broadcast_to(np.asarray(value, float), (dim,))
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    if not np.all(np.isfinite(numbers)):
        raise ConfigError(f"neighbors {name} must be a number or {dim} of them, got {value!r}; name a corner")
    return tuple(float(x) for x in numbers)


def _cells(extent: Sequence[float], size: float, n: int) -> tuple[int, ...]:
    """Return how many cells there are along each axis: as small as they may be, but not too many."""
    while True:
        shape = tuple(max(1, int(x / size)) for x in extent)
        if math.prod(shape) <= max(64, _CELLS * n):
            return shape
        size *= 1.1
