"""What rows and selections want of each chunk: beside NumPy's own indexing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.codecs import gathering
from lakeservice.codecs.gathering import Gathered, gather, gather_rows
from lakeservice.codecs.grid import Grid, Piece
from schemas.selection import select


class Chunks:
    """Chunks of an array in memory, and how often each was decoded."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.decoded: list[tuple[int, ...]] = []

    def fill(self, piece: Piece, out: Any) -> None:
        self.decoded.append(piece.position)
        ends = zip(piece.origin, piece.shape, strict=True)
        chunk = self.array[tuple(slice(start, start + length) for start, length in ends)]
        piece.place_in(out)[...] = chunk[(*piece.source, ...)]

    def all(self, found: Any) -> list[Gathered]:
        gathered = list(found)
        for each in gathered:
            each.fill(self.fill)
        return gathered


@st.composite
def grids(draw: st.DrawFn) -> tuple[Any, Grid]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks: list[Any] = [draw(st.integers(1, length)) for length in shape]
    if draw(st.booleans()):
        chunks[0] = tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, shape[0])))), shape[0]]))
    array = np.arange(np.prod(shape)).reshape(shape)
    return array, Grid(shape, tuple(chunks))


@settings(max_examples=60, deadline=None)
@given(grids(), st.data())
def test_rows_of_any_grid_are_those_of_numpy(made: tuple[Any, Grid], data: st.DataObject) -> None:
    array, grid = made
    rows = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), min_size=1, max_size=30)))
    out = np.full((len(rows), *array.shape[1:]), -1)
    found = Chunks(array).all(gather_rows(grid, rows, out))
    assert np.array_equal(out, array[rows])
    positions = [each.piece.position for each in found]
    assert len(set(positions)) == len(positions)


@pytest.mark.parametrize("most", [1 << 14, 5])
@settings(max_examples=60, deadline=None)
@given(grids(), st.data())
def test_selections_of_any_grid_are_those_of_numpy(
    most: int, made: tuple[Any, Grid], data: st.DataObject
) -> None:
    array, grid = made
    wants = []
    for _ in range(data.draw(st.integers(1, 6))):
        index = tuple(data.draw(st.slices(length)) for length in array.shape)
        selection = select(index, array.shape)
        wants.append((selection, np.full(selection.kept_shape, -1), index))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "_MOST_PIECES", most)
        Chunks(array).all(gather(grid, [(selection, out) for selection, out, _ in wants]))
    for _, out, index in wants:
        assert np.array_equal(out, array[index])


def test_a_chunk_that_many_rows_want_is_decoded_once() -> None:
    array = np.arange(64 * 8).reshape(64, 8)
    chunks = Chunks(array)
    rows = np.random.default_rng(1).permutation(64)
    out = np.empty_like(array)
    chunks.all(gather_rows(Grid(array.shape, (16, 8)), rows, out))
    assert np.array_equal(out, array[rows])
    assert chunks.decoded == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_rows_that_lie_one_after_another_go_to_their_place_in_one_piece() -> None:
    array = np.arange(64 * 8).reshape(64, 8)
    out = np.empty((20, 8), array.dtype)
    found = list(gather_rows(Grid(array.shape, (16, 8)), np.arange(10, 30), out))
    assert [len(each.wanted) for each in found] == [1, 1]
    assert [each.piece.target[0] for each in found] == [slice(0, 6), slice(6, 20)]


def test_a_few_elements_of_a_large_chunk_are_taken_one_by_one() -> None:
    array = np.arange(1000 * 10).reshape(1000, 10)
    chunks = Chunks(array)
    wants = [(select((row, 3), array.shape), np.empty((1, 1), int)) for row in (5, 900)]
    chunks.all(gather(Grid(array.shape, (1000, 10)), wants))
    assert chunks.decoded == [(0, 0), (0, 0)]
    assert [int(out[0, 0]) for _, out in wants] == [53, 9003]


def test_every_byte_of_a_record_is_copied_also_those_between_its_fields() -> None:
    fields = {"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8], "itemsize": 16}
    dtype = np.dtype(fields)  # type: ignore[call-overload]
    array = np.frombuffer(np.random.default_rng(2).bytes(64 * 16), dtype).reshape(8, 8)
    grid = Grid(array.shape, (8, 8))
    for wants in (2, 1):
        outs = [np.frombuffer(bytearray(16 * 64), dtype).reshape(8, 8) for _ in range(wants)]
        selection = select(None, array.shape)

        def fill(piece: Piece, out: Any) -> None:
            index: Any = (*piece.source, ...)
            bare = array.view("V16")[index]
            piece.place_in(out).view("V16")[...] = bare

        for gathered in gather(grid, [(selection, out) for out in outs]):
            gathered.fill(fill)
        assert all(out.tobytes() == array.tobytes() for out in outs)


def test_pixels_through_a_long_stack_are_found_in_bounded_memory() -> None:
    shape = (4000, 16, 16)
    pixels = [(slice(None), row, column) for row in range(4) for column in range(8)]
    wants = [(select(pixel, shape), np.empty((4000, 1, 1), "u1")) for pixel in pixels]
    tracemalloc.start()
    try:
        chunks = 0
        for gathered in gather(Grid(shape, (1, 16, 16)), wants):
            assert len(gathered.wanted) == len(pixels)
            chunks += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert chunks == 4000
    assert peak < 32 << 20  # all 128 000 pieces would be 90 MB


def test_rows_of_one_large_chunk_in_any_order_come_some_at_a_time() -> None:
    array = np.arange(40_000)
    rows = np.random.default_rng(3).permutation(40_000)
    out = np.empty_like(array)
    found = []
    for gathered in gather_rows(Grid(array.shape, (40_000,)), rows, out):
        gathered.fill(Chunks(array).fill)
        found.append(len(gathered.wanted))
    assert np.array_equal(out, array[rows])
    assert max(found) <= 1 << 14
