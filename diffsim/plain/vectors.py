"""Vectors and matrices of kernels in plain Python: small NumPy arrays with Taichi's methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diffsim.plain.scalars import TYPES, cast_scalar, common, kind_of, real

__all__ = ["Row", "Vec", "cast", "kind", "scalar", "vector"]

_SWIZZLES = tuple({c: k for k, c in enumerate(names)} for names in ("xyzw", "rgba", "stpq"))
_NAMES = {np.dtype(made): name for name, made in TYPES.items()}


class Row(list[Any]):
    """A list that a kernel makes: `+` and `*` make longer ones of it, and do not compute with it."""


class Vec(np.ndarray):  # type: ignore[type-arg]
    """A vector or matrix."""

    @property
    def n(self) -> int:
        """The components of a vector, or the rows of a matrix."""
        return self.shape[0]

    @property
    def m(self) -> int:
        """The columns; 1 of a vector."""
        return self.shape[1] if self.ndim > 1 else 1

    def __getattr__(self, name: str) -> Any:
        places = swizzled(self.shape, name)
        if places is None:
            raise AttributeError(f"a vector of shape {self.shape} has no {name!r}")
        return scalar(self[places[0]]) if len(places) == 1 else self[places]

    def __setattr__(self, name: str, value: Any) -> None:
        places = swizzled(self.shape, name)
        if places is None:
            super().__setattr__(name, value)
        else:
            self[places[0] if len(places) == 1 else places] = value

    def __iter__(self) -> Iterator[Any]:
        for k in range(self.shape[0]):
            yield scalar(self[k])

    # ---- Taichi's methods ----

    def sum(self, *_: Any) -> Any:  # type: ignore[override]
        """Add the components up."""
        return scalar(np.asarray(self).sum(dtype=self._wide()))

    def _wide(self) -> Any:
        return np.int32 if self.dtype == np.bool_ else self.dtype

    def max(self, *_: Any) -> Any:  # type: ignore[override]
        """Return the largest component."""
        return scalar(np.asarray(self).max())

    def min(self, *_: Any) -> Any:  # type: ignore[override]
        """Return the smallest component."""
        return scalar(np.asarray(self).min())

    def any(self, *_: Any) -> Any:  # type: ignore[override]
        """Tell whether a component is not zero."""
        return bool(np.asarray(self).any())

    def all(self, *_: Any) -> Any:  # type: ignore[override]
        """Tell whether no component is zero."""
        return bool(np.asarray(self).all())

    def dot(self, other: Any) -> Any:  # type: ignore[override]
        """Return the sum of products."""
        a, b = _alike(self, other)
        return scalar((a * b).sum())

    def norm_sqr(self) -> Any:
        """Return the sum of squares."""
        return self.dot(self)

    def norm(self, eps: Any = 0.0) -> Any:
        """Return the root of the sum of squares and `eps`."""
        square = self._real()
        return np.sqrt(scalar((square * square).sum()) + cast_scalar(eps, _NAMES[square.dtype]))

    def norm_inv(self, eps: Any = 0.0) -> Any:
        """Return one over the norm."""
        length = self.norm(eps)
        return type(length)(1.0) / length

    def normalized(self, eps: Any = 0.0) -> Any:
        """Return the vector over its norm and `eps`."""
        length = self.norm()
        length = type(length)(length + cast_scalar(eps, kind_of(length)))
        return (np.asarray(self._real()) * (type(length)(1.0) / length)).view(Vec)

    def _real(self) -> Any:
        return np.asarray(self) if self.dtype.kind == "f" else np.asarray(self).astype(TYPES[real()])

    def cross(self, other: Any) -> Any:
        """Return the cross product: a number in the plane.

        Raises:
            ValueError: The arguments are not two vectors of 2 or of 3 components.
        """
        a, b = _alike(self, other)
        if a.shape == b.shape == (2,):
            return scalar(a[0] * b[1] - a[1] * b[0])
        if a.shape == b.shape == (3,):
            return np.cross(a, b).view(Vec)
        raise ValueError(f"cross needs two vectors of 2 or of 3 components, got {a.shape} and {b.shape}")

    def outer_product(self, other: Any) -> Any:
        """Return the matrix of products."""
        a, b = _alike(self, other)
        return (a.reshape(-1, 1) * b.reshape(1, -1)).view(Vec)

    def transpose(self, *_: Any) -> Any:  # type: ignore[override]
        """Return the transposed matrix; a vector becomes a row."""
        return (self[None, :] if self.ndim == 1 else np.asarray(self).T.copy()).view(Vec)

    def trace(self, *_: Any) -> Any:  # type: ignore[override]
        """Return the sum of the diagonal."""
        return scalar(np.asarray(self).trace())

    def determinant(self) -> Any:
        """Return the determinant, expanded along the first row."""
        return _determinant(np.asarray(self))

    def inverse(self) -> Any:
        """Return the inverse, by cofactors."""
        a = self._real()
        n = a.shape[0]
        cofactors = np.empty_like(a)
        for i in range(n):
            for j in range(n):
                minor = np.delete(np.delete(a, i, 0), j, 1)
                cofactors[j, i] = (-1.0) ** (i + j) * (_determinant(minor) if n > 1 else 1.0)
        return (cofactors * (a.dtype.type(1.0) / _determinant(a))).view(Vec)

    def cast(self, dtype: Any) -> Any:
        """Return the components as numbers of another type."""
        from diffsim.plain.scalars import named_type

        return cast(self, named_type(dtype))

    def get_shape(self) -> tuple[int, ...]:
        """Return the shape."""
        return self.shape


def _determinant(a: Any) -> Any:
    n = a.shape[0]
    if n == 1:
        return a[0, 0]
    if n == 2:
        return scalar(a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
    terms = [(-1 if j % 2 else 1) * a[0, j] * _determinant(np.delete(a[1:], j, 1)) for j in range(n)]
    return sum(terms[1:], terms[0])


def swizzled(shape: tuple[int, ...], name: str) -> list[int] | None:
    """Return the components that `.x`, `.xy`, `.rgb` mean; None for another name."""
    for table in _SWIZZLES:
        if len(shape) == 1 and name and all(c in table and table[c] < shape[0] for c in name):
            return [table[c] for c in name]
    return None


def scalar(value: Any) -> Any:
    """Return a number as kernels have it: integers of 32 bits and conditions are Python's own."""
    if type(value) is np.float64:
        return value
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    made = value[()] if isinstance(value, np.ndarray) else value
    if isinstance(made, np.int32):
        return int(made)
    return bool(made) if isinstance(made, np.bool_) else made


