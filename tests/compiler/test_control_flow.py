"""Jumps, named maxima, local atomics, loops in order: values as in Python, right gradients."""

import math

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

N = 6


@ti.func
def early(x):
    if x < 0.0:
        return -2.0 * x
    y = x * x
    if y > 1.0:
        return ti.sin(y)
    return 3.0 * y


@ti.func
def pair(x, flip: ti.template()):
    if ti.static(flip):
        return x, 1.0
    if x > 0.5:
        return x * x, x
    else:
        return ti.Vector([x, 2.0 * x]).sum(), 0.25


@ti.func
def clamp_inside(x, low, high):
    result = x
    if x < low:
        return low
    for _ in range(3):
        result = 0.5 * (result + high)
    return result


@ti.func
def maybe_double(x: ti.template(), by):
    if by < 0.0:
        return
    x *= by


class Base(ds.Simulator):
    """Maps `x` and `w` to `f`; the cost is a weighted sum of `f`."""

    def __init__(self, counts=(3, 1, 4, 1, 5, 0)):
        rng = np.random.default_rng(3)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.w = ds.Param(rng.uniform(0.4, 1.6, size=(N, N)))
        self.counts = ds.Constant(list(counts))
        self.weights = ds.Constant(rng.normal(size=N))
        self.f = ds.Scratch(ds.real, N)

    def step(self, t):
        self.act(t)
        self.total(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.weights[i] * self.f[t, i]


class Jumps(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            s = 0.1 * self.x[t, i]
            for k in range(N):
                if k == 1:
                    continue
                a = self.w[i, k] * self.x[t, k]
                if a > 1.2:
                    s += 0.01 * a
                    break
                if a < 0.0:
                    if a < -1.0:
                        continue
                    s -= 0.3 * a * s
                else:
                    if k > 4:
                        break
                    s += a * a
                s = ti.sin(s) + 0.2 * a
            self.f[t, i] = s

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        for i in range(N):
            s = 0.1 * x[i]
            for k in range(N):
                if k == 1:
                    continue
                a = w[i, k] * x[k]
                if a > 1.2:
                    s += 0.01 * a
                    break
                if a < 0.0:
                    if a < -1.0:
                        continue
                    s -= 0.3 * a * s
                else:
                    if k > 4:
                        break
                    s += a * a
                s = math.sin(s) + 0.2 * a
            f[i] = s
        return f


class TopLevelJumps(Base):
    """`continue` in a parallel loop, `break` in a serial one at top level and in an unrolled one."""

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            if i % 2 == 0:
                continue
            self.f[t, i] += self.x[t, i] ** 2
        for i in range(N):
            if self.x[t, i] < -1.0:
                break
            self.f[t, 0] += self.w[0, i] * self.x[t, i]
        for i in range(N):
            for k in ti.static(range(4)):
                if self.w[i, k] > 1.3:
                    break
                self.f[t, i] += 0.1 * self.w[i, k] * self.x[t, k]

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        f[1::2] += x[1::2] ** 2
        for i in range(N):
            if x[i] < -1.0:
                break
            f[0] += w[0, i] * x[i]
        for i in range(N):
            for k in range(4):
                if w[i, k] > 1.3:
                    break
                f[i] += 0.1 * w[i, k] * x[k]
        return f


class Returns(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            a, b = pair(self.x[t, i], False)
            c, d = pair(self.w[i, 0], True)
            s = early(self.x[t, i]) + a * b + c * d + clamp_inside(self.x[t, i], -0.5, self.w[i, 1])
            maybe_double(s, self.w[i, 2] - 1.0)
            self.f[t, i] = s

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        for i in range(N):
            v = x[i]
            s = -2.0 * v if v < 0.0 else (math.sin(v * v) if v * v > 1.0 else 3.0 * v * v)
            s += v**3 if v > 0.5 else 0.75 * v
            s += w[i, 0]
            r = v
            if v < -0.5:
                r = -0.5
            else:
                for _ in range(3):
                    r = 0.5 * (r + w[i, 1])
            s += r
            f[i] = s * (w[i, 2] - 1.0) if w[i, 2] >= 1.0 else s
        return f


class NamedMaximum(Base):
    """A carried loop whose length is computed, and a search that ends by itself."""

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            s = self.x[t, i]
            n = self.counts[i] + ti.cast(ds.stop_gradient(ti.abs(self.x[t, i])), ti.i32)
            for k in range(ds.at_most(n, 8)):
                s = ti.sin(s) + self.w[i, k % N]
            r = 1.0
            for _ in range(64):  # Newton's square root of w
                step = 0.5 * (self.w[i, 0] / r - r)
                r += step
                if ti.abs(step) < 1e-14:
                    break
            self.f[t, i] = s + r

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        for i in range(N):
            s = x[i]
            for k in range((3, 1, 4, 1, 5, 0)[i] + int(abs(x[i]))):
                s = math.sin(s) + w[i, k % N]
            f[i] = s + math.sqrt(w[i, 0])
        return f


class LocalAtomics(Base):
    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            most = -10.0
            least = 10.0
            total = 0.0
            for k in range(N):
                a = self.w[i, k] * self.x[t, k]
                ti.atomic_max(most, a)
                ti.atomic_min(least, a)
                before = ti.atomic_add(total, a)
                ti.atomic_sub(total, 0.1 * before)
            self.f[t, i] = most * least + total

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        for i in range(N):
            a = w[i] * x
            total = 0.0
            for v in a:
                total, before = total + v, total
                total -= 0.1 * before
            f[i] = a.max() * a.min() + total
        return f


class PrefixSum(Base):
    """Loops in order at the top level: what iterations write, later ones read."""

    @ti.kernel
    def act(self, t: ti.i32):
        ti.loop_config(serialize=True)
        for i in range(N):
            self.f[t, i] += self.x[t, i] * self.w[i, i]
            if i > 0:
                self.f[t, i] += ti.sin(self.f[t, i - 1])

    @staticmethod
    def reference(x, w):
        f = np.zeros(N)
        for i in range(N):
            f[i] = x[i] * w[i, i] + (math.sin(f[i - 1]) if i else 0.0)
        return f


class Selected(Base):
    """Stages chosen by a loop's index: what an earlier stage writes, a later one reads."""

    def __init__(self):
        super().__init__()
        self.g = ds.Scratch(ds.real, N)

    @ti.kernel
    def act(self, t: ti.i32):
        for _ in range(1):
            for s in range(3):
                for i in range(N):
                    if s == 0:
                        self.g[t, i] = self.x[t, i] * self.w[i, 0]
                    elif s == 1:
                        self.f[t, i] = ti.sin(self.g[t, (i + 1) % N])
                    else:
                        self.f[t, i] += self.g[t, i] ** 2

    @staticmethod
    def reference(x, w):
        g = x * w[:, 0]
        return np.sin(np.roll(g, -1)) + g**2


class LeftAtTheEnd(Base):
    """Branches with nothing in them: what comes behind a `return`, and a `pass`."""

    @ti.kernel
    def act(self, t: ti.i32):
        for _ in range(1):
            for i in range(N + 1):
                if i >= N:
                    return
                self.f[t, i] = self.x[t, i] * self.w[i, i]
                if i > 3:
                    if self.f[t, i] > 100.0:
                        pass
                if self.f[t, i] > 9.0:
                    return

    @staticmethod
    def reference(x, w):
        return x * np.diag(w)


CASES = [Jumps, TopLevelJumps, Returns, NamedMaximum, LocalAtomics, PrefixSum, Selected, LeftAtTheEnd]


@pytest.mark.parametrize("kind", CASES)
def test_values_and_gradients(runtime, kind):
    sim = kind()
    rollout = ds.Rollout(sim, steps=1)
    want = kind.reference(sim.x.numpy(), sim.w.numpy())
    np.testing.assert_allclose(rollout.trajectory(sim.f)[0], want, rtol=1e-13, atol=1e-15)
    report = rollout.check_grad(wrt=[sim.x, sim.w])
    assert report.passed, report
    assert "differed" not in str(rollout.plan)
    rollout.close()


@pytest.mark.parametrize("kind", CASES)
def test_modes_agree(runtime, kind):
    results = []
    for mode in ("fused", "step"):
        sim = kind()
        rollout = ds.Rollout(sim, steps=1, mode=mode)
        results.append(rollout.value_and_grad(wrt=[sim.x, sim.w]))
        rollout.close()
    (cost, gradients), (other_cost, other) = results
    assert cost == pytest.approx(other_cost, rel=1e-13)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(gradient, other[key], rtol=1e-12, atol=1e-14)


def test_python_meaning_of_intrinsics():
    assert ds.at_most(3, 5) == 3
    assert ds.stop_gradient(2.5) == 2.5
    with pytest.raises(ds.ConfigError, match="at_most must get a number up to 5, got 6"):
        ds.at_most(6, 5)


class Floored(Base):
    """`//` and `%` of negative numbers round down, whatever the compiler finds to be constant."""

    def __init__(self):
        super().__init__()
        self.by = ds.Constant([3, -3, 2, -2, 5, -5])
        self.quotient, self.rest = ds.Scratch(ds.real, N), ds.Scratch(ds.real, N)

    @ti.kernel
    def act(self, t: ti.i32):
        for i in range(N):
            k = ti.cast(ds.stop_gradient(ti.floor(4.0 * self.x[t, i])), ti.i32)
            self.quotient[t, i] = k // self.by[i] + 100 * ((i - i - 5) // 3)
            self.rest[t, i] = k % self.by[i] + 100 * ((i - i - 5) % 3)
            self.f[t, i] = self.w[0, (i - 1) % N] * self.x[t, i]


@pytest.mark.parametrize("mode", ["fused", "step"])
def test_integers_are_divided_downward(runtime, mode):
    sim = Floored()
    rollout = ds.Rollout(sim, steps=1, mode=mode)
    found = rollout.trajectories({"quotient": sim.quotient, "rest": sim.rest, "f": sim.f})
    k, by = np.floor(4.0 * sim.x.numpy()).astype(int), sim.by.numpy()
    np.testing.assert_array_equal(found["quotient"][0], k // by + 100 * (-5 // 3))
    np.testing.assert_array_equal(found["rest"][0], k % by + 100 * (-5 % 3))
    np.testing.assert_allclose(found["f"][0], np.roll(sim.w.numpy()[0], 1) * sim.x.numpy(), rtol=1e-15)
    rollout.close()
