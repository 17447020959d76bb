"""The bytes of a log object: JSON lines with a checksum in front, compressed when long."""

from __future__ import annotations

import zlib

import msgspec
import zstandard

from schemas.commit import Applied, Commit, Request
from schemas.errors import CorruptError, ErrorKind

COMPRESS_ABOVE = 4096
"""Bytes of plain JSON above which an object is compressed."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PREFIX = b'{"crc32":"'
_SUFFIX = b'",'
_CHECKED_FROM = len(_PREFIX) + 8 + len(_SUFFIX)


class _Header(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    writer: str
    time_ns: int
    requests: tuple[Request, ...] = ()


_header = msgspec.json.Decoder(_Header)
_lines = msgspec.json.Decoder(Applied)


def encode_commit(commit: Commit) -> bytes:
    """Return the log object of a commit.

    The first line is the header and starts with the CRC-32 of every byte after
    it (from the key ``version`` on), so that a cut or a flipped bit never
    passes for a commit.
    """
    encoder = msgspec.json.Encoder()
    header = encoder.encode(_Header(commit.version, commit.writer, commit.time_ns, commit.requests))
    checked = header[1:] + b"\n" + encoder.encode_lines(commit.applied)
    plain = _PREFIX + b"%08x" % zlib.crc32(checked) + _SUFFIX + checked
    if len(plain) <= COMPRESS_ABOVE:
        return plain
    return zstandard.ZstdCompressor(level=3).compress(plain)


def decode_commit(payload: bytes, version: int) -> Commit:
    """Return the commit in a log object.

    Raises
    ------
    CorruptError
        ``corrupt-object``: cut, damaged, or the object of another version.
    """
    try:
        plain = payload
        if payload.startswith(_ZSTD_MAGIC):
            # Piece by piece: the length that a damaged frame claims may be beyond all memory.
            frame = zstandard.ZstdDecompressor().decompressobj()
            plain = frame.decompress(payload)
            if not frame.eof or frame.unused_data:
                raise _corrupt(version, "it is cut or has bytes too many")
        checked = plain[_CHECKED_FROM:]
        if plain[:_CHECKED_FROM] != _PREFIX + b"%08x" % zlib.crc32(checked) + _SUFFIX:
            raise _corrupt(version, "its checksum does not match")
        header, _, lines = checked.partition(b"\n")
        found = _header.decode(b"{" + header)
        if found.version != version:
            raise _corrupt(version, f"it holds version {found.version}")
        return Commit(
            version=found.version,
            writer=found.writer,
            time_ns=found.time_ns,
            requests=found.requests,
            applied=tuple(_lines.decode_lines(lines)),
        )
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeDecodeError):
        raise _corrupt(version, "it cannot be decoded") from None


def _corrupt(version: int, reason: str) -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT,
        f"version {version} of the lake's log is damaged: {reason}; restore it from a backup",
    )
