"""Rows A6 to A8 of the traps: what loops carry, how long, and under which conditions."""

import pytest
from traps.harness import Rows, assert_right, params, row


def carried(trips):
    return row(
        f"A6-carried-{trips}-trips",
        f"""
        p = self.x[t, i]
        q = self.w[i, 0]
        for k in range({trips}):
            p += {1.0 / trips} * ti.sin(q)
            q -= {1.0 / trips} * ti.sin(p) * self.w[i, 1]
        self.f[t, i] = p * q
        """,
    )


A6 = [carried(trips) for trips in (10, 29, 30, 31, 33, 64, 100, 1000)] + [
    row(
        "A6-three-carried-31",
        """
        p, q, r = self.x[t, i], self.a[i], self.b[i]
        for k in range(31):
            p, q, r = p + 0.05 * q * r, q - 0.05 * r * p, 0.98 * r + 0.02 * ti.sin(p)
        self.f[t, i] = p + q * r
        """,
    ),
    row(
        "A6-contact-loop-16",
        """
        y = self.x[t, i] + 1.0
        vy = self.a[i]
        for k in range(16):
            force = -1.0
            if y < 0.4:
                force += 8.0 * (0.4 - y) - 0.3 * vy
            vy += 0.1 * force
            y += 0.1 * vy
        self.f[t, i] = y
        """,
    ),
    row(
        "A6-four-writes-33",
        """
        p = self.x[t, i]
        for k in range(33):
            p = p + 0.02 * self.a[i]
            p = p * 0.99
            p = p + 0.01 * ti.sin(p)
            p = p - 0.01 * self.b[i]
        self.f[t, i] = p * p
        """,
    ),
    row(
        "A6-nested-8-by-40",
        """
        p = self.x[t, i]
        for k in range(8):
            q = 0.0
            for l in range(40):
                q += 0.01 * ti.sin(p + l) * self.w[i, l % N]
            p += q
        self.f[t, i] = p
        """,
    ),
    row(
        "A6-trips-from-a-constant",
        """
        p = self.x[t, i]
        for k in range(40 * self.counts[i]):
            p = 0.99 * p + 0.01 * ti.cos(p) * self.a[i]
        self.f[t, i] = p
        """,
    ),
    row(
        "A6-product",
        """
        p = 1.0
        for k in range(35):
            p *= 1.0 + 0.1 * self.w[i, k % N] * self.x[t, k % N]
        self.f[t, i] = p
        """,
    ),
    row(
        "A6-newton",
        """
        y = 1.0
        for k in range(40):
            y = y - (y * y - self.b[i] - 0.5) / (2.0 * y)
        self.f[t, i] = y * self.x[t, i]
        """,
    ),
    row(
        "A6-swap",
        """
        p, q = self.x[t, i], self.a[i]
        for k in range(33):
            p, q = q, 0.9 * p + 0.05 * q * q
        self.f[t, i] = p - q
        """,
    ),
    row(
        "A6-long-static-sum",
        """
        s = 0.0
        for k in ti.static(range(260)):
            s += self.w[i, k % N] * self.x[t, i] * (1.0 / (k + 1.0))
        self.f[t, i] = s
        """,
    ),
]

A7 = [
    row(
        "A7-conditional-carry",
        """
        p = 0.3
        s = 0.0
        q = 0.0
        for j in range(N):
            if self.w[i, j] > 0.8:
                p = self.x[t, j] * self.w[i, j]
            if self.w[j, i] > 1.0:
                q += p
            if j > 1:
                s += p * self.x[t, j]
        self.f[t, i] = s + q * q
        """,
    ),
    row(
        "A7-carry-set-in-one-branch",
        """
        s = self.x[t, i]
        q = self.w[i, 0]
        for j in range(N):
            if j > 1:
                q = 0.8 * q + s * self.w[i, j]
                s = 0.9 * s + ti.sin(self.x[t, j])
            else:
                s = ti.sin(self.w[j, i])
        self.f[t, i] = q
        """,
    ),
    row(
        "A7-nested-conditions",
        """
        p = self.a[i]
        s = 0.0
        for j in range(6):
            if j % 2 == 0:
                if self.x[t, j % N] > 0.0:
                    p = p * self.b[i] + 0.1
                else:
                    p = ti.sin(p) + s
            elif j == 3:
                s += p * p
            s += 0.1 * p
        self.f[t, i] = s
        """,
    ),
    row(
        "A7-running-maximum",
        """
        best = -100.0
        for j in range(N):
            c = self.w[i, j] * self.x[t, j]
            if c > best:
                best = c
        self.f[t, i] = best * best
        """,
    ),
    row(
        "A7-select-carry",
        """
        p = 0.3
        s = 0.0
        for j in range(N):
            p = ti.select(self.w[i, j] > 1.0, self.x[t, j], p)
            s += p * p
        self.f[t, i] = s
        """,
    ),
]

A8 = [
    row(
        "A8-loop-in-a-branch",
        """
        if self.x[t, i] > 0:
            s = 0.0
            for j in range(N):
                s += self.w[i, j] * self.x[t, j]
            self.f[t, i] += s * s
        else:
            self.f[t, i] = self.a[i]
        """,
    ),
    row(
        "A8-loop-in-both-branches",
        """
        s = self.b[i]
        if self.a[i] > 0:
            for j in range(N):
                s = ti.sin(s + self.w[i, j])
        else:
            for j in range(i):
                s = s * self.w[j, i] + self.x[t, j]
        self.f[t, i] = s
        """,
    ),
    row(
        "A8-loop-under-a-top-level-branch",
        """
        if t > 0:
            for i in range(N):
                s = 0.0
                for j in range(40):
                    s += ti.sin(self.x[t, i] * j) * self.b[i]
                self.f[t, i] = s
        else:
            for i in range(N):
                self.f[t, i] = self.a[i] ** 2
        """,
        whole=True,
    ),
    row(
        "A8-branch-in-a-loop-in-a-branch",
        """
        if i < 3:
            s = self.x[t, i]
            for j in range(N):
                if self.w[i, j] > 0.9:
                    s = s * self.w[i, j]
                    for k in range(j):
                        s += 0.1 * ti.cos(s) * self.a[k]
            self.f[t, i] = s
        """,
    ),
]

ROWS = [*A6, *A7, *A8]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("carried"))


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
