"""The body of a request, taken piece by piece from a worker thread."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
from starlette.requests import ClientDisconnect

from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.datastructures import Headers
    from starlette.types import Receive

PIECE_BYTES = 1 << 20
"""Bytes that cross from the event loop to the worker at a time."""
DOCUMENT_BYTES = 64 << 20
"""Largest JSON document that is accepted."""
DRAINED_BYTES = 8 << 20
"""What is left of a refused upload is read up to here, so that the answer reaches the client."""


class Body:
    """What the client sends; made in the event loop, read in a worker thread, once."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._token = anyio.lowlevel.current_token()
        self.length = _length(headers)
        """Bytes announced by Content-Length; None where it is sent in chunks."""
        self._ended = self.length == 0
        self._left = b""
        self.brief: bytes | None = b"" if self._ended else None
        """The whole body, where it announced itself as short; reading leaves it as it is."""
        self.encoding = headers.get("content-encoding", "identity").strip().lower()

    @property
    def ended(self) -> bool:
        """Whether the client has sent all of it."""
        return self._ended

    async def prefetch(self) -> None:
        """Take a short body whole, so that no worker thread waits for a slow client."""
        if not self._ended and self.length is not None and self.length <= PIECE_BYTES:
            self._left = self.brief = await self._gather(self.length + 1)

    def pieces(self, size: int = PIECE_BYTES) -> Iterator[bytes]:
        """Yield the body in pieces of ``size`` bytes; the last may be shorter, none is empty.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: it is compressed.
        """
        if self.encoding not in ("", "identity"):
            raise InvalidRequestError(
                ErrorKind.BAD_BODY,
                f"a body with Content-Encoding {self.encoding[:40]!r}; send it uncompressed",
            )
        while self._left or not self._ended:
            if self._ended:
                piece, self._left = self._left[:size], self._left[size:]
            else:
                piece = anyio.from_thread.run(self._gather, size, token=self._token)
            if piece:
                yield piece

    def whole(self, limit: int = DOCUMENT_BYTES) -> bytes:
        """Return the body in one piece.

        Raises
        ------
        TooLargeError
            ``too-large``: more than ``limit`` bytes.
        """
        if self.length is not None and self.length > limit:
            raise _too_large(limit)
        taken, size = [], 0
        for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            taken.append(piece)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def stream(self) -> BodyStream:
        """Return the body as a binary file that can be read forwards."""
        return BodyStream(self.pieces())

    async def drain(self) -> bool:
        """Read and forget what is left; tells whether the end was reached in bounds."""
        seen, self._left = 0, b""
        while not self._ended and seen < DRAINED_BYTES:
            seen += len(await self._gather(PIECE_BYTES))
        return self._ended

    def abandoned(self) -> bool:
        """Tell, in a worker thread, whether the client is gone; what it still sends is left.

        Only of use once the body has ended: until then reading it tells.
        """
        if not self._ended:
            return False
        gone: bool = anyio.from_thread.run(self._is_abandoned, token=self._token)
        return gone

    async def _is_abandoned(self) -> bool:
        with anyio.CancelScope() as scope:
            scope.cancel()  # there is a message already, or none is waited for
            return bool((await self._receive())["type"] == "http.disconnect")
        return False

    async def _gather(self, size: int) -> bytes:
        taken = [self._left]
        gathered = len(self._left)
        while not self._ended and gathered < size:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            taken.append(message.get("body", b""))
            gathered += len(taken[-1])
            self._ended = not message.get("more_body", False)
        keep = len(taken[-1]) - max(0, gathered - size)
        self._left = taken[-1][keep:]
        taken[-1] = taken[-1][:keep]
        return taken[0] if len(taken) == 1 else b"".join(taken)


class BodyStream(io.RawIOBase):
    """A body as a file for readers that want one."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return exactly ``size`` bytes, fewer only at the end; all for None or negative."""
        wanted = float("inf") if size is None or size < 0 else size
        taken, gathered = [], 0
        while gathered < wanted:
            if not self._left:
                self._left = memoryview(next(self._pieces, b""))
                if not self._left:
                    break
            part = self._left[: None if wanted == float("inf") else int(wanted - gathered)]
            self._left = self._left[len(part) :]
            taken.append(part)
            gathered += len(part)
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)


def _length(headers: Headers) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in headers else 0
    return int(text) if text.isascii() and text.isdigit() else None


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(ErrorKind.TOO_LARGE, f"a body of more than {limit} bytes is not accepted")
