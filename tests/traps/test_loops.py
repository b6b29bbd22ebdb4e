"""Rows A1 to A4 of the traps: loops in loops, what is computed before them, and the functions in them."""

import pytest
from traps.harness import Rows, assert_right, params, row

HELPERS = """
@ti.func
def stage_a(x, y):
    return ti.sin(x) * y


@ti.func
def stage_b(x, y):
    return ti.cos(x + y)


@ti.func
def series(a, n: ti.template()):
    s = 1.0
    for j in range(n):
        s += a * s / (j + 1.0)
    return s


@ti.func
def weighted(p, i):
    q = 0.0
    for j in range(i + 2):
        q += p * p * (j + 1)
    return q
"""


A1 = [
    row(
        "A1-two-siblings",
        """
        for _ in range(1):
            for r in range(N - 1):
                for i in range(N):
                    if r == 0:
                        self.g[t, r, i] = ti.sin(self.x[t, i] * (r + 1))
                    else:
                        self.g[t, r, i] = ti.sin(self.g[t, r - 1, i]) * self.a[i]
                for i in range(N):
                    self.f[t, i] += self.w[r, i] * self.g[t, r, i] ** 2
        """,
        whole=True,
    ),
    row(
        "A1-three-siblings-serial",
        """
        ti.loop_config(serialize=True)
        for r in range(1, N):
            for i in range(N):
                self.g[t, r, i] = ti.sin(self.x[t, i] + r)
            for i in range(N):
                self.f[t, i] += self.g[t, r, i] * self.w[r, i]
            for i in range(N):
                self.f[t, i] += ti.exp(0.3 * self.g[t, r, i]) * self.g[t, r, (i + 1) % N] * self.a[i]
        """,
        whole=True,
    ),
    row(
        "A1-five-siblings",
        """
        for b in range(2):
            for i in range(N):
                self.g[t, 0, i] += self.x[t, i] * self.w[b, i]
            for i in range(N):
                self.g[t, 1, i] += self.a[i] * self.w[b, i] ** 2
            for i in range(N):
                self.g[t, 2, i] += ti.tanh(self.b[i] * (b + 1))
            for i in range(N):
                self.g[t, 3, i] += ti.max(self.x[t, i], 0.1 * b)
            for i in range(N):
                self.f[t, i] += self.x[t, i] * self.b[(i + b) % N]
        for i in range(N):
            self.f[t, i] += self.g[t, 0, i] * self.g[t, 1, i] + self.g[t, 2, i] * self.g[t, 3, i]
        """,
        whole=True,
    ),
    row(
        "A1-stages-in-funcs",
        """
        for _ in range(1):
            for r in range(N - 1):
                for i in range(N):
                    self.g[t, r + 1, i] = stage_a(self.x[t, i] * (r + 1), self.w[r, i])
                for i in range(N):
                    self.f[t, i] += stage_b(self.g[t, r + 1, i], self.a[i])
        """,
        whole=True,
    ),
    row(
        "A1-static-stages",
        """
        for _ in range(1):
            for s in ti.static(range(3)):
                for i in range(N):
                    self.g[t, s, i] = ti.sin((s + 1.0) * self.x[t, i] + self.z[None])
                for i in range(N):
                    self.f[t, i] += self.g[t, s, (i + 1) % N] * self.w[s, i]
        """,
        whole=True,
    ),
    row(
        "A1-stage-selector",
        """
        for _ in range(1):
            for s in range(3):
                for i in range(N):
                    if s == 0:
                        self.g[t, 0, i] = ti.sin(self.x[t, i] * self.b[i])
                    elif s == 1:
                        self.g[t, 1, i] = self.g[t, 0, i] ** 2 + self.a[i]
                    else:
                        self.f[t, i] = ti.cos(self.g[t, 1, i])
        """,
        whole=True,
    ),
    row(
        "A1-siblings-that-scatter",
        """
        for r in range(2):
            for i in range(N):
                self.g[t, r, self.ids[i]] += self.x[t, i] * self.w[r, i]
            for i in range(N):
                self.f[t, (i + r) % N] += ti.sin(self.g[t, r, i]) * self.a[i]
        """,
        whole=True,
    ),
]

A2 = [
    row(
        "A2-recurrence-under-a-loop",
        """
        for i in range(N):
            self.g[t, 0, i] = self.x[t, i]
        for _ in range(1):
            for k in range(N - 1):
                for i in range(N):
                    self.g[t, k + 1, i] = ti.cos(self.g[t, k, i]) * self.w[k, i]
        for i in range(N):
            self.f[t, i] = self.g[t, N - 1, i]
        """,
        whole=True,
    ),
    row(
        "A2-recurrence-serial-top-loop",
        """
        for i in range(N):
            self.g[t, 0, i] = self.x[t, i]
        ti.loop_config(serialize=True)
        for k in range(N - 1):
            for i in range(N):
                self.g[t, k + 1, i] = ti.sin(self.g[t, k, i]) * self.w[k, i]
        for i in range(N):
            self.f[t, i] = self.g[t, N - 1, i] ** 2
        """,
        whole=True,
    ),
    row(
        "A2-recurrence-along-one-axis",
        """
        for b in range(N):
            self.g[t, b, 0] = self.x[t, b]
            for k in range(N - 1):
                self.g[t, b, k + 1] = self.w[b, k] * ti.sin(self.g[t, b, k]) + self.a[k]
            self.f[t, b] = self.g[t, b, N - 1]
        """,
        whole=True,
    ),
    row(
        "A2-state-recurrence",
        """
        self.s[t + 1, i] = self.s[t, i] + 0.3 * ti.sin(self.s[t, i]) * self.a[i]
        self.f[t, i] = self.s[t + 1, i] ** 2
        """,
    ),
    row(
        "A2-state-two-steps-back",
        """
        self.r[t + 1, i] = 2.0 * self.r[t, i] - self.r[t - 1, i] - 0.1 * ti.sin(self.r[t, i] * self.b[i])
        self.f[t, i] = self.r[t + 1, i] * self.r[t - 1, i]
        """,
    ),
    row(
        "A2-prefix-sums-in-a-local",
        """
        s = 0.0
        for i in range(N):
            s += self.x[t, i] * self.b[i]
            self.f[t, i] = ti.sin(s)
        """,
        whole=True,
    ),
]

