"""The global data access rule: what happens where a kernel writes a place after a kernel of the step read it.

Adjoints are computed from the values that memory holds when the backward pass comes by. A place that was read
and then written holds another value by then. Where that value is needed it has to be kept, which
`program.keeping` does; what cannot be kept, and what iterations side by side would disturb, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from diffsim.compiler.checks.collecting import Access, Collector, Index, runs_once
from diffsim.compiler.checks.diagnostics import raise_all
from diffsim.compiler.checks.findings import Finding, told
from diffsim.compiler.checks.ranges import Times
from diffsim.compiler.ir import Buffer, For, Load, Stage
from diffsim.errors import Diagnostic

__all__ = ["Overwrite", "Survey", "check_access", "survey"]


@dataclass(frozen=True, eq=False)
class Overwrite:
    """A read of a place that is written later.

    Attributes:
        buffer, time, component: What is read.
        read: The read.
        within: A write of the same loop nest that may come after it.
        later: The first write of another nest that comes after it.
    """

    buffer: Buffer
    time: int | None
    component: int
    read: Access
    within: Access | None
    later: Access | None

    @property
    def finding(self) -> Finding:
        """What to tell where nothing can be done about it."""
        write = self.within or self.later
        assert write is not None  # noqa: S101  (see `survey`)
        assert write.where is not None  # noqa: S101  (the library's own writes are not looked at)
        place = (self.buffer, self.time, self.component)
        return Finding("OVERWRITE", *place, write.where, self.read.where, given=self.read.given)


@dataclass
class Survey:
    """What is wrong with the accesses of a step, and which places are written after they were read.

    Attributes:
        found: What is told as it is.
        findings: What breaks a rule.
        overwritten: The reads whose places are written later.
    """

    found: list[Diagnostic] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    overwritten: list[Overwrite] = field(default_factory=list)

    def diagnostics(self) -> list[Diagnostic]:
        """Return what to tell the user."""
        return [*self.found, *told(self.findings)]


def survey(stages: list[Stage], times: Times, given: bool = False) -> Survey:
    """Look at all that the stages of a step read and write.

    Args:
        stages: The stages of one step in order, running costs last; or those of an adjoint.
        times: The steps that they run for, for bounds of indices that depend on `t`.
        given: They are an adjoint that the user wrote: only Workspaces are looked at.
    """
    collector = Collector()
    for number, stage in enumerate(stages):
        collector.stage(number, stage, times)
        if not given:
            for k, later in enumerate(_given_adjoint(stages, number), 1):
                collector.stage(number + k * len(stages), later, times, reads=True)
    result = Survey(collector.found)
    for (buffer, time, component), accesses in collector.places.items():
        if given and buffer.kind != "workspace":
            continue
        if buffer.kind == "state" and time == 1:
            result.findings += _read_ahead(buffer, component, accesses)
        _look(result, buffer, time, component, accesses)
    return result


def check_access(stages: list[Stage], times: Times) -> None:
    """Refuse an adjoint that a user wrote in which one iteration of a parallel loop disturbs another one.

    Args:
        stages: The stages of the adjoint.
        times: The steps that they run for, for bounds of indices that depend on `t`.

    Raises:
        GradientError: A Workspace is written by one iteration while another one reads it.
        TraceError: An index lies outside its field.
    """
    raise_all(survey(stages, times, given=True).diagnostics())


def _given_adjoint(stages: list[Stage], number: int) -> list[Stage]:
    """Return the adjoint that a user wrote of a stage, or of a group that ends with it.

    It runs when later stages have run, and must find what it reads as it was when this one was through.
    """
    stage = stages[number]
    if stage.adjoint is not None:
        return [stage.adjoint()]
    last = number + 1 == len(stages) or stages[number + 1].group is not stage.group
    return stage.group.adjoint() if stage.group is not None and last else []


def _look(result: Survey, buffer: Buffer, time: int | None, component: int, accesses: list[Access]) -> None:
    """Note what accesses to one component of a buffer do to each other."""
    # a write without a place is the library's own, of what no kernel writes
    writes = [(a, a.where) for a in accesses if a.write and a.where is not None]
    judge = _race_within if buffer.kind == "workspace" else _conflict
    told_of: set[int] = set()
    for write, where in writes:
        if write.shared is not None:
            result.findings.append(Finding("RACE", buffer, time, component, where, shared=True))
    for read in (a for a in accesses if not a.write):
        rules = [(judge(read, write), write, where) for write, where in writes]
        for rule, write, where in rules:
            if rule == "RACE" and write.order not in told_of:  # one reader is enough to tell
                told_of.add(write.order)
                result.findings.append(Finding(rule, buffer, time, component, where, read.where))
        late = [write for rule, write, _ in rules if rule == "OVERWRITE"]
        within = next((write for write in late if write.nest == read.nest), None)
        behind = [write for write in late if write.nest != read.nest]
        if late:
            later = min(behind, key=lambda write: write.order, default=None)
            result.overwritten.append(Overwrite(buffer, time, component, read, within, later))


def _read_ahead(buffer: Buffer, component: int, accesses: list[Access]) -> Iterator[Finding]:
    """Find a read at `t + 1` that comes before any write, and not in one loop with a later one."""
    first = min(accesses, key=lambda a: a.order)
    if first.write or first.where is None or (isinstance(first.op, Load) and first.op.changed):
        return
    if not any(a.write and _in_one_loop(first, a) for a in accesses):
        yield Finding("READ-AHEAD", buffer, 1, component, first.where)


def _in_one_loop(a: Access, b: Access) -> bool:
    loops = zip(a.loops, b.loops, strict=False)
    return any(one is other and not one.parallel and not runs_once(one) for one, other in loops)


def _conflict(read: Access, write: Access) -> str | None:
    """Name the rule that is broken where the write may come after the read and hit the same place."""
    if any(_apart(r, w) for r, w in zip(read.indices, write.indices, strict=True)):
        return None
    if any(write.residues.get(colour, k) != k for colour, k in read.residues.items()):
        return None
    if read.nest != write.nest:
        return "OVERWRITE" if write.order > read.order else None
    spans = zip(read.during, write.during, strict=False)
    for (loop, other), (reading, writing) in zip(
        zip(read.loops, write.loops, strict=False), spans, strict=False
    ):
        if loop is not other:
            break
        if not loop.parallel and (writing[1] < reading[0] or _below(read, write, loop)):
            return None
        delays = _delays(read, write, loop)
        if not delays:
            if runs_once(loop):
                continue
            return "RACE" if loop.parallel else "OVERWRITE"
        if delays == {0}:
            continue
        if len(delays) > 1 or any(delay % 1 for delay in delays):
            return None
        if loop.parallel:
            return "RACE"
        return "OVERWRITE" if delays.pop() > 0 else None
    return "OVERWRITE" if write.order > read.order else None


def _delays(read: Access, write: Access, loop: For) -> set[float]:
    """Return, by axis, how many iterations of a loop after the read the write meets the same place.

    A delay between whole numbers means never, and so do two that differ.
    """
    found: set[float] = set()
    for r, w in zip(read.indices, write.indices, strict=True):
        if r.base is loop.index and w.base is loop.index and r.sign == w.sign:
            found.add((r.offset - w.offset) * r.sign)
        elif r.strided is not None and w.strided is not None and r.strided[:2] == w.strided[:2]:
            value, factor, number = r.strided
            if value is loop.index:
                found.add((number - w.strided[2]) / factor)
    return found


def _below(read: Access, write: Access, loop: For) -> bool:
    """Tell whether a read runs over places that earlier iterations wrote, as in `for j in range(i)`."""
    for r, w in zip(read.indices, write.indices, strict=True):
        if w.base is not loop.index or w.sign < 0 or r.base is None or r.sign < 0:
            continue
        for inner, stop in zip(read.loops, read.stops, strict=True):
            ends_below = stop.base is loop.index and stop.sign > 0
            if r.base is inner.index and ends_below and stop.offset - 1 + r.offset < w.offset:
                return True
    return False


def _race_within(read: Access, write: Access) -> str | None:
    """Name the rule that is broken where an iteration of a parallel loop may write what another reads."""
    if read.nest != write.nest or any(_apart(r, w) for r, w in zip(read.indices, write.indices, strict=True)):
        return None
    for loop, other in zip(read.loops, write.loops, strict=False):
        if loop is not other or not loop.parallel:
            return None
        delays = _delays(read, write, loop)
        if len(delays) > 1 or any(delay % 1 for delay in delays):
            return None
        if delays != {0} and not runs_once(loop):
            return "RACE"
    return None


def _apart(a: Index, b: Index) -> bool:
    if a.base is None and b.base is None:
        return a.offset != b.offset
    return a.high < b.low or b.high < a.low
