"""Objects: whole or absent, exclusive where asked, the same on disk and in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.storage.objects import Buffer, Objects
from schemas.errors import (
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["path", "file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty root on disk or in memory."""
    uris = {
        "path": str(tmp_path / "lake"),
        "file": (tmp_path / "with space").as_uri(),
        "memory": "memory://",
    }
    return Objects.open(uris[request.param])


def test_an_object_reads_as_it_was_written(objects: Objects) -> None:
    objects.put("data/a/0", b"whole")
    assert objects.get("data/a/0") == b"whole"
    assert objects.size("data/a/0") == 5


def test_buffers_are_written_one_after_another(objects: Objects) -> None:
    numbers = array("I", range(70_000))
    many: list[Buffer] = [b"head", memoryview(numbers), bytearray(b"tail"), *[b"x"] * 2000]
    objects.put("data/a/0", many)
    assert objects.get("data/a/0") == b"head" + numbers.tobytes() + b"tail" + b"x" * 2000


def test_a_second_write_replaces_the_first(objects: Objects) -> None:
    objects.put("data/a/0", b"first, and longer")
    objects.put("data/a/0", b"second")
    assert objects.get("data/a/0") == b"second"


def test_what_is_not_there_is_none(objects: Objects) -> None:
    objects.put("data/a/0/c/0", b"x")
    for name in ("other", "data/a", "data/a/0/c/0/deeper"):
        assert objects.get(name) is None
        assert objects.size(name) is None
        assert objects.modified_s(name) is None


def test_only_the_first_exclusive_write_is_taken(objects: Objects) -> None:
    assert objects.put_if_absent("log/1", b"first")
    assert not objects.put_if_absent("log/1", b"second")
    assert objects.get("log/1") == b"first"


