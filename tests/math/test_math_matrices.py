"""ds.math: decompositions of 2 x 2 and 3 x 3 matrices, their values and gradients, at repeated values too."""

import numpy as np
import pytest
import taichi as ti
from decompositions import (
    COUNT,
    INVARIANT,
    NAMES,
    REFERENCE,
    Decompositions,
    K,
    filled,
    matrices,
    referred,
)

import diffsim as ds


@pytest.fixture(scope="module", params=[2, 3])
def rollout(runtime, request):
    made = ds.Rollout(Decompositions(request.param), 1, mode="auto" if request.param == 2 else "step")
    yield made
    made.close()


def values(rollout, A):
    rollout.sim.A.set(A)
    rollout.value()
    return np.array(rollout.trajectory(rollout.sim.f)[-1])


def compared(rollout, A, names, h=1e-6):
    """Return gradient and central differences of each named function, by name."""
    rollout.sim.A.set(A)
    _, grads = rollout.value_and_grad(["A"])
    differences = np.zeros_like(A)
    for a in np.ndindex(A.shape[2:]):
        d = np.zeros(A.shape[2:])
        d[a] = h
        differences[..., a[0], a[1]] = (values(rollout, A + d) - values(rollout, A - d)) / (2 * h)
    return {name: (grads["A"][k], differences[k]) for k, name in enumerate(NAMES) if name in names}


def assert_right(rollout, A, names, tolerance=1e-6):
    for name, (got, wanted) in compared(rollout, A, names).items():
        scale = max(1.0, np.max(np.abs(wanted)))
        assert np.max(np.abs(got - wanted)) <= tolerance * scale, (name, got[0], wanted[0])


def transposed(A):
    return np.swapaxes(A, -1, -2)


VALUES = {
    "ordinary": [1.9, 1.2, 0.7],
    "negative determinant": [1.9, -1.2, 0.7],
    "repeated": [1.3, 1.3, 1.3],
    "almost repeated": [1.3, 1.3 + 1e-10, 0.5],
    "graded": [1.0, 1e-6, 1e-12],
    "rank one": [1.0, 0.0, 0.0],
    "zero": [0.0, 0.0, 0.0],
    "large": [1.9e100, 1.2e100, 0.7e100],
    "small": [1.9e-100, 1.2e-100, 0.7e-100],
}


@pytest.mark.parametrize("spread", VALUES.values(), ids=VALUES.keys())
def test_factors_are_right_to_rounding(rollout, spread):
    n = rollout.sim.n
    with np.errstate(all="ignore"):
        A = matrices(n, spread, seed=4)
        one = np.eye(n)
        U, S, V, R, P, Q, D = parts_of(rollout, A)
    size = max(1e-300, np.max(np.abs(A)))
    for rotation in (U, V, R, Q):
        np.testing.assert_allclose(rotation @ transposed(rotation), np.tile(one, (COUNT, 1, 1)), atol=3e-15)
        np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=3e-15)
    s = np.diagonal(S, axis1=1, axis2=2)
    np.testing.assert_allclose((U @ S @ transposed(V) - A) / size, 0.0, atol=1e-14)
    np.testing.assert_allclose(np.abs(s), np.linalg.svd(A)[1], atol=3e-15 * size)
    np.testing.assert_allclose((R @ P - A) / size, 0.0, atol=2e-14)
    np.testing.assert_allclose((P - transposed(P)) / size, 0.0, atol=1e-15)
    # equal ones are computed apart, each to rounding: which is larger depends on the processor
    assert (s[:, :-1] >= np.abs(s[:, 1:]) - 3e-15 * size).all()
    eigenvalues = np.linalg.eigvalsh((A + transposed(A)) / 2)
    np.testing.assert_allclose(np.diagonal(D, axis1=1, axis2=2), eigenvalues, atol=5e-15 * size)
    np.testing.assert_allclose((D - one * D) / size, 0.0, atol=5e-15)


def parts_of(rollout, A):
    """Return U, S, V, R, P, Q and Qᵀ A Q; functions beside them get ordinary matrices."""
    B = filled(rollout)
    for k in (0, 5, 7):
        B[k] = A
    rollout.sim.A.set(B)
    rollout.value()
    return np.array(rollout.trajectory(rollout.sim.parts)[-1])


@pytest.mark.parametrize("spread", ["ordinary", "negative determinant"])
def test_gradients_at_ordinary_matrices(rollout, spread):
    A = np.tile(matrices(rollout.sim.n, VALUES[spread], seed=1), (K, 1, 1, 1))
    A[11] = matrices(rollout.sim.n, VALUES["ordinary"], seed=1)
    assert_right(rollout, A, NAMES, 1e-6)


@pytest.mark.parametrize("name", REFERENCE)
def test_functions_agree_with_numpy(rollout, name):
    A = filled(rollout)
    k = NAMES.index(name)
    f, slopes = referred(A[k], rollout.sim.w.numpy(), name)
    np.testing.assert_allclose(values(rollout, A)[k], f, rtol=1e-12, atol=1e-13)
    got = rollout.value_and_grad(["A"])[1]["A"][k]
    np.testing.assert_allclose(got, slopes, atol=1e-6 * max(1.0, np.max(np.abs(slopes))))


REPEATED = {
    "identity": ([1.0, 1.0, 1.0], True),
    "a rotation": ([1.0, 1.0, 1.0], False),
    "a stretched rotation": ([1.7, 1.7, 1.7], False),
    "two equal values": ([1.5, 1.5, 0.4], False),
    "almost equal by 1e-6": ([1.5, 1.5 + 1e-6, 0.4], False),
    "almost equal by 1e-10": ([1.5, 1.5 + 1e-10, 0.4], False),
    "equal up to the sign": ([1.5, 0.4, -0.4 - 1e-3], False),
}


