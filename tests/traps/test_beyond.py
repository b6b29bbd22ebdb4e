"""Cases beyond the catalogue: more of what tables A, C and D are about, mixed; and some rows in 32 bits."""

import pytest
from traps.harness import Rows, assert_right, params, row

ROWS = [
    row(
        "X1-break-of-an-unrolled-loop",
        """
        s = self.x[t, i]
        for k in ti.static(range(4)):
            if s > 0.5:
                break
            s += self.w[i, k] * s * s
        self.f[t, i] = s
        """,
    ),
    row(
        "X2-break-with-a-carried-vector",
        """
        u = self.v[i]
        for k in range(6):
            u = 0.8 * u + 0.1 * self.v[k % N]
            if u.norm() < 0.5:
                break
            u[k % 3] *= self.b[i]
        self.f[t, i] = u.sum()
        """,
    ),
    row(
        "X3-break-in-an-else",
        """
        s = self.x[t, i]
        for k in range(8):
            if s < 2.0:
                s = s * self.b[i] + 0.4
            else:
                s -= 0.5 * self.a[i]
                break
            s += 0.1
        self.f[t, i] = s
        """,
    ),
    row(
        "X4-continue-after-a-write",
        """
        for k in range(5):
            self.f[t, i] += self.w[i, k % N] * self.x[t, i]
            if k % 2 == 0:
                continue
            self.f[t, i] -= self.a[k % N] ** 2
        """,
    ),
    row(
        "X5-carried-number-as-an-index",
        """
        n = i
        s = 0.0
        for k in range(9):
            n = self.ids[n]
            s = s * 0.5 + self.x[t, n] * s + self.b[n]
        self.f[t, i] = s
        """,
    ),
    row(
        "X6-index-of-the-largest",
        """
        best = 0
        for k in range(N):
            if self.w[i, k] * self.x[t, k] > self.w[i, best] * self.x[t, best]:
                best = k
        self.f[t, i] = self.w[i, best] ** 2 * self.x[t, best]
        """,
    ),
    row(
        "X7-sorting-a-local-vector",
        """
        p = self.v[i]
        for j in range(3):
            for k in range(2):
                if p[k] > p[k + 1]:
                    c = p[k]
                    p[k] = p[k + 1]
                    p[k + 1] = c
        self.f[t, i] = p[0] + 2.0 * p[1] * p[1] + 3.0 * p[2] * self.x[t, i]
        """,
    ),
    row(
        "X8-four-loops-deep",
        """
        s = self.x[t, i]
        for j in range(2):
            for k in range(3):
                q = s
                for l in range(2):
                    for m in range(j + k):
                        q = 0.9 * q + 0.1 * ti.sin(q * self.w[l, m % N])
                s = s * 0.5 + q * self.b[i]
        self.f[t, i] = s
        """,
    ),
    row(
        "X9-field-written-and-read-in-a-carried-loop",
        """
        s = self.x[t, i]
        for k in range(N):
            self.g[t, i, k] = s * self.w[i, k]
            s = s + 0.1 * self.g[t, i, k] ** 2
        for k in range(N):
            self.f[t, i] += self.g[t, i, k] * s
        """,
    ),
    row(
        "X10-loops-that-may-be-empty",
        """
        s = self.x[t, i]
        for j in range(self.counts[i]):
            for k in range(self.counts[j]):
                s = s * self.w[j, k] + self.a[k]
        self.f[t, i] = s
        """,
    ),
    row(
        "X11-long-chain-of-branches",
        """
        s = self.x[t, i]
        for k in range(6):
            if k == 0:
                s = s * s
            elif k == 1:
                s = s + self.a[i]
            elif k == 2:
                s = ti.exp(0.2 * s)
            elif k == 3:
                s = s * self.b[i]
            else:
                s = ti.tanh(s) + self.w[i, k - 2]
        self.f[t, i] = s
        """,
    ),
    row(
        "X12-carried-truth",
        """
        done = False
        s = self.x[t, i]
        for k in range(6):
            if not done:
                s = 0.7 * s + self.b[i]
                if s > 1.5:
                    done = True
        self.f[t, i] = s * s
        """,
    ),
    row(
        "X13-counter-beside-a-carried-value",
        """
        n = 0
        s = self.x[t, i]
        for k in range(7):
            if s > 0.2:
                n += 1
            s = s * 0.9 + self.w[i, n % N] * 0.1 * s - 0.1 * self.a[i]
        self.f[t, i] = s * n + s
        """,
    ),
    row(
        "X14-matrix-power-that-stops",
        """
        A = self.h[i]
        B = ti.Matrix.identity(ti.f64, 2)
        for k in range(7):
            B = B @ A * 0.5
            if B.norm() > 3.0:
                break
        self.f[t, i] = B.trace() * self.x[t, i]
        """,
    ),
    row(
        "X15-value-of-the-iteration-before",
        """
        p = 0.0
        for k in range(3):
            if k > 0:
                self.f[t, i] += p * p * self.b[i]
            p = self.x[t, i] * self.w[i, k]
        """,
    ),
    row(
        "X16-one-name-in-two-loops",
        """
        for k in range(2):
            p = self.x[t, i] * self.w[i, k]
            self.f[t, i] += p * p
        for k in range(3):
            p = self.a[i] * self.w[k, i]
            self.f[t, i] -= p * p * p
        """,
    ),
    row(
        "X17-base-and-exponent",
        "self.f[t, i] = self.b[i] ** self.b[i] + (self.x[t, i] ** 2 + 0.1) ** self.a[i]",
    ),
    row(
        "X18-whole-exponents-of-both-signs",
        "self.f[t, i] = self.b[i] ** (-i) + self.b[i] ** (i - 2) * self.x[t, i]",
    ),
    row(
        "X19-functions-of-vectors",
        """
        u = self.v[i]
        s = ti.exp(u * 0.2).sum() + ti.tanh(u).dot(u) + ti.pow(ti.abs(u) + 0.1, 1.5).sum()
        self.f[t, i] = s + ti.atan2(u, u * u + 3.0).sum() * self.x[t, i]
        """,
    ),
    row(
        "X20-any-and-all",
        """
        u = self.v[i] > 0.0
        p = self.x[t, i] if u.any() else self.a[i]
        self.f[t, i] = p * p if any(u) and not all(u) else p * self.b[i]
        """,
        plain="""
        u = [float(c) > 0.0 for c in self.v[i]]
        p = self.x[t, i] if any(u) else self.a[i]
        self.f[t, i] = p * p if any(u) and not all(u) else p * self.b[i]
        """,
    ),
    row(
        "X21-scatter-into-a-computed-cell",
        """
        k = int(ti.floor(ti.abs(self.table[i, 0]) * 2.0)) % N
        self.f[t, k] += self.x[t, i] ** 2
        self.f[t, (k + 1) % N] -= self.a[i] * self.x[t, i]
        """,
    ),
]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("beyond"))


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
