"""Rows A0, A5 and A10 of the traps: vectors under branches, in loops, and with dynamic indices."""

import pytest
from traps.harness import Rows, assert_right, params, row

A0 = [
    row(
        "A0-vector-set-under-an-if-then-a-component",
        """
        u, w = self.v[i], self.v[(i + 1) % N]
        if u[0] > w[1]:
            u = w * 2.0 - u
        w = w + u
        u[0] = 7.0
        self.f[t, i] = u.sum() + 10.0 * w.sum()
        """,
    ),
    row(
        "A0-the-same-with-dot",
        """
        u, w = self.v[i], self.v[(i + 1) % N]
        if u[1] < w[0]:
            u = u + w * self.x[t, i]
            w[2] = u[0]
        u = u * 0.5 + w
        u[1] = w[2] * u[0]
        self.f[t, i] = u.dot(w) + w.norm()
        """,
    ),
    row(
        "A0-the-same-in-a-loop",
        """
        u, w = self.v[i], self.v[(i + 1) % N]
        for j in range(3):
            if u[j] > w[1]:
                u = w * 0.5 - u * self.x[t, i]
            w = w * 0.9 + u
            u[0] = ti.sin(w[j])
        self.f[t, i] = u.sum() + w.norm_sqr()
        """,
    ),
    row(
        "A0-max-after-a-component",
        """
        u = self.v[i]
        if u.x > u.y:
            u = u.zyx * 2.0 if False else u * 2.0
        u.z = u.x * self.a[i]
        self.f[t, i] = u.max() + u.min() * u.norm()
        """,
    ),
    row(
        "A0-matrix-under-an-if",
        """
        A, B = self.h[i], self.h[(i + 1) % N]
        if A[0, 1] > B[1, 0]:
            A = A @ B
        B = B + A
        A[0, 0] = self.x[t, i]
        self.f[t, i] = A.determinant() + 3.0 * B.trace() + (A @ B)[1, 0]
        """,
    ),
]

A5 = [
    row(
        "A5-vector-accumulator",
        """
        s = ti.Vector([0.0, 0.0, 0.0])
        for j in range(N):
            s += self.w[i, j] * self.v[j]
        self.f[t, i] = s.dot(self.v[i]) + s.norm()
        """,
    ),
    row(
        "A5-linear-vector-body",
        """
        s = ti.Vector([0.0, 0.0])
        for j in range(N):
            s += self.q[j] * 2.0
        self.f[t, i] = s[0] * self.a[i] + s[1]
        """,
    ),
    row(
        "A5-matrix-times-vector-carried",
        """
        u = self.v[i]
        for j in range(6):
            u = 0.4 * (self.m[j % N] @ u)
        self.f[t, i] = u.sum()
        """,
    ),
    row(
        "A5-normalised-recurrence",
        """
        u = self.v[i]
        for j in range(40):
            u = 0.5 * (self.m[0] @ u) / u.norm(1e-9) + 0.1 * self.v[j % N].cross(u)
            u[1] = u[0] * u[2] + self.x[t, i]
        self.f[t, i] = u.sum() + 10.0 * u.max()
        """,
    ),
    row(
        "A5-distance-norm-in-a-loop",
        """
        s = 0.0
        for j in range(N):
            if j != i:
                d = self.q[i] - self.q[j]
                s += ti.sqrt(1.0 + d.norm()) * self.b[j]
        self.f[t, i] = s
        """,
    ),
    row(
        "A5-force-accumulated-and-divided",
        """
        force = ti.Vector([0.0, 0.0])
        for j in range(N):
            if j != i:
                d = self.q[j] - self.q[i]
                r = d.norm(1e-3)
                force += self.b[j] * d / (r * r * r)
        self.f[t, i] = force.norm() + force.x * self.x[t, i]
        """,
    ),
    row(
        "A5-quaternion-recurrence",
        """
        p = ti.Vector([1.0, 0.0, 0.0, 0.0])
        for j in range(12):
            o = 0.1 * self.v[j % N]
            p = p + 0.5 * ti.Vector([
                -p[1] * o[0] - p[2] * o[1] - p[3] * o[2],
                p[0] * o[0] + p[2] * o[2] - p[3] * o[1],
                p[0] * o[1] - p[1] * o[2] + p[3] * o[0],
                p[0] * o[2] + p[1] * o[1] - p[2] * o[0],
            ])
            p = p.normalized()
        self.f[t, i] = p[0] * self.x[t, i] + p[1] * p[2] + p[3] * self.a[i]
        """,
    ),
    row(
        "A5-matrix-accumulator",
        """
        A = ti.Matrix([[0.0, 0.0], [0.0, 0.0]])
        for j in range(N):
            A += self.b[j] * self.q[j].outer_product(self.q[i])
        self.f[t, i] = A.determinant() + A.trace() + A.norm()
        """,
    ),
    row(
        "A5-deformation-gradient-carried",
        """
        F = ti.Matrix.identity(ti.f64, 3)
        for j in range(5):
            F = (ti.Matrix.identity(ti.f64, 3) + 0.1 * self.m[j % N]) @ F
        self.f[t, i] = ti.log(F.determinant()) + self.x[t, i] * F[0, 2]
        """,
    ),
    row(
        "A5-rotating-vector-100-trips",
        """
        u = self.q[i]
        for j in range(100):
            c, s = ti.cos(0.01 * self.b[i]), ti.sin(0.01 * self.b[i])
            u = ti.Vector([c * u[0] - s * u[1], s * u[0] + c * u[1]])
        self.f[t, i] = u[0] * u[1]
        """,
    ),
    row(
        "A5-vector-set-in-a-branch-of-a-loop",
        """
        u = self.v[i]
        for j in range(N):
            if self.v[j][0] > 0.0:
                u = u.cross(self.v[j]) + 0.3 * u
            else:
                u[2] += self.x[t, j] * u[0]
        self.f[t, i] = u.norm_sqr()
        """,
    ),
]

