"""Layouts as they are declared: what is allowed, what cells are, what is refused with which words."""

from __future__ import annotations

import numpy as np
import pytest

import diffsim as ds
from diffsim.language.cells import cells_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"block": 3}, "block must be one of 2, 4, 8, 16, 32, 64, got 3"),
        ({"block": True}, "block must be one of"),
        ({"levels": 4}, "levels must be 1, 2 or 3, got 4"),
        ({"block": 4.0}, "block must be one of .*, got 4.0"),
        ({"levels": 2.0}, "levels must be 1, 2 or 3, got 2.0"),
        (
            {"capacity": 0},
            "capacity must be a number of blocks from 1 to 1,073,741,823, .*, got 0;",
        ),
        ({"capacity": 2.5}, "capacity must be a number of blocks"),
        ({"capacity": "many"}, "capacity must be a number of blocks .* or a size like '64MiB', got 'many'"),
        ({"capacity": "0MiB"}, "capacity must be a number of blocks .* got '0MiB'; leave it out"),
    ],
)
def test_layouts_refuse_what_is_none(arguments, words):
    with pytest.raises(ds.ConfigError, match=words):
        ds.sparse(**arguments)


def test_capacities_are_blocks_or_bytes():
    layout = ds.sparse(block=4, capacity="1MiB")
    assert layout.blocks_within(16, (512, 512, 512)) == (1 << 20) // (16 * 64) - 1
    assert layout.blocks_within(16, (4, 4, 4)) == 1  # no more than the domain has
    layout.capacity = 7
    assert layout.blocks_within(16, (512, 512, 512)) == 7 == layout.capacity
    assert ds.sparse().automatic
    assert not layout.automatic
    with pytest.raises(ds.ConfigError, match="capacity must be a number of blocks"):
        layout.capacity = -1


def test_fields_take_layouts_alone():
    with pytest.raises(ds.ConfigError, match="Scratch layout must be a layout object, got 'sparse'"):
        ds.Scratch(ds.real, 8, layout="sparse")
    with pytest.raises(ds.ConfigError, match="layout must be of a field with a shape"):
        ds.State(ds.real, layout=ds.sparse())
    with pytest.raises(ds.ConfigError, match="State history must be 1 with a sparse layout, got 2"):
        ds.State(ds.real, 8, history=2, layout=ds.sparse())
    with pytest.raises(ds.ConfigError, match=r"State layout must cut the domain into fewer than 2\^31"):
        ds.State(ds.real, 10**9, 10**9, init=ds.Cells([[1, 2]], [1.0]), layout=ds.sparse())


def test_cells_and_arrays_are_the_same_values():
    array = np.zeros((6, 5, 2))
    array[1, 2], array[5, 4, 0] = (3.0, -1.0), 2.0
    state, other = (ds.State(ds.vec2, 6, 5, layout=ds.sparse()) for _ in range(2))
    state.set(array)
    other.set(ds.Cells([[1, 2], [5, 4]], [[3.0, -1.0], [2.0, 0.0]]))
    for one in (state, other):
        np.testing.assert_array_equal(one.numpy(), array)
        assert sorted(map(tuple, one.cells().indices.tolist())) == [(1, 2), (5, 4)]
    assert "2 cells" in repr(state)
    worlds = np.stack([array, 2.0 * array])
    np.testing.assert_array_equal(cells_of(worlds, 2, 1).dense((6, 5), (2,)), worlds)
    state.set(0.0)
    assert len(state.cells()) == 0
    assert not state.numpy().any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (1.0, "must be zero outside of some cells, since its layout is sparse, got 1.0 for all"),
        (float("nan"), "must be set to numbers, got nan"),
        (np.zeros((3, 3)), r"must have shape \(6, 5\), got \(3, 3\)"),
        (ds.Cells([[6, 0]], [1.0]), r"cells of .* must lie inside of \(6, 5\), got \(6, 0\)"),
        (ds.Cells([[1, 0], [1, 0]], [1.0, 2.0]), r"must be named once each, got \(1, 0\) twice"),
        (ds.Cells([[1.0, 0.0]], [1.0]), "indices of cells of .* must be integers"),
        (ds.Cells([[1]], [1.0]), r"must be integers of shape \(cells, 2\)"),
        (ds.Cells([[1, 0]], [np.nan]), "got nan among its cells"),
        (ds.Cells([[1, 0]], [1.0, 2.0]), r"values of cells of .* must be numbers of shape \(1,\)"),
        (ds.Cells([], [1.0]), r"indices of cells of .* must be integers of shape \(cells, 2\)"),
        ({"indices": [[0, 0]]}, r"must be set to numbers, got {'indices': .*; pass an array \(6, 5\)"),
        ([[1, 1], [1.0]], r"must be set to numbers, got \[\[1, 1\], \[1.0\]\]; pass an array"),
        (None, "must be set to numbers, got None"),
    ],
)
def test_values_that_do_not_fit_are_refused(given, words):
    state = ds.State(ds.real, 6, 5, layout=ds.sparse())
    with pytest.raises(ds.ConfigError, match=words):
        state.set(given)
    assert len(state.cells()) == 0


@pytest.mark.parametrize("given", [(None, None), ([["a"]], [1.0]), ([[1], [1, 2]], [1.0]), ([[1]], [None])])
def test_cells_are_made_of_numbers(given):
    with pytest.raises(ds.ConfigError, match="of cells must be an array of numbers, got"):
        ds.Cells(*given)
    assert repr(ds.Cells([], [])) == "<Cells: 0>"


def test_cells_are_for_sparse_fields_and_arrays_not_too_large():
    with pytest.raises(ds.ConfigError, match=r"must be set to an array, got cells; declare it with layout"):
        ds.State(ds.real, 6).set(ds.Cells([[1]], [1.0]))
    large = ds.State(ds.real, 4096, 4096, 4096, layout=ds.sparse())
    large.set(ds.Cells([[4000, 1, 2]], [1.0]))
    with pytest.raises(ds.StateError, match=r"takes 512.0 GiB; use their .indices and .values"):
        large.numpy()
    counts = ds.State(ds.i32, 8, layout=ds.sparse(), init=ds.Cells([[3]], [2]))
    assert counts.numpy().dtype == np.int32
