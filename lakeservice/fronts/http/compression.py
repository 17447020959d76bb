"""Compression of answers, in the worker thread that makes them, where it saves."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import imagecodecs
import zstandard

from lakeservice.fronts.http.call import media_type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.datastructures import Headers
    from starlette.types import Scope

    from lakeservice.export.exporter import Piece

SMALLEST = 1000
"""Shorter answers are sent as they are, in bytes."""
SAMPLE = 64 << 10
"""Bytes that are tried first."""
WORTH = 0.9
"""Compress where the sample shrinks to less than this."""
ENCODINGS = ("zstd", "lz4", "gzip")
"""In order of preference; Blosc goes before them where bytes are numbers."""
NUMBERS = ("application/octet-stream", "application/vnd.apache.arrow.file")
"""Media types for which Blosc is offered."""
PACKED = (
    "application/zip",
    "application/x-parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "image/png",
    "image/jpeg",
    "application/x-hdf5",
)
"""Media types that are compressed already, or are sought in: bytes go as they are."""
_ZSTD_LEVEL = 1
_GZIP_LEVEL = 4
_BLOSC_TYPESIZE = 4  # what numbers are at least; only the ratio depends on it
_LOOPBACK = ("127.", "::1", "::ffff:127.")
_library: Any = imagecodecs  # its stubs know less than it does


class Compressor(Protocol):
    """Takes pieces, gives compressed pieces."""

    def compress(self, piece: Any, /) -> bytes:
        """Return what is ready; it may be nothing yet."""
        ...

    def flush(self) -> bytes:
        """Return the rest."""
        ...


class _Frames:
    """Makes a frame of each piece; decoders take frames one after another."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def compress(self, piece: Any, /) -> bytes:
        if self._encoding == "lz4":
            return bytes(_library.lz4f_encode(piece))
        payload: Any = memoryview(piece)
        if payload.nbytes % _BLOSC_TYPESIZE == 0:
            payload = payload.cast("B").cast("I")
        return bytes(_library.blosc_encode(payload, level=1, compressor="lz4", numthreads=1))

    def flush(self) -> bytes:
        return b""


def accepted(headers: Headers) -> frozenset[str]:
    """Return the content encodings that a client takes."""
    found = set()
    for part in headers.get("accept-encoding", "").split(","):
        name, _, parameter = part.partition(";")
        if parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            found.add(name.strip().lower())
    return frozenset(found)


def encodings_for(scope: Scope, headers: Headers) -> frozenset[str]:
    """Return the content encodings for a client; none where bytes go as they are.

    A client on this very machine gets them so: compressing costs more than the
    loopback. One behind a proxy is not on this machine. Who asks for a range of
    bytes gets bytes of the answer itself.
    """
    client = scope.get("client")
    near = client is not None and str(client[0]).startswith(_LOOPBACK)
    if near and "x-forwarded-for" not in headers and "forwarded" not in headers:
        return frozenset()
    return frozenset() if "range" in headers else accepted(headers)


def encoding_of(encodings: frozenset[str], content_type: str) -> str | None:
    """Return the encoding for an answer of some type; None where it goes as it is."""
    media_type = media_type_of(content_type)
    if media_type in PACKED:
        return None
    preferred = ("blosc2", *ENCODINGS) if media_type in NUMBERS else ENCODINGS
    return next((name for name in preferred if name in encodings), None)


def compressor(encoding: str) -> Compressor:
    """Return a fresh compressor for one answer."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    if encoding == "gzip":
        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return _Frames(encoding)


def is_worth_it(piece: Piece) -> bool:
    """Tell whether the beginning of an answer is long enough and shrinks."""
    if len(piece) < SMALLEST:
        return False
    sample = memoryview(piece)[:SAMPLE]
    return len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(sample)) < WORTH * len(sample)


def compressed(pieces: Iterator[Piece], encoding: str) -> Iterator[Piece]:
    """Yield the pieces compressed; none of them is empty."""
    running = compressor(encoding)
    for piece in pieces:
        if out := running.compress(piece):
            yield out
    if rest := running.flush():
        yield rest
