"""Compression of answers, in the worker thread that makes them, where it saves."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

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
ENCODINGS = ("zstd", "gzip")
"""In order of preference."""
_ZSTD_LEVEL = 1
_GZIP_LEVEL = 4
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class Compressor(Protocol):
    """Takes pieces, gives compressed pieces."""

    def compress(self, piece: Any, /) -> bytes:
        """Return what is ready; it may be nothing yet."""
        ...

    def flush(self) -> bytes:
        """Return the rest."""
        ...


def encoding_for(scope: Scope, headers: Headers) -> str | None:
    """Return the content encoding for a client; None where bytes go as they are.

    A client on this very machine gets them so: compressing costs more than the
    loopback. One behind a proxy is not on this machine.
    """
    client = scope.get("client")
    near = client is not None and str(client[0]).startswith(_LOOPBACK)
    if near and "x-forwarded-for" not in headers and "forwarded" not in headers:
        return None
    accepted = {}
    for part in headers.get("accept-encoding", "").split(","):
        name, _, parameter = part.partition(";")
        accepted[name.strip().lower()] = parameter.replace(" ", "")
    for name in ENCODINGS:
        if name in accepted and accepted[name] not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name
    return None


def compressor(encoding: str) -> Compressor:
    """Return a fresh compressor for one answer."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)


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
    yield running.flush()
