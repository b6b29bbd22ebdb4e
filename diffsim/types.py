"""The element types of fields: scalars, small vectors and small matrices of the working precision."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["ElementType", "mat", "mat2", "mat3", "mat4", "real", "vec", "vec2", "vec3", "vec4"]


@dataclass(frozen=True)
class ElementType:
    """Describe one element of a field: its name and the shape of its components.

    Attributes:
        name: What it is called in messages, `vec2` for example.
        shape: `()` for a scalar, `(n,)` for a vector, `(n, m)` for a matrix.
    """

    name: str
    shape: tuple[int, ...] = ()

    @property
    def components(self) -> int:
        """Count the scalars in one element."""
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"ds.{self.name}"


def vec(n: int) -> ElementType:
    """Return the type of vectors of `n` real components."""
    return ElementType(f"vec{n}", (n,))


def mat(n: int, m: int | None = None) -> ElementType:
    """Return the type of real matrices of `n` rows and `m` columns (`n` where `m` is left out)."""
    m = n if m is None else m
    return ElementType(f"mat{n}" if n == m else f"mat{n}x{m}", (n, m))


real = ElementType("real")
vec2, vec3, vec4 = vec(2), vec(3), vec(4)
mat2, mat3, mat4 = mat(2), mat(3), mat(4)
