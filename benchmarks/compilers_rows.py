"""The programs that `compilers` compares, and who runs each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import contest, mpm, wave
from benchmarks import mass_spring_problem as robots
from benchmarks.contenders import Program

TIGHT = {32: 1e-4, 64: 1e-9}
AMPLIFIED = {32: 1e-3, 64: 1e-9}  # of robots, whose impacts amplify rounding, and of a million steps


@dataclass(frozen=True)
class Row:
    """A program, and who runs it.

    Attributes:
        title: What it is called in the table.
        make: Builds a contender's program from its setup.
        kinds: Who runs it; the first of them that is there is what ratios are to.
        sizes: The sizes of the problem.
        steps: Time steps.
        small: Sizes and steps to try the command with.
        bars: The least time of a contender, relative to that of the first, that diffsim is held to.
        tolerance: The largest relative difference of costs and gradients, by precision.
    """

    title: str
    make: Callable[[contest.Setup], Program]
    kinds: tuple[str, ...]
    sizes: dict[str, int]
    steps: int
    small: dict[str, int]
    bars: Mapping[str, float]
    tolerance: Mapping[int, float] = field(default_factory=lambda: TIGHT)

    @property
    def worlds(self) -> int:
        """How many robots the times are divided by."""
        return self.sizes.get("worlds", 1)


def prepare(setup: contest.Setup) -> None:
    """Import what a contender is made of, so that its first call does not count that."""
    if setup.kind == "jax":
        contest.one_thread_of_jax(setup)
        import jax
        import jax.numpy  # noqa: F401
    if setup.kind == "warp":
        from benchmarks.warp_program import start_warp

        start_warp(setup.device, setup.cache)
    import diffsim.kernels.mass_spring
    import diffsim.kernels.smoke  # noqa: F401


def make_robot(setup: contest.Setup) -> Program:
    """Build a contender that runs one robot, or as many as there are worlds."""
    from diffsim.kernels.mass_spring import load_robot

    robot, worlds = load_robot(setup.sizes["robot"]), setup.sizes.get("worlds")
    drawn = robots.draw_weights(len(robot.points), len(robot.springs))
    weights = {name: array.astype(setup.real) for name, array in drawn.items()}
    starts = robots.draw_starts(robot.points, worlds) if worlds else None
    if setup.kind == "jax":
        from benchmarks.jax_mass_spring import make_program

        return Program(*make_program(robot, weights, setup.steps, starts))
    if setup.kind == "warp":
        from benchmarks import warp_mass_spring

        where = setup.device, setup.cache
        return Program(*warp_mass_spring.make_program(robot, weights, setup.steps, starts, *where))
    if setup.kind == "c":
        from benchmarks import c_mass_spring

        return Program(*c_mass_spring.make_program(robot, weights, setup.steps, starts))
    if setup.kind == "plain":
        from benchmarks.plain_taichi import start_taichi
        from benchmarks.plain_taichi_mass_spring import PlainMassSpring

        start_taichi(setup.arch, setup.precision, setup.threads, setup.cache)
        program = PlainMassSpring(robot, weights, setup.steps)
        return Program(program.value, program.value_and_grad)
    keys = [f"policy.{name}" for name in weights]
    return contest.diffsim_program(setup, lambda: _robots(robot, drawn, starts), keys, worlds or 1)


def _robots(robot: Any, weights: dict[str, NDArray[Any]], starts: NDArray[Any] | None) -> Any:
    """Make the simulator of one robot, or of many that start in places of their own."""
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    sim = MassSpring(robot)
    if starts is not None:
        sim.x = ds.State(ds.vec2, robot.n_points, per_world=True)
        sim.x.set(starts)
    for name, array in weights.items():
        getattr(sim.policy, name).set(array)
    return sim


def make_smoke(setup: contest.Setup) -> Program:
    """Build a contender that simulates smoke, with sweeps of Jacobi's iteration."""
    from benchmarks.smoke_problem import DT, draw

    sweeps = setup.sizes["sweeps"]
    if setup.kind not in ("jax", "plain"):
        from diffsim.kernels.smoke import Smoke, SmokeConfig

        n = setup.sizes["n"]
        config = SmokeConfig(n=n, dt=DT, advection="semi-lagrangian", pressure="jacobi", sweeps=sweeps)
        u, v, density, target = draw(n)
        return contest.diffsim_program(setup, lambda: Smoke(config, (u, v), density, target), ["u", "v"])
    u, v, density, target = draw(setup.sizes["n"], setup.real)
    if setup.kind == "jax":
        from benchmarks.jax_smoke import make_program

        return Program(*make_program(u, v, density, target, sweeps, setup.steps))
    from benchmarks.plain_taichi import start_taichi
    from benchmarks.plain_taichi_smoke import PlainSmoke

    start_taichi(setup.arch, setup.precision, setup.threads, setup.cache)
    program = PlainSmoke(u, v, density, target, sweeps, setup.steps)
    return Program(program.value, program.value_and_grad)


