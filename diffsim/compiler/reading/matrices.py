"""Small dense linear algebra on vectors and matrices of scalars, written out component by component."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from diffsim.compiler.builder import Builder
from diffsim.compiler.ir import Operand
from diffsim.compiler.reading.values import Abstract, Matrix, Record

__all__ = ["METHODS", "PROPERTIES", "determinant", "elementwise", "inverse", "matmul", "paired"]

Scalars = Abstract  # a scalar operand or a Matrix


def elementwise(b: Builder, fn: str, *args: Scalars) -> Scalars:
    """Apply a scalar function to each component; scalars are repeated.

    Raises:
        ValueError: Two arguments are matrices of different shapes.
    """
    if any(isinstance(a, Record) for a in args):
        raise ValueError("structs are computed with part by part")
    shapes = {a.shape for a in args if isinstance(a, Matrix)}
    if not shapes:
        return b.op(fn, *args)  # type: ignore[arg-type]
    if len(shapes) > 1:
        raise ValueError(f"shapes {' and '.join(str(s) for s in sorted(shapes))} do not fit together")
    shape = shapes.pop()
    size = reduce(lambda n, m: n * m, shape)
    columns = [a.entries if isinstance(a, Matrix) else (a,) * size for a in args]
    return Matrix(tuple(b.op(fn, *entries) for entries in zip(*columns, strict=True)), shape)


def paired(x: Scalars, y: Scalars) -> list[tuple[Operand, Operand]]:
    """Return the components of two vectors side by side; a number is repeated.

    Raises:
        ValueError: Their shapes differ.
    """
    if isinstance(x, Matrix) and isinstance(y, Matrix) and x.shape != y.shape:
        raise ValueError(f"shapes {x.shape} and {y.shape} do not fit together")
    size = max(len(v.entries) if isinstance(v, Matrix) else 1 for v in (x, y))
    p, q = (v.entries if isinstance(v, Matrix) else (v,) * size for v in (x, y))
    return list(zip(p, q, strict=True))  # type: ignore[arg-type]


def total(b: Builder, entries: tuple[Operand, ...]) -> Operand:
    """Add scalars from the first to the last."""
    return reduce(lambda x, y: b.op("add", x, y), entries)


def dot(b: Builder, x: Matrix, y: Matrix) -> Operand:
    """Return the sum of products of two vectors or matrices of one shape.

    Raises:
        ValueError: Their shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"dot needs equal shapes, got {x.shape} and {y.shape}")
    return total(b, tuple(b.op("mul", p, q) for p, q in zip(x.entries, y.entries, strict=True)))


def matmul(b: Builder, x: Matrix, y: Matrix) -> Scalars:
    """Return the product of matrices, or of a matrix and a vector.

    Raises:
        ValueError: Their shapes do not fit together.
    """
    if len(x.shape) == 1:
        if len(y.shape) == 1:
            return dot(b, x, y)
        return matmul(b, transpose(b, y), x)
    n, k = x.shape
    if y.shape[0] != k:
        raise ValueError(f"shapes {x.shape} and {y.shape} do not fit together in a matrix product")
    columns = 1 if len(y.shape) == 1 else y.shape[1]
    entries = tuple(
        total(b, tuple(b.op("mul", x.entries[i * k + p], y.entries[p * columns + j]) for p in range(k)))
        for i in range(n)
        for j in range(columns)
    )
    return Matrix(entries, (n,) if len(y.shape) == 1 else (n, columns))


def transpose(b: Builder, x: Matrix) -> Matrix:
    """Return the transposed matrix; a vector becomes a row."""
    if len(x.shape) == 1:
        return Matrix(x.entries, (1, x.shape[0]))
    n, m = x.shape
    return Matrix(tuple(x.entries[i * m + j] for j in range(m) for i in range(n)), (m, n))


def norm_sqr(b: Builder, x: Matrix) -> Operand:
    """Return the sum of squares."""
    return dot(b, x, x)


def norm(b: Builder, x: Matrix, eps: Operand | None = None) -> Operand:
    """Return `sqrt(sum of squares + eps)`, Taichi's convention."""
    square = norm_sqr(b, x)
    return b.op("sqrt", square if eps is None else b.op("add", square, eps))


