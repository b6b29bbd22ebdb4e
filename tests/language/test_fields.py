"""The values that fields take and give: numbers, shapes, and NumPy's own ways of asking."""

import numpy as np
import pytest

import diffsim as ds
from diffsim.errors import ConfigError, StateError


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda init: ds.State(ds.vec2, 2, init=init), [[0.0, 1.0], [2.0, 3.0]]),
        (lambda init: ds.Param(ds.vec2, 2, init=init), [[0.0, 1.0], [2.0, 3.0]]),
        (lambda init: ds.Param(init), [[0.0, 1.0], [2.0, 3.0]]),
        (lambda init: ds.Constant(init), [[0.0, 1.0], [2.0, 3.0]]),
        (lambda init: ds.Control(ds.real, 2, init=init), [[0.0, 1.0], [2.0, 3.0]]),
    ],
    ids=["state", "param", "array", "constant", "control"],
)
def test_values_in_and_out(make, start):
    field = make(start)
    np.testing.assert_array_equal(np.asarray(field), start)
    assert np.asarray(field, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(2.0 * np.asarray(field) + field, 3.0 * np.array(start))
    copy = np.asarray(field)
    copy[:] = 7.0
    np.testing.assert_array_equal(field.numpy(), start)  # a copy
    with pytest.raises(ConfigError, match="must be copied"):
        field.__array__(copy=False)
    spoiled = np.array(start)
    spoiled[1, 0] = np.nan
    for use in (field.set, make):  # a declaration too
        with pytest.raises(ConfigError, match=r"must be set to numbers, got nan at index \[1, 0\]; correct"):
            use(spoiled)
    np.testing.assert_array_equal(field.numpy(), start)
    spoiled[1, 0] = -np.inf  # may be meant: a bound, where a minimum begins
    field.set(spoiled)
    np.testing.assert_array_equal(field.numpy(), spoiled)


def test_a_number_that_is_none():
    with pytest.raises(ConfigError, match="a Param must be set to numbers, got nan; correct"):
        ds.Param(np.nan)
    k = ds.Param(1.0)
    k.set(np.array(2.0))
    assert k.numpy() == np.float64(2.0)
    assert np.asarray(k).shape == ()


@pytest.mark.parametrize("field", [ds.Scratch(ds.real, 2), ds.Workspace(ds.real), ds.Simulator().cost])
def test_what_has_no_values_is_no_array(field):
    with pytest.raises(StateError, match="must be read inside a kernel"):
        np.asarray(field)


@pytest.mark.parametrize(
    ("field", "shape", "wanted"),
    [
        (ds.State(ds.vec2, 3), (4, 3, 2), "(3, 2)"),
        (ds.State(ds.real), (4,), "()"),
        (ds.Param(np.zeros(3)), (4, 3), "(3,)"),
        (ds.Constant(np.zeros(3)), (4, 3), "(3,)"),
        (ds.Control(ds.real, 3), (4, 5, 3), "(steps, 3)"),
    ],
    ids=["state", "number", "param", "constant", "control"],
)
def test_values_of_each_world_need_per_world(field, shape, wanted):
    with pytest.raises(ConfigError) as caught:
        field.set(np.zeros(shape))
    text = str(caught.value)
    assert f"must have shape {wanted}, got {shape}; declare it with per_world=True" in text
    with pytest.raises(ConfigError, match="; reshape the array"):
        field.set(np.zeros((*shape, 7)))
