"""Declarations stay as they were made: an assignment that would go unnoticed is refused."""

from __future__ import annotations

import copy
import pickle

import pytest

import diffsim as ds

MADE = {
    "sparse": lambda: ds.sparse(block=4),
    "dense": lambda: ds.dense(order="ji"),
    "state": lambda: ds.State(ds.real, 8, 8, layout=ds.sparse()),
    "param": lambda: ds.Param([1.0, 2.0]),
    "control": lambda: ds.Control(ds.real, every=2),
    "scratch": lambda: ds.Scratch(ds.real, 8),
    "constant": lambda: ds.Constant([1, 2]),
}


@pytest.mark.parametrize(
    ("made", "name", "value", "words"),
    [
        (
            "sparse",
            "block",
            8,
            r"ds.sparse\(block=4, levels=2\) must keep its block, got 8 assigned",
        ),
        ("sparse", "levels", 5, "must keep its levels"),
        ("sparse", "automatic", False, "must keep its automatic"),
        (
            "sparse",
            "capcity",
            64,
            "must be assigned attributes that it has, got capcity = 64; did you mean",
        ),
        ("dense", "order", "ij", r"ds.dense\(order='ji'\) must keep its order"),
        (
            "dense",
            "padding",
            1,
            "must be assigned attributes that it has, got padding = 1; make",
        ),
        ("state", "layout", None, "a State must keep its layout, got None assigned; give it values by .set"),
        ("state", "keep", True, "must keep its keep"),
        (
            "state",
            "init",
            1.0,
            r"must be assigned .* got init = 1.0; give it values by .set",
        ),
        ("param", "value", 3.0, "a Param must be assigned attributes that it has, got value = 3.0"),
        ("param", "per_world", True, "must keep its per_world"),
        ("param", "version", 0, "must keep its version"),
        ("control", "every", 5, "a Control must keep its every"),
        ("scratch", "shape", (9,), "a Scratch must keep its shape, got .* declare the field anew"),
        ("constant", "integer", False, "must keep its integer"),
        ("constant", "kind", "param", "must keep its kind"),
    ],
)
def test_what_is_assigned_later_is_refused(made, name, value, words):
    declared = MADE[made]()
    before = dict(vars(declared))
    for one in (declared, copy.deepcopy(declared), pickle.loads(pickle.dumps(declared))):
        with pytest.raises(ds.StateError, match=words):
            setattr(one, name, value)
        assert vars(one).keys() == before.keys()


def test_what_may_change_does():
    layout = ds.sparse()
    layout.capacity = 7
    field = ds.State(ds.real, 8, layout=layout)
    field.unit = " m "
    assert (field.unit, field.layout.capacity) == ("m", 7)
    with pytest.raises(ds.ConfigError, match="unit must be a short text"):
        field.unit = 3

    class Warm(ds.State):
        """A declaration of somebody's own has attributes of its own."""

        source: str

    warm = Warm(ds.real, 3)
    warm.source = "sensor"
    with pytest.raises(ds.StateError, match="a Warm must keep its source"):
        warm.source = "guess"
    with pytest.raises(ds.StateError, match=r"got place = 3; .*; annotate what Warm has"):
        warm.place = 3
