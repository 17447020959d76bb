"""Chunk indexes: rows are found by their chunk, and only those of the array that asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.storage.chunk_index import ChunkIndex, write_chunk_index
from lakeservice.storage.objects import Objects
from schemas.chunks import CHUNK_INDEX_COLUMNS
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind, NotFoundError

NAME = "data/0/chunks.parquet"


def columns(chunks: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng(len(chunks))
    return {
        "chunk": np.array(chunks, np.int64),
        "asset": rng.integers(0, 5, len(chunks)).astype(np.int32),
        "offset": rng.integers(0, 1 << 50, len(chunks)),
        "length": rng.integers(0, 1 << 30, len(chunks)),
        "filter_mask": rng.integers(0, 1 << 32, len(chunks)).astype(np.uint32),
    }


def written(given: dict[str, Any]) -> ChunkIndex:
    objects = Objects.open("memory://")
    write_chunk_index(objects, NAME, given)
    return ChunkIndex.of(objects, NAME)


@given(st.lists(st.sets(st.integers(0, 40), max_size=20), min_size=1, max_size=4), st.data())
def test_each_array_finds_its_own_rows_and_no_others(
    arrays: list[set[int]], data: st.DataObject
) -> None:
    ordered = [sorted(chunks) for chunks in arrays]
    rows = columns([chunk for chunks in ordered for chunk in chunks])
    index = written(rows)
    asked = data.draw(st.lists(st.integers(0, 45), max_size=30))
    first = 0
    for chunks in ordered:
        found = index.lookup(first, len(chunks), np.array(asked, np.int64))
        for chunk, row in zip(asked, found, strict=True):
            if chunk not in chunks:
                assert row is None
                continue
            place = first + chunks.index(chunk)
            assert row == tuple(int(rows[name][place]) for name in CHUNK_INDEX_COLUMNS[1:])
        first += len(chunks)


def test_any_parquet_reader_reads_an_index() -> None:
    objects = Objects.open("memory://")
    rows = columns(list(range(1000)))
    write_chunk_index(objects, NAME, rows)
    with objects.open_input(NAME) as file:
        table = pq.read_table(file)
    assert tuple(table.schema.names) == CHUNK_INDEX_COLUMNS
    for name in CHUNK_INDEX_COLUMNS:
        assert np.array_equal(table.column(name).to_numpy(), rows[name])


def test_the_regular_index_of_a_long_stack_is_small() -> None:
    objects = Objects.open("memory://")
    count = 100_000
    rows = {
        "chunk": np.arange(count),
        "asset": np.zeros(count),
        "offset": np.cumsum(np.random.default_rng(1).integers(900_000, 1_100_000, count)),
        "length": np.full(count, 900_000),
        "filter_mask": np.zeros(count),
    }
    write_chunk_index(objects, NAME, rows)
    assert (objects.size(NAME) or 0) < 5 * count


def test_assets_travel_with_the_index() -> None:
    objects = Objects.open("memory://")
    assets = [Asset(data_uri=f"file://localhost/chunk/{number}", num=number) for number in (3, 7)]
    write_chunk_index(objects, NAME, columns([1, 2]), assets)
    assert ChunkIndex.of(objects, NAME).assets == {3: assets[0], 7: assets[1]}


def test_an_index_is_read_once_and_another_stores_index_is_another() -> None:
    one, two = Objects.open("memory://"), Objects.open("memory://")
    write_chunk_index(one, NAME, columns([1, 2, 3]))
    write_chunk_index(two, NAME, columns([1]))
    assert ChunkIndex.of(one, NAME) is ChunkIndex.of(one, NAME)
    assert ChunkIndex.of(one, NAME) is not ChunkIndex.of(two, NAME)


def test_what_is_missing_or_damaged_is_said_so() -> None:
    objects = Objects.open("memory://")
    with pytest.raises(NotFoundError) as missing:
        ChunkIndex.of(objects, NAME)
    assert missing.value.kind is ErrorKind.ASSET_NOT_FOUND
    objects.put(NAME, b"no index")
    with pytest.raises(CorruptError, match="cannot be read") as damaged:
        ChunkIndex.of(objects, NAME)
    assert damaged.value.kind is ErrorKind.CORRUPT_OBJECT
    with pytest.raises(CorruptError, match="has 2 rows, not 5") as short:
        written(columns([1, 2])).lookup(1, 4, np.zeros(1, np.int64))
    assert short.value.kind is ErrorKind.CORRUPT_OBJECT
