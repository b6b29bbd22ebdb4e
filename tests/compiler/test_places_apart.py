"""Loops over every second element, red and black cells: what is told apart, what stays a race."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

N = 6


class Relax(ds.Simulator):
    """Gauss-Seidel in red and black, an exchange of neighbours, each in place; `how` picks the kernel."""

    def __init__(self, how, n=N):
        self.how, self.n = how, n
        self.p = ds.State(ds.real, n, n, init=np.random.default_rng(0).normal(size=(n, n)))
        self.k = ds.State(ds.real, n, init=np.random.default_rng(1).normal(size=n))
        self.w = ds.Param(np.array(0.2))

    @ti.kernel
    def red_black(self, colour: ti.template()):
        for i, j in self.p:
            if (i + j) % 2 == colour:
                left, right = self.p[(i - 1 + self.n) % self.n, j], self.p[(i + 1) % self.n, j]
                self.p[i, j] = (
                    self.w[None] * (left * right + self.p[i, (j + 1) % self.n]) + 0.1 * self.p[i, j]
                )

    @ti.kernel
    def masked(self, colour: ti.template()):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            if i > 1 and (j - i) & 1 == colour:
                self.p[i, j] += self.w[None] * ti.sin(self.p[i - 1, j] * self.p[i, j + 1])

    @ti.kernel
    def exchange(self, odd: ti.template()):
        for i in range((self.n - 1) // 2):
            a = 2 * i + odd
            if self.k[a] > self.k[a + 1]:
                self.k[a], self.k[a + 1] = self.w[None] * self.k[a + 1], self.k[a]

    @ti.kernel
    def diagonal(self, colour: ti.template()):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            if (i + j) % 2 == colour:
                self.p[i, j] += self.w[None] * self.p[i - 1, j - 1]

    @ti.kernel
    def thirds(self, colour: ti.template()):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            if (i + 2 * j) % 3 == colour:
                self.p[i, j] += self.w[None] * self.p[i - 1, j] * self.p[i, j - 1]

    @ti.kernel
    def other_thirds(self, colour: ti.template()):
        for i, j in ti.ndrange((1, self.n - 1), (1, self.n - 1)):
            if (i + 2 * j) % 3 == colour:
                self.p[i, j] += self.w[None] * self.p[i - 1, j - 1]

    @ti.kernel
    def next_but_one(self, odd: ti.template()):
        for i in range((self.n - 2) // 2):
            self.k[2 * i + odd] = self.k[2 * i + 2 + odd]

    @ti.kernel
    def otherwise(self, colour: ti.template()):
        for i, j in ti.ndrange((1, self.n), self.n):
            if (i + j) % 3 != colour:
                self.p[i, j] += self.w[None] * self.p[i - 1, j]

    @ti.kernel
    def not_two(self, colour: ti.template()):
        for i in range(1, self.n):
            if i % 2 != 2 + colour:  # which no remainder is
                self.k[i] = self.k[i - 1]

    def step(self, t):
        for colour in range(2):
            getattr(self, self.how)(colour)

    @ti.kernel
    def total(self, t: ti.i32):
        for i, j in ti.ndrange(self.n, self.n):
            self.cost[None] += ti.cos(i + 2.0 * j) * self.p[t, i, j] + i * j * self.k[t, i] ** 2

    def terminal_cost(self, t):
        self.total(t)


def plain(how, p, k, w):
    """Run two steps in plain Python, one element after the other."""
    n = N
    for colour in (0, 1) * 2:
        if how == "exchange":
            for a in range(colour, 2 * ((n - 1) // 2) + colour, 2):
                if k[a] > k[a + 1]:
                    k[a], k[a + 1] = w * k[a + 1], k[a]
            continue
        for i in range(n):
            for j in range(n):
                inside = 0 < i < n - 1 and 0 < j < n - 1
                if how == "red_black" and (i + j) % 2 == colour:
                    p[i, j] = w * (p[i - 1, j] * p[(i + 1) % n, j] + p[i, (j + 1) % n]) + 0.1 * p[i, j]
                elif how == "masked" and inside and i > 1 and (j - i) % 2 == colour:
                    p[i, j] += w * np.sin(p[i - 1, j] * p[i, j + 1])
                elif how == "thirds" and inside and (i + 2 * j) % 3 == colour:
                    p[i, j] += w * p[i - 1, j] * p[i, j - 1]
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    return float((np.cos(i + 2.0 * j) * p + i * j * k[:, None] ** 2).sum())


@pytest.mark.parametrize("how", ["red_black", "masked", "exchange", "thirds"])
def test_iterations_that_never_meet_are_no_race(runtime, how):
    found = []
    for mode in ("fused", "step"):
        sim = Relax(how)
        rollout = ds.Rollout(sim, steps=2, mode=mode)
        found.append(rollout.value_and_grad(["w", "p"]))
        start = sim.p.numpy(), sim.k.numpy(), 0.2
        assert found[-1][0] == pytest.approx(plain(how, start[0].copy(), start[1].copy(), 0.2), rel=1e-12)
        low, high = (plain(how, start[0].copy(), start[1].copy(), 0.2 + h) for h in (-1e-6, 1e-6))
        assert found[-1][1]["w"] == pytest.approx((high - low) / 2e-6, rel=1e-6)
        rollout.close()
    np.testing.assert_allclose(found[0][1]["p"], found[1][1]["p"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("how", "n"),
    [
        ("red_black", 5),
        ("diagonal", N),
        ("other_thirds", N),
        ("next_but_one", N),
        ("otherwise", N),
        ("not_two", N),
    ],
)
def test_iterations_that_may_meet_stay_a_race(runtime, how, n):
    """An odd number of cells around a ring, neighbours of one colour, strides that fit."""
    with pytest.raises(ds.GradientError) as caught:
        ds.Rollout(Relax(how, n), steps=2, mode="step")
    assert {d.rule for d in caught.value.diagnostics} == {"RACE"}
