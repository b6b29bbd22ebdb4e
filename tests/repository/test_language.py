"""Programs in the shapes of public ones: what the analysis takes as it is does not become less.

`python -m benchmarks language` runs all of them, compares them with plain Taichi and checks their gradients.
"""

from pathlib import Path
from typing import Any

import pytest
import sweeps
import taichi as ti

import diffsim as ds

ROOT = Path(__file__).resolve().parents[2]
REFUSED: dict[str, set[str]] = {}  # kernels that are not accepted, by program
SLOW = {
    "mpm99",
    "mpm128",
    "cloth",
    "lattice_boltzmann",
    "fem99",
    "euler",
    "implicit_springs",
    "multigrid",
    "mpm3d",
    "apic",
}


@pytest.fixture(autouse=True)
def benchmarks_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_programs_are_accepted_as_they_are(runtime: Any) -> None:
    from benchmarks.language.measure import accepted
    from benchmarks.language.programs import PROGRAMS

    lost = {}
    for name, pair in PROGRAMS.items():
        if name in SLOW and not sweeps.FULL:
            continue
        found = accepted(pair)
        if not found.whole:
            lost[name] = found.refused, found.other, found.changed
    assert not lost


def test_a_program_computes_what_plain_taichi_does(runtime: Any) -> None:
    from benchmarks.language.measure import CLOSE, answered
    from benchmarks.language.programs import PROGRAMS

    answer = answered(PROGRAMS["gray_scott"])
    assert answer.value is not None, answer
    assert answer.value < CLOSE
    assert answer.gradient == (True, "right")


def test_changes_and_refusals_are_counted(runtime: Any) -> None:
    from benchmarks.language.common import Port
    from benchmarks.language.measure import accepted
    from benchmarks.language.programs import PROGRAMS, Pair, changed_lines, kernels_of
    from benchmarks.language.waves import GrayScott, GrayScottPort

    class Timed(GrayScott, Port):  # the time, a line that is another one, and five that are left out
        @ti.kernel
        def compute(self, phase: int, t: ti.i32):  # type: ignore[no-untyped-def]
            for i, j in ti.ndrange(N, N):  # noqa: F821
                cen = self.uv[t, phase, i, j]
                self.uv[t + 1, 1 - phase, i, j] = cen * 0.5

    class Broken(GrayScott, Port):
        measured = ("uv",)
        __init__ = GrayScottPort.__init__

        @ti.kernel
        def compute(self, phase: int):  # type: ignore[no-untyped-def]
            for i, j in ti.ndrange(12, 12):
                self.weights[0] = self.uv[phase, i, j][0]

    timed = Pair("timed", GrayScott, Timed)
    lines = kernels_of(timed)["compute"].splitlines()
    changed, total = changed_lines(timed)
    assert total == len(lines) == 9
    assert changed == total - 4, "the kernel, its loop and a load differ by their time alone"
    assert changed_lines(PROGRAMS["gray_scott"])[0] == 0
    found = accepted(Pair("broken", GrayScott, Broken))
    assert {rule for rule, _ in found.refused["compute"]} == {"READ-ONLY"}
    assert not found.whole
    assert found.taken == 0
    assert issubclass(Broken, ds.Simulator)
