"""Keys of nodes: paths of segments joined by ``/``, the root being the empty string."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATH_BYTES = 4096
"""Longest path, in bytes of UTF-8."""
MAX_SEGMENT_BYTES = 1024
"""Longest single segment, in bytes of UTF-8."""


def clean_path(path: str) -> str:
    """Return a path in its one normal form: no empty segments, no leading or trailing slash.

    Clients send ``//``; empty segments are collapsed. Unicode is kept as it came.

    Raises
    ------
    InvalidRequestError
        ``bad-path``: a segment ``.`` or ``..``, a control character, a lone
        surrogate, or more bytes than `MAX_PATH_BYTES` or `MAX_SEGMENT_BYTES`.
    """
    if len(path) > MAX_PATH_BYTES:
        raise _bad(f"a path of {len(path)} characters; at most {MAX_PATH_BYTES} bytes are allowed")
    segments = [segment for segment in path.split("/") if segment]
    for segment in segments:
        _check_segment(segment)
    clean = "/".join(segments)
    if len(clean.encode()) > MAX_PATH_BYTES:
        raise _bad(f"a path of {len(clean.encode())} bytes; at most {MAX_PATH_BYTES} are allowed")
    return clean


def _check_segment(segment: str) -> None:
    if segment in (".", ".."):
        raise _bad(f"a path may not hold the segment {segment!r}; write the path from the root")
    try:
        size = len(segment.encode())
    except UnicodeEncodeError:
        raise _bad("a path holds characters that are not valid Unicode") from None
    if size > MAX_SEGMENT_BYTES:
        raise _bad(f"a path segment of {size} bytes; at most {MAX_SEGMENT_BYTES} are allowed")
    if not segment.isprintable() and any(ord(one) < 32 or ord(one) == 127 for one in segment):
        raise _bad(f"a path may not hold control characters: {segment!r}")


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_PATH, message)


def parent_of(path: str) -> str:
    """Return the path of the container that holds ``path``; the root is its own parent."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return the last segment of a path; empty for the root."""
    return path.rpartition("/")[2]


def ancestors_of(path: str) -> Iterator[str]:
    """Yield the paths above ``path``, nearest first, without the root."""
    while path := parent_of(path):
        yield path


def join_path(*parts: str) -> str:
    """Join paths, ignoring empty ones; the parts must be clean already."""
    return "/".join(part for part in parts if part)