def kind(value: Any) -> str:
    """Return the name of the type of a number, or of the components of a vector."""
    if isinstance(value, np.ndarray):
        return _NAMES[value.dtype]
    return kind_of(value)


def cast(value: Any, name: str) -> Any:
    """Convert a number, or the components of a vector."""
    if not isinstance(value, np.ndarray):
        return cast_scalar(value, name)
    if name == "u1":
        return (np.asarray(value) != 0).view(Vec)
    if value.dtype.kind == "f" and name[0] != "f":
        entries = [cast_scalar(x, name) for x in np.asarray(value).ravel()]
        return np.array(entries, TYPES[name]).reshape(value.shape).view(Vec)
    return np.asarray(value).astype(TYPES[name]).view(Vec)


def _alike(*values: Any) -> list[Any]:
    """Return vectors as arrays of one type."""
    given = [v if isinstance(v, np.ndarray) else vector(v) for v in values]
    name = kind(given[0])
    for v in given[1:]:
        name = common(name, kind(v))
    name = "i32" if name == "u1" else name
    return [np.asarray(v).astype(TYPES[name]) for v in given]


def vector(items: Any, name: str | None = None) -> Any:
    """Make a vector of numbers, or a matrix of rows.

    Args:
        items: Numbers, or lists or vectors of numbers.
        name: The type of the components; the one that holds all of them where left out.
    """
    rows = list(items)
    if rows and not all(np.ndim(r) == 0 for r in rows):
        made = [vector(r) if not isinstance(r, np.ndarray) else r for r in rows]
        kinds = [kind(r) for r in made]
    else:
        made, kinds = rows, [kind(r) for r in rows]
    if name is None:
        name = kinds[0]
        for k in kinds[1:]:
            name = common(name, k)
    return np.array([np.asarray(cast(r, name)) for r in made], TYPES[name]).view(Vec)