def test_of_racing_exclusive_writes_one_is_taken(objects: Objects) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def race(me: int) -> None:
        for name in range(20):
            start.wait()
            if objects.put_if_absent(f"log/{name}", b"%d" % me):
                won.append(name)

    threads = [threading.Thread(target=race, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(20))


def test_ranges_are_those_of_the_bytes(objects: Objects) -> None:
    whole = bytes(range(256)) * 20
    objects.put("data/a/0", whole)
    ranges = [(0, 10), (5000, 120), (7, 0), (100, 300)]
    found = objects.get_ranges("data/a/0", ranges)
    assert [bytes(buffer) for buffer in found] == [whole[o : o + n] for o, n in ranges]
    assert bytes(objects.get_range("data/a/0", 5, 3)) == whole[5:8]
    assert objects.get_ranges("data/a/0", []) == []


@pytest.mark.parametrize("wanted", [(0, 6), (4, 2), (5, 1), (100, 5)])
def test_a_range_beyond_the_end_is_corruption(objects: Objects, wanted: tuple[int, int]) -> None:
    objects.put("data/a/0", b"whole")
    with pytest.raises(CorruptError, match="ends before byte") as caught:
        objects.get_range("data/a/0", *wanted)
    assert caught.value.kind is ErrorKind.CORRUPT_OBJECT


def test_a_range_of_nothing_is_not_found(objects: Objects) -> None:
    with pytest.raises(NotFoundError, match="no object 'data/a/0'") as caught:
        objects.get_range("data/a/0", 0, 1)
    assert caught.value.kind is ErrorKind.ASSET_NOT_FOUND


def test_a_listing_is_sorted_by_full_name(objects: Objects) -> None:
    names = [
        "data/a/0",
        "data/a/0.parquet",
        "data/a-b",
        "data/a.b",
        "data/ä",
        "data/b/1/2",
        "log/1",
    ]
    for name in reversed(names):
        objects.put(name, b"x" * len(name))
    assert [name for name, _ in objects.list("")] == sorted(names)
    assert dict(objects.list("data/a")) == {"data/a/0": 8, "data/a/0.parquet": 16}
    assert [name for name, _ in objects.list("data", after="data/a/0")] == sorted(names)[
        sorted(names).index("data/a/0") + 1 : -1
    ]
    assert list(objects.list("nothing")) == []


segments = st.text("ab.-~é", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
names = st.lists(segments, min_size=1, max_size=3).map("/".join)


@given(written=st.sets(names, max_size=12), deleted=st.sets(names), prefix=names, after=names)
@settings(max_examples=40, deadline=None)
def test_listings_are_those_of_a_sorted_set_of_names(
    written: set[str], deleted: set[str], prefix: str, after: str
) -> None:
    written = {
        name for name in written if not any(other.startswith(f"{name}/") for other in written)
    }
    with tempfile.TemporaryDirectory() as folder:
        for objects in (Objects.open(folder), Objects.open("memory://")):
            for name in written:
                objects.put(name, name.encode(), durable=False)
            objects.delete(deleted)
            left = sorted(written - deleted)
            listed = [(name, size) for name, size in objects.list("") if name[:4] != "tmp/"]
            assert listed == [(name, len(name.encode())) for name in left]
            below = [name for name in left if name.startswith(f"{prefix}/")]
            assert [name for name, _ in objects.list(prefix)] == below
            assert [name for name, _ in objects.list(prefix, after=after)] == [
                name for name in below if name > after
            ]


def test_deleting_what_is_not_there_is_no_error(objects: Objects) -> None:
    objects.put("data/a/0/c/0", b"x")
    objects.put("data/b/0", b"x")
    objects.delete(["data/a/0/c/0", "data/nothing", "nothing"])
    assert [name for name, _ in objects.list("")] == ["data/b/0"]
    objects.put("data/a/0/c/0", b"again")
    assert objects.get("data/a/0/c/0") == b"again"


def test_an_output_appears_whole_at_the_end(objects: Objects) -> None:
    with objects.open_output("data/a/0") as file:
        file.write(b"one ")
        assert objects.get("data/a/0") is None
        file.write(b"two" * 100_000)
    assert objects.get("data/a/0") == b"one " + b"two" * 100_000


def test_an_output_that_fails_leaves_nothing(objects: Objects) -> None:
    def write_and_fail() -> None:
        with objects.open_output("data/a/0") as file:
            file.write(b"x" * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert list(objects.list("")) == []


def test_pyarrow_writes_and_reads_parquet_through_it(objects: Objects) -> None:
    table = pa.table({"a": np.arange(50_000), "b": np.random.default_rng(1).random(50_000)})
    with objects.open_output("data/a/0.parquet") as file:
        pq.write_table(table, file, row_group_size=5000)
    with objects.open_input("data/a/0.parquet") as file:
        assert pq.ParquetFile(file).read().equals(table)
    with pytest.raises(NotFoundError, match="no object"):
        objects.open_input("data/a/1.parquet")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "a\0b"])
def test_a_name_that_could_leave_the_root_is_refused(objects: Objects, name: str) -> None:
    for ask in (objects.get, objects.size, lambda bad: objects.put(bad, b"x")):
        with pytest.raises(InvalidRequestError, match="no name of an object") as caught:
            ask(name)
        assert caught.value.kind is ErrorKind.BAD_PATH


def test_memory_stores_are_shared_by_name_only() -> None:
    Objects.open("memory://shared-by-name").put("a", b"x")
    assert Objects.open("memory://shared-by-name").get("a") == b"x"
    assert Objects.open("memory://").get("a") is None


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="gopher"):
        Objects.open("gopher://host/path")


def test_opening_a_root_creates_nothing(tmp_path: Path) -> None:
    objects = Objects.open(str(tmp_path / "lake"))
    assert objects.get("lake.json") is None
    assert list(tmp_path.iterdir()) == []


def test_unsynced_writes_are_there_and_can_be_synced(tmp_path: Path) -> None:
    objects = Objects.open(str(tmp_path))
    for chunk in range(20):
        objects.put(f"data/a/0/c/{chunk}", b"x", durable=False)
    objects.sync("data/a/0")
    assert len(list(objects.list("data/a/0"))) == 20


