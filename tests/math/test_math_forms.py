"""Where and how functions of ds.math, and Taichi's own that get their adjoints, can be written."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds


class Forms(ds.Simulator):
    """One way to write something per row of `f`; the small matrices come from `A`, the vectors from `v`."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.A = ds.Param(ds.mat3, init=np.eye(3) + 0.3 * rng.normal(size=(3, 3)))
        self.B = ds.Param(ds.mat4, init=2 * np.eye(4) + 0.3 * rng.normal(size=(4, 4)))
        self.H = ds.Param(ds.mat2, init=np.array([[2.0, 0.3], [-0.4, 0.5]]))
        self.v = ds.Param(ds.vec3, init=rng.normal(size=3))
        self.x = ds.Param(0.4)
        self.f = ds.State(ds.real, 16, keep=False)

    @ti.kernel
    def top(self, t: ti.i32):
        U, S, V = ds.math.svd3(self.A[None])  # not in any loop
        self.f[t + 1, 0] = (U @ V.transpose())[0, 1] + S[1, 1]

    @ti.kernel
    def nested(self, t: ti.i32):
        for i in range(1):
            F = ti.Matrix.identity(float, 3)
            for k in range(3):  # carried through a loop, and in a branch
                if k < 2:
                    R, P = ds.math.polar3(F @ self.A[None] + 0.1 * F)
                    F = R + 0.3 * P
            self.f[t + 1, 1] = F[0, 1] + F.trace()

    @ti.kernel
    def rest(self, t: ti.i32):
        for i in range(1):
            x, v = self.x[None], self.v[None]
            self.f[t + 1, 2] = ds.math.safe_div(1, x) + ds.math.pow(x, 2) + ds.math.max(x, 1)
            w = ds.math.sqrt(v * v) + ds.math.smooth_max(v, 0.5 * v, 0.2) + ds.math.clamp(v, -0.5, 0.5)
            self.f[t + 1, 3] = w[0] + 2.0 * w[1] - w[2]
            self.f[t + 1, 4] = ti.math.normalize(v)[1] * ti.math.inverse(self.A[None])[0, 2]
            B = self.B[None]
            b = ti.Vector([x, 1.0, -x, 2.0])
            self.f[t + 1, 5] = ti.math.dot(ds.math.solve(B, b), b) + ds.math.inverse(B)[1, 2]
            L = ds.math.cholesky(B @ B.transpose())
            Q, R = ds.math.qr(B)
            self.f[t + 1, 6] = L[3, 1] * L[2, 2] + Q[0, 3] * R[1, 2]
            e, Q2 = ti.eig(self.H[None])
            self.f[t + 1, 7] = e[0, 0] * Q2[0, 1] + e[1, 0] * Q2[2, 0]
            e3, Q3 = ti.eig(self.H[None] - ti.Matrix([[2.0, 0.0], [0.0, x]]))
            self.f[t + 1, 8] = e3[0, 1] * Q3[2, 0] + e3[0, 0]
            self.f[t + 1, 9] = self.A[None].norm() + (self.A[None] @ v).norm_inv()
            self.f[t + 1, 10] = ds.math.norm(ti.Vector([3, 4])) * x + ds.math.atan2(x, 2)

    @ti.kernel
    def add(self, t: ti.i32):
        for i in range(16):
            self.cost[None] += (1.0 + 0.1 * i) * self.f[t + 1, i]

    def step(self, t):
        self.top(t)
        self.nested(t)
        self.rest(t)

    def running_cost(self, t):
        self.add(t)


@pytest.fixture(scope="module")
def rollout(runtime):
    made = ds.Rollout(Forms(), 1)
    yield made
    made.close()


def test_gradients_of_every_form(rollout):
    keys = ["A", "B", "H", "v", "x"]
    _, grads = rollout.value_and_grad(keys)
    for key in keys:
        leaf = getattr(rollout.sim, key)
        start = np.array(leaf.numpy())
        for index in np.ndindex(start.shape):
            ends = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * 1e-6
                leaf.set(moved)
                ends.append(rollout.value())
            slope = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(grads[key][index], slope, rtol=1e-6, atol=1e-7, err_msg=key)
        leaf.set(start)


