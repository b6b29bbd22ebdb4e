"""How much of a program is accepted as it is, and whether its value and gradient are right."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import diffsim as ds
from benchmarks.language.programs import Pair, changed_lines, kernels_of

__all__ = ["Answer", "Found", "accepted", "answered"]

CLOSE = 1e-9  # of the largest value: rounding, as sums in parallel loops come in another order


@dataclass
class Found:
    """What the analysis says of one program.

    Attributes:
        kernels: Its kernels.
        refused: Findings by kernel: rule and message of each.
        other: What was refused outside of kernels.
        changed: Lines of kernels that were changed otherwise than for time, and lines in all.
    """

    kernels: list[str]
    refused: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)
    changed: tuple[int, int] = (0, 0)

    @property
    def taken(self) -> int:
        """How many kernels are accepted: none where the program ends before they are read."""
        return 0 if self.other else len(self.kernels) - len(self.refused)

    @property
    def whole(self) -> bool:
        """Whether the step is accepted with no line changed but for time."""
        return not self.refused and not self.other and not self.changed[0]


@dataclass(frozen=True)
class Answer:
    """What a program computes: errors relative to the largest number, None where there is none.

    Attributes:
        value: The largest error of a State against plain Taichi.
        gradient: Whether `check_grad` passed, and what it said.
        told: An error that ended the run.
    """

    value: float | None = None
    gradient: tuple[bool, str] | None = None
    told: str = ""


def accepted(pair: Pair) -> Found:
    """Read a program without running it, and sort what is refused by kernel.

    Findings of memory come only when all kernels could be read, so kernels that are refused are left out and
    the rest is read again.
    """
    texts = kernels_of(pair)
    found = Found(list(texts), changed=changed_lines(pair))
    while True:
        port = _without(pair.port, list(found.refused))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ds.GradientWarning)
                ds.Rollout(port(), steps=port.steps, mode="step").close()
            return found
        except ds.DiffsimError as error:
            known = set(found.refused)
            for finding in getattr(error, "diagnostics", ()):
                for name in _kernels_with(finding.where, texts, pair):
                    found.refused.setdefault(name, []).append((finding.rule, finding.message))
            if set(found.refused) == known:
                if len(known) < len(texts):
                    found.other += [str(d) for d in getattr(error, "diagnostics", ())] or [str(error)]
                return found
        except Exception as error:  # noqa: BLE001  (a fault of the analysis: it counts as refused, and is told)
            found.other.append(f"{type(error).__name__}: {error}".splitlines()[0])
            return found


def _without(port: type[Any], names: list[str]) -> type[Any]:
    """Return a simulator whose kernels of these names do nothing."""

    def nothing(self: Any, *args: Any) -> None: ...

    return type(port.__name__, (port,), dict.fromkeys(names, nothing)) if names else port


def _kernels_with(where: str, texts: dict[str, str], pair: Pair) -> list[str]:
    """Return the kernels that a finding lies in, or whose functions it lies in."""
    name = where.rpartition(" in ")[2].strip()
    if name in texts:
        return [name]
    import inspect

    seen, names = {name}, [name]
    source = inspect.getsource(pair.plain)
    bodies = dict(re.findall(r"def (\w+)\((.*?)(?=\n    @|\n    def |\Z)", source, re.S))
    for one in names:
        for other, body in bodies.items():
            if other not in seen and re.search(rf"\.{one}\(", body):
                seen.add(other)
                names.append(other)
    return [one for one in names if one in texts]


def answered(pair: Pair, gradient: bool = True) -> Answer:
    """Run a program under Taichi alone and as a simulator, compare all States, and check the gradient.

    The runtime must have 64 bits.
    """
    plain = pair.plain()
    for t in range(pair.port.steps):
        plain.step(t)
    sim = pair.port()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ds.GradientWarning)
            rollout = ds.Rollout(sim, steps=pair.port.steps)
            cost = rollout.value()
            errors = [_difference(rollout, sim, plain, name) for name in _states(sim)]
            told = _checked(rollout, list(pair.port.wrt)) if gradient else None
            rollout.close()
    except Exception as error:  # noqa: BLE001  (whatever ends a run is told in the table)
        return Answer(told=f"{type(error).__name__}: {error}".splitlines()[0])
    return Answer(max(errors) if np.isfinite(cost) else np.inf, told)


def _states(sim: Any) -> list[str]:
    return [name for name, value in vars(sim).items() if isinstance(value, ds.State)]


def _difference(rollout: ds.Rollout, sim: Any, plain: Any, name: str) -> float:
    """Return the largest difference of a State at the end, relative to the largest number in it or 1e-3."""
    mine = np.asarray(rollout.trajectory(getattr(sim, name))[-1], dtype=float)
    theirs = getattr(plain, name).to_numpy().astype(float).reshape(mine.shape)
    if not np.all(np.isfinite(mine)) or not np.all(np.isfinite(theirs)):
        return np.inf
    return float(np.max(np.abs(mine - theirs)) / max(float(np.max(np.abs(theirs))), 1e-3))


def _checked(rollout: ds.Rollout, wrt: list[str]) -> tuple[bool, str]:
    report = rollout.check_grad(wrt or None)
    return bool(report.passed), report.verdict
