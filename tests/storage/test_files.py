"""Registered files: the bytes that were indexed, or an error that names the file alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lakeservice.storage.files import FileReader
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable


def asset_of(path: Path) -> Asset:
    status = path.stat()
    return Asset(
        data_uri="file://localhost" + path.as_uri().removeprefix("file://"),
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "private" / "ä b%20#1.raw"
    path.parent.mkdir()
    path.write_bytes(bytes(range(200)))
    return path


def test_ranges_are_read_of_names_with_any_characters(path: Path) -> None:
    reader = FileReader()
    asset = asset_of(path)
    assert bytes(reader.read(asset, 3, 4)) == bytes([3, 4, 5, 6])
    assert bytes(reader.read(asset, 197)) == bytes([197, 198, 199])
    assert bytes(reader.read(asset, 200)) == b""
    with reader.open_input(asset) as file:
        assert file.read() == bytes(range(200))


@pytest.mark.parametrize(("offset", "length"), [(198, 3), (300, 1), (0, 201)])
def test_a_range_beyond_the_end_is_corrupt(path: Path, offset: int, length: int) -> None:
    with pytest.raises(CorruptError, match="the file ends") as caught:
        FileReader().read(asset_of(path), offset, length)
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(bytes(200))
    os.utime(other, ns=(5, 5))
    other.replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(7, 7))


@pytest.mark.parametrize("change", [grow, replace, touch])
def test_a_file_that_changed_is_never_served(path: Path, change: Callable[[Path], None]) -> None:
    reader = FileReader(check_s=0)
    asset = asset_of(path)
    reader.read(asset, 0, 4)
    change(path)
    for one in (reader, FileReader()):
        with pytest.raises(CorruptError, match="changed since it was registered") as caught:
            one.read(asset, 0, 4)
        assert caught.value.kind is ErrorKind.ASSET_CHANGED
        assert "private" not in str(caught.value)


def test_a_file_that_is_gone_is_missing(path: Path, tmp_path: Path) -> None:
    asset = asset_of(path)
    path.unlink()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    others = [
        Asset(data_uri=uri)
        for uri in (
            tmp_path.as_uri(),
            fifo.as_uri(),
            "file://elsewhere/etc/hostname",
            "http://localhost/x",
            "file:///a%00b",
            "",
        )
    ]
    for one in (asset, *others):
        with pytest.raises(CorruptError) as caught:
            FileReader().read(one, 0, 1)
        assert caught.value.kind is ErrorKind.ASSET_MISSING
        assert "private" not in str(caught.value)


def test_only_files_below_the_roots_are_read(path: Path, tmp_path: Path) -> None:
    inside = FileReader(roots=[path.parent])
    assert bytes(inside.read(asset_of(path), 0, 1)) == b"\0"
    outside = tmp_path / "private-too.raw"
    outside.write_bytes(b"x")
    link = path.parent / "link.raw"
    link.symlink_to(outside)
    dots = Asset(data_uri=f"{path.parent.as_uri()}/../private-too.raw")
    for asset in (asset_of(outside), asset_of(link), dots):
        with pytest.raises(CorruptError, match="outside the folders") as caught:
            inside.read(asset, 0, 1)
        assert caught.value.kind is ErrorKind.ASSET_MISSING


def test_few_files_stay_open(tmp_path: Path) -> None:
    reader = FileReader(limit=3)
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))
    assets = []
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"abc")
        assets.append(asset_of(tmp_path / str(number)))
        assert bytes(reader.read(assets[-1], 1, 1)) == b"b"
    assert len(list(folder.iterdir())) <= before + 3
    held = reader.extent(assets[-1], 0, 3)
    reader.close()
    assert bytes(held.read(0, 3)) == b"abc"
    del held
    assert len(list(folder.iterdir())) <= before


def test_many_threads_read_many_files(tmp_path: Path) -> None:
    reader = FileReader(limit=2, check_s=0)
    assets = []
    for number in range(8):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 1000)
        assets.append(asset_of(tmp_path / str(number)))
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(200):
            number = (seed * 7 + step * 3) % 8
            if bytes(reader.read(assets[number], step, 100)) != bytes([number]) * 100:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
