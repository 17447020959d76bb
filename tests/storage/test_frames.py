"""Blosc frames of selections, decoded by numcodecs and compared with NumPy."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numcodecs.blosc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.codecs.grid import Grid
from lakeservice.service.service import Service
from lakeservice.service.writing import Draft
from lakeservice.storage.frames import WORTH, frames
from lakeservice.testing import array_structures, selections
from schemas.errors import CorruptError
from schemas.selection import Selection, parse_selection
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakeservice.storage.arrays import StoredArray

Array = np.ndarray[Any, Any]


def joined(pieces: Any, dtype: np.dtype[Any]) -> Array:
    """Decode frames, each of which says itself how long it is."""
    stream = b"".join(pieces)
    decoded, place = [], 0
    while place < len(stream):
        (length,) = struct.unpack_from("<I", stream, place + 12)
        decoded.append(bytes(numcodecs.blosc.decompress(stream[place : place + length])))
        place += length
    return np.frombuffer(b"".join(decoded), dtype)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.open(str(tmp_path_factory.mktemp("lake")), create=True) as opened:
        yield opened


def stored(service: Service, key: str, array: Array, chunks: tuple[int, ...]) -> StoredArray:
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
    service.write_array(Draft(key, structure, {}), [array])
    return service.reader.array(service.describe(key))


CUBE = np.arange(13 * 8 * 10, dtype=">i4").reshape(13, 8, 10)


@pytest.fixture(scope="module")
def cube(service: Service) -> StoredArray:
    return stored(service, "cube", CUBE, (4, 8, 10))


@pytest.mark.parametrize("text", ["", "4:8", "0:12", "12", "4:13", "1:12", "12:13,0:8", "4:8,:,:"])
def test_frames_hold_what_numpy_selects(cube: StoredArray, text: str) -> None:
    selection = parse_selection(text, CUBE.shape)
    found = frames(cube, selection)
    assert found is not None
    values = joined(found, CUBE.dtype).reshape(selection.shape)
    np.testing.assert_array_equal(values, CUBE[selection.as_index()])


@pytest.mark.parametrize("text", ["::2", "::-1", "5", "0:13,0:4", "0:13,:,::2", "1:4", "0:0"])
def test_what_is_cut_or_out_of_order_is_left_to_decode(cube: StoredArray, text: str) -> None:
    assert frames(cube, parse_selection(text, CUBE.shape)) is None


def test_whole_chunks_are_the_stored_bytes(service: Service, cube: StoredArray) -> None:
    selection = parse_selection("4:8", CUBE.shape)
    (chunk,) = service.read_encoded(service.describe("cube"), selection)
    found = frames(cube, selection)
    assert found is not None
    checksum_bytes = 4
    assert [bytes(frame) for frame in found] == [bytes(chunk.encoded or b"")[:-checksum_bytes]]


def test_single_frames_may_be_taken_in_any_order(service: Service) -> None:
    stack = np.arange(9 * 4 * 5, dtype="u2").reshape(9, 4, 5)
    array = stored(service, "stack", stack, (1, 4, 5))
    for text in ("::3", "::-2", "7", "2:6"):
        selection = parse_selection(text, stack.shape)
        found = frames(array, selection)
        assert found is not None
        values = joined(found, stack.dtype).reshape(selection.shape)
        np.testing.assert_array_equal(values, stack[selection.as_index()])


def test_chunks_that_nobody_wrote_are_zeros(service: Service) -> None:
    structure = ArrayStructure.from_numpy((6, 5), np.dtype("f4"), (2, 5))
    service.create_empty(Draft("empty", structure, {}))
    found = frames(service.reader.array(service.describe("empty")), parse_selection("", (6, 5)))
    assert found is not None
    assert not joined(found, np.dtype("f4")).any()


def test_a_damaged_frame_ends_the_answer(service: Service, tmp_path: Path) -> None:
    array = stored(service, "damaged", CUBE, (4, 8, 10))
    place = array.ranges(list(array.grid.pieces(parse_selection("0:4", CUBE.shape))))[0]
    assert place is not None
    assert place.name is not None
    assert service.lake.objects.root is not None
    file = service.lake.objects.root / place.name
    file.chmod(0o600)
    file.write_bytes(b"\0" * 50)
    found = frames(array, parse_selection("", CUBE.shape))
    assert found is not None
    with pytest.raises(CorruptError, match=r"chunk \(0, 0, 0\)"):
        list(found)


def pieces_in_order(grid: Grid, selection: Selection) -> tuple[bool, float]:
    """Tell by brute force whether pieces follow one another, and how much is whole."""
    numbers = np.arange(int(np.prod(selection.kept_shape))).reshape(selection.kept_shape)
    seen, whole = [], 0
    for piece in grid.pieces(selection):
        part = numbers[piece.target]
        seen.extend(part.ravel().tolist())
        if piece.target_shape == piece.shape and all(
            cut.step == 1 or length == 1
            for cut, length in zip(piece.source, piece.shape, strict=True)
        ):
            whole += part.size
    return seen == sorted(seen), whole / max(1, numbers.size)


@settings(max_examples=150)
@given(st.data())
def test_the_share_is_never_promised_where_chunks_interleave(data: st.DataObject) -> None:
    structure = data.draw(array_structures())
    selection = data.draw(selections(structure.shape))
    grid = Grid.of(structure)
    share = grid.share_in_sequence(selection)
    in_order, whole = pieces_in_order(grid, selection)
    if share >= WORTH:
        assert in_order
        assert share == pytest.approx(whole)
