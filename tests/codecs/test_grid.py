"""The chunk grid against NumPy: which chunk holds which element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.codecs import Grid
from lakeservice.testing import array_structures, indexes
from schemas.selection import select

if TYPE_CHECKING:
    from schemas.structures import ArrayStructure


@given(st.data())
def test_pieces_put_every_element_where_numpy_puts_it(data: st.DataObject) -> None:
    structure = data.draw(array_structures(elements=st.just(np.dtype("<i8"))))
    index = data.draw(indexes(structure.shape))
    array = np.arange(np.prod(structure.shape, dtype=int)).reshape(structure.shape)
    selection = select(index, structure.shape)
    answer = np.full(selection.kept_shape, -1)
    for piece in Grid.of(structure).pieces(selection):
        bounds = zip(piece.origin, piece.shape, strict=True)
        chunk = array[tuple(slice(start, start + length) for start, length in bounds)]
        assert chunk.shape == piece.shape
        piece.place_in(answer)[...] = chunk[piece.source]
    assert np.array_equal(answer.reshape(selection.shape), array[index])


@given(st.data())
def test_pieces_are_exactly_the_chunks_that_hold_wanted_elements(data: st.DataObject) -> None:
    structure = data.draw(array_structures(elements=st.just(np.dtype("<i8"))))
    index = data.draw(indexes(structure.shape))
    numbers = np.zeros(structure.shape, np.int64)
    grid = Grid.of(structure)
    for linear in range(grid.size):
        origin, shape = grid.bounds(grid.position(linear))
        inside = zip(origin, shape, strict=True)
        numbers[tuple(slice(start, start + length) for start, length in inside)] = linear
    pieces = list(grid.pieces(select(index, structure.shape)))
    touched = [grid.linear(piece.position) for piece in pieces]
    assert len(touched) == len(set(touched))
    assert set(touched) == set(np.unique(numbers[index]).tolist())


@given(array_structures())
def test_positions_and_numbers_are_c_order_of_the_grid(structure: ArrayStructure) -> None:
    grid = Grid.of(structure)
    for linear in range(grid.size):
        position = grid.position(linear)
        assert grid.linear(position) == linear
        assert position == tuple(int(n) for n in np.unravel_index(linear, grid.counts))
        assert grid.contains(position)
    assert not grid.contains((*grid.counts, 0))


@given(array_structures())
def test_chunks_are_as_long_as_the_structure_says(structure: ArrayStructure) -> None:
    grid = Grid.of(structure)
    explicit = structure.explicit_chunks()
    for linear in range(grid.size):
        position = grid.position(linear)
        lengths = [sizes[number] for sizes, number in zip(explicit, position, strict=True)]
        assert grid.bounds(position)[1] == tuple(lengths)


def test_a_selection_far_into_a_huge_array_touches_one_chunk() -> None:
    grid = Grid((10**12, 1000), (10, 1000))
    (piece,) = grid.pieces(select(np.s_[10**11 + 3, ::2], grid.shape))
    assert piece.position == (10**10, 0)
    assert piece.source == (slice(3, 4, 1), slice(0, 999, 2))


@pytest.mark.parametrize("step", [1, 7, -1, -7])
def test_run_lengths_are_the_rows_of_each_chunk(step: int) -> None:
    grid = Grid((100,), (9,))
    selection = select(np.s_[::step], (100,))
    rows = np.arange(100)[::step] // 9
    assert list(grid.run_lengths(0, selection.axes[0])) == [
        int((rows == number).sum()) for number in dict.fromkeys(rows.tolist())
    ]
