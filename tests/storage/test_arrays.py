"""Arrays in the lake and in registered files, against NumPy and zarr-python."""

from __future__ import annotations

import math
import os
import uuid
from typing import TYPE_CHECKING, Any, Literal

import google_crc32c
import msgspec
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import LocalStore

from lakeservice.codecs import Chain, Grid
from lakeservice.codecs.steps import whole_elements
from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.checksums import damaged_chunks
from lakeservice.storage.chunk_index import write_chunk_index
from lakeservice.storage.chunking import good_chunks
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.storage.region_writer import RegionWriter
from lakeservice.testing import array_structures, arrays, indexes, random_array, selections
from schemas.chunks import (
    ArrayStorage,
    ChunkLayout,
    Codec,
    Contiguous,
    Indexed,
    Inline,
    Part,
    ZarrParts,
)
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, UnavailableError
from schemas.selection import select
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BLOSC = Codec("blosc", {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"})


@pytest.fixture(scope="module", params=["disk", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    if request.param == "memory":
        return Objects.open("memory://")
    return Objects.open(str(tmp_path_factory.mktemp("lake")))


def write(
    objects: Objects,
    array: NDArray[Any],
    structure: ArrayStructure | None = None,
    codecs: Sequence[Codec] | None = None,
    rows: int = 3,
) -> StoredArray:
    """Write an array a few rows at a time; return it as it is stored."""
    if structure is None:
        chunks = tuple(max(1, length // 2) for length in array.shape)
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
    writer = ArrayWriter(objects, f"data/{uuid.uuid4().hex}/0", structure, codecs)
    if array.shape:
        for start in range(0, len(array), rows):
            writer.write(array[start : start + rows])
    else:
        writer.write(array)
    return stored(objects, writer.structure, writer.finish())


def stored(
    objects: Objects,
    structure: ArrayStructure,
    storage: ArrayStorage,
    assets: Sequence[Asset] = (),
) -> StoredArray:
    return StoredArray(objects, structure, storage, assets, fetch_files=FileReader())


def cut(array: NDArray[Any], index: Any) -> NDArray[Any]:
    """Return what NumPy gives for an index, in the array's own byte order also for one element."""
    array = whole_elements(array)  # bytes between the fields of records count, too
    return np.asarray(array[index], array.dtype)


def asset_of(path: Path, number: int = 0) -> Asset:
    status = path.stat()
    return Asset(
        data_uri=path.as_uri().replace("file://", "file://localhost"),
        num=number,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def prefix_of(array: StoredArray) -> str:
    location = array.storage.location
    assert isinstance(location, ZarrParts)
    return location.parts[0].name


@given(st.data())
def test_any_selection_of_what_was_written_is_what_numpy_gives(
    objects: Objects, data: st.DataObject
) -> None:
    structure = data.draw(array_structures())
    array = data.draw(arrays(structure))
    found = write(objects, array, structure, rows=data.draw(st.integers(1, 9)))
    assert found.structure.shape == structure.shape
    for _ in range(3):
        index = data.draw(indexes(structure.shape))
        selection = select(index, structure.shape)
        answer = found.read(selection)
        assert answer.dtype == structure.dtype
        assert answer.shape == selection.kept_shape
        assert answer.tobytes() == cut(array, index).tobytes()


@given(st.data())
def test_blocks_put_together_are_the_selection(objects: Objects, data: st.DataObject) -> None:
    structure = data.draw(array_structures())
    array = data.draw(arrays(structure))
    found = write(objects, array, structure)
    selection = data.draw(selections(structure.shape))
    target = data.draw(st.sampled_from([1, 64, 1024, 1 << 20]))
    blocks = list(found.blocks(selection, target_bytes=target))
    truth = cut(array, selection.as_index())
    assert b"".join(block.tobytes() for block in blocks) == truth.tobytes()
    if truth.ndim:
        assert all(block.shape[1:] == truth.shape[1:] for block in blocks)
        assert sum(len(block) for block in blocks) == len(truth)
    else:
        assert [block.shape for block in blocks] == [()]


@given(st.data())
def test_encoded_chunks_decode_to_the_selection(objects: Objects, data: st.DataObject) -> None:
    structure = data.draw(array_structures())
    array = data.draw(arrays(structure))
    found = write(objects, array, structure)
    selection = data.draw(selections(structure.shape))
    chain = Chain.of(found.storage.layout)
    whole = np.zeros(structure.shape, structure.dtype)
    touched = 0
    for chunk in found.encoded(selection):
        assert chunk.encoded is not None
        bounds = zip(chunk.origin, chunk.shape, strict=True)
        inside: Any = (*(slice(start, start + length) for start, length in bounds), ...)
        decoded = chain.decode(chunk.encoded, chunk.shape, filter_mask=chunk.filter_mask)
        whole_elements(whole)[inside] = whole_elements(decoded)
        touched += 1
    index = selection.as_index()
    assert cut(whole, index).tobytes() == cut(array, index).tobytes()
    assert touched == sum(1 for _ in Grid.of(found.structure).pieces(selection))


@given(st.data())
def test_zarr_python_reads_what_was_written_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    structure = data.draw(array_structures())
    array = data.draw(arrays(structure))
    folder = tmp_path_factory.mktemp("zarr", numbered=True)
    found = write(Objects.open(str(folder)), array, structure)
    opened: Any = zarr.open_array(LocalStore(folder / prefix_of(found)), mode="r")
    assert opened.shape == array.shape
    values = np.asarray(opened[...], opened.dtype)
    if opened.dtype.kind == "V" and array.dtype.names is not None and not opened.dtype.names:
        assert values.tobytes() == array.tobytes()  # raw bytes: what Zarr has no name for
    else:
        # zarr-python answers in native byte order, whatever is stored
        assert values.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", None])
def test_arrays_with_any_core_codec_are_read_by_zarr_python(
    tmp_path: Path, codec: str | None
) -> None:
    array = random_array((30, 41), np.dtype("<u2"), 1)
    settings: dict[str, Any] = {
        "blosc": {
            "cname": "zstd",
            "clevel": 1,
            "shuffle": "shuffle",
            "typesize": 2,
            "blocksize": 0,
        },
        "zstd": {"level": 3, "checksum": False},
        "gzip": {"level": 5},
    }
    codecs = [Codec("bytes", {"endian": "little"})]
    if codec:
        codecs.append(Codec(codec, settings[codec]))
    found = write(Objects.open(str(tmp_path)), array, None, codecs)
    opened: Any = zarr.open_array(LocalStore(tmp_path / prefix_of(found)), mode="r")
    assert np.array_equal(opened[...], array)
    assert np.array_equal(found.read(select(None, array.shape)), array)


def test_dims_are_zarrs_dimension_names(tmp_path: Path) -> None:
    structure = ArrayStructure.from_numpy((4, 5), np.dtype("<f4"), (2, 5), ("frame", "x"))
    found = write(Objects.open(str(tmp_path)), np.zeros((4, 5), "<f4"), structure)
    opened: Any = zarr.open_array(LocalStore(tmp_path / prefix_of(found)), mode="r")
    assert opened.metadata.dimension_names == ("frame", "x")


def test_parts_follow_one_another_though_the_last_chunk_of_each_is_cut(objects: Objects) -> None:
    array = np.arange(23 * 4, dtype="<i4").reshape(23, 4)
    parts: list[Part] = []
    sizes: list[int] = []
    layout: ChunkLayout | None = None
    for start, stop in ((0, 10), (10, 11), (11, 23)):
        piece = array[start:stop]
        structure = ArrayStructure.from_numpy((4, 4), piece.dtype, (4, 4))
        writer = ArrayWriter(objects, f"data/{uuid.uuid4().hex}/0", structure, growing=True)
        writer.write(piece)
        storage = writer.finish()
        layout = layout or storage.layout
        assert isinstance(storage.location, ZarrParts)
        parts.extend(storage.location.parts)
        sizes.extend(writer.structure.explicit_chunks()[0])
    assert layout is not None
    layout = msgspec.structs.replace(layout, chunk_shape=(4, 4))
    whole = ArrayStructure.from_numpy(array.shape, array.dtype, (tuple(sizes), 4))
    found = stored(
        objects, whole, ArrayStorage(layout=layout, location=ZarrParts(parts=tuple(parts)))
    )
    for index in (None, np.s_[9:12], np.s_[::-3, 1], np.s_[22], np.s_[10]):
        selection = select(index, array.shape)
        truth = array if index is None else array[index]
        assert np.array_equal(found.read(selection).reshape(selection.shape), truth)


@given(st.data())
def test_raw_bytes_of_a_file_are_read_in_place(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    structure = data.draw(array_structures(max_axes=3))
    array = data.draw(arrays(structure))
    path = tmp_path_factory.mktemp("raw", numbered=True) / "array.raw"
    chunks = tuple(max(1, length) for length in structure.shape)
    if chunks:
        chunks = (data.draw(st.integers(1, 5)), *chunks[1:])
    structure = msgspec.structs.replace(structure, chunks=chunks)
    path.write_bytes(b"header " + array.tobytes())
    storage = ArrayStorage(
        layout=ChunkLayout(
            data_type=structure.data_type,
            chunk_shape=chunks,
            codecs=(Codec("bytes"),),
            edge="clipped",
        ),
        location=Contiguous(offset=7),
    )
    found = stored(Objects.open("memory://"), structure, storage, [asset_of(path)])
    index = data.draw(indexes(structure.shape))
    selection = select(index, structure.shape)
    assert found.read(selection).tobytes() == cut(array, index).tobytes()
    blocks = found.blocks(selection, target_bytes=50)
    assert b"".join(block.tobytes() for block in blocks) == cut(array, index).tobytes()


def test_full_and_clipped_chunks_in_one_piece_lie_where_they_should(tmp_path: Path) -> None:
    array = np.arange(7 * 10, dtype="<u2").reshape(7, 10)
    grid = Grid((7, 10), (3, 4))
    edges: tuple[Literal["full", "clipped"], ...] = ("full", "clipped")
    for edge in edges:
        layout = ChunkLayout(
            data_type=DataType.from_numpy(array.dtype),
            chunk_shape=(3, 4),
            edge=edge,
        )
        chain, path = Chain(layout), tmp_path / edge
        with path.open("wb") as file:
            for linear in range(grid.size):
                origin, shape = grid.bounds(grid.position(linear))
                inside = zip(origin, shape, strict=True)
                chunk = array[tuple(slice(start, start + length) for start, length in inside)]
                file.write(chain.encode(chunk))
        storage = ArrayStorage(layout=layout, location=Contiguous(offset=0))
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, (3, 4))
        found = stored(Objects.open("memory://"), structure, storage, [asset_of(path)])
        assert np.array_equal(found.read(select(None, array.shape)), array)
        assert np.array_equal(
            found.read(select(np.s_[6:2:-3, 8:1:-2], array.shape)), array[6:2:-3, 8:1:-2]
        )


def test_chunks_of_two_files_are_found_by_their_index_and_absent_ones_are_fill(
    tmp_path: Path, objects: Objects
) -> None:
    array = np.arange(6 * 8, dtype=">u2").reshape(6, 8)
    layout = ChunkLayout(
        data_type=DataType.from_numpy(array.dtype),
        chunk_shape=(2, 5),
        codecs=(Codec("hdf5.deflate", {"options": [1]}),),
        fill_value=np.array(77, ">u2").tobytes(),
    )
    chain, grid = Chain(layout), Grid((6, 8), (2, 5))
    compressed = Chain(msgspec.structs.replace(layout, codecs=(Codec("gzip"),)))
    assert compressed.supported(layout.codecs) is None
    import zlib

    paths = [tmp_path / "a", tmp_path / "b"]
    files = [path.open("wb") for path in paths]
    rows: dict[str, list[int]] = {
        name: [] for name in ("chunk", "asset", "offset", "length", "filter_mask")
    }
    truth = array.copy()
    for linear in range(grid.size):
        origin, shape = grid.bounds(grid.position(linear))
        inside = tuple(
            slice(start, start + length) for start, length in zip(origin, shape, strict=True)
        )
        if linear == 3:
            truth[inside] = 77
            continue
        plain = Chain(msgspec.structs.replace(layout, codecs=())).encode(array[inside])
        mask = linear % 2
        payload = plain if mask else zlib.compress(plain)
        file = files[linear % 2]
        for name, value in zip(
            rows, (linear, linear % 2, file.tell(), len(payload), mask), strict=True
        ):
            rows[name].append(value)
        file.write(payload)
    for file in files:
        file.close()
    assert chain.fill == 77
    columns: dict[str, Any] = {name: np.array([0, *values, 9]) for name, values in rows.items()}
    name = f"data/{uuid.uuid4().hex}/chunks.parquet"
    write_chunk_index(objects, name, columns)
    storage = ArrayStorage(
        layout=layout, location=Indexed(index=name, first=1, count=len(rows["chunk"]))
    )
    structure = ArrayStructure.from_numpy(array.shape, np.dtype("<u2"), (2, 5))
    assets = [asset_of(path, number) for number, path in enumerate(paths)]
    found = stored(objects, structure, storage, assets)
    for index in (np.s_[...], np.s_[::-1, ::3], np.s_[3, 7], np.s_[2:4, 5:]):
        selection = select(index, array.shape)
        answer = found.read(selection)
        assert answer.dtype == np.dtype("<u2")
        assert np.array_equal(answer.reshape(selection.shape), truth[index])
    encoded = {chunk.position: chunk for chunk in found.encoded(select(None, array.shape))}
    assert encoded[(1, 1)].encoded is None
    assert [chunk.filter_mask for chunk in encoded.values()] == [0, 1, 0, 0, 0, 1]


def test_an_inline_array_is_read_from_its_entry() -> None:
    for array in (np.arange(12, dtype="<f8").reshape(3, 4), np.array(5, ">i2")):
        structure = ArrayStructure.from_numpy(array.shape, array.dtype)
        layout = ChunkLayout(data_type=structure.data_type, chunk_shape=array.shape)
        storage = ArrayStorage(layout=layout, location=Inline(payload=array.tobytes()))
        found = stored(Objects.open("memory://"), structure, storage)
        assert np.array_equal(found.read(select(None, array.shape)), array)
        (chunk,) = found.encoded(select(None, array.shape))
        assert chunk.encoded == array.tobytes()


def test_a_read_fills_the_array_that_is_given(objects: Objects) -> None:
    array = random_array((9, 5), np.dtype("<f4"), 3)
    found = write(objects, array)
    out = np.empty((4, 5), "<f8")
    assert found.read(select(np.s_[2:6], array.shape), out) is out
    assert np.array_equal(out, array[2:6].astype("<f8"), equal_nan=True)


def test_a_chunk_that_was_written_and_is_lost_is_corrupt(objects: Objects) -> None:
    array = np.ones((6, 4), "<u2")
    found = write(objects, array)
    objects.delete([f"{prefix_of(found)}/c/1/0"])
    assert np.array_equal(found.read(select(np.s_[:3, 2:], array.shape)), array[:3, 2:])
    with pytest.raises(CorruptError, match=r"chunk \(1, 0\)") as caught:
        found.read(select(None, array.shape))
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK
    with pytest.raises(CorruptError, match=r"chunk \(1, 0\)"):
        list(found.encoded(select(None, array.shape)))


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_chunk_that_is_damaged_is_corrupt_and_named(
    objects: Objects, content: bytes | None
) -> None:
    array = random_array((6, 400), np.dtype("<u2"), 1)
    found = write(objects, array)
    name = f"{prefix_of(found)}/c/0/1"
    encoded = objects.get(name)
    assert encoded is not None
    objects.put(name, encoded[:-7] if content is None else content)
    for index in (np.s_[...], np.s_[0, -3:]):
        with pytest.raises(CorruptError, match=r"chunk \(0, 1\)") as caught:
            found.read(select(index, array.shape))
        assert caught.value.kind is ErrorKind.CORRUPT_CHUNK
        assert "data/" not in str(caught.value)


@pytest.mark.parametrize("index", [None, 1, (1, slice(0, 2))])
def test_a_chunk_that_the_disk_does_not_give_is_unavailable_and_named(
    tmp_path: Path, index: Any
) -> None:
    objects = Objects.open(str(tmp_path))
    array = random_array((3, 300, 400), np.dtype("<u2"), 1)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (1, 300, 400))
    found = write(objects, array, structure)
    chunk = tmp_path / prefix_of(found) / "c/1/0/0"
    chunk.unlink()
    chunk.mkdir()  # it can be opened, but each read fails
    for read in (found.read, lambda asked: list(found.encoded(asked))):
        with pytest.raises(UnavailableError, match=r"chunk \(1, 0, 0\)") as caught:
            read(select(index, array.shape))
        assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE


def flip(objects: Objects, name: str) -> None:
    """Turn one bit in the middle of an object."""
    stored = bytearray(objects.get(name) or b"")
    stored[len(stored) // 2] ^= 8
    objects.put(name, bytes(stored))


@pytest.mark.parametrize("index", [np.s_[...], np.s_[0, -3:], np.s_[2:0:-1, 250:260]])
def test_a_flipped_bit_is_never_read_as_a_number(objects: Objects, index: Any) -> None:
    array = np.arange(6 * 20000, dtype="<u2").reshape(6, 20000)
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (6, 20000)))
    name = f"{prefix_of(found)}/c/0/0"
    selection = select(index, array.shape)
    assert np.array_equal(found.read(selection).reshape(selection.shape), array[index])
    flip(objects, name)
    with pytest.raises(CorruptError, match=r"chunk \(0, 0\).*checksum") as caught:
        found.read(selection)
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


def test_damaged_and_lost_chunks_are_found_without_decoding(objects: Objects) -> None:
    array = random_array((7, 9), np.dtype("<u2"), 1)
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (3, 4)))
    assert list(damaged_chunks(objects, found.structure, found.storage)) == []
    flip(objects, f"{prefix_of(found)}/c/1/2")
    objects.delete([f"{prefix_of(found)}/c/2/0"])
    damaged = list(damaged_chunks(objects, found.structure, found.storage))
    assert [each.position for each in damaged] == [(1, 2), (2, 0)]
    assert "checksum" in damaged[0].reason
    assert "not there" in damaged[1].reason


def test_a_damaged_chunk_is_not_changed_in_part(objects: Objects) -> None:
    array = random_array((6, 8), np.dtype("<u2"), 1)
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (3, 8)))
    flip(objects, f"{prefix_of(found)}/c/1/0")
    for writer in (BlockWriter, RegionWriter):
        with pytest.raises(CorruptError, match=r"chunk \(1, 0\) is corrupt.*checksum"):
            writer(objects, found.structure, found.storage).write((4, 0), array[:1])
    BlockWriter(objects, found.structure, found.storage).write((3, 0), array[3:])
    assert np.array_equal(found.read(select(None, array.shape)), array)


def test_a_lost_chunk_is_not_made_anew_where_it_is_changed_in_part(objects: Objects) -> None:
    array = random_array((6, 8), np.dtype("<u2"), 1)
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (3, 8)))
    name = f"{prefix_of(found)}/c/1/0"
    objects.delete([name])
    for writer in (BlockWriter, RegionWriter):
        with pytest.raises(CorruptError, match=r"chunk \(1, 0\) is corrupt.*not there any more"):
            writer(objects, found.structure, found.storage).write((4, 0), array[:1])
        assert objects.get(name) is None
    BlockWriter(objects, found.structure, found.storage).write((3, 0), array[3:])
    assert np.array_equal(found.read(select(None, array.shape)), array)


