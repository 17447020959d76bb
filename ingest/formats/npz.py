"""NPZ: a zip of NPY files; stored members are read where they lie, deflated ones converted."""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ingest.formats.npy import MAGIC, NpyHeader, array_item, read_header
from ingest.found import Found, Item
from ingest.rows import BLOCK_BYTES, row_blocks
from ingest.source import unreadable
from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.source import Source

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_BROKEN_MEMBER = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
)


class NpzFormat:
    """A container of arrays, named as they were saved."""

    media_type = "application/x-npz"
    suffixes = (".npz",)

    def sniff(self, source: Source) -> bool:
        """Tell whether the first member of a zip is an NPY file."""
        head = source.head
        if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
            return False
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].endswith(b".npy")

    def open(self, source: Source) -> Found:
        """Describe each member from its header."""
        found = Found([], assets=[source.asset()])
        try:
            with zipfile.ZipFile(source.path) as archive, source.path.open("rb") as file:
                taken: set[str] = set()
                for member in archive.infolist():
                    if member.is_dir():
                        continue
                    item = _item(archive, file.fileno(), member, source)
                    if item is None or item.path in taken:
                        found.problems.append(f"{member.filename!r} is not an array of its own")
                        continue
                    taken.add(item.path)
                    found.items.append(item)
        except _BROKEN_MEMBER as error:
            raise unreadable(source.name, error) from None
        return found


def _item(
    archive: zipfile.ZipFile, descriptor: int, member: zipfile.ZipInfo, source: Source
) -> Item | None:
    path = member.filename.removesuffix(".npy").strip("/")
    try:
        with archive.open(member) as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
            file.seek(0)
            header = read_header(file, member.filename)
        offset = None
        if member.compress_type == zipfile.ZIP_STORED:
            offset = _start_of(descriptor, member, source) + header.size_bytes
    except LakeError as error:
        return Item(path, problem=str(error))
    except _BROKEN_MEMBER as error:
        return Item(path, problem=f"cannot read {member.filename!r}: {error}")
    item = array_item(path, header, offset=offset)
    if item.problem is None and header.size_bytes + header.array_bytes > member.file_size:
        return Item(path, problem=f"{member.filename!r} holds fewer bytes than its header says")
    item.read = lambda: _rows(source.path, member, header)
    return item


def _start_of(descriptor: int, member: zipfile.ZipInfo, source: Source) -> int:
    """Return where a member's bytes start: its local header may be longer than the directory's."""
    header = os.pread(descriptor, _LOCAL_HEADER.size, member.header_offset)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise unreadable(source.name, f"there is no local header for {member.filename!r}")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start: int = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if start + member.file_size > source.size_bytes:
        raise unreadable(source.name, f"it ends within {member.filename!r}")
    return start


def _rows(path: Path, member: zipfile.ZipInfo, header: NpyHeader) -> Iterator[NDArray[Any]]:
    """Yield rows of a member; one in Fortran order can only be had whole."""
    row_bytes = header.dtype.itemsize * math.prod(header.shape[1:])
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        file.read(header.size_bytes)
        if header.fortran or not header.shape or header.array_bytes <= BLOCK_BYTES:
            payload = file.read(header.array_bytes)
            order: Literal["F", "C"] = "F" if header.fortran else "C"
            yield np.frombuffer(payload, header.dtype).reshape(header.shape, order=order)
            return
        for rows in row_blocks(header.shape, header.dtype.itemsize):
            count = rows.stop - rows.start
            payload = file.read(count * row_bytes)
            yield np.frombuffer(payload, header.dtype).reshape(count, *header.shape[1:])
