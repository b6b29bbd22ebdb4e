"""Particles that look for their neighbours: position based fluids, grains, boids."""

from typing import Any

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.language.common import Port, block, given

# ---- position based fluids, with a grid of cells and a list of neighbours ----

N, H, CELLS, PER_CELL, NEAR = 30, 0.16, 8, 16, 24
DT = 0.02
SPIKY = -45.0 / np.pi


@ti.data_oriented
class PositionBasedFluid:
    """Prologue, lists, a few rounds of lambdas and corrections, epilogue; positions change in place."""

    def __init__(self) -> None:
        self.old_positions = ti.Vector.field(2, float, N)
        self.positions = given(ti.Vector.field(2, float, N), block(N, low=0.2, high=0.7))
        self.velocities = ti.Vector.field(2, float, N)
        self.grid_num_particles = ti.field(int, (CELLS, CELLS))
        self.grid2particles = ti.field(int, (CELLS, CELLS, PER_CELL))
        self.particle_num_neighbors = ti.field(int, N)
        self.particle_neighbors = ti.field(int, (N, NEAR))
        self.lambdas = ti.field(float, N)
        self.position_deltas = ti.Vector.field(2, float, N)
        self.rho0 = given(ti.field(float, ()), 40.0)

    @ti.func
    def poly6(self, s):
        result = 0.0
        if 0 < s and s < H:
            x = (H * H - s * s) / (H * H)
            result = 4.0 / np.pi / H**2 * x * x * x
        return result

    @ti.func
    def spiky_gradient(self, r):
        result = ti.Vector([0.0, 0.0])
        r_len = r.norm()
        if 0 < r_len and r_len < H:
            x = (H - r_len) / (H * H * H)
            g_factor = SPIKY * x * x * H
            result = r * g_factor / r_len
        return result

    @ti.func
    def get_cell(self, pos):
        return int(pos / H)

    @ti.func
    def is_in_grid(self, c):
        return 0 <= c[0] and c[0] < CELLS and 0 <= c[1] and c[1] < CELLS

    @ti.func
    def confine(self, p):
        bmin, bmax = 0.02, 0.98
        for i in ti.static(range(2)):
            if p[i] <= bmin:
                p[i] = bmin + 1e-4 * p[i]
            elif bmax <= p[i]:
                p[i] = bmax - 1e-4 * p[i]
        return p

    @ti.kernel
    def prologue(self):
        for i in self.positions:
            self.old_positions[i] = self.positions[i]
        for i in self.positions:
            g = ti.Vector([0.0, -9.8])
            pos, vel = self.positions[i], self.velocities[i]
            vel += g * DT
            pos += vel * DT
            self.positions[i] = self.confine(pos)

    @ti.kernel
    def find_neighbours(self):
        for I in ti.grouped(self.grid_num_particles):
            self.grid_num_particles[I] = 0
        for I in ti.grouped(self.particle_neighbors):
            self.particle_neighbors[I] = -1
        for p_i in self.positions:
            cell = self.get_cell(self.positions[p_i])
            offs = ti.atomic_add(self.grid_num_particles[cell], 1)
            self.grid2particles[cell, offs] = p_i
        for p_i in self.positions:
            pos_i = self.positions[p_i]
            cell = self.get_cell(pos_i)
            nb_i = 0
            for offs in ti.static(ti.grouped(ti.ndrange((-1, 2), (-1, 2)))):
                cell_to_check = cell + offs
                if self.is_in_grid(cell_to_check):
                    for j in range(self.grid_num_particles[cell_to_check]):
                        p_j = self.grid2particles[cell_to_check, j]
                        if nb_i < NEAR and p_j != p_i and (pos_i - self.positions[p_j]).norm() < H * 1.05:
                            self.particle_neighbors[p_i, nb_i] = p_j
                            nb_i += 1
            self.particle_num_neighbors[p_i] = nb_i

    @ti.kernel
    def substep(self):
        for p_i in self.positions:
            pos_i = self.positions[p_i]
            grad_i = ti.Vector([0.0, 0.0])
            sum_gradient_sqr = 0.0
            density_constraint = 0.0
            for j in range(self.particle_num_neighbors[p_i]):
                p_j = self.particle_neighbors[p_i, j]
                if p_j < 0:
                    break
                pos_ji = pos_i - self.positions[p_j]
                grad_j = self.spiky_gradient(pos_ji)
                grad_i += grad_j
                sum_gradient_sqr += grad_j.dot(grad_j)
                density_constraint += self.poly6(pos_ji.norm())
            density_constraint = density_constraint / self.rho0[None] - 1.0
            sum_gradient_sqr += grad_i.dot(grad_i)
            self.lambdas[p_i] = (-density_constraint) / (sum_gradient_sqr + 100.0)
        for p_i in self.positions:
            pos_i = self.positions[p_i]
            lambda_i = self.lambdas[p_i]
            pos_delta_i = ti.Vector([0.0, 0.0])
            for j in range(self.particle_num_neighbors[p_i]):
                p_j = self.particle_neighbors[p_i, j]
                if p_j < 0:
                    break
                lambda_j = self.lambdas[p_j]
                pos_ji = pos_i - self.positions[p_j]
                x = self.poly6(pos_ji.norm()) / self.poly6(0.3 * H)
                scorr = -(0.001) * x * x * x * x
                pos_delta_i += (lambda_i + lambda_j + scorr) * self.spiky_gradient(pos_ji)
            pos_delta_i /= self.rho0[None]
            self.position_deltas[p_i] = pos_delta_i
        for i in self.positions:
            self.positions[i] += self.position_deltas[i]

    @ti.kernel
    def epilogue(self):
        for i in self.positions:
            pos = self.positions[i]
            self.positions[i] = self.confine(pos)
        for i in self.positions:
            self.velocities[i] = (self.positions[i] - self.old_positions[i]) / DT

    def step(self, t: Any) -> None:
        self.prologue()
        self.find_neighbours()
        for _ in range(3):
            self.substep()
        self.epilogue()