def test_blocks_and_rewritten_chunks_are_compared_too(objects: Objects) -> None:
    structure = ArrayStructure.from_numpy((8, 9), np.dtype("<u2"), (3, 4))
    writer = ArrayWriter(objects, f"data/{uuid.uuid4().hex}/0", structure)
    writer.write_block((0, 1), np.ones((3, 4), "<u2"))
    storage = writer.finish(sparse=True)
    structure, storage = RegionWriter(objects, structure, storage).write(
        (5, 8), np.full((4, 1), 2, "<u2")
    )
    assert list(damaged_chunks(objects, structure, storage)) == []
    assert isinstance(storage.location, ZarrParts)
    home = storage.location.parts[0].name
    names = [name for name, _ in objects.list(f"{home}/rewritten") if "index" not in name]
    flip(objects, f"{home}/c/0/1")
    flip(objects, next(name for name in names if "2.2" in name))
    damaged = [each.position for each in damaged_chunks(objects, structure, storage)]
    assert damaged == [(0, 1), (2, 2)]


def test_arrays_from_before_chunks_had_checksums_are_read_and_compared(objects: Objects) -> None:
    array = random_array((7, 9), np.dtype("<u2"), 1)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (3, 4))
    codecs = (Codec("bytes", {"endian": "little"}), BLOSC)
    found = write(objects, array, structure, codecs)
    assert isinstance(found.storage.location, ZarrParts)
    (part,) = found.storage.location.parts
    sums = [
        google_crc32c.value(objects.get(f"{part.name}/c/{row}/{column}") or b"")
        for row in range(3)
        for column in range(3)
    ]
    beside = np.array(sums, "<u4").tobytes()
    objects.put(f"{part.name}/checksums", beside)
    old = msgspec.structs.replace(part, checksum=f"crc32c:{google_crc32c.value(beside):08x}")
    storage = msgspec.structs.replace(found.storage, location=ZarrParts(parts=(old,)))
    assert np.array_equal(found.read(select(None, array.shape)), array)
    assert list(damaged_chunks(objects, structure, storage)) == []
    flip(objects, f"{part.name}/c/1/2")
    objects.delete([f"{part.name}/c/2/0"])
    damaged = [each.position for each in damaged_chunks(objects, structure, storage)]
    assert damaged == [(1, 2), (2, 0)]
    objects.put(f"{part.name}/checksums", b"????")
    with pytest.raises(CorruptError, match="checksums"):
        list(damaged_chunks(objects, structure, storage))
    BlockWriter(objects, structure, storage).write((0, 0), array)
    assert list(damaged_chunks(objects, structure, storage)) == []
    assert np.array_equal(found.read(select(None, array.shape)), array)


