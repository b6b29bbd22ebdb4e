"""How much of what people write in Taichi runs here, with no line of a kernel changed but for time.

Each program is a plain Taichi class in the shape of a public one, and a simulator that inherits its kernels
and declares its fields. The table tells how many kernels the analysis takes as they are, whether the whole
step is taken, how far values are from those that Taichi computes by itself, and whether `check_grad` passes.
`python -m benchmarks language`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import diffsim as ds
from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.language.measure import CLOSE, Answer, Found, accepted, answered
from benchmarks.language.programs import PROGRAMS

KERNELS, STEPS = 0.95, 0.90  # of all kernels, of all whole steps: what is asked for
HEAD = ("program", "kernels", "whole step", "lines changed", "value off by", "gradient", "refused")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks language", description=__doc__)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="which (all)")
    parser.add_argument("--analysis", action="store_true", help="read the programs, and run none")
    parser.add_argument("--all-findings", action="store_true", help="tell every finding below the table")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    return parser.parse_args(words)


def row(name: str, found: Found, answer: Answer | None) -> list[str]:
    """Return a program's line of the table."""
    rules: dict[str, list[str]] = {}
    for kernel, findings in found.refused.items():
        for rule, _ in findings:
            rules.setdefault(rule, [])
            rules[rule] += [] if kernel in rules[rule] else [kernel]
    told = [f"{rule} ({', '.join(kernels)})" for rule, kernels in rules.items()] + found.other
    if answer is not None and answer.told and not found.refused:
        told.append(answer.told)
    value = "" if answer is None or answer.value is None else f"{answer.value:.0e}"
    gradient = "" if answer is None or answer.gradient is None else answer.gradient[1]
    changed = f"{found.changed[0]} / {found.changed[1]}"
    whole = "yes" if found.whole else "no"
    return [
        name,
        f"{found.taken} / {len(found.kernels)}",
        whole,
        changed,
        value,
        gradient,
        "; ".join(told)[:150],
    ]


def main(words: Sequence[str] | None = None) -> int:
    """Measure all programs, print the table, and say whether the bars are met."""
    options = parse(words)
    ds.init(arch="cpu", precision=64)
    where = machine()
    if not options.markdown:
        print_machine(where)
    rows, numbers = [], {}
    for name in options.programs:
        found = accepted(PROGRAMS[name])
        run = not options.analysis and not found.refused and not found.other
        answer = answered(PROGRAMS[name]) if run else None
        rows.append(row(name, found, answer))
        numbers[name] = _numbers(found, answer)
    (print_markdown if options.markdown else print_table)(HEAD, rows)
    kernels = sum(n["kernels"] for n in numbers.values())
    taken = sum(n["accepted"] for n in numbers.values())
    whole = sum(n["whole"] for n in numbers.values())
    told = [
        f"kernels accepted: {taken} of {kernels}, {taken / kernels:.1%}",
        f"whole steps accepted: {whole} of {len(numbers)}, {whole / len(numbers):.1%}",
    ]
    wrong = [name for name, n in numbers.items() if n["wrong"]]
    if not options.analysis:
        told.append(f"values or gradients that are wrong: {', '.join(wrong) or 'none'}")
    print("\n".join(["", *told]))
    if options.all_findings:
        print_findings(numbers)
    totals = {"kernels": taken / kernels, "whole steps": whole / len(numbers)}
    write_json(options.json, {"machine": where, "totals": totals, "programs": numbers})
    return int(bool(wrong) or taken < KERNELS * kernels or whole < STEPS * len(numbers))


def _numbers(found: Found, answer: Answer | None) -> dict[str, Any]:
    known = answer or Answer()
    gradient = known.gradient or (True, "")
    return {
        "kernels": len(found.kernels),
        "accepted": found.taken,
        "whole": found.whole,
        "refused": {k: [list(f) for f in findings] for k, findings in found.refused.items()},
        "other": found.other,
        "lines changed": found.changed[0],
        "lines": found.changed[1],
        "value": known.value,
        "gradient": gradient[1],
        "told": known.told,
        "wrong": bool(known.told) or not gradient[0] or (known.value or 0.0) > CLOSE,
    }


def print_findings(numbers: dict[str, Any]) -> None:
    """Print what was refused, program by program."""
    for name, n in numbers.items():
        for kernel, findings in n["refused"].items():
            for rule, message in findings:
                print(f"{name}.{kernel}: {message} [{rule}]")
        for message in (*n["other"], n["told"]):
            if message:
                print(f"{name}: {message}")


def print_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as Markdown."""
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
