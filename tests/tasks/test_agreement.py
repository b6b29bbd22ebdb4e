"""Backends beside the CPU: what `diffsim check --compiler`, `--arch` compare, and that a fault is seen."""

from __future__ import annotations

from typing import Any

import pytest

from diffsim.cli.checking import check_task, checked, columns
from diffsim.demos.two_link_arm import TwoLinkArmTask

GIVEN: dict[str, Any] = {"steps": 2, "mode": "step", "threads": 1, "guard": False, "arch": "cpu"}


def test_another_compiler_agrees_with_the_usual_one() -> None:
    given = GIVEN | {"compiler": "taichi"}
    row = check_task("two_link_arm", given)
    assert row.passed, row.notes
    assert len(row.cells) == len(columns(given)) == len(columns(GIVEN))
    assert row.cells[0] == "2"
    assert row.cells[-1] == "agrees"
    assert float(row.cells[2]) < 1e-12
    assert columns(given) != columns(GIVEN)  # which compares with differences


def test_what_differs_by_more_than_rounding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Any] = []
    prepare = TwoLinkArmTask.prepare

    def other(self: TwoLinkArmTask, rollout: Any) -> None:
        prepare(self, rollout)
        prepared.append(rollout)
        rollout.sim.command.set(rollout.sim.command.numpy() * (1.0 + 1e-7 * len(prepared)))

    monkeypatch.setattr(TwoLinkArmTask, "prepare", other)
    text, passed = checked("two_link_arm", GIVEN | {"compiler": "taichi"})
    assert len(prepared) == 2
    assert not passed
    assert "must be on x64 with taichi what it is on x64, got a difference of" in text