def test_blocks_of_a_damaged_array_end_with_the_error(objects: Objects) -> None:
    array = random_array((40, 100), np.dtype("<u2"), 1)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (4, 100))
    found = write(objects, array, structure)
    objects.put(f"{prefix_of(found)}/c/5/0", b"nonsense")
    blocks = found.blocks(select(None, array.shape), target_bytes=800)
    read = [next(blocks) for _ in range(5)]
    assert np.array_equal(np.concatenate(read), array[:20])
    with pytest.raises(CorruptError, match=r"chunk \(5, 0\)"):
        next(blocks)


def test_blocks_may_be_left_in_the_middle(objects: Objects) -> None:
    array = random_array((400, 100), np.dtype("<u2"), 1)
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (4, 100)))
    blocks = found.blocks(select(None, array.shape), target_bytes=800)
    assert np.array_equal(next(blocks), array[:4])
    blocks.close()  # type: ignore[attr-defined]
    assert np.array_equal(found.read(select(7, array.shape))[0], array[7])


def test_blocks_are_whole_chunks_of_about_the_size_asked_for(objects: Objects) -> None:
    array = np.zeros((100, 10), "<u2")
    found = write(objects, array, ArrayStructure.from_numpy(array.shape, array.dtype, (7, 10)))
    sizes = [len(block) for block in found.blocks(select(None, array.shape), target_bytes=600)]
    assert sizes == [28, 28, 28, 16]
    sizes = [len(block) for block in found.blocks(select(np.s_[::-3], (100, 10)), target_bytes=1)]
    assert sum(sizes) == 34


