"""What the programs share: fields with values, and a cost for simulators that inherit a plain class."""

from typing import Any, ClassVar

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike

import diffsim as ds


def given(field: Any, values: ArrayLike) -> Any:
    """Fill a Taichi field, and return it."""
    array = np.asarray(values)
    if field.shape == ():
        field[None] = array.tolist()
    else:
        field.from_numpy(array.astype(np.int32 if array.dtype.kind in "iub" else np.float64))
    return field


class Port(ds.Simulator):
    """A plain Taichi class as a simulator: the kernels are inherited, fields are declared, a cost is added.

    Attributes:
        steps: How many steps the measure runs.
        measured: The States that the cost adds up, by name, with weights that differ from element to element.
        wrt: What is differentiated; all leaves where it is empty.
    """

    steps: ClassVar[int] = 4
    measured: ClassVar[tuple[str, ...]] = ("x",)
    wrt: ClassVar[tuple[str, ...]] = ()

    @ti.kernel
    def weigh_number(self, t: ti.i32, f: ti.template()):  # type: ignore[valid-type]
        self.cost[None] += f[t] + 0.5 * f[t] ** 2

    @ti.kernel
    def weigh_numbers(self, t: ti.i32, f: ti.template(), shape: ti.template()):  # type: ignore[valid-type]
        for I in ti.grouped(ti.ndrange(*shape)):
            self.cost[None] += ti.cos(1.7 * I.sum() + 0.3 * I[0]) * f[t, I] + 0.5 * f[t, I] ** 2

    @ti.kernel
    def weigh_vectors(self, t: ti.i32, f: ti.template(), shape: ti.template()):  # type: ignore[valid-type]
        for I in ti.grouped(ti.ndrange(*shape)):
            for k in ti.static(range(f.type.shape[0])):
                self.cost[None] += ti.cos(1.7 * I.sum() + 0.3 * I[0] + k) * f[t, I][k] + 0.5 * f[t, I][k] ** 2

    def terminal_cost(self, t: Any) -> None:
        """Add up what is measured."""
        for name in self.measured:
            field = getattr(self, name)
            if field.shape:
                (self.weigh_vectors if field.type.shape else self.weigh_numbers)(t, field, field.shape)
            else:
                self.weigh_number(t, field)


def block(n: int, dim: int = 2, low: float = 0.3, high: float = 0.6, seed: int = 0) -> np.ndarray:
    """Draw points in a box, uniformly."""
    return np.random.default_rng(seed).uniform(low, high, size=(n, dim))
