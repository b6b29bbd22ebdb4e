"""Time an elastic block whose forces are the gradient of its energy against the same with forces by hand.

Triangles with a neo-Hookean or a corotated energy. Both compute the same numbers. Value and gradient are
timed in turns in one process, on one thread. `python -m benchmarks energies`
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.common import machine, print_machine, print_table


class Block(ds.Simulator):
    """A square of `2 n²` triangles that begins bent.

    Args:
        n: Squares along a side.
        material: `neo` (neo-Hookean) or `corotated`.
        by_hand: Use the forces that were derived by hand.
    """

    def __init__(self, n=32, material="neo", by_hand=False):
        points = np.array([[i, j] for i in range(n + 1) for j in range(n + 1)]) / n
        square = np.array([[0, n + 1, n + 2], [0, n + 2, 1]])
        first = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1, 1, 1)
        triangles = (first + square).reshape(-1, 3)
        edges = np.stack([points[triangles[:, k]] - points[triangles[:, 2]] for k in (0, 1)], -1)
        self.count, self.points, self.dt = len(triangles), len(points), 1e-3
        self.kernel = getattr(self, f"{material}_force" if by_hand else material)
        self.by_hand = by_hand
        self.corner = ds.Constant(triangles)
        self.inverse = ds.Constant(ds.mat2, self.count, init=np.linalg.inv(edges))
        self.area = ds.Constant(0.5 * np.abs(np.linalg.det(edges)))
        self.x = ds.State(ds.vec2, self.points, init=points + 0.02 / n * np.sin(3.0 * points[:, ::-1] * n))
        self.v, self.force = ds.State(ds.vec2, self.points), ds.Scratch(ds.vec2, self.points)
        self.energy = ds.Scratch(ds.real)
        self.mu, self.lam = ds.Param(np.array([4.0])), ds.Param(np.array([3.0]))

    @ti.func
    def deformation(self, t, e):
        """Return the deformation gradient of a triangle."""
        a, b, c = (self.x[t, self.corner[e, k]] for k in range(3))
        return ti.Matrix.cols([a - c, b - c]) @ self.inverse[e]

    @ti.func
    def apply(self, t, e, P):
        """Add the forces of a stress to the corners of a triangle."""
        H = -self.area[e] * P @ self.inverse[e].transpose()
        for k in ti.static(range(2)):
            self.force[t, self.corner[e, k]] += ti.Vector([H[0, k], H[1, k]])
            self.force[t, self.corner[e, 2]] -= ti.Vector([H[0, k], H[1, k]])

    @ti.kernel
    def neo(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            log_J = ti.log(F.determinant())
            density = 0.5 * self.mu[0] * ((F.transpose() @ F).trace() - 2.0 - 2.0 * log_J)
            self.energy[t] += self.area[e] * (density + 0.5 * self.lam[0] * log_J**2)

    @ti.kernel
    def neo_force(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            G = F.inverse().transpose()
            self.apply(t, e, self.mu[0] * (F - G) + self.lam[0] * ti.log(F.determinant()) * G)

    @ti.kernel
    def corotated(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            R, _P = ti.polar_decompose(F)
            E = F - R
            stretch = self.mu[0] * (E.transpose() @ E).trace()
            self.energy[t] += self.area[e] * (stretch + 0.5 * self.lam[0] * (F.determinant() - 1.0) ** 2)

    @ti.kernel
    def corotated_force(self, t: ti.i32):
        for e in range(self.count):
            F = self.deformation(t, e)
            R, _P = ti.polar_decompose(F)
            cofactor = ti.Matrix([[F[1, 1], -F[1, 0]], [-F[0, 1], F[0, 0]]])
            self.apply(t, e, 2.0 * self.mu[0] * (F - R) + self.lam[0] * (F.determinant() - 1.0) * cofactor)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(self.points):
            self.v[t + 1, i] = self.v[t, i] + self.dt * self.force[t, i]
            self.x[t + 1, i] = self.x[t, i] + self.dt * self.v[t + 1, i]

    @ti.kernel
    def measure(self, t: ti.i32):
        for i in range(self.points):
            self.cost[None] += self.x[t, i].dot(self.x[t, i]) + self.v[t, i][0] ** 2

    def step(self, t):
        """Add up the forces, and move."""
        if self.by_hand:
            self.kernel(t)
        else:
            ds.gradient_of(self.kernel, wrt=self.x, into=self.force, scale=-1.0)(t)
        self.move(t)

    def terminal_cost(self, t):
        """Ask where the points are and how fast."""
        self.measure(t)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks energies", description=__doc__)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--modes", nargs="+", default=["fused"], choices=["fused", "step", "chunk"])
    options = parser.parse_args(words)
    print_machine(machine())
    ds.init(precision=64, threads=1)
    rows, same = [], True
    for material in ("neo", "corotated"):
        for mode in options.modes:
            pair = [
                ds.Rollout(Block(options.side, material, by_hand), options.steps, mode=mode)
                for by_hand in (True, False)
            ]
            (cost, grads), (other, others) = (rollout.value_and_grad() for rollout in pair)
            same = same and np.allclose(cost, other, rtol=1e-12)
            for key, gradient in grads.items():
                tolerance = 1e-9 * np.abs(gradient).max()
                same = same and np.allclose(others[key], gradient, rtol=0, atol=tolerance)
            rows.append([material, mode, *_times(pair, options.repeats)])
    head = ["energy", "mode", "value", "ratio", "value and gradient", "ratio", "(range)"]
    print_table(head, rows)
    print("costs and gradients agree" if same else "costs or gradients DIFFER")
    return 0 if same else 1


def _times(pair: list[ds.Rollout], repeats: int) -> list[str]:
    """Return milliseconds of the derived forces, and ratios to those by hand, of processor time."""
    cells = []
    for call in ("value", "value_and_grad"):
        times: list[list[float]] = [[], []]
        for _ in range(repeats):
            for rollout, taken in zip(pair, times, strict=True):
                start = time.process_time()
                getattr(rollout, call)()
                taken.append(time.process_time() - start)
        ratios = [b / a for a, b in zip(*times, strict=True)]
        cells += [f"{1e3 * statistics.median(times[1]):.1f} ms", f"{statistics.median(ratios):.2f}"]
    return [*cells, f"{min(ratios):.2f} .. {max(ratios):.2f}"]


if __name__ == "__main__":
    raise SystemExit(main())
