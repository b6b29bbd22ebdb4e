"""Random small simulators in mode `python`: the values of the compiled modes, to rounding.

A few programs are tried by default (and more where gradients are, `tests/fuzz/checks.py`);
``DIFFSIM_FUZZ=700 pytest tests/plain/test_random_programs.py`` tries that many of each kind, from the seed in
``DIFFSIM_FUZZ_SEED`` on, and fails with a list of seeds.
"""

import os

import numpy as np
import pytest
from fuzz.checks import load, relative
from fuzz.hostile import Hostile
from fuzz.places import Places
from fuzz.programs import STEPS, Writer

import diffsim as ds

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
FIRST = int(os.environ.get("DIFFSIM_FUZZ_SEED", "0"))
KINDS = {"own": Writer, "in place": Places, "hostile": Hostile}


def written(kind, seed):
    return KINDS[kind](seed) if kind == "hostile" else KINDS[kind](seed, size=3)


def compare(source, folder, name):
    """Return how far values are apart, 0 where the other modes refuse the program or it has no numbers."""
    sim = load(source, folder, name)
    try:
        with ds.Rollout(sim, STEPS, mode="step") as rollout:
            cost, found = rollout.value(), rollout.final()
    except ds.DiffsimError:
        return 0.0
    plainly = ds.Rollout(sim, STEPS, mode="python")
    errors = [relative(cost, plainly.value())]
    wanted = plainly.final()
    errors += [relative(found[key], wanted[key]) for key in found if np.any(wanted[key])]
    return max(errors)


@pytest.mark.skipif(FUZZ > 0, reason="many programs are tried")
def test_a_hostile_program(runtime, tmp_path):
    assert compare(written("hostile", 1).program(), tmp_path, "hostile_1") < 1e-10


@pytest.mark.skipif(FUZZ == 0, reason="DIFFSIM_FUZZ says how many")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_programs(runtime, tmp_path, kind):
    failed = {}
    for seed in range(FIRST, FIRST + FUZZ):
        name = f"{kind.replace(' ', '_')}_{seed}"
        try:
            error = compare(written(kind, seed).program(), tmp_path, name)
            if not error < 1e-10:
                failed[seed] = error
        except Exception as error:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            failed[seed] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not failed
