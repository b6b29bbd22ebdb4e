"""The programs that a benchmark compares, each in a process of its own.

A process of its own, because a tape clears the gradients of the whole Taichi program it runs in, and because
each shall have its own compiler state, threads and memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
NAMES = ("plain", "step", "fused")


@dataclass(frozen=True)
class Setup:
    """What a contender runs.

    Attributes:
        kind: `plain`, `jax`, `warp`, `c`, or a mode of diffsim.
        robot: A number, a name or a path.
        steps: Time steps.
        precision: 32 or 64.
        arch: `cpu` or `cuda`.
        threads: CPU threads, None for all.
        cache: Take compiled kernels from Taichi's cache on disk, and keep them there.
        weights: The controller's weights, f64.
    """

    kind: str
    robot: str
    steps: int
    precision: int = 32
    arch: str = "cpu"
    threads: int | None = None
    cache: bool = True
    weights: Arrays = field(default_factory=dict)

    @property
    def typed(self) -> Arrays:
        """Return the weights at the precision."""
        real = np.float64 if self.precision == 64 else np.float32
        return {name: array.astype(real) for name, array in self.weights.items()}


class Program:
    """Two functions of no arguments: the cost, and the cost with its gradient."""

    def __init__(
        self, value: Callable[[], float], value_and_grad: Callable[[], tuple[float, Arrays]]
    ) -> None:
        self.value, self.value_and_grad = value, value_and_grad


def _plain(setup: Setup) -> Program:
    from benchmarks.plain_taichi import start_taichi
    from benchmarks.plain_taichi_mass_spring import PlainMassSpring
    from diffsim.kernels.mass_spring import load_robot

    start_taichi(setup.arch, setup.precision, setup.threads, setup.cache)
    program = PlainMassSpring(load_robot(setup.robot), setup.typed, setup.steps)
    return Program(program.value, program.value_and_grad)


def _diffsim(setup: Setup) -> Program:
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    ds.init(setup.arch, setup.precision, threads=setup.threads, cache=setup.cache)
    sim = MassSpring(setup.robot)
    for name, array in setup.weights.items():
        getattr(sim.policy, name).set(array)
    rollout = ds.Rollout(sim, steps=setup.steps, mode=setup.kind)
    if rollout.plan.mode != setup.kind:
        raise RuntimeError(f"mode must be {setup.kind}, got {rollout.plan.mode}")

    def value_and_grad() -> tuple[float, Arrays]:
        cost, grads = rollout.value_and_grad([sim.policy])
        return cost, {key.removeprefix("policy."): array for key, array in grads.items()}

    return Program(rollout.value, value_and_grad)


def _jax(setup: Setup) -> Program:
    from benchmarks.jax_mass_spring import make_program
    from diffsim.kernels.mass_spring import load_robot

    return Program(*make_program(load_robot(setup.robot), setup.typed, setup.steps))


def _warp(setup: Setup) -> Program:
    from benchmarks.warp_mass_spring import make_program
    from diffsim.kernels.mass_spring import load_robot

    where = setup.arch, setup.cache
    return Program(*make_program(load_robot(setup.robot), setup.typed, setup.steps, None, *where))


def _c(setup: Setup) -> Program:
    from benchmarks.c_mass_spring import make_program
    from diffsim.kernels.mass_spring import load_robot

    return Program(*make_program(load_robot(setup.robot), setup.typed, setup.steps))


def make_mass_spring(setup: Setup) -> Program:
    """Build the mass-spring program of a kind."""
    made = {"plain": _plain, "jax": _jax, "warp": _warp, "c": _c}
    return made.get(setup.kind, _diffsim)(setup)


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def _serve(
    pipe: Any, setup: Any, make: Callable[[Any], Program], prepare: Callable[[Any], None] | None
) -> None:
    """Build the program, then answer requests until there are none."""
    try:
        if prepare is not None:
            prepare(setup)
        began = time.perf_counter()
        program = make(setup)
        built = time.perf_counter()
        cost, grads = program.value_and_grad()
        first = time.perf_counter()
        program.value()
        pipe.send((cost, grads, built - began, first - built))
        while (request := pipe.recv()) is not None:
            name, calls, clock = request
            function, read = getattr(program, name), CLOCKS[clock]
            began = read()
            for _ in range(calls):
                function()
            pipe.send((read() - began) / calls)
    except EOFError:
        pass  # the parent is gone
    except Exception as error:  # noqa: BLE001  (the parent raises it)
        pipe.send(error)


class Contender:
    """A program in a process of its own, ready to be timed.

    Args:
        setup: What it runs, with its `kind`.
        make: Builds the program from that, in the other process.
        clock: What is read: `wall`, or the `processor` time of all threads of the process. With one thread
            that is the same, less what other processes take from the machine.
        prepare: Called there before the clock of `build` starts: imports, where they shall not count.
        limit: Seconds that an answer may take; None for as long as it wants.

    Raises:
        RuntimeError: The program could not be built, took too long, or its process died.

    Attributes:
        cost: The cost.
        grads: Its gradient.
        build: Seconds until it was set up: imports, start of Taichi, tracing, fields.
        first: Seconds that the first value and gradient took: compiling and running.
    """

    def __init__(
        self,
        setup: Any,
        make: Callable[[Any], Program] = make_mass_spring,
        clock: str = "wall",
        prepare: Callable[[Any], None] | None = None,
        limit: float | None = None,
    ) -> None:
        self.setup, self.clock, self._limit = setup, clock, limit
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, setup, make, prepare), daemon=True)
        self._process.start()
        other.close()
        self.cost, self.grads, self.build, self.first = self._answer()

    def _answer(self) -> Any:
        if self._limit is not None and not self._pipe.poll(self._limit):
            self._process.terminate()
            raise RuntimeError(f"{self.setup.kind} was not done within {self._limit:.0f} s")
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.setup.kind} died with status {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise RuntimeError(f"{self.setup.kind} failed") from answer
        return answer

    def seconds(self, name: str, calls: int) -> float:
        """Return the seconds of one call of `value` or `value_and_grad`, averaged over some."""
        self._pipe.send((name, calls, self.clock))
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()


def flat(grads: Arrays) -> NDArray[np.float64]:
    """Return gradients as one vector, in the order of their names."""
    return np.concatenate([np.ravel(grads[name]).astype(np.float64) for name in sorted(grads)])


def gradient_error(mine: Arrays, reference: Arrays) -> float:
    """Return the length of the difference of two gradients, relative to that of the second."""
    difference = np.linalg.norm(flat(mine) - flat(reference))
    return float(difference / np.linalg.norm(flat(reference)))
