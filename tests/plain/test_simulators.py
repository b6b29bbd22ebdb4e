"""Every simulator that ships, in its task's small size: mode `python` has the values of mode `step`."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from sweeps import FULL

import diffsim as ds
from diffsim.extras import MissingExtraError
from diffsim.tasks.registry import load_task, task_names

# Sizes below the smoke size for what takes plain Python a second there; None: in the full sweep alone.
SMALLER: dict[str, dict[str, Any] | None] = {
    "elastic_crawler": None,
    "elastic_hills": None,
    "elastic_walker": None,
    "lattice_boltzmann": {"cells": 16},
    "liquid": None,
    "mass_spring_goals": None,
    "smoke": {"n": 8},
    "sph": {"spacing": 0.1},
    "two_link_arm": None,
    "volume_renderer": {"n": 6, "views": 2, "pixels": 6},
    "water_classifier": None,
}
NAMES = [name for name in task_names() if FULL or SMALLER.get(name, {}) is not None]
STEPS = 2 if FULL else 1


def simulator(name):
    kind = load_task(name)
    known = {f.name for f in dataclasses.fields(kind.Config)}
    given = {key: value for key, value in kind.smoke.items() if key in known}
    given |= {} if FULL else SMALLER.get(name) or {}
    try:
        return kind(kind.Config(**given)).build()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_mode_step(runtime, name):
    sim = simulator(name)
    with ds.Rollout(sim, STEPS, mode="step") as rollout:
        cost, found = rollout.value(), rollout.final()
    plainly = ds.Rollout(sim, STEPS, mode="python")
    assert plainly.value() == pytest.approx(cost, rel=1e-10, abs=1e-15)
    fields = plainly._program.fields
    right = {key: whole(fields[key], values) for key, values in found.items()}
    largest = max(float(np.max(np.abs(values))) for values in right.values())
    for key, values in plainly.final().items():
        size = float(np.max(np.abs(right[key]))) + 1e-2 * largest  # zeros of rounding, as 1e-14 of 1 m
        np.testing.assert_allclose(
            whole(fields[key], values), right[key], rtol=0, atol=1e-10 * size, err_msg=key
        )


def whole(field, values):
    return values.dense(field.shape, field.type.shape) if isinstance(values, ds.Cells) else values
