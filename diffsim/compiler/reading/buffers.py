"""The memory of a program: what stands behind declared fields, and behind Taichi fields made by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.ir import Buffer, Location, Operand, is_float
from diffsim.compiler.reading.captured import Captures
from diffsim.compiler.reading.followed import Followed
from diffsim.compiler.reading.sites import Sites
from diffsim.compiler.reading.values import FieldPlace
from diffsim.errors import Diagnostic
from diffsim.language.fields import Constant, Field, Scratch, State
from diffsim.language.layouts import Sparse
from diffsim.language.types import ElementType

__all__ = ["Buffers"]


class Buffers:
    """The memory of a program: a buffer for each declared field and each Taichi field that kernels read.

    Args:
        fields: The declared fields.
        real: The working precision.
        bare: Surrogate adjoints are passed over: what they belong to is differentiated like all else. Their
            names, and whether they are functions or kernels, are in `surrogates` either way.
    """

    def __init__(self, fields: dict[str, Field], real: str, bare: bool = False) -> None:
        self.real = real
        self.bare, self.surrogates = bare, dict[str, str]()
        self.results: dict[int, FieldPlace] = {}  # where what kernels return is, by id
        self.arrays: dict[int, tuple[NDArray[Any], Constant]] = {}  # that kernels index while they run
        self.followed: dict[tuple[str, int], Followed] = {}  # what is looked up before each run
        self.stamps: list[tuple[str, tuple[int, int]]] = []  # of the trees of Taichi fields that kernels read
        self.by_field: dict[int, Buffer] = {}
        self.external: dict[int, Buffer] = {}
        self.captured = Captures()
        self.warnings: list[Diagnostic] = []
        self.acknowledged: set[Buffer] = set()  # States that a comment says are meant to be stored in part
        self.handed_on: set[Buffer] = set()  # States that kernels write without the time, as if in place
        self.cost_stores: list[Location] = []  # where the cost is stored, once per run
        self._names: set[str] = set()
        self._before: dict[int, Buffer] = {}
        self.key: Buffer | None = None  # what random numbers start from, where kernels draw any
        self.sites = Sites()
        self.activities: dict[int, Buffer] = {}  # what tells which cells of a sparse field are active
        self.known_to_jump: set[Operand] = set()  # reads of activity whose effect a comment says is meant
        self.fields = fields
        for key, declared in fields.items():
            self.add(declared, key)

    def add(self, declared: Field, key: str) -> Buffer:
        """Make the buffer of a declared field."""
        dtype = "i32" if declared.integer else "f64" if declared.kind == "cost" else self.real
        name = self._unique(key)
        buffer = Buffer(name, declared.kind, dtype, declared.shape, declared.type.components, declared)
        if declared.differentiable:
            self.differentiate(buffer)
        self.by_field[id(declared)] = buffer
        return buffer

    def add_hidden(
        self,
        type_: ElementType,
        shape: Sequence[int],
        key: str,
        kind: str = "scratch",
        gradient: bool = True,
        layout: Sparse | None = None,
    ) -> Buffer:
        """Make a Scratch that the library needs for itself; each place is written before it is read.

        Args:
            type_: Of its elements.
            shape: Its shape.
            key: What messages and plans call it.
            kind: `derived` for what is used before step 0.
            gradient: Gradients flow through it, if it is of floats.
            layout: Where it has memory for active blocks only.
        """
        declared = Scratch(type_, tuple(shape), layout=layout)
        declared.made_for(key, kind, gradient)
        return self.add(declared, key)

    def activity(self, layout: Sparse, field: Field) -> Buffer:
        """Return what kernels read to know which cells of a field are active; it has no memory.

        Args:
            layout: That of the field.
            field: A declared one.
        """
        if id(field) not in self.activities:
            name = self._unique(f"active {field.key}")
            self.activities[id(field)] = Buffer(name, "activity", "i32", field.shape, 1, layout)
            self.activities[id(field)].field = field
        return self.activities[id(field)]

    def carries(self, layout: Sparse) -> bool:
        """Tell whether the blocks of a layout are carried from step to step, since a State has it."""
        return any(isinstance(field, State) and field.layout is layout for field in self.fields.values())

    def kept_layouts(self) -> set[Sparse]:
        """Return the layouts of which what is active at `t` is so at `t + 1` from the beginning of a step."""
        states = [f for f in self.fields.values() if isinstance(f, State) and f.sparse is not None]
        kept = [f for f in states if f.keep or self.by_field.get(id(f)) in self.handed_on]
        return {f.sparse for f in kept if f.sparse is not None}

    def before_steps(self, scratch: Field) -> Buffer:
        """Return the memory that a Scratch has in `reset`, apart from that of the steps."""
        if id(scratch) not in self._before:
            own = copy.copy(scratch)
            own.made_for(scratch.key, "derived", hidden=scratch.hidden)
            self._before[id(scratch)] = self.add(own, f"{scratch.key} before")
        return self._before[id(scratch)]

    def differentiate(self, buffer: Buffer) -> None:
        """Let gradients flow through a buffer of floats."""
        if buffer.adjoint is None and is_float(buffer.dtype):
            adjoint = Buffer(
                buffer.name + "_adj",
                buffer.kind,
                buffer.dtype,
                buffer.shape,
                buffer.components,
                buffer.source,
            )
            adjoint.is_adjoint, buffer.adjoint = True, adjoint

    def array(self, values: NDArray[Any], label: str) -> Constant:
        """Return the Constant that a NumPy array is for kernels.

        Raises:
            ConfigError: It does not hold numbers.
        """
        if id(values) not in self.arrays:
            made = Constant(values)
            made.made_for(label)
            self.add(made, label)
            self.arrays[id(values)] = values, made  # holds the array, whose id stays its own
            self.captured.add(values, "values", label, values, lambda held: held, False)
        return self.arrays[id(values)][1]

    def follow(self, what: str, thing: Any, name: str, make: Callable[[], Followed]) -> Buffer:
        """Return the buffer of what is looked up before each run.

        Args:
            what: What it tells.
            thing: The Taichi field or SNode that it tells it of.
            name: What that is called in messages.
            make: Makes it, at the first call.
        """
        key = what, _taichi.place_id(thing)
        if key not in self.followed:
            made = self.followed[key] = make()
            self.add(made, made.key)
            self.stamps.append((name, _taichi.tree_stamp(thing)))
        return self.by_field[id(self.followed[key])]

    def add_external(
        self, obj: Any, name: str, shape: tuple[int, ...], components: int, dtype: str
    ) -> Buffer:
        """Make the buffer of a Taichi field that the user allocated: read only, without gradient."""
        if id(obj) not in self.external:
            buffer = Buffer(self._unique(name), "external", dtype, shape, components, obj)
            self.external[id(obj)], buffer.called = buffer, name
            self.stamps.append((name, _taichi.tree_stamp(obj)))
        return self.external[id(obj)]

    def _unique(self, key: str) -> str:
        base = "f_" + "".join(c if c.isalnum() else "_" for c in key)
        name, k = base, 1
        while name in self._names:
            name, k = f"{base}_{k}", k + 1
        self._names.add(name)
        return name

    def all(self) -> list[Buffer]:
        """Return every buffer."""
        return [*self.by_field.values(), *self.external.values()]
