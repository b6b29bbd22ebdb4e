"""Tables A9, A11-A13, A15, B and F of the traps: fields that are written, read, gathered and scattered.

Fields of a simulator are declared, dense and differentiable where they are floats, so these rows of the
catalogue do not apply: a missing `needs_grad` (A13: a declared field has its adjoint; a Taichi field
allocated by hand can be read, as a constant, and is refused as a target), sparse cells, hash, dynamic nodes,
deactivation, `lazy_grad`, FieldsBuilder and destroyed trees (A17, F: nothing is declared on a SNode),
`needs_grad` on integers (a Constant of integers has no gradient), `field.fill` and copies inside a tape
(there is no tape: statements of `step` are traced). What is left of F is the external Taichi field that a
kernel reads. A sparse one is read like a dense one, but Taichi itself dies of sparse fields once a process
has made 1024 SNodes, so none is made here.
"""

import numpy as np
import pytest
import taichi as ti
from traps.harness import Rows, assert_right, params, row

import diffsim as ds

A9 = [
    row(
        "A9-maximum-over-a-field-by-if",
        """
        for i in range(N):
            self.g[t, 0, i] = self.x[t, i] * self.b[i]
        for i in range(N):
            best = self.g[t, 0, 0]
            for j in range(1, N):
                if self.g[t, 0, j] > best:
                    best = self.g[t, 0, j]
            self.f[t, i] = best * self.a[i]
        """,
        whole=True,
    ),
    row(
        "A9-local-atomic-max",
        """
        best = -10.0
        for j in range(N):
            ti.atomic_max(best, self.w[i, j] * self.x[t, j])
        self.f[t, i] = best * best
        """,
        plain="""
        self.f[t, i] = max(self.w[i, j] * self.x[t, j] for j in range(N)) ** 2
        """,
    ),
    row(
        "A9-local-atomic-min-and-add",
        """
        low, s = 10.0, 0.0
        for j in range(N):
            ti.atomic_min(low, self.w[i, j] * self.x[t, j])
            ti.atomic_add(s, self.a[j] ** 2)
        self.f[t, i] = low * s
        """,
        plain="""
        low = min(self.w[i, j] * self.x[t, j] for j in range(N))
        self.f[t, i] = low * sum(self.a[j] ** 2 for j in range(N))
        """,
    ),
    row(
        "A9-value-of-a-local-atomic",
        """
        s = self.b[i]
        r = 0.0
        for j in range(3):
            old = ti.atomic_add(s, self.w[i, j])
            r += old * old * self.x[t, j]
        self.f[t, i] = r * s
        """,
        plain="""
        s = self.b[i]
        r = 0.0
        for j in range(3):
            old = s
            s += self.w[i, j]
            r += old * old * self.x[t, j]
        self.f[t, i] = r * s
        """,
    ),
    row(
        "A9-atomic-add-into-a-field",
        """
        ti.atomic_add(self.f[t, self.ids[i]], self.x[t, i] ** 2)
        ti.atomic_sub(self.f[t, (i + 1) % N], self.a[i] * self.b[i])
        """,
    ),
]

A11 = [
    row(
        "A11-store-beside-a-loop",
        """
        self.f[t, i] = 0.5
        for j in range(N):
            self.f[t, i] += self.w[i, j] * self.x[t, j] ** 2
        self.f[t, i] += ti.sin(self.x[t, i])
        """,
    ),
    row(
        "A11-argument-stored-beside-a-loop",
        """
        self.g[t, 0, i] = 1.0 + t
        for j in range(N):
            self.g[t, 0, i] += self.w[i, j] * self.a[j]
        self.f[t, i] = self.g[t, 0, i] ** 2 * self.x[t, i]
        """,
    ),
    row(
        "A11-value-stored-twice",
        """
        self.g[t, 1, i] = self.x[t, i] ** 2
        self.g[t, 1, i] = self.a[i] * self.x[t, i]
        self.f[t, i] = ti.sin(self.g[t, 1, i])
        """,
    ),
    row(
        "A11-cleared-then-summed",
        """
        self.f[t, i] = self.x[t, i] ** 3
        self.f[t, i] = 0.0
        for j in range(3):
            self.f[t, i] += self.w[i, j] * self.x[t, i]
        """,
    ),
]