def test_a_registered_file_that_changed_or_went_is_said_so(tmp_path: Path) -> None:
    array = np.arange(100, dtype="<u2")
    path = tmp_path / "secret-folder" / "array.raw"
    path.parent.mkdir()
    array.tofile(path)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype)
    layout = ChunkLayout(data_type=structure.data_type, chunk_shape=(100,))
    storage = ArrayStorage(layout=layout, location=Contiguous(offset=0))

    def read(asset: Asset) -> NDArray[Any]:
        found = stored(Objects.open("memory://"), structure, storage, [asset])
        return found.read(select(None, array.shape))

    asset = asset_of(path)
    assert np.array_equal(read(asset), array)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptError, match=r"array\.raw.*changed") as caught:
        read(asset)
    assert caught.value.kind is ErrorKind.ASSET_CHANGED
    path.unlink()
    with pytest.raises(CorruptError, match=r"array\.raw.*gone") as caught:
        read(asset)
    assert caught.value.kind is ErrorKind.ASSET_MISSING
    assert "secret-folder" not in str(caught.value)


def test_a_raw_file_that_ends_before_its_chunk_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "array.raw"
    path.write_bytes(bytes(150))
    structure = ArrayStructure.from_numpy((100,), np.dtype("<u2"), (50,))
    layout = ChunkLayout(data_type=structure.data_type, chunk_shape=(50,))
    storage = ArrayStorage(layout=layout, location=Contiguous(offset=0))
    found = stored(Objects.open("memory://"), structure, storage, [asset_of(path)])
    assert not found.read(select(np.s_[:50], (100,))).any()
    with pytest.raises(CorruptError, match=r"chunk \(1,\).*ends 50 bytes before"):
        found.read(select(None, (100,)))