@pytest.mark.parametrize("spread", REPEATED.values(), ids=REPEATED.keys())
def test_gradients_of_invariant_functions_at_repeated_values(rollout, spread):
    A = filled(rollout)
    for name in [*INVARIANT, "taichi svd", "taichi polar", "taichi eigen"]:
        symmetric = "eigen" in name or spread[1]
        A[NAMES.index(name)] = matrices(rollout.sim.n, spread[0], seed=2, same=symmetric)
    names = INVARIANT + (["taichi svd", "taichi polar"] if rollout.sim.n == 3 or spread[0][1] > 0 else [])
    assert_right(rollout, A, names, 2e-6)
    _, grads = rollout.value_and_grad(["A"])
    assert np.isfinite(grads["A"]).all()


def test_gradients_at_the_zero_matrix(rollout):
    A = filled(rollout)
    zero = np.zeros((COUNT, rollout.sim.n, rollout.sim.n))
    for name in [*INVARIANT, "factors", "eigen parts"]:
        A[NAMES.index(name)] = zero
    found = compared(rollout, A, INVARIANT)
    for name in ("product", "sine", "eigen sine", "eigen sum"):  # the others have no derivative there
        np.testing.assert_allclose(*found[name], atol=1e-6, err_msg=name)
    _, grads = rollout.value_and_grad(["A"])
    assert np.isfinite(grads["A"]).all()


def test_gradients_at_a_matrix_without_full_rank(rollout):
    n = rollout.sim.n
    A = filled(rollout)
    for name in INVARIANT:
        A[NAMES.index(name)] = matrices(n, [1.5, 0.9, 0.0] if n == 3 else [1.5, 0.0], seed=3)
    assert_right(rollout, A, INVARIANT)


def test_gradients_where_the_rotation_has_none_are_finite(rollout):
    n = rollout.sim.n
    A = filled(rollout)
    for name in INVARIANT:
        A[NAMES.index(name)] = matrices(n, [1.5, 0.4, -0.4] if n == 3 else [0.8, -0.8], seed=3)
    A[NAMES.index("polar")] = matrices(n, [1.0, 0.0, 0.0] if n == 3 else [0.0, 0.0], seed=3)
    rollout.sim.A.set(A)
    _, grads = rollout.value_and_grad(["A"])
    assert np.isfinite(grads["A"]).all()


@pytest.mark.parametrize("n", [2, 3])
def test_values_are_those_of_taichi(runtime, n):
    @ti.kernel
    def plain(A: ti.types.ndarray(), out: ti.types.ndarray()):
        for a in range(A.shape[0]):
            M = ti.Matrix.zero(float, n, n)
            for i, j in ti.static(ti.ndrange(n, n)):
                M[i, j] = A[a, i, j]
            U, S, V = ti.svd(M)
            R, P = ti.polar_decompose(M)
            e, Q = ti.sym_eig(M + M.transpose())
            x = ti.solve(M, ti.Vector([1.0 + i for i in range(n)]))
            for i, j in ti.static(ti.ndrange(n, n)):
                out[a, 0, i, j] = U[i, j]
                out[a, 1, i, j] = S[i, j]
                out[a, 2, i, j] = V[i, j]
                out[a, 3, i, j] = R[i, j]
                out[a, 4, i, j] = P[i, j]
                out[a, 5, i, j] = Q[i, j]
                out[a, 6, i, j] = e[j]
                out[a, 7, i, j] = x[j]

    class Ours(ds.Simulator):
        def __init__(self):
            self.A = ds.Param(ds.mat2 if n == 2 else ds.mat3, 20)
            self.out = ds.State(ds.mat2 if n == 2 else ds.mat3, 8, 20)

        @ti.kernel
        def go(self, t: ti.i32):  # diffsim: allow REPEATED
            for a in range(20):
                M = self.A[a]
                U, S, V = ti.svd(M, ti.f64)
                R, P = ti.polar_decompose(M)
                e, Q = ti.sym_eig(M + M.transpose())
                x = ti.solve(M, ti.Vector([1.0 + i for i in range(n)]))
                self.out[t + 1, 0, a] = U
                self.out[t + 1, 1, a] = S
                self.out[t + 1, 2, a] = V
                self.out[t + 1, 3, a] = R
                self.out[t + 1, 4, a] = P
                self.out[t + 1, 5, a] = Q
                self.out[t + 1, 6, a] = ti.Matrix.rows([e for _ in range(n)])
                self.out[t + 1, 7, a] = ti.Matrix.rows([x for _ in range(n)])
                self.cost[None] += U[0, 0]

        def step(self, t):
            self.go(t)

    A = np.random.default_rng(8).normal(size=(20, n, n))
    theirs = np.zeros((20, 8, n, n))
    plain(A, theirs)
    rollout = ds.Rollout(Ours(), 1, mode="step")
    rollout.sim.A.set(A)
    rollout.value()
    ours = np.swapaxes(np.array(rollout.trajectory(rollout.sim.out)[-1]), 0, 1)
    rollout.close()
    if n == 3:  # which sign an eigenvector has says nothing, and Taichi's is another in 3D
        signs = np.sign(np.sum(ours * theirs, axis=2, keepdims=True))[:, [0, 2, 5]]
        np.testing.assert_array_equal(signs[:, 0], signs[:, 1])
        ours[:, [0, 2, 5]] *= signs
    for k in range(8):
        np.testing.assert_allclose(ours[:, k], theirs[:, k], rtol=1e-9, atol=1e-9, err_msg=str(k))
