"""Memory that outlives a rollout, and the kernels that were compiled for it."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.native.memory import Place, laid, placed
from diffsim.engine.device import apart, require_room, zeroing
from diffsim.language.arrangement import Arrangement, Steps, steps_of

__all__ = ["LINE", "Arena", "Compiled", "FieldArena", "Spec", "place_fields"]

LINE = 64  # bytes of a line of the processor's cache
_KERNELS = 512  # that an idle arena keeps
_TOGETHER = 64  # fields that one kernel zeroes


@dataclass(frozen=True)
class Spec:
    """What a buffer is in memory.

    Attributes:
        name: The buffer's name.
        dtype: The scalar type.
        shape: The lengths of all axes, in memory order.
        leading: How many axes come before those of space.
        components: Scalar fields.
        part: `windowed` for what has slots, `kept` for checkpoints, else `lasting`.
        axis: The axis whose neighbours lie beside each other, in blocks around which all other axes are; -1
            for none.
        block: How many do.
        space: The first axis of space.
        arrangement: How the axes of space lie; None for their order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    leading: int
    components: int
    part: str
    axis: int = -1
    block: int = 1
    space: int = 0
    arrangement: Arrangement | None = None

    @property
    def laid(self) -> tuple[int, ...]:
        """Return the lengths of axes as they lie in memory: blocks in the place of that axis, theirs last."""
        return tuple(laid(self.shape, self.axis, self.block))

    def in_order(self, laid: NDArray[Any]) -> NDArray[Any]:
        """Return what lies in memory with the axes of `shape`: a view, or a copy where there are blocks."""
        return laid if self.axis < 0 else np.moveaxis(laid, -1, self.axis + 1).reshape(self.shape)

    def fill(self, laid: NDArray[Any], values: NDArray[Any]) -> None:
        """Overwrite what lies in memory by values with the axes of `shape`; the last block may lack some."""
        if self.axis < 0:
            laid[...] = values
            return
        blocks = np.moveaxis(np.moveaxis(laid, -1, self.axis + 1), (self.axis, self.axis + 1), (0, 1))
        values = np.moveaxis(values, self.axis, 0)
        whole, rest = divmod(len(values), self.block)
        blocks[:whole] = values[: whole * self.block].reshape(whole, self.block, *values.shape[1:])
        if rest:
            blocks[whole, :rest] = values[whole * self.block :]

    @property
    def steps(self) -> Steps:
        """How far apart elements and components are, along the axes of `laid`."""
        return steps_of(self.laid, self.space, self.arrangement)

    @property
    def place(self) -> Place:
        """What machine code knows of a component."""
        return placed(self.dtype, self.shape, self.axis, self.block, self.space, self.arrangement)

    @property
    def pieces(self) -> int:
        """How many pieces of memory it has: one for each component, or one for all that lie together."""
        return 1 if self.steps.component else self.components

    @property
    def lines(self) -> int:
        """The lines of the processor's cache that a piece takes, with one to spare."""
        return -(-self.bytes // self.pieces // LINE) + 1

    @property
    def itemsize(self) -> int:
        """The bytes of a number."""
        return int(np.dtype(_taichi.NUMPY[self.dtype]).itemsize)

    @property
    def bytes(self) -> int:
        """The memory of all components, with room to spare."""
        return self.pieces * self.steps.size * self.itemsize

    def arrays(self, memory: NDArray[np.uint8], starts: Sequence[int]) -> list[NDArray[Any]]:
        """Return the components in a block of memory, with the axes of `laid`.

        Args:
            memory: The block.
            starts: Where each piece begins in it [bytes].
        """
        steps, kind = self.steps, _taichi.NUMPY[self.dtype]
        strides = [step * self.itemsize for step in steps.strides]
        if steps.component:
            starts = [starts[0] + steps.component * self.itemsize * k for k in range(self.components)]
        return [np.ndarray(self.laid, kind, memory, start, strides) for start in starts]


@dataclass
class Compiled:
    """A kernel that was compiled for the fields of an arena.

    Attributes:
        launch: Launches it.
        seconds: What compiling took, the first run included.
        kernel: The kernel, of one that Taichi compiled.
        fields: Fields of the user's that it reads.
        reason: Why Taichi compiled it where machine code was asked for; empty where it did not.
    """

    launch: Callable[..., None]
    seconds: float
    kernel: Callable[..., Any] | None = None
    fields: tuple[Any, ...] = ()
    reason: str = ""

    def forget(self) -> None:
        """Let go of it, for good."""
        if self.kernel is not None:
            _taichi.forget_kernel(self.kernel)


class Arena(abc.ABC):
    """Memory by what it is for, and compiled kernels by their text.

    Args:
        specs: What it is made for.
        options: What else it is made for: arenas of other options are no use for the same rollout.

    Attributes:
        key: What it was made for: rollouts of the same key can take it over.
        program: The Taichi program that it lives on.
        bytes: The memory of everything in it.
    """

    def __init__(self, specs: Sequence[Spec], *options: Any) -> None:
        self.key = (tuple(specs), type(self), *options)
        self.program = _taichi.current_program()
        self.bytes = 0
        self._kernels: OrderedDict[tuple[Any, ...], Compiled] = OrderedDict()

    @property
    def first_bytes(self) -> int:
        """The memory of what it was made for; tapes and measurements may have come later."""
        return sum(spec.bytes for spec in self.key[0])

    @abc.abstractmethod
    def allocate(self, specs: Iterable[Spec]) -> None:
        """Make the memory of what has none yet."""

    @abc.abstractmethod
    def fields(self, spec: Spec) -> tuple[Any, ...]:
        """Return a buffer as scalar Taichi fields, one per component."""

    @abc.abstractmethod
    def views(self, spec: Spec) -> list[NDArray[Any]]:
        """Return a buffer as NumPy arrays, one per component: its memory, or copies of a device's."""

    def laid(self, spec: Spec) -> list[NDArray[Any]]:
        """Return a buffer as it lies in memory, one array per component, or copies of a device's."""
        return self.views(spec)

    @abc.abstractmethod
    def put(self, spec: Spec, component: int, values: NDArray[Any]) -> None:
        """Overwrite a component of a buffer from the host."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Zero everything, as it was when it was new."""

    # ---- kernels ----

    def compiled(self, key: tuple[Any, ...]) -> Compiled | None:
        """Return the kernel of a text, None where it was not compiled yet."""
        found = self._kernels.get(key)
        if found is not None:
            self._kernels.move_to_end(key)
        return found

    def keep(self, key: tuple[Any, ...], compiled: Compiled) -> None:
        """Remember a kernel."""
        self._kernels[key] = compiled

    def trim(self) -> None:
        """Forget the kernels that were not used for longest, if they are many; nobody may hold any."""
        while len(self._kernels) > _KERNELS:
            self._kernels.popitem(last=False)[1].forget()

    def close(self) -> None:
        """Free all memory; nobody may use it any more."""
        for compiled in self._kernels.values():
            compiled.forget()
        self._kernels.clear()


class FieldArena(Arena):
    """Memory in Taichi fields.

    Args:
        specs: What it is made for.
        on_cpu: The fields lie in host memory and can be viewed as NumPy arrays.
        split: The axes before space and each axis of space are levels of their own.
    """

    def __init__(self, specs: Sequence[Spec], on_cpu: bool, split: bool) -> None:
        super().__init__(specs, on_cpu, split)
        self._on_cpu, self._split = on_cpu, split
        self._fields: dict[Spec, tuple[Any, ...]] = {}
        self._views: dict[Spec, list[NDArray[Any]]] = {}
        self._trees: list[Any] = []
        self._zero: list[Callable[..., Any]] = []

    def allocate(self, specs: Iterable[Spec]) -> None:
        """Make the fields of what has none yet."""
        made = [spec for spec in dict.fromkeys(specs) if spec not in self._fields]
        if not self._on_cpu:
            require_room(made)
        order = ("lasting", "windowed"), ("kept",)
        for parts in order:
            here = [spec for part in parts for spec in made if spec.part == part]
            for together in [here] if self._on_cpu else apart(here):
                if together:
                    self._make_tree(together)

    def fields(self, spec: Spec) -> tuple[Any, ...]:
        """Return the scalar fields of a buffer, one per component."""
        return self._fields[spec]

    def views(self, spec: Spec) -> list[NDArray[Any]]:
        """Return NumPy arrays that share the memory of those fields; copies where it is a device's."""
        if not self._on_cpu:
            with _taichi.unrecorded():
                inside = tuple(slice(n) for n in spec.shape)  # without room to spare
                return [_taichi.read_field(field)[inside] for field in self._fields[spec]]
        _taichi.wait()
        return self._views[spec]

    def put(self, spec: Spec, component: int, values: NDArray[Any]) -> None:
        """Overwrite a component on a device."""
        field = self._fields[spec][component]
        if tuple(field.shape) != values.shape:
            inside, values = values, np.zeros(field.shape, values.dtype)
            values[tuple(slice(n) for n in spec.shape)] = inside
        _taichi.write_field(field, values)

    def clear(self) -> None:
        """Zero all fields, as new ones are."""
        if self._on_cpu:
            _taichi.wait()
            for view in (view for views in self._views.values() for view in views):
                view[...] = 0
            return
        if not self._zero:
            fields = [field for fields in self._fields.values() for field in fields]
            self._zero = [zeroing(fields[k : k + _TOGETHER]) for k in range(0, len(fields), _TOGETHER)]
        for kernel in self._zero:
            kernel(0)

    def close(self) -> None:
        """Free all memory; nobody may use it any more."""
        super().close()
        self._forget_zeroing()
        self._views.clear()
        self._fields.clear()
        for tree in self._trees:
            _taichi.destroy_tree(tree)
        self._trees.clear()

    def _forget_zeroing(self) -> None:
        for kernel in self._zero:
            _taichi.forget_kernel(kernel)
        self._zero.clear()

    # ---- fields ----

    def _make_tree(self, specs: list[Spec]) -> None:
        """Make the fields of buffers, which share one allocation.

        What has slots lies at the end of it, slot by slot: then no distance between two places of a step
        depends on how many slots there are, and the same kernel is compiled to the same arithmetic, to the
        last bit, for every window.
        """
        ti = _taichi.running.ti
        self._forget_zeroing()  # there will be more to zero
        builder = _taichi.begin_tree()
        blocked = [s for s in specs if s.part == "windowed"] if self._split else []
        nodes = dict.fromkeys(specs, builder)
        if blocked:
            worlds, slots = blocked[0].shape[:2]
            nodes.update(dict.fromkeys(blocked, builder.dense(ti.axes(0), worlds).dense(ti.axes(1), slots)))
        for spec, node in nodes.items():
            self._place(node, spec, 2 if node is not builder else 0)
        self._trees.append(_taichi.make_tree(builder))
        self.bytes += sum(spec.bytes for spec in specs)
        if self._on_cpu:
            for part, outer in (([s for s in specs if s not in blocked], 0), (blocked, 2)):
                self._make_views(part, outer)

    def _place(self, node: Any, spec: Spec, outer: int) -> None:
        """Make the fields of a buffer below a node that has its `outer` first axes.

        On a CPU the axes before space (world, slot, ...) and each axis of space are levels of their own: an
        index of a level is added to the address in 64 bits, so that the compiler sees how far the places of
        neighbours are apart and vectorises, whatever expression names the slot.
        """
        axes, leading = len(spec.shape), spec.leading
        levels = [range(outer, leading), *(range(a, a + 1) for a in range(leading, axes))]
        if not self._split:
            levels = [range(axes)] if spec.arrangement is None else [range(a, a + 1) for a in range(axes)]
        self._fields[spec] = self._placed(node, spec, levels)

    def _placed(self, node: Any, spec: Spec, levels: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        """Make the fields of a buffer below a node."""
        return place_fields(node, spec, levels)

    def _make_views(self, specs: list[Spec], outer: int) -> None:
        pairs = [(s, f) for s in specs for f in self._fields[s]]
        if not pairs:
            return
        shapes, dtypes, steps = zip(*((s.shape, s.dtype, s.steps.strides) for s, _ in pairs), strict=True)
        views = _taichi.address_views([f for _, f in pairs], shapes, dtypes, outer, steps)
        for (spec, _), view in zip(pairs, views, strict=True):
            self._views.setdefault(spec, []).append(view)


def place_fields(
    node: Any, spec: Spec, levels: Sequence[Sequence[int]], made: Sequence[Any] = ()
) -> tuple[Any, ...]:
    """Make the fields of a buffer below a node, and return them.

    Args:
        node: Where to.
        spec: The buffer.
        levels: Axes of `spec.laid` that make a level of the tree together, from the outermost on; where the
            axes of space are in an order of their own, each of them is a level.
        made: Its fields, which have no place yet; none to make them.
    """
    ti, lengths = _taichi.running.ti, list(spec.laid)
    alike: list[Sequence[int]] = []  # levels that all components share
    levels = [axes for axes in levels if axes]
    if spec.arrangement is not None:
        first, order = spec.space, spec.arrangement.order
        behind = first + len(order)
        lengths[first:behind] = spec.arrangement.lengths
        alike = [axes for axes in levels if axes[-1] < first] + [[first + axis] for axis in order]
        levels = [axes for axes in levels if axes[0] >= behind]
        if spec.arrangement.beside == 1:
            alike, levels = [], [*alike, *levels]

    def below(place: Any, made: Sequence[Sequence[int]]) -> Any:
        for axes in made:
            named = [spec.axis if a == len(spec.shape) else a for a in axes]  # inside of blocks of one axis
            place = place.dense(ti.axes(*named), [lengths[a] for a in axes])
        return place

    fields: list[Any] = []
    node = below(node, alike)
    for _ in range(spec.components):
        fields.append(made[len(fields)] if made else ti.field(_taichi.running.dtypes[spec.dtype]))
        below(node, levels).place(fields[-1])
    return tuple(fields)