def normalized(b: Builder, x: Matrix, eps: Operand | None = None) -> Scalars:
    """Return `x / (norm(x) + eps)`, Taichi's convention."""
    length = norm(b, x)
    length = length if eps is None else b.op("add", length, eps)
    return elementwise(b, "mul", x, b.op("div", b.const(1.0, length.dtype), length))


def cross(b: Builder, x: Matrix, y: Matrix) -> Scalars:
    """Return the cross product in 2D (a number) or 3D (a vector).

    Raises:
        ValueError: The arguments are not two vectors of 2 or of 3 components.
    """

    def minor(i: int, j: int) -> Operand:
        return b.op("sub", b.op("mul", x.entries[i], y.entries[j]), b.op("mul", x.entries[j], y.entries[i]))

    if x.shape == y.shape == (2,):
        return minor(0, 1)
    if x.shape == y.shape == (3,):
        return Matrix((minor(1, 2), minor(2, 0), minor(0, 1)), (3,))
    raise ValueError(f"cross needs two vectors of 2 or of 3 components, got shapes {x.shape} and {y.shape}")


def outer_product(b: Builder, x: Matrix, y: Matrix) -> Matrix:
    """Return the matrix of products `x[i] * y[j]`."""
    return Matrix(
        tuple(b.op("mul", p, q) for p in x.entries for q in y.entries), (len(x.entries), len(y.entries))
    )


def trace(b: Builder, x: Matrix) -> Operand:
    """Return the sum of the diagonal."""
    n = _square(x, "trace")
    return total(b, tuple(x.entries[i * n + i] for i in range(n)))


def determinant(b: Builder, x: Matrix) -> Operand:
    """Return the determinant of a square matrix, expanded along the first row."""
    n = _square(x, "determinant")
    if n == 1:
        return x.entries[0]
    terms: Operand | None = None
    for j in range(n):
        term = b.op("mul", x.entries[j], determinant(b, _without(x, 0, j)))
        if terms is None:
            terms = term
        else:
            terms = b.op("sub" if j % 2 else "add", terms, term)
    assert terms is not None  # noqa: S101  (n >= 1)
    return terms


def inverse(b: Builder, x: Matrix) -> Matrix:
    """Return the inverse of a square matrix by cofactors.

    Raises:
        ValueError: The matrix is not square, or larger than 4 x 4.
    """
    n = _square(x, "inverse")
    if n > 4:
        raise ValueError(f"inverse needs at most 4 x 4, got {n} x {n}")
    scale = b.op("div", b.const(1.0), determinant(b, x))
    if n == 1:
        return Matrix((scale,), (1, 1))
    entries = []
    for i in range(n):
        for j in range(n):
            cofactor = determinant(b, _without(x, j, i))
            entries.append(b.op("mul", scale, b.op("neg", cofactor) if (i + j) % 2 else cofactor))
    return Matrix(tuple(entries), (n, n))


def _square(x: Matrix, what: str) -> int:
    if len(x.shape) != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"{what} needs a square matrix, got shape {x.shape}")
    return x.shape[0]


def _without(x: Matrix, row: int, column: int) -> Matrix:
    n = x.shape[0]
    entries = tuple(x.entries[i * n + j] for i in range(n) for j in range(n) if i != row and j != column)
    return Matrix(entries, (n - 1, n - 1))


METHODS: dict[str, Callable[..., Scalars]] = {
    "norm": norm,
    "norm_sqr": norm_sqr,
    "normalized": normalized,
    "dot": dot,
    "cross": cross,
    "outer_product": outer_product,
    "transpose": transpose,
    "trace": trace,
    "determinant": determinant,
    "inverse": inverse,
    "sum": lambda b, x: total(b, x.entries),
    "any": lambda b, x: reduce(lambda p, q: b.op("or", p, q), (b.truth(e) for e in x.entries)),
    "all": lambda b, x: reduce(lambda p, q: b.op("and", p, q), (b.truth(e) for e in x.entries)),
    "max": lambda b, x: reduce(lambda p, q: b.op("max", p, q), x.entries),
    "min": lambda b, x: reduce(lambda p, q: b.op("min", p, q), x.entries),
    "norm_inv": lambda b, x, eps=None: b.op("div", b.const(1.0), norm(b, x, eps)),
}

PROPERTIES: dict[str, Callable[[Matrix], int]] = {
    "n": lambda x: x.shape[0],
    "m": lambda x: x.shape[1] if len(x.shape) == 2 else 1,
}