@given(st.data())
def test_blocks_written_in_any_order_give_the_array(objects: Objects, data: st.DataObject) -> None:
    structure = data.draw(array_structures(max_axes=3, max_side=8))
    array = data.draw(arrays(structure))
    writer = ArrayWriter(objects, f"data/{uuid.uuid4().hex}/0", structure)
    grid = Grid.of(structure)
    order = data.draw(st.permutations(range(grid.size)))
    truth = np.zeros(structure.shape, structure.dtype)
    for linear in order[: data.draw(st.integers(0, len(order)))]:
        position = grid.position(linear)
        origin, shape = grid.bounds(position)
        bounds = zip(origin, shape, strict=True)
        inside: Any = (*(slice(start, start + length) for start, length in bounds), ...)
        writer.write_block(position, array[inside])
        whole_elements(truth)[inside] = whole_elements(array)[inside]
    storage = writer.finish(sparse=True)
    found = stored(objects, writer.structure, storage)
    assert found.read(select(None, array.shape)).tobytes() == truth.tobytes()


@given(st.data())
def test_regions_written_over_an_array_change_just_them(
    objects: Objects, data: st.DataObject
) -> None:
    structure = data.draw(
        array_structures(max_axes=3, max_side=9, elements=st.just(np.dtype("<u2")))
    )
    truth = data.draw(arrays(structure)).copy()
    found = write(objects, truth, structure)
    writer = BlockWriter(objects, found.structure, found.storage)
    for value in range(3):
        origin = tuple(data.draw(st.integers(0, length)) for length in truth.shape)
        shape = tuple(
            data.draw(st.integers(0, length - start))
            for start, length in zip(origin, truth.shape, strict=True)
        )
        block = np.full(shape, value, "<u2")
        writer.write(origin, block)
        inside = zip(origin, shape, strict=True)
        index: Any = (*(slice(start, start + length) for start, length in inside), ...)
        truth[index] = block
    assert np.array_equal(found.read(select(None, truth.shape)), truth)


