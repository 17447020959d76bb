"""ZIP archives of buffers: read without trust, written with sizes that are known beforehand."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PIECE_BYTES = 1 << 20
MAX_ENTRIES = 200_000
"""Most entries of an archive that is sent."""
MAX_DIRECTORY_BYTES = 64 << 20
INFLATED_BYTES = 64 << 20
"""Compressed archives may always grow to this size."""
INFLATED_RATIO = 20
"""Above that, to so many times what was sent; a bomb grows a thousandfold."""
_STORED, _DEFLATED = 0, 8
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_UTF8 = 0x0800
_ENCRYPTED = 0x0001
_EPOCH = 0x0021  # the first of January 1980, the earliest date that a ZIP file knows


@dataclass(frozen=True)
class Entry:
    """One file in an archive."""

    name: str
    header: int
    """Where its local header begins."""
    stored: int
    """Bytes in the archive."""
    size: int
    """Bytes of the content."""
    checksum: int
    method: int


class ArchiveReader:
    """An archive in a file that can be read at any place; the file is not closed.

    Parameters
    ----------
    file
        Binary file with ``seek`` and ``read``.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: it is no archive, one that contradicts itself (entries that
        overlap, names that repeat), or encrypted.
    TooLargeError
        ``too-large``: more entries than are accepted, or contents that are much
        larger than the archive.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size: int = file.seek(0, 2) or file.tell()
        self.entries: dict[str, Entry] = {}
        start, count, length = self._directory()
        if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
            raise TooLargeError(
                ErrorKind.TOO_LARGE, f"an archive of {count} files; at most {MAX_ENTRIES}"
            )
        self._read_directory(self._at(start, length), count)
        self._check_places(start)
        inflated = sum(entry.size for entry in self.entries.values())
        if inflated > max(INFLATED_BYTES, INFLATED_RATIO * self._size):
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"an archive of {self._size} bytes that says it holds {inflated}; "
                "send it without compression",
            )

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file that is stored without compression."""
        entry = self.entries[name]
        if entry.method != _STORED or offset < 0 or offset + length > entry.size:
            raise _bad(f"{name[:80]!r} ends before byte {offset + length}")
        return self._at(self._begin(entry) + offset, length)

    def whole(self, name: str, limit: int) -> bytes:
        """Return a short file whole."""
        if self.entries[name].size > limit:
            raise _bad(f"{name[:80]!r} has more than {limit} bytes")
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file in pieces of `PIECE_BYTES`, the last one shorter, and verify its CRC-32."""
        entry = self.entries[name]
        checksum = seen = 0
        held = b""
        for piece in self._inflated(entry):
            checksum = zlib.crc32(piece, checksum)
            seen += len(piece)
            if seen > entry.size:
                break
            held = held + piece if held else piece
            while len(held) >= PIECE_BYTES:
                yield held[:PIECE_BYTES]
                held = held[PIECE_BYTES:]
        if seen != entry.size or checksum != entry.checksum:
            raise _bad(f"{name[:80]!r} is not of the size and checksum that the archive tells")
        if held:
            yield held

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        begin = self._begin(entry)
        inflate = zlib.decompressobj(-15) if entry.method == _DEFLATED else None
        for offset in range(0, entry.stored, PIECE_BYTES):
            piece = self._at(begin + offset, min(PIECE_BYTES, entry.stored - offset))
            if inflate is None:
                yield piece
                continue
            while piece:
                try:
                    yield inflate.decompress(piece, PIECE_BYTES)
                except zlib.error:
                    raise _bad(f"{entry.name[:80]!r} does not decompress") from None
                piece = inflate.unconsumed_tail
        if inflate is not None:
            yield inflate.flush()

    def _begin(self, entry: Entry) -> int:
        header = _LOCAL.unpack(self._at(entry.header, _LOCAL.size))
        if header[0] != b"PK\3\4":
            raise _bad(f"{entry.name[:80]!r} is not where the archive tells")
        begin: int = entry.header + _LOCAL.size + header[9] + header[10]
        return begin

    def _directory(self) -> tuple[int, int, int]:
        """Return where the directory begins, its number of entries and its bytes."""
        length = min(self._size, _END.size + _FULL16)
        tail = self._at(self._size - length, length)
        found = tail.rfind(b"PK\5\6")
        if found < 0 or len(tail) - found < _END.size:
            raise _bad("this is not a ZIP archive, or it is not complete")
        _, disk, _, _, count, length, start, _ = _END.unpack_from(tail, found)
        place = self._size - len(tail) + found - _LOCATOR.size
        if disk == 0 and _FULL32 not in (length, start) and count != _FULL16:
            return start, count, length
        signature, _, end, _ = _LOCATOR.unpack(self._at(place, _LOCATOR.size))
        if signature != b"PK\6\7":
            raise _bad("an archive of several parts, or one without its end")
        fields = _END64.unpack(self._at(end, _END64.size))
        if fields[0] != b"PK\6\6":
            raise _bad("the archive's end is not where it tells")
        return fields[9], fields[7], fields[8]

    def _read_directory(self, directory: bytes, count: int) -> None:
        place = 0
        for _ in range(count):
            if place + _CENTRAL.size > len(directory):
                raise _bad("the archive's directory ends too early")
            fields = _CENTRAL.unpack_from(directory, place)
            (signature, _, _, flags, method, _, _, checksum, stored, size) = fields[:10]
            names, extras, comments, _, _, _, header = fields[10:]
            if signature != b"PK\1\2" or flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
                raise _bad("the archive is damaged, encrypted or of an unknown compression")
            place += _CENTRAL.size
            raw, extra = directory[place : place + names], directory[place + names :][:extras]
            place += names + extras + comments
            size, stored, header = _widened(extra, size, stored, header)
            name = raw.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
            if name in self.entries:
                raise _bad(f"two files of the archive have the name {name[:80]!r}")
            if method == _STORED and size != stored:
                raise _bad(f"{name[:80]!r} is stored in {stored} bytes, but has {size}")
            self.entries[name] = Entry(name, header, stored, size, checksum, method)

    def _check_places(self, end: int) -> None:
        following = end
        for entry in sorted(self.entries.values(), key=lambda entry: -entry.header):
            if entry.header + _LOCAL.size + entry.stored > following:
                raise _bad(f"{entry.name[:80]!r} overlaps with what lies behind it")
            following = entry.header

    def _at(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= self._size - length or length < 0:
            raise _bad("the archive ends too early")
        self._file.seek(offset)
        payload: bytes = self._file.read(length)
        if len(payload) != length:
            raise _bad("the archive ends too early")
        return payload


@dataclass(frozen=True)
class Member:
    """One file of an archive that is to be sent."""

    name: str
    size: int
    checksum: int
    pieces: Callable[[], Iterator[bytes]]


def archive_bytes(members: Sequence[Member]) -> int:
    """Return the size of an archive of these files."""
    total = large = 0
    for member in members:
        wide = member.size >= _FULL32 or total >= _FULL32
        name = len(member.name.encode())
        large += _CENTRAL.size + name + (28 if wide else 0)
        total += _LOCAL.size + name + (20 if wide else 0) + member.size
    return total + large + len(_end(len(members), large, total))


def archived(members: Sequence[Member]) -> Iterator[bytes]:
    """Yield an archive without compression, piece by piece."""
    directory: list[bytes] = []
    place = 0
    for member in members:
        name = member.name.encode()
        wide = member.size >= _FULL32 or place >= _FULL32
        size = _FULL32 if wide else member.size
        extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if wide else b""
        common = (45 if wide else 20, _UTF8, _STORED, 0, _EPOCH, member.checksum, size, size)
        header = _LOCAL.pack(b"PK\3\4", *common, len(name), len(extra)) + name + extra
        yield header
        yield from filter(None, member.pieces())
        if wide:
            extra = struct.pack("<HHQQQ", 1, 24, member.size, member.size, place)
        where = _FULL32 if wide else place
        lengths = (len(name), len(extra), 0, 0, 0, 0, where)
        directory.append(_CENTRAL.pack(b"PK\1\2", 45, *common, *lengths) + name + extra)
        place += len(header) + member.size
    listed = b"".join(directory)
    yield listed + _end(len(members), len(listed), place)


def _end(count: int, length: int, start: int) -> bytes:
    end64 = b""
    if count >= _FULL16 or length >= _FULL32 or start >= _FULL32:
        end64 = _END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
        end64 += _LOCATOR.pack(b"PK\6\7", 0, start + length, 1)
    count, length, start = min(count, _FULL16), min(length, _FULL32), min(start, _FULL32)
    return end64 + _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)


def _widened(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Return sizes and place, from the extra field where 32 bits are too few."""
    values = [size, stored, header]
    if _FULL32 not in values:
        return size, stored, header
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            count = min(length, len(extra) - place - 4) // 8
            wide = iter(struct.unpack_from(f"<{count}Q", extra, place + 4))
            values = [next(wide, -1) if value == _FULL32 else value for value in values]
            if min(values) < 0:
                break
            return values[0], values[1], values[2]
        place += 4 + length
    raise _bad("an entry of the archive does not tell its size")


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
