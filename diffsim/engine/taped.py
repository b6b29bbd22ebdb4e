"""Memory that Taichi's own reverse mode works on: each value's adjoint is the gradient of its field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from diffsim import _taichi
from diffsim.compiler.ir import Buffer
from diffsim.engine.arena import FieldArena, Spec, place_fields

__all__ = ["Element", "TapeArena", "elements_of"]

Element = tuple[Spec, tuple[int, ...], "Spec | None"]


def elements_of(specs: dict[Buffer, Spec]) -> tuple[Element, ...]:
    """Return what kernels of users may index: with the shape of its elements, and where its adjoint is.

    Args:
        specs: What buffers are in memory.
    """
    found = []
    for buffer, spec in specs.items():
        shape = getattr(getattr(buffer.source, "type", None), "shape", None)
        if shape is not None and not buffer.is_adjoint:
            adjoint = None if buffer.adjoint is None else specs.get(buffer.adjoint)
            found.append((spec, tuple(shape), adjoint))
    return tuple(found)


class TapeArena(FieldArena):
    """Memory in Taichi fields: of vectors where elements are vectors, with gradients for adjoints.

    Args:
        specs: What it is made for.
        on_cpu, split: As of `FieldArena`.
        elements: What kernels of users may index.
    """

    def __init__(
        self, specs: Sequence[Spec], on_cpu: bool, split: bool, elements: tuple[Element, ...]
    ) -> None:
        super().__init__(specs, on_cpu, split)
        self.key = (*self.key, elements)
        self._shapes = {spec: (shape, adjoint) for spec, shape, adjoint in elements}
        self._values = {one: spec for spec, _, adjoint in elements for one in (spec, adjoint) if one}
        self._elements: dict[Spec, Any] = {}
        self._made: dict[Spec, list[Any]] = {}
        self._domains: dict[tuple[int, ...], Any] = {}

    def element(self, spec: Spec) -> Any:
        """Return the field that kernels of users index."""
        return self._elements[spec]

    def domain(self, shape: tuple[int, ...]) -> Any:
        """Return a field of a shape, to loop over."""
        return self._domains[shape]

    def allocate(self, specs: Iterable[Spec]) -> None:
        """Make the fields of what has none yet, and those that are only looped over."""
        super().allocate(specs)
        ti = _taichi.ti
        shapes = {spec.shape[spec.leading :] for spec in self._shapes} - {(), *self._domains}
        if not shapes:
            return
        builder = _taichi.begin_tree()
        for shape in shapes:
            field = self._domains[shape] = ti.field(ti.u8)
            builder.dense(ti.axes(*range(len(shape))), shape).place(field)
        self._trees.append(_taichi.make_tree(builder))

    def close(self) -> None:
        """Free all memory; nobody may use it any more."""
        super().close()
        self._elements.clear()
        self._made.clear()
        self._domains.clear()

    def _make_element(self, spec: Spec) -> None:
        """Make the field of a buffer, and that of its adjoint, which get places component by component."""
        ti, (shape, adjoint) = _taichi.ti, self._shapes[spec]
        dtype, gradient = _taichi.DTYPES[spec.dtype], adjoint is not None
        if not shape:
            field = ti.field(dtype, needs_grad=gradient)
        elif len(shape) == 1:
            field = ti.Vector.field(shape[0], dtype, needs_grad=gradient)
        else:
            field = ti.Matrix.field(*shape, dtype, needs_grad=gradient)
        self._elements[spec] = field
        self._made[spec] = _components(field, shape)
        if adjoint is not None:
            self._made[adjoint] = _components(field.grad, shape)

    def _placed(self, node: Any, spec: Spec, levels: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        value = self._values.get(spec)
        if (
            value is not None and value not in self._elements
        ):  # not before: Taichi wants places for all there are
            self._make_element(value)
        return place_fields(node, spec, levels, self._made.pop(spec, ()))


def _components(field: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return the scalar fields that a field is made of, in the order of rows."""
    if not shape:
        return [field]
    if len(shape) == 1:
        return [field.get_scalar_field(k) for k in range(shape[0])]
    return [field.get_scalar_field(i, j) for i in range(shape[0]) for j in range(shape[1])]
