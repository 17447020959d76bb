"""Chunks that small reads want again: from memory, and never those of another version."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeservice.codecs.cache import ChunkCache
from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.testing import random_array
from schemas.chunks import ArrayStorage, ChunkLayout, Codec, Contiguous, ZarrParts
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind
from schemas.selection import select
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

STACK = random_array((4, 60, 80), np.dtype("<u2"), 1)


@pytest.fixture(params=["disk", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return Objects.open("memory://" if request.param == "memory" else str(tmp_path))


def write(objects: Objects) -> tuple[ArrayStructure, ArrayStorage]:
    """Write the stack a frame a chunk, as if it had been there for some time."""
    structure = ArrayStructure.from_numpy(STACK.shape, STACK.dtype, (1, 60, 80))
    writer = ArrayWriter(objects, f"data/{uuid.uuid4().hex}/0", structure)
    writer.write(STACK)
    storage = writer.finish()
    age(objects)
    return structure, storage


def age(objects: Objects, by_s: float = 10) -> None:
    """Make the objects older: of what was just written nothing is kept."""
    for name, _ in objects.list(""):
        if objects.root is not None:
            then = time.time() - by_s
            os.utime(objects.root / name, (then, then))


def opened(
    objects: Objects,
    structure: ArrayStructure,
    storage: ArrayStorage,
    cache: ChunkCache,
    assets: tuple[Asset, ...] = (),
) -> StoredArray:
    return StoredArray(
        objects,
        structure,
        storage,
        assets,
        fetch_files=FileReader(check_s=0),
        path="run7/eiger",
        cache=cache,
        version=("id", 3),
    )


def read(array: StoredArray, index: Any) -> NDArray[Any]:
    selection = select(index, array.structure.shape)
    return array.read(selection).reshape(selection.shape)


def test_small_reads_of_one_chunk_come_from_memory(objects: Objects) -> None:
    cache = ChunkCache(1 << 20)
    array = opened(objects, *write(objects), cache)
    for _ in range(2):
        assert np.array_equal(read(array, np.s_[2, 5:9, ::-3]), STACK[2, 5:9, ::-3])
    assert len(cache) == 1
    for index in (np.s_[2], np.s_[2:3, 10:20], np.s_[1:3, 0, 0], np.s_[..., 7]):
        assert np.array_equal(read(array, index), STACK[index])
    assert cache.size_bytes >= STACK[0].nbytes


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_several_selections_of_one_chunk_are_those_of_numpy(objects: Objects, limit: int) -> None:
    structure, storage = write(objects)
    array = opened(objects, structure, storage, ChunkCache(limit))
    indexes: tuple[Any, ...] = (np.s_[1, 3:5], np.s_[1, 50, ::-7], np.s_[2, 0], np.s_[0:2, :2, 9])
    chosen = [select(index, STACK.shape) for index in indexes]
    for _ in range(3):
        outs = [np.empty(selection.kept_shape, "<u2") for selection in chosen]
        array.read_each(chosen, outs)
        for out, selection, index in zip(outs, chosen, indexes, strict=True):
            assert np.array_equal(out.reshape(selection.shape), STACK[index])
    assert isinstance(storage.location, ZarrParts)
    objects.put(f"{storage.location.parts[0].name}/c/1/0/0", b"nonsense, and long enough")
    with pytest.raises(CorruptError, match=r"chunk \(1, 0, 0\) of 'run7/eiger' is corrupt"):
        array.read_each(chosen, outs)


def test_reading_everything_once_keeps_nothing(objects: Objects) -> None:
    cache = ChunkCache(1 << 20)
    array = opened(objects, *write(objects), cache)
    blocks = list(array.blocks(select(None, STACK.shape), target_bytes=1))
    assert np.array_equal(np.concatenate(blocks), STACK)
    list(array.encoded(select(None, STACK.shape)))
    for number in range(4):
        assert np.array_equal(read(array, number), STACK[number])
    assert len(cache) == 0


def test_a_chunk_that_is_written_again_in_its_place_is_read_anew(objects: Objects) -> None:
    cache = ChunkCache(1 << 20)
    structure, storage = write(objects)
    array = opened(objects, structure, storage, cache)
    truth = STACK.copy()
    writer = BlockWriter(objects, structure, storage)
    for value in range(5):
        for _ in range(3):
            assert np.array_equal(read(array, np.s_[1, :9]), truth[1, :9])
        truth[1] = value
        writer.write((1, 0, 0), truth[1:2])
        assert np.array_equal(read(array, np.s_[1, :9]), truth[1, :9])
        if value % 2:
            age(objects, by_s=10 + value)


def test_what_was_written_a_moment_ago_is_not_kept(tmp_path: Path) -> None:
    objects, cache = Objects.open(str(tmp_path)), ChunkCache(1 << 20)
    structure = ArrayStructure.from_numpy(STACK.shape, STACK.dtype, (1, 60, 80))
    writer = ArrayWriter(objects, "data/new/0", structure)
    writer.write(STACK)
    array = opened(objects, structure, writer.finish(), cache)
    for _ in range(4):
        assert np.array_equal(read(array, 0), STACK[0])
    assert len(cache) == 0


def test_a_registered_file_that_changed_is_not_read_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "frames.raw"
    codecs = (Codec("bytes", {"endian": "little"}), Codec("shuffle", {"elementsize": 2}))
    structure = ArrayStructure.from_numpy((60, 80), np.dtype("<u2"))
    layout = ChunkLayout(data_type=structure.data_type, chunk_shape=(60, 80), codecs=codecs)
    path.write_bytes(STACK[0].reshape(-1).view("u1").reshape(-1, 2).T.tobytes())
    status = path.stat()
    asset = Asset(data_uri=path.as_uri(), size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    storage = ArrayStorage(layout=layout, location=Contiguous(offset=0))
    cache = ChunkCache(1 << 20)
    array = opened(Objects.open("memory://"), structure, storage, cache, (asset,))
    for _ in range(3):
        assert np.array_equal(read(array, np.s_[3:5]), STACK[0, 3:5])
    assert len(cache) == 1
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptError) as caught:
        read(array, np.s_[3:5])
    assert caught.value.kind is ErrorKind.ASSET_CHANGED


def test_a_damaged_chunk_names_node_and_chunk_and_is_not_kept(objects: Objects) -> None:
    cache = ChunkCache(1 << 20)
    structure, storage = write(objects)
    array = opened(objects, structure, storage, cache)
    assert isinstance(storage.location, ZarrParts)
    name = f"{storage.location.parts[0].name}/c/3/0/0"
    stored = bytearray(objects.get(name) or b"")
    stored[50] ^= 1
    objects.put(name, bytes(stored))
    age(objects)
    for _ in range(3):
        with pytest.raises(CorruptError, match=r"chunk \(3, 0, 0\) of 'run7/eiger' is corrupt"):
            read(array, np.s_[3, 1:4])
    assert len(cache) == 0
