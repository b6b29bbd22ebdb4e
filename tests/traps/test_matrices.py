"""Table E of the traps: the functions of matrices in two, three and four dimensions."""

import pytest
from traps.harness import Rows, assert_right, params, row


def matrices(name, n):
    """Rows of the matrix functions in one dimension; `A`, `B` are well-conditioned, `p` a vector."""
    if n == 4:
        head = """
        A = ti.Matrix([[0.3 * self.w[k, l] * self.b[i] for l in range(4)] for k in range(4)])
        A += 2.0 * ti.Matrix.identity(ti.f64, 4)
        B = ti.Matrix([[0.3 * self.w[l, k] for l in range(4)] for k in range(4)])
        B += (1.5 + 0.2 * self.x[t, i]) * ti.Matrix.identity(ti.f64, 4)
        p = ti.Vector([self.a[0], self.x[t, i], self.b[i], 0.5])
        """
    else:
        field, vector = {2: ("h", "q"), 3: ("m", "v")}[n]
        head = f"""
        A = self.{field}[i] + 0.1 * self.x[t, i]
        B = self.{field}[(i + 1) % N]
        p = self.{vector}[i]
        """
    lines = {
        "matmul": "(A @ B)[0, 1] + (A @ B @ A)[1, 0] + (A @ B).sum()",
        "matrix-vector": "(A @ p).norm() + (p @ B)[0] + (B.transpose() @ p)[1]",
        "determinant": "A.determinant() * B.determinant()",
        "inverse": "A.inverse()[0, 1] + (A.inverse() @ B)[1, 1] + (B.inverse() @ p).sum()",
        "trace-norms": "(A @ A).trace() + A.norm() + (A - B).norm_sqr() + p.norm() + (A * B).max() + A.min()",
        "elementwise": "(A * B / (3.0 + B * B)).sum() + ti.sin(A)[0, 1] + ti.max(A, B).sum() + (A**2)[1, 0]",
        "outer-product": "(p.outer_product(p) @ A).trace() + p.outer_product(B @ p)[1, 0]",
        "slices": "A[0, :].dot(p) + B[:, 1].norm() + A[0:2, 0:2].determinant() * p[0:2].norm()",
        "in-a-loop": "",
    }
    rows = []
    for title, text in lines.items():
        body = head + f"\n        self.f[t, i] = {text}"
        if title == "in-a-loop":
            body = (
                head
                + f"""
        C = ti.Matrix.identity(ti.f64, {n})
        s = 0.0
        for j in range(3):
            C = 0.3 * (C @ A) + B.inverse() * self.b[j]
            s += C.trace() + C.determinant() * self.w[i, j]
        self.f[t, i] = s + (C @ p).norm()"""
            )
        rows.append(row(f"E-{title}-{name}", body))
    return rows


