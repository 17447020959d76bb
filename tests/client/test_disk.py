"""What a client reads back to a server, which files it keeps open, and what it remembers."""

from __future__ import annotations

import hashlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lakeservice.client import disk as disk_module
from lakeservice.client.disk import Disk, Known, UnreachableError, proof_of
from schemas.direct import LocalFile
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from pathlib import Path


def local(path: Path, **identity: int | bool) -> LocalFile:
    return LocalFile(os.fsencode(path), **identity)  # type: ignore[arg-type]


def test_the_file_of_an_offer_is_read_back_as_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "direct-01"
    path.write_bytes(bytes(range(32)))
    assert proof_of(os.fsencode(path)) == hashlib.sha256(bytes(range(32))).digest()


@pytest.mark.parametrize(("name", "size"), [("id_ed25519", 32), ("direct-1", 33), ("direct-1", 0)])
def test_no_other_file_is_read_back_to_a_server(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(size))
    assert proof_of(os.fsencode(path)) is None


def test_a_link_to_another_file_is_not_read_back(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    (tmp_path / "direct-link").symlink_to(secret)
    assert proof_of(os.fsencode(tmp_path / "direct-link")) is None


def test_what_is_no_file_is_not_read_back(tmp_path: Path) -> None:
    (tmp_path / "direct-folder").mkdir()
    os.mkfifo(tmp_path / "direct-fifo")
    for name in ("direct-folder", "direct-fifo", "direct-nothing", "direct-\0"):
        assert proof_of(os.fsencode(tmp_path / name)) is None


def test_a_file_that_is_not_the_one_that_was_meant_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"twelve bytes")
    mtime_ns = path.stat().st_mtime_ns
    disk = Disk()
    assert disk.file(local(path, size_bytes=12, mtime_ns=mtime_ns)).size == 12
    for wrong in (
        {"size_bytes": 11},
        {"mtime_ns": mtime_ns - 1},
        {"size_bytes": 13, "grows": True},
    ):
        with pytest.raises(CorruptError, match=r"'a\.h5' changed") as caught:
            disk.file(local(path, **{"size_bytes": 12, "mtime_ns": mtime_ns, **wrong}))
        assert caught.value.kind is ErrorKind.ASSET_CHANGED
    disk.file(local(path, size_bytes=11, mtime_ns=mtime_ns - 1, grows=True))


def test_a_file_that_changes_while_it_is_open_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    known = local(path, size_bytes=3, mtime_ns=path.stat().st_mtime_ns)
    disk = Disk()
    opened = disk.file(known)
    path.write_bytes(b"newer")
    assert disk.file(known) is opened
    later = time.monotonic() + disk_module.CHECK_S + 0.1
    monkeypatch.setattr(disk_module, "time", SimpleNamespace(monotonic=lambda: later))
    with pytest.raises(CorruptError):
        disk.file(known)


def test_a_file_that_cannot_be_opened_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        Disk().file(local(tmp_path / "gone.h5", size_bytes=3))
    assert "gone.h5" in caught.value.error.message
    assert str(tmp_path) not in caught.value.error.message


def test_an_answer_from_before_all_was_forgotten_is_not_kept() -> None:
    known = Known()
    before = known.generation
    known.clear()
    known.put(("array", "a", None), "old", before)
    assert known.get(("array", "a", None)) is None
    known.put(("array", "a", None), "new", known.generation)
    assert known.get(("array", "a", None)) == "new"


def test_what_is_remembered_is_bounded_by_the_places_of_chunks() -> None:
    known = Known()
    for number in range(10):
        value = SimpleNamespace(places=disk_module.MOST_PLACES // 4)
        known.put((number,), value, known.generation)
        known.get((0,))
    kept = [number for number in range(10) if known.get((number,)) is not None]
    assert kept == [0, 7, 8, 9]