WRITES = """
import os, sys
from lakeservice.storage.objects import Objects
objects = Objects.open(sys.argv[1])
objects.put("data/earlier/0", b"x")
def said(words): os.write(1, words.encode())
objects.put("data/a/0", b"x"); said("done data/a/0")
objects.put_if_absent("log/1", b"x"); said("done log/1")
with objects.open_output("data/b/0") as file: file.write(b"x")
said("done data/b/0")
objects.put("data/c/0/c/0", b"x", durable=False); objects.sync("data/c"); said("done data/c/0/c/0")
"""


@pytest.mark.external
def test_a_file_and_the_folders_above_it_are_synced_before_the_answer(tmp_path: Path) -> None:
    """What the system is asked to do, as strace sees it, is what survives a power cut."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace, lake = tmp_path / "trace", tmp_path / "lake"
    calls = "trace=openat,close,fsync,link,rename,write"
    command = [strace, "-f", "-y", "-o", str(trace), "-e", calls, sys.executable, "-c", WRITES]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, str(lake)], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        pytest.skip("tracing a process is not possible here")
    lines = trace.read_text().splitlines()
    start = 0
    for name in ("data/a/0", "log/1", "data/b/0", "data/c/0/c/0"):
        end = next(n for n, line in enumerate(lines) if f"done {name}" in line)
        calls_before = lines[start:end]
        target = lake / name
        named = next(
            n
            for n, line in enumerate(calls_before)
            if ("link(" in line or "rename(" in line)
            and line.endswith('") = 0')
            and str(target) in line
        )
        source = calls_before[named].split('"')[1]
        synced = [
            (n, line.split("<")[1].split(">")[0])
            for n, line in enumerate(calls_before)
            if " fsync(" in line
        ]
        after = {path for n, path in synced if n > named}
        before = {path for n, path in synced if n < named}
        assert source in before or str(target) in after
        folder = target.parent
        while folder != lake:
            assert str(folder) in after
            folder = folder.parent
        start = end + 1


def test_writing_leaves_no_temporary_files_and_delete_no_empty_folders(tmp_path: Path) -> None:
    objects = Objects.open(str(tmp_path))
    objects.put("data/a/0/c/0", b"x")
    assert objects.put_if_absent("log/1", b"x")
    assert not objects.put_if_absent("log/1", b"x")
    assert [name for name, _ in objects.list("tmp")] == []
    objects.delete(["data/a/0/c/0"])
    assert [path.name for path in (tmp_path / "data").iterdir()] == []


def test_folders_may_vanish_while_others_write_into_them(tmp_path: Path) -> None:
    objects = Objects.open(str(tmp_path))
    done = threading.Event()

    def delete_again_and_again() -> None:
        while not done.is_set():
            objects.delete(["data/a/0"])

    thread = threading.Thread(target=delete_again_and_again)
    thread.start()
    try:
        for number in range(100):
            objects.put("data/a/0", b"%d" % number, durable=False)
            objects.put(f"data/a/kept-{number % 2}", b"x", durable=False)
            objects.delete(["data/a/kept-0", "data/a/kept-1"])
    finally:
        done.set()
        thread.join()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not possible here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_so_and_nothing_half_written_stays(small_disk: Path) -> None:
    objects = Objects.open(str(small_disk))
    objects.put("data/a/0", b"x" * 500_000)
    before = list(objects.list(""))
    too_much = b"y" * 600_000

    def stream() -> None:
        with objects.open_output("data/b/0") as file:
            file.write(too_much)

    for write in (
        lambda: objects.put("data/b/0", too_much),
        lambda: objects.put("data/a/0", too_much),
        lambda: objects.put_if_absent("log/1", too_much),
        stream,
    ):
        with pytest.raises(UnavailableError, match="disk is full") as caught:
            write()
        assert caught.value.kind is ErrorKind.STORE_FULL
        assert str(small_disk) not in str(caught.value)
        assert list(objects.list("")) == before
    objects.delete(["data/a/0"])
    assert objects.put_if_absent("log/1", too_much)


def test_a_read_only_disk_is_unavailable_and_no_path_is_told(small_disk: Path) -> None:
    objects = Objects.open(str(small_disk))
    objects.put("data/a/0", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UnavailableError, match="read-only") as caught:
        objects.put("data/b/0", b"x")
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert str(small_disk) not in str(caught.value)
    assert objects.get("data/a/0") == b"x"
