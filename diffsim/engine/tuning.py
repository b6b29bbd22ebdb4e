"""Choosing the mode by measuring: a few steps in each mode that may win, timed after it has compiled.

The mode that was planned stays unless another is clearly faster, so that noise does not change it; a mode is
compiled only where that can be won back in the gradients to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from diffsim import _taichi
from diffsim.engine.executors import Executor
from diffsim.errors import GradientError
from diffsim.plan import Plan
from diffsim.plan.modes import COMPILE_BUDGET, Candidate, Timing, pays, show_seconds
from diffsim.plan.verdict import MARGIN, Verdict

__all__ = ["Bench", "EngineBench", "contest", "survey", "time_steps"]

_LIMIT = 0.5  # seconds for the timing of one mode
_TELLING = 0.02  # seconds of a run from which on it shows that a mode is hopeless
_HOPELESS = 4.0  # times the fastest seconds so far


class Bench(Protocol):
    """Who can compile and time modes."""

    def prepare(self, candidate: Candidate) -> float | str:
        """Compile a mode and compare its gradients with those of mode `step`.

        Args:
            candidate: The mode.

        Returns:
            The seconds that compiling took, or why the mode cannot be used.
        """

    def seconds(self, candidate: Candidate, hopeless: float) -> float:
        """Time a mode that is prepared.

        Args:
            candidate: The mode.
            hopeless: Seconds from which on it need not be known well.

        Returns:
            The seconds of one gradient.
        """


def contest(
    planned: str,
    candidates: Sequence[Candidate],
    bench: Bench,
    iterations: int,
    compiled: Collection[str] = ("step",),
) -> Verdict:
    """Time the planned mode, those that are compiled, and each other that can win back its compilation.

    Args:
        planned: The mode that was planned; it is compiled.
        candidates: All modes with what they are expected to cost.
        bench: Compiles and times.
        iterations: Gradients that will be computed.
        compiled: Other modes that are compiled: `step`, which the planned one was compared with.
    """
    by_mode = {c.mode: c for c in candidates}
    timings: list[Timing] = []
    skipped: dict[str, str] = {}

    def measure(candidate: Candidate) -> None:
        spent = bench.prepare(candidate)
        if isinstance(spent, str):
            skipped[candidate.label] = spent
            return
        best = min((t.seconds for t in timings), default=float("inf"))
        seconds = bench.seconds(candidate, _HOPELESS * best)
        timings.append(Timing(candidate.mode, candidate.chunk, spent, seconds))

    for mode in dict.fromkeys((planned, *compiled)):
        measure(by_mode[mode])
    scale = timings[-1].seconds / by_mode[timings[-1].mode].seconds  # this machine, against what was expected
    others = [c for c in candidates if c.mode not in (planned, *compiled)]
    for candidate in sorted(others, key=lambda c: c.seconds):
        best = min(t.seconds for t in timings)
        expected = scale * candidate.seconds
        if expected * MARGIN > best:
            skipped[candidate.label] = f"about {show_seconds(expected)} per gradient expected"
        elif candidate.compile_seconds > COMPILE_BUDGET or not pays(
            candidate.compile_seconds, best, expected, iterations
        ):
            took = show_seconds(candidate.compile_seconds)
            skipped[candidate.label] = f"about {took} to compile, for {show_seconds(expected)} per gradient"
        else:
            measure(candidate)
    return Verdict(tuple(timings), skipped)


def survey(candidates: Iterable[Candidate], bench: Bench, longest: float) -> Verdict:
    """Time every mode, for a table; nothing is chosen yet.

    Args:
        candidates: All modes with what they are expected to cost.
        bench: Compiles and times.
        longest: Seconds that a mode may be expected to compile.
    """
    timings: list[Timing] = []
    skipped: dict[str, str] = {}
    for candidate in candidates:
        if candidate.compile_seconds > longest:
            skipped[candidate.label] = f"about {show_seconds(candidate.compile_seconds)} to compile"
            continue
        compiled = bench.prepare(candidate)
        if isinstance(compiled, str):
            skipped[candidate.label] = compiled
            continue
        seconds = bench.seconds(candidate, float("inf"))
        timings.append(Timing(candidate.mode, candidate.chunk, compiled, seconds))
    return Verdict(tuple(timings), skipped)


def time_steps(
    run: Callable[[int], object],
    first: int,
    most: int,
    hopeless: float = float("inf"),
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the seconds per step of a run, from as many steps as take a moment.

    Args:
        run: Runs so many steps forward and backward, and waits for them.
        first: How many steps to begin with.
        most: How many steps there may be.
        hopeless: Seconds per step from which on it need not be known well.
        clock: Tells the time [s].
    """

    def once(n: int) -> float:
        start = clock()
        run(n)
        return clock() - start

    n, spent = min(first, most), 0.0
    while True:
        took = once(n)
        spent += took
        if took > _TELLING and took / n > hopeless:
            return took / n
        more = min(most, 4 * n)
        if more == n or spent + took / n * more > _LIMIT:
            break
        n = more
    for _ in range(2):
        if spent + took > _LIMIT:
            break
        again = once(n)
        spent, took = spent + again, min(took, again)
    return took / n


class EngineBench:
    """Prepares and times the modes of an engine.

    Args:
        plan: What was planned.
        executor: Gives what runs a mode.
        differs: Tells whether the gradients of a mode differ from those of mode `step`.
        trusted: Modes that need not be compared.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Callable[[Candidate], Executor],
        differs: Callable[[str], bool],
        trusted: Collection[str],
    ) -> None:
        self._plan, self._executor, self._differs, self._trusted = plan, executor, differs, trusted

    def prepare(self, candidate: Candidate) -> float | str:
        """Compile a mode and compare its gradients with those of mode `step`."""
        executor = self._executor(candidate)
        if candidate.mode not in self._trusted:
            try:
                if self._differs(candidate.mode):
                    return "its gradients differ from those of step"
            except GradientError as error:  # the guard's: nobody asked for this mode
                return " ".join(str(error).split())
        else:  # `step`, which nothing may have been compared with yet
            self._run(executor, 1)
        return executor.cost_seconds

    def seconds(self, candidate: Candidate, hopeless: float) -> float:
        """Time a mode on steps from the beginning of the horizon."""
        executor, plan = self._executor(candidate), self._plan
        whole = plan.steps * (1.0 + plan.recomputation) / 2.0
        first, most = max(1, candidate.chunk), min(plan.window, plan.steps)
        return whole * time_steps(lambda n: self._run(executor, n), first, most, hopeless / whole)

    @staticmethod
    def _run(executor: Executor, n: int) -> None:
        executor.gradient(0, n, True)
        _taichi.wait()
