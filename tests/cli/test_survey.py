"""All tasks, each in a process of its own: what one of them does is no matter to the others."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from survey_workers import work

from diffsim import extras
from diffsim.cli.survey import metric_lines, survey
from diffsim.errors import MissingExtraError


def test_rows_come_in_order_whatever_happens() -> None:
    names = ["first", "refuses", "dies", "lacks", "last"]
    rows = list(survey(work, [(name, {"number": k}) for k, name in enumerate(names)], jobs=2))
    assert [row.name for row in rows] == names
    assert [row.passed for row in rows] == [True, False, False, None, True]
    assert rows[0].cells[0] == "0"
    assert rows[4].cells[0] == "4"
    assert len({rows[0].cells[1], rows[4].cells[1], str(os.getpid())}) == 3, "processes of their own"
    assert rows[1].notes == ("x must be y, got z; change it",)
    assert rows[2].notes == ("its process ended with exit status 7",)
    assert "pip install" in rows[3].notes[0]
    assert all(row.seconds > 0.0 for row in rows)


def test_metrics_are_told_before_and_after() -> None:
    metrics = {"before": {"distance [m]": 0.5, "gone": 1.0}, "after": {"distance [m]": 0.001}}
    assert metric_lines(metrics) == ["distance [m]: 0.5 -> 0.001"]
    assert metric_lines({}) == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.require("json", "torch", "a test") is sys.modules["json"]
    with pytest.raises(MissingExtraError) as caught:
        extras.require("no_such_package", "torch", "the classifier")
    assert str(caught.value) == (
        "no_such_package must be installed for the classifier, got no such module; "
        "pip install 'diffsim[torch]'"
    )

    def fails(_: Any) -> None:
        raise ModuleNotFoundError("No module named 'inner'", name="inner")

    monkeypatch.setattr(extras.importlib, "import_module", fails)
    with pytest.raises(ModuleNotFoundError, match="inner"):  # the package is there: what it lacks is its own
        extras.require("json", "torch", "a test")
