"""The command `audit`, on a simulator in a file of the user's."""

import subprocess
import sys

OWN = """
import numpy as np
import taichi as ti
import diffsim as ds


class Pull(ds.Simulator):
    def __init__(self):
        self.x = ds.State(ds.real, 4, init=np.linspace(-1.0, 1.5, 4))
        self.w = ds.Param(0.1)

    @ti.kernel
    def move(self, t: ti.i32):
        for i in range(4):
            p = self.x[t, i] * 2.0
            for j in range(4):
                self.x[t + 1, i] += self.w[None] * p * p * self.x[t, j]

    def step(self, t):
        self.move(t)

    @ti.kernel
    def total(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += self.x[t, i] ** 2

    def terminal_cost(self, t):
        self.total(t)
"""


def test_audit_names_kernel_family_and_line(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    words = [sys.executable, "-m", "diffsim", "audit", "own.py:Pull", "--steps", "3"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    kernel, total, sentence = done.stdout.splitlines()[1:]
    assert total.startswith("Pull.total")
    assert kernel.startswith("Pull.move")
    assert "wrong (A3)" in kernel
    assert "own.py:15: a value computed before a loop" in kernel
    assert sentence.startswith("Taichi's reverse mode is wrong on 1 of 2 kernel(s); ours agree")