A10 = [
    row(
        "A10-load-by-a-loop-index",
        """
        u = self.v[i]
        s = 0.0
        for j in range(3):
            s += u[j] * u[j] * self.w[i, j]
        self.f[t, i] = s
        """,
    ),
    row(
        "A10-store-by-a-loop-index",
        """
        u = ti.Vector([0.0, 0.0, 0.0])
        for j in range(3):
            u[j] = self.w[i, j] * self.x[t, i]
        self.f[t, i] = u.norm() + u[1]
        """,
    ),
    row(
        "A10-load-and-store",
        """
        u = self.v[i]
        s = 0.0
        for j in range(3):
            u[j] = u[j] * u[(j + 1) % 3] + self.x[t, i]
            s += u[j] * self.w[i, j]
        self.f[t, i] = s
        """,
    ),
    row(
        "A10-index-from-a-constant",
        """
        u = self.v[i]
        u[self.ids[i] % 3] += self.x[t, i] ** 2
        self.f[t, i] = u[i % 3] * u[self.counts[i] % 3] + u.sum()
        """,
    ),
    row(
        "A10-matrix-entries-by-indices",
        """
        A = self.m[i]
        s = 0.0
        for j, k in ti.ndrange(3, 3):
            A[j, k] = A[j, k] * self.w[i, j] + 0.1 * A[k, j]
            s += A[j, (k + 1) % 3] * self.a[k]
        self.f[t, i] = s + A.determinant()
        """,
    ),
    row(
        "A10-component-of-a-field-vector",
        """
        for d in range(3):
            self.k[t, i][d] += self.x[t, i] * self.v[i][d] * (d + 1)
        for d in range(3):
            self.f[t, i] += self.k[t, i][d] ** 2
        """,
    ),
    row(
        "A10-component-of-a-param-by-a-constant",
        "self.f[t, i] = self.v[i][self.counts[i] % 3] * self.x[t, i] + self.q[i][self.ids[i] % 2] ** 2",
    ),
]

ROWS = [*A0, *A5, *A10]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("vectors"))


@pytest.mark.compilers  # Taichi's own compiler takes vectors apart wrongly unless told how
@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