def test_values_of_some_forms(rollout):
    rollout.value()
    f = rollout.trajectory(rollout.sim.f)[-1]
    A, B = rollout.sim.A.numpy(), rollout.sim.B.numpy()
    x, v = 0.4, rollout.sim.v.numpy()
    U, s, Vt = np.linalg.svd(A)
    b = np.array([x, 1.0, -x, 2.0])
    wanted = {
        0: (U @ Vt)[0, 1] + s[1],
        2: 2.5 + 0.16 + 1.0,
        5: b @ np.linalg.solve(B, b) + np.linalg.inv(B)[1, 2],
        9: np.linalg.norm(A) + 1 / np.linalg.norm(A @ v),
        10: 5 * x + np.arctan2(x, 2),
    }
    for k, value in wanted.items():
        np.testing.assert_allclose(f[k], value, rtol=1e-13, err_msg=str(k))


class Repeated(ds.Simulator):
    """A rotation and a function of eigenvalues of the identity."""

    def __init__(self):
        self.A = ds.Param(ds.mat2, init=np.eye(2))

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(1):
            U, S, V = ds.math.svd2(self.A[None])
            e, Q = ds.math.eigh2(self.A[None])
            E = ti.Matrix([[ti.exp(e[0]), 0.0], [0.0, ti.exp(e[1])]])
            R, P = ds.math.polar2(self.A[None])
            M = U @ S @ S @ V.transpose() + Q @ E @ Q.transpose() + R @ P @ P
            self.cost[None] += M[0, 0] + 2.0 * M[0, 1] - 0.7 * M[1, 0]

    def step(self, t):
        self.go(t)


def test_forward_mode_agrees_at_repeated_values(runtime):
    rollout = ds.Rollout(Repeated(), 1, mode="step")
    report = rollout.check_grad(["A"])
    assert report.passed, report
    rollout.close()


def refused(body, match):
    """Expect an error for a kernel; `body` is a function of the matrix."""

    class Refused(ds.Simulator):
        def __init__(self):
            self.A = ds.Param(ds.mat3)
            self.B = ds.Param(ds.mat4)

        @ti.kernel
        def go(self, t: ti.i32):
            for i in range(1):
                self.cost[None] += body(self.A[None], self.B[None])

        def step(self, t):
            self.go(t)

    with pytest.raises(ds.TraceError, match=match):
        ds.Rollout(Refused(), 1)


@ti.func
def large(A, B):
    U, _, _ = ti.svd(B)
    return U[0, 0]


@ti.func
def general(A, B):
    e, _ = ti.eig(A)
    return e[0, 0]


@ti.func
def single(A, B):
    U, _, _ = ti.svd(A, ti.f32)
    return U[0, 0]


@ti.func
def flat(A, B):
    R, _ = ti.polar_decompose(A[:, 0])
    return R[0, 0]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (large, r"ti.svd\(B\) must get a matrix of 2 x 2 or 3 x 3, got \(4, 4\)"),
        (general, r"ti.eig\(A\) must get a matrix of 2 x 2, got \(3, 3\)"),
        (single, "must compute in the working precision, f64; leave the type out"),
        (flat, r"must get a matrix of 2 x 2 or 3 x 3, got \(3,\)"),
    ],
)
def test_what_is_refused(runtime, body, match):
    refused(body, match)


class Stored(ds.Simulator):
    """Singular vectors in fields, as another kernel might read them; sums of the rest may be stored."""

    def __init__(self, taichi):
        self.svd = ti.svd if taichi else ds.math.svd2
        self.eigh = ti.sym_eig if taichi else ds.math.eigh2
        self.A = ds.Param(ds.mat2)
        self.U, self.S, self.R = (ds.Scratch(ds.mat2, 1) for _ in range(3))
        self.q = ds.Scratch(ds.vec2, 1)

    @ti.kernel
    def go(self, t: ti.i32):
        for i in range(1):
            U, S, V = self.svd(self.A[None])
            self.S[t, i] = S
            self.R[t, i] = U @ V.transpose()
            self.U[t, i] = V
            _, Q = self.eigh(self.A[None])
            self.q[t, i] = Q[:, 1]
            self.cost[None] += U[0, 0]

    def step(self, t):
        self.go(t)


@pytest.mark.parametrize("taichi", [False, True])
def test_vectors_that_leave_their_kernel_are_warned_of(runtime, taichi):
    with pytest.warns(ds.GradientWarning) as caught:
        ds.Rollout(Stored(taichi), 1, mode="step").close()
    assert len(caught) == 2
    for warning, field in zip(caught, ("U", "q"), strict=True):
        assert f"got them stored in Scratch {field}:" in str(warning.message)
        assert "[REPEATED]" in str(warning.message)