A12 = [
    row("A12-step-number-as-a-value", "self.f[t, i] = ti.sin(self.x[t, i] * (t + 1)) * (0.5 + t)"),
    row(
        "A12-step-number-in-a-condition",
        "self.f[t, i] = self.a[i] ** 2 if t % 2 == 0 else self.b[i] * self.x[t, i]",
    ),
    row(
        "A12-step-number-in-an-index",
        "self.f[t, i] = self.w[(t + i) % N, i] * self.a[(3 * t + i) % N] + self.x[t, i]",
    ),
    row(
        "A12-step-number-as-a-bound",
        "for j in range(t + 1):\n    self.f[t, i] += self.w[i, j] * self.x[t, i] ** (j + 1)",
    ),
    row("A12-coefficient-by-step", "self.f[t, i] = self.table[t, i] * self.x[t, i] ** 2 + self.table[i, t]"),
    row(
        "A12-control-by-step",
        "self.f[t, i] = ti.sin(self.u[t, i]) * self.x[t, i] + self.u[t, (i + 1) % N] ** 2",
    ),
    row(
        "A12-neighbours-counted-by-step",
        """
        for j in range(self.counts[(i + t) % N]):
            self.f[t, i] += self.x[t, self.ids[(i + j) % N]] ** 2 * self.b[i]
        """,
    ),
]

B = [
    row(
        "B-square-into-another-field",
        """
        self.g[t, 0, i] = self.x[t, i] * self.x[t, i]
        self.g[t, 1, i] = self.g[t, 0, i] * self.g[t, 0, i] + self.a[i]
        self.f[t, i] = self.g[t, 1, i] * self.g[t, 0, i]
        """,
    ),
    row(
        "B-in-place-in-one-iteration",
        """
        self.g[t, 0, i] = self.x[t, i]
        self.g[t, 0, i] = self.g[t, 0, i] * self.g[t, 0, i]
        self.f[t, i] = self.g[t, 0, i] ** 2 + self.a[i]
        """,
    ),
    row(
        "B-product-in-one-iteration",
        """
        self.g[t, 0, i] = self.a[i]
        self.f[t, i] = self.g[t, 0, i] ** 2
        self.g[t, 0, i] *= self.x[t, i]
        self.g[t, 0, i] += self.b[i]
        self.f[t, i] += self.g[t, 0, i] ** 3
        """,
    ),
    row(
        "B-symplectic-euler",
        """
        self.o[t + 1, i] = ti.Vector([0.0, self.o[t, i][1] - 0.2 * ti.sin(self.o[t, i][0]) * self.b[i]])
        self.o[t + 1, i][0] += self.o[t, i][0] + 0.2 * self.o[t + 1, i][1]
        self.f[t, i] = self.o[t + 1, i][0] ** 2 + self.o[t, i][1]
        """,
        plain="""
        p = self.o[t, i]
        w = p[1] - 0.2 * ti.sin(p[0]) * self.b[i]
        q = p[0] + 0.2 * w
        self.o[t + 1, i] = ti.Vector([q, w])
        self.f[t, i] = q * q + p[1]
        """,
    ),
    row(
        "B-state-written-then-read-in-a-step",
        """
        for i in range(N):
            self.s[t + 1, i] = self.s[t, i] * self.b[i]
        for i in range(N):
            self.s[t + 1, i] += 0.1 * self.s[t, (i + 1) % N] ** 2
        for i in range(N):
            self.f[t, i] = self.s[t + 1, i] * self.s[t + 1, (i + 1) % N]
        """,
        whole=True,
    ),
    row(
        "B-sum-after-a-linear-read",
        """
        for i in range(N):
            self.g[t, 0, i] = self.x[t, i] * self.a[i]
        for i in range(N):
            self.f[t, i] += 2.0 * self.g[t, 0, i]
        for i in range(N):
            self.f[t, i] += self.g[t, 0, (i + 1) % N] ** 2
        """,
        whole=True,
    ),
    row(
        "B-write-then-read-in-one-iteration",
        """
        self.g[t, 2, i] = ti.exp(0.3 * self.x[t, i])
        self.f[t, i] = self.g[t, 2, i] * self.b[i]
        self.f[t, i] += self.g[t, 2, i] ** 2
        """,
    ),
    row(
        "B-ring-of-old-states",
        """
        self.r[t + 1, i] = self.r[t, i] * 0.9 + 0.2 * self.r[t - 1, (i + 1) % N] * self.b[i]
        self.f[t, i] = self.r[t + 1, i] * self.r[t, i] + self.r[t - 1, i]
        """,
    ),
    row(
        "B-stencil-of-neighbours",
        """
        around = self.s[t, (i + 1) % N] - 2.0 * self.s[t, i] + self.s[t, (i - 1) % N]
        self.s[t + 1, i] = self.s[t, i] + 0.1 * around
        self.f[t, i] = self.s[t + 1, i] ** 2 * self.a[i]
        """,
    ),
    row(
        "B-scatter-then-gather",
        """
        for i in range(N):
            self.g[t, self.ids[i], i] += self.x[t, i] ** 2
            self.g[t, self.counts[i], (i + 1) % N] += self.a[i]
        for i in range(N):
            for j in range(N):
                self.f[t, i] += self.g[t, i, j] * self.g[t, (i + 1) % N, j] + self.w[i, j] * self.g[t, j, i]
        """,
        whole=True,
    ),
    row(
        "B-gather-through-two-constants",
        """
        k = self.ids[self.ids[i]]
        ti.atomic_add(self.f[t, k], self.x[t, self.ids[i]] * self.w[k, i])
        self.f[t, self.ids[k]] -= ti.sin(self.x[t, k])
        """,
    ),
    row(
        "B-columns-of-an-index-table",
        "self.f[t, self.pairs[i, 1]] += self.a[self.pairs[i, 0]] * self.x[t, self.pairs[i, 1]] ** 2",
    ),
    row(
        "B-guarded-neighbours",
        """
        if i > 0 and self.x[t, i - 1] < 10.0:
            self.f[t, i] += self.x[t, i - 1] * self.w[i, 0]
        if i == 0 or self.x[t, i - 1] > 10.0:
            self.f[t, i] += self.w[i, 1] ** 2
        """,
    ),
    row(
        "B-param-read-after-the-last-write",
        """
        self.f[t, i] = self.a[i]
        self.f[t, i] -= self.z[None] * self.a[i] ** 2
        self.f[t, i] += self.a[(i + 1) % N] * self.x[t, i]
        """,
    ),
    row(
        "B-in-place-square",
        """
        self.g[t, 0, i] = self.x[t, i]
        for j in range(2):
            self.g[t, 0, i] = self.g[t, 0, i] * self.g[t, 0, i] + self.a[i]
        self.f[t, i] = self.g[t, 0, i]
        """,
    ),
    row(
        "B-product-in-place",
        """
        self.g[t, 0, i] = self.a[i]
        for j in range(2):
            self.g[t, 0, i] *= self.x[t, i]
        self.f[t, i] = self.g[t, 0, i]
        """,
    ),
    row(
        "B-sum-after-a-read",
        """
        for j in range(2):
            self.f[t, i] += self.g[t, 0, i] ** 2
            self.g[t, 0, i] += self.x[t, i] * self.a[i]
        """,
    ),
    row(
        "B-scratch-cleared-and-used-again",
        """
        for r in range(2):
            self.k[t, i] = ti.Vector([0.0, 0.0, 0.0])
            self.k[t, i] += self.v[i] * (r + 1)
            self.f[t, i] += self.k[t, i].norm_sqr()
        """,
    ),
    row(
        "B-wrapped-indices",
        "self.f[t, i] = self.x[t, (i + N - 1) % N] * self.a[(2 * i + 1) & 3] + self.x[t, i ^ 1] ** 2",
    ),
]

