"""ZIP archives: Python's own module says what is right; the hostile are made by hand."""

from __future__ import annotations

import functools
import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.storage.archives import ArchiveReader, Member, archive_bytes, archived
from schemas.errors import ErrorKind, InvalidRequestError, LakeError, TooLargeError


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, payload in files.items():
            archive.writestr(name, payload)
    return file.getvalue()


def read(payload: bytes) -> dict[str, bytes]:
    reader = ArchiveReader(io.BytesIO(payload))
    return {name: b"".join(reader.pieces(name)) for name in reader.entries}


files = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
    st.binary(max_size=200),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(files, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_what_python_writes_is_read(content: dict[str, bytes], method: int) -> None:
    assert read(zipped(content, method)) == content


@settings(max_examples=60, deadline=None)
@given(files)
def test_what_is_written_python_reads(content: dict[str, bytes]) -> None:
    members = [
        Member(name, len(payload), zlib.crc32(payload), functools.partial(iter, [payload]))
        for name, payload in content.items()
    ]
    payload = b"".join(archived(members))
    assert len(payload) == archive_bytes(members)
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == content


def test_an_archive_of_more_than_4_gb_tells_its_size_in_64_bits() -> None:
    size = (1 << 32) + 5
    members = [Member("big", size, 0, lambda: iter(())), Member("small", 0, 0, lambda: iter(()))]
    pieces = list(archived(members))
    assert sum(map(len, pieces)) + size == archive_bytes(members)
    end = pieces[-1]
    assert struct.unpack_from("<Q", end, end.rfind(b"PK\6\6") + 48)[0] > size


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_archives_are_refused_or_read_as_they_are(data: st.DataObject) -> None:
    good = zipped({"a": b"12345678" * 40, "b": bytes(100)}, zipfile.ZIP_DEFLATED)
    place = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255))
    damaged = good[:place] + bytes([value]) + good[place + 1 :]
    cut = damaged[: data.draw(st.integers(0, len(good)))]
    for payload in (damaged, cut):
        try:
            read(payload)
        except LakeError as error:
            assert error.kind in (ErrorKind.BAD_BODY, ErrorKind.TOO_LARGE)


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = zipped({"a": bytes(200 << 20)}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="without compression"):
        ArchiveReader(io.BytesIO(bomb))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_ends_where_it_said() -> None:
    bomb = bytearray(zipped({"a": bytes(8 << 20)}, zipfile.ZIP_DEFLATED))
    place = bomb.rfind(b"PK\1\2")
    struct.pack_into("<I", bomb, place + 24, 1000)
    reader = ArchiveReader(io.BytesIO(bytes(bomb)))
    with pytest.raises(InvalidRequestError, match="size and checksum"):
        list(reader.pieces("a"))


def test_files_that_overlap_are_refused() -> None:
    good = bytearray(zipped({"a": b"x" * 100, "b": b"y" * 100}))
    second = good.rfind(b"PK\1\2")
    struct.pack_into("<I", good, second + 42, 10)
    with pytest.raises(InvalidRequestError, match="overlaps"):
        ArchiveReader(io.BytesIO(bytes(good)))


def test_two_files_of_one_name_are_refused() -> None:
    good = zipped({"aa": b"1", "bb": b"2"}).replace(b"bb", b"aa")
    with pytest.raises(InvalidRequestError, match="have the name"):
        ArchiveReader(io.BytesIO(good))
