"""Every simulator that ships, by both compilers: cost and gradients agree to 1e-12, in every mode.

Taichi compiles for minutes, so this runs where ``DIFFSIM_FUZZ`` is set; tests/engine/test_native.py holds a
small program to the same in each run of the tests.
"""

import os

import numpy as np
import pytest

import diffsim as ds
from diffsim.cli.resolve import resolve, start
from diffsim.errors import MissingExtraError
from diffsim.options import options_of
from diffsim.tasks.registry import load_task, task_names
from diffsim.tasks.runs import RunOptions

SHIPPED = [name for name in task_names() if load_task(name).__module__.startswith("diffsim.demos.")]
GIVEN = {info.name: None for info in options_of(RunOptions)}
GIVEN |= {"precision": 64, "threads": 1, "guard": False, "steps": 12}

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif("DIFFSIM_FUZZ" not in os.environ, reason="Taichi compiles for minutes"),
]


def outcome(name, compiler, mode):
    settings, task = resolve(name, GIVEN, small=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DIFFSIM_COMPILER", compiler)
        simulator = start(settings, task)
    assert ds.runtime.info().compiler == compiler
    rollout = ds.Rollout(simulator, **settings.run.planned() | {"mode": mode})
    try:
        task.prepare(rollout)
        cost, gradients = rollout.value_and_grad(task.wrt(simulator))
        left = "left to Taichi" in str(rollout.explain())
    finally:
        rollout.close()
    return {"cost": np.asarray(cost), **gradients}, left


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("mode", ["step", "fused", "chunk"])
@pytest.mark.parametrize("name", SHIPPED)
def test_both_compilers_agree(name, mode):
    try:
        found, left = outcome(name, "native", mode)
        wanted, _ = outcome(name, "taichi", mode)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert not left
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        error = np.abs(found[key] - values).max() / max(np.abs(values).max(), 1e-300)
        # the crawler's cost is the small difference of two places
        assert error < (4e-12 if (name, key) == ("elastic_crawler", "cost") else 1e-12), key
