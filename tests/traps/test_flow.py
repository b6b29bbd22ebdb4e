"""Table C of the traps, loops: `while`, jumps and `return` out of loops, computed trips, running indices."""

import pytest
from traps.harness import Rows, assert_right, params, row

HELPERS = """
@ti.func
def newton(a):
    r = 1.0
    while ti.abs(r * r - a) > 1e-13:
        r = 0.5 * (r + a / r)
    return r


@ti.func
def from_inside(x, b):
    s = x
    for k in range(9):
        for j in range(3):
            s = ti.sin(s) + 0.9 * b
            if s > 1.2:
                return s * b
        if k > 5:
            return 2
    return s


@ti.func
def two_from_inside(x):
    k = 0
    while True:
        k += 1
        x = 1.3 * x + 0.01
        if ti.abs(x) > 2.0:
            return x, k
        if k == 3:
            continue
        if k == 5:
            break
    return 0.5 * x * x, 0.0


@ti.func
def stops(x: ti.template(), b):
    for k in range(5):
        x = x * (1.0 + 0.1 * b)
        if x > 1.0:
            return
    x += b


@ti.func
def solved(A: ti.template(), b):
    L = ti.Matrix.zero(float, 3, 3)
    for i in range(3):
        for j in range(i + 1):
            s = A[i, j]
            for k in range(j):
                s -= L[i, k] * L[j, k]
            if i == j:
                L[i, i] = ti.sqrt(s)
            else:
                L[i, j] = s / L[j, j]
    y = 1.0 * b
    for i in range(3):
        for k in range(i):
            y[i] -= L[i, k] * y[k]
        y[i] /= L[i, i]
    for i in range(2, -1, -1):
        for k in range(i + 1, 3):
            y[i] -= L[k, i] * y[k]
        y[i] = y[i] / L[i, i]
    return y
"""

WHILES = """
s = self.x[t, i]
n = 0
while s < 3.0 and n < 40:
    s += self.b[i] * (1.0 + 0.1 * ti.sin(s)) * 0.3
    n += 1
    k = 0
    while k < n:
        k += 1
        if k == 2:
            continue
        s *= 1.01
        if k > self.counts[i]:
            break
self.f[t, i] = s + 0.1 * n
"""

ROWS = [
    row("C-while", WHILES.replace("k < n", "ds.at_most(k < n, 40)"), plain=WHILES),
    row(
        "C-while-at-top-level",
        """
        k = 0
        s = self.z[None]
        while k < N:
            s = ti.sin(s) + self.x[t, k]
            self.f[t, k] = s * self.a[k]
            k += 1
            if s > 1.4:
                break
        """,
        whole=True,
    ),
    row("C-while-in-a-func", "self.f[t, i] = newton(self.b[i]) * self.x[t, i] + newton(2.0 + self.z[None])"),
    row("C-return-from-loops", "self.f[t, i] = from_inside(self.x[t, i], self.b[i]) * self.a[i]"),
    row(
        "C-return-of-two-from-a-while",
        """
        p, q = two_from_inside(self.x[t, i])
        self.f[t, i] = p * self.a[i] + q * p
        """,
    ),
    row(
        "C-return-of-nothing-from-a-loop",
        """
        s = self.x[t, i]
        stops(s, self.b[i])
        self.f[t, i] = s * self.a[i]
        """,
        plain="""
        s = self.x[t, i]
        found = False
        for k in range(5):
            s = s * (1.0 + 0.1 * self.b[i])
            if s > 1.0:
                found = True
                break
        if not found:
            s += self.b[i]
        self.f[t, i] = s * self.a[i]
        """,
    ),
    row(
        "C-return-from-a-kernel's-loops",
        """
        for i in range(N):
            for j in range(N):
                self.f[t, i] += self.w[i, j] * self.x[t, j]
                if i == 2 and self.x[t, j] > 0.0:
                    return
        for i in range(N):
            self.f[t, i] += 100.0 * self.a[i]
        """,
        whole=True,
    ),
    row(
        "C-carried-through-unknown-trips",
        """
        s = self.x[t, i]
        for k in range(ti.cast(ti.abs(self.table[i, 0]) * 5.0, ti.i32)):
            s = ti.sin(s) + self.w[i, k % N]
        if self.counts[i] < 3:
            for k in range(self.counts[i], -1, -1):
                s = s * (1.0 + 0.1 * k * s)
        self.f[t, i] = s
        """,
    ),
    row(
        "C-steps-of-ranges",
        """
        s = self.x[t, i]
        for k in range(N - 1, -1, -1):
            s = ti.cos(s) * self.w[i, k]
        for k in range(i, N, 2):
            s += self.a[k] * s
        for k in range(N - 1, i, -2):
            s -= 0.3 * self.b[k] * s
        by = self.counts[i] - 4
        for k in range(3, -1, by):
            s = ti.sin(s) + self.b[k]
        self.f[t, i] = s
        """,
    ),
    row(
        "C-running-indices",
        """
        A = self.m[i] @ self.m[i].transpose()
        y = solved(A, self.v[i])
        B = ti.Matrix.zero(float, 3, 3)
        for p, r in ti.ndrange(3, 3):
            for k in range(3):
                B[p, r] += self.m[i][p, k] * A[k, r]
        total = ti.Vector([0.0, 0.0, 0.0])
        for k in range(3):
            total[k] = y[k] + (total[k - 1] if k > 0 else 0) + B[k, (k + 1) % 3]
            if y[k] > 5.0:
                break
        self.f[t, i] = total[self.counts[i] % 3] + y[self.ids[i] % 3] * total.norm()
        """,
    ),
]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("flow"), HELPERS)


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
