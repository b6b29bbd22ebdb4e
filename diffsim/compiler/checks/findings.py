"""What the access rules find, component by component, and how it is told: once for each place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diffsim.compiler.ir import Buffer, Location
from diffsim.errors import Diagnostic

__all__ = ["Finding", "told"]


@dataclass(frozen=True)
class Finding:
    """A rule that accesses to one component of a field break.

    Attributes:
        rule: Its code.
        buffer, time, component: What is accessed.
        where: The write; of READ-AHEAD the read.
        read: The read that the write disturbs.
        shared: Every iteration stores at one place.
        given: The read is of an adjoint that the user wrote.
    """

    rule: str
    buffer: Buffer
    time: int | None
    component: int
    where: Location
    read: Location | None = None
    shared: bool = False
    given: bool = False

    def one_with(self, other: Finding) -> bool:
        """Tell whether two findings break one rule with one field in one function."""
        return (self.rule, self.buffer, self.time, self.where.file, self.where.function) == (
            other.rule,
            other.buffer,
            other.time,
            other.where.file,
            other.where.function,
        )


def told(findings: Iterable[Finding]) -> list[Diagnostic]:
    """Return what to tell: components of a vector or matrix that are treated alike are told of together."""
    groups: list[list[Finding]] = []
    for finding in findings:
        alike = [g for g in groups if finding.one_with(g[0])]
        on_line = [g for g in alike if any(f.where.line == finding.where.line for f in g)]
        apart = [g for g in alike if all(f.component != finding.component for f in g)]
        if on_line or apart:
            (on_line or apart)[0].append(finding)
        else:
            groups.append([finding])
    for group in groups:
        group.sort(key=_position)
    return [_diagnostic(group) for group in sorted(groups, key=lambda group: _position(group[0]))]


def _position(finding: Finding) -> tuple[str, int, int]:
    return finding.where.file, finding.where.line, finding.where.column


def _diagnostic(group: list[Finding]) -> Diagnostic:
    first = group[0]
    place = _element(first.buffer, first.time) + _components(group)
    return Diagnostic(first.rule, str(first.where), _MESSAGES[_kind(first)](place, first))


def _kind(finding: Finding) -> str:
    if finding.shared:
        return "shared"
    if finding.given:
        return "given"
    return "done" if finding.buffer.kind == "done" else finding.rule


def _element(buffer: Buffer, time: int | None) -> str:
    if buffer.kind in ("done", "workspace"):
        return str(buffer.label)
    return f"{buffer.source.label} [{f't + {time}' if time else 't'}, ...]"


def _components(group: list[Finding]) -> str:
    """Name the components of a vector or matrix that are meant, and their lines where those are several."""
    buffer = group[0].buffer
    if buffer.components == 1:
        return ""
    numbers = sorted({f.component for f in group})
    lines = sorted({f.where.line for f in group})
    names = [_component(buffer, k) for k in numbers]
    text = "all components" if len(names) == buffer.components else f"component{_listed(names)}"
    return f" ({text}{f', line{_listed(list(map(str, lines)))}' if len(lines) > 1 else ''})"


def _component(buffer: Buffer, number: int) -> str:
    shape = buffer.source.type.shape
    return str(number) if len(shape) < 2 else f"[{number // shape[1]}, {number % shape[1]}]"


def _listed(names: list[str]) -> str:
    return f" {names[0]}" if len(names) == 1 else f"s {', '.join(names[:-1])} and {names[-1]}"


_MESSAGES = {
    "done": lambda place, f: (
        f"{place} must not be set after it was read (at {f.read}), or by another iteration: a step that is "
        "recomputed would read another value; read it in a later kernel, or in running_cost"
    ),
    "RACE": lambda place, f: (
        f"{place} must not be written by one iteration of a kernel's outermost loop and read by another (at "
        f"{f.read}), since iterations run side by side; split the loop into two kernels, or put "
        "ti.loop_config(serialize=True) before it"
    ),
    "OVERWRITE": lambda place, f: (
        f"{place} must not be written after it was read (at {f.read}) in a loop of no known length: what it "
        "was cannot be kept for the adjoint; bound the loop by range(ds.at_most(n, 64)), or write the new "
        "value to another field (a Scratch)"
    ),
    "given": lambda place, f: (
        f"{place} must not be written after it was read by a kernel whose adjoint is one of your own, "
        f"which reads it (at {f.read}) when it holds another number; write the new value to another field"
    ),
    "shared": lambda place, f: (
        f"{place} must be stored by one iteration of a kernel's outermost loop, got every iteration storing "
        "a value of its own at one place; use the loop's index in the subscript, or add with +="
    ),
    "READ-AHEAD": lambda place, f: (
        f"{place} must be written before it is read, got a read first; call the kernel that writes it "
        "earlier in step, or read [t, ...]"
    ),
}
