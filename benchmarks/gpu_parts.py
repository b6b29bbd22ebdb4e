"""The parts of `gpu`: robots in worlds, programs on grids, and the tests, each within its time."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import contest
from benchmarks.children import stream
from benchmarks.compilers_rows import ROWS, Row, prepare, small
from benchmarks.contenders import Contender, gradient_error

MODES = ("step", "chunk", "fused")
PEERS = ("jax", "warp")
PROGRAMS = ("wave", "mpm", "mpm3")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Clock:
    """How long a part may go on.

    Attributes:
        end: When it must be done, by `time.monotonic`.
    """

    end: float

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.end - time.monotonic())

    def share(self, part: float) -> Clock:
        """Return a clock that ends after a part of what is left."""
        return Clock(time.monotonic() + part * self.left)


def run_mode(options: dict[str, Any], mode: str) -> Iterator[dict[str, Any]]:
    """Run one mode over all numbers of worlds, yielding each row as soon as it is there."""
    import diffsim as ds
    from diffsim.kernels.mass_spring import MassSpring

    ds.init(options["arch"], cache=False)
    for worlds in options["worlds"]:
        row: dict[str, Any] = {"mode": mode, "worlds": worlds}
        sim = MassSpring(options["robot"])
        try:
            began = time.perf_counter()
            rollout = ds.Rollout(
                sim, steps=options["steps"], worlds=worlds, memory=options["memory"], mode=mode
            )
            cost, _ = rollout.value_and_grad([sim.policy])
            rollout.value()
            row["first_s"] = time.perf_counter() - began
            row["compile_s"] = rollout.compile_seconds
            row["cost"] = float(cost if worlds == 1 else cost[0])
            limits = options["repeat"], options["seconds"]
            row["value_s"] = _least(rollout.value, *limits)
            row["both_s"] = _least(functools.partial(rollout.value_and_grad, [sim.policy]), *limits)
            row["bytes"], row["window"] = rollout.plan.total_bytes, rollout.plan.window
            row["recomputation"], row["ran"] = rollout.plan.recomputation, rollout.plan.mode
            rollout.close()
        except (ds.DiffsimError, RuntimeError, MemoryError) as error:
            row["error"] = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield row


def _least(call: Callable[[], Any], repeat: int, limit: float) -> float:
    """Return the least wall time of some calls; each ends with numbers on the host, so the GPU is done."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < repeat and (not times or time.perf_counter() - began < limit):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def robots(options: dict[str, Any], clock: Clock) -> Iterator[dict[str, Any]]:
    """Yield a row for each mode, or peer, and number of robots, as it comes.

    Args:
        options: The command line.
        clock: When to end: what is not reached has a row that says so.
    """
    who = [*options["modes"], *contest.usable(options["peers"])]
    for k, mode in enumerate(who):
        share = clock.share(1.0 / (len(who) - k))
        make = _peer if mode in PEERS else functools.partial(stream, run_mode, limit=share.left)
        done = 0
        try:
            for row in make(options, mode):
                done += 1
                yield row
        except RuntimeError as error:
            at = options["worlds"][min(done, len(options["worlds"]) - 1)]
            yield {"mode": mode, "worlds": at, "error": contest.reason(error)}


def _peer(options: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """Run the robots of another library, one process for each number of them."""
    for worlds in options["worlds"]:
        sizes = {"robot": int(options["robot"]), "worlds": worlds}
        setup = contest.Setup(kind, sizes, options["steps"], arch=options["arch"], threads=None)
        one = Contender(setup, ROWS["worlds16"].make, prepare=prepare, limit=options["longest"])
        try:
            row = {"mode": kind, "worlds": worlds, "ran": kind, "first_s": one.build + one.first}
            row |= {"cost": one.cost / worlds, "bytes": 0, "window": options["steps"], "recomputation": 1.0}
            row |= {
                f"{name}_s": one.seconds(call, 3)
                for name, call in zip(("value", "both"), contest.MEASURES, strict=True)
            }
            row["compile_s"] = max(0.0, row["first_s"] - row["both_s"])
        finally:
            one.close()
        yield row


def programs(options: dict[str, Any], clock: Clock) -> Iterator[dict[str, Any]]:
    """Yield a row for each grid or cloud of particles and whoever runs it, compared with the CPU's.

    Args:
        options: The command line.
        clock: When to end.
    """
    kinds = ["native", *(f"{options['arch']}:{mode}" for mode in options["modes"]), *options["peers"]]
    for k, name in enumerate(options["programs"]):
        share = clock.share(1.0 / (len(options["programs"]) - k))
        row = small(ROWS[name]) if options["small"] else ROWS[name]
        known = [kind for kind in contest.usable(kinds) if kind not in PEERS or kind in row.kinds]
        yield from _program(name, row, known, options, share)


def _program(
    name: str, row: Row, kinds: Sequence[str], options: dict[str, Any], clock: Clock
) -> Iterator[dict[str, Any]]:
    reference: Contender | None = None
    for k, kind in enumerate(kinds):
        found: dict[str, Any] = {"program": name, "kind": kind}
        limit = clock.share(1.0 / (len(kinds) - k)).left
        setup = contest.Setup(kind, row.sizes, row.steps, arch=options["arch"], threads=None)
        try:
            one = Contender(setup, row.make, prepare=prepare, limit=limit)
        except RuntimeError as error:
            yield {**found, "error": contest.reason(error)}
            continue
        try:
            found |= {"first_s": one.build + one.first, "cost": one.cost}
            for call in contest.MEASURES:
                found[f"{call}_s"] = min(one.seconds(call, 1) for _ in range(3))
        except RuntimeError as error:
            found["error"] = contest.reason(error)
        finally:
            one.close()
        reference = reference or one
        yield {**found, **_apart(one, reference, row.tolerance[32])}


def _apart(one: Contender, reference: Contender, tolerance: float) -> dict[str, Any]:
    """Compare what two contenders found; NaN does not agree."""
    cost = abs(one.cost - reference.cost) / abs(reference.cost)
    gradient = gradient_error(one.grads, reference.grads)
    agree = bool(cost <= tolerance and gradient <= tolerance)
    return {"cost_error": cost, "gradient_error": gradient, "agree": agree}


def tests(arch: str, clock: Clock) -> dict[str, Any]:
    """Run the core of the tests on a backend, and return what pytest said at its end."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "core", "-p", "no:cacheprovider", "tests"]
    began = time.monotonic()
    try:
        done = subprocess.run(
            words,
            cwd=_ROOT,
            env={**os.environ, "DIFFSIM_TEST_ARCH": arch},
            capture_output=True,
            text=True,
            timeout=clock.left,
            check=False,
        )
        status, lines = done.returncode, (done.stdout + done.stderr).strip().splitlines()
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        status, lines = 124, (said if isinstance(said, str) else said.decode()).strip().splitlines()
    return {"status": status, "seconds": time.monotonic() - began, "lines": lines[-15:]}
