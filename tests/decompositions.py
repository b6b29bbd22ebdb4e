"""Decompositions of small matrices as a simulator, and NumPy's answers: shared by both precisions."""

import numpy as np
import taichi as ti

import diffsim as ds

COUNT = 6
NAMES = [
    "factors",  # functions of all parts of the decomposition, where there are such
    "rotation",
    "product",
    "sine",
    "determinant",
    "polar",
    "eigen parts",
    "eigen sine",
    "eigen sum",
    "inverse",
    "solve",
    "cholesky",
    "qr",
    "taichi svd",
    "taichi polar",
    "taichi eigen",
    "taichi inverse",
]
INVARIANT = ["rotation", "product", "sine", "determinant", "polar", "eigen sine", "eigen sum"]
K = len(NAMES)


@ti.func
def weighted(M, w):
    """Return a weighted sum of the entries of a square matrix."""
    total = 0.0
    for i in ti.static(range(M.n)):
        for j in ti.static(range(M.n)):
            total += w[i, j] * M[i, j]
    return total


@ti.func
def with_sines(Q, values, V):
    """Return `Q sin(values) Vᵀ`."""
    W = Q
    for i in ti.static(range(Q.n)):
        for j in ti.static(range(Q.n)):
            W[i, j] *= ti.sin(values[j])
    return W @ V.transpose()


class Decompositions(ds.Simulator):
    """Function k of matrix `A[k, i]` in `f[k, i]`; parts of the decompositions of `A[0, i]` in fields."""

    def __init__(self, n):
        self.n = n
        square = ds.mat2 if n == 2 else ds.mat3
        self.svd = ds.math.svd2 if n == 2 else ds.math.svd3
        self.polar = ds.math.polar2 if n == 2 else ds.math.polar3
        self.eigh = ds.math.eigh2 if n == 2 else ds.math.eigh3
        self.A = ds.Param(square, K, COUNT)
        self.w = ds.Constant(square, init=np.random.default_rng(5).uniform(-1, 1, size=(n, n)))
        self.f = ds.State(ds.real, K, COUNT)
        self.parts = ds.State(square, 7, COUNT)

    @ti.kernel
    def values(self, t: ti.i32):
        for i in range(COUNT):
            w = self.w[None]
            U, S, V = self.svd(self.A[0, i])
            self.parts[t + 1, 0, i] = U  # diffsim: allow REPEATED
            self.parts[t + 1, 1, i] = S
            self.parts[t + 1, 2, i] = V  # diffsim: allow REPEATED
            total = U[0, 1] * V[1, 0] + U[1, 1] ** 2 * S[0, 0] + S[1, 1] * V[0, 0] * U[0, 0]
            self.f[t + 1, 0, i] = total
            U1, _, V1 = self.svd(self.A[1, i])
            self.f[t + 1, 1, i] = weighted(U1 @ V1.transpose(), w)
            U2, S2, V2 = self.svd(self.A[2, i])
            self.f[t + 1, 2, i] = weighted(U2 @ S2 @ V2.transpose(), w)
            U3, S3, V3 = self.svd(self.A[3, i])
            s = S3[:, 0]
            for k in ti.static(range(self.n)):
                s[k] = S3[k, k]
            self.f[t + 1, 3, i] = weighted(with_sines(U3, s, V3), w)
            _, S4, _ = self.svd(self.A[4, i])
            self.f[t + 1, 4, i] = S4.determinant()

    @ti.kernel
    def more(self, t: ti.i32):
        for i in range(COUNT):
            w = self.w[None]
            R, P = self.polar(self.A[5, i])
            self.parts[t + 1, 3, i] = R
            self.parts[t + 1, 4, i] = P
            self.f[t + 1, 5, i] = weighted(R, w) + weighted(P @ R, w)
            e6, Q6 = self.eigh(self.A[6, i])
            self.f[t + 1, 6, i] = e6[0] + e6[1] ** 2 + Q6[0, 0] * Q6[0, 1] * Q6[1, 0]
            e, Q = self.eigh(self.A[7, i])
            self.parts[t + 1, 5, i] = Q  # diffsim: allow REPEATED
            self.parts[t + 1, 6, i] = Q.transpose() @ (0.5 * (self.A[7, i] + self.A[7, i].transpose())) @ Q
            self.f[t + 1, 7, i] = weighted(with_sines(Q, e, Q), w)
            e8, _ = self.eigh(self.A[8, i])
            self.f[t + 1, 8, i] = e8.norm_sqr()

    @ti.kernel
    def linear(self, t: ti.i32):
        for i in range(COUNT):
            w = self.w[None]
            self.f[t + 1, 9, i] = weighted(ds.math.inverse(self.A[9, i]), w)
            b = self.A[10, i] @ w[:, 0]
            x = ds.math.solve(self.A[10, i] + w, b)
            self.f[t + 1, 10, i] = x.dot(w[:, 1])
            L = ds.math.cholesky(self.A[11, i] @ self.A[11, i].transpose() + 0.1 * self.A[11, i])
            self.f[t + 1, 11, i] = weighted(L, w) + weighted(L @ L, w)
            Q, R = ds.math.qr(self.A[12, i])
            self.f[t + 1, 12, i] = weighted(Q, w) + weighted(R @ Q, w)

    @ti.kernel
    def of_taichi(self, t: ti.i32):
        for i in range(COUNT):
            w = self.w[None]
            U, S, V = ti.svd(self.A[13, i])
            self.f[t + 1, 13, i] = weighted(U @ V.transpose(), w) + S.determinant()
            R, P = ti.polar_decompose(self.A[14, i])
            self.f[t + 1, 14, i] = weighted(R, w) + weighted(P @ R, w)
            e, Q = ti.sym_eig(self.A[15, i] + self.A[15, i].transpose())
            self.f[t + 1, 15, i] = e[0] * e[1] ** 2 + weighted(with_sines(Q, e, Q), w)
            x = ti.solve(self.A[16, i], w[:, 0])
            self.f[t + 1, 16, i] = x.dot(w[:, 1]) + weighted(self.A[16, i].inverse(), w)

    @ti.kernel
    def add(self, t: ti.i32):
        for k, i in self.A:
            self.cost[None] += self.f[t + 1, k, i]

    def step(self, t):
        self.values(t)
        self.more(t)
        self.linear(t)
        self.of_taichi(t)

    def running_cost(self, t):
        self.add(t)


