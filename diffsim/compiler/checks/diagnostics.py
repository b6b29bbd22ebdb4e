"""What the analysis finds wrong in kernels: each finding with a rule, a position, a reason and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from diffsim.errors import Diagnostic, GradientError, TraceError

__all__ = ["GRADIENT_RULES", "RULES", "raise_all", "refuse"]

# What each rule asks for; rules.md beside this tells more of each, and a test compares the two.
RULES = {
    "OVERWRITE": "a value must not be overwritten after it was read where it cannot be kept",
    "RACE": "iterations of a kernel's outermost loop must not write what others read or write",
    "READ-AHEAD": "x[t + 1] must be written before it is read",
    "WRITE-TIME": "a step must write States at t + 1 and Scratches at t, or both without a time",
    "READ-ONLY": "Params, Controls, Constants and fields made by hand must not be written",
    "TIME-INDEX": "the first index of a State or Scratch must be t, t + 1 or t - 1",
    "INDEX": "indices must be integers, as many as the field has axes, and lie inside it",
    "UNBOUNDED": "the maximum of a loop must be known when its kernel compiles",
    "CONTROL-FLOW": "loops must run over integers or fields, and jumps must stand in them",
    "SYNTAX": "kernels must use the part of Python that Taichi knows",
    "NAME": "names must be assigned before they are used, and keep their type and shape",
    "SHAPE": "operands, arguments and targets must have shapes and types that fit",
    "PYTHON": "Python objects in kernels must be known when the kernel compiles",
    "FUNCTION": "functions must have a known derivative",
    "RANDOM": "random numbers must be drawn by ds.random or ds.randn, with integer counters",
    "ATOMIC": "an atomic must change an element of a field or a local variable",
    "INTEGER": "a field of integers must take in integers",
    "COST": "the cost must only be added to, or be stored once, in terminal_cost",
    "DONE": "done must only be set, to True or to a condition",
    "ADJOINT": "an adjoint of one's own must read values, and add to adjoints only",
    "ENERGY": "what is differentiated in a step must be one number, of functions that write no field",
    "WORKSPACE": "a Workspace must only be used by methods with an adjoint of their own",
    "SPARSE": "where kernels write sparse fields must be known before the kernel runs",
    "TOO-LARGE": "a kernel must not unroll to too many operations",
    "CUT": "a differentiable value should not lose its gradient in an integer cast (a warning)",
    "REPEATED": "singular vectors and eigenvectors should stay in the kernel that computes them (a warning)",
    "PRECISION": "arguments of kernels should have the working precision (a warning)",
    "PARTIAL": "a State should be stored as a whole, or say what becomes of the rest (a warning)",
    "ACTIVITY": "loops over active cells should have no effect where all is zero (a warning)",
    "PRINT": "print in kernels has no effect (a warning)",
}
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
GRADIENT_RULES = frozenset(("OVERWRITE", "RACE", "UNBOUNDED"))


def raise_all(found: Iterable[Diagnostic]) -> None:
    """Raise one error with every finding, each once; nothing where there is none.

    Raises:
        GradientError: All findings say that a gradient would be wrong.
        TraceError: Any other finding is among them.
    """
    unique = _folded(found)
    if unique:
        raise _error(unique)


def _folded(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return findings each once; those of one place that differ in numbers only are one.

    An unrolled loop finds the same for every component.
    """
    alike: dict[tuple[str, str, str], list[Diagnostic]] = {}
    for finding in dict.fromkeys(found):
        key = finding.rule, finding.where, _NUMBER.sub("0", finding.message)
        alike.setdefault(key, []).append(finding)
    return [
        replace(first, message=f"{first.message} (and {len(others)} more such)") if others else first
        for first, *others in alike.values()
    ]


def _error(unique: list[Diagnostic]) -> TraceError | GradientError:
    """Return the error that tells of findings."""
    kind = GradientError if all(d.rule in GRADIENT_RULES for d in unique) else TraceError
    text = unique[0].alone
    if len(unique) > 1:
        heading = (
            f"kernels must follow the rules, got {len(unique)} faults (diffsim explain RULE tells more):"
        )
        text = "\n".join([heading, *map(str, unique)])
    error = kind(text)
    error.diagnostics = tuple(unique)
    return error


def refuse(diagnostic: Diagnostic) -> NoReturn:
    """Raise the error of one finding.

    Raises:
        GradientError: It says that a gradient would be wrong.
        TraceError: It says anything else.
    """
    raise _error([diagnostic])
