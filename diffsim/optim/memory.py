"""What an optimizer keeps on the device, and the kernels that work on it.

One kernel serves all parameters and both precisions; arithmetic is in f64, and what is stored has the
parameters' own type. (Taichi reads the annotations of kernels, so this module does not postpone them.)
"""

import math
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from diffsim import _taichi, runtime
from diffsim._taichi import ti
from diffsim.optim.host import HostMemory

__all__ = ["NUMBERS", "Memory"]

NUMBERS = 4  # hyperparameters that a rule may take
_LANES = 1024  # parts of a sum that may be added up side by side
_SERIAL = 1 << 15  # on a CPU, waking the threads costs more than work on fewer elements
_Numbers = ti.types.vector(NUMBERS, ti.f64)


@ti.data_oriented
class Memory:
    """Slots of the size of all parameters together: the best ones so far, and what a rule keeps.

    A rule is a subclass with a Taichi function `change`, which tells by how much an element changes.

    Args:
        leaves: What is optimised: objects with `values` and `grads`, tuples of scalar fields, with `lengths`,
            how much of their axes is used, and with `world_axis`, the one that counts worlds, or None.
        slots: How many slots the rule has beside the first, which holds the best parameters.

    Attributes:
        host: The same rule for parameters in NumPy arrays, which need no kernels and nothing compiled. It
            holds for this class and not for its subclasses, whose `change` is another; None for none.
        worlds: How many worlds have best parameters of their own; 0 where they are kept for all together.
        program: The Taichi program that the slots live in.
    """

    host: ClassVar[type[HostMemory] | None] = HostMemory

    def __init__(self, leaves: Sequence[Any], slots: int) -> None:
        self.values = tuple(field for leaf in leaves for field in leaf.values)
        self.grads = tuple(field for leaf in leaves for field in leaf.grads)
        self.slots = 1 + slots
        self.program = runtime.current_program()
        self.parts = len(self.values)
        lengths = [tuple(leaf.lengths) for leaf in leaves for _ in leaf.values]  # not room to spare
        self.axes = tuple(map(_axes, lengths))
        self.sizes = tuple(map(math.prod, lengths))
        # The best values of a world are best beside what they were tried with: where worlds share a
        # parameter, the best of all are kept together.
        axes = [(leaf.lengths, leaf.world_axis) for leaf in leaves for _ in leaf.values]
        own = all(axis is not None for _, axis in axes)
        self.worlds = int(axes[0][0][axes[0][1]]) if own else 0
        self.world_axes = tuple(axis for _, axis in axes)
        self.offsets = tuple(sum(self.sizes[:k]) for k in range(self.parts))
        total = sum(self.sizes)
        on_cpu = runtime.info().on_cpu
        self.serial = on_cpu and total <= _SERIAL
        self.lanes = tuple(min(_LANES, size) for size in self.sizes)
        self.trips = tuple(-(-size // lanes) for size, lanes in zip(self.sizes, self.lanes, strict=True))
        # A lane adds neighbours on a CPU (cache lines); on a GPU neighbouring lanes read neighbours.
        self.hops = tuple((n, 1) if on_cpu else (1, k) for n, k in zip(self.trips, self.lanes, strict=True))
        self._allocate(total)

    def _allocate(self, total: int) -> None:
        """Make the fields, in trees of their own that can be freed."""
        self.kept = self._field(self.values[0].dtype, self.slots, total)
        self.sums = self._field(_taichi.running.ti.f64, self.parts, max(self.lanes))

    def _field(self, dtype: Any, rows: int, columns: int) -> Any:
        """Make a field in a tree of its own: on Vulkan numbers of 8 bytes and of 4 overlap in one."""
        ti, builder = _taichi.running.ti, _taichi.begin_tree()
        field = ti.field(dtype)
        builder.dense(ti.ij, (rows, columns)).place(field)
        # Not at exit: the program may have ended by then, and takes its memory along.
        weakref.finalize(self, _taichi.destroy_tree, _taichi.make_tree(builder)).atexit = False
        return field

    def fits(self, leaves: Sequence[Any], slots: int) -> bool:
        """Tell whether this memory was made for the same fields and as many slots."""
        theirs = [f for leaf in leaves for f in leaf.values] + [f for leaf in leaves for f in leaf.grads]
        mine = [*self.values, *self.grads]
        return self.slots == 1 + slots and [id(f) for f in mine] == [id(f) for f in theirs]

    @ti.func
    def change(self, place, g, numbers):
        """Return what is added to an element (half of it after a halving), and update the rule's slots.

        Args:
            place: Where the element is in a slot: `self.kept[slot, place]`, slots of a rule from 1.
            g: The element's gradient, normalised or clipped, f64.
            numbers: The hyperparameters, a vector of f64.
        """
        return -numbers[0] * g

    @ti.func
    def at(self, part: ti.template(), k):  # type: ignore[valid-type]
        """Turn a position in the flattened field into its index."""
        index = ti.Vector([0 for _ in ti.static(self.axes[part])])
        for d in ti.static(range(len(self.axes[part]))):
            index[d] = k // self.axes[part][d][0] % self.axes[part][d][1]
        return index

    @ti.kernel
    def norm_squared(self) -> ti.f64:
        """Add up the squares of all gradients, in f64, in an order that depends on the sizes alone."""
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=self.serial)
            for lane in range(self.lanes[part]):
                partial = ti.cast(0.0, ti.f64)
                for trip in range(self.trips[part]):
                    k = lane * self.hops[part][0] + trip * self.hops[part][1]
                    if k < self.sizes[part]:
                        g = ti.cast(self.grads[part][self.at(part, k)], ti.f64)
                        partial += g * g
                self.sums[part, lane] = partial
        total = ti.cast(0.0, ti.f64)
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=True)
            for lane in range(self.lanes[part]):
                total += self.sums[part, lane]
        return total

    @ti.kernel
    def keep_worlds(self, better: ti.types.ndarray(dtype=ti.i32, ndim=1)):  # type: ignore[valid-type]
        """Store the parameters of each world that is marked as its best ones."""
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=self.serial)
            for k in range(self.sizes[part]):
                index = self.at(part, k)
                if better[index[self.world_axes[part]]] != 0:
                    self.kept[0, self.offsets[part] + k] = self.values[part][index]

    @ti.kernel
    def update(self, keep: ti.i32, scale: ti.f64, rate: ti.f64, numbers: _Numbers):  # type: ignore[valid-type]
        """Change all parameters; where `keep` is not 0, store what they were as the best ones first.

        Args:
            keep: Whether they are the best ones.
            scale: What gradients are multiplied by.
            rate: What changes are multiplied by.
            numbers: The rule's hyperparameters.
        """
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=self.serial)
            for k in range(self.sizes[part]):
                index = self.at(part, k)
                place = self.offsets[part] + k
                value = self.values[part][index]
                if keep != 0:
                    self.kept[0, place] = value
                g = scale * ti.cast(self.grads[part][index], ti.f64)
                moved = ti.cast(value, ti.f64) + rate * self.change(place, g, numbers)
                self.values[part][index] = ti.cast(moved, self.values[part].dtype)

    @ti.kernel
    def swap(self, slot: ti.i32):
        """Exchange the parameters and a slot."""
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=self.serial)
            for k in range(self.sizes[part]):
                index = self.at(part, k)
                place = self.offsets[part] + k
                value = self.values[part][index]
                self.values[part][index] = self.kept[slot, place]
                self.kept[slot, place] = value

    @ti.kernel
    def clear(self, first: ti.i32):
        """Zero the slots from one on: 0 for all, 1 for those of the rule."""
        for slot, place in self.kept:
            if slot >= first:
                self.kept[slot, place] = 0.0

    @ti.kernel
    def go_back(self):
        """Set the parameters to the best ones."""
        for part in ti.static(range(self.parts)):
            ti.loop_config(serialize=self.serial)
            for k in range(self.sizes[part]):
                self.values[part][self.at(part, k)] = self.kept[0, self.offsets[part] + k]


def _axes(shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return (stride, length) of every axis of a flattened field."""
    return tuple((math.prod(shape[d + 1 :]), n) for d, n in enumerate(shape))
