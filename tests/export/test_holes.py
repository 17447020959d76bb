from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.export import elements as elements_module
from lakeservice.export.elements import array_hole, elements
from lakeservice.export.holes import Hole, streamed
from schemas.errors import CorruptError
from tests.export.memory import Array, InMemoryArray

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(SHAPES, st.integers(1, 40), st.data())
def test_elements_are_those_that_numpy_counts_in_c_order(
    shape: tuple[int, ...], read_bytes: int, data: st.DataObject
) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype="<i4").reshape(shape)
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size + 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements_module, "READ_BYTES", read_bytes)
        got = [block.ravel() for block in elements(InMemoryArray(array=array), start, stop)]
    assert [int(one) for block in got for one in block] == array.ravel()[start:stop].tolist()
    assert all(block.nbytes <= max(4, read_bytes) for block in got)


@given(st.data())
def test_a_file_with_holes_comes_out_as_if_it_had_been_written_whole(data: st.DataObject) -> None:
    first, second = np.arange(12.0).reshape(3, 4), np.arange(7, dtype=">u2")
    whole = b"head" + first.astype("<f4").tobytes() + b"between" + second.tobytes() + b"\0\0"
    holes = [
        array_hole(InMemoryArray(array=second), 4 + 48 + 7),
        array_hole(InMemoryArray(array=first, length=2), 4, np.dtype("<f4")),
    ]
    if data.draw(st.booleans()):
        holes = [Hole(hole.offset, hole.length, hole.blocks) for hole in holes]
    file = io.BytesIO(b"head" + bytes(48) + b"between")
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.none() | st.integers(start, len(whole)))
    got = [bytes(piece) for piece in streamed(file, len(whole), holes, start, stop)]
    assert b"".join(got) == whole[start:stop]
    assert all(got)


@pytest.mark.parametrize("length", [8, 32])
def test_a_source_of_another_length_ends_the_file(length: int) -> None:
    def blocks() -> Iterator[Array]:
        yield np.zeros(2)

    with pytest.raises(CorruptError, match=f"not the {length} bytes"):
        list(streamed(io.BytesIO(), length, [Hole(0, length, blocks)]))
