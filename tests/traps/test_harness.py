"""The harness itself: what it must not let pass."""

import dataclasses

import numpy as np
import pytest
from traps.harness import assert_right, measure, row

from diffsim.compiler.autodiff import rules

ROWS = [
    row("first", "self.f[t, i] = ti.tanh(self.x[t, i]) * self.b[i]"),
    row("second", "self.f[t, i] = 1e3 * self.x[t, i] ** 2 * self.a[i]"),
]


@pytest.fixture(scope="module")
def right(runtime, tmp_path_factory):
    return measure(ROWS, tmp_path_factory.mktemp("right"))


def test_right_rows_pass(right):
    for one in ROWS:
        assert_right(one, right[one.name])


def test_a_wrong_slope_fails_its_row_alone(runtime, tmp_path, monkeypatch):
    def planted(b, args, r, g):
        contributions = rule(b, args, r, g)
        return tuple(
            c and (lambda c=c: b.op("mul", c(), b.const(1.0 + 1e-5, g.dtype))) for c in contributions
        )

    rule = rules._RULES["tanh"]
    monkeypatch.setitem(rules._RULES, "tanh", planted)
    found = measure(ROWS, tmp_path, modes=("step",))
    with pytest.raises(AssertionError, match="x: gradient"):
        assert_right(ROWS[0], found["first"])
    assert_right(ROWS[1], found["second"])


def test_wrong_values_and_modes_fail(right):
    found = right["first"]
    other = dataclasses.replace(found, expected=found.expected + 1e-9)
    with pytest.raises(AssertionError):
        assert_right(ROWS[0], other)
    gradients = {key: value * (1.0 + 1e-8) for key, value in found.gradients.items()}
    with pytest.raises(AssertionError):
        assert_right(ROWS[0], dataclasses.replace(found, other_gradients=gradients))
    nothing = {key: np.zeros_like(value) for key, value in found.gradients.items()}
    with pytest.raises(AssertionError, match="must depend"):
        assert_right(ROWS[0], dataclasses.replace(found, gradients=nothing))
