"""Archives of buffers that clients send, in bounded memory."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakeservice.fronts.http.call import media_type_of
from lakeservice.storage.archives import ArchiveReader
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.fronts.http.call import Call

ZIP = "application/zip"
SPOOLED_BYTES = 16 << 20
"""An upload above this size waits in a temporary file."""


def sent_as(call: Call, *known: str) -> str:
    """Return the media type of the body; the first of those known where none is told.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: another one.
    """
    sent = media_type_of(call.headers.get("content-type")) or known[0]
    if sent not in known:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"data of this kind are sent as {' or '.join(known)}, not as {sent[:80]!r}",
        )
    return sent


@contextmanager
def uploaded_archive(call: Call) -> Iterator[ArchiveReader]:
    """Give the archive in a request; a large one waits in a temporary file.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: it is no archive.
    TooLargeError
        ``too-large``: it is larger than ``limits.upload_bytes``, or holds much more
        than its size.
    """
    limit = call.service.limits.upload_bytes
    if call.body.length is not None and call.body.length > limit:
        raise _too_large(limit)
    spooled: Any = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 (closed below)
    with spooled:
        size = 0
        for piece in call.body.pieces():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            spooled.write(piece)
        yield ArchiveReader(spooled)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        ErrorKind.TOO_LARGE, f"more than {limit} bytes; so many are accepted at a time"
    )