ROWS = [*A9, *A11, *A12, *B]


@pytest.fixture(scope="module")
def measured(runtime, tmp_path_factory):
    return Rows(ROWS, tmp_path_factory.mktemp("access"))


@pytest.mark.parametrize("one", params(ROWS))
def test_row(measured, one):
    assert_right(one, measured.of(one))


# ---- external fields ----


class External(ds.Simulator):
    """A kernel that reads Taichi fields allocated by hand."""

    def __init__(self, factors, offsets):
        self.factors, self.offsets = factors, offsets
        self.x = ds.State(ds.real, 3, init=[0.3, -0.5, 0.8])

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i] * self.factors[i] + self.offsets[i][1] * ti.sin(self.x[t, i])

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += self.x[t, i] ** 2

    def step(self, t):
        self.move(t)

    def terminal_cost(self, t):
        self.total(t)


def test_F_external_fields_are_constants(runtime):
    factors, offsets = ti.field(ti.f64, shape=3), ti.Vector.field(2, ti.f64, shape=3)
    factors.from_numpy(np.array([0.5, 2.0, -1.0]))
    offsets.from_numpy(np.array([[9.0, 0.0], [9.0, 0.7], [9.0, -0.2]]))
    simulator = External(factors, offsets)
    a, b = factors.to_numpy(), offsets.to_numpy()[:, 1]
    for mode in ("step", "fused"):
        rollout = ds.Rollout(simulator, steps=2, mode=mode)
        x, slope = simulator.x.numpy(), np.ones(3)
        for _ in range(2):
            slope = slope * (a + b * np.cos(x))
            x = x * a + b * np.sin(x)
        cost, gradients = rollout.value_and_grad("x")
        assert cost == pytest.approx(np.sum(x**2), rel=1e-13)
        np.testing.assert_allclose(gradients["x"], 2.0 * x * slope, rtol=1e-12)
        rollout.close()
