"""Random changes between runs to what tracing and kernels read: a rollout is right, or says what changed.

A fresh rollout is what is right. ``DIFFSIM_FUZZ=500 pytest tests/language/test_random_changes.py`` tries that
many changes, two at a time now and then, from the seed in ``DIFFSIM_FUZZ_SEED`` on.
"""

import os
import random

import numpy as np
from fuzz.changes import Mill, change

import diffsim as ds

FUZZ = int(os.environ.get("DIFFSIM_FUZZ", "0"))
FIRST = int(os.environ.get("DIFFSIM_FUZZ_SEED", "0"))
STEPS = 2


def outcome(rollout):
    cost, gradients = rollout.value_and_grad()
    return {"cost": np.asarray(cost), **gradients}


def compared(rollout, sim):
    """Return how the old rollout differs from a fresh one, None where it does not; and whether it refused."""
    try:
        old = outcome(rollout)
    except ds.StateError:
        return None, True
    fresh = ds.Rollout(sim, steps=STEPS, mode="step")
    try:
        new = outcome(fresh)
    finally:
        fresh.close()
    if old.keys() != new.keys():
        return f"{sorted(old)} in place of {sorted(new)}", False
    wrong = [key for key in old if not np.allclose(old[key], new[key], rtol=1e-12, atol=1e-14)]
    return (f"{wrong[0]} is {old[wrong[0]]}, not {new[wrong[0]]}" if wrong else None), False


def test_random_changes(runtime):
    sim = Mill()
    rollout = ds.Rollout(sim, steps=STEPS, mode="step")
    start = outcome(rollout)
    failed, refused = {}, 0
    for seed in range(FIRST, FIRST + (FUZZ or 16)):
        rng = random.Random(seed)
        made = [change(sim, rng) for _ in range(1 + (seed % 4 == 0))]
        names = " and ".join(name for name, _, _ in made)
        try:
            wrong, error = compared(rollout, sim)
        except Exception as problem:  # noqa: BLE001  (every seed is tried, whatever goes wrong with one)
            wrong, error = f"{type(problem).__name__}: {problem}", False
        for _, undo, _ in reversed(made):
            undo()
        refused += error
        if error and all(allowed for _, _, allowed in made):
            wrong = "it was refused"
        if wrong is not None:
            failed[seed] = f"{names}: {wrong}"
    assert not failed
    assert refused > 3, "though most changes are to what is read"
    again = outcome(rollout)
    assert all(np.array_equal(again[key], start[key]) for key in start), "though all was undone"
    rollout.close()
