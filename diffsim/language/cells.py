"""Values of some cells of a large grid: what sparse fields are given, and what is read from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.language.values import checked_integers, checked_values, shortened
from diffsim.sizes import show_bytes

__all__ = ["Cells", "cells_of", "given_cells", "numbers_in", "place_of"]

_LARGEST = 1 << 31  # bytes of an array that is made of cells without being asked twice


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a grid that hold something, and what they hold; all others are zero.

    Args:
        indices: Shape `(m, d)`: the place of each cell, d integers.
        values: Shape `(m, *components)`; of several worlds `(worlds, m, *components)`.

    Raises:
        ConfigError: One of them is no array of numbers.
    """

    indices: NDArray[np.int64]
    values: NDArray[Any]

    def __init__(self, indices: ArrayLike, values: ArrayLike) -> None:
        for name, given in (("indices", indices), ("values", values)):
            object.__setattr__(self, name, _numbers(name, given))

    def __len__(self) -> int:
        return len(self.indices) if self.indices.ndim else 0

    def __repr__(self) -> str:
        axes = f" of {self.indices.shape[1]} axes" if self.indices.ndim == 2 else ""
        return f"<Cells: {len(self):,}{axes}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise self._no_array()

    def __getitem__(self, index: Any) -> Any:
        raise self._no_array()

    def _no_array(self) -> StateError:
        return StateError(
            f"cells must be made an array by .dense(shape), got {self!r} used as one; or use their .indices "
            "and .values, and .find([cell, ...]) for where some of them are"
        )

    def find(self, indices: ArrayLike) -> NDArray[np.int64]:
        """Return which of these cells some are: `gradient.values[gradient.find(cells.indices)]`.

        Args:
            indices: Shape `(k, d)`: the place of each.

        Returns:
            Shape `(k,)`: their numbers among these.

        Raises:
            ConfigError: The indices are of another shape, or one is not of these cells.
        """
        wanted = np.asarray(indices)
        if wanted.dtype.kind not in "iu" or wanted.ndim != 2 or wanted.shape[1] != self.indices.shape[-1]:
            raise ConfigError(
                f"indices must be integers of shape (cells, {self.indices.shape[-1]}), got {wanted.dtype} of "
                f"shape {wanted.shape}; one row for each cell"
            )
        known = {place: k for k, place in enumerate(map(tuple, self.indices.tolist()))}
        found = [known.get(place, -1) for place in map(tuple, wanted.tolist())]
        if -1 in found:
            missing = tuple(wanted[found.index(-1)].tolist())
            raise ConfigError(f"indices must be of these {len(self):,} cells, got {missing}; leave it out")
        return np.array(found, np.int64)

    def dense(self, shape: tuple[int, ...], components: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return all cells of a grid as one array, zero where these say nothing.

        Args:
            shape: The lengths of the grid's axes.
            components: The shape of an element: () for numbers, (n,) for vectors.

        Raises:
            StateError: The array would take more than 2 GiB.
        """
        leading = self.values.shape[: self.values.ndim - 1 - len(components)]
        size = math.prod((*leading, *shape, *components)) * self.values.dtype.itemsize
        if size > _LARGEST:
            raise StateError(
                f"cells must fill an array of at most {show_bytes(_LARGEST)}, got a grid of {shape}, which "
                f"takes {show_bytes(size)}; use their .indices and .values"
            )
        array = np.zeros((*leading, *shape, *components), self.values.dtype)
        array[(*(slice(None) for _ in leading), *self.indices.T)] = self.values
        return array


def _numbers(name: str, given: Any) -> NDArray[Any]:
    """Return what cells are made of as an array.

    Raises:
        ConfigError: It is no array of numbers.
    """
    try:
        array = np.asarray(given)
    except ValueError:  # rows of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        raise ConfigError(
            f"{name} of cells must be an array of numbers, got {shortened(given)}; ds.Cells([[3, 4]], [1.0]) "
            "is the cell (3, 4) with the value 1"
        )
    return array


def numbers_in(values: Any) -> NDArray[Any]:
    """Return the numbers of an array, or of cells, whose places do not matter."""
    return values.values if isinstance(values, Cells) else np.asarray(values)


def place_of(cells: Cells, index: Sequence[int], components: int) -> tuple[int, ...]:
    """Return where on the grid a number among the values of cells is.

    Args:
        cells: The cells.
        index: Of the number in their values.
        components: How many axes an element has.
    """
    leading = cells.values.ndim - 1 - components
    cell = cells.indices[index[leading]].tolist()
    return (*index[:leading], *cell, *index[leading + 1 :])


def cells_of(array: NDArray[Any], axes: int, components: int) -> Cells:
    """Return the cells of an array that are not zero, in any component and world.

    Args:
        array: Shape `(*shape, *components)`, with worlds `(worlds, *shape, *components)`.
        axes: How many axes the grid has.
        components: How many an element has.
    """
    leading = array.ndim - axes - components
    others = (*range(leading), *range(leading + axes, array.ndim))
    indices = np.argwhere(np.any(array != 0, axis=others))
    return Cells(indices, array[(*(slice(None) for _ in range(leading)), *indices.T)])


def given_cells(field: Any, given: Any, validated: Callable[[Any], NDArray[Any]]) -> Cells:
    """Return what a field with a sparse layout is set to: the cells that are told, or are not zero.

    Args:
        field: The declaration.
        given: Cells, an array of the whole grid, or 0.
        validated: Checks an array of the whole grid.

    Raises:
        ConfigError: It does not fit, or would make all cells active.
    """
    shape, components = field.shape, field.type.shape
    if isinstance(given, Cells):
        cells = _checked(field.label, given, shape, components, field.per_world)
    elif isinstance(given, int | float | np.number) or getattr(given, "shape", None) == ():
        if np.any(checked_values(field.label, given, lambda s: s == (), str(shape), lambda s: False)):
            raise ConfigError(
                f"{field.label} must be zero outside of some cells, since its layout is sparse, got "
                f"{given!r} for all; set an array, or ds.Cells(indices, values)"
            )
        cells = _no_cells(shape, components)
    else:
        cells = cells_of(validated(given), len(shape), len(components))
    if field.integer:
        return Cells(cells.indices, checked_integers(field.label, cells.values))
    return cells


def _no_cells(shape: tuple[int, ...], components: tuple[int, ...]) -> Cells:
    return Cells(np.zeros((0, len(shape)), np.int64), np.zeros((0, *components)))


def _checked(
    label: str, cells: Cells, shape: tuple[int, ...], components: tuple[int, ...], per_world: bool
) -> Cells:
    """Return cells as numbers of f64 at places that a grid has.

    Args:
        label: What messages call the field.
        cells: What was given.
        shape: The lengths of the grid's axes.
        components: The shape of an element.
        per_world: There may be values for each world.

    Raises:
        ConfigError: Places are no integers, lie outside, or come twice; values do not fit, or are NaN.
    """
    indices, values = cells.indices, cells.values
    count = len(cells)
    if indices.size == values.size == 0:
        return _no_cells(shape, components)
    if indices.ndim != 2 or indices.shape[1] != len(shape) or indices.dtype.kind not in "iu":
        raise ConfigError(
            f"indices of cells of {label} must be integers of shape (cells, {len(shape)}), got "
            f"{indices.dtype} of shape {indices.shape}; one row for each cell"
        )
    outside = np.any((indices < 0) | (indices >= shape), axis=1)
    if outside.any():
        raise ConfigError(
            f"cells of {label} must lie inside of {shape}, got {tuple(indices[outside][0].tolist())}; "
            "leave those out"
        )
    flat = np.ravel_multi_index(tuple(indices.T), shape)
    unique, counts = np.unique(flat, return_counts=True)
    if len(unique) < count:
        twice = np.unravel_index(unique[counts > 1][0], shape)
        raise ConfigError(
            f"cells of {label} must be named once each, got {tuple(int(i) for i in twice)} twice; add up "
            "what belongs to one cell"
        )
    fits = (count, *components)
    if values.dtype.kind not in "biuf" or (
        values.shape != fits and not (per_world and values.ndim == 1 + len(fits) and values.shape[1:] == fits)
    ):
        raise ConfigError(
            f"values of cells of {label} must be numbers of shape {fits}, got {values.dtype} of shape "
            f"{values.shape}; one for each row of indices"
        )
    values = np.array(values, np.float64)
    if np.isnan(values).any():
        raise ConfigError(
            f"{label} must be set to numbers, got nan among its cells; correct what computed it"
        )
    return Cells(indices.astype(np.int64), values)
