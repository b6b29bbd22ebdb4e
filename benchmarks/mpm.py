"""Time value and gradient of an elastic block: plain Taichi, diffsim fused, JAX, Warp, one thread.

MLS-MPM in the plane; the gradient is that with respect to the particles' first velocities. All run in one go,
in turns, after their costs and gradients were compared. `python -m benchmarks mpm`
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import contest
from benchmarks.contenders import Program
from benchmarks.mpm_problem import draw

SIZES = {"particles": 6400, "grid": 128}


def make(setup: contest.Setup) -> Program:
    """Build a contender."""
    return {"plain": _plain, "jax": _jax, "warp": _warp}.get(setup.kind, _diffsim)(setup)


def _problem(setup: contest.Setup) -> tuple[NDArray[Any], NDArray[Any], float]:
    return draw(setup.sizes["particles"], np.float64 if setup.precision == 64 else np.float32)


def _plain(setup: contest.Setup) -> Program:
    from benchmarks.plain_taichi import start_taichi
    from benchmarks.plain_taichi_mpm import PlainMPM

    start_taichi(setup.arch, setup.precision, setup.threads, setup.cache)
    program = PlainMPM(*_problem(setup), setup.sizes["grid"], setup.steps)
    return Program(program.value, program.value_and_grad)


def _diffsim(setup: contest.Setup) -> Program:
    from benchmarks.mpm_simulator import NeoHookeanMPM

    return contest.diffsim_program(setup, lambda: NeoHookeanMPM(**setup.sizes), "v")


def _jax(setup: contest.Setup) -> Program:
    contest.one_thread_of_jax(setup)
    from benchmarks.jax_mpm import make_program

    return Program(*make_program(*_problem(setup), setup.sizes["grid"], setup.steps))


def _warp(setup: contest.Setup) -> Program:
    from benchmarks.warp_mpm import make_program

    grid = setup.sizes["grid"]
    return Program(*make_program(*_problem(setup), grid, setup.steps, setup.device, setup.cache))


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    parser = contest.parser("mpm", __doc__, SIZES, 64, ("plain", "fused", "jax", "warp"))
    options = parser.parse_args(words)
    contest.check(options, parser, list(SIZES))
    return contest.run(options, list(SIZES), make, 1e-4 if options.precision == 32 else 1e-9)


if __name__ == "__main__":
    sys.exit(main())
