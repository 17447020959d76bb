"""Snapshots: what was written is read again, by us and by pyarrow alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeservice.storage.lake import Lake
from lakeservice.storage.snapshots import (
    NODES_SCHEMA,
    Snapshot,
    expire_snapshots,
    latest_snapshot,
    read_nodes,
    read_requests,
    read_snapshot,
    snapshots,
    write_snapshot,
)
from schemas.entry import Node
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from pathlib import Path

NODES = [
    Node(path=f"run/{n}", id=f"i{n}", metadata={"b": n, "a": "é" * n}, seq=n, version=3, revision=n)
    for n in range(1, 200)
]


@pytest.fixture(params=["disk", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake.create(str(tmp_path) if request.param == "disk" else "memory://")


def test_nodes_and_keys_come_back_as_they_were(lake: Lake) -> None:
    written = write_snapshot(lake, 3, NODES, [("k1", 1), ("k2", 3)])
    assert latest_snapshot(lake) == written
    assert list(read_nodes(lake, written)) == NODES
    keys = [row for batch in read_requests(lake, written) for row in batch.to_pylist()]
    assert keys == [{"key": "k1", "version": 1}, {"key": "k2", "version": 3}]


def test_any_engine_can_read_a_snapshot(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    write_snapshot(lake, 3, NODES, [])
    rows = pq.read_table(tmp_path / "snapshots" / f"{3:020d}.parquet").to_pylist()
    assert [row["path"] for row in rows] == [node.path for node in NODES]
    assert {(row["parent"], row["family"], row["version"]) for row in rows} == {
        ("run", "container", 3)
    }
    assert json.loads(rows[4]["node"])["metadata"] == {"b": 5, "a": "ééééé"}


def test_a_snapshot_can_be_written_from_batches(lake: Lake) -> None:
    first = write_snapshot(lake, 3, NODES, [("k", 1)])
    reader = pa.RecordBatchReader.from_batches(NODES_SCHEMA, read_snapshot(lake, first))
    again = write_snapshot(lake, 4, reader, [])
    assert list(read_nodes(lake, again)) == NODES


def test_an_empty_lake_has_an_empty_snapshot(lake: Lake) -> None:
    assert latest_snapshot(lake) is None
    written = write_snapshot(lake, 0, [], [])
    assert list(read_nodes(lake, written)) == []
    assert list(read_requests(lake, written)) == []


def test_a_snapshot_counts_only_with_both_of_its_objects(lake: Lake) -> None:
    older = write_snapshot(lake, 3, NODES, [])
    newer = write_snapshot(lake, 5, NODES, [])
    lake.objects.delete([newer.nodes])
    assert snapshots(lake) == [older]
    lake.objects.delete([older.requests])
    assert latest_snapshot(lake) is None


def test_old_snapshots_expire(lake: Lake) -> None:
    written = [write_snapshot(lake, version, NODES, []) for version in (3, 5, 20)]
    assert expire_snapshots(lake, keep=2) == [written[0]]
    assert snapshots(lake) == [written[2], written[1]]
    assert len(list(lake.objects.list("snapshots"))) == 4


@pytest.mark.parametrize("damage", ["cut", "junk", "empty", "flipped"])
def test_a_damaged_snapshot_is_corruption(lake: Lake, damage: str) -> None:
    written = write_snapshot(lake, 3, NODES, [])
    whole = lake.objects.get(written.nodes)
    assert whole is not None
    flipped = bytearray(whole)
    flipped[-10] ^= 255
    lake.objects.put(
        written.nodes,
        {"cut": whole[:-20], "junk": b"junk" * 100, "empty": b"", "flipped": bytes(flipped)}[
            damage
        ],
    )
    with pytest.raises(CorruptError, match="is damaged") as caught:
        list(read_nodes(lake, Snapshot(3, written.nodes, written.requests)))
    assert caught.value.kind is ErrorKind.CORRUPT_OBJECT
