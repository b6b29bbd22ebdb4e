"""The rules: documented each, with an example that is refused for it and one that is not."""

from __future__ import annotations

import re
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

import diffsim as ds
from diffsim.cli import main
from diffsim.compiler.checks.diagnostics import GRADIENT_RULES, RULES
from diffsim.compiler.checks.rulebook import PAGE, section_of, sections

ROOT = Path(__file__).parents[2]
DOCUMENT = PAGE.read_text(encoding="utf-8")
WARNINGS = {rule for rule, text in RULES.items() if text.endswith("(a warning)")}
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_document_has_a_section_for_every_rule():
    assert sorted(sections()) == sorted(RULES)
    for rule, text in sections().items():
        start = RULES[rule].split(" (")[0]
        sentence = " ".join(text.replace("`", "").split())
        assert sentence.lower().startswith(start.lower()), rule
        assert ("(a warning)" in sentence) == (rule in WARNINGS), rule


def test_every_rule_is_used():
    source = "".join(
        path.read_text() for path in (ROOT / "diffsim").rglob("*.py") if path.name != "diagnostics.py"
    )
    for rule in RULES:
        assert f'"{rule}"' in source, rule


def test_gradient_rules_are_named_in_the_document():
    sentence = re.search(r"gradient alone \(([^)]*)\)", DOCUMENT)
    assert sentence is not None
    assert set(re.split(r",\s", sentence[1])) == GRADIENT_RULES


def test_a_section_reads_well_in_a_terminal():
    told = section_of("RACE")
    assert told.splitlines()[0] == "RACE"
    assert "```" not in told
    assert "\n    for i in range(1, 8):  # refused" in told
    assert "](" not in section_of("REPEATED")


def test_the_command_line_tells_of_a_rule(capsys):
    for word in ("READ-AHEAD", "read-ahead"):
        assert main(["explain", word]) == 0
        assert capsys.readouterr().out == section_of("READ-AHEAD") + "\n"
    assert main(["explain", "--help"]) == 0
    assert "READ-AHEAD" in capsys.readouterr().out


FIELDS = re.search(r"class Example.*?```", DOCUMENT, re.DOTALL)
STEP = """
    def step(self, t):
        self.example(t)
"""


def example(code: str, path: Path) -> Any:
    """Make the simulator that an example of the page is about."""
    assert FIELDS is not None
    code = code.rstrip()
    if "def " not in code:
        code = f"@ti.kernel\ndef example(self, t: ti.i32):\n{textwrap.indent(code, '    ')}"
    body = textwrap.indent(code, "    ") + ("" if "def step" in code else STEP)
    source = f"import numpy as np\nimport taichi as ti\nimport diffsim as ds\n{FIELDS[0][:-3]}\n{body}\n"
    path.write_text(source)
    names: dict[str, Any] = {"__name__": path.stem}
    exec(compile(source, path, "exec", dont_inherit=True), names)  # annotations as objects, for Taichi
    return names["Example"]()


def told_of(sim: Any) -> set[str]:
    """Read the kernels, and return the rules that are told of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ds.plan(sim, steps=3)
        except (ds.TraceError, ds.GradientError) as error:
            return {finding.rule for finding in error.diagnostics}
    return {
        rule
        for one in caught
        for rule in re.findall(r"\[[A-Z-]+\] \(diffsim explain ([A-Z-]+)\)$", str(one.message))
    }


@pytest.mark.parametrize("rule", RULES)
def test_the_examples_of_the_document(runtime, tmp_path, monkeypatch, rule):
    monkeypatch.setattr("diffsim.compiler.reading.statements.MOST", 2_000)  # soon reached
    bad, good = CODE.findall(sections()[rule])
    assert told_of(example(bad, tmp_path / f"bad_{rule.replace('-', '_')}.py")) == {rule}
    assert told_of(example(good, tmp_path / f"good_{rule.replace('-', '_')}.py")) == set()
