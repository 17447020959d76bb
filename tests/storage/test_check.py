"""A check says what is broken and what is superfluous, and deletes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.check import Broken, check
from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import log_name
from lakeservice.storage.snapshots import write_snapshot
from lakeservice.storage.trees import write_tree
from schemas.chunks import ArrayStorage, ChunkLayout, Part, TableStorage, ZarrParts
from schemas.commit import Append, Create, Delete
from schemas.entry import Asset, DataSource, InnerNode, InnerTree, Node
from schemas.structures import ArrayStructure, ContainerStructure, DataType

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = ChunkLayout(data_type=DataType(kind="u", itemsize=1), chunk_shape=(2, 3))
NOW = -60.0
"""Older than a minute from now: everything."""


def zarr(prefix: str, rows: int) -> ArrayStorage:
    """The storage of an array of ``rows`` × 3 whose every chunk was written."""
    parts = ZarrParts(parts=(Part(name=prefix, length=rows, complete=True),))
    return ArrayStorage(layout=LAYOUT, location=parts)


def put_zarr(lake: Lake, prefix: str, rows: int) -> None:
    """Put the objects of such an array."""
    lake.objects.put(f"{prefix}/zarr.json", b"{}")
    for row in range(-(-rows // 2)):
        lake.objects.put(f"{prefix}/c/{row}/0", b"chunk")


@pytest.fixture(params=["disk", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake with an array of two parts, a table and a file with a converted array."""
    lake = Lake.create(str(tmp_path) if request.param == "disk" else "memory://")
    committer = Committer(lake, MemoryState())
    put_zarr(lake, "data/arr/0", 5)
    put_zarr(lake, "data/arr/1", 2)
    lake.objects.put("data/tab/0.parquet", b"x" * 10)
    put_zarr(lake, "data/file/inner/0", 1)
    lake.objects.put("data/file/chunks.parquet", b"rows")
    inner = InnerNode(path="entry/strings", storage=zarr("data/file/inner/0", 1))
    write_tree(lake.objects, "data/file/tree", InnerTree(nodes=(inner,)))
    array = ArrayStructure.from_numpy((5, 3), np.dtype("u1"), (2, 3))
    table = TableStorage(parts=(Part(name="data/tab/0.parquet", length=1, size_bytes=10),))
    sources = {
        "arr": DataSource(mimetype="application/x-zarr", storage=zarr("data/arr/0", 5)),
        "tab": DataSource(mimetype="application/x-parquet", storage=table),
        "file": DataSource(mimetype="application/x-hdf5", tree="data/file/tree"),
    }
    for name, source in sources.items():
        structure = array if name == "arr" else ContainerStructure()
        node = Node(path=name, id=name, structure=structure, data_sources=(source,))
        committer.commit([Create(node=node)])
    committer.commit([Append(path="arr", parts=(Part(name="data/arr/1", length=2),))])
    return lake


def test_a_sound_lake_has_nothing_to_report(lake: Lake) -> None:
    report = check(lake, older_than_s=NOW)
    assert report.ok
    assert (report.version, report.nodes) == (4, 3)
    assert (report.broken, report.garbage, report.temporary) == ((), (), ())


@pytest.mark.parametrize(
    ("gone", "path", "reason"),
    [
        ("data/arr/0/zarr.json", "arr", "'data/arr/0/zarr.json' is missing"),
        ("data/arr/0/c/1/0", "arr", "'data/arr/0' has 2 chunks of 3"),
        ("data/arr/1/zarr.json", "arr", "'data/arr/1/zarr.json' is missing"),
        ("data/tab/0.parquet", "tab", "'data/tab/0.parquet' is missing"),
        ("data/file/tree", "file", "'data/file/tree' is missing"),
        (
            "data/file/inner/0/zarr.json",
            "file",
            "'data/file/inner/0/zarr.json' of 'entry/strings' inside the file is missing",
        ),
    ],
)
def test_an_entry_whose_data_is_gone_is_broken(
    lake: Lake, gone: str, path: str, reason: str
) -> None:
    lake.objects.delete([gone])
    report = check(lake, older_than_s=NOW)
    assert report.broken == (Broken(path, reason),)
    assert not report.ok


def test_a_chunk_that_need_not_be_there_is_no_fault(lake: Lake) -> None:
    lake.objects.delete(["data/arr/1/c/0/0"])
    assert check(lake).ok


def test_an_object_of_another_size_is_broken(lake: Lake) -> None:
    lake.objects.put("data/tab/0.parquet", b"cut")
    reason = "'data/tab/0.parquet' has 3 bytes, not 10"
    assert check(lake).broken == (Broken("tab", reason),)


