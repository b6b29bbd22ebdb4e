"""Singular values and polar factors of 2 x 2 and 3 x 3 matrices, as physics wants them: with rotations.

`U` and `V` are rotations (determinant 1), the values descend, and the last one has the sign of the
determinant.

Values are found by rotating columns until they are orthogonal (one-sided Jacobi, M. Hestenes 1958), which
keeps small ones accurate. The adjoint of the singular value decomposition follows M. Giles (2008) with the
terms of each pair of values added up before they are divided: in the basis of U and V the derivative splits
into a part over `s_j - s_i` and one over `s_i + s_j`. Where one of them vanishes, U and V have no derivative,
but functions such as `U f(S) Vᵀ` have. They get it since a backward pass takes values apart that are closer
than the square root of the rounding error, by so much.
"""

from diffsim import _taichi
from diffsim.language.adjoints import adjoint_of
from diffsim.math.precision import epsilon, replayed

__all__ = ["oriented_polar2", "oriented_svd2", "polar2", "polar3", "svd2", "svd3"]

ti = _taichi.ti


@ti.func
def svd2(A):
    """Return rotations U and V and a diagonal matrix S with `A = U S Vᵀ`.

    Args:
        A: 2 x 2.
    """
    return _svd(A)


@ti.func
def oriented_svd2(A):
    """Return U, S and V with `A = U S Vᵀ` and no negative values in S: U reflects if A does.

    Args:
        A: 2 x 2.
    """
    U, S, V = _svd(A)
    side = ti.select(S[1, 1] < 0.0, -1.0, 1.0)
    for k in ti.static(range(2)):
        U[k, 1] *= side
    S[1, 1] *= side
    return U, S, V


@ti.func
def svd3(A):
    """Return rotations U and V and a diagonal matrix S with `A = U S Vᵀ`.

    Args:
        A: 3 x 3.
    """
    return _svd(A)


@ti.func
def _svd(A):
    n = ti.static(A.n)
    U, s, V = _factors(A)
    apart = _apart(s)
    S = ti.Matrix.zero(float, n, n)
    for i in ti.static(range(n)):
        S[i, i] = replayed(s[i], apart[i])
    return U, S, V


@adjoint_of(_svd, primitive=True)
@ti.func
def _svd_adjoint(A, U, S, V, U_adj, S_adj, V_adj):
    n = ti.static(A.n)
    X, Y = U.transpose() @ U_adj, V.transpose() @ V_adj
    M = ti.Matrix.zero(float, n, n)
    for i in ti.static(range(n)):
        M[i, i] = S_adj[i, i]
        for j in ti.static(range(i + 1, n)):
            x, y = X[i, j] - X[j, i], Y[i, j] - Y[j, i]
            even = 0.5 * (x + y) / (S[j, j] - S[i, i])
            odd = 0.5 * (x - y) / (S[i, i] + S[j, j])
            M[i, j] = even + odd
            M[j, i] = even - odd
    return U @ M @ V.transpose()


@ti.func
def _apart(s):
    """Return descending values with all differences and sums of two above the square root of the rounding."""
    n = ti.static(s.n)
    least = ti.static(epsilon() ** 0.5) * ti.max(s[0], 1e-15)
    gap = s[0] - s[1]
    for i in ti.static(range(1, n)):
        gap = ti.min(gap, s[i - 1] - s[i], s[i - 1] + s[i])
    shift = ti.select(gap < least, least, 0.0)
    spread = s
    for i in ti.static(range(n)):
        spread[i] += float(n - i) * shift
    return spread


@ti.func
def _factors(A):
    n = ti.static(A.n)
    largest = ti.abs(A).max()
    scale = ti.select(largest > 0.0, largest, 1.0)
    B, V = _orthogonal_columns(A / scale)
    for i in ti.static(range(n)):
        for j in ti.static(range(i + 1, n)):
            before, after = 0.0, 0.0
            for k in ti.static(range(n)):
                before += B[k, i] * B[k, i]
                after += B[k, j] * B[k, j]
            swap = before < after
            for k in ti.static(range(n)):
                p, q = B[k, i], B[k, j]
                B[k, i], B[k, j] = ti.select(swap, -q, p), ti.select(swap, p, q)
                p, q = V[k, i], V[k, j]
                V[k, i], V[k, j] = ti.select(swap, -q, p), ti.select(swap, p, q)
    U = _rotation(B)
    s = ti.Vector.zero(float, n)
    for i in ti.static(range(n)):
        for k in ti.static(range(n)):
            s[i] += scale * U[k, i] * B[k, i]
    return U, s, V


@ti.func
def _orthogonal_columns(A):
    """Return `A V` with orthogonal columns, and the rotation V.

    Each turn makes the first two columns orthogonal and moves all columns on by one place: a small body for
    the compiler. 18 turns of three columns are six sweeps over the pairs, which end where they began.
    """
    n = ti.static(A.n)
    B = A
    V = ti.Matrix.identity(float, n)
    for _ in range(ti.static(2 if n == 2 else 18)):
        d, overlap = 0.0, 0.0
        for k in ti.static(range(n)):
            d += (B[k, 1] - B[k, 0]) * (B[k, 1] + B[k, 0])
            overlap += B[k, 0] * B[k, 1]
        size = ti.abs(d) + ti.sqrt(d * d + 4.0 * overlap * overlap)
        side = ti.select(d < 0.0, -2.0, 2.0)
        t = ti.select(size > 0.0, side * overlap / ti.select(size > 0.0, size, 1.0), 0.0)
        c = 1.0 / ti.sqrt(1.0 + t * t)
        for k in ti.static(range(n)):
            x, y = B[k, 0], B[k, 1]
            p, q = V[k, 0], V[k, 1]
            if ti.static(n == 2):
                B[k, 0], B[k, 1] = c * (x - t * y), c * (t * x + y)
                V[k, 0], V[k, 1] = c * (p - t * q), c * (t * p + q)
            else:
                B[k, 2], B[k, 1], B[k, 0] = c * (x - t * y), B[k, 2], c * (t * x + y)
                V[k, 2], V[k, 1], V[k, 0] = c * (p - t * q), V[k, 2], c * (t * p + q)
    return B, V


