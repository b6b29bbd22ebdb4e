"""Random texts of kernels as machine code: held to a second reading in Python, and to Taichi.

A few are tried by default; ``DIFFSIM_FUZZ=10000 pytest tests/compiler/native/test_texts.py`` tries that many
against the second reading, and a hundredth of them against Taichi, from the seed in ``DIFFSIM_FUZZ_SEED`` on.
"""

import os

import pytest
from fuzz.evaluator import Reading, Unsure
from fuzz.machine import ARGUMENTS, arrays, by_taichi, compared, disagreement, numbers, run
from fuzz.texts import Text

pytestmark = pytest.mark.native

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
FIRST = int(os.environ.get("DIFFSIM_FUZZ_SEED", "0"))
TOGETHER = 2  # texts in one kernel of Taichi's, which takes a second for each


def test_random_texts():
    found = {seed: disagreement(seed) for seed in range(FIRST, FIRST + (FUZZ or 24))}
    sure = [result for result in found.values() if result is not None]
    assert not [f"{seed}: {result}" for seed, result in found.items() if result]
    assert len(sure) > len(found) / 2


def together(first):
    """Return a kernel of several texts, and what its second reading finds."""
    found, lines = arrays(first, TOGETHER, plain=True), ["def kernel(n: ti.i32, t: ti.i32):"]
    wanted = Reading("f64", numbers(found))
    for row in range(TOGETHER):
        body = Text(TOGETHER * first + row, plain=True, row=row).body()
        part = [f"    for once{row} in range(1):", *(f"    {line}" for line in body)]
        trial = Reading("f64", numbers(found))
        try:
            trial.run("\n".join([lines[0], *part]), n=ARGUMENTS[0], t=ARGUMENTS[1])
        except Unsure:
            continue
        if not trial.special:  # of which Taichi's fast math makes what it likes
            lines += part
    wanted.run("\n".join([*lines, "    pass"]), n=ARGUMENTS[0], t=ARGUMENTS[1])
    return "\n".join([*lines, ""]), found, wanted


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_texts_by_taichi(runtime):
    """Both compilers, so that the second reading is not wrong together with one of them."""
    tried = [together(seed) for seed in range(FIRST, FIRST + max(20, FUZZ // (100 * TOGETHER)))]
    tried = [one for one in tried if one[0].count("\n") > 1]
    if not FUZZ:
        tried = sorted((one for one in tried if one[0].count("\n") > 8), key=lambda one: len(one[0]))[:2]
    for source, found, wanted in tried:
        for left in (by_taichi(source, found), run(source, found)):
            assert not compared(left, wanted), source