def test_a_damaged_tree_is_broken(lake: Lake) -> None:
    lake.objects.put("data/file/tree", b"junk")
    (broken,) = check(lake).broken
    assert broken.path == "file"
    assert "cannot be read" in broken.reason


def test_a_flipped_bit_is_found_where_chunks_are_read(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    structure = ArrayStructure.from_numpy((6, 50), np.dtype("<u2"), (2, 50))
    writer = ArrayWriter(lake.objects, "data/one/0", structure)
    writer.write(np.arange(300, dtype="<u2").reshape(6, 50))
    source = DataSource(mimetype="application/x-zarr", storage=writer.finish())
    node = Node(path="one", id="one", structure=structure, data_sources=(source,))
    Committer(lake, MemoryState()).commit([Create(node=node)])
    assert check(lake, chunks=True).ok
    chunk = bytearray(lake.objects.get("data/one/0/c/1/0") or b"")
    chunk[9] ^= 1
    lake.objects.put("data/one/0/c/1/0", bytes(chunk))
    assert check(lake).ok
    (broken,) = check(lake, chunks=True).broken
    assert broken == Broken("one", "chunk (1, 0): its CRC-32C checksum does not match")


def test_garbage_is_found_to_the_part_and_cleaned(lake: Lake) -> None:
    before = list(lake.objects.list(""))
    put_zarr(lake, "data/never/0", 3)
    put_zarr(lake, "data/arr/interrupted", 3)
    lake.objects.put("data/tab/1.parquet", b"y" * 7)
    report = check(lake, older_than_s=NOW)
    assert report.ok
    assert report.garbage == ("data/arr/interrupted", "data/never/0", "data/tab/1.parquet")
    assert report.garbage_bytes == 2 * (2 + 2 * 5) + 7
    assert len(list(lake.objects.list(""))) == len(before) + 7
    assert check(lake, clean=True, older_than_s=NOW).deleted == 7
    assert list(lake.objects.list("")) == before


def test_the_data_of_deleted_entries_is_history_and_no_garbage(lake: Lake) -> None:
    Committer(lake, MemoryState()).commit([Delete(path=path) for path in ("arr", "tab", "file")])
    before = list(lake.objects.list(""))
    report = check(lake, clean=True, older_than_s=NOW)
    assert (report.nodes, report.garbage, report.deleted) == (0, (), 0)
    assert list(lake.objects.list("")) == before


@pytest.mark.parametrize("damage", [b"junk", None], ids=["damaged", "missing"])
def test_nothing_is_deleted_while_the_log_cannot_be_read(lake: Lake, damage: bytes | None) -> None:
    put_zarr(lake, "data/never/0", 3)
    lake.objects.delete([log_name(3)])
    if damage is not None:
        lake.objects.put(log_name(3), damage)
    report = check(lake, clean=True, older_than_s=NOW)
    assert [broken.path for broken in report.broken] == [""]
    assert "version 3" in report.broken[0].reason
    assert (report.garbage, report.deleted) == ((), 0)
    assert lake.objects.size("data/never/0/zarr.json") is not None


def test_a_log_that_begins_after_a_snapshot_is_enough(lake: Lake) -> None:
    state = MemoryState()
    state.apply(list(lake.log.follow(0)))
    write_snapshot(lake, 4, state, [])
    lake.objects.delete([log_name(version) for version in range(1, 4)])
    put_zarr(lake, "data/never/0", 3)
    report = check(lake, older_than_s=NOW)
    assert (report.version, report.nodes, report.broken) == (4, 3, ())
    assert report.garbage == ("data/never/0",)


@pytest.mark.parametrize("declared", [None, ContainerStructure()])
def test_registered_files_that_are_gone_are_broken(
    tmp_path: Path, declared: ContainerStructure | None
) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    path = tmp_path / "run.h5"
    path.write_bytes(b"12345")
    status = path.stat()
    asset = Asset(
        data_uri=f"file://localhost{path}",
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    source = DataSource(
        mimetype="application/x-hdf5", management="external", assets=(asset,), declared=declared
    )
    with_files = Node(path="run", id="a1", data_sources=(source,))
    committer = Committer(lake, MemoryState())
    committer.commit([Create(node=with_files)])
    assert check(lake).broken == ()
    path.write_bytes(b"123456")
    changed = Broken("run", "the file 'run.h5' changed since it was registered; ingest it again")
    assert check(lake).broken == ((changed,) if declared is None else ())
    path.unlink()
    assert check(lake).broken == (
        Broken("run", "the registered file 'run.h5' is gone or cannot be read"),
    )
    committer.commit([Delete(path="run")])
    assert check(lake).broken == ()
