"""Pictures: a ray marched through a distance field, and a fractal iterated until it escapes."""

from typing import Any

import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, given

N = 8


@ti.data_oriented
class RayMarching:
    """Spheres and a floor as a signed distance; rays that march until they hit, light that gathers."""

    def __init__(self) -> None:
        self.color_buffer = ti.Vector.field(3, float, shape=(N, N))
        self.center = given(ti.Vector.field(3, float, shape=()), [0.1, 0.3, 0.0])
        self.light_pos = given(ti.Vector.field(3, float, shape=()), [1.5, 2.0, 2.0])

    @ti.func
    def intersect_light(self, pos, d):
        dist = (self.light_pos[None] - pos).dot(d)
        return dist

    @ti.func
    def sdf(self, o):
        ball = (o - self.center[None]).norm() - 0.5
        other = (o - ti.Vector([-0.6, -0.1, 0.3])).norm() - 0.3
        floor = o[1] + 0.5
        return ti.min(floor, ti.min(ball, other))

    @ti.func
    def ray_march(self, p, d):
        j = 0
        dist = 0.0
        while j < 40 and self.sdf(p + dist * d) > 1e-3 and dist < 10.0:
            dist += self.sdf(p + dist * d)
            j += 1
        return ti.min(10.0, dist)

    @ti.func
    def sdf_normal(self, p):
        d = 1e-3
        n = ti.Vector([0.0, 0.0, 0.0])
        sdf_center = self.sdf(p)
        for i in ti.static(range(3)):
            inc = p
            inc[i] += d
            n[i] = (1 / d) * (self.sdf(inc) - sdf_center)
        return n.normalized()

    @ti.kernel
    def render(self, t: ti.i32):
        for u, v in self.color_buffer:
            pos = ti.Vector([0.0, 0.3, 3.0])
            d = ti.Vector([0.9 * (u + 0.31) / N - 0.4, 0.8 * (v + 0.27) / N - 0.5, -1.0])
            d = d.normalized()
            throughput = ti.Vector([1.0, 1.0, 1.0])
            contrib = ti.Vector([0.0, 0.0, 0.0])
            depth = 0
            while depth < 2:
                closest = self.ray_march(pos, d)
                depth += 1
                if closest > 9.9:
                    contrib += throughput * 0.2
                    depth = 2
                else:
                    hit = pos + d * closest
                    normal = self.sdf_normal(hit)
                    to_light = (self.light_pos[None] - hit).normalized()
                    throughput *= ti.Vector([0.7, 0.6, 0.5])
                    contrib += throughput * ti.max(0.0, normal.dot(to_light))
                    d = (d - 2 * d.dot(normal) * normal).normalized()
                    pos = hit + 2e-2 * d
            self.color_buffer[u, v] += contrib

    def step(self, t: Any) -> None:
        self.render(t)


class RayMarchingPort(RayMarching, Port):
    """The same kernel, differentiable."""

    steps, measured = 2, ("color_buffer",)

    def __init__(self) -> None:
        self.color_buffer = ds.State(ds.vec3, N, N)
        self.center = ds.Param(ds.vec3, init=[0.1, 0.3, 0.0])
        self.light_pos = ds.Param(ds.vec3, init=[1.5, 2.0, 2.0])


@ti.data_oriented
class Fractal:
    """A Julia set: complex squares in a while loop until they escape, and what they were then."""

    def __init__(self) -> None:
        self.pixels = ti.field(float, shape=(2 * N, N))
        self.c = given(ti.Vector.field(2, float, shape=()), [-0.8, 0.156])

    @ti.func
    def complex_sqr(self, z):
        return ti.Vector([z[0] ** 2 - z[1] ** 2, z[1] * z[0] * 2])

    @ti.kernel
    def paint(self, t: float):
        for i, j in self.pixels:
            c = ti.Vector([self.c[None][0], ti.cos(t * 0.03) * self.c[None][1]])
            z = ti.Vector([i / N - 1, j / N - 0.5]) * 2
            iterations = 0
            while z.norm() < 20 and iterations < 12:
                z = self.complex_sqr(z) + c
                iterations += 1
            self.pixels[i, j] = 0.5 * self.pixels[i, j] + 1 - iterations * 0.02 + ti.log(1 + z.norm())

    def step(self, t: Any) -> None:
        self.paint(t)


class FractalPort(Fractal, Port):
    """The same kernel, differentiable."""

    steps, measured = 3, ("pixels",)

    def __init__(self) -> None:
        self.pixels = ds.State(ds.real, 2 * N, N)
        self.c = ds.Param(ds.vec2, init=[-0.8, 0.156])