def matrices(n, spread, seed=0, same=False):
    """Return matrices `U diag(spread) Vᵀ` with random rotations; `same` makes them symmetric."""
    rng = np.random.default_rng(seed)

    def rotations():
        Q = np.linalg.qr(rng.normal(size=(COUNT, n, n)))[0]
        Q[:, :, 0] *= np.linalg.det(Q)[:, None]
        return Q

    U = rotations()
    V = U if same else rotations()
    return np.einsum("aij,j,akj->aik", U, np.array(spread[:n], dtype=float), V)


def filled(rollout, **rows):
    """Set the matrices of all functions, ordinary ones where nothing else is said."""
    n = rollout.sim.n
    A = np.tile(matrices(n, [1.9, 1.2, 0.7]), (K, 1, 1, 1))
    for name, values in rows.items():
        A[NAMES.index(name.replace("_", " "))] = values
    rollout.sim.A.set(A)
    return A


def with_signs(A):
    """Return NumPy's factors with rotations, as diffsim has them."""
    U, s, Vt = np.linalg.svd(A)
    flip, turn = np.linalg.det(U) < 0, np.linalg.det(Vt) < 0
    U[:, -1] *= -1.0 if flip else 1.0
    Vt[-1] *= -1.0 if turn else 1.0
    s[-1] *= -1.0 if flip != turn else 1.0
    return U, s, Vt


def rotation(A):
    U, _, Vt = with_signs(A)
    return U @ Vt


def sine(A):
    U, s, Vt = with_signs(A)
    return U @ np.diag(np.sin(s)) @ Vt


def eigen_sine(A):
    e, Q = np.linalg.eigh((A + A.T) / 2)
    return Q @ np.diag(np.sin(e)) @ Q.T


def triangular(A):
    Q, R = np.linalg.qr(A)
    signs = np.diag(np.sign(np.diag(R)))
    return Q @ signs, signs @ R


def polar_sum(A):
    R = rotation(A)
    return R + R.T @ A @ R


def cholesky_sum(A):
    B = A @ A.T + 0.1 * A
    L = np.linalg.cholesky((B + B.T) / 2)
    return L + L @ L


def qr_sum(A):
    Q, R = triangular(A)
    return Q + R @ Q


REFERENCE = {  # of A and the weights w
    "rotation": lambda A, w: np.sum(w * rotation(A)),
    "product": lambda A, w: np.sum(w * A),
    "sine": lambda A, w: np.sum(w * sine(A)),
    "determinant": lambda A, w: np.linalg.det(A),
    "polar": lambda A, w: np.sum(w * polar_sum(A)),
    "eigen sine": lambda A, w: np.sum(w * eigen_sine(A)),
    "eigen sum": lambda A, w: np.sum(((A + A.T) / 2) ** 2),
    "inverse": lambda A, w: np.sum(w * np.linalg.inv(A)),
    "solve": lambda A, w: np.linalg.solve(A + w, A @ w[:, 0]) @ w[:, 1],
    "cholesky": lambda A, w: np.sum(w * cholesky_sum(A)),
    "qr": lambda A, w: np.sum(w * qr_sum(A)),
    "taichi inverse": lambda A, w: np.linalg.solve(A, w[:, 0]) @ w[:, 1] + np.sum(w * np.linalg.inv(A)),
}


def referred(A, w, name, h=1e-6):
    """Return the values and gradients of a function, by NumPy and central differences."""
    function = REFERENCE[name]
    found = np.array([function(M, w) for M in A])
    slopes = np.zeros_like(A)
    for index in np.ndindex(A.shape):
        d = np.zeros_like(A)
        d[index] = h
        ends = [function((A + sign * d)[index[0]], w) for sign in (1, -1)]
        slopes[index] = (ends[0] - ends[1]) / (2 * h)
    return found, slopes
