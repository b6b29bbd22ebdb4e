"""Taichi's structs as local values: parts, nested parts, methods, carried through loops and branches."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import TraceError

N = 4


@ti.dataclass
class Quaternion:
    w: ti.f64
    v: ti.types.vector(3, ti.f64)

    @ti.func
    def times(self, o):
        return Quaternion(self.w * o.w - self.v.dot(o.v), self.w * o.v + o.w * self.v + self.v.cross(o.v))

    @ti.func
    def norm(self):
        return ti.sqrt(self.w**2 + self.v.norm_sqr())


Pose = ti.types.struct(q=Quaternion, x=ti.types.vector(3, ti.f64))


@ti.func
def pick(a, b, s):
    if s > 0.5:
        return a
    return b


class Base(ds.Simulator):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = ds.State(ds.vec4, N, init=0.5 * rng.normal(size=(N, 4)))
        self.w = ds.Param(rng.uniform(0.0, 1.0, size=N))

    def step(self, t):
        self.turn(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(N):
            self.cost[None] += self.x[t, i].norm_sqr() + self.x[t, i][2]

    def terminal_cost(self, t):
        self.total(t)


class Turning(Base):
    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(N):
            q = Quaternion(
                w=self.x[t, i][0], v=ti.Vector([self.x[t, i][1], self.x[t, i][2], self.x[t, i][3]])
            )
            p = Pose(q=q)
            r = Quaternion(w=1.0)
            for _ in range(3):
                p.q = p.q.times(q)
                p.q.v[1] += 0.1 * self.w[i]
                p.x.y = p.q.norm()
                r = pick(p.q, r, self.w[i])
                r.w *= 0.5
            s = p.q.norm()
            self.x[t + 1, i] = ti.Vector([p.q.w / s, p.q.v.x / s + p.x.y, r.v.y, p.q.v.z / s + r.w])


def reference(x, w):
    out = np.zeros((N, 4))
    for i in range(N):
        q0, qv = x[i, 0], x[i, 1:]
        pw, pv, rw, rv = q0, qv.copy(), 1.0, np.zeros(3)
        for _ in range(3):
            pw, pv = pw * q0 - pv @ qv, pw * qv + q0 * pv + np.cross(pv, qv)
            pv[1] += 0.1 * w[i]
            length = np.sqrt(pw**2 + pv @ pv)
            if w[i] > 0.5:
                rw, rv = pw, pv.copy()
            rw *= 0.5
        out[i] = pw / length, pv[0] / length + length, rv[1], pv[2] / length + rw
    return out


def test_values_and_gradients(runtime):
    sim = Turning()
    rollout = ds.Rollout(sim, steps=1)
    want = reference(sim.x.numpy(), sim.w.numpy())
    np.testing.assert_allclose(rollout.trajectory(sim.x)[1], want, rtol=1e-13)
    report = rollout.check_grad(wrt=[sim.x, sim.w])
    assert report.passed, report
    rollout.close()


class MissingPart(Base):
    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(N):
            q = Quaternion(w=1.0)
            q.z = 2.0
            self.x[t + 1, i] = self.x[t, i] * q.w


class MissingMethod(Base):
    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(N):
            q = Quaternion(w=1.0)
            self.x[t + 1, i] = self.x[t, i] * q.angle()


class WrongPart(Base):
    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(N):
            q = Quaternion(w=1.0, u=2.0)
            self.x[t + 1, i] = self.x[t, i] * q.w


class Added(Base):
    @ti.kernel
    def turn(self, t: ti.i32):
        for i in range(N):
            q = Quaternion(w=1.0) + Quaternion(w=2.0)
            self.x[t + 1, i] = self.x[t, i] * q.w


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MissingPart, r"a struct must have the part z, got w, v.*SHAPE\]"),
        (MissingMethod, r"a struct must have the method angle.*FUNCTION\]"),
        (WrongPart, r"must name each part once, of w, v, got u.*SHAPE\]"),
        (Added, r"structs are computed with part by part.*SHAPE\]"),
    ],
)
def test_misuse(runtime, kind, words):
    with pytest.raises(TraceError, match=words):
        ds.plan(kind(), steps=1)
