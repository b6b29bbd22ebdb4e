"""What a process finds compiled: nothing is compiled a second time, and nothing of Taichi is started."""

import json
import os
import subprocess
import sys

import pytest

from diffsim import _llvm

SCRIPT = """
import json
import diffsim as ds, taichi as ti
from diffsim import _taichi
from diffsim.engine.native import the_library

class Fall(ds.Simulator):
    def __init__(self):
        self.x, self.v = ds.State(ds.real, 3), ds.State(ds.real, 3)
        self.push = ds.Control(ds.real)
    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(3):
            self.v[t + 1, i] = self.v[t, i] + 0.1 * ti.tanh(self.push[t]) - 0.01 * i
            self.x[t + 1, i] = self.x[t, i] + 0.1 * self.v[t + 1, i]
    def step(self, t):
        self.move(t)
    @ti.kernel
    def miss(self, t: ti.i32):
        for i in range(3):
            self.cost[None] += (self.x[t, i] - 1.0) ** 2
    def terminal_cost(self, t):
        self.miss(t)

ds.init("cpu", precision=64, threads=1, compiler="native")
with ds.Rollout(Fall(), steps=20) as rollout:
    costs = ds.minimize(rollout, optimizer=ds.optim.Adam(lr=0.1), iterations=3).costs.tolist()
library = the_library()
print(json.dumps([costs, library.compiled, library.loaded, _taichi.started()]))
"""


@pytest.mark.cpu
@pytest.mark.skipif(bool(_llvm.why_missing()), reason="Taichi compiles all kernels here")
def test_a_second_process_compiles_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run():
        done = subprocess.run(
            [sys.executable, script], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        return json.loads(done.stdout)

    costs, compiled, _, started = run()
    assert compiled > 2
    assert not started
    again, compiled_again, loaded, started = run()
    assert (compiled_again, loaded) == (0, compiled)
    assert not started
    assert again == costs
