"""What a gradient check found, as numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffsim.rollout.grad.stairs import REMEDY
from diffsim.view.cards import card, details, paragraph, table
from diffsim.view.cards import rows as pairs

__all__ = ["Direction", "GradientReport", "Worst"]

_SENTENCES = {
    "right": "the gradient agrees with central differences to {error:.0e}",
    "wrong": "the gradient is wrong: differences settle at another slope, around a step size of {step:.0e}",
    "kink": "the cost has a kink at this point, where differences from the left and from the right disagree; "
    "the gradient is one of its slopes, which differences cannot confirm: move the parameters a little",
    "jump": "the cost jumps at this point, so that it has no derivative in some directions; smooth the step, "
    "or move the parameters",
    "chaos": "the gradient promises changes that the cost never shows: the run is chaotic, its derivative "
    "carries no information over this horizon; use fewer steps",
    "rounding": "rounding hides what differences could tell; the gradient lies within that noise",
    "truncation": "the cost bends so sharply that differences still approach the gradient at the smallest "
    "step; it is probably right",
    "cut": "the program cuts gradients with stop_gradient, and differences see through the cut; what is left "
    "of the gradient is confirmed by forward mode alone",
    "staircase": "the gradient of {stairs} is exactly zero, which is right and tells nothing: the cost moves "
    f"in jumps and is flat between them; {REMEDY}",
    "misread": "the values are not those of plain Python, so what was made of the kernels is wrong, and its "
    "gradient with it: {misread}",
    "unsure": "the checks contradict each other or settle nothing",
}


@dataclass(frozen=True)
class Direction:
    """The comparison along one direction.

    Attributes:
        adjoint: The slope by the gradient.
        difference: The slope by central differences: where they agree best with the gradient, or, where they
            contradict it, where they settle. In f64, also for a rollout in f32.
        step: That step size, relative to the size of the values.
        error: Their difference, relative to the larger one.
        verdict: What the differences say; see `GradientReport.verdict`.
        forward: The slope by forward mode, None where it was not run.
        left, right: The differences from one side only, at a small step.
    """

    adjoint: float
    difference: float
    step: float
    error: float
    verdict: str = "right"
    forward: float | None = None
    left: float = float("nan")
    right: float = float("nan")


@dataclass(frozen=True)
class Worst:
    """Where a gradient is furthest off.

    Attributes:
        key: The field.
        index: The element: worlds first where each has its own, then time for a Control, then the declared
            shape and the components.
        adjoint: The gradient there.
        difference: The derivative by central differences.
    """

    key: str
    index: tuple[int, ...]
    adjoint: float
    difference: float

    def __str__(self) -> str:
        place = f"{self.key}{list(self.index)}" if self.index else self.key
        return f"{place}: adjoint {self.adjoint:.8e}, difference {self.difference:.8e}"


@dataclass(frozen=True)
class GradientReport:
    """The outcome of a gradient check.

    Attributes:
        keys: What was differentiated for.
        directions: One comparison per random direction.
        tolerance: The largest relative error that passes.
        verdict: One word. `right`; `wrong`: differences settle elsewhere; `kink`, `jump`: the cost is not
            smooth, or not continuous, at this point; `chaos`: the gradient is too large to mean anything;
            `rounding`, `truncation`: differences cannot resolve more; `cut`: they see through the program's
            `stop_gradient`, while forward mode agrees with the gradient; `staircase`: all agree on a zero
            between jumps of the cost; `misread`: the values themselves are other ones than in plain Python,
            so that kernels were read wrongly; `unsure`: two checks disagree, or differences settle nowhere.
        components: One comparison per component that was looked at, in the order of `places`.
        places: The field and the index of each of these components.
        worst: Where a gradient that did not pass is furthest off; None where it passed or was not located.
        forward_error: The largest relative distance of forward and reverse mode, None where not compared.
        modes_error: That of the gradient in the plan's mode and in mode `step`, None where not compared.
        double: For a rollout in f32, the report of the same program in f64.
        notes: What was skipped, and why.
        stairs: Fields with elements whose gradient is exactly zero, while the cost moves in jumps with them.
        surrogates: Functions and kernels whose adjoint is a surrogate. Slopes and differences are then those
            of the program without surrogates, in which these are differentiated like all else.
        dead: Fields whose gradient is exactly zero, and which moved the cost at no step, however large.
        misread: Where values are other ones than in plain Python, and what they are; empty where none is.
        python_error: The largest difference from plain Python, None where nothing was compared.
        python: What was compared with plain Python.
    """

    keys: tuple[str, ...]
    directions: tuple[Direction, ...]
    tolerance: float
    verdict: str = "right"
    components: tuple[Direction, ...] = ()
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    worst: Worst | None = None
    forward_error: float | None = None
    modes_error: float | None = None
    double: GradientReport | None = None
    notes: tuple[str, ...] = field(default=())
    stairs: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    surrogates: tuple[str, ...] = ()
    misread: str = ""
    python_error: float | None = None
    python: str = ""

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max(d.error for d in self.directions + self.components)

    @property
    def passed(self) -> bool:
        """Tell whether the gradient is confirmed: all comparisons agree, in f64 too for a rollout in f32."""
        agreed = self.verdict == "right" or (self.verdict == "kink" and self.error <= self.tolerance)
        return agreed and (self.double is None or self.double.passed)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        decisive = [d for d in self.directions + self.components if d.verdict == self.verdict]
        step = decisive[0].step if decisive else self.directions[0].step
        if self.double is not None and self.double.verdict == "right":
            text = f"in f64 {_SENTENCES['right'].format(error=self.double.error)}; the f32 gradient is "
            text += f"{self.error:.0e} away from that, where {self.tolerance:.0e} is allowed"
            if self.verdict == "rounding":
                text += ": single precision is too coarse for this program, use precision=64"
        else:
            stairs = ", ".join(self.stairs)
            text = _SENTENCES[self.verdict].format(
                error=self.error, step=step, stairs=stairs, misread=self.misread
            )
        if self.surrogates and self.verdict == "right":
            text = f"but for the surrogate gradient of {', '.join(self.surrogates)}, {text}"
        if self.verdict == "kink" and self.passed:
            text = "the cost has a kink at this point; the gradient agrees with central differences across it"
        return "; ".join([text, *self._others()])

    def _others(self) -> list[str]:
        """Say what the exact methods found."""
        checked = self.double or self
        found = []
        if checked.forward_error is not None:
            found.append(f"forward and reverse mode differ by {checked.forward_error:.0e}")
        if self.modes_error is not None:
            found.append(f"the plan's mode and mode step differ by {self.modes_error:.0e}")
        return found

    def _repr_html_(self) -> str:
        shown = sorted(range(len(self.components)), key=lambda k: -self.components[k].error)[:5]
        lines = [_cells(f"direction {k}", d) for k, d in enumerate(self.directions)]
        lines += [_cells(_place(*self.places[k]), self.components[k]) for k in shown]
        told = [
            ("worst at", "" if self.worst is None else str(self.worst)),
            ("zero between jumps", ", ".join(self.stairs)),
            ("no effect on the cost", ", ".join(self.dead)),
            ("as in plain Python", self.python if self.python_error is not None and not self.misread else ""),
            *(("not checked", note) for note in self.notes),
        ]
        title = f"Gradient check {'passed' if self.passed else 'failed'}: {self.verdict}"
        head = ("", "adjoint", "forward", "difference", "step", "error", "")
        return card(
            title,
            paragraph(self.sentence),
            paragraph(f"with respect to {', '.join(self.keys)}; {self.tolerance:.0e} is allowed", quiet=True),
            table(head, lines),
            pairs([(name, text) for name, text in told if text]),
            "" if self.double is None else details("The same in f64", self.double._repr_html_()),
        )

    def __str__(self) -> str:
        rows = [f"gradient with respect to {', '.join(self.keys)}"]
        rows.append(f"{'':>9} {'adjoint':>16} {'forward':>16} {'difference':>16} {'step':>8} {'error':>9}")
        rows += [_row(f"{k:d}", d) for k, d in enumerate(self.directions)]
        shown = sorted(range(len(self.components)), key=lambda k: -self.components[k].error)[:5]
        if shown:
            rows.append(f"the worst of {len(self.components)} components")
        for k in shown:
            rows.append(_row(_place(*self.places[k]), self.components[k]))
        if self.worst is not None:
            rows.append(f"worst at {self.worst}")
        if self.stairs:
            rows.append(f"zero between jumps of the cost: {', '.join(self.stairs)}")
        if self.dead:
            rows.append(f"no effect on the cost: {', '.join(self.dead)}")
        if self.python_error is not None and not self.misread:
            rows.append(f"values as in plain Python to {self.python_error:.0e}: {self.python}")
        rows += [f"not checked: {note}" for note in self.notes]
        word = "passed" if self.passed else "FAILED"
        rows.append(f"{word}: largest relative error {self.error:.1e}, allowed {self.tolerance:.0e}")
        return "\n".join([*rows, f"{self.verdict}: {self.sentence}."])


def _row(name: str, d: Direction) -> str:
    forward = "" if d.forward is None else f"{d.forward:.8e}"
    text = f"{name:>9} {d.adjoint:16.8e} {forward:>16} {d.difference:16.8e} {d.step:8.0e} {d.error:9.1e}"
    return text if d.verdict == "right" else f"{text}  {d.verdict}"


def _cells(name: str, d: Direction) -> tuple[str, ...]:
    forward = "" if d.forward is None else f"{d.forward:.6e}"
    word = "" if d.verdict == "right" else d.verdict
    return name, f"{d.adjoint:.6e}", forward, f"{d.difference:.6e}", f"{d.step:.0e}", f"{d.error:.1e}", word


def _place(key: str, index: tuple[int, ...]) -> str:
    return f"{key}{list(index)}" if index else key
