"""What is left of an index after a stop, a crash, damage; and rebuilding it from the lake."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import msgspec
import pyarrow.parquet as pq
import pytest

from lakeservice.catalog import Catalog, database, index, runs
from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import log_name
from lakeservice.storage.snapshots import latest_snapshot
from schemas.commit import Create
from schemas.entry import Node
from schemas.errors import CorruptError, ErrorKind, NotFoundError
from schemas.query import Comparison, Eq, FullText, Page, SortKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.catalog.conftest import Tree

ALL = Page(limit=100_000)


def documents(catalog: Catalog) -> list[bytes]:
    """Every node as JSON, in order of creation."""
    return [msgspec.json.encode(node) for node in catalog.search(page=ALL, deep=True).nodes]


def fill(tree: Tree, count: int = 40) -> None:
    """Entries in several commits, some of them changed and deleted again."""
    for first in range(0, count, 10):
        names = [f"a/n{number}" for number in range(first, first + 10)]
        tree.commit(
            *(tree.node(name, {"k": len(name), "name": name}) for name in names), key=f"key-{first}"
        )
    tree.update("a/n3", {"k": -1})
    tree.delete("a/n4")


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        "none",
        "deleted",
        "empty",
        "garbage",
        "truncated",
        "older format",
        "other lake",
        "interrupted rebuild",
        "not an index",
    ],
)
def test_whatever_becomes_of_the_cache_the_index_is_the_same(
    tree: Tree, damage: str, snapshot: bool
) -> None:
    fill(tree)
    if snapshot:
        tree.catalog.write_snapshot()
        tree.add("after", {"k": 5})
    before = documents(tree.catalog)
    tree.catalog.close()
    file = next(tree.cache.rglob("index.duckdb"))
    if damage == "deleted":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "garbage":
        file.write_bytes(b"garbage" * 10_000)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:20_000])
    elif damage != "none":
        with duckdb.connect(str(file)) as connection:
            connection.execute(
                {
                    "older format": "UPDATE state SET format = 0",
                    "other lake": "UPDATE state SET lake = 'other'",
                    "interrupted rebuild": "UPDATE state SET version = 0",
                    "not an index": "DROP TABLE state",
                }[damage]
            )
    catalog = tree.open()
    assert documents(catalog) == before
    assert catalog.version == tree.lake.log.head()
    assert catalog.answered_in("key-10") == 2
    assert catalog.count("a", Comparison("k", "ge", 0)) == 38
    tree.add("goes/on", {"k": 7})
    assert tree.names(Eq("k", 7), deep=True) == ["on"]


def test_a_cache_of_a_log_that_was_restored_from_a_backup_is_not_believed(tree: Tree) -> None:
    fill(tree)
    tree.catalog.close()
    for version in (5, 6):
        tree.lake.objects.delete([log_name(version)])
    assert tree.open().count("a") == 40
    tree.add("b", {"k": 1})
    tree.add("c", {"k": 1})
    tree.catalog.close()
    other = Lake.open(tree.lake.uri)
    assert [node.name for node in Catalog.open(other, tree.cache).search().nodes] == ["a", "b", "c"]


def test_an_index_behind_an_expired_log_begins_from_the_snapshot(
    tree: Tree, tmp_path: Path
) -> None:
    fill(tree)
    tree.catalog.close()
    newer = tree.open(tmp_path / "elsewhere")
    tree.add("b", {"k": 1})
    tree.add("c", {"k": 1})
    version = newer.write_snapshot()
    expected = documents(newer)
    newer.close()
    tree.lake.objects.delete([log_name(number) for number in range(1, version)])
    assert documents(tree.open()) == expected


def test_a_damaged_snapshot_is_passed_over(tree: Tree) -> None:
    fill(tree)
    tree.catalog.write_snapshot()
    before = documents(tree.catalog)
    tree.catalog.close()
    snapshot = latest_snapshot(tree.lake)
    assert snapshot is not None
    tree.lake.objects.put(snapshot.nodes, b"damaged")
    next(tree.cache.rglob("index.duckdb")).unlink()
    assert documents(tree.open()) == before


def test_a_snapshot_has_all_nodes_and_keys_for_any_reader_of_parquet(tree: Tree) -> None:
    fill(tree)
    version = tree.catalog.write_snapshot()
    snapshot = latest_snapshot(tree.lake)
    assert snapshot is not None
    assert snapshot.version == version == 6
    with tree.lake.objects.open_input(snapshot.nodes) as file:
        rows = pq.read_table(file).to_pylist()
    state = MemoryState()
    state.apply(list(tree.lake.log.follow(0)))
    expected = sorted(state, key=lambda node: node.seq)
    assert [msgspec.json.decode(row["node"], type=Node) for row in rows] == expected
    for row, node in zip(rows, expected, strict=True):
        assert (row["path"], row["id"], row["parent"]) == (node.path, node.id, node.parent)
        assert (row["seq"], row["version"], row["revision"], row["family"]) == (
            node.seq,
            node.version,
            node.revision,
            node.family,
        )
    with tree.lake.objects.open_input(snapshot.requests) as file:
        keys = {row["key"]: row["version"] for row in pq.read_table(file).to_pylist()}
    assert keys == {f"key-{first}": 1 + first // 10 for first in range(0, 40, 10)}


def test_the_past_is_as_it_was(tree: Tree) -> None:
    fill(tree)
    tree.catalog.write_snapshot()
    tree.delete("a")
    assert tree.catalog.count(deep=True) == 0
    assert tree.catalog.as_of(6).count("a") == 39
    assert tree.catalog.as_of(5).nodes(["a/n3"])["a/n3"].metadata == {"k": -1}
    assert tree.catalog.as_of(4).nodes(["a/n3"])["a/n3"].metadata == {"k": 4, "name": "a/n3"}
    assert tree.catalog.as_of(1).count("a", FullText("n7")) == 1
    assert tree.catalog.as_of(0).count(deep=True) == 0
    assert tree.catalog.as_of(2) is tree.catalog.as_of(2)
    for version in (-1, 8, 10**12):
        with pytest.raises(NotFoundError) as caught:
            tree.catalog.as_of(version)
        assert caught.value.kind is ErrorKind.VERSION_NOT_FOUND


def test_each_server_on_a_machine_has_an_index_of_its_own_and_finds_it_again(tree: Tree) -> None:
    fill(tree)
    second = Catalog.open(tree.lake, tree.cache)
    files = {file.parent.name for file in tree.cache.rglob("index.duckdb")}
    assert files == {"0", "1"}
    assert documents(second) == documents(tree.catalog)
    second.close()
    tree.catalog.close()
    third, fourth = Catalog.open(tree.lake, tree.cache), tree.open()
    assert documents(third) == documents(fourth)
    third.close()
    assert {file.parent.name for file in tree.cache.rglob("index.duckdb")} == files


def test_an_index_in_memory_needs_no_folder(tree: Tree, tmp_path: Path) -> None:
    fill(tree)
    before = sorted(tmp_path.rglob("*"))
    catalog = Catalog.open(tree.lake)
    assert documents(catalog) == documents(tree.catalog)
    catalog.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_log_with_a_gap_or_a_node_below_nothing_is_refused(tree: Tree) -> None:
    fill(tree)
    commit = tree.lake.log.read(6)
    assert commit is not None
    with pytest.raises(CorruptError, match="version 6 of the log does not follow 6"):
        tree.catalog.apply([commit])
    first = tree.lake.log.read(2)
    assert first is not None
    orphan = msgspec.structs.replace(first, version=7)
    tree.delete("a")
    with pytest.raises(CorruptError):
        tree.catalog.apply([msgspec.structs.replace(orphan, version=9)])
    with pytest.raises(CorruptError, match="below a container that is not there"):
        tree.catalog.apply([msgspec.structs.replace(orphan, version=8)])


def test_many_small_writes_and_merges_lose_nothing(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (
        ("_DIRECT_ROWS", 400),
        ("_TAIL_ROWS", 150),
        ("_SAMPLE", 16),
        ("_SLICE_ROWS", 64),
        ("_FAN_IN", 3),
    ):
        monkeypatch.setattr(runs, name, small)
    for name, small in (("_FLUSH_NODES", 20), ("_WAIT_NODES", 60), ("_SUPERSEDED", 5)):
        monkeypatch.setattr(index, name, small)
    for turn in range(25):
        tree.commit(
            *(tree.node(f"n{turn}-{number}", {"k": number, "t": f"w{turn}"}) for number in range(9))
        )
        tree.update(f"n{turn}-0", {"k": 100 + turn})
        tree.delete(f"n{turn}-1")
        if turn % 4 == 0:
            assert tree.catalog.count(query=Eq("k", 3)) == turn + 1
            assert tree.catalog.count(query=Eq("k", 0)) == 0
        if turn % 9 == 0:
            tree.catalog.settle()
    tree.catalog.settle()
    order = [SortKey("k", descending=True), SortKey("id")]
    top = tree.names(sort=order, page=Page(limit=26))
    assert top == [f"n{turn}-0" for turn in reversed(range(25))] + ["n0-8"]
    before = documents(tree.catalog)
    assert documents(tree.reopen()) == before
    with duckdb.connect(str(_closed(tree))) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'texts%'"
        ).fetchall()
        kept = connection.execute("SELECT count(*) FROM documents").fetchall()
    assert tables[0][0] <= 4
    assert kept[0][0] < 25 * 10 + 25
    tree.open()


def _closed(tree: Tree) -> Path:
    tree.catalog.close()
    return next(tree.cache.rglob("index.duckdb"))


def test_searches_while_others_write_see_whole_commits(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_TAIL_ROWS", 200)
    monkeypatch.setattr(runs, "_FAN_IN", 3)
    stop = threading.Event()
    problems: list[object] = []

    def search() -> None:
        while not stop.is_set():
            try:
                found = tree.catalog.search(query=Eq("pair", True), page=ALL)
                names = [node.name for node in found.nodes]
                sides = {side: {n[1:] for n in names if n[0] == side} for side in "lr"}
                if sides["l"] != sides["r"] or len(names) != found.count:
                    problems.append(names)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        tree.commit(
            tree.node(f"l{turn}", {"pair": True, "text": "some words to fill the tail"}),
            tree.node(f"r{turn}", {"pair": True, "text": "some words to fill the tail"}),
        )
        if turn % 7 == 6:
            tree.commit(
                *(Create(node=tree.node(f"x{turn}").node),),
            )
        if turn % 10 == 9:
            tree.catalog.settle()
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert tree.catalog.count(query=Eq("pair", True)) == 120


CRASH = """
import os, sys
from pathlib import Path
from lakeservice.catalog import Catalog, index
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from schemas.commit import Create
from schemas.entry import Node
index._FLUSH_NODES = 7
lake = Lake.open(sys.argv[1])
catalog = Catalog.open(lake, Path(sys.argv[2]))
committer = Committer(lake, catalog)
for number in range(30):
    name = f"{sys.argv[3]}-{number}"
    committer.commit([Create(node=Node(path=name, id=name, metadata={"k": number, "t": "word"}))])
    if number % 6 == 0:
        catalog.count()
