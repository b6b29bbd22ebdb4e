"""Names that are not known: what is offered instead."""

import pytest

from diffsim.options import near_miss, unknown_name

MODES = ["auto", "step", "chunk", "fused"]


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("fusde", MODES, "fused"),
        ("Step", MODES, "step"),
        ("chunks", MODES, "chunk"),
        ("moke", ["smoke", "wave"], "smoke"),
        ("adma", ["adam", "sgd"], "adam"),
        ("gpu", ["cpu", "cuda"], None),
        ("fast", ["last", "fused"], None),
        ("stiffness", ["steps", "stillness_of_mind"], None),
        ("lr", ["learning_rate", "rule"], None),
        ("", MODES, None),
    ],
)
def test_only_near_misses_are_offered(given, known, meant):
    assert near_miss(given, known) == meant


def test_what_an_unknown_name_is_told():
    told = unknown_name("mode", "fast", MODES, "a mode", "see the plan")
    assert told == "mode must be one of auto, step, chunk, fused, got 'fast'; see the plan"
    assert unknown_name("mode", "fuse", MODES, "a mode", "").endswith("; did you mean fused?")