A3 = [
    row(
        "A3-value-before-loop",
        """
        p = self.x[t, i] * 2.0
        q = 0.0
        for j in range(N):
            q += p * p * self.w[i, j]
        self.f[t, i] = q
        """,
    ),
    row(
        "A3-plain-load-before-loop",
        """
        p = self.x[t, i]
        q = 0.0
        for j in range(N):
            q += p * 0.1 * self.w[i, j] + p * p
        self.f[t, i] = q
        """,
    ),
    row(
        "A3-vector-before-loop",
        """
        p = self.v[i]
        q = 0.0
        for j in range(N):
            q += p.dot(self.v[j]) * self.w[i, j]
        self.f[t, i] = q
        """,
    ),
    row("A3-func-argument-read-in-its-loop", "self.f[t, i] = weighted(self.x[t, i] * self.b[i], i)"),
    row("A3-series-in-a-func", "self.f[t, i] = series(self.x[t, i], 6) * self.b[i]"),
    row(
        "A3-middle-level-value",
        """
        for j in range(N):
            p = self.x[t, j] * self.w[i, j]
            if p > 0.1:
                p = p * p
            for k in range(N):
                self.f[t, i] += p * self.w[j, k] * self.w[k, i]
        """,
    ),
    row(
        "A3-dynamic-loop-in-a-static-one",
        """
        for k in ti.static(range(2)):
            p = self.x[t, (i + k) % N] * self.b[i]
            for j in range(N):
                self.f[t, i] += p * p * self.w[k, j]
        """,
    ),
    row(
        "A3-loop-over-a-param",
        """
        for i in self.a:
            p = self.a[i]
            for j in range(N):
                self.f[t, i] += p * p * self.w[i, j]
        """,
        plain="""
        for i in range(N):
            for j in range(N):
                self.f[t, i] += self.a[i] ** 2 * self.w[i, j]
        """,
        whole=True,
    ),
    row(
        "A3-coefficient-of-a-time-loop",
        """
        kd = self.b[i] * 0.1
        y = self.x[t, i]
        for k in range(20):
            y += 0.05 * (self.a[i] - kd * y)
        self.f[t, i] = y * y
        """,
    ),
    row(
        "A3-staged-in-a-field",
        """
        self.g[t, 0, i] = self.x[t, i] * 2.0
        for j in range(N):
            self.f[t, i] += self.g[t, 0, i] * self.w[i, j]
        """,
    ),
    row(
        "A3-two-loops-share-a-value",
        """
        p = ti.exp(0.3 * self.x[t, i])
        q = 0.0
        for j in range(N):
            q += p * self.w[i, j]
        for j in range(i + 1):
            q *= 1.0 + 0.1 * p * self.w[j, i]
        self.f[t, i] = q
        """,
    ),
]

IN_LOOP = {
    "exp": "ti.exp(0.5 * c)",
    "tanh": "ti.tanh(c)",
    "max": "ti.max(c, 0.1)",
    "min": "ti.min(c, s)",
    "rsqrt": "ti.rsqrt(1.0 + c * c)",
    "clamp": "ti.math.clamp(c, -0.5, 0.5)",
    "smoothstep": "ti.math.smoothstep(-1.0, 1.0, c)",
    "norm-inv": "self.v[j].norm_inv() * c",
    "vector-max": "(self.v[j] * c).max()",
    "sqrt": "ti.sqrt(1.0 + c * c)",
    "log": "ti.log(1.5 + ti.sin(c))",
    "pow": "self.b[j] ** c",
    "abs": "ti.abs(c)",
    "select": "ti.select(c > 0.0, c * c, ti.exp(c))",
}
A4 = [
    row(
        f"A4-{name}-in-an-accumulating-loop",
        f"""
        p = self.a[i]
        s = 0.2
        for j in range(N):
            c = self.w[i, j] * self.x[t, j] + 0.3 * p
            s += {text} * self.b[j]
        self.f[t, i] = s
        """,
    )
    for name, text in IN_LOOP.items()
] + [
    row(
        "A4-relu-sum",
        """
        s = 0.0
        for j in range(N):
            s += ti.max(0.0, self.w[i, j] * self.x[t, j] + self.a[i])
        self.f[t, i] = s * s
        """,
    ),
    row(
        "A4-clamped-torque-in-a-time-loop",
        """
        y = self.x[t, i]
        w = 0.0
        for k in range(30):
            torque = ti.min(ti.max(-4.0 * y - self.b[i] * w, -0.5), 0.5)
            w += 0.1 * torque
            y += 0.1 * w
        self.f[t, i] = y
        """,
    ),
    row(
        "A4-carried-through-tanh",
        """
        y = self.x[t, i]
        for k in range(12):
            y = ti.tanh(self.w[i, k % N] * y) + 0.1 * self.a[i]
        self.f[t, i] = y
        """,
    ),
]


ROWS = [*A1, *A2, *A3, *A4]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("loops"), HELPERS)


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))
