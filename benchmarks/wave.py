"""Time value and gradient of a wave equation: plain Taichi, diffsim fused, JAX, Warp, C, on one thread each.

The gradient is that with respect to the initial height. All run in one go, in turns, after their costs and
gradients were compared. `python -m benchmarks wave`
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import compiled, contest
from benchmarks.contenders import Program
from benchmarks.wave_problem import KEPT, SPEED, draw

Both = Callable[[], tuple[float, dict[str, NDArray[Any]]]]
SIZES = {"grid": 256}


def make(setup: contest.Setup) -> Program:
    """Build a contender."""
    program = {"plain": _plain, "jax": _jax, "warp": _warp, "c": _c}.get(setup.kind, _diffsim)(setup)
    whole = program.value_and_grad

    def inner() -> tuple[float, dict[str, NDArray[Any]]]:
        cost, gradient = whole()
        # The rim's own initial height is nobody's business: some keep it at that height, some at zero.
        return cost, {"u": gradient["u"][1:-1, 1:-1]}

    return Program(program.value, inner)


def _problem(setup: contest.Setup) -> tuple[NDArray[Any], NDArray[Any]]:
    return draw(setup.sizes["grid"], np.float64 if setup.precision == 64 else np.float32)


def _plain(setup: contest.Setup) -> Program:
    from benchmarks.plain_taichi import start_taichi
    from benchmarks.plain_taichi_wave import PlainWave

    start_taichi(setup.arch, setup.precision, setup.threads, setup.cache)
    program = PlainWave(*_problem(setup), setup.steps)
    return Program(program.value, program.value_and_grad)


def _diffsim(setup: contest.Setup) -> Program:
    from benchmarks.wave_simulator import Wave

    return contest.diffsim_program(setup, lambda: Wave(setup.sizes["grid"]), "u")


def _jax(setup: contest.Setup) -> Program:
    contest.one_thread_of_jax(setup)
    from benchmarks.jax_wave import make_program

    return Program(*make_program(*_problem(setup), setup.steps))


def _warp(setup: contest.Setup) -> Program:
    from benchmarks.warp_wave import make_program

    return Program(*make_program(*_problem(setup), setup.steps, setup.device, setup.cache))


def _c(setup: contest.Setup) -> Program:
    library = compiled.load("wave.c", setup.precision)
    initial, target = _problem(setup)
    n = len(initial)
    u = np.zeros((setup.steps + 1, n, n), initial.dtype)
    u[0] = initial
    ring, gradient = np.zeros((3, n, n), u.dtype), np.zeros((n, n), u.dtype)
    counts, factors = (
        (ctypes.c_int(n), ctypes.c_int(setup.steps)),
        (ctypes.c_double(SPEED), ctypes.c_double(KEPT)),
    )
    fields = [np.ctypeslib.as_ctypes(array.reshape(-1)) for array in (u, target, ring, gradient)]
    for function in (library.value, library.value_and_grad):
        function.restype = ctypes.c_double

    def value_and_grad() -> tuple[float, dict[str, NDArray[Any]]]:
        return float(library.value_and_grad(*counts, *factors, *fields)), {"u": gradient}

    return Program(lambda: float(library.value(*counts, *factors, *fields[:2])), value_and_grad)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where costs or gradients differ."""
    parser = contest.parser("wave", __doc__, SIZES, 256, ("plain", "fused", "jax", "warp", "c"))
    options = parser.parse_args(words)
    contest.check(options, parser, list(SIZES))
    return contest.run(options, list(SIZES), make, 1e-4 if options.precision == 32 else 1e-10)


if __name__ == "__main__":
    sys.exit(main())
