"""Layouts of dense fields, as they are declared: what they may say, and where they put elements."""

import re

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.language.arrangement import Arrangement, steps_of


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": "ik"}, "dense order must name each axis of the field once, i, j, k, ..., got 'ik'"),
        ({"order": "jj"}, "dense order must name each axis of the field once"),
        ({"order": ""}, "dense order must name each axis of the field once"),
        ({"order": 3}, "dense order must name each axis of the field once"),
        (
            {"components": "aos"},
            "dense components must be 'together' or 'apart', got 'aos'; 'together' is an",
        ),
        ({"pad": -1}, "pad must be a number of cells from 0 to 1,048,576, or one for each axis, got -1"),
        ({"pad": (1, 2.5)}, "dense pad must be"),
        ({"pad": True}, "dense pad must be"),
        ({"multiple": 0}, "multiple must be a number of cells from 1 to 1,048,576, or one for each axis"),
        ({"multiple": ()}, "dense multiple must be"),
    ],
)
def test_what_a_layout_may_say(given, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        ds.dense(**given)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: ds.State(ds.real, 3, 4, layout=ds.dense("kji")),
            "State layout must fit a field of 2 axes, got order='kji'; tell one for each of i, j",
        ),
        (
            lambda: ds.Constant(ds.real, 3, layout=ds.dense(pad=(0, 1))),
            "Constant layout must fit a field of 1 axes, got pad=(0, 1)",
        ),
        (
            lambda: ds.Param(ds.vec2, layout=ds.dense(components="together")),
            "Param layout must be of a field with a shape, got none",
        ),
        (
            lambda: ds.Scratch(ds.real, 3, layout=ti.Layout.AOS),
            "make one with ds.dense(...) or ds.sparse(...)",
        ),
        (
            lambda: ds.Param(ds.real, 8, 8, layout=ds.sparse()),
            "Param layout must be dense, since all of its cells have a gradient, got ds.sparse(block=4, "
            "levels=2); use ds.dense(...), or ds.Constant for what is only read",
        ),
        (lambda: ds.Control(ds.real, 8, 8, layout=ds.sparse()), "Control layout must be dense"),
    ],
)
def test_what_fields_may_have(declare, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        declare()


def test_names():
    told = "ds.dense(order='ji', components='together', pad=1, multiple=(1, 4))"
    assert repr(ds.dense("ji", "together", 1, [1, 4])) == told
    assert repr(ds.dense()) == "ds.dense()"
    assert ds.dense().arrangement((3, 4), 2) is None
    assert ds.dense("ij", "together", multiple=4).arrangement((3, 4), 1) is None
    assert ds.dense("ji", pad=1, multiple=4).arrangement((3, 4), 2) == Arrangement((1, 0), (4, 4))


def test_elements_have_places_of_their_own():
    """Each element is where an array with those axes, in that order and of those lengths, has it."""
    for order in ((0, 1), (1, 0)):
        for lengths in ((3, 4), (5, 4), (3, 8)):
            for beside in (1, 3):
                steps = steps_of((2, 3, 4, 5), 1, Arrangement(order, lengths, beside))
                memory = np.arange(2 * lengths[0] * lengths[1] * beside * 5)
                along = [lengths[axis] for axis in order]
                there = memory.reshape(2, *along, beside, 5).transpose(
                    3, 0, *(1 + order.index(a) for a in (0, 1)), 4
                )
                there = there[:, :, :3, :4]
                assert steps.size == memory.size
                assert steps.component == (5 if beside > 1 else 0)
                for component in range(beside):
                    strides = [8 * step for step in steps.strides]
                    part = memory[component * steps.component :]
                    found = np.lib.stride_tricks.as_strided(part, (2, 3, 4, 5), strides)
                    np.testing.assert_array_equal(found, there[component])
