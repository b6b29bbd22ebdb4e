"""Eigenvalues of small symmetric matrices, and of any 2 x 2 matrix as Taichi has them.

Found by rotating rows and columns (C. Jacobi 1846). The adjoint is that of M. Giles (2008); eigenvalues that
are closer than the square root of the rounding error are taken apart in a backward pass, as singular values
are (`diffsim.math.svd`), so that `Q f(Λ) Qᵀ` has its right gradient there.
"""

from diffsim import _taichi
from diffsim.language.adjoints import adjoint_of
from diffsim.math.precision import epsilon, replayed

__all__ = ["descending_eigh2", "eig2", "eigh2", "eigh3"]

ti = _taichi.ti


@ti.func
def eigh2(A):
    """Return the ascending eigenvalues and a rotation whose columns are the eigenvectors.

    Args:
        A: 2 x 2; its symmetric part is taken, and the gradient is symmetric.
    """
    return _eigh(A)


@ti.func
def eigh3(A):
    """Return the ascending eigenvalues and a rotation whose columns are the eigenvectors.

    Args:
        A: 3 x 3; its symmetric part is taken, and the gradient is symmetric.
    """
    return _eigh(A)


@ti.func
def descending_eigh2(A):
    """Return eigenvalues and eigenvectors in the order and with the signs of `ti.sym_eig`.

    Args:
        A: 2 x 2; its symmetric part is taken.
    """
    values, Q = _eigh(A)
    first = ti.select(Q[0, 1] < 0.0, -1.0, 1.0)
    second = ti.select(Q[0, 0] > 0.0, -1.0, 1.0)
    vectors = ti.Matrix([[first * Q[k, 1], second * Q[k, 0]] for k in range(2)])
    return ti.Vector([values[1], values[0]]), vectors


@ti.func
def _eigh(A):
    n = ti.static(A.n)
    largest = ti.abs(A).max()
    scale = ti.select(largest > 0.0, largest, 1.0)
    D, Q = _diagonal((0.5 / scale) * (A + A.transpose()))
    values = ti.Vector([scale * D[i, i] for i in range(n)])
    for i in ti.static(range(n)):
        for j in ti.static(range(i + 1, n)):
            swap = values[j] < values[i]
            p, q = values[i], values[j]
            values[i], values[j] = ti.select(swap, q, p), ti.select(swap, p, q)
            for k in ti.static(range(n)):
                x, y = Q[k, i], Q[k, j]
                Q[k, i], Q[k, j] = ti.select(swap, y, x), ti.select(swap, -x, y)
    gap, size = values[1] - values[0], ti.max(ti.abs(values[0]), ti.abs(values[n - 1]), 1e-15)
    for i in ti.static(range(2, n)):
        gap = ti.min(gap, values[i] - values[i - 1])
    least = ti.static(epsilon() ** 0.5) * size
    shift = ti.select(gap < least, least, 0.0)
    for i in ti.static(range(n)):
        values[i] = replayed(values[i], values[i] + (float(i) - 0.5 * (n - 1)) * shift)
    return values, Q


@adjoint_of(_eigh, primitive=True)
@ti.func
def _eigh_adjoint(A, values, Q, values_adj, Q_adj):
    n = ti.static(A.n)
    X = Q.transpose() @ Q_adj
    M = ti.Matrix.zero(float, n, n)
    for i in ti.static(range(n)):
        M[i, i] = values_adj[i]
        for j in ti.static(range(i + 1, n)):
            M[i, j] = 0.5 * (X[i, j] - X[j, i]) / (values[j] - values[i])
            M[j, i] = M[i, j]
    return Q @ M @ Q.transpose()


@ti.func
def _diagonal(A):
    """Return a diagonal matrix and the rotation Q that takes the symmetric A to it."""
    n = ti.static(A.n)
    D = A
    Q = ti.Matrix.identity(float, n)
    for _ in range(ti.static(2 if n == 2 else 6)):
        for p in ti.static(range(n)):
            for q in ti.static(range(p + 1, n)):
                d, e = D[q, q] - D[p, p], D[p, q]
                size = ti.abs(d) + ti.sqrt(d * d + 4.0 * e * e)
                side = ti.select(d < 0.0, -2.0, 2.0)
                t = ti.select(size > 0.0, side * e / ti.select(size > 0.0, size, 1.0), 0.0)
                c = 1.0 / ti.sqrt(1.0 + t * t)
                s = t * c
                D[p, p] -= t * e
                D[q, q] += t * e
                D[p, q] = 0.0
                D[q, p] = 0.0
                for k in ti.static(range(n)):
                    if ti.static(k not in (p, q)):
                        x, y = D[k, p], D[k, q]
                        D[k, p], D[k, q] = c * x - s * y, s * x + c * y
                        D[p, k], D[q, k] = D[k, p], D[k, q]
                    x, y = Q[k, p], Q[k, q]
                    Q[k, p], Q[k, q] = c * x - s * y, s * x + c * y
    return D, Q


@ti.func
def eig2(A):
    """Return the eigenvalues and eigenvectors of a 2 x 2 matrix in the form and order of `ti.eig`.

    There is no gradient where both eigenvalues are equal.

    Args:
        A: 2 x 2.

    Returns:
        A row of real and imaginary part for each eigenvalue, and a column of 2 complex components for each
        eigenvector.
    """
    half = 0.5 * (A[0, 0] + A[1, 1])
    gap = half * half - (A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0])
    real, imaginary = 0.0, 0.0
    if gap > 0.0:
        real = ti.sqrt(gap)
    else:
        imaginary = ti.sqrt(-gap)
    values = ti.Matrix([[half + real, imaginary], [half - real, -imaginary]])
    first = ti.Vector([A[0, 0] - values[1, 0], -values[1, 1], A[1, 0], 0.0])
    second = ti.Vector([A[0, 0] - values[0, 0], -values[0, 1], A[1, 0], 0.0])
    if A[0, 1] == 0.0 and A[1, 0] == 0.0 and A[0, 0] == A[1, 1]:
        first, second = ti.Vector([0.0, 0.0, 1.0, 0.0]), ti.Vector([1.0, 0.0, 0.0, 0.0])
    else:
        first, second = first / first.norm(), second / second.norm()
    vectors = ti.Matrix([[first[k], second[k]] for k in range(4)])
    return values, vectors