def make_block(setup: contest.Setup) -> Program:
    """Build a contender that throws an elastic block in space."""
    from benchmarks.sparse_problem import DT, VELOCITY, block, box

    particles = setup.sizes["particles"]
    way = tuple(setup.steps * DT * speed for speed in VELOCITY)
    room = box(particles, (way[0], way[1], way[2]))
    if setup.kind == "warp":
        from benchmarks.warp_mpm3 import make_program

        x = block(particles)[0].astype(setup.real)
        v = np.tile(np.asarray(VELOCITY, setup.real), (particles, 1))
        return Program(*make_program(x, v, room, setup.steps, setup.device, setup.cache))
    from benchmarks.sparse_simulator import FlyingBlock

    return contest.diffsim_program(setup, lambda: FlyingBlock(particles, room, VELOCITY), "mpm.v")


def make_chain(setup: contest.Setup) -> Program:
    """Build a contender that runs a chain of masses."""
    from benchmarks import c_chain, jax_chain
    from benchmarks.chain_problem import draw

    masses = setup.sizes["masses"]
    if setup.kind in ("jax", "c"):
        x, v, stiffness, target = draw(masses, setup.real)
        make = {"jax": jax_chain, "c": c_chain}[setup.kind].make_program
        return Program(*make(x, v, stiffness, target, setup.steps))
    from benchmarks.chain_simulator import Chain

    return contest.diffsim_program(setup, lambda: Chain(masses), ["x", "v", "stiffness"])


def _worlds(worlds: int) -> Row:
    return Row(
        f"{worlds} worlds",
        make_robot,
        (*contest.COMPILERS, "c", "jax", "warp"),
        {"robot": 1, "worlds": worlds},
        682,
        {"robot": 0, "worlds": 3, "steps": 6},
        {"c": 1.0, "jax": 1.0},
        AMPLIFIED,
    )


ROWS = {
    "robot": Row(
        "robot",
        make_robot,
        (*contest.COMPILERS, "c", "jax", "warp", "plain"),
        {"robot": 1},
        682,
        {"robot": 0, "steps": 6},
        {"c": 1 / 1.5, "jax": 1.5},
        AMPLIFIED,
    ),
    "wave": Row(
        "wave",
        wave.make,
        (*contest.COMPILERS, "c", "jax", "warp"),
        {"grid": 256},
        256,
        {"grid": 12, "steps": 6},
        {"c": 1 / 2, "jax": 1.3},
    ),
    "mpm": Row(
        "MPM",
        mpm.make,
        (*contest.COMPILERS, "jax", "warp", "plain"),
        {"particles": 6400, "grid": 128},
        64,
        {"particles": 30, "grid": 12, "steps": 4},
        {"plain": 3.0},
    ),
    "mpm3": Row(
        "MPM in space",
        make_block,
        (*contest.COMPILERS, "warp"),
        {"particles": 30_000},
        32,
        {"particles": 27, "steps": 3},
        {},
    ),
    "smoke": Row(
        "smoke",
        make_smoke,
        (*contest.COMPILERS, "jax", "plain"),
        {"n": 110, "sweeps": 60},
        20,
        {"n": 6, "sweeps": 3, "steps": 2},
        {"jax": 3.0},
    ),
    "chain": Row(
        "chain",
        make_chain,
        (*contest.COMPILERS, "c", "jax"),
        {"masses": 32},
        1_000_000,
        {"masses": 5, "steps": 12},
        {"c": 1 / 2},
        AMPLIFIED,
    ),
    "worlds16": _worlds(16),
    "worlds256": _worlds(256),
}


def small(row: Row) -> Row:
    """Return a row at the size that the command is tried with, held to nothing."""
    sizes = {name: row.small[name] for name in row.sizes}
    return replace(row, sizes=sizes, steps=row.small["steps"], bars={})


def setup_of(row: Row, kind: str, precision: int, mode: str) -> contest.Setup:
    """Return what a contender of a row runs, on one thread."""
    return contest.Setup(kind, row.sizes, row.steps, precision, mode=mode)
