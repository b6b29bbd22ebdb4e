"""What an audit found, kernel by kernel."""

from __future__ import annotations

from dataclasses import dataclass

from diffsim.rollout.audit.traps import FAMILIES
from diffsim.view.cards import card, paragraph, table

__all__ = ["AuditReport", "KernelAudit"]

_HEAD = ("kernel", "Taichi's adjoint", "ours", "why")


@dataclass(frozen=True)
class KernelAudit:
    """What was found out about one kernel.

    Attributes:
        name: The kernel, with the class of its owner.
        where: Its definition.
        phase: `reset`, `step`, `running_cost` or `terminal_cost`.
        verdict: Of Taichi's adjoint. `right`; `wrong`, silently; `died`: compiling or running it ended the
            process; `does not compile`; `values differ`: already the kernel computes something else than
            ours; `not differentiable`: gradients flow through nothing that the kernel writes; `not compared`:
            Taichi cannot run it as it stands; `unsure`: differences settle for neither adjoint.
        family: That of the trap, as `A3`; empty where none is known.
        line: Where the trap is, or the kernel.
        error: Of Taichi's adjoint, relative, against central differences in f64; None where there is none.
        ours: Of ours; None where there is none.
        apart: How far the two are from each other.
        detail: What Taichi or the system said, or why there was nothing to compare.
    """

    name: str
    where: str
    phase: str
    verdict: str
    family: str = ""
    line: str = ""
    error: float | None = None
    ours: float | None = None
    apart: float = 0.0
    detail: str = ""
    ours_right: bool = True

    @property
    def wrong(self) -> bool:
        """Tell whether Taichi's adjoint misleads or kills."""
        return self.verdict in ("wrong", "died", "values differ")

    @property
    def why(self) -> str:
        """Say what is known of the trap, and what Taichi or the system said."""
        told = [FAMILIES.get(part, "") for part in self.family.split(" and ")]
        return "; ".join(part for part in [*told, self.detail] if part)

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of a table."""
        family = f" ({self.family})" if self.family else ""
        error = f" {self.error:.0e}" if self.error is not None and self.verdict in ("right", "wrong") else ""
        ours = "none" if self.ours is None else f"{'right' if self.ours_right else 'WRONG'} {self.ours:.0e}"
        place = f"{self.line or self.where}: " if self.wrong else ""
        return self.name, f"{self.verdict}{family}{error}", ours, (place + self.why).rstrip(": ")


@dataclass(frozen=True)
class AuditReport:
    """What an audit found; print it.

    Attributes:
        kernels: What was found of each kernel, in the order in which they run.
    """

    kernels: tuple[KernelAudit, ...]

    @property
    def wrong(self) -> tuple[KernelAudit, ...]:
        """Return the kernels that Taichi's reverse mode gets wrong, or dies of."""
        return tuple(kernel for kernel in self.kernels if kernel.wrong)

    @property
    def ours_wrong(self) -> tuple[KernelAudit, ...]:
        """Return the kernels whose adjoint by diffsim disagrees with differences; there should be none."""
        return tuple(kernel for kernel in self.kernels if not kernel.ours_right)

    @property
    def passed(self) -> bool:
        """Tell whether this library's adjoints all agree with differences."""
        return not self.ours_wrong

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        count, wrong = len(self.kernels), self.wrong
        told = f"Taichi's reverse mode is wrong on {len(wrong)} of {count} kernel(s)"
        if not wrong:
            compared = sum(k.verdict == "right" for k in self.kernels)
            told = f"Taichi's reverse mode is right on {compared} of {count} kernel(s), and wrong on none"
        ours = "ours agree with differences on all"
        if all(k.ours is None for k in self.kernels):
            ours = "none of ours could be compared with differences"
        if not self.passed:
            names = ", ".join(k.name for k in self.ours_wrong)
            ours = f"OURS DISAGREE with differences on {names}: please report it"
        return f"{told}; {ours}"

    def __str__(self) -> str:
        lines = [_HEAD, *(kernel.cells() for kernel in self.kernels)]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        padded = (
            "  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3]]).rstrip()
            for line in lines
        )
        return "\n".join([*padded, self.sentence])

    def _repr_html_(self) -> str:
        return card(
            "Each kernel's adjoint alone",
            table(_HEAD, (kernel.cells() for kernel in self.kernels)),
            paragraph(self.sentence),
        )