class PositionBasedFluidPort(PositionBasedFluid, Port):
    """The same kernels, differentiable."""

    steps, measured = 3, ("positions", "velocities")

    def __init__(self) -> None:
        self.old_positions = ds.Scratch(ds.vec2, N)
        self.positions = ds.State(ds.vec2, N, init=block(N, low=0.2, high=0.7))
        self.velocities = ds.State(ds.vec2, N)
        self.grid_num_particles = ds.Scratch(ti.i32, CELLS, CELLS)
        self.grid2particles = ds.Scratch(ti.i32, CELLS, CELLS, PER_CELL)
        self.particle_num_neighbors = ds.Scratch(ti.i32, N)
        self.particle_neighbors = ds.Scratch(ti.i32, N, NEAR)
        self.lambdas = ds.Scratch(ds.real, N)
        self.position_deltas = ds.Scratch(ds.vec2, N)
        self.rho0 = ds.Param(np.array(40.0))


# ---- grains: cells by counting sort and prefix sums ----

GRAINS, BINS = 24, 8
RADIUS, STIFF, SLOW = 0.05, 500.0, 1e-3


@ti.data_oriented
class Grains:
    """Discs that press each other; sorted into cells with a prefix sum in a serial loop."""

    def __init__(self) -> None:
        self.p = given(ti.Vector.field(2, float, GRAINS), block(GRAINS, low=0.1, high=0.9))
        self.v = given(ti.Vector.field(2, float, GRAINS), block(GRAINS, low=-1, high=1, seed=1))
        self.a = ti.Vector.field(2, float, GRAINS)
        self.f = ti.Vector.field(2, float, GRAINS)
        self.r = given(ti.field(float, GRAINS), RADIUS * (1 + 0.3 * np.arange(GRAINS) / GRAINS))
        self.grain_count = ti.field(int, (BINS, BINS))
        self.list_head = ti.field(int, BINS * BINS)
        self.list_cur = ti.field(int, BINS * BINS)
        self.list_tail = ti.field(int, BINS * BINS)
        self.prefix_sum = ti.field(int, BINS * BINS)
        self.particle_id = ti.field(int, GRAINS)
        self.damping = given(ti.field(float, ()), 2.0)

    @ti.kernel
    def update(self):
        for i in self.p:
            a = self.f[i] / (100 * self.r[i] ** 2)
            self.v[i] += (self.a[i] + a) * SLOW / 2.0
            self.p[i] += self.v[i] * SLOW + 0.5 * a * SLOW**2
            self.a[i] = a

    @ti.kernel
    def bounce(self):
        for i in self.p:
            for k in ti.static(range(2)):
                if self.p[i][k] - self.r[i] < 0:
                    self.p[i][k] = self.r[i]
                    self.v[i][k] *= -0.3
                elif self.p[i][k] + self.r[i] > 1.0:
                    self.p[i][k] = 1.0 - self.r[i]
                    self.v[i][k] *= -0.3

    @ti.func
    def resolve(self, i, j):
        rel_pos = self.p[j] - self.p[i]
        dist = ti.sqrt(rel_pos[0] ** 2 + rel_pos[1] ** 2)
        delta = -dist + self.r[i] + self.r[j]
        if delta > 0:
            normal = rel_pos / dist
            f1 = normal * delta * STIFF
            relative = (self.v[j] - self.v[i]) @ normal
            f2 = self.damping[None] * relative * normal
            self.f[i] += f2 - f1
            self.f[j] -= f2 - f1

    @ti.kernel
    def sort(self):
        self.grain_count.fill(0)
        for i in range(GRAINS):
            cell = ti.floor(self.p[i] * BINS, int)
            self.grain_count[cell] += 1
        self.prefix_sum[0] = 0
        ti.loop_config(serialize=True)
        for c in range(1, BINS * BINS):
            self.prefix_sum[c] = self.prefix_sum[c - 1] + self.grain_count[(c - 1) // BINS, (c - 1) % BINS]
        for i, j in ti.ndrange(BINS, BINS):
            linear = i * BINS + j
            self.list_head[linear] = self.prefix_sum[linear]
            self.list_cur[linear] = self.list_head[linear]
            self.list_tail[linear] = self.prefix_sum[linear] + self.grain_count[i, j]
        ti.loop_config(serialize=True)
        for i in range(GRAINS):
            cell = ti.floor(self.p[i] * BINS, int)
            linear = cell[0] * BINS + cell[1]
            at = ti.atomic_add(self.list_cur[linear], 1)
            self.particle_id[at] = i

    @ti.kernel
    def contact(self):
        for i in self.f:
            self.f[i] = ti.Vector([0.0, -9.8 * 100 * self.r[i] ** 2])
        for i in range(GRAINS):
            cell = ti.floor(self.p[i] * BINS, int)
            x_begin, x_end = ti.max(cell[0] - 1, 0), ti.min(cell[0] + 2, BINS)
            y_begin, y_end = ti.max(cell[1] - 1, 0), ti.min(cell[1] + 2, BINS)
            for ci in range(x_begin, x_end):
                for cj in range(y_begin, y_end):
                    linear = ci * BINS + cj
                    for k in range(self.list_head[linear], self.list_tail[linear]):
                        j = self.particle_id[k]
                        if i < j:
                            self.resolve(i, j)

    def step(self, t: Any) -> None:
        self.update()
        self.bounce()
        self.sort()
        self.contact()


class GrainsPort(Grains, Port):
    """The same kernels, differentiable."""

    steps, measured = 5, ("p", "v")

    def __init__(self) -> None:
        self.p = ds.State(ds.vec2, GRAINS, init=block(GRAINS, low=0.1, high=0.9))
        self.v = ds.State(ds.vec2, GRAINS, init=block(GRAINS, low=-1, high=1, seed=1))
        self.a, self.f = ds.State(ds.vec2, GRAINS), ds.State(ds.vec2, GRAINS)
        self.r = ds.Param(RADIUS * (1 + 0.3 * np.arange(GRAINS) / GRAINS))
        self.grain_count = ds.Scratch(ti.i32, BINS, BINS)
        self.list_head, self.list_cur = ds.Scratch(ti.i32, BINS * BINS), ds.Scratch(ti.i32, BINS * BINS)
        self.list_tail, self.prefix_sum = ds.Scratch(ti.i32, BINS * BINS), ds.Scratch(ti.i32, BINS * BINS)
        self.particle_id = ds.Scratch(ti.i32, GRAINS)
        self.damping = ds.Param(np.array(2.0))


# ---- boids: the nearest few, found by insertion ----

BIRDS, FEW = 16, 4


@ti.data_oriented
class Boids:
    """Cohesion, alignment and separation from a list of the nearest few, kept sorted in a while loop."""

    def __init__(self) -> None:
        self.position = given(ti.Vector.field(2, float, BIRDS), block(BIRDS, low=0, high=1))
        self.velocity = given(ti.Vector.field(2, float, BIRDS), block(BIRDS, low=-1, high=1, seed=1))
        self.acceleration = ti.Vector.field(2, float, BIRDS)
        self.nearest = ti.field(int, (BIRDS, FEW))
        self.distance = ti.field(float, (BIRDS, FEW))
        self.weights = given(ti.field(float, 3), [0.5, 0.3, 0.02])

    @ti.kernel
    def search(self):
        for i, k in self.nearest:
            self.nearest[i, k] = -1
            self.distance[i, k] = 1e9
        for i in range(BIRDS):
            for j in range(BIRDS):
                if i != j:
                    d = (self.position[i] - self.position[j]).norm()
                    if d < self.distance[i, FEW - 1]:
                        k = FEW - 1
                        while k > 0 and self.distance[i, k - 1] > d:
                            self.distance[i, k] = self.distance[i, k - 1]
                            self.nearest[i, k] = self.nearest[i, k - 1]
                            k -= 1
                        self.distance[i, k] = d
                        self.nearest[i, k] = j

    @ti.kernel
    def steer(self):
        for i in range(BIRDS):
            middle, along, apart = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0])
            count = 0
            for k in range(FEW):
                j = self.nearest[i, k]
                if j >= 0:
                    middle += self.position[j]
                    along += self.velocity[j]
                    away = self.position[i] - self.position[j]
                    apart += away / (away.norm_sqr() + 1e-2)
                    count += 1
            if count > 0:
                middle = middle / count - self.position[i]
                along = along / count - self.velocity[i]
            self.acceleration[i] = (
                self.weights[0] * middle + self.weights[1] * along + self.weights[2] * apart
            )

    @ti.kernel
    def move(self):
        for i in self.position:
            self.velocity[i] += self.acceleration[i]
            speed = self.velocity[i].norm()
            if speed > 1.0:
                self.velocity[i] = self.velocity[i] / speed
            self.position[i] += 0.02 * self.velocity[i]
            for d in ti.static(range(2)):
                if self.position[i][d] < 0:
                    self.position[i][d] += 1
                elif self.position[i][d] > 1:
                    self.position[i][d] -= 1

    def step(self, t: Any) -> None:
        self.search()
        self.steer()
        self.move()


class BoidsPort(Boids, Port):
    """The same kernels, differentiable."""

    measured = ("position", "velocity")

    def __init__(self) -> None:
        self.position = ds.State(ds.vec2, BIRDS, init=block(BIRDS, low=0, high=1))
        self.velocity = ds.State(ds.vec2, BIRDS, init=block(BIRDS, low=-1, high=1, seed=1))
        self.acceleration = ds.Scratch(ds.vec2, BIRDS)
        self.nearest = ds.Scratch(ti.i32, BIRDS, FEW)
        self.distance = ds.Scratch(ds.real, BIRDS, FEW)
        self.weights = ds.Param(np.array([0.5, 0.3, 0.02]))
