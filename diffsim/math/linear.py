"""Inverses, linear equations and triangular factors of 2 x 2 to 4 x 4 matrices.

The adjoints are those of M. Giles, "An extended collection of matrix derivative results for forward and
reverse mode algorithmic differentiation" (2008), and for Cholesky of I. Murray, "Differentiation of the
Cholesky decomposition" (2016).
"""

from diffsim import _taichi
from diffsim.language.adjoints import adjoint_of

__all__ = ["cholesky", "inverse", "qr", "solve"]

ti = _taichi.ti


@ti.func
def inverse(A):
    """Return the inverse of an invertible matrix.

    Args:
        A: n x n, n up to 4.
    """
    return A.inverse()


@adjoint_of(inverse, primitive=True)
@ti.func
def _inverse_adjoint(A, X, X_adj):
    transposed = X.transpose()
    return -(transposed @ X_adj @ transposed)


@ti.func
def solve(A, b):
    """Return `x` with `A x = b`, by elimination with row pivots.

    Args:
        A: n x n and invertible, n up to 4.
        b: n numbers.
    """
    return _eliminated(A, b)


@adjoint_of(solve, primitive=True)
@ti.func
def _solve_adjoint(A, b, x, x_adj):
    y = _eliminated(A.transpose(), x_adj)
    return -y.outer_product(x), y


@ti.func
def _eliminated(A, b):
    n = ti.static(A.n)
    M, x = A, b
    for k in ti.static(range(n)):
        for i in ti.static(range(k + 1, n)):  # the largest of the column comes up, by swaps
            larger = ti.abs(M[i, k]) > ti.abs(M[k, k])
            for j in ti.static(range(k, n)):
                upper, lower = M[k, j], M[i, j]
                M[k, j] = ti.select(larger, lower, upper)
                M[i, j] = ti.select(larger, upper, lower)
            upper, lower = x[k], x[i]
            x[k] = ti.select(larger, lower, upper)
            x[i] = ti.select(larger, upper, lower)
        for i in ti.static(range(k + 1, n)):
            factor = M[i, k] / M[k, k]
            for j in ti.static(range(k + 1, n)):
                M[i, j] -= factor * M[k, j]
            x[i] -= factor * x[k]
    for k in ti.static(range(n - 1, -1, -1)):
        for j in ti.static(range(k + 1, n)):
            x[k] -= M[k, j] * x[j]
        x[k] /= M[k, k]
    return x


@ti.func
def cholesky(A):
    """Return the lower triangular `L` with positive diagonal and `L Lᵀ = A`.

    Args:
        A: n x n, positive definite; its symmetric part is taken, and the gradient is symmetric.
    """
    n = ti.static(A.n)
    L = ti.Matrix.zero(float, n, n)
    for j in ti.static(range(n)):
        square = A[j, j]
        for k in ti.static(range(j)):
            square -= L[j, k] * L[j, k]
        L[j, j] = ti.sqrt(square)
        for i in ti.static(range(j + 1, n)):
            entry = 0.5 * (A[i, j] + A[j, i])
            for k in ti.static(range(j)):
                entry -= L[i, k] * L[j, k]
            L[i, j] = entry / L[j, j]
    return L


@adjoint_of(cholesky, primitive=True)
@ti.func
def _cholesky_adjoint(A, L, L_adj):
    n = ti.static(A.n)
    P = ti.Matrix.zero(float, n, n)  # the lower triangle of Lᵀ L_adj with half its diagonal
    for i in ti.static(range(n)):
        for j in ti.static(range(i + 1)):
            for k in ti.static(range(i, n)):
                P[i, j] += L[k, i] * L_adj[k, j]
        P[i, i] *= 0.5
    X = _lower_inverse(L)
    S = X.transpose() @ P @ X
    return 0.5 * (S + S.transpose())


@ti.func
def _lower_inverse(L):
    n = ti.static(L.n)
    X = ti.Matrix.zero(float, n, n)
    for j in ti.static(range(n)):
        X[j, j] = 1.0 / L[j, j]
        for i in ti.static(range(j + 1, n)):
            for k in ti.static(range(j, i)):
                X[i, j] -= L[i, k] * X[k, j]
            X[i, j] /= L[i, i]
    return X


@ti.func
def qr(A):
    """Return an orthogonal `Q` and an upper triangular `R` with positive diagonal and `Q R = A`.

    Gram-Schmidt, each column twice: orthogonal to rounding (Kahan and Parlett, in B. Parlett, "The Symmetric
    Eigenvalue Problem", 1980).

    Args:
        A: n x n and invertible.
    """
    n = ti.static(A.n)
    Q = A
    R = ti.Matrix.zero(float, n, n)
    for j in ti.static(range(n)):
        for _ in ti.static(range(2)):
            for i in ti.static(range(j)):
                overlap = 0.0
                for k in ti.static(range(n)):
                    overlap += Q[k, i] * Q[k, j]
                for k in ti.static(range(n)):
                    Q[k, j] -= overlap * Q[k, i]
                R[i, j] += overlap
        square = 0.0
        for k in ti.static(range(n)):
            square += Q[k, j] * Q[k, j]
        R[j, j] = ti.sqrt(square)
        for k in ti.static(range(n)):
            Q[k, j] /= R[j, j]
    return Q, R


@adjoint_of(qr, primitive=True)
@ti.func
def _qr_adjoint(A, Q, R, Q_adj, R_adj):
    n = ti.static(A.n)
    M = -(Q_adj.transpose() @ Q)
    for i in ti.static(range(n)):
        for j in ti.static(range(n)):
            for k in ti.static(range(j, n)):
                if ti.static(k >= i):
                    M[i, j] += R[i, k] * R_adj[j, k]
    for i in ti.static(range(n)):
        for j in ti.static(range(i + 1, n)):
            M[i, j] = M[j, i]
    return (Q_adj + Q @ M) @ _lower_inverse(R.transpose())
