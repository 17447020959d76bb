"""Ranges of bytes of an answer: every body whose length is known can be had in parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakeservice.export.holes import cut
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakeservice.export.exporter import Piece
    from lakeservice.fronts.http.call import Reply

WEAK = "W/"
_ONE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.IGNORECASE | re.ASCII)


class NoSuchRangeError(InvalidRequestError):
    """None of the bytes that are asked for exist; knows how many there are."""

    def __init__(self, text: str, length: int) -> None:
        super().__init__(
            ErrorKind.BAD_RANGE, f"Range: {text[:80]!r} of a body of {length} bytes; the first is 0"
        )
        self.length = length


def can_be_ranged(reply: Reply) -> bool:
    """Tell whether parts of an answer can be had."""
    return (
        reply.status == 200 and reply.length is not None and "Content-Encoding" not in reply.headers
    )


def with_ranges(reply: Reply) -> Reply:
    """Return an answer that tells whether its parts can be had, and by which tag they fit."""
    if reply.status == 206 or can_be_ranged(reply):
        reply.headers["Accept-Ranges"] = "bytes"
        if "ETag" in reply.headers:
            # What is sent as it is, is the same to the byte whenever it is asked for.
            reply.headers["ETag"] = reply.headers["ETag"].removeprefix(WEAK)
    return reply


def ranged(reply: Reply, headers: Mapping[str, str]) -> bool:
    """Narrow an answer to the range that a GET asks for; tells whether it asks for one.

    Several ranges at once, other units and text that is no range are passed
    over: such a client gets the whole answer, as RFC 9110 (14.2) has it.

    Raises
    ------
    NoSuchRangeError
        ``bad-range``: it begins behind the end.
    """
    text = headers.get("range")
    if text is None or reply.length is None or not _still_holds(reply, headers.get("if-range")):
        return False
    bounds = _bounds(text, reply.length)
    if bounds is None:
        return False
    start, stop = bounds
    reply.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{reply.length}"
    reply.status = 206
    if isinstance(reply.content, bytes):
        reply.content = reply.content[start:stop]
    elif reply.part is not None:
        whole = reply.content
        reply.content = reply.part(start, stop)
        _close(whole)
    elif start or stop < reply.length:
        reply.content = _cut(reply.content, start, stop)
    reply.length = stop - start
    return True


def _cut(pieces: Iterator[Piece], start: int, stop: int) -> Iterator[Piece]:
    try:
        yield from cut(pieces, start, stop)
    finally:
        _close(pieces)


def _close(pieces: Iterator[Piece]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _bounds(text: str, length: int) -> tuple[int, int] | None:
    match = _ONE.fullmatch(text.strip())
    if match is None or len(text) > 100:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        start, stop = max(0, length - int(last)), length
    else:
        start, stop = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= stop:
        raise NoSuchRangeError(text, length)
    return start, stop


def _still_holds(reply: Reply, if_range: str | None) -> bool:
    # A weak tag, or a date, proves nothing about single bytes.
    return if_range is None or if_range.strip() == reply.headers.get("ETag", "").removeprefix(WEAK)