os._exit(9)
"""


def test_a_killed_server_finds_its_index_and_goes_on(tree: Tree) -> None:
    tree.catalog.close()
    for turn in range(3):
        died = subprocess.run(
            [sys.executable, "-c", CRASH, tree.lake.uri, str(tree.cache), f"turn{turn}"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert died.returncode == 9, died.stderr
    catalog = tree.open()
    assert catalog.count(query=FullText("word")) == 90
    state = MemoryState()
    state.apply(list(tree.lake.log.follow(0)))
    expected = sorted(state, key=lambda node: node.seq)
    assert catalog.search(page=ALL).nodes == expected


def test_two_servers_follow_one_another(
    tree: Tree, tmp_path: Path, make_tree: Callable[[Path], Tree]
) -> None:
    second = Catalog.open(tree.lake, tree.cache)
    other = Committer(tree.lake, second)
    tree.add("a", {"k": 1})
    other.follow()
    assert second.count(query=Eq("k", 1)) == 1
    other.commit([Create(node=Node(path="b", id="b", metadata={"k": 1}))])
    tree.committer.follow()
    assert tree.names(Eq("k", 1)) == ["a", "b"]
    second.close()


def test_what_cannot_be_written_stays_in_memory_and_is_said(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a", {"k": 1})
    assert tree.names(Eq("k", 1)) == ["a"]

    def full(_: database.Database) -> None:
        raise duckdb.IOException("could not write: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(database.Database, "transaction", full)
        tree.add("b", {"k": 1})
        assert set(tree.catalog.nodes(["a", "b"])) == {"a", "b"}
        with pytest.raises(Exception, match="the newest entries cannot be searched") as caught:
            tree.names(Eq("k", 1))
        assert getattr(caught.value, "kind", None) is ErrorKind.STORE_UNAVAILABLE
    assert tree.names(Eq("k", 1)) == ["a", "b"]
