"""Time an MPM that is written in place against the same with Scratches of its own for what is written over.

Both compute the same numbers; in place the library keeps what the adjoint needs. Value and gradient are timed
in turns in one process, on one thread. `python -m benchmarks versions`
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import taichi as ti

import diffsim as ds
from benchmarks.common import machine, print_machine, print_table
from benchmarks.mpm_simulator import NeoHookeanMPM


class InPlaceMPM(NeoHookeanMPM):
    """The same block with one field for the momentum of the grid and its velocity, and without the time."""

    def __init__(self, particles=6400, grid=128):
        super().__init__(particles, grid)
        del self.momentum

    @ti.kernel
    def p2g(self):
        for p in self.x:
            base = ti.cast(self.x[p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[p] * self.inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            one = ti.Matrix([[1.0, 0.0], [0.0, 1.0]])
            self.F[p] = (one + self.dt * self.C[p]) @ self.F[p]
            F = self.F[p]
            tau = self.mu * (F @ F.transpose() - one) + self.la * ti.log(F.determinant()) * one
            affine = self.mass * self.C[p] - (self.dt * self.volume * 4.0 * self.inv_dx**2) * tau
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = (ti.Vector([i, j]) - fx) * self.dx
                share = w[i][0] * w[j][1]
                self.speed[base[0] + i, base[1] + j] += share * (self.mass * self.v[p] + affine @ dpos)
                self.weight[base[0] + i, base[1] + j] += share * self.mass

    @ti.kernel
    def move_grid(self):
        for i, j in self.weight:
            if self.weight[i, j] > self.least:
                self.speed[i, j] /= self.weight[i, j]
                self.speed[i, j][1] += self.fall
                if i < self.rim and self.speed[i, j][0] < 0.0:
                    self.speed[i, j][0] = 0.0
                if i > self.grid - self.rim and self.speed[i, j][0] > 0.0:
                    self.speed[i, j][0] = 0.0
                if j < self.rim and self.speed[i, j][1] < 0.0:
                    self.speed[i, j][1] = 0.0
                if j > self.grid - self.rim and self.speed[i, j][1] > 0.0:
                    self.speed[i, j][1] = 0.0

    @ti.kernel
    def g2p(self):
        for p in self.x:
            base = ti.cast(self.x[p] * self.inv_dx - 0.5, ti.i32)
            fx = self.x[p] * self.inv_dx - ti.cast(base, ds.real)
            w = [0.5 * (1.5 - fx) ** 2, 0.75 - (fx - 1.0) ** 2, 0.5 * (fx - 0.5) ** 2]
            v = ti.Vector([0.0, 0.0])
            C = ti.Matrix([[0.0, 0.0], [0.0, 0.0]])
            for i, j in ti.static(ti.ndrange(3, 3)):
                dpos = ti.Vector([i, j]) - fx
                g = self.speed[base[0] + i, base[1] + j]
                share = w[i][0] * w[j][1]
                v += share * g
                C += 4.0 * self.inv_dx * share * g.outer_product(dpos)
            self.v[p] = v
            self.C[p] = C
            self.x[p] += self.dt * v

    def step(self, t):
        """Scatter to the grid, move the grid, gather from it."""
        self.p2g()
        self.move_grid()
        self.g2p()


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks versions", description=__doc__)
    parser.add_argument("--particles", type=int, default=6400)
    parser.add_argument("--grid", type=int, default=128)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--modes", nargs="+", default=["fused", "step"], choices=["fused", "step", "chunk"])
    options = parser.parse_args(words)
    print_machine(machine())
    ds.init(precision=64, threads=1)
    rows = []
    same = True
    for mode in options.modes:
        rollouts = [
            ds.Rollout(made(options.particles, options.grid), options.steps, mode=mode)
            for made in (NeoHookeanMPM, InPlaceMPM)
        ]
        (cost, grads), (other_cost, other) = (r.value_and_grad(["v"]) for r in rollouts)
        same = same and np.allclose(cost, other_cost, rtol=1e-12)
        same = same and np.allclose(grads["v"], other["v"], rtol=0, atol=1e-10 * np.abs(grads["v"]).max())
        times: list[list[float]] = [[], []]
        for _ in range(options.repeats):
            for rollout, taken in zip(rollouts, times, strict=True):
                start = time.perf_counter()
                rollout.value_and_grad(["v"])
                taken.append((time.perf_counter() - start) / options.steps * 1e3)
        ratios = [b / a for a, b in zip(*times, strict=True)]
        sizes = [rollout.plan.total_bytes for rollout in rollouts]
        rows.append(
            [
                mode,
                *(f"{statistics.median(taken):.3f} ms" for taken in times),
                f"{statistics.median(ratios):.3f} ({min(ratios):.2f} .. {max(ratios):.2f})",
                *(f"{size / 2**20:.1f} MiB" for size in sizes),
                f"{sizes[1] / sizes[0]:.3f}",
            ]
        )
    head = ["mode", "own, a step", "in place", "time, in place / own", "own", "in place", "bytes"]
    print_table(head, rows)
    print("costs and gradients agree" if same else "costs or gradients DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