def test_rows_that_do_not_fit_are_refused() -> None:
    structure = ArrayStructure.from_numpy((5, 4), np.dtype("<u2"), (2, 4))
    writer = ArrayWriter(Objects.open("memory://"), "data/a/0", structure)
    for rows, message in (
        (np.zeros((2, 3), "<u2"), "rows of shape"),
        (np.zeros((2, 4), "<i2"), "dtype"),
        (np.zeros((6, 4), "<u2"), "more rows than the 5"),
    ):
        with pytest.raises(InvalidRequestError, match=message) as caught:
            writer.write(rows)
        assert caught.value.kind is ErrorKind.BAD_BODY
    writer.write(np.zeros((3, 4), "<u2"))
    with pytest.raises(InvalidRequestError, match="3 of the array's 5 rows"):
        writer.finish()
    with pytest.raises(InvalidRequestError, match="no block"):
        writer.write_block((3, 0), np.zeros((1, 4), "<u2"))
    with pytest.raises(InvalidRequestError, match=r"has shape \(1, 4\)"):
        writer.write_block((2, 0), np.zeros((2, 4), "<u2"))


def test_a_writer_that_was_left_writes_nothing_more(objects: Objects) -> None:
    structure = ArrayStructure.from_numpy((90, 9000), np.dtype("<f8"), (1, 9000))
    prefix = f"data/{uuid.uuid4().hex}"

    def write_some() -> None:
        with ArrayWriter(objects, f"{prefix}/0", structure) as writer:
            writer.write(random_array((80, 9000), structure.dtype, 1))
            writer.finish()

    with pytest.raises(InvalidRequestError, match="80 of the array's 90 rows"):
        write_some()
    names = [name for name, _ in objects.list(prefix)]
    objects.delete(names)
    assert not list(objects.list(prefix))


