"""The rules: documented each, and told by some test of a refused kernel."""

import re
from pathlib import Path

from diffsim.compiler.checks.diagnostics import GRADIENT_RULES, RULES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "rules.md").read_text()


def test_the_document_lists_every_rule_once():
    rows = re.findall(r"^\| ([A-Z][A-Z-]+) \| ([^|]*) \|", DOCUMENT, flags=re.MULTILINE)
    assert sorted(rule for rule, _ in rows) == sorted(RULES)
    for rule, text in rows:
        start = RULES[rule].split(" (")[0].split(":")[0]
        assert text.replace("`", "").strip().startswith(start), rule


def test_every_rule_is_used():
    source = "".join(
        path.read_text() for path in (ROOT / "diffsim").rglob("*.py") if path.name != "diagnostics.py"
    )
    for rule in RULES:
        assert f'"{rule}"' in source, rule


def test_gradient_rules_are_named_in_the_document():
    sentence = re.search(r"gradient alone \(([^)]*)\)", DOCUMENT)
    assert sentence is not None
    assert set(sentence[1].split(", ")) == GRADIENT_RULES
