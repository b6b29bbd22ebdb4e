"""Taichi's reverse mode against our adjoints and against differences, kernel by kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from diffsim import _taichi
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.ir import passes_gradients
from diffsim.compiler.program.program import lower_program
from diffsim.engine.forked import can_fork, forked
from diffsim.engine.indexed import why_not
from diffsim.engine.tape import one_line
from diffsim.errors import StateError
from diffsim.language.trace import Program
from diffsim.plan.planning import adjoint_stages
from diffsim.rollout.audit.bench import Bench, Job, jobs_of
from diffsim.rollout.audit.blame import STACK, Kernel
from diffsim.rollout.audit.report import AuditReport, KernelAudit
from diffsim.rollout.audit.trial import Found, Trial, settled
from diffsim.runtime import RuntimeInfo

__all__ = ["audit"]

_LIMIT = 300.0  # seconds that one kernel may take
_EARLY = 3  # steps into the rollout, where States have begun to move
_VALUES = 1e-9  # relative, of values by Taichi's kernel and by ours
_PHASES = {"begin": "reset", "step": "step", "terminal": "terminal_cost"}


def audit(program: Program, info: RuntimeInfo, steps: int, seed: int = 0) -> AuditReport:
    """Compare, for each kernel alone, Taichi's adjoint and ours with central differences in f64.

    Each kernel is run where a step of the rollout finds it, with every number of its memory moved a little,
    in
    a process of its own: Taichi's adjoints may end it.

    Args:
        program: The trace.
        info: How the runtime was started.
        steps: The horizon.
        seed: Of random numbers.

    Raises:
        StateError: The runtime computes on a GPU.
        TraceError: A kernel cannot be lowered.
        GradientError: A kernel cannot be differentiated by us.
    """
    if not info.on_cpu:
        raise StateError(
            "an audit must run on a CPU, got another backend; call diffsim.init(arch='cpu') and make the "
            "rollout anew"
        )
    exact = dataclasses.replace(info, precision=64)
    with _taichi.default_real("f64"):
        lowered = lower_program(program, "f64", steps)
        stages = adjoint_stages(lowered, "f64", steps, "")
    jobs = jobs_of(stages)
    work = _Work(stages, exact, steps, jobs, seed)
    found: dict[int, KernelAudit] = {}
    deaths: dict[int, list[str]] = {}
    while len(found) < len(jobs):
        missing = [k for k in range(len(jobs)) if k not in found]

        def hear(message: Any) -> None:
            if isinstance(message, BaseException):
                raise message
            found[message[0]] = message[1]

        if can_fork():
            died = forked(lambda say: work(missing, deaths, say), hear, _LIMIT)  # noqa: B023  (used at once)
        else:
            work(missing, deaths, hear)
            died = None
        if died is not None:
            current = next(k for k in missing if k not in found)
            deaths.setdefault(current, []).append(died.how)
            if len(deaths[current]) > 2:
                found[current] = work.told(jobs[current], "died", detail=died.how)
    return AuditReport(tuple(found[k] for k in range(len(jobs))))


class _Work:
    """Look at some kernels of a program, one after the other.

    Args:
        stages: The program and its adjoints, in f64.
        info: How the runtime was started, with that precision.
        steps: The horizon.
        jobs: The kernels.
        seed: Of random numbers.
    """

    def __init__(self, stages: StageSet, info: RuntimeInfo, steps: int, jobs: list[Job], seed: int) -> None:
        self._stages, self._info, self._steps, self._jobs, self._seed = stages, info, steps, jobs, seed
        self._serial = can_fork() and _taichi.started()  # whose threads a fork lacks
        self._running = {id(stage.call) for stage in stages.lowered.running}

    def __call__(self, numbers: list[int], deaths: dict[int, list[str]], say: Callable[[Any], None]) -> None:
        """Look at kernels by their numbers, and tell what was found of each.

        Args:
            numbers: Which ones.
            deaths: How earlier processes died of some of them.
            say: Gets the number, and what was found.
        """
        with _taichi.default_real("f64"):
            bench = Bench(self._stages, self._info, self._steps, self._serial)
            for number in numbers:
                say((number, self._looked_at(bench, self._jobs[number], deaths.get(number, []))))

    def told(self, job: Job, verdict: str, found: Found | None = None, **more: Any) -> KernelAudit:
        """Return what is said of a kernel."""
        phase = "running_cost" if id(job.stage.call) in self._running else _PHASES[job.phase]
        found = found or Found()
        return KernelAudit(
            job.stage.name,
            str(job.stage.where),
            phase,
            verdict,
            error=found.taichis,
            ours=found.ours,
            apart=found.apart,
            ours_right=found.ours_right,
            **more,
        )

    def _looked_at(self, bench: Bench, job: Job, deaths: list[str]) -> KernelAudit:
        if not passes_gradients(job.stage):
            return self.told(job, "not differentiable")
        trial = Trial(bench, job, min(_EARLY, self._steps - 1), self._seed)
        why = why_not(job.stage, bench.lowered)
        if any(buffer.place is not None for buffer in trial.buffers):  # numbers there cannot be moved at will
            return self.told(job, "not compared", detail=why)
        if trial.endless:
            return self.told(job, "not compared", detail=f"{trial.endless} is not finite where it begins")
        if why:
            return self.told(job, "not compared", settled(trial, None), detail=why)
        if len(deaths) > 1:
            return self.told(job, "died", settled(trial, None), detail=deaths[0])
        stack = STACK if deaths else None
        try:
            with _taichi.stack_size(stack):
                kernel = bench.user(job)
                kernel.compile(False)
                kernel.compile(True)
        except Exception as error:  # noqa: BLE001  (whatever Taichi raises)
            return self.told(job, "does not compile", settled(trial, None), detail=one_line(error))
        found = settled(trial, kernel)
        definition = Kernel(job.stage.call)
        if deaths:  # it lives with a larger stack
            family = "A6" if definition.has("A6") else ""
            dead = dataclasses.replace(found, taichis=None)
            return self.told(job, "died", dead, family=family, line=definition.overflow(), detail=deaths[0])
        return self._judged(bench, job, trial, found, definition)

    def _judged(self, bench: Bench, job: Job, trial: Trial, found: Found, definition: Kernel) -> KernelAudit:
        if job.adjoint is not None and found.values > _VALUES:
            return self.told(job, "values differ", found, detail=f"by {found.values:.0e}")
        if found.taichis_right:
            return self.told(job, "right", found)
        if not found.ours_right and found.same:
            same = dataclasses.replace(found, ours=None)
            return self.told(
                job, "unsure", same, detail="both adjoints are one, and differences settle nowhere"
            )

        def cured(change: Any = None, stack: int | None = None) -> bool:
            try:
                with _taichi.stack_size(stack):
                    other = bench.user(job, change=change)
                    other.compile(False)
                    other.compile(True)
                return settled(trial, other).taichis_right
            except Exception:  # noqa: BLE001  (what does not compile cures nothing)
                return False

        family, line = definition.blame(found.replayed, cured)
        return self.told(job, "wrong", found, family=family, line=line)