def test_rows_of_the_other_byte_order_are_stored_in_the_arrays_own(objects: Objects) -> None:
    array = np.arange(12, dtype="<u2").reshape(3, 4)
    structure = ArrayStructure.from_numpy((3, 4), np.dtype(">u2"), (2, 4))
    found = write(objects, array, structure)
    answer = found.read(select(None, array.shape))
    assert answer.dtype == np.dtype(">u2")
    assert np.array_equal(answer, array)


def test_nobody_writes_into_a_registered_file() -> None:
    structure = ArrayStructure.from_numpy((4,), np.dtype("<u2"))
    layout = ChunkLayout(data_type=structure.data_type, chunk_shape=(4,))
    storage = ArrayStorage(layout=layout, location=Contiguous(offset=0))
    with pytest.raises(InvalidRequestError, match="registered file"):
        BlockWriter(Objects.open("memory://"), structure, storage)


@pytest.mark.parametrize(
    ("shape", "dtype", "chunks"),
    [
        ((), "<f8", ()),
        ((0, 3), "<f8", (1, 3)),
        ((100,), "<f8", (100,)),
        ((10**9,), "<f8", (524288,)),
        ((45, 20, 1080, 1280), "<u2", (1, 1, 1080, 1280)),
        ((1000, 64, 64), "<u2", (128, 64, 64)),
        ((1000, 512, 512), "<u2", (1, 512, 512)),
        ((100000, 2167, 2070), "<u4", (1, 2167, 2070)),
        ((10**6, 1000), "<f4", (1048, 1000)),
    ],
)
def test_good_chunks_are_a_frame_or_a_few_megabytes(
    shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...]
) -> None:
    assert good_chunks(shape, np.dtype(dtype)) == chunks


@given(array_structures(max_side=10**6))
def test_good_chunks_cover_any_shape_and_are_never_huge(structure: ArrayStructure) -> None:
    chunks = good_chunks(structure.shape, structure.dtype)
    msgspec.structs.replace(structure, chunks=chunks)
    assert len(chunks) == len(structure.shape)
    assert all(1 <= size <= max(1, n) for size, n in zip(chunks, structure.shape, strict=True))
    assert math.prod(chunks) * structure.dtype.itemsize <= 32 << 20