@ti.func
def _rotation(B):
    """Return the rotation whose columns have the directions of orthogonal columns that get shorter."""
    n = ti.static(B.n)
    U = ti.Matrix.identity(float, n)
    length = 0.0
    for k in ti.static(range(n)):
        length += B[k, 0] * B[k, 0]
    if length > 0.0:
        a = ti.Vector([B[k, 0] for k in range(n)]) / ti.sqrt(length)
        if ti.static(n == 2):
            U = ti.Matrix([[a[0], -a[1]], [a[1], a[0]]])
        else:
            b = _unit_beside(a, ti.Vector([B[0, 1], B[1, 1], B[2, 1]]))
            c = a.cross(b)
            U = ti.Matrix([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [a[2], b[2], c[2]]])
    return U


@ti.func
def _unit_beside(a, v):
    """Return a unit vector that is orthogonal to the unit vector `a`: near `v` if `v` tells a direction."""
    length = ti.sqrt(v.dot(v))
    w = v / ti.select(length > 0.0, length, 1.0)
    w -= a.dot(w) * a
    square = w.dot(w)
    x, y, z = ti.abs(a[0]), ti.abs(a[1]), ti.abs(a[2])
    axis = ti.Vector([0.0, 0.0, 1.0])  # the one that is farthest from a
    if x <= y and x <= z:
        axis = ti.Vector([1.0, 0.0, 0.0])
    elif y <= z:
        axis = ti.Vector([0.0, 1.0, 0.0])
    other = axis - a.dot(axis) * a
    w = ti.select(square > 0.25, w, other)
    w -= a.dot(w) * a
    return w / ti.sqrt(w.dot(w))


@ti.func
def polar2(A):
    """Return a rotation R and a symmetric P with `A = R P`.

    Args:
        A: 2 x 2. If its determinant is negative, so is one eigenvalue of P.
    """
    return _polar2(A, 1.0)


@ti.func
def oriented_polar2(A):
    """Return an orthogonal R and a P without negative eigenvalues, with `A = R P`: R reflects if A does.

    Args:
        A: 2 x 2.
    """
    side = 1.0
    if A[0, 0] * A[1, 1] < A[0, 1] * A[1, 0]:
        side = -1.0
    return _polar2(A, side)


@ti.func
def _polar2(A, side):
    x, y = A[0, 0] + side * A[1, 1], A[1, 0] - side * A[0, 1]
    size = ti.max(ti.abs(x), ti.abs(y))
    safe = ti.select(size > 0.0, size, 1.0)
    p, q = ti.select(size > 0.0, x / safe, 1.0), y / safe
    length = ti.sqrt(p * p + q * q)
    c, s = p / length, q / length
    R = ti.Matrix([[c, -side * s], [s, side * c]])
    P = R.transpose() @ A
    return R, 0.5 * (P + P.transpose())


@adjoint_of(_polar2, primitive=True)
@ti.func
def _polar2_adjoint(A, side, R, P, R_adj, P_adj):
    Y = R.transpose() @ R_adj - P_adj @ P
    total = P[0, 0] + P[1, 1]
    z = _quotient(Y[1, 0] - Y[0, 1], total, ti.abs(P).max())
    return R @ (P_adj + ti.Matrix([[0.0, -z], [z, 0.0]])), 0.0


@ti.func
def polar3(A):
    """Return a rotation R and a symmetric P with `A = R P`.

    Args:
        A: 3 x 3. If its determinant is negative, so is the smallest eigenvalue of P.
    """
    U, s, V = _factors(A)
    W = V
    for i in ti.static(range(3)):
        for j in ti.static(range(3)):
            W[i, j] *= s[j]
    return U @ V.transpose(), W @ V.transpose()


@adjoint_of(polar3, primitive=True)
@ti.func
def _polar3_adjoint(A, R, P, R_adj, P_adj):
    # R turns by w with (tr P - P) w = the axis of Rᵀ dA - dAᵀ R: a Sylvester equation of skew matrices.
    Y = R.transpose() @ R_adj - P_adj @ P
    y = ti.Vector([Y[2, 1] - Y[1, 2], Y[0, 2] - Y[2, 0], Y[1, 0] - Y[0, 1]])
    size = ti.abs(P).max()
    K = (P.trace() * ti.Matrix.identity(float, 3) - P) / ti.select(size > 0.0, size, 1.0)
    k0, k1, k2 = (ti.Vector([K[0, j], K[1, j], K[2, j]]) for j in range(3))
    a, b, c = k1.cross(k2), k2.cross(k0), k0.cross(k1)
    z = ti.Vector([a.dot(y), b.dot(y), c.dot(y)])
    for i in ti.static(range(3)):
        z[i] = _quotient(z[i], k0.dot(a), 1.0) / ti.select(size > 0.0, size, 1.0)
    Z = ti.Matrix([[0.0, -z[2], z[1]], [z[2], 0.0, -z[0]], [-z[1], z[0], 0.0]])
    return R @ (P_adj + Z)


@ti.func
def _quotient(a, b, size):
    """Return `a / b`, and 0 where `b` is nothing but rounding beside `size`."""
    clear = ti.abs(b) > ti.static(8.0 * epsilon()) * size
    return ti.select(clear, a / ti.select(clear, b, 1.0), 0.0)
