"""What tests cost: the processor time of each one, and of each part against its budget in CONTRIBUTING.md.

Processor time, its own and that of the processes that it starts, is what a test needs whatever else runs on
the machine. Nothing fails here: a part that outgrows its budget is for whoever reads the table.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
ROW = re.compile(r"^ *\| `(tests/\w+)/` \| (\d+) \|", re.MULTILINE)
SLOWEST = int(os.environ.get("DIFFSIM_SLOWEST", "10"))


def budgets() -> dict[str, int]:
    """Read the processor seconds that CONTRIBUTING.md gives to each folder of `tests/`."""
    if not CONTRIBUTING.exists():  # a test of these files has copied them
        return {}
    return {part: int(seconds) for part, seconds in ROW.findall(CONTRIBUTING.read_text(encoding="utf-8"))}


def spent() -> float:
    """Count the processor seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


class Costs:
    """The plugin: takes the time of each test, in the process that runs it, and sums up where they meet."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self._begin = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Note where a test begins: fixtures count for the test that first asks for them."""
        self._begin = spent()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the time along with the last report of a test."""
        report = yield
        if call.when == "teardown":
            report.user_properties.append(("processor", spent() - self._begin))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the times in where the reports of all processes arrive."""
        for name, value in report.user_properties:
            if name == "processor" and report.when == "teardown":
                self.tests[report.nodeid] += float(str(value))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the dearest tests, and what each part took of its budget."""
        if not self.tests:
            return
        parts: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            parts["/".join(test.split("/")[:-1][:2])] += seconds
        allowed = budgets()
        terminalreporter.section("processor seconds")
        for test, seconds in self.tests.most_common(SLOWEST):
            terminalreporter.write_line(f"{seconds:8.1f}  {test}")
        terminalreporter.write_line("")
        for part, seconds in sorted(parts.items()):
            budget = allowed.get(part, 0)
            over = "  over its budget" if seconds > budget else ""
            terminalreporter.write_line(f"{seconds:8.1f} of {budget:4d}  {part}{over}")
        total = sum(parts.values())
        terminalreporter.write_line(f"{total:8.1f} of {sum(allowed.values()):4d}  in all")
