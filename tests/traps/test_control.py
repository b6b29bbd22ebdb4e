"""Table C of the traps: statements beside loops, branches, bounds, jumps, and what kernels may be made of."""

import pytest
from traps.harness import Rows, assert_right, params, row

HELPERS = """
@ti.func
def early(x, b):
    if x > 0.2:
        return x * b
    return -x


@ti.func
def two_ways(x, b):
    if x > 0.0:
        if b > 1.0:
            return ti.sin(x) * b
        x = x * b
    else:
        return b * b
    return x + 0.5 * b


@ti.func
def first_above(v, limit):
    found = 0.0
    for j in range(3):
        if v[j] > limit:
            found = v[j] * (j + 1)
            break
    return found
"""

ROWS = [
    row(
        "C-statements-beside-loops",
        """
        scale = self.w[0, 0] * 2.0
        total = 0.0
        for i in range(N):
            total += self.x[t, i] ** 2
        norm = ti.sqrt(total)
        for i in range(N):
            self.f[t, i] = scale * self.x[t, i] / norm
        """,
        whole=True,
    ),
    row(
        "C-constant-before-a-loop",
        """
        dt = 0.1
        for i in range(N):
            self.f[t, i] = self.x[t, i] + dt * ti.sin(self.a[i])
        """,
        whole=True,
    ),
    row(
        "C-return-after-a-loop",
        """
        for i in range(N):
            self.f[t, i] = self.x[t, i] ** 2 * self.b[i]
        return
        """,
        whole=True,
    ),
    row(
        "C-several-dependent-loops",
        """
        for i in range(N):
            self.g[t, 0, i] = ti.sin(self.x[t, i])
        for i, j in ti.ndrange(N, N):
            self.g[t, 1, i] += self.g[t, 0, j] * self.w[i, j]
        for i in range(N):
            self.f[t, i] = ti.tanh(self.g[t, 1, i]) * self.g[t, 0, i]
        """,
        whole=True,
    ),
    row(
        "C-no-loop-at-all",
        """
        self.g[t, 0, 0] = self.x[t, 0] * self.a[1]
        p = self.g[t, 0, 0]
        if p > 0:
            p = p * p
            if self.x[t, 1] > 0:
                p += self.b[0]
        else:
            p = p * self.x[t, 1]
        self.f[t, 0] = p * self.g[t, 0, 0]
        self.f[t, 1] = self.f[t, 0] * self.z[None]
        """,
        whole=True,
    ),
    row(
        "C-mesh-of-branches",
        """
        p = self.x[t, i]
        q = self.a[i]
        if p > q:
            p = p * q
            if q > 0:
                q = p + self.b[i]
            elif p > 0.5:
                q = p * p
            else:
                p, q = q, 2.0 * p
        else:
            if self.b[i] > 1.0:
                q = ti.exp(0.2 * p)
            p = q - p
        self.f[t, i] = p * q
        """,
    ),
    row(
        "C-triangular-loops",
        """
        s = self.x[t, i]
        for j in range(i):
            for k in range(j, i):
                s = ti.sin(s + self.w[j, k])
        self.f[t, i] = s * self.b[i]
        """,
    ),
    row(
        "C-bound-from-a-changing-local",
        """
        n = 1
        s = self.x[t, i]
        for j in range(3):
            for k in range(ds.at_most(n, 3)):
                s = 0.8 * s + self.w[j, k] * s * s * 0.2
            n += 1
        self.f[t, i] = s
        """,
        plain="""
        s = self.x[t, i]
        for j in range(3):
            for k in range(j + 1):
                s = 0.8 * s + self.w[j, k] * s * s * 0.2
        self.f[t, i] = s
        """,
    ),
    row(
        "C-bound-from-a-constant",
        """
        for j in range(self.counts[i]):
            self.f[t, i] += self.w[i, j] * self.x[t, j] ** 2
        self.f[t, i] += self.a[i]
        """,
    ),
    row(
        "C-value-in-a-middle-branch",
        """
        for j in range(N):
            if self.w[i, j] > 0.8:
                p = self.x[t, j] * self.a[i]
                for k in range(3):
                    self.f[t, i] += p * p * self.w[j, k]
        """,
    ),
    row(
        "C-inner-ndrange",
        """
        s = 0.0
        for j, k in ti.ndrange(N, 3):
            s += self.w[j, k] * self.v[j][k] * self.x[t, i]
        self.f[t, i] = s
        """,
    ),
    row(
        "C-ndrange-with-bounds",
        """
        for i, j in ti.ndrange((1, N), (0, N - 1)):
            self.f[t, i] += self.w[i, j] * self.x[t, i - 1] * self.a[j + 1]
        """,
        whole=True,
    ),
    row(
        "C-grouped-ndrange",
        """
        for I in ti.grouped(ti.ndrange(N, N)):
            self.f[t, I[0]] += self.w[I] * self.x[t, I[1]] ** 2
        """,
        whole=True,
    ),
    row(
        "C-grouped-stencil",
        """
        for d in ti.static(ti.grouped(ti.ndrange(3, 3))):
            self.f[t, i] += self.w[(i + d[0]) % N, (i + d[1]) % N] * self.x[t, (i + d[0]) % N] * (d[1] - 0.5)
        """,
    ),
    row(
        "C-static-branches",
        """
        for k in ti.static(range(4)):
            if ti.static(k % 2 == 0):
                self.f[t, i] += self.w[i, k] * self.x[t, i]
            else:
                self.f[t, i] -= ti.sin(self.w[k, i])
        """,
    ),
    row(
        "C-range-with-a-start",
        """
        s = 0.0
        for j in range(t, N):
            s += self.w[i, j] * self.a[j] * s + self.x[t, j]
        self.f[t, i] = s
        """,
    ),
    row(
        "C-empty-loops",
        """
        s = self.x[t, i]
        for j in range(0):
            s = s * self.a[j]
        for j in range(i, 2):
            s += self.b[j] * s
        self.f[t, i] = s
        """,
    ),
    row(
        "C-assert-is-passed-over",
        """
        assert self.b[i] > 0.0
        self.f[t, i] = self.x[t, i] / self.b[i]
        """,
    ),
    row(
        "C-break-in-an-inner-loop",
        """
        s = 0.0
        for j in range(N):
            if s > 1.0:
                break
            s += self.w[i, j] * self.b[j] + 0.1 * s * self.x[t, j]
        self.f[t, i] = s * s
        """,
    ),
    row(
        "C-break-at-the-end-of-a-body",
        """
        p = self.x[t, i]
        for j in range(50):
            p = 0.9 * p + 0.05 * self.a[i]
            self.f[t, i] += p
            if ti.abs(p) < 0.3:
                break
        """,
    ),
    row(
        "C-continue",
        """
        s = self.b[i]
        for j in range(N):
            if self.w[i, j] > 1.0:
                continue
            s = s * self.w[i, j] + self.x[t, j]
        self.f[t, i] = s
        """,
    ),
    row(
        "C-break-of-the-inner-of-two",
        """
        s = self.x[t, i]
        for j in range(3):
            for k in range(5):
                if k > j:
                    break
                if k == 1:
                    continue
                s += 0.3 * ti.sin(s) * self.w[j, k % N]
            s *= self.b[j]
        self.f[t, i] = s
        """,
    ),
    row(
        "C-newton-that-stops",
        """
        y = 1.0
        for k in range(50):
            d = (y * y - self.b[i] - 0.5) / (2.0 * y)
            y -= d
            if ti.abs(d) < 1e-13:
                break
        self.f[t, i] = y * self.x[t, i]
        """,
    ),
    row("C-early-return-in-a-func", "self.f[t, i] = early(self.x[t, i], self.b[i]) * self.a[i]"),
    row(
        "C-early-returns-in-a-loop",
        """
        for j in range(N):
            self.f[t, i] += two_ways(self.x[t, j] * self.a[i], self.w[i, j])
        """,
    ),
    row("C-break-in-a-func", "self.f[t, i] = first_above(self.v[i], 0.2) * self.x[t, i]"),
    row(
        "C-while-as-a-bounded-loop",
        """
        n = self.counts[i] + 2
        s = self.x[t, i]
        for k in range(ds.at_most(n, 64)):
            s = 0.7 * s + self.b[i] * ti.cos(s)
        self.f[t, i] = s
        """,
        plain="""
        s = self.x[t, i]
        for k in range(self.counts[i] + 2):
            s = 0.7 * s + self.b[i] * ti.cos(s)
        self.f[t, i] = s
        """,
    ),
    row(
        "C-trips-from-a-computed-number",
        """
        n = ti.cast(ti.floor(ti.abs(self.table[i, 0]) * 5.0), ti.i32)
        s = self.x[t, i]
        for k in range(ds.at_most(n, 64)):
            s = 0.7 * s + self.b[i] * ti.cos(s)
            if s > 1.5:
                break
        self.f[t, i] = s
        """,
        plain="""
        s = self.x[t, i]
        for k in range(int(abs(self.table[i, 0]) * 5.0)):
            s = 0.7 * s + self.b[i] * ti.cos(s)
            if s > 1.5:
                break
        self.f[t, i] = s
        """,
    ),
    row(
        "C-continue-in-the-kernels-loop",
        """
        if i == 1:
            continue
        self.f[t, i] = self.x[t, i] * self.b[i]
        """,
    ),
    row(
        "C-stop-gradient",
        """
        p = ds.stop_gradient(self.x[t, i] * self.a[i])
        self.f[t, i] = p * self.b[i] + self.table[0, i]
        """,
        plain="self.f[t, i] = self.b[i] * self.x[t, i] * self.a[i] + self.table[0, i]",
        cut=("x", "a"),
    ),
    row(
        "C-serial-loop",
        """
        ti.loop_config(serialize=True)
        for i in range(1, N):
            self.s[t + 1, i] = self.s[t, i] * self.b[i] + self.a[i]
        for i in range(N):
            self.f[t, i] = self.s[t + 1, i] ** 2
        """,
        whole=True,
    ),
    row(
        "C-serial-recurrence",
        """
        self.g[t, 0, 0] = self.x[t, 0]
        ti.loop_config(serialize=True)
        for i in range(1, N):
            self.g[t, 0, i] = ti.sin(self.g[t, 0, i - 1]) * self.b[i] + self.x[t, i]
        for i in range(N):
            self.f[t, i] = self.g[t, 0, i]
        """,
        whole=True,
    ),
]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("control"), HELPERS)


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