E = (
    matrices("2d", 2)
    + matrices("3d", 3)
    + matrices("4x4", 4)
    + [
        row("E-cross-2d", "self.f[t, i] = self.q[i].cross(self.q[(i + 1) % N]) * self.x[t, i]"),
        row(
            "E-cross-3d",
            "self.f[t, i] = self.v[i].cross(self.v[(i + 1) % N]).dot(self.v[(i + 2) % N]) * self.x[t, i]",
        ),
        row(
            "E-vector-functions",
            """
            u, w = self.v[i], self.v[(i + 1) % N]
            s = u.normalized().dot(w) + u.norm_inv() + ti.math.distance(u, w) + ti.math.length(u)
            s += ti.math.reflect(u, w.normalized())[0] + ti.math.normalize(w)[1] + ti.math.dot(u, w)
            self.f[t, i] = s * self.x[t, i]
            """,
        ),
        row(
            "E-vector-clamps",
            """
            u = self.v[i]
            s = ti.math.clamp(u, -0.4, 0.4).sum() + ti.max(u, 0.1).sum() + ti.min(u, self.v[0])[1]
            self.f[t, i] = s + ti.math.mix(u, self.v[1], 0.3)[2] * u.max() + ti.abs(u).sum()
            """,
        ),
        row(
            "E-component-stores",
            """
            A = self.m[i]
            A[0, 1] += self.m[0][2, 0] * self.x[t, i]
            A[1, 0] = A[0, 1] * self.b[i]
            A[2, 2] *= A[1, 0]
            self.f[t, i] = A[1, 0] + A[i % 3, 1] + A.determinant()
            """,
        ),
        row(
            "E-component-sums-in-a-field",
            """
            for j in range(N):
                ti.atomic_add(self.k[t, i][0], self.v[j].x * self.w[i, j])
                self.k[t, i].y += self.v[j].y * self.x[t, j]
                self.k[t, i][2] -= self.v[j].z
            self.f[t, i] = self.k[t, i].norm() + self.k[t, i].x * self.k[t, i][1]
            """,
            plain="""
            for j in range(N):
                self.k[t, i][0] += self.v[j].x * self.w[i, j]
                self.k[t, i][1] += self.v[j].y * self.x[t, j]
                self.k[t, i][2] -= self.v[j].z
            self.f[t, i] = self.k[t, i].norm() + self.k[t, i].x * self.k[t, i][1]
            """,
        ),
        row(
            "E-neo-hookean-energy",
            """
            F = ti.Matrix.identity(ti.f64, 3) + 0.2 * self.m[i] @ self.m[(i + 1) % N]
            J = F.determinant()
            C = F.transpose() @ F
            energy = self.b[i] * (C.trace() - 3.0 - 2.0 * ti.log(J)) + 0.5 * ti.log(J) ** 2
            self.f[t, i] = energy + F.inverse()[0, 2]
            """,
        ),
        row(
            "E-almost-singular-inverse",
            """
            A = ti.Matrix([[1.0, 1.0], [1.0, 1.001 + 0.001 * self.b[i]]])
            self.f[t, i] = (A.inverse() @ self.q[i])[0] * 0.01
            """,
            tolerance=1e-5,  # the differences lose digits: the condition number is some thousands
        ),
        row(
            "E-stencil-weights",
            """
            p = self.q[i] * 3.0
            base = (p - 0.5).cast(int)
            fx = p - base.cast(float)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            s = 0.0
            for j, k in ti.static(ti.ndrange(3, 3)):
                weight = w[j][0] * w[k][1]
                s += weight * (j + 2.0 * k + self.x[t, i]) ** 2
            self.f[t, i] = s
            """,
        ),
        row(
            "E-identity-zero-one",
            """
            A = ti.Matrix.identity(ti.f64, 2) * self.x[t, i] + ti.Matrix.one(ti.f64, 2, 2) * self.a[i]
            u = ti.Vector.zero(ti.f64, 2) + ti.Vector.one(ti.f64, 2) * self.b[i]
            self.f[t, i] = (A @ u).sum() + A.determinant()
            """,
        ),
        row(
            "E-rows-and-columns",
            """
            A = ti.Matrix.cols([self.q[i], self.q[(i + 1) % N]])
            B = ti.Matrix.rows([self.q[i], self.q[(i + 2) % N] * self.x[t, i]])
            self.f[t, i] = A.determinant() + (A @ B)[0, 1] + B[1, 1] * B[1, 0]
            """,
        ),
        row(
            "E-solve-2d",
            "self.f[t, i] = ti.solve(self.h[i], self.q[i]).norm() * self.x[t, i]",
            plain="self.f[t, i] = (self.h[i].inverse() @ self.q[i]).norm() * self.x[t, i]",
        ),
        row(
            "E-solve-3d",
            "self.f[t, i] = ti.solve(self.m[i], self.v[i]).sum() + self.x[t, i] ** 2",
            plain="self.f[t, i] = (self.m[i].inverse() @ self.v[i]).sum() + self.x[t, i] ** 2",
        ),
        row(
            "E-svd-2d",
            """
            U, S, V = ti.svd(self.h[i] + 0.1 * self.x[t, i])
            R = U @ V.transpose()
            self.f[t, i] = R[0, 1] + S[0, 0] * S[1, 1] + (U @ S @ V.transpose())[1, 0] + S[0, 0]
            """,
            plain="",
        ),
        row(
            "E-svd-3d",
            """
            U, S, V = ti.svd(self.m[i] + 0.1 * self.x[t, i])
            R = U @ V.transpose()
            self.f[t, i] = R[0, 1] + R[2, 0] + S[0, 0] + S[1, 1] * S[2, 2] + (U @ S @ V.transpose())[1, 0]
            """,
            plain="",
        ),
        row(
            "E-polar-2d",
            """
            R, S = ti.polar_decompose(self.h[i] + 0.1 * self.x[t, i])
            self.f[t, i] = R[0, 1] * self.a[i] + S.trace() + S[0, 1]
            """,
            plain="",
        ),
        row(
            "E-polar-3d",
            """
            R, S = ti.polar_decompose(self.m[i] + 0.1 * self.x[t, i])
            self.f[t, i] = R[0, 1] * self.a[i] + R[2, 1] + S.trace() + S[0, 2]
            """,
            plain="",
        ),
        row(
            "E-polar-of-a-rotation",
            """
            c, s = ti.cos(self.a[i]), ti.sin(self.a[i])
            R, S = ti.polar_decompose(ti.Matrix([[c, -s], [s, c]]) * self.b[i])
            self.f[t, i] = R[0, 1] + S.trace() + R[0, 0] * S[1, 0]
            """,
            plain="""
            self.f[t, i] = -ti.sin(self.a[i]) + 2.0 * self.b[i]
            """,
        ),
        row(
            "E-corotated-at-repeated-values",
            """
            F = self.b[i] * ti.Matrix.identity(ti.f64, 2) + 0.0 * self.h[i]
            U, S, V = ti.svd(F)
            self.f[t, i] = (F - U @ V.transpose()).norm_sqr() + S[0, 0] * S[1, 1] * self.x[t, i]
            """,
            plain="self.f[t, i] = 2.0 * (self.b[i] - 1.0) ** 2 + self.b[i] ** 2 * self.x[t, i]",
        ),
        row(
            "E-sym-eig-2d",
            """
            A = self.h[i] + self.h[i].transpose() + 0.1 * self.x[t, i]
            e, Q = ti.sym_eig(A)
            self.f[t, i] = e[0] * e[0] + e[1] + (Q[:, 0].outer_product(Q[:, 0]))[0, 1]
            """,
            plain="",
        ),
        row(
            "E-sym-eig-diagonal",
            """
            A = ti.Matrix([[self.b[i] + 1.0, 0.0], [0.0, self.w[i, 0]]])
            e, Q = ti.sym_eig(A)
            self.f[t, i] = e[0] * e[1] + e.max() + self.x[t, i]
            """,
            plain="""
            p, q = self.b[i] + 1.0, self.w[i, 0]
            self.f[t, i] = p * q + max(p, q) + self.x[t, i]
            """,
        ),
        row(
            "E-sym-eig-3d",
            """
            A = self.m[i] + self.m[i].transpose()
            e, Q = ti.sym_eig(A)
            self.f[t, i] = e[0] * e[1] + e[2] + self.x[t, i] * e.norm()
            """,
            plain="",
        ),
        row(
            "E-eig-2d",
            """
            e, Q = ti.eig(self.h[i] + ti.Matrix([[2.0, 0.3], [0.2, 0.0]]))
            self.f[t, i] = e[0, 0] * e[1, 0] + e[0, 0] * self.x[t, i]
            """,
            plain="",
        ),
    ]
)

ROWS = E


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("matrices"))


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
